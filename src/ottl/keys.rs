//! Which attributes an item has: enough to find it, and no values, which may be secret.

use super::{
    item::Item,
    language::{Access, Context, Point},
    value::{content, key_value},
    wire::fields,
};

/// Most keys that are listed, and the longest of each, in bytes.
const KEYS: usize = 20;
const KEY_LEN: usize = 64;

/// The keys of the attributes of an item, the first few.
pub fn keys(item: &Item<'_>, context: Context) -> Vec<String> {
    let number = match context {
        Context::Resource => 1,
        Context::Scope | Context::SpanEvent => 3,
        Context::SpanLink => 4,
        Context::Span => 9,
        Context::Log => 6,
        Context::Exemplar => 7,
        Context::Metric => 12,
        Context::DataPoint => match Point::Attributes.access(item.kind) {
            Some(Access::Attributes(number)) => number,
            _ => return Vec::new(),
        },
        Context::Request => return Vec::new(),
    };
    let message = item.bytes(context.tier());
    let entries = fields(message).filter_map(|field| content(&field, number));
    let key = |entry| {
        let (key, _) = key_value(entry);
        String::from_utf8_lossy(&key[..key.len().min(KEY_LEN)]).into_owned()
    };
    entries.take(KEYS).map(key).collect()
}
