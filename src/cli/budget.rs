//! `skep budget`: the monthly budgets of the exporters of a running skep, from its control plane.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use serde_json::json;

use super::{
    control::{Patience, ask},
    print,
};
use crate::{
    admin::proto::{BudgetsRequest, MonthlyBudget},
    config::shown::escaped,
    telemetry::words::grouped,
};

/// Names that are shown in a terminal.
const NAMES: usize = 10;
/// A budget without a storage.
pub(super) const FORGETFUL: &str =
    "in memory only: a restart forgets what is used; set `budget: storage`";

/// How budgets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs: one array.
    Json,
}

/// Shows the budget of an exporter, or all of them.
pub(super) fn run(endpoint: &str, exporter: Option<&str>, format: Format) -> u8 {
    ask(endpoint, async |mut client| {
        let request = BudgetsRequest { exporter: exporter.unwrap_or_default().to_owned() };
        let answer = Patience::short(endpoint).wait(client.budgets(request)).await?;
        let budgets = answer.into_inner().budgets;
        let text = match format {
            Format::Text => {
                let now = Timestamp::now();
                let texts: Vec<String> = budgets.iter().map(|one| story(one, now)).collect();
                texts.join("\n")
            }
            Format::Json => {
                format!("{:#}\n", budgets.iter().map(document).collect::<serde_json::Value>())
            }
        };
        Ok(print::output(&text))
    })
}

/// A row below the name of a budget. Some words come from applications and from paths.
pub(super) fn row(name: &str, words: &str) -> String {
    format!("  {name:<10}{}\n", escaped(words))
}

/// What is used, how that goes on, and when the month ends.
pub(super) fn summary(one: &MonthlyBudget, now: Timestamp) -> String {
    let mut text = format!("{}: {}\n", escaped(&one.exporter), state(one));
    let mut row = |name: &str, words: &str| text.push_str(&row(name, words));
    let (used, limit) = (grouped(one.used), grouped(one.limit));
    let part = percent(ratio(one.used, one.limit));
    let share = match &*one.share {
        "1/1" => String::new(),
        share => format!("; share {share}"),
    };
    row("used", &format!("{used} of {limit} {} ({part}){share}", one.unit));
    let (forecast, unlimited) = (grouped(one.forecast), grouped(one.unlimited));
    let without = if one.unlimited == one.forecast {
        String::new()
    } else {
        format!("; {unlimited} without a budget")
    };
    row("forecast", &format!("{forecast} at the end of the month{without}"));
    if let Some(words) = left_out(one) {
        row("left out", &words);
    }
    row("month", &month(one, now));
    text
}

/// What was left out this month, and why; `None` if nothing was.
fn left_out(one: &MonthlyBudget) -> Option<String> {
    let (paced, ceiling) = (grouped(one.left_out_paced), grouped(one.left_out_ceiling));
    let unit = &one.unit;
    match (one.left_out_paced, one.left_out_ceiling) {
        (0, 0) => None,
        (_, 0) => Some(format!("{paced} {unit}, so that the rest lasts")),
        (0, _) => Some(format!("{ceiling} {unit}, because nothing was left")),
        _ => Some(format!(
            "{paced} {unit}, so that the rest lasts; {ceiling}, because nothing was left"
        )),
    }
}

/// A budget in full.
fn story(one: &MonthlyBudget, now: Timestamp) -> String {
    let mut text = summary(one, now);
    let mut row = |name: &str, words: &str| text.push_str(&row(name, words));
    // Little traffic is told by the hour.
    let wanted: f64 = one.classes.iter().map(|class| class.wanted).sum();
    let (times, time) = if wanted < 1.0 { (3600.0, "an hour") } else { (1.0, "a second") };
    for class in &one.classes {
        let wanted = rounded(class.wanted * times);
        let words = format!("{} of {wanted} {} {time} pass", part_of(class.passing), one.unit);
        row(&class.name, &words);
    }
    row("ledger", if one.ledger.is_empty() { FORGETFUL } else { &one.ledger });
    if !one.trouble.is_empty() {
        row("", &format!("cannot be written: {}", one.trouble));
    }
    text.push_str(&eaters(one));
    text
}

/// In a few words.
fn state(one: &MonthlyBudget) -> String {
    let is_sampled = one.classes.iter().any(|class| class.passing < 1.0 && class.wanted > 0.0);
    match &*one.mode {
        "warn" if one.exhausted => {
            "used up; everything is sent nevertheless (mode warn)".to_owned()
        }
        _ if one.used >= one.limit => "used up: nothing passes until the month ends".to_owned(),
        "pace" if is_sampled => "paced, so that the rest lasts to the end of the month".to_owned(),
        mode => format!("everything passes (mode {mode})"),
    }
}

