//! Cutting, with prost as the oracle.

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::otlp::check::{self, Utf8};

/// Entries > scopes > spans per scope; span names count up.
fn traces(shape: &[Vec<usize>]) -> ExportTraceServiceRequest {
    let mut next = 0;
    let mut spans = |n: usize| {
        (0..n)
            .map(|_| {
                next += 1;
                Span { name: format!("span {next}"), ..Span::default() }
            })
            .collect()
    };
    ExportTraceServiceRequest {
        resource_spans: shape
            .iter()
            .enumerate()
            .map(|(r, scopes)| ResourceSpans {
                schema_url: format!("resource {r}"),
                scope_spans: scopes
                    .iter()
                    .enumerate()
                    .map(|(s, n)| ScopeSpans {
                        schema_url: format!("scope {s}"),
                        spans: spans(*n),
                        ..ScopeSpans::default()
                    })
                    .collect(),
                ..ResourceSpans::default()
            })
            .collect(),
    }
}

fn payload(request: &ExportTraceServiceRequest) -> Payload {
    let body = Bytes::from(request.encode_to_vec());
    let items = count_items(Signal::Traces, &body);
    Payload::unpaid(Signal::Traces, body, items)
}

/// Where each span stands and what it is called, in order.
fn names(parts: &[Payload]) -> Vec<(String, String, String)> {
    let mut names = Vec::new();
    for part in parts {
        let bytes: Vec<u8> = part.body.concat();
        let checked = check::check(part.signal, &bytes, Utf8::Strict).unwrap();
        assert_eq!(checked.items, part.items, "the part knows its items");
        let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        for resource in &request.resource_spans {
            for scope in &resource.scope_spans {
                for span in &scope.spans {
                    names.push((
                        resource.schema_url.clone(),
                        scope.schema_url.clone(),
                        span.name.clone(),
                    ));
                }
            }
        }
    }
    names
}

#[test]
fn what_fits_is_the_same_allocation() {
    let payload = payload(&traces(&[vec![3]]));
    let before = payload.body[0].as_ptr();
    let parts = by_items(payload, 3);
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].body[0].as_ptr(), before);
}

#[test]
fn whole_entries_are_sliced_and_not_copied() {
    let payload = payload(&traces(&[vec![2], vec![2], vec![2]]));
    let segment = payload.body[0].clone();
    for part in by_items(payload, 2) {
        let start = part.body[0].as_ptr() as usize - segment.as_ptr() as usize;
        assert!(start < segment.len());
    }
}

#[test]
fn a_single_huge_entry_is_cut_and_nothing_is_lost() {
    let payload = payload(&traces(&[vec![25_000]]));
    let expected = names(std::slice::from_ref(&payload));
    let parts = by_items(payload, 8192);
    assert_eq!(parts.iter().map(|p| p.items).collect::<Vec<_>>(), [8192, 8192, 8192, 424]);
    assert_eq!(names(&parts), expected);
}

#[test]
fn an_item_above_the_byte_limit_goes_alone() {
    let mut request = traces(&[vec![3]]);
    request.resource_spans[0].scope_spans[0].spans[1].name = "x".repeat(5000);
    let parts = by_bytes(payload(&request), 1000);
    assert_eq!(parts.iter().map(|p| p.items).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(parts[0].len() < 1000 && parts[1].len() > 5000 && parts[2].len() < 1000);
}

#[test]
fn a_huge_header_is_not_repeated_for_every_span() {
    let mut request = traces(&[vec![1000]]);
    request.resource_spans[0].schema_url = "h".repeat(100_000);
    let payload = payload(&request);
    let len = payload.len();
    let parts = by_items(payload, 1);
    let total: usize = parts.iter().map(Payload::len).sum();
    assert!(total <= len * (AMPLIFICATION + 1) + 65_536, "{total} bytes out of {len}");
    assert_eq!(parts.iter().map(|p| p.items).sum::<u64>(), 1000);
}

#[test]
fn unknown_fields_of_wrappers_survive_in_every_piece() {
    let mut scope = Vec::new();
    for _ in 0..4 {
        put_bytes(&mut scope, 2, &[]);
    }
    put_bytes(&mut scope, 77, b"unknown");
    let mut entry = Vec::new();
    put_bytes(&mut entry, 2, &scope);
    put_bytes(&mut entry, 99, b"of the entry");
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &entry);
    let parts = by_items(Payload::unpaid(Signal::Traces, body.into(), 4), 1);
    assert_eq!(parts.len(), 4);
    for part in parts {
        let bytes = part.body.concat();
        assert!(bytes.windows(7).any(|w| w == b"unknown"));
        assert!(bytes.windows(12).any(|w| w == b"of the entry"));
    }
}

