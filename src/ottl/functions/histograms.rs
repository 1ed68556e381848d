//! Editors of histograms: scaling, explicit buckets for exponential ones, fewer buckets.

use super::{
    super::{
        compare::as_double,
        fault::{Fault, What},
        item::{Item, Tier},
        language::Context,
        node::{Argument, Call, Eval},
        read::{data, has},
        types::Types,
        value::{Value, content, elements, put_double},
        wire::{child, fields, fixed64s, last_of, number, put_fixed64, replace, unzigzag, varints},
    },
    Function, Special, Takes, editor,
    metrics::{doubles, set_data},
    numbers::truncated,
    optional, parameter, value,
};
use crate::otlp::wire::put_bytes;

pub(crate) const FUNCTIONS: &[Function] = &[
    editor(
        "scale_metric",
        &[
            parameter("factor", Takes::Literal(Types::DOUBLE)),
            optional("unit", Takes::Value(Types::TEXT)),
        ],
        scale_metric,
        "Multiplies the values of a metric by a factor.",
    )
    .only_in(&[Context::Metric]),
    editor(
        "convert_exponential_histogram_to_histogram",
        &[
            parameter("distribution", Takes::OneOf(&["upper", "midpoint", "uniform", "random"])),
            value("explicit_bounds", Types::LIST),
        ],
        to_explicit,
        "Makes a histogram with explicit bounds of an exponential one.",
    )
    .with(check_bounds)
    .only_in(&[Context::Metric]),
    editor(
        "merge_histogram_buckets",
        &[
            parameter("target_value", Takes::Value(Types::NUMBER)),
            optional("method", Takes::OneOf(&["remove_explicit_bound", "limit_buckets"])),
        ],
        merge_buckets,
        "Removes a bound of a histogram, or merges buckets until at most so many are left.",
    )
    .only_in(&[Context::DataPoint]),
];

/// Rewrites every point of the metric.
fn each_point(
    item: &mut Item<'_>,
    kind: u32,
    mut edit: impl FnMut(&[u8]) -> Vec<u8>,
) -> Result<(), Fault> {
    let Some((_, data)) = data(item.bytes(Tier::Item)) else { return Ok(()) };
    let mut out = Vec::with_capacity(data.len());
    for field in fields(&data) {
        match content(&field, 1) {
            Some(point) => put_bytes(&mut out, 1, &edit(point)),
            None => out.extend_from_slice(field.whole),
        }
    }
    set_data(item, kind, &out)
}

fn with_double(point: &[u8], field: u32, edit: impl FnOnce(f64) -> f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(point.len());
    if !has(point, field) {
        return point.to_vec();
    }
    let new = edit(f64::from_bits(number(point, field)));
    replace(point, &[field], &mut out, |out| put_double(out, field, new));
    out
}

fn scale_metric(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let factor = call.double(eval, 0)?;
    let unit = if call.has(1) { Some(call.str(eval, 1)?.into_owned()) } else { None };
    let Some((kind, _)) = data(item.bytes(Tier::Item)) else { return Ok(()) };
    match kind {
        5 | 7 => each_point(item, kind, |point| scaled_number(point, factor))?,
        9 => each_point(item, kind, |point| {
            let mut new = point.to_vec();
            for field in [5, 11, 12] {
                new = with_double(&new, field, |value| value * factor);
            }
            let bounds = doubles(&new, 7);
            let packed: Vec<u8> =
                bounds.iter().flat_map(|bound| (bound * factor).to_le_bytes()).collect();
            scaled_exemplars(&put_packed(&new, 7, &packed), factor)
        })?,
        11 => each_point(item, kind, |point| {
            let new = with_double(point, 5, |value| value * factor);
            let mut out = Vec::with_capacity(new.len());
            for field in fields(&new) {
                match content(&field, 6) {
                    Some(quantile) => {
                        put_bytes(&mut out, 6, &with_double(quantile, 2, |value| value * factor));
                    }
                    None => out.extend_from_slice(field.whole),
                }
            }
            out
        })?,
        _ => return Err(What::text("an exponential histogram cannot be scaled").into()),
    }
    if let Some(unit) = unit {
        item.edit(Tier::Item, |metric, out| {
            replace(metric, &[3], out, |out| put_bytes(out, 3, unit.as_bytes()));
            Ok(())
        })?;
    }
    Ok(())
}

