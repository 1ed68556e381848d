//! `skep tap` and `skep top` with the whole program: what went in and came out, what was dropped
//! and by whom, and what happens to a tap whose reader, component or process goes.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message as _;
use serde_json::Value as Json;
use skep::admin::proto::{
    HealthRequest, TapEnd, TapRequest, control_service_client::ControlServiceClient,
};

use crate::support::{
    free_port,
    reloading::{APPLIED, World},
    wait_for,
};

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn span(trace: u8, id: u8, name: &str, attributes: &[(&str, &str)]) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        name: name.to_owned(),
        start_time_unix_nano: 1_000_000,
        end_time_unix_nano: 13_000_000,
        attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        ..Span::default()
    }
}

/// Sends spans of the service `shop`.
fn send(port: u16, spans: Vec<Span>) {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let attributes = vec![attribute("service.name", "shop")];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let entry = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: skep\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}

/// A pipeline `traces` with these processors.
fn config(receiver: u16, processors: &str, names: &str) -> String {
    format!(
        "receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{receiver}'}}}}}}\n\
         processors:\n{processors}\nexporters:\n  nop:\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], processors: [{names}], exporters: [nop]}}\n"
    )
}

const EDIT: &str = "  attributes:\n    actions:\n      \
     - {key: user.email, action: hash}\n      - {key: added, value: 1, action: insert}\n  \
     filter/health:\n    trace_conditions: ['span.name == \"GET /health\"']";

/// skep with a pipeline, and what asks it.
struct Tapped {
    world: World,
    port: u16,
    control: String,
}

