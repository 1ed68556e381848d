//! One backend twice beside one skep: as its authors wired it, with the SDKs of Honeycomb, X-Ray,
//! CloudWatch Logs and Rollbar, of which only addresses are changed (`docker/four-sdks`), and with
//! the stock OpenTelemetry SDK alone (`docker/app`). skep runs `pipelines/bootcamp.yaml` as it is,
//! but for its addresses. Behind it are a Honeycomb and a Rollbar that take nothing that those
//! would not take, and moto as AWS: each of them has to get everything once.
#![cfg(feature = "aws")]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{BufReader, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use crate::support::{
    Skep, free_port,
    honeycomb_backend::{self, Honeycomb, honeycomb, text},
    moto::{Moto, alone},
    rollbar_backend::{self, Rollbar, rollbar},
    sdk, stand_in, wait_for,
};

/// What the backends are called.
const WITH_SDKS: &str = "backend-flask";
const STOCK: &str = "backend-otel";

/// Everything behind skep.
struct Vendors {
    honeycomb: Arc<Mutex<Honeycomb>>,
    honeycomb_port: u16,
    rollbar: Arc<Mutex<Rollbar>>,
    rollbar_port: u16,
    moto: Moto,
    /// Where skep writes down what it has used of the budgets.
    storage: tempfile::TempDir,
}

impl Vendors {
    fn start() -> Self {
        let (honeycomb, honeycomb_port) = honeycomb();
        let (rollbar, rollbar_port) = rollbar();
        let (moto, storage) = (Moto::start(), tempfile::tempdir().unwrap());
        Vendors { honeycomb, honeycomb_port, rollbar, rollbar_port, moto, storage }
    }
}

/// Ports of skep.
struct Ports {
    otlp: u16,
    honeycomb: u16,
    xray: u16,
    logs: u16,
    rollbar: u16,
}

impl Ports {
    fn free() -> Self {
        let [otlp, honeycomb, xray, logs, rollbar] = [(); 5].map(|()| free_port());
        Ports { otlp, honeycomb, xray, logs, rollbar }
    }

