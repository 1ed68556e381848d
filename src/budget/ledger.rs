//! How much is used: units by day, and ids that were counted. Pure bookkeeping; `file.rs` writes it
//! down.
//!
//! A day is one entry: its units, and the last moment at which some were booked. The use of a
//! period is the sum of the entries whose last moment is not before its start. So a budget whose
//! time zone or reset day changes still knows what is used, to within a day and never too little.
//!
//! Clocks jump. The rules:
//! - Units are booked at the clock's time, but never before the last entry, nor before the latest
//!   time that was gone by.
//! - *Ahead*: if the clock jumps over the end of the period by more than an hour while skep runs,
//!   the period goes on, until the clock has gone on like this for a day. What is booked meanwhile
//!   counts in both periods. When skep starts, the clock is believed.
//! - *Behind by at most a day*: the time stands still. A period that has begun is not left again.
//! - *Behind by more than a day*: perhaps an earlier clock was ahead. The period is that of the
//!   clock, and entries after it are in its sum by the rule above, so what was used under the
//!   wrong clock counts. Once the clock has gone on like this for a day it is believed, and those
//!   entries are moved to its time.
//! - A clock that was behind and is right again finds its entries as they were, and what was booked
//!   meanwhile is in the last of them.
//!
//! So a clock that is wrong by more than a day, for more than a day, is believed. Every other jump
//! neither loses nor doubles anything. All this needs a look at the clock about once a second.

use std::collections::HashMap;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    file::{Contents, MOST_IDS},
    period::{Period, day_at},
};

/// Entries that are kept: more than a period has days.
pub(super) const MOST_DAYS: usize = 64;
/// In seconds.
const DAY: i64 = 86_400;
/// More seconds than this between two looks at the clock are a jump.
const STEP: i64 = 3_600;

/// Units that were used on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// The last second in which some were booked, since 1970.
    pub last: i64,
    /// Units.
    pub units: u64,
}

/// What is used.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// In order of time.
    days: Vec<Day>,
    /// Ids that were counted, and the second in which they were.
    ids: HashMap<u64, i64>,
    /// The clock when it was last looked at, in seconds.
    seen: i64,
    /// The latest second that was gone by.
    reached: i64,
    /// Seconds that the clock has gone on while it was behind that, or behind the last entry, by
    /// more than a day.
    behind: i64,
    /// Whether this process has looked at the clock before.
    is_running: bool,
    /// The clock has jumped ahead: the time before that, and how many seconds it has gone on since.
    ahead: Option<(Timestamp, i64)>,
}

impl Ledger {
    /// From what a file says.
    pub(super) fn of(contents: &Contents) -> Self {
        Ledger {
            days: contents.days.clone(),
            ids: contents.ids.iter().copied().collect(),
            seen: contents.seen,
            reached: contents.reached,
            behind: contents.behind,
            ..Ledger::default()
        }
    }

    /// For a file; the rest of `contents` stays as it is.
    pub(super) fn write(&self, contents: &mut Contents) {
        contents.days.clone_from(&self.days);
        contents.ids = self.ids.iter().map(|(id, at)| (*id, *at)).collect();
        contents.ids.sort_unstable();
        contents.seen = self.seen;
        (contents.reached, contents.behind) = (self.reached, self.behind);
    }

    /// Looks at the clock during `period`. Returns the time to go by, see the rules above.
    pub(super) fn look(&mut self, now: Timestamp, period: &Period) -> Timestamp {
        let (clock, before) = (now.as_second(), self.seen);
        let passed = clock.saturating_sub(before);
        // A clock that was behind is not ahead when it is right again.
        let is_known = clock <= self.reached.saturating_add(STEP);
        let is_jump = passed > STEP && self.is_running && !is_known;
        let gone_on = if (0..=STEP).contains(&passed) { passed } else { 0 };
        (self.seen, self.is_running) = (clock, true);
        if let Some(frozen) = self.is_ahead(now, is_jump.then_some(before), gone_on, period) {
            return frozen;
        }
        let last = self.days.last().map_or(self.reached, |day| day.last.max(self.reached));
        if last <= clock.saturating_add(DAY) {
            self.behind = 0;
        } else {
            self.behind = self.behind.saturating_add(gone_on);
            if self.behind >= DAY {
                self.behind = 0;
                self.believe(clock);
            }
        }
        if self.reached > clock.saturating_add(DAY) {
            return now;
        }
        self.reached = self.reached.max(clock);
        now.max(Timestamp::from_second(self.reached).unwrap_or(now))
    }

