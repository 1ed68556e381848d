//! Monthly budgets with the whole program: no kill, restart or reload lets an exporter exceed its
//! ceiling, each exporter's unit is what a backend counts, errors go first, and weights are right.

#![cfg(target_os = "linux")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message as _;

use crate::support::{
    Skep,
    backend::Backend,
    free_port,
    http_backend::http_backend,
    reloading::{APPLIED, World},
    wait_for,
};

/// Honeycomb behind a budget.
fn config(receiver: u16, metrics: u16, backend: u16, directory: &Path, budget: &str) -> String {
    format!(
        "extensions:\n  file_storage: {{directory: '{}', create_directory: true}}\n\
         receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{receiver}'}}}}}}\n\
         processors:\n  tail_sampling:\n    decision_wait: 1s\n    policies:\n      \
         - {{name: half, type: probabilistic, probabilistic: {{sampling_percentage: 50}}}}\n\
         exporters:\n  honeycomb:\n    endpoint: http://127.0.0.1:{backend}\n    api_key: key\n    \
         compression: none\n    sending_queue: {{dead_letters: file_storage}}\n    \
         budget: {{storage: file_storage, {budget}}}\n\
         service:\n  extensions: [file_storage]\n  \
         telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: \
         {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}\n  \
         pipelines:\n    traces: {{receivers: [otlp], exporters: [honeycomb]}}\n",
        directory.display()
    )
}

fn span(id: u128, name: &str) -> Span {
    Span {
        trace_id: id.to_be_bytes().to_vec(),
        span_id: vec![1; 8],
        name: name.to_owned(),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 2_000,
        ..Span::default()
    }
}

fn failed(span: Span) -> Span {
    Span { status: Some(Status { code: 2, ..Status::default() }), ..span }
}

/// A span that Honeycomb counts as four events.
fn rich(span: Span) -> Span {
    let events = vec![span::Event { name: "retry".to_owned(), ..span::Event::default() }; 2];
    Span { events, links: vec![span::Link::default()], ..span }
}

