//! Messages as they stand in a file: each is three parts of a request, what stands for the `*` in
//! the path, the length in front if there is one, and the message.

use bytes::Bytes;

use super::{Compression, Config, Format, group, permanent};
use crate::{
    component::{ExportError, Piece, Retry, Work},
    net::codec,
    otlp::{
        content::{Step, Walk},
        json::{self, Extent},
        payload::Body,
    },
};

/// What a frame costs beside its message.
const FRAME: usize = 256;
/// The level of zstd where none is given.
const LEVEL: i32 = 3;

/// The next messages that have room.
pub(super) fn piece(config: &Config, work: &Work<'_>) -> Result<Piece, ExportError> {
    match config.format {
        Format::Json => documents(config, work),
        Format::Proto if config.group_by.enabled => entries(config, work),
        Format::Proto => whole(config, work),
    }
}

/// A document, or one for each entry.
fn documents(config: &Config, work: &Work<'_>) -> Result<Piece, ExportError> {
    // Text may be copied once while it grows, and compressed beside it.
    let most = work.room / if config.compression == Compression::None { 4 } else { 8 };
    let (mut body, mut walk) = (Body::new(), work.walk());
    let (mut left_out, mut held) = (0, 0);
    loop {
        let mut ahead = walk.clone();
        let name = if config.group_by.enabled { name_of_next(config, &walk) } else { Bytes::new() };
        let extent = if config.group_by.enabled { Extent::Entry } else { Extent::Entries };
        let mut text = Vec::new();
        let missing = json::write_page(&mut ahead, extent, most.saturating_sub(held), &mut text);
        let is_first = body.is_empty();
        if missing > 0 && !is_first {
            // There will be more room.
            break;
        }
        let frame = framed(config, vec![text.into()], most)?;
        held += frame.iter().map(Bytes::len).sum::<usize>() + FRAME + name.len();
        left_out += missing;
        body.push(name);
        body.extend(frame);
        walk = ahead;
        let is_done = !config.group_by.enabled || held >= most / 2 || walk.is_over();
        if is_done {
            break;
        }
    }
    let mut piece = work.piece(body, &walk);
    piece.request.counts[0] = left_out;
    piece.beside = held;
    Ok(piece)
}

/// What stands for the `*` for the entry that is open, or that comes next.
fn name_of_next(config: &Config, walk: &Walk<'_>) -> Bytes {
    let mut walk = walk.clone();
    if walk.depth() == 0 {
        while !matches!(walk.next(), None | Some(Step::Resource)) {}
    }
    group::name(walk.resource_message(), &config.group_by.resource_attribute).into()
}

/// Each entry as a message of its own, none of it copied.
fn entries(config: &Config, work: &Work<'_>) -> Result<Piece, ExportError> {
    let (mut body, mut walk, mut held) = (Body::new(), work.walk(), 0);
    while held < work.room / 2 {
        let Some(step) = walk.next() else { break };
        if !matches!(step, Step::Resource) {
            continue;
        }
        let attribute = &config.group_by.resource_attribute;
        let name = Bytes::from(group::name(walk.resource_message(), attribute));
        let entry = walk.take_entry();
        let room = work.room / 2;
        let frame = framed(config, vec![entry], room)?;
        let made = if config.compression == Compression::None { 4 } else { frame[1].len() };
        held += made + FRAME + name.len();
        body.push(name);
        body.extend(frame);
    }
    Ok(work.piece(body, &walk))
}

/// All that is left: each segment a message, or all of them one that is compressed.
fn whole(config: &Config, work: &Work<'_>) -> Result<Piece, ExportError> {
    let mut body = Body::new();
    let rest = work.rest();
    if config.compression == Compression::None {
        for segment in rest {
            body.push(Bytes::new());
            body.extend(framed(config, vec![segment], 0)?);
        }
    } else {
        body.push(Bytes::new());
        body.extend(framed(config, rest.to_vec(), work.room)?);
    }
    Ok(work.last(body))
}

/// A message with what stands before it.
fn framed(config: &Config, parts: Vec<Bytes>, room: usize) -> Result<[Bytes; 2], ExportError> {
    let message = match config.compression {
        Compression::Zstd => {
            let level = match config.compression_params.level {
                0 => LEVEL,
                level => level,
            };
            let made = codec::deflate_within(codec::Compression::Zstd, Some(level), &parts, room)
                .map_err(|error| permanent(format!("cannot compress: {error}")))?;
            made.map(Bytes::from).ok_or_else(|| ExportError {
                retry: Retry::Split,
                message: format!("a compressed message needs more than {room} bytes of memory"),
            })?
        }
        Compression::None => parts.into_iter().next().unwrap_or_default(),
    };
    if config.format == Format::Json && config.compression == Compression::None {
        return Ok([message, Bytes::from_static(b"\n")]);
    }
    let len = u32::try_from(message.len())
        .map_err(|_| permanent("a message is larger than 4 GiB".to_owned()))?;
    Ok([Bytes::copy_from_slice(&len.to_be_bytes()), message])
}
