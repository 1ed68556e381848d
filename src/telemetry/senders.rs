//! Who sends to this process, and whose requests never become data: a table for pages, for the
//! control plane and for the first line of the log about each service.
//!
//! Every receiver reports through two calls. A request that is understood is reported by the engine
//! with what its resource says ([`Senders::of_data`]): the sender is a service. A request that is
//! turned away before that is reported with the reason in words ([`Senders::turned_away`]). Then
//! all that is known of its sender is its address and its `User-Agent`.
//!
//! The table has [`MOST`] entries. For one more, the sender that was seen least recently goes, and
//! is counted. Nothing here decides what happens to data.
//!
//! The cost is per request: a hash of what identifies the sender, and a lookup under a lock that
//! readers share; `sender_known` in `benches/engine.rs` has both. An entry is found by its hash
//! alone. The hash is keyed for each process, so nobody can choose names that meet in one entry.

mod names;
mod sender;

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _},
    net::{IpAddr, SocketAddr},
    sync::{Arc, RwLock},
};

use foldhash::fast::{FixedState, RandomState};
use http::HeaderValue;
use tokio::time::Instant;

pub use self::{
    names::{Likeness, is_unnamed, nearest},
    sender::{Refusal, Sender, Sighting, Tally, WINDOW, Who},
};
use super::number::Number;
use crate::{
    otlp::view::{KeyValue, Resource, Text, Value},
    sync::{read, write},
};

/// Most senders that are remembered. An entry takes less than 2 KiB.
pub const MOST: usize = 512;

/// What the connection and the head of a request say of its sender.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// `grpc`, `http` or `udp`; empty where the request did not get that far.
    pub transport: &'static str,
    /// Address; `None` on a unix socket.
    pub peer: Option<SocketAddr>,
    /// The `User-Agent`.
    pub agent: Option<HeaderValue>,
    /// Whether anybody may send at its port, such as pages in browsers. The table does not tell
    /// such callers apart, and does not have their addresses.
    pub is_stranger: bool,
    /// What the receiver made OTLP of, such as `segments`; `None` for OTLP.
    pub foreign: Option<&'static str>,
}

impl Caller {
    /// What the table has of its address.
    fn shown_peer(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip()).filter(|_| !self.is_stranger)
    }

    /// What the table has of its `User-Agent`.
    fn shown_agent(&self) -> &[u8] {
        let agent = self.agent.as_ref().filter(|_| !self.is_stranger);
        agent.map_or(&[], HeaderValue::as_bytes)
    }
}

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Component id of the receiver.
    pub receiver: &'a str,
    /// Its sender.
    pub caller: &'a Caller,
    /// `proto` or `json`.
    pub encoding: &'static str,
    /// `gzip`; empty without compression.
    pub compression: &'static str,
}

/// What a resource says of the service that it describes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named<'a> {
    /// `service.name`; empty without one.
    pub service: &'a [u8],
    /// `telemetry.sdk.name`.
    pub sdk: &'a [u8],
    /// `telemetry.sdk.language`.
    pub language: &'a [u8],
    /// `telemetry.sdk.version`.
    pub version: &'a [u8],
}

impl<'a> Named<'a> {
    /// Reads a resource. The first attribute of a key counts.
    pub fn of(resource: &Resource<'a>) -> Self {
        let (mut named, mut found) = (Named::default(), 0);
        for attribute in resource.attributes() {
            let KeyValue { key: Text(key), value: Some(Value::String(Text(text))), .. } = attribute
            else {
                continue;
            };
            let place = match key {
                b"service.name" => &mut named.service,
                b"telemetry.sdk.name" => &mut named.sdk,
                b"telemetry.sdk.language" => &mut named.language,
                b"telemetry.sdk.version" => &mut named.version,
                _ => continue,
            };
            if place.is_empty() {
                *place = text;
                found += 1;
            }
            if found == 4 {
                break;
            }
        }
        named
    }
}

