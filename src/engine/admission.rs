//! What happens to a body at the door: inflate, transcode JSON, check, count. Runs on a worker.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{door::cost, journal::Journal};
use crate::{
    component::{Arrival, Compression, Encoding, Rejection},
    net::codec::{self, Funds, InflateError},
    otlp::{
        Payload, Signal, check, json,
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

/// Turns an arrival into a payload whose bytes are valid, or says what is wrong with them. What a
/// body grows to is paid for before it is there, and what that takes beside it as long as it takes.
pub fn admit(arrival: Arrival) -> Result<Payload, Rejection> {
    let mut permits: SmallVec<[Permit; 1]> = SmallVec::new();
    let account = arrival.permit.clone();
    let body = match arrival.compression {
        Compression::Identity => {
            permits.push(arrival.permit);
            arrival.body
        }
        compression => {
            let mut growth = Growth { account: &account, permits: &mut permits, borrowed: None };
            codec::inflate(compression, &arrival.body, arrival.max_inflated, &mut growth)
                .map_err(|error| not_inflated(error, arrival.max_inflated))?
        }
    };
    if body.len() > arrival.max_inflated {
        return Err(Rejection::TooLarge { limit: arrival.max_inflated });
    }
    let body = match arrival.encoding {
        Encoding::Protobuf => body,
        Encoding::Json => {
            transcode(arrival.signal, &body, arrival.max_inflated, &account, &mut permits)?
        }
    };
    drop(account);
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

/// Pays for a body while it is inflated.
struct Growth<'a> {
    account: &'a Permit,
    permits: &'a mut SmallVec<[Permit; 1]>,
    borrowed: Option<Permit>,
}

impl Funds for Growth<'_> {
    fn grow(&mut self, bytes: usize) -> bool {
        let more = self.account.try_more(cost(bytes) as u64);
        more.map(|permit| self.permits.push(permit)).is_some()
    }

    fn borrow(&mut self, bytes: usize) -> bool {
        self.borrowed = None;
        self.borrowed = self.account.try_more(cost(bytes) as u64);
        self.borrowed.is_some()
    }
}

/// JSON as protobuf, which has fewer bytes as a rule and then goes by what was paid for the text.
/// Lists of short numbers have up to four times as many; those are read again for another permit.
fn transcode(
    signal: Signal,
    json: &Bytes,
    max: usize,
    account: &Permit,
    permits: &mut SmallVec<[Permit; 1]>,
) -> Result<Bytes, Rejection> {
    let over_budget = || Rejection::Unavailable(Reason::OverBudget, None);
    let mut most = json.len();
    loop {
        let paid = account.try_more(most as u64).ok_or_else(over_budget)?;
        let read = json::to_protobuf_within(signal, json, json::DEPTH_LIMIT, most)
            .map_err(|error| Rejection::Malformed(error.to_string()))?;
        match read {
            Some(bytes) => {
                if most > json.len() {
                    permits.push(paid);
                }
                return Ok(bytes.into());
            }
            None if most >= max || most > json.len() => {
                return Err(Rejection::TooLarge { limit: max });
            }
            None => most = (4 * json.len()).min(max),
        }
    }
}

fn not_inflated(error: InflateError, limit: usize) -> Rejection {
    match error {
        InflateError::TooLarge => Rejection::TooLarge { limit },
        InflateError::OverBudget => Rejection::Unavailable(Reason::OverBudget, None),
        other => Rejection::Malformed(other.to_string()),
    }
}