#[test]
fn a_huge_unknown_field_of_the_request_stays_what_it_is() {
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &[]);
    put_bytes(&mut body, 6, &[0x19; 300]);
    let parts = by_bytes(Payload::unpaid(Signal::Logs, body.clone().into(), 0), 100);
    assert_eq!(parts.iter().flat_map(|part| part.body.concat()).collect::<Vec<_>>(), body);
}

#[test]
fn one_metric_with_many_points_is_cut_by_points() {
    let points = vec![NumberDataPoint::default(); 10];
    let metric = Metric {
        name: "m".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points: points })),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }],
            ..Default::default()
        }],
    };
    let body = Bytes::from(request.encode_to_vec());
    assert_eq!(count_items(Signal::Metrics, &body), 10);
    let parts = by_items(Payload::unpaid(Signal::Metrics, body, 10), 4);
    assert_eq!(parts.iter().map(|p| p.items).collect::<Vec<_>>(), [4, 4, 2]);
    for part in parts {
        let request = ExportMetricsServiceRequest::decode(&*part.body.concat()).unwrap();
        assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics[0].name, "m");
    }
}

#[test]
fn halving_goes_along_segments_first_then_by_items_down_to_one() {
    let mut joined = payload(&traces(&[vec![3]]));
    joined.absorb(payload(&traces(&[vec![4]])));
    let [left, right] = halve(joined).unwrap();
    assert_eq!((left.items, right.items), (3, 4));
    let [a, b] = halve(right).unwrap();
    assert_eq!((a.items, b.items), (2, 2));
    let [one, _] = halve(a).unwrap();
    assert!(halve(one).is_err());
}

proptest! {
    #[test]
    fn parts_hold_every_span_once_and_keep_to_the_limit(
        shape in proptest::collection::vec(proptest::collection::vec(0usize..9, 0..4), 0..5),
        segments in 1usize..4,
        max in 1u64..12,
    ) {
        let mut whole = payload(&traces(&shape));
        for _ in 1..segments {
            whole.absorb(payload(&traces(&shape)));
        }
        let expected = names(std::slice::from_ref(&whole));
        let parts = by_items(whole, max);
        prop_assert!(parts.iter().all(|part| part.items <= max));
        prop_assert_eq!(names(&parts), expected);
    }

    #[test]
    fn parts_keep_to_the_byte_limit_where_items_allow(
        shape in proptest::collection::vec(proptest::collection::vec(0usize..9, 0..4), 0..5),
        max in 60u64..500,
    ) {
        let whole = payload(&traces(&shape));
        let expected = names(std::slice::from_ref(&whole));
        let parts = by_bytes(whole, max);
        prop_assert!(parts.iter().all(|part| part.items <= 1 || part.len() as u64 <= max));
        prop_assert_eq!(names(&parts), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>, max in 1u64..9) {
        for signal in Signal::ALL {
            let items = count_items(signal, &body).max(1);
            let payload = Payload::unpaid(signal, body.clone().into(), items + max);
            let _ = by_items(payload.clone(), max);
            let _ = by_bytes(payload, max);
        }
    }
}
