//! Settings of the receiver.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{BrowserPort, takes_strangers},
    config::{Node, Problems, Secret},
    net::{server, tls::ServerTls},
    receivers::{cors::Cors, journal::Journal},
};

/// The header that carries the access token.
pub(super) const TOKEN: &str = "x-rollbar-access-token";

/// Receives items of Rollbar's SDKs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on, such as `127.0.0.1:8090`. Required.
    pub endpoint: String,
    /// TLS; without it the port speaks plain HTTP.
    pub tls: Option<ServerTls>,
    /// Access tokens that clients may send; if the list is empty, any.
    pub access_tokens: Vec<Secret>,
    /// `service.name` of every item, which itself names no service.
    pub service_name: String,
    /// Largest body in bytes, also after inflating.
    pub max_request_body_size: u64,
    /// Items that each access token may send in a minute; 0: no limit.
    pub max_items_per_minute: u64,
    /// Pages that may send from a browser, by default those of this machine.
    pub cors: Option<Cors>,
    /// Answer a request only after the backends have its data.
    pub wait_for_export: bool,
    /// Write items to disk before they are answered, so that they survive a crash.
    pub journal: Option<Journal>,
}

/// Pages of this machine.
const LOCAL: [&str; 2] = ["http://localhost:*", "http://127.0.0.1:*"];

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: String::new(),
            tls: None,
            access_tokens: Vec::new(),
            service_name: String::new(),
            max_request_body_size: 1 << 20,
            max_items_per_minute: 5000,
            cors: None,
            wait_for_export: false,
            journal: None,
        }
    }
}

impl Config {
    /// The settings for browsers. The header of the token is always allowed: without it no page
    /// could send.
    pub(super) fn pages(&self) -> Cors {
        let mut cors = self.cors.clone().unwrap_or_else(|| Cors {
            allowed_origins: LOCAL.map(str::to_owned).to_vec(),
            ..Cors::default()
        });
        cors.allowed_headers.push(TOKEN.to_owned());
        cors
    }

    /// What a page needs to know of the port.
    pub(super) fn for_pages(&self) -> BrowserPort {
        let cors = self.pages();
        let mut doubts = cors.doubts("cors");
        if self.max_items_per_minute == 0 {
            doubts.push((
                "`max_items_per_minute` is 0: a client may send as much as it likes".to_owned(),
                "remove it: 5000 is the default".to_owned(),
            ));
        }
        if self.access_tokens.is_empty() && takes_strangers(&cors.allowed_origins) {
            doubts.push((
                "items with any access token are taken, or with none".to_owned(),
                "list the tokens of your pages in `access_tokens`".to_owned(),
            ));
        }
        BrowserPort {
            endpoint: self.endpoint.clone(),
            is_tls: self.tls.is_some(),
            path: "/api/1/item/".to_owned(),
            origins: cors.allowed_origins,
            header: Some(TOKEN.to_owned()),
            code: "new Rollbar({ accessToken: token, endpoint: '{url}' })".to_owned(),
            is_for_pages: false,
            doubts,
        }
    }

    pub(super) fn max_body(&self) -> usize {
        usize::try_from(self.max_request_body_size).unwrap_or(usize::MAX)
    }
}

pub(super) fn validate(config: &Config, at: &Node, problems: &mut Problems) {
    const EXAMPLE: &str = "add an address, such as `endpoint: 127.0.0.1:8090`";
    if config.endpoint.is_empty() {
        problems.error(at, "the receiver needs an `endpoint`").help(EXAMPLE);
    } else if let Err((message, remedy)) = server::check(&config.endpoint) {
        problems.error(at.at("endpoint"), message).help(remedy.replace("4317", "8090"));
    }
    if let Some(cors) = &config.cors {
        cors.validate(at.at("cors"), problems);
    }
    for (i, token) in config.access_tokens.iter().enumerate() {
        if token.expose().is_empty() {
            problems
                .error(at.at(&format!("access_tokens::{i}")), "the access token is empty")
                .help("set its variable where skep runs, or remove the line");
        }
    }
    if config.max_request_body_size == 0 {
        problems
            .error(at.at("max_request_body_size"), "no item fits into 0 bytes")
            .help("write 1048576, or leave it out");
    }
}
