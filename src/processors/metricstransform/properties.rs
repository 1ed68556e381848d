//! Random transforms on random requests: `update` and `insert` against the same rules on decoded
//! metrics, `combine` and `group` by what they have to keep.

use std::collections::BTreeMap;

use fastrand::Rng;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{
        Exemplar, Metric, NumberDataPoint, exemplar::Value as Measured, metric::Data,
        number_data_point::Value as Number,
    },
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::*;
use crate::{
    otlp::wild::{self, OneOfs, damaged},
    ottl::tests::oracle::{encoded_anew, plain_request},
    processors::trial::Trial,
};

#[derive(Debug, Clone)]
enum Does {
    Add(&'static str, &'static str),
    Rename(&'static str, &'static str),
    Map(&'static str, &'static str, &'static str),
    Delete(&'static str, &'static str),
    Toggle,
    Scale(f64),
}

#[derive(Debug, Clone)]
struct Step {
    name: &'static str,
    is_insert: bool,
    new_name: &'static str,
    label: Option<(&'static str, &'static str)>,
    operations: Vec<Does>,
}

const KEYS: [&str; 5] = ["a", "b", "k", "m", "new"];
const TEXTS: [&str; 4] = ["a", "b", "ab", "12"];

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())]
}

fn operation(rng: &mut Rng) -> Does {
    let (key, value) = (pick(rng, &KEYS), pick(rng, &TEXTS));
    match rng.u8(0..6) {
        0 => Does::Add(key, value),
        1 => Does::Rename(key, pick(rng, &KEYS)),
        2 => Does::Map(key, value, "other"),
        3 => Does::Delete(key, value),
        4 => Does::Toggle,
        _ => Does::Scale(pick(rng, &[2.0, 0.5, -1.0])),
    }
}

fn steps(rng: &mut Rng) -> Vec<Step> {
    let one = |rng: &mut Rng| Step {
        name: pick(rng, &TEXTS),
        is_insert: rng.u8(0..3) == 0,
        new_name: pick(rng, &["n", "a", "b"]),
        label: rng.bool().then(|| (pick(rng, &KEYS), pick(rng, &["a", "b", ""]))),
        operations: (0..rng.usize(0..3)).map(|_| operation(rng)).collect(),
    };
    (0..rng.usize(1..4)).map(|_| one(rng)).collect()
}

fn written(steps: &[Step]) -> String {
    let operation = |does: &Does| match does {
        Does::Add(key, value) => {
            json!({"action": "add_label", "new_label": key, "new_value": value})
        }
        Does::Rename(key, new) => json!({"action": "update_label", "label": key, "new_label": new}),
        Does::Map(key, value, new) => json!({
            "action": "update_label", "label": key,
            "value_actions": [{"value": value, "new_value": new}],
        }),
        Does::Delete(key, value) => {
            json!({"action": "delete_label_value", "label": key, "label_value": value})
        }
        Does::Toggle => json!({"action": "toggle_scalar_data_type"}),
        Does::Scale(by) => json!({"action": "experimental_scale_value", "experimental_scale": by}),
    };
    let transforms = steps.iter().map(|step| {
        let labels: BTreeMap<&str, &str> = step.label.into_iter().collect();
        json!({
            "include": step.name,
            "action": if step.is_insert { "insert" } else { "update" },
            "new_name": step.new_name,
            "experimental_match_labels": labels,
            "operations": step.operations.iter().map(operation).collect::<Vec<_>>(),
        })
    });
    json!({"transforms": transforms.collect::<Vec<_>>()}).to_string()
}

/// The text of a label; `None` if it is absent.
fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => Some(text.clone()),
        _ => Some(String::new()),
    }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

/// Edits points of any kind: `$edit` gets the attributes and says whether the point stays.
macro_rules! each_points {
    ($metric:expr, $edit:expr) => {
        match &mut $metric.data {
            None => {}
            Some(Data::Gauge(data)) => data.data_points.retain_mut(|p| $edit(&mut p.attributes)),
            Some(Data::Sum(data)) => data.data_points.retain_mut(|p| $edit(&mut p.attributes)),
            Some(Data::Histogram(data)) => {
                data.data_points.retain_mut(|p| $edit(&mut p.attributes));
            }
            Some(Data::ExponentialHistogram(data)) => {
                data.data_points.retain_mut(|p| $edit(&mut p.attributes));
            }
            Some(Data::Summary(data)) => data.data_points.retain_mut(|p| $edit(&mut p.attributes)),
        }
    };
}

