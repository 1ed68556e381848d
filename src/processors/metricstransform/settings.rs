//! Transforms and operations as they are written, and what can be wrong with them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Node, Problems},
    ottl::regex,
};

/// A transform.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transform {
    /// Name of the metrics.
    pub include: String,
    /// How names are compared.
    pub match_type: MatchType,
    /// Labels with values that data points must have; an empty value: not the label.
    pub experimental_match_labels: BTreeMap<String, String>,
    /// What happens to the metrics.
    pub action: Option<Action>,
    /// Their new name; with `regexp`, `$1` or `${name}` is a group.
    pub new_name: String,
    /// Attributes of the new resource, of `group`.
    pub group_resource_labels: BTreeMap<String, String>,
    /// How `combine` merges points.
    pub aggregation_type: Aggregation,
    /// The case of the labels that `combine` makes of groups.
    pub submatch_case: Option<Case>,
    /// What is done to the data points.
    pub operations: Vec<OperationSettings>,
}

/// `match_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchType {
    /// Whole names and values.
    #[default]
    Strict,
    /// Regular expressions.
    Regexp,
}

/// `action` of a transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Change the metrics.
    Update,
    /// Change copies of them.
    Insert,
    /// Make one of them.
    Combine,
    /// Move them to another resource.
    Group,
}

/// How values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Mean,
    /// The least.
    Min,
    /// The largest.
    Max,
    /// How many there are.
    Count,
    /// The one in the middle.
    Median,
}

impl Aggregation {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Aggregation::Sum => "sum",
            Aggregation::Mean => "mean",
            Aggregation::Min => "min",
            Aggregation::Max => "max",
            Aggregation::Count => "count",
            Aggregation::Median => "median",
        }
    }
}

/// `submatch_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// Small letters.
    Lower,
    /// Capitals.
    Upper,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OperationSettings {
    /// What it does.
    pub action: Option<OperationAction>,
    /// The label that it is about.
    pub label: String,
    /// Its new name.
    pub new_label: String,
    /// The value of points to delete.
    pub label_value: String,
    /// The value of a new label, or of merged points; `{{version}}` is the version of skep.
    pub new_value: String,
    /// New values for old ones.
    pub value_actions: Vec<ValueAction>,
    /// Labels that stay.
    pub label_set: Vec<String>,
    /// How points are merged.
    pub aggregation_type: Aggregation,
    /// Values that become one.
    pub aggregated_values: Vec<String>,
    /// What values are multiplied by.
    pub experimental_scale: f64,
}

/// `action` of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationAction {
    /// Adds a label.
    AddLabel,
    /// Renames a label or its values.
    UpdateLabel,
    /// Deletes points by the value of a label.
    DeleteLabelValue,
    /// Integers to doubles, doubles to integers.
    ToggleScalarDataType,
    /// Multiplies values.
    ExperimentalScaleValue,
    /// Merges points over labels.
    AggregateLabels,
    /// Merges points over values of a label.
    AggregateLabelValues,
}

/// A new value for an old one.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValueAction {
    /// The old value.
    pub value: String,
    /// The new value.
    pub new_value: String,
}

impl Transform {
    /// Checks the transform at a node.
    pub(super) fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.include.is_empty() {
            problems
                .error(at, "the key `include` is missing")
                .help("add the name of a metric: `include: system.cpu.time`");
        }
        if self.match_type == MatchType::Regexp {
            if let Err(words) = regex(&self.include) {
                problems.error(at.at("include"), words);
            }
            for (label, value) in &self.experimental_match_labels {
                if let Err(words) = regex(value) {
                    let labels = at.at("experimental_match_labels");
                    problems.error(labels.get(label).unwrap_or(labels), words);
                }
            }
        }
        let needs = match self.action {
            None => {
                problems
                    .error(at, "the key `action` is missing")
                    .help("valid: update, insert, combine, group");
                None
            }
            Some(Action::Insert | Action::Combine) if self.new_name.is_empty() => Some("new_name"),
            Some(Action::Group) if self.group_resource_labels.is_empty() => {
                Some("group_resource_labels")
            }
            Some(_) => None,
        };
        if let Some(key) = needs {
            let message = format!("this action needs the key `{key}`");
            problems.error(at.at("action"), message).help(format!("add `{key}`"));
        }
        if self.action == Some(Action::Combine) && self.match_type == MatchType::Strict {
            problems
                .error(
                    at.at("action"),
                    "`combine` needs an expression that matches several metrics",
                )
                .help("add `match_type: regexp`");
        }
        for (i, operation) in self.operations.iter().enumerate() {
            operation.validate(at.at(&format!("operations::{i}")), problems);
        }
    }
}

impl OperationSettings {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let Some(action) = self.action else {
            problems.error(at, "the key `action` is missing").help(
                "valid: add_label, update_label, delete_label_value, toggle_scalar_data_type, \
                 experimental_scale_value, aggregate_labels, aggregate_label_values",
            );
            return;
        };
        let label = ("label", self.label.is_empty());
        let new_label = ("new_label", self.new_label.is_empty());
        let new_value = ("new_value", self.new_value.is_empty());
        let label_value = ("label_value", self.label_value.is_empty());
        let values = ("aggregated_values", self.aggregated_values.is_empty());
        let needed = match action {
            OperationAction::AddLabel => vec![new_label, new_value],
            OperationAction::UpdateLabel => vec![label],
            OperationAction::DeleteLabelValue => vec![label, label_value],
            OperationAction::AggregateLabelValues => vec![label, new_value, values],
            OperationAction::ToggleScalarDataType
            | OperationAction::ExperimentalScaleValue
            | OperationAction::AggregateLabels => Vec::new(),
        };
        for (key, _) in needed.into_iter().filter(|(_, is_missing)| *is_missing) {
            let message = format!("this operation needs the key `{key}`");
            problems.error(at.at("action"), message).help(format!("add `{key}: ...`"));
        }
        let is_still = action == OperationAction::UpdateLabel
            && self.new_label.is_empty()
            && self.value_actions.is_empty();
        if is_still {
            problems
                .error(at.at("action"), "the operation changes nothing")
                .help("add `new_label`, or `value_actions`");
        }
        let scales = action == OperationAction::ExperimentalScaleValue;
        if scales && (self.experimental_scale == 0.0 || !self.experimental_scale.is_finite()) {
            problems
                .error(at.at("action"), "the operation needs a factor that is not 0")
                .help("add `experimental_scale: 0.001`, for instance");
        }
    }
}
