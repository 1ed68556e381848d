//! Running a query: chunk by chunk, the newest first, until everything was looked at or time or
//! memory ran out; then the table, and the series of the rows that are in it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    cell::Cell,
    chunk::Chunk,
    filter::{Comparison, Filter},
    groups::{Groups, Memory, Names, TRACES},
    heat::{Heat, Heatmap},
    query::{Key, Query, Range},
    settings::Honesty,
    whole::Recent,
};

/// Most points of a series.
const POINTS: u64 = 1000;
/// Points of a heatmap if the query names no step.
const HEAT_POINTS: u64 = 60;

/// How much a query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time, of one core.
    pub time: Duration,
    /// Bytes, beside the chunks.
    pub bytes: usize,
    /// Groups; what has another key is counted as other.
    pub groups: usize,
}

/// 250 ms, 8 MiB, 10 000 groups.
impl Default for Limits {
    fn default() -> Self {
        Limits { time: Duration::from_millis(250), bytes: 8 << 20, groups: 10_000 }
    }
}

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Values of the fields that are grouped by.
    pub group: Vec<Json>,
    /// The results, in the order of `select`.
    pub values: Vec<Json>,
    /// Items that were looked at for it; those that are counted may be more.
    pub items: u64,
    /// Ids of three traces, in hexadecimal.
    pub traces: Vec<String>,
}

/// The results of one row over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Place of the row in the table.
    pub row: usize,
    /// For each result its value in each step.
    pub values: Vec<Vec<Json>>,
}

/// What a query found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Names of the fields that are grouped by.
    pub group_by: Vec<String>,
    /// Names of the results: `AVG(duration_ms)`.
    pub select: Vec<String>,
    /// The table.
    pub rows: Vec<Row>,
    /// Groups that the table would have without `limit`.
    pub groups: usize,
    /// What belongs to groups beyond the most that there may be.
    pub other: Option<Row>,
    /// Start of the first step, milliseconds since 1970; and the length of each.
    pub from_ms: u64,
    /// Length of a step in milliseconds; 0 without series.
    pub step_ms: u64,
    /// The rows over time.
    pub series: Vec<Series>,
    /// For each HEATMAP in `select`, in order.
    pub heatmaps: Vec<Heatmap>,
    /// Items that met the conditions.
    pub matched: u64,
    /// Whether there were more groups than there may be.
    pub groups_cut: bool,
    /// How far this can be trusted.
    #[serde(flatten)]
    pub honesty: Honesty,
}

impl Recent {
    /// Answers a query. `now`: nanoseconds since 1970.
    pub fn query(&self, query: &Query, limits: Limits, now: u64) -> Answer {
        let begun = Instant::now();
        let (chunks, mut honesty) = self.snapshot(query.kind, now);
        let range = range(query, &chunks, now);
        let mut run = Run::new(query, limits, range, begun);
        let mut groups = run.totals(&chunks);
        let (rows, order) = run.table(&groups);
        let series = if run.step == 0 || query.step_s.is_none() {
            Vec::new()
        } else {
            run.series(&chunks, &mut groups, &order)
        };
        honesty.scanned = run.scanned;
        honesty.is_partial = run.is_partial;
        honesty.took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Answer {
            group_by: query.group_by.iter().map(|(name, _)| name.clone()).collect(),
            select: query.select.iter().map(super::query::Select::label).collect(),
            rows,
            groups: order.len(),
            other: groups.other().map(|other| run.row(other, Vec::new())),
            from_ms: range.0 / 1_000_000,
            step_ms: if series.is_empty() && run.heat.is_empty() {
                0
            } else {
                run.step / 1_000_000
            },
            series,
            heatmaps: run.heat.iter().map(Heat::shown).collect(),
            matched: run.matched,
            groups_cut: groups.is_cut(),
            honesty,
        }
    }
}

