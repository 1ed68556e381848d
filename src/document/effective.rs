//! The effective configuration: merged, with references expanded and defaults filled in, and with
//! secrets hidden.
//!
//! Defaults and secrets come from the schemas of the components, never from the names of keys.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::{Document, ids, schema::Schemas};
use crate::{
    component::{Kind, Port, default_address},
    config::{
        Node, Place, Value,
        diagnostics::closest,
        excerpt::Source,
        shown::{url_secrets, without_secrets},
        tree::Member,
        units::{REDACTED, SECTION_MARK, parse_duration},
        yaml,
    },
};

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are shown as `[REDACTED]`.
    Hidden,
    /// They are shown in clear text.
    Shown,
}

/// The tree that is decoded, with all defaults filled in.
pub fn effective(root: &Node, schemas: &Schemas, secrets: Secrets) -> Node {
    let mut root = root.clone();
    let fill = Fill { schemas, secrets };
    for kind in Kind::ALL {
        for member in members_of(&mut root, kind.section()) {
            let schema = ids::component(&member.key)
                .ok()
                .and_then(|id| schemas.component(kind, &id.kind_name));
            if let Some(schema) = schema {
                fill.value(&mut member.value, schema, Position::Component);
            }
        }
    }
    for member in members_of(&mut root, "service") {
        if member.key == "telemetry" {
            fill.value(&mut member.value, schemas.telemetry(), Position::Key);
        }
    }
    if secrets == Secrets::Hidden {
        hide_urls(&mut root);
    }
    root
}

/// Adds the default endpoints of receivers that have none.
pub fn put_endpoints(root: &mut Node, document: &Document, in_container: bool) {
    put_all(root, &endpoints(document, in_container));
}

/// The default endpoints of receivers that have none: the path of the key, and the address.
pub fn endpoints(document: &Document, in_container: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for receiver in document.receivers.values() {
        let ports = receiver.config.ports().into_iter();
        for Port { key, default, .. } in ports.filter(|port| port.endpoint.is_none()) {
            let address = default_address(in_container, default).to_string();
            found.push((format!("receivers::{}::{key}", receiver.id), address));
        }
    }
    found
}

/// Adds such endpoints.
pub fn put_all(root: &mut Node, endpoints: &[(String, String)]) {
    for (path, address) in endpoints {
        put(root, path, Value::String(address.clone()));
    }
}

/// Puts a value first into the map that `path` leads to, if there is such a map.
fn put(node: &mut Node, path: &str, value: Value) {
    let (key, rest) = path.split_once("::").unwrap_or((path, ""));
    let (place, whole) = (node.place.clone(), yaml::join(&node.path, key));
    let Value::Map(members) = &mut node.value else { return };
    let is_that = |member: &&mut Member| member.key.trim() == key;
    if !rest.is_empty() {
        if let Some(member) = members.iter_mut().find(is_that) {
            put(&mut member.value, rest, value);
        }
        return;
    }
    members.retain(|member| member.key != key);
    let value =
        Node { value, place: place.clone(), key_place: None, path: whole.into(), pieces: None };
    members.insert(0, Member { key: key.to_owned(), key_place: place, value });
}

/// Masks the secrets of all URLs, under any key.
fn hide_urls(node: &mut Node) {
    match &mut node.value {
        Value::Map(members) => members.iter_mut().for_each(|one| hide_urls(&mut one.value)),
        Value::List(nodes) => nodes.iter_mut().for_each(hide_urls),
        Value::String(text) | Value::Unknown(text) => {
            if let Cow::Owned(hidden) = without_secrets(text) {
                *text = hidden;
            }
        }
        Value::Substituted { text, parsed, .. } => {
            *text = without_secrets(text).into_owned();
            let value = std::mem::replace(&mut **parsed, Value::Null);
            let (place, path) = (node.place.clone(), node.path.clone());
            let mut inner = Node { value, place, key_place: None, path, pieces: None };
            hide_urls(&mut inner);
            **parsed = inner.value;
        }
        _ => {}
    }
}

/// Masks the secrets in the sources: values that a schema marks as secret, also if they are of a
/// wrong type; values of unknown keys that sound secret; and secrets in URLs.
pub(super) fn cover_secrets(root: &Node, schemas: &Schemas, sources: &mut [Source]) {
    let mut cover = Cover { schemas, sources };
    let Value::Map(sections) = root.plain() else { return cover.node(root, None) };
    for section in sections {
        let kind = Kind::ALL.into_iter().find(|kind| kind.section() == section.key);
        let (Some(kind), Value::Map(members)) = (kind, section.value.plain()) else {
            cover.node(&section.value, None);
            continue;
        };
        for member in members {
            let id = ids::component(&member.key).ok();
            let schema = id.and_then(|id| schemas.component(kind, &id.kind_name));
            cover.node(&member.value, schema);
        }
    }
}

