//! Exporters of every kind where the only way out is a proxy: the backends have names that nobody
//! but the proxy finds. What `NO_PROXY` names goes past it, credentials are sent and never shown,
//! and errors name the obstacle and its remedy.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{
    Skep,
    authority::Authority,
    free_port,
    test_proxy::{TestProxy, tls_before},
    wait_for,
};
#[cfg(feature = "aws")]
use crate::support::{aws_backend, logs_backend};

const SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"by proxy",
    "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",
    "startTimeUnixNano":"1760600498250000000","endTimeUnixNano":"1760600498500000000"}]}]}]}"#;

/// A backend behind the proxy: skep itself, which writes down what comes.
struct Backend {
    folder: TempDir,
    authority: Authority,
    skep: Skep,
    grpc: u16,
    http: u16,
}

impl Backend {
    /// With `tls` as `localhost`, whose authority is `ca.pem` in its folder.
    fn start(has_tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.write(folder.path());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (grpc, http) = (free_port(), free_port());
        let tls = if has_tls {
            format!(", tls: {{cert_file: {}, key_file: {}}}", file("cert.pem"), file("key.pem"))
        } else {
            String::new()
        };
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}'{tls}}}
      http: {{endpoint: '127.0.0.1:{http}'{tls}}}
exporters: {{file: {{path: {}}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
            file("out.json")
        );
        let skep = Skep::start(&config, &[grpc, http]);
        Backend { folder, authority, skep, grpc, http }
    }

    fn arrived(&self) -> usize {
        let out = self.folder.path().join("out.json");
        fs::read_to_string(out).unwrap_or_default().matches("by proxy").count()
    }

    fn authority_file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }
}

/// The program with these exporters, and the environment that is given and no other.
struct Sender {
    skep: Skep,
    port: u16,
    log: PathBuf,
    _folder: TempDir,
}

impl Sender {
    fn start(exporters: &str, names: &str, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        Self::run(&config(exporters, names, port), &[port], environment)
    }

    /// `ports` are those that it listens on, the one for OTLP first.
    fn run(config: &str, ports: &[u16], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", "off", "--config", config]);
        isolate(&mut command, environment);
        command.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null());
        let skep = Skep(command.spawn().unwrap());
        wait_for("the start of skep", || {
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        Sender { skep, port: ports[0], log, _folder: folder }
    }

    fn send(&self) {
        post(self.port, "/v1/traces", SPAN);
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

fn config(exporters: &str, names: &str, port: u16) -> String {
    format!(
        "yaml:receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
exporters:
{exporters}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [{names}]}}}}
"
    )
}

fn isolate(command: &mut Command, environment: &[(&str, &str)]) {
    let is_known =
        |name: &str| name.to_ascii_uppercase().ends_with("_PROXY") || name.starts_with("AWS_");
    for (name, _) in std::env::vars().filter(|(name, _)| is_known(name)) {
        command.env_remove(name);
    }
    command.env_remove("SKEP_CONFIG").env_remove("REQUEST_METHOD");
    command.envs(environment.iter().copied());
}

const RETRY: &str = "retry_on_failure: {initial_interval: 20ms, max_interval: 20ms}";
const BASIC: &str = "Basic YW5uOnBANTU=";

#[test]
fn otlp_in_all_of_its_forms_goes_through_the_proxy() {
    let (plain, secure) = (Backend::start(false), Backend::start(true));
    let proxy = TestProxy::start(Some(BASIC));
    let url = format!("http://ann:p%4055@127.0.0.1:{}", proxy.port);
    let tls =
        format!("tls: {{ca_file: {}, server_name_override: localhost}}", secure.authority_file());
    let exporters = format!(
        "  otlp_http: {{endpoint: 'http://plain.test:{}', {RETRY}}}
  otlp_http/tls: {{endpoint: 'https://secure.test:{}', {RETRY}, {tls}}}
  otlp_grpc: {{endpoint: 'plain.test:{}', {RETRY}, tls: {{insecure: true}}}}
  otlp_grpc/tls: {{endpoint: 'secure.test:{}', {RETRY}, {tls}}}
  honeycomb: {{endpoint: 'http://plain.test:{}', api_key: k, {RETRY}}}
",
        plain.http, secure.http, plain.grpc, secure.grpc, plain.http
    );
    let names = "otlp_http, otlp_http/tls, otlp_grpc, otlp_grpc/tls, honeycomb";
    let variables = [("HTTP_PROXY", &*url), ("https_proxy", &url)];
    let sender = Sender::start(&exporters, names, &variables);
    sender.send();
    wait_for("what goes without TLS", || plain.arrived() == 3);
    wait_for("what goes with TLS", || secure.arrived() == 2);
    for what in [
        format!("POST http://plain.test:{}/v1/traces", plain.http),
        format!("CONNECT secure.test:{}", secure.http),
        format!("CONNECT plain.test:{}", plain.grpc),
        format!("CONNECT secure.test:{}", secure.grpc),
    ] {
        assert!(proxy.has_passed(&what), "{what}: {:?}", proxy.seen());
    }
    let log = sender.log();
    let shown =
        format!("through the proxy http://[REDACTED]@127.0.0.1:{} (HTTP_PROXY)", proxy.port);
    assert!(log.contains(&shown), "{log}");
    assert!(!log.contains("p@55") && !log.contains("p%4055") && !log.contains("YW5u"), "{log}");
    assert!(sender.skep.stop());
    assert_eq!((plain.arrived(), secure.arrived()), (3, 2), "each once");
    assert!(plain.skep.stop() && secure.skep.stop());
}

