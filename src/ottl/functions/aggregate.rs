//! Editors that merge the data points of a metric: `aggregate_on_attributes` and
//! `aggregate_on_attribute_value`.
//!
//! Points are merged if they have the same attributes and time, for delta also the same start, and
//! for histograms the same buckets. Of a merged point the first one stays, with new values.

use std::collections::HashMap;

use super::{
    super::{
        compare::as_double,
        fault::{Fault, What},
        item::{Item, Tier},
        language::Context,
        node::{Call, Eval},
        read::{data, has, point_attributes},
        types::Types,
        value::{Value, content, elements, key_value, put_double, put_entry, put_entry_bytes},
        wire::{child, fields, fixed64s, last_of, number, put_fixed64, replace, varints},
    },
    Function, Takes, editor,
    metrics::set_data,
    optional, parameter, value,
};
use crate::otlp::wire::{put_bytes, put_varint};

const FUNCTION: super::Parameter =
    parameter("function", Takes::OneOf(&["sum", "max", "min", "mean", "median", "count"]));

pub(crate) const FUNCTIONS: &[Function] = &[
    editor(
        "aggregate_on_attributes",
        &[FUNCTION, optional("attributes", Takes::Value(Types::LIST))],
        on_attributes,
        "Keeps some attributes of the data points and merges those that are the same then. \
         Without `attributes` all are kept.",
    )
    .only_in(&[Context::Metric]),
    editor(
        "aggregate_on_attribute_value",
        &[
            FUNCTION,
            value("attribute", Types::TEXT),
            value("values", Types::LIST),
            value("new_value", Types::TEXT),
        ],
        on_value,
        "Replaces some values of an attribute by one and merges the data points that are the same \
         then.",
    )
    .only_in(&[Context::Metric]),
];

fn on_attributes(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let kept = if call.has(1) { Some(call.texts(eval, 1)?) } else { None };
    let function = call.str(eval, 0)?.into_owned();
    aggregate(item, &function, |point, number, out| {
        for field in fields(point) {
            let goes = content(&field, number).is_some_and(|entry| {
                let (key, _) = key_value(entry);
                kept.as_ref().is_some_and(|kept| !kept.iter().any(|kept| kept == key))
            });
            if !goes {
                out.extend_from_slice(field.whole);
            }
        }
    })
}

fn on_value(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let function = call.str(eval, 0)?.into_owned();
    let (attribute, values) = (call.text(eval, 1)?.into_owned(), call.texts(eval, 2)?);
    let new = call.text(eval, 3)?.into_owned();
    aggregate(item, &function, |point, number, out| {
        for field in fields(point) {
            let is_replaced = content(&field, number).is_some_and(|entry| {
                let (key, any) = key_value(entry);
                *key == *attribute
                    && matches!(Value::read(&any), Value::Text(text) if values.iter().any(|v| **v == *text))
            });
            if is_replaced {
                put_entry(out, number, &attribute, &Value::Text(new.as_slice().into()));
            } else {
                out.extend_from_slice(field.whole);
            }
        }
    })
}

/// Edits the attributes of every point and merges those that are the same then.
fn aggregate(
    item: &mut Item<'_>,
    function: &str,
    edit: impl FnMut(&[u8], u32, &mut Vec<u8>),
) -> Result<(), Fault> {
    let Some((kind, data)) = data(item.bytes(Tier::Item)) else { return Ok(()) };
    let new = merged_data(kind, &data, function, edit)?;
    set_data(item, kind, &new)
}

/// The data of a metric in field `kind` with its points edited, and those merged that are the same
/// then. `edit` gets a point, the number of its attributes, and writes the new point.
pub(crate) fn merged_data(
    kind: u32,
    data: &[u8],
    function: &str,
    mut edit: impl FnMut(&[u8], u32, &mut Vec<u8>),
) -> Result<Vec<u8>, What> {
    if kind == 11 {
        return Err(What::text("a summary cannot be aggregated"));
    }
    if matches!(kind, 9 | 10) && function != "sum" {
        return Err(What::text("histograms can only be aggregated by `sum`"));
    }
    let is_delta = kind != 5 && number(data, 2) == 1;
    let attributes = point_attributes(kind);
    let mut groups: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    for field in fields(data) {
        let Some(point) = content(&field, 1) else { continue };
        let mut new = Vec::with_capacity(point.len());
        edit(point, attributes, &mut new);
        let key = identity(&new, kind, attributes, is_delta);
        let at = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(new),
            None => groups.push(vec![new]),
        }
    }
    let mut out = Vec::with_capacity(data.len());
    for group in &groups {
        let merged = match (kind, &**group) {
            (9, [_, _, ..]) => merged_histogram(group),
            (10, [_, _, ..]) => merged_exponential(group),
            (9 | 10, [only]) => only.clone(),
            _ => merged_number(group, function),
        };
        put_bytes(&mut out, 1, &merged);
    }
    for field in fields(data).filter(|field| content(field, 1).is_none()) {
        out.extend_from_slice(field.whole);
    }
    Ok(out)
}

