//! Real SDKs as clients: OpenTelemetry for Python with Flask, and for JavaScript, send through skep
//! to a backend made of tonic and the generated OTLP services, which share no code with skep. Every
//! span, log record and data point that an SDK handed to its exporter has to arrive as it was.
//!
//! The SDKs are installed once under `target/clients`, at the versions of `tests/clients/`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
};
use prost::Message;
use support::{Skep, free_port};
use tonic::{Request, Response, Status, codec::CompressionEncoding::Gzip};

/// Everything that arrived, or was sent.
#[derive(Default, Debug)]
struct Telemetry {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
}

#[derive(Clone, Default)]
struct Backend(Arc<Mutex<Telemetry>>);

impl Backend {
    fn taken(&self) -> MutexGuard<'_, Telemetry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until the test process ends.
    fn start() -> (Self, u16) {
        let backend = Backend::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let served = backend.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                tonic::transport::Server::builder()
                    .add_service(TraceServiceServer::new(served.clone()).accept_compressed(Gzip))
                    .add_service(MetricsServiceServer::new(served.clone()).accept_compressed(Gzip))
                    .add_service(LogsServiceServer::new(served).accept_compressed(Gzip))
                    .serve_with_incoming(incoming)
                    .await
                    .unwrap();
            });
        });
        (backend, port)
    }
}

#[tonic::async_trait]
impl TraceService for Backend {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.taken().traces.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Backend {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.taken().metrics.push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Backend {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.taken().logs.push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Telemetry {
    /// What a client recorded: one request per file, the signal as the extension.
    fn read(folder: &Path) -> Self {
        let mut telemetry = Telemetry::default();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            match path.extension().and_then(|signal| signal.to_str()) {
                Some("traces") => telemetry.traces.push(Message::decode(&*bytes).unwrap()),
                Some("metrics") => telemetry.metrics.push(Message::decode(&*bytes).unwrap()),
                Some("logs") => telemetry.logs.push(Message::decode(&*bytes).unwrap()),
                _ => panic!("{} is of no signal", path.display()),
            }
        }
        telemetry
    }

    /// Every item on a line of its own with its resource and scope, in one order.
    fn items(&self) -> Items {
        let mut items = Items::default();
        for entry in self.traces.iter().flat_map(|request| &request.resource_spans) {
            for scope in &entry.scope_spans {
                for span in &scope.spans {
                    items.spans.push(format!("{:?}\n{:?}\n{span:?}", entry.resource, scope.scope));
                }
            }
        }
        for entry in self.logs.iter().flat_map(|request| &request.resource_logs) {
            for scope in &entry.scope_logs {
                for log in &scope.log_records {
                    items.logs.push(format!("{:?}\n{:?}\n{log:?}", entry.resource, scope.scope));
                }
            }
        }
        for entry in self.metrics.iter().flat_map(|request| &request.resource_metrics) {
            for scope in &entry.scope_metrics {
                for metric in &scope.metrics {
                    let around =
                        format!("{:?}\n{:?}\n{}", entry.resource, scope.scope, metric.name);
                    let points = points(metric);
                    items
                        .points
                        .extend(points.into_iter().map(|point| format!("{around}\n{point}")));
                }
            }
        }
        for list in [&mut items.spans, &mut items.logs, &mut items.points] {
            list.sort();
        }
        items
    }

