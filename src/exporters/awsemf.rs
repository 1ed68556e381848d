//! Sends metrics to CloudWatch as log events in the embedded metric format, from which CloudWatch
//! makes metrics.
//!
//! ```yaml
//! awsemf:
//!   namespace: Shop
//!   log_group_name: /metrics/{ServiceName}
//!   log_retention: 7                            # the metrics themselves are kept for 15 months
//!   metric_declarations:                        # each set of dimensions is billed as a metric
//!     - dimensions: [[http.route], []]
//!       metric_name_selectors: ["^http\\.server\\."]
//! ```
//!
//! The role or user of skep needs the same permissions as for `awscloudwatchlogs`. Names are
//! written as there; attributes that the resource lacks are looked up among the labels. Points of
//! the same time and labels share a document. Labels are dimensions; the name of the scope is the
//! dimension `OTelLib`.
//!
//! For counters and histograms that count since the start of a process, the difference to the last
//! point is sent; likewise for summaries, whose count and sum OTLP defines as totals. The first
//! point of a series is left out, since it is not known when counting began; a series without a new
//! point for five minutes begins again. An exponential histogram is sent as the middles of its
//! buckets, as far as they lie between minimum and maximum, any other distribution as count, sum,
//! minimum and maximum. Units become those of CloudWatch.
//!
//! All names in a document must differ: `_aws`, `Version`, `Timestamp` and `CloudWatchMetrics`
//! belong to the format, then come the metrics, then their labels. A name that is already in use
//! gets `_` at its end (`otelcol_exporter_awscloudwatch_renamed` counts them). A point that does
//! not become an event is counted by its reason in
//! `otelcol_exporter_awscloudwatch_left_out_events`, and each reason is logged once.
//!
//! With `resource_to_telemetry_conversion` a point gets at most 12 KiB of its resource: labels that
//! do not fit are left out, and `otelcol_exporter_awscloudwatch_shortened_events` counts the
//! documents without them. A payload is sent in parts that fit into memory. A point is left out if
//! its labels take more than a sixteenth of the memory for a part (4 MiB if one exporter has 64
//! MiB), or more than an event may have.
//!
//! `budget` is a ceiling for each month in metrics, as CloudWatch bills them: combinations of
//! namespace, name and dimensions. Those that have been sent this month go on; a new one beyond the
//! ceiling is in the log and not a metric. With `preset: cloudwatch-logs-free` it is a ceiling for
//! the bytes of the documents, as CloudWatch Logs bills them. One exporter has one budget: the
//! bytes of an exporter with a budget in metrics have no ceiling.
//!
//! Differs from the Collector:
//!
//! - `dimension_rollup_option` is `NoDimensionRollup`: each further set of dimensions costs money.
//! - A metric that no declaration selects has `_aws` without metrics in its document.
//! - For histograms that count since the start, too, the difference is sent; sums that go up and
//!   down are sent as they are. For summaries, the difference is sent wherever they come from.
//! - Minimum and maximum come from the buckets if a sender leaves them out or sends those since the
//!   start, and the mean always lies between them. A missing sum is that of the middles of the
//!   buckets. If the values become several documents, each gets its share of the sum.
//! - If an exponential histogram has more than 200 buckets on one side, pairs of them are merged
//!   until it has fewer.
//! - More than 100 metrics with the same labels become several documents; a set has up to 30
//!   dimensions; a label that is empty, too long or JSON does not become a dimension. A name that
//!   is in use is changed, as described above. Otherwise CloudWatch would keep the document and
//!   make no metric. Numbers beyond 2^360 are left out.
//! - A unit that CloudWatch does not know is left out.

mod admission;
mod declare;
mod delta;
mod document;
mod point;
mod resource;
mod translate;
mod unit;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::resource::ResourceConversion;
use self::{
    admission::Admission,
    declare::{DIMENSIONS, Declaration, LabelMatcher as Matcher, Rollup},
    delta::Totals,
    document::Form,
    translate::Translation,
};
use super::{
    aws::{AwsAccess, report},
    budget::{self, Budget, Counted, Plan},
    cloudwatch::{
        batch::Batches,
        group::{NewGroup, NewGroups, check_retention, check_tags},
        name::{Named, Template},
        put::Writer,
        streams::Streams,
    },
    delivery::{RetryOnFailure, SendingQueue, delivery},
};
use crate::{
    budget::Unit,
    component::{
        BoxFuture, BudgetUse, BudgetWeights, BuildContext, Count, Delivery, Encodes, Entry,
        ErasedExporter, ExportError, Exporter, ExporterConfig, Piece, Progress, Retry, Sent,
        StartError, Work,
    },
    config::{Fixed, Ignored, Interval, Node, Problems, Section},
    otlp::{Content, Signal},
    sync,
};

