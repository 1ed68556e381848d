//! Every file in `pipelines/`, and the built-in configuration, run by the program with only its
//! addresses changed: traces, metrics and logs go in and have to come out at backends that share no
//! code with skep.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
        metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
        trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tonic::{
    Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::support::{
    Skep, backend::Backend, free_port, http_backend::http_backend, rollbar_backend, wait_for,
};
#[cfg(feature = "aws")]
use crate::support::{aws_backend, logs_backend};

/// An ingest key, and the headers in which Honeycomb wants it.
const KEY: &str = "hcaik_for_a_test";
const KEY_HEADERS: &[&str] = &["x-honeycomb-team: hcaik_for_a_test"];

/// What arrived, as text, after a check that each signal is there once.
fn arrived(backend: &Backend) -> String {
    let text = format!("{:?}", backend.taken());
    for item in ["a-span", "a-metric", "a-log-record"] {
        assert_eq!(text.matches(item).count(), 1, "{item}: {text}");
    }
    text
}

/// A file of the folder, or the built-in configuration, its ports moved to free ones.
struct Scenario {
    command: Command,
    grpc: u16,
    http: u16,
    health: u16,
}

impl Scenario {
    fn new(file: &str) -> Self {
        let mut scenario = Self::built_in();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(file);
        scenario.command.arg("--config").arg(path);
        scenario
    }

    fn built_in() -> Self {
        let (grpc, http, health) = (free_port(), free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.env_remove("HONEYCOMB_API_KEY");
        Scenario { command, grpc, http, health }
            .set("receivers::otlp::protocols::grpc::endpoint", &format!("127.0.0.1:{grpc}"))
            .set("receivers::otlp::protocols::http::endpoint", &format!("127.0.0.1:{http}"))
            .set("extensions::health_check::endpoint", &format!("127.0.0.1:{health}"))
            .set("service::telemetry::metrics::level", "none")
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.command.args(["--set", &format!("{key}={value}")]);
        self
    }

    /// Removes the AWS settings of the environment, and the search for instance metadata.
    #[cfg(feature = "aws")]
    fn without_aws(mut self) -> Self {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            self.command.env_remove(name);
        }
        self.env("AWS_EC2_METADATA_DISABLED", "true")
    }

    fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Starts it, asks it for its health and sends it one item of each signal.
    async fn run(self, tls: Option<ClientTlsConfig>) -> Skep {
        let Scenario { mut command, grpc, http, health } = self.quiet();
        command.env("NO_COLOR", "1");
        let skep = Skep::run(command, &[grpc, http, health]);
        let mut ask = Command::new(env!("CARGO_BIN_EXE_skep"));
        ask.args(["health", "--url", &format!("http://127.0.0.1:{health}/")]);
        wait_for("health", || ask.output().unwrap().status.success());
        send(grpc, tls).await;
        skep
    }

    fn quiet(self) -> Self {
        self.set("service::telemetry::logs::level", "warn")
    }
}

async fn send(port: u16, tls: Option<ClientTlsConfig>) {
    let endpoint = match tls {
        Some(tls) => {
            Endpoint::try_from(format!("https://localhost:{port}")).unwrap().tls_config(tls)
        }
        None => Endpoint::try_from(format!("http://127.0.0.1:{port}")),
    };
    let channel: Channel = endpoint.unwrap().connect().await.unwrap();
    TraceServiceClient::new(channel.clone()).export(with_user(traces())).await.unwrap();
    MetricsServiceClient::new(channel.clone()).export(with_user(metrics())).await.unwrap();
    LogsServiceClient::new(channel).export(with_user(logs())).await.unwrap();
}

fn with_user<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-user-id", "user-42".parse().unwrap());
    request
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn personal() -> Vec<KeyValue> {
    [("user.email", "ann@example.com"), ("x.token", "t0p")]
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(text(value)),
            ..KeyValue::default()
        })
        .to_vec()
}

