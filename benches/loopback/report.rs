//! Figures, their medians, and the tables that people read.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::scenario::Scenario;

/// What one round gave.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// CPU seconds per million items that were taken.
    pub(crate) cpu_per_million: f64,
    pub(crate) items_per_second: f64,
    pub(crate) peak_rss_mib: f64,
    /// Items that the senders were told were taken.
    pub(crate) taken: u64,
    /// Of them, those that did not arrive.
    pub(crate) lost: u64,
    /// Whether the ids that arrived add up to those that were taken.
    pub(crate) is_sum_right: bool,
    /// Requests that the senders were told to send again.
    pub(crate) refused: u64,
    /// Of requests, as the senders saw it.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// The process before any load.
#[derive(Debug, Serialize)]
pub(crate) struct StartUp {
    pub(crate) millis: f64,
    pub(crate) rss_mib: f64,
    pub(crate) wake_ups_per_second: f64,
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<(&'static Scenario, String, Measured)>,
    pub(crate) start_up: Option<StartUp>,
}

impl Measured {
    /// Each figure's own median; the worst of what must not happen.
    pub(crate) fn median(rounds: &[Measured]) -> Self {
        let of = |figure: fn(&Measured) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Measured {
            cpu_per_million: of(|one| one.cpu_per_million),
            items_per_second: of(|one| one.items_per_second),
            peak_rss_mib: rounds.iter().map(|one| one.peak_rss_mib).fold(0.0, f64::max),
            taken: rounds.iter().map(|one| one.taken).sum(),
            lost: rounds.iter().map(|one| one.lost).sum(),
            is_sum_right: rounds.iter().all(|one| one.is_sum_right),
            refused: rounds.iter().map(|one| one.refused).sum(),
            p50_ms: of(|one| one.p50_ms),
            p99_ms: of(|one| one.p99_ms),
        }
    }

    fn loss(&self) -> String {
        match (self.lost, self.is_sum_right) {
            (0, true) => "none".to_owned(),
            (0, false) => "other items".to_owned(),
            (lost, _) => format!("{lost} of {}", self.taken),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} CPU-s/M, {:.0} items/s, {:.0} MiB, lost {}, refused {}, p50 {:.2} ms, p99 {:.2} ms",
            self.cpu_per_million,
            self.items_per_second,
            self.peak_rss_mib,
            self.loss(),
            self.refused,
            self.p50_ms,
            self.p99_ms
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| load | program | CPU s per million | peak MiB | lost | p50 / p99 ms |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (scenario, program, measured) in &self.rows {
            writeln!(
                f,
                "| {} | {program} | {:.2} | {:.0} | {} | {:.1} / {:.1} |",
                scenario.about,
                measured.cpu_per_million,
                measured.peak_rss_mib,
                measured.loss(),
                measured.p50_ms,
                measured.p99_ms
            )?;
        }
        if let Some(start) = &self.start_up {
            writeln!(
                f,
                "\nStart-up until the ports answer: {:.0} ms. Idle: {:.1} MiB, {:.1} wake-ups a second.",
                start.millis, start.rss_mib, start.wake_ups_per_second
            )?;
        }
        Ok(())
    }
}

impl Report {
    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|(scenario, program, measured)| {
                serde_json::json!({
                    "scenario": scenario.name, "program": program, "measured": measured,
                })
            })
            .collect();
        let all = serde_json::json!({ "rows": rows, "start_up": self.start_up });
        serde_json::to_string_pretty(&all).unwrap()
    }

    /// Replaces the table between the marks in docs/performance.md.
    pub(crate) fn write_readme(&self) {
        const BEGIN: &str = "<!-- measured by benches/loopback -->\n";
        const END: &str = "<!-- end of measured -->";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let begin = text.find(BEGIN).expect("docs/performance.md has the mark") + BEGIN.len();
        let end = text.find(END).expect("docs/performance.md has the end mark");
        let new = format!("{}\n{self}\n{}", &text[..begin], &text[end..]);
        std::fs::write(path, new).unwrap();
    }
}
