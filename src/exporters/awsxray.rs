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
//! Java, PHP, JavaScript (V8, Firefox, Safari), .NET, Go, Ruby, Rust and Swift become frames, even
//! without `telemetry.sdk.language`.
//!
//! Everything without a field is metadata: attributes, events that are not exceptions and the parts
//! of exceptions that were not understood (`otel.events`), `otel.span.name`,
//! `otel.status_description`, `otel.trace_state`. Names of scopes are not written, and the resource
//! only in segments. A document above 64 kB loses, in this order: events, metadata values above
//! 1 kB, all stack frames but the innermost ten, statements, all metadata.
//!
//! Attributes of the resource, which all of its segments repeat, get 16 kB of a document as
//! metadata and annotations, and 16 kB as `aws`; `otel.resource.left_out` counts those without
//! room. Of a span, at most 2048 attributes are read (`otel.attributes.left_out`), 100 exceptions,
//! 128 kB of stack traces, and 1024 texts of a list in a field. A payload is sent in pieces that
//! fit the memory that is set aside for the exporter; if that is less than 1 MiB for a piece,
//! documents are shorter, too.
//!
//! Passwords and keys in URLs and connection strings are `REDACTED` wherever such an attribute is
//! written: `https://user:password@host`, `?api_key=`, `Password=`, and the forms of JDBC, ODBC,
//! libpq and Oracle.
//!
//! Segments of X-Ray SDKs that came through the receiver `awsxray` are sent as they came;
//! `native.rs` lists what cannot be kept.
//!
//! `otelcol_exporter_awsxray_unprocessed_segments` counts segments that X-Ray did not accept, by
//! its code, and `otelcol_exporter_awsxray_untranslated_spans` spans that could not become a
//! segment, by reason.
//!
//! `aws_log_groups` are written like the names of `awscloudwatchlogs`, with attributes of the
//! resource. If both have the same text, the console finds the records of a trace by their
//! `xray_trace_id`.
//!
//! `budget` is a ceiling for each month in traces, however many requests a trace comes in. Spans of
//! a trace that is counted cost nothing more.
//!
//! Differs from the Collector:
//!
//! - There is a queue, and throttling, timeouts and errors of the server are retried. A segment
//!   that X-Ray does not accept is counted, and the log names it with the reason.
//! - Characters that X-Ray does not accept are removed from all names; `server.address` and others
//!   name a call if the older attributes are missing.
//! - A segment of a consumer has the name of the service; in the Collector it has the name of the
//!   span or the broker.
//! - A database without an address in the span is not assumed to be on `localhost`.
//!   `network.peer.port` is the port of an address of the connection, never of `server.address`.
//! - `user.id` is the `user` of a segment, too.
//! - A link with an invalid id is left out, not the whole span. Lists are metadata, never lost.
//! - Ids of exceptions depend only on the id of their span, so a document that is sent twice is the
//!   same.
//! - Attributes of AWS stay metadata if `cloud.provider` is another one. Telemetry of the daemon is
//!   not sent.

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
mod send;
mod settings;
mod sql;
mod stats;
mod trim;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::pieces::Segments;
use self::{send::Sender, settings::Settings, stats::SegmentStats};
use super::{
    aws::{AwsAccess, report},
    budget::{self, Budget, Counted},
    cloudwatch::name::{Named, Template},
    delivery::{RetryOnFailure, SendingQueue, delivery},
};
use crate::{
    budget::Unit,
    component::{
        BoxFuture, BudgetUse, BudgetWeights, BuildContext, Count, Delivery, Encodes, Entry,
        ErasedExporter, ExportError, Exporter, ExporterConfig, Piece, Progress, Sent, StartError,
        Work,
    },
    config::{Ignored, Interval, Node, Problems, Section},
    otlp::{Content, Signal},
};

