//! `skep run`: configuration to a running engine to an exit code.

use std::{io::IsTerminal as _, sync::Arc};

use tracing_subscriber::filter::LevelFilter;

use super::{
    CONFIG, Configuration, IO, Logging, Origin, Process, SOFTWARE, UNAVAILABLE, load,
    reload::{self, Again},
    services::{self, Around},
    show, silence,
};
use crate::{
    component::reload::Reloads,
    config::{Problems, source::Loaded},
    document::{self, Document, identity},
    engine::{
        self, Ended, Options, Reloading, Started,
        budget::Budget,
        disk::storages::Storages,
        memory,
        plan::{Blueprint, Site},
    },
    net::server::raise_descriptors,
    telemetry::{
        Telemetry,
        logs::{self, Format, LogFile, Sampling, Settings as LogSettings},
        outlet,
    },
};

/// Runs until a signal. An error is one of usage.
pub(super) fn run(
    configuration: &Configuration,
    logging: &Logging,
    process: &Process,
) -> Result<u8, String> {
    let mut configuration = configuration.clone();
    // A value like any other, so that a reload keeps it.
    let level = logging.level().map(|level| format!("service.telemetry.logs.level={level}"));
    configuration.sets.extend(level);
    let mut problems = Problems::default();
    let (origin, loaded) = load(&configuration, &mut problems);
    let again: Again = Box::new(move |problems| load(&configuration, problems).1);
    start(&origin, &loaded, problems, process, Mode::Pipelines(again))
}

/// What is peculiar to a way of running.
pub(super) enum Mode {
    /// Pipelines, with the way to their configuration.
    Pipelines(Again),
    /// In the place of the X-Ray daemon; the log goes into a file where one is given.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "there is no such daemon"))]
    Daemon(Option<LogFile>),
}

/// Runs what was loaded until a signal.
pub(super) fn start(
    origin: &Origin,
    loaded: &Loaded,
    mut problems: Problems,
    process: &Process,
    mode: Mode,
) -> Result<u8, String> {
    let (control_endpoint, drain_timeout) = (process.control_endpoint()?, process.drain_timeout()?);
    let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
    let (Some(document), Some(root), false) = (document, &loaded.root, problems.has_errors())
    else {
        show(&problems, loaded);
        return Ok(CONFIG);
    };
    let is_daemon = matches!(origin, Origin::Daemon(_));
    let (again, log_file) = match mode {
        Mode::Pipelines(again) => (Some(again), None),
        Mode::Daemon(log_file) => (None, log_file),
    };
    let settings = LogSettings { file: log_file, ..log_settings(&document, is_daemon) };
    let has_file = settings.file.is_some();
    let (is_json, shows_warnings) = (settings.is_json(), settings.level >= LevelFilter::WARN);
    if !is_json && shows_warnings {
        show(&problems, loaded);
    }
    // Without a file it fails only where a log runs already.
    if let (Err(message), true) = (logs::install(&settings), has_file) {
        return Ok(complain(&message));
    }
    if is_json {
        // Several lines for people would break up a log of JSON.
        engine::reload::log(&reload::findings(&problems, loaded));
    }
    let descriptors = raise_descriptors();
    let telemetry = Arc::new(Telemetry::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let budget = budget(&document);
    let in_container = in_container();
    let source = origin.name();
    tracing::info!(
        source,
        version = env!("CARGO_PKG_VERSION"),
        workers,
        budget_mib = budget >> 20,
        descriptors,
        default_bind = if in_container { "all interfaces (in a container)" } else { "loopback" },
        "Starting skep"
    );
    telemetry.set_inventory(services::inventory(&document));
    let watched = Arc::clone(&telemetry);
    let (reloads, requests) = Reloads::pair();
    let storages = Arc::new(Storages::live(Arc::clone(&telemetry)));
    let around = Around {
        control_endpoint,
        in_container,
        telemetry: Arc::clone(&telemetry),
        reloads: again.is_some().then_some(reloads),
        letterboxes: Arc::clone(&storages.letterboxes),
    };
    let texts = identity::texts(root);
    let services = match services::build(&document, &texts, &around) {
        Ok(services) => services,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return Ok(UNAVAILABLE);
        }
    };
    let reloading =
        again.map(|again| Reloading { source: reload::source(again, around, budget), requests });
    let options = Options {
        site: Site {
            workers,
            budget: Budget::new(budget, Arc::clone(&telemetry)),
            storages,
            in_container,
            telemetry,
        },
        drain_timeout,
        reloading,
    };
    let blueprint = Blueprint { texts, ..Blueprint::from(document) };
    let is_built_in = matches!(origin, Origin::BuiltIn);
    let on_started = |started: &Started| {
        report(started, is_built_in);
        tokio::spawn(silence::watch(silence::advice(&started.listening), watched));
    };
    Ok(match engine::run(&blueprint, services, options, on_started) {
        Ok(Ended::Clean) => 0,
        Ok(Ended::Lost(_) | Ended::Interrupted) => IO,
        Ok(Ended::Panicked) => SOFTWARE,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            UNAVAILABLE
        }
    })
}

