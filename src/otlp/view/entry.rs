//! Resource entries and scope entries, which have one shape for all signals.

use std::marker::PhantomData;

use super::{
    LogRecord, Logs, Metric, Metrics, Span, Spans,
    message::{Child, Message},
    value::{KeyValue, Text, uint32},
};
use crate::otlp::wire::FieldValue;

/// `ResourceSpans`, `ResourceMetrics` or `ResourceLogs`.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a, K> {
    message: Message<'a>,
    /// Its resource; `None` if the field is not set.
    pub resource: Option<Resource<'a>>,
    /// Schema of the resource.
    pub schema_url: Text<'a>,
    kind: PhantomData<K>,
}

pub(super) fn entries<K>(request: &[u8]) -> impl Iterator<Item = Entry<'_, K>> {
    Message::new(request).all(1)
}

impl<'a, K> From<Message<'a>> for Entry<'a, K> {
    fn from(message: Message<'a>) -> Self {
        let (resource, schema_url) = header(message);
        let resource = resource.map(Resource::from);
        Entry { message, resource, schema_url, kind: PhantomData }
    }
}

/// Fields 1 and 3 of an entry.
fn header(message: Message<'_>) -> (Option<Message<'_>>, Text<'_>) {
    let (mut owner, mut schema_url) = (Child::default(), Text::default());
    message.each(|field| match (field.number, field.value) {
        (1, FieldValue::Len(part)) => owner.add(part),
        (3, FieldValue::Len(text)) => schema_url = Text(text),
        _ => {}
    });
    (owner.of(message, 1), schema_url)
}

impl<'a, K> Entry<'a, K> {
    /// Its bytes.
    pub fn size(&self) -> usize {
        self.message.whole().map_or(0, <[u8]>::len)
    }

    /// Its scope entries in order.
    pub fn scopes(&self) -> impl Iterator<Item = ScopeEntry<'a, K>> + use<'a, K> {
        self.message.all(2)
    }
}

/// `ScopeSpans`, `ScopeMetrics` or `ScopeLogs`.
#[derive(Debug, Clone, Copy)]
pub struct ScopeEntry<'a, K> {
    message: Message<'a>,
    /// Its scope; `None` if the field is not set.
    pub scope: Option<Scope<'a>>,
    /// Schema of the scope and of the items.
    pub schema_url: Text<'a>,
    kind: PhantomData<K>,
}

impl<'a, K> From<Message<'a>> for ScopeEntry<'a, K> {
    fn from(message: Message<'a>) -> Self {
        let (scope, schema_url) = header(message);
        ScopeEntry { message, scope: scope.map(Scope::from), schema_url, kind: PhantomData }
    }
}

impl<'a> ScopeEntry<'a, Spans> {
    /// Its spans in order.
    pub fn spans(&self) -> impl Iterator<Item = Span<'a>> + use<'a> {
        self.message.all(2)
    }
}

impl<'a> ScopeEntry<'a, Metrics> {
    /// Its metrics in order.
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'a>> + use<'a> {
        self.message.all(2)
    }
}

impl<'a> ScopeEntry<'a, Logs> {
    /// Its log records in order.
    pub fn log_records(&self) -> impl Iterator<Item = LogRecord<'a>> + use<'a> {
        self.message.all(2)
    }
}

/// Who made the items.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    message: Message<'a>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
}

impl<'a> From<Message<'a>> for Resource<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = Resource { message, dropped_attributes_count: 0 };
        message.each(|field| {
            if let (2, FieldValue::Varint(bits)) = (field.number, field.value) {
                view.dropped_attributes_count = uint32(bits);
            }
        });
        view
    }
}

impl<'a> Resource<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(1)
    }

    /// Its entities in order.
    pub fn entity_refs(&self) -> impl Iterator<Item = EntityRef<'a>> + use<'a> {
        self.message.all(3)
    }
}

/// Which attributes of a resource make up an entity.
#[derive(Debug, Clone, Copy)]
pub struct EntityRef<'a> {
    message: Message<'a>,
    /// Schema of the entity.
    pub schema_url: Text<'a>,
    /// Type of the entity: `host`.
    pub kind: Text<'a>,
}

impl<'a> From<Message<'a>> for EntityRef<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = EntityRef { message, schema_url: Text::default(), kind: Text::default() };
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Len(text)) => view.schema_url = Text(text),
            (2, FieldValue::Len(text)) => view.kind = Text(text),
            _ => {}
        });
        view
    }
}

impl<'a> EntityRef<'a> {
    /// Keys of the attributes that identify it.
    pub fn id_keys(&self) -> impl Iterator<Item = Text<'a>> + use<'a> {
        self.message.contents(3).map(Text)
    }

    /// Keys of the attributes that describe it.
    pub fn description_keys(&self) -> impl Iterator<Item = Text<'a>> + use<'a> {
        self.message.contents(4).map(Text)
    }
}

/// Which library made the items.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    message: Message<'a>,
    /// Name of the library.
    pub name: Text<'a>,
    /// Its version.
    pub version: Text<'a>,
    /// Attributes that the sender left out.
    pub dropped_attributes_count: u32,
}

impl<'a> From<Message<'a>> for Scope<'a> {
    fn from(message: Message<'a>) -> Self {
        let (name, version) = (Text::default(), Text::default());
        let mut view = Scope { message, name, version, dropped_attributes_count: 0 };
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Len(text)) => view.name = Text(text),
            (2, FieldValue::Len(text)) => view.version = Text(text),
            (4, FieldValue::Varint(bits)) => view.dropped_attributes_count = uint32(bits),
            _ => {}
        });
        view
    }
}

impl<'a> Scope<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(3)
    }
}
