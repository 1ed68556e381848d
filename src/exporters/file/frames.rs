//! Messages as they stand in a file: each is three parts of a request, what stands for the `*` in
//! the path, the length in front if there is one, and the message.

use bytes::Bytes;

use super::{Compression, Config, Format, group, permanent};
use crate::{
    component::{ExportError, Piece, Retry, Work},
    net::codec,
    otlp::{
        Content,
        content::{Step, Walk},
        json::{self, Extent},
        payload::Body,
    },
};

/// What a frame costs beside its message.
const FRAME: usize = 256;
/// The level of zstd where none is given.
const LEVEL: i32 = 3;

/// The room for all messages of a content: as JSON it is a few times as long, and the room is five
/// or eight times that.
pub(super) fn room(config: &Config, content: &Content) -> usize {
    let factor = if config.format == Format::Json { 32 } else { 4 };
    content.len().saturating_mul(factor).saturating_add(64 << 10)
}

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
    // A page takes five times its length while it is written, and is then compressed beside what it
    // holds, which is twice its length.
    let most = work.room / if config.compression == Compression::None { 5 } else { 8 };
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
        let (frame, made) = framed(config, text.capacity(), vec![text.into()], work.room / 2)?;
        held += made + FRAME + name.len();
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
    piece.beside = beside(held, &piece.request.body);
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
        let (frame, made) = framed(config, 0, vec![entry], room)?;
        held += made + FRAME + name.len();
        body.push(name);
        body.extend(frame);
    }
    let beside = beside(held, &body);
    Ok(Piece { beside, ..work.piece(body, &walk) })
}

/// What frames hold beside their bytes.
fn beside(held: usize, body: &Body) -> usize {
    held.saturating_sub(body.iter().map(Bytes::len).sum())
}

/// All that is left: each segment a message, or all of them one that is compressed.
fn whole(config: &Config, work: &Work<'_>) -> Result<Piece, ExportError> {
    let (mut body, mut held) = (Body::new(), 0);
    let rest = work.rest();
    if config.compression == Compression::None {
        for segment in rest {
            body.push(Bytes::new());
            body.extend(framed(config, 0, vec![segment], 0)?.0);
        }
    } else {
        body.push(Bytes::new());
        let (frame, made) = framed(config, 0, rest.to_vec(), work.room)?;
        held += made;
        body.extend(frame);
    }
    let beside = beside(held, &body);
    Ok(Piece { beside, ..work.last(body) })
}

/// A message with what stands before it, and the bytes that were made for it: `held` of them are in
/// its parts.
fn framed(
    config: &Config,
    mut held: usize,
    parts: Vec<Bytes>,
    room: usize,
) -> Result<([Bytes; 2], usize), ExportError> {
    let message = match config.compression {
        Compression::Zstd => {
            let level = match config.compression_params.level {
                0 => LEVEL,
                level => level,
            };
            let made = codec::deflate_within(codec::Compression::Zstd, Some(level), &parts, room)
                .map_err(|error| permanent(format!("cannot compress: {error}")))?;
            let made = made.ok_or_else(|| ExportError {
                retry: Retry::Split,
                message: format!("a compressed message needs more than {room} bytes of memory"),
            })?;
            held = made.capacity();
            made.into()
        }
        Compression::None => parts.into_iter().next().unwrap_or_default(),
    };
    if config.format == Format::Json && config.compression == Compression::None {
        return Ok(([message, Bytes::from_static(b"\n")], held));
    }
    let len = u32::try_from(message.len())
        .map_err(|_| permanent("a message is larger than 4 GiB".to_owned()))?;
    Ok(([Bytes::copy_from_slice(&len.to_be_bytes()), message], held + 4))
}
