//! Records as events: the cases of the reference's 5.8, and what any record may be.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::*;
use crate::otlp::wild::{self, OneOfs};

const TRACE: [u8; 16] = 0x68f0_a1b2_c3d4_e5f6_0718_293a_4b5c_6d7e_u128.to_be_bytes();

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Any::StringValue(text.to_owned())) }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn named(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_owned()))
}

fn request(resource: Vec<KeyValue>, log_records: Vec<LogRecord>) -> Content {
    let scope = InstrumentationScope { name: "app.views".to_owned(), ..Default::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
    let resource = Some(Resource { attributes: resource, ..Resource::default() });
    let entry = ResourceLogs { resource, scope_logs, ..ResourceLogs::default() };
    payload(ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec())
}

fn payload(body: Vec<u8>) -> Content {
    Content::new(Signal::Logs, body.into(), 1)
}

fn layout(config: &Config) -> Layout {
    Layout {
        group: Template::parse(Named::Group, &config.log_group_name).unwrap(),
        stream: Template::parse(Named::Stream, &config.log_stream_name).unwrap(),
        is_raw: config.raw_log,
        trace_field: config.xray_trace_id_field.clone(),
        longest: config.max_event_size,
        streams: Streams::new(config.max_streams),
        groups: Arc::default(),
    }
}

fn config() -> Config {
    Config {
        log_group_name: "/app/{ServiceName}".to_owned(),
        log_stream_name: "{attributes.tenant:-all}".to_owned(),
        ..Config::default()
    }
}

/// Group, stream, milliseconds and message of all events.
fn events(config: &Config, payload: &Content) -> Vec<(String, String, i64, String)> {
    let mut all = Vec::new();
    for batch in &layout(config).piece(&Work::all(payload)).encoded.all {
        let Target { group, stream } = batch.target();
        for (millis, message) in batch.events(7) {
            let message = String::from_utf8(message.to_vec()).unwrap();
            all.push((group.clone(), stream.clone(), millis, message));
        }
    }
    all
}

/// L07.
#[test]
fn a_record_has_the_layout_of_the_collector_and_the_trace_id_of_x_ray() {
    let record = LogRecord {
        time_unix_nano: 1_760_600_498_250_000_000,
        severity_number: 17,
        severity_text: "ERROR".to_owned(),
        body: Some(text("it \"broke\"\n")),
        trace_id: TRACE.to_vec(),
        span_id: vec![0xAB; 8],
        attributes: vec![attribute("a", Any::IntValue(1))],
        flags: 1,
        ..LogRecord::default()
    };
    let payload = request(vec![named("service.name", "web")], vec![record]);
    let [(group, stream, millis, message)] = &events(&config(), &payload)[..] else { panic!() };
    assert_eq!((&**group, &**stream, *millis), ("/app/web", "all", 1_760_600_498_250));
    let expected = json!({
        "body": "it \"broke\"\n",
        "severity_number": 17,
        "severity_text": "ERROR",
        "flags": 1,
        "trace_id": "68f0a1b2c3d4e5f60718293a4b5c6d7e",
        "xray_trace_id": "1-68f0a1b2-c3d4e5f60718293a4b5c6d7e",
        "span_id": "abababababababab",
        "attributes": {"a": 1},
        "scope": {"name": "app.views"},
        "resource": {"service.name": "web"},
    });
    assert_eq!(serde_json::from_str::<Json>(message).unwrap(), expected);
    assert!(message.starts_with(r#"{"body":"it"#), "{message}");
    let plain = Config { xray_trace_id_field: String::new(), ..config() };
    let [(.., message)] = &events(&plain, &payload)[..] else { panic!() };
    assert!(!message.contains("xray"), "{message}");
}

#[test]
fn empty_parts_are_left_out_and_lists_and_maps_stay_what_they_are() {
    let map = KeyValueList { values: vec![named("k", "v")] };
    let body = Some(AnyValue { value: Some(Any::KvlistValue(map)) });
    let record = LogRecord { observed_time_unix_nano: 5_000_000, body, ..LogRecord::default() };
    let all = events(&config(), &request(Vec::new(), vec![record, LogRecord::default()]));
    let messages: Vec<&str> = all.iter().map(|(.., message)| &**message).collect();
    // The one without any time comes in a batch of its own.
    assert_eq!(
        messages,
        [r#"{"scope":{"name":"app.views"}}"#, r#"{"body":{"k":"v"},"scope":{"name":"app.views"}}"#]
    );
    assert_eq!(all[0].0, "/app/undefined");
    assert_eq!((all[0].2, all[1].2), (7, 5), "now, and when it was observed");
}

/// L15, and that the stream counts only with the group.
#[test]
fn a_raw_body_goes_where_it_says_itself() {
    let config = Config { raw_log: true, ..config() };
    let bodies = [
        "plain \"text\"",
        r#"{"_aws":{"LogGroupName":"g","LogStreamName":"s"},"m":1}"#,
        r#"{"_aws":{"LogStreamName":"s"}}"#,
        r#"{"log_group_name":"old","log_stream_name":"so"}"#,
        r#"{"_aws":{"logGroupName":"a:b"}}"#,
        r#"{"_aws": broken"#,
        "",
    ];
    let record = |body: &&str| LogRecord { body: Some(text(body)), ..LogRecord::default() };
    let all = events(&config, &request(Vec::new(), bodies.iter().map(record).collect()));
    let mut targets: Vec<(&str, &str, &str)> =
        all.iter().map(|(group, stream, _, message)| (&**group, &**stream, &**message)).collect();
    targets.sort_by_key(|(.., message)| bodies.iter().position(|body| body == message));
    assert_eq!(
        targets,
        [
            ("/app/undefined", "all", bodies[0]),
            ("g", "s", bodies[1]),
            ("/app/undefined", "all", bodies[2]),
            ("old", "so", bodies[3]),
            ("a_b", "all", bodies[4]),
            ("/app/undefined", "all", bodies[5]),
        ]
    );
}

#[test]
fn streams_by_an_attribute_of_the_record_are_bounded() {
    let record = |tenant: &str| LogRecord {
        time_unix_nano: 1_000_000,
        body: Some(text(tenant)),
        attributes: vec![named("tenant", tenant)],
        ..LogRecord::default()
    };
    let payload = request(Vec::new(), ["a", "b", "c", "a", "d"].map(record).to_vec());
    let config = Config { max_streams: 2, raw_log: true, ..config() };
    let all = events(&config, &payload);
    let targets: Vec<(&str, &str)> =
        all.iter().map(|(_, stream, _, message)| (&**stream, &**message)).collect();
    assert_eq!(targets, [("a", "a"), ("a", "a"), ("b", "b"), ("overflow", "c"), ("overflow", "d")]);
}

#[test]
fn numbers_that_json_has_not_are_texts() {
    let record = LogRecord {
        body: Some(AnyValue { value: Some(Any::DoubleValue(f64::INFINITY)) }),
        attributes: vec![attribute("loss", Any::DoubleValue(f64::NAN))],
        ..LogRecord::default()
    };
    let payload = request(Vec::new(), vec![record]);
    let own: Json = serde_json::from_str(&events(&config(), &payload)[0].3).unwrap();
    assert_eq!((&own["body"], &own["attributes"]["loss"]), (&json!("Infinity"), &json!("NaN")));
    let raw = Config { raw_log: true, ..config() };
    assert_eq!(events(&raw, &payload)[0].3, "Infinity");
}

/// What the Collector makes of them (`AsString`): no quotes around bytes, doubles as ECMAScript has
/// them.
#[test]
fn raw_bodies_that_are_no_text_have_the_collectors_form() {
    let raw = Config { raw_log: true, ..config() };
    for (body, message) in [
        (Any::BytesValue(vec![1, 2]), "AQI="),
        (Any::DoubleValue(1e20), "100000000000000000000"),
        (Any::DoubleValue(1e-7), "1e-7"),
        (Any::DoubleValue(1e300), "1e+300"),
        (Any::BoolValue(true), "true"),
    ] {
        let body = Some(AnyValue { value: Some(body) });
        let record = LogRecord { body, ..LogRecord::default() };
        assert_eq!(events(&raw, &request(Vec::new(), vec![record]))[0].3, message);
    }
    let short = Config { max_event_size: 100, ..raw };
    let body = Some(AnyValue { value: Some(Any::BytesValue(vec![0; 4000])) });
    let record = LogRecord { body, ..LogRecord::default() };
    let message = &events(&short, &request(Vec::new(), vec![record]))[0].3;
    assert!(
        message.len() <= 100 && message.starts_with("AAAA") && message.ends_with(CUT),
        "{message}"
    );
}

#[test]
fn a_body_that_is_too_long_is_cut_and_the_event_stays_json() {
    let record = LogRecord {
        body: Some(text(&"\u{20ac}\n".repeat(400))),
        severity_text: "WARN".to_owned(),
        ..LogRecord::default()
    };
    let config = Config { max_event_size: 500, ..config() };
    let all = events(&config, &request(Vec::new(), vec![record]));
    let message = &all[0].3;
    assert!((495..=500).contains(&message.len()), "{}", message.len());
    let json: Json = serde_json::from_str(message).unwrap();
    assert_eq!(json["severity_text"], "WARN");
    assert!(json["body"].as_str().unwrap().ends_with(CUT), "{json}");
}

/// What a sender makes expand: a large resource and scope that many small records share, text of
/// which each byte becomes six, and records that are larger than any event.
#[test]
fn a_request_that_expands_goes_out_in_pieces_within_their_room() {
    let large =
        |letter: &str| ["a", "b", "c"].map(|key| named(key, &letter.repeat(60_000))).into_iter();
    let small = named("service.name", "web");
    let resource: Vec<KeyValue> = large("\u{1}").chain([small]).collect();
    let record = |body: String| LogRecord { body: Some(text(&body)), ..LogRecord::default() };
    let shared = request(resource, vec![record("x".to_owned()); 2000]);
    let escaped = vec![record("\u{1}\"".repeat(90_000)), record("x".to_owned())];
    let escaped = request(large("\"").collect(), escaped);
    for content in [Content { items: 2000, ..shared }, Content { items: 2, ..escaped }] {
        for (room, is_raw) in [(1 << 20, false), (1 << 20, true), (64 << 10, false)] {
            let layout = layout(&Config { raw_log: is_raw, ..config() });
            let mut work = Work { room, ..Work::all(&content) };
            let (mut items, mut events, mut sent) = (0, 0, 0);
            loop {
                let piece = layout.piece(&work);
                assert!(piece.held <= room, "{} bytes", piece.held);
                items += piece.items;
                for batch in &piece.encoded.all {
                    events += batch.events(7).len() as u64;
                    sent += batch.events(7).map(|(_, message)| message.len()).sum::<usize>();
                }
                let Some(next) = piece.next else { break };
                assert!(next.items() > work.from.items(), "it goes on");
                work.from = next;
            }
            assert_eq!((items, events), (content.items, content.items));
            assert!(sent < 4 << 20, "{sent} bytes of {}", content.len());
        }
    }
}

#[test]
fn parts_of_a_resource_that_do_not_fit_are_left_out_and_counted() {
    let resource = vec![named("big", &"x".repeat(20_000)), named("service.name", "web")];
    let payload = request(resource, vec![LogRecord::default()]);
    let message = &events(&config(), &payload)[0].3;
    let message: Json = serde_json::from_str(message).unwrap();
    let expected = json!({"service.name": "web", "otel.dropped_attributes_count": 1});
    assert_eq!(message["resource"], expected);
    let batches = layout(&config()).piece(&Work::all(&payload)).encoded;
    assert_eq!(batches.note.shortened, 1);
}

proptest! {
    #[test]
    fn any_record_is_one_event_within_its_size(
        seed: u64, is_raw: bool, longest in 40..2000_usize
    ) {
        let config = Config { raw_log: is_raw, max_event_size: longest, ..config() };
        let body = wild::request(Signal::Logs, seed, OneOfs::Mixed);
        let decoded = ExportLogsServiceRequest::decode(&body[..]).unwrap();
        let records = decoded.resource_logs.iter().flat_map(|entry| &entry.scope_logs);
        let count: usize = records.map(|scope| scope.log_records.len()).sum();
        let payload = payload(body);
        let left_out = layout(&config).piece(&Work::all(&payload)).encoded.note.lost();
        let all = events(&config, &payload);
        prop_assert_eq!(all.len() as u64 + left_out, count as u64);
        for (.., message) in all {
            prop_assert!(message.len() <= longest, "{}", message.len());
            if !is_raw && !message.ends_with(CUT) {
                prop_assert!(serde_json::from_str::<Json>(&message).is_ok(), "{message}");
            }
        }
    }
}
