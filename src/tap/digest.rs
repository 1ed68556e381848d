//! Turns what workers show into what a person sees: chooses items, pairs what went in with what
//! came out, and says what became of each. It runs on a thread of its own, never on a worker.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    choice::Choice,
    condition::Condition,
    fields::changes,
    items::{self, Mark},
    masks::Masks,
    pairs::{Pairs, Waiting},
    shown::{Counts, Fate, Shown, Side, Verdict, plain},
    single::Single,
};
use crate::{
    otlp::content::Content,
    telemetry::{
        decisions::{Decision, Decisions},
        tap::Seen,
    },
};

/// Largest item that is shown, in bytes, its resource and scope included.
const LARGEST: usize = 512 << 10;

/// Most bytes of items that are copied and not yet handed over. What comes out is copied beside it.
const COPIED: usize = 8 << 20;

/// Most items that are copied although nothing says yet that they will be shown, per payload.
const SPARE: usize = 1024;

/// What a tap is asked for.
#[derive(Debug)]
pub struct Settings {
    /// Where it is.
    pub side: Side,
    /// Items a second; 0: all.
    pub rate: u32,
    /// Items in all; 0: no limit.
    pub limit: u64,
    /// What is not shown.
    pub masks: Masks,
    /// Which items are meant; all without one.
    pub condition: Option<Condition>,
    /// The decisions of the component, if it is a sampler that keeps them.
    pub decisions: Option<Arc<Decisions>>,
}

/// The work of one tap.
#[derive(Debug)]
pub struct Digest {
    settings: Settings,
    choice: Choice,
    pairs: Pairs,
    counts: Counts,
    /// Number of the last decision that was looked at.
    decided: u64,
    /// Whether items wait of traces that may have been decided on before that.
    has_new_traces: bool,
    shown: Vec<Shown>,
    /// Bytes that may still be copied.
    left: usize,
}

/// An item of a payload that came in.
struct Incoming {
    key: u64,
    /// If it was chosen.
    waiting: Option<Waiting>,
    is_paired: bool,
}

/// An item of a payload that went out and that did not come in with the same call.
struct Outgoing {
    item: Option<Single>,
    mark: Mark,
    of: u64,
}