fn month(one: &MonthlyBudget, now: Timestamp) -> String {
    let time = |millis| Timestamp::from_millisecond(millis).unwrap_or_default();
    let (start, end) = (time(one.start_unix_ms), time(one.end_unix_ms));
    let minutes = (end.as_second() - now.as_second()).max(0) / 60;
    let left = match minutes {
        ..60 => format!("{minutes} min"),
        60..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    };
    format!("{start} to {end}, {left} left")
}

/// Who wants most, by service and by name, and of whom most was left out.
fn eaters(one: &MonthlyBudget) -> String {
    let mut text = String::new();
    let mut services: BTreeMap<&str, u64> = BTreeMap::new();
    for eater in &one.eaters {
        let sum = services.entry(&eater.service).or_default();
        *sum = sum.saturating_add(eater.wanted);
    }
    let whole: u64 = services.values().fold(0, |sum, units| sum.saturating_add(*units));
    let mut table = |title: &str, whole: u64, rows: Vec<(String, u64)>| {
        for (at, (name, units)) in rows.into_iter().take(NAMES).enumerate() {
            let title = if at == 0 { title } else { "" };
            let part = percent(ratio(units, whole));
            let _ = writeln!(
                text,
                "  {title:<10}{:>15}  {part:>7}  {}",
                grouped(units),
                escaped(&name)
            );
        }
    };
    let named =
        |service: &str| if service.is_empty() { "(no service)" } else { service }.to_owned();
    let mut by_service: Vec<_> =
        services.iter().map(|(service, units)| (named(service), *units)).collect();
    by_service.sort_by_key(|(_, units)| std::cmp::Reverse(*units));
    table("services", whole, by_service);
    let left_out = one.left_out.iter().map(|one| (named(&one.service), one.units));
    table("left out", one.left_out_paced.saturating_add(one.left_out_ceiling), left_out.collect());
    let by_name =
        one.eaters.iter().map(|one| (format!("{}: {}", named(&one.service), one.name), one.wanted));
    table("names", whole, by_name.collect());
    text
}

/// The same for programs.
fn document(one: &MonthlyBudget) -> serde_json::Value {
    let time = |millis| Timestamp::from_millisecond(millis).unwrap_or_default().to_string();
    let class = |class: &crate::admin::proto::BudgetClass| {
        let value = json!({"wanted_per_second": class.wanted, "passing": class.passing});
        (class.name.clone(), value)
    };
    let eater = |eater: &crate::admin::proto::BudgetEater| {
        json!({
            "service": eater.service,
            "name": eater.name,
            "wanted": eater.wanted,
            "error": eater.error,
        })
    };
    let left_out = |one: &crate::admin::proto::BudgetLeftOut| json!({"service": one.service, "units": one.units});
    json!({
        "exporter": one.exporter,
        "unit": one.unit,
        "mode": one.mode,
        "limit": one.limit,
        "share": one.share,
        "start": time(one.start_unix_ms),
        "end": time(one.end_unix_ms),
        "used": one.used,
        "forecast": one.forecast,
        "unlimited": one.unlimited,
        "classes": one.classes.iter().map(class).collect::<serde_json::Map<_, _>>(),
        "exhausted": one.exhausted,
        "ledger": (!one.ledger.is_empty()).then_some(&one.ledger),
        "trouble": (!one.trouble.is_empty()).then_some(&one.trouble),
        "left_out": {
            "paced": one.left_out_paced,
            "ceiling": one.left_out_ceiling,
            "services": one.left_out.iter().map(left_out).collect::<Vec<_>>(),
        },
        "eaters": one.eaters.iter().map(eater).collect::<Vec<_>>(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn part_of(probability: f64) -> String {
    match probability {
        1.0.. => "all".to_owned(),
        0.0 => "none".to_owned(),
        _ => percent(probability),
    }
}

/// Rounded down to tenths, so that 100 % is all; small parts with more digits.
fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent > 0.0 && percent < 0.1 {
        return format!("{percent:.3} %");
    }
    format!("{:.1} %", (percent * 10.0).floor() / 10.0)
}

/// With three digits that count.
fn rounded(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n > 0.0 => format!("{n:.2}"),
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests;
