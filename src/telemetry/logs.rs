//! skep's own log: lines for people on a terminal, JSON lines otherwise, on stderr.
//!
//! A separate thread writes the lines ([`super::outlet`]), so nothing waits for their reader. Lines
//! that find no room are counted in `skep_log_dropped_lines`.
//!
//! Identical messages are sampled as the Collector samples them: within each tick the first few
//! pass, then every n-th, so that a backend that is down does not fill a disk. Warnings and errors
//! are also kept in a small ring, which zpages show.

mod line;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    collections::{HashMap, VecDeque, hash_map::DefaultHasher},
    fmt::{self, Write as _},
    hash::{Hash as _, Hasher as _},
    io::{self, IsTerminal as _},
    panic,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, Filter, SubscriberExt as _},
    reload,
    util::SubscriberInitExt as _,
};

use self::line::{Console, Lines};
use super::{
    log_file::Rotating,
    outlet::{self, Outlet},
};
use crate::config::shown::{escaped, without_secrets};
use crate::sync::lock;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people (`encoding: console`).
    Console,
    /// One JSON object a line (`encoding: json`).
    Json,
}

/// Sampling of identical messages: `service.telemetry.logs.sampling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    pub tick: Duration,
    /// Messages that pass at the beginning of each.
    pub initial: u64,
    /// Then each n-th passes; with 0 none does.
    pub thereafter: u64,
}

impl Default for Sampling {
    /// The defaults of the Collector.
    fn default() -> Self {
        Sampling { tick: Duration::from_secs(10), initial: 10, thereafter: 100 }
    }
}

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Least severe level that is written.
    pub level: LevelFilter,
    /// How lines look.
    pub format: Format,
    /// `None`: every message is written.
    pub sampling: Option<Sampling>,
    /// `None`: standard error.
    pub file: Option<LogFile>,
    /// Whether [`BATCHES`] are told at their level, and not only when `debug` is written.
    pub tells_batches: bool,
}

/// A file that the log goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    pub path: String,
    /// Whether it is rotated at 50 MB, with one old file kept.
    pub rotates: bool,
}

/// Target of events about single batches, which the X-Ray daemon tells and a pipeline does not.
pub const BATCHES: &str = "skep::batches";

/// Target of the text of the `debug` exporter. It keeps its line breaks, because each line is
/// already escaped, and it is not sampled.
pub const PAGES: &str = "debug::page";

impl Default for Settings {
    fn default() -> Self {
        Settings {
            level: LevelFilter::INFO,
            format: Format::Auto,
            sampling: Some(Sampling::default()),
            file: None,
            tells_batches: false,
        }
    }
}

/// The level of a Collector name, in any case. Its three levels above `ERROR` are `ERROR` here.
pub fn level(name: &str) -> Option<LevelFilter> {
    match name.to_ascii_uppercase().as_str() {
        "TRACE" => Some(LevelFilter::TRACE),
        "DEBUG" => Some(LevelFilter::DEBUG),
        "INFO" => Some(LevelFilter::INFO),
        "WARN" => Some(LevelFilter::WARN),
        "ERROR" | "DPANIC" | "PANIC" | "FATAL" => Some(LevelFilter::ERROR),
        _ => None,
    }
}

/// Starts logging for the process. A second call changes nothing and says so, as does one whose
/// file cannot be written.
pub fn install(settings: &Settings) -> Result<(), String> {
    let is_terminal = settings.is_on_terminal();
    let is_json = settings.is_json();
    let outlet = match &settings.file {
        None => outlet::stderr(),
        Some(LogFile { path, rotates }) => {
            let file = Rotating::open(path, *rotates)
                .map_err(|error| format!("the log file `{path}` cannot be written: {error}"))?;
            Arc::new(Outlet::new(path, file))
        }
    };
    let writer = Lines { outlet: Arc::clone(&outlet), is_json };
    let wants_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if is_json {
        Box::new(
            tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_timer(Clock)
                .with_writer(writer),
        )
    } else {
        Box::new(
            tracing_subscriber::fmt::layer()
                .with_ansi(is_terminal && wants_color)
                .event_format(Console)
                .with_writer(writer),
        )
    };
    let sampler = Arc::new(Sampler::new(settings.sampling));
    sampler.tells_batches.store(settings.is_of_batches(), Ordering::Relaxed);
    let (level, handle) = reload::Layer::new(settings.level);
    tracing_subscriber::registry()
        .with(lines.with_filter(Shared(Arc::clone(&sampler))).with_filter(level))
        .with(Keep(&RECENT).with_filter(LevelFilter::WARN))
        .try_init()
        .map_err(|error| format!("logging is set up already: {error}"))?;
    let running = Running { level: handle, sampler, format: settings.format, outlet };
    let _ = RUNNING.set(running);
    panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// Panics are logged as other lines are, because the panicking thread must not wait for the output.
fn tell_panic(info: &panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = info.location().map(ToString::to_string);
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location,
        "panic: {}",
        info.payload_as_str().unwrap_or("without a message")
    );
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(target: PAGES, "\n{backtrace}");
    }
    flush();
}

