//! The backend: counts what arrives, and says so on request. Both OTLP transports on one port.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use skep::{
    net::server::{self, Connection, Listener, Reply, Service, Tuning},
    otlp::Signal,
};

use crate::payload::{count, decode};

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Settings {
    #[arg(long)]
    pub(crate) port: u16,
    /// Before each answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) delay_ms: u64,
}

/// What arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Arrived {
    pub(crate) items: u64,
    pub(crate) sum: u64,
}

struct Sink {
    delay: Duration,
    items: AtomicU64,
    sum: AtomicU64,
}

pub(crate) fn main(settings: Settings) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = server::listen(SocketAddr::from(([127, 0, 0, 1], settings.port))).unwrap();
        let sink = Sink {
            delay: Duration::from_millis(settings.delay_ms),
            items: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        };
        let tuning =
            Tuning { stream_window: 8 << 20, connection_window: 24 << 20, ..Tuning::default() };
        let (_keep, stop) = tokio::sync::watch::channel(false);
        server::run(Listener::from(listener), None, Arc::new(sink), tuning, stop).await;
    });
}

impl Service for Sink {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        _connection: Arc<Connection>,
    ) -> Response<Reply> {
        let path = request.uri().path().to_ascii_lowercase();
        if path == "/stats" {
            let arrived = Arrived {
                items: self.items.load(Ordering::Relaxed),
                sum: self.sum.load(Ordering::Relaxed),
            };
            return Response::new(Reply::new(serde_json::to_string(&arrived).unwrap()));
        }
        let signal = match () {
            () if path.contains("trace") => Signal::Traces,
            () if path.contains("metric") => Signal::Metrics,
            () => Signal::Logs,
        };
        let name = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let is_grpc = name("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
        let encoding = name(if is_grpc { "grpc-encoding" } else { "content-encoding" });
        let encoding = encoding.unwrap_or_default().to_owned();
        let mut body = request.into_body().collect().await.unwrap().aggregate();
        if is_grpc {
            let is_compressed = body.get_u8() == 1;
            let len = body.get_u32() as usize;
            assert_eq!(len, body.remaining(), "one message per call");
            let encoding = if is_compressed { encoding.as_str() } else { "" };
            self.take(signal, encoding, body.copy_to_bytes(len));
        } else {
            let len = body.remaining();
            self.take(signal, &encoding, body.copy_to_bytes(len));
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if !is_grpc {
            return Response::new(Reply::default());
        }
        taken()
    }
}

/// What gRPC answers where all went well.
pub(crate) fn taken() -> Response<Reply> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let message = Bytes::from_static(&[0; 5]);
    let mut response = Response::new(Reply::with_trailers(message, trailers));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl Sink {
    fn take(&self, signal: Signal, encoding: &str, body: Bytes) {
        let (items, sum) = count(signal, &decode(encoding, body));
        self.items.fetch_add(items, Ordering::Relaxed);
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }
}
