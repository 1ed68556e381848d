//! An item of a tap as a page shows it.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    admin::proto::{TapChange, TapFate, TapItem, TapVerdict},
    otlp::{self, Signal},
    tap::{Single, fields},
};

/// Largest item that can be copied as OTLP/JSON, in bytes.
const COPIED: usize = 64 << 10;
/// Most fields of a row.
const FIELDS: usize = 500;
/// Longest value, in characters of JSON.
const VALUE: usize = 4096;

/// An item. Numbers are exact in a browser, so times are in microseconds and values are JSON.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    at_unix_us: u64,
    fate: &'static str,
    signal: String,
    service: String,
    name: String,
    trace_id: String,
    span_id: String,
    duration_us: Option<u64>,
    status: String,
    reason: String,
    verdict: Option<TapVerdict>,
    of_in: u64,
    of_out: u64,
    split: bool,
    changes: Vec<TapChange>,
    /// All fields, as it went in; as it came out where that was not seen.
    fields: Vec<(String, String)>,
    /// How many there are beyond [`FIELDS`].
    more_fields: usize,
    /// It alone as a request in OTLP/JSON; `None` if it is larger than [`COPIED`].
    otlp: Option<String>,
}

impl Row {
    pub(super) fn of(item: TapItem) -> Self {
        let fate = match item.fate() {
            TapFate::Unspecified | TapFate::Passed => "passed",
            TapFate::Unchanged => "unchanged",
            TapFate::Changed => "changed",
            TapFate::Dropped => "dropped",
            TapFate::Created => "created",
            TapFate::Inside => "inside",
        };
        let body = if item.before.is_empty() { item.after } else { item.before };
        let signal = Signal::ALL.into_iter().find(|signal| signal.name() == item.signal);
        let otlp = signal.and_then(|signal| as_json(signal, &body));
        let all = signal.map(|signal| Single { signal, body, masked: Vec::new() });
        let all = all.map(|one| fields::distinct(&one)).unwrap_or_default();
        let more_fields = all.len().saturating_sub(FIELDS);
        let shown = all.into_iter().take(FIELDS);
        Row {
            at_unix_us: item.at_unix_us,
            fate,
            signal: item.signal,
            service: item.service,
            name: item.name,
            trace_id: item.trace_id,
            span_id: item.span_id,
            duration_us: item.duration_nano.map(|nanos| nanos / 1000),
            status: item.status,
            reason: item.reason,
            verdict: item.verdict,
            of_in: item.of_in,
            of_out: item.of_out,
            split: item.split,
            changes: item.changes,
            fields: shown.map(|(name, value)| (name, cut(value.to_string()))).collect(),
            more_fields,
            otlp,
        }
    }
}

fn as_json(signal: Signal, body: &[u8]) -> Option<String> {
    if body.len() > COPIED {
        return None;
    }
    let mut out = Vec::new();
    otlp::json::write(signal, &[Bytes::copy_from_slice(body)], &mut out);
    String::from_utf8(out).ok()
}

/// At most [`VALUE`] characters.
fn cut(mut json: String) -> String {
    if let Some((at, _)) = json.char_indices().nth(VALUE) {
        json.truncate(at);
        json.push_str("...");
    }
    json
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::otlp::plain::{bytes, spans};

    #[test]
    fn a_row_has_all_fields_with_exact_numbers() {
        let request = spans(&[json!({
            "name": "GET <b>", "startTimeUnixNano": "1732000000000000123",
            "attributes": {"http.route": "/cart", "note": "x".repeat(5000)},
        })]);
        let before = bytes(Signal::Traces, &request);
        let row = Row::of(TapItem {
            signal: "traces".to_owned(),
            fate: TapFate::Dropped.into(),
            duration_nano: Some(1500),
            before,
            ..TapItem::default()
        });
        assert_eq!((row.fate, row.duration_us), ("dropped", Some(1)));
        let value = |name: &str| {
            let found = row.fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| &**value).unwrap_or_default()
        };
        assert_eq!(value("start_time_unix_nano"), "1732000000000000123");
        assert_eq!(value("attributes.http.route"), "\"/cart\"");
        assert_eq!(value("attributes.note").len(), VALUE + 3);
        assert!(row.otlp.unwrap().contains("1732000000000000123"));
    }

    #[test]
    fn what_is_too_large_to_copy_is_shown_without() {
        let attributes: serde_json::Map<String, serde_json::Value> =
            (0..700).map(|i| (format!("key-{i}"), json!("x".repeat(100)))).collect();
        let before = bytes(Signal::Traces, &spans(&[json!({"attributes": attributes})]));
        let row = Row::of(TapItem { signal: "traces".into(), before, ..TapItem::default() });
        assert!(row.otlp.is_none() && row.fields.len() == FIELDS && row.more_fields >= 200);
        let nothing = Row::of(TapItem { before: vec![7, 7], ..TapItem::default() });
        assert!(nothing.fields.is_empty() && nothing.otlp.is_none());
    }
}
