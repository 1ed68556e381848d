//! `budget`, which exporters share: a ceiling for each calendar month in the unit that the vendor
//! bills.

use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::delivery::SendingQueue;
use crate::{
    budget::{self, PRESETS, Preset, Settings, Share, Unit},
    component::{BudgetUse, BudgetWeights, Count},
    config::{Interval, Node, Problems, Section, decode::explained},
};

/// `budget`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// A known plan, which gives `per_month` and `time_zone`: `honeycomb-free`, `xray-free`,
    /// `cloudwatch-logs-free`, `cloudwatch-metrics-free` or `rollbar-free`.
    pub preset: Option<Plan>,
    /// Units per month, as the vendor counts them, of all replicas together. Required without a
    /// `preset`.
    #[serde(deserialize_with = "units")]
    pub per_month: Option<u64>,
    /// What happens if more comes than the budget allows: `pace`, `stop` or `warn`.
    pub mode: Mode,
    /// Id of an extension such as `file_storage`, which keeps what is used. Without it a restart
    /// begins at zero.
    pub storage: Option<String>,
    /// Zone in which months begin at midnight, such as `Europe/Berlin`. Default: that of the
    /// preset, or `UTC`.
    #[serde(deserialize_with = "zone")]
    pub time_zone: Option<String>,
    /// Day on which a month begins, 1 to 31; in a shorter month its last day.
    #[serde(deserialize_with = "day")]
    pub reset_day: u8,
    /// The part of this process if several share the budget, such as `1/3`.
    #[serde(deserialize_with = "share")]
    pub share: String,
    /// Traces with a span of at least this length are kept before those that are faster.
    pub slow: Interval,
    /// What becomes of data that is left out: `drop`, or `dead_letters` to keep it with the dead
    /// letters of the queue, see `skep dlq`.
    pub left_out: LeftOut,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            preset: None,
            per_month: None,
            mode: Mode::Pace,
            storage: None,
            time_zone: None,
            reset_day: 1,
            share: "1".to_owned(),
            slow: Interval(Duration::from_secs(1)),
            left_out: LeftOut::Drop,
        }
    }
}

// Keys that can be wrong by themselves are refused where they are decoded, so that the mistakes of
// all of them are shown at once, whatever is wrong with the others.

fn units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let units = Option::<u64>::deserialize(deserializer)?;
    if units == Some(0) {
        return Err(explained(
            "`per_month` must be at least 1",
            "to send nothing, take the exporter out of its pipelines",
        ));
    }
    Ok(units)
}

fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let zone = Option::<String>::deserialize(deserializer)?;
    match &zone {
        Some(name) if TimeZone::get(name).is_err() => Err(explained(
            &format!("there is no time zone `{name}`"),
            "write a name of the IANA database such as `Europe/Berlin`, or leave it out",
        )),
        _ => Ok(zone),
    }
}

fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let day = u8::deserialize(deserializer)?;
    if (1..=31).contains(&day) {
        return Ok(day);
    }
    Err(explained("no month has such a day", "write 1 to 31, or leave it out"))
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let share = String::deserialize(deserializer)?;
    if share.parse::<Share>().is_ok() {
        return Ok(share);
    }
    Err(explained(
        &format!("`{share}` is not a part of a budget"),
        "write a fraction such as `1/3`: two whole numbers, the first not the larger one",
    ))
}

/// Known plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// Honeycomb: 20 million events.
    HoneycombFree,
    /// X-Ray: 100 000 traces.
    XrayFree,
    /// CloudWatch Logs: 5 GB.
    CloudwatchLogsFree,
    /// CloudWatch: 10 metrics.
    CloudwatchMetricsFree,
    /// Rollbar: 5 000 occurrences.
    RollbarFree,
}

impl Plan {
    const fn name(self) -> &'static str {
        match self {
            Plan::HoneycombFree => "honeycomb-free",
            Plan::XrayFree => "xray-free",
            Plan::CloudwatchLogsFree => "cloudwatch-logs-free",
            Plan::CloudwatchMetricsFree => "cloudwatch-metrics-free",
            Plan::RollbarFree => "rollbar-free",
        }
    }

    fn preset(self) -> Option<&'static Preset> {
        Preset::find(self.name())
    }
}

/// What happens if more comes than the budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Sample, so that the rest of the budget lasts to the end of the month.
    #[default]
    Pace,
    /// Send everything until the ceiling is reached, then nothing.
    Stop,
    /// Send everything, and say so.
    Warn,
}

/// What becomes of data that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// It is counted and dropped.
    #[default]
    Drop,
    /// It is kept as dead letters.
    DeadLetters,
}

