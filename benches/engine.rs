//! What the engine itself costs per payload, beside the work on its bytes: paying for them,
//! answering for them, the hop to a worker, batching, counting. `cargo bench --bench engine`; times
//! and allocations are per call, items are payloads, receipts or jobs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Instant,
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use skep::{
    component::{BuildContext, Output, Partition, Processor},
    config::{Problems, yaml},
    engine::{
        budget::Budget,
        work::{
            exchange::Next,
            graph::{Graph, Pipeline, Stage},
            pool::Pool,
            worker::Worker,
        },
    },
    otlp::{
        Payload, Signal,
        payload::{Outcome, Receipt, Wait},
        view,
    },
    processors,
    telemetry::{
        Desc, Histogram, Meter, ProcessorStats, Telemetry, histogram,
        senders::{Caller, Named, Origin, Senders},
        tap::Place,
    },
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const BODY: usize = 74_000;
const SPANS: u64 = 100;
/// Payloads of [`SPANS`] that fill one batch of the default size, 8192.
const BATCH: usize = 82;

fn main() {
    divan::main();
}

/// Charges a body and gives its bytes back, on one thread and on two that share the budget.
#[divan::bench(threads = [1, 2])]
fn budget_acquire_release(bencher: Bencher) {
    let budget = Budget::new(64 << 20, Arc::new(Telemetry::default()));
    bencher.bench(|| drop(budget.try_acquire(black_box(BODY)).expect("it has room")));
}

/// A receipt that is cloned for so many parts and answers when the last one ends.
#[divan::bench(args = [1, 3, BATCH])]
fn receipt(bencher: Bencher, parts: usize) {
    bencher.counter(ItemsCount::new(parts)).bench(|| {
        let answer = |outcome| {
            black_box(outcome);
        };
        let receipt = Receipt::new(Wait::Delivery, Box::new(answer));
        for part in vec![receipt; parts] {
            part.settle(Outcome::Delivered);
        }
    });
}

/// So many jobs to the workers and back, waiting for each or for the last of [`BATCH`]. One worker
/// runs on the calling thread, two have threads of their own.
#[divan::bench(args = [(1, 1), (2, 1), (1, BATCH), (2, BATCH)])]
fn hop(bencher: Bencher, (workers, jobs): (usize, usize)) {
    let (pool, _panics) = Pool::start(workers).expect("threads");
    let (done_tx, done) = mpsc::channel();
    bencher.counter(ItemsCount::new(jobs)).bench_local(|| {
        for job in 0..jobs {
            let done_tx = done_tx.clone();
            pool.submit(Box::new(move |_: &mut Worker, _| {
                let _ = done_tx.send(job);
            }));
        }
        done.iter().take(jobs).sum::<usize>()
    });
    pool.stop();
}

/// Ends every payload.
struct End;

impl Processor for End {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        out.filter(payload);
    }
}

/// A payload through a processor on the worker of the caller: with no tap, with one whose queue has
/// room, and with one whose queue is full, as that of a reader that is too slow.
#[divan::bench(args = ["closed", "open", "full"])]
fn tapped(bencher: Bencher, tap: &str) {
    let telemetry = Telemetry::default();
    let stats = telemetry.processor("end", "traces", Signal::Traces);
    let stage = Stage {
        partition: Partition::Any,
        owner: 0,
        stats: Arc::clone(&stats),
        edge: None,
        build: Box::new(|count| Ok((0..count).map(|_| Box::new(End) as Box<_>).collect())),
        identity: None,
    };
    let pipeline = Pipeline {
        id: "traces".to_owned(),
        signal: Signal::Traces,
        stages: vec![stage],
        ends: Vec::new(),
    };
    let graph = Graph { pipelines: vec![pipeline], downstream_order: vec![0], ..Graph::default() };
    let (pool, _) = Pool::start(1).expect("no thread is needed");
    let next = Next::prepare(&pool.graph(), Arc::new(graph), 1, Box::new(|| {}));
    pool.exchange_here(next.expect("it builds")).expect("nothing panics");
    let place: Place = Arc::<ProcessorStats>::downgrade(&stats);
    let mut open = (tap != "closed").then(|| telemetry.taps.open(vec![place])).flatten();
    let body = Bytes::from(vec![0; BODY]);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let payload = Payload::unpaid(Signal::Traces, body.clone(), SPANS);
        pool.submit(Box::new(move |worker: &mut Worker, now| {
            worker.enter(&[(0, None)], payload, now);
        }));
        if tap == "open"
            && let Some(tap) = &mut open
        {
            black_box(tap.try_next());
        }
    });
}

/// The `batch` processor with its defaults.
fn batch() -> Box<dyn Processor> {
    let node = yaml::parse(0, "{}").expect("it is YAML");
    let entry = processors::ALL.iter().find(|entry| entry.name == "batch");
    let mut problems = Problems::default();
    let config = (entry.expect("it is registered").decode)(&node, &mut problems);
    let context = BuildContext::test("batch", Signal::Traces);
    config.and_then(|config| config.build(&context).ok()).expect("the defaults are right")
}

