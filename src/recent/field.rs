//! Fields of items by the names that Honeycomb gives them, and each of them as a column of a chunk:
//! a number per row, and the values that the numbers mean. A condition is tried once on each
//! value instead of on each row.

use super::{
    cell::Cell,
    chunk::{
        ATTRIBUTE, BODY, Chunk, Class, EVENT, HAS_ID, HAS_PARENT, Kind, SEVERITY, Values, range,
    },
};
use crate::otlp::view::{Entry, Message, ScopeEntry, Span, Spans};

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Field {
    Name,
    Service,
    DurationMs,
    /// Milliseconds since 1970.
    Time,
    TraceId,
    SpanId,
    ParentId,
    IsRoot,
    Kind,
    StatusCode,
    StatusMessage,
    Error,
    Severity,
    LibraryName,
    LibraryVersion,
    /// How many items one stands for.
    SampleRate,
    /// What a record has beside attributes, by its class.
    OfRecord(u8),
    /// An attribute of the item, else of its resource, else of its scope.
    Attribute(String),
}

/// Names and what they mean; every other name is that of an attribute.
const NAMES: [(&str, Field); 27] = [
    ("name", Field::Name),
    ("service.name", Field::Service),
    ("service", Field::Service),
    ("duration_ms", Field::DurationMs),
    ("time", Field::Time),
    ("timestamp", Field::Time),
    ("trace.trace_id", Field::TraceId),
    ("trace_id", Field::TraceId),
    ("trace.span_id", Field::SpanId),
    ("span_id", Field::SpanId),
    ("trace.parent_id", Field::ParentId),
    ("parent_id", Field::ParentId),
    ("is_root", Field::IsRoot),
    ("kind", Field::Kind),
    ("span.kind", Field::Kind),
    ("status_code", Field::StatusCode),
    ("status_message", Field::StatusMessage),
    ("error", Field::Error),
    ("severity", Field::Severity),
    ("severity_number", Field::Severity),
    ("severity_text", Field::OfRecord(SEVERITY)),
    ("body", Field::OfRecord(BODY)),
    ("event_name", Field::OfRecord(EVENT)),
    ("library.name", Field::LibraryName),
    ("scope.name", Field::LibraryName),
    ("library.version", Field::LibraryVersion),
    ("meta.sample_rate", Field::SampleRate),
];

impl Field {
    pub(super) fn of(name: &str) -> Self {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map_or_else(|| Field::Attribute(name.to_owned()), |(_, field)| field.clone())
    }
}

/// What has to be unpacked of a chunk for a column.
pub(super) struct Loaded<'c> {
    chunk: &'c Chunk,
    field: &'c Field,
    /// Numbers of the attributes, and their values.
    first: u16,
    count: u16,
    values: Values<'c>,
    rest: std::borrow::Cow<'c, [u8]>,
}

impl<'c> Loaded<'c> {
    pub(super) fn of(chunk: &'c Chunk, field: &'c Field) -> Self {
        let key = match field {
            Field::Attribute(key) => chunk.find_key(ATTRIBUTE, key.as_bytes()),
            Field::OfRecord(class) => chunk.find_key(*class, b""),
            _ => None,
        };
        let numbers = key.map_or(0..0, |key| chunk.numbers(key));
        let rest = match field {
            Field::StatusMessage => chunk.rest.unpack(),
            _ => std::borrow::Cow::default(),
        };
        let count = numbers.end - numbers.start;
        let first = numbers.start;
        let values = if count == 0 { Values::default() } else { chunk.values(numbers) };
        Loaded { chunk, field, first, count, values, rest }
    }

    /// Bytes that it takes until it is dropped.
    pub(super) fn size(&self) -> usize {
        self.values.size() + self.rest.len()
    }

