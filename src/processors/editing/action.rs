//! Actions on attributes as they are configured, their checks, and what they compile
//! to. Shared by the `attributes` and `resource` processors.

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::AttributeValue;
use crate::{
    component::Needs,
    config::{Node, Problems},
};

/// One action on one key, or on all keys that a pattern matches.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Action {
    /// Key of the attribute.
    pub key: String,
    /// What to do.
    pub action: Option<Verb>,
    /// The new value: text, a number, a boolean, a list or a map, with the type that it has here.
    pub value: Option<AttributeValue>,
    /// Key of an attribute beside it that gives the new value; where it is absent nothing is done.
    pub from_attribute: String,
    /// What of the request gives the new value: `metadata.<header>` (several values are joined by
    /// `;`; the receiver needs `include_metadata: true`), `client.address`, or `auth.<attribute>`
    /// of the receiver's authenticator: `auth.username`, `auth.subject` and others. Where it is
    /// absent nothing is done.
    pub from_context: String,
    /// For `insert`, `update` and `upsert`: the new value where the source has none.
    pub default_value: Option<AttributeValue>,
    /// For `delete` and `hash`: a regular expression that selects keys, beside or instead of `key`.
    /// For `extract`: one with named groups, each of which becomes an attribute.
    pub pattern: String,
    /// For `convert`: the new type.
    pub converted_type: Option<Type>,
}

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Verb {
    /// Add where the key is absent.
    Insert,
    /// Change where the key is present.
    Update,
    /// Either.
    Upsert,
    /// Remove.
    Delete,
    /// Replace the value by its SHA-256 in lower-case hexadecimal digits.
    Hash,
    /// Put what the pattern's groups match in the value into attributes of their names.
    Extract,
    /// Change the type.
    Convert,
}

impl Verb {
    /// Whether it gives the attribute a value of the configuration, an attribute or the request.
    const fn sets(self) -> bool {
        matches!(self, Verb::Insert | Verb::Update | Verb::Upsert)
    }
}

const VERBS: [(&str, Verb); 7] = [
    ("insert", Verb::Insert),
    ("update", Verb::Update),
    ("upsert", Verb::Upsert),
    ("delete", Verb::Delete),
    ("hash", Verb::Hash),
    ("extract", Verb::Extract),
    ("convert", Verb::Convert),
];

impl<'de> Deserialize<'de> for Verb {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[&str] =
            &["insert", "update", "upsert", "delete", "hash", "extract", "convert"];
        let text = String::deserialize(deserializer)?;
        let verb = VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
        let unknown = || serde::de::Error::unknown_variant(&text, NAMES);
        verb.map(|(_, verb)| *verb).ok_or_else(unknown)
    }
}

/// Target of `convert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A whole number of 64 bits; text has to be one, decimals of a double are cut off, `true` is
    /// 1.
    Int,
    /// A floating point number of 64 bits; `true` is 1.
    Double,
    /// Text; lists and maps become JSON.
    String,
}

/// Checks a list of actions under the key `list` of the body `at`.
pub(crate) fn validate(actions: &[Action], at: &Node, list: &str, problems: &mut Problems) {
    if actions.is_empty() {
        problems
            .error(at, format!("`{list}` must hold at least one action"))
            .help(format!("add `{list}: [{{key: user.id, value: me, action: upsert}}]`"));
    }
    for (i, action) in actions.iter().enumerate() {
        let node = at.at(&format!("{list}::{i}"));
        let place = |key: &str| at.at(&format!("{list}::{i}::{key}"));
        let Some(verb) = action.action else {
            problems.error(node, "the action has no `action`").help(
                "add one of insert, update, upsert, delete, hash, extract, convert, for instance \
                 `action: upsert`",
            );
            continue;
        };
        let may_select = matches!(verb, Verb::Delete | Verb::Hash);
        let selects = may_select && !action.pattern.is_empty();
        if action.key.is_empty() && !selects {
            let message = format!("missing required field \"key\" in the action at index {i}");
            let problem = problems.error(node, message);
            if may_select {
                problem.help("add `key`, or `pattern` to select keys by a regular expression");
            }
        }
        sources(action, verb, node, problems);
        if action.default_value.is_some() && !verb.sets() {
            problems
                .warning(
                    place("default_value"),
                    "`default_value` has no effect: this action takes no value",
                )
                .help("remove the key");
        }
        context(action, place("from_context"), problems);
        pattern(action, verb, place("pattern"), problems);
        match (verb, action.converted_type) {
            (Verb::Convert, None) => {
                problems
                    .error(node, "`convert` needs a `converted_type`")
                    .help("add `converted_type: int`, `double` or `string`");
            }
            (Verb::Convert, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                problems.error(place("converted_type"), "only `convert` takes `converted_type`");
            }
        }
    }
}

