//! The JSON schemas of all components, and one of a whole file for editors.
//!
//! The schemas of the structs are stricter than the reader, for which a key may have no value, a
//! scalar may be a reference such as `${env:NAME}`, `a::b` is a map in a map, and components have
//! names after a slash. [`Schemas::whole`] allows all of that.

use std::sync::LazyLock;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::telemetry::Telemetry;
use crate::{
    component::{Entry, Kind},
    config::{
        ignored::{self, FIXED_MARK},
        tree,
        units::SECTION_MARK,
    },
    connectors, exporters, extensions, processors, receivers,
};

/// Deepest chain of references and alternatives that is followed.
const DEPTH_LIMIT: usize = 8;

/// The schemas of the structs.
pub struct Schemas {
    components: Vec<Described>,
    telemetry: Value,
    definitions: Map<String, Value>,
}

struct Described {
    kind: Kind,
    name: &'static str,
    aliases: &'static [&'static str],
    schema: Value,
}

impl Default for Schemas {
    fn default() -> Self {
        let mut generator = SchemaGenerator::default();
        let mut components = Vec::new();
        describe(&mut components, &mut generator, Kind::Receiver, receivers::ALL);
        describe(&mut components, &mut generator, Kind::Processor, processors::ALL);
        describe(&mut components, &mut generator, Kind::Exporter, exporters::ALL);
        describe(&mut components, &mut generator, Kind::Connector, connectors::ALL);
        describe(&mut components, &mut generator, Kind::Extension, extensions::ALL);
        let telemetry = generator.subschema_for::<Telemetry>().to_value();
        let definitions = generator.take_definitions(true);
        Schemas { components, telemetry, definitions }
    }
}

fn describe<C: ?Sized>(
    components: &mut Vec<Described>,
    generator: &mut SchemaGenerator,
    kind: Kind,
    registry: &[Entry<C>],
) {
    for entry in registry {
        components.push(Described {
            kind,
            name: entry.name,
            aliases: entry.aliases,
            schema: (entry.schema)(generator).to_value(),
        });
    }
}

impl Schemas {
    /// The schemas, which are made once.
    pub fn shared() -> &'static Schemas {
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::default);
        &SCHEMAS
    }

    /// The body of a component type, by its name or an alias.
    pub fn component(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.components
            .iter()
            .find(|known| {
                known.kind == kind && (known.name == name || known.aliases.contains(&name))
            })
            .map(|known| &known.schema)
    }

    /// `service.telemetry`.
    pub fn telemetry(&self) -> &Value {
        &self.telemetry
    }

    /// The schema itself, the schemas that it refers to, and its alternatives.
    pub fn alternatives<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let mut all = Vec::new();
        self.collect(schema, &mut all, 0);
        all
    }

    fn collect<'a>(&'a self, schema: &'a Value, all: &mut Vec<&'a Value>, depth: usize) {
        if depth > DEPTH_LIMIT {
            return;
        }
        all.push(schema);
        let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
        if let Some(definition) = name.and_then(|name| self.definitions.get(name)) {
            self.collect(definition, all, depth + 1);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for inner in schema[key].as_array().into_iter().flatten() {
                self.collect(inner, all, depth + 1);
            }
        }
    }

    /// Schema of the value under `key` of a map; of any element of a list.
    pub fn inner<'a>(&'a self, schema: &'a Value, key: &str) -> Option<&'a Value> {
        let all = self.alternatives(schema);
        all.iter().find_map(|schema| schema["properties"].get(key)).or_else(|| {
            all.iter().find_map(|schema| {
                let others = ["additionalProperties", "items"].into_iter();
                others.map(|name| &schema[name]).find(|inner| inner.is_object())
            })
        })
    }

    /// Whether a key has no effect: its type is [`crate::config::Ignored`] or
    /// [`crate::config::Fixed`].
    pub fn is_ignored(schema: &Value) -> bool {
        schema["deprecated"] == true
    }

    /// Why a key with this value has no effect, and what to do instead; `None` if it has an effect.
    pub fn reason(schema: &Value, value: &tree::Value) -> Option<(String, String)> {
        let is_fixed =
            matches!(value, tree::Value::Bool(value) if schema[FIXED_MARK] == Value::Bool(*value));
        if !Self::is_ignored(schema) || is_fixed || *value == tree::Value::Null {
            return None;
        }
        ignored::reason(schema["description"].as_str()?)
    }

    /// Whether a value is a [`crate::config::Secret`].
    pub fn is_secret(&self, schema: &Value) -> bool {
        self.alternatives(schema).iter().any(|schema| schema["writeOnly"] == true)
    }

    /// Whether a value is a map or list with a [`crate::config::Secret`] in it, and never text.
    pub fn only_holds_secrets(&self, schema: &Value) -> bool {
        let all = self.alternatives(schema);
        let is_text = all.iter().any(|schema| {
            let kind = &schema["type"];
            let kinds = kind.as_array().into_iter().flatten();
            std::iter::once(kind).chain(kinds).any(|kind| kind == "string")
        });
        !is_text && self.holds_secret(schema, 0)
    }

    /// Whether it holds a secret, at any depth.
    pub fn holds_secrets(&self, schema: &Value) -> bool {
        self.holds_secret(schema, 0)
    }

    fn holds_secret(&self, schema: &Value, depth: usize) -> bool {
        let all = self.alternatives(schema);
        let mut inner = all.iter().flat_map(|schema| {
            let fields = schema["properties"].as_object().into_iter().flat_map(Map::values);
            fields.chain([&schema["additionalProperties"], &schema["items"]])
        });
        depth < DEPTH_LIMIT
            && inner.any(|inner| self.is_secret(inner) || self.holds_secret(inner, depth + 1))
    }

    /// A JSON schema (draft 2020-12) of a whole file.
    pub fn whole(&self) -> Value {
        let mut definitions = self.definitions.clone();
        for definition in definitions.values_mut() {
            relax(definition);
            // Editors show it instead of the text of the key.
            definition.as_object_mut().map(|fields| fields.remove("description"));
        }
        definitions.insert("reference".to_owned(), reference());
        let mut properties = Map::new();
        for kind in Kind::ALL {
            properties.insert(kind.section().to_owned(), self.section(kind));
        }
        let mut telemetry = self.telemetry.clone();
        relax(&mut telemetry);
        properties.insert("service".to_owned(), service(&or_nothing(telemetry)));
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Configuration of skep",
            "type": "object",
            "properties": properties,
            "patternProperties": { "::": {} },
            "additionalProperties": false,
            "$defs": definitions,
        })
    }

    fn section(&self, kind: Kind) -> Value {
        let mut types = Map::new();
        for known in self.components.iter().filter(|known| known.kind == kind) {
            let names: Vec<&str> = [known.name].iter().chain(known.aliases).copied().collect();
            let mut schema = known.schema.clone();
            relax(&mut schema);
            types.insert(format!("^\\s*({})\\s*(/.*)?$", names.join("|")), or_nothing(schema));
        }
        types.insert("::".to_owned(), json!({}));
        json!({
            "description": format!("The {}, by `type` or `type/name`.", kind.section()),
            "type": ["object", "null"],
            "patternProperties": types,
            "additionalProperties": false,
        })
    }
}

