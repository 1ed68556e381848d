//! Questions about what is held: the six clauses of a Honeycomb query, as JSON.
//!
//! ```json
//! {
//!   "dataset": "spans",
//!   "range": {"last_s": 900},
//!   "select": [{"op": "AVG", "field": "duration_ms"}, {"op": "MAX", "field": "time"}],
//!   "where": [["service.name", "=", "shop"], ["error", "exists"]],
//!   "group_by": ["user.id"],
//!   "having": [["COUNT", ">", 10]],
//!   "order_by": [["MAX(time)", "desc"]],
//!   "limit": 20,
//!   "step_s": 10
//! }
//! ```
//!
//! Everything may be left out: without `select` items are counted, without `range` all that is
//! held is looked at. `where` may also have Honeycomb's form,
//! `{"column": .., "op": .., "value": ..}`, and `filter_combination` may be `OR`. What a name means
//! is in `field.rs`.

use serde_json::{Map, Value as Json};

use super::{
    aggregate::{OPERATIONS, Operation},
    cell::Literal,
    chunk::Kind,
    field::Field,
    filter::{COMPARISONS, Combination, Comparison, Condition},
};

/// Most fields to group by.
const GROUP_BY: usize = 3;
/// Most results of a query, conditions, and values of one.
const SELECT: usize = 10;
const CONDITIONS: usize = 50;
const VALUES: usize = 100;
/// Most rows of a table, and how many there are if nothing is said.
const LIMIT: usize = 1000;
const USUAL_LIMIT: usize = 20;

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{at}`: {message}")]
pub struct QueryError {
    /// Path of the key: `where.1`; `query` is the whole.
    pub at: String,
    /// What is wrong there, and what is right.
    pub message: String,
}

pub(super) fn wrong<T>(at: impl Into<String>, message: impl Into<String>) -> Result<T, QueryError> {
    Err(QueryError { at: at.into(), message: message.into() })
}

/// One result of a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Select {
    pub(super) operation: Operation,
    /// The name of the field, and what it means.
    pub(super) field: Option<(String, Field)>,
}

impl Select {
    /// As it is named in a table: `AVG(duration_ms)`.
    pub(super) fn label(&self) -> String {
        match &self.field {
            Some((name, _)) => format!("{}({name})", self.operation.name()),
            None => self.operation.name().to_owned(),
        }
    }
}

/// Over which time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Range {
    #[default]
    All,
    /// The last so many seconds.
    Last(f64),
    /// From and to, seconds since 1970.
    Between(f64, f64),
}

/// What a table is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// A result, by its place.
    Select(usize),
    /// A field of the groups, by its place.
    Group(usize),
}

/// A query that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub(super) kind: Kind,
    pub(super) range: Range,
    pub(super) select: Vec<Select>,
    /// Conditions with the names of their fields.
    pub(super) conditions: Vec<(String, Condition)>,
    pub(super) combination: Combination,
    pub(super) group_by: Vec<(String, Field)>,
    pub(super) having: Vec<(usize, Comparison, Literal)>,
    /// Whether each is descending.
    pub(super) order_by: Vec<(Key, bool)>,
    pub(super) limit: usize,
    /// Seconds of a point of a series; without it there is no series.
    pub(super) step_s: Option<f64>,
}

const KEYS: [&str; 11] = [
    "dataset",
    "range",
    "select",
    "where",
    "filter_combination",
    "group_by",
    "having",
    "order_by",
    "limit",
    "step_s",
    "title",
];

impl Query {
    /// Reads a query.
    pub fn from_json(text: &[u8]) -> Result<Self, QueryError> {
        match serde_json::from_slice(text) {
            Ok(json) => Query::read(&json),
            Err(error) => wrong("query", error.to_string()),
        }
    }

    /// Reads a query that is JSON already.
    pub fn read(json: &Json) -> Result<Self, QueryError> {
        let Some(map) = json.as_object() else { return wrong("query", "it has to be an object") };
        if let Some(key) = map.keys().find(|key| !KEYS.contains(&&***key)) {
            return wrong(key, format!("there is no such key; there are {}", KEYS.join(", ")));
        }
        let mut query = Query {
            kind: dataset(map)?,
            range: range(map)?,
            select: Vec::new(),
            conditions: Vec::new(),
            combination: combination(map)?,
            group_by: Vec::new(),
            having: Vec::new(),
            order_by: Vec::new(),
            limit: limit(map)?,
            step_s: positive(map, "step_s")?,
        };
        for (at, item) in list(map, "select", SELECT)?.iter().enumerate() {
            query.select.push(select(&format!("select.{at}"), item)?);
        }
        if query.select.is_empty() {
            query.select.push(Select { operation: Operation::Count, field: None });
        }
        for (at, item) in list(map, "where", CONDITIONS)?.iter().enumerate() {
            query.conditions.push(condition(&format!("where.{at}"), item)?);
        }
        for (at, item) in list(map, "group_by", GROUP_BY)?.iter().enumerate() {
            let Some(name) = item.as_str() else {
                return wrong(format!("group_by.{at}"), "it has to be the name of a field");
            };
            query.group_by.push((name.to_owned(), Field::of(name)));
        }
        for (at, item) in list(map, "having", CONDITIONS)?.iter().enumerate() {
            let having = query.having(&format!("having.{at}"), item)?;
            query.having.push(having);
        }
        for (at, item) in list(map, "order_by", SELECT)?.iter().enumerate() {
            let order = query.order(&format!("order_by.{at}"), item)?;
            query.order_by.push(order);
        }
        Ok(query)
    }

    /// The place of a result by its label.
    fn place(&self, at: &str, label: &str) -> Result<usize, QueryError> {
        let found = self.select.iter().position(|select| select.label() == label);
        found.map_or_else(
            || {
                let known: Vec<String> = self.select.iter().map(Select::label).collect();
                wrong(at, format!("`{label}` is not in `select`, which has {}", known.join(", ")))
            },
            Ok,
        )
    }

    fn having(&self, at: &str, item: &Json) -> Result<(usize, Comparison, Literal), QueryError> {
        const FORM: &str = "it has to be a list: [\"COUNT\", \">\", 10]";
        let Some([label, comparison, value]) = item.as_array().map(Vec::as_slice) else {
            return wrong(at, FORM);
        };
        let (Some(label), Some(value)) = (label.as_str(), Literal::of(value)) else {
            return wrong(at, FORM);
        };
        let comparison = comparison_of(at, comparison)?;
        if comparison.takes() != 1 {
            return wrong(at, "only comparisons with one value are possible here");
        }
        Ok((self.place(at, label)?, comparison, value))
    }

    fn order(&self, at: &str, item: &Json) -> Result<(Key, bool), QueryError> {
        const FORM: &str = "it has to be a list: [\"COUNT\", \"desc\"]";
        let (label, direction) = match item.as_array().map(Vec::as_slice) {
            Some([label]) => (label.as_str(), Some("asc")),
            Some([label, direction]) => (label.as_str(), direction.as_str()),
            _ => (item.as_str(), Some("asc")),
        };
        let (Some(label), Some(direction)) = (label, direction) else { return wrong(at, FORM) };
        let is_descending = match direction {
            "asc" | "ascending" => false,
            "desc" | "descending" => true,
            _ => return wrong(at, "the direction has to be `asc` or `desc`"),
        };
        if let Some(group) = self.group_by.iter().position(|(name, _)| name == label) {
            return Ok((Key::Group(group), is_descending));
        }
        Ok((Key::Select(self.place(at, label)?), is_descending))
    }
}

fn dataset(map: &Map<String, Json>) -> Result<Kind, QueryError> {
    match map.get("dataset").map(|json| json.as_str().unwrap_or_default()) {
        None | Some("spans") => Ok(Kind::Spans),
        Some("logs") => Ok(Kind::Records),
        Some(_) => wrong("dataset", "it has to be `spans` or `logs`"),
    }
}

fn combination(map: &Map<String, Json>) -> Result<Combination, QueryError> {
    match map.get("filter_combination").map(|json| json.as_str().unwrap_or_default()) {
        None | Some("AND") => Ok(Combination::All),
        Some("OR") => Ok(Combination::Any),
        Some(_) => wrong("filter_combination", "it has to be `AND` or `OR`"),
    }
}

fn range(map: &Map<String, Json>) -> Result<Range, QueryError> {
    let Some(json) = map.get("range") else { return Ok(Range::All) };
    let Some(range) = json.as_object() else {
        return wrong("range", "it has to be an object: {\"last_s\": 900}");
    };
    if let Some(key) = range.keys().find(|key| !["last_s", "from_s", "to_s"].contains(&&***key)) {
        return wrong(format!("range.{key}"), "there are `last_s`, or `from_s` and `to_s`");
    }
    let last = positive(range, "last_s")?;
    let (from, to) = (positive(range, "from_s")?, positive(range, "to_s")?);
    match (last, from, to) {
        (Some(last), None, None) => Ok(Range::Last(last)),
        (None, Some(from), Some(to)) if from < to => Ok(Range::Between(from, to)),
        (None, Some(_), Some(_)) => wrong("range", "`from_s` has to be before `to_s`"),
        (None, None, None) => Ok(Range::All),
        _ => wrong("range", "it has `last_s`, or both `from_s` and `to_s`"),
    }
}

fn limit(map: &Map<String, Json>) -> Result<usize, QueryError> {
    let Some(json) = map.get("limit") else { return Ok(USUAL_LIMIT) };
    let limit = json.as_u64().and_then(|limit| usize::try_from(limit).ok());
    match limit {
        Some(limit @ 1..=LIMIT) => Ok(limit),
        _ => wrong("limit", format!("it has to be a whole number from 1 to {LIMIT}")),
    }
}

fn positive(map: &Map<String, Json>, key: &str) -> Result<Option<f64>, QueryError> {
    let Some(json) = map.get(key).filter(|json| !json.is_null()) else { return Ok(None) };
    match json.as_f64() {
        Some(number) if number > 0.0 && number < 1e11 => Ok(Some(number)),
        _ => wrong(key, "it has to be a number of seconds above 0"),
    }
}

pub(super) fn list<'j>(
    map: &'j Map<String, Json>,
    key: &str,
    most: usize,
) -> Result<&'j [Json], QueryError> {
    match map.get(key) {
        None | Some(Json::Null) => Ok(&[]),
        Some(Json::Array(list)) if list.len() <= most => Ok(list),
        Some(Json::Array(_)) => wrong(key, format!("it has more than {most} entries")),
        Some(_) => wrong(key, "it has to be a list"),
    }
}

fn select(at: &str, item: &Json) -> Result<Select, QueryError> {
    const FORM: &str = "it has to be an object: {\"op\": \"AVG\", \"field\": \"duration_ms\"}";
    let Some(map) = item.as_object() else { return wrong(at, FORM) };
    if map.keys().any(|key| !["op", "field", "column"].contains(&&**key)) {
        return wrong(at, FORM);
    }
    let Some(name) = map.get("op").and_then(Json::as_str) else { return wrong(at, FORM) };
    let known = OPERATIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let Some((_, operation)) = known else {
        let names: Vec<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
        return wrong(at, format!("there is no `{name}`; there are {}", names.join(", ")));
    };
    let field = map.get("field").or_else(|| map.get("column")).filter(|json| !json.is_null());
    let field = match (field.map(Json::as_str), operation.takes_field()) {
        (Some(Some(field)), true) => Some((field.to_owned(), Field::of(field))),
        (None, false) => None,
        (Some(_), false) => return wrong(at, format!("`{name}` has no `field`")),
        (_, true) => return wrong(at, format!("`{name}` needs a `field`")),
    };
    Ok(Select { operation: *operation, field })
}

fn comparison_of(at: &str, json: &Json) -> Result<Comparison, QueryError> {
    let name = json.as_str().unwrap_or_default();
    if let Some((_, comparison)) = COMPARISONS.iter().find(|(known, _)| *known == name) {
        return Ok(*comparison);
    }
    let names: Vec<&str> = COMPARISONS.iter().map(|(name, _)| *name).collect();
    wrong(at, format!("there is no comparison `{name}`; there are {}", names.join(" ")))
}

pub(super) fn condition(at: &str, item: &Json) -> Result<(String, Condition), QueryError> {
    const FORM: &str = "it has to be a list: [\"service.name\", \"=\", \"shop\"]";
    let (field, comparison, value) = match item {
        Json::Array(list) => match list.as_slice() {
            [field, comparison] => (Some(field), Some(comparison), None),
            [field, comparison, value] => (Some(field), Some(comparison), Some(value)),
            _ => return wrong(at, FORM),
        },
        Json::Object(map) => (map.get("column"), map.get("op"), map.get("value")),
        _ => return wrong(at, FORM),
    };
    let (Some(field), Some(comparison)) = (field.and_then(Json::as_str), comparison) else {
        return wrong(at, FORM);
    };
    let comparison = comparison_of(at, comparison)?;
    let values: Vec<&Json> = match value.filter(|value| !value.is_null()) {
        None => Vec::new(),
        Some(Json::Array(values)) => values.iter().collect(),
        Some(value) => vec![value],
    };
    match (comparison.takes(), values.len()) {
        (0, 0) | (1, 1) => {}
        (usize::MAX, count) if (1..=VALUES).contains(&count) => {}
        (0, _) => return wrong(at, "this comparison has no value"),
        (1, _) => return wrong(at, "this comparison needs one value"),
        _ => return wrong(at, format!("this comparison needs a list of 1 to {VALUES} values")),
    }
    let literals: Option<Vec<Literal>> = values.into_iter().map(Literal::of).collect();
    let Some(values) = literals else {
        return wrong(at, "a value has to be a text, a number, `true` or `false`");
    };
    Ok((field.to_owned(), Condition { field: Field::of(field), comparison, values }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(json: &Json) -> String {
        Query::read(json).unwrap_err().to_string()
    }

    #[test]
    fn the_form_of_the_header_is_read() {
        let query = Query::read(&json!({
            "dataset": "spans",
            "range": {"last_s": 900},
            "select": [{"op": "AVG", "field": "duration_ms"}, {"op": "max", "field": "time"},
                {"op": "COUNT"}],
            "where": [["service.name", "=", "shop"], ["error", "exists"],
                {"column": "http.route", "op": "in", "value": ["/a", "/b"]}],
            "group_by": ["user.id"],
            "having": [["COUNT", ">", 10]],
            "order_by": [["MAX(time)", "desc"], ["user.id"]],
            "limit": 20,
            "step_s": 10,
        }))
        .unwrap();
        let labels: Vec<String> = query.select.iter().map(Select::label).collect();
        assert_eq!(labels, ["AVG(duration_ms)", "MAX(time)", "COUNT"]);
        assert_eq!(query.order_by, [(Key::Select(1), true), (Key::Group(0), false)]);
        assert_eq!(query.having, [(2, Comparison::Above, Literal::Number(10.0))]);
        assert_eq!(query.conditions[2].1.values.len(), 2);
        assert_eq!((query.limit, query.step_s), (20, Some(10.0)));
        let empty = Query::read(&json!({})).unwrap();
        assert_eq!((empty.select[0].label().as_str(), empty.limit), ("COUNT", USUAL_LIMIT));
    }

    #[test]
    fn errors_name_the_place_and_what_is_right() {
        for (json, expected) in [
            (json!([]), "`query`: it has to be an object"),
            (json!({"selct": []}), "`selct`: there is no such key; there are dataset, range"),
            (json!({"select": [{"op": "AVERAGE"}]}), "`select.0`: there is no `AVERAGE`"),
            (json!({"select": [{"op": "AVG"}]}), "`select.0`: `AVG` needs a `field`"),
            (json!({"where": [["a", "~", 1]]}), "`where.0`: there is no comparison `~`"),
            (json!({"where": [["a", "="]]}), "`where.0`: this comparison needs one value"),
            (json!({"where": [["a", "in", []]]}), "`where.0`: this comparison needs a list"),
            (json!({"where": [["a", "=", {}]]}), "`where.0`: a value has to be"),
            (json!({"group_by": ["a", "b", "c", "d"]}), "`group_by`: it has more than 3"),
            (json!({"order_by": [["AVG(x)"]]}), "`order_by.0`: `AVG(x)` is not in `select`"),
            (json!({"range": {"last_s": -1}}), "`last_s`: it has to be a number of seconds"),
            (json!({"range": {"from_s": 2, "to_s": 1}}), "`range`: `from_s` has to be before"),
            (json!({"limit": 0}), "`limit`: it has to be a whole number from 1 to 1000"),
            (json!({"dataset": "metrics"}), "`dataset`: it has to be `spans` or `logs`"),
        ] {
            let found = error(&json);
            assert!(found.starts_with(expected), "{found}");
        }
        assert!(Query::from_json(b"{").unwrap_err().message.contains("EOF"));
    }
}
