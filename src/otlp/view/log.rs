//! Log records.

use super::{
    message::{Child, Message},
    value::{KeyValue, Text, Value, int32, uint32},
};
use crate::otlp::wire::FieldValue;

/// A log record.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    message: Message<'a>,
    /// When it happened, nanoseconds since 1970; 0 where that is not known.
    pub time_unix_nano: u64,
    /// When it was collected, nanoseconds since 1970.
    pub observed_time_unix_nano: u64,
    /// 1 to 24 from trace to fatal, 0 if it has none.
    pub severity_number: i32,
    /// Severity as the source calls it.
    pub severity_text: Text<'a>,
    /// The message; `None` if the field is not set.
    pub body: Option<Value<'a>>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
    /// The low 8 bits are W3C trace flags.
    pub flags: u32,
    /// 16 bytes, or none.
    pub trace_id: &'a [u8],
    /// 8 bytes, or none.
    pub span_id: &'a [u8],
    /// Name of the class of events it is one of.
    pub event_name: Text<'a>,
}

impl<'a> From<Message<'a>> for LogRecord<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = LogRecord {
            message,
            time_unix_nano: 0,
            observed_time_unix_nano: 0,
            severity_number: 0,
            severity_text: Text::default(),
            body: None,
            dropped_attributes_count: 0,
            flags: 0,
            trace_id: &[],
            span_id: &[],
            event_name: Text::default(),
        };
        let mut body = Child::default();
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Fixed64(bits)) => view.time_unix_nano = bits,
            (11, FieldValue::Fixed64(bits)) => view.observed_time_unix_nano = bits,
            (2, FieldValue::Varint(bits)) => view.severity_number = int32(bits),
            (3, FieldValue::Len(text)) => view.severity_text = Text(text),
            (5, FieldValue::Len(part)) => body.add(part),
            (7, FieldValue::Varint(bits)) => view.dropped_attributes_count = uint32(bits),
            (8, FieldValue::Fixed32(bits)) => view.flags = bits,
            (9, FieldValue::Len(bytes)) => view.trace_id = bytes,
            (10, FieldValue::Len(bytes)) => view.span_id = bytes,
            (12, FieldValue::Len(text)) => view.event_name = Text(text),
            _ => {}
        });
        view.body = body.of(message, 5).map(Value::from);
        view
    }
}

impl<'a> LogRecord<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(6)
    }
}
