//! Cuts a payload into what each route takes and what is left.
//!
//! A route asks for each of the resources, scopes or items in a segment whether it takes it. If it
//! takes all or nothing of a segment, nothing is copied. Otherwise one walk writes what it takes,
//! and a second one, which repeats the answers of the first, what is left.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Action,
    route::{Rule, Test},
};
use crate::{
    otlp::{
        Payload, Signal,
        payload::{Body, Permit},
        purse::Purse,
        split,
    },
    ottl::{Changed, Fate, Item, Stop, Walk, walk},
    statements::Runner,
};

/// A segment of a payload, or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    bytes: Bytes,
    /// Pay for the bytes; none if they are those of the payload.
    permits: SmallVec<[Permit; 1]>,
    /// Whether they are no bytes of the payload.
    is_copy: bool,
}

impl Segment {
    pub(super) fn items(&self, signal: Signal) -> u64 {
        split::count_items(signal, &self.bytes)
    }

    fn copy(mut bytes: Vec<u8>, purse: Purse) -> Self {
        if bytes.capacity() > bytes.len() + bytes.len() / 4 + 4096 {
            bytes.shrink_to_fit();
        }
        Segment { bytes: bytes.into(), permits: purse.into_permits(), is_copy: true }
    }
}

/// What becomes of a payload.
#[derive(Debug)]
pub(super) struct Divided {
    /// What each rule takes, in their order; rules that take nothing are not in it.
    pub(super) taken: Vec<(usize, Vec<Segment>)>,
    pub(super) left: Vec<Segment>,
}

/// Asks all rules in turn.
pub(super) fn divide(rules: &mut [Rule], payload: &Payload) -> Result<Divided, Stop> {
    let segment =
        |bytes: &Bytes| Segment { bytes: bytes.clone(), permits: SmallVec::new(), is_copy: false };
    let mut left: Vec<Segment> = payload.body.iter().map(segment).collect();
    let mut taken = Vec::new();
    for (at, rule) in rules.iter_mut().enumerate() {
        if left.is_empty() {
            break;
        }
        let part = match &mut rule.test {
            Test::Request(test) => {
                let holds = payload.context.as_ref().is_some_and(|context| test.holds(context));
                if !holds {
                    continue;
                }
                match rule.action {
                    Action::Move => std::mem::take(&mut left),
                    Action::Copy => left.clone(),
                }
            }
            Test::Program(runner) => cut(runner, rule.action, payload, &mut left)?,
        };
        if !part.is_empty() {
            taken.push((at, part));
        }
    }
    Ok(Divided { taken, left })
}

/// Cuts what a rule takes out of all segments that are left.
fn cut(
    runner: &mut Runner,
    action: Action,
    payload: &Payload,
    left: &mut Vec<Segment>,
) -> Result<Vec<Segment>, Stop> {
    let mut part = Vec::new();
    let mut rest = Vec::with_capacity(left.len());
    for segment in left.drain(..) {
        let (own, other) = cut_one(runner, payload, segment, action)?;
        part.extend(own);
        rest.extend(other);
    }
    *left = rest;
    Ok(part)
}

/// What a rule takes of a segment, and what is left of it.
fn cut_one(
    runner: &mut Runner,
    payload: &Payload,
    segment: Segment,
    action: Action,
) -> Result<(Option<Segment>, Option<Segment>), Stop> {
    let how = Walk {
        signal: payload.signal,
        context: runner.context(),
        request: payload.context.as_deref(),
        prunes: true,
    };
    let account = payload.permits.first();
    let (mut purse, mut notes) = (Purse::new(account, 0), Purse::new(account, 0));
    let mut answers: Vec<bool> = Vec::new();
    let (mut takes, mut refused) = (0, None);
    let own = walk(&how, &segment.bytes, &mut purse, &mut |item: &mut Item<'_>| {
        let holds = runner.matches(item)?;
        refused = refused.or(notes.push(&mut answers, holds).err());
        if holds {
            takes += 1;
            runner.run(item)?;
        }
        Ok(if holds { Fate::Keep } else { Fate::Drop })
    })?;
    if let Some(reason) = refused {
        return Err(reason.into());
    }
    let own = match own {
        _ if takes == 0 => return Ok((None, Some(segment))),
        Changed::Nothing => segment.clone(),
        Changed::Body(bytes) => Segment::copy(bytes, purse),
        Changed::Empty => return Ok((None, Some(segment))),
    };
    if action == Action::Copy {
        return Ok((Some(own), Some(segment)));
    }
    if takes == answers.len() {
        return Ok((Some(own), None));
    }
    let mut purse = Purse::new(account, 0);
    let mut answers = answers.into_iter();
    let rest = walk(&how, &segment.bytes, &mut purse, &mut |_| {
        let is_taken = answers.next().unwrap_or(false);
        Ok(if is_taken { Fate::Drop } else { Fate::Keep })
    })?;
    let rest = match rest {
        Changed::Nothing => Some(segment),
        Changed::Body(bytes) => Some(Segment::copy(bytes, purse)),
        Changed::Empty => None,
    };
    Ok((Some(own), rest))
}

/// Whether a part is all of a payload, unchanged.
pub(super) fn is_whole(payload: &Payload, part: &[Segment]) -> bool {
    part.len() == payload.body.len() && part.iter().all(|segment| !segment.is_copy)
}

/// A part as a payload of its own.
pub(super) fn part(payload: &Payload, part: &[Segment], items: u64) -> Payload {
    let body: Body = part.iter().map(|segment| segment.bytes.clone()).collect();
    let mut own = payload.split_off(body, items);
    if part.iter().all(|segment| segment.is_copy) && part.iter().any(|s| !s.permits.is_empty()) {
        own.permits.clear();
    }
    own.permits.extend(part.iter().flat_map(|segment| segment.permits.iter().cloned()));
    own
}
