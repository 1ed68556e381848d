//! What the store of recent data costs: nanoseconds to digest a span, bytes to hold it, and how
//! long its questions take with 300 000 spans.
//!
//! `cargo bench --bench recent`; medians of several runs.

#![expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "a report of figures")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message as _;
use serde_json::json;
use skep::{
    otlp::Signal,
    recent::{self, Digester, Limits, Query, Recent, Settings, TraceFilter},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans of a request, and of a trace.
const REQUEST: usize = 100;
const TRACE: usize = 4;
/// Spans that are held while questions are asked.
const HELD: usize = 300_000;
const RUNS: usize = 9;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(random: &mut Rng, len: usize) -> Value {
    Value::StringValue((0..len).map(|_| random.alphanumeric()).collect())
}

fn one_of(random: &mut Rng, text: &str, count: u32) -> Value {
    Value::StringValue(format!("{text}{}", random.u32(..count)))
}

/// Twelve attributes: six that repeat, two with thousands of values, four that never repeat.
fn attributes(random: &mut Rng) -> Vec<KeyValue> {
    const ROUTES: [&str; 5] = ["/api/activities/home", "/api/messages", "/cart", "/search", "/"];
    let route = (*random.choice(ROUTES).expect("there are some")).to_owned();
    let query = format!("SELECT * FROM activities WHERE handle = '{}'", random.u32(..2000));
    vec![
        attribute("http.route", Value::StringValue(route)),
        attribute("http.response.status_code", Value::IntValue(200)),
        attribute("db.query.text", Value::StringValue(query)),
        attribute("app.vip", Value::BoolValue(random.bool())),
        attribute("user.id", Value::StringValue(format!("user-{}", random.u32(..5000)))),
        attribute("session.id", text(random, 32)),
        attribute("user_agent.original", one_of(random, "Mozilla/5.0 (X11; Linux) Version/", 40)),
        attribute("client.address", text(random, 12)),
        attribute("url.path", text(random, 40)),
        attribute("server.address", one_of(random, "shop.prod.internal.example.org-", 8)),
        attribute("thread.name", one_of(random, "worker-", 32)),
        attribute("url.query", text(random, 20)),
    ]
}

/// One request of traces that have begun a little before `now`.
fn request(random: &mut Rng, now: u64) -> Bytes {
    let mut spans = Vec::with_capacity(REQUEST);
    for _ in 0..REQUEST / TRACE {
        let trace = random.u128(..).to_be_bytes().to_vec();
        let root = random.u64(1..).to_be_bytes().to_vec();
        for at in 0..TRACE {
            let is_root = at == 0;
            let start = now - random.u64(..1_000_000_000);
            let id = if is_root { root.clone() } else { random.u64(1..).to_be_bytes().to_vec() };
            let code = if random.u32(..50) == 0 { 2 } else { 0 };
            spans.push(Span {
                trace_id: trace.clone(),
                span_id: id,
                parent_span_id: if is_root { Vec::new() } else { root.clone() },
                name: format!("GET /route/{}", random.u32(..30)),
                kind: 2,
                start_time_unix_nano: start,
                end_time_unix_nano: start + random.u64(..300_000_000),
                attributes: attributes(random),
                status: Some(Status { code, ..Status::default() }),
                flags: 0x101,
                ..Span::default()
            });
        }
    }
    let name = format!("service-{}", random.u32(..8));
    let resource = Resource {
        attributes: vec![attribute("service.name", Value::StringValue(name))],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let entry = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec().into()
}

/// CPU time of this thread, which is all that there is: on a machine that others use the time on
/// the wall says little.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("time is positive");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("less than a second"))
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = cpu_time();
            run();
            cpu_time().saturating_sub(begun)
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

fn report(name: &str, time: Duration) {
    println!("{name:<52} {:>9.2} ms", time.as_secs_f64() * 1e3);
}

/// A store that keeps everything that it is given.
fn store(bytes: usize) -> Recent {
    let settings = Settings { bytes, cpu: 1000.0, ..Settings::default() };
    Recent::new(settings).expect("large enough")
}

fn digest() {
    let mut random = Rng::with_seed(7);
    let now = recent::now();
    let requests: Vec<Bytes> = (0..400).map(|_| request(&mut random, now)).collect();
    let size = requests.iter().map(Bytes::len).sum::<usize>() / (400 * REQUEST);
    println!("spans of {size} bytes with 12 attributes, {TRACE} in a trace\n");
    let store = store(64 << 20);
    let time = median(|| {
        for request in &requests {
            store.offer(Signal::Traces, request, now);
            store.catch_up();
        }
    });
    println!("digest: {:.0} ns a span", time.as_nanos() as f64 / (400 * REQUEST) as f64);
    let offers = median(|| {
        for request in requests.iter().take(20) {
            store.offer(Signal::Traces, request, now);
        }
        store.catch_up();
    });
    println!("(offered in twenties: {:.0} ns a span)", offers.as_nanos() as f64 / 2000.0);
    let status = store.status();
    println!(
        "full: {} spans in {} MiB, {:.0} bytes a span; highest use {} of {}\n",
        status.spans,
        status.bytes >> 20,
        status.bytes as f64 / status.spans as f64,
        status.highest,
        status.bytes,
    );
}

fn ask(store: &Recent, name: &str, json: &str, now: u64) {
    let query = Query::from_json(json.as_bytes()).expect("a query");
    let limits = Limits { time: Duration::from_secs(10), ..Limits::default() };
    let answer = store.query(&query, limits, now);
    assert_eq!(answer.honesty.scanned, HELD as u64, "everything is looked at");
    report(name, median(|| drop(store.query(&query, limits, now))));
}

fn questions() {
    let mut random = Rng::with_seed(8);
    let now = recent::now();
    let store = store(256 << 20);
    for _ in 0..HELD / REQUEST {
        store.offer(Signal::Traces, &request(&mut random, now), now);
        store.catch_up();
    }
    println!("{HELD} spans:");
    ask(&store, "COUNT by http.route (5 groups)", r#"{"group_by": ["http.route"]}"#, now);
    ask(
        &store,
        "AVG(duration_ms), MAX(time) by user.id (5000)",
        r#"{"select": [{"op": "AVG", "field": "duration_ms"}, {"op": "MAX", "field": "time"}],
            "group_by": ["user.id"]}"#,
        now,
    );
    ask(
        &store,
        "P99, COUNT by service.name, name, with series",
        r#"{"select": [{"op": "P99", "field": "duration_ms"}, {"op": "COUNT"}],
            "group_by": ["service.name", "name"], "step_s": 1}"#,
        now,
    );
    ask(&store, "COUNT by session.id (all differ)", r#"{"group_by": ["session.id"]}"#, now);
    ask(
        &store,
        "HEATMAP(duration_ms) where error",
        r#"{"select": [{"op": "HEATMAP", "field": "duration_ms"}], "where": [["error", "=", true]]}"#,
        now,
    );
    lists(&store, now);
}

/// One trace of 10 000 spans, twenty below each.
fn large_trace(now: u64) -> Vec<Bytes> {
    let mut random = Rng::with_seed(9);
    let spans: Vec<Span> = (0..10_000_u64)
        .map(|at| Span {
            trace_id: vec![7; 16],
            span_id: (at + 1).to_be_bytes().to_vec(),
            parent_span_id: if at == 0 {
                Vec::new()
            } else {
                ((at - 1) / 20 + 1).to_be_bytes().to_vec()
            },
            name: format!("step {}", at % 200),
            start_time_unix_nano: now + at * 1000,
            end_time_unix_nano: now + 100_000_000,
            attributes: attributes(&mut random),
            ..Span::default()
        })
        .collect();
    let requests = spans.chunks(REQUEST).map(|spans| {
        let scope = ScopeSpans { spans: spans.to_vec(), ..ScopeSpans::default() };
        let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec().into()
    });
    requests.collect()
}

fn lists(store: &Recent, now: u64) {
    println!("\n{} traces:", store.status().traces);
    for (name, json) in [
        ("the latest 50", json!({})),
        ("the slowest 50 with errors", json!({"errors": true, "sort": "duration"})),
        ("with a span of a service", json!({"service": "service-3"})),
        ("with a span of a user", json!({"where": [["user.id", "=", "user-77"]]})),
        ("with a text anywhere (stopped after 250 ms)", json!({"text": "user-77"})),
    ] {
        let filter = TraceFilter::read(&json).expect("a filter");
        let list = store.traces(&filter, now);
        assert!(list.matched > 0, "{name}");
        report(name, median(|| drop(serde_json::to_vec(&store.traces(&filter, now)))));
    }
    let mut large = 0;
    for request in large_trace(now) {
        store.offer(Signal::Traces, &request, now);
        store.catch_up();
        large += 1;
    }
    let mut size = 0;
    let time = median(|| {
        let trace = store.trace(&[7; 16], now).expect("it is held");
        assert_eq!(trace.n, large * REQUEST);
        size = serde_json::to_vec(&trace).expect("JSON").len();
    });
    println!();
    report("a trace of 10 000 spans, as JSON", time);
    println!("{:<52} {:>9} bytes a span", "", size / (large * REQUEST));
    let trace = store.trace(&[7; 16], now).expect("it is held");
    report("details of one span", median(|| drop(store.span(trace.at[5000], now))));
    report("export of it as OTLP/JSON", median(|| drop(store.export(&[[7; 16]], now))));
}

/// CPU time of the thread that digests, as Linux accounts it.
fn digester_time() -> Option<Duration> {
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim() == "recent" {
            let nanos = read("schedstat").split(' ').next()?.parse().ok()?;
            return Some(Duration::from_nanos(nanos));
        }
    }
    None
}

/// What the usual settings take of a CPU at 40 000 spans a second, after the governor has settled.
fn governed() {
    const PER_SECOND: u64 = 40_000;
    const SECONDS: u64 = 10;
    let mut random = Rng::with_seed(10);
    let now = recent::now();
    let requests: Vec<Bytes> = (0..500).map(|_| request(&mut random, now)).collect();
    let store = Arc::new(Recent::new(Settings::default()).expect("the usual size"));
    let digester = Digester::start(&store).expect("a thread");
    let pause = Duration::from_secs(1) / u32::try_from(PER_SECOND / REQUEST as u64).expect("few");
    let begun = Instant::now();
    let (mut offered, mut before) = (0_u64, Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(SECONDS) {
        if begun.elapsed() < Duration::from_secs(SECONDS / 2) {
            before = digester_time().unwrap_or_default();
        }
        let due = begun.elapsed().as_millis() / pause.as_millis().max(1);
        while u128::from(offered) < due {
            let at = usize::try_from(offered).expect("few") % requests.len();
            store.offer(Signal::Traces, &requests[at], now);
            offered += 1;
        }
        std::thread::sleep(pause);
    }
    let busy = digester_time().unwrap_or_default().saturating_sub(before);
    drop(digester);
    let status = store.status();
    println!(
        "\n{} spans/s: {:.1} % of a CPU, 1 trace in {}, {} requests without room",
        offered * REQUEST as u64 / SECONDS,
        busy.as_secs_f64() * 100.0 / (SECONDS / 2) as f64,
        status.one_in,
        status.refused,
    );
}

fn main() {
    digest();
    questions();
    governed();
}
