//! The port of the X-Ray daemon's proxy, with an AWS of our own behind it: what is signed, what is
//! let through, and what SDKs are told while AWS does not answer.
#![cfg(feature = "aws")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    Skep,
    aws_backend::{Aws, KEY, SECRET, aws_backend},
    free_port, sdk, wait_for,
};

/// A command whose only AWS is the one it is told of.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    for file in ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"] {
        command.env(file, "/no/such/file");
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "ca-central-1");
    command
}

fn with_keys(mut command: Command) -> Command {
    command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    command
}

/// The receiver alone; gives its port.
fn start(mut command: Command, backend: u16, proxy: &str) -> (Skep, u16) {
    let port = free_port();
    let config = format!(
        "yaml:receivers:\n  awsxray:\n    endpoint: 127.0.0.1:{port}\n    \
         proxy_server: {{aws_endpoint: \"http://127.0.0.1:{backend}\", local_mode: true, {proxy}}}\n\
         exporters: {{nop: }}\n\
         service:\n  telemetry: {{logs: {{level: error}}, metrics: {{level: none}}}}\n  \
         pipelines: {{traces: {{receivers: [awsxray], exporters: [nop]}}}}\n"
    );
    command.args(["--control-endpoint", "off", "--config", &config]);
    (Skep::run(command, &[port]), port)
}

/// An AWS with rules in two pages, and skep before it.
fn proxied(proxy: &str) -> (Skep, u16, Arc<Mutex<Aws>>) {
    let (aws, backend) = aws_backend();
    aws.lock().unwrap().rules =
        vec![vec![rule("A", 10, "/a", 1, 0.5)], vec![rule("Default", 10_000, "*", 1, 0.05)]];
    let (skep, port) = start(with_keys(command()), backend, proxy);
    (skep, port, aws)
}

fn ask(port: u16, request: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: of the client\r\nx-amz-date: 20150830T123600Z\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// A rule as the API has it.
fn rule(name: &str, priority: u32, path: &str, reservoir: u32, rate: f64) -> Value {
    json!({
        "RuleName": name, "ResourceARN": "*", "Priority": priority, "FixedRate": rate,
        "ReservoirSize": reservoir, "ServiceName": "*", "ServiceType": "*", "Host": "*",
        "HTTPMethod": "*", "URLPath": path, "Version": 1, "Attributes": {},
        "RuleARN": format!("arn:aws:xray:ca-central-1:111122223333:sampling-rule/{name}"),
    })
}

fn names(answer: &Value) -> Vec<&str> {
    let records = answer["SamplingRuleRecords"].as_array().unwrap();
    records.iter().map(|one| one["SamplingRule"]["RuleName"].as_str().unwrap()).collect()
}

const REPORT: &str = "{\"SamplingStatisticsDocuments\": [{\"RuleName\": \"A\", \"ClientID\": \
    \"0123456789abcdef01234567\", \"RequestCount\": 3, \"SampledCount\": 1, \"BorrowCount\": 0, \
    \"Timestamp\": 1760600498}]}";

/// S01 and S03.
#[test]
fn sampling_calls_are_signed_and_others_are_refused() {
    let (skep, port, aws) = proxied("mode: proxy");
    let (status, answer) = ask(port, "POST /GetSamplingRules", "{}");
    assert_eq!((status, names(&answer)), (200, vec!["A", "Default"]), "both pages");
    assert_eq!(answer["NextToken"], Value::Null);
    let (status, answer) = ask(port, "POST /SamplingTargets", REPORT);
    assert_eq!((status, &answer["SamplingTargetDocuments"][0]["ReservoirQuota"]), (200, &7.into()));
    assert_eq!(ask(port, "POST /SamplingStatisticSummaries", "{}").0, 200);
    for (request, expected) in
        [("POST /TraceSegments", 403), ("POST /", 403), ("GET /GetSamplingRules", 405)]
    {
        let (status, answer) = ask(port, request, "{}");
        assert_eq!(status, expected, "{request}");
        assert!(answer["message"].is_string(), "{answer}");
    }
    let (status, answer) =
        ask(port, "POST /SamplingTargets", "{\"SamplingStatisticsDocuments\": 1}");
    assert_eq!((status, &answer["__type"]), (400, &"InvalidRequestException".into()));
    let mut aws = aws.lock().unwrap();
    assert_eq!(aws.faults, ["no statistics"], "that was the client's, and all were signed");
    let asked: Vec<&str> = aws.asked.iter().map(|(path, _)| &**path).collect();
    let [rules, targets, summaries] =
        ["/GetSamplingRules", "/SamplingTargets", "/SamplingStatisticSummaries"];
    assert_eq!(asked, [rules, rules, targets, summaries, targets]);
    assert_eq!(aws.asked.swap_remove(0).1, json!({}));
    drop(aws);
    assert!(skep.stop());
}

#[test]
fn a_body_that_is_too_large_is_not_read() {
    let (_skep, port, aws) = proxied("mode: proxy");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "POST /SamplingTargets HTTP/1.1\r\nhost: a\r\ncontent-length: 1048577\r\n\r\n")
        .unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 413"), "{line}");
    assert!(aws.lock().unwrap().asked.is_empty());
}

