//! The vocabulary of configuration: a tree of YAML nodes that know their positions, units, secrets,
//! and problems that point at their line.
//!
//! Why not deserialize the YAML text in place with serde-saphyr: substitution of `${env:X}` by
//! the Collector's rules (original text into strings, parsed text elsewhere), merging of several
//! files, `a::b` keys and `--set` all need a tree between the text and the structs. The tree keeps
//! the file, line and column of every key and value, so nothing is lost by it, and the decoder
//! built on it reports every problem of a body, not the first.

#![warn(missing_docs)]

pub mod decode;
pub mod diagnostics;
pub mod excerpt;
pub mod ignored;
pub mod shown;
pub mod source;
pub mod tree;
pub mod units;
pub mod write;
pub mod yaml;

pub use decode::decode;
pub use diagnostics::{Problem, Problems, Severity};
pub use ignored::{Anything, Fixed, Ignored};
pub use tree::{Node, Place, Value};
pub use units::{Interval, Secret, Section, given, refuse_beside_keepalive};
