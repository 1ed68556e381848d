use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::KeyValue,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::{chunk::Kind, *};
use crate::{
    otlp::{Signal, plain, wild},
    sync,
};

mod meters;
mod questions;
mod room;
mod tree;

/// The time of all tests, in nanoseconds since 1970.
pub(super) const NOW: u64 = 1_700_000_000_000_000_000;

pub(super) fn small() -> Recent {
    // As much of a CPU as it likes, so that nothing is left out on a slow machine.
    let settings = Settings { bytes: Settings::LEAST, cpu: 1e6, ..Settings::default() };
    Recent::new(settings).unwrap()
}

/// The item alone, in its canonical form, without fields that prost does not know.
fn alone(signal: Signal, request: &[u8]) -> Vec<Vec<u8>> {
    wild::oracle::items(signal, request)
}

/// Takes in a request at once, as if it were offered.
pub(super) fn take(recent: &Recent, signal: Signal, request: Vec<u8>) {
    recent.offer(signal, &Bytes::from(request), NOW);
    recent.catch_up();
}

/// Spans of one service in plain JSON, which get what they lack: an id, a name, times.
pub(super) fn take_spans(recent: &Recent, service: &str, spans: &[Json]) {
    let spans: Vec<Json> = spans
        .iter()
        .enumerate()
        .map(|(at, span)| {
            let mut whole = json!({
                "traceId": format!("{:032x}", 1), "spanId": format!("{:016x}", at + 1),
                "name": "work", "kind": 2,
                "startTimeUnixNano": NOW.to_string(),
                "endTimeUnixNano": (NOW + 1_000_000).to_string(),
            });
            whole.as_object_mut().unwrap().extend(span.as_object().unwrap().clone());
            whole
        })
        .collect();
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": {"service.name": service, "host.name": "n1"}},
        "scopeSpans": [{"scope": {"name": "lib", "version": "2"}, "spans": spans}],
    }]});
    take(recent, Signal::Traces, plain::bytes(Signal::Traces, &request));
}

fn held(recent: &Recent, kind: Kind) -> Vec<u8> {
    let (chunks, _) = recent.snapshot(kind, NOW);
    let mut out = Vec::new();
    for chunk in chunks.iter().rev() {
        let rows: Vec<usize> = (0..chunk.rows()).collect();
        item::put_requests(chunk, &rows, &mut out);
    }
    out
}

pub(super) fn audit(recent: &Recent) {
    let store = sync::lock(&recent.store);
    let (charged, allocated) = store.audit();
    assert_eq!(charged, allocated, "what is charged is what is allocated");
    assert_eq!(recent.account.used(), charged + recent.queue_charge.bytes());
    assert!(recent.account.highest() <= recent.settings.bytes);
}

/// An attribute without a value has the empty one, and the position of its key, which only
/// profiles use, is not kept.
fn usual(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        attribute.key_strindex = 0;
        attribute.value.get_or_insert_default();
    }
}

/// As bytes, since a number that is none differs from itself.
fn one_span(bytes: &[u8]) -> Vec<u8> {
    let mut request = ExportTraceServiceRequest::decode(bytes).unwrap();
    usual(&mut request.resource_spans[0].scope_spans[0].spans[0].attributes);
    request.encode_to_vec()
}

fn one_record(bytes: &[u8]) -> Vec<u8> {
    let mut request = ExportLogsServiceRequest::decode(bytes).unwrap();
    usual(&mut request.resource_logs[0].scope_logs[0].log_records[0].attributes);
    request.encode_to_vec()
}

proptest! {
    #[test]
    fn what_comes_out_is_what_went_in(seeds in prop::collection::vec(any::<u64>(), 1..12)) {
        for (signal, kind) in [(Signal::Traces, Kind::Spans), (Signal::Logs, Kind::Records)] {
            let recent = small();
            let mut expected = Vec::new();
            for seed in &seeds {
                let request = wild::request(signal, *seed, wild::OneOfs::Mixed);
                expected.extend(alone(signal, &request));
                take(&recent, signal, request);
                audit(&recent);
            }
            let found = alone(signal, &held(&recent, kind));
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                if signal == Signal::Traces {
                    prop_assert_eq!(one_span(found), one_span(expected));
                } else {
                    prop_assert_eq!(one_record(found), one_record(expected));
                }
            }
            audit(&recent);
        }
    }
}
