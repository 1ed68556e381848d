//! What neither the compiler nor clippy checks: layers, circles of imports, the size of files and
//! functions, that every component is registered, that every dependency says why it is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[path = "tidy/functions.rs"]
mod functions;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/siblings.rs"]
mod siblings;

/// Longest file of `src`, its unit tests included.
const FILE_LIMIT: usize = 600;

/// Longest file of `tests` and `benches`.
const TEST_FILE_LIMIT: usize = 650;

/// Widest comment, in columns. Tables, links and code blocks may be wider.
const COMMENT_WIDTH: usize = 100;

/// Each module and what it may use of ours.
const LAYERS: &[(&str, &[&str])] = &[
    ("otlp", &["otlp"]),
    ("ottl", &["ottl", "config", "otlp"]),
    ("config", &["config"]),
    ("net", &["net", "otlp", "config"]),
    ("budget", &["budget"]),
    ("recent", &["recent", "config", "otlp"]),
    ("telemetry", &["telemetry", "budget", "config", "otlp"]),
    ("storage", &["storage", "otlp", "telemetry"]),
    ("component", &["component", "budget", "config", "net", "otlp", "storage", "telemetry"]),
    ("tap", &["tap", "config", "otlp", "ottl", "telemetry"]),
    ("statements", &["statements", "component", "config", "otlp", "ottl", "telemetry"]),
    ("receivers", &["receivers", "component", "config", "net", "otlp", "storage", "telemetry"]),
    (
        "processors",
        &[
            "processors",
            "component",
            "config",
            "net",
            "otlp",
            "ottl",
            "statements",
            "storage",
            "telemetry",
        ],
    ),
    (
        "exporters",
        &["exporters", "component", "budget", "config", "net", "otlp", "storage", "telemetry"],
    ),
    (
        "connectors",
        &[
            "connectors",
            "component",
            "config",
            "net",
            "otlp",
            "ottl",
            "statements",
            "storage",
            "telemetry",
        ],
    ),
    ("extensions", &["extensions", "component", "config", "net", "otlp", "storage", "telemetry"]),
    (
        "document",
        &[
            "document",
            "receivers",
            "processors",
            "exporters",
            "connectors",
            "extensions",
            "component",
            "budget",
            "config",
            "otlp",
            "storage",
        ],
    ),
    (
        "engine",
        &[
            "engine",
            "document",
            "component",
            "budget",
            "config",
            "net",
            "otlp",
            "storage",
            "telemetry",
        ],
    ),
    (
        "admin",
        &[
            "admin",
            "component",
            "budget",
            "config",
            "net",
            "otlp",
            "ottl",
            "storage",
            "tap",
            "telemetry",
        ],
    ),
    ("console", &["console", "admin", "component", "net", "otlp", "recent", "tap", "telemetry"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src"), PathBuf::from("tests"), PathBuf::from("benches")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 30, "the sources were found");
    found
}

/// `src/otlp/wire.rs` -> `otlp`.
fn module(path: &Path) -> Option<String> {
    let rest = path.strip_prefix("src").ok()?;
    let first = rest.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The modules named in `use crate::...`, also in braces, and in `crate::x::` paths.
fn used(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            let mut is_first = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => is_first = true,
                    c if depth == 0 && is_first && (c.is_alphanumeric() || c == '_') => {
                        name.push(c);
                    }
                    _ => {}
                }
                if depth == 0 && !name.is_empty() && matches!(c, ':' | ',' | '}') {
                    found.push(std::mem::take(&mut name));
                    is_first = c == ',';
                }
            }
            if !name.is_empty() {
                found.push(name);
            }
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
        }
    }
    found
}

#[test]
fn imports_go_downwards_only() {
    let names: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    for (path, text) in sources() {
        let Some(module) = module(&path) else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else { continue };
        for name in used(&text) {
            let is_layer = names.contains(&&*name) || name == "cli";
            assert!(
                !is_layer || allowed.contains(&&*name),
                "{} uses crate::{name}, which stands above it",
                path.display()
            );
        }
    }
}

#[test]
fn the_reader_of_imports_sees_groups_and_paths() {
    let text =
        "use crate::{\n    component::{A, B},\n    otlp::Signal,\n};\nlet x = crate::net::y();";
    assert_eq!(used(text), ["component", "otlp", "net"]);
}

