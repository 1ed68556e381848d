//! Counts spans and flushes what was counted.

use std::{borrow::Cow, time::Instant};

use bytes::Bytes;

use super::{
    key::{Matched, Subject, keep},
    plan::{Family, Plan},
    resources::{Measured, Resource, Resources},
    weight::weight,
};
use crate::{
    component::{BuildContext, Output, Processor},
    connectors::{
        attributes::{Found, contents},
        histogram::Histogram,
        metrics::{Exemplar, Parts, Temporality, unix_nanos},
        payloads::{account_of, reserve},
        series::{New, OVERFLOW, SERIES, Table},
    },
    otlp::{
        Payload, Signal,
        attribute::key_value,
        digest::{self, Digest},
        payload::{Outcome, Permit, Reason},
        purse::Purse,
        splice::messages,
        wire::put_bytes,
    },
    telemetry::{Counter, Desc, Gauge},
};

const DROPPED: Desc = Desc::new(
    "skep_span_metrics_dropped_spans",
    "{span}",
    "Spans that were not counted: the budget had no room for their resource",
);
const NAMELESS: Desc = Desc::new(
    "skep_span_metrics_nameless_spans",
    "{span}",
    "Spans that were not counted: their resource has no service.name",
);
const POSTPONED: Desc = Desc::new(
    "skep_span_metrics_postponed_resources",
    "{resource}",
    "Resources that were not sent at a flush, for lack of memory, but are kept for the next",
);

/// Resources from so many bytes on are rare.
const LARGE: usize = 64 << 10;

/// A payload of metrics is sent once it has so many bytes.
const PAYLOAD: usize = 1 << 20;

/// The connector.
pub(super) struct Collector {
    plan: Plan,
    resources: Resources,
    /// The resource at hand, if its spans are next to one another as they usually are: its message
    /// and its place.
    last: Option<(Box<[u8]>, usize)>,
    /// Draws on the budget; `None` until something came.
    account: Option<Permit>,
    due: Option<Instant>,
    /// When the last flush was, in nanoseconds since 1970 and on the clock of timers.
    flushed: (u64, Option<Instant>),
    key: Vec<u8>,
    stats: Stats,
}

struct Stats {
    overflow: Counter,
    dropped: Counter,
    nameless: Counter,
    postponed: Counter,
    series: Gauge,
}

/// What could not be counted as it should be.
#[derive(Debug, Default)]
struct Lost {
    overflow: u64,
    dropped: u64,
    nameless: u64,
}

/// What spans of one scope have in common.
struct Around<'s, 'a> {
    values: &'s Found<'a>,
    all: &'s Matched<'a>,
    scope: Option<(&'a [u8], &'a [u8])>,
    now: Instant,
}

impl Collector {
    pub(super) fn new(plan: Plan, cx: &BuildContext) -> Self {
        let meter = cx.metrics("connector");
        let stats = Stats {
            overflow: meter.counter(&OVERFLOW, &[]),
            dropped: meter.counter(&DROPPED, &[]),
            nameless: meter.counter(&NAMELESS, &[]),
            postponed: meter.counter(&POSTPONED, &[]),
            series: meter.gauge(&SERIES, &[]),
        };
        Collector {
            plan,
            resources: Resources::default(),
            last: None,
            account: None,
            due: None,
            flushed: (0, None),
            key: Vec::new(),
            stats,
        }
    }

