//! From a tree to a struct by serde, with the Collector's typing rules and every problem at its
//! place.
//!
//! serde stops at the first problem. To report all of them, the key that has one is left out and
//! the body is decoded again, until nothing is wrong or nothing can be left out.

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

mod error;
mod number;
mod shared;

pub use self::error::explained;
use self::{
    error::{Boxed, at, empty, error, is_key_and_value, without_value},
    shared::{OwnAndShared, shared_field},
};
use super::{
    diagnostics::{Problem, Problems, Severity},
    tree::{Member, Node, Value},
};

/// Most problems of one body.
const PROBLEM_LIMIT: usize = 50;

/// Marks a [`super::Section`]: a null turns it on.
pub(super) const SECTION: &str = "$section";

/// Marks a [`super::Secret`], whose value must not appear in an error.
pub(super) const SECRET: &str = "$secret";

/// Decodes `node` as a `T`. Problems are recorded, each at its own line; a key with a problem
/// keeps its default so that the others are still looked at.
pub fn decode<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<T> {
    let mut tree = node.clone();
    // Keys that were left out because their values are not known; they are not missing.
    let mut unknown: Vec<Vec<String>> = Vec::new();
    for _ in 0..PROBLEM_LIMIT {
        let error = match T::deserialize(Cursor { node: &tree }) {
            Ok(decoded) => return Some(decoded),
            Err(error) => *error,
        };
        let is_removed = remove(&mut tree, &error.steps);
        let path: Vec<String> = error.missing.into_iter().chain(error.steps.clone()).collect();
        let is_hidden = error.is_unknown || unknown.contains(&path);
        if error.is_unknown {
            unknown.push(error.steps);
        } else if !error.is_null && !is_hidden {
            problems.0.push(Problem {
                severity: Severity::Error,
                place: Some(error.place.unwrap_or_else(|| node.spot().clone())),
                path: error
                    .steps
                    .iter()
                    .rev()
                    .fold(node.path.to_string(), |path, step| super::yaml::join(&path, step)),
                message: error.message,
                help: error.help,
                related: None,
                is_absent: false,
            });
        }
        if !is_removed {
            return None;
        }
    }
    None
}

/// Removes the member or element at the end of `steps` (innermost first).
fn remove(node: &mut Node, steps: &[String]) -> bool {
    let Some((step, inner)) = steps.split_last() else { return false };
    match &mut node.value {
        Value::Map(members) => {
            let Some(at) = members.iter().position(|m| m.key == *step) else { return false };
            if inner.is_empty() || !remove(&mut members[at].value, inner) {
                members.remove(at);
            }
            true
        }
        Value::List(nodes) => {
            let Some(at) = step.parse().ok().filter(|at| *at < nodes.len()) else { return false };
            if inner.is_empty() || !remove(&mut nodes[at], inner) {
                nodes.remove(at);
            }
            true
        }
        _ => false,
    }
}

#[derive(Clone, Copy)]
struct Cursor<'a> {
    node: &'a Node,
}

