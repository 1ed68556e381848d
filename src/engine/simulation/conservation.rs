//! Many requests on random schedules: nothing is answered twice, nothing vanishes.

use super::*;
use crate::{
    component::QueueBatch,
    otlp::{split, tee::Keep},
};

/// Many senders, a budget that holds a few of their bodies, backends that fail at random: what is
/// answered with success is either delivered or counted as lost, and each request has one answer.
#[test]
fn conservation_under_random_schedules() {
    for seed in 0..40 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(conserve(seed));
    }
}

async fn conserve(seed: u64) {
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    let mood: Mood = Box::new(move |_| {
        let mut random = random.lock().unwrap();
        let takes = Duration::from_millis(random.u64(0..300));
        let retry = match random.u8(0..10) {
            0..=4 => return (takes, Ok(Sent::default())),
            5..=7 => Retry::After(None),
            8 => Retry::After(Some(Duration::from_millis(700))),
            _ => Retry::Never,
        };
        (takes, Err(ExportError { retry, message: "mood".to_owned() }))
    });
    let backend = Backend::new(mood);
    let mut settings = delivery();
    if let Some(queue) = &mut settings.queue {
        queue.size = Some(20);
        // Every other world batches in its queue, some of them in parts.
        queue.batch = (seed % 2 == 1).then(|| QueueBatch {
            flush_timeout: Duration::from_millis(150),
            min_size: 25,
            max_size: if seed % 4 == 1 { 30 } else { 0 },
            sizer: Sizer::Items,
            metadata_keys: Vec::new(),
        });
    }
    let joiner: fn() -> Box<dyn Processor> = || Box::new(Joiner { limit: 12, held: None });
    let world = World::new(16 * 1024, Some(joiner), &[(Arc::clone(&backend), settings)]);
    let mut random = fastrand::Rng::with_seed(seed ^ 0xA5);
    let mut senders = JoinSet::new();
    for _ in 0..150 {
        let (inlet, spans) = (Arc::clone(&world.inlet), random.usize(1..6));
        let pause = Duration::from_millis(random.u64(0..2000));
        senders.spawn(async move {
            tokio::time::sleep(pause).await;
            (spans as u64, World::send(&inlet, "s", spans, Wait::Acceptance).await)
        });
    }
    let replies = senders.join_all().await;
    assert_eq!(replies.len(), 150);
    let accepted: u64 = replies.iter().filter(|(_, r)| r.is_ok()).map(|(n, _)| n).sum();
    let telemetry = Arc::clone(&world.telemetry);
    world.drain(Duration::from_mins(1)).await;
    let stats = &telemetry.exporters()[0];
    let (sent, failed) = (stats.sent.read(), stats.failed.read() + stats.enqueue_failed.read());
    eprintln!(
        "sent {sent} taken {} failed {} enq {} incoming {} outgoing {}",
        backend.taken(),
        stats.failed.read(),
        stats.enqueue_failed.read(),
        telemetry.processors()[0].incoming.read(),
        telemetry.processors()[0].outgoing.read()
    );
    assert_eq!(sent, backend.taken(), "seed {seed}");
    assert_eq!(accepted, sent + failed, "seed {seed}");
    assert!(sent > 0 && accepted > 0, "seed {seed}");
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Keep for Counting {
    fn keep(&self, signal: Signal, request: &bytes::Bytes) {
        self.0.fetch_add(split::count_items(signal, request), Ordering::Relaxed);
    }
}

/// A second reader sees what passes the door, whatever becomes of it, and changes nothing.
#[tokio::test(start_paused = true)]
async fn a_second_reader_sees_what_passes_the_door() {
    let backend = Backend::new(Box::new(|_| (Duration::ZERO, Ok(Sent::default()))));
    let world = World::new(16 * 1024, None, &[(Arc::clone(&backend), delivery())]);
    let kept = Arc::new(Counting::default());
    assert!(world.telemetry.tee.connect(Arc::clone(&kept) as _));
    for spans in [1, 5, 3] {
        let (inlet, telemetry) = (&world.inlet, &world.telemetry);
        let sent = World::send_watched(inlet, ("s", spans), Wait::Acceptance, telemetry);
        assert!(sent.await.is_ok());
    }
    world.drain(Duration::from_mins(1)).await;
    assert_eq!((kept.0.load(Ordering::Relaxed), backend.taken()), (9, 9));
}
