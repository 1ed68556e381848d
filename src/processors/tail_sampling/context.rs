//! What encloses spans: resource and scope entries without their spans, each kept once however many
//! spans and requests name it.
//!
//! A context is held by the newest chunk with a span in it, and goes with that chunk: no counting
//! per span.

use std::{collections::HashMap, hash::BuildHasher as _, sync::Arc};

use foldhash::fast::RandomState;

use super::{arena::Arena, matcher::Matcher};
use crate::otlp::{
    sampling,
    splice::messages,
    view::{Message, Resource, Value},
    wire::Fields,
};

/// Bytes of a context from which on it is paid for by itself, before it is copied.
const LARGE: usize = 4 << 10;

/// Bytes of a service's name that are shown: decisions that are remembered hold it.
const SERVICE: usize = 128;

/// Parent of resources.
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
struct Context {
    /// The resource of a scope.
    parent: u32,
    /// All fields but the inner ones, verbatim, in order.
    wrapper: Vec<u8>,
    /// Conditions that the resource meets.
    bits: u128,
    /// `service.name` of a resource.
    service: Arc<str>,
    /// `SampleRate` of a resource.
    rate: Option<f64>,
    /// Newest chunk with a span in it.
    chunk: Option<u32>,
    hash: u64,
}

/// All contexts.
#[derive(Debug)]
pub(super) struct Contexts {
    all: Vec<Context>,
    free: Vec<u32>,
    by_hash: HashMap<u64, u32, RandomState>,
    hasher: RandomState,
    /// Named for the first time since the last request.
    fresh: Vec<u32>,
    /// Found last: spans come with the same contexts again and again.
    last: [u32; 2],
    bytes: usize,
    /// Counts up whenever a number becomes free.
    version: u64,
}

/// A scope with its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: u32,
    /// Conditions that the resource meets.
    pub(super) bits: u128,
}

impl Contexts {
    pub(super) fn new() -> Self {
        Contexts {
            all: Vec::new(),
            free: Vec::new(),
            by_hash: HashMap::default(),
            hasher: RandomState::default(),
            fresh: Vec::new(),
            last: [NONE; 2],
            bytes: 0,
            version: 0,
        }
    }

    /// Bytes that these two would take if they are not known, where that is much, and tables that
    /// are about to grow.
    #[inline]
    pub(super) fn growth(&self, resource: &[u8], scope: &[u8]) -> usize {
        let tables = if self.all.len() + 2 > self.all.capacity() {
            (2 * self.all.capacity()).max(8) * (size_of::<Context>() + 24)
        } else {
            0
        };
        let wrapper = |level: usize, wrapper: &[u8]| {
            let last = self.all.get(self.last[level] as usize);
            let is_it = |last: &Context| last.hash != 0 && last.wrapper == wrapper;
            if wrapper.len() < LARGE || last.is_some_and(is_it) { 0 } else { wrapper.len() }
        };
        tables + wrapper(0, resource) + wrapper(1, scope)
    }

    /// The number of a resource entry, by its fields but scope entries.
    pub(super) fn resource(&mut self, wrapper: &[u8], matcher: &mut Matcher) -> Found {
        let number = self.intern(NONE, 0, wrapper, |wrapper| {
            let resources = Fields::new(wrapper).flatten().filter(|field| field.number == 1);
            // Several resources of one entry are one.
            resources.fold(0, |bits, resource| bits | matcher.resource(resource.bytes()))
        });
        Found { number, bits: self.all[number as usize].bits }
    }

    /// The number of a scope entry of a resource, by its fields but spans.
    pub(super) fn scope(&mut self, resource: Found, wrapper: &[u8]) -> Found {
        let number = self.intern(resource.number, 1, wrapper, |_| resource.bits);
        Found { number, bits: resource.bits }
    }

