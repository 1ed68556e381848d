//! Removes spans and log records from a request. The others are copied verbatim; a resource or
//! scope entry that has lost all its items is removed, too.

use super::{
    payload::Reason,
    purse::Purse,
    splice::{Splicer, messages},
};

/// What is left of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// All of its items, so many.
    All(u64),
    /// None of them.
    Nothing,
    /// Some.
    Some {
        /// A request of those.
        body: Vec<u8>,
        /// Their number.
        items: u64,
    },
}

/// How many items stay in a scope entry, or in a resource entry.
#[derive(Debug, Clone, Copy, Default)]
struct Stays {
    kept: usize,
    of: usize,
}

/// Asks `keeps` for each span or log record, in order. `purse` pays for the memory of that and for
/// the copy.
pub fn retain_items(
    body: &[u8],
    purse: &mut Purse,
    mut keeps: impl FnMut(&[u8]) -> bool,
) -> Result<Left, Reason> {
    // Whether an entry stays is known only after its last item, so all items are checked first.
    let mut verdicts: Vec<bool> = Vec::new();
    let mut scopes: Vec<Stays> = Vec::new();
    let mut all = Stays::default();
    for scope in messages(body, &[1]).flat_map(|entry| messages(entry.bytes(), &[2])) {
        let mut stays = Stays::default();
        for item in messages(scope.bytes(), &[2]) {
            let is_kept = keeps(item.bytes());
            purse.push(&mut verdicts, is_kept)?;
            stays.of += 1;
            stays.kept += usize::from(is_kept);
        }
        purse.push(&mut scopes, stays)?;
        all = Stays { kept: all.kept + stays.kept, of: all.of + stays.of };
    }
    if all.kept == all.of {
        return Ok(Left::All(all.of as u64));
    }
    if all.kept == 0 {
        return Ok(Left::Nothing);
    }
    let (mut verdicts, mut scopes) = (&verdicts[..], &scopes[..]);
    let mut out = Splicer::paid(body, 0, purse);
    for entry in messages(body, &[1]) {
        let (own, rest) = scopes.split_at(messages(entry.bytes(), &[2]).count());
        scopes = rest;
        if own.iter().all(|scope| scope.kept == 0) {
            verdicts = &verdicts[own.iter().map(|scope| scope.of).sum()..];
            out.replace(entry.whole, 0, |_| {});
            continue;
        }
        out.inside(&entry, |out, entry| {
            for (scope, stays) in messages(entry, &[2]).zip(own) {
                let (own, rest) = verdicts.split_at(stays.of);
                verdicts = rest;
                if stays.kept == 0 {
                    out.replace(scope.whole, 0, |_| {});
                } else if stays.kept < stays.of {
                    out.inside(&scope, |out, scope| {
                        let items = messages(scope, &[2]).zip(own);
                        for (item, _) in items.filter(|(_, is_kept)| !**is_kept) {
                            out.replace(item.whole, 0, |_| {});
                        }
                    });
                }
            }
        });
    }
    Ok(match out.finish_into(purse)? {
        Some(body) => Left::Some { body, items: all.kept as u64 },
        None => Left::All(all.of as u64),
    })
}

#[cfg(test)]
mod tests;
