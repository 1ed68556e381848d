//! Monthly budgets of exporters: `Budgets`.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::Status;

use super::proto::{BudgetClass, BudgetEater, BudgetLeftOut, BudgetsResponse, MonthlyBudget};
use crate::{
    budget::{self, Class, Report, Why},
    telemetry::Telemetry,
};

/// Names that are told of each budget.
const NAMES: usize = 50;

/// The budget of an exporter, or all of them if the id is empty.
pub(crate) async fn found(
    telemetry: &Arc<Telemetry>,
    exporter: &str,
) -> Result<BudgetsResponse, Status> {
    let all = telemetry.budgets();
    if all.is_empty() {
        return Err(Status::not_found("no exporter of this skep has a `budget`"));
    }
    let ids: Vec<&str> = all.iter().map(|(id, _)| &**id).collect();
    if !exporter.is_empty() && !ids.contains(&exporter) {
        let known = ids.join("`, `");
        let message = format!("there is no budget of `{exporter}`; there are: `{known}`");
        return Err(Status::not_found(message));
    }
    let meant = all.into_iter().filter(|(id, _)| exporter.is_empty() || id == exporter);
    let mut budgets = Vec::new();
    for (id, budget) in meant {
        // The lock is held while a ledger is written.
        let report = tokio::task::spawn_blocking(move || budget.report(NAMES, Timestamp::now()));
        let report = report.await.map_err(|error| Status::internal(error.to_string()))?;
        budgets.push(message_of(id, report));
    }
    Ok(BudgetsResponse { budgets })
}

/// The same for one report.
pub fn message_of(exporter: String, report: Report) -> MonthlyBudget {
    let classes = Class::ALL.map(|class| BudgetClass {
        name: class.name().to_owned(),
        wanted: report.wanted[class as usize],
        passing: report.rates.of(class).probability(),
    });
    let eater = |eater: budget::Eater| BudgetEater {
        service: eater.service.into(),
        name: eater.name.into(),
        wanted: eater.wanted,
        error: eater.error,
    };
    let of_services = report.left_out.services.iter();
    let mut left_out: Vec<BudgetLeftOut> = of_services
        .map(|(service, units)| BudgetLeftOut { service: service.to_string(), units: *units })
        .collect();
    left_out.sort_by_key(|one| std::cmp::Reverse(one.units));
    MonthlyBudget {
        exporter,
        unit: report.unit.name().to_owned(),
        mode: report.mode.name().to_owned(),
        limit: report.limit,
        share: report.share.to_string(),
        start_unix_ms: report.period.start.as_millisecond(),
        end_unix_ms: report.period.end.as_millisecond(),
        used: report.used,
        forecast: report.forecast,
        unlimited: report.unlimited,
        classes: classes.into(),
        exhausted: report.is_exhausted,
        ledger: report.ledger.map(|folder| folder.display().to_string()).unwrap_or_default(),
        trouble: report.trouble.unwrap_or_default(),
        eaters: report.who.into_iter().map(eater).collect(),
        left_out_paced: report.left_out.of(Why::Paced),
        left_out_ceiling: report.left_out.of(Why::Ceiling),
        left_out,
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::budget::{Mode, Settings, Share, Unit};

    fn telemetry(ids: &[&str]) -> (Arc<Telemetry>, Vec<Arc<budget::MonthlyBudget>>) {
        let telemetry = Arc::new(Telemetry::default());
        let open = |id: &&str| {
            let settings = Settings {
                unit: Unit::Traces,
                per_month: 300,
                share: "1/3".parse().unwrap_or(Share::WHOLE),
                mode: Mode::Pace,
                zone: TimeZone::UTC,
                reset_day: 1,
            };
            let opened = budget::MonthlyBudget::open(settings, None, Timestamp::now());
            let budget = Arc::new(opened.unwrap());
            telemetry.watch_budget(id, &budget);
            budget
        };
        let open = ids.iter().map(open).collect();
        (telemetry, open)
    }

    #[tokio::test]
    async fn budgets_are_told_by_exporter() {
        let (telemetry, open) = telemetry(&["honeycomb", "awsxray"]);
        open[0].demand(Class::Rest, 7);
        open[0].note("shop", "GET /", 7);
        assert!(open[0].claim(7, Timestamp::now()));
        let all = found(&telemetry, "").await.unwrap().budgets;
        let ids: Vec<&str> = all.iter().map(|one| &*one.exporter).collect();
        assert_eq!(ids, ["awsxray", "honeycomb"]);
        let one = &found(&telemetry, "honeycomb").await.unwrap().budgets[..];
        let [one] = one else { panic!("{one:?}") };
        assert_eq!((one.used, one.limit, &*one.share, &*one.unit), (7, 100, "1/3", "traces"));
        assert_eq!((&*one.eaters[0].service, one.eaters[0].wanted), ("shop", 7));
        assert!(one.classes[2].wanted > 0.0 && one.start_unix_ms < one.end_unix_ms);
    }

    #[tokio::test]
    async fn a_budget_that_is_not_there_is_said_so() {
        let (none, _) = telemetry(&[]);
        let error = found(&none, "").await.unwrap_err();
        assert_eq!(error.message(), "no exporter of this skep has a `budget`");
        let (some, _open) = telemetry(&["awsxray", "honeycomb"]);
        let error = found(&some, "honeycom").await.unwrap_err();
        assert!(error.message().contains("there are: `awsxray`, `honeycomb`"), "{error}");
    }
}