    /// The column.
    pub(super) fn column(&self) -> Column<'_> {
        let chunk = self.chunk;
        let columns = &chunk.columns;
        match self.field {
            Field::Name => {
                Column::listed(columns.name.iter().map(|name| u32::from(*name)), names(chunk))
            }
            Field::Service => {
                let services: Vec<u32> =
                    chunk.origins.iter().map(|origin| u32::from(origin.service)).collect();
                let ids = columns.origin.iter().map(|origin| services[usize::from(*origin)]);
                Column::listed(ids, names(chunk))
            }
            Field::TraceId => {
                let none = u32::try_from(chunk.traces.len()).unwrap_or(u32::MAX);
                let ids = columns.trace.iter().map(|trace| u32::from(*trace).min(none));
                let values = chunk.traces.iter().map(Cell::TraceId).chain([Cell::Null]);
                Column::listed(ids, values.collect())
            }
            Field::Attribute(key) => self.attribute(key),
            Field::OfRecord(class) => self.of_record(*class),
            Field::LibraryName | Field::LibraryVersion => self.by_scope(),
            _ => Column {
                ids: None,
                values: (0..chunk.rows()).map(|row| self.of_row(row)).collect(),
            },
        }
    }

    /// A value that is computed for each row.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds need no exactness")]
    fn of_row(&self, row: usize) -> Cell<'_> {
        let chunk = self.chunk;
        let is_span = chunk.kind == Kind::Spans;
        let flags = chunk.columns.flags[row];
        match self.field {
            Field::DurationMs if is_span => Cell::Double(chunk.duration(row) as f64 / 1e6),
            Field::Time => Cell::Double((chunk.time(row) / 1000) as f64 / 1e3),
            Field::SpanId if flags & HAS_ID != 0 => Cell::SpanId(chunk.columns.id[row]),
            Field::ParentId if flags & HAS_PARENT != 0 => Cell::SpanId(chunk.columns.parent[row]),
            Field::IsRoot if is_span => Cell::Bool(flags & HAS_PARENT == 0),
            Field::Kind if is_span => Cell::Text(kind_name(flags & 7).as_bytes()),
            Field::StatusCode if is_span => Cell::Int(i64::from(flags >> 3 & 3)),
            Field::StatusMessage if is_span => {
                let rest = self.rest.get(range(&chunk.columns.rest_end, row)).unwrap_or_default();
                let status = Span::from(Message::new(rest)).status;
                let text = status.map(|status| status.text.0).filter(|text| !text.is_empty());
                text.map_or(Cell::Null, Cell::Text)
            }
            Field::Error => Cell::Bool(chunk.has(row, super::chunk::IS_ERROR)),
            Field::Severity if !is_span => Cell::Int(i64::from(flags & 31)),
            Field::SampleRate => Cell::Double(f64::from(chunk.columns.weight[row])),
            _ => Cell::Null,
        }
    }

    /// One attribute: of the item, else of where it comes from.
    fn attribute(&self, key: &str) -> Column<'_> {
        let chunk = self.chunk;
        let mut values = Vec::with_capacity(usize::from(self.count) + 2);
        values.push(Cell::Null);
        values.extend((0..usize::from(self.count)).map(|at| Cell::of(self.values.get(at))));
        let mut by_origin = Vec::with_capacity(chunk.origins.len());
        for origin in &chunk.origins {
            let value = of_resource(chunk.headers.get(usize::from(origin.resource)), key)
                .or_else(|| of_scope(chunk.headers.get(usize::from(origin.scope)), key));
            by_origin.push(if value.is_some() { number(values.len()) } else { 0 });
            values.extend(value);
        }
        let columns = &chunk.columns;
        let mut ids = Vec::with_capacity(chunk.rows());
        let mut start = 0;
        for (end, origin) in columns.attributes_end.iter().zip(&columns.origin) {
            let mut id = by_origin[usize::from(*origin)];
            for attribute in &columns.attributes[start..*end as usize] {
                let at = attribute.wrapping_sub(self.first);
                id = if at < self.count { u32::from(at) + 1 } else { id };
            }
            start = *end as usize;
            ids.push(id);
        }
        Column { ids: Some(ids), values }
    }

    /// What a record has beside attributes.
    fn of_record(&self, class: Class) -> Column<'_> {
        if class == ATTRIBUTE || self.chunk.kind == Kind::Spans {
            return Column { ids: Some(vec![0; self.chunk.rows()]), values: vec![Cell::Null] };
        }
        let mut values = Vec::with_capacity(usize::from(self.count) + 1);
        values.push(Cell::Null);
        values.extend((0..usize::from(self.count)).map(|at| Cell::of(self.values.get(at))));
        let ids = (0..self.chunk.rows()).map(|row| {
            let mut attributes = self.chunk.columns.attributes_of(row).iter();
            attributes
                .find_map(|attribute| {
                    let at = attribute.wrapping_sub(self.first);
                    (at < self.count).then(|| u32::from(at) + 1)
                })
                .unwrap_or(0)
        });
        Column { ids: Some(ids.collect()), values }
    }

    fn by_scope(&self) -> Column<'_> {
        let chunk = self.chunk;
        let mut values = Vec::with_capacity(chunk.origins.len());
        for origin in &chunk.origins {
            let header = chunk.headers.get(usize::from(origin.scope));
            let scope = ScopeEntry::<Spans>::from(Message::new(header)).scope;
            let text = scope.map(|scope| match self.field {
                Field::LibraryName => scope.name.0,
                _ => scope.version.0,
            });
            let text = text.filter(|text| !text.is_empty());
            values.push(text.map_or(Cell::Null, Cell::Text));
        }
        Column::listed(chunk.columns.origin.iter().map(|origin| u32::from(*origin)), values)
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(0)
}

