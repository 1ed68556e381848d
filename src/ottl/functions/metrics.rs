//! Editors that change the kind of a metric, and that add a metric made of it.

use super::{
    super::{
        arguments::to_str,
        fault::{Fault, What},
        index::Indexed,
        item::{Appended, Item, Tier},
        language::Context,
        node::{Call, Eval},
        read::{data, point_attributes},
        text::write_double,
        types::Types,
        value::{Value, content, put_double},
        wire::{
            Step, bytes, fields, fixed64s, number, put_attribute, put_fixed64, put_number, replace,
        },
        write::{replace_data, stored},
    },
    Function, Parameter, Takes, editor, optional, parameter,
};
use crate::otlp::wire::put_bytes;

const METRIC: &[Context] = &[Context::Metric];
const POINT: &[Context] = &[Context::DataPoint];
const TEMPORALITY: Parameter =
    parameter("aggregation_temporality", Takes::OneOf(&["cumulative", "delta"]));
const MONOTONIC: Parameter = parameter("is_monotonic", Takes::Literal(Types::BOOL));
const SUFFIX: Parameter = optional("suffix", Takes::Literal(Types::TEXT));

pub(crate) const FUNCTIONS: &[Function] = &[
    editor(
        "convert_sum_to_gauge",
        &[],
        convert_sum_to_gauge,
        "Makes a gauge of a sum. Other metrics stay as they are.",
    )
    .only_in(METRIC),
    editor(
        "convert_gauge_to_sum",
        &[TEMPORALITY, MONOTONIC],
        convert_gauge_to_sum,
        "Makes a sum of a gauge. Other metrics stay as they are.",
    )
    .only_in(METRIC),
    editor(
        "extract_count_metric",
        &[MONOTONIC, SUFFIX],
        extract_count,
        "Adds a sum of the counts of a histogram or summary.",
    )
    .only_in(METRIC),
    editor(
        "extract_sum_metric",
        &[MONOTONIC, SUFFIX],
        extract_sum,
        "Adds a sum of the sums of a histogram or summary.",
    )
    .only_in(METRIC),
    editor(
        "convert_summary_count_val_to_sum",
        &[TEMPORALITY, MONOTONIC, SUFFIX],
        summary_count,
        "Adds a sum of the counts of the points of a summary.",
    )
    .only_in(POINT),
    editor(
        "convert_summary_sum_val_to_sum",
        &[TEMPORALITY, MONOTONIC, SUFFIX],
        summary_sum,
        "Adds a sum of the sums of the points of a summary.",
    )
    .only_in(POINT),
    editor(
        "convert_summary_quantile_val_to_gauge",
        &[optional("attribute_key", Takes::Literal(Types::TEXT)), SUFFIX],
        summary_quantiles,
        "Adds a gauge of the quantiles of the points of a summary.",
    )
    .only_in(POINT),
    editor(
        "copy_metric",
        &[
            optional("name", Takes::Value(Types::TEXT)),
            optional("description", Takes::Value(Types::TEXT)),
            optional("unit", Takes::Value(Types::TEXT)),
        ],
        copy_metric,
        "Adds a copy of a metric. Later statements run on the copy, too, so a `where` should \
         exclude it.",
    )
    .only_in(METRIC),
];

/// Puts data of another kind into the metric.
pub(super) fn set_data(item: &mut Item<'_>, kind: u32, data: &[u8]) -> Result<(), Fault> {
    item.edit(Tier::Item, |metric, out| {
        replace_data(metric, kind, data, out);
        Ok(())
    })?;
    item.set_kind(kind);
    Ok(())
}

fn convert_sum_to_gauge(_: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let Some((7, sum)) = data(item.bytes(Tier::Item)) else { return Ok(()) };
    let mut gauge = Vec::with_capacity(sum.len());
    for field in fields(&sum).filter(|field| !matches!(field.number, 2 | 3)) {
        gauge.extend_from_slice(field.whole);
    }
    set_data(item, 5, &gauge)
}

