//! Leads a visitor through the items of a request and makes a request of what it left.
//!
//! What changes is noted while the items are visited, in the order of the request. Then one pass
//! writes the copy with the splicer, which takes everything else verbatim. A resource can change
//! until its last item was visited, although it comes first, so one pass is not enough.
//!
//! A scope or resource that has lost all its items goes, too.

use std::ops::Range;

use smallvec::SmallVec;

use super::{
    fault::Fault,
    item::{Item, Tier},
    language::{Context, exemplars},
    read::{DATA, data},
    value::content,
    wire::{fields, last_of},
    write::replace_data,
};
use crate::otlp::{
    Signal,
    payload::{self, Reason},
    purse::Purse,
    splice::{Splicer, messages},
    wire::{Field, bytes_field_len, put_bytes},
};

/// Whether an item stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Keep,
    Drop,
}

/// What is done to each item. A fault ends the walk.
pub type Visit<'v> = &'v mut dyn FnMut(&mut Item<'_>) -> Result<Fate, Fault>;

/// What came of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The request stays as it is.
    Nothing,
    /// Another request.
    Body(Vec<u8>),
    /// No item is left.
    Empty,
}

/// Why a walk ended before its end.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    Fault(Fault),
    /// The memory could not be paid for.
    Refused(Reason),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Stop::Refused(reason)
    }
}

/// How to walk.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    pub signal: Signal,
    /// What the visitor is shown.
    pub context: Context,
    /// What brought the request.
    pub request: Option<&'a payload::Context>,
    /// Whether containers go that were empty from the start.
    pub prunes: bool,
}

/// Largest block of new bytes, unless one message is larger.
const BLOCK: usize = 1 << 20;

/// Most metrics that editors add to a scope.
const APPENDED: usize = 10_000;

/// Messages from so many bytes on pay for the copies that statements make of them.
const LARGE: usize = 64 << 10;

/// How many copies that may be at a time.
const COPIES: usize = 4;

/// How often statements run on what they have added themselves.
const GENERATIONS: usize = 4;

/// Walks through a request. `purse` pays for the copies.
pub fn walk(
    how: &Walk<'_>,
    body: &[u8],
    purse: &mut Purse,
    visit: Visit<'_>,
) -> Result<Changed, Stop> {
    let mut item = Item::new(how.request);
    walk_with(how, &mut item, body, purse, visit)
}

/// The same with an item whose cache is shared with other walks.
pub fn walk_with<'a>(
    how: &Walk<'_>,
    item: &mut Item<'a>,
    body: &'a [u8],
    purse: &mut Purse,
    visit: Visit<'_>,
) -> Result<Changed, Stop> {
    let notes = Notes::default();
    let mut walker = Walker { how: *how, arena: Arena::default(), notes, purse, visit };
    let mut left = 0;
    for (at, entry) in messages(body, &[1]).enumerate() {
        let fate = walker.entry(item, at, entry.bytes())?;
        left += usize::from(fate == Fate::Keep);
    }
    let Walker { notes, arena, purse, .. } = walker;
    if notes.inner.is_empty() {
        return Ok(Changed::Nothing);
    }
    if left == 0 {
        return Ok(Changed::Empty);
    }
    let mut out = Splicer::paid(body, arena.len, purse);
    let mut changed = notes.inner.iter().peekable();
    for (at, entry) in messages(body, &[1]).enumerate() {
        if let Some(notes) = changed.next_if(|notes| notes.at == at) {
            notes.write(&mut out, &entry, &arena);
        }
    }
    Ok(out.finish_into(purse)?.map_or(Changed::Nothing, Changed::Body))
}

/// Bytes in an arena: which block, and where in it.
type Kept = (usize, Range<usize>);

/// New bytes of what changes, in blocks that never grow: each is as large as all before it, within
/// a limit. A list that doubles would have three times its length allocated while it is copied.
#[derive(Debug, Default)]
struct Arena {
    blocks: Vec<Vec<u8>>,
    len: usize,
}

impl Arena {
    fn keep(&mut self, purse: &mut Purse, bytes: &[u8]) -> Result<Kept, Reason> {
        let is_full = |block: &Vec<u8>| block.capacity() - block.len() < bytes.len();
        if self.blocks.last().is_none_or(is_full) {
            let capacity = bytes.len().max(self.len.clamp(256, BLOCK));
            purse.pay(capacity)?;
            purse.push(&mut self.blocks, Vec::with_capacity(capacity))?;
        }
        let at = self.blocks.len() - 1;
        let block = &mut self.blocks[at];
        let start = block.len();
        block.extend_from_slice(bytes);
        self.len += bytes.len();
        Ok((at, start..block.len()))
    }

