//! The reference is generated from the components themselves: the prose and the examples at the top
//! of their files, and their fields with types, defaults and comments. So are the tables in
//! `README.md` and the index of `pipelines/`. These tests compare;
//! `UPDATE=1 cargo test --test generated` writes the files anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod docs;
mod examples;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use serde_json::Value;
use skep::{
    component::{Entry, Kind},
    config::ignored,
    connectors,
    document::schema::Schemas,
    exporters, extensions,
    ottl::{self, Context, Types},
    processors, receivers,
};

/// How everything is written anew.
const UPDATE: &str = "UPDATE=1 cargo test --test generated";
/// The pages of the components.
const FOLDER: &str = "docs/components";
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

struct Component {
    kind: Kind,
    name: &'static str,
    aliases: &'static [&'static str],
    signals: String,
    /// The text of its file, and the header of that.
    source: &'static str,
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
                source: entry.source,
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

impl Component {
    /// Its page, in `docs/components`.
    fn page(&self) -> String {
        format!("{}-{}.md", self.kind.name(), self.name)
    }

    /// The first sentence of its documentation.
    fn summary(&self) -> String {
        let paragraph = self.prose.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        let end = paragraph.find(". ").unwrap_or(paragraph.len());
        paragraph[..end].trim().trim_end_matches('.').to_owned()
    }

    /// The file that documents it.
    fn file(&self) -> String {
        let folder = format!("src/{}", self.kind.section());
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut named = files.filter(|path| path.is_file());
        let is_it = |path: &PathBuf| fs::read_to_string(path).unwrap() == self.source;
        named
            .find(is_it)
            .unwrap_or_else(|| panic!("no file of {}", self.name))
            .display()
            .to_string()
    }

    fn reference(&self, schemas: &Schemas) -> String {
        let mut kind = self.kind.name().to_owned();
        kind[..1].make_ascii_uppercase();
        let mut out = format!(
            "<!-- Generated from `{}` by `{UPDATE}`. -->\n\n# {kind} `{}`\n\n{}\n",
            self.file(),
            self.name,
            self.prose.trim()
        );
        if !self.aliases.is_empty() {
            write!(out, "\nOlder names: `{}`.\n", self.aliases.join("`, `")).unwrap();
        }
        if self.kind != Kind::Extension {
            write!(out, "\nSignals: {}.\n", self.signals).unwrap();
        }
        let schema = schemas.component(self.kind, self.name).unwrap();
        let mut settings = Settings::default();
        fields(&mut settings, schemas, schema, "", &mut Vec::new());
        if !settings.rows.is_empty() {
            let head = "| Key | Type | Default | Meaning |\n|---|---|---|---|";
            write!(out, "\n## Settings\n\n{head}\n{}", settings.rows).unwrap();
        }
        if !settings.ignored.is_empty() {
            out.push_str(
                "\n## Keys without effect\n\nThese keys of the Collector are accepted with a \
                 warning.\n\n| Keys | Why they have no effect |\n|---|---|\n",
            );
            for (why, keys) in &settings.ignored {
                writeln!(out, "| `{}` | {why} |", keys.join("`, `")).unwrap();
            }
        }
        out.push_str("\n[All components](README.md)\n");
        out
    }
}

fn index() -> String {
    let mut out = format!(
        "<!-- Generated from the code by `{UPDATE}`. -->\n\n# Components\n\nEvery component has a page \
         with examples, all settings with their types and defaults, and what\ndiffers from the \
         Collector. `skep components` prints the list, `skep schema` a JSON schema for editors,\n\
         `skep print-config --config FILE` the settings that are in force. Whole configurations are in\n\
         [`pipelines/`](../../pipelines/README.md).\n"
    );
    let mut section = "";
    for component in components() {
        if section != component.kind.section() {
            section = component.kind.section();
            let mut title = section.to_owned();
            title[..1].make_ascii_uppercase();
            write!(out, "\n## {title}\n\n| Type | Signals | What it does |\n|---|---|---|\n")
                .unwrap();
        }
        let (name, page, summary) = (component.name, component.page(), component.summary());
        let is_extension = component.kind == Kind::Extension;
        let signals = if is_extension { "-" } else { &component.signals };
        writeln!(out, "| [`{name}`]({page}) | {signals} | {summary} |").unwrap();
    }
    out
}

