//! The exporters' clients against backends that misbehave: whatever these do, every item is
//! delivered, sent again or counted as lost, and nothing that was taken is sent twice. The real
//! exporters are behind the real queue; only the backend is a script.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use h2::Reason as Reset;
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::{
    component::{BuildContext, ClientAuth},
    config::{Problems, yaml},
    engine::export::{
        dispatcher::Dispatcher,
        offload::Offload,
        queue::{Deps, ExportQueue},
    },
    exporters, extensions,
    otlp::{
        Payload, Signal,
        payload::{Outcome, Reason, Receipt, Wait},
    },
    telemetry::{ExporterStats, Telemetry},
};
use tokio::sync::{oneshot, watch};

use crate::support::hostile::{Act, Call, Hostile};

const DEADLINE: Duration = Duration::from_secs(30);
const DELIVERED: Outcome = Outcome::Delivered;
const REFUSED: Outcome = Outcome::Failed(Reason::BackendRefused);

/// An exporter behind its queue.
struct Exporting {
    queue: Arc<ExportQueue>,
    stats: Arc<ExporterStats>,
    /// Dropping it would end the queue.
    _abandon: watch::Sender<bool>,
}

/// What tests leave out: fast retries, no compression.
const DEFAULTS: [&str; 4] = [
    "compression: none",
    "timeout: 20s",
    "retry_on_failure: {initial_interval: 10ms, max_interval: 10ms, max_elapsed_time: 20s}",
    "tls: {insecure: true}",
];

impl Exporting {
    /// `keys` are lines of YAML; they win over [`DEFAULTS`].
    fn start(kind: &str, port: u16, keys: &[&str]) -> Self {
        Self::with_auth(kind, port, keys, None)
    }

    fn with_auth(kind: &str, port: u16, keys: &[&str], auth: Option<Arc<dyn ClientAuth>>) -> Self {
        let key = |line: &str| line.split(':').next().map(str::to_owned);
        let mut text = format!("endpoint: http://127.0.0.1:{port}\n");
        let rest = DEFAULTS.iter().filter(|line| !keys.iter().any(|own| key(own) == key(line)));
        for line in keys.iter().chain(rest) {
            writeln!(text, "{line}").unwrap();
        }
        let node = yaml::parse(0, &text).unwrap();
        let mut problems = Problems::default();
        let entry = exporters::ALL.iter().find(|entry| entry.name == kind).unwrap();
        let config = (entry.decode)(&node, &mut problems).unwrap();
        config.validate(&node, &mut problems);
        assert!(!problems.has_errors(), "{problems:?}");
        let telemetry = Arc::new(Telemetry::default());
        let context = BuildContext {
            telemetry: Arc::clone(&telemetry),
            auth,
            ..BuildContext::test(kind, Signal::Traces)
        };
        let stats = telemetry.exporter(kind, Signal::Traces, "a hostile backend");
        let deps = Deps {
            stats: Arc::clone(&stats),
            telemetry,
            offload: Offload::in_place(),
            spool: None,
            dead_letters: None,
            is_guarded: false,
            monthly: None,
        };
        let exporter = config.build(&context).unwrap();
        let (queue, dispatcher) = Dispatcher::new(exporter, config.delivery(), 1 << 30, deps);
        let (abandon, abandoned) = watch::channel(false);
        tokio::spawn(dispatcher.run(abandoned));
        Exporting { queue, stats, _abandon: abandon }
    }

    async fn send(&self, name: &str) -> Outcome {
        self.send_body(request(name, 1), 1).await
    }

    async fn send_body(&self, body: Vec<u8>, items: u64) -> Outcome {
        let (tx, rx) = oneshot::channel();
        let mut payload = Payload::unpaid(Signal::Traces, Bytes::from(body), items);
        let answer = Box::new(move |outcome| {
            let _ = tx.send(outcome);
        });
        payload.receipts.push(Receipt::new(Wait::Delivery, answer));
        self.queue.enqueue(payload);
        tokio::time::timeout(DEADLINE, rx).await.unwrap().unwrap()
    }

    /// Items sent, rejected in a partial success and lost, and attempts that were repeated.
    fn counts(&self) -> [u64; 4] {
        let ExporterStats { sent, rejected, failed, retries, .. } = &*self.stats;
        [sent.read(), rejected.read(), failed.read(), retries.read()]
    }

