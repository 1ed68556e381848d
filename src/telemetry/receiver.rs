//! What the engine and receivers count about what comes in, for each receiver, signal and
//! transport.

use std::sync::Arc;

use super::{
    metric::{Counter, Desc},
    registry::Meter,
    services::Services,
};
use crate::otlp::{Signal, tee::Tee};

const ACCEPTED: Desc =
    Desc::new("otelcol_receiver_accepted", "{item}", "Items taken by the pipeline");
const REFUSED: Desc =
    Desc::new("otelcol_receiver_refused", "{item}", "Items refused by the pipeline");
const REJECTED: Desc = Desc::new(
    "skep_receiver_rejected_requests",
    "{request}",
    "Requests turned away before their items were known",
);
const UNAUTHENTICATED: Desc = Desc::new(
    "skep_receiver_unauthenticated_requests",
    "{request}",
    "Requests turned away because of missing or wrong credentials",
);

#[derive(Debug)]
pub struct ReceiverStats {
    /// Component id.
    pub id: String,
    pub signal: Signal,
    /// `grpc`, `http` or `udp`.
    pub transport: &'static str,
    /// Items taken.
    pub accepted: Counter,
    /// Requests whose items were taken. Not shown; `refuse_unread` needs it.
    pub accepted_requests: Counter,
    /// Items refused by the pipeline, or before they were read.
    pub refused: Counter,
    /// Requests turned away before their items were known (malformed, too large, over budget).
    pub rejected_requests: Counter,
    /// The part of those that an authenticator refused.
    pub unauthenticated_requests: Counter,
    /// Services that have sent data.
    pub services: Services,
    /// Shows what was taken to a second reader, if there is one.
    pub tee: Arc<Tee>,
}

impl ReceiverStats {
    pub(super) fn new(
        meter: &Meter,
        id: &str,
        signal: Signal,
        (transport, tee): (&'static str, Arc<Tee>),
    ) -> Self {
        let labels = [("receiver", id), ("transport", transport)];
        let with_signal = [labels[0], labels[1], ("signal", signal.name())];
        ReceiverStats {
            id: id.to_owned(),
            signal,
            transport,
            accepted: meter.counter(&ACCEPTED.for_signal(signal), &labels),
            accepted_requests: Counter::default(),
            refused: meter.counter(&REFUSED.for_signal(signal), &labels),
            rejected_requests: meter.counter(&REJECTED, &with_signal),
            unauthenticated_requests: meter.counter(&UNAUTHENTICATED, &with_signal),
            services: Services::default(),
            tee,
        }
    }

    /// Counts a request that was taken.
    pub fn accept(&self, items: u64) {
        self.accepted.add(items);
        self.accepted_requests.add(1);
    }

    /// Counts the items of a request that was refused before anybody read it: as many as one that
    /// was taken has on average, at least one. The Collector refuses later and knows.
    pub fn refuse_unread(&self) {
        let average = self.accepted.read() / self.accepted_requests.read().max(1);
        self.refused.add(average.max(1));
    }
}
