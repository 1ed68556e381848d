//! The real X-Ray SDK for Python sends through skep to a backend made of the generated OTLP
//! services, and is told by skep what to sample, without an AWS account.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    process::Command,
};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span, span::SpanKind, status::StatusCode},
};

use crate::support::{Skep, backend::Backend, free_port, sdk, wait_for};

const RULES: &str = "{mode: local, rules: [\
    {rule_name: api, priority: 10, url_path: /api/*, reservoir_size: 3, fixed_rate: 1}, \
    {rule_name: health, priority: 20, url_path: /health, reservoir_size: 0, fixed_rate: 0}]}";

fn start(backend: u16, port: u16, metrics: u16, proxy: &str) -> Skep {
    let config = format!(
        "receivers:
  awsxray: {{endpoint: \"127.0.0.1:{port}\", proxy_server: {proxy}}}
exporters:
  otlp_grpc: {{endpoint: \"127.0.0.1:{backend}\", tls: {{insecure: true}}}}
service:
  telemetry:
    logs: {{level: warn}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}
  pipelines: {{traces: {{receivers: [awsxray], exporters: [otlp_grpc]}}}}
"
    );
    Skep::start(&config, &[port, metrics])
}

fn ask(port: u16, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn metric(port: u16, series: &str) -> u64 {
    let page = ask(port, "GET /metrics", "");
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {series} in {page}"))
}

fn words(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let word = |one: &KeyValue| match one.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|one| (one.key.as_str(), word(one))).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn the_sdk_for_python_is_sampled_and_understood() {
    let (backend, backend_port) = Backend::start(None);
    let (port, metrics) = (free_port(), free_port());
    let skep = start(backend_port, port, metrics, RULES);
    let mut client = Command::new(sdk::python().join("python"));
    client.arg(sdk::sources().join("xray_app.py")).arg(format!("127.0.0.1:{port}"));
    let output = client.env_remove("AWS_XRAY_DAEMON_ADDRESS").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let said: BTreeMap<_, _> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    let text = |key| metric(metrics, &format!("skep_receiver_{key}{{receiver=\"awsxray\"}}"));
    assert_eq!((said["rule"], said["share"]), ("api", "3"));
    let sampled = |rule: &str, kind: &str| {
        let name = "skep_receiver_sampling_requests";
        let labels = format!("receiver=\"awsxray\",rule=\"{rule}\",kind=\"{kind}\"");
        metric(metrics, &format!("{name}{{{labels}}}"))
    };
    assert!(sampled("api", "sampled") > 0 && sampled("health", "matched") >= 20);
    assert_eq!(sampled("health", "sampled"), 0);
    assert!(text("socket_buffer_bytes") > 0);
    assert!(text("repaired_fields") > 0, "the SDK wrote NaN");
    for reason in ["budget", "kernel", "malformed", "queue"] {
        let name = "skep_receiver_dropped_datagrams";
        let series = format!("{name}{{receiver=\"awsxray\",reason=\"{reason}\"}}");
        assert_eq!(metric(metrics, &series), 0, "{reason}");
    }
    assert!(skep.stop(), "nothing was lost");

    let taken = backend.taken();
    let entries = || taken.traces.iter().flat_map(|request| &request.resource_spans);
    let spans: Vec<&Span> =
        entries().flat_map(|entry| &entry.scope_spans).flat_map(|scope| &scope.spans).collect();
    let find = |name: &str| {
        let found =
            spans.iter().find(|span| span.name == name && hex(&span.trace_id) == said["trace"]);
        *found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
    };
    let root = find("backend-flask");
    assert_eq!((hex(&root.span_id).as_str(), root.kind()), (said["root"], SpanKind::Server));
    assert!(root.parent_span_id.is_empty() && root.end_time_unix_nano > root.start_time_unix_nano);
    let attributes = words(&root.attributes);
    for (key, value) in [
        ("user", "andrew"),
        ("ratio", "0.5"),
        ("paid", "true"),
        ("http.url", "http://shop.test/api/activities"),
        ("http.method", "GET"),
        ("http.status_code", "200"),
        ("aws.xray.metadata.shop", r#"{"cart":{"items":[1,2],"rate":null}}"#),
    ] {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key}: {attributes:?}");
    }
    let child = find("db");
    assert_eq!((hex(&child.span_id).as_str(), child.kind()), (said["child"], SpanKind::Client));
    assert_eq!(child.parent_span_id, root.span_id);
    assert_eq!(words(&child.attributes)["db.name"], "shop");
    let work = find("work");
    assert_eq!((&work.parent_span_id, work.kind()), (&child.span_id, SpanKind::Internal));
    assert_eq!(words(&work.attributes)["step"], "7");
    let broken = find("broken");
    assert_eq!(broken.status.as_ref().unwrap().code(), StatusCode::Error);
    let exception = words(&broken.events[0].attributes);
    assert_eq!(exception["exception.type"], "ValueError");
    assert_eq!(exception["exception.message"], "always fails");
    assert!(exception["exception.stacktrace"].contains("(xray_app.py: "), "{exception:?}");

    let of_many = spans.iter().filter(|span| hex(&span.trace_id) == said["many"]);
    assert_eq!(of_many.count(), 151);
    // Subsegments that are sent alone do not say what made them, and may come first.
    let has_root = |entry: &&ResourceSpans| {
        let spans = entry.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans.map(|span| &span.span_id).any(|id| *id == root.span_id)
    };
    let of_root = entries().find(has_root).unwrap();
    let resource = words(&of_root.resource.as_ref().unwrap().attributes);
    assert_eq!(resource["telemetry.sdk.language"], "python");
}

/// Datagrams of the second test, which is R19.
const SENT: u64 = 10_000;

/// What is sent is taken or counted, whatever it is; and what is asked is answered or refused.
#[test]
fn every_datagram_is_accounted_for() {
    let (backend, backend_port) = Backend::start(None);
    let (port, metrics) = (free_port(), free_port());
    let skep = start(backend_port, port, metrics, "{mode: local}");
    for (request, status, words) in [
        ("POST /GetSamplingRules", "200", "\"RuleName\":\"Default\""),
        ("POST /SamplingTargets", "200", "\"SamplingTargetDocuments\":[]"),
        ("POST /TraceSegments", "403", "\"message\":"),
        ("GET /GetSamplingRules", "405", "\"message\":"),
    ] {
        let answer = ask(port, request, "{}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains(words), "{answer}");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    let segment = "{\"format\":\"json\",\"version\":1}\n{\"name\":\"n\",\"id\":\"1111111111111111\",\
        \"trace_id\":\"1-68f0a1b2-c3d4e5f60718293a4b5c6d7e\",\"start_time\":1.5,\"end_time\":2}";
    for number in 0..SENT {
        let datagram = if number % 100 == 0 { "no segment" } else { segment };
        socket.send(datagram.as_bytes()).unwrap();
    }
    let dropped = |reason: &str| {
        let name = "skep_receiver_dropped_datagrams";
        metric(metrics, &format!("{name}{{receiver=\"awsxray\",reason=\"{reason}\"}}"))
    };
    let received = || metric(metrics, "skep_receiver_datagrams{receiver=\"awsxray\"}");
    let accepted = || {
        let name = "otelcol_receiver_accepted_spans";
        metric(metrics, &format!("{name}{{receiver=\"awsxray\",transport=\"udp\"}}"))
    };
    wait_for("the last datagram", || received() + dropped("kernel") == SENT);
    let of_us = || dropped("malformed") + dropped("budget") + dropped("queue");
    wait_for("the last span", || accepted() + of_us() == received());
    assert!(dropped("malformed") > 0);
    let taken = accepted();
    assert!(skep.stop(), "nothing was lost");
    let requests = backend.taken();
    let entries = requests.traces.iter().flat_map(|request| &request.resource_spans);
    assert_eq!(entries.flat_map(|entry| &entry.scope_spans).count() as u64, taken);
}
