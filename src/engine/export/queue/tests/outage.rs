//! A backend that is away for minutes, in virtual time: attempts, memory and log stay bounded,
//! nothing is lost, and once it is back everything leaves at once.

use std::sync::{Mutex, atomic::AtomicUsize};

use tokio::time::Instant;
use tracing_subscriber::{Layer, layer::SubscriberExt as _};

use super::*;
use crate::component::{Backoff, Piece, Retry, Work};

/// What an attempt costs while the backend is away.
#[derive(Clone, Copy)]
enum Absence {
    /// Connections are refused, or the name is not found.
    Refused,
    /// Nothing is answered: the time-out ends the attempt.
    Silent,
}

struct Away {
    absence: Absence,
    back_at: Instant,
    attempts: AtomicUsize,
    taken: Mutex<Vec<Instant>>,
}

struct Exporting(Arc<Away>);

impl Exporter for Exporting {
    type Encoded = Body;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Body>, ExportError> {
        Ok(work.last(work.rest(), 0))
    }

    fn send(&self, _: Body, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let away = Arc::clone(&self.0);
        away.attempts.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if Instant::now() < away.back_at {
                if matches!(away.absence, Absence::Silent) {
                    std::future::pending::<()>().await;
                }
                let message = "connection refused".to_owned();
                return Err(ExportError { retry: Retry::After(None), message });
            }
            away.taken.lock().unwrap().push(Instant::now());
            Ok(Sent::default())
        })
    }
}

/// Counts log lines.
struct Lines(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const MINUTES: u64 = 60;

/// Sends a request each second while the backend is away for so many seconds, and until all are
/// delivered.
async fn outage(absence: Absence, seconds: u64, spool: Option<Spool>) {
    let lines = Arc::new(AtomicUsize::new(0));
    let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&lines)));
    let _log = tracing::subscriber::set_default(subscriber);
    let telemetry = Arc::new(Telemetry::default());
    let is_guarded = spool.is_some();
    let deps = Deps {
        stats: telemetry.exporter("home", Signal::Traces, "nowhere"),
        telemetry,
        offload: Offload::in_place(),
        spool,
        dead_letters: None,
        is_guarded,
        monthly: None,
    };
    let settings = Queue {
        consumers: 10,
        size: (!is_guarded).then_some(1000),
        sizer: Sizer::Requests,
        block_on_overflow: false,
        wait_for_result: false,
        batch: None,
        storage: None,
        dead_letters: None,
    };
    let retry = Backoff {
        initial_interval: Duration::from_secs(5),
        randomization_factor: 0.5,
        multiplier: 1.5,
        max_interval: Duration::from_secs(30),
        max_elapsed_time: None,
    };
    let timeout = Some(Duration::from_secs(5));
    let delivery = Delivery { queue: Some(settings), retry: Some(retry), timeout };
    let away = Arc::new(Away {
        absence,
        back_at: Instant::now() + Duration::from_secs(seconds),
        attempts: AtomicUsize::new(0),
        taken: Mutex::default(),
    });
    let exporter = Arc::new(Exporting(Arc::clone(&away)));
    let share = 2000;
    let (queue, dispatcher) = Dispatcher::new(exporter, delivery, share, deps);
    let (_abandon, abandoned) = watch::channel(false);
    let mut running = JoinSet::new();
    running.spawn(dispatcher.run(abandoned));

    let body = bytes::Bytes::from_static(SPAN);
    for _ in 0..seconds {
        queue.enqueue(Payload::unpaid(Signal::Traces, body.clone(), 1));
        sleep(Duration::from_secs(1)).await;
        if is_guarded {
            assert!(queue.gauge.bytes() <= share, "the rest is on disk");
        }
    }
    assert_eq!(away.taken.lock().unwrap().len(), 0);
    // Ten at a time, each after a pause of 15 s at least once the pauses have grown.
    let most = 10 * (seconds / 15 + 5);
    let attempts = away.attempts.load(Ordering::Relaxed) as u64;
    assert!(attempts <= most, "{attempts} attempts");
    let reminders = seconds.div_ceil(60);
    let logged = lines.load(Ordering::Relaxed) as u64;
    assert!((2..=reminders).contains(&logged), "the failure, then each minute: {logged} lines");

    let deadline = Instant::now() + Duration::from_mins(2);
    while (away.taken.lock().unwrap().len() as u64) < seconds {
        assert!(Instant::now() < deadline, "all of it leaves");
        sleep(Duration::from_millis(10)).await;
    }
    let taken = away.taken.lock().unwrap().clone();
    let first = taken[0].duration_since(away.back_at);
    assert!(
        first <= Duration::from_secs(45 + 5),
        "the first leaves after the shortest pause: {first:?}"
    );
    let rest = taken[taken.len() - 1].duration_since(taken[0]);
    // What was on the way when the backend came back has to end first.
    let (longest, most) = match absence {
        Absence::Refused => (2, 2),
        Absence::Silent => (5 + 2, 2 * 10),
    };
    assert!(rest < Duration::from_secs(longest), "all others leave with it: {rest:?}");
    assert_eq!((queue.stats().sent.read(), queue.stats().failed.read()), (seconds, 0));
    let told = lines.load(Ordering::Relaxed) as u64 - logged;
    assert!((1..most).contains(&told), "{told} lines");
}

#[tokio::test(start_paused = true)]
async fn a_queue_in_memory_outlives_four_minutes() {
    outage(Absence::Refused, 4 * MINUTES, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_in_memory_outlives_a_backend_that_answers_nothing() {
    outage(Absence::Silent, 4 * MINUTES, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_on_disk_outlives_twenty_minutes() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::open(directory.path(), 0o750).unwrap();
    let settings = Settings { segment_size: 64 << 10, overflow: Overflow::Block };
    let room = Arc::new(Room::new(1 << 20));
    let log = Log::open(Arc::new(folder), settings, room, Arc::default()).unwrap();
    let budget = Budget::new(1 << 20, Arc::new(Telemetry::default()));
    let spool = Spool {
        store: Store::new(log, Panics::channel().0),
        spooling: Spooling::All { fsync: false },
        budget,
    };
    outage(Absence::Refused, 20 * MINUTES, Some(spool)).await;
}
