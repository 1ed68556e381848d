use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::logs,
    processors::trial::{Came, Trial, examples, problems},
};

fn trial(settings: &str) -> Trial {
    Trial::of(&ENTRY, Signal::Logs, settings)
}

fn records(came: &Came) -> Vec<Value> {
    let request = came.only();
    let entries = request["resourceLogs"].as_array().cloned().unwrap_or_default();
    let scopes = entries.iter().flat_map(|entry| entry["scopeLogs"].as_array().cloned().unwrap());
    scopes.flat_map(|scope| scope["logRecords"].as_array().cloned().unwrap_or_default()).collect()
}

fn counts(came: &Came) -> Vec<Value> {
    records(came).iter().map(|record| record["attributes"]["log_count"].clone()).collect()
}

#[test]
fn equal_records_become_one_at_the_end_of_the_interval() {
    let mut trial = trial("{interval: 10s}");
    let record = |body: &str, time: &str| {
        json!({"body": body, "timeUnixNano": time, "severityNumber": 9, "severityText": "INFO",
               "attributes": {"a": 1}, "traceId": "0102030405060708090a0b0c0d0e0f10"})
    };
    let came = trial.send(&logs(&[record("x", "5"), record("y", "6"), record("x", "7")]));
    assert_eq!((came.requests.len(), came.filtered), (0, 1));
    assert!(trial.wait(Duration::from_secs(4)).requests.is_empty());
    let came = trial.send(&logs(&[record("x", "8")]));
    assert_eq!((came.requests.len(), came.filtered), (0, 1));
    let came = trial.wait(Duration::from_secs(6));
    assert_eq!((counts(&came), came.items), (vec![json!(3), json!(1)], 2));
    let first = &records(&came)[0];
    assert_eq!((&first["body"], &first["severityText"]), (&json!("x"), &json!("INFO")));
    assert_eq!(first["traceId"], "0102030405060708090a0b0c0d0e0f10");
    assert_eq!(first["attributes"]["a"], 1);
    let time = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let (sent, seen) = (time(&first["timeUnixNano"]), time(&first["observedTimeUnixNano"]));
    assert_eq!(sent - seen, 10_000_000_000);
    let shown = |key: &str| first["attributes"][key].as_str().unwrap().to_owned();
    assert!(shown("first_observed_timestamp").ends_with('Z'));
    assert!(shown("first_observed_timestamp") < shown("last_observed_timestamp"));
    assert_eq!(
        came.only()["resourceLogs"][0]["resource"]["attributes"],
        json!({"host.name": "n1"})
    );
    assert!(trial.wait(Duration::from_mins(1)).requests.is_empty(), "nothing is left");
}

#[test]
fn what_differs_stays_apart() {
    let mut trial = trial("{}");
    let all = [
        json!({"body": "x"}),
        json!({"body": "x", "severityNumber": 9}),
        json!({"body": "x", "severityText": "9"}),
        json!({"body": "x", "attributes": {"a": "1"}}),
        json!({"body": "x", "attributes": {"a": 1}}),
        json!({"body": {"x": 1}}),
    ];
    trial.send(&logs(&all));
    let mut other = logs(&all[..1]);
    other["resourceLogs"][0]["resource"]["attributes"]["host.name"] = json!("n2");
    trial.send(&other);
    other["resourceLogs"][0]["scopeLogs"][0]["scope"]["version"] = json!("3");
    trial.send(&other);
    let came = trial.drain();
    assert_eq!((came.items, counts(&came)), (8, vec![json!(1); 8]));
}

#[test]
fn the_order_of_attributes_makes_no_difference() {
    let mut trial = trial("{log_count_attribute: n}");
    let one = |first: &str, second: &str| {
        serde_json::from_str::<Value>(&format!(
            r#"{{"body": "x", "attributes": [{{"key": "{first}", "value": {{"stringValue": "v"}}}}, {{"key": "{second}", "value": {{"stringValue": "v"}}}}]}}"#
        ))
        .unwrap()
    };
    trial.send(&logs(&[one("a", "b"), one("b", "a")]));
    let came = trial.drain();
    assert_eq!(records(&came)[0]["attributes"]["n"], 2);
}

