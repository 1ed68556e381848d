//! Weights: known answers, and totals that agree with the truth.

use std::time::Duration;

use fastrand::Rng;
use opentelemetry_proto::tonic::{
    common::v1::any_value,
    trace::v1::{Span, Status},
};

use super::tests::{A, C, Sampler, attribute, entry, policies, span, text};
use crate::processors::sampling::{Randomness, TraceState};

fn weighed(settings: &str) -> Sampler {
    Sampler::on(1, settings, true)
}

fn with_state(id: u128, state: &str) -> Span {
    Span { trace_state: state.to_owned(), ..span(id, 1) }
}

fn error(span: Span) -> Span {
    Span { status: Some(Status { code: 2, ..Status::default() }), ..span }
}

/// What its attribute says, or 1.
fn rate(span: &Span) -> i64 {
    let rate = span.attributes.iter().find(|one| one.key == "SampleRate");
    match rate.and_then(|rate| rate.value.clone()).and_then(|value| value.value) {
        None => 1,
        Some(any_value::Value::IntValue(rate)) => rate,
        Some(other) => panic!("{other:?}"),
    }
}

const ERRORS: &str = "{name: e, type: status_code, status_code: {status_codes: [ERROR]}}";

fn chance(percent: f64) -> String {
    format!("{{name: c, type: probabilistic, probabilistic: {{sampling_percentage: {percent}}}}}")
}

#[test]
fn thresholds_and_rates_are_those_of_the_policies_that_could_have_kept_it() {
    let one = |settings: &str, span: Span| {
        let mut sampler = weighed(&policies(settings));
        sampler.send(vec![span]);
        let kept = sampler.wait(Duration::from_secs(2));
        kept.first().map(|span| (span.trace_state.clone(), rate(span)))
    };
    let said = |state: &str, rate| Some((state.to_owned(), rate));
    // By the bits that the trace says it has.
    assert_eq!(
        one(&chance(50.0), with_state(A, "ot=rv:c0000000000000")),
        said("ot=th:8;rv:c0000000000000", 2)
    );
    assert_eq!(one(&chance(50.0), with_state(A, "ot=rv:70000000000000")), None);
    // An error would have been kept anyhow: what was before stays.
    let both = format!("{ERRORS}, {}", chance(10.0));
    let before = error(with_state(A, "ot=th:8;rv:f0000000000000"));
    assert_eq!(one(&both, before), said("ot=th:8;rv:f0000000000000", 2));
    let lucky = with_state(A, "ot=th:8;rv:f0000000000000");
    assert_eq!(one(&both, lucky), said("ot=th:e6666666666666;rv:f0000000000000", 10));
    // A stricter threshold before is not lowered, and is not multiplied either.
    let strict = with_state(A, "x=y,ot=th:fd70a3d70a3d71;rv:ffffffffffffff");
    assert_eq!(one(&both, strict), said("ot=th:fd70a3d70a3d71;rv:ffffffffffffff,x=y", 100));
    assert_eq!(one(&both, error(span(A, 1))), said("ot=th:0", 1));
    // What cannot be read stays as it is.
    assert_eq!(one("{name: a, type: always_sample}", with_state(A, "ot=th:q")), said("ot=th:q", 1));
    // A third is three or four, as often as it takes.
    let (state, third) = one(&chance(30.0), span(C, 1)).unwrap();
    assert!(third == 3 || third == 4);
    // By a hash: bits that agree with the threshold are written too.
    let parsed = TraceState::parse(state.as_bytes()).unwrap();
    assert!(parsed.threshold.unwrap().keeps(parsed.randomness.unwrap()), "{state}");
    assert!((parsed.threshold.unwrap().probability() - 0.3).abs() < 1e-9);
}

#[test]
fn a_rate_that_a_span_came_with_is_composed() {
    use any_value::Value::{DoubleValue, IntValue};
    for (key, value, expected) in [
        ("SampleRate", IntValue(4), 8),
        ("sampleRate", text("100.6"), 202),
        ("sampleRate", DoubleValue(2.4), 4),
        ("SampleRate", IntValue(-3), 2),
        ("samplerate", IntValue(10), 2),
    ] {
        let mut sampler = weighed(&policies(&chance(50.0)));
        let came = Span { attributes: vec![attribute(key, value)], ..span(C, 1) };
        sampler.send(vec![came]);
        let kept = sampler.wait(Duration::from_secs(2));
        assert_eq!(rate(&kept[0]), expected, "{key}");
        let others = kept[0].attributes.iter().filter(|one| one.key != "SampleRate");
        assert_eq!(others.count(), usize::from(key == "samplerate"));
    }
}

#[test]
fn a_rate_of_the_resource_counts_where_a_span_says_nothing() {
    let mut sampler = weighed(&policies(&chance(50.0)));
    let five = || attribute("SampleRate", any_value::Value::IntValue(5));
    let said = Span { attributes: vec![five()], ..span(C, 1) };
    let mut all = entry("app", vec![span(C, 1), said]);
    let resource = all.resource.as_mut().unwrap();
    resource.attributes.push(attribute("SampleRate", any_value::Value::IntValue(3)));
    sampler.send_entries(vec![all]);
    let kept = sampler.wait(Duration::from_secs(2));
    assert_eq!(kept.iter().map(rate).collect::<Vec<_>>(), [6, 10]);
}

#[test]
fn late_spans_have_the_weight_of_their_trace() {
    let mut sampler = weighed(&policies(&chance(25.0)));
    sampler.send(vec![span(C, 1)]);
    let kept = sampler.wait(Duration::from_secs(2));
    let late = sampler.send(vec![span(C, 2)]);
    assert_eq!((rate(&kept[0]), rate(&late[0])), (4, 4));
    assert_eq!(kept[0].trace_state, late[0].trace_state);
    // One that was sampled before in its own service counts for more.
    let before = sampler.send(vec![with_state(C, "ot=th:8")]);
    assert_eq!(rate(&before[0]), 8);
}

