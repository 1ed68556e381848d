//! What is done to the points of a metric.

use std::collections::HashMap;

use super::{
    edit::{put_label, with_points},
    matching::{Filter, text_of},
    settings::{Aggregation, OperationAction, OperationSettings},
};
use crate::{
    otlp::wire::put_bytes,
    ottl::{
        Value, content, key_value,
        message::{
            child, data, fields, fixed64s, last_of, merged_data, number, point_attributes,
            put_double, put_entry, put_fixed64, put_number, replace, replace_data, unzigzag,
            zigzag,
        },
        put_entry_bytes,
    },
    telemetry::process::VERSION,
};

/// An operation.
#[derive(Debug)]
pub(super) enum Operation {
    Add { key: Vec<u8>, value: Vec<u8> },
    Update { key: Vec<u8>, new_key: Option<Vec<u8>>, values: HashMap<Vec<u8>, Vec<u8>> },
    Delete { key: Vec<u8>, value: Vec<u8> },
    Toggle,
    Scale(f64),
    Aggregate { keys: Vec<Vec<u8>>, by: Aggregation },
    AggregateValues { key: Vec<u8>, values: Vec<Vec<u8>>, new: Vec<u8>, by: Aggregation },
}

impl Operation {
    pub(super) fn new(settings: &OperationSettings) -> Option<Self> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let all = |texts: &[String]| texts.iter().map(|text| bytes(text)).collect();
        let new_value = settings.new_value.replace("{{version}}", VERSION);
        Some(match settings.action? {
            OperationAction::AddLabel => {
                Operation::Add { key: bytes(&settings.new_label), value: new_value.into() }
            }
            OperationAction::UpdateLabel => {
                let values = settings.value_actions.iter();
                Operation::Update {
                    key: bytes(&settings.label),
                    new_key: Some(bytes(&settings.new_label)).filter(|key| !key.is_empty()),
                    values: values.map(|one| (bytes(&one.value), bytes(&one.new_value))).collect(),
                }
            }
            OperationAction::DeleteLabelValue => Operation::Delete {
                key: bytes(&settings.label),
                value: bytes(&settings.label_value),
            },
            OperationAction::ToggleScalarDataType => Operation::Toggle,
            OperationAction::ExperimentalScaleValue => {
                Operation::Scale(settings.experimental_scale)
            }
            OperationAction::AggregateLabels => Operation::Aggregate {
                keys: all(&settings.label_set),
                by: settings.aggregation_type,
            },
            OperationAction::AggregateLabelValues => Operation::AggregateValues {
                key: bytes(&settings.label),
                values: all(&settings.aggregated_values),
                new: new_value.into(),
                by: settings.aggregation_type,
            },
        })
    }

    /// Whether it changes the metric as a whole, so that all of it has to match.
    fn is_whole(&self) -> bool {
        matches!(self, Operation::Aggregate { .. } | Operation::AggregateValues { .. })
    }

    /// Bytes that it may add to a point.
    pub(super) fn growth(&self) -> usize {
        match self {
            Operation::Add { key, value } => key.len() + value.len() + 24,
            Operation::Update { new_key, values, .. } => {
                let longest = values.values().map(Vec::len).max().unwrap_or(0);
                new_key.as_ref().map_or(0, Vec::len) + longest + 24
            }
            Operation::AggregateValues { new, .. } => new.len() + 24,
            _ => 8,
        }
    }

    /// The metric after it; `None` if nothing changes.
    pub(super) fn apply(&self, metric: &[u8], filter: &Filter, is_whole: bool) -> Option<Vec<u8>> {
        if self.is_whole() && !is_whole {
            return None;
        }
        match self {
            Operation::Aggregate { keys, by } => merged(metric, *by, |key, _| {
                if keys.iter().any(|kept| kept == key) { Label::Stays } else { Label::Goes }
            }),
            Operation::AggregateValues { key: of, values, new, by } => {
                merged(metric, *by, |key, any| {
                    let is_one = key == of
                        && matches!(Value::read(any), Value::Text(text) if values.iter().any(|v| *v == *text));
                    if is_one { Label::Becomes(new) } else { Label::Stays }
                })
            }
            _ => with_points(metric, |point, kind, out| {
                if filter.matches_point(point, point_attributes(kind)) {
                    return self.point(point, kind, out);
                }
                out.extend_from_slice(point);
                true
            }),
        }
    }

    /// Writes the new point; false if it goes.
    fn point(&self, point: &[u8], kind: u32, out: &mut Vec<u8>) -> bool {
        let attributes = point_attributes(kind);
        match self {
            Operation::Add { key, value } => {
                if text_of(point, attributes, key).is_some() {
                    out.extend_from_slice(point);
                } else {
                    put_label(point, kind, key, value, out);
                }
            }
            Operation::Update { key, new_key, values } => {
                update(point, attributes, (key, new_key.as_deref()), values, out);
            }
            Operation::Delete { key, value } => {
                if text_of(point, attributes, key).is_some_and(|text| *text == **value) {
                    return false;
                }
                out.extend_from_slice(point);
            }
            Operation::Toggle => toggle(point, kind, out),
            Operation::Scale(factor) => scale(point, kind, *factor, out),
            Operation::Aggregate { .. } | Operation::AggregateValues { .. } => {
                out.extend_from_slice(point);
            }
        }
        true
    }
}

