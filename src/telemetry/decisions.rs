//! The last decisions of a tail sampler, and why: what `skep explain` and `skep sample` show.
//!
//! A ring of a fixed number of decisions, written once per tick and worker, and read on demand.
//! Watchers have no queue of their own: they remember the number of the last decision that they
//! saw, and one that is too slow is told how many it missed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::sync::lock;

/// How a policy voted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Vote {
    /// It was not asked, since the decision was made before.
    #[default]
    NotAsked,
    /// It voted for keeping the trace.
    Sampled,
    /// It did not vote for it.
    NotSampled,
    /// It voted against it, whatever others say.
    Dropped,
    /// Its evaluation went wrong.
    Error,
}

impl Vote {
    /// The name on pages and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Vote::NotAsked => "not_asked",
            Vote::Sampled => "sampled",
            Vote::NotSampled => "not_sampled",
            Vote::Dropped => "dropped",
            Vote::Error => "error",
        }
    }
}

/// Why a decision was made when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// `decision_wait` was over.
    WaitElapsed,
    /// The root had come, and `decision_wait_after_root_received` was over.
    RootReceived,
    /// No later span could have changed it (`span-ingest`).
    Certain,
    /// The trace was larger than `maximum_trace_size_bytes`.
    TooLarge,
    /// More than `num_traces` waited.
    TooManyTraces,
    /// `max_memory` or the budget of the process was used up.
    OutOfMemory,
    /// skep ended.
    Shutdown,
}

impl Trigger {
    /// All triggers, in the order of their numbers.
    pub const ALL: [Trigger; 7] = [
        Trigger::WaitElapsed,
        Trigger::RootReceived,
        Trigger::Certain,
        Trigger::TooLarge,
        Trigger::TooManyTraces,
        Trigger::OutOfMemory,
        Trigger::Shutdown,
    ];

    /// The name on pages and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::WaitElapsed => "wait_elapsed",
            Trigger::RootReceived => "root_received",
            Trigger::Certain => "certain",
            Trigger::TooLarge => "too_large",
            Trigger::TooManyTraces => "too_many_traces",
            Trigger::OutOfMemory => "out_of_memory",
            Trigger::Shutdown => "shutdown",
        }
    }
}

/// The first bytes of a name. A decision is made of a few hundred bytes and no allocation, since a
/// hundred thousand of them may be made in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; Name::MAX],
    len: u8,
}

impl Name {
    /// Bytes that are kept.
    const MAX: usize = 63;

    /// The beginning of a text, as much as fits.
    pub fn new(text: &[u8]) -> Self {
        let mut bytes = [0; Name::MAX];
        let len = text.len().min(Name::MAX);
        bytes[..len].copy_from_slice(&text[..len]);
        Name { bytes, len: u8::try_from(len).unwrap_or(0) }
    }

    /// As text; a character that was cut is left out.
    pub fn to_text(&self) -> String {
        let bytes = &self.bytes[..usize::from(self.len)];
        let text = String::from_utf8_lossy(bytes);
        let is_cut = bytes.len() == Name::MAX;
        if is_cut { text.trim_end_matches('\u{FFFD}').to_owned() } else { text.into_owned() }
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Counts up from 1.
    pub number: u64,
    /// Wall clock time.
    pub at: SystemTime,
    /// Id of the trace.
    pub trace_id: [u8; 16],
    /// Name of the root span, its first bytes; empty if none has come.
    pub root: Name,
    /// `service.name` of the root, or of any span.
    pub service: Arc<str>,
    /// Spans that had arrived.
    pub spans: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first start to the last end.
    pub duration: Duration,
    /// Whether its spans went on; in a dry run: would have.
    pub is_kept: bool,
    /// Number of the policy that decided.
    pub policy: Option<usize>,
    /// One for each policy.
    pub votes: SmallVec<[Vote; 16]>,
    /// How many traces it represents; 0 for one that was not kept.
    pub rate: f64,
    /// What caused it.
    pub trigger: Trigger,
}

/// The ring of one processor in one pipeline.
#[derive(Debug)]
pub struct Decisions {
    /// Component id.
    pub id: String,
    /// Pipeline id.
    pub pipeline: String,
    /// Names of the policies, in the order in which they are asked.
    pub policies: Vec<String>,
    /// Whether everything is kept, and the decisions are what would have been.
    pub is_dry_run: bool,
    size: usize,
    ring: Mutex<Ring>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    last: VecDeque<Decision>,
    /// Number of the next one.
    next: u64,
}

/// What a watcher gets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct News {
    /// Oldest first.
    pub decisions: Vec<Decision>,
    /// How many the watcher missed since it last looked.
    pub missed: u64,
}

