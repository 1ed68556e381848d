//! Readings as plain text: a table of 80 columns, or one JSON object a line.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::rows::{Reading, Row, age, short, worst};
use crate::{
    cli::screen::fitted,
    config::shown::{escaped, escaped_json},
};

/// Columns of the name of a component.
const NAME: usize = 28;

/// A reading as a table.
pub(super) fn table(now: &Reading, rows: &[Row]) -> String {
    let mut out = heading(now);
    out.push('\n');
    if let Some(words) = worst(now, rows) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "! {}", escaped(&words));
    }
    let mut pipeline = None;
    for row in rows {
        if pipeline != Some(&row.pipeline) {
            let name = fitted(&escaped(&row.pipeline), NAME + 2);
            let _ = writeln!(
                out,
                "\n{name:<30} {:>6} {:>6} {:>7} {:>6} {:>6} {:>6} {:>6}",
                "in/s", "out/s", "bytes/s", "drop/s", "errors", "queue", "oldest"
            );
            pipeline = Some(&row.pipeline);
        }
        out.push_str(&line(row));
    }
    out
}

/// Version, uptime, state and memory.
pub(super) fn heading(now: &Reading) -> String {
    let health = &now.health;
    let state = if health.ready { "ready" } else { "not ready" };
    let up = age(Duration::from_millis(health.uptime_ms));
    let budget = health.budget.unwrap_or_default();
    let memory = match budget.limit_bytes {
        0 => String::new(),
        limit => format!("  memory {} of {}", bytes(budget.used_bytes), bytes(limit)),
    };
    format!("skep {}  up {up}  {state}{memory}", escaped(&health.version))
}

/// Bytes in the units in which limits are set.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn line(row: &Row) -> String {
    let cells = cells(row);
    let name = format!("{} {}", row.kind, row.id);
    let name = fitted(&escaped(&name), NAME);
    let [incoming, outgoing, bytes, dropped, errors, queue, oldest] = cells;
    format!(
        "  {name:<28} {incoming:>6} {outgoing:>6} {bytes:>7} {dropped:>6} {errors:>6} {queue:>6} \
         {oldest:>6}\n"
    )
}

/// The numbers of a row.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(super) fn cells(row: &Row) -> [String; 7] {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), short);
    let rates = row.rates;
    let none_if_zero = |text: String| if text == "0" { "-".to_owned() } else { text };
    let queue = match &row.queue {
        Some((size, most, _)) if *most > 0 => format!("{}%", size * 100 / most),
        Some((size, _, _)) => short(*size as f64),
        None => "-".to_owned(),
    };
    [
        rate(rates.map(|rates| rates.incoming)),
        rate(rates.map(|rates| rates.outgoing)),
        rate(rates.map(|rates| rates.bytes)),
        none_if_zero(rate(rates.map(|rates| rates.dropped))),
        none_if_zero(short(row.errors as f64)),
        queue,
        row.oldest.map_or_else(|| "-".to_owned(), age),
    ]
}

/// A reading as an object in a line.
pub(super) fn object(now: &Reading, rows: &[Row]) -> String {
    let health = &now.health;
    let budget = health.budget.unwrap_or_default();
    let object = json!({
        "time_unix_ms": now.topology.read_at_unix_ms,
        "version": health.version,
        "uptime_ms": health.uptime_ms,
        "ready": health.ready,
        "budget": {
            "limit_bytes": budget.limit_bytes,
            "used_bytes": budget.used_bytes,
            "waiting_requests": budget.waiting_requests,
        },
        "worst": worst(now, rows),
        "components": rows.iter().map(Row::json).collect::<Value>(),
    });
    format!("{}\n", escaped_json(&object.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::rows::{rows, tests::reading};

    #[test]
    fn a_table_fits_80_columns() {
        let rows = rows(&reading(12), Some(&reading(10)));
        let text = table(&reading(12), &rows);
        insta::assert_snapshot!(text, @r"
        skep 0.1.0  up 12s  ready  memory 64 MiB of 256 MiB
        ! exporter otlp_http/backend: connection refused (os error 111) (2s ago)

        traces                           in/s  out/s bytes/s drop/s errors  queue oldest
          receiver otlp                 1.00k  1.00k    740k      -      -      -      -
          processor filter/health       1.00k    900    740k    100      -      -      -
          exporter otlp_http/backend      900    450    666k      -      7    12%     4s
        ");
        let wide = text.lines().filter(|line| !line.starts_with('!')).map(str::len).max();
        assert!(wide <= Some(80), "{wide:?}");
    }

    #[test]
    fn an_object_has_everything_in_one_line() {
        let mut hostile = reading(12);
        hostile.health.components[2].last_error = "\u{1b}[2J\n\u{9b}".to_owned();
        let rows = rows(&hostile, Some(&reading(10)));
        let text = object(&hostile, &rows);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains(['\u{1b}', '\u{9b}']));
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["components"][1]["rates"]["dropped_per_s"], 100.0);
        let table = table(&hostile, &rows);
        assert!(!table.contains(['\u{1b}', '\u{9b}']), "{table}");
    }
}
