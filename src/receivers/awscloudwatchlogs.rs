//! Takes log events from clients of CloudWatch Logs, such as `watchtower`, as AWS would.
//!
//! ```yaml
//! awscloudwatchlogs:
//!   endpoint: localhost:4586
//! ```
//!
//! Clients find it by `AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://localhost:4586`, or by an endpoint
//! in their options. The AWS SDKs also want a region and credentials; any will do unless `sigv4` is
//! set. `AWS_ENDPOINT_URL_LOGS` is not read by the SDKs. With `AWS_ENDPOINT_URL` all services are
//! called here: of those, `GetCallerIdentity` of STS is answered, which `watchtower` asks for tags.
//!
//! Groups and streams need not be made first: a write makes them, so no event is lost for a missing
//! name. `DescribeLogGroups` and `DescribeLogStreams` list what was made, as long as it has room in
//! 4 MiB; a restart forgets it. Reading events and queries are refused, as skep keeps none.
//!
//! Each call becomes one resource with `aws.log.group.names`, `aws.log.stream.names`,
//! `cloud.region` (of the credentials) and `service.name` (`service_name_from`, or the service that
//! the client names as its `entity`). Each event becomes a log record:
//!
//! - The body is the message. If that is a JSON object, it is a map (`parse_json`).
//! - Severity is taken from `levelname`, `level`, `severity` and their like, or from the level that
//!   a format has put into the first line of a text. Trace and span id are taken from `trace_id`,
//!   `otelTraceID` and their like, from `trace_id=` in a text, and from ids of X-Ray. All of that
//!   stays in the body too.
//! - A Python traceback gives `exception.type`, `exception.message` and `exception.stacktrace`.
//!
//! Retention, class and tags that clients ask for a group are attributes of the resource
//! (`aws.log.group.retention_days`, `.class`, `.tags`). The exporter `awscloudwatchlogs` makes the
//! group with them.
//!
//! While a queue is full or memory is short, calls get `ThrottlingException` after three seconds at
//! most: at that the SDKs have more patience than at 503 (13 s for `boto3`). Calls that make groups
//! and streams are answered all the same. An event is acknowledged once every exporter queue, or a
//! batch, has taken it; with `wait_for_export: true` when the backends have it; with
//! `journal: {storage: file_storage}` when it is on disk.
//!
//! Events that CloudWatch would refuse for their time come back in `rejectedLogEventsInfo` and
//! count in `otelcol_receiver_refused_log_records`; the rest of their batch is taken.
//!
//! `sigv4` decides who may call: `access_key` takes calls that are signed with an id of the list,
//! `verify` checks the signature of the whole call. Bodies may be compressed (`gzip` and others)
//! and in `aws-chunked`.
//!
//! ```yaml
//! awscloudwatchlogs:
//!   endpoint: 0.0.0.0:4586
//!   sigv4:
//!     keys:
//!       - access_key_id: AKIASHOP
//!         secret_access_key: ${env:SHOP_SECRET}
//! ```
//!
//! Differs from CloudWatch:
//!
//! - Batches may be larger than 1 MiB, out of order and of more than 24 hours. Exporters split
//!   them.
//! - An event may be as long as a body (`max_request_body_size`). The exporter `awscloudwatchlogs`
//!   cuts what is longer than CloudWatch takes.
//! - `CreateLogStream` makes a group that is missing. A client that makes groups only when it is
//!   told that there is none, such as fluent-bit, does not ask for a retention then; set
//!   `log_retention` of the exporter.
//! - Sequence tokens are neither checked nor given a meaning.

