//! What the console asks of the program around it, and the form in which it tells it.

use serde::Serialize;

use super::Level;
use crate::{admin::proto::Problem, component::Listening};

/// The program around the console.
pub trait Program: Send + Sync {
    /// What runs. Takes no time.
    fn origin(&self) -> Origin;

    /// The configuration that runs. May block.
    fn running(&self) -> Shown;

    /// The configuration as it is where it was read, if it can be read again. May block.
    fn on_disk(&self) -> Option<Text>;

    /// Checks a text that somebody has written into the page. It reads neither files nor
    /// variables, because what it says would tell their contents. May block.
    fn check(&self, text: String) -> Checked;
}

/// Where the running configuration comes from, and what it has opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Names of the files, or `built in`.
    pub name: String,
    /// Whether nobody has given a configuration.
    pub is_built_in: bool,
    /// Whether skep runs in a container.
    pub in_container: bool,
    /// How often a configuration was applied.
    pub generation: u64,
    /// When that was last.
    pub applied_unix_ms: u64,
    /// Open ports.
    pub ports: Vec<OpenPort>,
}

/// An open port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenPort {
    /// Id of the component.
    pub component: String,
    /// `grpc`, `http`, `udp`.
    pub protocol: &'static str,
    /// Address, or path of a unix socket.
    pub address: String,
    /// Whether TLS is on.
    pub tls: bool,
}

impl From<(String, Listening)> for OpenPort {
    fn from((component, listening): (String, Listening)) -> Self {
        let Listening { protocol, address, tls } = listening;
        OpenPort { component, protocol, address, tls }
    }
}

/// Answer to `about`.
#[derive(Debug, Serialize)]
pub(super) struct About {
    /// Version of skep.
    pub(super) version: &'static str,
    /// Random id of this start.
    pub(super) instance: String,
    /// When the process started.
    pub(super) started_unix_ms: u64,
    /// How much is shown.
    pub(super) level: Level,
    /// Whether pages may change something.
    pub(super) actions: bool,
    /// Whether the configuration can be read again.
    pub(super) can_reload: bool,
    /// What runs.
    pub(super) configuration: Origin,
    /// The pipelines, with the ids of their parts.
    pub(super) pipelines: Vec<Pipeline>,
    /// Extensions that run.
    pub(super) extensions: Vec<String>,
}

/// A pipeline.
#[derive(Debug, Serialize)]
pub(super) struct Pipeline {
    /// `traces/backend`.
    pub(super) id: String,
    /// Receivers, and connectors in their place.
    pub(super) receivers: Vec<String>,
    /// Processors, in order.
    pub(super) processors: Vec<String>,
    /// Exporters, and connectors in their place.
    pub(super) exporters: Vec<String>,
}

/// The configuration that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Merged, references replaced, defaults filled in, secrets masked.
    pub yaml: String,
    /// Paths of the keys that were given, such as `receivers::otlp`; the others are defaults.
    pub given: Vec<String>,
    /// Warnings that it came with.
    pub problems: Vec<Problem>,
}

/// The configuration as it is where it was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Text {
    /// Whether it says something else than what runs. Comments and order make no difference.
    pub differs: bool,
    /// The texts as they were written, secrets masked.
    pub sources: Vec<Source>,
    /// What is wrong with them.
    pub problems: Vec<Problem>,
}

/// A file, a variable or an argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// `skep.yaml`, `env:NAME`, `--set`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Answer to `config`.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    /// Where it comes from.
    pub(super) origin: Origin,
    /// What runs.
    pub(super) running: Shown,
    /// What a reload would read; absent if there is nothing to read again.
    pub(super) on_disk: Option<Text>,
}

/// Answer to `validate`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Checked {
    /// Whether skep would start with it, as far as this can be said without files and variables.
    pub valid: bool,
    /// What is in it: `2 pipelines (traces, logs), 1 receiver`.
    pub summary: String,
    /// References to variables and files, which were not looked up.
    pub references: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}
