//! Statements on metrics and data points.

use serde_json::{Value, json};

use super::runs::{filter, run};
use crate::{
    otlp::{
        Signal,
        plain::{metric_list, metrics},
    },
    ottl::Context,
};

fn after(metric: &Value, context: Context, statements: &[&str]) -> Vec<Value> {
    let outcome =
        run(Signal::Metrics, Some(context), &metrics(std::slice::from_ref(metric)), statements);
    assert_eq!(outcome.failures, Vec::<String>::new(), "{statements:?}");
    metric_list(&outcome.request)
}

fn failure(metric: &Value, context: Context, statement: &str) -> String {
    let outcome =
        run(Signal::Metrics, Some(context), &metrics(std::slice::from_ref(metric)), &[statement]);
    assert!(!outcome.is_changed);
    outcome.failures[0].clone()
}

fn point(value: f64, attributes: &Value) -> Value {
    json!({"timeUnixNano": "5", "asDouble": value, "attributes": attributes})
}

/// Two points with the same attributes.
fn sum() -> Value {
    let attributes = json!({"p1": "u", "p2": "b", "p3": "c"});
    json!({"name": "c", "unit": "u", "sum": {
        "aggregationTemporality": 2, "isMonotonic": true,
        "dataPoints": [point(2.0, &attributes), point(4.5, &attributes)],
    }})
}

fn histogram() -> Value {
    json!({"name": "h", "unit": "u", "histogram": {"aggregationTemporality": 1, "dataPoints": [
        {"timeUnixNano": "5", "count": "3", "sum": 12.5, "bucketCounts": ["1", "2"],
         "explicitBounds": [5.0], "attributes": {"k": "v"}},
        {"timeUnixNano": "5", "count": "1", "bucketCounts": ["1", "0"], "explicitBounds": [5.0]},
    ]}})
}

