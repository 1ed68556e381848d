//! The engine against backends that succeed, fail and hang, in virtual time with seeded schedules:
//! every request is answered exactly once, the budget is never exceeded and returns to zero,
//! nothing that was accepted vanishes, the drain ends.

mod conservation;
mod panics;
mod poison;
mod turns;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::budget::Budget;
use crate::{
    component::{
        Arrival, Backoff, BoxFuture, Caller, Compression, Delivery, Encoding, ErasedExporter,
        ExportError, Exporter, Inlet, Output, Partition, Piece, Processor, Progress, Queue,
        Rejection, Reply, Retry, Sent, Sizer, Work,
    },
    engine::{
        disk::stored::Store,
        export::{dispatcher::Dispatcher, queue::Deps},
        intake::{
            inlet::{InletDeps, ReceiverInlet},
            journal::Journal,
            route::{Route, Routes},
        },
        panics::Panics,
        work::{
            exchange::Next,
            graph::{End, Graph, Pipeline, Stage, Target},
            pool::Pool,
        },
    },
    otlp::{
        Payload, Signal,
        check::Utf8,
        payload::{Body, Reason, Wait},
    },
    storage::Log,
    telemetry::{Gauge, Telemetry},
};

/// A request of `spans` spans whose names are `name`.
fn request(name: &str, spans: usize) -> Vec<u8> {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![7; 8],
        name: name.to_owned(),
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span; spans], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
}

/// What a backend does with a request.
type Mood = Box<dyn Fn(&Body) -> (Duration, Result<Sent, ExportError>) + Send + Sync>;

struct Backend {
    mood: Mood,
    /// Spans taken, by name.
    taken: Mutex<HashMap<String, u64>>,
    attempts: AtomicU64,
}

impl Backend {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Backend { mood, taken: Mutex::default(), attempts: AtomicU64::new(0) })
    }

    fn taken(&self) -> u64 {
        self.taken.lock().unwrap().values().sum()
    }
}

struct BackendExporter(Arc<Backend>);

impl Exporter for BackendExporter {
    type Encoded = Body;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Body>, ExportError> {
        Ok(work.last(work.rest(), 0))
    }

    fn send(&self, body: Body, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let backend = Arc::clone(&self.0);
        Box::pin(async move {
            backend.attempts.fetch_add(1, Ordering::SeqCst);
            let (pause, result) = (backend.mood)(&body);
            tokio::time::sleep(pause).await;
            if result.is_ok() {
                let mut taken = backend.taken.lock().unwrap();
                for segment in &body {
                    let decoded = ExportTraceServiceRequest::decode(segment.clone()).unwrap();
                    for span in decoded
                        .resource_spans
                        .iter()
                        .flat_map(|r| &r.scope_spans)
                        .flat_map(|s| &s.spans)
                    {
                        *taken.entry(span.name.clone()).or_default() += 1;
                    }
                }
            }
            result
        })
    }
}

/// Joins payloads until it has so many items, or its age is up.
struct Joiner {
    limit: u64,
    held: Option<(Payload, std::time::Instant)>,
}

impl Processor for Joiner {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        payload.accept();
        match &mut self.held {
            None => self.held = Some((payload, out.now + Duration::from_millis(200))),
            Some((held, _)) => held.absorb(payload),
        }
        if self.held.as_ref().is_some_and(|(held, _)| held.items >= self.limit) {
            self.drain(out);
        }
    }

    fn next_tick(&self) -> Option<std::time::Instant> {
        self.held.as_ref().map(|(_, due)| *due)
    }

    fn tick(&mut self, out: &mut Output) {
        self.drain(out);
    }

    fn drain(&mut self, out: &mut Output) {
        if let Some((held, _)) = self.held.take() {
            out.emit(held);
        }
    }
}

struct AlwaysPanics;

impl Processor for AlwaysPanics {
    fn process(&mut self, _payload: Payload, _out: &mut Output) {
        panic!("a processor that always panics");
    }
}

