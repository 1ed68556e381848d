//! The groups of a query and what is computed of each. A group is found by the places of its values
//! in a chunk first, so that its key is put together once per chunk and not once per item.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{
    aggregate::{Operation, State},
    cell::Cell,
    chunk::Chunk,
    field::{Column, Field, Loaded},
    query::Query,
};

/// Traces that are named per group.
pub(super) const TRACES: usize = 3;

/// Bytes that a query may take.
#[derive(Debug)]
pub(super) struct Memory {
    used: usize,
    most: usize,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Memory { used: 0, most }
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
    }

    fn give_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    pub(super) fn has(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) <= self.most
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used > self.most
    }
}

/// Which groups count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Names<'a> {
    /// All, also those that were not there before.
    New,
    /// Those of a table, by their places with their rows, each in steps of time.
    Known { rows: &'a HashMap<usize, usize>, from: u64, step: u64, points: usize },
}

/// One group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) key: Vec<Json>,
    states: Vec<State>,
    pub(super) items: u64,
    pub(super) traces: Vec<[u8; 16]>,
}

impl Group {
    fn new(key: Vec<Json>, operations: &[Operation]) -> Self {
        let states = operations.iter().map(|operation| State::new(*operation)).collect();
        Group { key, states, items: 0, traces: Vec::new() }
    }

    pub(super) fn results(&self, query: &Query, seconds: f64) -> Vec<Json> {
        let states = self.states.iter().zip(&query.select);
        states.map(|(state, select)| state.result(select.operation, seconds)).collect()
    }
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    fields: Vec<Field>,
    operations: Vec<Operation>,
    /// The field of each operation.
    operands: Vec<Option<Field>>,
    by_key: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    all: Vec<Group>,
    most: usize,
    other: Option<Group>,
    /// For each row of the table and step the states of all operations.
    steps: Vec<State>,
}

