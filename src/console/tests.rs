//! The listener as browsers, other pages and hostile programs see it, over raw sockets. Each row of
//! the table in `docs/console.md` is a test here, in `access`, or in `cli/console`.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

mod recent;

use super::*;
use crate::{component::reload::Outcome, otlp::Signal};

const TOKEN: &str = "0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

struct Fake;

impl Program for Fake {
    fn origin(&self) -> Origin {
        Origin { name: "skep.yaml".to_owned(), generation: 1, ..Origin::default() }
    }

    fn running(&self) -> Shown {
        Shown { yaml: "receivers:\n".to_owned(), ..Shown::default() }
    }

    fn on_disk(&self) -> Option<Text> {
        None
    }

    fn check(&self, text: String) -> Checked {
        Checked { valid: text == "good", ..Checked::default() }
    }
}

/// A console that runs.
struct Running {
    address: SocketAddr,
    telemetry: Arc<Telemetry>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Running {
    fn start(has_actions: bool, reloads: Option<Reloads>) -> Self {
        Running::with(Level::Operation, has_actions, reloads, None)
    }

    fn with(
        level: Level,
        has_actions: bool,
        reloads: Option<Reloads>,
        recent: Option<Arc<Recent>>,
    ) -> Self {
        let settings = Settings {
            endpoint: "127.0.0.1:0".to_owned(),
            level,
            has_actions,
            token: Token::chosen(TOKEN).unwrap(),
            is_token_new: false,
            hosts: Vec::new(),
            tls: None,
        };
        let telemetry = Arc::new(Telemetry::default());
        let program: Arc<dyn Program> = Arc::new(Fake);
        let sources = Sources { telemetry: Arc::clone(&telemetry), reloads, program, recent };
        let console = Console::bind(settings, sources, &mut Sockets::default()).unwrap();
        let (address, (stop, stopped)) = (console.address(), Stop::pair());
        assert_eq!(console.link(), format!("http://{address}/#t={TOKEN}"));
        let serving = tokio::spawn(console.run(stopped));
        Running { address, telemetry, stop, serving }
    }

    /// Sends a request as it is and returns the whole answer.
    async fn raw(&self, request: String) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request with further headers, each of which ends with `\r\n`.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let (address, length) = (self.address, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        self.raw(format!("{head}Content-Length: {length}\r\n{headers}\r\n{body}")).await
    }

    fn cookie(&self) -> String {
        let session = Token::chosen(TOKEN).unwrap().session();
        format!("Cookie: other=1; skep-{}={session}\r\n", self.address.port())
    }

    async fn get(&self, path: &str) -> String {
        self.ask("GET", path, &self.cookie(), "").await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let headers = format!("{}{headers}", self.cookie());
        self.ask("POST", path, &headers, body).await
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap();
    }
}

const JSON: &str = "Content-Type: application/json\r\nX-Skep: 1\r\n";

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_not_answered() {
    let console = Running::start(false, None);
    let port = console.address.port();
    for host in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("Host: 127.0.0.1:{}\r\n", port ^ 1),
        format!("Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n"),
        String::new(),
    ] {
        for path in ["/", "/api/v1/health", "/a/x"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\n{host}{}Connection: close\r\n\r\n",
                console.cookie()
            );
            let answer = console.raw(request).await;
            let is_refused = ["421", "400"].contains(&status(&answer));
            assert!(is_refused && !answer.contains("components"), "{host} {path}: {answer}");
        }
    }
    let local = format!("GET / HTTP/1.1\r\nHost: LOCALHOST:{port}\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&console.raw(local).await), "200");
    console.stop().await;
}