/// Sends metrics as documents of the embedded metric format.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Namespace of the metrics; else `service.namespace`/`service.name`, or one of them, or
    /// `default`.
    pub namespace: String,
    /// Name of the log group, with placeholders such as `{ServiceName}`; else `/metrics/` and the
    /// namespace.
    pub log_group_name: String,
    /// Name of the log stream, with placeholders; else `otel-stream-` and an id of this process.
    pub log_stream_name: String,
    /// Days that a group made by skep keeps its events; 0: for ever.
    pub log_retention: i64,
    /// Tags of a group made by skep.
    pub tags: BTreeMap<String, String>,
    /// Sets of dimensions besides that of all labels, or besides the declared ones.
    pub dimension_rollup_option: RollupOption,
    /// Which attributes of the resource are labels too.
    pub resource_to_telemetry_conversion: ResourceConversion,
    /// Which metrics are made, with which dimensions; `None` means all, with all labels.
    pub metric_declarations: Vec<MetricDeclaration>,
    /// Units of metrics that have none, or the wrong one.
    pub metric_descriptors: Vec<MetricDescriptor>,
    /// Version of the format: `1` or `0`.
    pub version: String,
    /// Where documents go: `cloudwatch`, or `stdout` as lines, for example in AWS Lambda.
    pub output_destination: Output,
    /// Summaries as sum, count and quantiles instead of one statistic set.
    pub detailed_metrics: bool,
    /// Sends the first point of a series that counts since its start.
    pub retain_initial_value_of_delta_metric: bool,
    /// Labels whose values are JSON, and are JSON in the document, too.
    pub parse_json_encoded_attr_values: Vec<String>,
    /// Has no effect: skep has no receiver of Container Insights.
    pub eks_fargate_container_insights_enabled: Fixed<false>,
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

/// `dimension_rollup_option`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum RollupOption {
    /// None.
    #[default]
    NoDimensionRollup,
    /// One set for each label.
    SingleDimensionRollupOnly,
    /// One for each label, and one without labels.
    ZeroAndSingleDimensionRollup,
}

/// `output_destination`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// `PutLogEvents`.
    #[default]
    CloudWatch,
    /// A line for each document.
    Stdout,
}

/// One of `metric_declarations`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricDeclaration {
    /// Sets of labels that become dimensions; a set counts where the point has all of its labels.
    pub dimensions: Vec<Vec<String>>,
    /// Regular expressions; the name matches one of them.
    pub metric_name_selectors: Vec<String>,
    /// Matchers of labels, of which one must match; if the list is empty, any labels match.
    pub label_matchers: Vec<LabelMatcher>,
}

/// One of `label_matchers`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelMatcher {
    /// Labels whose values are joined.
    pub label_names: Vec<String>,
    /// Text between the joined values.
    pub separator: String,
    /// Regular expression for the joined values.
    pub regex: String,
}

impl Default for LabelMatcher {
    fn default() -> Self {
        LabelMatcher { label_names: Vec::new(), separator: ";".to_owned(), regex: String::new() }
    }
}

/// One of `metric_descriptors`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricDescriptor {
    /// The metric.
    pub metric_name: String,
    /// A unit of CloudWatch.
    pub unit: String,
    /// Also where the metric has a unit.
    pub overwrite: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            namespace: String::new(),
            log_group_name: String::new(),
            log_stream_name: String::new(),
            log_retention: 0,
            tags: BTreeMap::new(),
            dimension_rollup_option: RollupOption::default(),
            resource_to_telemetry_conversion: ResourceConversion::default(),
            metric_declarations: Vec::new(),
            metric_descriptors: Vec::new(),
            version: "1".to_owned(),
            output_destination: Output::default(),
            detailed_metrics: false,
            retain_initial_value_of_delta_metric: false,
            parse_json_encoded_attr_values: Vec::new(),
            eks_fargate_container_insights_enabled: Fixed,
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

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("awsemf", &[], &[Signal::Metrics], include_str!("awsemf.rs"));

impl Config {
    fn validate_names(&self, at: &Node, problems: &mut Problems) {
        let names = [
            ("log_group_name", &self.log_group_name, Named::Group),
            ("log_stream_name", &self.log_stream_name, Named::Stream),
        ];
        for (key, name, named) in names {
            if let Err(message) = Template::parse(named, name) {
                problems.error(at.at(key), message);
            }
        }
        let takes = |letter: char| letter.is_ascii_alphanumeric() || ".-_/#: ".contains(letter);
        let is_namespace = self.namespace.len() <= 255
            && self.namespace.chars().all(takes)
            && !self.namespace.starts_with([':', ' '])
            && !self.namespace.starts_with("AWS/");
        if !is_namespace {
            problems.error(at.at("namespace"), "CloudWatch does not accept this namespace").help(
                "use at most 255 letters, digits and `.-_/#: `; `AWS/` and `:` cannot be first",
            );
        }
        if let Err(remedy) = check_retention(self.log_retention) {
            let message = format!("CloudWatch cannot keep events for {} days", self.log_retention);
            problems.error(at.at("log_retention"), message).help(remedy);
        }
        if let Err(message) = check_tags(&self.tags) {
            problems.error(at.at("tags"), message);
        }
        if self.max_streams == 0 {
            problems
                .error(at.at("max_streams"), "`max_streams` must be at least 1")
                .help("write 1000, or leave it out");
        }
    }

