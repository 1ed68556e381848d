//! Leaves spans and log records out of a request: what stays is copied verbatim, and a resource or
//! scope entry that has lost all its items goes with them.

use smallvec::SmallVec;

use super::splice::{Splicer, messages};

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

/// Asks `keeps` for each span or log record, in order.
pub fn retain_items(body: &[u8], mut keeps: impl FnMut(&[u8]) -> bool) -> Left {
    // Whether an entry stays is known after its last item only, so all are asked first.
    let mut verdicts: SmallVec<[bool; 128]> = SmallVec::new();
    let mut scopes: SmallVec<[Stays; 8]> = SmallVec::new();
    let mut all = Stays::default();
    for scope in messages(body, &[1]).flat_map(|entry| messages(entry.bytes(), &[2])) {
        let mut stays = Stays::default();
        for item in messages(scope.bytes(), &[2]) {
            let is_kept = keeps(item.bytes());
            verdicts.push(is_kept);
            stays.of += 1;
            stays.kept += usize::from(is_kept);
        }
        scopes.push(stays);
        all = Stays { kept: all.kept + stays.kept, of: all.of + stays.of };
    }
    if all.kept == all.of {
        return Left::All(all.of as u64);
    }
    if all.kept == 0 {
        return Left::Nothing;
    }
    let (mut verdicts, mut scopes) = (&verdicts[..], &scopes[..]);
    let mut out = Splicer::new(body, 0);
    for entry in messages(body, &[1]) {
        let (own, rest) = scopes.split_at(messages(entry.bytes(), &[2]).count());
        scopes = rest;
        if own.iter().all(|scope| scope.kept == 0) {
            verdicts = &verdicts[own.iter().map(|scope| scope.of).sum()..];
            out.replace(entry.whole, |_| {});
            continue;
        }
        out.inside(&entry, |out, entry| {
            for (scope, stays) in messages(entry, &[2]).zip(own) {
                let (own, rest) = verdicts.split_at(stays.of);
                verdicts = rest;
                if stays.kept == 0 {
                    out.replace(scope.whole, |_| {});
                } else if stays.kept < stays.of {
                    out.inside(&scope, |out, scope| {
                        let items = messages(scope, &[2]).zip(own);
                        for (item, _) in items.filter(|(_, is_kept)| !**is_kept) {
                            out.replace(item.whole, |_| {});
                        }
                    });
                }
            }
        });
    }
    match out.finish() {
        Some(body) => Left::Some { body, items: all.kept as u64 },
        None => Left::All(all.of as u64),
    }
}

#[cfg(test)]
mod tests;
