//! Where configuration comes from: files, variables, inline text, `--set`; how references in it
//! are replaced; how several sources become one tree.
//!
//! The environment is given as a function, so nothing here reads the process's own.

use std::{fs, path::Path};

use super::{
    diagnostics::{Problem, Problems, Severity, Source},
    tree::{Member, Node, Place, Value},
    yaml,
};

/// Most rounds of replacing references that come out of references.
const ROUNDS: usize = 100;

/// Looks a variable up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The texts, by the index that places refer to.
    pub sources: Vec<Source>,
    /// The merged tree; none where a source could not be read.
    pub root: Option<Node>,
    /// The tree of each source that is YAML, by the index of the source.
    pub trees: Vec<(usize, Node)>,
}

/// Reads `uris` in order, later ones win, then applies `sets` (`a.b=value`).
pub fn load(
    uris: &[String],
    sets: &[String],
    env: Environment<'_>,
    problems: &mut Problems,
) -> Loaded {
    let mut loaded = Loaded::default();
    for uri in uris {
        match read(uri, env) {
            Ok(source) => {
                let index = loaded.sources.len();
                let parsed = yaml::parse(index, &source.text);
                loaded.sources.push(source);
                loaded.add(parsed, env, problems);
            }
            Err(message) => problems.0.push(without_place(message)),
        }
    }
    for set in sets {
        let Some((key, value)) = set.split_once('=') else {
            problems.0.push(without_place(format!("--set `{set}`: missing equal sign")));
            continue;
        };
        let index = loaded.sources.len();
        let parsed = flag(index, key, value);
        loaded.sources.push(Source { name: "--set".to_owned(), text: set.clone() });
        loaded.add(parsed, env, problems);
    }
    if problems.has_errors() {
        loaded.root = None;
    }
    loaded
}

/// The tree of `a.b=value`. Dots and double colons separate keys; the value is YAML. Places are
/// those in the flag as it was written.
fn flag(source: usize, key: &str, value: &str) -> Result<Node, Problem> {
    let keys: Vec<(usize, &str)> = split_keys(key);
    let path = keys.iter().fold(String::new(), |path, (_, key)| yaml::join(&path, key));
    let mut node = yaml::parse_at(source, value, key.len() + 1, &path)?;
    let mut path = &*path;
    for (at, key) in keys.into_iter().rev() {
        path = path.strip_suffix(key).unwrap_or(path).trim_end_matches(':');
        let key_place = Place { source, range: at..at + key.len() };
        let member = Member { key: key.to_owned(), key_place: key_place.clone(), value: node };
        node = Node { value: Value::Map(vec![member]), place: key_place, path: path.into() };
    }
    Ok(node)
}

/// Keys with their places.
fn split_keys(text: &str) -> Vec<(usize, &str)> {
    let mut keys = Vec::new();
    let mut start = 0;
    while let Some(length) = text[start..].find(['.', ':']) {
        let end = start + length;
        keys.push((start, &text[start..end]));
        start = end + if text[end..].starts_with("::") { 2 } else { 1 };
    }
    keys.push((start, &text[start..]));
    keys
}

impl Loaded {
    fn add(
        &mut self,
        parsed: Result<Node, Problem>,
        env: Environment<'_>,
        problems: &mut Problems,
    ) {
        let mut node = match parsed {
            Ok(node) => node,
            Err(problem) => return problems.0.push(problem),
        };
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            problems.error(&node, "the configuration must be a map of sections").help(
                "if this is a file name, write `--config file:NAME`; if it came from a variable, \
                 it holds something else than YAML",
            );
            return;
        }
        self.trees.push((node.place.source, node.clone()));
        substitute(&mut node, env, problems);
        match &mut self.root {
            None => self.root = Some(node),
            Some(root) => merge(root, node),
        }
    }
}

fn without_place(message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        place: None,
        path: String::new(),
        message,
        help: None,
        related: None,
    }
}

