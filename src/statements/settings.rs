//! How texts are written in YAML: lists of texts, and lists of texts or of groups.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// Conditions or statements. A single text is a list of one; it is not split at commas, which
/// belong to the language.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts(pub Vec<String>);

/// Texts that make one group, or groups.
#[derive(Debug, Clone, PartialEq)]
pub enum Blocks<T> {
    Texts(Texts),
    Groups(Vec<T>),
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks::Texts(Texts::default())
    }
}

impl<T> Blocks<T> {
    pub fn is_empty(&self) -> bool {
        match self {
            Blocks::Texts(texts) => texts.0.is_empty(),
            Blocks::Groups(groups) => groups.is_empty(),
        }
    }
}

/// An element of a list.
enum Element<T> {
    Text(String),
    Group(T),
}

/// Which elements a list may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Either,
    Texts,
    Groups,
}

struct ElementSeed<T> {
    takes: Takes,
    element: PhantomData<T>,
}

impl<T> ElementSeed<T> {
    fn of(takes: Takes) -> Self {
        ElementSeed { takes, element: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for ElementSeed<T> {
    type Value = Element<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ElementSeed<T> {
    type Value = Element<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.takes {
            Takes::Either => "a text in the language of OTTL, or a group of them",
            Takes::Texts => "a text in the language of OTTL",
            Takes::Groups => "a group, as the elements before it",
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Element<T>, E> {
        if self.takes == Takes::Groups {
            return Err(E::custom(
                "texts and groups cannot be in one list; make it a group of its own",
            ));
        }
        if text.trim().is_empty() {
            return Err(E::custom("the text is empty; remove it"));
        }
        Ok(Element::Text(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Element<T>, E> {
        Err(E::custom("the element is empty; remove it"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element<T>, A::Error> {
        match self.takes {
            Takes::Texts => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
            Takes::Either | Takes::Groups => {
                T::deserialize(MapAccessDeserializer::new(map)).map(Element::Group)
            }
        }
    }
}

/// Reads a list of texts.
struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
        let texts = if text.trim().is_empty() { Vec::new() } else { vec![text.to_owned()] };
        Ok(Texts(texts))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(element) = list.next_element_seed(ElementSeed::<()>::of(Takes::Texts))? {
            if let Element::Text(text) = element {
                texts.push(text);
            }
        }
        Ok(Texts(texts))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// Reads a list of texts or of groups.
struct BlocksVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BlocksVisitor<T> {
    type Value = Blocks<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts, or of groups of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Blocks<T>, E> {
        TextsVisitor.visit_str(text).map(Blocks::Texts)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Blocks<T>, A::Error> {
        let (mut texts, mut groups) = (Vec::new(), Vec::new());
        let mut takes = Takes::Either;
        while let Some(element) = list.next_element_seed(ElementSeed::of(takes))? {
            match element {
                Element::Text(text) => {
                    takes = Takes::Texts;
                    texts.push(text);
                }
                Element::Group(group) => {
                    takes = Takes::Groups;
                    groups.push(group);
                }
            }
        }
        Ok(if groups.is_empty() { Blocks::Texts(Texts(texts)) } else { Blocks::Groups(groups) })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Blocks<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlocksVisitor(PhantomData))
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "texts".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" } })
    }
}

impl<T: JsonSchema> JsonSchema for Blocks<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("blocks of {}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let group = generator.subschema_for::<T>();
        json_schema!({
            "anyOf": [
                { "type": "array", "items": group },
                { "type": "array", "items": { "type": "string" } },
            ],
        })
    }
}
