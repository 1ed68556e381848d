//! What a field has not taken is metadata.

use super::*;

#[test]
fn what_a_cause_has_not_is_an_event() {
    let trace = "one\ntwo";
    let thrown = event(
        "exception",
        &json!({"exception.type": "E", "exception.message": "m",
        "exception.stacktrace": trace, "exception.escaped": "False"}),
    );
    let status = Some(Status { code: 2, message: "E: m".to_owned() });
    let of = Span { events: vec![thrown], status, ..span(1, true, &json!({})) };
    assert_has(
        &one(of.clone()),
        &json!({"cause > exceptions > 0 > message": "m", "metadata > default": {"otel.events": [
            {"name": "exception", "time": 1_760_600_498.3,
             "attributes": {"exception.stacktrace": trace, "exception.escaped": "False"}}]}}),
    );
    let status = Some(Status { code: 2, message: "while at it".to_owned() });
    assert_has(
        &one(Span { status, ..of }),
        &json!({"metadata > default > otel.status_description": "while at it"}),
    );
    let gecko = event(
        "exception",
        &json!({"exception.type": "TypeError", "exception.message": "x is undefined",
        "exception.stacktrace": "total@http://app.example/cart.js:41:17\ncheckout@http://app.example/c.js:12:5"}),
    );
    for language in ["webjs", ""] {
        let of = Span { events: vec![gecko.clone()], ..span(CLIENT, true, &json!({})) };
        assert_has(
            &one_of(&json!({"telemetry.sdk.language": language}), of),
            &json!({"cause > exceptions > 0 > stack": [
                    {"path": "http://app.example/cart.js", "line": 41, "label": "total"},
                    {"path": "http://app.example/c.js", "line": 12, "label": "checkout"}],
                "metadata > default > otel.events": null}),
        );
    }
}

/// A value of an attribute.
fn said() -> impl Strategy<Value = Value> {
    let word = "[a-z]{3}[0-9]{3}";
    let special = [
        "aws-api",
        "LOCAL_ROOT",
        "mysql",
        "redis",
        "10.0.0.9",
        "::1",
        "443",
        " 8080 ",
        "080",
        "https",
        "RECEIVED",
        "AWS::S3",
        "https://h.test:8443/a?b=c",
        "Server=h;Database=d",
        "h.test:1",
        "a b,c|d",
        "/x",
        "",
    ];
    prop_oneof![
        4 => word.prop_map(Value::String),
        2 => prop::sample::select(special.to_vec()).prop_map(|text| json!(text)),
        1 => any::<bool>().prop_map(|truth| json!(truth)),
        1 => (0..1000_i64).prop_map(|number| json!(number)),
        1 => prop::collection::vec(word, 0..3).prop_map(|words| json!(words)),
    ]
}

fn some_of(keys: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let key = prop::sample::select(keys).prop_map(str::to_owned);
    let all = prop::collection::btree_map(key, said(), 0..12);
    all.prop_map(|all| Value::Object(all.into_iter().collect()))
}

fn any_event() -> impl Strategy<Value = span::Event> {
    let names = vec!["exception", "exception", "HTTP request failure", "log"];
    let keys = vec![
        "exception.type",
        "exception.message",
        "exception.stacktrace",
        "exception.escaped",
        "http.response.status_code",
        "aws.http.error_message",
        "other",
    ];
    (prop::sample::select(names), some_of(keys)).prop_map(|(name, of)| event(name, &of))
}

fn any_span() -> impl Strategy<Value = Span> {
    let known = attributes::KEYS.iter().map(|(key, _)| *key);
    let keys = known.chain(["a", "b.c", "aws.xray.metadata.ns", "net.host.ip"]).collect();
    let status =
        ("([a-z]{3}[0-9]{3})?", 0..3_i32).prop_map(|(message, code)| Status { code, message });
    let link =
        ("([a-z]{3}[0-9]{3})?", some_of(vec!["x", "y"])).prop_map(|(trace_state, of)| span::Link {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            trace_state,
            attributes: attributes(&of),
            ..span::Link::default()
        });
    (
        (0..6_i32, any::<bool>(), some_of(keys), "[a-z]{3}[0-9]{3}[ |]?"),
        prop::collection::vec(any_event(), 0..4),
        prop::collection::vec(link, 0..2),
        (prop::option::of(status), "([a-z]{3}[0-9]{3})?"),
    )
        .prop_map(|((kind, parent, own, name), events, links, (status, trace_state))| Span {
            name,
            events,
            links,
            status,
            trace_state,
            ..span(kind, parent, &own)
        })
}

