//! Dead letters as text: a table that fits a terminal, JSON, one letter in full.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use crate::{
    admin::proto::{DeadLetter, ReplayDeadLettersResponse},
    cli::columns::cut,
    config::shown::escaped,
    exporters::debug,
    otlp::{Signal, check, json},
    telemetry::calendar::timestamp,
};

/// Above the rows.
pub(super) const HEADING: &str =
    "time (UTC)           items      bytes  id, reason and answer of the backend\n";

/// Unix milliseconds.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `2026-01-02T03:04:05.678Z`.
fn time(letter: &DeadLetter) -> String {
    let since = Duration::from_millis(letter.at_unix_ms);
    timestamp(SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// The reason, with the same name as in the JSON and the metrics.
fn reason(letter: &DeadLetter) -> &str {
    if letter.reason.is_empty() { "(unknown)" } else { &letter.reason }
}

/// Two lines: what it is, and why it is here.
pub(super) fn row(letter: &DeadLetter, width: usize) -> String {
    let time = time(letter);
    let time = time.get(..19).unwrap_or_default().replace('T', " ");
    let (items, bytes, id) = (letter.items, letter.bytes, escaped(&letter.id));
    let mut text = format!("{time}  {items:>5}  {bytes:>9}  {id}\n");
    let answer = escaped(&letter.answer);
    let colon = if answer.is_empty() { "" } else { ": " };
    let why = format!("{}{colon}{answer}", reason(letter));
    let _ = writeln!(text, "    {}", cut(&why, width.saturating_sub(4)));
    text
}

/// An object on a line.
pub(super) fn json(letter: &DeadLetter) -> String {
    let object = serde_json::json!({
        "id": letter.id,
        "exporter": letter.exporter,
        "signal": letter.signal,
        "time": time(letter),
        "items": letter.items,
        "bytes": letter.bytes,
        "reason": letter.reason,
        "answer": letter.answer,
        "peer": letter.peer,
    });
    format!("{object}\n")
}

/// `3 dead letters with 7 items, 1234 bytes`.
pub(super) fn sum(letters: u64, items: u64, bytes: u64) -> String {
    let (letter, item) = (plural(letters, "dead letter"), plural(items, "item"));
    format!("{letter} with {item}, {bytes} bytes")
}

fn plural(count: u64, name: &str) -> String {
    if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") }
}

/// How far a replay is, or how it ended.
pub(super) fn replayed(far: &ReplayDeadLettersResponse) -> String {
    let ended = far.delivered + far.refused_again + far.stayed;
    let mut text = format!(
        "{} sent again: {} delivered with {}, {} refused again",
        plural(far.sent, "dead letter"),
        far.delivered,
        plural(far.delivered_items, "item"),
        far.refused_again
    );
    if far.stayed > 0 {
        let _ = write!(text, ", {} not taken by the exporter", far.stayed);
    }
    if far.sent > ended {
        let _ = write!(text, ", {} on their way", far.sent - ended);
    }
    text
}

/// A letter with its data: in the form of the debug exporter, or the request as OTLP/JSON alone.
pub(super) fn whole(letter: &DeadLetter, request: &[u8], json: bool) -> Result<String, String> {
    let signal = Signal::ALL.into_iter().find(|signal| signal.name() == letter.signal);
    let signal = signal.ok_or_else(|| format!("`{}` is no signal", letter.signal))?;
    check::check(signal, request, check::Utf8::Off)
        .map_err(|error| format!("the data of the letter is no request: {error}"))?;
    if json {
        let mut text = Vec::new();
        json::write(signal, &[Bytes::copy_from_slice(request)], &mut text);
        text.push(b'\n');
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    let mut text = format!("dead letter {}\n", escaped(&letter.id));
    let mut row = |name: &str, words: &str| {
        if !words.is_empty() {
            let _ = writeln!(text, "  {name:<10}{}", escaped(words));
        }
    };
    row("exporter", &letter.exporter);
    row("given up", &time(letter));
    row("reason", why(&letter.reason));
    row("answer", &letter.answer);
    row("sender", &letter.peer);
    let item = match signal {
        Signal::Traces => "span",
        Signal::Metrics => "data point",
        Signal::Logs => "log record",
    };
    row("data", &format!("{}, {} bytes", plural(letter.items, item), letter.bytes));
    text.push('\n');
    text.push_str(&debug::detailed_text(signal, request));
    Ok(text)
}

fn why(reason: &str) -> &str {
    match reason {
        "backend_refused" => "the backend refused it for good",
        "too_large" => "too large for the backend, even in the smallest part",
        "retries_exhausted" => "the backend did not take it within `max_elapsed_time`",
        "budget_spent" => "the monthly budget of the exporter left it out",
        "" => "not known: the note of the letter cannot be read",
        other => other,
    }
}

#[cfg(test)]
mod tests;
