//! Leads the interpreter through a decoded request.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::InstrumentationScope,
    logs::v1::LogRecord,
    metrics::v1::{Exemplar, Metric, metric::Data},
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message as _;

use super::{
    place::{Child, ItemOf, Levels},
    value::{No, Res},
};
use crate::{
    otlp::{Signal, payload},
    ottl::Context,
};

/// How often statements run on metrics that they have made of others.
const GENERATIONS: usize = 4;

/// Metrics that a scope may get until the interpreter has no opinion: skep has a limit there.
const MANY: usize = 1000;

/// A request, decoded.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

/// Visits an item; `false` if it goes.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&mut Levels<'_>) -> Res<bool>;

impl Request {
    pub(super) fn decode(signal: Signal, body: &[u8]) -> Request {
        match signal {
            Signal::Traces => Request::Traces(ExportTraceServiceRequest::decode(body).unwrap()),
            Signal::Metrics => Request::Metrics(ExportMetricsServiceRequest::decode(body).unwrap()),
            Signal::Logs => Request::Logs(ExportLogsServiceRequest::decode(body).unwrap()),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Request::Traces(request) => request.encode_to_vec(),
            Request::Metrics(request) => request.encode_to_vec(),
            Request::Logs(request) => request.encode_to_vec(),
        }
    }
}

/// The resource, the scope and the URLs beside them.
struct Owners<'a> {
    resource: &'a mut Resource,
    resource_schema: &'a mut String,
    scope: &'a mut InstrumentationScope,
    scope_schema: &'a mut String,
    appended: Vec<Metric>,
    how: How<'a>,
}

/// What is visited, and what brought it.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub context: Context,
    pub request: &'a payload::Context,
}

impl Owners<'_> {
    fn levels<'l>(&'l mut self, item: ItemOf<'l>, child: Child<'l>) -> Levels<'l> {
        Levels {
            resource: self.resource,
            resource_schema: self.resource_schema,
            scope: self.scope,
            scope_schema: self.scope_schema,
            item,
            child,
            exemplar: None,
            cache: Vec::new(),
            appended: &mut self.appended,
            request: self.how.request,
        }
    }

    fn visit_exemplar(
        &mut self,
        (metric, point): (&mut Metric, Child<'_>),
        exemplar: &mut Exemplar,
        visit: Visit<'_>,
    ) -> Res<bool> {
        let levels = self.levels(ItemOf::Metric(metric), point);
        visit(&mut Levels { exemplar: Some(exemplar), ..levels })
    }

    fn visit(&mut self, item: ItemOf<'_>, child: Child<'_>, visit: Visit<'_>) -> Res<bool> {
        visit(&mut self.levels(item, child))
    }
}

/// Keeps those for which `visit` says so.
fn keep<T>(list: &mut Vec<T>, mut visit: impl FnMut(usize, &mut T) -> Res<bool>) -> Res<()> {
    let mut kept = Vec::new();
    for (at, mut one) in std::mem::take(list).into_iter().enumerate() {
        if visit(at, &mut one)? {
            kept.push(one);
        }
    }
    *list = kept;
    Ok(())
}

/// Walks through the entries of a signal: `$item` visits one item.
macro_rules! entries {
    ($entries:expr, $scopes:ident, $items:ident, $how:ident, $visit:ident, $item:expr) => {
        keep(&mut $entries, |_, entry| {
            let had = !entry.$scopes.is_empty();
            let resource = entry.resource.get_or_insert_default();
            let mut no_scope = InstrumentationScope::default();
            let mut no_url = String::new();
            if $how.context == Context::Resource {
                let mut owners = Owners {
                    resource,
                    resource_schema: &mut entry.schema_url,
                    scope: &mut no_scope,
                    scope_schema: &mut no_url,
                    appended: Vec::new(),
                    how: $how,
                };
                return owners.visit(ItemOf::None, Child::None, $visit);
            }
            keep(&mut entry.$scopes, |_, scopes| {
                let had = !scopes.$items.is_empty();
                let mut owners = Owners {
                    resource,
                    resource_schema: &mut entry.schema_url,
                    scope: scopes.scope.get_or_insert_default(),
                    scope_schema: &mut scopes.schema_url,
                    appended: Vec::new(),
                    how: $how,
                };
                if $how.context == Context::Scope {
                    return owners.visit(ItemOf::None, Child::None, $visit);
                }
                keep(&mut scopes.$items, |_, item| $item(&mut owners, item, &mut *$visit))?;
                add_made(&mut owners, &mut scopes.$items, $visit)?;
                Ok(!scopes.$items.is_empty() || !had)
            })?;
            Ok(!entry.$scopes.is_empty() || !had)
        })
    };
}

/// Visits everything of a context. Nothing of the request is left out.
pub(super) fn walk(request: &mut Request, how: How<'_>, visit: Visit<'_>) -> Res<()> {
    match request {
        Request::Traces(request) => {
            entries!(request.resource_spans, scope_spans, spans, how, visit, span)
        }
        Request::Metrics(request) => {
            entries!(request.resource_metrics, scope_metrics, metrics, how, visit, metric)
        }
        Request::Logs(request) => {
            let log = |owners: &mut Owners<'_>, log: &mut _, visit: Visit<'_>| {
                owners.visit(ItemOf::Log(log), Child::None, visit)
            };
            entries!(request.resource_logs, scope_logs, log_records, how, visit, log)
        }
    }
}