impl<'a> Cursor<'a> {
    fn value(self) -> &'a Value {
        self.node.plain()
    }

    fn unexpected(self, visitor: &dyn de::Expected) -> Boxed {
        let unexpected = match self.value() {
            Value::Null => {
                return empty();
            }
            Value::Unknown(_) => {
                let mut unknown = error("the value is not known".to_owned(), None);
                unknown.is_unknown = true;
                return unknown;
            }
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Int(value) => Unexpected::Signed(i64::try_from(*value).unwrap_or(i64::MAX)),
            Value::Float(value) => Unexpected::Float(*value),
            Value::String(_) | Value::Substituted { .. } => Unexpected::Str(""),
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        };
        let mut error: Boxed = de::Error::invalid_type(unexpected, visitor);
        let expected = visitor.to_string();
        error.help = self.remedy(&expected);
        if let Value::String(text) = &self.node.value
            && number::is_wanted(&expected)
            && (1..=number::LONGEST).contains(&text.len())
        {
            error.message =
                error.message.replace("got a string", &format!("got the text `{text}`"));
            let key = self.node.path.rsplit("::").next().unwrap_or_default();
            error.help = error.help.or_else(|| number::remedy(key, text));
        }
        error
    }

    /// How the value would have the expected type, where quotes make the difference.
    fn remedy(self, expected: &str) -> Option<String> {
        match &self.node.value {
            Value::String(text) if !text.is_empty() => {
                let fits = match super::yaml::resolve(text) {
                    Value::Bool(_) => expected == "a boolean",
                    Value::Int(_) => expected.starts_with(['u', 'i']) || expected == "f64",
                    Value::Float(_) => expected == "f64",
                    _ => false,
                };
                if fits {
                    return Some(format!("remove the quotes: `{text}`"));
                }
                let is_map = expected.starts_with("struct ") || expected == "a map";
                match (expected, &*text.to_lowercase()) {
                    ("a boolean", "yes" | "on" | "y" | "t") => Some("write `true`".to_owned()),
                    ("a boolean", "no" | "off" | "n" | "f") => Some("write `false`".to_owned()),
                    (_, text) if is_map && is_key_and_value(text) => {
                        Some("put a space after the colon".to_owned())
                    }
                    _ if is_map => Some("write its keys under it, indented".to_owned()),
                    _ => None,
                }
            }
            Value::Bool(_) | Value::Int(_) | Value::Float(_) if expected == "a string" => {
                Some("put quotes around it".to_owned())
            }
            Value::Substituted { .. } => Some("check the value of the reference".to_owned()),
            _ => None,
        }
    }

    fn number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match self.value() {
            Value::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(error(format!("the number `{value}` is too large"), None)),
            },
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn secret<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        let (found, help) = match self.value() {
            _ if matches!(self.node.value, Value::String(_) | Value::Substituted { .. }) => {
                return self.text(visitor);
            }
            Value::Bool(_) => ("a boolean", Some("put quotes around it")),
            Value::Int(_) | Value::Float(_) => ("a number", Some("put quotes around it")),
            Value::List(_) => ("a list", None),
            Value::Map(_) => ("a map", None),
            Value::Null | Value::Unknown(_) | Value::String(_) | Value::Substituted { .. } => {
                return Err(self.unexpected(&visitor));
            }
        };
        Err(error(format!("expected text, got {found}"), help.map(ToOwned::to_owned)))
    }

    fn text<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match &self.node.value {
            Value::String(text) | Value::Substituted { text, .. } => {
                visitor.visit_borrowed_str(text)
            }
            _ => Err(self.unexpected(&visitor)),
        }
    }
}

