//! To come.
use super::Function;
pub const FUNCTIONS: &[Function] = &[];
