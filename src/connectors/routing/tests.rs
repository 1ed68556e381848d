use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    logs::v1::LogRecord,
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    connectors::trial::{
        Emitted, Trial, attributes, logs, metrics, problems, resource_spans, span, text, traces,
    },
    otlp::{
        payload::{Context, Receipt, Wait},
        split,
        wild::{self, OneOfs},
    },
};

const OUTLETS: [&str; 3] = ["traces/p0", "traces/p1", "traces/d"];

fn routing(text: &str) -> Trial {
    Trial::new(&ENTRY, text, Signal::Traces, (Signal::Traces, &OUTLETS))
}

/// Names of spans by outlet.
fn names(emitted: &Emitted) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new(); OUTLETS.len()];
    for (outlet, body) in emitted {
        let request = ExportTraceServiceRequest::decode(&**body).unwrap();
        let scopes = request.resource_spans.iter().flat_map(|entry| &entry.scope_spans);
        let names = scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone());
        all[outlet.unwrap()].extend(names);
    }
    all
}

/// Two resources, A and B, with two spans each.
fn two() -> ExportTraceServiceRequest {
    let of = |name: &str| {
        let spans =
            ["x", "y"].map(|span_name| span(&format!("{name}{span_name}"), &[("k", span_name)]));
        resource_spans(&[("name", name)], spans.to_vec())
    };
    traces(vec![of("A"), of("B")])
}

#[test]
fn routes_are_tried_in_order_on_what_is_left() {
    // Everything goes the first way.
    let mut trial = routing(
        "{default_pipelines: [traces/d], table: [\
         {condition: 'true', pipelines: [traces/p0]}, \
         {condition: 'resource.attributes[\"name\"] == \"B\"', pipelines: [traces/p1]}]}",
    );
    assert_eq!(names(&trial.send(&two())), [vec!["Ax", "Ay", "Bx", "By"], vec![], vec![]]);
    for (first, default, expected) in [
        ("A", true, [vec!["Ax", "Ay"], vec!["Bx", "By"], vec![]]),
        ("X", true, [vec![], vec!["Bx", "By"], vec!["Ax", "Ay"]]),
        ("X", false, [vec![], vec!["Bx", "By"], vec![]]),
    ] {
        let default = if default { "default_pipelines: [traces/d], " } else { "" };
        let mut trial = routing(&format!(
            "{{{default}table: [\
             {{condition: 'attributes[\"name\"] == \"{first}\"', pipelines: [traces/p0]}}, \
             {{condition: 'attributes[\"name\"] == \"B\"', pipelines: [traces/p1]}}]}}"
        ));
        assert_eq!(names(&trial.send(&two())), expected, "{first} {default}");
        let unrouted = if default.is_empty() { 2 } else { 0 };
        assert_eq!(trial.sum("skep_routing_unrouted_items"), unrouted);
    }
}

#[test]
fn single_spans_leave_with_their_resource_and_scope() {
    let mut trial = routing(
        "{default_pipelines: [traces/d], table: [\
         {condition: 'span.attributes[\"k\"] == \"x\"', pipelines: [traces/p0, traces/p1]}]}",
    );
    let emitted = trial.send(&two());
    let expected = [vec!["Ax", "Bx"], vec!["Ax", "Bx"], vec!["Ay", "By"]];
    assert_eq!(names(&emitted), expected);
    for (_, body) in &emitted {
        let request = ExportTraceServiceRequest::decode(&**body).unwrap();
        let resources: Vec<String> = request
            .resource_spans
            .iter()
            .map(|entry| text(&entry.resource.as_ref().unwrap().attributes, "name"))
            .collect();
        assert_eq!(resources, ["A", "B"]);
        assert_eq!(request.resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "lib");
    }
}

#[test]
fn a_copy_stays_for_later_routes() {
    let mut trial = routing(
        "{default_pipelines: [traces/d], table: [\
         {condition: 'span.attributes[\"k\"] == \"x\"', pipelines: [traces/p0], action: copy}, \
         {condition: 'resource.attributes[\"name\"] == \"A\"', pipelines: [traces/p1]}]}",
    );
    let expected = [vec!["Ax", "Bx"], vec!["Ax", "Ay"], vec!["Bx", "By"]];
    assert_eq!(names(&trial.send(&two())), expected);
}

