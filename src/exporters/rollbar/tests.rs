use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event},
};
use prost::Message as _;
use serde_json::{Value, json};

use super::{
    items::{LIMIT, Settings, next},
    *,
};

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let pair = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(Any::StringValue((*value).to_owned())) }),
        ..KeyValue::default()
    };
    pairs.iter().map(pair).collect()
}

fn resource(pairs: &[(&str, &str)]) -> Resource {
    Resource { attributes: attributes(pairs), ..Resource::default() }
}

fn exception(kind: &str, message: &str, stack: &str) -> Vec<KeyValue> {
    let pairs =
        [("exception.type", kind), ("exception.message", message), ("exception.stacktrace", stack)];
    attributes(&pairs)
}

fn spans(of: &[(&str, &str)], spans: Vec<Span>) -> Content {
    let count = spans.len() as u64;
    let scope =
        InstrumentationScope { name: "flask".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let entry =
        ResourceSpans { resource: Some(resource(of)), scope_spans, ..ResourceSpans::default() };
    let request = ExportTraceServiceRequest { resource_spans: vec![entry] };
    Content::new(Signal::Traces, request.encode_to_vec().into(), count)
}

fn records(of: &[(&str, &str)], log_records: Vec<LogRecord>) -> Content {
    let count = log_records.len() as u64;
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let entry =
        ResourceLogs { resource: Some(resource(of)), scope_logs, ..ResourceLogs::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![entry] };
    Content::new(Signal::Logs, request.encode_to_vec().into(), count)
}

fn record(severity: i32, body: &str, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord {
        time_unix_nano: 1_700_000_000_900_000_000,
        severity_number: severity,
        body: Some(AnyValue { value: Some(Any::StringValue(body.to_owned())) }),
        attributes,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..LogRecord::default()
    }
}

fn failed(events: Vec<Vec<KeyValue>>, pairs: &[(&str, &str)]) -> Span {
    let event = |attributes| Event {
        time_unix_nano: 1_700_000_000_100_000_000,
        name: "exception".to_owned(),
        attributes,
        ..Event::default()
    };
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET /api".to_owned(),
        attributes: attributes(pairs),
        events: events.into_iter().map(event).collect(),
        status: Some(Status { code: 2, ..Status::default() }),
        ..Span::default()
    }
}

fn settings(error_logs: bool) -> Settings {
    Settings { environment: "staging".to_owned(), error_logs }
}

/// The items of a payload.
fn items(content: &Content, error_logs: bool) -> Vec<Value> {
    let (items, walk) = next(&Work::all(content), &settings(error_logs));
    assert!(walk.is_over() && items.left_out == 0);
    let of = |item: &bytes::Bytes| {
        let item: Value = serde_json::from_slice(item).unwrap();
        item["data"].clone()
    };
    items.all.iter().map(of).collect()
}

/// The only item.
fn one(content: &Content) -> Value {
    let mut items = items(content, false);
    assert_eq!(items.len(), 1);
    items.remove(0)
}

const PYTHON: &str = "Traceback (most recent call last):\n  File \"home.py\", line 10, in load\n    {}['k']\nKeyError: 'k'\n\n\
    The above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  \
    File \"app.py\", line 42, in run\n    load()\n  File \"home.py\", line 12, in load\n    raise ValueError('bad')\nValueError: bad\n";

