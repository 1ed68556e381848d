//! A segment document that comes in by the receiver `awsxray` and goes out by the exporter
//! `awsxray` is what it was.
//!
//! What counts as the same says `support/segments.rs`.
#![cfg(feature = "aws")]

use std::sync::OnceLock;

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use skep::{
    component::{BuildContext, Exporter, Work},
    exporters::awsxray::{Config, XRay},
    otlp::{Content, Signal},
    receivers::awsxray::document,
};

use crate::support::segments::{all_flat, pruned};

const TRACE: &str = "1-68f0a1b2-c3d4e5f60718293a4b5c6d7e";

fn exporter() -> &'static XRay {
    static BUILT: OnceLock<XRay> = OnceLock::new();
    BUILT.get_or_init(|| {
        let context = BuildContext::test("awsxray", Signal::Traces);
        Config::default().exporter(&context).unwrap()
    })
}

/// The documents that a document becomes.
fn through(text: &str) -> Vec<Value> {
    let mut body = Vec::new();
    let noted = document(text.as_bytes(), &mut body).unwrap();
    let content = Content::new(Signal::Traces, body.into(), noted.spans);
    let segments = exporter().encode(&Work::all(&content)).unwrap().encoded;
    segments.documents.iter().map(|one| serde_json::from_slice(one).unwrap()).collect()
}

// ---- documents --------------------------------------------------------------------------------

type Any = BoxedStrategy<Value>;