/// Waits until the last lines are written, for a bounded time: before the process ends.
pub fn flush() {
    if let Some(running) = RUNNING.get() {
        running.outlet.flush();
    }
}

/// Waits until there is room for `bytes` bytes, while there is progress.
pub async fn room(len: usize) {
    if let Some(running) = RUNNING.get() {
        running.outlet.room(len).await;
    }
}

/// The settings of the log that can change while it runs.
struct Running {
    level: reload::Handle<LevelFilter, Registry>,
    sampler: Arc<Sampler>,
    format: Format,
    outlet: Arc<Outlet>,
}

/// One per process, as the log is.
static RUNNING: OnceLock<Running> = OnceLock::new();

impl Settings {
    fn is_on_terminal(&self) -> bool {
        self.file.is_none() && io::stderr().is_terminal()
    }

    /// Whether lines are JSON.
    pub fn is_json(&self) -> bool {
        match self.format {
            Format::Auto => !self.is_on_terminal(),
            Format::Console => false,
            Format::Json => true,
        }
    }

    fn is_of_batches(&self) -> bool {
        self.tells_batches || self.level >= LevelFilter::DEBUG
    }

    /// Whether lines would have another form than those of the running log, which cannot change.
    pub fn has_other_format(&self) -> bool {
        RUNNING.get().is_some_and(|running| running.format != self.format)
    }
}

/// Changes level and sampling of the running log.
pub fn change(settings: &Settings) {
    let Some(Running { level, sampler, .. }) = RUNNING.get() else { return };
    if let Err(error) = level.modify(|level| *level = settings.level) {
        tracing::warn!(%error, "the level of the log stays as it is");
    }
    sampler.tells_batches.store(settings.is_of_batches(), Ordering::Relaxed);
    sampler.change(settings.sampling);
}

struct Clock;

impl tracing_subscriber::fmt::time::FormatTime for Clock {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> fmt::Result {
        w.write_str(&super::calendar::timestamp(SystemTime::now()))
    }
}

/// Lets pass what a [`Sampling`] lets pass, counted by level and message; messages that differ in
/// digits only are the same.
struct Sampler {
    tells_batches: AtomicBool,
    rounds: Mutex<Rounds>,
}

struct Shared(Arc<Sampler>);

struct Rounds {
    sampling: Option<Sampling>,
    began: Instant,
    seen: HashMap<u64, u64>,
}

/// Distinct messages counted in a round; what comes after these passes unsampled. Messages are
/// constant texts, so a round has a few dozen.
const MAX_MESSAGES: usize = 1024;

impl Sampler {
    fn new(sampling: Option<Sampling>) -> Self {
        let rounds = Rounds { sampling, began: Instant::now(), seen: HashMap::new() };
        Sampler { tells_batches: AtomicBool::new(true), rounds: Mutex::new(rounds) }
    }

    fn change(&self, sampling: Option<Sampling>) {
        lock(&self.rounds).sampling = sampling;
    }

    /// `message` is the [`Fingerprint`] of level and message.
    fn passes(&self, message: u64, now: Instant) -> bool {
        let mut rounds = lock(&self.rounds);
        let Some(sampling) = rounds.sampling else { return true };
        if now.saturating_duration_since(rounds.began) >= sampling.tick {
            rounds.began = now;
            rounds.seen.clear();
        }
        if rounds.seen.len() >= MAX_MESSAGES {
            return true;
        }
        let count = rounds.seen.entry(message).or_default();
        *count += 1;
        let beyond = count.saturating_sub(sampling.initial);
        beyond == 0 || (sampling.thereafter > 0 && beyond.is_multiple_of(sampling.thereafter))
    }
}

/// Modules of the AWS SDK that log in their own way what skep logs with the exporter and a remedy.
const REPEATED: [&str; 2] =
    ["aws_config", "aws_smithy_runtime::client::http::connection_poisoning"];

