//! The console of a running skep: the link, and what a person does with the pages in Chromium.

mod data;

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    Skep, free_port, http_backend::http_backend, page::Browser, rollbar_backend::call,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SPANS: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}"#;

/// Skep with a console and a port for OTLP, whose configuration is a file.
struct Console {
    skep: Option<Skep>,
    otlp: u16,
    port: u16,
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl Console {
    /// `exporters` is the body of the section, in flow style; the first name in it is used.
    fn start(exporters: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut console = Console {
            skep: None,
            otlp: free_port(),
            port: free_port(),
            file: folder.path().join("skep.yaml"),
            folder,
        };
        console.write(exporters);
        console.run(flags);
        console
    }

    fn write(&self, exporters: &str) {
        let name = exporters.trim_start_matches('{').split(':').next().unwrap();
        let otlp = self.otlp;
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}
exporters: {exporters}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [{name}]}}}}
"
        );
        fs::write(&self.file, text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.env_remove("SKEP_CONFIG").env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    fn run(&mut self, flags: &[&str]) {
        let mut command = self.command();
        command.args(["--control-endpoint", "off", "--config", self.file.to_str().unwrap()]);
        command.args(["--console-endpoint", &format!("127.0.0.1:{}", self.port)]).args(flags);
        let log = File::options().append(true).create(true).open(self.log()).unwrap();
        let mut skep = Skep(command.stderr(log).spawn().unwrap());
        skep.listens(&[self.otlp, self.port]);
        self.skep = Some(skep);
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What `skep console` prints.
    fn link(&self) -> String {
        let output = self.command().arg("console").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn send(&self) {
        let json = "content-type: application/json\r\n";
        let (status, ..) = call(self.otlp, "POST", "/v1/traces", json, SPANS);
        assert_eq!(status, 200);
    }

    fn stop(&mut self) {
        assert!(self.skep.take().unwrap().stop());
    }
}

#[test]
fn the_owner_of_a_console_finds_its_link_and_nobody_else() {
    let mut console = Console::start("{nop: {}}", &[]);
    let link = console.link();
    let start = console.url("/#t=");
    let token = link.strip_prefix(&start).unwrap();
    assert_eq!(token.len(), 32, "{link}");
    let file = console.folder.path().join(format!("skep/console-{}", console.port));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let logged = fs::read_to_string(console.log()).unwrap();
    assert!(logged.contains("The console is open") && !logged.contains(token), "{logged}");
    console.stop();
    assert!(!file.exists(), "it goes with the process");
    let output = console.command().arg("console").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(errors.contains("start skep with `--console-endpoint"), "{errors}");
}

#[test]
fn a_console_for_other_machines_needs_tls_or_a_word() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.env_remove("SKEP_CONFIG").args(["--config", "yaml:{}"]);
    for (arguments, words) in [
        (["--console-endpoint", "8686"], "host:port"),
        (["--console-level", "everything"], "`operation`"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        let output = command.args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(64) && errors.contains(words), "{errors}");
    }
    let output = command.args(["--console-endpoint", "0.0.0.0:8686"]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{errors}");
    assert!(errors.contains("--console-insecure"), "{errors}");
}

/// Status and body of an answer of the API.
fn ask(port: u16, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n");
    write!(stream, "{head}{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn programs_use_the_api_with_the_token() {
    let mut console = Console::start("{nop: {}}", &["--console-token", TOKEN]);
    console.send();
    assert_eq!(ask(console.port, "/api/v1/topology", "").0, 401);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let (status, body) = ask(console.port, "/api/v1/topology", &bearer);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["edges"][0]["items"]), (200, &json!(2)));
    let (_, body) = ask(console.port, "/api/v1/about", &bearer);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["level"], "operation");
    let ports = body["configuration"]["ports"].as_array().unwrap();
    let address = format!("127.0.0.1:{}", console.otlp);
    assert!(ports.iter().any(|port| port["address"] == *address), "{ports:?}");
    console.stop();
}

