use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{metric_list, metrics},
    processors::trial::{Came, Trial, examples, problems},
};

fn came(transform: &str, list: &[Value]) -> Came {
    let settings = format!("{{transforms: [{transform}]}}");
    Trial::of(&ENTRY, Signal::Metrics, &settings).send(&metrics(list))
}

fn after(transform: &str, list: &[Value]) -> Vec<Value> {
    metric_list(&came(transform, list).only())
}

fn int(value: i64, labels: &Value) -> Value {
    json!({"asInt": value.to_string(), "attributes": labels})
}

fn gauge(name: &str, points: &[Value]) -> Value {
    json!({"name": name, "gauge": {"dataPoints": points}})
}

fn names(list: &[Value]) -> Vec<&str> {
    list.iter().filter_map(|metric| metric["name"].as_str()).collect()
}

fn points(metric: &Value) -> &Value {
    &metric["gauge"]["dataPoints"]
}

#[test]
fn metrics_are_renamed() {
    let list = [gauge("a.one", &[int(1, &json!({"k": "v"}))]), gauge("b", &[int(2, &json!({}))])];
    let renamed = after("{include: a.one, action: update, new_name: new}", &list);
    assert_eq!(names(&renamed), ["new", "b"]);
    let renamed = after(
        "{include: '^a\\.(?P<rest>.*)$', match_type: regexp, action: update, new_name: 'x.${rest}.$1'}",
        &list,
    );
    assert_eq!(names(&renamed), ["x.one.one", "b"]);
    let copied = after("{include: a.one, action: insert, new_name: new}", &list);
    assert_eq!(names(&copied), ["a.one", "b", "new"]);
    assert!(came("{include: other, action: update, new_name: new}", &list).is_same);
}

#[test]
fn labels_are_renamed_added_and_mapped() {
    let list = [gauge("m", &[int(1, &json!({"cpu": "0", "n": 5})), int(2, &json!({"cpu": "1"}))])];
    let operated = |operation: &str| {
        let list =
            after(&format!("{{include: m, action: update, operations: [{operation}]}}"), &list);
        let points = points(&list[0]).as_array().unwrap().clone();
        points.iter().map(|point| point["attributes"].clone()).collect::<Vec<_>>()
    };
    let all = operated(
        "{action: update_label, label: cpu, new_label: core, value_actions: [{value: '0', new_value: zero}]}",
    );
    assert_eq!(all, [json!({"core": "zero", "n": 5}), json!({"core": "1"})]);
    let all = operated("{action: add_label, new_label: cpu, new_value: x}");
    assert_eq!(all[0]["cpu"], "0", "a label that is there stays");
    let all = operated("{action: add_label, new_label: v, new_value: 'skep {{version}}'}");
    assert_eq!(all[0]["v"], format!("skep {}", crate::telemetry::process::VERSION));
    let all = operated("{action: delete_label_value, label: cpu, label_value: '0'}");
    assert_eq!(all, [json!({"cpu": "1"})]);
    let all = operated("{action: update_label, label: cpu, new_label: n}");
    assert_eq!(all[0], json!({"n": "0"}));
}

#[test]
fn a_metric_without_points_goes() {
    let list = [
        gauge("m", &[int(1, &json!({"k": "v"}))]),
        gauge("empty", &[]),
        gauge("other", &[int(2, &json!({"k": "w"}))]),
    ];
    let operation = "operations: [{action: delete_label_value, label: k, label_value: v}]";
    let came =
        came(&format!("{{include: '.', match_type: regexp, action: update, {operation}}}"), &list);
    assert_eq!(names(&metric_list(&came.only())), ["empty", "other"], "one that had none stays");
    let transform = format!("{{include: m, action: update, {operation}}}");
    let came = self::came(&transform, &list[..1]);
    assert_eq!((came.requests.len(), came.filtered), (0, 1));
}