/// `insert`, `update` and `upsert` take exactly one source, others none.
fn sources(action: &Action, verb: Verb, node: &Node, problems: &mut Problems) {
    let given = [
        ("value", action.value.is_some()),
        ("from_attribute", !action.from_attribute.is_empty()),
        ("from_context", !action.from_context.is_empty()),
    ];
    let given: Vec<&str> =
        given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    let name = VERBS.iter().find(|(_, v)| *v == verb).map_or("", |(name, _)| name);
    match (verb.sets(), given.as_slice()) {
        (true, []) if action.default_value.is_none() => {
            problems
                .error(node, format!("`{name}` needs a value"))
                .help("add `value`, `from_attribute` or `from_context`");
        }
        (true, [_, _, ..]) => {
            problems
                .error(node, format!("several sources of one value: `{}`", given.join("`, `")))
                .help("keep one of them");
        }
        (false, [source, ..]) => {
            problems.error(node, format!("`{name}` takes no `{source}`"));
        }
        _ => {}
    }
}

fn context(action: &Action, place: &Node, problems: &mut Problems) {
    let from = action.from_context.as_str();
    if from == "auth." {
        problems
            .error(place, "`auth.` names no attribute of the authenticator")
            .help("for instance `auth.username` of `basicauth`, or `auth.subject` of `oidc`");
    } else if from.starts_with("client.") && from != "client.address" {
        problems
            .error(place, format!("unknown part `{from}` of the client"))
            .help("valid: client.address, metadata.<header>, auth.<attribute>");
    } else if from == "metadata." {
        problems.error(place, "`metadata.` names no header").help("for instance `metadata.x-user`");
    }
}

fn pattern(action: &Action, verb: Verb, place: &Node, problems: &mut Problems) {
    let takes = matches!(verb, Verb::Delete | Verb::Hash | Verb::Extract);
    if action.pattern.is_empty() {
        if verb == Verb::Extract {
            problems
                .error(place, "`extract` needs a `pattern` with named groups")
                .help("for instance `pattern: ^(?P<method>\\w+) (?P<path>.*)$`");
        }
        return;
    }
    if !takes {
        problems.error(place, "only `delete`, `hash` and `extract` take a `pattern`");
        return;
    }
    match Regex::new(&action.pattern) {
        Err(error) => {
            problems.error(place, broken(&error));
        }
        Ok(regex) if verb == Verb::Extract => {
            let names: Vec<_> = regex.capture_names().skip(1).collect();
            if names.is_empty() || names.contains(&None) {
                problems
                    .error(place, "every group of an `extract` pattern needs a name")
                    .help("write `(?P<name>...)`, or `(?:...)` for a group that is not extracted");
            }
        }
        Ok(_) => {}
    }
}

/// The last line of a syntax error: what is wrong; the lines above draw the pattern again.
pub(crate) fn broken(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    format!("not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
}

/// What a list of actions compiles to. Keys are numbered so that an item is looked through once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Keys that any step reads or writes.
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) steps: Vec<Step>,
    /// Whether a step selects keys by pattern, so that every attribute has to be looked at.
    pub(super) is_selective: bool,
}

