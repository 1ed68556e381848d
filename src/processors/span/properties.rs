//! Random settings on random requests against the same rules on decoded spans.

use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, Status as TheirStatus},
};
use proptest::prelude::*;
use prost::Message as _;
use regex::Regex;

use super::*;
use crate::{
    otlp::wild::{self, OneOfs, damaged},
    ottl::tests::oracle::{encoded_anew, plain_request},
    processors::trial::Trial,
};

const RULES: [&str; 6] = [
    "^(?P<first>.)",
    "(?P<a>a)(?P<b>b)?",
    ";(?P<k>[a-z]);",
    "(?P<a>[0-9]+)",
    "(x)(?P<rest>;.*)$",
    "(?P<all>a(?P<in>b))",
];

/// Settings, and the texts that they are written as.
struct Settings {
    config: Config,
    /// Names of the spans that are chosen, and of those that are not.
    include: Option<String>,
    exclude: Option<String>,
    text: String,
}

fn settings(seed: u64) -> Settings {
    let mut rng = Rng::with_seed(seed);
    let mut some = |all: &[&str]| -> Vec<String> {
        let len = rng.usize(0..3);
        (0..len).map(|_| all[rng.usize(..all.len())].to_owned()).collect()
    };
    let (from, rules) = (some(&["a", "b", "k", "l", "m"]), some(&RULES));
    let mut config = Config::default();
    config.name.from_attributes = from;
    config.name.separator = ["", "::"][rng.usize(..2)].to_owned();
    config.name.to_attributes = (!rules.is_empty()).then(|| ToAttributes {
        rules,
        break_after_match: rng.bool(),
        keep_original_name: rng.bool(),
    });
    let is_still = config.name.from_attributes.is_empty() && config.name.to_attributes.is_none();
    config.status = (is_still || rng.bool()).then(|| {
        let code = [Code::Unset, Code::Ok, Code::Error][rng.usize(..3)];
        let description = if code == Code::Error { "b" } else { "" }.to_owned();
        Status { code: Some(code), description }
    });
    let mut name = || rng.bool().then(|| ["a", "ab", "x;y;z"][rng.usize(..3)].to_owned());
    let (include, exclude) = (name(), name());
    let text = written(&config, include.as_deref(), exclude.as_deref());
    Settings { config, include, exclude, text }
}

/// The settings in YAML, which is JSON.
fn written(config: &Config, include: Option<&str>, exclude: Option<&str>) -> String {
    let mut all = serde_json::json!({"name": {
        "from_attributes": config.name.from_attributes,
        "separator": config.name.separator,
    }});
    if let Some(to) = &config.name.to_attributes {
        all["name"]["to_attributes"] = serde_json::json!({
            "rules": to.rules,
            "break_after_match": to.break_after_match,
            "keep_original_name": to.keep_original_name,
        });
    }
    if let Some(status) = &config.status {
        all["status"] = serde_json::json!({"code": status.code, "description": status.description});
    }
    for (key, name) in [("include", include), ("exclude", exclude)] {
        if let Some(name) = name {
            all[key] = serde_json::json!({"match_type": "strict", "span_names": [name]});
        }
    }
    all.to_string()
}

fn put(attributes: &mut Vec<KeyValue>, key: &str, text: &str) {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    match attributes.iter_mut().find(|attribute| attribute.key == key) {
        Some(attribute) => attribute.value = value,
        None => {
            attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        }
    }
}

/// The name that attributes make, if all are there.
fn name_of(span: &Span, name: &Name) -> Option<String> {
    let texts: Option<Vec<String>> = name
        .from_attributes
        .iter()
        .map(|key| {
            let found = span.attributes.iter().find(|attribute| attribute.key == *key)?;
            Some(match found.value.as_ref().and_then(|any| any.value.as_ref()) {
                Some(Value::StringValue(text)) => text.clone(),
                Some(Value::BoolValue(value)) => value.to_string(),
                Some(Value::IntValue(value)) => value.to_string(),
                Some(Value::DoubleValue(value)) => value.to_string(),
                _ => "<unknown-attribute-type>".to_owned(),
            })
        })
        .collect();
    texts.map(|texts| texts.join(&name.separator))
}

fn model(settings: &Settings, span: &mut Span) {
    let is_chosen = settings.include.as_ref().is_none_or(|name| span.name == *name)
        && settings.exclude.as_ref().is_none_or(|name| span.name != *name);
    if !is_chosen {
        return;
    }
    let name = &settings.config.name;
    if !name.from_attributes.is_empty()
        && let Some(new) = name_of(span, name)
    {
        span.name = new;
    }
    let to = name.to_attributes.clone().unwrap_or_default();
    for rule in &to.rules {
        let regex = Regex::new(rule).unwrap();
        let old = span.name.clone();
        let Some(found) = regex.captures(&old) else { continue };
        let (mut new, mut copied) = (String::new(), 0);
        for group in regex.capture_names().flatten() {
            let Some(part) = found.name(group) else { continue };
            put(&mut span.attributes, group, part.as_str());
            if part.start() >= copied {
                new.extend([&old[copied..part.start()], "{", group, "}"]);
                copied = part.end();
            }
        }
        new.push_str(&old[copied..]);
        if !to.keep_original_name {
            span.name = new;
        }
        if to.break_after_match {
            break;
        }
    }
    if let Some(status) = &settings.config.status {
        let code = status.code.map_or(0, |code| code as i32);
        span.status = Some(TheirStatus { message: status.description.clone(), code });
    }
}

/// New attributes may come in any order, and no status is an empty one.
fn normalised(mut request: ExportTraceServiceRequest) -> Vec<u8> {
    for span in spans(&mut request) {
        span.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        span.status.get_or_insert_default();
    }
    request.encode_to_vec()
}

fn spans(request: &mut ExportTraceServiceRequest) -> impl Iterator<Item = &mut Span> {
    let scopes = request.resource_spans.iter_mut().flat_map(|entry| &mut entry.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}

fn body(seed: u64, kind: u8) -> Vec<u8> {
    match kind {
        0 => wild::request(Signal::Traces, seed, OneOfs::Mixed),
        1 => plain_request(Signal::Traces, seed),
        _ => encoded_anew(Signal::Traces, &plain_request(Signal::Traces, seed), seed),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn spans_change_as_the_rules_say(seed: u64, kind in 0..4_u8) {
        let settings = settings(seed);
        let body = body(seed, kind);
        let before = ExportTraceServiceRequest::decode(&*body).unwrap();
        let mut wanted = before.clone();
        spans(&mut wanted).for_each(|span| model(&settings, span));
        let mut trial = Trial::of(&ENTRY, Signal::Traces, &settings.text);
        let (came, is_same) = trial.send_body(body);
        let found = ExportTraceServiceRequest::decode(&*came).unwrap();
        prop_assert!(normalised(found) == normalised(wanted.clone()), "{}", settings.text);
        let is_changed = normalised(wanted) != normalised(before);
        prop_assert!(!(is_changed && is_same), "{}", settings.text);
    }

    #[test]
    fn damaged_requests_are_no_trouble(seed: u64, kind in 0..4_u8, damage: u64) {
        let mut trial = Trial::of(&ENTRY, Signal::Traces, &settings(seed).text);
        trial.send_body(damaged(&body(seed, kind), damage));
    }
}
