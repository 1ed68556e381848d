//! Puts kept spans together again: one request of many traces, each resource and scope once, spans
//! as they came in, in order of arrival within their trace.

use bytes::Bytes;

use super::{
    arena::{Arena, Position},
    claims::{Claims, Group},
    context::Contexts,
};
use crate::{
    component::Output,
    otlp::{
        Payload, Signal,
        payload::Permit,
        wire::{bytes_field_len, put_header},
    },
};

/// Bytes of spans that go out in one payload. Backends take 4 MiB of gRPC by default.
const PAYLOAD_BYTES: usize = 1 << 20;

/// Most pieces of a payload, which takes 40 bytes for each until it is sent.
const PIECES: usize = 1 << 13;

/// Resources and scopes count for a payload where they are larger.
const SMALL_WRAPPER: usize = 4 << 10;

/// Spans on their way out.
#[derive(Debug, Default)]
pub(super) struct Emitter {
    pieces: Vec<Piece>,
    /// Spans that are not, or not unchanged, in the arena.
    pub(super) written: Vec<u8>,
    bytes: usize,
    spans: u64,
    /// Resource and scope of the last piece.
    context: Option<(u32, u32)>,
    /// Chunks that the pieces are of.
    chunks: Vec<u32>,
    /// Receipts that wait for late spans among them, and the last request that had some.
    late: Claims,
    late_of: u64,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Resource and scope.
    context: (u32, u32),
    source: Source,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Arena(Position),
    /// Where in `written`.
    Written(usize),
}

impl Emitter {
    /// What is taken next has this context.
    #[inline]
    pub(super) fn enter(&mut self, context: (u32, u32), contexts: &Contexts) {
        if self.context.replace(context) != Some(context) {
            let len = contexts.wrapper(context.0).len() + contexts.wrapper(context.1).len();
            self.bytes += if len > SMALL_WRAPPER { len } else { 0 };
        }
    }

    /// Takes so many spans as they are in a record of the arena, of `len` bytes.
    pub(super) fn take(&mut self, context: (u32, u32), at: Position, len: usize, spans: u64) {
        self.pieces.push(Piece { context, source: Source::Arena(at), len });
        self.is_of(at);
        self.bytes += len;
        self.spans += spans;
    }

    /// Takes so many spans that were appended to `written` since it had `from` bytes.
    pub(super) fn take_written(&mut self, context: (u32, u32), from: usize, spans: u64) {
        let len = self.written.len() - from;
        self.pieces.push(Piece { context, source: Source::Written(from), len });
        self.bytes += len;
        self.spans += spans;
    }

    /// What was taken last is of the chunk of this record.
    pub(super) fn is_of(&mut self, at: Position) {
        if self.chunks.last() != Some(&at.chunk()) {
            self.chunks.push(at.chunk());
        }
    }

    /// What was taken last is of the request at hand.
    pub(super) fn is_late(&mut self, request: u64, claims: &Claims) {
        if self.late_of != request {
            self.late_of = request;
            self.late.extend(claims.iter().cloned());
        }
    }

    /// Turns round the order of the last pieces, which a walk back through a trace has taken.
    pub(super) fn reverse_from(&mut self, first: usize) {
        self.pieces[first..].reverse();
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is enough for a payload.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= PAYLOAD_BYTES || self.pieces.len() >= PIECES
    }

    /// Sends what there is.
    pub(super) fn flush(
        &mut self,
        arena: &Arena,
        contexts: &Contexts,
        account: Option<&Permit>,
        out: &mut Output,
    ) {
        if self.pieces.is_empty() {
            return;
        }
        self.pieces.sort_by_key(|piece| piece.context);
        let body = self.body(arena, contexts);
        let mut payload = Payload::unpaid(Signal::Traces, Bytes::new(), self.spans);
        // These bytes are a copy of what the arena gives back after this tick, so the account may
        // be overdrawn by them.
        payload.permits.extend(account.map(|permit| permit.more(body.len() as u64)));
        payload.body = std::iter::once(Bytes::from(body)).collect();
        self.chunks.sort_unstable();
        self.chunks.dedup();
        let groups = self.chunks.drain(..).filter_map(|chunk| arena.claims(chunk));
        payload.receipts.extend(groups.flat_map(Group::receipts));
        payload.receipts.extend(self.late.drain(..));
        self.late_of = 0;
        out.emit(payload);
        self.pieces.clear();
        self.written.clear();
        self.written.shrink_to(PAYLOAD_BYTES);
        (self.bytes, self.spans, self.context) = (0, 0, None);
    }

    fn body(&self, arena: &Arena, contexts: &Contexts) -> Vec<u8> {
        let scope_len = |pieces: &[Piece]| {
            let spans: usize = pieces.iter().map(|piece| piece.len).sum();
            contexts.wrapper(pieces[0].context.1).len() + spans
        };
        let scopes = |pieces: &'_ [Piece]| -> usize {
            let scopes = pieces.chunk_by(|a, b| a.context == b.context);
            scopes.map(|scope| bytes_field_len(2, scope_len(scope))).sum()
        };
        let by_resource = |a: &Piece, b: &Piece| a.context.0 == b.context.0;
        let resource_len =
            |pieces: &[Piece]| contexts.wrapper(pieces[0].context.0).len() + scopes(pieces);
        let total =
            self.pieces.chunk_by(by_resource).map(|r| bytes_field_len(1, resource_len(r))).sum();
        let mut out = Vec::with_capacity(total);
        for resource in self.pieces.chunk_by(by_resource) {
            put_header(&mut out, 1, resource_len(resource));
            out.extend_from_slice(contexts.wrapper(resource[0].context.0));
            for scope in resource.chunk_by(|a, b| a.context == b.context) {
                put_header(&mut out, 2, scope_len(scope));
                out.extend_from_slice(contexts.wrapper(scope[0].context.1));
                for piece in scope {
                    match piece.source {
                        Source::Written(from) => {
                            out.extend_from_slice(&self.written[from..from + piece.len]);
                        }
                        Source::Arena(at) => {
                            let record = arena.record(at);
                            out.extend_from_slice(record.map_or(&[], |record| record.spans));
                        }
                    }
                }
            }
        }
        debug_assert_eq!(out.len(), total);
        out
    }
}
