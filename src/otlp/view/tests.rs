//! Views against prost: what views show, put into the generated types, is what prost decodes.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1 as common,
    logs::v1 as logs,
    metrics::v1 as metrics,
    resource::v1 as resource,
    trace::v1 as trace,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::otlp::{
    Signal,
    wild::{OneOfs, damaged, request},
};

fn string(text: Text<'_>) -> String {
    String::from_utf8(text.0.to_vec()).unwrap()
}

fn attributes<'a>(all: impl Iterator<Item = KeyValue<'a>>) -> Vec<common::KeyValue> {
    all.map(|view| common::KeyValue {
        key: string(view.key),
        value: view.value.map(any_value),
        key_strindex: view.key_strindex,
    })
    .collect()
}

fn any_value(view: Value<'_>) -> common::AnyValue {
    use common::any_value::Value as Theirs;
    let value = match view {
        Value::Empty => None,
        Value::String(text) => Some(Theirs::StringValue(string(text))),
        Value::Bool(value) => Some(Theirs::BoolValue(value)),
        Value::Int(value) => Some(Theirs::IntValue(value)),
        Value::Double(value) => Some(Theirs::DoubleValue(value)),
        Value::Array(array) => {
            let values = array.values().map(any_value).collect();
            Some(Theirs::ArrayValue(common::ArrayValue { values }))
        }
        Value::KeyValues(list) => {
            let values = attributes(list.entries());
            Some(Theirs::KvlistValue(common::KeyValueList { values }))
        }
        Value::Bytes(bytes) => Some(Theirs::BytesValue(bytes.to_vec())),
        Value::StringIndex(index) => Some(Theirs::StringValueStrindex(index)),
    };
    common::AnyValue { value }
}

fn resource(view: Resource<'_>) -> resource::Resource {
    let entity_refs = view.entity_refs().map(|entity| common::EntityRef {
        schema_url: string(entity.schema_url),
        r#type: string(entity.kind),
        id_keys: entity.id_keys().map(string).collect(),
        description_keys: entity.description_keys().map(string).collect(),
    });
    resource::Resource {
        attributes: attributes(view.attributes()),
        dropped_attributes_count: view.dropped_attributes_count,
        entity_refs: entity_refs.collect(),
    }
}

fn scope(view: Scope<'_>) -> common::InstrumentationScope {
    common::InstrumentationScope {
        name: string(view.name),
        version: string(view.version),
        attributes: attributes(view.attributes()),
        dropped_attributes_count: view.dropped_attributes_count,
    }
}

fn span(view: Span<'_>) -> trace::Span {
    let events = view.events().map(|event| trace::span::Event {
        time_unix_nano: event.time_unix_nano,
        name: string(event.name),
        attributes: attributes(event.attributes()),
        dropped_attributes_count: event.dropped_attributes_count,
    });
    let links = view.links().map(|link| trace::span::Link {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        trace_state: string(link.trace_state),
        attributes: attributes(link.attributes()),
        dropped_attributes_count: link.dropped_attributes_count,
        flags: link.flags,
    });
    let status = view.status.map(|s| trace::Status { message: string(s.text), code: s.code });
    trace::Span {
        trace_id: view.trace_id.to_vec(),
        span_id: view.span_id.to_vec(),
        trace_state: string(view.trace_state),
        parent_span_id: view.parent_span_id.to_vec(),
        flags: view.flags,
        name: string(view.name),
        kind: view.kind,
        start_time_unix_nano: view.start_time_unix_nano,
        end_time_unix_nano: view.end_time_unix_nano,
        attributes: attributes(view.attributes()),
        dropped_attributes_count: view.dropped_attributes_count,
        events: events.collect(),
        dropped_events_count: view.dropped_events_count,
        links: links.collect(),
        dropped_links_count: view.dropped_links_count,
        status,
    }
}

fn log_record(view: LogRecord<'_>) -> logs::LogRecord {
    logs::LogRecord {
        time_unix_nano: view.time_unix_nano,
        observed_time_unix_nano: view.observed_time_unix_nano,
        severity_number: view.severity_number,
        severity_text: string(view.severity_text),
        body: view.body.map(any_value),
        attributes: attributes(view.attributes()),
        dropped_attributes_count: view.dropped_attributes_count,
        flags: view.flags,
        trace_id: view.trace_id.to_vec(),
        span_id: view.span_id.to_vec(),
        event_name: string(view.event_name),
    }
}

