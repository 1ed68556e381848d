//! Programs as trees, and how they are written.

use std::fmt::{self, Display};

use super::{
    measures::Measure,
    value::{Op, Val, hex},
};
use crate::ottl::Context;

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Literal(Val),
    Enum(&'static str, i64),
    List(Vec<Expr>),
    Map(Vec<(&'static str, Expr)>),
    Path(Path),
    Math(char, Box<(Expr, Expr)>),
    Call(&'static str, Vec<Expr>),
    /// `Any`, `All` or `Filter` of a source, with a comparison of each value.
    Each(&'static str, Box<Expr>, Op, Box<Expr>),
    /// A key of what a converter returns.
    Key(Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone)]
pub(super) struct Path {
    pub context: Context,
    pub field: &'static str,
    /// Each gives a text or an integer, or fails.
    pub keys: Vec<Expr>,
    /// Whether the name of the context is written.
    pub is_bare: bool,
    /// Written `instrumentation_scope`.
    pub is_old: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Cond {
    Constant(bool),
    Compare(Op, Expr, Expr),
    Call(Expr),
    Not(Box<Cond>),
    And(Vec<Cond>),
    Or(Vec<Cond>),
}

#[derive(Debug, Clone)]
pub(super) enum Edit {
    Set(Path, Expr),
    DeleteKey(Path, Expr),
    KeepKeys(Path, Vec<Expr>),
    /// Deletes or keeps what matches.
    Matching(Path, &'static str, bool),
    Limit(Path, usize, Vec<&'static str>),
    Truncate(Path, usize),
    Merge(Path, Expr, &'static str),
    ReplacePattern(Path, &'static str, &'static str),
    ReplaceMatch(Path, &'static str, &'static str),
    ReplaceAllPatterns(Path, &'static str, &'static str, &'static str),
    ReplaceAllMatches(Path, &'static str, &'static str),
    Append(Path, Expr),
    DeleteIndex(Path, i64, i64),
    Flatten(Path, Flat),
    StringifyAll(Path),
    Measure(Measure),
    /// The attribute that the old name goes to, if there is one.
    ConventionalName(Option<&'static str>),
}

/// How a map is flattened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flat {
    pub prefix: Option<&'static str>,
    pub depth: Option<i64>,
    pub resolves: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub edit: Edit,
    pub condition: Option<Cond>,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub conditions: Vec<Cond>,
    pub statements: Vec<Statement>,
}

fn joined<T: Display>(values: &[T], between: &str) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Literal(Val::Nil) => write!(f, "nil"),
            Expr::Literal(Val::Bool(value)) => write!(f, "{value}"),
            Expr::Literal(Val::Int(value)) => write!(f, "{value}"),
            Expr::Literal(Val::Double(value)) => write!(f, "{value:?}"),
            Expr::Literal(Val::Text(text)) => write!(f, "{text:?}"),
            Expr::Literal(Val::Bytes(bytes)) => write!(f, "0x{}", hex(bytes)),
            Expr::Literal(other) => unreachable!("{other:?} has no literal"),
            Expr::Enum(name, _) => write!(f, "{name}"),
            Expr::List(values) => write!(f, "[{}]", joined(values, ", ")),
            Expr::Map(members) => {
                let members: Vec<String> =
                    members.iter().map(|(key, value)| format!("{key:?}: {value}")).collect();
                write!(f, "{{{}}}", members.join(", "))
            }
            Expr::Path(path) => write!(f, "{path}"),
            Expr::Math(sign, sides) => write!(f, "({} {sign} {})", sides.0, sides.1),
            Expr::Call(name, arguments) => write!(f, "{name}({})", joined(arguments, ", ")),
            Expr::Each(name, source, op, with) => {
                write!(f, "{name}({source}, (_, v) => v {} {with})", op.sign())
            }
            Expr::Key(inner, key) => write!(f, "{inner}[{key}]"),
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_bare, self.is_old) {
            (true, _) => {}
            (_, true) => write!(f, "instrumentation_scope.")?,
            _ => write!(f, "{}.", self.context.name())?,
        }
        write!(f, "{}", self.field)?;
        self.keys.iter().try_for_each(|key| write!(f, "[{key}]"))
    }
}

impl Display for Cond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cond::Constant(value) => write!(f, "{value}"),
            Cond::Compare(op, left, right) => write!(f, "{left} {} {right}", op.sign()),
            Cond::Call(call) => write!(f, "{call}"),
            Cond::Not(inner) => write!(f, "not {inner}"),
            Cond::And(all) => write!(f, "({})", joined(all, " and ")),
            Cond::Or(all) => write!(f, "({})", joined(all, " or ")),
        }
    }
}

impl Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edit::Set(path, value) => write!(f, "set({path}, {value})"),
            Edit::DeleteKey(path, key) => write!(f, "delete_key({path}, {key})"),
            Edit::KeepKeys(path, keys) => write!(f, "keep_keys({path}, [{}])", joined(keys, ", ")),
            Edit::Matching(path, pattern, true) => {
                write!(f, "keep_matching_keys({path}, {pattern:?})")
            }
            Edit::Matching(path, pattern, false) => {
                write!(f, "delete_matching_keys({path}, {pattern:?})")
            }
            Edit::Limit(path, limit, keys) => write!(f, "limit({path}, {limit}, {keys:?})"),
            Edit::Truncate(path, limit) => write!(f, "truncate_all({path}, {limit})"),
            Edit::Merge(path, source, strategy) => {
                write!(f, "merge_maps({path}, {source}, {strategy:?})")
            }
            Edit::ReplacePattern(path, pattern, new) => {
                write!(f, "replace_pattern({path}, {pattern:?}, {new:?})")
            }
            Edit::ReplaceMatch(path, glob, new) => {
                write!(f, "replace_match({path}, {glob:?}, {new:?})")
            }
            Edit::ReplaceAllPatterns(path, mode, pattern, new) => {
                write!(f, "replace_all_patterns({path}, {mode:?}, {pattern:?}, {new:?})")
            }
            Edit::ReplaceAllMatches(path, glob, new) => {
                write!(f, "replace_all_matches({path}, {glob:?}, {new:?})")
            }
            Edit::Append(path, value) => write!(f, "append({path}, {value})"),
            Edit::DeleteIndex(path, start, end) => {
                write!(f, "delete_index({path}, {start}, {end})")
            }
            Edit::Flatten(path, flat) => write!(f, "flatten({path}{flat})"),
            Edit::StringifyAll(path) => write!(f, "stringify_all({path})"),
            Edit::Measure(measure) => write!(f, "{measure}"),
            Edit::ConventionalName(None) => write!(f, "set_semconv_span_name(\"1.37.0\")"),
            Edit::ConventionalName(Some(key)) => {
                write!(f, "set_semconv_span_name(\"1.37.0\", {key:?})")
            }
        }
    }
}

impl Display for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.iter().try_for_each(|prefix| write!(f, ", prefix={prefix:?}"))?;
        self.depth.iter().try_for_each(|depth| write!(f, ", depth={depth}"))?;
        if self.resolves { write!(f, ", resolve_conflicts=true") } else { Ok(()) }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.edit)?;
        self.condition.iter().try_for_each(|condition| write!(f, " where {condition}"))
    }
}
