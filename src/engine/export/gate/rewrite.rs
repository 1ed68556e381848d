//! A payload without the items that are left out, and the weights of those that pass. Bytes that
//! are not concerned are copied, or not even that.

use super::{choice::Verdict, measure::Measured};
use crate::otlp::{
    Payload, Signal,
    filter::{Left, retain_items},
    payload::{Body, Permit, Reason},
    purse::Purse,
    sampling::{Answer, GROWTH, Threshold, Weighing, Weights, rate},
    splice::{EditItems, Splicer, edit_items, messages},
};

/// Items of a payload, as a payload.
pub(super) struct Part {
    pub(super) body: Body,
    pub(super) items: u64,
    /// Whether no segment of the payload is in it.
    pub(super) is_new: bool,
}

/// The items that `is_wanted` says, by their number.
pub(super) fn part(
    payload: &Payload,
    purse: &mut Purse,
    is_wanted: impl Fn(usize) -> bool,
) -> Result<Part, Reason> {
    let mut part = Part { body: Body::new(), items: 0, is_new: true };
    let mut number = 0;
    for segment in &payload.body {
        let left = retain_items(segment, purse, |_| {
            number += 1;
            is_wanted(number - 1)
        })?;
        match left {
            Left::Nothing => {}
            Left::All(items) => {
                part.items += items;
                part.is_new = false;
                part.body.push(segment.clone());
            }
            Left::Some { body, items } => {
                part.items += items;
                part.body.push(body.into());
            }
        }
    }
    Ok(part)
}

/// Writes the weights of the items that pass into the payload that has only those.
pub(super) fn weigh(
    payload: &mut Payload,
    measured: &Measured,
    verdicts: &[Verdict],
    weights: Weights,
    purse: &mut Purse,
) -> Result<(), Reason> {
    let verdict_of = |trace: &u32| verdicts[*trace as usize];
    let mut kept = measured.of_items.iter().map(verdict_of).filter(|one| one.is_kept());
    let mut writer =
        Writer { signal: payload.signal, verdicts: &mut kept, weights, resource_rate: None };
    let mut body = Body::new();
    let mut is_new = true;
    let items = usize::try_from(payload.items).unwrap_or(usize::MAX);
    for segment in &payload.body {
        let growth = items.saturating_mul(GROWTH).min(segment.len());
        if let Some(new) = edit_items(payload.signal, segment, growth, purse, &mut writer)? {
            body.push(new.into());
        } else {
            is_new = false;
            body.push(segment.clone());
        }
    }
    let permits = std::mem::take(purse).into_permits();
    payload.exchange_body(body, permits, is_new);
    Ok(())
}

/// Writes weights, item by item.
struct Writer<'v> {
    signal: Signal,
    verdicts: &'v mut dyn Iterator<Item = Verdict>,
    weights: Weights,
    /// The rate that the resource came with.
    resource_rate: Option<f64>,
}

impl EditItems for Writer<'_> {
    fn enter_resource(&mut self, resource: &[u8]) -> bool {
        let attributes = messages(resource, &[1]).map(|attribute| attribute.bytes());
        self.resource_rate = if self.weights.sample_rate { rate(attributes) } else { None };
        true
    }

    fn enter_metric(&mut self, _metric: &[u8]) -> bool {
        false
    }

    fn edit<'a>(&mut self, item: &'a [u8], _attributes: u32, out: &mut Splicer<'a>) {
        let Some(Verdict::Weighed { threshold, is_detached }) = self.verdicts.next() else {
            return;
        };
        let random = fastrand::u64(..);
        let weighing = Weighing { weights: self.weights, random, rate: self.resource_rate };
        let weigh = |said: Option<Threshold>| {
            // An item of a trace that was sampled less than others of it has passed both.
            let threshold = said.map_or(threshold, |own| own.max(threshold));
            Answer { probability: threshold.probability(), threshold, is_detached }
        };
        out.replace(item, item.len() + GROWTH, |out| {
            // A `tracestate` that cannot be read stays as it is.
            let _ = match self.signal {
                Signal::Logs => weighing.append_record(item, weigh, out),
                _ => weighing.append_span(item, weigh, out),
            };
        });
    }
}

/// Gives a payload another body, with the permits that paid for it.
pub(super) fn put(payload: &mut Payload, part: Part, purse: Purse) {
    let permits: smallvec::SmallVec<[Permit; 1]> = purse.into_permits();
    payload.exchange_body(part.body, permits, part.is_new);
    payload.items = part.items;
}