fn delivery() -> Delivery {
    Delivery {
        queue: Some(Queue {
            consumers: 4,
            size: Some(1000),
            sizer: Sizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            batch: None,
            storage: None,
            dead_letters: None,
        }),
        retry: Some(Backoff {
            initial_interval: Duration::from_millis(100),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(1),
            max_elapsed_time: Some(Duration::from_secs(20)),
        }),
        timeout: Some(Duration::from_secs(5)),
    }
}

/// What a [`World`] is made of.
struct Setup {
    workers: usize,
    /// The byte budget.
    limit: u64,
    stages: Vec<TestStage>,
    exporters: Vec<(Arc<dyn ErasedExporter>, Delivery)>,
    journal: Option<OpenJournal>,
}

/// Opens a journal whose panics are reported.
type OpenJournal = Box<dyn FnOnce(&Panics) -> Arc<Store>>;

/// A stage of the one pipeline.
struct TestStage {
    name: &'static str,
    partition: Partition,
    make: Box<dyn Fn() -> Box<dyn Processor> + Send + Sync>,
}

/// A running engine with one pipeline into some exporters.
struct World {
    telemetry: Arc<Telemetry>,
    budget: Arc<Budget>,
    pool: Arc<Pool>,
    inlet: Arc<ReceiverInlet>,
    graph: Arc<Graph>,
    store: Option<Arc<Store>>,
    dispatchers: JoinSet<u64>,
    ticking: JoinSet<()>,
    abandon: watch::Sender<bool>,
    panics: mpsc::UnboundedReceiver<String>,
}

impl World {
    /// One worker, one stage at most, no journal.
    fn new(
        limit: u64,
        stage: Option<fn() -> Box<dyn Processor>>,
        backends: &[(Arc<Backend>, Delivery)],
    ) -> Self {
        let stage = stage.map(|make| TestStage {
            name: "joiner",
            partition: Partition::Single,
            make: Box::new(make),
        });
        let exporters = backends.iter().map(|(backend, delivery)| {
            let exporter: Arc<dyn ErasedExporter> = Arc::new(BackendExporter(Arc::clone(backend)));
            (exporter, delivery.clone())
        });
        World::start(Setup {
            workers: 1,
            limit,
            stages: stage.into_iter().collect(),
            exporters: exporters.collect(),
            journal: None,
        })
    }

    fn start(setup: Setup) -> Self {
        let Setup { workers, limit, stages, exporters, journal } = setup;
        let telemetry = Arc::new(Telemetry::default());
        let (pool, panics) = Pool::start(workers).unwrap();
        let (mut queues, mut ends) = (Vec::new(), Vec::new());
        let (abandon, abandoned) = watch::channel(false);
        let mut dispatchers = JoinSet::new();
        let share = limit / exporters.len() as u64;
        for (index, (exporter, delivery)) in exporters.into_iter().enumerate() {
            let deps = Deps {
                stats: telemetry.exporter(&index.to_string(), Signal::Traces, "nowhere"),
                telemetry: Arc::clone(&telemetry),
                offload: pool.offload(),
                spool: None,
                dead_letters: None,
                is_guarded: false,
                monthly: None,
            };
            let (queue, dispatcher) = Dispatcher::new(exporter, delivery, share, deps);
            queues.push(queue);
            dispatchers.spawn(dispatcher.run(abandoned.clone()));
            let edge = telemetry.edge("traces", "x", &index.to_string());
            ends.push(End { target: Target::Queue(index), edge });
        }
        let stages = stages.into_iter().map(|TestStage { name, partition, make }| Stage {
            partition,
            owner: workers - 1,
            stats: telemetry.processor(name, "traces", Signal::Traces),
            edge: None,
            build: Box::new(move |count| Ok((0..count).map(|_| make()).collect())),
            identity: None,
        });
        let stages = stages.collect();
        let pipeline = Pipeline { id: "traces".to_owned(), signal: Signal::Traces, stages, ends };
        let graph = Arc::new(Graph {
            pipelines: vec![pipeline],
            connectors: Vec::new(),
            queues,
            downstream_order: vec![0],
        });
        let nothing = Box::new(|| {});
        let next = Next::prepare(&pool.graph(), Arc::clone(&graph), workers, nothing).unwrap();
        pool.exchange_here(next).unwrap();
        let mut ticking = JoinSet::new();
        ticking.spawn({
            let pool = Arc::clone(&pool);
            async move { pool.tick().await }
        });
        let budget = Budget::new(limit, Arc::clone(&telemetry));
        let store = journal.map(|open| open(pool.panics()));
        let route = Arc::new(Route {
            pipelines: vec![(0, None)],
            journal: store.as_ref().map(|store| Journal::new(Arc::clone(store), false)),
            queues: graph.queues.iter().map(Arc::clone).collect(),
            ..Route::default()
        });
        let deps = InletDeps {
            budget: Arc::clone(&budget),
            pool: Arc::clone(&pool),
            open_requests: Arc::default(),
        };
        let inlet = ReceiverInlet::new(deps, Routes::new([Some(route), None, None]));
        World {
            telemetry,
            budget,
            pool,
            inlet: Arc::new(inlet),
            graph,
            store,
            dispatchers,
            ticking,
            abandon,
            panics,
        }
    }

