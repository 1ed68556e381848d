//! What skep knows about itself: metrics, and the state that pages, probes and the control plane
//! show. It only watches: nothing here decides what happens to data.
//!
//! - [`metric`] and [`registry`]: how components register their metrics, and how pages read them.
//!   A metric is described in the file of the component that counts it.
//! - [`receiver`], [`processor`], [`exporter`], [`edge`]: what the engine counts about every
//!   component, whatever its type.
//! - [`senders`]: who sends; [`history`]: what the counters were in the last minutes.
//! - [`decisions`]: why traces were kept or dropped; [`verdict`]: what probes are told.
//! - [`tap`]: how somebody looks at the data itself, on one edge.
//! - [`logs`], [`outlet`]: the log that skep writes about itself.
//!
//! Asking for the counters of the same component gives the same block, so that a successor at a
//! reload goes on counting where its predecessor stopped. A block is forgotten once only
//! [`Telemetry`] holds it.

pub mod calendar;
pub mod decisions;
pub mod edge;
pub mod exporter;
pub mod histogram;
pub mod history;
mod log_file;
pub mod logs;
pub mod metric;
mod number;
pub mod oldest;
pub mod outlet;
pub mod process;
pub mod processor;
pub mod receiver;
pub mod registry;
pub mod senders;
pub mod storage;
pub mod tap;
pub mod verdict;
pub mod words;

use std::sync::{Arc, Mutex, Weak};

use self::{decisions::Decisions, history::History, senders::Senders, storage::LogStats};
pub use self::{
    edge::{EdgeCounts, EdgeStats},
    exporter::{ExporterCounts, ExporterStats},
    metric::{Asked, Counter, Desc, Detail, Gauge, Histogram},
    number::Number,
    processor::{ProcessorCounts, ProcessorStats},
    receiver::{ReceiverCounts, ReceiverStats, Refused},
    registry::{Meter, Registry},
};
use crate::{
    budget::MonthlyBudget,
    config::shown::without_secrets,
    otlp::{Signal, payload::Reason, tee::Tee},
    sync::lock,
};

const BUDGET_LIMIT: Desc =
    Desc::new("skep_budget_limit_bytes", "By", "Most bytes that payloads may hold");
const BUDGET_USED: Desc = Desc::new("skep_budget_used_bytes", "By", "Bytes that payloads hold");
const BUDGET_WAITING: Desc =
    Desc::new("skep_budget_waiting_requests", "{request}", "Requests that wait for bytes");
const READY: Desc = Desc::new("skep_ready", "1", "1 while the pipelines run");
const RELOADS: Desc =
    Desc::new("skep_reloads", "{reload}", "Reloads of the configuration, by outcome");
const DROPPED: Desc = Desc::new("skep_dropped_items", "{item}", "Items dropped, by reason");

/// One pipeline, with the ids that the configuration gives its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineInfo {
    /// `traces/backend`.
    pub id: String,
    /// Receivers, and connectors in their place.
    pub receivers: Vec<String>,
    /// Processors, in order.
    pub processors: Vec<String>,
    /// Exporters, and connectors in their place.
    pub exporters: Vec<String>,
}

/// What runs, by the ids of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    pub pipelines: Vec<PipelineInfo>,
    pub extensions: Vec<String>,
}

/// A port or socket of a receiver that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPort {
    /// Id of the receiver.
    pub component: String,
    /// `grpc`, `http`, `udp`, ...
    pub protocol: &'static str,
    /// Address, or path of a unix socket.
    pub address: String,
    /// Whether TLS is on.
    pub tls: bool,
}

