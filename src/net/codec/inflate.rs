//! Reading side of the codecs.

use std::{
    cell::RefCell,
    io::{self, Read},
};

use bytes::Bytes;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{Compression, InflateError};

/// First allocation, as a multiple of the compressed length: spans shrink to a fifth or so.
const GUESS: usize = 6;
/// Least allocation.
const STEP: usize = 16 * 1024;

thread_local! {
    static INFLATERS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    static ZSTD: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

pub(super) fn inflate(
    compression: Compression,
    input: &[u8],
    max: usize,
    grow: &mut dyn FnMut(usize) -> bool,
) -> Result<Bytes, InflateError> {
    let guess = input.len().saturating_mul(GUESS);
    let mut out = Growing { bytes: Vec::new(), max, grow, guess };
    match compression {
        Compression::Identity => out.append(input)?,
        Compression::Gzip => gzip(input, &mut out)?,
        Compression::Zlib => zlib(input, &mut out)?,
        Compression::Zstd => zstd(input, &mut out)?,
        Compression::Snappy if !is_framed(input) => snappy(input, &mut out)?,
        Compression::Snappy | Compression::SnappyFramed => {
            read_all(snap::read::FrameDecoder::new(input), compression, &mut out)?;
        }
        Compression::Lz4 => {
            read_all(lz4_flex::frame::FrameDecoder::new(input), compression, &mut out)?;
        }
    }
    Ok(out.bytes.into())
}

/// The output, whose growth is paid for.
struct Growing<'a> {
    bytes: Vec<u8>,
    max: usize,
    grow: &'a mut dyn FnMut(usize) -> bool,
    guess: usize,
}

impl Growing<'_> {
    /// Makes room for at least one more byte, or says that there may be no more.
    fn make_room(&mut self) -> Result<(), InflateError> {
        let have = self.bytes.capacity();
        if self.bytes.len() < have {
            return Ok(());
        }
        // One byte above the limit, so that a body of exactly `max` can end.
        let most = self.max.saturating_add(1);
        if have >= most {
            return Err(InflateError::TooLarge);
        }
        let wanted = if have == 0 { self.guess.max(STEP) } else { have * 2 }.min(most);
        if !(self.grow)(wanted - have) {
            return Err(InflateError::OverBudget);
        }
        self.bytes.reserve_exact(wanted - self.bytes.len());
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), InflateError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.make_room()?;
            let room = (self.bytes.capacity() - self.bytes.len()).min(rest.len());
            self.bytes.extend_from_slice(&rest[..room]);
            rest = &rest[room..];
        }
        self.check()
    }

    fn check(&self) -> Result<(), InflateError> {
        if self.bytes.len() > self.max { Err(InflateError::TooLarge) } else { Ok(()) }
    }
}

/// One raw deflate stream from the start of `input`; returns what comes after it.
fn raw_deflate<'a>(
    input: &'a [u8],
    compression: Compression,
    out: &mut Growing<'_>,
) -> Result<&'a [u8], InflateError> {
    INFLATERS.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut rest = input;
        loop {
            out.make_room()?;
            let before = inflater.total_in();
            let produced = inflater.total_out();
            let status = inflater
                .decompress_vec(rest, &mut out.bytes, FlushDecompress::None)
                .map_err(|_| InflateError::Corrupt(compression))?;
            let consumed = usize::try_from(inflater.total_in() - before).unwrap_or(rest.len());
            rest = &rest[consumed.min(rest.len())..];
            out.check()?;
            match status {
                Status::StreamEnd => return Ok(rest),
                Status::Ok | Status::BufError => {
                    let is_stuck = consumed == 0 && inflater.total_out() == produced;
                    if is_stuck && out.bytes.len() < out.bytes.capacity() {
                        return Err(InflateError::Truncated(compression));
                    }
                }
            }
        }
    })
}

/// Members one after the other, each with header, stream, CRC and length (RFC 1952).
fn gzip(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    let mut rest = input;
    while !rest.is_empty() {
        let start = out.bytes.len();
        let stream = gzip_header(rest)?;
        let after = raw_deflate(stream, Compression::Gzip, out)?;
        let (trailer, next) =
            after.split_first_chunk::<8>().ok_or(InflateError::Truncated(Compression::Gzip))?;
        let mut crc = Crc::new();
        crc.update(&out.bytes[start..]);
        let mut expected = crc.sum().to_le_bytes().to_vec();
        expected.extend(crc.amount().to_le_bytes());
        if trailer[..] != expected[..] {
            return Err(InflateError::Corrupt(Compression::Gzip));
        }
        rest = next;
    }
    Ok(())
}

