//! The program against an AWS of our own: signatures, limits, throttling, documents that are
//! refused.
#![cfg(feature = "aws")]

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

use crate::support::{
    Skep,
    aws_backend::{Aws, KEY, SECRET, aws_backend},
    free_port, wait_for,
};

/// skep with X-Ray behind it, in a region that only the environment says.
fn start(extra: &str) -> (Skep, u16, Arc<Mutex<Aws>>) {
    start_with(extra, "level: none")
}

fn start_with(extra: &str, metrics: &str) -> (Skep, u16, Arc<Mutex<Aws>>) {
    let (aws, backend) = aws_backend();
    let port = free_port();
    let config = format!(
        "yaml:receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: 127.0.0.1:{port}}}\n\
         exporters:\n  awsxray:\n    endpoint: http://127.0.0.1:{backend}\n    max_retries: 0\n    \
         retry_on_failure: {{initial_interval: 20ms}}\n{extra}\
         service:\n  telemetry: {{metrics: {{{metrics}}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], exporters: [awsxray]}}\n"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", "off", "--config", &config]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_DEFAULT_REGION", "ca-central-1");
    (Skep::run(command, &[port]), port, aws)
}

fn send(port: u16, names: &[&str]) {
    let span = |(number, name): (usize, &&str)| Span {
        trace_id: vec![7; 16],
        span_id: (number as u64 + 1).to_be_bytes().to_vec(),
        parent_span_id: vec![9; 8],
        name: (*name).to_owned(),
        start_time_unix_nano: 1_760_600_498_250_000_000,
        end_time_unix_nano: 1_760_600_498_500_000_000,
        ..Span::default()
    };
    let spans = names.iter().enumerate().map(span).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let entry = ResourceSpans { scope_spans, ..ResourceSpans::default() };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: skep\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn ids(aws: &Mutex<Aws>) -> HashSet<String> {
    let aws = aws.lock().unwrap();
    assert!(aws.faults.is_empty(), "{:?}", aws.faults);
    let all = aws.taken.iter().flatten().map(|one| one["id"].as_str().unwrap().to_owned());
    all.collect()
}

#[test]
fn spans_become_signed_requests_within_the_limits() {
    let (skep, port, aws) = start("");
    send(port, &["op"; 120]);
    wait_for("all segments", || ids(&aws).len() == 120);
    let mut sizes: Vec<usize> = aws.lock().unwrap().taken.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [20, 50, 50]);
    assert!(skep.stop());
}

#[test]
fn what_was_throttled_is_sent_again() {
    let (skep, port, aws) = start("");
    aws.lock().unwrap().refuse.extend([429, 429, 503]);
    send(port, &["op"; 10]);
    wait_for("all segments", || ids(&aws).len() == 10);
    let aws = aws.lock().unwrap();
    assert_eq!((aws.taken.len(), aws.refuse.len()), (1, 0), "once, after three refusals");
    drop(aws);
    assert!(skep.stop());
}

#[test]
fn a_segment_that_is_refused_does_not_hold_up_the_others() {
    let page = free_port();
    let metrics = format!(
        "readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}}}]"
    );
    let (skep, port, aws) = start_with("    num_workers: 1\n", &metrics);
    send(port, &["op", "refused", "op"]);
    send(port, &["next"]);
    wait_for("the next request", || {
        aws.lock().unwrap().taken.iter().flatten().any(|one| one["name"] == "next")
    });
    assert_eq!(aws.lock().unwrap().taken.iter().flatten().count(), 4, "nothing is sent twice");
    let counted = |series: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", page)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let mut lines = answer.lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok())
    };
    let refused = "otelcol_exporter_awsxray_unprocessed_segments{exporter=\"awsxray\",error_code=\"InvalidName\"}";
    wait_for("the count of refused segments", || counted(refused) == Some(1));
    let left_out =
        "otelcol_exporter_awsxray_untranslated_spans{exporter=\"awsxray\",reason=\"too_large\"}";
    assert_eq!(counted(left_out), Some(0));
    skep.stop();
}
