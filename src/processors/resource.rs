//! Adds, changes or removes attributes of the resource: what is true of everything that a sender
//! sends.
//!
//! ```yaml
//! resource:
//!   attributes:
//!     - { key: deployment.environment, value: production, action: upsert }
//!     - { key: process.command_args, action: delete }
//! ```
//!
//! Actions run in order: `insert` adds where the key is absent, `update` changes where it is
//! present, `upsert` does either, `delete` removes. Payloads are edited as bytes.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        splice::{self, Edit},
        wire::{FieldValue, Fields, WireType, put_bytes, put_varint, tag},
    },
};

/// Edits resource attributes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to do, in order; at least one.
    pub attributes: Vec<Action>,
}

/// One action on one key.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Action {
    /// Key of the attribute.
    pub key: String,
    /// What to do.
    pub action: Verb,
    /// The new value: text, a number or a boolean.
    pub value: Option<Scalar>,
}

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Add where the key is absent.
    Insert,
    /// Change where the key is present.
    Update,
    /// Either.
    #[default]
    Upsert,
    /// Remove.
    Delete,
}

/// A value with the type that it has in YAML.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// Text.
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl serde::de::Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text, a number or a boolean")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Scalar, E> {
        i64::try_from(value).map(Scalar::Int).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry {
    name: "resource",
    aliases: &[],
    signals: &Signal::ALL,
    source: include_str!("resource.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ProcessorConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.attributes.is_empty() {
            problems.error(at, "`attributes` must hold at least one action");
        }
        for (i, action) in self.attributes.iter().enumerate() {
            let node = at.at(&format!("attributes::{i}"));
            if action.key.is_empty() {
                let message = format!("missing required field \"key\" at the {i}-th actions");
                problems.error(node, message);
            }
            match (action.action, &action.value) {
                (Verb::Delete, Some(_)) => {
                    problems.error(node, "`delete` takes no `value`");
                }
                (Verb::Insert | Verb::Update | Verb::Upsert, None) => {
                    problems.error(node, "the action needs a `value`").help("add `value: ...`");
                }
                _ => {}
            }
        }
    }

    fn build(&self, _cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let steps = self.attributes.iter().map(|action| Step {
            key: action.key.clone().into_bytes(),
            verb: action.action,
            attribute: action.value.as_ref().map(|value| encode(&action.key, value)),
        });
        Ok(Box::new(ResourceEditor { steps: steps.collect() }))
    }
}

/// A `KeyValue` as bytes.
fn encode(key: &str, value: &Scalar) -> Vec<u8> {
    let mut any = Vec::new();
    match value {
        Scalar::Text(text) => put_bytes(&mut any, 1, text.as_bytes()),
        Scalar::Bool(value) => {
            put_varint(&mut any, tag(2, WireType::Varint));
            put_varint(&mut any, u64::from(*value));
        }
        Scalar::Int(value) => {
            put_varint(&mut any, tag(3, WireType::Varint));
            put_varint(&mut any, value.cast_unsigned());
        }
        Scalar::Double(value) => {
            put_varint(&mut any, tag(4, WireType::Fixed64));
            any.extend(value.to_le_bytes());
        }
    }
    let mut out = Vec::new();
    put_bytes(&mut out, 1, key.as_bytes());
    put_bytes(&mut out, 2, &any);
    out
}

struct Step {
    key: Vec<u8>,
    verb: Verb,
    attribute: Option<Vec<u8>>,
}

struct ResourceEditor {
    steps: Vec<Step>,
}

/// One step on one resource.
struct OneStep<'a> {
    step: &'a Step,
    is_present: bool,
}

impl Edit for OneStep<'_> {
    fn replace(&mut self, attribute: &[u8]) -> Option<Vec<u8>> {
        if key(attribute) != self.step.key {
            return None;
        }
        self.is_present = true;
        match (self.step.verb, &self.step.attribute) {
            (Verb::Insert, _) => None,
            (Verb::Delete, _) | (_, None) => Some(Vec::new()),
            (Verb::Update | Verb::Upsert, Some(new)) => (attribute != new).then(|| new.clone()),
        }
    }

    fn add(&mut self) -> Vec<Vec<u8>> {
        let is_present = std::mem::take(&mut self.is_present);
        let adds = matches!(self.step.verb, Verb::Insert | Verb::Upsert);
        match &self.step.attribute {
            Some(new) if adds && !is_present => vec![new.clone()],
            _ => Vec::new(),
        }
    }
}

/// The key of a `KeyValue`; the last one where there are several.
fn key(attribute: &[u8]) -> &[u8] {
    let keys = Fields::new(attribute).flatten().filter_map(|field| match field.value {
        FieldValue::Len(key) if field.number == 1 => Some(key),
        _ => None,
    });
    keys.last().unwrap_or_default()
}

impl Processor for ResourceEditor {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let mut body = payload.body.clone();
        let mut is_changed = false;
        for step in &self.steps {
            for segment in &mut body {
                let mut edit = OneStep { step, is_present: false };
                if let Some(new) = splice::edit_resources(segment, &mut edit) {
                    *segment = new.into();
                    is_changed = true;
                }
            }
        }
        if !is_changed {
            return out.emit(payload);
        }
        match payload.replace_body(body) {
            Ok(()) => out.emit(payload),
            Err(reason) => out.refuse(payload, reason),
        }
    }
}

#[cfg(test)]
mod tests;
