//! The floor: takes gRPC requests, looks at nothing, joins the messages of several into one and
//! sends that on. What the transport alone costs. Flushes what is left after a pause.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use skep::{
    net::server::{self, Connection, Listener, Reply, Service, Tuning},
    otlp::Signal,
};
use tokio::sync::mpsc;

use crate::{
    generate::{connect, frame, grpc_request},
    payload::Codec,
    sink::taken,
};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) to: u16,
    /// Requests joined into one.
    #[arg(long)]
    pub(crate) batch: usize,
}

struct Relay(mpsc::Sender<Bytes>);

pub(crate) fn main(settings: Settings) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = server::listen(SocketAddr::from(([127, 0, 0, 1], settings.port))).unwrap();
        let (sender, received) = mpsc::channel(1024);
        tokio::spawn(forward(received, settings.clone()));
        let (_keep, stop) = tokio::sync::watch::channel(false);
        let (listener, relay) = (Listener::from(listener), Arc::new(Relay(sender)));
        server::run(listener, None, relay, Tuning::default(), stop).await;
    });
}

async fn forward(mut received: mpsc::Receiver<Bytes>, settings: Settings) {
    let sender = connect(settings.to).await;
    let in_flight = Arc::new(tokio::sync::Semaphore::new(10));
    loop {
        let Some(first) = received.recv().await else { return };
        let (mut joined, mut count) = (BytesMut::from(&first[..]), 1);
        while count < settings.batch {
            let pause = Duration::from_millis(200);
            let Ok(Some(next)) = tokio::time::timeout(pause, received.recv()).await else { break };
            joined.extend_from_slice(&next);
            count += 1;
        }
        let framed = frame(&joined, false);
        let request = grpc_request(settings.to, Signal::Traces, Codec::None, framed);
        let permit = Arc::clone(&in_flight).acquire_owned().await.unwrap();
        let mut sender = sender.clone();
        tokio::spawn(async move {
            let response = sender.send_request(request).await.unwrap();
            response.into_body().collect().await.unwrap();
            drop(permit);
        });
    }
}

impl Service for Relay {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        _connection: Arc<Connection>,
    ) -> Response<Reply> {
        let mut body = request.into_body().collect().await.unwrap().to_bytes();
        body.advance(5);
        self.0.send(body).await.unwrap();
        taken()
    }
}