/// All texts of a document, of keys and of values.
fn texts_of(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| texts_of(one, out)),
        Value::Object(all) => all.iter().for_each(|(key, one)| {
            out.push(key.clone());
            texts_of(one, out);
        }),
        Value::Number(number) => out.push(number.to_string()),
        _ => {}
    }
}

/// All texts that came with a span.
fn texts_in(span: &Span) -> Vec<String> {
    fn of(attributes: &[KeyValue], out: &mut Vec<String>) {
        for attribute in attributes {
            match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(any_value::Value::StringValue(text)) => out.push(text.clone()),
                Some(any_value::Value::ArrayValue(all)) => {
                    let own = |value: &AnyValue| KeyValue {
                        value: Some(value.clone()),
                        ..KeyValue::default()
                    };
                    of(&all.values.iter().map(own).collect::<Vec<_>>(), out);
                }
                _ => {}
            }
        }
    }
    let mut out = vec![span.name.clone(), span.trace_state.clone()];
    out.extend(span.status.iter().map(|status| status.message.clone()));
    of(&span.attributes, &mut out);
    for event in &span.events {
        out.push(event.name.clone());
        of(&event.attributes, &mut out);
    }
    for link in &span.links {
        out.push(link.trace_state.clone());
        of(&link.attributes, &mut out);
    }
    // These have become the cause.
    out.retain(|text| text != "exception" && text != "HTTP request failure");
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    /// What a field has not taken is metadata.
    #[test]
    fn no_text_of_a_span_is_lost(span in any_span(), provider in prop::sample::select(vec!["aws", "gcp"]), is_native: bool) {
        let resource = json!({"cloud.provider": provider});
        let mut span = span;
        if is_native {
            // Characters that no name may have do not come back.
            span.name.retain(char::is_alphanumeric);
        }
        let mut request = payload(&resource, vec![span.clone()]);
        if is_native {
            request = native_payload(&request);
        }
        let (documents, left_out) = translate(&request, &Settings::default());
        prop_assert_eq!(left_out, LeftOut::default());
        let mut found = Vec::new();
        for document in &documents {
            texts_of(&serde_json::from_slice(document).unwrap(), &mut found);
        }
        for text in texts_in(&span) {
            prop_assert!(
                found.iter().any(|found| found.contains(text.trim())),
                "{:?} of {:#?} is not in {:#?}", text, span, found
            );
        }
    }
}

#[test]
fn numbers_that_json_has_not_are_texts() {
    let double = |number| AnyValue { value: Some(any_value::Value::DoubleValue(number)) };
    let list = ArrayValue { values: vec![double(1.0), double(f64::NAN)] };
    let named = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..KeyValue::default()
    };
    let mut span = span(2, false, &json!({}));
    span.attributes = vec![
        named("nan", double(f64::NAN)),
        named("inf", double(f64::NEG_INFINITY)),
        named("list", AnyValue { value: Some(any_value::Value::ArrayValue(list)) }),
    ];
    let own = one_of(&json!({}), span.clone());
    let metadata = json!({"nan": "NaN", "inf": "-Infinity", "list": [1, "NaN"]});
    for (key, value) in metadata.as_object().unwrap() {
        assert_eq!(&own["metadata"]["default"][key], value);
    }
    let settings = Settings { index_all_attributes: true, ..Settings::default() };
    let own = &all(&settings, &json!({}), span)[0];
    assert_eq!(
        (&own["annotations"]["nan"], &own["annotations"]["inf"]),
        (&json!("NaN"), &json!("-Infinity"))
    );
}
