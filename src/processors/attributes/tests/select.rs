//! Which items are selected, by every property.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, any_value::Value},
    logs::v1::LogRecord,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

use super::{config, edited, logs, scope};
use crate::{
    component::{BuildContext, ProcessorConfig as _},
    config::{Problems, yaml},
    otlp::Signal,
    processors::{
        editing::oracle::{attribute, text},
        select::severity,
    },
};

#[test]
fn severities_have_the_numbers_of_the_specification() {
    assert_eq!(severity("TRACE"), Some(1));
    assert_eq!(severity("info"), Some(9));
    assert_eq!(severity("Warn3"), Some(15));
    assert_eq!(severity("SEVERITY_NUMBER_FATAL4"), Some(24));
    assert_eq!(severity("loud"), None);
    assert_eq!(severity("5"), None);
}

/// Names of the spans that got the attribute `seen`.
fn seen(yaml: &str, request: &ExportTraceServiceRequest) -> Vec<String> {
    let yaml = format!("actions: [{{key: seen, value: yes, action: insert}}]\n{yaml}");
    let (_, bytes) = edited(&config(&yaml), Signal::Traces, request, 3);
    let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let scopes = got.resource_spans.into_iter().flat_map(|entry| entry.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    let is_seen = |span: &Span| span.attributes.iter().any(|a| a.key == "seen");
    spans.filter(is_seen).map(|span| span.name).collect()
}

fn three_services() -> ExportTraceServiceRequest {
    let entry = |service: &str, name: &str, kind| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name", service)],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope(&format!("lib.{service}"), "1.0")),
            spans: vec![Span {
                name: name.to_owned(),
                kind,
                attributes: vec![attribute("code", Value::IntValue(200 + i64::from(kind)))],
                ..Span::default()
            }],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let resource_spans =
        vec![entry("auth", "login", 2), entry("shop", "buy", 3), entry("shop2", "login", 1)];
    ExportTraceServiceRequest { resource_spans }
}

#[test]
fn include_and_exclude_select_by_every_property() {
    let request = three_services();
    let seen = |yaml: &str| seen(yaml, &request).join(",");
    assert_eq!(seen(""), "login,buy,login");
    assert_eq!(seen("include: {match_type: strict, services: [shop]}"), "buy");
    assert_eq!(seen("include: {match_type: regexp, services: [shop]}"), "buy,login");
    assert_eq!(seen("include: {match_type: regexp, services: [^shop$]}"), "buy");
    assert_eq!(seen("include: {match_type: strict, span_names: [login]}"), "login,login");
    assert_eq!(
        seen("include: {match_type: strict, span_names: [login], services: [auth, shop]}"),
        "login"
    );
    assert_eq!(seen("include: {match_type: strict, span_kinds: [SPAN_KIND_CLIENT]}"), "buy");
    assert_eq!(seen("include: {match_type: strict, libraries: [{name: lib.auth}]}"), "login");
    assert_eq!(
        seen("include: {match_type: strict, libraries: [{name: lib.auth, version: '2'}]}"),
        ""
    );
    assert_eq!(seen("include: {match_type: strict, attributes: [{key: code, value: 203}]}"), "buy");
    assert_eq!(seen("include: {match_type: strict, attributes: [{key: code, value: '203'}]}"), "");
    assert_eq!(
        seen("include: {match_type: regexp, attributes: [{key: code, value: '20[12]'}]}"),
        "login,login"
    );
    assert_eq!(seen("include: {match_type: strict, attributes: [{key: none}]}"), "");
    assert_eq!(
        seen("include: {match_type: strict, resources: [{key: service.name, value: auth}]}"),
        "login"
    );
    assert_eq!(seen("exclude: {match_type: strict, services: [shop]}"), "login,login");
    assert_eq!(
        seen("exclude: {match_type: strict, services: [auth, shop], span_names: [login]}"),
        "buy,login"
    );
    assert_eq!(
        seen(
            "include: {match_type: strict, span_names: [login]}\n\
             exclude: {match_type: regexp, libraries: [{name: shop}]}"
        ),
        "login"
    );
}

#[test]
fn log_records_are_selected_by_severity_and_body() {
    let record = |number, text: &str, body: &str| LogRecord {
        severity_number: number,
        severity_text: text.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body.to_owned())) }),
        ..LogRecord::default()
    };
    let mut request = logs(Vec::new());
    request.resource_logs[0].scope_logs[0].log_records =
        vec![record(0, "", "none"), record(9, "Info", "started"), record(17, "Error", "failed")];
    let seen = |selection: &str| {
        let yaml =
            format!("actions: [{{key: seen, value: 1, action: insert}}]\ninclude: {selection}");
        let (_, bytes) = edited(&config(&yaml), Signal::Logs, &request, 3);
        let got = ExportLogsServiceRequest::decode(&*bytes).unwrap();
        let records = &got.resource_logs[0].scope_logs[0].log_records;
        records.iter().map(|record| u8::from(!record.attributes.is_empty())).collect::<Vec<_>>()
    };
    let severity = "{match_type: strict, log_severity_number: {min: warn}}";
    assert_eq!(seen(severity), [0, 0, 1]);
    let undefined = "{match_type: strict, log_severity_number: {min: INFO, match_undefined: true}}";
    assert_eq!(seen(undefined), [1, 1, 1]);
    // By number, as the Collector has it, and quoted.
    for (min, kept) in [("10", [0, 0, 1]), ("9", [0, 1, 1]), ("'17'", [0, 0, 1])] {
        let by_number = format!("{{match_type: strict, log_severity_number: {{min: {min}}}}}");
        assert_eq!(seen(&by_number), kept, "{min}");
    }
    assert_eq!(seen("{match_type: strict, log_severity_texts: [Info]}"), [0, 1, 0]);
    assert_eq!(seen("{match_type: regexp, log_bodies: [ed$]}"), [0, 1, 1]);
}

