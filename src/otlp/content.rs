//! What a payload says, without its custody: what exporters encode. Nobody waits for it and nothing
//! pays for it, so a copy may go to a worker or be dropped at any time; its payload stays behind.
//!
//! It is encoded piece by piece. A [`Cursor`] is the place where one piece ends and the next one
//! begins; a [`Walk`] goes on from there, at no cost for what lies before: a cursor knows the byte
//! offsets of the resource, the scope, the metric and the item that come next.

mod cut;
mod walk;

use bytes::Bytes;

use super::{Payload, Signal, payload::Body};

pub use walk::{Cursor, Step, Walk};

/// Bytes of one or more requests of one signal, see [`Payload`].
#[derive(Debug, Clone)]
pub struct Content {
    /// What the items are.
    pub signal: Signal,
    /// Segments, each a valid request of its own.
    pub body: Body,
    /// Spans, data points or log records in `body`, counted at the door.
    pub items: u64,
}

impl Content {
    /// That of one segment.
    pub fn new(signal: Signal, body: Bytes, items: u64) -> Self {
        Content { signal, body: smallvec::smallvec![body], items }
    }

    /// That of a payload. The bytes are shared.
    pub fn of(payload: &Payload) -> Self {
        Content { signal: payload.signal, body: payload.body.clone(), items: payload.items }
    }

    /// Bytes of all segments.
    pub fn len(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.body.iter().all(Bytes::is_empty)
    }

    /// The data between two positions, as a body; without a second one up to the end. Only entries
    /// that begin before or end after it are copied, as far as they are within it.
    pub fn between(&self, from: &Cursor, to: Option<&Cursor>) -> Body {
        let end = to.map_or(self.body.len(), |to| to.segment + 1);
        let mut body = Body::new();
        for (at, segment) in self.body.iter().enumerate().take(end).skip(from.segment) {
            let from = Some(from).filter(|from| from.segment == at);
            let to = to.filter(|to| to.segment == at);
            cut::segment(segment, from, to, &mut body);
        }
        body
    }
}

#[cfg(test)]
mod tests;
