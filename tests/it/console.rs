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

/// Changes and drops spans.
const EDIT: &str = "{attributes: {actions: [{key: user.email, action: hash}, \
    {key: added, value: 1, action: insert}]}, \
    filter/health: {trace_conditions: ['span.name == \"GET /health\"']}}";

impl Console {
    /// The same with the processors `attributes` and `filter/health`.
    fn start_with_processors(flags: &[&str]) -> Self {
        let mut console = Console::at("{nop: {}}");
        let text = fs::read_to_string(&console.file).unwrap();
        let text =
            text.replace("exporters: {nop", &format!("processors: {EDIT}\nexporters: {{nop"));
        let names = "processors: [attributes, filter/health], exporters";
        fs::write(&console.file, text.replace("exporters: [", &format!("{names}: ["))).unwrap();
        console.run(flags);
        console
    }

    /// `exporters` is the body of the section, in flow style; the first name in it is used.
    fn start(exporters: &str, flags: &[&str]) -> Self {
        let mut console = Console::at(exporters);
        console.run(flags);
        console
    }

    fn at(exporters: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let console = Console {
            skep: None,
            otlp: free_port(),
            port: free_port(),
            file: folder.path().join("skep.yaml"),
            folder,
        };
        console.write(exporters);
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

    /// Sends spans of a service, each with an attribute.
    fn send_of(&self, service: &str, names: &[&str]) {
        let attribute =
            |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let span = |name: &&str| {
            json!({
                "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
                "name": name, "startTimeUnixNano": "1732000000000000000",
                "endTimeUnixNano": "1732000000012000000",
                "attributes": [attribute("user.email", "ana@x.org"), attribute("http.route", "/cart")],
            })
        };
        let spans: Vec<Value> = names.iter().map(span).collect();
        let resource = json!({"attributes": [
            attribute("service.name", service), attribute("telemetry.sdk.language", "python"),
            attribute("telemetry.sdk.version", "1.29.0"),
        ]});
        let body =
            json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
        let json = "content-type: application/json\r\n";
        let (status, ..) = call(self.otlp, "POST", "/v1/traces", json, &body.to_string());
        assert_eq!(status, 200);
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
    browser.key("7");
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
        ("5", "none failing"),
        ("6", "Memory for data"),
        ("7", "Running"),
        ("2", "Start skep with --console-level data"),
        ("3", "--console-level data"),
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
        // One tab, since a browser opens no more than six connections to one server.
        let narrow = json!({"theme": theme, "width": 380, "height": 760});
        browser.step(&json!(["open", console.url("/"), narrow]));
        for path in [
            "/",
            "/?why=traces",
            "/tap",
            "/traces",
            "/boards",
            "/backends",
            "/budget",
            "/config",
            "/nothing",
        ] {
            browser.step(&json!(["to", console.url(path)]));
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

/// From a component of the graph to the data that passes it: what was changed, what was dropped,
/// all fields of an item, a condition with a mistake in it, and a pause.
#[test]
#[ignore = "needs SDKs of other languages"]
fn data_is_looked_at_as_it_passes() {
    let flags = ["--console-token", TOKEN, "--console-level", "data"];
    let mut console = Console::start_with_processors(&flags);
    let mut browser = Browser::start();
    browser.open(&console.url(&format!("/?node=processor%3Atraces%3Aattributes#t={TOKEN}")));
    browser.click("Tap here");
    browser.see("shown 0 of 0");
    browser.see("Nothing that fits has passed yet.");
    let at = "/tap?component=processor+attributes&pipeline=traces";
    assert_eq!(browser.url(), console.url(at));
    browser.is_sound();
    console.send_of("shop", &["GET /cart", "<img src=x onerror=alert(1)>"]);
    browser.see("shown 2 of 2, 0 missed");
    browser.see("changed user.email, added");
    browser.see("<img src=x onerror=alert(1)>");
    assert_eq!(browser.evaluate("document.querySelectorAll('main img').length"), 0);
    browser.is_sound();

    browser.click("GET /cart");
    browser.see("5b8efff798038103d269b633813fc60c");
    browser.see("ana@x.org");
    browser.see("attributes.http.route");
    browser.is_sound();
    // While a row is open, others wait.
    console.send_of("shop", &["GET /later"]);
    browser.see("Show 1 new row");
    browser.miss("GET /later");
    browser.click("Show 1 new row");
    browser.see("GET /later");

    // A reload of the page, and another component.
    browser.step(&json!([
        "to",
        console.url("/tap?component=processor+filter%2Fhealth&pipeline=traces")
    ]));
    browser.see("shown 0 of 0");
    console.send_of("shop", &["GET /cart", "GET /health"]);
    browser.see("dropped by filter/health: filtered");
    browser.see("unchanged");
    browser.step(&json!(["fill", "#where", "nam == 1"]));
    browser.key("Enter");
    browser
        .step(&json!(["until", "document.querySelector('#where-error').innerText.includes('^')"]));
    browser.is_sound();
    browser.step(&json!(["fill", "#where", "name == \"GET /health\""]));
    browser.key("Enter");
    browser.see("shown 0 of 0");
    assert!(browser.url().contains("where="), "{}", browser.url());
    console.send_of("shop", &["GET /cart", "GET /health"]);
    browser.see("shown 1 of 2");
    browser.click("Pause");
    browser.see("paused");
    let log = fs::read_to_string(console.log()).unwrap();
    assert!(log.contains("A tap was opened."), "{log}");
    browser.click("Go on");
    browser.see("shown 0 of 0");
    browser.has_no_complaints();
    console.stop();
}

/// Without a choice all components are listed; at the level of operation nothing is shown.
#[test]
#[ignore = "needs SDKs of other languages"]
fn what_can_be_tapped_is_listed_at_the_level_of_data_only() {
    let flags = ["--console-token", TOKEN, "--console-level", "data"];
    let mut console = Console::start_with_processors(&flags);
    let mut browser = Browser::start();
    browser.open(&console.url(&format!("/tap#t={TOKEN}")));
    browser.see("what it gets");
    browser.is_sound();
    browser.click("what it gets");
    browser.see("exporter nop");
    console.send_of("shop", &["GET /cart", "GET /health"]);
    browser.see("shown 1 of 1");
    console.stop();
    console.run(&["--console-token", TOKEN]);
    browser.step(&json!(["reload"]));
    browser.see("This console shows no contents of telemetry.");
    browser.open(&console.url("/?node=processor%3Atraces%3Aattributes"));
    browser.see("Everything was passed on");
    browser.miss("Tap here");
    browser.has_no_complaints();
    console.stop();
}

/// The steps from the port to the backends, and who sends: a name that is nearly another one's,
/// one that is none, and a client at a wrong path.
#[test]
#[ignore = "needs SDKs of other languages"]
fn senders_and_the_steps_of_their_data_are_shown() {
    let mut console = Console::start_with_processors(&["--console-token", TOKEN]);
    let mut browser = Browser::start();
    browser.open(&console.url(&format!("/#t={TOKEN}")));
    browser.see("Nothing has come yet");
    let headers = "content-type: application/json\r\nuser-agent: curl/8.5.0\r\n";
    let (status, ..) = call(console.otlp, "POST", "/", headers, "{}");
    assert_eq!(status, 404);
    browser.see("curl/8.5.0");
    browser.see("sent no data");
    browser.see("the paths are /v1/traces");
    browser.is_sound();
    for _ in 0..3 {
        console.send_of("backend-flask", &["GET /cart", "GET /health"]);
    }
    console.send_of("bakend-flask", &["GET /cart"]);
    console.send_of("unknown_service", &["GET /cart"]);
    browser.see("meant to be backend-flask?");
    browser.see("set OTEL_SERVICE_NAME");
    browser.see("python 1.29.0");
    browser.is_sound();

    browser.click("All steps");
    browser.see("left out");
    browser.see("skep why");
    assert!(browser.url().ends_with("/?why=traces"), "{}", browser.url());
    browser.is_sound();
    browser.key("Escape");
    browser.miss("skep why");
    browser.click("bakend-flask");
    browser.see("skep why bakend-flask");
    browser.see("requests bakend-flask");
    browser.is_sound();
    browser.step(&json!(["reload"]));
    browser.see("skep why bakend-flask");
    console.stop();
}
