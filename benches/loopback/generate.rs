//! The load: requests over several connections, each with several in flight, as fast as they are
//! taken or at a fixed rate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use skep::otlp::Signal;
use tokio::{net::TcpStream, time::Instant};

use crate::payload::{Codec, Template, verify};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Load {
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) http: bool,
    #[arg(long)]
    pub(crate) signal: String,
    #[arg(long)]
    pub(crate) items: usize,
    #[arg(long)]
    pub(crate) connections: usize,
    #[arg(long)]
    pub(crate) in_flight: usize,
    #[arg(long)]
    pub(crate) millis: u64,
    /// Items a second; 0: as fast as they are taken.
    #[arg(long)]
    pub(crate) rate: u64,
    #[arg(long, value_enum)]
    pub(crate) codec: Codec,
    /// Expect only the traces that are marked to be kept.
    #[arg(long)]
    pub(crate) kept_only: bool,
}

/// What was taken, as JSON on a line.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sent {
    pub(crate) items: u64,
    /// Of them those that have to arrive.
    pub(crate) expected: u64,
    pub(crate) sum: u64,
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Different requests.
const TEMPLATES: u64 = 16;

/// A request, its items that have to arrive, and the sum of their ids.
type Body = (Bytes, u64, u64);

struct Shared {
    load: Load,
    signal: Signal,
    /// Several, so that no compressor finds a batch to be one request many times over.
    templates: Vec<Template>,
    /// Ready bodies with their sums, where compressing each would be most of the work. Their ids
    /// repeat; sums still tell whether all arrived.
    ready: Vec<Body>,
    turn: AtomicU64,
    begin: Instant,
}

pub(crate) fn signal_of(name: &str) -> Signal {
    Signal::ALL.into_iter().find(|signal| signal.name() == name).expect("a signal")
}

pub(crate) fn main(load: Load) {
    let signal = signal_of(&load.signal);
    let templates: Vec<_> =
        (0..TEMPLATES).map(|seed| Template::new(signal, load.items, seed)).collect();
    verify(signal, &templates[0]);
    let ready = match load.codec {
        Codec::None => Vec::new(),
        codec => (0..32)
            .map(|i| {
                let template = &templates[usize::try_from(i % TEMPLATES).unwrap()];
                let (body, sum) = template.fill(i * 1_000_003, false);
                (Bytes::from(codec.encode(&body)), template.items() as u64, sum)
            })
            .collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = runtime.block_on(async move {
        let (turn, begin) = (AtomicU64::new(0), Instant::now());
        let shared = Arc::new(Shared { load, signal, templates, ready, turn, begin });
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..shared.load.connections {
            if shared.load.http {
                for _ in 0..shared.load.in_flight {
                    senders.spawn(over_http(Arc::clone(&shared)));
                }
            } else {
                let sender = connect(shared.load.port).await;
                for _ in 0..shared.load.in_flight {
                    senders.spawn(over_grpc(Arc::clone(&shared), sender.clone()));
                }
            }
        }
        let (mut sent, mut times) = (Sent::default(), Vec::new());
        while let Some(one) = senders.join_next().await {
            let one: One = one.unwrap();
            sent.items += one.items;
            sent.expected += one.expected;
            sent.sum = sent.sum.wrapping_add(one.sum);
            sent.refused += one.refused;
            times.extend(one.times);
        }
        sent.seconds = shared.begin.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        (sent.p50_ms, sent.p99_ms) = (f64::from(at(50)) / 1000.0, f64::from(at(99)) / 1000.0);
        sent
    });
    println!("{}", serde_json::to_string(&sent).unwrap());
}

/// What one sender saw.
#[derive(Default)]
struct One {
    items: u64,
    expected: u64,
    sum: u64,
    refused: u64,
    /// Microseconds of each request.
    times: Vec<u32>,
}

impl Shared {
    /// The next body, when it is due; none when the time is over.
    async fn next(&self) -> Option<Body> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let template = &self.templates[usize::try_from(turn % TEMPLATES).unwrap()];
        let items = template.items() as u64;
        let end = Duration::from_millis(self.load.millis);
        if self.load.rate > 0 {
            let due = Duration::from_secs_f64((turn * items) as f64 / self.load.rate as f64);
            if due >= end {
                return None;
            }
            tokio::time::sleep_until(self.begin + due).await;
        }
        if self.begin.elapsed() >= end {
            return None;
        }
        if !self.ready.is_empty() {
            return Some(self.ready[usize::try_from(turn).unwrap() % self.ready.len()].clone());
        }
        let kept_only = self.load.kept_only;
        let (body, sum) = template.fill(turn * items, kept_only);
        Some((body.into(), if kept_only { template.kept() } else { items }, sum))
    }

    fn saw(&self, one: &mut One, (expected, sum): (u64, u64), begin: Instant, is_taken: bool) {
        let micros = begin.elapsed().as_micros();
        if is_taken {
            one.items += self.load.items as u64;
            one.expected += expected;
            one.sum = one.sum.wrapping_add(sum);
            one.times.push(u32::try_from(micros).unwrap_or(u32::MAX));
        } else {
            one.refused += 1;
        }
    }
}