fn scaled_number(point: &[u8], factor: f64) -> Vec<u8> {
    scaled(point, 4, factor)
}

/// The exemplars of a histogram are values of it, too.
fn scaled_exemplars(point: &[u8], factor: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(point.len());
    for field in fields(point) {
        match content(&field, 8) {
            Some(exemplar) => put_bytes(&mut out, 8, &scaled(exemplar, 3, factor)),
            None => out.extend_from_slice(field.whole),
        }
    }
    out
}

/// Multiplies a value that is a double in one field or an integer in field 6.
fn scaled(message: &[u8], double: u32, factor: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    let Some((n, field)) = last_of(message, &[double, 6]) else { return message.to_vec() };
    let bits = field.number_value();
    replace(message, &[double, 6], &mut out, |out| {
        if n == double {
            put_double(out, double, f64::from_bits(bits) * factor);
        } else {
            let new = truncated(as_double(bits.cast_signed()) * factor);
            put_fixed64(out, 6, new.cast_unsigned());
        }
    });
    out
}

fn put_packed(point: &[u8], field: u32, packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(point.len());
    replace(point, &[field], &mut out, |out| {
        if !packed.is_empty() {
            put_bytes(out, field, packed);
        }
    });
    out
}

fn check_bounds(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    if let Some(Argument::Value(node, _)) = arguments.get(1)
        && let Some(Value::List(list)) = node.constant()
    {
        let bounds: Vec<f64> = list_of_doubles(list);
        if bounds.is_empty() {
            return Err((1, "`explicit_bounds` is empty".to_owned()));
        }
        if bounds.len() != elements(list).count() {
            return Err((1, "`explicit_bounds` must be numbers".to_owned()));
        }
        if !bounds.is_sorted() {
            return Err((1, "`explicit_bounds` must grow".to_owned()));
        }
    }
    Ok(Special::None)
}

fn list_of_doubles(list: &[u8]) -> Vec<f64> {
    let number = |value: Value<'_>| match value {
        Value::Double(value) => Some(value),
        Value::Int(value) => Some(as_double(value)),
        _ => None,
    };
    Value::values(list).filter_map(number).collect()
}

/// Where the values of an exponential bucket go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Distribution {
    Upper,
    Midpoint,
    Uniform,
    Random,
}

fn to_explicit(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let distribution = match &*call.text(eval, 0)? {
        b"upper" => Distribution::Upper,
        b"midpoint" => Distribution::Midpoint,
        b"uniform" => Distribution::Uniform,
        _ => Distribution::Random,
    };
    let bounds = list_of_doubles(&call.list(eval, 1)?);
    if bounds.is_empty() {
        return Err(What::text("explicit_bounds is empty").into());
    }
    let Some((10, _)) = data(item.bytes(Tier::Item)) else { return Ok(()) };
    each_point(item, 9, |point| explicit_point(point, &bounds, distribution))
}