/// Reads one `--config` value.
fn read(uri: &str, env: Environment<'_>) -> Result<Source, String> {
    let (scheme, rest) = match uri.split_once(':') {
        // One letter is a drive.
        Some((scheme, rest)) if scheme.len() > 1 && !scheme.contains(['/', '.']) => (scheme, rest),
        _ => ("file", uri),
    };
    match scheme {
        "file" => {
            let path = Path::new(rest);
            if path.is_dir() {
                return Err(format!("`{rest}` is a directory; name a file in it"));
            }
            let text = fs::read_to_string(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("cannot read `{rest}`: there is no such file")
                }
                _ => format!("cannot read `{rest}`: {error}"),
            })?;
            Ok(Source { name: rest.to_owned(), text })
        }
        "env" => {
            let text = env(rest).ok_or_else(|| format!("the variable `{rest}` is not set"))?;
            Ok(Source { name: format!("env:{rest}"), text })
        }
        "yaml" => Ok(Source { name: "yaml:".to_owned(), text: rest.to_owned() }),
        "http" | "https" => Err(format!(
            "`{uri}`: configuration is not read from the network; fetch it to a file first"
        )),
        other => Err(format!(
            "scheme `{other}` is not supported for uri `{uri}`; use file:, env: or yaml:"
        )),
    }
}

/// Later wins: maps merge, everything else is replaced whole, null included.
fn merge(base: &mut Node, mut over: Node) {
    for node in [&mut *base, &mut over] {
        if let Value::Substituted { parsed, .. } = &mut node.value
            && matches!(**parsed, Value::Map(_))
        {
            node.value = std::mem::replace(parsed, Value::Null);
        }
    }
    match (&mut base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => {
            for member in over {
                match base.iter_mut().find(|known| known.key == member.key) {
                    Some(known) => {
                        known.key_place = member.key_place;
                        merge(&mut known.value, member.value);
                    }
                    None => base.push(member),
                }
            }
        }
        (_, value) => {
            base.value = value;
            base.place = over.place;
        }
    }
}

/// Replaces `${...}` in every string of the tree.
fn substitute(node: &mut Node, env: Environment<'_>, problems: &mut Problems) {
    match &mut node.value {
        Value::List(nodes) => nodes.iter_mut().for_each(|node| substitute(node, env, problems)),
        Value::Map(members) => {
            for Member { value, .. } in members {
                substitute(value, env, problems);
            }
        }
        Value::String(text) if text.contains('$') => {
            let place = node.place.clone();
            let bare = bare_reference(text).map(ToOwned::to_owned);
            match expand(text, env, 0) {
                Ok(Expanded::Text(text)) => {
                    if let Some(name) = bare {
                        let message = format!("`${name}` is not replaced");
                        problems.warning(node, message).help(format!(
                            "write `${{env:{name}}}`, or `$${name}` for the text itself"
                        ));
                    }
                    node.value = Value::String(text);
                }
                Ok(Expanded::Whole(text)) => node.value = whole(text, &place, &node.path),
                Err((message, help)) => {
                    problems.error(node, message).help(help);
                }
            }
        }
        _ => {}
    }
}

/// The value of a scalar that was one reference and nothing else.
fn whole(text: String, place: &Place, path: &str) -> Value {
    let Ok(parsed) = yaml::parse(place.source, &text) else { return Value::String(text) };
    match parsed.value {
        Value::Map(_) | Value::List(_) => {
            let mut node = Node { value: parsed.value, place: place.clone(), path: path.into() };
            relocate(&mut node, place, path);
            // A string field still gets the text.
            Value::Substituted { text, parsed: Box::new(node.value) }
        }
        scalar => Value::Substituted { text, parsed: Box::new(scalar) },
    }
}

/// Everything that came out of a reference stands where the reference stands.
fn relocate(node: &mut Node, place: &Place, path: &str) {
    node.place = place.clone();
    node.path = path.into();
    match &mut node.value {
        Value::List(nodes) => {
            for (i, node) in nodes.iter_mut().enumerate() {
                relocate(node, place, &format!("{path}::{i}"));
            }
        }
        Value::Map(members) => {
            for member in members {
                member.key_place = place.clone();
                relocate(&mut member.value, place, &yaml::join(path, &member.key));
            }
        }
        _ => {}
    }
}

enum Expanded {
    /// References within text, or none.
    Text(String),
    /// The whole scalar was one reference.
    Whole(String),
}

type Wrong = (String, String);

