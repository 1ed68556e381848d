//! The item that a program runs on, with everything above it: one span with its scope and resource.
//!
//! Each level is the bytes of one message, borrowed from the request until an edit makes a new
//! version of it. An edit writes the whole message anew into a spare buffer, so what is read is
//! always a valid message and there is no overlay to consult; a message of a kilobyte is copied in
//! less time than one attribute of it is found. An edit that changes nothing is no edit.

use std::{
    cell::Cell,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    fault::What,
    index::{Index, Indexed},
    wire::joined,
};
use crate::otlp::{payload, wire::put_header};

/// A level of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Resource = 0,
    Scope = 1,
    /// A span, a log record or a metric.
    Item = 2,
    /// An event, a link or a data point.
    Child = 3,
    Exemplar = 4,
    /// The URL beside the resource.
    ResourceSchema = 5,
    ScopeSchema = 6,
    Cache = 7,
    /// The request that brought the item.
    Request = 8,
}

const TIERS: usize = 8;

/// Spare capacity that is kept from one item to the next, in bytes.
const KEPT: usize = 64 << 10;

/// Most bytes of a cache that many items share. Each write copies it.
const SHARED_CACHE: usize = 64 << 10;

/// Most steps of lambdas for one item, about a quarter of a second.
const STEPS: usize = 1_000_000;

/// The source of the stamps of items.
static STAMPS: AtomicU64 = AtomicU64::new(1);

fn stamp() -> u64 {
    STAMPS.fetch_add(1, Ordering::Relaxed)
}

/// One message, as it came or edited.
#[derive(Debug, Default)]
struct Level<'a> {
    original: &'a [u8],
    /// The current version if it is not the original.
    version: Vec<u8>,
    has_version: bool,
    is_edited: bool,
    index: Index,
}

impl<'a> Level<'a> {
    fn bytes(&self) -> &[u8] {
        if self.has_version { &self.version } else { self.original }
    }

    fn enter(&mut self, original: &'a [u8]) {
        self.index.clear();
        self.original = original;
        self.has_version = false;
        self.is_edited = false;
        self.version.clear();
        self.version.shrink_to(KEPT);
    }
}

/// A metric that an editor has made.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// Its name, description and unit; or all of it, if it has no kind.
    pub(super) head: Vec<u8>,
    /// The field of its data.
    pub(super) kind: u32,
    pub(super) points: Vec<u8>,
    /// What follows the points in the data.
    pub(super) nature: Vec<u8>,
}

impl Appended {
    /// A metric that is complete.
    pub(super) fn whole(metric: Vec<u8>) -> Self {
        Appended { head: metric, ..Appended::default() }
    }

    /// Bytes that it takes.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.points.len() + self.nature.len() + 16
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut metric = self.head;
        if self.kind != 0 {
            put_header(&mut metric, self.kind, self.points.len() + self.nature.len());
            metric.extend(self.points);
            metric.extend(self.nature);
        }
        metric
    }
}

/// An item and what is above it.
#[derive(Debug)]
pub struct Item<'a> {
    levels: [Level<'a>; TIERS],
    spare: Vec<u8>,
    /// Changes whenever the resource does.
    resource_stamp: u64,
    /// Changes whenever the resource or the scope does.
    scope_stamp: u64,
    /// Edits so far.
    edits: u64,
    /// Steps that lambdas may still take.
    steps: Cell<usize>,
    /// Field of the metric that holds the points, 5 to 11; 0 if it has no data.
    pub(super) kind: u32,
    /// Position of a span event in its span.
    pub(super) index: Option<usize>,
    pub(super) request: Option<&'a payload::Context>,
    /// Metrics that editors have made of this one. They go into the same scope.
    pub(super) appended: Vec<Appended>,
    /// Keeps the cache when the next item is entered.
    shares_cache: bool,
}

impl<'a> Item<'a> {
    /// An item of which nothing is known yet. `request` is what brought it.
    pub fn new(request: Option<&'a payload::Context>) -> Self {
        Item {
            levels: Default::default(),
            spare: Vec::new(),
            resource_stamp: stamp(),
            scope_stamp: stamp(),
            edits: 0,
            steps: Cell::new(STEPS),
            kind: 0,
            index: None,
            request,
            appended: Vec::new(),
            shares_cache: false,
        }
    }

