//! Requests of about 740 bytes an item, encoded once with values that vary; each sending gives
//! every item an id of its own by writing eight bytes in place.

use std::io::Write as _;

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event},
};
use prost::Message as _;
use skep::otlp::{
    Signal,
    wire::{FieldValue, Fields},
};

/// A request with the places of its ids.
pub(crate) struct Template {
    body: Vec<u8>,
    ids: Vec<usize>,
    /// Whether trace ids stand before the ids.
    has_traces: bool,
    /// Items of traces that bear [`KEPT`].
    kept: Vec<bool>,
}

/// Spans of a trace.
const TRACE: usize = 8;
/// An attribute of a span in one of ten traces, for samplers that look for it.
const KEPT: &str = "bench.kept";

/// Encodings that the generator sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Codec {
    None,
    Gzip,
    Zstd,
}

impl Codec {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Zstd => "zstd",
        }
    }

    pub(crate) fn encode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Codec::None => body.to_vec(),
            Codec::Gzip => {
                let level = flate2::Compression::new(6);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Zstd => zstd::encode_all(body, 3).unwrap(),
        }
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// What an instrumented web application says of a request: some values come again and again,
/// some never do, so that compression has the work that it has in the field.
fn attributes(random: &mut Rng) -> Vec<KeyValue> {
    const ROUTES: [&str; 5] = ["/api/activities/home", "/api/messages", "/cart", "/search", "/"];
    const AGENTS: [&str; 3] = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "python-requests/2.32.3",
        "okhttp/5.1.0",
    ];
    let route = random.choice(ROUTES).unwrap();
    let user = hex(random, 32);
    let path = format!("{route}/{}?page={}", &user[..8], random.u8(..40));
    let pairs = [
        ("http.request.method", random.choice(["GET", "GET", "GET", "POST"]).unwrap().to_owned()),
        ("http.route", (*route).to_owned()),
        ("url.path", path),
        ("server.address", format!("api-{}.example.com", random.u8(..4))),
        ("network.protocol.version", "1.1".to_owned()),
        ("user_agent.original", (*random.choice(AGENTS).unwrap()).to_owned()),
        ("client.address", format!("10.{}.{}.{}", random.u8(..), random.u8(..), random.u8(..))),
        ("db.system.name", "postgresql".to_owned()),
        ("db.query.text", format!("SELECT * FROM activities WHERE handle = '{}'", &user[8..20])),
        ("enduser.id", user),
        ("session.id", hex(random, 32)),
        ("thread.name", format!("worker-{}", random.u8(..32))),
    ];
    pairs.into_iter().map(|(key, value)| attribute(key, &value)).collect()
}

fn resource(random: &mut Rng) -> Resource {
    let pairs = [
        ("service.name", "backend-flask".to_owned()),
        ("service.version", "1.4.2".to_owned()),
        ("service.instance.id", hex(random, 32)),
        ("deployment.environment.name", "staging".to_owned()),
        ("cloud.region", "ca-central-1".to_owned()),
        ("aws.ecs.task.id", hex(random, 32)),
        ("telemetry.sdk.language", "python".to_owned()),
        ("telemetry.sdk.version", "1.36.0".to_owned()),
    ];
    let attributes = pairs.into_iter().map(|(key, value)| attribute(key, &value)).collect();
    Resource { attributes, ..Resource::default() }
}

fn hex(random: &mut Rng, len: usize) -> String {
    (0..len).map(|_| random.digit(16)).collect()
}

/// What stands in the place of the id of item `i` before it is known.
fn marker(i: usize) -> [u8; 8] {
    (0xA55A_C33C_0000_0000 + i as u64).to_le_bytes()
}

impl Template {
    /// The `seed` makes the values.
    pub(crate) fn new(signal: Signal, items: usize, seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed);
        let resource = Some(resource(random));
        let scope = Some(InstrumentationScope {
            name: "loopback".to_owned(),
            ..InstrumentationScope::default()
        });
        let body = match signal {
            Signal::Traces => {
                let mut spans: Vec<Span> = (0..items).map(|i| span(i, random)).collect();
                for (i, span) in spans.iter_mut().enumerate().step_by(TRACE) {
                    if is_kept(seed, i) {
                        span.attributes.push(attribute(KEPT, "yes"));
                    }
                }
                let scope_spans = vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }];
                let entry = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
                ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec()
            }
            Signal::Logs => {
                let log_records = (0..items).map(|i| record(i, random)).collect();
                let scope_logs = vec![ScopeLogs { scope, log_records, ..ScopeLogs::default() }];
                let entry = ResourceLogs { resource, scope_logs, ..ResourceLogs::default() };
                ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec()
            }
            Signal::Metrics => {
                let metrics = vec![metric(items, random)];
                let scope_metrics =
                    vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
                let entry =
                    ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
                ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec()
            }
        };
        let mut ids = Vec::with_capacity(items);
        let mut from = 0;
        for i in 0..items {
            let wanted = marker(i);
            let at = body[from..].windows(8).position(|eight| eight == wanted);
            from += at.expect("every item has an id");
            ids.push(from);
        }
        let kept = (0..items).map(|i| is_kept(seed, i)).collect();
        Template { body, ids, has_traces: signal == Signal::Traces, kept }
    }

    pub(crate) fn items(&self) -> usize {
        self.ids.len()
    }

    /// Items of traces that are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.kept.iter().filter(|is_kept| **is_kept).count() as u64
    }

    /// The request with the ids `first`, `first + 1`, ... and the sum of them, or of those that are
    /// kept.
    pub(crate) fn fill(&self, first: u64, kept_only: bool) -> (Vec<u8>, u64) {
        let mut body = self.body.clone();
        let mut sum = 0u64;
        for (i, (id, at)) in (first..).zip(&self.ids).enumerate() {
            body[*at..at + 8].copy_from_slice(&id.to_le_bytes());
            if self.has_traces {
                // Between the two are the tag and the length of the span's id.
                let trace = u128::from(first) + (i / TRACE) as u128;
                let trace = (trace + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
                body[at - 18..at - 2].copy_from_slice(&trace.to_be_bytes());
            }
            if !kept_only || self.kept[i] {
                sum = sum.wrapping_add(id);
            }
        }
        (body, sum)
    }
}