/// A point of an exponential histogram as one with explicit bounds.
fn explicit_point(point: &[u8], bounds: &[f64], distribution: Distribution) -> Vec<u8> {
    let mut out = Vec::with_capacity(point.len());
    for field in fields(point) {
        match field.number {
            1 => put_bytes(&mut out, 9, field.bytes()),
            2..=5 => out.extend_from_slice(field.whole),
            10 => super::super::wire::put_number(&mut out, 10, field.number_value()),
            11 => put_bytes(&mut out, 8, field.bytes()),
            12 => put_double(&mut out, 11, f64::from_bits(field.number_value())),
            13 => put_double(&mut out, 12, f64::from_bits(field.number_value())),
            _ => {}
        }
    }
    let mut counts = vec![0_u64; bounds.len() + 1];
    let place = |value: f64| bounds.partition_point(|bound| *bound < value);
    let scale = unzigzag(number(point, 6) & 0xFFFF_FFFF);
    let factor = 2_f64.powf(-as_double(scale)) * std::f64::consts::LN_2;
    add(&mut counts, place(0.0), number(point, 7));
    for side in [8, 9] {
        let Some(buckets) = child(point, side) else { continue };
        let sign = if side == 8 { 1.0 } else { -1.0 };
        let offset = unzigzag(number(&buckets, 1) & 0xFFFF_FFFF);
        for (i, count) in varints(&buckets, 2).into_iter().enumerate() {
            if count == 0 {
                continue;
            }
            let index = as_double(offset) + as_double(i64::try_from(i).unwrap_or(0));
            let (lower, upper) = ((index * factor).exp(), ((index + 1.0) * factor).exp());
            match distribution {
                Distribution::Upper => add(&mut counts, place(sign * upper), count),
                Distribution::Midpoint => {
                    add(&mut counts, place(sign * f64::midpoint(lower, upper)), count);
                }
                Distribution::Uniform | Distribution::Random => {
                    let is_random = distribution == Distribution::Random;
                    spread(&mut counts, bounds, (sign * lower, sign * upper), count, is_random);
                }
            }
        }
    }
    let packed: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
    put_bytes(&mut out, 6, &packed);
    let packed: Vec<u8> = bounds.iter().flat_map(|bound| bound.to_le_bytes()).collect();
    put_bytes(&mut out, 7, &packed);
    out
}

/// Counts of hostile points may be too large to be added.
fn add(counts: &mut [u64], at: usize, count: u64) {
    counts[at] = counts[at].saturating_add(count);
}

/// Shares the values of a bucket among the explicit buckets that it overlaps.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "shares of a count"
)]
fn spread(counts: &mut [u64], bounds: &[f64], (a, b): (f64, f64), count: u64, is_random: bool) {
    let (lower, upper) = (a.min(b), a.max(b));
    let width = upper - lower;
    let place = |value: f64| bounds.partition_point(|bound| *bound < value);
    let (first, last) = (place(lower), place(upper));
    if first == last || !width.is_finite() || width <= 0.0 {
        add(counts, last, count);
        return;
    }
    let mut left = count;
    for (at, slot) in counts.iter_mut().enumerate().take(last).skip(first) {
        let from = if at == first { lower } else { bounds[at - 1] };
        let share = (bounds[at] - from) / width;
        let exact = count as f64 * share;
        let part = if is_random { exact + fastrand::f64() - 0.5 } else { exact };
        let part = (part.round().max(0.0) as u64).min(left);
        *slot = slot.saturating_add(part);
        left -= part;
    }
    add(counts, last, left);
}

fn merge_buckets(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    if item.kind != 9 {
        return Ok(());
    }
    let eval = Eval::new(item);
    let target = match call.value(eval, 0)? {
        Value::Int(value) => as_double(value),
        Value::Double(value) => value,
        other => return Err(call.wrong(0, Types::NUMBER, &other)),
    };
    let limits = call.has(1) && *call.text(eval, 1)? == *b"limit_buckets";
    let point = item.bytes(Tier::Child);
    let (mut bounds, mut counts) = (doubles(point, 7), fixed64s(point, 6));
    if bounds.is_empty() || counts.len() != bounds.len() + 1 {
        return Ok(());
    }
    if limits {
        let most = usize::try_from(truncated(target)).unwrap_or(1).max(1);
        // As many neighbours become one bucket as are needed.
        let width = counts.len().div_ceil(most);
        counts = counts
            .chunks(width)
            .map(|chunk| chunk.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count)))
            .collect();
        bounds = bounds.chunks_exact(width).map(|chunk| chunk[width - 1]).collect();
        bounds.truncate(counts.len() - 1);
    } else {
        let is_near = |bound: &f64| (bound - target).abs() <= f64::EPSILON * target.abs().max(1.0);
        let Some(at) = bounds.iter().position(is_near) else { return Ok(()) };
        bounds.remove(at);
        let merged = counts.remove(at);
        counts[at] = counts[at].wrapping_add(merged);
    }
    let packed_counts: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
    let packed_bounds: Vec<u8> = bounds.iter().flat_map(|bound| bound.to_le_bytes()).collect();
    item.edit(Tier::Child, |point, out| {
        let new = put_packed(point, 6, &packed_counts);
        out.extend(put_packed(&new, 7, &packed_bounds));
        Ok(())
    })?;
    Ok(())
}
