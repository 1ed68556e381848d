//! What prost makes of a request, in forms that tests compare.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::KeyValue,
    metrics::v1::{Metric, metric::Data},
};
use prost::{DecodeError, Message as _};

use crate::otlp::Signal;

/// The request as prost writes it, which has lost its unknown fields.
pub(super) fn canonical(signal: Signal, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes)?.encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes)?.encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes)?.encode_to_vec(),
    })
}

/// Each item alone in a request of its own, with the resource and the scope (and the metric) that
/// it belongs to, in order.
pub(crate) fn items(signal: Signal, bytes: &[u8]) -> Vec<Vec<u8>> {
    match signal {
        Signal::Traces => spans(ExportTraceServiceRequest::decode(bytes).unwrap()),
        Signal::Metrics => points(ExportMetricsServiceRequest::decode(bytes).unwrap()),
        Signal::Logs => log_records(ExportLogsServiceRequest::decode(bytes).unwrap()),
    }
}

fn spans(mut request: ExportTraceServiceRequest) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for mut entry in request.resource_spans.drain(..) {
        for mut scope in std::mem::take(&mut entry.scope_spans) {
            for span in std::mem::take(&mut scope.spans) {
                let (mut entry, mut scope) = (entry.clone(), scope.clone());
                scope.spans.push(span);
                entry.scope_spans.push(scope);
                let alone = ExportTraceServiceRequest { resource_spans: vec![entry] };
                all.push(alone.encode_to_vec());
            }
        }
    }
    all
}

fn log_records(mut request: ExportLogsServiceRequest) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for mut entry in request.resource_logs.drain(..) {
        for mut scope in std::mem::take(&mut entry.scope_logs) {
            for record in std::mem::take(&mut scope.log_records) {
                let (mut entry, mut scope) = (entry.clone(), scope.clone());
                scope.log_records.push(record);
                entry.scope_logs.push(scope);
                let alone = ExportLogsServiceRequest { resource_logs: vec![entry] };
                all.push(alone.encode_to_vec());
            }
        }
    }
    all
}

fn points(mut request: ExportMetricsServiceRequest) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for mut entry in request.resource_metrics.drain(..) {
        for mut scope in std::mem::take(&mut entry.scope_metrics) {
            for metric in std::mem::take(&mut scope.metrics) {
                for metric in points_alone(metric) {
                    let (mut entry, mut scope) = (entry.clone(), scope.clone());
                    scope.metrics.push(metric);
                    entry.scope_metrics.push(scope);
                    let alone = ExportMetricsServiceRequest { resource_metrics: vec![entry] };
                    all.push(alone.encode_to_vec());
                }
            }
        }
    }
    all
}

/// One metric for each data point.
fn points_alone(mut metric: Metric) -> Vec<Metric> {
    let mut all = Vec::new();
    let data = metric.data.take();
    let mut add = |data| all.push(Metric { data: Some(data), ..metric.clone() });
    match data {
        None => {}
        Some(Data::Gauge(mut data)) => {
            for point in std::mem::take(&mut data.data_points) {
                let mut data = data.clone();
                data.data_points.push(point);
                add(Data::Gauge(data));
            }
        }
        Some(Data::Sum(mut data)) => {
            for point in std::mem::take(&mut data.data_points) {
                let mut data = data.clone();
                data.data_points.push(point);
                add(Data::Sum(data));
            }
        }
        Some(Data::Histogram(mut data)) => {
            for point in std::mem::take(&mut data.data_points) {
                let mut data = data.clone();
                data.data_points.push(point);
                add(Data::Histogram(data));
            }
        }
        Some(Data::ExponentialHistogram(mut data)) => {
            for point in std::mem::take(&mut data.data_points) {
                let mut data = data.clone();
                data.data_points.push(point);
                add(Data::ExponentialHistogram(data));
            }
        }
        Some(Data::Summary(mut data)) => {
            for point in std::mem::take(&mut data.data_points) {
                let mut data = data.clone();
                data.data_points.push(point);
                add(Data::Summary(data));
            }
        }
    }
    all
}

/// The request with `attribute` added to every resource; an entry without a resource gets one.
pub(super) fn with_resource_attribute(
    signal: Signal,
    bytes: &[u8],
    attribute: &KeyValue,
) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let mut request = ExportTraceServiceRequest::decode(bytes).unwrap();
            for entry in &mut request.resource_spans {
                let resource = entry.resource.get_or_insert_default();
                resource.attributes.push(attribute.clone());
            }
            request.encode_to_vec()
        }
        Signal::Metrics => {
            let mut request = ExportMetricsServiceRequest::decode(bytes).unwrap();
            for entry in &mut request.resource_metrics {
                let resource = entry.resource.get_or_insert_default();
                resource.attributes.push(attribute.clone());
            }
            request.encode_to_vec()
        }
        Signal::Logs => {
            let mut request = ExportLogsServiceRequest::decode(bytes).unwrap();
            for entry in &mut request.resource_logs {
                let resource = entry.resource.get_or_insert_default();
                resource.attributes.push(attribute.clone());
            }
            request.encode_to_vec()
        }
    }
}

/// The request with `attribute` added to every span or log record.
pub(super) fn with_item_attribute(signal: Signal, bytes: &[u8], attribute: &KeyValue) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let mut request = ExportTraceServiceRequest::decode(bytes).unwrap();
            let scopes = request.resource_spans.iter_mut().flat_map(|entry| &mut entry.scope_spans);
            for span in scopes.flat_map(|scope| &mut scope.spans) {
                span.attributes.push(attribute.clone());
            }
            request.encode_to_vec()
        }
        Signal::Logs => {
            let mut request = ExportLogsServiceRequest::decode(bytes).unwrap();
            let scopes = request.resource_logs.iter_mut().flat_map(|entry| &mut entry.scope_logs);
            for record in scopes.flat_map(|scope| &mut scope.log_records) {
                record.attributes.push(attribute.clone());
            }
            request.encode_to_vec()
        }
        Signal::Metrics => {
            let mut request = ExportMetricsServiceRequest::decode(bytes).unwrap();
            let scopes =
                request.resource_metrics.iter_mut().flat_map(|entry| &mut entry.scope_metrics);
            for metric in scopes.flat_map(|scope| &mut scope.metrics) {
                add_to_points(metric, attribute);
            }
            request.encode_to_vec()
        }
    }
}

fn add_to_points(metric: &mut Metric, attribute: &KeyValue) {
    match &mut metric.data {
        None => {}
        Some(Data::Gauge(data)) => {
            data.data_points.iter_mut().for_each(|p| p.attributes.push(attribute.clone()));
        }
        Some(Data::Sum(data)) => {
            data.data_points.iter_mut().for_each(|p| p.attributes.push(attribute.clone()));
        }
        Some(Data::Histogram(data)) => {
            data.data_points.iter_mut().for_each(|p| p.attributes.push(attribute.clone()));
        }
        Some(Data::ExponentialHistogram(data)) => {
            data.data_points.iter_mut().for_each(|p| p.attributes.push(attribute.clone()));
        }
        Some(Data::Summary(data)) => {
            data.data_points.iter_mut().for_each(|p| p.attributes.push(attribute.clone()));
        }
    }
}
