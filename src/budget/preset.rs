//! Figures of free plans. `docs/budget.md` has the source and the date of each.

use super::settings::Unit;

/// A known plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The name in the configuration.
    pub name: &'static str,
    /// Types of the exporters whose unit it has.
    pub exporters: &'static [&'static str],
    /// What the vendor counts.
    pub unit: Unit,
    /// Units per month.
    pub per_month: u64,
    /// Zone in which the vendor's month begins, an IANA name.
    pub zone: &'static str,
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "honeycomb-free",
        exporters: &["honeycomb"],
        unit: Unit::Events,
        per_month: 20_000_000,
        zone: "UTC",
    },
    Preset {
        name: "xray-free",
        exporters: &["awsxray"],
        unit: Unit::Traces,
        per_month: 100_000,
        zone: "UTC",
    },
    Preset {
        name: "cloudwatch-logs-free",
        exporters: &["awscloudwatchlogs"],
        unit: Unit::Bytes,
        per_month: 5_000_000_000,
        zone: "UTC",
    },
    Preset {
        name: "cloudwatch-metrics-free",
        exporters: &["awsemf"],
        unit: Unit::Metrics,
        per_month: 10,
        zone: "UTC",
    },
    Preset {
        name: "rollbar-free",
        exporters: &["rollbar"],
        unit: Unit::Items,
        per_month: 5_000,
        zone: "America/Los_Angeles",
    },
];

impl Preset {
    /// The preset of that name.
    pub fn find(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }
}
