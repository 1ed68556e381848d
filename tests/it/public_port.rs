//! A public port of the receiver `otlp` as its clients see it: what pages may do, what they may
//! not, what they are told. The lines of the threat model in `docs/browser.md` name these tests.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::any_value::Value,
    resource::v1::Resource,
};
use serde_json::json;
use tonic::{Code, transport::Endpoint};

use skep::receivers::otlp::public::token::sign;

use crate::support::{Skep, backend::Backend, free_port, rollbar_backend::call, wait_for};

const ORIGIN: &str = "https://shop.example";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const JSON: &str = "content-type: application/json\r\norigin: https://shop.example\r\n";

/// Skep with a port for backends and one for pages, both on the way to one backend.
struct Ports {
    skep: Skep,
    backend: Backend,
    private: u16,
    public: u16,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Ports {
    /// `public` are settings of the section in flow style.
    fn start(public: &str) -> Self {
        let (backend, to) = Backend::start(None);
        let (private, port) = (free_port(), free_port());
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let config = format!(
            "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{private}'}}}}, remove_public_marks: true}}
  otlp/browser:
    protocols:
      http:
        endpoint: 127.0.0.1:{port}
        cors: {{allowed_origins: [\"{ORIGIN}\"]}}
        public: {{{public}}}
exporters:
  otlp_grpc: {{endpoint: '127.0.0.1:{to}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    traces: {{receivers: [otlp, otlp/browser], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp, otlp/browser], exporters: [otlp_grpc]}}
"
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
        command.env_remove("SKEP_CONFIG").stderr(File::create(&log).unwrap());
        let mut skep = Skep(command.spawn().unwrap());
        skep.listens(&[private, port]);
        Ports { skep, backend, private, public: port, log, _folder: folder }
    }

    /// Sends a page's request with further headers; the status and the head of the answer.
    fn page(&self, headers: &str, body: &str) -> (u16, String) {
        let headers = format!("{JSON}{headers}");
        let (status, head, _) = call(self.public, "POST", "/v1/traces", &headers, body);
        (status, head.to_ascii_lowercase())
    }

    /// The log, once it has these texts.
    fn logged(&self, texts: &[&str]) -> String {
        let read = || fs::read_to_string(&self.log).unwrap();
        for text in texts {
            wait_for(text, || read().contains(text));
        }
        read()
    }

    /// The only resource that has arrived.
    fn resource(&self) -> Resource {
        wait_for("the span", || !self.backend.taken().traces.is_empty());
        let request = self.backend.taken().traces.remove(0);
        request.resource_spans.into_iter().next().unwrap().resource.unwrap()
    }
}

fn value(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> String {
    let values = attributes.iter().filter(|attribute| attribute.key == key);
    let values: Vec<String> = values
        .map(|attribute| match attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    values.join("|")
}

/// A request with `count` spans and these attributes of its resource.
fn spans(count: usize, resource: &[(&str, &str)]) -> String {
    let text = |(key, value): &(&str, &str)| json!({"key": key, "value": {"stringValue": value}});
    let resource: Vec<_> = resource.iter().map(text).collect();
    let span = json!({"name": "click", "attributes": [text(&("user.id", "admin"))]});
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"spans": vec![span; count]}],
    }]})
    .to_string()
}

const CLAIMS: &[(&str, &str)] =
    &[("service.name", "shop"), ("skep.trust", "server"), ("host.name", "db-1"), ("user.id", "me")];

#[test]
fn what_a_page_says_is_marked_and_what_it_may_not_say_is_gone() {
    let ports = Ports::start("");
    assert_eq!(ports.page("user-agent: A/1\r\n", &spans(1, CLAIMS)).0, 200);
    let attributes = ports.resource().attributes;
    for (key, expected) in [
        ("service.name", "shop"),
        ("skep.trust", "client"),
        ("skep.source", "browser"),
        ("host.name", ""),
        ("user.id", ""),
        ("client.claimed.user.id", "me"),
        ("client.address", "127.0.0.0"),
        ("user_agent.original", "A/1"),
    ] {
        assert_eq!(value(&attributes, key), expected, "{key}");
    }
    assert!(ports.skep.stop());
}

#[test]
fn the_other_port_takes_the_marks_off() {
    let ports = Ports::start("");
    let (status, ..) = call(ports.private, "POST", "/v1/traces", JSON, &spans(1, CLAIMS));
    assert_eq!(status, 200);
    let attributes = ports.resource().attributes;
    assert_eq!(value(&attributes, "skep.trust"), "");
    assert_eq!(value(&attributes, "host.name"), "db-1");
    assert_eq!(value(&attributes, "user.id"), "me");
    assert!(ports.skep.stop());
}

#[test]
fn a_page_that_sends_too_often_is_told_when_to_come_back() {
    let ports = Ports::start("requests_per_second_per_client: 1");
    let body = spans(1, &[]);
    let mut taken = 0;
    let (status, head) = loop {
        let (status, head) = ports.page("", &body);
        if status != 200 {
            break (status, head);
        }
        taken += 1;
        assert!(taken < 60, "there is no limit");
    };
    assert!(taken >= 10 && status == 429, "{taken} {status}");
    assert!(head.contains("retry-after: 1"), "{head}");
    // Otherwise the page would see a network error, and no `Retry-After`.
    assert!(head.contains("access-control-allow-origin: https://shop.example"), "{head}");
    assert!(head.contains("access-control-expose-headers: retry-after"), "{head}");
    let logged = ports.logged(&["public::requests_per_second_per_client"]);
    assert_eq!(logged.matches("client_rate").count(), 1, "{logged}");
    let private = call(ports.private, "POST", "/v1/traces", JSON, &body);
    assert_eq!(private.0, 200, "other ports have no such limit");
    assert!(ports.skep.stop());
}

#[test]
fn a_client_has_so_many_items_and_all_clients_so_many_requests() {
    let ports = Ports::start("items_per_second_per_client: 20");
    let body = spans(150, &[]);
    let statuses: Vec<u16> = (0..4).map(|_| ports.page("", &body).0).collect();
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses[2..].contains(&429), "{statuses:?}");
    assert!(ports.skep.stop());
    let ports = Ports::start("requests_per_second: 1, client_address_header: x-forwarded-for");
    let from = |host: u32| {
        let header = format!("x-forwarded-for: 198.51.100.7, 203.0.113.{host}\r\n");
        ports.page(&header, &spans(1, &[])).0
    };
    let statuses: Vec<u16> = (0..40).map(from).collect();
    assert_eq!(statuses[0], 200);
    assert!(statuses.contains(&429), "{statuses:?}");
    ports.logged(&["public::requests_per_second`"]);
    assert_eq!(value(&ports.resource().attributes, "client.address"), "203.0.113.0");
    assert!(ports.skep.stop());
}

#[test]
fn requests_that_are_too_large_or_of_a_foreign_service_are_refused() {
    let ports = Ports::start("max_items: 3, max_body_size: 4096, service_names: [shop]");
    let named = |name| [("service.name", name)];
    assert_eq!(ports.page("", &spans(3, &named("shop"))).0, 200);
    assert_eq!(ports.page("", &spans(4, &named("shop"))).0, 403);
    let (status, head) = ports.page("", &spans(1, &named("bank")));
    assert_eq!(status, 403);
    assert!(head.contains("access-control-allow-origin"), "{head}");
    assert_eq!(ports.page("", &spans(1, &named(&"x".repeat(5000)))).0, 400);
    ports.logged(&["public::max_items", "public::service_names"]);
    assert!(ports.skep.stop());
}

#[test]
fn only_a_signed_token_makes_a_user() {
    let ports = Ports::start(&format!("token: {{secrets: [\"{SECRET}\"]}}"));
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let token =
        |claims: &str, secret: &str| format!("x-skep-token: {}\r\n", sign(header, claims, secret));
    let claims = r#"{"sub":"user-42","exp":9999999999}"#;
    let send = |headers: &str| ports.page(headers, &spans(1, &[])).0;
    assert_eq!(send(&token(claims, SECRET)), 200);
    wait_for("the span", || !ports.backend.taken().traces.is_empty());
    let request = ports.backend.taken().traces.remove(0);
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(value(&span.attributes, "user.id"), "user-42");
    assert_eq!(value(&span.attributes, "client.claimed.user.id"), "admin");
    assert_eq!(send(&token(claims, "another secret of thirty-two bytes")), 401);
    assert_eq!(send(&token(r#"{"sub":"user-42","exp":1}"#, SECRET)), 401);
    assert_eq!(send("x-skep-token: nonsense\r\n"), 401);
    assert_eq!(send(""), 200, "it is not required");
    let preflight = format!(
        "origin: {ORIGIN}\r\naccess-control-request-method: POST\r\naccess-control-request-headers: \
         content-type,x-skep-token\r\n"
    );
    let (status, head, _) = call(ports.public, "OPTIONS", "/v1/traces", &preflight, "");
    assert!(status == 204 && head.contains("x-skep-token"), "{head}");
    let logged = ports.logged(&["public::token"]);
    assert!(!logged.contains("cors"), "{logged}");
    assert!(ports.skep.stop());
    let ports = Ports::start(&format!("token: {{secrets: [\"{SECRET}\"], required: true}}"));
    assert_eq!(ports.page("", &spans(1, &[])).0, 401);
    assert!(ports.skep.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_port_speaks_no_grpc_and_takes_no_metrics() {
    let ports = Ports::start("");
    let endpoint = Endpoint::try_from(format!("http://127.0.0.1:{}", ports.public)).unwrap();
    let mut client = TraceServiceClient::new(endpoint.connect().await.unwrap());
    let refused = client.export(ExportTraceServiceRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    assert_eq!(call(ports.public, "POST", "/v1/metrics", JSON, "{}").0, 404);
    ports.logged(&["takes traces and logs only; send metrics to a port without"]);
    assert!(ports.skep.stop());
    let config = "receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0', public: {}}}}}\n\
                  exporters: {nop: {}}\nservice: {pipelines: {metrics: {receivers: [otlp], exporters: [nop]}}}";
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
    let output = command.env_remove("SKEP_CONFIG").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("takes traces and logs only"), "{text}");
}

/// A page that may not send is a line in the log with the key that would allow it, once a minute.
#[test]
fn a_refused_page_is_one_line_with_the_key_that_would_allow_it() {
    let ports = Ports::start("");
    let ask = |origin: &str, header: &str| {
        let headers = format!(
            "origin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: content-type,{header}\r\n"
        );
        call(ports.public, "OPTIONS", "/v1/traces", &headers, "").1.to_ascii_lowercase()
    };
    let fine = ask(ORIGIN, "content-type");
    assert!(fine.contains("access-control-allow-origin: https://shop.example"), "{fine}");
    assert!(fine.contains("access-control-max-age: 7200"), "{fine}");
    for _ in 0..5 {
        assert!(!ask("https://evil.example", "content-type").contains("allow-origin"));
        ask(ORIGIN, "x-b3");
    }
    let lines = ["allowed_origins: [https://evil.example]", "allowed_headers: [x-b3]"];
    let logged = ports.logged(&lines);
    for line in lines {
        assert_eq!(logged.matches(line).count(), 1, "{line} in {logged}");
    }
    assert!(ports.skep.stop());
}

/// Each line of the threat model names tests; they exist.
#[test]
fn the_tests_of_the_threat_model_exist() {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let mut sources = String::new();
    for folder in [
        "src/receivers/otlp",
        "src/receivers/otlp/public",
        "src/receivers/otlp/public/edit",
        "tests/it",
    ] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&read(&path.display().to_string()));
            }
        }
    }
    let guide = read("docs/browser.md");
    let (_, model) = guide.split_once("| Somebody sends |").unwrap();
    let (model, _) = model.split_once("What remains").unwrap();
    let mut count = 0;
    for line in model.lines().skip(2).filter(|line| line.starts_with("| ")) {
        let tests = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for test in tests.split(", ") {
            let name = test.trim_matches('`');
            assert!(sources.contains(&format!("fn {name}(")), "{name} is no test");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