fn labels_of(metric: &Metric) -> Vec<Vec<KeyValue>> {
    let mut all = Vec::new();
    let mut metric = metric.clone();
    each_points!(metric, |attributes: &mut Vec<KeyValue>| {
        all.push(attributes.clone());
        true
    });
    all
}

impl Step {
    fn takes(&self, attributes: &[KeyValue]) -> bool {
        self.label.is_none_or(|(key, value)| text_of(attributes, key).unwrap_or_default() == value)
    }

    /// How many points match, of how many.
    fn matched(&self, metric: &Metric) -> (usize, usize) {
        let all = labels_of(metric);
        (all.iter().filter(|attributes| self.takes(attributes)).count(), all.len())
    }

    fn run(&self, metrics: &mut Vec<Metric>) {
        let mut inserted = Vec::new();
        let mut kept = Vec::new();
        for mut metric in std::mem::take(metrics) {
            let (some, all) = self.matched(&metric);
            if metric.name != self.name || (some == 0 && all > 0) {
                kept.push(metric);
            } else if self.is_insert {
                let mut copy = metric.clone();
                each_points!(copy, |attributes: &mut Vec<KeyValue>| self.takes(attributes));
                kept.push(metric);
                if self.change(&mut copy) {
                    inserted.push(copy);
                }
            } else if self.change(&mut metric) {
                kept.push(metric);
            }
        }
        kept.append(&mut inserted);
        *metrics = kept;
    }

    /// Whether the metric stays.
    fn change(&self, metric: &mut Metric) -> bool {
        let (some, before) = self.matched(metric);
        if some == before {
            self.new_name.clone_into(&mut metric.name);
        }
        for does in &self.operations {
            each_points!(metric, |attributes: &mut Vec<KeyValue>| {
                !self.takes(attributes) || change_labels(does, attributes)
            });
            let factor = match does {
                Does::Scale(factor) => Some(*factor),
                Does::Toggle => None,
                _ => continue,
            };
            self.change_values(metric, factor);
        }
        before == 0 || self.matched(metric).1 > 0
    }

    /// Scales the values of the points that match, or toggles their types.
    fn change_values(&self, metric: &mut Metric, factor: Option<f64>) {
        match (&mut metric.data, factor) {
            (Some(Data::Gauge(data)), _) => {
                let points = data.data_points.iter_mut();
                points.filter(|p| self.takes(&p.attributes)).for_each(|p| number(p, factor));
            }
            (Some(Data::Sum(data)), _) => {
                let points = data.data_points.iter_mut();
                points.filter(|p| self.takes(&p.attributes)).for_each(|p| number(p, factor));
            }
            (Some(Data::Histogram(data)), Some(factor)) => {
                let points = data.data_points.iter_mut();
                for point in points.filter(|point| self.takes(&point.attributes)) {
                    let limits = [&mut point.sum, &mut point.min, &mut point.max];
                    let values = limits.into_iter().flatten().chain(&mut point.explicit_bounds);
                    values.for_each(|value| *value *= factor);
                    exemplars(&mut point.exemplars, factor);
                }
            }
            (Some(Data::ExponentialHistogram(data)), Some(factor)) => {
                let points = data.data_points.iter_mut();
                for point in points.filter(|point| self.takes(&point.attributes)) {
                    let limits = [&mut point.sum, &mut point.min, &mut point.max];
                    limits.into_iter().flatten().for_each(|value| *value *= factor);
                    point.zero_threshold *= factor;
                    exemplars(&mut point.exemplars, factor);
                    // A factor of two is as many buckets as there are for each power of two.
                    let shift = factor.log2() * 2_f64.powi(point.scale);
                    for side in [&mut point.positive, &mut point.negative].into_iter().flatten() {
                        side.offset += if factor > 0.0 { whole(shift) } else { 0 };
                    }
                }
            }
            (Some(Data::Summary(data)), Some(factor)) => {
                let points = data.data_points.iter_mut();
                for point in points.filter(|point| self.takes(&point.attributes)) {
                    point.sum *= factor;
                    point.quantile_values.iter_mut().for_each(|one| one.value *= factor);
                }
            }
            _ => {}
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "as documented")]
fn number(point: &mut NumberDataPoint, factor: Option<f64>) {
    if let Some(by) = factor {
        exemplars(&mut point.exemplars, by);
    }
    point.value = match (point.value, factor) {
        (Some(Number::AsInt(value)), Some(by)) => Some(Number::AsInt((value as f64 * by) as i64)),
        (Some(Number::AsDouble(value)), Some(by)) => Some(Number::AsDouble(value * by)),
        (Some(Number::AsInt(value)), None) => Some(Number::AsDouble(value as f64)),
        (Some(Number::AsDouble(value)), None) => Some(Number::AsInt(value as i64)),
        (None, _) => None,
    };
}

#[expect(clippy::cast_possible_truncation, reason = "as documented")]
fn whole(value: f64) -> i32 {
    value.round() as i32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "as documented")]
