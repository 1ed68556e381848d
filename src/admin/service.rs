//! `skep.control.v1.ControlService`: reads [`Telemetry`], works on dead letters, and forwards
//! requests for a reload.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{
    budgets, dead_letters, decisions,
    proto::{
        Budget, BudgetsRequest, BudgetsResponse, Component, DropDeadLettersRequest,
        DropDeadLettersResponse, Dropped, ExplainRequest, ExplainResponse, ExporterQueue,
        HealthRequest, HealthResponse, ListDeadLettersRequest, ListDeadLettersResponse, Problem,
        ReloadRequest, ReloadResponse, ReplayDeadLettersRequest, ReplayDeadLettersResponse,
        ShowDeadLetterRequest, ShowDeadLetterResponse, State, StoredLog, TapRequest, TapResponse,
        TopologyRequest, TopologyResponse, Traffic, WatchDecisionsRequest, WatchDecisionsResponse,
        WatchSendersRequest, WatchSendersResponse, WatchTopologyRequest, WhereStoppedRequest,
        WhereStoppedResponse, control_service_server::ControlService,
    },
    senders, tap,
    topology::topology,
    where_stopped,
};
use crate::{
    component::{
        BoxFuture, Stop,
        reload::{Finding, Outcome, Reloads},
    },
    config::{Severity, shown::without_secrets},
    otlp::{Signal, payload::Reason},
    storage::letters::Letterboxes,
    telemetry::{
        ExporterStats, Telemetry, process::VERSION, storage::LogStats, verdict, words::millis,
    },
};

