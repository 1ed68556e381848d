//! `skep components`: what is built in, in the form of the Collector's command.

use std::fmt::Write as _;

use crate::{
    component::{Entry, Kind},
    connectors, exporters, extensions, processors, receivers,
};

/// Prints YAML.
pub(super) fn run() -> u8 {
    super::print::output(&render())
}

fn render() -> String {
    let mut out = format!(
        "buildinfo:\n  command: skep\n  description: {:?}\n  version: {}\n",
        env!("CARGO_PKG_DESCRIPTION"),
        env!("CARGO_PKG_VERSION")
    );
    section(&mut out, Kind::Receiver, receivers::ALL);
    section(&mut out, Kind::Processor, processors::ALL);
    section(&mut out, Kind::Exporter, exporters::ALL);
    section(&mut out, Kind::Connector, connectors::ALL);
    section(&mut out, Kind::Extension, extensions::ALL);
    out
}

fn section<C: ?Sized>(out: &mut String, kind: Kind, registry: &[Entry<C>]) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}:", kind.section());
    for entry in registry {
        let _ = writeln!(out, "  - name: {}", entry.name);
        if !entry.aliases.is_empty() {
            let _ = writeln!(out, "    aliases: [{}]", entry.aliases.join(", "));
        }
        if kind != Kind::Extension {
            let names: Vec<&str> = entry.signals.iter().map(|signal| signal.name()).collect();
            let _ = writeln!(out, "    signals: [{}]", names.join(", "));
        }
    }
}
