//! One part of the engine panics, at a step that the seed chooses: a processor, an encoder, a
//! request to a backend, a timer, a drain. With and without a journal, with one worker and with
//! several: what was acknowledged is with the backends or in the journal, and the panic is
//! reported.

use std::{
    collections::HashSet,
    panic::resume_unwind,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
};

use super::*;
use crate::{
    component::{Encodes, Piece, Work},
    engine::{journal::Journal, stored::Store},
    storage::{Folder, Log, Overflow, Room, Settings},
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
    fn encode(&self, work: &Work<'_>) -> Result<Piece, ExportError> {
        self.1.strike(Step::Encode);
        self.0.encode(work)
    }

    fn encodes(&self) -> Encodes {
        Encodes::OnWorker
    }

    fn send(&self, request: Request) -> BoxFuture<Result<Sent, ExportError>> {
        let fault = Arc::clone(&self.1);
        let sending = self.0.send(request);
        Box::pin(async move {
            fault.strike(Step::Send);
            sending.await
        })
    }
}

fn stage(
    telemetry: &Telemetry,
    name: &str,
    partition: Partition,
    owner: usize,
    make: impl Fn() -> Box<dyn Processor> + Send + Sync + 'static,
) -> Stage {
    Stage {
        partition,
        owner,
        stats: telemetry.processor(name, "traces", Signal::Traces),
        edge: None,
        build: Box::new(move |count| Ok((0..count).map(|_| make()).collect())),
        identity: None,
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
struct Engine {
    telemetry: Arc<Telemetry>,
    backends: [Arc<Backend>; 2],
    queues: Vec<Arc<ExportQueue>>,
    dispatchers: tokio::task::JoinSet<u64>,
    abandon: tokio::sync::watch::Sender<bool>,
    pool: Arc<Pool>,
    panics: mpsc::UnboundedReceiver<String>,
    store: Option<Arc<Store>>,
    door: Arc<EngineDoor>,
}

fn start(fault: &Arc<Fault>, workers: usize, journal: Option<&Path>) -> Engine {
    let telemetry = Arc::new(Telemetry::default());
    let ways = Ways::new(workers);
    let backends = [Backend::new(healthy()), Backend::new(healthy())];
    let (abandon, abandoned) = tokio::sync::watch::channel(false);
    let mut dispatchers = tokio::task::JoinSet::new();
    let (mut queues, mut ends) = (Vec::new(), Vec::new());
    for (index, backend) in backends.iter().enumerate() {
        let around = Surroundings {
            stats: telemetry.exporter(&index.to_string(), Signal::Traces, "nowhere"),
            telemetry: Arc::clone(&telemetry),
            offload: ways.offload(),
            spool: None,
            dead_letters: None,
            is_guarded: false,
        };
        let exporter = FaultyExporter(BackendExporter(Arc::clone(backend)), Arc::clone(fault));
        let (queue, dispatcher) = ExportQueue::new(Arc::new(exporter), delivery(), 1 << 20, around);
        dispatchers.spawn(dispatcher.run(abandoned.clone()));
        queues.push(queue);
        let edge = telemetry.edge("traces", "x", &index.to_string());
        ends.push(End { target: Target::Queue(index), edge });
    }
    let (of_replicas, of_owner) = (Arc::clone(fault), Arc::clone(fault));
    let passes = move || Box::new(Passes(Arc::clone(&of_replicas))) as Box<dyn Processor>;
    let joins = move || {
        let joiner = Joiner { limit: 6, held: None };
        Box::new(FaultyJoiner(joiner, Arc::clone(&of_owner))) as Box<dyn Processor>
    };
    let stages = vec![
        stage(&telemetry, "passes", Partition::Any, 0, passes),
        stage(&telemetry, "joins", Partition::Single, workers - 1, joins),
    ];
    let pipeline = Pipeline { id: "traces".to_owned(), signal: Signal::Traces, stages, ends };
    let graph = Arc::new(Graph {
        pipelines: vec![pipeline],
        connectors: Vec::new(),
        queues: queues.clone(),
        downstream_order: vec![0],
    });
    let (pool, panics) = Pool::start(ways, graph).unwrap();
    let store = journal.map(|directory| Store::new(open(directory)));
    let route = Route {
        pipelines: vec![(0, None)],
        stats: telemetry.receiver("otlp", Signal::Traces, "grpc"),
        journal: store.as_ref().map(|store| Journal::new(Arc::clone(store), false)),
    };
    let routes = SignalRoutes {
        by_transport: vec![("grpc", Arc::new(route))],
        wants_context: false,
        refuses_above: None,
        queues: queues.clone(),
    };
    let door = Arc::new(EngineDoor::new(
        Budget::new(1 << 24, Arc::clone(&telemetry)),
        Arc::clone(&pool),
        Routes::new([Some(routes), None, None]),
        Arc::new(Inside::default()),
    ));
    Engine { telemetry, backends, queues, dispatchers, abandon, pool, panics, store, door }
}

/// Sends requests until a part panics or all is drained, ends the process, and looks what is left.
async fn run(seed: u64, workers: usize, journal: Option<&Path>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let step = STEPS[random.usize(..STEPS.len())];
    let fault = Arc::new(Fault { step, left: AtomicI64::new(random.i64(1..40)) });
    let engine = start(&fault, workers, journal);
    let Engine { telemetry, backends, queues, mut dispatchers, abandon, pool, .. } = engine;
    let (mut panics, store, door) = (engine.panics, engine.store, engine.door);
    let mut ticking = tokio::task::JoinSet::new();
    ticking.spawn({
        let pool = Arc::clone(&pool);
        async move { pool.tick().await }
    });
    let mut senders = tokio::task::JoinSet::new();
    for name in 0..60 {
        let (door, name) = (Arc::clone(&door), name.to_string());
        // In memory only a sender that waits for the backends is promised anything.
        let waits = journal.is_none() || random.bool();
        let wait = if waits { Wait::Delivery } else { Wait::Acceptance };
        senders.spawn(async move {
            let reply = World::send(&door, &name, 1, wait).await;
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
        for queue in &queues {
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
    // The process ends here: what is still held anywhere is dropped, whichever goes first.
    drop(abandon);
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
    drop((door, queues));
    let mut left = HashSet::new();
    if let Some((directory, store)) = journal.zip(store) {
        store.log().sync().unwrap();
        store.log().save().unwrap();
        // Requests that were aborted are dropped by the runtime, a moment later.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&store) > 1 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(Arc::strong_count(&store), 1, "seed {seed}: a claim was leaked");
        drop(store);
        left = names_left(directory);
    }
    for backend in &backends {
        let taken = backend.taken.lock().unwrap();
        for name in &acknowledged {
            assert!(
                taken.contains_key(name) || left.contains(name),
                "seed {seed}, {workers} workers, {step:?}: {name} was acknowledged and is gone"
            );
        }
    }
    if !panicked {
        assert_eq!(acknowledged.len(), 60, "seed {seed}: nothing went wrong");
        assert_eq!(telemetry.dropped[Reason::Unaccounted as usize].read(), 0, "seed {seed}");
        assert_eq!(left.len(), 0, "seed {seed}");
    }
    let has_struck = fault.left.load(Ordering::SeqCst) <= 0;
    assert_eq!(panicked, has_struck, "seed {seed}, {step:?}: a panic is always reported");
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
        runtime.block_on(async { tokio::time::timeout(within, run).await }).unwrap();
        runtime.shutdown_background();
    }
}
