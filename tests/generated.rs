//! `pipelines/README.md` is generated from the components themselves: the prose and the example at
//! the top of their files, and their fields with types, defaults and comments. This test compares;
//! `UPDATE=1 cargo test --test generated` writes the file anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fmt::Write as _, fs};

use serde_json::Value;
use skep::{
    component::{Entry, Kind},
    config::{self, Problems, source, yaml},
    connectors,
    document::{self, schema::Schemas},
    exporters, extensions, processors, receivers,
};

const FILE: &str = "pipelines/README.md";
/// What `skep schema` prints.
const SCHEMA: &str = "pipelines/schema.json";

/// Deepest level of keys in a table.
const DEPTH_LIMIT: usize = 6;

/// The `//!` header of a source file.
fn prose(source: &str) -> String {
    let lines = source.lines().take_while(|line| line.starts_with("//!"));
    let text = lines.map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or(""));
    text.collect::<Vec<_>>().join("\n")
}

/// The YAML blocks of a header.
fn examples(prose: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = prose;
    while let Some((_, after)) = rest.split_once("```yaml\n") {
        let (block, after) = after.split_once("```").unwrap();
        all.push(block.to_owned());
        rest = after;
    }
    all
}

struct Component {
    kind: Kind,
    name: &'static str,
    aliases: &'static [&'static str],
    signals: String,
    prose: String,
}

fn components() -> Vec<Component> {
    fn add<C: ?Sized>(all: &mut Vec<Component>, kind: Kind, registry: &'static [Entry<C>]) {
        for entry in registry {
            let signals: Vec<&str> = entry.signals.iter().map(|signal| signal.name()).collect();
            all.push(Component {
                kind,
                name: entry.name,
                aliases: entry.aliases,
                signals: signals.join(", "),
                prose: prose(entry.source),
            });
        }
    }
    let mut all = Vec::new();
    add(&mut all, Kind::Receiver, receivers::ALL);
    add(&mut all, Kind::Processor, processors::ALL);
    add(&mut all, Kind::Exporter, exporters::ALL);
    add(&mut all, Kind::Connector, connectors::ALL);
    add(&mut all, Kind::Extension, extensions::ALL);
    all
}

fn reference() -> String {
    let schemas = Schemas::default();
    let mut out = String::from(
        "# Components\n\nEvery component with its settings, generated from the code by \
         `UPDATE=1 cargo test --test generated`.\nThe YAML files beside this one are whole \
         configurations; `skep print-config --config FILE` shows what one\ncomes to, `skep schema` \
         prints a JSON schema for editors.\n",
    );
    let mut section = "";
    for component in components() {
        if section != component.kind.section() {
            section = component.kind.section();
            let mut title = section.to_owned();
            title[..1].make_ascii_uppercase();
            write!(out, "\n## {title}\n").unwrap();
        }
        write!(out, "\n### {} `{}`\n\n", component.kind.name(), component.name).unwrap();
        writeln!(out, "{}", component.prose.trim()).unwrap();
        if !component.aliases.is_empty() {
            write!(out, "\nOlder names: `{}`.\n", component.aliases.join("`, `")).unwrap();
        }
        if component.kind != Kind::Extension {
            write!(out, "\nSignals: {}.\n", component.signals).unwrap();
        }
        let schema = schemas.component(component.kind, component.name).unwrap();
        let mut rows = String::new();
        fields(&mut rows, &schemas, schema, "", &mut Vec::new());
        if !rows.is_empty() {
            write!(out, "\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n{rows}").unwrap();
        }
    }
    out
}

/// A row for each key of a map, and below it those of the maps in it. A map that stands within itself is
/// told once.
fn fields<'a>(
    rows: &mut String,
    schemas: &'a Schemas,
    schema: &'a Value,
    path: &str,
    above: &mut Vec<&'a Value>,
) {
    let all = schemas.alternatives(schema);
    let maps: Vec<&Value> = all.into_iter().filter(|one| one["properties"].is_object()).collect();
    let is_told = |map: &Value| above.iter().any(|one| std::ptr::eq(*one, map));
    if above.len() > DEPTH_LIMIT || maps.iter().any(|map| is_told(map)) {
        return;
    }
    let depth = above.len();
    above.extend(&maps);
    for (key, field) in maps.iter().filter_map(|map| map["properties"].as_object()).flatten() {
        let inner = schemas.alternatives(field);
        if inner.iter().any(|schema| schema["$ref"] == "#/$defs/anything") {
            continue;
        }
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let meaning = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        let default = match &field["default"] {
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let kind = kind(&inner);
        let meaning = meaning.replace('|', "\\|");
        writeln!(rows, "| `{path}` | {kind} | {default} | {meaning} |").unwrap();
        let items = inner.iter().find_map(|schema| schema.get("items"));
        match items {
            Some(items) => fields(rows, schemas, items, &format!("{path}[]"), above),
            None => fields(rows, schemas, field, &path, above),
        }
    }
    above.truncate(depth);
}

/// What a value is, in a word or by its choices.
fn kind(all: &[&Value]) -> String {
    let mut choices: Vec<&str> = Vec::new();
    for schema in all {
        choices.extend(schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str));
        choices.extend(schema["const"].as_str());
    }
    if !choices.is_empty() {
        return choices.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    }
    if all.iter().any(|schema| schema["writeOnly"] == true) {
        return "secret".to_owned();
    }
    if all.iter().any(|schema| schema["pattern"].is_string()) {
        return "duration".to_owned();
    }
    let named = all.iter().find_map(|schema| match &schema["type"] {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").map(Into::into)
        }
        _ => None,
    });
    match named.as_deref() {
        Some("object") => "map",
        Some("array") => "list",
        Some("integer") => "whole number",
        Some("boolean") => "true or false",
        Some("string") => "text",
        Some("number") => "number",
        _ => "any",
    }
    .to_owned()
}

