//! The command line: which subcommand, which configuration, which exit code.
//!
//! Exit codes are those of `sysexits.h`: 0 success, 64 wrong usage, 69 a port or file that cannot
//! be had, 70 a panic, 74 data that could not be delivered, 78 a wrong configuration; and 1 where
//! `explain` knows nothing of a trace, or `dlq` of a dead letter.

mod components;
mod control;
mod decisions;
mod dlq;
mod doctor;
mod health;
mod print;
mod reload;
mod run;
mod services;
mod validate;
#[cfg(feature = "aws")]
mod xray;
#[cfg(not(feature = "aws"))]
#[path = "cli/xray_absent.rs"]
mod xray;

use std::{ffi::OsString, io::IsTerminal as _, path::Path, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    admin,
    config::{
        Problem, Problems, Severity, diagnostics,
        source::{self, Loaded},
        units::parse_duration,
    },
    document::{self, profiles},
    net::server,
    telemetry::logs,
};

/// The arguments are wrong.
pub const USAGE: u8 = 64;
/// A port, a file or a thread cannot be had.
pub const UNAVAILABLE: u8 = 69;
/// A panic.
pub const SOFTWARE: u8 = 70;
/// Data could not be delivered.
pub const IO: u8 = 74;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;

/// Places where a configuration is looked for when none is named; the last two are those of the
/// Collector's images, so that an image can be swapped in place.
const DEFAULT_FILES: [&str; 3] =
    ["/etc/skep/config.yaml", "/etc/otelcol/config.yaml", "/etc/otelcol-contrib/config.yaml"];

/// What runs without any configuration.
const BUILT_IN: &str = include_str!("../pipelines/default.yaml");
/// The same with Honeycomb, where its key is set.
const BUILT_IN_HONEYCOMB: &str = include_str!("../pipelines/honeycomb.yaml");

#[derive(Debug, Parser)]
#[command(
    name = "skep",
    version,
    about = "A telemetry pipeline: OTLP in, OpenTelemetry Collector YAML in between, Honeycomb and others out"
)]
struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    process: Process,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Configuration {
    /// File, `env:VARIABLE` or `yaml:TEXT`; repeated, later ones win.
    #[arg(long = "config", value_name = "URI", global = true)]
    uris: Vec<String>,
    /// Sets one value after all files, for instance `exporters.otlp_grpc.endpoint=host:4317`.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    sets: Vec<String>,
    /// Accepted because the Collector has it. With `service.profilesSupport` pipelines of profiles
    /// are left out with a warning; others have no effect.
    #[arg(long, value_name = "GATES", global = true)]
    feature_gates: Vec<String>,
}

/// How the process behaves; what is not about pipelines and so has no place in their file.
#[derive(Debug, clap::Args)]
pub(crate) struct Process {
    /// Where the control plane listens; `off` for nowhere.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SKEP_CONTROL_ENDPOINT",
        default_value = admin::DEFAULT_ENDPOINT,
        value_parser = control_endpoint,
        global = true
    )]
    control_endpoint: String,
    /// Longest time between the first SIGTERM or SIGINT and the end, in which everything that was
    /// accepted goes out. Containers are killed after 10 s (compose) or 30 s (ECS) by default.
    #[arg(
        long,
        value_name = "DURATION",
        env = "SKEP_DRAIN_TIMEOUT",
        default_value = DRAIN_TIMEOUT,
        value_parser = drain_timeout,
        global = true
    )]
    drain_timeout: Duration,
}

/// How `--control-endpoint` turns the control plane off.
const OFF: &str = "off";

const DRAIN_TIMEOUT: &str = "8s";

// Empty is unset: compose writes it so for a variable that nobody set.

fn drain_timeout(text: &str) -> Result<Duration, String> {
    parse_duration(if text.is_empty() { DRAIN_TIMEOUT } else { text })
}

