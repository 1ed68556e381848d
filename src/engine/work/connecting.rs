//! Connectors on real threads: one with a single owner takes everything there, chooses where its
//! output goes, and is drained once, after all that feeds it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::{
    exchange::Next,
    graph::{Connector, End, Graph, Pipeline, Stage, Target},
    pool::Pool,
};
use crate::{
    component::{Output, Partition, Processor},
    otlp::{Payload, Signal, payload::Outcome},
    telemetry::Telemetry,
};

/// Holds payloads until it is drained.
struct Holder(Vec<Payload>);

impl Processor for Holder {
    fn process(&mut self, payload: Payload, _: &mut Output) {
        self.0.push(payload);
    }

    fn drain(&mut self, out: &mut Output) {
        self.0.drain(..).for_each(|payload| out.emit(payload));
    }
}

/// Sends payloads of an odd number of items to the second outlet, others to the first. When it is
/// drained it sends one of as many items as it has seen to both.
struct Sorter {
    seen: u64,
    drained: Arc<AtomicUsize>,
}

impl Processor for Sorter {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        self.seen += payload.items;
        out.emit_to(usize::from(payload.items % 2 == 1), payload);
    }

    fn drain(&mut self, out: &mut Output) {
        self.drained.fetch_add(1, Ordering::SeqCst);
        out.emit(Payload::unpaid(Signal::Logs, bytes::Bytes::new(), self.seen));
    }
}

struct Sink(Arc<AtomicU64>);

impl Processor for Sink {
    fn process(&mut self, payload: Payload, _: &mut Output) {
        self.0.fetch_add(payload.items, Ordering::SeqCst);
        payload.finish(Outcome::Delivered);
    }
}

fn pipeline(
    id: &str,
    telemetry: &Telemetry,
    ends: Vec<End>,
    build: impl Fn() -> Box<dyn Processor> + Send + Sync + 'static,
) -> Pipeline {
    let stage = Stage {
        partition: Partition::Single,
        owner: 0,
        stats: telemetry.processor("one", id, Signal::Logs),
        edge: None,
        build: Box::new(move |count| Ok((0..count).map(|_| build()).collect())),
        identity: None,
    };
    Pipeline { id: id.to_owned(), signal: Signal::Logs, stages: vec![stage], ends }
}

/// Two pipelines that hold what comes, the connector that both feed, and its two outlets.
fn run(workers: usize) -> (Vec<usize>, [u64; 2], usize) {
    let telemetry = Telemetry::default();
    let end = || {
        let edge = telemetry.edge("in", "processor one", "connector sorter");
        vec![End { target: Target::Connector(0), edge }]
    };
    let counts: [Arc<AtomicU64>; 2] = Default::default();
    let mut pipelines = Vec::new();
    for count in &counts {
        let count = Arc::clone(count);
        let sink = move || Box::new(Sink(Arc::clone(&count))) as Box<dyn Processor>;
        pipelines.push(pipeline("out", &telemetry, Vec::new(), sink));
    }
    for id in ["a", "b"] {
        let holder = || Box::new(Holder(Vec::new())) as Box<dyn Processor>;
        pipelines.push(pipeline(id, &telemetry, end(), holder));
    }
    let (built, drained): (Arc<Mutex<Vec<usize>>>, Arc<AtomicUsize>) = Default::default();
    let (replicas, drains) = (Arc::clone(&built), Arc::clone(&drained));
    let connector = Connector {
        id: "sorter".to_owned(),
        owner: Some(workers - 1),
        build: Box::new(move |count| {
            replicas.lock().unwrap().push(count);
            let sorter = |_| Sorter { seen: 0, drained: Arc::clone(&drains) };
            Ok((0..count).map(|i| Box::new(sorter(i)) as Box<dyn Processor>).collect())
        }),
        identity: None,
        targets: vec![(0, None), (1, None)],
    };
    let graph = Arc::new(Graph {
        pipelines,
        connectors: vec![connector],
        queues: Vec::new(),
        downstream_order: vec![2, 3, 0, 1],
    });
    let (pool, _) = Pool::start(workers).unwrap();
    let next = Next::prepare(&pool.graph(), graph, workers, Box::new(|| {})).unwrap();
    pool.exchange_here(next).unwrap();
    for items in 1..=10 {
        let payload = Payload::unpaid(Signal::Logs, bytes::Bytes::new(), items);
        let into = 2 + usize::from(items > 5);
        pool.submit(Box::new(move |worker, now| worker.enter(&[(into, None)], payload, now)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(pool.drain());
    pool.stop();
    let counts = counts.map(|count| count.load(Ordering::SeqCst));
    (built.lock().unwrap().clone(), counts, drained.load(Ordering::SeqCst))
}

#[test]
fn a_single_connector_takes_everything_and_is_drained_once_after_all_that_feeds_it() {
    for workers in [1, 3] {
        let (built, counts, drained) = run(workers);
        assert_eq!(built, [1], "one replica");
        // 2 + 4 + ... + 10, 1 + 3 + ... + 9, and all 55 at the end.
        assert_eq!(counts, [30 + 55, 25 + 55], "{workers} workers");
        assert_eq!(drained, 1, "{workers} workers");
    }
}
