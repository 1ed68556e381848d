//! Data points into groups of the same place, time and labels.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use foldhash::fast::RandomState;

use super::{
    super::cloudwatch::{
        batch::{Gather, LONGEST_MESSAGE, Target},
        name::{Named, Of, Template},
        streams::{Streams, as_text, find},
    },
    declare::SCOPE,
    delta::{Series, Step, Times, Totals},
    document::{FORMAT, Form, Group, Metric},
    point::{self, Distribution, Worth},
    unit,
};
use crate::{
    otlp::{
        Content, text,
        view::{self, Data, KeyValue, NumberPoint, SummaryPoint, Text, Value},
    },
    telemetry::events::LeftOut,
};

/// Attribute that asks for values by the second; it is no label.
const RESOLUTION: &[u8] = b"aws.emf.storage_resolution";
/// A cumulative temporality (OTLP).
const CUMULATIVE: i32 = 2;
/// Most characters of a metric's name (embedded metric format).
const LONGEST_NAME: usize = 1024;
/// The label that tells quantiles of a summary apart.
const QUANTILE: &str = "quantile";

/// Where metrics go and what they are like.
#[derive(Debug)]
pub(super) struct Translation {
    /// Empty: after the service.
    pub(super) namespace: String,
    /// None: `/metrics/` and the namespace.
    pub(super) group: Option<Template>,
    pub(super) stream: Template,
    pub(super) with_resource: bool,
    pub(super) is_detailed: bool,
    pub(super) keeps_first: bool,
    /// Units by metric, and whether they count more than the metric's own.
    pub(super) units: HashMap<String, (&'static str, bool)>,
    pub(super) form: Form,
    pub(super) streams: Streams,
}

/// What groups are found by.
type Key = (usize, String, u64, Vec<(String, String)>);

/// Groups in the making.
#[derive(Default)]
struct Groups {
    all: Vec<(usize, Group)>,
    places: HashMap<Key, usize, RandomState>,
}

/// What the points of one resource and scope have in common.
struct Around<'a> {
    resource: Vec<KeyValue<'a>>,
    namespace: String,
    scope: String,
}

/// A point on its way into a group.
struct Point<'p, 'a> {
    metric: &'p view::Metric<'a>,
    time: u64,
    since: u64,
    labels: Vec<(String, String)>,
    target: Target,
    is_high_resolution: bool,
}

impl Point<'_, '_> {
    fn times(&self) -> Times {
        Times { since: self.since, at: self.time }
    }
}

impl Translation {
    /// The documents of a payload by stream; `now` is in nanoseconds since 1970.
    pub(super) fn events(&self, payload: &Content, totals: &mut Totals, now: u64) -> Gather {
        let mut gather = Gather::within(usize::MAX);
        let mut groups = Groups::default();
        for entry in payload.body.iter().flat_map(|segment| view::metrics(segment)) {
            let resource: Vec<KeyValue<'_>> =
                entry.resource.iter().flat_map(view::Resource::attributes).collect();
            let namespace = self.namespace(&resource);
            let mut around = Around { resource, namespace, scope: String::new() };
            for scope in entry.scopes() {
                around.scope = scope.scope.map_or(String::new(), |scope| lossy(scope.name));
                for metric in scope.metrics() {
                    let mut one = One {
                        own: self,
                        around: &around,
                        gather: &mut gather,
                        groups: &mut groups,
                        totals,
                        now,
                    };
                    one.metric(&metric);
                }
            }
        }
        for (target, group) in groups.all {
            for document in group.documents(&self.form) {
                let Some(document) = document else {
                    gather.leave_out(LeftOut::TooLarge);
                    continue;
                };
                let nanos = group.millis * 1_000_000;
                gather.push(target, nanos, LONGEST_MESSAGE, |out, _| {
                    out.extend_from_slice(&document);
                    false
                });
            }
        }
        gather
    }