#[tokio::test]
async fn only_who_has_the_token_is_told_anything() {
    let console = Running::start(true, None);
    for route in api::ROUTES {
        let path = format!("{}{}", api::ROOT, route.path);
        let method = if route.method == api::Verb::Post { "POST" } else { "GET" };
        for (path, headers) in [
            (path.clone(), String::new()),
            (format!("{path}?t={TOKEN}"), String::new()),
            (path.clone(), format!("Cookie: skep-1={TOKEN}\r\n")),
            (path.clone(), format!("Cookie: skep-{}={TOKEN}\r\n", console.address.port())),
            (path.clone(), format!("Cookie: skep-{}=\r\n", console.address.port())),
            (path.clone(), "Authorization: Bearer wrong-wrong-wrong\r\n".to_owned()),
        ] {
            let answer = console.ask(method, &path, &format!("{JSON}{headers}"), "{}").await;
            assert!(["401", "429"].contains(&status(&answer)), "{path} {headers}: {answer}");
        }
    }
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(status(&console.ask("GET", "/api/v1/about", &bearer, "").await), "200");
    // Somebody tries many tokens.
    for _ in 0..30 {
        console.ask("POST", "/api/v1/login", JSON, r#"{"token":"wrong"}"#).await;
    }
    assert_eq!(status(&console.ask("GET", "/api/v1/about", &bearer, "").await), "429");
    assert_eq!(status(&console.get("/api/v1/about").await), "200", "others go on");
    console.stop().await;
}

#[tokio::test]
async fn the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_have() {
    let console = Running::start(false, None);
    let body = format!("{{\"token\":\"{TOKEN}\"}}");
    let answer = console.ask("POST", "/api/v1/login", JSON, &body).await;
    assert_eq!(status(&answer), "204", "{answer}");
    let session = Token::chosen(TOKEN).unwrap().session();
    let cookie = format!(
        "set-cookie: skep-{}={session}; Path=/; HttpOnly; SameSite=Strict\r\n",
        console.address.port()
    );
    assert!(answer.contains(&cookie) && !answer.contains(TOKEN), "{answer}");
    for wrong in [r#"{"token":"0123456789abcdeX"}"#, r#"{"token":""}"#] {
        let answer = console.ask("POST", "/api/v1/login", JSON, wrong).await;
        assert!(status(&answer) == "401" && !answer.contains("set-cookie"), "{answer}");
    }
    for wrong in ["", "7", "{}", r#"{"token":7}"#, r#"{"token":"x","more":1}"#] {
        let answer = console.ask("POST", "/api/v1/login", JSON, wrong).await;
        assert!(status(&answer) == "400" && !answer.contains("set-cookie"), "{answer}");
    }
    assert_eq!(status(&console.ask("GET", "/api/v1/login", "", "").await), "405");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(status(&console.ask("GET", "/api/v1/about", &bearer, "").await), "200");
    console.stop().await;
}

#[tokio::test]
async fn other_pages_cannot_ask_in_the_name_of_the_user() {
    let console = Running::start(true, None);
    let path = "/api/v1/validate";
    let body = r#"{"text":"good"}"#;
    assert_eq!(status(&console.post(path, JSON, body).await), "200");
    let own = "Sec-Fetch-Site: same-origin\r\n";
    assert_eq!(status(&console.post(path, &format!("{JSON}{own}"), body).await), "200");
    for (headers, expected) in [
        ("", "415"),
        ("X-Skep: 1\r\n", "415"),
        ("Content-Type: text/plain\r\nX-Skep: 1\r\n", "415"),
        ("Content-Type: application/x-www-form-urlencoded\r\nX-Skep: 1\r\n", "415"),
        ("Content-Type: application/json\r\n", "403"),
        ("Content-Type: application/json\r\nX-Skep: 0\r\n", "403"),
    ] {
        assert_eq!(status(&console.post(path, headers, body).await), expected, "{headers}");
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        let headers = format!("{JSON}Sec-Fetch-Site: {site}\r\n");
        assert_eq!(status(&console.post(path, &headers, body).await), "403", "{site}");
        let headers = format!("{}Sec-Fetch-Site: {site}\r\n", console.cookie());
        let answer = console.ask("GET", "/api/v1/health", &headers, "").await;
        assert!(status(&answer) == "403" && !answer.contains("components"), "{answer}");
    }
    console.stop().await;
}

#[tokio::test]
async fn no_answer_lets_another_origin_read_it() {
    let console = Running::start(true, None);
    let origin = "Origin: https://evil.example\r\n";
    let preflight = format!(
        "{origin}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-skep\r\n"
    );
    let options = console.ask("OPTIONS", "/api/v1/reload", &preflight, "").await;
    assert_eq!(status(&options), "405");
    let mut answers = vec![options];
    for path in ["/", "/api/v1/health", "/api/v1/none", "/x.js"] {
        answers.push(console.ask("GET", path, &format!("{origin}{}", console.cookie()), "").await);
    }
    for answer in answers {
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
    }
    console.stop().await;
}

#[tokio::test]
async fn every_answer_says_what_browsers_may_do_with_it() {
    let console = Running::start(false, None);
    let index = console.get("/").await;
    let script = index.split("src=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src \
                  'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action \
                  'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                  trusted-types 'none'\r\n";
    let kept = "cache-control: public, max-age=31536000, immutable\r\n";
    for (path, expected, cache) in [
        ("/", "200", "cache-control: no-cache\r\n"),
        ("/backends", "200", "cache-control: no-cache\r\n"),
        (&*script, "200", kept),
        ("/a/0000000000000000/app/main.js", "404", "cache-control: no-store\r\n"),
        ("/api/v1/health", "200", "cache-control: no-store\r\n"),
        ("/api/v1/none", "404", "cache-control: no-store\r\n"),
        ("/favicon.ico", "404", "cache-control: no-store\r\n"),
    ] {
        let answer = console.get(path).await;
        assert_eq!(status(&answer), expected, "{path}");
        for header in [
            policy,
            cache,
            "x-content-type-options: nosniff\r\n",
            "x-frame-options: DENY\r\n",
            "referrer-policy: no-referrer\r\n",
            "cross-origin-resource-policy: same-origin\r\n",
            "cross-origin-opener-policy: same-origin\r\n",
        ] {
            assert!(answer.contains(header), "{path} {header}: {answer}");
        }
    }
    let tag = index.split("etag: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let again = console.ask("GET", "/", &format!("If-None-Match: {tag}\r\n"), "").await;
    assert!(status(&again) == "304" && !again.contains("<html"), "{again}");
    let gzip = console.ask("GET", &script, "Accept-Encoding: br, gzip\r\n", "").await;
    assert!(gzip.contains("content-encoding: gzip\r\n"), "{gzip}");
    let head = console.ask("HEAD", "/", "", "").await;
    assert!(status(&head) == "200" && head.ends_with("\r\n\r\n"), "{head}");
    console.stop().await;
}

#[tokio::test]
async fn nothing_changes_unless_actions_are_allowed() {
    let (reloads, mut asks) = Reloads::pair();
    let console = Running::start(false, Some(reloads.clone()));
    let refused = console.post("/api/v1/reload", JSON, "{}").await;
    assert!(status(&refused) == "403" && refused.contains("--console-actions"), "{refused}");
    assert_eq!(status(&console.get("/api/v1/reload").await), "405");
    assert!(asks.try_recv().is_err(), "nobody was asked");
    console.stop().await;

    let console = Running::start(true, Some(reloads));
    let answering = tokio::spawn(async move {
        let outcome = Outcome { is_applied: true, ..Outcome::default() };
        asks.recv().await.unwrap().send(outcome).unwrap();
        asks
    });
    let answer = console.post("/api/v1/reload", JSON, "{}").await;
    assert!(answer.contains(r#""applied":true"#), "{answer}");
    drop(answering.await.unwrap());
    let ending = console.post("/api/v1/reload", JSON, "{}").await;
    assert!(status(&ending) == "503" && ending.contains("skep is ending"), "{ending}");
    console.stop().await;
    let console = Running::start(true, None);
    assert_eq!(status(&console.post("/api/v1/reload", JSON, "{}").await), "501");
    console.stop().await;
}

#[tokio::test]
async fn the_calls_tell_what_the_control_plane_tells() {
    let console = Running::start(false, None);
    console.telemetry.set_ready(true);
    console.telemetry.edge("traces", "receiver otlp", "exporter b").items.add(5);
    let exporter = console.telemetry.exporter("b", Signal::Traces, "b:4317");
    exporter.denied(std::time::SystemTime::now(), "HTTP 401: no such key");
    exporter.failed.add(7);
    for (path, words) in [
        ("about", r#""name":"skep.yaml""#),
        ("health", r#""state":"error""#),
        ("topology", r#""lost_items":7"#),
        ("backends", r#""failed_items":7"#),
        ("backends", "HTTP 401: no such key"),
        ("budget", r#""months":[]"#),
        ("config", r#""yaml":"receivers:\n""#),
        ("problems", r#""problems":["#),
        ("senders", r#""forgotten":0"#),
        ("where-stopped", r#""stopped":true"#),
    ] {
        let answer = console.get(&format!("/api/v1/{path}")).await;
        assert!(status(&answer) == "200" && answer.contains(words), "{path}: {answer}");
        assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    }
    console.stop().await;
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let console = Running::start(false, None);
    let text = "x".repeat((1 << 20) + 1);
    let answer = console.post("/api/v1/validate", JSON, &text).await;
    assert_eq!(status(&answer), "413", "{answer}");
    for wrong in ["", "{", r#"{"text":1}"#, r#"{"text":"a","file":"/etc/passwd"}"#] {
        let answer = console.post("/api/v1/validate", JSON, wrong).await;
        assert!(status(&answer) == "400" && !answer.contains("passwd"), "{answer}");
    }
    console.stop().await;
}

/// An open stream of events.
struct Stream(TcpStream, String);

impl Stream {
    async fn open(console: &Running, topics: &str) -> Self {
        Stream::of(console, &format!("events?topics={topics}")).await
    }

    async fn of(console: &Running, path: &str) -> Self {
        let mut stream = TcpStream::connect(console.address).await.unwrap();
        let request = format!(
            "GET /api/v1/{path} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            console.address,
            console.cookie()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Stream(stream, String::new())
    }

    /// Everything until a text has come, or the end.
    async fn until(&mut self, text: &str) -> &str {
        let reading = async {
            let mut part = [0; 4096];
            while !self.1.contains(text) {
                match self.0.read(&mut part).await.unwrap() {
                    0 => break,
                    count => self.1.push_str(&String::from_utf8_lossy(&part[..count])),
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
        &self.1
    }
}

#[tokio::test]
async fn what_changes_comes_by_itself_until_the_process_ends() {
    let console = Running::start(false, None);
    let mut stream = Stream::open(&console, "about,topology").await;
    let first = stream.until("event: topology\ndata: ").await;
    assert!(first.contains("content-type: text/event-stream\r\n"), "{first}");
    assert!(first.contains("event: about\n") && !first.contains("event: health"), "{first}");
    console.telemetry.edge("traces", "receiver otlp", "exporter b").items.add(4711);
    stream.until("4711").await;
    let wrong = console.get("/api/v1/events?topics=nothing").await;
    assert!(status(&wrong) == "400" && wrong.contains("no topic `nothing`"), "{wrong}");
    let wrong = console.get("/api/v1/events").await;
    assert_eq!(status(&wrong), "400");
    console.stop().await;
    let all = stream.until("a text that never comes").await;
    assert!(all.ends_with("0\r\n\r\n"), "the stream is whole: {all}");
}

#[tokio::test]
async fn a_ninth_viewer_is_told_that_there_are_eight() {
    let console = Running::start(false, None);
    let mut viewers = Vec::new();
    for _ in 0..8 {
        let mut stream = Stream::open(&console, "about").await;
        stream.until("event: about").await;
        viewers.push(stream);
    }
    let ninth = console.get("/api/v1/events?topics=about").await;
    assert!(status(&ninth) == "503" && ninth.contains("8 pages are watching"), "{ninth}");
    assert_eq!(status(&console.get("/api/v1/health").await), "200", "calls go on");
    viewers.pop();
    // The server notices that the page has gone.
    let again = async {
        loop {
            let mut stream = Stream::open(&console, "about").await;
            if stream.until("\r\n").await.contains(" 200 ") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    console.stop().await;
}

#[tokio::test]
async fn contents_are_shown_at_the_level_of_data_only() {
    const TAP: &str = "pipeline=traces&component=filter";
    let console = Running::start(true, None);
    let hidden = console.telemetry.processor("filter", "traces", Signal::Traces);
    for path in ["taps".to_owned(), format!("tap?{TAP}")] {
        let answer = console.get(&format!("/api/v1/{path}")).await;
        let is_refused = status(&answer) == "403" && answer.contains("--console-level data");
        assert!(is_refused && !answer.contains("filter"), "{answer}");
    }
    assert!(!hidden.tap.is_open());
    console.stop().await;

    let console = Running::with(Level::Data, false, None, None);
    let stats = console.telemetry.processor("filter", "traces", Signal::Traces);
    let listed = console.get("/api/v1/taps").await;
    let point = r#"{"pipeline":"traces","kind":"processor","id":"filter","side":"both"}"#;
    assert!(listed.contains(point), "{listed}");
    let mut taps = Vec::new();
    for _ in 0..4 {
        let mut tap = Stream::of(&console, &format!("tap?{TAP}")).await;
        let first = tap.until(r#""end":"""#).await;
        assert!(first.contains("content-type: text/event-stream\r\n"), "{first}");
        assert!(first.contains("event: tap\n"), "{first}");
        taps.push(tap);
    }
    let fifth = console.get(&format!("/api/v1/tap?{TAP}")).await;
    assert!(status(&fifth) == "503" && fifth.contains("4 taps are open"), "{fifth}");
    let wrong = console.get(&format!("/api/v1/tap?{TAP}&where=nam+%3D%3D+1")).await;
    assert!(status(&wrong) == "400" && wrong.contains('^'), "{wrong}");
    // They close with their connections.
    drop(taps.split_off(1));
    let others = async {
        while status(&console.get(&format!("/api/v1/tap?{TAP}&seconds=1")).await) != "200" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, others).await.unwrap();
    assert!(stats.tap.is_open());
    console.stop().await;
    let all = taps[0].until("a text that never comes").await;
    assert!(all.contains(r#""end":"skep ends""#), "{all}");
}

#[tokio::test]
async fn ladders_are_told_by_service() {
    let console = Running::start(false, None);
    let all = console.get("/api/v1/where-stopped?service=shop&signal=traces").await;
    assert_eq!(status(&all), "200", "{all}");
    let wrong = console.get("/api/v1/where-stopped?signal=trace").await;
    assert!(status(&wrong) == "400" && wrong.contains("not a signal"), "{wrong}");
    let wrong = console.get("/api/v1/where-stopped?servce=shop").await;
    assert!(status(&wrong) == "400" && wrong.contains("no parameter `servce`"), "{wrong}");
    console.stop().await;
}
