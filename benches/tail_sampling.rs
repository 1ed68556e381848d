//! What tail sampling costs in process: nanoseconds a span for taking it in, and for deciding on it
//! and sending on what is kept; resident memory beside the bytes of the spans that wait; how that
//! changes with the number of traces, and what a second worker brings.
//!
//! `cargo bench --bench tail_sampling`; names as arguments choose scenarios. Time is virtual:
//! traffic is such that as many traces wait as the scenario says, and everything is measured in
//! that state.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a report of figures"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message as _;
use skep::{
    component::{BuildContext, ByTrace, Output, Processor},
    config::{Problems, yaml},
    otlp::{
        Payload, Signal,
        check::{self, Utf8},
    },
    processors,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans of a request.
const REQUEST: usize = 100;
/// Spans of a trace in one request, as an application's SDK sends them.
const TOGETHER: usize = 4;
/// Requests that differ.
const TEMPLATES: usize = 64;
/// Of the wait, how much later the second half of a trace comes.
const LATER: f64 = 0.1;

const PLAIN: &str = "
  - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
  - {name: slow, type: latency, latency: {threshold_ms: 2000}}
  - {name: rest, type: probabilistic, probabilistic: {sampling_percentage: 8}}
";

const EIGHT: &str = "
  - {name: health, type: drop, drop: {drop_sub_policy: [{type: string_attribute, string_attribute: {key: http.route, values: [^/health, ^/ready], enabled_regex_matching: true}}]}}
  - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
  - {name: slow, type: latency, latency: {threshold_ms: 2000}}
  - {name: server, type: numeric_attribute, numeric_attribute: {key: http.response.status_code, min_value: 500, max_value: 599}}
  - {name: search, type: string_attribute, string_attribute: {key: db.query.text, values: ['FROM secrets', 'DROP TABLE'], enabled_regex_matching: true}}
  - {name: vip, type: boolean_attribute, boolean_attribute: {key: app.vip, value: true}}
  - {name: large, type: span_count, span_count: {min_spans: 50}}
  - {name: rest, type: probabilistic, probabilistic: {sampling_percentage: 8}}
";

struct Scenario {
    name: &'static str,
    policies: &'static str,
    /// Traces that wait.
    live: usize,
    /// Requests that bring spans of one trace.
    visits: usize,
    attributes: usize,
    /// Requests that are there before the first one is taken. One: as the door leaves it, in the
    /// cache. Several: they are checked first, as the door does it.
    ahead: usize,
}

/// One worker and two in turn, see [`scaling`].
const WORKERS: Scenario = Scenario {
    name: "workers",
    policies: EIGHT,
    live: 100_000,
    visits: 2,
    attributes: 12,
    ahead: 400,
};

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "plain", policies: PLAIN, live: 500_000, visits: 2, attributes: 12, ahead: 1 },
    Scenario { name: "eight", policies: EIGHT, live: 500_000, visits: 2, attributes: 12, ahead: 1 },
    Scenario {
        name: "small-10k",
        policies: PLAIN,
        live: 10_000,
        visits: 1,
        attributes: 3,
        ahead: 1,
    },
    Scenario {
        name: "small-5m",
        policies: PLAIN,
        live: 5_000_000,
        visits: 1,
        attributes: 3,
        ahead: 1,
    },
];

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

fn attributes(random: &mut Rng, count: usize) -> Vec<KeyValue> {
    const ROUTES: [&str; 5] = ["/api/activities/home", "/api/messages", "/cart", "/search", "/"];
    let route = (*random.choice(ROUTES).expect("there are some")).to_owned();
    let query = format!("SELECT * FROM activities WHERE handle = '{}'", random.u32(..2000));
    let mut all = vec![
        attribute("http.route", Value::StringValue(route)),
        attribute("http.response.status_code", Value::IntValue(200)),
        attribute("db.query.text", Value::StringValue(query)),
        attribute("app.vip", Value::BoolValue(false)),
        attribute("enduser.id", text(random, 32)),
        attribute("session.id", text(random, 32)),
        attribute("user_agent.original", text(random, 60)),
        attribute("client.address", text(random, 12)),
        attribute("url.path", text(random, 40)),
        attribute("server.address", text(random, 20)),
        attribute("network.protocol.version", text(random, 3)),
        attribute("thread.name", text(random, 12)),
    ];
    all.truncate(count);
    all
}

