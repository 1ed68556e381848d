//! Where metrics are registered, and from where pages read them. It knows no component.
//!
//! A family is all series of one name. A series is identified by its labels and by its scope, which
//! is the component in its pipeline. Registering the same again, as a replica or the successor at a
//! reload does, gives the same cell. Readers see one value per set of labels, because the
//! Collector's labels do not tell pipelines apart and a series must not occur twice on a page.
//!
//! The registry holds series weakly, so a series ends with its last handle. The lock is taken when
//! components are built and when metrics are read, never when something is counted.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::{Arc, Mutex, Weak},
};

use super::{
    histogram::{Buckets, Distribution},
    metric::{Ask, Asked, Counter, Desc, Detail, Gauge, Histogram, Merge},
    number::Number,
};
use crate::sync::lock;

/// Names and values, in the order in which they are shown.
pub type Labels = Vec<(&'static str, String)>;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The value of a series at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    Distribution(Distribution),
}

/// A family with its series at one moment, sorted by their labels.
#[derive(Debug)]
pub struct Reading {
    pub name: String,
    pub kind: Kind,
    pub desc: Desc,
    pub series: BTreeMap<Labels, Value>,
}

/// All metrics of a process, or of one test.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<String, Family>>);

/// Registers the metrics of one component. A default one has a registry of its own, for tests.
#[derive(Debug, Clone)]
pub struct Meter {
    registry: Arc<Registry>,
    scope: Arc<str>,
    /// Labels of all its metrics, in front of those that a metric has besides.
    labels: Labels,
}

#[derive(Debug)]
struct Family {
    desc: Desc,
    kind: Kind,
    /// Series were registered so many times.
    registered: u64,
    series: HashMap<(Arc<str>, Labels), Series>,
}

#[derive(Debug)]
struct Series {
    /// Later ones have greater numbers.
    number: u64,
    cell: Cell,
}

#[derive(Debug)]
enum Cell {
    Number(Weak<Number>),
    Buckets(Weak<Buckets>),
    Asked(Weak<Ask>),
}

impl Cell {
    fn is_in_use(&self) -> bool {
        let count = match self {
            Cell::Number(cell) => cell.strong_count(),
            Cell::Buckets(cell) => cell.strong_count(),
            Cell::Asked(cell) => cell.strong_count(),
        };
        count > 0
    }

    fn hold(&self) -> Option<Held> {
        Some(match self {
            Cell::Number(cell) => Held::Number(cell.upgrade()?),
            Cell::Buckets(cell) => Held::Buckets(cell.upgrade()?),
            Cell::Asked(cell) => Held::Asked(cell.upgrade()?),
        })
    }
}

/// A cell that stays while it is read.
enum Held {
    Number(Arc<Number>),
    Buckets(Arc<Buckets>),
    Asked(Arc<Ask>),
}

impl Held {
    fn read(&self) -> Option<Value> {
        Some(match self {
            Held::Number(number) => Value::Number(number.read()),
            Held::Buckets(buckets) => Value::Distribution(buckets.read()),
            Held::Asked(ask) => Value::Number(ask()?),
        })
    }
}

impl Default for Meter {
    fn default() -> Self {
        Meter::new(&Arc::default(), "")
    }
}

impl Meter {
    /// The meter of a component; `scope` tells it from all others.
    pub fn new(registry: &Arc<Registry>, scope: &str) -> Self {
        Meter { registry: Arc::clone(registry), scope: scope.into(), labels: Labels::new() }
    }