#[test]
fn an_exception_of_a_span_has_all_that_its_span_says() {
    let of = [
        ("service.name", "shop"),
        ("service.version", "1.2.3"),
        ("deployment.environment.name", "production"),
        ("host.name", "vm"),
        ("telemetry.sdk.language", "python"),
        ("cloud.region", "eu"),
    ];
    let span = failed(
        vec![exception("ValueError", "bad", PYTHON)],
        &[
            ("http.request.method", "GET"),
            ("url.scheme", "https"),
            ("server.address", "shop.test"),
            ("url.path", "/api"),
            ("url.query", "x=1"),
            ("client.address", "203.0.113.5"),
            ("user_agent.original", "UA"),
            ("http.request.header.authorization", "Bearer secret"),
            ("http.route", "/api"),
            ("user.id", "42"),
            ("user.email", "ann@a.test"),
            ("db.password", "secret"),
            ("cart", "7"),
        ],
    );
    let item = one(&spans(&of, vec![span]));
    let frame = |line: u32, file: &str, method: &str, code: &str| json!({"filename": file, "lineno": line, "method": method, "code": code});
    assert_eq!(
        item["body"],
        json!({"trace_chain": [
            {"frames": [frame(42, "app.py", "run", "load()"), frame(12, "home.py", "load", "raise ValueError('bad')")],
                "exception": {"class": "ValueError", "message": "bad"}},
            {"frames": [frame(10, "home.py", "load", "{}['k']")], "exception": {"class": "KeyError", "message": "'k'"}},
        ]})
    );
    let facts = ["environment", "level", "timestamp", "code_version", "language", "context"]
        .map(|key| item[key].clone());
    let expected = json!(["production", "error", 1_700_000_000, "1.2.3", "python", "/api"]);
    assert_eq!(json!(facts), expected);
    assert_eq!(
        item["request"],
        json!({"url": "https://shop.test/api?x=1", "method": "GET", "query_string": "x=1",
        "user_ip": "203.0.113.5", "headers": {"User-Agent": "UA", "authorization": "********"}})
    );
    assert_eq!(item["person"], json!({"id": "42", "email": "ann@a.test"}));
    assert_eq!(item["server"], json!({"host": "vm"}));
    assert_eq!(
        item["custom"],
        json!({"trace_id": "01".repeat(16), "span_id": "02".repeat(8), "service.name": "shop",
        "scope": "flask", "db.password": "********", "cart": "7", "resource": {"cloud.region": "eu"}})
    );
    assert_eq!(item["notifier"]["name"], "skep");
    assert_eq!(item["uuid"].as_str().unwrap().len(), 36);
    assert_eq!(item.get("fingerprint"), None, "Rollbar groups by frames");
}

#[test]
fn an_exception_that_comes_as_both_has_one_uuid() {
    let event = failed(vec![exception("shop.errors.NoStock", "none left", "")], &[]);
    let span = one(&spans(&[], vec![event]));
    let log = record(17, "failed", exception("NoStock", "none left", PYTHON));
    let log = one(&records(&[], vec![log]));
    assert_eq!(span["uuid"], log["uuid"]);
    let other = record(17, "failed", exception("NoStock", "two left", ""));
    assert_ne!(one(&records(&[], vec![other]))["uuid"], log["uuid"]);
    // Twice in one span are two.
    let twice = failed(vec![exception("E", "m", ""), exception("E", "m", "")], &[]);
    let twice = items(&spans(&[], vec![twice]), false);
    assert_eq!(twice.len(), 2);
    assert_ne!(twice[0]["uuid"], twice[1]["uuid"]);
}

/// In whatever order the spans come.
#[test]
fn an_exception_that_leaves_several_spans_is_one_item_of_the_outermost() {
    let span = |id: u8, parent: u8, pairs: &[(&str, &str)]| Span {
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        ..failed(vec![exception("E", "m", "")], pairs)
    };
    let request = [("url.full", "http://a.test/"), ("user.id", "42")];
    let all = [span(5, 4, &[]), span(4, 3, &[]), span(3, 9, &request)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
        let item = one(&spans(&[], order.map(|at| all[at].clone()).to_vec()));
        assert_eq!(item["custom"]["span_id"], "03".repeat(8), "{order:?}");
        assert_eq!(item["person"]["id"], "42");
    }
    let inner = [all[0].clone(), span(4, 0, &[])];
    assert_eq!(one(&spans(&[], inner.to_vec()))["custom"]["span_id"], "04".repeat(8));
    // The log record of any of the spans has the same id.
    let log = record(17, "failed", exception("E", "m", ""));
    assert_eq!(one(&records(&[], vec![log]))["uuid"], one(&spans(&[], inner.to_vec()))["uuid"]);
    // Another trace is another exception.
    let other = Span { trace_id: vec![7; 16], ..all[2].clone() };
    assert_eq!(items(&spans(&[], vec![all[2].clone(), other]), false).len(), 2);
}