#[test]
fn points_are_merged() {
    let list = [gauge(
        "m",
        &[
            int(3, &json!({"a": "x", "b": "1"})),
            int(1, &json!({"a": "x", "b": "2"})),
            int(5, &json!({"a": "y", "b": "3"})),
        ],
    )];
    let values = |operation: &str| {
        let list =
            after(&format!("{{include: m, action: update, operations: [{operation}]}}"), &list);
        let points = points(&list[0]).as_array().unwrap().clone();
        points
            .iter()
            .map(|point| (point["asInt"].clone(), point["attributes"].clone()))
            .collect::<Vec<_>>()
    };
    let by = |how: &str| {
        values(&format!("{{action: aggregate_labels, label_set: [a], aggregation_type: {how}}}"))
    };
    let expected = |value: &str| {
        vec![
            (json!(value), json!({"a": "x"})),
            (json!(if value == "count" { "1" } else { "5" }), json!({"a": "y"})),
        ]
    };
    assert_eq!(by("sum"), expected("4"));
    assert_eq!(by("mean"), expected("2"));
    assert_eq!(by("min"), expected("1"));
    assert_eq!(by("max"), expected("3"));
    assert_eq!(by("median"), expected("2"));
    assert_eq!(by("count")[0].0, "2");
    let all = values(
        "{action: aggregate_label_values, label: b, aggregated_values: ['1', '2'], new_value: low, aggregation_type: sum}",
    );
    assert_eq!(all[0], (json!("4"), json!({"a": "x", "b": "low"})));
    assert_eq!(all[1].1["b"], "3");
}

#[test]
fn values_are_scaled_and_toggled() {
    let labels = json!({});
    let numbers = [
        gauge("g", &[int(7, &labels), json!({"asDouble": 2.5})]),
        json!({"name": "h", "histogram": {"dataPoints": [{
            "count": "3", "sum": 6.0, "min": 1, "max": 4, "bucketCounts": ["1", "2"],
            "explicitBounds": [2.0], "exemplars": [{"asDouble": 3.0}]}]}}),
        json!({"name": "e", "exponentialHistogram": {"dataPoints": [{
            "count": "1", "sum": 4.0, "scale": 1, "positive": {"offset": 3, "bucketCounts": ["1"]}}]}}),
        json!({"name": "q", "summary": {"dataPoints": [{
            "count": "1", "sum": 4.0, "quantileValues": [{"quantile": 0.5, "value": 3.0}]}]}}),
    ];
    let operation = |operation: &str| {
        after(
            &format!(
                "{{include: '.', match_type: regexp, action: update, operations: [{operation}]}}"
            ),
            &numbers,
        )
    };
    let scaled = operation("{action: experimental_scale_value, experimental_scale: 4}");
    assert_eq!(points(&scaled[0])[0]["asInt"], "28");
    assert_eq!(points(&scaled[0])[1]["asDouble"], 10.0);
    let histogram = &scaled[1]["histogram"]["dataPoints"][0];
    assert_eq!((&histogram["sum"], &histogram["explicitBounds"]), (&json!(24.0), &json!([8.0])));
    assert_eq!(
        (&histogram["count"], &histogram["bucketCounts"]),
        (&json!("3"), &json!(["1", "2"]))
    );
    assert_eq!(histogram["exemplars"][0]["asDouble"], 12.0);
    // At scale 1 a factor of 4 is four buckets.
    assert_eq!(scaled[2]["exponentialHistogram"]["dataPoints"][0]["positive"]["offset"], 7);
    let summary = &scaled[3]["summary"]["dataPoints"][0];
    assert_eq!(
        (&summary["sum"], &summary["quantileValues"][0]["value"]),
        (&json!(16.0), &json!(12.0))
    );
    let toggled = operation("{action: toggle_scalar_data_type}");
    assert_eq!(points(&toggled[0])[0]["asDouble"], 7.0);
    assert_eq!(points(&toggled[0])[1]["asInt"], "2");
    assert_eq!(toggled[1], numbers[1]);
}

#[test]
fn metrics_are_combined() {
    let list = [
        gauge("Metric1", &[int(1, &json!({"k": "v"}))]),
        gauge("metric2", &[int(2, &json!({"k": "v"}))]),
        gauge("metric3", &[int(3, &json!({"k": "v"}))]),
    ];
    let combined = after(
        "{include: '^([mM]etric)(?P<namedsubmatch>[12])$', match_type: regexp, action: combine, \
         new_name: new, submatch_case: lower}",
        &list,
    );
    assert_eq!(names(&combined), ["metric3", "new"]);
    assert_eq!(
        points(&combined[1]),
        &json!([
            int(1, &json!({"k": "v", "$1": "metric", "namedsubmatch": "1"})),
            int(2, &json!({"k": "v", "$1": "metric", "namedsubmatch": "2"})),
        ])
    );
    let summed = after(
        "{include: '^.etric[12]$', match_type: regexp, action: combine, new_name: new, \
         aggregation_type: sum}",
        &list,
    );
    assert_eq!(points(&summed[1]), &json!([int(3, &json!({"k": "v"}))]));
}

