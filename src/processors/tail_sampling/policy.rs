//! Policies as YAML has them. `compile` says what they mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ottl::ErrorMode, statements::Texts};

/// A policy: a name, a type, and the block of settings that has the name of the type.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// In metrics, on spans and in explanations; each its own.
    pub name: String,
    /// What it looks at.
    pub r#type: Option<Type>,
    /// Of `latency`.
    pub latency: Option<Latency>,
    /// Of `numeric_attribute`.
    pub numeric_attribute: Option<NumericAttribute>,
    /// Of `string_attribute`.
    pub string_attribute: Option<StringAttribute>,
    /// Of `boolean_attribute`.
    pub boolean_attribute: Option<BooleanAttribute>,
    /// Of `probabilistic`.
    pub probabilistic: Option<Probabilistic>,
    /// Of `status_code`.
    pub status_code: Option<StatusCode>,
    /// Of `rate_limiting`.
    pub rate_limiting: Option<RateLimiting>,
    /// Of `bytes_limiting`.
    pub bytes_limiting: Option<BytesLimiting>,
    /// Of `span_count`.
    pub span_count: Option<SpanCount>,
    /// Of `trace_state`.
    pub trace_state: Option<TraceStateValues>,
    /// Of `ottl_condition`.
    pub ottl_condition: Option<OttlCondition>,
    /// Of `and`.
    pub and: Option<And>,
    /// Of `not`.
    pub not: Option<Not>,
    /// Of `drop`.
    pub drop: Option<Drop>,
    /// Of `composite`.
    pub composite: Option<Composite>,
}

/// `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// Every trace.
    AlwaysSample,
    /// Traces that took long.
    Latency,
    /// Traces with a number in an attribute.
    NumericAttribute,
    /// Traces with a text in an attribute.
    StringAttribute,
    /// Traces with a truth in an attribute.
    BooleanAttribute,
    /// A share of all traces.
    Probabilistic,
    /// Traces with a span of this status.
    StatusCode,
    /// So many spans a second.
    RateLimiting,
    /// So many bytes a second.
    BytesLimiting,
    /// Traces of so many spans.
    SpanCount,
    /// Traces with a member in `tracestate`.
    TraceState,
    /// Traces that a head sampler chose.
    TraceFlags,
    /// Traces with a span or span event for which a condition in OTTL holds.
    OttlCondition,
    /// Traces that all of these would sample.
    And,
    /// Traces that this would not sample.
    Not,
    /// Traces that are never kept, whatever others say.
    Drop,
    /// Several with a share each of a rate.
    Composite,
}

impl Type {
    /// As in YAML.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Type::AlwaysSample => "always_sample",
            Type::Latency => "latency",
            Type::NumericAttribute => "numeric_attribute",
            Type::StringAttribute => "string_attribute",
            Type::BooleanAttribute => "boolean_attribute",
            Type::Probabilistic => "probabilistic",
            Type::StatusCode => "status_code",
            Type::RateLimiting => "rate_limiting",
            Type::BytesLimiting => "bytes_limiting",
            Type::SpanCount => "span_count",
            Type::TraceState => "trace_state",
            Type::TraceFlags => "trace_flags",
            Type::OttlCondition => "ottl_condition",
            Type::And => "and",
            Type::Not => "not",
            Type::Drop => "drop",
            Type::Composite => "composite",
        }
    }
}

/// By the time from the first start to the last end.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Milliseconds; longer traces are sampled.
    pub threshold_ms: u64,
    /// Milliseconds up to which, inclusive; 0: any.
    pub upper_threshold_ms: u64,
}

/// By a number, whole or not, in an attribute of any span or resource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NumericAttribute {
    /// Key of the attribute.
    pub key: String,
    /// Least value; `None` means any.
    pub min_value: Option<i64>,
    /// Largest value; `None` means any.
    pub max_value: Option<i64>,
    /// Sample the traces without such a value.
    pub invert_match: bool,
}

/// By a text in an attribute of any span or resource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StringAttribute {
    /// Key of the attribute.
    pub key: String,
    /// Any of these.
    pub values: Vec<String>,
    /// `values` are regular expressions, which match anywhere unless anchored.
    pub enabled_regex_matching: bool,
    /// Verdicts of the expressions that are remembered, by value; 0: 128.
    pub cache_max_size: usize,
    /// Sample the traces without such a value.
    pub invert_match: bool,
}

/// By a truth in an attribute of any span or resource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BooleanAttribute {
    /// Key of the attribute.
    pub key: String,
    /// The value.
    pub value: bool,
    /// Sample the traces without this value.
    pub invert_match: bool,
}

/// By the trace id.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probabilistic {
    /// Share of traces in percent.
    pub sampling_percentage: f64,
    /// Samplers with the same salt keep the same traces; `default-hash-seed` where none is given.
    pub hash_salt: String,
}

/// By the status of any span.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusCode {
    /// `OK`, `ERROR`, `UNSET`.
    pub status_codes: Vec<String>,
}

/// By the spans of a second.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimiting {
    /// Spans a second.
    pub spans_per_second: u64,
    /// Most spans at once; larger traces are never sampled. 0: those of two seconds.
    pub burst_capacity: u64,
}

/// By the bytes of a second.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BytesLimiting {
    /// Bytes of spans a second.
    pub bytes_per_second: u64,
    /// Most bytes at once; larger traces are never sampled. 0: those of two seconds.
    pub burst_capacity: u64,
}

/// By the number of spans.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanCount {
    /// Least number.
    pub min_spans: u64,
    /// Largest number; 0: any.
    pub max_spans: u64,
}

/// By a member of the W3C `tracestate` of any span.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceStateValues {
    /// Key of the member.
    pub key: String,
    /// Any of these values.
    pub values: Vec<String>,
}

/// By conditions in OTTL; one that holds is enough.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OttlCondition {
    /// What happens when a condition fails. With `ignore`, the default, and `silent` it does not
    /// hold; with `propagate` the policy does not sample the trace.
    pub error_mode: Option<ErrorMode>,
    /// Conditions on spans.
    pub span: Texts,
    /// Conditions on span events.
    pub spanevent: Texts,
}

/// All of several.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct And {
    /// Policies without `drop` and `composite`; different spans may satisfy them.
    pub and_sub_policy: Vec<Policy>,
}

/// The opposite of one.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Not {
    /// A policy, not `drop` and not `composite`.
    pub not_sub_policy: Option<Box<Policy>>,
}

/// All of several, and then never.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drop {
    /// Policies without `drop` and `composite`.
    pub drop_sub_policy: Vec<Policy>,
}

/// Several, tried in order, with a share each of a rate.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Composite {
    /// Spans a second of all of them.
    pub max_total_spans_per_second: u64,
    /// Names of sub-policies; the first that samples a trace decides, also when its share is used
    /// up.
    pub policy_order: Vec<String>,
    /// Policies without `drop` and `composite`.
    pub composite_sub_policy: Vec<Policy>,
    /// Shares; those that are not listed, or with 0, get one part of as many as there are.
    pub rate_allocation: Vec<RateAllocation>,
}

/// A share.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateAllocation {
    /// Name of a sub-policy.
    pub policy: String,
    /// Percent of the rate.
    pub percent: u64,
}
