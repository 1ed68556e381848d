//! Evaluates expressions and conditions.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue},
    metrics::v1::metric::Data,
};

use super::{
    convert::{call, each},
    place::{ItemOf, Key, Levels},
    program::{Cond, Expr, Path},
    value::{No, Res, Val, calculate, compare},
};

impl Path {
    pub(super) fn keys(&self, levels: &mut Levels<'_>) -> Res<Vec<Key>> {
        self.keys.iter().map(|key| evaluated_key(key, levels)).collect()
    }

    pub(super) fn get(&self, levels: &mut Levels<'_>) -> Res<Val> {
        let keys = self.keys(levels)?;
        levels.get(self.context, self.field, &keys)
    }

    pub(super) fn set(&self, levels: &mut Levels<'_>, value: &Val) -> Res<()> {
        let keys = self.keys(levels)?;
        levels.set(self.context, self.field, &keys, value)
    }
}

fn evaluated_key(key: &Expr, levels: &mut Levels<'_>) -> Res<Key> {
    match eval(key, levels)? {
        Val::Text(text) => Ok(Key::Text(text)),
        Val::Int(index) => Ok(Key::Index(index)),
        _ => Err(No::Fails),
    }
}

pub(super) fn eval(expr: &Expr, levels: &mut Levels<'_>) -> Res<Val> {
    match expr {
        Expr::Literal(value) => Ok(value.clone()),
        Expr::Enum(_, value) => Ok(Val::Int(*value)),
        Expr::List(values) => {
            let values: Res<Vec<AnyValue>> =
                values.iter().map(|value| element(&eval(value, levels)?)).collect();
            Ok(Val::List(values?))
        }
        Expr::Map(members) => {
            let mut map: Vec<KeyValue> = Vec::new();
            for (key, value) in members {
                let value = Some(element(&eval(value, levels)?)?);
                map.push(KeyValue { key: (*key).to_owned(), value, ..KeyValue::default() });
            }
            Ok(Val::Map(map))
        }
        Expr::Path(path) => path.get(levels),
        Expr::Math(sign, sides) => {
            let (left, right) = (eval(&sides.0, levels)?, eval(&sides.1, levels)?);
            calculate(*sign, &left, &right)
        }
        Expr::Call("IsRootSpan", _) => match &levels.item {
            ItemOf::Span(span) => Ok(Val::Bool(span.parent_span_id.iter().all(|byte| *byte == 0))),
            _ => Err(No::Unsure),
        },
        Expr::Call(name @ ("HasAttrKeyOnDatapoint" | "HasAttrOnDatapoint"), arguments) => {
            let arguments: Res<Vec<String>> =
                arguments.iter().map(|one| eval(one, levels)?.into_text()).collect();
            on_points(name, &arguments?, levels)
        }
        Expr::Call("Coalesce", arguments) => {
            let [Expr::List(list)] = &**arguments else { return Err(No::Unsure) };
            for value in list {
                let value = eval(value, levels)?;
                if !value.is_nil() {
                    return Ok(value);
                }
            }
            Ok(Val::Nil)
        }
        Expr::Call(name, arguments) => {
            let arguments: Res<Vec<Val>> = arguments.iter().map(|one| eval(one, levels)).collect();
            call(name, arguments?)
        }
        Expr::Each(name, source, op, with) => {
            let source = eval(source, levels)?;
            let with = eval(with, levels)?;
            each(name, source, |value| compare(*op, value, &with))
        }
        Expr::Key(inner, key) => {
            let inner = eval(inner, levels)?;
            match (inner, evaluated_key(key, levels)?) {
                (Val::Map(map), Key::Text(key)) => {
                    let found = map.iter().find(|entry| entry.key == key).ok_or(No::Fails)?;
                    Ok(Val::of(found.value.as_ref()))
                }
                (Val::List(list), Key::Index(at)) => {
                    let at = usize::try_from(at).map_err(|_| No::Fails)?;
                    list.get(at).map(|any| Val::of(Some(any))).ok_or(No::Fails)
                }
                _ => Err(No::Fails),
            }
        }
    }
}

