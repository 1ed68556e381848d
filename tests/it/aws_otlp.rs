//! The program against AWS's OTLP endpoints and STS of our own: what `sigv4auth` signs, for whom,
//! and what it learns from a refusal.
#![cfg(feature = "aws")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::support::{
    Skep,
    aws_otlp_backend::{Aws, KEY, ROLE, SECRET, aws_otlp_backend},
    free_port, wait_for,
};

/// skep with an endpoint of AWS for each signal. `role` is added to each authenticator.
fn start(role: &str, variables: &[(&str, &str)]) -> (Skep, u16, Arc<Mutex<Aws>>) {
    let (aws, backend) = aws_otlp_backend();
    let port = free_port();
    let mut config = format!(
        "yaml:receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: 127.0.0.1:{port}}}\nexporters:\n"
    );
    let services = ["xray", "logs", "monitoring"];
    let exporter = |service| {
        format!(
            "  otlp_http/{service}:\n    endpoint: http://127.0.0.1:{backend}\n    \
             auth: {{authenticator: sigv4auth/{service}}}\n    \
             headers: {{x-aws-log-group: app, x-aws-log-stream: web}}\n    \
             retry_on_failure: {{initial_interval: 20ms}}\n"
        )
    };
    config += &services.map(exporter).concat();
    config += "extensions:\n";
    let extension = |service| format!("  sigv4auth/{service}:\n    service: {service}\n{role}");
    config += &services.map(extension).concat();
    config += "service:\n  telemetry: {metrics: {level: none}}\n  \
               extensions: [sigv4auth/xray, sigv4auth/logs, sigv4auth/monitoring]\n  pipelines:\n    \
               traces: {receivers: [otlp], exporters: [otlp_http/xray]}\n    \
               logs: {receivers: [otlp], exporters: [otlp_http/logs]}\n    \
               metrics: {receivers: [otlp], exporters: [otlp_http/monitoring]}\n";
    let sts = format!("http://127.0.0.1:{backend}");
    let variables = [variables, &[("AWS_ENDPOINT_URL_STS", &*sts)]].concat();
    (Skep::run(command(&config, &variables), &[port]), port, aws)
}

/// skep with nothing of AWS in its environment but these.
fn command(config: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", "off", "--config", config]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_REGION", "ca-central-1")
        .envs(variables.iter().copied());
    command
}

const USER: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];