    fn last_error(&self) -> String {
        self.stats.last_error().map(|(_, text)| text).unwrap_or_default()
    }
}

/// A request of so many spans, the first of which has the name.
fn request(name: &str, spans: usize) -> Vec<u8> {
    let span = Span { name: name.to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span; spans], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {len}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn ok() -> Vec<u8> {
    answer(200, "content-type: application/x-protobuf\r\n", b"")
}

fn partial_success(rejected: i64) -> Vec<u8> {
    let error_message = "too old".to_owned();
    let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message };
    ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec()
}

// === OTLP/HTTP ===

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_attempt() {
    let backend = Hostile::http(vec![Act::SayAndClose(ok()), Act::Say(ok())]).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    backend.ended(1).await;
    assert_eq!(exporting.send("two").await, DELIVERED);
    assert_eq!(exporting.send("three").await, DELIVERED);
    assert_eq!(backend.names(), ["one", "two", "three"]);
    assert_eq!(backend.connections(), 2, "the second one is kept");
    assert_eq!(exporting.counts(), [3, 0, 0, 0]);
}

#[tokio::test]
async fn connections_that_close_after_each_answer_lose_and_double_nothing() {
    let backend = Hostile::http(vec![Act::SayAndClose(ok())]).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    let names: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    for four in names.chunks(4) {
        let [a, b, c, d] = four else { unreachable!() };
        let sending = async {
            tokio::join!(exporting.send(a), exporting.send(b), exporting.send(c), exporting.send(d))
        };
        assert_eq!(sending.await, (DELIVERED, DELIVERED, DELIVERED, DELIVERED));
    }
    let mut seen = backend.names();
    seen.sort_by_key(|name| name.parse::<u32>().unwrap());
    assert_eq!(seen, names);
    let [sent, rejected, failed, _] = exporting.counts();
    assert_eq!([sent, rejected, failed], [200, 0, 0]);
}

#[tokio::test]
async fn what_ends_without_a_whole_answer_is_sent_again() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc".to_vec();
    let many_headers = "x-header: y\r\n".repeat(300);
    let script = vec![
        Act::SayAndClose(Vec::new()),
        Act::SayAndReset(Vec::new()),
        Act::SayAndClose(half.clone()),
        Act::SayAndReset(half),
        Act::SayAndClose(b"220 mail.example.com ESMTP\r\n\r\n".to_vec()),
        Act::SayAndClose(answer(200, &many_headers, b"")),
        Act::Say(ok()),
    ];
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert_eq!(backend.names(), ["one"; 7]);
    assert_eq!(exporting.counts(), [1, 0, 0, 6]);
}

#[tokio::test]
async fn a_backend_that_never_answers_costs_one_attempt_and_its_connection() {
    let backend = Hostile::http(vec![Act::Say(Vec::new()), Act::Say(ok())]).await;
    let exporting = Exporting::start("otlp_http", backend.port, &["timeout: 200ms"]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    let connections: Vec<usize> = backend.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 2]);
    assert_eq!(exporting.counts(), [1, 0, 0, 1]);
}

#[tokio::test]
async fn a_success_is_a_success_whatever_stands_in_its_body() {
    let script = vec![
        Act::Say(answer(200, "content-type: text/html\r\n", b"<html>hello</html>")),
        Act::Say(answer(200, "content-type: application/x-protobuf\r\n", &[0xFF; 40])),
        Act::Say(answer(200, "content-type: application/x-protobuf\r\n", b"\x0A\x7Fcut")),
        Act::Say(answer(200, "content-type: application/json\r\n", b"{\"partialSuccess\":7")),
        Act::Say(answer(202, "", b"")),
        Act::Say(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Act::Say([&b"HTTP/1.1 100 Continue\r\n\r\n"[..], &ok()].concat()),
        Act::Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()),
        Act::SayAndClose(b"HTTP/1.0 200 OK\r\n\r\nuntil the end".to_vec()),
    ];
    let count = script.len() as u64;
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    for _ in 0..count {
        assert_eq!(exporting.send("one").await, DELIVERED);
    }
    assert_eq!(exporting.counts(), [count, 0, 0, 0]);
    assert_eq!(backend.connections(), 1, "none of it costs the connection");
}

