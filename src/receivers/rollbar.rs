//! Receives what the SDKs of Rollbar send: exceptions and messages, as log records.
//!
//! ```yaml
//! rollbar:
//!   endpoint: 127.0.0.1:8090
//! ```
//!
//! An application needs one option: in Python `rollbar.init(token, environment,
//! endpoint='http://127.0.0.1:8090/api/1/')` (with a slash at the end), in JavaScript `endpoint:
//! 'http://127.0.0.1:8090/api/1/item/'`, in Node.js as well as in browsers. Its code stays as it
//! is. The exporter `rollbar` sends the items on to Rollbar as they came; other exporters get log
//! records.
//!
//! Each item becomes a log record. The class, message and stack trace of an exception are in
//! `exception.type`, `exception.message` and `exception.stacktrace`, with causes in the stack
//! trace; the text of a message is the body. `person` becomes `user.id`, `user.name` and
//! `user.email`, the request `url.full`, `http.request.method` and `client.address`, the
//! environment `deployment.environment.name`, the version of the code `service.version`, and the
//! host `host.name`. Everything else is kept in attributes `rollbar.*`, such as
//! `rollbar.custom.cart`. An item names no service; `service_name` sets `service.name` for all of
//! them.
//!
//! Clients get the answers of Rollbar's API. With `access_tokens`, items with another token are
//! answered 401; otherwise skep takes any token, or none. The token is not kept, and is covered
//! where an item repeats it. An item with a `uuid` that was taken before (of the last 8192) is
//! answered with success and not taken again.
//!
//! Each access token may send `max_items_per_minute`; beyond it, and while a queue behind the
//! receiver is full, clients get 429 with `X-Rate-Limit-Remaining: 0` and the seconds to wait. SDKs
//! drop items then, as they do with Rollbar; with `journal: {storage: file_storage}` items are on
//! disk before a queue can be full.
//!
//! Pages on `localhost` and `127.0.0.1` may send from a browser; add others to
//! `cors.allowed_origins`. Session replays (`/api/1/session/`) and batches are not taken.

mod answer;
mod envelope;
mod exception;
mod item;
mod limit;
mod seen;
mod service;
mod settings;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    component::{
        BoxFuture, BrowserPort, BuildContext, Entry, Inlet, JournalUse, Listening, Port, Receiver,
        ReceiverConfig, StartError, Stop,
    },
    config::{Node, Problems},
    net::server::{CONNECTION, Sockets, Tuning},
    otlp::Signal,
    receivers::{astray::Astray, http_port::HttpPort, journal::Journal},
    telemetry::ReceiverStats,
};
pub use envelope::Refused;
pub use item::item;
use service::Intake;
pub use settings::Config;

pub(super) const ENTRY: Entry<dyn ReceiverConfig> =
    Entry::of::<Config>("rollbar", &[], &[Signal::Logs], include_str!("rollbar.rs"));

impl ReceiverConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        settings::validate(self, at, problems);
        if let Some(tls) = &self.tls {
            tls.validate(at.at("tls"), problems);
        }
    }

    fn browser_port(&self, _cx: &BuildContext) -> Option<BrowserPort> {
        Some(self.for_pages())
    }

    fn journal(&self) -> Option<JournalUse> {
        self.journal.as_ref().map(Journal::wanted)
    }

    fn ports(&self) -> Vec<Port> {
        vec![Port::tcp("endpoint", Some(&self.endpoint), 0)]
    }

    fn build(
        &self,
        cx: &BuildContext,
        _signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        let id = cx.id.to_string();
        Ok(Box::new(RollbarReceiver {
            stats: cx.telemetry.receiver(&id, Signal::Logs, "http"),
            astray: Astray::new(cx),
            tuning: tuning(cx.budget),
            port: HttpPort::new(&id, self.endpoint.clone(), self.tls.clone())?,
            config: self.clone(),
        }))
    }
}

/// How the port is served: an item has a few KiB, and SDKs send one at a time.
fn tuning(budget: u64) -> Tuning {
    let connections = (budget / 16 / CONNECTION as u64).max(64);
    Tuning {
        stream_window: 64 * 1024,
        connection_window: 128 * 1024,
        max_frame_size: 16 * 1024,
        max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
        max_concurrent_streams: Some(16),
        ..Tuning::default()
    }
}

struct RollbarReceiver {
    config: Config,
    stats: Arc<ReceiverStats>,
    astray: Astray,
    port: HttpPort,
    tuning: Tuning,
}

impl Receiver for RollbarReceiver {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        self.port.bind(sockets)
    }

    fn run(self: Box<Self>, inlet: Arc<dyn Inlet>, stop: Stop) -> BoxFuture<()> {
        let RollbarReceiver { config, stats, astray, port, tuning } = *self;
        Box::pin(async move {
            port.serve(Intake::new(&config, inlet, stats, astray), tuning, &stop).await;
        })
    }
}