    /// Counts the spans of a resource entry.
    fn entry(&mut self, entry: &[u8], out: &mut Output, lost: &mut Lost) {
        let parts: Parts<'_> = messages(entry, &[1]).map(|field| field.bytes()).collect();
        let spans = || digest::spans(entry).map(|scope| digest::spans(scope.inner).count() as u64);
        let values = self.plan.wanted.among(&parts, 1);
        if values.get(self.plan.service).is_none_or(Option::is_none) {
            lost.nameless += spans().sum::<u64>();
            return;
        }
        let Ok(at) = self.resource(&parts, out) else {
            lost.dropped += spans().sum::<u64>();
            return;
        };
        let mut all = Matched::new();
        if self.plan.has_globs {
            let attributes = parts.iter().flat_map(|part| contents(part, 1));
            attributes.for_each(|attribute| keep(attribute, &mut all));
        }
        let Some(resource) = self.resources.get(at) else { return };
        resource.updated = out.now;
        for scope in digest::spans(entry) {
            let named = if self.plan.scopes.is_empty() { None } else { scope_of(scope.inner) };
            let around = Around {
                values: &values,
                all: &all,
                scope: named.filter(|(name, _)| self.plan.scopes.iter().any(|it| **it == **name)),
                now: out.now,
            };
            for span in digest::spans(scope.inner) {
                let counting = Counting { plan: &self.plan, resource, key: &mut self.key };
                lost.overflow += u64::from(counting.span(span.inner, &around));
            }
        }
    }

    /// The place of a resource, which is added if it is new.
    fn resource(&mut self, parts: &Parts<'_>, out: &mut Output) -> Result<usize, Reason> {
        let joined: Cow<'_, [u8]> = match &**parts {
            [only] => (*only).into(),
            parts => parts.concat().into(),
        };
        if let Some((message, at)) = &self.last
            && **message == *joined
        {
            return Ok(*at);
        }
        // The list of a resource of tiny attributes is several times as large as that.
        let mut purse = Purse::new(self.account.as_ref(), 0);
        purse.pay(if joined.len() > LARGE { 10 * joined.len() } else { 0 })?;
        let key = self.identity(parts);
        let at = if let Some(at) = self.resources.find(&key) {
            at
        } else {
            if self.resources.len() >= self.plan.most_resources {
                self.make_room(out);
            }
            let account = self.account.as_ref();
            self.resources.add(&key, &joined, &self.plan, account, out.now)?
        };
        // A copy of the last resource, however large, is not worth paying for.
        self.last = (joined.len() <= LARGE).then(|| ((*joined).into(), at));
        Ok(at)
    }

    /// What tells a resource apart: its attributes, sorted.
    fn identity(&self, parts: &Parts<'_>) -> Vec<u8> {
        let is_part = |attribute: &&[u8]| {
            let identity = &self.plan.identity;
            let (key, _) = key_value(attribute);
            identity.is_empty() || identity.iter().any(|known| **known == *key)
        };
        let attributes = parts.iter().flat_map(|part| contents(part, 1));
        let mut attributes: Vec<&[u8]> = attributes.filter(is_part).collect();
        attributes.sort_unstable();
        let mut key = Vec::new();
        for attribute in attributes {
            put_bytes(&mut key, 1, attribute);
        }
        key
    }

    /// Sends and forgets the resources that were quiet for the longest time.
    fn make_room(&mut self, out: &mut Output) {
        let Some(since) = self.resources.quiet_since() else { return };
        let is_quiet = |resource: &Resource| resource.updated <= since;
        self.send(out, is_quiet);
        self.resources.retain(|resource| !is_quiet(resource));
        self.last = None;
    }

    /// Sends resources, all of them in as few payloads as their size allows.
    fn send(&mut self, out: &mut Output, is_sent: impl Fn(&Resource) -> bool) {
        let now = unix_nanos();
        let (since, plan) = (self.flushed.0, &self.plan);
        let (mut body, mut items, mut purse) = (Vec::new(), 0, Purse::default());
        let mut emit = |body: &mut Vec<u8>, items: &mut u64, purse: &mut Purse| {
            if *items > 0 {
                let body = Bytes::from(std::mem::take(body));
                let permits = std::mem::take(purse).into_permits();
                let items = std::mem::take(items);
                out.emit(Payload::new(Signal::Metrics, body, items, permits));
            }
        };
        for resource in self.resources.iter_mut().filter(|resource| is_sent(resource)) {
            let points = resource.points(plan);
            if points == 0 {
                continue;
            }
            let size = resource.encoded_size(plan);
            if body.is_empty() {
                purse = Purse::new(self.account.as_ref(), 0);
            }
            if reserve(&mut body, size, &mut purse).is_err() {
                self.stats.postponed.add(1);
                continue;
            }
            resource.put(plan, since, now, &mut body);
            items += points;
            if plan.exemplars > 0 {
                resource.forget_exemplars();
            }
            if plan.temporality == Temporality::Delta {
                resource.empty(plan, self.account.as_ref());
            }
            if body.len() >= PAYLOAD {
                emit(&mut body, &mut items, &mut purse);
            }
        }
        emit(&mut body, &mut items, &mut purse);
    }

    /// Sends everything, and forgets what was quiet for too long.
    fn flush(&mut self, out: &mut Output) {
        self.expire(out.now);
        self.send(out, |_| true);
        if self.plan.temporality == Temporality::Delta {
            self.resources.retain(|resource| !resource.is_empty());
            self.last = None;
        }
        self.flushed = (unix_nanos(), Some(out.now));
        self.stats.series.set(self.resources.series() as u64);
    }

    /// Forgets what was quiet for too long and has been sent since.
    fn expire(&mut self, now: Instant) {
        let (of_resources, of_series) = self.plan.expires;
        let Some(flushed) = self.flushed.1 else { return };
        if let Some(after) = of_resources {
            let is_over = |updated: Instant| {
                updated < flushed && now.saturating_duration_since(updated) >= after
            };
            self.resources.retain(|resource| !is_over(resource.updated));
            self.last = None;
        }
        if let Some(after) = of_series {
            let is_over = |updated: Instant| {
                updated < flushed && now.saturating_duration_since(updated) >= after
            };
            let size = self.plan.series_size();
            for table in self.resources.iter_mut().flat_map(|resource| &mut resource.tables) {
                table.retain(size, |series| !is_over(series.updated));
            }
        }
    }
}

