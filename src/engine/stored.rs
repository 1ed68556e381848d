//! Payloads in a log on disk: how they get there, how they come back, and what their end does.
//!
//! A record is either *in hand* (its payload is in memory, with a claim among its receipts) or *waiting* to be read.
//! The claim settles the record when the payload ends as it should, and lets it wait again when it
//! does not. Receipts of those who wait for the delivery of a waiting record are kept here meanwhile.
//!
//! One task a store makes durable what was written: every half second, at the next twentieth of one where a journal waits
//! for it, at once where a sender does; all who came meanwhile share one sync. It writes down what is settled
//! twenty times a second. An idle store sleeps, but for a look a second at the age of what lies in it.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use prost::Message as _;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    net::seldom::Seldom,
    otlp::{
        Payload,
        payload::{Context, Outcome, Permit, Reason, Receipt, Receipts, Wait, settle_all},
    },
    storage::{
        AppendError, Held, Log, NewRecord, Place, Stored, Ticket,
        proto::{Header, Note},
    },
    telemetry::storage::LogStats,
};

/// How long written bytes may stay undurable, and settled records be forgotten by a crash.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);
const SAVE_INTERVAL: Duration = Duration::from_millis(50);
/// How often the age of what lies there is looked at.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// How long a record waits after the engine could not take it.
const PAUSE: Duration = Duration::from_secs(1);

/// Told whether what was appended before is durable now.
type Synced = Box<dyn FnOnce(bool) + Send>;

/// Who waits for the delivery of records that wait to be read, by number.
type Parked = HashMap<u64, Receipts>;

/// One log and what goes on around it.
pub struct Store {
    log: Arc<Log>,
    after_sync: Mutex<Vec<Synced>>,
    receipts: Mutex<Parked>,
    said: Seldom,
    /// Nothing is read before.
    pause: Mutex<Option<Instant>>,
    is_touched: AtomicBool,
    touched: Notify,
    sync_wanted: Notify,
    /// Told when a record begins to wait.
    pub(super) waiting: Notify,
}

impl Store {
    /// Around a log.
    pub fn new(log: Arc<Log>) -> Arc<Self> {
        Arc::new(Store {
            log,
            after_sync: Mutex::default(),
            receipts: Mutex::default(),
            said: Seldom::default(),
            pause: Mutex::default(),
            is_touched: AtomicBool::new(true),
            touched: Notify::new(),
            sync_wanted: Notify::new(),
            waiting: Notify::new(),
        })
    }

    /// The counters of the log.
    pub fn stats(&self) -> &Arc<LogStats> {
        self.log.stats()
    }

    /// Writes a payload down. It survives the process from here on.
    pub fn append(&self, payload: &Payload, place: Place) -> Result<Ticket, Reason> {
        let note = payload.context.as_deref().map(note_of).unwrap_or_default();
        self.append_with(payload, place, &note)
    }

    /// The same with a note of one's own.
    pub(super) fn append_with(
        &self,
        payload: &Payload,
        place: Place,
        note: &Note,
    ) -> Result<Ticket, Reason> {
        let appended = self.log.append(new_record(payload, place, &note.encode_to_vec()));
        self.touch();
        appended.map_err(|error| self.reason(&error))
    }

    /// The same with many payloads, a result each.
    pub(super) fn append_all<'a>(
        &self,
        payloads: impl Iterator<Item = (&'a Payload, Place)> + Clone,
    ) -> Vec<Result<Ticket, Reason>> {
        let note = |payload: &Payload| payload.context.as_deref().map(note_of).unwrap_or_default();
        let notes: Vec<Vec<u8>> =
            payloads.clone().map(|(payload, _)| note(payload).encode_to_vec()).collect();
        let records: Vec<NewRecord<'_>> = payloads
            .zip(&notes)
            .map(|((payload, place), note)| new_record(payload, place, note))
            .collect();
        let appended = self.log.append_all(&records);
        self.touch();
        appended.into_iter().map(|one| one.map_err(|error| self.reason(&error))).collect()
    }

    /// What senders are told, and once a minute the log.
    fn reason(&self, error: &AppendError) -> Reason {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let (reason, remedy) = match error {
            AppendError::TooLarge(_) => return Reason::TooLarge,
            AppendError::Full { .. } => (
                Reason::StorageFull,
                "Data is refused until some is delivered. Raise `max_size_mib`, or set `overflow: drop_oldest`.",
            ),
            AppendError::Io(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => (
                Reason::StorageFull,
                "Data is refused until some is delivered. Free some space; with a `max_size_mib` below what the \
                 disk has it does not run full.",
            ),
            AppendError::Io(_) => {
                (Reason::StorageFailed, "Data is refused for as long as the storage fails.")
            }
        };
        if self.said.is_due() {
            tracing::error!(log = %self.stats().id, %error, "{remedy}");
        }
        reason
    }

    /// Tells those who wait for records that nobody will ever read.
    fn end_lost(&self) {
        let lost = self.log.lost();
        if lost.is_empty() {
            return;
        }
        let why = |number: &u64| {
            let found = lost.iter().find(|(numbers, _)| numbers.contains(number));
            found.map(|(_, reason)| *reason)
        };
        let ended: Vec<_> = lock(&self.receipts)
            .extract_if(|number, _| why(number).is_some())
            .filter_map(|(number, receipts)| Some((receipts, why(&number)?)))
            .collect();
        for (receipts, reason) in ended {
            settle_all(receipts, Outcome::Failed(reason));
        }
    }

    /// To be held from before records are appended that wait, until they are parked.
    pub(super) fn parking(&self) -> Parking<'_> {
        Parking { receipts: lock(&self.receipts), waiting: &self.waiting }
    }

