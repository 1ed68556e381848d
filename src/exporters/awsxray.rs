//! Sends traces to AWS X-Ray as segment documents (`PutTraceSegments`).
//!
//! ```yaml
//! awsxray:
//!   region: ca-central-1                       # else AWS_REGION or AWS_DEFAULT_REGION
//!   indexed_attributes: [user.id, http.route]  # searchable; all others are metadata
//!   aws_log_groups: ["/app/{ServiceName}"]     # whose logs the console shows beside a trace
//! ```
//!
//! The role or user of skep needs the action `xray:PutTraceSegments`. Credentials come from where
//! every AWS program finds them: environment, profile, the role of the task, pod or instance.
//!
//! A server or consumer span, and a span without a parent, is a segment; others are subsegments.
//! Both old and new semantic conventions fill `http`, `sql` and `aws`. Stack traces of Python,
//! Java, PHP, JavaScript (V8, Firefox, Safari), .NET, Go, Ruby, Rust and Swift become frames, also
//! where no `telemetry.sdk.language` is said.
//!
//! What a field has not taken is metadata: attributes, events that are no exceptions and what was
//! not understood of those that are (`otel.events`), `otel.span.name`, `otel.status_description`,
//! `otel.trace_state`. Names of scopes are not written, the resource in segments only. A document
//! above 64 kB loses, in this order: events, metadata values above 1 kB, stack frames but the
//! innermost ten, statements, all metadata.
//!
//! Attributes of the resource, which all of its segments repeat, have 16 kB of a document as
//! metadata and annotations, and 16 kB as `aws`; `otel.resource.left_out` says how many had no
//! room. A span has at most 2048 attributes (`otel.attributes.left_out`), 100 exceptions, 128 kB of
//! stack traces that are read, and 1024 texts of a list in a field. A payload leaves in pieces that
//! fit the memory that is set aside for the exporter; where that has less than 1 MiB for a piece,
//! documents are shorter, too.
//!
//! Passwords and keys in URLs and connection strings are `REDACTED` wherever such an attribute is
//! written: `https://user:password@host`, `?api_key=`, `Password=`, and the forms of JDBC, ODBC,
//! libpq and Oracle.
//!
//! Segments of X-Ray SDKs that came by the receiver `awsxray` leave as they came; `native.rs` says
//! what cannot be kept.
//!
//! `otelcol_exporter_awsxray_unprocessed_segments` counts what X-Ray did not take, by its code, and
//! `otelcol_exporter_awsxray_untranslated_spans` what no segment could be made of, by reason.
//!
//! `aws_log_groups` are written as the names of `awscloudwatchlogs`, with attributes of the
//! resource: the same text in both makes the console find the records of a trace by their
//! `xray_trace_id`.
//!
//! Differs from the Collector:
//!
//! - There is a queue, and throttling, timeouts and errors of the server are retried. A segment
//!   that X-Ray does not take is counted, and the log names it with the reason.
//! - Names are made of what X-Ray takes whatever they come from; `server.address` and others name a
//!   call where the older attributes are not there.
//! - A segment of a consumer has the name of the service; in the Collector it has that of the span
//!   or the broker.
//! - A database whose address the span does not say is not said to be on `localhost`.
//!   `network.peer.port` is the port of an address of the connection, never of `server.address`.
//! - `user.id` is the `user` of a segment, too.
//! - A link with an id that cannot be one is left out, not the whole span. Lists are metadata,
//!   never lost.
//! - Ids of exceptions follow from that of their span, so that a document that is sent twice is
//!   one.
//! - Attributes of AWS stay as metadata where `cloud.provider` is another. Telemetry of the daemon
//!   is not sent.

mod attributes;
mod cause;
mod events;
mod http;
mod metadata;
mod name;
mod native;
mod nest;
mod pieces;
mod resource;
mod secrets;
mod segment;
mod settings;
mod sql;
mod stack;
mod stats;
mod trim;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use aws_sdk_xray::Client;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
    time::Instant,
};

