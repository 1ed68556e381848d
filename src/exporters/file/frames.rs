//! Messages as they are written to files: each with its length in front, or with a line break
//! behind it, and with the name of its file if there are several.

use bytes::Bytes;

use super::{Compression, Config, Format, group, permanent};
use crate::{
    component::{ExportError, Piece, Retry, Work},
    net::codec,
    otlp::{
        Content,
        content::{Step, Walk},
        json::{self, Extent},
    },
};

/// What a frame costs beside its message.
const FRAME: usize = 256;
/// The level of zstd where none is given.
const LEVEL: i32 = 3;

/// Messages in the order in which they are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    pub(super) all: Vec<Frame>,
    /// Items that had no room.
    pub(super) left_out: u64,
}

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// What replaces the `*` in the path, with `group_by`.
    pub(super) name: Option<String>,
    /// The message with its length or line break.
    pub(super) message: [Bytes; 2],
}

/// The room for all messages of a content: as JSON it is a few times as long, and the room is five
/// or eight times that.
pub(super) fn room(config: &Config, content: &Content) -> usize {
    let factor = if config.format == Format::Json { 32 } else { 4 };
    content.len().saturating_mul(factor).saturating_add(64 << 10)
}

/// The next messages that have room.
pub(super) fn piece(config: &Config, work: &Work<'_>) -> Result<Piece<Frames>, ExportError> {
    match config.format {
        Format::Json => documents(config, work),
        Format::Proto if config.group_by.enabled => entries(config, work),
        Format::Proto => whole(config, work),
    }
}

/// A document, or one for each entry.
fn documents(config: &Config, work: &Work<'_>) -> Result<Piece<Frames>, ExportError> {
    // A page takes five times its length while it is written, and is then compressed beside what it
    // holds, which is twice its length.
    let most = work.room / if config.compression == Compression::None { 5 } else { 8 };
    let (mut frames, mut walk, mut held) = (Frames::default(), work.walk(), 0);
    loop {
        let mut ahead = walk.clone();
        let name = config.group_by.enabled.then(|| name_of_next(config, &walk));
        let extent = if config.group_by.enabled { Extent::Entry } else { Extent::Entries };
        let mut text = Vec::new();
        let missing = json::write_page(&mut ahead, extent, most.saturating_sub(held), &mut text);
        let is_first = frames.all.is_empty();
        if missing > 0 && !is_first {
            // There will be more room.
            break;
        }
        let (message, made) = framed(config, text.capacity(), vec![text.into()], work.room / 2)?;
        held += made + FRAME + name.as_ref().map_or(0, String::len);
        frames.left_out += missing;
        frames.all.push(Frame { name, message });
        walk = ahead;
        let is_done = !config.group_by.enabled || held >= most / 2 || walk.is_over();
        if is_done {
            break;
        }
    }
    Ok(work.piece(frames, held, &walk))
}

/// What replaces the `*` for the entry that is open, or that comes next.
fn name_of_next(config: &Config, walk: &Walk<'_>) -> String {
    let mut walk = walk.clone();
    if walk.depth() == 0 {
        while !matches!(walk.next(), None | Some(Step::Resource)) {}
    }
    group::name(walk.resource_message(), &config.group_by.resource_attribute)
}

/// Each entry as a message of its own, none of it copied.
fn entries(config: &Config, work: &Work<'_>) -> Result<Piece<Frames>, ExportError> {
    let (mut frames, mut walk, mut held) = (Frames::default(), work.walk(), 0);
    while held < work.room / 2 {
        let Some(step) = walk.next() else { break };
        if !matches!(step, Step::Resource) {
            continue;
        }
        let attribute = &config.group_by.resource_attribute;
        let name = group::name(walk.resource_message(), attribute);
        let (message, made) = framed(config, 0, vec![walk.take_entry()], work.room / 2)?;
        held += made + FRAME + name.len();
        frames.all.push(Frame { name: Some(name), message });
    }
    Ok(work.piece(frames, held, &walk))
}

/// All that is left: each segment a message, or all of them one that is compressed.
fn whole(config: &Config, work: &Work<'_>) -> Result<Piece<Frames>, ExportError> {
    let (mut frames, mut held, rest) = (Frames::default(), 0, work.rest());
    let mut add = |parts, room| {
        let (message, made) = framed(config, 0, parts, room)?;
        held += made;
        frames.all.push(Frame { name: None, message });
        Ok::<(), ExportError>(())
    };
    if config.compression == Compression::None {
        rest.into_iter().try_for_each(|segment| add(vec![segment], 0))?;
    } else {
        add(rest.to_vec(), work.room)?;
    }
    Ok(work.last(frames, held))
}

/// A message with its length or line break, and the bytes that were allocated for it; `held` of
/// them are in `parts`.
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
