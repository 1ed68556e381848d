//! `extract_percentile_metric`: a gauge of a percentile of the points of a histogram.

use super::{
    super::{
        arguments::to_str,
        compare::as_double,
        fault::Fault,
        item::{Appended, Item, Tier},
        language::Context,
        node::{Argument, Call, Eval},
        read::{data, has, point_attributes},
        text::write_double,
        types::Types,
        value::{Value, content, put_double},
        wire::{bytes, child, fields, fixed64s, number, unzigzag, varints},
    },
    Function, Special, Takes, editor,
    metrics::doubles,
    optional, parameter,
};
use crate::otlp::wire::put_bytes;

pub(crate) const FUNCTIONS: &[Function] = &[editor(
    "extract_percentile_metric",
    &[
        parameter("percentile", Takes::Literal(Types::DOUBLE)),
        optional("suffix", Takes::Literal(Types::TEXT)),
    ],
    extract_percentile,
    "Adds a gauge of a percentile, such as `99.0`, of a histogram. Other metrics give none.",
)
.with(check)
.only_in(&[Context::Metric])];

fn check(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    if let Some(Argument::Value(node, _)) = arguments.first()
        && let Some(Value::Double(percentile)) = node.constant()
        && !(*percentile > 0.0 && *percentile < 100.0)
    {
        return Err((0, "`percentile` must be above 0 and below 100".to_owned()));
    }
    Ok(Special::None)
}

fn extract_percentile(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let percentile = call.double(eval, 0)?;
    let mut shown = b"p".to_vec();
    write_double(percentile, &mut shown);
    let shown = to_str(shown.into());
    let suffix = if call.has(1) { to_str(call.text(eval, 1)?) } else { format!("_{shown}").into() };
    let metric = item.bytes(Tier::Item);
    let Some((kind @ (9 | 10), data)) = data(metric) else { return Ok(()) };
    let mut points = Vec::new();
    for field in fields(&data) {
        let Some(point) = content(&field, 1) else { continue };
        let buckets = if kind == 9 { explicit(point) } else { exponential(point) };
        let limits = if kind == 9 { (11, 12) } else { (12, 13) };
        let Some(value) = quantile(point, &buckets, percentile / 100.0, limits) else { continue };
        let mut new = Vec::new();
        for field in fields(point) {
            match content(&field, point_attributes(kind)) {
                Some(entry) => put_bytes(&mut new, 7, entry),
                None if matches!(field.number, 2 | 3) => new.extend_from_slice(field.whole),
                None => {}
            }
        }
        put_double(&mut new, 4, value);
        put_bytes(&mut points, 1, &new);
    }
    if points.is_empty() {
        return Ok(());
    }
    let mut added = Vec::new();
    let name = format!("{}{suffix}", String::from_utf8_lossy(bytes(metric, 1)));
    put_bytes(&mut added, 1, name.as_bytes());
    let description = format!("{} ({shown})", String::from_utf8_lossy(bytes(metric, 2)));
    put_bytes(&mut added, 2, description.as_bytes());
    put_bytes(&mut added, 3, bytes(metric, 3));
    put_bytes(&mut added, 5, &points);
    item.appended.push(Appended::whole(added));
    Ok(())
}

/// A bucket with its bounds.
struct Bucket {
    lower: f64,
    upper: f64,
    count: u64,
    /// Values grow by a factor from the lower to the upper bound.
    is_exponential: bool,
}

fn explicit(point: &[u8]) -> Vec<Bucket> {
    let bounds = doubles(point, 7);
    let counts = fixed64s(point, 6);
    counts
        .into_iter()
        .enumerate()
        .map(|(i, count)| Bucket {
            lower: i
                .checked_sub(1)
                .and_then(|i| bounds.get(i))
                .copied()
                .unwrap_or(f64::NEG_INFINITY),
            upper: bounds.get(i).copied().unwrap_or(f64::INFINITY),
            count,
            is_exponential: false,
        })
        .collect()
}

/// The buckets from the smallest value to the largest.
fn exponential(point: &[u8]) -> Vec<Bucket> {
    let scale = unzigzag(number(point, 6) & 0xFFFF_FFFF);
    let factor = 2_f64.powf(-as_double(scale)) * std::f64::consts::LN_2;
    let side = |field: u32| -> Vec<Bucket> {
        let Some(buckets) = child(point, field) else { return Vec::new() };
        let mut index = as_double(unzigzag(number(&buckets, 1) & 0xFFFF_FFFF));
        let mut found = Vec::new();
        for count in varints(&buckets, 2) {
            let (lower, upper) = ((index * factor).exp(), ((index + 1.0) * factor).exp());
            found.push(Bucket { lower, upper, count, is_exponential: true });
            index += 1.0;
        }
        found
    };
    let negative = side(9).into_iter().rev().map(|bucket| Bucket {
        lower: -bucket.upper,
        upper: -bucket.lower,
        ..bucket
    });
    let zero = Bucket { lower: 0.0, upper: 0.0, count: number(point, 7), is_exponential: false };
    negative.chain([zero]).chain(side(8)).collect()
}

/// The value that a share of all values does not exceed, by interpolation in its bucket. As in the
/// Collector a share of a value counts as one.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 are estimated, too")]
fn quantile(point: &[u8], buckets: &[Bucket], share: f64, (min, max): (u32, u32)) -> Option<f64> {
    let total: u64 = buckets.iter().fold(0, |sum, bucket| sum.saturating_add(bucket.count));
    if total == 0 {
        return None;
    }
    let limit = |field: u32| has(point, field).then(|| f64::from_bits(number(point, field)));
    let (min, max) = (limit(min), limit(max));
    let rank = (share * total as f64).ceil();
    let mut before = 0.0;
    for bucket in buckets.iter().filter(|bucket| bucket.count > 0) {
        let count = bucket.count as f64;
        if before + count < rank {
            before += count;
            continue;
        }
        let at = ((rank - before) / count).clamp(0.0, 1.0);
        let lower = min.map_or(bucket.lower, |min| bucket.lower.max(min));
        let upper = max.map_or(bucket.upper, |max| bucket.upper.min(max));
        return match (lower.is_finite(), upper.is_finite()) {
            (true, true) if bucket.is_exponential && lower > 0.0 => {
                Some(lower * (upper / lower).powf(at))
            }
            (true, true) if bucket.is_exponential && upper < 0.0 => {
                Some(upper * (lower / upper).powf(1.0 - at))
            }
            (true, true) => Some(lower + (upper - lower) * at),
            (true, false) => Some(lower),
            (false, true) if upper > 0.0 => Some(upper * at),
            (false, true) => Some(upper),
            // One bucket without bounds says nothing.
            (false, false) => None,
        };
    }
    max
}
