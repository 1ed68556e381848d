//! Counts and sums per request: what `count` and `sum` share. Items of one kind are looked at with
//! conditions; those that match are added up by the values of attributes; each resource that has
//! some becomes a resource of the metrics that are emitted.
//!
//! Nothing is kept from one request to the next, so every worker has a replica, and metrics carry
//! the receipts of the request that they were made of: its sender learns what becomes of them.

mod settings;

use std::{borrow::Cow, time::Instant};

pub(super) use self::settings::{Attribute, Definition, SECTIONS, Scalar, check};
use super::{
    attributes::{Values, Wanted, any_text, plain_text},
    metrics::{
        Attributes, Head, Number, Parts, SUM_POINT, Temporality, Times, put_metric, put_resource,
        put_sum_point, unix_nanos,
    },
    payloads::{made_of, purse_for, reserve},
    series::{New, OVERFLOW, Table},
};
use crate::{
    component::{BuildContext, Kind, Needs, Output, Processor, StartError},
    otlp::{
        Payload, Signal,
        payload::{Outcome, Reason},
        purse::Purse,
        splice::messages,
        view::{Message, Value},
        wire::{FieldValue, Fields, put_varint},
    },
    ottl::{Context, ErrorMode, Fate, Item, Stop, Tier, Walk, walk},
    statements::{self, Runner, Source},
    telemetry::{Counter, Desc},
};

pub(super) const REFUSED: Desc = Desc::new(
    "skep_connector_refused_items",
    "{item}",
    "Items of requests that a connector could not take for lack of memory",
);

/// The definitions of a signal, compiled.
pub(super) struct Tally {
    scope: &'static str,
    limit: usize,
    groups: Vec<Group>,
    overflow: Counter,
    refused: Counter,
}

/// The metrics about items of one kind.
struct Group {
    context: Context,
    /// What the metrics are split by.
    labels: Wanted,
    /// What they sum up.
    sources: Wanted,
    metrics: Vec<Metric>,
    /// For the key of a series.
    key: Vec<u8>,
}

/// Key, position among the labels, and default.
type Label = (Box<[u8]>, usize, Option<Vec<u8>>);

struct Metric {
    name: String,
    description: String,
    runner: Option<Runner>,
    labels: Vec<Label>,
    /// Position among the sources of what is summed up; `None` to count.
    source: Option<usize>,
    /// Whether labels keep the type of a number.
    keeps_numbers: bool,
    /// What the resource at hand has.
    table: Table<Added>,
    /// Stands for all times of its series, which do not expire.
    started: Instant,
}

/// What is added up in one series.
#[derive(Debug, Clone, Copy)]
struct Added {
    count: u64,
    sum: f64,
    times: Times,
}

