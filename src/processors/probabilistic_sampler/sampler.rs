//! The decision on one item, and what is written into those that are kept.

use super::{Config, Mode, Source};
use crate::{
    otlp::{
        Signal,
        attribute::put_text,
        record::Record,
        schema,
        splice::{EditItems, Splicer},
        text,
        view::{KeyValue, LogRecord, Message, Span, Text, Value},
        wire::{FieldValue, Fields, bytes_field_len, put_bytes},
    },
    processors::sampling::{RANDOMNESS, Randomness, Said, THRESHOLD, Threshold, TraceState},
};

/// Attribute of spans that decides for them.
const PRIORITY: &str = "sampling.priority";

/// `trace_state` of `Span`, `attributes` of `LogRecord`.
const TRACE_STATE: u32 = 3;
const LOG_ATTRIBUTES: u32 = 6;

/// Decides; knows nothing of other items.
#[derive(Debug)]
pub(super) struct Sampler {
    signal: Signal,
    rule: Rule,
    /// Whether the percentage is 0, so that nothing is kept that does not ask for it.
    keeps_nothing: bool,
    seed: u32,
    /// By which threshold items go that cannot be decided upon.
    fallback: Threshold,
    precision: u32,
    source: Source,
    from_attribute: String,
    priority: String,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Hash(Threshold),
    Equalizing(Threshold),
    Proportional(f64),
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) is_kept: bool,
    /// Why it is dropped although no percentage says so.
    pub(super) unfit: Option<Unfit>,
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

/// What an attribute asks for.
#[derive(Clone, Copy)]
enum Asks {
    Nothing,
    /// Decide by this threshold instead of the configured one.
    Threshold(Threshold),
}

