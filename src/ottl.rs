//! OTTL, the language of conditions and statements on telemetry, compiled to run on OTLP bytes.
//!
//! ```text
//!  text --lex--> tokens --parse--> syntax tree --compile--> program
//!                                                  ^           |  run on each item
//!                       language: contexts, paths -'           v
//!                       functions: editors, converters     item: levels of bytes
//! ```
//!
//! A [`Program`] is a group of statements and conditions for one [`Context`]. It reads an [`Item`]
//! in place and edits it by writing single messages anew; [`walk`] leads it through a request and
//! puts edited items into a copy of it. An untouched item is never copied, and a request in which
//! nothing changes stays as it is.
//!
//! Map: `lex`, `parse`, `syntax` (text to tree); `problem` (mistakes with their place); `language`
//! (contexts, paths, enums); `compile` (tree to checked nodes); `node` (nodes and evaluation);
//! `functions`; `value`, `types`, `compare`, `arithmetic`, `text`, `calendar` (values); `wire`,
//! `index`, `read`, `write`, `item`, `walk` (bytes); `program` (groups, error modes); `place`
//! (problems in a configuration); `keys`, `request` (what an item has, what a text asks for).
//!
//! Nothing here knows of pipelines or configuration. A program ends on any input: regular
//! expressions take linear time, even if all matches are replaced (`rescan`), there are no loops
//! but over elements of values, and what a function makes has a limit.

mod arguments;
mod arithmetic;
mod calendar;
mod compare;
mod compile;
mod entries;
mod explain;
mod fault;
mod functions;
mod index;
mod item;
mod keys;
mod language;
mod lex;
mod murmur3;
mod node;
mod parse;
mod pattern;
mod place;
mod problem;
mod program;
mod read;
mod request;
mod rescan;
mod syntax;
mod text;
mod trace_state;
mod types;
mod user_agent;
mod value;
mod walk;
mod wire;
mod write;
mod xml;

pub use compile::signature;
pub use fault::{Fault, What};
pub use functions::{Function, all as functions};
pub use item::{Item, Tier};
pub use keys::keys;
pub use language::{Context, Field, fields};
pub(crate) use pattern::compile as regex;
pub use place::report;
pub use problem::{Problem, Shown};
pub use program::{ErrorMode, Failure, Group, Located, Program, Report, Which};
pub use request::RequestUse;
pub use syntax::Span;
pub use types::Types;
pub use value::Value;
pub(crate) use value::{content, elements, key_value, put_entry_bytes};

/// Reading and writing single messages, for components that do so without statements.
pub(crate) mod message {
    pub(crate) use super::{
        functions::merged_data,
        read::{data, point_attributes},
        value::{put_double, put_entry},
        wire::{
            bytes, child, fields, fixed64s, last, last_of, number, put_fixed64, put_number,
            replace, unzigzag, varints, zigzag,
        },
        write::replace_data,
    };
}
/// Searches for all matches in linear time, for components that replace them.
pub(crate) mod search {
    pub(crate) use super::rescan::{Reading, Rescans};
}
pub use walk::{Changed, Fate, Stop, Visit, Walk, enter_owner, walk, walk_with};

#[cfg(test)]
pub(crate) mod tests;
