//! How many items a kept one stands for, written where backends look for it: Honeycomb reads the
//! attribute `SampleRate`, whole numbers only; OpenTelemetry has `th` in the member `ot` of
//! `tracestate`, and the attribute `sampling.threshold` of log records. A weight that an item came
//! with is composed with ours.

use super::{
    Randomness, Said, Threshold, TraceState,
    said::{RANDOMNESS, THRESHOLD},
};
use crate::otlp::{
    attribute::{self, put_text},
    digest::Digest,
    view::{KeyValue, LogRecord, Message, Value},
    wire::{FieldValue, Fields, WireType, put_bytes, put_varint, tag},
};

/// Attributes in which Honeycomb looks for a rate, in this order; those of an item before those of
/// its resource.
const RATES: [&[u8]; 2] = [b"sampleRate", b"SampleRate"];
/// Largest rate that Honeycomb takes.
const RATE_LIMIT: f64 = 2_147_483_647.0;

const TRACE_STATE: u32 = 3;
/// Field of attributes in `Span` and in `LogRecord`.
const SPAN_ATTRIBUTES: u32 = 9;
const LOG_ATTRIBUTES: u32 = 6;

/// Most bytes that a weight adds to an item: `SampleRate`, threshold and randomness.
pub(crate) const GROWTH: usize = 128;

/// Which weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weights {
    /// The attribute `SampleRate`.
    pub(crate) sample_rate: bool,
    /// `ot=th:` in `tracestate`; of log records the attribute `sampling.threshold`.
    pub(crate) tracestate: bool,
}

impl Weights {
    pub(crate) fn any(self) -> bool {
        self.sample_rate || self.tracestate
    }
}

/// A probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answer {
    pub(crate) probability: f64,
    /// The same as a threshold.
    pub(crate) threshold: Threshold,
    /// Whether the bits of the trace may be below the threshold: where salts have a part in it, or
    /// where a `not` keeps what has small bits.
    pub(crate) is_detached: bool,
}

/// How the weights of some items are written.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Weighing {
    pub(crate) weights: Weights,
    /// Evenly spread bits that have nothing to do with the decision.
    pub(crate) random: u64,
    /// The rate that the resource of the items came with.
    pub(crate) rate: Option<f64>,
}

/// What is written into an item.
struct Weight {
    /// `SampleRate`.
    rate: Option<u64>,
    threshold: Threshold,
    /// Bits that agree with the threshold, which is all that is known of them.
    randomness: Option<Randomness>,
}

impl Weighing {
    /// Composes what an item came with and our answer. `said` is the rate that it has itself.
    fn weigh(&self, before: Said, said: Option<f64>, answer: Answer) -> Weight {
        let own = before.threshold.unwrap_or(Threshold::ALWAYS);
        // A later sampler has to find bits that agree with the threshold.
        let is_new = answer.is_detached && before.randomness.is_none();
        let randomness = is_new.then(|| Randomness::kept_by(answer.threshold, self.random));
        let said = said.or(self.rate);
        let rate = said.unwrap_or_else(|| 1.0 / own.probability());
        let conditional = answer.probability / own.probability();
        let rate = whole_rate(rate / conditional, self.random.rotate_left(32));
        let writes_rate = self.weights.sample_rate && (rate > 1 || said.is_some());
        Weight {
            rate: writes_rate.then_some(rate),
            threshold: own.max(answer.threshold),
            randomness,
        }
    }

