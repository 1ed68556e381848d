//! Payloads in a log on disk: writes them, reads them back, and settles their records.
//!
//! A record is either *in hand* (its payload is in memory, with a claim among its receipts) or
//! *waiting* to be read. When the payload ends well, the claim settles the record; otherwise the
//! record waits again. While a record waits, the receipts of those who wait for its delivery are
//! kept here. Records that a panic has dropped are tried apart by the next process
//! (`suspects.rs`).
//!
//! Each store has one task, the keeper, which syncs: every half second, within 50 ms if a journal
//! waits for it, at once if a sender does. Requests that arrive meanwhile share one sync. It also
//! writes `settled` up to twenty times a second. For an idle store it only updates the age of the
//! oldest record, once a second, and looks whether the directory is still there. A panic of the
//! keeper ends the process ([`Panics`]).

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use prost::Message as _;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    notes::{context_of, note_of},
    suspects::Suspects,
};
use crate::{
    engine::panics::Panics,
    net::rate_limit::RateLimit,
    otlp::{
        Payload,
        payload::{Outcome, Permit, Reason, Receipt, Receipts, Wait, settle_all},
    },
    storage::{AppendError, Held, Log, NewRecord, Place, Stored, Ticket, proto::Note},
    sync,
    telemetry::storage::LogStats,
};

/// How long written bytes may stay undurable, and settled records be forgotten by a crash.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);
const SAVE_INTERVAL: Duration = Duration::from_millis(50);
/// How often the age of the oldest record is updated, if there is one.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// How often an empty store looks whether its directory is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long reading pauses after the engine could not take a record.
const PAUSE: Duration = Duration::from_secs(1);

/// Called with whether everything that was appended before is durable.
type Synced = Box<dyn FnOnce(bool) + Send>;

/// Who is told of a sync.
struct AfterSync {
    synced: Synced,
    /// A record that a journal keeps if the sync fails.
    in_journal: Option<Ticket>,
}

/// Receipts of those who wait for the delivery of waiting records, by number.
type Parked = HashMap<u64, Receipts>;

/// One log, with its keeper and the receipts of waiting records.
pub struct Store {
    log: Arc<Log>,
    suspects: Suspects,
    after_sync: Mutex<Vec<AfterSync>>,
    /// Records that could not be synced, and that a journal still has.
    left_to_journals: Mutex<Vec<Ticket>>,
    receipts: Mutex<Parked>,
    said: RateLimit,
    said_no_room: RateLimit,
    /// When a record was refused last.
    refused: Mutex<Option<Instant>>,
    /// Reading pauses until then.
    pause: Mutex<Option<Instant>>,
    is_touched: AtomicBool,
    touched: Notify,
    sync_wanted: Notify,
    panics: Panics,
    /// Notified when a record begins to wait.
    pub(in crate::engine) waiting: Notify,
}

impl Store {
    /// A store around `log`. If the log panics, that is reported to `panics`.
    pub fn new(log: Arc<Log>, panics: Panics) -> Arc<Self> {
        let suspects = Suspects::load(&log);
        let store = Store {
            log,
            suspects,
            after_sync: Mutex::default(),
            left_to_journals: Mutex::default(),
            receipts: Mutex::default(),
            said: RateLimit::default(),
            said_no_room: RateLimit::default(),
            refused: Mutex::default(),
            pause: Mutex::default(),
            is_touched: AtomicBool::new(true),
            touched: Notify::new(),
            sync_wanted: Notify::new(),
            panics,
            waiting: Notify::new(),
        };
        store.try_suspects();
        Arc::new(store)
    }

    /// The counters of the log.
    pub fn stats(&self) -> &Arc<LogStats> {
        self.log.stats()
    }

    /// Appends a payload. From now on it survives the process.
    pub fn append(&self, payload: &Payload, place: Place) -> Result<Ticket, Reason> {
        let note = payload.context.as_deref().map(note_of).unwrap_or_default();
        self.append_with(payload, place, &note)
    }

    /// The same with the caller's note.
    pub(in crate::engine) fn append_with(
        &self,
        payload: &Payload,
        place: Place,
        note: &Note,
    ) -> Result<Ticket, Reason> {
        let appended = self.log.append(new_record(payload, place, &note.encode_to_vec()));
        self.touch();
        appended.map_err(|error| self.reason(&error))
    }

