//! Data points into groups of the same place, time and labels.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::{
    super::cloudwatch::{
        batch::{Batches, Gather, LONGEST_MESSAGE, Target},
        left_out::LeftOut,
        name::{Named, Of, Template},
        streams::{Streams, as_text, asked, find},
    },
    admission::Admission,
    declare::{Rollup, SCOPE, sets},
    delta::{Series, Step, Times, Totals},
    document::{FORMAT, Form, Group, METRICS, Metric},
    point::{self, Distribution, Worth},
    resource::Chosen,
    unit,
};
use crate::{
    component::{Piece, Work},
    otlp::{
        content::{self, Walk},
        text,
        view::{
            self, Data, ExponentialHistogramPoint, HistogramPoint, KeyValue, Message, NumberPoint,
            Resource, Scope, SummaryPoint, Text, Value,
        },
    },
};

/// Attribute that requests values per second; it does not become a label.
const RESOLUTION: &[u8] = b"aws.emf.storage_resolution";
/// A cumulative temporality (OTLP).
const CUMULATIVE: i32 = 2;
/// Most characters of a metric's name (embedded metric format).
const LONGEST_NAME: usize = 1024;
/// Most bytes of labels from the resource, since many small points share them.
const RESOURCE: usize = 12 << 10;
/// What each of these labels counts for besides its text.
const ATTRIBUTE: usize = 16;
/// Most bytes of the name of a scope; a longer name does not become a dimension.
const SCOPE_NAME: usize = 4096;
/// Most bytes of a unit; all known ones are shorter.
const UNIT: usize = 256;
/// Bytes for a document besides its labels and metrics, for a label and a metric besides their
/// texts, and for a value with its count, from the point to the call, see `cloudwatch/batch.rs`.
const DOCUMENT: usize = 2048;
const LABEL: usize = 256;
const METRIC: usize = 1024;
const VALUE: usize = 256;

/// The label that tells quantiles of a summary apart.
const QUANTILE: &str = "quantile";

/// Where metrics go and what they look like.
#[derive(Debug)]
pub(super) struct Translation {
    /// If empty, it is named after the service.
    pub(super) namespace: String,
    /// `None`: `/metrics/` and the namespace.
    pub(super) group: Option<Template>,
    pub(super) stream: Template,
    pub(super) resource: Option<Chosen>,
    pub(super) is_detailed: bool,
    pub(super) keeps_first: bool,
    /// Units by metric, and whether they replace the metric's own unit.
    pub(super) units: HashMap<String, (&'static str, bool)>,
    pub(super) form: Form,
    pub(super) streams: Streams,
}

/// The key of a group.
type Key = (usize, String, u64, Vec<(String, String)>);

/// Groups in the making.
#[derive(Default)]
struct Groups {
    all: Vec<(usize, Group)>,
    places: HashMap<Key, usize, RandomState>,
    /// Bytes that they take, and the documents made of them.
    held: usize,
}

/// What the points of one resource and scope share.
struct Around<'a> {
    /// Attributes for the names of groups and streams.
    resource: Vec<KeyValue<'a>>,
    /// Attributes that become labels.
    labels: Vec<(String, String)>,
    namespace: String,
    scope: String,
    is_short: bool,
}

impl Around<'_> {
    fn set_scope(&mut self, scope: Option<Scope<'_>>) {
        let name = scope.map_or(&[][..], |scope| scope.name.0);
        self.scope = lossy(Text(&name[..name.len().min(SCOPE_NAME)]));
    }

    /// Adds attributes of the resource as labels, as many as there is room for.
    fn set_labels(&mut self, chosen: &Chosen, resource: Option<Resource<'_>>) {
        let mut left = RESOURCE;
        let attributes = resource.iter().flat_map(Resource::attributes);
        for attribute in attributes.filter(|attribute| chosen.takes(attribute.key.0)) {
            let label = label(&attribute, left);
            let fits = label.and_then(|label| {
                left = left.checked_sub(label.0.len() + label.1.len() + ATTRIBUTE)?;
                Some(label)
            });
            self.is_short |= fits.is_none();
            self.labels.extend(fits);
        }
    }
}