use self::{pieces::LeftOut, segment::Fault, settings::Settings, stats::SegmentStats};
use super::{
    aws::{Common, Connected, broken_off, connect, explain, report},
    cloudwatch::name::{Named, Template},
    delivery::{RetryOnFailure, SendingQueue, delivery},
    ids, json,
};
use crate::{
    component::{
        BoxFuture, BuildContext, Delivery, Encodes, Entry, ExportError, Exporter, ExporterConfig,
        Piece, Request, Retry, Sent, StartError, Work,
    },
    config::{Interval, Node, Problems, Secret},
    net::aws::Access,
    otlp::{Content, Signal, payload::Body},
    telemetry::logs::BATCHES,
};

/// Most documents of a request (X-Ray API).
const DOCUMENTS: usize = 50;
/// Most bytes of a request.
const REQUEST_LIMIT: usize = 1 << 20;

/// Sends to X-Ray.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Region; else `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, the instance.
    pub region: String,
    /// Base URL instead of the region's.
    pub endpoint: String,
    /// Role to assume for sending.
    pub role_arn: String,
    /// External id that the role asks for.
    pub external_id: String,
    /// Requests of one batch that are under way at the same time.
    pub num_workers: usize,
    /// Longest time for one request, in seconds.
    pub request_timeout_seconds: u64,
    /// How often a request is repeated at once, before `retry_on_failure` waits.
    pub max_retries: u32,
    /// Refused: certificates are always checked.
    pub no_verify_ssl: bool,
    /// Proxy of all requests, such as `http://user:password@host:3128`, instead of that of the
    /// environment (`HTTPS_PROXY`).
    pub proxy_address: Secret,
    /// Do not ask the metadata of an EC2 instance for the region.
    pub local_mode: bool,
    /// ARN of the resource that runs the application.
    pub resource_arn: String,
    /// Attributes that become annotations; those of resources as `otel.resource.<key>`.
    pub indexed_attributes: Vec<String>,
    /// All attributes become annotations; X-Ray indexes 50 of a trace.
    pub index_all_attributes: bool,
    /// Log groups that the console links to, where the resource names none, with places such as
    /// `{ServiceName}`.
    pub aws_log_groups: Vec<String>,
    /// Telemetry that the daemon sent of itself.
    pub telemetry: DaemonTelemetry,
    /// Longest time for one attempt with all of its requests.
    pub timeout: Interval,
    /// Queue in front of X-Ray.
    pub sending_queue: SendingQueue,
    /// Sending again after a failure.
    pub retry_on_failure: RetryOnFailure,
}

/// `telemetry`, of the Collector's configurations: not sent.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DaemonTelemetry {
    /// Has no effect.
    pub enabled: bool,
    /// Has no effect.
    pub include_metadata: bool,
    /// Has no effect.
    pub contributors: Vec<String>,
    /// Has no effect.
    pub hostname: String,
    /// Has no effect.
    pub instance_id: String,
    /// Has no effect.
    pub resource_arn: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            region: String::new(),
            endpoint: String::new(),
            role_arn: String::new(),
            external_id: String::new(),
            num_workers: 8,
            request_timeout_seconds: 30,
            max_retries: 2,
            no_verify_ssl: false,
            proxy_address: Secret::default(),
            local_mode: false,
            resource_arn: String::new(),
            indexed_attributes: Vec::new(),
            index_all_attributes: false,
            aws_log_groups: Vec::new(),
            telemetry: DaemonTelemetry::default(),
            timeout: Interval(Duration::from_mins(2)),
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("awsxray", &[], &[Signal::Traces], include_str!("awsxray.rs"));

