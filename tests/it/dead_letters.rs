//! Dead letters with the whole program: what a backend refuses for good is kept, listed, shown,
//! sent again and dropped, survives `kill -9`, and a full store holds up nobody.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use crate::support::{
    Skep, free_port,
    moody_backend::{Mood, MoodyBackend},
    wait_for,
};

/// A skep with one exporter, and its storage.
struct Rig {
    http: u16,
    metrics: u16,
    control: String,
    directory: tempfile::TempDir,
    config: String,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    errors: String,
}

fn dlq(arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    let output = command.env_remove("SKEP_CONFIG").arg("dlq").args(arguments).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Rig {
    fn new(backend: u16, queue: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (http, metrics) = (free_port(), free_port());
        let config = format!(
            r"
extensions:
  file_storage: {{directory: '{}', max_size_mib: 2, segment_size_mib: 1}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}
exporters:
  otlp_http/home:
    endpoint: http://127.0.0.1:{backend}
    compression: none
    sending_queue: {{dead_letters: file_storage, {queue}}}
service:
  extensions: [file_storage]
  telemetry:
    logs: {{level: error}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_http/home]}}
    metrics: {{receivers: [otlp], exporters: [otlp_http/home]}}
    logs: {{receivers: [otlp], exporters: [otlp_http/home]}}
",
            directory.path().display()
        );
        let control = format!("127.0.0.1:{}", free_port());
        Rig { http, metrics, control, directory, config }
    }

    fn start(&self) -> Skep {
        self.start_with(&format!("yaml:{}", self.config))
    }

    fn start_with(&self, config: &str) -> Skep {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", &self.control, "--config", config]);
        let control = self.control.rsplit(':').next().unwrap().parse().unwrap();
        Skep::run(command, &[self.http, control])
    }

    fn directory(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// Asks the running one.
    fn dlq(&self, arguments: &[&str]) -> Said {
        dlq(&[arguments, &["--control-endpoint", &self.control]].concat())
    }

    /// Ids of the letters there are.
    fn ids(&self) -> Vec<String> {
        let said = self.dlq(&["list", "--json"]);
        assert_eq!(said.code, Some(0), "{}", said.errors);
        let objects = said.out.lines().map(|line| serde_json::from_str(line).unwrap());
        objects.map(|one: serde_json::Value| one["id"].as_str().unwrap().to_owned()).collect()
    }

    fn wait_for_letters(&self, count: usize) {
        wait_for("the dead letters", || self.ids().len() == count);
    }

    /// Sends a request, which has to be taken.
    fn post(&self, path: &str, json: &str) {
        let answer = request(
            self.http,
            &format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{json}",
                json.len()
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Sends spans of these names, all of one sender.
    fn spans(&self, names: &[&str]) {
        let span = |name: &&str| {
            let (trace, id) = ("0b".repeat(16), "0c".repeat(8));
            format!(r#"{{"traceId":"{trace}","spanId":"{id}","name":"{name}"}}"#)
        };
        let spans: Vec<String> = names.iter().map(span).collect();
        let spans = spans.join(",");
        self.post(
            "/v1/traces",
            &format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#),
        );
    }

    /// The sum of a metric.
    fn metric(&self, name: &str) -> f64 {
        let page = request(
            self.metrics,
            "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        );
        assert!(page.contains(name), "{page}");
        let values = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

fn request(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn one_poisoned_sender_costs_only_its_own_data_and_that_can_be_sent_again() {
    let (backend, port) = MoodyBackend::start(Mood::Picky);
    let rig = Rig::new(port, "batch: {flush_timeout: 300ms}");
    let mut skep = rig.start();
    for name in ["good-1", "poison-1", "good-2", "good-3"] {
        rig.spans(&[name]);
    }
    rig.wait_for_letters(1);
    wait_for("the good data", || (1..4).all(|n| backend.count(&format!("good-{n}")) > 0));
    assert_eq!(rig.ids(), ["otlp_http/home:traces:0"]);
    assert!((rig.metric("skep_exporter_dead_letters_spans") - 1.0).abs() < 0.1);
    assert!((rig.metric("otelcol_exporter_send_failed_spans") - 1.0).abs() < 0.1);

    // The process dies without a warning.
    skep.0.kill().unwrap();
    skep.0.wait().unwrap();
    let skep = rig.start();
    let said = rig.dlq(&["list"]);
    assert!(
        said.out.contains("refused") && said.out.contains("otlp_http/home:traces:0"),
        "{}",
        said.out
    );
    assert!(said.out.contains("400") && said.out.contains("this is not for me"), "{}", said.out);
    assert!(said.out.ends_with("\n1 dead letter with 1 item, 44 bytes\n"), "{}", said.out);
    let said = rig.dlq(&["show", "otlp_http/home:traces:0"]);
    assert!(said.out.contains("the backend refused it for good"), "{}", said.out);
    assert!(said.out.contains("Name           : poison-1"), "{}", said.out);
    let said = rig.dlq(&["show", "otlp_http/home:traces:0", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"], "poison-1");

    // Still refused: it stays one letter.
    let said = rig.dlq(&["replay", "--all"]);
    assert_eq!(said.code, Some(74), "{}", said.out);
    assert!(
        said.out.contains("1 dead letter sent again: 0 delivered with 0 items, 1 refused again")
    );
    assert_eq!(rig.ids(), ["otlp_http/home:traces:1"]);

    backend.set(Mood::Open);
    let said = rig.dlq(&["replay", "--all"]);
    assert_eq!((said.code, &*said.errors), (Some(0), ""), "{}", said.out);
    assert!(said.out.contains("1 delivered with 1 item, 0 refused again"), "{}", said.out);
    assert_eq!(backend.count("poison-1"), 1);
    assert_eq!(rig.dlq(&["list"]).out, "There are no dead letters.\n");
    assert!(skep.stop(), "nothing was lost");
    let skep = rig.start();
    assert_eq!(rig.ids(), [""; 0], "nor does it come back");
    assert!(skep.stop());
}

#[test]
fn what_is_denied_altogether_is_kept_by_signal_and_can_be_dropped() {
    let (_backend, port) = MoodyBackend::start(Mood::Denying);
    let rig = Rig::new(port, "");
    let skep = rig.start();
    rig.spans(&["a", "b"]);
    rig.post(
        "/v1/logs",
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"l"}}]}]}]}"#,
    );
    rig.post(
        "/v1/metrics",
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#,
    );
    rig.wait_for_letters(3);
    rig.spans(&["c"]);
    rig.wait_for_letters(4);
    let home = |name: &str| format!("otlp_http/home:{name}");
    assert_eq!(rig.ids(), ["traces:0", "traces:1", "metrics:0", "logs:0"].map(home));
    let said = rig.dlq(&["list"]);
    assert!(said.out.contains("401"), "{}", said.out);

    // Nothing is dropped by mistake.
    for (arguments, code, words) in [
        (&["drop"][..], 64, "which dead letters?"),
        (&["replay"], 64, "which dead letters?"),
        (&["drop", "17"], 64, "is not the id of a dead letter"),
        (&["drop", "--exporter", "otlp_http"], 1, "those that do: otlp_http/home"),
        (&["show", "otlp_http/home:logs:9"], 1, "there is no dead letter"),
    ] {
        let said = rig.dlq(arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}");
        assert!(said.errors.contains(words), "{arguments:?}: {}", said.errors);
    }
    let said = rig.dlq(&["drop", "--older-than", "72h"]);
    assert_eq!(
        (said.code, &*said.out),
        (Some(0), "dropped 0 dead letters with 0 items, 0 bytes\n")
    );
    let said = rig.dlq(&["drop", "otlp_http/home:traces:0", "otlp_http/home:logs:0"]);
    assert!(said.out.starts_with("dropped 2 dead letters with 3 items"), "{}", said.out);
    assert_eq!(rig.ids(), ["traces:1", "metrics:0"].map(home));
    let said = rig.dlq(&["drop", "--exporter", "otlp_http/home"]);
    assert!(said.out.starts_with("dropped 2 dead letters with 2 items"), "{}", said.out);
    assert!(rig.ids().is_empty());
    assert!(skep.stop());
}

#[test]
fn only_what_is_too_large_in_itself_is_kept() {
    let (backend, port) = MoodyBackend::start(Mood::Narrow);
    let rig = Rig::new(port, "");
    let skep = rig.start();
    let large = "large".repeat(1000);
    rig.spans(&["small-1", &large, "small-2"]);
    rig.wait_for_letters(1);
    wait_for("the small spans", || backend.count("small-1") + backend.count("small-2") > 1);
    let said = rig.dlq(&["list"]);
    assert!(said.out.contains("too_large: HTTP 413"), "{}", said.out);
    backend.set(Mood::Open);
    assert_eq!(rig.dlq(&["replay", &rig.ids()[0]]).code, Some(0));
    assert_eq!(backend.count(&large), 1);
    assert!(skep.stop());
}

#[test]
fn files_are_read_without_a_process_and_changed_only_then() {
    let (_backend, port) = MoodyBackend::start(Mood::Denying);
    let rig = Rig::new(port, "");
    // It has no control plane that could be asked.
    let skep = Skep::start(&rig.config, &[rig.http]);
    rig.spans(&["a"]);
    rig.spans(&["b"]);
    let here = ["--directory", rig.directory()];
    let files = |arguments: &[&str]| dlq(&[arguments, &here].concat());
    wait_for("the dead letters", || files(&["list", "--json"]).out.lines().count() == 2);
    let said = files(&["list"]);
    assert!(said.out.ends_with("\n2 dead letters with 2 items, 74 bytes\n"), "{}", said.out);
    let said = files(&["drop", "--all"]);
    assert_eq!(said.code, Some(69));
    assert!(said.errors.contains("leave `--directory` out"), "{}", said.errors);
    assert!(skep.stop());

    let said = rig.dlq(&["list"]);
    assert_eq!(said.code, Some(69));
    assert!(said.errors.contains("`--directory DIR` reads the files"), "{}", said.errors);
    let said = files(&["show", "otlp_http/home:traces:1"]);
    assert!(said.out.contains("Name           : b"), "{}{}", said.out, said.errors);
    let said = files(&["replay", "--all"]);
    assert_eq!(said.code, Some(64));
    assert!(said.errors.contains("needs a running skep"), "{}", said.errors);
    let said = files(&["drop", "otlp_http/home:traces:0"]);
    assert_eq!((said.code, &*said.out), (Some(0), "dropped 1 dead letter with 1 item, 37 bytes\n"));
    assert!(files(&["list"]).out.contains("1 dead letter with"));
    let nowhere = tempfile::tempdir().unwrap();
    let said = dlq(&["list", "--directory", nowhere.path().to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    assert!(said.errors.contains("is not the `directory` of a storage"), "{}", said.errors);
    let said = dlq(&["list", "--directory", "/nowhere/at/all"]);
    assert_eq!(said.code, Some(69), "{}", said.errors);
    assert!(!Path::new(nowhere.path()).join("lock").exists());

    let skep = rig.start();
    assert_eq!(rig.ids(), ["otlp_http/home:traces:1"]);
    assert!(skep.stop());
}

#[test]
fn a_full_store_is_told_and_holds_up_nobody() {
    let (backend, port) = MoodyBackend::start(Mood::Picky);
    let rig = Rig::new(port, "");
    let skep = rig.start();
    let large = "poison".repeat(50_000);
    for _ in 0..12 {
        rig.spans(&[&large]);
    }
    wait_for("the end of all requests", || rig.metric("otelcol_exporter_send_failed_spans") > 11.5);
    let kept = rig.ids().len();
    assert!((3..7).contains(&kept), "{kept} letters of 300 kB in 2 MiB");
    let (counted, unkept) = (
        rig.metric("skep_exporter_dead_letters_spans"),
        rig.metric("skep_exporter_dead_letters_unkept_spans"),
    );
    assert!((counted - f64::from(u32::try_from(kept).unwrap())).abs() < 0.1);
    assert!((counted + unkept - 12.0).abs() < 0.1);
    rig.spans(&["good"]);
    wait_for("the good data", || backend.count("good") == 1);
    // Refused again where there is no room for a new letter: the old one stays.
    let said = rig.dlq(&["replay", "--all"]);
    assert_eq!(said.code, Some(74), "{}", said.out);
    assert!(rig.ids().len() >= kept, "none was lost");
    assert!(rig.dlq(&["drop", "--all"]).out.starts_with("dropped "));
    rig.spans(&["poison"]);
    rig.wait_for_letters(1);
    assert!(skep.stop());
}

#[test]
fn letters_go_where_a_reload_says() {
    let (_denying, wrong) = MoodyBackend::start(Mood::Denying);
    let (backend, right) = MoodyBackend::start(Mood::Open);
    let rig = Rig::new(wrong, "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, &rig.config).unwrap();
    let skep = rig.start_with(file.to_str().unwrap());
    rig.spans(&["lost"]);
    rig.wait_for_letters(1);
    let mended = rig.config.replace(&format!(":{wrong}\n"), &format!(":{right}\n"));
    assert_ne!(mended, rig.config);
    fs::write(&file, mended).unwrap();
    let pid = skep.0.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    // Until then it is refused again, and stays one letter.
    wait_for("the delivery", || {
        assert_eq!(rig.ids().len(), 1);
        rig.dlq(&["replay", "--all"]).code == Some(0)
    });
    assert_eq!(backend.count("lost"), 1);
    assert!(rig.ids().is_empty());
    assert!(skep.stop());
}