/// The first visit: the link, the first data, numbers that move.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_person_opens_the_link_and_sees_the_first_data() {
    let mut console = Console::start("{nop: {}}", &[]);
    let mut browser = Browser::start();
    browser.open(&console.url("/backends"));
    browser.see("Token or link");
    browser.is_sound();
    browser.step(&json!(["fill", "#token", "wrong-wrong-wrong-wrong"]));
    browser.key("Enter");
    browser.see("this is not the token of this skep");
    browser.step(&json!(["fill", "#token", console.link()]));
    browser.key("Enter");
    browser.see("Backends");
    assert_eq!(browser.url(), console.url("/backends"), "where it was going to");

    browser.step(&json!(["open", console.link(), {"theme": "dark"}]));
    browser.see("Nothing has come yet");
    browser.see(&format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:{}", console.otlp));
    assert_eq!(browser.url(), console.url("/"), "the token is not in the address");
    browser.click("Ruby");
    browser.see("bundle exec ruby app.rb");
    assert_eq!(browser.url(), console.url("/?language=ruby"));
    browser.is_sound();
    console.send();
    browser.see("2 in since the start");
    browser.miss("Nothing has come yet");
    browser.see("Data flows to nop");
    console.send();
    browser.see("4 in since the start");
    browser.is_sound();
    let stored = browser
        .evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])");
    let token = console.link();
    let token = token.split("#t=").nth(1).unwrap();
    assert!(!stored.as_str().unwrap().contains(token), "scripts cannot read it: {stored}");
    console.stop();
}

/// A backend that refuses everything is shown with its words and the remedy, on both pages.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_backend_that_refuses_is_shown_with_its_words() {
    let (_backend, to) = http_backend(&["x-key: right"]);
    let exporters = format!("{{otlp_http: {{endpoint: 'http://127.0.0.1:{to}'}}}}");
    let mut console = Console::start(&exporters, &[]);
    let mut browser = Browser::start();
    browser.open(&console.link());
    browser.see("Nothing has come yet");
    console.send();
    browser.see("Traces reach no backend");
    browser.see("HTTP 401");
    browser.see("the credentials are missing");
    browser.is_sound();
    browser.click("Look");
    browser.see("1 of 1 failing");
    browser.see("it never took data");
    assert_eq!(browser.url(), console.url("/backends?find=otlp_http"));
    browser.is_sound();
    browser.step(&json!(["back"]));
    browser.see("Traces reach no backend");
    console.stop();
}

/// What is on disk is compared with what runs, a reload says what it changed, and a broken file is
/// shown where it is broken.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_configuration_is_looked_at_checked_and_reloaded() {
    let mut console = Console::start("{nop: {}}", &["--console-actions"]);
    let mut browser = Browser::start();
    browser.open(&console.link());
    browser.see("live");
    browser.key("6");
    browser.see("What runs is what is on disk.");
    browser.see("receivers:");
    browser.is_sound();
    console.write("{debug: {verbosity: basic}}");
    browser.step(&json!(["reload"]));
    browser.see("a reload would apply it");
    browser.click("Reload");
    browser.see("Applied.");
    browser.see("exporter debug of traces");
    browser.see("What runs is what is on disk.");
    browser.is_sound();
    console.write("{debug: {verbosty: basic}}");
    browser.step(&json!(["reload"]));
    browser.see("On disk it has 1 error");
    browser.click("Reload");
    browser.see("Not applied");
    browser.evaluate(
        "[...document.querySelectorAll('[role=tab]')].find(tab => tab.textContent === 'skep.yaml').click()",
    );
    browser.see("did you mean");
    browser.step(&json!([
        "until",
        "document.querySelector('.line.error .line-number').textContent === '2'"
    ]));
    browser.click("Check a file");
    browser.see("Valid");
    let text = "receivers: {otlp: {protocols: {grpc: {}}}}\nexporters: {debug: {verbosty: basic}}\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n";
    browser.evaluate(&format!(
        "(() => {{ const box = document.querySelector('textarea'); box.value = {}; \
         box.dispatchEvent(new Event('input', {{bubbles: true}})); }})()",
        json!(text)
    ));
    browser.see("Not valid: 1 error");
    browser.see("the text:2:");
    browser.is_sound();
    console.stop();
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn everything_is_reached_by_keys_and_fits_a_narrow_window() {
    let mut console = Console::start("{nop: {}}", &["--console-token", TOKEN]);
    console.send();
    let mut browser = Browser::start();
    browser.open(&console.url(&format!("/#t={TOKEN}")));
    browser.see("2 in since the start");
    for (key, title) in [
        ("4", "none failing"),
        ("5", "Memory for data"),
        ("6", "Running"),
        ("2", "--console-level data"),
    ] {
        browser.key(key);
        browser.see(title);
    }
    browser.key("?");
    browser.see("charts as tables");
    browser.key("Escape");
    browser.miss("charts as tables");
    browser.key("1");
    browser.see("Pipelines");
    browser.key("/");
    let focused = browser.evaluate("document.activeElement.matches('[data-search]')");
    assert_eq!(focused, true);
    browser.key("Escape");
    browser.key("t");
    browser.see("Items/s");
    browser.is_sound();
    browser.key("t");
    browser.miss("Items/s");
    browser.key("p");
    browser.see("paused");
    browser.key("p");
    browser.see("live");
    browser.evaluate("document.querySelector('.box.receiver').focus()");
    browser.key("Enter");
    browser.see("Everything was passed on");
    assert!(browser.url().contains("node=receiver%3Aotlp"), "{}", browser.url());
    browser.step(&json!(["reload"]));
    browser.see("Everything was passed on");
    browser.key("Escape");
    browser.miss("Everything was passed on");
    for theme in ["light", "dark"] {
        for path in ["/", "/traces", "/boards", "/backends", "/budget", "/config", "/nothing"] {
            let narrow = json!({"theme": theme, "width": 380, "height": 760});
            browser.step(&json!(["open", console.url(path), narrow]));
            browser.see("live");
            browser.step(&json!(["until", "document.querySelector('main .card') !== null"]));
            let wide = "document.documentElement.scrollWidth - innerWidth";
            assert_eq!(browser.evaluate(wide), 0, "{path}");
            browser.is_sound();
        }
    }
    console.stop();
}

