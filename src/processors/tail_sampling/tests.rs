//! The decisions of each policy, one by one, and what is written into kept spans.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message as _;

use super::{Config, ENTRY, stats::TailSamplingStats};
use crate::{
    component::{BuildContext, ByTrace, Output, Processor, ProcessorConfig},
    config::{Problems, yaml},
    otlp::{Payload, Signal, check::Utf8},
    telemetry::{
        Telemetry,
        decisions::{Decision, Trigger, Vote},
    },
};

/// Trace ids with known hashes: of A 86 % are below it, B 65, C 20, D 88, E 9, F 59.
pub(super) const A: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
pub(super) const C: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
pub(super) const D: u128 = 1;
pub(super) const E: u128 = u128::MAX;

pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn decode(settings: &str) -> (Config, Problems) {
    let node = yaml::parse(0, settings).unwrap();
    let mut problems = Problems::default();
    let config = crate::config::decode::<Config>(&node, &mut problems).unwrap_or_default();
    config.validate(&node, &mut problems);
    (config, problems)
}

/// A replica that takes shares.
pub(super) fn by_trace(shard: &mut Box<dyn Processor>) -> &mut dyn ByTrace {
    shard.by_trace().unwrap()
}

/// A tail sampler on some workers, and the time.
pub(super) struct Sampler {
    pub(super) shards: Vec<Box<dyn Processor>>,
    pub(super) now: Instant,
    pub(super) telemetry: Arc<Telemetry>,
    /// The counters of its replicas.
    pub(super) stats: Arc<TailSamplingStats>,
    pub(super) filtered: u64,
    pub(super) refused: u64,
    readers: usize,
}

impl Sampler {
    pub(super) fn new(settings: &str) -> Self {
        Self::on(1, settings, false)
    }

    pub(super) fn on(workers: usize, settings: &str, wants_weights: bool) -> Self {
        let (config, problems) = decode(settings);
        assert!(!problems.has_errors(), "{:?}", problems.0);
        let telemetry = Arc::new(Telemetry::default());
        let cx = BuildContext {
            wants_weights,
            telemetry: Arc::clone(&telemetry),
            ..BuildContext::test(ENTRY.name, Signal::Traces)
        };
        let shards = config.replicas(&cx, workers).unwrap();
        let names: Vec<_> = config.policies.iter().map(|policy| policy.name.clone()).collect();
        let stats = TailSamplingStats::new(&cx, &names);
        Sampler {
            shards,
            now: Instant::now(),
            telemetry,
            stats: Arc::new(stats),
            filtered: 0,
            refused: 0,
            readers: 0,
        }
    }

    fn collect(&mut self, mut out: Output) -> Vec<ResourceSpans> {
        let (filtered, refused) = out.take_counts();
        self.filtered += filtered;
        self.refused += refused;
        let mut all = Vec::new();
        for payload in out.take() {
            let body = payload.body.concat();
            let checked = crate::otlp::check::check(Signal::Traces, &body, Utf8::Strict);
            assert_eq!(checked.unwrap().items, payload.items);
            all.extend(ExportTraceServiceRequest::decode(&*body).unwrap().resource_spans);
        }
        all
    }

    pub(super) fn send_payload(&mut self, payload: &Payload) -> Vec<ResourceSpans> {
        let mut out = Output::at(self.now);
        if let [only] = &mut self.shards[..] {
            only.process(payload.clone(), &mut out);
        } else {
            // Workers read in turn.
            self.readers += 1;
            let (owners, reader) = (self.shards.len(), self.readers % self.shards.len());
            let shares =
                by_trace(&mut self.shards[reader]).share(payload.clone(), owners, &mut out);
            for (shard, share) in self.shards.iter_mut().zip(shares) {
                if let Some(share) = share {
                    by_trace(shard).take(share, &mut out);
                }
            }
        }
        self.collect(out)
    }

