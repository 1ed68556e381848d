//! Properties of check, split and splice over wild requests.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use proptest::prelude::*;
use prost::Message as _;

use super::{super::*, *};
use crate::otlp::{
    check::{CheckError, Checked, Fault, Utf8},
    purse::Purse,
    splice::{EditItems, Splicer},
    wire::{WireError, put_bytes},
};

fn check(signal: Signal, body: &[u8]) -> Result<Checked, CheckError> {
    check::check(signal, body, Utf8::Strict)
}

fn payload(signal: Signal, body: Vec<u8>) -> Payload {
    let items = split::count_items(signal, &body);
    Payload::unpaid(signal, body.into(), items)
}

fn attribute() -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue("v".to_owned())) };
    KeyValue { key: "added".to_owned(), value: Some(value), ..KeyValue::default() }
}

fn signals() -> impl Strategy<Value = Signal> {
    prop::sample::select(Signal::ALL.to_vec())
}

/// How two lists differ, in few words.
fn difference(found: &[Vec<u8>], expected: &[Vec<u8>]) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} items instead of {}", found.len(), expected.len()));
    }
    found.iter().zip(expected).position(|(a, b)| a != b).map(|i| format!("item {i} differs"))
}

#[test]
fn wild_requests_are_indeed_wild() {
    let mut overlong = 0;
    let mut unknown = 0;
    let mut items = 0;
    for seed in 0..100 {
        let body = request(Signal::Metrics, seed, OneOfs::Mixed);
        unknown += unknown_fields(schema::request(Signal::Metrics), &body).len();
        overlong += usize::from(body.windows(3).any(|w| w == [0x80, 0x80, 0x00]));
        items += oracle::items(Signal::Metrics, &body).len();
    }
    assert!(overlong > 20 && unknown > 100 && items > 100, "{overlong} {unknown} {items}");
}

