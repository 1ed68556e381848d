//! Random requests whose keys and texts are those of the programs, encoded in ways that no sane
//! encoder uses: messages in several parts, scalars twice, unknown fields, fields in any order.

use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link},
    },
};
use prost::Message as _;

use super::generate::{KEYS, TEXTS};
use crate::otlp::{
    Signal,
    schema::{self, Kind, Message, Presence},
    wire::{FieldValue, Fields, put_bytes, put_varint},
};

/// Keys that name a span.
const CONVENTIONS: [&str; 22] = [
    "http.request.method",
    "http.method",
    "http.route",
    "url.template",
    "rpc.system",
    "rpc.service",
    "rpc.method",
    "rpc.grpc.method",
    "db.system.name",
    "db.system",
    "db.query.summary",
    "db.operation.name",
    "db.collection.name",
    "db.namespace",
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation",
    "messaging.destination.name",
    "messaging.destination.temporary",
    "messaging.destination.anonymous",
    "server.address",
    "server.port",
];

pub(super) fn random(signal: Signal, rng: &mut Rng) -> Vec<u8> {
    let body = plain(signal, rng);
    if rng.u8(0..3) == 0 { body } else { wild(signal, &body, rng) }
}

/// As an encoder writes it.
pub(super) fn plain(signal: Signal, rng: &mut Rng) -> Vec<u8> {
    Maker { rng }.request(signal)
}

/// A request encoded anew.
pub(super) fn wild(signal: Signal, body: &[u8], rng: &mut Rng) -> Vec<u8> {
    Wild { rng }.message(schema::request(signal), body)
}

pub(super) struct Maker<'r> {
    pub(super) rng: &'r mut Rng,
}

impl Maker<'_> {
    pub(super) fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.rng.usize(0..=most)).map(|_| make(self)).collect()
    }

    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.usize(..all.len())]
    }

    pub(super) fn text(&mut self) -> String {
        self.pick(&TEXTS).to_owned()
    }

    pub(super) fn number(&mut self) -> u64 {
        self.pick(&[0, 1, 2, 3, 255, 1_700_000_000_000_000_000])
    }

    pub(super) fn any(&mut self, depth: u8) -> AnyValue {
        let value = match self.rng.u8(0..if depth == 0 { 8 } else { 12 }) {
            0 => None,
            1 => Some(Any::BoolValue(self.rng.bool())),
            2 => Some(Any::IntValue(self.rng.i64(-2..4))),
            3 => Some(Any::DoubleValue(self.pick(&[0.0, -0.5, 1.0, 1.5, 2.0, 1e21, 1e-7]))),
            4 => Some(Any::BytesValue(vec![1, 0xff])),
            5..8 => Some(Any::StringValue(self.text())),
            8 | 9 => {
                let values = self.some(3, |maker| maker.any(depth - 1));
                Some(Any::ArrayValue(ArrayValue { values }))
            }
            _ => Some(Any::KvlistValue(KeyValueList { values: self.map(3, depth - 1) })),
        };
        AnyValue { value }
    }

    pub(super) fn map(&mut self, most: usize, depth: u8) -> Vec<KeyValue> {
        self.some(most, |maker| {
            let value = Some(maker.any(depth)).filter(|_| maker.rng.u8(0..12) > 0);
            KeyValue { key: maker.pick(&KEYS).to_owned(), value, ..KeyValue::default() }
        })
    }

    pub(super) fn attributes(&mut self) -> Vec<KeyValue> {
        self.map(6, 2)
    }

    fn resource(&mut self) -> Option<Resource> {
        (self.rng.u8(0..5) > 0).then(|| Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(0..2),
            ..Resource::default()
        })
    }

    fn scope(&mut self) -> Option<InstrumentationScope> {
        (self.rng.u8(0..5) > 0).then(|| InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(0..2),
        })
    }

    fn request(&mut self, signal: Signal) -> Vec<u8> {
        match signal {
            Signal::Traces => {
                let resource_spans = self.some(3, |maker| ResourceSpans {
                    resource: maker.resource(),
                    scope_spans: maker.some(3, |maker| ScopeSpans {
                        scope: maker.scope(),
                        spans: maker.some(4, Self::span),
                        schema_url: maker.text(),
                    }),
                    schema_url: maker.text(),
                });
                ExportTraceServiceRequest { resource_spans }.encode_to_vec()
            }
            Signal::Logs => {
                let resource_logs = self.some(3, |maker| ResourceLogs {
                    resource: maker.resource(),
                    scope_logs: maker.some(3, |maker| ScopeLogs {
                        scope: maker.scope(),
                        log_records: maker.some(4, Self::log),
                        schema_url: maker.text(),
                    }),
                    schema_url: maker.text(),
                });
                ExportLogsServiceRequest { resource_logs }.encode_to_vec()
            }
            Signal::Metrics => {
                let resource_metrics = self.some(3, |maker| ResourceMetrics {
                    resource: maker.resource(),
                    scope_metrics: maker.some(3, |maker| ScopeMetrics {
                        scope: maker.scope(),
                        metrics: maker.some(3, Self::metric),
                        schema_url: maker.text(),
                    }),
                    schema_url: maker.text(),
                });
                ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
            }
        }
    }

    pub(super) fn id(&mut self, len: usize) -> Vec<u8> {
        self.pick(
            &[vec![], vec![0; 16], vec![10; 16], (1..17).collect()][..].iter().collect::<Vec<_>>(),
        )
        .iter()
        .copied()
        .take(len)
        .collect()
    }

    /// Attributes, of which some are in the semantic conventions.
    fn conventional(&mut self) -> Vec<KeyValue> {
        let mut attributes = self.attributes();
        if self.rng.u8(0..3) == 0 {
            for _ in 0..self.rng.u8(1..6) {
                let value = match self.rng.u8(0..4) {
                    0 => Any::BoolValue(self.rng.bool()),
                    1 => Any::IntValue(80),
                    _ => Any::StringValue(self.pick(&["GET", "_OTHER", "x", ""]).to_owned()),
                };
                let value = Some(AnyValue { value: Some(value) });
                let key = self.pick(&CONVENTIONS).to_owned();
                attributes.push(KeyValue { key, value, ..KeyValue::default() });
            }
        }
        attributes
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            parent_span_id: self.id(8),
            trace_state: self.text(),
            name: self.text(),
            kind: self.rng.i32(0..6),
            start_time_unix_nano: self.number(),
            end_time_unix_nano: self.number(),
            attributes: self.conventional(),
            dropped_attributes_count: self.rng.u32(0..2),
            events: self.some(3, |maker| Event {
                time_unix_nano: maker.number(),
                name: maker.text(),
                attributes: maker.attributes(),
                dropped_attributes_count: 1,
            }),
            links: self.some(2, |maker| Link {
                trace_id: maker.id(16),
                span_id: maker.id(8),
                trace_state: maker.text(),
                attributes: maker.attributes(),
                ..Link::default()
            }),
            status: self.rng.bool().then(|| Status { message: "b".to_owned(), code: 2 }),
            flags: self.rng.u32(0..4),
            ..Span::default()
        }
    }

    fn log(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.number(),
            observed_time_unix_nano: self.number(),
            severity_number: self.pick(&[0, 1, 9, 17]),
            severity_text: self.text(),
            body: (self.rng.u8(0..6) > 0).then(|| self.any(2)),
            attributes: self.attributes(),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.text(),
            ..LogRecord::default()
        }
    }
}

