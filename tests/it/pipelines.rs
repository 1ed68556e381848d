//! The program as people run it: exit codes, data from end to end.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

use crate::support::{Skep, free_port, wait_for};

fn skep() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.env_remove("HONEYCOMB_API_KEY").env_remove("SKEP_CONFIG").env("NO_COLOR", "1");
    command
}

fn validate(text: &str) -> Output {
    skep().args(["validate", "--config", &format!("yaml:{text}")]).output().unwrap()
}

#[test]
fn a_wrong_file_ends_with_78_and_says_where() {
    let output = validate("receivers:\n  otlp:\n    protocol:\n");
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("unknown key `protocol`") && errors.contains("did you mean `protocols`?"),
        "{errors}"
    );
}

/// The program itself, since it builds every component, and a debug build notices overflows.
#[test]
fn the_files_in_pipelines_are_valid() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut count = 0;
    for file in files {
        if file.ends_with("gateway.yaml") {
            // It needs certificates: `tests/it/scenarios.rs` runs it with some.
            continue;
        }
        let mut command = skep();
        command.args(["validate", "--config"]).arg(&file);
        command.env("HONEYCOMB_API_KEY", "hcaik_for_a_test").env("AWS_REGION", "us-east-1");
        let output = command.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}: {errors}", file.display());
        count += 1;
    }
    assert!(count > 6);
}

#[test]
fn wrong_usage_ends_with_64() {
    let output = skep().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn components_are_listed() {
    let output = skep().arg("components").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  - name: otlp_grpc\n    aliases: [otlp]\n"), "{text}");
}

#[test]
fn a_port_in_use_ends_with_69_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = config(&address, "http://127.0.0.1:1");
    let output = skep().args(["--config", &format!("yaml:{config}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains(&address) && errors.contains("in use"), "{errors}");
}

fn config(listen: &str, backend: &str) -> String {
    format!(
        "receivers:\n  otlp:\n    protocols:\n      http:\n        endpoint: {listen}\n\
         processors:\n  batch:\n    timeout: 50ms\n\
         exporters:\n  otlp_http:\n    endpoint: {backend}\n    retry_on_failure:\n      initial_interval: 50ms\n\
         service:\n  telemetry:\n    metrics:\n      level: none\n  pipelines:\n    traces:\n      \
         receivers: [otlp]\n      processors: [batch]\n      exporters: [otlp_http]\n"
    )
}

/// A backend that speaks just enough HTTP/1.1 and keeps the names of the spans it took.
fn backend(refuse_first: usize) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let names = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&names);
    let refusals = Arc::new(Mutex::new(refuse_first));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (taken, refusals) = (Arc::clone(&taken), Arc::clone(&refusals));
            thread::spawn(move || while answer(&stream, &taken, &refusals).is_some() {});
        }
    });
    (port, names)
}

/// Reads one request and answers it; `None` if the connection has ended.
fn answer(
    mut stream: &TcpStream,
    names: &Mutex<Vec<String>>,
    refusals: &Mutex<usize>,
) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let mut left = refusals.lock().unwrap();
    if *left > 0 {
        *left -= 1;
        return stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").ok();
    }
    assert!(head.contains("content-encoding: gzip"), "the default compression");
    let mut inflated = Vec::new();
    flate2::read::MultiGzDecoder::new(&*body).read_to_end(&mut inflated).unwrap();
    let request = ExportTraceServiceRequest::decode(&*inflated).unwrap();
    let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
    names.lock().unwrap().extend(spans.flat_map(|s| s.spans).map(|span| span.name));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}

fn request(name: &str) -> Vec<u8> {
    let span = Span { name: name.to_owned(), ..Span::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
}

fn post(port: u16, media_type: &str, body: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn start(port: u16, backend: u16) -> Skep {
    let config = config(&format!("127.0.0.1:{port}"), &format!("http://127.0.0.1:{backend}"));
    Skep::start(&config, &[port])
}

#[test]
fn spans_go_through_and_a_busy_backend_gets_them_again() {
    let (backend_port, names) = backend(2);
    let port = free_port();
    let running = start(port, backend_port);
    let answer = post(port, "application/x-protobuf", &request("one")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"two"}]}]}]}"#;
    let answer = post(port, "application/json", json).unwrap();
    assert!(answer.ends_with(r#"{"partialSuccess":{}}"#), "{answer}");
    wait_for("both spans", || names.lock().unwrap().len() == 2);
    let mut seen = names.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, ["one", "two"]);
    assert!(running.stop());
}

#[test]
fn what_is_in_a_batch_is_delivered_by_the_drain() {
    let (backend_port, names) = backend(0);
    let port = free_port();
    let running = start(port, backend_port);
    for i in 0..20 {
        let answer = post(port, "application/x-protobuf", &request(&i.to_string())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(running.stop());
    assert_eq!(names.lock().unwrap().len(), 20);
}

#[test]
fn what_cannot_be_delivered_ends_with_74() {
    let port = free_port();
    let running = start(port, free_port());
    let answer = post(port, "application/x-protobuf", &request("lost")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(running.end(), Some(74));
}

#[test]
fn wrong_bodies_are_refused_with_their_place() {
    let (backend_port, _) = backend(0);
    let port = free_port();
    let _running = start(port, backend_port);
    let answer = post(port, "application/x-protobuf", &[0x0A, 0x7F]).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("resource_spans[0]"), "{answer}");
    let answer = post(port, "text/plain", b"x").unwrap();
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
    assert!(answer.contains("with curl add -H 'content-type: application/json'"), "{answer}");
}
