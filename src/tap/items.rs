//! Items of a payload as a tap sees them on its way through: by which key an item that went in is
//! known again when it comes out, and which trace it is of.
//!
//! The key is made of what processors seldom change: of a span its ids, of a log record everything
//! but its attributes, of a data point the name of its metric, its time and its attributes. Items
//! of the same key are told apart by their order.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::otlp::{
    Signal,
    content::{Content, Cursor, Step, Walk},
    view::{Data, Message},
    wire::FieldValue,
};

use super::{
    masks::Masks,
    single::{Single, Singles},
};

/// Most items of one payload that a tap looks at; a payload with more is missed as a whole.
pub const MOST: u64 = 1 << 16;

/// What identifies an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its trace, where it is of one.
    pub trace: Option<[u8; 16]>,
    /// By which it is known again.
    pub key: u64,
    /// By which it is chosen: the same for all items of a trace.
    pub draw: u64,
}

/// Shows each item of a content with its mark. `visit` gets a function that copies the item.
pub fn each(
    content: &Content,
    masks: &Masks,
    mut visit: impl FnMut(Mark, &mut dyn FnMut() -> Single),
) {
    let mut singles = Singles::new(masks);
    let mut from = Cursor::default();
    loop {
        let mut walk = Walk::new(content, from);
        // What a walk goes on with was entered by the one before.
        let mut metric = metric_of(&walk);
        while let Some(step) = walk.next() {
            match step {
                Step::Resource => singles.enter_resource(),
                Step::Scope => singles.enter_scope(),
                Step::Metric(_) => {
                    singles.enter_metric();
                    metric = metric_of(&walk);
                }
                Step::Item(item) => {
                    let mark = mark(content.signal, item, metric);
                    visit(mark, &mut || singles.item(&walk, item));
                }
            }
        }
        let Some(next) = walk.cursor() else { return };
        from = next;
    }
}

/// The hash of the name of the metric that is open, and the field of its points' attributes.
fn metric_of(walk: &Walk<'_>) -> (u64, u32) {
    let Some(metric) = walk.metric() else { return (0, 0) };
    let attributes = match metric.data {
        Some(Data::Histogram { .. }) => 9,
        Some(Data::ExponentialHistogram { .. }) => 1,
        Some(Data::Gauge(_) | Data::Sum { .. } | Data::Summary(_)) | None => 7,
    };
    (xxh3_64(metric.name.0), attributes)
}

/// The field of a point's time, of every kind of points.
const TIME: u32 = 3;

fn mark(signal: Signal, item: Message<'_>, (name, attributes): (u64, u32)) -> Mark {
    match signal {
        Signal::Traces => ids(item, (1, 2), &[9, 11, 13], true),
        Signal::Logs => ids(item, (9, 10), &[6], false),
        Signal::Metrics => {
            let key = hash(item, name, |number| number == TIME || number == attributes);
            Mark { trace: None, key, draw: key }
        }
    }
}

/// The mark of an item with the ids of a trace and a span in these fields. If the two do not
/// identify it, everything but the fields that processors edit does.
fn ids(item: Message<'_>, (trace, span): (u32, u32), edited: &[u32], is_unique: bool) -> Mark {
    let (mut trace_id, mut span_id) = (&[][..], &[][..]);
    item.each(|field| match (field.number, field.value) {
        (number, FieldValue::Len(id)) if number == trace => trace_id = id,
        (number, FieldValue::Len(id)) if number == span => span_id = id,
        _ => {}
    });
    let known: Option<[u8; 16]> = trace_id.try_into().ok().filter(|id| *id != [0; 16]);
    let key = match (known, span_id) {
        (Some(id), [_, ..]) if is_unique => xxh3_64_with_seed(span_id, xxh3_64(&id)),
        _ => hash(item, 0, |number| !edited.contains(&number)),
    };
    Mark { trace: known, key, draw: known.map_or(key, |id| xxh3_64(&id)) }
}

/// A hash of some fields, in any order.
fn hash(item: Message<'_>, seed: u64, is_part: impl Fn(u32) -> bool) -> u64 {
    let mut sum = seed;
    item.each(|field| {
        if is_part(field.number) {
            sum = sum.wrapping_add(xxh3_64_with_seed(field.whole, 1));
        }
    });
    xxh3_64(&sum.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::otlp::plain;

    fn marks(signal: Signal, request: &serde_json::Value) -> Vec<Mark> {
        let content = Content::new(signal, Bytes::from(plain::bytes(signal, request)), 0);
        let mut marks = Vec::new();
        each(&content, &Masks::new(&[], false).unwrap(), |mark, _| marks.push(mark));
        marks
    }

    #[test]
    fn a_span_is_known_by_its_ids_and_a_record_by_all_but_its_attributes() {
        let attributes = json!({"a": "b"});
        let id = |n: u8| format!("{n:032x}");
        let span = json!({"traceId": id(1), "spanId": "00000000000000a1", "name": "one"});
        let mut renamed = span.clone();
        renamed["name"] = json!("two");
        let mut other = span.clone();
        other["spanId"] = json!("00000000000000a2");
        let marks_of = marks(Signal::Traces, &plain::spans(&[span, renamed, other]));
        assert_eq!(marks_of[0], marks_of[1]);
        assert_ne!(marks_of[0].key, marks_of[2].key);
        assert_eq!(marks_of[0].draw, marks_of[2].draw, "one trace");
        let record = json!({"timeUnixNano": "5", "body": "x"});
        let mut edited = record.clone();
        edited["attributes"] = attributes;
        let mut later = record.clone();
        later["timeUnixNano"] = json!("6");
        let marks_of = marks(Signal::Logs, &plain::logs(&[record, edited, later]));
        assert_eq!(marks_of[0], marks_of[1]);
        assert_ne!(marks_of[0].key, marks_of[2].key);
        assert_eq!(marks_of[0].trace, None);
    }

    #[test]
    fn points_of_each_kind_are_known_by_metric_time_and_attributes() {
        let point = |n: u64| json!({"timeUnixNano": n.to_string(), "asInt": "1"});
        let gauge = |name: &str, n: u64| json!({"name": name, "gauge": {"dataPoints": [point(n)]}});
        let histogram =
            |n: u64| json!({"timeUnixNano": "1", "count": "5", "attributes": {"n": n.to_string()}});
        let metrics = [
            gauge("a", 1),
            gauge("b", 1),
            gauge("a", 2),
            json!({"name": "a", "sum": {"dataPoints": [{"timeUnixNano": "1", "asInt": "2"}]}}),
            json!({"name": "h", "histogram": {"dataPoints": [histogram(1), histogram(2)]}}),
            json!({"name": "s", "summary": {"dataPoints": [histogram(1)]}}),
            json!({"name": "e", "exponentialHistogram": {"dataPoints": [histogram(1)]}}),
        ];
        let marks = marks(Signal::Metrics, &plain::metrics(&metrics));
        let keys: HashSet<u64> = marks.iter().map(|mark| mark.key).collect();
        assert_eq!((marks.len(), keys.len()), (8, 7), "another value is no other point");
    }
}
