//! Puts a secret into every place that may hold one, with errors on every line, and checks that it
//! is never shown.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value as Json;

use super::{
    effective::{Secrets, effective},
    schema::Schemas,
    *,
};
use crate::config::{excerpt::render, source, write};

const MARKER: &str = "SECRETMARKER";
/// The marker as a number.
const NUMBER: &str = "774411992255";

/// Lines of YAML with the marker in each secret and each URL of a schema.
fn body(schemas: &Schemas, schema: &Json, depth: usize, out: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let all = schemas.alternatives(schema);
    if depth > 8 {
        return;
    }
    let fields = all.iter().filter_map(|schema| schema["properties"].as_object()).flatten();
    for (key, inner) in fields {
        let kinds = schemas.alternatives(inner);
        let is_text = kinds.iter().any(|kind| kind["type"].to_string().contains("string"));
        let items = kinds.iter().find_map(|kind| kind["items"].as_object());
        let map = kinds.iter().map(|kind| &kind["additionalProperties"]);
        let mut map = map.filter(|inner| inner.is_object());
        let sounds_url = ["endpoint", "url", "proxy", "address"].iter().any(|w| key.contains(w));
        if schemas.is_secret(inner) {
            out.push(format!("{indent}{key}: '{MARKER}'"));
        } else if map.any(|inner| schemas.is_secret(inner)) {
            out.extend([format!("{indent}{key}:"), format!("{indent}  x-team: {MARKER}")]);
        } else if sounds_url && is_text {
            let url = format!("http://user:{MARKER}@localhost:1/p?api_key={MARKER}");
            out.push(format!("{indent}{key}: {url}"));
        } else {
            let mut lines = Vec::new();
            match items {
                Some(items) => {
                    body(schemas, &Json::Object(items.clone()), depth + 2, &mut lines);
                    if let Some(first) = lines.first_mut() {
                        first.replace_range(2 * depth + 2..2 * depth + 4, "- ");
                    }
                }
                None => body(schemas, inner, depth + 1, &mut lines),
            }
            if !lines.is_empty() {
                out.push(format!("{indent}{key}:"));
                out.append(&mut lines);
            }
        }
    }
}

/// A file for each type of component that has a secret or a URL.
fn files(schemas: &Schemas) -> Vec<(String, Vec<String>)> {
    let mut files = Vec::new();
    let mut add = |kind: Kind, name: &str| {
        let mut lines = vec![format!("{}:", kind.section()), format!("  {name}:")];
        body(schemas, schemas.component(kind, name).unwrap(), 2, &mut lines);
        if lines.len() > 2 {
            files.push((format!("{} {name}", kind.name()), lines));
        }
    };
    for entry in receivers::ALL {
        add(Kind::Receiver, entry.name);
    }
    for entry in processors::ALL {
        add(Kind::Processor, entry.name);
    }
    for entry in exporters::ALL {
        add(Kind::Exporter, entry.name);
    }
    for entry in extensions::ALL {
        add(Kind::Extension, entry.name);
    }
    files
}

/// What `skep validate` prints of a file, and what `print-config` would.
fn shown(text: &str, schemas: &Schemas) -> String {
    let mut problems = Problems::default();
    let uris = [format!("yaml:{text}")];
    let loaded = source::load(&uris, &[], &|_| None, &mut problems);
    let mut shown = String::new();
    if let Some(root) = &loaded.root {
        let document = load(root, &mut problems);
        if !problems.has_errors() {
            shown += &write::yaml(&effective(root, schemas, Secrets::Hidden));
            // A configuration in the log would look like this.
            let _ = write!(shown, "{document:?}");
        }
    }
    shown + &render(&problems, &masked_sources(&loaded), false)
}

