//! Backends that fail as they like, behind the whole program: whatever they do, every item that was
//! accepted arrives at least once, twice only where nobody could know that it had arrived, a dead
//! backend does not slow its siblings down, and the metrics page says what became of everything.
//!
//! What fails is drawn by a seed, which is printed; `SKEP_FAULT_SEED` sets it.
#![expect(clippy::print_stdout, reason = "what was seen belongs to the result")]

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tonic::{Code, transport::Endpoint};

use crate::support::{
    Skep,
    backend::Backend,
    fault_proxy::{Fault, FaultProxy, Protocol},
    free_port,
    http_backend::http_backend,
    wait_for,
};

/// Spans of a request, and bytes of a span.
const SPANS: usize = 20;
const SPAN_BYTES: usize = 1000;
const SENDERS: usize = 8;
/// Longest time for one request.
const PATIENCE: Duration = Duration::from_mins(1);

/// One test after the other, so that speeds can be compared.
static TURN: Mutex<()> = Mutex::new(());

fn seed() -> u64 {
    let given = std::env::var("SKEP_FAULT_SEED").ok().map(|text| text.parse().unwrap());
    given.unwrap_or_else(|| fastrand::u64(..))
}

fn request(number: usize) -> ExportTraceServiceRequest {
    let span = |i| Span {
        trace_id: vec![7; 16],
        span_id: vec![7; 8],
        name: format!("{number}/{i}"),
        attributes: vec![KeyValue {
            key: "payload".to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue("x".repeat(SPAN_BYTES))) }),
            ..KeyValue::default()
        }],
        ..Span::default()
    };
    let spans = (0..SPANS).map(span).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// Sends so many requests; each again while it is put off.
fn send(port: u16, requests: usize) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut senders = tokio::task::JoinSet::new();
        for first in 0..SENDERS {
            let mut client = TraceServiceClient::new(channel.clone());
            senders.spawn(async move {
                for number in (first..requests).step_by(SENDERS) {
                    let began = Instant::now();
                    while let Err(status) = client.export(request(number)).await {
                        assert_eq!(status.code(), Code::Unavailable, "{status}");
                        assert!(began.elapsed() < PATIENCE, "it is put off for ever");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        while let Some(done) = senders.join_next().await {
            done.unwrap();
        }
    });
}

/// How often each span arrived.
fn arrived(backend: &Backend) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    let taken = backend.taken();
    let resources = taken.traces.iter().flat_map(|request| &request.resource_spans);
    for span in resources.flat_map(|r| &r.scope_spans).flat_map(|scope| &scope.spans) {
        *counts.entry(span.name.clone()).or_default() += 1;
    }
    counts
}

/// A backend of a protocol.
fn backend(protocol: Protocol) -> (Backend, u16) {
    match protocol {
        Protocol::Http => http_backend(&[]),
        Protocol::Grpc => Backend::start(None),
    }
}

/// The metrics page, read whenever it is asked.
struct Page(u16);

impl Page {
    /// Sum of the samples whose line begins with `name` and has all of `labels`.
    fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0)).unwrap();
        let head = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let is_meant = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        let lines: Vec<&str> = text.lines().filter(is_meant).collect();
        assert!(!lines.is_empty(), "no {name} with {labels:?} in {text}");
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

/// Fast retries, many at a time, small requests.
const EXPORTER: &str = "compression: none, tls: {insecure: true}, timeout: 2s, \
    retry_on_failure: {initial_interval: 10ms, max_interval: 50ms, max_elapsed_time: 0s}, \
    sending_queue: {num_consumers: 4, queue_size: 10000}";

struct Program {
    skep: Skep,
    ports: Vec<u16>,
    page: Page,
}

/// `pipelines` are the exporters of each pipeline, which has a receiver of its own.
fn start(exporters: &str, pipelines: &[&str]) -> Program {
    let (ports, page): (Vec<u16>, u16) =
        (pipelines.iter().map(|_| free_port()).collect(), free_port());
    let mut config = "receivers:\n".to_owned();
    for (i, port) in ports.iter().enumerate() {
        let grpc = format!("{{endpoint: '127.0.0.1:{port}'}}");
        writeln!(config, "  otlp/{i}: {{protocols: {{grpc: {grpc}}}}}").unwrap();
    }
    config.push_str("processors: {batch: {timeout: 50ms, send_batch_size: 100}}\n");
    write!(config, "exporters:\n{exporters}service:\n  telemetry:\n").unwrap();
    config.push_str(
        "    logs: {level: error}\n    metrics: {readers: [{pull: {exporter: {prometheus: ",
    );
    write!(config, "{{host: 127.0.0.1, port: {page}}}}}}}}}]}}\n  pipelines:\n").unwrap();
    for (i, exporters) in pipelines.iter().enumerate() {
        let rest = format!("processors: [batch], exporters: [{exporters}]");
        writeln!(config, "    traces/{i}: {{receivers: [otlp/{i}], {rest}}}").unwrap();
    }
    let all = [&ports[..], &[page]].concat();
    Program { skep: Skep::start(&config, &all), ports, page: Page(page) }
}

