//! `skep run`: configuration to a running engine to an exit code.

use std::{io::IsTerminal as _, sync::Arc};

use tracing_subscriber::filter::LevelFilter;

use super::{
    CONFIG, Configuration, IO, Logging, Origin, Process, SOFTWARE, UNAVAILABLE,
    console::{
        known::{Candidate, Known},
        recent::{self, Kept},
    },
    findings::{Reread, findings},
    load,
    machine::in_container,
    services::{self, Deps},
    show, silence, source,
};
use crate::{
    component::{StartError, reload::Reloads},
    config::{Problems, source::Loaded},
    document::{self, Document},
    engine::{
        self, Ended, Exporting, Options, Reloading, Started, budget::Budget,
        disk::storages::Storages, export::allowance::Allowances, memory, plan::Site,
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
    // Set like any other value, so that a reload keeps it.
    let level = logging.level().map(|level| format!("service.telemetry.logs.level={level}"));
    configuration.sets.extend(level);
    let mut problems = Problems::default();
    let (origin, loaded) = load(&configuration, &mut problems);
    let reread: Reread = Arc::new(move |problems| load(&configuration, problems).1);
    start(&origin, &loaded, problems, process, Mode::Pipelines(reread))
}

/// The two ways of running.
pub(super) enum Mode {
    /// Pipelines, whose configuration can be read again.
    Pipelines(Reread),
    /// In place of the X-Ray daemon, which may log into a file.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "there is no such daemon"))]
    Daemon(Option<LogFile>),
}

/// Runs a configuration until a signal. An error is one of usage.
pub(super) fn start(
    origin: &Origin,
    loaded: &Loaded,
    mut problems: Problems,
    process: &Process,
    mode: Mode,
) -> Result<u8, String> {
    let (control_endpoint, drain_timeout) = (process.control_endpoint()?, process.drain_timeout()?);
    let console = process.console(origin, in_container())?;
    let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
    let Some(document) = document.filter(|_| !problems.has_errors()) else {
        show(&problems, loaded);
        return Ok(CONFIG);
    };
    let (reread, log_file) = match mode {
        Mode::Pipelines(reread) => (Some(reread), None),
        Mode::Daemon(log_file) => (None, log_file),
    };
    let is_daemon = matches!(origin, Origin::Daemon(_));
    let log = LogSettings { file: log_file, ..log_settings(&document, is_daemon) };
    if let Err(message) = start_log(&log, &problems, loaded) {
        return Ok(complain(&message));
    }
    let budget = budget(&document);
    let site = site(budget);
    announce(origin, &site, budget);
    let inventory = services::inventory(&document);
    site.telemetry.set_inventory(inventory.clone());
    let (reloads, requests) = Reloads::pair();
    let known = Arc::new(Known::new(origin, site.in_container, reread.clone()));
    let warnings = findings(&problems, loaded);
    known.applied(Candidate::new(loaded, &document, &warnings, site.in_container));
    let kept = console.as_ref().and_then(|settings| recent::keep(settings.level, &site.telemetry));
    let deps = Deps {
        control_endpoint,
        in_container: site.in_container,
        telemetry: Arc::clone(&site.telemetry),
        reloads: reread.is_some().then_some(reloads),
        letterboxes: Arc::clone(&site.storages.letterboxes),
        console,
        known: Arc::clone(&known),
        recent: kept.as_ref().map(Kept::recent),
    };
    let services = match services::build(&document, &deps) {
        Ok(services) => services,
        Err(error) => return Ok(cannot_start(&error)),
    };
    let reloading =
        reread.map(|reread| Reloading { source: source::source(reread, deps, budget), requests });
    let telemetry = Arc::clone(&site.telemetry);
    let options = Options { site, drain_timeout, reloading };
    let is_built_in = matches!(origin, Origin::BuiltIn);
    let ended = engine::run(&document, services, options, |started| {
        known.opened(&started.listening, &inventory);
        report(started, is_built_in, known.link());
        tokio::spawn(silence::watch(silence::advice(&started.listening), telemetry));
    });
    Ok(exit_code(ended))
}

/// Shows the warnings and starts the log. It only fails if the log goes to a file.
fn start_log(settings: &LogSettings, problems: &Problems, loaded: &Loaded) -> Result<(), String> {
    let (is_json, shows_warnings) = (settings.is_json(), settings.level >= LevelFilter::WARN);
    if !is_json && shows_warnings {
        show(problems, loaded);
    }
    // Without a file, an error means that a log is already running.
    if let (Err(message), true) = (logs::install(settings), settings.file.is_some()) {
        return Err(message);
    }
    if is_json {
        // Excerpts of several lines would not be JSON.
        engine::reload::log(&findings(problems, loaded));
    }
    Ok(())
}

/// What the engine needs to know of this process.
fn site(budget: u64) -> Site {
    let telemetry = Arc::new(Telemetry::default());
    Site {
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        budget: Budget::new(budget, Arc::clone(&telemetry)),
        storages: Arc::new(Storages::live(Arc::clone(&telemetry))),
        budgets: Arc::new(Allowances::live()),
        in_container: in_container(),
        telemetry,
    }
}

/// The first line of the log.
fn announce(origin: &Origin, site: &Site, budget: u64) {
    let descriptors = raise_descriptors();
    let source = origin.name();
    let default_bind =
        if site.in_container { "all interfaces (in a container)" } else { "loopback" };
    tracing::info!(
        source,
        version = env!("CARGO_PKG_VERSION"),
        workers = site.workers,
        budget_mib = budget >> 20,
        descriptors,
        default_bind,
        "Starting skep"
    );
}

fn exit_code(ended: Result<Ended, StartError>) -> u8 {
    match ended {
        Ok(Ended::Clean) => 0,
        Ok(Ended::Lost(_) | Ended::Interrupted) => IO,
        Ok(Ended::Panicked) => SOFTWARE,
        Err(error) => cannot_start(&error),
    }
}

fn cannot_start(error: &StartError) -> u8 {
    tracing::error!(%error, "cannot start");
    UNAVAILABLE
}

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn complain(message: &str) -> u8 {
    eprintln!("error: {message}");
    UNAVAILABLE
}

/// Bytes that payloads may hold: the limit of a `memory_limiter`, or a part of the memory.
pub(super) fn budget(document: &Document) -> u64 {
    let available = memory::available();
    let processors = document.processors.values();
    processors
        .filter_map(|processor| processor.config.needs().memory?.limit(available.bytes))
        .min()
        .unwrap_or_else(|| memory::default_budget(available))
}

/// The settings of `service.telemetry.logs`. The X-Ray daemon logs each batch.
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

/// Logs the listeners, the destinations, and the variables that an application needs.
fn report(started: &Started, is_built_in: bool, console: Option<&str>) {
    for (component, listening) in &started.listening {
        tracing::info!(
            component,
            protocol = listening.protocol,
            address = listening.address,
            tls = listening.tls,
            "Listening"
        );
    }
    for Exporting { exporter, signals, destination } in &started.exporting {
        tracing::info!(exporter, signals = signals.join(", "), destination, "Exporting");
    }
    if is_built_in {
        print_environment(started, console);
    }
}

/// The first text that a new user reads. Like the log, it must not stop the start.
fn print_environment(started: &Started, console: Option<&str>) {
    let Some(advice) = silence::advice(&started.listening) else { return };
    if !std::io::stderr().is_terminal() {
        // There the log is JSON lines.
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
    if let Some(link) = console {
        text.push_str("\nSee what comes in, and where it goes:\n\n  ");
        text.push_str(link);
        text.push('\n');
    }
    text.push('\n');
    outlet::stderr().push(text.as_bytes());
}