/// A point on its way into a group.
struct Point<'p, 'a> {
    metric: &'p view::Metric<'a>,
    time: u64,
    since: u64,
    labels: Vec<(String, String)>,
    target: Target,
    is_high_resolution: bool,
    /// Bytes of a document with its labels, and bytes of its dimensions among them.
    weights: [usize; 2],
}

impl Point<'_, '_> {
    fn times(&self) -> Times {
        Times { since: self.since, at: self.time }
    }
}

impl Translation {
    /// The next documents by stream, as many as have room; `now` is in nanoseconds since 1970.
    pub(super) fn piece(
        &self,
        work: &Work<'_>,
        totals: &mut Totals,
        now: u64,
        admits: Option<&Admission>,
    ) -> Piece<Arc<Batches>> {
        let mut gather = Gather::within(work.room);
        let mut groups = Groups::default();
        let mut walk = work.walk();
        let (mut around, mut metric) = (None, None);
        while let Some(step) = walk.next() {
            match step {
                content::Step::Resource => around = None,
                content::Step::Scope => {
                    if let Some(around) = &mut around {
                        Around::set_scope(around, walk.scope());
                    }
                }
                content::Step::Metric(next) => metric = Some(next),
                content::Step::Item(point) => {
                    let around = &*around.get_or_insert_with(|| self.around(&walk));
                    let Some(metric) = metric.or_else(|| walk.metric()) else { continue };
                    let (gather, groups) = (&mut gather, &mut groups);
                    let totals = &mut *totals;
                    let mut one =
                        One { own: self, around, gather, groups, totals, now, is_full: false };
                    if !one.item(&metric, point) {
                        walk.put_back();
                        break;
                    }
                }
            }
        }
        for (target, group) in groups.all {
            for document in group.documents(&self.form, admits) {
                let nanos = group.millis * 1_000_000;
                let fits = |text: Vec<u8>| gather.push_whole(target, nanos, &text);
                if !document.is_some_and(fits) {
                    gather.leave_out(LeftOut::TooLarge);
                } else if group.is_short {
                    gather.shorten();
                }
            }
        }
        gather.finish(work, &walk)
    }

    fn around<'a>(&self, walk: &Walk<'a>) -> Around<'a> {
        let is_asked = |key: &[u8]| {
            matches!(key, b"service.name" | b"service.namespace")
                || self.stream.asks(key)
                || self.group.as_ref().is_some_and(|group| group.asks(key))
        };
        let resource = asked(walk.resource(), is_asked);
        let namespace = self.namespace(&resource);
        let (labels, scope) = (Vec::new(), String::new());
        let mut around = Around { resource, labels, namespace, scope, is_short: false };
        if let Some(chosen) = &self.resource {
            around.set_labels(chosen, walk.resource());
        }
        around.set_scope(walk.scope());
        around
    }

    /// The group of points without a resource.
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
    /// Whether the point has to wait for more room.
    is_full: bool,
}

/// The result for a point.
type Made<T = ()> = Result<T, LeftOut>;

