//! Sends log records to CloudWatch Logs (`PutLogEvents`).
//!
//! ```yaml
//! awscloudwatchlogs:
//!   log_group_name: /app/{ServiceName}         # attributes of the resource
//!   log_stream_name: "{TaskId:-local}"
//!   log_retention: 30                          # days; CloudWatch keeps events for ever by default
//! ```
//!
//! Groups and streams are created if they are missing. The role or user of skep needs
//! `logs:PutLogEvents`, and to create them `logs:CreateLogStream`, `logs:CreateLogGroup` and
//! `logs:PutRetentionPolicy`. Credentials and region are found as in every AWS program.
//!
//! A record is a JSON object: `body`, `severity_text`, `trace_id`, `attributes`, `resource` and its
//! other fields; with `raw_log` it is only the body. `xray_trace_id` is the trace id as X-Ray
//! writes it: with it, the console shows the logs of a trace. Names are filled in from the
//! resource: `{ClusterName}`, `{ContainerInstanceId}`, `{FaasName}`, `{FaasVersion}`,
//! `{InstanceId}`, `{NodeName}`, `{PodName}`, `{ServiceName}`, `{TaskDefinitionFamily}`,
//! `{TaskId}`, any attribute as `{service.name}` or `{resource.env}`, and of the record
//! `{attributes.tenant}`; `{ServiceName:-app}` has a default.
//!
//! The logs of the receiver `awscloudwatchlogs` go where their clients wrote them with
//! `log_group_name: "{aws.log.group.names}"`, `log_stream_name: "{aws.log.stream.names}"` and
//! `raw_log: true`. A group is then made with the retention, class and tags that its client asked
//! for; the keys here are for groups whose clients asked for nothing.
//!
//! Streams are written in parallel, each in order: one payload is sent at a time, joined from all
//! requests of 200 ms (`sending_queue.batch`). A batch that was accepted is not sent again when
//! another is throttled. Events older than 14 days or more than 2 hours ahead are left out and
//! counted.
//!
//! Resource and scope are in every event, with at most 12 KiB of the resource and 4 KiB of the
//! scope: attributes that do not fit are left out, and `otel.dropped_attributes_count` there counts
//! them. A payload is sent in parts that fit into memory, and an event has at most a sixth of the
//! memory for a part (4 MiB if one exporter has 64 MiB).
//! `otelcol_exporter_awscloudwatch_shortened_events` counts events that were shortened.
//!
//! `budget` is a ceiling for each month in bytes, as CloudWatch Logs bills them: those of the
//! messages, and 26 for each event. If records are sampled, those that are sent have the attribute
//! `SampleRate`, so that its sum is the number of all.
//!
//! Differs from the Collector:
//!
//! - Batches have the 1 MiB of the service instead of a quarter of it, and events are cut at its
//!   limit, between characters and within the body, so that they stay JSON. Throttling repeats a
//!   batch, not the request.
//! - A record without a time gets that of its observation. A bad event does not affect others.
//! - Streams are created only if writing to them fails, so no other permission is needed to start.
//! - `num_consumers` has no effect.
//! - Events have the name of their event (`event_name`) and `xray_trace_id`.
//! - Characters that CloudWatch does not accept in a name become `_`, blanks among them.
//! - With `raw_log`, keys of a map in the body keep their order; the Collector sorts them.

mod record;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_sdk_cloudwatchlogs::types::LogGroupClass as Class;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::record::Around;
use super::{
    aws::{AwsAccess, report},
    budget::{self, Budget, Counted},
    cloudwatch::{
        batch::{Batches, CUT, Gather, LONGEST_MESSAGE, Target},
        group::{NewGroup, NewGroups, check_retention, check_tags},
        name::{Named, Of, Template},
        put::Writer,
        streams::{Streams, asked, find},
    },
    delivery::{RetryOnFailure, SendingQueue, delivery},
};
use crate::{
    budget::Unit,
    component::{
        BoxFuture, BudgetUse, BudgetWeights, BuildContext, Count, Delivery, Encodes, Entry,
        ErasedExporter, ExportError, Exporter, ExporterConfig, Piece, Progress, QueueBatch, Sent,
        Sizer, StartError, Work,
    },
    config::{Ignored, Interval, Node, Problems, Section},
    otlp::{
        Content, Signal,
        content::{Step, Walk},
        view::{KeyValue, LogRecord},
    },
};