fn exemplars(all: &mut [Exemplar], by: f64) {
    for exemplar in all {
        match &mut exemplar.value {
            Some(Measured::AsInt(value)) => *value = (*value as f64 * by) as i64,
            Some(Measured::AsDouble(value)) => *value *= by,
            None => {}
        }
    }
}

/// Whether the point stays.
fn change_labels(does: &Does, attributes: &mut Vec<KeyValue>) -> bool {
    match does {
        Does::Add(key, value) if text_of(attributes, key).is_none() => {
            let value = Some(text(value));
            attributes.push(KeyValue { key: (*key).to_owned(), value, ..KeyValue::default() });
        }
        Does::Rename(key, new) if text_of(attributes, key).is_some() && key != new => {
            attributes.retain(|attribute| attribute.key != *new);
            let found = attributes.iter_mut().filter(|attribute| attribute.key == *key);
            found.for_each(|attribute| (*new).clone_into(&mut attribute.key));
        }
        Does::Map(key, value, new) if text_of(attributes, key).as_deref() == Some(value) => {
            let found = attributes.iter_mut().filter(|attribute| attribute.key == *key);
            found.for_each(|attribute| attribute.value = Some(text(new)));
        }
        Does::Delete(key, value) => return text_of(attributes, key).as_deref() != Some(value),
        _ => {}
    }
    true
}

/// Keeps the first of attributes with the same key: rules for others there are none.
fn unique(attributes: &mut Vec<KeyValue>) {
    let mut keys: Vec<String> = Vec::new();
    attributes.retain(|attribute| {
        let is_new = !keys.contains(&attribute.key);
        keys.push(attribute.key.clone());
        is_new
    });
}

fn metrics(request: &mut ExportMetricsServiceRequest) -> impl Iterator<Item = &mut Vec<Metric>> {
    let scopes = request.resource_metrics.iter_mut().flat_map(|entry| &mut entry.scope_metrics);
    scopes.map(|scope| &mut scope.metrics)
}

/// A request without attributes that are there twice, in some encoding.
fn body(seed: u64) -> Vec<u8> {
    let body = plain_request(Signal::Metrics, seed);
    let mut request = ExportMetricsServiceRequest::decode(&*body).unwrap();
    for metric in metrics(&mut request).flatten() {
        each_points!(metric, |attributes: &mut Vec<KeyValue>| {
            unique(attributes);
            true
        });
    }
    let body = request.encode_to_vec();
    if seed.is_multiple_of(3) { body } else { encoded_anew(Signal::Metrics, &body, seed) }
}

/// Without the scopes and resources that have no metrics. A value that is absent is an empty one.
fn pruned(mut request: ExportMetricsServiceRequest) -> Vec<u8> {
    for metric in metrics(&mut request).flatten() {
        each_points!(metric, |attributes: &mut Vec<KeyValue>| {
            for attribute in attributes {
                attribute.value.get_or_insert_default();
            }
            true
        });
    }
    for entry in &mut request.resource_metrics {
        entry.scope_metrics.retain(|scope| !scope.metrics.is_empty());
    }
    request.resource_metrics.retain(|entry| !entry.scope_metrics.is_empty());
    request.encode_to_vec()
}

