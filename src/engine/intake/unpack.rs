//! Unpacks an arrival on a worker: inflates it, transcodes JSON, checks it and counts its items.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    component::{Arrival, Compression, Encoding, Rejection},
    engine::budget::{cost, too_large},
    net::codec::{self, Funds, InflateError},
    otlp::{
        Payload, Signal, check, json,
        payload::{Permit, Reason},
    },
};

/// Turns an arrival into a payload whose bytes are valid, or says what is wrong with them. Growth
/// of the body is paid for before it is allocated, and so is working memory for as long as it is
/// held.
///
/// If more than `ceiling` bytes are in use, the first processor would refuse the payload, so it is
/// refused before the work. Without this, four times the sustainable load left 55 to 78 % of the
/// throughput, because requests were inflated in vain.
pub(super) fn unpack(arrival: Arrival, ceiling: Option<u64>) -> Result<Payload, Rejection> {
    let mut permits: SmallVec<[Permit; 1]> = SmallVec::new();
    let account = Account { permit: arrival.permit.clone(), ceiling };
    if let Some(context) = &arrival.context {
        // Headers stay with the payload, in queues too.
        let bytes = context.size() as u64;
        permits.push(account.try_more(bytes).ok_or_else(|| account.refusal(bytes))?);
    }
    let body = match arrival.compression {
        Compression::Identity => {
            permits.push(arrival.permit);
            arrival.body
        }
        compression => {
            let mut growth =
                Growth { account: &account, permits: &mut permits, borrowed: None, asked: 0 };
            codec::inflate(compression, &arrival.body, arrival.max_inflated, &mut growth)
                .map_err(|error| not_inflated(error, arrival.max_inflated, &growth))?
        }
    };
    if body.len() > arrival.max_inflated {
        return Err(Rejection::TooLarge { limit: arrival.max_inflated });
    }
    let body = match arrival.encoding {
        Encoding::Protobuf => body,
        Encoding::Json => {
            transcode(arrival.signal, body, arrival.max_inflated, &account, &mut permits)?
        }
    };
    drop(account);
    let checked = check::check(arrival.signal, &body, arrival.utf8)
        .map_err(|error| Rejection::Malformed(format!("{error}{}", looks_like_json(&body))))?;
    let mut payload = Payload::new(arrival.signal, body, checked.items, permits);
    payload.context = arrival.context;
    Ok(payload)
}

/// A hint for the sender of a malformed protobuf body.
fn looks_like_json(body: &[u8]) -> &'static str {
    match body.trim_ascii_start().first() {
        Some(b'{') => "; the body looks like JSON: send `Content-Type: application/json`",
        _ => "",
    }
}

/// Pays for the growth of a body.
struct Account {
    permit: Permit,
    /// See [`unpack`].
    ceiling: Option<u64>,
}

impl Account {
    fn try_more(&self, bytes: u64) -> Option<Permit> {
        match self.ceiling {
            Some(ceiling) => self.permit.try_more_below(ceiling, bytes),
            None => self.permit.try_more(bytes),
        }
    }

    /// Why so many bytes were refused.
    fn refusal(&self, bytes: u64) -> Rejection {
        match self.ceiling {
            Some(ceiling) if bytes > ceiling => too_large(ceiling),
            Some(_) => Rejection::Unavailable(Reason::Limited, None),
            None => Rejection::Unavailable(Reason::OverBudget, None),
        }
    }
}

/// Pays for a body while it is inflated.
struct Growth<'a> {
    account: &'a Account,
    permits: &'a mut SmallVec<[Permit; 1]>,
    borrowed: Option<Permit>,
    /// Bytes requested so far.
    asked: u64,
}

impl Funds for Growth<'_> {
    fn grow(&mut self, bytes: usize) -> bool {
        let cost = cost(bytes) as u64;
        self.asked += cost;
        let more = self.account.try_more(cost);
        more.map(|permit| self.permits.push(permit)).is_some()
    }

    fn borrow(&mut self, bytes: usize) -> bool {
        self.borrowed = None;
        self.borrowed = self.account.try_more(cost(bytes) as u64);
        self.borrowed.is_some()
    }
}

/// Turns JSON into protobuf. The result is usually shorter, and the permit for the text pays for
/// it. Lists of short numbers become up to four times as long; those are read again with another
/// permit.
fn transcode(
    signal: Signal,
    json: Bytes,
    max: usize,
    account: &Account,
    permits: &mut SmallVec<[Permit; 1]>,
) -> Result<Bytes, Rejection> {
    let pay = |bytes: usize| {
        let bytes = bytes as u64;
        account.try_more(bytes).ok_or_else(|| account.refusal(bytes))
    };
    let scratch = json::most_scratch(&json);
    let _scratch = if scratch > 0 { Some(pay(scratch)?) } else { None };
    let mut most = json.len();
    loop {
        let paid = pay(json::most_for(most))?;
        let read = json::to_protobuf_within(signal, &json, json::DEPTH_LIMIT, most)
            .map_err(|error| Rejection::Malformed(error.to_string()))?;
        match read {
            Some(bytes) => {
                // The bytes take over the permit of the text, so the text must be gone.
                let has_own = most > json.len();
                drop(json);
                if has_own {
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

fn not_inflated(error: InflateError, limit: usize, growth: &Growth<'_>) -> Rejection {
    match error {
        InflateError::TooLarge => Rejection::TooLarge { limit },
        InflateError::OverBudget => growth.account.refusal(growth.asked),
        other => Rejection::Malformed(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
