//! Which series a data point is of: a hash of 128 bits over resource, scope, metric and attributes.
//! The order of attributes makes no difference. The seed is the process's own, so that nobody can
//! make two series collide.

use std::{hash::BuildHasher as _, sync::LazyLock};

use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use crate::ottl::{
    Item, Tier, Value, content, key_value,
    message::{bytes, fields, number, point_attributes},
};

static SEED: LazyLock<u64> = LazyLock::new(|| foldhash::fast::RandomState::default().hash_one(0));

/// A series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::processors) struct Series(pub(super) u128);

/// What a series is below: a resource, a scope, or a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::processors) struct Owner(u128);

impl Owner {
    /// The same as a series of its own.
    pub(in crate::processors) fn series(self) -> Series {
        Series(self.0)
    }
}

/// Computes identities, one level after the other.
#[derive(Debug, Default)]
pub(in crate::processors) struct Identities {
    canonical: Vec<u8>,
}

impl Identities {
    fn hashed(&mut self, above: u128, message: &[u8], attributes: u32, more: &[u64]) -> u128 {
        let mut hasher = Xxh3::with_seed(*SEED);
        hasher.update(&above.to_le_bytes());
        for number in more {
            hasher.update(&number.to_le_bytes());
        }
        let mut entries: SmallVec<[&[u8]; 16]> =
            fields(message).filter_map(|field| content(&field, attributes)).collect();
        entries.sort_unstable_by(|one, other| key_value(one).0.cmp(key_value(other).0));
        for entry in entries {
            let (key, any) = key_value(entry);
            // Values that mean the same may be encoded in several ways.
            self.canonical.clear();
            Value::read(&any).encode(&mut self.canonical);
            for part in [key, self.canonical.as_slice()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        hasher.digest128()
    }

    pub(in crate::processors) fn resource(&mut self, resource: &[u8]) -> Owner {
        Owner(self.hashed(0, resource, 1, &[]))
    }

    pub(in crate::processors) fn scope(&mut self, resource: Owner, scope: &[u8]) -> Owner {
        let names = named(resource.0, &[bytes(scope, 1), bytes(scope, 2)]);
        Owner(self.hashed(names, scope, 3, &[]))
    }

    /// A metric with data of a kind and nature.
    pub(in crate::processors) fn metric(
        &mut self,
        scope: Owner,
        metric: &[u8],
        (kind, data): (u32, &[u8]),
    ) -> Owner {
        let names = named(scope.0, &[bytes(metric, 1), bytes(metric, 3)]);
        let is_monotonic = if kind == 7 { number(data, 3) } else { 0 };
        Owner(self.hashed(names, &[], 1, &[u64::from(kind), is_monotonic]))
    }

    /// Something below an owner that has some texts.
    pub(in crate::processors) fn texts(above: Owner, texts: &[&[u8]]) -> Owner {
        Owner(named(above.0, texts))
    }

    /// A log record by its attributes.
    pub(in crate::processors) fn record(
        &mut self,
        above: Owner,
        record: &[u8],
        more: u64,
    ) -> Series {
        Series(self.hashed(above.0, record, 6, &[more]))
    }

    /// A point of a metric; `more` tells apart points of the same attributes.
    pub(in crate::processors) fn point(
        &mut self,
        metric: Owner,
        kind: u32,
        point: &[u8],
        more: u64,
    ) -> Series {
        Series(self.hashed(metric.0, point, point_attributes(kind), &[more]))
    }
}

/// The resource and the scope of the item at hand: the identity of each is computed once for all
/// that is in it.
#[derive(Debug, Default)]
pub(in crate::processors) struct Owners {
    resource: Option<(u64, Owner)>,
    scope: Option<(u64, Owner)>,
}

impl Owners {
    pub(in crate::processors) fn scope(
        &mut self,
        identities: &mut Identities,
        item: &Item<'_>,
    ) -> Owner {
        held(&mut self.scope, item.stamp(Tier::Scope), || {
            let resource = held(&mut self.resource, item.stamp(Tier::Resource), || {
                identities.resource(item.bytes(Tier::Resource))
            });
            identities.scope(resource, item.bytes(Tier::Scope))
        })
    }
}

/// What is known of a version of an owner, or is computed for it.
fn held(known: &mut Option<(u64, Owner)>, stamp: u64, compute: impl FnOnce() -> Owner) -> Owner {
    match *known {
        Some((of, owner)) if of == stamp => owner,
        _ => {
            let owner = compute();
            *known = Some((stamp, owner));
            owner
        }
    }
}

/// A hash of texts below something.
fn named(above: u128, texts: &[&[u8]]) -> u128 {
    let mut hasher = Xxh3::with_seed(*SEED);
    hasher.update(&above.to_le_bytes());
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::wire::put_bytes;

    fn point(attributes: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in attributes {
            let (mut any, mut entry) = (Vec::new(), Vec::new());
            put_bytes(&mut any, 1, value.as_bytes());
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, &any);
            put_bytes(&mut out, 7, &entry);
        }
        out
    }

    #[test]
    fn the_order_of_attributes_makes_no_difference_and_all_else_does() {
        let mut all = Identities::default();
        let owner = all.resource(&[]);
        let mut of =
            |attributes: &[(&str, &str)], more| all.point(owner, 5, &point(attributes), more);
        let one = of(&[("a", "1"), ("b", "2")], 0);
        assert_eq!(of(&[("b", "2"), ("a", "1")], 0), one);
        assert_ne!(of(&[("b", "2"), ("a", "1")], 1), one);
        assert_ne!(of(&[("a", "2"), ("b", "1")], 0), one);
        assert_ne!(of(&[("a", "1")], 0), one);
        assert_ne!(of(&[("a1", ""), ("b", "2")], 0), one);
    }
}
