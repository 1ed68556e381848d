//! What policies compile to, and how they vote on a trace.
//!
//! All that policies ask of spans is folded into bits and a few numbers while spans arrive
//! ([`Facts`]), so a vote reads no span. One evaluation serves four questions, told apart by the
//! [`Oracle`] that answers for what is not a fact: how the vote goes now (limits are spent), how it
//! would have gone with other random bits or limits (for the weight), whether it depends on them at
//! all, and whether spans to come can change it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{processors::sampling::Threshold, telemetry::decisions::Vote};

/// What is known of a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// One bit for each condition on spans that a span or its resource has met.
    pub(super) bits: u128,
    /// First start and last end, nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Spans so far.
    pub(super) spans: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Facts {
    /// Takes in those of more spans.
    #[inline]
    pub(super) fn add(&mut self, more: &Facts) {
        self.bits |= more.bits;
        self.start = self.start.min(more.start);
        self.end = self.end.max(more.end);
        self.spans += more.spans;
        self.bytes += more.bytes;
    }

    fn millis(&self) -> u64 {
        self.end.saturating_sub(self.start) / 1_000_000
    }
}

/// A question about a trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// The same for all.
    Always,
    /// Whether a span has met a condition.
    Bit(u32),
    /// Whether it took longer than, and no longer than, in milliseconds.
    Latency { above: u64, up_to: Option<u64> },
    /// Whether it has so many spans.
    Spans { min: u64, max: Option<u64> },
    /// Whether it is among those that chance chooses.
    Chance(Chance),
    /// Whether a limit has room for it.
    Limit { index: usize, unit: Unit },
    /// Whether it is not so.
    Not(Box<Test>),
    /// Whether all are so. Those with limits come last, so that nothing is spent in vain.
    All(Vec<Test>),
    /// The first that is so decides, if its limit has room.
    Composite(Vec<Member>),
    /// For tests: evaluation goes wrong.
    #[cfg(test)]
    Panic,
}

/// A part of [`Test::Composite`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) test: Test,
    pub(super) limit: usize,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Spans,
    Bytes,
}

impl Unit {
    pub(super) fn of(self, facts: &Facts) -> u64 {
        match self {
            Unit::Spans => facts.spans,
            Unit::Bytes => facts.bytes,
        }
    }
}

/// A share of all traces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chance {
    /// Number of the salt.
    pub(super) salt: usize,
    /// Largest hash that is sampled; `None` if no trace is.
    pub(super) up_to: Option<u64>,
    /// The same share as a threshold.
    pub(super) threshold: Threshold,
}

impl Test {
    pub(super) fn has_limit(&self) -> bool {
        match self {
            Test::Limit { .. } | Test::Composite(_) => true,
            Test::Not(test) => test.has_limit(),
            Test::All(tests) => tests.iter().any(Test::has_limit),
            _ => false,
        }
    }

    /// Shows every share in it.
    pub(super) fn each_chance(&self, show: &mut impl FnMut(&Chance)) {
        match self {
            Test::Chance(chance) => show(chance),
            Test::Not(test) => test.each_chance(show),
            Test::All(tests) => {
                for test in tests {
                    test.each_chance(show);
                }
            }
            Test::Composite(members) => {
                for member in members {
                    member.test.each_chance(show);
                }
            }
            _ => {}
        }
    }
}

/// Answers for what is not a fact, or not yet. None: that cannot be said.
pub(super) trait Oracle {
    /// Whether a condition that no span has met so far will not be met.
    fn is_bit_final(&self) -> bool {
        true
    }

    /// Whether a chance came true.
    fn chance(&mut self, chance: &Chance) -> Option<bool>;

    /// Whether a limit has room.
    fn limit(&mut self, index: usize, cost: u64) -> Option<bool>;
}

