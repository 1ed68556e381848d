use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::{Refused, Translated, datagram, document};
use crate::otlp::{
    Signal,
    check::{self, Utf8},
};

type Attributes = BTreeMap<String, String>;

/// Attributes with their values in words: `5`, `1.5`, `true`, `"x"`, `["a", "b"]`.
fn words(attributes: &[KeyValue]) -> Attributes {
    fn word(value: Option<&Value>) -> String {
        match value {
            Some(Value::StringValue(text)) => format!("{text:?}"),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::DoubleValue(number)) => format!("{number:?}"),
            Some(Value::ArrayValue(list)) => {
                let all: Vec<_> = list.values.iter().map(|v| word(v.value.as_ref())).collect();
                format!("[{}]", all.join(", "))
            }
            other => panic!("{other:?}"),
        }
    }
    let pair = |one: &KeyValue| {
        (one.key.clone(), word(one.value.as_ref().and_then(|value| value.value.as_ref())))
    };
    let all: Attributes = attributes.iter().map(pair).collect();
    assert_eq!(all.len(), attributes.len(), "attributes are unique: {attributes:?}");
    all
}

/// What a document becomes: the resource, the spans, and what was noted.
fn read(text: impl AsRef<[u8]>) -> (Attributes, Vec<Span>, Translated) {
    let mut body = Vec::new();
    let noted = document(text.as_ref(), &mut body).unwrap();
    let checked = check::check(Signal::Traces, &body, Utf8::Strict).unwrap();
    assert_eq!(checked.items, noted.spans);
    let mut request = ExportTraceServiceRequest::decode(&*body).unwrap();
    let entry = request.resource_spans.remove(0);
    let resource = words(&entry.resource.unwrap().attributes);
    (resource, entry.scope_spans.into_iter().flat_map(|scope| scope.spans).collect(), noted)
}

const BASE: &str = r#""name":"backend-flask","id":"1111111111111111","trace_id":"1-68f0a1b2-c3d4e5f60718293a4b5c6d7e","start_time":1760600498.25,"end_time":1760600498.5"#;

/// The one span of a segment with more fields.
fn one(more: &str) -> (Attributes, Span, Translated) {
    let (resource, mut spans, noted) = read(format!("{{{BASE},{more}}}"));
    assert_eq!(spans.len(), 1);
    (resource, spans.remove(0), noted)
}

/// Checks some attributes of the one span of a segment with more fields.
fn has(more: &str, expected: &[(&str, &str)]) {
    let (_, span, noted) = one(more);
    contains(&words(&span.attributes), expected);
    assert_eq!(noted.repairs, 0, "{more}");
}

fn contains(attributes: &Attributes, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(attributes.get(*key).map(String::as_str), Some(*value), "{key} {attributes:#?}");
    }
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

/// R01.
#[test]
fn a_minimal_segment_is_a_server_span() {
    let framed = format!("{{\"format\":\"json\",\"version\":1}}\n{{{BASE}}}");
    let mut body = Vec::new();
    datagram(framed.as_bytes(), &mut body).unwrap();
    let (resource, spans, noted) = read(format!("{{{BASE}}}"));
    assert_eq!(noted, Translated { spans: 1, ..Translated::default() });
    assert_eq!(resource.len(), 2);
    contains(
        &resource,
        &[("service.name", "\"backend-flask\""), ("cloud.provider", "\"unknown\"")],
    );
    let span = &spans[0];
    assert_eq!(span.trace_id, 0x68f0_a1b2_c3d4_e5f6_0718_293a_4b5c_6d7e_u128.to_be_bytes());
    assert_eq!(span.span_id, [0x11; 8]);
    assert!(span.parent_span_id.is_empty() && span.attributes.is_empty() && span.status.is_none());
    assert_eq!((span.name.as_str(), span.kind()), ("backend-flask", SpanKind::Server));
    assert_eq!(span.start_time_unix_nano, 1_760_600_498_250_000_000);
    assert_eq!(span.end_time_unix_nano, 1_760_600_498_500_000_000);
}