fn words() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_./ -]{1,12}",
        1 => "\\PC{1,8}",
        1 => "[\"\\[{(): \t\n\\\\]{1,4}[a-z]{0,2}",
        1 => select(vec!["[1]", "{}", "\"x\"", "a\n\tat f(b: 3)", "NaN", "null", "3"]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn text() -> Any {
    words().prop_map(Value::String).boxed()
}

fn one_of(all: &[&'static str]) -> Any {
    select(all.to_vec()).prop_map(|text| json!(text)).boxed()
}

fn truth() -> Any {
    any::<bool>().prop_map(|truth| json!(truth)).boxed()
}

fn int() -> Any {
    prop_oneof![0..1000_i64, any::<i64>()].prop_map(|number| json!(number)).boxed()
}

fn scalar() -> Any {
    let finite = any::<f64>().prop_filter("finite", |number| number.is_finite());
    prop_oneof![text(), int(), truth(), finite.prop_map(|number| json!(number))].boxed()
}

fn list(of: Any) -> Any {
    prop::collection::vec(of, 0..3).prop_map(Value::Array).boxed()
}

fn map(keys: &'static str, of: Any) -> Any {
    let all = prop::collection::btree_map(keys, of, 0..4);
    all.prop_map(|all| Value::Object(all.into_iter().collect())).boxed()
}

fn json_value() -> Any {
    prop_oneof![scalar(), Just(Value::Null)]
        .prop_recursive(3, 12, 3, |inner| prop_oneof![list(inner.clone()), map("\\PC{0,4}", inner)])
        .boxed()
}

/// Each of the fields is there or not.
fn object(fields: Vec<(&'static str, Any)>) -> Any {
    let one = |(name, of): (&'static str, Any)| {
        prop::option::weighted(0.4, of).prop_map(move |value| (name.to_owned(), value))
    };
    let fields: Vec<_> = fields.into_iter().map(one).collect();
    let some = |(name, value): (String, Option<Value>)| Some((name, value?));
    fields.prop_map(move |all| Value::Object(all.into_iter().filter_map(some).collect())).boxed()
}

fn texts(names: &[&'static str]) -> Vec<(&'static str, Any)> {
    names.iter().map(|name| (*name, text())).collect()
}

fn with(mut fields: Vec<(&'static str, Any)>, more: Vec<(&'static str, Any)>) -> Any {
    fields.extend(more);
    object(fields)
}

fn http() -> Any {
    let request = with(
        texts(&["method", "url", "user_agent", "client_ip"]),
        vec![("x_forwarded_for", truth()), ("traced", truth()), ("other", json_value())],
    );
    let length = prop_oneof![int(), text()].boxed();
    let response = object(vec![("status", int()), ("content_length", length), ("type", text())]);
    object(vec![("request", request), ("response", response), ("more", json_value())])
}

fn aws() -> Any {
    let group = object(vec![("log_group", text()), ("arn", text())]);
    let beanstalk =
        with(texts(&["environment_name", "version_label"]), vec![("deployment_id", int())]);
    let sdk = one_of(&["X-Ray for Python", "X-Ray for .NET", "mine"]);
    let xray = with(
        texts(&["sdk_version", "sampling_rule_name"]),
        vec![("sdk", sdk), ("auto_instrumentation", truth())],
    );
    let ecs = [
        "container",
        "container_id",
        "container_arn",
        "task_arn",
        "task_family",
        "cluster_arn",
        "availability_zone",
        "launch_type",
    ];
    let call = ["operation", "region", "request_id", "queue_url", "table_name", "account_id"];
    with(
        texts(&call),
        vec![
            ("table_names", list(text())),
            ("resource_names", list(text())),
            ("retries", int()),
            ("cloudwatch_logs", list(group)),
            (
                "ec2",
                object(texts(&["instance_id", "instance_size", "ami_id", "availability_zone"])),
            ),
            ("ecs", object(texts(&ecs))),
            ("eks", object(texts(&["cluster_name", "pod", "container_id"]))),
            ("elastic_beanstalk", beanstalk),
            ("xray", xray),
            ("unheard_of", json_value()),
        ],
    )
}

fn sql() -> Any {
    let url = || {
        one_of(&[
            "postgresql://db.test:5432/shop?ssl=1",
            "jdbc:mysql://h/shop",
            "h:1/shop",
            "jdbc:sqlite:/tmp/a",
        ])
    };
    let names = ["database_type", "sanitized_query", "driver_version", "preparation"];
    // A user with a password in it is covered.
    let user = "[a-z]{1,6}".prop_map(Value::from).boxed();
    with(texts(&names), vec![("url", url()), ("connection_string", url()), ("user", user)])
}

fn cause() -> Any {
    let line = prop_oneof![3 => int(), 1 => scalar()].boxed();
    let frame = object(vec![("path", text()), ("label", text()), ("line", line), ("x", text())]);
    let exception = with(
        texts(&["message", "type", "cause", "note"]),
        vec![("remote", truth()), ("truncated", int()), ("skipped", int()), ("stack", list(frame))],
    );
    let with_id = (exception, any::<u64>()).prop_map(|(mut exception, id)| {
        exception["id"] = json!(format!("{id:016x}"));
        exception
    });
    let whole = object(vec![
        ("working_directory", text()),
        ("paths", list(text())),
        ("exceptions", list(with_id.boxed())),
    ]);
    prop_oneof![4 => whole, 1 => Just(json!("abcdefabcdefabcd"))].boxed()
}

fn links() -> Any {
    let link = map("[a-z]{1,4}", json_value()).prop_map(
        |attributes| json!({"trace_id": TRACE, "id": "aaaaaaaaaaaaaaaa", "attributes": attributes}),
    );
    list(link.boxed())
}

/// All but what each has to have.
fn part() -> Any {
    with(
        texts(&["user", "origin", "resource_arn", "unknown"]),
        vec![
            ("namespace", one_of(&["aws", "remote", "local", "mine"])),
            ("error", truth()),
            ("fault", truth()),
            ("throttle", truth()),
            ("traced", truth()),
            ("http", http()),
            ("aws", aws()),
            ("sql", sql()),
            ("cause", cause()),
            ("links", links()),
            ("annotations", map("[a-zA-Z][a-zA-Z0-9_-]{0,6}", scalar())),
            ("metadata", map("[a-zA-Z]{1,4}|default|Default", json_value())),
            ("precursor_ids", list(Just(json!("3333333333333333")).boxed())),
            ("service", object(texts(&["version", "runtime", "runtime_version", "compiler"]))),
            ("something", json_value()),
        ],
    )
}

fn segment() -> Any {
    let whole = (part(), "[a-zA-Z][a-zA-Z0-9_./ -]{0,30}", 0_u64..4_000_000_000_000_000, 0..4_u8);
    let timed = whole.prop_map(|(mut own, name, micros, progress)| {
        #[expect(clippy::cast_precision_loss, reason = "as an SDK writes it")]
        let start = micros as f64 / 1e6;
        own["name"] = json!(name);
        own["start_time"] = json!(start);
        match progress {
            0 => own["in_progress"] = json!(true),
            1 => own["in_progress"] = json!(false),
            _ => {}
        }
        if progress > 0 {
            own["end_time"] = json!(start);
        }
        own
    });
    let nested = timed.prop_recursive(3, 6, 3, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..3)).prop_map(|(mut own, below)| {
            own["subsegments"] = json!(below);
            own
        })
    });
    (nested, 0..3_u8)
        .prop_map(|(mut own, kind)| {
            number(&mut own, &mut 0);
            own["trace_id"] = json!(TRACE);
            if kind > 0 {
                own["parent_id"] = json!("2222222222222222");
            }
            if kind == 2 {
                own["type"] = json!("subsegment");
            }
            own
        })
        .boxed()
}

fn number(own: &mut Value, last: &mut u64) {
    *last += 1;
    own["id"] = json!(format!("{last:016x}"));
    for child in own["subsegments"].as_array_mut().into_iter().flatten() {
        number(child, last);
    }
}

proptest! {
    /// R17.
    #[test]
    fn a_document_leaves_as_it_came(document in segment()) {
        let left = through(&document.to_string());
        prop_assert_eq!(all_flat(&left), all_flat(&[document]));
    }
}

// ---- what is mended ---------------------------------------------------------------------------

fn base() -> Value {
    json!({"name": "backend-flask", "id": "1111111111111111", "trace_id": TRACE,
        "start_time": 1_760_600_498.25, "end_time": 1_760_600_498.5})
}

/// The document of a segment with more members, and what it has beside the ones of [`base`].
fn more(of: &str) -> Value {
    let base = base();
    let text = base.to_string();
    let left = through(&format!("{},{of}}}", text.trim_end_matches('}')));
    assert_eq!(left.len(), 1);
    let Value::Object(mut found) = left.into_iter().next().unwrap() else { panic!("no object") };
    found.retain(|key, value| base.get(key) != Some(value));
    Value::Object(found)
}

/// R01 and R03: what is mended, and what is left out.
#[test]
fn what_was_no_document_becomes_one() {
    assert_eq!(through(&base().to_string()), [base()]);
    for (text, expected) in [
        (r#""annotations":null,"http":7,"links":{}"#, json!({})),
        (r#""metadata":{"ns":{"k":NaN}}"#, json!({"metadata": {"ns": {"k": null}}})),
        (r#""user":"a\ud800b""#, json!({"user": "a\u{fffd}b"})),
        (
            r#""http":{"response":{"status":"503","content_length":"12"}}"#,
            json!({"http": {"response": {"status": 503, "content_length": "12"}}}),
        ),
        (
            r#""annotations":{"l":[1,"a"],"n":5}"#,
            json!({"annotations": {"l": "[1,\"a\"]", "n": 5}}),
        ),
        (
            r#""aws":{"retries":"2","elastic_beanstalk":{"deployment_id":32}}"#,
            json!({"aws": {"retries": 2, "elastic_beanstalk": {"deployment_id": 32}}}),
        ),
        (
            r#""annotations":{"http.method":"mine"},"http":{"request":{"method":"GET"}}"#,
            json!({"annotations": {"http.method": "mine"}}),
        ),
        (r#""id":"00000000000000AB""#, json!({"id": "00000000000000ab"})),
        (r#""name":"a,b|c""#, json!({"name": "abc"})),
        (r#""end_time":1.5"#, json!({"end_time": 1_760_600_498.25})),
        (r#""type":"subsegment""#, json!({})),
    ] {
        assert_eq!(more(text), expected, "{text}");
    }
    let cause = more(r#""cause":{"exceptions":[{"message":"no id"},{}]}"#);
    let exceptions = cause["cause"]["exceptions"].as_array().unwrap();
    assert_eq!((exceptions.len(), &exceptions[0]["message"]), (1, &json!("no id")));
    assert_eq!(exceptions[0]["id"].as_str().unwrap().len(), 16);
}

/// R15, and text of stacks that looks like frames.
#[test]
fn what_is_odd_is_kept() {
    for text in [
        r#""in_progress":false,"error":false"#,
        r#""annotations":{"a b-c":"x"},"namespace":"local""#,
        r#""cause":{"exceptions":[{"id":"a","type":"E","message":"m\n\tat f(a: 1)","stack":[{"path":"a b.py","line":3,"label":"f"},{}]}]}"#,
        r#""cause":{"exceptions":[{"id":"a","stack":[{"path":"C:\\x (86)\\a.cs","line":3,"label":"f(Int32 x)"}]}]}"#,
        r#""traced":true,"http":{"request":{"traced":false}}"#,
        r#""aws":{"eks":{"container_id":"c"},"ecs":{"availability_zone":"z"}}"#,
        r#""aws":{"cloudwatch_logs":[{"log_group":"a"},{"arn":"b"}]}"#,
        r#""sql":{"connection_string":"postgresql://h/x","database_type":"db2"}"#,
    ] {
        let expected: Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
        let found = more(text);
        assert_eq!(pruned(&found), pruned(&expected), "{text}: {found}");
    }
}

#[test]
fn a_document_with_subsegments_leaves_as_one() {
    let part = |id: &str, parts: Value| json!({"id": id, "name": id, "start_time": 1.0, "end_time": 2.0, "subsegments": parts});
    let inner = part("00000000000000cc", json!([]));
    let mut document = part(
        "00000000000000aa",
        json!([part("00000000000000bb", json!([inner])), part("00000000000000dd", json!([]))]),
    );
    document["trace_id"] = json!(TRACE);
    let left = through(&document.to_string());
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0]["subsegments"][0]["subsegments"][0]["id"], "00000000000000cc");
    assert_eq!(left[0]["subsegments"][1]["id"], "00000000000000dd");
    assert_eq!(all_flat(&left), all_flat(&[document]));
}
