//! Payloads that connectors make of others, and how their bytes are paid for.

use bytes::Bytes;

use crate::otlp::{
    Payload, Signal,
    payload::{Permit, Reason},
    purse::Purse,
};

/// Most bytes that are made of one request even if the budget is exhausted: a few counts should not
/// fail for lack of room.
const ALWAYS: usize = 1 << 20;

/// The purse for what is made of a payload.
pub(super) fn purse_for(payload: &Payload) -> Purse {
    Purse::new(payload.permits.first(), payload.len().min(ALWAYS))
}

/// A permit of no bytes that draws on the same budget as a payload, to pay for what is kept.
pub(super) fn account_of(payload: &Payload) -> Option<Permit> {
    payload.permits.first().and_then(|permit| permit.try_more(0))
}

/// Makes room for `size` more bytes and pays for it. A buffer doubles, and is copied then.
pub(super) fn reserve(out: &mut Vec<u8>, size: usize, purse: &mut Purse) -> Result<(), Reason> {
    if out.capacity() - out.len() < size {
        let more = size.max(out.capacity());
        purse.pay(more + out.capacity())?;
        out.reserve_exact(more);
    }
    Ok(())
}

/// A payload that was made of another one and shares its receipts.
pub(super) fn made_of(
    payload: &Payload,
    signal: Signal,
    body: Vec<u8>,
    items: u64,
    purse: Purse,
) -> Payload {
    let mut made = payload.split_off([Bytes::from(body)].into(), items);
    made.signal = signal;
    made.permits = purse.into_permits();
    made
}
