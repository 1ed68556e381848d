use proptest::prelude::*;

use super::*;
use crate::otlp::{
    Signal,
    wild::{OneOfs, oracle, request},
    wire::put_bytes,
};

fn items(body: &[u8]) -> Vec<&[u8]> {
    let scopes = messages(body, &[1]).flat_map(|entry| messages(entry.bytes(), &[2]));
    scopes.flat_map(|scope| messages(scope.bytes(), &[2])).map(|item| item.bytes()).collect()
}

proptest! {
    /// Items, resources and scopes of what stays are what they were; `oracle` shows each item with
    /// its own.
    #[test]
    fn what_stays_is_what_it_was(
        signal in prop::sample::select(vec![Signal::Traces, Signal::Logs]),
        seed: u64,
        verdicts: u64,
    ) {
        let body = request(signal, seed, OneOfs::Kept);
        let keeps = |at: usize| verdicts.rotate_right(u32::try_from(at % 64).unwrap()) & 1 == 1;
        let mut at = 0;
        let left = retain_items(&body, &mut Purse::default(), |_| {
            at += 1;
            keeps(at - 1)
        }).unwrap();
        let before = oracle::items(signal, &body);
        prop_assert_eq!(at, before.len());
        let expected: Vec<_> = (0..at).filter(|at| keeps(*at)).map(|at| &before[at]).collect();
        match left {
            Left::All(items) => {
                prop_assert_eq!((items, expected.len()), (at as u64, at));
            }
            Left::Nothing => prop_assert!(expected.is_empty() && at > 0),
            Left::Some { body: new, items: count } => {
                let after = oracle::items(signal, &new);
                prop_assert_eq!(count, after.len() as u64);
                prop_assert_eq!(after.iter().collect::<Vec<_>>(), expected);
                let raw = items(&body);
                let raw: Vec<_> = (0..at).filter(|at| keeps(*at)).map(|at| raw[at]).collect();
                prop_assert_eq!(items(&new), raw);
            }
        }
    }
}

/// A request of entries of scopes of items.
fn nested(entries: &[&[&[&[u8]]]]) -> Vec<u8> {
    let wrap = |number, parts: Vec<Vec<u8>>| {
        let mut out = Vec::new();
        for part in &parts {
            put_bytes(&mut out, number, part);
        }
        out
    };
    let scope = |items: &&[&[u8]]| wrap(2, items.iter().map(|item| item.to_vec()).collect());
    let entry = |scopes: &&[&[&[u8]]]| wrap(2, scopes.iter().map(scope).collect());
    wrap(1, entries.iter().map(entry).collect())
}

#[test]
fn empty_entries_go_with_their_items() {
    let body = nested(&[&[&[b"\x08a", b"\x08b"], &[b"\x08a"]], &[&[b"\x08a"]], &[]]);
    let only =
        |wanted: u8| retain_items(&body, &mut Purse::default(), |item| item[1] == wanted).unwrap();
    let items = |body: Vec<u8>, items| Left::Some { body, items };
    assert_eq!(only(b'b'), items(nested(&[&[&[b"\x08b"]]]), 1));
    assert_eq!(only(b'a'), items(nested(&[&[&[b"\x08a"], &[b"\x08a"]], &[&[b"\x08a"]]]), 3));
    assert_eq!(only(b'c'), Left::Nothing);
    assert_eq!(retain_items(&body, &mut Purse::default(), |_| true), Ok(Left::All(4)));
    assert_eq!(retain_items(&[], &mut Purse::default(), |_| false), Ok(Left::All(0)));
}
