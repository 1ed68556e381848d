//! Values, ids and times as text.

use std::fmt::Write as _;

pub(super) use crate::exporters::calendar::go_time as time_of;
pub(super) use crate::otlp::text::{double, write_plain, write_with_type};
use crate::otlp::{record::Record, view::Text};

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Key and value of each attribute in a field.
pub(super) fn attributes<'a>(
    of: &Record<'a>,
    field: &str,
) -> impl Iterator<Item = (Text<'a>, Option<Record<'a>>)> {
    of.children(field).map(|attribute| (attribute.shown("key"), attribute.child("value")))
}
