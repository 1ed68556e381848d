use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn wanted(who: &Who, service: &str, name: &str) -> Option<(u64, u64)> {
    let all = who.first(ROOM);
    let found = all.iter().find(|eater| (&*eater.service, &*eater.name) == (service, name));
    found.map(|eater| (eater.wanted, eater.error))
}

#[test]
fn names_are_counted_and_those_that_want_most_come_first() {
    let mut who = Who::default();
    who.note("shop", "GET /", 3);
    who.note("shop", "GET /cart", 5);
    who.note("shop", "GET /", 4);
    who.note("pay", "GET /", 1);
    let first: Vec<_> =
        who.first(2).iter().map(|eater| (eater.name.to_string(), eater.wanted)).collect();
    assert_eq!(first, [("GET /".to_owned(), 7), ("GET /cart".to_owned(), 5)]);
    assert_eq!(wanted(&who, "pay", "GET /"), Some((1, 0)));
    who.clear();
    assert!(who.first(9).is_empty());
}

#[test]
fn those_that_are_kept_go_on_to_be_counted() {
    let mut who = Who::default();
    for at in 0..1000_u64 {
        who.note("shop", &format!("GET /{at}"), 1 + at % 300);
    }
    let kept = who.kept();
    assert_eq!(kept.len(), MOST_KEPT);
    assert!(kept.is_sorted_by(|one, next| one.names() < next.names()));
    let mut again = Who::of(&kept);
    assert_eq!(again.first(MOST_KEPT), who.first(MOST_KEPT));
    let Eater { name, wanted: before, error, .. } = again.first(1).remove(0);
    again.note("shop", &name, 7);
    assert_eq!(wanted(&again, "shop", &name), Some((before + 7, error)));
    for at in 0..1000_u64 {
        again.note("pay", &format!("POST /{at}"), 1);
    }
    assert_eq!(wanted(&again, "shop", &name), Some((before + 7, error)), "the least are replaced");
}

#[test]
fn long_names_are_cut_between_characters() {
    let mut who = Who::default();
    who.note(&"\u{e4}".repeat(100), &"x".repeat(1 << 20), 1);
    let eater = &who.first(1)[0];
    assert_eq!((eater.service.len(), eater.name.len()), (120, 120));
    who.note(&format!("a{}", "\u{e4}".repeat(100)), "", 2);
    assert_eq!(who.first(1)[0].service.len(), 119);
}

#[test]
fn a_large_payload_is_noted_by_a_few_of_its_items() {
    for items in [0_usize, 1, 16, 31, 32, 100, 1000, 1 << 20] {
        let noted = items.div_ceil(stride(items));
        assert!((items.min(8)..=16).contains(&noted), "{items}: {noted}");
    }
}

proptest! {
    #[test]
    fn those_that_want_much_are_in_the_table_and_never_with_too_little(
        notes in proptest::collection::vec((0_u32..2000, 1_u64..50), 0..3000),
        heavy in 1_u64..2000,
    ) {
        let mut who = Who::default();
        let mut exact: HashMap<String, u64> = HashMap::new();
        let mut sum = 0;
        for (at, (name, units)) in notes.iter().enumerate() {
            // One name in ten is always the same.
            let name = if at % 10 == 0 { "heavy".to_owned() } else { name.to_string() };
            let units = if at % 10 == 0 { heavy } else { *units };
            who.note("", &name, units);
            *exact.entry(name).or_default() += units;
            sum += units;
        }
        prop_assert!(who.eaters.len() <= ROOM && who.places.len() == who.eaters.len());
        let table = who.first(ROOM);
        for eater in &table {
            let units = exact[&*eater.name];
            prop_assert!(eater.wanted >= units && eater.wanted - eater.error <= units);
        }
        for (name, units) in exact {
            let is_known = table.iter().any(|eater| *eater.name == *name);
            prop_assert!(is_known || units <= sum / ROOM as u64, "{name} wants {units} of {sum}");
        }
    }
}
