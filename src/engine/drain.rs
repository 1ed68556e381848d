//! The end: stops the parts in the order of the data flow, within a time limit.
//!
//! Receivers stop once they have finished their requests, processors emit what they hold, queues
//! are emptied. Services run until the last, so that probes and pages show the drain.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    Ended, Running,
    parts::{Leaving, RunningExporter, RunningReceiver, RunningService},
};
use crate::otlp::payload::Reason;

/// The longest time for services to end, once there is no data left.
const SERVICES: Duration = Duration::from_millis(500);

/// When the drain has to be over.
struct Deadline {
    start: Instant,
    timeout: Duration,
}

impl Deadline {
    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.start.elapsed())
    }
}

impl Running {
    /// Stops everything and delivers what is held.
    pub(super) async fn drain(mut self) -> Ended {
        let deadline = Deadline { start: Instant::now(), timeout: self.drain_timeout };
        self.site.telemetry.set_ready(false);
        tracing::info!(timeout = ?self.drain_timeout, "Starting shutdown...");
        self.stop_receivers(&deadline).await;
        let is_emptied = tokio::select! {
            drained = tokio::time::timeout(deadline.left(), self.pool.drain()) => drained.is_ok(),
            Some(part) = self.panics.recv() => {
                self.report_panic(&part);
                return Ended::Panicked;
            }
        };
        let (mut lost, is_late) = self.empty_queues(&deadline).await;
        self.ticker.abort();
        self.stop_services().await;
        // At the deadline a worker may still encode something that nobody waits for.
        if is_emptied && !is_late {
            self.pool.stop();
        }
        if let Ok(part) = self.panics.try_recv() {
            self.report_panic(&part);
            return Ended::Panicked;
        }
        let unaccounted = self.site.telemetry.dropped[Reason::Unaccounted as usize].read();
        if unaccounted > 0 {
            tracing::error!(
                items = unaccounted,
                "the outcome of some items is unknown; this is a defect in skep, please report it"
            );
            lost += unaccounted;
        }
        Ended::Lost(lost)
    }

    /// Lets receivers finish their requests. Slow senders get a third of the time; the rest is for
    /// the data that was received.
    async fn stop_receivers(&mut self, deadline: &Deadline) {
        let mut receiving: Vec<Leaving> = std::mem::take(&mut self.leaving);
        for leaving in &receiving {
            leaving.hurry();
        }
        receiving.extend(self.receivers.drain(..).map(RunningReceiver::leave));
        let finished = async {
            for leaving in &mut receiving {
                leaving.ended().await;
            }
            self.open_requests.wait_until_empty().await;
        };
        if tokio::time::timeout(deadline.timeout / 3, finished).await.is_err() {
            tracing::warn!("some senders did not finish their requests in time");
            for leaving in &receiving {
                leaving.abort();
            }
        }
    }

    /// Delivers what is in the queues of exporters. Returns how many items were given up, and
    /// whether that was because the deadline has come.
    async fn empty_queues(&mut self, deadline: &Deadline) -> (u64, bool) {
        let mut departing = std::mem::take(&mut self.departing);
        departing.extend(self.exporters.drain(..).map(RunningExporter::close));
        let abandon: Vec<Arc<watch::Sender<bool>>> =
            departing.iter().map(|one| Arc::clone(&one.abandon)).collect();
        let mut sending = JoinSet::new();
        for one in departing {
            sending.spawn(async move { one.task.await.unwrap_or(0) });
        }
        let mut lost = self.lost;
        let emptied = async {
            while let Some(done) = sending.join_next().await {
                lost += done.unwrap_or(0);
            }
        };
        let is_late = tokio::time::timeout(deadline.left(), emptied).await.is_err();
        if is_late {
            for one in abandon {
                one.send_replace(true);
            }
            while let Some(done) = sending.join_next().await {
                lost += done.unwrap_or(0);
            }
        }
        (lost, is_late)
    }

    async fn stop_services(&mut self) {
        let mut serving: Vec<Leaving> =
            self.services.drain(..).map(RunningService::leave).collect();
        let services = async {
            for leaving in &mut serving {
                leaving.ended().await;
            }
        };
        let _ = tokio::time::timeout(SERVICES, services).await;
    }
}