impl Config {
    fn common(&self) -> Common<'_> {
        Common {
            region: &self.region,
            endpoint: &self.endpoint,
            role_arn: &self.role_arn,
            external_id: &self.external_id,
            request_timeout_seconds: self.request_timeout_seconds,
            max_retries: self.max_retries,
            no_verify_ssl: self.no_verify_ssl,
            proxy_address: &self.proxy_address,
            local_mode: self.local_mode,
        }
    }
}

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        self.common().validate(at, problems);
        if self.num_workers == 0 {
            problems
                .error(at.at("num_workers"), "nothing can be sent with no worker")
                .help("write 8, or leave it out");
        }
        if self.telemetry.enabled {
            problems
                .warning(at.at("telemetry::enabled"), "telemetry of the X-Ray daemon is not sent")
                .help("remove it; skep's own metrics say more, see `service::telemetry::metrics`");
        }
        for (i, name) in self.aws_log_groups.iter().enumerate() {
            if let Err(message) = log_group(name) {
                problems.error(at.at(&format!("aws_log_groups::{i}")), message);
            }
        }
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        self.common().destination("AWS X-Ray")
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn Exporter>, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let log_groups: Result<Vec<_>, _> =
            self.aws_log_groups.iter().map(|name| log_group(name)).collect();
        let mut settings = Settings {
            index_all_attributes: self.index_all_attributes,
            log_groups: log_groups.map_err(fail)?,
            resource_arn: Some(self.resource_arn.clone()).filter(|arn| !arn.is_empty()),
            ..Settings::default()
        };
        settings.index(self.indexed_attributes.iter().map(String::as_str));
        let access = self.common().access();
        let stats = SegmentStats::new(&cx.id.to_string(), cx.metrics());
        let sender = Sender {
            id: cx.id.to_string(),
            stats,
            access,
            client: OnceCell::new(),
            under_way: Semaphore::new(self.num_workers),
        };
        Ok(Arc::new(XRay { settings, sender: Arc::new(sender) }))
    }
}

/// A name of `aws_log_groups`: what stands in a segment is said of its resource.
fn log_group(name: &str) -> Result<Template, String> {
    let template = Template::parse(Named::Group, name)?;
    if template.asks_items() {
        return Err("a segment names the log groups of its resource: records are not known here, \
                    use an attribute of the resource"
            .to_owned());
    }
    Ok(template)
}

/// Translates on a worker, sends on tokio.
struct XRay {
    settings: Settings,
    sender: Arc<Sender>,
}

impl Exporter for XRay {
    /// Each piece of the request is a document; the first one says what has none.
    fn encode(&self, work: &Work<'_>) -> Result<Piece, ExportError> {
        Ok(pieces::next(work, &self.settings))
    }

    fn encodes(&self) -> Encodes {
        Encodes::OnWorker
    }

    fn room(&self, content: &Content) -> usize {
        content.len().saturating_mul(16).saturating_add(pieces::ROOM)
    }

    fn prepare(&self) -> BoxFuture<()> {
        let sender = Arc::clone(&self.sender);
        Box::pin(async move { report(&sender.id, sender.connected().await) })
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        Box::pin(Arc::clone(&self.sender).probe())
    }

    fn send(&self, request: Request) -> BoxFuture<Result<Sent, ExportError>> {
        let sender = Arc::clone(&self.sender);
        Box::pin(sender.send(request.body))
    }
}

