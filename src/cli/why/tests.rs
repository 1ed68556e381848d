use super::*;

fn rung(place: &str, state: RungState, sentence: &str, why: [&str; 2]) -> Rung {
    Rung {
        step: place.split(' ').next().unwrap_or_default().to_owned(),
        place: place.to_owned(),
        state: state.into(),
        sentence: sentence.to_owned(),
        reason: why[0].to_owned(),
        remedy: why[1].to_owned(),
        ..Rung::default()
    }
}

fn answer() -> WhereStoppedResponse {
    let sampled = Rung {
        step: "processor".to_owned(),
        came: 24_760,
        stopped: 22_300,
        ..rung(
            "tail_sampling",
            RungState::Partial,
            "left out 22 300 spans of 24 760 spans (90 %)",
            ["2 100 traces kept by no policy", ""],
        )
    };
    let failing = rung(
        "backend honeycomb",
        RungState::Stop,
        "fails since 14:02 UTC (128 attempts); it last took data 41 min ago",
        ["HTTP 401: unknown \u{1b}[2JAPI key", "check `api_key`"],
    );
    let port = rung("port otlp", RungState::Ok, "open: grpc 0.0.0.0:4317", ["", ""]);
    let traces = Ladder {
        signal: "traces".to_owned(),
        state: RungState::Stop.into(),
        finding: "backend honeycomb: fails since 14:02 UTC (128 attempts)".to_owned(),
        span_ms: 60_000,
        recent: true,
        rungs: vec![port.clone(), sampled, failing],
    };
    let logs = Ladder {
        signal: "logs".to_owned(),
        state: RungState::Nothing.into(),
        finding: "no log record has come on grpc or http since the start 3 h ago".to_owned(),
        rungs: vec![port],
        ..Ladder::default()
    };
    WhereStoppedResponse { read_at_unix_ms: 1, stopped: true, ladders: vec![traces, logs] }
}

#[test]
fn the_ladder_fits_eighty_columns() {
    let text = text(&answer(), None, 80, false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text, @r"
    traces: STOP  backend honeycomb: fails since 14:02 UTC (128 attempts)
     1 port otlp         ok     open: grpc 0.0.0.0:4317
     2 tail_sampling     -90 %  left out 22 300 spans of 24 760 spans (90 %)
                                why: 2 100 traces kept by no policy
     3 backend honeycomb STOP   fails since 14:02 UTC (128 attempts); it last took
                                data 41 min ago
                                why: HTTP 401: unknown \x1b[2JAPI key
                                do:  check `api_key`

    logs: -  no log record has come on grpc or http since the start 3 h ago
    ");
}

#[test]
fn without_a_terminal_a_rung_is_one_line_and_its_words() {
    let text = text(&answer(), Some("shop"), usize::MAX, false);
    assert!(text.starts_with("traces of shop: STOP  backend honeycomb"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("HTTP 401: unknown \\x1b[2JAPI key"), "text of a backend is escaped");
}

#[test]
fn programs_get_all_of_it() {
    let document = document(&answer());
    assert_eq!(document["stopped"], true);
    let traces = &document["ladders"][0];
    assert_eq!((&traces["state"], &traces["recent"]), (&json!("stop"), &json!(true)));
    let rung = &traces["rungs"][1];
    assert_eq!((&rung["came"], &rung["state"]), (&json!(24_760), &json!("partial")));
    assert_eq!(rung["since_unix_ms"], json!(null));
}

#[test]
fn if_nothing_has_come_the_first_ladder_says_what_to_do() {
    let mut answer = answer();
    answer.ladders.remove(0);
    answer.ladders.push(answer.ladders[0].clone());
    let text = text(&answer, None, 80, true);
    assert_eq!(text.matches("port otlp").count(), 1, "{text}");
    assert!(text.contains("\u{1b}[32mok"), "a terminal has colours: {text}");
    let none = WhereStoppedResponse::default();
    assert_eq!(super::text(&none, None, 80, false), "no pipeline takes this signal\n");
}
