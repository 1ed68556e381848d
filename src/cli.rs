//! The command line: which subcommand, which configuration, which exit code.
//!
//! Exit codes are those of `sysexits.h`: 0 success, 64 wrong usage, 69 a port or file that cannot
//! be had, 70 a panic, 74 data that could not be delivered, 78 a wrong configuration.

mod components;
mod health;
mod run;
mod services;
mod validate;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{
    Problems,
    diagnostics::{self, Source},
    source::{self, Loaded},
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
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the configuration comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct Configuration {
    /// File, `env:VARIABLE` or `yaml:TEXT`; repeated, later ones win.
    #[arg(long = "config", value_name = "URI", global = true)]
    uris: Vec<String>,
    /// Sets one value after all files, for instance `exporters.otlp_grpc.endpoint=host:4317`.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    sets: Vec<String>,
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
    /// Lists the components as YAML.
    Components,
    /// Asks a running skep whether it is healthy; for container health checks.
    Health {
        /// Address of the `health_check` extension.
        #[arg(long, default_value = "http://127.0.0.1:13133/")]
        url: String,
    },
    /// Prints the completions of a shell.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let code = match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run::run(&arguments.configuration),
        Command::Validate { deny_warnings } => {
            validate::run(&arguments.configuration, deny_warnings)
        }
        Command::Components => components::run(),
        Command::Health { url } => health::run(&url),
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "skep", &mut std::io::stdout());
            0
        }
    };
    code.into()
}

/// How the configuration was found.
pub(crate) enum Origin {
    /// Named on the command line, or in one of the default places.
    Given(Vec<String>),
    /// None was found: the built-in one.
    BuiltIn,
}

/// Reads the configuration that the arguments name, or the default one.
pub(crate) fn load(configuration: &Configuration, problems: &mut Problems) -> (Origin, Loaded) {
    let env = |name: &str| std::env::var(name).ok();
    let mut uris = configuration.uris.clone();
    // Empty is unset: compose writes it so for a variable that nobody set.
    if uris.is_empty() && env("SKEP_CONFIG").is_some_and(|text| !text.is_empty()) {
        uris.push("env:SKEP_CONFIG".to_owned());
    }
    if uris.is_empty() {
        let found = DEFAULT_FILES.into_iter().find(|file| std::path::Path::new(file).exists());
        uris.extend(found.map(ToOwned::to_owned));
    }
    if !uris.is_empty() {
        let loaded = source::load(&uris, &configuration.sets, &env, problems);
        return (Origin::Given(uris), loaded);
    }
    let has_key = env("HONEYCOMB_API_KEY").is_some_and(|key| !key.is_empty());
    let text = if has_key { BUILT_IN_HONEYCOMB } else { BUILT_IN };
    let uris = [format!("yaml:{text}")];
    (Origin::BuiltIn, source::load(&uris, &configuration.sets, &env, problems))
}

/// Shows problems on standard error.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(crate) fn show(problems: &Problems, sources: &[Source]) {
    let is_plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stderr().is_terminal();
    eprint!("{}", diagnostics::render(problems, sources, !is_plain));
}
