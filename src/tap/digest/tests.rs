use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::*;
use crate::{
    otlp::{Signal, payload::Reason, plain},
    telemetry::decisions::{Name, Trigger},
};

fn settings(side: Side) -> Settings {
    let masks = Masks::new(&[], false).unwrap();
    Settings { side, rate: 0, limit: 0, masks, condition: None, decisions: None }
}

/// A span of a trace, both by number.
fn span(trace: u8, span: u8, name: &str) -> Value {
    let (trace, span) = (format!("{trace:032x}"), format!("{span:016x}"));
    json!({"traceId": trace, "spanId": span, "name": name})
}

fn content(spans: &[Value]) -> Content {
    let body = plain::bytes(Signal::Traces, &plain::spans(spans));
    Content::new(Signal::Traces, Bytes::from(body), spans.len() as u64)
}

/// A call that takes some spans and gives others, and leaves out so many.
fn call(input: &[Value], output: &[Value], filtered: u64) -> Seen {
    let mut seen = Seen { filtered, is_direct: true, ..Seen::nothing() };
    seen.input = (!input.is_empty()).then(|| content(input));
    if !output.is_empty() {
        seen.outputs.push(content(output));
    }
    seen
}

/// What became of each span that was shown, by name as it went in or came out.
fn fates(shown: &[Shown]) -> Vec<(String, Fate)> {
    let name = |one: &Shown| {
        let item = one.before.as_ref().or(one.after.as_ref()).unwrap();
        plain::span(&plain::shown(Signal::Traces, &item.body))["name"].as_str().unwrap().to_owned()
    };
    shown.iter().map(|one| (name(one), one.fate)).collect()
}

fn told(expected: &[(&str, Fate)]) -> Vec<(String, Fate)> {
    expected.iter().map(|(name, fate)| ((*name).to_owned(), *fate)).collect()
}

#[test]
fn a_processor_that_keeps_nothing_is_told_at_once() {
    let now = Instant::now();
    let mut digest = Digest::new(settings(Side::Both), now);
    let (one, two, three) = (span(1, 1, "one"), span(1, 2, "two"), span(2, 3, "three"));
    let mut changed = two.clone();
    changed["attributes"] = json!({"a": "b"});
    let seen = call(&[one.clone(), two, three], &[changed, one], 1);
    digest.take(&seen, now);
    let shown = digest.drain();
    let expected = [("two", Fate::Changed), ("one", Fate::Unchanged), ("three", Fate::Dropped)];
    assert_eq!(fates(&shown), told(&expected));
    assert_eq!(shown[0].changes[0].key, "attributes.a");
    assert_eq!((shown[2].reason, shown[2].of_in), ("filtered", 3));
    assert_eq!((digest.counts().seen, digest.counts().shown), (3, 3));
}

#[test]
fn what_is_split_is_told() {
    let now = Instant::now();
    let mut digest = Digest::new(settings(Side::Both), now);
    let (one, two) = (span(1, 1, "one"), span(1, 2, "two"));
    let mut seen = call(&[one.clone(), two.clone()], &[one], 0);
    seen.outputs.push(content(&[two]));
    digest.take(&seen, now);
    let told: Vec<_> =
        digest.drain().iter().map(|one| (one.of_in, one.of_out, one.is_split)).collect();
    assert_eq!(told, [(2, 1, true), (2, 1, true)]);
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let now = Instant::now();
    let mut digest = Digest::new(settings(Side::Both), now);
    let mut seen = call(&[span(1, 1, "one")], &[], 0);
    (seen.refused, seen.reason) = (1, Some(Reason::StatementFailed));
    digest.take(&seen, now);
    assert_eq!(digest.drain()[0].reason, Reason::StatementFailed.name());
}

#[test]
fn items_whose_ids_were_changed_are_paired_by_their_order() {
    let now = Instant::now();
    let mut digest = Digest::new(settings(Side::Both), now);
    let seen =
        call(&[span(1, 1, "one"), span(1, 2, "two")], &[span(9, 1, "one"), span(1, 2, "two")], 0);
    digest.take(&seen, now);
    let shown = digest.drain();
    assert_eq!(fates(&shown), told(&[("two", Fate::Unchanged), ("one", Fate::Changed)]));
    assert_eq!(shown[1].changes[0].key, "trace_id");
}

