//! Every file in `pipelines/` runs, and a span goes through it to a backend: another skep that
//! writes into a file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{fs, path::Path, process::Command};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Skep, free_port};
use tonic::{
    Request,
    transport::{Certificate, ClientTlsConfig, Endpoint},
};

/// A skep that writes what it takes into a file.
struct Backend {
    skep: Skep,
    grpc: u16,
    http: u16,
    folder: tempfile::TempDir,
}

impl Backend {
    fn start(tls: &str) -> Self {
        let (grpc, http) = (free_port(), free_port());
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: \"127.0.0.1:{grpc}\"{tls}}}
      http: {{endpoint: \"127.0.0.1:{http}\"}}
exporters: {{file: {{path: {}/out.json}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
            folder.path().display()
        );
        Backend { skep: Skep::start(&config, &[grpc, http]), grpc, http, folder }
    }

    fn stop(self) -> String {
        assert!(self.skep.stop());
        fs::read_to_string(self.folder.path().join("out.json")).unwrap_or_default()
    }
}

/// A file of the folder, its ports moved to free ones.
struct Scenario {
    command: Command,
    grpc: u16,
    http: u16,
    health: u16,
}

impl Scenario {
    fn new(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(file);
        let (grpc, http, health) = (free_port(), free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.arg("--config").arg(path);
        for set in [
            format!("receivers::otlp::protocols::grpc::endpoint=127.0.0.1:{grpc}"),
            format!("receivers::otlp::protocols::http::endpoint=127.0.0.1:{http}"),
            format!("extensions::health_check::endpoint=127.0.0.1:{health}"),
            "service::telemetry::metrics::level=none".to_owned(),
            "service::telemetry::logs::level=warn".to_owned(),
        ] {
            command.args(["--set", &set]);
        }
        Scenario { command, grpc, http, health }
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.command.args(["--set", &format!("{key}={value}")]);
        self
    }

    fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    fn run(self) -> (Skep, u16) {
        let Scenario { command, grpc, http, health } = self;
        let skep = Skep::run(command, &[grpc, http, health]);
        let ask = Command::new(env!("CARGO_BIN_EXE_skep"))
            .args(["health", "--url", &format!("http://127.0.0.1:{health}/")])
            .output()
            .unwrap();
        assert!(ask.status.success(), "{ask:?}");
        (skep, grpc)
    }
}

fn request() -> Request<ExportTraceServiceRequest> {
    let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: text(value),
        ..KeyValue::default()
    };
    let span = Span {
        name: "through it all".to_owned(),
        attributes: vec![attribute("user.email", "ann@example.com"), attribute("x.token", "t0p")],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let mut request = Request::new(ExportTraceServiceRequest { resource_spans });
    request.metadata_mut().insert("x-user-id", "user-42".parse().unwrap());
    request
}

async fn send(port: u16) {
    let endpoint = Endpoint::try_from(format!("http://127.0.0.1:{port}")).unwrap();
    TraceServiceClient::new(endpoint.connect().await.unwrap()).export(request()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn default() {
    let (skep, port) = Scenario::new("default.yaml").run();
    send(port).await;
    assert!(skep.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecar() {
    let backend = Backend::start("");
    let address = format!("127.0.0.1:{}", backend.grpc);
    let (skep, port) = Scenario::new("sidecar.yaml").env("SKEP_BACKEND", &address).run();
    send(port).await;
    assert!(skep.stop());
    assert!(backend.stop().contains("through it all"));
}

#[tokio::test(flavor = "multi_thread")]
async fn honeycomb() {
    let backend = Backend::start("");
    let address = format!("http://127.0.0.1:{}", backend.http);
    let (skep, port) = Scenario::new("honeycomb.yaml")
        .env("HONEYCOMB_API_KEY", "hcaik_01234567890123456789012345678901234567890123456789012345")
        .set("exporters::honeycomb::endpoint", &address)
        .run();
    send(port).await;
    assert!(skep.stop());
    assert!(backend.stop().contains("through it all"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_out() {
    let (first, second) = (Backend::start(""), Backend::start(""));
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive.jsonl");
    let (skep, port) = Scenario::new("fan-out.yaml")
        .env("FIRST_BACKEND", &format!("127.0.0.1:{}", first.grpc))
        .env("SECOND_BACKEND", &format!("http://127.0.0.1:{}", second.http))
        .env("ARCHIVE", archive.to_str().unwrap())
        .env("ENVIRONMENT", "staging")
        .run();
    send(port).await;
    assert!(skep.stop());
    for out in [first.stop(), second.stop(), fs::read_to_string(archive).unwrap()] {
        for wanted in ["through it all", "user.id", "user-42", "staging", "user.email"] {
            assert!(out.contains(wanted), "{wanted} is missing in {out}");
        }
        for unwanted in ["ann@example.com", "t0p", "x.token"] {
            assert!(!out.contains(unwanted), "{unwanted} is in {out}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let cert = write("cert.pem", certificate.pem());
    let key = write("key.pem", key.serialize_pem());
    let ca = write("ca.pem", issuer.pem());
    let backend = Backend::start(&format!(", tls: {{cert_file: {cert}, key_file: {key}}}"));
    let (skep, port) = Scenario::new("gateway.yaml")
        .env("GATEWAY_CERT", &cert)
        .env("GATEWAY_KEY", &key)
        .env("GATEWAY_BACKEND", &format!("localhost:{}", backend.grpc))
        .env("GATEWAY_BACKEND_CA", &ca)
        .run();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(issuer.pem()));
    let endpoint = Endpoint::try_from(format!("https://localhost:{port}")).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    TraceServiceClient::new(channel).export(request()).await.unwrap();
    assert!(skep.stop());
    assert!(backend.stop().contains("through it all"));
}
