//! `skep top` of a build without the feature `terminal`: the plain tables.

use tonic::Status;

use super::{Arguments, Reader, plainly};

/// Prints tables.
pub(super) async fn run(reader: Reader<'_>, arguments: &Arguments) -> Result<u8, Status> {
    plainly(reader, arguments).await
}