/// The whole process.
#[derive(Debug)]
pub struct Telemetry {
    registry: Arc<Registry>,
    receivers: Mutex<Vec<Arc<ReceiverStats>>>,
    processors: Mutex<Vec<Arc<ProcessorStats>>>,
    exporters: Mutex<Vec<Arc<ExporterStats>>>,
    edges: Mutex<Vec<Arc<EdgeStats>>>,
    decisions: Mutex<Vec<Arc<Decisions>>>,
    /// Monthly budgets, by exporter; forgotten with their exporters.
    budgets: Mutex<Vec<(String, Weak<MonthlyBudget>)>>,
    /// Logs on disk, with the handles of their metrics.
    logs: Mutex<Vec<(Arc<LogStats>, Vec<Asked>)>>,
    /// Byte budget: limit.
    pub budget_limit: Gauge,
    /// Byte budget: in use.
    pub budget_used: Gauge,
    /// Byte budget: requests waiting.
    pub budget_waiting: Gauge,
    /// Items dropped by reason, indexed by `Reason as usize`.
    pub dropped: [Counter; Reason::ALL.len()],
    /// When this process started, and its identity.
    pub process: process::Identity,
    /// What runs, for pages; the engine writes it at start and at reload.
    inventory: Mutex<Arc<Inventory>>,
    /// What is open; likewise.
    ports: Mutex<Arc<Vec<OpenPort>>>,
    /// Who sends.
    pub senders: Arc<Senders>,
    /// What the counters were in the last minutes.
    pub history: History,
    /// Reloads of the configuration that were applied, and those that were refused.
    pub reloads: [Counter; 2],
    /// 1 once the pipelines run, 0 before and from the start of the drain.
    pub ready: Gauge,
    /// Notified of every change of `ready`.
    pub ready_changed: tokio::sync::Notify,
    /// The taps that may be open.
    pub taps: tap::Seats,
    /// Where a reader of all that comes in may be connected.
    pub tee: Arc<Tee>,
}

impl Default for Telemetry {
    fn default() -> Self {
        let registry = Arc::default();
        let meter = Meter::new(&registry, "");
        // `Reason::ALL` is in the order of severity.
        let mut by_number = Reason::ALL;
        by_number.sort_unstable_by_key(|reason| *reason as usize);
        Telemetry {
            receivers: Mutex::default(),
            processors: Mutex::default(),
            exporters: Mutex::default(),
            edges: Mutex::default(),
            decisions: Mutex::default(),
            budgets: Mutex::default(),
            logs: Mutex::default(),
            budget_limit: meter.gauge(&BUDGET_LIMIT, &[]),
            budget_used: meter.gauge(&BUDGET_USED, &[]),
            budget_waiting: meter.gauge(&BUDGET_WAITING, &[]),
            dropped: by_number.map(|reason| meter.counter(&DROPPED, &[("reason", reason.name())])),
            process: process::Identity::default(),
            inventory: Mutex::default(),
            ports: Mutex::default(),
            senders: Arc::default(),
            history: History::default(),
            reloads: ["applied", "refused"]
                .map(|outcome| meter.counter(&RELOADS, &[("outcome", outcome)])),
            ready: meter.gauge(&READY, &[]),
            ready_changed: tokio::sync::Notify::new(),
            taps: tap::Seats::default(),
            tee: Arc::default(),
            registry,
        }
    }
}

/// The block that `matches` finds, or a new one.
fn block<T>(
    all: &Mutex<Vec<Arc<T>>>,
    matches: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Arc<T>,
) -> Arc<T> {
    let mut all = lock(all);
    if let Some(known) = all.iter().find(|known| matches(known)) {
        return Arc::clone(known);
    }
    let new = make();
    all.push(Arc::clone(&new));
    new
}

impl Telemetry {
    /// All metrics.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Registers the metrics of what `scope` names.
    pub fn meter(&self, scope: &str) -> Meter {
        Meter::new(&self.registry, scope)
    }

    /// Forgets the counters that nobody adds to any more because their components have gone.
    pub fn forget_unused(&self) {
        fn sweep<T>(all: &Mutex<Vec<Arc<T>>>) {
            lock(all).retain(|one| Arc::strong_count(one) > 1);
        }
        sweep(&self.receivers);
        sweep(&self.processors);
        sweep(&self.exporters);
        sweep(&self.edges);
        sweep(&self.decisions);
        self.registry.forget_unused();
    }

    /// Shows the monthly budget of an exporter.
    pub fn watch_budget(&self, exporter: &str, budget: &Arc<MonthlyBudget>) {
        let mut all = lock(&self.budgets);
        all.retain(|(_, budget)| budget.strong_count() > 0);
        all.push((exporter.to_owned(), Arc::downgrade(budget)));
        all.sort_by(|one, other| one.0.cmp(&other.0));
    }

    /// The monthly budgets that are open, by exporter.
    pub fn budgets(&self) -> Vec<(String, Arc<MonthlyBudget>)> {
        let all = lock(&self.budgets);
        let open = |(id, budget): &(String, Weak<_>)| Some((id.clone(), budget.upgrade()?));
        all.iter().filter_map(open).collect()
    }

    /// Notes that the pipelines run, or that the drain begins.
    pub fn set_ready(&self, is_ready: bool) {
        self.ready.set(is_ready.into());
        self.ready_changed.notify_waiters();
    }

