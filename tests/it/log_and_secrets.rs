//! The log of the whole program: nobody who reads it slowly, or not at all, stops data or the end;
//! nothing in telemetry forges a line; and no secret is shown by anything that a running skep
//! tells.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Skep, free_port, wait_for};

fn skep(config: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(arguments).args(["--config", &format!("yaml:{config}")]);
    command.env_remove("SKEP_CONFIG").env_remove("AOT_CONFIG_CONTENT").env("NO_COLOR", "1");
    command
}

/// Sends a request; the status and the body of the answer.
fn ask(port: u16, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn send_span(port: u16, name: &str) -> u16 {
    let span = serde_json::json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": name,
    });
    let body = serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]});
    ask(port, "POST /v1/traces", &body.to_string()).0
}

struct Printing {
    skep: Skep,
    otlp: u16,
    metrics: u16,
}

/// A skep whose log goes into a pipe that nobody reads, and whose `debug` prints a lot.
fn printing(debug: &str) -> Printing {
    let (otlp, metrics) = (free_port(), free_port());
    let config = format!(
        "{{receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}, exporters: \
         {{debug: {{verbosity: detailed, sampling_initial: 100000{debug}}}}}, service: {{telemetry: \
         {{logs: {{encoding: console}}, metrics: {{address: '127.0.0.1:{metrics}'}}}}, pipelines: \
         {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}}}"
    );
    let mut command = skep(&config, &["--control-endpoint", "off", "--drain-timeout", "2s"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let skep = Skep(command.spawn().unwrap());
    for port in [otlp, metrics] {
        wait_for("the start", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    Printing { skep, otlp, metrics }
}

fn dropped(metrics: u16, output: &str) -> u64 {
    let (_, page) = ask(metrics, "GET /metrics", "");
    let name = format!("skep_log_dropped_lines{{output=\"{output}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_nothing_else() {
    for (debug, output) in [("", "stderr"), (", use_internal_logger: false", "stdout")] {
        let Printing { mut skep, otlp, metrics } = printing(debug);
        let name = "x".repeat(20_000);
        wait_for("lines that are dropped", || {
            assert_eq!(send_span(otlp, &name), 200);
            dropped(metrics, output) > 0
        });
        let begin = Instant::now();
        for _ in 0..20 {
            assert_eq!(send_span(otlp, &name), 200);
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        // Its pipes stay open, and nobody reads them.
        let pipes = (skep.0.stdout.take(), skep.0.stderr.take());
        let begin = Instant::now();
        assert_eq!(skep.end(), Some(0));
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        drop(pipes);
    }
}

#[test]
fn what_was_dropped_is_told_when_the_log_is_read_again_and_its_last_lines_come() {
    let Printing { mut skep, otlp, metrics } = printing("");
    let name = "x".repeat(20_000);
    wait_for("lines that are dropped", || {
        assert_eq!(send_span(otlp, &name), 200);
        dropped(metrics, "stderr") > 0
    });
    let text = Arc::new(Mutex::new(Vec::new()));
    let (mut pipe, its) = (skep.0.stderr.take().unwrap(), Arc::clone(&text));
    let reading = thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut piece) {
            its.lock().unwrap().extend_from_slice(&piece[..count]);
        }
    });
    let has = |words: &str| String::from_utf8_lossy(&text.lock().unwrap()).contains(words);
    wait_for("the count of lines", || has("Lines were dropped because the output was too slow"));
    assert_eq!(send_span(otlp, "the last one"), 200);
    assert_eq!(skep.end(), Some(0));
    reading.join().unwrap();
    assert!(has("Name           : the last one"));
}

#[test]
fn telemetry_forges_no_line() {
    const EVIL: &str = "\u{1b}]0;OWNED\u{7}\u{1b}[31m\nevil\n2026-01-01T00:00:00.000Z  ERROR forged \
                        line component=x\r\n\0\u{202e}";
    for debug in ["", ", use_internal_logger: false"] {
        let Printing { mut skep, otlp, .. } = printing(debug);
        assert_eq!(send_span(otlp, EVIL), 200);
        let (mut out, mut errors) = (skep.0.stdout.take().unwrap(), skep.0.stderr.take().unwrap());
        assert_eq!(skep.end(), Some(0));
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        errors.read_to_string(&mut text).unwrap();
        assert!(
            text.contains(r"\x1b[31m\nevil\n2026-01-01T00:00:00.000Z  ERROR forged line"),
            "{text}"
        );
        assert!(!text.contains("\n2026-01-01"), "{text}");
        assert!(!text.contains(['\u{1b}', '\0', '\r', '\u{202e}', '\u{7}']), "{text:?}");
    }
}

const MARKER: &str = "SECRETMARKER";

/// A backend that repeats the head of each request in its refusal.
fn repeating() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut some = [0; 4096];
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                let read = stream.read(&mut some).unwrap_or_default();
                if read == 0 {
                    break;
                }
                head.extend_from_slice(&some[..read]);
            }
            let start = "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length";
            let _ = write!(stream, "{start}: {}\r\n\r\n", head.len());
            let _ = stream.write_all(&head);
            // Closed with bytes unread, a connection is reset.
            thread::spawn(move || while stream.read(&mut some).is_ok_and(|read| read > 0) {});
        }
    });
    port
}

