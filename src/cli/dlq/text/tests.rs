//! What a terminal shows.

use super::*;

fn letter() -> DeadLetter {
    DeadLetter {
        id: "otlp_http/backend:traces:17".to_owned(),
        exporter: "otlp_http/backend".to_owned(),
        signal: "traces".to_owned(),
        at_unix_ms: 1_763_726_401_234,
        items: 1,
        bytes: 6,
        reason: "backend_refused".to_owned(),
        answer: "HTTP 400: an attribute \u{1b}[2Jis longer than this backend takes\nand so is this answer, which goes on".to_owned(),
        peer: "10.0.0.7:4711".to_owned(),
    }
}

#[test]
fn letters_are_told_in_two_lines_that_fit_a_terminal() {
    let plain = DeadLetter {
        reason: "retries_exhausted".to_owned(),
        answer: String::new(),
        items: 12_345,
        bytes: 123_456_789,
        ..letter()
    };
    let text = HEADING.to_owned() + &row(&letter(), 80) + &row(&plain, 80);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text, @r"
    time (UTC)           items      bytes  id, reason and answer of the backend
    2025-11-21 12:00:01      1          6  otlp_http/backend:traces:17
        backend_refused: HTTP 400: an attribute \x1b[2Jis longer than this backen...
    2025-11-21 12:00:01  12345  123456789  otlp_http/backend:traces:17
        retries_exhausted
    ");
    let wide = row(&letter(), usize::MAX);
    assert!(wide.ends_with("and so is this answer, which goes on\n"), "{wide}");
}

#[test]
fn a_letter_is_told_in_full() {
    let request = [0x0a, 4, 0x12, 2, 0x12, 0];
    let text = whole(&letter(), &request, false).unwrap();
    insta::assert_snapshot!(text.split("\n\n").next().unwrap(), @r"
    dead letter otlp_http/backend:traces:17
      exporter  otlp_http/backend
      given up  2025-11-21T12:00:01.234Z
      reason    the backend refused it for good
      answer    HTTP 400: an attribute \x1b[2Jis longer than this backend takes\nand so is this answer, which goes on
      sender    10.0.0.7:4711
      data      1 span, 6 bytes
    ");
    assert!(text.contains("Span #0"), "{text}");
    let json = whole(&letter(), &request, true).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["resourceSpans"][0]["scopeSpans"][0]["spans"][0].is_object(), "{json}");
    let broken = whole(&letter(), &[0x0a, 99], false).unwrap_err();
    assert!(broken.contains("is no request"), "{broken}");
}

#[test]
fn a_letter_is_an_object_on_a_line() {
    let object: serde_json::Value = serde_json::from_str(&json(&letter())).unwrap();
    assert_eq!(object["time"], "2025-11-21T12:00:01.234Z");
    assert_eq!((&object["items"], &object["reason"]), (&1.into(), &"backend_refused".into()));
}

#[test]
fn sums_and_replays_are_told() {
    assert_eq!(sum(1, 1, 5), "1 dead letter with 1 item, 5 bytes");
    let far = ReplayDeadLettersResponse {
        sent: 9,
        delivered: 3,
        delivered_items: 30,
        refused_again: 1,
        stayed: 2,
        ..ReplayDeadLettersResponse::default()
    };
    insta::assert_snapshot!(replayed(&far), @"9 dead letters sent again: 3 delivered with 30 items, 1 refused again, 2 not taken by the exporter, 3 on their way");
}