/// Words in names of keys that probably hold a secret, for keys that no schema knows because the
/// key or the component is misspelt.
pub(super) const SECRET_WORDS: [&str; 12] = [
    "key",
    "token",
    "secret",
    "passw",
    "pwd",
    "authorization",
    "bearer",
    "credential",
    "cookie",
    "signature",
    "header",
    "proxy",
];

struct Cover<'a> {
    schemas: &'a Schemas,
    sources: &'a mut [Source],
}

impl Cover<'_> {
    fn node(&mut self, node: &Node, schema: Option<&Json>) {
        let is_map = matches!(node.plain(), Value::Map(_) | Value::Null);
        let is_list = matches!(node.plain(), Value::List(_));
        let takes_lists = |schema| {
            let all = self.schemas.alternatives(schema);
            all.iter().any(|one| one["items"].is_object() || one["type"] == "array")
        };
        if schema.is_some_and(|schema| {
            let is_other = !(is_map || is_list && takes_lists(schema));
            self.schemas.is_secret(schema) || (is_other && self.schemas.only_holds_secrets(schema))
        }) {
            return self.all(node);
        }
        match node.plain() {
            Value::Map(members) => {
                for member in members {
                    self.member(member, schema);
                }
            }
            Value::List(nodes) => {
                let inner = schema.and_then(|schema| self.schemas.inner(schema, ""));
                for node in nodes {
                    self.node(node, inner);
                }
            }
            Value::String(text) => {
                let count = url_secrets(text).len();
                if let Some(source) = self.sources.get_mut(node.place.source)
                    && count > 0
                {
                    source.mask_urls(node.place.range.clone(), count);
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, member: &Member, schema: Option<&Json>) {
        let inner = |key: &str| schema.and_then(|schema| self.schemas.inner(schema, key));
        if let Some(inner) = inner(&member.key) {
            return self.node(&member.value, Some(inner));
        }
        let name = member.key.to_lowercase();
        let meant = meant(&name, schema, self.schemas);
        let is_secret = meant.is_some_and(|meant| self.schemas.is_secret(meant));
        if is_secret || SECRET_WORDS.iter().any(|word| name.contains(word)) {
            self.all(&member.value);
        } else if meant.is_none() && schema.is_some_and(|schema| self.schemas.holds_secrets(schema))
        {
            self.texts(&member.value);
        } else {
            self.node(&member.value, meant);
        }
    }

    /// Masks the texts under a key that is not similar to a known one, beside keys of
    /// secrets. Keys, numbers and durations stay.
    fn texts(&mut self, node: &Node) {
        match node.plain() {
            Value::Map(members) => members.iter().for_each(|member| self.texts(&member.value)),
            Value::List(nodes) => nodes.iter().for_each(|node| self.texts(node)),
            Value::String(text) if parse_duration(text).is_err() => self.mask(&node.place),
            _ => {}
        }
    }

    /// Masks everything in a node, including keys.
    fn all(&mut self, node: &Node) {
        match node.plain() {
            Value::Map(members) => {
                for member in members {
                    self.mask(&member.key_place);
                    self.all(&member.value);
                }
            }
            Value::List(nodes) => nodes.iter().for_each(|node| self.all(node)),
            _ => self.mask(&node.place),
        }
    }

    fn mask(&mut self, place: &Place) {
        if let Some(source) = self.sources.get_mut(place.source) {
            source.mask(place.range.clone());
        }
    }
}

/// The schema of the key that an unknown one was most likely meant to be.
fn meant<'a>(key: &str, schema: Option<&'a Json>, schemas: &'a Schemas) -> Option<&'a Json> {
    let all = schemas.alternatives(schema?);
    let known = all.iter().filter_map(|schema| schema["properties"].as_object());
    let near = closest(key, known.flat_map(|fields| fields.keys()).map(|name| &**name));
    schemas.inner(schema?, near?)
}

fn members_of<'a>(root: &'a mut Node, section: &str) -> &'a mut [Member] {
    let Value::Map(sections) = &mut root.value else { return &mut [] };
    match sections.iter_mut().find(|member| member.key == section) {
        Some(Member { value, .. }) => {
            unwrap(value);
            match &mut value.value {
                Value::Map(members) => members,
                _ => &mut [],
            }
        }
        None => &mut [],
    }
}

/// A list or map that came out of a reference becomes one like any other.
fn unwrap(node: &mut Node) {
    if let Value::Substituted { parsed, .. } = &mut node.value
        && matches!(**parsed, Value::Map(_) | Value::List(_))
    {
        node.value = std::mem::replace(parsed, Value::Null);
    }
}

/// The position of a null, on which its meaning depends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// All defaults.
    Component,
    /// The default of the key; a section is on.
    Key,
}

struct Fill<'a> {
    schemas: &'a Schemas,
    secrets: Secrets,
}