    fn bytes(&self, (block, range): &Kept) -> &[u8] {
        &self.blocks[*block][range.clone()]
    }
}

/// What changes in the request, in an entry or in a scope entry.
#[derive(Debug, Default)]
struct Notes {
    /// Its position.
    at: usize,
    /// All of it goes.
    is_dropped: bool,
    /// Its resource or scope, in the arena.
    owner: Option<Kept>,
    schema: Option<Kept>,
    /// The entries or scope entries in it that change.
    inner: Vec<Notes>,
    /// Positions of items that change; `None`: they go.
    items: Vec<(usize, Option<Kept>)>,
    appended: Vec<Kept>,
}

impl Notes {
    fn at(at: usize) -> Self {
        Notes { at, ..Notes::default() }
    }

    fn is_empty(&self) -> bool {
        !self.is_dropped
            && self.owner.is_none()
            && self.schema.is_none()
            && self.inner.is_empty()
            && self.items.is_empty()
            && self.appended.is_empty()
    }

    /// Writes an entry or scope entry.
    fn write<'a>(&self, out: &mut Splicer<'a>, field: &Field<'a>, arena: &Arena) {
        if self.is_dropped {
            out.replace(field.whole, 0, |_| {});
            return;
        }
        out.inside(field, |out, message| {
            let (mut owner, mut schema) = (self.owner.as_ref(), self.schema.as_ref());
            let mut inner = self.inner.iter().peekable();
            let mut items = self.items.iter().peekable();
            let mut at = 0;
            for part in fields(message) {
                match part.number {
                    1 if self.owner.is_some() => put_once(out, &part, owner.take(), arena),
                    3 if self.schema.is_some() => put_once(out, &part, schema.take(), arena),
                    2 if content(&part, 2).is_some() => {
                        if let Some(notes) = inner.next_if(|notes| notes.at == at) {
                            notes.write(out, &part, arena);
                        } else if let Some((_, new)) = items.next_if(|(item, _)| *item == at) {
                            put_once(out, &part, new.as_ref(), arena);
                        }
                        at += 1;
                    }
                    _ => {}
                }
            }
            let missing = owner.map(|new| (1, new)).into_iter().chain(schema.map(|new| (3, new)));
            for (number, new) in missing.chain(self.appended.iter().map(|new| (2, new))) {
                let bytes = arena.bytes(new);
                let len = bytes_field_len(number, bytes.len());
                out.append(len, |out| put_bytes(out, number, bytes));
            }
        });
    }
}

/// Puts new bytes in place of a field; without any the field goes.
fn put_once<'a>(out: &mut Splicer<'a>, field: &Field<'a>, new: Option<&Kept>, arena: &Arena) {
    let Some(new) = new else { return out.replace(field.whole, 0, |_| {}) };
    let bytes = arena.bytes(new);
    let len = bytes_field_len(field.number, bytes.len());
    out.replace(field.whole, len, |out| put_bytes(out, field.number, bytes));
}

struct Walker<'w> {
    how: Walk<'w>,
    arena: Arena,
    notes: Notes,
    purse: &'w mut Purse,
    visit: Visit<'w>,
}

/// Positions of items that were visited, with their new bytes; `None` if they go.
type Children = Vec<(usize, Option<Vec<u8>>)>;