/// Shortest interval of [`WatchTopologyRequest`].
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The service. Cheap to clone.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) reloads: Option<Reloads>,
    pub(super) letterboxes: Arc<Letterboxes>,
    /// Whether only this machine reaches it; `tap` asks that.
    pub(super) is_loopback: bool,
    pub(super) stop: Stop,
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        Ok(Response::new(health(&self.telemetry, SystemTime::now())))
    }

    async fn topology(
        &self,
        request: Request<TopologyRequest>,
    ) -> Result<Response<TopologyResponse>, Status> {
        let pipeline = request.into_inner().pipeline;
        Ok(Response::new(topology(&self.telemetry, &pipeline, SystemTime::now())))
    }

    type WatchTopologyStream = Watch<TopologyResponse>;

    async fn watch_topology(
        &self,
        request: Request<WatchTopologyRequest>,
    ) -> Result<Response<Watch<TopologyResponse>>, Status> {
        let request = request.into_inner();
        let pipeline = request.pipeline;
        let read = move |telemetry: &Telemetry| topology(telemetry, &pipeline, SystemTime::now());
        Ok(Response::new(self.watch(request.interval_ms, read)))
    }

    async fn where_stopped(
        &self,
        request: Request<WhereStoppedRequest>,
    ) -> Result<Response<WhereStoppedResponse>, Status> {
        let found = where_stopped::found(&self.telemetry, &request.into_inner(), SystemTime::now());
        found.map(Response::new).map_err(brief)
    }

    type WatchSendersStream = Watch<WatchSendersResponse>;

    async fn watch_senders(
        &self,
        request: Request<WatchSendersRequest>,
    ) -> Result<Response<Self::WatchSendersStream>, Status> {
        let interval = request.into_inner().interval_ms;
        Ok(Response::new(
            self.watch(interval, |telemetry| senders::seen(telemetry, SystemTime::now())),
        ))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let found = decisions::explain(&self.telemetry, &request.into_inner().trace_id);
        found.map(Response::new).map_err(brief)
    }

    type WatchDecisionsStream = Watch<WatchDecisionsResponse>;

    async fn watch_decisions(
        &self,
        request: Request<WatchDecisionsRequest>,
    ) -> Result<Response<Watch<WatchDecisionsResponse>>, Status> {
        decisions::some_rings(&self.telemetry)?;
        let (sender, receiver) = mpsc::channel(1);
        let feeding = decisions::feed(self.clone(), request.into_inner(), sender);
        Ok(Response::new(Watch { receiver, feeding: Some(Box::pin(feeding)) }))
    }

    async fn budgets(
        &self,
        request: Request<BudgetsRequest>,
    ) -> Result<Response<BudgetsResponse>, Status> {
        let found = budgets::found(&self.telemetry, &request.into_inner().exporter).await;
        found.map(Response::new).map_err(brief)
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let Some(reloads) = &self.reloads else {
            let message = "this process has no configuration that could be read again";
            return Err(Status::unimplemented(message));
        };
        let outcome = reloads.ask().await;
        let outcome = outcome.ok_or_else(|| Status::unavailable("skep is ending"))?;
        Ok(Response::new(reloaded(outcome)))
    }

    type ListDeadLettersStream = Watch<ListDeadLettersResponse>;

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<Self::ListDeadLettersStream>, Status> {
        let meant = dead_letters::listed(self, request.into_inner().selection).map_err(brief)?;
        let (sender, receiver) = mpsc::channel(1);
        let feeding = dead_letters::list(self.clone(), meant, sender);
        Ok(Response::new(Watch { receiver, feeding: Some(Box::pin(feeding)) }))
    }

    async fn show_dead_letter(
        &self,
        request: Request<ShowDeadLetterRequest>,
    ) -> Result<Response<ShowDeadLetterResponse>, Status> {
        let shown = dead_letters::show(self, &request.into_inner().id).await;
        shown.map(Response::new).map_err(brief)
    }

    type ReplayDeadLettersStream = Watch<ReplayDeadLettersResponse>;

    async fn replay_dead_letters(
        &self,
        request: Request<ReplayDeadLettersRequest>,
    ) -> Result<Response<Self::ReplayDeadLettersStream>, Status> {
        let meant = dead_letters::replayed(self, request.into_inner().selection).map_err(brief)?;
        let (sender, receiver) = mpsc::channel(1);
        let feeding = dead_letters::replay(self.clone(), meant, sender);
        Ok(Response::new(Watch { receiver, feeding: Some(Box::pin(feeding)) }))
    }

    async fn drop_dead_letters(
        &self,
        request: Request<DropDeadLettersRequest>,
    ) -> Result<Response<DropDeadLettersResponse>, Status> {
        let dropped = dead_letters::drop(self, request.into_inner().selection).await;
        dropped.map(Response::new).map_err(brief)
    }

    type TapStream = Watch<TapResponse>;

    async fn tap(
        &self,
        request: Request<TapRequest>,
    ) -> Result<Response<Watch<TapResponse>>, Status> {
        let through = tap::Through::ControlPlane { is_loopback: self.is_loopback };
        let open = tap::open(&self.telemetry, through, request.into_inner()).map_err(brief)?;
        let (sender, receiver) = mpsc::channel(1);
        let feeding = tap::run(self.stop.clone(), open, sender);
        Ok(Response::new(Watch { receiver, feeding: Some(Box::pin(feeding)) }))
    }
}

/// Longest message of an error, in bytes. It goes as a header, of which clients take 16 KiB, and
/// may repeat what was asked for.
const MESSAGE: usize = 2000;

fn brief(status: Status) -> Status {
    let message = status.message();
    if message.len() <= MESSAGE {
        return status;
    }
    let start = &message[..message.floor_char_boundary(MESSAGE / 2)];
    let end = &message[message.ceil_char_boundary(message.len() - MESSAGE / 2)..];
    Status::new(status.code(), format!("{start}...{end}"))
}

/// A finding without secrets.
pub(crate) fn problem(finding: Finding) -> Problem {
    let (source, line, column) = finding.place.unwrap_or_default();
    let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    Problem {
        error: finding.severity == Severity::Error,
        source,
        line: number(line),
        column: number(column),
        path: finding.path,
        message: without_secrets(&finding.message).into_owned(),
        help: without_secrets(&finding.help).into_owned(),
    }
}

/// The answer to `Reload`.
pub(crate) fn reloaded(outcome: Outcome) -> ReloadResponse {
    ReloadResponse {
        applied: outcome.is_applied,
        kept: outcome.changes.kept,
        changed: outcome.changes.changed,
        added: outcome.changes.added,
        removed: outcome.changes.removed,
        problems: outcome.findings.into_iter().map(problem).collect(),
        pause_us: u64::try_from(outcome.pause.as_micros()).unwrap_or(u64::MAX),
    }
}

