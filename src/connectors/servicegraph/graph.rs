//! Pairs spans to calls, counts calls and flushes what was counted.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{
    Config,
    edges::{Connection, Edge, Edges, Key, Side},
};
use crate::{
    component::{BuildContext, Output, Processor},
    connectors::{
        attributes::{Found, Wanted, any_text},
        histogram::{Histogram, Shape, Unit, default_bounds},
        metrics::{
            Attributes, Head, Number, Parts, SUM_POINT, Temporality, Times, put_message,
            put_metric, put_resource, put_sum_point, unix_nanos,
        },
        payloads::{account_of, reserve},
        series::{New, OVERFLOW, SERIES, Series, Table},
    },
    otlp::{
        Payload, Signal,
        digest::{self, Digest},
        payload::{Outcome, Permit},
        purse::Purse,
        splice::messages,
        wire::put_varint,
    },
    telemetry::{Counter, Desc, Gauge},
};

// The Collector has the same counters.
const DROPPED: Desc = Desc::new(
    "otelcol_connector_servicegraph_dropped_spans",
    "{span}",
    "Spans that were not counted, for lack of room",
);
const EDGES: Desc = Desc::new(
    "otelcol_connector_servicegraph_total_edges",
    "{edge}",
    "Calls of which a span has come",
);
const EXPIRED: Desc = Desc::new(
    "otelcol_connector_servicegraph_expired_edges",
    "{edge}",
    "Calls of which the other span did not come in time",
);

/// The scope, as the Collector has it.
const SCOPE: &str = "traces_service_graph";

/// Time without calls after which a series goes.
const QUIET: Duration = Duration::from_mins(15);

/// The configuration, compiled.
struct Plan {
    wanted: Wanted,
    service: usize,
    dimensions: Vec<usize>,
    /// Keys of the points: `client_...` and `server_...` for each dimension.
    names: Vec<[Box<[u8]>; 2]>,
    peers: Vec<usize>,
    databases: Vec<usize>,
    has_label: bool,
    shape: Shape,
    flush: Duration,
    cache_loop: Duration,
    expiration_loop: Duration,
    offset: Duration,
}

/// What is known of one series.
#[derive(Debug)]
struct Calls {
    count: u64,
    has_failed: bool,
    server: Histogram,
    client: Histogram,
}

/// The connector.
pub(super) struct Grapher {
    plan: Plan,
    edges: Edges,
    table: Table<Calls>,
    purse: Purse,
    /// Draws on the budget; `None` until something came.
    account: Option<Permit>,
    /// When to flush, to forget quiet series, to give up calls.
    due: [Option<Instant>; 3],
    dropped: Counter,
    total: Counter,
    expired: Counter,
    overflow: Counter,
    series: Gauge,
}

impl Plan {
    fn new(config: &Config) -> Self {
        let mut wanted = Wanted::default();
        let service = wanted.add("service.name");
        let mut all = |names: &[String]| names.iter().map(|name| wanted.add(name)).collect();
        let databases = match &config.database_name_attribute {
            Some(name) => std::slice::from_ref(name),
            None => &config.database_name_attributes,
        };
        let shape = match config.exponential_histogram_max_size {
            0 => {
                let own = config.latency_histogram_buckets.as_ref();
                let own = own.map(|buckets| buckets.iter().map(|bound| bound.0).collect());
                let bounds: Vec<Duration> = own.unwrap_or_else(default_bounds);
                Shape::explicit(&bounds, Unit::SECONDS)
            }
            max_size => Shape::Exponential { max_size: max_size.into() },
        };
        let name = |side: &str, name: &String| format!("{side}_{name}").into_bytes().into();
        let names = |key: &String| [name("client", key), name("server", key)];
        Plan {
            service,
            dimensions: all(&config.dimensions),
            names: config.dimensions.iter().map(names).collect(),
            peers: all(&config.virtual_node_peer_attributes),
            databases: all(databases),
            wanted,
            has_label: config.virtual_node_extra_label,
            shape,
            flush: config.metrics_flush_interval.0,
            cache_loop: config.cache_loop.0,
            expiration_loop: config.store_expiration_loop.0,
            offset: config.metrics_timestamp_offset.0,
        }
    }
}

/// A span with its resource.
struct Seen<'s, 'a> {
    digest: &'s Digest<'a>,
    values: &'s Found<'a>,
    resource: &'s Found<'a>,
    /// It is the half of a call that made it.
    is_client: bool,
    connection: Connection,
}

/// What came of the spans of a resource.
#[derive(Debug, Default)]
struct Came {
    /// Calls of which they are the first half.
    new: u64,
    /// Spans without room.
    dropped: u64,
}

