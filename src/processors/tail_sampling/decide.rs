//! Decisions: votes of the policies, weights, what is remembered, explained and sent on.
//!
//! The traces of one moment are decided together, those with the largest random bits first, so that
//! a limit lets in a fair choice of them: from the first trace that it refuses on it lets in
//! nothing more in that moment, and the bits of that trace are a threshold like any other (see
//! `weight`).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    arena::Position,
    compile::Program,
    limit::{Grant, try_spend},
    mark::{self, ATTRIBUTES, Mark},
    program::{self, Chance, Facts, Oracle, Outcome},
    remembered::Kept,
    settings::Settings,
    shard::Shard,
    traces::Trace,
    weight::Weigher,
};
use crate::{
    component::Output,
    otlp::{
        attribute::{put_text, put_truth},
        digest,
    },
    processors::sampling::{Answer, Randomness, Threshold, Weighing},
    telemetry::decisions::{Decision, Name, Trigger, Vote},
};

/// What decisions need besides the traces.
pub(super) struct Deciding {
    weigher: Weigher,
    /// Thresholds of limits in this moment.
    cuts: Vec<Threshold>,
    /// One row for each trace of this moment.
    votes: Vec<Vote>,
    decided: Vec<Decided>,
    /// Attributes that say why, by policy.
    reasons: Vec<Vec<u8>>,
    pub(super) has_limits: bool,
    /// The tick of this moment.
    tick: u32,
}

#[derive(Debug, Clone)]
struct Decided {
    number: u32,
    trigger: Trigger,
    outcome: Outcome,
    /// The member of a composite policy that decided.
    member: Option<String>,
}

/// A trace whose spans go on.
struct Going {
    id: u128,
    facts: Facts,
    newest: Position,
    by_bits: bool,
    /// Attributes that are added to its spans.
    attributes: Vec<u8>,
}

/// 64 bits of FNV-1a over a salt and a trace id.
#[derive(Debug, Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    const fn of(bytes: &[u8], start: u64) -> Self {
        let (mut hash, mut at) = (start, 0);
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        Fnv(hash)
    }
}

/// Traces whose memory is looked at together.
const TOUCHED: usize = 64;

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Bits that have nothing to do with those that decide: for rounding, and for `rv`.
fn unrelated_bits(id: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "halves are what is mixed")]
    let mut bits = (id as u64 ^ (id >> 64) as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

/// The bits that a trace is sampled by, and whether its spans say so.
fn bits_of(trace: &Trace) -> (Randomness, bool) {
    let own = || Randomness::of_trace(&trace.id.to_be_bytes()).unwrap_or(Randomness::LEAST);
    let said = trace.says.as_ref().and_then(|says| says.randomness);
    (said.unwrap_or_else(own), trace.says.is_some())
}

/// Whether a chance came true for a trace.
fn is_lucky(program: &Program, trace: &Trace, chance: &Chance) -> bool {
    let (bits, by_bits) = bits_of(trace);
    if by_bits {
        return chance.threshold.keeps(bits);
    }
    let salted = Fnv::of(&program.salts[chance.salt], FNV_START);
    let Fnv(hash) = Fnv::of(&trace.id.to_be_bytes(), salted.0);
    chance.up_to.is_some_and(|up_to| hash <= up_to)
}

/// Votes as they are: limits are spent.
struct Live<'a> {
    program: &'a Program,
    trace: &'a Trace,
    bits: Randomness,
    cuts: &'a mut [Threshold],
    now: u64,
}

impl Oracle for Live<'_> {
    fn chance(&mut self, chance: &Chance) -> Option<bool> {
        Some(is_lucky(self.program, self.trace, chance))
    }

    fn limit(&mut self, index: usize, cost: u64) -> Option<bool> {
        if !self.cuts[index].keeps(self.bits) {
            return Some(false);
        }
        let granted = try_spend(&self.program.limits, index, self.now, cost);
        if granted == Grant::Spent {
            self.cuts[index] = Threshold::above(self.bits);
        }
        Some(granted == Grant::Given)
    }
}

/// Votes without limits, maybe while spans may follow.
struct Early<'a> {
    program: &'a Program,
    trace: &'a Trace,
    is_final: bool,
}

