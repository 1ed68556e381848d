//! Comparisons, which never fail: values of different types are unequal and have no order.
//!
//! Integers and doubles are compared as doubles. Nil equals nil only. Inside maps and lists types
//! count: 1 and 1.0 differ there. The order of a map does not matter.

use std::cmp::Ordering;

use super::{
    syntax::Comparison,
    value::{Map, Value},
};

/// Compares two values.
pub(crate) fn compare(comparison: Comparison, left: &Value<'_>, right: &Value<'_>) -> bool {
    match relation(left, right) {
        Relation::Ordered(ordering) => holds(comparison, ordering),
        Relation::Equal => comparison == Comparison::Equal,
        Relation::Different => comparison == Comparison::NotEqual,
    }
}

/// Whether a comparison holds for what is ordered so.
#[inline]
pub(crate) fn holds(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}

/// How two values relate; without an order there are only equality and inequality.
enum Relation {
    Ordered(Ordering),
    Equal,
    Different,
}

fn relation(left: &Value<'_>, right: &Value<'_>) -> Relation {
    let is_equal = |equal: bool| if equal { Relation::Equal } else { Relation::Different };
    let doubles = |a: f64, b: f64| a.partial_cmp(&b).map_or(Relation::Different, Relation::Ordered);
    match (left, right) {
        (Value::Nil, Value::Nil) => Relation::Ordered(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => Relation::Ordered(a.cmp(b)),
        (Value::Int(a), Value::Int(b))
        | (Value::Time(a), Value::Time(b))
        | (Value::Duration(a), Value::Duration(b)) => Relation::Ordered(a.cmp(b)),
        (Value::Int(a), Value::Double(b)) => doubles(as_double(*a), *b),
        (Value::Double(a), Value::Int(b)) => doubles(*a, as_double(*b)),
        (Value::Double(a), Value::Double(b)) => doubles(*a, *b),
        (Value::Text(a), Value::Text(b)) | (Value::Bytes(a), Value::Bytes(b)) => {
            Relation::Ordered(a.cmp(b))
        }
        (Value::TraceId(a), Value::TraceId(b)) => is_equal(a == b),
        (Value::SpanId(a), Value::SpanId(b)) => is_equal(a == b),
        (Value::Map(_) | Value::List(_), Value::Map(_) | Value::List(_)) => {
            is_equal(is_same(left, right))
        }
        (Value::Collection(a), Value::Collection(b)) => {
            is_equal(a.name == b.name && a.bytes == b.bytes)
        }
        _ => Relation::Different,
    }
}

/// An integer as the nearest double.
#[expect(clippy::cast_precision_loss, reason = "the language compares integers as doubles")]
pub(crate) fn as_double(value: i64) -> f64 {
    value as f64
}

/// Whether two values are the same including their types, at every depth.
pub(crate) fn is_same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Map(a), Value::Map(b)) => is_same_map(a, b),
        (Value::List(a), Value::List(b)) => {
            let (mut a, mut b) = (Value::values(a), Value::values(b));
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if is_same(&a, &b) => {}
                    _ => return false,
                }
            }
        }
        (Value::Int(_), Value::Double(_))
        | (Value::Double(_), Value::Int(_))
        | (Value::Map(_) | Value::List(_), _)
        | (_, Value::Map(_) | Value::List(_)) => false,
        _ => compare(Comparison::Equal, left, right),
    }
}

/// Sorts both maps by key, so that hostile maps of many keys take no quadratic time.
fn is_same_map(a: &Map<'_>, b: &Map<'_>) -> bool {
    let sorted = |map: &Map<'_>| {
        let entries = map.entries().map(|(key, any)| (key.to_vec(), any.into_owned()));
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = entries.collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, first| later.0 == first.0);
        entries
    };
    let (a, b) = (sorted(a), sorted(b));
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| a.0 == b.0 && is_same(&Value::read(&a.1), &Value::read(&b.1)))
}
