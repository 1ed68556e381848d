//! What hostile requests make of memory: the most that is allocated at once is what was charged,
//! and a constant. For every processor and connector there is, with the examples of its
//! documentation and with settings that let data grow; for chains of them; and for OTLP/JSON.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use skep::{
    component::{BuildContext, Outlets, Output, Processor},
    config::{Problems, yaml},
    connectors,
    otlp::{
        Payload, Signal,
        check::{self, Utf8},
        json,
        payload::{Context, Ledger, Outcome, Permit, Reason, Receipt, Wait},
        split,
    },
    processors,
};

use crate::{
    ALLOCATED, alone,
    expanding::{requests, settings},
    is_due,
};

/// What may be allocated beside what was charged: one step of each table, one payload in the
/// making.
const BESIDE: u64 = 6 << 20;

/// The same of JSON, which has one buffer of its own.
const BESIDE_JSON: usize = 256 << 10;

/// An account that refuses what it has not.
struct Account {
    limit: u64,
    used: AtomicU64,
    most: AtomicU64,
}

impl Account {
    fn of(limit: u64) -> Arc<Self> {
        Arc::new(Account { limit, used: AtomicU64::new(0), most: AtomicU64::new(0) })
    }

    /// As the door does it: an eighth more than the bytes.
    fn pay(self: &Arc<Self>, payload: &mut Payload) {
        let bytes = (payload.len() + payload.len() / 8) as u64;
        self.charge(bytes);
        payload.permits.push(Permit::charged(bytes, Arc::clone(self) as Arc<dyn Ledger>));
    }
}

impl Ledger for Account {
    fn try_charge(&self, bytes: u64) -> bool {
        let fits = self.used.load(Ordering::SeqCst).saturating_add(bytes) <= self.limit;
        if fits {
            self.charge(bytes);
        }
        fits
    }

