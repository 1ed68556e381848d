//! The console: pages that show a running skep to people, and the API behind them.
//!
//! ```text
//!  browser --- GET / ---------------------> assets   the page: files in the binary
//!          --- POST /api/v1/login --------> access   a token becomes a cookie
//!          --- GET /api/v1/health, ... ---> api      messages of the control plane as JSON
//!          <-- GET /api/v1/events --------- events   what changes, as it changes
//!          --- GET /api/v1/traces, ... ---> recent   what came lately, at level `data`
//!          <-- GET /api/v1/tap ------------ tap      data as it passes, at level `data`
//! ```
//!
//! A listener of its own, by default [`DEFAULT_ENDPOINT`]. `access` says who may ask, and why each
//! check is there. The pages are plain modules in `console/`, which this binary contains.
//!
//! What belongs to another page is added in three places: a call with its row in `api`, or a topic
//! in `events`, and a file in `console/app/pages`.
//!
//! Nothing here can hold up the pipelines: counters are read, requests for a reload are handed on,
//! and everything that grows has a limit.

mod access;
mod api;
mod assets;
mod events;
mod link;
mod program;
mod query;
mod recent;
mod service;
mod tap;
mod token;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    component::{Listening, Stop, reload::Reloads},
    net::{
        server::{self, Listener, Sockets, Tuning},
        tls::{Acceptor, ServerTls},
    },
    recent::Recent,
    telemetry::{Telemetry, history},
};

pub use self::{
    link::{LinkFile, folder as link_folder, found as links},
    program::{Checked, OpenPort, Origin, Program, Shown, Source, Text},
    token::Token,
};

/// Where the console listens by default.
pub const DEFAULT_ENDPOINT: &str = "127.0.0.1:8686";

/// How much the console shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// How skep works: the graph, counts, states, the configuration without secrets.
    Operation,
    /// The contents of telemetry, too.
    Data,
}

/// Settings of the console.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the listener.
    pub endpoint: String,
    /// How much is shown.
    pub level: Level,
    /// Whether pages may change something, such as reload the configuration.
    pub has_actions: bool,
    /// What opens the console.
    pub token: Token,
    /// Whether the token is new with this start, so that people have to be told.
    pub is_token_new: bool,
    /// Names under which browsers may reach it, beside loopback and addresses: `host` or
    /// `host:port`.
    pub hosts: Vec<String>,
    /// Certificate and key; `None` serves without TLS.
    pub tls: Option<ServerTls>,
}

/// What the console reads.
#[derive(Clone)]
pub struct Sources {
    /// Counters and states.
    pub telemetry: Arc<Telemetry>,
    /// How a reload is requested; `None` if reloading is disabled.
    pub reloads: Option<Reloads>,
    /// The program around it.
    pub program: Arc<dyn Program>,
    /// What came lately; `None` if nothing is kept.
    pub recent: Option<Arc<Recent>>,
}

/// The console, open but not answering yet.
pub struct Console {
    listener: Listener,
    address: SocketAddr,
    acceptor: Option<Arc<Acceptor>>,
    settings: Settings,
    sources: Sources,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Console({})", self.address)
    }
}

impl Console {
    /// Opens the listener; the error has the remedy in it. Call within a tokio runtime.
    pub fn bind(
        settings: Settings,
        sources: Sources,
        sockets: &mut Sockets,
    ) -> Result<Self, String> {
        let acceptor = settings.tls.clone().map(Acceptor::new).transpose()?.map(Arc::new);
        let explain = |error| server::explain_bind(&error, &settings.endpoint);
        let wanted = server::resolve(&settings.endpoint, server::Family::Any).map_err(explain)?;
        let listener = sockets.tcp(wanted).map_err(explain)?;
        let address = listener.address().parse().map_err(|error| {
            format!("cannot read the address of `{}`: {error}", settings.endpoint)
        })?;
        Ok(Console { listener, address, acceptor, settings, sources })
    }

    /// The address that was opened.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same for the start-up report.
    pub fn listening(&self) -> Listening {
        let (address, tls) = (self.address.to_string(), self.acceptor.is_some());
        Listening { protocol: "http", address, tls }
    }

    /// What a person opens, with the token in the part of the URL that browsers send to nobody.
    pub fn link(&self) -> String {
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        let host = match (self.settings.hosts.first(), self.address) {
            (Some(host), _) => access::with_port(host, self.address.port()),
            (None, address) if address.ip().is_unspecified() => {
                format!("localhost:{}", address.port())
            }
            (None, address) => address.to_string(),
        };
        format!("{scheme}://{host}/#t={}", self.settings.token.text())
    }

    /// Serves until `stop` is raised.
    pub async fn run(self, stop: Stop) {
        let raised: watch::Receiver<bool> = stop.subscribe();
        let telemetry = Arc::clone(&self.sources.telemetry);
        let hub = events::Hub::new(self.sources.clone(), &self.settings);
        let rules = access::Rules::new(&self.settings, self.address, self.acceptor.is_some());
        let service = service::Pages::new(rules, self.sources, &self.settings, hub, stop.clone());
        let service = Arc::new(service);
        let serving =
            server::run(self.listener, self.acceptor, Arc::clone(&service), tuning(), raised);
        let reading = service.hub().run(stop);
        tokio::select! {
            _ = async { tokio::join!(serving, reading) } => {}
            () = history::keep(&telemetry) => {}
        }
    }
}

/// Few people look at once. A connection is closed after a while whatever it does, so that a
/// browser that has stopped reading keeps none for ever; pages open the next one by themselves.
fn tuning() -> Tuning {
    Tuning {
        stream_window: 64 * 1024,
        connection_window: 64 * 1024,
        max_frame_size: 16 * 1024,
        max_connections: 64,
        max_concurrent_streams: Some(16),
        header_timeout: Duration::from_secs(10),
        max_age: Some(Duration::from_mins(30)),
        max_age_grace: Some(Duration::from_secs(5)),
        ..Tuning::default()
    }
}

#[cfg(test)]
mod tests;