proptest! {
    #[test]
    fn the_check_accepts_what_prost_decodes_and_counts_the_same(signal in signals(), seed: u64) {
        let body = request(signal, seed, OneOfs::Kept);
        let items = oracle::items(signal, &body).len() as u64;
        prop_assert_eq!(check(signal, &body).unwrap().items, items);
        prop_assert_eq!(split::count_items(signal, &body), items);
    }

    /// The check is stricter in two things, and knowingly: ids and depth.
    #[test]
    fn damaged_requests_are_refused_exactly_where_prost_refuses_them(
        signal in signals(),
        seed: u64,
        damage: u64,
    ) {
        let body = damaged(&request(signal, seed, OneOfs::Mixed), damage);
        let theirs = oracle::canonical(signal, &body);
        match check(signal, &body) {
            Ok(_) => prop_assert!(theirs.is_ok(), "prost: {:?}", theirs.err()),
            Err(error) => {
                let is_ours = matches!(
                    error.fault,
                    Fault::IdLength { .. } | Fault::TooDeep | Fault::Wire(WireError::GroupDepth)
                );
                prop_assert!(is_ours || theirs.is_err(), "only the check refuses: {}", error);
            }
        }
    }

    #[test]
    fn parts_by_items_hold_every_item_with_its_headers(
        signal in signals(), seed: u64, max in 1u64..6,
    ) {
        let body = request(signal, seed, OneOfs::Mixed);
        let expected = oracle::items(signal, &body);
        // Beyond that, repeating the headers may be too much.
        let is_small = body.len() * expected.len() < 65_536;
        let mut found = Vec::new();
        for part in split::by_items(payload(signal, body), max) {
            let bytes = part.body.concat();
            prop_assert_eq!(check(signal, &bytes).unwrap().items, part.items);
            prop_assert!(part.items <= max || !is_small, "{} items", part.items);
            found.extend(oracle::items(signal, &bytes));
        }
        prop_assert_eq!(difference(&found, &expected), None);
    }

    #[test]
    fn parts_by_bytes_hold_every_item_with_its_headers(
        signal in signals(), seed: u64, max in 1u64..3000,
    ) {
        let body = request(signal, seed, OneOfs::Mixed);
        let expected = oracle::items(signal, &body);
        let mut found = Vec::new();
        for part in split::by_bytes(payload(signal, body), max) {
            let bytes = part.body.concat();
            prop_assert_eq!(check(signal, &bytes).unwrap().items, part.items);
            found.extend(oracle::items(signal, &bytes));
        }
        prop_assert_eq!(difference(&found, &expected), None);
    }

    #[test]
    fn halves_hold_every_item(signal in signals(), seed: u64) {
        let body = request(signal, seed, OneOfs::Mixed);
        let expected = oracle::items(signal, &body);
        if let Ok([left, right]) = split::halve(payload(signal, body)) {
            let bytes = [left.body.concat(), right.body.concat()].concat();
            prop_assert_eq!(difference(&oracle::items(signal, &bytes), &expected), None);
        }
    }

    #[test]
    fn whole_entries_that_are_split_keep_their_bytes(signal in signals(), seed: u64) {
        let entry = request(signal, seed, OneOfs::Mixed);
        let items = split::count_items(signal, &entry).max(1);
        let mut twice = payload(signal, [&entry[..], &entry].concat());
        twice.body = [Bytes::from(twice.body.concat())].into_iter().collect();
        let parts = split::by_items(twice, items);
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.body.concat()).collect();
        prop_assert!(bytes == [&entry[..], &entry].concat());
    }

    #[test]
    fn an_attribute_is_added_to_every_resource_and_nothing_else_changes(
        signal in signals(), seed: u64,
    ) {
        let body = request(signal, seed, OneOfs::Mixed);
        let added = attribute().encode_to_vec();
        let edited = splice::edit_resources(&body, 0, &mut Purse::default(), |_, out| {
            out.append(added.len() + 8, |out| put_bytes(out, 1, &added));
        });
        let edited = edited.unwrap().unwrap_or_else(|| body.clone());
        prop_assert!(check(signal, &edited).is_ok());
        let expected = oracle::with_resource_attribute(signal, &body, &attribute());
        prop_assert!(oracle::canonical(signal, &edited).unwrap() == expected);
        let table = schema::request(signal);
        prop_assert!(unknown_fields(table, &edited) == unknown_fields(table, &body));
    }

    #[test]
    fn an_attribute_is_added_to_every_item_and_nothing_else_changes(
        signal in signals(), seed: u64,
    ) {
        let body = request(signal, seed, OneOfs::Mixed);
        let edited = splice::edit_items(
            signal,
            &body,
            0,
            &mut Purse::default(),
            &mut Adder(attribute().encode_to_vec()),
        );
        let edited = edited.unwrap().unwrap_or_else(|| body.clone());
        prop_assert!(check(signal, &edited).is_ok());
        let expected = oracle::with_item_attribute(signal, &body, &attribute());
        prop_assert!(oracle::canonical(signal, &edited).unwrap() == expected);
        let table = schema::request(signal);
        prop_assert!(unknown_fields(table, &edited) == unknown_fields(table, &body));
    }

    #[test]
    fn an_edit_that_changes_nothing_copies_nothing(signal in signals(), seed: u64) {
        let body = request(signal, seed, OneOfs::Mixed);
        prop_assert_eq!(splice::edit_resources(&body, 0, &mut Purse::default(), |_, _| {}), Ok(None));
    }
}

proptest! {
    #[test]
    fn joining_equal_entries_keeps_every_item_with_its_headers(
        signal in signals(), seed: u64, other: u64,
    ) {
        let bodies = [seed, other, seed].map(|seed| request(signal, seed, OneOfs::Mixed));
        let segments = bodies.clone().map(Bytes::from);
        let merged = merge::merge_equal(&segments, &mut Purse::default());
        // The first body stands there twice; the other may have equal entries of its own.
        prop_assert!(merged.is_some() || !has_entries(&bodies[0]));
        let Some(merged) = merged else { return Ok(()) };
        prop_assert!(check(signal, &merged).is_ok());
        prop_assert!(merged.len() <= bodies.concat().len());
        let [mut found, mut expected] = [&merged[..], &bodies.concat()].map(|b| oracle::items(signal, b));
        found.sort();
        expected.sort();
        prop_assert_eq!(difference(&found, &expected), None);
        prop_assert_eq!(merge::merge_equal(&[merged], &mut Purse::default()), None, "once is enough");
    }
}

fn has_entries(body: &[u8]) -> bool {
    Fields::new(body).flatten().any(|field| field.number == 1)
}

/// Adds one attribute to every item.
struct Adder(Vec<u8>);

impl EditItems for Adder {
    fn edit<'a>(&mut self, _: &'a [u8], attributes: u32, out: &mut Splicer<'a>) {
        out.append(self.0.len() + 8, |out| put_bytes(out, attributes, &self.0));
    }
}