#[tokio::test]
async fn partial_success_is_counted_in_both_encodings_and_not_sent_again() {
    let in_json: &[u8] = br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}"#;
    let script = vec![
        Act::Say(answer(200, "content-type: application/x-protobuf\r\n", &partial_success(2))),
        Act::Say(answer(200, "content-type: application/json\r\n", in_json)),
        Act::Say(answer(200, "content-type: application/x-protobuf\r\n", &partial_success(0))),
        Act::Say(answer(200, "content-type: application/x-protobuf\r\n", &partial_success(-9))),
    ];
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    for expected in [[1, 2, 0, 0], [2, 4, 0, 0], [5, 4, 0, 0], [8, 4, 0, 0]] {
        assert_eq!(exporting.send_body(request("one", 3), 3).await, DELIVERED);
        assert_eq!(exporting.counts(), expected);
    }
    assert_eq!(backend.names().len(), 4);
}

#[tokio::test]
async fn no_more_is_rejected_than_was_sent() {
    let body = partial_success(i64::MAX);
    let script = vec![Act::Say(answer(200, "content-type: application/x-protobuf\r\n", &body))];
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    for _ in 0..3 {
        assert_eq!(exporting.send_body(request("one", 3), 3).await, DELIVERED);
    }
    assert_eq!(exporting.counts(), [0, 9, 0, 0]);
}

#[tokio::test]
async fn a_pause_is_kept_in_seconds_and_as_a_date() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    let script = vec![
        Act::Say(answer(429, "retry-after: 1\r\n", b"")),
        Act::Say(answer(503, &format!("retry-after: {date}\r\n"), b"")),
        Act::Say(answer(503, "retry-after: soon\r\n", b"")),
        Act::Say(answer(429, "retry-after: -1\r\n", b"")),
        Act::Say(ok()),
    ];
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    let at: Vec<Instant> = backend.seen().iter().map(|seen| seen.at).collect();
    assert!(at[1] - at[0] >= Duration::from_secs(1), "{:?}", at[1] - at[0]);
    // A date has whole seconds, and one of the three has passed.
    assert!(at[2] - at[0] >= Duration::from_millis(1900), "{:?}", at[2] - at[0]);
    assert!(at[4] - at[2] < Duration::from_secs(1), "nonsense is no pause");
    assert_eq!(exporting.counts(), [1, 0, 0, 4]);
}

#[tokio::test]
async fn a_pause_beyond_all_patience_ends_at_once() {
    let script = vec![Act::Say(answer(429, "retry-after: 4294967295\r\n", b""))];
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    assert_eq!(exporting.send("one").await, Outcome::Postponed(u32::MAX));
    assert_eq!(exporting.counts(), [0, 0, 1, 0]);
}

#[tokio::test]
async fn redirects_are_not_followed_with_the_credentials() {
    let elsewhere = Hostile::http(vec![Act::Say(ok())]).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("location: http://127.0.0.1:{}/v1/traces\r\n", elsewhere.port);
        let backend = Hostile::http(vec![Act::Say(answer(status, &to, b""))]).await;
        let keys = ["headers: {authorization: Bearer abc}"];
        let exporting = Exporting::start("otlp_http", backend.port, &keys);
        assert_eq!(exporting.send("one").await, Outcome::Failed(Reason::NotFound));
        assert_eq!(exporting.counts(), [0, 0, 1, 0]);
        assert!(backend.seen()[0].head.contains("authorization: bearer abc"));
        assert!(exporting.last_error().contains(&status.to_string()));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn endless_interim_responses_cost_an_attempt_and_no_thread() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2000);
    let script = vec![Act::SayForEver(Vec::new(), interim), Act::Say(ok())];
    let backend = Hostile::http(script).await;
    let keys = ["retry_on_failure: {enabled: false}"];
    let exporting = Exporting::start("otlp_http", backend.port, &keys);
    // The test has one thread: who keeps it ends everything.
    assert_eq!(exporting.send("one").await, Outcome::Failed(Reason::RetriesExhausted));
    assert!(exporting.last_error().contains("100 Continue"), "{}", exporting.last_error());
    assert_eq!(exporting.send("two").await, DELIVERED);
    assert_eq!(backend.connections(), 2);
}