/// With a token that stays, pages go on by themselves; with a new one they ask for it.
#[test]
#[ignore = "needs SDKs of other languages"]
fn pages_live_through_an_end_and_a_start_of_skep() {
    let mut console = Console::start("{nop: {}}", &["--console-token", TOKEN]);
    let mut browser = Browser::start();
    browser.open(&console.url(&format!("/#t={TOKEN}")));
    browser.see("Nothing has come yet");
    console.send();
    browser.see("2 in since the start");
    browser.open(&console.url("/backends"));
    browser.see("live");
    console.stop();
    browser.see("skep does not answer");
    browser.step(&json!(["tab", 1]));
    browser.see("skep does not answer");
    console.run(&["--console-token", TOKEN]);
    browser.miss("skep does not answer");
    browser.see("Nothing has come yet");
    console.send();
    browser.see("2 in since the start");
    browser.step(&json!(["tab", 2]));
    browser.see("live");
    console.stop();
    console.run(&[]);
    browser.see("skep was started again");
    browser.step(&json!(["fill", "#token", console.link()]));
    browser.key("Enter");
    browser.see("live");
    browser.has_no_complaints();
    console.stop();
}

/// Over TLS, browsers speak HTTP/2, where a stream without end must not be taken for one that is
/// stuck.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_console_with_tls_stays_live() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    fs::write(&cert_file, key.cert.pem()).unwrap();
    fs::write(&key_file, key.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert_file.to_str().unwrap(), key_file.to_str().unwrap());
    let flags = ["--console-token", TOKEN, "--console-cert", cert, "--console-key", key];
    let mut console = Console::start("{nop: {}}", &flags);
    let mut browser = Browser::start();
    browser.open(&format!("https://localhost:{}/#t={TOKEN}", console.port));
    browser.see("Nothing has come yet");
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.evaluate(protocol), "h2");
    // A stuck stream is noticed after two looks of five seconds.
    browser.evaluate("window.began = performance.now(), window.lost = 0, new MutationObserver(() => { if (document.body.innerText.includes('skep is gone')) window.lost += 1; }).observe(document.body, {subtree: true, childList: true, characterData: true}), 0");
    browser.step(&json!(["until", "performance.now() - window.began > 14000"]));
    assert_eq!(browser.evaluate("window.lost"), 0);
    console.send();
    browser.see("2 in since the start");
    console.stop();
}