#[test]
fn any_path_is_signed_where_that_is_asked_for() {
    let (_skep, port, aws) = proxied("mode: proxy, allow_all_paths: true");
    let document = "{\\\"name\\\": \\\"n\\\", \\\"id\\\": \\\"1111111111111111\\\", \\\"trace_id\\\": \
        \\\"1-68f0a1b2-c3d4e5f60718293a4b5c6d7e\\\", \\\"start_time\\\": 1.5}";
    let body = format!("{{\"TraceSegmentDocuments\": [\"{document}\"]}}");
    assert_eq!(ask(port, "POST /TraceSegments", &body).0, 200);
    let aws = aws.lock().unwrap();
    assert_eq!(aws.taken[0][0]["name"], "n");
}

#[test]
fn while_aws_fails_its_last_rules_are_given_again() {
    let (_skep, port, aws) = proxied("mode: proxy");
    aws.lock().unwrap().refuse.push_back(503);
    let (status, answer) = ask(port, "POST /GetSamplingRules", "{}");
    assert_eq!((status, &answer["message"]), (503, &"Rate exceeded".into()), "there are none yet");
    let before = ask(port, "POST /GetSamplingRules", "{}");
    aws.lock().unwrap().refuse.extend([503, 429, 403]);
    assert_eq!(ask(port, "POST /GetSamplingRules", "{}"), before);
    let (status, answer) = ask(port, "POST /SamplingTargets", REPORT);
    let target = &answer["SamplingTargetDocuments"][0];
    assert_eq!((status, &target["RuleName"]), (200, &"A".into()));
    assert_eq!((&target["ReservoirQuota"], &target["FixedRate"]), (&1.into(), &0.5.into()));
    assert_eq!(ask(port, "POST /GetSamplingRules", "{}"), before);
    let (_, answer) = ask(port, "POST /SamplingTargets", REPORT);
    assert_eq!(answer["SamplingTargetDocuments"][0]["ReservoirQuota"], 7, "AWS is back");
}

#[test]
fn merged_rules_are_those_of_aws_and_before_it_those_configured() {
    let rules = "mode: merge, rules: [{rule_name: own, url_path: /own}]";
    let (_skep, port, aws) = proxied(rules);
    // 404 is what stand-ins of AWS answer that know no sampling.
    aws.lock().unwrap().refuse.extend([503, 404, 503]);
    for _ in 0..2 {
        let (status, answer) = ask(port, "POST /GetSamplingRules", "{}");
        assert_eq!((status, names(&answer)), (200, vec!["own", "Default"]));
    }
    let report = REPORT.replace("\"A\"", "\"own\"");
    let (_, answer) = ask(port, "POST /SamplingTargets", &report);
    assert_eq!(answer["SamplingTargetDocuments"][0]["RuleName"], "own");
    assert_eq!(names(&ask(port, "POST /GetSamplingRules", "{}").1), ["A", "Default"]);
    aws.lock().unwrap().refuse.push_back(503);
    assert_eq!(names(&ask(port, "POST /GetSamplingRules", "{}").1), ["A", "Default"]);
}

