//! Fields of log records by their names: `attributes.a.b`, `body.a\.b`.

use crate::ottl::{
    Value, content, key_value,
    message::{child, fields},
};

/// Where a field begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Attributes,
    Body,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) root: Root,
    pub(super) keys: Vec<String>,
}

/// Reads a name; `None` if it is none.
pub(super) fn parse(name: &str) -> Option<Field> {
    let mut parts = vec![String::new()];
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next_if_eq(&'.').is_some() => parts.last_mut()?.push('.'),
            '.' => parts.push(String::new()),
            c => parts.last_mut()?.push(c),
        }
    }
    let root = match parts.remove(0).as_str() {
        "attributes" => Root::Attributes,
        "body" => Root::Body,
        _ => return None,
    };
    parts.iter().all(|key| !key.is_empty()).then_some(Field { root, keys: parts })
}

impl Field {
    /// The statement that deletes it.
    pub(super) fn deletion(&self) -> String {
        let quoted = |key: &String| serde_json::Value::from(key.as_str()).to_string();
        let root = match self.root {
            Root::Attributes => "attributes",
            Root::Body => "body",
        };
        let (last, outer) = match self.keys.split_last() {
            Some((last, outer)) => (quoted(last), outer),
            None => (String::new(), &[][..]),
        };
        let outer: Vec<String> = outer.iter().map(|key| format!("[{}]", quoted(key))).collect();
        format!("delete_key({root}{}, {last})", outer.concat())
    }

    /// Appends its value in a log record as a canonical `AnyValue`; false if the record lacks it.
    pub(super) fn value(&self, record: &[u8], out: &mut Vec<u8>) -> bool {
        let (value, keys) = match self.root {
            Root::Body => (child(record, 5), &self.keys[..]),
            Root::Attributes => {
                let Some((first, inner)) = self.keys.split_first() else { return false };
                let mut entries = fields(record).filter_map(|field| content(&field, 6));
                let entry = entries.find(|entry| key_value(entry).0 == first.as_bytes());
                (entry.map(|entry| key_value(entry).1), inner)
            }
        };
        let Some(mut value) = value.map(Value::read_cow) else { return false };
        for key in keys {
            let inner = match &value {
                Value::Map(map) => map.get(key.as_bytes()).map(Value::into_owned),
                _ => None,
            };
            let Some(inner) = inner else { return false };
            value = inner;
        }
        value.encode(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_dots_and_dots_in_keys() {
        let field = |root, keys: &[&str]| {
            Some(Field { root, keys: keys.iter().map(|key| (*key).to_owned()).collect() })
        };
        assert_eq!(parse("attributes.a"), field(Root::Attributes, &["a"]));
        assert_eq!(parse(r"body.a\.b.c"), field(Root::Body, &["a.b", "c"]));
        assert_eq!(parse("body"), field(Root::Body, &[]));
        assert_eq!(parse("resource.a"), None);
        assert_eq!(parse("body."), None);
        assert_eq!(parse(""), None);
        let statement = parse(r#"attributes.a\.b.c"d"#).unwrap().deletion();
        assert_eq!(statement, r#"delete_key(attributes["a.b"], "c\"d")"#);
    }
}
