use proptest::prelude::*;

use super::*;
use crate::{config::shown::is_dangerous, otlp::plain};

fn printer(format: Format) -> Printer {
    Printer {
        format,
        pipeline: "traces".to_owned(),
        component: "filter/health".to_owned(),
        paint: Paint(false),
        columns: None,
    }
}

fn body(attributes: &Value) -> Vec<u8> {
    let span = json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "00000000000000a1",
        "name": "GET /cart", "attributes": attributes,
    });
    plain::bytes(Signal::Traces, &plain::spans(&[span]))
}

fn item(fate: TapFate) -> TapItem {
    TapItem {
        at_unix_us: 1_763_735_001_120_000,
        fate: fate.into(),
        signal: "traces".to_owned(),
        service: "shop".to_owned(),
        name: "GET /cart".to_owned(),
        trace_id: "5b8efff798038103d269b633813fc60c".to_owned(),
        span_id: "00000000000000a1".to_owned(),
        duration_nano: Some(1_203_400_000),
        status: "error".to_owned(),
        before: body(&json!({"http.route": "/cart", "n": 1})),
        ..TapItem::default()
    }
}

fn changed() -> TapItem {
    let change = |key: &str, before: Option<&str>, after: Option<&str>| TapChange {
        key: key.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    };
    TapItem {
        changes: vec![
            change("attributes.user.email", Some("\"ana@x.org\""), Some("\"sha256:9f2c\"")),
            change("attributes.old", Some("1"), None),
            change("attributes.new", None, Some("true")),
            change("name", Some("\"a\""), Some("\"b\"")),
        ],
        after: body(&json!({"http.route": "/cart", "n": 2})),
        ..item(TapFate::Changed)
    }
}

fn kept(policy: &str, kept: bool, dry_run: bool) -> TapVerdict {
    TapVerdict { policy: policy.to_owned(), kept, dry_run }
}

#[test]
fn a_line_says_what_became_of_an_item() {
    let line = printer(Format::Line);
    let dropped = TapItem { reason: "filtered".to_owned(), ..item(TapFate::Dropped) };
    let joined = TapItem { of_in: 3, of_out: 8192, ..item(TapFate::Unchanged) };
    let split = TapItem { of_in: 900, of_out: 512, split: true, ..item(TapFate::Unchanged) };
    let with = |verdict, fate| TapItem { verdict: Some(verdict), ..item(fate) };
    let lines: String = [
        item(TapFate::Passed),
        item(TapFate::Unchanged),
        joined,
        split,
        changed(),
        dropped,
        with(kept("errors", true, false), TapFate::Unchanged),
        with(kept("", false, false), TapFate::Dropped),
        with(kept("rest", false, true), TapFate::Unchanged),
        item(TapFate::Created),
        item(TapFate::Inside),
    ]
    .iter()
    .map(|item| line.text(item))
    .collect();
    insta::assert_snapshot!(lines, @r"
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [unchanged]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [unchanged, joined 3 into 8192]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [unchanged, split 900 into 512]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [changed user.email, old, new and 1 more]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [dropped by filter/health: filtered]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [kept by errors]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [dropped: no policy sampled it]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [would be dropped by rest]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [created]
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [still inside]
    ");
}

#[test]
fn a_line_fits_a_terminal() {
    let mut line = printer(Format::Line);
    line.columns = Some(80);
    let long = TapItem { name: "GET /".to_owned() + &"x".repeat(200), ..item(TapFate::Unchanged) };
    let text = line.text(&long);
    assert_eq!(text.trim_end().chars().count(), 80, "{text}");
    assert!(text.contains("..") && text.contains("trace=5b8efff7.."), "{text}");
}

#[test]
fn a_difference_is_shown_key_by_key() {
    let diff = printer(Format::Diff);
    insta::assert_snapshot!(diff.text(&changed()), @r#"
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [changed user.email, old, new and 1 more]
        attributes.user.email: "ana@x.org" -> "sha256:9f2c"
      - attributes.old: 1
      + attributes.new: true
        name: "a" -> "b"
    "#);
    insta::assert_snapshot!(diff.text(&item(TapFate::Created)), @r#"
    14:23:21.120 shop GET /cart 1203ms ERROR trace=5b8efff798038103d269b633813fc60c [created]
        trace_id: "5b8efff798038103d269b633813fc60c"
        span_id: "00000000000000a1"
        name: "GET /cart"
        attributes.http.route: "/cart"
        attributes.n: 1
        scope.name: "s"
        resource.attributes.host.name: "n1"
    "#);
}

#[test]
fn json_is_one_object_a_line() {
    let text = printer(Format::Json).text(&changed());
    assert_eq!(text.matches('\n').count(), 1);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["time"], "2025-11-21T14:23:21.12Z");
    assert_eq!(object["changes"][0]["before"], "ana@x.org");
    assert_eq!(object["changes"][1], json!({"key": "attributes.old", "before": 1, "after": null}));
    assert_eq!(object["before"]["attributes.n"], 1);
    assert_eq!(object["after"]["attributes.n"], 2);
    assert_eq!((&object["fate"], &object["duration_ms"]), (&json!("changed"), &json!(1203.4)));
}

#[test]
fn otlp_can_be_sent_again() {
    let text = printer(Format::Otlp).text(&item(TapFate::Dropped));
    let request = text.trim_end().as_bytes();
    let again = otlp::json::to_protobuf(Signal::Traces, request, otlp::json::DEPTH_LIMIT).unwrap();
    let name = |body: &[u8]| plain::span(&plain::shown(Signal::Traces, body))["name"].clone();
    assert_eq!(name(&again), "GET /cart");
}

proptest! {
    /// Whatever telemetry says, no control byte reaches the terminal.
    #[test]
    fn escaping_never_lets_a_control_character_through(
        words in prop::collection::vec(any::<String>(), 8),
        controls in prop::collection::vec(0_u32..0xA0, 4),
        fate in 1..7,
        columns in prop::option::of(1_usize..200),
    ) {
        let controls: String = controls.into_iter().filter_map(char::from_u32).collect();
        let hostile = |at: usize| format!("{}{controls}\u{1b}[2J\u{9b}31m\u{202e}{}", words[at], words[at]);
        let mut one = item(TapFate::try_from(fate).unwrap());
        (one.service, one.name, one.status) = (hostile(0), hostile(1), hostile(2));
        (one.trace_id, one.reason) = (hostile(3), hostile(4));
        one.verdict = Some(kept(&hostile(5), true, false));
        let (key, value) = (hostile(6), hostile(7));
        one.before = body(&json!({"k": value, (value.as_str()): "v"}));
        one.changes = vec![TapChange { key, before: Some(value.clone()), after: Some(value) }];
        for format in [Format::Line, Format::Diff, Format::Json, Format::Otlp] {
            let printer = Printer { columns, ..printer(format) };
            let text = printer.text(&one);
            prop_assert!(text.ends_with('\n'));
            let bad = |c: char| is_dangerous(c) && !(c == '\n' && format == Format::Diff);
            let found = text.trim_end_matches('\n').chars().find(|c| bad(*c));
            prop_assert_eq!(found, None, "{}", text);
        }
    }
}