#[test]
fn what_is_not_alike_is_left_alone_and_counted() {
    let other = |metric: Value| [gauge("m1", &[int(1, &json!({"k": "v"}))]), metric];
    let settings =
        "{transforms: [{include: '^m', match_type: regexp, action: combine, new_name: new}]}";
    for metric in [
        json!({"name": "m2", "sum": {"dataPoints": [int(2, &json!({"k": "v"}))]}}),
        json!({"name": "m2", "unit": "s", "gauge": {"dataPoints": [int(2, &json!({"k": "v"}))]}}),
        gauge("m2", &[int(2, &json!({"l": "v"}))]),
    ] {
        let mut trial = Trial::of(&ENTRY, Signal::Metrics, settings);
        assert!(trial.send(&metrics(&other(metric))).is_same);
        assert_eq!(trial.sum("skep_metrics_transform_not_combined"), 2);
    }
}

#[test]
fn metrics_move_to_a_resource_of_their_own() {
    let list = [gauge("a", &[int(1, &json!({}))]), gauge("b", &[int(2, &json!({}))])];
    let came =
        came("{include: a, action: group, group_resource_labels: {type: x, host.name: y}}", &list);
    let entries = came.only()["resourceMetrics"].clone();
    assert_eq!(entries.as_array().map(Vec::len), Some(2));
    assert_eq!(entries[0]["resource"]["attributes"], json!({"host.name": "n1"}));
    let moved = |name: &str, value: &str| json!({"name": name, "gauge": {"dataPoints": [{"asInt": value}]}});
    assert_eq!(entries[0]["scopeMetrics"][0]["metrics"], json!([moved("b", "2")]));
    assert_eq!(entries[1]["resource"]["attributes"], json!({"host.name": "y", "type": "x"}));
    assert_eq!(
        entries[1]["scopeMetrics"][0],
        json!({"scope": {"name": "s"}, "metrics": [moved("a", "1")]})
    );
    let came = self::came(
        "{include: ., match_type: regexp, action: group, group_resource_labels: {type: x}}",
        &list,
    );
    assert_eq!(came.only()["resourceMetrics"].as_array().map(Vec::len), Some(1), "nothing is left");
}

#[test]
fn metrics_of_several_scopes_move_to_one_resource() {
    let mut request = metrics(&[gauge("a", &[int(1, &json!({}))])]);
    let scopes = request["resourceMetrics"][0]["scopeMetrics"].as_array_mut().unwrap();
    let mut other = scopes[0].clone();
    other["scope"]["name"] = json!("t");
    scopes.push(other);
    let settings = "{transforms: [{include: a, action: group, group_resource_labels: {type: x}}]}";
    let entries = Trial::of(&ENTRY, Signal::Metrics, settings).send(&request).only();
    let [entry] = &entries["resourceMetrics"].as_array().unwrap()[..] else { panic!("{entries}") };
    assert_eq!(entry["resource"]["attributes"], json!({"host.name": "n1", "type": "x"}));
    let scopes = entry["scopeMetrics"].as_array().unwrap();
    let names: Vec<_> = scopes.iter().map(|scope| scope["scope"]["name"].clone()).collect();
    assert_eq!(names, ["s", "t"]);
}

