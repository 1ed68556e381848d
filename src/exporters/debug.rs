//! Prints what arrives, in the Collector's words: counts, one line per item, or everything.
//!
//! ```yaml
//! debug:
//!   verbosity: detailed        # basic, normal, detailed
//!   sampling_initial: 5        # payloads per second that are printed
//!   sampling_thereafter: 100   # then every 100th of that second; 0: none
//! ```
//!
//! It prints into the log of the process, which goes to stderr. With `use_internal_logger: false`
//! it prints to `output_paths` instead: `stdout`, `stderr` or files, which are appended to.
//!
//! Values come from applications: line breaks, control characters and marks that turn the direction
//! of text are written as `\n`, `\x1b` or `\u{202e}`. What is printed waits for its reader as long
//! as there is one; where nothing is read for a second, it is dropped and counted in
//! `skep_log_dropped_lines`, and data goes on.
//!
//! The exporter was once called `logging` and its verbosity `loglevel`; both still work and are
//! warned of.

mod detailed;
mod normal;
mod sampler;
mod sink;
mod value;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Instant, SystemTime},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::delivery::SendingQueue;
use crate::{
    component::{
        BoxFuture, BuildContext, Delivery, Entry, ExportError, Exporter, ExporterConfig, Request,
        Retry, Sent, StartError,
    },
    config::{Node, Problems, Section},
    otlp::{Payload, Signal, payload::Body, record::Record, schema},
};
use sampler::Sampler;
use sink::Sink;

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// One line with counts.
    #[default]
    Basic,
    /// And a line per item.
    Normal,
    /// And every field.
    Detailed,
}

impl<'de> Deserialize<'de> for Verbosity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.to_ascii_lowercase().as_str() {
            "basic" => Ok(Verbosity::Basic),
            "normal" => Ok(Verbosity::Normal),
            "detailed" => Ok(Verbosity::Detailed),
            _ => Err(serde::de::Error::custom(format_args!(
                "unknown verbosity `{text}`, use `basic`, `normal` or `detailed`"
            ))),
        }
    }
}

impl JsonSchema for Verbosity {
    fn schema_name() -> Cow<'static, str> {
        "verbosity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["basic", "normal", "detailed"] })
    }
}

/// What to print and where.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `basic`: counts. `normal`: a line per item. `detailed`: every field. Any case.
    pub verbosity: Option<Verbosity>,
    /// Payloads that are printed in each second before the sampling begins.
    pub sampling_initial: u64,
    /// Then every so-manyth payload of that second is printed; 0: none.
    pub sampling_thereafter: u64,
    /// Print into the log of the process.
    pub use_internal_logger: bool,
    /// `stdout`, `stderr` or files to append to; only with `use_internal_logger: false`.
    pub output_paths: Vec<String>,
    /// A queue in front; off unless this section is there.
    pub sending_queue: Section<SendingQueue>,
    /// Old form of `verbosity`: `debug` is `detailed`, `info` is `normal`, others are `basic`.
    #[serde(alias = "logLevel")]
    pub loglevel: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            verbosity: None,
            sampling_initial: 2,
            sampling_thereafter: 1,
            use_internal_logger: true,
            output_paths: vec!["stdout".to_owned()],
            sending_queue: Section::Off,
            loglevel: None,
        }
    }
}

