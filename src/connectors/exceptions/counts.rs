//! Counts exceptions and flushes the counts.

use std::{borrow::Cow, time::Instant};

use super::{
    Plan,
    records::{exceptions, has_exception, is_exception, time_of},
};
use crate::{
    component::{BuildContext, Output, Processor},
    connectors::{
        attributes::{Found, contents, cut},
        metrics::{
            Attributes, Exemplar, Head, Number, Parts, SUM_POINT, Temporality, Times, put_metric,
            put_resource, put_sum_point, unix_nanos,
        },
        names,
        payloads::{account_of, reserve},
        series::{New, OVERFLOW, SERIES, Table},
    },
    otlp::{
        Payload, Signal,
        digest::{self, Digest},
        payload::{Outcome, Permit},
        purse::Purse,
        splice::messages,
        wire::put_varint,
    },
    telemetry::{Counter, Gauge},
};

/// The metric and its scope, as the Collector has them.
const METRIC: Head<'_> = Head::named("exceptions");
const SCOPE: &str = "exceptionsconnector";

#[derive(Debug)]
struct Counted {
    count: u64,
    exemplars: Vec<Exemplar>,
}

/// The connector to metrics.
pub(super) struct Counts {
    plan: Plan,
    table: Table<Counted>,
    purse: Purse,
    /// Draws on the budget; `None` until something came.
    account: Option<Permit>,
    due: Option<Instant>,
    key: Vec<u8>,
    overflow: Counter,
    series: Gauge,
}

/// What is known of an exception.
struct Exception<'e, 'a> {
    /// Its span; `None` if it is a log record.
    span: Option<&'e Digest<'a>>,
    /// Attributes of the span or record, of the event, of the resource.
    values: [&'e Found<'a>; 3],
    exemplar: Option<Exemplar>,
}

impl Counts {
    pub(super) fn new(plan: Plan, cx: &BuildContext) -> Self {
        let meter = cx.metrics("connector");
        Counts {
            table: Table::new(plan.limit),
            plan,
            purse: Purse::default(),
            account: None,
            due: None,
            key: Vec::new(),
            overflow: meter.counter(&OVERFLOW, &[]),
            series: meter.gauge(&SERIES, &[]),
        }
    }

    /// Counts the exceptions of a resource entry. Returns how many went into the series of what has
    /// no room.
    fn entry(&mut self, signal: Signal, entry: &[u8], now: Instant) -> u64 {
        let parts: Parts<'_> = messages(entry, &[1]).map(|field| field.bytes()).collect();
        let resource = self.plan.wanted.among(&parts, 1);
        if resource.get(self.plan.service).is_none_or(Option::is_none) {
            return 0;
        }
        let mut over = 0;
        for scope in digest::spans(entry) {
            for item in digest::spans(scope.inner) {
                over += match signal {
                    Signal::Traces => self.span(item.inner, &resource, now),
                    _ => self.record(item.inner, &resource, now),
                };
            }
        }
        over
    }