    /// The same with one more label for all metrics that it registers.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        self.labels.push((key, value.to_owned()));
        self
    }

    /// A number that only grows.
    pub fn counter(&self, desc: &Desc, labels: &[(&'static str, &str)]) -> Counter {
        Counter(self.number(desc, Kind::Counter, labels))
    }

    /// A number that goes up and down.
    pub fn gauge(&self, desc: &Desc, labels: &[(&'static str, &str)]) -> Gauge {
        Gauge(self.number(desc, Kind::Gauge, labels))
    }

    /// A distribution with ascending upper bounds.
    pub fn histogram(
        &self,
        desc: &Desc,
        bounds: &'static [u64],
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        self.register(desc, Kind::Histogram, labels, |known| {
            let known = match known {
                Some(Held::Buckets(buckets)) => Some(buckets),
                _ => None,
            };
            let buckets = known.unwrap_or_else(|| Arc::new(Buckets::new(bounds)));
            (Cell::Buckets(Arc::downgrade(&buckets)), Histogram(buckets))
        })
    }

    /// A counter or gauge whose value is computed on demand; `None` leaves it out. `ask`
    /// runs without any lock of the registry.
    pub fn asked(
        &self,
        kind: Kind,
        desc: &Desc,
        labels: &[(&'static str, &str)],
        ask: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Asked {
        self.register(desc, kind, labels, |_| {
            let ask: Arc<Ask> = Arc::new(ask);
            (Cell::Asked(Arc::downgrade(&ask)), Asked(ask))
        })
    }

    fn number(&self, desc: &Desc, kind: Kind, labels: &[(&'static str, &str)]) -> Arc<Number> {
        self.register(desc, kind, labels, |known| {
            let known = match known {
                Some(Held::Number(number)) => Some(number),
                _ => None,
            };
            let number = known.unwrap_or_default();
            (Cell::Number(Arc::downgrade(&number)), number)
        })
    }

    /// Registers a series; `make` gets the cell that is registered already, if it is in use.
    fn register<T>(
        &self,
        desc: &Desc,
        kind: Kind,
        labels: &[(&'static str, &str)],
        make: impl FnOnce(Option<Held>) -> (Cell, T),
    ) -> T {
        let own = labels.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let labels = self.labels.iter().cloned().chain(own).collect();
        let mut families = lock(&self.registry.0);
        let family = families.entry(desc.name()).or_insert_with(|| Family {
            desc: *desc,
            kind,
            registered: 0,
            series: HashMap::new(),
        });
        debug_assert_eq!(family.kind, kind, "{} is of two kinds", desc.name());
        family.registered += 1;
        let key = (Arc::clone(&self.scope), labels);
        let known = family.series.get(&key).and_then(|series| series.cell.hold());
        let (cell, handle) = make(known);
        if family.kind == kind {
            family.series.insert(key, Series { number: family.registered, cell });
        }
        handle
    }
}

impl Registry {
    /// All families that are shown at a level and have series, sorted by name.
    pub fn read(&self, detail: Detail) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (name, (desc, kind, mut series)) in self.held(detail) {
            series.sort_by_key(|(number, ..)| *number);
            let mut merged = BTreeMap::new();
            for (_, labels, held) in series {
                let Some(value) = held.read() else { continue };
                match merged.entry(labels) {
                    Entry::Vacant(entry) => drop(entry.insert(value)),
                    Entry::Occupied(mut entry) => match (entry.get_mut(), value) {
                        (Value::Number(sum), Value::Number(more)) if desc.merge == Merge::Sum => {
                            *sum += more;
                        }
                        (Value::Distribution(sum), Value::Distribution(more)) => sum.add(&more),
                        (old, value) => *old = value,
                    },
                }
            }
            if !merged.is_empty() {
                readings.push(Reading { name, kind, desc, series: merged });
            }
        }
        readings
    }

    /// The sum of all series of a name; for tests.
    pub fn sum(&self, name: &str) -> u64 {
        let reading = self.read(Detail::Detailed).into_iter().find(|reading| reading.name == name);
        let values = reading.into_iter().flat_map(|reading| reading.series.into_values());
        values.map(|value| if let Value::Number(number) = value { number } else { 0 }).sum()
    }

    /// Forgets the series that have ended.
    pub fn forget_unused(&self) {
        let mut families = lock(&self.0);
        for family in families.values_mut() {
            family.series.retain(|_, series| series.cell.is_in_use());
        }
        families.retain(|_, family| !family.series.is_empty());
    }

    /// What is in use now, held, so that it can be read without the lock.
    fn held(&self, detail: Detail) -> Vec<(String, HeldFamily)> {
        let families = lock(&self.0);
        let shown = families.iter().filter(|(_, family)| family.desc.detail <= detail);
        let held = shown.map(|(name, family)| {
            let series = family.series.iter().filter_map(|((_, labels), series)| {
                Some((series.number, labels.clone(), series.cell.hold()?))
            });
            (name.clone(), (family.desc, family.kind, series.collect()))
        });
        held.collect()
    }
}

/// What a family is, and its series: their numbers, labels and cells.
type HeldFamily = (Desc, Kind, Vec<(u64, Labels, Held)>);

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Desc = Desc::new("skep_test_count", "{item}", "Items");
    const FILL: Desc = Desc::new("skep_test_fill", "By", "Bytes").newest();
    const SIZES: Desc = Desc::new("skep_test_sizes", "{item}", "Sizes").at(Detail::Normal);

    fn numbers(registry: &Registry, name: &str) -> Vec<(String, u64)> {
        let all = registry.read(Detail::Basic);
        let Some(reading) = all.into_iter().find(|reading| reading.name == name) else {
            return Vec::new();
        };
        let series = reading.series.into_iter().map(|(labels, value)| {
            let Value::Number(number) = value else { panic!("{name} is no number") };
            (labels.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(" "), number)
        });
        series.collect()
    }

    #[test]
    fn a_series_begins_at_zero_and_ends_with_its_last_handle() {
        let registry = Arc::new(Registry::default());
        let meter = Meter::new(&registry, "traces batch");
        let first = meter.counter(&COUNT, &[("processor", "batch")]);
        assert_eq!(numbers(&registry, "skep_test_count"), [("batch".to_owned(), 0)]);
        first.add(2);
        let second = meter.counter(&COUNT, &[("processor", "batch")]);
        second.add(3);
        assert_eq!(second.read(), 5, "a replica adds to the same series");
        drop(first);
        assert_eq!(numbers(&registry, "skep_test_count"), [("batch".to_owned(), 5)]);
        drop(second);
        assert_eq!(numbers(&registry, "skep_test_count"), []);
        registry.forget_unused();
        assert!(registry.0.lock().unwrap().is_empty());
    }

    #[test]
    fn equal_labels_of_two_scopes_are_summed_or_the_newest_wins() {
        let registry = Arc::new(Registry::default());
        let labels = [("processor", "batch")];
        let [old, new] = ["traces batch", "traces/2 batch"].map(|s| Meter::new(&registry, s));
        let counts = [old.counter(&COUNT, &labels), new.counter(&COUNT, &labels)];
        let fills = [old.gauge(&FILL, &labels), new.gauge(&FILL, &labels)];
        let sizes = [&old, &new].map(|meter| meter.histogram(&SIZES, &[10, 20], &labels));
        for (place, value) in [3, 4].into_iter().enumerate() {
            counts[place].add(value);
            fills[place].set(value);
            sizes[place].record(value);
        }
        assert_eq!(numbers(&registry, "skep_test_count"), [("batch".to_owned(), 7)]);
        assert_eq!(numbers(&registry, "skep_test_fill"), [("batch".to_owned(), 4)]);
        let readings = registry.read(Detail::Normal);
        let Some(Value::Distribution(both)) = readings[2].series.values().next() else { panic!() };
        assert_eq!((&both.counts[..], both.sum), (&[2, 0, 0][..], 7));
        assert_eq!(registry.read(Detail::Basic).len(), 2, "no distributions");
    }

    #[test]
    fn a_value_is_computed_when_somebody_looks_and_may_be_absent() {
        let registry = Arc::new(Registry::default());
        let value = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&value);
        let meter = Meter::new(&registry, "exporter");
        let handle =
            meter.asked(Kind::Gauge, &FILL, &[("exporter", "otlp")], move || *seen.lock().unwrap());
        assert_eq!(numbers(&registry, "skep_test_fill"), []);
        *value.lock().unwrap() = Some(7);
        assert_eq!(numbers(&registry, "skep_test_fill"), [("otlp".to_owned(), 7)]);
        drop(handle);
        assert_eq!(numbers(&registry, "skep_test_fill"), []);
    }

    #[test]
    fn a_name_can_have_the_items_of_a_signal() {
        use crate::otlp::Signal;
        assert_eq!(COUNT.for_signal(Signal::Logs).name(), "skep_test_count_log_records");
    }
}
