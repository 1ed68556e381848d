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
//! Text is printed in pieces of some hundred kilobytes. A payload has at most 2 MiB of it and an
//! item 64 KiB: what is longer is cut, with a mark, and items without any text are counted as
//! rejected.
//!
//! Differs from the Collector:
//!
//! - `detailed` shows flags of spans, links and data points, counts of dropped attributes and
//!   `zero_threshold`, too.
//! - Bounds of exponential buckets are exact powers of two; the Collector's may differ in the last
//!   digit. `Infinity` and `NaN` within a list or map are text; the Collector shows nothing of the
//!   whole value. Empty bytes there are `""`.
//!
//! The exporter was once called `logging` and its verbosity `loglevel`; both still work and are
//! warned of.

mod detailed;
mod normal;
mod pages;
mod sampler;
mod sink;
mod value;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::delivery::SendingQueue;
use crate::{
    component::{
        BoxFuture, BuildContext, Delivery, Encodes, Entry, ErasedExporter, ExportError, Exporter,
        ExporterConfig, Piece, Progress, Retry, Sent, StartError, Work,
    },
    config::{Node, Problems, Section},
    otlp::{Content, Signal, content::Cursor, split, wire::Fields},
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
    /// `basic` (the default): counts. `normal`: a line per item. `detailed`: every field. Any case.
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

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("debug", &["logging"], &Signal::ALL, include_str!("debug.rs"));

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

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
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

/// What is printed of a piece.
#[derive(Debug, Clone, Default)]
struct Printout {
    /// At the beginning of a payload.
    counts: Option<Counts>,
    text: String,
    /// Items without text.
    left_out: u64,
}

impl Exporter for Debug {
    /// `None` if the sampler passes over the payload.
    type Encoded = Option<Printout>;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Option<Printout>>, ExportError> {
        let is_first = work.from.is_at_start();
        if is_first && !self.sampler.takes(Instant::now()) {
            return Ok(work.last(None, 0));
        }
        let mut piece = match self.verbosity {
            Verbosity::Basic => work.last(Printout::default(), 0),
            _ => pages::piece(work, self.verbosity),
        };
        piece.encoded.counts = is_first.then(|| Counts::of(work.content));
        Ok(piece.map(Some))
    }

    fn encodes(&self) -> Encodes {
        if self.verbosity == Verbosity::Basic { Encodes::Inline } else { Encodes::OnWorker }
    }

    fn room(&self, _content: &Content) -> usize {
        pages::ROOM
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        Box::pin(std::future::ready(Ok("data is printed".to_owned())))
    }

    fn send(
        &self,
        printout: Option<Printout>,
        _: &Arc<Progress>,
    ) -> BoxFuture<Result<Sent, ExportError>> {
        let Some(printout) = printout else {
            return Box::pin(std::future::ready(Ok(Sent::default())));
        };
        Box::pin(print(Arc::clone(&self.sink), printout, SystemTime::now()))
    }

    fn shutdown(&self) -> BoxFuture<()> {
        let sink = Arc::clone(&self.sink);
        Box::pin(async move { sink.flush().await })
    }
}

/// Prints a piece.
async fn print(
    sink: Arc<Sink>,
    Printout { counts, text, left_out }: Printout,
    time: SystemTime,
) -> Result<Sent, ExportError> {
    sink.print(counts.as_ref(), &text, time).await.map_err(|(target, error)| ExportError {
        retry: Retry::Never,
        message: format!("cannot print to `{target}`: {error}"),
    })?;
    let message = (left_out > 0).then(|| pages::left_out(left_out));
    Ok(Sent { rejected: left_out, message, ..Sent::default() })
}

/// A checked request as `verbosity: detailed` prints it.
pub(crate) fn detailed_text(signal: Signal, request: &[u8]) -> String {
    let items = split::count_items(signal, request);
    let content = Content::new(signal, Bytes::copy_from_slice(request), items);
    let (mut text, mut from) = (String::new(), Some(Cursor::default()));
    while let Some(start) = from {
        let work = Work { content: &content, from: start, room: pages::ROOM };
        let piece = pages::piece(&work, Verbosity::Detailed);
        from = piece.next;
        text.push_str(&piece.encoded.text);
    }
    text
}

/// What is in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    signal: Signal,
    /// Entries of the request.
    resources: u64,
    /// Spans, metrics or log records.
    records: u64,
    /// Data points of metrics.
    points: u64,
}

impl Counts {
    fn of(content: &Content) -> Self {
        let signal = content.signal;
        let children = |message, number| {
            let fields = Fields::new(message).map_while(Result::ok);
            fields.filter(move |field| field.number == number).map(|field| field.bytes())
        };
        let mut counts = Counts { signal, resources: 0, records: 0, points: 0 };
        for entry in content.body.iter().flat_map(|segment| children(segment, 1)) {
            counts.resources += 1;
            let records = children(entry, 2).map(|scope| children(scope, 2).count() as u64);
            counts.records += records.sum::<u64>();
        }
        if signal == Signal::Metrics {
            counts.points = content.items;
        }
        counts
    }
}

#[cfg(test)]
mod tests;