/// A request whose trace ids are written in place.
struct Template {
    body: Vec<u8>,
    ids: Vec<usize>,
}

fn template(random: &mut Rng, count: usize) -> Template {
    let marker = [0xA5; 16];
    let span = |random: &mut Rng| Span {
        trace_id: marker.to_vec(),
        span_id: random.u64(..).to_be_bytes().to_vec(),
        parent_span_id: random.u64(..).to_be_bytes().to_vec(),
        name: "GET /api/activities/home".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_050_000_000 + random.u64(..900_000_000),
        attributes: attributes(random, count),
        // Of eight spans 1.6 % have an error.
        status: (random.u16(..500) == 0).then(|| Status { code: 2, ..Status::default() }),
        flags: 0x101,
        ..Span::default()
    };
    let resource = Resource { attributes: attributes(random, 8), ..Resource::default() };
    let spans = (0..REQUEST).map(|_| span(random)).collect();
    let body = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec();
    let ids = (0..body.len() - 16).filter(|at| body[*at..].starts_with(&marker)).collect();
    Template { body, ids }
}

fn replicas(scenario: &Scenario, workers: usize) -> Vec<Box<dyn Processor>> {
    let settings = format!(
        "decision_wait: 10s\nmax_memory: {}\nexplain: 1000\npolicies:{}",
        8_u64 << 30,
        scenario.policies
    );
    let node = yaml::parse(0, &settings).expect("the settings are YAML");
    let entry = processors::ALL.iter().find(|entry| entry.name == "tail_sampling");
    let mut problems = Problems::default();
    let config = (entry.expect("it is registered").decode)(&node, &mut problems);
    let context =
        BuildContext { budget: 8 << 30, ..BuildContext::test("tail_sampling", Signal::Traces) };
    let config = config.expect("the settings are right");
    config.replicas(&context, workers).expect("it can be built")
}

