//! Reading sources, expanding references, and merging trees.

use std::collections::BTreeMap;

use super::*;

fn env(name: &str) -> Option<String> {
    Some(match name {
        "KEY" => "secret".to_owned(),
        "PORT" => "4317".to_owned(),
        "EMPTY" => String::new(),
        "LIST" => "[a, b]".to_owned(),
        "MAP" => "{a: 1}".to_owned(),
        "NAME" => "KEY".to_owned(),
        "NESTED" => "${env:KEY}".to_owned(),
        "SELF" => "${SELF}".to_owned(),
        "DOLLAR" => "a$$b".to_owned(),
        _ => return None,
    })
}

fn loaded(texts: &[&str], sets: &[&str]) -> (Loaded, Problems) {
    let uris: Vec<String> = texts.iter().map(|text| format!("yaml:{text}")).collect();
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let mut problems = Problems::default();
    let loaded = load(&uris, &sets, &env, &mut problems);
    (loaded, problems)
}

fn text(yaml: &str) -> String {
    let (loaded, problems) = loaded(&[&format!("k: {yaml}")], &[]);
    match loaded.root.map(|root| root.at("k").value.clone()) {
        Some(Value::String(text) | Value::Substituted { text, .. }) => text,
        other => panic!("{other:?} {problems:?}"),
    }
}

#[test]
fn references_are_replaced_as_the_collector_replaces_them() {
    assert_eq!(text("${env:KEY}"), "secret");
    assert_eq!(text("${KEY}"), "secret");
    assert_eq!(text("host:${PORT}/x"), "host:4317/x");
    assert_eq!(text("\"${env:MISSING:-d e}\""), "d e");
    assert_eq!(text("${env:MISSING:-}"), "");
    assert_eq!(text("${EMPTY}"), "");
    assert_eq!(text("${env:${NAME}}"), "secret");
    assert_eq!(text("${NESTED}"), "secret");
    assert_eq!(text("$${KEY}"), "${KEY}");
    assert_eq!(text("a$$b"), "a$b");
    assert_eq!(text("$lower"), "$lower");
    assert_eq!(text("${yaml:x}"), "x");
}

#[test]
fn a_whole_reference_may_be_any_yaml() {
    let (loaded, _) = loaded(&["p: ${PORT}\nm: ${MAP}\nl: ${LIST}"], &[]);
    let root = loaded.root.unwrap();
    assert_eq!(root.at("m::a").value, Value::Int(1));
    assert!(
        matches!(&root.at("p").value, Value::Substituted { parsed, .. } if **parsed == Value::Int(4317))
    );
    assert!(matches!(&root.at("l").value, Value::Substituted { text, .. } if text == "[a, b]"));
}

#[test]
fn an_unset_variable_without_a_default_is_an_error_at_its_place() {
    let (_, problems) = loaded(&["a: 1\nkey: ${env:MISSING}"], &[]);
    let problem = &problems.0[0];
    assert_eq!(problem.message, "the environment variable `MISSING` is not set");
    assert_eq!((problem.place.as_ref().unwrap().range.start, &*problem.path), (10, "key"));
}

#[test]
fn wrong_references_are_errors() {
    for yaml in ["${env:1X}", "${foo:bar}", "${SELF}", "\"${KEY\""] {
        let (_, problems) = loaded(&[&format!("k: {yaml}")], &[]);
        assert!(problems.has_errors(), "{yaml}");
    }
}

#[test]
fn a_bare_name_is_left_with_a_warning() {
    let (loaded, problems) = loaded(&["k: $KEY"], &[]);
    assert_eq!(loaded.root.unwrap().at("k").value, Value::String("$KEY".to_owned()));
    assert_eq!(problems.0[0].severity, crate::config::Severity::Warning);
    for on_purpose in ["$$KEY", "a$$KEY", "$lower", "5$"] {
        let (_, problems) = loaded_once(on_purpose);
        assert_eq!(problems, Problems::default(), "{on_purpose}");
    }
    let (_, problems) = loaded_once("$$A $B");
    assert_eq!(problems.0[0].message, "`$B` is not replaced");
}

fn loaded_once(text: &str) -> (Loaded, Problems) {
    loaded(&[&format!("k: {text}")], &[])
}

