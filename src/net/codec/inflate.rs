//! Reading side of the codecs.

use std::{
    cell::RefCell,
    io::{self, Read},
};

use bytes::Bytes;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{Compression, Funds, InflateError};

/// First allocation, as a multiple of the compressed length: spans shrink to a fifth or so.
const GUESS: usize = 6;
/// The largest first allocation that is a guess.
const COUNTED: usize = 1 << 20;
/// Bytes that are inflated at a time while they are only counted.
const COUNTING: usize = 64 * 1024;
/// Limit of members in a gzip body and of frames in an LZ4 body. Each costs the setup of a stream,
/// even if it is empty.
const MEMBERS: usize = 1024;
/// Limit of the sum of the block sizes of an LZ4 body, because each frame clears a buffer of its
/// block size.
const CLEARED: usize = 256 << 20;
/// How much deflate writes at a time. flate2 clears the whole buffer that it gets: with large
/// buffers, 1000 members of 20 kB cleared 20 MB each and took 650 ms. Later members begin with
/// less.
const DEFLATE_STEP: usize = 128 * 1024;
const MEMBER_STEP: usize = 16 * 1024;
/// Least allocation.
const STEP: usize = 16 * 1024;
/// Working memory below this is not charged.
const BORROWED: usize = 256 * 1024;

thread_local! {
    static INFLATERS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    static ZSTD: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

/// Inflates into one allocation if its size is known, otherwise into a few.
///
/// A body that contradicts its trailer or header is inflated twice above [`COUNTED`]: first only to
/// count its bytes. Growing by doubling and copying took 134 MiB for bombs within a budget of
/// 64 MiB, because the allocator keeps freed memory for a while. A bomb above the limit takes no
/// memory at all.
pub(super) fn inflate(
    compression: Compression,
    input: &[u8],
    max: usize,
    funds: &mut dyn Funds,
) -> Result<Bytes, InflateError> {
    let guess = announced(compression, input).filter(|len| *len <= max);
    let guess = guess.map_or(input.len().saturating_mul(GUESS).min(COUNTED), |len| len + 1);
    let memory = WorkingMemory::new(compression, input);
    let mut out = Growing::new(max, guess, memory, funds);
    let mut result = run(compression, input, &mut out);
    if out.has_to_count {
        out.bytes = Vec::with_capacity(COUNTING);
        (out.has_to_count, out.is_counting) = (false, true);
        run(compression, input, &mut out)?;
        // One more, so that a stream can say that it ends.
        let len = out.counted + out.bytes.len() + 1;
        (out.is_counting, out.counted, out.bytes) = (false, 0, Vec::new());
        out.allocate(len)?;
        result = run(compression, input, &mut out);
    }
    result.map(|()| out.bytes.into())
}

fn run(compression: Compression, input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    match compression {
        Compression::Identity => out.append(input),
        Compression::Gzip => gzip(input, out),
        Compression::Zlib => zlib(input, out),
        Compression::Zstd => zstd(input, out),
        Compression::Snappy if !is_framed(input) => snappy(input, out),
        Compression::Snappy | Compression::SnappyFramed => {
            read_all(snap::read::FrameDecoder::new(input), compression, out)
        }
        Compression::Lz4 => lz4(input, out),
    }
}

/// The length that a body claims to have: in the last four bytes of gzip, or in the header of a
/// zstd frame.
fn announced(compression: Compression, input: &[u8]) -> Option<usize> {
    match compression {
        Compression::Gzip => {
            let len = u32::from_le_bytes(*input.last_chunk::<4>()?);
            usize::try_from(len).ok().filter(|len| *len >= input.len() / 2)
        }
        Compression::Zstd => {
            let len = zstd::zstd_safe::get_frame_content_size(input).ok()??;
            usize::try_from(len).ok()
        }
        _ => None,
    }
}

/// The working memory of a codec.
#[derive(Clone, Copy)]
struct WorkingMemory {
    /// Bytes that it always takes.
    fixed: usize,
    /// The most that it takes; less for a short output.
    window: usize,
}

impl WorkingMemory {
    fn new(compression: Compression, input: &[u8]) -> Self {
        match compression {
            Compression::Zstd => WorkingMemory { fixed: 0, window: 1 << ZSTD_WINDOW_LOG },
            Compression::Lz4 => {
                let block = Lz4Frames(input).take(MEMBERS).map_while(Result::ok).max();
                let block = block.unwrap_or(0);
                WorkingMemory { fixed: block, window: 2 * block }
            }
            _ => WorkingMemory { fixed: 0, window: 0 },
        }
    }
}

/// Iterates over the frames of an LZ4 body and yields the block size of each.
struct Lz4Frames<'a>(&'a [u8]);

