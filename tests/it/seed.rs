//! What skep is for: an application that wires Honeycomb, X-Ray and CloudWatch has one address
//! instead. A Flask application under the SDK of X-Ray and that of OpenTelemetry sends to
//! `pipelines/aws-sidecar.yaml` as it is, but for its addresses; behind it are a Honeycomb that
//! wants its key, and moto as AWS.
#![cfg(feature = "aws")]

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Skep,
    backend::Backend,
    free_port,
    http_backend::http_backend,
    moto::{Moto, alone},
    sdk, wait_for,
};

const KEY: &str = "hcaik_for_a_test";
const KEY_HEADERS: &[&str] = &["x-honeycomb-team: hcaik_for_a_test"];

/// The program with the file and its addresses changed.
struct Sidecar {
    http: u16,
    xray: u16,
    honeycomb: u16,
    moto: u16,
}

impl Sidecar {
    fn command(&self) -> Command {
        let mut command = alone(Command::new(env!("CARGO_BIN_EXE_skep")));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/aws-sidecar.yaml");
        command.args(["--control-endpoint", "off", "--config"]).arg(file);
        command.env("HONEYCOMB_API_KEY", KEY).env_remove("SKEP_CONFIG");
        let here = |port: u16| format!("127.0.0.1:{port}");
        let aws = format!("http://{}", here(self.moto));
        for (key, value) in [
            ("receivers::otlp::protocols::http::endpoint", here(self.http)),
            ("receivers::otlp::protocols::grpc::endpoint", here(free_port())),
            ("receivers::awsxray::endpoint", here(self.xray)),
            ("receivers::awsxray::proxy_server::aws_endpoint", aws.clone()),
            ("exporters::honeycomb::endpoint", format!("http://{}", here(self.honeycomb))),
            ("exporters::awsxray::endpoint", aws.clone()),
            ("exporters::awscloudwatchlogs::endpoint", aws.clone()),
            ("exporters::awsemf::endpoint", aws),
            ("extensions::health_check::endpoint", here(free_port())),
            ("service::telemetry::metrics::level", "none".to_owned()),
            ("service::telemetry::logs::level", "warn".to_owned()),
        ] {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command
    }
}

/// The documents of a trace at X-Ray, by id.
fn segments(moto: &Moto, trace: &str) -> BTreeMap<String, Value> {
    let answer = moto.call("xray", "batch_get_traces", &json!({"TraceIds": [trace]}));
    let all = answer["Traces"][0]["Segments"].as_array().cloned().unwrap_or_default();
    let read =
        |one: &Value| -> Value { serde_json::from_str(one["Document"].as_str().unwrap()).unwrap() };
    let documents: Vec<Value> = all.iter().map(read).collect();
    let id = |one: &Value| one["id"].as_str().unwrap().to_owned();
    documents.iter().flat_map(each).map(|one| (id(one), one.clone())).collect()
}

/// A document and the subsegments in it.
fn each(document: &Value) -> Vec<&Value> {
    let parts = document["subsegments"].as_array().into_iter().flatten();
    std::iter::once(document).chain(parts.flat_map(each)).collect()
}

/// The events of a log stream, each of which is a JSON object.
fn events(moto: &Moto, group: &str) -> Vec<Value> {
    let names = json!({"logGroupName": group, "logStreamName": "local", "startFromHead": true});
    let answer = moto.call("logs", "get_log_events", &names);
    let read = |one: &Value| serde_json::from_str(one["message"].as_str().unwrap()).unwrap();
    answer["events"].as_array().unwrap().iter().map(read).collect()
}

/// Ids and names of all spans that a backend took.
fn spans(backend: &Backend) -> BTreeMap<String, String> {
    let taken = backend.taken();
    let spans = taken.traces.iter().flat_map(|request| &request.resource_spans);
    let spans = spans.flat_map(|entry| &entry.scope_spans).flat_map(|scope| &scope.spans);
    let id = |id: &[u8]| u64::from_be_bytes(id.try_into().unwrap());
    spans.map(|span| (format!("{:016x}", id(&span.span_id)), span.name.clone())).collect()
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn one_address_instead_of_three_vendors() {
    let moto = Moto::start();
    let (honeycomb, honeycomb_port) = http_backend(KEY_HEADERS);
    let (http, xray) = (free_port(), free_port());
    let sidecar = Sidecar { http, xray, honeycomb: honeycomb_port, moto: moto.port };
    let mut doctor = sidecar.command();
    let skep = Skep::run(sidecar.command(), &[http, xray]);
    let report = doctor.arg("doctor").output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    assert_eq!(report.matches("ok    ").count(), 4, "{report}");

    let mut app = Command::new(sdk::python().join("python"));
    app.arg(sdk::sources().join("seed_app.py"));
    app.env("OTEL_SERVICE_NAME", "backend-flask");
    app.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{http}"));
    app.env("AWS_XRAY_DAEMON_ADDRESS", format!("127.0.0.1:{xray}"));
    let output = app.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let said: BTreeMap<_, _> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    wait_for("the segment", || segments(&moto, said["trace"]).contains_key(said["segment"]));
    assert!(skep.stop(), "nothing was lost");

    let of_sdk = segments(&moto, said["trace"]);
    check_sdk(&of_sdk, &said);
    let plain = said["otel_trace"];
    let trace = format!("1-{}-{}", &plain[..8], &plain[8..]);
    let of_otel = segments(&moto, &trace);
    let below = &of_otel[said["otel_span"]];
    let root = &of_otel[below["parent_id"].as_str().unwrap()];
    assert_eq!((&below["name"], &below["type"]), (&json!("home-activities"), &json!("subsegment")));
    assert_eq!(root["name"], "backend-flask");
    assert_eq!(root["http"]["request"]["url"], "http://localhost/api/activities/home");
    assert_eq!(root["http"]["response"]["status"], 200);

    // Honeycomb takes nothing without the key.
    let at_honeycomb = spans(&honeycomb);
    let name = |id: &str| at_honeycomb.get(id).map(String::as_str);
    assert_eq!(name(said["otel_span"]), Some("home-activities"));
    assert_eq!(name(below["parent_id"].as_str().unwrap()), Some("GET /api/activities/home"));
    assert_eq!(name(said["segment"]), Some("backend-flask"));
    assert_eq!(name(said["subsegment"]), Some("activities_home"));

    // The console looks in the groups that a segment names for records with its trace.
    let group = &root["aws"]["cloudwatch_logs"][0]["log_group"];
    assert_eq!(group, "/app/backend-flask");
    assert_eq!(of_sdk[said["segment"]]["aws"]["cloudwatch_logs"][0]["log_group"], *group);
    let records = events(&moto, group.as_str().unwrap());
    let record = records.iter().find(|one| one["xray_trace_id"] == trace.as_str()).unwrap();
    assert_eq!(record["body"], "1 activities shown");
    assert_eq!(record["attributes"]["segment"], said["segment"]);
    assert_eq!(record["resource"]["service.name"], "backend-flask");
    check_metric(&events(&moto, "/metrics/backend-flask"));
    let groups = moto.call("logs", "describe_log_groups", &json!({}));
    for group in ["/app/backend-flask", "/metrics/backend-flask"] {
        let mut all = groups["logGroups"].as_array().unwrap().iter();
        let found = all.find(|one| one["logGroupName"] == group).unwrap();
        assert_eq!(found["retentionInDays"], 7, "{group}");
    }
}

/// What the SDK of X-Ray sent, with what the application said.
fn check_sdk(documents: &BTreeMap<String, Value>, said: &BTreeMap<&str, &str>) {
    let (segment, below) = (&documents[said["segment"]], &documents[said["subsegment"]]);
    assert_eq!(segment["name"], "backend-flask");
    assert_eq!(segment["annotations"]["page"], "home");
    assert_eq!(segment["http"]["request"]["method"], "GET");
    let response = &segment["http"]["response"];
    assert_eq!(response["status"], 200);
    assert!(response["content_length"].as_i64().unwrap() > 100, "{response}");
    let about = &segment["aws"]["xray"];
    assert_eq!(about["sdk"], "X-Ray for Python");
    assert_eq!(about["sampling_rule_name"], "Default", "by a rule of skep");
    assert_eq!((&below["type"], &below["parent_id"]), (&json!("subsegment"), &segment["id"]));
    assert_eq!(below["name"], "activities_home");
    assert_eq!(below["annotations"]["user"], "andrew");
    assert_eq!(below["metadata"]["home"]["results"]["size"], 1);
}

/// The counter as what was added, without dimensions, since each costs.
fn check_metric(documents: &[Value]) {
    let mut all = documents.iter();
    let document = all.find(|one| !one["activities.shown"].is_null()).unwrap();
    assert_eq!(document["activities.shown"], 2.0);
    let directive = &document["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "backend-flask");
    assert_eq!(directive["Dimensions"], json!([[]]));
    assert_eq!(directive["Metrics"][0]["Name"], "activities.shown");
}