impl Tally {
    /// Compiles the definitions that are about a signal.
    pub(super) fn new(
        scope: &'static str,
        limit: usize,
        definitions: &[Definition<'_>],
        cx: &BuildContext,
    ) -> Result<Self, StartError> {
        let mut groups: Vec<Group> = Vec::new();
        for definition in definitions.iter().filter(|it| it.section.signal == cx.signal) {
            let context = definition.section.context;
            if groups.last().is_none_or(|group| group.context != context) {
                let (labels, sources) = (Wanted::default(), Wanted::default());
                groups.push(Group {
                    context,
                    labels,
                    sources,
                    metrics: Vec::new(),
                    key: Vec::new(),
                });
            }
            let Some(group) = groups.last_mut() else { continue };
            let metric = group.metric(definition, limit, cx)?;
            group.metrics.push(metric);
        }
        let meter = cx.metrics("connector");
        Ok(Tally {
            scope,
            limit,
            groups,
            overflow: meter.counter(&OVERFLOW, &[]),
            refused: meter.counter(&REFUSED, &[]),
        })
    }

    /// Adds the metrics of all resources of a payload to `out`.
    fn metrics(
        &mut self,
        payload: &Payload,
        purse: &mut Purse,
        out: &mut Vec<u8>,
    ) -> Result<u64, Reason> {
        let mut points = 0;
        for segment in &payload.body {
            for entry in messages(segment, &[1]) {
                let how = |context| Walk {
                    signal: payload.signal,
                    context,
                    request: payload.context.as_deref(),
                    prunes: false,
                };
                for group in &mut self.groups {
                    self.overflow.add(group.add(&how(group.context), entry.whole, purse)?);
                }
                points += self.put(entry.bytes(), purse, out)?;
            }
        }
        Ok(points)
    }

    /// Appends the resource with its metrics, if there are some, and forgets them.
    fn put(&mut self, entry: &[u8], purse: &mut Purse, out: &mut Vec<u8>) -> Result<u64, Reason> {
        let all = || self.groups.iter().flat_map(|group| &group.metrics);
        let points: usize = all().map(|metric| metric.table.len()).sum();
        if points == 0 {
            return Ok(0);
        }
        let resource: Parts<'_> = messages(entry, &[1]).map(|field| field.bytes()).collect();
        let size = |metric: &Metric| {
            metric.head().encoded_size()
                + metric.table.attributes()
                + metric.table.len() * (SUM_POINT + 8)
        };
        let size = 64
            + resource.iter().map(|part| part.len() + 8).sum::<usize>()
            + all().map(size).sum::<usize>();
        reserve(out, size, purse)?;
        put_resource(out, &resource, self.scope, |out| {
            all().filter(|metric| !metric.table.is_empty()).for_each(|metric| metric.put(out));
        });
        for metric in self.groups.iter_mut().flat_map(|group| &mut group.metrics) {
            if !metric.table.is_empty() {
                metric.table = Table::new(self.limit);
            }
        }
        Ok(points as u64)
    }
}

impl Processor for Tally {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        let (mut purse, mut body) = (purse_for(&payload), Vec::new());
        let result = self.metrics(&payload, &mut purse, &mut body);
        for metric in self.groups.iter_mut().flat_map(|group| &mut group.metrics) {
            metric.runner.iter_mut().for_each(Runner::flush);
            if result.is_err() {
                metric.table = Table::new(self.limit);
            }
        }
        match result {
            Err(reason) => {
                self.refused.add(payload.items);
                out.refuse(payload, reason);
            }
            Ok(points) => {
                if points > 0 {
                    out.emit(made_of(&payload, Signal::Metrics, body, points, purse));
                }
                payload.finish(Outcome::Delivered);
            }
        }
    }
}

impl Group {
    fn metric(
        &mut self,
        definition: &Definition<'_>,
        limit: usize,
        cx: &BuildContext,
    ) -> Result<Metric, StartError> {
        let runner = match definition.source() {
            Some(source) => Some(source.runner(cx, Kind::Connector)?),
            None => None,
        };
        let keeps_numbers = definition.sums.is_none();
        let labels = definition.attributes.iter().map(|attribute| {
            let key = attribute.key.as_bytes().into();
            let default = attribute.default_value.as_ref().map(Scalar::any);
            (key, self.labels.add(&attribute.key), default)
        });
        Ok(Metric {
            name: definition.name.to_owned(),
            description: definition.description.to_owned(),
            runner,
            labels: labels.collect(),
            source: definition.sums.map(|key| self.sources.add(key)),
            keeps_numbers,
            table: Table::new(limit),
            started: Instant::now(),
        })
    }

    /// Adds up the items of a resource entry. Returns how many went into the series of what has no
    /// room.
    fn add(&mut self, how: &Walk<'_>, entry: &[u8], purse: &mut Purse) -> Result<u64, Reason> {
        let (mut over, mut refused) = (0, None);
        let mut own = Purse::default();
        let mut around = [Around::default(), Around::default()];
        let walked = walk(how, entry, &mut own, &mut |item| {
            if refused.is_none() {
                match self.add_item(item, &mut around, purse) {
                    Ok(more) => over += more,
                    Err(reason) => refused = Some(reason),
                }
            }
            Ok(Fate::Keep)
        });
        match (walked, refused) {
            (Err(Stop::Refused(reason)), _) | (_, Some(reason)) => Err(reason),
            _ => Ok(over),
        }
    }

