//! Values with units or with rules of their own: durations, secrets, optional sections.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Node, Problems};

/// A duration in Go's grammar: `300ms`, `1h30m`, bare `0`; a bare integer counts nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Interval(pub Duration);

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// In the grammar in which it is read: `1h30m`, `200ms`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if !nanos.is_multiple_of(1_000_000_000) {
            let units = [(1_000_000, "ms"), (1_000, "us"), (1, "ns")];
            let fits = |unit: &&(u128, &str)| nanos.is_multiple_of(unit.0);
            let (unit, name) = units.iter().find(fits).unwrap_or(&(1, "ns"));
            return write!(f, "{}{name}", nanos / unit);
        }
        let seconds = self.0.as_secs();
        for (count, name) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")]
        {
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntervalVisitor)
    }
}

struct IntervalVisitor;

impl de::Visitor<'_> for IntervalVisitor {
    type Value = Interval;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `200ms`, `5s` or `1h30m`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
        parse_duration(text).map(Interval).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<Interval, E> {
        Ok(Interval(Duration::from_nanos(nanos)))
    }

    fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<Interval, E> {
        Err(E::custom(format!("a duration cannot be negative: `{nanos}`")))
    }
}

/// Text that may be missing: empty is missing, as a variable's empty default is
/// (`cert_file: ${env:CERT:-}`).
pub fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// Go's grammar: decimal numbers with units, added up. Negative durations are refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        let hint = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            format!("; write a unit, for instance `{text}s`")
        } else {
            "; units are ns, us, ms, s, m and h, without spaces".to_owned()
        };
        format!("`{text}` is not a duration such as `200ms`, `5s` or `1h30m`{hint}")
    };
    if text.starts_with('-') {
        return Err(format!("a duration cannot be negative: `{text}`"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut whole = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        if let Ok(count) = number.parse::<u64>() {
            let part = count.checked_mul(nanos).ok_or_else(wrong)?;
            whole = whole.checked_add(Duration::from_nanos(part)).ok_or_else(wrong)?;
        } else {
            let count: f64 = number.parse().map_err(|_| wrong())?;
            seconds += count * Duration::from_nanos(nanos).as_secs_f64();
        }
        rest = after;
    }
    let fraction = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    whole.checked_add(fraction).ok_or_else(wrong)
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // As `parse_duration` reads it; the letters before `s` are the two micro signs.
        let pattern = "^\\+?(0|([0-9]*\\.?[0-9]*(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$";
        json_schema!({
            "description": "A duration such as `200ms`, `5s` or `1h30m`.",
            "type": ["string", "integer"],
            "pattern": pattern,
        })
    }
}

/// The text that is shown instead of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// Text that never prints: `Debug` and serialization show `[REDACTED]`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Decoded with a marker, so that an error does not show the value.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(super::decode::SECRET, SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> de::Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Secret, D::Error> {
        let wrong = |_| de::Error::custom("expected text");
        String::deserialize(deserializer).map(Secret).map_err(wrong)
    }
}

/// Serialized to show only whether there is a secret.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { REDACTED })
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// Refuses keys of HTTP connections beside the section `keepalive`. Of each pair the first is a key
/// below `at`, the second what replaces it in the section.
pub fn refuse_beside_keepalive(replaced: &[(&str, &str)], at: &Node, problems: &mut Problems) {
    for (old, new) in replaced {
        if let Some(node) = at.get(old) {
            problems
                .error(node, format!("`{old}` and `keepalive` cannot be used together"))
                .help(format!("write `{new}` under `keepalive` instead"));
        }
    }
}

/// An optional section whose mention, even with nothing under it, turns it on with its defaults.
/// `enabled: false` inside turns it off again. Use with `#[serde(default)]`: absent is off.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Section<T> {
    /// Not mentioned, or `enabled: false`.
    #[default]
    Off,
    /// On.
    On(T),
}

impl<T> Section<T> {
    /// The settings, if it is on.
    pub fn on(&self) -> Option<&T> {
        match self {
            Section::Off => None,
            Section::On(settings) => Some(settings),
        }
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(super::decode::SECTION, SectionVisitor(PhantomData))
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> de::Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_none<E>(self) -> Result<Section<T>, E> {
        Ok(Section::Off)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Section<T>, D::Error> {
        T::deserialize(deserializer).map(Section::On)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Section<T>, D::Error> {
        T::deserialize(deserializer).map(Section::On)
    }
}

impl<T: JsonSchema> JsonSchema for Section<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}_section", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let fields = schema.ensure_object();
        fields.insert("type".to_owned(), serde_json::json!(["object", "null"]));
        fields.insert(SECTION_MARK.to_owned(), true.into());
        let properties = fields.entry("properties").or_insert_with(|| serde_json::json!({}));
        if let Some(properties) = properties.as_object_mut() {
            let switch = serde_json::json!({
                "description": "`false` turns the section off although it is mentioned.",
                "type": "boolean",
            });
            properties.entry("enabled").or_insert(switch);
        }
        schema
    }
}

/// Marks the schema of a [`Section`]: its mention, even with nothing under it, has a meaning.
pub const SECTION_MARK: &str = "x-section";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("200ms"), Ok(200));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("1.5s"), Ok(1500));
        assert_eq!(millis("0"), Ok(0));
        assert_eq!(millis("1s500ms"), Ok(1500));
        for wrong in ["", "5", "s", "5 s", "5x", "-1s", "1..2s", "1e3s", "99999999999h"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
        assert!(parse_duration("5").unwrap_err().ends_with("for instance `5s`"));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "200ms", "1h30m", "5m", "1500us", "1ns", "25h1s"] {
            assert_eq!(Interval(parse_duration(text).unwrap()).to_string(), text);
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("key")), "[REDACTED]");
    }
}
