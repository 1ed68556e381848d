//! The typing rules, each with its place.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::config::{Interval, Secret, Section, yaml};

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Example {
    name: String,
    count: u32,
    share: f64,
    on: bool,
    wait: Interval,
    key: Secret,
    list: Vec<String>,
    inner: Inner,
    section: Section<Inner>,
    maybe: Option<Inner>,
    labels: BTreeMap<String, String>,
    mode: Mode,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    endpoint: String,
    size: u64,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Basic,
    Detailed,
}

/// Line, path and message; the text that it points at; the remedy.
type Seen = (String, String, Option<String>);

fn decoded(text: &str) -> (Option<Example>, Vec<Seen>) {
    let root = yaml::parse(0, text).unwrap();
    let mut problems = Problems::default();
    let example = decode(&root, &mut problems);
    let seen = problems.0.into_iter().map(|problem| {
        let range = problem.place.unwrap().range;
        let line = text[..range.start].lines().count().max(1);
        (
            format!("{line}: {} {}", problem.path, problem.message),
            text[range].to_owned(),
            problem.help,
        )
    });
    (example, seen.collect())
}

fn messages(text: &str) -> Vec<String> {
    decoded(text).1.into_iter().map(|(message, ..)| message).collect()
}

fn example(text: &str) -> Example {
    let (example, problems) = decoded(text);
    assert_eq!(problems, []);
    example.unwrap()
}

#[test]
fn nothing_is_all_defaults() {
    assert_eq!(example(""), Example::default());
    assert_eq!(example("name:\ncount: ~\nlist:\nmode:\nwait:\n"), Example::default());
}

#[test]
fn every_type_is_read() {
    let read = example(
        "name: n\ncount: 3\nshare: 1\non: true\nwait: 5s\nkey: k\nlist: [a, b]\nmode: DETAILED\n",
    );
    assert!((read.share - 1.0).abs() < f64::EPSILON);
    assert_eq!(read.wait.0.as_secs(), 5);
    assert_eq!(read.mode, Mode::Detailed);
    assert_eq!(read.list, ["a", "b"]);
    assert_eq!(example("list: a, b").list, ["a", "b"]);
}

#[test]
fn a_section_is_on_once_it_is_mentioned() {
    assert_eq!(example("").section, Section::Off);
    assert_eq!(example("section:\n").section, Section::On(Inner::default()));
    assert_eq!(example("section: {}\n").section, Section::On(Inner::default()));
    assert_eq!(example("section: {enabled: false, size: 3}\n").section, Section::Off);
    let on = Section::On(Inner { size: 3, ..Inner::default() });
    assert_eq!(example("section: {enabled: true, size: 3}\n").section, on);
    assert_eq!(example("maybe:\n").maybe, None);
}

#[test]
fn a_misspelt_key_deep_inside_is_reported_at_its_own_place() {
    let (_, problems) = decoded("section:\n  endpont: a:1\n");
    assert_eq!(problems.len(), 1);
    let (message, place, help) = &problems[0];
    assert_eq!(message, "2: section::endpont unknown key `endpont`");
    assert_eq!(place, "endpont");
    assert!(help.as_ref().unwrap().starts_with("did you mean `endpoint`?"));
}

#[test]
fn all_problems_of_a_body_are_reported() {
    let all =
        messages("nam: x\ncount: many\nwait: 5\non: \"true\"\ninner: {size: [1]}\nmode: loud\n");
    assert_eq!(
        all,
        [
            "1: nam unknown key `nam`",
            "2: count expected a whole number, 0 or more, got the text `many`",
            "4: on expected `true` or `false`, got a string",
            "5: inner::size expected a whole number, 0 or more, got a list",
            "6: mode unknown value `loud`",
        ]
    );
}

#[test]
fn types_are_not_converted() {
    assert_eq!(messages("name: 5\n"), ["1: name expected a string, got the number `5`"]);
    assert_eq!(
        messages("count: \"5\"\n"),
        ["1: count expected a whole number, 0 or more, got the text `5`"]
    );
    assert_eq!(messages("on: 1\n"), ["1: on expected `true` or `false`, got the number `1`"]);
    assert_eq!(messages("count: -1\n").len(), 1);
    assert_eq!(messages("inner: text\n").len(), 1);
}

#[test]
fn what_a_variable_holds_is_not_repeated() {
    for (key, text) in [("wait", "very-secret"), ("mode", "Very-Secret")] {
        let mut root = yaml::parse(0, &format!("{key}: x\n")).unwrap();
        let Value::Map(members) = &mut root.value else { panic!() };
        let parsed = Box::new(yaml::resolve(text));
        members[0].value.value =
            Value::Substituted { text: text.to_owned(), parsed, is_text: false };
        let mut problems = Problems::default();
        let _: Option<Example> = decode(&root, &mut problems);
        let message = problems.0[0].message.to_lowercase();
        assert!(!message.contains("very-secret"), "{message}");
    }
}

#[test]
fn quotes_that_make_the_difference_are_named() {
    let help = |text: &str| decoded(text).1.remove(0).2.unwrap_or_default();
    assert_eq!(help("count: \"5\"\n"), "remove the quotes: `5`");
    assert_eq!(help("on: 'true'\n"), "remove the quotes: `true`");
    assert_eq!(help("name: 5\n"), "put quotes around it");
    assert_eq!(help("count: five\n"), "");
}

#[test]
fn substituted_values_are_text_for_strings_and_yaml_for_others() {
    let mut root = yaml::parse(0, "name: x\ncount: x\non: x\n").unwrap();
    let Value::Map(members) = &mut root.value else { panic!() };
    for (member, text) in members.iter_mut().zip(["0123", "0123", "true"]) {
        member.value.value = Value::Substituted {
            text: text.to_owned(),
            parsed: Box::new(yaml::resolve(text)),
            is_text: false,
        };
    }
    let mut problems = Problems::default();
    let example: Example = decode(&root, &mut problems).unwrap();
    assert_eq!((&*example.name, example.count, example.on), ("0123", 83, true));
}

#[test]
fn an_empty_word_is_one_that_is_not_set() {
    let (example, problems) = decoded("mode: ''\nname: ''\n");
    assert_eq!(problems, []);
    assert_eq!(example.unwrap().mode, Mode::Basic);
    let (_, problems) = decoded("mode: ' '\n");
    assert_eq!(problems.len(), 1);
}
