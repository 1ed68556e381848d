//! Cuts a traces payload into one part for each of several owners of traces. What a part has is copied,
//! so that its owner finds it in one piece.
//!
//! Why not leave spans where they are and tell each owner their places: a span is a dozen cache lines in
//! the cache of another core then, which the hardware does not see coming. Two workers had 1.56 times the
//! throughput of one so, and have 1.5 to 1.77 times with copies (`benches/tail_sampling`).

use std::sync::OnceLock;

use bytes::Bytes;

use super::{
    Payload,
    digest::{self, Part},
    splice::messages,
    wire::{bytes_field_len, put_header},
};

/// A keyed hash of trace ids: nobody outside can make ids that collide.
#[derive(Debug, Clone, Copy)]
pub struct TraceHash([u64; 2]);

impl TraceHash {
    /// The one of this process, so that a trace has the same owner in whatever is built.
    pub fn of_process() -> Self {
        static KEYS: OnceLock<[u64; 2]> = OnceLock::new();
        TraceHash(*KEYS.get_or_init(|| [fastrand::u64(..), fastrand::u64(..)]))
    }

    /// Ids are random as a rule, so two multiplications mix enough (2 ns).
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "halves are what is mixed")]
    pub fn hash(self, id: u128) -> u64 {
        let low = u128::from(id as u64 ^ self.0[0]);
        let high = u128::from((id >> 64) as u64 ^ self.0[1]);
        let product = low.wrapping_mul(high | 1);
        let folded = product as u64 ^ (product >> 64) as u64;
        folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ folded >> 29
    }

    /// The owner of a trace, of so many.
    #[inline]
    pub fn owner(self, id: u128, owners: usize) -> usize {
        // The low half of the hash; tables go by the high one.
        let share = (self.hash(id) & 0xFFFF_FFFF).wrapping_mul(owners as u64) >> 32;
        usize::try_from(share).unwrap_or(0)
    }
}

/// A trace id as a number; what is none, or of another length, is 0.
#[inline]
pub fn id_number(id: &[u8]) -> u128 {
    id.try_into().map_or(0, u128::from_be_bytes)
}

/// What one owner gets of a scope entry.
struct Scope<'a> {
    /// The fields of its resource entry but scope entries.
    resource: Vec<&'a [u8]>,
    /// Its own fields but spans.
    fields: Vec<&'a [u8]>,
    spans: Vec<&'a [u8]>,
    /// Tells resource entries apart.
    entry: usize,
}

/// Cuts a traces payload into one part for each of `owners`; none for those that own nothing of it. All
/// other fields of resource and scope entries are in each part; receipts and permits are shared.
pub fn by_trace(payload: &Payload, owners: usize, hash: TraceHash) -> Vec<Option<Payload>> {
    let mut all: Vec<Vec<Scope<'_>>> = (0..owners).map(|_| Vec::new()).collect();
    let mut number = 0;
    for entry in payload.body.iter().flat_map(|segment| messages(segment, &[1])) {
        number += 1;
        let mut resource = Vec::new();
        let first: Vec<usize> = all.iter().map(Vec::len).collect();
        for part in digest::parts(entry.bytes()) {
            match part {
                Part::Other(field) => resource.push(field),
                Part::Inner(scope) => take_scope(scope.inner, number, &mut all, hash),
            }
        }
        for (scopes, first) in all.iter_mut().zip(first) {
            for scope in &mut scopes[first..] {
                scope.resource.clone_from(&resource);
            }
        }
    }
    let part = |scopes: Vec<Scope<'_>>| {
        let items: usize = scopes.iter().map(|scope| scope.spans.len()).sum();
        let body = std::iter::once(Bytes::from(assemble(&scopes))).collect();
        (items > 0).then(|| payload.part(body, items as u64))
    };
    all.into_iter().map(part).collect()
}

