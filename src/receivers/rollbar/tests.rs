use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::{
    Refused,
    envelope::Envelope,
    item::{About, item, write},
};
use crate::otlp::{
    Signal,
    check::{self, Utf8},
};

type Attributes = BTreeMap<String, String>;

/// Attributes with their values in words: `5`, `1.5`, `true`, `"x"`.
fn words(attributes: &[KeyValue]) -> Attributes {
    let word = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|v| v.value.as_ref())
    {
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => format!("{number:?}"),
        other => panic!("{other:?}"),
    };
    let all: Attributes =
        attributes.iter().map(|attribute| (attribute.key.clone(), word(attribute))).collect();
    assert_eq!(all.len(), attributes.len(), "each attribute is there once");
    all
}

fn decoded(body: &[u8]) -> (Attributes, LogRecord) {
    let checked = check::check(Signal::Logs, body, Utf8::Strict).unwrap();
    assert_eq!(checked.items, 1);
    let mut request = ExportLogsServiceRequest::decode(body).unwrap();
    let entry = request.resource_logs.remove(0);
    let resource = words(&entry.resource.unwrap().attributes);
    let mut scope = entry.scope_logs.into_iter().next().unwrap();
    assert_eq!(scope.scope.unwrap().name, "rollbar");
    (resource, scope.log_records.remove(0))
}

fn read(data: &serde_json::Value) -> (Attributes, Attributes, LogRecord) {
    let mut body = Vec::new();
    item(json!({"access_token": "t", "data": data}).to_string().as_bytes(), &mut body).unwrap();
    let (resource, record) = decoded(&body);
    (resource, words(&record.attributes), record)
}

fn has(attributes: &Attributes, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(
            attributes.get(*key).map(String::as_str),
            Some(*value),
            "{key}: {attributes:#?}"
        );
    }
}

