//! Editing attributes, for all processors that do: the actions of a configuration, the editor of
//! bytes that carries them out, and what an edited payload may cost.

pub mod action;
pub(super) mod edit;
#[cfg(test)]
pub(super) mod oracle;
pub mod value;
pub(super) mod walking;

use crate::{
    component::Output,
    otlp::{
        Payload,
        payload::{Permit, Reason},
        purse::Purse,
    },
};

/// Largest copy that is made even if the budget has no room for it. Each worker makes one at a
/// time.
const ALWAYS: usize = 1 << 20;

/// The purse for an edited copy of a payload. The copy replaces the original, so it may be up to
/// twice as large, within a limit, even if the budget is exhausted: a small edit should not fail
/// for lack of room. Larger growth must find free bytes. Otherwise a sender could turn a megabyte
/// of empty items into any amount of memory.
pub(super) fn purse_for(payload: &Payload) -> Purse {
    let credit = payload.len().saturating_mul(9) / 4 + (8 << 10);
    let is_shared = payload.permits.iter().any(Permit::is_shared);
    let credit = if is_shared || credit > ALWAYS { 0 } else { credit };
    Purse::new(payload.permits.first(), credit)
}

/// Edits each segment of a payload. The payload may grow by `growth` bytes; `edit` gets a segment,
/// its share of the growth, and the purse that pays for it. Returns whether the payload was
/// emitted; if `edit` fails, it is refused.
pub(super) fn edit_segments(
    mut payload: Payload,
    growth: usize,
    out: &mut Output,
    mut edit: impl FnMut(&[u8], usize, &mut Purse) -> Result<Option<Vec<u8>>, Reason>,
) -> bool {
    let total = payload.len();
    let mut purse = purse_for(&payload);
    let mut body = payload.body.clone();
    let mut changed = 0;
    for segment in &mut body {
        let share = growth.saturating_mul(segment.len()) / total.max(1);
        let new = match edit(segment, share, &mut purse) {
            Ok(new) => new,
            Err(reason) => {
                out.refuse(payload, reason);
                return false;
            }
        };
        if let Some(mut new) = new {
            if new.capacity() > new.len() + new.len() / 4 + 4096 {
                new.shrink_to_fit();
            }
            *segment = new.into();
            changed += 1;
        }
    }
    if changed > 0 {
        let is_whole = changed == body.len();
        payload.exchange_body(body, purse.into_permits(), is_whole);
    }
    out.emit(payload);
    true
}
