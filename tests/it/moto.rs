//! The program against moto, another's idea of AWS; what has come there is read by the AWS SDK for
//! Python.
#![cfg(feature = "aws")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::{
    Skep, free_port,
    moto::{Moto, alone},
    sdk,
    segments::all_flat,
    wait_for,
};

/// skep from `receivers` to X-Ray at moto.
fn start(moto: &Moto, receivers: &str, receiver: &str, port: u16) -> Skep {
    let config = format!(
        "yaml:receivers:\n  {receivers}\nexporters:\n  awsxray: {{endpoint: \"{}\"}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [{receiver}], exporters: [awsxray]}}\n",
        moto.endpoint()
    );
    let mut command = alone(Command::new(env!("CARGO_BIN_EXE_skep")));
    command.args(["--control-endpoint", "off", "--config", &config]);
    Skep::run(command, &[port])
}

/// The documents of a trace, by id, once they have `count` segments and subsegments.
fn documents(moto: &Moto, trace: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    wait_for("all segments at moto", || {
        let answer = moto.call("xray", "batch_get_traces", &json!({"TraceIds": [trace]}));
        let segments = answer["Traces"][0]["Segments"].as_array().cloned().unwrap_or_default();
        let text = |segment: &Value| segment["Document"].as_str().unwrap().to_owned();
        found = segments.iter().map(|one| serde_json::from_str(&text(one)).unwrap()).collect();
        all_flat(&found).len() >= count
    });
    found.sort_by_key(|document: &Value| document["id"].to_string());
    assert_eq!(all_flat(&found).len(), count, "{found:#?}");
    found
}

fn post(port: u16, body: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: skep\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn word(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.into()))
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn spans_of_otlp_are_read_back_as_segments() {
    let moto = Moto::start();
    let port = free_port();
    let receiver = format!("otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}");
    let skep = start(&moto, &receiver, "otlp", port);
    let span = |id: u8, parent: Vec<u8>, kind: i32, name: &str, attributes| Span {
        trace_id: (0x60..0x70).collect(),
        span_id: vec![id; 8],
        parent_span_id: parent,
        kind,
        name: name.into(),
        start_time_unix_nano: 1_616_000_000_250_000_000,
        end_time_unix_nano: 1_616_000_000_500_000_000,
        attributes,
        ..Span::default()
    };
    let server = vec![
        word("http.request.method", "GET"),
        word("url.full", "http://shop.test/cart"),
        attribute("http.response.status_code", Any::IntValue(404)),
        word("cart", "full"),
    ];
    let client = vec![word("rpc.system", "aws-api"), word("rpc.service", "DynamoDB")];
    let spans = vec![
        span(1, vec![], 2, "GET /cart", server),
        span(2, vec![1; 8], 3, "DynamoDB.GetItem", client),
    ];
    let resource =
        Resource { attributes: vec![word("service.name", "shop")], ..Resource::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    post(port, &request.encode_to_vec());
    let found = documents(&moto, "1-60616263-6465666768696a6b6c6d6e6f", 2);
    let [segment, below] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((&segment["name"], &segment["id"]), (&json!("shop"), &json!("0101010101010101")));
    assert_eq!(segment["start_time"].as_f64(), Some(1_616_000_000.25));
    assert_eq!(segment["end_time"].as_f64(), Some(1_616_000_000.5));
    assert_eq!(segment["http"]["request"]["method"], "GET");
    assert_eq!(segment["http"]["response"]["status"], 404);
    assert_eq!((&segment["error"], &segment["fault"]), (&json!(true), &json!(false)));
    assert_eq!(segment["metadata"]["default"]["cart"], "full");
    assert_eq!((&below["name"], &below["namespace"]), (&json!("DynamoDB"), &json!("aws")));
    assert_eq!((&below["type"], &below["parent_id"]), (&json!("subsegment"), &segment["id"]));
    let summary = json!({"StartTime": 1_615_999_000, "EndTime": 1_616_001_000});
    let summaries = moto.call("xray", "get_trace_summaries", &summary);
    assert_eq!(summaries["TraceSummaries"][0]["Id"], "1-60616263-6465666768696a6b6c6d6e6f");
    assert!(skep.stop(), "nothing was lost");
}

/// Hands each datagram on to skep and keeps its document; gives its port.
fn listen_in(port: u16) -> (Arc<Mutex<Vec<Value>>>, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own_port = socket.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(len) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..len]);
            let (_, document) = text.split_once('\n').unwrap();
            // What is no number to JSON is null.
            let document = serde_json::from_str(&document.replace("NaN", "null")).unwrap();
            kept.lock().unwrap().push(document);
            socket.send_to(&buffer[..len], ("127.0.0.1", port)).unwrap();
        }
    });
    (heard, own_port)
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn segments_of_the_x_ray_sdk_are_read_back_as_they_were_sent() {
    let moto = Moto::start();
    let port = free_port();
    let rules = "{mode: local, rules: [\
        {rule_name: api, priority: 10, url_path: /api/*, reservoir_size: 3, fixed_rate: 1}, \
        {rule_name: health, priority: 20, url_path: /health, reservoir_size: 0, fixed_rate: 0}]}";
    let receiver = format!("awsxray: {{endpoint: \"127.0.0.1:{port}\", proxy_server: {rules}}}");
    let skep = start(&moto, &receiver, "awsxray", port);
    let (heard, udp) = listen_in(port);
    let mut client = Command::new(sdk::python().join("python"));
    client.arg(sdk::sources().join("xray_app.py"));
    client.arg(format!("tcp:127.0.0.1:{port} udp:127.0.0.1:{udp}"));
    let output = client.env_remove("AWS_XRAY_DAEMON_ADDRESS").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let many = said.lines().find_map(|line| line.strip_prefix("many ")).unwrap();
    let first = said.lines().find_map(|line| line.strip_prefix("trace ")).unwrap();
    for (trace, count) in [(first, 4), (many, 151)] {
        let trace = format!("1-{}-{}", &trace[..8], &trace[8..]);
        let found = all_flat(&documents(&moto, &trace, count));
        let sent = heard.lock().unwrap();
        let sent: Vec<Value> =
            sent.iter().filter(|one| one["trace_id"] == *trace).cloned().collect();
        assert_eq!(found, all_flat(&sent));
    }
    assert!(skep.stop(), "nothing was lost");
}