    pub(super) fn send_entries(
        &mut self,
        resource_spans: Vec<ResourceSpans>,
    ) -> Vec<ResourceSpans> {
        let request = ExportTraceServiceRequest { resource_spans };
        let body = request.encode_to_vec();
        let items = crate::otlp::split::count_items(Signal::Traces, &body);
        self.send_payload(&Payload::unpaid(Signal::Traces, body.into(), items))
    }

    /// Sends spans of one resource; gives what goes on at once.
    pub(super) fn send(&mut self, spans: Vec<Span>) -> Vec<Span> {
        spans_of(self.send_entries(vec![entry("app", spans)]))
    }

    /// Lets time pass; timers are called when they are due.
    pub(super) fn wait_entries(&mut self, time: Duration) -> Vec<ResourceSpans> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.shards.iter().filter_map(|shard| shard.next_tick()).min() {
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            let mut out = Output::at(self.now);
            for shard in &mut self.shards {
                if shard.next_tick().is_some_and(|due| due <= self.now) {
                    shard.tick(&mut out);
                }
            }
            all.extend(self.collect(out));
        }
        self.now = end;
        all
    }

    pub(super) fn wait(&mut self, time: Duration) -> Vec<Span> {
        spans_of(self.wait_entries(time))
    }

    pub(super) fn drain(&mut self) -> Vec<Span> {
        let mut out = Output::at(self.now);
        self.shards.iter_mut().for_each(|shard| shard.drain(&mut out));
        spans_of(self.collect(out))
    }

    pub(super) fn decision(&self, id: u128) -> Decision {
        self.telemetry.decisions()[0].find(id.to_be_bytes()).remove(0)
    }
}

pub(super) fn entry(service: &str, spans: Vec<Span>) -> ResourceSpans {
    let resource = Resource {
        attributes: vec![attribute("service.name", text(service))],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "lib".to_owned(), ..InstrumentationScope::default() };
    let scope = ScopeSpans { scope: Some(scope), spans, schema_url: "https://scope".to_owned() };
    ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope],
        schema_url: "https://resource".to_owned(),
    }
}

pub(super) fn spans_of(entries: Vec<ResourceSpans>) -> Vec<Span> {
    entries.into_iter().flat_map(|e| e.scope_spans).flat_map(|scope| scope.spans).collect()
}

pub(super) fn text(text: &str) -> any_value::Value {
    any_value::Value::StringValue(text.to_owned())
}

pub(super) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A span of a trace, from 0 to so many milliseconds.
pub(super) fn span(id: u128, millis: u64) -> Span {
    Span {
        trace_id: id.to_be_bytes().to_vec(),
        span_id: vec![7; 8],
        parent_span_id: vec![8; 8],
        name: "GET /".to_owned(),
        start_time_unix_nano: SECOND,
        end_time_unix_nano: SECOND + millis * 1_000_000,
        ..Span::default()
    }
}

fn with(key: &str, value: any_value::Value) -> Span {
    Span { attributes: vec![attribute(key, value)], ..span(A, 1) }
}

fn status(code: i32) -> Span {
    Span { status: Some(Status { code, ..Status::default() }), ..span(A, 1) }
}

pub(super) fn policies(policies: &str) -> String {
    format!("{{decision_wait: 1s, policies: [{policies}]}}")
}

/// Whether the spans of one trace are kept, all of them.
pub(super) fn is_kept(settings: &str, spans: Vec<Span>) -> bool {
    let mut sampler = Sampler::new(settings);
    let sent = spans.len();
    assert_eq!(sampler.send(spans.clone()), []);
    let mut kept = sampler.wait(Duration::from_secs(2));
    kept.sort_by_key(prost::Message::encode_to_vec);
    let mut expected = spans;
    expected.sort_by_key(prost::Message::encode_to_vec);
    assert!(kept.is_empty() || kept == expected, "verbatim");
    assert_eq!(sampler.filtered + kept.len() as u64, sent as u64);
    !kept.is_empty()
}

pub(super) fn one(policy: &str, spans: Vec<Span>) -> bool {
    is_kept(&policies(&format!("{{name: p, {policy}}}")), spans)
}