/// Skips the header of a gzip member.
fn gzip_header(input: &[u8]) -> Result<&[u8], InflateError> {
    const TRUNCATED: InflateError = InflateError::Truncated(Compression::Gzip);
    let (fixed, mut rest) = input.split_first_chunk::<10>().ok_or(TRUNCATED)?;
    let [0x1F, 0x8B, 8, flags, ..] = *fixed else {
        return Err(InflateError::Corrupt(Compression::Gzip));
    };
    if flags & 4 != 0 {
        let (len, after) = rest.split_first_chunk::<2>().ok_or(TRUNCATED)?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..).ok_or(TRUNCATED)?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(TRUNCATED)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..).ok_or(TRUNCATED)?;
    }
    Ok(rest)
}

/// With the header and checksum of RFC 1950, or bare.
fn zlib(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    const NAME: Compression = Compression::Zlib;
    let [method, flags, stream @ ..] = input else { return Err(InflateError::Truncated(NAME)) };
    let is_wrapped = method & 0x0F == 8
        && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31)
        && flags & 0x20 == 0;
    if !is_wrapped {
        return raw_deflate(input, NAME, out).map(drop);
    }
    let trailer = raw_deflate(stream, NAME, out)?;
    let sum = trailer.first_chunk::<4>().ok_or(InflateError::Truncated(NAME))?;
    if u32::from_be_bytes(*sum) != adler32(&out.bytes) {
        return Err(InflateError::Corrupt(NAME));
    }
    Ok(())
}

/// Checksum of RFC 1950. 5552 is the most bytes for which the sums fit 32 bits.
pub(super) fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for chunk in bytes.chunks(5552) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        a %= 65_521;
        b %= 65_521;
    }
    b << 16 | a
}

/// Largest window of a zstd frame: 8 MiB, as RFC 8878 recommends for HTTP. The library would
/// allocate up to 128 MiB for a body of a few bytes that asks for it, outside the budget.
const ZSTD_WINDOW_LOG: u32 = 23;

fn decoder() -> io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
    Ok(decoder)
}

fn zstd(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    const CORRUPT: InflateError = InflateError::Corrupt(Compression::Zstd);
    ZSTD.with_borrow_mut(|pooled| {
        let decoder = match pooled {
            Some(decoder) => decoder,
            None => pooled.insert(decoder().map_err(|_| CORRUPT)?),
        };
        decoder.reinit().map_err(|_| CORRUPT)?;
        let mut source = InBuffer::around(input);
        let mut scratch = [0u8; 16 * 1024];
        loop {
            let mut target = OutBuffer::around(&mut scratch[..]);
            let hint = decoder.run(&mut source, &mut target).map_err(|_| CORRUPT)?;
            let written = target.pos();
            out.append(&scratch[..written])?;
            let is_read = source.pos == input.len();
            if hint == 0 && is_read {
                return Ok(());
            }
            if is_read && written < scratch.len() {
                return Err(InflateError::Truncated(Compression::Zstd));
            }
        }
    })
}

/// The framed format starts with a stream identifier chunk.
fn is_framed(input: &[u8]) -> bool {
    input.starts_with(b"\xFF\x06\x00\x00sNaPpY")
}

fn snappy(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    const CORRUPT: InflateError = InflateError::Corrupt(Compression::Snappy);
    let len = snap::raw::decompress_len(input).map_err(|_| CORRUPT)?;
    if len > out.max {
        return Err(InflateError::TooLarge);
    }
    if !(out.grow)(len) {
        return Err(InflateError::OverBudget);
    }
    out.bytes = snap::raw::Decoder::new().decompress_vec(input).map_err(|_| CORRUPT)?;
    Ok(())
}

fn read_all(
    mut reader: impl Read,
    compression: Compression,
    out: &mut Growing<'_>,
) -> Result<(), InflateError> {
    let mut scratch = [0u8; 16 * 1024];
    loop {
        match reader.read(&mut scratch) {
            Ok(0) => return Ok(()),
            Ok(read) => out.append(&scratch[..read])?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(InflateError::Truncated(compression));
            }
            Err(_) => return Err(InflateError::Corrupt(compression)),
        }
    }
}