    /// Appends many payloads, with one result each.
    pub(in crate::engine) fn append_all<'a>(
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

    /// The reason for senders. Logs the error once a minute.
    fn reason(&self, error: &AppendError) -> Reason {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let (reason, remedy) = match error {
            AppendError::TooLarge(_) => return Reason::TooLarge,
            AppendError::Full { .. } => (
                Reason::StorageFull,
                "Data is refused until some is delivered. Raise `max_size_mib`, or set `overflow: drop_oldest`.",
            ),
            AppendError::Io(error)
                if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
            {
                (
                    Reason::StorageFull,
                    "Data is refused until some is delivered. Free some space; with a `max_size_mib` below what the \
                 disk has it does not run full.",
                )
            }
            AppendError::Io(_) => {
                (Reason::StorageFailed, "Data is refused for as long as the storage fails.")
            }
        };
        *sync::lock(&self.refused) = Some(Instant::now());
        if self.said.is_due() {
            tracing::error!(log = %self.stats().id, %error, "{remedy}");
        }
        reason
    }

    /// Whether the log has refused a record less than a second ago, because it is full or fails.
    pub(in crate::engine) fn is_refusing(&self) -> bool {
        sync::lock(&self.refused).is_some_and(|at| at.elapsed() < PAUSE)
    }

    /// Ends the receipts of records that were lost.
    fn end_lost(&self) {
        let lost = self.log.lost();
        if lost.is_empty() {
            return;
        }
        let why = |number: &u64| {
            let found = lost.iter().find(|(numbers, _)| numbers.contains(number));
            found.map(|(_, reason)| *reason)
        };
        let ended: Vec<_> = sync::lock(&self.receipts)
            .extract_if(|number, _| why(number).is_some())
            .filter_map(|(number, receipts)| Some((receipts, why(&number)?)))
            .collect();
        for (receipts, reason) in ended {
            settle_all(receipts, Outcome::Failed(reason));
        }
        for (numbers, _) in lost {
            self.suspects.acquit(numbers);
        }
    }

    /// Lets suspects be read once nothing else waits.
    fn try_suspects(&self) {
        if self.suspects.try_next() {
            self.waiting.notify_one();
        }
    }