#[test]
fn every_type_decides_as_its_rule_says() {
    use any_value::Value::{BoolValue, DoubleValue, IntValue};
    let latency = |rest: &str| format!("type: latency, latency: {{threshold_ms: 1000{rest}}}");
    let number =
        |rest: &str| format!("type: numeric_attribute, numeric_attribute: {{key: k, {rest}}}");
    let string =
        |rest: &str| format!("type: string_attribute, string_attribute: {{key: k, {rest}}}");
    let truth =
        |rest: &str| format!("type: boolean_attribute, boolean_attribute: {{key: k, {rest}}}");
    let codes =
        |codes: &str| format!("type: status_code, status_code: {{status_codes: [{codes}]}}");
    let chance =
        |rest: &str| format!("type: probabilistic, probabilistic: {{sampling_percentage: {rest}}}");
    let count = |rest: &str| format!("type: span_count, span_count: {{{rest}}}");
    let regex = "values: [\"/health\"], enabled_regex_matching: true";
    let disjoint = |start: u64| Span {
        start_time_unix_nano: SECOND + start * 1_000_000,
        end_time_unix_nano: SECOND + (start + 10) * 1_000_000,
        ..span(A, 0)
    };
    let flags = |flags| Span { flags, ..span(A, 1) };
    let state = |text: &str| Span { trace_state: text.to_owned(), ..span(A, 1) };
    let many = |n: usize| vec![span(A, 1); n];
    let vendor = "type: trace_state, trace_state: {key: v, values: [x, y]}";
    for (policy, spans, expected) in [
        ("type: always_sample".to_owned(), many(1), true),
        (codes("ERROR"), vec![span(A, 1), status(1)], false),
        (codes("ERROR"), vec![status(2), status(1)], true),
        (codes("OK, UNSET"), vec![status(2)], false),
        (codes("UNSET"), vec![span(A, 1)], true),
        (latency(""), vec![span(A, 1000)], false),
        (latency(""), vec![span(A, 1001)], true),
        (latency(", upper_threshold_ms: 2000"), vec![span(A, 2000)], true),
        (latency(", upper_threshold_ms: 2000"), vec![span(A, 2001)], false),
        (latency(", upper_threshold_ms: 2000"), vec![span(A, 1000)], false),
        (latency(""), vec![disjoint(0), disjoint(1500)], true),
        // A short child first: the whole duration counts.
        (
            "type: latency, latency: {upper_threshold_ms: 50}".to_owned(),
            vec![span(A, 30), span(A, 200)],
            false,
        ),
        (number("min_value: 400, max_value: 599"), vec![with("k", IntValue(600))], false),
        (number("min_value: 400, max_value: 599"), vec![with("k", IntValue(599))], true),
        (number("min_value: 5"), vec![with("k", DoubleValue(5.5))], true),
        (number("max_value: 0"), vec![with("k", IntValue(0))], true),
        (
            number("min_value: 5, max_value: 10, invert_match: true"),
            vec![with("k", IntValue(7))],
            false,
        ),
        (
            number("min_value: 5, max_value: 10, invert_match: true"),
            vec![with("k", IntValue(20))],
            true,
        ),
        (number("min_value: 5, max_value: 10, invert_match: true"), many(1), true),
        (string(regex), vec![with("k", text("/api/health/x"))], true),
        (string(regex), vec![with("k", text("/api"))], false),
        (string("values: [\"5\"]"), vec![with("k", IntValue(5))], false),
        (string("values: [a, b]"), vec![span(A, 1), with("k", text("b"))], true),
        (string("values: [a]"), vec![with("k", text("A"))], false),
        (
            string("values: [\".*\"], enabled_regex_matching: true"),
            vec![with("k", text(""))],
            false,
        ),
        (truth("value: true"), vec![with("k", BoolValue(true))], true),
        (truth("value: false"), vec![with("k", text("true"))], false),
        (truth("value: false"), vec![with("k", BoolValue(false))], true),
        (truth("value: true, invert_match: true"), many(1), true),
        (chance("9"), vec![span(E, 1)], false),
        (chance("10"), vec![span(E, 1)], true),
        (chance("20"), vec![span(C, 1)], false),
        (chance("20.3"), vec![span(C, 1)], true),
        (chance("25, hash_salt: salt-2"), vec![span(A, 1)], false),
        (chance("25, hash_salt: salt-2"), vec![span(C, 1)], true),
        (chance("0"), vec![span(D, 1)], false),
        (chance("-50"), vec![span(D, 1)], false),
        (chance("100"), vec![span(D, 1)], true),
        (chance("150"), vec![span(D, 1)], true),
        (count("min_spans: 2"), many(500), true),
        (count("min_spans: 2, max_spans: 3"), many(3), true),
        (count("min_spans: 2, max_spans: 3"), many(4), false),
        (count("min_spans: 2"), many(1), false),
        ("type: trace_flags".to_owned(), vec![flags(0), flags(1), flags(0x100)], true),
        ("type: trace_flags".to_owned(), vec![flags(0x100)], false),
        (vendor.to_owned(), vec![state("a=b, v=y")], true),
        (vendor.to_owned(), vec![state("v=z")], false),
        (vendor.to_owned(), vec![state("nonsense,v=x")], false),
    ] {
        assert_eq!(one(&policy, spans), expected, "{policy}");
    }
}