/// Variants of a line with an error in it.
fn bent(line: &str) -> Vec<String> {
    let Some((key, value)) = line.split_once(": ") else {
        return vec![format!("{line} ["), format!("{line} 'x"), line.replace(':', "x:")];
    };
    let indent = key.len() - key.trim_start_matches([' ', '-']).len();
    let (blanks, name) = key.split_at(indent);
    vec![
        format!("{key}: {{a: {value}}}"),
        format!("{key}: [{value}]"),
        format!("{key}: [{{a: [{value}]}}]"),
        format!("{key}: {NUMBER}"),
        format!("{key}: {value} ["),
        format!("{key}: \"{value}"),
        format!("{key}: {value}: {value}"),
        format!("{key}: x{value}"),
        format!("{blanks}x{name}: {value}"),
        format!("{blanks}{name}x: {{a: {value}}}"),
        format!("{line}\n{line}"),
        format!("{line}\n{}nonsense: 1", " ".repeat(indent)),
        format!("\t{line}"),
        format!("{key}: >-\n{}  {value}\n", " ".repeat(indent)),
    ]
}

#[test]
fn no_error_and_no_printed_configuration_shows_a_secret() {
    let schemas = Schemas::default();
    let files = files(&schemas);
    let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
    for name in ["exporter otlp_http", "exporter honeycomb", "extension basicauth"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let mut count = 0;
    let mut leaks: BTreeSet<String> = BTreeSet::new();
    for (name, lines) in &files {
        let mut texts = vec![lines.join("\n") + "\n"];
        for (i, line) in lines.iter().enumerate() {
            for bent in bent(line) {
                let mut lines = lines.clone();
                lines[i] = bent;
                texts.push(lines.join("\n") + "\n");
            }
        }
        for text in texts {
            let shown = shown(&text, &schemas);
            count += usize::from(shown.contains("error: "));
            let of_secret = text.lines().any(|line| {
                let key = line.strip_suffix(NUMBER);
                key.is_some_and(|key| lines.contains(&format!("{key}'{MARKER}'")))
            });
            let leak = |line: &&str| line.contains(MARKER) || (of_secret && line.contains(NUMBER));
            leaks.extend(shown.lines().filter(leak).map(|line| format!("{name}: {line}")));
        }
    }
    assert_eq!(leaks, BTreeSet::new());
    assert!(count > 500, "errors were made: {count}");
}

#[test]
fn flags_and_names_of_sources_show_no_secret() {
    let sets = ["exporters.otlp_http.headers.x-team=[", "exporters.honeycomb.api_key:"];
    for set in sets.map(|set| format!("{set}{MARKER}")) {
        let mut problems = Problems::default();
        let loaded = source::load(&["yaml:{}".to_owned()], &[set], &|_| None, &mut problems);
        let shown = render(&problems, &masked_sources(&loaded), false);
        assert!(shown.contains("error: ") && !shown.contains(MARKER), "{shown}");
    }
    for uri in [format!("exporters: {{a: {MARKER}}}"), format!("https://u:{MARKER}@h/?k={MARKER}")]
    {
        let mut problems = Problems::default();
        let loaded = source::load(&[uri], &[], &|_| None, &mut problems);
        let shown = render(&problems, &masked_sources(&loaded), false);
        assert!(shown.contains("error: ") && !shown.contains(MARKER), "{shown}");
    }
}

/// Under a misspelt key, or where a level is missing, secrets are in places that no schema knows.
#[test]
fn secrets_in_the_wrong_place_are_covered() {
    let schemas = Schemas::default();
    for wrong in [
        "extensions: {basicauth: {inline: 'ann:SECRETMARKER'}}",
        "extensions: {basicauth: {htpasswd: ['ann:SECRETMARKER']}}",
        "extensions: {basicauth: {client_auth: {username: u, pass: SECRETMARKER}}}",
        "extensions: {bearertokenauth: {toekns: [SECRETMARKER]}}",
        "exporters: {honeycomb: {team: SECRETMARKER}}",
        "exporters: {otlp_http: {endpoint: 'http://h', heders: {x-team: SECRETMARKER}}}",
    ] {
        let shown = shown(wrong, &schemas);
        assert!(!shown.contains(MARKER) && shown.contains("error"), "{wrong}\n{shown}");
    }
    // What is no secret is still shown.
    let shown = shown("exporters: {otlp_http: {endpoint: 'http://h', tiemout: 5s}}", &schemas);
    assert!(shown.contains("tiemout: 5s"), "{shown}");
}
