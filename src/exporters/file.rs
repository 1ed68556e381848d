//! Writes payloads to files: a JSON document per line, or protobuf with a length in front.
//!
//! ```yaml
//! file:
//!   path: /var/lib/skep/telemetry.json
//!   rotation:
//!     max_megabytes: 100
//!     max_backups: 10
//! ```
//!
//! With `format: proto`, or with a `compression`, each message is preceded by its length: four
//! bytes, most significant first. With `group_by` the `*` in the path is replaced by a resource
//! attribute, so that each service has its own file. Signals of one exporter share their files.
//!
//! A message is written whole and at once, or, if the disk is full, taken back whole: a file never
//! ends in half a message, and nothing waits in memory to be flushed. At the end files are synced.
//! What would be a large JSON document becomes several, each a request of its own; an item that has
//! no room in the memory that is set aside for the exporter is left out and counted as rejected.
//!
//! Differs from the Collector: in JSON a record without a body has none, and not `"body":{}`.

mod frames;
mod group;
mod writer;

use std::{
    borrow::Cow,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    component::{
        BoxFuture, BuildContext, Delivery, Encodes, Entry, ErasedExporter, ExportError, Exporter,
        ExporterConfig, Piece, Progress, Retry, Sent, StartError, Work,
    },
    config::{Fixed, Ignored, Interval, Node, Problems, Section},
    otlp::{Content, Signal, json},
    sync,
};
use frames::Frames;
use writer::Files;

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// OTLP/JSON, a document per line.
    #[default]
    Json,
    /// Protobuf, preceded by its length.
    Proto,
}

/// How a message is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// A zstd frame per message, preceded by its length.
    Zstd,
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// zstd level, 1 to 22; 0: the default of zstd, 3.
    pub level: i32,
}

/// When a file is put aside and a new one begun.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// Largest size of a file in MiB.
    pub max_megabytes: u64,
    /// Backups that are older are deleted; 0: never.
    pub max_days: u64,
    /// Number of backups that are kept; 0: all.
    pub max_backups: usize,
    /// Has no effect: the times in names of backups are UTC.
    pub localtime: Fixed<false>,
}

impl Default for Rotation {
    fn default() -> Self {
        Rotation { max_megabytes: 100, max_days: 0, max_backups: 100, localtime: Fixed }
    }
}

/// A file per value of a resource attribute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupBy {
    /// Whether it is on.
    pub enabled: bool,
    /// The attribute whose value replaces the `*` in the path.
    pub resource_attribute: String,
    /// Files that are open at the same time; the one that was unused for longest is closed.
    pub max_open_files: usize,
}

impl Default for GroupBy {
    fn default() -> Self {
        GroupBy {
            enabled: false,
            resource_attribute: "fileexporter.path_segment".to_owned(),
            max_open_files: 100,
        }
    }
}

/// Where and how to write.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file. Without `append` or `rotation` it is emptied at the first write.
    pub path: String,
    /// `json` or `proto`.
    pub format: Format,
    /// Keep what is in the file; not together with `rotation` or `compression`.
    pub append: bool,
    /// Put full files aside; off unless this section is there.
    pub rotation: Section<Rotation>,
    /// `none` or `zstd`.
    pub compression: Compression,
    /// How hard to compress.
    pub compression_params: CompressionParams,
    /// Has no effect: each request is written at once.
    pub flush_interval: Ignored<Interval>,
    /// Not supported: use `format`.
    pub encoding: Option<String>,
    /// A file per value of a resource attribute.
    pub group_by: GroupBy,
    /// Make the directory of the file if it is missing.
    pub create_directory: bool,
    /// Permissions of directories that are made, in octal.
    pub directory_permissions: String,
    /// Files are shared by the signals of one exporter.
    #[serde(skip)]
    #[schemars(skip)]
    files: Shared,
}