mod answer;
mod body;
mod calls;
mod chunked;
mod events;
mod gate;
mod groups;
mod lift;
mod put;
mod record;
mod service;
mod settings;
mod signature;
mod traceback;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Inlet, JournalUse, Listening, Port, Receiver,
        ReceiverConfig, StartError, Stop,
    },
    config::{Node, Problems},
    net::{
        rate_limit::RateLimit,
        server::{CONNECTION, Sockets, Tuning},
    },
    otlp::Signal,
    receivers::{astray::Astray, http_port::HttpPort, journal::Journal},
    telemetry::ReceiverStats,
};
pub use chunked::join as join_chunks;
pub use fuzzed::translated;
use gate::Gate;
use groups::Groups;
use put::Reader;
use service::LogsService;
pub use settings::{AccessKey, Config, Mode, ServiceName, SigV4};

/// The port that `LocalStack` once had for CloudWatch Logs.
const PORT: u16 = 4586;

/// Connections may use this part of the byte budget, and there may be at least so many.
const CONNECTIONS_SHARE: u64 = 8;
const LEAST_CONNECTIONS: u64 = 64;

pub(super) const ENTRY: Entry<dyn ReceiverConfig> = Entry::of::<Config>(
    "awscloudwatchlogs",
    &[],
    &[Signal::Logs],
    include_str!("awscloudwatchlogs.rs"),
);

impl ReceiverConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        settings::validate(self, at, problems);
    }

    fn journal(&self) -> Option<JournalUse> {
        self.journal.as_ref().map(Journal::wanted)
    }

    fn ports(&self) -> Vec<Port> {
        vec![Port::tcp("endpoint", self.endpoint.as_ref(), PORT)]
    }

    fn build(
        &self,
        cx: &BuildContext,
        _signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        let id = cx.id.to_string();
        let default = || crate::component::default_address(cx.in_container, PORT).to_string();
        let endpoint = self.endpoint.clone().unwrap_or_else(default);
        Ok(Box::new(LogsReceiver {
            port: HttpPort::new(&id, endpoint, self.tls.clone())?,
            config: self.clone(),
            tuning: tuning(cx.budget),
            stats: cx.telemetry.receiver(&id, Signal::Logs, "http"),
            astray: Astray::new(cx),
            id,
        }))
    }
}

/// What the limits of the port are, given the byte budget.
fn tuning(budget: u64) -> Tuning {
    let connections = (budget / CONNECTIONS_SHARE / CONNECTION as u64).max(LEAST_CONNECTIONS);
    let default = Tuning::default();
    Tuning {
        all_windows: (budget / CONNECTIONS_SHARE).min(default.all_windows),
        max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
        ..default
    }
}

struct LogsReceiver {
    id: String,
    config: Config,
    port: HttpPort,
    tuning: Tuning,
    stats: Arc<ReceiverStats>,
    astray: Astray,
}

impl Receiver for LogsReceiver {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        self.port.bind(sockets)
    }

    fn run(self: Box<Self>, inlet: Arc<dyn Inlet>, stop: Stop) -> BoxFuture<()> {
        let LogsReceiver { id, config, port, tuning, stats, astray } = *self;
        Box::pin(async move {
            let gate = Gate::new(&config.sigv4);
            let service = LogsService {
                id,
                reader: Arc::new(Reader { config, gate, groups: Groups::default() }),
                inlet,
                stats,
                astray,
                told_denied: RateLimit::default(),
                told_rejected: RateLimit::default(),
            };
            port.serve(service, tuning, &stop).await;
        })
    }
}

/// What fuzzing calls, beside [`join_chunks`].
mod fuzzed {
    use super::{
        events::Put,
        groups::Wishes,
        record::{self, Around},
        settings::ServiceName,
    };

    /// The request of OTLP that the events of a body become, and how many they are; `None` if the
    /// body is not one of `PutLogEvents`.
    pub fn translated(body: &[u8]) -> Option<(Vec<u8>, u64)> {
        let put = Put::read(body).ok()?;
        let around = Around {
            region: Some("eu-west-1"),
            wishes: &Wishes::default(),
            service_name: ServiceName::Group,
            parses_json: true,
            observed: 1,
        };
        let events = &put.log_events.kept;
        let request = record::translate(&put, events, &around, usize::MAX)?;
        Some((request, events.len() as u64))
    }
}