fn post(port: u16, path: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: skep\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A span with this name.
fn traces(name: &str) -> Vec<u8> {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        name: name.to_owned(),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let entry = ResourceSpans { scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec()
}

fn logs() -> Vec<u8> {
    let record = LogRecord { severity_text: "warn".to_owned(), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record; 100], ..ScopeLogs::default() }];
    let entry = ResourceLogs { scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec()
}

fn metrics() -> Vec<u8> {
    let data_points = vec![NumberDataPoint { time_unix_nano: 1, ..NumberDataPoint::default() }];
    let data = Some(Data::Gauge(Gauge { data_points }));
    let metric = Metric { name: "load".to_owned(), data, ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let entry = ResourceMetrics { scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec()
}

/// What was refused until so many requests were taken.
fn faults(aws: &Mutex<Aws>, taken: usize) -> Vec<String> {
    wait_for("the request", || aws.lock().unwrap().taken.len() >= taken);
    aws.lock().unwrap().faults.clone()
}

#[test]
fn every_signal_is_signed_for_its_service_over_the_body_as_it_goes_out() {
    let (skep, port, aws) = start("", &USER);
    let all = [("/v1/traces", traces("op")), ("/v1/logs", logs()), ("/v1/metrics", metrics())];
    for (number, (path, body)) in all.iter().enumerate() {
        post(port, path, body);
        assert_eq!(faults(&aws, number + 1), [""; 0]);
        let aws = aws.lock().unwrap();
        assert_eq!(aws.taken.last().unwrap(), &((*path).to_owned(), KEY.to_owned(), body.clone()));
    }
    assert!(skep.stop());
}

#[test]
fn a_session_that_has_ended_is_followed_by_a_new_one_at_once() {
    let role =
        format!("    assume_role: {{arn: '{ROLE}', external_id: word, session_name: test}}\n");
    let (skep, port, aws) = start(&role, &USER);
    post(port, "/v1/traces", &traces("first"));
    assert_eq!(faults(&aws, 1), [""; 0]);
    // Each of the three authenticators has asked at the start.
    wait_for("the sessions", || aws.lock().unwrap().asked.len() == 3);
    aws.lock().unwrap().ended = 3;
    post(port, "/v1/traces", &traces("second"));
    let faults = faults(&aws, 2);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("is expired"), "{faults:?}");
    let aws = aws.lock().unwrap();
    assert_eq!((aws.asked.len(), &*aws.taken[1].1), (4, "ASIA4"));
    assert_eq!(aws.taken[1].2, traces("second"));
    drop(aws);
    assert!(skep.stop());
}

#[test]
fn a_wrong_clock_is_corrected_by_the_first_refusal() {
    for ahead in [3 * 3600, -3 * 3600] {
        let (skep, port, aws) = start("", &USER);
        aws.lock().unwrap().ahead = ahead;
        post(port, "/v1/traces", &traces("first"));
        let first = faults(&aws, 1);
        assert!(first.len() == 1 && first[0].contains("Signature expired"), "{first:?}");
        post(port, "/v1/traces", &traces("second"));
        assert_eq!(faults(&aws, 2).len(), 1, "the second request has the right time");
        assert!(skep.stop());
    }
}

#[test]
fn a_web_identity_gives_a_role_without_keys() {
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(b"identity").unwrap();
    let role = format!(
        "    assume_role: {{arn: '{ROLE}', web_identity_token_file: '{}'}}\n",
        token.path().display()
    );
    let (skep, port, aws) = start(&role, &[]);
    post(port, "/v1/metrics", &metrics());
    assert_eq!(faults(&aws, 1), [""; 0]);
    let aws = aws.lock().unwrap();
    assert!(aws.taken[0].1.starts_with("ASIA"), "{:?}", aws.taken[0].1);
    assert!(aws.asked[0].contains("WebIdentityToken=identity"), "{:?}", aws.asked);
    drop(aws);
    assert!(skep.stop());
}

#[test]
fn a_request_that_a_wrong_secret_signs_is_not_sent_twice() {
    let wrong = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "mistyped")];
    let (skep, port, aws) = start("", &wrong);
    post(port, "/v1/traces", &traces("first"));
    wait_for("the refusal", || !aws.lock().unwrap().faults.is_empty());
    post(port, "/v1/logs", &logs());
    wait_for("the refusal", || aws.lock().unwrap().faults.len() == 2);
    skep.stop();
    let aws = aws.lock().unwrap();
    assert_eq!((aws.faults.len(), aws.taken.len()), (2, 0));
}

/// Takes a connection with TLS, offers both versions of HTTP, and says which one is spoken.
fn spoken() -> (u16, std::sync::mpsc::Receiver<Option<Vec<u8>>>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).unwrap();
        }
        tx.send(tls.alpn_protocol().map(<[u8]>::to_vec)).unwrap();
    });
    (port, rx)
}

#[test]
fn signed_requests_go_over_http_1_whatever_the_server_offers() {
    let signs = "    auth: {authenticator: sigv4auth}\n";
    for (auth, expected) in [(signs, "http/1.1"), ("", "h2")] {
        let (backend, spoken) = spoken();
        let port = free_port();
        let config = format!(
            "yaml:receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: 127.0.0.1:{port}}}\n\
             exporters:\n  otlp_http:\n    endpoint: https://localhost:{backend}\n    \
             tls: {{insecure_skip_verify: true}}\n{auth}extensions:\n  \
             sigv4auth: {{service: xray}}\nservice:\n  telemetry: {{metrics: {{level: none}}}}\n  \
             extensions: [sigv4auth]\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [otlp_http]}}\n"
        );
        let skep = Skep::run(command(&config, &USER), &[port]);
        post(port, "/v1/traces", &traces("op"));
        let spoken = spoken.recv_timeout(std::time::Duration::from_mins(1)).unwrap();
        assert_eq!(spoken.as_deref(), Some(expected.as_bytes()));
        drop(skep);
    }
}