fn by_trace(shard: &mut Box<dyn Processor>) -> &mut dyn ByTrace {
    shard.by_trace().expect("it is split by trace")
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[derive(Default, Clone, Copy)]
struct Spent {
    spans: u64,
    bytes: u64,
    ingest: Duration,
    decide: Duration,
    kept: u64,
}

/// Requests in the order in which they come: a trace begins, and its other half comes later.
struct Traffic {
    templates: Vec<Template>,
    random: Rng,
    waiting: std::collections::VecDeque<(u64, Vec<u128>)>,
    at: u64,
    later: u64,
    visits: usize,
}

impl Traffic {
    /// And how many requests come in a wait.
    fn new(scenario: &Scenario) -> (Self, usize) {
        let mut random = Rng::with_seed(7);
        let templates =
            (0..TEMPLATES).map(|_| template(&mut random, scenario.attributes)).collect();
        let per_wait = scenario.live / (REQUEST / TOGETHER) * scenario.visits;
        let traffic = Traffic {
            templates,
            random,
            waiting: std::collections::VecDeque::new(),
            at: 0,
            later: (per_wait as f64 * LATER) as u64,
            visits: scenario.visits,
        };
        (traffic, per_wait)
    }

    fn next(&mut self) -> Payload {
        self.at += 1;
        let is_due = self.waiting.front().is_some_and(|(at, _)| *at <= self.at);
        let due = if is_due { self.waiting.pop_front() } else { None };
        let ids = due.map_or_else(
            || {
                let ids: Vec<u128> =
                    (0..REQUEST / TOGETHER).map(|_| self.random.u128(..)).collect();
                if self.visits > 1 {
                    self.waiting.push_back((self.at + self.later, ids.clone()));
                }
                ids
            },
            |(_, ids)| ids,
        );
        let at = self.random.usize(..self.templates.len());
        let template = &mut self.templates[at];
        for (i, place) in template.ids.iter().enumerate() {
            template.body[*place..*place + 16].copy_from_slice(&ids[i / TOGETHER].to_be_bytes());
        }
        Payload::unpaid(Signal::Traces, Bytes::copy_from_slice(&template.body), REQUEST as u64)
    }
}

fn run(scenario: &Scenario) {
    let (mut traffic, per_wait) = Traffic::new(scenario);
    let wait = Duration::from_secs(10);
    let step = wait / u32::try_from(per_wait).unwrap_or(u32::MAX);
    let before = resident();
    let mut shards = replicas(scenario, 1);
    let mut now = Instant::now();
    // One wait to fill it, one for the maps to have their size, then what is measured.
    let mut rounds = Vec::new();
    let mut live_bytes = 0.0;
    for round in 0..4 {
        let mut spent = Spent::default();
        let mut queue = Vec::new();
        for i in 0..per_wait {
            queue.push(traffic.next());
            now += step;
            if queue.len() == scenario.ahead || i + 1 == per_wait {
                let one = process(&mut shards, &queue, false, now);
                spent.spans += one.spans;
                spent.bytes += one.bytes;
                spent.ingest += one.ingest;
                spent.decide += one.decide;
                spent.kept += one.kept;
                queue.clear();
            }
        }
        if round == 0 {
            // What came later waits shorter.
            live_bytes = spent.bytes as f64 * (1.0 - LATER * (scenario.visits - 1) as f64 / 2.0);
        } else {
            rounds.push(spent);
        }
    }
    let memory = resident() - before;
    let each = |of: fn(&Spent) -> Duration| {
        let mut all: Vec<f64> =
            rounds.iter().map(|one| of(one).as_nanos() as f64 / one.spans as f64).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let kept: u64 = rounds.iter().map(|one| one.kept).sum();
    let spans: u64 = rounds.iter().map(|one| one.spans).sum();
    println!(
        "{:<12} {:>9} {:>6} {:>9.0} {:>9.0} {:>9.0} {:>7.1} {:>9} {:>7.2}",
        scenario.name,
        scenario.live,
        scenario.visits * TOGETHER,
        each(|one| one.ingest),
        each(|one| one.decide),
        each(|one| one.ingest + one.decide),
        kept as f64 / spans as f64 * 100.0,
        memory >> 20,
        memory as f64 / live_bytes,
    );
}

/// How much more two workers do than one in the same time; and two that have nothing to do with
/// each other, which is what the machine allows. All have the same traffic, in turn, so that a
/// noisy machine disturbs all.
fn scaling(scenario: &Scenario) {
    let mut worlds: Vec<_> = [vec![1], vec![2], vec![1, 1]]
        .into_iter()
        .map(|workers| {
            let (traffic, per_wait) = Traffic::new(scenario);
            let apart = workers.len() > 1;
            let shards: Vec<_> =
                workers.into_iter().flat_map(|workers| replicas(scenario, workers)).collect();
            (traffic, per_wait, shards, apart, Instant::now())
        })
        .collect();
    let mut ratios = [Vec::new(), Vec::new()];
    let mut nanos = [Vec::new(), Vec::new(), Vec::new()];
    let turns = worlds[0].1 / scenario.ahead * 6;
    for turn in 0..turns {
        for (at, (traffic, per_wait, shards, apart, now)) in worlds.iter_mut().enumerate() {
            let queue: Vec<_> = (0..scenario.ahead).map(|_| traffic.next()).collect();
            let many = u32::try_from(scenario.ahead).unwrap_or(u32::MAX);
            *now += Duration::from_secs(10) / u32::try_from(*per_wait).unwrap_or(u32::MAX) * many;
            let spent = process(shards, &queue, *apart, *now);
            nanos[at].push((spent.ingest + spent.decide).as_nanos() as f64 / spent.spans as f64);
        }
        // What comes first fills it.
        if turn >= turns / 3 {
            ratios[0].push(nanos[0][turn] / nanos[1][turn]);
            ratios[1].push(nanos[0][turn] / nanos[2][turn]);
        }
    }
    let median = |all: &mut [f64]| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let [one, two, _] = nanos.each_mut().map(|all| median(&mut all[turns / 3..]));
    let [together, apart] = ratios.each_mut().map(|all| median(all));
    println!(
        "{:<12} one {one:.0} ns a span, two {two:.0} ns: {together:.2} times the throughput; \
         two that share nothing: {apart:.2}",
        scenario.name,
    );
}

/// What a worker does with a request before the pipeline has it: it leaves the bytes in its cache.
fn check(payload: &Payload) {
    for segment in &payload.body {
        assert!(check::check(Signal::Traces, segment, Utf8::Strict).is_ok());
    }
}

/// Runs requests through the workers. With several each has a thread; requests come to them in
/// turn, and whoever gets one reads it, as the engine does it; `apart`: and keeps it.
fn process(
    shards: &mut [Box<dyn Processor>],
    queue: &[Payload],
    apart: bool,
    now: Instant,
) -> Spent {
    let workers = shards.len();
    let spans = queue.len() * REQUEST;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| crossbeam_channel::unbounded()).unzip();
    let one = |worker: usize, shard: &mut Box<dyn Processor>| {
        let mut spent = Spent::default();
        let mut out = Output::at(now);
        let began = Instant::now();
        if workers == 1 || apart {
            for payload in queue.iter().skip(worker).step_by(workers) {
                spent.bytes += payload.len() as u64;
                if queue.len() > 1 {
                    check(payload);
                }
                shard.process(payload.clone(), &mut out);
            }
        } else {
            let mut left = queue.len();
            let mut own = queue.iter().skip(worker).step_by(workers);
            while left > 0 {
                if let Ok(part) = receivers[worker].try_recv() {
                    left -= 1;
                    if let Some(share) = part {
                        by_trace(shard).take(share, &mut out);
                    }
                } else if let Some(payload) = own.next() {
                    spent.bytes += payload.len() as u64;
                    check(payload);
                    let parts = by_trace(shard).share(payload.clone(), workers, &mut out);
                    for (owner, share) in parts.into_iter().enumerate() {
                        if owner != worker {
                            senders[owner].send(share).expect("everybody is there");
                            continue;
                        }
                        left -= 1;
                        if let Some(share) = share {
                            by_trace(shard).take(share, &mut out);
                        }
                    }
                }
            }
        }
        spent.spans = spans as u64;
        spent.ingest = began.elapsed();
        let began = Instant::now();
        if shard.next_tick().is_some_and(|due| due <= now) {
            shard.tick(&mut out);
        }
        spent.kept += out.take().iter().map(|payload| payload.items).sum::<u64>();
        spent.decide = began.elapsed();
        spent
    };
    if let [only] = shards {
        return one(0, only);
    }
    let spent: Vec<Spent> = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = shards
            .iter_mut()
            .enumerate()
            .map(|(worker, shard)| scope.spawn(move || one(worker, shard)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no worker panics")).collect()
    });
    // The slower one counts, since the other waits for it.
    Spent {
        kept: spent.iter().map(|one| one.kept).sum(),
        bytes: spent.iter().map(|one| one.bytes).sum(),
        ..spent.into_iter().max_by_key(|one| one.ingest + one.decide).unwrap_or_default()
    }
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    if wanted.is_empty() {
        println!(
            "{:<12} {:>9} {:>6} {:>9} {:>9} {:>9} {:>7} {:>9} {:>7}",
            "scenario", "traces", "spans", "in ns", "out ns", "both ns", "kept %", "MiB", "of live"
        );
    }
    for scenario in SCENARIOS.iter().chain([&WORKERS]) {
        // Each in a process of its own: what one allocated would be there for the next.
        if wanted.is_empty() {
            let own = std::env::current_exe().expect("a program knows its file");
            let status = std::process::Command::new(own).arg(scenario.name).status();
            assert!(status.is_ok_and(|status| status.success()), "{} failed", scenario.name);
        } else if wanted.iter().any(|name| name == scenario.name) {
            if scenario.name == WORKERS.name {
                scaling(scenario);
            } else {
                run(scenario);
            }
        }
    }
}
