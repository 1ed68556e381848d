//! Four times as much as the backend can take: what is taken stays what it was at saturation, the
//! rest is told to come back, the memory stays within the budget and a fixed bound, and nothing
//! that was taken is lost. Over gRPC and HTTP, plain and compressed.
//!
//! Without `SKEP_OVERLOAD_SECONDS` each case has three seconds of saturation and three of overload,
//! in turns, and a collapse fails it. On a quiet machine nine tenths have to be left:
//! `SKEP_OVERLOAD_SECONDS=60 cargo test --test it goodput:: -- --test-threads=1`.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "what was seen belongs to the result")]

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::net::codec::{Compression, deflate};
use tokio::{net::TcpStream, task::JoinSet, time::MissedTickBehavior};

use crate::support::{Skep, free_port, slow_backend, wait_for, watch::Watch};

/// The byte budget, and what the process may need beside it.
const BUDGET_MIB: u64 = 16;
const BESIDE_MIB: u64 = 30;
/// A request has 128 KiB.
const SPANS: u64 = 64;
const SPAN_BYTES: usize = 2048;
/// What the backend can take: [`CONSUMERS`] batches in [`DELAY`]. Little enough that a machine that
/// is busy with other tests sends four times as much.
const DELAY: Duration = Duration::from_millis(200);
const CONSUMERS: u64 = 2;
const BATCH: u64 = 192;
/// So many senders saturate it, and four times as many share four times its rate.
const SENDERS: usize = 12;
const TIMES: usize = 4;
/// Parts of the rate at saturation: what the long form asks for, and what a machine that is busy
/// with other tests always has. A collapse leaves next to nothing.
const LEAST_GOODPUT: f64 = 0.9;
const NO_COLLAPSE: f64 = 0.4;
/// Saturation and overload take turns so often, so that what else the machine does slows both.
const ROUNDS: u32 = 6;
/// Where that was too few turns for a machine that is busy with other work, there are more of them.
const MOST_ROUNDS: u32 = 4 * ROUNDS;

static TURN: Mutex<()> = Mutex::new(());

/// Seconds of each phase, and the least goodput.
fn form() -> (f64, f64) {
    let given = std::env::var("SKEP_OVERLOAD_SECONDS");
    given.map_or((3.0, NO_COLLAPSE), |text| (text.parse().unwrap(), LEAST_GOODPUT))
}

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Grpc,
    Http,
}

/// A request that is ready to be sent.
#[derive(Clone)]
struct Load {
    protocol: Protocol,
    port: u16,
    encoding: &'static str,
    body: Bytes,
}

impl Load {
    fn new(protocol: Protocol, port: u16, compression: Compression) -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let mut span = || Span {
            trace_id: vec![7; 16],
            span_id: vec![7; 8],
            // Hexadecimal digits: gzip makes half of them.
            name: (0..SPAN_BYTES).map(|_| random.digit(16)).collect(),
            ..Span::default()
        };
        let spans = (0..SPANS).map(|_| span()).collect();
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let plain = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let body = deflate(compression, None, &[plain]).unwrap();
        let body = match protocol {
            Protocol::Http => body,
            Protocol::Grpc => {
                let flag = u8::from(compression != Compression::Identity);
                let len = u32::try_from(body.len()).unwrap().to_be_bytes();
                [&[flag][..], &len, &body].concat()
            }
        };
        Load { protocol, port, encoding: compression.name(), body: body.into() }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let host = format!("127.0.0.1:{}", self.port);
        let (path, kind, encoding) = match self.protocol {
            Protocol::Grpc => (
                format!("http://{host}/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
                "application/grpc",
                "grpc-encoding",
            ),
            Protocol::Http => {
                ("/v1/traces".to_owned(), "application/x-protobuf", "content-encoding")
            }
        };
        let mut request = Request::post(path).header("content-type", kind);
        if self.protocol == Protocol::Http {
            request = request.header("host", host);
        }
        if self.encoding != "identity" {
            request = request.header(encoding, self.encoding);
        }
        request.body(Full::new(self.body.clone())).unwrap()
    }
}

/// A connection, made again where it has ended.
enum Line {
    H1(conn::http1::SendRequest<Full<Bytes>>),
    H2(conn::http2::SendRequest<Full<Bytes>>),
}

impl Line {
    async fn open(load: &Load) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", load.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        match load.protocol {
            Protocol::Http => {
                let (send, connection) = conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                Line::H1(send)
            }
            Protocol::Grpc => {
                let executor = TokioExecutor::new();
                let (send, connection) = conn::http2::handshake(executor, io).await.unwrap();
                tokio::spawn(connection);
                Line::H2(send)
            }
        }
    }

    async fn send(&mut self, load: &Load) -> hyper::Result<Response<Incoming>> {
        match self {
            Line::H1(send) => {
                send.ready().await?;
                send.send_request(load.request()).await
            }
            Line::H2(send) => {
                send.ready().await?;
                send.send_request(load.request()).await
            }
        }
    }
}

/// What senders were told.
#[derive(Default)]
struct Told {
    accepted: AtomicU64,
    put_off: AtomicU64,
    /// Connections that ended instead of an answer: a client that writes on while it is refused.
    cut: AtomicU64,
}

