//! The command line: which subcommand, which configuration, which exit code.
//!
//! Exit codes are those of `sysexits.h`: 0 success, 64 wrong usage, 69 a port or file that is not
//! available, 70 a panic, 74 data that could not be delivered, 78 a wrong configuration; and 1 if
//! `explain` does not know the trace, `budget` the budget, or `dlq` the dead letter, or if `why`
//! finds that data stops.

mod budget;
mod columns;
mod components;
mod configuration;
mod console;
mod control;
mod decisions;
mod dlq;
mod doctor;
mod findings;
mod flow;
mod health;
mod machine;
mod ottl;
mod print;
mod reload;
mod run;
mod screen;
mod services;
mod silence;
mod source;
mod status;
mod tap;
mod top;
mod validate;
mod why;
#[cfg(feature = "aws")]
mod xray;
#[cfg(not(feature = "aws"))]
#[path = "cli/xray_absent.rs"]
mod xray;

use std::{ffi::OsString, io::IsTerminal as _, path::Path, process::ExitCode, time::Duration};

use clap::{
    CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

pub(crate) use self::configuration::{Origin, load};
use crate::{
    admin,
    config::{Problems, excerpt, source::Loaded, units::parse_duration},
    document::{self, profiles},
    net::server,
    telemetry::logs,
};

/// The arguments are wrong.
pub const USAGE: u8 = 64;
/// A port, a file or a thread is not available.
pub const UNAVAILABLE: u8 = 69;
/// A panic.
pub const SOFTWARE: u8 = 70;
/// Data could not be delivered.
pub const IO: u8 = 74;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;

/// The variable in which `main` lists the variables that were empty and that it has unset.
pub const EMPTY_VARIABLES: &str = "SKEP_EMPTY_VARIABLES";

#[derive(Debug, Parser)]
#[command(
    name = "skep",
    version,
    max_term_width = 80,
    about = "A telemetry pipeline: OTLP in, OpenTelemetry Collector YAML in between, Honeycomb and others out"
)]
struct Arguments {
    #[command(flatten)]
    running: Running,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Arguments of `skep` and `skep run`.
#[derive(Debug, Default, clap::Args)]
struct Running {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    logging: Logging,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Configuration {
    /// File, `env:VARIABLE` or `yaml:TEXT`; can be repeated, later ones win.
    #[arg(short = 'c', long = "config", value_name = "URI")]
    uris: Vec<String>,
    /// Sets one value after all files, for instance `exporters.otlp_grpc.endpoint=host:4317`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Accepted because the Collector has it. With `service.profilesSupport`, pipelines of profiles
    /// are left out with a warning; other gates have no effect.
    #[arg(long, value_name = "GATES")]
    feature_gates: Vec<String>,
}

impl Configuration {
    /// Adds a file that was named without `--config`.
    fn and(mut self, file: Option<String>) -> Self {
        self.uris.extend(file);
        self
    }