#[test]
fn a_proxy_may_speak_tls_itself() {
    let backend = Backend::start(true);
    let proxy = TestProxy::start(Some(BASIC));
    let port = tls_before(proxy.port, backend.authority.sign());
    let url = format!("https://ann:p%4055@localhost:{port}");
    let tls =
        format!("tls: {{ca_file: {}, server_name_override: localhost}}", backend.authority_file());
    let exporters = format!(
        "  otlp_http: {{endpoint: 'https://secure.test:{}', {RETRY}, {tls}}}
  otlp_grpc: {{endpoint: 'secure.test:{}', {RETRY}, {tls}}}
",
        backend.http, backend.grpc
    );
    let sender = Sender::start(&exporters, "otlp_http, otlp_grpc", &[("HTTPS_PROXY", &url)]);
    sender.send();
    wait_for("both", || backend.arrived() == 2);
    assert!(
        sender.log().contains(&format!("proxy https://[REDACTED]@localhost:{port} (HTTPS_PROXY)"))
    );
    assert!(sender.skep.stop());
}

#[test]
fn what_is_excepted_goes_past_the_proxy() {
    let backend = Backend::start(false);
    let proxy = TestProxy::start(None);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    // Another name of this machine, and none that is excepted by itself.
    let host = "0.0.0.0";
    let exporters = format!(
        "  otlp_http: {{endpoint: 'http://{host}:{}', {RETRY}}}
  otlp_grpc: {{endpoint: 'localhost:{}', {RETRY}, tls: {{insecure: true}}}}
",
        backend.http, backend.grpc
    );
    let no_proxy = format!(".example, {host}:{}", backend.http);
    let variables = [("HTTP_PROXY", &*url), ("HTTPS_PROXY", &url), ("NO_PROXY", &no_proxy)];
    let sender = Sender::start(&exporters, "otlp_http, otlp_grpc", &variables);
    sender.send();
    wait_for("both", || backend.arrived() == 2);
    assert_eq!(proxy.seen(), [""; 0]);
    assert!(!sender.log().contains("through the proxy"));
}

