//! Real SDKs as clients: OpenTelemetry for Python with Flask, and for JavaScript, send through skep
//! to a backend made of tonic and the generated OTLP services, which share no code with skep. Every
//! span, log record and data point that an SDK handed to its exporter has to arrive as it was.
//!
//! The SDKs are installed once under `target/clients`, at the versions of `tests/clients/`.

use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
};
use prost::Message;

use crate::support::{
    Skep,
    backend::{Backend, Telemetry},
    free_port,
    http_backend::http_backend,
    sdk, wait_for,
};

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
    /// With `otlp.sock`, which takes gRPC.
    folder: tempfile::TempDir,
}

impl Piped {
    /// A batch on the way to `backend`, with `processors` before it.
    fn start(backend: u16, processors: &str, names: &str) -> Self {
        let (grpc, http) = (free_port(), free_port());
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("otlp.sock");
        let pipeline = format!(
            "{{receivers: [otlp, otlp/unix], processors: [{names}batch], exporters: [otlp_grpc]}}"
        );
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{grpc}, include_metadata: true}}
      http: {{endpoint: 127.0.0.1:{http}, include_metadata: true}}
  otlp/unix: {{protocols: {{grpc: {{endpoint: {}, transport: unix}}}}}}
processors:
  batch: {{timeout: 50ms}}
{processors}
exporters:
  otlp_grpc: {{endpoint: \"127.0.0.1:{backend}\", tls: {{insecure: true}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines: {{traces: {pipeline}, metrics: {pipeline}, logs: {pipeline}}}
",
            socket.display()
        );
        Piped { skep: Skep::start(&config, &[grpc, http]), grpc, http, folder }
    }
}

/// Runs a client and compares what it sent with what arrived. `expected` are the least spans, data
/// points and log records that it makes.
fn check(skep: Piped, backend: &Backend, client: &mut Command, expected: [usize; 3]) {
    let folder = tempfile::tempdir().unwrap();
    sdk::run(client.arg(folder.path()), "the client could not send");
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
    let (backend, port) = Backend::start(None);
    let skep = Piped::start(port, "", "");
    let endpoint = match protocol {
        "grpc" => format!("127.0.0.1:{}", skep.grpc),
        "unix" => format!("unix://{}", skep.folder.path().join("otlp.sock").display()),
        _ => format!("http://127.0.0.1:{}", skep.http),
    };
    let mut client = Command::new(sdk::python().join("python"));
    let protocol = if protocol == "unix" { "grpc" } else { protocol };
    client.arg(sdk::sources().join("flask_app.py")).args([protocol, compression, &endpoint]);
    check(skep, &backend, &mut client, [51, 5, 30]);
}

