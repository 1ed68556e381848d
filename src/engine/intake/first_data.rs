//! Logs the first data of each service, so that a user who sets up an application sees that its
//! data arrives.

use crate::{
    otlp::{
        Payload,
        view::{self, Text, Value},
    },
    telemetry::ReceiverStats,
};

/// Resources of a request that are checked. Applications send one; a Collector in between may send
/// many.
const RESOURCES: usize = 8;

/// Logs services whose data is new to this receiver, signal and protocol. A request of one known
/// service costs 60 ns.
pub(super) fn announce(stats: &ReceiverStats, payload: &Payload) {
    let Some(bytes) = payload.body.first() else { return };
    // The entries of all signals have their resource in the same place.
    for entry in view::traces(bytes).take(RESOURCES) {
        let mut attributes = entry.resource.iter().flat_map(view::Resource::attributes);
        let name = attributes.find(|attribute| attribute.key == "service.name");
        let name = match name.and_then(|attribute| attribute.value) {
            Some(Value::String(Text(name))) => name,
            _ => &[],
        };
        if stats.services.is_new(name) {
            let service = String::from_utf8_lossy(&name[..name.len().min(200)]);
            let service = if name.is_empty() { "(without a service.name)" } else { &*service };
            tracing::info!(
                receiver = stats.id,
                protocol = stats.transport,
                service,
                "The first {} of a service have arrived",
                stats.signal
            );
        }
    }
}