/// The table in the README: a row for each kind.
fn overview() -> String {
    let mut out = String::from("| Kind | Types |\n|---|---|\n");
    for kind in examples::KINDS {
        let all = components().into_iter().filter(|component| component.kind == kind);
        let links: Vec<String> =
            all.map(|one| format!("[`{}`](docs/components/{})", one.name, one.page())).collect();
        writeln!(out, "| {} | {} |", kind.section(), links.join(", ")).unwrap();
    }
    out
}

/// Rows of the table of measurements that the README repeats: load and program.
const COSTS: [(&str, &str); 5] = [
    ("forwarded request by request", "skep"),
    ("batch", "skep"),
    ("batch, one attribute upserted into every span", "skep"),
    ("upsert, zstd in and out", "skep"),
    ("tail sampling, 1 s, three policies, one trace in ten kept", "skep"),
];

fn costs() -> String {
    let table = fs::read_to_string("docs/performance.md").unwrap();
    let mut lines = table.lines().skip_while(|line| !line.starts_with("| load |"));
    let mut out = String::new();
    for line in lines.by_ref().take(2) {
        writeln!(out, "{line}").unwrap();
    }
    let rows: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    for (load, program) in COSTS {
        let row = rows.iter().find(|row| row.starts_with(&format!("| {load} | {program} |")));
        writeln!(out, "{}", row.unwrap_or_else(|| panic!("no row of {load}"))).unwrap();
    }
    out
}

/// The first comment of each configuration.
fn pipelines() -> String {
    let mut out = format!(
        "<!-- Generated from the files beside it by `{UPDATE}`. -->\n\n# Configurations\n\nEach file is a \
         whole configuration that runs: `skep --config pipelines/sidecar.yaml`. Tests run all of them\n\
         (`tests/it/scenarios.rs`). [docs/configuration.md](../docs/configuration.md) describes the form,\n\
         [docs/components](../docs/components/README.md) each component with its settings.\n\n\
         [`schema.json`](schema.json) is what `skep schema` prints; editors with a YAML language server find it by\n\
         the first line of each file.\n"
    );
    for path in yaml_files() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let comment = text.lines().skip(1).map_while(|line| line.strip_prefix('#'));
        let comment: Vec<&str> = comment.map(str::trim).collect();
        assert!(!comment.is_empty(), "{name} does not say what it is for");
        write!(out, "\n## [{name}]({name})\n\n{}\n", comment.join("\n")).unwrap();
    }
    out
}

fn yaml_files() -> Vec<PathBuf> {
    let paths = fs::read_dir("pipelines").unwrap().map(|entry| entry.unwrap().path());
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let mut paths: Vec<PathBuf> = paths.filter(is_yaml).collect();
    paths.sort();
    paths
}

/// Replaces the text between the marks of a generated block.
fn with_block(text: &str, name: &str, block: &str) -> String {
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no mark {begin}"));
    let (_, after) = rest.split_once("<!-- end of generated -->").unwrap();
    format!("{before}{begin}\n{block}\n<!-- end of generated -->{after}")
}

/// The keys of a component.
#[derive(Default)]
struct Settings {
    /// A row for each key.
    rows: String,
    /// Keys without effect, by the reason.
    ignored: BTreeMap<String, Vec<String>>,
}

/// A row for each key of a map, and below it those of the maps in it. A map that contains itself is
/// shown once.
fn fields<'a>(
    settings: &mut Settings,
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
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let comment = field["description"].as_str().unwrap_or_default();
        if Schemas::is_ignored(field) {
            let (why, instead) = ignored::reason(comment).unwrap();
            let why = if instead == "remove the key" { why } else { format!("{why}; {instead}") };
            settings.ignored.entry(why.replace('|', "\\|")).or_default().push(path);
            continue;
        }
        let meaning = comment.replace('\n', " ");
        let default = match &field["default"] {
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let kind = kind(&inner);
        let meaning = meaning.replace('|', "\\|");
        writeln!(settings.rows, "| `{path}` | {kind} | {default} | {meaning} |").unwrap();
        let part = |key| inner.iter().find_map(|schema| schema.get(key));
        if let Some(items) = part("items") {
            fields(settings, schemas, items, &format!("{path}[]"), above);
        } else if let Some(values) = part("additionalProperties").filter(|it| it.is_object()) {
            fields(settings, schemas, values, &format!("{path}.<name>"), above);
        } else {
            fields(settings, schemas, field, &path, above);
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
    let schemas = Schemas::default();
    let mut pages = BTreeSet::from(["README.md".to_owned()]);
    is_up_to_date(&format!("{FOLDER}/README.md"), &index());
    for component in components() {
        let page = component.page();
        is_up_to_date(&format!("{FOLDER}/{page}"), &component.reference(&schemas));
        assert!(pages.insert(page), "two components have one page");
    }
    for entry in fs::read_dir(FOLDER).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(pages.contains(&name), "{FOLDER}/{name} is the page of no component");
    }
}

