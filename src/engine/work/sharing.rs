//! Stages that are split by trace id, on real threads: each trace has one owner, nothing is lost or
//! counted twice.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

use super::{
    exchange::Next,
    graph::{Graph, Pipeline, Stage},
    pool::Pool,
};
use crate::{
    component::{ByTrace, Output, Partition, Processor, Share},
    otlp::{Payload, Signal, payload::Outcome},
    telemetry::Telemetry,
};

/// Spans by trace id and worker.
type Seen = Arc<Mutex<HashMap<(Vec<u8>, usize), u64>>>;

struct Owner {
    worker: usize,
    seen: Seen,
}

impl Processor for Owner {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        let request = ExportTraceServiceRequest::decode(&*payload.body.concat()).unwrap();
        let mut seen = self.seen.lock().unwrap();
        for span in request.resource_spans.iter().flat_map(|e| &e.scope_spans[0].spans) {
            *seen.entry((span.trace_id.clone(), self.worker)).or_default() += 1;
        }
        drop(seen);
        out.filter(payload);
    }

    fn by_trace(&mut self) -> Option<&mut dyn ByTrace> {
        Some(self)
    }
}

impl ByTrace for Owner {
    fn share(&mut self, payload: Payload, owners: usize, _: &mut Output) -> Vec<Option<Share>> {
        let request = ExportTraceServiceRequest::decode(&*payload.body.concat()).unwrap();
        let bodies = (0..owners).map(|owner| {
            let mut entries = request.resource_spans.clone();
            let spans = &mut entries[0].scope_spans[0].spans;
            spans.retain(|span| usize::from(span.trace_id[7]) % owners == owner);
            let items = spans.len() as u64;
            let body = ExportTraceServiceRequest { resource_spans: entries }.encode_to_vec();
            (smallvec::smallvec![body.into()], items)
        });
        let share = |payload: Payload| {
            if payload.items > 0 {
                return Some(Share { payload, reading: Box::new(()) });
            }
            payload.finish(Outcome::Filtered);
            None
        };
        payload.divide(bodies.collect::<Vec<_>>()).into_iter().map(share).collect()
    }

    fn take(&mut self, share: Share, out: &mut Output) {
        self.process(share.payload, out);
    }
}

#[tokio::test]
async fn each_trace_has_one_owner() {
    let (telemetry, seen) = (Arc::new(Telemetry::default()), Seen::default());
    let stats = telemetry.processor("tail_sampling", "traces", Signal::Traces);
    let owners = Arc::clone(&seen);
    let stage = Stage {
        partition: Partition::ByTrace,
        owner: 0,
        stats: Arc::clone(&stats),
        edge: None,
        build: Box::new(move |count| {
            let owner = |worker| Owner { worker, seen: Arc::clone(&owners) };
            Ok((0..count).map(|worker| Box::new(owner(worker)) as Box<dyn Processor>).collect())
        }),
        identity: None,
    };
    let pipeline = Pipeline {
        id: "traces".to_owned(),
        signal: Signal::Traces,
        stages: vec![stage],
        ends: Vec::new(),
    };
    let graph = Arc::new(Graph {
        pipelines: vec![pipeline],
        connectors: Vec::new(),
        queues: Vec::new(),
        downstream_order: vec![0],
    });
    let (pool, _) = Pool::start(3).unwrap();
    let next = Next::prepare(&pool.graph(), graph, 3, Box::new(|| {})).unwrap();
    pool.exchange_here(next).unwrap();
    for request in 0..200_u128 {
        let span = |i: u128| Span {
            trace_id: ((request / 4 * 10 + i % 10) << 64 | 7).to_be_bytes().to_vec(),
            ..Span::default()
        };
        let scope = ScopeSpans { spans: (0..20).map(span).collect(), ..ScopeSpans::default() };
        let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
        let payload = Payload::unpaid(Signal::Traces, body.into(), 20);
        pool.submit(Box::new(move |worker, now| worker.enter(&[(0, None)], payload, now)));
    }
    pool.drain().await;
    pool.stop();
    let seen = seen.lock().unwrap();
    // Fifty groups of ten traces, each in four requests, two spans each.
    assert_eq!(seen.len(), 500, "one owner each");
    assert!(seen.values().all(|spans| *spans == 8));
    let workers: std::collections::HashSet<usize> =
        seen.keys().map(|(_, worker)| *worker).collect();
    assert_eq!(workers.len(), 3);
    assert_eq!((stats.incoming.read(), stats.filtered.read()), (4000, 4000));
}
