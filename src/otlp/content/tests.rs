//! Walks and cuts, with prost as the oracle, over requests as no sane encoder writes them.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    metrics::v1::{Metric, metric::Data},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::otlp::{
    json::{self, Extent},
    view,
    wild::{self, OneOfs},
    wire::{READ, put_bytes},
};

/// Each item as the only one of its request, as prost reads it.
fn alone(signal: Signal, body: &[Bytes]) -> Vec<String> {
    let mut all = Vec::new();
    for segment in body {
        match signal {
            Signal::Traces => {
                let request = ExportTraceServiceRequest::decode(segment.clone()).unwrap();
                for mut entry in request.resource_spans {
                    for mut scope in std::mem::take(&mut entry.scope_spans) {
                        for item in std::mem::take(&mut scope.spans) {
                            all.push(format!("{entry:?} {scope:?} {item:?}"));
                        }
                    }
                }
            }
            Signal::Logs => {
                let request = ExportLogsServiceRequest::decode(segment.clone()).unwrap();
                for mut entry in request.resource_logs {
                    for mut scope in std::mem::take(&mut entry.scope_logs) {
                        for item in std::mem::take(&mut scope.log_records) {
                            all.push(format!("{entry:?} {scope:?} {item:?}"));
                        }
                    }
                }
            }
            Signal::Metrics => {
                let request = ExportMetricsServiceRequest::decode(segment.clone()).unwrap();
                for mut entry in request.resource_metrics {
                    for mut scope in std::mem::take(&mut entry.scope_metrics) {
                        for metric in std::mem::take(&mut scope.metrics) {
                            for point in points(metric) {
                                all.push(format!("{entry:?} {scope:?} {point}"));
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

/// The points of a metric, each with the metric.
fn points(mut metric: Metric) -> Vec<String> {
    macro_rules! apart {
        ($data:ident) => {
            std::mem::take(&mut $data.data_points).iter().map(|one| format!("{one:?}")).collect()
        };
    }
    let points: Vec<String> = match &mut metric.data {
        None => Vec::new(),
        Some(Data::Gauge(data)) => apart!(data),
        Some(Data::Sum(data)) => apart!(data),
        Some(Data::Histogram(data)) => apart!(data),
        Some(Data::ExponentialHistogram(data)) => apart!(data),
        Some(Data::Summary(data)) => apart!(data),
    };
    points.iter().map(|point| format!("{metric:?} {point}")).collect()
}

/// What a walk shows from its place on, up to so many items; stops before one more.
fn shown(walk: &mut Walk<'_>, most: usize) -> Vec<String> {
    let (mut all, mut count) = (Vec::new(), 0);
    while let Some(step) = walk.next() {
        let Step::Item(item) = step else { continue };
        if count == most {
            walk.put_back();
            break;
        }
        count += 1;
        let resource = walk.resource().map(|one| one.attributes().count());
        let scope = walk.scope().map(|one| (one.name, one.version));
        let urls = (walk.resource_schema_url(), walk.scope_schema_url());
        let metric = walk.metric().map(|one| {
            let nature = one.data.map(view::Data::nature);
            (one.name, one.unit, nature)
        });
        let fields: Vec<_> = item.fields().collect();
        all.push(format!(
            "{resource:?} {urls:?} {scope:?} {metric:?} {:?} {fields:?}",
            walk.numbers()
        ));
    }
    all
}

fn content(signal: Signal, seeds: &[u64], one_ofs: OneOfs) -> Content {
    let body: Body =
        seeds.iter().map(|seed| wild::request(signal, *seed, one_ofs).into()).collect();
    let items = alone(signal, &body).len() as u64;
    Content { signal, body, items }
}

proptest! {
    #[test]
    fn pieces_are_the_whole(
        signal in prop::sample::select(&Signal::ALL[..]),
        seeds in prop::collection::vec(any::<u64>(), 1..3),
        is_mixed: bool,
        sizes in prop::collection::vec(0..4_usize, 1..30),
    ) {
        let one_ofs = if is_mixed { OneOfs::Mixed } else { OneOfs::Kept };
        let content = content(signal, &seeds, one_ofs);
        let whole = shown(&mut Walk::new(&content, Cursor::default()), usize::MAX);
        prop_assert_eq!(whole.len() as u64, content.items);
        let (mut seen, mut cut, mut from) = (Vec::new(), Vec::new(), Some(Cursor::default()));
        let mut sizes = sizes.into_iter().chain(std::iter::repeat(2));
        while let Some(start) = from {
            let mut walk = Walk::new(&content, start);
            let here = shown(&mut walk, 1 + sizes.next().unwrap_or(0));
            from = walk.cursor();
            let part = content.between(&start, from.as_ref());
            let items = alone(signal, &part);
            prop_assert_eq!(items.len(), here.len());
            prop_assert_eq!(walk.items(), start.items() + here.len() as u64);
            cut.extend(items);
            seen.extend(here);
            let rest = from.map(|from| alone(signal, &content.between(&from, None)));
            let rest = cut.iter().cloned().chain(rest.into_iter().flatten());
            prop_assert_eq!(rest.collect::<Vec<_>>(), alone(signal, &content.body));
        }
        prop_assert_eq!(seen, whole);
        prop_assert_eq!(cut, alone(signal, &content.body));
    }
}

#[test]
fn what_no_piece_ends_in_is_not_copied() {
    let entry = [0x0A, 4, 0x12, 2, 0x12, 0];
    let segment = Bytes::from([entry, entry, entry].concat());
    let content = Content::new(Signal::Traces, segment.clone(), 3);
    let mut walk = Walk::new(&content, Cursor::default());
    while walk.items() < 1 {
        walk.next().unwrap();
    }
    let rest = content.between(&walk.cursor().unwrap(), None);
    let last = rest.last().unwrap();
    assert_eq!((last.as_ptr(), last.len()), (segment[6..].as_ptr(), 12));
}

#[test]
fn a_walk_ends_when_it_is_time_for_other_work_and_goes_on_at_no_cost() {
    // An entry with one scope of many empty spans.
    let spans = [0x12, 0].repeat(200_000);
    let (mut scope, mut request) = (Vec::new(), Vec::new());
    put_bytes(&mut scope, 2, &spans);
    put_bytes(&mut request, 1, &scope);
    let content = Content::new(Signal::Traces, request.into(), 200_000);
    let (mut pieces, mut items, mut from) = (0, 0, Some(Cursor::default()));
    while let Some(start) = from {
        let mut walk = Walk::new(&content, start);
        while let Some(step) = walk.next() {
            items += usize::from(matches!(step, Step::Item(_)));
        }
        pieces += 1;
        from = walk.cursor();
    }
    assert_eq!((pieces, items), (4, 200_000));
}

/// A sum of so many points, with its temporality behind them.
fn sum(points: usize) -> Content {
    let data = [&[0x0A, 2, 0x40, 1].repeat(points)[..], &[0x10, 2]].concat();
    let mut body = Vec::new();
    for number in [7, 2, 2, 1] {
        let mut outer = Vec::new();
        put_bytes(&mut outer, number, if number == 7 { &data } else { &body });
        body = outer;
    }
    Content::new(Signal::Metrics, body.into(), points as u64)
}

/// Fields that are read where each piece goes as far as `piece` takes the walk.
fn fields_read(content: &Content, piece: impl Fn(&mut Walk<'_>)) -> u64 {
    let (before, mut from) = (READ.get(), Some(Cursor::default()));
    while let Some(start) = from {
        let mut walk = Walk::new(content, start);
        piece(&mut walk);
        from = walk.cursor();
    }
    READ.get() - before
}

#[test]
fn neither_a_point_nor_a_piece_passes_all_points_of_its_metric() {
    let ask = |walk: &mut Walk<'_>| {
        for _ in 0..100 {
            let Some(step) = walk.next() else { break };
            let data = walk.metric().and_then(|metric| metric.data);
            assert_eq!(data.is_some(), !matches!(step, Step::Resource | Step::Scope));
        }
    };
    let page = |walk: &mut Walk<'_>| {
        let mut text = Vec::new();
        assert_eq!(json::write_page(walk, Extent::Entries, 2000, &mut text), 0);
        let end = text.split_off(text.len() - 36);
        assert_eq!(end, br#"],"aggregationTemporality":2}}]}]}]}"#);
    };
    let [few, many] = [1000, 4000].map(sum);
    for work in [
        fields_read(&many, ask) / fields_read(&few, ask),
        fields_read(&many, page) / fields_read(&few, page),
    ] {
        assert!(work <= 4, "{work} times as much for four times as many points");
    }
}
