//! What the store of recent data takes of memory: its budget and a constant, whatever comes and
//! whatever is asked.

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::{
    otlp::Signal,
    recent::{Limits, Query, Recent, Settings, TraceFilter},
};

use crate::{ALLOCATED, alone};

const BUDGET: usize = 16 << 20;
/// A request while it is made and digested, values that are unpacked, and what a query or a list
/// allocates: 8 MiB at most, by its own limit.
const BESIDE: usize = 10 << 20;
const NOW: u64 = 1_700_000_000_000_000_000;

fn attributes(random: &mut Rng) -> Vec<KeyValue> {
    (0..random.usize(0..12))
        .map(|_| {
            let text = (0..random.usize(0..100)).map(|_| random.alphanumeric()).collect();
            KeyValue {
                key: format!("key-{}", random.u8(..)),
                value: Some(AnyValue { value: Some(Value::StringValue(text)) }),
                ..KeyValue::default()
            }
        })
        .collect()
}

fn spans(random: &mut Rng) -> Vec<u8> {
    let spans = (0..100).map(|_| Span {
        trace_id: random.u128(1..).to_be_bytes().to_vec(),
        span_id: random.u64(1..).to_be_bytes().to_vec(),
        name: format!("name {}", random.u16(..)),
        attributes: attributes(random),
        start_time_unix_nano: NOW,
        end_time_unix_nano: NOW + random.u64(..1_000_000_000),
        ..Span::default()
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec()
}

fn records(random: &mut Rng) -> Vec<u8> {
    let records = (0..50).map(|_| LogRecord {
        time_unix_nano: NOW,
        attributes: attributes(random),
        ..LogRecord::default()
    });
    let scope = ScopeLogs { log_records: records.collect(), ..ScopeLogs::default() };
    let entry = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec()
}

fn metrics(random: &mut Rng) -> Vec<u8> {
    let name = format!("metric {}", random.u16(..));
    let data_points = (0..50).map(|_| NumberDataPoint {
        time_unix_nano: NOW,
        attributes: attributes(random),
        ..NumberDataPoint::default()
    });
    let metric = Metric {
        name,
        data: Some(Data::Gauge(Gauge { data_points: data_points.collect() })),
        ..Metric::default()
    };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let entry = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec()
}

#[test]
fn a_store_takes_no_more_than_its_budget() {
    alone(|| {
        let before = ALLOCATED.current_usage();
        let settings = Settings { bytes: BUDGET, cpu: 1e6, ..Settings::default() };
        let store = Recent::new(settings).unwrap();
        let query = br#"{"group_by": ["key-1", "key-2", "name"], "step_s": 1}"#;
        let query = Query::from_json(query).unwrap();
        let filter = TraceFilter::read(&serde_json::json!({"text": "none has it"})).unwrap();
        let mut random = Rng::with_seed(1);
        let mut quiet = 0;
        for at in 0..700 {
            for (signal, make) in [
                (Signal::Traces, spans as fn(&mut Rng) -> Vec<u8>),
                (Signal::Logs, records),
                (Signal::Metrics, metrics),
            ] {
                store.offer(signal, &Bytes::from(make(&mut random)), NOW);
                store.catch_up();
            }
            quiet = quiet.max(ALLOCATED.current_usage() - before);
            if at % 200 == 0 {
                store.query(&query, Limits::default(), NOW);
                store.traces(&filter, NOW);
            }
        }
        let status = store.status();
        assert!(status.counts.evicted > 10_000, "it was filled: {status:?}");
        assert!(quiet <= BUDGET, "{quiet} bytes are in use between requests");
        let most = ALLOCATED.peak_usage() - before;
        assert!(most <= BUDGET + BESIDE, "{most} bytes were in use at once");
        assert!(quiet >= BUDGET * 3 / 4, "what is charged is used: {quiet}");
        drop(store);
        let after = ALLOCATED.current_usage() - before;
        assert!(after < 64 << 10, "{after} bytes are left");
    });
}
