//! Items of a tap as text: a line, a block with what has changed, JSON, or OTLP/JSON.
//!
//! All that comes from telemetry is escaped, so that no item can steer a terminal.

use std::fmt::Write as _;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Format;
use crate::{
    admin::proto::{TapChange, TapFate, TapItem, TapVerdict},
    cli::screen::{Paint, columns, fitted},
    config::shown::{escaped, escaped_json},
    otlp::{self, Signal},
    tap::{self, Single},
};

/// Least characters of a name in a terminal that is too narrow.
const LEAST: usize = 12;

/// Most keys that a line names as changed.
const KEYS: usize = 3;

/// Prints items in one of the formats.
pub(super) struct Printer {
    format: Format,
    pipeline: String,
    component: String,
    paint: Paint,
    columns: Option<usize>,
}

impl Printer {
    /// For standard output.
    pub(super) fn new(format: Format, pipeline: String, component: String) -> Self {
        let (paint, columns) = (Paint::of_output(), columns());
        Printer { format, pipeline, component, paint, columns }
    }

    /// An item, with the end of its line.
    pub(super) fn text(&self, item: &TapItem) -> String {
        match self.format {
            Format::Line => self.line(item, self.columns),
            Format::Diff => self.diff(item),
            Format::Json => self.json(item),
            Format::Otlp => otlp(item),
        }
    }

    /// `14:20:01.120 shop GET /cart 1203ms ERROR trace=5b8e.. [kept by errors]`.
    fn line(&self, item: &TapItem, columns: Option<usize>) -> String {
        let time = time(item.at_unix_us);
        let service = if item.service.is_empty() { "-" } else { &*item.service };
        let service = escaped(service);
        let mut rest = String::new();
        let mut word = |text: &str| {
            if !text.is_empty() {
                rest.push(' ');
                rest.push_str(text);
            }
        };
        word(&item.duration_nano.map(duration).unwrap_or_default());
        let status = escaped(&item.status).into_owned();
        let is_error = matches!(&*item.status, "error" | "fatal");
        let status = if item.signal == "metrics" { status } else { status.to_uppercase() };
        word(if status == "OK" { "" } else { &status });
        let id = escaped(&item.trace_id).into_owned();
        let id = if columns.is_some() { fitted(&id, 10) } else { id };
        word(&if id.is_empty() { String::new() } else { format!("trace={id}") });
        let badge = badge(item, &self.component);
        word(&badge);
        let mut name = escaped(&item.name).into_owned();
        if let Some(columns) = columns {
            let used = time.len() + service.chars().count() + rest.chars().count() + 2;
            name = fitted(&name, columns.saturating_sub(used).max(LEAST));
        }
        if is_error {
            rest = rest.replacen(&status, &self.paint.red(&status), 1);
        }
        let painted = match item.fate() {
            TapFate::Dropped => self.paint.red(&badge),
            TapFate::Changed | TapFate::Created => self.paint.yellow(&badge),
            _ => self.paint.dim(&badge),
        };
        if !badge.is_empty() {
            rest = rest.replacen(&badge, &painted, 1);
        }
        format!("{} {service} {name}{rest}\n", self.paint.dim(&time))
    }

    /// The line, and below it what has changed, or all fields where nothing was to compare.
    fn diff(&self, item: &TapItem) -> String {
        let mut out = self.line(item, None);
        for TapChange { key, before, after } in &item.changes {
            let (key, value) = (escaped(key), |text: &String| escaped(text).into_owned());
            let (sign, words) = match (before, after) {
                (Some(before), Some(after)) => {
                    let words = format!("{} -> {}", value(before), value(after));
                    (" ", self.paint.yellow(&words))
                }
                (Some(before), None) => ("-", self.paint.red(&value(before))),
                (None, Some(after)) => ("+", self.paint.green(&value(after))),
                (None, None) => continue,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {sign} {key}: {words}");
        }
        if !matches!(item.fate(), TapFate::Changed | TapFate::Unchanged) {
            for (name, value) in
                fields(item, &item.before).or_else(|| fields(item, &item.after)).unwrap_or_default()
            {
                let _ = writeln!(out, "    {}: {}", escaped(&name), escaped(&value.to_string()));
            }
        }
        out
    }

    /// One object, with all fields before and after.
    fn json(&self, item: &TapItem) -> String {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| {
            let is_empty = value.is_null() || value.as_str() == Some("");
            if !is_empty {
                object.insert(name.to_owned(), value);
            }
        };
        put("time", timestamp(item.at_unix_us).into());
        put("pipeline", (&*self.pipeline).into());
        put("component", (&*self.component).into());
        put("signal", (&*item.signal).into());
        put("fate", fate(item.fate()).into());
        put("service", (&*item.service).into());
        put("name", (&*item.name).into());
        put("trace_id", (&*item.trace_id).into());
        put("span_id", (&*item.span_id).into());
        put("parent_span_id", (&*item.parent_span_id).into());
        put("duration_ms", item.duration_nano.map(millis).into());
        put("status", (&*item.status).into());
        put("reason", (&*item.reason).into());
        if let Some(TapVerdict { policy, kept, dry_run }) = &item.verdict {
            put("policy", (&**policy).into());
            put("kept", (*kept).into());
            put("dry_run", dry_run.then_some(true).into());
        }
        put("items_in", Some(item.of_in).filter(|items| *items > 0).into());
        put("items_out", Some(item.of_out).filter(|items| *items > 0).into());
        put("split", item.split.then_some(true).into());
        if !item.changes.is_empty() {
            put("changes", item.changes.iter().map(change).collect());
        }
        let object_of =
            |body: &Vec<u8>| fields(item, body).map(|all| Value::Object(all.into_iter().collect()));
        put("before", object_of(&item.before).into());
        put("after", object_of(&item.after).into());
        format!("{}\n", escaped_json(&Value::Object(object).to_string()))
    }
}

/// An item as a line without colours and without its end, for a screen of so many columns.
#[cfg(feature = "terminal")]
pub(in crate::cli) fn plain_line(item: &TapItem, component: &str, columns: usize) -> String {
    let printer = Printer {
        format: Format::Line,
        pipeline: String::new(),
        component: component.to_owned(),
        paint: Paint(false),
        columns: Some(columns),
    };
    printer.text(item).trim_end_matches('\n').to_owned()
}

fn change(change: &TapChange) -> Value {
    let value = |text: &Option<String>| -> Value {
        let read = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        text.as_ref().map_or(Value::Null, read)
    };
    json!({"key": change.key, "before": value(&change.before), "after": value(&change.after)})
}

/// The item as an OTLP/JSON request: as it went in, or as it came out where that is not known.
fn otlp(item: &TapItem) -> String {
    let Some(signal) = signal(item) else { return String::new() };
    let body = if item.before.is_empty() { &item.after } else { &item.before };
    let mut out = Vec::new();
    otlp::json::write(signal, &[Bytes::copy_from_slice(body)], &mut out);
    format!("{}\n", escaped_json(&String::from_utf8_lossy(&out)))
}

fn signal(item: &TapItem) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| signal.name() == item.signal)
}

