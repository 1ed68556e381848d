//! Receivers with authenticators: who may send, what the others are told, and what becomes of their
//! connections.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tonic::{Code, Request, Status};

use crate::support::{Skep, free_port, sdk, wait_for};

const SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a span",
    "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}]}]}]}"#;

/// Sends a request on a connection that stays open; the head and the body of the response.
fn post(stream: &mut TcpStream, path: &str, headers: &str, body: &str) -> (String, Vec<u8>) {
    let len = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n{headers}");
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    answer(stream)
}

fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let len = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; len.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// The status of one request on a connection of its own.
fn status(port: u16, path: &str, headers: &str) -> u16 {
    let headers = format!("content-type: application/json\r\n{headers}");
    let (head, _) = post(&mut connect(port), path, &headers, SPAN);
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn basic(pair: &str) -> String {
    format!("authorization: Basic {}\r\n", STANDARD.encode(pair))
}

/// Sends a span over gRPC.
fn grpc(port: u16, authorization: Option<&str>) -> Result<(), Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client =
            TraceServiceClient::connect(format!("http://127.0.0.1:{port}")).await.unwrap();
        let spans = vec![Span { name: "over gRPC".to_owned(), ..Span::default() }];
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let mut request = Request::new(ExportTraceServiceRequest { resource_spans });
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        }
        client.export(request).await.map(drop)
    })
}

/// Starts skep with its log in a file.
fn start(config: &str, log: &Path, ports: &[u16]) -> Skep {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
    command.env_remove("SKEP_CONFIG").stdout(Stdio::null()).stderr(File::create(log).unwrap());
    let skep = Skep(command.spawn().unwrap());
    wait_for("the start of skep", || {
        ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
    });
    skep
}

#[test]
fn a_token_opens_both_protocols_on_either_port() {
    let (grpc_port, http, metrics) = (free_port(), free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let config = format!(
        "extensions:
  bearertokenauth: {{tokens: [the-first-token, the-second-token]}}
  bearertokenauth/query: {{token: the-third-token, header: x-key, scheme: ''}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc_port}', auth: {{authenticator: bearertokenauth}}}}
      http: {{endpoint: '127.0.0.1:{http}', auth: {{authenticator: bearertokenauth/query, request_params: [x-key]}}}}
exporters: {{file: {{path: {}}}}}
service:
  extensions: [bearertokenauth, bearertokenauth/query]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
        folder.path().join("out.json").display()
    );
    let skep = start(&config, &log, &[grpc_port, http, metrics]);

    // On one connection: refused in both encodings, then taken.
    let mut stream = connect(http);
    let (head, body) = post(&mut stream, "/v1/traces", "content-type: application/json\r\n", SPAN);
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert!(head.contains("www-authenticate: bearer\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(said["code"], 16, "{said}");
    let (head, body) = post(
        &mut stream,
        "/v1/traces",
        "content-type: application/x-protobuf\r\nx-key: the-first-token\r\n",
        "\n\0",
    );
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    assert_eq!(body[..2], [0x08, 16], "a google.rpc.Status with its code");
    let right = "content-type: application/json\r\nx-key: the-third-token\r\n";
    let (head, _) = post(&mut stream, "/v1/traces", right, SPAN);
    assert!(head.starts_with("http/1.1 200 "), "{head}");

    // A body that nobody reads need not come.
    let mut unsent = connect(http);
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 10000000\r\nexpect: 100-continue\r\n\r\n";
    let before = Instant::now();
    unsent.write_all(head.as_bytes()).unwrap();
    let (head, _) = answer(&mut unsent);
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());

    assert_eq!(status(http, "/v1/traces?x-key=the-third-token", ""), 200);
    assert_eq!(status(http, "/v1/traces?x-key=other", "x-key: the-third-token\r\n"), 401);
    // The authenticator is that of the port, whatever is spoken there.
    let bearer = "authorization: Bearer the-second-token\r\n";
    assert_eq!(status(http, "/v1/traces", bearer), 401);
    assert_eq!(status(grpc_port, "/v1/traces", bearer), 200);
    assert_eq!(status(grpc_port, "/v1/traces", "x-key: the-third-token\r\n"), 401);
    assert_eq!(grpc(grpc_port, Some("Bearer the-first-token")).map_err(|s| s.code()), Ok(()));
    for (port, authorization) in [
        (grpc_port, None),
        (grpc_port, Some("Bearer the-third-token")),
        (grpc_port, Some("bearer the-first-token")),
        (http, Some("Bearer the-first-token")),
    ] {
        let refused = grpc(port, authorization).unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
        assert!(!refused.message().contains("token-"), "{refused:?}");
    }

    let mut page = connect(metrics);
    page.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).unwrap();
    for (transport, refused) in [("grpc", 4), ("http", 6)] {
        for name in ["unauthenticated", "rejected"] {
            let line = text.lines().find(|line| {
                line.starts_with(&format!("skep_receiver_{name}_requests"))
                    && line.contains(&format!("transport=\"{transport}\",signal=\"traces\""))
            });
            let line = line.unwrap_or_else(|| panic!("no {name} {transport} in {text}"));
            assert!(line.ends_with(&format!(" {refused}")), "{line}");
        }
    }
    assert!(skep.stop());
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("a client was refused").count(), 2, "once for each port: {log}");
    assert!(log.contains("the header `x-key` with a token is missing"), "{log}");
    assert!(!log.contains("the-"), "no token is shown: {log}");
    let out = fs::read_to_string(folder.path().join("out.json")).unwrap();
    assert_eq!(out.matches("spanId").count() + out.matches("over gRPC").count(), 4, "{out}");
}

