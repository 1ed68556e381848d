//! How many traces a kept one represents: one over the probability that a trace like it is kept.
//!
//! A trace's facts are what they are; only chances and limits could have gone otherwise. Each salt
//! is one number, evenly spread over all traces and independent of the others; so are the 56 random
//! bits of the trace, which limits go by: among the traces of one moment those with the largest
//! bits are let in, and the bits of the first that is not are the threshold (adaptive threshold
//! sampling, arXiv 1708.04970). The thresholds cut the range of each number into intervals on which
//! all votes are the same; the probability is the sum of the parts of the combined ranges on which
//! the trace is kept. So it holds for any mixture of policies, also for `not`, `and` and `drop` of
//! chances, and weighted counts of what is kept are without bias.
//!
//! Where somebody before has sampled by the same bits, only the range above his threshold counts:
//! the result is the larger threshold, not the product.

use super::{
    compile::Program,
    program::{Chance, Facts, Oracle, Unknown, is_kept},
};
use crate::processors::sampling::{Answer, Threshold};

/// Numbers that chances come from: the bits of the trace, then one for each salt.
const BITS: usize = 0;

/// Where the ranges are cut: for the bits of the trace, and for each salt.
#[derive(Debug)]
pub(super) struct Weigher {
    /// Thresholds of shares, by salt.
    salts: Vec<Vec<u64>>,
    /// The same for traces that are sampled by their bits, where all salts are one.
    all: Vec<u64>,
    /// The last answer, since traces that are alike come in numbers.
    last: Option<(Question, Answer)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    facts: Facts,
    by_bits: bool,
    upstream: Option<Threshold>,
}

impl Weigher {
    pub(super) fn new(program: &Program) -> Self {
        let mut salts = vec![Vec::new(); program.salts.len()];
        for rule in &program.rules {
            rule.test.each_chance(&mut |chance| salts[chance.salt].push(chance.threshold.bits()));
        }
        let mut all = salts.concat();
        for cuts in salts.iter_mut().chain([&mut all]) {
            cuts.sort_unstable();
            cuts.dedup();
        }
        Weigher { salts, all, last: None }
    }

    /// Forgets answers, since the thresholds of limits are others now.
    pub(super) fn begin(&mut self) {
        self.last = None;
    }

    /// The probability that a trace with these facts is kept, and was kept by earlier samplers.
    /// `by_bits`: chances go by the bits of the trace. `limits` are the thresholds of limits.
    pub(super) fn weigh(
        &mut self,
        program: &Program,
        facts: &Facts,
        by_bits: bool,
        upstream: Option<Threshold>,
        limits: &[Threshold],
    ) -> Answer {
        let question = Question { facts: *facts, by_bits, upstream };
        if let Some((last, answer)) = self.last
            && last == question
        {
            return answer;
        }
        let before = upstream.unwrap_or(Threshold::ALWAYS);
        let certain = is_kept(&program.rules, facts, &mut Unknown);
        let answer = if certain == Some(true) {
            let probability = before.probability();
            Answer { probability, threshold: before, is_detached: false }
        } else {
            self.sum(program, facts, by_bits, before, limits)
        };
        self.last = Some((question, answer));
        answer
    }

    fn sum(
        &self,
        program: &Program,
        facts: &Facts,
        by_bits: bool,
        before: Threshold,
        limits: &[Threshold],
    ) -> Answer {
        let end = Threshold::NEVER.bits();
        let cuts = |own: &[u64], more: &[u64]| {
            let mut cuts: Vec<u64> =
                own.iter().chain(more).copied().filter(|at| *at < end).collect();
            cuts.push(0);
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        };
        let mut of_bits: Vec<u64> = limits.iter().map(|limit| limit.bits()).collect();
        of_bits.push(before.bits());
        let mut ranges = vec![cuts(if by_bits { &self.all } else { &[] }, &of_bits)];
        if !by_bits {
            ranges.extend(self.salts.iter().map(|own| cuts(own, &[])));
        }
        let mut sums = Sums { kept: 0.0, of_bits_alone: Vec::new() };
        let mut cell = Cell { at: vec![0; ranges.len()], by_bits, limits, program };
        add(program, facts, &ranges, &mut cell, before, 0, 1.0, &mut sums);
        // Salts have a part where the same bits lead to different ends. Else whole numbers do.
        let intervals = &sums.of_bits_alone;
        let is_mixed = intervals.iter().any(|one| one.kept > 0.0 && one.kept < one.all);
        let from = intervals.iter().position(|one| one.kept > 0.0).unwrap_or(0);
        let is_detached = is_mixed || intervals[from..].iter().any(|one| one.kept <= 0.0);
        let units = intervals.iter().filter(|one| one.kept > 0.0).map(|one| one.units).sum();
        let threshold =
            if is_detached { Threshold::exact(sums.kept) } else { Threshold::keeping(units) };
        Answer { probability: sums.kept, threshold, is_detached }
    }
}

struct Sums {
    kept: f64,
    /// For each interval of the bits.
    of_bits_alone: Vec<Interval>,
}

#[derive(Default)]
struct Interval {
    /// Its size, of 2^56.
    units: u64,
    /// The same as a share, and how much of it is kept.
    all: f64,
    kept: f64,
}

/// Walks over all combinations of intervals.
#[expect(clippy::too_many_arguments, reason = "a recursion over what is the same at every level")]
fn add(
    program: &Program,
    facts: &Facts,
    ranges: &[Vec<u64>],
    cell: &mut Cell<'_>,
    before: Threshold,
    level: usize,
    size: f64,
    sums: &mut Sums,
) {
    let Some(range) = ranges.get(level) else {
        let is_kept = is_kept(&program.rules, facts, cell) == Some(true);
        if let Some(interval) = sums.of_bits_alone.last_mut() {
            interval.all += size;
            interval.kept += if is_kept { size } else { 0.0 };
        }
        sums.kept += if is_kept { size } else { 0.0 };
        return;
    };
    for (i, from) in range.iter().enumerate() {
        let to = range.get(i + 1).copied().unwrap_or(Threshold::NEVER.bits());
        if level == BITS {
            if *from < before.bits() {
                continue;
            }
            sums.of_bits_alone.push(Interval { units: to - from, ..Interval::default() });
        }
        cell.at[level] = *from;
        #[expect(clippy::cast_precision_loss, reason = "a share needs no exactness")]
        let share = (to - from) as f64 / Threshold::NEVER.bits() as f64;
        add(program, facts, ranges, cell, before, level + 1, size * share, sums);
    }
}

/// Answers as if the numbers had been these.
struct Cell<'a> {
    at: Vec<u64>,
    by_bits: bool,
    limits: &'a [Threshold],
    program: &'a Program,
}

impl Oracle for Cell<'_> {
    fn chance(&mut self, chance: &Chance) -> Option<bool> {
        let number = if self.by_bits { BITS } else { 1 + chance.salt };
        Some(self.at[number] >= chance.threshold.bits())
    }

    fn limit(&mut self, index: usize, cost: u64) -> Option<bool> {
        let is_possible = self.program.limits[index].could_grant(cost);
        Some(is_possible && self.at[BITS] >= self.limits[index].bits())
    }
}