impl Processor for Collector {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if self.account.is_none() {
            self.account = account_of(&payload);
        }
        if self.due.is_none() {
            self.due = Some(out.now + self.plan.interval);
            self.flushed.0 = unix_nanos();
        }
        let mut lost = Lost::default();
        for segment in &payload.body {
            for entry in messages(segment, &[1]) {
                self.entry(entry.bytes(), out, &mut lost);
            }
        }
        for (counter, items) in [
            (&self.stats.overflow, lost.overflow),
            (&self.stats.dropped, lost.dropped),
            (&self.stats.nameless, lost.nameless),
        ] {
            if items > 0 {
                counter.add(items);
            }
        }
        payload.finish(Outcome::Delivered);
    }

    fn next_tick(&self) -> Option<Instant> {
        self.due
    }

    fn tick(&mut self, out: &mut Output) {
        self.flush(out);
        let next = self.due.map(|due| due + self.plan.interval).filter(|next| *next > out.now);
        let has_more = self.resources.len() > 0;
        self.due = has_more.then(|| next.unwrap_or(out.now + self.plan.interval));
    }

    fn drain(&mut self, out: &mut Output) {
        self.flush(out);
    }
}

/// Counts spans of one resource.
struct Counting<'c> {
    plan: &'c Plan,
    resource: &'c mut Resource,
    key: &'c mut Vec<u8>,
}