/// What points have in common that are merged.
fn identity(point: &[u8], kind: u32, attributes: u32, is_delta: bool) -> Vec<u8> {
    let mut entries: Vec<(&[u8], Vec<u8>)> = fields(point)
        .filter_map(|field| content(&field, attributes).map(key_value))
        .map(|(key, any)| {
            let mut canonical = Vec::new();
            put_canonical(&Value::read(&any), &mut canonical);
            (key, canonical)
        })
        .collect();
    entries.sort();
    let mut key = Vec::new();
    for (name, any) in &entries {
        put_bytes(&mut key, 1, name);
        put_bytes(&mut key, 2, any);
    }
    key.extend(number(point, 3).to_le_bytes());
    if is_delta {
        key.extend(number(point, 2).to_le_bytes());
    }
    let mut add = |bits: u64| key.extend(bits.to_le_bytes());
    match kind {
        9 => {
            fixed64s(point, 7).into_iter().for_each(&mut add);
            for flag in [has(point, 11), has(point, 12), has(point, 5)] {
                add(flag.into());
            }
            add(number(point, 10));
            add(fixed64s(point, 6).len() as u64);
        }
        10 => {
            for flag in [has(point, 12), has(point, 13), has(point, 5)] {
                add(flag.into());
            }
            add(number(point, 10));
            add(number(point, 6));
            add(number(point, 14));
            for side in [8, 9] {
                add(child(point, side).map_or(0, |buckets| number(&buckets, 1)));
            }
        }
        _ => add(number(point, 8)),
    }
    key
}

/// Appends a value such that equal ones have the same bytes: maps have no order, and messages may
/// be encoded in many ways.
fn put_canonical(value: &Value<'_>, out: &mut Vec<u8>) {
    let canonical = |any: &[u8]| {
        let mut inner = Vec::new();
        put_canonical(&Value::read(any), &mut inner);
        inner
    };
    let mut all = Vec::new();
    match value {
        Value::Map(map) => {
            let entries = map.entries().map(|(key, any)| (key.to_vec(), canonical(&any)));
            let mut entries: Vec<(Vec<u8>, Vec<u8>)> = entries.collect();
            entries.sort();
            for (key, any) in &entries {
                put_entry_bytes(&mut all, 1, key, any);
            }
            put_bytes(out, 6, &all);
        }
        Value::List(list) => {
            elements(list).for_each(|any| put_bytes(&mut all, 1, &canonical(any)));
            put_bytes(out, 5, &all);
        }
        other => {
            other.encode(out);
        }
    }
}

/// The first of some points with the earliest start.
fn first_of(group: &[Vec<u8>]) -> Vec<u8> {
    let start = group.iter().map(|point| number(point, 2)).min().unwrap_or(0);
    let mut out = Vec::with_capacity(group[0].len());
    if number(&group[0], 2) == start {
        return group[0].clone();
    }
    replace(&group[0], &[2], &mut out, |out| put_fixed64(out, 2, start));
    out
}

fn rewritten(point: &[u8], field: u32, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(point.len());
    replace(point, &[field], &mut out, write);
    out
}

fn merged_number(group: &[Vec<u8>], function: &str) -> Vec<u8> {
    let first = first_of(group);
    if group.len() == 1 && function != "count" {
        return first;
    }
    let values: Vec<_> = group.iter().filter_map(|point| last_of(point, &[4, 6])).collect();
    let mut out = Vec::with_capacity(first.len());
    if function == "count" {
        replace(&first, &[4, 6], &mut out, |out| put_fixed64(out, 6, group.len() as u64));
        return out;
    }
    if values.is_empty() {
        return first;
    }
    if values.iter().all(|(n, _)| *n == 6) {
        let ints: Vec<i64> =
            values.iter().map(|(_, field)| field.number_value().cast_signed()).collect();
        let result = aggregated_ints(ints, function);
        replace(&first, &[4, 6], &mut out, |out| put_fixed64(out, 6, result.cast_unsigned()));
        return out;
    }
    let doubles: Vec<f64> = values
        .iter()
        .map(|(n, field)| match n {
            4 => f64::from_bits(field.number_value()),
            _ => as_double(field.number_value().cast_signed()),
        })
        .collect();
    let result = aggregated(doubles, function);
    replace(&first, &[4, 6], &mut out, |out| put_double(out, 4, result));
    out
}