fn control_endpoint(text: &str) -> Result<String, String> {
    let text = if text.is_empty() { admin::DEFAULT_ENDPOINT } else { text };
    if text != OFF {
        server::check(text).map_err(|(message, remedy)| format!("{message}: {remedy}"))?;
    }
    Ok(text.to_owned())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the pipelines (the default).
    Run,
    /// Checks the configuration and builds the whole graph, without opening a socket.
    Validate {
        /// Fail on warnings too.
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Asks each backend harmlessly whether it would take data, and says how to fix what would not.
    Doctor,
    /// Prints the configuration as it is used: merged, references replaced, defaults filled in.
    #[command(alias = "print-initial-config")]
    PrintConfig {
        /// YAML, or JSON in the same order.
        #[arg(long, value_enum, default_value = "yaml")]
        format: print::Format,
        /// Whether secrets are printed.
        #[arg(long, value_enum, default_value = "redacted")]
        mode: print::Mode,
    },
    /// Prints the JSON schema of a configuration file, for editors.
    Schema,
    /// Lists the components as YAML.
    Components,
    /// Asks a running skep whether it is healthy; for container health checks.
    Health {
        /// Address of the `health_check` extension.
        #[arg(long, default_value = "http://127.0.0.1:13133/")]
        url: String,
    },
    /// Tells why a running skep's tail sampler kept a trace or not, and how each policy voted.
    Explain {
        /// 32 hexadecimal digits; the short and the X-Ray form are taken too.
        trace_id: String,
    },
    /// Shows the last decisions of a running skep's tail samplers.
    Sample {
        /// Go on with those that follow.
        #[arg(long)]
        watch: bool,
        /// How many of the last ones.
        #[arg(long, value_name = "N", default_value_t = 20)]
        last: u32,
    },
    /// Has a running skep read its configuration again, without a restart, as SIGHUP does; says what has
    /// changed, or why nothing has.
    Reload,
    /// What backends refused for good (`sending_queue: dead_letters:`): list, show, send again, drop.
    Dlq {
        #[command(subcommand)]
        command: dlq::Dlq,
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
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let gates = &arguments.configuration.feature_gates;
    if !gates.is_empty() && !profiles::is_allowed(gates) {
        eprintln!("note: skep has no feature gates, so `--feature-gates` has no effect");
    }
    let code = match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run::run(&arguments.configuration, &arguments.process),
        Command::Validate { deny_warnings } => {
            validate::run(&arguments.configuration, deny_warnings)
        }
        Command::Doctor => doctor::run(&arguments.configuration),
        Command::PrintConfig { format, mode } => {
            print::config(&arguments.configuration, format, mode)
        }
        Command::Schema => print::schema(),
        Command::Components => components::run(),
        Command::Health { url } => health::run(&url),
        Command::Explain { trace_id } => {
            decisions::explain(&arguments.process.control_endpoint, &trace_id)
        }
        Command::Sample { watch, last } => {
            decisions::sample(&arguments.process.control_endpoint, last, watch)
        }
        Command::Reload => reload::run(&arguments.process.control_endpoint),
        Command::Dlq { command } => dlq::run(&arguments.process.control_endpoint, command),
        Command::Xray { .. } => {
            eprintln!("error: `skep xray` has flags of its own; write `xray` first");
            USAGE
        }
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, "skep", &mut text);
            print::output(&String::from_utf8_lossy(&text))
        }
    };
    logs::flush();
    code.into()
}

/// The arguments after `skep xray`, or after the name `xray`, which the image has too.
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

/// How the configuration was found.
pub(crate) enum Origin {
    /// Named on the command line, or in one of the default places.
    Given(Vec<String>),
    /// None was found: the built-in one.
    BuiltIn,
    /// The flags of the X-Ray daemon, and its file where there is one.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "there is no such daemon"))]
    Daemon(Option<String>),
}

/// The variable that holds the whole configuration in the Collector's distribution of AWS. It wins
/// over files, since the images of that distribution always name one.
const AOT_CONFIG: &str = "AOT_CONFIG_CONTENT";

/// Reads the configuration that the arguments name, or the default one.
pub(crate) fn load(configuration: &Configuration, problems: &mut Problems) -> (Origin, Loaded) {
    let env = |name: &str| std::env::var(name).ok();
    let mut uris = configuration.uris.clone();
    if env(AOT_CONFIG).is_some_and(|text| !text.is_empty()) {
        if !uris.is_empty() {
            problems.0.push(Problem {
                severity: Severity::Warning,
                place: None,
                path: String::new(),
                message: format!("`--config` is not read: {AOT_CONFIG} holds the configuration"),
                help: Some(format!("remove `--config`, or unset {AOT_CONFIG} to read it")),
                related: None,
            });
        }
        uris = vec![format!("env:{AOT_CONFIG}")];
    }
    // Empty is unset: compose writes it so for a variable that nobody set.
    if uris.is_empty() && env("SKEP_CONFIG").is_some_and(|text| !text.is_empty()) {
        uris.push("env:SKEP_CONFIG".to_owned());
    }
    if uris.is_empty() {
        let found = DEFAULT_FILES.into_iter().find(|file| Path::new(file).exists());
        uris.extend(found.map(ToOwned::to_owned));
    }
    if !uris.is_empty() {
        let mut loaded = source::load(&uris, &configuration.sets, &env, problems);
        if let Some(root) = loaded.root.as_mut()
            && profiles::is_allowed(&configuration.feature_gates)
        {
            profiles::leave_out(root, problems);
        }
        return (Origin::Given(uris), loaded);
    }
    let has_key = env("HONEYCOMB_API_KEY").is_some_and(|key| !key.is_empty());
    let text = if has_key { BUILT_IN_HONEYCOMB } else { BUILT_IN };
    let uris = [format!("yaml:{text}")];
    (Origin::BuiltIn, source::load(&uris, &configuration.sets, &env, problems))
}

/// Shows problems on standard error; secrets in the lines that they quote are masked.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(crate) fn show(problems: &Problems, loaded: &Loaded) {
    if problems.0.is_empty() {
        return;
    }
    let is_plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stderr().is_terminal();
    let sources = document::masked_sources(loaded);
    eprint!("{}", diagnostics::render(problems, &sources, !is_plain));
}
