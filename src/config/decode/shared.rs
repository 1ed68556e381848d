//! Keys that several components share: a struct of its own whose keys are written among those of
//! the component, see [`shared_field`].
//!
//! Why not serde's `flatten`: it copies all values into a buffer first, which loses their places
//! and whether they are secrets, and it accepts unknown keys.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::{
    Boxed, Members,
    error::{at, error, unknown_key},
};
use crate::config::tree::Member;

/// The field of a struct whose type has shared keys: its name begins with `$`, which no key does.
pub(super) fn shared_field(fields: &'static [&'static str]) -> Option<&'static str> {
    fields.iter().copied().find(|field| field.starts_with('$'))
}

/// Whether a key is one of the struct's own.
fn is_own(fields: &[&str], key: &str) -> bool {
    fields.contains(&key) && !key.starts_with('$')
}

/// The members of a struct with a shared field: first those of its own fields, then the shared
/// field with all others.
pub(super) struct OwnAndShared<'a> {
    own: Members<'a>,
    fields: &'static [&'static str],
    shared: Option<&'static str>,
    is_shared_next: bool,
}

impl<'a> OwnAndShared<'a> {
    pub(super) fn new(
        members: &'a [Member],
        fields: &'static [&'static str],
        shared: &'static str,
    ) -> Self {
        let own = Members { members, next: 0 };
        OwnAndShared { own, fields, shared: Some(shared), is_shared_next: false }
    }
}

impl<'a> MapAccess<'a> for OwnAndShared<'a> {
    type Error = Boxed;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Boxed> {
        self.own.skip(|member| !is_own(self.fields, &member.key));
        if self.own.next < self.own.members.len() {
            return self.own.next_key_seed(seed);
        }
        let Some(shared) = self.shared.take() else { return Ok(None) };
        self.is_shared_next = true;
        seed.deserialize(de::value::BorrowedStrDeserializer::<Boxed>::new(shared)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Boxed> {
        if !self.is_shared_next {
            return self.own.next_value_seed(seed);
        }
        let members = Members { members: self.own.members, next: 0 };
        seed.deserialize(Shared { members, outer: self.fields, fields: &[] })
    }
}

/// The members that are not fields of the outer struct.
struct Shared<'a> {
    members: Members<'a>,
    outer: &'static [&'static str],
    fields: &'static [&'static str],
}

impl<'de> Deserializer<'de> for Shared<'de> {
    type Error = Boxed;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Boxed> {
        Err(error("shared keys are a struct".to_owned(), None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Boxed> {
        visitor.visit_map(Shared { fields, ..self })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl Shared<'_> {
    /// All valid keys, in the order of the structs.
    fn valid_keys(&self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        for field in self.outer {
            if field.starts_with('$') {
                keys.extend_from_slice(self.fields);
            } else {
                keys.push(*field);
            }
        }
        keys
    }
}

impl<'a> MapAccess<'a> for Shared<'a> {
    type Error = Boxed;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Boxed> {
        self.members.skip(|member| is_own(self.outer, &member.key));
        if let Some(member) = self.members.members.get(self.members.next)
            && !self.fields.contains(&&*member.key)
        {
            let unknown = unknown_key(&member.key, &self.valid_keys());
            return Err(at(unknown, &member.key_place, &member.key));
        }
        self.members.next_key_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Boxed> {
        self.members.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::config::{Problems, Secret, decode, yaml};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Own {
        first: u32,
        #[serde(rename = "$shared")]
        shared: Keys,
        last: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Keys {
        region: String,
        key: Secret,
        attempts: u32,
    }

    impl Default for Keys {
        fn default() -> Self {
            Keys { region: String::new(), key: Secret::default(), attempts: 3 }
        }
    }

    /// The struct, and each problem with its path and help.
    fn read(text: &str) -> (Option<Own>, Vec<String>) {
        let mut problems = Problems::default();
        let own = decode(&yaml::parse(0, text).unwrap(), &mut problems);
        let told = problems.0.into_iter().map(|problem| {
            let help = problem.help.unwrap_or_default();
            format!("{}: {}; {help}", problem.path, problem.message)
        });
        (own, told.collect())
    }

    #[test]
    fn shared_keys_stand_among_the_others() {
        let (own, problems) = read("{region: r, last: x, key: '12', first: 1}");
        let shared = Keys { region: "r".to_owned(), key: Secret::new("12"), attempts: 3 };
        assert_eq!(own, Some(Own { first: 1, shared, last: "x".to_owned() }));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(read("{}").0, Some(Own::default()));
        assert_eq!(read("~").0, Some(Own::default()));
    }

    #[test]
    fn problems_are_found_in_all_keys_at_their_places() {
        let (own, problems) = read("{first: x, attempts: y, regoin: r, last: z, $shared: {}}");
        assert_eq!(own.map(|own| own.last), Some("z".to_owned()));
        let valid = "valid: first, region, key, attempts, last";
        let expected = [
            ("first", "expected a whole number"),
            ("attempts", "expected a whole number"),
            ("regoin", "unknown key `regoin`; did you mean `region`?"),
            ("$shared", "unknown key `$shared`"),
        ];
        for (path, words) in expected {
            let problem = problems.iter().find(|problem| problem.starts_with(&format!("{path}: ")));
            assert!(problem.is_some_and(|problem| problem.contains(words)), "{problems:?}");
        }
        assert!(problems.iter().any(|problem| problem.contains(valid)), "{problems:?}");
        assert_eq!(problems.len(), 4);
    }
}
