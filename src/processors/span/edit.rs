//! What becomes of one span.

use regex::bytes::Regex;

use super::{Code, Config};
use crate::{
    otlp::{
        splice::Splicer,
        wire::{FieldValue, Fields, WireType, bytes_field_len, put_bytes, put_varint, tag},
    },
    ottl::{Value, content, key_value, regex},
};

/// `name`, `attributes` and `status` of a span.
const NAME: u32 = 5;
const ATTRIBUTES: u32 = 9;
const STATUS: u32 = 15;

/// Replaces a value in a name that is neither text nor number nor boolean. The Collector writes the
/// same.
const UNKNOWN: &[u8] = b"<unknown-attribute-type>";

/// The configuration, compiled.
#[derive(Debug)]
pub(super) struct Editor {
    from: Vec<Vec<u8>>,
    separator: Vec<u8>,
    rules: Vec<Regex>,
    breaks: bool,
    keeps_name: bool,
    /// The content of the status.
    status: Option<Vec<u8>>,
}

impl Editor {
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let to = config.name.to_attributes.clone().unwrap_or_default();
        let status = config.status.as_ref().and_then(|status| Some((status.code?, status)));
        Ok(Editor {
            from: config.name.from_attributes.iter().map(|key| key.clone().into()).collect(),
            separator: config.name.separator.clone().into(),
            rules: to.rules.iter().map(|rule| regex(rule)).collect::<Result<_, _>>()?,
            breaks: to.break_after_match,
            keeps_name: to.keep_original_name,
            status: status.map(|(code, status)| encoded(code, &status.description)),
        })
    }

    /// Edits a span, the innermost message of `out`.
    pub(super) fn edit<'a>(&self, span: &'a [u8], out: &mut Splicer<'a>) {
        let old = last_name(span);
        let mut name = self.name_of_attributes(span, out);
        let mut attributes: Vec<(&str, Vec<u8>)> = Vec::new();
        for rule in &self.rules {
            let current = name.as_deref().unwrap_or(old);
            let Some(found) = rule.captures(current) else { continue };
            let mut new = Vec::new();
            let mut copied = 0;
            for (at, group) in rule.capture_names().enumerate() {
                let (Some(group), Some(part)) = (group, found.get(at)) else { continue };
                if !out.pays(2 * (part.len() + group.len()) + 64) {
                    return;
                }
                attributes.retain(|(key, _)| *key != group);
                attributes.push((group, part.as_bytes().to_vec()));
                // A group inside of another is part of what is replaced already.
                if part.start() >= copied {
                    new.extend_from_slice(&current[copied..part.start()]);
                    new.push(b'{');
                    new.extend_from_slice(group.as_bytes());
                    new.push(b'}');
                    copied = part.end();
                }
            }
            new.extend_from_slice(&current[copied..]);
            if !self.keeps_name {
                if !out.pays(new.len()) {
                    return;
                }
                name = Some(new);
            }
            if self.breaks {
                break;
            }
        }
        let name = name.filter(|name| *name != old);
        let status = self.status.as_ref().filter(|status| !has_status(span, status));
        write(span, &Changes { name, attributes, status: status.map(Vec::as_slice) }, out);
    }

    /// The name that attributes make, if the span has all of them.
    fn name_of_attributes(&self, span: &[u8], out: &mut Splicer<'_>) -> Option<Vec<u8>> {
        if self.from.is_empty() {
            return None;
        }
        let mut name = Vec::new();
        for (i, key) in self.from.iter().enumerate() {
            let entries = fields(span).filter_map(|field| content(&field, ATTRIBUTES));
            let (_, any) = entries.map(key_value).find(|(known, _)| known == key)?;
            if i > 0 {
                name.extend_from_slice(&self.separator);
            }
            if !out.pays(any.len() + self.separator.len() + 32) {
                return None;
            }
            match Value::read(&any) {
                Value::Text(text) => name.extend_from_slice(&text),
                Value::Bool(value) => name.extend_from_slice(value.to_string().as_bytes()),
                Value::Int(value) => name.extend_from_slice(value.to_string().as_bytes()),
                Value::Double(value) => name.extend_from_slice(value.to_string().as_bytes()),
                _ => name.extend_from_slice(UNKNOWN),
            }
        }
        Some(name)
    }
}

