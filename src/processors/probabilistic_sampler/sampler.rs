//! The decision on one item, and what is written into those that are kept.

use super::{Config, Mode, Source};
use crate::{
    otlp::{
        Signal,
        splice::{EditItems, Splicer},
        view::{KeyValue, LogRecord, Message, Span, Value},
        wire::{FieldValue, Fields, bytes_field_len, put_bytes},
    },
    processors::sampling::{Randomness, Threshold, TraceState, put_text},
};

/// Attribute of spans that decides for them.
const PRIORITY: &str = "sampling.priority";
/// Attributes of log records, in the place of `tracestate`.
const THRESHOLD: &str = "sampling.threshold";
const RANDOMNESS: &str = "sampling.randomness";

/// `trace_state` of `Span`, `attributes` of `LogRecord`.
const TRACE_STATE: u32 = 3;
const LOG_ATTRIBUTES: u32 = 6;

/// Decides; knows nothing of other items.
#[derive(Debug)]
pub(super) struct Sampler {
    signal: Signal,
    rule: Rule,
    seed: u32,
    fail_closed: bool,
    precision: u32,
    source: Source,
    from_attribute: String,
    priority: String,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Never,
    Hash(Threshold),
    Equalizing(Threshold),
    Proportional(f64),
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) is_kept: bool,
    mark: Mark,
}

/// What is written into an item that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Nothing,
    /// It lied, and is kept nevertheless.
    NoThreshold,
    /// With the bits that a hash gave it, where nobody else could find them.
    Threshold(Threshold, Option<Randomness>),
}

/// What an item says of itself. None: it cannot be read.
struct Said {
    threshold: Option<Threshold>,
    randomness: Option<Randomness>,
}

/// What an attribute asks for.
#[derive(Clone, Copy)]
enum Asks {
    Nothing,
    /// Drop it.
    Never,
    /// Keep it by this threshold if that keeps more.
    AtMost(Threshold),
}