/// Sends a reading at once and at every interval until the reader is gone or the process stops.
/// A slow reader gets fewer readings, not a backlog.
async fn feed<T>(
    mut control: Control,
    read: impl Fn(&Telemetry) -> T,
    interval: Duration,
    sender: mpsc::Sender<Result<T, Status>>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = control.stop.raised() => return,
        }
        if sender.send(Ok(read(&control.telemetry))).await.is_err() {
            return;
        }
    }
}

impl Control {
    /// A stream of readings.
    fn watch<T: Send + 'static>(
        &self,
        interval_ms: u32,
        read: impl Fn(&Telemetry) -> T + Send + Sync + 'static,
    ) -> Watch<T> {
        let interval = match interval_ms {
            0 => Duration::from_secs(1),
            millis => Duration::from_millis(millis.into()).max(MIN_INTERVAL),
        };
        let (sender, receiver) = mpsc::channel(1);
        let feeding = feed(self.clone(), read, interval, sender);
        Watch { receiver, feeding: Some(Box::pin(feeding)) }
    }
}

/// A stream that drives its own feeder, so that no task outlives it.
pub(super) struct Watch<T> {
    receiver: mpsc::Receiver<Result<T, Status>>,
    feeding: Option<BoxFuture<()>>,
}

impl<T> tonic::codegen::tokio_stream::Stream for Watch<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(feeding) = &mut self.feeding
            && feeding.as_mut().poll(cx).is_ready()
        {
            self.feeding = None;
        }
        self.receiver.poll_recv(cx)
    }
}

/// The answer to `Health`.
pub(crate) fn health(telemetry: &Telemetry, now: SystemTime) -> HealthResponse {
    let is_ready = verdict::is_ready(telemetry);
    let dropped = Reason::ALL.into_iter().filter_map(|reason| {
        let items = telemetry.dropped[reason as usize].read();
        (items > 0).then(|| Dropped { reason: reason.name().to_owned(), items })
    });
    HealthResponse {
        ready: is_ready,
        version: VERSION.to_owned(),
        uptime_ms: millis(telemetry.process.uptime()),
        components: components(telemetry, is_ready, now),
        budget: Some(Budget {
            limit_bytes: telemetry.budget_limit.read(),
            used_bytes: telemetry.budget_used.read(),
            waiting_requests: telemetry.budget_waiting.read(),
        }),
        dropped: dropped.collect(),
    }
}

/// All components, sorted by kind, id, signal and pipeline.
fn components(telemetry: &Telemetry, is_ready: bool, now: SystemTime) -> Vec<Component> {
    let running = |state: State| (if is_ready { state } else { State::Stopped }).into();
    let by_use = |items: u64| running(if items > 0 { State::Ok } else { State::Idle });
    let mut all = receivers(telemetry, by_use);
    all.extend(telemetry.processors().iter().map(|stats| Component {
        kind: "processor".to_owned(),
        id: stats.id.clone(),
        signal: stats.signal.name().to_owned(),
        state: by_use(stats.incoming.read()),
        pipeline: stats.pipeline.clone(),
        traffic: Some(Traffic {
            incoming: stats.incoming.read(),
            outgoing: stats.outgoing.read(),
            filtered: stats.filtered.read(),
            refused: stats.refused.read(),
            ..Traffic::default()
        }),
        ..Component::default()
    }));
    all.extend(exporters(telemetry, running, now));
    all.extend(telemetry.inventory().extensions.iter().map(|id| Component {
        kind: "extension".to_owned(),
        id: id.clone(),
        state: running(State::Ok),
        ..Component::default()
    }));
    all.sort_by(|a, b| {
        (&a.kind, &a.id, &a.signal, &a.pipeline).cmp(&(&b.kind, &b.id, &b.signal, &b.pipeline))
    });
    all
}