impl Counting<'_> {
    /// Counts a span. Returns whether it went into a series of what has no room.
    #[inline]
    fn span<'a>(self, span: &'a [u8], around: &Around<'_, 'a>) -> bool {
        let Counting { plan, resource, key } = self;
        let (mut values, mut all) = (plan.wanted.none(), Matched::new());
        let digest = Digest::read(span, |attribute| {
            plan.wanted.note(attribute, &mut values);
            if plan.has_globs {
                keep(attribute, &mut all);
            }
        });
        let (weight, is_extrapolated) = weight(digest.trace_state);
        let Digest { start_time_unix_nano: start, end_time_unix_nano: end, .. } = digest;
        let measure = Measure {
            nanos: end.saturating_sub(start),
            weight,
            exemplar: if plan.exemplars > 0 {
                let value = plan.unit.of(end.saturating_sub(start));
                Exemplar::of(digest.trace_id, digest.span_id, end, value)
            } else {
                None
            },
            now: around.now,
        };
        let subject = Subject {
            digest: &digest,
            values: [&values[..], &[], around.values],
            all: &[&all, around.all],
            scope: around.scope,
            is_extrapolated,
        };
        let mut is_over = false;
        for (family, table) in plan.families.iter().zip(&mut resource.tables) {
            if family.is_of_events {
                continue;
            }
            subject.write_key(plan, family, key);
            is_over |= measure.add(plan, family, (table, &mut resource.purse), &subject, key);
        }
        if plan.has_events {
            let all = (&all, around);
            is_over |= measure.add_events(plan, resource, (span, &subject), all, key);
        }
        is_over
    }
}

/// What is added to a series.
struct Measure {
    nanos: u64,
    weight: u64,
    exemplar: Option<Exemplar>,
    now: Instant,
}

impl Measure {
    /// Counts the events of a span. Returns whether one went into a series of what has no room.
    fn add_events<'a>(
        &self,
        plan: &Plan,
        resource: &mut Resource,
        (span, subject): (&'a [u8], &Subject<'_, 'a>),
        (all, around): (&Matched<'a>, &Around<'_, 'a>),
        key: &mut Vec<u8>,
    ) -> bool {
        let [of_span, ..] = subject.values;
        let mut is_over = false;
        for event in contents(span, 11) {
            let (mut of_event, mut all_of_event) = (plan.wanted.none(), Matched::new());
            for attribute in contents(event, 3) {
                plan.wanted.note(attribute, &mut of_event);
                if plan.has_globs {
                    keep(attribute, &mut all_of_event);
                }
            }
            let lists = [all, &all_of_event, around.all];
            let values: [&Found<'_>; 3] = [of_span, &of_event, around.values];
            let subject = Subject { values, all: &lists, ..*subject };
            let families = plan.families.iter().zip(&mut resource.tables);
            for (family, table) in families.filter(|(family, _)| family.is_of_events) {
                subject.write_key(plan, family, key);
                is_over |= self.add(plan, family, (table, &mut resource.purse), &subject, key);
            }
        }
        is_over
    }

    /// Adds to the series of a key. Returns whether that is the one of what has no room.
    #[inline]
    fn add(
        &self,
        plan: &Plan,
        family: &Family,
        (table, purse): (&mut Table<Measured>, &mut Purse),
        subject: &Subject<'_, '_>,
        key: &[u8],
    ) -> bool {
        let attributes = || subject.attributes(plan, family);
        let new = New { size: plan.series_size(), purse, attributes };
        let empty = || Measured {
            count: 0,
            histogram: family.histogram.as_ref().map(|_| Histogram::new(&plan.shape)),
            exemplars: Vec::with_capacity(plan.exemplars),
        };
        // Not even the series of what has no room can be paid for: it is as if the limit were 0.
        let Ok(found) = table.get(key, self.now, new, empty) else { return true };
        let series = found.value;
        series.count += self.weight;
        if let Some(histogram) = &mut series.histogram {
            histogram.add(&plan.shape, plan.unit, self.nanos, self.weight);
        }
        if let Some(exemplar) = self.exemplar
            && series.exemplars.len() < plan.exemplars
        {
            series.exemplars.push(exemplar);
        }
        found.is_overflow
    }
}

/// Name and version of the scope of a scope entry.
fn scope_of(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let scope = contents(entry, 1).last()?;
    let field = |number| contents(scope, number).last().unwrap_or_default();
    Some((field(1), field(2)))
}