#[test]
fn the_reference_is_what_the_code_says() {
    is_up_to_date(FILE, &reference());
}

/// Editors with a YAML language server find it by the first line of each pipeline.
#[test]
fn the_schema_is_what_the_code_says() {
    is_up_to_date(SCHEMA, &format!("{:#}\n", Schemas::default().whole()));
    for entry in fs::read_dir("pipelines").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let first = "# yaml-language-server: $schema=schema.json\n";
            assert!(text.starts_with(first), "{}: {first}", path.display());
        }
    }
}

fn is_up_to_date(file: &str, generated: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, generated).unwrap();
    }
    let written = fs::read_to_string(file).unwrap_or_default();
    let differs = written.lines().zip(generated.lines()).position(|(old, new)| old != new);
    assert!(
        written == generated,
        "{file} differs from the code at line {}; run `UPDATE=1 cargo test --test generated`",
        differs.map_or(written.lines().count().min(generated.lines().count()), |at| at) + 1
    );
}

#[test]
fn every_component_says_what_it_is_for() {
    for component in components() {
        let first = component.prose.lines().next().unwrap_or_default();
        assert!(first.len() > 20, "{} {} has no prose", component.kind.name(), component.name);
        assert!(!examples(&component.prose).is_empty(), "{} has no example", component.name);
    }
}

/// A whole file around the body of one component.
fn file(component: &Component, example: &str) -> String {
    let lines: Vec<String> = example.lines().map(|line| format!("  {line}")).collect();
    let body = lines.join("\n") + "\n";
    let id = example.lines().find_map(|line| {
        let (id, _) = line.split_once(':')?;
        (!line.starts_with([' ', '#'])).then_some(id)
    });
    let id = id.unwrap();
    let sections = ["receivers", "processors", "exporters", "connectors", "extensions"];
    let mut text = String::new();
    for section in sections {
        writeln!(text, "{section}:").unwrap();
        if section == component.kind.section() {
            text.push_str(&body);
        }
        if matches!(section, "receivers" | "exporters") {
            text.push_str("  nop/other:\n");
        }
    }
    let (mut receiver, mut exporter, mut processors) = ("nop/other", "nop/other", "");
    let mut second = String::new();
    let mut extension = "";
    let first = component.signals.split(", ").next().unwrap();
    let signal = if first.is_empty() { "traces" } else { first };
    match component.kind {
        Kind::Receiver => receiver = id,
        Kind::Processor => processors = id,
        Kind::Exporter => exporter = id,
        Kind::Connector => {
            exporter = id;
            second = format!("    traces/second: {{receivers: [{id}], exporters: [nop/other]}}\n");
        }
        Kind::Extension => extension = id,
    }
    write!(
        text,
        "service:\n  extensions: [{extension}]\n  pipelines:\n    {signal}: {{receivers: \
         [{receiver}], processors: [{processors}], exporters: [{exporter}]}}\n{second}"
    )
    .unwrap();
    text
}

#[test]
fn every_example_is_valid() {
    let env = |name: &str| Some(format!("value-of-{}", name.to_lowercase()));
    for component in components() {
        for example in examples(&component.prose) {
            let text = file(&component, &example);
            let mut problems = Problems::default();
            let loaded = source::load(&[format!("yaml:{text}")], &[], &env, &mut problems);
            let root = loaded.root.as_ref();
            assert!(root.is_some(), "{problems:?}\n{text}");
            document::load(root.unwrap(), &mut problems);
            assert!(!problems.have_mistakes(), "{problems:?}\n{text}");
        }
    }
}

/// Components of the README's configurations, in pipelines of nothing else where they have none.
#[test]
fn the_configurations_of_the_readme_are_valid() {
    let env = |name: &str| Some(format!("value-of-{}", name.to_lowercase()));
    let blocks = examples(&fs::read_to_string("README.md").unwrap());
    assert!(blocks.len() > 1, "{blocks:?}");
    for block in blocks {
        let mut problems = Problems::default();
        let node = yaml::parse(0, &block).unwrap_or_else(|problem| panic!("{problem:?}\n{block}"));
        let value: Value = config::decode(&node, &mut problems).unwrap();
        let mut frame = "receivers: {nop: }\nservice:\n  pipelines:\n".to_owned();
        for id in value["exporters"].as_object().unwrap().keys() {
            let (name, about) = id.split_once('/').unwrap_or((id, ""));
            let entry = exporters::ALL.iter().find(|entry| entry.name == name).unwrap();
            let signal = match about {
                "logs" | "metrics" => about,
                _ => entry.signals[0].name(),
            };
            writeln!(frame, "    {signal}: {{receivers: [nop], exporters: [{id}]}}").unwrap();
        }
        let mut uris = vec![format!("yaml:{block}")];
        if value["service"]["pipelines"].is_null() {
            uris.push(format!("yaml:{frame}"));
        }
        let loaded = source::load(&uris, &[], &env, &mut problems);
        document::load(loaded.root.as_ref().unwrap(), &mut problems);
        // Files of an example do not exist here.
        problems.0.retain(|problem| !problem.is_absent);
        assert!(problems.0.is_empty(), "{problems:?}\n{block}");
    }
}
