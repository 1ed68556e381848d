//! What a ladder is made from: counters of the last minute and since the start, and states.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    otlp::{Signal, payload::Reason},
    telemetry::{
        EdgeCounts, ExporterCounts, OpenPort, PipelineInfo, ProcessorCounts, ProcessorStats,
        ReceiverCounts, Refused, Telemetry,
        exporter::Failure,
        history::Past,
        senders::{Sighting, WINDOW},
        verdict::{self, BudgetVerdict, ExporterVerdict},
    },
};

/// Decisions of a sampler that are looked at for the policies that made them.
const DECISIONS: u64 = 2000;

/// Counts of the last minute, and since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted<T> {
    pub recent: T,
    pub total: T,
}

/// The process at one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    pub now: SystemTime,
    pub is_ready: bool,
    pub uptime: Duration,
    /// What `recent` is about.
    pub span: Duration,
    pub pipelines: Vec<PipelineInfo>,
    pub ports: Vec<OpenPort>,
    pub senders: Vec<Sighting>,
    pub memory: Memory,
    pub doors: Vec<Door>,
    pub processors: Vec<Processor>,
    pub edges: Vec<Edge>,
    pub exporters: Vec<Exporter>,
    pub budgets: Vec<BudgetVerdict>,
}

/// The byte budget.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Bytes.
    pub limit: u64,
    /// Bytes.
    pub used: u64,
    /// Requests that wait for bytes.
    pub waiting: u64,
}

/// A receiver, for one signal and transport.
#[derive(Debug, Clone)]
pub struct Door {
    pub id: String,
    pub signal: Signal,
    pub transport: &'static str,
    pub counts: Counted<ReceiverCounts>,
    /// The last reasons, indexed by `Refused as usize`.
    pub reasons: [String; Refused::ALL.len()],
    /// Time since the last request that was understood.
    pub last_data: Option<Duration>,
}

/// A processor in a pipeline.
#[derive(Debug, Clone)]
pub struct Processor {
    pub id: String,
    pub pipeline: String,
    pub counts: Counted<ProcessorCounts>,
    /// Why the last items were refused.
    pub refusal: Option<Reason>,
    /// Of a sampler: its last decisions, by policy and outcome.
    pub decisions: Vec<Decided>,
}

/// Decisions of a sampler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The policy; empty if none sampled the traces.
    pub policy: String,
    pub is_kept: bool,
    pub traces: u64,
}

/// An edge of a pipeline.
#[derive(Debug, Clone)]
pub struct Edge {
    pub pipeline: String,
    /// Kind and id.
    pub from: String,
    pub to: String,
    pub counts: Counted<EdgeCounts>,
}

/// An exporter, for one signal.
#[derive(Debug, Clone)]
pub struct Exporter {
    pub id: String,
    pub signal: Signal,
    pub destination: String,
    pub counts: Counted<ExporterCounts>,
    pub state: verdict::State,
    /// Time since the backend last took data.
    pub success_age: Option<Duration>,
    pub failure: Option<Failure>,
    pub queue: Queue,
    /// What is on disk; `None` if nothing is.
    pub disk: Option<Disk>,
}

/// The queue of an exporter.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    pub size: u64,
    /// 0: no limit.
    pub capacity: u64,
    /// `requests`, `items`, `bytes`.
    pub unit: &'static str,
    /// Bytes in memory.
    pub bytes: u64,
    pub in_flight: u64,
    /// Age of the oldest payload in memory.
    pub oldest: Option<Duration>,
}

/// The part of a queue that is on disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk {
    /// Whether the directory is gone.
    pub is_missing: bool,
    /// Records that found no room, since the start.
    pub full: u64,
    /// Records that wait.
    pub records: u64,
}

impl Facts {
    /// The process as it is now.
    pub fn read(telemetry: &Telemetry, now: SystemTime) -> Self {
        let moment = Instant::now();
        let past = telemetry.history.before(WINDOW, moment);
        Facts {
            now,
            is_ready: verdict::is_ready(telemetry),
            uptime: telemetry.process.uptime(),
            span: past.span,
            pipelines: telemetry.inventory().pipelines.clone(),
            ports: telemetry.ports().to_vec(),
            senders: telemetry.senders.sightings(moment),
            memory: Memory {
                limit: telemetry.budget_limit.read(),
                used: telemetry.budget_used.read(),
                waiting: telemetry.budget_waiting.read(),
            },
            doors: doors(telemetry, &past, moment),
            processors: processors(telemetry, &past, now),
            edges: edges(telemetry, &past),
            exporters: exporters(telemetry, &past, now),
            budgets: verdict::budgets(telemetry, now),
        }
    }

    /// Whether a pipeline takes a signal.
    pub fn has_pipelines(&self, signal: Signal) -> bool {
        self.pipelines_of(signal).next().is_some()
    }

    /// The pipelines of a signal.
    pub fn pipelines_of(&self, signal: Signal) -> impl Iterator<Item = &PipelineInfo> {
        let is_of = move |id: &str| id.split('/').next() == Some(signal.name());
        self.pipelines.iter().filter(move |pipeline| is_of(&pipeline.id))
    }