impl Decisions {
    /// A ring that holds `size` decisions.
    pub fn new(
        id: &str,
        pipeline: &str,
        policies: Vec<String>,
        is_dry_run: bool,
        size: usize,
    ) -> Self {
        Decisions {
            id: id.to_owned(),
            pipeline: pipeline.to_owned(),
            policies,
            is_dry_run,
            size,
            ring: Mutex::new(Ring { last: VecDeque::new(), next: 1 }),
            changed: Notify::new(),
        }
    }

    /// How many it holds at most.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds decisions; `unseen` is the number of those before them that are skipped, because the
    /// ring does not hold so many.
    pub fn add(&self, unseen: u64, decisions: impl IntoIterator<Item = Decision>) {
        let mut ring = lock(&self.ring);
        ring.next += unseen;
        for mut decision in decisions {
            decision.number = ring.next;
            ring.next += 1;
            if ring.last.len() >= self.size {
                ring.last.pop_front();
            }
            ring.last.push_back(decision);
        }
        drop(ring);
        self.changed.notify_waiters();
    }

    /// The remembered decisions on a trace, newest first.
    pub fn find(&self, trace_id: [u8; 16]) -> Vec<Decision> {
        let ring = lock(&self.ring);
        ring.last.iter().rev().filter(|one| one.trace_id == trace_id).cloned().collect()
    }

    /// The number of the last decision but `back`.
    pub fn before_last(&self, back: u64) -> u64 {
        let ring = lock(&self.ring);
        (ring.next - 1).saturating_sub(back)
    }

    /// The decisions after number `seen`, at most `limit`.
    pub fn after(&self, seen: u64, limit: usize) -> News {
        let ring = lock(&self.ring);
        let is_new = |one: &&Decision| one.number > seen;
        let from = ring.last.partition_point(|one| !is_new(&one));
        let decisions: Vec<Decision> = ring.last.iter().skip(from).take(limit).cloned().collect();
        let first = decisions.first().map_or(ring.next, |one| one.number);
        News { missed: first.saturating_sub(seen + 1), decisions }
    }

    /// The decisions after number `seen` on traces that are wanted, oldest first, and the number of
    /// the last decision of all. Looks at each decision once, under the lock.
    pub fn among(&self, seen: u64, is_wanted: impl Fn(&[u8; 16]) -> bool) -> (Vec<Decision>, u64) {
        let ring = lock(&self.ring);
        let from = ring.last.partition_point(|one| one.number <= seen);
        let new = ring.last.iter().skip(from).filter(|one| is_wanted(&one.trace_id));
        (new.cloned().collect(), ring.next - 1)
    }

    /// Ends when there may be new ones; make it before looking, so that none is missed.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(id: u8) -> Decision {
        Decision {
            number: 0,
            at: SystemTime::UNIX_EPOCH,
            trace_id: [id; 16],
            root: Name::new(b""),
            service: "".into(),
            spans: 1,
            bytes: 100,
            duration: Duration::ZERO,
            is_kept: true,
            policy: None,
            votes: SmallVec::new(),
            rate: 1.0,
            trigger: Trigger::WaitElapsed,
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(Name::new(b"GET /").to_text(), "GET /");
        let long = "\u{E4}".repeat(40);
        assert_eq!(Name::new(long.as_bytes()).to_text(), "\u{E4}".repeat(31));
    }

    #[test]
    fn the_last_ones_are_there_and_a_slow_watcher_knows_what_it_missed() {
        let ring = Decisions::new("tail_sampling", "traces", Vec::new(), false, 3);
        assert_eq!(ring.after(0, 10), News::default());
        ring.add(0, (1..=2).map(decision));
        let news = ring.after(0, 10);
        assert_eq!((news.decisions.len(), news.missed), (2, 0));
        ring.add(4, (3..=5).map(decision));
        assert_eq!(ring.find([2; 16]), []);
        assert_eq!(ring.find([4; 16]).len(), 1);
        let news = ring.after(2, 2);
        assert_eq!((news.decisions[0].number, news.decisions.len(), news.missed), (7, 2, 4));
        assert_eq!(ring.after(8, 2).decisions[0].trace_id, [5; 16]);
        assert_eq!(ring.before_last(1), 8);
        assert_eq!(ring.after(9, 2), News::default());
        let (found, last) = ring.among(7, |id| *id != [5; 16]);
        assert_eq!((found.len(), found[0].trace_id, last), (1, [4; 16], 9));
    }
}
