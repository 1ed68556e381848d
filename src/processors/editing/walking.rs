//! Walks of OTTL through all segments of a payload, which gets the new bytes and pays for them.

use crate::{
    otlp::{
        Payload,
        payload::{Body, Reason},
        purse::Purse,
        split,
    },
    ottl::{Changed, Context, Item, Stop, Visit, Walk, walk_with},
};

/// What a pass left of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::processors) enum Left {
    /// All of it, the same bytes.
    Same,
    /// Other bytes. The number of its items is not up to date.
    Changed,
    Nothing,
}

/// A pass through a payload.
#[derive(Debug, Clone, Copy)]
pub(in crate::processors) struct Pass {
    pub(in crate::processors) context: Context,
    /// Whether containers go that were empty from the start.
    pub(in crate::processors) prunes: bool,
}

/// Shows every item of a payload to `visit`. On an error the payload stays as it is.
pub(in crate::processors) fn pass(
    pass: Pass,
    payload: &mut Payload,
    visit: Visit<'_>,
) -> Result<Left, Stop> {
    pass_sharing(pass, payload, None, visit)
}

/// The same with one cache for all items, which is kept for other passes.
pub(in crate::processors) fn pass_sharing(
    Pass { context, prunes }: Pass,
    payload: &mut Payload,
    mut cache: Option<&mut Vec<u8>>,
    visit: Visit<'_>,
) -> Result<Left, Stop> {
    let mut purse = Purse::for_copy_of(payload);
    let request = payload.context.clone();
    let how = Walk { signal: payload.signal, context, request: request.as_deref(), prunes };
    let (mut body, mut changed) = (Body::new(), 0);
    for segment in &payload.body {
        let mut item = Item::new(how.request);
        if let Some(cache) = &mut cache {
            item.share_cache();
            item.set_cache(std::mem::take(cache));
        }
        let result = walk_with(&how, &mut item, segment, &mut purse, visit)?;
        if let Some(cache) = &mut cache {
            **cache = item.cache();
        }
        changed += usize::from(result != Changed::Nothing);
        match result {
            Changed::Nothing => body.push(segment.clone()),
            Changed::Empty => {}
            Changed::Body(mut new) => {
                if new.capacity() > new.len() + new.len() / 4 + 4096 {
                    new.shrink_to_fit();
                }
                body.push(new.into());
            }
        }
    }
    if changed == 0 {
        return Ok(Left::Same);
    }
    let is_whole = changed == payload.body.len();
    let is_empty = body.is_empty();
    payload.exchange_body(body, purse.into_permits(), is_whole);
    Ok(if is_empty { Left::Nothing } else { Left::Changed })
}

/// Why a payload is refused after a walk that stopped.
pub(in crate::processors) fn reason(stop: &Stop) -> Reason {
    match stop {
        Stop::Fault(_) => Reason::StatementFailed,
        Stop::Refused(reason) => *reason,
    }
}

/// Items of all segments.
pub(in crate::processors) fn count(payload: &Payload) -> u64 {
    payload.body.iter().map(|segment| split::count_items(payload.signal, segment)).sum()
}