/// Sends to X-Ray.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How AWS is reached.
    #[serde(rename = "$access")]
    #[schemars(flatten)]
    pub access: AwsAccess,
    /// Requests of one batch that are in flight at the same time.
    pub num_workers: usize,
    /// ARN of the resource that runs the application.
    pub resource_arn: String,
    /// Attributes that become annotations; those of resources as `otel.resource.<key>`.
    pub indexed_attributes: Vec<String>,
    /// All attributes become annotations; X-Ray indexes 50 of a trace.
    pub index_all_attributes: bool,
    /// Log groups that the console links to if the resource names none, with placeholders such as
    /// `{ServiceName}`.
    pub aws_log_groups: Vec<String>,
    /// Has no effect: skep sends no telemetry of the X-Ray daemon. Instead: use skep's own metrics,
    /// see `service::telemetry::metrics`.
    pub telemetry: Ignored<DaemonTelemetry>,
    /// Longest time for one attempt with all of its requests.
    pub timeout: Interval,
    /// Queue in front of X-Ray.
    pub sending_queue: SendingQueue,
    /// Sending again after a failure.
    pub retry_on_failure: RetryOnFailure,
    /// Ceiling for each month in the unit that the vendor bills.
    pub budget: Section<Budget>,
}

/// The keys of `telemetry`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DaemonTelemetry {
    pub enabled: bool,
    pub include_metadata: bool,
    pub contributors: Vec<String>,
    pub hostname: String,
    pub instance_id: String,
    pub resource_arn: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            access: AwsAccess::default(),
            num_workers: 8,
            resource_arn: String::new(),
            indexed_attributes: Vec::new(),
            index_all_attributes: false,
            aws_log_groups: Vec::new(),
            telemetry: Ignored::default(),
            timeout: Interval(Duration::from_mins(2)),
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
            budget: Section::Off,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("awsxray", &[], &[Signal::Traces], include_str!("awsxray.rs"));

/// What X-Ray bills: traces.
const COUNTED: Counted = Counted {
    exporter: "awsxray",
    like: &[],
    unit: Unit::Traces,
    count: Count::Traces,
    weights: BudgetWeights { sample_rate: false, tracestate: false },
};

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        self.access.validate(at, problems);
        if self.num_workers == 0 {
            problems
                .error(at.at("num_workers"), "`num_workers` must be at least 1")
                .help("write 8, or leave it out");
        }
        for (i, name) in self.aws_log_groups.iter().enumerate() {
            if let Err(message) = log_group(name) {
                problems.error(at.at(&format!("aws_log_groups::{i}")), message);
            }
        }
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
        budget::validate(&self.budget, &COUNTED, &self.sending_queue, at, problems);
    }

    fn budget(&self) -> Option<BudgetUse> {
        budget::budget(&self.budget, &COUNTED)
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        self.access.destination("AWS X-Ray")
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        Ok(Arc::new(self.exporter(cx)?))
    }
}

impl Config {
    /// The exporter for these settings. Opens nothing.
    pub fn exporter(&self, cx: &BuildContext) -> Result<XRay, StartError> {
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
        let stats = SegmentStats::new(cx.metrics("exporter"));
        let access = self.access.access();
        let sender = Sender::new(cx.id.to_string(), stats, access, self.num_workers);
        Ok(XRay { settings, sender: Arc::new(sender) })
    }
}

/// A name in `aws_log_groups`. A segment takes it from its resource.
fn log_group(name: &str) -> Result<Template, String> {
    let template = Template::parse(Named::Group, name)?;
    if template.asks_items() {
        return Err("a segment takes the names of log groups from its resource, not from log \
                    records; use an attribute of the resource"
            .to_owned());
    }
    Ok(template)
}

/// Translates on a worker, sends on tokio.
pub struct XRay {
    settings: Settings,
    sender: Arc<Sender>,
}

impl Exporter for XRay {
    type Encoded = Segments;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Segments>, ExportError> {
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
        Box::pin(async move { report(sender.id(), sender.connected().await) })
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        Box::pin(Arc::clone(&self.sender).probe())
    }

    fn send(&self, segments: Segments, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        Box::pin(Arc::clone(&self.sender).send(segments))
    }
}
