//! What happens to a body at the door: inflate, transcode JSON, check, count. Runs on a worker.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::{
    component::{Arrival, Compression, Encoding, Rejection},
    net::codec::{self, InflateError},
    otlp::{
        Payload,
        check::{self, Utf8},
        json,
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
}

/// Turns an arrival into a payload whose bytes are valid, or says what is wrong with them.
pub fn admit(arrival: Arrival) -> Result<Payload, Rejection> {
    let mut permits: SmallVec<[Permit; 1]> = SmallVec::new();
    let body = match arrival.compression {
        Compression::Identity => {
            permits.push(arrival.permit);
            join(arrival.body, arrival.transport)
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
            let (whole, _paid) = contiguous(arrival.body, &compressed)?;
            codec::inflate(compression, &whole, arrival.max_inflated, &mut grow)
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
    let checked = check::check(arrival.signal, &body, Utf8::Strict)
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

/// One contiguous body. A gRPC message in one DATA frame is taken as it is. An HTTP body is a
/// slice of the connection's read buffer, which may be several times as large and would be held
/// as long as the body, unpaid: at overload the process used half as much again as its budget. So
/// it is copied.
fn join(mut pieces: SmallVec<[Bytes; 4]>, transport: &str) -> Bytes {
    if pieces.len() == 1 && transport != "http" {
        return pieces.swap_remove(0);
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

/// A compressed body in one piece. Its copy, where it needs one, is paid for as long as it is read;
/// the permit of the body covers the pieces only.
fn contiguous(
    mut pieces: SmallVec<[Bytes; 4]>,
    permit: &Permit,
) -> Result<(Bytes, Option<Permit>), Rejection> {
    if pieces.len() == 1 {
        return Ok((pieces.swap_remove(0), None));
    }
    let len: usize = pieces.iter().map(Bytes::len).sum();
    let paid = permit.try_more(len as u64);
    let paid = paid.ok_or(Rejection::Unavailable(Reason::OverBudget, None))?;
    Ok((pieces.concat().into(), Some(paid)))
}

fn not_inflated(error: InflateError, limit: usize) -> Rejection {
    match error {
        InflateError::TooLarge => Rejection::TooLarge { limit },
        InflateError::OverBudget => Rejection::Unavailable(Reason::OverBudget, None),
        other => Rejection::Malformed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::{engine::budget::Budget, telemetry::Telemetry};

    #[test]
    fn the_copy_of_a_compressed_body_is_paid_for_while_it_is_there() {
        let budget = Budget::new(16 * 1024, Arc::new(Telemetry::default()));
        let permit = budget.try_acquire(8 * 1024).unwrap();
        let half = || Bytes::from(vec![7; 4 * 1024]);
        let (whole, paid) = contiguous(smallvec![half(), half()], &permit).unwrap();
        assert_eq!((whole.len(), budget.used()), (8 * 1024, 16 * 1024));
        let refusal = contiguous(smallvec![half(), half()], &permit).unwrap_err();
        assert_eq!(refusal, Rejection::Unavailable(Reason::OverBudget, None));
        drop(paid);
        assert_eq!(budget.used(), 8 * 1024);
        let (_, paid) = contiguous(smallvec![half()], &permit).unwrap();
        assert!(paid.is_none() && budget.used() == 8 * 1024);
    }
}
