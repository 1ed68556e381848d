//! The documents of a payload, in pieces that fit their room.

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

/// Room for a document of any length.
pub(super) const ROOM: usize = 1 << 20;

/// Documents get one of so many parts of the room. Sending them copies their text (one part) and
/// escapes quotes in it (up to two parts) in a buffer that grows (up to four). While they are made,
/// a document that is not trimmed yet may take another part, in a buffer that grows, too.
const PART: usize = 8;

/// What is sent of a piece.
#[derive(Debug, Clone)]
pub struct Segments {
    /// JSON documents, parts of one buffer.
    pub documents: Vec<Bytes>,
    pub(super) left_out: LeftOut,
}

impl Segments {
    /// Number of spans without a document.
    pub fn left_out(&self) -> u64 {
        self.left_out.count()
    }
}

/// Spans without a document, by reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut(pub(super) [u64; Fault::ALL.len()]);

impl LeftOut {
    pub(super) fn count(self) -> u64 {
        self.0.iter().sum()
    }
}

/// The documents of one native scope in this piece.
#[derive(Debug, Default)]
struct Family<'a> {
    /// Number of documents before them.
    before: usize,
    links: Vec<Link<'a>>,
}

impl Family<'_> {
    /// Nests subsegments in their parents, and begins another family.
    fn end(&mut self, all: &mut Documents) {
        if self.links.len() > 1 {
            all.nest(self.before, &self.links);
        }
        self.links.clear();
        self.before = all.count();
    }
}

/// The next documents that have room.
pub(super) fn next(work: &Work<'_>, settings: &Settings) -> Piece<Segments> {
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
            // The next piece begins with this span.
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
    let held = all.held().saturating_mul(PART - 1);
    let documents = all.pieces();
    work.piece(Segments { documents, left_out }, held, &walk)
}