/// The table. All parts of a process share one.
#[derive(Debug)]
pub struct Senders {
    start: Instant,
    hasher: RandomState,
    table: RwLock<HashMap<u64, Arc<Sender>, FixedState>>,
    /// Senders that had to go for others.
    forgotten: Number,
}

impl Default for Senders {
    fn default() -> Self {
        Senders {
            start: Instant::now(),
            hasher: RandomState::default(),
            table: RwLock::default(),
            forgotten: Number::default(),
        }
    }
}

impl Senders {
    /// Milliseconds from the start of the process to `now`.
    pub fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The service that sends a request, which is noted as seen.
    pub fn of_data(&self, origin: &Origin<'_>, named: &Named<'_>, now: Instant) -> Arc<Sender> {
        let mut hasher = self.hasher.build_hasher();
        for text in [named.service, named.sdk, named.language, named.version] {
            hasher.write(text);
            hasher.write_usize(text.len());
        }
        hasher.write(origin.encoding.as_bytes());
        hasher.write(origin.compression.as_bytes());
        let key = with_place(hasher, origin.receiver, origin.caller);
        self.entry(key, now, || Who::of_service(origin, named))
    }

    /// Notes a request that was turned away, in words for people.
    pub fn turned_away(&self, receiver: &str, caller: &Caller, words: &str) {
        let now = Instant::now();
        let mut hasher = self.hasher.build_hasher();
        hasher.write(caller.shown_agent());
        hasher.write_u8(1);
        let key = with_place(hasher, receiver, caller);
        let sender = self.entry(key, now, || Who::of_agent(receiver, caller));
        sender.turned_away(words, self.millis(now));
    }

    fn entry(&self, key: u64, now: Instant, who: impl FnOnce() -> Who) -> Arc<Sender> {
        let millis = self.millis(now);
        let known = read(&self.table).get(&key).cloned();
        let sender = known.unwrap_or_else(|| self.new_entry(key, Sender::new(who(), millis)));
        sender.seen(millis);
        sender
    }

    /// Adds a sender, unless another thread has just done so.
    fn new_entry(&self, key: u64, sender: Sender) -> Arc<Sender> {
        let mut table = write(&self.table);
        if table.len() >= MOST && !table.contains_key(&key) {
            let quietest = table.iter().min_by_key(|(_, sender)| sender.last_seen());
            if let Some(key) = quietest.map(|(key, _)| *key) {
                table.remove(&key);
                self.forgotten.add(1);
            }
        }
        Arc::clone(table.entry(key).or_insert_with(|| Arc::new(sender)))
    }

    /// Notes what the counters of all senders read now, so that rates can be told. Call it every
    /// few seconds.
    pub fn note_counters(&self, now: Instant) {
        let millis = self.millis(now);
        for sender in self.all() {
            sender.note_counters(millis);
        }
    }

    /// All senders as they are now, those that were seen last first.
    pub fn sightings(&self, now: Instant) -> Vec<Sighting> {
        let millis = self.millis(now);
        let mut all: Vec<Sighting> =
            self.all().iter().map(|sender| sender.sighting(millis)).collect();
        // Equal ages in an order that does not change from one reading to the next.
        all.sort_by(|a, b| {
            let order = |one: &Sighting| (one.last_age.as_secs(), u64::MAX - one.total.items());
            order(a).cmp(&order(b)).then_with(|| a.who.cmp(&b.who))
        });
        all
    }

    /// How many senders had to go for others since the start.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.read()
    }

    fn all(&self) -> Vec<Arc<Sender>> {
        read(&self.table).values().cloned().collect()
    }
}

/// Completes a key with what every request has.
fn with_place(mut hasher: impl std::hash::Hasher, receiver: &str, caller: &Caller) -> u64 {
    hasher.write(receiver.as_bytes());
    hasher.write(caller.transport.as_bytes());
    match caller.shown_peer() {
        Some(IpAddr::V4(peer)) => hasher.write_u32(peer.to_bits()),
        Some(IpAddr::V6(peer)) => hasher.write_u128(peer.to_bits()),
        None => hasher.write_u8(0),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
