//! A request as it comes in: what is around its items, and its items as far as is needed to decide
//! on them.

use super::{chunk::Kind, masks};
use crate::otlp::{
    digest::Digest,
    sampling,
    view::{KeyValue, LogRecord, Message, Value},
    wire::{FieldValue, Fields},
};

/// The field of attributes in a resource, and in a scope.
pub(super) const RESOURCE: u32 = 1;
pub(super) const SCOPE: u32 = 3;

/// The messages of a repeated field.
pub(super) fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(message).map_while(Result::ok).filter_map(move |field| match field.value {
        FieldValue::Len(bytes) if field.number == number => Some(bytes),
        _ => None,
    })
}

/// Copies the fields around the messages of field 2, secrets masked; false if they have no room.
/// `attributes`: their field in the resource or the scope.
pub(super) fn put_around(entry: &[u8], attributes: u32, out: &mut Vec<u8>) -> bool {
    out.clear();
    for field in Fields::new(entry).map_while(Result::ok) {
        let masked = match (field.number, field.value) {
            (2, FieldValue::Len(_)) => continue,
            (1, FieldValue::Len(owner)) => masks::masked(1, owner, attributes),
            _ => None,
        };
        let kept = masked.as_deref().unwrap_or(field.whole);
        if kept.len() > out.capacity() - out.len() {
            return false;
        }
        out.extend_from_slice(kept);
    }
    true
}

/// What is around the items of a scope entry.
pub(super) struct Context<'a> {
    pub(super) resource: &'a [u8],
    pub(super) scope: &'a [u8],
    pub(super) service: &'a [u8],
    pub(super) rate: Option<f64>,
    pub(super) shift: u8,
    pub(super) now: u64,
}

impl<'a> Context<'a> {
    pub(super) fn of(resource: &'a [u8], scope: &'a [u8], shift: u8, now: u64) -> Self {
        let attributes = || messages(resource, 1).flat_map(|part| messages(part, 1));
        let mut service: &[u8] = &[];
        for attribute in attributes().map(|bytes| KeyValue::from(Message::new(bytes))) {
            if attribute.key == "service.name"
                && let Some(Value::String(text)) = attribute.value
            {
                service = text.0;
            }
        }
        Context { resource, scope, service, rate: sampling::rate(attributes()), shift, now }
    }
}

/// An item as far as it is needed to decide on it.
pub(super) enum Item<'a> {
    Span(&'a [u8], Digest<'a>),
    Record(&'a [u8], LogRecord<'a>),
}

impl<'a> Item<'a> {
    pub(super) fn read(kind: Kind, bytes: &'a [u8]) -> Self {
        match kind {
            Kind::Spans => Item::Span(bytes, Digest::read(bytes, |_| {})),
            Kind::Records => Item::Record(bytes, LogRecord::from(Message::new(bytes))),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Item::Span(..) => Kind::Spans,
            Item::Record(..) => Kind::Records,
        }
    }

    pub(super) fn trace_id(&self) -> Option<&'a [u8; 16]> {
        match self {
            Item::Span(_, digest) => digest.trace_id.try_into().ok(),
            Item::Record(_, record) => record.trace_id.try_into().ok(),
        }
    }

    pub(super) fn is_error(&self) -> bool {
        match self {
            Item::Span(_, digest) => digest.status_code == 2,
            Item::Record(_, record) => record.severity_number >= 17,
        }
    }

    /// What decides whether it is kept: its trace, or itself if it has none.
    pub(super) fn sampled_by(&self) -> &'a [u8] {
        let (bytes, trace) = match self {
            Item::Span(bytes, digest) => (bytes, digest.trace_id),
            Item::Record(bytes, record) => (bytes, record.trace_id),
        };
        if trace.is_empty() { bytes } else { trace }
    }
}
