//! What stands around an exporter's `send`: timeout, retry, splitting, and the accounts of what became of the
//! items.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use super::{
    dead_letters::DeadLetters, outage::Outage, partial::Partial, pool::Offload, retry::Retries,
};
use crate::{
    component::{BoxFuture, Delivery, ExportError, Exporter, Progress, Request, Retry},
    otlp::{
        Payload,
        payload::{Outcome, Reason},
        split,
    },
    telemetry::{ExporterStats, Telemetry},
};

/// Delivers one payload at a time, however many attempts and parts that takes.
pub(super) struct Sender {
    pub(super) exporter: Arc<dyn Exporter>,
    pub(super) delivery: Delivery,
    pub(super) stats: Arc<ExporterStats>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) offload: Offload,
    /// Where goes what is given up for good.
    pub(super) dead_letters: Option<Arc<DeadLetters>>,
    /// Whether all that comes is on disk somewhere, so that nothing is lost when it is given up.
    pub(super) is_guarded: bool,
    /// Whether the backend is away: state changes are logged, not attempts.
    pub(super) outage: Outage,
    pub(super) partial: Partial,
}

/// What one attempt leaves to the next.
#[derive(Default)]
struct Kept {
    progress: Arc<Progress>,
    /// Where the exporter encodes once.
    request: Option<Request>,
}

/// How the attempts on one payload ended.
enum End {
    Done,
    /// Refused for good; worth trying in parts.
    Refused(ExportError),
    /// Too large; worth trying in parts.
    TooLarge(ExportError),
    Lost(Reason, ExportError),
}

impl Sender {
    /// Sends `payload`; on a refusal for good tries its parts, so that one poisoned sender costs
    /// only its own data. Returns the items that were given up because skep is ending.
    pub(super) fn deliver(
        self: Arc<Self>,
        payload: Payload,
        abandon: watch::Receiver<bool>,
    ) -> BoxFuture<u64> {
        Box::pin(async move {
            let end = self.attempts(&payload, abandon.clone()).await;
            let (parts, reason, error) = match end {
                End::Done => {
                    payload.finish(Outcome::Delivered);
                    return 0;
                }
                End::Lost(reason, error) => (None, reason, error),
                // A request of one sender was refused as it came; only a merged one is bisected.
                End::Refused(error) if payload.body.len() > 1 => {
                    (split::halve(&payload), Reason::BackendRefused, error)
                }
                End::Refused(error) => (None, Reason::BackendRefused, error),
                End::TooLarge(error) => (split::halve(&payload), Reason::TooLarge, error),
            };
            if reason == Reason::ShuttingDown && self.is_guarded {
                self.fail(payload, reason);
                return 0;
            }
            let Some((first, second)) = parts else {
                self.bury(&payload, reason, &error);
                let lost = if reason == Reason::ShuttingDown { payload.items } else { 0 };
                self.fail(payload, reason);
                return lost;
            };
            drop(payload);
            let lost = Arc::clone(&self).deliver(first, abandon.clone()).await;
            lost + self.deliver(second, abandon).await
        })
    }

    /// Keeps what is given up as a dead letter where that is asked for, and says what became of it.
    fn bury(&self, payload: &Payload, reason: Reason, error: &ExportError) {
        let letters = self.dead_letters.as_ref().filter(|letters| letters.takes(reason));
        if letters.is_some_and(|letters| letters.keep(payload, reason, &error.message)) {
            tracing::error!(
                exporter = %self.stats.id,
                error = %error,
                items = payload.items,
                "Exporting failed. The data is kept as a dead letter; see `skep dlq`."
            );
        } else {
            tracing::error!(
                exporter = %self.stats.id,
                error = %error,
                dropped_items = payload.items,
                "Exporting failed. Dropping data."
            );
        }
    }

