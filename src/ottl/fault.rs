//! What goes wrong while a statement runs. A fault is cheap to make, since under `error_mode:
//! ignore` it may happen for every item; its text is written only when it is shown.

use std::{borrow::Cow, fmt};

use super::{syntax::Span, types::Types};

/// An error of one statement on one item.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The expression that failed.
    pub span: Span,
    pub what: What,
}

/// What failed.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A value has another type than is needed.
    Type {
        subject: &'static str,
        wanted: Types,
        found: Types,
    },
    /// A list has no such index.
    Index {
        index: i64,
        len: usize,
    },
    /// A map that a converter returned has no such key.
    Key(Box<str>),
    /// A value of this type has no keys.
    NoKeys(Types),
    /// An attribute cannot hold a value of this type.
    NotStored(Types),
    DivisionByZero,
    /// A value would be too large.
    TooLarge,
    /// A value would be nested too deep.
    TooDeep,
    /// Anything else, in words.
    Other(Cow<'static, str>),
}

impl What {
    pub fn text(text: &'static str) -> Self {
        What::Other(Cow::Borrowed(text))
    }

    pub fn owned(text: String) -> Self {
        What::Other(Cow::Owned(text))
    }

    pub fn at(self, span: Span) -> Fault {
        Fault { span, what: self }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Type { subject, wanted, found } => {
                write!(f, "{subject} is {found}, but must be {wanted}")
            }
            What::Index { index, len } => {
                write!(f, "index {index} is out of range: the list has {len} elements")
            }
            What::Key(key) => write!(f, "the map has no key `{key}`"),
            What::NoKeys(types) => write!(f, "{types} has no keys"),
            What::NotStored(types) => write!(f, "an attribute cannot hold {types}"),
            What::DivisionByZero => f.write_str("division by zero"),
            What::TooLarge => f.write_str("the value would be too large"),
            What::TooDeep => f.write_str("the value would be nested too deep"),
            What::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

impl std::error::Error for Fault {}