/// Encodes a message anew.
struct Wild<'r> {
    rng: &'r mut Rng,
}

impl Wild<'_> {
    fn chance(&mut self, one_in: u8) -> bool {
        self.rng.u8(0..one_in) == 0
    }

    fn message(&mut self, message: &Message, bytes: &[u8]) -> Vec<u8> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        for field in Fields::new(bytes).flatten() {
            let known = message.position(field.number).map(|at| &message.fields[at]);
            let is_repeated = known.is_none_or(|known| known.presence == Presence::Repeated);
            match (known.map(|known| known.kind), field.value) {
                (Some(Kind::Message(inner)), FieldValue::Len(content)) => {
                    let content = self.message(inner, content);
                    if !is_repeated && self.chance(4) {
                        let (first, second) = self.halves(&content);
                        out.push(bytes_field(field.number, first));
                        out.push(bytes_field(field.number, second));
                    } else {
                        out.push(bytes_field(field.number, &content));
                    }
                }
                (Some(kind), value) => {
                    if !is_repeated && self.chance(8) {
                        out.push(other(field.number, kind, value, field.whole));
                    }
                    out.push(field.whole.to_vec());
                }
                _ => out.push(field.whole.to_vec()),
            }
        }
        if self.chance(8) {
            out.push(bytes_field(self.rng.u32(1000..2000), b"unknown"));
        }
        if self.chance(4) {
            self.rng.shuffle(&mut out);
        }
        out.concat()
    }

    /// A message in two parts, between any two of its fields.
    fn halves<'b>(&mut self, content: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        let lens: Vec<usize> = Fields::new(content).flatten().map(|f| f.whole.len()).collect();
        let at = self.rng.usize(0..=lens.len());
        content.split_at(lens[..at].iter().sum())
    }
}

/// The same scalar with another value.
fn other(number: u32, kind: Kind, value: FieldValue<'_>, whole: &[u8]) -> Vec<u8> {
    match (kind, value) {
        (Kind::String, _) => bytes_field(number, b"k"),
        (Kind::Id(len), _) => bytes_field(number, &vec![7; len]),
        (_, FieldValue::Varint(_)) => {
            let mut out = Vec::new();
            put_varint(&mut out, u64::from(number) << 3);
            put_varint(&mut out, 1);
            out
        }
        _ => whole.to_vec(),
    }
}

fn bytes_field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, content);
    out
}
