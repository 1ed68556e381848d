//! Sends exceptions and errors to Rollbar.
//!
//! ```yaml
//! rollbar:
//!   access_token: ${env:ROLLBAR_ACCESS_TOKEN}
//! ```
//!
//! The token needs the scope `post_server_item`. What becomes an item:
//!
//! - each exception of a log record (`exception.type` or `exception.message`);
//! - each event `exception` of a span, up to 100 of one span;
//! - with `error_logs: true`, each other log record of severity `ERROR` or `FATAL`;
//! - everything that came by the receiver `rollbar`, as it came.
//!
//! All other data is dropped here, so the exporter can be beside others in any pipeline of traces
//! or logs.
//!
//! An exception that an SDK records several times, on each span that it leaves and as a log record,
//! is one item. All have the same uuid, made of the id of the trace, the class and the message, and
//! Rollbar keeps the first one. Of those that come together the one that knows the request is sent,
//! or the one of the outer span. The uuid of other items follows from their data, too, so that
//! nothing is counted twice after a retry or a crash. The price: the same class with the same
//! message again in the same trace is not another item.
//!
//! Stack traces of Python, JavaScript, Java, Go, Ruby and .NET become frames (PHP, Rust and Swift
//! as well), and causes a chain. What the frames do not say is in `custom`, with the attributes
//! that have no place in an item, the ids of the trace and the service. `user.id`, `user.name` and
//! `user.email` become the person; attributes of HTTP the request, with the values of
//! `Authorization`, cookies and API keys covered; `http.route` or the name of the span the context;
//! `host.name` the server; `service.version` the version of the code; `deployment.environment.name`
//! the environment. Fatal records are critical. An exception of a span is an error, or a warning if
//! the span did not fail. Rollbar groups exceptions by their frames; records without one are
//! grouped by their message, in which words with digits and texts in quotes do not count.
//!
//! Of attributes without a place of their own the first 512 are sent. An item has at most 512 KiB.
//! A larger one is cut in this order: texts to 4 KiB; the frames between the first ten and the last
//! ten; `custom`, `client`, `notifier`, with texts of 512 bytes; `request`, `person`, `server`,
//! with texts of 64 bytes. If Rollbar finds an item too large (413), it is sent once more with half
//! of its size.
//!
//! When the rate limit of the token is used up (429), nothing is sent until its window has ended,
//! as `X-Rate-Limit-Remaining-Seconds` or `X-Rate-Limit-Reset` say. An item that Rollbar refuses
//! (400, 422) is counted and not sent again.
//!
//! `budget` is a ceiling for each month in occurrences, that is items that are sent to Rollbar.

mod cut;
mod exception;
mod grouping;
mod items;
mod parts;
mod send;
mod write;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Uri, header};
use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    items::{ITEMS_HELD, Settings},
    send::Sender,
};
use super::{
    budget::{self, Budget, Counted},
    connection::check_proxy,
    delivery::{RetryOnFailure, SendingQueue, delivery},
    endpoint::{Endpoint, user_agent},
    post::way,
};
use crate::{
    budget::Unit,
    component::{
        BoxFuture, BudgetUse, BudgetWeights, BuildContext, ComponentId, Count, Delivery, Encodes,
        Entry, ErasedExporter, ExportError, Exporter, ExporterConfig, Piece, Progress, Sent,
        StartError, Work,
    },
    config::{Interval, Node, Problems, Secret, Section},
    net::{
        client::{Client, Target, Tuning},
        proxy,
        tls::{ClientTls, Connector},
    },
    otlp::{Content, Signal},
};

pub use items::Items;

/// Sends to Rollbar.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Access token of the project, with the scope `post_server_item`. Required.
    pub access_token: Secret,
    /// Base URL of the API, for a proxy or another skep.
    pub endpoint: String,
    /// Environment of data that names none in `deployment.environment.name`.
    pub environment: String,
    /// Send log records of severity `ERROR` and above also if they have no exception.
    pub error_logs: bool,
    /// Proxy of all requests, such as `http://user:password@host:3128`, instead of that of the
    /// environment (`HTTPS_PROXY`).
    pub proxy_url: Secret,
    /// TLS of the connection.
    pub tls: ClientTls,
    /// Longest time for one attempt with all of its items.
    pub timeout: Interval,
    /// Queue in front of Rollbar.
    pub sending_queue: SendingQueue,
    /// Sending again after a failure.
    pub retry_on_failure: RetryOnFailure,
    /// Ceiling for each month in the unit that the vendor bills.
    pub budget: Section<Budget>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            access_token: Secret::default(),
            endpoint: "https://api.rollbar.com/api/1/".to_owned(),
            environment: "production".to_owned(),
            error_logs: false,
            proxy_url: Secret::default(),
            tls: ClientTls::default(),
            timeout: Interval(Duration::from_secs(30)),
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
            budget: Section::Off,
        }
    }
}

impl Config {
    /// The URL of items. SDKs for Python have the base as `endpoint`, those for JavaScript this.
    fn url(&self) -> String {
        let base = self.endpoint.trim_end_matches('/');
        format!("{}/item/", base.strip_suffix("/item").unwrap_or(base))
    }

    fn settings(&self) -> Settings {
        Settings { environment: self.environment.clone(), error_logs: self.error_logs }
    }

