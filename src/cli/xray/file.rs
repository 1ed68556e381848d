//! The configuration file of the X-Ray daemon: its keys, strictly.

use std::path::Path;

use serde::Deserialize;

use super::{Level, address, rendered};
use crate::config::{Problems, decode, excerpt::Source, source, tree::Node, yaml};

/// Where the daemon looks when no file is named.
const PLACES: [&str; 2] = ["/etc/amazon/xray/cfg.yaml", "cfg.yaml"];

/// The keys of the daemon. Empty texts and 0 are unset.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "TotalBufferSizeMB")]
    pub(super) buffer: u64,
    #[serde(rename = "Concurrency")]
    pub(super) concurrency: u64,
    #[serde(rename = "Region")]
    pub(super) region: String,
    #[serde(rename = "Endpoint")]
    pub(super) endpoint: String,
    #[serde(rename = "Socket")]
    pub(super) socket: Socket,
    #[serde(rename = "Logging")]
    pub(super) logging: Logging,
    #[serde(rename = "LocalMode")]
    pub(super) local_mode: bool,
    #[serde(rename = "ResourceARN")]
    pub(super) resource_arn: String,
    #[serde(rename = "RoleARN")]
    pub(super) role_arn: String,
    #[serde(rename = "NoVerifySSL")]
    no_verify_ssl: bool,
    #[serde(rename = "ProxyAddress")]
    pub(super) proxy_address: String,
    #[serde(rename = "Version")]
    version: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Socket {
    #[serde(rename = "UDPAddress")]
    pub(super) udp: String,
    #[serde(rename = "TCPAddress")]
    pub(super) tcp: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Logging {
    #[serde(rename = "LogRotation")]
    pub(super) rotates: Option<bool>,
    #[serde(rename = "LogLevel")]
    named: String,
    #[serde(skip)]
    pub(super) level: Option<Level>,
    #[serde(rename = "LogPath")]
    pub(super) path: String,
}

impl File {
    /// Reads the file that is named, or the first that is there; gives its name too. The error is
    /// ready to be shown.
    pub(super) fn find(named: Option<&str>) -> Result<(Option<String>, Self), String> {
        let there = || PLACES.into_iter().find(|place| Path::new(place).exists());
        let Some(path) = named.or_else(there) else { return Ok((None, File::default())) };
        let text =
            source::read_file(Path::new(path)).map_err(|message| format!("error: {message}\n"))?;
        let mut problems = Problems::default();
        let file = Self::read(&text, &mut problems);
        match file.filter(|_| !problems.has_errors()) {
            Some(file) => Ok((Some(path.to_owned()), file)),
            None => Err(rendered(&problems, &[Source::new(path, text)])),
        }
    }

    /// The file of a text.
    pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Self> {
        let root = match yaml::parse(0, text) {
            Ok(root) => root,
            Err(problem) => {
                problems.0.push(problem);
                return None;
            }
        };
        let mut file: File = decode(&root, problems)?;
        file.check(&root, problems);
        Some(file)
    }

    fn check(&mut self, root: &Node, problems: &mut Problems) {
        if self.version.is_some_and(|version| !(1..=2).contains(&version)) {
            problems.error(root.at("Version"), "only versions 1 and 2 are known");
        }
        if self.no_verify_ssl {
            problems
                .error(root.at("NoVerifySSL"), "certificates of AWS are always checked")
                .help("remove it; for an own endpoint let SSL_CERT_FILE name its certificate");
        }
        if (1..super::LEAST_BUFFER).contains(&self.buffer) {
            problems
                .error(root.at("TotalBufferSizeMB"), "that is too small")
                .help("write at least 3, or 0 to let skep decide");
        }
        for (key, given) in [("UDPAddress", &self.socket.udp), ("TCPAddress", &self.socket.tcp)] {
            if let Some(Err(message)) =
                Some(given).filter(|text| !text.is_empty()).map(|t| address(t))
            {
                problems.error(root.at(&format!("Socket::{key}")), message);
            }
        }
        if !self.logging.named.is_empty() {
            let level = <Level as clap::ValueEnum>::from_str(&self.logging.named, true).ok();
            if level.is_none() {
                problems
                    .error(root.at("Logging::LogLevel"), "unknown level")
                    .help("valid: dev, debug, info, warn, error, prod");
            }
            self.logging.level = level;
        }
    }
}