#[test]
fn labels_choose_points() {
    let list =
        [gauge("m", &[int(1, &json!({"k": "a"})), int(2, &json!({"k": "b"})), int(3, &json!({}))])];
    let with = |labels: &str, rest: &str| {
        format!("{{include: m, experimental_match_labels: {labels}, {rest}}}")
    };
    let values = |metric: &Value| -> Vec<String> {
        let points = points(metric).as_array().unwrap().clone();
        points.iter().map(|point| point["asInt"].as_str().unwrap().to_owned()).collect()
    };
    let copied = after(&with("{k: a}", "action: insert, new_name: new"), &list);
    assert_eq!(
        (values(&copied[0]), values(&copied[1])),
        (vec!["1".into(), "2".into(), "3".into()], vec!["1".into()])
    );
    let copied = after(&with("{k: ''}", "action: insert, new_name: new"), &list);
    assert_eq!(values(&copied[1]), ["3"], "an empty value: not the label");
    let scale = "action: update, new_name: new, operations: [{action: experimental_scale_value, experimental_scale: 10}]";
    let scaled = after(&with("{k: b}", scale), &list);
    assert_eq!(values(&scaled[0]), ["1", "20", "3"]);
    assert_eq!(names(&scaled), ["m"], "a part of a metric cannot have another name");
    let grouped =
        came(&with("{k: b}", "action: group, group_resource_labels: {t: x}"), &list).only();
    let of = |at: usize| values(&grouped["resourceMetrics"][at]["scopeMetrics"][0]["metrics"][0]);
    assert_eq!((of(0), of(1)), (vec!["1".to_owned(), "3".to_owned()], vec!["2".to_owned()]));
}

#[test]
fn mistakes_are_shown() {
    for (settings, at, message) in [
        ("{}", "", "no transform"),
        ("{transforms: [{action: update}]}", "", "`include` is missing"),
        ("{transforms: [{include: a}]}", "", "`action` is missing"),
        ("{transforms: [{include: a, action: insert}]}", "insert", "needs the key `new_name`"),
        ("{transforms: [{include: a, action: group}]}", "group", "group_resource_labels"),
        (
            "{transforms: [{include: a, action: combine, new_name: b}]}",
            "combine",
            "matches several",
        ),
        ("{transforms: [{include: '(', match_type: regexp, action: update}]}", "'('", "invalid"),
        ("{transforms: [{include: a, action: rename}]}", "rename", "unknown value"),
        (
            "{transforms: [{include: a, action: update, operations: [{action: add_label, new_label: x}]}]}",
            "add_label",
            "`new_value`",
        ),
        (
            "{transforms: [{include: a, action: update, operations: [{action: update_label, label: x}]}]}",
            "update_label",
            "changes nothing",
        ),
        (
            "{transforms: [{include: a, action: update, operations: [{action: experimental_scale_value}]}]}",
            "experimental_scale_value",
            "factor",
        ),
        (
            "{transforms: [{include: a, action: update, operations: [{label: x}]}]}",
            "",
            "`action` is missing",
        ),
    ] {
        let found = problems(&ENTRY, settings);
        assert!(
            found.iter().any(|[place, words, _]| place.contains(at) && words.contains(message)),
            "{settings}: {found:?}"
        );
    }
}

#[test]
fn the_examples_do_what_they_say() {
    let [main, more] = &examples(&ENTRY)[..] else { panic!("two examples") };
    let point = |value: i64, cpu: &str| int(value, &json!({"cpu": cpu, "state": "idle"}));
    let list = [gauge("system.cpu.usage", &[point(1, "0"), point(2, "1")])];
    let after = metric_list(&Trial::of(&ENTRY, Signal::Metrics, main).send(&metrics(&list)).only());
    assert_eq!(names(&after), ["system.cpu.usage_time"]);
    let version = format!("skep {}", crate::telemetry::process::VERSION);
    assert_eq!(points(&after[0]), &json!([int(3, &json!({"state": "idle", "version": version}))]));
    let list = [
        gauge("jvm.heap.used", &[int(1, &json!({}))]),
        gauge("jvm.nonheap.used", &[int(2, &json!({}))]),
        gauge("host.mem", &[int(5000, &json!({}))]),
        gauge("container.cpu", &[int(1, &json!({}))]),
    ];
    // As the file has it: `$$` is a dollar sign.
    let more = more.replace("$$", "$");
    let after = Trial::of(&ENTRY, Signal::Metrics, &more).send(&metrics(&list)).only();
    let kept = metric_list(&after);
    assert_eq!(names(&kept), ["host.mem", "jvm.memory.used", "system.mem"]);
    assert_eq!(points(&kept[1])[1]["attributes"], json!({"area": "nonheap"}));
    assert_eq!(points(&kept[2])[0]["asInt"], "5");
    assert_eq!(after["resourceMetrics"][1]["resource"]["attributes"]["resource.type"], "container");
}