    fn validate_metrics(&self, at: &Node, problems: &mut Problems) {
        for (i, one) in self.metric_declarations.iter().enumerate() {
            let at = at.at(&format!("metric_declarations::{i}"));
            if one.metric_name_selectors.is_empty() {
                problems
                    .error(at, "no metric is selected")
                    .help("add `metric_name_selectors: [\".*\"]` for all of them");
            }
            for (set, names) in one.dimensions.iter().enumerate() {
                if names.len() > DIMENSIONS {
                    let at = at.at(&format!("dimensions::{set}"));
                    problems
                        .error(at, format!("a metric has at most {DIMENSIONS} dimensions"))
                        .help("leave out dimensions that no query needs");
                }
            }
            let names = one.metric_name_selectors.iter().enumerate();
            let names = names.map(|(i, text)| (format!("metric_name_selectors::{i}"), text));
            let labels = one.label_matchers.iter().enumerate();
            let labels = labels.map(|(i, one)| (format!("label_matchers::{i}::regex"), &one.regex));
            for (key, text) in names.chain(labels) {
                if let Err(error) = Regex::new(text) {
                    let what = error.to_string();
                    let last = what.lines().last().unwrap_or_default();
                    let last = last.trim_start_matches("error: ");
                    problems.error(
                        at.at(&key),
                        format!("`{text}` is not a regular expression: {last}"),
                    );
                }
            }
            for (i, matcher) in one.label_matchers.iter().enumerate() {
                if matcher.label_names.is_empty() || matcher.regex.is_empty() {
                    problems
                        .error(at.at(&format!("label_matchers::{i}")), "it matches nothing")
                        .help("give both `label_names` and `regex`");
                }
            }
        }
        for (i, one) in self.metric_descriptors.iter().enumerate() {
            let at = at.at(&format!("metric_descriptors::{i}"));
            if one.metric_name.is_empty() {
                problems.error(at, "'metric_name' must be set").help("name the metric");
            }
            if unit::known(&one.unit).is_none() {
                problems
                    .error(at.at("unit"), format!("CloudWatch has no unit `{}`", one.unit))
                    .help(format!("write one of {}", unit::all()));
            }
        }
    }

    /// What CloudWatch bills: distinct metrics, or with the preset of CloudWatch Logs the bytes of
    /// the documents.
    fn counted(&self) -> Counted {
        let weights = BudgetWeights::default();
        let is_of_logs =
            self.budget.on().is_some_and(|own| own.preset == Some(Plan::CloudwatchLogsFree));
        let (unit, count) = if is_of_logs {
            (Unit::Bytes, Count::Bytes)
        } else {
            (Unit::Metrics, Count::ByExporter)
        };
        Counted { exporter: "awsemf", like: &["awscloudwatchlogs"], unit, count, weights }
    }

    /// Which metrics the budget allows, if that is what it counts.
    fn admission(&self, cx: &BuildContext) -> Option<Admission> {
        let monthly = cx.monthly.as_ref().filter(|_| self.counted().count == Count::ByExporter)?;
        Some(Admission::new(Arc::clone(monthly), &cx.metrics("exporter")))
    }

