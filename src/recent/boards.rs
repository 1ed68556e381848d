//! Boards: panels, each a query and how it is shown. Five are built in; others are YAML:
//!
//! ```text
//! title: Checkout
//! panels:
//!   - title: Slow routes
//!     view: table
//!     query:
//!       select: [{op: P95, field: duration_ms}, {op: COUNT}]
//!       where: [[service.name, "=", shop]]
//!       group_by: [http.route]
//! ```
//!
//! A query may be taken to Honeycomb, as its query specification.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::{
    aggregate::Operation,
    cell::Literal,
    filter::{COMPARISONS, Combination},
    query::{Key, Query, QueryError, Range, wrong},
};
use crate::config::{Node, Problems, Value};

/// Most panels of a board.
const PANELS: usize = 40;

/// How a panel is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The rows.
    Table,
    /// Rows over time.
    Line,
    /// Rows as bars.
    Bar,
    /// The heatmap of the query.
    Heatmap,
    /// One number.
    Number,
    /// The latest traces that meet the conditions.
    Traces,
}

const VIEWS: [(&str, View); 6] = [
    ("table", View::Table),
    ("line", View::Line),
    ("bar", View::Bar),
    ("heatmap", View::Heatmap),
    ("number", View::Number),
    ("traces", View::Traces),
];

/// One panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// How.
    pub view: View,
    /// The query as it was written.
    pub query: Json,
    /// The same, checked.
    #[serde(skip)]
    pub checked: Query,
}

/// Panels with a title.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// What it is called.
    pub title: String,
    /// Its panels in order.
    pub panels: Vec<Panel>,
}

impl Board {
    /// Reads a board that is JSON.
    pub fn read(json: &Json) -> Result<Self, QueryError> {
        let Some(map) = json.as_object() else { return wrong("board", "it has to be an object") };
        if let Some(key) = map.keys().find(|key| !["title", "panels"].contains(&&***key)) {
            return wrong(key, "there is no such key; there are `title` and `panels`");
        }
        let Some(panels) = map.get("panels").and_then(Json::as_array) else {
            return wrong("panels", "it has to be a list of panels");
        };
        if panels.len() > PANELS {
            return wrong("panels", format!("a board has at most {PANELS} panels"));
        }
        let panels = panels.iter().enumerate();
        Ok(Board {
            title: title(map, "title")?,
            panels: panels.map(|(at, panel)| read_panel(at, panel)).collect::<Result<_, _>>()?,
        })
    }

    /// Reads a board from YAML. What is wrong is said with its line; the board is none then.
    pub fn of_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        match Board::read(&to_json(node)) {
            Ok(board) => Some(board),
            Err(error) => {
                let at = node.at(&error.at.replace('.', "::"));
                problems.error(at, error.to_string());
                None
            }
        }
    }
}

fn title(map: &Map<String, Json>, at: &str) -> Result<String, QueryError> {
    match map.get("title").and_then(Json::as_str) {
        Some(title) if !title.is_empty() => Ok(title.to_owned()),
        _ => wrong(at, "it has to be a text that is not empty"),
    }
}

fn read_panel(at: usize, panel: &Json) -> Result<Panel, QueryError> {
    let path = format!("panels.{at}");
    let Some(map) = panel.as_object() else { return wrong(path, "it has to be an object") };
    if let Some(key) = map.keys().find(|key| !["title", "view", "query"].contains(&&***key)) {
        let message = "there is no such key; there are `title`, `view` and `query`";
        return wrong(format!("{path}.{key}"), message);
    }
    let title = title(map, &format!("{path}.title"))?;
    let name = map.get("view").map_or("table", |view| view.as_str().unwrap_or_default());
    let Some((_, view)) = VIEWS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = VIEWS.iter().map(|(name, _)| *name).collect();
        return wrong(format!("{path}.view"), format!("it has to be one of {}", names.join(", ")));
    };
    let query = map.get("query").cloned().unwrap_or_else(|| json!({}));
    let checked = Query::read(&query).map_err(|error| {
        let below = if error.at == "query" { String::new() } else { format!(".{}", error.at) };
        QueryError { at: format!("{path}.query{below}"), message: error.message }
    })?;
    Ok(Panel { title, view: *view, query, checked })
}