fn javascript(encoding: &str, compression: &str) {
    let (backend, port) = Backend::start(None);
    let skep = Piped::start(port, "", "");
    let endpoint = format!("http://127.0.0.1:{}", skep.http);
    let mut client = Command::new("node");
    client.current_dir(sdk::node()).arg(sdk::sources().join("js_app.mjs"));
    client.args([encoding, compression, &endpoint]);
    check(skep, &backend, &mut client, [50, 4, 25]);
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn flask_over_grpc() {
    flask("grpc", "none");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn flask_over_grpc_with_gzip() {
    flask("grpc", "gzip");
}

/// The library of gRPC sends the path of the socket as `:authority`, percent-encoded.
#[test]
#[ignore = "needs SDKs of other languages"]
fn flask_over_grpc_on_a_unix_socket() {
    flask("unix", "none");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn flask_over_http() {
    flask("http", "none");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn flask_over_http_with_gzip() {
    flask("http", "gzip");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn javascript_over_http_as_json() {
    javascript("json", "none");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn javascript_over_http_as_json_with_gzip() {
    javascript("json", "gzip");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn javascript_over_http_as_protobuf() {
    javascript("protobuf", "none");
}

const USER_ID: &str = "  attributes: {actions: [{key: user.id, action: insert, from_context: \
                       metadata.x-user-id}]}";

/// The header that an application sets becomes an attribute of everything that it sends.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_request_header_becomes_the_user_id() {
    let (backend, port) = Backend::start(None);
    let skep = Piped::start(port, USER_ID, "attributes, ");
    let endpoint = format!("http://127.0.0.1:{}", skep.http);
    let folder = tempfile::tempdir().unwrap();
    let mut client = Command::new(sdk::python().join("python"));
    client.arg(sdk::sources().join("flask_app.py")).args(["http", "none", &endpoint]);
    sdk::run(client.arg(folder.path()), "the client could not send");
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

/// The answer to a GET.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The application of the compose file, started and stopped as its image does it: it has no line of
/// the SDK's set-up, yet its traces, metrics and logs arrive, with the user of its environment.
#[test]
#[ignore = "needs SDKs of other languages"]
fn the_example_application() {
    let (backend, backend_port) = Backend::start(None);
    let skep = Piped::start(backend_port, USER_ID, "attributes, ");
    let (port, programs) = (free_port(), sdk::python());
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // It ends on SIGINT, also where the tests run in the background of a shell, which ignores that.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(programs.join("opentelemetry-instrument"));
    command.args(["flask", "run", "--port", &port.to_string()]).current_dir(sdk::example());
    command.env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("OTEL_SERVICE_NAME", "backend-flask");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", skep.http));
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-user-id=user-7");
    let mut app = Skep::run(command, &[port]);
    assert!(get(port, "/api/activities/home").contains("Cloud is fun"));
    assert!(get(port, "/api/activities/broken").starts_with("HTTP/1.1 500"));
    let pid = app.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    app.0.wait().unwrap();
    assert!(skep.skep.stop(), "nothing was lost");
    let arrived = backend.taken().items();
    let find = |items: &[String], part: &str| {
        let found = items.iter().find(|item| item.contains(part));
        found.unwrap_or_else(|| panic!("no {part} in {items:#?}")).clone()
    };
    let span = find(&arrived.spans, "name: \"home-activities\"");
    assert!(span.contains("backend-flask"), "{span}");
    for item in arrived.spans.iter().chain(&arrived.logs).chain(&arrived.points) {
        // The application names the user of a request itself, and what is there stays.
        let is_request = item.contains("name: \"GET ");
        let user = if is_request { "andrew" } else { "user-7" };
        assert!(item.contains("user.id") && item.contains(user), "{item}");
    }
    find(&arrived.spans, "name: \"GET /api/activities/broken\"");
    find(&arrived.points, "http.server");
    let log = find(&arrived.logs, "1 activities shown");
    let trace_id = |item: &str| {
        let from = item.find("trace_id: ").unwrap();
        item[from..].split(']').next().unwrap().to_owned()
    };
    assert_eq!(trace_id(&span), trace_id(&log), "the log record knows its trace");
    find(&arrived.logs, "this always fails");
}

/// `pipelines/tail-sampling.yaml` as it is, under a known mix: errors and slow traces are there,
/// health checks are not, of the others some, whose weights say how many there were; and skep tells
/// why.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_known_mix_is_sampled_as_the_pipeline_says() {
    let (backend, backend_port) = http_backend(&["x-honeycomb-team: hcaik_for_a_test"]);
    let (http, control) = (free_port(), free_port());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/tail-sampling.yaml");
    let control = format!("127.0.0.1:{control}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", &control, "--config"]).arg(file);
    command.env("HONEYCOMB_API_KEY", "hcaik_for_a_test").env("DECISION_WAIT", "2s");
    command.env("DECISION_WAIT_AFTER_ROOT", "500ms");
    for (key, value) in [
        ("receivers::otlp::protocols::http::endpoint", format!("127.0.0.1:{http}")),
        ("receivers::otlp::protocols::grpc::endpoint", format!("127.0.0.1:{}", free_port())),
        ("extensions::health_check::endpoint", format!("127.0.0.1:{}", free_port())),
        ("exporters::honeycomb::endpoint", format!("http://127.0.0.1:{backend_port}")),
        ("service::telemetry::metrics::level", "none".to_owned()),
        ("service::telemetry::logs::level", "warn".to_owned()),
    ] {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let skep = Skep::run(command, &[http]);
    let mut client = Command::new(sdk::python().join("python"));
    client.arg(sdk::sources().join("sampled.py")).arg(format!("http://127.0.0.1:{http}"));
    let output = client.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mix = String::from_utf8(output.stdout).unwrap();
    let of = |kind: &str| -> Vec<&str> {
        mix.lines().filter_map(|line| line.strip_prefix(kind)).map(str::trim).collect()
    };

    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        let output = command.args(["--control-endpoint", &control]).args(arguments).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    wait_for("all decisions", || ask(&["sample", "--last", "1000"]).lines().count() == 661);
    let story = ask(&["explain", of("error")[0]]);
    assert!(story.contains("kept, by policy errors") && story.contains("shop"), "{story}");
    let story = ask(&["explain", of("health")[0]]);
    assert!(story.contains("not kept, by policy health-checks"), "{story}");
    assert!(story.contains("health-checks  dropped") && story.contains("not asked"), "{story}");
    assert!(skep.stop(), "nothing was lost");

    let taken = backend.taken();
    let spans = taken.traces.iter().flat_map(|request| &request.resource_spans);
    let spans = spans.flat_map(|entry| &entry.scope_spans).flat_map(|scope| &scope.spans);
    let mut by_trace: HashMap<String, Vec<_>> = HashMap::new();
    for span in spans {
        let id = u128::from_be_bytes(span.trace_id.as_slice().try_into().unwrap());
        let id = format!("{id:032x}");
        by_trace.entry(id).or_default().push(span);
    }
    assert!(by_trace.values().all(|spans| spans.len() == 3), "traces are whole");
    let kept = |kind| of(kind).into_iter().filter(|id| by_trace.contains_key(*id)).count();
    assert_eq!((kept("error"), kept("slow"), kept("health")), (20, 10, 0));
    let others = kept("other");
    let value = |id: &str, key: &str| {
        let found = by_trace[id][0].attributes.iter().find(|one| one.key == key);
        found.and_then(|one| one.value.clone()).and_then(|value| value.value)
    };
    for id in of("error") {
        assert_eq!(value(id, "SampleRate"), None, "it stands for itself");
        assert_eq!(value(id, "tailsampling.policy"), Some(Value::StringValue("errors".to_owned())));
    }
    for id in of("other").into_iter().filter(|id| by_trace.contains_key(*id)) {
        assert_eq!(value(id, "SampleRate"), Some(Value::IntValue(20)));
        assert!(by_trace[id][0].trace_state.starts_with("ot=th:f3333333333333"));
    }
    // 600 of which 5 in 100 are kept: 30, give or take three times 5.3.
    assert!((14..=46).contains(&others), "{others}");
}

/// Says in one line what `cargo test` leaves out, and checks that the gate leaves nothing out: a
/// test that is asked for and lacks an interpreter or a registry fails.
#[test]
fn ignored_tests_are_named_here_and_run_by_the_gate() {
    let gate = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    assert!(gate.contains("\nexport SKEP_TEST_FULL=1 PROPTEST_CASES=256\n"), "{gate}");
    assert!(gate.contains("\ncargo test -- --include-ignored\n"), "{gate}");
    if !std::env::args().any(|argument| argument.contains("ignored")) {
        // Not `println!`, whose output libtest keeps to itself if a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: tests with SDKs for Python and Node.js; `cargo test -- --include-ignored` \
             runs them, and needs Python 3, Node.js, npm and package registries"
        );
    }
}
