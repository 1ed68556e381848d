//! Requests as no sane encoder writes them and every decoder must read them: fields in any order,
//! overlong varints, singular messages in several parts, scalars and oneofs set again, numbers
//! packed, unpacked and both, unknown fields at every level. For tests, with prost as the oracle.
//!
//! Everything follows from a seed and the tables in `schema`, so a failure is repeated by its seed.

use fastrand::Rng;

use super::{
    Signal,
    schema::{self, Field, Kind, Message, Presence},
    wire::{Fields, WireType, put_varint, tag},
};

/// Unknown fields have numbers from here on.
const UNKNOWN: u32 = 1000;

/// Which liberties a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OneOfs {
    /// A metric keeps to one kind of data, so that every data point counts.
    Kept,
    /// Any oneof may be set to another member.
    Mixed,
}

/// A valid request of a few items, hundred to some thousand bytes.
pub(crate) fn request(signal: Signal, seed: u64, one_ofs: OneOfs) -> Vec<u8> {
    let mut wild = Wild { rng: Rng::with_seed(seed), one_ofs };
    wild.message(schema::request(signal), 0)
}

/// `bytes` with one to three bytes changed, put in or taken out.
pub(crate) fn damaged(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..=3) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..4) {
            0 => bytes.insert(at, rng.u8(..)),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(0..8),
            _ if at < bytes.len() => bytes[at] = rng.u8(..),
            _ => {}
        }
    }
    bytes
}

/// The unknown fields of a message and of those below it, with the numbers of the fields around
/// them, sorted.
pub(crate) fn unknown_fields(message: &Message, bytes: &[u8]) -> Vec<(Vec<u32>, Vec<u8>)> {
    let mut found = Vec::new();
    collect_unknown(message, bytes, &mut Vec::new(), &mut found);
    found.sort();
    found
}

fn collect_unknown(
    message: &Message,
    bytes: &[u8],
    path: &mut Vec<u32>,
    found: &mut Vec<(Vec<u32>, Vec<u8>)>,
) {
    for field in Fields::new(bytes).flatten() {
        match message.position(field.number).map(|position| message.fields[position].kind) {
            None => found.push((path.clone(), field.whole.to_vec())),
            Some(Kind::Message(of)) => {
                path.push(field.number);
                collect_unknown(of, field.bytes(), path, found);
                path.pop();
            }
            Some(_) => {}
        }
    }
}

struct Wild {
    rng: Rng,
    one_ofs: OneOfs,
}

impl Wild {
    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.u32(0..one_in) == 0
    }

    fn message(&mut self, message: &Message, depth: usize) -> Vec<u8> {
        let members: Vec<u32> = message
            .fields
            .iter()
            .filter(|field| field.presence == Presence::OneOf)
            .map(|field| field.number)
            .collect();
        let chosen = self.rng.choice(members);
        let is_mixed = self.one_ofs == OneOfs::Mixed || message.name != "Metric";
        let mut fields = Vec::new();
        for field in message.fields {
            let times = match field.presence {
                _ if depth > 12 && matches!(field.kind, Kind::Message(_)) => 0,
                Presence::Repeated => self.rng.usize(0..=3),
                Presence::OneOf if chosen == Some(field.number) => self.rng.usize(1..=2),
                Presence::OneOf => usize::from(is_mixed && self.chance(12)),
                _ => [0, 1, 1, 1, 2][self.rng.usize(0..5)],
            };
            for _ in 0..times {
                fields.push(self.field(field, depth));
            }
        }
        while self.chance(8) {
            fields.push(self.unknown());
        }
        if !self.chance(4) {
            self.rng.shuffle(&mut fields);
        }
        fields.concat()
    }

    fn field(&mut self, field: &Field, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let wire_type = wire_type(field.kind);
        match field.kind {
            Kind::Message(of) => {
                let content = self.message(of, depth + 1);
                self.bytes(&mut out, field.number, &content);
            }
            Kind::String => {
                let text = self.text();
                self.bytes(&mut out, field.number, text.as_bytes());
            }
            Kind::Bytes => {
                let content: Vec<u8> = (0..self.rng.usize(0..9)).map(|_| self.rng.u8(..)).collect();
                self.bytes(&mut out, field.number, &content);
            }
            Kind::Id(len) => {
                let len = if self.chance(8) { 0 } else { len };
                let id = vec![self.rng.u8(..); len];
                self.bytes(&mut out, field.number, &id);
            }
            kind if field.presence == Presence::Repeated && self.chance(2) => {
                let mut packed = Vec::new();
                for _ in 0..self.rng.usize(0..4) {
                    self.number(&mut packed, kind);
                }
                self.bytes(&mut out, field.number, &packed);
            }
            kind => {
                self.varint(&mut out, tag(field.number, wire_type));
                self.number(&mut out, kind);
            }
        }
        out
    }

    fn number(&mut self, out: &mut Vec<u8>, kind: Kind) {
        let value = match self.rng.u8(0..6) {
            0 => 0,
            1 => 1,
            2 => u64::from(self.rng.u8(..)),
            3 => u64::from(self.rng.u32(..)),
            4 => self.rng.u64(..),
            _ => u64::MAX,
        };
        match wire_type(kind) {
            WireType::Varint => self.varint(out, value),
            WireType::Fixed32 => {
                let [low, _] = [value, value >> 32].map(|v| v & u64::from(u32::MAX));
                out.extend_from_slice(&low.to_le_bytes()[..4]);
            }
            _ => out.extend_from_slice(&value.to_le_bytes()),
        }
    }

    fn text(&mut self) -> String {
        let piece = ["a", "key", "\u{e9}", "\u{20ac}", "service.name"][self.rng.usize(0..5)];
        // Lengths around the first border of varints, now and then.
        let times = if self.chance(20) { self.rng.usize(60..140) } else { self.rng.usize(0..4) };
        piece.repeat(times)
    }

    fn unknown(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = self.rng.u32(UNKNOWN..1 << 29);
        if self.chance(6) {
            // Its end is a wire type of its own.
            let ends = [3, 4].map(|wire_type| (u64::from(number) << 3) | wire_type);
            self.varint(&mut out, ends[0]);
            out.extend(self.unknown());
            self.varint(&mut out, ends[1]);
            return out;
        }
        let kind = [Kind::Uint64, Kind::Fixed64, Kind::Fixed32, Kind::Bytes][self.rng.usize(0..4)];
        if matches!(kind, Kind::Bytes) {
            let text = self.text();
            self.bytes(&mut out, number, text.as_bytes());
        } else {
            self.varint(&mut out, tag(number, wire_type(kind)));
            self.number(&mut out, kind);
        }
        out
    }

    fn bytes(&mut self, out: &mut Vec<u8>, number: u32, content: &[u8]) {
        self.varint(out, tag(number, WireType::Len));
        self.varint(out, content.len() as u64);
        out.extend_from_slice(content);
    }

    /// A varint, now and then longer than need be.
    fn varint(&mut self, out: &mut Vec<u8>, value: u64) {
        let start = out.len();
        put_varint(out, value);
        let more = if self.chance(8) { self.rng.usize(0..=10 - (out.len() - start)) } else { 0 };
        for _ in 0..more {
            if let Some(last) = out.last_mut() {
                *last |= 0x80;
            }
            out.push(0);
        }
    }
}

fn wire_type(kind: Kind) -> WireType {
    match kind {
        Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => WireType::Len,
        Kind::Fixed32 => WireType::Fixed32,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => WireType::Fixed64,
        _ => WireType::Varint,
    }
}

pub(crate) mod oracle;
mod tests;
