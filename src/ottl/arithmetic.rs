//! `+ - * /` on numbers, times and durations.
//!
//! Integers wrap and are divided towards zero. An integer and a double make a double. A time minus
//! a time is a duration.

use super::{compare::as_double, fault::What, syntax::Math, types::Types, value::Value};

/// Calculates with two values.
pub(crate) fn calculate(
    math: Math,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<Value<'static>, What> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => integers(math, *a, *b).map(Value::Int),
        (Value::Double(a), Value::Double(b)) => doubles(math, *a, *b),
        (Value::Int(a), Value::Double(b)) => doubles(math, as_double(*a), *b),
        (Value::Double(a), Value::Int(b)) => doubles(math, *a, as_double(*b)),
        (Value::Time(a), Value::Duration(b)) if math == Math::Add => {
            Ok(Value::Time(a.wrapping_add(*b)))
        }
        (Value::Duration(a), Value::Time(b)) if math == Math::Add => {
            Ok(Value::Time(a.wrapping_add(*b)))
        }
        (Value::Time(a), Value::Duration(b)) if math == Math::Subtract => {
            Ok(Value::Time(a.wrapping_sub(*b)))
        }
        (Value::Time(a), Value::Time(b)) if math == Math::Subtract => {
            Ok(Value::Duration(a.wrapping_sub(*b)))
        }
        (Value::Duration(a), Value::Duration(b)) => match math {
            Math::Add => Ok(Value::Duration(a.wrapping_add(*b))),
            Math::Subtract => Ok(Value::Duration(a.wrapping_sub(*b))),
            _ => Err(wrong(math, left, right)),
        },
        _ => Err(wrong(math, left, right)),
    }
}

fn wrong(math: Math, left: &Value<'_>, right: &Value<'_>) -> What {
    let (left, right) = (left.types(), right.types());
    What::owned(format!("`{}` cannot be used with {left} and {right}", math.sign()))
}

fn integers(math: Math, a: i64, b: i64) -> Result<i64, What> {
    Ok(match math {
        Math::Add => a.wrapping_add(b),
        Math::Subtract => a.wrapping_sub(b),
        Math::Multiply => a.wrapping_mul(b),
        Math::Divide if b == 0 => return Err(What::DivisionByZero),
        Math::Divide => a.wrapping_div(b),
    })
}

fn doubles(math: Math, a: f64, b: f64) -> Result<Value<'static>, What> {
    Ok(Value::Double(match math {
        Math::Add => a + b,
        Math::Subtract => a - b,
        Math::Multiply => a * b,
        Math::Divide if b == 0.0 => return Err(What::DivisionByZero),
        Math::Divide => a / b,
    }))
}

/// What a calculation with values of these types can give; empty if it always fails.
pub(crate) fn result(math: Math, left: Types, right: Types) -> Types {
    let mut types = Types::NONE;
    if left.meets(Types::INT) && right.meets(Types::INT) {
        types = types.or(Types::INT);
    }
    let is_number = left.meets(Types::NUMBER) && right.meets(Types::NUMBER);
    if is_number && (left.meets(Types::DOUBLE) || right.meets(Types::DOUBLE)) {
        types = types.or(Types::DOUBLE);
    }
    let adds = math == Math::Add;
    if adds || math == Math::Subtract {
        if left.meets(Types::DURATION) && right.meets(Types::DURATION) {
            types = types.or(Types::DURATION);
        }
        if left.meets(Types::TIME) && right.meets(Types::DURATION)
            || adds && left.meets(Types::DURATION) && right.meets(Types::TIME)
        {
            types = types.or(Types::TIME);
        }
        if !adds && left.meets(Types::TIME) && right.meets(Types::TIME) {
            types = types.or(Types::DURATION);
        }
    }
    types
}

/// Changes the sign of a number.
pub(crate) fn negate(value: &Value<'_>) -> Result<Value<'static>, What> {
    match value {
        Value::Int(value) => Ok(Value::Int(value.wrapping_neg())),
        Value::Double(value) => Ok(Value::Double(-value)),
        other => Err(What::Type {
            subject: "the operand of `-`",
            wanted: Types::NUMBER,
            found: other.types(),
        }),
    }
}