#[expect(clippy::print_stderr, reason = "there is no log to say it in")]
fn complain(message: &str) -> u8 {
    eprintln!("error: {message}");
    UNAVAILABLE
}

/// Bytes that payloads may hold: what a `memory_limiter` says, or by the memory there is.
pub(super) fn budget(document: &Document) -> u64 {
    let available = memory::available();
    let processors = document.processors.values();
    processors
        .filter_map(|processor| processor.config.needs().memory?.limit(available.bytes))
        .min()
        .unwrap_or_else(|| memory::default_budget(available))
}

/// The log as `service.telemetry.logs` says.
pub(super) fn log_settings(document: &Document, tells_batches: bool) -> LogSettings {
    let logs = &document.telemetry.logs;
    let mut settings = LogSettings { tells_batches, ..LogSettings::default() };
    if let Some(level) = logs.level.as_deref().and_then(logs::level) {
        settings.level = level;
    }
    settings.format = match logs.encoding.as_deref() {
        Some(json) if json.eq_ignore_ascii_case("json") => Format::Json,
        Some(_) => Format::Console,
        None => Format::Auto,
    };
    if let Some(sampling) = &logs.sampling {
        settings.sampling = sampling.enabled.then_some(Sampling {
            tick: sampling.tick.0,
            initial: sampling.initial,
            thereafter: sampling.thereafter,
        });
    }
    settings
}

/// What listens, what is sent where, and what an application has to be told.
fn report(started: &Started, is_built_in: bool) {
    for (component, listening) in &started.listening {
        tracing::info!(
            component,
            protocol = listening.protocol,
            address = listening.address,
            tls = listening.tls,
            "Listening"
        );
    }
    for (exporter, destination) in &started.exporting {
        tracing::info!(exporter, destination, "Exporting");
    }
    if is_built_in {
        print_environment(started);
    }
}

/// The first thing that a new user reads; like the log, it must not stop the start.
fn print_environment(started: &Started) {
    let Some(advice) = silence::advice(&started.listening) else { return };
    if !std::io::stderr().is_terminal() {
        // The lines are JSON there.
        tracing::info!(
            tell_your_application = advice.join(" "),
            "No configuration was given, so skep runs its built-in one"
        );
        return;
    }
    let mut text = "\nNo configuration was given, so skep runs its built-in one. Tell your \
                    application:\n\n"
        .to_owned();
    for line in advice {
        text.push_str("  export ");
        text.push_str(&line);
        text.push('\n');
    }
    text.push('\n');
    outlet::stderr().push(text.as_bytes());
}

/// Docker and Podman leave a file; ECS and Kubernetes set variables.
pub(super) fn in_container() -> bool {
    let files = ["/.dockerenv", "/run/.containerenv"];
    let variables = ["ECS_CONTAINER_METADATA_URI_V4", "KUBERNETES_SERVICE_HOST", "container"];
    files.into_iter().any(|file| std::path::Path::new(file).exists())
        || variables.into_iter().any(|name| std::env::var_os(name).is_some())
}
