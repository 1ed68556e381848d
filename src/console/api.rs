//! The API: what can be asked for, who may ask, and the answers as JSON.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    Level, Settings, Sources,
    access::Refusal,
    program::{About, Configuration, Pipeline},
    query::Query,
};
use crate::{
    admin::{
        self, budgets,
        proto::{Component, WhereStoppedRequest},
        where_stopped,
    },
    telemetry::{ExporterStats, logs, process},
};

/// Where all of it is.
pub(super) const ROOT: &str = "/api/v1/";

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// What this process is.
    About,
    /// State of every component: `HealthResponse`.
    Health,
    /// The graph with its traffic: `TopologyResponse`.
    Topology,
    /// Bytes of the process, and the months of exporters: `BudgetsResponse`.
    Budget,
    /// Exporters in full.
    Backends,
    /// The configuration.
    Config,
    /// The last warnings and errors of the log.
    Problems,
    /// Who sends: `WatchSendersResponse`.
    Senders,
    /// The ladders: `WhereStoppedResponse`.
    WhereStopped,
    /// What can be tapped.
    Taps,
    /// A stream of what passes.
    Tap,
    /// A stream of what changes.
    Events,
    /// The list of recent traces.
    Traces,
    /// One of them in columns.
    Trace,
    /// One span in full.
    Span,
    /// A trace as OTLP/JSON.
    Export,
    /// A table over recent items.
    Query,
    /// The boards that are there.
    Boards,
    /// Reads the configuration again: `ReloadResponse`.
    Reload,
    /// Checks a text as a configuration.
    Validate,
}

/// The methods of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
}

/// How a call is made, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) method: Verb,
    /// Below [`ROOT`]; a part in braces stands for any.
    pub(super) path: &'static str,
    /// The least level at which it is answered.
    pub(super) level: Level,
    /// Whether it changes something.
    pub(super) is_action: bool,
    pub(super) call: Call,
}

const fn get(path: &'static str, call: Call) -> Route {
    Route { method: Verb::Get, path, level: Level::Operation, is_action: false, call }
}

const fn post(path: &'static str, call: Call, is_action: bool) -> Route {
    Route { method: Verb::Post, path, level: Level::Operation, is_action, call }
}

const fn of_data(method: Verb, path: &'static str, call: Call) -> Route {
    Route { method, path, level: Level::Data, is_action: false, call }
}

/// All calls, but for the login.
pub(super) const ROUTES: &[Route] = &[
    get("about", Call::About),
    get("health", Call::Health),
    get("topology", Call::Topology),
    get("budget", Call::Budget),
    get("backends", Call::Backends),
    get("config", Call::Config),
    get("problems", Call::Problems),
    get("senders", Call::Senders),
    get("where-stopped", Call::WhereStopped),
    of_data(Verb::Get, "taps", Call::Taps),
    of_data(Verb::Get, "tap", Call::Tap),
    get("events", Call::Events),
    of_data(Verb::Get, "traces", Call::Traces),
    of_data(Verb::Get, "traces/{id}", Call::Trace),
    of_data(Verb::Get, "traces/{id}/spans/{at}", Call::Span),
    of_data(Verb::Get, "traces/{id}/export", Call::Export),
    of_data(Verb::Post, "query", Call::Query),
    of_data(Verb::Get, "boards", Call::Boards),
    post("reload", Call::Reload, true),
    // It changes nothing and reads nothing but its body.
    post("validate", Call::Validate, false),
];

/// The call of a method and a path below [`ROOT`], if these settings allow it.
pub(super) fn route(
    method: &Method,
    path: &str,
    level: Level,
    has_actions: bool,
) -> Result<Call, Refusal> {
    let mut of_path = ROUTES.iter().filter(|route| fits(route.path, path)).peekable();
    if of_path.peek().is_none() {
        let paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        let help = format!("there is {}", paths.join(", "));
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such call", help));
    }
    let verb = if *method == Method::POST { Verb::Post } else { Verb::Get };
    let Some(route) = of_path.find(|route| route.method == verb) else {
        let error = format!("{method} is not for this call");
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error, "see docs/console.md"));
    };
    allowed(route, level, has_actions).map(|()| route.call)
}

/// Whether a path has the form of a route.
fn fits(form: &str, path: &str) -> bool {
    let is_same =
        |(form, part): (&str, &str)| form == part || (form.starts_with('{') && !part.is_empty());
    form.split('/').count() == path.split('/').count()
        && form.split('/').zip(path.split('/')).all(is_same)
}

fn allowed(route: &Route, level: Level, has_actions: bool) -> Result<(), Refusal> {
    if route.level > level {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this console shows no contents of telemetry",
            "start skep with `--console-level data`",
        ));
    }
    if route.is_action && !has_actions {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this console changes nothing",
            "start skep with `--console-actions`, or use the command line: `skep reload`",
        ));
    }
    Ok(())
}

/// Reads what the calls tell.
#[derive(Clone)]
pub(super) struct Reader {
    sources: Sources,
    level: Level,
    has_actions: bool,
}

