//! Sends a user name and a password with the requests of exporters.
//!
//! ```yaml
//! basicauth:
//!   client_auth:
//!     username: skep
//!     password: ${env:OTLP_PASSWORD}
//! ```
//!
//! An exporter names it with `auth: {authenticator: basicauth}`. `username_file` and `password_file` are
//! read again when they change.
//!
//! Differs from the Collector: receivers have no authenticators, so `htpasswd` is refused.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Uri, header};
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

/// Sends a user name and a password.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who sends.
    pub client_auth: ClientPair,
    /// Users whom a receiver takes are not supported.
    pub htpasswd: Option<Htpasswd>,
}

/// `htpasswd`, which is refused.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// Names and passwords.
    pub inline: Secret,
    /// File with them.
    pub file: String,
}

/// `client_auth`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientPair {
    /// Name.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// File with the name, instead of `username`.
    pub username_file: String,
    /// File with the password, instead of `password`.
    pub password_file: String,
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> = Entry {
    name: "basicauth",
    aliases: &[],
    signals: &Signal::ALL,
    source: include_str!("basicauth.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ExtensionConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let pair = &self.client_auth;
        if self.htpasswd.is_some() {
            problems
                .error(
                    at.at("htpasswd"),
                    "`htpasswd` is not supported: receivers have no authenticators",
                )
                .help("remove it; what exporters send stands under `client_auth`");
        } else if pair.username.is_empty() && pair.username_file.is_empty() {
            problems
                .error(at, "no user name is given")
                .help("add `client_auth: {username: NAME, password: ${env:PASSWORD}}`");
        }
        if pair.username.contains(':') {
            problems
                .error(at.at("client_auth::username"), "a user name with a colon cannot be sent")
                .help("what follows the colon would belong to the password");
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
        let pair = &self.client_auth;
        let sources = Arc::new([
            Source::new(&Secret::new(&pair.username), &pair.username_file),
            Source::new(&pair.password, &pair.password_file),
        ]);
        let make = Box::new(|secrets: &[Secret]| {
            let parts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
            format!("Basic {}", STANDARD.encode(parts.join(":")))
        });
        Ok(Arc::new(SecretHeader { name: header::AUTHORIZATION, sources, make }))
    }
}
