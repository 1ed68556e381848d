//! Takes segments from AWS X-Ray SDKs in the place of the X-Ray daemon, and tells the SDKs what to
//! sample.
//!
//! ```yaml
//! awsxray:
//!   endpoint: 0.0.0.0:2000
//!   proxy_server:
//!     mode: local
//!     rules:
//!       - rule_name: api
//!         priority: 10
//!         url_path: /api/*
//!         reservoir_size: 5
//!         fixed_rate: 0.1
//! ```
//!
//! SDKs find it by `AWS_XRAY_DAEMON_ADDRESS=host:2000`, which means both ports: datagrams with
//! segments over UDP, and questions for sampling rules over TCP. A container has to publish both
//! (`2000:2000` and `2000:2000/udp`).
//!
//! Each segment becomes a span, as does each subsegment in it. Everything in a document is kept:
//! annotations as attributes (their names in `aws.xray.annotations`), metadata as JSON in
//! `aws.xray.metadata.<namespace>`, exceptions as events, and what OTLP has no name for under
//! `aws.xray.document`. A subsegment that an SDK sent alone does not say whose it is: its
//! `service.name` is its own name. Documents that are not quite JSON are mended; only a document without a name, an
//! id, a trace id or a start is dropped.
//!
//! Senders get no answer. What is lost is counted on the metrics page in `skep_receiver_dropped_datagrams`: by the
//! kernel, for want of memory, for want of room in a queue, or because it is no segment.

mod attributes;
mod document;
mod json;
mod resource;
mod segment;
mod settings;
mod span;
mod udp;

use std::sync::Arc;

use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Ingress, Listening, Receiver, ReceiverConfig, StartError,
        Stop,
    },
    config::{Node, Problems},
    net::server::{self, Family},
    otlp::Signal,
    telemetry::datagrams::DatagramStats,
};
pub use document::{Refused, Translated};
pub use segment::{datagram, document};
pub use settings::{Config, Mode, ProxyServer, ProxyTls, Rule, Transport};
use udp::{Counters, Datagrams};

/// Port of the X-Ray daemon.
const PORT: u16 = 2000;

pub(super) const ENTRY: Entry<dyn ReceiverConfig> = Entry {
    name: "awsxray",
    aliases: &[],
    signals: &[Signal::Traces],
    source: include_str!("awsxray.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ReceiverConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

impl ReceiverConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        settings::validate(self, at, problems);
    }

    fn transports(&self) -> &'static [&'static str] {
        &["udp"]
    }

    fn build(
        &self,
        cx: &BuildContext,
        _signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        let id = cx.id.to_string();
        let default = || crate::component::default_address(cx.in_container, PORT).to_string();
        let datagrams = Arc::new(DatagramStats { id: id.clone(), ..DatagramStats::default() });
        cx.telemetry.add_datagrams(Arc::clone(&datagrams));
        let counters =
            Counters { requests: cx.telemetry.receiver(&id, Signal::Traces, "udp"), datagrams };
        Ok(Box::new(XRayReceiver {
            endpoint: self.endpoint.clone().unwrap_or_else(default),
            config: self.clone(),
            id,
            counters,
            open: None,
        }))
    }
}

struct XRayReceiver {
    id: String,
    config: Config,
    endpoint: String,
    counters: Counters,
    open: Option<Datagrams>,
}

impl XRayReceiver {
    fn explain(&self, error: &std::io::Error, endpoint: &str) -> StartError {
        StartError {
            component: format!("receiver `{}`", self.id),
            message: server::explain_bind(error, endpoint),
        }
    }
}

impl Receiver for XRayReceiver {
    fn bind(&mut self) -> Result<Vec<Listening>, StartError> {
        let explain = |error: std::io::Error| self.explain(&error, &self.endpoint);
        let address = server::resolve(&self.endpoint, Family::Any).map_err(explain)?;
        let buffer = usize::try_from(self.config.receive_buffer).unwrap_or(usize::MAX);
        let datagrams = Datagrams::open(address, buffer).map_err(explain)?;
        let address = datagrams.address().map_err(explain)?.to_string();
        self.open = Some(datagrams);
        Ok(vec![Listening { protocol: "udp", address, tls: false }])
    }

    fn run(self: Box<Self>, ingress: Ingress, stop: Stop) -> BoxFuture<()> {
        let XRayReceiver { id, config, counters, open, .. } = *self;
        Box::pin(async move {
            let mut serving = tokio::task::JoinSet::new();
            if let Some(datagrams) = open {
                counters.datagrams.socket_buffer.set(datagrams.buffer as u64);
                tracing::info!(
                    receiver = %id,
                    endpoint = datagrams.address().map_or_else(|_| String::new(), |a| a.to_string()),
                    receive_buffer = datagrams.buffer,
                    asked_for = config.receive_buffer,
                    "Starting UDP server"
                );
                let room = usize::try_from(config.queue_size).unwrap_or(usize::MAX).max(1);
                let (queue, waiting) = tokio::sync::mpsc::channel(room);
                let door = Arc::clone(&ingress.door);
                let read = datagrams.read(door, counters.clone(), queue, stop.clone());
                serving.spawn(read);
                serving.spawn(udp::translate(waiting, ingress.door, counters));
            }
            while serving.join_next().await.is_some() {}
        })
    }
}

#[cfg(test)]
mod tests;