#[test]
fn an_aws_that_is_not_there_is_named() {
    let (_skep, port) = start(with_keys(command()), free_port(), "mode: proxy");
    let (status, answer) = ask(port, "POST /GetSamplingRules", "{}");
    assert_eq!(status, 502);
    assert!(answer["message"].as_str().unwrap().contains("connection refused"), "{answer}");
}

/// Neither the start nor datagrams wait for credentials.
#[test]
fn without_credentials_the_reason_is_told_and_segments_are_taken() {
    let (aws, backend) = aws_backend();
    let (skep, port) = start(command(), backend, "");
    let (status, answer) = ask(port, "POST /GetSamplingRules", "{}");
    let said = answer["message"].as_str().unwrap();
    assert_eq!(status, 503);
    assert!(said.contains("AWS_ACCESS_KEY_ID") && said.contains("ca-central-1"), "{said}");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"{\"format\":\"json\",\"version\":1}\n{}", ("127.0.0.1", port)).unwrap();
    assert!(aws.lock().unwrap().faults.is_empty(), "nothing went out unsigned");
    assert!(skep.stop());
}

/// Gives credentials as the agent of a task does, others each time.
fn agent() -> (u16, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let given = Arc::new(Mutex::new(0));
    let count = Arc::clone(&given);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            let mut count = count.lock().unwrap();
            *count += 1;
            let body = json!({
                "AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": format!("session {count}"),
                "Expiration": "2099-01-01T00:00:00Z",
            })
            .to_string();
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {length}\r\n\r\n{body}"
            );
        }
    });
    (port, given)
}

#[test]
fn a_session_that_has_ended_is_renewed() {
    let (aws, backend) = aws_backend();
    aws.lock().unwrap().rules = vec![vec![rule("A", 10, "/a", 1, 0.5)]];
    let (port, given) = agent();
    let mut command = command();
    let uri = format!("http://127.0.0.1:{port}/credentials");
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri);
    let (_skep, port) = start(command, backend, "mode: proxy");
    assert_eq!(ask(port, "POST /GetSamplingRules", "{}").0, 200);
    let before = *given.lock().unwrap();
    assert_eq!(ask(port, "POST /GetSamplingRules", "{}").0, 200);
    assert_eq!(*given.lock().unwrap(), before, "credentials are kept");
    aws.lock().unwrap().ended.extend((0..=before).map(|number| format!("session {number}")));
    assert_eq!(ask(port, "POST /GetSamplingRules", "{}").0, 200);
    assert_eq!(*given.lock().unwrap(), before + 1);
    assert!(aws.lock().unwrap().faults.is_empty());
}

#[test]
fn a_clock_that_is_wrong_is_corrected() {
    for ahead in [3600, -3600] {
        let (_skep, port, aws) = proxied("mode: proxy");
        aws.lock().unwrap().ahead = Some(ahead);
        assert_eq!(ask(port, "POST /SamplingTargets", REPORT).0, 200, "{ahead}");
        assert_eq!(ask(port, "POST /SamplingTargets", REPORT).0, 200, "{ahead}");
        assert_eq!(aws.lock().unwrap().asked.len(), 2);
    }
}

