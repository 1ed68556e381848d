//! Overload: senders push far more than the byte budget holds at a backend that takes its time.
//! The process stays within its budget and a bound for everything else, tells the senders when to
//! come back, and loses nothing that it accepted.
#![cfg(target_os = "linux")]

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::support::{Skep, free_port, slow_backend, watch::Watch};

/// The byte budget, and what the process may need beside it.
const BUDGET_MIB: u64 = 64;
const BESIDE_MIB: u64 = 30;
/// The backend takes so long over each answer.
const DELAY: Duration = Duration::from_millis(400);
/// Requests in flight at any time, and how many each sender has to get rid of: together several
/// times the budget.
const SENDERS: usize = 128;
const REQUESTS_EACH: usize = 16;
/// A request has 128 KiB.
const SPANS: usize = 64;
const SPAN_BYTES: usize = 2048;
const CONNECTIONS: usize = 4;
/// A sender gives up after this.
const PATIENCE: Duration = Duration::from_mins(2);

/// The n-th request of a sender: its spans have its name, and are as large as a span can get.
fn request(name: &str) -> ExportTraceServiceRequest {
    let attribute = KeyValue {
        key: "payload".to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue("x".repeat(SPAN_BYTES))) }),
        ..KeyValue::default()
    };
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![7; 8],
        name: name.to_owned(),
        attributes: vec![attribute],
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span; SPANS], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

/// What came of the requests.
#[derive(Default)]
struct Outcome {
    accepted: Mutex<Vec<String>>,
    /// Refusals that said when to come back.
    put_off: AtomicU64,
}

/// The tests take turns, so that each has the machine for itself.
static TURN: Mutex<()> = Mutex::new(());

/// Starts the program between `send` and a slow backend and checks what came of it. `send` gets
/// the port of the receiver and sends every request until it is accepted.
fn overload(protocol: &str, send: impl FnOnce(u16, &Arc<Outcome>)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken: Arc<Mutex<Vec<String>>> = Arc::default();
    let names = Arc::clone(&taken);
    let backend_port = slow_backend::start(
        DELAY,
        Arc::new(move |spans| names.lock().unwrap().extend(spans.into_iter().map(|s| s.name))),
    );
    let port = free_port();
    let config = format!(
        "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: {BUDGET_MIB}}}
  batch:
exporters:
  otlp_grpc:
    endpoint: 127.0.0.1:{backend_port}
    compression: none
    tls: {{insecure: true}}
    timeout: 30s
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_grpc]}}
"
    );
    let skep = Skep::start(&config, &[port]);
    let outcome = Arc::new(Outcome::default());
    let watch = Watch::start(&skep);
    send(port, &outcome);
    let peak = watch.peak_mib();
    assert!(skep.stop(), "it drained without loss");

    let accepted = outcome.accepted.lock().unwrap();
    assert_eq!(accepted.len(), SENDERS * REQUESTS_EACH);
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), accepted.len() * SPANS, "each span arrived once");
    let names: HashSet<&String> = taken.iter().collect();
    assert_eq!(names, accepted.iter().collect::<HashSet<_>>());
    assert!(outcome.put_off.load(Ordering::SeqCst) > 0, "nobody was told to come back");
    let bound = BUDGET_MIB + BESIDE_MIB;
    assert!(peak <= bound, "{peak} MiB at most where {bound} are allowed");
    assert!(peak > BUDGET_MIB / 2, "{peak} MiB at most: that was no overload");
}

/// Sends one request until it is accepted. A sender that comes back at once is harder to bear than
/// one that waits as it was told.
async fn send_by_grpc(client: &mut TraceServiceClient<Channel>, name: &str, outcome: &Outcome) {
    let start = Instant::now();
    loop {
        match client.export(request(name)).await {
            Ok(_) => break outcome.accepted.lock().unwrap().push(name.to_owned()),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                let text = String::from_utf8_lossy(status.details()).into_owned();
                assert!(text.contains("google.rpc.RetryInfo"), "{status}");
                outcome.put_off.fetch_add(1, Ordering::SeqCst);
            }
        }
        assert!(start.elapsed() < PATIENCE, "{name} was never accepted");
    }
}

#[test]
fn memory_stays_within_its_bound_over_grpc() {
    overload("grpc", |port, outcome| {
        slow_backend::runtime().block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let mut channels = Vec::new();
            for _ in 0..CONNECTIONS {
                channels.push(endpoint.connect().await.unwrap());
            }
            let mut senders = tokio::task::JoinSet::new();
            for sender in 0..SENDERS {
                let mut client = TraceServiceClient::new(channels[sender % CONNECTIONS].clone());
                let outcome = Arc::clone(outcome);
                senders.spawn(async move {
                    for turn in 0..REQUESTS_EACH {
                        send_by_grpc(&mut client, &format!("{sender}/{turn}"), &outcome).await;
                    }
                });
            }
            while let Some(done) = senders.join_next().await {
                done.unwrap();
            }
        });
    });
}

/// The status and the header lines of an answer, in lower case; its body is read and dropped.
fn answer(reader: &mut BufReader<&TcpStream>) -> Option<(u16, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; len.unwrap_or("0").parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head.split(' ').nth(1)?.parse().ok()?, head))
}

/// Sends one request over connections of its own until it is accepted. A client that is refused
/// before its body is read may find the connection closed while it writes; then it reads the
/// answer, or tries again.
fn send_by_http(port: u16, name: &str, outcome: &Outcome) {
    let body = request(name).encode_to_vec();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let start = Instant::now();
    loop {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let written =
            (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(&body));
        match answer(&mut BufReader::new(&stream)) {
            Some((200, _)) => break outcome.accepted.lock().unwrap().push(name.to_owned()),
            Some((status, head)) => {
                assert_eq!(status, 503, "{head}");
                assert!(head.contains("\r\nretry-after: "), "{head}");
                outcome.put_off.fetch_add(1, Ordering::SeqCst);
            }
            None => assert!(written.is_err(), "{name} was read whole and never answered"),
        }
        assert!(start.elapsed() < PATIENCE, "{name} was never accepted");
    }
}

#[test]
fn memory_stays_within_its_bound_over_http() {
    overload("http", |port, outcome| {
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                scope.spawn(move || {
                    for turn in 0..REQUESTS_EACH {
                        send_by_http(port, &format!("{sender}/{turn}"), outcome);
                    }
                });
            }
        });
    });
}
