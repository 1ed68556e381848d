//! What fails while texts run: counted by text, and logged the first time that a text fails in a
//! way of its own, with the keys of the item. A payload of a million bad items makes one line.

use crate::{
    component::{BuildContext, Kind, Told},
    ottl::{Failure, Item, Program, What, Which, keys},
    telemetry::{Counter, Desc},
};

const FAILED: Desc = Desc::new(
    "skep_statement_failures",
    "{failure}",
    "Failures of statements and conditions of OTTL on items, by statement",
);

/// Counts failures of a group of texts.
#[derive(Debug, Clone)]
pub(super) struct Failures {
    id: String,
    pipeline: String,
    places: Vec<String>,
    /// Statements are counted behind so many conditions.
    conditions: usize,
    /// By text, as yet uncounted.
    pending: Vec<u64>,
    is_pending: bool,
    counters: Vec<Counter>,
    /// By text, a bit for each kind of failure that was logged.
    known: Vec<u32>,
    told: Told,
    news: Vec<News>,
}

/// A failure that is to be logged.
#[derive(Debug, Clone)]
struct News {
    at: usize,
    which: Which,
    reason: String,
}

/// The bit of a kind of failure.
const fn kind(what: &What) -> u32 {
    1 << match what {
        What::Type { .. } => 0,
        What::Index { .. } => 1,
        What::Key(_) => 2,
        What::NoKeys(_) => 3,
        What::NotStored(_) => 4,
        What::DivisionByZero => 5,
        What::TooLarge => 6,
        What::TooDeep => 7,
        What::Other(_) => 8,
    }
}

impl Failures {
    pub(super) fn new(cx: &BuildContext, component: Kind, places: Vec<String>) -> Self {
        let meter = cx.metrics(component.name());
        let counter = |place: &String| meter.counter(&FAILED, &[("statement", place)]);
        Failures {
            counters: places.iter().map(counter).collect(),
            pending: vec![0; places.len()],
            is_pending: false,
            known: vec![0; places.len()],
            told: cx.told.clone(),
            news: Vec::new(),
            pipeline: cx.pipeline.clone(),
            id: cx.id.to_string(),
            places,
            conditions: 0,
        }
    }

    /// The first so many texts are conditions.
    pub(super) fn with_conditions(self, conditions: usize) -> Self {
        Failures { conditions, ..self }
    }

    /// Counts a failure.
    #[cold]
    pub(super) fn note(&mut self, failure: &Failure<'_>) {
        let at = match failure.which {
            Which::Condition(at) => at,
            Which::Statement(at) => self.conditions + at,
        };
        let Some(pending) = self.pending.get_mut(at) else { return };
        *pending += 1;
        self.is_pending = true;
        let bit = kind(&failure.fault.what);
        if self.known[at] & bit == 0 {
            self.known[at] |= bit;
            if self.told.insert(&self.places[at], bit) {
                self.news.push(News { at, which: failure.which, reason: failure.reason() });
            }
        }
    }

    #[inline]
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Logs what failed for the first time, with the item that it failed on.
    #[cold]
    pub(super) fn tell(&mut self, item: &Item<'_>, program: &Program) {
        for News { at, which, reason } in std::mem::take(&mut self.news) {
            let keys = keys(item, program.context()).join(" ");
            tracing::warn!(
                component = self.id,
                pipeline = self.pipeline,
                place = self.places[at],
                item = program.context().name(),
                keys = (!keys.is_empty()).then_some(keys),
                error = reason,
                // As it is written: in quotes it would have twice as many backslashes.
                statement = %program.text(which),
                "a statement failed; further failures of this kind are only counted"
            );
        }
    }

    pub(super) fn flush(&mut self) {
        if !std::mem::take(&mut self.is_pending) {
            return;
        }
        for (pending, counter) in self.pending.iter_mut().zip(&self.counters) {
            if *pending > 0 {
                counter.add(std::mem::take(pending));
            }
        }
    }
}
