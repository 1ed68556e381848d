//! Conditions on spans and resources, folded into one bit each while spans arrive. A span is looked
//! through once for the keys of all conditions; keys are told apart by a few bits first.

use foldhash::fast::RandomState;
use regex::bytes::Regex;
use std::hash::BuildHasher as _;

use crate::otlp::{
    attribute,
    digest::{self, Digest},
    view::{KeyValue, Message, Value},
    wire::Fields,
};

/// Most conditions: bits of [`super::program::Facts::bits`].
pub(super) const CONDITIONS: usize = 128;

/// `tracestate` members that are longer are passed over: W3C allows 256 characters each.
const MEMBER_LIMIT: usize = 256;

/// What a value has to be.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// A number between, inclusive.
    Number { min: Option<i64>, max: Option<i64> },
    /// One of these texts.
    Text(Vec<Vec<u8>>),
    /// A text that an expression finds something in.
    Pattern(Pattern),
    /// A truth.
    Truth(bool),
}

/// An expression with its verdicts on the values that it saw last.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// Hashes of values, the lowest bit being the verdict; each value has one place.
    seen: Vec<u64>,
    hasher: RandomState,
}

impl Pattern {
    pub(super) fn new(regex: Regex, remembered: usize) -> Self {
        let seen = vec![0; remembered.next_power_of_two().min(1 << 16)];
        Pattern { regex, seen, hasher: RandomState::default() }
    }

    /// A value that was seen costs its hash, 10 ns, instead of a search of 60 and more.
    fn is_match(&mut self, value: &[u8]) -> bool {
        let hash = self.hasher.hash_one(value);
        let mask = self.seen.len() - 1;
        let place = (hash >> 40) as usize & mask;
        if self.seen[place] >> 1 == hash >> 1 && self.seen[place] != 0 {
            return self.seen[place] & 1 == 1;
        }
        let verdict = self.regex.is_match(value);
        self.seen[place] = hash >> 1 << 1 | u64::from(verdict);
        verdict
    }
}

/// A condition, as far as two can be the same.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// An attribute of any span or resource.
    Attribute { key: Vec<u8>, wanted: Wanted },
    /// One of these status codes, a bit each.
    Status(u8),
    /// The sampled flag.
    Flags,
    /// A member of `tracestate` with one of these values.
    TraceState { key: String, values: Vec<String> },
    /// A bit that [`super::questions`] sets.
    Question,
}

/// A bit, and what sets it.
type Wish = (u128, Wanted);

/// All conditions.
#[derive(Debug, Clone, Default)]
pub(super) struct Matcher {
    /// One bit for each key, by its length and last byte: most attributes are told apart by it from
    /// those that matter, without looking at their keys.
    filter: u64,
    keys: Vec<(Vec<u8>, Vec<Wish>)>,
    /// Bits for spans of each status.
    status: [u128; 3],
    flags: u128,
    trace_state: Vec<(u128, String, Vec<String>)>,
    count: usize,
}

#[inline]
fn key_bit(key: &[u8]) -> u64 {
    let last = key.last().copied().unwrap_or(0);
    1 << ((key.len() + usize::from(last) * 5) & 63)
}