/// 1 for delta, 2 for cumulative.
fn temporality(call: &Call, eval: Eval<'_>, at: usize) -> Result<u64, Fault> {
    Ok(if *call.text(eval, at)? == *b"delta" { 1 } else { 2 })
}

fn convert_gauge_to_sum(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let (temporality, is_monotonic) = (temporality(call, eval, 0)?, call.bool_or(eval, 1, false)?);
    let Some((5, gauge)) = data(item.bytes(Tier::Item)) else { return Ok(()) };
    let mut sum = Vec::with_capacity(gauge.len() + 4);
    for field in fields(&gauge).filter(|field| !matches!(field.number, 2 | 3)) {
        sum.extend_from_slice(field.whole);
    }
    put_nature(&mut sum, temporality, is_monotonic);
    set_data(item, 7, &sum)
}

fn put_nature(sum: &mut Vec<u8>, temporality: u64, is_monotonic: bool) {
    put_number(sum, 2, temporality);
    if is_monotonic {
        put_number(sum, 3, 1);
    }
}

/// A metric to be added, with one kind of data.
struct New {
    name: Vec<u8>,
    description: Vec<u8>,
    unit: Vec<u8>,
    points: Vec<u8>,
}

impl New {
    /// An empty one with the description of `metric`.
    fn of(metric: &[u8], suffix: &[u8]) -> Self {
        New {
            name: [bytes(metric, 1), suffix].concat(),
            description: bytes(metric, 2).to_vec(),
            unit: bytes(metric, 3).to_vec(),
            points: Vec::new(),
        }
    }

    fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, String::from_utf8_lossy(&self.name).as_bytes());
        put_bytes(&mut out, 2, &self.description);
        put_bytes(&mut out, 3, &self.unit);
        out
    }

    fn sum(self, temporality: u64, is_monotonic: bool) -> Appended {
        let mut nature = Vec::new();
        put_nature(&mut nature, temporality, is_monotonic);
        Appended { head: self.head(), kind: 7, points: self.points, nature }
    }

    fn gauge(self) -> Appended {
        Appended { head: self.head(), kind: 5, points: self.points, nature: Vec::new() }
    }
}

/// A number data point with the attributes and times of a point of another kind.
fn number_point(point: &[u8], kind: u32, put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let attributes = point_attributes(kind);
    let mut out = Vec::new();
    for field in fields(point) {
        match content(&field, attributes) {
            Some(entry) => put_bytes(&mut out, 7, entry),
            None if matches!(field.number, 2 | 3) => out.extend_from_slice(field.whole),
            None => {}
        }
    }
    put(&mut out);
    out
}

fn extract_count(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let (is_monotonic, suffix) =
        (call.bool_or(eval, 0, false)?, call.text_or(eval, 1, "_count")?.into_owned());
    let metric = item.bytes(Tier::Item);
    let (kind, data) = distributions(metric)?;
    let mut new = New { unit: b"1".to_vec(), ..New::of(metric, &suffix) };
    for field in fields(&data) {
        let Some(point) = content(&field, 1) else { continue };
        let count = number(point, 4);
        put_bytes(&mut new.points, 1, &number_point(point, kind, |out| put_fixed64(out, 6, count)));
    }
    let temporality = if kind == 11 { 2 } else { number(&data, 2) };
    let new = new.sum(temporality, is_monotonic);
    item.appended.push(new);
    Ok(())
}

/// The data of a histogram or summary.
fn distributions(metric: &[u8]) -> Result<(u32, std::borrow::Cow<'_, [u8]>), Fault> {
    match data(metric) {
        Some((kind @ (9..=11), data)) => Ok((kind, data)),
        _ => Err(What::text("the metric is neither a histogram nor a summary").into()),
    }
}

fn extract_sum(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let (is_monotonic, suffix) =
        (call.bool_or(eval, 0, false)?, call.text_or(eval, 1, "_sum")?.into_owned());
    let metric = item.bytes(Tier::Item);
    let (kind, data) = distributions(metric)?;
    let mut new = New::of(metric, &suffix);
    for field in fields(&data) {
        let Some(point) = content(&field, 1) else { continue };
        if kind != 11 && !super::super::read::has(point, 5) {
            continue;
        }
        let sum = f64::from_bits(number(point, 5));
        put_bytes(&mut new.points, 1, &number_point(point, kind, |out| put_double(out, 4, sum)));
    }
    if new.points.is_empty() {
        return Ok(());
    }
    let temporality = if kind == 11 { 2 } else { number(&data, 2) };
    let new = new.sum(temporality, is_monotonic);
    item.appended.push(new);
    Ok(())
}