/// Evaluates in three-valued logic.
pub(super) fn eval(test: &Test, facts: &Facts, oracle: &mut impl Oracle) -> Option<bool> {
    let is_final = oracle.is_bit_final();
    // What more spans can only make true, and what they can only make false.
    let grows = |now: bool| (now || is_final).then_some(now);
    let shrinks = |now: bool| (!now || is_final).then_some(now);
    match test {
        Test::Always => Some(true),
        Test::Bit(bit) => grows(facts.bits >> bit & 1 == 1),
        Test::Latency { above, up_to } => {
            let millis = facts.millis();
            match up_to {
                Some(up_to) if millis > *up_to => Some(false),
                Some(_) => is_final.then_some(millis > *above),
                None => grows(millis > *above),
            }
        }
        Test::Spans { min, max } => match max {
            Some(max) if facts.spans > *max => Some(false),
            Some(_) if facts.spans >= *min => shrinks(true),
            _ => grows(facts.spans >= *min),
        },
        Test::Chance(chance) => oracle.chance(chance),
        Test::Limit { index, unit } => oracle.limit(*index, unit.of(facts)),
        Test::Not(test) => eval(test, facts, oracle).map(|so| !so),
        Test::All(tests) => {
            let mut all = Some(true);
            for test in tests {
                match eval(test, facts, oracle) {
                    Some(true) => {}
                    Some(false) => return Some(false),
                    None => all = None,
                }
            }
            all
        }
        Test::Composite(members) => composite(members, facts, oracle).1,
        #[cfg(test)]
        Test::Panic => panic!("a policy's evaluation goes wrong"),
    }
}

/// The member that decides, and how.
fn composite(
    members: &[Member],
    facts: &Facts,
    oracle: &mut impl Oracle,
) -> (Option<usize>, Option<bool>) {
    for (i, member) in members.iter().enumerate() {
        match eval(&member.test, facts, oracle) {
            Some(true) => return (Some(i), oracle.limit(member.limit, facts.spans)),
            Some(false) => {}
            None => return (None, None),
        }
    }
    (None, Some(false))
}

/// A policy that votes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) name: String,
    /// Whether it votes against, and for nothing.
    pub(super) is_drop: bool,
    pub(super) test: Test,
}

impl Rule {
    /// The member of a composite policy that samples a trace.
    pub(super) fn member(&self, facts: &Facts, oracle: &mut impl Oracle) -> Option<&str> {
        let Test::Composite(members) = &self.test else { return None };
        let index = composite(members, facts, oracle).0?;
        Some(&members[index].name)
    }
}

/// How a vote ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) is_kept: bool,
    /// Whether a `drop` policy decided.
    pub(super) is_dropped: bool,
    /// The first policy with the vote that won.
    pub(super) policy: Option<usize>,
}

/// Asks the rules in order; those that drop come first. `votes` has one place for each.
pub(super) fn decide(
    rules: &[Rule],
    stops_at_first: bool,
    facts: &Facts,
    oracle: &mut impl Oracle,
    votes: &mut [Vote],
) -> Outcome {
    votes.fill(Vote::NotAsked);
    let mut policy = None;
    for (i, rule) in rules.iter().enumerate() {
        // A rule that goes wrong has no vote; the others have theirs.
        let answer = catch_unwind(AssertUnwindSafe(|| eval(&rule.test, facts, oracle)));
        votes[i] = match answer {
            Err(_) => Vote::Error,
            Ok(Some(true)) if rule.is_drop => {
                votes[i] = Vote::Dropped;
                return Outcome { is_kept: false, is_dropped: true, policy: Some(i) };
            }
            Ok(Some(true)) => Vote::Sampled,
            Ok(_) => Vote::NotSampled,
        };
        if votes[i] == Vote::Sampled && policy.is_none() {
            policy = Some(i);
            if stops_at_first {
                break;
            }
        }
    }
    Outcome { is_kept: policy.is_some(), is_dropped: false, policy }
}