fn to_json(node: &Node) -> Json {
    match node.plain() {
        Value::Null => Json::Null,
        // Of what was substituted `plain` shows what it means.
        Value::Unknown(text) | Value::String(text) | Value::Substituted { text, .. } => {
            text.as_str().into()
        }
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => i64::try_from(*value)
            .map_or_else(|_| u64::try_from(*value).map_or(Json::Null, Json::from), Json::from),
        Value::Float(value) => json!(value),
        Value::List(nodes) => nodes.iter().map(to_json).collect(),
        Value::Map(members) => {
            let pairs = members.iter().map(|one| (one.key.clone(), to_json(&one.value)));
            pairs.collect::<Map<_, _>>().into()
        }
    }
}

/// The boards that are there without a file.
pub fn built_in() -> Vec<Board> {
    let boards = [users(), recent_traces(), service(), errors(), volume()];
    // A test reads every one of them.
    boards.iter().filter_map(|board| Board::read(board).ok()).collect()
}

fn panel(title: &str, view: &str, query: &Json) -> Json {
    json!({"title": title, "view": view, "query": query})
}

fn users() -> Json {
    let latency = json!({
        "select": [{"op": "AVG", "field": "duration_ms"}, {"op": "P99", "field": "duration_ms"},
            {"op": "COUNT"}],
        "where": [["user.id", "exists"]],
        "group_by": ["user.id"],
        "limit": 50,
    });
    let active = json!({
        "select": [{"op": "MAX", "field": "time"}, {"op": "COUNT"}],
        "where": [["user.id", "exists"]],
        "group_by": ["user.id"],
        "order_by": [["MAX(time)", "desc"]],
        "limit": 50,
    });
    let errors = json!({
        "where": [["user.id", "exists"], ["error", "=", true]],
        "group_by": ["user.id", "name"],
    });
    let how_many = json!({"select": [{"op": "COUNT_DISTINCT", "field": "user.id"}]});
    json!({"title": "Users", "panels": [
        panel("Average latency by user", "table", &latency),
        panel("Recently active users", "table", &active),
        panel("Errors by user", "table", &errors),
        panel("Different users", "number", &how_many),
    ]})
}

fn recent_traces() -> Json {
    let roots = json!({"where": [["is_root", "=", true]]});
    let by_name = json!({
        "select": [{"op": "COUNT"}, {"op": "P95", "field": "duration_ms"},
            {"op": "LAST", "field": "time"}],
        "where": [["is_root", "=", true]],
        "group_by": ["service.name", "name"],
    });
    json!({"title": "Recent traces", "panels": [
        panel("Latest traces", "traces", &roots),
        panel("By the name of the root", "table", &by_name),
    ]})
}

fn service() -> Json {
    let group = json!(["service.name"]);
    let rate = json!({"select": [{"op": "RATE"}], "group_by": group, "step_s": 10});
    let failing = json!({
        "select": [{"op": "COUNT"}], "where": [["error", "=", true]],
        "group_by": group, "step_s": 10,
    });
    let latency = json!({
        "select": [{"op": "P50", "field": "duration_ms"}, {"op": "P95", "field": "duration_ms"},
            {"op": "P99", "field": "duration_ms"}],
        "group_by": group, "step_s": 10,
    });
    let heat = json!({"select": [{"op": "HEATMAP", "field": "duration_ms"}]});
    json!({"title": "Service", "panels": [
        panel("Spans per second", "line", &rate),
        panel("Errors", "line", &failing),
        panel("Latency", "line", &latency),
        panel("Durations", "heatmap", &heat),
    ]})
}

