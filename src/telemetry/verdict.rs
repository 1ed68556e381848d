//! What probes are told: whether the process takes data, the state of each exporter, and which
//! monthly budgets are nearly used up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use super::{ExporterStats, Telemetry};

/// State of an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing has been tried.
    Idle,
    /// The last attempt succeeded.
    Ok,
    /// The last attempt failed and may succeed later.
    Failing,
    /// The last attempt failed in a way that no retry mends.
    Denied,
}

impl State {
    /// The name in JSON and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Ok => "ok",
            State::Failing => "failing",
            State::Denied => "denied",
        }
    }
}

/// One exporter for one signal.
#[derive(Debug, Clone)]
pub struct ExporterVerdict {
    /// Component id.
    pub id: String,
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
    /// Where it sends to.
    pub destination: String,
    pub state: State,
    /// Time since the backend last took data.
    pub success_age: Option<Duration>,
    /// Age and text of the last failure since then.
    pub error: Option<(Duration, String)>,
    /// Its counters.
    pub stats: Arc<ExporterStats>,
}

impl ExporterVerdict {
    fn read(exporter: &Arc<ExporterStats>, now: SystemTime) -> Self {
        let error = exporter.last_error();
        let state = match &error {
            Some(_) if exporter.permanent.read() == 1 => State::Denied,
            Some(_) => State::Failing,
            None if exporter.last_success.read() > 0 => State::Ok,
            None => State::Idle,
        };
        let success = match exporter.last_success.read() {
            0 => None,
            millis => Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
        };
        let age = |then: SystemTime| now.duration_since(then).unwrap_or_default();
        ExporterVerdict {
            id: exporter.id.clone(),
            signal: exporter.signal.name(),
            destination: exporter.destination.clone(),
            state,
            success_age: success.map(age),
            error: error.map(|(then, words)| (age(then), words)),
            stats: Arc::clone(exporter),
        }
    }
}

/// Whether pipelines run and have not begun to drain.
pub fn is_ready(telemetry: &Telemetry) -> bool {
    telemetry.ready.read() == 1
}

/// Every exporter, sorted by id and signal.
pub fn exporters(telemetry: &Telemetry, now: SystemTime) -> Vec<ExporterVerdict> {
    let mut all: Vec<_> =
        telemetry.exporters().iter().map(|stats| ExporterVerdict::read(stats, now)).collect();
    all.sort_by(|a, b| (&a.id, a.signal).cmp(&(&b.id, b.signal)));
    all
}

/// From so many percent on, a budget is worth a warning.
const NEARLY: u64 = 80;

/// A monthly budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetVerdict {
    /// Id of its exporter.
    pub exporter: String,
    /// What is counted.
    pub unit: &'static str,
    /// Units that are used in this month.
    pub used: u64,
    /// Units that may be used.
    pub limit: u64,
    /// The used part, rounded down.
    pub percent: u64,
}

impl BudgetVerdict {
    /// What people should know: from 80 % on, and once more from 95 % on; `None` before that.
    pub fn warning(&self) -> Option<String> {
        let BudgetVerdict { exporter, unit, used, limit, percent } = self;
        let urgency = match percent {
            ..NEARLY => return None,
            NEARLY..95 => "is nearly used up",
            95..100 => "is all but used up",
            _ => "is used up",
        };
        Some(format!(
            "the monthly budget of `{exporter}` {urgency}: {used} of {limit} {unit} ({percent} %)"
        ))
    }
}

/// Every monthly budget, sorted by exporter.
pub fn budgets(telemetry: &Telemetry, now: SystemTime) -> Vec<BudgetVerdict> {
    let now = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let all = telemetry.budgets().into_iter().map(|(exporter, budget)| {
        let report = budget.report(0, now);
        let (unit, percent) = (report.unit.name(), report.percent());
        BudgetVerdict { exporter, unit, used: report.used, limit: report.limit, percent }
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;

    #[test]
    fn an_exporter_goes_through_its_states() {
        let telemetry = Telemetry::default();
        let exporter = telemetry.exporter("otlp", Signal::Traces, "backend");
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let at = |seconds| start + Duration::from_secs(seconds);
        let state = |seconds| exporters(&telemetry, at(seconds)).remove(0);

        assert_eq!(state(0).state, State::Idle);
        exporter.erred(at(1), "connection refused");
        assert_eq!(state(3).state, State::Failing);
        assert_eq!(state(3).error, Some((Duration::from_secs(2), "connection refused".into())));
        exporter.denied(at(4), "401 bad key");
        assert_eq!(state(4).state, State::Denied);
        exporter.succeeded(at(5));
        let healed = state(7);
        assert_eq!((healed.state, healed.error), (State::Ok, None));
        assert_eq!(healed.success_age, Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_budget_is_worth_a_warning_from_eighty_percent_on() {
        let told = |percent| {
            let (exporter, unit) = ("honeycomb".to_owned(), "events");
            BudgetVerdict { exporter, unit, used: percent, limit: 100, percent }.warning()
        };
        assert_eq!(told(79), None);
        assert_eq!(
            told(80).unwrap(),
            "the monthly budget of `honeycomb` is nearly used up: 80 of 100 events (80 %)"
        );
        assert!(told(95).unwrap().contains("all but used up"));
        assert!(told(100).unwrap().contains("is used up: 100"));
    }
}