fn expand(text: &str, env: Environment<'_>, round: usize) -> Result<Expanded, Wrong> {
    if round > ROUNDS {
        return Err(("too many recursive expansions".into(), "a variable refers to itself".into()));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = closing(inner) else {
                return Err(("`${` has no closing `}`".into(), "write `$${` for the text".into()));
            };
            let value = lookup(&inner[..end], env, round)?;
            rest = &inner[end + 1..];
            if out.is_empty() && rest.is_empty() && at == 0 {
                return Ok(Expanded::Whole(value));
            }
            out.push_str(&value);
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(Expanded::Text(out))
}

/// Position of the brace that closes the reference, nested ones skipped.
fn closing(inner: &str) -> Option<usize> {
    let mut depth = 0;
    let bytes = inner.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if i > 0 && bytes[i - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(i),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn lookup(reference: &str, env: Environment<'_>, round: usize) -> Result<String, Wrong> {
    let reference = match expand(reference, env, round + 1)? {
        Expanded::Text(text) | Expanded::Whole(text) => text,
    };
    let (scheme, rest) = match reference.split_once(':') {
        Some((scheme, rest)) if !rest.starts_with('-') => (scheme, rest),
        _ => ("env", &*reference),
    };
    let text = match scheme {
        "env" => variable(rest, env)?,
        "file" => fs::read_to_string(rest)
            .map_err(|error| (format!("cannot read `{rest}`: {error}"), "check the path".into()))?,
        "yaml" => rest.to_owned(),
        other => {
            let message = format!("scheme `{other}` is not supported for uri `{reference}`");
            return Err((message, "use env:, file: or yaml:".into()));
        }
    };
    match expand(&text, env, round + 1)? {
        Expanded::Text(text) | Expanded::Whole(text) => Ok(text),
    }
}

fn variable(reference: &str, env: Environment<'_>) -> Result<String, Wrong> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        let wrong = name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_');
        let message = match wrong {
            Some(wrong) => {
                format!("environment variable `{name}` has an invalid name: `{wrong}` is in it")
            }
            None if name.is_empty() => "a reference without a name".to_owned(),
            None => format!("environment variable `{name}` has an invalid name"),
        };
        return Err((
            message,
            "names are letters, digits and `_`, not starting with a digit".into(),
        ));
    }
    match (env(name), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err((
            format!("the environment variable `{name}` is not set"),
            format!("set it where skep runs, or give a default: `${{env:{name}:-value}}`"),
        )),
    }
}

/// The name in `$NAME`, which older Collectors replaced; `$$NAME` is the text on purpose.
fn bare_reference(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        if after.starts_with(|c: char| c.is_ascii_uppercase()) {
            let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            return Some(&after[..after.find(is_end).unwrap_or(after.len())]);
        }
        rest = after.strip_prefix('$').unwrap_or(after);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        Some(match name {
            "KEY" => "secret".to_owned(),
            "PORT" => "4317".to_owned(),
            "EMPTY" => String::new(),
            "LIST" => "[a, b]".to_owned(),
            "MAP" => "{a: 1}".to_owned(),
            "NAME" => "KEY".to_owned(),
            "NESTED" => "${env:KEY}".to_owned(),
            "SELF" => "${SELF}".to_owned(),
            "DOLLAR" => "a$$b".to_owned(),
            _ => return None,
        })
    }

    fn loaded(texts: &[&str], sets: &[&str]) -> (Loaded, Problems) {
        let uris: Vec<String> = texts.iter().map(|text| format!("yaml:{text}")).collect();
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let mut problems = Problems::default();
        let loaded = load(&uris, &sets, &env, &mut problems);
        (loaded, problems)
    }

    fn text(yaml: &str) -> String {
        let (loaded, problems) = loaded(&[&format!("k: {yaml}")], &[]);
        match loaded.root.map(|root| root.at("k").value.clone()) {
            Some(Value::String(text) | Value::Substituted { text, .. }) => text,
            other => panic!("{other:?} {problems:?}"),
        }
    }

    #[test]
    fn references_are_replaced_as_the_collector_replaces_them() {
        assert_eq!(text("${env:KEY}"), "secret");
        assert_eq!(text("${KEY}"), "secret");
        assert_eq!(text("host:${PORT}/x"), "host:4317/x");
        assert_eq!(text("\"${env:MISSING:-d e}\""), "d e");
        assert_eq!(text("${env:MISSING:-}"), "");
        assert_eq!(text("${EMPTY}"), "");
        assert_eq!(text("${env:${NAME}}"), "secret");
        assert_eq!(text("${NESTED}"), "secret");
        assert_eq!(text("$${KEY}"), "${KEY}");
        assert_eq!(text("a$$b"), "a$b");
        assert_eq!(text("$lower"), "$lower");
        assert_eq!(text("${yaml:x}"), "x");
    }

    #[test]
    fn a_whole_reference_may_be_any_yaml() {
        let (loaded, _) = loaded(&["p: ${PORT}\nm: ${MAP}\nl: ${LIST}"], &[]);
        let root = loaded.root.unwrap();
        assert_eq!(root.at("m::a").value, Value::Int(1));
        assert!(
            matches!(&root.at("p").value, Value::Substituted { parsed, .. } if **parsed == Value::Int(4317))
        );
        assert!(matches!(&root.at("l").value, Value::Substituted { text, .. } if text == "[a, b]"));
    }

    #[test]
    fn an_unset_variable_without_a_default_is_an_error_at_its_place() {
        let (_, problems) = loaded(&["a: 1\nkey: ${env:MISSING}"], &[]);
        let problem = &problems.0[0];
        assert_eq!(problem.message, "the environment variable `MISSING` is not set");
        assert_eq!((problem.place.as_ref().unwrap().range.start, &*problem.path), (10, "key"));
    }

    #[test]
    fn wrong_references_are_errors() {
        for yaml in ["${env:1X}", "${foo:bar}", "${SELF}", "\"${KEY\""] {
            let (_, problems) = loaded(&[&format!("k: {yaml}")], &[]);
            assert!(problems.has_errors(), "{yaml}");
        }
    }

    #[test]
    fn a_bare_name_is_left_with_a_warning() {
        let (loaded, problems) = loaded(&["k: $KEY"], &[]);
        assert_eq!(loaded.root.unwrap().at("k").value, Value::String("$KEY".to_owned()));
        assert_eq!(problems.0[0].severity, Severity::Warning);
        for on_purpose in ["$$KEY", "a$$KEY", "$lower", "5$"] {
            let (_, problems) = loaded_once(on_purpose);
            assert_eq!(problems, Problems::default(), "{on_purpose}");
        }
        let (_, problems) = loaded_once("$$A $B");
        assert_eq!(problems.0[0].message, "`$B` is not replaced");
    }

    fn loaded_once(text: &str) -> (Loaded, Problems) {
        loaded(&[&format!("k: {text}")], &[])
    }

    #[test]
    fn later_sources_win_and_lists_are_replaced_whole() {
        let (loaded, problems) = loaded(
            &["a: {x: 1, y: 2}\nl: [1, 2]\nn: {z: 1}", "a: {y: 3}\nl: [3]\nn:"],
            &["a.x=5", "b.c=true"],
        );
        assert_eq!(problems, Problems::default());
        let root = loaded.root.unwrap();
        assert_eq!(root.at("a::x").value, Value::Int(5));
        assert_eq!(root.at("a::y").value, Value::Int(3));
        assert_eq!(root.at("b::c").value, Value::Bool(true));
        assert_eq!(root.at("n").value, Value::Null);
        assert!(matches!(&root.at("l").value, Value::List(nodes) if nodes.len() == 1));
    }

    #[test]
    fn flags_are_shown_as_they_were_written() {
        let (loaded, _) = loaded(&["a: 1"], &["b.c-d::e={f: [x]}"]);
        assert_eq!(loaded.sources[1].text, "b.c-d::e={f: [x]}");
        let root = loaded.root.unwrap();
        let node = root.at("b::c-d::e::f::0");
        assert_eq!(
            (&*node.path, node.value.clone()),
            ("b::c-d::e::f::0", Value::String("x".into()))
        );
        assert_eq!(&loaded.sources[1].text[node.place.range.clone()], "x");
        assert_eq!(&*root.at("b::c-d").path, "b::c-d");
    }

    #[test]
    fn what_is_not_a_configuration_is_explained() {
        let (_, problems) = loaded(&["just-a-name"], &[]);
        assert!(problems.0[0].help.as_ref().unwrap().contains("file name"));
        let mut problems = Problems::default();
        let uris = ["/".to_owned(), "/no/such.yaml".to_owned(), "http://x/".to_owned()];
        load(&uris, &["x".to_owned()], &env, &mut problems);
        assert_eq!(problems.0.len(), 4);
    }
}