/// The faults that a protocol knows; most requests go through.
fn faults(protocol: Protocol) -> Vec<Fault> {
    let own = match protocol {
        Protocol::Http => [
            Fault::Status(429, None),
            Fault::Status(503, None),
            Fault::Status(429, Some(0)),
            Fault::Status(503, Some(1)),
        ],
        Protocol::Grpc => [
            Fault::Grpc(14, None),
            Fault::Grpc(14, Some(30)),
            Fault::Grpc(8, Some(30)),
            Fault::Status(503, None),
        ],
    };
    let both = [Fault::Hang, Fault::HangTaken, Fault::Reset, Fault::ResetTaken, Fault::ResetTaken];
    let more = [Fault::Slow, Fault::Slow, Fault::Partial, Fault::Partial];
    [&own[..], &own, &both, &more, &[Fault::None; 30]].concat()
}

/// Whether everything has left the program, so that the accounts can be compared.
fn is_done(page: &Page, spans: u64) -> bool {
    let ended = ["otelcol_exporter_sent_spans", "skep_exporter_rejected_spans"];
    ended.iter().map(|name| page.sum(name, &[])).sum::<u64>() == spans
}

fn random_faults(protocol: Protocol, exporter: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    println!("SKEP_FAULT_SEED={seed}");
    let (backend, backend_port) = backend(protocol);
    let (mut random, choice) = (fastrand::Rng::with_seed(seed), faults(protocol));
    let proxy =
        FaultProxy::start(protocol, backend_port, move |_| choice[random.usize(..choice.len())]);
    let endpoint = format!("http://127.0.0.1:{}", proxy.port);
    let exporters = format!("  {exporter}: {{endpoint: '{endpoint}', {EXPORTER}}}\n");
    let program = start(&exporters, &[exporter]);
    let requests = 400;
    let sent = (requests * SPANS) as u64;
    send(program.ports[0], requests / 2);
    // Away altogether, for some attempts; then back.
    proxy.set_gone(true);
    std::thread::scope(|scope| {
        scope.spawn(|| send(program.ports[0], requests / 2));
        let before = program.page.sum("skep_exporter_retries", &[]);
        wait_for("attempts on a backend that is away", || {
            program.page.sum("skep_exporter_retries", &[]) >= before + 5
        });
        proxy.set_gone(false);
    });
    wait_for("the end of the work", || is_done(&program.page, sent));
    let page = &program.page;
    assert_eq!(page.sum("otelcol_receiver_accepted_spans", &[]), sent);
    assert_eq!(page.sum("otelcol_exporter_send_failed_spans", &[]), 0);
    assert_eq!(page.sum("skep_dropped_items", &[]), 0);
    let refused = proxy.refused();
    assert!(page.sum("skep_exporter_rejected_spans", &[]) <= refused.len() as u64);
    let (retries, failed) = (page.sum("skep_exporter_retries", &[]), proxy.failed());
    assert!(retries >= failed, "seed {seed}: {retries} retries of {failed} requests that failed");
    assert!(program.skep.stop());

    let counts = arrived(&backend);
    let mut doubled = 0;
    for number in 0..requests / 2 {
        for i in 0..SPANS {
            let name = format!("{number}/{i}");
            // Each was sent twice, once before and once after.
            let count = counts.get(&name).copied().unwrap_or_default();
            let rejected = refused.iter().filter(|refused| **refused == name).count() as u64;
            assert!(count + rejected >= 2, "seed {seed}: {name} is missing: {count} {rejected}");
            let unknown = proxy.unknown(&name);
            assert!(count <= 2 + unknown, "seed {seed}: {name} arrived {count} times, {unknown}");
            doubled += count.saturating_sub(2);
        }
    }
    println!(
        "{} requests, {failed} faults, {retries} retries, {doubled} spans twice",
        proxy.requests()
    );
}

#[test]
fn every_item_survives_random_faults_of_an_http_backend() {
    random_faults(Protocol::Http, "otlp_http");
}

#[test]
fn every_item_survives_random_faults_of_a_grpc_backend() {
    random_faults(Protocol::Grpc, "otlp_grpc");
}

/// Sends to a pipeline; how long until both of its living backends had everything.
fn time(port: u16, requests: usize, backends: [&Backend; 2]) -> Duration {
    let begin = Instant::now();
    send(port, requests);
    for backend in backends {
        wait_for("arrival", || arrived(backend).len() == requests * SPANS);
    }
    begin.elapsed()
}

