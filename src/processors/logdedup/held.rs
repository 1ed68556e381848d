//! The records that wait, one of each kind.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use foldhash::fast::RandomState;
use jiff::{Timestamp, tz::TimeZone};

use super::{Taken, fields::Field};
use crate::{
    otlp::{
        Payload, Signal,
        payload::Permit,
        wire::{bytes_field_len, put_bytes, put_header},
    },
    ottl::{
        Item, Tier, Value, content, key_value,
        message::{bytes, child, fields, number, put_entry, put_fixed64},
    },
    processors::series::{Account, Identities, Owners, Series},
};

/// Attributes with times.
const FIRST: &str = "first_observed_timestamp";
const LAST: &str = "last_observed_timestamp";

/// Memory of a record beside its bytes: in the lists, and the attributes that it gets.
const RECORD: usize = 768;

/// A record with how often it came.
#[derive(Debug)]
struct Record {
    /// Number of its resource and scope.
    owner: usize,
    bytes: Vec<u8>,
    count: u64,
    first: SystemTime,
    last: SystemTime,
}

/// A resource entry with one scope entry, without their records.
#[derive(Debug)]
struct Head {
    entry: Vec<u8>,
    scope: Vec<u8>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Held {
    count_attribute: String,
    zone: TimeZone,
    by_kind: HashMap<Series, usize, RandomState>,
    records: Vec<Record>,
    by_owner: HashMap<Series, usize, RandomState>,
    heads: Vec<Head>,
    account: Account,
    identities: Identities,
    owners: Owners,
    canonical: Vec<u8>,
}

impl Held {
    pub(super) fn new(count_attribute: String, zone: TimeZone) -> Self {
        Held {
            count_attribute,
            zone,
            by_kind: HashMap::default(),
            records: Vec::new(),
            by_owner: HashMap::default(),
            heads: Vec::new(),
            account: Account::default(),
            identities: Identities::default(),
            owners: Owners::default(),
            canonical: Vec::new(),
        }
    }

    /// Takes a record, or counts it if one of its kind is there.
    pub(super) fn take(
        &mut self,
        item: &Item<'_>,
        include: &[Field],
        now: SystemTime,
        payer: Option<&Permit>,
    ) -> Taken {
        let record = item.bytes(Tier::Item);
        let scope = self.owners.scope(&mut self.identities, item);
        let urls = [item.bytes(Tier::ResourceSchema), item.bytes(Tier::ScopeSchema)];
        let owner = Identities::texts(scope, &urls);
        self.canonical.clear();
        for (field, at) in include.iter().zip(0_u64..) {
            let before = self.canonical.len();
            if field.value(record, &mut self.canonical) {
                let len = (self.canonical.len() - before) as u64;
                self.canonical.extend(at.to_le_bytes());
                self.canonical.extend(len.to_le_bytes());
            }
        }
        let kind = if self.canonical.is_empty() {
            if let Some(body) = child(record, 5) {
                Value::read_cow(body).encode(&mut self.canonical);
            }
            let texts = [self.canonical.as_slice(), bytes(record, 3)];
            let scope = Identities::texts(scope, &texts);
            self.identities.record(scope, record, number(record, 2))
        } else {
            Identities::texts(scope, &[self.canonical.as_slice()]).series()
        };
        if let Some(known) = self.by_kind.get(&kind).and_then(|at| self.records.get_mut(*at)) {
            known.count += 1;
            known.last = now;
            return Taken::Again;
        }
        let known = self.by_owner.get(&owner.series()).copied();
        let head = if known.is_none() { head(item) } else { Head { entry: vec![], scope: vec![] } };
        let heads = 4 * (head.entry.len() + head.scope.len());
        if !self.account.takes(RECORD + 3 * record.len() + heads, payer) {
            return Taken::Full;
        }
        let owner = known.unwrap_or_else(|| {
            self.heads.push(head);
            self.by_owner.insert(owner.series(), self.heads.len() - 1);
            self.heads.len() - 1
        });
        self.by_kind.insert(kind, self.records.len());
        self.records.push(Record {
            owner,
            bytes: record.to_vec(),
            count: 1,
            first: now,
            last: now,
        });
        Taken::First
    }

    /// One request of all of them, which are forgotten; `None` if there are none.
    pub(super) fn payload(
        &mut self,
        now: SystemTime,
        mut counted: impl FnMut(u64),
    ) -> Option<Payload> {
        let mut records = std::mem::take(&mut self.records);
        let heads = std::mem::take(&mut self.heads);
        self.by_kind = HashMap::default();
        self.by_owner = HashMap::default();
        let permits = std::mem::take(&mut self.account).into_permits();
        if records.is_empty() {
            return None;
        }
        let items = records.len() as u64;
        records.sort_by_key(|record| record.owner);
        let mut body = Vec::new();
        let mut inner = Vec::new();
        for group in records.chunk_by(|one, other| one.owner == other.owner) {
            let Some(head) = group.first().and_then(|record| heads.get(record.owner)) else {
                continue;
            };
            inner.clear();
            for record in group {
                counted(record.count);
                let mut out = Vec::with_capacity(record.bytes.len() + 256);
                self.write(record, now, &mut out);
                put_bytes(&mut inner, 2, &out);
            }
            let scope = head.scope.len() + inner.len();
            let scope_field = bytes_field_len(2, scope);
            put_header(&mut body, 1, head.entry.len() + scope_field);
            body.extend_from_slice(&head.entry);
            put_header(&mut body, 2, scope);
            body.extend_from_slice(&head.scope);
            body.extend_from_slice(&inner);
        }
        Some(Payload::new(Signal::Logs, body.into(), items, permits))
    }

    /// Writes a record with how often it came.
    fn write(&self, record: &Record, now: SystemTime, out: &mut Vec<u8>) {
        let own = [self.count_attribute.as_str(), FIRST, LAST];
        put_fixed64(out, 1, nanos(now));
        for field in fields(&record.bytes).filter(|field| !matches!(field.number, 1 | 11)) {
            let key = content(&field, 6).map(|entry| key_value(entry).0);
            if key.is_none_or(|key| !own.iter().any(|own| own.as_bytes() == key)) {
                out.extend_from_slice(field.whole);
            }
        }
        put_fixed64(out, 11, nanos(record.first));
        let count = i64::try_from(record.count).unwrap_or(i64::MAX);
        put_entry(out, 6, self.count_attribute.as_bytes(), &Value::Int(count));
        for (key, time) in [(FIRST, record.first), (LAST, record.last)] {
            let text = self.shown(time);
            put_entry(out, 6, key.as_bytes(), &Value::Text(text.as_bytes().into()));
        }
    }

    /// A time in the form of RFC 3339, in the time zone of the configuration.
    fn shown(&self, time: SystemTime) -> String {
        let time = Timestamp::try_from(time).unwrap_or_default().to_zoned(self.zone.clone());
        let text = time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        text.strip_suffix("+00:00").map_or_else(|| text.clone(), |utc| format!("{utc}Z"))
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The entries around a record.
fn head(item: &Item<'_>) -> Head {
    let (mut entry, mut scope) = (Vec::new(), Vec::new());
    for (out, owner, url) in [
        (&mut entry, Tier::Resource, Tier::ResourceSchema),
        (&mut scope, Tier::Scope, Tier::ScopeSchema),
    ] {
        put_bytes(out, 1, item.bytes(owner));
        if !item.bytes(url).is_empty() {
            put_bytes(out, 3, item.bytes(url));
        }
    }
    Head { entry, scope }
}