fn errors() -> Json {
    let by = |fields: Json| {
        json!({
            "select": [{"op": "COUNT"}, {"op": "LAST", "field": "status_message"}],
            "where": [["error", "=", true]],
            "group_by": fields,
        })
    };
    let over_time = json!({
        "where": [["error", "=", true]], "group_by": ["service.name"], "step_s": 10,
    });
    json!({"title": "Errors", "panels": [
        panel("Errors over time", "line", &over_time),
        panel("By operation", "table", &by(json!(["service.name", "name"]))),
        panel("By route", "table", &by(json!(["http.route", "http.response.status_code"]))),
        panel("By message", "table", &by(json!(["status_message"]))),
    ]})
}

fn volume() -> Json {
    let by =
        |fields: Json| json!({"select": [{"op": "COUNT"}, {"op": "RATE"}], "group_by": fields});
    let logs = json!({"dataset": "logs", "group_by": ["service.name", "severity_text"]});
    json!({"title": "Volume", "panels": [
        panel("Spans by service", "bar", &by(json!(["service.name"]))),
        panel("Spans by operation", "table", &by(json!(["service.name", "name"]))),
        panel("Spans by library", "table", &by(json!(["library.name"]))),
        panel("Log records by service", "table", &logs),
    ]})
}

/// A query as Honeycomb's query specification, and what of it Honeycomb does not have.
pub fn to_honeycomb(query: &Query) -> (Json, Vec<String>) {
    let mut notes = Vec::new();
    let mut calculations = Vec::new();
    for select in &query.select {
        let column = select.field.as_ref().map(|(name, _)| name.clone());
        match select.operation {
            Operation::Last => notes.push(format!("{} is left out", select.label())),
            Operation::Rate => {
                notes.push("RATE is a COUNT there; divide by the time".to_owned());
                calculations.push(json!({"op": "COUNT"}));
            }
            _ if column.as_deref() == Some("time") => {
                notes.push(format!("{} is left out: time is no column", select.label()));
            }
            operation => calculations.push(match column {
                Some(column) => json!({"op": operation.name(), "column": column}),
                None => json!({"op": operation.name()}),
            }),
        }
    }
    let filters = query.conditions.iter().map(|(column, condition)| {
        let name = comparison_name(condition.comparison);
        match (condition.comparison.takes(), condition.values.as_slice()) {
            (0, _) => json!({"column": column, "op": name}),
            (1, [value]) => json!({"column": column, "op": name, "value": value}),
            (_, values) => json!({"column": column, "op": name, "value": values}),
        }
    });
    let breakdowns: Vec<&String> = query.group_by.iter().map(|(name, _)| name).collect();
    let mut spec = json!({
        "breakdowns": breakdowns,
        "calculations": calculations,
        "filters": filters.collect::<Vec<_>>(),
        "filter_combination": if query.combination == Combination::Any { "OR" } else { "AND" },
        "orders": orders(query, &mut notes),
        "havings": havings(query),
        "limit": query.limit,
    });
    add_time(query, &mut spec);
    (spec, notes)
}

fn comparison_name(comparison: super::filter::Comparison) -> &'static str {
    COMPARISONS.iter().find(|(_, known)| *known == comparison).map_or("=", |(name, _)| name)
}

fn orders(query: &Query, notes: &mut Vec<String>) -> Vec<Json> {
    let mut orders = Vec::new();
    for (key, is_descending) in &query.order_by {
        let order = if *is_descending { "descending" } else { "ascending" };
        match key {
            Key::Group(at) => {
                orders.push(json!({"column": query.group_by[*at].0, "order": order}));
            }
            Key::Select(at) => {
                let select = &query.select[*at];
                let column = select.field.as_ref().map(|(name, _)| name.as_str());
                match (select.operation, column) {
                    (Operation::Last, _) | (_, Some("time")) => {
                        notes.push(format!("the order by {} is left out", select.label()));
                    }
                    (Operation::Rate | Operation::Count, _) => {
                        orders.push(json!({"op": "COUNT", "order": order}));
                    }
                    (operation, column) => orders
                        .push(json!({"op": operation.name(), "column": column, "order": order})),
                }
            }
        }
    }
    orders
}