#[test]
fn later_sources_win_and_lists_are_replaced_whole() {
    let (loaded, problems) = loaded(
        &["a: {x: 1, y: 2}\nl: [1, 2]\nn: {z: 1}", "a: {y: 3}\nl: [3]\nn:"],
        &["a.x=5", "b.c=true"],
    );
    assert_eq!(problems, Problems::default());
    let root = loaded.root.unwrap();
    assert_eq!(root.at("a::x").value, Value::Int(5));
    assert_eq!(root.at("a::y").value, Value::Int(3));
    assert_eq!(root.at("b::c").value, Value::Bool(true));
    assert_eq!(root.at("n").value, Value::Null);
    assert!(matches!(&root.at("l").value, Value::List(nodes) if nodes.len() == 1));
}

#[test]
fn flags_are_shown_as_they_were_written() {
    let (loaded, _) = loaded(&["a: 1"], &["b.c-d::e={f: [x]}"]);
    assert_eq!(loaded.sources[1].text, "b.c-d::e={f: [x]}");
    let root = loaded.root.unwrap();
    let node = root.at("b::c-d::e::f::0");
    assert_eq!((&*node.path, node.value.clone()), ("b::c-d::e::f::0", Value::String("x".into())));
    assert_eq!(&loaded.sources[1].text[node.place.range.clone()], "x");
    assert_eq!(&*root.at("b::c-d").path, "b::c-d");
}

#[test]
fn what_is_not_a_configuration_is_explained() {
    let (_, problems) = loaded(&["just-a-name"], &[]);
    assert!(problems.0[0].help.as_ref().unwrap().contains("file name"));
    let mut problems = Problems::default();
    let uris = ["/".to_owned(), "/no/such.yaml".to_owned(), "http://x/".to_owned()];
    load(&uris, &["x".to_owned()], &env, &mut problems);
    assert_eq!(problems.0.len(), 4);
}

#[test]
fn a_source_has_an_end() {
    let mut problems = Problems::default();
    load(&["/dev/zero".to_owned()], &[], &env, &mut problems);
    assert_eq!(problems.0[0].message, "cannot read `/dev/zero`: it is larger than 4 MiB");
    let many = |name: &str| Some(format!("${{{name}x}}${{{name}x}}"));
    let (mut problems, uris) = (Problems::default(), ["yaml:k: ${A}".to_owned()]);
    load(&uris, &[], &many, &mut problems);
    assert!(problems.has_errors(), "two references in each, a hundred deep");
    let long = |_: &str| Some("x".repeat(1 << 20));
    let (mut problems, uris) = (Problems::default(), ["yaml:k: ${A}${B}${C}${D}${E}".to_owned()]);
    load(&uris, &[], &long, &mut problems);
    assert_eq!(problems.0[0].message, "references expand to more than 4 MiB of text");
}

#[test]
fn a_reference_in_quotes_is_text_where_any_type_may_be() {
    let commit = |_: &str| Some("5e78321".to_owned());
    let mut problems = Problems::default();
    let text = "single: '${env:X}'\ndouble: \"${env:X}\"\ntag: !!str ${env:X}\nwithin: v${env:X}\n\
                block: |-\n  ${env:X}\nnumber: !!str 5e78321\nbare: ${env:X}\n";
    let root = load(&[format!("yaml:{text}")], &[], &commit, &mut problems).root.unwrap();
    let values: BTreeMap<String, serde_json::Value> =
        crate::config::decode(&root, &mut problems).unwrap();
    for key in ["single", "double", "tag", "block", "number"] {
        assert_eq!(values[key], "5e78321", "{key}");
    }
    assert_eq!(values["within"], "v5e78321");
    // Without quotes it is a YAML number, too large for any type.
    assert!(!values["bare"].is_string(), "{values:?}");
    // Where a number is expected, a number in quotes is accepted, too.
    let port = |_: &str| Some("4317".to_owned());
    let root = load(&["yaml:p: '${env:X}'".to_owned()], &[], &port, &mut problems).root.unwrap();
    let ports: BTreeMap<String, u16> = crate::config::decode(&root, &mut problems).unwrap();
    assert_eq!((ports["p"], problems), (4317, Problems::default()));
}