    /// How much of the log is not settled.
    pub(super) fn held(&self) -> Held {
        self.log.held()
    }

    /// Whether a record waits to be read.
    pub fn has_waiting(&self) -> bool {
        self.log.has_waiting()
    }

    /// Until when nothing is to be read.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        lock(&self.pause).filter(|until| *until > Instant::now())
    }

    /// Reads records that wait, in order, until they have so many bytes. Blocks.
    fn take(&self, bytes: u64) -> VecDeque<Stored> {
        let (mut found, mut sum) = (VecDeque::new(), 0);
        while sum < bytes {
            match self.log.take() {
                Ok(Some(stored)) => {
                    sum += stored.ticket.bytes;
                    found.push_back(stored);
                }
                Ok(None) => break,
                Err(error) => {
                    self.stats().read_errors.add(1);
                    tracing::error!(log = %self.stats().id, %error, "cannot read the storage");
                    self.pause();
                    break;
                }
            }
        }
        self.end_lost();
        found
    }

    /// A payload again, paid for by `permit`, with its claim and those who wait for it.
    pub(super) fn payload(
        self: &Arc<Self>,
        stored: Stored,
        permit: Option<Permit>,
        wait: Wait,
    ) -> Payload {
        let Stored { ticket, signal, note, body, .. } = stored;
        let mut receipts = lock(&self.receipts).remove(&ticket.number).unwrap_or_default();
        receipts.push(self.claim(ticket, wait));
        let mut payload = Payload::new(signal, body, ticket.items, permit);
        (payload.receipts, payload.context) = (receipts, context_of(&note));
        payload
    }

    /// A receipt whose end is the record's: settled after delivery and after a decision, waiting again
    /// where skep itself had no room.
    pub fn claim(self: &Arc<Self>, ticket: Ticket, wait: Wait) -> Receipt {
        let store = Arc::clone(self);
        Receipt::new(wait, Box::new(move |outcome| store.ended(&ticket, outcome)))
    }

    fn ended(&self, ticket: &Ticket, outcome: Outcome) {
        match outcome {
            // It stays for the next process. Reading it again in this one could meet the same fault
            // for ever.
            Outcome::LeftOnDisk | Outcome::Failed(Reason::Panicked | Reason::Unaccounted) => {}
            // Or for whoever a reload has put in the place of the one that has given it up.
            Outcome::Failed(Reason::ShuttingDown) => {
                self.log.put_back(ticket);
                self.waiting.notify_one();
            }
            Outcome::Failed(
                Reason::QueueFull
                | Reason::OverBudget
                | Reason::Limited
                | Reason::StorageFull
                | Reason::StorageFailed,
            ) => {
                self.pause();
                self.log.put_back(ticket);
                self.waiting.notify_one();
            }
            Outcome::Delivered | Outcome::Filtered | Outcome::Failed(_) | Outcome::Postponed(_) => {
                self.log.settle(ticket);
                self.touch();
            }
        }
    }

    fn pause(&self) {
        *lock(&self.pause) = Some(Instant::now() + PAUSE);
    }

    // ---- durability ------------------------------------------------------------------------

    /// Calls back once everything that was appended before is durable, or cannot be made so; `is_urgent`
    /// does not wait for the next half second.
    pub fn after_sync(&self, is_urgent: bool, synced: Synced) {
        lock(&self.after_sync).push(synced);
        if is_urgent {
            self.sync_wanted.notify_one();
        }
        self.touch();
    }

    fn touch(&self) {
        if !self.is_touched.swap(true, Ordering::SeqCst) {
            self.touched.notify_one();
        }
    }

    /// Keeps the log until `closed` is raised; then once more.
    pub(super) async fn keep(self: Arc<Self>, mut closed: watch::Receiver<bool>) {
        let mut next_sync = Instant::now() + SYNC_INTERVAL;
        let mut owes_sync = true;
        while !*closed.borrow() {
            owes_sync |= self.is_touched.swap(false, Ordering::SeqCst);
            if !owes_sync {
                let has_records = self.held().records > 0;
                tokio::select! {
                    () = self.touched.notified() => {}
                    () = tokio::time::sleep(SHOW_INTERVAL), if has_records => {
                        self.show_age();
                        continue;
                    }
                    _ = closed.changed() => break,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(SAVE_INTERVAL) => {}
                () = self.sync_wanted.notified() => next_sync = Instant::now(),
                _ = closed.changed() => break,
            }
            let is_due = next_sync <= Instant::now() || !lock(&self.after_sync).is_empty();
            if is_due {
                next_sync = Instant::now() + SYNC_INTERVAL;
                owes_sync = false;
            }
            self.work(is_due).await;
        }
        self.work(true).await;
    }

    async fn work(self: &Arc<Self>, syncs: bool) {
        let store = Arc::clone(self);
        // A panic of the log is told by its counters staying where they are; nothing to mend here.
        let _ = tokio::task::spawn_blocking(move || store.write_out(syncs)).await;
    }

    fn write_out(&self, syncs: bool) {
        self.end_lost();
        if syncs {
            let waiting = std::mem::take(&mut *lock(&self.after_sync));
            let result = self.log.sync();
            if let Err(error) = &result {
                tracing::error!(log = %self.stats().id, %error, "cannot sync the storage");
            }
            for synced in waiting {
                synced(result.is_ok());
            }
        }
        if let Err(error) = self.log.save() {
            self.stats().write_errors.add(1);
            tracing::warn!(
                log = %self.stats().id,
                %error,
                "What was delivered cannot be noted; after a crash it is delivered again."
            );
        }
        self.show_age();
    }

    /// Says how many items of it are neither delivered nor on disk; how many.
    pub(super) fn tell_lost(&self) -> u64 {
        let lost_items = self.log.at_risk();
        if lost_items > 0 {
            tracing::error!(
                log = %self.stats().id,
                lost_items,
                "Data that was not delivered is not on disk either: its files are gone, or cannot be synced."
            );
        }
        lost_items
    }

    fn show_age(&self) {
        self.stats().oldest_age.set(self.log.oldest(SystemTime::now()).unwrap_or(0));
    }

    /// The log.
    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Nobody needs the record any more.
    pub(super) fn settle(&self, ticket: &Ticket) {
        self.log.settle(ticket);
        self.touch();
    }
}

