//! Leads through a request and puts each item where it belongs.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::gather::{Gathered, Head, Piece};
use crate::{
    otlp::{
        Signal,
        payload::{Body, Reason},
        purse::Purse,
        splice::messages,
        wire::{Field, Fields, put_bytes, put_header, put_varint},
    },
    ottl::{content, key_value},
};

/// Kinds of data of a metric.
const DATA: [u32; 5] = [5, 7, 9, 10, 11];

/// The keys to group by.
#[derive(Debug)]
pub(super) struct Keys(Vec<Vec<u8>>);

impl Keys {
    pub(super) fn new(keys: &[String]) -> Self {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for key in keys.iter().map(String::as_bytes) {
            if !all.iter().any(|known| known == key) {
                all.push(key.to_vec());
            }
        }
        Keys(all)
    }

    fn position(&self, key: &[u8]) -> Option<usize> {
        self.0.iter().position(|known| known == key)
    }

    /// Whether a field of an item is an attribute with one of the keys.
    fn takes(&self, field: &Field<'_>, attributes: u32) -> Option<usize> {
        self.position(key_value(content(field, attributes)?).0)
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Regrouped {
    /// The new request; `None` if the old one stays.
    pub(super) body: Option<Vec<u8>>,
    /// Items that moved.
    pub(super) moved: u64,
    /// Resources.
    pub(super) groups: u64,
}

/// Groups the items of all segments.
pub(super) fn regroup(
    signal: Signal,
    body: &Body,
    keys: &Keys,
    purse: &mut Purse,
) -> Result<Regrouped, Reason> {
    let mut walk = Walk {
        keys,
        gathered: Gathered::default(),
        by_values: HashMap::default(),
        values: Vec::new(),
        moved: 0,
        nodes: 0,
        last: None,
        scopes: HashMap::default(),
        metrics: HashMap::default(),
        paid: Copies::default(),
    };
    for segment in body {
        for entry in messages(segment, &[1]) {
            walk.entry(signal, entry.bytes(), purse)?;
        }
    }
    let Walk { gathered, moved, nodes, .. } = walk;
    let groups = gathered.resources();
    if moved == 0 && gathered.len() == nodes {
        return Ok(Regrouped { body: None, moved, groups });
    }
    let body = gathered.finish(purse, |piece, out| {
        let attributes = piece.attributes;
        for field in fields(piece.content).filter(|f| keys.takes(f, attributes).is_none()) {
            out.extend_from_slice(field.whole);
        }
    })?;
    Ok(Regrouped { body: Some(body), moved, groups })
}

/// Notes the node of a scope or metric below its parent.
fn note(
    nodes: &mut HashMap<u32, u32, RandomState>,
    parent: u32,
    node: u32,
    purse: &mut Purse,
) -> Result<u32, Reason> {
    purse.pay(4 * size_of::<(u32, u32)>())?;
    nodes.insert(parent, node);
    Ok(node)
}

fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields::new(message).map_while(Result::ok)
}

/// A resource entry.
struct Entry {
    /// The attributes of its resource, and the other fields of the resource.
    attributes: Vec<Vec<u8>>,
    rest: Vec<u8>,
    /// Fields of the entry beside the resource and the scopes.
    beside: Vec<u8>,
    /// Its own node, once an item stays in it.
    node: Option<u32>,
}

/// Where items are in a request.
#[derive(Debug, Clone, Copy)]
struct Place<'p> {
    /// Another one for each scope entry or metric.
    number: usize,
    /// The fields of the scope entry beside its items.
    scope: &'p [u8],
    /// Those of the metric beside its points, if it is one.
    metric: Option<Head<'p>>,
    /// Number of the attributes in an item.
    attributes: u32,
}

struct Walk<'k, 'a> {
    keys: &'k Keys,
    gathered: Gathered<'a>,
    /// The resources that items of the entry at hand have moved to, by their values.
    by_values: HashMap<Box<[u8]>, u32, RandomState>,
    /// Values of an item for each key, encoded.
    values: Vec<u8>,
    moved: u64,
    /// Entries, scope entries and metrics that there were.
    nodes: usize,
    /// The node that was found last, for a resource and a place.
    last: Option<(u32, usize, u32)>,
    /// The nodes of the scope at hand by their resources, and of the metric by their scopes: a long
    /// scope is compared once for each resource, not for each of its items.
    scopes: HashMap<u32, u32, RandomState>,
    metrics: HashMap<u32, u32, RandomState>,
    paid: Copies,
}

