//! `resource_to_telemetry_conversion`: which attributes of the resource are labels.

use regex::bytes::RegexSet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Node, Problems};

/// `resource_to_telemetry_conversion`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceConversion {
    /// Keys of the attributes that are labels, with `*` for any characters and `?` for one; all
    /// others are none. Only with `excluded`: all.
    pub included: Vec<String>,
    /// Keys of those that are not, even where `included` names them.
    pub excluded: Vec<String>,
    /// Whether all attributes of the resource are labels: the old form of `included: ["*"]`.
    pub enabled: bool,
    /// With `enabled`, all but `service.name`, `service.namespace` and `service.instance.id`.
    pub exclude_service_attributes: bool,
}

/// What `exclude_service_attributes` leaves out.
const OF_SERVICE: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];

impl ResourceConversion {
    /// Checks beyond types; `at` is the exporter's body.
    pub(super) fn validate(&self, at: &Node, problems: &mut Problems) {
        let at = at.at("resource_to_telemetry_conversion");
        let is_new = !self.included.is_empty() || !self.excluded.is_empty();
        for (key, is_given, help) in [
            ("enabled", self.enabled, "remove `enabled`; for all attributes `included: [\"*\"]`"),
            (
                "exclude_service_attributes",
                self.exclude_service_attributes,
                "remove it, and add the three attributes of the service to `excluded`",
            ),
        ] {
            if is_new && is_given {
                let message =
                    format!("`{key}` cannot be used together with `included` and `excluded`");
                problems.error(at.at(key), message).help(help);
            }
        }
        if self.exclude_service_attributes && !self.enabled && !is_new {
            problems
                .warning(
                    at.at("exclude_service_attributes"),
                    "`exclude_service_attributes` has no effect without `enabled: true`",
                )
                .help("write `included: [\"*\"]` with `excluded`, or remove the key");
        }
    }

    /// `None`: no attribute becomes a label.
    pub(super) fn chosen(&self) -> Result<Option<Chosen>, String> {
        let set = |globs: &[String]| {
            RegexSet::new(globs.iter().map(|glob| pattern(glob))).map_err(|error| error.to_string())
        };
        let is_new = !self.included.is_empty() || !self.excluded.is_empty();
        if !is_new && !self.enabled {
            return Ok(None);
        }
        let leaves_out_service = self.exclude_service_attributes && !is_new;
        let of_service: &[&str] = if leaves_out_service { &OF_SERVICE } else { &[] };
        let of_service: Vec<String> = of_service.iter().map(ToString::to_string).collect();
        Ok(Some(Chosen {
            takes_all: self.included.is_empty(),
            included: set(&self.included)?,
            excluded: set(if is_new { &self.excluded } else { &of_service })?,
        }))
    }
}

/// A regular expression for a whole key.
fn pattern(glob: &str) -> String {
    let quoted = regex::escape(glob).replace("\\*", ".*").replace("\\?", ".");
    format!("(?s)^{quoted}$")
}

/// Which keys are labels.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    takes_all: bool,
    included: RegexSet,
    excluded: RegexSet,
}

impl Chosen {
    pub(super) fn takes(&self, key: &[u8]) -> bool {
        !self.excluded.is_match(key) && (self.takes_all || self.included.is_match(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    /// The keys that are labels, of five.
    fn labels(settings: &str) -> String {
        let node = yaml::parse(0, settings).unwrap();
        let mut problems = Problems::default();
        let config: ResourceConversion =
            crate::config::decode(&node, &mut problems).expect("it is decoded");
        assert!(problems.0.is_empty(), "{problems:?}");
        let Some(chosen) = config.chosen().unwrap() else { return "none".to_owned() };
        let keys = ["service.name", "service.namespace", "service.version", "host.id", "a*b"];
        let taken: Vec<&str> =
            keys.into_iter().filter(|key| chosen.takes(key.as_bytes())).collect();
        taken.join(" ")
    }

    #[test]
    fn attributes_are_chosen_by_the_old_and_the_new_keys() {
        let all = "service.name service.namespace service.version host.id a*b";
        assert_eq!(labels("{}"), "none");
        assert_eq!(labels("{exclude_service_attributes: true}"), "none");
        assert_eq!(labels("{enabled: true}"), all);
        assert_eq!(
            labels("{enabled: true, exclude_service_attributes: true}"),
            "service.version host.id a*b"
        );
        assert_eq!(labels("{included: ['*']}"), all);
        assert_eq!(labels("{included: [host.id]}"), "host.id");
        assert_eq!(labels("{included: [host?id, 'a*']}"), "host.id a*b");
        assert_eq!(labels("{included: [host, .id]}"), "");
        assert_eq!(labels("{included: ['service.*'], excluded: ['*.name*']}"), "service.version");
        assert_eq!(labels("{excluded: ['service*']}"), "host.id a*b");
    }
}
