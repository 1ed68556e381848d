//! The chunk that rows are added to. Everything in it is allocated when it is made and never grows:
//! what has no room says so, and the chunk is sealed first.

use super::{
    account::Charge,
    chunk::{ATTRIBUTE, Columns, KEYS, Kind, Origin, time},
    dictionary::{Class, Dictionary},
};
use crate::otlp::attribute;

/// How large a chunk may become. They follow from the budget: see [`Limits::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Rows, traces, names.
    pub(super) rows: usize,
    /// Attributes of all rows.
    pub(super) attributes: usize,
    /// Attributes that differ.
    pub(super) different: usize,
    /// Bytes of attributes that differ; and of the rest of all rows.
    pub(super) bytes: usize,
    /// Bytes of all names.
    pub(super) names: usize,
    /// Bytes of resources and scopes, and of keys.
    pub(super) headers: usize,
}

impl Limits {
    /// For a store of so many bytes. Two open chunks and the workspace take about a tenth of it.
    pub(super) fn of(budget: usize) -> Self {
        let rows = if budget >= 48 << 20 { 4096 } else { 1024 };
        Limits {
            rows,
            attributes: rows * 24,
            different: (rows * 14).min(super::dictionary::MOST_STRINGS),
            bytes: rows * 256,
            names: rows * 24,
            headers: rows * 12,
        }
    }

    /// Origins and keys are few.
    pub(super) fn kinds(&self) -> usize {
        self.rows / 4
    }
}

/// Something has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// In the open chunk.
    Chunk,
    /// In the store, since readers hold what could be evicted.
    Store,
}

/// A chunk that grows.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) kind: Kind,
    pub(super) limits: Limits,
    pub(super) number: u32,
    pub(super) columns: Columns,
    pub(super) traces: Dictionary,
    /// Places of the traces in the list of all.
    pub(super) slots: Vec<u32>,
    pub(super) names: Dictionary,
    pub(super) headers: Dictionary,
    pub(super) origins: Vec<Origin>,
    pub(super) keys: Dictionary,
    pub(super) attributes: Dictionary,
    /// Key of each attribute.
    pub(super) attribute_keys: Vec<u16>,
    pub(super) rest: Vec<u8>,
    pub(super) times: (u64, u64),
    pub(super) arrivals: (u64, u64),
    charge: Charge,
}

/// One item for the columns, its attributes and rest apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) trace: u16,
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) name: &'a [u8],
    pub(super) origin: u16,
    pub(super) flags: u8,
    pub(super) weight: f32,
}

impl Open {
    /// Bytes of an open chunk.
    pub(super) fn size(limits: Limits) -> usize {
        Columns::size(limits.rows, limits.attributes)
            + Dictionary::size(limits.rows, limits.rows * 16)
            + limits.rows * size_of::<u32>()
            + Dictionary::size(limits.rows, limits.names)
            + 2 * Dictionary::size(limits.kinds(), limits.headers)
            + limits.kinds() * size_of::<Origin>()
            + Dictionary::size(limits.different, limits.bytes)
            + limits.different * size_of::<u16>()
            + limits.bytes
    }

    /// An empty one, paid for by `charge`.
    pub(super) fn new(kind: Kind, limits: Limits, number: u32, charge: Charge) -> Self {
        let mut open = Open {
            kind,
            limits,
            number,
            columns: Columns::with_capacity(limits.rows, limits.attributes),
            traces: Dictionary::new(limits.rows, limits.rows * 16),
            slots: Vec::with_capacity(limits.rows),
            names: Dictionary::new(limits.rows, limits.names),
            headers: Dictionary::new(limits.kinds(), limits.headers),
            origins: Vec::with_capacity(limits.kinds()),
            keys: Dictionary::new(limits.kinds(), limits.headers),
            attributes: Dictionary::new(limits.different, limits.bytes),
            attribute_keys: Vec::with_capacity(limits.different),
            rest: Vec::with_capacity(limits.bytes),
            times: (u64::MAX, 0),
            arrivals: (0, 0),
            charge,
        };
        open.clear(number);
        open
    }

    /// Begins the next chunk in the same memory.
    pub(super) fn clear(&mut self, number: u32) {
        self.number = number;
        self.columns.clear();
        self.traces.clear();
        self.slots.clear();
        self.names.clear();
        self.headers.clear();
        self.origins.clear();
        self.keys.clear();
        self.attributes.clear();
        self.attribute_keys.clear();
        self.rest.clear();
        self.times = (u64::MAX, 0);
        self.arrivals = (0, 0);
        for (class, key) in KEYS {
            self.keys.intern(class, key.as_bytes());
        }
    }