pub(crate) async fn connect(port: u16) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn over_grpc(shared: Arc<Shared>, mut sender: http2::SendRequest<Full<Bytes>>) -> One {
    let mut one = One::default();
    while let Some((body, expected, sum)) = shared.next().await {
        let begin = Instant::now();
        let framed = frame(&body, shared.load.codec != Codec::None);
        let request = grpc_request(shared.load.port, shared.signal, shared.load.codec, framed);
        let is_taken = match sender.send_request(request).await {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let body = body.collect().await.unwrap();
                let status = parts.headers.get("grpc-status").cloned();
                let trailers = body.trailers().and_then(|all| all.get("grpc-status")).cloned();
                status.or(trailers).is_some_and(|status| status == "0")
            }
            Err(_) => false,
        };
        shared.saw(&mut one, (expected, sum), begin, is_taken);
        if !is_taken {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    one
}

/// A gRPC message with its prefix.
pub(crate) fn frame(body: &[u8], is_compressed: bool) -> Bytes {
    let mut framed = Vec::with_capacity(body.len() + 5);
    framed.push(u8::from(is_compressed));
    framed.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(body);
    framed.into()
}

pub(crate) fn grpc_request(
    port: u16,
    signal: Signal,
    codec: Codec,
    framed: Bytes,
) -> Request<Full<Bytes>> {
    let service = match signal {
        Signal::Traces => "trace.v1.TraceService",
        Signal::Metrics => "metrics.v1.MetricsService",
        Signal::Logs => "logs.v1.LogsService",
    };
    let path = format!("/opentelemetry.proto.collector.{service}/Export");
    let mut request = Request::post(format!("http://127.0.0.1:{port}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if codec != Codec::None {
        request = request.header("grpc-encoding", codec.name());
    }
    request.body(Full::new(framed)).unwrap()
}

async fn over_http(shared: Arc<Shared>) -> One {
    let port = shared.load.port;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut one = One::default();
    while let Some((body, expected, sum)) = shared.next().await {
        let begin = Instant::now();
        let mut request = Request::post(format!("/v1/{}", shared.signal))
            .header("host", format!("127.0.0.1:{port}"))
            .header("content-type", "application/x-protobuf");
        if shared.load.codec != Codec::None {
            request = request.header("content-encoding", shared.load.codec.name());
        }
        let is_taken = match sender.send_request(request.body(Full::new(body)).unwrap()).await {
            Ok(response) => {
                let is_taken = response.status().is_success();
                let _ = response.into_body().collect().await;
                is_taken
            }
            Err(_) => return one,
        };
        shared.saw(&mut one, (expected, sum), begin, is_taken);
        if !is_taken {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    one
}