impl Iterator for Lz4Frames<'_> {
    type Item = Result<usize, InflateError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| {
            let (block, rest) = lz4_frame(self.0)?;
            self.0 = rest;
            Ok(block)
        })
    }
}

/// The block size of the first frame, and the input after the frame.
fn lz4_frame(input: &[u8]) -> Result<(usize, &[u8]), InflateError> {
    const TRUNCATED: InflateError = InflateError::Truncated(Compression::Lz4);
    let (magic, rest) = input.split_first_chunk().ok_or(TRUNCATED)?;
    if *magic == [0x02, 0x21, 0x4C, 0x18] {
        // The legacy format has blocks of 8 MiB and no end mark.
        return Ok((8 << 20, &[]));
    }
    let (&[flags, sizes], rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
    if *magic != [0x04, 0x22, 0x4D, 0x18] {
        return Err(InflateError::Corrupt(Compression::Lz4));
    }
    let block = match sizes >> 4 & 7 {
        0..=4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        _ => 4 << 20,
    };
    let has = |bit: u8, bytes: usize| if flags & bit == 0 { 0 } else { bytes };
    // Content size, dictionary, and a byte of checksum.
    let mut rest = rest.get(has(8, 8) + has(1, 4) + 1..).ok_or(TRUNCATED)?;
    loop {
        let (len, after) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let len = usize::try_from(u32::from_le_bytes(*len) & 0x7FFF_FFFF).unwrap_or(usize::MAX);
        if len == 0 {
            return Ok((block, after.get(has(4, 4)..).ok_or(TRUNCATED)?));
        }
        rest = after.get(len.saturating_add(has(16, 4))..).ok_or(TRUNCATED)?;
    }
}

/// The output, whose growth is paid for.
struct Growing<'a> {
    bytes: Vec<u8>,
    max: usize,
    funds: &'a mut dyn Funds,
    /// Bytes that `funds` has paid for.
    paid: usize,
    guess: usize,
    memory: WorkingMemory,
    /// The output has become large, and its length is unknown.
    has_to_count: bool,
    /// Bytes are only counted.
    is_counting: bool,
    counted: usize,
}

impl<'a> Growing<'a> {
    fn new(max: usize, guess: usize, memory: WorkingMemory, funds: &'a mut dyn Funds) -> Self {
        Growing {
            bytes: Vec::new(),
            max,
            funds,
            paid: 0,
            guess,
            memory,
            has_to_count: false,
            is_counting: false,
            counted: 0,
        }
    }

    /// Makes room for at least one more byte, or says that there may be no more.
    fn make_room(&mut self) -> Result<(), InflateError> {
        let have = self.bytes.capacity();
        if self.bytes.len() < have {
            return Ok(());
        }
        if self.is_counting {
            self.counted += self.bytes.len();
            self.bytes.clear();
            return self.check();
        }
        // One byte above the limit, so that a body of exactly `max` can end.
        let most = self.max.saturating_add(1);
        if have >= most {
            return Err(InflateError::TooLarge);
        }
        if have >= COUNTED {
            self.has_to_count = true;
            return Err(InflateError::OverBudget);
        }
        self.allocate(if have == 0 { self.guess.max(STEP) } else { have * 2 }.min(most))
    }

    /// Makes room for this many bytes in all.
    fn allocate(&mut self, wanted: usize) -> Result<(), InflateError> {
        let have = self.bytes.capacity();
        // The old buffer exists until it has been copied.
        let borrowed = have + self.memory.fixed + self.memory.window.min(wanted);
        let is_paid = borrowed < BORROWED || self.funds.borrow(borrowed);
        let more = wanted.saturating_sub(self.paid);
        if !is_paid || (more > 0 && !self.funds.grow(more)) {
            return Err(InflateError::OverBudget);
        }
        self.paid += more;
        self.bytes.reserve_exact(wanted - self.bytes.len());
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), InflateError> {
        if self.is_counting {
            self.counted += bytes.len();
            return self.check();
        }
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
        let len = self.counted + self.bytes.len();
        if len > self.max { Err(InflateError::TooLarge) } else { Ok(()) }
    }
}

