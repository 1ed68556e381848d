//! Exchanges of real plans, with one worker and with threads. Nothing empties the exporter queues,
//! so what has come through is what is in them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tokio::{sync::mpsc, task::JoinSet};

use super::Next;
use crate::{
    component::{Arrival, Caller, Compression, Encoding, Inlet, Rejection, Reply},
    config::{Problems, yaml},
    document::{self, Document},
    engine::{
        budget::Budget,
        disk::storages::Storages,
        export::queue::ExportQueue,
        intake::{
            inlet::{InletDeps, ReceiverInlet},
            route::Routes,
        },
        plan::{self, Kept, KeptReceiver, Plan, PlannedReceiver, Site},
        work::pool::Pool,
    },
    otlp::{
        Signal,
        check::Utf8,
        payload::{Reason, Wait},
    },
    telemetry::Telemetry,
};

fn document(text: &str) -> Document {
    let root = yaml::parse(0, text).unwrap();
    let mut problems = Problems::default();
    let document = document::load(&root, &mut problems);
    assert!(!problems.has_errors(), "{problems:?}");
    document
}

/// A pipeline with a value that may change, a wait that may change, and a pipeline of its own for
/// what comes out of a connector.
fn pipelines(value: &str, wait: &str, more: &str) -> Document {
    document(&text(value, wait, more))
}