/// By default, requests are joined for this long.
const JOIN: Duration = Duration::from_millis(200);
/// Or until there are this many records.
const JOINED: u64 = 8192;

/// Sends to CloudWatch Logs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the log group, with placeholders such as `{ServiceName}`.
    pub log_group_name: String,
    /// Name of the log stream, with placeholders.
    pub log_stream_name: String,
    /// Days that a group made by skep keeps its events; 0: for ever.
    pub log_retention: i64,
    /// Tags of a group made by skep.
    pub tags: BTreeMap<String, String>,
    /// Class of a group made by skep: `INFREQUENT_ACCESS` has half the price and fewer functions.
    pub log_group_class: Option<LogGroupClass>,
    /// The message is only the body.
    pub raw_log: bool,
    /// Field with the trace id in the form of X-Ray; empty: none.
    pub xray_trace_id_field: String,
    /// Longest message in bytes, with the mark of a cut; 262118 in regions of China.
    pub max_event_size: usize,
    /// Most streams that the process writes to; events of others go to the stream `overflow`.
    pub max_streams: usize,
    /// How AWS is reached.
    #[serde(rename = "$access")]
    #[schemars(flatten)]
    pub access: AwsAccess,
    /// Has no effect: streams are written in parallel.
    pub num_workers: Ignored<usize>,
    /// Has no effect: it belongs to segments of X-Ray.
    pub resource_arn: Ignored<String>,
    /// Longest time for one attempt with all of its requests.
    pub timeout: Interval,
    /// Queue in front of CloudWatch; one request at a time.
    pub sending_queue: SendingQueue,
    /// Sending again after a failure.
    pub retry_on_failure: RetryOnFailure,
    /// Ceiling for each month in the unit that the vendor bills.
    pub budget: Section<Budget>,
}

/// Class of a log group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogGroupClass {
    /// All functions.
    Standard,
    /// No live tail, no metric filters, no metrics out of events.
    InfrequentAccess,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            log_group_name: String::new(),
            log_stream_name: String::new(),
            log_retention: 0,
            tags: BTreeMap::new(),
            log_group_class: None,
            raw_log: false,
            xray_trace_id_field: "xray_trace_id".to_owned(),
            max_event_size: LONGEST_MESSAGE,
            max_streams: 1000,
            access: AwsAccess::default(),
            num_workers: Ignored::default(),
            resource_arn: Ignored::default(),
            timeout: Interval(Duration::from_mins(2)),
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
            budget: Section::Off,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> = Entry::of::<Config>(
    "awscloudwatchlogs",
    &[],
    &[Signal::Logs],
    include_str!("awscloudwatchlogs.rs"),
);