/// The same in three-valued logic, without the votes.
pub(super) fn is_kept(rules: &[Rule], facts: &Facts, oracle: &mut impl Oracle) -> Option<bool> {
    let mut kept = Some(false);
    let mut may_drop = false;
    for rule in rules {
        let answer = catch_unwind(AssertUnwindSafe(|| eval(&rule.test, facts, oracle)))
            .unwrap_or(Some(false));
        match answer {
            Some(true) if rule.is_drop => return Some(false),
            None if rule.is_drop => may_drop = true,
            Some(true) => {
                kept = Some(true);
                break;
            }
            None => kept = None,
            Some(false) => {}
        }
    }
    if may_drop && kept != Some(false) { None } else { kept }
}

/// Says whether an outcome is certain whatever chance and limits say: what cannot be said is none.
pub(super) struct Unknown;

impl Oracle for Unknown {
    fn chance(&mut self, _: &Chance) -> Option<bool> {
        None
    }

    fn limit(&mut self, _: usize, _: u64) -> Option<bool> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chances are what they are; spans may follow.
    struct Early(bool);

    impl Oracle for Early {
        fn is_bit_final(&self) -> bool {
            false
        }

        fn chance(&mut self, _: &Chance) -> Option<bool> {
            Some(self.0)
        }

        fn limit(&mut self, _: usize, _: u64) -> Option<bool> {
            None
        }
    }

    fn rule(is_drop: bool, test: Test) -> Rule {
        Rule { name: "r".to_owned(), is_drop, test }
    }

    /// What a vote says early is what it says at the end, whatever comes in between.
    #[test]
    fn what_is_certain_stays_so() {
        let bit = |bit| Test::Bit(bit);
        let slow = Test::Latency { above: 10, up_to: None };
        let between = Test::Latency { above: 10, up_to: Some(20) };
        let few = Test::Spans { min: 2, max: Some(4) };
        let many = Test::Spans { min: 3, max: None };
        let tests = [
            bit(0),
            slow.clone(),
            between.clone(),
            few.clone(),
            many.clone(),
            Test::Not(Box::new(bit(1))),
            Test::Not(Box::new(slow)),
            Test::All(vec![bit(0), many]),
            Test::All(vec![few, between, Test::Not(Box::new(bit(0)))]),
        ];
        let mut random = fastrand::Rng::with_seed(5);
        let mut certain = 0;
        for _ in 0..20_000 {
            let (kept, dropped) = (random.usize(..tests.len()), random.usize(..tests.len()));
            let mut rules = vec![rule(false, tests[kept].clone())];
            if random.bool() {
                rules.insert(0, rule(true, tests[dropped].clone()));
            }
            let mut facts = Facts { start: 50_000_000, ..Facts::default() };
            let mut promised = None;
            for _ in 0..random.usize(1..8) {
                facts.spans += 1;
                facts.bits |= u128::from(random.u8(..4) & random.u8(..4));
                facts.end = facts.end.max(50_000_000 + random.u64(..25_000_000));
                let now = is_kept(&rules, &facts, &mut Early(true));
                assert!(promised.is_none() || now == promised, "{rules:?} {facts:?}");
                promised = now;
            }
            let last = is_kept(&rules, &facts, &mut Unknown);
            assert!(promised.is_none() || promised == last, "{rules:?} {facts:?}");
            certain += usize::from(promised.is_some());
        }
        assert!(certain > 5000, "{certain}");
    }

    #[test]
    fn a_rule_that_goes_wrong_has_no_vote() {
        let rules = [rule(true, Test::Panic), rule(false, Test::Panic), rule(false, Test::Always)];
        let mut votes = [Vote::NotAsked; 3];
        let outcome = decide(&rules, false, &Facts::default(), &mut Unknown, &mut votes);
        assert_eq!(outcome, Outcome { is_kept: true, is_dropped: false, policy: Some(2) });
        assert_eq!(votes, [Vote::Error, Vote::Error, Vote::Sampled]);
    }
}