#[test]
fn sums_and_counts_are_extracted() {
    let statements = [
        r#"extract_sum_metric(true) where name == "h""#,
        r#"set(name,"h.total") where name == "h_sum""#,
    ];
    let found = after(&histogram(), Context::Metric, &statements);
    assert_eq!(found.len(), 2);
    assert_eq!(found[1]["name"], json!("h.total"));
    assert_eq!(found[1]["unit"], json!("u"));
    let points = &found[1]["sum"]["dataPoints"];
    assert_eq!(points.as_array().map(Vec::len), Some(1));
    assert_eq!(points[0]["asDouble"], json!(12.5));
    assert_eq!(points[0]["attributes"], json!({"k": "v"}));
    assert_eq!(found[1]["sum"]["isMonotonic"], json!(true));
    let found =
        after(&histogram(), Context::Metric, &[r#"extract_count_metric(true) where name == "h""#]);
    assert_eq!((&found[1]["name"], &found[1]["unit"]), (&json!("h_count"), &json!("1")));
    assert_eq!(found[1]["sum"]["dataPoints"][0]["asInt"], json!("3"));
    assert_eq!(found[1]["sum"]["dataPoints"][1]["asInt"], json!("1"));
    let words = failure(&sum(), Context::Metric, "extract_count_metric(true)");
    assert!(words.contains("neither a histogram nor a summary"));
}

#[test]
fn metrics_are_scaled() {
    let found = after(&sum(), Context::Metric, &[r#"scale_metric(10.0,"s") where name == "c""#]);
    let points = &found[0]["sum"]["dataPoints"];
    assert_eq!((&points[0]["asDouble"], &points[1]["asDouble"]), (&json!(20.0), &json!(45.0)));
    assert_eq!(found[0]["unit"], json!("s"));
    let int = json!({"name": "i", "gauge": {"dataPoints": [{"asInt": "3"}]}});
    let found = after(&int, Context::Metric, &["scale_metric(0.5)"]);
    assert_eq!(found[0]["gauge"]["dataPoints"][0]["asInt"], json!("1"));
    let found = after(&histogram(), Context::Metric, &["scale_metric(2.0)"]);
    assert_eq!(found[0]["histogram"]["dataPoints"][0]["explicitBounds"], json!([10.0]));
    assert_eq!(found[0]["histogram"]["dataPoints"][0]["sum"], json!(25.0));
}

#[test]
fn points_are_aggregated() {
    let points = |statement: &str, metric: &Value| {
        let found = after(metric, Context::Metric, &[statement]);
        let data = if found[0].get("sum").is_some() { "sum" } else { "gauge" };
        found[0][data]["dataPoints"].as_array().cloned().unwrap()
    };
    let found = points(r#"aggregate_on_attributes("sum",["p1","p2"]) where name == "c""#, &sum());
    assert_eq!(found, [point(6.5, &json!({"p1": "u", "p2": "b"}))]);
    let found = points(r#"aggregate_on_attributes("min") where name == "c""#, &sum());
    assert_eq!(found, [point(2.0, &json!({"p1": "u", "p2": "b", "p3": "c"}))]);
    let mut other = sum();
    other["sum"]["dataPoints"][1]["attributes"]["p1"] = json!("v");
    let statement = r#"aggregate_on_attribute_value("sum","p1",["u","v"],"w")"#;
    let found = points(statement, &other);
    assert_eq!(found, [point(6.5, &json!({"p1": "w", "p2": "b", "p3": "c"}))]);
    for (function, wanted) in [("max", 4.5), ("mean", 3.25), ("median", 3.25)] {
        let found = points(&format!(r#"aggregate_on_attributes("{function}", [])"#), &sum());
        assert_eq!(found[0]["asDouble"], json!(wanted), "{function}");
    }
    let found = points(r#"aggregate_on_attributes("count", [])"#, &sum());
    assert_eq!(found[0]["asInt"], json!("2"));
    let mut apart = sum();
    apart["sum"]["dataPoints"][1]["timeUnixNano"] = json!("6");
    assert_eq!(points(r#"aggregate_on_attributes("sum", [])"#, &apart).len(), 2);
    let found = after(&histogram(), Context::Metric, &[r#"aggregate_on_attributes("sum", [])"#]);
    let points = found[0]["histogram"]["dataPoints"].as_array().unwrap();
    assert_eq!(points.len(), 2, "one has no sum");
}

#[test]
fn histograms_are_merged() {
    let mut metric = histogram();
    metric["histogram"]["dataPoints"][1]["sum"] = json!(1.0);
    let found = after(&metric, Context::Metric, &[r#"aggregate_on_attributes("sum", [])"#]);
    let points = found[0]["histogram"]["dataPoints"].as_array().unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!((&points[0]["count"], &points[0]["sum"]), (&json!("4"), &json!(13.5)));
    assert_eq!(points[0]["bucketCounts"], json!(["2", "2"]));
}

#[test]
fn kinds_of_metrics_are_converted() {
    let gauge = json!({"name": "g", "gauge": {"dataPoints": [{"asInt": "3"}]}});
    let found = after(&gauge, Context::Metric, &[r#"convert_gauge_to_sum("delta", true)"#]);
    assert_eq!(found[0]["sum"]["aggregationTemporality"], json!(1));
    assert_eq!(found[0]["sum"]["dataPoints"][0]["asInt"], json!("3"));
    let back = after(&found[0], Context::Metric, &["convert_sum_to_gauge()"]);
    assert_eq!(back[0], gauge);
    for statement in
        ["convert_sum_to_gauge()", "set(metric.is_monotonic, true)", "set(metric.type, 2)"]
    {
        let outcome = run(
            Signal::Metrics,
            Some(Context::Metric),
            &metrics(std::slice::from_ref(&gauge)),
            &[statement],
        );
        assert!(!outcome.is_changed && outcome.failures.is_empty(), "{statement}");
    }
    let outcome = run(Signal::Metrics, None, &metrics(&[sum()]), &["convert_sum_to_gauge()"]);
    assert!(outcome.is_changed, "the function alone says that it runs on metrics");
}

#[test]
fn summaries_give_one_metric_for_all_their_points() {
    let summary = json!({"name": "s", "summary": {"dataPoints": [
        {"count": "2", "sum": 3.5, "quantileValues": [{"quantile": 0.5, "value": 1.0}]},
        {"count": "4", "sum": 5.5},
    ]}});
    let statement = r#"convert_summary_count_val_to_sum("delta", true)"#;
    let found = after(&summary, Context::DataPoint, &[statement]);
    assert_eq!(found.len(), 2);
    assert_eq!(found[1]["name"], json!("s_count"));
    assert_eq!(found[1]["sum"]["dataPoints"], json!([{"asInt": "2"}, {"asInt": "4"}]));
    let statement = "convert_summary_quantile_val_to_gauge()";
    let found = after(&summary, Context::DataPoint, &[statement]);
    assert_eq!(found[1]["name"], json!("s.quantiles"));
    let points = &found[1]["gauge"]["dataPoints"];
    assert_eq!(points, &json!([{"asDouble": 1.0, "attributes": {"quantile": "0.5"}}]));
}

#[test]
fn a_copy_does_not_copy_itself_for_ever() {
    let found = after(&sum(), Context::Metric, &["copy_metric(name=\"d\")"]);
    assert!(found.len() > 2 && found.len() < 10);
    let found = after(&sum(), Context::Metric, &[r#"copy_metric(name="d") where name != "d""#]);
    assert_eq!(found.len(), 2);
}

#[test]
fn percentiles_are_interpolated() {
    let metric = json!({"name": "h", "histogram": {"dataPoints": [
        {"count": "4", "bucketCounts": ["0", "4", "0"], "explicitBounds": [10.0, 20.0]},
    ]}});
    let found =
        after(&metric, Context::Metric, &["extract_percentile_metric(50.0) where name == \"h\""]);
    assert_eq!(found[1]["name"], json!("h_p50"));
    assert_eq!(found[1]["gauge"]["dataPoints"][0]["asDouble"], json!(15.0));
}

#[test]
fn exponential_histograms_become_explicit() {
    let metric = json!({"name": "e", "exponentialHistogram": {"dataPoints": [
        {"count": "4", "sum": 9.0, "scale": 0, "zeroCount": "1",
         "positive": {"offset": 0, "bucketCounts": ["1", "2"]}},
    ]}});
    let statement = r#"convert_exponential_histogram_to_histogram("upper", [1.0, 2.5, 10.0])"#;
    let found = after(&metric, Context::Metric, &[statement]);
    let point = &found[0]["histogram"]["dataPoints"][0];
    assert_eq!(point["bucketCounts"], json!(["1", "1", "2", "0"]));
    assert_eq!(point["count"], json!("4"));
}

#[test]
fn fields_of_points_are_read_and_written() {
    let statements = [
        r#"set(attributes["v"], value_double)"#,
        r#"set(attributes["t"], metric.type) where metric.type == METRIC_DATA_TYPE_SUM"#,
        "set(value_int, 7) where value_double > 4.0",
        r#"set(metric.description, "seen")"#,
    ];
    let found = after(&sum(), Context::DataPoint, &statements);
    let points = &found[0]["sum"]["dataPoints"];
    assert_eq!(points[0]["attributes"]["v"], json!(2.0));
    assert_eq!(points[0]["attributes"]["t"], json!(2));
    assert_eq!(points[1]["asInt"], json!("7"));
    assert_eq!(found[0]["description"], json!("seen"));
    let words = failure(&sum(), Context::DataPoint, "set(datapoint.sum, 1.0)");
    assert!(words.contains("no such field"), "{words}");
    let statements = ["set(bucket_counts, [4, 5])", "set(explicit_bounds, [1.5])"];
    let found = after(&histogram(), Context::DataPoint, &statements);
    let point = &found[0]["histogram"]["dataPoints"][0];
    assert_eq!(point["bucketCounts"], json!(["4", "5"]));
    assert_eq!(point["explicitBounds"], json!([1.5]));
}

#[test]
fn exemplars_are_edited() {
    let metric = json!({"name": "g", "gauge": {"dataPoints": [{"asInt": "3", "exemplars": [
        {"asInt": "1", "filteredAttributes": {"a": "b"}}, {"asDouble": 2.5},
    ]}]}});
    let statements = [
        r#"set(exemplar.filtered_attributes["m"], metric.name) where exemplar.int_value == 1"#,
        "set(exemplar.double_value, 9.5) where exemplar.double_value > 2.0",
    ];
    let outcome = run(Signal::Metrics, None, &metrics(&[metric]), &statements);
    let exemplars = &metric_list(&outcome.request)[0]["gauge"]["dataPoints"][0]["exemplars"];
    assert_eq!(exemplars[0]["filteredAttributes"], json!({"a": "b", "m": "g"}));
    assert_eq!(exemplars[1]["asDouble"], json!(9.5));
}

#[test]
fn conditions_drop_points_and_metrics() {
    let list = [sum(), histogram(), json!({"name": "none"})];
    let outcome = filter(
        Signal::Metrics,
        Some(Context::DataPoint),
        &metrics(&list),
        &["metric.type == METRIC_DATA_TYPE_SUM"],
    );
    let names: Vec<Value> =
        metric_list(&outcome.request).iter().map(|metric| metric["name"].clone()).collect();
    assert_eq!(names, [json!("h"), json!("none")]);
    for (condition, left) in [
        (r#"HasAttrOnDatapoint("p1","u")"#, 2),
        (r#"HasAttrKeyOnDatapoint("k")"#, 2),
        (r#"HasAttrOnDatapoint("p1","x")"#, 3),
        (r#"resource.attributes["zz"] == "q" or type != nil"#, 0),
    ] {
        let outcome = filter(Signal::Metrics, Some(Context::Metric), &metrics(&list), &[condition]);
        assert_eq!(metric_list(&outcome.request).len(), left, "{condition}");
    }
    let empty = json!({"name": "empty", "gauge": {"dataPoints": []}});
    let outcome = filter(
        Signal::Metrics,
        Some(Context::DataPoint),
        &metrics(&[empty, sum()]),
        &["count == 5"],
    );
    assert_eq!(metric_list(&outcome.request).len(), 1);
}