    /// Adds the arguments after the command to those before it.
    fn with(mut self, after: Configuration) -> Self {
        self.uris.extend(after.uris);
        self.sets.extend(after.sets);
        self.feature_gates.extend(after.feature_gates);
        self
    }
}

/// Settings of the process, which do not belong in a file of pipelines.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Process {
    /// Address of the control plane, or `off` to turn it off [default: 127.0.0.1:8687, or
    /// `SKEP_CONTROL_ENDPOINT`].
    #[arg(long, value_name = "HOST:PORT", value_parser = control_endpoint)]
    control_endpoint: Option<String>,
    /// Longest time between the first SIGTERM or SIGINT and the end of the process, in which skep
    /// delivers what it has accepted. Containers are killed after 10 s (compose) or 30 s (ECS) by
    /// default [default: 8s, or `SKEP_DRAIN_TIMEOUT`].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    drain_timeout: Option<Duration>,
    #[command(flatten)]
    console: console::ConsoleFlags,
}

/// The level of the log; overrides `service::telemetry::logs::level`.
#[derive(Debug, Default, clap::Args)]
struct Logging {
    /// Least severe level that is logged.
    #[arg(long, value_name = "LEVEL", value_parser = ["debug", "info", "warn", "error"])]
    log_level: Option<String>,
    /// The same as `--log-level debug`.
    #[arg(short, long, conflicts_with_all = ["log_level", "quiet"])]
    verbose: bool,
    /// The same as `--log-level warn`.
    #[arg(short, long, conflicts_with = "log_level")]
    quiet: bool,
}

impl Logging {
    fn level(&self) -> Option<&str> {
        match (self.verbose, self.quiet) {
            (true, _) => Some("debug"),
            (_, true) => Some("warn"),
            _ => self.log_level.as_deref(),
        }
    }
}

/// The running skep that a command talks to.
#[derive(Debug, clap::Args)]
struct Target {
    /// Address of the control plane of the running skep [default: 127.0.0.1:8687, or
    /// `SKEP_CONTROL_ENDPOINT`].
    #[arg(long, value_name = "HOST:PORT", value_parser = control_endpoint, global = true)]
    control_endpoint: Option<String>,
}

impl Target {
    /// The flag after the command, or the flag before it, or the default.
    fn endpoint(self, before: &Process) -> Result<String, String> {
        self.control_endpoint.map_or_else(|| before.control_endpoint(), Ok)
    }
}

/// The value of `--control-endpoint` that turns the control plane off.
const OFF: &str = "off";

const DRAIN_TIMEOUT: &str = "8s";

impl Process {
    /// The flag, or its variable, or the default.
    fn control_endpoint(&self) -> Result<String, String> {
        let default = admin::DEFAULT_ENDPOINT;
        chosen(self.control_endpoint.clone(), "SKEP_CONTROL_ENDPOINT", default, control_endpoint)
    }

    /// Settings of the console for a configuration; `None` if there is to be none.
    fn console(
        &self,
        origin: &Origin,
        in_container: bool,
    ) -> Result<Option<crate::console::Settings>, String> {
        self.console.settings(origin, in_container)
    }

