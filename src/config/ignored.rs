//! Keys that are accepted so that a configuration of the Collector works as it is, and that have no
//! effect here.
//!
//! Such a key has the type [`Ignored`] or [`Fixed`], and the comment of its field says why it has
//! no effect, and maybe what to do instead:
//!
//! ```text
//! /// Has no effect: the log goes to standard error. Instead: redirect it.
//! ```
//!
//! The type marks the key in the schema. By this mark, `document` warns of the key at its line with
//! these words, the reference lists it apart, and `print-config` does not add it.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// A key without effect. A value of a wrong type is an error; any other value is forgotten, so two
/// configurations that differ only in such keys are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignored<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ignored<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|_| Ignored(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Ignored<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("ignored_{}", T::schema_name()).into()
    }
    /// Editors strike a deprecated key through.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("deprecated".to_owned(), true.into());
        schema
    }
}

/// A switch with one position: skep always does what `VALUE` asks for, and the other value has no
/// effect. So only the other value causes a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fixed<const VALUE: bool>;

impl<'de, const VALUE: bool> Deserialize<'de> for Fixed<VALUE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(|_| Fixed)
    }
}

/// Marks the schema of a [`Fixed`], with its value.
pub const FIXED_MARK: &str = "x-fixed";

impl<const VALUE: bool> JsonSchema for Fixed<VALUE> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("fixed_{VALUE}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "boolean", "deprecated": true });
        schema.insert(FIXED_MARK.to_owned(), VALUE.into());
        schema
    }
}

/// A value of any type, for [`Ignored`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Anything)
    }
}

impl JsonSchema for Anything {
    fn schema_name() -> Cow<'static, str> {
        "anything".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::default()
    }
}

/// Why a key has no effect, and what to do instead, from the comment of its field.
pub fn reason(comment: &str) -> Option<(String, String)> {
    let comment = comment.replace('\n', " ");
    let text = comment.strip_prefix("Has no effect: ")?.trim_end_matches('.');
    let (why, instead) = text.split_once(". Instead: ").unwrap_or((text, "remove the key"));
    Some((why.to_owned(), instead.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_has_a_reason_and_maybe_a_remedy() {
        let words = |why: &str, instead: &str| Some((why.to_owned(), instead.to_owned()));
        assert_eq!(reason("Has no effect: it\nis old."), words("it is old", "remove the key"));
        assert_eq!(
            reason("Has no effect: a. Instead: write `b: 1.5`."),
            words("a", "write `b: 1.5`")
        );
        assert_eq!(reason("Something else."), None);
    }
}