#[test]
fn a_statement_edits_what_it_sends() {
    let mut trial = routing(
        "{default_pipelines: [traces/d], table: [\
         {statement: 'delete_key(attributes, \"name\") where attributes[\"name\"] == \"A\"', \
          pipelines: [traces/p0]}, \
         {statement: 'route() where attributes[\"name\"] == \"a where b\"', pipelines: [traces/p1]}]}",
    );
    let emitted = trial.send(&two());
    assert_eq!(names(&emitted), [vec!["Ax", "Ay"], vec![], vec!["Bx", "By"]]);
    for (outlet, body) in &emitted {
        let request = ExportTraceServiceRequest::decode(&**body).unwrap();
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        assert_eq!(resource.attributes.is_empty(), *outlet == Some(0));
    }
}

fn with_headers(request: &ExportTraceServiceRequest, headers: &[(&str, &str)]) -> Payload {
    let body = request.encode_to_vec();
    let items = split::count_items(Signal::Traces, &body);
    let mut payload = Payload::unpaid(Signal::Traces, body.into(), items);
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    payload.context = Some(Arc::new(Context {
        metadata: headers.iter().map(pair).collect(),
        auth: Vec::new(),
        peer: None,
        arrived: std::time::Instant::now(),
    }));
    payload
}

#[test]
fn requests_are_routed_by_their_headers() {
    for (condition, headers, takes) in [
        (r#"request["X-Tenant"] == "acme""#, &[][..], false),
        (
            r#"request["X-Tenant"] == "acme""#,
            &[("x-tenant", "notacme"), ("x-tenant", "acme")],
            true,
        ),
        (r#"request["X-Tenant"] == "acme""#, &[("x-tenant", "notacme")], false),
        (r#"request["X-Tenant"] != "acme""#, &[("x-tenant", "notacme")], true),
        (r#"request["X-Tenant"] != "acme""#, &[("x-tenant", "acme")], false),
        (r#"request["X-Tenant"] != "acme""#, &[], false),
    ] {
        let mut trial = routing(&format!(
            "{{default_pipelines: [traces/d], table: [\
             {{context: request, condition: '{condition}', pipelines: [traces/p0]}}]}}"
        ));
        let emitted = trial.send_payload(with_headers(&two(), headers));
        let expected = if takes { 0 } else { 2 };
        assert_eq!(names(&emitted)[expected].len(), 4, "{condition} {headers:?}");
    }
    let newer = r#"otelcol.client.metadata["x-tenant"][0] == "acme""#;
    for context in ["", "context: otelcol, "] {
        let mut trial = routing(&format!(
            "{{default_pipelines: [traces/d], table: [\
             {{{context}condition: '{newer}', pipelines: [traces/p0]}}]}}"
        ));
        let emitted = trial.send_payload(with_headers(&two(), &[("x-tenant", "acme")]));
        assert_eq!(names(&emitted)[0].len(), 4);
        assert_eq!(names(&trial.send(&two()))[2].len(), 4);
    }
}

#[test]
fn data_that_goes_one_way_is_not_copied() {
    let mut router = router("{table: [{condition: 'true', pipelines: [traces/p0]}]}");
    let body = bytes::Bytes::from(two().encode_to_vec());
    let mut out = Output::at(std::time::Instant::now());
    router.process(Payload::unpaid(Signal::Traces, body.clone(), 4), &mut out);
    let emitted = out.take_directed();
    assert_eq!(emitted[0].1.body[0].as_ptr(), body.as_ptr());
    for (_, payload) in emitted {
        payload.finish(Outcome::Delivered);
    }
}

fn router(text: &str) -> Box<dyn Processor> {
    let node = crate::config::yaml::parse(0, text).unwrap();
    let config = (ENTRY.decode)(&node, &mut Problems::default()).unwrap();
    let pipelines = OUTLETS.map(str::to_owned).to_vec();
    let outlets = Outlets { signal: Signal::Traces, pipelines };
    config.build(&BuildContext::test("routing", Signal::Traces), &outlets).unwrap()
}

#[test]
fn the_request_is_answered_when_all_parts_are() {
    let text = "{table: [\
        {condition: 'span.attributes[\"k\"] == \"x\"', pipelines: [traces/p0, traces/p1]}]}";
    for (last, expected) in [
        (Outcome::Delivered, Outcome::Filtered),
        (Outcome::Failed(Reason::QueueFull), Outcome::Failed(Reason::QueueFull)),
    ] {
        let mut router = router(text);
        let told: Arc<Mutex<Vec<Outcome>>> = Arc::default();
        let tell = Arc::clone(&told);
        let answer = move |outcome| tell.lock().unwrap().push(outcome);
        let mut payload = Payload::unpaid(Signal::Traces, two().encode_to_vec().into(), 4);
        payload.receipts.push(Receipt::new(Wait::Delivery, Box::new(answer)));
        let mut out = Output::at(std::time::Instant::now());
        router.process(payload, &mut out);
        let mut parts = out.take_directed();
        assert_eq!(parts.len(), 2);
        parts.remove(0).1.finish(Outcome::Delivered);
        assert!(told.lock().unwrap().is_empty(), "a part is under way");
        parts.remove(0).1.finish(last);
        // Two spans went nowhere.
        assert_eq!(*told.lock().unwrap(), [expected]);
    }
}

#[test]
fn a_failing_condition_does_not_hold_or_refuses_the_request() {
    let text = |mode: &str| {
        format!(
            "{{error_mode: {mode}, default_pipelines: [traces/d], table: [\
             {{condition: 'Len(resource.attributes[\"absent\"]) > 1', pipelines: [traces/p0]}}]}}"
        )
    };
    let mut trial = routing(&text("ignore"));
    assert_eq!(names(&trial.send(&two()))[2].len(), 4);
    assert_eq!(trial.sum("skep_statement_failures"), 2);
    let mut router = router(&text("propagate"));
    let mut out = Output::at(std::time::Instant::now());
    router.process(Payload::unpaid(Signal::Traces, two().encode_to_vec().into(), 4), &mut out);
    assert!(out.take_directed().is_empty() && out.take().is_empty());
    assert_eq!(out.take_counts(), (0, 4));
}

#[test]
fn log_records_and_data_points_are_routed_too() {
    let outlets = (Signal::Logs, &["logs/a", "logs/d"][..]);
    let mut trial = Trial::new(
        &ENTRY,
        "{default_pipelines: [logs/d], table: [\
         {context: log, condition: 'instrumentation_scope.name == \"lib\" and body == \"E\"', \
          pipelines: [logs/a]}]}",
        Signal::Logs,
        outlets,
    );
    let record = |body: &str| LogRecord {
        body: attributes(&[("", body)])[0].value.clone(),
        ..LogRecord::default()
    };
    let scope = resource_spans(&[], Vec::new()).scope_spans[0].scope.clone();
    let entry = opentelemetry_proto::tonic::logs::v1::ResourceLogs {
        scope_logs: vec![opentelemetry_proto::tonic::logs::v1::ScopeLogs {
            scope,
            log_records: ["E", "F", "E"].map(record).to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let emitted = trial.send(&ExportLogsServiceRequest { resource_logs: vec![entry] });
    let counts: Vec<(Option<usize>, usize)> = emitted
        .iter()
        .map(|one| {
            (
                one.0,
                logs(std::slice::from_ref(one)).resource_logs[0].scope_logs[0].log_records.len(),
            )
        })
        .collect();
    assert_eq!(counts, [(Some(0), 2), (Some(1), 1)]);

    let outlets = (Signal::Metrics, &["metrics/a", "metrics/d"][..]);
    let mut trial = Trial::new(
        &ENTRY,
        "{default_pipelines: [metrics/d], table: [\
         {condition: 'datapoint.attributes[\"k\"] == \"x\"', pipelines: [metrics/a]}]}",
        Signal::Metrics,
        outlets,
    );
    let point = |value: &str| NumberDataPoint {
        attributes: attributes(&[("k", value)]),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: ["x", "y", "x"].map(point).to_vec() }));
    let metric = Metric { name: "m".to_owned(), data, ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let entry = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let emitted = trial.send(&ExportMetricsServiceRequest { resource_metrics: vec![entry] });
    let counts: Vec<(Option<usize>, usize)> = emitted
        .iter()
        .map(|one| {
            let request = metrics(std::slice::from_ref(one));
            let data = request.resource_metrics[0].scope_metrics[0].metrics[0].data.clone();
            let Some(Data::Gauge(gauge)) = data else { panic!("{request:?}") };
            (one.0, gauge.data_points.len())
        })
        .collect();
    assert_eq!(counts, [(Some(0), 2), (Some(1), 1)]);
}

#[test]
fn mistakes_are_found() {
    let traces = [Signal::Traces];
    for (text, expected) in [
        ("{}", "the routing table is empty"),
        ("{table: [{pipelines: [traces]}]}", "the route has no condition"),
        ("{table: [{condition: 'true'}]}", "the route has no pipelines"),
        (
            "{table: [{condition: 'true', statement: 'route()', pipelines: [traces]}]}",
            "both condition and statement provided",
        ),
        (
            "{table: [{context: request, statement: 'route()', pipelines: [traces]}]}",
            "the context `request` needs a `condition`",
        ),
        (
            "{table: [{context: request, condition: 'request.x == 1', pipelines: [traces]}]}",
            "the condition must be",
        ),
        ("{table: [{context: spn, condition: 'true', pipelines: [traces]}]}", "is not a context"),
        (
            "{table: [{context: log, condition: 'body == \"x\"', pipelines: [traces]}]}",
            "traces have no context `log`",
        ),
        (
            "{table: [{statement: 'set(attributes[\"a\"], 1)', pipelines: [traces]}]}",
            "a route cannot use `set`",
        ),
        (
            "{table: [{condition: 'spanevent.name == \"x\"', pipelines: [traces]}]}",
            "a `spanevent` cannot be routed by itself",
        ),
        (
            "{table: [{condition: 'atributes[\"a\"] == \"x\"', pipelines: [traces]}]}",
            "a resource has no field `atributes`",
        ),
        (
            "{table: [{condition: 'span.nam == \"x\"', pipelines: [traces]}]}",
            "a span has no field `nam`",
        ),
        (
            "{table: [{condition: 'attributes[\"a\"] == \"x\"', pipelines: [traces]}, \
             {condition: 'attributes[\"a\"] == \"x\"', pipelines: [traces]}]}",
            "route 1 has the same condition",
        ),
    ] {
        let found = problems(&ENTRY, text, &traces);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{text}: {found:?}");
    }
    // A route for another signal is not compiled for this one.
    let text = "{table: [{condition: 'log.body == \"x\"', pipelines: [logs]}]}";
    assert_eq!(problems(&ENTRY, text, &traces), Vec::<String>::new());
    assert_eq!(problems(&ENTRY, text, &[Signal::Logs, Signal::Traces]), Vec::<String>::new());
}

#[test]
fn the_word_where_is_found_outside_of_texts() {
    for (text, editor, condition) in [
        ("route() where a == 1", None, "a == 1"),
        ("route()", None, "true"),
        (
            "delete_key(a, \"x where y\") where b == \"\\\" where\"",
            Some("delete_key(a, \"x where y\")"),
            "b == \"\\\" where\"",
        ),
        ("delete_key(nowhere, \"x\")", Some("delete_key(nowhere, \"x\")"), "true"),
    ] {
        let route = Route { statement: Some(text.to_owned()), ..Route::default() };
        let Ok(Form::Texts(texts)) = route::form(&route, 0) else { panic!("{text}") };
        let source = texts.source(Signal::Logs, None, ErrorMode::Ignore);
        assert_eq!(source.conditions[0].text.trim(), condition);
        assert_eq!(source.statements.first().map(|one| one.text.trim()), editor);
    }
}

proptest! {
    /// Every span goes the way that a plain reading of the decoded request says, and as it came.
    #[test]
    fn spans_are_sorted_as_the_decoded_request_says(seed: u64) {
        let body = wild::request(Signal::Traces, seed, OneOfs::Mixed);
        let mut trial = routing(
            "{default_pipelines: [traces/d], table: [\
             {condition: 'span.kind == 2', pipelines: [traces/p0]}, \
             {condition: 'span.status.code == 2', pipelines: [traces/p1]}]}",
        );
        let spans = |body: &[u8]| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let mut all = Vec::new();
            for entry in request.resource_spans {
                for scope in entry.scope_spans {
                    for span in scope.spans {
                        let whole = (entry.resource.clone(), scope.scope.clone(), span.clone());
                        // As text, because NaN is not equal to itself.
                        all.push((format!("{whole:?}"), span));
                    }
                }
            }
            all
        };
        let mut expected = vec![Vec::new(); 3];
        for one in spans(&body) {
            let (text, span) = one;
            let code = span.status.as_ref().map_or(0, |status| status.code);
            let at = if span.kind == 2 { 0 } else if code == 2 { 1 } else { 2 };
            expected[at].push(text);
        }
        let mut found = vec![Vec::new(); 3];
        for (outlet, body) in trial.send_bytes(body) {
            found[outlet.unwrap()].extend(spans(&body).into_iter().map(|(text, _)| text));
        }
        prop_assert_eq!(found, expected);
    }
}