impl<'a> Deserializer<'a> for Cursor<'a> {
    type Error = Boxed;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        if let Value::Substituted { text, is_text: true, .. } = &self.node.value {
            return visitor.visit_borrowed_str(text);
        }
        match self.value() {
            Value::Null => visitor.visit_unit(),
            Value::Unknown(_) => Err(self.unexpected(&visitor)),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(_) => self.number(visitor),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) | Value::Substituted { text, .. } => {
                visitor.visit_borrowed_str(text)
            }
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match self.value() {
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_i8<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_i16<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_i32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_i64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_i128<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_u8<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_u16<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_u32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_u64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_u128<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.number(visitor)
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match self.value() {
            Value::Float(value) => visitor.visit_f64(*value),
            _ => self.number(visitor),
        }
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.text(visitor)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.text(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match self.value() {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match self.value() {
            Value::Null => visitor.visit_unit(),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Boxed> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Boxed> {
        if name == SECRET {
            return self.secret(visitor);
        }
        if name != SECTION {
            return visitor.visit_newtype_struct(self);
        }
        // `enabled` is not a key of the settings themselves.
        let enabled = self.node.get("enabled").map(|node| Cursor { node }.value());
        match (enabled, self.value()) {
            (Some(Value::Bool(false)), _) => visitor.visit_none(),
            (_, Value::Map(members)) => {
                let settings = Settings { members };
                visitor.visit_some(settings)
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match (self.value(), &self.node.value) {
            (Value::List(nodes), _) => visitor.visit_seq(Elements { nodes, next: 0 }),
            (_, Value::String(text) | Value::Substituted { text, .. }) => {
                let parts: Vec<&str> = text.split(',').map(str::trim).collect();
                visitor.visit_seq(de::value::SeqDeserializer::new(parts.into_iter()))
            }
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _len: usize, visitor: V) -> Result<V::Value, Boxed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Boxed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        match self.value() {
            Value::Map(members) => visitor.visit_map(Members { members, next: 0 }),
            Value::Null => visitor.visit_map(Members { members: &[], next: 0 }),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Boxed> {
        if let (Some(shared), Value::Map(members)) = (shared_field(fields), self.value()) {
            return visitor.visit_map(OwnAndShared::new(members, fields, shared));
        }
        self.deserialize_map(visitor).map_err(|mut error| {
            if let (None, Value::String(text)) = (&error.place, &self.node.value) {
                let first = text.split([' ', ':']).next().unwrap_or_default();
                if let Some(key) = fields.iter().find(|key| **key == first) {
                    error.help = Some(format!("write `{key}: ` with a colon and a space"));
                }
            }
            error
        })
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Boxed> {
        match &self.node.value {
            // As in the Collector, an empty text is the zero value of each enum.
            Value::String(text) | Value::Substituted { text, .. }
                if text.is_empty() && !variants.contains(&"") =>
            {
                Err(empty())
            }
            Value::String(text) | Value::Substituted { text, .. } => {
                let known = variants.iter().find(|known| known.eq_ignore_ascii_case(text));
                let name = known.map_or_else(|| text.to_lowercase(), |known| (*known).to_owned());
                visitor.visit_enum(IntoDeserializer::<Boxed>::into_deserializer(name))
            }
            _ => {
                let mut error = self.unexpected(&visitor);
                error.help.get_or_insert_with(|| format!("valid: {}", variants.join(", ")));
                Err(error)
            }
        }
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        self.text(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Boxed> {
        visitor.visit_unit()
    }
}

/// The settings of a section: its map without the switch.
struct Settings<'a> {
    members: &'a [Member],
}

impl<'de> Deserializer<'de> for Settings<'de> {
    type Error = Boxed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Boxed> {
        visitor.visit_map(SectionMembers(Members { members: self.members, next: 0 }))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct SectionMembers<'a>(Members<'a>);

impl<'a> MapAccess<'a> for SectionMembers<'a> {
    type Error = Boxed;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Boxed> {
        let is_switch = |member: &Member| {
            member.key == "enabled" && matches!(member.value.value, Value::Bool(_))
        };
        self.0.skip(is_switch);
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Boxed> {
        self.0.next_value_seed(seed)
    }
}

struct Elements<'a> {
    nodes: &'a [Node],
    next: usize,
}

impl<'a> SeqAccess<'a> for Elements<'a> {
    type Error = Boxed;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Boxed> {
        let Some(node) = self.nodes.get(self.next) else { return Ok(None) };
        let step = self.next.to_string();
        self.next += 1;
        seed.deserialize(Cursor { node })
            .map(Some)
            .map_err(|error| at(without_value(error, node), node.spot(), &step))
    }
}

struct Members<'a> {
    members: &'a [Member],
    next: usize,
}

impl Members<'_> {
    /// Skips the next members, as long as they are to be skipped.
    fn skip(&mut self, is_skipped: impl Fn(&Member) -> bool) {
        while self.members.get(self.next).is_some_and(&is_skipped) {
            self.next += 1;
        }
    }
}

impl<'a> MapAccess<'a> for Members<'a> {
    type Error = Boxed;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Boxed> {
        let Some(member) = self.members.get(self.next) else { return Ok(None) };
        let key: de::value::BorrowedStrDeserializer<'a, Boxed> =
            de::value::BorrowedStrDeserializer::new(&member.key);
        seed.deserialize(key).map(Some).map_err(|error| at(error, &member.key_place, &member.key))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Boxed> {
        let Some(member) = self.members.get(self.next) else {
            return Err(error("a key without a value".to_owned(), None));
        };
        self.next += 1;
        seed.deserialize(Cursor { node: &member.value }).map_err(|mut error| {
            // Quotes alone would only lead to the next error.
            if let (None, "endpoint", Value::Int(port)) =
                (&error.place, &*member.key, &member.value.value)
            {
                error.help = Some(format!("write the host before it, such as `localhost:{port}`"));
            }
            at(without_value(error, &member.value), member.value.spot(), &member.key)
        })
    }
}

#[cfg(test)]
mod tests;