/// What CloudWatch Logs bills: messages, with 26 bytes more for each.
const COUNTED: Counted = Counted {
    exporter: "awscloudwatchlogs",
    like: &[],
    unit: Unit::Bytes,
    count: Count::Bytes,
    weights: BudgetWeights { sample_rate: true, tracestate: false },
};

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let names = [
            ("log_group_name", &self.log_group_name, Named::Group, "/app/{ServiceName}"),
            ("log_stream_name", &self.log_stream_name, Named::Stream, "{TaskId:-local}"),
        ];
        for (key, name, named, example) in names {
            if name.is_empty() {
                problems
                    .error(at, format!("'{key}' must be set"))
                    .help(format!("add `{key}: \"{example}\"`"));
            } else if let Err(message) = Template::parse(named, name) {
                problems.error(at.at(key), message);
            }
        }
        if let Err(remedy) = check_retention(self.log_retention) {
            let message = format!("CloudWatch cannot keep events for {} days", self.log_retention);
            problems.error(at.at("log_retention"), message).help(remedy);
        }
        if let Err(message) = check_tags(&self.tags) {
            problems.error(at.at("tags"), message);
        }
        if !(CUT.len() + 1..=LONGEST_MESSAGE).contains(&self.max_event_size) {
            problems
                .error(at.at("max_event_size"), "no event can have this size")
                .help(format!("write {LONGEST_MESSAGE} or less, or leave it out"));
        }
        if self.max_streams == 0 {
            problems
                .error(at.at("max_streams"), "`max_streams` must be at least 1")
                .help("write 1000, or leave it out");
        }
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "._-@".contains(letter);
        if !self.xray_trace_id_field.chars().all(is_name) {
            problems
                .error(at.at("xray_trace_id_field"), "this is not the name of a field")
                .help("use letters, digits and `._-@`; write \"\" for no such field");
        }
        self.access.validate(at, problems);
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
        budget::validate(&self.budget, &COUNTED, &self.sending_queue, at, problems);
    }

    fn budget(&self) -> Option<BudgetUse> {
        budget::budget(&self.budget, &COUNTED)
    }

    /// One request at a time, since streams are in order, and joined, since each is a call.
    fn delivery(&self) -> Delivery {
        let mut delivery = delivery(&self.sending_queue, &self.retry_on_failure, self.timeout);
        if let Some(queue) = &mut delivery.queue {
            queue.consumers = 1;
            queue.batch.get_or_insert_with(|| QueueBatch {
                flush_timeout: JOIN,
                min_size: JOINED,
                max_size: 0,
                sizer: Sizer::Items,
                metadata_keys: Vec::new(),
            });
        }
        delivery
    }

    fn destination(&self) -> String {
        self.access.destination("CloudWatch Logs")
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let access = self.access.access();
        let new_group = NewGroup {
            retention: check_retention(self.log_retention).map_err(fail)?,
            tags: self.tags.clone(),
            class: self.log_group_class.map(|class| match class {
                LogGroupClass::Standard => Class::Standard,
                LogGroupClass::InfrequentAccess => Class::InfrequentAccess,
            }),
        };
        let groups = Arc::new(NewGroups::new(new_group, self.max_streams));
        let (id, meter) = (cx.id.to_string(), cx.metrics("exporter"));
        let writer = Writer::new(id, access, Arc::clone(&groups), self.raw_log, &meter);
        let layout = Layout {
            group: Template::parse(Named::Group, &self.log_group_name).map_err(fail)?,
            stream: Template::parse(Named::Stream, &self.log_stream_name).map_err(fail)?,
            is_raw: self.raw_log,
            trace_field: self.xray_trace_id_field.clone(),
            longest: self.max_event_size,
            streams: Streams::new(self.max_streams),
            groups,
        };
        Ok(Arc::new(CloudWatchLogs { layout, writer: Arc::new(writer) }))
    }
}

/// Translates on a worker, writes on tokio.
struct CloudWatchLogs {
    layout: Layout,
    writer: Arc<Writer>,
}

impl Exporter for CloudWatchLogs {
    type Encoded = Arc<Batches>;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Arc<Batches>>, ExportError> {
        Ok(self.layout.piece(work))
    }

    fn encodes(&self) -> Encodes {
        Encodes::OnWorker
    }

    /// All that is available: a record may become many times its length. Unused room is given back.
    fn room(&self, _content: &Content) -> usize {
        usize::MAX
    }

    fn prepare(&self) -> BoxFuture<()> {
        let writer = Arc::clone(&self.writer);
        Box::pin(async move { report(writer.id(), writer.connected().await) })
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        let writer = Arc::clone(&self.writer);
        let group = self.layout.group.fill(|_, _| None);
        Box::pin(async move { writer.probe(&group).await })
    }

    fn units(&self, batches: &Arc<Batches>) -> Option<u64> {
        Some(batches.billed())
    }

    fn send(
        &self,
        batches: Arc<Batches>,
        progress: &Arc<Progress>,
    ) -> BoxFuture<Result<Sent, ExportError>> {
        Box::pin(Arc::clone(&self.writer).send(batches, Arc::clone(progress)))
    }
}

