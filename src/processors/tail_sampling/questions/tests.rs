use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::Event};

use crate::{
    config::Problems,
    processors::tail_sampling::tests::{
        A, Sampler, attribute, decode, one, policies, span, spans_of, text,
    },
};

fn with(value: &str) -> Span {
    Span { attributes: vec![attribute("k", text(value))], ..span(A, 1) }
}

fn with_event(name: &str) -> Span {
    let event = Event { name: name.to_owned(), ..Event::default() };
    Span { events: vec![Event::default(), event], ..span(A, 1) }
}

fn question(rest: &str) -> String {
    format!("type: ottl_condition, ottl_condition: {{{rest}}}")
}

#[test]
fn one_condition_on_one_span_or_event_is_enough() {
    let not_v = question(r#"span: ['attributes["k"] != "v"']"#);
    assert!(!one(&not_v, vec![with("v")]));
    assert!(one(&not_v, vec![with("v"), with("v2")]));
    let events = question(r#"spanevent: ['name == "x" and spanevent.event_index == 1']"#);
    assert!(one(&events, vec![span(A, 1), with_event("x")]));
    assert!(!one(&events, vec![with_event("y"), span(A, 1)]));
    let either = question(
        r#"span: ['IsRootSpan()', 'status.code == STATUS_CODE_ERROR'], spanevent: ['name == "x"']"#,
    );
    let failed = Span { status: Some(Status { code: 2, ..Status::default() }), ..span(A, 1) };
    assert!(one(&either, vec![span(A, 1), failed]));
    assert!(one(&either, vec![Span { parent_span_id: Vec::new(), ..span(A, 1) }]));
    assert!(!one(&either, vec![span(A, 1)]));
    let owners = question(
        r#"span: ['resource.attributes["service.name"] == "app" and scope.name == "lib"']"#,
    );
    assert!(one(&owners, vec![span(A, 1)]));
}

#[test]
fn questions_are_joined_with_other_policies() {
    let both = format!(
        "type: and, and: {{and_sub_policy: [{{{}}}, {{type: span_count, span_count: {{min_spans: 2}}}}]}}",
        question(r#"span: ['name == "GET /"']"#)
    );
    assert!(!one(&both, vec![span(A, 1)]));
    assert!(one(&both, vec![span(A, 1), span(A, 2)]));
    let not =
        format!("type: not, not: {{not_sub_policy: {{{}}}}}", question(r#"span: ['name == "x"']"#));
    assert!(one(&not, vec![span(A, 1)]));
}

#[test]
fn failures_are_counted_and_decide_only_under_propagate() {
    let settings = |mode: &str| {
        policies(&format!(
            "{{name: p, {}}}",
            question(&format!(
                r#"{mode}span: ['ParseJSON(attributes["k"])["a"] == "b"', 'name == "GET /"']"#
            ))
        ))
    };
    for (mode, kept, failures) in
        [("", 1, 1), ("error_mode: silent, ", 1, 0), ("error_mode: propagate, ", 0, 1)]
    {
        let mut sampler = Sampler::new(&settings(mode));
        sampler.send(vec![with("no JSON")]);
        assert_eq!(spans_of(sampler.wait_entries(Duration::from_secs(2))).len(), kept, "{mode}");
        assert_eq!(sampler.telemetry.registry().sum("skep_statement_failures"), failures, "{mode}");
    }
}

#[test]
fn mistakes_are_shown_inside_of_the_condition() {
    let settings =
        policies(&format!("{{name: p, {}}}", question(r#"span: ['attribtes["k"] == 1']"#)));
    let problems: Problems = decode(&settings).1;
    let range = problems.0[0].place.clone().unwrap().range;
    assert_eq!(&settings[range], "attribtes");
    let (_, problems) = decode(&policies(&format!("{{name: p, {}}}", question(""))));
    assert_eq!(problems.0[0].message, "the policy has no conditions");
}
