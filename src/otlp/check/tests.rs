//! The check against handmade bytes.

use super::*;
use crate::otlp::wire::{put_bytes, put_varint};

fn nested(levels: &[u32], leaf: &[u8]) -> Vec<u8> {
    let mut bytes = leaf.to_vec();
    for number in levels.iter().rev() {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &bytes);
        bytes = outer;
    }
    bytes
}

fn span(leaf: &[u8]) -> Vec<u8> {
    nested(&[1, 2, 2], leaf)
}

fn verdict(signal: Signal, body: &[u8]) -> Result<u64, String> {
    check(signal, body, Utf8::Strict).map(|c| c.items).map_err(|e| e.to_string())
}

#[test]
fn an_empty_request_has_no_items() {
    assert_eq!(verdict(Signal::Traces, &[]), Ok(0));
}

#[test]
fn counts_spans_log_records_and_data_points_of_every_kind() {
    assert_eq!(verdict(Signal::Traces, &[span(&[]), span(&[])].concat()), Ok(2));
    assert_eq!(verdict(Signal::Logs, &span(&[])), Ok(1));
    assert_eq!(verdict(Signal::Metrics, &span(&[])), Ok(0), "an empty metric has no points");
    for kind in [5, 7, 9, 10, 11] {
        let two = [nested(&[1], &[]), nested(&[1], &[])].concat();
        let metric = nested(&[1, 2, 2, kind], &two);
        assert_eq!(verdict(Signal::Metrics, &metric), Ok(2), "kind {kind}");
    }
}

#[test]
fn the_error_names_the_place() {
    let good = nested(&[9], &[0x0A, 1, b'k']);
    let bad = nested(&[9, 1], &[0xFF]);
    let body = [span(&[]), span(&[good, bad].concat())].concat();
    assert_eq!(
        verdict(Signal::Traces, &body).unwrap_err(),
        "resource_spans[1].scope_spans[0].spans[0].attributes[1].key: not valid UTF-8"
    );
}

#[test]
fn strings_are_taken_as_they_are_where_the_check_is_off() {
    let body = span(&nested(&[5], &[0xFF, 0xFE]));
    assert!(check(Signal::Traces, &body, Utf8::Strict).is_err());
    assert!(check(Signal::Traces, &body, Utf8::Off).is_ok());
}

#[test]
fn the_plain_attribute_is_checked_like_any_other() {
    let plain = |key: &[u8], text: &[u8]| {
        let mut attribute = Vec::new();
        put_bytes(&mut attribute, 1, key);
        put_bytes(&mut attribute, 2, &nested(&[1], text));
        span(&nested(&[9], &attribute))
    };
    assert_eq!(verdict(Signal::Traces, &plain(b"key", b"value")), Ok(1));
    assert_eq!(verdict(Signal::Traces, &plain("s\u{e9}".as_bytes(), "\u{20ac}".as_bytes())), Ok(1));
    assert!(verdict(Signal::Traces, &plain(b"k\xFF", b"v")).is_err());
    assert!(verdict(Signal::Traces, &plain(b"key", b"12345678\x80")).is_err());
    assert_eq!(verdict(Signal::Traces, &plain(b"key", &[b'x'; 300])), Ok(1));
}

#[test]
fn ids_have_their_length_or_none() {
    for (number, right) in [(1, 16), (2, 8), (4, 8)] {
        assert!(verdict(Signal::Traces, &span(&nested(&[number], &vec![1; right]))).is_ok());
        assert!(verdict(Signal::Traces, &span(&nested(&[number], &[]))).is_ok());
        assert!(verdict(Signal::Traces, &span(&nested(&[number], &vec![1; right - 1]))).is_err());
    }
}

#[test]
fn a_known_field_with_another_wire_type_is_refused() {
    let error = verdict(Signal::Traces, &span(&[5 << 3, 1])).unwrap_err();
    assert!(error.ends_with(".name: wire type 0 where the field has another type"), "{error}");
}