#[test]
fn comments_fit_a_screen() {
    let mut wide = Vec::new();
    for (path, text) in sources() {
        let mut is_drawing = false;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end();
            let Some(comment) = line.trim_start().strip_prefix("//") else {
                is_drawing = false;
                continue;
            };
            let words = comment.trim_start_matches(['/', '!']).trim_start();
            is_drawing ^= words.starts_with("```");
            // One long word, such as a link, cannot be wrapped.
            let is_exempt = is_drawing || words.starts_with(['|', '<']) || !words.contains(' ');
            let width = line.chars().count();
            if !is_exempt && width > COMMENT_WIDTH {
                wide.push(format!("{}:{} has {width} columns", path.display(), at + 1));
            }
        }
    }
    let wide = wide.join("\n");
    assert!(wide.is_empty(), "comments wider than {COMMENT_WIDTH} columns:\n{wide}");
}

#[test]
fn files_tell_one_story() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        let limit = if path.starts_with("src") { FILE_LIMIT } else { TEST_FILE_LIMIT };
        assert!(lines <= limit, "{} has {lines} lines", path.display());
        let is_inner = path.ends_with("proto.rs") || path.ends_with("tests.rs");
        assert!(
            is_inner || text.starts_with("//!"),
            "{} does not say what it is for",
            path.display()
        );
    }
}

#[test]
fn sources_are_ascii_and_without_loose_ends() {
    for (path, text) in sources() {
        assert!(text.is_ascii(), "{} is not ASCII", path.display());
        for word in ["TODO", "FIXME", "todo!(", "unimplemented!("] {
            let is_here = path.ends_with("tidy.rs");
            assert!(is_here || !text.contains(word), "{} has a {word}", path.display());
        }
    }
}

#[test]
fn every_component_file_is_registered() {
    for folder in ["receivers", "processors", "exporters", "connectors", "extensions"] {
        let list = fs::read_to_string(format!("src/{folder}/mod.rs")).unwrap();
        for entry in fs::read_dir(format!("src/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            if path.is_dir() || name == "mod" {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            // The example is for `docs/contributing.md`.
            if text.contains("const ENTRY") && name != "example" {
                assert!(list.contains(&format!("{name}::ENTRY")), "{name} is not in {folder}");
            } else {
                assert!(list.contains(&format!("mod {name};")), "{name} is not in {folder}");
            }
        }
    }
}

#[test]
fn every_dependency_says_why() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let mut is_list = false;
    let mut count = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_list = line.ends_with("dependencies]");
        } else if is_list && line.contains('=') {
            count += 1;
            assert!(line.contains(" # "), "no reason: {line}");
        }
    }
    assert!(count > 20, "the dependencies were found");
}

/// Members that every JSON line of the log has: a field of the same name would be there twice, and
/// win.
const TAKEN: [&str; 4] = ["message", "level", "target", "timestamp"];

/// Names of the fields of each log line in a source.
fn log_fields(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!(", "event!("] {
        for (at, _) in text.match_indices(&format!("tracing::{level}")) {
            let arguments = &text[at + "tracing::".len() + level.len()..];
            let (mut depth, mut is_text, mut argument) = (0, false, String::new());
            let mut before = ' ';
            for c in arguments.chars() {
                match c {
                    '"' if before != '\\' => is_text = !is_text,
                    '(' | '[' | '{' if !is_text => depth += 1,
                    ')' | ']' | '}' if !is_text => depth -= 1,
                    _ => {}
                }
                before = c;
                if depth < 0 || (depth == 0 && c == ',' && !is_text) {
                    let name = argument.split(" = ").next().unwrap_or_default().trim();
                    found.push(name.trim_start_matches(['%', '?']).to_owned());
                    argument.clear();
                } else {
                    argument.push(c);
                }
                if depth < 0 {
                    break;
                }
            }
        }
    }
    found
}

#[test]
fn no_field_of_a_log_line_hides_its_text() {
    let mut count = 0;
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("src")) {
        for field in log_fields(&text) {
            count += 1;
            assert!(
                !TAKEN.contains(&&*field),
                "{} has a log line with the field `{field}`",
                path.display()
            );
        }
    }
    assert!(count > 100, "the log lines were found");
}

#[test]
fn the_reader_of_log_lines_sees_every_form_of_a_field() {
    let line =
        "tracing::warn!(%message, a = f(b, \"c, d\"), ?level, e.target = 1, target, \"x, y\");";
    let fields = log_fields(line);
    assert_eq!(fields, ["message", "a", "level", "e.target", "target", "\"x, y\""]);
}