    /// The group of points that say nothing of where they come from.
    pub(super) fn group_of_nobody(&self) -> String {
        match &self.group {
            Some(group) => group.fill(|_, _| None),
            None => Named::Group.clean(&format!("/metrics/{}", self.namespace(&[]))),
        }
    }

    fn namespace(&self, resource: &[KeyValue<'_>]) -> String {
        if !self.namespace.is_empty() {
            return self.namespace.clone();
        }
        let value = |key| find(resource.iter().copied(), key).filter(|text| !text.is_empty());
        let name = match (value("service.namespace"), value("service.name")) {
            (Some(space), Some(name)) => format!("{space}/{name}"),
            (Some(one), None) | (None, Some(one)) => one.into_owned(),
            (None, None) => "default".to_owned(),
        };
        let takes = |letter: char| letter.is_ascii_alphanumeric() || ".-_/#: ".contains(letter);
        let clean = name.chars().take(255).map(|one| if takes(one) { one } else { '_' });
        clean.collect::<String>().replacen(':', "_", usize::from(name.starts_with(':')))
    }

    fn target(&self, around: &Around<'_>, labels: &[(String, String)]) -> Target {
        let label = |key: &str| {
            let found = labels.iter().find(|(name, _)| name == key);
            found.map(|(_, value)| Cow::Borrowed(&**value))
        };
        let value = |of: Of, key: &str| match of {
            Of::Resource => find(around.resource.iter().copied(), key).or_else(|| label(key)),
            Of::Item => label(key),
        };
        let group = match &self.group {
            Some(group) => group.fill(value),
            None => Named::Group.clean(&format!("/metrics/{}", around.namespace)),
        };
        self.streams.admit(Target { group, stream: self.stream.fill(value) })
    }
}

/// One metric with all that it needs.
struct One<'o, 'a> {
    own: &'o Translation,
    around: &'o Around<'a>,
    gather: &'o mut Gather,
    groups: &'o mut Groups,
    totals: &'o mut Totals,
    now: u64,
}

/// What came of a point.
type Made<T = ()> = Result<T, LeftOut>;

impl<'a> One<'_, 'a> {
    fn metric(&mut self, metric: &view::Metric<'a>) {
        match metric.data {
            None => {}
            Some(Data::Gauge(points)) => {
                for one in points.iter() {
                    let point = self.point(metric, one.time_unix_nano, 0, one.attributes());
                    let made = self.number(&point, &one, false);
                    self.note(made);
                }
            }
            Some(Data::Sum { points, temporality, is_monotonic }) => {
                // What goes up and down is of use as it stands.
                let is_total = temporality.0 == CUMULATIVE && is_monotonic;
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    let made = self.number(&point, &one, is_total);
                    self.note(made);
                }
            }
            Some(Data::Histogram { points, temporality }) => {
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    let own =
                        self.step(&point, temporality.0 == CUMULATIVE, Distribution::of(&one));
                    let made = own.and_then(|own| self.add_statistics(&point, &own));
                    self.note(made);
                }
            }
            Some(Data::ExponentialHistogram { points, temporality }) => {
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    let own = Distribution::of_exponential(&one);
                    let own = self.step(&point, temporality.0 == CUMULATIVE, own);
                    let made = own.and_then(|own| self.add_values(&point, &own));
                    self.note(made);
                }
            }
            Some(Data::Summary(points)) => {
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    // It has no temporality: count and sum are totals (OTLP, `metrics.proto`).
                    let own = self.step(&point, true, Distribution::of_summary(&one));
                    let made = own.and_then(|own| {
                        if self.own.is_detailed {
                            self.add_details(&point, &own, &one)
                        } else {
                            self.add_statistics(&point, &own)
                        }
                    });
                    self.note(made);
                }
            }
        }
    }

    fn note(&mut self, made: Made) {
        if let Err(reason) = made {
            self.gather.leave_out(reason);
        }
    }

    fn point<'p>(
        &self,
        metric: &'p view::Metric<'a>,
        time: u64,
        since: u64,
        attributes: impl Iterator<Item = KeyValue<'a>>,
    ) -> Point<'p, 'a> {
        let mut labels = BTreeMap::new();
        if !self.around.scope.is_empty() {
            labels.insert(SCOPE.to_owned(), self.around.scope.clone());
        }
        if self.own.with_resource {
            labels.extend(self.around.resource.iter().map(label));
        }
        let mut is_high_resolution = false;
        for attribute in attributes {
            if attribute.key.0 == RESOLUTION {
                is_high_resolution =
                    matches!(attribute.value, Some(Value::Int(1))) || label(&attribute).1 == "1";
                continue;
            }
            let (name, value) = label(&attribute);
            labels.insert(name, value);
        }
        let time = if time == 0 { self.now } else { time };
        let labels: Vec<(String, String)> = labels.into_iter().collect();
        let target = self.own.target(self.around, &labels);
        Point { metric, time, since, labels, target, is_high_resolution }
    }

    fn series(&self, point: &Point<'_, '_>, ending: &str) -> Series {
        let target = &point.target;
        let mut key = Vec::new();
        let names = [point.metric.name.0, ending.as_bytes(), self.around.namespace.as_bytes()];
        let places = [target.group.as_bytes(), target.stream.as_bytes()];
        let labels =
            point.labels.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        for part in names.into_iter().chain(places).chain(labels) {
            key.extend_from_slice(&part.len().to_be_bytes());
            key.extend_from_slice(part);
        }
        Series::of(&key)
    }

    fn number(&mut self, point: &Point<'_, 'a>, one: &NumberPoint<'_>, is_total: bool) -> Made {
        let number = point::number(one).ok_or(LeftOut::NoNumber)?;
        let number = if is_total { self.added(point, number)? } else { number };
        self.add(point, "", number)
    }

    /// A total as what was added to it.
    fn added(&mut self, point: &Point<'_, 'a>, total: Worth) -> Made<Worth> {
        let series = self.series(point, "");
        match self.totals.number(series, point.times(), point::double(&total)) {
            Step::Added(added) => Ok(whole(&total, added)),
            Step::First(_) if self.own.keeps_first => Ok(total),
            Step::First(_) => Err(LeftOut::First),
            Step::Late => Err(LeftOut::OutOfOrder),
            Step::Full => Err(LeftOut::TooManySeries),
        }
    }

    /// A distribution as what was added to it.
    fn step(
        &mut self,
        point: &Point<'_, 'a>,
        is_total: bool,
        own: Option<Distribution>,
    ) -> Made<Distribution> {
        let mut own = own.ok_or(LeftOut::NoNumber)?;
        if is_total {
            own = match self.totals.distribution(self.series(point, ""), point.times(), own) {
                Step::Added(added) => added,
                Step::First(first) if self.own.keeps_first => first,
                Step::First(_) => return Err(LeftOut::First),
                Step::Late => return Err(LeftOut::OutOfOrder),
                Step::Full => return Err(LeftOut::TooManySeries),
            };
        }
        // A statistic set of nothing is none.
        if own.count == 0 { Err(LeftOut::Unchanged) } else { Ok(own) }
    }

    fn add_statistics(&mut self, point: &Point<'_, 'a>, own: &Distribution) -> Made {
        self.add(point, "", own.statistics().ok_or(LeftOut::NoNumber)?)
    }

    fn add_values(&mut self, point: &Point<'_, 'a>, own: &Distribution) -> Made {
        let values = own.values().ok_or(LeftOut::NoNumber)?;
        values.into_iter().try_for_each(|worth| self.add(point, "", worth))
    }

    /// A summary as its parts: sum, count, and each quantile under a label of its own.
    fn add_details(
        &mut self,
        point: &Point<'_, 'a>,
        own: &Distribution,
        summary: &SummaryPoint<'a>,
    ) -> Made {
        let count = i64::try_from(own.count).unwrap_or(i64::MAX);
        self.add(point, "_sum", Worth::Double(own.sum.unwrap_or_default()))?;
        self.add(point, "_count", Worth::Int(count))?;
        // Of a time in which nothing was observed a quantile is not a number.
        for quantile in summary.quantile_values().filter(|one| !one.value.is_nan()) {
            let mut labels = point.labels.clone();
            let renamed = rename(&mut labels, QUANTILE);
            self.gather.rename(u64::from(renamed));
            labels.push((QUANTILE.to_owned(), text::double(quantile.quantile)));
            labels.sort();
            let one = Point { labels, target: point.target.clone(), ..*point };
            self.add(&one, "", Worth::Double(quantile.value))?;
        }
        Ok(())
    }

    fn add(&mut self, point: &Point<'_, 'a>, ending: &str, worth: Worth) -> Made {
        if !worth.is_taken() {
            return Err(LeftOut::NoNumber);
        }
        let mut name = format!("{}{ending}", lossy(point.metric.name));
        if name.len() == ending.len() || name.chars().count() > LONGEST_NAME {
            return Err(LeftOut::Name);
        }
        let own_unit = unit::of(&lossy(point.metric.unit));
        let unit = match self.own.units.get(&name) {
            Some((unit, overwrite)) if *overwrite || own_unit.is_none() => Some(*unit),
            _ => own_unit,
        };
        let mut labels = point.labels.clone();
        let renamed = make_unique(&mut name, &mut labels);
        self.gather.rename(renamed);
        let is_high_resolution = point.is_high_resolution;
        let metric = Metric { name, unit, is_high_resolution, worth };
        let target = self.gather.target(point.target.clone());
        let (namespace, millis) = (self.around.namespace.clone(), point.time / 1_000_000);
        let key = (target, namespace, millis, labels);
        let groups = &mut *self.groups;
        if let Some(place) = groups.places.get(&key) {
            groups.all[*place].1.metrics.push(metric);
            return Ok(());
        }
        let (namespace, labels) = (key.1.clone(), key.3.clone());
        groups.places.insert(key, groups.all.len());
        groups.all.push((target, Group { namespace, millis, labels, metrics: vec![metric] }));
        Ok(())
    }
}