/// Sends one request; whether it was taken.
async fn send(line: &mut Line, load: &Load, told: &Told) -> bool {
    let Ok(response) = line.send(load).await else {
        told.cut.fetch_add(1, Ordering::SeqCst);
        *line = Line::open(load).await;
        return false;
    };
    let (head, body) = response.into_parts();
    let trailers = match body.collect().await {
        Ok(body) => body.trailers().cloned().unwrap_or_default(),
        Err(error) => panic!("an answer that does not end: {error}"),
    };
    let is_put_off = match load.protocol {
        Protocol::Http if head.status == 200 => false,
        Protocol::Http => {
            assert_eq!(head.status, 503);
            assert!(head.headers.contains_key("retry-after"), "{head:?}");
            true
        }
        Protocol::Grpc => {
            let status = head.headers.get("grpc-status").or(trailers.get("grpc-status")).unwrap();
            assert!(status == "0" || status == "14", "{head:?} {trailers:?}");
            status == "14"
        }
    };
    let counter = if is_put_off { &told.put_off } else { &told.accepted };
    counter.fetch_add(1, Ordering::SeqCst);
    !is_put_off
}

/// Sends from so many senders for so long: at a rate, all together, or as soon as there is an
/// answer.
fn press(load: &Load, senders: usize, rate: Option<f64>, time: Duration, told: &Arc<Told>) {
    slow_backend::runtime().block_on(async {
        let end = Instant::now() + time;
        let mut sending = JoinSet::new();
        for i in 0..senders {
            let (load, told) = (load.clone(), Arc::clone(told));
            sending.spawn(async move {
                let mut line = Line::open(&load).await;
                #[expect(clippy::cast_precision_loss, reason = "some dozens")]
                let every = rate.map(|rate| Duration::from_secs_f64(senders as f64 / rate));
                let mut ticks = tokio::time::interval(every.unwrap_or(Duration::from_millis(1)));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                // Not all at once.
                tokio::time::sleep(Duration::from_millis(i as u64)).await;
                while Instant::now() < end {
                    if every.is_some() {
                        ticks.tick().await;
                    }
                    let is_taken = send(&mut line, &load, &told).await;
                    if !is_taken && every.is_none() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        while let Some(done) = sending.join_next().await {
            done.unwrap();
        }
    });
}

/// What the backend took in so much time.
#[derive(Default)]
struct Rate {
    spans: u64,
    time: Duration,
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    fn per_second(&self) -> f64 {
        self.spans as f64 / self.time.as_secs_f64()
    }
}

fn overload(protocol: Protocol, compression: Compression) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // What the backend has taken, and when it took the last of it.
    let taken = Arc::new(Mutex::new((0, Instant::now())));
    let count = Arc::clone(&taken);
    let backend_port = slow_backend::start(
        DELAY,
        Arc::new(move |spans| {
            let mut taken = count.lock().unwrap();
            *taken = (taken.0 + spans.len() as u64, Instant::now());
        }),
    );
    let taken = || *taken.lock().unwrap();
    let port = free_port();
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: {BUDGET_MIB}}}
  batch: {{send_batch_size: {BATCH}, send_batch_max_size: {BATCH}, timeout: 100ms}}
exporters:
  otlp_grpc:
    endpoint: 127.0.0.1:{backend_port}
    compression: none
    tls: {{insecure: true}}
    sending_queue: {{num_consumers: {CONSUMERS}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_grpc]}}
"
    );
    let skep = Skep::start(&config, &[port]);
    let watch = Watch::start(&skep);
    let load = Load::new(protocol, port, compression);
    let told = Arc::new(Told::default());
    let (seconds, least) = form();
    let time = Duration::from_secs_f64(seconds);
    let start = Instant::now();
    // Until there is no room.
    while told.put_off.load(Ordering::SeqCst) == 0 {
        assert!(start.elapsed() < Duration::from_mins(5), "there is always room");
        press(&load, SENDERS, None, Duration::from_millis(200), &told);
    }
    let run = |senders, offered, rate: &mut Rate| {
        let (before, begin) = taken();
        press(&load, senders, offered, time / ROUNDS, &told);
        // From batch to batch: half a second has room for five of them only, so that a batch that
        // is just too late would make a fifth.
        let (after, end) = taken();
        rate.spans += after - before;
        rate.time += end - begin;
    };
    let (mut saturated, mut goodput) = (Rate::default(), Rate::default());
    for round in 1..=MOST_ROUNDS {
        run(SENDERS, None, &mut saturated);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let offered = saturated.per_second() * TIMES as f64 / SPANS as f64;
        run(TIMES * SENDERS, Some(offered), &mut goodput);
        if round >= ROUNDS && goodput.per_second() >= least * saturated.per_second() {
            break;
        }
    }
    let (saturated, goodput) = (saturated.per_second(), goodput.per_second());
    let accepted = told.accepted.load(Ordering::SeqCst) * SPANS;
    wait_for("the backend to get everything", || taken().0 >= accepted);
    let peak = watch.peak_mib();
    assert!(skep.stop(), "it drained without loss");
    println!(
        "{protocol:?} {compression:?}: {saturated:.0} spans/s at saturation, {goodput:.0} at {TIMES} times \
         the load, {peak} MiB, put off {}, cut {}",
        told.put_off.load(Ordering::SeqCst),
        told.cut.load(Ordering::SeqCst)
    );
    assert_eq!(taken().0, accepted, "what was taken arrived, and nothing else");
    assert!(goodput >= least * saturated, "{goodput} of {saturated} spans/s");
    let bound = BUDGET_MIB + BESIDE_MIB;
    assert!(peak <= bound, "{peak} MiB at most where {bound} are allowed");
}

#[test]
fn goodput_stays_over_grpc() {
    overload(Protocol::Grpc, Compression::Identity);
}

#[test]
fn goodput_stays_over_grpc_with_gzip() {
    overload(Protocol::Grpc, Compression::Gzip);
}

#[test]
fn goodput_stays_over_http() {
    overload(Protocol::Http, Compression::Identity);
}

#[test]
fn goodput_stays_over_http_with_gzip() {
    overload(Protocol::Http, Compression::Gzip);
}
