//! Where configuration comes from: files, variables, inline text, `--set`; how references in it
//! are replaced; how several sources become one tree.
//!
//! The environment is given as a function, so nothing here reads the process's own.
//!
//! Sizes are limited: a source has at most [`LIMIT`] bytes, all references together expand to at
//! most [`LIMIT`] bytes, and there are at most [`MOST_REFERENCES`].

mod reference;

use std::{collections::HashMap, fs::File, io::Read as _, path::Path, sync::Arc};

use self::reference::{Expanded, References};
use super::{
    diagnostics::{Problem, Problems},
    excerpt::Source,
    shown::without_secrets,
    tree::{Member, Node, Place, Value},
    yaml,
};

/// Largest source: 4 MiB.
pub const LIMIT: usize = 4 << 20;
/// Limit of references, including nested ones.
pub const MOST_REFERENCES: usize = 100_000;

/// In the remedy for a variable that is not set. What follows is wrong for a secret, which does not
/// belong into a file.
pub(crate) const OR_DEFAULT: &str = ", or give a default";

/// Looks a variable up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The texts, by the index that places refer to.
    pub sources: Vec<Source>,
    /// The merged tree; `None` if a source could not be read.
    pub root: Option<Node>,
    /// The tree of each source that is YAML, by the index of the source.
    pub trees: Vec<(usize, Node)>,
    /// A source could not be read.
    is_partial: bool,
}

/// Reads a text that somebody else has written. References to variables and files are not looked
/// up: whatever is said about them would tell their contents. Each is recorded as absent.
pub fn load_foreign(name: &str, text: String, problems: &mut Problems) -> Loaded {
    let mut loaded = Loaded::default();
    if text.len() > LIMIT {
        let message = format!("the text is larger than {} MiB", LIMIT >> 20);
        problems.0.push(Problem::of_the_whole(message));
        return loaded;
    }
    let parsed = yaml::parse(0, &text);
    loaded.sources.push(Source::new(name, text));
    loaded.add(parsed, &References::closed(), problems);
    if loaded.is_partial {
        loaded.root = None;
    }
    loaded
}

/// Reads `uris` in order, later ones win, then applies `sets` (`a.b=value`).
pub fn load(
    uris: &[String],
    sets: &[String],
    env: Environment<'_>,
    problems: &mut Problems,
) -> Loaded {
    let mut loaded = Loaded::default();
    let references = References::new(env);
    for uri in uris {
        match read(uri, env) {
            Ok(source) => {
                let index = loaded.sources.len();
                let parsed = yaml::parse(index, &source.text);
                loaded.sources.push(source);
                loaded.add(parsed, &references, problems);
            }
            Err(message) => {
                loaded.is_partial = true;
                problems.0.push(Problem::of_the_whole(message));
            }
        }
    }
    for set in sets {
        let Some((key, value)) = set.split_once('=') else {
            let key: String = set.chars().take_while(|c| !c.is_whitespace() && *c != ':').collect();
            let message = format!("--set `{key}`: missing equal sign");
            loaded.is_partial = true;
            problems.0.push(Problem::of_the_whole(message));
            continue;
        };
        let index = loaded.sources.len();
        let parsed = flag(index, key, value);
        loaded.sources.push(Source::new("--set", &**set));
        loaded.add(parsed, &references, problems);
    }
    if loaded.is_partial {
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
        node.key_place = Some(key_place.clone());
        let member = Member { key: key.to_owned(), key_place: key_place.clone(), value: node };
        let value = Value::Map(vec![member]);
        node = Node { value, place: key_place, key_place: None, path: path.into(), pieces: None };
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
        references: &References<'_>,
        problems: &mut Problems,
    ) {
        let mut node = match parsed {
            Ok(node) => node,
            Err(problem) => {
                self.is_partial = true;
                return problems.0.push(problem);
            }
        };
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            self.is_partial = true;
            problems.error(&node, "the configuration must be a map of sections").help(
                "if this is a file name, write `--config file:NAME`; if it came from a variable, \
                 the variable does not contain YAML",
            );
            return;
        }
        self.trees.push((node.place.source, node.clone()));
        let source = &self.sources[node.place.source].text;
        Substitution { source, references, problems }.apply(&mut node);
        match &mut self.root {
            None => self.root = Some(node),
            Some(root) => merge(root, node),
        }
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
            read_file(path).map(|text| Source::new(rest, text))
        }
        "env" => {
            let text = env(rest).ok_or_else(|| format!("the variable `{rest}` is not set"))?;
            Ok(Source::new(format!("env:{rest}"), text))
        }
        "yaml" => Ok(Source::new("yaml:", rest)),
        "http" | "https" => Err(format!(
            "`{}`: configuration is not read from the network; fetch it to a file first",
            without_secrets(uri)
        )),
        // YAML without its scheme is not shown, because it may contain secrets.
        other if rest.contains(char::is_whitespace) => Err(format!(
            "scheme `{other}` is not supported; write `yaml:` before text that is YAML"
        )),
        other => Err(format!(
            "scheme `{other}` is not supported for uri `{}`; use file:, env: or yaml:",
            without_secrets(uri)
        )),
    }
}

