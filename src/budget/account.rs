//! One budget: what everybody shares, and the order of things.
//!
//! Claims are taken from a *block* of units that is already booked in the ledger, so most of them
//! are one atomic operation. Only a claim that finds the block empty books another one and, with a
//! ledger on disk, writes it before it is granted. [`MonthlyBudget::tend`] does so ahead, off the
//! workers. A process that is killed leaves the rest of its block booked: that is how units are
//! counted before they are sent. A block is what two seconds use, between 1/10000 and 1/200 of the
//! limit, so a crash costs little, also when crashes come often.
//!
//! Rates are atomics that are computed anew once a second, or as soon as a thousandth of what is
//! left has asked to pass.

use std::{
    path::Path,
    sync::{
        Mutex, TryLockError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use super::{
    file::{Contents, Files, Found, OpenError},
    ledger::Ledger,
    left_out::{LeftOut, Why},
    outlook::Outlook,
    pace::{Pace, Rate, Rates},
    period::{Period, day_at},
    report::{Change, Report},
    settings::{Class, Mode, Settings},
    who::{Eater, Who},
};
use crate::sync::lock;

/// Milliseconds between computations of the rates.
const INTERVAL: i64 = 1_000;
/// Estimates, and who wants most, are written down after so many milliseconds, if nothing else is.
const SAVE_INTERVAL: i64 = 60_000;
/// Pacing has ended if nothing was sampled for so many milliseconds.
const CALM: i64 = 600_000;
/// Changes that wait to be told.
const MOST_CHANGES: usize = 32;
/// Shares of the limit in percent that are told when they are reached.
const MARKS: [u8; 2] = [80, 95];

/// A ceiling for one exporter. Shared by its signals and by the workers.
#[derive(Debug)]
pub struct MonthlyBudget {
    thresholds: [AtomicU64; 3],
    /// Units that asked to pass since the last computation.
    wanted: [AtomicU64; 3],
    /// So many of them bring the next computation forward.
    patience: AtomicU64,
    /// When the next computation is due, in milliseconds.
    due: AtomicI64,
    /// Units that are booked and not yet claimed.
    block: AtomicU64,
    /// The day of the block, in milliseconds: from, until.
    day: [AtomicI64; 2],
    state: Mutex<State>,
    who: Mutex<Who>,
    left_out: Mutex<LeftOut>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    ledger: Ledger,
    pace: Pace,
    outlook: Outlook,
    period: Period,
    files: Option<Files>,
    /// Number of the last write.
    number: u64,
    /// When it was, in milliseconds.
    written: i64,
    /// Who wants most, as it is written.
    eaters: Vec<Eater>,
    /// What was left out, as it is written.
    left_out: LeftOut,
    /// When both were looked up, in milliseconds.
    eaters_at: i64,
    trouble: Option<String>,
    /// Units to book at a time.
    size: u64,
    /// What was used at the last `tend`.
    tended: u64,
    is_exhausted: bool,
    /// How many of the marks are reached.
    marks: usize,
    /// When something was sampled last, in milliseconds; `None` if pacing has ended.
    sampled: Option<i64>,
    changes: Vec<Change>,
}

impl MonthlyBudget {
    /// Opens a budget with its ledger in a folder, which is made if it does not exist. Without a
    /// folder it forgets when the process ends. A damaged ledger is no error: it is in the first
    /// changes, and something cautious is assumed. Blocks.
    pub fn open(
        settings: Settings,
        folder: Option<&Path>,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let (files, found) = match folder.map(Files::open).transpose()? {
            Some((files, found)) => (Some(files), found),
            None => (None, Found::Nothing),
        };
        Ok(Self::of(settings, files, found, now))
    }

    /// The budget that `found` is the state of.
    pub(super) fn of(
        settings: Settings,
        files: Option<Files>,
        found: Found,
        now: Timestamp,
    ) -> Self {
        let period = Period::at(now, &settings.zone, settings.reset_day);
        let (contents, lost) = match found {
            Found::Nothing => (Contents::default(), None),
            Found::Whole(contents) => (contents, None),
            Found::Older(contents) => {
                (contents, Some((Change::OneDamaged, largest_block(settings.limit()))))
            }
            Found::Damaged => {
                let units = assumed(&settings, &period, now);
                (Contents::default(), Some((Change::Damaged(units), units)))
            }
        };
        let mut state = State::of(contents, settings, period, now);
        state.files = files;
        let who = Who::of(&state.eaters);
        let left_out = state.left_out.clone();
        if let Some((change, units)) = lost {
            state.ledger.book(units, now, &state.settings.zone);
            state.tell(change);
        }
        let budget = MonthlyBudget {
            thresholds: [const { AtomicU64::new(0) }; 3],
            wanted: [const { AtomicU64::new(0) }; 3],
            patience: AtomicU64::new(0),
            due: AtomicI64::new(0),
            block: AtomicU64::new(0),
            day: [const { AtomicI64::new(0) }; 2],
            state: Mutex::new(state),
            who: Mutex::new(who),
            left_out: Mutex::new(left_out),
        };
        let mut state = lock(&budget.state);
        budget.compute(&mut state, now);
        state.tended = budget.used(&state);
        drop(state);
        budget
    }

    /// Notes units that want to pass, before anything is sampled. With units that are counted once,
    /// such as traces, only those that were not counted yet.
    pub fn demand(&self, class: Class, units: u64) {
        self.wanted[class as usize].fetch_add(units, Ordering::Relaxed);
    }

    /// The rates to sample by. Everything passes with the modes `stop` and `warn`. Never waits for
    /// a file.
    pub fn rates(&self, now: Timestamp) -> Rates {
        if self.is_due(now.as_millisecond()) {
            // The lock may be held for a write to disk; the rates of a moment ago will do.
            let state = match self.state.try_lock() {
                Ok(state) => Some(state),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut state) = state {
                self.compute(&mut state, now);
            }
        }
        self.published()
    }

    /// Claims units that are about to be handed on. If it returns true they count as used, whatever
    /// becomes of the process. If it returns false the limit does not allow so many: none are
    /// counted, fewer may be claimed. With the mode `warn` it always returns true. Seldom it writes
    /// a file, and then it blocks.
    pub fn claim(&self, units: u64, now: Timestamp) -> bool {
        if self.is_today(now.as_millisecond()) && take(&self.block, units) {
            return true;
        }
        let mut state = lock(&self.state);
        self.turn_to(&mut state, now);
        self.claim_slowly(&mut state, units, now)
    }

    /// Claims one unit for something that is counted once in a period, such as a metric. Returns
    /// true if it was counted in this period already, and with the mode `warn`. The id is the same
    /// for the same thing in all processes that use the ledger. Blocks to write each new id.
    pub fn claim_once(&self, id: u64, now: Timestamp) -> bool {
        let mut state = lock(&self.state);
        self.turn_to(&mut state, now);
        if state.ledger.knows(id, &state.period) {
            return true;
        }
        // Remembered first, so that the write of the claim holds both.
        let State { ledger, period, .. } = &mut *state;
        ledger.remember(id, now, period);
        let number = state.number;
        if !self.claim_slowly(&mut state, 1, now) {
            state.ledger.forget(id);
            return false;
        }
        if state.number == number {
            state.save(now);
        }
        true
    }

    /// Gives back units that were claimed and that the vendor certainly has not counted, for
    /// instance because it has refused them. Ignored if another day has begun since the claim.
    pub fn give_back(&self, units: u64, claimed: Timestamp) {
        if self.is_today(claimed.as_millisecond()) {
            self.block.fetch_add(units, Ordering::SeqCst);
        }
    }

    /// Notes that an item of a service and with a name wants units. Note one item in
    /// [`stride`](super::stride), with the units of so many.
    pub fn note(&self, service: &str, name: &str, units: u64) {
        lock(&self.who).note(service, name, units);
    }

    /// Notes units of a service that do not pass.
    pub fn leave_out(&self, why: Why, service: &str, units: u64) {
        lock(&self.left_out).add(why, service, units);
    }

    /// What is to be done about once a second: books ahead, saves estimates, and returns what has
    /// changed since the last call. May block to write a file.
    pub fn tend(&self, now: Timestamp) -> Vec<Change> {
        let mut state = lock(&self.state);
        self.compute(&mut state, now);
        let used = self.used(&state);
        let spent = used.saturating_sub(state.tended);
        state.tended = used;
        let limit = state.settings.limit();
        state.size = spent.saturating_mul(2).clamp(least_block(limit), largest_block(limit));
        if let Some(files) = &state.files {
            let are_gone = files.are_gone();
            let block = self.block.load(Ordering::SeqCst);
            let is_low = spent > 0 && block < state.size / 2;
            let is_high = block / 4 > state.size;
            if is_high {
                self.release(&mut state);
            }
            let is_booked = (is_low || is_high) && self.book(&mut state, 0, now);
            let age = |since| now.as_millisecond().saturating_sub(since);
            if !(0..SAVE_INTERVAL).contains(&age(state.eaters_at)) {
                self.look_up(&mut state);
                state.eaters_at = now.as_millisecond();
            }
            let is_old = age(state.written) >= SAVE_INTERVAL;
            let is_due = is_booked || are_gone || state.trouble.is_some();
            if is_due || (is_old && state.is_worth_saving()) {
                state.save(now);
            }
        }
        std::mem::take(&mut state.changes)
    }

    /// Takes new settings. What is used stays used. Blocks.
    pub fn reconfigure(&self, settings: Settings, now: Timestamp) {
        let mut state = lock(&self.state);
        self.release(&mut state);
        state.settings = settings;
        (state.is_exhausted, state.marks) = (false, 0);
        // The day of another zone.
        self.day[1].store(i64::MIN, Ordering::SeqCst);
        self.compute(&mut state, now);
        state.save(now);
    }

    /// Writes down exactly what is used, at the end of the process. Claims go on to work.
    pub fn close(&self, now: Timestamp) {
        let mut state = lock(&self.state);
        self.compute(&mut state, now);
        self.release(&mut state);
        self.look_up(&mut state);
        state.save(now);
    }

    /// The state at this moment, with the `names` that want most.
    pub fn report(&self, names: usize, now: Timestamp) -> Report {
        let mut state = lock(&self.state);
        let at = self.compute(&mut state, now);
        let used = self.used(&state);
        let limit = state.settings.limit();
        let is_spent = used >= limit && state.settings.mode != Mode::Warn;
        let rates = if is_spent { Rates::NOTHING } else { self.published() };
        let wants = state.outlook.forecast(state.period.seconds_left(at));
        let passes = wants.iter().zip(rates.0).map(|(wants, rate)| wants * rate.probability());
        let forecast = used.saturating_add(rounded(passes.sum()));
        let ceiling = match state.settings.mode {
            Mode::Pace | Mode::Stop => limit.max(used),
            Mode::Warn => u64::MAX,
        };
        Report {
            unit: state.settings.unit,
            mode: state.settings.mode,
            limit,
            share: state.settings.share,
            period: state.period,
            used,
            rates,
            wanted: state.pace.wanted,
            forecast: forecast.min(ceiling),
            unlimited: used.saturating_add(rounded(wants.iter().sum())),
            is_exhausted: state.is_exhausted,
            ledger: state.files.as_ref().map(|files| files.folder().to_owned()),
            trouble: state.trouble.clone(),
            who: lock(&self.who).first(names),
            left_out: lock(&self.left_out).clone(),
        }
    }

    // ---- inside ----------------------------------------------------------------------------

    /// Looks up what is written beside the ledger.
    fn look_up(&self, state: &mut State) {
        state.eaters = lock(&self.who).kept();
        state.left_out.clone_from(&lock(&self.left_out));
    }

    fn published(&self) -> Rates {
        let load = |threshold: &AtomicU64| Rate::from_threshold(threshold.load(Ordering::Relaxed));
        let [error, slow, rest] = &self.thresholds;
        Rates([load(error), load(slow), load(rest)])
    }

    fn is_due(&self, now: i64) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        let wanted = self.wanted.iter().map(|units| units.load(Ordering::Relaxed));
        now >= due
            || now < due - INTERVAL
            || wanted.fold(0, u64::saturating_add) >= self.patience.load(Ordering::Relaxed)
    }

    fn is_today(&self, now: i64) -> bool {
        let [from, until] = &self.day;
        from.load(Ordering::SeqCst) <= now && now < until.load(Ordering::SeqCst)
    }

    /// Units that are used in the period: what is booked, without the block.
    fn used(&self, state: &State) -> u64 {
        let block = self.block.load(Ordering::SeqCst);
        state.ledger.used(&state.period).saturating_sub(block)
    }

    /// Looks at the clock; begins another day and another period if it says so. Returns the time to
    /// go by.
    fn turn_to(&self, state: &mut State, now: Timestamp) -> Timestamp {
        let at = state.ledger.look(now, &state.period);
        if self.is_today(at.as_millisecond()) {
            return at;
        }
        self.release(state);
        let Settings { zone, reset_day, .. } = &state.settings;
        let period = Period::at(at, zone, *reset_day);
        let (from, until) = day_at(at, zone);
        self.day[0].store(from.as_millisecond(), Ordering::SeqCst);
        self.day[1].store(until.as_millisecond(), Ordering::SeqCst);
        if period != state.period {
            state.period = period;
            (state.is_exhausted, state.marks) = (false, 0);
            state.tended = self.used(state);
            state.tell(Change::Began);
            lock(&self.who).clear();
            *lock(&self.left_out) = LeftOut::default();
            (state.eaters, state.left_out) = (Vec::new(), LeftOut::default());
        }
        at
    }

    /// Gives what is left of the block back to the ledger.
    fn release(&self, state: &mut State) {
        let rest = self.block.swap(0, Ordering::SeqCst);
        state.ledger.unbook(rest);
    }

    /// Computes the rates. Returns the time to go by.
    fn compute(&self, state: &mut State, now: Timestamp) -> Timestamp {
        let at = self.turn_to(state, now);
        let wanted = [0, 1, 2].map(|class: usize| self.wanted[class].swap(0, Ordering::Relaxed));
        let left = state.period.seconds_left(at);
        let passed = state.pace.observe(wanted, now.as_millisecond(), left);
        state.outlook.observe(wanted, passed);
        let used = self.used(state);
        let limit = state.settings.limit();
        let rest = limit.saturating_sub(used);
        let rates = match state.settings.mode {
            Mode::Pace => state.pace.rates(rest, left),
            Mode::Stop | Mode::Warn => Rates::ALL,
        };
        for (threshold, rate) in self.thresholds.iter().zip(rates.0) {
            threshold.store(rate.threshold(), Ordering::Relaxed);
        }
        self.patience.store((rest / 1000).max(1), Ordering::Relaxed);
        self.due.store(now.as_millisecond() + INTERVAL, Ordering::Relaxed);
        state.note_pacing(rates, now.as_millisecond());
        state.note_marks(used, limit);
        at
    }

    fn claim_slowly(&self, state: &mut State, units: u64, now: Timestamp) -> bool {
        if take(&self.block, units) {
            return true;
        }
        if now.as_millisecond().saturating_sub(state.written) < INTERVAL {
            let largest = largest_block(state.settings.limit());
            state.size = state.size.saturating_mul(2).min(largest);
        }
        if !self.book(state, units, now) {
            state.exhaust();
            return false;
        }
        state.save(now);
        true
    }

    /// Books what a block lacks, and takes `units` from it. False if the limit does not allow so
    /// many.
    fn book(&self, state: &mut State, units: u64, now: Timestamp) -> bool {
        // Until the block is put back, other claims wait for the lock.
        let rest = self.block.swap(0, Ordering::SeqCst);
        let lacks = units.saturating_sub(rest);
        let limit = state.settings.limit();
        let booked = state.ledger.used(&state.period);
        let free = match state.settings.mode {
            Mode::Pace | Mode::Stop => limit.saturating_sub(booked),
            Mode::Warn => u64::MAX,
        };
        if lacks > free {
            self.block.fetch_add(rest, Ordering::SeqCst);
            return false;
        }
        if booked.saturating_add(lacks) > limit {
            state.exhaust();
        }
        let size = state.size.max(least_block(limit));
        let more = lacks.max(size.saturating_sub(rest).min(free));
        state.ledger.book(more, now, &state.settings.zone);
        self.block.fetch_add((rest + more).saturating_sub(units), Ordering::SeqCst);
        true
    }
}

impl State {
    fn of(contents: Contents, settings: Settings, period: Period, now: Timestamp) -> Self {
        let is_of_period = contents.reached >= period.start.as_second();
        State {
            ledger: Ledger::of(&contents),
            pace: Pace { wanted: contents.wanted, at: contents.wanted_at },
            outlook: contents.outlook,
            period,
            files: None,
            number: contents.number,
            written: i64::MIN,
            eaters: if is_of_period { contents.eaters } else { Vec::new() },
            left_out: if is_of_period { contents.left_out } else { LeftOut::default() },
            eaters_at: now.as_millisecond(),
            trouble: None,
            size: 0,
            tended: 0,
            is_exhausted: false,
            marks: 0,
            sampled: None,
            changes: Vec::new(),
            settings,
        }
    }

    /// Writes the ledger, if it is on disk. If that fails, counting goes on in memory, and `tend`
    /// tries again.
    fn save(&mut self, now: Timestamp) {
        let mut contents = Contents {
            number: self.number + 1,
            wanted: self.pace.wanted,
            wanted_at: self.pace.at,
            outlook: self.outlook,
            eaters: self.eaters.clone(),
            left_out: self.left_out.clone(),
            ..Contents::default()
        };
        self.ledger.write(&mut contents);
        let Some(files) = &mut self.files else { return };
        let were_gone = files.restore();
        let written = were_gone.and_then(|gone| files.write(&contents).map(|()| gone));
        self.number += 1;
        self.written = now.as_millisecond();
        match written {
            Ok(were_gone) => {
                self.trouble = None;
                if were_gone {
                    self.tell(Change::MadeAgain);
                }
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.trouble.is_none() {
                    self.tell(Change::CannotWrite(trouble.clone()));
                }
                self.trouble = Some(trouble);
            }
        }
    }

    fn is_worth_saving(&self) -> bool {
        self.pace.wanted.iter().any(|wanted| *wanted > 0.0)
    }

    fn exhaust(&mut self) {
        if !std::mem::replace(&mut self.is_exhausted, true) {
            self.tell(Change::Exhausted);
        }
    }

    fn note_pacing(&mut self, rates: Rates, now: i64) {
        let wants = |class: Class| self.pace.wanted[class as usize] > 0.0;
        let is_sampling =
            Class::ALL.into_iter().any(|class| wants(class) && rates.of(class) != Rate::ALL);
        match self.sampled {
            None if is_sampling => {
                self.sampled = Some(now);
                self.tell(Change::PacingBegan);
            }
            Some(_) if is_sampling => self.sampled = Some(now),
            Some(since) if now.saturating_sub(since) >= CALM => {
                self.sampled = None;
                self.tell(Change::PacingEnded);
            }
            _ => {}
        }
    }

    fn note_marks(&mut self, used: u64, limit: u64) {
        let is_reached =
            |mark: &&u8| u128::from(used) * 100 >= u128::from(limit) * u128::from(**mark);
        let reached = MARKS.iter().take_while(is_reached).count();
        if reached > self.marks {
            self.tell(Change::Reached(MARKS[reached - 1]));
        }
        self.marks = self.marks.max(reached);
    }

    fn tell(&mut self, change: Change) {
        if self.changes.len() < MOST_CHANGES {
            self.changes.push(change);
        }
    }
}

/// Takes units if there are so many.
fn take(block: &AtomicU64, units: u64) -> bool {
    let taken =
        block.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |rest| rest.checked_sub(units));
    taken.is_ok()
}

fn least_block(limit: u64) -> u64 {
    (limit / 10_000).max(1)
}

fn largest_block(limit: u64) -> u64 {
    (limit / 200).max(1)
}

/// What is taken to be used when the ledger is damaged: all of it if the ceiling is hard, else the
/// part of the period that is over.
fn assumed(settings: &Settings, period: &Period, now: Timestamp) -> u64 {
    let limit = settings.limit();
    match settings.mode {
        Mode::Stop => limit,
        Mode::Pace | Mode::Warn => period.past_of(limit, now),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a forecast, which is finite and not negative"
)]
fn rounded(units: f64) -> u64 {
    units.round() as u64
}

#[cfg(test)]
mod tests;