#[test]
fn a_dead_backend_does_not_slow_its_siblings() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let hang = FaultProxy::start(Protocol::Grpc, 0, |_| Fault::Hang);
    let full = FaultProxy::start(Protocol::Http, 0, |_| Fault::Status(429, None));
    // Nobody listens; a connection that leads nowhere; a backend that refuses everything.
    let dead = [
        ("otlp_http", free_port(), "refused"),
        ("otlp_grpc", hang.port, "hanging"),
        ("otlp_http", full.port, "full"),
    ];
    let mut exporters = String::new();
    let mut pipelines = Vec::new();
    let mut backends = Vec::new();
    let with = |kind: &str, name: &str, port: u16, keys: &str| {
        format!("  {kind}/{name}: {{endpoint: 'http://127.0.0.1:{port}', {keys}}}\n")
    };
    // One that gives up, in a queue that fills: what it loses is counted, and concerns nobody else.
    let gives_up = "compression: none, tls: {insecure: true}, timeout: 100ms, \
        retry_on_failure: {initial_interval: 50ms, max_interval: 50ms, max_elapsed_time: 300ms}, \
        sending_queue: {num_consumers: 1, queue_size: 5}";
    for i in 0..=dead.len() {
        let (http, http_port) = http_backend(&[]);
        let (grpc, grpc_port) = Backend::start(None);
        exporters.push_str(&with("otlp_http", &format!("a{i}"), http_port, EXPORTER));
        exporters.push_str(&with("otlp_grpc", &format!("b{i}"), grpc_port, EXPORTER));
        let mut pipeline = format!("otlp_http/a{i}, otlp_grpc/b{i}");
        if let Some((kind, port, name)) = dead.get(i) {
            exporters.push_str(&with(kind, name, *port, gives_up));
            write!(pipeline, ", {kind}/{name}").unwrap();
        }
        pipelines.push(pipeline);
        backends.push((http, grpc));
    }
    let names: Vec<&str> = pipelines.iter().map(String::as_str).collect();
    let program = start(&exporters, &names);
    let requests = 250;
    let spans = (requests * SPANS) as u64;
    // The first pipelines have a dead backend, the last one has none.
    let alone = dead.len();
    let run = |i: usize| time(program.ports[i], requests, [&backends[i].0, &backends[i].1]);
    let without = run(alone);
    for (i, (kind, _, name)) in dead.iter().enumerate() {
        let took = run(i);
        println!("{name}: {took:?}, without it {without:?}");
        assert!(took < 3 * without + Duration::from_secs(1), "{name}: {took:?} and {without:?}");
        for sibling in
            [format!("exporter=\"otlp_http/a{i}\""), format!("exporter=\"otlp_grpc/b{i}\"")]
        {
            let labels = &[sibling.as_str()];
            wait_for("an account", || {
                program.page.sum("otelcol_exporter_sent_spans", labels) == spans
            });
        }
        let label = format!("exporter=\"{kind}/{name}\"");
        let count = |metric: &str| program.page.sum(metric, &[label.as_str()]);
        wait_for("the dead one's accounts", || {
            count("otelcol_exporter_send_failed_spans")
                + count("otelcol_exporter_enqueue_failed_spans")
                == spans
        });
        assert_eq!(count("otelcol_exporter_sent_spans"), 0, "{name}");
        assert!(count("skep_exporter_retries") > 0, "{name}");
    }
    // Reasons are those of the process.
    let lost = |reason: &str| program.page.sum("skep_dropped_items", &[reason]);
    let (exhausted, no_room) = (lost("retries_exhausted"), lost("queue_full"));
    assert_eq!(exhausted + no_room, spans * dead.len() as u64);
    assert_eq!(
        exhausted,
        program.page.sum("otelcol_exporter_send_failed_spans", &[]),
        "what was given up has run out of retries"
    );
    assert!(no_room > 0, "the queue of a dead backend is full");
    assert!(program.skep.stop());
    for (http, grpc) in &backends {
        for backend in [http, grpc] {
            assert!(arrived(backend).values().all(|count| *count == 1), "siblings get it once");
        }
    }
}

#[test]
fn what_a_backend_refuses_for_good_is_counted_by_its_reason() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (backend, port) = http_backend(&[]);
    let proxy = FaultProxy::start(Protocol::Http, port, |number| match number {
        0..20 if number % 2 == 0 => Fault::Status(400, None),
        _ => Fault::None,
    });
    let endpoint = format!("http://127.0.0.1:{}", proxy.port);
    let exporters = format!("  otlp_http: {{endpoint: '{endpoint}', {EXPORTER}}}\n");
    let program = start(&exporters, &["otlp_http"]);
    let requests = 100;
    send(program.ports[0], requests);
    let spans = (requests * SPANS) as u64;
    let page = &program.page;
    let sum = |name: &str| page.sum(name, &[]);
    wait_for("the end of the work", || {
        sum("otelcol_exporter_sent_spans") + sum("otelcol_exporter_send_failed_spans") == spans
    });
    let lost = sum("otelcol_exporter_send_failed_spans");
    assert_eq!(page.sum("skep_dropped_items", &["backend_refused"]), lost);
    assert_eq!(sum("skep_dropped_items"), lost);
    assert_eq!(arrived(&backend).len() as u64, spans - lost);
    assert!(program.skep.stop());
}