    /// The receivers of a signal, without connectors.
    pub fn receivers_of(&self, signal: Signal) -> Vec<&str> {
        let is_connector =
            |id: &str| self.pipelines.iter().any(|other| other.exporters.iter().any(|to| to == id));
        let mut all: Vec<&str> = Vec::new();
        for id in self.pipelines_of(signal).flat_map(|pipeline| &pipeline.receivers) {
            if !all.contains(&&**id) && !is_connector(id) {
                all.push(id);
            }
        }
        all
    }

    /// The senders of a service.
    pub fn sightings<'f>(&'f self, service: Option<&'f str>) -> impl Iterator<Item = &'f Sighting> {
        self.senders.iter().filter(move |one| one.who.service.as_deref() == service)
    }

    /// Whether data of a service has come.
    pub fn knows(&self, service: &str) -> bool {
        self.sightings(Some(service)).next().is_some()
    }
}

fn doors(telemetry: &Telemetry, past: &Past, now: Instant) -> Vec<Door> {
    let millis = telemetry.senders.millis(now);
    let all = telemetry.receivers().into_iter().map(|stats| Door {
        counts: Counted { recent: past.receiver(&stats), total: stats.counts() },
        id: stats.id.clone(),
        signal: stats.signal,
        transport: stats.transport,
        reasons: Refused::ALL.map(|why| stats.reason(why)),
        last_data: stats.last_data().map(|at| Duration::from_millis(millis.saturating_sub(at))),
    });
    all.collect()
}

fn processors(telemetry: &Telemetry, past: &Past, now: SystemTime) -> Vec<Processor> {
    let all = telemetry.processors().into_iter().map(|stats| Processor {
        counts: Counted { recent: past.processor(&stats), total: stats.counts() },
        refusal: stats.last_refusal(),
        decisions: decisions(telemetry, &stats, now),
        id: stats.id.clone(),
        pipeline: stats.pipeline.clone(),
    });
    all.collect()
}

/// The decisions of the last minute, or else the last ones, the most frequent first.
fn decisions(telemetry: &Telemetry, stats: &ProcessorStats, now: SystemTime) -> Vec<Decided> {
    let rings = telemetry.decisions();
    let is_its = |ring: &&Arc<crate::telemetry::decisions::Decisions>| {
        ring.id == stats.id && ring.pipeline == stats.pipeline
    };
    let Some(ring) = rings.iter().find(is_its) else { return Vec::new() };
    let most = usize::try_from(DECISIONS).unwrap_or(usize::MAX);
    let mut last = ring.after(ring.before_last(DECISIONS), most).decisions;
    let is_recent = |at: SystemTime| now.duration_since(at).unwrap_or_default() <= WINDOW;
    if last.iter().any(|one| is_recent(one.at)) {
        last.retain(|one| is_recent(one.at));
    }
    let mut counts: BTreeMap<(String, bool), u64> = BTreeMap::new();
    for one in &last {
        let policy = one.policy.and_then(|policy| ring.policies.get(policy)).cloned();
        *counts.entry((policy.unwrap_or_default(), one.is_kept)).or_default() += 1;
    }
    let mut all: Vec<Decided> = counts
        .into_iter()
        .map(|((policy, is_kept), traces)| Decided { policy, is_kept, traces })
        .collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.traces));
    all
}

fn edges(telemetry: &Telemetry, past: &Past) -> Vec<Edge> {
    let all = telemetry.edges().into_iter().map(|stats| Edge {
        counts: Counted { recent: past.edge(&stats), total: stats.counts() },
        pipeline: stats.pipeline.clone(),
        from: stats.from.clone(),
        to: stats.to.clone(),
    });
    all.collect()
}

fn exporters(telemetry: &Telemetry, past: &Past, now: SystemTime) -> Vec<Exporter> {
    let logs = telemetry.logs();
    let exporter = |one: ExporterVerdict| {
        let stats = &one.stats;
        let is_queue = |part: &str| !part.starts_with("dead_letters");
        let log = logs.iter().find(|log| {
            log.is_of("exporter", &stats.id, stats.signal)
                && log.owner.as_ref().is_some_and(|owner| is_queue(&owner.part))
        });
        Exporter {
            signal: stats.signal,
            counts: Counted { recent: past.exporter(stats), total: stats.counts() },
            state: one.state,
            success_age: one.success_age,
            failure: stats.failure(),
            queue: Queue {
                size: stats.queue_size(),
                capacity: stats.queue_capacity.read(),
                unit: stats.queue_unit(),
                bytes: stats.queue_bytes.read(),
                in_flight: stats.in_flight.read(),
                oldest: stats.oldest_age(),
            },
            disk: log.map(|log| Disk {
                is_missing: log.missing.read() == 1,
                full: log.full.read(),
                records: log.records.read(),
            }),
            destination: one.destination,
            id: one.id,
        }
    };
    verdict::exporters(telemetry, now).into_iter().map(exporter).collect()
}
