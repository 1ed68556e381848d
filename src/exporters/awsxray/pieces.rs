//! The documents of a payload in pieces that have their limits.

use bytes::Bytes;

use super::{
    attributes::Attributes,
    native::{self, Machine},
    nest::Link,
    resource::Facts,
    segment::{Documents, Fault, documents},
    settings::Settings,
};
use crate::{
    component::{Piece, Work},
    otlp::{content::Step, view::Span},
};

/// Room for documents of any length.
pub(super) const ROOM: usize = 1 << 20;

/// The part of the room that documents have. Sending copies their text (one part) and makes a
/// request of that, in which quotes are escaped (up to two parts), in a buffer that grows (up to
/// four). While they are made, a document that is not trimmed may have another part, in a buffer
/// that grows as well.
const PART: usize = 8;

/// Spans without a document, by reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut(pub(super) [u64; Fault::ALL.len()]);

impl LeftOut {
    pub(super) fn count(self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn read(text: &[u8]) -> Self {
        let mut own = LeftOut::default();
        let text = String::from_utf8_lossy(text);
        for (count, word) in own.0.iter_mut().zip(text.split(' ')) {
            *count = word.parse().unwrap_or(0);
        }
        own
    }
}

/// As it stands before the documents of a request.
impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [trace, span, size] = self.0;
        write!(f, "{trace} {span} {size}")
    }
}

/// The documents of one native scope, as far as they are in this piece.
#[derive(Debug, Default)]
struct Family<'a> {
    /// How many documents come before.
    before: usize,
    links: Vec<Link<'a>>,
}

impl Family<'_> {
    /// Puts them into each other, and begins another one.
    fn end(&mut self, all: &mut Documents) {
        if self.links.len() > 1 {
            all.nest(self.before, &self.links);
        }
        self.links.clear();
        self.before = all.count();
    }
}

/// The next documents that have room.
pub(super) fn next(work: &Work<'_>, settings: &Settings) -> Piece {
    let most = work.room / PART;
    let mut all = Documents::with_room(work.content.len(), most);
    let mut attributes = Attributes::default();
    let mut left_out = LeftOut::default();
    let (mut facts, mut machine, mut is_native) = (None, None, None);
    let mut family = Family::default();
    let mut walk = work.walk();
    while let Some(step) = walk.next() {
        let span = match step {
            Step::Item(message) => Span::from(message),
            Step::Resource => {
                (facts, machine) = (None, None);
                continue;
            }
            Step::Scope | Step::Metric(_) => {
                family.end(&mut all);
                is_native = None;
                continue;
            }
        };
        let before = all.count();
        let of_native = || walk.scope().is_some_and(|scope| scope.name == native::SCOPE);
        let outcome = if *is_native.get_or_insert_with(of_native) {
            let of = || Machine::of(walk.resource().as_ref(), settings);
            native::document(&span, machine.get_or_insert_with(of), settings, &mut all).map(
                |is_part| {
                    let parent = if is_part { span.parent_span_id } else { &[] };
                    family.links.push(Link { trace: span.trace_id, id: span.span_id, parent });
                },
            )
        } else {
            let of = || Facts::of(walk.resource().as_ref(), settings);
            let facts = facts.get_or_insert_with(of);
            documents(&span, facts, settings, &mut attributes, &mut all)
        };
        if all.held() > most {
            // It is the first of the next piece.
            all.back_to(before);
            family.links.truncate(before - family.before);
            walk.put_back();
            break;
        }
        if let Err(fault) = outcome {
            left_out.0[fault as usize] += 1;
        }
    }
    family.end(&mut all);
    let held = all.held();
    let note = std::iter::once(Bytes::from(left_out.to_string()));
    let mut piece = work.piece(note.chain(all.pieces()).collect(), &walk);
    piece.beside = held.saturating_mul(PART - 2);
    piece
}