impl<'a> One<'_, 'a> {
    /// Translates a point. Returns false, and changes nothing, if there is no room for it.
    fn item(&mut self, metric: &view::Metric<'a>, point: Message<'a>) -> bool {
        let made = self.make(metric, point);
        if let Err(reason) = made
            && !self.is_full
        {
            self.gather.leave_out(reason);
        }
        !self.is_full
    }

    fn make(&mut self, metric: &view::Metric<'a>, point: Message<'a>) -> Made {
        match metric.data {
            None => Ok(()),
            Some(Data::Gauge(_)) => {
                let one = NumberPoint::from(point);
                let point = self.point(metric, [one.time_unix_nano, 0], one.attributes(), 1)?;
                self.number(&point, &one, false)
            }
            Some(Data::Sum { temporality, is_monotonic, .. }) => {
                let one = NumberPoint::from(point);
                // A value that goes up and down is useful as it is.
                let is_total = temporality.0 == CUMULATIVE && is_monotonic;
                let times = [one.time_unix_nano, one.start_time_unix_nano];
                let point = self.point(metric, times, one.attributes(), 1)?;
                self.number(&point, &one, is_total)
            }
            Some(Data::Histogram { temporality, .. }) => {
                let one = HistogramPoint::from(point);
                let times = [one.time_unix_nano, one.start_time_unix_nano];
                let point = self.point(metric, times, one.attributes(), 1)?;
                let own = Distribution::of(&one);
                let own = self.step(&point, temporality.0 == CUMULATIVE, own)?;
                self.add_statistics(&point, &own)
            }
            Some(Data::ExponentialHistogram { temporality, .. }) => {
                let one = ExponentialHistogramPoint::from(point);
                let times = [one.time_unix_nano, one.start_time_unix_nano];
                let own = Distribution::of_exponential(&one);
                let documents = own.as_ref().map_or(1, Distribution::parts);
                let point = self.point(metric, times, one.attributes(), documents)?;
                let own = self.step(&point, temporality.0 == CUMULATIVE, own)?;
                self.add_values(&point, &own)
            }
            Some(Data::Summary(_)) => {
                let one = SummaryPoint::from(point);
                let times = [one.time_unix_nano, one.start_time_unix_nano];
                let quantiles =
                    if self.own.is_detailed { one.quantile_values().count() } else { 0 };
                let point = self.point(metric, times, one.attributes(), 2 + quantiles)?;
                // It has no temporality: count and sum are totals (OTLP, `metrics.proto`).
                let own = self.step(&point, true, Distribution::of_summary(&one))?;
                if self.own.is_detailed {
                    self.add_details(&point, &own, &one)
                } else {
                    self.add_statistics(&point, &own)
                }
            }
        }
    }

    /// A point with its labels, if there is room for its documents. Nothing of it is remembered
    /// before.
    fn point<'p>(
        &mut self,
        metric: &'p view::Metric<'a>,
        [time, since]: [u64; 2],
        attributes: impl Iterator<Item = KeyValue<'a>>,
        documents: usize,
    ) -> Made<Point<'p, 'a>> {
        if metric.name.0.len() > 4 * LONGEST_NAME {
            return Err(LeftOut::Name);
        }
        let mut labels = BTreeMap::new();
        if !self.around.scope.is_empty() {
            labels.insert(SCOPE.to_owned(), self.around.scope.clone());
        }
        labels.extend(self.around.labels.iter().cloned());
        let mut is_high_resolution = false;
        // It is copied while the point is made.
        let mut left = (self.gather.room() / 16).min(LONGEST_MESSAGE);
        for attribute in attributes {
            if attribute.key.0 == RESOLUTION {
                is_high_resolution = matches!(attribute.value, Some(Value::Int(1)))
                    || label(&attribute, UNIT).is_some_and(|(_, value)| value == "1");
                continue;
            }
            let (name, value) = label(&attribute, left).ok_or(LeftOut::TooLarge)?;
            left = left.checked_sub(name.len() + value.len()).ok_or(LeftOut::TooLarge)?;
            labels.insert(name, value);
        }
        let time = if time == 0 { self.now } else { time };
        let labels: Vec<(String, String)> = labels.into_iter().collect();
        let weights = self.weights(&lossy(metric.name), &labels);
        let each = weights[0] + 2 * weight(metric.name.0) + METRIC + VALUE * point::VALUES;
        if each.saturating_mul(documents) > self.gather.left().saturating_sub(self.groups.held) {
            self.is_full = !self.groups.all.is_empty();
            return Err(LeftOut::TooLarge);
        }
        let target = self.own.target(self.around, &labels);
        Ok(Point { metric, time, since, labels, target, is_high_resolution, weights })
    }

    /// What a document with these labels takes, and what the dimensions of one more metric take.
    fn weights(&self, name: &str, labels: &[(String, String)]) -> [usize; 2] {
        let form = &self.own.form;
        let names: usize = labels.iter().map(|(name, _)| weight(name.as_bytes())).sum();
        let values: usize = labels.iter().map(|(_, value)| weight(value.as_bytes())).sum();
        let mut dimensions = weight(self.around.namespace.as_bytes()) + METRIC;
        if form.declarations.is_empty() && form.rollup == Rollup::None {
            dimensions += names;
        } else {
            let sets = sets(name, labels, &form.declarations, form.rollup, &form.parsed);
            let set = |set: &Vec<String>| {
                LABEL + set.iter().map(|name| weight(name.as_bytes())).sum::<usize>()
            };
            dimensions += sets.iter().map(set).sum::<usize>();
        }
        let document = DOCUMENT + names + values + labels.len() * LABEL + dimensions;
        // Without declarations all metrics of a document have the same.
        [document, if form.declarations.is_empty() { 0 } else { dimensions }]
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
        // If nothing was observed, a quantile is not a number.
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
        let unit = point.metric.unit.0;
        let own_unit = unit::of(&lossy(Text(&unit[..unit.len().min(UNIT)])));
        let unit = match self.own.units.get(&name) {
            Some((unit, overwrite)) if *overwrite || own_unit.is_none() => Some(*unit),
            _ => own_unit,
        };
        let mut labels = point.labels.clone();
        let renamed = make_unique(&mut name, &mut labels);
        self.gather.rename(renamed);
        let is_high_resolution = point.is_high_resolution;
        let values = if let Worth::Values(_, values) = &worth { values.len() } else { 0 };
        let own = 2 * weight(name.as_bytes()) + METRIC + VALUE * values;
        let metric = Metric { name, unit, is_high_resolution, worth };
        let target = self.gather.target(point.target.clone());
        let (namespace, millis) = (self.around.namespace.clone(), point.time / 1_000_000);
        let key = (target, namespace, millis, labels);
        let groups = &mut *self.groups;
        let [document, dimensions] = point.weights;
        if let Some(place) = groups.places.get(&key) {
            let metrics = &mut groups.all[*place].1.metrics;
            // It may begin another document.
            let last = &metrics[metrics.len() - metrics.len() % METRICS..];
            let is_next = last.is_empty() || last.iter().any(|other| other.name == metric.name);
            groups.held += own + if is_next { document } else { dimensions };
            metrics.push(metric);
            return Ok(());
        }
        groups.held += own + document;
        let (namespace, labels) = (key.1.clone(), key.3.clone());
        groups.places.insert(key, groups.all.len());
        let (metrics, is_short) = (vec![metric], self.around.is_short);
        groups.all.push((target, Group { namespace, millis, labels, metrics, is_short }));
        Ok(())
    }
}

/// Members of a document are in one space of names: those of the format first, then the metric's,
/// then those of its labels. A name that is taken gets `_` at its end. How many got one.
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

/// What text takes from a label to the call: copies, and in those of JSON its escapes.
fn weight(text: &[u8]) -> usize {
    let escapes = |byte: &u8| match byte {
        b'"' | b'\\' => 8,
        0..0x20 => 22,
        _ => 0,
    };
    6 * text.len() + 24 + text.iter().map(escapes).sum::<usize>()
}

/// Name and value as text; `None` if one of them is longer than `most`.
fn label(attribute: &KeyValue<'_>, most: usize) -> Option<(String, String)> {
    let value = attribute.value.unwrap_or_default();
    let len = if let Value::String(Text(text)) = value { text.len() } else { 0 };
    if attribute.key.0.len().max(len) > most {
        return None;
    }
    let value = if let Some(text) = as_text(value) {
        text.into_owned()
    } else {
        let mut json = super::super::json::Json::default().at_most(most);
        json.value(value);
        if json.is_over() {
            return None;
        }
        String::from_utf8_lossy(&json.out).into_owned()
    };
    Some((lossy(attribute.key), value))
}