fn traces() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![9; 8],
        name: "a-span".to_owned(),
        start_time_unix_nano: now(),
        end_time_unix_nano: now(),
        attributes: personal(),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn metrics() -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: now(),
        value: Some(number_data_point::Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let data = Data::Gauge(Gauge { data_points: vec![point] });
    let metric = Metric { name: "a-metric".to_owned(), data: Some(data), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn logs() -> ExportLogsServiceRequest {
    let record = LogRecord {
        body: Some(text("a-log-record")),
        attributes: personal(),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

/// The debug exporter writes everything into a file instead of the log.
async fn shows_items(scenario: Scenario) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let skep = scenario
        .set("exporters::debug::verbosity", "detailed")
        .set("exporters::debug::use_internal_logger", "false")
        .set("exporters::debug::output_paths", &format!("[{}]", out.display()))
        .run(None)
        .await;
    assert!(skep.stop());
    let out = fs::read_to_string(out).unwrap();
    for item in ["a-span", "a-metric", "a-log-record", "ann@example.com"] {
        assert!(out.contains(item), "{item} is missing in {out}");
    }
}

async fn reaches_honeycomb(scenario: Scenario) {
    let (backend, port) = http_backend(KEY_HEADERS);
    let skep = scenario
        .env("HONEYCOMB_API_KEY", KEY)
        .set("exporters::honeycomb::endpoint", &format!("http://127.0.0.1:{port}"))
        .run(None)
        .await;
    assert!(skep.stop());
    assert!(arrived(&backend).contains("ann@example.com"), "nothing is changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn default() {
    shows_items(Scenario::new("default.yaml")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in() {
    shows_items(Scenario::built_in()).await;
}

#[test]
fn built_in_tells_applications_the_port_of_otlp() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let Scenario { mut command, http, health, .. } = Scenario::built_in();
    command.env_remove("SKEP_CONFIG").stderr(File::create(&log).unwrap());
    let skep = Skep(command.spawn().unwrap());
    let line = format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:{http} ");
    wait_for("the advice", || fs::read_to_string(&log).unwrap().contains(&line));
    wait_for("the start", || TcpStream::connect(("127.0.0.1", health)).is_ok());
    assert!(skep.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn honeycomb() {
    reaches_honeycomb(Scenario::new("honeycomb.yaml")).await;
}

/// Which traces are kept is tested with a real client; here everything goes on, marked.
#[tokio::test(flavor = "multi_thread")]
async fn tail_sampling() {
    let (backend, port) = http_backend(KEY_HEADERS);
    let skep = Scenario::new("tail-sampling.yaml")
        .env("HONEYCOMB_API_KEY", KEY)
        .set("exporters::honeycomb::endpoint", &format!("http://127.0.0.1:{port}"))
        .set("processors::tail_sampling::dry_run", "true")
        .run(None)
        .await;
    assert!(skep.stop());
    assert!(arrived(&backend).contains("tailsampling.dry_run.kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_with_a_key() {
    reaches_honeycomb(Scenario::built_in()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecar() {
    let (backend, port) = Backend::start(None);
    let address = format!("127.0.0.1:{port}");
    let skep = Scenario::new("sidecar.yaml").env("SKEP_BACKEND", &address).run(None).await;
    assert!(skep.stop());
    arrived(&backend);
}

/// A page's span is marked, a backend's is not, whatever it says.
#[tokio::test(flavor = "multi_thread")]
async fn browser() {
    let (backend, port) = Backend::start(None);
    let (address, own) = (format!("127.0.0.1:{port}"), free_port());
    let skep = Scenario::new("browser.yaml")
        .env("SKEP_BACKEND", &address)
        .env("BROWSER_ENDPOINT", &format!("127.0.0.1:{own}"))
        .run(None)
        .await;
    let span = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "of a page"}]}]}]});
    let headers = "content-type: application/json\r\n";
    let answer = rollbar_backend::call(own, "POST", "/v1/traces", headers, &span.to_string());
    assert_eq!(answer.0, 200);
    assert!(skep.stop());
    let text = arrived(&backend);
    let at = text.find("of a page").unwrap();
    let marks: Vec<usize> = text.match_indices("skep.trust").map(|(at, _)| at).collect();
    assert!(matches!(marks[..], [mark] if mark < at), "{text}");
}

/// What OTTL does: addresses are hashed, tokens are gone, the resource has its environment.
#[tokio::test(flavor = "multi_thread")]
async fn filter_and_transform() {
    let (backend, port) = Backend::start(None);
    let address = format!("127.0.0.1:{port}");
    let scenario = Scenario::new("filter-transform.yaml").env("SKEP_BACKEND", &address);
    let skep = scenario.env("ENVIRONMENT", "a-test").run(None).await;
    assert!(skep.stop());
    let text = arrived(&backend);
    // Of the span and of the record.
    let hash = "71d4f55f";
    assert_eq!(text.matches(hash).count(), 2, "{text}");
    assert!(!text.contains("ann@example.com") && text.contains("a-test"), "{text}");
    assert_eq!(text.matches("x.token").count(), 1, "only the record keeps it: {text}");
}

/// A log record without an exception is no item; what Rollbar's own SDKs send is.
#[tokio::test(flavor = "multi_thread")]
async fn rollbar() {
    let (backend, port) = rollbar_backend::rollbar();
    let own = free_port();
    let skep = Scenario::new("rollbar.yaml")
        .env("ROLLBAR_ACCESS_TOKEN", rollbar_backend::TOKEN)
        .env("ROLLBAR_ENDPOINT", &format!("127.0.0.1:{own}"))
        .set("exporters::rollbar::endpoint", &format!("http://127.0.0.1:{port}/api/1/"))
        .run(None)
        .await;
    let data = json!({"environment": "p", "body": {"message": {"body": "Hello World!"}}});
    assert_eq!(rollbar_backend::post(own, &json!({"data": data})).0, 200);
    assert!(skep.stop());
    let state = backend.lock().unwrap();
    assert_eq!((state.items.len(), state.calls.len()), (1, 1));
}

/// Killed before its backend is there; what it had acknowledged arrives all the same.
#[tokio::test(flavor = "multi_thread")]
async fn durable() {
    let (backend, port) = Backend::start(None);
    let storage = tempfile::tempdir().unwrap();
    let scenario = |backend: u16| {
        Scenario::new("durable.yaml")
            .env("SKEP_BACKEND", &format!("127.0.0.1:{backend}"))
            .env("SKEP_STORAGE", &storage.path().display().to_string())
    };
    let nobody = free_port();
    drop(scenario(nobody).run(None).await);
    let again = scenario(port).quiet();
    let ports = [again.grpc, again.http, again.health];
    let skep = Skep::run(again.command, &ports);
    wait_for("the delivery of what was found", || {
        let taken = backend.taken();
        taken.traces.len() * taken.metrics.len() * taken.logs.len() > 0
    });
    assert!(skep.stop());
    arrived(&backend);
}

/// With real SDKs it is run in `seed.rs`.
#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn aws_sidecar() {
    let (honeycomb, honeycomb_port) = http_backend(KEY_HEADERS);
    let (aws, xray) = aws_backend::aws_backend();
    let (logs, cloudwatch) = logs_backend::logs_backend();
    let receiver = format!("127.0.0.1:{}", free_port());
    let skep = Scenario::new("aws-sidecar.yaml")
        .without_aws()
        .env("HONEYCOMB_API_KEY", KEY)
        .env("AWS_REGION", "ca-central-1")
        .env("AWS_ACCESS_KEY_ID", aws_backend::KEY)
        .env("AWS_SECRET_ACCESS_KEY", aws_backend::SECRET)
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=web,aws.ecs.task.id=7")
        .set("receivers::awsxray::endpoint", &receiver)
        .set("exporters::honeycomb::endpoint", &format!("http://127.0.0.1:{honeycomb_port}"))
        .set("exporters::awsxray::endpoint", &format!("http://127.0.0.1:{xray}"))
        .set("exporters::awscloudwatchlogs::endpoint", &format!("http://127.0.0.1:{cloudwatch}"))
        .set("exporters::awsemf::endpoint", &format!("http://127.0.0.1:{cloudwatch}"))
        .run(None)
        .await;
    assert!(skep.stop());
    assert!(format!("{:?}", honeycomb.taken()).contains("a-span"));
    let aws = aws.lock().unwrap();
    assert!(aws.faults.is_empty(), "{:?}", aws.faults);
    let segment = &aws.taken[0][0];
    assert_eq!((&segment["name"], &segment["id"]), (&"a-span".into(), &"0909090909090909".into()));
    assert_eq!(segment["aws"]["cloudwatch_logs"][0]["log_group"], "/app/web");
    let logs = logs.lock().unwrap();
    let [record] = &logs.messages("/app/web", "7")[..] else { panic!("{:?}", logs.calls) };
    assert!(record.contains("a-log-record"), "{record}");
    let [document] = &logs.messages("/metrics/web", "7")[..] else { panic!("{:?}", logs.calls) };
    assert!(document.contains("a-metric"), "{document}");
    assert_eq!(logs.groups["/app/web"]["retentionInDays"], 7);
}

/// Each vendor gets what is for it. With real SDKs it is run in `bootcamp.rs`.
#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn bootcamp() {
    let (honeycomb, honeycomb_port) = http_backend(KEY_HEADERS);
    let (aws, xray) = aws_backend::aws_backend();
    let (logs, cloudwatch) = logs_backend::logs_backend();
    let (rollbar, rollbar_port) = rollbar_backend::rollbar();
    let here = |port: u16| format!("http://127.0.0.1:{port}");
    let items = free_port();
    let storage = tempfile::tempdir().unwrap();
    let mut scenario = Scenario::new("bootcamp.yaml")
        .without_aws()
        .env("SKEP_STORAGE", &storage.path().display().to_string())
        .env("HONEYCOMB_API_KEY", KEY)
        .env("ROLLBAR_ACCESS_TOKEN", rollbar_backend::TOKEN)
        .env("AWS_REGION", "ca-central-1")
        .env("AWS_ACCESS_KEY_ID", aws_backend::KEY)
        .env("AWS_SECRET_ACCESS_KEY", aws_backend::SECRET)
        .set("receivers::rollbar::endpoint", &format!("127.0.0.1:{items}"))
        .set("exporters::honeycomb::endpoint", &here(honeycomb_port))
        .set("exporters::awsxray::endpoint", &here(xray))
        .set("exporters::rollbar::endpoint", &format!("{}/api/1/", here(rollbar_port)));
    for receiver in ["otlp/honeycomb::protocols::http", "awsxray", "awscloudwatchlogs"] {
        let address = format!("127.0.0.1:{}", free_port());
        scenario = scenario.set(&format!("receivers::{receiver}::endpoint"), &address);
    }
    for exporter in ["awscloudwatchlogs", "awscloudwatchlogs/watchtower", "awsemf"] {
        scenario = scenario.set(&format!("exporters::{exporter}::endpoint"), &here(cloudwatch));
    }
    let skep = scenario.run(None).await;
    let data = json!({"environment": "p", "body": {"message": {"body": "Hello World!"}}});
    assert_eq!(rollbar_backend::post(items, &json!({"data": data})).0, 200);
    assert!(skep.stop());
    let at_honeycomb = format!("{:?}", honeycomb.taken());
    assert!(at_honeycomb.contains("a-span") && at_honeycomb.contains("a-log-record"));
    assert!(!at_honeycomb.contains("a-metric"), "metrics are for CloudWatch");
    let aws = aws.lock().unwrap();
    assert!(aws.faults.is_empty(), "{:?}", aws.faults);
    assert_eq!(aws.taken[0][0]["id"], "0909090909090909");
    let all = format!("{:?}", logs.lock().unwrap().groups);
    assert!(all.contains("/app/") && all.contains("/metrics/"), "{all}");
    assert_eq!(rollbar.lock().unwrap().items.len(), 1, "neither a span nor a log without an error");
}

/// With real clients the receiver is run in `cloudwatch_clients.rs`.
#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn watchtower() {
    use std::io::{Read as _, Write as _};

    let (honeycomb, honeycomb_port) = http_backend(KEY_HEADERS);
    let (logs, cloudwatch) = logs_backend::logs_backend();
    let port = free_port();
    let skep = Scenario::new("watchtower.yaml")
        .without_aws()
        .env("HONEYCOMB_API_KEY", KEY)
        .env("AWS_REGION", "ca-central-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .set("receivers::awscloudwatchlogs::endpoint", &format!("127.0.0.1:{port}"))
        .set("exporters::honeycomb::endpoint", &format!("http://127.0.0.1:{honeycomb_port}"))
        .set("exporters::awscloudwatchlogs::endpoint", &format!("http://127.0.0.1:{cloudwatch}"))
        .run(None)
        .await;
    let body = format!(
        r#"{{"logGroupName":"/app","logStreamName":"s","logEvents":[{{"timestamp":{},"message":"an event"}}]}}"#,
        now() / 1_000_000
    );
    let request = format!(
        "POST / HTTP/1.1\r\nhost: logs\r\nx-amz-target: Logs_20140328.PutLogEvents\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(skep.stop());
    assert!(arrived(&honeycomb).contains("an event"));
    assert_eq!(logs.lock().unwrap().messages("/app", "s"), ["an event"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_out() {
    let (first, first_port) = Backend::start(None);
    let (second, second_port) = http_backend(&[]);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive.jsonl");
    let skep = Scenario::new("fan-out.yaml")
        .env("FIRST_BACKEND", &format!("127.0.0.1:{first_port}"))
        .env("SECOND_BACKEND", &format!("http://127.0.0.1:{second_port}"))
        .env("ARCHIVE", archive.to_str().unwrap())
        .env("ENVIRONMENT", "staging")
        .run(None)
        .await;
    assert!(skep.stop());
    let archived = fs::read_to_string(archive).unwrap();
    assert!(archived.contains("a-span"), "{archived}");
    for out in [arrived(&first), arrived(&second), archived] {
        for wanted in ["user.id", "user-42", "staging", "user.email"] {
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
    let file = |name: &str, text: &str| -> String {
        let path: PathBuf = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let identity = Identity::from_pem(certificate.pem(), key.serialize_pem());
    let (backend, port) = Backend::start(Some(identity));
    let authority = Certificate::from_pem(issuer.pem());
    let skep = Scenario::new("gateway.yaml")
        .env("GATEWAY_CERT", &file("cert.pem", &certificate.pem()))
        .env("GATEWAY_KEY", &file("key.pem", &key.serialize_pem()))
        .env("GATEWAY_BACKEND", &format!("localhost:{port}"))
        .env("GATEWAY_BACKEND_CA", &file("ca.pem", &issuer.pem()))
        .run(Some(ClientTlsConfig::new().ca_certificate(authority)))
        .await;
    assert!(skep.stop());
    arrived(&backend);
}

/// Spans of a service are counted, and go the way of their environment. What is held is sent at the
/// end.
#[tokio::test(flavor = "multi_thread")]
async fn span_metrics() {
    let (backend, port) = Backend::start(None);
    let scenario =
        Scenario::new("span-metrics.yaml").env("SKEP_BACKEND", &format!("127.0.0.1:{port}"));
    let grpc = scenario.grpc;
    // Everything is kept, marked.
    let skep = scenario.set("processors::tail_sampling::dry_run", "true").run(None).await;
    let channel = Endpoint::try_from(format!("http://127.0.0.1:{grpc}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut request = traces();
    let attribute = |(key, value): (&str, &str)| KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    };
    let attributes = [("service.name", "shop"), ("deployment.environment.name", "production")];
    request.resource_spans[0].resource =
        Some(Resource { attributes: attributes.map(attribute).to_vec(), ..Resource::default() });
    request.resource_spans[0].scope_spans[0].spans[0].name = "of-the-shop".to_owned();
    TraceServiceClient::new(channel).export(request).await.unwrap();
    assert!(skep.stop());
    arrived(&backend);
    let taken = backend.taken();
    let (traces, metrics) = (format!("{:?}", taken.traces), format!("{:?}", taken.metrics));
    assert_eq!(traces.matches("of-the-shop").count(), 1, "{traces}");
    assert_eq!(traces.matches("tailsampling.dry_run.kept").count(), 1, "{traces}");
    for metric in ["traces.span.metrics.calls", "traces.span.metrics.duration"] {
        assert_eq!(metrics.matches(metric).count(), 1, "{metrics}");
    }
    assert_eq!(metrics.matches("of-the-shop").count(), 2, "one point of each: {metrics}");
}

/// A file without a test above would not be run by anybody.
#[test]
fn every_file_of_the_folder_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy();
        let call = format!("Scenario::new(\"{name}\")");
        assert!(include_str!("scenarios.rs").contains(&call), "{name}");
    }
}