/// A transform that moves or merges.
fn moving(seed: u64) -> String {
    let rng = &mut Rng::with_seed(seed);
    let aggregation = pick(rng, &["sum", "mean", "min", "max", "count", "median"]);
    let aggregate = json!({
        "action": "aggregate_labels", "label_set": ["a", "k"], "aggregation_type": aggregation,
    });
    let values = json!({
        "action": "aggregate_label_values", "label": "a", "aggregated_values": ["a", "b"],
        "new_value": "c", "aggregation_type": aggregation,
    });
    let operations = [json!([aggregate]), json!([values]), json!([aggregate, values]), json!([])];
    let labels: BTreeMap<&str, &str> = rng.bool().then_some(("a", "a|b")).into_iter().collect();
    let include = pick(rng, &["^a", "^(?P<which>[ab])", "(.)$", "."]);
    json!({"transforms": [{
        "include": include, "match_type": "regexp", "experimental_match_labels": labels,
        "action": pick(rng, &["update", "insert", "combine", "group"]), "new_name": "new",
        "group_resource_labels": {"a": "grouped"}, "aggregation_type": aggregation,
        "operations": operations[rng.usize(..4)],
    }]})
    .to_string()
}

/// Points by the metric that they are of, sorted.
fn all_points(request: &mut ExportMetricsServiceRequest) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for metric in metrics(request).flatten() {
        let (name, data) = (metric.name.clone(), metric.data.clone());
        let mut add = |point: Vec<u8>| all.push([name.as_bytes(), &point].concat());
        match data {
            None => add(Vec::new()),
            Some(Data::Gauge(d)) => d.data_points.iter().for_each(|p| add(p.encode_to_vec())),
            Some(Data::Sum(d)) => d.data_points.iter().for_each(|p| add(p.encode_to_vec())),
            Some(Data::Histogram(d)) => d.data_points.iter().for_each(|p| add(p.encode_to_vec())),
            Some(Data::ExponentialHistogram(d)) => {
                d.data_points.iter().for_each(|p| add(p.encode_to_vec()));
            }
            Some(Data::Summary(d)) => d.data_points.iter().for_each(|p| add(p.encode_to_vec())),
        }
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn metrics_change_as_the_rules_say(seed: u64) {
        let steps = steps(&mut Rng::with_seed(seed));
        let body = body(seed);
        let mut wanted = ExportMetricsServiceRequest::decode(&*body).unwrap();
        for metrics in metrics(&mut wanted) {
            for step in &steps {
                step.run(metrics);
            }
        }
        let mut trial = Trial::of(&ENTRY, Signal::Metrics, &written(&steps));
        let (came, _) = trial.send_body(body);
        let found = ExportMetricsServiceRequest::decode(&*came).unwrap();
        let (wanted, found) = (pruned(wanted), pruned(found));
        if wanted != found {
            let decoded = |body: &[u8]| ExportMetricsServiceRequest::decode(body).unwrap();
            let (wanted, found) = (decoded(&wanted), decoded(&found));
            prop_assert!(false, "{}\n{wanted:#?}\n{found:#?}", written(&steps));
        }
    }

    #[test]
    fn a_group_keeps_all_points(seed: u64) {
        let body = body(seed);
        let settings = json!({"transforms": [{
            "include": "^[ab]", "match_type": "regexp", "action": "group",
            "group_resource_labels": {"a": "grouped"},
        }]});
        let mut before = ExportMetricsServiceRequest::decode(&*body).unwrap();
        let (came, _) = Trial::of(&ENTRY, Signal::Metrics, &settings.to_string()).send_body(body);
        let mut after = ExportMetricsServiceRequest::decode(&*came).unwrap();
        prop_assert_eq!(all_points(&mut before), all_points(&mut after));
        for entry in &mut after.resource_metrics {
            let attributes = entry.resource.get_or_insert_default().attributes.clone();
            let is_grouped = text_of(&attributes, "a").as_deref() == Some("grouped");
            for metric in entry.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                let is_taken = metric.name.starts_with(['a', 'b']);
                prop_assert_eq!(is_taken, is_grouped, "{}", metric.name);
            }
        }
    }

    #[test]
    fn whatever_moves_or_merges_stays_valid(seed: u64, is_wild: bool) {
        let body = if is_wild { wild::request(Signal::Metrics, seed, OneOfs::Kept) } else { body(seed) };
        Trial::of(&ENTRY, Signal::Metrics, &moving(seed)).send_body(body);
    }

    #[test]
    fn damaged_requests_are_no_trouble(seed: u64, damage: u64, is_wild: bool) {
        let body = if is_wild { wild::request(Signal::Metrics, seed, OneOfs::Kept) } else { body(seed) };
        let steps = written(&steps(&mut Rng::with_seed(seed)));
        let settings = if seed.is_multiple_of(2) { steps } else { moving(seed) };
        Trial::of(&ENTRY, Signal::Metrics, &settings).send_body(damaged(&body, damage));
    }
}