/// The fields of an item; `None` if it is not there.
fn fields(item: &TapItem, body: &[u8]) -> Option<Vec<tap::Named>> {
    let signal = signal(item).filter(|_| !body.is_empty())?;
    let single = Single { signal, body: body.to_vec(), masked: Vec::new() };
    Some(tap::fields::fields(&single))
}

/// What became of an item, in brackets; empty where there is nothing to say.
fn badge(item: &TapItem, component: &str) -> String {
    let verdict = item.verdict.as_ref().map(decided).unwrap_or_default();
    let mut words = match item.fate() {
        TapFate::Unchanged if verdict.is_empty() => "unchanged".to_owned(),
        TapFate::Changed => {
            let changed = changed(item);
            if verdict.is_empty() { changed } else { format!("{verdict}, {changed}") }
        }
        TapFate::Dropped if verdict.is_empty() => {
            format!("dropped by {}: {}", escaped(component), escaped(&item.reason))
        }
        TapFate::Passed | TapFate::Unspecified | TapFate::Unchanged | TapFate::Dropped => verdict,
        TapFate::Created => "created".to_owned(),
        TapFate::Inside => "still inside".to_owned(),
    };
    if item.of_in > 0 && item.of_out > item.of_in {
        let _ = write!(words, ", joined {} into {}", item.of_in, item.of_out);
    } else if item.split && item.of_out < item.of_in {
        let _ = write!(words, ", split {} into {}", item.of_in, item.of_out);
    }
    if words.is_empty() { words } else { format!("[{words}]") }
}

/// What a sampler has decided.
fn decided(verdict: &TapVerdict) -> String {
    let would = if verdict.dry_run { "would be " } else { "" };
    let done = if verdict.kept { "kept" } else { "dropped" };
    match &*escaped(&verdict.policy) {
        "" => format!("{would}{done}: no policy sampled it"),
        policy => format!("{would}{done} by {policy}"),
    }
}

/// The keys of what has changed.
fn changed(item: &TapItem) -> String {
    let key = |change: &TapChange| {
        let key = change.key.strip_prefix("attributes.").unwrap_or(&change.key);
        escaped(key).into_owned()
    };
    let keys: Vec<String> = item.changes.iter().take(KEYS).map(key).collect();
    let more = match item.changes.len().saturating_sub(KEYS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("changed {}{more}", keys.join(", "))
}

fn fate(fate: TapFate) -> &'static str {
    match fate {
        TapFate::Unspecified => "",
        TapFate::Passed => "passed",
        TapFate::Unchanged => "unchanged",
        TapFate::Changed => "changed",
        TapFate::Dropped => "dropped",
        TapFate::Created => "created",
        TapFate::Inside => "inside",
    }
}

/// The time of day, UTC.
fn time(micros: u64) -> String {
    let (millis, seconds) = (micros / 1000 % 1000, micros / 1_000_000 % 86_400);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}")
}

fn timestamp(micros: u64) -> String {
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn duration(nanos: u64) -> String {
    match nanos {
        ..1_000_000 => format!("{}us", nanos / 1000),
        1_000_000..10_000_000 => format!("{:.1}ms", millis(nanos)),
        10_000_000..100_000_000_000 => format!("{}ms", nanos / 1_000_000),
        _ => format!("{}s", nanos / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests;