/// What becomes of a label.
enum Label<'l> {
    Stays,
    Goes,
    Becomes(&'l [u8]),
}

/// Edits labels and merges the points that are the same then.
fn merged<'l>(
    metric: &[u8],
    by: Aggregation,
    label: impl Fn(&[u8], &[u8]) -> Label<'l>,
) -> Option<Vec<u8>> {
    let (kind, data) = data(metric)?;
    // Summaries, and histograms by anything but a sum, stay as they are.
    let new = merged_data(kind, &data, by.name(), |point, attributes, out| {
        for field in fields(point) {
            let Some(entry) = content(&field, attributes) else {
                out.extend_from_slice(field.whole);
                continue;
            };
            let (key, any) = key_value(entry);
            match label(key, &any) {
                Label::Stays => out.extend_from_slice(field.whole),
                Label::Goes => {}
                Label::Becomes(text) => {
                    put_entry(out, attributes, key, &Value::Text(text.into()));
                }
            }
        }
    });
    let new = new.ok().filter(|new| **new != *data)?;
    let mut out = Vec::with_capacity(metric.len());
    replace_data(metric, kind, &new, &mut out);
    Some(out)
}

/// Renames a label and its value. Another label of the new name is replaced.
fn update(
    point: &[u8],
    attributes: u32,
    (key, new_key): (&[u8], Option<&[u8]>),
    values: &HashMap<Vec<u8>, Vec<u8>>,
    out: &mut Vec<u8>,
) {
    if text_of(point, attributes, key).is_none() {
        out.extend_from_slice(point);
        return;
    }
    let mut is_done = false;
    for field in fields(point) {
        let Some(entry) = content(&field, attributes) else {
            out.extend_from_slice(field.whole);
            continue;
        };
        let (known, any) = key_value(entry);
        if known == key {
            if !std::mem::replace(&mut is_done, true) {
                let new_key = new_key.unwrap_or(key);
                let value = Value::read(&any);
                let new = match &value {
                    Value::Text(text) => values.get(&**text),
                    _ => None,
                };
                match new {
                    Some(new) => {
                        put_entry(out, attributes, new_key, &Value::Text(new.as_slice().into()));
                    }
                    None => put_entry_bytes(out, attributes, new_key, &any),
                }
            }
        } else if new_key != Some(known) {
            out.extend_from_slice(field.whole);
        }
    }
}