impl Walker<'_> {
    fn keep(&mut self, bytes: &[u8]) -> Result<Kept, Stop> {
        Ok(self.arena.keep(self.purse, bytes)?)
    }

    fn entry<'a>(&mut self, item: &mut Item<'a>, at: usize, entry: &'a [u8]) -> Result<Fate, Stop> {
        enter_owner(item, Tier::Resource, entry);
        self.pay_for_large(item.bytes(Tier::Resource))?;
        let mut notes = Notes::at(at);
        let mut fate = Fate::Keep;
        if self.how.context == Context::Resource {
            fate = (self.visit)(item)?;
        } else {
            let (mut kept, mut lost) = (0, 0);
            for (i, scopes) in messages(entry, &[2]).enumerate() {
                match self.scope(item, i, scopes.bytes(), &mut notes)? {
                    Fate::Keep => kept += 1,
                    Fate::Drop => lost += 1,
                }
            }
            if kept == 0 && (lost > 0 || self.how.prunes) {
                fate = Fate::Drop;
            }
        }
        notes.is_dropped = fate == Fate::Drop;
        if fate == Fate::Keep {
            self.owner(item, &mut notes, Tier::Resource, Tier::ResourceSchema)?;
        }
        if !notes.is_empty() {
            self.purse.push(&mut self.notes.inner, notes)?;
        }
        Ok(fate)
    }

    /// Pays for the copies that statements make of a large message.
    fn pay_for_large(&mut self, message: &[u8]) -> Result<(), Stop> {
        if message.len() > LARGE {
            self.purse.pay(COPIES * message.len())?;
        }
        Ok(())
    }

    /// Notes an edited resource or scope.
    fn owner(
        &mut self,
        item: &Item<'_>,
        notes: &mut Notes,
        owner: Tier,
        schema: Tier,
    ) -> Result<(), Stop> {
        if let Some(edited) = item.edited(owner) {
            notes.owner = Some(self.keep(edited)?);
        }
        if let Some(edited) = item.edited(schema) {
            notes.schema = Some(self.keep(edited)?);
        }
        Ok(())
    }

    fn scope<'a>(
        &mut self,
        item: &mut Item<'a>,
        at: usize,
        scopes: &'a [u8],
        entry: &mut Notes,
    ) -> Result<Fate, Stop> {
        enter_owner(item, Tier::Scope, scopes);
        self.pay_for_large(item.bytes(Tier::Scope))?;
        let mut notes = Notes::at(at);
        let mut fate = Fate::Keep;
        if self.how.context == Context::Scope {
            fate = (self.visit)(item)?;
        } else {
            let (mut kept, mut lost) = (0, 0);
            for (i, one) in messages(scopes, &[2]).enumerate() {
                item.enter(Tier::Item, one.bytes());
                self.pay_for_large(one.bytes())?;
                if self.item(item, one.bytes())? == Fate::Drop {
                    lost += 1;
                    self.purse.push(&mut notes.items, (i, None))?;
                    continue;
                }
                kept += 1;
                if let Some(edited) = item.edited(Tier::Item) {
                    let new = self.keep(edited)?;
                    self.purse.push(&mut notes.items, (i, Some(new)))?;
                }
            }
            if !item.appended.is_empty() {
                self.appended(item, &mut notes)?;
                kept += notes.appended.len();
            }
            if kept == 0 && (lost > 0 || self.how.prunes) {
                fate = Fate::Drop;
            }
        }
        notes.is_dropped = fate == Fate::Drop;
        if fate == Fate::Keep {
            self.owner(item, &mut notes, Tier::Scope, Tier::ScopeSchema)?;
        }
        if !notes.is_empty() {
            self.purse.push(&mut entry.inner, notes)?;
        }
        Ok(fate)
    }

    /// Visits the metrics that editors have added to a scope.
    fn appended(&mut self, item: &mut Item<'_>, notes: &mut Notes) -> Result<(), Stop> {
        for generation in 0..=GENERATIONS {
            for added in std::mem::take(&mut item.appended) {
                self.purse.pay(2 * added.len())?;
                let metric = added.finish();
                let mut own = item.with_same_owners();
                own.enter(Tier::Item, &metric);
                let is_visited = generation < GENERATIONS && notes.appended.len() < APPENDED;
                if !is_visited || self.item(&mut own, &metric)? == Fate::Keep {
                    let new = self.keep(own.bytes(Tier::Item))?;
                    self.purse.push(&mut notes.appended, new)?;
                }
                item.appended.append(&mut own.appended);
                let owners = own.into_owners();
                item.take_owners(owners);
            }
        }
        Ok(())
    }

    /// Visits an item, or what is below it.
    fn item<'a>(&mut self, item: &mut Item<'a>, message: &'a [u8]) -> Result<Fate, Stop> {
        match self.how.context {
            Context::SpanEvent | Context::SpanLink => {
                let number = if self.how.context == Context::SpanEvent { 11 } else { 13 };
                let children = self.children(item, [message].into_iter(), number, Tier::Child)?;
                rewrite(item, Tier::Item, number, &children);
                Ok(Fate::Keep)
            }
            Context::DataPoint | Context::Exemplar => self.points(item, message),
            _ => {
                if self.how.signal == Signal::Metrics {
                    item.set_kind(last_of(message, &DATA).map_or(0, |(kind, _)| kind));
                }
                Ok((self.visit)(item)?)
            }
        }
    }

    fn points<'a>(&mut self, item: &mut Item<'a>, metric: &'a [u8]) -> Result<Fate, Stop> {
        let Some((kind, _)) = last_of(metric, &DATA) else { return Ok(Fate::Keep) };
        item.set_kind(kind);
        // Parts before another kind of data do not count.
        let mut parts: Vec<&'a [u8]> = Vec::new();
        for field in fields(metric).filter(|field| DATA.contains(&field.number)) {
            if field.number == kind {
                parts.push(field.bytes());
            } else {
                parts.clear();
            }
        }
        let all = || parts.iter().flat_map(|part| messages(part, &[1]));
        let changed = if self.how.context == Context::DataPoint {
            self.children(item, parts.iter().copied(), 1, Tier::Child)?
        } else {
            let mut changed = Vec::new();
            for (i, point) in all().enumerate() {
                item.enter(Tier::Child, point.bytes());
                let number = exemplars(kind);
                let list =
                    self.children(item, [point.bytes()].into_iter(), number, Tier::Exemplar)?;
                rewrite(item, Tier::Child, number, &list);
                if let Some(edited) = item.edited(Tier::Child) {
                    self.purse.pay(edited.len())?;
                    changed.push((i, Some(edited.to_vec())));
                }
            }
            changed
        };
        let lost = changed.iter().filter(|(_, new)| new.is_none()).count();
        if lost == all().count() && (lost > 0 || self.how.prunes) {
            return Ok(Fate::Drop);
        }
        if !changed.is_empty() {
            let write = |metric: &[u8], out: &mut Vec<u8>| {
                let old = data(metric).map(|(_, data)| data).unwrap_or_default();
                let mut new = Vec::with_capacity(old.len());
                write_children(&old, 1, &changed, &mut new);
                replace_data(metric, kind, &new, out);
                Ok(())
            };
            // This edit cannot fail.
            let _ = item.edit(Tier::Item, write);
        }
        Ok(Fate::Keep)
    }

    /// Visits the children of an item in the fields `number` of its parts.
    fn children<'a>(
        &mut self,
        item: &mut Item<'a>,
        parts: impl Iterator<Item = &'a [u8]>,
        number: u32,
        tier: Tier,
    ) -> Result<Children, Stop> {
        let mut changed = Vec::new();
        let all = parts.flat_map(|part| fields(part).filter_map(move |f| content(&f, number)));
        for (i, child) in all.enumerate() {
            item.enter(tier, child);
            item.index = Some(i);
            match (self.visit)(item)? {
                Fate::Drop => changed.push((i, None)),
                Fate::Keep => {
                    if let Some(edited) = item.edited(tier) {
                        self.purse.pay(edited.len())?;
                        changed.push((i, Some(edited.to_vec())));
                    }
                }
            }
        }
        item.index = None;
        Ok(changed)
    }
}