#[test]
fn users_of_a_file_are_known_by_name_and_an_exporter_sends_as_one() {
    let (http, entry) = (free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let (users, out) = (folder.path().join("htpasswd"), folder.path().join("out.json"));
    // The password of ann is `myPassword`.
    let ann = "ann:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n";
    fs::write(&users, ann).unwrap();
    let server = format!(
        "extensions:
  basicauth: {{htpasswd: {{file: {}, inline: 'bob:in clear'}}}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}', auth: {{authenticator: basicauth}}}}}}}}
processors:
  attributes:
    actions: [{{key: enduser.id, action: upsert, from_context: auth.username}}]
exporters: {{file: {{path: {}}}}}
service:
  extensions: [basicauth]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [attributes], exporters: [file]}}}}
",
        users.display(),
        out.display()
    );
    let server = Skep::start(&server, &[http]);
    let sender = format!(
        "extensions:
  basicauth: {{client_auth: {{username: ann, password: myPassword}}}}
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{entry}'}}}}}}}}
exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:{http}', auth: {{authenticator: basicauth}}}}}}
service:
  extensions: [basicauth]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}
"
    );
    let sender = Skep::start(&sender, &[entry]);
    assert_eq!(status(entry, "/v1/traces", ""), 200);
    assert!(sender.stop(), "the backend took it");
    assert_eq!(status(http, "/v1/traces", &basic("bob:in clear")), 200);
    assert_eq!(status(http, "/v1/traces", &basic("ann:wrong")), 401);
    assert_eq!(status(http, "/v1/traces", &basic("bob:")), 401);
    assert_eq!(status(http, "/v1/traces", ""), 401);
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.matches("enduser.id").count(), 2, "{text}");
    assert!(text.contains(r#""stringValue":"ann""#) && text.contains(r#""stringValue":"bob""#));

    fs::write(&users, "eve:new\n").unwrap();
    wait_for("the new users", || status(http, "/v1/traces", &basic("eve:new")) == 200);
    assert_eq!(status(http, "/v1/traces", &basic("ann:myPassword")), 401, "she has gone");
    assert_eq!(status(http, "/v1/traces", &basic("bob:in clear")), 200);
    assert!(server.stop());
}

/// While guesses of one client are hashed, others are served at once.
#[test]
fn wrong_passwords_keep_no_other_client_waiting() {
    let http = free_port();
    let config = format!(
        "extensions:
  basicauth: {{htpasswd: {{inline: 'ann:$$2y$$05$$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC'}}}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}', auth: {{authenticator: basicauth}}}}}}}}
exporters: {{nop: }}
service:
  extensions: [basicauth]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}
"
    );
    let skep = Skep::start(&config, &[http]);
    let right = basic("ann:myPassword");
    assert_eq!(status(http, "/v1/traces", &right), 200);
    let guess = |i: u32| status(http, "/v1/traces", &basic(&format!("ann:guess {i}")));
    std::thread::scope(|threads| {
        let guessing: Vec<_> = (0..32)
            .map(|i| threads.spawn(move || (0..4).map(|j| guess(i * 4 + j)).collect::<Vec<_>>()))
            .collect();
        for _ in 0..20 {
            let before = Instant::now();
            assert_eq!(status(http, "/v1/traces", &right), 200);
            assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
        }
        for guesses in guessing {
            for status in guesses.join().unwrap() {
                assert!([401, 503].contains(&status), "{status}");
            }
        }
    });
    assert_eq!(status(http, "/v1/traces", &right), 200);
    assert!(skep.stop());
}