impl Matcher {
    /// Adds a condition and returns the number of its bit; `None` if there are too many.
    pub(super) fn add(&mut self, condition: Condition) -> Option<u32> {
        if self.count == CONDITIONS {
            return None;
        }
        let number = u32::try_from(self.count).ok()?;
        let bit = 1 << number;
        self.count += 1;
        match condition {
            Condition::Status(codes) => {
                for (code, bits) in self.status.iter_mut().enumerate() {
                    *bits |= if codes >> code & 1 == 1 { bit } else { 0 };
                }
            }
            Condition::Flags => self.flags |= bit,
            Condition::Question => {}
            Condition::TraceState { key, values } => self.trace_state.push((bit, key, values)),
            Condition::Attribute { key, wanted } => {
                self.filter |= key_bit(&key);
                match self.keys.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, tests)) => tests.push((bit, wanted)),
                    None => self.keys.push((key, vec![(bit, wanted)])),
                }
            }
        }
        Some(number)
    }

    /// Whether attributes matter.
    pub(super) fn reads_attributes(&self) -> bool {
        self.filter != 0
    }

    /// Reads a span, and gives the conditions that it meets.
    #[inline]
    pub(super) fn span<'a>(&mut self, span: &'a [u8]) -> (Digest<'a>, u128) {
        let mut bits = 0;
        let digest = if self.reads_attributes() {
            Digest::read(span, |attribute| bits |= self.attribute(attribute))
        } else {
            Digest::read(span, |_| {})
        };
        // A code that is none of the three is no status that a condition could name.
        let status = usize::try_from(digest.status_code).ok().and_then(|at| self.status.get(at));
        bits |= status.copied().unwrap_or_default();
        if digest.flags & 1 == 1 {
            bits |= self.flags;
        }
        if !digest.trace_state.is_empty() && !self.trace_state.is_empty() {
            bits |= self.members(digest.trace_state);
        }
        (digest, bits)
    }

    /// The conditions that a `Resource` meets.
    pub(super) fn resource(&mut self, resource: &[u8]) -> u128 {
        if !self.reads_attributes() {
            return 0;
        }
        let attributes = Fields::new(resource).map_while(Result::ok);
        attributes.filter(|field| field.number == 1).fold(0, |bits, field| {
            let more = self.attribute(field.bytes());
            bits | more
        })
    }

    /// Within the loop over attributes, since nearly all end here.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "5 ns for each attribute of each span otherwise")]
    fn attribute(&mut self, attribute: &[u8]) -> u128 {
        let Some((key, any)) = attribute::usual(attribute) else {
            return self.odd_attribute(attribute);
        };
        if self.filter & key_bit(key) == 0 {
            return 0;
        }
        self.known_attribute(key, any)
    }

    #[inline(never)]
    fn known_attribute(&mut self, key: &[u8], any: &[u8]) -> u128 {
        let Some((_, tests)) = self.keys.iter_mut().find(|(known, _)| known == key) else {
            return 0;
        };
        let value = digest::scalar(any).unwrap_or_else(|| Value::from(Message::new(any)));
        verdicts(tests, value)
    }

    #[cold]
    #[inline(never)]
    fn odd_attribute(&mut self, attribute: &[u8]) -> u128 {
        let attribute = KeyValue::from(Message::new(attribute));
        let tests = self.keys.iter_mut().find(|(known, _)| known == attribute.key.0);
        match (tests, attribute.value) {
            (Some((_, tests)), Some(value)) => verdicts(tests, value),
            _ => 0,
        }
    }

    fn members(&self, trace_state: &[u8]) -> u128 {
        let Ok(text) = std::str::from_utf8(trace_state) else { return 0 };
        let mut bits = 0;
        for member in text.split(',') {
            let Some((key, value)) = member.trim().split_once('=') else {
                // What is no list of members has none.
                if member.trim().is_empty() {
                    continue;
                }
                return 0;
            };
            if key.len() + value.len() >= MEMBER_LIMIT {
                continue;
            }
            for (bit, wanted, values) in &self.trace_state {
                if wanted == key && values.iter().any(|one| one == value) {
                    bits |= bit;
                }
            }
        }
        bits
    }
}

fn verdicts(tests: &mut [Wish], value: Value<'_>) -> u128 {
    let mut bits = 0;
    for (bit, wanted) in tests {
        let is_met = match (wanted, value) {
            (Wanted::Number { min, max }, Value::Int(value)) => {
                min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
            }
            #[expect(clippy::cast_precision_loss, reason = "bounds are small numbers")]
            (Wanted::Number { min, max }, Value::Double(value)) => {
                min.is_none_or(|min| value >= min as f64)
                    && max.is_none_or(|max| value <= max as f64)
                    && !value.is_nan()
            }
            (Wanted::Text(all), Value::String(value)) => all.iter().any(|text| text == value.0),
            (Wanted::Pattern(pattern), Value::String(value)) => {
                !value.is_empty() && pattern.is_match(value.0)
            }
            (Wanted::Truth(wanted), Value::Bool(value)) => *wanted == value,
            _ => false,
        };
        if is_met {
            bits |= *bit;
        }
    }
    bits
}