#[test]
fn resources_count_as_much_as_spans() {
    let policy =
        "{name: p, type: string_attribute, string_attribute: {key: service.name, values: [b]}}";
    let mut sampler = Sampler::new(&policies(policy));
    sampler
        .send_entries(vec![entry("a", vec![span(A, 1), span(C, 1)]), entry("b", vec![span(A, 2)])]);
    let kept = sampler.wait(Duration::from_secs(2));
    assert_eq!(kept.iter().filter(|span| span.trace_id == A.to_be_bytes()).count(), 2);
    assert_eq!(kept.len(), 2);
}

const ERROR: &str = "type: status_code, status_code: {status_codes: [ERROR]}";
const HEALTH: &str = "type: string_attribute, string_attribute: {key: p, values: [/h]}";

#[test]
fn policies_are_combined_as_their_rules_say() {
    let slow = "type: latency, latency: {threshold_ms: 1000}";
    let both =
        format!("type: and, and: {{and_sub_policy: [{{name: a, {ERROR}}}, {{name: b, {slow}}}]}}");
    // Different spans may satisfy them.
    assert!(one(
        &both,
        vec![status(2), Span { trace_id: A.to_be_bytes().to_vec(), ..span(A, 1500) }]
    ));
    assert!(!one(&both, vec![status(2)]));
    let not = format!("type: not, not: {{not_sub_policy: {{name: a, {ERROR}}}}}");
    assert!(one(&not, vec![span(A, 1)]) && !one(&not, vec![status(2)]));
    let drop = |subs: &str| format!("{{name: d, type: drop, drop: {{drop_sub_policy: [{subs}]}}}}");
    let all = "{name: all, type: always_sample}";
    let health = with("p", text("/h"));
    let is_ok = "{type: status_code, status_code: {status_codes: [OK]}}";
    let dropped = drop(&format!("{{{HEALTH}}}, {is_ok}"));
    assert!(is_kept(&policies(&format!("{dropped}, {all}")), vec![health.clone()]), "all of them");
    let ok = Span { status: status(1).status, ..health.clone() };
    assert!(!is_kept(&policies(&format!("{dropped}, {all}")), vec![ok]));
    let last = drop(&format!("{{{HEALTH}}}"));
    let first =
        format!("{{sample_on_first_match: true, decision_wait: 1s, policies: [{all}, {last}]}}");
    assert!(!is_kept(&first, vec![health]), "who drops is asked first");
    let inverted = "{name: i, type: string_attribute, string_attribute: {key: t, values: [\"alive$\"], \
                    enabled_regex_matching: true, invert_match: true}}";
    assert!(is_kept(&policies(&format!("{inverted}, {all}")), vec![with("t", text("/alive"))]));
}