impl Tapped {
    fn start(processors: &str, names: &str) -> Self {
        let port = free_port();
        let world = World::start(&config(port, processors, names), &[port]);
        let control = format!("127.0.0.1:{}", world.control());
        Tapped { world, port, control }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(arguments).args(["--control-endpoint", &self.control]);
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A tap that goes on while the test sends data.
    fn tap(&self, arguments: &[&str]) -> Tap {
        let before = self.opened();
        let mut command = self.command(&[&["tap"], arguments].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("the tap is open", || self.opened() > before);
        Tap(child)
    }

    /// Taps that were opened so far.
    fn opened(&self) -> usize {
        self.world.log().matches("A tap was opened.").count()
    }

    async fn client(&self) -> ControlServiceClient<tonic::transport::Channel> {
        ControlServiceClient::connect(format!("http://{}", self.control)).await.unwrap()
    }
}

struct Tap(Child);

impl Tap {
    /// Waits for its end: exit code, what it showed, what it said.
    fn end(self) -> (Option<i32>, String, String) {
        let output = self.0.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// The same of one that shows JSON and ends by itself.
    fn items(self) -> Vec<Json> {
        let (code, shown, said) = self.end();
        assert_eq!(code, Some(0), "{said}");
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_processor_is_shown_before_and_after() {
    let skep = Tapped::start(EDIT, "attributes, filter/health");
    let json = ["traces/attributes", "--format", "json", "--limit", "2"];
    let (both, diff) =
        (skep.tap(&json), skep.tap(&["attributes", "--format", "diff", "--limit", "2"]));
    let attributes = [("user.email", "ana@x.org"), ("password", "hunter2")];
    send(skep.port, vec![span(1, 1, "GET /cart", &attributes), span(1, 2, "SELECT", &[])]);
    let items = both.items();
    let one = &items[0];
    assert_eq!(
        (&one["name"], &one["fate"], &one["service"]),
        (&"GET /cart".into(), &"changed".into(), &"shop".into())
    );
    let keys: Vec<&str> =
        one["changes"].as_array().unwrap().iter().map(|c| c["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["attributes.user.email", "attributes.added"]);
    assert_eq!(one["before"]["attributes.user.email"], "ana@x.org");
    assert_eq!(one["after"]["attributes.password"], "[REDACTED]");
    assert_eq!(items[1]["changes"][0]["key"], "attributes.added");
    let (code, shown, said) = diff.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(shown.contains("    attributes.user.email: \"ana@x.org\" -> \""), "{shown}");
    assert!(shown.contains("  + attributes.added: 1\n"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(said.contains("2 of 2 items shown; ended: as many were shown"), "{said}");
    skep.world.stop();
}

#[test]
fn what_a_filter_drops_is_told_and_a_condition_chooses() {
    let skep = Tapped::start(EDIT, "attributes, filter/health");
    let all = skep.tap(&["traces/filter/health", "--limit", "2"]);
    let some = skep.tap(&[
        "filter/health:in",
        "--where",
        r#"resource.attributes["service.name"] == "shop" and name == "GET /health""#,
        "--format",
        "otlp",
        "--limit",
        "1",
    ]);
    let spans = || vec![span(1, 1, "GET /cart", &[]), span(2, 2, "GET /health", &[])];
    send(skep.port, spans());
    let (_, shown, _) = all.end();
    let lines: Vec<&str> = shown.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "shop GET /cart 12ms trace=01010101010101010101010101010101 [unchanged]",
            "shop GET /health 12ms trace=02020202020202020202020202020202 \
             [dropped by filter/health: filtered]",
        ]
    );
    let (_, shown, _) = some.end();
    let request: Json = serde_json::from_str(&shown).unwrap();
    let shown = &request["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["name"]), (1, &"GET /health".into()));
    skep.world.stop();
}

#[test]
fn tail_sampling_is_told_with_its_policy() {
    let sampler = "  tail_sampling:\n    decision_wait: 1s\n    policies:\n      \
         - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}";
    let skep = Tapped::start(sampler, "tail_sampling");
    let tap = skep.tap(&["tail_sampling", "--format", "json", "--limit", "3"]);
    let failed =
        Span { status: Some(Status { code: 2, ..Status::default() }), ..span(1, 1, "pay", &[]) };
    send(skep.port, vec![failed, span(1, 2, "db", &[]), span(2, 3, "health", &[])]);
    let mut items = tap.items();
    items.sort_by_key(|item| item["span_id"].to_string());
    let told: Vec<(&str, &Json)> =
        items.iter().map(|item| (item["fate"].as_str().unwrap(), &item["policy"])).collect();
    assert_eq!(
        told,
        [
            ("unchanged", &"errors".into()),
            ("unchanged", &"errors".into()),
            ("dropped", &Json::Null)
        ]
    );
    assert_eq!(items[2]["kept"], false);
    skep.world.stop();
}

#[test]
fn a_rate_leaves_whole_traces_out_and_says_so() {
    let skep = Tapped::start(EDIT, "attributes");
    let tap = skep.tap(&["traces/otlp", "--rate", "10", "--for", "4s", "--format", "json"]);
    for round in 0..20 {
        let traces = (1..=12).map(|trace| round * 12 + trace);
        let spans = traces.flat_map(|trace| (0..4).map(move |id| span(trace, id + 1, "x", &[])));
        send(skep.port, spans.collect());
    }
    let (code, shown, said) = tap.end();
    assert_eq!(code, Some(0), "{said}");
    let mut counts = std::collections::HashMap::<String, usize>::new();
    for line in shown.lines() {
        let item: Json = serde_json::from_str(line).unwrap();
        *counts.entry(item["trace_id"].to_string()).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    assert!(counts.values().all(|spans| *spans == 4), "whole traces: {counts:?}");
    assert!((4..=100).contains(&total), "{total}");
    assert!(said.contains(&format!("{total} of 960 items shown")), "{said}");
    assert!(said.contains("ended: the time is over"), "{said}");
    skep.world.stop();
}

#[test]
fn names_only_and_further_keys_hide_values() {
    let skep = Tapped::start(EDIT, "attributes");
    let json = |more: &[&str]| {
        let base = ["traces/otlp", "--format", "json", "--limit", "1"];
        skep.tap(&[&base, more].concat())
    };
    let (names, more) = (json(&["--names-only"]), json(&["--redact", "^user\\."]));
    send(skep.port, vec![span(1, 1, "GET /cart", &[("user.email", "ana@x.org"), ("n", "five")])]);
    let (names, more) = (&names.items()[0]["before"], &more.items()[0]["before"]);
    assert_eq!((&names["attributes.n"], &names["name"]), (&"<string>".into(), &"GET /cart".into()));
    assert_eq!(more["attributes.user.email"], "[REDACTED]");
    assert_eq!(more["attributes.n"], "five");
    skep.world.stop();
}

#[test]
fn a_slow_reader_misses_items_and_holds_nobody_up() {
    let skep = Tapped::start(EDIT, "attributes");
    // Nobody reads its output until the end.
    let tap = skep.tap(&["traces/otlp", "--rate", "10000", "--for", "10s", "--format", "json"]);
    let large = "x".repeat(2000);
    let spans: Vec<Span> = (0..1000)
        .map(|id| span(1, u8::try_from(id % 200).unwrap() + 1, "x", &[("large", &large)]))
        .collect();
    // Each is answered, whatever the tap does.
    for _ in 0..10 {
        send(skep.port, spans.clone());
    }
    let (_, shown, said) = tap.end();
    let lines = shown.lines().count();
    assert!(lines > 0 && lines < 10_000, "{lines}: {said}");
    skep.world.stop();
}

#[test]
fn there_are_four_taps_and_what_is_asked_for_wrongly_is_told() {
    let skep = Tapped::start(EDIT, "attributes, filter/health");
    let mut taps: Vec<Tap> = (0..4).map(|_| skep.tap(&["traces", "--for", "1m"])).collect();
    let said = |arguments: &[&str]| {
        let output = skep.ask(&[&["tap"], arguments].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = said(&["traces"]);
    assert_eq!(code, Some(69));
    assert!(words.contains("4 taps are open already"), "{words}");
    // One that is killed frees its place.
    let mut killed = taps.pop().unwrap();
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    wait_for("a free place", || said(&["traces", "--for", "10ms"]).0 == Some(0));
    let (code, words) = said(&["traces/atributes"]);
    assert_eq!(
        (code, words.contains("did you mean `traces/attributes`?")),
        (Some(1), true),
        "{words}"
    );
    let (code, words) = said(&["traces/attributes", "--where", "span.nam == 1"]);
    assert_eq!((code, words.contains("^^^")), (Some(64), true), "{words}");
    let (code, words) = said(&["traces/otlp:in"]);
    assert_eq!((code, words.contains("use the side `out`")), (Some(64), true), "{words}");
    let list = skep.ask(&["tap"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let names: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    let all = ["traces/otlp", "traces/attributes", "traces/filter/health", "traces/nop"];
    assert_eq!(names, all, "{list}");
    // `| head -1` ends it in order.
    let head = skep.tap(&["traces/nop"]);
    let mut child = head.0;
    drop(child.stdout.take());
    let mut trace = 0_u8;
    wait_for("the end of the tap", || {
        trace = trace % 200 + 1;
        send(skep.port, vec![span(trace, 1, "x", &[])]);
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for mut tap in taps {
        tap.0.kill().unwrap();
        tap.0.wait().unwrap();
    }
    skep.world.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_survives_a_reload_that_keeps_its_component_and_ends_with_it() {
    let skep = Tapped::start(EDIT, "attributes, filter/health");
    let mut client = skep.client().await;
    let request = |component: &str| TapRequest {
        pipeline: "traces".to_owned(),
        component: component.to_owned(),
        ..TapRequest::default()
    };
    let mut kept = client.tap(request("attributes")).await.unwrap().into_inner();
    let mut gone = client.tap(request("filter/health")).await.unwrap().into_inner();
    let next = async |stream: &mut tonic::Streaming<skep::admin::proto::TapResponse>| {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.message());
        next.await.unwrap().unwrap().unwrap()
    };
    // The filter goes, and the attributes change.
    let changed = EDIT.replace("added, value: 1", "other, value: 2");
    skep.world.write(&config(skep.port, &changed, "attributes"));
    skep.world.hang_up(APPLIED);
    while next(&mut gone).await.end() != TapEnd::Gone {}
    send(skep.port, vec![span(1, 1, "x", &[])]);
    let item = loop {
        let message = next(&mut kept).await;
        assert_eq!(message.end(), TapEnd::Unspecified);
        if let Some(item) = message.items.into_iter().next() {
            break item;
        }
    };
    assert_eq!(item.changes[0].key, "attributes.other");
    assert!(client.health(HealthRequest {}).await.unwrap().into_inner().ready);
    drop(kept);
    skep.world.stop();
}

#[test]
fn top_is_a_table_and_an_object_without_a_terminal() {
    let skep = Tapped::start(EDIT, "attributes, filter/health");
    send(skep.port, vec![span(1, 1, "GET /cart", &[]), span(2, 2, "GET /health", &[])]);
    let once = skep.ask(&["top", "--once", "--interval", "300ms"]);
    let table = String::from_utf8_lossy(&once.stdout).into_owned();
    assert_eq!(once.status.code(), Some(0), "{}", String::from_utf8_lossy(&once.stderr));
    assert!(!table.contains('\u{1b}'));
    for words in ["skep 0.", "ready", "processor attributes", "exporter nop", "in/s"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    let json = skep.ask(&["top", "--once", "--json", "--pipeline", "traces"]);
    let object: Json = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&object["ready"], object["components"].as_array().unwrap().len()),
        (&true.into(), 4)
    );
    let none = skep.ask(&["top", "--once", "--pipeline", "logs"]);
    assert_eq!(none.status.code(), Some(1));
    skep.world.stop();
}

/// `skep top` in a terminal that util-linux's `script` makes, with its screen in a file.
#[cfg(feature = "terminal")]
#[test]
fn top_draws_on_a_terminal_follows_keys_and_puts_it_back() {
    let skep = Tapped::start(EDIT, "attributes, filter/health");
    let dir = tempfile::tempdir().unwrap();
    let screen = dir.path().join("screen");
    let program = env!("CARGO_BIN_EXE_skep");
    let control = &skep.control;
    let commands = format!(
        "stty rows 24 cols 80; '{program}' top --interval 200ms --control-endpoint {control}; \
         echo \"code=$?\"; stty -a"
    );
    let mut script = Command::new("script")
        .args(["-q", "-f", "-c", &commands])
        .arg(&screen)
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("`script` of util-linux");
    let seen = || String::from_utf8_lossy(&fs::read(&screen).unwrap_or_default()).into_owned();
    let shows = |words: &str| wait_for(words, || seen().contains(words));
    // Words, since blanks between them are not drawn where there is one already.
    shows("filter/health");
    let mut keys = script.stdin.take().unwrap();
    let mut press = |key: &[u8]| keys.write_all(key).and_then(|()| keys.flush()).unwrap();
    press(b"?");
    shows("Ctrl-C");
    press(b" G\r");
    shows("max");
    press(b"t");
    shows("traces/nop");
    send(skep.port, vec![span(1, 1, "/tapped", &[])]);
    shows("/tapped");
    // The tap, and the screen.
    press(b"q");
    press(b"q");
    shows("code=0");
    wait_for("the end", || script.try_wait().unwrap().is_some());
    let screen = seen();
    let (_, after) = screen.rsplit_once("code=0").unwrap();
    assert!(screen.contains("\u{1b}[?1049l"), "the terminal is as it was");
    assert!(after.contains(" echo ") && after.contains(" icanon "), "{after}");
    assert!(!screen.contains("\u{1b}[31m"), "no colours");
    skep.world.stop();
}

#[test]
fn nobody_answers_where_no_skep_runs() {
    let control = format!("127.0.0.1:{}", free_port());
    for arguments in [&["tap"][..], &["top", "--once"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_skep"))
            .args(arguments)
            .args(["--control-endpoint", &control])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(69));
        assert!(String::from_utf8_lossy(&output.stderr).contains("no skep answers"));
    }
}