impl Oracle for Early<'_> {
    fn is_bit_final(&self) -> bool {
        self.is_final
    }

    fn chance(&mut self, chance: &Chance) -> Option<bool> {
        Some(is_lucky(self.program, self.trace, chance))
    }

    fn limit(&mut self, _: usize, _: u64) -> Option<bool> {
        None
    }
}

impl Deciding {
    /// Bytes that the decision on all waiting traces at once takes of each: as many are decided at
    /// one moment where limits choose among them.
    pub(super) fn bytes_each(&self) -> usize {
        if self.has_limits { size_of::<Decided>() + 2 * self.reasons.len() } else { 0 }
    }

    pub(super) fn new(settings: &Settings) -> Self {
        let program = &settings.program;
        let reason = |name: &str| {
            let mut attributes = Vec::new();
            if settings.records_policy {
                put_text(&mut attributes, ATTRIBUTES, "tailsampling.policy", name);
            }
            attributes
        };
        Deciding {
            weigher: Weigher::new(program),
            cuts: vec![Threshold::ALWAYS; program.limits.len()],
            votes: Vec::new(),
            decided: Vec::new(),
            reasons: program.rules.iter().map(|rule| reason(&rule.name)).collect(),
            tick: 0,
            has_limits: program.rules.iter().any(|rule| rule.test.has_limit()),
        }
    }
}

impl Shard {
    /// Whether no span to come can change the decision.
    pub(super) fn is_certain(&self, number: u32) -> bool {
        let (program, trace) = (&self.settings.program, self.traces.entry(number));
        let mut oracle = Early { program, trace, is_final: false };
        program::is_kept(&program.rules, &trace.facts, &mut oracle).is_some()
    }

    /// Decides, remembers and forgets traces, and hands on the spans of those that are kept.
    /// The first `unseen` are not explained.
    pub(super) fn decide_all(&mut self, batch: &[(u32, Trigger)], unseen: usize, out: &mut Output) {
        let settings = Arc::clone(&self.settings);
        let program = &settings.program;
        self.deciding.tick = self.tick_of(out.now);
        self.vote(&settings, batch, out);
        let decided = std::mem::take(&mut self.deciding.decided);
        let votes = std::mem::take(&mut self.deciding.votes);
        self.deciding.weigher.begin();
        let now = SystemTime::now();
        let mut explained = Vec::with_capacity(decided.len() - unseen);
        for (i, one) in decided.iter().enumerate() {
            if i.is_multiple_of(TOUCHED) {
                self.touch_decided(&decided[i..decided.len().min(i + TOUCHED)]);
            }
            let row = &votes[i * program.rules.len()..(i + 1) * program.rules.len()];
            self.local.count_votes(row);
            self.local.triggers[one.trigger as usize] += 1;
            let answer = self.conclude(&settings, one, out);
            if i >= unseen && settings.decisions.is_some() {
                explained.push(self.explain(one, row, answer, now));
            }
            self.traces.remove(one.number);
        }
        if let Some(decisions) = &settings.decisions {
            decisions.add(unseen as u64, explained);
        }
        (self.deciding.decided, self.deciding.votes) = (decided, votes);
    }

    /// Looks at what the conclusions on these traces will look at, so that all wait for memory
    /// together.
    fn touch_decided(&self, decided: &[Decided]) {
        let touched = decided.iter().fold(0, |all, one| {
            let trace = self.traces.entry(one.number);
            all ^ self.traces.touch_slot(one.number) ^ u64::from(self.arena.touch(trace.seen()))
        });
        // Names of roots are shown.
        let touched = decided.iter().fold(touched, |all, one| {
            all ^ u64::from(self.arena.touch_spans(self.traces.entry(one.number).seen()))
        });
        std::hint::black_box(touched);
    }