fn exemplars<'a>(all: impl Iterator<Item = Exemplar<'a>>) -> Vec<metrics::Exemplar> {
    use metrics::exemplar::Value as Theirs;
    all.map(|view| metrics::Exemplar {
        filtered_attributes: attributes(view.filtered_attributes()),
        time_unix_nano: view.time_unix_nano,
        span_id: view.span_id.to_vec(),
        trace_id: view.trace_id.to_vec(),
        value: view.value.map(|number| match number {
            Number::Double(value) => Theirs::AsDouble(value),
            Number::Int(value) => Theirs::AsInt(value),
        }),
    })
    .collect()
}

fn number_points(points: Points<'_>) -> Vec<metrics::NumberDataPoint> {
    use metrics::number_data_point::Value as Theirs;
    let point = |view: NumberPoint<'_>| metrics::NumberDataPoint {
        attributes: attributes(view.attributes()),
        start_time_unix_nano: view.start_time_unix_nano,
        time_unix_nano: view.time_unix_nano,
        exemplars: exemplars(view.exemplars()),
        flags: view.flags,
        value: view.value.map(|number| match number {
            Number::Double(value) => Theirs::AsDouble(value),
            Number::Int(value) => Theirs::AsInt(value),
        }),
    };
    points.iter().map(point).collect()
}

fn histogram_point(view: HistogramPoint<'_>) -> metrics::HistogramDataPoint {
    metrics::HistogramDataPoint {
        attributes: attributes(view.attributes()),
        start_time_unix_nano: view.start_time_unix_nano,
        time_unix_nano: view.time_unix_nano,
        count: view.count,
        sum: view.sum,
        bucket_counts: view.bucket_counts().collect(),
        explicit_bounds: view.explicit_bounds().collect(),
        exemplars: exemplars(view.exemplars()),
        flags: view.flags,
        min: view.min,
        max: view.max,
    }
}

fn exponential_point(
    view: ExponentialHistogramPoint<'_>,
) -> metrics::ExponentialHistogramDataPoint {
    let buckets = |buckets: Buckets<'_>| metrics::exponential_histogram_data_point::Buckets {
        offset: buckets.offset,
        bucket_counts: buckets.bucket_counts().collect(),
    };
    metrics::ExponentialHistogramDataPoint {
        attributes: attributes(view.attributes()),
        start_time_unix_nano: view.start_time_unix_nano,
        time_unix_nano: view.time_unix_nano,
        count: view.count,
        sum: view.sum,
        scale: view.scale,
        zero_count: view.zero_count,
        positive: view.positive.map(buckets),
        negative: view.negative.map(buckets),
        flags: view.flags,
        exemplars: exemplars(view.exemplars()),
        min: view.min,
        max: view.max,
        zero_threshold: view.zero_threshold,
    }
}

fn summary_point(view: SummaryPoint<'_>) -> metrics::SummaryDataPoint {
    let quantile = |view: Quantile| metrics::summary_data_point::ValueAtQuantile {
        quantile: view.quantile,
        value: view.value,
    };
    metrics::SummaryDataPoint {
        attributes: attributes(view.attributes()),
        start_time_unix_nano: view.start_time_unix_nano,
        time_unix_nano: view.time_unix_nano,
        count: view.count,
        sum: view.sum,
        quantile_values: view.quantile_values().map(quantile).collect(),
        flags: view.flags,
    }
}

fn metric(view: Metric<'_>) -> metrics::Metric {
    use metrics::metric::Data as Theirs;
    let data = view.data.map(|data| match data {
        Data::Gauge(points) => Theirs::Gauge(metrics::Gauge { data_points: number_points(points) }),
        Data::Sum { points, temporality, is_monotonic } => Theirs::Sum(metrics::Sum {
            data_points: number_points(points),
            aggregation_temporality: temporality.0,
            is_monotonic,
        }),
        Data::Histogram { points, temporality } => Theirs::Histogram(metrics::Histogram {
            data_points: points.iter().map(histogram_point).collect(),
            aggregation_temporality: temporality.0,
        }),
        Data::ExponentialHistogram { points, temporality } => {
            Theirs::ExponentialHistogram(metrics::ExponentialHistogram {
                data_points: points.iter().map(exponential_point).collect(),
                aggregation_temporality: temporality.0,
            })
        }
        Data::Summary(points) => {
            let data_points = points.iter().map(summary_point).collect();
            Theirs::Summary(metrics::Summary { data_points })
        }
    });
    metrics::Metric {
        name: string(view.name),
        description: string(view.description),
        unit: string(view.unit),
        metadata: attributes(view.metadata()),
        data,
    }
}

