//! The rooms of the engine: each uses only those before it, and what stands under all of them; and
//! within a room no circle of imports has more than three files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::sources;

/// From the bottom to the top.
const ROOMS: [&str; 5] = ["disk", "export", "work", "intake", "plan"];
/// Files of the engine that every room may use.
const UNDER_ALL: [&str; 4] = ["budget", "identity", "memory", "panics"];
/// Most files of a circle within a room.
const CIRCLE: usize = 3;

/// `crate::engine::work::job` as its parts without `crate`.
type Module = Vec<String>;

/// The module of a source file.
pub(super) fn module(path: &Path) -> Option<Module> {
    let path = path.strip_prefix("src").ok()?.with_extension("");
    let mut parts: Module =
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts.pop_if(|last| last == "mod");
    Some(parts)
}

/// The paths that a `use` names: `a::{b, c::{d}}` names `a::b` and `a::c::d`.
fn leaves(tree: &str, prefix: &[String], found: &mut Vec<Module>) {
    let tree = tree.trim();
    let (path, group) = match tree.split_once('{') {
        Some((path, rest)) => (path, rest.rsplit_once('}').map(|(group, _)| group)),
        None => (tree.split(" as ").next().unwrap_or_default(), None),
    };
    let mut all = prefix.to_vec();
    all.extend(path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    let Some(group) = group else { return found.push(all) };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    leaves(&group[start..at], &all, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// What a source names by a path: in `use`, and in `crate::` and `super::` paths elsewhere.
pub(super) fn named(text: &str) -> Vec<Module> {
    let text = text.replace("pub(in crate::engine)", "pub");
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut rest = String::new();
    for (i, part) in code.split("use ").enumerate() {
        match part.split_once(';') {
            Some((tree, after)) if i > 0 => {
                leaves(tree, &[], &mut found);
                rest.push_str(after);
            }
            _ => rest.push_str(part),
        }
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for word in rest.split(|c: char| !is_path(c)) {
        if word.starts_with("crate::") || word.starts_with("super::") {
            leaves(word, &[], &mut found);
        }
    }
    found
}

/// The files of the engine without those of tests, and which of them each uses.
fn graph() -> BTreeMap<Module, BTreeSet<Module>> {
    let files: BTreeMap<Module, String> = sources()
        .into_iter()
        .filter_map(|(path, text)| Some((module(&path)?, text)))
        .filter(|(module, _)| module[0] == "engine")
        .collect();
    let for_tests: Vec<Module> = files
        .iter()
        .flat_map(|(module, text)| {
            let declared = text.split("#[cfg(test)]\nmod ").skip(1);
            declared.filter_map(move |rest| {
                let name = rest.split_once(';')?.0;
                let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                is_name.then(|| [&module[..], &[name.to_owned()]].concat())
            })
        })
        .collect();
    let is_for_tests = |module: &Module| for_tests.iter().any(|test| module.starts_with(test));
    let mut graph = BTreeMap::new();
    for (module, text) in files.iter().filter(|(module, _)| !is_for_tests(module)) {
        let mut used = BTreeSet::new();
        for path in named(text).into_iter().filter(|path| !path.is_empty()) {
            let supers = path.iter().take_while(|part| *part == "super").count();
            let whole = match path[0].as_str() {
                "crate" => path[1..].to_vec(),
                "self" => [&module[..], &path[1..]].concat(),
                "super" if supers <= module.len() => {
                    [&module[..module.len() - supers], &path[supers..]].concat()
                }
                _ => continue,
            };
            let found = (1..=whole.len()).rev().map(|len| whole[..len].to_vec());
            let file = found.into_iter().find(|part| files.contains_key(part));
            used.extend(file.filter(|file| file != module && !is_for_tests(file)));
        }
        graph.insert(module.clone(), used);
    }
    graph
}

#[test]
fn rooms_use_only_those_before_them() {
    let graph = graph();
    let room =
        |module: &Module| ROOMS.iter().position(|room| module.get(1).is_some_and(|at| at == room));
    let mut seen = 0;
    for (module, used) in &graph {
        let Some(own) = room(module) else { continue };
        seen += 1;
        for other in used {
            let is_under = other.get(1).is_some_and(|name| UNDER_ALL.contains(&&**name));
            let is_before = room(other).is_some_and(|other| other <= own);
            assert!(is_under || is_before, "{} uses {}", module.join("::"), other.join("::"));
        }
    }
    assert!(seen > 25, "the rooms were found: {seen}");
    for name in UNDER_ALL {
        let used = &graph[&vec!["engine".to_owned(), name.to_owned()]];
        assert!(used.is_empty(), "{name} stands under all rooms and uses {used:?}");
    }
}

#[test]
fn circles_within_a_room_are_small() {
    let graph = graph();
    let within = |a: &Module, b: &Module| a.len() > 2 && b.len() > 2 && a[..2] == b[..2];
    // What a file reaches within its room.
    let reach = |from: &Module| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for other in graph.get(&module).into_iter().flatten() {
                if within(from, other) && reached.insert(other.clone()) {
                    next.push(other.clone());
                }
            }
        }
        reached
    };
    for module in graph.keys().filter(|module| module.len() > 2) {
        let reached = reach(module);
        if reached.contains(module) {
            let circle: Vec<&Module> =
                reached.iter().filter(|other| reach(other).contains(module)).collect();
            assert!(circle.len() <= CIRCLE, "a circle of {}: {circle:?}", circle.len());
        }
    }
}

#[test]
fn the_reader_of_paths_sees_groups() {
    let text =
        "use super::{\n    a::{self, B as C},\n    d,\n};\nlet x = crate::e::f(); // super::g\n";
    let named: Vec<String> = named(text).iter().map(|path| path.join("::")).collect();
    assert_eq!(named, ["super::a::self", "super::a::B", "super::d", "crate::e::f"]);
    assert!(fs::exists("src/engine/work").unwrap());
}
