//! A YAML document as a tree in which every key and value knows its position.

use std::sync::Arc;

/// A position: a source (file, variable, flag) and a byte range in its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// Index into the sources that were read; see `source`.
    pub source: usize,
    /// Byte range in the text of the source.
    pub range: std::ops::Range<usize>,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// The position of its value.
    pub place: Place,
    /// The position of its key; `None` for the root and for elements of lists.
    pub key_place: Option<Place>,
    /// Path from the root: `receivers::otlp::protocols`.
    pub path: Arc<str>,
    /// Where the pieces of its text are, if that is not in the file as it is: a scalar of several
    /// lines is folded. There are none if references in it were replaced.
    pub pieces: Option<Arc<[Piece]>>,
}

/// A piece of a text that is in the file as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the text.
    pub at: usize,
    /// Where it begins in the source.
    pub start: usize,
    /// Its length in bytes.
    pub len: usize,
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The key.
    pub key: String,
    /// The position of the key.
    pub key_place: Place,
    /// Its value.
    pub value: Node,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent after a key, `~` or `null`.
    Null,
    /// Text with a reference that could not be replaced, most likely because its variable or file
    /// does not exist here. Its value may be anything, and a problem is recorded already.
    Unknown(String),
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A floating point number.
    Float(f64),
    /// Text.
    String(String),
    /// A scalar that was a single `${...}`: `text` for string fields, `parsed` for others.
    Substituted {
        /// The original text.
        text: String,
        /// What YAML makes of it.
        parsed: Box<Value>,
        /// The reference stood in quotes or under `!!str`: text where any type may be.
        is_text: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Member>),
}

impl Node {
    /// The value, looking through a substitution at what YAML makes of its text.
    pub fn plain(&self) -> &Value {
        match &self.value {
            Value::Substituted { parsed, .. } => parsed,
            value => value,
        }
    }

    /// The position to show for a problem of the whole value: the scalar itself, or the key of a
    /// map, a list or a null.
    pub fn spot(&self) -> &Place {
        match (&self.value, &self.key_place) {
            (Value::Map(_) | Value::List(_) | Value::Null, Some(key)) => key,
            _ => &self.place,
        }
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match self.plain() {
            Value::Map(members) => members.iter().find(|m| m.key == key).map(|m| &m.value),
            _ => None,
        }
    }

    /// The deepest node that exists along `a::b::c`; this node if there is none.
    pub fn at(&self, path: &str) -> &Node {
        let mut node = self;
        for key in path.split("::") {
            let next = match node.plain() {
                Value::List(nodes) => key.parse::<usize>().ok().and_then(|i| nodes.get(i)),
                _ => node.get(key),
            };
            let Some(next) = next else { return node };
            node = next;
        }
        node
    }
}