    fn span(&mut self, span: &[u8], resource: &Found<'_>, now: Instant) -> u64 {
        if !has_exception(span) {
            return 0;
        }
        let mut values = self.plan.wanted.none();
        let digest = Digest::read(span, |attribute| self.plan.wanted.note(attribute, &mut values));
        let mut over = 0;
        for event in exceptions(span) {
            let of_event = self.plan.wanted.among(&[event], 3);
            let time = time_of(event);
            let exemplar = Exemplar::of(digest.trace_id, digest.span_id, time, 1.0);
            let values: [&Found<'_>; 3] = [&values, &of_event, resource];
            over += self.add(&Exception { span: Some(&digest), values, exemplar }, now);
        }
        over
    }

    fn record(&mut self, record: &[u8], resource: &Found<'_>, now: Instant) -> u64 {
        if !is_exception(record) {
            return 0;
        }
        let values = self.plan.wanted.among(&[record], 6);
        let field = |number| contents(record, number).last().unwrap_or_default();
        let exemplar = Exemplar::of(field(9), field(10), time_of(record), 1.0);
        self.add(&Exception { span: None, values: [&values[..], &[], resource], exemplar }, now)
    }

    fn add(&mut self, exception: &Exception<'_, '_>, now: Instant) -> u64 {
        let Counts { plan, table, purse, key, .. } = self;
        exception.write_key(plan, key);
        let attributes = || exception.attributes(plan);
        let new = New { size: plan.exemplars * size_of::<Exemplar>(), purse, attributes };
        let none = || Counted { count: 0, exemplars: Vec::with_capacity(plan.exemplars) };
        let Ok(found) = table.get(key, now, new, none) else { return 1 };
        found.value.count += 1;
        if let Some(exemplar) = exception.exemplar
            && found.value.exemplars.len() < plan.exemplars
        {
            found.value.exemplars.push(exemplar);
        }
        u64::from(found.is_overflow)
    }

    fn flush(&mut self, out: &mut Output) {
        self.series.set(self.table.len() as u64);
        if self.table.is_empty() {
            return;
        }
        let size = 256
            + self.table.attributes()
            + self.table.len() * (SUM_POINT + 10 + self.plan.exemplars * Exemplar::ENCODED);
        let (mut body, mut purse) = (Vec::new(), Purse::new(self.account.as_ref(), 0));
        // Without room, the counts go out with the next flush.
        if reserve(&mut body, size, &mut purse).is_err() {
            return;
        }
        let now = unix_nanos();
        put_resource(&mut body, &[], SCOPE, |out| {
            put_metric(out, METRIC, 7, Temporality::Cumulative, |out| {
                for series in self.table.iter() {
                    let times = Times { start: series.start, end: now };
                    let Counted { count, exemplars } = &series.value;
                    let number = Number::Int(*count);
                    put_sum_point(out, times, number, &series.attributes, exemplars);
                }
            });
        });
        self.table.iter_mut().for_each(|series| series.value.exemplars.clear());
        let items = self.table.len() as u64;
        out.emit(Payload::new(Signal::Metrics, body.into(), items, purse.into_permits()));
    }
}

impl Exception<'_, '_> {
    fn value<'e>(&'e self, plan: &'e Plan, index: usize) -> Option<&'e [u8]> {
        let dimension = plan.dimensions.get(index)?;
        let found = self.values.iter().find_map(|values| values.get(dimension.at)?.as_deref());
        found.or(dimension.default.as_deref())
    }

    fn service(&self, plan: &Plan) -> &[u8] {
        let [.., resource] = self.values;
        resource.get(plan.service).and_then(Option::as_ref).map_or(&[], Cow::as_ref)
    }

    fn write_key(&self, plan: &Plan, key: &mut Vec<u8>) {
        key.clear();
        // One more than a length, so that none is something else than an empty one.
        let mut put = |bytes: Option<&[u8]>| {
            put_varint(key, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
            key.extend_from_slice(bytes.unwrap_or_default());
        };
        put(Some(self.service(plan)));
        put(self.span.map(|span| cut(span.name)));
        put(self.span.map(|span| names::kind(span.kind).as_bytes()));
        put(self.span.map(|span| names::status(span.status_code).as_bytes()));
        (0..plan.dimensions.len()).for_each(|index| put(self.value(plan, index)));
    }

    fn attributes(&self, plan: &Plan) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.push(b"service.name", self.service(plan));
        if let Some(span) = self.span {
            attributes.push_text(b"span.name", cut(span.name));
            attributes.push_text(b"span.kind", names::kind(span.kind).as_bytes());
            attributes.push_text(b"status.code", names::status(span.status_code).as_bytes());
        }
        for (index, dimension) in plan.dimensions.iter().enumerate() {
            if let Some(any) = self.value(plan, index) {
                attributes.push(&dimension.key, any);
            }
        }
        attributes
    }
}

impl Processor for Counts {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if self.account.is_none() {
            self.account = account_of(&payload);
            self.purse = Purse::new(self.account.as_ref(), 0);
        }
        let mut over = 0;
        for segment in &payload.body {
            for entry in messages(segment, &[1]) {
                over += self.entry(payload.signal, entry.bytes(), out.now);
            }
        }
        if over > 0 {
            self.overflow.add(over);
        }
        if self.due.is_none() && !self.table.is_empty() {
            self.due = Some(out.now + self.plan.interval);
        }
        payload.finish(Outcome::Delivered);
    }

    fn next_tick(&self) -> Option<Instant> {
        self.due
    }

    fn tick(&mut self, out: &mut Output) {
        self.flush(out);
        let next = self.due.map(|due| due + self.plan.interval).filter(|next| *next > out.now);
        self.due = Some(next.unwrap_or(out.now + self.plan.interval));
    }

    fn drain(&mut self, out: &mut Output) {
        self.flush(out);
    }
}