#[test]
fn weights_are_written_where_they_are_wanted() {
    for (settings, is_wanted, has_rate, has_threshold) in [
        ("", false, false, false),
        ("", true, true, true),
        ("weights: {tracestate: true}, ", false, false, true),
        ("weights: {sample_rate: false}, ", true, false, true),
    ] {
        let settings = format!("{{{settings}decision_wait: 1s, policies: [{}]}}", chance(25.0));
        let mut sampler = Sampler::on(1, &settings, is_wanted);
        sampler.send(vec![span(C, 1)]);
        let kept = sampler.wait(Duration::from_secs(2));
        assert_eq!(!kept[0].attributes.is_empty(), has_rate);
        assert_eq!(!kept[0].trace_state.is_empty(), has_threshold);
    }
}

/// Traces of many kinds through a mixture of policies that overlap, with limits, salts, negations,
/// and senders who have sampled before: sums over what is kept, weighted, are those of all traces,
/// within three standard deviations, by the attribute and by the threshold.
#[test]
fn weighted_totals_agree_with_the_truth() {
    let mixtures = [
        format!("{ERRORS}, {}", chance(5.0)),
        format!(
            "{}, {{name: s, type: probabilistic, probabilistic: {{sampling_percentage: 20, hash_salt: x}}}}",
            chance(10.0)
        ),
        "{name: n, type: not, not: {not_sub_policy: {type: probabilistic, probabilistic: {sampling_percentage: 40}}}}, \
         {name: b, type: and, and: {and_sub_policy: [{type: probabilistic, probabilistic: {sampling_percentage: 40, hash_salt: y}}, \
         {type: status_code, status_code: {status_codes: [ERROR]}}]}}"
            .to_owned(),
        format!("{ERRORS}, {{name: l, type: rate_limiting, rate_limiting: {{spans_per_second: 400}}}}"),
        format!(
            "{{name: l, type: and, and: {{and_sub_policy: [{{type: rate_limiting, rate_limiting: {{spans_per_second: 300}}}}, \
             {{type: probabilistic, probabilistic: {{sampling_percentage: 50}}}}]}}}}, {}",
            chance(3.0)
        ),
        "{name: c, type: composite, composite: {max_total_spans_per_second: 600, policy_order: [e, a], \
         composite_sub_policy: [{name: e, type: status_code, status_code: {status_codes: [ERROR]}}, {name: a, type: always_sample}], \
         rate_allocation: [{policy: e, percent: 50}, {policy: a, percent: 50}]}}"
            .to_owned(),
        format!(
            "{{name: d, type: drop, drop: {{drop_sub_policy: [{{type: probabilistic, probabilistic: {{sampling_percentage: 30, \
             hash_salt: z}}}}]}}}}, {ERRORS}, {}",
            chance(50.0)
        ),
    ];
    for mixture in &mixtures {
        agree(mixture);
    }
}

/// Sums over kept spans of one kind: of weights, and of what their squares say of the error.
#[derive(Default, Clone, Copy)]
struct Sum {
    rates: f64,
    counts: f64,
    variance: f64,
}

#[expect(clippy::cast_precision_loss, reason = "statistics")]
fn agree(mixture: &str) {
    let mut sampler = weighed(&policies(mixture));
    let mut rng = Rng::with_seed(11);
    // Errors and others; of each those that nobody has sampled, and those that somebody has.
    let mut truth = [0_u64; 4];
    let mut sums = [Sum::default(); 4];
    let mut take = |spans: Vec<Span>| {
        for span in spans {
            let kind = usize::try_from(span.kind).unwrap();
            let state = TraceState::parse(span.trace_state.as_bytes()).unwrap();
            let count = 1.0 / state.threshold.unwrap().probability();
            let randomness = state.randomness.or_else(|| Randomness::of_trace(&span.trace_id));
            let is_fair = state.threshold.unwrap().keeps(randomness.unwrap());
            assert!(is_fair, "{} {mixture}", span.trace_state);
            let sum = &mut sums[kind];
            sum.rates += rate(&span) as f64;
            sum.counts += count;
            // For weights w of kept items the variance of their sum is near the sum of w (w - 1),
            // and rounding adds at most a quarter each.
            sum.variance += count * (count - 1.0) + 0.25;
        }
    };
    for _ in 0..200 {
        let mut batch = Vec::new();
        for _ in 0..100 {
            let id = rng.u128(..);
            let is_error = rng.u8(..5) == 0;
            let is_sampled = rng.u8(..4) == 0;
            let kind = usize::from(is_error) * 2 + usize::from(is_sampled);
            truth[kind] += 1;
            let mut one = if is_error { error(span(id, 1)) } else { span(id, 1) };
            one.kind = i32::try_from(kind).unwrap();
            if is_sampled {
                // Half of them are gone already, by their bits.
                if id & (1 << 55) == 0 {
                    continue;
                }
                one.trace_state = "ot=th:8".to_owned();
            }
            batch.push(one);
        }
        take(sampler.send(batch));
        take(sampler.wait(Duration::from_millis(300)));
    }
    take(sampler.wait(Duration::from_secs(2)));
    for (kind, (truth, sum)) in truth.iter().zip(sums).enumerate() {
        let (truth, deviation) = (*truth as f64, sum.variance.sqrt());
        for total in [sum.rates, sum.counts] {
            let error = (total - truth) / deviation.max(1.0);
            assert!(
                error.abs() < 3.0,
                "{mixture}, kind {kind}: {total} of {truth}, {error} deviations"
            );
        }
    }
}