/// Integers to doubles, doubles to integers.
fn toggle(point: &[u8], kind: u32, out: &mut Vec<u8>) {
    let value = last_of(point, &[4, 6]).filter(|_| matches!(kind, 5 | 7));
    match value {
        Some((4, field)) => {
            let int = truncated(f64::from_bits(field.number_value()));
            replace(point, &[4, 6], out, |out| put_fixed64(out, 6, int.cast_unsigned()));
        }
        Some((_, field)) => {
            let double = as_double(field.number_value().cast_signed());
            replace(point, &[4, 6], out, |out| put_double(out, 4, double));
        }
        None => out.extend_from_slice(point),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the nearest double")]
fn as_double(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, reason = "beyond 64 bits the nearest integer")]
fn truncated(value: f64) -> i64 {
    value as i64
}

/// Multiplies the values of a point.
fn scale(point: &[u8], kind: u32, factor: f64, out: &mut Vec<u8>) {
    // Doubles, the integer, lists of doubles, exemplars, counts as they are.
    let (doubles, bounds, exemplars): (&[u32], u32, u32) = match kind {
        5 | 7 => (&[4], 0, 5),
        9 => (&[5, 11, 12], 7, 8),
        10 => (&[5, 12, 13, 14], 0, 11),
        _ => (&[5], 0, 0),
    };
    let is_number = matches!(kind, 5 | 7);
    let (mut bounds_done, mut sides_done) = (false, [false; 2]);
    for field in fields(point) {
        let value = field.number_value();
        if doubles.contains(&field.number) {
            put_double(out, field.number, f64::from_bits(value) * factor);
        } else if is_number && field.number == 6 {
            let scaled = truncated(as_double(value.cast_signed()) * factor);
            put_fixed64(out, 6, scaled.cast_unsigned());
        } else if bounds != 0 && field.number == bounds {
            if !std::mem::replace(&mut bounds_done, true) {
                put_bounds(point, bounds, factor, out);
            }
        } else if exemplars != 0
            && let Some(exemplar) = content(&field, exemplars)
        {
            let mut new = Vec::with_capacity(exemplar.len());
            scale_exemplar(exemplar, factor, &mut new);
            put_bytes(out, exemplars, &new);
        } else if kind == 11
            && let Some(quantile) = content(&field, 6)
        {
            let mut new = Vec::with_capacity(quantile.len());
            let scaled = f64::from_bits(number(quantile, 2)) * factor;
            replace(quantile, &[2], &mut new, |out| put_double(out, 2, scaled));
            put_bytes(out, 6, &new);
        } else if kind == 10 && matches!(field.number, 8 | 9) {
            // They may be in several parts.
            if !std::mem::replace(&mut sides_done[usize::from(field.number == 9)], true) {
                put_buckets(point, field.number, factor, out);
            }
        } else {
            out.extend_from_slice(field.whole);
        }
    }
}

fn put_buckets(point: &[u8], side: u32, factor: f64, out: &mut Vec<u8>) {
    let buckets = child(point, side).unwrap_or_default();
    let mut new = Vec::with_capacity(buckets.len() + 8);
    let offset = shifted(unzigzag(number(&buckets, 1)), unzigzag(number(point, 6)), factor);
    replace(&buckets, &[1], &mut new, |out| put_number(out, 1, zigzag(offset)));
    put_bytes(out, side, &new);
}

fn put_bounds(point: &[u8], field: u32, factor: f64, out: &mut Vec<u8>) {
    let scaled = fixed64s(point, field).into_iter().map(|bits| f64::from_bits(bits) * factor);
    let packed: Vec<u8> = scaled.flat_map(f64::to_le_bytes).collect();
    put_bytes(out, field, &packed);
}

fn scale_exemplar(exemplar: &[u8], factor: f64, out: &mut Vec<u8>) {
    for field in fields(exemplar) {
        let value = field.number_value();
        match field.number {
            3 => put_double(out, 3, f64::from_bits(value) * factor),
            6 => {
                let scaled = truncated(as_double(value.cast_signed()) * factor);
                put_fixed64(out, 6, scaled.cast_unsigned());
            }
            _ => out.extend_from_slice(field.whole),
        }
    }
}

/// The offset of exponential buckets whose bounds are multiplied: the base is 2 to the power of
/// 2^-scale, so a factor is so many buckets, rounded. Without a positive factor there is none.
fn shifted(offset: i64, scale: i64, factor: f64) -> i64 {
    if factor <= 0.0 {
        return offset;
    }
    let scale = i32::try_from(scale.clamp(-20, 40)).unwrap_or(0);
    let buckets = truncated((factor.log2() * 2_f64.powi(scale)).round());
    offset.saturating_add(buckets).clamp(i64::from(i32::MIN), i64::from(i32::MAX))
}