#[test]
fn the_first_policy_that_sampled_it_gets_the_credit_and_all_votes_are_known() {
    let set = format!(
        "{{decision_wait: 1s, record_policy: true, policies: [{{name: e, {ERROR}}}, \
         {{name: d, type: drop, drop: {{drop_sub_policy: [{{{HEALTH}}}]}}}}, \
         {{name: p1, type: always_sample}}, {{name: p2, type: always_sample}}]}}"
    );
    let mut sampler = Sampler::new(&set);
    sampler.send(vec![
        span(A, 1),
        Span { parent_span_id: Vec::new(), name: "root".to_owned(), ..span(A, 5) },
    ]);
    let kept = sampler.wait(Duration::from_secs(2));
    assert_eq!(kept.len(), 2);
    for span in &kept {
        assert_eq!(span.attributes, [attribute("tailsampling.policy", text("p1"))]);
    }
    let decision = sampler.decision(A);
    assert_eq!(sampler.telemetry.decisions()[0].policies, ["d", "e", "p1", "p2"]);
    let votes = [Vote::NotSampled, Vote::NotSampled, Vote::Sampled, Vote::Sampled];
    assert_eq!(decision.votes[..], votes);
    assert_eq!((decision.policy, decision.is_kept, decision.spans), (Some(2), true, 2));
    assert_eq!((&*decision.root.to_text(), &*decision.service), ("root", "app"));
    assert_eq!((decision.duration, decision.rate), (Duration::from_millis(5), 1.0));
    assert_eq!(decision.trigger, Trigger::WaitElapsed);
    // Late spans are marked as such.
    let late = sampler.send(vec![span(A, 3)]);
    let cached = attribute("tailsampling.cached_decision", any_value::Value::BoolValue(true));
    assert_eq!(late[0].attributes, [attribute("tailsampling.policy", text("p1")), cached]);
}

#[test]
fn limits_let_in_what_has_room() {
    let ids = [A, C, D];
    let traces =
        |spans: usize| ids.iter().flat_map(|id| vec![span(*id, 1); spans]).collect::<Vec<_>>();
    let kept = |settings: &str, spans: Vec<Span>| {
        let mut sampler = Sampler::new(settings);
        sampler.send(spans);
        sampler.wait(Duration::from_secs(2)).len()
    };
    let rate = "{name: r, type: rate_limiting, rate_limiting: {spans_per_second: 10}}";
    assert_eq!(kept(&policies(rate), traces(10)), 20);
    assert_eq!(kept(&policies(rate), vec![span(A, 1); 21]), 0, "larger than all there ever is");
    let size = span(A, 1).encoded_len() + 2;
    let bytes = format!(
        "{{name: b, type: bytes_limiting, bytes_limiting: {{bytes_per_second: {}}}}}",
        size * 10
    );
    assert_eq!(kept(&policies(&bytes), traces(9)), 18);
    // What another condition refuses costs nothing.
    let both = format!(
        "{{name: a, type: and, and: {{and_sub_policy: [{{type: rate_limiting, rate_limiting: \
         {{spans_per_second: 1, burst_capacity: 1}}}}, {{{ERROR}}}]}}}}"
    );
    let mut spans = vec![span(A, 1), span(E, 1)];
    spans.push(Span { trace_id: D.to_be_bytes().to_vec(), ..status(2) });
    assert_eq!(kept(&policies(&both), spans), 1);
}