/// Reads a file, at most [`LIMIT`] bytes, because it may be an endless device.
pub fn read_file(path: &Path) -> Result<String, String> {
    let name = path.display();
    let explain = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("cannot read `{name}`: there is no such file"),
        _ => format!("cannot read `{name}`: {error}"),
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(explain)?;
    file.take(LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() > LIMIT {
        return Err(format!("cannot read `{name}`: it is larger than {} MiB", LIMIT >> 20));
    }
    String::from_utf8(bytes).map_err(|_| format!("cannot read `{name}`: it is not UTF-8 text"))
}

/// Records an error at `at` where the file that it names does not exist. What else may be wrong
/// with a file is found when it is read.
pub fn check_file(at: &Node, name: &str, problems: &mut Problems) {
    let path = Path::new(name);
    if path.try_exists().unwrap_or(true) {
        return;
    }
    let help = if path.is_relative() {
        "the path is relative to the directory in which skep is started"
    } else {
        "check the path; in a container, check that the file is mounted"
    };
    let message = format!("cannot read `{name}`: there is no such file");
    problems.error(at, message).help(help).is_absent = true;
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
            let known = base.iter().enumerate().map(|(at, member)| (member.key.clone(), at));
            let known: HashMap<String, usize> = known.collect();
            for member in over {
                if let Some(at) = known.get(&member.key) {
                    base[*at].key_place = member.key_place;
                    merge(&mut base[*at].value, member.value);
                } else {
                    base.push(member);
                }
            }
        }
        (_, value) => {
            base.value = value;
            base.place = over.place;
            base.key_place = over.key_place;
        }
    }
}

/// Replaces `${...}` in every string of a tree.
struct Substitution<'a> {
    /// The text of the tree.
    source: &'a str,
    references: &'a References<'a>,
    problems: &'a mut Problems,
}

impl Substitution<'_> {
    fn apply(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| self.apply(node)),
            Value::Map(members) => {
                for member in members {
                    self.apply(&mut member.value);
                }
            }
            Value::String(text) if text.contains('$') => {
                let (place, unreplaced) = (node.place.clone(), text.clone());
                let bare = bare_reference(text).map(ToOwned::to_owned);
                match self.references.expand(text, 0) {
                    Ok(Expanded::Text(text)) => {
                        if let Some(name) = bare {
                            let message = format!("`${name}` is not replaced");
                            self.problems.warning(node, message).help(format!(
                                "write `${{env:{name}}}`, or `$${name}` for the text itself"
                            ));
                        }
                        if text != unreplaced {
                            node.pieces = Some(Arc::default());
                        }
                        node.value = Value::String(text);
                    }
                    Ok(Expanded::Whole(text)) => {
                        let is_text = is_marked_as_text(self.source, &place);
                        node.value = whole(text, is_text, &place, &node.path);
                    }
                    Err(wrong) => {
                        let problem = self.problems.error(node, wrong.message);
                        problem.help(wrong.help).is_absent = wrong.is_absent;
                        node.value = Value::Unknown(unreplaced);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Bytes before a scalar that may hold its tag or block indicator.
const NEAR: usize = 200;

/// Whether a scalar is in quotes, in a block (after `|` or `>-`), or tagged `!!str`.
fn is_marked_as_text(source: &str, place: &Place) -> bool {
    let Some(raw) = source.get(place.range.clone()) else { return false };
    // A tag and a block indicator are short.
    let from = source.floor_char_boundary(place.range.start.saturating_sub(NEAR));
    let before = source[from..place.range.start].trim_end();
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    let is_block = word
        .strip_prefix(['|', '>'])
        .is_some_and(|rest| rest.bytes().all(|byte| matches!(byte, b'+' | b'-' | b'0'..=b'9')));
    raw.starts_with(['"', '\'', '|', '>']) || word == "!!str" || is_block
}

/// The value of a scalar that was one reference and nothing else.
fn whole(text: String, is_text: bool, place: &Place, path: &str) -> Value {
    let Ok(parsed) = yaml::parse(place.source, &text) else { return Value::String(text) };
    let mut node = parsed;
    relocate(&mut node, place, path);
    // A string field still gets the text, even where YAML makes a map or a list of it.
    Value::Substituted { text, parsed: Box::new(node.value), is_text }
}

/// Gives all nodes of a reference's value the position of the reference.
fn relocate(node: &mut Node, place: &Place, path: &str) {
    node.place = place.clone();
    node.key_place = None;
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
mod tests;