/// What a span gets.
struct Changes<'c> {
    name: Option<Vec<u8>>,
    attributes: Vec<(&'c str, Vec<u8>)>,
    status: Option<&'c [u8]>,
}

fn fields(message: &[u8]) -> impl Iterator<Item = crate::otlp::wire::Field<'_>> {
    Fields::new(message).map_while(Result::ok)
}

fn last_name(span: &[u8]) -> &[u8] {
    let names = fields(span).filter_map(|field| match field.value {
        FieldValue::Len(name) if field.number == NAME => Some(name),
        _ => None,
    });
    names.last().unwrap_or_default()
}

/// The content of a `Status`.
fn encoded(code: Code, description: &str) -> Vec<u8> {
    let mut status = Vec::new();
    if !description.is_empty() {
        put_bytes(&mut status, 2, description.as_bytes());
    }
    if code != Code::Unset {
        put_varint(&mut status, tag(3, WireType::Varint));
        put_varint(&mut status, code as u64);
    }
    status
}

fn has_status(span: &[u8], status: &[u8]) -> bool {
    let mut all = fields(span).filter_map(|field| content(&field, STATUS));
    match (all.next(), all.next()) {
        (None, _) => status.is_empty(),
        (Some(one), None) => one == status,
        _ => false,
    }
}

/// The content of a `KeyValue` with a text.
fn entry(key: &str, text: &[u8]) -> Vec<u8> {
    let (mut any, mut entry) = (Vec::new(), Vec::new());
    put_bytes(&mut any, 1, text);
    put_bytes(&mut entry, 1, key.as_bytes());
    put_bytes(&mut entry, 2, &any);
    entry
}

/// An entry with the fields of the one before it that nobody knows.
fn with_rest(mut new: Vec<u8>, old: &[u8]) -> Vec<u8> {
    for field in fields(old).filter(|field| field.number > 2) {
        new.extend_from_slice(field.whole);
    }
    new
}

/// Writes what is new where the old was, or at the end.
fn write<'a>(span: &'a [u8], changes: &Changes<'_>, out: &mut Splicer<'a>) {
    let mut name = changes.name.as_deref();
    let mut status = changes.status;
    let mut attributes: Vec<Option<(&str, Vec<u8>)>> =
        changes.attributes.iter().map(|(key, text)| Some((*key, entry(key, text)))).collect();
    let (has_name, has_status) = (name.is_some(), status.is_some());
    let put = |out: &mut Splicer<'a>, old: &'a [u8], number: u32, new: Option<&[u8]>| {
        let len = new.map_or(0, |new| bytes_field_len(number, new.len()));
        out.replace(old, len, |out| {
            if let Some(new) = new {
                put_bytes(out, number, new);
            }
        });
    };
    for field in fields(span) {
        match (field.number, field.value) {
            (NAME, FieldValue::Len(_)) if has_name => put(out, field.whole, NAME, name.take()),
            (STATUS, FieldValue::Len(_)) if has_status => {
                put(out, field.whole, STATUS, status.take());
            }
            (ATTRIBUTES, FieldValue::Len(old)) if !attributes.is_empty() => {
                let (key, _) = key_value(old);
                let is_key = |new: &&mut Option<(&str, Vec<u8>)>| {
                    new.as_ref().is_some_and(|(new, _)| new.as_bytes() == key)
                };
                if let Some((_, new)) = attributes.iter_mut().find(is_key).and_then(Option::take) {
                    let new = with_rest(new, old);
                    if new != old {
                        put(out, field.whole, ATTRIBUTES, Some(&new));
                    }
                }
            }
            _ => {}
        }
    }
    let rest = attributes.iter().flatten().map(|(_, new)| (ATTRIBUTES, &**new));
    let missing = name.map(|new| (NAME, new)).into_iter().chain(rest);
    for (number, new) in missing.chain(status.map(|new| (STATUS, new))) {
        out.append(bytes_field_len(number, new.len()), |out| put_bytes(out, number, new));
    }
}
