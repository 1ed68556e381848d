//! Values, ids and times as text.

use std::{borrow::Cow, fmt::Write as _};

pub(super) use crate::exporters::calendar::go_time as time_of;
use crate::otlp::record::Record;
pub(super) use crate::otlp::text::{double, plain, with_type};

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
) -> impl Iterator<Item = (Cow<'a, str>, Option<Record<'a>>)> {
    of.children(field).map(|attribute| (attribute.text("key"), attribute.child("value")))
}
