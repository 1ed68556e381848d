use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{span, spans},
    processors::trial::{Trial, examples, problems},
};

fn edited(settings: &str, one: &Value) -> Value {
    let request = spans(std::slice::from_ref(one));
    span(&Trial::of(&ENTRY, Signal::Traces, settings).send(&request).only())
}

#[test]
fn attributes_make_a_name() {
    let named = |keys: &str, attributes: &Value| {
        let settings = format!("{{name: {{from_attributes: [{keys}], separator: '::'}}}}");
        edited(&settings, &json!({"name": "old", "attributes": attributes}))["name"].clone()
    };
    let all = json!({"a": "bob", "i": 123, "d": 234.129_312, "b": true, "l": [1]});
    assert_eq!(named("a", &all), "bob");
    assert_eq!(named("i, d, b", &all), "123::234.129312::true");
    assert_eq!(named("a, l", &all), "bob::<unknown-attribute-type>");
    assert_eq!(named("a, missing", &all), "old");
}

#[test]
fn parts_of_a_name_become_attributes() {
    let name = "/api/v1/document/321083210/update/1";
    let rule = r"'^\/api\/v1\/document\/(?P<documentId>.*)\/update\/1$'";
    let version = r"'^\/api\/(?P<version>v[0-9])\/'";
    let after = |rules: &str, more: &str| {
        let settings = format!("{{name: {{to_attributes: {{rules: [{rules}]{more}}}}}}}");
        let after = edited(&settings, &json!({"name": name, "attributes": {"documentId": "old"}}));
        (after["name"].clone(), after["attributes"].clone())
    };
    assert_eq!(
        after(rule, ""),
        (json!("/api/v1/document/{documentId}/update/1"), json!({"documentId": "321083210"}))
    );
    let loose = r"'document\/(?P<documentId>[^/]*)\/'";
    assert_eq!(
        after(&format!("{loose}, {version}"), ""),
        (
            json!("/api/{version}/document/{documentId}/update/1"),
            json!({"documentId": "321083210", "version": "v1"})
        )
    );
    assert_eq!(
        after(&format!("{loose}, {version}"), ", break_after_match: true"),
        (json!("/api/v1/document/{documentId}/update/1"), json!({"documentId": "321083210"}))
    );
    assert_eq!(
        after(rule, ", keep_original_name: true"),
        (json!(name), json!({"documentId": "321083210"}))
    );
    assert_eq!(after("'^nothing(?P<x>.)'", ""), (json!(name), json!({"documentId": "old"})));
}

#[test]
fn groups_that_are_nested_or_take_no_part_are_no_trouble() {
    let settings = "{name: {to_attributes: {rules: ['^(?P<all>a(?P<in>b))(?P<no>x)?']}}}";
    let after = edited(settings, &json!({"name": "abc"}));
    assert_eq!(after["name"], "{all}c");
    assert_eq!(after["attributes"], json!({"all": "ab", "in": "b"}));
}

#[test]
fn the_status_is_set() {
    let old = json!({"name": "a", "status": {"code": 2, "message": "m"}});
    assert_eq!(edited("{status: {code: Ok}}", &old)["status"], json!({"code": 1}));
    assert_eq!(
        edited("{status: {code: Error, description: d}}", &json!({"name": "a"}))["status"],
        json!({"code": 2, "message": "d"})
    );
    let unset = edited("{status: {code: Unset}}", &old)["status"].clone();
    assert!(unset.is_null() || unset == json!({}), "{unset}");
}

#[test]
fn only_chosen_spans_change_and_what_does_not_change_is_the_same_allocation() {
    let settings = "{include: {match_type: strict, span_names: [a]}, exclude: {match_type: strict, \
                    attributes: [{key: no}]}, status: {code: Ok}}";
    assert_eq!(edited(settings, &json!({"name": "a"}))["status"], json!({"code": 1}));
    assert_eq!(edited(settings, &json!({"name": "b"}))["status"], json!({}));
    let excluded = json!({"name": "a", "attributes": {"no": 1}});
    assert_eq!(edited(settings, &excluded)["status"], json!({}));
    let request = spans(&[json!({"name": "a", "status": {"code": 1}}), json!({"name": "b"})]);
    assert!(Trial::of(&ENTRY, Signal::Traces, settings).send(&request).is_same);
}

#[test]
fn mistakes_are_shown() {
    for (settings, at, message) in [
        ("{}", "", "changes nothing"),
        ("{name: {separator: x}}", "", "changes nothing"),
        ("{name: {to_attributes: {rules: []}}}", "to_attributes", "no rule"),
        ("{name: {to_attributes: {rules: ['(']}}}", "'('", "invalid"),
        ("{name: {to_attributes: {rules: ['(a)']}}}", "'(a)'", "no named group"),
        ("{status: {description: x}}", "status", "`code` is missing"),
        ("{status: {code: Ok, description: x}}", "x", "only errors"),
        ("{status: {code: Good}}", "Good", "unknown value"),
        (
            "{include: {match_type: strict, metric_names: [a]}, status: {code: Ok}}",
            "metric_names",
            "spans have no",
        ),
    ] {
        let found = problems(&ENTRY, settings);
        assert!(
            found.iter().any(|[place, words, _]| place.contains(at) && words.contains(message)),
            "{settings}: {found:?}"
        );
    }
}

#[test]
fn the_examples_do_what_they_say() {
    let [rules, name] = &examples(&ENTRY)[..] else { panic!("two examples") };
    let after = edited(rules, &json!({"name": "/api/v1/document/321083/update"}));
    assert_eq!(after["name"], "/api/v1/document/{documentId}/update");
    assert_eq!(after["attributes"], json!({"documentId": "321083"}));
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": {"service.name": "orders"}},
        "scopeSpans": [{"spans": [{"name": "a", "attributes": {"db.system": "pg", "db.operation": "get"}}]}],
    }]});
    let after = span(&Trial::of(&ENTRY, Signal::Traces, name).send(&request).only());
    assert_eq!(after["name"], "pg:get");
    assert_eq!(after["status"], json!({"code": 2, "message": "the order was refused"}));
}
