//! The series of a metric: what has been counted for each set of attribute values. Their number is
//! limited, and each is paid for. What has no room goes into one more series, which has only the
//! attribute `otel.metric.overflow`, as in the SDKs.

use std::{collections::HashMap, time::Instant};

use foldhash::fast::RandomState;

use super::metrics::{Attributes, unix_nanos};
use crate::{
    otlp::{payload::Reason, purse::Purse},
    telemetry::Desc,
};

/// Series per metric and resource without a setting: the limit of the SDKs.
pub(super) const LIMIT: usize = 2000;

pub(super) const OVERFLOW: Desc = Desc::new(
    "skep_connector_overflow_items",
    "{item}",
    "Items that were counted in a series with otel.metric.overflow, for lack of room",
);

pub(super) const SERIES: Desc =
    Desc::new("skep_connector_series", "{series}", "Series that a connector keeps");

/// One series.
#[derive(Debug, Clone)]
pub(super) struct Series<V> {
    pub(super) attributes: Attributes,
    /// When it was first seen, in nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) updated: Instant,
    pub(super) value: V,
}

/// All series of one metric. They are kept in the order in which they were first seen.
#[derive(Debug)]
pub(super) struct Table<V> {
    index: HashMap<Box<[u8]>, u32, RandomState>,
    all: Vec<Series<V>>,
    /// Position of the series of what has no room.
    overflow: Option<usize>,
    /// Most series beside that one.
    limit: usize,
    /// Bytes that were paid for and are free again.
    free: usize,
    /// Bytes of all attributes.
    attributes: usize,
}

/// What a series needs that is not known yet.
pub(super) struct New<'p, F> {
    /// Bytes that its value takes, at most.
    pub(super) size: usize,
    /// Pays for it.
    pub(super) purse: &'p mut Purse,
    /// Makes its attributes.
    pub(super) attributes: F,
}

/// A series that was asked for.
#[derive(Debug)]
pub(super) struct Found<'t, V> {
    pub(super) value: &'t mut V,
    /// Whether there is no room for a series of its own.
    pub(super) is_overflow: bool,
}

impl<V> Table<V> {
    /// An empty table; a limit of 0 is none.
    pub(super) fn new(limit: usize) -> Self {
        let limit = if limit == 0 { u32::MAX as usize } else { limit };
        Table {
            index: HashMap::default(),
            all: Vec::new(),
            overflow: None,
            limit,
            free: 0,
            attributes: 0,
        }
    }