    async fn send(inlet: &Arc<ReceiverInlet>, name: &str, spans: usize, wait: Wait) -> Reply {
        World::send_watched(inlet, (name, spans), wait, &Telemetry::default()).await
    }

    /// The same, counted in `telemetry`.
    async fn send_watched(
        inlet: &Arc<ReceiverInlet>,
        (name, spans): (&str, usize),
        wait: Wait,
        telemetry: &Telemetry,
    ) -> Reply {
        let admission = Arc::clone(inlet).admission(Signal::Traces)?;
        if let Some(room) = admission.room(None) {
            room.await?;
        }
        let body = request(name, spans);
        let permit = match admission.try_permit(body.len())? {
            Some(permit) => permit,
            None => admission.permit(body.len()).await?,
        };
        let arrival = Arrival {
            signal: Signal::Traces,
            encoding: Encoding::Protobuf,
            compression: Compression::Identity,
            body: body.into(),
            permit,
            max_inflated: 16 << 20,
            utf8: Utf8::Strict,
            context: None,
            wait,
            stats: telemetry.receiver("otlp", Signal::Traces, "grpc"),
            vetting: None,
            caller: Caller::default(),
        };
        admission.submit(arrival).await
    }

    /// Drains and returns the items that were given up.
    async fn drain(mut self, patience: Duration) -> u64 {
        self.pool.drain().await;
        for queue in &self.graph.queues {
            queue.close();
        }
        let mut lost = 0;
        let dispatchers = &mut self.dispatchers;
        let until = async {
            while let Some(done) = dispatchers.join_next().await {
                lost += done.unwrap();
            }
        };
        if tokio::time::timeout(patience, until).await.is_err() {
            self.abandon.send(true).unwrap();
            while let Some(done) = self.dispatchers.join_next().await {
                lost += done.unwrap();
            }
        }
        assert_eq!(self.budget.used(), 0, "every byte was given back");
        let unaccounted = &self.telemetry.dropped[Reason::Unaccounted as usize];
        assert_eq!(unaccounted.read(), 0, "somebody says what became of each item");
        for stats in self.telemetry.exporters() {
            let held = [&stats.queue_unwritten, &stats.queue_bytes, &stats.queue_items];
            assert_eq!(held.map(Gauge::read), [0; 3], "queues are empty");
            assert_eq!(stats.oldest_age(), None, "nothing is left to age");
        }
        lost
    }
}

fn healthy() -> Mood {
    Box::new(|_| (Duration::from_millis(5), Ok(Sent::default())))
}

