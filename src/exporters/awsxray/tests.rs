//! Spans in, documents out: the cases that users meet.

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

use super::{pieces::LeftOut, send::requests, *};
use crate::otlp::wild::{self, OneOfs};

mod kept;
mod pieces;
mod secrets;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const TRACE: u128 = 0x68f0_a1b2_c3d4_e5f6_0718_293a_4b5c_6d7e;

/// Attributes of a JSON object.
fn attributes(of: &Value) -> Vec<KeyValue> {
    let value = |value: &Value| AnyValue { value: Some(any_value(value)) };
    let one = |(key, own): (&String, &Value)| KeyValue {
        key: key.clone(),
        value: Some(value(own)),
        ..KeyValue::default()
    };
    of.as_object().unwrap().iter().map(one).collect()
}

fn any_value(value: &Value) -> any_value::Value {
    match value {
        Value::Bool(truth) => any_value::Value::BoolValue(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(int) => any_value::Value::IntValue(int),
            None => any_value::Value::DoubleValue(number.as_f64().unwrap()),
        },
        Value::String(text) => any_value::Value::StringValue(text.clone()),
        Value::Array(all) => any_value::Value::ArrayValue(ArrayValue {
            values: all.iter().map(|one| AnyValue { value: Some(any_value(one)) }).collect(),
        }),
        _ => panic!("no such attribute"),
    }
}

fn span(kind: i32, parent: bool, of: &Value) -> Span {
    Span {
        trace_id: TRACE.to_be_bytes().to_vec(),
        span_id: vec![0x11; 8],
        parent_span_id: if parent { vec![0x22; 8] } else { Vec::new() },
        name: "op".to_owned(),
        kind,
        start_time_unix_nano: 1_760_600_498_250_000_000,
        end_time_unix_nano: 1_760_600_498_500_000_000,
        attributes: attributes(of),
        ..Span::default()
    }
}

/// All documents of a payload, as if there were room for all of them in one piece.
fn translate(payload: &Content, settings: &Settings) -> (Vec<Bytes>, LeftOut) {
    let piece = super::pieces::next(&Work::all(payload), settings);
    assert_eq!(piece.next, None);
    (piece.encoded.documents, piece.encoded.left_out)
}

fn payload(resource: &Value, spans: Vec<Span>) -> Content {
    let items = spans.len() as u64;
    let mut own = attributes(&json!({"service.name": "backend-flask"}));
    own.extend(attributes(resource));
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: own, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    Content::new(Signal::Traces, request.encode_to_vec().into(), items)
}

/// The same as if its spans had been segments.
fn native_payload(payload: &Content) -> Content {
    let mut request = ExportTraceServiceRequest::decode(&payload.body[0][..]).unwrap();
    let scope =
        InstrumentationScope { name: native::SCOPE.to_owned(), ..InstrumentationScope::default() };
    request.resource_spans[0].scope_spans[0].scope = Some(scope);
    Content::new(Signal::Traces, request.encode_to_vec().into(), payload.items)
}

fn native_text(payload: &Content) -> String {
    let (documents, _) = translate(&native_payload(payload), &Settings::default());
    documents.iter().map(|one| String::from_utf8_lossy(one).into_owned()).collect()
}

fn all(settings: &Settings, resource: &Value, span: Span) -> Vec<Value> {
    let (documents, left_out) = translate(&payload(resource, vec![span]), settings);
    assert_eq!(left_out, LeftOut::default());
    documents.iter().map(|one| serde_json::from_slice(one).unwrap()).collect()
}

