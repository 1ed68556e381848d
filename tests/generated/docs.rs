//! The documentation that people write: links lead somewhere, examples are valid, files that it
//! names exist, and everything is reached from the README.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;
use skep::{
    component::Kind,
    config::{self, Problems, yaml},
};

use crate::examples;

/// Longest README.
const README_LIMIT: usize = 150;

/// The pages, by path from the top folder.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("pipelines/README.md")];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    let pages: BTreeMap<PathBuf, String> = paths.into_iter().map(read).collect();
    assert!(pages.len() > 30, "the pages were found");
    pages
}

/// The lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    })
}

/// A line in pieces outside and inside code spans, which alternate.
fn pieces(line: &str) -> Vec<&str> {
    line.split('`').collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // The text of a link may have code in it; code has no links.
        let outside: Vec<&str> = pieces(line).into_iter().step_by(2).collect();
        let line = outside.join("_");
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            found.push(target.to_owned());
        }
    }
    found
}

/// The anchors of a page, as GitHub makes them from its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for line in prose(text) {
        let title = line.trim_start_matches('#');
        if !line.starts_with('#') || !title.starts_with(' ') {
            continue;
        }
        // A link in a heading counts with its text only.
        let mut shown = String::new();
        let mut rest = title.trim();
        while let Some((before, after)) = rest.split_once("](") {
            shown.push_str(before);
            rest = after.split_once(')').map_or("", |(_, after)| after);
        }
        shown.push_str(rest);
        let slug: String = shown
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let times = count.entry(slug.clone()).or_default();
        found.insert(if *times == 0 { slug } else { format!("{slug}-{times}") });
        *times += 1;
    }
    found
}

/// The file that a link of `page` leads to, and the anchor; nothing for one that leaves the
/// project.
fn target(page: &Path, link: &str) -> Option<(PathBuf, Option<String>)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) =
        link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor.to_owned())));
    if path.is_empty() {
        return Some((page.to_owned(), anchor));
    }
    let mut resolved = PathBuf::new();
    for part in page.parent().unwrap().join(path).components() {
        match part {
            Component::ParentDir => assert!(resolved.pop(), "{link} leads outside"),
            part => resolved.push(part),
        }
    }
    Some((resolved, anchor))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut count = 0;
    let mut broken = Vec::new();
    for (page, text) in &pages {
        for link in links(text) {
            let Some((path, anchor)) = target(page, &link) else { continue };
            count += 1;
            let has_anchor = || {
                let Some(anchor) = &anchor else { return true };
                pages.get(&path).is_some_and(|text| anchors(text).contains(anchor))
            };
            if !path.exists() || !has_anchor() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(count > 100, "the links were found");
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let pages = pages();
    let mut reached = BTreeSet::new();
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(page) = next.pop() {
        let Some(text) = pages.get(&page) else { continue };
        if reached.insert(page.clone()) {
            let found = links(text).into_iter().filter_map(|link| target(&page, &link));
            next.extend(found.map(|(path, _)| path));
        }
    }
    let missed: Vec<&PathBuf> = pages.keys().filter(|page| !reached.contains(*page)).collect();
    assert!(missed.is_empty(), "no link leads to {missed:?}");
}

/// The texts that make a whole configuration of some of its sections: pipelines are added where it
/// has none.
fn around_sections(example: &str) -> Vec<String> {
    let mut problems = Problems::default();
    let node = yaml::parse(0, example).unwrap_or_else(|problem| panic!("{problem:?}\n{example}"));
    let value: Value = config::decode(&node, &mut problems).unwrap();
    let mut texts = vec![example.to_owned()];
    if value["service"]["pipelines"].is_null() {
        let sections = examples::KINDS.into_iter().filter_map(|kind| {
            let section = value[kind.section()].as_object()?;
            Some(section.keys().map(move |id| (kind, id.clone())).collect::<Vec<_>>())
        });
        let ids: Vec<(Kind, String)> = sections.flatten().collect();
        texts.push(examples::frame(
            &ids,
            Kind::Connector,
            value["service"]["extensions"].is_null(),
            &|kind, id| node.get(kind.section())?.get(id).cloned(),
        ));
    }
    texts
}

/// A block marked `yaml` is a configuration, or sections of one; one marked `yaml processor` (or
/// another kind) has the body of such a component.
#[test]
fn every_example_is_valid() {
    let mut count = 0;
    for (page, text) in pages() {
        // `tests/generated/main.rs` checks these where they are in the code.
        if page.starts_with("docs/components") {
            continue;
        }
        for example in examples::blocks(&text, "yaml") {
            count += 1;
            let texts = match &*example.mark {
                "" => around_sections(&example.text),
                mark => {
                    let kind = examples::KINDS.into_iter().find(|kind| kind.name() == mark);
                    let kind = kind.unwrap_or_else(|| panic!("{}: `{mark}`", page.display()));
                    vec![examples::around_component(kind, &example.text)]
                }
            };
            let mut problems = examples::problems(&texts);
            // Files of an example do not exist here.
            problems.0.retain(|problem| !problem.is_absent);
            assert!(
                problems.0.is_empty(),
                "{}: {problems:?}\n{}",
                page.display(),
                texts.join("\n")
            );
        }
    }
    assert!(count > 8, "the examples were found");
}

/// A block marked `rust FILE` is a part of that file.
#[test]
fn code_that_the_documentation_shows_is_there() {
    let mut count = 0;
    for (page, text) in pages() {
        for block in examples::blocks(&text, "rust") {
            count += 1;
            let source = fs::read_to_string(&block.mark);
            let source = source.unwrap_or_else(|_| panic!("{}: `{}`", page.display(), block.mark));
            assert!(
                source.contains(&block.text),
                "{}: {} does not have\n{}",
                page.display(),
                block.mark,
                block.text
            );
        }
    }
    assert!(count > 2, "the code was found");
}

#[test]
fn lines_of_the_log_that_the_documentation_explains_are_in_the_code() {
    let mut sources = String::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    // Long texts go on in the next line.
    let sources = sources.replace("\\\n", "");
    let sources = sources.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = fs::read_to_string("docs/operations.md").unwrap();
    let (_, section) = text.split_once("### Lines to look for\n").unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with('#'));
    let mut count = 0;
    for row in rows.filter(|line| line.starts_with("| `")) {
        let cell = row.split(" | ").next().unwrap();
        for line in pieces(cell).into_iter().skip(1).step_by(2) {
            count += 1;
            assert!(sources.contains(line), "no line of the log says `{line}`");
        }
    }
    assert!(count > 10, "the lines were found");
}

