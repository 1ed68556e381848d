//! The budget holds whatever comes, sums stay right while chunks go, and what is left out counts.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::json;

use super::{NOW, audit, small, take_spans};
use crate::{
    otlp::{Payload, Signal, plain, tee::Tee},
    recent::{Digester, Limits, Query, Recent, Settings, TraceFilter, chunk::Kind},
    sync,
};

/// A request of spans with attributes that nobody else has.
fn request(rng: &mut Rng, spans: usize) -> Vec<u8> {
    let spans: Vec<_> = (0..spans)
        .map(|_| {
            let text: String = (0..rng.usize(0..200)).map(|_| rng.alphanumeric()).collect();
            json!({
                "traceId": format!("{:032x}", rng.u128(1..200_000)),
                "spanId": format!("{:016x}", rng.u64(1..)),
                "name": format!("work {}", rng.u32(..50)),
                "startTimeUnixNano": (NOW - rng.u64(..1_000_000_000)).to_string(),
                "endTimeUnixNano": NOW.to_string(),
                "status": {"code": rng.u8(..3)},
                "attributes": {"text": text, "number": rng.u16(..)},
            })
        })
        .collect();
    plain::bytes(Signal::Traces, &plain::spans(&spans))
}

fn is_consistent(recent: &Recent) {
    audit(recent);
    let status = recent.status();
    let counts = status.counts;
    assert_eq!(status.spans, counts.taken - counts.evicted - counts.expired);
    let left = counts.sampled + counts.too_large + counts.no_room;
    assert_eq!(counts.seen, counts.taken + left);
    let store = sync::lock(&recent.store);
    let held: u64 = store.slots.iter().map(|slot| u64::from(slot.spans - slot.gone)).sum();
    assert_eq!(held, status.spans, "the sums of traces are those of the chunks");
}

#[test]
fn the_budget_holds_and_the_oldest_goes_first() {
    let recent = small();
    let mut rng = Rng::with_seed(3);
    for at in 0..400 {
        super::take(&recent, Signal::Traces, request(&mut rng, 150));
        if at % 20 == 0 {
            is_consistent(&recent);
        }
    }
    is_consistent(&recent);
    let status = recent.status();
    assert!(status.counts.evicted > 10_000 && status.counts.no_room == 0, "{status:?}");
    assert!(status.highest <= status.bytes && status.used > status.bytes * 3 / 4, "{status:?}");
    let (chunks, _) = recent.snapshot(Kind::Spans, NOW);
    assert!(chunks.windows(2).all(|pair| pair[0].number > pair[1].number), "the newest first");
}

#[test]
fn a_reader_keeps_what_it_reads_and_nothing_else_is_lost_for_it() {
    let recent = small();
    let mut rng = Rng::with_seed(4);
    for _ in 0..300 {
        super::take(&recent, Signal::Traces, request(&mut rng, 150));
    }
    let (chunks, _) = recent.snapshot(Kind::Spans, NOW);
    let rows: usize = chunks.iter().map(|chunk| chunk.rows()).sum();
    let before = recent.status().counts.evicted;
    {
        let mut store = sync::lock(&recent.store);
        for _ in 0..60 {
            store.take(Signal::Traces, &request(&mut rng, 150), 0, NOW);
        }
        assert!(store.is_hindered());
    }
    let status = recent.status();
    assert!(status.counts.no_room > 0 && status.highest <= status.bytes, "{status:?}");
    assert_eq!(status.counts.evicted, before, "what a reader holds is not evicted");
    assert_eq!(chunks.iter().map(|chunk| chunk.rows()).sum::<usize>(), rows);
    drop(chunks);
    super::take(&recent, Signal::Traces, request(&mut rng, 150));
    assert!(!sync::lock(&recent.store).is_hindered());
    is_consistent(&recent);
}

#[test]
fn what_is_old_goes() {
    let recent = small();
    take_spans(&recent, "shop", &[json!({})]);
    assert_eq!(recent.status().spans, 1);
    let later = NOW + 16 * 60 * 1_000_000_000;
    let list = recent.traces(&TraceFilter::read(&json!({})).unwrap(), later);
    assert_eq!((list.matched, list.honesty.held_from), (0, None));
    assert_eq!(recent.status().counts.expired, 1);
    is_consistent(&recent);
}