/// Inflates one raw deflate stream at the start of `input`, with `step` bytes of output at first.
/// Returns the input after it.
fn raw_deflate<'a>(
    input: &'a [u8],
    compression: Compression,
    mut step: usize,
    out: &mut Growing<'_>,
) -> Result<&'a [u8], InflateError> {
    INFLATERS.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut rest = input;
        loop {
            out.make_room()?;
            let start = out.bytes.len();
            let room = step.min(out.bytes.capacity() - start);
            step = (step * 2).min(DEFLATE_STEP);
            out.bytes.resize(start + room, 0);
            let (read, written) = (inflater.total_in(), inflater.total_out());
            let status = inflater
                .decompress(rest, &mut out.bytes[start..], FlushDecompress::None)
                .map_err(|_| InflateError::Corrupt(compression))?;
            let consumed = usize::try_from(inflater.total_in() - read).unwrap_or(rest.len());
            let produced = usize::try_from(inflater.total_out() - written).unwrap_or(room);
            rest = &rest[consumed.min(rest.len())..];
            out.bytes.truncate(start + produced);
            out.check()?;
            match status {
                Status::StreamEnd => return Ok(rest),
                Status::Ok | Status::BufError => {
                    if consumed == 0 && produced == 0 {
                        return Err(InflateError::Truncated(compression));
                    }
                }
            }
        }
    })
}

/// Inflates consecutive members, each with header, stream, CRC and length (RFC 1952).
fn gzip(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    let mut rest = input;
    let mut members = 0;
    while !rest.is_empty() {
        members += 1;
        if members > MEMBERS {
            return Err(InflateError::Corrupt(Compression::Gzip));
        }
        let start = out.bytes.len();
        let stream = gzip_header(rest)?;
        let step = if members == 1 { DEFLATE_STEP } else { MEMBER_STEP };
        let after = raw_deflate(stream, Compression::Gzip, step, out)?;
        let (trailer, next) =
            after.split_first_chunk::<8>().ok_or(InflateError::Truncated(Compression::Gzip))?;
        rest = next;
        if out.is_counting {
            continue;
        }
        let mut crc = Crc::new();
        crc.update(&out.bytes[start..]);
        let mut expected = crc.sum().to_le_bytes().to_vec();
        expected.extend(crc.amount().to_le_bytes());
        if trailer[..] != expected[..] {
            return Err(InflateError::Corrupt(Compression::Gzip));
        }
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

/// Inflates a stream with the header and checksum of RFC 1950, or without them.
fn zlib(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    const NAME: Compression = Compression::Zlib;
    let [method, flags, stream @ ..] = input else { return Err(InflateError::Truncated(NAME)) };
    let is_wrapped = method & 0x0F == 8
        && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31)
        && flags & 0x20 == 0;
    if !is_wrapped {
        return raw_deflate(input, NAME, DEFLATE_STEP, out).map(drop);
    }
    let trailer = raw_deflate(stream, NAME, DEFLATE_STEP, out)?;
    let sum = trailer.first_chunk::<4>().ok_or(InflateError::Truncated(NAME))?;
    if !out.is_counting && u32::from_be_bytes(*sum) != adler32([&out.bytes[..]]) {
        return Err(InflateError::Corrupt(NAME));
    }
    Ok(())
}

/// Checksum of RFC 1950. 5552 is the most bytes for which the sums fit 32 bits.
pub(super) fn adler32<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for chunk in pieces.into_iter().flat_map(|piece| piece.chunks(5552)) {
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

/// A window that grew beyond this is not kept for the next body: each worker would hold 8 MiB.
const ZSTD_KEPT: usize = 1 << 20;

fn zstd(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    let result = zstd_pooled(input, out);
    if out.bytes.len() > ZSTD_KEPT {
        ZSTD.set(None);
    }
    result
}

fn zstd_pooled(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
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
    out.paid += len;
    if !out.funds.grow(len) {
        return Err(InflateError::OverBudget);
    }
    out.bytes = snap::raw::Decoder::new().decompress_vec(input).map_err(|_| CORRUPT)?;
    Ok(())
}

/// Decodes consecutive frames.
fn lz4(input: &[u8], out: &mut Growing<'_>) -> Result<(), InflateError> {
    const CORRUPT: InflateError = InflateError::Corrupt(Compression::Lz4);
    let (mut frames, mut cleared) = (0, 0_usize);
    for block in Lz4Frames(input).take(MEMBERS + 1) {
        (frames, cleared) = (frames + 1, cleared.saturating_add(block?));
    }
    if frames > MEMBERS || (frames > 1 && cleared > CLEARED) {
        return Err(CORRUPT);
    }
    let mut decoder = lz4_flex::frame::FrameDecoder::new(input);
    // The decoder reports the end of each frame as the end of the input.
    for _ in 0..frames {
        read_all(&mut decoder, Compression::Lz4, out)?;
    }
    if decoder.get_ref().is_empty() { Ok(()) } else { Err(CORRUPT) }
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