    /// Hold this from before waiting records are appended until they are parked.
    pub(in crate::engine) fn parking(&self) -> Parking<'_> {
        Parking { receipts: sync::lock(&self.receipts), waiting: &self.waiting }
    }

    /// How much of the log is not settled.
    pub(in crate::engine) fn held(&self) -> Held {
        self.log.held()
    }

    /// Whether a record waits to be read.
    pub fn has_waiting(&self) -> bool {
        self.log.has_waiting()
    }

    /// When reading may resume, if it is paused.
    pub(in crate::engine) fn paused_until(&self) -> Option<Instant> {
        sync::lock(&self.pause).filter(|until| *until > Instant::now())
    }

    /// Reads waiting records in order, up to `bytes` bytes. Blocks.
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
        self.try_suspects();
        found
    }

    /// Makes a payload from a record, paid for by `permit`, with its claim and the receipts of
    /// those who wait for it.
    pub(in crate::engine) fn payload(
        self: &Arc<Self>,
        stored: Stored,
        permit: Option<Permit>,
        wait: Wait,
    ) -> Payload {
        let Stored { ticket, signal, note, body, .. } = stored;
        let mut receipts = sync::lock(&self.receipts).remove(&ticket.number).unwrap_or_default();
        receipts.push(self.claim(ticket, wait));
        let mut payload = Payload::new(signal, body, ticket.items, permit);
        (payload.receipts, payload.context) = (receipts, context_of(&note));
        payload
    }

    /// A receipt whose outcome decides about the record: it is settled after delivery or a drop by
    /// the configuration, and waits again if skep itself had no room.
    pub fn claim(self: &Arc<Self>, ticket: Ticket, wait: Wait) -> Receipt {
        let store = Arc::clone(self);
        Receipt::new(wait, Box::new(move |outcome| store.ended(&ticket, outcome)))
    }

    fn ended(&self, ticket: &Ticket, outcome: Outcome) {
        match outcome {
            // The record stays for the next process. In this one, reading it again could fail in
            // the same way for ever.
            Outcome::Failed(Reason::Panicked) => {
                self.suspects.accuse(ticket.number);
                self.touch();
            }
            Outcome::LeftOnDisk | Outcome::Failed(Reason::Unaccounted) => {}
            // After a reload, the successor of the component that gave it up reads it.
            Outcome::Failed(Reason::ShuttingDown) => {
                self.log.put_back(ticket);
                self.waiting.notify_one();
            }
            Outcome::Failed(
                reason @ (Reason::QueueFull
                | Reason::OverBudget
                | Reason::Limited
                | Reason::StorageFull
                | Reason::StorageFailed),
            ) => {
                self.pause();
                self.tell_no_room(reason);
                self.log.put_back(ticket);
                self.waiting.notify_one();
            }
            Outcome::Delivered | Outcome::Filtered | Outcome::Failed(_) | Outcome::Postponed(_) => {
                self.settle(ticket);
                self.try_suspects();
            }
        }
    }

    fn pause(&self) {
        *sync::lock(&self.pause) = Some(Instant::now() + PAUSE);
    }

    /// Logs once a minute that records found no room in memory. One that needs more than there is
    /// would wait for ever, unseen.
    fn tell_no_room(&self, reason: Reason) {
        if matches!(reason, Reason::OverBudget | Reason::Limited) && self.said_no_room.is_due() {
            tracing::warn!(
                log = %self.stats().id,
                reason = reason.name(),
                "Data that was read back from disk found no room in memory, and waits there. If this goes on \
                 without load, a request needs more memory than there is once processors have changed it: raise \
                 `limit_mib` of `memory_limiter`."
            );
        }
    }

    // ---- durability ------------------------------------------------------------------------

    /// Calls `synced` after the next sync, successful or not. If `is_urgent`, the sync starts at
    /// once.
    pub fn after_sync(&self, is_urgent: bool, synced: Synced) {
        self.push_after_sync(is_urgent, AfterSync { synced, in_journal: None });
    }

    /// The same for a record whose data a journal keeps until it is durable here.
    pub(in crate::engine) fn after_sync_of(&self, ticket: Ticket, is_urgent: bool, synced: Synced) {
        self.push_after_sync(is_urgent, AfterSync { synced, in_journal: Some(ticket) });
    }

    fn push_after_sync(&self, is_urgent: bool, after: AfterSync) {
        sync::lock(&self.after_sync).push(after);
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

    /// Syncs and saves the log until `closed` is raised, and once more then. After a panic of the
    /// log it ends: what the log has in memory can no longer be trusted to be written down.
    pub(in crate::engine) async fn keep(self: Arc<Self>, mut closed: watch::Receiver<bool>) {
        let _alarm = self.panics.alarm(self.part());
        let mut next_sync = Instant::now() + SYNC_INTERVAL;
        let mut owes_sync = true;
        while !*closed.borrow() {
            owes_sync |= self.is_touched.swap(false, Ordering::SeqCst);
            if !owes_sync {
                let is_empty = self.held().records == 0;
                let interval = if is_empty { LOOK_INTERVAL } else { SHOW_INTERVAL };
                tokio::select! {
                    () = self.touched.notified() => {}
                    () = tokio::time::sleep(interval) => {
                        let store = Arc::clone(&self);
                        if self.blocking(move || store.look()).await.is_none() {
                            return;
                        }
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
            let is_due = next_sync <= Instant::now() || !sync::lock(&self.after_sync).is_empty();
            if is_due {
                next_sync = Instant::now() + SYNC_INTERVAL;
                owes_sync = false;
            }
            if self.work(is_due).await.is_none() {
                return;
            }
        }
        self.work(true).await;
    }

    async fn work(self: &Arc<Self>, syncs: bool) -> Option<()> {
        let store = Arc::clone(self);
        self.blocking(move || store.write_out(syncs)).await
    }

    /// Runs `work` off the io threads; `None` after a panic, which is reported.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let done = tokio::task::spawn_blocking(work).await;
        done.inspect_err(|error| self.panics.check(&self.part(), error)).ok()
    }

    /// Name of the store in reports of panics.
    fn part(&self) -> String {
        format!("storage {}", self.stats().id)
    }

    /// What an idle store does. A directory that is gone fails the next sync, so that from then on
    /// data is refused and not written to files without a name.
    fn look(&self) {
        self.show_age();
        if !self.note_directory() {
            self.write_out(true);
        }
    }

    /// Says when the directory is gone, and when it is back. Returns false if it has just gone.
    fn note_directory(&self) -> bool {
        let missing = &self.stats().missing;
        let was_missing = missing.read() == 1;
        match self.log.check() {
            Ok(()) if was_missing => {
                missing.set(0);
                tracing::info!(log = %self.stats().id, "The directory of a storage is back.");
            }
            Err(error) if !was_missing => {
                missing.set(1);
                tracing::error!(
                    log = %self.stats().id,
                    %error,
                    "The directory of a storage is gone. Until it is back, or skep is restarted, new data is \
                     refused, and what is not delivered before the end is lost."
                );
                return false;
            }
            _ => {}
        }
        true
    }

    fn write_out(&self, syncs: bool) {
        self.end_lost();
        if syncs {
            let waiting = std::mem::take(&mut *sync::lock(&self.after_sync));
            let result = self.log.sync();
            if let Err(error) = &result {
                self.note_directory();
                tracing::error!(log = %self.stats().id, %error, "cannot sync the storage");
            }
            if result.is_err() {
                let in_journals = waiting.iter().filter_map(|after| after.in_journal);
                sync::lock(&self.left_to_journals).extend(in_journals);
            }
            for after in waiting {
                (after.synced)(result.is_ok());
            }
        }
        if let Err(error) = self.log.save().and_then(|()| self.suspects.save()) {
            self.stats().write_errors.add(1);
            tracing::warn!(
                log = %self.stats().id,
                %error,
                "cannot persist delivery state; data may be delivered again after a crash"
            );
        }
        self.show_age();
    }

    /// Logs and returns how many of its items are neither delivered nor on disk. Items that a
    /// journal keeps because they could not be synced here are left out: if the journal's files are
    /// gone too, the journal counts them.
    pub(in crate::engine) fn tell_lost(&self) -> u64 {
        let lost_items = self.log.at_risk(&sync::lock(&self.left_to_journals));
        if lost_items > 0 {
            tracing::error!(
                log = %self.stats().id,
                lost_items,
                "undelivered data is not on disk either: its files are gone or cannot be synced"
            );
        }
        lost_items
    }

    fn show_age(&self) {
        self.stats().oldest_age.set(self.log.oldest(SystemTime::now()).unwrap_or(0));
    }

    /// The log.
    pub(in crate::engine) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Settles the record: it is no longer needed.
    pub(in crate::engine) fn settle(&self, ticket: &Ticket) {
        self.log.settle(ticket);
        self.suspects.acquit(ticket.number..ticket.number + 1);
        self.touch();
    }

    /// Which records a panic has dropped, or may have been about.
    pub(super) fn suspects(&self) -> &Suspects {
        &self.suspects
    }
}

/// The outcome for those who waited for a sync.
pub(in crate::engine) fn durable(is_durable: bool) -> Outcome {
    if is_durable { Outcome::Delivered } else { Outcome::Failed(Reason::StorageFailed) }
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

/// Blocks the reading of waiting records, and reports of their loss, until their receipts are kept.
pub(in crate::engine) struct Parking<'a> {
    receipts: MutexGuard<'a, Parked>,
    waiting: &'a Notify,
}

impl Parking<'_> {
    /// Leaves the payload of a record to the disk; `receipts` end with its delivery.
    pub(in crate::engine) fn park(&mut self, ticket: &Ticket, receipts: Receipts) {
        if !receipts.is_empty() {
            self.receipts.insert(ticket.number, receipts);
        }
        self.waiting.notify_one();
    }
}

/// Records that were read from disk. If the reader is dropped before it has taken them all, the
/// rest waits again.
pub(in crate::engine) struct Read {
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

/// Reads some of the waiting records, off the io threads; `None` after a panic.
pub(in crate::engine) async fn read(store: Arc<Store>, bytes: u64) -> Option<Read> {
    let reading = Arc::clone(&store);
    let read = move || {
        let records = reading.take(bytes);
        Read { store: reading, records }
    };
    store.blocking(read).await
}

#[cfg(test)]
mod tests;
