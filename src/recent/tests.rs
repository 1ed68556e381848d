use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::KeyValue,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::*;
use crate::otlp::{Signal, plain, wild};

/// The time of all tests, in nanoseconds since 1970.
pub(super) const NOW: u64 = 1_700_000_000_000_000_000;

pub(super) fn small() -> Recent {
    let settings = Settings { bytes: Settings::LEAST, ..Settings::default() };
    Recent::new(settings).unwrap()
}

/// The item alone, in its canonical form, without fields that prost does not know.
fn alone(signal: Signal, request: &[u8]) -> Vec<Vec<u8>> {
    wild::oracle::items(signal, request)
}

fn held(recent: &Recent, kind: Kind) -> Vec<u8> {
    let (chunks, _) = recent.snapshot(kind, NOW);
    let mut out = Vec::new();
    for chunk in chunks.iter().rev() {
        let rows: Vec<usize> = (0..chunk.rows()).collect();
        item::put_request(chunk, &rows, &mut out);
    }
    out
}

fn audit(recent: &Recent) {
    let store = sync::lock(&recent.store);
    let (charged, allocated) = store.audit();
    assert_eq!(charged, allocated, "what is charged is what is allocated");
    assert_eq!(recent.account.used(), charged + recent._queue_charge.bytes());
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
                recent.offer(signal, &Bytes::from(request), NOW);
                recent.catch_up();
                audit(&recent);
            }
            let found = alone(signal, &held(&recent, kind));
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                match signal {
                    Signal::Traces => prop_assert_eq!(one_span(found), one_span(expected)),
                    _ => prop_assert_eq!(one_record(found), one_record(expected)),
                }
            }
            audit(&recent);
        }
    }
}