fn take_scope<'a>(bytes: &'a [u8], entry: usize, all: &mut [Vec<Scope<'a>>], hash: TraceHash) {
    let first: Vec<usize> = all.iter().map(Vec::len).collect();
    let mut fields = Vec::new();
    for part in digest::parts(bytes) {
        let field = match part {
            Part::Inner(field) => field,
            Part::Other(field) => {
                fields.push(field);
                continue;
            }
        };
        let owner = hash.owner(id_number(digest::trace_id(field.inner)), all.len());
        if all[owner].len() == first[owner] {
            let (resource, fields, spans) = (Vec::new(), Vec::new(), Vec::new());
            all[owner].push(Scope { resource, fields, spans, entry });
        }
        if let Some(scope) = all[owner].last_mut() {
            scope.spans.push(field.whole);
        }
    }
    for (scopes, first) in all.iter_mut().zip(first) {
        for scope in &mut scopes[first..] {
            scope.fields.clone_from(&fields);
        }
    }
}

/// One request of the scopes.
fn assemble(scopes: &[Scope<'_>]) -> Vec<u8> {
    let sum = |fields: &[&[u8]]| fields.iter().map(|field| field.len()).sum::<usize>();
    let scope_len = |scope: &Scope<'_>| sum(&scope.fields) + sum(&scope.spans);
    let entry_len = |entry: &[Scope<'_>]| {
        let scopes = entry.iter().map(|scope| bytes_field_len(2, scope_len(scope)));
        sum(&entry[0].resource) + scopes.sum::<usize>()
    };
    let entries = || scopes.chunk_by(|a, b| a.entry == b.entry);
    let total = entries().map(|entry| bytes_field_len(1, entry_len(entry))).sum();
    let mut out = Vec::with_capacity(total);
    for entry in entries() {
        put_header(&mut out, 1, entry_len(entry));
        entry[0].resource.iter().for_each(|field| out.extend_from_slice(field));
        for scope in entry {
            put_header(&mut out, 2, scope_len(scope));
            for field in scope.fields.iter().chain(&scope.spans) {
                out.extend_from_slice(field);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::otlp::{
        Signal,
        check::{Utf8, check},
        wild::{self, OneOfs},
    };

    /// Resource, scope, span; sorted.
    fn spans(bodies: &[Vec<u8>]) -> Vec<(u128, String)> {
        let mut all = Vec::new();
        for body in bodies {
            for mut entry in ExportTraceServiceRequest::decode(&**body).unwrap().resource_spans {
                for mut scope in std::mem::take(&mut entry.scope_spans) {
                    for span in std::mem::take(&mut scope.spans) {
                        all.push((
                            id_number(&span.trace_id),
                            format!("{entry:?}{scope:?}{span:?}"),
                        ));
                    }
                }
            }
        }
        all.sort();
        all
    }

    proptest! {
        #[test]
        fn each_span_is_in_the_part_of_its_owner_and_stands_where_it_stood(
            seed: u64,
            owners in 1..5_usize,
        ) {
            let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            let items = check(Signal::Traces, &request, Utf8::Strict).unwrap().items;
            let mut payload = Payload::unaccounted(Signal::Traces, request.clone().into(), items);
            payload.absorb(payload.clone());
            let hash = TraceHash([1, 2]);
            let mut bodies = Vec::new();
            let mut found = 0;
            for (owner, part) in by_trace(&payload, owners, hash).into_iter().enumerate() {
                let Some(part) = part else { continue };
                let body = part.body.concat();
                let checked = check(Signal::Traces, &body, Utf8::Strict).unwrap();
                prop_assert_eq!(checked.items, part.items);
                found += part.items;
                for scope in messages(&body, &[1]).flat_map(|e| messages(e.bytes(), &[2])) {
                    for span in digest::spans(scope.bytes()) {
                        let id = id_number(digest::trace_id(span.inner));
                        prop_assert_eq!(hash.owner(id, owners), owner);
                    }
                }
                bodies.push(body);
            }
            prop_assert_eq!(found, 2 * items);
            prop_assert_eq!(spans(&bodies), spans(&[request.clone(), request]));
        }
    }

    #[test]
    fn owners_have_equal_shares() {
        let hash = TraceHash::of_process();
        for owners in [1, 2, 3, 16] {
            let mut counts = vec![0_usize; owners];
            // Ids that differ in few bits, as bad generators make them.
            for id in 0..10_000_u128 {
                counts[hash.owner(id << (id % 100), owners)] += 1;
            }
            let even = 10_000 / owners;
            assert!(counts.iter().all(|count| count.abs_diff(even) < even / 2), "{counts:?}");
        }
    }
}
