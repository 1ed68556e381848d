//! What happens to a body at the door: inflate, transcode JSON, check, count. Runs on a worker.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::journal::Journal;
use crate::{
    component::{Arrival, Compression, Encoding, Rejection},
    net::codec::{self, InflateError},
    otlp::{
        Payload, check, json,
        payload::{Permit, Reason},
    },
    telemetry::{EdgeStats, ReceiverStats},
};

/// Where the payloads of one receiver and signal go.
pub struct Route {
    /// Index of each pipeline with the traffic into its first processor; where it has none, the
    /// traffic is counted at its exporters.
    pub pipelines: Vec<(usize, Option<Arc<EdgeStats>>)>,
    /// Counters of the receiver for this signal and transport.
    pub stats: Arc<ReceiverStats>,
    /// Where requests are written down before they are answered.
    pub journal: Option<Arc<Journal>>,
}

/// Turns an arrival into a payload whose bytes are valid, or says what is wrong with them.
pub fn admit(arrival: Arrival) -> Result<Payload, Rejection> {
    let mut permits: SmallVec<[Permit; 1]> = SmallVec::new();
    let body = match arrival.compression {
        Compression::Identity => {
            permits.push(arrival.permit);
            arrival.body
        }
        compression => {
            let compressed = arrival.permit;
            let mut grow = |bytes: usize| {
                let more = compressed.try_more(bytes as u64);
                more.is_some_and(|permit| {
                    permits.push(permit);
                    true
                })
            };
            codec::inflate(compression, &arrival.body, arrival.max_inflated, &mut grow)
                .map_err(|error| not_inflated(error, arrival.max_inflated))?
        }
    };
    if body.len() > arrival.max_inflated {
        return Err(Rejection::TooLarge { limit: arrival.max_inflated });
    }
    let body = match arrival.encoding {
        Encoding::Protobuf => body,
        Encoding::Json => {
            let bytes = json::to_protobuf(arrival.signal, &body, json::DEPTH_LIMIT)
                .map_err(|error| Rejection::Malformed(error.to_string()))?;
            Bytes::from(bytes)
        }
    };
    let checked = check::check(arrival.signal, &body, arrival.utf8)
        .map_err(|error| Rejection::Malformed(error.to_string()))?;
    Ok(Payload {
        signal: arrival.signal,
        body: smallvec::smallvec![body],
        items: checked.items,
        permits,
        receipts: SmallVec::new(),
        context: arrival.context,
    })
}

fn not_inflated(error: InflateError, limit: usize) -> Rejection {
    match error {
        InflateError::TooLarge => Rejection::TooLarge { limit },
        InflateError::OverBudget => Rejection::Unavailable(Reason::OverBudget, None),
        other => Rejection::Malformed(other.to_string()),
    }
}