    /// Asks the policies about each trace.
    fn vote(&mut self, settings: &Settings, batch: &[(u32, Trigger)], out: &Output) {
        let program = &settings.program;
        let since = out.now.saturating_duration_since(settings.epoch);
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let Deciding { cuts, votes, decided, has_limits, .. } = &mut self.deciding;
        cuts.fill(Threshold::ALWAYS);
        votes.clear();
        votes.resize(batch.len() * program.rules.len(), Vote::NotAsked);
        decided.clear();
        let none = Outcome { is_kept: false, is_dropped: false, policy: None };
        decided.extend(batch.iter().map(|(number, trigger)| Decided {
            number: *number,
            trigger: *trigger,
            outcome: none,
            member: None,
        }));
        if *has_limits {
            let bits = |one: &Decided| bits_of(self.traces.entry(one.number)).0;
            decided.sort_by_cached_key(|one| std::cmp::Reverse(bits(one)));
        }
        for (i, one) in decided.iter_mut().enumerate() {
            let is_asked = match one.trigger {
                Trigger::TooLarge => false,
                Trigger::Shutdown => !settings.drops_pending,
                _ => true,
            };
            if !is_asked {
                continue;
            }
            let trace = self.traces.entry(one.number);
            let (bits, _) = bits_of(trace);
            let mut live = Live { program, trace, bits, cuts, now };
            let row = &mut votes[i * program.rules.len()..(i + 1) * program.rules.len()];
            let stops = settings.stops_at_first;
            one.outcome = program::decide(&program.rules, stops, &trace.facts, &mut live, row);
            if let (true, Some(policy)) = (settings.records_policy, one.outcome.policy) {
                let rule = &program.rules[policy];
                let mut early = Early { program, trace, is_final: true };
                one.member = rule.member(&trace.facts, &mut early).map(ToOwned::to_owned);
            }
        }
    }

    /// Counts and remembers a decision; the spans of a kept trace go on.
    fn conclude(&mut self, settings: &Settings, one: &Decided, out: &mut Output) -> Answer {
        let trace = self.traces.entry(one.number);
        let (id, facts, newest) = (trace.id, trace.facts, trace.newest);
        let (upstream, by_bits) =
            (trace.says.as_ref().and_then(|says| says.threshold), trace.says.is_some());
        let always = Answer { probability: 1.0, threshold: Threshold::ALWAYS, is_detached: false };
        let Outcome { is_kept, is_dropped, policy } = one.outcome;
        let counter = match (is_kept, is_dropped) {
            (true, _) => &mut self.local.sampled,
            (false, true) => &mut self.local.dropped,
            (false, false) => &mut self.local.not_sampled,
        };
        *counter += 1;
        if !is_kept && !settings.is_dry_run {
            out.count_filtered(facts.spans);
            self.dropped.insert(self.hash_of(id), (), self.deciding.tick);
            return always;
        }
        let policy = policy.unwrap_or(usize::from(u16::MAX));
        if is_kept && let Some(spans) = self.local.spans.get_mut(policy) {
            *spans += facts.spans;
        }
        let wants_weight = settings.weights.any() || settings.decisions.is_some();
        let Deciding { weigher, cuts, .. } = &mut self.deciding;
        let own = if is_kept && wants_weight {
            weigher.weigh(&settings.program, &facts, by_bits, None, cuts)
        } else {
            always
        };
        self.kept.insert(
            self.hash_of(id),
            Kept {
                policy: u16::try_from(policy).unwrap_or(u16::MAX),
                threshold: own.threshold,
                is_detached: own.is_detached,
                is_dry: !is_kept,
            },
            self.deciding.tick,
        );
        let attributes = self.marks(settings, one, policy);
        self.send_on(settings, &Going { id, facts, newest, by_bits, attributes }, out);
        let Deciding { weigher, cuts, .. } = &mut self.deciding;
        match upstream {
            None => own,
            Some(_) if is_kept && wants_weight => {
                weigher.weigh(&settings.program, &facts, by_bits, upstream, cuts)
            }
            Some(_) => always,
        }
    }

    /// Attributes that say why a trace goes on.
    fn marks(&self, settings: &Settings, one: &Decided, policy: usize) -> Vec<u8> {
        let mut attributes = self.deciding.reasons.get(policy).cloned().unwrap_or_default();
        if let Some(member) = &one.member {
            put_text(&mut attributes, ATTRIBUTES, "tailsampling.composite_policy", member);
        }
        if settings.is_dry_run {
            let is_kept = one.outcome.is_kept;
            put_truth(&mut attributes, ATTRIBUTES, "tailsampling.dry_run.kept", is_kept);
        }
        attributes
    }

