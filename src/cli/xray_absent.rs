//! In the place of `xray.rs` where skep is built without AWS.

use std::ffi::OsString;

use super::USAGE;

/// Says what is missing.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn main(_arguments: impl Iterator<Item = OsString>) -> u8 {
    eprintln!("error: this skep is built without AWS; build it with the feature `aws`");
    USAGE
}
