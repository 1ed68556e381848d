#![expect(clippy::cast_precision_loss, reason = "numbers of tables")]

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::otlp::{
    schema::{Kind, Message, Presence},
    wire::{WireType, put_bytes, put_varint, tag},
};

/// A random request, made by the tables: fields in any order, values of a field several times,
/// numbers packed or not, unknown fields in between.
struct Generator {
    rng: fastrand::Rng,
}

impl Generator {
    fn message(&mut self, message: &Message, depth: u32) -> Vec<u8> {
        let mut order: Vec<usize> = (0..message.fields.len()).collect();
        self.rng.shuffle(&mut order);
        let mut out = Vec::new();
        for position in order {
            let field = &message.fields[position];
            let times = match field.presence {
                Presence::Always => 1,
                _ => self.rng.u32(0..=2),
            };
            for _ in 0..times {
                self.field(field.number, field.kind, field.presence, depth, &mut out);
            }
            if self.rng.u32(0..16) == 0 {
                put_bytes(&mut out, 1000 + self.rng.u32(0..9), b"unknown");
            }
        }
        out
    }

    fn field(
        &mut self,
        number: u32,
        kind: Kind,
        presence: Presence,
        depth: u32,
        out: &mut Vec<u8>,
    ) {
        match kind {
            Kind::Message(_) if depth == 0 && presence != Presence::Always => {}
            Kind::Message(of) => {
                let message = self.message(of, depth.saturating_sub(1));
                put_bytes(out, number, &message);
            }
            Kind::String => put_bytes(out, number, self.text().as_bytes()),
            Kind::Bytes => {
                let bytes: Vec<u8> = (0..self.rng.usize(0..9)).map(|_| self.rng.u8(..)).collect();
                put_bytes(out, number, &bytes);
            }
            Kind::Id(len) => {
                let len = if self.rng.bool() { len } else { 0 };
                let id: Vec<u8> = (0..len).map(|_| self.rng.u8(..)).collect();
                put_bytes(out, number, &id);
            }
            _ => self.number(number, kind, presence, out),
        }
    }

    fn number(&mut self, number: u32, kind: Kind, presence: Presence, out: &mut Vec<u8>) {
        let count = if presence == Presence::Repeated { self.rng.usize(0..4) } else { 1 };
        let mut values = Vec::new();
        let mut wire = WireType::Varint;
        for _ in 0..count {
            let bits = if self.rng.bool() { self.rng.u64(0..3) } else { self.rng.u64(..) };
            match kind {
                Kind::Fixed64 | Kind::Sfixed64 => {
                    wire = WireType::Fixed64;
                    values.push(bits.to_le_bytes().to_vec());
                }
                Kind::Double => {
                    wire = WireType::Fixed64;
                    values.push(self.double().to_le_bytes().to_vec());
                }
                Kind::Fixed32 => {
                    wire = WireType::Fixed32;
                    values.push(bits.to_le_bytes()[..4].to_vec());
                }
                _ => {
                    let bits = match kind {
                        Kind::Bool => bits & 1,
                        Kind::Int64 | Kind::Uint64 => bits,
                        _ => bits & 0x7FFF_FFFF,
                    };
                    let mut value = Vec::new();
                    put_varint(&mut value, bits);
                    values.push(value);
                }
            }
        }
        if presence == Presence::Repeated && self.rng.bool() {
            return put_bytes(out, number, &values.concat());
        }
        for value in values {
            put_varint(out, tag(number, wire));
            out.extend_from_slice(&value);
        }
    }

    fn double(&mut self) -> f64 {
        let special = [0.0, -0.0, 1.0, -1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        match self.rng.usize(0..16) {
            n if n < special.len() => special[n],
            _ => Some(f64::from_bits(self.rng.u64(..))).filter(|d| !d.is_nan()).unwrap_or(5e-324),
        }
    }

    fn text(&mut self) -> String {
        (0..self.rng.usize(0..6)).map(|_| self.rng.char('\0'..='\u{1F600}')).collect()
    }
}

/// What the oracle makes of a request, in its canonical encoding.
fn oracle(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).unwrap().encode_to_vec(),
    }
}

fn to_json(signal: Signal, bytes: Vec<u8>) -> String {
    let mut out = Vec::new();
    write(signal, &[Bytes::from(bytes)], &mut out);
    String::from_utf8(out).unwrap()
}

