//! The text of a payload, in pieces of limited length.

use std::fmt::{self, Write};

use super::{Printout, Verbosity, detailed, normal, sink::PAGE};
use crate::{
    component::{Piece, Work},
    config::shown::Escaping,
};

/// Room for a piece: the log makes a line of it, and may make another one with escapes of that.
pub(super) const ROOM: usize = 2 << 20;
/// Copies of a page while it is printed: its line in the log, which grows to twice with escapes.
const LINES: usize = 3;
/// Most text of an item or of a header.
const ITEM: usize = 64 << 10;
/// Most text of a payload.
const PAYLOAD: u64 = 2 << 20;
/// Bytes that are written at a time. With escapes they are four times as many.
const STEP: usize = 256;
/// The end of a text that was cut.
const CUT: &str = " [cut]\n";

/// The text of a piece. What is written within a line is escaped, so that only [`Page::end`] makes
/// a new one: values come from applications.
pub(super) struct Page {
    pub(super) text: String,
    /// Where the current item must end.
    end: usize,
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while !rest.is_empty() {
            // Anything after the end is ignored.
            if self.is_full() {
                return Err(fmt::Error);
            }
            let (some, after) = rest.split_at(rest.floor_char_boundary(STEP));
            Escaping(&mut self.text).write_str(some)?;
            if self.text.len() > self.end {
                self.text.truncate(self.text.floor_char_boundary(self.end));
                self.end = 0;
            }
            rest = after;
        }
        Ok(())
    }
}

impl Page {
    /// Whether nothing more is written of the header or item.
    pub(super) fn is_full(&self) -> bool {
        self.end == 0
    }

    /// Ends a line.
    pub(super) fn end(&mut self) {
        if !self.is_full() {
            self.text.push('\n');
        }
    }

    /// Writes a header or an item of at most so many bytes.
    fn add(&mut self, most: usize, write: impl FnOnce(&mut Page)) {
        self.end = self.text.len() + most - CUT.len();
        write(self);
        if self.is_full() {
            self.text.push_str(CUT);
        }
    }
}

/// The text of the next items.
pub(super) fn piece(work: &Work<'_>, verbosity: Verbosity) -> Piece<Printout> {
    if work.from.made >= PAYLOAD {
        let mut piece = work.last(Printout::default(), 0);
        piece.encoded.left_out = piece.items;
        piece.encoded.text = format!("{}\n", left_out(piece.items));
        return piece;
    }
    let most = work.room.min(ROOM) / 8;
    let item = ITEM.min(most / 2);
    let mut page = Page { text: String::with_capacity(most + item + 4 * STEP), end: 0 };
    let mut walk = work.walk();
    while page.text.len() < most {
        let Some(step) = walk.next() else { break };
        page.add(item, |page| match verbosity {
            Verbosity::Detailed => detailed::step(work.content.signal, step, &walk, page),
            _ => normal::step(work.content.signal, step, &walk, page),
        });
    }
    let (len, capacity) = (page.text.len(), page.text.capacity());
    let printout = Printout { text: page.text, ..Printout::default() };
    let mut piece = work.piece(printout, capacity + LINES * len.min(PAGE), &walk);
    if let Some(next) = &mut piece.next {
        next.made = work.from.made + len as u64;
    }
    piece
}

/// The note about missing items.
pub(super) fn left_out(items: u64) -> String {
    format!("{items} items were not printed: a payload has at most {} MiB of text", PAYLOAD >> 20)
}
