//! Members of a W3C `tracestate`: `vendor=value,other=value`.

use std::borrow::Cow;

use super::value::Value;

/// Most members.
const MEMBERS: usize = 32;

/// The value of a member: the empty text if it is absent, nil if the state cannot be read.
pub(crate) fn member<'a>(state: &'a [u8], key: &[u8]) -> Value<'a> {
    let Some(members) = members(state) else { return Value::Nil };
    let found = members.into_iter().find(|(name, _)| *name == key);
    found.map_or(Value::text(""), |(_, value)| Value::Text(Cow::Borrowed(value)))
}

/// The state with a member in front; `None` if the member or the state is invalid.
pub(crate) fn with_member(state: &[u8], key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if !is_key(key) || !is_value(value) {
        return None;
    }
    let others = members(state)?;
    let mut out = [key, b"=", value].concat();
    for (name, value) in others.into_iter().filter(|(name, _)| *name != key).take(MEMBERS - 1) {
        out.extend([b",", name, b"=", value].concat());
    }
    Some(out)
}

fn members(state: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    for member in state.split(|c| *c == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            continue;
        }
        let at = member.iter().position(|c| *c == b'=')?;
        let (key, value) = (&member[..at], &member[at + 1..]);
        if !is_key(key) || !is_value(value) || found.len() == MEMBERS {
            return None;
        }
        found.push((key, value));
    }
    Some(found)
}

fn is_key(key: &[u8]) -> bool {
    let is_first = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_other = |c: &u8| is_first(c) || matches!(c, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256 && key.first().is_some_and(is_first) && key.iter().all(is_other)
}

fn is_value(value: &[u8]) -> bool {
    let is_allowed = |c: &u8| matches!(c, 0x20..=0x7E) && !matches!(c, b',' | b'=');
    value.len() <= 256 && value.last().is_some_and(|c| *c != b' ') && value.iter().all(is_allowed)
}