fn body(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let entry = ResourceSpans { scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec()
}

/// Sends a request; whether it was taken.
fn send(port: u16, path: &str, body: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: skep\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = String::new();
    let sent = stream.write_all(&[head.as_bytes(), body].concat());
    sent.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains(" 200 ")
}

/// The sum of a metric; `None` as long as the page has none of that name.
fn metric(port: u16, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let values = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let values: Vec<f64> =
        values.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    let sum = values.iter().sum::<f64>() as u64;
    (!values.is_empty()).then_some(sum)
}

fn spans(backend: &Backend) -> Vec<Span> {
    let taken = backend.taken();
    let entries = taken.traces.iter().flat_map(|request| &request.resource_spans);
    let scopes = entries.flat_map(|entry| &entry.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

/// What Honeycomb would have counted.
fn billed(backend: &Backend) -> u64 {
    let units = |span: &Span| 1 + span.events.len() as u64 + span.links.len() as u64;
    spans(backend).iter().map(units).sum()
}

/// Everything is sent that was taken.
fn is_idle(metrics: u16) -> bool {
    metric(metrics, "skep_exporter_queue_items") == Some(0)
}

/// Kills it again and again while requests come. What the backend has never exceeds the ceiling,
/// and the last processes find it reached.
#[test]
fn kills_and_restarts_under_load_never_exceed_the_ceiling() {
    const CEILING: u64 = 3000;
    let directory = tempfile::tempdir().unwrap();
    let (backend, backend_port) = http_backend(&[]);
    let mut random = fastrand::Rng::with_seed(1);
    let mut runs = 0;
    loop {
        runs += 1;
        let (receiver, metrics) = (free_port(), free_port());
        let budget = format!("per_month: {CEILING}, mode: stop");
        let config = config(receiver, metrics, backend_port, directory.path(), &budget)
            .replace("sending_queue: {", "sending_queue: {num_consumers: 1, ");
        let skep = Skep::start(&config, &[receiver, metrics]);
        let before = billed(&backend);
        for _ in 0..random.u32(40..120) {
            let batch = (0..2).map(|_| rich(span(random.u128(1..), "work"))).collect();
            assert!(send(receiver, "/v1/traces", &body(batch)), "nobody is refused");
        }
        let used = metric(metrics, "skep_exporter_budget_used").unwrap();
        drop(skep);
        let after = billed(&backend);
        assert!(after <= CEILING, "{after} of {CEILING} after {runs} runs");
        assert!(used <= CEILING && used >= before, "{before} {used} {after}");
        if after == before && runs > 1 {
            break;
        }
        assert!(runs < 100, "the ceiling is never reached");
    }
    // What a kill leaves counted but not sent is little: its block, and what was on its way.
    let sent = billed(&backend);
    assert!(sent > CEILING / 2, "{sent} of {CEILING} in {runs} runs");
}

#[test]
fn a_reload_changes_the_limit_at_once_and_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (backend, backend_port) = http_backend(&[]);
    let (receiver, metrics) = (free_port(), free_port());
    let of = |budget: &str| config(receiver, metrics, backend_port, directory.path(), budget);
    let world = World::start(&of("per_month: 40, mode: stop"), &[receiver, metrics]);
    let send_one =
        |id: u128| assert!(send(receiver, "/v1/traces", &body(vec![rich(span(id, "x"))])));
    (1..=20).for_each(send_one);
    wait_for("the ceiling", || billed(&backend) == 40 && is_idle(metrics));
    world.write(&of("per_month: 60, mode: stop"));
    world.hang_up(APPLIED);
    assert_eq!(metric(metrics, "skep_exporter_budget_used"), Some(40));
    assert_eq!(metric(metrics, "skep_exporter_budget_limit"), Some(60));
    (21..=40).for_each(send_one);
    wait_for("the higher ceiling", || billed(&backend) == 60 && is_idle(metrics));
    world.write(&of("per_month: 60, mode: warn"));
    world.hang_up(APPLIED);
    (41..=50).for_each(send_one);
    wait_for("everything", || billed(&backend) == 100);
    assert_eq!(metric(metrics, "skep_exporter_budget_used"), Some(100));
    world.stop();
    // The next process knows of it.
    let world = World::start(&of("per_month: 100, mode: stop"), &[receiver, metrics]);
    send_one(99);
    wait_for("the end of the month", || {
        is_idle(metrics) && metric(metrics, "skep_exporter_budget_used") == Some(100)
    });
    assert_eq!(billed(&backend), 100);
    let told = "The monthly budget is used up";
    wait_for("a line in the log", || world.log().contains(told));
    world.stop();
}

/// A payload in a queue on disk is counted once, by the process that sends it; what the budget
/// leaves out is a dead letter, which is counted when it is sent again.
#[test]
fn queues_on_disk_and_dead_letters_are_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let backend_port = free_port();
    let (receiver, metrics) = (free_port(), free_port());
    let of = |limit: u64| {
        config(
            receiver,
            metrics,
            backend_port,
            directory.path(),
            &format!("per_month: {limit}, mode: stop, left_out: dead_letters"),
        )
        .replace("sending_queue: {", "sending_queue: {storage: file_storage, ")
        .replace("api_key: key", "api_key: key\n    retry_on_failure: {initial_interval: 50ms}")
    };
    let skep = Skep::start(&of(1000), &[receiver, metrics]);
    for id in 1..=10 {
        assert!(send(receiver, "/v1/traces", &body(vec![rich(span(id, "x"))])));
    }
    // The backend is down. What was being tried is given back.
    assert!(skep.stop(), "all of it is on disk");
    let listener = std::net::TcpListener::bind(("127.0.0.1", backend_port)).unwrap();
    let sink = crate::support::sink::Sink::default();
    sink.serve(listener);
    let skep = Skep::start(&of(20), &[receiver, metrics]);
    wait_for("what the budget allows", || sink.counts().get("x") == Some(&5));
    wait_for("the dead letters", || metric(metrics, "skep_exporter_dead_letters_spans") == Some(5));
    assert_eq!(metric(metrics, "skep_exporter_budget_used"), Some(20));
    assert!(skep.stop());

    let control = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", &control, "--config", &format!("yaml:{}", of(28))]);
    let port = control.rsplit(':').next().unwrap().parse().unwrap();
    let skep = Skep::run(command, &[receiver, metrics, port]);
    let mut dlq = Command::new(env!("CARGO_BIN_EXE_skep"));
    dlq.args(["dlq", "replay", "--all", "--control-endpoint", &control]);
    let said = dlq.env_remove("SKEP_CONFIG").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("2 delivered with 2 items, 3 refused again"), "{said}");
    assert_eq!(sink.counts().get("x"), Some(&7));
    assert_eq!(metric(metrics, "skep_exporter_budget_used"), Some(28));
    let mut ask = Command::new(env!("CARGO_BIN_EXE_skep"));
    ask.args(["budget", "--format", "json", "--control-endpoint", &control]);
    let said = ask.env_remove("SKEP_CONFIG").output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    // Five by the process before, three of them once more.
    let services = serde_json::json!([{"service": "", "units": 32}]);
    let left_out = serde_json::json!({"paced": 0, "ceiling": 32, "services": services});
    assert_eq!(said[0]["left_out"], left_out, "{said:#}");
    assert!(skep.stop());
}

