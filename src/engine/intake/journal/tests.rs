//! Requests through an inlet into a journal, with workers that have threads and with the one that
//! has none.

use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;
use crate::{
    component::{
        Arrival, Caller, Compression, Encoding, Inlet, Output, Partition, Processor, Rejection,
        Reply,
    },
    engine::{
        budget::Budget,
        intake::{
            inlet::{InletDeps, ReceiverInlet},
            route::Routes,
        },
        panics::Panics,
        work::{
            exchange::Next,
            graph::{Graph, Pipeline, Stage},
            pool::Pool,
        },
    },
    otlp::{Signal, check::Utf8},
    storage::{Folder, Log, Overflow, Room, Settings},
    telemetry::Telemetry,
};

/// A request with one span that has no fields.
const SPAN: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];

struct Filters;

impl Processor for Filters {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        out.filter(payload);
    }
}

struct Rig {
    inlet: Arc<ReceiverInlet>,
    pool: Arc<Pool>,
    routes: Arc<Routes>,
    journal: Arc<Journal>,
    _ticking: JoinSet<()>,
    _directory: tempfile::TempDir,
}

impl Rig {
    /// A journal of `limit` bytes before a pipeline that filters all that enters.
    fn new(workers: usize, limit: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path(), 0o750).unwrap();
        let settings = Settings { segment_size: 1 << 20, overflow: Overflow::Block };
        let room = Arc::new(Room::new(limit));
        let log = Log::open(Arc::new(folder), settings, room, Arc::default()).unwrap();
        let journal = Journal::new(Store::new(log, Panics::channel().0), false);
        let telemetry = Arc::new(Telemetry::default());
        let route = Route {
            pipelines: vec![(0, None)],
            journal: Some(Arc::clone(&journal)),
            ..Route::default()
        };
        let filters = Stage {
            partition: Partition::Any,
            owner: 0,
            stats: telemetry.processor("filter", "traces", Signal::Traces),
            edge: None,
            build: Box::new(|count| {
                Ok((0..count).map(|_| Box::new(Filters) as Box<dyn Processor>).collect())
            }),
            identity: None,
        };
        let pipeline = Pipeline {
            id: "traces".to_owned(),
            signal: Signal::Traces,
            stages: vec![filters],
            ends: Vec::new(),
        };
        let graph = Graph {
            pipelines: vec![pipeline],
            connectors: Vec::new(),
            queues: Vec::new(),
            downstream_order: vec![0],
        };
        let (pool, _) = Pool::start(workers).unwrap();
        let nothing = Box::new(|| {});
        let next = Next::prepare(&pool.graph(), Arc::new(graph), workers, nothing).unwrap();
        pool.exchange_here(next).unwrap();
        let mut ticking = JoinSet::new();
        let ticked = Arc::clone(&pool);
        ticking.spawn(async move { ticked.tick().await });
        let routes = Routes::new([Some(Arc::new(route)), None, None]);
        let deps = InletDeps {
            budget: Budget::new(16 << 20, telemetry),
            pool: Arc::clone(&pool),
            open_requests: Arc::default(),
        };
        let inlet = Arc::new(ReceiverInlet::new(deps, Arc::clone(&routes)));
        Rig { inlet, pool, routes, journal, _ticking: ticking, _directory: directory }
    }

    /// So many requests at once, each with as many spans as asked for.
    async fn send(&self, requests: usize, spans: usize, wait: Wait) -> Vec<Reply> {
        let mut replies = JoinSet::new();
        for _ in 0..requests {
            let body = Bytes::from(SPAN.repeat(spans));
            let admission = Arc::clone(&self.inlet).admission(Signal::Traces).unwrap();
            let permit = admission.try_permit(body.len()).unwrap().unwrap();
            replies.spawn(admission.submit(Arrival {
                signal: Signal::Traces,
                encoding: Encoding::Protobuf,
                compression: Compression::Identity,
                body,
                permit,
                max_inflated: 1 << 20,
                utf8: Utf8::Strict,
                context: None,
                wait,
                stats: Telemetry::default().receiver("otlp", Signal::Traces, "grpc"),
                vetting: None,
                caller: Caller::default(),
            }));
        }
        replies.join_all().await
    }
}