/// What an HTTP status that ends a request is.
fn refusal(status: u16) -> Outcome {
    Outcome::Failed(match status {
        401 => Reason::Unauthenticated,
        403 => Reason::Forbidden,
        404 | 405 => Reason::NotFound,
        _ => Reason::BackendRefused,
    })
}

#[tokio::test]
async fn statuses_end_or_repeat_a_request_as_otlp_says() {
    for status in [400, 401, 403, 404, 405, 500, 501] {
        let backend = Hostile::http(vec![Act::Say(answer(status, "", b"no"))]).await;
        let exporting = Exporting::start("otlp_http", backend.port, &[]);
        assert_eq!(exporting.send("one").await, refusal(status), "{status}");
        assert_eq!(exporting.counts(), [0, 0, 1, 0], "{status}");
        assert!(exporting.last_error().starts_with(&format!("HTTP {status}: no")));
        assert_eq!(exporting.stats.permanent.read(), 1, "{status}");
    }
    let again = [429, 502, 503, 504].map(|status| Act::Say(answer(status, "", b"")));
    let backend = Hostile::http([&again[..], &[Act::Say(ok())]].concat()).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert_eq!(exporting.counts(), [1, 0, 0, 4]);
}

#[tokio::test]
async fn huge_answers_are_neither_kept_nor_waited_for() {
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [&b"2000\r\n"[..], &[b'x'; 0x2000], b"\r\n"].concat();
    let script = vec![
        Act::Say(answer(200, "", &vec![b'x'; 8 << 20])),
        Act::Say(answer(400, "", &vec![b'x'; 8 << 20])),
        Act::SayForEver(endless, chunk),
        Act::Say(ok()),
    ];
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &["timeout: 2s"]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert_eq!(exporting.send("two").await, REFUSED);
    assert!(exporting.last_error().len() < 2000);
    assert_eq!(exporting.send("three").await, DELIVERED);
    assert_eq!(exporting.send("four").await, DELIVERED);
    assert_eq!(backend.names(), ["one", "two", "three", "four"]);
    assert_eq!(exporting.counts(), [3, 0, 1, 0]);
}

#[tokio::test]
async fn a_refusal_before_the_body_was_read_holds_up_no_other_request() {
    let script = vec![Act::SayUnread(answer(413, "", b"too large")), Act::Say(ok())];
    let backend = Hostile::http(script).await;
    let exporting = Exporting::start("otlp_http", backend.port, &[]);
    let large = request(&"x".repeat(32 << 20), 1);
    assert_eq!(exporting.send_body(large, 1).await, Outcome::Failed(Reason::TooLarge));
    let start = Instant::now();
    assert_eq!(exporting.send("two").await, DELIVERED);
    assert!(start.elapsed() < Duration::from_secs(10), "it waited for the unread connection");
    assert_eq!(exporting.counts(), [1, 0, 1, 0]);
}

// === OTLP/gRPC ===

fn status(code: u16, pause: Option<u8>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    if let Some(seconds) = pause {
        // Status { details: Any { type_url, value: RetryInfo { retry_delay: { seconds } } } }
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let info = [0x0A, 2, 0x08, seconds];
        let any = [&[0x0A, 40][..], url, &[0x12, 4], &info].concat();
        let details = [&[0x1A, 48][..], &any].concat();
        let text = STANDARD_NO_PAD.encode(details);
        trailers.insert("grpc-status-details-bin", HeaderValue::try_from(text).unwrap());
    }
    trailers
}

fn took() -> Call {
    Call::Answer(Vec::new(), status(0, None))
}

#[tokio::test]
async fn a_goaway_costs_no_attempt() {
    let script = vec![Call::AnswerAndGoAway(Vec::new(), status(0, None)), took()];
    let backend = Hostile::grpc(script).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    for name in ["one", "two", "three"] {
        assert_eq!(exporting.send(name).await, DELIVERED);
    }
    assert_eq!(backend.names(), ["one", "two", "three"]);
    assert_eq!(backend.connections(), 2, "the second one is kept");
    assert_eq!(exporting.counts(), [3, 0, 0, 0]);
}

