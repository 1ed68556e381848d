//! The cases of the Collector's own tests, in our words and with our data.

use std::slice::from_ref;

use serde_json::{Map, Value, json};

use super::runs::{filter, holds, run, run_if, value};
use crate::{
    otlp::{
        Signal,
        plain::{logs, record, span, spans},
    },
    ottl::Context,
};

/// The log record that most cases start from.
fn base() -> Value {
    json!({
        "body": "jobA",
        "severityNumber": 1,
        "flags": 1,
        "droppedAttributesCount": 1,
        "attributes": {
            "net.verb": "get",
            "net.path": "/ready",
            "net.url": "http://h/ready",
            "tags": "x;y;z",
            "digits": "987654321",
            "obj": {"k1": "v1", "tags": "v2", "arr": ["e0"], "in": {"deep": "v3"}},
            "items": [{"id": "a", "n": 2}, {"id": "b", "n": 5}],
        },
    })
}

fn with(mut record: Value, attributes: &Value) -> Value {
    let map = record["attributes"].as_object_mut().unwrap();
    map.extend(attributes.as_object().unwrap().clone());
    record
}

fn attributes_after(record_in: &Value, statement: &str) -> (Map<String, Value>, Vec<String>) {
    let outcome = run(Signal::Logs, Some(Context::Log), &logs(from_ref(record_in)), &[statement]);
    (
        record(&outcome.request)["attributes"].as_object().cloned().unwrap_or_default(),
        outcome.failures,
    )
}

/// The attributes change by `changes`, in which null means that an attribute is gone.
#[track_caller]
fn changes(record: &Value, statement: &str, changes: &Value) {
    let mut wanted = record["attributes"].as_object().cloned().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            wanted.remove(key);
        } else {
            wanted.insert(key.clone(), value.clone());
        }
    }
    let (found, failures) = attributes_after(record, statement);
    assert_eq!(failures, Vec::<String>::new(), "{statement}");
    assert_eq!(Value::from(found), Value::from(wanted), "{statement}");
}

#[track_caller]
fn becomes(record: &Value, statement: &str, wanted: &Value) {
    let (found, failures) = attributes_after(record, statement);
    assert_eq!(failures, Vec::<String>::new(), "{statement}");
    assert_eq!(&Value::from(found), wanted, "{statement}");
}

/// The statement fails and changes nothing.
#[track_caller]
fn fails(record_in: &Value, statement: &str, words: &str) {
    let outcome = run(Signal::Logs, Some(Context::Log), &logs(from_ref(record_in)), &[statement]);
    assert!(!outcome.is_changed, "{statement}");
    assert_eq!(outcome.failures.len(), 1, "{statement}");
    assert!(outcome.failures[0].contains(words), "{statement}: {:?}", outcome.failures);
}