#[test]
fn what_a_processor_makes_is_created_and_what_it_holds_is_inside() {
    let now = Instant::now();
    let mut digest = Digest::new(settings(Side::Both), now);
    let (one, two, new) = (span(1, 1, "one"), span(1, 2, "two"), span(3, 9, "new"));
    digest.take(&call(std::slice::from_ref(&one), &[one.clone(), new], 0), now);
    assert_eq!(fates(&digest.drain()), told(&[("one", Fate::Unchanged), ("new", Fate::Created)]));
    // A batch: what went in comes out later, with what was not seen going in.
    digest.take(&Seen { is_direct: false, ..call(std::slice::from_ref(&two), &[], 0) }, now);
    digest.take(
        &Seen { is_direct: false, ..call(&[span(4, 4, "four")], &[span(5, 5, "?")], 0) },
        now,
    );
    assert_eq!(digest.drain(), []);
    digest.take(&call(&[], &[span(6, 6, "?"), two], 0), now);
    let shown = digest.drain();
    assert_eq!(fates(&shown), told(&[("two", Fate::Unchanged)]));
    assert_eq!((shown[0].of_in, shown[0].of_out), (1, 2));
    digest.finish();
    assert_eq!(fates(&digest.drain()), told(&[("four", Fate::Inside)]));
}

fn decision(trace: u8, policy: Option<usize>) -> Decision {
    let mut trace_id = [0; 16];
    trace_id[15] = trace;
    Decision {
        number: 0,
        at: SystemTime::UNIX_EPOCH,
        trace_id,
        root: Name::new(b""),
        service: "".into(),
        spans: 1,
        bytes: 100,
        duration: Duration::ZERO,
        is_kept: policy.is_some(),
        policy,
        votes: SmallVec::new(),
        rate: 1.0,
        trigger: Trigger::WaitElapsed,
    }
}

#[test]
fn a_sampler_says_by_which_policy() {
    let now = Instant::now();
    let policies = vec!["errors".to_owned()];
    let ring = Arc::new(Decisions::new("tail_sampling", "traces", policies, false, 10));
    ring.add(0, [decision(3, None)]);
    let with_ring = Settings { decisions: Some(Arc::clone(&ring)), ..settings(Side::Both) };
    let mut digest = Digest::new(with_ring, now);
    let spans = [span(1, 1, "kept"), span(2, 2, "gone"), span(3, 3, "late"), span(4, 4, "waits")];
    // The four that are left out are others.
    digest.take(&Seen { is_direct: false, ..call(&spans, &[], 4) }, now);
    digest.tick(now);
    let late = digest.drain();
    assert_eq!(fates(&late), told(&[("late", Fate::Dropped)]), "it was decided on before");
    ring.add(0, [decision(1, Some(0)), decision(2, None)]);
    digest.take(&call(&[], &spans[..1], 1), now);
    digest.tick(now);
    let shown = digest.drain();
    assert_eq!(fates(&shown), told(&[("kept", Fate::Unchanged), ("gone", Fate::Dropped)]));
    let verdict = |one: &Shown| one.verdict.clone().unwrap();
    assert_eq!((&*verdict(&shown[0]).policy, verdict(&shown[0]).is_kept), ("errors", true));
    assert_eq!((&*verdict(&shown[1]).policy, verdict(&shown[1]).is_kept), ("", false));
    digest.finish();
    assert_eq!(fates(&digest.drain()), told(&[("waits", Fate::Inside)]));
}

#[test]
fn one_side_shows_what_fits_the_condition_up_to_the_limit() {
    let now = Instant::now();
    let condition = Condition::compile(Signal::Traces, r#"name != "no""#).unwrap();
    let settings = Settings { limit: 2, condition: Some(condition), ..settings(Side::Out) };
    let mut digest = Digest::new(settings, now);
    let spans = [span(1, 1, "no"), span(1, 2, "a"), span(1, 3, "b"), span(1, 4, "c")];
    digest.take(&call(&[], &spans, 0), now);
    assert_eq!(fates(&digest.drain()), told(&[("a", Fate::Passed), ("b", Fate::Passed)]));
    assert!(digest.is_full());
    assert_eq!(digest.counts(), Counts { seen: 4, shown: 2, one_in: 1, ..Counts::default() });
}

#[test]
fn what_is_too_large_is_missed() {
    let now = Instant::now();
    let mut digest = Digest::new(settings(Side::In), now);
    let mut seen = call(&[span(1, 1, "x")], &[], 0);
    if let Some(input) = &mut seen.input {
        input.items = items::MOST + 1;
    }
    digest.take(&seen, now);
    digest.take(&call(&[span(1, 1, &"x".repeat(LARGEST))], &[], 0), now);
    assert_eq!(digest.counts().missed, items::MOST + 2);
    assert_eq!(digest.drain(), []);
    // What nobody has fetched yet has a limit, too.
    let large = |id| call(&[span(1, id, &"x".repeat(LARGEST / 2))], &[], 0);
    (1..=40).for_each(|id| digest.take(&large(id), now));
    let fetched = digest.drain().len();
    assert!((20..=32).contains(&fetched), "{fetched}");
    digest.take(&large(41), now);
    assert_eq!(digest.drain().len(), 1);
}