/// [`BATCH`] payloads, each paid for and answered for, into one batch, until the
/// batch is dropped and all is given back. The processor joins bodies without a look inside, so
/// theirs are zeros.
#[divan::bench]
fn batch_of_82_payloads(bencher: Bencher) {
    let budget = Budget::new(64 << 20, Arc::new(Telemetry::default()));
    let body = Bytes::from(vec![0; BODY]);
    let mut processor = batch();
    let payload = || {
        let mut payload = Payload::unpaid(Signal::Traces, body.clone(), SPANS);
        payload.permits.push(budget.try_acquire(BODY).expect("it has room"));
        payload.receipts.push(Receipt::new(Wait::Acceptance, Box::new(|_| ())));
        payload
    };
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let mut out = Output::at(Instant::now());
        for _ in 0..BATCH {
            processor.process(payload(), &mut out);
        }
        let emitted = out.take();
        assert_eq!(emitted.len(), 1, "all payloads make one batch");
        drop(black_box(emitted));
    });
}

/// What a handle of the `metrics` crate does: a call through a vtable, gauges and distributions in
/// floating point.
trait Handle: Send + Sync {
    fn increment(&self, n: u64);
    fn add(&self, n: f64);
    fn record(&self, value: f64);
}

struct Cell {
    number: AtomicU64,
    buckets: Histogram,
}

impl Handle for Cell {
    fn increment(&self, n: u64) {
        self.number.fetch_add(n, Ordering::Release);
    }

    fn add(&self, n: f64) {
        let add = |bits| Some((f64::from_bits(bits) + n).to_bits());
        let _ = self.number.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of items")]
    fn record(&self, value: f64) {
        self.buckets.record(value as u64);
    }
}

const COUNT: Desc = Desc::new("skep_bench_count", "{item}", "Items");

fn sizes() -> Histogram {
    Meter::default().histogram(&COUNT, histogram::ITEMS, &[])
}

fn dynamic() -> Arc<dyn Handle> {
    Arc::new(Cell { number: AtomicU64::new(0), buckets: sizes() })
}

/// Reads the resource of a request, with so many attributes, finds its sender in a table of 500,
/// and counts.
#[divan::bench(args = [4, 12])]
fn sender_known(bencher: Bencher, attributes: usize) {
    let senders = Senders::default();
    let caller = Caller {
        transport: "grpc",
        peer: Some(([10, 0, 0, 1], 50_000).into()),
        ..Caller::default()
    };
    let origin =
        Origin { receiver: "otlp", caller: &caller, encoding: "proto", compression: "gzip" };
    let now = tokio::time::Instant::now();
    for number in 0..500 {
        let service = format!("service-{number}");
        let named = Named { service: service.as_bytes(), ..Named::default() };
        senders.of_data(&origin, &named, now);
    }
    let request = resource(attributes);
    bencher.bench_local(|| {
        for entry in view::traces(black_box(&request)) {
            let named = entry.resource.as_ref().map(Named::of).unwrap_or_default();
            let sender = senders.of_data(&origin, &named, now);
            sender.count_request(Signal::Traces);
            sender.count_taken(Signal::Traces, SPANS);
        }
    });
}

/// A request of one resource, which names its service and SDK last.
fn resource(attributes: usize) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let len = u8::try_from(bytes.len()).expect("a short field");
        [&[number << 3 | 2, len][..], bytes].concat()
    };
    let attribute = |key: &str, text: &str| {
        let value = field(1, text.as_bytes());
        field(1, &[field(1, key.as_bytes()), field(2, &value)].concat())
    };
    let of_sdk = [
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", "1.29.0"),
        ("service.name", "shop"),
    ];
    let others = (4..attributes).map(|_| ("k", "v"));
    let all: Vec<u8> = others.chain(of_sdk).flat_map(|(key, text)| attribute(key, text)).collect();
    field(1, &field(1, &all))
}

#[divan::bench]
fn metric_counter(bencher: Bencher) {
    let counter = Meter::default().counter(&COUNT, &[]);
    bencher.bench_local(|| black_box(&counter).add(black_box(7)));
}

#[divan::bench]
fn metric_counter_by_vtable(bencher: Bencher) {
    let counter = Some(dynamic());
    bencher.bench_local(|| black_box(&counter).as_ref().map(|c| c.increment(black_box(7))));
}

#[divan::bench]
fn metric_gauge(bencher: Bencher) {
    let gauge = Meter::default().gauge(&COUNT, &[]);
    bencher.bench_local(|| {
        black_box(&gauge).add(black_box(7));
        black_box(&gauge).sub(black_box(7));
    });
}

#[divan::bench]
fn metric_gauge_by_vtable(bencher: Bencher) {
    let gauge = Some(dynamic());
    bencher.bench_local(|| {
        for by in [7.0, -7.0] {
            if let Some(gauge) = black_box(&gauge) {
                gauge.add(black_box(by));
            }
        }
    });
}

#[divan::bench]
fn metric_histogram(bencher: Bencher) {
    let histogram = sizes();
    bencher.bench_local(|| black_box(&histogram).record(black_box(700)));
}

#[divan::bench]
fn metric_histogram_by_vtable(bencher: Bencher) {
    let histogram = Some(dynamic());
    bencher.bench_local(|| black_box(&histogram).as_ref().map(|h| h.record(black_box(700.0))));
}
