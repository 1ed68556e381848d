//! The receiver and the exporter `rollbar` in the whole program, before a stand-in for Rollbar that
//! is as strict as Rollbar.

use std::{
    fs,
    io::{BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    Skep, free_port,
    rollbar_backend::{OWN, TOKEN, call, post, rollbar},
    sdk,
    stand_in::{header, message},
    wait_for,
};

/// The receiver before the exporter, with further settings of the receiver.
fn through(port: u16, backend: u16, settings: &str) -> String {
    format!(
        "receivers:\n  rollbar: {{endpoint: \"127.0.0.1:{port}\"{settings}}}\nexporters:\n  \
         rollbar: {{access_token: {TOKEN}, endpoint: \"http://127.0.0.1:{backend}/api/1/\"}}\n  \
         debug: {{verbosity: detailed}}\nservice:\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{logs: {{receivers: [rollbar], exporters: [rollbar, debug]}}}}\n"
    )
}

fn item(uuid: &str) -> Value {
    json!({
        "environment": "production", "level": "error", "timestamp": 1_795_958_303, "uuid": uuid,
        "language": "python 3.11.7", "framework": "flask", "context": "/api/<x>",
        "body": {"trace": {
            "frames": [{"filename": "app.py", "lineno": 12, "method": "home", "locals": {"x": "users"}}],
            "exception": {"class": "ValueError", "message": "bad users"},
        }},
        "request": {"url": "http://a.test/", "headers": {"Host": "a.test"}, "GET": {}},
        "person": {"id": "42"}, "server": {"host": "vm", "pid": 7}, "custom": {"key": [1]},
    })
}

#[test]
fn items_pass_through_once_and_their_token_is_shown_nowhere() {
    let (backend, backend_port) = rollbar();
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    let config = format!("yaml:{}", through(port, backend_port, ""));
    command.args(["--control-endpoint", "off", "--config", &config]).env_remove("SKEP_CONFIG");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut skep = Skep(child);
    skep.listens(&[port]);

    let data = item("e8dc66dc-060e-4c37-ba5b-fc943a1bab0b");
    let mut payload = json!({"access_token": OWN, "data": data});
    payload["data"]["custom"]["settings"] = json!(format!("init('{OWN}')"));
    for _ in 0..2 {
        let (status, head, answer) = post(port, &payload);
        assert_eq!((status, &answer["err"]), (200, &json!(0)), "{answer}");
        assert_eq!(answer["result"]["uuid"], data["uuid"]);
        assert_eq!(header(&head, "x-rate-limit-limit"), Some("5000"));
    }
    let text = json!({"data": {"environment": "p", "body": {"message": {"body": "Hello World!"}}}});
    assert_eq!(post(port, &text).0, 200);
    wait_for("both items at Rollbar", || backend.lock().unwrap().items.len() == 2);
    let state = backend.lock().unwrap();
    let came = state.items.iter().find(|item| item["uuid"] == data["uuid"]).unwrap();
    let mut expected = data;
    expected["custom"]["settings"] = json!("init('[access token]')");
    assert_eq!(*came, expected);
    assert_eq!((state.refused.len(), state.calls.len()), (0, 2));
    drop(state);

    assert!(
        Command::new("kill").args(["-TERM", &skep.0.id().to_string()]).status().unwrap().success()
    );
    let (mut out, mut errors) = (String::new(), String::new());
    skep.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    skep.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(out.contains("ValueError") || errors.contains("ValueError"), "the record is shown");
    for token in [OWN, TOKEN] {
        assert!(!out.contains(token) && !errors.contains(token), "{out}{errors}");
    }
}

#[test]
fn what_is_no_item_is_answered_as_rollbar_does() {
    let (_, backend_port) = rollbar();
    let port = free_port();
    let settings =
        format!(", access_tokens: [{OWN}], max_request_body_size: 2000, max_items_per_minute: 2");
    let skep = Skep::start(&through(port, backend_port, &settings), &[port]);
    let json_headers = "content-type: application/json\r\n";
    let status =
        |method, path, headers: &str, body: &str| call(port, method, path, headers, body).0;
    let own = format!("{json_headers}x-rollbar-access-token: {OWN}\r\n");
    assert_eq!(status("POST", "/api/1/item/", json_headers, "{\"data\":{}}"), 401);
    assert_eq!(status("POST", "/api/1/item/", "x-rollbar-access-token: other\r\n", "{}"), 401);
    assert_eq!(status("POST", "/api/1/item/", &own, "[]"), 400);
    assert_eq!(status("POST", "/api/1/item/", &own, "{\"data\":{\"body\":{}}}"), 422);
    assert_eq!(status("POST", "/api/1/item/", &own, &" ".repeat(3000)), 413);
    assert_eq!(status("GET", "/api/1/item/", &own, ""), 405);
    assert_eq!(status("GET", "/api/1/items", &own, ""), 404);
    assert_eq!(status("POST", "/v1/logs", &own, "{}"), 404);

    // The item that was refused with 422 has counted.
    let (status, head, answer) = post(port, &json!({"data": item("a")}));
    assert_eq!((status, header(&head, "x-rate-limit-remaining")), (200, Some("0")), "{answer}");
    let (status, head, answer) = post(port, &json!({"data": item("b")}));
    assert_eq!((status, header(&head, "x-rate-limit-remaining")), (429, Some("0")), "{answer}");
    let seconds: u64 = header(&head, "x-rate-limit-remaining-seconds").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert!(header(&head, "x-rate-limit-reset").unwrap().parse::<u64>().unwrap() > 1_700_000_000);
    assert!(skep.stop());
}

#[test]
fn forms_tokens_in_the_body_and_gzip_are_taken() {
    let (backend, backend_port) = rollbar();
    let port = free_port();
    let settings = format!(", access_tokens: [{OWN}]");
    let skep = Skep::start(&through(port, backend_port, &settings), &[port]);
    let payload = json!({"access_token": OWN, "data": item("a")}).to_string();
    let form = payload.bytes().fold(String::new(), |form, byte| form + &format!("%{byte:02x}"));
    let headers = "content-type: application/x-www-form-urlencoded\r\n";
    let (status, _, answer) =
        call(port, "POST", "/api/1/item/", headers, &format!("payload={form}"));
    assert_eq!(status, 200, "{answer}");

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(json!({"access_token": OWN, "data": item("b")}).to_string().as_bytes())
        .unwrap();
    let body = encoder.finish().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /api/1/item/ HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let (head, _) = message(&mut BufReader::new(&stream)).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    wait_for("both items at Rollbar", || backend.lock().unwrap().items.len() == 2);
    assert!(skep.stop());
}

#[test]
fn pages_of_this_machine_may_send() {
    let (_, backend_port) = rollbar();
    let port = free_port();
    let skep = Skep::start(&through(port, backend_port, ""), &[port]);
    let ask = |origin: &str| {
        let headers = format!(
            "origin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: content-type,x-rollbar-access-token\r\n"
        );
        let (status, head, _) = call(port, "OPTIONS", "/api/1/item/", &headers, "");
        (status, head.to_lowercase())
    };
    let (status, head) = ask("http://localhost:3000");
    assert_eq!(status, 204);
    assert_eq!(header(&head, "access-control-allow-origin"), Some("http://localhost:3000"));
    assert!(
        header(&head, "access-control-allow-headers").unwrap().contains("x-rollbar-access-token")
    );
    assert!(header(&head, "access-control-max-age").is_some());
    let (_, head) = ask("https://evil.test");
    assert_eq!(header(&head, "access-control-allow-origin"), None);
    assert!(skep.stop());
}

/// Settings for OTLP in and Rollbar out.
fn from_otlp(port: u16, backend: u16, settings: &str) -> String {
    format!(
        "receivers:\n  otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}\nexporters:\n  \
         rollbar:\n    access_token: {TOKEN}\n    endpoint: http://127.0.0.1:{backend}/api/1/\n    {settings}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         logs: {{receivers: [otlp], exporters: [rollbar]}}\n    traces: {{receivers: [otlp], exporters: [rollbar]}}\n"
    )
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn attributes(pairs: &[(&str, &str)]) -> Value {
    let all = pairs.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
    all.collect()
}

fn log(attributes: &Value, severity: u32, body: &str) -> String {
    json!({"resourceLogs": [{"resource": {"attributes": [{"key": "service.version", "value": {"stringValue": "1.2.3"}}]},
        "scopeLogs": [{"logRecords": [{"timeUnixNano": "1700000000000000000", "severityNumber": severity,
            "traceId": TRACE, "spanId": SPAN, "body": {"stringValue": body}, "attributes": attributes}]}]}]})
    .to_string()
}

const JSON: &str = "content-type: application/json\r\n";

#[test]
fn an_exception_that_comes_as_a_span_event_and_as_a_log_is_one_item() {
    let (backend, backend_port) = rollbar();
    let port = free_port();
    let skep = Skep::start(&from_otlp(port, backend_port, "error_logs: true"), &[port]);
    let exception = attributes(&[
        ("exception.type", "ValueError"),
        ("exception.message", "bad"),
        (
            "exception.stacktrace",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad\n",
        ),
    ]);
    let spans = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": TRACE, "spanId": SPAN,
        "name": "GET /", "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000100000000",
        "status": {"code": 2}, "events": [{"name": "exception", "timeUnixNano": "1700000000050000000",
        "attributes": exception}]}]}]}]});
    assert_eq!(call(port, "POST", "/v1/traces", JSON, &spans.to_string()).0, 200);
    let log_of_it = log(&exception, 17, "failed");
    assert_eq!(call(port, "POST", "/v1/logs", JSON, &log_of_it).0, 200);
    assert_eq!(call(port, "POST", "/v1/logs", JSON, &log(&json!([]), 17, "order 1 failed")).0, 200);
    assert_eq!(call(port, "POST", "/v1/logs", JSON, &log(&json!([]), 9, "all is well")).0, 200);
    wait_for("three calls", || backend.lock().unwrap().calls.len() == 3);
    wait_for("two items", || backend.lock().unwrap().items.len() == 2);
    let state = backend.lock().unwrap();
    assert_eq!(state.refused, Vec::<String>::new());
    let exception = state.items.iter().find(|item| !item["body"]["trace"].is_null()).unwrap();
    assert_eq!(
        exception["body"]["trace"]["frames"][0],
        json!({"filename": "a.py", "lineno": 1, "method": "f"})
    );
    assert_eq!(exception["custom"]["trace_id"], TRACE);
    let message = state.items.iter().find(|item| !item["body"]["message"].is_null()).unwrap();
    assert_eq!(message["body"]["message"]["body"], "order 1 failed");
    drop(state);
    assert!(skep.stop());
}