/// Cuts documents into requests.
fn requests(documents: &[Bytes]) -> Vec<&[Bytes]> {
    let mut all = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, document) in documents.iter().enumerate() {
        // As a JSON string a document is longer by its quotes, a tenth as a rule.
        let len = document.len() + document.len() / 8 + 4;
        if at - from == DOCUMENTS || at > from && bytes + len > REQUEST_LIMIT {
            all.push(&documents[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += len;
    }
    if from < documents.len() {
        all.push(&documents[from..]);
    }
    all
}

/// Sends documents.
struct Sender {
    id: String,
    stats: SegmentStats,
    access: Access,
    client: OnceCell<Connected<Client>>,
    under_way: Semaphore,
}

impl Sender {
    async fn connected(&self) -> Result<&Connected<Client>, ExportError> {
        let open = || connect(&self.access, &self.id, Client::new);
        self.client.get_or_try_init(open).await
    }

    /// Sends a document that says nothing: it is refused by itself, after X-Ray has looked whether
    /// skep may send at all.
    async fn probe(self: Arc<Self>) -> Result<String, ExportError> {
        let connected = self.connected().await?;
        let call = connected.client.put_trace_segments().trace_segment_documents("{}");
        let answer = call.send().await;
        connected.told(match answer {
            Ok(_) => Ok("X-Ray takes segments"),
            Err(error) => Err(explain("xray:PutTraceSegments", &error)),
        })
    }

    async fn send(self: Arc<Self>, body: Body) -> Result<Sent, ExportError> {
        let Some((note, documents)) = body.split_first() else { return Ok(Sent::default()) };
        let left_out = LeftOut::read(note);
        let mut sent = Sent { rejected: left_out.count(), ..Sent::default() };
        for (fault, count) in Fault::ALL.iter().zip(left_out.0).filter(|(_, count)| *count > 0) {
            sent.message = Some(format!("{count} spans have no segment: {}", fault.reason()));
        }
        if documents.is_empty() {
            self.count(&left_out, &[]);
            return Ok(sent);
        }
        let client = self.connected().await?.client.clone();
        let mut calls = JoinSet::new();
        for part in requests(documents) {
            calls.spawn(Arc::clone(&self).put(client.clone(), part.to_vec()));
        }
        let (mut failed, mut codes) = (None, Vec::new());
        while let Some(outcome) = calls.join_next().await {
            match outcome {
                Ok(Ok(one)) => {
                    sent.rejected += one.codes.len() as u64;
                    sent.message = one.message.or(sent.message);
                    codes.extend(one.codes);
                }
                // What can be sent again is; documents that X-Ray has already are the same there.
                Ok(Err(error)) => failed = Some(worse(failed, error)),
                Err(error) => failed = Some(worse(failed, broken_off("X-Ray", &error))),
            }
        }
        if let Some(error) = failed {
            // What is sent again is answered again.
            return Err(error);
        }
        self.count(&left_out, &codes);
        Ok(sent)
    }

    fn count(&self, left_out: &LeftOut, codes: &[String]) {
        for (number, count) in self.stats.untranslated.iter().zip(left_out.0) {
            number.add(count);
        }
        for code in codes {
            self.stats.add_unprocessed(code, 1);
        }
    }

    async fn put(
        self: Arc<Self>,
        client: Client,
        documents: Vec<Bytes>,
    ) -> Result<Answer, ExportError> {
        let _permit = self.under_way.acquire().await;
        let texts = documents.iter().map(|one| String::from_utf8_lossy(one).into_owned());
        let call = client.put_trace_segments().set_trace_segment_documents(Some(texts.collect()));
        let began = Instant::now();
        let answer = call.send().await;
        let answer = answer.map_err(|error| explain("xray:PutTraceSegments", &error))?;
        let refused = answer.unprocessed_trace_segments();
        // In the words of the X-Ray daemon, whose users look for them.
        tracing::info!(
            target: BATCHES,
            "Successfully sent batch of {} segments ({:.3} seconds)",
            documents.len() - refused.len().min(documents.len()),
            began.elapsed().as_secs_f64()
        );
        let codes = refused.iter().map(|one| one.error_code().unwrap_or("none").to_owned());
        let first = refused.first().map(|one| {
            format!(
                "X-Ray did not take {} of {} segments; {}: {} ({})",
                refused.len(),
                documents.len(),
                one.id().unwrap_or("one without an id"),
                one.message().unwrap_or("no reason"),
                one.error_code().unwrap_or("no code"),
            )
        });
        Ok(Answer { codes: codes.collect(), message: first })
    }
}

/// What X-Ray said of one request.
#[derive(Debug)]
struct Answer {
    /// Of each segment that it did not take.
    codes: Vec<String>,
    /// Of the first of them.
    message: Option<String>,
}

/// Of two errors the one that lets the data be sent again.
fn worse(first: Option<ExportError>, second: ExportError) -> ExportError {
    match first {
        Some(first) if matches!(first.retry, Retry::After(_)) => first,
        _ => second,
    }
}
