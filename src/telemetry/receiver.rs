//! What the engine and receivers count about what comes in, for each receiver, signal and
//! transport.

use std::sync::{Arc, Mutex};

use super::{
    metric::{Counter, Desc},
    number::Number,
    registry::Meter,
    senders::{Caller, Senders},
};
use crate::{
    otlp::{Signal, tee::Tee},
    sync::lock,
};

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

/// Most services whose first data is announced: a longer list does not help in the log.
const ANNOUNCED: usize = 50;

/// Why a request was refused, by who can change that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The sender: the request is not what the receiver takes, or is too large.
    Wrong,
    /// The sender: its credentials are missing or wrong.
    Denied,
    /// Time: there is no room in memory, in a queue or on disk, or skep ends.
    NoRoom,
    /// The pipeline refused it for good.
    Failed,
}

impl Refused {
    /// All of them, in the order of their numbers.
    pub const ALL: [Refused; 4] =
        [Refused::Wrong, Refused::Denied, Refused::NoRoom, Refused::Failed];
}

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
    /// Requests that were refused, indexed by `Refused as usize`.
    refusals: [Number; Refused::ALL.len()],
    /// The last reason of each, in words.
    reasons: Mutex<[String; Refused::ALL.len()]>,
    /// When the last request came that was understood, in milliseconds since the start of the
    /// process; 0: none has come.
    last_data: Number,
    /// Names of services whose first data was announced.
    announced: Mutex<Vec<String>>,
    /// Who sends.
    pub senders: Arc<Senders>,
    /// Shows what was taken to a second reader, if there is one.
    pub tee: Arc<Tee>,
}

/// What a receiver has counted until a moment, or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Items taken.
    pub accepted: u64,
    /// Requests that they came in.
    pub requests: u64,
    /// Requests refused, indexed by `Refused as usize`.
    pub refusals: [u64; Refused::ALL.len()],
}

impl ReceiverStats {
    pub(super) fn new(
        meter: &Meter,
        senders: &Arc<Senders>,
        id: &str,
        (signal, transport, tee): (Signal, &'static str, Arc<Tee>),
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
            refusals: Default::default(),
            reasons: Mutex::default(),
            last_data: Number::default(),
            announced: Mutex::default(),
            senders: Arc::clone(senders),
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

    /// Counts a request that was turned away before it was known whose data it has, with the reason
    /// in words.
    pub fn turn_away(&self, caller: &Caller, why: Refused, words: &str) {
        self.rejected_requests.add(1);
        self.count_refusal(why, words);
        self.senders.turned_away(&self.id, caller, words);
    }

    /// Counts a request that was understood and then refused.
    pub fn count_refusal(&self, why: Refused, words: &str) {
        self.refusals[why as usize].add(1);
        let reason = &mut lock(&self.reasons)[why as usize];
        if reason != words {
            words.clone_into(reason);
        }
    }

    /// The last reason for refusing a request; empty if none was refused.
    pub fn reason(&self, why: Refused) -> String {
        lock(&self.reasons)[why as usize].clone()
    }

    /// Notes that a request came that was understood, in milliseconds since the start.
    pub fn note_data(&self, millis: u64) {
        self.last_data.set(millis.max(1));
    }

    /// When the last request came that was understood, in milliseconds since the start; `None`
    /// if none has come.
    pub fn last_data(&self) -> Option<u64> {
        Some(self.last_data.read()).filter(|millis| *millis > 0)
    }

    /// Whether the first data of a service is to be announced now. Only true for 50 services.
    pub fn announces(&self, service: &str) -> bool {
        let mut announced = lock(&self.announced);
        if announced.len() >= ANNOUNCED || announced.iter().any(|known| known == service) {
            return false;
        }
        announced.push(service.to_owned());
        true
    }

    /// What is counted until now.
    pub fn counts(&self) -> ReceiverCounts {
        ReceiverCounts {
            accepted: self.accepted.read(),
            requests: self.accepted_requests.read(),
            refusals: std::array::from_fn(|i| self.refusals[i].read()),
        }
    }
}

impl ReceiverCounts {
    /// What was counted after `then`.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        ReceiverCounts {
            accepted: self.accepted.saturating_sub(then.accepted),
            requests: self.requests.saturating_sub(then.requests),
            refusals: std::array::from_fn(|i| self.refusals[i].saturating_sub(then.refusals[i])),
        }
    }

    /// Requests that were taken or refused.
    pub fn all_requests(&self) -> u64 {
        self.requests + self.refusals.iter().sum::<u64>()
    }

    /// Requests that were refused for this reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refusals[why as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;

    #[test]
    fn each_service_is_announced_once_and_many_services_end() {
        let stats = Telemetry::default().receiver("otlp", Signal::Traces, "grpc");
        assert!(stats.announces("shop"));
        assert!(!stats.announces("shop"));
        assert!(stats.announces("") && !stats.announces(""));
        let new = (0..1000).filter(|i: &u32| stats.announces(&i.to_string())).count();
        assert_eq!(new, ANNOUNCED - 2);
        assert!(!stats.announces("shop"));
    }

    #[test]
    fn requests_that_are_turned_away_are_counted_by_reason_and_sender() {
        let telemetry = Telemetry::default();
        let stats = telemetry.receiver("otlp", Signal::Traces, "http");
        let before = stats.counts();
        stats.turn_away(&Caller::default(), Refused::Wrong, "no protobuf");
        stats.turn_away(&Caller::default(), Refused::Wrong, "too large");
        stats.count_refusal(Refused::NoRoom, "the queue is full");
        let counts = stats.counts().since(&before);
        assert_eq!(counts.refusals, [2, 0, 1, 0]);
        assert_eq!(stats.reason(Refused::Wrong), "too large");
        assert_eq!((stats.reason(Refused::Denied), stats.last_data()), (String::new(), None));
        assert_eq!(stats.rejected_requests.read(), 2, "the engine counts the others");
        let seen = telemetry.senders.sightings(tokio::time::Instant::now());
        assert_eq!(seen[0].total.refused, 2);
    }
}