#[test]
fn a_used_up_rate_limit_is_waited_for() {
    let (backend, backend_port) = rollbar();
    let port = free_port();
    backend.lock().unwrap().next = vec![(429, "x-rate-limit-remaining-seconds: 2\r\n".to_owned())];
    let skep = Skep::start(&from_otlp(port, backend_port, ""), &[port]);
    for number in 0..3 {
        let exception =
            attributes(&[("exception.type", "E"), ("exception.message", &number.to_string())]);
        assert_eq!(call(port, "POST", "/v1/logs", JSON, &log(&exception, 17, "x")).0, 200);
        wait_for("the first call", || !backend.lock().unwrap().calls.is_empty());
    }
    wait_for("three items", || backend.lock().unwrap().items.len() == 3);
    let state = backend.lock().unwrap();
    assert_eq!(state.calls.len(), 4, "nothing is tried within the window");
    let pause = state.calls[1] - state.calls[0];
    assert!(pause > Duration::from_millis(1500), "{pause:?}");
    drop(state);
    assert!(skep.stop());
}

#[test]
fn an_item_that_is_too_large_for_rollbar_is_sent_once_more_with_half_its_size() {
    let (backend, backend_port) = rollbar();
    let port = free_port();
    backend.lock().unwrap().next = vec![(413, String::new())];
    let skep = Skep::start(&from_otlp(port, backend_port, ""), &[port]);
    let exception = attributes(&[
        ("exception.type", "E"),
        ("exception.message", "m"),
        ("note", &"x".repeat(9000)),
    ]);
    assert_eq!(call(port, "POST", "/v1/logs", JSON, &log(&exception, 17, "x")).0, 200);
    wait_for("an item", || backend.lock().unwrap().items.len() == 1);
    let note = backend.lock().unwrap().items[0]["custom"]["note"].as_str().unwrap().len();
    assert_eq!(note, 4099);
    assert!(skep.stop());
}