/// Looks at the first data point of a metric that has an attribute.
fn on_points(name: &str, arguments: &[String], levels: &Levels<'_>) -> Res<Val> {
    let ItemOf::Metric(metric) = &levels.item else { return Err(No::Unsure) };
    macro_rules! all {
        ($data:expr) => {
            $data.data_points.iter().map(|point| &point.attributes).collect()
        };
    }
    let points: Vec<&Vec<KeyValue>> = match metric.data.as_ref().ok_or(No::Fails)? {
        Data::Gauge(data) => all!(data),
        Data::Sum(data) => all!(data),
        Data::Histogram(data) => all!(data),
        Data::ExponentialHistogram(data) => all!(data),
        Data::Summary(data) => all!(data),
    };
    let found = points
        .iter()
        .find_map(|attributes| attributes.iter().find(|entry| entry.key == arguments[0]));
    let Some(found) = found else { return Ok(Val::Bool(false)) };
    if name == "HasAttrKeyOnDatapoint" {
        return Ok(Val::Bool(true));
    }
    Ok(Val::Bool(match Val::of(found.value.as_ref()) {
        Val::Text(text) => text == arguments[1],
        _ => arguments[1].is_empty(),
    }))
}

/// What a list or map holds; ids and times are not for the interpreter to say.
fn element(value: &Val) -> Res<AnyValue> {
    value.stored().map_err(|_| No::Unsure)
}

/// Whether a condition holds. What is constant is known before the rest is looked at.
pub(super) fn holds(cond: &Cond, levels: &mut Levels<'_>) -> Res<bool> {
    if let Some(value) = constant(cond)? {
        return Ok(value);
    }
    match cond {
        Cond::Constant(value) => Ok(*value),
        Cond::Compare(op, left, right) => {
            Ok(compare(*op, &eval(left, levels)?, &eval(right, levels)?))
        }
        Cond::Call(call) => match eval(call, levels)? {
            Val::Bool(value) => Ok(value),
            _ => Err(No::Fails),
        },
        Cond::Not(inner) => Ok(!holds(inner, levels)?),
        Cond::And(all) => {
            for one in all {
                if !holds(one, levels)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Cond::Or(all) => {
            for one in all {
                if holds(one, levels)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// What a condition is for all items, if that is known at the start.
fn constant(cond: &Cond) -> Res<Option<bool>> {
    Ok(match cond {
        Cond::Constant(value) => Some(*value),
        Cond::Compare(op, left, right) => match (fixed(left)?, fixed(right)?) {
            (Some(left), Some(right)) => Some(compare(*op, &left, &right)),
            _ => None,
        },
        Cond::Call(call) => match fixed(call)? {
            Some(Val::Bool(value)) => Some(value),
            _ => None,
        },
        Cond::Not(inner) => constant(inner)?.map(|value| !value),
        Cond::And(all) | Cond::Or(all) => {
            let decides = matches!(cond, Cond::Or(_));
            let known = all.iter().map(constant).collect::<Res<Vec<Option<bool>>>>()?;
            if known.contains(&Some(decides)) {
                return Ok(Some(decides));
            }
            known.iter().all(Option::is_some).then_some(!decides)
        }
    })
}

/// The value of an expression that needs no item. What fails is found when it is evaluated.
fn fixed(expr: &Expr) -> Res<Option<Val>> {
    let known = |value: Res<Val>| match value {
        Err(No::Fails) => Ok(None),
        other => other.map(Some),
    };
    match expr {
        Expr::Literal(value) => Ok(Some(value.clone())),
        Expr::Enum(_, value) => Ok(Some(Val::Int(*value))),
        Expr::Math(sign, sides) => match (fixed(&sides.0)?, fixed(&sides.1)?) {
            (Some(left), Some(right)) => known(calculate(*sign, &left, &right)),
            _ => Ok(None),
        },
        Expr::Call("IsRootSpan" | "HasAttrKeyOnDatapoint" | "HasAttrOnDatapoint", _) => Ok(None),
        Expr::Call(name, arguments) => match all_fixed(arguments)? {
            Some(arguments) => known(call(name, arguments)),
            None => Ok(None),
        },
        Expr::List(values) => {
            let Some(values) = all_fixed(values)? else { return Ok(None) };
            let values: Res<Vec<AnyValue>> = values.iter().map(element).collect();
            known(values.map(Val::List))
        }
        Expr::Map(members) => {
            let mut entries = Vec::new();
            for (key, value) in members {
                let Some(value) = fixed(value)? else { return Ok(None) };
                let value = Some(element(&value)?);
                entries.push(KeyValue { key: (*key).to_owned(), value, ..KeyValue::default() });
            }
            Ok(Some(Val::Map(entries)))
        }
        _ => Ok(None),
    }
}

fn all_fixed(all: &[Expr]) -> Res<Option<Vec<Val>>> {
    let all: Res<Vec<Option<Val>>> = all.iter().map(fixed).collect();
    Ok(all?.into_iter().collect())
}