impl Sampler {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage below 100 of 16 384 buckets"
    )]
    pub(super) fn new(config: &Config, mode: Mode, signal: Signal) -> Self {
        let percentage = config.sampling_percentage.clamp(0.0, 100.0);
        let ratio = f64::from(percentage) / 100.0;
        let precision = config.sampling_precision;
        // In 32 bits and rounded down, so that the same buckets are kept as always.
        let buckets = (percentage * 163.84_f32) as u32;
        let rule = match mode {
            _ if percentage == 0.0 => Rule::Never,
            Mode::HashSeed if buckets == 0 => Rule::Never,
            Mode::HashSeed => Rule::Hash(Threshold::of_buckets(buckets)),
            Mode::Equalizing => Rule::Equalizing(Threshold::of(ratio, precision)),
            Mode::Proportional => Rule::Proportional(ratio),
        };
        Sampler {
            signal,
            rule,
            seed: config.hash_seed,
            fail_closed: config.fail_closed,
            precision,
            source: config.attribute_source,
            from_attribute: config.from_attribute.clone(),
            priority: config.sampling_priority.clone(),
        }
    }

    /// Most bytes that a mark adds to an item: `ot=` with `th` and `rv`, or two attributes.
    pub(super) const fn growth(&self) -> usize {
        match (self.signal, self.rule) {
            (Signal::Logs, Rule::Hash(_)) => 88,
            (Signal::Logs, _) => 44,
            (_, Rule::Hash(_)) => 42,
            _ => 24,
        }
    }

    pub(super) fn decide(&self, item: &[u8]) -> Decision {
        let (said, found, asks) = if self.signal == Signal::Logs {
            let record = LogRecord::from(Message::new(item));
            let found = self.randomness_of_record(&record);
            (said_by_record(&record), found, self.asked_by(&record))
        } else {
            let span = Span::from(Message::new(item));
            (said_by_span(&span), self.randomness_of_span(&span), asked_by_span(&span))
        };
        self.weigh(said.as_ref(), found, asks)
    }

    fn weigh(&self, said: Option<&Said>, found: Option<Randomness>, asks: Asks) -> Decision {
        let own = self.threshold(said, found);
        let failed = if self.fail_closed { Threshold::NEVER } else { Threshold::ALWAYS };
        let threshold = match asks {
            Asks::Nothing => own.unwrap_or(failed),
            Asks::Never => Threshold::NEVER,
            Asks::AtMost(other) => own.unwrap_or(failed).min(other),
        };
        let hashes = matches!(self.rule, Rule::Hash(_));
        let explicit = said.and_then(|said| said.randomness).filter(|_| !hashes);
        let randomness = explicit.or(found).unwrap_or(Randomness::LEAST);
        let is_kept = threshold.keeps(randomness);
        let mark = match (said, own) {
            _ if !is_kept => Mark::Nothing,
            (Some(said), Ok(_)) => {
                // A later sampler may raise a threshold, never lower it.
                let threshold = said.threshold.map_or(threshold, |before| before.max(threshold));
                Mark::Threshold(threshold, found.filter(|_| hashes))
            }
            (Some(_), Err(Unfit::Inconsistent)) => Mark::NoThreshold,
            _ => Mark::Nothing,
        };
        Decision { is_kept, mark }
    }

    /// The threshold of an item that can be decided upon.
    fn threshold(
        &self,
        said: Option<&Said>,
        found: Option<Randomness>,
    ) -> Result<Threshold, Unfit> {
        let said = said.ok_or(Unfit::Unreadable)?;
        if let Rule::Hash(threshold) = self.rule {
            // Whoever says something is sampled by others, with other bits.
            let is_free = said.randomness.is_none() && said.threshold.is_none();
            return if is_free && found.is_some() { Ok(threshold) } else { Err(Unfit::Unreadable) };
        }
        let randomness = said.randomness.or(found).ok_or(Unfit::Unreadable)?;
        if said.threshold.is_some_and(|threshold| !threshold.keeps(randomness)) {
            return Err(Unfit::Inconsistent);
        }
        Ok(match self.rule {
            Rule::Never | Rule::Hash(_) => Threshold::NEVER,
            Rule::Equalizing(threshold) => threshold,
            Rule::Proportional(ratio) => {
                let before = said.threshold.map_or(1.0, Threshold::probability);
                Threshold::of(before * ratio, self.precision)
            }
        })
    }

    fn randomness_of_span(&self, span: &Span<'_>) -> Option<Randomness> {
        match self.rule {
            Rule::Hash(_) => Some(self.hash(id_or_zeros(span.trace_id))),
            _ => Randomness::of_trace(span.trace_id),
        }
    }

    fn randomness_of_record(&self, record: &LogRecord<'_>) -> Option<Randomness> {
        let by_trace = match self.rule {
            Rule::Hash(_) if self.source == Source::TraceId => {
                Some(self.hash(id_or_zeros(record.trace_id)))
            }
            Rule::Hash(_) => None,
            _ => Randomness::of_trace(record.trace_id),
        };
        by_trace.or_else(|| {
            let named = |one: &KeyValue<'_>| one.key == *self.from_attribute;
            let attribute = record.attributes().find(named)?;
            Some(match attribute.value? {
                Value::Bytes(bytes) => self.hash(bytes),
                Value::String(text) => self.hash(text.0),
                Value::Bool(value) => self.hash(value.to_string().as_bytes()),
                Value::Int(value) => self.hash(value.to_string().as_bytes()),
                Value::Double(value) => self.hash(value.to_string().as_bytes()),
                _ => return None,
            })
        })
    }

    fn hash(&self, bytes: &[u8]) -> Randomness {
        Randomness::of_hash(bytes, self.seed)
    }

    /// A percentage in the attribute that `sampling_priority` names.
    #[expect(clippy::cast_precision_loss, reason = "percentages are small")]
    fn asked_by(&self, record: &LogRecord<'_>) -> Asks {
        if self.priority.is_empty() {
            return Asks::Nothing;
        }
        let attribute = record.attributes().find(|one| one.key == *self.priority);
        let percentage = match attribute.and_then(|attribute| attribute.value) {
            Some(Value::Int(value)) => value as f64,
            Some(Value::Double(value)) => value,
            _ => return Asks::Nothing,
        };
        if percentage > 0.0 {
            Asks::AtMost(Threshold::of(percentage / 100.0, self.precision))
        } else {
            Asks::Nothing
        }
    }

    fn mark_span<'a>(item: &'a [u8], mark: Mark, out: &mut Splicer<'a>) {
        let span = Span::from(Message::new(item));
        let Some(mut state) = TraceState::parse(span.trace_state.0) else { return };
        match mark {
            Mark::Nothing => return,
            Mark::NoThreshold => state.threshold = None,
            Mark::Threshold(threshold, randomness) => {
                state.threshold = Some(threshold);
                state.randomness = randomness.or(state.randomness);
            }
        }
        let text = state.write();
        if text.as_bytes() == span.trace_state.0 {
            return;
        }
        // The last one counts, so the last one is replaced.
        let is_state = |number, value| number == TRACE_STATE && matches!(value, FieldValue::Len(_));
        let fields = Fields::new(item).flatten();
        let len = bytes_field_len(TRACE_STATE, text.len());
        let put = |out: &mut Vec<u8>| put_bytes(out, TRACE_STATE, text.as_bytes());
        if let Some(old) = fields.filter(|field| is_state(field.number, field.value)).last() {
            out.replace(old.whole, len, put);
        } else {
            out.append(len, put);
        }
    }

    fn mark_record<'a>(item: &'a [u8], mark: Mark, out: &mut Splicer<'a>) {
        let (threshold, randomness) = match mark {
            Mark::Nothing => return,
            Mark::NoThreshold => (None, None),
            Mark::Threshold(threshold, randomness) => (Some(threshold), randomness),
        };
        // Those that are there go, wherever they stand; the new ones come at the end.
        for field in Fields::new(item).flatten() {
            let (LOG_ATTRIBUTES, FieldValue::Len(bytes)) = (field.number, field.value) else {
                continue;
            };
            if KeyValue::from(Message::new(bytes)).key == THRESHOLD {
                out.replace(field.whole, 0, |_| {});
            }
        }
        let threshold = threshold.map(|threshold| (THRESHOLD, threshold.to_string()));
        let randomness = randomness.map(|randomness| (RANDOMNESS, randomness.to_string()));
        let new: Vec<_> = threshold.into_iter().chain(randomness).collect();
        if !new.is_empty() {
            let len = new.iter().map(|(key, text)| key.len() + text.len() + 16).sum();
            out.append(len, |out| {
                for (key, text) in new {
                    put_text(out, LOG_ATTRIBUTES, key, &text);
                }
            });
        }
    }
}

