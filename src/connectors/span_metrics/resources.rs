//! The resources whose spans were counted, each with its series. Their number is limited: when it
//! is reached, an eighth of them goes, those that were quiet for the longest time.

use std::{collections::HashMap, time::Instant};

use foldhash::fast::RandomState;

use super::plan::{Family, Plan};
use crate::{
    connectors::{
        histogram::Histogram,
        metrics::{
            Exemplar, Head, Number, SUM_POINT, Temporality, Times, put_message, put_metric,
            put_resource, put_sum_point,
        },
        series::{Series, Table},
    },
    otlp::{
        payload::{Permit, Reason},
        purse::Purse,
    },
};

/// The name of the scope, as the Collector has it.
const SCOPE: &str = "spanmetricsconnector";

/// What is known of one series.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) histogram: Option<Histogram>,
    pub(super) exemplars: Vec<Exemplar>,
}

/// A resource with its series.
#[derive(Debug)]
pub(super) struct Resource {
    /// The `Resource` message of the first spans.
    message: Box<[u8]>,
    /// One for each family.
    pub(super) tables: Vec<Table<Measured>>,
    /// Pays for all of it.
    pub(super) purse: Purse,
    /// Bytes beside the series.
    held: usize,
    pub(super) updated: Instant,
}

/// All resources.
#[derive(Debug, Default)]
pub(super) struct Resources {
    index: HashMap<Box<[u8]>, usize, RandomState>,
    all: Vec<Resource>,
}

impl Resources {
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.index.get(key).copied()
    }

    pub(super) fn get(&mut self, at: usize) -> Option<&mut Resource> {
        self.all.get_mut(at)
    }

    /// Adds a resource, paid for from an account.
    pub(super) fn add(
        &mut self,
        key: &[u8],
        message: &[u8],
        plan: &Plan,
        account: Option<&Permit>,
        now: Instant,
    ) -> Result<usize, Reason> {
        let mut purse = Purse::new(account, 0);
        // Lists and maps double, and are copied then.
        let entry = 3 * size_of::<Resource>() + 4 * size_of::<(Box<[u8]>, usize)>();
        let tables = plan.families.len() * size_of::<Table<Measured>>();
        let held = key.len() + message.len() + entry + tables;
        purse.pay(held)?;
        let tables = plan.families.iter().map(|_| Table::new(plan.limit)).collect();
        let message = message.into();
        self.all.push(Resource { message, tables, purse, held, updated: now });
        self.index.insert(key.into(), self.all.len() - 1);
        Ok(self.all.len() - 1)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Resource> {
        self.all.iter_mut()
    }

    /// Series of all resources.
    pub(super) fn series(&self) -> usize {
        self.all.iter().flat_map(|resource| &resource.tables).map(Table::len).sum()
    }

    /// When the last of the eighth that was quiet for the longest time had spans.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let mut times: Vec<Instant> = self.all.iter().map(|resource| resource.updated).collect();
        let last = self.all.len().div_ceil(8).checked_sub(1)?;
        let (_, time, _) = times.select_nth_unstable(last);
        Some(*time)
    }

    /// Removes resources.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&Resource) -> bool) {
        let mut left = 0;
        let place = |resource: &Resource| {
            let stays = keeps(resource);
            left += usize::from(stays);
            stays.then(|| left - 1)
        };
        let places: Vec<Option<usize>> = self.all.iter().map(place).collect();
        if left == self.all.len() {
            return;
        }
        self.index.retain(|_, at| match places[*at] {
            Some(place) => {
                *at = place;
                true
            }
            None => false,
        });
        let mut place = places.iter();
        self.all.retain(|_| place.next().is_some_and(Option::is_some));
    }
}

impl Resource {
    /// Points of all metrics.
    pub(super) fn points(&self, plan: &Plan) -> u64 {
        let of = |(family, table): (&Family, &Table<Measured>)| {
            let metrics =
                usize::from(family.sum.is_some()) + usize::from(family.histogram.is_some());
            table.len() * metrics
        };
        plan.families.iter().zip(&self.tables).map(of).sum::<usize>() as u64
    }

    /// Bytes that it takes on the wire, at most.
    pub(super) fn encoded_size(&self, plan: &Plan) -> usize {
        let exemplars = plan.exemplars * Exemplar::ENCODED;
        let of = |(family, table): (&Family, &Table<Measured>)| {
            let point = |size: usize| table.attributes() + table.len() * (size + exemplars + 10);
            let head = |name: &String| Head::named(name).encoded_size();
            let sum = family.sum.as_ref().map_or(0, |name| head(name) + point(SUM_POINT));
            let histogram = family.histogram.as_ref();
            sum + histogram.map_or(0, |name| head(name) + point(plan.shape.encoded_size()))
        };
        self.message.len() + 128 + plan.families.iter().zip(&self.tables).map(of).sum::<usize>()
    }

    /// Appends it with all its metrics. Points with delta temporality begin at `since`.
    pub(super) fn put(&self, plan: &Plan, since: u64, now: u64, out: &mut Vec<u8>) {
        let start = |series: &Series<Measured>| match plan.temporality {
            Temporality::Cumulative => series.start,
            Temporality::Delta => since,
        };
        put_resource(out, &[&self.message], SCOPE, |out| {
            for (family, table) in plan.families.iter().zip(&self.tables) {
                if table.is_empty() {
                    continue;
                }
                if let Some(name) = &family.sum {
                    put_metric(out, Head::named(name), 7, plan.temporality, |out| {
                        for series in table.iter() {
                            let times = Times { start: start(series), end: now };
                            let Measured { count, exemplars, .. } = &series.value;
                            let number = Number::Int(*count);
                            put_sum_point(out, times, number, &series.attributes, exemplars);
                        }
                    });
                }
                if let Some(name) = &family.histogram {
                    let head = Head { unit: plan.unit.name, ..Head::named(name) };
                    put_metric(out, head, plan.shape.field(), plan.temporality, |out| {
                        for series in table.iter() {
                            let times = Times { start: start(series), end: now };
                            put_histogram_point(out, plan, series, times);
                        }
                    });
                }
            }
        });
    }

    /// Forgets all series and gives their memory back.
    pub(super) fn empty(&mut self, plan: &Plan, account: Option<&Permit>) {
        self.tables.iter_mut().for_each(|table| *table = Table::new(plan.limit));
        let held = self.held;
        self.purse = Purse::new(account, held);
        // The credit pays for what is there already, so this does not fail.
        let _ = self.purse.pay(held);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(Table::is_empty)
    }

    /// Forgets the exemplars, which are those of one interval.
    pub(super) fn forget_exemplars(&mut self) {
        let series = self.tables.iter_mut().flat_map(Table::iter_mut);
        series.for_each(|series| series.value.exemplars.clear());
    }
}

fn put_histogram_point(out: &mut Vec<u8>, plan: &Plan, series: &Series<Measured>, times: Times) {
    let Some(histogram) = &series.value.histogram else { return };
    let (exemplars, attributes) = if plan.shape.field() == 9 { (8, 9) } else { (11, 1) };
    put_message(out, 1, |out| {
        histogram.put(out, &plan.shape, times);
        series.value.exemplars.iter().for_each(|exemplar| exemplar.put(out, exemplars));
        series.attributes.put(out, attributes);
    });
}