/// Adds a point of a summary to the metric that is made of all of them.
fn from_summary(
    call: &Call,
    item: &mut Item<'_>,
    suffix: &'static str,
    put: impl FnOnce(&[u8], &mut Vec<u8>),
) -> Result<(), Fault> {
    if item.kind != 11 {
        return Ok(());
    }
    let eval = Eval::new(item);
    let (temporality, is_monotonic) = (temporality(call, eval, 0)?, call.bool_or(eval, 1, false)?);
    let suffix = call.text_or(eval, 2, suffix)?.into_owned();
    let mut new = New::of(item.bytes(Tier::Item), &suffix);
    let point = item.bytes(Tier::Child);
    let added = number_point(point, 11, |out| put(point, out));
    put_bytes(&mut new.points, 1, &added);
    add_points(item, new.sum(temporality, is_monotonic));
    Ok(())
}

/// How many of the last metrics may be those of the points before.
const RECENT: usize = 16;

/// Adds a metric, or its points to one that was added for the points before.
fn add_points(item: &mut Item<'_>, new: Appended) {
    let recent = item.appended.iter_mut().rev().take(RECENT);
    let mut same = recent.filter(|known| {
        known.kind == new.kind && known.head == new.head && known.nature == new.nature
    });
    match same.next() {
        Some(known) => known.points.extend(new.points),
        None => item.appended.push(new),
    }
}

fn summary_count(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    from_summary(call, item, "_count", |point, out| put_fixed64(out, 6, number(point, 4)))
}

fn summary_sum(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let sum = |point: &[u8]| f64::from_bits(number(point, 5));
    from_summary(call, item, "_sum", |point, out| put_double(out, 4, sum(point)))
}

fn summary_quantiles(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    if item.kind != 11 {
        return Ok(());
    }
    let eval = Eval::new(item);
    let key = to_str(call.text_or(eval, 0, "quantile")?).into_owned();
    let suffix = call.text_or(eval, 1, ".quantiles")?.into_owned();
    let mut new = New::of(item.bytes(Tier::Item), &suffix);
    let point = item.bytes(Tier::Child);
    for field in fields(point) {
        let Some(quantile) = content(&field, 6) else { continue };
        let mut text = Vec::new();
        write_double(f64::from_bits(number(quantile, 1)), &mut text);
        let value = f64::from_bits(number(quantile, 2));
        let added = number_point(point, 11, |out| put_double(out, 4, value));
        // The point may have an attribute of this name already.
        let (steps, any) = ([Step::Key(key.as_bytes().into())], stored(&Value::Text(text.into()))?);
        let mut with_quantile = Vec::with_capacity(added.len() + key.len() + any.len());
        put_attribute(Indexed::plain(&added), 7, &steps, &any, &mut with_quantile)?;
        put_bytes(&mut new.points, 1, &with_quantile);
    }
    if !new.points.is_empty() {
        add_points(item, new.gauge());
    }
    Ok(())
}

fn copy_metric(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let mut new = item.bytes(Tier::Item).to_vec();
    for at in 0..3 {
        if !call.has(at) {
            continue;
        }
        let text = call.str(eval, at)?;
        let field = [1, 2, 3][at];
        let mut out = Vec::with_capacity(new.len() + text.len());
        replace(&new, &[field], &mut out, |out| put_bytes(out, field, text.as_bytes()));
        new = out;
    }
    item.appended.push(Appended::whole(new));
    Ok(())
}

/// The doubles of a repeated field.
pub(super) fn doubles(message: &[u8], field: u32) -> Vec<f64> {
    fixed64s(message, field).into_iter().map(f64::from_bits).collect()
}