/// How the wait for a sync ends.
pub(super) fn durable(is_durable: bool) -> Outcome {
    if is_durable { Outcome::Delivered } else { Outcome::Failed(Reason::StorageFailed) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn note_of(context: &Context) -> Note {
    let header =
        |(name, value): &(String, String)| Header { name: name.clone(), value: value.clone() };
    Note {
        metadata: context.metadata.iter().map(header).collect(),
        peer: context.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        ..Note::default()
    }
}

/// The request that brought the data. None where the record does not know it, or cannot be read: the data
/// goes on without.
pub(super) fn context_of(note: &[u8]) -> Option<Arc<Context>> {
    let note = Note::decode(note).ok()?;
    if note.metadata.is_empty() && note.peer.is_empty() {
        return None;
    }
    Some(Arc::new(Context {
        metadata: note.metadata.into_iter().map(|header| (header.name, header.value)).collect(),
        peer: note.peer.parse().ok(),
        arrived: Instant::now().into_std(),
    }))
}

fn new_record<'a>(payload: &'a Payload, place: Place, note: &'a [u8]) -> NewRecord<'a> {
    NewRecord {
        signal: payload.signal,
        items: payload.items,
        note,
        body: &payload.body,
        time: SystemTime::now(),
        place,
    }
}

/// Keeps readers from a record, and the news of its loss from those who wait for it, until it is known who does.
pub(super) struct Parking<'a> {
    receipts: MutexGuard<'a, Parked>,
    waiting: &'a Notify,
}

impl Parking<'_> {
    /// Says that the payload of a record is in nobody's memory any more; `receipts` end with its delivery.
    pub(super) fn park(&mut self, ticket: &Ticket, receipts: Receipts) {
        if !receipts.is_empty() {
            self.receipts.insert(ticket.number, receipts);
        }
        self.waiting.notify_one();
    }
}

/// Records on their way from the disk to somebody's hands. Whoever wanted them may be gone when they
/// come, or go before it has them all: what is left then waits again.
pub(super) struct Read {
    store: Arc<Store>,
    records: VecDeque<Stored>,
}

impl Iterator for Read {
    type Item = Stored;

    fn next(&mut self) -> Option<Stored> {
        self.records.pop_front()
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        if self.records.is_empty() {
            return;
        }
        self.records.iter().for_each(|stored| self.store.log.put_back(&stored.ticket));
        self.store.waiting.notify_one();
    }
}

/// Reads a part of what waits, off the io threads.
pub(super) async fn read(store: Arc<Store>, bytes: u64) -> Option<Read> {
    let read = move || {
        let records = store.take(bytes);
        Read { store, records }
    };
    // After a panic of the log nothing was read.
    tokio::task::spawn_blocking(read).await.ok()
}

#[cfg(test)]
mod tests;
