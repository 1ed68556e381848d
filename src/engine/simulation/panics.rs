//! One part of the engine panics, at a step that the seed chooses: a processor, an encoder, a
//! request to a backend, a timer, a drain. With and without a journal, with one worker and with
//! several: what was acknowledged is with the backends or in the journal, and the panic is
//! reported. Only a request that panics while it is sent is refused, and all else goes on.

use std::{
    collections::HashSet,
    panic::resume_unwind,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
};

use super::*;
use crate::{
    component::{Encodes, Piece, Work},
    storage::{Folder, Overflow, Room, Settings},
};

/// Where it may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A processor of which each worker has a replica.
    Replica,
    /// A processor that one worker owns.
    Owner,
    /// Its timer, or its drain.
    Emit,
    /// An exporter's encoder, on a worker.
    Encode,
    /// A request to a backend, on tokio.
    Send,
}

const STEPS: [Step; 5] = [Step::Replica, Step::Owner, Step::Emit, Step::Encode, Step::Send];

/// Panics at the so-manyth call of a step.
struct Fault {
    step: Step,
    left: AtomicI64,
}

impl Fault {
    fn strike(&self, step: Step) {
        if step == self.step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // As `panic!`, without a line on stderr.
            resume_unwind(Box::new("a panic that the simulation asked for"));
        }
    }
}

/// Hands on what it gets.
struct Passes(Arc<Fault>);

impl Processor for Passes {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        self.0.strike(Step::Replica);
        out.emit(payload);
    }
}

struct FaultyJoiner(Joiner, Arc<Fault>);

impl Processor for FaultyJoiner {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        self.1.strike(Step::Owner);
        self.0.process(payload, out);
    }

    fn next_tick(&self) -> Option<std::time::Instant> {
        self.0.next_tick()
    }

    fn tick(&mut self, out: &mut Output) {
        self.1.strike(Step::Emit);
        self.0.tick(out);
    }

    fn drain(&mut self, out: &mut Output) {
        self.1.strike(Step::Emit);
        self.0.drain(out);
    }
}

struct FaultyExporter(BackendExporter, Arc<Fault>);

impl Exporter for FaultyExporter {
    type Encoded = Body;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Body>, ExportError> {
        self.1.strike(Step::Encode);
        Exporter::encode(&self.0, work)
    }

    fn encodes(&self) -> Encodes {
        Encodes::OnWorker
    }

    fn send(&self, body: Body, progress: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let fault = Arc::clone(&self.1);
        let sending = self.0.send(body, progress);
        Box::pin(async move {
            fault.strike(Step::Send);
            sending.await
        })
    }
}

fn open(directory: &Path) -> Arc<Log> {
    let folder = Folder::open(directory, 0o750).unwrap();
    let settings = Settings { segment_size: 1 << 20, overflow: Overflow::Block };
    Log::open(Arc::new(folder), settings, Arc::new(Room::new(u64::MAX)), Arc::default()).unwrap()
}

/// Names of spans in what a journal still has.
fn names_left(directory: &Path) -> HashSet<String> {
    let log = open(directory);
    let mut names = HashSet::new();
    while let Some(stored) = log.take().unwrap() {
        let decoded = ExportTraceServiceRequest::decode(stored.body).unwrap();
        let scopes = decoded.resource_spans.into_iter().flat_map(|entry| entry.scope_spans);
        names.extend(scopes.flat_map(|scope| scope.spans).map(|span| span.name));
    }
    names
}

/// An engine with two stages and two backends, and maybe a journal.
fn start(fault: &Arc<Fault>, workers: usize, journal: Option<&Path>) -> (World, [Arc<Backend>; 2]) {
    let backends = [Backend::new(healthy()), Backend::new(healthy())];
    let exporters = backends.iter().map(|backend| {
        let exporter = FaultyExporter(BackendExporter(Arc::clone(backend)), Arc::clone(fault));
        (Arc::new(exporter) as Arc<dyn ErasedExporter>, delivery())
    });
    let (of_replicas, of_owner) = (Arc::clone(fault), Arc::clone(fault));
    let passes = TestStage {
        name: "passes",
        partition: Partition::Any,
        make: Box::new(move || Box::new(Passes(Arc::clone(&of_replicas)))),
    };
    let joins = TestStage {
        name: "joins",
        partition: Partition::Single,
        make: Box::new(move || {
            let joiner = Joiner { limit: 6, held: None };
            Box::new(FaultyJoiner(joiner, Arc::clone(&of_owner)))
        }),
    };
    let world = World::start(Setup {
        workers,
        limit: 1 << 24,
        stages: vec![passes, joins],
        exporters: exporters.collect(),
        journal: journal.map(|directory| {
            let log = open(directory);
            Box::new(|panics: &Panics| Store::new(log, panics.clone())) as OpenJournal
        }),
    });
    (world, backends)
}

