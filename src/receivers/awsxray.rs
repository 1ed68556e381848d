//! Replaces the X-Ray daemon: takes segments from AWS X-Ray SDKs, and gives the SDKs their sampling
//! rules.
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
//! SDKs find it by `AWS_XRAY_DAEMON_ADDRESS=host:2000`, which means both ports: UDP for datagrams
//! with segments, and TCP for requests for sampling rules. A container has to publish both
//! (`2000:2000` and `2000:2000/udp`).
//!
//! Each segment becomes a span, as does each subsegment in it. Everything in a document is kept:
//! annotations as attributes (their names in `aws.xray.annotations`), metadata as JSON in
//! `aws.xray.metadata.<namespace>`, exceptions as events, and fields without a name in OTLP under
//! `aws.xray.document`. A subsegment that was sent alone does not name its service, so its
//! `service.name` is its own name. Documents that are not quite JSON are repaired; only those
//! without a name, an id, a trace id or a start are dropped.
//!
//! The sampling rules come from one of three sources (`proxy_server.mode`):
//!
//! - `proxy`: from AWS. The three calls of SDKs are signed with the credentials of skep and
//!   forwarded, and no others unless `allow_all_paths` is set. While AWS is unavailable, skep
//!   serves the rules that AWS returned last, and answers reports on them itself. Before AWS has
//!   returned any, clients get 503 or 502 with the reason, and use their own local rules (one
//!   request a second and 5 % of the rest). This is the default without `rules` and `rules_file`.
//! - `local`: from `rules` and `rules_file`, without an AWS account; reservoirs are shared among
//!   the clients. This is the default with `rules` or a `rules_file`.
//! - `merge`: as `proxy`, but before AWS has returned any rules, from `rules` and `rules_file`.
//!   Rules of AWS and of the configuration are never mixed.
//!
//! Region and credentials are looked up in the background, so datagrams are taken without them. The
//! log says what was found and where, but never the secret. The role needs `xray:GetSamplingRules`,
//! `xray:GetSamplingTargets` and `xray:GetSamplingStatisticSummaries`. `AWS_ENDPOINT_URL_XRAY` and
//! `AWS_ENDPOINT_URL` are obeyed.
//!
//! Senders get no response. Lost datagrams are counted on the metrics page in
//! `skep_receiver_dropped_datagrams`: dropped by the kernel, for lack of memory, for lack of room
//! in a queue, or because they are not segments. The start-up log shows the size of the buffer that
//! the kernel allows; if the kernel drops datagrams, raise `net.core.rmem_max`. With a journal
//! (`journal: {storage: file_storage}`) segments are written to disk, so that a crash or an outage
//! of the backends loses at most the datagrams that are still in the socket.
//!
//! Differs from the Collector:
//!
//! - Without credentials calls get 503 with the reason; they are not forwarded unsigned.
//! - Only the calls of SDKs are forwarded. Several pages of rules are returned as one.
//! - An expired session is renewed and a wrong clock is corrected, with one more call.
//! - The region is found as everywhere in skep (`AWS_REGION` before `AWS_DEFAULT_REGION`). The
//!   receiver also starts without one.

mod answer;
mod document;
#[cfg(feature = "aws")]
mod forward;
#[cfg(not(feature = "aws"))]
#[path = "awsxray/forward_absent.rs"]
mod forward;
mod proxy;
mod resource;
mod sampling;
mod segment;
mod settings;
mod span;
mod stats;
mod udp;
mod upstream;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Inlet, JournalUse, Listening, Port, Receiver,
        ReceiverConfig, StartError, Stop,
    },
    config::{Node, Problems},
    net::server::{self, Family, Listener, Sockets, Tuning},
    otlp::Signal,
    receivers::{astray::Astray, journal::Journal},
};
pub use document::{Refused, Translated};
use forward::Forward;
use proxy::{Proxy, Source};
use sampling::Sampling;
pub use segment::{datagram, document};
use stats::{DatagramStats, RuleStats};

pub use settings::{Config, Mode, ProxyServer, ProxyTls, Rule, Transport};
use udp::{Counters, Datagrams};
use upstream::Upstream;

/// Port of the X-Ray daemon.
const PORT: u16 = 2000;

pub(super) const ENTRY: Entry<dyn ReceiverConfig> =
    Entry::of::<Config>("awsxray", &[], &[Signal::Traces], include_str!("awsxray.rs"));