impl Groups {
    pub(super) fn new(query: &Query, most: usize) -> Self {
        let operations: Vec<Operation> =
            query.select.iter().map(|select| select.operation).collect();
        let operands =
            query.select.iter().map(|select| select.field.as_ref().map(|(_, field)| field.clone()));
        let mut groups = Groups {
            fields: query.group_by.iter().map(|(_, field)| field.clone()).collect(),
            operands: operands.collect(),
            operations,
            by_key: HashMap::default(),
            all: Vec::new(),
            most,
            other: None,
            steps: Vec::new(),
        };
        if groups.fields.is_empty() {
            groups.all.push(Group::new(Vec::new(), &groups.operations));
        }
        groups
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Group> {
        self.all.iter()
    }

    pub(super) fn other(&self) -> Option<&Group> {
        self.other.as_ref()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.other.is_some()
    }

    /// Makes room for so many points; false if there is not enough.
    pub(super) fn begin_series(&mut self, points: usize, memory: &mut Memory) -> bool {
        let states = points.saturating_mul(self.operations.len());
        let size = states.saturating_mul(size_of::<State>());
        if !memory.has(size) {
            return false;
        }
        memory.take(size);
        let operations = self.operations.iter().cycle().take(states);
        self.steps = operations.map(|operation| State::new(*operation)).collect();
        true
    }

    /// The results of a row over time, those of each operation together.
    pub(super) fn series(&self, row: usize, points: usize, seconds: f64) -> Vec<Vec<Json>> {
        let width = self.operations.len();
        let states = &self.steps[row * points * width..(row + 1) * points * width];
        let of = |(at, operation): (usize, &Operation)| {
            let states = states.iter().skip(at).step_by(width);
            states.map(|state| state.result(*operation, seconds)).collect()
        };
        self.operations.iter().enumerate().map(of).collect()
    }

    /// Adds the rows of a chunk that are `met`.
    pub(super) fn add(
        &mut self,
        chunk: &Chunk,
        met: &[bool],
        names: Names<'_>,
        memory: &mut Memory,
    ) {
        let fields = self.fields.clone();
        let keys: Vec<Loaded<'_>> = fields.iter().map(|field| Loaded::of(chunk, field)).collect();
        let operands = self.operands.clone();
        let loaded: Vec<Option<Loaded<'_>>> = operands
            .iter()
            .map(|field| field.as_ref().map(|field| Loaded::of(chunk, field)))
            .collect();
        let keys: Vec<Column<'_>> = keys.iter().map(Loaded::column).collect();
        let size = loaded.iter().flatten().map(Loaded::size).sum::<usize>()
            + keys.iter().map(Column::size).sum::<usize>();
        let values: Vec<Option<Column<'_>>> =
            loaded.iter().map(|loaded| loaded.as_ref().map(Loaded::column)).collect();
        let size = size + values.iter().flatten().map(Column::size).sum::<usize>();
        memory.take(size);
        let mut places = Places::new(&keys);
        for (row, _) in met.iter().enumerate().filter(|(_, met)| **met) {
            let place = places.of(&keys, row, |key| self.place(key, names, memory));
            if memory.is_used_up() {
                break;
            }
            self.count(chunk, row, place, &values, (names, memory));
        }
        memory.give_back(size);
    }

    /// The place of a group by its values; none if it does not count by itself.
    fn place(&mut self, key: &[Cell<'_>], names: Names<'_>, memory: &mut Memory) -> Option<usize> {
        if key.is_empty() {
            return Some(0);
        }
        let mut bytes = Vec::new();
        for cell in key {
            cell.put(&mut bytes);
        }
        if let Some(place) = self.by_key.get(&*bytes) {
            return Some(*place);
        }
        if matches!(names, Names::Known { .. }) || self.all.len() == self.most {
            return None;
        }
        // The key as bytes and as values, the entries of map and list with room to grow.
        let states = self.operations.len() * size_of::<State>();
        let entry = 2 * (size_of::<Group>() + size_of::<(Box<[u8]>, usize)>());
        let json = key.len() * size_of::<Json>();
        memory.take(2 * bytes.len() + states + entry + json + TRACES * 16);
        let place = self.all.len();
        self.by_key.insert(bytes.into_boxed_slice(), place);
        let key = key.iter().map(|cell| cell.json()).collect();
        self.all.push(Group::new(key, &self.operations));
        Some(place)
    }

    fn count(
        &mut self,
        chunk: &Chunk,
        row: usize,
        place: Option<usize>,
        values: &[Option<Column<'_>>],
        (names, memory): (Names<'_>, &mut Memory),
    ) {
        let (weight, time) = (f64::from(chunk.columns.weight[row]), chunk.time(row));
        let width = self.operations.len();
        let states = match names {
            Names::New => {
                let group = match place {
                    Some(place) => &mut self.all[place],
                    None => {
                        self.other.get_or_insert_with(|| Group::new(Vec::new(), &self.operations))
                    }
                };
                group.items += 1;
                if let Some(trace) = chunk.trace(row)
                    && group.traces.len() < TRACES
                    && !group.traces.contains(trace)
                {
                    group.traces.push(*trace);
                }
                &mut group.states[..]
            }
            Names::Known { rows, from, step, points } => {
                let Some(row) = place.and_then(|place| rows.get(&place)) else { return };
                let point = usize::try_from(time.saturating_sub(from) / step).unwrap_or(points);
                let at = (row * points + point) * width;
                if point >= points {
                    return;
                }
                &mut self.steps[at..at + width]
            }
        };
        for ((state, operation), column) in states.iter_mut().zip(&self.operations).zip(values) {
            let cell = column.as_ref().map_or(Cell::Null, |column| column.cell(row));
            memory.take(state.add(*operation, cell, weight, time));
        }
    }
}

/// The place of a group, once it was looked for.
#[derive(Debug, Clone, Copy)]
enum Sought {
    NotYet,
    At(usize),
    Nowhere,
}

impl Sought {
    fn get(&mut self, find: impl FnOnce() -> Option<usize>) -> Option<usize> {
        if let Sought::NotYet = self {
            *self = find().map_or(Sought::Nowhere, Sought::At);
        }
        match self {
            Sought::At(place) => Some(*place),
            Sought::Nowhere | Sought::NotYet => None,
        }
    }
}

/// Groups by the places of their values in a chunk.
enum Places {
    One(Sought),
    List(Vec<Sought>),
    Map(HashMap<[usize; 3], Sought, foldhash::fast::FixedState>),
}

impl Places {
    fn new(keys: &[Column<'_>]) -> Self {
        match keys {
            [] => Places::One(Sought::NotYet),
            [key] => Places::List(vec![Sought::NotYet; key.values().len()]),
            _ => Places::Map(HashMap::default()),
        }
    }

    fn of<'c>(
        &mut self,
        keys: &[Column<'c>],
        row: usize,
        find: impl FnOnce(&[Cell<'c>]) -> Option<usize>,
    ) -> Option<usize> {
        let sought = match self {
            Places::One(one) => one,
            Places::List(list) => &mut list[keys[0].id(row)],
            Places::Map(map) => {
                let mut ids = [0; 3];
                for (id, key) in ids.iter_mut().zip(keys) {
                    *id = key.id(row);
                }
                map.entry(ids).or_insert(Sought::NotYet)
            }
        };
        sought.get(|| {
            let cells: Vec<Cell<'c>> = keys.iter().map(|key| key.cell(row)).collect();
            find(&cells)
        })
    }
}