    fn charge(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.most.fetch_max(used, Ordering::SeqCst);
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// Settings that let data grow, beside the examples of the documentation.
const SETTINGS: &[(&str, &str)] = &[
    ("attributes", "{actions: [{key: deployment.environment, value: production, action: upsert}]}"),
    (
        "attributes",
        "{actions: [{key: a, from_attribute: url, action: upsert}, {key: b, from_attribute: url, \
         action: upsert}, {key: c, from_attribute: a, action: insert}, {key: url, pattern: \
         '^(?P<d>.*)(?P<e>x*)$', action: extract}, {key: url, action: convert, converted_type: \
         string}, {pattern: '.*', action: hash}]}",
    ),
    ("attributes", "{actions: [{key: who, from_context: metadata.x-who, action: upsert}]}"),
    ("attributes", "{actions: [{pattern: '^never$', action: delete}]}"),
    ("batch", "{send_batch_size: 1, send_batch_max_size: 1}"),
    ("batch", "{send_batch_size: 10000, send_batch_max_size: 10000, merge_equal_resources: true}"),
    ("batch", "{send_batch_size: 10000, send_batch_max_bytes: 10000}"),
    (
        "filter",
        "{trace_conditions: ['span.name == \"x\"', 'spanevent.name == \"x\"'], metric_conditions: \
                ['datapoint.attributes[\"url\"] == nil'], log_conditions: ['log.attributes[\"k\"] == nil']}",
    ),
    ("groupbyattrs", "{keys: [url, '']}"),
    ("groupbyattrs", "{keys: []}"),
    ("log_dedup", "{exclude_fields: [attributes.url], include_fields: []}"),
    (
        "metrics_transform",
        "{transforms: [{include: '', match_type: regexp, action: insert, new_name: copied}, {include: ., \
         match_type: regexp, action: combine, new_name: all}, {include: '^$', match_type: regexp, action: group, \
         group_resource_labels: {a: b}}]}",
    ),
    ("probabilistic_sampler", "{sampling_percentage: 50}"),
    (
        "redaction",
        "{allow_all_keys: true, blocked_values: [x, '^$'], hash_function: md5, summary: debug}",
    ),
    ("redaction", "{summary: debug}"),
    ("redaction", "{allow_all_keys: true, redact_all_types: true, blocked_values: [x+]}"),
    ("probabilistic_sampler", "{sampling_percentage: 99, mode: hash_seed, hash_seed: 7}"),
    ("resource", "{attributes: [{key: cloud.region, value: eu-west-1, action: upsert}]}"),
    ("tail_sampling", "{decision_wait: 1s, policies: [{name: all, type: always_sample}]}"),
    (
        "tail_sampling",
        "{decision_wait: 1s, record_policy: true, weights: {sample_rate: true, tracestate: true}, \
         policies: [{name: some, type: probabilistic, probabilistic: {sampling_percentage: 50}}]}",
    ),
    (
        "tail_sampling",
        "{decision_wait: 1s, sampling_strategy: span-ingest, max_memory: 1000000, \
         policies: [{name: all, type: always_sample}]}",
    ),
    (
        "transform",
        "{trace_statements: ['set(span.attributes[\"a\"], span.attributes)', 'flatten(span.attributes)'], \
         metric_statements: ['set(datapoint.attributes[\"a\"], resource.attributes)'], log_statements: \
         ['set(log.body, log.attributes)', 'set(resource.attributes[\"n\"], Len(log.attributes))']}",
    ),
    (
        "transform",
        "{log_statements: [{shared_cache: true, context: log, error_mode: ignore, statements: \
         ['append(cache[\"all\"], \"a text that many records add until the cache is full\")', \
         'append(cache[\"all\"], attributes[\"url\"])', 'set(attributes[\"c\"], cache)']}]}",
    ),
];

fn context(signal: Signal) -> BuildContext {
    BuildContext { budget: 64 << 20, ..BuildContext::test("one", signal) }
}

/// Settings of connectors that let data grow, beside the examples of the documentation.
const CONNECTORS: &[(&str, &str)] = &[
    ("forward", "{}"),
    ("count", "{}"),
    (
        "count",
        "{spans: {n: {attributes: [{key: url}]}}, spanevents: {n: {attributes: [{key: url, \
         default_value: x}]}}, datapoints: {n: {attributes: [{key: url, default_value: x}]}}, \
         logs: {n: {attributes: [{key: url, default_value: x}]}}, \
         aggregation_cardinality_limit: 0}",
    ),
    ("sum", "{spans: {n: {source_attribute: n, attributes: [{key: url, default_value: x}]}}}"),
    (
        "routing",
        "{default_pipelines: [traces, metrics, logs], table: [{condition: 'true', action: copy, \
         pipelines: [traces/b, metrics/b, logs/b]}, {condition: 'attributes[\"service.name\"] != \
         nil', pipelines: [traces/b, metrics/b, logs/b]}]}",
    ),
    (
        "routing",
        "{table: [{condition: 'span.kind == 2', pipelines: [traces/b]}, {condition: \
         'span.name != \"\"', pipelines: [traces/c]}, {condition: 'log.severity_number > 0', \
         pipelines: [logs/b]}, {condition: 'datapoint.flags > 0', pipelines: [metrics/b]}]}",
    ),
    (
        "span_metrics",
        "{dimensions: [{glob: '*'}], aggregation_cardinality_limit: 0, exemplars: {enabled: true, \
         max_per_data_point: 100}, histogram: {exponential: {max_size: 1000}}, events: {enabled: \
         true, dimensions: [{name: url}]}}",
    ),
    ("span_metrics", "{resource_metrics_cache_size: 1, exemplars: {enabled: true}}"),
    ("exceptions", "{aggregation_cardinality_limit: 0, dimensions: [{name: url}]}"),
    (
        "servicegraph",
        "{aggregation_cardinality_limit: 0, dimensions: [url], store: {max_items: 10000000}}",
    ),
];

/// Each replica of each processor and connector that can be built for a signal, with its settings.
fn all(signal: Signal) -> Vec<(String, Box<dyn Processor>)> {
    let mut all: Vec<(String, Box<dyn Processor>)> = Vec::new();
    for entry in processors::ALL.iter().filter(|entry| entry.signals.contains(&signal)) {
        let before = all.len();
        for text in settings(entry.name, entry.source, SETTINGS) {
            let node = yaml::parse(0, &text).unwrap();
            let Some(node) = node.get(entry.name) else { continue };
            let config = (entry.decode)(node, &mut Problems::default());
            let config = config.unwrap_or_else(|| panic!("{text}"));
            if let Ok(processor) = config.build(&context(signal)) {
                all.push((text, processor));
            }
        }
        assert!(all.len() > before, "`{}` has no example that can be built", entry.name);
    }
    all
}

/// The same for connectors, for each signal that they emit.
fn all_connectors(signal: Signal) -> Vec<(String, Box<dyn Processor>)> {
    let mut all: Vec<(String, Box<dyn Processor>)> = Vec::new();
    for entry in connectors::ALL.iter().filter(|entry| entry.signals.contains(&signal)) {
        let before = all.len();
        for text in settings(entry.name, entry.source, CONNECTORS) {
            let node = yaml::parse(0, &text).unwrap();
            let Some(node) = node.get(entry.name) else { continue };
            let config = (entry.decode)(node, &mut Problems::default());
            let config = config.unwrap_or_else(|| panic!("{text}"));
            for output in config.outputs(signal) {
                let named = config.pipelines().into_iter().map(|(_, id)| id.to_owned());
                let own = named.filter(|id| id.split('/').next() == Some(output.name()));
                let outlets = Outlets { signal: *output, pipelines: own.collect() };
                let processor = config.build(&context(signal), &outlets).unwrap();
                all.push((text.clone(), processor));
            }
        }
        assert!(all.len() > before, "`{}` has no example that can be built", entry.name);
    }
    all
}

/// What came of a run.
struct Ran {
    /// Most bytes that were allocated.
    peak: u64,
    /// Most bytes that were charged.
    charged: u64,
    /// Whether as many items as went in came out, were left out, or were refused.
    is_conserved: bool,
}

/// Sends a request through a chain. Returns the most that was allocated, and the most that was
/// charged. Its receipt must be settled with an outcome.
fn run(
    chain: &mut [Box<dyn Processor>],
    signal: Signal,
    body: &[u8],
    account: &Arc<Account>,
) -> Ran {
    let started = Instant::now();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let items = split::count_items(signal, body);
    let mut payload = Payload::unpaid(signal, body.to_vec().into(), items);
    let metadata = vec![("x-who".to_owned(), "w".repeat(1000))];
    payload.context =
        Some(Arc::new(Context { metadata, auth: Vec::new(), peer: None, arrived: started }));
    account.pay(&mut payload);
    let outcome: Arc<Mutex<Option<Outcome>>> = Arc::default();
    let told = Arc::clone(&outcome);
    let answer = move |outcome| *told.lock().unwrap() = Some(outcome);
    payload.receipts.push(Receipt::new(Wait::Delivery, Box::new(answer)));
    let mut gone = 0;
    let mut work = VecDeque::from([(0, payload)]);
    let mut now = started;
    // As a worker does it: one payload after the other, then the timers, then the end.
    for round in 0..3 {
        for at in 0..chain.len() {
            let mut out = Output::at(now);
            match round {
                0 => {}
                1 => {
                    while chain[at].next_tick().is_some_and(|due| due <= now) {
                        chain[at].tick(&mut out);
                    }
                }
                _ => chain[at].drain(&mut out),
            }
            let (filtered, refused) = out.take_counts();
            gone += filtered + refused;
            work.extend(emitted(&mut out).map(|payload| (at + 1, payload)));
            while let Some((at, payload)) = work.pop_front() {
                let Some(processor) = chain.get_mut(at) else {
                    gone += payload.items;
                    payload.finish(Outcome::Delivered);
                    continue;
                };
                let mut out = Output::at(now);
                processor.process(payload, &mut out);
                let (filtered, refused) = out.take_counts();
                gone += filtered + refused;
                work.extend(emitted(&mut out).map(|payload| (at + 1, payload)));
            }
        }
        now += Duration::from_mins(1);
    }
    let peak = ALLOCATED.peak_usage().saturating_sub(before) as u64;
    let outcome = outcome.lock().unwrap().take();
    let is_answered = !matches!(outcome, None | Some(Outcome::Failed(Reason::Unaccounted)));
    assert!(is_answered, "{outcome:?}");
    Ran { peak, charged: account.most.load(Ordering::SeqCst), is_conserved: gone == items }
}

/// What was emitted, to all or to one.
fn emitted(out: &mut Output) -> impl Iterator<Item = Payload> {
    let directed = out.take_directed().into_iter().map(|(_, payload)| payload);
    out.take().into_iter().chain(directed)
}

#[test]
fn no_processor_takes_more_than_was_charged_of_traces() {
    alone(|| no_processor_takes_more_than_was_charged(Signal::Traces));
}

#[test]
fn no_processor_takes_more_than_was_charged_of_logs() {
    alone(|| no_processor_takes_more_than_was_charged(Signal::Logs));
}

#[test]
fn no_processor_takes_more_than_was_charged_of_metrics() {
    alone(|| no_processor_takes_more_than_was_charged(Signal::Metrics));
}

fn no_processor_takes_more_than_was_charged(signal: Signal) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let mut faults = Vec::new();
    for (request, (what, body)) in requests(signal, 1).into_iter().enumerate() {
        let processors = all(signal).into_iter().map(|one| (true, one));
        let connectors = all_connectors(signal).into_iter().map(|one| (false, one));
        for (at, (conserves, (settings, processor))) in processors.chain(connectors).enumerate() {
            if !is_due(request, at) {
                continue;
            }
            let account = Account::of(256 << 20);
            let mut chain = [processor];
            let Ran { peak, charged, is_conserved } = run(&mut chain, signal, &body, &account);
            // It copies metrics and makes one of several.
            let conserves = conserves && !settings.starts_with("metrics_transform");
            assert!(is_conserved || !conserves, "{signal}, {what}: {settings}");
            if peak > charged + BESIDE {
                faults.push(format!("{signal}, {what}: {peak} of {charged}, {settings}"));
            }
            drop(chain);
            assert_eq!(account.used.load(Ordering::SeqCst), 0, "{settings}");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// With little left in the account what would grow is refused, and the account is not overdrawn by
/// more than a little.
#[test]
fn what_has_no_room_is_refused_of_traces() {
    alone(|| what_has_no_room_is_refused(Signal::Traces));
}

#[test]
fn what_has_no_room_is_refused_of_logs() {
    alone(|| what_has_no_room_is_refused(Signal::Logs));
}

#[test]
fn what_has_no_room_is_refused_of_metrics() {
    alone(|| what_has_no_room_is_refused(Signal::Metrics));
}

fn what_has_no_room_is_refused(signal: Signal) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    for (request, (what, body)) in requests(signal, 1).into_iter().enumerate() {
        let connectors = all_connectors(signal);
        for (at, (settings, processor)) in all(signal).into_iter().chain(connectors).enumerate() {
            if !is_due(request, at) {
                continue;
            }
            let account = Account::of(4 << 20);
            let Ran { peak, charged, .. } = run(&mut [processor], signal, &body, &account);
            // The body is there before, and what goes out is copied before it goes.
            let most = account.limit.max(body.len() as u64 * 9 / 8) + body.len() as u64 + BESIDE;
            assert!(charged <= most, "{signal}, {what}: {charged}, {settings}");
            assert!(peak <= charged + BESIDE, "{signal}, {what}: {peak}, {settings}");
        }
    }
}

#[test]
fn a_pipeline_takes_no_more_than_was_charged() {
    alone(|| {
        let chain = ["attributes", "resource", "probabilistic_sampler", "tail_sampling", "batch"];
        for signal in [Signal::Traces, Signal::Logs] {
            for (what, body) in requests(signal, 1) {
                let stage = |name: &&str| {
                    let entry = processors::ALL.iter().find(|entry| entry.name == *name).unwrap();
                    let (_, settings) = SETTINGS.iter().find(|(of, _)| of == name).unwrap();
                    let node = yaml::parse(0, settings).unwrap();
                    let config = (entry.decode)(&node, &mut Problems::default()).unwrap();
                    entry.signals.contains(&signal).then(|| config.build(&context(signal)).unwrap())
                };
                let mut chain: Vec<_> = chain.iter().filter_map(stage).collect();
                let account = Account::of(1 << 30);
                let Ran { peak, charged, is_conserved } = run(&mut chain, signal, &body, &account);
                assert!(is_conserved, "{signal}, {what}");
                assert!(peak <= charged + BESIDE, "{signal}, {what}: {peak} of {charged}");
            }
        }
    });
}

/// JSON documents that are built to take memory while they are read, well formed or not.
fn documents() -> Vec<(&'static str, String)> {
    let n = 400_000;
    let attribute = |value: &str| {
        format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"k","value":{value}}}]}}}}]}}"#
        )
    };
    let logs = |inside: &str| format!(r#"{{"resourceLogs":[{inside}]}}"#);
    let point = r#"{"min":1,"max":1,"sum":1,"min":1,"max":1},"#;
    vec![
        ("empty objects", logs(&"{},".repeat(n))),
        ("nulls", logs(&"null,".repeat(n))),
        ("nesting that is unknown", format!(r#"{{"unknown":{}"#, "[".repeat(n))),
        ("objects that are unknown", format!(r#"{{"unknown":{}"#, r#"{"":"#.repeat(n))),
        ("nesting", attribute(&r#"{"arrayValue":{"values":["#.repeat(n / 10))),
        ("a long number", attribute(&format!(r#"{{"intValue":{}}}"#, "9".repeat(n)))),
        ("a long fraction", attribute(&format!(r#"{{"doubleValue":0.{}}}"#, "9".repeat(n)))),
        ("a long number as text", attribute(&format!(r#"{{"intValue":"{}"}}"#, "9".repeat(n)))),
        ("escapes", attribute(&format!(r#"{{"stringValue":"{}"}}"#, r"\u0001".repeat(n)))),
        ("surrogates", attribute(&format!(r#"{{"stringValue":"{}"}}"#, r"\ud800".repeat(n)))),
        ("base64", attribute(&format!(r#"{{"bytesValue":"{}"}}"#, "AAAA".repeat(n)))),
        ("no base64", attribute(&format!(r#"{{"bytesValue":"{}"}}"#, r"\u0001".repeat(n)))),
        ("text for a list", format!(r#"{{"resourceLogs":"{}"}}"#, r"\u0001".repeat(n))),
        ("text for an object", logs(&format!(r#""{}""#, r"\u0001".repeat(n)))),
        ("a long name", format!(r#"{{"{}":1}}"#, r"\u0001".repeat(n))),
        (
            "short numbers",
            format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{}0]}}]}}}}]}}]}}]}}"#,
                "0,".repeat(n)
            ),
        ),
        (
            "doubles in few characters",
            format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{}{{}}]}}}}]}}]}}]}}"#,
                point.repeat(n / 10)
            ),
        ),
    ]
}

#[test]
fn reading_json_takes_what_it_says_before() {
    alone(|| {
        for (what, document) in documents() {
            for signal in [Signal::Logs, Signal::Metrics] {
                for most in [document.len(), 4 * document.len()] {
                    let said = json::most_for(most) + json::most_scratch(document.as_bytes());
                    let before = ALLOCATED.current_usage();
                    ALLOCATED.reset_peak_usage();
                    let read = json::to_protobuf_within(
                        signal,
                        document.as_bytes(),
                        json::DEPTH_LIMIT,
                        most,
                    );
                    let peak = ALLOCATED.peak_usage() - before;
                    assert!(peak <= said + BESIDE_JSON, "{what}: {peak}, and {said} were said");
                    if let Ok(Some(bytes)) = &read {
                        assert!(bytes.len() <= most + 1024, "{what}");
                        assert!(check::check(signal, bytes, Utf8::Strict).is_ok(), "{what}");
                    }
                    if let Err(error) = read {
                        assert!(
                            error.to_string().len() < 1000,
                            "{what}: {}",
                            error.to_string().len()
                        );
                    }
                }
            }
        }
    });
}

/// The check at the door looks at bytes, whatever they are, and allocates next to nothing.
#[test]
fn checking_allocates_nothing_that_grows() {
    alone(|| {
        for signal in Signal::ALL {
            for (what, body) in requests(signal, 1) {
                for cut in [0, 1, body.len() / 2] {
                    let body = &body[..body.len() - cut];
                    let before = ALLOCATED.current_usage();
                    ALLOCATED.reset_peak_usage();
                    let checked = check::check(signal, body, Utf8::Strict);
                    let peak = ALLOCATED.peak_usage() - before;
                    assert!(peak < 16 << 10, "{signal}, {what}: {peak} {:?}", checked.is_ok());
                }
            }
        }
    });
}