    fn translation(&self) -> Result<Translation, String> {
        let regex = |text: &String| Regex::new(text).map_err(|error| error.to_string());
        let matcher = |one: &LabelMatcher| {
            Ok(Matcher {
                names: one.label_names.clone(),
                separator: one.separator.clone(),
                regex: regex(&one.regex)?,
            })
        };
        let declaration = |one: &MetricDeclaration| {
            Ok(Declaration {
                dimensions: one.dimensions.clone(),
                names: one
                    .metric_name_selectors
                    .iter()
                    .map(regex)
                    .collect::<Result<_, String>>()?,
                labels: one.label_matchers.iter().map(matcher).collect::<Result<_, String>>()?,
            })
        };
        let stream = if self.log_stream_name.is_empty() {
            format!("otel-stream-{:016x}", fastrand::u64(..))
        } else {
            self.log_stream_name.clone()
        };
        let group = (!self.log_group_name.is_empty())
            .then(|| Template::parse(Named::Group, &self.log_group_name));
        let unit = |one: &MetricDescriptor| {
            Some((one.metric_name.clone(), (unit::known(&one.unit)?, one.overwrite)))
        };
        let declarations = self.metric_declarations.iter().map(declaration);
        Ok(Translation {
            namespace: self.namespace.clone(),
            group: group.transpose()?,
            stream: Template::parse(Named::Stream, &stream)?,
            resource: self.resource_to_telemetry_conversion.chosen()?,
            is_detailed: self.detailed_metrics,
            keeps_first: self.retain_initial_value_of_delta_metric,
            units: self.metric_descriptors.iter().filter_map(unit).collect(),
            form: Form {
                is_version_0: self.version == "0",
                rollup: match self.dimension_rollup_option {
                    RollupOption::NoDimensionRollup => Rollup::None,
                    RollupOption::SingleDimensionRollupOnly => Rollup::Single,
                    RollupOption::ZeroAndSingleDimensionRollup => Rollup::ZeroAndSingle,
                },
                declarations: declarations.collect::<Result<_, String>>()?,
                parsed: self.parse_json_encoded_attr_values.iter().cloned().collect(),
            },
            streams: Streams::new(self.max_streams),
        })
    }
}

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        self.validate_names(at, problems);
        self.validate_metrics(at, problems);
        if !matches!(&*self.version, "0" | "1") {
            problems
                .error(at.at("version"), format!("there is no version `{}`", self.version))
                .help("write \"1\", or leave it out");
        }
        self.resource_to_telemetry_conversion.validate(at, problems);
        self.access.validate(at, problems);
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
        budget::validate(&self.budget, &self.counted(), &self.sending_queue, at, problems);
    }

    fn budget(&self) -> Option<BudgetUse> {
        budget::budget(&self.budget, &self.counted())
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        match self.output_destination {
            Output::CloudWatch => self.access.destination("CloudWatch metrics"),
            Output::Stdout => "standard output".to_owned(),
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let access = self.access.access();
        let new_group = NewGroup {
            retention: check_retention(self.log_retention).map_err(fail)?,
            tags: self.tags.clone(),
            // The other class makes no metrics out of events.
            class: None,
        };
        Ok(Arc::new(Emf {
            translation: self.translation().map_err(fail)?,
            admits: self.admission(cx),
            totals: Mutex::default(),
            output: self.output_destination,
            writer: Arc::new(Writer::new(
                cx.id.to_string(),
                access,
                Arc::new(NewGroups::new(new_group, 0)),
                true,
                &cx.metrics("exporter"),
            )),
        }))
    }
}

/// Translates on a worker, writes on tokio.
struct Emf {
    translation: Translation,
    /// Which metrics the budget allows; `None`: all.
    admits: Option<Admission>,
    /// Payloads are encoded one after the other, see [`Encodes::OrderedOnce`], so nobody waits for
    /// the lock.
    totals: Mutex<Totals>,
    output: Output,
    writer: Arc<Writer>,
}

impl Exporter for Emf {
    type Encoded = Arc<Batches>;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Arc<Batches>>, ExportError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut totals = sync::lock(&self.totals);
        Ok(self.translation.piece(work, &mut totals, now, self.admits.as_ref()))
    }

    /// If a payload were encoded again, its totals would not have grown.
    fn encodes(&self) -> Encodes {
        Encodes::OrderedOnce
    }

    /// All that is available: a point may become many times its length. Unused room is given back.
    fn room(&self, _content: &Content) -> usize {
        usize::MAX
    }

    fn prepare(&self) -> BoxFuture<()> {
        if self.output == Output::Stdout {
            return Box::pin(std::future::ready(()));
        }
        let writer = Arc::clone(&self.writer);
        Box::pin(async move { report(writer.id(), writer.connected().await) })
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        if self.output == Output::Stdout {
            return Box::pin(std::future::ready(Ok("written to standard output".to_owned())));
        }
        let writer = Arc::clone(&self.writer);
        let group = self.translation.group_of_nobody();
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
        let writer = Arc::clone(&self.writer);
        match self.output {
            Output::CloudWatch => Box::pin(writer.send(batches, Arc::clone(progress))),
            Output::Stdout => Box::pin(std::future::ready(print(&batches, &writer))),
        }
    }
}

/// A line for each document.
fn print(batches: &Batches, writer: &Writer) -> Result<Sent, ExportError> {
    let mut out = std::io::stdout().lock();
    for (_, document) in batches.all.iter().flat_map(|batch| batch.events(0)) {
        out.write_all(&[document, b"\n"].concat()).map_err(|error| ExportError {
            retry: Retry::After(None),
            message: format!("cannot write to standard output: {error}"),
        })?;
    }
    Ok(writer.note(&batches.note))
}