#[test]
fn files_that_the_documentation_names_exist() {
    const FOLDERS: [&str; 8] =
        ["src/", "tests/", "docs/", "pipelines/", "benches/", "docker/", "proto/", ".ci/"];
    let mut count = 0;
    for (page, text) in pages() {
        for line in prose(&text) {
            for code in pieces(line).into_iter().skip(1).step_by(2) {
                let is_name = !code.contains(|c: char| " <>*{}=:".contains(c));
                if is_name && FOLDERS.iter().any(|folder| code.starts_with(folder)) {
                    count += 1;
                    assert!(Path::new(code).exists(), "{}: no file `{code}`", page.display());
                }
            }
        }
    }
    assert!(count > 40, "the names were found");
}

#[test]
fn the_readme_is_short_and_begins_with_what_to_do() {
    let text = fs::read_to_string("README.md").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= README_LIMIT, "README.md has {} lines", lines.len());
    let first_screen = lines[..60].join("\n");
    for command in ["git clone", "cargo build --release", "./target/release/skep", "cargo test"] {
        assert!(first_screen.contains(command), "`{command}` is too far down");
    }
}

#[test]
fn the_readers_of_markdown_see_links_anchors_and_code() {
    let text = "# A `b` c\n\n[x](y.md#z) and [`code`](a/b.md)\n\n```text\n[no](link)\n# No\n```\n\
                `[no](link)`\n## A b, c!\n## [a.yaml](b.yaml)\n## A `b` c\n";
    assert_eq!(links(text), ["y.md#z", "a/b.md", "b.yaml"]);
    let expected = ["a-b-c", "a-b-c-1", "a-b-c-2", "ayaml"];
    assert_eq!(anchors(text), expected.map(ToOwned::to_owned).into());
    let page = Path::new("docs/components/x.md");
    assert_eq!(target(page, "../y.md#z"), Some(("docs/y.md".into(), Some("z".to_owned()))));
    assert_eq!(target(page, "#z"), Some((page.to_owned(), Some("z".to_owned()))));
    assert_eq!(target(page, "https://example.com/"), None);
}
