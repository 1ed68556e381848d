//! The list of log records, and records that say the same but for numbers, grouped by template.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    cell::{Cell, Literal, hex, trace_id},
    chunk::{BODY, Chunk, Kind},
    field::{Field, Loaded},
    filter::{Comparison, Condition, Filter},
    query::{QueryError, condition, list, wrong},
    settings::Honesty,
    span::{self, RecordDetails},
    traces::{nanos, text},
    whole::Recent,
};

/// Most records of a list, and how many there are if nothing is said.
const LIMIT: u64 = 500;
const USUAL_LIMIT: u64 = 100;
/// How long records are looked for.
const TIME: Duration = Duration::from_millis(250);
/// Most templates that are told apart, and the bytes of one that count.
const TEMPLATES: usize = 5_000;
const TEMPLATE: usize = 400;
const KEYS: &str = "service, min_severity, where, text, trace, from_s, to_s, limit";

/// Which records are listed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordFilter {
    records: Filter,
    trace: Option<[u8; 16]>,
    limit: usize,
}

impl RecordFilter {
    /// Reads a filter: an object with some of `service`, `min_severity` (1 to 24), `where`
    /// (conditions as in a query), `text`, `trace` (an id), `from_s` and `to_s` together, `limit`
    /// (at most 500).
    pub fn read(json: &Json) -> Result<Self, QueryError> {
        let Some(map) = json.as_object() else { return wrong("filter", "it has to be an object") };
        let mut filter = RecordFilter { limit: 100, ..RecordFilter::default() };
        let (mut from, mut to, mut limit) = (0, u64::MAX, USUAL_LIMIT);
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            match &**key {
                "service" => {
                    let condition = Condition::is(Field::Service, text(key, value)?);
                    filter.records.conditions.push(condition);
                }
                "min_severity" => {
                    let Some(least) = value.as_f64() else {
                        return wrong(key, "it has to be a number from 1 to 24");
                    };
                    filter.records.conditions.push(Condition {
                        field: Field::Severity,
                        comparison: Comparison::AtLeast,
                        values: vec![Literal::Number(least)],
                    });
                }
                "where" => {
                    for (at, item) in list(map, "where", 50)?.iter().enumerate() {
                        let (_, condition) = condition(&format!("where.{at}"), item)?;
                        filter.records.conditions.push(condition);
                    }
                }
                "text" => filter.records.text = Some(text(key, value)?.to_owned()),
                "trace" => match trace_id(text(key, value)?) {
                    Some(id) => filter.trace = Some(id),
                    None => return wrong(key, "it has to be an id of 32 hexadecimal digits"),
                },
                "from_s" => from = nanos(key, value, 1e9)?,
                "to_s" => to = nanos(key, value, 1e9)?,
                "limit" => match value.as_u64() {
                    Some(number @ 1..=LIMIT) => limit = number,
                    _ => return wrong(key, format!("it has to be a number from 1 to {LIMIT}")),
                },
                _ => return wrong(key, format!("there is no such key; there are {KEYS}")),
            }
        }
        filter.limit = usize::try_from(limit).unwrap_or(usize::MAX);
        filter.records.range = (from > 0 || to < u64::MAX).then_some((from, to));
        Ok(filter)
    }

    /// The rows of a chunk that meet it, in their order.
    fn rows(&self, chunk: &Chunk) -> Vec<usize> {
        if !self.records.overlaps(chunk) {
            return Vec::new();
        }
        let trace = self.trace.as_ref().map(|id| chunk.find_trace(id));
        if trace == Some(None) {
            return Vec::new();
        }
        let met = self.records.rows(chunk);
        let is_of =
            |row: &usize| trace.flatten().is_none_or(|trace| chunk.columns.trace[*row] == trace);
        let rows = met.iter().enumerate().filter(|(_, met)| **met).map(|(row, _)| row);
        rows.filter(is_of).collect()
    }
}

/// Log records that meet a filter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordList {
    /// Those that came last, the newest first.
    pub records: Vec<RecordDetails>,
    /// Records that meet it among those that were looked at.
    pub matched: u64,
    /// How far this can be trusted.
    #[serde(flatten)]
    pub honesty: Honesty,
}

/// Records that say the same but for numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Similar {
    /// The body of the records; words with a digit are `*`.
    pub template: String,
    /// How many there are, those that were left out included.
    pub count: f64,
    /// The highest severity of them.
    pub severity: u8,
    /// When the first and the last one happened, nanoseconds since 1970 as text.
    pub first_ns: String,
    /// See `first_ns`.
    pub last_ns: String,
    /// Where the last one is held, for [`Recent::record`].
    pub at: u64,
}

/// Groups of similar records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimilarList {
    /// The largest first.
    pub groups: Vec<Similar>,
    /// Whether there were too many templates; records of further ones are left out.
    pub is_cut: bool,
    /// How far this can be trusted.
    #[serde(flatten)]
    pub honesty: Honesty,
}

impl Recent {
    /// The last log records that meet a filter. `now`: nanoseconds since 1970.
    pub fn records(&self, filter: &RecordFilter, now: u64) -> RecordList {
        let begun = Instant::now();
        let (chunks, mut honesty) = self.snapshot(Kind::Records, now);
        let (mut records, mut matched) = (Vec::new(), 0);
        for chunk in &chunks {
            honesty.is_partial = begun.elapsed() > TIME;
            if honesty.is_partial {
                break;
            }
            honesty.scanned += chunk.rows() as u64;
            let rows = filter.rows(chunk);
            matched += rows.len() as u64;
            let missing = filter.limit - records.len();
            let rows = rows.iter().rev().take(missing);
            records.extend(rows.filter_map(|row| span::record(chunk, *row)));
        }
        records.sort_by_key(|record| {
            std::cmp::Reverse((record.time_ns.len(), record.time_ns.clone()))
        });
        honesty.took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        RecordList { records, matched, honesty }
    }

