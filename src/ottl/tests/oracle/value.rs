//! Values of the interpreter, with the rules of comparing, calculating and writing them as text.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value as Any,
};

/// Nesting and bytes from which on the interpreter has no opinion: skep has limits there.
const DEEP: usize = 14;
const LONG: usize = 16 << 10;

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    /// The expression fails.
    Fails,
    /// The rules do not say.
    Unsure,
}

pub(super) type Res<T> = Result<T, No>;

#[derive(Debug, Clone)]
pub(super) enum Val {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<AnyValue>),
    Map(Vec<KeyValue>),
    TraceId([u8; 16]),
    SpanId([u8; 8]),
    Time(i64),
    Duration(i64),
}

impl Val {
    pub(super) fn of(any: Option<&AnyValue>) -> Val {
        match any.and_then(|any| any.value.clone()) {
            None | Some(Any::StringValueStrindex(_)) => Val::Nil,
            Some(Any::StringValue(text)) => Val::Text(text),
            Some(Any::BoolValue(value)) => Val::Bool(value),
            Some(Any::IntValue(value)) => Val::Int(value),
            Some(Any::DoubleValue(value)) => Val::Double(value),
            Some(Any::BytesValue(value)) => Val::Bytes(value),
            Some(Any::ArrayValue(list)) => Val::List(list.values),
            Some(Any::KvlistValue(map)) => Val::Map(map.values),
        }
    }

    pub(super) fn text(text: &str) -> Val {
        Val::Text(text.to_owned())
    }

    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Val::Nil)
    }

    /// What an attribute stores of it.
    pub(super) fn stored(&self) -> Res<AnyValue> {
        let value = match self.clone() {
            Val::Nil => None,
            Val::Bool(value) => Some(Any::BoolValue(value)),
            Val::Int(value) => Some(Any::IntValue(value)),
            Val::Double(value) => Some(Any::DoubleValue(value)),
            Val::Text(text) if text.len() > LONG => return Err(No::Unsure),
            Val::Text(text) => Some(Any::StringValue(text)),
            Val::Bytes(value) => Some(Any::BytesValue(value)),
            Val::List(values) => Some(Any::ArrayValue(ArrayValue { values })),
            Val::Map(values) => Some(Any::KvlistValue(KeyValueList { values })),
            Val::TraceId(_) | Val::SpanId(_) | Val::Time(_) | Val::Duration(_) => {
                return Err(No::Fails);
            }
        };
        let any = AnyValue { value };
        if depth(&any) > DEEP || prost::Message::encoded_len(&any) > LONG {
            return Err(No::Unsure);
        }
        Ok(any)
    }

    /// The entries of a map; anything else fails.
    pub(super) fn entries(self) -> Res<Vec<KeyValue>> {
        match self {
            Val::Map(map) => Ok(map),
            _ => Err(No::Fails),
        }
    }

    pub(super) fn into_text(self) -> Res<String> {
        match self {
            Val::Text(text) => Ok(text),
            _ => Err(No::Fails),
        }
    }

    pub(super) fn into_int(self) -> Res<i64> {
        match self {
            Val::Int(value) => Ok(value),
            _ => Err(No::Fails),
        }
    }

    /// As text where a function takes what is like text; nil stays nil.
    pub(super) fn like_text(&self) -> Res<Option<String>> {
        Ok(Some(match self {
            Val::Nil => return Ok(None),
            Val::Text(text) => text.clone(),
            Val::Bytes(bytes) => hex(bytes),
            Val::Bool(_) | Val::Int(_) | Val::Double(_) | Val::List(_) | Val::Map(_) => {
                json(&self.stored()?)?
            }
            _ => return Err(No::Unsure),
        }))
    }

    /// As `stringify_all` and `body.string` write it.
    pub(super) fn plain(&self) -> Res<String> {
        match self {
            Val::Nil => Ok(String::new()),
            Val::Bytes(bytes) => Ok(base64(bytes)),
            other => Ok(other.like_text()?.unwrap_or_default()),
        }
    }
}

