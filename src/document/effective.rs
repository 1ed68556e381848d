//! What a configuration comes to: merged, references replaced, defaults filled in, secrets hidden.
//!
//! Defaults and secrets are known by the schemas of the components, never by the names of keys.

use serde_json::Value as Json;

use super::{ids, schema::Schemas};
use crate::{
    component::Kind,
    config::{
        Node, Place, Value,
        diagnostics::closest,
        tree::Member,
        units::{REDACTED, SECTION_MARK},
        yaml,
    },
};

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As `[REDACTED]`.
    Hidden,
    /// As they are.
    Shown,
}

/// The tree that would be decoded, with every default in its place.
pub fn effective(root: &Node, schemas: &Schemas, secrets: Secrets) -> Node {
    let mut root = root.clone();
    let fill = Fill { schemas, secrets };
    for kind in [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension]
    {
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
    root
}

/// Places of the secrets that stand in the sources themselves.
pub fn secret_places(root: &Node, schemas: &Schemas) -> Vec<Place> {
    let mut places = Vec::new();
    for kind in [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension]
    {
        let Some(Value::Map(members)) = root.get(kind.section()).map(Node::plain) else { continue };
        for member in members {
            let id = ids::component(&member.key).ok();
            let schema = id.and_then(|id| schemas.component(kind, &id.kind_name));
            find(&member.value, schema, schemas, &mut places);
        }
    }
    places
}

/// Words in the names of keys that most likely hold a secret, where no schema says so because the
/// key or the component is misspelt.
pub(super) const SECRET_WORDS: [&str; 6] =
    ["key", "token", "secret", "password", "authorization", "credential"];

fn find(node: &Node, schema: Option<&Json>, schemas: &Schemas, places: &mut Vec<Place>) {
    match node.plain() {
        Value::Map(members) => {
            for member in members {
                let inner = schema.and_then(|schema| schemas.inner(schema, &member.key));
                let name = member.key.to_lowercase();
                let is_guess = inner.is_none() && sounds_secret(&name, schema, schemas);
                let is_text = !matches!(member.value.plain(), Value::Map(_) | Value::List(_));
                if is_guess && is_text {
                    places.push(member.value.place.clone());
                } else {
                    find(&member.value, inner, schemas, places);
                }
            }
        }
        Value::List(nodes) => {
            let inner = schema.and_then(|schema| schemas.inner(schema, ""));
            for node in nodes {
                find(node, inner, schemas, places);
            }
        }
        _ if schema.is_some_and(|schema| schemas.is_secret(schema)) => {
            places.push(node.place.clone());
        }
        _ => {}
    }
}

/// Whether a key that no schema knows most likely holds a secret.
fn sounds_secret(key: &str, schema: Option<&Json>, schemas: &Schemas) -> bool {
    let all = schema.map(|schema| schemas.alternatives(schema)).unwrap_or_default();
    let known = all.iter().filter_map(|schema| schema["properties"].as_object());
    let near = closest(key, known.flat_map(|fields| fields.keys()).map(|name| &**name));
    let meant = near.and_then(|near| schemas.inner(schema?, near));
    meant.is_some_and(|meant| schemas.is_secret(meant))
        || SECRET_WORDS.iter().any(|word| key.contains(word))
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

/// What a null means.
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
            Value::String(text)
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
        // Of several forms nobody knows which one is meant.
        let (Some(schema), None) = (maps.next(), maps.next()) else { return };
        let Some(properties) = schema["properties"].as_object() else { return };
        let (place, path) = (node.place.clone(), node.path.clone());
        for (key, schema) in properties {
            if node.get(key).is_some_and(|node| *node.plain() != Value::Null) {
                continue;
            }
            let path = yaml::join(&path, key);
            let Some(value) = self.default(schema, &place, &path) else { continue };
            let Value::Map(members) = &mut node.value else { return };
            members.retain(|member| member.key != *key);
            members.push(Member { key: key.clone(), key_place: place.clone(), value });
        }
    }

    /// The default of a key; none where it has none that could be written.
    fn default(&self, schema: &Json, place: &Place, path: &str) -> Option<Node> {
        let all = self.schemas.alternatives(schema);
        let mut node = Node { value: Value::Null, place: place.clone(), path: path.into() };
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
        Value::Substituted { text, .. } if is_text => {
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
        path: path.into(),
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
