//! Bodies that are compressed within the room of an exporter.

use bytes::Bytes;

use crate::{
    component::{Compression, ExportError, Retry},
    net::codec,
};

/// A body, compressed. One that does not fit into the room is split.
pub(super) fn compressed(
    compression: Compression,
    level: Option<i32>,
    body: &[Bytes],
    room: usize,
) -> Result<Vec<u8>, ExportError> {
    let made = codec::deflate_within(compression, level, body, room);
    let made = made.map_err(|error| ExportError {
        retry: Retry::Never,
        message: format!("the request could not be compressed: {error}"),
    })?;
    made.ok_or_else(|| ExportError {
        retry: Retry::Split,
        message: format!(
            "the compressed request needs more than the {room} bytes that are set aside"
        ),
    })
}