/// The request as the views show it, encoded by prost.
fn shown(signal: Signal, body: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let entry = |entry: Entry<'_, Spans>| trace::ResourceSpans {
                resource: entry.resource.map(resource),
                scope_spans: entry
                    .scopes()
                    .map(|view| trace::ScopeSpans {
                        scope: view.scope.map(scope),
                        spans: view.spans().map(span).collect(),
                        schema_url: string(view.schema_url),
                    })
                    .collect(),
                schema_url: string(entry.schema_url),
            };
            let resource_spans = traces(body).map(entry).collect();
            ExportTraceServiceRequest { resource_spans }.encode_to_vec()
        }
        Signal::Metrics => {
            let entry = |entry: Entry<'_, Metrics>| metrics::ResourceMetrics {
                resource: entry.resource.map(resource),
                scope_metrics: entry
                    .scopes()
                    .map(|view| metrics::ScopeMetrics {
                        scope: view.scope.map(scope),
                        metrics: view.metrics().map(metric).collect(),
                        schema_url: string(view.schema_url),
                    })
                    .collect(),
                schema_url: string(entry.schema_url),
            };
            let resource_metrics = metrics(body).map(entry).collect();
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
        Signal::Logs => {
            let entry = |entry: Entry<'_, Logs>| logs::ResourceLogs {
                resource: entry.resource.map(resource),
                scope_logs: entry
                    .scopes()
                    .map(|view| logs::ScopeLogs {
                        scope: view.scope.map(scope),
                        log_records: view.log_records().map(log_record).collect(),
                        schema_url: string(view.schema_url),
                    })
                    .collect(),
                schema_url: string(entry.schema_url),
            };
            let resource_logs = logs(body).map(entry).collect();
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
    }
}

fn decoded(signal: Signal, body: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(body).unwrap().encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(body).unwrap().encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(body).unwrap().encode_to_vec(),
    }
}

#[test]
fn a_status_in_two_parts_is_one() {
    let bytes = [0x7A, 3, 0x12, 1, b'm', 0x7A, 2, 0x18, 2];
    let status = Span::from(Message::new(&bytes)).status.unwrap();
    assert_eq!((status.text, status.code), (Text(b"m"), 2));
}

#[test]
fn the_parts_of_an_array_before_another_member_do_not_count() {
    let array = [0x2A, 2, 0x0A, 0];
    let bytes = [&array[..], &[0x10, 1], &array, &array].concat();
    let Value::Array(array) = Value::from(Message::new(&bytes)) else { panic!("an array") };
    assert_eq!(array.values().count(), 2);
}

proptest! {
    #[test]
    fn views_show_what_prost_decodes(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        seed: u64,
    ) {
        let body = request(signal, seed, OneOfs::Mixed);
        prop_assert!(shown(signal, &body) == decoded(signal, &body));
        let canonical = decoded(signal, &body);
        prop_assert!(shown(signal, &canonical) == canonical);
    }

    #[test]
    fn views_of_damaged_requests_never_panic(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        seed: u64,
        damage: u64,
    ) {
        let body = damaged(&request(signal, seed, OneOfs::Mixed), damage);
        for signal in Signal::ALL {
            let _ = std::hint::black_box(walk(signal, &body));
        }
    }
}

/// Values seen on a walk over everything.
fn walk(signal: Signal, body: &[u8]) -> usize {
    let count = |attributes: &mut dyn Iterator<Item = KeyValue<'_>>| {
        attributes.filter(|a| a.value.is_some()).count()
    };
    match signal {
        Signal::Traces => traces(body)
            .flat_map(|entry| entry.scopes())
            .flat_map(|scope| scope.spans())
            .map(|span| {
                count(&mut span.attributes()) + span.events().count() + span.links().count()
            })
            .sum(),
        Signal::Metrics => metrics(body)
            .flat_map(|entry| entry.scopes())
            .flat_map(|scope| scope.metrics())
            .map(|metric| match metric.data {
                Some(Data::ExponentialHistogram { points, .. }) => points
                    .iter()
                    .filter_map(|point| point.positive)
                    .flat_map(|buckets| buckets.bucket_counts())
                    .count(),
                Some(Data::Histogram { points, .. }) => {
                    points.iter().flat_map(|point| point.explicit_bounds()).count()
                }
                Some(Data::Gauge(points) | Data::Sum { points, .. }) => points.iter().count(),
                Some(Data::Summary(points)) => {
                    points.iter().flat_map(|point| point.quantile_values()).count()
                }
                None => 0,
            })
            .sum(),
        Signal::Logs => logs(body)
            .flat_map(|entry| entry.scopes())
            .flat_map(|scope| scope.log_records())
            .map(|record| count(&mut record.attributes()))
            .sum(),
    }
}