    /// The series of a key, made by `value` if it is new; an error if there is not even room for
    /// the one of what has no room.
    #[inline]
    pub(super) fn get(
        &mut self,
        key: &[u8],
        now: Instant,
        new: New<'_, impl FnOnce() -> Attributes>,
        value: impl FnOnce() -> V,
    ) -> Result<Found<'_, V>, Reason> {
        let (at, is_overflow) = match self.index.get(key) {
            Some(at) => (*at as usize, false),
            None => self.make(key, now, new, value)?,
        };
        let series = &mut self.all[at];
        series.updated = now;
        Ok(Found { value: &mut series.value, is_overflow })
    }

    #[cold]
    fn make(
        &mut self,
        key: &[u8],
        now: Instant,
        New { size, purse, attributes }: New<'_, impl FnOnce() -> Attributes>,
        value: impl FnOnce() -> V,
    ) -> Result<(usize, bool), Reason> {
        let own = self.all.len() - usize::from(self.overflow.is_some());
        if own < self.limit {
            let attributes = attributes().shrunk();
            if self.pay(key.len() + attributes.len() + size, purse).is_ok() {
                let at = self.push(now, attributes, value());
                let place = u32::try_from(at).unwrap_or(u32::MAX);
                self.index.insert(key.into(), place);
                return Ok((at, false));
            }
        }
        if let Some(at) = self.overflow {
            return Ok((at, true));
        }
        let mut attributes = Attributes::default();
        attributes.push_bool(b"otel.metric.overflow", true);
        self.pay(attributes.len() + size, purse)?;
        let at = self.push(now, attributes, value());
        self.overflow = Some(at);
        Ok((at, true))
    }

    /// Pays for one more series. Lists and maps double when they grow, and are copied then.
    fn pay(&mut self, bytes: usize, purse: &mut Purse) -> Result<(), Reason> {
        let needed = bytes + Self::entry();
        let more = needed.saturating_sub(self.free);
        purse.pay(more)?;
        self.free = (self.free + more) - needed;
        Ok(())
    }

    /// Bytes of a series beside its key, attributes and value.
    const fn entry() -> usize {
        // Capacities are up to twice what is in use, and there is the old one while they grow.
        3 * size_of::<Series<V>>() + 4 * size_of::<(Box<[u8]>, u32)>() + 32
    }

    fn push(&mut self, now: Instant, attributes: Attributes, value: V) -> usize {
        self.attributes += attributes.len();
        self.all.push(Series { attributes, start: unix_nanos(), updated: now, value });
        self.all.len() - 1
    }

    /// All series in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Series<V>> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series<V>> {
        self.all.iter_mut()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bytes of all attributes.
    pub(super) fn attributes(&self) -> usize {
        self.attributes
    }

    /// Removes series; `size` is what the value of one takes. Returns how many went.
    pub(super) fn retain(
        &mut self,
        size: usize,
        mut keeps: impl FnMut(&Series<V>) -> bool,
    ) -> usize {
        let before = self.all.len();
        let mut left = 0;
        let places: Vec<Option<u32>> = self
            .all
            .iter()
            .map(|series| {
                let place = keeps(series).then_some(left);
                left += u32::from(place.is_some());
                place
            })
            .collect();
        if left as usize == before {
            return 0;
        }
        let mut freed = 0;
        self.index.retain(|key, at| {
            if let Some(place) = places[*at as usize] {
                *at = place;
                true
            } else {
                freed += key.len();
                false
            }
        });
        self.overflow = self.overflow.and_then(|at| places[at]).map(|place| place as usize);
        let mut place = places.iter();
        self.all.retain(|series| {
            let stays = place.next().is_some_and(Option::is_some);
            if !stays {
                freed += series.attributes.len() + size + Self::entry();
                self.attributes -= series.attributes.len();
            }
            stays
        });
        self.free += freed;
        before - self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.push_text(b"name", name.as_bytes());
        attributes
    }

    fn add(table: &mut Table<u64>, name: &str, now: Instant, purse: &mut Purse) -> bool {
        let new = New { size: 8, purse, attributes: || named(name) };
        let found = table.get(name.as_bytes(), now, new, || 0).unwrap();
        *found.value += 1;
        found.is_overflow
    }

    fn counts(table: &Table<u64>) -> Vec<u64> {
        table.iter().map(|series| series.value).collect()
    }

    #[test]
    fn what_is_above_the_limit_goes_into_one_more_series() {
        let (now, mut purse) = (Instant::now(), Purse::default());
        let mut table = Table::new(2);
        let over: Vec<bool> = ["a", "b", "a", "c", "d", "b"]
            .map(|name| add(&mut table, name, now, &mut purse))
            .into();
        assert_eq!(over, [false, false, false, true, true, false]);
        assert_eq!(counts(&table), [2, 2, 2]);
        let mut overflow = Attributes::default();
        overflow.push_bool(b"otel.metric.overflow", true);
        assert_eq!(table.iter().last().unwrap().attributes, overflow);
    }

    #[test]
    fn what_is_removed_makes_room() {
        let (start, mut purse) = (Instant::now(), Purse::default());
        let later = start + std::time::Duration::from_secs(1);
        let mut table = Table::new(3);
        for name in ["a", "b", "c", "d"] {
            add(&mut table, name, start, &mut purse);
        }
        add(&mut table, "c", later, &mut purse);
        assert_eq!(table.retain(8, |series| series.updated == later), 3);
        assert_eq!(counts(&table), [2]);
        assert_eq!(table.attributes(), named("c").len());
        assert!(!add(&mut table, "d", later, &mut purse));
        assert!(!add(&mut table, "c", later, &mut purse));
        assert_eq!(counts(&table), [3, 1]);
        assert_eq!(table.retain(8, |_| true), 0);
    }
}