/// `skep health`: its exit code, and what it says.
fn health(port: u16) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    let output = command.args(["health", "--url", &format!("http://127.0.0.1:{port}/")]).output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Somebody removes the directory of the storage while skep runs. The probe says so, and the ledger
/// is there again with what was used.
#[test]
fn probes_tell_of_budgets_and_of_a_storage_that_is_gone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("storage");
    let (backend, backend_port) = http_backend(&[]);
    let (receiver, metrics, probe) = (free_port(), free_port(), free_port());
    let budget = "per_month: 20, mode: stop";
    let config = config(receiver, metrics, backend_port, &directory, budget)
        .replace(
            "extensions:\n",
            &format!("extensions:\n  health_check: {{endpoint: '127.0.0.1:{probe}'}}\n"),
        )
        .replace("extensions: [", "extensions: [health_check, ");
    let skep = Skep::start(&config, &[receiver, metrics, probe]);
    let open = "budget of honeycomb: 0 of 20 events used (0 %), everything passes\n";
    assert_eq!(health(probe), (Some(0), open.to_owned()));
    for id in 1..=4 {
        assert!(send(receiver, "/v1/traces", &body(vec![rich(span(id, "x"))])));
    }
    wait_for("what is sent", || billed(&backend) == 16 && is_idle(metrics));
    let nearly =
        "warning: the monthly budget of `honeycomb` is nearly used up: 16 of 20 events (80 %)\n";
    let said = health(probe);
    assert!(said.0 == Some(0) && said.1.starts_with(nearly), "{said:?}");

    std::fs::remove_dir_all(&directory).unwrap();
    wait_for("a probe that fails", || health(probe).0 == Some(69));
    let said = health(probe).1;
    let gone = "warning: the directory of `exporter_honeycomb_dead_letters_traces` in the storage `file_storage` is \
                gone: put it back, or restart skep";
    assert!(said.contains("answers 503") && said.contains(gone), "{said}");
    assert_eq!(metric(metrics, "skep_storage_missing"), Some(1));
    let ledger = directory.join("exporter_honeycomb_budget/ledger-a");
    wait_for("the ledger", || ledger.exists());
    assert!(skep.stop());
    let skep = Skep::start(&config, &[receiver, metrics, probe]);
    assert_eq!(metric(metrics, "skep_exporter_budget_used"), Some(16));
    assert_eq!(health(probe).0, Some(0));
    assert!(skep.stop());
}

/// Nothing is sampled.
const OUTAGE: &str = "per_month: 1000, mode: stop";

#[test]
fn an_outage_uses_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let (receiver, metrics) = (free_port(), free_port());
    let config = config(receiver, metrics, free_port(), directory.path(), OUTAGE)
        .replace(
            "api_key: key",
            "api_key: key\n    \
             retry_on_failure: {initial_interval: 10ms, max_interval: 20ms, max_elapsed_time: 50ms}",
        );
    let skep = Skep::start(&config, &[receiver, metrics]);
    for id in 1..=50 {
        assert!(send(receiver, "/v1/traces", &body(vec![rich(span(id, "x"))])));
    }
    let failed = || metric(metrics, "otelcol_exporter_send_failed_spans") == Some(50);
    wait_for("the end of all retries", failed);
    assert_eq!(metric(metrics, "skep_exporter_budget_used"), Some(0));
    drop(skep);
}

/// Tail sampling and then a budget: errors are all there, and the weights of what has come add up
/// to what was sent, within three standard deviations.
#[test]
#[expect(clippy::cast_precision_loss, reason = "statistics")]
fn tail_sampling_and_a_budget_keep_weighted_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (backend, backend_port) = http_backend(&[]);
    let (receiver, metrics) = (free_port(), free_port());
    let errors = "- {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}\n      - {name: half";
    // So that the month ends in two weeks, whatever the date: the pace depends on it.
    let day = (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).day() + 13) % 28 + 1;
    let budget = format!("per_month: 12000, reset_day: {day}");
    let config = config(receiver, metrics, backend_port, directory.path(), &budget)
        .replace("- {name: half", errors)
        .replace("receivers: [otlp], exp", "receivers: [otlp], processors: [tail_sampling], exp");
    let skep = Skep::start(&config, &[receiver, metrics]);
    let mut random = fastrand::Rng::with_seed(11);
    let (mut came, mut errors) = (0, 0);
    for _ in 0..80 {
        let batch = (0..100_u32).map(|n| {
            let one = span(random.u128(1..), "x");
            if n % 20 == 0 { failed(one) } else { one }
        });
        came += 95;
        errors += 5;
        assert!(send(receiver, "/v1/traces", &body(batch.collect())));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(skep.stop());
    let kept = spans(&backend);
    let (failed, rest): (Vec<_>, Vec<_>) = kept.into_iter().partition(|one| one.status.is_some());
    assert_eq!(failed.len(), errors, "every error");
    assert!(rest.len() < came * 9 / 20, "{} of {came}: the budget has left out some", rest.len());
    let rate = |span: &Span| {
        let found = span.attributes.iter().find(|one| one.key == "SampleRate");
        match found.and_then(|one| one.value.clone()?.value) {
            Some(Value::IntValue(rate)) => rate as f64,
            _ => 1.0,
        }
    };
    let sum: f64 = rest.iter().map(&rate).sum();
    let variance: f64 = rest.iter().map(|one| rate(one) * (rate(one) - 1.0) + 0.25).sum();
    let error = (sum - came as f64) / variance.sqrt();
    assert!(error.abs() < 3.0, "{sum} of {came}: {error} deviations");
}
