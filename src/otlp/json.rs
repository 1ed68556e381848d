//! OTLP/JSON to protobuf bytes and back, by walking the tables of [`super::schema`].
//!
//! In: lenient as the Collector is. Names in `camelCase` or `snake_case`, ids as hexadecimal of any
//! case, numbers in quotes or not (see `json/number.rs`), enums by number or name, unknown fields
//! ignored, `null` as absent. JSON is read in one pass and protobuf is written as it comes: no tree
//! of values in between. Where a key occurs twice the last scalar wins, and messages merge, since
//! that is what the bytes mean.
//!
//! Out: as the Collector writes it. Fields that are zero are left out, 64-bit integers are text,
//! and `resource`, `scope` and `status` are always there.
//!
//! The protobuf is at most four times as large as the JSON (`0,` in a list of bucket counts
//! becomes eight bytes), so a limit on the body bounds the memory too. What that takes is known
//! before it is taken: [`most_for`] and [`most_scratch`].

pub(crate) mod number;
mod pages;
mod read;
mod scratch;
mod write;

use std::fmt;

use bytes::Bytes;

use super::{Signal, schema};

pub use pages::{Extent, write_page};
pub use scratch::most_scratch;

/// Deepest nesting of messages in JSON, the same as at the door.
pub const DEPTH_LIMIT: u32 = 64;

/// What is said of items that [`write_page`] passed over.
pub const NO_ROOM: &str = "as JSON they have no room in the memory budget";

/// What is wrong with a JSON document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Path of the field: `resourceSpans[0].scopeSpans[1].spans[7].traceId`; empty at the root.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1; 0 before the first.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JsonError { path, line, column, message } = self;
        if path.is_empty() {
            write!(f, "JSON line {line} column {column}: {message}")
        } else {
            write!(f, "`{path}` (JSON line {line} column {column}): {message}")
        }
    }
}

impl std::error::Error for JsonError {}

/// Turns an OTLP/JSON document into the protobuf bytes of a request. Messages may be nested at
/// most `depth_limit` deep, see [`DEPTH_LIMIT`].
pub fn to_protobuf(signal: Signal, json: &[u8], depth_limit: u32) -> Result<Vec<u8>, JsonError> {
    let read = read::document(schema::request(signal), json, depth_limit, usize::MAX)?;
    Ok(read.unwrap_or_default())
}

/// The same of at most `most` bytes; none where there would be more. Two characters may be a number
/// of eight bytes. Takes [`most_for`] bytes, and [`most_scratch`] of them until it ends.
pub fn to_protobuf_within(
    signal: Signal,
    json: &[u8],
    depth_limit: u32,
    most: usize,
) -> Result<Option<Vec<u8>>, JsonError> {
    read::document(schema::request(signal), json, depth_limit, most)
}

/// Bytes that are allocated for at most `most` bytes of output.
pub const fn most_for(most: usize) -> usize {
    most.saturating_add(read::SLACK)
}

/// Appends the request in `body` as one OTLP/JSON document without line breaks.
pub fn write(signal: Signal, body: &[Bytes], out: &mut Vec<u8>) {
    write::request(body, schema::request(signal), out);
}

/// Appends text as a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    write::string(text, out);
}

/// Appends a number as JSON, in the form of ECMAScript; what JSON has no number for is a string:
/// `"NaN"`.
pub fn write_double(value: f64, out: &mut Vec<u8>) {
    write::double(value, out);
}

#[cfg(test)]
mod tests;