#[test]
fn properties_of_another_signal_are_refused() {
    let yaml = "actions: [{key: a, value: 1, action: insert}]\n\
                include: {match_type: strict, span_names: [x]}";
    let config = config(yaml);
    assert!(config.build(&BuildContext::test("attributes", Signal::Traces)).is_ok());
    let error =
        config.build(&BuildContext::test("attributes", Signal::Logs)).err().unwrap().to_string();
    assert!(error.contains("`include::span_names` does not apply to logs"), "{error}");
}

#[test]
fn a_severity_that_does_not_exist_is_refused() {
    for min in ["0", "25", "-1", "9.5", "loud", "true", "''"] {
        let yaml = format!(
            "actions: [{{key: a, value: 1, action: insert}}]\n\
             include: {{match_type: strict, log_severity_number: {{min: {min}}}}}"
        );
        let tree = yaml::parse(0, &yaml).unwrap();
        let mut problems = Problems::default();
        let config = config::decode::<super::super::Config>(&tree, &mut problems).unwrap();
        config.validate(&tree, &mut problems);
        let [problem] = &problems.0[..] else { panic!("{min}: {problems:?}") };
        assert_eq!(problem.path, "include::log_severity_number::min");
        let shown = min.trim_matches('\'');
        assert_eq!(problem.message, format!("`{shown}` is not a severity"));
        assert!(problem.help.as_ref().unwrap().contains("1 to 24"));
    }
}

#[test]
fn a_service_without_a_name_matches_no_pattern() {
    let entry = |attributes| ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![Span::default()], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    let bare = entry(Vec::new());
    let unnamed = entry(vec![text("service.name", "")]);
    let number = entry(vec![attribute("service.name", Value::IntValue(1))]);
    let request = ExportTraceServiceRequest { resource_spans: vec![bare, unnamed, number] };
    for matching in ["{match_type: strict, services: ['']}", "{match_type: regexp, services: [^$]}"]
    {
        assert_eq!(seen(&format!("include: {matching}"), &request).len(), 1, "{matching}");
        assert_eq!(seen(&format!("exclude: {matching}"), &request).len(), 2, "{matching}");
    }
}
