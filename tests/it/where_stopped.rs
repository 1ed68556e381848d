//! `skep status` and `skep why` with the whole program: each of the usual reasons for no data is
//! named, with its remedy and the exit code.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::support::{Skep, free_port, http_backend::http_backend, wait_for};

/// A running skep with a control plane.
struct World {
    _skep: Skep,
    http: u16,
    control: String,
}

impl World {
    /// Runs a pipeline of traces: `processor` and `exporter` are bodies of one each.
    fn start(processor: &str, exporter: &str) -> Self {
        let name = |body: &str| body.split([':', '}']).next().unwrap().trim_matches('{').to_owned();
        let (http, control) = (free_port(), free_port());
        let config = format!(
            "yaml:{{receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}, \
             processors: {processor}, exporters: {exporter}, \
             service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: \
             {{receivers: [otlp], processors: [{}], exporters: [{}]}}}}}}}}",
            name(processor),
            name(exporter)
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        let control = format!("127.0.0.1:{control}");
        command.args(["--control-endpoint", &control, "--config", &config]);
        let port = control.rsplit(':').next().unwrap().parse().unwrap();
        World { _skep: Skep::run(command, &[http, port]), http, control }
    }

    fn ask(&self, arguments: &[&str]) -> (String, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(arguments).args(["--control-endpoint", &self.control]).env("NO_COLOR", "1");
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.is_empty(), "{errors}");
        (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
    }

    /// Waits until `skep why` has found something.
    fn why(&self, code: i32, words: &[&str]) -> String {
        let mut last = String::new();
        wait_for(&format!("`skep why` that says {words:?}"), || {
            let found;
            (last, found) = self.ask(&["why"]);
            found == code && words.iter().all(|words| last.contains(words))
        });
        last
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ask(arguments).0).unwrap()
    }

    /// Sends spans of a service; the status of the answer.
    fn send(&self, service: &str, spans: usize) -> u16 {
        let span = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"GET /"}"#;
        let spans = vec![span; spans].join(",");
        let body = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}},{{"key":"telemetry.sdk.language","value":{{"stringValue":"python"}}}}]}},"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#
        );
        post(self.http, "/v1/traces", "application/json", &body)
    }
}