    /// Log records that meet a filter, grouped by what they say. `now`: nanoseconds since 1970.
    pub fn similar(&self, filter: &RecordFilter, now: u64) -> SimilarList {
        let begun = Instant::now();
        let (chunks, mut honesty) = self.snapshot(Kind::Records, now);
        let mut groups = Templates::default();
        for chunk in &chunks {
            honesty.is_partial = begun.elapsed() > TIME;
            if honesty.is_partial {
                break;
            }
            honesty.scanned += chunk.rows() as u64;
            groups.add(chunk, &filter.rows(chunk));
        }
        let mut all: Vec<Group> = groups.all.into_values().collect();
        all.sort_by(|a, b| b.count.total_cmp(&a.count).then_with(|| a.template.cmp(&b.template)));
        honesty.took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let shown = all.into_iter().take(filter.limit).map(|group| Similar {
            template: group.template,
            count: group.count,
            severity: group.severity,
            first_ns: group.first.to_string(),
            last_ns: group.last.0.to_string(),
            at: group.last.1,
        });
        SimilarList { groups: shown.collect(), is_cut: groups.is_cut, honesty }
    }
}

struct Group {
    template: String,
    count: f64,
    severity: u8,
    first: u64,
    /// When the last one happened, and where it is.
    last: (u64, u64),
}

#[derive(Default)]
struct Templates {
    all: HashMap<String, Group, foldhash::fast::RandomState>,
    is_cut: bool,
}

impl Templates {
    fn add(&mut self, chunk: &Chunk, rows: &[usize]) {
        let field = Field::OfRecord(BODY);
        let loaded = Loaded::of(chunk, &field);
        let column = loaded.column();
        // A body that occurs often is looked at once.
        let mut known: Vec<Option<String>> = vec![None; column.values().len()];
        for row in rows {
            let template =
                known[column.id(*row)].get_or_insert_with(|| template(column.cell(*row)));
            if !self.all.contains_key(template) {
                if self.all.len() == TEMPLATES {
                    self.is_cut = true;
                    continue;
                }
                self.all.insert(
                    template.clone(),
                    Group {
                        template: template.clone(),
                        count: 0.0,
                        severity: 0,
                        first: u64::MAX,
                        last: (0, 0),
                    },
                );
            }
            let Some(group) = self.all.get_mut(template) else { continue };
            let time = chunk.time(*row);
            group.count += f64::from(chunk.columns.weight[*row]);
            group.severity = group.severity.max(chunk.columns.flags[*row] & 31);
            group.first = group.first.min(time);
            let at = u64::from(chunk.number) << 16 | *row as u64;
            group.last = group.last.max((time, at));
        }
    }
}

/// What a body says, words with a digit left out.
fn template(body: Cell<'_>) -> String {
    let text = body.text();
    let text = &text[..text.floor_char_boundary(TEMPLATE)];
    let mut out = String::with_capacity(text.len());
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(word);
        out.push_str(if head.contains(|c: char| c.is_ascii_digit()) { "*" } else { head });
        let gap = tail.find(is_word).unwrap_or(tail.len());
        out.push_str(&tail[..gap]);
        rest = &tail[gap..];
    }
    out
}

/// Where a record is: for links from a trace to its logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordMark {
    /// Where it is held, for [`Recent::record`].
    pub at: u64,
    /// When it happened, nanoseconds since 1970 as text.
    pub time_ns: String,
    /// 1 to 24 from trace to fatal, 0 if it has none.
    pub severity: u8,
    /// Id of its span; empty if it has none.
    pub span_id: String,
}

/// Most records of a trace that are marked.
const MARKS: usize = 5_000;

impl Recent {
    /// The log records of a trace in the order of time, 5000 at most: marks for its waterfall.
    /// `now`: nanoseconds since 1970.
    pub fn records_of(&self, trace: &[u8; 16], now: u64) -> Vec<RecordMark> {
        let (chunks, _) = self.snapshot(Kind::Records, now);
        let mut found = Vec::new();
        for chunk in &chunks {
            for row in super::traces::rows_of(chunk, trace).take(MARKS - found.len()) {
                let has_id = chunk.has(row, super::chunk::HAS_ID);
                let id =
                    if has_id { hex(&chunk.columns.id[row].to_be_bytes()) } else { String::new() };
                let at = u64::from(chunk.number) << 16 | row as u64;
                let severity = chunk.columns.flags[row] & 31;
                found.push((chunk.time(row), at, severity, id));
            }
        }
        found.sort();
        let marks = found.into_iter().map(|(time, at, severity, span_id)| RecordMark {
            at,
            time_ns: time.to_string(),
            severity,
            span_id,
        });
        marks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_digits_are_left_out() {
        for (text, expected) in [
            ("user u-17 paid 12.50 EUR", "user * paid * EUR"),
            ("GET /a/5b8efff7-9803/x took 12ms", "GET /a/*/x took *"),
            ("no numbers, at all: none", "no numbers, at all: none"),
            ("", ""),
            ("[42] a=7;b=x", "[*] a=*;b=x"),
        ] {
            assert_eq!(template(Cell::Text(text.as_bytes())), expected);
        }
        let long = "\u{e9}".repeat(1000);
        assert_eq!(template(Cell::Text(long.as_bytes())).len(), TEMPLATE);
    }
}