#[test]
fn frames_are_read_in_all_languages() {
    let frames = |language: &str, kind: &str, stack: &str| {
        let span = failed(vec![exception(kind, "m", stack)], &[]);
        let item = one(&spans(&[("telemetry.sdk.language", language)], vec![span]));
        let body = &item["body"];
        let trace = body.get("trace").unwrap_or(&body["trace_chain"][0]);
        let short = |frame: &Value| {
            format!(
                "{}:{}:{} {}",
                frame["filename"].as_str().unwrap(),
                frame["lineno"],
                frame["colno"],
                frame["method"].as_str().unwrap_or_default()
            )
        };
        trace["frames"].as_array().unwrap().iter().map(short).collect::<Vec<_>>()
    };
    let js = "Error: m\n    at run (/app/a.js:10:5)\n    at /app/b.js:2:1\n";
    assert_eq!(frames("nodejs", "Error", js), ["/app/b.js:2:1 ", "/app/a.js:10:5 run"]);
    let java = "E: m\n\tat a.B.c(B.java:7)\n\tat a.Main.main(Main.java:3)\n";
    assert_eq!(frames("java", "E", java), ["Main.java:3:null a.Main.main", "B.java:7:null a.B.c"]);
    let go = "goroutine 1 [running]:\nruntime/debug.Stack()\n\t/go/stack.go:26 +0x5e\ngo.opentelemetry.io/otel/sdk/trace.recordStackTrace()\n\t\
        /otel/span.go:1 +0x1\nmain.f(0x1)\n\t/app/main.go:12 +0x1d\nmain.main()\n\t/app/main.go:3\n";
    assert_eq!(
        frames("go", "E", go),
        ["/app/main.go:3:null main.main()", "/app/main.go:12:null main.f(0x1)"]
    );
    let ruby = "app.rb:10:in `total': m (E)\n\tfrom app.rb:20:in `run'\n";
    assert_eq!(frames("ruby", "E", ruby), ["app.rb:20:null run", "app.rb:10:null total"]);
    let net = "E: m\n   at A.B() in C:\\a.cs:line 12\n   at D.E()\n";
    assert_eq!(frames("dotnet", "E", net), ["<unknown>:null:null D.E()", "C:\\a.cs:12:null A.B()"]);
    assert_eq!(frames("python", "ValueError", "no stack at all"), Vec::<String>::new());
}

#[test]
fn a_cause_of_java_has_the_frames_that_it_shares() {
    let stack = "E: m\n\tat a.B.c(B.java:7)\n\tat a.Main.main(Main.java:3)\nCaused by: F: n\n\tat a.D.e(D.java:9)\n\t... 1 more\n";
    let span = failed(vec![exception("E", "m", stack)], &[]);
    let item = one(&spans(&[("telemetry.sdk.language", "java")], vec![span]));
    let cause = &item["body"]["trace_chain"][1];
    let methods: Vec<_> =
        cause["frames"].as_array().unwrap().iter().map(|frame| &frame["method"]).collect();
    assert_eq!(methods, ["a.Main.main", "a.D.e"]);
    assert_eq!(cause["exception"], json!({"class": "F", "message": "n"}));
}

#[test]
fn what_frames_do_not_say_is_kept() {
    let span = failed(vec![exception("E", "m", "something else")], &[]);
    let item = one(&spans(&[], vec![span]));
    assert_eq!(item["custom"]["exception.stacktrace"], "something else");
    let nameless = failed(vec![attributes(&[("exception.stacktrace", "x")])], &[]);
    assert_eq!(one(&spans(&[], vec![nameless]))["body"]["trace"]["exception"]["class"], "Error");
}