/// Goes to the resource or scope of an entry and to the URL beside it. `owner` is the tier of the
/// resource or of the scope.
pub fn enter_owner<'a>(item: &mut Item<'a>, owner: Tier, entry: &'a [u8]) {
    let schema = if owner == Tier::Resource { Tier::ResourceSchema } else { Tier::ScopeSchema };
    let parts: SmallVec<[&[u8]; 1]> = messages(entry, &[1]).map(|field| field.bytes()).collect();
    item.enter_parts(owner, &parts);
    let url = fields(entry).filter_map(|field| content(&field, 3)).last();
    item.enter(schema, url.unwrap_or_default());
}

/// Puts changed children into their message.
fn rewrite(item: &mut Item<'_>, tier: Tier, number: u32, children: &Children) {
    if children.is_empty() {
        return;
    }
    // This edit cannot fail.
    let _ = item.edit(tier, |message, out| {
        write_children(message, number, children, out);
        Ok(())
    });
}

fn write_children(message: &[u8], number: u32, children: &Children, out: &mut Vec<u8>) {
    let mut changed = children.iter().peekable();
    let mut at = 0;
    for field in fields(message) {
        if content(&field, number).is_none() {
            out.extend_from_slice(field.whole);
            continue;
        }
        match changed.next_if(|(changed, _)| *changed == at) {
            Some((_, Some(new))) => put_bytes(out, number, new),
            Some((_, None)) => {}
            None => out.extend_from_slice(field.whole),
        }
        at += 1;
    }
}