fn is_kept(seed: u64, item: usize) -> bool {
    (seed * 13 + (item / TRACE) as u64).is_multiple_of(10)
}

fn span(i: usize, random: &mut Rng) -> Span {
    let start = 1_700_000_000_000_000_000 + random.u64(..1_000_000_000_000);
    let event = Event { name: "exception".to_owned(), time_unix_nano: 1, ..Event::default() };
    Span {
        trace_id: random.u128(..).to_le_bytes().to_vec(),
        span_id: marker(i).to_vec(),
        parent_span_id: random.u64(..).to_le_bytes().to_vec(),
        name: "GET /api/activities/home".to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + random.u64(50_000..250_000_000),
        attributes: attributes(random),
        events: if i.is_multiple_of(10) { vec![event] } else { Vec::new() },
        ..Span::default()
    }
}

fn record(i: usize, random: &mut Rng) -> LogRecord {
    let millis = random.u16(..900);
    let body = format!("GET /api/activities/home answered 200 in {millis} ms: {}", hex(random, 12));
    LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        attributes: attributes(random),
        trace_id: random.u128(..).to_le_bytes().to_vec(),
        span_id: marker(i).to_vec(),
        ..LogRecord::default()
    }
}

fn metric(points: usize, random: &mut Rng) -> Metric {
    let mut point = |i| NumberDataPoint {
        attributes: attributes(random),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        time_unix_nano: u64::from_le_bytes(marker(i)),
        value: Some(number_data_point::Value::AsInt(random.i64(0..1_000_000))),
        ..NumberDataPoint::default()
    };
    let sum = Sum {
        data_points: (0..points).map(&mut point).collect(),
        aggregation_temporality: 2,
        is_monotonic: true,
    };
    Metric { name: "http.requests".to_owned(), data: Some(Data::Sum(sum)), ..Metric::default() }
}

/// Items of a request and the sum of their ids, as the backend sees them.
pub(crate) fn count(signal: Signal, body: &[u8]) -> (u64, u64) {
    let (mut items, mut sum) = (0, 0u64);
    let mut see = |id: u64| {
        items += 1;
        sum = sum.wrapping_add(id);
    };
    for scopes in fields(body, 1).flat_map(|entry| fields(entry, 2)) {
        for item in fields(scopes, 2) {
            match signal {
                Signal::Traces => see(id(item, 2)),
                Signal::Logs => see(id(item, 10)),
                Signal::Metrics => {
                    for point in fields(item, 7).flat_map(|sum| fields(sum, 1)) {
                        see(id(point, 3));
                    }
                }
            }
        }
    }
    (items, sum)
}

fn fields(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(message).flatten().filter(move |f| f.number == number).map(|f| f.bytes())
}

fn id(item: &[u8], number: u32) -> u64 {
    let of = Fields::new(item).flatten().find(|field| field.number == number);
    match of.map(|field| field.value) {
        Some(FieldValue::Fixed64(id)) => id,
        Some(FieldValue::Len(bytes)) => bytes.try_into().map_or(0, u64::from_le_bytes),
        _ => 0,
    }
}

/// A body without its encoding.
pub(crate) fn decode(encoding: &str, body: Bytes) -> Bytes {
    use std::io::Read as _;
    let mut out = Vec::new();
    match encoding {
        "gzip" => drop(flate2::read::MultiGzDecoder::new(&*body).read_to_end(&mut out).unwrap()),
        "zstd" => out = zstd::decode_all(&*body).unwrap(),
        _ => return body,
    }
    out.into()
}

/// Self-check: run by each generator, since a bench that miscounts measures nothing.
pub(crate) fn verify(signal: Signal, template: &Template) {
    for first in [0, 12_345] {
        let (body, sum) = template.fill(first, false);
        assert_eq!(count(signal, &body), (template.items() as u64, sum), "the bench miscounts");
        for codec in [Codec::Gzip, Codec::Zstd] {
            let encoded = codec.encode(&body);
            assert_eq!(decode(codec.name(), encoded.into()), body, "the bench garbles");
        }
    }
}
