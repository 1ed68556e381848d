//! `skep doctor` with `pipelines/aws-sidecar.yaml`: what keeps data from arriving is named with
//! its remedy, each backend by itself. That all is well against moto is in `seed.rs`.
#![cfg(feature = "aws")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use crate::support::{Skep, authority::Authority, free_port, http_backend::http_backend};

const KEY_HEADERS: &[&str] = &["x-honeycomb-team: hcaik_for_a_test"];
const AWS: [&str; 3] = ["awsxray (traces)", "awsemf (metrics)", "awscloudwatchlogs (logs)"];

/// An AWS that answers everything with one status and error; each request is handled alone.
fn aws(status: u16, code: &'static str, message: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(&stream, status, code, message);
        }
    });
    port
}

fn answer(stream: &TcpStream, status: u16, code: &str, message: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let length = head.to_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
    reader.read_exact(&mut vec![0; length.map_or(0, |text| text.parse().unwrap())])?;
    let body = serde_json::json!({"__type": code, "message": message}).to_string();
    let length = body.len();
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status} x\r\nx-amzn-errortype: {code}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// What it says, and its exit code. `honeycomb` is told with its key, `environment` is all of AWS
/// that there is.
fn doctor(honeycomb: (u16, &str), aws: u16, environment: &[(&str, &str)]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/aws-sidecar.yaml");
    command.args(["doctor", "--config"]).arg(file);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    let nowhere = tempfile::tempdir().unwrap();
    command
        .env("HOME", nowhere.path())
        .env("AWS_CONFIG_FILE", nowhere.path().join("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", nowhere.path().join("credentials"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HONEYCOMB_API_KEY", honeycomb.1)
        .env_remove("SKEP_CONFIG")
        .envs(environment.iter().copied());
    for (exporter, port) in
        [("honeycomb", honeycomb.0), ("awsxray", aws), ("awsemf", aws), ("awscloudwatchlogs", aws)]
    {
        let value = format!("exporters::{exporter}::endpoint=http://127.0.0.1:{port}");
        command.args(["--set", &value]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (text, output.status.code().unwrap())
}

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "secret-of-a-test"),
    ("AWS_REGION", "us-east-1"),
];

/// The mark of an exporter and what was found of it.
fn of<'r>(report: &'r str, exporter: &str) -> (&'r str, &'r str) {
    let mut lines = report.lines();
    let line = lines.find(|line| line.contains(exporter)).unwrap_or_else(|| panic!("{report}"));
    (line.split(' ').next().unwrap(), lines.next().unwrap().trim())
}

/// What is said of an exporter that would not accept data has all of `words`.
fn fails(report: &str, exporter: &str, words: &[&str]) {
    let (mark, said) = of(report, exporter);
    assert_eq!(mark, "FAIL", "{report}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
    for noise in ["Failure {", "Error {", "\\\"", "secret-of-a-test"] {
        assert!(!said.contains(noise), "{said}");
    }
}

#[test]
fn a_key_that_honeycomb_does_not_know_is_named() {
    let (_honeycomb, port) = http_backend(KEY_HEADERS);
    let (report, code) = doctor((port, "hcaik_mistyped"), aws(200, "", ""), &KEYS);
    fails(&report, "honeycomb (traces)", &["refused the API key", "401", "region: eu"]);
    for exporter in AWS {
        let (mark, said) = of(&report, exporter);
        assert_eq!(mark, "ok", "{report}");
        assert!(said.contains("region us-east-1 by AWS_REGION"), "{said}");
        assert!(said.contains("credentials from environment"), "{said}");
    }
    assert!(report.ends_with("\n1 of 4 would not accept data\n"), "{report}");
    assert_eq!(code, 74);
    assert!(!report.contains("hcaik"), "no key is shown");
}

#[test]
fn without_credentials_it_says_where_they_are_looked_for() {
    let (_honeycomb, port) = http_backend(KEY_HEADERS);
    let backend = aws(200, "", "");
    let empty =
        [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SESSION_TOKEN", "")];
    // A compose file hands on variables that nobody has set as empty ones.
    for given in [&[][..], &empty] {
        let environment = [given, &[("AWS_DEFAULT_REGION", "us-east-1")]].concat();
        let (report, code) = doctor((port, "hcaik_for_a_test"), backend, &environment);
        let words = ["AWS_ACCESS_KEY_ID", "~/.aws", "role", "us-east-1 by AWS_DEFAULT_REGION"];
        for exporter in AWS {
            fails(&report, exporter, &words);
        }
        assert_eq!(of(&report, "honeycomb").0, "ok", "{report}");
        assert_eq!(code, 74);
    }
    let (report, _) = doctor((port, "hcaik_for_a_test"), backend, &KEYS[..2]);
    for exporter in AWS {
        fails(&report, exporter, &["the AWS region is unknown", "AWS_REGION"]);
    }
}

#[test]
fn an_action_that_is_not_allowed_is_named() {
    let (_honeycomb, port) = http_backend(KEY_HEADERS);
    let denied = aws(403, "AccessDeniedException", "User: arn:aws:sts::1:x is not authorized");
    let (report, code) = doctor((port, "hcaik_for_a_test"), denied, &KEYS);
    let words = ["allow the action `xray:PutTraceSegments`", "User: arn:aws:sts::1:x"];
    fails(&report, "awsxray (traces)", &words);
    for exporter in &AWS[1..] {
        fails(&report, exporter, &["allow the action `logs:PutLogEvents`"]);
    }
    assert_eq!(code, 74);
}

#[test]
fn a_session_that_has_ended_and_a_key_that_is_not_known_are_told_apart() {
    let (_honeycomb, port) = http_backend(KEY_HEADERS);
    let session = [&KEYS[..], &[("AWS_SESSION_TOKEN", "ended")]].concat();
    let message = "The security token included in the request is";
    for (code, remedy) in [
        ("ExpiredTokenException", "the session has expired: provide new credentials"),
        ("UnrecognizedClientException", "AWS does not know this access key"),
        ("InvalidSignatureException", "the secret key is wrong, or the clock"),
    ] {
        let refusing = aws(400, code, message);
        let (report, _) = doctor((port, "hcaik_for_a_test"), refusing, &session);
        for exporter in AWS {
            fails(&report, exporter, &[code, message, remedy]);
        }
        assert!(report.ends_with("\n3 of 4 would not accept data\n"), "{report}");
    }
}

#[test]
fn where_nobody_listens_the_way_there_is_asked_for() {
    let (report, code) = doctor((free_port(), "hcaik_for_a_test"), free_port(), &KEYS);
    fails(&report, "honeycomb (traces)", &["cannot connect", "connection refused"]);
    let words = ["cannot reach AWS", "connection refused", "VPC endpoint"];
    for exporter in AWS {
        fails(&report, exporter, &words);
    }
    assert!(report.ends_with("\n4 of 4 would not accept data\n"), "{report}");
    assert_eq!(code, 74);
}

/// Ports that are in use are no fault: a running skep has them.
#[test]
fn receivers_are_listed_with_what_applications_are_told() {
    let [otlp, logs, items] = [(); 3].map(|()| free_port());
    let config = format!(
        "yaml:receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}\n  \
         awscloudwatchlogs: {{endpoint: '127.0.0.1:{logs}'}}\n  \
         rollbar/pages: {{endpoint: '127.0.0.1:{items}'}}\nexporters:\n  nop:\nservice:\n  \
         pipelines:\n    \
         logs: {{receivers: [otlp, awscloudwatchlogs, rollbar/pages], exporters: [nop]}}\n"
    );
    let doctor = |control: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command
            .args(["doctor", "--control-endpoint", control, "--config", &config])
            .env_remove("SKEP_CONFIG");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let expected = format!(
        "in    otlp <- http 127.0.0.1:{otlp}\n      \
         OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:{otlp}\n      \
         OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n      OTEL_SERVICE_NAME=my-service\n\
         in    awscloudwatchlogs <- http 127.0.0.1:{logs}\n      \
         AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://localhost:{logs}\n\
         in    rollbar/pages <- http 127.0.0.1:{items}\n      \
         rollbar.init(..., endpoint='http://localhost:{items}/api/1/')\n      \
         pages     http://localhost:*, http://127.0.0.1:*\n      \
         url       http://localhost:{items}/api/1/item/\n      \
         code      new Rollbar({{ accessToken: token, endpoint: \
         'http://localhost:{items}/api/1/item/' }})\n\
         ok    nop (logs)"
    );
    let report = doctor("off");
    assert!(report.starts_with(&expected), "{report}");
    let held = TcpListener::bind(("127.0.0.1", items)).unwrap();
    let busy = |who: &str| {
        format!(
            "in    rollbar/pages <- http 127.0.0.1:{items}\n      127.0.0.1:{items}: in use, {who}\n      \
             rollbar.init(..., endpoint='http://localhost:{items}/api/1/')\n"
        )
    };
    let nobody = "but no skep answers at 127.0.0.1:9; stop the program that has it, or choose \
                  another address";
    let report = doctor("127.0.0.1:9");
    assert!(report.contains(&busy(nobody)), "{report}");
    let report = doctor("off");
    assert!(report.contains(&busy("maybe by a running skep")), "{report}");
    drop(held);
    let control = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--config", &config, "--set", "service::telemetry::metrics::level=none"]);
    command.args(["--control-endpoint", &control]).env_remove("SKEP_CONFIG");
    let mut skep = Skep(command.stderr(Stdio::null()).spawn().unwrap());
    skep.listens(&[items]);
    let report = doctor(&control);
    assert!(report.contains(&busy("probably by the running skep")), "{report}");
    assert!(skep.stop());
}

/// A browser asks before a page may send, and so does doctor: over TLS, too, and of what runs there
/// and not of the file.
#[test]
fn ports_for_pages_are_asked_as_a_browser_would() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new().write(folder.path());
    let [plain, secure] = [(); 2].map(|()| free_port());
    let config = |origin: &str| {
        let folder = folder.path().display();
        let port = |id: &str, port: u16, more: &str| {
            format!(
                "  otlp/{id}:\n    protocols:\n      http:\n        endpoint: '127.0.0.1:{port}'\n        \
                 cors: {{allowed_origins: ['{origin}']}}\n        public: {{}}\n{more}"
            )
        };
        let tls = format!(
            "        tls: {{cert_file: '{folder}/cert.pem', key_file: '{folder}/key.pem'}}\n"
        );
        let receivers = port("plain", plain, "") + &port("secure", secure, &tls);
        format!(
            "receivers:\n{receivers}exporters:\n  nop:\nservice:\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines:\n    traces: {{receivers: [otlp/plain, otlp/secure], exporters: [nop]}}\n"
        )
    };
    let doctor = |origin: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command
            .args(["doctor", "--control-endpoint", "off"])
            .args(["--config", &format!("yaml:{}", config(origin))])
            .env_remove("SKEP_CONFIG");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let report = doctor("https://shop.example");
    assert!(!report.contains("preflight"), "nobody is there to ask: {report}");
    let skep = Skep::start(&config("https://shop.example"), &[plain, secure]);
    let report = doctor("https://shop.example");
    let may_send = "      preflight a page of https://shop.example may send";
    for words in [format!("{may_send}\n"), format!("{may_send}; its certificate was not checked\n")]
    {
        assert!(report.contains(&words), "no `{words}` in {report}");
    }
    let report = doctor("https://other.example");
    for id in ["plain", "secure"] {
        let words = format!(
            "WARN  otlp/{id}: what runs there refuses pages of https://other.example: the answer does \
             not allow this origin\n      reload or restart skep"
        );
        assert!(report.contains(&words), "no `{words}` in {report}");
    }
    assert!(skep.stop());
}