    fn intern(
        &mut self,
        parent: u32,
        level: usize,
        wrapper: &[u8],
        bits: impl FnOnce(&[u8]) -> u128,
    ) -> u32 {
        let is_it = |context: &Context| {
            context.parent == parent && context.wrapper == wrapper && context.hash != 0
        };
        let last = self.all.get(self.last[level] as usize);
        if last.is_some_and(is_it) {
            return self.last[level];
        }
        let hash = self.hasher.hash_one((parent, wrapper)).max(1);
        let known = self.by_hash.get(&hash).copied();
        if let Some(known) = known
            && is_it(&self.all[known as usize])
        {
            self.last[level] = known;
            return known;
        }
        let wrapper = wrapper.to_vec();
        self.bytes += wrapper.capacity();
        let bits = bits(&wrapper);
        let service: Arc<str> =
            if parent == NONE { service_name(&wrapper).into() } else { Arc::default() };
        self.bytes += service.len();
        let rate = if parent == NONE { sampling::rate(attributes(&wrapper)) } else { None };
        let context = Context { parent, bits, service, rate, wrapper, chunk: None, hash };
        let number = if let Some(number) = self.free.pop() {
            self.all[number as usize] = context;
            number
        } else {
            self.all.push(context);
            u32::try_from(self.all.len() - 1).unwrap_or(NONE)
        };
        // Of two with one hash the later one is not found again, and is kept twice.
        if known.is_none() {
            self.by_hash.insert(hash, number);
        }
        self.last[level] = number;
        self.fresh.push(number);
        number
    }

    /// Notes that a span with this scope goes into chunk `newest` of the arena. To be called after
    /// the span was put there.
    #[inline]
    pub(super) fn hold(&mut self, scope: u32, newest: u32, arena: &mut Arena) {
        let mut number = scope;
        while let Some(context) = self.all.get_mut(number as usize) {
            if context.chunk == Some(newest) {
                return;
            }
            context.chunk = Some(newest);
            arena.uses(number);
            number = context.parent;
        }
    }

    /// Forgets those whose newest chunk is given back.
    pub(super) fn forget(&mut self, chunk: u32, used: &[u32]) {
        for number in used {
            let context = &mut self.all[*number as usize];
            if context.chunk != Some(chunk) {
                continue;
            }
            self.bytes -= context.wrapper.capacity() + context.service.len();
            if self.by_hash.get(&context.hash) == Some(number) {
                self.by_hash.remove(&context.hash);
            }
            *context = Context::default();
            self.version += 1;
            self.free.push(*number);
        }
    }

    /// Forgets those that were named since the last call and have no span in the arena.
    pub(super) fn forget_unused(&mut self) {
        while let Some(number) = self.fresh.pop() {
            let context = &self.all[number as usize];
            if context.chunk.is_none() && context.hash != 0 {
                self.all[number as usize].chunk = Some(NONE);
                self.forget(NONE, &[number]);
            }
        }
    }

    /// Resource of a scope.
    pub(super) fn parent(&self, scope: u32) -> u32 {
        self.all[scope as usize].parent
    }

    /// `service.name` of the resource of a scope.
    pub(super) fn service(&self, scope: u32) -> Arc<str> {
        Arc::clone(&self.all[self.parent(scope) as usize].service)
    }

    /// `SampleRate` of the resource of a scope.
    pub(super) fn rate(&self, scope: u32) -> Option<f64> {
        self.all[self.parent(scope) as usize].rate
    }

    /// Fields of the entry but the inner ones.
    pub(super) fn wrapper(&self, number: u32) -> &[u8] {
        &self.all[number as usize].wrapper
    }

    /// Another one since a number was last seen: it may be another's now.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        let each = size_of::<Context>() + 24;
        self.bytes + self.all.capacity() * each
    }
}

/// Attributes of a resource, each a `KeyValue`.
fn attributes(wrapper: &[u8]) -> impl Iterator<Item = &[u8]> {
    let resources = messages(wrapper, &[1]);
    resources.flat_map(|one| messages(one.bytes(), &[1])).map(|attribute| attribute.bytes())
}

fn service_name(wrapper: &[u8]) -> String {
    let resources = Fields::new(wrapper).flatten().filter(|field| field.number == 1);
    let attributes =
        resources.flat_map(|one| Resource::from(Message::new(one.bytes())).attributes());
    let mut names = attributes.filter(|one| one.key == "service.name");
    match names.next().and_then(|name| name.value) {
        Some(Value::String(name)) => {
            let name = name.to_str();
            name[..name.floor_char_boundary(SERVICE)].to_owned()
        }
        _ => String::new(),
    }
}