    /// Notes what runs now.
    pub fn set_inventory(&self, inventory: Inventory) {
        *lock(&self.inventory) = Arc::new(inventory);
    }

    /// What runs now; empty before the engine has noted it.
    pub fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&lock(&self.inventory))
    }

    /// Notes the ports that were opened now. Those that were open stay if their receiver `runs`
    /// still and has opened no others.
    pub fn open_ports(&self, new: Vec<OpenPort>, runs: impl Fn(&str) -> bool) {
        let mut ports = lock(&self.ports);
        let mut all: Vec<OpenPort> = (**ports).clone();
        all.retain(|old| {
            runs(&old.component) && !new.iter().any(|port| port.component == old.component)
        });
        all.extend(new);
        *ports = Arc::new(all);
    }

    /// The ports that are open now.
    pub fn ports(&self) -> Arc<Vec<OpenPort>> {
        Arc::clone(&lock(&self.ports))
    }

    /// Counts items that were dropped.
    pub fn drop_items(&self, reason: Reason, items: u64) {
        self.dropped[reason as usize].add(items);
    }

    /// The block of a receiver; made at the first call.
    pub fn receiver(
        &self,
        id: &str,
        signal: Signal,
        transport: &'static str,
    ) -> Arc<ReceiverStats> {
        let matches =
            |s: &ReceiverStats| s.id == id && s.signal == signal && s.transport == transport;
        block(&self.receivers, matches, || {
            let meter = self.meter(&format!("receiver {id}"));
            let tee = Arc::clone(&self.tee);
            let way = (signal, transport, tee);
            Arc::new(ReceiverStats::new(&meter, &self.senders, id, way))
        })
    }

    /// The block of a processor; made at the first call.
    pub fn processor(&self, id: &str, pipeline: &str, signal: Signal) -> Arc<ProcessorStats> {
        block(
            &self.processors,
            |s| s.id == id && s.pipeline == pipeline,
            || {
                let meter = self.meter(&format!("processor {pipeline} {id}"));
                Arc::new(ProcessorStats::new(&meter, id, pipeline, signal))
            },
        )
    }

    /// The block of an exporter; made at the first call, and for another destination.
    pub fn exporter(&self, id: &str, signal: Signal, destination: &str) -> Arc<ExporterStats> {
        let destination = &*without_secrets(destination);
        let matches =
            |s: &ExporterStats| s.id == id && s.signal == signal && s.destination == destination;
        block(&self.exporters, matches, || {
            let meter = self.meter(&format!("exporter {id} {destination}"));
            ExporterStats::new(&meter, id, signal, destination)
        })
    }

    /// The block of an edge; made at the first call.
    pub fn edge(&self, pipeline: &str, from: &str, to: &str) -> Arc<EdgeStats> {
        let matches = |s: &EdgeStats| s.pipeline == pipeline && s.from == from && s.to == to;
        block(&self.edges, matches, || {
            Arc::new(EdgeStats::new(&self.meter("edge"), pipeline, from, to))
        })
    }

    /// Shows the ring of a tail sampler until its sampler lets go of it.
    pub fn add_decisions(&self, decisions: Arc<Decisions>) {
        lock(&self.decisions).push(decisions);
    }

    /// Shows the counters of a log on disk.
    pub fn add_log(&self, log: Arc<LogStats>) {
        let asked = log.register(&self.meter(&format!("log {} {}", log.storage, log.id)));
        lock(&self.logs).push((log, asked));
    }

    /// All logs on disk.
    pub fn logs(&self) -> Vec<Arc<LogStats>> {
        lock(&self.logs).iter().map(|(log, _)| Arc::clone(log)).collect()
    }

    /// The decisions of all tail samplers that keep them.
    pub fn decisions(&self) -> Vec<Arc<Decisions>> {
        lock(&self.decisions).clone()
    }

    /// All receivers.
    pub fn receivers(&self) -> Vec<Arc<ReceiverStats>> {
        lock(&self.receivers).clone()
    }

    /// All processors.
    pub fn processors(&self) -> Vec<Arc<ProcessorStats>> {
        lock(&self.processors).clone()
    }

    /// All exporters.
    pub fn exporters(&self) -> Vec<Arc<ExporterStats>> {
        lock(&self.exporters).clone()
    }

    /// All edges.
    pub fn edges(&self) -> Vec<Arc<EdgeStats>> {
        lock(&self.edges).clone()
    }
}
