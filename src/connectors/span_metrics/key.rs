//! The key of a series: the values by which spans are told apart, one behind the other. Attributes
//! are written only when a series is new, so counting a span copies its values once.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::plan::{Family, Own, Plan};
use crate::{
    connectors::{
        attributes::{Found, LONGEST, cut},
        metrics::Attributes,
        names,
    },
    otlp::{attribute::key_value, digest::Digest, wire::put_varint},
};

/// Attributes that a pattern has matched.
pub(super) type Matched<'a> = Vec<(&'a [u8], Cow<'a, [u8]>)>;

/// What is known of a span, or of an event of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'s, 'a> {
    pub(super) digest: &'s Digest<'a>,
    /// Attributes by name: of the span, of the event, of the resource.
    pub(super) values: [&'s Found<'a>; 3],
    /// All attributes, if there are patterns; earlier ones of the same key count.
    pub(super) all: &'s [&'s Matched<'a>],
    /// Name and version of its scope, if they are dimensions.
    pub(super) scope: Option<(&'a [u8], &'a [u8])>,
    /// Whether its weight was computed.
    pub(super) is_extrapolated: bool,
}

impl<'a> Subject<'_, 'a> {
    fn value(&self, at: usize) -> Option<&[u8]> {
        self.values.iter().find_map(|values| values.get(at)?.as_deref())
    }

    /// What the patterns of a family match, sorted by key. What has a name is not among it.
    fn matched(&self, family: &Family) -> Vec<(&'a [u8], &[u8])> {
        let mut matched: Vec<(&'a [u8], &[u8])> = Vec::new();
        for (key, any) in self.all.iter().flat_map(|list| list.iter()) {
            let is_new = !matched.iter().any(|(known, _)| known == key);
            let is_named = || family.dimensions.iter().any(|dimension| *dimension.key == **key);
            if is_new && family.globs.iter().any(|glob: &Regex| glob.is_match(key)) && !is_named() {
                matched.push((key, any));
            }
        }
        matched.sort_unstable();
        matched
    }

    /// Writes the key of the series that this belongs to.
    #[inline]
    pub(super) fn write_key(&self, plan: &Plan, family: &Family, key: &mut Vec<u8>) {
        let Own { name, kind, status, .. } = &plan.own;
        key.clear();
        if *kind {
            key.push(small(self.digest.kind, 6));
        }
        if *status {
            key.push(small(self.digest.status_code, 3));
        }
        if *name {
            put(key, cut(self.digest.name));
        }
        if plan.has_method {
            key.push(self.is_extrapolated.into());
        }
        if let Some((name, version)) = self.scope {
            put(key, cut(name));
            put(key, cut(version));
        }
        for dimension in &family.dimensions {
            match self.value(dimension.at).or(dimension.default.as_deref()) {
                Some(any) => {
                    // One more than its length, so that none is something else than an empty one.
                    put_varint(key, any.len() as u64 + 1);
                    key.extend_from_slice(any);
                }
                None => key.push(0),
            }
        }
        if !family.globs.is_empty() {
            for (name, any) in self.matched(family) {
                put(key, name);
                put(key, any);
            }
        }
    }

    /// The attributes of a new series.
    pub(super) fn attributes(&self, plan: &Plan, family: &Family) -> Attributes {
        let Own { service, name, kind, status, instance } = &plan.own;
        let mut attributes = Attributes::default();
        let [.., resource] = self.values;
        if *service && let Some(Some(any)) = resource.get(plan.service) {
            attributes.push(b"service.name", any);
        }
        if *name {
            attributes.push_text(b"span.name", cut(self.digest.name));
        }
        if *kind {
            attributes.push_text(b"span.kind", names::kind(self.digest.kind).as_bytes());
        }
        if *status {
            attributes.push_text(b"status.code", names::status(self.digest.status_code).as_bytes());
        }
        if let Some(instance) = instance {
            attributes.push_text(b"collector.instance.id", instance.as_bytes());
        }
        if plan.has_method {
            let method = if self.is_extrapolated { "extrapolated" } else { "counted" };
            attributes.push_text(b"sampling.method", method.as_bytes());
        }
        if let Some((name, version)) = self.scope {
            attributes.push_text(b"span.instrumentation.scope.name", cut(name));
            attributes.push_text(b"span.instrumentation.scope.version", cut(version));
        }
        for dimension in &family.dimensions {
            if let Some(any) = self.value(dimension.at).or(dimension.default.as_deref()) {
                attributes.push(&dimension.key, any);
            }
        }
        if !family.globs.is_empty() {
            self.matched(family).iter().for_each(|(name, any)| attributes.push(name, any));
        }
        attributes
    }
}

/// Most attributes of a span that patterns are tried on.
const TRIED: usize = 64;

/// Adds an attribute to those that patterns are tried on, if it is one of the first and not too
/// long.
pub(super) fn keep<'a>(attribute: &'a [u8], all: &mut Matched<'a>) {
    if all.len() < TRIED && attribute.len() <= LONGEST {
        all.push(key_value(attribute));
    }
}

fn put(key: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(key, bytes.len() as u64);
    key.extend_from_slice(bytes);
}

/// An enum in one byte: numbers from `most` on have no name and are one.
fn small(number: i32, most: u8) -> u8 {
    u8::try_from(number).unwrap_or(most).min(most)
}