    /// The flag, or its variable, or the default.
    fn drain_timeout(&self) -> Result<Duration, String> {
        chosen(self.drain_timeout, "SKEP_DRAIN_TIMEOUT", DRAIN_TIMEOUT, parse_duration)
    }
}

fn chosen<T>(
    flag: Option<T>,
    variable: &str,
    default: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, String> {
    if let Some(value) = flag {
        return Ok(value);
    }
    // An empty variable counts as unset: compose makes a variable empty if nobody has set it.
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    match value {
        None => parse(default),
        Some(value) => {
            parse(&value).map_err(|why| format!("invalid value `{value}` of {variable}: {why}"))
        }
    }
}

fn control_endpoint(text: &str) -> Result<String, String> {
    let text = if text.is_empty() { admin::DEFAULT_ENDPOINT } else { text };
    if text != OFF {
        let example = admin::DEFAULT_ENDPOINT;
        server::check_like(text, example)
            .map_err(|(message, remedy)| format!("{message}: {remedy}"))?;
    }
    Ok(text.to_owned())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the pipelines (the default).
    Run {
        #[command(flatten)]
        running: Running,
    },
    /// Checks the configuration and builds all pipelines, without opening a socket.
    Validate {
        /// Files to check, each on its own.
        #[arg(value_name = "FILE", conflicts_with = "uris")]
        files: Vec<String>,
        /// Fail on warnings, too.
        #[arg(long)]
        deny_warnings: bool,
        /// Fail if a variable or a file that the configuration refers to does not exist on this
        /// machine. Without this flag, that is a warning.
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        configuration: Configuration,
    },
    /// Asks each backend whether it would accept data, without storing any, and says what to fix.
    /// Also says how applications find each receiver.
    Doctor {
        /// The configuration; the same as `--config`.
        #[arg(value_name = "FILE")]
        file: Option<String>,
        #[command(flatten)]
        configuration: Configuration,
        #[command(flatten)]
        target: Target,
    },
    /// Prints the configuration as skep uses it: merged, references replaced, defaults filled in.
    #[command(alias = "print-initial-config")]
    PrintConfig {
        /// How it is printed.
        #[arg(long, value_enum, default_value = "yaml")]
        format: print::Format,
        /// Whether secrets are printed.
        #[arg(long, value_enum, default_value = "redacted")]
        mode: print::Mode,
        /// The configuration; the same as `--config`.
        #[arg(value_name = "FILE")]
        file: Option<String>,
        #[command(flatten)]
        configuration: Configuration,
    },
    /// Prints the JSON schema of a configuration file, for editors.
    Schema,
    /// Lists the components as YAML.
    Components,
    /// Runs one OTTL statement or condition on an OTLP/JSON document and says what it does and why.
    Ottl {
        #[command(flatten)]
        arguments: ottl::Arguments,
    },
    /// Asks a running skep whether it is healthy, and shows warnings and monthly budgets; for
    /// container health checks.
    Health {
        /// Address of the `health_check` extension.
        #[arg(long, default_value = "http://127.0.0.1:13133/")]
        url: String,
    },
    /// Shows what a running skep does: the last data of each receiver, who sends, the traffic on
    /// every edge, the state of every exporter.
    Status {
        #[command(flatten)]
        form: status::Form,
        #[command(flatten)]
        target: Target,
    },
    /// Says where data stops in a running skep, step by step from the port to the backends, and
    /// what mends it. Exit code 1 if it stops somewhere, or if nothing has come.
    Why {
        #[command(flatten)]
        question: why::Question,
        #[command(flatten)]
        target: Target,
    },
    /// Shows why the tail sampler of a running skep kept or dropped a trace, and how each policy
    /// voted.
    Explain {
        /// 32 hexadecimal digits; the short form and X-Ray's are accepted, too.
        trace_id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Shows the last decisions of the tail samplers of a running skep.
    Sample {
        /// Keep showing decisions as they are made.
        #[arg(long)]
        watch: bool,
        /// How many of the last decisions to show.
        #[arg(long, value_name = "N", default_value_t = 20)]
        last: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Shows the data of a running skep as it passes: what goes into a component, what comes out,
    /// and what became of each item.
    Tap {
        #[command(flatten)]
        arguments: tap::Arguments,
        #[command(flatten)]
        target: Target,
    },
    /// Shows what passes every component of a running skep, what is dropped and what fails.
    Top {
        #[command(flatten)]
        arguments: top::Arguments,
        #[command(flatten)]
        target: Target,
    },
    /// Shows the monthly budgets of a running skep: what is used, what passes, and who wants it.
    Budget {
        /// Id of an exporter; without it all are shown.
        exporter: Option<String>,
        /// How they are printed; docs/budget.md has the fields of the JSON.
        #[arg(long, value_enum, default_value_t = budget::Format::Text)]
        format: budget::Format,
        #[command(flatten)]
        target: Target,
    },
    /// Prints the link of the console of a running skep of this user.
    Console {
        /// Opens it in a browser instead.
        #[arg(long)]
        open: bool,
        /// The address that the console was started with, if several run.
        #[arg(long, value_name = "HOST:PORT")]
        console_endpoint: Option<String>,
    },
    /// Makes a running skep read its configuration again, as SIGHUP does, and shows what has
    /// changed, or why nothing has.
    Reload {
        #[command(flatten)]
        target: Target,
    },
    /// Lists, shows, sends again or drops data that backends refused for good (`sending_queue:
    /// dead_letters:`).
    Dlq {
        #[command(subcommand)]
        command: dlq::Dlq,
        #[command(flatten)]
        target: Target,
    },
    /// Takes the place of the AWS X-Ray daemon, with its flags; see `skep xray --help`.
    #[command(disable_help_flag = true)]
    Xray {
        /// Flags of the daemon.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
    /// Prints the completions of a shell.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
    /// Prints the version.
    Version,
}

/// Runs the program.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub fn main() -> ExitCode {
    if let Some(flags) = flags_of_daemon(std::env::args_os()) {
        let code = xray::main(flags);
        logs::flush();
        return code.into();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let error = with_tip(error);
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let code = arguments.run().unwrap_or_else(|message| {
        eprintln!("error: {message}");
        USAGE
    });
    logs::flush();
    code.into()
}

impl Arguments {
    /// Runs the command; an error is one of usage.
    fn run(self) -> Result<u8, String> {
        match self.command {
            None => self.running.run(),
            Some(command) => command.run(self.running),
        }
    }
}

impl Running {
    /// The same with the arguments after the command `run`, which win.
    fn with(self, after: Running) -> Self {
        let (before, own) = (self.process, after.process);
        Running {
            configuration: self.configuration.with(after.configuration),
            process: Process {
                control_endpoint: own.control_endpoint.or(before.control_endpoint),
                drain_timeout: own.drain_timeout.or(before.drain_timeout),
                console: own.console.or(before.console),
            },
            logging: if after.logging.level().is_some() { after.logging } else { self.logging },
        }
    }

    fn run(self) -> Result<u8, String> {
        run::run(&noted(self.configuration), &self.logging, &self.process)
    }
}

impl Command {
    /// Runs it with the arguments before it; an error is one of usage.
    fn run(self, before: Running) -> Result<u8, String> {
        let with = |after| noted(before.configuration.clone().with(after));
        let process = &before.process;
        Ok(match self {
            Command::Run { running } => before.with(running).run()?,
            Command::Validate { files, deny_warnings, strict, configuration } => {
                validate::run(&with(configuration), &files, deny_warnings, strict)
            }
            Command::Doctor { file, configuration, target } => {
                doctor::run(&with(configuration.and(file)), &target.endpoint(process)?)
            }
            Command::PrintConfig { format, mode, file, configuration } => {
                print::config(&with(configuration.and(file)), format, mode)
            }
            Command::Schema => print::schema(),
            Command::Components => components::run(),
            Command::Ottl { arguments } => ottl::run(&arguments),
            Command::Health { url } => health::run(&url),
            Command::Status { form, target } => status::run(&target.endpoint(process)?, form),
            Command::Why { question, target } => why::run(&target.endpoint(process)?, &question),
            Command::Explain { trace_id, target } => {
                decisions::explain(&target.endpoint(process)?, &trace_id)
            }
            Command::Sample { watch, last, target } => {
                decisions::sample(&target.endpoint(process)?, last, watch)
            }
            Command::Tap { arguments, target } => tap::run(&target.endpoint(process)?, &arguments),
            Command::Top { arguments, target } => top::run(&target.endpoint(process)?, &arguments),
            Command::Budget { exporter, format, target } => {
                budget::run(&target.endpoint(process)?, exporter.as_deref(), format)
            }
            Command::Console { open, console_endpoint } => {
                console::run(console_endpoint.as_deref(), open)
            }
            Command::Reload { target } => reload::run(&target.endpoint(process)?),
            Command::Dlq { command, target } => dlq::run(&target.endpoint(process)?, command),
            Command::Xray { .. } => {
                return Err("`skep xray` has flags of its own; write `xray` first".to_owned());
            }
            Command::Completions { shell } => {
                let mut command = Arguments::command();
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut command, "skep", &mut text);
                print::output(&String::from_utf8_lossy(&text))
            }
            Command::Version => print::output(&format!("skep {}\n", env!("CARGO_PKG_VERSION"))),
        })
    }
}

/// Adds to the error of a command that does not exist that it may be the name of a file.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let name = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) => name.clone(),
        _ => return error,
    };
    let is_file = Path::new(&name).is_file()
        || name.contains('/')
        || [".yaml", ".yml"].iter().any(|ending| name.ends_with(ending));
    if is_file {
        let tip = format!("to run this file, write `skep --config {name}`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The configuration. Prints a note if it has feature gates.
#[expect(clippy::print_stderr, reason = "this is the command line")]
fn noted(configuration: Configuration) -> Configuration {
    let gates = &configuration.feature_gates;
    if !gates.is_empty() && !profiles::is_allowed(gates) {
        eprintln!("note: skep has no feature gates, so `--feature-gates` has no effect");
    }
    configuration
}

/// The arguments after `skep xray`, or after the name `xray`, which the image has, too.
fn flags_of_daemon(
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<impl Iterator<Item = OsString>> {
    let name = arguments.next()?;
    let is_daemon = Path::new(&name).file_name().is_some_and(|name| name == "xray");
    let mut arguments = arguments.peekable();
    if !is_daemon {
        arguments.next_if(|first| first == "xray")?;
    }
    Some(arguments)
}

/// Shows problems on standard error; secrets in the lines that they quote are masked.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(crate) fn show(problems: &Problems, loaded: &Loaded) {
    if problems.0.is_empty() {
        return;
    }
    let is_plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stderr().is_terminal();
    let sources = document::masked_sources(loaded);
    eprint!("{}", excerpt::render(problems, &sources, !is_plain));
}
