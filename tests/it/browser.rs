//! Real pages: the OpenTelemetry SDK for browsers and rollbar.js in Chromium send to skep, from
//! another origin, and call a Flask application whose SDK sends to skep, too.
//!
//! The packages are installed once under `target/clients`, at the versions of `tests/clients/`;
//! Chromium is Debian's.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value as Any},
    resource::v1::Resource,
    trace::v1::Span,
};
use serde_json::{Value, json};

use crate::support::{Skep, backend::Backend, free_port, sdk, wait_for};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Skep, its backend, the application, and the address of the page.
struct Shop {
    skep: Skep,
    _api: Skep,
    backend: Backend,
    public: u16,
    api: u16,
    rollbar: u16,
    page: u16,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Shop {
    /// `public` are settings of the section, `origin` is the page that may send.
    fn open(public: &str, origin: &str) -> Self {
        let (backend, to) = Backend::start(None);
        let [private, public_port, api, rollbar, page] = std::array::from_fn(|_| free_port());
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let config = format!(
            "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{private}'}}}}}}
  otlp/browser:
    protocols:
      http:
        endpoint: 127.0.0.1:{public_port}
        cors: {{allowed_origins: [\"{origin}\"]}}
        public: {{{public}}}
  rollbar: {{endpoint: '127.0.0.1:{rollbar}'}}
exporters:
  otlp_grpc: {{endpoint: '127.0.0.1:{to}', tls: {{insecure: true}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    traces: {{receivers: [otlp, otlp/browser], exporters: [otlp_grpc]}}
    logs: {{receivers: [rollbar], exporters: [otlp_grpc]}}
"
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
        command.env_remove("SKEP_CONFIG").stderr(File::create(&log).unwrap());
        let mut skep = Skep(command.spawn().unwrap());
        skep.listens(&[private, public_port, rollbar]);
        let mut command = Command::new(sdk::python().join("python"));
        command.arg(sdk::sources().join("browser/api.py")).arg(api.to_string());
        command.arg(format!("http://127.0.0.1:{private}"));
        command.arg(format!("http://localhost:{page}"));
        let app = Skep::run(command, &[api]);
        Shop {
            skep,
            _api: app,
            backend,
            public: public_port,
            api,
            rollbar,
            page,
            log,
            _folder: folder,
        }
    }

    /// Opens the page and does `steps`; what they returned.
    fn visit(&self, more: &[(&str, Value)], steps: &Value) -> Vec<Value> {
        let here = |port: u16, path: &str| format!("http://127.0.0.1:{port}{path}");
        let mut settings = json!({
            "otlp": here(self.public, "/v1/traces"), "api": here(self.api, ""),
            "rollbar": here(self.rollbar, "/api/1/item/"), "port": self.page, "steps": steps,
        });
        for (key, value) in more {
            settings[*key] = value.clone();
        }
        let mut command = Command::new("node");
        command.current_dir(sdk::browser()).arg(sdk::sources().join("browser/driver.mjs"));
        let output = command.arg(settings.to_string()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }

    /// Every span that has arrived, with its resource.
    fn spans(&self) -> Vec<(Resource, Span)> {
        let taken = self.backend.taken();
        let entries = taken.traces.iter().flat_map(|request| &request.resource_spans);
        entries
            .flat_map(|entry| {
                let resource = entry.resource.clone().unwrap_or_default();
                let spans = entry.scope_spans.iter().flat_map(|scope| &scope.spans);
                spans.map(move |span| (resource.clone(), span.clone()))
            })
            .collect()
    }

    /// The span of this name, once it has arrived.
    fn span(&self, service: &str, name: &str) -> (Resource, Span) {
        let find = || {
            let of = |(resource, span): &(Resource, Span)| {
                text(&resource.attributes, "service.name") == service && span.name == name
            };
            self.spans().into_iter().find(of)
        };
        wait_for(name, || find().is_some());
        find().unwrap()
    }

    fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

const LOCALHOST: &str = "http://localhost:*";

/// A click, its request, and what the application does are one trace, from which the time on the
/// network can be read. The SDK's last spans come when the page has gone.
#[test]
#[ignore = "needs SDKs of other languages"]
fn one_trace_holds_the_page_and_the_application() {
    let shop = Shop::open("", LOCALHOST);
    let done = shop.visit(&[], &json!([["click"], ["flush"], ["lastWords"], ["leave"]]));
    assert_eq!(done[0], json!(["one", "two"]), "{done:?}");
    assert_eq!(done[1], Value::Null, "the export of the page failed");
    let (page, click) = shop.span("shop-frontend", "click");
    let (_, fetch) = shop.span("shop-frontend", "GET");
    let (backend, served) = shop.span("backend-flask", "GET /api/activities");
    assert_eq!((&click.trace_id, &click.trace_id), (&fetch.trace_id, &served.trace_id));
    assert_eq!((&fetch.parent_span_id, &served.parent_span_id), (&click.span_id, &fetch.span_id));
    // One clock, so the server's part is within the client's, give or take the milliseconds in
    // which the page counts; the rest is the network.
    let slack = 3_000_000;
    assert!(fetch.start_time_unix_nano < served.start_time_unix_nano + slack);
    assert!(served.end_time_unix_nano < fetch.end_time_unix_nano + slack);
    let took = |span: &Span| span.end_time_unix_nano - span.start_time_unix_nano;
    let network = Duration::from_nanos((took(&fetch) + slack).checked_sub(took(&served)).unwrap());
    assert!(took(&served) >= 50_000_000 && network < Duration::from_secs(5), "{network:?}");
    for event in ["fetchStart", "requestStart", "responseStart", "responseEnd"] {
        assert!(fetch.events.iter().any(|found| found.name == event), "{event}: {fetch:?}");
    }
    assert_eq!(text(&click.attributes, "app.activities"), "2");
    for name in ["documentLoad", "documentFetch", "resourceFetch", "goodbye"] {
        shop.span("shop-frontend", name);
    }
    for (key, expected) in [
        ("skep.trust", "client"),
        ("skep.source", "browser"),
        ("client.claimed.user.id", "admin"),
        ("user.id", ""),
        ("host.name", ""),
        ("skep.clock.shift_ms", ""),
    ] {
        assert_eq!(text(&page.attributes, key), expected, "{key}");
    }
    assert!(text(&page.attributes, "user_agent.original").contains("HeadlessChrome"));
    assert_eq!(text(&backend.attributes, "skep.trust"), "");
    assert_eq!(shop.logged(), "");
    assert!(shop.skep.stop());
}

/// The clock of a computer is three hours ahead: what its page sends is set right, and what it had
/// sent can be read.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_page_whose_clock_is_wrong_is_set_right_and_its_user_is_known() {
    let shop = Shop::open(&format!("token: {{secrets: [\"{SECRET}\"]}}"), LOCALHOST);
    let token = get(shop.api, "/api/token");
    let more = [("clockOffset", json!(3 * 3600 * 1000)), ("token", json!(token))];
    let done = shop.visit(&more, &json!([["click"], ["flush"]]));
    assert_eq!(done[1], Value::Null, "the export of the page failed: {}", shop.logged());
    let (page, fetch) = shop.span("shop-frontend", "GET");
    let (_, served) = shop.span("backend-flask", "GET /api/activities");
    assert_eq!(fetch.trace_id, served.trace_id);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let end = u128::from(fetch.end_time_unix_nano);
    assert!(end <= now && now - end < 60_000_000_000, "{end} {now}");
    let shift: i64 = text(&page.attributes, "skep.clock.shift_ms").parse().unwrap();
    assert!((shift + 3 * 3600 * 1000).abs() < 60_000, "{shift}");
    assert_eq!(text(&fetch.attributes, "user.id"), "user-42");
    assert!(shop.skep.stop());
}

/// The body of an answer to a GET.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.trim().to_owned()
}

/// A page that has sent too much reads when to come back.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_page_can_read_that_it_sends_too_much() {
    let shop = Shop::open("requests_per_second_per_client: 1", LOCALHOST);
    let done = shop.visit(&[], &json!([["flood", 60]]));
    assert_eq!(done[0]["status"], 429, "{done:?}");
    assert_eq!(done[0]["retryAfter"], "1", "{done:?}");
    assert!(shop.skep.stop());
}

/// The browser tells the page nothing, and its user little; skep's log names the key.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_page_of_another_origin_is_named_in_the_log() {
    let shop = Shop::open("", "https://shop.example");
    let done = shop.visit(&[], &json!([["flood", 1]]));
    assert!(done[0]["error"].as_str().unwrap().contains("Failed to fetch"), "{done:?}");
    let logged = shop.logged();
    let line = format!("cors: allowed_origins: [http://localhost:{}]", shop.page);
    assert_eq!(logged.matches(&line).count(), 1, "{logged}");
    assert!(shop.skep.stop());
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn rollbar_js_reports_from_the_same_page() {
    let shop = Shop::open("", LOCALHOST);
    let done = shop.visit(&[], &json!([["report"]]));
    assert_eq!(done[0], Value::Null, "{done:?}");
    wait_for("the item", || !shop.backend.taken().logs.is_empty());
    let taken = shop.backend.taken();
    let record = &taken.logs[0].resource_logs[0].scope_logs[0].log_records[0];
    for (key, expected) in [
        ("exception.type", "TypeError"),
        ("exception.message", "the cart is gone"),
        ("user.id", "42"),
    ] {
        assert_eq!(text(&record.attributes, key), expected, "{key}");
    }
    assert!(text(&record.attributes, "exception.stacktrace").contains("page.js"));
    drop(taken);
    assert!(shop.skep.stop());
}
