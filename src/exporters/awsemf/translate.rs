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
        streams::{Streams, find},
    },
    declare::SCOPE,
    delta::{Series, Step, Times, Totals},
    document::{Form, Group, Metric},
    point::{self, Distribution, Worth},
    unit,
};
use crate::otlp::{
    Content,
    view::{self, Data, KeyValue, Text, Value},
};

/// Attribute that asks for values by the second; it is no label.
const RESOLUTION: &[u8] = b"aws.emf.storage_resolution";
/// A cumulative temporality (OTLP).
const CUMULATIVE: i32 = 2;

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
    /// Points without a value that CloudWatch takes.
    left_out: u64,
}

/// What the points of one resource and scope have in common.
struct Around<'a> {
    resource: Vec<KeyValue<'a>>,
    namespace: String,
    scope: String,
    /// Whether summaries count since the start: those that were scraped do.
    is_scraped: bool,
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
        let mut gather = Gather::default();
        let mut groups = Groups::default();
        for entry in payload.body.iter().flat_map(|segment| view::metrics(segment)) {
            let resource: Vec<KeyValue<'_>> =
                entry.resource.iter().flat_map(view::Resource::attributes).collect();
            let namespace = self.namespace(&resource);
            let receiver = find(resource.iter().copied(), "receiver");
            let is_scraped = receiver.as_deref() == Some("prometheus");
            let mut around = Around { resource, namespace, scope: String::new(), is_scraped };
            for scope in entry.scopes() {
                around.scope = scope.scope.map_or(String::new(), |scope| text(scope.name));
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
        gather.leave_out(groups.left_out);
        for (target, group) in groups.all {
            for document in group.documents(&self.form) {
                let nanos = group.millis * 1_000_000;
                gather.push(target, nanos, LONGEST_MESSAGE, |out| out.extend_from_slice(&document));
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

impl<'a> One<'_, 'a> {
    fn metric(&mut self, metric: &view::Metric<'a>) {
        match metric.data {
            None => {}
            Some(Data::Gauge(points)) => {
                for one in points.iter() {
                    let point = self.point(metric, one.time_unix_nano, 0, one.attributes());
                    self.add(&point, "", point::number(&one));
                }
            }
            Some(Data::Sum { points, temporality, is_monotonic }) => {
                // What goes up and down is of use as it stands.
                let is_total = temporality.0 == CUMULATIVE && is_monotonic;
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    match point::number(&one) {
                        Some(total) if is_total => self.add_number(&point, "", &total),
                        worth => self.add(&point, "", worth),
                    }
                }
            }
            Some(Data::Histogram { points, temporality }) => {
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    let own = Distribution::of(&one);
                    let own = self.step(&point, temporality.0 == CUMULATIVE, own);
                    self.add_all(&point, own.map(|own| vec![own.statistics()]));
                }
            }
            Some(Data::ExponentialHistogram { points, temporality }) => {
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    let own = Distribution::of_exponential(&one);
                    let own = self.step(&point, temporality.0 == CUMULATIVE, own);
                    self.add_all(&point, own.map(|own| own.values()));
                }
            }
            Some(Data::Summary(points)) => {
                for one in points.iter() {
                    let since = one.start_time_unix_nano;
                    let point = self.point(metric, one.time_unix_nano, since, one.attributes());
                    let own = point::summary(&one);
                    let own = self.step(&point, self.around.is_scraped, own);
                    if self.own.is_detailed {
                        self.add_details(&point, own, &one);
                    } else {
                        self.add_all(&point, own.map(|own| vec![own.statistics()]));
                    }
                }
            }
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

    /// A total as what was added to it.
    fn add_number(&mut self, point: &Point<'_, 'a>, ending: &str, total: &Worth) {
        let series = self.series(point, ending);
        match self.totals.number(series, point.times(), point::double(total)) {
            Step::Added(added) => self.add(point, ending, Some(whole(total, added))),
            Step::First(_) if self.own.keeps_first => self.add(point, ending, Some(total.clone())),
            Step::First(_) => {}
            Step::Unknown => self.groups.left_out += 1,
        }
    }

    /// A distribution as what was added to it; none where there is nothing to send, which is counted where
    /// it is a loss.
    fn step(
        &mut self,
        point: &Point<'_, 'a>,
        is_total: bool,
        own: Option<Distribution>,
    ) -> Option<Distribution> {
        let Some(own) = own else {
            self.groups.left_out += 1;
            return None;
        };
        if !is_total {
            return Some(own);
        }
        match self.totals.distribution(self.series(point, ""), point.times(), own) {
            // A statistic set of nothing is none.
            Step::Added(added) => Some(added).filter(|added| added.count > 0),
            Step::First(first) => Some(first).filter(|_| self.own.keeps_first),
            Step::Unknown => {
                self.groups.left_out += 1;
                None
            }
        }
    }

    fn add_all(&mut self, point: &Point<'_, 'a>, all: Option<Vec<Worth>>) {
        for worth in all.into_iter().flatten() {
            self.add(point, "", Some(worth));
        }
    }

    /// A summary as its parts: sum, count, and each quantile under a label of its own.
    fn add_details(
        &mut self,
        point: &Point<'_, 'a>,
        own: Option<Distribution>,
        summary: &view::SummaryPoint<'a>,
    ) {
        let Some(own) = own else { return };
        let count = i64::try_from(own.count).unwrap_or(i64::MAX);
        self.add(point, "_sum", Some(Worth::Double(own.sum)));
        self.add(point, "_count", Some(Worth::Int(count)));
        for quantile in summary.quantile_values() {
            let mut labels = point.labels.clone();
            labels.push(("quantile".to_owned(), quantile.quantile.to_string()));
            labels.sort();
            let one = Point { labels, target: point.target.clone(), ..*point };
            self.add(&one, "", Some(Worth::Double(quantile.value)));
        }
    }

    fn add(&mut self, point: &Point<'_, 'a>, ending: &str, worth: Option<Worth>) {
        let name = format!("{}{ending}", text(point.metric.name));
        let Some(worth) = worth.filter(|_| !name.is_empty()) else {
            self.groups.left_out += 1;
            return;
        };
        let own_unit = unit::of(&text(point.metric.unit));
        let unit = match self.own.units.get(&name) {
            Some((unit, overwrite)) if *overwrite || own_unit.is_none() => Some(*unit),
            _ => own_unit,
        };
        let is_high_resolution = point.is_high_resolution;
        let metric = Metric { name, unit, is_high_resolution, worth };
        let target = self.gather.target(point.target.clone());
        let (namespace, millis) = (self.around.namespace.clone(), point.time / 1_000_000);
        let key = (target, namespace.clone(), millis, point.labels.clone());
        let groups = &mut *self.groups;
        let place = *groups.places.entry(key).or_insert_with(|| {
            let labels = point.labels.clone();
            groups.all.push((target, Group { namespace, millis, labels, metrics: Vec::new() }));
            groups.all.len() - 1
        });
        groups.all[place].1.metrics.push(metric);
    }
}

/// A difference as a whole number where the total is one.
#[expect(clippy::cast_possible_truncation, reason = "checked: it is whole and small")]
fn whole(total: &Worth, added: f64) -> Worth {
    let is_whole = matches!(total, Worth::Int(_)) && added.abs() < 9e15 && added.fract() == 0.0;
    if is_whole { Worth::Int(added as i64) } else { Worth::Double(added) }
}

fn text(text: Text<'_>) -> String {
    String::from_utf8_lossy(text.0).into_owned()
}

fn label(attribute: &KeyValue<'_>) -> (String, String) {
    let value = match attribute.value.unwrap_or_default() {
        Value::String(own) => text(own),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        value => {
            let mut json = super::super::json::Json::default();
            json.value(value);
            String::from_utf8_lossy(&json.out).into_owned()
        }
    };
    (text(attribute.key), value)
}
