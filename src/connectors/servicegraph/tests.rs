use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::{HistogramDataPoint, metric::Data},
    trace::v1::{Span, Status, span::Link},
};

use super::*;
use crate::connectors::trial::{
    Trial, attributes, metric, metrics, problems, resource_spans, shown, text, traces,
};

fn graph(settings: &str) -> Trial {
    Trial::new(&ENTRY, settings, Signal::Traces, (Signal::Metrics, &["metrics"]))
}

/// A span with its id and its parent's; it takes `millis`.
fn call(kind: i32, id: u8, parent: u8, millis: u64, all: &[(&str, &str)]) -> Span {
    Span {
        trace_id: vec![9; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        kind,
        start_time_unix_nano: 1,
        end_time_unix_nano: 1 + millis * 1_000_000,
        attributes: attributes(all),
        ..Span::default()
    }
}

fn of(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    traces(vec![resource_spans(&[("service.name", service), ("env", "prod")], spans)])
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

fn histograms(made: &ExportMetricsServiceRequest, name: &str) -> Vec<HistogramDataPoint> {
    let metric = metric(made, name);
    assert_eq!(metric.unit, "s");
    match &metric.data {
        Some(Data::Histogram(histogram)) => histogram.data_points.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_and_its_server_are_a_call_in_any_order() {
    for reversed in [false, true] {
        let mut trial = graph("{dimensions: [env, zone], metrics_flush_interval: 5s}");
        let mut requests = [
            of("shop", vec![call(CLIENT, 1, 0, 100, &[("zone", "z")])]),
            of("cart", vec![call(SERVER, 2, 1, 60, &[])]),
        ];
        if reversed {
            requests.reverse();
        }
        for request in &requests {
            assert!(trial.send(request).is_empty());
        }
        let made = metrics(&trial.wait(Duration::from_secs(5)));
        let line = "client=shop server=cart connection_type= failed=false client_env=prod \
                    server_env=prod client_zone=z: 1";
        assert_eq!(shown(metric(&made, "traces_service_graph_request_total")), [line]);
        let names: Vec<_> =
            made.resource_metrics[0].scope_metrics[0].metrics.iter().map(|it| &*it.name).collect();
        assert_eq!(names.len(), 3, "nothing has failed: {names:?}");
        let server = &histograms(&made, "traces_service_graph_request_server")[0];
        let client = &histograms(&made, "traces_service_graph_request_client")[0];
        assert_eq!((server.sum, client.sum), (Some(0.06), Some(0.1)));
        assert_eq!(text(&server.attributes, "client"), "shop");
        assert_eq!(trial.sum("otelcol_connector_servicegraph_total_edges"), 1);
        assert_eq!(trial.sum("otelcol_connector_servicegraph_expired_edges"), 0);
    }
}

#[test]
fn messages_databases_and_failures_are_told_apart() {
    let mut trial = graph("{}");
    let failing = Span {
        status: Some(Status { code: 2, ..Status::default() }),
        ..call(CONSUMER, 2, 1, 5, &[])
    };
    trial.send(&of(
        "a",
        vec![call(PRODUCER, 1, 0, 10, &[]), call(CLIENT, 3, 0, 7, &[("db.name", "orders")])],
    ));
    trial.send(&of("b", vec![failing]));
    let made = metrics(&trial.drain());
    let message = "client=a server=b connection_type=messaging_system failed=true: 1";
    let database = "client=a server=orders connection_type=database failed=false: 1";
    assert_eq!(shown(metric(&made, "traces_service_graph_request_total")), [message, database]);
    assert_eq!(shown(metric(&made, "traces_service_graph_request_failed_total")), [message]);
}

/// A consumer that got messages of spans with these ids, in another trace.
fn linked(id: u8, parent: u8, producers: &[u8]) -> Span {
    let link = |id: &u8| Link { trace_id: vec![9; 16], span_id: vec![*id; 8], ..Link::default() };
    Span {
        trace_id: vec![7; 16],
        links: producers.iter().map(link).collect(),
        ..call(CONSUMER, id, parent, 5, &[])
    }
}

#[test]
fn a_consumer_belongs_to_the_producers_that_it_links_to() {
    for reversed in [false, true] {
        let mut trial = graph("{}");
        let producers = vec![call(PRODUCER, 1, 0, 10, &[]), call(PRODUCER, 2, 0, 10, &[])];
        let mut requests = [
            of("shop", producers),
            // A root, which nobody called; it links to one producer twice.
            of("mail", vec![linked(3, 0, &[1, 2, 2])]),
            of("stock", vec![call(SERVER, 4, 0, 5, &[])]),
        ];
        if reversed {
            requests.reverse();
        }
        for request in &requests {
            assert!(trial.send(request).is_empty());
        }
        let made = metrics(&trial.drain());
        let mut calls = shown(metric(&made, "traces_service_graph_request_total"));
        calls.sort();
        let message = "client=shop server=mail connection_type=messaging_system failed=false: 2";
        let user = "client=user server=stock connection_type=virtual_node failed=false: 1";
        assert_eq!(calls, [message, user]);
        assert_eq!(trial.sum("otelcol_connector_servicegraph_expired_edges"), 1);
    }
}

#[test]
fn a_consumer_with_links_still_belongs_to_its_parent() {
    let mut trial = graph("{}");
    let producer = Span { trace_id: vec![7; 16], ..call(PRODUCER, 1, 0, 10, &[]) };
    trial.send(&of("a", vec![producer]));
    trial.send(&of("b", vec![linked(2, 1, &[8])]));
    let made = metrics(&trial.drain());
    let message = "client=a server=b connection_type=messaging_system failed=false: 1";
    assert_eq!(shown(metric(&made, "traces_service_graph_request_total")), [message]);
}

#[test]
fn calls_without_a_second_half_are_virtual_nodes() {
    let request = || {
        traces(vec![
            resource_spans(
                &[("service.name", "a")],
                vec![
                    call(SERVER, 1, 0, 5, &[]),
                    call(SERVER, 2, 8, 5, &[]),
                    call(CLIENT, 3, 0, 5, &[("peer.service", "bank")]),
                    call(CLIENT, 4, 0, 5, &[]),
                ],
            ),
            resource_spans(&[], vec![call(CLIENT, 5, 0, 5, &[])]),
        ])
    };
    let mut trial = graph("{virtual_node_extra_label: true}");
    trial.send(&request());
    let made = metrics(&trial.wait(Duration::from_mins(1)));
    let of = "connection_type=virtual_node failed=false virtual_node";
    assert_eq!(
        shown(metric(&made, "traces_service_graph_request_total")),
        [
            format!("client=a server=bank {of}=server: 1"),
            format!("client=a server=unknown {of}=server: 1"),
            format!("client=user server=a {of}=client: 1"),
        ]
    );
    assert_eq!(trial.sum("otelcol_connector_servicegraph_expired_edges"), 4);
    let mut trial = graph("{virtual_node_peer_attributes: []}");
    trial.send(&request());
    assert!(trial.wait(Duration::from_mins(1)).is_empty() && trial.drain().is_empty());
}

#[test]
fn calls_that_wait_are_limited() {
    let mut trial = graph("{store: {max_items: 2, ttl: 10s}, virtual_node_peer_attributes: []}");
    let spans = (1..=4).map(|id| call(CLIENT, id, 0, 5, &[])).collect();
    trial.send(&of("a", spans));
    assert_eq!(trial.sum("otelcol_connector_servicegraph_dropped_spans"), 2);
    // What is over makes room.
    trial.wait(Duration::from_secs(11));
    trial.send(&of("a", vec![call(CLIENT, 5, 0, 5, &[])]));
    trial.send(&of("b", vec![call(SERVER, 6, 5, 5, &[])]));
    let made = metrics(&trial.drain());
    let line = "client=a server=b connection_type= failed=false: 1";
    assert_eq!(shown(metric(&made, "traces_service_graph_request_total")), [line]);
    assert_eq!(trial.sum("otelcol_connector_servicegraph_expired_edges"), 2);
}

#[test]
fn quiet_series_are_forgotten_and_others_go_on() {
    let mut trial = graph("{exponential_histogram_max_size: 20}");
    let database = |name: &str| of("a", vec![call(CLIENT, 1, 0, 5, &[("db.name", name)])]);
    trial.send(&database("x"));
    trial.wait(Duration::from_mins(10));
    trial.send(&database("y"));
    let made = metrics(&trial.wait(Duration::from_mins(1)));
    assert_eq!(shown(metric(&made, "traces_service_graph_request_total")).len(), 2);
    trial.wait(Duration::from_mins(6));
    trial.send(&database("y"));
    let made = metrics(&trial.drain());
    let line = "client=a server=y connection_type=database failed=false: 2";
    assert_eq!(shown(metric(&made, "traces_service_graph_request_total")), [line]);
    let histogram = &metric(&made, "traces_service_graph_request_client").data;
    assert!(matches!(histogram, Some(Data::ExponentialHistogram(_))));
}

#[test]
fn with_an_interval_of_0_each_request_is_followed_by_metrics() {
    let mut trial = graph(
        "{metrics_flush_interval: 0, database_name_attribute: db, metrics_timestamp_offset: 1h}",
    );
    let emitted = trial.send(&of("a", vec![call(CLIENT, 1, 0, 5, &[("db", "x")])]));
    let made = metrics(&emitted);
    let points = histograms(&made, "traces_service_graph_request_client");
    let hour = 3_600_000_000_000;
    let now = crate::connectors::metrics::unix_nanos();
    let ago = now - points[0].time_unix_nano;
    assert!((hour..hour + 60_000_000_000).contains(&ago), "{ago}");
}

#[test]
fn mistakes_are_found() {
    for (settings, expected) in [
        ("{latency_histogram_buckets: [1s, 1s]}", "the bucket `1s` comes after `1s`"),
        (
            "{latency_histogram_buckets: [1s], exponential_histogram_max_size: 160}",
            "use either `latency_histogram_buckets` or",
        ),
        ("{exponential_histogram_max_size: 1}", "must be at least 2"),
        ("{store: {max_items: 0}}", "`max_items` must be at least 1"),
        ("{cache_loop: 0}", "`cache_loop` must not be 0"),
        ("{dimensions: [a, a]}", "`a` is there twice"),
        ("{database_name_attribute: db}", "is the older form of"),
    ] {
        let found = problems(&ENTRY, settings, &[Signal::Traces]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{settings}: {found:?}");
    }
}
