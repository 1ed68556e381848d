//! An item that comes in by the receiver `rollbar` and goes out by the exporter `rollbar` is what
//! it was, but for members that are `null`.

use std::sync::OnceLock;

use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};
use skep::{
    component::{ComponentId, Exporter as _, Work},
    config::Secret,
    exporters::rollbar::{Config, Rollbar},
    otlp::{Content, Signal},
    receivers::rollbar::item,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn exporter() -> &'static Rollbar {
    static BUILT: OnceLock<Rollbar> = OnceLock::new();
    BUILT.get_or_init(|| {
        let id = ComponentId { kind_name: "rollbar".to_owned(), name: None };
        let config = Config { access_token: Secret::new(TOKEN), ..Config::default() };
        config.exporter(&id).unwrap()
    })
}

/// What becomes of an item.
fn through(data: &Value) -> Value {
    let payload = json!({"access_token": TOKEN, "data": data}).to_string();
    let mut body = Vec::new();
    item(payload.as_bytes(), &mut body).unwrap();
    let content = Content::new(Signal::Logs, body.into(), 1);
    let items = exporter().encode(&Work::all(&content)).unwrap().encoded;
    let [item] = &items.all[..] else { panic!("{} items", items.all.len()) };
    let text = std::str::from_utf8(item).unwrap();
    assert!(!text.contains(TOKEN), "{text}");
    serde_json::from_str::<Value>(text).unwrap()["data"].clone()
}

/// Parts of an item of which `null` is left out.
const PARTS: [&str; 6] = ["person", "request", "server", "client", "notifier", "custom"];

/// An item without what says nothing.
fn pruned(data: &Value) -> Value {
    fn without_null(value: &Value) -> Value {
        let members = value.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
        members.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
    }
    let mut data = without_null(data);
    for part in PARTS {
        let Some(value) = data.get_mut(part).filter(|value| value.is_object()) else { continue };
        let had_members = *value != json!({});
        *value = without_null(value);
        if had_members && *value == json!({}) {
            data.as_object_mut().unwrap().remove(part);
        }
    }
    let body = without_null(&data["body"]);
    data["body"] = body;
    if let Some(message) = data["body"].get("message") {
        data["body"]["message"] = without_null(message);
    }
    for path in ["/body/trace/exception", "/body/trace_chain/0/exception"] {
        if let Some(exception) = data.pointer_mut(path) {
            *exception = without_null(exception);
        }
    }
    data
}

// ---- items ------------------------------------------------------------------------------------

type Any = BoxedStrategy<Value>;

