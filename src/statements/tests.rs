use serde::Deserialize;

use super::*;
use crate::config::{decode, yaml};

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    list: Texts,
    blocks: Blocks<Inner>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    texts: Texts,
}

fn read(text: &str) -> (Option<Body>, Vec<(String, String)>) {
    let (node, mut problems) = (yaml::parse(0, text).unwrap(), Problems::default());
    let body = decode(&node, &mut problems);
    let shown = problems.0.into_iter().map(|problem| {
        let range = problem.place.map(|place| place.range).unwrap_or_default();
        (text[range].to_owned(), problem.message)
    });
    (body, shown.collect())
}

fn list(texts: &[&str]) -> Texts {
    Texts(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn a_list_has_texts_or_groups() {
    let (body, problems) = read("{list: ['f(a, b)'], blocks: ['x', 'y']}");
    assert_eq!(problems, []);
    let blocks = Blocks::Texts(list(&["x", "y"]));
    assert_eq!(body, Some(Body { list: list(&["f(a, b)"]), blocks }));
    let (body, _) = read("{list: 'f(a, b)', blocks: [{texts: ['x']}, {}]}");
    let groups = vec![Inner { texts: list(&["x"]) }, Inner::default()];
    assert_eq!(body, Some(Body { list: list(&["f(a, b)"]), blocks: Blocks::Groups(groups) }));
    let (body, problems) = read("{list: ~, blocks: ''}");
    assert_eq!((body, problems), (Some(Body::default()), vec![]));
}

#[test]
fn mistakes_are_shown_at_their_element() {
    let at = |text: &str| read(text).1[0].0.clone();
    assert_eq!(at("{list: [a, {b: c}]}"), "{");
    assert_eq!(at("{list: [a, 5]}"), "5");
    assert_eq!(at("{blocks: [{texts: [a]}, b]}"), "b");
    assert_eq!(at("{blocks: [b, {texts: [a]}]}"), "{");
    assert_eq!(at("{blocks: [{text: [a]}]}"), "text");
    assert_eq!(at("{blocks: ['  ']}"), "'  '");
    assert!(read("{blocks: [~]}").1[0].1.contains("empty"));
}

fn source<'c>(place: &str, text: &'c str) -> Source<'c> {
    Source {
        signal: Signal::Logs,
        context: Some(Context::Log),
        conditions: Vec::new(),
        statements: vec![Text { place: place.to_owned(), text }],
        mode: ErrorMode::Ignore,
    }
}

#[test]
fn failures_are_counted_and_each_kind_is_told_once() {
    let cx = BuildContext::test("transform", Signal::Logs);
    let text = "set(attributes[\"a\"], 1 / Len(body))";
    let runner = || source("log_statements::0", text).runner(&cx, Kind::Processor).unwrap();
    let mut replicas = [runner(), runner()];
    // A body that is an empty text, and none.
    let bodies: [&[u8]; 2] = [&[0x2A, 2, 0x0A, 0], &[]];
    for replica in &mut replicas {
        for record in bodies.into_iter().cycle().take(6) {
            let mut item = Item::new(None);
            item.enter(crate::ottl::Tier::Item, record);
            replica.run(&mut item).unwrap();
        }
        replica.flush();
        replica.flush();
    }
    assert_eq!(cx.telemetry.registry().sum("skep_statement_failures"), 12);
    assert_eq!(cx.told.count(), 2, "a division by zero, and no text");
}

#[test]
fn needs_follow_from_the_texts() {
    let needs = needs(&[source("0", r"set(body, otelcol.client.addr)")]);
    assert_eq!((needs.context, needs.metadata, needs.auth), (true, false, false));
}