/// How records become events.
struct Layout {
    group: Template,
    stream: Template,
    is_raw: bool,
    trace_field: String,
    longest: usize,
    streams: Streams,
    /// What clients ask for their groups.
    groups: Arc<NewGroups>,
}

/// What the records of one resource and scope share.
struct Shared<'a> {
    resource: Vec<KeyValue<'a>>,
    around: Around,
    /// The stream of all of them, unless it depends on the record.
    target: Option<usize>,
}

impl Layout {
    /// The next records as events, as many as there is room for.
    fn piece(&self, work: &Work<'_>) -> Piece<Arc<Batches>> {
        let mut gather = Gather::within(work.room);
        let mut walk = work.walk();
        let mut shared = None;
        while let Some(step) = walk.next() {
            match step {
                Step::Resource => shared = None,
                Step::Scope => {
                    if let Some(Shared { around, .. }) = shared.as_mut().filter(|_| !self.is_raw) {
                        around.set_scope(walk.scope());
                    }
                }
                Step::Metric(_) => {}
                Step::Item(record) => {
                    let shared = shared.get_or_insert_with(|| self.shared(&mut gather, &walk));
                    if !self.push(&mut gather, shared, &record.into()) {
                        walk.put_back();
                        break;
                    }
                }
            }
        }
        gather.finish(work, &walk)
    }

    fn shared<'a>(&self, gather: &mut Gather, walk: &Walk<'a>) -> Shared<'a> {
        let is_asked = |key: &[u8]| self.group.asks(key) || self.stream.asks(key);
        let resource = asked(walk.resource(), is_asked);
        let asks_items = self.group.asks_items() || self.stream.asks_items();
        let target = (!asks_items).then(|| self.target(gather, &resource, None));
        let group = || {
            self.group.fill(|of, key| match of {
                Of::Resource => find(resource.iter().copied(), key),
                Of::Item => None,
            })
        };
        self.groups.note(walk.resource(), group);
        let mut around = Around::default();
        if !self.is_raw {
            around = Around::of_resource(walk.resource());
            around.set_scope(walk.scope());
        }
        Shared { resource, around, target }
    }

    /// Adds an event. Returns false if there is no room for it.
    fn push(&self, gather: &mut Gather, shared: &Shared<'_>, record: &LogRecord<'_>) -> bool {
        let own = if self.is_raw { record::own_names(record, self.longest) } else { None };
        let target = match (own, shared.target) {
            (Some(names), _) => self.own_target(gather, &shared.resource, record, names),
            (None, Some(target)) => target,
            (None, None) => self.target(gather, &shared.resource, Some(record)),
        };
        let nanos = match record.time_unix_nano {
            0 => record.observed_time_unix_nano,
            nanos => nanos,
        };
        gather.push(target, nanos, self.longest, |out, most| {
            if self.is_raw {
                record::write_body(record, most, out)
            } else {
                record::write(record, &shared.around, &self.trace_field, most, out)
            }
        })
    }

    fn target(
        &self,
        gather: &mut Gather,
        resource: &[KeyValue<'_>],
        record: Option<&LogRecord<'_>>,
    ) -> usize {
        let value = |of: Of, key: &str| match of {
            Of::Resource => find(resource.iter().copied(), key),
            Of::Item => record.and_then(|record| find(record.attributes(), key)),
        };
        let (group, stream) = (self.group.fill(value), self.stream.fill(value));
        gather.target(self.streams.admit(Target { group, stream }))
    }

    /// The stream of an event that names its group itself, and maybe its stream.
    fn own_target(
        &self,
        gather: &mut Gather,
        resource: &[KeyValue<'_>],
        record: &LogRecord<'_>,
        (group, stream): (String, Option<String>),
    ) -> usize {
        let value = |of: Of, key: &str| match of {
            Of::Resource => find(resource.iter().copied(), key),
            Of::Item => find(record.attributes(), key),
        };
        let stream = stream.unwrap_or_else(|| self.stream.fill(value));
        let target =
            Target { group: Named::Group.clean(&group), stream: Named::Stream.clean(&stream) };
        gather.target(self.streams.admit(target))
    }
}