/// What an exporter's vendor counts, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// Type of the exporter.
    pub(super) exporter: &'static str,
    /// Other types whose presets it takes.
    pub(super) like: &'static [&'static str],
    pub(super) unit: Unit,
    pub(super) count: Count,
    pub(super) weights: BudgetWeights,
}

impl Counted {
    /// Presets with its unit.
    fn presets(&self) -> impl Iterator<Item = &'static Preset> {
        let types = [&[self.exporter], self.like].concat();
        PRESETS.iter().filter(move |preset| types.iter().any(|own| preset.exporters.contains(own)))
    }

    /// Names of these presets, for people.
    fn choices(&self) -> String {
        let names: Vec<String> =
            self.presets().map(|preset| format!("`preset: {}`", preset.name)).collect();
        match &names[..] {
            [] => String::new(),
            all => format!("{}, or ", all.join(" or ")),
        }
    }
}

const ADD_STORAGE: &str = "add `storage: file_storage`, the extension `file_storage`, and its name to \
                           `service::extensions`";

/// Checks `budget` of an exporter beyond types; `at` is the exporter's body.
pub(super) fn validate(
    section: &Section<Budget>,
    counted: &Counted,
    queue: &SendingQueue,
    at: &Node,
    problems: &mut Problems,
) {
    let Some(own) = section.on() else { return };
    let place = |key: &str| at.at(&format!("budget::{key}"));
    let unit = counted.unit.name();
    if let Some(plan) = own.preset
        && !counted.presets().any(|preset| preset.name == plan.name())
    {
        let message = format!(
            "`{}` counts what `{}` does not send: its unit is {unit}",
            plan.name(),
            counted.exporter
        );
        let help = format!("write {}`per_month` with a number of {unit}", counted.choices());
        problems.error(place("preset"), message).help(help);
    }
    if own.preset.is_none() && own.per_month.is_none() {
        let help = format!("add {}`per_month` with a number of {unit}", counted.choices());
        problems.error(at.at("budget"), "a budget needs a limit").help(help);
    }
    own.validate_share(unit, place("share"), problems);
    if own.left_out == LeftOut::DeadLetters && queue.dead_letters.is_none() {
        problems
            .error(place("left_out"), "the queue of this exporter keeps no dead letters")
            .help("add `sending_queue: {dead_letters: file_storage}`, or remove `left_out`");
    }
    if own.storage.is_none() {
        problems
            .warning(
                at.at("budget"),
                "without `storage` a restart forgets what was used this month",
            )
            .help(ADD_STORAGE);
    }
}

/// For the engine; `None` if there is no budget. The section has passed [`validate`].
pub(super) fn budget(section: &Section<Budget>, counted: &Counted) -> Option<BudgetUse> {
    let own = section.on()?;
    let preset = own.preset.and_then(Plan::preset);
    let zone = own.time_zone.as_deref().or(preset.map(|preset| preset.zone));
    Some(BudgetUse {
        settings: Settings {
            unit: counted.unit,
            per_month: own.limit(),
            share: own.share.parse().unwrap_or_default(),
            mode: match own.mode {
                Mode::Pace => budget::Mode::Pace,
                Mode::Stop => budget::Mode::Stop,
                Mode::Warn => budget::Mode::Warn,
            },
            zone: zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or(TimeZone::UTC),
            reset_day: own.reset_day,
        },
        count: counted.count,
        weights: counted.weights,
        storage: own.storage.clone(),
        keeps_left_out: own.left_out == LeftOut::DeadLetters,
        slow: own.slow.0,
    })
}

impl Budget {
    fn validate_share(&self, unit: &str, at: &Node, problems: &mut Problems) {
        let share: Share = self.share.parse().unwrap_or_default();
        let per_month = self.limit();
        if per_month > 0 && share.of(per_month) == 0 {
            problems
                .error(at, format!("`{share}` of {per_month} {unit} is nothing"))
                .help("raise `per_month`, or give fewer processes a share");
        }
    }

    /// Units per month of all replicas.
    fn limit(&self) -> u64 {
        let preset = || self.preset.and_then(Plan::preset).map(|preset| preset.per_month);
        self.per_month.or_else(preset).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_a_preset_and_every_preset_a_plan() {
        let plans = [
            Plan::HoneycombFree,
            Plan::XrayFree,
            Plan::CloudwatchLogsFree,
            Plan::CloudwatchMetricsFree,
            Plan::RollbarFree,
        ];
        let names: Vec<&str> = plans.map(Plan::name).into();
        let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        assert_eq!(names, known);
        for plan in plans {
            let written = serde_json::to_value(plan).unwrap();
            assert_eq!(written, plan.name());
        }
    }
}