impl<S> Filter<S> for Shared {
    fn enabled(&self, metadata: &Metadata<'_>, _cx: &Context<'_, S>) -> bool {
        !REPEATED.iter().any(|module| metadata.target().starts_with(module))
    }

    fn event_enabled(&self, event: &Event<'_>, _cx: &Context<'_, S>) -> bool {
        if !self.0.tells_batches.load(Ordering::Relaxed) && event.metadata().target() == BATCHES {
            return false;
        }
        if event.metadata().target() == PAGES {
            return true;
        }
        let mut message = Fingerprint::new(*event.metadata().level());
        event.record(&mut message);
        self.0.passes(message.0.finish(), Instant::now())
    }
}

/// Level and message without its digits, which are not kept.
struct Fingerprint(DefaultHasher);

impl Fingerprint {
    fn new(level: Level) -> Self {
        let mut hasher = DefaultHasher::new();
        level.hash(&mut hasher);
        Fingerprint(hasher)
    }
}

impl fmt::Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().filter(|byte| !byte.is_ascii_digit()).for_each(|byte| self.0.write_u8(byte));
        Ok(())
    }
}

impl Visit for Fingerprint {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self, "{value:?}");
        }
    }
}

/// A warning or an error of the recent past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// When it was logged.
    pub time: SystemTime,
    /// `WARN` or `ERROR`.
    pub level: &'static str,
    /// Message and fields in one line.
    pub text: String,
}

/// The last warnings and errors. One per process, as the log is.
static RECENT: Ring = Ring(Mutex::new(VecDeque::new()));

const MAX_RECENT: usize = 200;
const MAX_TEXT: usize = 2000;

struct Ring(Mutex<VecDeque<Recent>>);

impl Ring {
    fn push(&self, recent: Recent) {
        let mut ring = lock(&self.0);
        if ring.len() == MAX_RECENT {
            ring.pop_front();
        }
        ring.push_back(recent);
    }
}

/// The last warnings and errors, newest first.
pub fn recent() -> Vec<Recent> {
    let ring = lock(&RECENT.0);
    ring.iter().rev().cloned().collect()
}

struct Keep(&'static Ring);

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let text = words.message + &words.fields;
        let mut text = escaped(&without_secrets(&text)).into_owned();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        let level = event.metadata().level().as_str();
        self.0.push(Recent { time: SystemTime::now(), level, text });
    }
}

/// Message and other fields of an event, as text.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identical_messages_are_sampled_within_a_tick() {
        let sampling = Sampling { tick: Duration::from_secs(10), initial: 3, thereafter: 10 };
        let sampler = Sampler::new(Some(sampling));
        let start = Instant::now();
        let pass = |text: &str, now| {
            let mut message = Fingerprint::new(Level::WARN);
            message.write_str(text).unwrap();
            sampler.passes(message.0.finish(), now)
        };
        let passed = (0..33).filter(|_| pass("down", start)).count();
        assert_eq!(passed, 3 + 3);
        assert!(pass("other", start), "messages are counted apart");
        let passed = (0..33).filter(|n| pass(&format!("sent {n}"), start)).count();
        assert_eq!(passed, 3 + 3, "numbers make no difference");
        let passed = (0..3).filter(|_| pass("down", start + Duration::from_secs(10))).count();
        assert_eq!(passed, 3, "a new tick begins anew");
    }

    #[test]
    fn without_thereafter_nothing_more_passes() {
        let sampling = Sampling { tick: Duration::from_secs(1), initial: 1, thereafter: 0 };
        let sampler = Sampler::new(Some(sampling));
        let now = Instant::now();
        let passed = (0..50).filter(|_| sampler.passes(7, now)).count();
        assert_eq!(passed, 1);
    }

    #[test]
    fn levels_are_the_collectors() {
        assert_eq!(level("info"), Some(LevelFilter::INFO));
        assert_eq!(level("DPanic"), Some(LevelFilter::ERROR));
        assert_eq!(level("loud"), None);
    }

    #[test]
    fn warnings_are_kept_with_their_fields() {
        static RING: Ring = Ring(Mutex::new(VecDeque::new()));
        let subscriber =
            tracing_subscriber::registry().with(Keep(&RING).with_filter(LevelFilter::WARN));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("not kept");
            for round in 0..=MAX_RECENT {
                tracing::warn!(round, "kept");
            }
        });
        let ring = RING.0.lock().unwrap();
        assert_eq!(ring.len(), MAX_RECENT);
        assert_eq!(ring.back().unwrap().text, format!("kept round={MAX_RECENT}"));
    }
}