    fn add_item(
        &mut self,
        item: &Item<'_>,
        [scope, resource]: &mut [Around; 2],
        purse: &mut Purse,
    ) -> Result<u64, Reason> {
        let (message, number) = message(item, self.context);
        let (mut labels, mut sources) = (self.labels.none(), self.sources.none());
        let times = read(
            message,
            self.context,
            |attribute| {
                self.labels.note(attribute, &mut labels);
                self.sources.note(attribute, &mut sources);
            },
            number,
        );
        if labels.iter().any(Option::is_none) {
            let scope = scope.labels(item.bytes(Tier::Scope), 3, &self.labels);
            let resource = resource.labels(item.bytes(Tier::Resource), 1, &self.labels);
            for (label, (near, far)) in labels.iter_mut().zip(scope.iter().zip(resource)) {
                let other = || near.as_deref().or(far.as_deref()).map(Cow::Borrowed);
                *label = label.take().or_else(other);
            }
        }
        let (mut over, mut key) = (0, std::mem::take(&mut self.key));
        let mut refused = None;
        for metric in &mut self.metrics {
            key.clear();
            match metric.add(item, times, (&labels, &sources), &mut key, purse) {
                Ok(is_over) => over += u64::from(is_over),
                Err(reason) => refused = Some(reason),
            }
        }
        self.key = key;
        refused.map_or(Ok(over), Err)
    }
}

/// The labels that a scope or a resource has. They are looked up once for all of its items: it may
/// have megabytes of attributes, and thousands of items.
#[derive(Debug, Default)]
struct Around {
    /// Address and length of the message; both are of one request entry, which stays where it is.
    owner: (usize, usize),
    labels: Vec<Option<Vec<u8>>>,
}

impl Around {
    fn labels(&mut self, owner: &[u8], number: u32, wanted: &Wanted) -> &[Option<Vec<u8>>] {
        let identity = (owner.as_ptr() as usize, owner.len());
        if self.owner != identity {
            let found = wanted.among(&[owner], number);
            self.labels = found.into_iter().map(|value| value.map(Cow::into_owned)).collect();
            self.owner = identity;
        }
        &self.labels
    }
}

impl Metric {
    fn head(&self) -> Head<'_> {
        Head { name: &self.name, description: &self.description, unit: "" }
    }

    /// Adds an item if it has all labels and a condition holds. Returns whether its series has no
    /// room.
    fn add(
        &mut self,
        item: &Item<'_>,
        times: Times,
        (labels, sources): (&Values<'_>, &Values<'_>),
        key: &mut Vec<u8>,
        purse: &mut Purse,
    ) -> Result<bool, Reason> {
        let more = match self.source {
            None => 0.0,
            Some(at) => match sources.get(at).and_then(|any| number(any.as_deref()?)) {
                Some(number) => number,
                None => return Ok(false),
            },
        };
        for (_, at, default) in &self.labels {
            let Some(any) = labels.get(*at).and_then(|any| any.as_deref()) else {
                let Some(default) = default else { return Ok(false) };
                put_any(key, default);
                continue;
            };
            match label(any, self.keeps_numbers) {
                Some(text) => put_any(key, &text),
                None => put_any(key, any),
            }
        }
        if let Some(runner) = &mut self.runner {
            // With `ignore`, a condition that fails does not hold.
            if !runner.matches(item).unwrap_or(false) {
                return Ok(false);
            }
        }
        let names = &self.labels;
        let attributes = || attributes(names.iter().map(|(key, ..)| &**key), key);
        let new = New { size: 0, purse, attributes };
        let none = || Added { count: 0, sum: 0.0, times: Times { start: u64::MAX, end: 0 } };
        let found = self.table.get(key, self.started, new, none)?;
        found.value.count += 1;
        found.value.sum += more;
        found.value.add_times(times);
        Ok(found.is_overflow)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let now = unix_nanos();
        put_metric(out, self.head(), 7, Temporality::Delta, |out| {
            for series in self.table.iter() {
                let Added { count, sum, times } = series.value;
                let value =
                    if self.source.is_some() { Number::Double(sum) } else { Number::Int(count) };
                let times = match times {
                    Times { end: 0, .. } => Times { start: 0, end: now },
                    Times { start: u64::MAX, end } => Times { start: 0, end },
                    times => times,
                };
                put_sum_point(out, times, value, &series.attributes, &[]);
            }
        });
    }
}

