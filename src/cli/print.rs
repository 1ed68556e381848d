//! `skep print-config` and `skep schema`, and text on standard output.

use std::io::Write as _;

use super::{CONFIG, Configuration, IO, load, machine, show};
use crate::{
    config::{Problems, write},
    document::{
        self,
        effective::{Secrets, effective, put_endpoints},
        schema::Schemas,
    },
};

/// How a configuration is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// As a configuration file that skep can read, with the keys in the order of the file.
    Yaml,
    /// The same as one JSON object, for programs.
    Json,
}

/// Whether secrets are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// Secrets are printed as `[REDACTED]`.
    Redacted,
    /// Secrets are printed in clear text.
    Unredacted,
}

/// Prints the configuration as it is used: sources merged, references replaced, defaults filled in.
pub(super) fn config(configuration: &Configuration, format: Format, mode: Mode) -> u8 {
    let mut problems = Problems::default();
    let (_, loaded) = load(configuration, &mut problems);
    let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
    problems.excuse_absent();
    show(&problems, &loaded);
    let Some(root) = loaded.root.filter(|_| !problems.has_errors()) else { return CONFIG };
    let secrets = match mode {
        Mode::Redacted => Secrets::Hidden,
        Mode::Unredacted => Secrets::Shown,
    };
    let mut root = effective(&root, &Schemas::default(), secrets);
    if let Some(document) = document {
        put_endpoints(&mut root, &document, machine::in_container());
    }
    output(&match format {
        Format::Yaml => write::yaml(&root),
        Format::Json => write::json(&root),
    })
}

/// Prints the JSON schema of a whole file.
pub(super) fn schema() -> u8 {
    output(&format!("{:#}\n", Schemas::default().whole()))
}

/// Text to standard output. A reader that has seen enough, such as `head`, is no fault.
pub(super) fn output(text: &str) -> u8 {
    match write(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => IO,
        _ => 0,
    }
}

/// Text to standard output, at once.
pub(super) fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