    fn sender(&self) -> Result<Sender, String> {
        let url = self.url();
        let endpoint = Endpoint::parse(&url, None)?;
        let protocols: &[&[u8]] = &[b"h2", b"http/1.1"];
        let has_tls = endpoint.tls == Some(true);
        let tls = has_tls.then(|| Connector::new(self.tls.clone(), protocols)).transpose()?;
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
        let mut headers = send::headers(self.access_token.expose(), user_agent("")?)?;
        let host = HeaderValue::try_from(endpoint.host_header());
        headers.insert(header::HOST, host.map_err(|_| format!("`{url}` is not a URL"))?);
        let target = Target {
            way: way(&url, self.proxy_url.expose(), &self.tls)?,
            host: endpoint.host,
            port: endpoint.port,
            tls,
            server_name: self.tls.server_name_override.clone(),
            http2_only: false,
            tuning: Tuning::default(),
        };
        let closed_until = Mutex::default();
        Ok(Sender { client: Client::new(target, 1), uri, headers, closed_until })
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> = Entry::of::<Config>(
    "rollbar",
    &[],
    &[Signal::Traces, Signal::Logs],
    include_str!("rollbar.rs"),
);

/// What Rollbar bills: occurrences.
const COUNTED: Counted = Counted {
    exporter: "rollbar",
    like: &[],
    unit: Unit::Items,
    count: Count::Occurrences,
    weights: BudgetWeights { sample_rate: false, tracestate: false },
};

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let token = self.access_token.expose();
        if token.is_empty() {
            problems
                .error(at.at("access_token"), "the access token is empty, so Rollbar would answer 401")
                .help("set ROLLBAR_ACCESS_TOKEN where skep runs and write `access_token: ${env:ROLLBAR_ACCESS_TOKEN}`");
        } else if token.trim() != token || token.starts_with(['"', '\'']) {
            problems
                .error(at.at("access_token"), "the access token has blanks or quotes around it")
                .help("remove them where the variable is set");
        }
        if !matches!(Endpoint::parse(&self.endpoint, None), Ok(Endpoint { tls: Some(_), .. })) {
            problems
                .error(at.at("endpoint"), format!("`{}` is not a URL", self.endpoint))
                .help("write `https://host/api/1/`, or leave it out");
        }
        if self.environment.is_empty() {
            problems
                .error(at.at("environment"), "Rollbar takes no item without an environment")
                .help("write a name such as `production`, or leave it out");
        }
        check_proxy("proxy_url", &self.proxy_url, at, problems);
        self.tls.validate(at.at("tls"), problems);
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
        budget::validate(&self.budget, &COUNTED, &self.sending_queue, at, problems);
    }

    fn validate_use(&self, signals: &[Signal], at: &Node, problems: &mut Problems) {
        if self.error_logs && !signals.contains(&Signal::Logs) {
            problems
                .warning(
                    at.at("error_logs"),
                    "`error_logs` has no effect: no pipeline sends logs here",
                )
                .help("remove it, or add the exporter to a pipeline of logs");
        }
    }

    fn budget(&self) -> Option<BudgetUse> {
        budget::budget(&self.budget, &COUNTED)
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        let url = self.url();
        let through = proxy::in_words(way(&url, self.proxy_url.expose(), &self.tls));
        format!("{url}{through}")
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        Ok(Arc::new(self.exporter(&cx.id)?))
    }
}

impl Config {
    /// The exporter for these settings. Opens nothing.
    pub fn exporter(&self, id: &ComponentId) -> Result<Rollbar, StartError> {
        let component = || format!("exporter `{id}`");
        let sender = self.sender();
        let sender = sender.map_err(|message| StartError { component: component(), message })?;
        Ok(Rollbar { settings: self.settings(), sender: Arc::new(sender) })
    }
}

/// Writes items on a worker, sends them on tokio.
pub struct Rollbar {
    settings: Settings,
    sender: Arc<Sender>,
}

impl Exporter for Rollbar {
    type Encoded = Items;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Items>, ExportError> {
        let (items, walk) = items::next(work, &self.settings);
        // An item that Rollbar finds too large is copied twice while it is cut.
        let held = items.len.saturating_mul(3).saturating_add(ITEMS_HELD);
        let mut piece = work.piece(items, held, &walk);
        piece.encoded.of = piece.items;
        Ok(piece)
    }

    fn encodes(&self) -> Encodes {
        Encodes::OnWorker
    }

    fn room(&self, content: &Content) -> usize {
        items::room(content.len())
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        let sender = Arc::clone(&self.sender);
        Box::pin(async move { sender.probe().await })
    }

    fn units(&self, items: &Items) -> Option<u64> {
        Some(items.all.len() as u64)
    }

    fn send(&self, items: Items, progress: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let (sender, progress) = (Arc::clone(&self.sender), Arc::clone(progress));
        Box::pin(async move {
            let mut sent = sender.send(&items.all, &progress).await?;
            if items.left_out > 0 {
                let message = format!("{} items were too large to be sent", items.left_out);
                sent.rejected += items.left_out;
                sent.message = sent.message.or(Some(message));
            }
            // A span with several exceptions is one item of OpenTelemetry.
            sent.rejected = sent.rejected.min(items.of);
            Ok(sent)
        })
    }
}