/// Why an item cannot be decided upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// There is no randomness, or what it says is no number.
    Unreadable,
    /// By the threshold that it bears it should have been dropped.
    Inconsistent,
}

/// Writes marks into the items that are kept.
pub(super) struct Marker<'s>(pub(super) &'s Sampler);

impl EditItems for Marker<'_> {
    fn enter_resource(&mut self, _resource: &[u8]) -> bool {
        true
    }

    fn enter_scope(&mut self, _scope: &[u8]) -> bool {
        true
    }

    fn enter_metric(&mut self, _metric: &[u8]) -> bool {
        false
    }

    fn edit<'a>(&mut self, item: &'a [u8], _attributes: u32, out: &mut Splicer<'a>) {
        let mark = self.0.decide(item).mark;
        match self.0.signal {
            Signal::Logs => Sampler::mark_record(item, mark, out),
            _ => Sampler::mark_span(item, mark, out),
        }
    }
}

/// A span without an id is hashed as one of zeros.
fn id_or_zeros(id: &[u8]) -> &[u8] {
    if id.is_empty() { &[0; 16] } else { id }
}

fn said_by_span(span: &Span<'_>) -> Option<Said> {
    let state = TraceState::parse(span.trace_state.0)?;
    Some(Said { threshold: state.threshold, randomness: state.randomness })
}

fn said_by_record(record: &LogRecord<'_>) -> Option<Said> {
    let mut said = Said { threshold: None, randomness: None };
    for attribute in record.attributes() {
        let Some(Value::String(text)) = attribute.value else { continue };
        if text.is_empty() {
            continue;
        }
        if attribute.key == THRESHOLD {
            said.threshold = Some(Threshold::parse(text.0)?);
        } else if attribute.key == RANDOMNESS {
            said.randomness = Some(Randomness::parse(text.0)?);
        }
    }
    Some(said)
}

/// `sampling.priority` of `OpenTracing`: a number, be it as text.
fn asked_by_span(span: &Span<'_>) -> Asks {
    let attribute = span.attributes().find(|one| one.key == PRIORITY);
    #[expect(clippy::cast_precision_loss, reason = "only its sign counts")]
    let priority = match attribute.and_then(|attribute| attribute.value) {
        Some(Value::Int(value)) => value as f64,
        Some(Value::Double(value)) => value,
        Some(Value::String(text)) => match text.to_str().parse() {
            Ok(value) => value,
            Err(_) => return Asks::Nothing,
        },
        _ => return Asks::Nothing,
    };
    if priority > 0.0 {
        Asks::AtMost(Threshold::ALWAYS)
    } else if priority == 0.0 {
        Asks::Never
    } else {
        Asks::Nothing
    }
}