    pub(super) fn charged(&self) -> usize {
        self.charge.bytes()
    }

    /// Bytes that are allocated, by looking.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let dictionaries = [&self.traces, &self.names, &self.headers, &self.keys, &self.attributes];
        self.columns.allocated()
            + dictionaries.map(Dictionary::allocated).iter().sum::<usize>()
            + self.slots.capacity() * size_of::<u32>()
            + self.origins.capacity() * size_of::<Origin>()
            + self.attribute_keys.capacity() * size_of::<u16>()
            + self.rest.capacity()
    }

    pub(super) fn rows(&self) -> usize {
        self.columns.rows()
    }

    /// The number of an origin: the fields around scope entries, those around items, the service.
    pub(super) fn origin(
        &mut self,
        resource: &[u8],
        scope: &[u8],
        service: &[u8],
    ) -> Result<u16, Full> {
        let (resource, _) = self.headers.intern(0, resource).ok_or(Full::Chunk)?;
        let (scope, _) = self.headers.intern(0, scope).ok_or(Full::Chunk)?;
        let (service, _) = self.names.intern(0, service).ok_or(Full::Chunk)?;
        let origin = Origin { resource, scope, service };
        if let Some(at) = self.origins.iter().rposition(|known| *known == origin) {
            return u16::try_from(at).map_err(|_| Full::Chunk);
        }
        if self.origins.len() == self.origins.capacity() {
            return Err(Full::Chunk);
        }
        self.origins.push(origin);
        u16::try_from(self.origins.len() - 1).map_err(|_| Full::Chunk)
    }

    /// Adds an attribute to the row that comes next, and gives its key.
    #[inline]
    pub(super) fn attribute(&mut self, class: Class, bytes: &[u8]) -> Result<u16, Full> {
        if self.columns.attributes.len() == self.columns.attributes.capacity() {
            return Err(Full::Chunk);
        }
        let key = match self.attributes.intern(class, bytes) {
            Some((number, false)) => {
                self.columns.attributes.push(number);
                return Ok(self.attribute_keys[usize::from(number)]);
            }
            Some((number, true)) => {
                self.columns.attributes.push(number);
                self.key(class, bytes)
            }
            None => None,
        };
        // An attribute without a key would be out of step: the chunk is sealed before it.
        match key {
            Some(key) => self.attribute_keys.push(key),
            None => return Err(Full::Chunk),
        }
        key.ok_or(Full::Chunk)
    }

    fn key(&mut self, class: Class, bytes: &[u8]) -> Option<u16> {
        if class != ATTRIBUTE {
            let at = KEYS.iter().position(|(known, _)| *known == class)?;
            return u16::try_from(at).ok();
        }
        let (key, _) = match attribute::usual(bytes) {
            Some((key, _)) => self.keys.intern(ATTRIBUTE, key)?,
            None => self.keys.intern(ATTRIBUTE, attribute::key_value(bytes).0)?,
        };
        Some(key)
    }

    /// Ends the row whose attributes and rest were added.
    pub(super) fn push(&mut self, row: Row<'_>, arrival: u64) -> Result<(), Full> {
        if self.rows() == self.limits.rows {
            return Err(Full::Chunk);
        }
        let (name, _) = self.names.intern(0, row.name).ok_or(Full::Chunk)?;
        let columns = &mut self.columns;
        let (Ok(attributes), Ok(rest)) =
            (u32::try_from(columns.attributes.len()), u32::try_from(self.rest.len()))
        else {
            return Err(Full::Chunk);
        };
        columns.trace.push(row.trace);
        columns.id.push(row.id);
        columns.parent.push(row.parent);
        columns.start.push(row.start);
        columns.end.push(row.end);
        columns.name.push(name);
        columns.origin.push(row.origin);
        columns.flags.push(row.flags);
        columns.weight.push(row.weight);
        columns.attributes_end.push(attributes);
        columns.rest_end.push(rest);
        if self.arrivals.0 == 0 {
            self.arrivals.0 = arrival;
        }
        self.arrivals.1 = arrival;
        let time = time(row.start, row.end, self.arrivals.0);
        self.times = (self.times.0.min(time), self.times.1.max(time));
        Ok(())
    }

    /// Forgets what was added for a row that did not end.
    pub(super) fn abandon(&mut self) {
        let attributes = self.columns.attributes_end.last().copied().unwrap_or(0);
        self.columns.attributes.truncate(attributes as usize);
        self.rest.truncate(self.columns.rest_end.last().copied().unwrap_or(0) as usize);
    }
}
