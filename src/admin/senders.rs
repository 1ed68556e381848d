//! `WatchSenders`: who sends, with a mark on names that are probably mistakes.

use std::time::SystemTime;

use tokio::time::Instant;

use super::proto::{Sender, SenderCounts, WatchSendersResponse};
use crate::{
    otlp::Signal,
    telemetry::{
        Telemetry,
        senders::{Sighting, Tally, is_unnamed, nearest},
        words::{millis, unix_millis},
    },
};

/// Names that each name is compared with: those that send most.
const COMPARED: usize = 100;

/// One message of `WatchSenders`.
pub(crate) fn seen(telemetry: &Telemetry, now: SystemTime) -> WatchSendersResponse {
    let all = telemetry.senders.sightings(Instant::now());
    let names = names(&all);
    WatchSendersResponse {
        read_at_unix_ms: unix_millis(now),
        senders: all.iter().map(|one| message_of(one, &names)).collect(),
        forgotten: telemetry.senders.forgotten(),
    }
}

/// The names of services with the items of each, the one with the most items first.
fn names(all: &[Sighting]) -> Vec<(&str, u64)> {
    let mut names: Vec<(&str, u64)> = Vec::new();
    for one in all {
        let Some(service) = one.who.service.as_deref() else { continue };
        match names.iter_mut().find(|(name, _)| *name == service) {
            Some((_, items)) => *items += one.total.items(),
            None => names.push((service, one.total.items())),
        }
    }
    names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    names.truncate(COMPARED);
    names
}

/// The name that a service may be meant to have: one with more items, or as many.
fn near<'a>(service: &str, names: &[(&'a str, u64)]) -> Option<&'a str> {
    let before = names.iter().take_while(|(name, _)| *name != service);
    nearest(service, before.map(|(name, _)| *name))
}

fn message_of(one: &Sighting, names: &[(&str, u64)]) -> Sender {
    let who = &one.who;
    let service = who.service.as_deref();
    Sender {
        unnamed: service.is_some_and(is_unnamed),
        near: service.and_then(|name| near(name, names)).unwrap_or_default().to_owned(),
        service: who.service.clone(),
        agent: who.agent.clone(),
        receiver: who.receiver.clone(),
        transport: who.transport.to_owned(),
        peer: who.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        sdk_name: who.sdk.clone(),
        sdk_language: who.language.clone(),
        sdk_version: who.version.clone(),
        encoding: who.encoding.to_owned(),
        compression: who.compression.to_owned(),
        last_age_ms: millis(one.last_age),
        total: Some(counts(&one.total)),
        recent: Some(counts(&one.recent)),
        recent_span_ms: millis(one.span),
        refusal: one.refusal.as_ref().map(|one| one.words.clone()).unwrap_or_default(),
        refusal_age_ms: one.refusal.as_ref().map(|one| millis(one.age)),
    }
}

fn counts(tally: &Tally) -> SenderCounts {
    let of = |signal: Signal| tally.taken[signal.index()];
    SenderCounts {
        requests: tally.requests,
        refused: tally.refused,
        spans: of(Signal::Traces),
        data_points: of(Signal::Metrics),
        log_records: of(Signal::Logs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::senders::{Caller, Named, Origin};

    #[test]
    fn names_that_are_probably_mistakes_are_marked() {
        let telemetry = Telemetry::default();
        let caller = Caller { transport: "grpc", ..Caller::default() };
        let origin =
            Origin { receiver: "otlp", caller: &caller, encoding: "proto", compression: "gzip" };
        for (service, items) in
            [("backend-flask", 500), ("bakend-flask", 7), ("unknown_service", 1)]
        {
            let named = Named { service: service.as_bytes(), ..Named::default() };
            let sender = telemetry.senders.of_data(&origin, &named, Instant::now());
            sender.count_request(Signal::Traces);
            sender.count_taken(Signal::Traces, items);
        }
        telemetry.senders.turned_away("otlp", &caller, "a reason; a remedy");
        let message = seen(&telemetry, SystemTime::UNIX_EPOCH);
        let of = |service: Option<&str>| {
            let mut all = message.senders.iter();
            all.find(|one| one.service.as_deref() == service).unwrap()
        };
        assert_eq!(of(Some("bakend-flask")).near, "backend-flask");
        assert_eq!(of(Some("backend-flask")).near, "", "the one with more items is right");
        assert!(of(Some("unknown_service")).unnamed && !of(Some("backend-flask")).unnamed);
        assert_eq!(of(Some("backend-flask")).total.unwrap().spans, 500);
        let stranger = of(None);
        assert_eq!((&*stranger.refusal, stranger.refusal_age_ms), ("a reason; a remedy", Some(0)));
        assert!(!stranger.unnamed);
        assert_eq!(message.senders.len(), 4);
    }
}
