//! An item that a tap shows, as a message.

use super::micros;
use crate::{
    admin::proto::{TapChange, TapFate, TapItem, TapVerdict},
    tap::{Fate, Head, Shown},
};

/// Longest value of a change, in characters; the whole value is in the item.
const VALUE: usize = 4096;

/// The message of an item.
pub(super) fn item(shown: Shown) -> TapItem {
    let one = shown.before.as_ref().or(shown.after.as_ref());
    let head = one.map(Head::of).unwrap_or_default();
    let signal = one.map_or("", |one| one.signal.name());
    let value = |value: &serde_json::Value| cut(value.to_string());
    let changes = shown.changes.into_iter().map(|change| TapChange {
        before: change.before.as_ref().map(value),
        after: change.after.as_ref().map(value),
        key: change.key,
    });
    let verdict = shown.verdict.map(|verdict| TapVerdict {
        policy: verdict.policy,
        kept: verdict.is_kept,
        dry_run: verdict.is_dry_run,
    });
    TapItem {
        at_unix_us: micros(shown.at),
        fate: fate(shown.fate).into(),
        signal: signal.to_owned(),
        service: head.service,
        name: head.name,
        trace_id: head.trace_id,
        span_id: head.span_id,
        parent_span_id: head.parent_span_id,
        time_unix_nano: head.time_unix_nano,
        duration_nano: head.duration_nano,
        status: head.status,
        changes: changes.collect(),
        reason: shown.reason.to_owned(),
        verdict,
        of_in: shown.of_in,
        of_out: shown.of_out,
        split: shown.is_split,
        before: shown.before.map(|one| one.body).unwrap_or_default(),
        after: shown.after.map(|one| one.body).unwrap_or_default(),
    }
}

/// JSON of at most [`VALUE`] characters; what is longer becomes a text that is cut.
fn cut(json: String) -> String {
    let Some((at, _)) = json.char_indices().nth(VALUE) else { return json };
    serde_json::Value::from(format!("{}...", &json[..at])).to_string()
}

fn fate(fate: Fate) -> TapFate {
    match fate {
        Fate::Passed => TapFate::Passed,
        Fate::Unchanged => TapFate::Unchanged,
        Fate::Changed => TapFate::Changed,
        Fate::Dropped => TapFate::Dropped,
        Fate::Created => TapFate::Created,
        Fate::Inside => TapFate::Inside,
    }
}