fn words() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_./ -]{1,12}",
        1 => "\\PC{0,8}",
        1 => "[\"\\[{(): \t\n\\\\]{1,4}[a-z]{0,2}",
        1 => select(vec!["[1]", "{}", "\"x\"", "NaN", "null", "3", "$remote_ip"]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn text() -> Any {
    words().prop_map(Value::String).boxed()
}

fn name() -> BoxedStrategy<String> {
    prop_oneof![3 => "[a-z_]{1,8}", 1 => "[a-z.]{0,5}", 1 => "\\PC{1,4}"].boxed()
}

fn any_value() -> Any {
    let leaf = prop_oneof![
        text(),
        any::<i64>().prop_map(|number| json!(number)),
        (-1000_i32..1000).prop_map(|number| json!(f64::from(number) + 0.25)),
        any::<bool>().prop_map(|truth| json!(truth)),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

/// An object with some of the members, each maybe of another type than it should, and others.
fn object(members: &[(&'static str, Any)]) -> Any {
    let known: Vec<_> = members
        .iter()
        .map(|(name, value)| {
            let value = prop_oneof![6 => value.clone(), 1 => any_value()];
            prop::option::of(value.prop_map(|value| ((*name).to_owned(), value)))
        })
        .collect();
    let others =
        prop::collection::vec((name().prop_map(|name| format!("x{name}")), any_value()), 0..2);
    (known, others)
        .prop_map(|(known, others)| {
            Value::Object(known.into_iter().flatten().chain(others).collect())
        })
        .boxed()
}

fn exception() -> Any {
    let message = prop::option::of(text());
    ("[a-zA-Z.]{1,10}", message, prop::option::of(text()))
        .prop_map(|(class, message, description)| {
            let mut exception = json!({"class": class});
            for (name, value) in [("message", message), ("description", description)] {
                if let Some(value) = value {
                    exception[name] = value;
                }
            }
            exception
        })
        .boxed()
}

fn trace() -> Any {
    let number = || (0..2000).prop_map(|line| json!(line)).boxed();
    let frame = object(&[
        ("filename", text()),
        ("lineno", number()),
        ("colno", number()),
        ("method", text()),
        ("code", text()),
        ("context", object(&[("pre", any_value()), ("post", any_value())])),
        ("args", any_value()),
        ("kwargs", any_value()),
        ("argspec", any_value()),
        ("locals", any_value()),
        ("className", text()),
    ]);
    (prop::collection::vec(frame, 0..4), exception(), prop::option::of(any_value()))
        .prop_map(|(frames, exception, extra)| {
            let mut trace = json!({"frames": frames, "exception": exception});
            if let Some(extra) = extra {
                trace["extra"] = extra;
            }
            trace
        })
        .boxed()
}

fn body() -> Any {
    let kind = prop_oneof![
        trace().prop_map(|trace| json!({"trace": trace})),
        prop::collection::vec(trace(), 1..4).prop_map(|chain| json!({"trace_chain": chain})),
        (text(), any_value())
            .prop_map(|(body, extra)| json!({"message": {"body": body, "extra": extra}})),
        (text(), text()).prop_map(|(raw, os)| json!({"crash_report": {"raw": raw, "os": os}})),
    ];
    (kind, prop::option::of(any_value()))
        .prop_map(|(mut body, telemetry)| {
            if let Some(telemetry) = telemetry {
                body["telemetry"] = telemetry;
            }
            body
        })
        .boxed()
}

fn data() -> impl Strategy<Value = Value> {
    let rest = object(&[
        ("title", text()),
        ("fingerprint", text()),
        ("context", text()),
        ("platform", text()),
        ("framework", text()),
        ("language", text()),
        ("code_version", text()),
        ("person", object(&[("id", text()), ("username", text()), ("email", text())])),
        (
            "request",
            object(&[
                ("url", text()),
                ("method", text()),
                ("headers", any_value()),
                ("GET", any_value()),
                ("POST", any_value()),
                ("query_string", text()),
                ("body", any_value()),
                ("user_ip", text()),
            ]),
        ),
        ("server", object(&[("host", text()), ("root", text()), ("pid", any_value())])),
        ("client", object(&[("javascript", any_value())])),
        ("custom", object(&[("a", any_value()), ("trace_id", text())])),
        ("notifier", object(&[("name", text()), ("version", text())])),
        ("attributes", any_value()),
    ]);
    let level = select(vec!["critical", "error", "warning", "info", "debug"]);
    let uuid = "[0-9a-f-]{1,36}";
    ("[a-z]{1,8}", level, 1_000_000_000_u64..2_000_000_000, uuid, body(), rest).prop_map(
        |(environment, level, timestamp, uuid, body, mut data)| {
            data["environment"] = json!(environment);
            data["level"] = json!(level);
            data["timestamp"] = json!(timestamp);
            data["uuid"] = json!(uuid);
            data["body"] = body;
            data
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn an_item_leaves_as_it_came(data in data()) {
        prop_assert_eq!(through(&data), pruned(&data));
    }
}

#[test]
fn an_item_that_repeats_its_token_leaves_without_it() {
    let data = json!({
        "environment": "p", "level": "error", "timestamp": 1, "uuid": "u",
        "body": {"message": {"body": "x"}}, "custom": {"settings": {"accessToken": "other"}},
    });
    assert_eq!(through(&data), data);
}

#[test]
fn fractions_of_a_second_are_kept() {
    let data = json!({"environment": "p", "level": "info", "timestamp": 1_700_000_000.125, "uuid": "u",
        "body": {"message": {"body": "x"}}});
    assert_eq!(through(&data), data);
}