proptest! {
    #[test]
    fn requests_survive_json(seed: u64, which in 0usize..3) {
        let signal = Signal::ALL[which];
        let mut generator = Generator { rng: fastrand::Rng::with_seed(seed) };
        let bytes = generator.message(schema::request(signal), 7);
        let json = to_json(signal, bytes.clone());
        let back = to_protobuf(signal, json.as_bytes(), DEPTH_LIMIT).unwrap();
        prop_assert_eq!(oracle(signal, &back), oracle(signal, &bytes), "{}", json);
    }

    #[test]
    fn any_text_ends_in_bytes_or_an_error(text: String, which in 0usize..3) {
        let _ = to_protobuf(Signal::ALL[which], text.as_bytes(), DEPTH_LIMIT);
    }

    #[test]
    fn any_bytes_are_written_as_json(bytes: Vec<u8>, which in 0usize..3) {
        let json = to_json(Signal::ALL[which], bytes);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }

    #[test]
    fn json_cut_or_changed_at_any_place_does_not_panic(seed: u64, at: usize, with: u8) {
        let mut generator = Generator { rng: fastrand::Rng::with_seed(seed) };
        let bytes = generator.message(&schema::TRACES, 6);
        let mut json = to_json(Signal::Traces, bytes).into_bytes();
        let at = at % json.len();
        json[at] = with;
        let _ = to_protobuf(Signal::Traces, &json, DEPTH_LIMIT);
        let _ = to_protobuf(Signal::Traces, &json[..at], DEPTH_LIMIT);
    }
}

fn traces(json: &str) -> ExportTraceServiceRequest {
    let bytes = to_protobuf(Signal::Traces, json.as_bytes(), DEPTH_LIMIT).unwrap();
    ExportTraceServiceRequest::decode(&bytes[..]).unwrap()
}

/// A document with `span` as its only span.
fn span(span: &str) -> opentelemetry_proto::tonic::trace::v1::Span {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{span}}}]}}]}}]}}"#);
    traces(&json).resource_spans.remove(0).scope_spans.remove(0).spans.remove(0)
}

fn span_error(span: &str) -> String {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{span}}}]}}]}}]}}"#);
    to_protobuf(Signal::Traces, json.as_bytes(), DEPTH_LIMIT).unwrap_err().to_string()
}

fn value(json: &str) -> Option<Value> {
    let span = span(&format!(r#""attributes":[{{"key":"k","value":{json}}}]"#));
    span.attributes[0].value.clone().unwrap().value
}

#[test]
fn both_spellings_of_names_are_read() {
    let camel = span(r#""droppedAttributesCount":3,"startTimeUnixNano":"5","traceState":"a=b""#);
    let snake =
        span(r#""dropped_attributes_count":3,"start_time_unix_nano":5,"trace_state":"a=b""#);
    assert_eq!(camel, snake);
    assert_eq!((camel.dropped_attributes_count, camel.start_time_unix_nano), (3, 5));
}

/// A kind, a document with a place for a number, and how that is read.
type NumberKind = (&'static str, &'static str, fn(&[u8]) -> f64);

/// The fields of each kind of number, as a document with a value there, and how it is read back.
const NUMBERS: [NumberKind; 5] = [
    (
        "int64",
        r#"{"resourceLogs":[{"resource":{"attributes":[{"value":{"intValue":%}}]}}]}"#,
        |bytes| match attribute(bytes) {
            Some(Value::IntValue(value)) => value as f64,
            other => panic!("{other:?}"),
        },
    ),
    (
        "double",
        r#"{"resourceLogs":[{"resource":{"attributes":[{"value":{"doubleValue":%}}]}}]}"#,
        |bytes| match attribute(bytes) {
            Some(Value::DoubleValue(value)) => value,
            other => panic!("{other:?}"),
        },
    ),
    (
        "fixed64",
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":%}]}]}]}"#,
        |bytes| log(bytes).time_unix_nano as f64,
    ),
    (
        "uint32",
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"droppedAttributesCount":%}]}]}]}"#,
        |bytes| f64::from(log(bytes).dropped_attributes_count),
    ),
    (
        "enum",
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":%}]}]}]}"#,
        |bytes| f64::from(log(bytes).severity_number),
    ),
];

fn attribute(bytes: &[u8]) -> Option<Value> {
    let request = ExportLogsServiceRequest::decode(bytes).unwrap();
    request.resource_logs[0].resource.as_ref()?.attributes[0].value.clone()?.value
}

fn log(bytes: &[u8]) -> opentelemetry_proto::tonic::logs::v1::LogRecord {
    let request = ExportLogsServiceRequest::decode(bytes).unwrap();
    request.resource_logs[0].scope_logs[0].log_records[0].clone()
}

