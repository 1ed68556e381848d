//! The functions of the language: editors, which change an item, and converters, which return a
//! value. Each is a row of a table with its parameters, and one Rust function.

mod aggregate;
mod edit;
mod extract;
mod grok;
mod hashes;
mod histograms;
mod kinds;
mod lambdas;
mod lists;
mod logs;
mod metrics;
mod naming;
mod network;
mod numbers;
mod parse;
mod patterns;
mod replace;
mod reshape;
mod sprintf;
mod strings;
mod times;
mod xml;
pub(crate) mod xpath;

pub(crate) use aggregate::merged_data;

use std::{ops::Deref, sync::Arc};

use regex::bytes::Regex;

use super::{
    fault::Fault,
    item::Item,
    language::Context,
    node::{Argument, Call, Eval},
    pattern::{self, Recent},
    rescan::Rescans,
    types::Types,
    value::Value,
};

/// A function and what is known of it at the start.
#[derive(Debug)]
pub struct Function {
    /// Editors begin with a small letter, converters with a capital.
    pub name: &'static str,
    pub parameters: &'static [Parameter],
    /// Empty for an editor.
    pub returns: Types,
    /// Where it can be used; empty: in every context.
    pub contexts: &'static [Context],
    /// Gives the same for the same arguments.
    pub is_pure: bool,
    /// Checks and compiles the arguments together; the error is an argument and its words.
    pub prepare: Option<Prepare>,
    pub run: Run,
    /// What it does, for the list of functions.
    pub words: &'static str,
}

/// What a function runs.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    Convert(Convert),
    Edit(Edit),
}

pub(crate) type Convert = for<'e> fn(&'e Call, Eval<'e>) -> Result<Value<'e>, Fault>;
/// Checks and compiles constant arguments; the error is an argument and its words.
pub(crate) type Prepare = fn(&[Argument]) -> Result<Special, (usize, String)>;
pub(crate) type Edit = fn(&Call, &mut Item<'_>) -> Result<(), Fault>;

/// A parameter.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub takes: Takes,
    pub is_optional: bool,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// A value of one of some types.
    Value(Types),
    /// A path that can be written, of one of some types.
    Path(Types),
    /// A constant of a type.
    Literal(Types),
    /// One of some constant texts.
    OneOf(&'static [&'static str]),
    Regex,
    Glob,
    /// A constant format of a time.
    TimeFormat,
    /// A constant `XPath`.
    XPath,
    /// The name of a converter.
    Function,
    /// A lambda of so many names.
    Lambda(usize),
}

/// A constant argument that was compiled at the start.
#[derive(Debug, Clone, Default)]
pub enum Special {
    #[default]
    None,
    Regex(Pattern),
    /// The pattern comes from the item.
    Recent(Recent),
    Networks(Vec<network::Network>),
    /// An `AnyValue` that is set.
    Stored {
        any: Vec<u8>,
        /// The attribute that is set to it, a whole field.
        attribute: Option<Vec<u8>>,
    },
    Grok(grok::Grok),
    XPath(xpath::XPath),
}

/// A regular expression or glob that is known at the start.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    rescans: Rescans,
}

impl From<Regex> for Pattern {
    fn from(regex: Regex) -> Self {
        Pattern { regex, rescans: Rescans::default() }
    }
}

const fn parameter(name: &'static str, takes: Takes) -> Parameter {
    Parameter { name, takes, is_optional: false }
}

const fn optional(name: &'static str, takes: Takes) -> Parameter {
    Parameter { name, takes, is_optional: true }
}

const fn value(name: &'static str, types: Types) -> Parameter {
    parameter(name, Takes::Value(types))
}

const fn converter(
    name: &'static str,
    parameters: &'static [Parameter],
    returns: Types,
    run: Convert,
    words: &'static str,
) -> Function {
    Function {
        name,
        parameters,
        returns,
        contexts: &[],
        is_pure: true,
        prepare: None,
        run: Run::Convert(run),
        words,
    }
}

const fn editor(
    name: &'static str,
    parameters: &'static [Parameter],
    run: Edit,
    words: &'static str,
) -> Function {
    Function {
        name,
        parameters,
        returns: Types::NONE,
        contexts: &[],
        is_pure: false,
        prepare: None,
        run: Run::Edit(run),
        words,
    }
}

const GROUPS: [&[Function]; 22] = [
    edit::FUNCTIONS,
    replace::FUNCTIONS,
    reshape::FUNCTIONS,
    kinds::FUNCTIONS,
    numbers::FUNCTIONS,
    strings::FUNCTIONS,
    sprintf::FUNCTIONS,
    patterns::FUNCTIONS,
    grok::FUNCTIONS,
    lists::FUNCTIONS,
    parse::FUNCTIONS,
    logs::FUNCTIONS,
    xml::FUNCTIONS,
    network::FUNCTIONS,
    times::FUNCTIONS,
    hashes::FUNCTIONS,
    lambdas::FUNCTIONS,
    metrics::FUNCTIONS,
    aggregate::FUNCTIONS,
    histograms::FUNCTIONS,
    extract::FUNCTIONS,
    naming::FUNCTIONS,
];

/// Every function.
pub fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.into_iter().flatten()
}

/// The function of a name.
pub(crate) fn named(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name)
}

impl Function {
    /// The same with a check of its constant arguments.
    const fn with(self, prepare: Prepare) -> Self {
        Function { prepare: Some(prepare), ..self }
    }

    /// The same for some contexts only, whose items it looks at.
    const fn only_in(self, contexts: &'static [Context]) -> Self {
        Function { contexts, is_pure: false, ..self }
    }

    pub fn is_editor(&self) -> bool {
        matches!(self.run, Run::Edit(_))
    }

    /// Whether statements of a context can use it.
    pub fn fits(&self, context: Context) -> bool {
        self.contexts.is_empty() || self.contexts.contains(&context)
    }
}

/// A regular expression of a call. It is not cloned: a clone would start with empty caches.
enum Compiled<'c> {
    Constant(&'c Pattern),
    Recent(Arc<Regex>, Rescans),
}

impl Deref for Compiled<'_> {
    type Target = Regex;

    fn deref(&self) -> &Self::Target {
        match self {
            Compiled::Constant(pattern) => &pattern.regex,
            Compiled::Recent(regex, _) => regex,
        }
    }
}

impl Compiled<'_> {
    fn rescans(&self) -> &Rescans {
        match self {
            Compiled::Constant(pattern) => &pattern.rescans,
            Compiled::Recent(_, rescans) => rescans,
        }
    }
}

/// An argument that is a regular expression or glob: compiled at the start, or of the item.
fn regex<'c>(call: &'c Call, eval: Eval<'_>, at: usize) -> Result<Compiled<'c>, Fault> {
    match call.special(at) {
        Special::Regex(pattern) => Ok(Compiled::Constant(pattern)),
        Special::Recent(recent) => {
            let is_glob = matches!(call.function.parameters[at].takes, Takes::Glob);
            let compile = if is_glob { pattern::compile_glob } else { pattern::compile };
            let regex = recent.get(dynamic_text(call, eval, at)?, compile)?;
            Ok(Compiled::Recent(regex, Rescans::default()))
        }
        _ => Err(call.wrong(at, Types::TEXT, &Value::Nil)),
    }
}

/// The text of a pattern that comes from the item.
fn dynamic_text(call: &Call, eval: Eval<'_>, at: usize) -> Result<Vec<u8>, Fault> {
    match call.value(eval, at)? {
        Value::Text(text) => Ok(text.into_owned()),
        other => Err(call.wrong(at, Types::TEXT, &other)),
    }
}