fn names(chunk: &Chunk) -> Vec<Cell<'_>> {
    chunk
        .names
        .iter()
        .map(|name| if name.is_empty() { Cell::Null } else { Cell::Text(name) })
        .collect()
}

fn of_resource<'c>(header: &'c [u8], key: &str) -> Option<Cell<'c>> {
    let resource = Entry::<Spans>::from(Message::new(header)).resource?;
    cell_of(resource.attributes(), key)
}

fn of_scope<'c>(header: &'c [u8], key: &str) -> Option<Cell<'c>> {
    let scope = ScopeEntry::<Spans>::from(Message::new(header)).scope?;
    cell_of(scope.attributes(), key)
}

fn cell_of<'c>(
    attributes: impl Iterator<Item = crate::otlp::view::KeyValue<'c>>,
    key: &str,
) -> Option<Cell<'c>> {
    use crate::otlp::view::Value;
    let value = attributes.filter(|attribute| attribute.key == key).last()?.value?;
    Some(match value {
        Value::Bool(value) => Cell::Bool(value),
        Value::Int(value) => Cell::Int(value),
        Value::Double(value) => Cell::Double(value),
        Value::String(text) => Cell::Text(text.0),
        // Lists and maps of a resource are not asked for.
        _ => Cell::Null,
    })
}

/// The name of a span kind, as Honeycomb writes it.
pub(super) fn kind_name(kind: u8) -> &'static str {
    match kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "unspecified",
    }
}

/// A field of all rows of a chunk.
pub(super) struct Column<'c> {
    /// The place of each row's value; none if each row has its own.
    ids: Option<Vec<u32>>,
    values: Vec<Cell<'c>>,
}

impl<'c> Column<'c> {
    fn listed(ids: impl Iterator<Item = u32>, values: Vec<Cell<'c>>) -> Self {
        Column { ids: Some(ids.collect()), values }
    }

    /// The place of a row's value among the values.
    #[inline]
    pub(super) fn id(&self, row: usize) -> usize {
        self.ids.as_ref().map_or(row, |ids| ids[row] as usize)
    }

    #[inline]
    pub(super) fn cell(&self, row: usize) -> Cell<'c> {
        self.values[self.id(row)]
    }

    pub(super) fn values(&self) -> &[Cell<'c>] {
        &self.values
    }

    /// Bytes that it takes until it is dropped.
    pub(super) fn size(&self) -> usize {
        let ids = self.ids.as_ref().map_or(0, Vec::len);
        ids * size_of::<u32>() + self.values.len() * size_of::<Cell<'_>>()
    }
}
