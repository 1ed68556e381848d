//! Spans and what is in them.

use super::{
    message::{Child, Message},
    value::{KeyValue, Text, int32, uint32},
};
use crate::otlp::wire::FieldValue;

/// A span.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    message: Message<'a>,
    /// 16 bytes, or none.
    pub trace_id: &'a [u8],
    /// 8 bytes, or none.
    pub span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: Text<'a>,
    /// 8 bytes, or none for a root.
    pub parent_span_id: &'a [u8],
    /// What it does.
    pub name: Text<'a>,
    /// `SpanKind`: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    pub end_time_unix_nano: u64,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
    /// Events that the sender left out.
    pub dropped_events_count: u32,
    /// Links that the sender left out.
    pub dropped_links_count: u32,
    /// Its status; `None` if the field is not set.
    pub status: Option<Status<'a>>,
    /// The low 8 bits are W3C trace flags.
    pub flags: u32,
}

impl<'a> From<Message<'a>> for Span<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = Span {
            message,
            trace_id: &[],
            span_id: &[],
            trace_state: Text::default(),
            parent_span_id: &[],
            name: Text::default(),
            kind: 0,
            start_time_unix_nano: 0,
            end_time_unix_nano: 0,
            dropped_attributes_count: 0,
            dropped_events_count: 0,
            dropped_links_count: 0,
            status: None,
            flags: 0,
        };
        let mut status = Child::default();
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Len(bytes)) => view.trace_id = bytes,
            (2, FieldValue::Len(bytes)) => view.span_id = bytes,
            (3, FieldValue::Len(text)) => view.trace_state = Text(text),
            (4, FieldValue::Len(bytes)) => view.parent_span_id = bytes,
            (5, FieldValue::Len(text)) => view.name = Text(text),
            (6, FieldValue::Varint(bits)) => view.kind = int32(bits),
            (7, FieldValue::Fixed64(bits)) => view.start_time_unix_nano = bits,
            (8, FieldValue::Fixed64(bits)) => view.end_time_unix_nano = bits,
            (10, FieldValue::Varint(bits)) => view.dropped_attributes_count = uint32(bits),
            (12, FieldValue::Varint(bits)) => view.dropped_events_count = uint32(bits),
            (14, FieldValue::Varint(bits)) => view.dropped_links_count = uint32(bits),
            (15, FieldValue::Len(part)) => status.add(part),
            (16, FieldValue::Fixed32(bits)) => view.flags = bits,
            _ => {}
        });
        view.status = status.of(message, 15).map(Status::from);
        view
    }
}

impl<'a> Span<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(9)
    }

    /// Shows its attributes in order, and says whether it has events and links: one walk for what
    /// takes three.
    pub fn each_attribute(&self, mut show: impl FnMut(KeyValue<'a>)) -> (bool, bool) {
        let (mut events, mut links) = (false, false);
        self.message.each(|field| match (field.number, field.value) {
            (9, FieldValue::Len(content)) => show(KeyValue::from(Message::new(content))),
            (11, _) => events = true,
            (13, _) => links = true,
            _ => {}
        });
        (events, links)
    }

    /// Its events in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'a>> + use<'a> {
        self.message.all(11)
    }

    /// Its links in order.
    pub fn links(&self) -> impl Iterator<Item = Link<'a>> + use<'a> {
        self.message.all(13)
    }
}

/// A moment in a span.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    message: Message<'a>,
    /// Nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// What happened.
    pub name: Text<'a>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
}

impl<'a> From<Message<'a>> for Event<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = Event {
            message,
            time_unix_nano: 0,
            name: Text::default(),
            dropped_attributes_count: 0,
        };
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Fixed64(bits)) => view.time_unix_nano = bits,
            (2, FieldValue::Len(text)) => view.name = Text(text),
            (4, FieldValue::Varint(bits)) => view.dropped_attributes_count = uint32(bits),
            _ => {}
        });
        view
    }
}

impl<'a> Event<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(3)
    }
}

/// A span that another one refers to.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    message: Message<'a>,
    /// 16 bytes, or none.
    pub trace_id: &'a [u8],
    /// 8 bytes, or none.
    pub span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: Text<'a>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
    /// The low 8 bits are W3C trace flags.
    pub flags: u32,
}

impl<'a> From<Message<'a>> for Link<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = Link {
            message,
            trace_id: &[],
            span_id: &[],
            trace_state: Text::default(),
            dropped_attributes_count: 0,
            flags: 0,
        };
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Len(bytes)) => view.trace_id = bytes,
            (2, FieldValue::Len(bytes)) => view.span_id = bytes,
            (3, FieldValue::Len(text)) => view.trace_state = Text(text),
            (5, FieldValue::Varint(bits)) => view.dropped_attributes_count = uint32(bits),
            (6, FieldValue::Fixed32(bits)) => view.flags = bits,
            _ => {}
        });
        view
    }
}

impl<'a> Link<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(4)
    }
}

/// How a span ended.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// For people.
    pub text: Text<'a>,
    /// 0 unset, 1 ok, 2 error.
    pub code: i32,
}

impl<'a> From<Message<'a>> for Status<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = Status { text: Text::default(), code: 0 };
        message.each(|field| match (field.number, field.value) {
            (2, FieldValue::Len(text)) => view.text = Text(text),
            (3, FieldValue::Varint(bits)) => view.code = int32(bits),
            _ => {}
        });
        view
    }
}
