use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::cli::top::{
    rows::tests::reading,
    view::{Action, Key},
};

fn view() -> View {
    let mut view = View::default();
    for second in [6, 7, 8, 9, 10, 12] {
        view.read(reading(second));
    }
    view
}

fn screen(view: &View, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame, view)).unwrap();
    // The lines of rates over time are drawn with blocks of eight heights.
    terminal.backend().to_string().replace(|c: char| !c.is_ascii(), "#")
}

#[test]
fn the_table() {
    insta::assert_snapshot!(screen(&view(), 80, 14), @r#"
    "skep 0.1.0  up 12s  ready                     memory [##--------] 25% of 256 MiB"
    "! exporter otlp_http/backend: connection refused (os error 111) (2s ago)        "
    "component                        in/s  out/s bytes/s drop/s errors  queue oldest"
    "traces                                                                          "
    "  receiver otlp                 1.00k  1.00k    740k      -      -      -      -"
    "  processor filter/health       1.00k    900    740k    100      -      -      -"
    "  exporter otlp_http/backend      900    450    666k      -      7    12%     4s"
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "Enter details  t tap  / filter  s sort  p pause  ? help  q quit                 "
    "#);
}

#[test]
fn before_the_second_reading() {
    let mut view = View::default();
    insta::assert_snapshot!(screen(&view, 80, 8), @r#"
    "skep top                                                                        "
    "reading...                                                                      "
    "component                        in/s  out/s bytes/s drop/s errors  queue oldest"
    "no pipeline runs                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "Enter details  t tap  / filter  s sort  p pause  ? help  q quit                 "
    "#);
    view.read(reading(3));
    insta::assert_snapshot!(screen(&view, 80, 10), @r#"
    "skep 0.1.0  up 3s  ready                      memory [##--------] 25% of 256 MiB"
    "! exporter otlp_http/backend: connection refused (os error 111) (2s ago)        "
    "component                        in/s  out/s bytes/s drop/s errors  queue oldest"
    "traces                                                                          "
    "  receiver otlp                     -      -       -      -      -      -      -"
    "  processor filter/health           -      -       -      -      -      -      -"
    "  exporter otlp_http/backend        -      -       -      -      7    12%     4s"
    "                                                                                "
    "                                                                                "
    "Enter details  t tap  / filter  s sort  p pause  ? help  q quit                 "
    "#);
}

#[test]
fn a_wide_terminal_shows_errors() {
    insta::assert_snapshot!(screen(&view(), 120, 10), @r#"
    "skep 0.1.0  up 12s  ready                                                             memory [##--------] 25% of 256 MiB"
    "! exporter otlp_http/backend: connection refused (os error 111) (2s ago)                                                "
    "component                            in/s  out/s bytes/s drop/s errors  queue oldest  last error                        "
    "traces                                                                                                                  "
    "  receiver otlp                     1.00k  1.00k    740k      -      -      -      -                                    "
    "  processor filter/health           1.00k    900    740k    100      -      -      -                                    "
    "  exporter otlp_http/backend          900    450    666k      -      7    12%     4s  connection refused (os error 111) "
    "                                                                                                                        "
    "                                                                                                                        "
    "Enter details  t tap  / filter  s sort  p pause  ? help  q quit                                                         "
    "#);
}

#[test]
fn the_details_of_an_exporter() {
    let mut view = view();
    view.press(Key::End);
    view.press(Key::Enter);
    insta::assert_snapshot!(screen(&view, 80, 24), @r#"
    "skep 0.1.0  up 12s  ready                     memory [##--------] 25% of 256 MiB"
    "! exporter otlp_http/backend: connection refused (os error 111) (2s ago)        "
    "component                        in/s  out/s bytes/s drop/s errors  queue oldest"
    "traces                                                                          "
    "  receiver otlp                 1.00k  1.00k    740k      -      -      -      -"
    "  processor filter/health       1.00k    900    740k    100      -      -      -"
    "  exporter otlp_http/backend      900    450    666k      -      7    12%     4s"
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "--------------------------------------------------------------------------------"
    "exporter otlp_http/backend in traces: error                                     "
    "sends to http://127.0.0.1:4318                                                  "
    "queue 120 of 1000 requests, oldest 4s                                           "
    "last error 2s ago: connection refused (os error 111)                            "
    "in   max 900/s      #####                                                       "
    "out  max 450/s      #####                                                       "
    "drop max 0/s                                                                    "
    "                                                                                "
    "Enter details  t tap  / filter  s sort  p pause  ? help  q quit                 "
    "#);
}

#[test]
fn sorted_filtered_and_paused() {
    let mut view = view();
    for key in "4p/otlp".chars() {
        view.press(Key::Char(key));
    }
    insta::assert_snapshot!(screen(&view, 80, 10), @r#"
    "skep 0.1.0  up 12s  ready                     memory [##--------] 25% of 256 MiB"
    "! exporter otlp_http/backend: connection refused (os error 111) (2s ago)        "
    "component                        in/s  out/s bytes/s drop/s errors  queue oldest"
    "otlp (traces)                   1.00k  1.00k    740k      -      -      -      -"
    "otlp_http/backend (traces)        900    450    666k      -      7    12%     4s"
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "/otlp_   Enter keeps it, Esc clears it                                          "
    "#);
    view.press(Key::Enter);
    insta::assert_snapshot!(screen(&view, 80, 10), @r#"
    "skep 0.1.0  up 12s  ready                     memory [##--------] 25% of 256 MiB"
    "! exporter otlp_http/backend: connection refused (os error 111) (2s ago)        "
    "component                        in/s  out/s bytes/s drop/s errors  queue oldest"
    "otlp (traces)                   1.00k  1.00k    740k      -      -      -      -"
    "otlp_http/backend (traces)        900    450    666k      -      7    12%     4s"
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "PAUSED  /otlp  by bytes  Enter details  t tap  / filter  s sort  p pause  ? help"
    "#);
}

#[test]
fn a_tap_below_the_table() {
    let mut view = view();
    assert!(matches!(view.press(Key::Char('t')), Action::Tap { .. }));
    let tap = view.tap.as_mut().unwrap();
    for line in 0..30 {
        tap.push(format!("14:20:{line:02}.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]"));
    }
    tap.summary = "30 of 412 items shown".to_owned();
    insta::assert_snapshot!(screen(&view, 80, 24), @r#"
    "skep 0.1.0  up 12s  ready                     memory [##--------] 25% of 256 MiB"
    "! exporter otlp_http/backend: connection refused (os error 111) (2s ago)        "
    "component                        in/s  out/s bytes/s drop/s errors  queue oldest"
    "traces                                                                          "
    "  receiver otlp                 1.00k  1.00k    740k      -      -      -      -"
    "  processor filter/health       1.00k    900    740k    100      -      -      -"
    "  exporter otlp_http/backend      900    450    666k      -      7    12%     4s"
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "                                                                                "
    "-- tap of traces/otlp  30 of 412 items shown                                    "
    "14:20:19.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:20.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:21.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:22.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:23.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:24.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:25.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:26.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:27.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:28.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "14:20:29.120 shop GET /cart 12ms trace=5b8efff7.. [unchanged]                   "
    "Esc or q ends the tap                                                           "
    "#);
}

#[test]
fn help_and_a_process_that_is_gone() {
    let mut view = view();
    view.lost = Some("connection refused".to_owned());
    view.press(Key::Char('?'));
    insta::assert_snapshot!(screen(&view, 80, 18), @r#"
    "skep 0.1.0  up 12s  ready                     memory [##--------] 25% of 256 MiB"
    "! no answer: connection refused; trying again                                   "
    "Up Down j k PgUp PgDn g G   select a component                                  "
    "Enter                       its details, and its rates over time                "
    "t                           tap it: see the data that passes                    "
    "/                           filter by pipeline, kind or id; Esc clears          "
    "s, 1 to 6, r                sort: flow, in, out, bytes, drop, errors; reverse   "
    "p, Space                    pause                                               "
    "q, Ctrl-C                   quit                                                "
    "                                                                                "
    "in/s out/s   items a second that come in and go on                              "
    "bytes/s      bytes a second that come in                                        "
    "drop/s       items a second that are filtered, refused or lost here             "
    "errors       items refused or lost since the start, requests turned away        "
    "queue        fill of the queue of an exporter; oldest: age of what waits        "
    "                                                                                "
    "                                                                                "
    "any key goes back                                                               "
    "#);
}

#[test]
fn a_small_terminal_and_every_other_size() {
    insta::assert_snapshot!(screen(&view(), 45, 4), @r#"
    "skep top needs 50 columns and 8 lines        "
    "                                             "
    "                                             "
    "                                             "
    "#);
    let mut view = view();
    view.press(Key::Enter);
    for (columns, lines) in [(1, 1), (50, 8), (51, 9), (80, 8), (200, 60)] {
        for key in [Key::Char('?'), Key::Escape, Key::Enter, Key::Char('t'), Key::Escape] {
            view.press(key);
            screen(&view, columns, lines);
        }
    }
}

#[test]
fn the_selection_stays_in_sight() {
    let mut many = reading(5);
    let node = many.topology.nodes[2].clone();
    for number in 0..100 {
        let id = format!("otlp/{number:03}");
        many.topology.nodes.push(crate::admin::proto::Node { id, ..node.clone() });
    }
    let mut view = View::default();
    view.read(many);
    view.press(Key::End);
    assert!(screen(&view, 80, 12).contains("otlp_http/backend"));
    view.press(Key::Home);
    assert!(screen(&view, 80, 12).contains("traces"));
}

#[test]
fn without_colours_there_are_none() {
    let colors = |has_color| {
        let mut view = view();
        view.has_color = has_color;
        let mut terminal = Terminal::new(TestBackend::new(80, 14)).unwrap();
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        buffer.content().iter().filter(|cell| cell.fg != Color::Reset).count()
    };
    assert_eq!(colors(false), 0);
    assert!(colors(true) > 0);
}