fn refuses(retry: Retry) -> Mood {
    Box::new(move |_| {
        let message = "no".to_owned();
        (Duration::from_millis(1), Err(ExportError { retry, message }))
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_when_the_queue_has_it() {
    let backend = Backend::new(healthy());
    let world = World::new(1 << 20, None, &[(Arc::clone(&backend), delivery())]);
    assert_eq!(World::send(&world.inlet, "a", 3, Wait::Acceptance).await, Ok(()));
    assert_eq!(backend.taken(), 0);
    assert_eq!(world.drain(Duration::from_secs(1)).await, 0);
    assert_eq!(backend.taken(), 3);
}

#[tokio::test(start_paused = true)]
async fn with_wait_for_export_it_is_answered_when_the_backend_has_it() {
    let backend = Backend::new(healthy());
    let joiner: fn() -> Box<dyn Processor> = || Box::new(Joiner { limit: 100, held: None });
    let world = World::new(1 << 20, Some(joiner), &[(Arc::clone(&backend), delivery())]);
    assert_eq!(World::send(&world.inlet, "a", 3, Wait::Delivery).await, Ok(()));
    assert_eq!(backend.taken(), 3);
    world.drain(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_reaches_the_sender_who_waits_for_it() {
    let backend = Backend::new(refuses(Retry::Never));
    let world = World::new(1 << 20, None, &[(backend, delivery())]);
    let reply = World::send(&world.inlet, "a", 3, Wait::Delivery).await;
    assert_eq!(reply, Err(Rejection::Failed(Reason::BackendRefused)));
    world.drain(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_its_sibling_goes_on() {
    let dead = Backend::new(refuses(Retry::After(None)));
    let alive = Backend::new(healthy());
    let mut small = delivery();
    if let Some(queue) = &mut small.queue {
        queue.size = Some(5);
    }
    let world = World::new(1 << 20, None, &[(dead, small), (Arc::clone(&alive), delivery())]);
    let mut refused = 0;
    for _ in 0..20 {
        match World::send(&world.inlet, "a", 1, Wait::Acceptance).await {
            Ok(()) => {}
            Err(Rejection::Unavailable(Reason::QueueFull, _)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(refused, 15);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(alive.taken(), 20);
    assert_eq!(world.drain(Duration::from_secs(1)).await, 5);
}

/// What a batch has taken is answered for, so a slow backend has to make senders wait.
#[tokio::test(start_paused = true)]
async fn a_backend_that_is_too_slow_costs_nothing_that_was_taken() {
    let slow: Mood = Box::new(|_| (Duration::from_millis(200), Ok(Sent::default())));
    let backend = Backend::new(slow);
    let mut small = delivery();
    if let Some(queue) = &mut small.queue {
        queue.size = Some(16);
    }
    let joiner: fn() -> Box<dyn Processor> = || Box::new(Joiner { limit: 5, held: None });
    let world = World::new(1 << 20, Some(joiner), &[(Arc::clone(&backend), small)]);
    let begin = tokio::time::Instant::now();
    for _ in 0..2000 {
        // It waits for room, and nothing is refused.
        assert_eq!(World::send(&world.inlet, "a", 1, Wait::Acceptance).await, Ok(()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begin.elapsed() > Duration::from_secs(15), "four at a time take 20 s for 400 batches");
    assert_eq!(world.drain(Duration::from_mins(1)).await, 0);
    assert_eq!(backend.taken(), 2000);
}

#[tokio::test(start_paused = true)]
async fn retries_until_the_backend_is_back() {
    let start = tokio::time::Instant::now();
    let mood: Mood = Box::new(move |_| {
        let is_down = start.elapsed() < Duration::from_secs(10);
        let error = ExportError { retry: Retry::After(None), message: "down".to_owned() };
        (Duration::from_millis(1), if is_down { Err(error) } else { Ok(Sent::default()) })
    });
    let backend = Backend::new(mood);
    let world = World::new(1 << 20, None, &[(Arc::clone(&backend), delivery())]);
    assert_eq!(World::send(&world.inlet, "a", 4, Wait::Delivery).await, Ok(()));
    assert!(start.elapsed() >= Duration::from_secs(10));
    let attempts = backend.attempts.load(Ordering::SeqCst);
    assert!((8..40).contains(&attempts), "{attempts} attempts in ten seconds");
    world.drain(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_poisoned_sender_costs_only_its_own_data() {
    let mood: Mood = Box::new(|body| {
        let is_poisoned = body.iter().any(|s| s.windows(6).any(|w| w == b"poison"));
        let error = ExportError { retry: Retry::Never, message: "bad span".to_owned() };
        (Duration::ZERO, if is_poisoned { Err(error) } else { Ok(Sent::default()) })
    });
    let backend = Backend::new(mood);
    let joiner: fn() -> Box<dyn Processor> = || Box::new(Joiner { limit: 1000, held: None });
    let world = World::new(1 << 20, Some(joiner), &[(Arc::clone(&backend), delivery())]);
    for sender in 0..16 {
        let name = if sender == 11 { "poison" } else { "good" };
        World::send(&world.inlet, name, 2, Wait::Acceptance).await.unwrap();
    }
    let telemetry = Arc::clone(&world.telemetry);
    assert_eq!(world.drain(Duration::from_secs(1)).await, 0);
    assert_eq!(backend.taken.lock().unwrap().get("good"), Some(&30));
    assert_eq!(telemetry.exporters()[0].failed.read(), 2);
    assert_eq!(telemetry.exporters()[0].sent.read(), 30);
}

#[tokio::test(start_paused = true)]
async fn partial_success_is_counted_and_never_sent_again() {
    let mood: Mood = Box::new(|_| {
        (
            Duration::ZERO,
            Ok(Sent { rejected: 2, message: Some("too old".to_owned()), ..Sent::default() }),
        )
    });
    let backend = Backend::new(mood);
    let world = World::new(1 << 20, None, &[(Arc::clone(&backend), delivery())]);
    assert_eq!(World::send(&world.inlet, "a", 5, Wait::Delivery).await, Ok(()));
    let stats = Arc::clone(&world.telemetry.exporters()[0]);
    assert_eq!((stats.sent.read(), stats.rejected.read()), (3, 2));
    assert_eq!(backend.attempts.load(Ordering::SeqCst), 1);
    world.drain(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_backend_holds_up_neither_the_drain_nor_the_accounts() {
    let mood: Mood = Box::new(|_| (Duration::from_secs(1 << 20), Ok(Sent::default())));
    let world = World::new(1 << 20, None, &[(Backend::new(mood), delivery())]);
    for _ in 0..10 {
        World::send(&world.inlet, "a", 2, Wait::Acceptance).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    assert_eq!(world.drain(Duration::from_secs(2)).await, 20);
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_panic_answers_the_sender_and_is_reported() {
    let panics: fn() -> Box<dyn Processor> = || Box::new(AlwaysPanics);
    let mut world = World::new(1 << 20, Some(panics), &[(Backend::new(healthy()), delivery())]);
    let reply = World::send(&world.inlet, "a", 1, Wait::Acceptance).await;
    assert_eq!(reply, Err(Rejection::Unavailable(Reason::Panicked, None)));
    assert_eq!(world.panics.recv().await.as_deref(), Some("worker 0"));
    assert_eq!(world.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn overflow_with_blocking_makes_senders_wait_instead_of_refusing_them() {
    let backend = Backend::new(healthy());
    let mut blocking = delivery();
    if let Some(queue) = &mut blocking.queue {
        (queue.size, queue.consumers, queue.block_on_overflow) = (Some(2), 1, true);
    }
    let world = World::new(1 << 20, None, &[(Arc::clone(&backend), blocking)]);
    let mut senders = JoinSet::new();
    let start = tokio::time::Instant::now();
    for _ in 0..20 {
        let inlet = Arc::clone(&world.inlet);
        senders.spawn(async move { World::send(&inlet, "a", 1, Wait::Acceptance).await });
    }
    assert!(senders.join_all().await.iter().all(Result::is_ok));
    assert!(start.elapsed() >= Duration::from_millis(80), "they waited for their turn");
    world.drain(Duration::from_secs(1)).await;
    assert_eq!(backend.taken(), 20);
}