/// Sends requests until a part panics or all is drained, ends the process, and looks what is left.
async fn run(seed: u64, workers: usize, journal: Option<&Path>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let step = STEPS[random.usize(..STEPS.len())];
    let fault = Arc::new(Fault { step, left: AtomicI64::new(random.i64(1..40)) });
    let (world, backends) = start(&fault, workers, journal);
    let World { telemetry, pool, inlet, graph, store, .. } = world;
    let (mut dispatchers, mut ticking, mut panics) =
        (world.dispatchers, world.ticking, world.panics);
    let mut senders = JoinSet::new();
    for name in 0..60 {
        let (inlet, name) = (Arc::clone(&inlet), name.to_string());
        // In memory only a sender that waits for the backends is promised anything.
        let waits = journal.is_none() || random.bool();
        let wait = if waits { Wait::Delivery } else { Wait::Acceptance };
        senders.spawn(async move {
            let reply = World::send(&inlet, &name, 1, wait).await;
            (name, reply)
        });
    }
    let mut acknowledged = HashSet::new();
    let answers = async {
        while let Some(Ok((name, reply))) = senders.join_next().await {
            match reply {
                Ok(()) => assert!(acknowledged.insert(name)),
                Err(Rejection::Unavailable(..)) => {}
                Err(other) => panic!("{other:?} may not be sent again"),
            }
        }
        pool.drain().await;
        for queue in &graph.queues {
            queue.close();
        }
        while let Some(done) = dispatchers.join_next().await {
            assert_eq!(done.unwrap(), 0, "nothing is given up");
        }
    };
    let panicked = tokio::select! {
        () = answers => panics.try_recv().is_ok(),
        Some(_) = panics.recv() => true,
    };
    if panicked && random.bool() {
        // The process ends a little later, and meanwhile the other parts go on: they may deliver
        // their shares of what the panic has dropped.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The process ends here: what is still held anywhere is dropped, whichever goes first.
    drop(world.abandon);
    senders.abort_all();
    dispatchers.abort_all();
    while let Some(sent) = senders.join_next().await {
        if let Ok((name, Ok(()))) = sent {
            acknowledged.insert(name);
        }
    }
    while dispatchers.join_next().await.is_some() {}
    ticking.shutdown().await;
    tokio::task::spawn_blocking(move || pool.stop()).await.unwrap();
    drop((inlet, graph));
    let mut left = HashSet::new();
    if let Some((directory, store)) = journal.zip(store) {
        // Tasks of an aborted dispatcher are dropped a moment later. A claim that is leaked fails
        // the test by its time-out.
        while Arc::strong_count(&store) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        store.log().sync().unwrap();
        store.log().save().unwrap();
        drop(store);
        left = names_left(directory);
    }
    // A request that panics while it is sent is refused, unless it can be tried in parts.
    let refused = telemetry.dropped[Reason::BackendRefused as usize].read();
    assert!(refused == 0 || step == Step::Send, "seed {seed}, {step:?}");
    let mut gone = 0;
    for backend in &backends {
        let taken = backend.taken.lock().unwrap();
        let is_gone = |name: &&String| !taken.contains_key(*name) && !left.contains(*name);
        gone += acknowledged.iter().filter(is_gone).count() as u64;
    }
    assert!(gone <= refused, "seed {seed}, {workers} workers, {step:?}: {gone} are gone");
    if !panicked {
        assert!(acknowledged.len() as u64 + refused >= 60, "seed {seed}: nothing went wrong");
        assert_eq!(telemetry.dropped[Reason::Unaccounted as usize].read(), 0, "seed {seed}");
        assert_eq!(left.len(), 0, "seed {seed}");
    }
    let has_struck = fault.left.load(Ordering::SeqCst) <= 0;
    let ends_it = has_struck && step != Step::Send;
    assert_eq!(panicked, ends_it, "seed {seed}, {step:?}: the panic of a part is reported");
}

#[test]
fn what_was_acknowledged_survives_a_panic_of_any_part() {
    for seed in 0..120 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let journal = (seed % 2 == 0).then(|| directory.path());
        let within = Duration::from_mins(1);
        let run = run(seed, 1 + usize::try_from(seed / 2 % 3).unwrap(), journal);
        let ended = runtime.block_on(async { tokio::time::timeout(within, run).await });
        assert!(ended.is_ok(), "seed {seed}: it did not end");
        runtime.shutdown_background();
    }
}
