//! From policies in YAML to rules, with everything that is wrong with them at its
//! place.

use std::collections::HashSet;

use regex::bytes::Regex;

use super::{
    limit::Limit,
    matcher::{CONDITIONS, Condition, Matcher, Pattern, Wanted},
    policy::{Composite, Policy, Type},
    program::{Chance, Member, Rule, Test, Unit},
    questions::Question,
};
use crate::{
    ottl::ErrorMode,
    processors::{editing::action::broken, sampling::Threshold},
};

/// Salt of shares that have none of their own.
const DEFAULT_SALT: &str = "default-hash-seed";
/// Most salts: the weight of a trace is a sum over all combinations of what each may have said.
const SALTS: usize = 4;
/// Verdicts of an expression that are remembered, where nothing is said.
const REMEMBERED: usize = 128;

/// What policies compile to.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Those that drop come first; otherwise in the order of the file.
    pub(super) rules: Vec<Rule>,
    pub(super) matcher: Matcher,
    pub(super) questions: Vec<Question>,
    pub(super) limits: Vec<Limit>,
    /// Salts of shares, by number.
    pub(super) salts: Vec<Vec<u8>>,
    pub(super) faults: Vec<Fault>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Path below `policies`: `0::latency::threshold_ms`.
    pub(super) path: String,
    pub(super) message: String,
    pub(super) help: String,
    pub(super) is_warning: bool,
}

/// Compiles all policies. What is wrong is in `faults`, and its policy samples nothing.
pub(super) fn compile(policies: &[Policy]) -> Program {
    let mut program = Program::default();
    let mut names = HashSet::new();
    for (i, policy) in policies.iter().enumerate() {
        let path = i.to_string();
        if policy.name.is_empty() {
            program.fault(&path, "a policy needs a name", "add `name: <text>`");
        } else if !names.insert(&*policy.name) {
            let message = format!("there are two policies named `{}`", policy.name);
            program.fault(&join(&path, "name"), message, "give each a name of its own");
        }
        let is_drop = policy.r#type == Some(Type::Drop);
        if let Some(test) = program.test(policy, &path, Nesting::Top) {
            let name = policy.name.clone();
            program.rules.push(Rule { name, is_drop, test });
        }
    }
    // Whatever drops a trace comes first: others need not be asked then.
    program.rules.sort_by_key(|rule| !rule.is_drop);
    program
}

/// What a policy is nested in: some may not be nested in others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Top,
    Within(Type),
}

fn join(path: &str, step: &str) -> String {
    format!("{path}::{step}")
}

impl Program {
    fn fault(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let (path, message, help) = (path.to_owned(), message.into(), help.into());
        self.faults.push(Fault { path, message, help, is_warning: false });
    }

    fn bit(&mut self, path: &str, condition: Condition) -> Option<Test> {
        let bit = self.matcher.add(condition);
        if bit.is_none() {
            let message = format!("more than {CONDITIONS} conditions on spans");
            self.fault(path, message, "join conditions on one attribute into one expression");
        }
        bit.map(Test::Bit)
    }

    fn limit(&mut self, limit: Limit) -> usize {
        self.limits.push(limit);
        self.limits.len() - 1
    }

