//! The receiver `awscloudwatchlogs` under real clients of CloudWatch Logs: watchtower, boto3, the
//! AWS SDK for JavaScript, and a raw one that is as picky as fluent-bit. What they sent has to come
//! out at a backend that shares no code with skep.

use std::{
    fs,
    io::{BufReader, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
};
use serde_json::{Value, json};

use crate::support::{
    Skep, backend::Backend, free_port, http_backend::http_backend, sdk, stand_in, wait_for,
};

/// skep between clients and a backend; `receiver` are keys of the receiver, `exporter` of the
/// exporter, both with their indentation.
fn start(backend: u16, receiver: &str, exporter: &str) -> (Skep, u16) {
    let port = free_port();
    let config = format!(
        "receivers:\n  awscloudwatchlogs:\n    endpoint: 127.0.0.1:{port}\n{receiver}\
         exporters:\n  otlp_http:\n    endpoint: http://127.0.0.1:{backend}\n{exporter}\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         logs: {{receivers: [awscloudwatchlogs], exporters: [otlp_http]}}\n"
    );
    (Skep::start(&config, &[port]), port)
}

/// A client with credentials that know skep as CloudWatch Logs.
pub(crate) fn client(mut command: Command, variable: &str, port: u16) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env(variable, format!("http://127.0.0.1:{port}"))
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_DEFAULT_REGION", "eu-west-1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

pub(crate) const OWN: &str = "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS";

/// Runs a client and gives what it printed.
pub(crate) fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Python with one of the lists of packages in `tests/clients/aws`.
pub(crate) fn python(list: &str) -> PathBuf {
    let file = sdk::sources().join("aws").join(format!("{list}.txt"));
    sdk::python_with(list, &[file]).join("python")
}

fn watchtower(list: &str, variable: &str, port: u16, options: &Value) -> String {
    let mut command = client(Command::new(python(list)), variable, port);
    command.arg(sdk::sources().join("watchtower_app.py"));
    command.args(["/app/shop", &options.to_string()]);
    output(command)
}

/// The records at the backend, each with the attributes of its resource.
pub(crate) fn arrived(backend: &Backend) -> Vec<(Vec<KeyValue>, LogRecord)> {
    let taken = backend.taken();
    let entries = taken.logs.iter().flat_map(|request| &request.resource_logs);
    entries
        .flat_map(|entry| {
            let attributes = &entry.resource.as_ref().unwrap().attributes;
            let records = entry.scope_logs.iter().flat_map(|scope| &scope.log_records);
            records.map(|record| (attributes.clone(), record.clone()))
        })
        .collect()
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Any> {
    attributes.iter().find(|one| one.key == key)?.value.as_ref()?.value.as_ref()
}

/// The text of a value, or the first one of a list.
fn text(value: Option<&Any>) -> &str {
    match value {
        Some(Any::StringValue(text)) => text,
        Some(Any::ArrayValue(list)) => text(list.values.first().and_then(|one| one.value.as_ref())),
        _ => "",
    }
}

pub(crate) fn body(record: &LogRecord) -> &str {
    text(record.body.as_ref().and_then(|body: &AnyValue| body.value.as_ref()))
}

/// What the application of `watchtower_app.py` logs beside its lines.
fn check_shop(all: &[(Vec<KeyValue>, LogRecord)], tags: bool) {
    let [(resource, plain), (_, slow), (_, failed), (_, long)] = &all[..4] else { panic!("4") };
    assert_eq!(text(find(resource, "aws.log.group.names")), "/app/shop");
    assert!(text(find(resource, "aws.log.stream.names")).contains("shop"));
    assert_eq!(text(find(resource, "service.name")), "/app/shop");
    assert_eq!(text(find(resource, "cloud.region")), "eu-west-1");
    assert_eq!(body(plain), "INFO:shop:cart of J\u{fc}rgen \u{1f600}");
    assert_eq!((plain.severity_number, &*plain.severity_text), (9, "INFO"));
    assert!(plain.time_unix_nano.abs_diff(now_nanos()) < 120_000_000_000);
    assert!(body(slow).contains("slow"), "{slow:?}");
    assert_eq!((failed.severity_number, body(failed).lines().count() > 3), (17, true));
    assert_eq!(text(find(&failed.attributes, "exception.type")), "KeyError");
    assert_eq!(text(find(&failed.attributes, "exception.message")), "'cart'");
    assert!(body(long).len() > 262_000, "{}", body(long).len());
    let days = find(resource, "aws.log.group.retention_days");
    assert_eq!(days, tags.then_some(&Any::IntValue(7)));
    let Some(Any::KvlistValue(found)) = find(resource, "aws.log.group.tags") else {
        return assert!(!tags);
    };
    assert_eq!(text(find(&found.values, "team")), "web");
}

fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn now() -> u64 {
    now_nanos() / 1_000_000
}

// ---- watchtower ----------------------------------------------------------------------------

/// All that its options ask for: STS for the tags, retention, the group.
#[test]
#[ignore = "needs SDKs of other languages"]
fn the_newest_watchtower_delivers_everything_without_a_warning() {
    let (backend, at) = http_backend(&[]);
    let (skep, port) = start(at, "", "");
    let options =
        json!({"log_group_tags": {"team": "web"}, "log_group_retention_days": 7, "lines": 2500});
    let told = watchtower("watchtower-new", "AWS_ENDPOINT_URL", port, &options);
    let told: Vec<&str> = told.lines().filter(|line| !line.is_empty()).collect();
    assert!(
        told.iter().all(|line| line.contains("truncated") || line.contains("size")),
        "{told:?}"
    );
    assert!(skep.stop());
    let all = arrived(&backend);
    assert_eq!(all.len(), 2504);
    check_shop(&all, true);
    let lines: Vec<&str> = all[4..].iter().map(|(_, record)| body(record)).collect();
    assert!(lines.is_sorted() && lines[2499].ends_with("line 002499"), "each once, in order");
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn the_oldest_watchtower_delivers_everything_without_a_warning() {
    let (backend, at) = http_backend(&[]);
    let (skep, port) = start(at, "", "");
    let told = watchtower("watchtower-old", OWN, port, &json!({"lines": 10}));
    assert!(!told.contains("Failed"), "{told}");
    assert!(skep.stop());
    let all = arrived(&backend);
    assert_eq!(all.len(), 14);
    check_shop(&all, false);
}

/// Attributes make each record a JSON object, which becomes a map.
#[test]
#[ignore = "needs SDKs of other languages"]
fn objects_of_watchtower_are_maps_with_their_level() {
    let (backend, at) = http_backend(&[]);
    let (skep, port) = start(at, "", "");
    let options = json!({"attrs": ["levelname", "exc_text"], "create_log_group": false});
    watchtower("watchtower-new", OWN, port, &options);
    assert!(skep.stop());
    let all = arrived(&backend);
    let [(_, plain), (_, slow), ..] = &all[..] else { panic!("{all:?}") };
    let Some(Any::KvlistValue(map)) = &plain.body.as_ref().unwrap().value else { panic!("a map") };
    assert!(text(find(&map.values, "msg")).starts_with("cart of"));
    assert_eq!((plain.severity_number, slow.severity_number), (9, 13));
    assert_eq!((slow.trace_id[0], slow.trace_id.len()), (0x68, 16));
}

/// A handler is made, and logs are taken as long as there is room. Then watchtower is told to wait,
/// which it does for some seconds, and the application ends.
#[test]
#[ignore = "needs SDKs of other languages"]
fn an_application_starts_and_ends_while_the_queue_is_full() {
    let nobody = free_port();
    let (skep, port) = start(nobody, "", "    sending_queue: {queue_size: 1}\n");
    let begin = Instant::now();
    while put(port, "s", &["fills the queue"]).0 == 200 {
        assert!(begin.elapsed() < Duration::from_secs(30), "the queue is never full");
    }
    let (status, _, answer) = put(port, "s", &["one more"]);
    assert_eq!((status, &answer["__type"]), (400, &json!("ThrottlingException")));
    let told = watchtower("watchtower-new", OWN, port, &json!({}));
    assert!(told.contains("Failed to deliver"), "{told}");
    assert!(begin.elapsed() > Duration::from_secs(5), "it had patience");
    drop(skep);
}

// ---- SDKs ----------------------------------------------------------------------------------

#[test]
#[ignore = "needs SDKs of other languages"]
fn boto3_is_answered_as_by_cloudwatch() {
    let (backend, at) = http_backend(&[]);
    let (skep, port) = start(at, "", "");
    let mut boto = client(Command::new(python("watchtower-new")), OWN, port);
    boto.arg(sdk::sources().join("boto_logs.py"));
    let said: Value = serde_json::from_str(&output(boto)).unwrap();
    for (name, code) in [
        ("again", "ResourceAlreadyExistsException"),
        ("stream_again", "ResourceAlreadyExistsException"),
        ("bad", "InvalidParameterException"),
        ("read", "UnsupportedOperationException"),
        ("lost", "ResourceNotFoundException"),
    ] {
        assert_eq!(said[name], code, "{name}");
    }
    let info = json!({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2});
    assert_eq!(said["put"]["rejectedLogEventsInfo"], info);
    assert_eq!(said["made"].get("rejectedLogEventsInfo"), None);
    let groups = said["groups"].as_array().unwrap();
    let names: Vec<&Value> = groups.iter().map(|group| &group["logGroupName"]).collect();
    assert_eq!(names, ["/app/boto", "/app/made"]);
    assert_eq!(groups[0]["retentionInDays"], 30);
    assert_eq!(groups[0]["logGroupClass"], "INFREQUENT_ACCESS");
    assert_eq!(said["streams"]["logStreams"][0]["logStreamName"], "a");
    assert!(skep.stop());
    let bodies: Vec<usize> =
        arrived(&backend).iter().map(|(_, record)| body(record).len()).collect();
    assert_eq!(bodies, [4, 4, 1_048_550]);
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn the_sdk_for_javascript_is_answered_as_by_cloudwatch() {
    let folder = sdk::sources().join("aws");
    let lists = ["package.json", "package-lock.json"].map(|file| folder.join(file));
    let home = sdk::installed("node-aws", &lists, |home| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(folder.join(file), home.join(file)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(home);
        sdk::run(&mut npm, "install Node.js 20 or later with npm, which needs a package registry");
    });
    fs::copy(folder.join("logs.mjs"), home.join("logs.mjs")).unwrap();
    let (backend, at) = http_backend(&[]);
    let (skep, port) = start(at, "", "");
    let mut node = client(Command::new("node"), OWN, port);
    node.arg(home.join("logs.mjs"));
    output(node);
    assert!(skep.stop());
    let all = arrived(&backend);
    assert_eq!(all.len(), 1000);
    assert!(all.iter().all(|(_, record)| record.severity_number == 17));
}

/// The signature of a real SDK is verified; with another secret or without one there is no way in.
#[test]
#[ignore = "needs SDKs of other languages"]
fn only_clients_with_the_secret_write_where_signatures_are_verified() {
    let (backend, at) = http_backend(&[]);
    let keys = "    sigv4: {keys: [{access_key_id: AKIDEXAMPLE, secret_access_key: secret}]}\n";
    let (skep, port) = start(at, keys, "");
    let boto = |secret: &str| {
        let mut boto = client(Command::new(python("watchtower-new")), OWN, port);
        boto.env("AWS_SECRET_ACCESS_KEY", secret).arg(sdk::sources().join("boto_logs.py"));
        serde_json::from_str::<Value>(&output(boto))
    };
    assert_eq!(boto("secret").unwrap()["put"]["nextSequenceToken"], "1");
    let wrong = python("watchtower-new");
    let mut wrong = client(Command::new(wrong), OWN, port);
    wrong.env("AWS_SECRET_ACCESS_KEY", "other").arg(sdk::sources().join("boto_logs.py"));
    let refused = wrong.output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("InvalidSignatureException"));
    let (status, _, answer) = put(port, "s", &["not signed"]);
    assert_eq!((status, &answer["__type"]), (400, &json!("MissingAuthenticationTokenException")));
    assert!(skep.stop());
    assert_eq!(arrived(&backend).len(), 3);
}

// ---- a raw client ----------------------------------------------------------------------------

/// Sends one request; gives the status, the head in lower case, and the body.
fn call(port: u16, operation: &str, headers: &str, body: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: logs\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: Logs_20140328.{operation}\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let (head, body) = stand_in::message(&mut BufReader::new(&stream)).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // fluent-bit takes an answer without it for none.
    assert!(head.to_lowercase().contains("x-amzn-requestid: "), "{head}");
    (status, head.to_lowercase(), serde_json::from_slice(&body).unwrap())
}

pub(crate) fn events(stream: &str, messages: &[&str]) -> Vec<u8> {
    let events: Vec<Value> =
        messages.iter().map(|text| json!({"timestamp": now(), "message": text})).collect();
    let body = json!({"logGroupName": "/app/raw", "logStreamName": stream, "logEvents": events});
    body.to_string().into_bytes()
}

fn put(port: u16, stream: &str, messages: &[&str]) -> (u16, String, Value) {
    call(port, "PutLogEvents", "", &events(stream, messages))
}

/// As fluent-bit: the stream, then events at once, in the encodings that there are.
#[test]
fn a_stream_without_a_group_is_made_and_written_in_every_encoding() {
    let (backend, at) = http_backend(&[]);
    let (skep, port) = start(at, "", "");
    let names = json!({"logGroupName": "/app/raw", "logStreamName": "s"}).to_string();
    assert_eq!(call(port, "CreateLogStream", "", names.as_bytes()).0, 200);
    let (_, _, again) = call(port, "CreateLogStream", "", names.as_bytes());
    assert_eq!(again["__type"], "ResourceAlreadyExistsException");
    assert_eq!(put(port, "s", &["plain"]).0, 200);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&events("s", &["packed"])).unwrap();
    let packed = packed.finish().unwrap();
    let header = "content-encoding: gzip\r\nx-amzn-logs-format: json/emf\r\n";
    assert_eq!(call(port, "PutLogEvents", header, &packed).0, 200);
    let whole = events("s", &["in chunks"]);
    let mut chunks = Vec::new();
    for part in whole.chunks(50) {
        chunks.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunks.extend_from_slice(part);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(call(port, "PutLogEvents", "content-encoding: aws-chunked\r\n", &chunks).0, 200);
    let mut of_service: Value = serde_json::from_slice(&events("s", &["of a service"])).unwrap();
    of_service["entity"] = json!({"keyAttributes": {"Type": "Service", "Name": "shop"}});
    let of_service = of_service.to_string().into_bytes();
    assert_eq!(call(port, "PutLogEvents", "", &of_service).0, 200);
    let (status, _, answer) = call(port, "PutLogEvents", "content-encoding: gzip\r\n", b"no gzip");
    assert_eq!((status, &answer["__type"]), (400, &json!("SerializationException")));
    assert_eq!(call(port, "Nope", "", b"{}").2["__type"], "UnknownOperationException");
    assert!(skep.stop());
    let mut all: Vec<(String, String)> = arrived(&backend)
        .iter()
        .map(|(resource, record)| {
            let service = text(find(resource, "service.name"));
            (body(record).to_owned(), service.to_owned())
        })
        .collect();
    all.sort_unstable();
    let expected = [
        ("in chunks", "/app/raw"),
        ("of a service", "shop"),
        ("packed", "/app/raw"),
        ("plain", "/app/raw"),
    ];
    assert_eq!(all, expected.map(|(body, service)| (body.to_owned(), service.to_owned())));
}

/// To CloudWatch again: the same group, stream and messages, and a group as its client asked.
#[cfg(feature = "aws")]
#[test]
fn what_goes_on_to_cloudwatch_is_as_it_came() {
    let (logs, at) = crate::support::logs_backend::logs_backend();
    let port = free_port();
    let config = format!(
        "receivers:\n  awscloudwatchlogs:\n    endpoint: 127.0.0.1:{port}\n\
         exporters:\n  awscloudwatchlogs:\n    endpoint: http://127.0.0.1:{at}\n    \
         region: ca-central-1\n    log_group_name: \"{{aws.log.group.names}}\"\n    \
         log_stream_name: \"{{aws.log.stream.names}}\"\n    raw_log: true\n    log_retention: 3\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         logs: {{receivers: [awscloudwatchlogs], exporters: [awscloudwatchlogs]}}\n"
    );
    let mut command = client(Command::new(env!("CARGO_BIN_EXE_skep")), "AWS_UNUSED", 1);
    command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
    let skep = Skep::run(command, &[port]);
    let group = json!({"logGroupName": "/app/raw", "tags": {"team": "web"}}).to_string();
    assert_eq!(call(port, "CreateLogGroup", "", group.as_bytes()).0, 200);
    let days = json!({"logGroupName": "/app/raw", "retentionInDays": 30}).to_string();
    assert_eq!(call(port, "PutRetentionPolicy", "", days.as_bytes()).0, 200);
    let object = r#"{"levelname":"INFO","n":[1,2.5,null],"m":{"k":"v"}}"#;
    // The largest event that CloudWatch takes.
    let long = "y".repeat((1 << 20) - 26);
    assert_eq!(put(port, "web/1", &["a text", object]).0, 200);
    assert_eq!(put(port, "web/2", &[&long]).0, 200);
    wait_for("the events", || logs.lock().unwrap().messages("/app/raw", "web/1").len() == 2);
    assert!(skep.stop());
    let logs = logs.lock().unwrap();
    assert_eq!(logs.messages("/app/raw", "web/1"), ["a text", object]);
    assert_eq!(logs.messages("/app/raw", "web/2"), [long]);
    assert_eq!(logs.groups["/app/raw"]["tags"], json!({"team": "web"}));
    assert_eq!(logs.groups["/app/raw"]["retentionInDays"], 30);
}