    /// Sends the spans of a trace on, with its marks, from the newest record to the oldest.
    fn send_on(&mut self, settings: &Settings, going: &Going, out: &mut Output) {
        let Going { id, facts, newest, by_bits, attributes } = going;
        let weights = if settings.is_dry_run { mark::Weights::default() } else { settings.weights };
        let random = unrelated_bits(*id);
        let mut first = self.emitter.len();
        let mut at = *newest;
        while let Some(record) = self.arena.record(at) {
            let context = (self.contexts.parent(record.context), record.context);
            self.emitter.enter(context, &self.contexts);
            let count = u64::from(record.count);
            if !weights.any() && attributes.is_empty() {
                self.emitter.take(context, at, record.spans.len(), count);
            } else {
                let Deciding { weigher, cuts, .. } = &mut self.deciding;
                let mut weigh = |said: Option<Threshold>| {
                    weigher.weigh(&settings.program, facts, *by_bits, said, cuts)
                };
                let rate = self.contexts.rate(record.context);
                let weighing = Weighing { weights, random, rate };
                let mark = Mark { attributes, weighing };
                let from = self.emitter.written.len();
                for span in digest::spans(record.spans) {
                    if !mark::write(span.inner, &mark, &mut weigh, &mut self.emitter.written) {
                        self.local.unparseable += 1;
                    }
                }
                self.emitter.take_written(context, from, count);
                self.emitter.is_of(at);
            }
            at = record.before;
            // A giant trace goes out in parts, too.
            if self.emitter.is_full() {
                self.emitter.reverse_from(first);
                self.flush(out);
                first = 0;
            }
        }
        self.emitter.reverse_from(first);
    }

    /// Spans of a trace that was kept before go on at once, as their trace did.
    pub(super) fn late(&mut self, id: u128, spans: &[u8], kept: Kept, scope: u32) {
        let settings = Arc::clone(&self.settings);
        let reasons = self.deciding.reasons.get(usize::from(kept.policy));
        let mut attributes = reasons.cloned().unwrap_or_default();
        if settings.records_policy {
            put_truth(&mut attributes, ATTRIBUTES, "tailsampling.cached_decision", true);
        }
        if settings.is_dry_run {
            put_truth(&mut attributes, ATTRIBUTES, "tailsampling.dry_run.kept", !kept.is_dry);
        }
        let weights = if settings.is_dry_run { mark::Weights::default() } else { settings.weights };
        let rate = self.contexts.rate(scope);
        let weighing = Weighing { weights, random: unrelated_bits(id), rate };
        let mark = Mark { attributes: &attributes, weighing };
        let weigh = |said: Option<Threshold>| {
            let before = said.unwrap_or(Threshold::ALWAYS);
            if kept.is_detached {
                let probability = kept.threshold.probability() * before.probability();
                let threshold = Threshold::exact(probability);
                return Answer { probability, threshold, is_detached: true };
            }
            let threshold = before.max(kept.threshold);
            Answer { probability: threshold.probability(), threshold, is_detached: false }
        };
        let from = self.emitter.written.len();
        let mut count = 0;
        for span in digest::spans(spans) {
            count += 1;
            if !mark::write(span.inner, &mark, weigh, &mut self.emitter.written) {
                self.local.unparseable += 1;
            }
        }
        self.local.late_kept += count;
        let context = (self.contexts.parent(scope), scope);
        self.emitter.enter(context, &self.contexts);
        self.emitter.take_written(context, from, count);
        self.emitter.is_late(self.request, &self.claims);
    }

    /// Sends what is on its way.
    pub(super) fn flush(&mut self, out: &mut Output) {
        let account = self.account().cloned();
        self.emitter.flush(&self.arena, &self.contexts, account.as_ref(), out);
    }

    fn explain(&self, one: &Decided, votes: &[Vote], answer: Answer, now: SystemTime) -> Decision {
        let trace = self.traces.entry(one.number);
        let Facts { start, end, spans, bytes, .. } = trace.facts;
        let root = self.arena.record(trace.root);
        let seen = self.arena.record(trace.seen());
        let name = root.and_then(|record| record.spans.get(trace.root_at as usize..));
        let name = name.map_or(&[][..], |spans| digest::name(digest::first_span(spans)));
        let service = seen.map(|record| self.contexts.service(record.context));
        Decision {
            number: 0,
            at: now,
            trace_id: trace.id.to_be_bytes(),
            root: Name::new(name),
            service: service.unwrap_or_default(),
            spans,
            bytes,
            duration: Duration::from_nanos(end.saturating_sub(start)),
            is_kept: one.outcome.is_kept,
            policy: one.outcome.policy,
            votes: votes.into(),
            rate: if one.outcome.is_kept { 1.0 / answer.probability } else { 0.0 },
            trigger: one.trigger,
        }
    }
}