    /// Appends a copy of a span with its weight, without a tag. `weigh` gives the probability for
    /// spans that say this threshold. False: its `tracestate` cannot be read, and stays.
    pub(crate) fn append_span(
        &self,
        span: &[u8],
        weigh: impl FnOnce(Option<Threshold>) -> Answer,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut rates = Rates::default();
        let digest = Digest::read(span, |attribute| rates.see(attribute));
        let state = TraceState::parse(digest.trace_state);
        let before = state.as_ref().map_or_else(Said::default, |state| Said {
            threshold: state.threshold,
            randomness: state.randomness,
        });
        let said = rates.said();
        let weight = self.weigh(before, said, weigh(before.threshold));
        let text = state.as_ref().filter(|_| self.weights.tracestate).map(|state| {
            let mut state = state.clone();
            state.threshold = Some(weight.threshold);
            state.randomness = weight.randomness.or(state.randomness);
            state.write()
        });
        let has_rate = weight.rate.is_some() && said.is_some();
        for field in Fields::new(span).map_while(Result::ok) {
            let is_replaced = match (field.number, field.value) {
                (TRACE_STATE, FieldValue::Len(_)) => text.is_some(),
                (SPAN_ATTRIBUTES, FieldValue::Len(attribute)) => {
                    has_rate && rate_key(attribute).is_some()
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
        put_rate(out, SPAN_ATTRIBUTES, weight.rate);
        state.is_some()
    }

    /// The same for a log record.
    pub(crate) fn append_record(
        &self,
        record: &[u8],
        weigh: impl FnOnce(Option<Threshold>) -> Answer,
        out: &mut Vec<u8>,
    ) -> bool {
        let view = LogRecord::from(Message::new(record));
        let read = Said::by_record(&view);
        let before = read.unwrap_or_default();
        let mut rates = Rates::default();
        for field in Fields::new(record).map_while(Result::ok) {
            if let (LOG_ATTRIBUTES, FieldValue::Len(attribute)) = (field.number, field.value) {
                rates.see(attribute);
            }
        }
        let said = rates.said();
        let weight = self.weigh(before, said, weigh(before.threshold));
        let has_rate = weight.rate.is_some() && said.is_some();
        let writes_threshold = self.weights.tracestate && read.is_some();
        for field in Fields::new(record).map_while(Result::ok) {
            let is_replaced = match (field.number, field.value) {
                (LOG_ATTRIBUTES, FieldValue::Len(attribute)) => {
                    let is_threshold = || KeyValue::from(Message::new(attribute)).key == THRESHOLD;
                    (has_rate && rate_key(attribute).is_some())
                        || (writes_threshold && is_threshold())
                }
                _ => false,
            };
            if !is_replaced {
                out.extend_from_slice(field.whole);
            }
        }
        if writes_threshold {
            put_text(out, LOG_ATTRIBUTES, THRESHOLD, &weight.threshold.to_string());
            if let Some(randomness) = weight.randomness {
                put_text(out, LOG_ATTRIBUTES, RANDOMNESS, &randomness.to_string());
            }
        }
        put_rate(out, LOG_ATTRIBUTES, weight.rate);
        read.is_some()
    }
}

fn put_rate(out: &mut Vec<u8>, number: u32, rate: Option<u64>) {
    if let Some(rate) = rate {
        attribute::put_with(out, number, "SampleRate", |value| {
            put_varint(value, tag(3, WireType::Varint));
            put_varint(value, rate);
        });
    }
}

/// Rates among attributes, by their place in [`RATES`].
#[derive(Default)]
struct Rates([Option<f64>; 2]);

impl Rates {
    fn see(&mut self, attribute: &[u8]) {
        if let Some(at) = rate_key(attribute) {
            self.0[at] = Some(rate_value(attribute));
        }
    }

    fn said(&self) -> Option<f64> {
        self.0[0].or(self.0[1])
    }
}

/// The rate that these attributes of a resource say.
pub(crate) fn rate<'a>(attributes: impl Iterator<Item = &'a [u8]>) -> Option<f64> {
    let mut rates = Rates::default();
    attributes.for_each(|attribute| rates.see(attribute));
    rates.said()
}

fn rate_key(attribute: &[u8]) -> Option<usize> {
    let key = match attribute::usual(attribute) {
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
pub(crate) fn whole_rate(rate: f64, random: u64) -> u64 {
    let rate = rate.clamp(1.0, RATE_LIMIT);
    // What differs from a whole number by less than doubles are exact is one.
    if (rate - rate.round()).abs() < 1e-9 * rate {
        return rate.round() as u64;
    }
    let chance = random as f64 / u64::MAX as f64;
    rate.floor() as u64 + u64::from(chance < rate.fract())
}
