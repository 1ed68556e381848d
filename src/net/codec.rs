//! Compression of whole bodies: gzip, zlib, zstd, snappy, lz4, over lists of segments.
//!
//! Contexts are pooled per thread, because making one costs more than compressing a small body. The
//! output of `inflate` grows in steps up to a limit. The caller pays for each step, and for the
//! working memory of the codec, before it is allocated, so a decompression bomb cannot take more
//! than the budget allows.

mod deflate;
mod inflate;

use bytes::Bytes;

pub use deflate::{deflate, deflate_room, deflate_within};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950; HTTP calls it `deflate`, the Collector also `zlib`. Bare RFC 1951 is read too,
    /// since some clients send it under the same name.
    Zlib,
    /// RFC 8878.
    Zstd,
    /// Raw snappy block; the framed format is recognised by its magic when reading.
    Snappy,
    /// Snappy framed format.
    SnappyFramed,
    /// LZ4 frame.
    Lz4,
}

impl Compression {
    /// The algorithm of a `content-encoding` or `grpc-encoding` value, in any case (RFC 9110,
    /// 8.4.1).
    pub fn from_name(name: &str) -> Option<Self> {
        const NAMES: [(&str, Compression); 11] = [
            ("", Compression::Identity),
            ("identity", Compression::Identity),
            ("none", Compression::Identity),
            ("gzip", Compression::Gzip),
            ("x-gzip", Compression::Gzip),
            ("zlib", Compression::Zlib),
            ("deflate", Compression::Zlib),
            ("zstd", Compression::Zstd),
            ("snappy", Compression::Snappy),
            ("x-snappy-framed", Compression::SnappyFramed),
            ("lz4", Compression::Lz4),
        ];
        let known = NAMES.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        known.map(|(_, compression)| compression)
    }

    /// The value of a `content-encoding` or `grpc-encoding` header.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::Identity => "identity",
            Compression::Gzip => "gzip",
            Compression::Zlib => "deflate",
            Compression::Zstd => "zstd",
            Compression::Snappy => "snappy",
            Compression::SnappyFramed => "x-snappy-framed",
            Compression::Lz4 => "lz4",
        }
    }
}

/// Why a body could not be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// More bytes than the limit allows.
    #[error("the body inflates to more than the limit")]
    TooLarge,
    /// The caller did not pay for more.
    #[error("no memory is left to inflate the body")]
    OverBudget,
    /// The body ends in the middle of its stream.
    #[error("the {} body is cut off", .0.name())]
    Truncated(Compression),
    /// The body is not what it is called.
    #[error("the body is not valid {}", .0.name())]
    Corrupt(Compression),
}

/// Who pays for what a body grows to. Asked before each allocation.
pub trait Funds {
    /// So many bytes more for the body.
    fn grow(&mut self, bytes: usize) -> bool;

    /// So many bytes beside it until it is whole, in place of what was borrowed before.
    fn borrow(&mut self, bytes: usize) -> bool;
}

impl<F: FnMut(usize) -> bool> Funds for F {
    fn grow(&mut self, bytes: usize) -> bool {
        self(bytes)
    }

    fn borrow(&mut self, _bytes: usize) -> bool {
        true
    }
}

/// Inflates `input`, at most `max` bytes, which `funds` pays for.
pub fn inflate(
    compression: Compression,
    input: &[u8],
    max: usize,
    funds: &mut dyn Funds,
) -> Result<Bytes, InflateError> {
    inflate::inflate(compression, input, max, funds)
}

#[cfg(test)]
mod tests;