#[test]
fn a_span_that_is_larger_than_a_chunk_is_counted_and_the_next_one_is_taken() {
    let recent = small();
    for text in [String::new(), "x".repeat(300 << 10), String::new()] {
        take_spans(&recent, "shop", &[json!({"attributes": {"text": text}})]);
    }
    let counts = recent.status().counts;
    assert_eq!((counts.seen, counts.taken, counts.too_large), (3, 2, 1));
    take_spans(&recent, &"s".repeat(300 << 10), &[json!({})]);
    assert_eq!(recent.status().counts.too_large, 2, "so is one with such a resource");
    is_consistent(&recent);
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn what_is_left_out_is_counted_by_what_is_held() {
    let recent = Recent::new(Settings { bytes: 64 << 20, ..Settings::default() }).unwrap();
    let mut rng = Rng::with_seed(5);
    let (mut all, mut errors) = (0.0, 0.0);
    for _ in 0..200 {
        let request = request(&mut rng, 150);
        all += 150.0;
        for entry in crate::otlp::view::traces(&request) {
            for span in entry.scopes().flat_map(|scope| scope.spans()) {
                errors += f64::from(u8::from(span.status.is_some_and(|status| status.code == 2)));
            }
        }
        sync::lock(&recent.store).take(Signal::Traces, &request, 4, NOW);
    }
    let count = |json| {
        let query = Query::read(&json).unwrap();
        recent.query(&query, Limits::default(), NOW).rows[0].values[0].as_f64().unwrap()
    };
    let status = recent.status();
    assert!((status.spans as f64) < all / 3.0, "{status:?}");
    let is_close = |found: f64, exact: f64| (found - exact).abs() < 0.08 * exact;
    assert!(is_close(count(json!({})), all), "{} of {all}", count(json!({})));
    let found = count(json!({"where": [["error", "=", true]]}));
    assert!(is_close(found, errors), "{found} of {errors}");
    is_consistent(&recent);
}

#[test]
fn traces_stay_whole_while_the_shift_does() {
    let recent = small();
    for _ in 0..10 {
        let spans: Vec<_> =
            (1..100_u128).map(|trace| json!({"traceId": format!("{trace:032x}")})).collect();
        let request = plain::bytes(Signal::Traces, &plain::spans(&spans));
        sync::lock(&recent.store).take(Signal::Traces, &request, 2, NOW);
    }
    let filter = TraceFilter::read(&json!({"limit": 1000})).unwrap();
    let list = recent.traces(&filter, NOW);
    assert!((10..50).contains(&list.matched), "{}", list.matched);
    assert!(list.traces.iter().all(|trace| trace.spans == 10 && trace.one_in == 4));
}

#[test]
fn whoever_offers_never_waits() {
    let recent = small();
    let request = Bytes::from(vec![0; 100 << 10]);
    for _ in 0..20 {
        recent.offer(Signal::Traces, &request, NOW);
    }
    assert_eq!(recent.status().refused, 15, "half a mebibyte waits");
    recent.catch_up();
    recent.offer(Signal::Traces, &request, NOW);
    assert_eq!(recent.status().refused, 15);
    assert!(Recent::new(Settings { bytes: Settings::LEAST - 1, ..Settings::default() }).is_err());
    for (memory, bytes) in [(256 << 20, 16 << 20), (512 << 20, 64 << 20)] {
        let recent = Recent::new(Settings::for_memory(memory)).unwrap();
        let status = recent.status();
        assert_eq!(status.bytes, bytes);
        assert!(status.fixed < bytes / 3, "{status:?}");
    }
}

#[test]
fn a_thread_digests_what_the_door_shows_and_ends() {
    let recent = Arc::new(small());
    let digester = Digester::start(&recent).unwrap();
    let tee = Tee::default();
    assert!(tee.connect(Arc::clone(&recent) as _));
    let mut rng = Rng::with_seed(6);
    while recent.status().spans < 300 {
        let payload = Payload::unpaid(Signal::Traces, request(&mut rng, 10).into(), 10);
        tee.offer(&payload);
        payload.take_over();
        std::thread::yield_now();
    }
    drop(digester);
    is_consistent(&recent);
}