impl Digest {
    /// Begins.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let decided = settings.decisions.as_ref().map_or(0, |ring| ring.before_last(0));
        Digest {
            choice: Choice::new(settings.rate, now),
            pairs: Pairs::default(),
            counts: Counts::default(),
            decided,
            has_new_traces: false,
            shown: Vec::new(),
            left: COPIED,
            settings,
        }
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let forgotten = self.pairs.forgotten;
        Counts { forgotten, one_in: self.choice.one_in(), ..self.counts }
    }

    /// Whether as many items were shown as were asked for.
    pub fn is_full(&self) -> bool {
        self.settings.limit > 0 && self.counts.shown >= self.settings.limit
    }

    /// Takes what is to be shown.
    pub fn drain(&mut self) -> Vec<Shown> {
        self.left = COPIED;
        std::mem::take(&mut self.shown)
    }

    /// Looks at what a worker has shown.
    pub fn take(&mut self, seen: &Seen, now: Instant) {
        self.choice.tick(now);
        let items = seen.items();
        if items > items::MOST {
            self.counts.seen += items;
            self.counts.missed += items;
            return;
        }
        match self.settings.side {
            Side::In => self.pass(seen.at, seen.input.as_ref(), now),
            Side::Out => {
                for content in &seen.outputs {
                    self.pass(seen.at, Some(content), now);
                }
            }
            Side::Both => self.pair(seen, now),
        }
    }

    /// Reads the decisions of another ring: a reload has replaced the sampler.
    pub fn follow(&mut self, ring: Option<Arc<Decisions>>) {
        let is_same = match (&self.settings.decisions, &ring) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            (self.settings.decisions, self.decided) = (ring, 0);
        }
    }

    /// Looks at the clock and at what samplers have decided. Call it a few times a second.
    pub fn tick(&mut self, now: Instant) {
        self.choice.tick(now);
        self.look_at_decisions();
    }

    /// Shows what is still inside. The last call.
    pub fn finish(&mut self) {
        for waiting in self.pairs.take_all() {
            let shown = Shown {
                before: Some(waiting.item),
                of_in: waiting.of,
                ..plain(SystemTime::now(), Fate::Inside)
            };
            self.show(shown);
        }
    }

    fn show(&mut self, shown: Shown) {
        if !self.is_full() {
            self.counts.shown += 1;
            self.shown.push(shown);
        }
    }

    /// A payload of which one side is shown.
    fn pass(&mut self, at: SystemTime, content: Option<&Content>, now: Instant) {
        let Some(content) = content else { return };
        self.counts.seen += content.items;
        let mut chosen = Vec::new();
        let Digest { choice, settings, counts, left, .. } = self;
        items::each(content, &settings.masks, |mark, item| {
            let mut chooser = Chooser { choice, settings, counts, left, now };
            chosen.extend(chooser.choose(mark, item).map(|item| (mark, item)));
        });
        for (mark, item) in chosen {
            let (shown, of) = (plain(at, Fate::Passed), content.items);
            let shown = if self.settings.side == Side::Out {
                let verdict = self.verdict(mark.trace);
                Shown { after: Some(item), of_out: of, verdict, ..shown }
            } else {
                Shown { before: Some(item), of_in: of, ..shown }
            };
            self.show(shown);
        }
    }

    /// A call of which both sides are shown.
    fn pair(&mut self, seen: &Seen, now: Instant) {
        let mut incoming = self.incoming(seen, now);
        let outgoing = self.outgoing(seen, &mut incoming, now);
        let left = incoming.iter().filter(|one| !one.is_paired).count();
        let gone = seen.filtered + seen.refused;
        let left_over = incoming.into_iter().filter(|one| !one.is_paired);
        if seen.is_direct && left > 0 && left == outgoing.len() && gone == 0 {
            // Nothing was left out, and the ids of some were changed.
            for (one, out) in left_over.zip(outgoing) {
                if let (Some(waiting), Some(item)) = (one.waiting, out.item) {
                    self.show_pair(seen, waiting, item, out.of);
                }
            }
            return;
        }
        // A sampler may decide on other traces during a call; its decisions say what is dropped.
        let says_more = self.settings.decisions.is_some();
        if seen.input.is_some() && left as u64 <= gone && !says_more {
            self.show_created(seen.at, outgoing, now);
            let reason = match (seen.filtered, seen.refused, seen.reason) {
                (_, 0, _) => "filtered",
                (0, _, Some(reason)) => reason.name(),
                _ => "filtered or refused",
            };
            for waiting in left_over.filter_map(|one| one.waiting) {
                self.show_dropped(seen.at, waiting, reason);
            }
            return;
        }
        for waiting in left_over.filter_map(|one| one.waiting) {
            self.has_new_traces |= waiting.mark.trace.is_some();
            self.pairs.insert(waiting);
        }
    }

    /// The items that went in; those that are chosen are copied.
    fn incoming(&mut self, seen: &Seen, now: Instant) -> Vec<Incoming> {
        let Some(content) = &seen.input else { return Vec::new() };
        self.counts.seen += content.items;
        let mut incoming = Vec::new();
        let Digest { choice, settings, counts, left, .. } = self;
        items::each(content, &settings.masks, |mark, item| {
            let mut chooser = Chooser { choice, settings, counts, left, now };
            let waiting = chooser.choose(mark, item);
            let waiting = waiting.map(|item| Waiting { item, mark, of: content.items });
            incoming.push(Incoming { key: mark.key, waiting, is_paired: false });
        });
        incoming
    }

    /// Pairs what came out with what went in, now or before, and returns the rest.
    fn outgoing(&mut self, seen: &Seen, incoming: &mut [Incoming], now: Instant) -> Vec<Outgoing> {
        let mut by_key: HashMap<u64, VecDeque<usize>> = HashMap::new();
        for (at, one) in incoming.iter().enumerate() {
            by_key.entry(one.key).or_default().push_back(at);
        }
        let (mut rest, mut pairs) = (Vec::new(), Vec::new());
        let Digest { choice, settings, counts, left, pairs: window, .. } = self;
        let mut spare = SPARE;
        for content in &seen.outputs {
            items::each(content, &settings.masks, |mark, item| {
                let here = by_key.get_mut(&mark.key).and_then(VecDeque::pop_front);
                if let Some(one) = here.and_then(|at| incoming.get_mut(at)) {
                    one.is_paired = true;
                    let waiting = one.waiting.take();
                    pairs.extend(waiting.map(|waiting| (waiting, item(), content.items)));
                } else if let Some(waiting) = window.take(mark.key) {
                    pairs.push((waiting, item(), content.items));
                } else if seen.input.is_some() {
                    let may_be_shown = spare > 0 && choice.may_take(mark.trace, mark.draw);
                    spare -= usize::from(may_be_shown);
                    let item = may_be_shown.then(item).filter(|item| fits(item, counts, left));
                    rest.push(Outgoing { item, mark, of: content.items });
                }
            });
        }
        self.choice.tick(now);
        for (waiting, item, of) in pairs {
            self.show_pair(seen, waiting, item, of);
        }
        rest
    }

    fn show_pair(&mut self, seen: &Seen, waiting: Waiting, after: Single, of_out: u64) {
        let verdict = self.verdict(waiting.mark.trace);
        let changes = changes(&waiting.item, &after);
        let is_same = changes.is_empty();
        let fate = if is_same { Fate::Unchanged } else { Fate::Changed };
        let (before, of_in) = (Some(waiting.item), waiting.of);
        let after = Some(after).filter(|_| !is_same);
        let is_split = seen.input.is_some() && seen.outputs.len() > 1;
        let shown = Shown { is_split, ..plain(seen.at, fate) };
        self.show(Shown { before, after, changes, verdict, of_in, of_out, ..shown });
    }

    fn show_created(&mut self, at: SystemTime, outgoing: Vec<Outgoing>, now: Instant) {
        for Outgoing { item, mark, of } in outgoing {
            let Some(item) = item else { continue };
            let Digest { choice, settings, counts, left, .. } = self;
            let mut chooser = Chooser { choice, settings, counts, left, now };
            if let Some(item) = chooser.choose(mark, &mut || item.clone()) {
                let shown = plain(at, Fate::Created);
                self.show(Shown { after: Some(item), of_out: of, ..shown });
            }
        }
    }

    fn show_dropped(&mut self, at: SystemTime, waiting: Waiting, reason: &'static str) {
        let verdict = self.verdict(waiting.mark.trace).filter(|verdict| !verdict.is_kept);
        let shown = plain(at, Fate::Dropped);
        let (before, of_in) = (Some(waiting.item), waiting.of);
        self.show(Shown { before, reason, verdict, of_in, ..shown });
    }

    /// What a sampler has said of a trace.
    fn verdict(&self, trace: Option<[u8; 16]>) -> Option<Verdict> {
        let ring = self.settings.decisions.as_ref()?;
        ring.find(trace?).first().map(|decision| verdict_of(ring, decision))
    }

    /// Shows items that wait and whose traces were decided against.
    fn look_at_decisions(&mut self) {
        let Some(ring) = self.settings.decisions.clone() else { return };
        let traces = self.pairs.traces();
        let after = if std::mem::take(&mut self.has_new_traces) { 0 } else { self.decided };
        let (found, last) = ring.among(after, |trace| traces.contains(trace));
        self.decided = last;
        // The newest decision on a trace counts.
        let mut newest: HashMap<[u8; 16], &Decision> = HashMap::new();
        for decision in &found {
            newest.insert(decision.trace_id, decision);
        }
        // In a dry run all go on; those that were kept come out, each when its turn comes.
        newest.retain(|_, decision| !decision.is_kept && !ring.is_dry_run);
        let gone: HashSet<[u8; 16]> = newest.keys().copied().collect();
        if gone.is_empty() {
            return;
        }
        for waiting in self.pairs.take_traces(&gone) {
            let decision = waiting.mark.trace.and_then(|trace| newest.get(&trace));
            let verdict = decision.map(|decision| verdict_of(&ring, decision));
            let at = decision.map_or_else(SystemTime::now, |decision| decision.at);
            let (before, of_in) = (Some(waiting.item), waiting.of);
            let shown = plain(at, Fate::Dropped);
            self.show(Shown { before, reason: "filtered", verdict, of_in, ..shown });
        }
    }
}