    fn each_attributes(&mut self, mut see: impl FnMut(&mut Vec<KeyValue>)) {
        let spans = self.traces.iter_mut().flat_map(|request| &mut request.resource_spans);
        let spans = spans.flat_map(|entry| &mut entry.scope_spans).flat_map(|s| &mut s.spans);
        spans.for_each(|span| see(&mut span.attributes));
        let logs = self.logs.iter_mut().flat_map(|request| &mut request.resource_logs);
        let logs = logs.flat_map(|entry| &mut entry.scope_logs).flat_map(|s| &mut s.log_records);
        logs.for_each(|log| see(&mut log.attributes));
        let metrics = self.metrics.iter_mut().flat_map(|request| &mut request.resource_metrics);
        let metrics = metrics.flat_map(|entry| &mut entry.scope_metrics);
        for metric in metrics.flat_map(|scope| &mut scope.metrics) {
            match metric.data.as_mut().unwrap() {
                Data::Gauge(data) => {
                    data.data_points.iter_mut().for_each(|p| see(&mut p.attributes));
                }
                Data::Sum(data) => data.data_points.iter_mut().for_each(|p| see(&mut p.attributes)),
                Data::Histogram(data) => {
                    data.data_points.iter_mut().for_each(|p| see(&mut p.attributes));
                }
                Data::ExponentialHistogram(data) => {
                    data.data_points.iter_mut().for_each(|p| see(&mut p.attributes));
                }
                Data::Summary(data) => {
                    data.data_points.iter_mut().for_each(|p| see(&mut p.attributes));
                }
            }
        }
    }
}

#[derive(Default, Debug, PartialEq)]
struct Items {
    spans: Vec<String>,
    points: Vec<String>,
    logs: Vec<String>,
}

impl Items {
    fn counts(&self) -> [usize; 3] {
        [self.spans.len(), self.points.len(), self.logs.len()]
    }
}

fn points(metric: &Metric) -> Vec<String> {
    fn all<T: std::fmt::Debug>(points: &[T], around: &str) -> Vec<String> {
        points.iter().map(|point| format!("{around}\n{point:?}")).collect()
    }
    let about = format!("{} {}", metric.description, metric.unit);
    match metric.data.as_ref().unwrap() {
        Data::Gauge(data) => all(&data.data_points, &about),
        Data::Sum(data) => all(
            &data.data_points,
            &format!("{about} {} {}", data.is_monotonic, data.aggregation_temporality),
        ),
        Data::Histogram(data) => {
            all(&data.data_points, &format!("{about} {}", data.aggregation_temporality))
        }
        Data::ExponentialHistogram(data) => {
            all(&data.data_points, &format!("{about} {}", data.aggregation_temporality))
        }
        Data::Summary(data) => all(&data.data_points, &about),
    }
}

/// The program under test with its two ports.
struct Piped {
    skep: Skep,
    grpc: u16,
    http: u16,
}

impl Piped {
    /// A batch on the way to `backend`, with `processors` before it.
    fn start(backend: u16, processors: &str, names: &str) -> Self {
        let (grpc, http) = (free_port(), free_port());
        let pipeline =
            format!("{{receivers: [otlp], processors: [{names}batch], exporters: [otlp_grpc]}}");
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{grpc}, include_metadata: true}}
      http: {{endpoint: 127.0.0.1:{http}, include_metadata: true}}
processors:
  batch: {{timeout: 50ms}}
{processors}
exporters:
  otlp_grpc: {{endpoint: \"127.0.0.1:{backend}\", tls: {{insecure: true}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines: {{traces: {pipeline}, metrics: {pipeline}, logs: {pipeline}}}
"
        );
        Piped { skep: Skep::start(&config, &[grpc, http]), grpc, http }
    }
}

fn run(command: &mut Command, remedy: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; {remedy}\n{errors}");
}

/// Runs `install` in `target/clients/NAME` unless that has been done for this content of `list`.
fn installed(name: &str, list: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (home, done) = (folder.join(name), folder.join(format!("{name}.installed")));
    let wanted = fs::read_to_string(sources().join(list)).unwrap();
    if fs::read_to_string(&done).ok().as_deref() != Some(&wanted) {
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        install(&home);
        fs::write(&done, wanted).unwrap();
    }
    home
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The interpreter of a virtual environment with the SDK.
fn python() -> PathBuf {
    let home = installed("python", "requirements.txt", |home| {
        let remedy = "install Python 3.9 or later with venv (Debian: python3-venv)";
        run(Command::new("python3").args(["-m", "venv"]).arg(home), remedy);
        let mut pip = Command::new(home.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
        run(pip.arg(sources().join("requirements.txt")), "pip needs a package index");
    });
    home.join("bin/python")
}

/// A folder with the SDK for JavaScript in it.
fn node() -> PathBuf {
    installed("node", "package-lock.json", |home| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(sources().join(file), home.join(file)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(home);
        run(&mut npm, "install Node.js 18 or later with npm, which needs a package registry");
    })
}

/// Runs a client and compares what it sent with what arrived. `expected` are the least spans, data
/// points and log records that it makes.
fn check(skep: Piped, backend: &Backend, client: &mut Command, expected: [usize; 3]) {
    let folder = tempfile::tempdir().unwrap();
    run(client.arg(folder.path()), "the client could not send");
    assert!(skep.skep.stop(), "nothing was lost");
    let sent = Telemetry::read(folder.path()).items();
    let counts = sent.counts();
    assert!(counts.iter().zip(expected).all(|(sent, least)| *sent >= least), "sent {counts:?}");
    let arrived = backend.taken().items();
    assert_eq!(counts, arrived.counts(), "spans, data points, log records");
    for (sent, arrived) in [
        (&sent.spans, &arrived.spans),
        (&sent.points, &arrived.points),
        (&sent.logs, &arrived.logs),
    ] {
        for (sent, arrived) in sent.iter().zip(arrived) {
            assert_eq!(sent, arrived);
        }
    }
}

fn flask(protocol: &str, compression: &str) {
    let (backend, port) = Backend::start();
    let skep = Piped::start(port, "", "");
    let endpoint = match protocol {
        "grpc" => format!("127.0.0.1:{}", skep.grpc),
        _ => format!("http://127.0.0.1:{}", skep.http),
    };
    let mut client = Command::new(python());
    client.arg(sources().join("flask_app.py")).args([protocol, compression, &endpoint]);
    check(skep, &backend, &mut client, [51, 5, 30]);
}

fn javascript(encoding: &str, compression: &str) {
    let (backend, port) = Backend::start();
    let skep = Piped::start(port, "", "");
    let endpoint = format!("http://127.0.0.1:{}", skep.http);
    let mut client = Command::new("node");
    client.current_dir(node()).arg(sources().join("js_app.mjs"));
    client.args([encoding, compression, &endpoint]);
    check(skep, &backend, &mut client, [50, 4, 25]);
}

#[test]
fn flask_over_grpc() {
    flask("grpc", "none");
}

#[test]
fn flask_over_grpc_with_gzip() {
    flask("grpc", "gzip");
}

#[test]
fn flask_over_http() {
    flask("http", "none");
}

#[test]
fn flask_over_http_with_gzip() {
    flask("http", "gzip");
}

#[test]
fn javascript_over_http_as_json() {
    javascript("json", "none");
}

#[test]
fn javascript_over_http_as_json_with_gzip() {
    javascript("json", "gzip");
}

#[test]
fn javascript_over_http_as_protobuf() {
    javascript("protobuf", "none");
}

/// The header that an application sets becomes an attribute of everything that it sends.
#[test]
fn a_request_header_becomes_the_user_id() {
    let (backend, port) = Backend::start();
    let processors = "  attributes: {actions: [{key: user.id, from_context: metadata.x-user-id, \
                      action: insert}]}";
    let skep = Piped::start(port, processors, "attributes, ");
    let endpoint = format!("http://127.0.0.1:{}", skep.http);
    let folder = tempfile::tempdir().unwrap();
    let mut client = Command::new(python());
    client.arg(sources().join("flask_app.py")).args(["http", "none", &endpoint]);
    run(client.arg(folder.path()), "the client could not send");
    assert!(skep.skep.stop(), "nothing was lost");
    let mut arrived = backend.taken();
    let mut seen = 0;
    arrived.each_attributes(|attributes| {
        let user = attributes.pop().expect("it was added at the end");
        assert_eq!(user.key, "user.id");
        let value = user.value.and_then(|value| value.value);
        assert_eq!(value, Some(Value::StringValue("user-42".to_owned())));
        seen += 1;
    });
    // Without it everything is as it was sent.
    assert_eq!(arrived.items(), Telemetry::read(folder.path()).items());
    assert!(seen > 80, "{seen}");
}