impl Config {
    /// What was chosen, in the new or the old form.
    fn verbosity(&self) -> Verbosity {
        let old = self.loglevel.as_deref().map(|level| match level.to_ascii_lowercase().as_str() {
            "debug" => Verbosity::Detailed,
            "info" => Verbosity::Normal,
            _ => Verbosity::Basic,
        });
        self.verbosity.or(old).unwrap_or_default()
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> = Entry {
    name: "debug",
    aliases: &["logging"],
    signals: &Signal::ALL,
    source: include_str!("debug.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ExporterConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if let Some(queue) = self.sending_queue.on() {
            queue.validate(at, problems);
        }
        for key in ["loglevel", "logLevel"] {
            let Some(level) = at.get(key) else { continue };
            if self.verbosity.is_some() {
                problems
                    .error(level, format!("`{key}` and `verbosity` cannot be used together"))
                    .help(format!("remove `{key}`"));
            } else {
                let new = format!("{:?}", self.verbosity()).to_lowercase();
                problems
                    .warning(level, format!("`{key}` is the old form of `verbosity`"))
                    .help(format!("write `verbosity: {new}`"));
            }
        }
        if !self.use_internal_logger && self.output_paths.is_empty() {
            problems.error(
                at.at("output_paths"),
                "`output_paths` is empty, name `stdout`, `stderr` or a file",
            );
        }
        if self.use_internal_logger
            && self.output_paths != Config::default().output_paths
            && let Some(paths) = at.get("output_paths")
        {
            problems
                .error(paths, "`output_paths` has no effect while `use_internal_logger` is true")
                .help("add `use_internal_logger: false`");
        }
    }

    fn delivery(&self) -> Delivery {
        let queue = self.sending_queue.on().and_then(SendingQueue::queue);
        Delivery { queue, retry: None, timeout: None }
    }

    fn destination(&self) -> String {
        if self.use_internal_logger { "log".to_owned() } else { self.output_paths.join(", ") }
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn Exporter>, StartError> {
        let sink = if self.use_internal_logger {
            Sink::log(cx.id.to_string())
        } else {
            Sink::paths(&self.output_paths)
        };
        Ok(Arc::new(self.with_sink(sink)))
    }
}

impl Config {
    fn with_sink(&self, sink: Sink) -> Debug {
        Debug {
            verbosity: self.verbosity(),
            sampler: Sampler::new(self.sampling_initial, self.sampling_thereafter),
            sink: Arc::new(sink),
        }
    }
}

/// Prints payloads of one signal.
struct Debug {
    verbosity: Verbosity,
    sampler: Sampler,
    sink: Arc<Sink>,
}

impl Exporter for Debug {
    fn encode(&self, payload: &Payload) -> Result<Request, ExportError> {
        Ok(Request {
            signal: payload.signal,
            items: payload.items,
            body: payload.body.clone(),
            context: None,
            progress: Arc::default(),
        })
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        Box::pin(std::future::ready(Ok("data is printed".to_owned())))
    }

    fn send(&self, request: Request) -> BoxFuture<Result<Sent, ExportError>> {
        Box::pin(self.print(&request, Instant::now(), SystemTime::now()))
    }

    fn shutdown(&self) -> BoxFuture<()> {
        let sink = Arc::clone(&self.sink);
        Box::pin(async move { sink.flush().await })
    }
}

impl Debug {
    fn print(
        &self,
        request: &Request,
        now: Instant,
        time: SystemTime,
    ) -> impl Future<Output = Result<Sent, ExportError>> + use<> {
        let page = self.sampler.takes(now).then(|| {
            let text = match self.verbosity {
                Verbosity::Basic => String::new(),
                Verbosity::Normal => normal::render(request.signal, &root(request)),
                Verbosity::Detailed => detailed::render(request.signal, &root(request)),
            };
            (Counts::of(request.signal, &request.body), text)
        });
        let sink = Arc::clone(&self.sink);
        async move {
            let Some((counts, text)) = page else { return Ok(Sent::default()) };
            sink.print(&counts, &text, time).await.map_err(|(target, error)| ExportError {
                retry: Retry::Never,
                message: format!("cannot print to `{target}`: {error}"),
            })?;
            Ok(Sent::default())
        }
    }
}

/// A checked request as `verbosity: detailed` prints it.
pub(crate) fn detailed_text(signal: Signal, request: &[u8]) -> String {
    detailed::render(signal, &Record::read(schema::request(signal), [request]))
}

fn root(request: &Request) -> Record<'_> {
    Record::read(schema::request(request.signal), request.body.iter().map(|part| &part[..]))
}

/// What is in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    signal: Signal,
    /// Entries of the request.
    resources: usize,
    /// Spans, metrics or log records.
    records: usize,
    /// Data points of metrics.
    points: usize,
}

impl Counts {
    fn of(signal: Signal, body: &Body) -> Self {
        let root = Record::read(schema::request(signal), body.iter().map(|part| &part[..]));
        let names = names(signal);
        let mut counts = Counts { signal, resources: 0, records: 0, points: 0 };
        for resource in root.children(names.resources) {
            counts.resources += 1;
            for scope in resource.children(names.scopes) {
                if signal == Signal::Metrics {
                    for metric in scope.children(names.records) {
                        counts.records += 1;
                        counts.points += points_of(&metric);
                    }
                } else {
                    counts.records += scope.children(names.records).count();
                }
            }
        }
        counts
    }
}

/// The members of a metric's oneof.
const METRIC_KINDS: [&str; 5] = ["gauge", "sum", "histogram", "exponential_histogram", "summary"];

fn points_of(metric: &Record<'_>) -> usize {
    METRIC_KINDS
        .into_iter()
        .filter_map(|kind| metric.child(kind))
        .map(|data| data.children("data_points").count())
        .sum()
}

/// What a signal calls the levels of a request.
struct Names {
    resources: &'static str,
    scopes: &'static str,
    records: &'static str,
}

fn names(signal: Signal) -> Names {
    match signal {
        Signal::Traces => {
            Names { resources: "resource_spans", scopes: "scope_spans", records: "spans" }
        }
        Signal::Metrics => {
            Names { resources: "resource_metrics", scopes: "scope_metrics", records: "metrics" }
        }
        Signal::Logs => {
            Names { resources: "resource_logs", scopes: "scope_logs", records: "log_records" }
        }
    }
}

#[cfg(test)]
mod tests;