/// Runs a client; what it said by the first word of each line.
fn client(command: &mut Command) -> BTreeMap<String, String> {
    let output = command.env_remove("AWS_XRAY_DAEMON_ADDRESS").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let words = said.lines().filter_map(|line| line.split_once(' '));
    words.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// S05 and S07 with the SDKs as they are, and `skep xray` in the place of the daemon from end to
/// end. A document and the subsegments in it.
fn each(document: &Value) -> Vec<&Value> {
    let parts = document["subsegments"].as_array().into_iter().flatten();
    std::iter::once(document).chain(parts.flat_map(each)).collect()
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn skep_xray_takes_the_place_of_the_daemon() {
    let (aws, backend) = aws_backend();
    let always = |name, priority, path| rule(name, priority, path, 100, 1.0);
    aws.lock().unwrap().rules = vec![vec![
        always("A", 10, "/both"),
        always("B", 5, "/both"),
        always("b", 7, "/same"),
        always("a", 7, "/same"),
        always("api", 20, "/api/*"),
        always("node", 30, "/node/?"),
        rule("Default", 10_000, "*", 0, 0.0),
    ]];
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("daemon.log");
    let file = folder.path().join("cfg.yaml");
    let text = format!("Version: 2\nEndpoint: http://127.0.0.1:{backend}\nRegion: eu-west-1\n");
    std::fs::write(&file, text).unwrap();
    let mut command = with_keys(command());
    command.args([
        "xray",
        "xray",
        "-o",
        "-b",
        &address,
        "--bind-tcp",
        &address,
        "-n",
        "ca-central-1",
    ]);
    command.arg("-config").arg(&file).arg(format!("--log-file={}", log.display()));
    command.args(["-m", "32", "-control-endpoint", "off"]);
    let skep = Skep::run(command, &[port]);

    let mut app = Command::new(sdk::python().join("python"));
    app.arg(sdk::sources().join("xray_proxy.py")).arg(&address);
    let said = client(app.args(["/both", "/same", "/API/x", "/apix"]));
    assert_eq!((&*said["/both"], &*said["/same"]), ("B", "a"), "by priority, then by name");
    assert_eq!((&*said["/API/x"], &*said["/apix"]), ("api", "False"), "in either case");
    assert_eq!(said["quota"], "7", "the target is that of AWS");
    let mut app = Command::new("node");
    app.current_dir(sdk::node()).arg(sdk::sources().join("xray_node.mjs")).arg(&address);
    let node = client(&mut app);
    assert_eq!(node["rule"], "node");

    let find = |id: &str| {
        let aws = aws.lock().unwrap();
        assert!(aws.faults.is_empty(), "{:?}", aws.faults);
        aws.taken.iter().flatten().flat_map(each).find(|one| one["id"] == id).cloned()
    };
    let all = [&said["root"], &said["child"], &node["root"], &node["child"]];
    wait_for("the segments", || all.iter().all(|id| find(id).is_some()));
    let root = find(&said["root"]).unwrap();
    assert_eq!(
        (&root["name"], &root["trace_id"]),
        (&"backend-flask".into(), &(&*said["trace"]).into())
    );
    assert_eq!(root["annotations"]["user"], "andrew");
    assert_eq!(root["http"]["request"]["url"], "http://shop.test/api/activities");
    assert_eq!(root["http"]["response"]["status"], 200);
    let child = find(&said["child"]).unwrap();
    assert_eq!((&child["parent_id"], &child["namespace"]), (&root["id"], &"remote".into()));
    let root = find(&node["root"]).unwrap();
    assert_eq!((&root["name"], &root["trace_id"]), (&"node app".into(), &(&*node["trace"]).into()));
    let child = find(&node["child"]).unwrap();
    assert_eq!(child["parent_id"], root["id"]);
    assert_eq!(child["cause"]["exceptions"][0]["message"], "no rows");

    assert!(skep.stop(), "nothing was lost");
    let log = std::fs::read_to_string(log).unwrap();
    let batches = log.lines().filter(|line| {
        line.contains("Successfully sent batch of ") && line.contains(" segments (")
    });
    assert!(log.contains("Using region: ca-central-1") && batches.count() > 0, "{log}");
    assert!(!log.contains(SECRET), "the secret is never told");
}