#[test]
fn unknown_fields_pass_at_every_level() {
    let mut unknown = Vec::new();
    put_bytes(&mut unknown, 900, &[0xFF, 0xFF]);
    put_varint(&mut unknown, (901 << 3) | 1);
    unknown.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    let span_with = nested(&[2], &unknown);
    let scope = nested(&[2], &[span_with, unknown.clone()].concat());
    let body = nested(&[1], &[scope, unknown.clone()].concat());
    assert_eq!(verdict(Signal::Traces, &[body, unknown].concat()), Ok(1));
}

#[test]
fn packed_and_unpacked_numbers_both_pass() {
    let point = |leaf: &[u8]| nested(&[1, 2, 2, 9, 1], leaf);
    let packed = nested(&[6], &[0; 24]);
    let mut unpacked = Vec::new();
    for _ in 0..3 {
        unpacked.push((6 << 3) | 1);
        unpacked.extend([0; 8]);
    }
    assert_eq!(verdict(Signal::Metrics, &point(&[packed, unpacked].concat())), Ok(1));
    assert!(verdict(Signal::Metrics, &point(&nested(&[6], &[0; 9]))).is_err());
}

#[test]
fn a_list_of_numbers_where_one_belongs_is_refused() {
    for (number, content) in [(6, &[1][..]), (7, &[0; 8]), (16, &[0; 4])] {
        let error = verdict(Signal::Traces, &span(&nested(&[number], content))).unwrap_err();
        assert!(error.contains("wire type 2"), "{error}");
    }
}

/// Adds a message and those in it.
fn collect(message: &'static Message, found: &mut Vec<&'static Message>) {
    if found.iter().any(|known| std::ptr::eq(*known, message)) {
        return;
    }
    found.push(message);
    for field in message.fields {
        if let schema::Kind::Message(inner) = field.kind {
            collect(inner, found);
        }
    }
}

#[test]
fn every_message_is_reached_with_the_layouts_of_its_fields() {
    let mut found = Vec::new();
    for signal in Signal::ALL {
        collect(schema::request(signal), &mut found);
    }
    assert_eq!(found.len(), 34);
    for message in found {
        let name = message.name;
        let is_item = ["Span", "LogRecord"].contains(&name) || name.ends_with("DataPoint");
        assert_eq!(message.is_item, is_item, "{name}");
        for number in 0..64 {
            let is_known = !matches!(message.layout(number), Layout::Unknown);
            assert_eq!(is_known, message.field(number).is_some(), "{name} field {number}");
        }
        for field in message.fields {
            let is_attribute = matches!(field.kind, schema::Kind::Message(inner)
                if std::ptr::eq(inner, &raw const schema::KEY_VALUE));
            let layout = message.layout(field.number);
            assert_eq!(matches!(layout, Layout::KeyValue), is_attribute, "{name} {}", field.name);
        }
    }
}

#[test]
fn values_nested_too_deep_are_refused_without_a_stack_overflow() {
    let mut value = vec![0x0A, 0x00];
    for _ in 0..10_000 {
        value = nested(&[5, 1], &value);
    }
    let body = span(&nested(&[9, 2], &value));
    let error = check(Signal::Traces, &body, Utf8::Strict).unwrap_err();
    assert_eq!(error.fault, Fault::TooDeep);
}

#[test]
fn ascii_is_told_from_the_rest_at_every_length_and_position() {
    for len in 0..40 {
        let mut text = vec![b'a'; len];
        assert!(is_ascii(&text));
        for position in 0..len {
            text[position] = 0x80;
            assert!(!is_ascii(&text), "{position} of {len}");
            text[position] = b'a';
        }
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, signal in 0..3usize) {
        let _ = check(Signal::ALL[signal], &bytes, Utf8::Strict);
        let _ = check(Signal::ALL[signal], &span(&bytes), Utf8::Strict);
    }

    /// Whatever passes, prost decodes, and counts the same spans.
    #[test]
    fn what_passes_is_what_prost_decodes(bytes in proptest::collection::vec(0u8..40, 0..60)) {
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
        use prost::Message as _;
        let body = span(&bytes);
        if let Ok(checked) = check(Signal::Traces, &body, Utf8::Strict) {
            let decoded = ExportTraceServiceRequest::decode(&*body);
            proptest::prop_assert!(decoded.is_ok());
            let spans: usize = decoded.unwrap().resource_spans.iter()
                .flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
            proptest::prop_assert_eq!(spans as u64, checked.items);
        }
    }
}