    /// Keeps one cache for all items from here on; a write that would make it larger than 64 KiB
    /// fails.
    pub fn share_cache(&mut self) {
        self.shares_cache = true;
    }

    /// A copy of the cache, for another walk that shares it.
    pub fn cache(&self) -> Vec<u8> {
        self.bytes(Tier::Cache).to_vec()
    }

    /// Puts a cache from another walk in place.
    pub fn set_cache(&mut self, cache: Vec<u8>) {
        let level = &mut self.levels[Tier::Cache as usize];
        level.index.clear();
        level.version = cache;
        level.has_version = true;
    }

    /// Goes to another message of a level. The levels below it are to be entered after it.
    pub fn enter(&mut self, tier: Tier, message: &'a [u8]) {
        self.levels[tier as usize].enter(message);
        if !self.shares_cache {
            self.levels[Tier::Cache as usize].enter(&[]);
        }
        self.steps.set(STEPS);
        self.note_change(tier);
    }

    /// Goes to an event of the span that was entered; `index` is its position.
    pub fn enter_event(&mut self, index: usize, event: &'a [u8]) {
        self.enter(Tier::Child, event);
        self.index = Some(index);
    }

    /// Goes to a message that is in several parts, which count as one.
    pub(super) fn enter_parts(&mut self, tier: Tier, parts: &[&'a [u8]]) {
        self.enter(tier, parts.first().copied().unwrap_or_default());
        if parts.len() > 1 {
            let level = &mut self.levels[tier as usize];
            level.version = joined(parts.iter().copied());
            level.index.clear();
            level.has_version = true;
        }
    }

    /// An item with a copy of the resource and the scope of this one.
    pub(super) fn with_same_owners(&self) -> Item<'a> {
        let mut item = Item::new(self.request);
        for (own, other) in item.levels.iter_mut().zip(&self.levels) {
            own.version = other.bytes().to_vec();
            own.has_version = true;
        }
        item.shares_cache = self.shares_cache;
        item
    }

    /// The resource, the scope and the cache, where they were edited.
    pub(super) fn into_owners(self) -> Vec<(usize, Vec<u8>)> {
        let levels = self.levels.into_iter().enumerate();
        let shared = levels.filter(|(at, level)| {
            level.is_edited && *at != Tier::Item as usize && *at != Tier::Child as usize
        });
        shared.map(|(at, level)| (at, level.version)).collect()
    }

    /// Takes them from an item that has the same.
    pub(super) fn take_owners(&mut self, owners: Vec<(usize, Vec<u8>)>) {
        for (at, version) in owners {
            let level = &mut self.levels[at];
            level.index.clear();
            level.version = version;
            level.has_version = true;
            level.is_edited = true;
        }
        self.note_change(Tier::Resource);
    }

    /// The kind of the metric whose points are entered.
    pub fn set_kind(&mut self, kind: u32) {
        self.kind = kind;
    }

    /// The current bytes of a level.
    pub fn bytes(&self, tier: Tier) -> &[u8] {
        self.levels.get(tier as usize).map_or(&[], Level::bytes)
    }