fn one_of(resource: &Value, span: Span) -> Value {
    let mut all = all(&Settings::default(), resource, span);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn one(span: Span) -> Value {
    one_of(&json!({}), span)
}

/// Every member of `expected` is there; null: it is not.
fn assert_has(document: &Value, expected: &Value) {
    for (path, expected) in expected.as_object().unwrap() {
        let found = path.split(" > ").fold(document, |at, key| match key.parse::<usize>() {
            Ok(index) if at.is_array() => &at[index],
            _ => &at[key],
        });
        assert_eq!(found, expected, "{path} of {document:#}");
    }
}

#[test]
fn a_server_span_is_a_segment() {
    let document = one(span(
        SERVER,
        false,
        &json!({"http.method": "GET", "http.scheme": "http", "http.host": "api.example.test:4567",
                "http.target": "/api/activities/home", "http.status_code": 200,
                "http.user_agent": "curl/8", "net.peer.ip": "10.0.0.9"}),
    ));
    assert_has(
        &document,
        &json!({
            "trace_id": "1-68f0a1b2-c3d4e5f60718293a4b5c6d7e", "id": "1111111111111111", "name": "backend-flask",
            "start_time": 1_760_600_498.25, "end_time": 1_760_600_498.5,
            "http > request > url": "http://api.example.test:4567/api/activities/home",
            "http > request > client_ip": "10.0.0.9", "http > request > x_forwarded_for": null,
            "http > request > user_agent": "curl/8",
            "http > response > status": 200, "http > response > content_length": 0,
            "error": false, "fault": false, "throttle": false,
            "type": null, "namespace": null, "parent_id": null,
            "metadata > default": {"otel.resource.service.name": "backend-flask", "otel.span.name": "op"},
            "aws > xray > auto_instrumentation": false,
        }),
    );
}

#[test]
fn new_conventions_say_the_same() {
    let new = json!({"http.request.method": "GET", "url.scheme": "https", "server.address": "shop.example.test",
        "server.port": 443, "url.path": "/cart", "url.query": "id=7", "http.response.status_code": 200,
        "client.address": "203.0.113.5", "user_agent.original": "x"});
    assert_has(
        &one(span(SERVER, false, &new)),
        &json!({"http > request": {"method": "GET", "url": "https://shop.example.test/cart?id=7", "user_agent": "x",
                "client_ip": "203.0.113.5", "x_forwarded_for": true}}),
    );
    let mut behind = new.clone();
    behind["server.port"] = json!("8443");
    behind["network.peer.address"] = json!("10.1.1.1");
    assert_has(
        &one(span(SERVER, false, &behind)),
        &json!({"http > request > url": "https://shop.example.test:8443/cart?id=7",
                "http > request > client_ip": "203.0.113.5", "http > request > x_forwarded_for": null}),
    );
    let mut named = new;
    named["client.address"] = json!("proxy-host");
    assert_has(
        &one(span(SERVER, false, &named)),
        &json!({"http > request > client_ip": null, "http > request > x_forwarded_for": null,
                "metadata > default > client.address": "proxy-host"}),
    );
}

#[test]
fn calls_are_subsegments() {
    let call = |of: Value| one(span(CLIENT, true, &of));
    assert_has(
        &call(json!({"http.request.method": "GET", "url.full": "https://ext.example.test/v1?x=1",
            "server.address": "ext.example.test", "http.response.status_code": 404})),
        &json!({"type": "subsegment", "namespace": "remote", "parent_id": "2222222222222222", "name": "ext.example.test",
            "http > request > url": "https://ext.example.test/v1?x=1", "error": true, "fault": false,
            "metadata": {"default": {"otel.span.name": "op"}}}),
    );
    assert_has(
        &call(
            json!({"http.method": "GET", "net.peer.name": "10.0.0.3", "net.peer.port": 8080, "http.target": "/ping"}),
        ),
        &json!({"name": "10.0.0.3", "http > request > url": "http://10.0.0.3:8080/ping"}),
    );
    assert_has(
        &call(
            json!({"db.system": "postgresql", "db.name": "shop", "db.statement": "SELECT 1", "db.user": "app"}),
        ),
        &json!({"name": "shop", "sql": {"url": "op", "database_type": "postgresql",
            "sanitized_query": "SELECT 1", "user": "app"}, "metadata > default": {"db.name": "shop"}}),
    );
    assert_has(
        &call(
            json!({"db.system.name": "mysql", "db.namespace": "shop", "db.query.text": "SELECT 2"}),
        ),
        &json!({"name": "shop", "sql > sanitized_query": "SELECT 2",
            "metadata > default": {"db.namespace": "shop"}}),
    );
    assert_has(
        &call(json!({"db.system": "redis", "db.statement": "GET a"})),
        &json!({"sql": null, "name": "op", "metadata > default": {"db.system": "redis", "db.statement": "GET a"}}),
    );
    assert_has(
        &call(json!({"rpc.system": "aws-api", "rpc.service": "DynamoDB", "rpc.method": "PutItem",
            "aws.dynamodb.table_names": ["messages"], "aws.region": "ca-central-1", "aws.requestId": "R1"})),
        &json!({"name": "DynamoDB", "namespace": "aws", "aws > operation": "PutItem", "aws > table_name": "messages",
            "aws > region": "ca-central-1", "aws > request_id": "R1"}),
    );
    assert_has(
        &call(
            json!({"rpc.system": "aws-api", "rpc.service": "SQS", "aws.queue_url": "https://q/old", "messaging.url": "https://q/new"}),
        ),
        &json!({"aws > queue_url": "https://q/new", "metadata > default > messaging.url": "https://q/new"}),
    );
    assert_has(
        &call(json!({"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "Add"})),
        &json!({"name": "shop.Cart", "namespace": "remote", "aws > operation": null, "metadata > default > rpc.method": "Add"}),
    );
    assert_has(
        &one(span(
            4,
            true,
            &json!({"messaging.system": "kafka", "messaging.destination.name": "orders"}),
        )),
        &json!({"type": "subsegment", "namespace": "remote", "name": "orders"}),
    );
    assert_has(&one(span(5, true, &json!({}))), &json!({"type": null, "name": "backend-flask"}));
    assert_has(
        &one(span(1, true, &json!({}))),
        &json!({"type": "subsegment", "namespace": null, "name": "op"}),
    );
}

#[test]
fn codes_and_status_become_flags() {
    let flags = |of: Value, code: i32| {
        let status = Some(Status { code, message: "late".to_owned() });
        let document = one(Span { status, ..span(SERVER, false, &of) });
        let flag = |key: &str| document[key].as_bool().unwrap();
        (flag("error"), flag("fault"), flag("throttle"), document["cause"].is_null())
    };
    assert_eq!(flags(json!({"http.response.status_code": 429}), 0), (true, false, true, true));
    assert_eq!(flags(json!({"http.status_code": 503}), 0), (false, true, false, true));
    assert_eq!(flags(json!({"http.status_code": 404}), 2), (true, false, false, false));
    assert_eq!(flags(json!({"http.status_code": 200}), 2), (false, true, false, false));
    assert_eq!(flags(json!({}), 1), (false, false, false, true));
    let document = one(Span {
        status: Some(Status { code: 2, message: "boom".to_owned() }),
        ..span(1, true, &json!({}))
    });
    assert_has(
        &document,
        &json!({"fault": true, "cause > exceptions > 0 > message": "boom", "cause > exceptions > 0 > stack": null,
            "cause > exceptions > 0 > remote": null, "cause > exceptions > 0 > type": null}),
    );
    assert_eq!(document["cause"]["exceptions"][0]["id"].as_str().unwrap().len(), 16);
}

fn event(name: &str, of: &Value) -> span::Event {
    span::Event {
        name: name.to_owned(),
        time_unix_nano: 1_760_600_498_300_000_000,
        attributes: attributes(of),
        ..span::Event::default()
    }
}

#[test]
fn exceptions_are_causes() {
    let trace = "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in f\n    d['k']\nKeyError: 'k'\n\n\
        During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  \
        File \"/app/a.py\", line 5, in f\n    raise RuntimeError(\"wrapped\")\nRuntimeError: wrapped\n";
    let thrown = event(
        "exception",
        &json!({"exception.type": "RuntimeError", "exception.message": "wrapped", "exception.stacktrace": trace}),
    );
    let document = one_of(
        &json!({"telemetry.sdk.language": "python"}),
        Span { events: vec![thrown], ..span(SERVER, false, &json!({})) },
    );
    let exceptions = document["cause"]["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 2);
    assert_eq!(exceptions[0]["cause"], exceptions[1]["id"]);
    assert_has(
        &document,
        &json!({"fault": false, "cause > exceptions > 0 > type": "RuntimeError",
            "cause > exceptions > 0 > stack": [{"path": "/app/a.py", "line": 5, "label": "f"}],
            "cause > exceptions > 1 > type": "KeyError", "cause > exceptions > 1 > message": "'k'",
            "cause > exceptions > 1 > stack > 0 > line": 3, "cause > exceptions > 1 > cause": null}),
    );
    let failed = event(
        "HTTP request failure",
        &json!({"http.response.status_code": 503, "aws.http.error_message": "slow"}),
    );
    assert_has(
        &one(Span {
            events: vec![failed],
            ..span(CLIENT, true, &json!({"rpc.system": "aws-api"}))
        }),
        &json!({"cause > exceptions > 0 > type": "aws.http.error.event", "cause > exceptions > 0 > remote": true,
            "cause > exceptions > 0 > message": "503@1760600498.300000@slow"}),
    );
}

#[test]
fn what_is_asked_for_is_indexed() {
    let indexed = |keys: &[&str], all| {
        let mut settings = Settings { index_all_attributes: all, ..Settings::default() };
        settings.index(keys.iter().copied());
        settings
    };
    let settings =
        indexed(&["user.handle", "otel.resource.deployment.environment", "http.method"], false);
    let own = json!({"user.handle": "andrew", "plan": "free", "http.method": "GET", "a b": 1,
        "aws.xray.annotations": ["a b"], "user.id": "u1"});
    let resource = json!({"deployment.environment": "prod"});
    assert_has(
        &all(&settings, &resource, span(SERVER, false, &own))[0],
        &json!({"annotations": {"user.handle": "andrew", "otel.resource.deployment.environment": "prod",
                "http.method": "GET", "a_b": 1},
            "metadata > default": {"otel.resource.service.name": "backend-flask", "plan": "free", "otel.span.name": "op"},
            "http > request > method": "GET", "user": "u1"}),
    );
    let document = &all(
        &indexed(&[], true),
        &json!({}),
        span(SERVER, false, &json!({"n": 3, "tags": ["a"], "user.id": "u1"})),
    )[0];
    assert_has(
        document,
        &json!({"annotations": {"n": 3, "otel.resource.service.name": "backend-flask", "user.id": "u1"}, "user": "u1",
            "metadata > default": {"tags": ["a"], "otel.span.name": "op"}}),
    );
    let many = (0..80).map(|i| (format!("k{i}"), json!(i))).collect::<serde_json::Map<_, _>>();
    let document =
        &all(&indexed(&["k79"], true), &json!({}), span(1, true, &Value::Object(many)))[0];
    assert_eq!(document["annotations"].as_object().unwrap().len(), 50);
    assert_eq!(
        (
            &document["annotations"]["k79"],
            document["metadata"]["default"].as_object().unwrap().len()
        ),
        (&json!(79), 30)
    );
}

#[test]
fn metadata_has_namespaces() {
    let own = json!({"aws.xray.metadata.app": "{\"plan\": {\"free\": true}}", "aws.xray.metadata.Default": "{\"x\": 1}",
        "aws.xray.metadata.bad": "{", "y": 2.5});
    assert_has(
        &one(span(1, true, &own)),
        &json!({"metadata": {"default": {"y": 2.5, "x": 1, "aws.xray.metadata.bad": "{"}, "app": {"plan": {"free": true}}}}),
    );
}

#[test]
fn the_resource_says_where_it_ran() {
    let arn = "arn:aws:logs:ca-central-1:111122223333:log-group:cruddur:*";
    let other = "arn:aws:logs:ca-central-1:111122223333:log-group:/ecs/web";
    let resource = json!({"cloud.provider": "aws", "cloud.platform": "aws_ecs", "aws.ecs.launchtype": "FARGATE",
        "container.name": "web", "aws.ecs.task.family": "fam", "cloud.account.id": "111122223333",
        "aws.log.group.arns": format!("{arn}&{other}"), "service.version": "1.2",
        "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "python", "telemetry.auto.version": "0.5"});
    assert_has(
        &one_of(&resource, span(SERVER, false, &json!({}))),
        &json!({"origin": "AWS::ECS::Fargate", "service > version": "1.2", "aws > account_id": "111122223333",
            "aws > ecs": {"container": "web", "task_family": "fam", "launch_type": "FARGATE"},
            "aws > cloudwatch_logs": [{"log_group": "cruddur", "arn": arn}, {"log_group": "/ecs/web", "arn": other}],
            "aws > xray": {"sdk": "opentelemetry for python", "auto_instrumentation": true}}),
    );
    let of_sdk = json!({"telemetry.sdk.name": "X-Ray for Node.js", "telemetry.sdk.language": "nodejs",
        "aws.xray.sampling_rule": "api"});
    assert_has(
        &one_of(
            &of_sdk,
            span(SERVER, false, &json!({"http.url": "u", "http.response_content_length": "12"})),
        ),
        &json!({"aws > xray > sdk": "X-Ray for Node.js", "aws > xray > sampling_rule_name": "api",
            "http > response > content_length": 12}),
    );
    let elsewhere = json!({"cloud.provider": "gcp", "host.id": "h"});
    assert_has(
        &one_of(&elsewhere, span(CLIENT, true, &json!({"aws.region": "r"}))),
        &json!({"aws": null, "origin": null, "metadata > default > aws.region": "r"}),
    );
    let log_groups = ["mine", "/app/{ServiceName:-none}", "/{resource.replica}"];
    let log_groups = log_groups.map(|name| log_group(name).unwrap()).to_vec();
    let settings = Settings { log_groups, ..Settings::default() };
    let of = |resource| all(&settings, &resource, span(SERVER, false, &json!({}))).remove(0);
    assert_has(
        &of(json!({"host.id": "i-1", "replica": 2})),
        &json!({"aws > ec2": {"instance_id": "i-1"}, "aws > cloudwatch_logs":
            [{"log_group": "mine"}, {"log_group": "/app/backend-flask"}, {"log_group": "/2"}]}),
    );
    assert_has(
        &of(json!({"aws.log.group.names": "/ecs/shop"})),
        &json!({"aws > cloudwatch_logs": [{"log_group": "/ecs/shop"}]}),
    );
}

#[test]
fn local_roots_are_split() {
    let own = json!({"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "web", "x": 1});
    let document = one(span(1, true, &own));
    assert_has(&document, &json!({"name": "web", "type": null, "parent_id": "2222222222222222"}));
    let own = json!({"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "web", "aws.remote.service": "AWS::SQS",
        "http.method": "GET", "x": 1});
    let both = all(&Settings::default(), &json!({}), span(CLIENT, true, &own));
    assert_has(
        &both[0],
        &json!({"id": "1111111111111111", "type": "subsegment", "namespace": "remote", "name": "SQS",
            "http > request > method": "GET", "metadata > default > x": 1}),
    );
    assert_eq!(both[0]["parent_id"], both[1]["id"]);
    assert_has(
        &both[1],
        &json!({"name": "web", "parent_id": "2222222222222222", "type": null, "namespace": null, "http": null,
            "metadata": {"default": {"otel.resource.service.name": "backend-flask"}}}),
    );
}

#[test]
fn links_in_progress_and_odd_ids() {
    let link = |trace: Vec<u8>| span::Link {
        trace_id: trace,
        span_id: vec![0xAA; 8],
        attributes: attributes(&json!({"k": "v"})),
        ..span::Link::default()
    };
    let links = vec![link(TRACE.to_be_bytes().to_vec()), link(vec![1])];
    let own = json!({"aws.xray.inprogress": true});
    let document = one(Span { links, ..span(1, true, &own) });
    assert_has(
        &document,
        &json!({"links": [{"trace_id": "1-68f0a1b2-c3d4e5f60718293a4b5c6d7e", "id": "aaaaaaaaaaaaaaaa", "attributes": {"k": "v"}}],
            "in_progress": true, "end_time": null}),
    );
    let bad = Span { trace_id: vec![0; 16], ..span(1, true, &json!({})) };
    let short = Span { span_id: vec![1], ..span(1, true, &json!({})) };
    let (documents, left_out) = translate(
        &payload(&json!({}), vec![bad, short, span(1, true, &json!({}))]),
        &Settings::default(),
    );
    assert_eq!((documents.len(), left_out), (1, LeftOut([1, 1, 0])));
}

#[test]
fn large_documents_are_trimmed_in_order() {
    let value = "v".repeat(40_000);
    let own = json!({"a": value, "b": value, "small": 1});
    let document = one(span(1, true, &own));
    assert_has(&document, &json!({"metadata > default": {"small": 1}}));
    let frames = "    at f (/app/a.js:1:1)\n".repeat(3000);
    let thrown = event(
        "exception",
        &json!({"exception.type": "E", "exception.stacktrace": format!("E\n{frames}")}),
    );
    let document = one_of(
        &json!({"telemetry.sdk.language": "nodejs"}),
        Span { events: vec![thrown], ..span(1, true, &json!({"small": 1})) },
    );
    assert_has(
        &document,
        &json!({"cause > exceptions > 0 > truncated": 2990, "metadata > default > small": 1}),
    );
    let own = json!({"db.system": "mysql", "db.statement": "s".repeat(70_000), "small": 1});
    assert_has(
        &one(span(CLIENT, true, &own)),
        &json!({"sql > sanitized_query": null, "metadata > default > small": 1}),
    );
    let own = json!({"http.url": "u".repeat(70_000)});
    let (documents, left_out) =
        translate(&payload(&json!({}), vec![span(CLIENT, true, &own)]), &Settings::default());
    assert_eq!((documents.len(), left_out), (0, LeftOut([0, 0, 1])));
}

#[test]
fn other_events_are_metadata() {
    let events = vec![
        event("cache.miss", &json!({"key": "a"})),
        event("exception", &json!({})),
        event("retry", &json!({})),
    ];
    let document = one(Span { events, ..span(SERVER, false, &json!({})) });
    assert_has(
        &document,
        &json!({"metadata > default > otel.events": [
            {"name": "cache.miss", "time": 1_760_600_498.3, "attributes": {"key": "a"}},
            {"name": "retry", "time": 1_760_600_498.3}],
            "metadata > default > otel.events.left_out": null}),
    );
    assert_eq!(document["cause"]["exceptions"].as_array().unwrap().len(), 1);
    // An attempt of an AWS SDK without what makes it a cause is an event.
    let failed = event("HTTP request failure", &json!({"x": 1}));
    let document =
        one(Span { events: vec![failed], ..span(CLIENT, true, &json!({"rpc.system": "aws-api"})) });
    assert_has(&document, &json!({"metadata > default > otel.events > 0 > attributes": {"x": 1}}));
    let large = vec![event("e", &json!({"k": "v".repeat(3000)})); 20];
    let of = Span { events: large.clone(), ..span(SERVER, false, &json!({})) };
    assert_has(
        &one(of),
        &json!({"metadata > default > otel.events > 4 > name": "e", "metadata > default > otel.events > 5": null,
            "metadata > default > otel.events.left_out": 15}),
    );
    let own = json!({"small": 1, "s": "v".repeat(60_000)});
    let document = one(Span { events: large, ..span(1, true, &own) });
    assert_has(
        &document,
        &json!({"metadata > default > otel.events": null, "metadata > default > small": 1}),
    );
    assert_eq!(
        document["metadata"]["default"]["s"].as_str().unwrap().len(),
        60_000,
        "events go first"
    );
}

/// E23, E35 and E39 of the cases that the reference gives.
#[test]
fn causes_names_and_launch_types() {
    let trace = "java.lang.IllegalStateException: state\n\tat a//com.ex.A.run(A.java:10)\n\tat com.ex.Main.main(Main.java)\n\
        Caused by: java.io.IOException: disk\nfull\n\tat com.ex.B.read(B.java:77)\n\t... 2 more\n";
    let thrown = event(
        "exception",
        &json!({"exception.type": "java.lang.IllegalStateException", "exception.message": "state", "exception.stacktrace": trace}),
    );
    let document = one_of(
        &json!({"telemetry.sdk.language": "java"}),
        Span { events: vec![thrown], ..span(CLIENT, true, &json!({})) },
    );
    assert_has(
        &document,
        &json!({"cause > exceptions > 0 > remote": true, "cause > exceptions > 0 > stack": [
                {"path": "A.java", "line": 10, "label": "com.ex.A.run"}, {"path": "Main.java", "line": 0, "label": "com.ex.Main.main"}],
            "cause > exceptions > 1 > type": "java.io.IOException", "cause > exceptions > 1 > message": "disk\nfull",
            "cause > exceptions > 1 > stack": [{"path": "B.java", "line": 77, "label": "com.ex.B.read"}]}),
    );
    let exceptions = &document["cause"]["exceptions"];
    assert_eq!(exceptions[0]["cause"], exceptions[1]["id"]);
    let named = Span { name: "GET /a,b?x=\u{1F600}|z".to_owned(), ..span(1, true, &json!({})) };
    assert_has(&one(named), &json!({"name": "GET /abx=z"}));
    for (launch, origin) in
        [("fargate", "AWS::ECS::Fargate"), ("EC2", "AWS::ECS::EC2"), ("", "AWS::ECS::Container")]
    {
        let resource = json!({"cloud.provider": "aws", "cloud.platform": "aws_ecs", "aws.ecs.launchtype": launch});
        assert_has(&one_of(&resource, span(SERVER, false, &json!({}))), &json!({"origin": origin}));
    }
}

#[test]
fn requests_have_fifty_documents_and_a_megabyte() {
    let counts =
        |documents: Vec<Bytes>| requests(&documents).iter().map(|r| r.len()).collect::<Vec<_>>();
    assert_eq!(counts(vec![Bytes::from_static(b"{}"); 120]), [50, 50, 20]);
    assert_eq!(counts(vec![Bytes::from(vec![0; 60_000]); 30]), [15, 15]);
    assert!(counts(Vec::new()).is_empty());
}

proptest! {
    /// Whatever a request says, each span has valid documents or a reason, and the same ones each
    /// time.
    #[test]
    fn any_request_is_translated(seed: u64) {
        let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
        let items = crate::otlp::split::count_items(Signal::Traces, &request);
        let payload = Content::new(Signal::Traces, request.into(), items);
        let settings = Settings { index_all_attributes: seed % 2 == 0, ..Settings::default() };
        let (documents, left_out) = translate(&payload, &settings);
        prop_assert!(documents.len() as u64 + left_out.count() >= items);
        for document in &documents {
            prop_assert!(document.len() <= 64 << 10);
            let read: Value = serde_json::from_slice(document).unwrap();
            prop_assert!(read["name"].as_str().is_some_and(|name| !name.is_empty()));
            prop_assert!(read["end_time"].as_f64() >= read["start_time"].as_f64() || read["in_progress"] == json!(true));
        }
        prop_assert_eq!(translate(&payload, &settings), (documents, left_out));
    }
}