#[test]
fn a_configured_proxy_comes_before_the_environment() {
    let backend = Backend::start(false);
    let proxy = TestProxy::start(Some(BASIC));
    let url = format!("http://ann:p%4055@127.0.0.1:{}", proxy.port);
    let exporters = format!(
        "  otlp_http: {{endpoint: 'http://plain.test:{0}', proxy_url: '{url}', {RETRY}}}
  honeycomb: {{endpoint: 'http://plain.test:{0}', api_key: k, proxy_url: '{url}', {RETRY}}}
",
        backend.http
    );
    let variables = [("HTTP_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    let sender = Sender::start(&exporters, "otlp_http, honeycomb", &variables);
    sender.send();
    wait_for("both", || backend.arrived() == 2);
    assert!(sender.log().contains("(proxy_url)") && !sender.log().contains("p%4055"));
}

#[test]
fn a_proxy_that_refuses_is_named_with_a_remedy_and_nothing_is_lost() {
    let backend = Backend::start(false);
    let proxy = TestProxy::start(Some(BASIC));
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let exporters = format!(
        "  otlp_http: {{endpoint: 'http://plain.test:{}', {RETRY}}}
  otlp_grpc: {{endpoint: 'plain.test:{}', {RETRY}, tls: {{insecure: true}}}}
",
        backend.http, backend.grpc
    );
    let variables = [("HTTP_PROXY", &*url), ("HTTPS_PROXY", &url)];
    let sender = Sender::start(&exporters, "otlp_http, otlp_grpc", &variables);
    sender.send();
    let remedy = "the proxy wants credentials: add `user:password@` before the host in its URL";
    wait_for("both refusals", || sender.log().matches(remedy).count() == 2);
    wait_for("further attempts", || proxy.seen().len() > 4);
    assert_eq!(backend.arrived(), 0);
    assert!(!sender.log().contains("Dropping data"));

    let mut doctor = Command::new(env!("CARGO_BIN_EXE_skep"));
    doctor.args(["doctor", "--config", &config(&exporters, "otlp_http, otlp_grpc", 1)]);
    isolate(&mut doctor, &[("HTTP_PROXY", &*url), ("HTTPS_PROXY", "socks5://ann:pa55@127.0.0.1")]);
    let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(said.contains(remedy) && said.contains(&format!("proxy {url} (HTTP_PROXY)")), "{said}");
    let unusable = "the proxy of `HTTPS_PROXY` cannot be used: SOCKS proxies are not supported";
    assert!(said.contains(unusable) && !said.contains("pa55"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_backend_may_listen_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, out) = (folder.path().join("backend.sock"), folder.path().join("out.json"));
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{transport: unix, endpoint: {}}}}}}}}}
exporters: {{file: {{path: {}}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
        socket.display(),
        out.display()
    );
    let exporters = format!(
        "  otlp_grpc: {{endpoint: 'unix://{}', {RETRY}, tls: {{insecure: true}}}}",
        socket.display()
    );
    // A proxy has nothing to do with a socket of this machine.
    let sender = Sender::start(&exporters, "otlp_grpc", &[("HTTPS_PROXY", "http://127.0.0.1:1")]);
    sender.send();
    let missing = format!("cannot connect to unix:{}: ", socket.display());
    wait_for("the word that nobody listens", || sender.log().contains(&missing));
    let backend = Skep::start(&config, &[]);
    let arrived = || fs::read_to_string(&out).unwrap_or_default().matches("by proxy").count();
    wait_for("the span", || arrived() == 1);
    assert!(sender.skep.stop() && backend.stop());
}

/// The three exporters of AWS and the receiver's own calls, signed by what only the environment
/// knows.
#[cfg(feature = "aws")]
#[test]
fn aws_is_reached_through_the_proxy() {
    let proxy = TestProxy::start(Some(BASIC));
    let url = format!("http://ann:p%4055@127.0.0.1:{}", proxy.port);
    let ((xray, xray_port), (logs, logs_port)) =
        (aws_backend::aws_backend(), logs_backend::logs_backend());
    xray.lock().unwrap().rules = Vec::new();
    let (port, daemon) = (free_port(), free_port());
    let retry = format!("max_retries: 0, {RETRY}");
    let config = format!(
        "yaml:receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}
  awsxray:
    endpoint: '127.0.0.1:{daemon}'
    proxy_server: {{aws_endpoint: 'http://xray.test:{xray_port}', local_mode: true}}
exporters:
  awsxray: {{endpoint: 'http://xray.test:{xray_port}', {retry}}}
  awsxray/own: {{endpoint: 'http://own.test:{xray_port}', proxy_address: '{url}', {retry}}}
  awscloudwatchlogs: {{endpoint: 'http://logs.test:{logs_port}', log_group_name: g, log_stream_name: s, {retry}}}
  awsemf: {{endpoint: 'http://emf.test:{logs_port}', {retry}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp, awsxray], exporters: [awsxray, awsxray/own]}}
    logs: {{receivers: [otlp], exporters: [awscloudwatchlogs]}}
    metrics: {{receivers: [otlp], exporters: [awsemf]}}
"
    );
    let keys = [
        ("HTTP_PROXY", &*url),
        ("AWS_ACCESS_KEY_ID", aws_backend::KEY),
        ("AWS_SECRET_ACCESS_KEY", aws_backend::SECRET),
        ("AWS_REGION", "ca-central-1"),
    ];
    let sender = Sender::run(&config, &[port, daemon], &keys);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let record = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{now}","body":{{"stringValue":"hello"}}}}]}}]}}]}}"#
    );
    let metric = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{{"timeUnixNano":"{now}","asDouble":1}}]}}}}]}}]}}]}}"#
    );
    for (path, body) in [("traces", SPAN), ("logs", &record), ("metrics", &metric)] {
        post(port, &format!("/v1/{path}"), body);
    }
    for what in [
        format!("POST http://xray.test:{xray_port}/TraceSegments"),
        format!("POST http://own.test:{xray_port}/TraceSegments"),
        format!("POST http://logs.test:{logs_port}/"),
        format!("POST http://emf.test:{logs_port}/"),
    ] {
        wait_for(&what, || proxy.has_passed(&what));
    }
    wait_for("the documents", || xray.lock().unwrap().taken.len() == 2);
    let written = || logs.lock().unwrap().streams.values().filter(|one| !one.is_empty()).count();
    wait_for("the events of logs and metrics", || written() == 2);
    let calls = logs.lock().unwrap();
    assert_eq!((calls.messages("g", "s").len(), calls.count("PutLogEvents") >= 2), (1, true));
    drop(calls);
    xray.lock().unwrap().rules = vec![vec![serde_json::json!({"SamplingRule": {"RuleName": "A"}})]];
    post(daemon, "/GetSamplingRules", "{}");
    assert!(proxy.has_passed(&format!("POST http://xray.test:{xray_port}/GetSamplingRules")));
    assert_eq!(xray.lock().unwrap().faults, [""; 0], "signatures are right on this way, too");
    let log = sender.log();
    let shown =
        format!("through the proxy http://[REDACTED]@127.0.0.1:{} (HTTP_PROXY)", proxy.port);
    assert!(log.contains(&shown) && log.contains("(proxy_address)"), "{log}");
    assert!(!log.contains("p%4055") && !log.contains("YW5u"), "{log}");
    assert!(sender.skep.stop());
}

fn post(port: u16, path: &str, body: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let len = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {len}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
}