/// A token of an issuer whose keys are in a file.
#[test]
fn a_token_of_an_issuer_says_who_sends() {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let key = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
    let token = |issuer: &str| {
        let claims = serde_json::json!({
            "iss": issuer, "aud": "otlp", "sub": "ann", "exp": 4_000_000_000_u64,
            "groups": ["a", "b"],
        });
        let header = encode(br#"{"alg":"EdDSA","kid":"k"}"#);
        let message = format!("{header}.{}", encode(claims.to_string().as_bytes()));
        format!("{message}.{}", encode(key.sign(message.as_bytes()).as_ref()))
    };
    let http = free_port();
    let folder = tempfile::tempdir().unwrap();
    let (keys, out) = (folder.path().join("keys.json"), folder.path().join("out.json"));
    let x = encode(key.public_key().as_ref());
    let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}]}}"#);
    fs::write(&keys, set).unwrap();
    let config = format!(
        "extensions:
  oidc:
    providers:
      - issuer_url: https://issuer.example.com
        audience: otlp
        groups_claim: groups
        public_keys_file: {}
receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}', auth: {{authenticator: oidc}}}}}}}}
processors:
  attributes:
    actions:
      - {{key: enduser.id, action: upsert, from_context: auth.subject}}
      - {{key: enduser.groups, action: upsert, from_context: auth.membership}}
exporters: {{file: {{path: {}}}}}
service:
  extensions: [oidc]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [attributes], exporters: [file]}}}}
",
        keys.display(),
        out.display()
    );
    let skep = Skep::start(&config, &[http]);
    let bearer = |issuer: &str| format!("authorization: Bearer {}\r\n", token(issuer));
    assert_eq!(status(http, "/v1/traces", &bearer("https://issuer.example.com")), 200);
    assert_eq!(status(http, "/v1/traces", &bearer("https://other.example.com")), 401);
    assert_eq!(status(http, "/v1/traces", "authorization: Bearer x\r\n"), 401);
    assert_eq!(status(http, "/v1/traces", ""), 401);
    assert!(skep.stop());
    let text = fs::read_to_string(out).unwrap();
    for value in [r#""stringValue":"ann""#, r#""stringValue":"a;b""#] {
        assert_eq!(text.matches(value).count(), 1, "{value} in {text}");
    }
}

/// The SDK for Python with the variable that users are told of.
#[test]
#[ignore = "needs SDKs of other languages"]
fn an_sdk_sends_its_token_by_the_environment() {
    let (grpc, http) = (free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let config = format!(
        "extensions: {{bearertokenauth: {{token: right}}}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}', auth: {{authenticator: bearertokenauth}}}}
      http: {{endpoint: '127.0.0.1:{http}', auth: {{authenticator: bearertokenauth}}}}
exporters: {{file: {{path: {}}}}}
service:
  extensions: [bearertokenauth]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
        out.display()
    );
    let skep = Skep::start(&config, &[grpc, http]);
    for (protocol, port) in [("grpc", grpc), ("http", http)] {
        for (token, expected) in [("right", "SUCCESS"), ("wrong", "FAILURE")] {
            let mut client = Command::new(sdk::python().join("python"));
            client.arg(sdk::sources().join("authenticated.py")).arg(protocol);
            client.arg(format!("http://127.0.0.1:{port}"));
            client.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{token}"));
            let output = client.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said.trim(), expected, "{protocol}: {errors}");
        }
    }
    assert!(skep.stop());
    assert_eq!(fs::read_to_string(out).unwrap().matches("of the SDK").count(), 2);
}