fn aggregated_ints(mut values: Vec<i64>, function: &str) -> i64 {
    let sum = || values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
    match function {
        "sum" => sum(),
        "max" => values.iter().copied().max().unwrap_or(0),
        "min" => values.iter().copied().min().unwrap_or(0),
        "mean" => sum() / i64::try_from(values.len()).unwrap_or(1),
        _ => {
            values.sort_unstable();
            let middle = values.len() / 2;
            match values.len() % 2 {
                1 => values[middle],
                // Without overflow and towards zero.
                _ => values[middle - 1].midpoint(values[middle]),
            }
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn aggregated(mut values: Vec<f64>, function: &str) -> f64 {
    let count = as_double(i64::try_from(values.len()).unwrap_or(i64::MAX));
    match function {
        "sum" => values.iter().sum(),
        "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "mean" => values.iter().sum::<f64>() / count,
        _ => {
            values.sort_by(f64::total_cmp);
            median(&values)
        }
    }
}

/// Merges the optional doubles of a field by a function.
fn combined(out: Vec<u8>, group: &[Vec<u8>], field: u32, combine: fn(f64, f64) -> f64) -> Vec<u8> {
    let all = group.iter().map(|point| f64::from_bits(number(point, field)));
    match all.reduce(combine) {
        Some(value) if has(&group[0], field) => {
            rewritten(&out, field, |out| put_double(out, field, value))
        }
        _ => out,
    }
}

/// Adds the exemplars of the other points to those of the first.
fn with_exemplars(mut out: Vec<u8>, group: &[Vec<u8>], number: u32) -> Vec<u8> {
    for point in &group[1..] {
        let exemplars = fields(point).filter(|field| content(field, number).is_some());
        exemplars.for_each(|field| out.extend_from_slice(field.whole));
    }
    out
}

fn total(group: &[Vec<u8>], field: u32) -> u64 {
    group.iter().fold(0, |sum, point| sum.wrapping_add(number(point, field)))
}

/// Adds lists of counts element by element.
fn added(lists: impl Iterator<Item = Vec<u64>>) -> Vec<u64> {
    lists.fold(Vec::new(), |mut sums, list| {
        sums.resize(sums.len().max(list.len()), 0_u64);
        sums.iter_mut().zip(list).for_each(|(sum, count)| *sum = sum.wrapping_add(count));
        sums
    })
}

fn merged_histogram(group: &[Vec<u8>]) -> Vec<u8> {
    let mut out = first_of(group);
    let count = total(group, 4);
    out = rewritten(&out, 4, |out| put_fixed64(out, 4, count));
    out = combined(out, group, 5, |a, b| a + b);
    out = combined(out, group, 11, f64::min);
    out = combined(out, group, 12, f64::max);
    out = with_exemplars(out, group, 8);
    let counts = added(group.iter().map(|point| fixed64s(point, 6)));
    let packed: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
    rewritten(&out, 6, |out| {
        if !packed.is_empty() {
            put_bytes(out, 6, &packed);
        }
    })
}

fn merged_exponential(group: &[Vec<u8>]) -> Vec<u8> {
    let mut out = first_of(group);
    for field in [4, 7] {
        let count = total(group, field);
        out = rewritten(&out, field, |out| put_fixed64(out, field, count));
    }
    out = combined(out, group, 5, |a, b| a + b);
    out = combined(out, group, 12, f64::min);
    out = combined(out, group, 13, f64::max);
    out = with_exemplars(out, group, 11);
    for side in [8, 9] {
        if group.iter().all(|point| child(point, side).is_none()) {
            continue;
        }
        let first = child(&group[0], side).unwrap_or_default();
        let counts =
            added(group.iter().map(|point| {
                child(point, side).map_or(Vec::new(), |buckets| varints(&buckets, 2))
            }));
        let mut packed = Vec::new();
        for count in &counts {
            put_varint(&mut packed, *count);
        }
        let mut buckets = Vec::new();
        replace(&first, &[2], &mut buckets, |out| put_bytes(out, 2, &packed));
        out = rewritten(&out, side, |out| put_bytes(out, side, &buckets));
    }
    out
}