    async fn attempts(&self, payload: &Payload, mut abandon: watch::Receiver<bool>) -> End {
        let mut retries = self.delivery.retry.as_ref().map(|r| Retries::new(r, now()));
        self.stats.sent_items.record(payload.items);
        self.stats.sent_bytes.record(payload.len() as u64);
        let mut kept = Kept::default();
        loop {
            let begin = now();
            let outages = self.outage.ended();
            let attempt = self.attempt(payload, &mut kept, &mut abandon).await;
            let millis = now().duration_since(begin).as_millis();
            self.stats.attempt_millis.record(u64::try_from(millis).unwrap_or(u64::MAX));
            let error = match attempt {
                Ok(()) => return End::Done,
                Err(error) => error,
            };
            match error.retry {
                Retry::Never | Retry::Denied => {
                    self.stats.denied(SystemTime::now(), &error.message);
                }
                Retry::Split | Retry::After(_) => {
                    self.stats.erred(SystemTime::now(), &error.message);
                }
            }
            let asked = match error.retry {
                Retry::After(asked) => asked,
                Retry::Split => return End::TooLarge(error),
                Retry::Never => return End::Refused(error),
                Retry::Denied => return End::Lost(Reason::BackendRefused, error),
            };
            if *abandon.borrow() {
                return End::Lost(Reason::ShuttingDown, error);
            }
            let pause = retries.as_mut().and_then(|r| r.pause(now(), asked, fastrand::f64()));
            let Some(pause) = pause else {
                return End::Lost(Reason::RetriesExhausted, error);
            };
            self.stats.retries.add(1);
            if self.outage.failed() {
                tracing::warn!(
                    exporter = %self.stats.id,
                    error = %error,
                    interval = ?pause,
                    "Exporting failed. Will retry the request after interval."
                );
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A pause that the backend asked for is kept.
                () = self.outage.end_after(outages), if asked.is_none() => {}
                _ = abandon.wait_for(|raised| *raised) => {
                    return End::Lost(Reason::ShuttingDown, error);
                }
            }
        }
    }

    async fn attempt(
        &self,
        payload: &Payload,
        kept: &mut Kept,
        abandon: &mut watch::Receiver<bool>,
    ) -> Result<(), ExportError> {
        let mut request = if let Some(request) = kept.request.clone() {
            Ok(request)
        } else if self.exporter.encodes_inline() {
            self.exporter.encode(payload)
        } else {
            let (exporter, copy) = (Arc::clone(&self.exporter), payload.clone());
            let encoded = self.offload.run(move || exporter.encode(&copy)).await;
            encoded.unwrap_or_else(|| {
                let message = "the worker that encoded the request is gone".to_owned();
                Err(ExportError { retry: Retry::Never, message })
            })
        }?;
        request.progress = Arc::clone(&kept.progress);
        if self.exporter.encodes_once() {
            kept.request = Some(request.clone());
        }
        let timeout = self.delivery.timeout.unwrap_or(Duration::MAX);
        let answer = tokio::select! {
            answer = tokio::time::timeout(timeout, self.exporter.send(request)) => answer,
            _ = abandon.wait_for(|raised| *raised) => {
                let message = "the request was cut off by the end of the shutdown".to_owned();
                return Err(ExportError { retry: Retry::After(None), message });
            }
        };
        let sent = answer.unwrap_or_else(|_| {
            let message = format!("no answer from {} within {timeout:?}", self.stats.destination);
            Err(ExportError { retry: Retry::After(None), message })
        })?;
        self.stats.succeeded(SystemTime::now());
        if self.outage.succeeded() {
            tracing::info!(exporter = %self.stats.id, "Exporting works again.");
        }
        // A backend may claim any number; the accounts have to add up to what was sent.
        let rejected = sent.rejected.min(payload.items);
        self.stats.sent.add(payload.items - rejected);
        self.stats.rejected.add(rejected);
        self.partial.tell(&self.stats.id, rejected, &sent);
        Ok(())
    }

    pub(super) fn fail(&self, payload: Payload, reason: Reason) {
        if reason != Reason::ShuttingDown || !self.is_guarded {
            self.stats.failed.add(payload.items);
            self.telemetry.drop_items(reason, payload.items);
        }
        payload.finish(Outcome::Failed(reason));
    }
}

/// Tokio's clock, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
