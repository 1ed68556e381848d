//! Who sent a request that was understood: the services that its resources name. Notes them in the
//! table of senders, and logs the first data of each, so that a user who sets up an application
//! sees that its data arrives.

use std::{sync::Arc, time::Instant};

use smallvec::SmallVec;

use crate::{
    component::{Caller, Compression, Encoding},
    otlp::{Payload, Signal, view},
    telemetry::{
        ReceiverStats, Refused,
        senders::{Named, Origin, Sender},
    },
};

/// Resources of a request that are looked at. Applications send one; a Collector in between may
/// send many.
const RESOURCES: usize = 8;

/// The services that a request is from.
pub(super) struct Seen {
    signal: Signal,
    items: u64,
    /// Each with the bytes of its resources.
    senders: SmallVec<[(Arc<Sender>, usize); 1]>,
}

/// Notes the services that a request is from. `benches/engine.rs` has its cost (`sender_known`).
pub(super) fn senders(
    stats: &ReceiverStats,
    caller: &Caller,
    (encoding, compression): (Encoding, Compression),
    payload: &Payload,
    now: Instant,
) -> Seen {
    let origin = Origin {
        receiver: &stats.id,
        caller,
        encoding: match encoding {
            Encoding::Protobuf => "proto",
            Encoding::Json => "json",
        },
        compression: match compression {
            Compression::Identity => "",
            other => other.name(),
        },
    };
    let (table, now) = (&stats.senders, tokio::time::Instant::from_std(now));
    stats.note_data(table.millis(now));
    let mut seen = Seen { signal: payload.signal, items: payload.items, senders: SmallVec::new() };
    let Some(bytes) = payload.body.first() else { return seen };
    // The entries of all signals have their resource in the same place.
    for entry in view::traces(bytes).take(RESOURCES) {
        let named = entry.resource.as_ref().map(Named::of).unwrap_or_default();
        let sender = table.of_data(&origin, &named, now);
        seen.add(sender, entry.size(), stats);
    }
    seen
}

impl Seen {
    fn add(&mut self, sender: Arc<Sender>, bytes: usize, stats: &ReceiverStats) {
        if let Some((_, known)) =
            self.senders.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &sender))
        {
            // Several instances of a service, gathered by a Collector.
            *known += bytes;
            return;
        }
        if sender.count_request(self.signal) {
            announce(stats, sender.service());
        }
        self.senders.push((sender, bytes));
    }

    pub(super) fn items(&self) -> u64 {
        self.items
    }

    /// Notes that the request was taken. If it is from several services, its items are shared out
    /// by the bytes of each: to count them would cost time for every item.
    pub(super) fn taken(&self, stats: &ReceiverStats) {
        debug_assert_eq!(self.signal, stats.signal);
        let all: u128 = self.senders.iter().map(|(_, bytes)| *bytes as u128).sum();
        let (mut before, mut given) = (0, 0);
        for (sender, bytes) in &self.senders {
            before += *bytes as u128;
            let share = u128::from(self.items) * before / all.max(1);
            let share = u64::try_from(share).unwrap_or(self.items);
            sender.count_taken(self.signal, share - given);
            given = share;
        }
    }

    /// Notes that the request was refused.
    pub(super) fn refused(&self, stats: &ReceiverStats, why: Refused, words: &str) {
        stats.count_refusal(why, words);
        for (sender, _) in &self.senders {
            sender.count_refused(words);
        }
    }
}

/// Logs the first data of a service, unless that was done for another sender with its name.
#[cold]
fn announce(stats: &ReceiverStats, service: &str) {
    if !stats.announces(service) {
        return;
    }
    let service = if service.is_empty() { "(without a service.name)" } else { service };
    tracing::info!(
        receiver = stats.id,
        protocol = stats.transport,
        service,
        "The first {} of a service have arrived",
        stats.signal
    );
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        common::v1::{AnyValue, KeyValue, any_value},
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use prost::Message as _;

    use super::*;
    use crate::telemetry::{Telemetry, senders::Sighting};

    fn text(key: &str, value: &str) -> KeyValue {
        let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
        KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
    }

    fn entry(service: &str, spans: usize) -> ResourceSpans {
        let attributes = vec![
            text("host.name", "a"),
            text("service.name", service),
            text("telemetry.sdk.language", "python"),
            text("service.name", "second"),
        ];
        let scope = ScopeSpans { spans: vec![Span::default(); spans], ..ScopeSpans::default() };
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }
    }

    fn payload(entries: Vec<ResourceSpans>) -> Payload {
        let items = entries.iter().map(|entry| entry.scope_spans[0].spans.len() as u64).sum();
        let body = ExportTraceServiceRequest { resource_spans: entries }.encode_to_vec();
        Payload::unpaid(Signal::Traces, body.into(), items)
    }

    fn note(stats: &ReceiverStats, payload: &Payload) -> Seen {
        let form = (Encoding::Protobuf, Compression::Gzip);
        senders(stats, &Caller::default(), form, payload, Instant::now())
    }

    fn found(telemetry: &Telemetry, service: &str) -> Sighting {
        let mut all = telemetry.senders.sightings(tokio::time::Instant::now());
        all.retain(|one| one.who.service.as_deref() == Some(service));
        assert_eq!(all.len(), 1, "{service}");
        all.remove(0)
    }

    #[test]
    fn the_services_of_a_request_share_its_items() {
        let telemetry = Telemetry::default();
        let stats = telemetry.receiver("otlp", Signal::Traces, "grpc");
        let request = payload(vec![entry("shop", 30), entry("cart", 10), entry("shop", 0)]);
        note(&stats, &request).taken(&stats);
        let (shop, cart) = (found(&telemetry, "shop"), found(&telemetry, "cart"));
        assert_eq!((shop.total.requests, cart.total.requests), (1, 1));
        assert_eq!(shop.total.items() + cart.total.items(), 40);
        assert!(shop.total.items() > cart.total.items());
        assert_eq!(
            (&*shop.who.language, shop.who.encoding, shop.who.compression),
            ("python", "proto", "gzip")
        );
        assert!(stats.last_data().is_some());
        note(&stats, &payload(vec![entry("shop", 7)])).taken(&stats);
        assert_eq!(found(&telemetry, "shop").total.requests, 2);
    }

    #[test]
    fn a_refused_request_has_its_reason() {
        let telemetry = Telemetry::default();
        let stats = telemetry.receiver("otlp", Signal::Traces, "grpc");
        let request = payload(vec![entry("shop", 30)]);
        note(&stats, &request).refused(&stats, Refused::NoRoom, "the queue is full");
        let shop = found(&telemetry, "shop");
        assert_eq!((shop.total.requests, shop.total.refused, shop.total.items()), (1, 1, 0));
        assert_eq!(shop.refusal.unwrap().words, "the queue is full");
        assert_eq!(stats.counts().refused(Refused::NoRoom), 1);
    }

    #[test]
    fn a_request_without_a_resource_has_a_sender_without_a_name() {
        let telemetry = Telemetry::default();
        let stats = telemetry.receiver("otlp", Signal::Traces, "grpc");
        let request = payload(vec![ResourceSpans { resource: None, ..entry("", 3) }]);
        note(&stats, &request).taken(&stats);
        assert_eq!(found(&telemetry, "").total.items(), 3);
        let many = (0..50).map(|number| entry(&format!("s{number}"), 1)).collect();
        note(&stats, &payload(many)).taken(&stats);
        let all = telemetry.senders.sightings(tokio::time::Instant::now());
        assert_eq!(all.len(), 1 + RESOURCES, "the others are not looked at");
    }
}