/// Most links of a consumer that are looked at, as many as SDKs keep.
const LINKS: usize = 128;

/// The calls that a span is half of: its own, or that of its parent. A consumer gets messages of
/// its parent and of the producers that it links to.
fn keys(span: &[u8], seen: &Seen<'_, '_>) -> SmallVec<[Key; 1]> {
    let Digest { trace_id, span_id, parent_span_id, kind, .. } = seen.digest;
    let key = |trace: &[u8], span: &[u8]| -> Key {
        (trace.try_into().unwrap_or([0; 16]), span.try_into().unwrap_or([0; 8]))
    };
    let own = key(trace_id, if seen.is_client { span_id } else { parent_span_id });
    let mut keys = SmallVec::new();
    if *kind == 5 {
        for link in messages(span, &[13]).take(LINKS) {
            let linked = key(bytes_of(link.bytes(), 1), bytes_of(link.bytes(), 2));
            if linked.1 != [0; 8] && !keys.contains(&linked) {
                keys.push(linked);
            }
        }
    }
    if keys.is_empty() || own.1 != [0; 8] && !keys.contains(&own) {
        keys.push(own);
    }
    keys
}

/// The last occurrence of a field counts.
fn bytes_of(message: &[u8], number: u32) -> &[u8] {
    messages(message, &[number]).last().map_or(&[], |field| field.bytes())
}

impl Seen<'_, '_> {
    /// A value of the resource, else of the span: dimensions are looked up in this order.
    fn value(&self, at: usize) -> Option<&[u8]> {
        let find = |values: &Found<'_>| values.get(at).is_some_and(Option::is_some);
        let values = if find(self.resource) { self.resource } else { self.values };
        values.get(at)?.as_deref()
    }

    fn side(&self, plan: &Plan) -> Side {
        let Digest { start_time_unix_nano: start, end_time_unix_nano: end, .. } = self.digest;
        Side {
            service: self.resource.get(plan.service).and_then(|any| Some(any.as_deref()?.into())),
            nanos: end.saturating_sub(*start),
            dimensions: plan.dimensions.iter().map(|at| self.value(*at).map(Into::into)).collect(),
        }
    }
}

impl Grapher {
    pub(super) fn new(config: &Config, cx: &BuildContext) -> Self {
        let meter = cx.metrics("connector");
        Grapher {
            plan: Plan::new(config),
            edges: Edges::new(config.store.max_items, config.store.ttl.0),
            table: Table::new(config.aggregation_cardinality_limit),
            purse: Purse::default(),
            account: None,
            due: [None; 3],
            dropped: meter.counter(&DROPPED, &[]),
            total: meter.counter(&EDGES, &[]),
            expired: meter.counter(&EXPIRED, &[]),
            overflow: meter.counter(&OVERFLOW, &[]),
            series: meter.gauge(&SERIES, &[]),
        }
    }

    fn entry(&mut self, entry: &[u8], now: Instant) {
        let parts: Parts<'_> = messages(entry, &[1]).map(|field| field.bytes()).collect();
        let resource = self.plan.wanted.among(&parts, 1);
        if resource.get(self.plan.service).is_none_or(Option::is_none) {
            return;
        }
        let mut came = Came::default();
        for scope in digest::spans(entry) {
            for span in digest::spans(scope.inner) {
                self.span(span.inner, &resource, now, &mut came);
            }
        }
        self.total.add(came.new);
        self.dropped.add(came.dropped);
    }

    /// Takes a span: half of a call, or for a consumer of several ones.
    fn span(&mut self, span: &[u8], resource: &Found<'_>, now: Instant, came: &mut Came) {
        let mut values = self.plan.wanted.none();
        let digest = Digest::read(span, |attribute| self.plan.wanted.note(attribute, &mut values));
        let (is_client, connection) = match digest.kind {
            2 => (false, Connection::Unknown),
            3 => (true, Connection::Unknown),
            4 => (true, Connection::Messaging),
            5 => (false, Connection::Messaging),
            _ => return,
        };
        let seen = Seen { digest: &digest, values: &values, resource, is_client, connection };
        let mut is_kept = true;
        for key in keys(span, &seen) {
            match self.half(&key, &seen, now) {
                Some(is_new) => came.new += u64::from(is_new),
                None => is_kept = false,
            }
        }
        came.dropped += u64::from(!is_kept);
    }

