//! What probes are told: whether the process takes data, the state of each exporter, which monthly
//! budgets are nearly used up, and which storages are gone.

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
    /// What passes now.
    pub state: BudgetState,
    /// Units that will be used at the end of the month, if it goes on like this.
    pub forecast: u64,
    /// Units that were left out in this month.
    pub left_out: u64,
    /// Why the ledger cannot be written.
    pub trouble: Option<String>,
}

/// What a monthly budget lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetState {
    /// Everything.
    Open,
    /// A part, so that the rest lasts to the end of the month.
    Paced,
    /// Nothing until then.
    Spent,
}

impl BudgetState {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            BudgetState::Open => "open",
            BudgetState::Paced => "paced",
            BudgetState::Spent => "spent",
        }
    }
}

impl BudgetVerdict {
    /// What people should know: from 80 % on, and once more from 95 % on; `None` before that.
    pub fn warning(&self) -> Option<String> {
        let BudgetVerdict { exporter, unit, used, limit, percent, .. } = self;
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

    /// Everything that people should know.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let trouble = self.trouble.as_ref().map(|trouble| {
            let exporter = &self.exporter;
            format!("the ledger of the monthly budget of `{exporter}` cannot be written: {trouble}")
        });
        self.warning().into_iter().chain(trouble)
    }
}

/// A warning for each log on disk whose directory is gone.
pub fn missing_storages(telemetry: &Telemetry) -> Vec<String> {
    let mut logs = telemetry.logs();
    logs.retain(|log| log.missing.read() == 1);
    let told = logs.iter().map(|log| {
        format!(
            "the directory of `{}` in the storage `{}` is gone: put it back, or restart skep",
            log.id, log.storage
        )
    });
    told.collect()
}

/// Every monthly budget, sorted by exporter.
pub fn budgets(telemetry: &Telemetry, now: SystemTime) -> Vec<BudgetVerdict> {
    let now = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let all = telemetry.budgets().into_iter().map(|(exporter, budget)| {
        let report = budget.report(0, now);
        BudgetVerdict {
            exporter,
            unit: report.unit.name(),
            used: report.used,
            limit: report.limit,
            percent: report.percent(),
            state: match () {
                () if report.is_spent() => BudgetState::Spent,
                () if report.is_paced() => BudgetState::Paced,
                () => BudgetState::Open,
            },
            forecast: report.forecast,
            left_out: report.left_out.units.into_iter().fold(0, u64::saturating_add),
            trouble: report.trouble,
        }
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
            let budget = BudgetVerdict {
                exporter: "honeycomb".to_owned(),
                unit: "events",
                used: percent,
                limit: 100,
                percent,
                state: BudgetState::Open,
                forecast: percent,
                left_out: 0,
                trouble: (percent == 99).then(|| "no space".to_owned()),
            };
            let warnings: Vec<String> = budget.warnings().collect();
            (!warnings.is_empty()).then(|| warnings.join("; "))
        };
        assert_eq!(told(79), None);
        assert_eq!(
            told(80).unwrap(),
            "the monthly budget of `honeycomb` is nearly used up: 80 of 100 events (80 %)"
        );
        assert!(told(95).unwrap().contains("all but used up"));
        assert!(told(100).unwrap().contains("is used up: 100"));
        assert!(told(99).unwrap().ends_with(
            "; the ledger of the monthly budget of `honeycomb` cannot be written: no space"
        ));
    }
}