impl Reader {
    pub(super) fn new(sources: Sources, settings: &Settings) -> Self {
        Reader { sources, level: settings.level, has_actions: settings.has_actions }
    }

    pub(super) fn about(&self) -> Bytes {
        let Sources { telemetry, reloads, program, .. } = &self.sources;
        let inventory = telemetry.inventory();
        let pipelines = inventory.pipelines.iter().map(|pipeline| Pipeline {
            id: pipeline.id.clone(),
            receivers: pipeline.receivers.clone(),
            processors: pipeline.processors.clone(),
            exporters: pipeline.exporters.clone(),
        });
        json(&About {
            version: process::VERSION,
            instance: telemetry.process.instance.clone(),
            started_unix_ms: unix_ms(telemetry.process.started),
            level: self.level,
            actions: self.has_actions,
            can_reload: reloads.is_some(),
            configuration: program.origin(),
            pipelines: pipelines.collect(),
            extensions: inventory.extensions.clone(),
        })
    }

    pub(super) fn health(&self) -> Bytes {
        json(&admin::health(&self.sources.telemetry, SystemTime::now()))
    }

    pub(super) fn topology(&self) -> Bytes {
        json(&admin::topology(&self.sources.telemetry, "", SystemTime::now()))
    }

    pub(super) async fn budget(&self) -> Bytes {
        let telemetry = &self.sources.telemetry;
        // Not found means that there are none.
        let months = budgets::found(telemetry, "").await.unwrap_or_default();
        let usage = process::usage();
        json(&Budget {
            limit_bytes: telemetry.budget_limit.read(),
            used_bytes: telemetry.budget_used.read(),
            waiting_requests: telemetry.budget_waiting.read(),
            resident_bytes: usage.resident_bytes,
            cpu_ms: usage.cpu_seconds.map(|seconds| Duration::from_secs_f64(seconds).as_millis()),
            queues: telemetry.exporters().iter().map(|stats| Held::of(stats)).collect(),
            months: months.budgets,
        })
    }

    pub(super) fn backends(&self) -> Bytes {
        let telemetry = &self.sources.telemetry;
        let health = admin::health(telemetry, SystemTime::now());
        let all = telemetry.exporters();
        let of = |component: Component| {
            let is_it = |stats: &&Arc<ExporterStats>| {
                stats.id == component.id
                    && stats.signal.name() == component.signal
                    && stats.destination == component.destination
            };
            let counts = all.iter().find(is_it).map(|stats| Numbers::of(stats)).unwrap_or_default();
            Exporter { component, counts }
        };
        let exporters = health.components.into_iter().filter(|one| one.kind == "exporter");
        json(&Listed { backends: exporters.map(of).collect() })
    }

    pub(super) fn problems() -> Bytes {
        let line = |recent: logs::Recent| LogLine {
            at_unix_ms: unix_ms(recent.time),
            level: recent.level,
            text: recent.text,
        };
        json(&Log { problems: logs::recent().into_iter().map(line).collect() })
    }

    pub(super) fn senders(&self) -> Bytes {
        json(&admin::senders::seen(&self.sources.telemetry, SystemTime::now()))
    }

    /// The ladders of all signals.
    pub(super) fn ladders(&self) -> Bytes {
        let request = WhereStoppedRequest::default();
        let found = where_stopped::found(&self.sources.telemetry, &request, SystemTime::now());
        // Without a wish, none is wrong.
        json(&found.unwrap_or_default())
    }

    /// Those of a signal or of a service.
    pub(super) fn where_stopped(&self, query: &str) -> Result<Bytes, Refusal> {
        let query = Query::read(query, &["signal", "service"])?;
        let text = |name| query.text(name).to_owned();
        let request = WhereStoppedRequest { signal: text("signal"), service: text("service") };
        let found = where_stopped::found(&self.sources.telemetry, &request, SystemTime::now());
        found.map(|found| json(&found)).map_err(|status| {
            Refusal::new(StatusCode::BAD_REQUEST, status.message(), "leave it out for all")
        })
    }

    /// May take a while: it reads files.
    pub(super) async fn config(&self) -> Result<Bytes, Refusal> {
        let program = Arc::clone(&self.sources.program);
        apart(move || {
            let (origin, running) = (program.origin(), program.running());
            json(&Configuration { origin, running, on_disk: program.on_disk() })
        })
        .await
    }

    pub(super) async fn validate(&self, body: &[u8]) -> Result<Bytes, Refusal> {
        let Candidate { text } = parsed(body)?;
        let program = Arc::clone(&self.sources.program);
        apart(move || json(&program.check(text))).await
    }

    pub(super) async fn reload(&self) -> Result<Bytes, Refusal> {
        let Some(reloads) = &self.sources.reloads else {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "this process has no configuration that could be read again",
                "restart it with the new settings",
            ));
        };
        match reloads.ask().await {
            Some(outcome) => Ok(json(&admin::reloaded(outcome))),
            None => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "skep is ending",
                "wait until it runs again",
            )),
        }
    }
}