/// The range in nanoseconds: as the query says, or of what is held.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large becomes the largest number"
)]
fn range(query: &Query, chunks: &[Arc<Chunk>], now: u64) -> (u64, u64) {
    let nanos = |seconds: f64| (seconds * 1e9) as u64;
    match query.range {
        Range::Last(seconds) => (now.saturating_sub(nanos(seconds)), now.saturating_add(1)),
        Range::Between(from, to) => (nanos(from), nanos(to)),
        Range::All => {
            let from = chunks.iter().map(|chunk| chunk.times.0).min().unwrap_or(now);
            let to = chunks.iter().map(|chunk| chunk.times.1).max().unwrap_or(now);
            (from, to.saturating_add(1))
        }
    }
}

struct Run<'q> {
    query: &'q Query,
    filter: Filter,
    range: (u64, u64),
    /// Nanoseconds of a step; 0: there are none.
    step: u64,
    deadline: Instant,
    memory: Memory,
    most_groups: usize,
    heat: Vec<Heat>,
    scanned: u64,
    matched: u64,
    is_partial: bool,
}

impl<'q> Run<'q> {
    fn new(query: &'q Query, limits: Limits, range: (u64, u64), begun: Instant) -> Self {
        let length = range.1.saturating_sub(range.0);
        let least = (length / POINTS).max(1_000_000) + 1;
        let heat: Vec<usize> = (0..query.select.len())
            .filter(|at| query.select[*at].operation == super::aggregate::Operation::Heatmap)
            .collect();
        let step = match query.step_s {
            Some(seconds) => Duration::try_from_secs_f64(seconds).map_or(least, |step| {
                u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(least)
            }),
            None if heat.is_empty() => 0,
            None => (length / HEAT_POINTS).max(least),
        };
        // A step is a whole number of milliseconds, so that the browser computes the same times.
        let step = step.div_ceil(1_000_000) * 1_000_000;
        Run {
            query,
            filter: Filter {
                conditions: query.conditions.iter().map(|(_, one)| one.clone()).collect(),
                combination: query.combination,
                // What a clock far off says is part of all that is held.
                range: (query.range != Range::All).then_some(range),
                text: None,
            },
            range,
            step,
            deadline: begun + limits.time,
            memory: Memory::new(limits.bytes),
            most_groups: limits.groups,
            heat: heat.into_iter().map(Heat::new).collect(),
            scanned: 0,
            matched: 0,
            is_partial: false,
        }
    }

    /// Whether time or memory ran out.
    fn is_over(&mut self) -> bool {
        self.is_partial |= self.memory.is_used_up() || Instant::now() > self.deadline;
        self.is_partial
    }

    fn totals(&mut self, chunks: &[Arc<Chunk>]) -> Groups {
        let mut groups = Groups::new(self.query, self.most_groups);
        for chunk in chunks {
            if !self.filter.overlaps(chunk) {
                continue;
            }
            if self.is_over() {
                break;
            }
            self.scanned += chunk.rows() as u64;
            let met = self.filter.rows(chunk);
            self.matched += met.iter().filter(|met| **met).count() as u64;
            if !met.contains(&true) {
                continue;
            }
            for heat in &mut self.heat {
                let Some((_, field)) = &self.query.select[heat.select].field else { continue };
                heat.add(chunk, field, &met, (self.range.0, self.step), &mut self.memory);
            }
            groups.add(chunk, &met, Names::New, &mut self.memory);
        }
        self.is_partial |= self.memory.is_used_up();
        groups
    }

    /// The rows of the table, and the places of all groups in its order.
    fn table(&self, groups: &Groups) -> (Vec<Row>, Vec<usize>) {
        let all: Vec<Vec<Json>> =
            groups.iter().map(|group| group.results(self.query, self.seconds())).collect();
        let mut order: Vec<usize> = (0..all.len()).filter(|at| self.has(&all[*at])).collect();
        let keys: Vec<Vec<Json>> = groups.iter().map(|group| group.key.clone()).collect();
        order.sort_by(|a, b| self.compare((&keys[*a], &all[*a]), (&keys[*b], &all[*b])));
        let rows = order.iter().take(self.query.limit).map(|at| {
            let mut row = self.row(&groups.iter().as_slice()[*at], keys[*at].clone());
            row.values.clone_from(&all[*at]);
            row
        });
        (rows.collect(), order)
    }