    /// Takes half of a call. Returns whether it is the first; `None` if there is no room for it.
    fn half(&mut self, key: &Key, seen: &Seen<'_, '_>, now: Instant) -> Option<bool> {
        let known = self.edges.take(key);
        let is_new = known.is_none();
        let mut edge = match known {
            Some(edge) => edge,
            None => Edge { purse: Purse::new(self.account.as_ref(), 0), ..Edge::default() },
        };
        edge.connection = seen.connection;
        edge.has_failed |= seen.digest.status_code == 2;
        let side = seen.side(&self.plan);
        if seen.is_client {
            edge.client = side;
            self.add_server(seen, &mut edge);
        } else {
            edge.server = side;
        }
        if edge.is_complete() {
            self.count(&edge, "", now);
            return Some(is_new);
        }
        if self.edges.is_full() {
            self.expire(now);
        }
        let bytes_of = |of: &Side| {
            let values = of.dimensions.iter().flatten().chain(&of.service);
            values.map(|any| any.len()).sum::<usize>() + 16 * of.dimensions.len()
        };
        let peer = edge.peer.as_ref().map_or(0, |any| any.len());
        let ends = bytes_of(&edge.client) + bytes_of(&edge.server);
        edge.purse.pay(ends + peer + 4 * size_of::<(Key, Edge)>()).ok()?;
        self.edges.put(*key, edge, now).ok()?;
        Some(is_new)
    }

    /// What a client span says about its server.
    fn add_server(&self, seen: &Seen<'_, '_>, edge: &mut Edge) {
        let own = |at: &usize| seen.values.get(*at)?.as_deref().map(Into::into);
        edge.peer = self.plan.peers.iter().find_map(own);
        let database = self.plan.databases.iter().find_map(|at| seen.value(*at));
        if let Some(name) = database {
            edge.connection = Connection::Database;
            edge.server.service = Some(name.into());
            edge.server.nanos = edge.client.nanos;
        }
    }

    /// Gives up calls whose time is over.
    fn expire(&mut self, now: Instant) {
        while let Some((key, edge)) = self.edges.next_expired(now) {
            self.give_up(key, edge, now);
        }
    }

    /// Counts a call of which one half is not known.
    fn give_up(&mut self, (_, span_id): Key, mut edge: Edge, now: Instant) {
        self.expired.add(1);
        if self.plan.peers.is_empty() {
            return;
        }
        edge.connection = Connection::Virtual;
        if edge.client.service.is_none() && span_id == [0; 8] {
            edge.client.service = Some(any_text(b"user").into());
            self.count(&edge, "client", now);
        } else if edge.server.service.is_none() {
            let unknown = || any_text(b"unknown").into();
            edge.server.service = Some(edge.peer.take().unwrap_or_else(unknown));
            self.count(&edge, "server", now);
        }
    }

    /// Counts a call; `label` is the half that was not seen.
    fn count(&mut self, edge: &Edge, label: &str, now: Instant) {
        let Grapher { plan, table, purse, .. } = self;
        let key = plan.key(edge, label);
        let attributes = || plan.attributes(edge, label);
        let new = New { size: 2 * plan.shape.size(), purse, attributes };
        let none = || Calls {
            count: 0,
            has_failed: edge.has_failed,
            server: Histogram::new(&plan.shape),
            client: Histogram::new(&plan.shape),
        };
        let Ok(found) = table.get(&key, now, new, none) else { return self.overflow.add(1) };
        let calls = found.value;
        calls.count += 1;
        calls.server.add(&plan.shape, Unit::SECONDS, edge.server.nanos, 1);
        calls.client.add(&plan.shape, Unit::SECONDS, edge.client.nanos, 1);
        if found.is_overflow {
            self.overflow.add(1);
        }
    }

    fn flush(&mut self, out: &mut Output) {
        self.series.set(self.table.len() as u64);
        if self.table.is_empty() {
            return;
        }
        let shape = &self.plan.shape;
        let point = 2 * (SUM_POINT + shape.encoded_size()) + 40;
        let size = 1024 + 4 * self.table.attributes() + self.table.len() * point;
        let (mut body, mut purse) = (Vec::new(), Purse::new(self.account.as_ref(), 0));
        // Without room, the counts go out with the next flush.
        if reserve(&mut body, size, &mut purse).is_err() {
            return;
        }
        let offset = u64::try_from(self.plan.offset.as_nanos()).unwrap_or(u64::MAX);
        let items = self.put(unix_nanos().saturating_sub(offset), offset, &mut body);
        out.emit(Payload::new(Signal::Metrics, body.into(), items, purse.into_permits()));
    }