#[test]
fn composite_shares_a_rate() {
    let set = |percent: u64| {
        format!(
            "{{name: c, type: composite, composite: {{max_total_spans_per_second: 1000, \
             policy_order: [p1, p2], composite_sub_policy: [{{name: p1, {ERROR}}}, \
             {{name: p2, type: always_sample}}], \
             rate_allocation: [{{policy: p1, percent: {percent}}}]}}}}"
        )
    };
    let errors = |n: usize| vec![status(2); n];
    assert!(!is_kept(&policies(&set(50)), errors(600)), "the next one is not tried");
    assert!(is_kept(&policies(&set(50)), errors(500)));
    assert!(is_kept(&policies(&set(50)), vec![span(A, 1); 400]));
    assert!(is_kept(&policies(&set(0)), errors(500)), "an equal share where none is given");
    let mut sampler = Sampler::new(&format!(
        "{{decision_wait: 1s, record_policy: true, policies: [{}]}}",
        set(50)
    ));
    sampler.send(errors(1));
    let kept = sampler.wait(Duration::from_secs(2));
    assert!(kept[0].attributes.contains(&attribute("tailsampling.composite_policy", text("p1"))));
}

#[test]
fn late_spans_follow_the_decision() {
    let mut sampler = Sampler::new(&policies(&format!("{{name: p, {ERROR}}}")));
    sampler.send(vec![span(C, 1), status(2)]);
    assert_eq!(sampler.wait(Duration::from_secs(2)).len(), 1);
    assert_eq!(sampler.send(vec![span(A, 9)]), [span(A, 9)], "kept");
    let error = Span { status: status(2).status, ..span(C, 1) };
    assert_eq!(sampler.send(vec![error]), [], "not kept, whatever it says");
    assert_eq!(sampler.wait(Duration::from_mins(1)), []);
    let stats = &sampler.stats;
    assert_eq!((stats.late_kept.read(), stats.late_dropped.read()), (1, 1));
    assert_eq!(stats.late_seconds.read().counts.iter().sum::<u64>(), 2);
    assert_eq!((stats.sampled.read(), stats.not_sampled.read(), stats.pending.read()), (1, 1, 0));
}

#[test]
fn the_root_brings_the_decision_forward_and_never_back() {
    let set = "{decision_wait: 30s, decision_wait_after_root_received: 5s, \
               policies: [{name: all, type: always_sample}]}";
    let root = |id| Span { parent_span_id: Vec::new(), ..span(id, 1) };
    let mut sampler = Sampler::new(set);
    sampler.send(vec![root(A), span(C, 1)]);
    assert_eq!(sampler.wait(Duration::from_millis(4900)).len(), 0);
    assert_eq!(sampler.wait(Duration::from_millis(300)).len(), 1);
    assert_eq!(sampler.decision(A).trigger, Trigger::RootReceived);
    assert_eq!(sampler.wait(Duration::from_secs(23)).len(), 0);
    sampler.send(vec![root(C)]);
    assert_eq!(sampler.wait(Duration::from_secs(2)).len(), 2, "30 s after the first span");
    assert_eq!(sampler.decision(C).trigger, Trigger::WaitElapsed);
}

#[test]
fn the_end_decides_or_drops_what_waits() {
    for (drops, kept) in [(false, 2), (true, 0)] {
        let mut sampler = Sampler::new(&format!(
            "{{drop_pending_traces_on_shutdown: {drops}, policies: [{{name: a, type: always_sample}}]}}"
        ));
        sampler.send(vec![span(A, 1), span(C, 1)]);
        assert_eq!(sampler.drain().len(), kept);
        assert_eq!(sampler.filtered, 2 - kept as u64);
        assert_eq!(sampler.decision(A).trigger, Trigger::Shutdown);
    }
}

#[test]
fn too_large_traces_are_dropped_at_once() {
    let mut sampler = Sampler::new(
        "{maximum_trace_size_bytes: 1000, policies: [{name: a, type: always_sample}]}",
    );
    sampler.send(vec![span(A, 1); 100]);
    sampler.send(vec![span(C, 1)]);
    assert_eq!(sampler.filtered, 100, "those before, and those that come after");
    assert_eq!(sampler.decision(A).trigger, Trigger::TooLarge);
    assert_eq!(sampler.wait(Duration::from_secs(31)).len(), 1);
}