/// The open files of one exporter. Not part of what a configuration says: all are equal.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Option<Files>>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl PartialEq for Shared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            path: String::new(),
            format: Format::Json,
            append: false,
            rotation: Section::Off,
            compression: Compression::None,
            compression_params: CompressionParams::default(),
            flush_interval: Ignored::default(),
            encoding: None,
            group_by: GroupBy::default(),
            create_directory: false,
            directory_permissions: "0755".to_owned(),
            files: Shared::default(),
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("file", &[], &Signal::ALL, include_str!("file.rs"));

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.path.is_empty() {
            problems.error(at.at("path"), "`path` is required: the file to write to");
        }
        let directory = Path::new(&self.path).parent();
        let directory = directory.filter(|directory| !directory.as_os_str().is_empty());
        if let Some(directory) =
            directory.filter(|_| !self.create_directory && !self.group_by.enabled)
            && directory.try_exists().is_ok_and(|exists| !exists)
        {
            let message = format!("the directory `{}` does not exist", directory.display());
            let problem = problems.error(at.at("path"), message);
            problem.help("make it, or set `create_directory: true`").is_absent = true;
        }
        if self.append && (self.rotation.on().is_some() || self.compression != Compression::None) {
            let text = "`append` cannot be used together with `rotation` or `compression`";
            problems.error(at.at("append"), text);
        }
        if self.encoding.is_some() {
            problems
                .error(at.at("encoding"), "encoding extensions are not supported")
                .help("remove `encoding` and set `format: json` or `format: proto`");
        }
        if !(0..=22).contains(&self.compression_params.level) {
            problems.error(at.at("compression_params::level"), "`level` must be within 0 and 22");
        }
        if self.permissions().is_none() {
            let text = "`directory_permissions` must be octal digits in quotes, such as \"0755\"";
            problems.error(at.at("directory_permissions"), text);
        }
        if self.rotation.on().is_some_and(|rotation| rotation.max_megabytes == 0) {
            let at = at.at("rotation::max_megabytes");
            problems.error(at, "`max_megabytes` must be positive");
        }
        self.validate_groups(at, problems);
    }

    fn delivery(&self) -> Delivery {
        Delivery { queue: None, retry: None, timeout: None }
    }

    fn destination(&self) -> String {
        self.path.clone()
    }

    fn build(&self, _cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        let mut files = sync::lock(&self.files.0);
        files.get_or_insert_with(|| Files::new(self.clone()));
        Ok(Arc::new(File { config: self.clone() }))
    }
}

impl Config {
    fn validate_groups(&self, at: &Node, problems: &mut Problems) {
        if !self.group_by.enabled {
            return;
        }
        if self.path.matches('*').count() != 1 || self.path.starts_with('*') {
            problems.error(
                at.at("path"),
                "with `group_by` the path must contain exactly one `*`, not at its beginning",
            );
        }
        if self.group_by.resource_attribute.is_empty() {
            let at = at.at("group_by::resource_attribute");
            problems.error(at, "`resource_attribute` must not be empty");
        }
        if self.group_by.max_open_files == 0 {
            let at = at.at("group_by::max_open_files");
            problems.error(at, "`max_open_files` must be positive");
        }
    }

    fn permissions(&self) -> Option<u32> {
        u32::from_str_radix(&self.directory_permissions, 8).ok().filter(|mode| *mode <= 0o7777)
    }
}

fn permanent(message: String) -> ExportError {
    ExportError { retry: Retry::Never, message }
}

/// Writes payloads of one signal.
struct File {
    config: Config,
}

impl Exporter for File {
    type Encoded = Frames;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Frames>, ExportError> {
        frames::piece(&self.config, work)
    }

    fn encodes(&self) -> Encodes {
        Encodes::OnWorker
    }

    fn room(&self, content: &Content) -> usize {
        frames::room(&self.config, content)
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        Box::pin(std::future::ready(Ok("files are written here".to_owned())))
    }

    fn send(&self, frames: Frames, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let written = self.write(&frames, SystemTime::now());
        Box::pin(std::future::ready(written))
    }

    fn shutdown(&self) -> BoxFuture<()> {
        let mut files = sync::lock(&self.config.files.0);
        if let Some(files) = files.as_mut() {
            files.sync();
        }
        Box::pin(std::future::ready(()))
    }
}

impl File {
    fn write(&self, frames: &Frames, now: SystemTime) -> Result<Sent, ExportError> {
        let mut files = sync::lock(&self.config.files.0);
        let Some(files) = files.as_mut() else { return Ok(Sent::default()) };
        for frame in &frames.all {
            let path = match &frame.name {
                Some(name) => Cow::Owned(self.config.path.replacen('*', name, 1)),
                None => Cow::Borrowed(&*self.config.path),
            };
            let message = [&frame.message[0][..], &frame.message[1][..]];
            files.write(Path::new(&*path), message, now).map_err(|error| ExportError {
                retry: Retry::After(None),
                message: format!("cannot write to `{path}`: {error}"),
            })?;
        }
        let left_out = frames.left_out;
        let message =
            (left_out > 0).then(|| format!("{left_out} items were not written: {}", json::NO_ROOM));
        Ok(Sent { rejected: left_out, message, ..Sent::default() })
    }
}

#[cfg(test)]
mod tests;