/// What is used to choose an item.
struct Chooser<'d> {
    choice: &'d mut Choice,
    settings: &'d Settings,
    counts: &'d mut Counts,
    left: &'d mut usize,
    now: Instant,
}

impl Chooser<'_> {
    /// Copies an item if it is to be shown: the cheap questions come first.
    fn choose(&mut self, mark: Mark, item: &mut dyn FnMut() -> Single) -> Option<Single> {
        let Chooser { choice, settings, counts, left, now } = self;
        if !choice.may_take(mark.trace, mark.draw) {
            return None;
        }
        let item = item();
        let is_meant = settings.condition.as_ref().is_none_or(|condition| condition.holds(&item));
        (is_meant && fits(&item, counts, left) && choice.take(mark.trace, *now)).then_some(item)
    }
}

/// Whether an item is small enough to be shown, and there is room for its copy.
fn fits(item: &Single, counts: &mut Counts, left: &mut usize) -> bool {
    let size = item.size();
    let fits = size <= LARGEST && size <= *left;
    *left -= if fits { size } else { 0 };
    counts.missed += u64::from(!fits);
    fits
}

fn verdict_of(ring: &Decisions, decision: &Decision) -> Verdict {
    let policy = decision.policy.and_then(|policy| ring.policies.get(policy));
    Verdict {
        policy: policy.cloned().unwrap_or_default(),
        is_kept: decision.is_kept,
        is_dry_run: ring.is_dry_run,
    }
}

#[cfg(test)]
mod tests;