#[tokio::test]
async fn goaway_after_every_answer_loses_and_doubles_nothing() {
    let backend = Hostile::grpc(vec![Call::AnswerAndGoAway(Vec::new(), status(0, None))]).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    let names: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    for two in names.chunks(2) {
        let [a, b] = two else { unreachable!() };
        let sending = async { tokio::join!(exporting.send(a), exporting.send(b)) };
        assert_eq!(sending.await, (DELIVERED, DELIVERED));
    }
    let mut seen = backend.names();
    seen.sort_by_key(|name| name.parse::<u32>().unwrap());
    assert_eq!(seen, names);
    let [sent, rejected, failed, _] = exporting.counts();
    assert_eq!([sent, rejected, failed], [100, 0, 0]);
}

#[tokio::test]
async fn a_reset_stream_is_sent_again_on_its_connection() {
    let script = vec![
        Call::Reset(Reset::REFUSED_STREAM),
        Call::Reset(Reset::INTERNAL_ERROR),
        Call::Reset(Reset::ENHANCE_YOUR_CALM),
        took(),
    ];
    let backend = Hostile::grpc(script).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert_eq!(exporting.counts(), [1, 0, 0, 3]);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_answers_nothing_is_given_up() {
    let script = vec![took(), Call::Hang, Call::Hang, Call::Hang, took()];
    let backend = Hostile::grpc(script).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &["timeout: 200ms"]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert_eq!(exporting.send("two").await, DELIVERED);
    let connections: Vec<usize> = backend.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 1, 1, 1, 2]);
    assert_eq!(exporting.counts(), [2, 0, 0, 3]);
}

#[tokio::test]
async fn a_peer_that_vanished_is_found_out_by_pings() {
    let backend = Hostile::grpc(vec![took(), Call::Vanish, took()]).await;
    let keys = ["keepalive: {time: 100ms, timeout: 100ms}"];
    let exporting = Exporting::start("otlp_grpc", backend.port, &keys);
    assert_eq!(exporting.send("one").await, DELIVERED);
    let start = Instant::now();
    assert_eq!(exporting.send("two").await, DELIVERED);
    assert!(start.elapsed() < Duration::from_secs(10), "only the timeout of 20 s noticed");
    assert_eq!(backend.connections(), 2);
    assert_eq!(exporting.counts(), [2, 0, 0, 1]);
}

#[tokio::test]
async fn statuses_of_grpc_end_or_repeat_a_request_as_otlp_says() {
    // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
    let again = [1, 4, 10, 11, 14, 15].map(|code| Call::Answer(Vec::new(), status(code, None)));
    let backend = Hostile::grpc([&again[..], &[took()]].concat()).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert_eq!(exporting.counts(), [1, 0, 0, 6]);
    for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16, 99] {
        let backend = Hostile::grpc(vec![Call::Answer(Vec::new(), status(code, None))]).await;
        let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
        let reason = match code {
            7 => Reason::Forbidden,
            12 => Reason::NotFound,
            16 => Reason::Unauthenticated,
            _ => Reason::BackendRefused,
        };
        assert_eq!(exporting.send("one").await, Outcome::Failed(reason), "{code}");
        assert_eq!(exporting.counts(), [0, 0, 1, 0], "{code}");
    }
}

#[tokio::test]
async fn a_retry_info_is_kept() {
    let script = vec![
        Call::Answer(Vec::new(), status(14, Some(1))),
        Call::Answer(Vec::new(), status(8, Some(1))),
        took(),
    ];
    let backend = Hostile::grpc(script).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    let at: Vec<Instant> = backend.seen().iter().map(|seen| seen.at).collect();
    assert!(at[1] - at[0] >= Duration::from_secs(1), "unavailable: {:?}", at[1] - at[0]);
    assert!(at[2] - at[1] >= Duration::from_secs(1), "exhausted: {:?}", at[2] - at[1]);
    assert_eq!(exporting.counts(), [1, 0, 0, 2]);
}

#[tokio::test]
async fn a_success_of_grpc_is_one_whatever_its_message() {
    let script = vec![
        Call::Answer(partial_success(2), status(0, None)),
        Call::Answer(vec![0xFF; 40], status(0, None)),
        Call::Answer(vec![b'x'; 1 << 20], status(0, None)),
    ];
    let backend = Hostile::grpc(script).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    for expected in [[1, 2, 0, 0], [4, 2, 0, 0], [7, 2, 0, 0]] {
        assert_eq!(exporting.send_body(request("one", 3), 3).await, DELIVERED);
        assert_eq!(exporting.counts(), expected);
    }
}