#[test]
fn a_refused_token_is_explained_by_doctor() {
    let (_, backend_port) = rollbar();
    let config = from_otlp(free_port(), backend_port, "error_logs: true");
    let doctor = |config: String| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["doctor", "--config", &format!("yaml:{config}")]).env_remove("SKEP_CONFIG");
        let output = command.output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        texts.concat()
    };
    assert!(doctor(config.clone()).contains("Rollbar knows the access token"));
    let said = doctor(config.replace(TOKEN, OWN));
    assert!(said.contains("Rollbar refused the access token") && !said.contains(OWN), "{said}");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn the_sdk_for_python_reports_from_flask() {
    let (backend, backend_port) = rollbar();
    let port = free_port();
    let skep = Skep::start(&through(port, backend_port, ""), &[port]);
    let mut client = Command::new(sdk::python().join("python"));
    let endpoint = format!("http://127.0.0.1:{port}/api/1/");
    sdk::run(client.arg(sdk::sources().join("rollbar_app.py")).arg(endpoint), "see its traceback");
    wait_for("three items", || backend.lock().unwrap().items.len() == 3);
    let state = backend.lock().unwrap();
    assert_eq!(state.refused, Vec::<String>::new());
    let (exceptions, messages): (Vec<_>, Vec<_>) =
        state.items.iter().partition(|item| item["body"]["trace_chain"].is_array());
    let [message] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(message["body"]["message"]["body"], "Hello World!");
    assert_eq!(
        (&message["level"], &message["custom"]),
        (&json!("warning"), &json!({"cart": [1, 2]}))
    );
    assert_eq!(exceptions.len(), 2);
    for item in exceptions {
        let chain = item["body"]["trace_chain"].as_array().unwrap();
        let classes: Vec<_> = chain.iter().map(|trace| &trace["exception"]["class"]).collect();
        assert_eq!(classes, ["ValueError", "KeyError"]);
        let last = chain[0]["frames"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["method"], &last["locals"]["name"]), (&json!("home"), &json!("users")));
        assert_eq!(
            (&item["framework"], &item["context"]),
            (&json!("flask"), &json!("/api/<name>"))
        );
        assert_eq!(item["notifier"]["name"], "pyrollbar");
        assert!(item["request"]["url"].as_str().unwrap().starts_with("http://localhost/api/users"));
        assert!(item["server"]["pid"].is_u64(), "{item}");
    }
    drop(state);
    assert!(skep.stop());
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn rollbar_js_reports_from_node() {
    let (backend, backend_port) = rollbar();
    let port = free_port();
    let skep = Skep::start(&through(port, backend_port, ""), &[port]);
    let home = sdk::node();
    let program = home.join("rollbar_node.cjs");
    fs::copy(sdk::sources().join("rollbar_node.cjs"), &program).unwrap();
    let endpoint = format!("http://127.0.0.1:{port}/api/1/item/");
    sdk::run(Command::new("node").arg(program).arg(endpoint), "see its error");
    wait_for("two items", || backend.lock().unwrap().items.len() == 2);
    let state = backend.lock().unwrap();
    assert_eq!(state.refused, Vec::<String>::new());
    let error = state.items.iter().find(|item| item["level"] == "error").unwrap();
    let chain = error["body"]["trace_chain"].as_array().unwrap();
    let said: Vec<_> = chain.iter().map(|trace| &trace["exception"]["message"]).collect();
    assert_eq!(said, ["outer", "inner"]);
    let last = chain[1]["frames"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["method"], last["colno"].is_u64()), (&json!("fail"), true));
    assert!(last["context"]["pre"].is_array(), "{last}");
    assert_eq!((&error["custom"], &error["code_version"]), (&json!({"order": 1}), &json!("1.2.3")));
    assert_eq!(error["request"]["headers"]["user-agent"], "UA");
    let warning = state.items.iter().find(|item| item["level"] == "warning").unwrap();
    assert_eq!(warning["body"]["message"]["body"], "hello");
    drop(state);
    assert!(skep.stop());
}