#[test]
fn fields_are_left_out_of_the_comparison_and_of_the_record() {
    let settings = r"{exclude_fields: [attributes.id, 'body.nested\.map.bool', 'body.deep.x']}";
    let record = |id: i64| {
        json!({"attributes": {"id": id, "keep": 1},
               "body": {"nested.map": {"bool": id > 1, "other": 5}, "deep": {"x": id}}})
    };
    let mut trial = trial(settings);
    trial.send(&logs(&[record(1), record(2), json!({"body": "text"})]));
    let came = trial.drain();
    assert_eq!(counts(&came), [2, 1]);
    let first = &records(&came)[0];
    assert_eq!(first["body"]["nested.map"], json!({"other": 5}));
    assert_eq!((first["attributes"].get("id"), &first["attributes"]["keep"]), (None, &json!(1)));
}

#[test]
fn only_some_fields_are_compared() {
    let mut trial = trial("{include_fields: [attributes.code, body.a.b]}");
    trial.send(&logs(&[
        json!({"body": "x", "attributes": {"code": 5}}),
        json!({"body": "y", "attributes": {"code": 5, "more": 1}}),
        json!({"body": {"a": {"b": 5}}}),
        json!({"body": "z"}),
        json!({"body": "other"}),
    ]));
    let came = trial.drain();
    assert_eq!(counts(&came), [2, 1, 1, 1]);
    assert_eq!(records(&came)[0]["body"], "x");
}

#[test]
fn records_that_no_condition_takes_go_on_at_once() {
    let settings = r#"{conditions: ['attributes["ID"] == 1', 'ParseJSON(body)["dedup"] == true']}"#;
    let mut trial = trial(settings);
    let record = |id: i64| json!({"body": "x", "attributes": {"ID": id}});
    let came = trial.send(&logs(&[record(1), record(2), record(1)]));
    assert_eq!((came.items, came.filtered), (1, 1));
    assert_eq!(records(&came)[0]["attributes"], json!({"ID": 2}));
    assert_eq!(trial.sum("skep_statement_failures"), 1);
    assert_eq!(counts(&trial.drain()), [2]);
    let came = trial.send(&logs(&[record(3)]));
    assert!(came.is_same);
}

#[test]
fn times_are_in_a_time_zone() {
    let mut trial = trial("{timezone: Asia/Tokyo}");
    trial.send(&logs(&[json!({"body": "x"})]));
    let came = trial.drain();
    let text = records(&came)[0]["attributes"]["first_observed_timestamp"].clone();
    assert!(text.as_str().unwrap().ends_with("+09:00"), "{text}");
}

#[test]
fn mistakes_are_shown() {
    for (settings, at, message) in [
        ("{interval: 0s}", "0s", "longer than 0"),
        ("{timezone: Mars/Base}", "Mars/Base", "no time zone"),
        ("{log_count_attribute: ''}", "''", "needs a name"),
        ("{exclude_fields: [severity]}", "severity", "not a field"),
        ("{exclude_fields: [body]}", "body", "as a whole"),
        ("{exclude_fields: [body.a, body.a]}", "body.a", "twice"),
        ("{exclude_fields: [body.a], include_fields: [body.b]}", "include_fields", "together"),
        ("{metadata_keys: [x]}", "metadata_keys", "not supported"),
        ("{conditions: ['log.bdy == 1']}", "bdy", "no field"),
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
    let [main, by_code] = &examples(&ENTRY)[..] else { panic!("two examples") };
    let record = |id: &str, severity: i64| {
        json!({"severityNumber": severity, "attributes": {"request.id": id},
               "body": {"timestamp": id, "m": 1}})
    };
    let mut trial = trial(main);
    let came = trial.send(&logs(&[record("1", 9), record("2", 9), record("3", 17)]));
    assert_eq!(came.items, 1, "the error went on");
    assert_eq!(counts(&trial.wait(Duration::from_secs(30))), [2]);
    let mut trial = self::trial(by_code);
    let record = |body: &str| json!({"body": body, "attributes": {"error": {"code": 7}}});
    trial.send(&logs(&[record("a"), record("b")]));
    assert_eq!(records(&trial.drain())[0]["attributes"]["repeated"], 2);
}
