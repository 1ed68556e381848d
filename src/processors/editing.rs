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
    otlp::{Payload, payload::Reason, purse::Purse},
};

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
    let result = edited(&mut payload, |segment, purse| {
        let share = growth.saturating_mul(segment.len()) / total.max(1);
        edit(segment, share, purse)
    });
    match result {
        Ok(_) => out.emit(payload),
        Err(reason) => out.refuse(payload, reason),
    }
    result.is_ok()
}

/// Edits each segment of a payload in place and pays for it. Returns whether something changed; if
/// `edit` fails, the payload stays as it is.
pub(super) fn edited(
    payload: &mut Payload,
    mut edit: impl FnMut(&[u8], &mut Purse) -> Result<Option<Vec<u8>>, Reason>,
) -> Result<bool, Reason> {
    let mut purse = Purse::for_copy_of(payload);
    let mut body = payload.body.clone();
    let mut changed = 0;
    for segment in &mut body {
        if let Some(mut new) = edit(segment, &mut purse)? {
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
    Ok(changed > 0)
}