/// One for each receiver and signal, whatever number of transports it counts.
fn receivers(telemetry: &Telemetry, by_use: impl Fn(u64) -> i32) -> Vec<Component> {
    let logs = telemetry.logs();
    let now = telemetry.senders.millis(tokio::time::Instant::now());
    let mut all: Vec<Component> = Vec::new();
    for stats in telemetry.receivers() {
        let same = |c: &&mut Component| c.id == stats.id && c.signal == stats.signal.name();
        let (accepted, refused) = (stats.accepted.read(), stats.refused.read());
        let state = by_use(accepted);
        let last_data_age_ms = stats.last_data().map(|at| now.saturating_sub(at));
        let mut traffic = Traffic {
            incoming: accepted + refused,
            outgoing: accepted,
            refused,
            rejected_requests: stats.rejected_requests.read(),
            ..Traffic::default()
        };
        match all.iter_mut().find(same) {
            Some(component) => {
                component.state = component.state.max(state);
                let ages = [component.last_data_age_ms, last_data_age_ms];
                component.last_data_age_ms = ages.into_iter().flatten().min();
                let other = component.traffic.unwrap_or_default();
                traffic.incoming += other.incoming;
                traffic.outgoing += other.outgoing;
                traffic.refused += other.refused;
                traffic.rejected_requests += other.rejected_requests;
                component.traffic = Some(traffic);
            }
            None => all.push(Component {
                kind: "receiver".to_owned(),
                id: stats.id.clone(),
                signal: stats.signal.name().to_owned(),
                state,
                last_data_age_ms,
                storage: storage(&logs, "receiver", &stats.id, stats.signal),
                traffic: Some(traffic),
                ..Component::default()
            }),
        }
    }
    all
}

fn exporters(
    telemetry: &Telemetry,
    running: impl Fn(State) -> i32,
    now: SystemTime,
) -> Vec<Component> {
    let logs = telemetry.logs();
    let component = |exporter: verdict::ExporterVerdict| {
        let (age, text) = exporter.error.unzip();
        let failure = exporter.stats.failure();
        let failing = failure.as_ref().map(|one| now.duration_since(one.since).unwrap_or_default());
        Component {
            failing_age_ms: failing.map(millis),
            failed_attempts: failure.map_or(0, |one| one.attempts),
            kind: "exporter".to_owned(),
            storage: storage(&logs, "exporter", &exporter.id, exporter.stats.signal),
            queue: Some(queue(&exporter.stats)),
            traffic: Some(sent(&exporter.stats)),
            id: exporter.id,
            signal: exporter.signal.to_owned(),
            state: running(match exporter.state {
                verdict::State::Idle => State::Idle,
                verdict::State::Ok => State::Ok,
                verdict::State::Failing | verdict::State::Denied => State::Error,
            }),
            last_success_age_ms: exporter.success_age.map(millis),
            last_error: text.unwrap_or_default(),
            last_error_age_ms: age.map(millis),
            destination: exporter.destination,
            ..Component::default()
        }
    };
    verdict::exporters(telemetry, now).into_iter().map(component).collect()
}

/// The logs on disk of one component.
fn storage(logs: &[Arc<LogStats>], kind: &str, id: &str, signal: Signal) -> Vec<StoredLog> {
    logs.iter().filter(|log| log.is_of(kind, id, signal)).map(|log| stored(log)).collect()
}

fn queue(stats: &ExporterStats) -> ExporterQueue {
    ExporterQueue {
        size: stats.queue_size(),
        capacity: stats.queue_capacity.read(),
        unit: stats.queue_unit().to_owned(),
        bytes: stats.queue_bytes.read(),
        items: stats.queue_items.read(),
        oldest_age_ms: stats.oldest_age().map(millis),
        in_flight_requests: stats.in_flight.read(),
        retries: stats.retries.read(),
    }
}

fn sent(stats: &ExporterStats) -> Traffic {
    let lost = stats.failed.read() + stats.enqueue_failed.read() + stats.rejected.read();
    Traffic { outgoing: stats.sent.read(), lost, ..Traffic::default() }
}

fn stored(log: &LogStats) -> StoredLog {
    let records = log.records.read();
    StoredLog {
        extension: log.storage.clone(),
        part: log.owner.as_ref().map(|owner| owner.part.clone()).unwrap_or_default(),
        size_bytes: log.disk_bytes.read(),
        records,
        items: log.items.read(),
        oldest_age_ms: (records > 0).then(|| log.oldest_age.read()),
        full: log.full.read(),
        dropped_records: log.dropped_records.read(),
        dropped_items: log.dropped_items.read(),
        damaged_records: log.damaged_records.read(),
        damaged_bytes: log.damaged_bytes.read(),
    }
}
