//! Sends a token with the requests of exporters.
//!
//! ```yaml
//! bearertokenauth:
//!   token: ${env:OTLP_TOKEN}
//! ```
//!
//! An exporter names it with `auth: {authenticator: bearertokenauth}`. With `filename` the token stands
//! in a file, which is read again when it changes, and at once when the backend refuses the old token.
//!
//! Differs from the Collector: receivers have no authenticators, so `tokens` is refused.

use std::sync::Arc;

use http::{HeaderName, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::secret_header::{SecretHeader, Source};
use crate::{
    component::{
        Authenticator, BuildContext, ClientAuth, Entry, Extension, ExtensionConfig, Passive,
        StartError,
    },
    config::{Node, Problems, Secret},
    otlp::Signal,
};

/// Sends a token.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Header that the token stands in.
    pub header: String,
    /// Word before the token; empty: none.
    pub scheme: String,
    /// The token.
    pub token: Secret,
    /// File with the token, instead of `token`.
    pub filename: String,
    /// Tokens that a receiver takes are not supported.
    pub tokens: Vec<Secret>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            header: "Authorization".to_owned(),
            scheme: "Bearer".to_owned(),
            token: Secret::default(),
            filename: String::new(),
            tokens: Vec::new(),
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> = Entry {
    name: "bearertokenauth",
    aliases: &[],
    signals: &Signal::ALL,
    source: include_str!("bearertokenauth.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ExtensionConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if !self.tokens.is_empty() {
            problems
                .error(
                    at.at("tokens"),
                    "`tokens` is not supported: receivers have no authenticators",
                )
                .help("write the one token to send as `token`");
        } else if self.token.expose().is_empty() && self.filename.is_empty() {
            problems
                .error(at, "no bearer token provided")
                .help("add `token: ${env:OTLP_TOKEN}`, or the name of a file as `filename`");
        }
        if HeaderName::try_from(&self.header).is_err() {
            problems.error(at.at("header"), format!("`{}` is not a header name", self.header));
        }
    }

    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        Some(Arc::new(self.clone()))
    }

    fn build(&self, _cx: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        Ok(Box::new(Passive))
    }
}

impl ClientAuth for Config {
    fn open(&self, _exporter: &str, _url: &Uri) -> Result<Arc<dyn Authenticator>, String> {
        let name = HeaderName::try_from(&self.header)
            .map_err(|_| format!("`{}` is not a header name", self.header))?;
        let scheme = match self.scheme.as_str() {
            "" => String::new(),
            scheme => format!("{scheme} "),
        };
        let make = Box::new(move |secrets: &[Secret]| {
            secrets.iter().fold(scheme.clone(), |value, token| value + token.expose())
        });
        let sources = Arc::new([Source::new(&self.token, &self.filename)]);
        Ok(Arc::new(SecretHeader { name, sources, make }))
    }
}