/// Does what blocks apart from the io threads.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let error = format!("the answer could not be made: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error, "this is a defect of skep")
    })
}

/// The value in the body of a POST.
pub(super) fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        // Without the values, which may be secrets.
        let at = format!("line {}, column {}", error.line(), error.column());
        let error = format!("the body is not what this call takes: {at}");
        Refusal::new(StatusCode::BAD_REQUEST, error, "see docs/console.md")
    })
}

/// Body of `validate`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Candidate {
    text: String,
}

/// Answer to `budget`.
#[derive(Debug, Serialize)]
struct Budget<M> {
    limit_bytes: u64,
    used_bytes: u64,
    waiting_requests: u64,
    resident_bytes: Option<u64>,
    cpu_ms: Option<u128>,
    queues: Vec<Held>,
    months: M,
}

/// What the queue of an exporter holds.
#[derive(Debug, Serialize)]
struct Held {
    exporter: String,
    signal: &'static str,
    bytes: u64,
    items: u64,
}

impl Held {
    fn of(stats: &ExporterStats) -> Self {
        Held {
            exporter: stats.id.clone(),
            signal: stats.signal.name(),
            bytes: stats.queue_bytes.read(),
            items: stats.queue_items.read(),
        }
    }
}

/// An exporter and signal.
#[derive(Debug, Serialize)]
struct Exporter {
    #[serde(flatten)]
    component: Component,
    #[serde(flatten)]
    counts: Numbers,
}

/// Answer to `backends`.
#[derive(Debug, Serialize)]
struct Listed {
    backends: Vec<Exporter>,
}

/// Items since the start, and how long attempts took.
#[derive(Debug, Default, Serialize)]
struct Numbers {
    sent_items: u64,
    failed_items: u64,
    rejected_items: u64,
    queue_full_items: u64,
    dead_letter_items: u64,
    dead_letter_unkept_items: u64,
    /// Upper bounds of the buckets in milliseconds; the last bucket has none.
    attempt_ms_bounds: Vec<u64>,
    attempt_counts: Vec<u64>,
}

impl Numbers {
    fn of(stats: &ExporterStats) -> Self {
        let attempts = stats.attempt_millis.read();
        Numbers {
            sent_items: stats.sent.read(),
            failed_items: stats.failed.read(),
            rejected_items: stats.rejected.read(),
            queue_full_items: stats.enqueue_failed.read(),
            dead_letter_items: stats.dead_lettered.read(),
            dead_letter_unkept_items: stats.dead_letters_unkept.read(),
            attempt_ms_bounds: attempts.bounds.to_vec(),
            attempt_counts: attempts.counts,
        }
    }
}

/// Answer to `problems`: the newest first.
#[derive(Debug, Serialize)]
struct Log {
    problems: Vec<LogLine>,
}

#[derive(Debug, Serialize)]
struct LogLine {
    at_unix_ms: u64,
    level: &'static str,
    text: String,
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// JSON of a value whose serialisation cannot fail: it has text keys only.
pub(super) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_actions_are_asked_for() {
        let route = |level, is_action| Route { level, is_action, ..post("x", Call::Reload, true) };
        let status = |route, level, has_actions| {
            allowed(&route, level, has_actions).map_err(|refusal| refusal.status)
        };
        let forbidden = Err(StatusCode::FORBIDDEN);
        assert_eq!(status(route(Level::Data, false), Level::Operation, true), forbidden);
        assert_eq!(status(route(Level::Data, false), Level::Data, false), Ok(()));
        assert_eq!(status(route(Level::Operation, true), Level::Data, false), forbidden);
        assert_eq!(status(route(Level::Operation, true), Level::Operation, true), Ok(()));
    }

    #[test]
    fn calls_have_one_method() {
        let call = |method: Method, path| route(&method, path, Level::Operation, true);
        assert_eq!(call(Method::GET, "health"), Ok(Call::Health));
        assert_eq!(call(Method::HEAD, "health"), Ok(Call::Health));
        for (method, path) in [(Method::POST, "health"), (Method::GET, "reload")] {
            let refusal = call(method, path).unwrap_err();
            assert_eq!(refusal.status, StatusCode::METHOD_NOT_ALLOWED);
        }
        for path in ["nothing", "health/x", "traces/", "traces/a/b", "traces/a/spans/"] {
            assert_eq!(
                call(Method::GET, path).unwrap_err().status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        let of_data = |path| route(&Method::GET, path, Level::Data, false);
        assert_eq!(of_data("traces/00ab"), Ok(Call::Trace));
        assert_eq!(of_data("traces/00ab/spans/7"), Ok(Call::Span));
        assert_eq!(call(Method::GET, "traces").unwrap_err().status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn what_changes_something_is_never_a_get() {
        for route in ROUTES.iter().filter(|route| route.is_action) {
            assert_eq!(route.method, Verb::Post, "{}", route.path);
        }
    }
}