/// Copies that are made for one entry, scope, metric or resource after the other.
#[derive(Debug, Default)]
struct Copies {
    entry: Room,
    scope: Room,
    metric: Room,
    resource: Room,
}

/// Memory that is used again and again: the largest need so far is paid for.
#[derive(Debug, Default)]
struct Room(usize);

impl Room {
    fn needs(&mut self, bytes: usize, purse: &mut Purse) -> Result<(), Reason> {
        if let Some(more) = bytes.checked_sub(self.0) {
            purse.pay(more)?;
            self.0 = bytes;
        }
        Ok(())
    }
}

impl<'a> Walk<'_, 'a> {
    fn entry(&mut self, signal: Signal, entry: &'a [u8], purse: &mut Purse) -> Result<(), Reason> {
        self.nodes += 1;
        self.by_values.clear();
        let mut own =
            Entry { attributes: Vec::new(), rest: Vec::new(), beside: Vec::new(), node: None };
        // The copies of the resource, and its attributes in a list.
        let mut copied = 0;
        for field in fields(entry).filter(|field| content(field, 2).is_none()) {
            let Some(resource) = content(&field, 1) else {
                copied += field.whole.len();
                own.beside.extend_from_slice(field.whole);
                continue;
            };
            for field in fields(resource) {
                copied += field.whole.len() + 2 * size_of::<Vec<u8>>();
                match content(&field, 1) {
                    Some(attribute) => own.attributes.push(attribute.to_vec()),
                    None => own.rest.extend_from_slice(field.whole),
                }
            }
        }
        self.paid.entry.needs(3 * copied, purse)?;
        for scope in messages(entry, &[2]) {
            self.nodes += 1;
            let mut head = Vec::new();
            for field in fields(scope.bytes()).filter(|field| content(field, 2).is_none()) {
                head.extend_from_slice(field.whole);
            }
            self.paid.scope.needs(2 * head.len(), purse)?;
            self.scopes.clear();
            for item in messages(scope.bytes(), &[2]) {
                if signal == Signal::Metrics {
                    self.metric(&mut own, &head, item.bytes(), purse)?;
                } else {
                    let attributes = if signal == Signal::Traces { 9 } else { 6 };
                    let number = self.nodes;
                    let place = Place { number, scope: &head, metric: None, attributes };
                    self.item(&mut own, place, item, purse)?;
                }
            }
        }
        Ok(())
    }

    fn metric(
        &mut self,
        entry: &mut Entry,
        scope: &[u8],
        metric: &'a [u8],
        purse: &mut Purse,
    ) -> Result<(), Reason> {
        self.nodes += 1;
        let kind = fields(metric).filter(|field| DATA.contains(&field.number)).last();
        let kind = kind.map_or(0, |field| field.number);
        let (mut head, mut nature) = (Vec::new(), Vec::new());
        for field in fields(metric) {
            if !DATA.contains(&field.number) {
                head.extend_from_slice(field.whole);
            } else if let Some(data) = content(&field, kind) {
                for field in fields(data).filter(|field| content(field, 1).is_none()) {
                    nature.extend_from_slice(field.whole);
                }
            }
        }
        self.paid.metric.needs(4 * (head.len() + nature.len()) + 16, purse)?;
        let mut identity = Vec::with_capacity(head.len() + nature.len() + 8);
        put_varint(&mut identity, u64::from(kind));
        put_varint(&mut identity, head.len() as u64);
        identity.extend_from_slice(&head);
        identity.extend_from_slice(&nature);
        let head = Head { identity: &identity, bytes: &head, kind, nature: &nature };
        let attributes = match kind {
            9 => 9,
            10 => 1,
            _ => 7,
        };
        let place = Place { number: self.nodes, scope, metric: Some(head), attributes };
        self.metrics.clear();
        let mut has_points = false;
        for data in fields(metric).filter_map(|field| content(&field, kind)) {
            for point in messages(data, &[1]) {
                has_points = true;
                self.item(entry, place, point, purse)?;
            }
        }
        if !has_points {
            let resource = self.own(entry, purse)?;
            self.below(resource, place, purse)?;
        }
        Ok(())
    }

    fn item(
        &mut self,
        entry: &mut Entry,
        place: Place<'_>,
        item: Field<'a>,
        purse: &mut Purse,
    ) -> Result<(), Reason> {
        let content = item.bytes();
        let mut found: Vec<(usize, &[u8])> = Vec::new();
        let mut removed = 0;
        if !self.keys.0.is_empty() {
            for field in fields(content) {
                if let Some(key) = self.keys.takes(&field, place.attributes) {
                    removed += field.whole.len();
                    if !found.iter().any(|(known, _)| *known == key) {
                        found.push((key, field.bytes()));
                    }
                }
            }
        }
        let resource = if found.is_empty() {
            self.own(entry, purse)?
        } else {
            self.moved += 1;
            found.sort_unstable_by_key(|(key, _)| *key);
            self.other(entry, &found, purse)?
        };
        let node = self.below(resource, place, purse)?;
        let left = (removed > 0).then(|| content.len() - removed);
        let Place { attributes, .. } = place;
        let piece = Piece { whole: item.whole, number: item.number, content, left, attributes };
        self.gathered.push(node, piece, purse)
    }

    /// The node of the scope or metric in which an item is.
    fn below(&mut self, resource: u32, place: Place<'_>, purse: &mut Purse) -> Result<u32, Reason> {
        if let Some((of, number, node)) = self.last
            && (of, number) == (resource, place.number)
        {
            return Ok(node);
        }
        let scope = if let Some(known) = self.scopes.get(&resource) {
            *known
        } else {
            let node = self.gathered.node(resource, Head::plain(place.scope), purse)?;
            note(&mut self.scopes, resource, node, purse)?
        };
        let node = match (place.metric, self.metrics.get(&scope)) {
            (None, _) => scope,
            (Some(_), Some(known)) => *known,
            (Some(metric), None) => {
                let node = self.gathered.node(scope, metric, purse)?;
                note(&mut self.metrics, scope, node, purse)?
            }
        };
        self.last = Some((resource, place.number, node));
        Ok(node)
    }

    /// The resource of the entry.
    fn own(&mut self, entry: &mut Entry, purse: &mut Purse) -> Result<u32, Reason> {
        if let Some(node) = entry.node {
            return Ok(node);
        }
        let node = self.resource(entry, &[], purse)?;
        entry.node = Some(node);
        Ok(node)
    }

    /// The resource with some more attributes.
    fn other(
        &mut self,
        entry: &Entry,
        more: &[(usize, &[u8])],
        purse: &mut Purse,
    ) -> Result<u32, Reason> {
        self.values.clear();
        for (key, attribute) in more {
            put_varint(&mut self.values, *key as u64);
            put_varint(&mut self.values, attribute.len() as u64);
            self.values.extend_from_slice(attribute);
        }
        if let Some(known) = self.by_values.get(&*self.values) {
            return Ok(*known);
        }
        purse.pay(2 * self.values.len() + 128)?;
        let node = self.resource(entry, more, purse)?;
        self.by_values.insert(self.values.as_slice().into(), node);
        Ok(node)
    }

    /// The node of a resource entry whose resource has some more attributes.
    fn resource(
        &mut self,
        entry: &Entry,
        more: &[(usize, &[u8])],
        purse: &mut Purse,
    ) -> Result<u32, Reason> {
        let is_replaced = |attribute: &&Vec<u8>| {
            let at = self.keys.position(key_value(attribute).0);
            at.is_some_and(|at| more.iter().any(|(key, _)| *key == at))
        };
        let kept = entry.attributes.iter().filter(|attribute| !is_replaced(attribute));
        let mut attributes: Vec<&[u8]> = kept.map(Vec::as_slice).collect();
        attributes.extend(more.iter().map(|(_, attribute)| *attribute));
        let len = attributes.iter().map(|one| one.len() + 16).sum::<usize>();
        self.paid.resource.needs(4 * (len + entry.rest.len() + entry.beside.len()), purse)?;
        let mut resource = Vec::new();
        for attribute in &attributes {
            put_bytes(&mut resource, 1, attribute);
        }
        resource.extend_from_slice(&entry.rest);
        let mut head = Vec::new();
        put_header(&mut head, 1, resource.len());
        head.extend_from_slice(&resource);
        head.extend_from_slice(&entry.beside);
        // The order of attributes makes no difference.
        attributes.sort_unstable();
        let mut identity = Vec::new();
        for attribute in &attributes {
            put_bytes(&mut identity, 1, attribute);
        }
        put_bytes(&mut identity, 2, &entry.rest);
        put_bytes(&mut identity, 3, &entry.beside);
        let head = Head { identity: &identity, bytes: &head, kind: 0, nature: &[] };
        self.gathered.resource(head, purse)
    }
}
