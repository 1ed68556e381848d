//! Files of the maximum size, of kinds that could take quadratic time. They are validated within
//! seconds; quadratic time would be minutes or more.

use std::time::{Duration, Instant};

use super::*;
use crate::config::{excerpt::render, source};

/// The limit for an unoptimised build on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Validates a file.
fn judged(name: &str, text: &str) -> String {
    let begin = Instant::now();
    let mut problems = Problems::default();
    let uris = [format!("yaml:{text}")];
    let loaded = source::load(&uris, &[], &|_| Some("x".to_owned()), &mut problems);
    if let Some(root) = &loaded.root {
        load(root, &mut problems);
    }
    let shown = render(&problems, &masked_sources(&loaded), false);
    assert!(begin.elapsed() < DEADLINE, "{name}: {:?}", begin.elapsed());
    assert!(shown.len() < 200_000, "{name}: {} bytes are shown", shown.len());
    shown
}

/// `before`, followed by the results of `each`.
fn many(before: &str, count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).fold(before.to_owned(), |text, i| text + &each(i))
}

const REST: &str =
    "receivers: {nop: }\nservice: {pipelines: {traces: {receivers: [nop], exporters: [nop]}}}\n";

#[test]
fn no_file_takes_square_time() {
    let keys = many(REST, 60_000, |i| format!("a{i}: 1\n")) + "exporters: {nop: }\n";
    assert!(judged("unknown keys", &keys).contains("more problems; the first 100 are shown"));
    judged("unknown keys on a line", &many("exporters: {nop: {", 60_000, |i| format!("a{i}: 1, ")));
    let nested = many(REST, 40_000, |i| format!("exporters::nop/{i}:\n"));
    judged("keys with colons", &nested);
    let exporters =
        many(&format!("{REST}exporters:\n  nop:\n"), 40_000, |i| format!("  nop/{i}:\n"));
    assert!(judged("unused exporters", &exporters).contains("is defined but not used"));
    let unknown = many(&format!("{REST}exporters:\n  nop:\n"), 40_000, |i| format!("  x{i}:\n"));
    assert!(judged("unknown exporters", &unknown).contains("more"));
    let broken = many(&format!("{REST}exporters:\n  nop:\n"), 10_000, |i| {
        format!("  otlp_http/{i}: {{endpoint: '', sending_queue: {{storage: a{i}}}}}\n")
    });
    judged("broken exporters", &broken);
    let references = many(
        "receivers: {nop: }\nexporters: {nop: }\nprocessors: {batch: {metadata_keys: [",
        40_000,
        |_| "'${env:HOME:-x}',".to_owned(),
    );
    judged("references on a line", &(references + "]}}\n"));
    let list = many(
        "receivers: {nop: }\nexporters: {nop: }\nservice: {pipelines: {traces: {receivers: [nop], exporters: [",
        60_000,
        |i| format!("nop/{i}, "),
    );
    assert!(judged("references to nothing", &(list + "]}}}\n")).contains("is not configured"));
    let deep = format!("a: {}{}\n", "{a: ".repeat(50_000), "}".repeat(50_000));
    assert!(judged("braces", &deep).contains("deeper than 64 levels"));
    assert!(judged("brackets", &"[".repeat(500_000)).contains("error: "));
    let values = format!("a: [{}]\n", "x,".repeat(1_000_000));
    assert!(judged("a long list", &values).contains("more than 200000 values"));
    let quotes = "a: '".to_owned() + &"${env:X}".repeat(40_000) + "'\n";
    judged("references in a value", &quotes);
    judged("colons", &"a:".repeat(500_000));
}

#[test]
fn a_long_chain_of_connectors_is_followed_once() {
    let chain = |last: &str| {
        let mut text = many("receivers: {nop: }\nexporters: {nop: }\nconnectors:\n", 5000, |i| {
            format!("  forward/{i}:\n")
        });
        text +=
            "service:\n  pipelines:\n    traces/in: {receivers: [nop], exporters: [forward/0]}\n";
        text = many(&text, 4999, |i| {
            format!(
                "    traces/{i}: {{receivers: [forward/{i}], exporters: [forward/{}]}}\n",
                i + 1
            )
        });
        text + &format!("    traces/out: {{receivers: [forward/4999], exporters: [{last}]}}\n")
    };
    assert_eq!(judged("a chain", &chain("nop")), "");
    let shown = judged("a ring", &chain("nop, forward/4998"));
    assert!(
        shown.contains(
            "cycle detected: traces/4998 -> connector `forward/4999` -> traces/out -> connector \
             `forward/4998` -> traces/4998"
        ),
        "{shown}"
    );
}