fn havings(query: &Query) -> Vec<Json> {
    let having = |(at, comparison, value): &(usize, _, Literal)| {
        let select = &query.select[*at];
        let mut having = json!({
            "calculate_op": select.operation.name(),
            "op": comparison_name(*comparison),
            "value": value,
        });
        if let Some((name, _)) = &select.field {
            having["column"] = name.as_str().into();
        }
        having
    };
    query.having.iter().map(having).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a query are positive and small"
)]
fn add_time(query: &Query, spec: &mut Json) {
    match query.range {
        Range::All => {}
        Range::Last(seconds) => spec["time_range"] = (seconds.ceil() as u64).into(),
        Range::Between(from, to) => {
            spec["start_time"] = (from as u64).into();
            spec["end_time"] = (to.ceil() as u64).into();
        }
    }
    if let Some(step) = query.step_s {
        spec["granularity"] = (step.ceil() as u64).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    #[test]
    fn every_built_in_board_is_one() {
        let titles: Vec<String> = built_in().into_iter().map(|board| board.title).collect();
        assert_eq!(titles, ["Users", "Recent traces", "Service", "Errors", "Volume"]);
    }

    #[test]
    fn a_board_of_yaml_is_read_and_its_errors_have_lines() {
        let text = "title: Checkout\npanels:\n  - title: Slow\n    view: line\n    query:\n      \
                    select: [{op: P95, field: duration_ms}]\n      where: [[http.route, exists]]\n";
        let mut problems = Problems::default();
        let board = Board::of_node(&yaml::parse(0, text).unwrap(), &mut problems).unwrap();
        assert_eq!((&*board.title, board.panels[0].view), ("Checkout", View::Line));
        assert_eq!(board.panels[0].checked.conditions.len(), 1);
        for (wrong, right, expected) in [
            ("P95", "P96", "`panels.0.query.select.0`: there is no `P96`"),
            ("line", "pie", "`panels.0.view`: it has to be one of table"),
            ("exists", "is", "`panels.0.query.where.0`: there is no comparison `is`"),
            ("title: Checkout", "titel: x", "`titel`: there is no such key"),
        ] {
            let text = text.replace(wrong, right);
            let mut problems = Problems::default();
            assert_eq!(Board::of_node(&yaml::parse(0, &text).unwrap(), &mut problems), None);
            let problem = &problems.0[0];
            assert!(problem.message.starts_with(expected), "{}", problem.message);
            let line = |at: usize| text[..at].lines().count();
            let place = problem.place.as_ref().unwrap();
            assert!(line(place.range.end) <= line(text.find(right).unwrap() + right.len()));
        }
    }

    #[test]
    fn honeycomb_gets_what_it_has() {
        let query = Query::read(&json!({
            "range": {"last_s": 900}, "step_s": 10,
            "select": [{"op": "AVG", "field": "duration_ms"}, {"op": "MAX", "field": "time"},
                {"op": "COUNT"}],
            "where": [["service.name", "=", "shop"], ["error", "exists"]],
            "group_by": ["user.id"], "having": [["COUNT", ">", 10]],
            "order_by": [["MAX(time)", "desc"], ["AVG(duration_ms)", "desc"]],
        }))
        .unwrap();
        let (spec, notes) = to_honeycomb(&query);
        assert_eq!(
            spec,
            json!({
                "breakdowns": ["user.id"],
                "calculations": [{"op": "AVG", "column": "duration_ms"}, {"op": "COUNT"}],
                "filters": [{"column": "service.name", "op": "=", "value": "shop"},
                    {"column": "error", "op": "exists"}],
                "filter_combination": "AND",
                "orders": [{"op": "AVG", "column": "duration_ms", "order": "descending"}],
                "havings": [{"calculate_op": "COUNT", "op": ">", "value": 10.0}],
                "limit": 20, "time_range": 900, "granularity": 10,
            })
        );
        assert_eq!(notes.len(), 2);
    }
}
