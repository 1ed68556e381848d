//! Compression of the bodies of OTLP exporters: its settings, and compressing within the room of an
//! exporter.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    component::{Compression, ExportError, Retry},
    config::{Node, Problems},
    net::codec,
};

/// Compression of HTTP requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpCompression {
    /// RFC 1952.
    #[default]
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Snappy block.
    Snappy,
    /// Snappy framed format.
    #[serde(rename = "x-snappy-framed")]
    SnappyFramed,
    /// RFC 1950.
    Zlib,
    /// RFC 1950 under its HTTP name.
    Deflate,
    /// LZ4 frame.
    Lz4,
    /// No compression.
    #[serde(alias = "")]
    None,
}

impl HttpCompression {
    pub(super) fn codec(self) -> Compression {
        match self {
            HttpCompression::Gzip => Compression::Gzip,
            HttpCompression::Zstd => Compression::Zstd,
            HttpCompression::Snappy => Compression::Snappy,
            HttpCompression::SnappyFramed => Compression::SnappyFramed,
            HttpCompression::Zlib | HttpCompression::Deflate => Compression::Zlib,
            HttpCompression::Lz4 => Compression::Lz4,
            HttpCompression::None => Compression::Identity,
        }
    }
}

/// `compression_params`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// gzip: 1 to 9, -1 for the library's 6; zstd: 1 to 22. Default: 1.
    pub level: Option<i32>,
}

/// Checks `compression_params.level` for a codec.
pub(super) fn validate_level(
    compression: Compression,
    level: Option<i32>,
    at: &Node,
    problems: &mut Problems,
) {
    let Some(level) = level else { return };
    let (is_valid, valid) = match compression {
        Compression::Gzip | Compression::Zlib => (matches!(level, -1 | 1..=9), "-1, 1 to 9"),
        Compression::Zstd => (matches!(level, 1..=22), "1 to 22"),
        _ => (false, "none, this compression has no levels"),
    };
    if !is_valid {
        let name = compression.name();
        problems
            .error(
                at.at("compression_params::level"),
                format!("{level} is not a level of `{name}`"),
            )
            .help(format!("valid: {valid}"));
    }
}

/// Compresses a body. If the result does not fit into the room, the request is split.
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