fn span(owners: &mut Owners<'_>, span: &mut Span, visit: Visit<'_>) -> Res<bool> {
    match owners.how.context {
        Context::SpanEvent => {
            let mut events = std::mem::take(&mut span.events);
            keep(&mut events, |at, event| {
                let child = Child::Event(event, i64::try_from(at).unwrap());
                owners.visit(ItemOf::Span(span), child, visit)
            })?;
            span.events = events;
            Ok(true)
        }
        Context::SpanLink => {
            let mut links = std::mem::take(&mut span.links);
            keep(&mut links, |_, link| owners.visit(ItemOf::Span(span), Child::Link(link), visit))?;
            span.links = links;
            Ok(true)
        }
        _ => owners.visit(ItemOf::Span(span), Child::None, visit),
    }
}

/// Items of a kind that editors can make.
trait Made: Sized {
    fn take(owners: &mut Owners<'_>) -> Vec<Self>;
    fn visit(&mut self, owners: &mut Owners<'_>, visit: Visit<'_>) -> Res<bool>;
}

impl Made for Metric {
    fn take(owners: &mut Owners<'_>) -> Vec<Metric> {
        std::mem::take(&mut owners.appended)
    }

    fn visit(&mut self, owners: &mut Owners<'_>, visit: Visit<'_>) -> Res<bool> {
        metric(owners, self, visit)
    }
}

/// Only metrics are made.
macro_rules! never_made {
    ($($item:ty),*) => {$(
        impl Made for $item {
            fn take(_: &mut Owners<'_>) -> Vec<$item> {
                Vec::new()
            }

            fn visit(&mut self, _: &mut Owners<'_>, _: Visit<'_>) -> Res<bool> {
                Ok(true)
            }
        }
    )*};
}

never_made!(Span, LogRecord);

/// Adds what editors have made to a scope. Statements run on that, too.
fn add_made<T: Made>(owners: &mut Owners<'_>, items: &mut Vec<T>, visit: Visit<'_>) -> Res<()> {
    let mut count = 0;
    for generation in 0..=GENERATIONS {
        let mut made = T::take(owners);
        count += made.len();
        if count > MANY {
            return Err(No::Unsure);
        }
        if generation < GENERATIONS {
            keep(&mut made, |_, one| one.visit(owners, visit))?;
        }
        items.append(&mut made);
    }
    Ok(())
}

fn metric(owners: &mut Owners<'_>, metric: &mut Metric, visit: Visit<'_>) -> Res<bool> {
    if owners.how.context == Context::Exemplar {
        return exemplars(owners, metric, visit);
    }
    if owners.how.context != Context::DataPoint {
        return owners.visit(ItemOf::Metric(metric), Child::None, visit);
    }
    macro_rules! points {
        ($kind:ident, $child:ident) => {{
            let Some(Data::$kind(data)) = &mut metric.data else { return Ok(true) };
            let mut points = std::mem::take(&mut data.data_points);
            let had = !points.is_empty();
            keep(&mut points, |_, point| {
                owners.visit(ItemOf::Metric(metric), Child::$child(point), visit)
            })?;
            let is_left = !points.is_empty() || !had;
            if let Some(Data::$kind(data)) = &mut metric.data {
                data.data_points = points;
            }
            Ok(is_left)
        }};
    }
    match &metric.data {
        None => Ok(true),
        Some(Data::Gauge(_)) => points!(Gauge, Number),
        Some(Data::Sum(_)) => points!(Sum, Number),
        Some(Data::Histogram(_)) => points!(Histogram, Histogram),
        Some(Data::ExponentialHistogram(_)) => points!(ExponentialHistogram, Exponential),
        Some(Data::Summary(_)) => points!(Summary, Summary),
    }
}

fn exemplars(owners: &mut Owners<'_>, metric: &mut Metric, visit: Visit<'_>) -> Res<bool> {
    macro_rules! exemplars {
        ($kind:ident, $child:ident) => {{
            let Some(Data::$kind(data)) = &mut metric.data else { return Ok(true) };
            let mut points = std::mem::take(&mut data.data_points);
            for point in &mut points {
                let mut list = std::mem::take(&mut point.exemplars);
                keep(&mut list, |_, exemplar| {
                    let point = Child::$child(&mut *point);
                    owners.visit_exemplar((&mut *metric, point), exemplar, visit)
                })?;
                point.exemplars = list;
            }
            if let Some(Data::$kind(data)) = &mut metric.data {
                data.data_points = points;
            }
            Ok(true)
        }};
    }
    match &metric.data {
        None | Some(Data::Summary(_)) => Ok(true),
        Some(Data::Gauge(_)) => exemplars!(Gauge, Number),
        Some(Data::Sum(_)) => exemplars!(Sum, Number),
        Some(Data::Histogram(_)) => exemplars!(Histogram, Histogram),
        Some(Data::ExponentialHistogram(_)) => exemplars!(ExponentialHistogram, Exponential),
    }
}
