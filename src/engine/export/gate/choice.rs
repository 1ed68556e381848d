//! Which traces of a payload pass, and by which threshold.
//!
//! A trace passes if its random bits are not below a threshold, so that all replicas, signals and
//! payloads agree about it. The threshold follows from the rate of its class, and from how the
//! trace was sampled before: the rate is a part of what arrives. If a tail sampler has kept one of
//! twenty and the rate is one half, one of forty passes.
//!
//! Why not the larger of the two thresholds, as the mode `equalizing` of `probabilistic_sampler`
//! does: a rate above the earlier probability would change nothing. Half of the budget's rate would
//! let pass everything, and the budget would be used up before the rate is low enough to matter.

use super::{
    measure::Trace,
    remembered::{Decided, Remembered},
};
use crate::{
    budget::Rate,
    otlp::sampling::{Randomness, Threshold},
};

/// What becomes of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// It passes as it is.
    Passes,
    /// It passes, and its items stand for others.
    Weighed {
        /// By which threshold it was chosen.
        threshold: Threshold,
        /// Whether its own bits do not say so.
        is_detached: bool,
    },
    /// It is left out.
    LeftOut,
}

impl Verdict {
    pub(super) fn is_kept(self) -> bool {
        self != Verdict::LeftOut
    }
}

/// Decides about a trace that nothing is remembered of.
fn fresh(trace: &Trace, rate: Rate) -> Threshold {
    match (rate, trace.sampled) {
        (Rate::ALL, _) => Threshold::ALWAYS,
        (rate, Threshold::ALWAYS) => Threshold::from_bits(rate.threshold()),
        (Rate::NOTHING, _) => Threshold::NEVER,
        (rate, sampled) => Threshold::exact(sampled.probability() * rate.probability()),
    }
}

/// Decides about a trace. What is remembered of it counts, unless it belongs to a better class now:
/// an error must not be lost because its trace began without one.
pub(super) fn decide(trace: &Trace, rates: &[Rate; 3], before: Option<Decided>) -> Decided {
    let class = trace.class;
    let threshold = fresh(trace, rates[class as usize]);
    match before {
        None => Decided { threshold, class },
        Some(before) if class < before.class => {
            Decided { threshold: threshold.min(before.threshold), class }
        }
        Some(before) => before,
    }
}

/// What a decision means for a trace. `random` is evenly spread over traces.
pub(super) fn verdict(trace: &Trace, threshold: Threshold, random: u64) -> Verdict {
    if threshold == Threshold::ALWAYS {
        return Verdict::Passes;
    }
    // A trace without an id has no bits, and one whose bits are below the threshold that it bears
    // was sampled by others.
    let own = trace.randomness.filter(|bits| trace.sampled.keeps(*bits));
    let bits = own.unwrap_or_else(|| Randomness::kept_by(trace.sampled, random));
    if !threshold.keeps(bits) {
        return Verdict::LeftOut;
    }
    Verdict::Weighed { threshold, is_detached: own.is_none() }
}

/// Decides about all traces of a payload, with what is remembered, and remembers it.
pub(super) fn decide_all(
    traces: &[Trace],
    rates: &[Rate; 3],
    remembered: &mut Remembered,
) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(traces.len());
    for trace in traces {
        let before = (trace.key != 0).then(|| remembered.find(trace.key)).flatten();
        let decided = decide(trace, rates, before);
        if trace.key != 0 && before != Some(decided) {
            remembered.put(trace.key, decided);
        }
        // Bits that a trace's other spans get as well.
        let random = if trace.key == 0 { fastrand::u64(..) } else { spread(trace.key) };
        verdicts.push(verdict(trace, decided.threshold, random));
    }
    verdicts
}

/// Other bits that are as random.
fn spread(key: u64) -> u64 {
    let mut bits = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits ^= bits >> 32;
    bits = bits.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    bits ^ bits >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Class;

    fn trace(bits: u64, class: Class) -> Trace {
        let randomness = Some(Randomness::from_bits(bits));
        Trace { key: bits, randomness, sampled: Threshold::ALWAYS, class, items: 1, units: 1 }
    }

    const HALF: u64 = 1 << 55;

    fn half() -> Threshold {
        Threshold::from_bits(HALF)
    }

    #[test]
    fn a_trace_passes_by_its_bits_and_is_weighed() {
        let of = |bits| verdict(&trace(bits, Class::Rest), half(), 0);
        let weighed = Verdict::Weighed { threshold: half(), is_detached: false };
        assert_eq!([of(HALF), of(HALF - 1)], [weighed, Verdict::LeftOut]);
        let all = verdict(&trace(0, Class::Rest), Threshold::ALWAYS, 0);
        assert_eq!(all, Verdict::Passes);
    }

    #[test]
    fn a_rate_is_a_part_of_what_was_sampled_before() {
        let quarter = Threshold::exact(0.25);
        let before = Trace { sampled: quarter, ..trace(u64::MAX, Class::Rest) };
        let threshold = fresh(&before, Rate::of(0.5));
        assert!((threshold.probability() - 0.125).abs() < 1e-4, "{threshold}");
        assert_eq!(fresh(&before, Rate::ALL), Threshold::ALWAYS);
        assert_eq!(fresh(&before, Rate::NOTHING), Threshold::NEVER);
    }

    #[test]
    fn a_trace_goes_the_same_way_until_it_gets_worse() {
        let mut remembered = Remembered::default();
        let rates = |rest: f64| [Rate::ALL, Rate::ALL, Rate::of(rest)];
        let one = trace(HALF, Class::Rest);
        let mut decide = |trace: &Trace, rest| {
            decide_all(std::slice::from_ref(trace), &rates(rest), &mut remembered)[0]
        };
        let first = decide(&one, 0.75);
        assert!(first.is_kept() && first != Verdict::Passes);
        assert_eq!(decide(&one, 0.1), first, "although the rate is lower now");
        assert_eq!(decide(&trace(HALF, Class::Error), 0.1), Verdict::Passes);
        let late = trace(5, Class::Rest);
        assert_eq!(decide(&late, 0.5), Verdict::LeftOut);
        assert_eq!(decide(&late, 1.0), Verdict::LeftOut, "the rest of it would be half a trace");
        assert_eq!(decide(&trace(5, Class::Error), 0.5), Verdict::Passes);
    }

    #[test]
    fn traces_without_bits_of_their_own_pass_as_often_as_others() {
        let (mut kept, count) = (0, 20_000);
        for n in 0..count {
            let anonymous = Trace { key: 0, randomness: None, ..trace(1, Class::Rest) };
            let lying = Trace { sampled: half(), ..trace(3 + n, Class::Rest) };
            for (one, threshold) in [(anonymous, half()), (lying, Threshold::exact(0.25))] {
                let random = if one.key == 0 { spread(n) } else { spread(one.key) };
                match verdict(&one, threshold, random) {
                    Verdict::Weighed { is_detached, .. } => {
                        assert!(is_detached);
                        kept += 1;
                    }
                    Verdict::LeftOut => {}
                    Verdict::Passes => panic!("it was sampled"),
                }
            }
        }
        assert!((19_000..21_000).contains(&kept), "{kept}");
    }
}