    fn row(&self, group: &super::groups::Group, key: Vec<Json>) -> Row {
        let traces = group.traces.iter().take(TRACES);
        Row {
            group: key,
            values: group.results(self.query, self.seconds()),
            items: group.items,
            traces: traces.map(|id| Cell::TraceId(id).text().into_owned()).collect(),
        }
    }

    /// Whether a group meets `having`.
    fn has(&self, results: &[Json]) -> bool {
        self.query.having.iter().all(|(at, comparison, value)| {
            comparison.holds(cell(&results[*at]), std::slice::from_ref(value))
                && (!results[*at].is_null() || *comparison == Comparison::IsNot)
        })
    }

    /// By `order_by`, else the largest first result first; equal ones by their keys, so that a
    /// table does not change its order from one refresh to the next.
    fn compare(&self, a: (&[Json], &[Json]), b: (&[Json], &[Json])) -> std::cmp::Ordering {
        let usual = [(Key::Select(0), true)];
        let order: &[(Key, bool)] =
            if self.query.order_by.is_empty() { &usual } else { &self.query.order_by };
        for (key, is_descending) in order {
            let (a, b) = match key {
                Key::Select(at) => (&a.1[*at], &b.1[*at]),
                Key::Group(at) => (&a.0[*at], &b.0[*at]),
            };
            // What is not there comes last in both directions.
            let by_presence = a.is_null().cmp(&b.is_null());
            let by_value = compare(a, b);
            let ordering =
                by_presence.then(if *is_descending { by_value.reverse() } else { by_value });
            if ordering.is_ne() {
                return ordering;
            }
        }
        let by_key = a.0.iter().zip(b.0).map(|(a, b)| compare(a, b));
        by_key.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    }

    /// Seconds over which a rate is.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no exactness")]
    fn seconds(&self) -> f64 {
        self.range.1.saturating_sub(self.range.0) as f64 / 1e9
    }

    /// The rows of the table over time: a second pass over those groups only.
    #[expect(clippy::cast_precision_loss, reason = "a step is some seconds")]
    fn series(
        &mut self,
        chunks: &[Arc<Chunk>],
        groups: &mut Groups,
        order: &[usize],
    ) -> Vec<Series> {
        let rows = &order[..order.len().min(self.query.limit)];
        let length = self.range.1.saturating_sub(self.range.0);
        let points = usize::try_from(length.div_ceil(self.step)).unwrap_or(0);
        let mut steps: HashMap<usize, usize> = HashMap::new();
        for (row, group) in rows.iter().enumerate() {
            steps.insert(*group, row);
        }
        let names = Names::Known { rows: &steps, from: self.range.0, step: self.step, points };
        if !groups.begin_series(rows.len() * points, &mut self.memory) {
            self.is_partial = true;
            return Vec::new();
        }
        for chunk in chunks {
            if !self.filter.overlaps(chunk) {
                continue;
            }
            if self.is_over() {
                break;
            }
            let met = self.filter.rows(chunk);
            groups.add(chunk, &met, names, &mut self.memory);
        }
        let seconds = self.step as f64 / 1e9;
        (0..rows.len())
            .map(|row| Series { row, values: groups.series(row, points, seconds) })
            .collect()
    }
}

/// A result as a value to compare.
fn cell(json: &Json) -> Cell<'_> {
    match json {
        Json::Bool(value) => Cell::Bool(*value),
        Json::Number(number) => number.as_f64().map_or(Cell::Null, Cell::Double),
        Json::String(text) => Cell::Text(text.as_bytes()),
        _ => Cell::Null,
    }
}

fn compare(a: &Json, b: &Json) -> std::cmp::Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => cell(a).text().cmp(&cell(b).text()),
    }
}
