//! Which ends are kept, and what becomes of a letter that is sent again, with a backend that is
//! told what to say.

use std::{
    sync::{Mutex, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{oneshot, watch},
    task::{AbortHandle, JoinSet},
};

use super::*;
use crate::{
    component::{
        Backoff, BoxFuture, Delivery, Denial, ExportError, Exporter, Piece, Progress, Queue, Retry,
        Sent, Sizer, Work,
    },
    engine::{
        export::{
            dispatcher::Dispatcher,
            offload::Offload,
            queue::{Deps, ExportQueue},
        },
        panics::Panics,
    },
    otlp::{
        Signal,
        payload::{Body, Context, Receipt, Wait},
    },
    storage::{
        Folder, Log, Overflow, Room, Settings,
        letters::{DeskState, Letter, Selection},
    },
    telemetry::{Telemetry, storage::LogStats},
};

/// Answers what is set; nothing set: takes everything.
#[derive(Default)]
struct Backend {
    answer: Mutex<Option<Retry>>,
    hangs: AtomicBool,
}

impl Backend {
    fn set(&self, retry: Option<Retry>) {
        *self.answer.lock().unwrap() = retry;
    }
}

struct BackendExporter(Arc<Backend>);

impl Exporter for BackendExporter {
    type Encoded = Body;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Body>, ExportError> {
        Ok(work.last(work.rest(), 0))
    }

    fn send(&self, _: Body, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        if self.0.hangs.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        let answer = *self.0.answer.lock().unwrap();
        Box::pin(std::future::ready(match answer {
            None => Ok(Sent::default()),
            Some(retry) => Err(ExportError { retry, message: "no, and for good".to_owned() }),
        }))
    }
}

struct Rig {
    backend: Arc<Backend>,
    queue: Arc<ExportQueue>,
    letterbox: Arc<Letterbox>,
    stats: Arc<ExporterStats>,
    abandon: watch::Sender<bool>,
    dispatcher: AbortHandle,
    _running: JoinSet<u64>,
    _directory: tempfile::TempDir,
}

/// A request with one span that has no fields.
const SPAN: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];
/// Room for two letters.
const LIMIT: u64 = 350;