    /// Appends all metrics. Returns how many points.
    fn put(&self, end: u64, offset: u64, out: &mut Vec<u8>) -> u64 {
        let shape = &self.plan.shape;
        let times = |series: &Series<Calls>| {
            let start = series.start.saturating_sub(offset);
            Times { start, end }
        };
        let has_failed = |series: &&Series<Calls>| series.value.has_failed;
        let failed = self.table.iter().filter(has_failed).count();
        put_resource(out, &[], SCOPE, |out| {
            let mut sum = |name, only_failed: bool| {
                put_metric(out, Head::named(name), 7, Temporality::Cumulative, |out| {
                    let all = self.table.iter();
                    for series in all.filter(|it| !only_failed || it.value.has_failed) {
                        let number = Number::Int(series.value.count);
                        put_sum_point(out, times(series), number, &series.attributes, &[]);
                    }
                });
            };
            sum("traces_service_graph_request_total", false);
            if failed > 0 {
                sum("traces_service_graph_request_failed_total", true);
            }
            let mut histogram = |name, of: fn(&Calls) -> &Histogram| {
                let head = Head { unit: Unit::SECONDS.name, ..Head::named(name) };
                put_metric(out, head, shape.field(), Temporality::Cumulative, |out| {
                    for series in self.table.iter() {
                        put_message(out, 1, |out| {
                            of(&series.value).put(out, shape, times(series));
                            series.attributes.put(out, if shape.field() == 9 { 9 } else { 1 });
                        });
                    }
                });
            };
            histogram("traces_service_graph_request_server", |calls| &calls.server);
            histogram("traces_service_graph_request_client", |calls| &calls.client);
        });
        (3 * self.table.len() + failed) as u64
    }
}

impl Plan {
    fn key(&self, edge: &Edge, label: &str) -> Vec<u8> {
        let mut key = vec![edge.connection as u8, edge.has_failed.into()];
        let mut put = |bytes: Option<&[u8]>| {
            put_varint(&mut key, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
            key.extend_from_slice(bytes.unwrap_or_default());
        };
        for side in [&edge.client, &edge.server] {
            put(side.service.as_deref());
            side.dimensions.iter().for_each(|any| put(any.as_deref()));
        }
        put(self.has_label.then_some(label.as_bytes()));
        key
    }

    fn attributes(&self, edge: &Edge, label: &str) -> Attributes {
        let mut attributes = Attributes::default();
        for (key, side) in [(&b"client"[..], &edge.client), (b"server", &edge.server)] {
            attributes.push(key, side.service.as_deref().unwrap_or_default());
        }
        attributes.push_text(b"connection_type", edge.connection.name().as_bytes());
        attributes.push_bool(b"failed", edge.has_failed);
        for (index, names) in self.names.iter().enumerate() {
            for (name, side) in names.iter().zip([&edge.client, &edge.server]) {
                if let Some(Some(any)) = side.dimensions.get(index) {
                    attributes.push(name, any);
                }
            }
        }
        if self.has_label {
            attributes.push_text(b"virtual_node", label.as_bytes());
        }
        attributes
    }
}

impl Processor for Grapher {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if self.account.is_none() {
            self.account = account_of(&payload);
            self.purse = Purse::new(self.account.as_ref(), 0);
        }
        for segment in &payload.body {
            for entry in messages(segment, &[1]) {
                self.entry(entry.bytes(), out.now);
            }
        }
        payload.finish(Outcome::Delivered);
        let Plan { flush, cache_loop, expiration_loop, .. } = self.plan;
        if flush.is_zero() {
            self.flush(out);
        }
        let has_any = !self.table.is_empty() || !self.edges.is_empty();
        for (due, every) in self.due.iter_mut().zip([flush, cache_loop, expiration_loop]) {
            if due.is_none() && has_any && !every.is_zero() {
                *due = Some(out.now + every);
            }
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        self.due.into_iter().flatten().min()
    }

    fn tick(&mut self, out: &mut Output) {
        let now = out.now;
        let [flush, cache_loop, expiration_loop] =
            self.due.map(|due| due.is_some_and(|it| it <= now));
        if expiration_loop {
            self.expire(now);
        }
        if flush {
            self.flush(out);
        }
        if cache_loop {
            let is_quiet =
                |series: &Series<Calls>| now.saturating_duration_since(series.updated) >= QUIET;
            self.table.retain(2 * self.plan.shape.size(), |series| !is_quiet(series));
        }
        let has_any = !self.table.is_empty() || !self.edges.is_empty();
        let every = [self.plan.flush, self.plan.cache_loop, self.plan.expiration_loop];
        for (due, every) in self.due.iter_mut().zip(every) {
            if due.is_some_and(|due| due <= now) {
                *due = has_any.then_some(now + every);
            }
        }
    }

    fn drain(&mut self, out: &mut Output) {
        while let Some((key, edge)) = self.edges.next() {
            self.give_up(key, edge, out.now);
        }
        self.flush(out);
    }
}