#[test]
fn where_too_many_wait_the_oldest_are_decided_early() {
    let mut sampler = Sampler::new("{num_traces: 2, policies: [{name: a, type: always_sample}]}");
    assert_eq!(sampler.send(vec![span(A, 1), span(C, 1), span(D, 1)]).len(), 1);
    assert_eq!(sampler.decision(A).trigger, Trigger::TooManyTraces);
    assert_eq!(sampler.wait(Duration::from_secs(31)).len(), 2);
}

#[test]
fn with_blocking_senders_are_told_to_come_back() {
    let mut sampler = Sampler::new(
        "{num_traces: 2, block_on_overflow: true, policies: [{name: a, type: always_sample}]}",
    );
    sampler.send(vec![span(A, 1), span(C, 1), span(D, 1)]);
    sampler.send(vec![span(E, 1)]);
    assert_eq!((sampler.refused, sampler.filtered), (1, 0));
    assert_eq!(sampler.wait(Duration::from_secs(31)).len(), 3);
    sampler.send(vec![span(E, 1)]);
    assert_eq!(sampler.refused, 1, "there is room again");
}

#[test]
fn span_ingest_decides_as_soon_as_it_is_certain() {
    let set = |policies: &str| {
        format!("{{sampling_strategy: span-ingest, decision_wait: 5s, policies: [{policies}]}}")
    };
    let mut sampler = Sampler::new(&set(&format!("{{name: e, {ERROR}}}")));
    assert_eq!(sampler.send(vec![span(A, 1)]), []);
    assert_eq!(sampler.send(vec![status(2), span(A, 2)]).len(), 3, "and late ones at once");
    assert_eq!(sampler.decision(A).trigger, Trigger::Certain);
    // While a policy might drop it, it waits; and is not lost.
    let drop = format!("{{name: d, type: drop, drop: {{drop_sub_policy: [{{{HEALTH}}}]}}}}");
    let mut sampler = Sampler::new(&set(&format!("{drop}, {{name: e, {ERROR}}}")));
    assert_eq!(sampler.send(vec![status(2)]), []);
    assert_eq!(sampler.wait(Duration::from_secs(6)).len(), 1);
    sampler.send(vec![Span { trace_id: vec![3; 16], ..with("p", text("/h")) }]);
    assert_eq!(sampler.filtered, 1, "dropped at once");
}

#[test]
fn a_dry_run_keeps_all_and_says_what_it_would_have_kept() {
    let mut sampler = Sampler::on(
        1,
        &format!("{{decision_wait: 1s, dry_run: true, policies: [{{name: e, {ERROR}}}]}}"),
        true,
    );
    sampler.send(vec![status(2), span(C, 1)]);
    let mut kept = sampler.wait(Duration::from_secs(2));
    kept.extend(sampler.send(vec![span(C, 2)]));
    let said: Vec<bool> = kept
        .iter()
        .map(|span| {
            let is_true = any_value::Value::BoolValue(true);
            span.attributes == [attribute("tailsampling.dry_run.kept", is_true)]
        })
        .collect();
    assert_eq!(said.iter().filter(|kept| **kept).count(), 1);
    assert_eq!((said.len(), sampler.filtered), (3, 0));
    assert!(!sampler.decision(C).is_kept);
}

#[test]
fn wrappers_stay_as_they_are_and_are_written_once() {
    let mut sampler = Sampler::new(&policies("{name: a, type: always_sample}"));
    sampler
        .send_entries(vec![entry("a", vec![span(A, 1), span(C, 1)]), entry("b", vec![span(A, 2)])]);
    sampler.send_entries(vec![entry("a", vec![span(A, 3)])]);
    let mut kept = sampler.wait_entries(Duration::from_secs(2));
    kept.sort_by_key(|entry| entry.scope_spans[0].spans.len());
    let expected =
        [entry("b", vec![span(A, 2)]), entry("a", vec![span(A, 1), span(A, 3), span(C, 1)])];
    assert_eq!(kept, expected);
}