fn body_of(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exception_of_flask_becomes_a_log_record() {
    let (resource, attributes, record) = read(&json!({
        "timestamp": 1_795_958_303, "environment": "production", "level": "error", "language": "python 3.11.7",
        "notifier": {"name": "pyrollbar", "version": "1.5.0"}, "uuid": "e8dc66dc-060e-4c37-ba5b-fc943a1bab0b",
        "framework": "flask", "context": "/api/<x>", "code_version": "1.2.3",
        "body": {"trace_chain": [
            {"frames": [{"filename": "app.py", "lineno": 12, "method": "home", "code": "raise ValueError('bad')",
                "locals": {"x": "users"}}], "exception": {"class": "ValueError", "message": "bad users"}},
            {"frames": [{"filename": "app.py", "lineno": 10, "method": "home", "code": "{}['k']"}],
                "exception": {"class": "KeyError", "message": "'k'"}},
        ]},
        "request": {"url": "http://localhost/api/users?x=1", "GET": {"x": "1"}, "user_ip": "127.0.0.1",
            "headers": {"User-Agent": "Werkzeug/3.1.9"}, "method": "GET"},
        "server": {"host": "vm", "pid": 21417, "argv": ["app.py"], "root": "/app"},
        "person": {"id": "42", "username": "ann", "email": null, "plan": "free"},
        "custom": {"cart": [1, 2], "total": 1.5, "vip": true, "odd": "[x", "nothing": null},
        "extra": {"a": 1},
    }));
    has(
        &resource,
        &[
            ("service.version", "\"1.2.3\""),
            ("deployment.environment.name", "\"production\""),
            ("host.name", "\"vm\""),
            ("telemetry.sdk.language", "\"python\""),
        ],
    );
    has(
        &attributes,
        &[
            ("exception.type", "\"ValueError\""),
            ("exception.message", "\"bad users\""),
            ("rollbar.uuid", "\"e8dc66dc-060e-4c37-ba5b-fc943a1bab0b\""),
            ("rollbar.context", "\"/api/<x>\""),
            ("rollbar.framework", "\"flask\""),
            ("rollbar.language", "\"python 3.11.7\""),
            ("rollbar.notifier.name", "\"pyrollbar\""),
            ("rollbar.server.pid", "21417"),
            ("rollbar.server.argv", "\"[\\\"app.py\\\"]\""),
            ("url.full", "\"http://localhost/api/users?x=1\""),
            ("http.request.method", "\"GET\""),
            ("client.address", "\"127.0.0.1\""),
            ("user_agent.original", "\"Werkzeug/3.1.9\""),
            ("rollbar.request.GET", "\"{\\\"x\\\":\\\"1\\\"}\""),
            ("user.id", "\"42\""),
            ("user.name", "\"ann\""),
            ("rollbar.person.plan", "\"free\""),
            ("rollbar.custom.cart", "\"[1,2]\""),
            ("rollbar.custom.total", "1.5"),
            ("rollbar.custom.vip", "true"),
            ("rollbar.custom.odd", "\"\\\"[x\\\"\""),
            ("rollbar.data.extra", "\"{\\\"a\\\":1}\""),
        ],
    );
    for absent in ["user.email", "rollbar.custom.nothing", "rollbar.person.id", "rollbar.data.uuid"]
    {
        assert!(!attributes.contains_key(absent), "{absent}");
    }
    let chain: serde_json::Value = serde_json::from_str(
        &serde_json::from_str::<String>(&attributes["rollbar.body.trace_chain"]).unwrap(),
    )
    .unwrap();
    assert_eq!(chain[0]["frames"][0]["locals"]["x"], "users");
    assert_eq!(
        (&chain[0]["exception"], &chain[1]["exception"]["class"]),
        (&json!(null), &json!("KeyError"))
    );
    let trace = serde_json::from_str::<String>(&attributes["exception.stacktrace"]).unwrap();
    assert_eq!(
        trace,
        "Traceback (most recent call last):\n  File \"app.py\", line 10, in home\n    {}['k']\nKeyError: 'k'\n\n\
         The above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  \
         File \"app.py\", line 12, in home\n    raise ValueError('bad')\nValueError: bad users\n"
    );
    assert_eq!((record.severity_number, &*record.severity_text), (17, "error"));
    assert_eq!(record.time_unix_nano, 1_795_958_303_000_000_000);
    assert_eq!((&*record.event_name, body_of(&record)), ("exception", "ValueError: bad users"));
}

#[test]
fn a_script_says_where_it_ran() {
    let frames = json!([{"method": "main", "filename": "/a.js", "lineno": 4, "colno": 29}, {"filename": "/b.js", "lineno": 1}]);
    let mut item = json!({
        "environment": "p", "language": "javascript", "platform": "browser",
        "client": {"javascript": {"browser": "Mozilla/5.0", "source_map_enabled": false}},
        "request": {"url": "http://localhost/", "user_ip": "$remote_ip"},
        "body": {"trace": {"frames": frames, "exception": {"class": "TypeError", "message": "x is not a function"}}},
    });
    let (resource, attributes, record) = read(&item);
    has(&resource, &[("telemetry.sdk.language", "\"webjs\"")]);
    has(
        &attributes,
        &[
            ("user_agent.original", "\"Mozilla/5.0\""),
            (
                "exception.stacktrace",
                "\"TypeError: x is not a function\\n    at /b.js:1\\n    at main (/a.js:4:29)\"",
            ),
            // Nobody knows the address of the client here.
            ("client.address", "\"$remote_ip\""),
        ],
    );
    assert_eq!(record.severity_number, 17, "an exception without a level is an error");

    let peer = Some([203, 0, 113, 5].into());
    let text = json!({"data": item}).to_string();
    let envelope = Envelope::parse(&text).unwrap();
    let mut body = Vec::new();
    let about = About { peer, arrived: 7, uuid: "u", service_name: "shop" };
    write(&envelope.data, &about, &mut body).unwrap();
    let (resource, record) = decoded(&body);
    has(&resource, &[("service.name", "\"shop\"")]);
    has(
        &words(&record.attributes),
        &[("client.address", "\"203.0.113.5\""), ("rollbar.uuid", "\"u\"")],
    );
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (7, 7));

    item["notifier"] = json!({"diagnostic": {"raw_error": {"stack": "TypeError: raw\n    at x"}}});
    has(&read(&item).1, &[("exception.stacktrace", "\"TypeError: raw\\n    at x\"")]);
}