impl ReceiverConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        settings::validate(self, at, problems);
    }

    fn journal(&self) -> Option<JournalUse> {
        self.journal.as_ref().map(Journal::wanted)
    }

    fn files(&self) -> Vec<String> {
        self.proxy_server.rules_file.iter().cloned().collect()
    }

    fn ports(&self) -> Vec<Port> {
        let datagrams = Port::udp("endpoint", self.endpoint.as_ref(), PORT);
        // Without an endpoint of its own, the proxy uses that of the datagrams.
        let proxy = match &self.proxy_server.endpoint {
            None => Port { is_udp: false, ..datagrams.clone() },
            own => Port::tcp("proxy_server::endpoint", own.as_ref(), PORT),
        };
        vec![datagrams, proxy]
    }

    fn build(
        &self,
        cx: &BuildContext,
        _signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        let id = cx.id.to_string();
        let default = || crate::component::default_address(cx.in_container, PORT).to_string();
        let proxy = &self.proxy_server;
        let rules = (proxy.mode() != Mode::Proxy).then(|| sampling::rules(proxy));
        let rules = rules
            .transpose()
            .map_err(|message| StartError { component: format!("receiver `{id}`"), message })?;
        let meter = cx.metrics("receiver");
        let with_stats = |rule: Rule| {
            let stats = RuleStats::new(&rule, &meter);
            (rule, stats)
        };
        let rules = rules.map(|rules| rules.into_iter().map(with_stats).unzip());
        let datagrams = Arc::new(DatagramStats::new(&id, &meter));
        let counters =
            Counters { requests: cx.telemetry.receiver(&id, Signal::Traces, "udp"), datagrams };
        let endpoint = self.endpoint.clone().unwrap_or_else(default);
        let astray = Astray::new(cx);
        Ok(Box::new(XRayReceiver {
            proxy_endpoint: proxy.endpoint.clone(),
            endpoint,
            config: self.clone(),
            id,
            rules,
            counters,
            astray,
            open: None,
        }))
    }
}

struct XRayReceiver {
    id: String,
    config: Config,
    endpoint: String,
    /// Endpoint of the proxy; `None` means that of the datagrams.
    proxy_endpoint: Option<String>,
    /// Configured rules with their counters; `None` with `mode: proxy`.
    rules: Option<(Vec<Rule>, Vec<RuleStats>)>,
    counters: Counters,
    astray: Astray,
    open: Option<(Datagrams, Listener)>,
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
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let explain = |error: std::io::Error| self.explain(&error, &self.endpoint);
        let address = server::resolve(&self.endpoint, Family::Any).map_err(explain)?;
        let buffer = usize::try_from(self.config.receive_buffer).unwrap_or(usize::MAX);
        let datagrams = Datagrams::open(address, buffer, sockets).map_err(explain)?;
        let address = datagrams.address().map_err(explain)?;
        let endpoint = self.proxy_endpoint.clone().unwrap_or_else(|| address.to_string());
        let explain = |error: std::io::Error| self.explain(&error, &endpoint);
        let proxy = server::resolve(&endpoint, Family::Any).map_err(explain)?;
        let proxy = sockets.tcp(proxy).map_err(explain)?;
        let open = vec![
            Listening { protocol: "udp", address: address.to_string(), tls: false },
            Listening { protocol: "http", address: proxy.address(), tls: false },
        ];
        self.open = Some((datagrams, proxy));
        Ok(open)
    }

    fn run(self: Box<Self>, inlet: Arc<dyn Inlet>, stop: Stop) -> BoxFuture<()> {
        let XRayReceiver { id, config, rules, counters, astray, open, .. } = *self;
        Box::pin(async move {
            let Some((datagrams, listener)) = open else { return };
            let mut serving = tokio::task::JoinSet::new();
            counters.datagrams.socket_buffer.set(datagrams.buffer as u64);
            let mode = config.proxy_server.mode();
            tracing::debug!(
                receiver = %id,
                receive_buffer = datagrams.buffer,
                asked_for = config.receive_buffer,
                mode = mode.name(),
                rules = rules.as_ref().map_or(0, |(rules, _)| rules.len()),
                "Receiving segments and serving sampling rules to SDKs"
            );
            let own = rules.map(|(rules, stats)| Sampling::new(rules, stats, SystemTime::now()));
            let source = match (mode, own) {
                (Mode::Local, Some(own)) => Source::Local(own),
                (_, own) => {
                    let forward = Arc::new(Forward::new(&config.proxy_server, &id));
                    serving.spawn(Arc::clone(&forward).prepare(stop.subscribe()));
                    Source::Aws(Box::new(Upstream::new(forward, own)))
                }
            };
            let allows_all = config.proxy_server.allow_all_paths && mode != Mode::Local;
            let proxy = Proxy { source, allows_all, inlet: Arc::clone(&inlet), astray };
            let proxy = Arc::new(proxy);
            serving.spawn(server::run(listener, None, proxy, tuning(), stop.subscribe()));
            let room = usize::try_from(config.queue_size).unwrap_or(usize::MAX).max(1);
            let (queue, waiting) = tokio::sync::mpsc::channel(room);
            serving.spawn(datagrams.read(Arc::clone(&inlet), counters.clone(), queue, stop));
            serving.spawn(udp::translate(waiting, inlet, counters));
            while serving.join_next().await.is_some() {}
        })
    }
}

/// Limits of the proxy's port: requests are small, one every few seconds.
fn tuning() -> Tuning {
    Tuning {
        stream_window: 64 * 1024,
        connection_window: 64 * 1024,
        max_frame_size: 16 * 1024,
        max_concurrent_streams: Some(8),
        header_timeout: Duration::from_secs(20),
        max_idle: Some(Duration::from_mins(5)),
        ..Tuning::default()
    }
}

#[cfg(test)]
mod tests;