/// Members of a document are in one space of names: those of the format first, then the metric's, then
/// those of its labels. A name that is taken gets `_` at its end. How many got one.
fn make_unique(name: &mut String, labels: &mut [(String, String)]) -> u64 {
    let mut renamed = 0;
    if FORMAT.contains(&&**name) {
        name.push('_');
        renamed += 1;
    }
    for taken in FORMAT.into_iter().chain([&**name]) {
        renamed += u64::from(rename(labels, taken));
    }
    renamed
}

/// Gives the label of this name another one; whether there is such a label.
fn rename(labels: &mut [(String, String)], taken: &str) -> bool {
    let Some(place) = labels.iter().position(|(name, _)| name == taken) else { return false };
    let mut name = format!("{taken}_");
    while labels.iter().any(|(other, _)| *other == name) {
        name.push('_');
    }
    labels[place].0 = name;
    labels.sort();
    true
}

/// A difference as a whole number where the total is one.
#[expect(clippy::cast_possible_truncation, reason = "checked: it is whole and small")]
fn whole(total: &Worth, added: f64) -> Worth {
    let is_whole = matches!(total, Worth::Int(_)) && added.abs() < 9e15 && added.fract() == 0.0;
    if is_whole { Worth::Int(added as i64) } else { Worth::Double(added) }
}

fn lossy(text: Text<'_>) -> String {
    String::from_utf8_lossy(text.0).into_owned()
}

fn label(attribute: &KeyValue<'_>) -> (String, String) {
    let value = attribute.value.unwrap_or_default();
    let value = match as_text(value) {
        Some(text) => text.into_owned(),
        None => {
            let mut json = super::super::json::Json::default();
            json.value(value);
            String::from_utf8_lossy(&json.out).into_owned()
        }
    };
    (lossy(attribute.key), value)
}