impl Step {
    /// How often it copies a value, at most; as JSON a value is up to eight times as large.
    pub(super) fn copies(&self) -> usize {
        match self {
            Step::Extract { groups, .. } => 1 + groups.len(),
            Step::Convert { .. } => 16,
            Step::Set { .. } | Step::Delete(_) | Step::Hash(_) => 0,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Set {
        key: usize,
        inserts: bool,
        updates: bool,
        source: Source,
        /// `AnyValue` bytes where the source has none.
        default: Option<Vec<u8>>,
    },
    Delete(Target),
    Hash(Target),
    Extract {
        key: usize,
        regex: Regex,
        groups: Vec<usize>,
    },
    Convert {
        key: usize,
        to: Type,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) key: Option<usize>,
    pub(super) pattern: Option<Regex>,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    /// `AnyValue` bytes.
    Value(Vec<u8>),
    Attribute(usize),
    /// A header's name.
    Metadata(String),
    /// An attribute of the receiver's authenticator.
    Auth(String),
    Address,
}

/// What actions need of the requests whose values they use.
pub(in crate::processors) fn needs(actions: &[Action]) -> Needs<'static> {
    let starts = |prefix| actions.iter().any(|action| action.from_context.starts_with(prefix));
    Needs {
        context: actions.iter().any(|action| !action.from_context.is_empty()),
        metadata: starts("metadata."),
        auth: starts("auth."),
        ..Needs::default()
    }
}

impl Plan {
    /// Compiles actions that [`validate`] found right; others are left out.
    pub(crate) fn new(actions: &[Action]) -> Self {
        let mut plan = Plan::default();
        for action in actions {
            if let Some(step) = plan.step(action) {
                plan.steps.push(step);
            }
        }
        plan
    }

    fn key(&mut self, key: &str) -> usize {
        let known = self.keys.iter().position(|known| known == key.as_bytes());
        known.unwrap_or_else(|| {
            self.keys.push(key.into());
            self.keys.len() - 1
        })
    }

    fn step(&mut self, action: &Action) -> Option<Step> {
        let verb = action.action?;
        let key = (!action.key.is_empty()).then(|| self.key(&action.key));
        let pattern = match action.pattern.as_str() {
            "" => None,
            pattern => Some(Regex::new(pattern).ok()?),
        };
        Some(match verb {
            Verb::Insert | Verb::Update | Verb::Upsert => Step::Set {
                key: key?,
                inserts: verb != Verb::Update,
                updates: verb != Verb::Insert,
                source: self.source(action)?,
                default: action.default_value.as_ref().map(AttributeValue::encode),
            },
            Verb::Delete | Verb::Hash => {
                self.is_selective |= pattern.is_some();
                let target = Target { key, pattern };
                if verb == Verb::Delete { Step::Delete(target) } else { Step::Hash(target) }
            }
            Verb::Extract => {
                let regex = pattern?;
                let names: Vec<_> = regex.capture_names().skip(1).flatten().collect();
                let groups = names.into_iter().map(|name| self.key(name)).collect();
                Step::Extract { key: key?, regex: regex.clone(), groups }
            }
            Verb::Convert => Step::Convert { key: key?, to: action.converted_type? },
        })
    }

    fn source(&mut self, action: &Action) -> Option<Source> {
        if let Some(value) = &action.value {
            return Some(Source::Value(value.encode()));
        }
        if !action.from_attribute.is_empty() {
            return Some(Source::Attribute(self.key(&action.from_attribute)));
        }
        match action.from_context.as_str() {
            "" => action.default_value.as_ref().map(|value| Source::Value(value.encode())),
            "client.address" => Some(Source::Address),
            from if from.starts_with("auth.") => {
                Some(Source::Auth(from["auth.".len()..].to_owned()))
            }
            from => {
                let header = from.strip_prefix("metadata.").unwrap_or(from);
                Some(Source::Metadata(header.to_owned()))
            }
        }
    }
}