#[tokio::test]
async fn an_answer_of_grpc_that_is_huge_is_not_read_to_its_end() {
    let script = vec![Call::Answer(vec![b'x'; 8 << 20], status(0, None)), took()];
    let backend = Hostile::grpc(script).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    assert_eq!(exporting.send("one").await, REFUSED);
    assert_eq!(exporting.send("two").await, DELIVERED);
    assert_eq!(backend.names(), ["one", "two"]);
    assert_eq!(backend.connections(), 1, "it costs its stream only");
    assert_eq!(exporting.counts(), [1, 0, 1, 0]);
}

#[tokio::test]
async fn a_proxy_that_answers_without_grpc_is_understood_by_its_http_status() {
    let again = [429, 502, 503, 504].map(Call::Plain);
    let backend = Hostile::grpc([&again[..], &[took()]].concat()).await;
    let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert_eq!(exporting.counts(), [1, 0, 0, 4]);
    for status in [200, 400, 401, 403, 404, 500] {
        let backend = Hostile::grpc(vec![Call::Plain(status)]).await;
        let exporting = Exporting::start("otlp_grpc", backend.port, &[]);
        assert_eq!(exporting.send("one").await, refusal(status), "{status}");
        assert_eq!(exporting.counts(), [0, 0, 1, 0], "{status}");
        assert!(exporting.last_error().contains(&status.to_string()), "{status}");
    }
}

#[tokio::test]
async fn a_backend_of_the_other_protocol_is_named_as_such() {
    let refusal = answer(400, "", b"what is PRI?");
    let backend = Hostile::http(vec![Act::SayAndClose(refusal)]).await;
    let keys = ["retry_on_failure: {enabled: false}"];
    let exporting = Exporting::start("otlp_grpc", backend.port, &keys);
    assert_eq!(exporting.send("one").await, Outcome::Failed(Reason::RetriesExhausted));
    assert!(backend.seen()[0].head.starts_with("pri * http/2.0"));
    assert!(exporting.last_error().contains("otlp_http"), "{}", exporting.last_error());
}

/// An authenticator by its settings in YAML.
fn authenticator(kind: &str, settings: &str) -> Option<Arc<dyn ClientAuth>> {
    let node = yaml::parse(0, settings).unwrap();
    let mut problems = Problems::default();
    let entry = extensions::ALL.iter().find(|entry| entry.name == kind).unwrap();
    let config = (entry.decode)(&node, &mut problems).unwrap();
    config.validate(&node, &mut problems);
    assert!(!problems.has_errors(), "{problems:?}");
    config.client_auth()
}

#[tokio::test]
async fn an_authenticator_adds_its_header_in_both_protocols() {
    let basic = "client_auth: {username: Aladdin, password: open sesame}";
    for (kind, settings, header) in [
        ("bearertokenauth", "token: word", "authorization: bearer word"),
        ("bearertokenauth", "{token: word, scheme: '', header: X-Key}", "x-key: word"),
        ("basicauth", basic, "authorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq=="),
    ] {
        let backend = Hostile::http(vec![Act::Say(ok())]).await;
        let auth = authenticator(kind, settings);
        let exporting = Exporting::with_auth("otlp_http", backend.port, &[], auth);
        assert_eq!(exporting.send("one").await, DELIVERED);
        let head = backend.seen()[0].head.clone();
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    let backend = Hostile::grpc(vec![took()]).await;
    let auth = authenticator("bearertokenauth", "token: word");
    let exporting = Exporting::with_auth("otlp_grpc", backend.port, &[], auth);
    assert_eq!(exporting.send("one").await, DELIVERED);
    assert!(backend.seen()[0].head.contains("\"authorization\""), "{}", backend.seen()[0].head);
}

#[tokio::test]
async fn a_secret_that_is_refused_is_told_without_the_secret() {
    let backend = Hostile::http(vec![Act::Say(answer(401, "", b"no"))]).await;
    let auth = authenticator("bearertokenauth", "token: word");
    let exporting = Exporting::with_auth("otlp_http", backend.port, &[], auth);
    assert_eq!(exporting.send("one").await, refusal(401));
    assert_eq!(exporting.counts(), [0, 0, 1, 0]);
    let error = exporting.last_error();
    assert!(error.contains("secret of the authenticator") && !error.contains("word"), "{error}");
}
