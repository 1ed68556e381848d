//! A request in the making: resources with their scopes, in metrics with their metrics, each once
//! however often it was there, and items that are borrowed from the requests before.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::otlp::{
    payload::Reason,
    purse::Purse,
    wire::{bytes_field_len, put_header},
};

/// Memory of a node and of its place in the table, beside its texts.
const NODE: usize = 2 * (size_of::<Node<'_>>() + size_of::<(Key, u32)>());

/// The parent of resources.
const NONE: u32 = u32::MAX;

type Key = (u32, Box<[u8]>);

/// An item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// The field as it was.
    pub(super) whole: &'a [u8],
    /// Number of the field, and its content.
    pub(super) number: u32,
    pub(super) content: &'a [u8],
    /// Bytes of the content from now on; `None` if the field stays as it is.
    pub(super) left: Option<usize>,
    /// Number of its attributes.
    pub(super) attributes: u32,
}

impl Piece<'_> {
    fn len(&self) -> usize {
        self.left.map_or(self.whole.len(), |left| bytes_field_len(self.number, left))
    }
}

/// A resource entry, a scope entry or a metric.
#[derive(Debug, Default)]
struct Node<'a> {
    /// Fields before what is in it.
    head: Box<[u8]>,
    /// In a metric, the field that has the points, and the fields behind the points.
    kind: u32,
    nature: Box<[u8]>,
    children: Vec<u32>,
    pieces: Vec<Piece<'a>>,
    /// Bytes of the pieces, or of the fields of the children.
    inner: usize,
}

impl Node<'_> {
    /// Bytes of what holds the points, without its header.
    fn data(&self) -> usize {
        self.inner + self.nature.len()
    }

    /// Bytes of the whole message.
    fn len(&self) -> usize {
        let inner =
            if self.kind == 0 { self.inner } else { bytes_field_len(self.kind, self.data()) };
        self.head.len() + inner
    }
}

/// What a node begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'h> {
    /// What tells it from others of its parent.
    pub(super) identity: &'h [u8],
    pub(super) bytes: &'h [u8],
    pub(super) kind: u32,
    pub(super) nature: &'h [u8],
}

impl<'h> Head<'h> {
    /// A head that is its own identity.
    pub(super) fn plain(head: &'h [u8]) -> Self {
        Head { identity: head, bytes: head, kind: 0, nature: &[] }
    }
}

/// The tree.
#[derive(Debug, Default)]
pub(super) struct Gathered<'a> {
    nodes: Vec<Node<'a>>,
    resources: Vec<u32>,
    known: HashMap<Key, u32, RandomState>,
}

impl<'a> Gathered<'a> {
    /// Nodes of all levels.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn resources(&self) -> u64 {
        self.resources.len() as u64
    }

    pub(super) fn resource(&mut self, head: Head<'_>, purse: &mut Purse) -> Result<u32, Reason> {
        self.node(NONE, head, purse)
    }

    /// The node of a head below a parent; made if it is not there.
    pub(super) fn node(
        &mut self,
        parent: u32,
        head: Head<'_>,
        purse: &mut Purse,
    ) -> Result<u32, Reason> {
        let key: Key = (parent, head.identity.into());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let texts = head.identity.len() + head.bytes.len() + head.nature.len();
        purse.pay(NODE + 2 * texts)?;
        let number = u32::try_from(self.nodes.len()).map_err(|_| Reason::TooLarge)?;
        self.nodes.push(Node {
            head: head.bytes.into(),
            kind: head.kind,
            nature: head.nature.into(),
            ..Node::default()
        });
        self.known.insert(key, number);
        let siblings = match self.nodes.get_mut(parent as usize) {
            Some(parent) => &mut parent.children,
            None => &mut self.resources,
        };
        purse.push(siblings, number)?;
        Ok(number)
    }

    pub(super) fn push(
        &mut self,
        node: u32,
        piece: Piece<'a>,
        purse: &mut Purse,
    ) -> Result<(), Reason> {
        let node = &mut self.nodes[node as usize];
        node.inner += piece.len();
        purse.push(&mut node.pieces, piece)
    }

    /// The request. `write` appends the content of an item that loses something.
    pub(super) fn finish(
        mut self,
        purse: &mut Purse,
        mut write: impl FnMut(&Piece<'a>, &mut Vec<u8>),
    ) -> Result<Vec<u8>, Reason> {
        // Parents come before their children.
        for at in (0..self.nodes.len()).rev() {
            let children = std::mem::take(&mut self.nodes[at].children);
            let inner = children.iter().map(|child| self.field_len(2, *child)).sum::<usize>();
            self.nodes[at].children = children;
            self.nodes[at].inner += inner;
        }
        let total: usize = self.resources.iter().map(|resource| self.field_len(1, *resource)).sum();
        purse.pay(total + total / 8)?;
        let mut out = Vec::with_capacity(total);
        for resource in &self.resources {
            self.put(1, *resource, &mut out, &mut write);
        }
        Ok(out)
    }

    fn field_len(&self, number: u32, node: u32) -> usize {
        bytes_field_len(number, self.nodes[node as usize].len())
    }

    fn put(
        &self,
        number: u32,
        at: u32,
        out: &mut Vec<u8>,
        write: &mut impl FnMut(&Piece<'a>, &mut Vec<u8>),
    ) {
        let node = &self.nodes[at as usize];
        put_header(out, number, node.len());
        out.extend_from_slice(&node.head);
        if node.kind != 0 {
            put_header(out, node.kind, node.data());
        }
        for piece in &node.pieces {
            match piece.left {
                None => out.extend_from_slice(piece.whole),
                Some(left) => {
                    put_header(out, piece.number, left);
                    write(piece, out);
                }
            }
        }
        for child in &node.children {
            self.put(2, *child, out, write);
        }
        out.extend_from_slice(&node.nature);
    }
}