    /// The time before the clock has jumped ahead over the end of the period, until it is believed.
    fn is_ahead(
        &mut self,
        now: Timestamp,
        jumped_from: Option<i64>,
        gone_on: i64,
        period: &Period,
    ) -> Option<Timestamp> {
        if now < period.end {
            self.ahead = None;
        } else if let Some((_, seconds)) = &mut self.ahead {
            *seconds += gone_on;
            self.ahead.take_if(|(_, seconds)| *seconds >= DAY);
        } else if let Some(before) = jumped_from.and_then(|at| Timestamp::from_second(at).ok()) {
            let is_within = period.start <= before && before < period.end;
            self.ahead = is_within.then_some((before, 0));
        }
        self.ahead.map(|(before, _)| before)
    }

    /// Moves what was booked after `clock` to that time.
    fn believe(&mut self, clock: i64) {
        self.reached = clock;
        let ahead = self.days.iter().filter(|day| day.last > clock);
        let units = ahead.fold(0_u64, |sum, day| sum.saturating_add(day.units));
        self.days.retain(|day| day.last <= clock);
        self.days.push(Day { last: clock, units });
        self.ids.values_mut().for_each(|at| *at = clock.min(*at));
    }

    /// Books units at the clock's time.
    pub(super) fn book(&mut self, units: u64, at: Timestamp, zone: &TimeZone) {
        let at = self.not_before_the_last(at);
        let today = day_at(at, zone).0.as_second();
        match self.days.last_mut() {
            Some(day) if day.last >= today => {
                day.last = at.as_second();
                day.units = day.units.saturating_add(units);
            }
            _ => self.days.push(Day { last: at.as_second(), units }),
        }
        if self.days.len() > MOST_DAYS {
            let oldest = self.days.remove(0);
            if let Some(next) = self.days.first_mut() {
                next.units = next.units.saturating_add(oldest.units);
            }
        }
    }

    /// Takes back units of the last entry, which were booked and not used.
    pub(super) fn unbook(&mut self, units: u64) {
        if let Some(day) = self.days.last_mut() {
            day.units = day.units.saturating_sub(units);
        }
    }

    /// Forgets an id whose claim was refused.
    pub(super) fn forget(&mut self, id: u64) {
        self.ids.remove(&id);
    }

    /// When something is booked.
    fn not_before_the_last(&self, now: Timestamp) -> Timestamp {
        let last = self.days.last().map_or(self.reached, |day| day.last.max(self.reached));
        Timestamp::from_second(last).map_or(now, |last| last.max(now))
    }

    /// Units that are booked in a period.
    pub(super) fn used(&self, period: &Period) -> u64 {
        let start = period.start.as_second();
        let days = self.days.iter().filter(|day| day.last >= start);
        days.fold(0, |sum, day| sum.saturating_add(day.units))
    }

    /// Whether an id was counted in a period.
    pub(super) fn knows(&self, id: u64, period: &Period) -> bool {
        self.ids.get(&id).is_some_and(|at| *at >= period.start.as_second())
    }

    /// Remembers an id that was counted. One that finds no room is counted again when it comes
    /// again.
    pub(super) fn remember(&mut self, id: u64, at: Timestamp, period: &Period) {
        if self.ids.len() >= MOST_IDS {
            let start = period.start.as_second();
            self.ids.retain(|_, counted| *counted >= start);
        }
        let at = self.not_before_the_last(at).as_second();
        if self.ids.len() < MOST_IDS {
            self.ids.insert(id, at);
        }
    }
}

#[cfg(test)]
mod tests;
