//! How metrics of `count` and `sum` are written: sections by kind of item, attributes with
//! defaults.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::{
    config::{Node, Problems},
    connectors::attributes::any_text,
    otlp::{
        Signal,
        wire::{WireType, put_varint, tag},
    },
    ottl::Context,
    statements::{Text, Texts, texts},
};

/// A kind of items.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connectors) struct Section {
    /// Its key in the configuration.
    pub(in crate::connectors) key: &'static str,
    pub(in crate::connectors) signal: Signal,
    pub(in crate::connectors) context: Context,
}

/// All kinds.
pub(in crate::connectors) const SECTIONS: [Section; 5] = [
    Section { key: "spans", signal: Signal::Traces, context: Context::Span },
    Section { key: "spanevents", signal: Signal::Traces, context: Context::SpanEvent },
    Section { key: "metrics", signal: Signal::Metrics, context: Context::Metric },
    Section { key: "datapoints", signal: Signal::Metrics, context: Context::DataPoint },
    Section { key: "logs", signal: Signal::Logs, context: Context::Log },
];

/// An attribute by whose values a metric is split.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attribute {
    /// Its key in the item, its scope or its resource; the first that has it counts.
    pub key: String,
    /// The value for items without it; without a default they are left out.
    pub default_value: Option<Scalar>,
}

/// A text, number or truth.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Text(String),
    Int(i64),
    Double(f64),
    Bool(bool),
}

impl Scalar {
    /// As an `AnyValue`.
    pub(in crate::connectors) fn any(&self) -> Vec<u8> {
        let mut any = Vec::new();
        match self {
            Scalar::Text(text) => any = any_text(text.as_bytes()),
            Scalar::Bool(value) => any.extend([0x10, u8::from(*value)]),
            Scalar::Int(value) => {
                put_varint(&mut any, tag(3, WireType::Varint));
                put_varint(&mut any, value.cast_unsigned());
            }
            Scalar::Double(value) => {
                put_varint(&mut any, tag(4, WireType::Fixed64));
                any.extend(value.to_le_bytes());
            }
        }
        any
    }
}

struct ScalarVisitor;

impl de::Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, or `true` or `false`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
        let too_large = |_| E::custom(format!("`{value}` is larger than a 64-bit integer"));
        i64::try_from(value).map(Scalar::Int).map_err(too_large)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Double(value))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A metric of a section.
#[derive(Debug, Clone, Copy)]
pub(in crate::connectors) struct Definition<'c> {
    pub(in crate::connectors) section: &'static Section,
    pub(in crate::connectors) name: &'c str,
    pub(in crate::connectors) description: &'c str,
    pub(in crate::connectors) conditions: Option<&'c Texts>,
    pub(in crate::connectors) attributes: &'c [Attribute],
    /// The attribute that is summed up; without one, items are counted.
    pub(in crate::connectors) sums: Option<&'c str>,
}

impl<'c> Definition<'c> {
    fn path(&self) -> String {
        format!("{}::{}", self.section.key, self.name)
    }

    pub(super) fn conditions(&self) -> Vec<Text<'c>> {
        let path = format!("{}::conditions", self.path());
        self.conditions.map(|list| texts(&path, list)).unwrap_or_default()
    }
}

/// Checks a definition below `at`.
pub(in crate::connectors) fn check(
    definition: &Definition<'_>,
    at: &Node,
    problems: &mut Problems,
) {
    let path = definition.path();
    if definition.name.is_empty() {
        problems
            .error(at.at(definition.section.key), "the name of the metric is empty")
            .help("write its name as the key");
    }
    for (index, attribute) in definition.attributes.iter().enumerate() {
        let node = at.at(&format!("{path}::attributes::{index}"));
        if attribute.key.is_empty() {
            problems.error(node, "attribute key missing").help("add `key`");
        }
        let before = &definition.attributes[..index];
        if before.iter().any(|other| other.key == attribute.key) {
            problems
                .error(node, format!("duplicate attribute key `{}`", attribute.key))
                .help("remove one");
        }
    }
    if let Some(source) = definition.source() {
        source.check(at, problems);
    }
}