    fn test(&mut self, policy: &Policy, path: &str, place: Nesting) -> Option<Test> {
        let Some(kind) = policy.r#type else {
            self.fault(path, "a policy needs a type", "add `type: always_sample`, for instance");
            return None;
        };
        self.blocks(policy, kind, path);
        let is_nested = matches!(kind, Type::Drop | Type::Composite);
        if let (true, Nesting::Within(outer)) = (is_nested, place) {
            let message = format!("`{}` cannot be nested in `{}`", kind.name(), outer.name());
            self.fault(&join(path, "type"), message, "make it a policy of its own");
            return None;
        }
        let block = join(path, kind.name());
        match kind {
            Type::AlwaysSample => Some(Test::Always),
            Type::TraceFlags => self.bit(path, Condition::Flags),
            Type::Latency => self.latency(policy, path, &block),
            Type::NumericAttribute => self.number(policy, path, &block),
            Type::StringAttribute => self.text(policy, path, &block),
            Type::BooleanAttribute => self.truth(policy, path, &block),
            Type::Probabilistic => self.chance(policy, path, &block),
            Type::StatusCode => self.status(policy, path, &block),
            Type::SpanCount => self.spans(policy, path, &block),
            Type::TraceState => self.trace_state(policy, path, &block),
            Type::RateLimiting => self.rate(policy, path, &block),
            Type::BytesLimiting => self.bytes(policy, path, &block),
            Type::OttlCondition => self.ottl(policy, path, &block),
            Type::And => {
                let subs = policy.and.as_ref().map_or(&[][..], |and| &and.and_sub_policy);
                self.all(subs, &join(&block, "and_sub_policy"), kind)
            }
            Type::Drop => {
                let subs = policy.drop.as_ref().map_or(&[][..], |drop| &drop.drop_sub_policy);
                self.all(subs, &join(&block, "drop_sub_policy"), kind)
            }
            Type::Not => {
                let Some(sub) = policy.not.as_ref().and_then(|not| not.not_sub_policy.as_deref())
                else {
                    self.missing(path, kind, "not: {not_sub_policy: {type: status_code, ...}}");
                    return None;
                };
                let path = join(&block, "not_sub_policy");
                Some(Test::Not(Box::new(self.test(sub, &path, Nesting::Within(kind))?)))
            }
            Type::Composite => {
                let Some(composite) = &policy.composite else {
                    self.missing(path, kind, "composite: {max_total_spans_per_second: 1000, ...}");
                    return None;
                };
                self.composite(composite, &block)
            }
        }
    }

    /// Blocks of settings that are not of the type.
    fn blocks(&mut self, policy: &Policy, kind: Type, path: &str) {
        let blocks = [
            (Type::Latency, policy.latency.is_some()),
            (Type::NumericAttribute, policy.numeric_attribute.is_some()),
            (Type::StringAttribute, policy.string_attribute.is_some()),
            (Type::BooleanAttribute, policy.boolean_attribute.is_some()),
            (Type::Probabilistic, policy.probabilistic.is_some()),
            (Type::StatusCode, policy.status_code.is_some()),
            (Type::RateLimiting, policy.rate_limiting.is_some()),
            (Type::BytesLimiting, policy.bytes_limiting.is_some()),
            (Type::SpanCount, policy.span_count.is_some()),
            (Type::TraceState, policy.trace_state.is_some()),
            (Type::OttlCondition, policy.ottl_condition.is_some()),
            (Type::And, policy.and.is_some()),
            (Type::Not, policy.not.is_some()),
            (Type::Drop, policy.drop.is_some()),
            (Type::Composite, policy.composite.is_some()),
        ];
        for (block, _) in blocks.into_iter().filter(|(block, is_there)| *is_there && *block != kind)
        {
            let (block, kind) = (block.name(), kind.name());
            self.faults.push(Fault {
                path: join(path, block),
                message: format!("`{block}` has no effect: the type of this policy is `{kind}`"),
                help: format!("remove it, or write `type: {block}`"),
                is_warning: true,
            });
        }
    }

    fn missing(&mut self, path: &str, kind: Type, example: &str) {
        let message = format!("a policy of type `{0}` needs the block `{0}`", kind.name());
        self.fault(path, message, format!("add `{example}`"));
    }

    fn all(&mut self, subs: &[Policy], path: &str, kind: Type) -> Option<Test> {
        if subs.is_empty() {
            let name = kind.name();
            let message = format!("`{name}` needs at least one policy in it");
            self.fault(path, message, format!("add `{name}_sub_policy: [{{type: ..., ...}}]`"));
            return None;
        }
        let mut tests = Vec::new();
        for (i, sub) in subs.iter().enumerate() {
            tests.push(self.test(sub, &join(path, &i.to_string()), Nesting::Within(kind)));
        }
        let mut tests = tests.into_iter().collect::<Option<Vec<_>>>()?;
        tests.sort_by_key(Test::has_limit);
        Some(Test::All(tests))
    }

    fn latency(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(latency) = &policy.latency else {
            self.missing(path, Type::Latency, "latency: {threshold_ms: 5000}");
            return None;
        };
        let up_to = Some(latency.upper_threshold_ms).filter(|upper| *upper > 0);
        if up_to.is_some_and(|upper| upper <= latency.threshold_ms) {
            let help = "the first is the lower one; leave the upper one out for no limit";
            let path = join(block, "upper_threshold_ms");
            self.fault(&path, "upper_threshold_ms must be above threshold_ms", help);
            return None;
        }
        Some(Test::Latency { above: latency.threshold_ms, up_to })
    }

    fn key(&mut self, key: &str, block: &str) -> Option<Vec<u8>> {
        if key.is_empty() {
            self.fault(block, "the policy needs the key of an attribute", "add `key: http.route`");
            return None;
        }
        Some(key.as_bytes().to_vec())
    }

    fn attribute(
        &mut self,
        block: &str,
        key: Vec<u8>,
        wanted: Wanted,
        is_inverted: bool,
    ) -> Option<Test> {
        let test = self.bit(block, Condition::Attribute { key, wanted })?;
        Some(if is_inverted { Test::Not(Box::new(test)) } else { test })
    }

    fn number(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.numeric_attribute else {
            let example = "numeric_attribute: {key: http.response.status_code, min_value: 500}";
            self.missing(path, Type::NumericAttribute, example);
            return None;
        };
        let (min, max) = (settings.min_value, settings.max_value);
        if min.is_none() && max.is_none() {
            let help = "add `min_value`, `max_value` or both; they are inclusive";
            self.fault(block, "a range needs a bound", help);
            return None;
        }
        if let (Some(least), Some(most)) = (min, max)
            && least > most
        {
            let message = format!("no number is from {least} to {most}");
            self.fault(&join(block, "min_value"), message, "exchange the two");
            return None;
        }
        let key = self.key(&settings.key, block)?;
        self.attribute(block, key, Wanted::Number { min, max }, settings.invert_match)
    }

    fn text(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.string_attribute else {
            let example = "string_attribute: {key: http.route, values: [/checkout]}";
            self.missing(path, Type::StringAttribute, example);
            return None;
        };
        let values: Vec<&String> = settings.values.iter().filter(|text| !text.is_empty()).collect();
        if values.is_empty() {
            self.fault(block, "there is no value to look for", "add `values: [<text>]`");
            return None;
        }
        let key = self.key(&settings.key, block)?;
        let wanted = if settings.enabled_regex_matching {
            let mut is_whole = true;
            for (i, value) in settings.values.iter().enumerate() {
                if let Err(error) = Regex::new(value) {
                    let path = format!("{block}::values::{i}");
                    let help = "the syntax is that of RE2: no look-around, no back-references";
                    self.fault(&path, broken(&error), help);
                    is_whole = false;
                }
            }
            let all: Vec<String> = values.iter().map(|value| format!("(?:{value})")).collect();
            let regex = Regex::new(&all.join("|")).ok().filter(|_| is_whole)?;
            let size = settings.cache_max_size;
            Wanted::Pattern(Pattern::new(regex, if size == 0 { REMEMBERED } else { size }))
        } else {
            Wanted::Text(values.iter().map(|value| value.as_bytes().to_vec()).collect())
        };
        self.attribute(block, key, wanted, settings.invert_match)
    }

    fn truth(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.boolean_attribute else {
            let example = "boolean_attribute: {key: important, value: true}";
            self.missing(path, Type::BooleanAttribute, example);
            return None;
        };
        let key = self.key(&settings.key, block)?;
        self.attribute(block, key, Wanted::Truth(settings.value), settings.invert_match)
    }

    fn chance(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.probabilistic else {
            self.missing(path, Type::Probabilistic, "probabilistic: {sampling_percentage: 5}");
            return None;
        };
        let percent = settings.sampling_percentage;
        if percent.is_nan() {
            let path = join(block, "sampling_percentage");
            self.fault(&path, "the percentage is not a number", "write a number from 0 to 100");
            return None;
        }
        let salt = if settings.hash_salt.is_empty() { DEFAULT_SALT } else { &settings.hash_salt };
        let known = self.salts.iter().position(|known| known == salt.as_bytes());
        let salt = known.unwrap_or_else(|| {
            self.salts.push(salt.as_bytes().to_vec());
            self.salts.len() - 1
        });
        if salt >= SALTS {
            let message = format!("more than {SALTS} different salts");
            let help = "policies of one processor need no salts of their own: give those of one \
                        salt different percentages";
            self.fault(&join(block, "hash_salt"), message, help);
            return None;
        }
        let threshold = Threshold::of(percent / 100.0, 14);
        Some(Test::Chance(Chance { salt, up_to: largest_hash(percent), threshold }))
    }

    fn status(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.status_code else {
            self.missing(path, Type::StatusCode, "status_code: {status_codes: [ERROR]}");
            return None;
        };
        let help = "valid: OK, ERROR, UNSET";
        if settings.status_codes.is_empty() {
            self.fault(block, "there is no status to look for", "add `status_codes: [ERROR]`");
            return None;
        }
        let mut codes = 0;
        for (i, name) in settings.status_codes.iter().enumerate() {
            let code = ["UNSET", "OK", "ERROR"].iter().position(|known| known == name);
            let Some(code) = code else {
                let path = format!("{block}::status_codes::{i}");
                self.fault(&path, format!("`{name}` is not a status"), help);
                return None;
            };
            codes |= 1 << code;
        }
        self.bit(path, Condition::Status(codes))
    }

    fn spans(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.span_count else {
            self.missing(path, Type::SpanCount, "span_count: {min_spans: 100}");
            return None;
        };
        let max = Some(settings.max_spans).filter(|max| *max > 0);
        if max.is_some_and(|max| max < settings.min_spans) {
            let message = "max_spans is below min_spans";
            self.fault(&join(block, "max_spans"), message, "leave it out for no limit");
            return None;
        }
        Some(Test::Spans { min: settings.min_spans, max })
    }

    fn trace_state(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.trace_state else {
            self.missing(path, Type::TraceState, "trace_state: {key: vendor, values: [important]}");
            return None;
        };
        if settings.key.is_empty() || settings.values.is_empty() {
            let message = "a member of `tracestate` needs a key and values";
            self.fault(block, message, "add `key: <text>` and `values: [<text>]`");
            return None;
        }
        let (key, values) = (settings.key.clone(), settings.values.clone());
        self.bit(path, Condition::TraceState { key, values })
    }

    fn rate(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.rate_limiting else {
            self.missing(path, Type::RateLimiting, "rate_limiting: {spans_per_second: 1000}");
            return None;
        };
        let rate = settings.spans_per_second;
        self.positive(rate, block, "spans_per_second")?;
        let index = self.limit(Limit::bucket(rate, settings.burst_capacity));
        Some(Test::Limit { index, unit: Unit::Spans })
    }

    fn bytes(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(settings) = &policy.bytes_limiting else {
            self.missing(path, Type::BytesLimiting, "bytes_limiting: {bytes_per_second: 1000000}");
            return None;
        };
        let rate = settings.bytes_per_second;
        self.positive(rate, block, "bytes_per_second")?;
        let index = self.limit(Limit::bucket(rate, settings.burst_capacity));
        Some(Test::Limit { index, unit: Unit::Bytes })
    }

    fn ottl(&mut self, policy: &Policy, path: &str, block: &str) -> Option<Test> {
        let Some(condition) = &policy.ottl_condition else {
            let example = "ottl_condition: {span: ['span.status.code == STATUS_CODE_ERROR']}";
            self.missing(path, Type::OttlCondition, example);
            return None;
        };
        if condition.span.0.is_empty() && condition.spanevent.0.is_empty() {
            let help = "add `span: [<condition>]` or `spanevent: [<condition>]`";
            self.fault(block, "the policy has no conditions", help);
            return None;
        }
        let met = self.bit(path, Condition::Question)?;
        let is_strict = condition.error_mode == Some(ErrorMode::Propagate);
        let failed = if is_strict { Some(self.bit(path, Condition::Question)?) } else { None };
        let mask = |test: &Test| if let Test::Bit(bit) = test { 1 << bit } else { 0 };
        self.questions.push(Question {
            path: format!("policies::{block}"),
            condition: condition.clone(),
            bit: mask(&met),
            failed: failed.as_ref().map_or(0, mask),
        });
        Some(match failed {
            Some(failed) => Test::All(vec![met, Test::Not(Box::new(failed))]),
            None => met,
        })
    }

    fn positive(&mut self, rate: u64, block: &str, key: &str) -> Option<()> {
        if rate == 0 {
            let message = format!("with {key} 0 nothing would ever be sampled");
            self.fault(&join(block, key), message, "write a rate, or remove the policy");
            return None;
        }
        Some(())
    }

    fn composite(&mut self, composite: &Composite, block: &str) -> Option<Test> {
        let total = composite.max_total_spans_per_second;
        self.positive(total, block, "max_total_spans_per_second")?;
        let subs = &composite.composite_sub_policy;
        let names: Vec<&str> = subs.iter().map(|sub| sub.name.as_str()).collect();
        let valid = format!("valid: {}", names.join(", "));
        for (i, share) in composite.rate_allocation.iter().enumerate() {
            if !names.contains(&&*share.policy) {
                let path = format!("{block}::rate_allocation::{i}::policy");
                self.fault(&path, format!("there is no sub-policy `{}`", share.policy), &*valid);
            }
        }
        if composite.policy_order.is_empty() {
            let message = "`policy_order` says which sub-policies are tried, and none is";
            self.fault(block, message, format!("add `policy_order: [{}]`", names.join(", ")));
            return None;
        }
        let total_limit = self.limit(Limit::share(total, None));
        let mut members = Vec::new();
        for (i, name) in composite.policy_order.iter().enumerate() {
            let Some(at) = names.iter().position(|known| known == name) else {
                let path = format!("{block}::policy_order::{i}");
                self.fault(&path, format!("there is no sub-policy `{name}`"), &*valid);
                continue;
            };
            let path = format!("{block}::composite_sub_policy::{at}");
            let test = self.test(&subs[at], &path, Nesting::Within(Type::Composite))?;
            let share = composite.rate_allocation.iter().find(|share| share.policy == *name);
            let percent = share.map_or(0, |share| share.percent);
            let rate = if percent > 0 {
                total.saturating_mul(percent) / 100
            } else {
                total / subs.len() as u64
            };
            let limit = self.limit(Limit::share(rate, Some(total_limit)));
            members.push(Member { name: name.clone(), test, limit });
        }
        Some(Test::Composite(members))
    }
}

/// The largest 64-bit hash among so many percent of all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 2^64 is a number of 64 bits"
)]
fn largest_hash(percent: f64) -> Option<u64> {
    if percent <= 0.0 {
        return None;
    }
    if percent >= 100.0 {
        return Some(u64::MAX);
    }
    // 2^64 - 1 times a share of 53 bits, in whole numbers.
    let share = (percent / 100.0 * (1_u64 << 53) as f64) as u128;
    u64::try_from((share * u128::from(u64::MAX)) >> 53).ok()
}