#[test]
fn the_tables_of_the_readme_are_up_to_date() {
    let text = fs::read_to_string("README.md").unwrap();
    let text = with_block(&text, "components", &overview());
    is_up_to_date("README.md", &with_block(&text, "costs", &costs()));
}

/// The paths of each context of OTTL.
fn paths() -> String {
    let mut out = String::from("| Context | Paths |\n|---|---|\n");
    for context in Context::ALL {
        let shown =
            ottl::fields(context).iter().filter(|field| field.path != "cache").map(|field| {
                let keys = if field.has_keys { "[...]" } else { "" };
                let mark = if field.writes == Types::NONE { " (read only)" } else { "" };
                format!("`{}{keys}`{mark}", field.path)
            });
        let shown: Vec<String> = shown.collect();
        writeln!(out, "| `{}` | {} |", context.name(), shown.join(", ")).unwrap();
    }
    out
}

/// The functions of OTTL.
fn functions() -> String {
    let mut all: Vec<_> = ottl::functions().collect();
    all.sort_by_key(|function| function.name);
    let mut out = String::new();
    for (title, is_editor) in [("Editors", true), ("Converters", false)] {
        write!(out, "## {title}\n\n| Function | What it does | Contexts |\n|---|---|---|\n")
            .unwrap();
        for function in all.iter().filter(|function| function.is_editor() == is_editor) {
            let contexts: Vec<&str> = function.contexts.iter().map(|one| one.name()).collect();
            let contexts = if contexts.is_empty() { "all".to_owned() } else { contexts.join(", ") };
            let words = function.words.replace('|', "\\|");
            writeln!(out, "| `{}` | {words} | {contexts} |", ottl::signature(function)).unwrap();
        }
        out.push('\n');
    }
    out.trim_end().to_owned() + "\n"
}

#[test]
fn the_page_of_the_language_is_up_to_date() {
    let text = fs::read_to_string("docs/ottl.md").unwrap();
    let text = with_block(&text, "paths", &paths());
    is_up_to_date("docs/ottl.md", &with_block(&text, "functions", &functions()));
}

#[test]
fn the_index_of_configurations_is_up_to_date() {
    is_up_to_date("pipelines/README.md", &pipelines());
}

/// Editors with a YAML language server find it by the first line of each pipeline.
#[test]
fn the_schema_is_what_the_code_says() {
    is_up_to_date(SCHEMA, &format!("{:#}\n", Schemas::default().whole()));
    for path in yaml_files() {
        let text = fs::read_to_string(&path).unwrap();
        let first = "# yaml-language-server: $schema=schema.json\n";
        assert!(text.starts_with(first), "{}: {first}", path.display());
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
        "{file} differs from the code at line {}; run `{UPDATE}`",
        differs.map_or(written.lines().count().min(generated.lines().count()), |at| at) + 1
    );
}

#[test]
fn every_component_says_what_it_is_for() {
    for component in components() {
        let first = component.prose.lines().next().unwrap_or_default();
        assert!(first.len() > 20, "{} {} has no prose", component.kind.name(), component.name);
        let has_example = !examples::blocks(&component.prose, "yaml").is_empty();
        assert!(has_example, "{} has no example", component.name);
    }
}

#[test]
fn every_example_is_valid() {
    for component in components() {
        for example in examples::blocks(&component.prose, "yaml") {
            assert!(example.mark.is_empty(), "{}: `{}`", component.name, example.mark);
            let text = examples::around_component(component.kind, &example.text);
            let problems = examples::problems(std::slice::from_ref(&text));
            assert!(!problems.have_mistakes(), "{problems:?}\n{text}");
        }
    }
}
