//! What is written into spans that are kept: how many they represent, and why they were kept.
//!
//! The weight goes where backends look for it: Honeycomb reads the attribute `SampleRate`, whole
//! numbers only; OpenTelemetry has `th` in the member `ot` of `tracestate`. A weight that a span
//! came with is composed with ours.

use super::weight::Answer;
use crate::{
    otlp::{
        digest::{self, Digest},
        view::{KeyValue, Message, Value},
        wire::{FieldValue, Fields, WireType, put_bytes, put_varint, tag, varint_len},
    },
    processors::sampling::{Randomness, Threshold, TraceState, put_attribute},
};

/// Attributes in which Honeycomb looks for a rate, in this order; those of a span before those of
/// its resource.
const RATES: [&[u8]; 2] = [b"sampleRate", b"SampleRate"];
/// Largest rate that Honeycomb takes.
const RATE_LIMIT: f64 = 2_147_483_647.0;

const TRACE_STATE: u32 = 3;
/// Field of attributes in `Span`.
pub(super) const ATTRIBUTES: u32 = 9;

/// Which weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weights {
    /// The attribute `SampleRate`.
    pub(super) sample_rate: bool,
    /// `ot=th:` in `tracestate`.
    pub(super) tracestate: bool,
}

impl Weights {
    pub(super) fn any(self) -> bool {
        self.sample_rate || self.tracestate
    }
}

/// What is written into the spans of one trace.
pub(super) struct Mark<'m> {
    /// Attributes of `Span`, fields with their tags.
    pub(super) attributes: &'m [u8],
    pub(super) weights: Weights,
    /// Evenly spread bits that have nothing to do with the decision.
    pub(super) random: u64,
    /// The rate that their resource came with.
    pub(super) rate: Option<f64>,
}

/// Appends a copy of `span` with its marks, as a field of a scope entry. `weigh` gives the
/// probability for spans that say this threshold. False: its `tracestate` cannot be read, and
/// stays.
pub(super) fn write(
    span: &[u8],
    mark: &Mark<'_>,
    weigh: impl FnOnce(Option<Threshold>) -> Answer,
    out: &mut Vec<u8>,
) -> bool {
    // The length is known at the end; mostly it has as many bytes as the old one.
    put_varint(out, tag(2, WireType::Len));
    let gap = out.len();
    let width = varint_len((span.len() + mark.attributes.len()) as u64);
    out.resize(gap + width, 0);
    let is_readable = if mark.weights.any() {
        weighted(span, mark, weigh, out)
    } else {
        out.extend_from_slice(span);
        true
    };
    out.extend_from_slice(mark.attributes);
    let len = (out.len() - gap - width) as u64;
    let new_width = varint_len(len);
    if new_width != width {
        out.splice(gap..gap + width, std::iter::repeat_n(0, new_width));
    }
    let mut rest = len;
    for byte in &mut out[gap..gap + new_width] {
        *byte = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
    }
    out[gap + new_width - 1] &= 0x7F;
    is_readable
}

fn weighted(
    span: &[u8],
    mark: &Mark<'_>,
    weigh: impl FnOnce(Option<Threshold>) -> Answer,
    out: &mut Vec<u8>,
) -> bool {
    let mut rates = [None; 2];
    let digest = Digest::read(span, |attribute| {
        if let Some(at) = rate_key(attribute) {
            rates[at] = Some(rate_value(attribute));
        }
    });
    let state = TraceState::parse(digest.trace_state);
    let before = state.as_ref().and_then(|state| state.threshold);
    let answer = weigh(before);
    let text = state.as_ref().filter(|_| mark.weights.tracestate).map(|state| {
        let mut state = state.clone();
        state.threshold = Some(before.map_or(answer.threshold, |own| own.max(answer.threshold)));
        if answer.is_detached && state.randomness.is_none() {
            // A later sampler has to find bits that agree with the threshold; which is all that is
            // known of them.
            state.randomness = Some(Randomness::kept_by(answer.threshold, mark.random));
        }
        state.write()
    });
    let said = rates[0].or(rates[1]).or(mark.rate);
    let rate = said.unwrap_or_else(|| 1.0 / before.unwrap_or(Threshold::ALWAYS).probability());
    let conditional = answer.probability / before.unwrap_or(Threshold::ALWAYS).probability();
    let rate = whole_rate(rate / conditional, mark.random.rotate_left(32));
    let writes_rate = mark.weights.sample_rate && (rate > 1 || said.is_some());
    for field in Fields::new(span).map_while(Result::ok) {
        let is_replaced = match (field.number, field.value) {
            (TRACE_STATE, FieldValue::Len(_)) => text.is_some(),
            (ATTRIBUTES, FieldValue::Len(attribute)) => {
                writes_rate && said.is_some() && rate_key(attribute).is_some()
            }
            _ => false,
        };
        if !is_replaced {
            out.extend_from_slice(field.whole);
        }
    }
    if let Some(text) = &text {
        put_bytes(out, TRACE_STATE, text.as_bytes());
    }
    if writes_rate {
        put_attribute(out, ATTRIBUTES, "SampleRate", |value| {
            put_varint(value, tag(3, WireType::Varint));
            put_varint(value, rate);
        });
    }
    state.is_some()
}

/// The rate that these attributes of a resource say.
pub(super) fn rate<'a>(attributes: impl Iterator<Item = &'a [u8]>) -> Option<f64> {
    let mut rates = [None; 2];
    for attribute in attributes {
        if let Some(at) = rate_key(attribute) {
            rates[at] = Some(rate_value(attribute));
        }
    }
    rates[0].or(rates[1])
}

fn rate_key(attribute: &[u8]) -> Option<usize> {
    let key = match digest::key_value(attribute) {
        Some((key, _)) => key,
        None => KeyValue::from(Message::new(attribute)).key.0,
    };
    if key.len() != RATES[0].len() {
        return None;
    }
    RATES.iter().position(|known| *known == key)
}

/// A number in any form, rounded, at least 1, as Honeycomb reads it.
#[expect(clippy::cast_precision_loss, reason = "rates are small numbers")]
fn rate_value(attribute: &[u8]) -> f64 {
    let rate = match KeyValue::from(Message::new(attribute)).value {
        Some(Value::Int(value)) => value as f64,
        Some(Value::Double(value)) => value,
        Some(Value::String(text)) => text.to_str().trim().parse().unwrap_or(1.0),
        _ => 1.0,
    };
    let rounded = (rate + 0.5).floor();
    if rounded >= 1.0 { rounded.min(RATE_LIMIT) } else { 1.0 }
}

/// A rate as a whole number: rounded up as often as its fraction says, so that sums are right.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate is within 31 bits"
)]
pub(super) fn whole_rate(rate: f64, random: u64) -> u64 {
    let rate = rate.clamp(1.0, RATE_LIMIT);
    // What differs from a whole number by less than doubles are exact is one.
    if (rate - rate.round()).abs() < 1e-9 * rate {
        return rate.round() as u64;
    }
    let chance = random as f64 / u64::MAX as f64;
    rate.floor() as u64 + u64::from(chance < rate.fract())
}