impl Fill<'_> {
    fn value(&self, node: &mut Node, schema: &Json, position: Position) {
        let all = self.schemas.alternatives(schema);
        substituted(node, &all);
        if matches!(node.value, Value::Null) && fills_null(schema, &all, position) {
            node.value = Value::Map(Vec::new());
        }
        match &mut node.value {
            Value::Map(members) => {
                for member in members.iter_mut() {
                    if let Some(inner) = self.schemas.inner(schema, &member.key) {
                        self.value(&mut member.value, inner, Position::Key);
                    }
                }
                let is_off =
                    node.get("enabled").is_some_and(|node| *node.plain() == Value::Bool(false));
                if !(is_off && all.iter().any(|schema| is_section(schema))) {
                    self.defaults(node, &all);
                }
            }
            Value::List(nodes) => {
                if let Some(inner) = self.schemas.inner(schema, "") {
                    for node in nodes {
                        self.value(node, inner, Position::Key);
                    }
                }
            }
            Value::String(text) | Value::Unknown(text)
                if self.secrets == Secrets::Hidden
                    && !text.is_empty()
                    && self.schemas.is_secret(schema) =>
            {
                REDACTED.clone_into(text);
            }
            _ => {}
        }
    }

    /// Adds the keys that are missing.
    fn defaults(&self, node: &mut Node, all: &[&Json]) {
        let mut maps = all.iter().filter(|schema| schema["properties"].is_object());
        // With several forms it is not known which one is meant.
        let (Some(schema), None) = (maps.next(), maps.next()) else { return };
        let Some(properties) = schema["properties"].as_object() else { return };
        let (place, path) = (node.place.clone(), node.path.clone());
        for (key, schema) in properties {
            let is_there = node.get(key).is_some_and(|node| *node.plain() != Value::Null);
            if is_there || Schemas::is_ignored(schema) {
                continue;
            }
            let path = yaml::join(&path, key);
            let Some(value) = self.default(schema, &place, &path) else { continue };
            let Value::Map(members) = &mut node.value else { return };
            members.retain(|member| member.key != *key);
            members.push(Member { key: key.clone(), key_place: place.clone(), value });
        }
    }

    /// The default of a key; `None` if it has none that can be written.
    fn default(&self, schema: &Json, place: &Place, path: &str) -> Option<Node> {
        let all = self.schemas.alternatives(schema);
        let mut node = Node {
            value: Value::Null,
            place: place.clone(),
            key_place: None,
            path: path.into(),
            pieces: None,
        };
        match &schema["default"] {
            Json::Null if may_be_absent(&all) => return None,
            Json::Null => {
                node.value = Value::Map(Vec::new());
                self.defaults(&mut node, &all);
                return match &node.value {
                    Value::Map(members) if !members.is_empty() => Some(node),
                    _ => None,
                };
            }
            json => node.value = from_json(json, place, path),
        }
        Some(node)
    }
}

/// A reference becomes the text where text is expected, and what YAML makes of it elsewhere.
fn substituted(node: &mut Node, all: &[&Json]) {
    let is_text = all.iter().any(|schema| {
        let kind = &schema["type"];
        kind == "string" || *kind == serde_json::json!(["string", "null"])
    });
    match &mut node.value {
        // An empty variable leaves a key that may be absent as it is.
        Value::Substituted { parsed, .. } if **parsed == Value::Null && may_be_absent(all) => {
            node.value = Value::Null;
        }
        Value::Substituted { text, is_text: is_marked, .. }
            if is_text || (*is_marked && all.iter().all(|schema| schema["type"].is_null())) =>
        {
            node.value = Value::String(std::mem::take(text));
        }
        Value::Substituted { parsed, .. } => {
            node.value = std::mem::replace(parsed, Value::Null);
        }
        _ => {}
    }
}

fn fills_null(schema: &Json, all: &[&Json], position: Position) -> bool {
    let is_map = all.iter().any(|schema| schema["properties"].is_object());
    let is_on = position == Position::Component
        || all.iter().any(|schema| is_section(schema))
        || !may_be_absent(all);
    is_map && is_on && !schema["default"].is_object()
}

fn is_section(schema: &Json) -> bool {
    schema[SECTION_MARK] == true
}

/// Whether null is a value of its own.
fn may_be_absent(all: &[&Json]) -> bool {
    all.iter().any(|schema| {
        let kind = &schema["type"];
        kind == "null" || kind.as_array().is_some_and(|kinds| kinds.contains(&"null".into()))
    })
}

fn from_json(json: &Json, place: &Place, path: &str) -> Value {
    let node = |json, path: String| Node {
        value: from_json(json, place, &path),
        place: place.clone(),
        key_place: None,
        path: path.into(),
        pieces: None,
    };
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Value::Int(whole.into()),
            (_, Some(whole), _) => Value::Int(whole.into()),
            (.., float) => Value::Float(float.unwrap_or_default()),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::List(
            items
                .iter()
                .enumerate()
                .map(|(i, json)| node(json, yaml::join(path, &i.to_string())))
                .collect(),
        ),
        Json::Object(fields) => Value::Map(
            fields
                .iter()
                .map(|(key, json)| Member {
                    key: key.clone(),
                    key_place: place.clone(),
                    value: node(json, yaml::join(path, key)),
                })
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests;