#[tokio::test]
async fn every_request_is_answered_once_it_is_written() {
    for workers in [1, 2] {
        for wait in [Wait::Acceptance, Wait::Delivery] {
            let rig = Rig::new(workers, 1 << 20);
            assert_eq!(rig.send(1, 1, wait).await, [Ok(())]);
            assert_eq!(rig.send(50, 3, wait).await, vec![Ok(()); 50]);
            rig.pool.drain().await;
            let stats = rig.journal.store.stats();
            assert!(stats.appended_bytes.read() > 51 * 48);
            assert_eq!((stats.records.read(), stats.items.read()), (0, 0), "all of it has ended");
            rig.pool.stop();
        }
    }
}

#[tokio::test]
async fn a_full_tray_is_written_at_once_and_what_finds_no_room_is_refused() {
    for workers in [1, 2] {
        let rig = Rig::new(workers, 1 << 20);
        // 300 kB each: larger than the tray, and three of them fill the journal if nothing ends.
        let replies = rig.send(6, 50_000, Wait::Acceptance).await;
        assert!(replies.iter().filter(|reply| reply.is_ok()).count() >= 3, "{replies:?}");
        let full = Err(Rejection::Unavailable(Reason::StorageFull, None));
        assert!(replies.iter().all(|reply| reply.is_ok() || *reply == full), "{replies:?}");
        let tiny = Rig::new(workers, 100);
        assert_eq!(tiny.send(1, 9, Wait::Acceptance).await, [full]);
        rig.pool.stop();
        tiny.pool.stop();
    }
}

#[tokio::test]
async fn a_request_whose_route_a_reload_removes_is_refused_before_it_is_written() {
    let rig = Rig::new(1, 1 << 20);
    let payload = Payload::unpaid(Signal::Traces, Bytes::from_static(SPAN), 1);
    let (tell, told) = tokio::sync::oneshot::channel();
    let sender = Receipt::new(Wait::Acceptance, Box::new(move |end| tell.send(end).unwrap()));
    let route = rig.routes.get(Signal::Traces).unwrap();
    let entry = TrayEntry { payload, sender, must_wait: false, route };
    let Turn::First(duty) = rig.journal.collect(entry) else { panic!("the tray was empty") };
    rig.routes.replace([None, None, None]);
    let journal = duty.begin().unwrap();
    assert_eq!(journal.write(journal.empty_tray()).len(), 0);
    assert_eq!(told.await, Ok(Outcome::Failed(Reason::ShuttingDown)));
    assert_eq!(rig.journal.store.stats().appended_bytes.read(), 0);
}

#[tokio::test]
async fn what_is_in_the_tray_fails_if_nobody_empties_it() {
    let rig = Rig::new(2, 1 << 20);
    let (told, heard) = std::sync::mpsc::channel();
    let collect = || {
        let told = told.clone();
        let sender = move |outcome| told.send(outcome).unwrap();
        rig.journal.collect(TrayEntry {
            payload: Payload::unpaid(Signal::Traces, Bytes::from_static(SPAN), 1),
            sender: Receipt::new(Wait::Delivery, Box::new(sender)),
            must_wait: false,
            route: rig.routes.get(Signal::Traces).unwrap(),
        })
    };
    let Turn::First(duty) = collect() else { panic!("the tray was empty") };
    assert!(matches!(collect(), Turn::Later) && heard.try_recv().is_err());
    drop(duty);
    let failed = Outcome::Failed(Reason::Unaccounted);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [failed, failed]);
    // The duty that has begun covers the requests that are there, and no later ones.
    let Turn::First(duty) = collect() else { panic!("the tray was empty") };
    let journal = duty.begin().unwrap();
    let begun = journal.empty_tray();
    assert!(matches!(collect(), Turn::First(_)));
    assert_eq!(heard.try_recv(), Ok(failed), "the later one");
    assert!(begun.len() == 1 && heard.try_recv().is_err());
    rig.pool.stop();
}