#[test]
fn statements_set_values_where_their_condition_holds() {
    let log = base();
    changes(&log, r#"set(attributes["mark"],"ok") where body == "jobA""#, &json!({"mark": "ok"}));
    let mut other = base();
    other["body"] = json!("jobB");
    let statement = r#"set(attributes["mark"],"ok") where body == "jobA""#;
    let outcome = run(Signal::Logs, Some(Context::Log), &logs(&[other]), &[statement]);
    assert!(!outcome.is_changed);
    becomes(
        &json!({"body": "x", "attributes": {"a": 1}}),
        r#"set(attributes["mark"], attributes["absent"])"#,
        &json!({"a": 1, "mark": null}),
    );
    let mut obj = log["attributes"]["obj"].clone();
    obj["new"] = json!("ok");
    changes(&log, r#"set(attributes["obj"]["new"],"ok")"#, &json!({"obj": obj}));
    fails(&log, r#"set(attributes["mark"], attributes[1])"#, "key is an integer");
    fails(
        &with(base(), &json!({"arr1": ["w"]})),
        r#"set(attributes["arr1"][0.0],"b")"#,
        "key is a double",
    );
    changes(
        &with(base(), &json!({"x;y;z": "old"})),
        r#"set(attributes[attributes["tags"]],"new")"#,
        &json!({"x;y;z": "new"}),
    );
    let statement = r#"set(body, attributes["items"][Len(attributes["items"]) - 1]["id"])"#;
    let outcome = run(Signal::Logs, Some(Context::Log), &logs(from_ref(&log)), &[statement]);
    assert_eq!(record(&outcome.request)["body"], json!("b"));
}

#[test]
fn keys_are_deleted_and_kept() {
    let log = base();
    let gone = json!({"net.verb": null, "net.path": null, "net.url": null});
    changes(&log, r#"delete_key(attributes,"net.verb")"#, &json!({"net.verb": null}));
    changes(&log, r#"delete_key(attributes,"absent")"#, &json!({}));
    changes(&log, r#"delete_matching_keys(attributes,"^net")"#, &gone);
    let two = json!({"tags": "x;y;z", "digits": "987654321"});
    becomes(&log, r#"keep_keys(attributes,["tags","digits"])"#, &two);
    becomes(&log, "keep_keys(attributes,[])", &json!({}));
    becomes(
        &log,
        r#"keep_matching_keys(attributes,"^net")"#,
        &json!({"net.verb": "get", "net.path": "/ready", "net.url": "http://h/ready"}),
    );
    becomes(&log, r#"limit(attributes,1,["digits"])"#, &json!({"digits": "987654321"}));
    changes(&log, "limit(attributes,50,[])", &json!({}));
    becomes(
        &json!({"attributes": {"a": 1, "b": 2, "c": 3}}),
        r#"limit(attributes, 2, ["c"])"#,
        &json!({"a": 1, "c": 3}),
    );
}

#[test]
fn maps_are_merged() {
    let log = base();
    let new = json!({"k1": "v1", "arr": ["e0"], "in": {"deep": "v3"}});
    changes(&log, r#"merge_maps(attributes, attributes["obj"],"insert")"#, &new);
    let tags = json!({"tags": "v2"});
    changes(&log, r#"merge_maps(attributes, attributes["obj"],"update")"#, &tags);
    let all = json!({"k1": "v1", "arr": ["e0"], "in": {"deep": "v3"}, "tags": "v2"});
    changes(&log, r#"merge_maps(attributes, attributes["obj"],"upsert")"#, &all);
    fails(&log, r#"merge_maps(attributes, attributes["m"], "upsert")"#, "source is nil");
}

#[test]
fn texts_of_maps_are_cut_and_replaced() {
    let log = base();
    changes(
        &log,
        "truncate_all(attributes,1)",
        &json!({"net.verb": "g", "net.path": "/", "net.url": "h", "tags": "x", "digits": "9"}),
    );
    let hit = json!({"net.path": "hit", "net.url": "hit"});
    changes(&log, r#"replace_all_matches(attributes,"*/*","hit")"#, &hit);
    let renamed = json!({
        "net.verb": null, "net.path": null, "net.url": null,
        "n.verb": "get", "n.path": "/ready", "n.url": "http://h/ready",
    });
    changes(&log, r#"replace_all_patterns(attributes,"key","^net","n")"#, &renamed);
    let replaced = json!({"net.path": "_ready", "net.url": "http:__h_ready"});
    changes(&log, r#"replace_all_patterns(attributes,"value","/","_")"#, &replaced);
    let hashed = "c3641f8544d7c02f3580b07c0f9887f0c6a27ff5ab1d4a3e29caf197cfc299aeready";
    let statement = r#"replace_pattern(attributes["net.path"],"/","@",SHA256)"#;
    changes(&log, statement, &json!({"net.path": hashed}));
    let cafe = json!({"attributes": {"t": "h\u{e9}\u{e9}"}});
    becomes(&cafe, "truncate_all(attributes,2)", &json!({"t": "h"}));
}

#[test]
fn maps_are_flattened() {
    let log = json!({"attributes": base()["attributes"].clone()});
    let flat = json!({
        "obj": null, "items": null, "obj.k1": "v1", "obj.tags": "v2", "obj.arr": ["e0"],
        "obj.in": {"deep": "v3"}, "items.0": {"id": "a", "n": 2}, "items.1": {"id": "b", "n": 5},
    });
    changes(&log, "flatten(attributes, depth=1)", &flat);
    let flat = json!({
        "obj": null, "items": null, "obj.k1": "v1", "obj.tags": "v2", "obj.arr.0": "e0",
        "obj.in.deep": "v3", "items.0.id": "a", "items.0.n": 2, "items.1.id": "b", "items.1.n": 5,
    });
    changes(&log, "flatten(attributes)", &flat);
    let list = json!({"attributes": {"k": ["a", "b"]}});
    let statement = "flatten(attributes, resolveConflicts=true)";
    becomes(&list, statement, &json!({"k": "a", "k.0": "b"}));
    let nested = json!({"attributes": {"l": [1, [2, 3]]}});
    becomes(&nested, "flatten(attributes)", &json!({"l.0": 1, "l.1.0": 2, "l.1.1": 3}));
}

#[test]
fn lists_grow_and_shrink() {
    let log = base();
    let mut obj = log["attributes"]["obj"].clone();
    obj["tags"] = json!(["v2", "s"]);
    changes(&log, r#"append(attributes["obj"]["tags"],"s")"#, &json!({"obj": obj}));
    let mut obj = log["attributes"]["obj"].clone();
    obj["fresh"] = json!([5, 6]);
    changes(&log, r#"append(attributes["obj"]["fresh"], values=[5,6])"#, &json!({"obj": obj}));
    let list = json!({"attributes": {"l": ["a", "b", "c"]}});
    becomes(&list, r#"delete_index(attributes["l"], 1)"#, &json!({"l": ["a", "c"]}));
    becomes(&list, r#"delete_index(attributes["l"], 1, 3)"#, &json!({"l": ["a"]}));
    becomes(&list, r#"delete_index(attributes["l"], 0, 3)"#, &json!({"l": []}));
    fails(&list, r#"delete_index(attributes["l"], 5)"#, "index 5 is out of range");
    let empty = json!({"attributes": {"l": []}});
    becomes(&empty, r#"delete_index(attributes["l"], 0, 0)"#, &json!({"l": []}));
}

#[test]
fn converters_make_values() {
    let log = base();
    let mark = |expression: &str, wanted: Value| {
        changes(
            &log,
            &format!(r#"set(attributes["mark"], {expression})"#),
            &json!({"mark": wanted}),
        );
    };
    let path = r#"Concat([attributes["net.verb"], attributes["net.path"]]," > ")"#;
    mark(path, json!("get > /ready"));
    mark(r#"Split(attributes["tags"],";")"#, json!(["x", "y", "z"]));
    mark(r#"Substring(attributes["digits"],3,3)"#, json!("654"));
    mark(r#"ConvertCase(body,"snake")"#, json!("job_a"));
    mark(r#"ConvertCase(body,"camel")"#, json!("JobA"));
    mark(r#"ParseJSON("{\"n\":7}")"#, json!({"n": 7.0}));
    let pairs = r#"ParseKeyValue("a:1;b:\"2;:;2\"", ":", ";")"#;
    mark(pairs, json!({"a": "1", "b": "2;:;2"}));
    mark(r#"Double("4")"#, json!(4.0));
    mark(r#"Int("4")"#, json!(4));
    let statement = r#"set(attributes["mark"], Split(attributes["absent"],";"))"#;
    fails(&log, statement, "target is nil, but must be text");
    let statement = r#"set(attributes["mark"],"ok") where IsMatch("id-4711","\\d{4}")"#;
    changes(&log, statement, &json!({"mark": "ok"}));
}

#[test]
fn fields_of_log_records_are_set() {
    let log = base();
    let statement = "set(severity_number, SEVERITY_NUMBER_TRACE3) where severity_number == 1";
    let outcome = run(Signal::Logs, Some(Context::Log), &logs(from_ref(&log)), &[statement]);
    assert_eq!(record(&outcome.request)["severityNumber"], json!(3));
    let mut traced = base();
    traced["traceId"] = json!("0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a");
    let statement = r#"set(attributes["mark"],"ok") where trace_id == TraceID(0x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a)"#;
    changes(&traced, statement, &json!({"mark": "ok"}));
    fails(&log, r#"replace_match(body["a"]["b"],"*","v")"#, "text has no keys");
    fails(&log, r#"set(log.body["a"], "x")"#, "text has no keys");
}

#[test]
fn a_text_never_equals_an_integer() {
    let statement = r#"set(attributes["mark"],"ok") where version == 2"#;
    let outcome = run(Signal::Logs, Some(Context::Scope), &logs(&[base()]), &[statement]);
    assert!(!outcome.is_changed);
}

#[test]
fn the_cache_is_of_one_record() {
    let records = [json!({"body": "jobA", "attributes": {}}), json!({"body": "jobB"})];
    let statements = [
        r#"set(log.attributes["mark"], log.cache["t"]) where log.cache["t"] != nil"#,
        r#"set(log.cache["t"], log.body)"#,
        r#"set(log.attributes["own"], log.cache["t"])"#,
    ];
    let outcome = run(Signal::Logs, None, &logs(&records), &statements);
    let list = &outcome.request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(list[0]["attributes"], json!({"own": "jobA"}));
    assert_eq!(list[1]["attributes"], json!({"own": "jobB"}));
}

#[test]
fn groups_see_what_groups_before_them_did() {
    let mark =
        r#"set(log.attributes["mark"],"ok") where instrumentation_scope.attributes["s"] == "ok""#;
    let set = |value: &str| format!(r#"set(scope.attributes["s"],"{value}")"#);
    let first = run(Signal::Logs, None, &logs(&[base()]), &[mark]);
    assert!(!first.is_changed);
    let scoped = run(Signal::Logs, None, &first.request, &[&set("ok")]);
    let marked = run(Signal::Logs, None, &scoped.request, &[mark]);
    let last = run(Signal::Logs, None, &marked.request, &[&set("no")]);
    assert_eq!(record(&last.request)["attributes"]["mark"], json!("ok"));
    let scope = &last.request["resourceLogs"][0]["scopeLogs"][0]["scope"];
    assert_eq!(scope["attributes"]["s"], json!("no"));
}

#[test]
fn contexts_follow_from_conditions_and_statements() {
    let conditions = [r#"resource.attributes["r"] == nil"#];
    let statements = [r#"set(log.attributes["mark"], "m")"#];
    let outcome = run_if(Signal::Logs, None, &logs(&[base()]), &conditions, &statements);
    assert_eq!(record(&outcome.request)["attributes"]["mark"], json!("m"));
    let conditions = [r#"log.attributes["mark"] == nil"#];
    let statements = [r#"set(resource.attributes["r"], "x")"#];
    let outcome = run_if(Signal::Logs, None, &logs(&[base()]), &conditions, &statements);
    let resource = &outcome.request["resourceLogs"][0]["resource"];
    assert_eq!(resource["attributes"], json!({"host.name": "n1", "r": "x"}));
}

#[test]
fn fields_of_spans_are_set() {
    let one = |span_in: Value, statement: &str| {
        span(&run(Signal::Traces, Some(Context::Span), &spans(&[span_in]), &[statement]).request)
    };
    let found = one(json!({"kind": 1, "name": "n"}), "set(kind, SPAN_KIND_CLIENT) where kind == 1");
    assert_eq!(found["kind"], json!(3));
    let statement = r#"set(attributes["k"], Concat(["kind=", kind],""))"#;
    let found = one(json!({"kind": 1, "name": "n"}), statement);
    assert_eq!(found["attributes"]["k"], json!("kind=1"));
    for condition in ["parent_span_id == SpanID(0x0000000000000000)", "IsRootSpan()"] {
        let statement = format!(r#"set(attributes["root"], name) where {condition}"#);
        let found = one(json!({"name": "n"}), &statement);
        assert_eq!(found["attributes"]["root"], json!("n"));
        let found = one(json!({"name": "n", "parentSpanId": "0102030405060708"}), &statement);
        assert_eq!(found.get("attributes"), None);
    }
    let statement = r#"replace_pattern(span.name, "/users/\\d+", "/users/{id}")"#;
    let found = one(json!({"name": "/users/12/orders/7"}), statement);
    assert_eq!(found["name"], json!("/users/{id}/orders/7"));
}

#[test]
fn conditions_drop_items() {
    let request = spans(&[json!({"name": "jobA"}), json!({"name": "jobB"})]);
    let span_context = Some(Context::Span);
    let outcome = filter(Signal::Traces, span_context, &request, &[r#"name == "jobA""#]);
    let left = &outcome.request["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    assert_eq!(left[0]["name"], json!("jobB"));
    let outcome = filter(Signal::Traces, span_context, &request, &[r#"IsMatch(name,"job.*")"#]);
    assert_eq!(outcome.request, Value::Null);
    let events = json!([{"name": "evA"}, {"name": "evB"}]);
    let request = spans(&[json!({"name": "a", "events": events})]);
    let outcome = filter(Signal::Traces, Some(Context::SpanEvent), &request, &[r#"name == "evA""#]);
    assert_eq!(span(&outcome.request)["events"], json!([{"name": "evB"}]));
    let outcome = filter(Signal::Traces, Some(Context::SpanEvent), &request, &[r#"name != """#]);
    assert_eq!(span(&outcome.request)["name"], json!("a"));
    let outcome = filter(
        Signal::Logs,
        Some(Context::Log),
        &logs(&[base()]),
        &[r#"Substring("",0,10) == "x""#],
    );
    assert!(!outcome.is_changed);
    assert_eq!(outcome.failures.len(), 1);
}

#[test]
fn comparisons_follow_the_table() {
    let log = base();
    let status = json!({"attributes": {"status": 200, "b": "bytes:Af8="}});
    for (record, condition, wanted) in [
        (&status, r#"attributes["status"] == "200""#, false),
        (&status, r#"attributes["status"] != "200""#, true),
        (&status, r#"attributes["status"] == 200.0"#, true),
        (&status, r#"IsMatch(attributes["b"], "^01ff$")"#, true),
        (&log, r#"log.attributes["env"] != "prod""#, true),
        (&log, r#"not (log.attributes["env"] == "prod")"#, true),
        (&log, r#"not IsMatch(log.attributes["env"], "^prod")"#, true),
        (&log, "nil == nil", true),
        (&log, "nil <= nil", true),
        (&log, "nil < nil", false),
        (&log, r#""x" == nil"#, false),
        (&log, r#""x" != nil"#, true),
        (&log, "true > false", true),
        (&log, "true > 0", false),
        (&log, "7 > 2.5", true),
        (&log, "1 < 1.5", true),
        (&log, r#""a" < "B""#, false),
        (&log, r#"attributes["obj"]["in"] == {"deep": "v3"}"#, true),
        (&log, r#"attributes["obj"]["in"] == {"deep": "v4"}"#, false),
        (&log, r#"attributes["obj"]["in"] < {"deep": "v4"}"#, false),
        (&log, r#"attributes["obj"]["arr"] == ["e0"]"#, true),
        (&log, "UnixSeconds(log.time) == 0", true),
        (&log, "log.time_unix_nano == nil", false),
        (&log, "ParseJSON(log.body) == nil or true", true),
        (&log, r#"body == "jobA" and severity_number == 1"#, true),
        (&log, r#"body == "x" or severity_number == 1 and flags == 1"#, true),
        (&log, r#"Now() - log.time > Duration("1h")"#, true),
        (&log, r#"trace_id == "0102030405060708090a0b0c0d0e0f10""#, false),
        (&log, r#"trace_id.string == "00000000000000000000000000000000""#, true),
    ] {
        assert_eq!(holds(record, condition), Ok(wanted), "{condition}");
    }
    let failure = holds(&log, "ParseJSON(log.body) == nil or log.severity_number == 1");
    assert!(failure.unwrap_err().starts_with("invalid JSON"));
}

#[test]
fn expressions_have_these_values() {
    let log = json!({"body": "x", "attributes": {
        "n": 3.0, "t": "h\u{e9}\u{e9}", "m": {}, "body": "{\"id\": 9007199254740993}", "u": "bob@acme",
        "mixed": [false, 11, 2.2, "three"],
    }});
    for (expression, wanted) in [
        (r#"String(attributes["n"])"#, json!("3")),
        (r#"Concat([attributes["absent"], "x"], "-")"#, json!("<nil>-x")),
        ("Int(12.7)", json!(12)),
        (r#"Bool("T")"#, json!(true)),
        (r#"Len(attributes["t"])"#, json!(5)),
        (r#"Substring(attributes["t"],0,2,true)"#, json!("h")),
        (r#"ParseJSON(attributes["body"])["id"]"#, json!(9_007_199_254_740_992.0)),
        (r#"attributes["m"]["x"]"#, Value::Null),
        (r#"Sort(attributes["mixed"])"#, json!([11, 2.2, false, "three"])),
        (r#"ParseKeyValue("a=1 b=2=3")"#, json!({"a": "1", "b": "2=3"})),
        (r#"ToKeyValueString(ParseKeyValue("a=1 b=2=3"))"#, json!("a=1 b=\"2=3\"")),
        ("20 - 6 * 3 + 1", json!(3)),
        ("10 - 6*2 + 2", json!(0)),
        ("30 - 6*(2+2)", json!(6)),
        ("10/3", json!(3)),
        ("4.0/2", json!(2.0)),
        ("9223372036854775807 * 9223372036854775807", json!(1)),
        ("9223372036854775807 + 9223372036854775807", json!(-2)),
        ("-(2 + 3)", json!(-5)),
    ] {
        assert_eq!(value(&log, expression), Ok(wanted), "{expression}");
    }
    for (expression, words) in [
        (r#"Int("12.7")"#, "start: `12.7` is not an integer"),
        (r#"Double("abc")"#, "start: `abc` is not a number"),
        (r#"Bool("yes")"#, "start: `yes` is not a boolean"),
        (r#"Split(5, ",")"#, "start: `target` must be text, but this is an integer"),
        ("SHA256(5)", "start: `value` must be text, but this is an integer"),
        ("ParseJSON(1)", "start: `target` must be text, but this is an integer"),
        (r#"ParseJSON("{}")["x"]"#, "the map has no key `x`"),
        ("5 / 0", "division by zero"),
        ("Double(body)", "`x` is not a number"),
        (r#"attributes["t"]["x"]"#, "text has no keys"),
        (r#"attributes["mixed"][4]"#, "index 4 is out of range: the list has 4 elements"),
        (r#"ExtractPatterns(body, "x")"#, "the pattern has no named group"),
    ] {
        let found = value(&log, expression).unwrap_err();
        assert!(found.starts_with(words), "{expression}: {found}");
    }
}

#[test]
fn absent_levels_are_made_and_groups_are_expanded() {
    let empty = json!({"attributes": {"u": "bob@acme", "c": "abc"}});
    let statement = r#"set(attributes["a"]["b"][2], "x")"#;
    changes(&empty, statement, &json!({"a": {"b": [null, null, "x"]}}));
    let statement = r#"replace_pattern(attributes["u"], "(\\w+)@(\\w+)", "$2 at $1")"#;
    changes(&empty, statement, &json!({"u": "acme at bob"}));
    let statement = r#"replace_pattern(attributes["c"], "(b)", "$1x")"#;
    changes(&empty, statement, &json!({"c": "ac"}));
}