impl Sampler {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage below 100 of 16 384 buckets"
    )]
    pub(super) fn new(config: &Config, signal: Signal) -> Self {
        let percentage = config.sampling_percentage.clamp(0.0, 100.0);
        let ratio = f64::from(percentage) / 100.0;
        let precision = config.sampling_precision;
        // In 32 bits and rounded down, so that the same buckets are kept as always.
        let buckets = (percentage * 163.84_f32) as u32;
        let rule = match config.mode {
            Mode::HashSeed => Rule::Hash(Threshold::of_buckets(buckets)),
            Mode::Equalizing => Rule::Equalizing(Threshold::of(ratio, precision)),
            Mode::Proportional => Rule::Proportional(ratio),
        };
        Sampler {
            signal,
            rule,
            keeps_nothing: percentage == 0.0 || (config.mode == Mode::HashSeed && buckets == 0),
            seed: config.hash_seed,
            // Where everything is kept there is nothing to decide.
            fallback: if config.fail_closed && percentage < 100.0 {
                Threshold::NEVER
            } else {
                Threshold::ALWAYS
            },
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
            let found = self.randomness_of_record(item, &record);
            (Said::by_record(&record), found, self.asked_by(&record))
        } else {
            let span = Span::from(Message::new(item));
            (Said::by_span(&span), self.randomness_of_span(&span), asked_by_span(&span))
        };
        self.weigh(said.as_ref(), found, asks)
    }

    fn weigh(&self, said: Option<&Said>, found: Option<Randomness>, asks: Asks) -> Decision {
        let own = self.threshold(said, found);
        let hashes = matches!(self.rule, Rule::Hash(_));
        let explicit = said.and_then(|said| said.randomness).filter(|_| !hashes);
        let randomness = explicit.or(found);
        // Without randomness only the ends of the scale can be followed.
        let asked = match asks {
            Asks::Threshold(threshold)
                if randomness.is_some()
                    || [Threshold::NEVER, Threshold::ALWAYS].contains(&threshold) =>
            {
                Some(threshold)
            }
            _ => None,
        };
        let threshold = asked.or(own.ok()).unwrap_or(self.fallback);
        let randomness = randomness.unwrap_or(Randomness::LEAST);
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
        let unfit = own.err().filter(|_| !is_kept && asked.is_none());
        Decision { is_kept, unfit, mark }
    }

    /// The threshold of an item that can be decided upon.
    fn threshold(
        &self,
        said: Option<&Said>,
        found: Option<Randomness>,
    ) -> Result<Threshold, Unfit> {
        if self.keeps_nothing {
            return Ok(Threshold::NEVER);
        }
        let said = said.ok_or(Unfit::Unreadable)?;
        if let Rule::Hash(threshold) = self.rule {
            // An item that says something was sampled by others, with other bits.
            let is_free = said.randomness.is_none() && said.threshold.is_none();
            return if is_free && found.is_some() { Ok(threshold) } else { Err(Unfit::Unreadable) };
        }
        let randomness = said.randomness.or(found).ok_or(Unfit::Unreadable)?;
        if said.threshold.is_some_and(|threshold| !threshold.keeps(randomness)) {
            return Err(Unfit::Inconsistent);
        }
        Ok(match self.rule {
            Rule::Hash(threshold) | Rule::Equalizing(threshold) => threshold,
            Rule::Proportional(ratio) => {
                let before = said.threshold.map_or(1.0, Threshold::probability);
                Threshold::of(before * ratio, self.precision)
            }
        })
    }

    fn randomness_of_span(&self, span: &Span<'_>) -> Option<Randomness> {
        self.randomness_of_trace(span.trace_id)
    }

    fn randomness_of_record(&self, item: &[u8], record: &LogRecord<'_>) -> Option<Randomness> {
        let takes_trace = self.source == Source::TraceId || !matches!(self.rule, Rule::Hash(_));
        let by_trace = takes_trace.then(|| self.randomness_of_trace(record.trace_id)).flatten();
        if by_trace.is_some() || self.from_attribute.is_empty() {
            return by_trace;
        }
        let key = self.from_attribute.as_str();
        match record.attributes().find(|one| one.key == key)?.value? {
            Value::Bytes(bytes) | Value::String(Text(bytes)) => self.hash(bytes),
            Value::Bool(value) => self.hash(value.to_string().as_bytes()),
            Value::Int(value) => self.hash(value.to_string().as_bytes()),
            Value::Double(value) => self.hash(text::double(value).as_bytes()),
            _ => {
                let record = Record::read(&schema::LOG_RECORD, item);
                let of_key = record.children("attributes").find(|one| one.shown("key") == key)?;
                self.hash(text::plain(of_key.child("value").as_ref()).as_bytes())
            }
        }
    }

    /// `None` if there is no trace id, or one of zeros.
    fn randomness_of_trace(&self, id: &[u8]) -> Option<Randomness> {
        match self.rule {
            Rule::Hash(_) => id.iter().any(|byte| *byte != 0).then(|| self.hash(id)).flatten(),
            _ => Randomness::of_trace(id),
        }
    }

    /// None of nothing.
    fn hash(&self, bytes: &[u8]) -> Option<Randomness> {
        (!bytes.is_empty()).then(|| Randomness::of_hash(bytes, self.seed))
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
        if percentage >= 0.0 {
            Asks::Threshold(Threshold::of(percentage / 100.0, self.precision))
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
        // Those that are there go, wherever they are; the new ones come at the end.
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

/// Why an item cannot be decided upon. In the order of [`crate::telemetry::UNDECIDED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There is no randomness, or what it says is no number.
    Unreadable,
    /// By the threshold that it bears it should have been dropped.
    Inconsistent,
}

/// Writes marks into the items that are kept.
pub(super) struct Marker<'s>(pub(super) &'s Sampler);

impl EditItems for Marker<'_> {
    fn edit<'a>(&mut self, item: &'a [u8], _attributes: u32, out: &mut Splicer<'a>) {
        let mark = self.0.decide(item).mark;
        match self.0.signal {
            Signal::Logs => Sampler::mark_record(item, mark, out),
            _ => Sampler::mark_span(item, mark, out),
        }
    }
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
        Asks::Threshold(Threshold::ALWAYS)
    } else if priority == 0.0 {
        Asks::Threshold(Threshold::NEVER)
    } else {
        Asks::Nothing
    }
}