#[test]
fn messages_are_bodies() {
    let (_, attributes, record) = read(&json!({
        "level": "warning", "body": {"message": {"body": "Hello World!", "a": 1}, "telemetry": []},
        "custom": {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"},
    }));
    assert_eq!(
        (body_of(&record), record.severity_number, &*record.event_name),
        ("Hello World!", 13, "")
    );
    has(&attributes, &[("rollbar.message.a", "1"), ("rollbar.body.telemetry", "\"[]\"")]);
    assert_eq!(record.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(record.span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    let (_, _, record) = read(&json!({"body": {"message": {"body": "x"}}, "timestamp": 1.25}));
    assert_eq!((record.severity_number, record.time_unix_nano), (9, 1_250_000_000));
    let (_, attributes, record) =
        read(&json!({"body": {"crash_report": {"raw": "Thread 0", "os": "iOS"}}}));
    assert_eq!((body_of(&record), record.severity_number), ("Thread 0", 17));
    has(&attributes, &[("rollbar.body.crash_report", "\"{\\\"os\\\":\\\"iOS\\\"}\"")]);
}

#[test]
fn members_of_another_type_are_kept_as_they_are() {
    let (resource, attributes, record) = read(&json!({
        "level": "loud", "timestamp": "soon", "environment": 5, "title": [1], "custom": "text", "person": {},
        "request": {"url": 7}, "server": [], "body": {"message": {"body": {"a": 1}}},
    }));
    assert!(resource.is_empty(), "{resource:?}");
    has(
        &attributes,
        &[
            ("rollbar.data.level", "\"loud\""),
            ("rollbar.data.timestamp", "\"soon\""),
            ("rollbar.data.environment", "5"),
            ("rollbar.data.title", "\"[1]\""),
            ("rollbar.data.custom", "\"text\""),
            ("rollbar.data.person", "\"{}\""),
            ("rollbar.data.server", "\"[]\""),
            ("rollbar.request.url", "7"),
            ("rollbar.message.body", "\"{\\\"a\\\":1}\""),
        ],
    );
    assert_eq!(
        (record.severity_number, record.body),
        (9, Some(opentelemetry_proto::tonic::common::v1::AnyValue { value: None }))
    );
}

#[test]
fn what_is_no_item_is_refused() {
    let trace = |trace: serde_json::Value| json!({"body": {"trace": trace}});
    for (data, why) in [
        (json!({}), Refused::NoBody),
        (json!({"body": {}}), Refused::Kind),
        (json!({"body": {"message": {"body": "x"}, "trace": {}}}), Refused::Kind),
        (json!({"body": {"trace_chain": []}}), Refused::Shape("trace_chain")),
        (json!({"body": {"trace_chain": [1]}}), Refused::Shape("trace_chain")),
        (json!({"body": {"message": 5}}), Refused::Shape("message")),
        (trace(json!({"frames": []})), Refused::NoClass),
        (trace(json!({"exception": {"message": "x"}})), Refused::NoClass),
    ] {
        let mut out = Vec::new();
        let refused = item(json!({"data": data}).to_string().as_bytes(), &mut out);
        assert_eq!((refused, out.len()), (Err(why), 0), "{data}");
    }
}

proptest! {
    /// Any text is refused or becomes one record; nothing panics.
    #[test]
    fn any_item_is_read(
        body in r#"(\{"(message|trace|trace_chain|exception|frames|class|body)":|[\[\]{}",:0-9]|"a"|null){0,40}"#,
        rest in r#"(,"(custom|person|request|server|level|timestamp)":(\{"a":\[1\]\}|"x"|5|null|\[\])){0,4}"#,
    ) {
        let text = format!("{{\"data\":{{\"body\":{{{body}}}{rest}}}}}");
        let mut out = Vec::new();
        match item(text.as_bytes(), &mut out) {
            Ok(()) => prop_assert_eq!(check::check(Signal::Logs, &out, Utf8::Strict).unwrap().items, 1),
            Err(_) => prop_assert!(out.is_empty()),
        }
    }
}