/// What a number in a field of some kind is, quoted or not; none where it is refused.
fn number(kind: &str, spelled: &str) -> Option<f64> {
    let (_, document, value) = NUMBERS.iter().find(|(own, ..)| *own == kind).unwrap();
    let json = document.replace('%', spelled);
    let bytes = to_protobuf(Signal::Logs, json.as_bytes(), DEPTH_LIMIT).ok()?;
    // What the official types read is the same; they know no exponents of integers.
    if let Ok(oracle) = serde_json::from_str::<ExportLogsServiceRequest>(&json) {
        let (own, oracle) = (value(&bytes), value(&oracle.encode_to_vec()));
        assert!(
            own.to_bits() == oracle.to_bits() || own.is_nan() && oracle.is_nan(),
            "{kind} {spelled}: {own} {oracle}"
        );
    }
    Some(value(&bytes))
}

#[test]
fn numbers_are_the_same_in_quotes() {
    let all = "int64 double fixed64 uint32 enum";
    let [no, every] = ["", all];
    for (spelled, value, takes) in [
        ("0", 0.0, every),
        ("-0", 0.0, every),
        ("7", 7.0, every),
        ("1.5e1", 15.0, every),
        ("1E+1", 10.0, every),
        ("1e3", 1000.0, every),
        ("20.0", 20.0, every),
        ("200e-1", 20.0, every),
        ("0.5", 0.5, "double"),
        ("1e-1", 0.1, "double"),
        ("-1", -1.0, "int64 double enum"),
        ("2147483647", 2_147_483_647.0, every),
        ("2147483648", 2_147_483_648.0, "int64 double fixed64 uint32"),
        ("4294967296", 4_294_967_296.0, "int64 double fixed64"),
        ("9223372036854775807", i64::MAX as f64, "int64 double fixed64"),
        ("-9223372036854775808", i64::MIN as f64, "int64 double"),
        ("18446744073709551615", u64::MAX as f64, "double fixed64"),
        ("18446744073709551616", 18_446_744_073_709_551_616.0, "double"),
        ("1e19", 1e19, "double fixed64"),
        ("1e308", 1e308, "double"),
        ("1e400", 0.0, no),
        ("-1e400", 0.0, no),
        ("1e-400", 0.0, every),
        ("007", 0.0, no),
        ("+7", 0.0, no),
        (".5", 0.0, no),
        ("5.", 0.0, no),
        ("0x10", 0.0, no),
        ("1e", 0.0, no),
        ("seven", 0.0, no),
    ] {
        for kind in all.split(' ') {
            let expected = takes.split(' ').any(|own| own == kind).then_some(value);
            assert_eq!(number(kind, spelled), expected, "{kind} {spelled}");
            assert_eq!(number(kind, &format!("\"{spelled}\"")), expected, "{kind} \"{spelled}\"");
        }
    }
    // In quotes alone: what JSON has no number for, and what it would pass over.
    for (spelled, value) in [("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)] {
        assert_eq!(number("double", &format!("\"{spelled}\"")), Some(value));
        assert_eq!(number("double", spelled), None);
    }
    assert!(number("double", "\"NaN\"").is_some_and(f64::is_nan));
    for kind in all.split(' ') {
        for refused in ["\"\"", "\" 7\"", "\"7 \"", "\"nan\"", "\"inf\"", "NaN", "true", "[]"] {
            assert_eq!(number(kind, refused), None, "{kind} {refused}");
        }
        assert_eq!(number(kind, " 7 "), Some(7.0), "blanks between are of JSON");
    }
    assert_eq!(number("int64", "\"NaN\""), None);
}

#[test]
fn enums_are_read_by_name_and_number() {
    assert_eq!(span(r#""kind":"SPAN_KIND_SERVER""#).kind, 2);
    assert_eq!(span(r#""kind":2"#).kind, 2);
    assert_eq!(span(r#""status":{"code":"STATUS_CODE_ERROR"}"#).status.unwrap().code, 2);
    // A value that is newer than the table is kept.
    assert_eq!(span(r#""kind":77"#).kind, 77);
}

#[test]
fn values_of_every_type_are_read() {
    assert_eq!(value(r#"{"bytesValue":"AQL/"}"#), Some(Value::BytesValue(vec![1, 2, 255])));
    assert_eq!(value(r#"{"bytesValue":"AQL_"}"#), Some(Value::BytesValue(vec![1, 2, 255])));
    assert_eq!(value(r#"{"bytesValue":"AQ"}"#), Some(Value::BytesValue(vec![1])));
    assert_eq!(value(r#"{"boolValue":false}"#), Some(Value::BoolValue(false)));
    assert_eq!(value(r#"{"doubleValue":1}"#), Some(Value::DoubleValue(1.0)));
    assert_eq!(
        value(r#"{"doubleValue":"-Infinity"}"#),
        Some(Value::DoubleValue(f64::NEG_INFINITY))
    );
    assert!(matches!(value(r#"{"doubleValue":"NaN"}"#), Some(Value::DoubleValue(d)) if d.is_nan()));
    assert_eq!(value(r#"{"stringValue":""}"#), Some(Value::StringValue(String::new())));
    assert_eq!(value("{}"), None);
    let Some(Value::KvlistValue(list)) =
        value(r#"{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}}"#)
    else {
        panic!("not a map");
    };
    assert_eq!(list.values[0].key, "a");
}

#[test]
fn ids_are_read_in_any_case_and_may_be_empty() {
    let span = span(
        r#""traceId":"0AF7651916CD43DD8448EB211C80319c","spanId":"b7AD6b7169203331","parentSpanId":"""#,
    );
    assert_eq!(span.trace_id[..3], [0x0A, 0xF7, 0x65]);
    assert_eq!(span.span_id[..2], [0xB7, 0xAD]);
    assert!(span.parent_span_id.is_empty());
}

#[test]
fn null_is_absent_and_unknown_fields_are_passed_over() {
    let span =
        span(r#""name":null,"attributes":null,"status":null,"later":{"a":[1,{"b":2}]},"kind":1"#);
    assert_eq!((span.kind, span.status), (1, None));
}

#[test]
fn the_last_of_two_equal_keys_wins_even_if_it_is_zero() {
    assert_eq!(span(r#""name":"a","name":"b""#).name, "b");
    assert_eq!(span(r#""name":"a","name":"""#).name, "");
    assert_eq!(span(r#""kind":3,"kind":0"#).kind, 0);
}

#[test]
fn escapes_are_read_and_a_lone_surrogate_costs_only_its_character() {
    assert_eq!(span(r#""name":"a\n\u00e9\ud83d\ude00""#).name, "a\n\u{e9}\u{1F600}");
    for (name, read) in [
        (r"cut \ud83d", "cut \u{FFFD}"),
        (r"\udc00x\ud83d\ud83d", "\u{FFFD}x\u{FFFD}\u{FFFD}"),
        (r"\ud800\u00ed", "\u{FFFD}\u{ed}"),
    ] {
        assert_eq!(span(&format!(r#""name":"{name}""#)).name, read);
    }
}

#[test]
fn long_messages_get_long_lengths() {
    for len in [100, 127, 128, 16_383, 16_384, 300_000] {
        let name = "n".repeat(len);
        assert_eq!(span(&format!(r#""name":"{name}""#)).name, name);
    }
}

#[test]
fn errors_name_the_path_and_the_place() {
    insta::assert_snapshot!(
        [
            span_error(r#""traceId":"abc""#),
            span_error(r#""traceId":"zz000000000000000000000000000000""#),
            span_error(r#""kind":"SERVER""#),
            span_error(r#""kind":1.5"#),
            span_error(r#""name":5"#),
            span_error(r#""attributes":[{"key":"a"},{"key":"b","value":{"intValue":"x"}}]"#),
            span_error(r#""attributes":[{"key":"a","value":"text"}]"#),
            span_error(r#""attributes":{}"#),
            span_error(r#""droppedEventsCount":-1"#),
            span_error(r#""endTimeUnixNano":"99999999999999999999""#),
            span_error(r#""attributes":[{"value":{"bytesValue":"%"}}]"#),
            span_error(r#""name":"a" "kind":1"#),
            to_protobuf(Signal::Logs, b"", 64).unwrap_err().to_string(),
            to_protobuf(Signal::Logs, b"[]", 64).unwrap_err().to_string(),
            to_protobuf(Signal::Logs, b"{}\n{}", 64).unwrap_err().to_string(),
            to_protobuf(Signal::Logs, b"{\n\"a\xFF\"", 64).unwrap_err().to_string(),
        ]
        .join("\n"),
        @r#"
        `resourceSpans[0].scopeSpans[0].spans[0].traceId` (JSON line 1 column 59): an id of 3 characters instead of 32 hexadecimal digits
        `resourceSpans[0].scopeSpans[0].spans[0].traceId` (JSON line 1 column 88): `zz000000000000000000000000000000` is not hexadecimal
        `resourceSpans[0].scopeSpans[0].spans[0].kind` (JSON line 1 column 59): unknown enum value `SERVER`, expected a number or `SPAN_KIND_...`
        `resourceSpans[0].scopeSpans[0].spans[0].kind` (JSON line 1 column 54): invalid value: floating point `1.5`, expected the number or the name of an enum value
        `resourceSpans[0].scopeSpans[0].spans[0].name` (JSON line 1 column 52): invalid type: integer `5`, expected a string
        `resourceSpans[0].scopeSpans[0].spans[0].attributes[1].value.intValue` (JSON line 1 column 104): invalid value: string "x", expected an integer, or a string with one
        `resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value` (JSON line 1 column 83): invalid type: string "text", expected an object (AnyValue)
        `resourceSpans[0].scopeSpans[0].spans[0].attributes` (JSON line 1 column 59): invalid type: map, expected a list
        `resourceSpans[0].scopeSpans[0].spans[0].droppedEventsCount` (JSON line 1 column 67): `-1` is not within 0 and 4294967295
        `resourceSpans[0].scopeSpans[0].spans[0].endTimeUnixNano` (JSON line 1 column 84): `99999999999999999999` is not within 0 and 18446744073709551615
        `resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.bytesValue` (JSON line 1 column 84): `%` is not base64
        `resourceSpans[0].scopeSpans[0].spans[0]` (JSON line 1 column 56): expected `,` or `}`
        JSON line 1 column 0: EOF while parsing a value
        JSON line 1 column 2: invalid type: sequence, expected an object (ExportLogsServiceRequest)
        JSON line 2 column 1: trailing characters
        JSON line 2 column 3: not valid UTF-8
        "#
    );
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| {
        let (open, close) = (r#"{"arrayValue":{"values":["#, "]}}");
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"value":{}{}}}]}}}}]}}"#,
            open.repeat(levels),
            close.repeat(levels)
        )
    };
    assert!(to_protobuf(Signal::Traces, nested(29).as_bytes(), DEPTH_LIMIT).is_ok());
    let error = to_protobuf(Signal::Traces, nested(33).as_bytes(), DEPTH_LIMIT).unwrap_err();
    assert_eq!(error.message, "values are nested too deep");
    let deep = "[".repeat(100_000);
    assert!(to_protobuf(Signal::Traces, deep.as_bytes(), DEPTH_LIMIT).is_err());
    let deep = format!(r#"{{"unknown":{deep}"#);
    assert!(to_protobuf(Signal::Traces, deep.as_bytes(), DEPTH_LIMIT).is_err());
}

#[test]
fn zeros_are_left_out_and_the_empty_objects_are_there() {
    let json =
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":0,"name":"","attributes":[]}]}]}]}"#;
    let bytes = to_protobuf(Signal::Traces, json.as_bytes(), DEPTH_LIMIT).unwrap();
    assert_eq!(
        to_json(Signal::Traces, bytes),
        r#"{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{},"spans":[{"status":{}}]}]}]}"#
    );
    assert_eq!(to_json(Signal::Logs, Vec::new()), "{}");
}

#[test]
fn what_is_written_is_what_the_collector_writes() {
    let json = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"-1"}}]},"scopeMetrics":[{"scope":{"name":"s"},"metrics":[{"name":"m","sum":{"dataPoints":[{"startTimeUnixNano":"1","asDouble":1},{"asInt":"0"}],"aggregationTemporality":2,"isMonotonic":true}},{"histogram":{"dataPoints":[{"count":"2","sum":0.5,"bucketCounts":["1","0","1"],"explicitBounds":[0.1,10],"min":0}]}}],"schemaUrl":"u"}]}]}"#;
    let bytes = to_protobuf(Signal::Metrics, json.as_bytes(), DEPTH_LIMIT).unwrap();
    assert_eq!(to_json(Signal::Metrics, bytes), json);
}

proptest! {
    /// A reader that takes the fast way is off by one in the last bit for one double in some.
    #[test]
    fn doubles_survive_to_the_last_bit(value in prop::num::f64::NORMAL) {
        let mut text = br#"{"attributes":[{"value":{"doubleValue":"#.to_vec();
        write_double(value, &mut text);
        let json = [br#"{"resourceLogs":[{"resource":"#, &text[..], b"}}]}}]}"].concat();
        let bytes = to_protobuf(Signal::Logs, &json, DEPTH_LIMIT).unwrap();
        prop_assert!(bytes.windows(8).any(|window| window == value.to_le_bytes()));
    }
}
