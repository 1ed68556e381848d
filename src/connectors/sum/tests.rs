use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, metric::Data};

use super::*;
use crate::connectors::trial::{
    Trial, metric, metrics, problems, resource_spans, shown, span, traces,
};

fn sum(settings: &str) -> Trial {
    let text = format!("{{spans: {{m: {{source_attribute: v, {settings}}}}}}}");
    Trial::new(&ENTRY, &text, Signal::Traces, (Signal::Metrics, &["metrics"]))
}

#[test]
fn numbers_and_texts_that_are_numbers_are_added_once() {
    let spans = vec![
        span("a", &[("v", "3"), ("k", "x"), ("l", "1")]),
        span("b", &[("v", "1.5"), ("k", "x"), ("l", "1")]),
        span("c", &[("v", "no number"), ("k", "x")]),
        span("d", &[("k", "x")]),
        span("e", &[("v", "-1"), ("k", "y")]),
        span("f", &[("v", "NaN")]),
    ];
    let request = traces(vec![resource_spans(&[("service.name", "s")], spans)]);
    for (settings, expected) in [
        ("", vec![": 3.5"]),
        ("attributes: [{key: k}]", vec!["k=x: 4.5", "k=y: -1.0"]),
        ("attributes: [{key: k}, {key: l}]", vec!["k=x l=1: 4.5"]),
        (
            "attributes: [{key: k}, {key: l, default_value: 0}]",
            vec!["k=x l=1: 4.5", "k=y l=i0: -1.0"],
        ),
        ("conditions: ['name == \"a\"']", vec![": 3.0"]),
    ] {
        let made = metrics(&sum(settings).send(&request));
        assert_eq!(shown(metric(&made, "m")), expected, "{settings}");
        let Some(Data::Sum(sum)) = &metric(&made, "m").data else { panic!() };
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Delta as i32);
    }
}

#[test]
fn mistakes_are_found() {
    for (settings, expected) in [
        ("{}", "there is nothing to add up"),
        ("{spans: {m: {}}}", "metric source_attribute missing"),
        ("{metrics: {m: {source_attribute: a}}}", "metrics have no attributes of their own"),
        (
            "{logs: {m: {source_attribute: a, conditions: ['bdy == 1']}}}",
            "a log record has no field `bdy`",
        ),
    ] {
        let found = problems(&ENTRY, settings, &[Signal::Traces]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{settings}: {found:?}");
    }
}
