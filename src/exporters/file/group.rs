//! Splits a request by an attribute of its resources.

use bytes::Bytes;

use crate::otlp::{
    Signal,
    record::Record,
    schema,
    wire::{FieldValue, Fields},
};

/// What stands for the `*` where a resource lacks the attribute, or has one that no file can be
/// named after. A file of its own, so that nothing is lost.
const UNNAMED: &str = "_";

/// Resource entries by the value of `attribute`, in order of the first of each.
pub(super) fn by_attribute(
    signal: Signal,
    body: &[Bytes],
    attribute: &str,
) -> Vec<(String, Vec<Bytes>)> {
    let mut groups: Vec<(String, Vec<Bytes>)> = Vec::new();
    for part in body {
        for field in Fields::new(part).map_while(Result::ok) {
            let FieldValue::Len(entry) = field.value else { continue };
            let segment = segment(signal, entry, attribute);
            let whole = part.slice_ref(field.whole);
            match groups.iter_mut().find(|(known, _)| *known == segment) {
                Some((_, parts)) => parts.push(whole),
                None => groups.push((segment, vec![whole])),
            }
        }
    }
    groups
}

fn segment(signal: Signal, entry: &[u8], attribute: &str) -> String {
    let message = match signal {
        Signal::Traces => &schema::RESOURCE_SPANS,
        Signal::Metrics => &schema::RESOURCE_METRICS,
        Signal::Logs => &schema::RESOURCE_LOGS,
    };
    let value = Record::read(message, [entry])
        .child("resource")
        .and_then(|r| r.children("attributes").find(|a| a.text("key") == attribute))
        .and_then(|a| a.child("value"))
        .map(|value| value.text("string_value").into_owned());
    value.filter(|text| is_confined(text)).unwrap_or_else(|| UNNAMED.to_owned())
}

/// Whether a value cannot lead out of the directory of the path: a sender chooses it.
fn is_confined(text: &str) -> bool {
    !text.contains(['\0', '\\'])
        && text.len() <= 200
        && text.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_leads_elsewhere_is_not_used() {
        assert!(is_confined("shop") && is_confined("team/shop") && is_confined("a..b"));
        for text in ["", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a\\b", "a\0"] {
            assert!(!is_confined(text), "{text}");
        }
    }
}