fn text(value: &str, wait: &str, more: &str) -> String {
    format!(
        "receivers: {{nop: {{}}, nop/b: {{}}}}
processors:
  attributes: {{actions: [{{key: a, action: upsert, value: '{value}'}}]}}
  tail_sampling: {{decision_wait: {wait}, policies: [{{name: all, type: always_sample}}]}}
  batch: {{timeout: 1h, send_batch_size: 100000}}
connectors: {{forward: {{}}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:1', tls: {{insecure: true}}, sending_queue: {{sizer: items, queue_size: 10000000}}}}}}
service:
  pipelines:
    traces: {{receivers: [nop], processors: [tail_sampling, attributes], exporters: [forward]}}
    traces/out: {{receivers: [forward], processors: [batch], exporters: [otlp_grpc]}}
{more}"
    )
}

/// Pipelines that run.
struct World {
    site: Site,
    pool: Arc<Pool>,
    inlet: Arc<ReceiverInlet>,
    routes: Arc<Routes>,
    queue: Arc<ExportQueue>,
    kept: Kept,
    /// Dispatchers that never run, so that the queues are open.
    idle: Vec<plan::PlannedExporter>,
    panics: mpsc::UnboundedReceiver<String>,
}

impl World {
    fn new(workers: usize, document: &Document) -> Self {
        let telemetry = Arc::new(Telemetry::default());
        let budget = Budget::new(256 << 20, Arc::clone(&telemetry));
        let storages = Arc::new(Storages::dry(Arc::clone(&telemetry)));
        let budgets = Arc::default();
        let site = Site { workers, budget, storages, budgets, in_container: false, telemetry };
        let (pool, panics) = Pool::start(workers).unwrap();
        let plan = plan::plan(document, &site, &pool.offload(), &Kept::default()).unwrap();
        let Plan { graph, exporters, mut receivers, .. } = plan;
        let next = Next::prepare(&pool.graph(), graph, workers, Box::new(|| {})).unwrap();
        pool.exchange_here(next).unwrap();
        let routes = Routes::new(std::mem::take(&mut receivers[0].routes));
        let deps = InletDeps {
            budget: Arc::clone(&site.budget),
            pool: Arc::clone(&pool),
            open_requests: Arc::default(),
        };
        let inlet = ReceiverInlet::new(deps, Arc::clone(&routes));
        let queue = Arc::clone(&exporters[0].queue);
        let mut world = World {
            site,
            pool,
            inlet: Arc::new(inlet),
            routes,
            queue,
            kept: Kept::default(),
            idle: Vec::new(),
            panics,
        };
        world.keep(&exporters, &receivers[0]);
        world.idle.extend(exporters);
        world
    }

    fn keep(&mut self, exporters: &[plan::PlannedExporter], receiver: &PlannedReceiver) {
        let exporters = exporters.iter();
        let exporters = exporters
            .map(|one| ((one.id.clone(), one.signal), (one.identity.clone(), one.queue.clone())));
        let (identity, feeds) = (receiver.identity.clone(), receiver.feeds.clone());
        let runs = KeptReceiver { identity: Some(identity), feeds, journal: None };
        let receivers = [(receiver.id.clone(), runs)].into();
        self.kept = Kept { exporters: exporters.collect(), receivers };
    }

    /// Reloads; the planned receivers come back.
    async fn reload(&mut self, document: &Document) -> Vec<PlannedReceiver> {
        let offload = self.pool.offload();
        let plan = plan::plan(document, &self.site, &offload, &self.kept).unwrap();
        let Plan { graph, exporters, mut receivers, mut last_routes, .. } = plan;
        let new = match last_routes.pop() {
            Some((_, last)) => last,
            None => std::mem::take(&mut receivers[0].routes),
        };
        let routes = Arc::clone(&self.routes);
        let install = Box::new(move || routes.replace(new));
        let next = Next::prepare(&self.pool.graph(), graph, self.site.workers, install).unwrap();
        self.pool.exchange(next).await.unwrap();
        self.queue = Arc::clone(&exporters[0].queue);
        self.keep(&exporters, &receivers[0]);
        self.idle.extend(exporters);
        receivers
    }

    fn pending(&self) -> u64 {
        let name = "otelcol_processor_tail_sampling_sampling_traces_on_memory";
        self.site.telemetry.registry().sum(name)
    }

    fn queued(&self) -> u64 {
        self.queue.stats().queue_size()
    }
}

/// Sends a span of a trace of its own.
async fn send(inlet: &Arc<ReceiverInlet>, trace: u128) -> Reply {
    let span = Span {
        trace_id: (trace << 64 | trace | 1).to_be_bytes().to_vec(),
        span_id: vec![7; 8],
        ..Span::default()
    };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    let admission = Arc::clone(inlet).admission(Signal::Traces)?;
    let permit = admission.try_permit(body.len())?.unwrap();
    let arrival = Arrival {
        signal: Signal::Traces,
        encoding: Encoding::Protobuf,
        compression: Compression::Identity,
        body: body.into(),
        permit,
        max_inflated: 1 << 20,
        utf8: Utf8::Strict,
        context: None,
        wait: Wait::Acceptance,
        stats: Telemetry::default().receiver("nop", Signal::Traces, "grpc"),
        vetting: None,
        caller: Caller::default(),
    };
    admission.submit(arrival).await
}

#[tokio::test]
async fn a_tail_sampler_keeps_its_traces_when_another_processor_changes() {
    for workers in [1, 3] {
        let mut world = World::new(workers, &pipelines("1", "1h", ""));
        for trace in 1..=20 {
            send(&world.inlet, trace).await.unwrap();
        }
        for value in ["2", "3"] {
            world.reload(&pipelines(value, "1h", "")).await;
            // Each worker counts its own; with threads the last payload may still be on its way.
            while world.pending() < 20 {
                tokio::task::yield_now().await;
            }
            assert_eq!((world.pending(), world.queued()), (20, 0), "{workers} workers");
        }
        send(&world.inlet, 21).await.unwrap();
        world.pool.drain().await;
        assert_eq!((world.pending(), world.queued()), (0, 21), "{workers} workers");
        world.pool.stop();
    }
}

#[test]
fn another_exporter_changes_no_processor() {
    let identities = |exporters: &str, ids: &str| {
        let document = document(&format!(
            "receivers: {{nop: {{}}}}
processors:
  attributes: {{actions: [{{key: a, action: upsert, value: b}}]}}
  tail_sampling: {{policies: [{{name: all, type: always_sample}}]}}
exporters: {{nop: {{}}{exporters}}}
service:
  pipelines:
    traces: {{receivers: [nop], processors: [attributes, tail_sampling], exporters: [nop{ids}]}}"
        ));
        let world = World::new(1, &document);
        let graph = world.pool.graph();
        let stages = graph.pipelines[0].stages.iter();
        stages.map(|stage| stage.identity.clone().unwrap()).collect::<Vec<_>>()
    };
    let one = identities("", "");
    assert_eq!(identities(", nop/b: {}", ", nop/b"), one);
    // The first one that reads weights: from now on the sampler writes them.
    let weighted = identities(", honeycomb: {api_key: k}", ", honeycomb");
    assert_eq!(weighted[0], one[0]);
    assert_ne!(weighted[1], one[1]);
}

#[tokio::test]
async fn a_processor_that_changes_emits_what_it_holds_through_the_old_graph() {
    for workers in [1, 3] {
        let mut world = World::new(workers, &pipelines("1", "1h", ""));
        for trace in 1..=20 {
            send(&world.inlet, trace).await.unwrap();
        }
        world.reload(&pipelines("1", "2h", "")).await;
        // The batch behind it is kept, and holds them now.
        assert_eq!((world.pending(), world.queued()), (0, 0), "{workers} workers");
        let batch =
            "traces/batched: {receivers: [nop], processors: [batch], exporters: [otlp_grpc]}";
        world.reload(&pipelines("1", "2h", &format!("    {batch}\n"))).await;
        assert_eq!(world.queued(), 0, "a batch belongs to its pipeline");
        let gone = document(
            "receivers: {nop: {}}
exporters: {otlp_grpc: {endpoint: '127.0.0.1:1', tls: {insecure: true}, sending_queue: {sizer: items, queue_size: 10000000}}}
service: {pipelines: {traces: {receivers: [nop], exporters: [otlp_grpc]}}}",
        );
        world.reload(&gone).await;
        assert_eq!(world.queued(), 20, "{workers} workers");
        world.pool.stop();
    }
}

#[tokio::test]
async fn nothing_is_refused_or_lost_while_the_graph_changes_under_load() {
    for workers in [1, 3] {
        let mut world = World::new(workers, &pipelines("0", "1h", ""));
        let is_over = Arc::new(AtomicBool::new(false));
        let mut senders = JoinSet::new();
        for sender in 0..4_u128 {
            let (inlet, is_over) = (Arc::clone(&world.inlet), Arc::clone(&is_over));
            senders.spawn(async move {
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    sent += 1;
                    send(&inlet, sender << 32 | sent).await.unwrap();
                    tokio::task::yield_now().await;
                }
                u64::try_from(sent).unwrap()
            });
        }
        for round in 0..60 {
            let wait = if round % 3 == 0 { "2h" } else { "1h" };
            world.reload(&pipelines(&round.to_string(), wait, "")).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        is_over.store(true, Ordering::Relaxed);
        let sent: u64 = senders.join_all().await.into_iter().sum();
        world.pool.drain().await;
        assert!(sent > 100 && world.panics.try_recv().is_err());
        assert_eq!((world.pending(), world.queued()), (0, sent), "{workers} workers");
        world.pool.stop();
    }
}

#[tokio::test]
async fn what_a_removed_receiver_still_brings_goes_into_the_pipelines_that_are_left() {
    let text = |receiver: &str, pipeline: &str| {
        document(&format!(
            "receivers: {{nop: {{}}, nop/b: {{}}}}
exporters: {{otlp_grpc: {{endpoint: '127.0.0.1:1', tls: {{insecure: true}}, sending_queue: {{sizer: items, queue_size: 10000000}}}}}}
service: {{pipelines: {{{pipeline}: {{receivers: [{receiver}], exporters: [otlp_grpc]}}}}}}"
        ))
    };
    let mut world = World::new(1, &text("nop", "traces/a"));
    send(&world.inlet, 1).await.unwrap();
    let planned = world.reload(&text("nop/b", "traces/a")).await;
    assert!(planned[0].receiver.is_some(), "another one");
    send(&world.inlet, 2).await.unwrap();
    assert_eq!(world.queued(), 2, "the exporter is the same one");
    let mut world = World::new(1, &text("nop", "traces/a"));
    world.reload(&text("nop/b", "traces/b")).await;
    let refusal = send(&world.inlet, 3).await.unwrap_err();
    assert!(matches!(refusal, Rejection::Unavailable(Reason::ShuttingDown, Some(_))));
}

#[tokio::test]
async fn another_secret_of_its_authenticator_makes_another_exporter() {
    let with = |token: &str| {
        document(&format!(
            "receivers: {{nop: {{}}}}
extensions: {{bearertokenauth: {{token: {token}}}}}
exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:1', auth: {{authenticator: bearertokenauth}}}}}}
service: {{extensions: [bearertokenauth], pipelines: {{traces: {{receivers: [nop], exporters: [otlp_http]}}}}}}"
        ))
    };
    let mut world = World::new(1, &with("one"));
    let queue = Arc::clone(&world.queue);
    world.reload(&with("one")).await;
    assert!(Arc::ptr_eq(&queue, &world.queue));
    world.reload(&with("two")).await;
    assert!(!Arc::ptr_eq(&queue, &world.queue));
}

#[tokio::test]
async fn another_secret_of_its_authenticator_makes_another_receiver() {
    let with = |token: &str| {
        document(&format!(
            "receivers: {{otlp: {{protocols: {{http: {{auth: {{authenticator: bearertokenauth}}}}}}}}}}
extensions: {{bearertokenauth: {{token: {token}}}}}
exporters: {{nop: }}
service: {{extensions: [bearertokenauth], pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}"
        ))
    };
    let mut world = World::new(1, &with("one"));
    assert!(world.reload(&with("one")).await[0].receiver.is_none());
    assert!(world.reload(&with("two")).await[0].receiver.is_some());
}

#[tokio::test]
async fn what_is_the_same_is_not_built_again() {
    let mut world = World::new(1, &pipelines("1", "1h", ""));
    let queue = Arc::clone(&world.queue);
    let planned = world.reload(&pipelines("2", "1h", "")).await;
    assert!(planned[0].receiver.is_none());
    assert!(Arc::ptr_eq(&queue, &world.queue));
    // Another spelling of the same settings is no change.
    let rewritten = text("2", "1h", "").replace("10000000", "0x989680");
    let planned = world.reload(&document(&rewritten)).await;
    assert!(planned[0].receiver.is_none());
    assert!(Arc::ptr_eq(&queue, &world.queue));
    let more = "    logs: {receivers: [nop], exporters: [otlp_grpc]}";
    let other = text("2", "1h", more).replace("10000000", "20000000");
    let planned = world.reload(&document(&other)).await;
    assert!(planned[0].receiver.is_some());
    assert!(!Arc::ptr_eq(&queue, &world.queue));
}