    /// The program with the file, whose addresses are changed.
    fn skep(&self, vendors: &Vendors) -> Command {
        let mut command = alone(Command::new(env!("CARGO_BIN_EXE_skep")));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/bootcamp.yaml");
        command.args(["--control-endpoint", "off", "--config"]).arg(file);
        command.env("HONEYCOMB_API_KEY", honeycomb_backend::KEY);
        command.env("SKEP_STORAGE", vendors.storage.path());
        command.env("ROLLBAR_ACCESS_TOKEN", rollbar_backend::TOKEN).env_remove("SKEP_CONFIG");
        let here = |port: u16| format!("127.0.0.1:{port}");
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let aws = vendors.moto.endpoint();
        for (key, value) in [
            ("receivers::otlp::protocols::http::endpoint", here(self.otlp)),
            ("receivers::otlp::protocols::grpc::endpoint", here(free_port())),
            ("receivers::otlp/honeycomb::protocols::http::endpoint", here(self.honeycomb)),
            ("receivers::awsxray::endpoint", here(self.xray)),
            ("receivers::awscloudwatchlogs::endpoint", here(self.logs)),
            ("receivers::rollbar::endpoint", here(self.rollbar)),
            ("exporters::honeycomb::endpoint", url(vendors.honeycomb_port)),
            ("exporters::rollbar::endpoint", format!("{}/api/1/", url(vendors.rollbar_port))),
            ("exporters::awsxray::endpoint", aws.clone()),
            ("exporters::awscloudwatchlogs::endpoint", aws.clone()),
            ("exporters::awscloudwatchlogs/watchtower::endpoint", aws.clone()),
            ("exporters::awsemf::endpoint", aws),
            ("extensions::health_check::endpoint", here(free_port())),
            ("service::telemetry::metrics::level", "none".to_owned()),
            ("service::telemetry::logs::level", "warn".to_owned()),
        ] {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command
    }

    /// The environment that `docker/bootcamp.yaml` gives the backend with the SDKs.
    fn with_sdks(&self) -> [(&'static str, String); 9] {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        [
            ("OTEL_SERVICE_NAME", WITH_SDKS.to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url(self.honeycomb)),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-honeycomb-team=no-longer-needed".to_owned()),
            ("AWS_XRAY_DAEMON_ADDRESS", format!("127.0.0.1:{}", self.xray)),
            ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", url(self.logs)),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "no-longer-needed".to_owned()),
            ("ROLLBAR_ACCESS_TOKEN", rollbar_backend::OWN.to_owned()),
            ("ROLLBAR_ENDPOINT", format!("{}/api/1/", url(self.rollbar))),
        ]
    }

    fn stock(&self) -> [(&'static str, String); 4] {
        [
            ("OTEL_SERVICE_NAME", STOCK.to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", self.otlp)),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
            // What a metric has gained can be said from the second time on.
            ("OTEL_METRIC_EXPORT_INTERVAL", "300".to_owned()),
        ]
    }
}

/// A backend, run as its image runs it.
struct App {
    port: u16,
    process: Skep,
}

impl App {
    fn start(programs: &Path, folder: PathBuf, start: &[&str], env: &[(&str, String)]) -> Self {
        let port = free_port();
        // It ends on SIGINT, also where the tests run in the background of a shell, which ignores
        // that.
        let mut command = alone(Command::new("env"));
        command.arg("--default-signal=INT").arg(programs.join(start[0])).args(&start[1..]);
        command.args(["run", "--port", &port.to_string()]).current_dir(folder);
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(env.iter().map(|(name, value)| (name, value)));
        App { port, process: Skep::run(command, &[port]) }
    }

    /// Sends a request; gives the status and the trace that the SDK of X-Ray has sampled.
    fn get(&self, path: &str) -> (u16, Option<String>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: shop.test\r\nuser-agent: UA\r\n\r\n").unwrap();
        let (head, _) = stand_in::message(&mut BufReader::new(&stream)).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let root = stand_in::header(&head, "x-amzn-trace-id");
        let root = root.map(|text| text.trim_start_matches("Root=").split(';').next().unwrap());
        let is_sampled = |id: &&str| !id.starts_with("1-00000000-");
        (status, root.filter(is_sampled).map(str::to_owned))
    }

    /// SIGINT: Python then sends what it has.
    fn stop(mut self) {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.process.0.wait().unwrap();
    }
}

/// A request that was sent.
struct Request {
    /// Its route, and its path with a query that no other one has.
    route: &'static str,
    path: String,
    /// What the SDK of X-Ray calls its trace, if that was sampled.
    xray: Option<String>,
}

const HOME: &str = "/api/activities/home";
const USER: &str = "/api/activities/@<handle>";
const BROKEN: &str = "/api/activities/broken";

/// Sends a message to Rollbar; the stock backend does not have it.
const MESSAGE: &str = "/rollbar/test";

/// Asks for a route.
fn ask(app: &App, route: &'static str, number: usize) -> Request {
    let path = format!("{}?n={number}", route.replace("<handle>", "andrew"));
    let (status, xray) = app.get(&path);
    assert_eq!(status, if route == BROKEN { 500 } else { 200 }, "{path}");
    Request { route, path, xray }
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn four_sdks_and_the_stock_sdk_reach_every_vendor_once() {
    let vendors = Vendors::start();
    let ports = Ports::free();
    let mut doctor = ports.skep(&vendors);
    let all = [ports.otlp, ports.honeycomb, ports.xray, ports.logs, ports.rollbar];
    let skep = Skep::run(ports.skep(&vendors), &all);
    let report = doctor.arg("doctor").output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(
        report.ends_with("all 8 would accept data, as far as can be seen without sending any\n"),
        "{report}"
    );

    // Its questions are items that Rollbar refuses.
    *vendors.rollbar.lock().unwrap() = Rollbar::default();
    // A running skep has the ports.
    for receiver in ["otlp", "otlp/honeycomb", "awsxray", "awscloudwatchlogs", "rollbar"] {
        assert!(report.contains(&format!("in    {receiver} <- ")), "{report}");
    }
    for port in all {
        assert!(
            report.contains(&format!(":{port}: in use, maybe by a running skep\n")),
            "{report}"
        );
    }

    let folder = sdk::four_sdks();
    let programs = sdk::python_with("four-sdks", &[folder.join("requirements.txt")]);
    let with_sdks = App::start(&programs, folder, &["flask"], &ports.with_sdks());
    let start = ["opentelemetry-instrument", "flask"];
    let stock = App::start(&sdk::python(), sdk::example(), &start, &ports.stock());

    // The SDK of X-Ray samples one request a second, until it has the rules of skep.
    let (mut old, mut new) = (Vec::new(), Vec::new());
    wait_for("a sampled request of each kind", || {
        let number = old.len();
        for route in [HOME, USER, BROKEN] {
            old.push(ask(&with_sdks, route, number));
            new.push(ask(&stock, route, number));
        }
        let is_sampled = |one: &Request| one.xray.is_some();
        old.rchunks(3).next().is_some_and(|last| last.iter().all(is_sampled)) && new.len() > 3
    });
    old.push(ask(&with_sdks, MESSAGE, old.len()));
    wait_for("the items of Rollbar's SDK", || {
        let failed = old.iter().filter(|one| one.route == BROKEN).count();
        vendors.rollbar.lock().unwrap().items.len() > failed
    });
    with_sdks.stop();
    stock.stop();
    assert!(skep.stop(), "nothing was lost");

    check_honeycomb(&vendors.honeycomb.lock().unwrap(), &old, &new);
    check_xray(&vendors, &old, &new);
    check_logs(&vendors, &old, &new);
    check_metrics(&vendors.moto);
    check_rollbar(&vendors, &old, &new);
}

/// One trace for each request, with its spans, in the dataset of its backend; beside those only the
/// calls of Rollbar's SDK, which the instrumentation of `requests` sees.
fn check_honeycomb(honeycomb: &Honeycomb, old: &[Request], new: &[Request]) {
    assert_eq!(honeycomb.refused, [""; 0]);
    let traces = honeycomb.traces();
    let of_rollbar = traces.values().filter(|spans| spans.len() == 1 && spans[0].name == "POST");
    let failed = old.iter().filter(|one| one.route == BROKEN).count();
    assert_eq!(of_rollbar.count(), failed + 1);
    assert_eq!(traces.len(), old.len() + new.len() + failed + 1);
    for (dataset, requests) in [(WITH_SDKS, old), (STOCK, new)] {
        for request in requests {
            let server = server_span(honeycomb, dataset, request);
            assert_eq!((&*server.name, server.kind), (&*format!("GET {}", request.route), 2));
            assert!(server.parent_span_id.is_empty());
            let below = traces[&server.trace_id].iter().filter(|span| span.kind != 2);
            let below: Vec<&str> = below.map(|span| &*span.name).collect();
            let expected: &[&str] = match (dataset, request.route) {
                (_, HOME) => &["home-activities"],
                (STOCK, BROKEN) => &["broken-activities"],
                _ => &[],
            };
            assert_eq!(below, expected, "{dataset} {}", request.path);
            let has_failed = server.status.as_ref().is_some_and(|status| status.code == 2);
            assert_eq!(has_failed, request.route == BROKEN);
            let user = text(&server.attributes, "user.id");
            assert_eq!(user, Some("andrew").filter(|_| dataset == STOCK));
        }
    }
    // Log records are beside the spans of their trace.
    let shown = honeycomb.logs.iter().filter(|(dataset, record)| {
        dataset == STOCK && traces.contains_key(&record.trace_id) && record.severity_number == 9
    });
    assert_eq!(shown.count(), new.iter().filter(|one| one.route == HOME).count());
    let spans = honeycomb.spans.iter().map(|(_, span)| 1 + span.events.len() + span.links.len());
    assert_eq!(honeycomb.events, spans.sum::<usize>() + honeycomb.logs.len());
}

/// The span of a request, of which there is one.
fn server_span<'h>(honeycomb: &'h Honeycomb, dataset: &str, request: &Request) -> &'h Span {
    let is_it = |(of, span): &&(String, Span)| {
        of == dataset && text(&span.attributes, "http.target") == Some(&request.path)
    };
    let mut found = honeycomb.spans.iter().filter(is_it);
    let (_, span) = found.next().unwrap_or_else(|| panic!("{dataset}: {}", request.path));
    assert_eq!(found.next(), None, "{dataset}: {}", request.path);
    span
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// One trace for each request that its SDK has sampled, and for each one of the stock SDK.
fn check_xray(vendors: &Vendors, old: &[Request], new: &[Request]) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let hours = json!({"StartTime": now - 3600, "EndTime": now + 3600});
    let summaries = vendors.moto.call("xray", "get_trace_summaries", &hours);
    let summaries = summaries["TraceSummaries"].as_array().unwrap();
    let there: BTreeSet<&str> = summaries.iter().filter_map(|one| one["Id"].as_str()).collect();
    let honeycomb = vendors.honeycomb.lock().unwrap();
    let trace = |request: &Request| {
        let id = hex(&server_span(&honeycomb, STOCK, request).trace_id);
        format!("1-{}-{}", &id[..8], &id[8..])
    };
    let of_sdk = old.iter().filter_map(|one| Some((WITH_SDKS, one, one.xray.clone()?)));
    let all: Vec<_> = of_sdk.chain(new.iter().map(|one| (STOCK, one, trace(one)))).collect();
    let expected: BTreeSet<&str> = all.iter().map(|(.., id)| &**id).collect();
    assert_eq!(there, expected);
    assert_eq!(there.len(), all.len());
    // Those of the last round stand for all.
    for (service, request, id) in all.iter().filter(|(_, one, _)| is_of_last(one, new)) {
        let answer = vendors.moto.call("xray", "batch_get_traces", &json!({"TraceIds": [id]}));
        let segments = answer["Traces"][0]["Segments"].as_array().unwrap();
        let read = |one: &Value| serde_json::from_str(one["Document"].as_str().unwrap()).unwrap();
        check_documents(service, request, &segments.iter().map(read).collect::<Vec<Value>>());
    }
}

fn is_of_last(request: &Request, all: &[Request]) -> bool {
    let query = |one: &Request| one.path.split_once('?').map(|(_, query)| query.to_owned());
    all.last().is_some_and(|last| query(last) == query(request))
}

fn check_documents(service: &str, request: &Request, documents: &[Value]) {
    let is_segment = |one: &&Value| one["type"].is_null();
    let segments: Vec<&Value> = documents.iter().filter(is_segment).collect();
    let [segment] = segments[..] else { panic!("{documents:#?}") };
    assert_eq!(segment["name"], service);
    let status = if request.route == BROKEN { 500 } else { 200 };
    assert_eq!(segment["http"]["response"]["status"], status);
    // The SDK of X-Ray leaves the query out.
    let path =
        if service == STOCK { &request.path } else { request.path.split('?').next().unwrap() };
    let url = segment["http"]["request"]["url"].as_str().unwrap();
    assert_eq!(url.trim_start_matches("http://").split_once('/').unwrap().1, &path[1..], "{url}");
    let of_segment = segment["subsegments"].as_array().into_iter().flatten();
    let below = of_segment.chain(documents.iter().filter(|one| !is_segment(one)));
    let below: Vec<&Value> = below.collect();
    let names: Vec<&str> = below.iter().filter_map(|one| one["name"].as_str()).collect();
    match (service, request.route) {
        (WITH_SDKS, HOME) => {
            assert_eq!(names, ["activities_home"]);
            assert_eq!(below[0]["annotations"]["activities"], 1);
        }
        (WITH_SDKS, USER) => {
            assert_eq!(names, ["user_activities"]);
            assert_eq!(below[0]["metadata"]["user_activities"]["results"]["handle"], "andrew");
        }
        (STOCK, HOME) => assert_eq!(names, ["home-activities"]),
        (STOCK, BROKEN) => assert_eq!(names, ["broken-activities"]),
        _ => assert_eq!(names, [""; 0]),
    }
    if request.route == BROKEN {
        assert_eq!(segment["fault"], true);
        assert_eq!(segment["cause"]["exceptions"][0]["type"], "RuntimeError");
    }
}

/// Messages of a stream in a group.
fn messages(moto: &Moto, group: &str, stream: &str) -> Vec<String> {
    let names = json!({"logGroupName": group, "logStreamName": stream, "startFromHead": true});
    let answer = moto.call("logs", "get_log_events", &names);
    let text = |one: &Value| one["message"].as_str().unwrap().to_owned();
    answer["events"].as_array().unwrap().iter().map(text).collect()
}

/// watchtower's own group and stream with its lines as they are, and a group of objects for the
/// stock SDK; both are kept for a week.
fn check_logs(vendors: &Vendors, old: &[Request], new: &[Request]) {
    let moto = &vendors.moto;
    let groups = moto.call("logs", "describe_log_groups", &json!({}));
    let retention = |group: &Value| {
        (group["logGroupName"].as_str().unwrap().to_owned(), group["retentionInDays"].as_u64())
    };
    let groups: BTreeSet<_> =
        groups["logGroups"].as_array().unwrap().iter().map(retention).collect();
    let expected = ["/app/backend-otel", "/metrics/backend-otel", "cruddur"];
    assert_eq!(groups, expected.map(|name| (name.to_owned(), Some(7))).into());

    let streams = moto.call("logs", "describe_log_streams", &json!({"logGroupName": "cruddur"}));
    let [stream] = &streams["logStreams"].as_array().unwrap()[..] else { panic!("{streams}") };
    let stream = stream["logStreamName"].as_str().unwrap();
    assert!(stream.contains(WITH_SDKS), "{stream}: machine, program, logger and process");
    let lines = messages(moto, "cruddur", stream);
    assert_eq!(lines[0], "the backend has started");
    let of_requests: Vec<&str> = lines
        .iter()
        .filter(|line| line.contains("?n="))
        .map(|line| line.split(' ').find(|word| word.contains("?n=")).unwrap())
        .collect();
    let sent: Vec<&str> = old.iter().map(|one| &*one.path).collect();
    assert_eq!(of_requests, sent, "each once, in order");
    let failed = old.iter().filter(|one| one.route == BROKEN).count();
    let is_trace = |line: &&String| line.ends_with("RuntimeError: this always fails");
    assert_eq!(lines.iter().filter(is_trace).count(), failed);

    let objects = messages(moto, "/app/backend-otel", "local");
    let objects: Vec<Value> =
        objects.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    for request in new.iter().filter(|one| one.route != USER) {
        let honeycomb = vendors.honeycomb.lock().unwrap();
        let trace = hex(&server_span(&honeycomb, STOCK, request).trace_id);
        let of_trace: Vec<&Value> = objects.iter().filter(|one| one["trace_id"] == trace).collect();
        let [object] = of_trace[..] else { panic!("{of_trace:#?}") };
        let x_ray = format!("1-{}-{}", &trace[..8], &trace[8..]);
        assert_eq!(object["xray_trace_id"], x_ray);
        let (body, severity) = match request.route {
            HOME => ("1 activities shown", "INFO"),
            _ => ("Exception on /api/activities/broken [GET]", "ERROR"),
        };
        assert_eq!((&object["body"], &object["severity_text"]), (&json!(body), &json!(severity)));
        assert_eq!(object["resource"]["service.name"], STOCK);
    }
}

/// Metrics without dimensions, since each costs.
fn check_metrics(moto: &Moto) {
    let documents = messages(moto, "/metrics/backend-otel", "local");
    let mut names = BTreeSet::new();
    for document in &documents {
        let document: Value = serde_json::from_str(document).unwrap();
        let directive = &document["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(
            (&directive["Namespace"], &directive["Dimensions"]),
            (&json!(STOCK), &json!([[]]))
        );
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            assert!(!document[name].is_null(), "{document}");
            names.insert(name.to_owned());
        }
    }
    assert!(names.contains("http.server.active_requests"), "{names:?}");
    assert!((2..=10).contains(&names.len()), "ten are free: {names:?}");
}

/// An item for each exception, from either backend, and the message.
fn check_rollbar(vendors: &Vendors, old: &[Request], new: &[Request]) {
    let rollbar = vendors.rollbar.lock().unwrap();
    assert_eq!(rollbar.refused, [""; 0]);
    assert_eq!(rollbar.calls.len(), rollbar.items.len(), "none was sent twice");
    let broken = |all: &[Request]| all.iter().filter(|one| one.route == BROKEN).count();
    assert_eq!(rollbar.items.len(), broken(old) + broken(new) + 1);
    let mut messages = rollbar.items.iter().filter(|item| !item["body"]["message"].is_null());
    let message = messages.next().unwrap();
    assert_eq!(message["body"]["message"]["body"], "Hello World!");
    assert_eq!(message["level"], "warning");
    let honeycomb = vendors.honeycomb.lock().unwrap();
    for (notifier, requests) in [("pyrollbar", old), ("skep", new)] {
        for request in requests.iter().filter(|one| one.route == BROKEN) {
            let is_it = |item: &&Value| {
                let url = item["request"]["url"].as_str().unwrap_or_default();
                item["notifier"]["name"] == notifier && url.ends_with(&request.path)
            };
            let found: Vec<&Value> = rollbar.items.iter().filter(is_it).collect();
            let [item] = found[..] else { panic!("{notifier} {}: {found:#?}", request.path) };
            check_item(item, if notifier == "skep" { "docker/app" } else { "docker/four-sdks" });
            if notifier == "skep" {
                let trace = &server_span(&honeycomb, STOCK, request).trace_id;
                assert_eq!(item["custom"]["trace_id"], hex(trace));
            }
        }
    }
}

/// Frames of the exception and of its cause, the person, the request.
fn check_item(item: &Value, folder: &str) {
    assert_eq!((&item["level"], &item["environment"]), (&json!("error"), &json!("production")));
    assert_eq!(item["context"], BROKEN);
    let chain = item["body"]["trace_chain"].as_array().unwrap();
    let raised: Vec<_> = chain.iter().map(|trace| &trace["exception"]).collect();
    let expected = [
        json!({"class": "RuntimeError", "message": "this always fails"}),
        json!({"class": "KeyError", "message": "'message'"}),
    ];
    assert_eq!(raised, expected.iter().collect::<Vec<_>>());
    for (trace, code) in chain
        .iter()
        .zip(["raise RuntimeError(\"this always fails\") from error", "{}[\"message\"]"])
    {
        let frame = trace["frames"].as_array().unwrap().last().unwrap();
        assert_eq!((&frame["method"], &frame["code"]), (&json!("broken"), &json!(code)));
        let file = frame["filename"].as_str().unwrap();
        assert!(file.ends_with(&format!("{folder}/app.py")) && frame["lineno"].is_u64(), "{frame}");
    }
    assert_eq!(item["person"]["id"], "andrew");
    assert_eq!(item["request"]["method"], "GET");
    assert_eq!(item["request"]["headers"]["User-Agent"], "UA");
}