    /// The same with an index of its fields.
    pub(super) fn indexed(&self, tier: Tier) -> Indexed<'_> {
        match self.levels.get(tier as usize) {
            Some(level) => Indexed { message: level.bytes(), index: Some(&level.index) },
            None => Indexed::plain(&[]),
        }
    }

    /// The bytes of a level if they were edited.
    pub fn edited(&self, tier: Tier) -> Option<&[u8]> {
        let level = self.levels.get(tier as usize)?;
        level.is_edited.then(|| level.bytes())
    }

    /// Takes steps of lambdas; `false` if the item has none left. Lambdas in lambdas could go
    /// through a list of a megabyte as often as it has elements.
    pub(super) fn takes_steps(&self, steps: usize) -> bool {
        let left = self.steps.get().checked_sub(steps);
        self.steps.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Changes with every edit.
    pub fn version(&self) -> u64 {
        self.edits
    }

    /// Which version of an owner this is, a resource or a scope with its resource: what depends on
    /// nothing else is computed once. A resource may have thousands of scopes.
    pub(crate) fn stamp(&self, owner: Tier) -> u64 {
        if owner == Tier::Resource { self.resource_stamp } else { self.scope_stamp }
    }

    /// Gives an owner that has changed a new stamp.
    fn note_change(&mut self, tier: Tier) {
        match tier {
            Tier::Resource | Tier::ResourceSchema => {
                self.resource_stamp = stamp();
                self.scope_stamp = self.resource_stamp;
            }
            Tier::Scope | Tier::ScopeSchema => self.scope_stamp = stamp(),
            _ => {}
        }
    }

    /// Puts another message in the place of the current one of a level.
    pub(crate) fn put(&mut self, tier: Tier, message: &[u8]) {
        // This edit cannot fail.
        let _ = self.edit(tier, |_, out| {
            out.extend_from_slice(message);
            Ok(())
        });
    }

    /// Puts an attribute, a whole field, in the place of another or, at the end of the message, of
    /// none. Without `new` the other one goes. What is known of the other fields stays known.
    pub(super) fn splice(&mut self, tier: Tier, number: u32, old: Range<usize>, new: &[u8]) {
        let level = &mut self.levels[tier as usize];
        let len = level.bytes().len();
        if level.bytes().get(old.clone()) == Some(new) || old.end > len {
            return;
        }
        level.index.splice(level.bytes(), number, &old, new.len());
        if level.has_version {
            let version = &mut level.version;
            let end = old.start + new.len();
            version.resize(len.max(len - old.len() + new.len()), 0);
            version.copy_within(old.end..len, end);
            version[old.start..end].copy_from_slice(new);
            version.truncate(len - old.len() + new.len());
        } else {
            level.version.clear();
            level.version.reserve(len - old.len() + new.len());
            level.version.extend_from_slice(&level.original[..old.start]);
            level.version.extend_from_slice(new);
            level.version.extend_from_slice(&level.original[old.end..]);
            level.has_version = true;
        }
        level.is_edited = true;
        self.edits += 1;
        self.note_change(tier);
    }

    /// The same with an attribute that `write` appends to a buffer.
    pub(super) fn splice_with(
        &mut self,
        tier: Tier,
        number: u32,
        old: Range<usize>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut new = std::mem::take(&mut self.spare);
        new.clear();
        write(&mut new);
        self.splice(tier, number, old, &new);
        new.shrink_to(KEPT);
        self.spare = new;
    }

    /// Writes a level anew. `write` gets its current bytes and appends the new ones; if it fails,
    /// the level stays as it is.
    pub(super) fn edit(
        &mut self,
        tier: Tier,
        write: impl FnOnce(&[u8], &mut Vec<u8>) -> Result<(), What>,
    ) -> Result<(), What> {
        self.edit_indexed(tier, |from, out| write(from.message, out))
    }

    /// The same for what looks for single fields.
    pub(super) fn edit_indexed(
        &mut self,
        tier: Tier,
        write: impl FnOnce(Indexed<'_>, &mut Vec<u8>) -> Result<(), What>,
    ) -> Result<(), What> {
        let mut out = std::mem::take(&mut self.spare);
        out.clear();
        let level = &mut self.levels[tier as usize];
        let from = Indexed { message: level.bytes(), index: Some(&level.index) };
        let mut written = write(from, &mut out);
        if self.shares_cache && tier == Tier::Cache && out.len() > SHARED_CACHE {
            written = Err(What::TooLarge);
        }
        if written.is_ok() && out != level.bytes() {
            std::mem::swap(&mut level.version, &mut out);
            level.has_version = true;
            level.is_edited = true;
            level.index.clear();
            self.edits += 1;
            self.note_change(tier);
        }
        out.shrink_to(KEPT);
        self.spare = out;
        written
    }
}