impl Rig {
    /// With a store of `limit` bytes; `senders_wait` for the result.
    fn new(limit: u64, senders_wait: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path(), 0o750).unwrap();
        let settings = Settings { segment_size: 1 << 20, overflow: Overflow::Block };
        let room = Arc::new(Room::new(limit));
        let log = Log::open(Arc::new(folder), settings, room, Arc::<LogStats>::default()).unwrap();
        let store = Store::new(log, Panics::channel().0);
        let letterbox = Arc::new(Letterbox::new("home", Signal::Traces, Arc::clone(store.log())));
        let telemetry = Arc::new(Telemetry::default());
        let stats = telemetry.exporter("home", Signal::Traces, "nowhere");
        let letters = DeadLetters::new(
            Arc::clone(&store),
            Arc::clone(&letterbox),
            Budget::new(1 << 20, Arc::clone(&telemetry)),
            Arc::clone(&stats),
            Kept { senders_wait, keeps_left_out: false },
        );
        let delivery = Delivery {
            queue: Some(Queue {
                consumers: 1,
                size: Some(10),
                sizer: Sizer::Requests,
                block_on_overflow: false,
                wait_for_result: senders_wait,
                batch: None,
                storage: None,
                dead_letters: Some("file_storage".to_owned()),
            }),
            retry: Some(Backoff {
                initial_interval: Duration::from_secs(1),
                randomization_factor: 0.0,
                multiplier: 1.0,
                max_interval: Duration::from_secs(1),
                max_elapsed_time: Some(Duration::from_secs(30)),
            }),
            timeout: None,
        };
        let deps = Deps {
            stats: Arc::clone(&stats),
            telemetry,
            offload: Offload::in_place(),
            spool: None,
            dead_letters: Some(letters),
            is_guarded: false,
            monthly: None,
        };
        let backend = Arc::new(Backend::default());
        let exporter = Arc::new(BackendExporter(Arc::clone(&backend)));
        let (queue, dispatcher) = Dispatcher::new(exporter, delivery, 1 << 20, deps);
        let (abandon, abandoned) = watch::channel(false);
        let mut running = JoinSet::new();
        let dispatcher = running.spawn(dispatcher.run(abandoned));
        Rig {
            backend,
            queue,
            letterbox,
            stats,
            abandon,
            dispatcher,
            _running: running,
            _directory: directory,
        }
    }

    /// Sends a payload; how it ends.
    async fn send(&self) -> Outcome {
        let (tell, told) = oneshot::channel();
        let answer = move |outcome| tell.send(outcome).unwrap();
        let mut payload = Payload::unpaid(Signal::Traces, Bytes::from_static(SPAN), 1);
        payload.receipts.push(Receipt::new(Wait::Delivery, Box::new(answer)));
        payload.context = Some(Arc::new(Context {
            metadata: vec![("tenant".to_owned(), "a".to_owned())],
            auth: Vec::new(),
            peer: Some("127.0.0.1:9".parse().unwrap()),
            arrived: std::time::Instant::now(),
        }));
        self.queue.enqueue(payload);
        told.await.unwrap()
    }

    fn letters(&self) -> Vec<Letter> {
        let mut pick = self.letterbox.pick(&Selection::default());
        std::iter::from_fn(|| pick.step().unwrap()).collect()
    }

    /// Sends the first letter again.
    async fn resend(&self) -> Fate {
        let letter = self.letters().swap_remove(0);
        assert!(self.letterbox.log().claim(&letter.stored.ticket));
        // The dispatcher opens the desk when it runs.
        tokio::task::yield_now().await;
        let desk = self.letterbox.desk().unwrap();
        assert_eq!(desk.state(), DeskState::Free);
        let (tell, told) = oneshot::channel();
        desk.resend(letter.stored, Box::new(move |fate| tell.send(fate).unwrap()));
        told.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_for_good_is_kept_with_the_reason() {
    for (answer, reason) in [
        (Retry::Never, Reason::BackendRefused),
        (Retry::Denied(Denial::Forbidden), Reason::Forbidden),
        (Retry::Split, Reason::TooLarge),
        (Retry::After(None), Reason::RetriesExhausted),
    ] {
        let rig = Rig::new(u64::MAX, false);
        rig.backend.set(Some(answer));
        assert_eq!(rig.send().await, Outcome::Failed(reason), "it ends as it always did");
        let letters = rig.letters();
        assert_eq!(letters.len(), 1);
        let note = &letters[0].note;
        assert_eq!((&*note.exporter, &*note.reason), ("home", reason.name()));
        assert_eq!((&*note.answer, &*note.peer), ("no, and for good", "127.0.0.1:9"));
        assert_eq!((&*note.metadata[0].name, &*note.metadata[0].value), ("tenant", "a"));
        assert_eq!((&*letters[0].stored.body, letters[0].stored.ticket.items), (SPAN, 1));
        assert_eq!((rig.stats.failed.read(), rig.stats.dead_lettered.read()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_its_sender_still_has_is_not_kept() {
    let rig = Rig::new(u64::MAX, true);
    rig.backend.set(Some(Retry::After(None)));
    assert_eq!(rig.send().await, Outcome::Failed(Reason::RetriesExhausted));
    assert!(rig.letters().is_empty());
    rig.backend.set(Some(Retry::Never));
    assert_eq!(rig.send().await, Outcome::Failed(Reason::BackendRefused));
    assert_eq!(rig.letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_by_the_end_is_not_kept() {
    let rig = Rig::new(u64::MAX, false);
    rig.backend.set(Some(Retry::After(None)));
    let (outcome, ()) = tokio::join!(rig.send(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.abandon.send_replace(true);
    });
    assert_eq!(outcome, Outcome::Failed(Reason::ShuttingDown));
    assert!(rig.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_sent_again_is_gone_or_has_the_new_reason() {
    let rig = Rig::new(u64::MAX, false);
    rig.backend.set(Some(Retry::Never));
    rig.send().await;
    rig.backend.set(Some(Retry::Split));
    assert_eq!(rig.resend().await, Fate::RefusedAgain(Reason::TooLarge));
    let letters = rig.letters();
    assert_eq!((letters.len(), letters[0].id.number), (1, 1), "it is not there twice");
    assert_eq!(letters[0].note.reason, "too_large");
    assert_eq!(letters[0].note.metadata[0].value, "a", "what is known of its request stays");
    rig.backend.set(None);
    assert_eq!(rig.resend().await, Fate::Delivered);
    assert!(rig.letters().is_empty());
    assert_eq!(rig.stats.sent.read(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_counted_and_loses_no_letter_that_it_has() {
    let rig = Rig::new(LIMIT, false);
    rig.backend.set(Some(Retry::Never));
    for _ in 0..3 {
        assert_eq!(rig.send().await, Outcome::Failed(Reason::BackendRefused));
    }
    let kept = rig.letters().len() as u64;
    assert!((1..3).contains(&kept), "{kept}");
    assert_eq!((rig.stats.failed.read(), rig.stats.dead_lettered.read()), (3, kept));
    assert_eq!(rig.stats.dead_letters_unkept.read(), 3 - kept);
    assert_eq!(rig.resend().await, Fate::Stayed(Reason::BackendRefused));
    assert_eq!(rig.letters().len() as u64, kept);
    rig.backend.set(None);
    assert_eq!(rig.resend().await, Fate::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_letter_on_its_way_at_the_end_stays() {
    let rig = Rig::new(u64::MAX, false);
    rig.backend.set(Some(Retry::Never));
    rig.send().await;
    rig.backend.hangs.store(true, Ordering::SeqCst);
    let end = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.dispatcher.abort();
    };
    let (fate, ()) = tokio::join!(rig.resend(), end);
    assert_eq!(fate, Fate::Stayed(Reason::Unaccounted));
    assert_eq!(rig.letters().len(), 1);
    rig.queue.close();
    assert_eq!(rig.letterbox.desk().unwrap().state(), DeskState::Closed);
}

#[test]
fn long_answers_are_cut_at_a_character() {
    assert_eq!(beginning("abc", 9), "abc");
    assert_eq!(beginning("a\u{e4}\u{e4}", 4), "a\u{e4}");
}
