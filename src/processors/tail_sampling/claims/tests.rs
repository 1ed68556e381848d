//! Nobody is told that spans have ended as long as they wait, or are on their way; everybody is
//! told in the end. With memory for little, so that traces are decided early and copied to and fro.

use std::{collections::HashSet, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    component::Output,
    otlp::{Payload, Signal, payload::Outcome},
    processors::tail_sampling::tests::{Sampler, by_trace},
};

type Ended = Arc<Mutex<HashSet<usize>>>;

/// A request of spans that are named after it.
fn request(name: usize, random: &mut fastrand::Rng, ended: &Ended) -> Payload {
    let count = if random.u8(..3) == 0 { random.usize(20..80) } else { random.usize(1..4) };
    let spans: Vec<Span> = (0..count)
        .map(|_| Span {
            trace_id: u128::from(random.u64(1..60))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_be_bytes()
                .to_vec(),
            span_id: random.u64(1..).to_be_bytes().to_vec(),
            parent_span_id: if random.u8(..4) == 0 { Vec::new() } else { vec![1; 8] },
            name: name.to_string(),
            trace_state: "x=y".repeat(random.usize(1..40)),
            ..Span::default()
        })
        .collect();
    let items = spans.len() as u64;
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    let mut payload = Payload::unpaid(Signal::Traces, body.into(), items);
    let wait = if random.bool() { Wait::Durable } else { Wait::Delivery };
    let ended = Arc::clone(ended);
    payload.receipts.push(Receipt::new(
        wait,
        Box::new(move |outcome| {
            assert!(matches!(outcome, Outcome::Delivered | Outcome::Filtered), "{outcome:?}");
            assert!(ended.lock().unwrap().insert(name), "told twice");
        }),
    ));
    payload
}

/// The requests that a payload has spans of.
fn names(payload: &Payload) -> HashSet<usize> {
    let decoded = ExportTraceServiceRequest::decode(&*payload.body.concat()).unwrap();
    let scopes = decoded.resource_spans.into_iter().flat_map(|entry| entry.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name.parse().unwrap()).collect()
}

fn live(seed: u64, workers: usize, settings: &str) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sampler = Sampler::on(workers, settings, false);
    let ended = Ended::default();
    let mut held: Vec<(Payload, HashSet<usize>)> = Vec::new();
    let requests = 120;
    for name in 0..=requests {
        let mut out = Output::at(sampler.now);
        if name == requests {
            sampler.shards.iter_mut().for_each(|shard| shard.drain(&mut out));
        } else {
            let payload = request(name, &mut random, &ended);
            let reader = random.usize(..workers);
            let shares = by_trace(&mut sampler.shards[reader]).share(payload, workers, &mut out);
            for (shard, share) in sampler.shards.iter_mut().zip(shares) {
                if let Some(share) = share {
                    by_trace(shard).take(share, &mut out);
                }
            }
            sampler.now += Duration::from_millis(random.u64(..120));
            out.now = sampler.now;
            sampler.shards.iter_mut().for_each(|shard| shard.tick(&mut out));
        }
        for payload in out.take() {
            let names = names(&payload);
            held.push((payload, names));
        }
        for (_, names) in &held {
            let told = ended.lock().unwrap();
            assert!(names.is_disjoint(&told), "told before the end");
        }
        while held.len() > random.usize(..6) {
            let (payload, _) = held.swap_remove(random.usize(..held.len()));
            payload.finish(Outcome::Delivered);
        }
    }
    for (payload, _) in held {
        payload.finish(Outcome::Delivered);
    }
    drop(sampler);
    assert_eq!(ended.lock().unwrap().len(), requests, "all are told in the end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn who_waits_is_told_at_the_end_and_not_before(
        seed in any::<u64>(), workers in 1_usize..4, weights in any::<bool>()
    ) {
        let marks = if weights { "record_policy: true" } else { "dry_run: false" };
        for memory in [262_144, 1_000_000] {
            let settings = format!(
                "{{decision_wait: 1s, max_memory: {memory}, {marks}, \
                 policies: [{{name: some, type: probabilistic, probabilistic: {{sampling_percentage: 40}}}}]}}"
            );
            live(seed, workers, &settings);
        }
    }
}

/// A trace that is copied within the newest chunk is not among those who wait for itself.
#[test]
fn who_waits_is_told_where_a_trace_stays_in_its_chunk() {
    let settings = "{decision_wait: 1s, max_memory: 262144, policies: \
                    [{name: some, type: probabilistic, probabilistic: {sampling_percentage: 40}}]}";
    live(14_530_439_977_333_320_088, 1, settings);
}