impl Added {
    fn add_times(&mut self, times: Times) {
        if times.start != 0 {
            self.times.start = self.times.start.min(times.start);
        }
        self.times.end = self.times.end.max(times.end);
    }
}

/// Appends an `AnyValue` behind its length.
fn put_any(key: &mut Vec<u8>, any: &[u8]) {
    put_varint(key, any.len() as u64);
    key.extend_from_slice(any);
}

/// Attributes of these names with the values of a key.
fn attributes<'k>(names: impl Iterator<Item = &'k [u8]>, key: &[u8]) -> Attributes {
    let (mut attributes, mut rest) = (Attributes::default(), key);
    for name in names {
        let Ok((len, after)) = crate::otlp::wire::varint(rest) else { break };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some((any, after)) = after.split_at_checked(len) else { break };
        attributes.push(name, any);
        rest = after;
    }
    attributes
}

/// A value as a label, if it is not one as it is: numbers may stay numbers, anything else is text.
fn label(any: &[u8], keeps_numbers: bool) -> Option<Vec<u8>> {
    match Value::from(Message::new(any)) {
        Value::String(_) => None,
        Value::Int(_) | Value::Double(_) if keeps_numbers => None,
        _ => Some(any_text(&plain_text(any))),
    }
}

/// A value as a number; `None` if it is none.
#[expect(clippy::cast_precision_loss, reason = "sums are doubles")]
fn number(any: &[u8]) -> Option<f64> {
    match Value::from(Message::new(any)) {
        Value::Int(int) => Some(int as f64),
        Value::Double(double) => Some(double),
        Value::String(text) => text.to_str().trim().parse().ok(),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// The message of an item, and the field of its attributes.
fn message<'i>(item: &'i Item<'_>, context: Context) -> (&'i [u8], u32) {
    match context {
        Context::Span => (item.bytes(Tier::Item), 9),
        Context::SpanEvent => (item.bytes(Tier::Child), 3),
        Context::Log => (item.bytes(Tier::Item), 6),
        Context::DataPoint => {
            let fields = Fields::new(item.bytes(Tier::Item)).map_while(Result::ok);
            let kind = fields.map(|field| field.number).filter(|it| matches!(it, 5 | 7 | 9..=11));
            let attributes = match kind.last() {
                Some(9) => 9,
                Some(10) => 1,
                _ => 7,
            };
            (item.bytes(Tier::Child), attributes)
        }
        _ => (&[], 0),
    }
}

/// Reads the times of an item and shows its attributes, which are in the field `number`.
fn read<'i>(
    message: &'i [u8],
    context: Context,
    mut attribute: impl FnMut(&'i [u8]),
    number: u32,
) -> Times {
    let (first, last) = match context {
        Context::Span => (7, 8),
        Context::DataPoint => (2, 3),
        _ => (1, 1),
    };
    let (mut times, mut observed) = (Times { start: 0, end: 0 }, 0);
    for field in Fields::new(message).map_while(Result::ok) {
        match field.value {
            FieldValue::Len(one) if field.number == number => attribute(one),
            FieldValue::Fixed64(time) => {
                if field.number == first {
                    times.start = time;
                }
                if field.number == last {
                    times.end = time;
                }
                if field.number == 11 && context == Context::Log {
                    observed = time;
                }
            }
            _ => {}
        }
    }
    if times.end == 0 {
        times = Times { start: observed, end: observed };
    }
    times
}

/// The mode in which conditions run: the Collector refuses the request, which would make its
/// sender repeat what other pipelines have taken.
const MODE: ErrorMode = ErrorMode::Ignore;

/// What the conditions of some definitions need.
pub(super) fn needs(definitions: &[Definition<'_>]) -> Needs<'static> {
    let sources: Vec<Source<'_>> = definitions.iter().filter_map(Definition::source).collect();
    statements::needs(&sources)
}

impl<'c> Definition<'c> {
    /// Its conditions; `None` if it has none.
    fn source(&self) -> Option<Source<'c>> {
        let conditions = self.conditions();
        let (signal, context) = (self.section.signal, Some(self.section.context));
        let statements = Vec::new();
        (!conditions.is_empty()).then_some(Source {
            signal,
            context,
            conditions,
            statements,
            mode: MODE,
        })
    }
}