fn reference() -> Value {
    // A key without a value keeps its default; a reference looks like `${env:NAME}`.
    json!({
        "type": ["string", "null"],
        "pattern": "\\$\\{",
    })
}

fn service(telemetry: &Value) -> Value {
    let ids = |description: &str| {
        json!({
            "description": description,
            "anyOf": [
                { "type": "array", "items": { "type": "string" } },
                { "type": ["string", "null"] },
            ],
        })
    };
    let pipeline = json!({
        "type": "object",
        "properties": {
            "receivers": ids("Where data comes from: receivers and connectors."),
            "processors": ids("How data is processed, in this order."),
            "exporters": ids("Where data goes: exporters and connectors."),
        },
        "patternProperties": { "::": {} },
        "additionalProperties": false,
    });
    json!({
        "description": "Which components run, and how they are connected.",
        "type": "object",
        "properties": {
            "extensions": ids("Extensions that run."),
            "pipelines": {
                "type": "object",
                "patternProperties": {
                    "^\\s*(traces|metrics|logs)\\s*(/.*)?$": pipeline,
                    "::": {},
                },
                "additionalProperties": false,
            },
            "telemetry": telemetry,
        },
        "patternProperties": { "::": {} },
        "additionalProperties": false,
    })
}

/// Allows within a schema what the reader allows.
fn relax(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove(SECTION_MARK);
    fields.remove(FIXED_MARK);
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for inner in fields.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            relax(inner);
        }
    }
    for inner in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        relax_value(inner.1);
    }
    for key in ["additionalProperties", "items"] {
        if let Some(inner) = fields.get_mut(key).filter(|inner| inner.is_object()) {
            relax_value(inner);
        }
    }
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        fields.insert("patternProperties".to_owned(), json!({ "::": {} }));
    }
}

fn relax_value(schema: &mut Value) {
    relax(schema);
    let relaxed = or_nothing(schema.take());
    *schema = relaxed;
}

/// The schema of a value that may also be absent, or a reference.
fn or_nothing(mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut() else { return schema };
    if fields.get("default") == Some(&Value::Null) {
        fields.remove("default");
    }
    let is_text = fields.get("type").is_some_and(|kind| kind == "string");
    let is_free = ["enum", "const", "pattern"].iter().all(|key| !fields.contains_key(*key));
    if is_text && is_free {
        fields.insert("type".to_owned(), json!(["string", "null"]));
        return schema;
    }
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = fields.remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    // A list may be written as text with commas.
    let is_list = fields.get("type").is_some_and(|kind| {
        kind == "array" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("array")))
    });
    let mut choices = vec![schema, json!({ "$ref": "#/$defs/reference" })];
    if is_list {
        choices.push(json!({ "type": "string" }));
    }
    outer.insert("anyOf".to_owned(), choices.into());
    outer.into()
}

#[cfg(test)]
mod tests;
