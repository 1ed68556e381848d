//! Tail samplers under random traffic in virtual time: every span that comes in is kept, dropped or
//! waits; a trace has one decision, whatever the order of its spans and the number of workers;
//! memory stays within its limit and is given back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message as _;

use super::tests::{SECOND, Sampler, attribute, entry, span, spans_of, text};
use crate::otlp::{
    Payload, Signal,
    payload::{Ledger, Permit},
    split,
};

/// An account that refuses what it has not.
#[derive(Default)]
struct Account {
    limit: u64,
    used: AtomicU64,
    most: AtomicU64,
}

impl Account {
    fn of(limit: u64) -> Arc<Self> {
        Arc::new(Account { limit, ..Account::default() })
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }
}

impl Ledger for Account {
    fn try_charge(&self, bytes: u64) -> bool {
        let fits = self.used() + bytes <= self.limit;
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

fn payload(entries: Vec<opentelemetry_proto::tonic::trace::v1::ResourceSpans>) -> Payload {
    let request = opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest {
        resource_spans: entries,
    };
    let body = request.encode_to_vec();
    let items = split::count_items(Signal::Traces, &body);
    Payload::unpaid(Signal::Traces, body.into(), items)
}

const MIXED: &str = "
  - {name: drop, type: drop, drop: {drop_sub_policy: [{type: string_attribute, string_attribute: {key: k, values: [x]}}]}}
  - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
  - {name: slow, type: latency, latency: {threshold_ms: 900}}
  - {name: large, type: span_count, span_count: {min_spans: 9}}
  - {name: some, type: probabilistic, probabilistic: {sampling_percentage: 20}}
";

fn random_span(rng: &mut Rng, id: u128, number: u64) -> Span {
    let mut span = span(id, rng.u64(..1000));
    span.span_id = number.to_be_bytes().to_vec();
    if rng.u8(..4) == 0 {
        span.parent_span_id.clear();
    }
    if rng.u8(..12) == 0 {
        span.status = Some(Status { code: 2, ..Status::default() });
    }
    let value = if rng.u8(..30) == 0 { "x".to_owned() } else { "y".repeat(rng.usize(1..2000)) };
    span.attributes = vec![attribute("k", text(&value))];
    // Clocks of senders are wrong now and then.
    match rng.u8(..60) {
        0 => span.start_time_unix_nano = 0,
        1 => span.end_time_unix_nano = u64::MAX,
        2 => span.end_time_unix_nano = SECOND / 2,
        _ => {}
    }
    span
}

/// One world: traffic with late spans, spans sent twice, pauses, a small memory.
fn conserve(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let workers = rng.usize(1..4);
    let extra = [
        "",
        "max_memory: 300000",
        "num_traces: 20",
        "decision_wait_after_root_received: 300ms",
        "sampling_strategy: span-ingest",
        "max_memory: 262144, decision_wait_after_root_received: 200ms",
        "maximum_trace_size_bytes: 3000",
    ];
    let extra = extra[rng.usize(..extra.len())];
    let policies = MIXED.replace("\n  - ", ", ").replace('\n', " ");
    let settings = format!(
        "{{decision_wait: 2s, record_policy: {}, policies: [{}]{}{extra}}}",
        rng.bool(),
        policies.trim().trim_start_matches(','),
        if extra.is_empty() { "" } else { ", " },
    );
    let mut sampler = Sampler::on(workers, &settings, rng.bool());
    let account = Account::of(if rng.bool() { 150_000 } else { 1 << 30 });
    let (mut sent, mut kept) = (0, Vec::new());
    let mut ids: Vec<u128> = Vec::new();
    for round in 0..150_u64 {
        let mut entries = Vec::new();
        for service in 0..rng.usize(1..4) {
            let mut spans = Vec::new();
            for _ in 0..rng.usize(..12) {
                if ids.is_empty() || rng.u8(..3) == 0 {
                    ids.push(rng.u128(..));
                }
                // Mostly new traces, sometimes very old ones.
                let back = rng.usize(..ids.len()).min(rng.usize(..ids.len()));
                let id = ids[ids.len() - 1 - back.min(rng.usize(..60))];
                spans.push(random_span(&mut rng, id, round));
            }
            entries.push(entry(&format!("service-{}", service * rng.usize(..3)), spans));
        }
        let mut payload = payload(entries);
        let bytes = payload.len() as u64;
        account.charge(bytes);
        payload.permits.push(Permit::charged(bytes, Arc::clone(&account) as Arc<dyn Ledger>));
        sent += payload.items;
        kept.extend(spans_of(sampler.send_payload(&payload)));
        drop(payload);
        if rng.u8(..10) == 0 {
            // The host slept.
            sampler.now += Duration::from_secs(100);
        }
        kept.extend(sampler.wait(Duration::from_millis(rng.u64(..400))));
        let stats = &sampler.stats;
        assert!(
            stats.memory.read() <= stats.memory_limit.read() + 64_000 || extra.is_empty(),
            "seed {seed}: {} of {}",
            stats.memory.read(),
            stats.memory_limit.read()
        );
    }
    kept.extend(sampler.drain());
    assert_eq!(kept.len() as u64 + sampler.filtered, sent, "seed {seed}: {settings}");
    let stats = Arc::clone(&sampler.stats);
    assert_eq!(stats.pending.read(), 0, "seed {seed}");
    let decided = stats.sampled.read() + stats.not_sampled.read() + stats.dropped.read();
    assert_eq!(decided, stats.new_traces.read(), "seed {seed}");
    // As much is remembered as there was, so each trace was decided once.
    assert_eq!(decided, ids_of(&sampler, &ids), "seed {seed}");
    drop(sampler);
    assert_eq!(account.used(), 0, "seed {seed}");
    assert!(!kept.is_empty() && (kept.len() as u64) < sent);
}

fn ids_of(sampler: &Sampler, ids: &[u128]) -> u64 {
    let decisions = &sampler.telemetry.decisions()[0];
    let found = |id: &&u128| {
        let all = decisions.find(id.to_be_bytes());
        assert!(all.len() <= 1, "{all:?}");
        !all.is_empty()
    };
    ids.iter().filter(found).count() as u64
}

/// All rounds if `SKEP_TEST_FULL` is set, as `.ci/run` does it, else a fifth of them.
fn rounds(all: u64) -> u64 {
    let is_full = std::env::var_os("SKEP_TEST_FULL").is_some_and(|value| !value.is_empty());
    if is_full { all } else { all / 5 }
}

#[test]
fn every_span_is_kept_dropped_or_waits() {
    for seed in 0..rounds(300) {
        conserve(seed);
    }
}

/// The same spans in any order, in requests of any size, on any number of workers: the same traces
/// are kept.
#[test]
fn the_decision_is_the_same_whatever_the_interleaving_and_the_workers() {
    let policies = MIXED.replace("\n  - ", ", ").replace('\n', " ");
    let policies = policies.trim().trim_start_matches(',');
    for seed in 0..rounds(40) {
        let mut rng = Rng::with_seed(seed);
        let ids: Vec<u128> = (0..80).map(|_| rng.u128(..)).collect();
        let spans: Vec<Span> = (0..600)
            .map(|number| {
                let id = ids[rng.usize(..ids.len())];
                random_span(&mut rng, id, number)
            })
            .collect();
        let mut outcomes = Vec::new();
        for (workers, extra) in [
            (1, ""),
            (2, ""),
            (3, ""),
            (2, "sampling_strategy: span-ingest,"),
            (1, "max_memory: 4000000,"),
        ] {
            let mut spans = spans.clone();
            rng.shuffle(&mut spans);
            let settings = format!("{{{extra} decision_wait: 5s, policies: [{policies}]}}");
            let mut sampler = Sampler::on(workers, &settings, false);
            let mut kept = Vec::new();
            let size = rng.usize(1..50);
            for part in spans.chunks(size) {
                kept.extend(sampler.send(part.to_vec()));
                kept.extend(sampler.wait(Duration::from_millis(1)));
            }
            kept.extend(sampler.wait(Duration::from_secs(6)));
            let mut counts: HashMap<Vec<u8>, usize> = HashMap::new();
            for span in kept {
                *counts.entry(span.trace_id).or_default() += 1;
            }
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort();
            outcomes.push(counts);
        }
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "seed {seed}");
        let of = |id: &[u8]| spans.iter().filter(|span| span.trace_id == id).count();
        assert!(outcomes[0].iter().all(|(id, count)| *count == of(id)), "whole traces");
        assert!(outcomes[0].len() > 5 && outcomes[0].len() < 80);
    }
}

fn paid(account: &Arc<Account>, mut payload: Payload) -> Payload {
    let bytes = payload.len() as u64;
    account.charge(bytes);
    payload.permits.push(Permit::charged(bytes, Arc::clone(account) as Arc<dyn Ledger>));
    payload
}

/// What is held, which has to be within the limit, and paid for but for a step of the tables.
fn check_memory(sampler: &Sampler, account: &Account, slack: u64) {
    let stats = &sampler.stats;
    let (memory, limit) = (stats.memory.read(), stats.memory_limit.read());
    assert!(memory <= limit + slack, "{memory} of {limit}");
    let used = account.used();
    assert!(used + (64 << 10) >= memory, "{used} are paid for {memory}");
}

/// Each request has a resource of its own, much larger than its span.
#[test]
fn resources_count_in_the_limit_of_memory() {
    let mut sampler = Sampler::new(
        "{decision_wait: 10s, max_memory: 2000000, policies: [{name: all, type: always_sample}]}",
    );
    let account = Account::of(1 << 30);
    let mut kept = 0;
    for i in 0..300_u128 {
        let one = entry(&format!("{i} {}", "x".repeat(100_000)), vec![span(i + 1, 1)]);
        kept += spans_of(sampler.send_payload(&paid(&account, payload(vec![one])))).len();
        check_memory(&sampler, &account, 300_000);
    }
    kept += sampler.drain().len();
    assert_eq!(kept, 300);
    drop(sampler);
    assert_eq!(account.used(), 0);
}

/// Records that are little more than their header, and old traces between them that do not end:
/// there is nothing to be gained by compacting the first, and much by compacting the second.
#[test]
fn neither_tiny_spans_nor_stragglers_break_the_limit() {
    let mut sampler = Sampler::new(
        "{decision_wait: 60s, decision_wait_after_root_received: 200ms, max_memory: 2000000, \
         policies: [{name: all, type: always_sample}]}",
    );
    let account = Account::of(1 << 30);
    let tiny = |id: u128| Span { trace_id: id.to_be_bytes().to_vec(), ..Span::default() };
    let mut rng = Rng::with_seed(9);
    let (mut kept, mut sent) = (0, 0);
    for round in 0..400_u64 {
        let mut spans = vec![Span::default(); 2000];
        for _ in 0..200 {
            let id = rng.u128(..);
            // One in ten never has a root.
            let one = tiny(id);
            let parent = if rng.u8(..10) == 0 { vec![8; 8] } else { Vec::new() };
            spans.push(Span { parent_span_id: parent, ..one });
        }
        sent += spans.len();
        let payload = paid(&account, payload(vec![entry("app", spans)]));
        kept += spans_of(sampler.send_payload(&payload)).len();
        drop(payload);
        check_memory(&sampler, &account, 300_000);
        kept += sampler.wait(Duration::from_millis(round % 7 * 10)).len();
    }
    let stats = Arc::clone(&sampler.stats);
    assert!(stats.pending.read() > 0);
    kept += sampler.drain().len();
    assert_eq!(kept, sent);
}

/// A large request is kept as it came in, and what it paid at the door pays for it until its last
/// trace is decided, be they on several workers; a small one is copied and lets go of what it paid
/// at once.
#[test]
fn large_requests_are_kept_and_small_ones_copied() {
    for workers in [1, 2, 3] {
        let mut sampler = Sampler::on(
            workers,
            "{decision_wait: 10s, policies: [{name: all, type: always_sample}]}",
            false,
        );
        let account = Account::of(1 << 30);
        let chunk = 256 << 10;
        let spans = |size: usize| {
            let attributes = vec![attribute("k", text(&"x".repeat(size)))];
            (1..50).map(move |i| Span { attributes: attributes.clone(), ..span(i << 64 | i, 1) })
        };
        let small = paid(&account, payload(vec![entry("app", spans(10).collect())]));
        assert_eq!(sampler.send_payload(&small).len(), 0);
        drop(small);
        let copies = account.used();
        // And a page of the table.
        assert!(copies > 0 && copies <= (chunk + 64_000) * workers as u64, "{copies}");
        let large = paid(&account, payload(vec![entry("app", spans(1000).collect())]));
        let bytes = large.len() as u64;
        assert_eq!(sampler.send_payload(&large).len(), 0);
        drop(large);
        let held = account.used();
        // Chunks of copies give back what they did not need, when one comes after them.
        let tables = 64_000 * (1 + workers as u64);
        assert!((bytes..bytes + tables).contains(&held), "{held} for {bytes}");
        let stats = Arc::clone(&sampler.stats);
        assert!(stats.memory.read() >= bytes, "{}", stats.memory.read());
        assert_eq!(sampler.wait(Duration::from_secs(11)).len(), 98);
        assert!(account.used() < tables && stats.memory.read() < 64_000 * workers as u64);
        drop(sampler);
        assert_eq!(account.used(), 0);
    }
}

/// A trace that is decided while its request is read, for its size, does not hold the request; a
/// request that is much of the memory is copied, so that the limit holds.
#[test]
fn a_large_request_is_held_for_nothing_but_waiting_traces() {
    let wide = |id: u128| {
        let attributes = vec![attribute("k", text(&"x".repeat(1000)))];
        vec![Span { attributes, ..span(id, 1) }; 400]
    };
    let mut sampler = Sampler::new(
        "{decision_wait: 10s, maximum_trace_size_bytes: 100000, \
         policies: [{name: all, type: always_sample}]}",
    );
    let account = Account::of(1 << 30);
    let large = paid(&account, payload(vec![entry("app", wide(7))]));
    assert_eq!(sampler.send_payload(&large).len(), 0);
    drop(large);
    assert!(account.used() < 64_000, "{}", account.used());
    let mut sampler = Sampler::new(
        "{decision_wait: 10s, max_memory: 600000, policies: [{name: all, type: always_sample}]}",
    );
    let mut kept = 0;
    for id in 1..20 {
        let request = paid(&account, payload(vec![entry("app", wide(id))]));
        kept += spans_of(sampler.send_payload(&request)).len();
        drop(request);
        check_memory(&sampler, &account, 64_000);
    }
    assert_eq!(kept + sampler.drain().len(), 19 * 400);
}

/// What goes out at once is cut, be it of one trace.
#[test]
fn a_giant_trace_goes_out_in_parts() {
    let mut sampler = Sampler::new("{policies: [{name: all, type: always_sample}]}");
    let wide = |i: u64| Span {
        span_id: i.to_be_bytes().to_vec(),
        attributes: vec![attribute("k", text(&"x".repeat(10_000)))],
        ..span(7, 1)
    };
    for i in 0..500 {
        assert!(sampler.send(vec![wide(i)]).is_empty());
    }
    let entries = {
        let mut out = crate::component::Output::at(sampler.now);
        sampler.shards[0].drain(&mut out);
        let payloads = out.take();
        assert!(payloads.len() >= 4);
        assert!(payloads.iter().all(|payload| payload.len() < 1_200_000));
        payloads.iter().map(|payload| payload.items).sum::<u64>()
    };
    assert_eq!(entries, 500);
}

#[test]
fn a_giant_trace_disturbs_nobody() {
    let mut sampler = Sampler::new(
        "{decision_wait: 10s, max_memory: 3000000, policies: [{name: all, type: always_sample}]}",
    );
    let mut kept = 0;
    for round in 0..100_u128 {
        kept += sampler.send(vec![span(7, 1); 1000]).len();
        kept += sampler.send(vec![span(1 << 100 | round, 1)]).len();
        kept += sampler.wait(Duration::from_millis(10)).len();
    }
    kept += sampler.drain().len();
    assert_eq!(kept, 100_100);
    let stats = &sampler.stats;
    assert!(stats.memory.read() <= 3_000_000);
}

#[test]
fn a_million_traces_of_one_span() {
    let mut sampler = Sampler::new(
        "{decision_wait: 1s, max_memory: 20000000, explain: 10, policies: [{name: some, type: probabilistic, \
         probabilistic: {sampling_percentage: 1}}]}",
    );
    let mut rng = Rng::with_seed(3);
    let (mut kept, mut sent) = (0, 0);
    let mut template = payload(vec![entry("app", vec![span(0, 1); 1000])]).body.concat();
    let places: Vec<usize> = (0..template.len() - 18)
        .filter(|at| {
            template[*at..].starts_with(&[0x0A, 16]) && template[at + 2..at + 18] == [0; 16]
        })
        .map(|at| at + 2)
        .collect();
    assert_eq!(places.len(), 1000);
    for _ in 0..1000 {
        for at in &places {
            template[*at..*at + 16].copy_from_slice(&rng.u128(..).to_be_bytes());
        }
        sent += 1000;
        let payload = Payload::unpaid(Signal::Traces, template.clone().into(), 1000);
        kept += spans_of(sampler.send_payload(&payload)).len();
        kept += sampler.wait(Duration::from_millis(10)).len();
    }
    kept += sampler.drain().len();
    assert_eq!(kept as u64 + sampler.filtered, sent);
    // 10 000 of a million; four standard deviations are 400.
    assert!(kept.abs_diff(10_000) < 400, "{kept}");
    let stats = &sampler.stats;
    assert!(stats.memory.read() <= 20_000_000, "{}", stats.memory.read());
    assert_eq!(
        (stats.pending.read(), sampler.telemetry.decisions()[0].after(0, 99).decisions.len()),
        (0, 10)
    );
}
