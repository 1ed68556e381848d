//! What a table of OTLP says of a message: its fields, and how the check sees them.

use super::enums::Enum;

/// Highest field number and one more.
const NUMBERS: usize = 24;

/// One message type.
#[derive(Debug)]
pub struct Message {
    /// Name in the `.proto` file.
    pub name: &'static str,
    /// Its fields in the order of the `.proto` file.
    pub fields: &'static [Field],
    /// Whether it is a span, a data point or a log record.
    pub is_item: bool,
    /// Layouts by field number. They are apart from the fields so that a check, which looks at
    /// nothing else, touches a cache line or two.
    layouts: [Layout; NUMBERS],
}

impl Message {
    pub(super) const fn new(name: Name, fields: &'static [Field]) -> Self {
        let mut layouts = [Layout::Unknown; NUMBERS];
        let mut i = 0;
        while i < fields.len() {
            layouts[fields[i].number as usize] = fields[i].layout;
            i += 1;
        }
        Message { name, fields, is_item: false, layouts }
    }

    /// A message that is counted.
    pub(super) const fn item(name: Name, fields: &'static [Field]) -> Self {
        let mut message = Message::new(name, fields);
        message.is_item = true;
        message
    }

    /// The layout of a field number.
    #[inline]
    pub fn layout(&self, number: u32) -> Layout {
        match self.layouts.get(number as usize) {
            Some(layout) => *layout,
            None => Layout::Unknown,
        }
    }

    /// The field of a number.
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// Position in `fields` of a field number.
    pub fn position(&self, number: u32) -> Option<usize> {
        self.fields.iter().position(|field| field.number == number)
    }

    /// Position in `fields` of a name in either spelling.
    pub fn position_of_name(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.json == name || field.name == name)
    }
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    /// Field number.
    pub number: u32,
    /// Name in the `.proto` file: `trace_id`.
    pub name: &'static str,
    /// Name in JSON: `traceId`.
    pub json: &'static str,
    /// Type of its value, or of each value.
    pub kind: Kind,
    /// How often it may occur and what its absence means.
    pub presence: Presence,
    layout: Layout,
}

impl Field {
    /// The field with the layout of attributes.
    pub(super) const fn of_attributes(mut self) -> Self {
        self.layout = Layout::KeyValue;
        self
    }
}

/// The layout of a field on the wire, which is all that the check needs to know.
#[derive(Debug, Clone, Copy)]
pub enum Layout {
    /// Not in the table.
    Unknown,
    /// An integer, a boolean or an enum.
    Varint,
    /// Any number of them, packed or not.
    Varints,
    /// `fixed64`, `sfixed64` or `double`.
    Fixed64,
    /// Any number of them, packed or not.
    Fixed64s,
    /// `fixed32`.
    Fixed32,
    /// UTF-8.
    String,
    /// Any bytes.
    Bytes,
    /// So many bytes, or none.
    Id(usize),
    /// An attribute. It has a layout of its own because it has a shortcut in the check.
    KeyValue,
    /// Another message.
    Message(&'static Message),
}

const fn layout(kind: Kind, presence: Presence) -> Layout {
    let is_repeated = matches!(presence, Presence::Repeated);
    match kind {
        Kind::String => Layout::String,
        Kind::Bytes => Layout::Bytes,
        Kind::Id(length) => Layout::Id(length),
        Kind::Fixed32 => Layout::Fixed32,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double if is_repeated => Layout::Fixed64s,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Layout::Fixed64,
        Kind::Message(message) => Layout::Message(message),
        _ if is_repeated => Layout::Varints,
        _ => Layout::Varint,
    }
}

/// How often a field may occur and what its absence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Absent and zero are the same.
    Implicit,
    /// Absent and zero differ: `optional` fields and messages.
    Explicit,
    /// The same as explicit, but the Collector's JSON has it even if it is absent: `"status":{}`.
    Always,
    /// One of several; setting one clears the others. A message has at most one such group.
    OneOf,
    /// Any number of times; numbers may be packed.
    Repeated,
}

/// Type of a value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `string`.
    String,
    /// `bytes`, in JSON base64.
    Bytes,
    /// `bytes` of so many bytes or none, in JSON hexadecimal.
    Id(usize),
    /// `bool`.
    Bool,
    /// `int32`.
    Int32,
    /// `sint32`, zigzag on the wire.
    Sint32,
    /// `uint32`.
    Uint32,
    /// `fixed32`.
    Fixed32,
    /// `int64`, in JSON a string.
    Int64,
    /// `uint64`, in JSON a string.
    Uint64,
    /// `fixed64`, in JSON a string.
    Fixed64,
    /// `sfixed64`, in JSON a string.
    Sfixed64,
    /// `double`.
    Double,
    /// An enum, in JSON its number.
    Enum(&'static Enum),
    /// A message.
    Message(&'static Message),
}

type Name = &'static str;

const fn with(number: u32, name: Name, json: Name, kind: Kind, presence: Presence) -> Field {
    Field { number, name, json, kind, presence, layout: layout(kind, presence) }
}

pub(super) const fn field(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    with(number, name, json, kind, Presence::Implicit)
}

pub(super) const fn optional(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    with(number, name, json, kind, Presence::Explicit)
}

pub(super) const fn one_of(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    with(number, name, json, kind, Presence::OneOf)
}

pub(super) const fn repeated(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    with(number, name, json, kind, Presence::Repeated)
}

pub(super) const fn message(number: u32, name: Name, json: Name, of: &'static Message) -> Field {
    with(number, name, json, Kind::Message(of), Presence::Explicit)
}

pub(super) const fn always(number: u32, name: Name, json: Name, of: &'static Message) -> Field {
    with(number, name, json, Kind::Message(of), Presence::Always)
}

pub(super) const fn messages(number: u32, name: Name, json: Name, of: &'static Message) -> Field {
    with(number, name, json, Kind::Message(of), Presence::Repeated)
}
