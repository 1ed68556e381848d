//! Random documents: reading any file ends with problems at positions inside the file, never with a
//! panic.

use proptest::prelude::*;

use super::*;
use crate::config::{source, write};

/// Files that work; they are bent in the tests below.
const FILES: [&str; 3] = [
    include_str!("../../pipelines/default.yaml"),
    include_str!("../../pipelines/honeycomb.yaml"),
    include_str!("../../pipelines/sidecar.yaml"),
];

fn env(name: &str) -> Option<String> {
    ["HONEYCOMB_API_KEY", "MAP"].contains(&name).then(|| "{a: [1, x]}".to_owned())
}

/// Reads a text as `skep validate` does and renders what is wrong.
fn check(text: &str) -> Result<(), TestCaseError> {
    let mut problems = Problems::default();
    let uris = [format!("yaml:{text}")];
    let loaded = source::load(&uris, &[], &env, &mut problems);
    if let Some(root) = &loaded.root {
        load(root, &mut problems);
        let shown =
            effective::effective(root, &schema::Schemas::default(), effective::Secrets::Hidden);
        let again = crate::config::yaml::parse(0, &write::yaml(&shown));
        prop_assert!(again.is_ok(), "{text}\n{again:?}");
    }
    for problem in &problems.0 {
        let place = problem.place.as_ref();
        prop_assert!(place.is_some() || problem.path.is_empty(), "{problem:?}\n{text}");
        let range = place.map(|place| place.range.clone()).unwrap_or_default();
        prop_assert!(
            range.start <= range.end && loaded.sources[0].text.get(range).is_some(),
            "{problem:?}\n{text}"
        );
    }
    let sources = masked_sources(&loaded);
    let rendered = crate::config::excerpt::render(&problems, &sources, false);
    prop_assert_eq!(rendered.is_empty(), problems.0.is_empty());
    Ok(())
}

/// Scalars that have a meaning somewhere.
const WORDS: [&str; 24] = [
    "",
    "~",
    "true",
    "-1",
    "5",
    "1.5",
    "10s",
    "x",
    "'q'",
    "[]",
    "{}",
    "otlp",
    "batch",
    "debug",
    "otlp/2",
    "otlp/",
    "'${env:MAP}'",
    "'a${MAP}'",
    "'$X'",
    "'$$X'",
    "99999999999999999999",
    "'\u{e9}\u{20ac}'",
    "localhost:4317",
    "http://a",
];

/// Keys that have a meaning somewhere.
const KEYS: [&str; 23] = [
    "protocols",
    "grpc",
    "http",
    "endpoint",
    "timeout",
    "headers",
    "enabled",
    "receivers",
    "processors",
    "exporters",
    "telemetry",
    "logs",
    "traces",
    "a::b",
    "attributes",
    "key",
    "value",
    "sending_queue",
    "tls",
    "otlp",
    "otlp_http",
    "batch",
    "level",
];

/// A value of any shape, in flow style, with words that have a meaning somewhere.
fn value() -> impl Strategy<Value = String> {
    let word = prop::sample::select(&WORDS[..]);
    word.prop_map(ToOwned::to_owned).prop_recursive(4, 24, 4, |inner| {
        let keys = prop::sample::select(&KEYS[..]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|all| format!("[{}]", all.join(", "))),
            prop::collection::btree_map(keys, inner, 0..4).prop_map(|all| {
                let members: Vec<String> =
                    all.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn documents_of_random_values_are_judged(values in prop::collection::vec(value(), 6)) {
        let text: Vec<String> =
            SECTIONS.iter().zip(values).map(|(key, value)| format!("{key}: {value}\n")).collect();
        check(&text.concat())?;
    }

    #[test]
    fn files_with_a_line_replaced_are_judged(
        file in prop::sample::select(&FILES[..]),
        at in any::<prop::sample::Index>(),
        value in value(),
    ) {
        let mut lines: Vec<String> = file.lines().map(ToOwned::to_owned).collect();
        let line = &mut lines[at.index(file.lines().count())];
        let key = line.find(':').map_or(line.len(), |colon| colon + 1);
        *line = format!("{} {value}", &line[..key]);
        check(&lines.join("\n"))?;
    }

    #[test]
    fn files_with_characters_changed_are_judged(
        file in prop::sample::select(&FILES[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\n\t\u{e9}]{0,3}"), 1..4),
    ) {
        let mut text = file.to_owned();
        for (at, with) in changes {
            let at = at.index(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                text.replace_range(at..=at, &with);
            }
        }
        check(&text)?;
    }
}