fn post(port: u16, path: &str, media_type: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: skep\r\nuser-agent: test/1\r\nconnection: close\r\n\
         content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

const NOTHING: &str = "{batch: {timeout: 10ms}}";
const NOP: &str = "{nop: {}}";

#[test]
fn data_that_passes_and_data_that_has_not_come() {
    let world = World::start(NOTHING, NOP);
    let (text, code) = world.ask(&["why"]);
    assert_eq!(code, 1, "{text}");
    let address = format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:{}", world.http);
    for words in ["no span has come", "only programs on this machine", &address] {
        assert!(text.contains(words), "`{words}`: {text}");
    }
    let (text, code) = world.ask(&["status"]);
    assert!(code == 0 && text.contains("nobody has sent anything"), "{text}");
    assert!(text.contains("traces never"), "{text}");

    assert_eq!(world.send("shop", 3), 200);
    let text = world.why(0, &["3 spans in 1 request on http", "backend nop", "took 3 spans"]);
    assert!(!text.contains("STOP"), "{text}");
    let status = world.json(&["status", "--json"]);
    let shop = &status["senders"][0];
    assert_eq!((&shop["service"], &shop["sdk"]["language"]), (&"shop".into(), &"python".into()));
    assert_eq!((&shop["total"]["spans"], &shop["encoding"]), (&3.into(), &"json".into()));
    assert_eq!(shop["peer"], "127.0.0.1");
    let receivers = status["receivers"].as_array().unwrap();
    let traces = receivers.iter().find(|one| one["signal"] == "traces").unwrap();
    assert!(traces["last_data_age_ms"].is_u64(), "{status}");
}

#[test]
fn a_wrong_path_a_wrong_type_and_a_wrong_protocol() {
    let world = World::start(NOTHING, NOP);
    assert_eq!(post(world.http, "/v1/trace", "application/json", "{}"), 404);
    let words = ["STOP", "became no data", "test/1 at 127.0.0.1", "no OTLP endpoint at /v1/trace"];
    world.why(1, &words);
    assert_eq!(post(world.http, "/v1/traces", "text/plain", "{}"), 415);
    world.why(1, &["all were refused", "415 unsupported media type", "with curl add -H"]);
    assert_eq!(post(world.http, "/v1/traces", "application/x-protobuf", "{}"), 400);
    world.why(1, &["2 requests", "the body looks like JSON"]);
    // The first bytes of a TLS handshake.
    let mut stream = TcpStream::connect(("127.0.0.1", world.http)).unwrap();
    stream.write_all(&[22, 3, 1, 0, 4, 1, 0, 0, 0]).unwrap();
    let mut garbage = TcpStream::connect(("127.0.0.1", world.http)).unwrap();
    garbage.write_all(b"\x00\x01\x02\x03 metric:1|c\r\n\r\n").unwrap();
    wait_for("senders of another protocol", || {
        let (text, _) = world.ask(&["status"]);
        text.contains("a client speaks TLS to a plaintext port")
            || text.contains("a client speaks neither HTTP nor gRPC")
    });
}

#[test]
fn a_backend_that_denies() {
    let (_backend, port) = http_backend(&["x-key: of another"]);
    let exporter = format!("{{otlp_http: {{endpoint: 'http://127.0.0.1:{port}'}}}}");
    let world = World::start(NOTHING, &exporter);
    assert_eq!(world.send("shop", 3), 200);
    let text = world.why(1, &["backend otlp_http", "STOP", "HTTP 401", "check `headers`"]);
    assert!(text.contains("it has taken no data yet"), "{text}");
    let (text, _) = world.ask(&["status"]);
    assert!(text.contains("FAILING") && text.contains("HTTP 401"), "{text}");
    let document = world.json(&["why", "--json", "--signal", "traces"]);
    assert_eq!(document["stopped"], true);
    let rungs = document["ladders"][0]["rungs"].as_array().unwrap();
    let backend = rungs.iter().find(|rung| rung["step"] == "backend").unwrap();
    assert_eq!((&backend["state"], &backend["stopped"]), (&"stop".into(), &3.into()));
    assert!(backend["since_unix_ms"].is_u64(), "{backend}");
}

#[test]
fn a_service_whose_name_is_misspelt() {
    let world = World::start(NOTHING, NOP);
    assert_eq!(world.send("bakend-flask", 1), 200);
    let (text, code) = world.ask(&["why", "backend-flask"]);
    assert_eq!(code, 1, "{text}");
    for words in
        ["nothing of this service", "`bakend-flask` sends", "OTEL_SERVICE_NAME=backend-flask"]
    {
        assert!(text.contains(words), "`{words}`: {text}");
    }
    let (text, code) = world.ask(&["why", "bakend-flask"]);
    assert!(code == 0 && text.contains("1 span in the last"), "{text}");
    assert_eq!(world.send("backend-flask", 5), 200);
    assert_eq!(world.send("", 5), 200);
    let (text, _) = world.ask(&["status"]);
    assert!(text.contains("nearly the name of `backend-flask`"), "{text}");
    assert!(text.contains("(no service.name)") && text.contains("OTEL_SERVICE_NAME"), "{text}");
}

#[test]
fn a_sampler_that_drops_everything() {
    let world = World::start("{probabilistic_sampler: {sampling_percentage: 0}}", NOP);
    assert_eq!(world.send("shop", 30), 200);
    let words = ["probabilistic_sampler", "STOP", "leaves out everything: 30 spans"];
    world.why(1, &words);
}

#[test]
fn a_full_queue() {
    // A backend that takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
        }
    });
    let exporter = format!(
        "{{otlp_http: {{endpoint: 'http://127.0.0.1:{port}', \
         sending_queue: {{queue_size: 2, num_consumers: 1}}}}}}"
    );
    let world = World::start("{attributes: {actions: [{key: a, action: delete}]}}", &exporter);
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let http = world.http;
            thread::spawn(move || {
                let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}"#;
                post(http, "/v1/traces", "application/json", body)
            })
        })
        .collect();
    let answers: Vec<u16> = threads.into_iter().map(|one| one.join().unwrap()).collect();
    assert!(answers.contains(&503), "{answers:?}");
    world.why(1, &["queue otlp_http", "STOP", "full:", "of 2 requests", "`sending_queue"]);
}

#[test]
fn the_built_in_configuration_is_asked_as_well() {
    let [grpc, http, health, control] = [0; 4].map(|_| free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    let control = format!("127.0.0.1:{control}");
    for value in [
        format!("receivers::otlp::protocols::grpc::endpoint=127.0.0.1:{grpc}"),
        format!("receivers::otlp::protocols::http::endpoint=127.0.0.1:{http}"),
        format!("extensions::health_check::endpoint=127.0.0.1:{health}"),
        "service::telemetry::metrics::level=none".to_owned(),
    ] {
        command.args(["--set", &value]);
    }
    command.args(["--control-endpoint", &control]).env_remove("HONEYCOMB_API_KEY");
    command.env_remove("AOT_CONFIG_CONTENT");
    let port = control.rsplit(':').next().unwrap().parse().unwrap();
    let world = World { _skep: Skep::run(command, &[grpc, http, port]), http, control };
    let (text, code) = world.ask(&["why"]);
    assert_eq!(code, 1, "{text}");
    for words in
        ["no span has come on grpc or http", "no log record", "no data point", "backend debug"]
    {
        assert!(text.contains(words), "`{words}`: {text}");
    }
    assert_eq!(world.send("shop", 3), 200);
    let text = world.why(0, &["traces: ok", "took 3 spans", "logs: -", "metrics: -"]);
    assert!(text.contains("nothing on grpc"), "{text}");
}

#[test]
fn a_watch_goes_on_until_skep_ends() {
    let world = World::start(NOTHING, NOP);
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["status", "--watch", "--json", "--control-endpoint", &world.control]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["senders"], serde_json::json!([]));
    assert_eq!(world.send("shop", 3), 200);
    wait_for("the sender", || next()["senders"][0]["service"] == "shop");
    drop(world);
    let ended = watch.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(69), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn a_skep_that_does_not_run_is_named() {
    let endpoint = format!("127.0.0.1:{}", free_port());
    for command in ["why", "status"] {
        let mut skep = Command::new(env!("CARGO_BIN_EXE_skep"));
        let output = skep.args([command, "--control-endpoint", &endpoint]).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{command}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("no skep answers at"), "{errors}");
    }
}