fn depth(any: &AnyValue) -> usize {
    1 + match &any.value {
        Some(Any::ArrayValue(list)) => list.values.iter().map(depth).max().unwrap_or(0),
        Some(Any::KvlistValue(map)) => {
            map.values.iter().filter_map(|kv| kv.value.as_ref()).map(depth).max().unwrap_or(0)
        }
        _ => 0,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// JSON as Go writes it: keys in order, a key that is there twice with its last value.
fn json(any: &AnyValue) -> Res<String> {
    Ok(match Val::of(Some(any)) {
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Double(value) => number(value)?,
        Val::Text(text) => quoted(&text)?,
        Val::Bytes(bytes) => format!("\"{}\"", base64(&bytes)),
        Val::List(values) => {
            let values: Res<Vec<String>> = values.iter().map(json).collect();
            format!("[{}]", values?.join(","))
        }
        Val::Map(entries) => {
            let mut members = BTreeMap::new();
            for entry in entries {
                let value = json(&entry.value.clone().unwrap_or_default())?;
                members.insert(entry.key.clone(), format!("{}:{value}", quoted(&entry.key)?));
            }
            format!("{{{}}}", members.into_values().collect::<Vec<_>>().join(","))
        }
        _ => "null".to_owned(),
    })
}

fn quoted(text: &str) -> Res<String> {
    let is_plain = |c: char| !c.is_control() && !"<>&\"\\\u{2028}\u{2029}".contains(c);
    let escaped: Res<String> = text
        .chars()
        .map(|c| match c {
            '"' => Ok("\\\"".to_owned()),
            '\\' => Ok("\\\\".to_owned()),
            '<' | '>' | '&' => Ok(format!("\\u{:04x}", u32::from(c))),
            c if is_plain(c) => Ok(c.to_string()),
            _ => Err(No::Unsure),
        })
        .collect();
    Ok(format!("\"{}\"", escaped?))
}

fn number(value: f64) -> Res<String> {
    if !value.is_finite() {
        return Err(No::Unsure);
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return Ok(if text.contains("e-") { text } else { text.replace('e', "e+") });
    }
    Ok(format!("{value}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    pub(super) const ALL: [Op; 6] = [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge];

    pub(super) fn sign(self) -> &'static str {
        match self {
            Op::Eq => "==",
            Op::Ne => "!=",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
        }
    }

    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Op::Eq => left == right,
            Op::Ne => left != right,
            Op::Lt => left < right,
            Op::Le => left <= right,
            Op::Gt => left > right,
            Op::Ge => left >= right,
        }
    }

    fn equality(self, is_equal: bool) -> bool {
        match self {
            Op::Eq => is_equal,
            Op::Ne => !is_equal,
            _ => false,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "integers are compared as doubles")]
pub(super) fn compare(op: Op, left: &Val, right: &Val) -> bool {
    match (left, right) {
        (Val::Nil, Val::Nil) => matches!(op, Op::Eq | Op::Le | Op::Ge),
        (Val::Bool(a), Val::Bool(b)) => op.holds(a, b),
        (Val::Int(a), Val::Int(b))
        | (Val::Time(a), Val::Time(b))
        | (Val::Duration(a), Val::Duration(b)) => op.holds(a, b),
        (Val::Int(a), Val::Double(b)) => op.holds(&(*a as f64), b),
        (Val::Double(a), Val::Int(b)) => op.holds(a, &(*b as f64)),
        (Val::Double(a), Val::Double(b)) => op.holds(a, b),
        (Val::Text(a), Val::Text(b)) => op.holds(&a.as_bytes(), &b.as_bytes()),
        (Val::Bytes(a), Val::Bytes(b)) => op.holds(a, b),
        (Val::Map(a), Val::Map(b)) => op.equality(same_map(a, b)),
        (Val::List(a), Val::List(b)) => op.equality(same_list(a, b)),
        (Val::TraceId(a), Val::TraceId(b)) => op.equality(a == b),
        (Val::SpanId(a), Val::SpanId(b)) => op.equality(a == b),
        _ => op == Op::Ne,
    }
}

fn same_list(left: &[AnyValue], right: &[AnyValue]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(Some(a), Some(b)))
}

fn same_map(left: &[KeyValue], right: &[KeyValue]) -> bool {
    let by_key = |map: &[KeyValue]| -> BTreeMap<String, Option<AnyValue>> {
        map.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    let (left, right) = (by_key(left), by_key(right));
    left.keys().eq(right.keys())
        && left.values().zip(right.values()).all(|(a, b)| same(a.as_ref(), b.as_ref()))
}

/// Equality inside of a map or list, where an integer is not a double.
fn same(left: Option<&AnyValue>, right: Option<&AnyValue>) -> bool {
    match (Val::of(left), Val::of(right)) {
        (Val::Int(_), Val::Double(_)) | (Val::Double(_), Val::Int(_)) => false,
        (a, b) => compare(Op::Eq, &a, &b),
    }
}

#[expect(clippy::cast_precision_loss, reason = "mixed numbers are doubles")]
pub(super) fn calculate(sign: char, left: &Val, right: &Val) -> Res<Val> {
    let doubles = |a: f64, b: f64| {
        Ok(Val::Double(match sign {
            '+' => a + b,
            '-' => a - b,
            '*' => a * b,
            _ if b == 0.0 => return Err(No::Fails),
            _ => a / b,
        }))
    };
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => Ok(Val::Int(match sign {
            '+' => a.wrapping_add(*b),
            '-' => a.wrapping_sub(*b),
            '*' => a.wrapping_mul(*b),
            _ if *b == 0 => return Err(No::Fails),
            _ => a.wrapping_div(*b),
        })),
        (Val::Int(a), Val::Double(b)) => doubles(*a as f64, *b),
        (Val::Double(a), Val::Int(b)) => doubles(*a, *b as f64),
        (Val::Double(a), Val::Double(b)) => doubles(*a, *b),
        (Val::Time(a), Val::Duration(b)) if sign == '+' => {
            a.checked_add(*b).map(Val::Time).ok_or(No::Unsure)
        }
        (Val::Duration(a), Val::Time(b)) if sign == '+' => {
            a.checked_add(*b).map(Val::Time).ok_or(No::Unsure)
        }
        (Val::Time(a), Val::Duration(b)) if sign == '-' => {
            a.checked_sub(*b).map(Val::Time).ok_or(No::Unsure)
        }
        (Val::Time(a), Val::Time(b)) if sign == '-' => {
            a.checked_sub(*b).map(Val::Duration).ok_or(No::Unsure)
        }
        (Val::Duration(a), Val::Duration(b)) if sign == '+' => {
            a.checked_add(*b).map(Val::Duration).ok_or(No::Unsure)
        }
        (Val::Duration(a), Val::Duration(b)) if sign == '-' => {
            a.checked_sub(*b).map(Val::Duration).ok_or(No::Unsure)
        }
        _ => Err(No::Fails),
    }
}