/// R03.
#[test]
fn what_is_wrong_is_mended_or_left_out_and_the_rest_is_kept() {
    for wrong in [
        r#""annotations":null"#,
        r#""annotations":[1],"metadata":"x","http":7"#,
        r#""metadata":{"ns":{"k":NaN}}"#,
        r#""user":"a\ud800b""#,
        r#""aws":[],"sql":"","links":{},"cause":5,"subsegments":"none""#,
        r#""http":{"request":[],"response":{"status":"many","content_length":{}}}"#,
        r#""in_progress":"maybe","fault":3,"namespace":{},"parent_id":"short""#,
        r#""aws":{"table_names":[1,"t"],"cloudwatch_logs":[3],"ecs":1,"retries":"x"}"#,
        r#""links":[1,{"trace_id":"x","id":"1"}],"subsegments":[7]"#,
        r#""cause":{"exceptions":[1,{"stack":[1,{"line":[]}]}]}"#,
        r#""end_time":-5"#,
    ] {
        let (_, span, noted) = one(&format!("{wrong},\"annotations\":{{\"kept\":\"yes\"}}"));
        contains(&words(&span.attributes), &[("kept", "\"yes\"")]);
        assert!(noted.repairs + noted.skipped > 0, "{wrong}: {noted:?}");
    }
    let (_, span, _) = one(r#""metadata":{"ns":{"k":NaN,"l":[Infinity,1]}},"user":"a\ud800b""#);
    contains(
        &words(&span.attributes),
        &[
            ("aws.xray.metadata.ns", r#""{\"k\":null,\"l\":[null,1]}""#),
            ("enduser.id", "\"a\u{fffd}b\""),
        ],
    );
    // Bytes that are not UTF-8, and a document that ends too early.
    let (_, spans, noted) = read([b"{\"user\":\"\xff\",".as_slice(), BASE.as_bytes()].concat());
    contains(&words(&spans[0].attributes), &[("enduser.id", "\"\u{fffd}\"")]);
    assert!(noted.repairs >= 2, "{noted:?}");
}

/// R05.
#[test]
fn a_document_that_cannot_be_a_span_is_refused() {
    for field in ["name", "id", "trace_id", "start_time"] {
        let mut all: serde_json::Value = serde_json::from_str(&format!("{{{BASE}}}")).unwrap();
        for wrong in [json!(null), json!(""), json!([]), json!("1-2")] {
            if field == "name" && wrong == "1-2" {
                continue;
            }
            all[field] = wrong;
            let mut body = Vec::new();
            let refused = document(all.to_string().as_bytes(), &mut body);
            assert_eq!(refused, Err(Refused::Missing(field)));
            assert!(body.is_empty());
        }
    }
    assert_eq!(document(b"[]", &mut Vec::new()), Err(Refused::NoObject));
}

/// R07.
#[test]
fn a_subsegment_that_was_sent_alone_is_no_server() {
    let parent = r#""type":"subsegment","parent_id":"2222222222222222""#;
    for (namespace, kind) in [
        (r#","namespace":"remote""#, SpanKind::Client),
        (r#","namespace":"aws""#, SpanKind::Client),
        (r#","namespace":"local""#, SpanKind::Internal),
        (r#","namespace":"mine""#, SpanKind::Internal),
        ("", SpanKind::Internal),
        (r#","http":{"request":{"client_ip":"10.0.0.1"}}"#, SpanKind::Server),
    ] {
        let (_, span, _) = one(&format!("{parent}{namespace}"));
        assert_eq!(span.kind(), kind, "{namespace}");
        assert_eq!(span.parent_span_id, [0x22; 8]);
    }
    let (_, span, _) = one(r#""parent_id":"2222222222222222","namespace":"remote""#);
    assert_eq!(span.kind(), SpanKind::Server, "a segment with a caller");
    let more = format!("{parent},\"namespace\":\"aws\"");
    has(&more, &[("aws.service", "\"backend-flask\""), ("aws.xray.namespace", "\"aws\"")]);
}

/// R09, and what else makes a resource.
#[test]
fn the_resource_is_where_the_segment_was_made() {
    let (resource, span, noted) = one(
        r#""origin":"AWS::ECS::Fargate","resource_arn":"arn:x","service":{"version":"7","runtime":"CPython","runtime_version":"3.12.1","compiler":"gcc"},
        "aws":{"account_id":"111122223333","cloudwatch_logs":[{"log_group":"cruddur","arn":"arn:1"},{"log_group":"/ecs/web","arn":"arn:2"}],
        "ec2":{"instance_id":"i-1","instance_size":"t3.micro","ami_id":"ami-1","availability_zone":"ca-central-1a"},
        "ecs":{"container":"web","container_id":"c1","task_arn":"arn:t","availability_zone":"other"},
        "eks":{"cluster_name":"k","pod":"p"},
        "elastic_beanstalk":{"environment_name":"env","version_label":"8","deployment_id":32},
        "xray":{"sdk":"X-Ray for Python","sdk_version":"2.14.0","sampling_rule_name":"api","auto_instrumentation":false}}"#,
    );
    contains(
        &resource,
        &[
            ("cloud.provider", "\"aws\""),
            ("cloud.account.id", "\"111122223333\""),
            ("aws.log.group.names", r#"["cruddur", "/ecs/web"]"#),
            ("aws.log.group.arns", r#"["arn:1", "arn:2"]"#),
            ("host.id", "\"i-1\""),
            ("host.type", "\"t3.micro\""),
            ("host.image.id", "\"ami-1\""),
            ("cloud.availability_zone", "\"ca-central-1a\""),
            ("aws.xray.document.aws.ecs.availability_zone", "\"other\""),
            ("container.name", "\"web\""),
            ("container.id", "\"c1\""),
            ("aws.ecs.task.arn", "\"arn:t\""),
            ("k8s.cluster.name", "\"k\""),
            ("k8s.pod.name", "\"p\""),
            ("service.namespace", "\"env\""),
            ("service.version", "\"7\""),
            ("aws.xray.document.aws.elastic_beanstalk.version_label", "\"8\""),
            ("service.instance.id", "\"32\""),
            ("telemetry.sdk.name", "\"X-Ray for Python\""),
            ("telemetry.sdk.version", "\"2.14.0\""),
            ("telemetry.sdk.language", "\"python\""),
            ("aws.xray.sampling_rule", "\"api\""),
            ("aws.xray.document.aws.xray.auto_instrumentation", "false"),
            ("aws.xray.origin", "\"AWS::ECS::Fargate\""),
            ("aws.xray.resource_arn", "\"arn:x\""),
            ("process.runtime.name", "\"CPython\""),
            ("process.runtime.version", "\"3.12.1\""),
            ("aws.xray.document.service.compiler", "\"gcc\""),
        ],
    );
    assert!(span.attributes.is_empty(), "{:?}", span.attributes);
    assert_eq!(noted.repairs, 0);
}

/// R11.
#[test]
fn annotations_keep_their_types() {
    has(
        r#""annotations":{"a":"x","n":5,"f":1.5,"b":true,"big":12345678901234567890}"#,
        &[
            ("a", "\"x\""),
            ("n", "5"),
            ("f", "1.5"),
            ("b", "true"),
            ("big", "1.2345678901234567e19"),
            ("aws.xray.annotations", r#"["a", "n", "f", "b", "big"]"#),
        ],
    );
    // The user's word counts where we would have the same name.
    has(
        r#""http":{"request":{"method":"GET"}},"annotations":{"http.method":"mine"}"#,
        &[("http.method", "\"mine\"")],
    );
}

#[test]
fn http_becomes_attributes_and_the_status() {
    let http = r#""http":{"request":{"method":"GET","url":"http://h/p?q","user_agent":"curl","client_ip":"10.0.0.9","x_forwarded_for":true,"traced":true},"response":{"status":200,"content_length":"12","type":"text"}}"#;
    has(
        http,
        &[
            ("http.method", "\"GET\""),
            ("http.url", "\"http://h/p?q\""),
            ("http.user_agent", "\"curl\""),
            ("http.client_ip", "\"10.0.0.9\""),
            ("aws.xray.x_forwarded_for", "true"),
            ("aws.xray.traced", "true"),
            ("http.status_code", "200"),
            ("http.response_content_length", "\"12\""),
            ("aws.xray.document.http.response.type", "\"text\""),
        ],
    );
    for (status, is_error) in [
        ("200", false),
        ("399", false),
        ("404", true),
        ("500", true),
        ("\"503\"", true),
        ("99", true),
    ] {
        let more =
            format!("\"http\":{{\"response\":{{\"status\":{status},\"content_length\":5}}}}");
        let (_, span, _) = one(&more);
        assert_eq!(failed(&span), is_error, "{status}");
        contains(&words(&span.attributes), &[("http.response_content_length", "5")]);
    }
    for (flag, is_error) in [("error", true), ("fault", true), ("throttle", false)] {
        let (_, span, _) = one(&format!("\"{flag}\":true"));
        assert_eq!(failed(&span), is_error);
        contains(&words(&span.attributes), &[(&*format!("aws.xray.{flag}"), "true")]);
        assert!(!failed(&one(&format!("\"{flag}\":false")).1));
    }
}

#[test]
fn calls_become_attributes() {
    has(
        r#""type":"subsegment","parent_id":"2222222222222222","namespace":"aws","precursor_ids":["3333333333333333"],
        "aws":{"operation":"PutItem","region":"ca-central-1","account_id":"1","request_id":"R1","queue_url":"q","table_name":"t","table_names":["t","u"],"retries":2,"resource_names":["r"]}"#,
        &[
            ("aws.operation", "\"PutItem\""),
            ("aws.region", "\"ca-central-1\""),
            ("aws.account_id", "\"1\""),
            ("aws.request_id", "\"R1\""),
            ("aws.queue_url", "\"q\""),
            ("aws.table_name", "\"t\""),
            ("aws.dynamodb.table_names", r#"["t", "u"]"#),
            ("aws.xray.retries", "2"),
            ("aws.xray.document.aws.resource_names", r#""[\"r\"]""#),
            ("aws.xray.document.precursor_ids", r#""[\"3333333333333333\"]""#),
        ],
    );
    for (url, server, name) in [
        ("postgresql://db.test:5432/shop?ssl=1", "postgresql://db.test:5432", Some("shop")),
        ("jdbc:mysql://h/shop", "jdbc:mysql://h", Some("shop")),
        ("jdbc:sqlite:/tmp/a.db", "jdbc:sqlite:/tmp/a.db", None),
        ("db.test:5432/shop", "db.test:5432/shop", None),
        ("mysql://h/", "mysql://h/", None),
    ] {
        let (_, span, noted) = one(&format!(
            "\"sql\":{{\"url\":\"{url}\",\"database_type\":\"PostgreSQL\",\"sanitized_query\":\"SELECT ?\",\"user\":\"u\",\"driver_version\":\"1\"}}"
        ));
        let attributes = words(&span.attributes);
        contains(
            &attributes,
            &[
                ("db.connection_string", &*format!("{server:?}")),
                ("db.system", "\"PostgreSQL\""),
                ("db.statement", "\"SELECT ?\""),
                ("db.user", "\"u\""),
                ("aws.xray.document.sql.driver_version", "\"1\""),
            ],
        );
        assert_eq!(attributes.get("db.name").cloned(), name.map(|name| format!("{name:?}")));
        assert_eq!(attributes.contains_key("aws.xray.document.sql.url"), url.contains("ssl"));
        assert_eq!(noted.repairs, 0);
    }
}

/// R13.
#[test]
fn a_cause_elsewhere_is_named() {
    let (_, span, _) = one(r#""cause":"abcdefabcdefabcd""#);
    assert!(failed(&span) && span.events.is_empty());
    assert_eq!(span.status.unwrap().message, "abcdefabcdefabcd");
}

#[test]
fn exceptions_are_events() {
    let (_, span, noted) = one(
        r#""cause":{"working_directory":"/app","paths":["/lib"],"exceptions":[
        {"id":"aaaaaaaaaaaaaaaa","message":"boom","type":"ValueError","remote":false,"truncated":2,"skipped":1,"cause":"bbbbbbbbbbbbbbbb",
         "stack":[{"path":"a.py","line":3,"label":"f"},{"label":"g"},{}]},
        {"message":"no id"}]}"#,
    );
    assert!(failed(&span));
    assert_eq!(noted.repairs, 1, "an id was made");
    assert_eq!(span.events.len(), 2);
    let event = &span.events[0];
    assert_eq!((event.name.as_str(), event.time_unix_nano), ("exception", span.end_time_unix_nano));
    contains(
        &words(&event.attributes),
        &[
            ("aws.xray.exception.id", "\"aaaaaaaaaaaaaaaa\""),
            ("exception.message", "\"boom\""),
            ("exception.type", "\"ValueError\""),
            ("aws.xray.exception.remote", "false"),
            ("aws.xray.exception.truncated", "2"),
            ("aws.xray.exception.skipped", "1"),
            ("aws.xray.exception.cause", "\"bbbbbbbbbbbbbbbb\""),
            (
                "exception.stacktrace",
                r#""ValueError: boom\n\tat f(a.py: 3)\n\tat g(: <unknown>)\n\tat (: <unknown>)""#,
            ),
        ],
    );
    assert_eq!(words(&span.events[1].attributes)["aws.xray.exception.id"].len(), 18);
    contains(
        &words(&span.attributes),
        &[
            ("aws.xray.document.cause.working_directory", "\"/app\""),
            ("aws.xray.document.cause.paths", r#""[\"/lib\"]""#),
        ],
    );
}

/// R15.
#[test]
fn what_is_in_progress_has_no_end() {
    let text = format!("{{{BASE},\"in_progress\":true}}");
    let (_, spans, _) = read(text.replace("\"end_time\":1760600498.5,", ""));
    assert_eq!(spans[0].end_time_unix_nano, 0);
    contains(&words(&spans[0].attributes), &[("aws.xray.inprogress", "true")]);
    has(r#""in_progress":false"#, &[("aws.xray.inprogress", "false")]);
}

#[test]
fn subsegments_are_spans_below() {
    let (_, spans, noted) = read(format!(
        r#"{{{BASE},"subsegments":[
        {{"id":"000000000000000a","name":"a","start_time":1,"end_time":2,"parent_id":"9999999999999999","trace_id":"wrong","type":"subsegment","service":{{"version":"9"}},
          "subsegments":[{{"id":"000000000000000b","name":"b","start_time":1,"in_progress":true}}]}},
        {{"id":"bad","name":"c","start_time":1,"subsegments":[{{"id":"000000000000000d","name":"d","start_time":1}}]}},
        {{"id":"000000000000000e","name":"e","start_time":"1.5","namespace":"remote"}}]}}"#
    ));
    assert_eq!((noted.spans, noted.skipped), (5, 1));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["backend-flask", "a", "b", "d", "e"]);
    let root = [0x11; 8];
    let a = [0, 0, 0, 0, 0, 0, 0, 10];
    let parents: Vec<_> = spans[1..].iter().map(|span| span.parent_span_id.as_slice()).collect();
    assert_eq!(parents, [&root[..], &a, &root, &root]);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
    contains(
        &words(&spans[1].attributes),
        &[("aws.xray.document.service", r#""{\"version\":\"9\"}""#)],
    );
    assert_eq!(spans[4].start_time_unix_nano, 1_500_000_000);
    assert_eq!(spans[4].kind(), SpanKind::Client);
}

#[test]
fn links_are_links() {
    let (_, span, noted) = one(
        r#""links":[{"trace_id":"1-68f0a1b2-c3d4e5f60718293a4b5c6d7e","id":"aaaaaaaaaaaaaaaa","attributes":{"k":"v","l":[1]}},{"trace_id":"1-2-3","id":"aaaaaaaaaaaaaaaa"}]"#,
    );
    assert_eq!((span.links.len(), noted.repairs), (1, 1));
    assert_eq!(span.links[0].trace_id, span.trace_id);
    assert_eq!(span.links[0].span_id, [0xaa; 8]);
    contains(&words(&span.links[0].attributes), &[("k", "\"v\""), ("l", "\"[1]\"")]);
}

prop_compose! {
    fn segment()(
        name in "[a-zA-Z0-9_ ./-]{1,40}",
        id in 1_u64..,
        trace in 1_u128..,
        micros in 0_u64..4_000_000_000_000_000,
        annotations in prop::collection::btree_map("[a-zA-Z0-9_]{1,8}", "[^\u{0}]{0,12}", 0..6),
        metadata in prop::collection::btree_map("[a-z]{1,8}", any::<i64>(), 0..4),
        children in prop::collection::vec(1_u64.., 0..5),
    ) -> (String, u64, u128, u64, BTreeMap<String, String>, BTreeMap<String, i64>, Vec<u64>) {
        (name, id, trace, micros, annotations, metadata, children)
    }
}

proptest! {
    #[test]
    fn any_bytes_are_translated_or_refused(bytes: Vec<u8>, tail in r#"[\[\]{}",:\\a-f0-9 .-]{0,80}"#) {
        for text in [bytes, format!("{{{BASE},\"cause\":{tail}").into_bytes()] {
            let mut body = Vec::new();
            if let Ok(noted) = document(&text, &mut body) {
                let checked = check::check(Signal::Traces, &body, Utf8::Strict).unwrap();
                prop_assert_eq!(checked.items, noted.spans);
            } else {
                prop_assert!(body.is_empty());
            }
        }
    }

    #[test]
    fn what_a_document_says_survives((name, id, trace, micros, annotations, metadata, children) in segment()) {
        let hex = format!("{trace:032x}");
        #[expect(clippy::cast_precision_loss, reason = "as an SDK writes it")]
        let start = micros as f64 / 1e6;
        let text = json!({
            "name": name, "id": format!("{id:016x}"), "trace_id": format!("1-{}-{}", &hex[..8], &hex[8..]),
            "start_time": start, "end_time": start, "annotations": annotations, "metadata": {"ns": metadata},
            "subsegments": children.iter().map(|id| json!({
                "name": "child", "id": format!("{id:016x}"), "start_time": start, "annotations": annotations,
            })).collect::<Vec<_>>(),
        });
        let (_, spans, noted) = read(text.to_string());
        prop_assert_eq!((noted.repairs, noted.skipped), (0, 0));
        prop_assert_eq!(spans.len(), children.len() + 1);
        prop_assert_eq!(&spans[0].name, &name);
        let ids: Vec<_> = spans[1..].iter().map(|span| span.span_id.clone()).collect();
        prop_assert_eq!(ids, children.iter().map(|id| id.to_be_bytes().to_vec()).collect::<Vec<_>>());
        for span in &spans {
            prop_assert_eq!(&span.trace_id, &trace.to_be_bytes());
            prop_assert_eq!(span.start_time_unix_nano, micros * 1000);
            let found = words(&span.attributes);
            for (key, value) in &annotations {
                prop_assert_eq!(&found[key], &format!("{value:?}"));
            }
        }
        let written = words(&spans[0].attributes)["aws.xray.metadata.ns"].clone();
        let written: String = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(serde_json::from_str::<BTreeMap<String, i64>>(&written).unwrap(), metadata);
    }
}

/// What the root says once is not written into each of its many subsegments.
#[test]
fn a_datagram_becomes_no_more_than_some_times_its_size() {
    for (subsegments, metadata) in [(1000, 0), (400, 20_000), (0, 60_000)] {
        let one = |i| json!({"name": "n", "id": format!("{i:016x}"), "start_time": 1});
        let segment = json!({
            "name": "n", "id": "1111111111111111", "start_time": 1,
            "trace_id": "1-68f0a1b2-c3d4e5f60718293a4b5c6d7e",
            "annotations": {"k": "x".repeat(metadata)},
            "metadata": {"default": {"k": "\u{1}".repeat(metadata / 20)}},
            "http": {"request": {"url": "x".repeat(metadata / 20)}},
            "subsegments": (1..=subsegments).map(one).collect::<Vec<_>>(),
        });
        let datagram_of = format!("{{\"format\":\"json\",\"version\":1}}\n{segment}");
        let mut out = Vec::new();
        let translated = datagram(datagram_of.as_bytes(), &mut out).unwrap();
        assert_eq!(translated.spans, subsegments + 1);
        assert!(out.len() <= 6 * datagram_of.len(), "{} of {}", out.len(), datagram_of.len());
    }
}
