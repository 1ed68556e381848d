//! The kinds of values, and sets of them: what an expression may give and what a parameter takes.

use std::fmt;

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types(u32);

impl Types {
    pub const NONE: Types = Types(0);
    pub const NIL: Types = Types(1);
    pub const BOOL: Types = Types(1 << 1);
    pub const INT: Types = Types(1 << 2);
    pub const DOUBLE: Types = Types(1 << 3);
    pub const TEXT: Types = Types(1 << 4);
    pub const BYTES: Types = Types(1 << 5);
    pub const MAP: Types = Types(1 << 6);
    pub const LIST: Types = Types(1 << 7);
    pub const TIME: Types = Types(1 << 8);
    pub const DURATION: Types = Types(1 << 9);
    pub const TRACE_ID: Types = Types(1 << 10);
    pub const SPAN_ID: Types = Types(1 << 11);
    pub const COLLECTION: Types = Types(1 << 12);

    pub const NUMBER: Types = Types(1 << 2 | 1 << 3);
    /// What an attribute can hold.
    pub const ANY: Types = Types(0xFF);
    pub const ALL: Types = Types(0x1FFF);

    #[must_use]
    pub const fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    #[must_use]
    pub const fn and(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }

    #[must_use]
    pub const fn without(self, other: Types) -> Types {
        Types(self.0 & !other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn has(self, other: Types) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn meets(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }
}

const NAMES: [(Types, &str); 13] = [
    (Types::NIL, "nil"),
    (Types::BOOL, "a boolean"),
    (Types::INT, "an integer"),
    (Types::DOUBLE, "a double"),
    (Types::TEXT, "text"),
    (Types::BYTES, "bytes"),
    (Types::MAP, "a map"),
    (Types::LIST, "a list"),
    (Types::TIME, "a time"),
    (Types::DURATION, "a duration"),
    (Types::TRACE_ID, "a trace id"),
    (Types::SPAN_ID, "a span id"),
    (Types::COLLECTION, "a collection"),
];

/// `text or a list`.
impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Types::ALL || self.without(Types::NIL) == Types::ANY.without(Types::NIL) {
            return f.write_str("any value");
        }
        let names = NAMES.iter().filter(|(types, _)| self.has(*types));
        for (i, (_, name)) in names.enumerate() {
            if i > 0 {
                f.write_str(" or ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