#[test]
fn a_running_skep_shows_no_secret() {
    let ports: [u16; 5] = std::array::from_fn(|_| free_port());
    let [otlp, health, pages, metrics, control] = ports;
    let backend = repeating();
    let config = format!(
        "{{receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}, extensions: \
         {{healthcheckv2: {{use_v2: true, http: {{endpoint: '127.0.0.1:{health}'}}}}, zpages: \
         {{endpoint: '127.0.0.1:{pages}'}}, basicauth: {{client_auth: {{username: u, password: \
         {MARKER}}}}}, bearertokenauth: {{token: {MARKER}}}}}, exporters: {{otlp_http: {{endpoint: \
         'http://127.0.0.1:{backend}/v1?api_key={MARKER}', headers: {{x-key: {MARKER}}}, auth: \
         {{authenticator: basicauth}}, retry_on_failure: {{enabled: false}}}}, honeycomb: \
         {{endpoint: 'http://127.0.0.1:{backend}', api_key: {MARKER}, retry_on_failure: {{enabled: false}}}}}}, \
         service: {{extensions: [healthcheckv2, zpages, basicauth], telemetry: {{logs: {{level: \
         debug}}, metrics: {{address: '127.0.0.1:{metrics}'}}}}, pipelines: {{traces: {{receivers: \
         [otlp], exporters: [otlp_http, honeycomb]}}}}}}}}"
    );
    let shows = |name: &str, text: &str| assert!(!text.contains(MARKER), "{name}: {text}");
    for command in ["validate", "doctor", "print-config"] {
        let output = skep(&config, &[command]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(command != "print-config" || text.contains("api_key=[REDACTED]"), "{text}");
        shows(command, &text);
    }
    let endpoint = format!("127.0.0.1:{control}");
    let arguments = ["--control-endpoint", &*endpoint, "--drain-timeout", "2s"];
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = skep(&config, &arguments);
    command.env("RUST_LOG", "trace").stdout(Stdio::null());
    command.stderr(std::fs::File::create(&log).unwrap());
    let running = Skep(command.spawn().unwrap());
    for port in ports {
        wait_for("the start", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    send_span(otlp, "lost");
    wait_for("the failure", || {
        let (_, page) = ask(metrics, "GET /metrics", "");
        shows("metrics", &page);
        page.lines()
            .any(|line| line.starts_with("otelcol_exporter_send_failed") && !line.ends_with(" 0"))
    });
    shows("health", &ask(health, "GET /status?verbose", "").1);
    for page in ["servicez", "pipelinez", "extensionz", "featurez", "tracez", "expvarz"] {
        shows(page, &ask(pages, &format!("GET /debug/{page}"), "").1);
    }
    shows("control plane", &control_plane(&endpoint));
    // A reload is told, too.
    for arguments in [&["reload"][..], &["explain", &"x".repeat(100_000)]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(arguments).args(["--control-endpoint", &endpoint]);
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        shows(arguments[0], &text);
        assert!(arguments[0] != "explain" || text.contains("trace id"), "{text}");
    }
    running.end();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("Exporting") && log.contains("api_key=[REDACTED]"), "{log}");
    assert!(
        log.contains("x-key: [REDACTED]") && log.contains("authorization: [REDACTED]"),
        "{log}"
    );
    shows("log", &log);
    // Base64 of `u:SECRETMARKER`.
    assert!(!log.contains("dTpTRUNSRVRNQVJLRVI"), "{log}");
}

/// What `Health` of the control plane says.
fn control_plane(endpoint: &str) -> String {
    use skep::admin::proto::{HealthRequest, control_service_client::ControlServiceClient};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = ControlServiceClient::connect(format!("http://{endpoint}")).await.unwrap();
        let answer = client.health(HealthRequest {}).await.unwrap().into_inner();
        assert!(!answer.components.is_empty());
        format!("{answer:?}")
    })
}