#[test]
fn levels_follow_severity_and_status() {
    let level = |severity| {
        let item = one(&records(&[], vec![record(severity, "x", exception("E", "m", ""))]));
        item["level"].as_str().unwrap().to_owned()
    };
    let levels = [24, 17, 13, 9, 5, 0].map(level);
    assert_eq!(levels, ["critical", "error", "warning", "info", "debug", "error"]);
    let mut handled = failed(vec![exception("E", "m", "")], &[]);
    handled.status = None;
    assert_eq!(one(&spans(&[], vec![handled]))["level"], "warning");
}

#[test]
fn errors_without_an_exception_are_sent_by_option_and_grouped() {
    let logs = || {
        let all = [(17, "order 4711 failed"), (21, "order 4712 failed"), (13, "slow")];
        let all = all.map(|(severity, body)| record(severity, body, attributes(&[("a", "b")])));
        records(&[], all.to_vec())
    };
    assert_eq!(items(&logs(), false).len(), 0);
    let items = items(&logs(), true);
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["body"], json!({"message": {"body": "order 4711 failed"}}));
    assert_eq!(
        (&items[0]["environment"], &items[1]["level"]),
        (&json!("staging"), &json!("critical"))
    );
    assert_eq!(items[0]["fingerprint"], items[1]["fingerprint"]);
    assert_ne!(items[0]["uuid"], items[1]["uuid"]);
    assert_eq!(items[0]["custom"]["a"], "b");
}

#[test]
fn a_large_item_is_cut_to_the_limit() {
    let frames = "  File \"a.py\", line 1, in f\n    g()\n".repeat(2000);
    let stack = format!("Traceback (most recent call last):\n{frames}E: m\n");
    let long = "x".repeat(300_000);
    let attributes: Vec<KeyValue> =
        [exception("E", "m", &stack), attributes(&[("a", &long), ("b", &long)])].concat();
    let content = records(&[], vec![record(17, "x", attributes)]);
    let (found, _) = next(&Work::all(&content), &settings(false));
    assert!(found.all[0].len() <= LIMIT, "{}", found.all[0].len());
    let item: Value = serde_json::from_slice(&found.all[0]).unwrap();
    assert_eq!(item["data"]["custom"]["a"].as_str().unwrap().len(), 4099);
    assert_eq!(item["data"]["body"]["trace"]["exception"]["class"], "E");
    // With hardly any room the least is sent.
    let work = Work { room: 8 << 10, ..Work::all(&content) };
    let (found, _) = next(&work, &settings(false));
    assert!(found.all[0].len() <= 1 << 10);
    assert_eq!(found.left_out, 0);
}

#[test]
fn many_items_are_sent_in_pieces() {
    let logs = (0..200).map(|number| record(17, "x", exception("E", &format!("m{number}"), "")));
    let content = records(&[], logs.collect());
    let (mut from, mut seen) = (crate::otlp::content::Cursor::default(), Vec::new());
    loop {
        let work = Work { content: &content, from, room: 1 << 20 };
        let (found, walk) = next(&work, &settings(false));
        assert!(!found.all.is_empty() && found.all.len() <= 64);
        seen.extend(found.all.iter().map(|item| {
            let item: Value = serde_json::from_slice(item).unwrap();
            item["data"]["body"]["trace"]["exception"]["message"].as_str().unwrap().to_owned()
        }));
        match walk.cursor() {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen, (0..200).map(|number| format!("m{number}")).collect::<Vec<_>>());
}

#[test]
fn the_endpoint_may_be_the_base_or_the_url_of_items() {
    for endpoint in
        ["http://a/api/1/", "http://a/api/1", "http://a/api/1/item/", "http://a/api/1/item"]
    {
        let config = Config { endpoint: endpoint.to_owned(), ..Config::default() };
        assert_eq!(config.url(), "http://a/api/1/item/");
    }
    let config = Config { access_token: Secret::new("very-secret"), ..Config::default() };
    assert!(!format!("{config:?}").contains("very-secret"));
    assert!(!config.destination().contains("very-secret"));
}
