//! Batches into their streams: streams side by side, the batches of each in order, each batch once.
//!
//! A batch that was taken is noted in the [`Progress`] of its piece, so that throttling of another
//! does not send it again. Events that CloudWatch refuses are counted; if it refuses a whole batch,
//! only that batch is lost.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_sdk_cloudwatchlogs::{
    Client,
    error::SdkError,
    operation::put_log_events::PutLogEventsOutput,
    types::{InputLogEvent, RejectedLogEventsInfo},
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use tokio::{
    sync::{Mutex, OnceCell, Semaphore},
    task::JoinSet,
};

use super::{
    super::aws::{Connected, broken_off, connect, explain},
    batch::{Batch, Batches, Note, Target},
    group::NewGroups,
    left_out::{EventStats, LeftOut},
};
use crate::{
    component::{ExportError, Progress, Retry, Sent},
    net::aws::Access,
    telemetry::Meter,
};

/// A stream that does not exist.
const NOBODY: &str = "skep doctor asks, and is no stream";
/// The part of a piece that is its [`Note`]; batches come after it.
const NOTE: usize = 0;
/// Streams that are written at the same time.
const SIDE_BY_SIDE: usize = 8;
/// Most milliseconds that an event may be ahead of CloudWatch's clock: 2 hours.
const AHEAD: i64 = 2 * 60 * 60 * 1000;
/// Most milliseconds that an event may be old: 14 days.
const BEHIND: i64 = 14 * 24 * 60 * 60 * 1000;

/// Writes batches.
#[derive(Debug)]
pub(in super::super) struct Writer {
    id: String,
    access: Access,
    new_groups: Arc<NewGroups>,
    /// Whether CloudWatch is told that events may be metrics.
    is_emf: bool,
    client: OnceCell<Connected<Client>>,
    /// One group or stream is created at a time: AWS allows 5 to 50 a second.
    creating: Mutex<()>,
    under_way: Semaphore,
    stats: EventStats,
}

impl Writer {
    pub(in super::super) fn new(
        id: String,
        access: Access,
        new_groups: Arc<NewGroups>,
        is_emf: bool,
        meter: &Meter,
    ) -> Self {
        Writer {
            stats: EventStats::new(meter),
            id,
            access,
            new_groups,
            is_emf,
            client: OnceCell::new(),
            creating: Mutex::new(()),
            under_way: Semaphore::new(SIDE_BY_SIDE),
        }
    }

    pub(in super::super) fn id(&self) -> &str {
        &self.id
    }

    pub(in super::super) async fn connected(&self) -> Result<&Connected<Client>, ExportError> {
        let open = || connect(&self.access, &self.id, Client::new);
        self.client.get_or_try_init(open).await
    }

    /// Writes to a stream of `group` that does not exist. AWS checks whether skep may write before
    /// it looks for the stream, so nothing is stored.
    pub(in super::super) async fn probe(&self, group: &str) -> Result<String, ExportError> {
        let connected = self.connected().await?;
        let target = Target { group: group.to_owned(), stream: NOBODY.to_owned() };
        let events = [(now_millis(), &b"may skep write?"[..])];
        connected.told(match self.call(&connected.client, &target, &events).await {
            Ok(_) => Ok("CloudWatch Logs takes events"),
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                Ok("CloudWatch Logs lets it write; nothing was written")
            }
            Err(error) => Err(explain("logs:PutLogEvents", &error)),
        })
    }

    /// Sends all batches that earlier attempts have not sent.
    pub(in super::super) async fn send(
        self: Arc<Self>,
        batches: Arc<Batches>,
        progress: Arc<Progress>,
    ) -> Result<Sent, ExportError> {
        if !progress.is_done(NOTE) {
            progress.finish(NOTE, self.note(&batches.note));
        }
        let mut writing = JoinSet::new();
        for stream in batches.streams() {
            let left: Vec<usize> = stream.filter(|at| !progress.is_done(part(*at))).collect();
            if !left.is_empty() {
                let (batches, progress) = (Arc::clone(&batches), Arc::clone(&progress));
                writing.spawn(Arc::clone(&self).write(batches, left, progress));
            }
        }
        let mut failed: Option<ExportError> = None;
        while let Some(outcome) = writing.join_next().await {
            let error = match outcome {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(error) => broken_off("CloudWatch Logs", &error),
            };
            // An error that allows another attempt wins.
            if failed.as_ref().is_none_or(|first| !matches!(first.retry, Retry::After(_))) {
                failed = Some(error);
            }
        }
        failed.map_or_else(|| Ok(progress.sent()), Err)
    }

    /// Counts what the translation of a piece left out and changed.
    pub(in super::super) fn note(&self, note: &Note) -> Sent {
        if note.renamed > 0 && self.stats.renamed.read() == 0 {
            tracing::info!(
                exporter = self.id,
                "the name of a label or metric is already in use by the format or a metric; it is \
                 sent with `_` at its end"
            );
        }
        self.stats.renamed.add(note.renamed);
        if note.shortened > 0 && self.stats.shortened.read() == 0 {
            tracing::warn!(
                exporter = self.id,
                "an event is too long, or its resource or scope takes too much of it; it is sent \
                 without a part"
            );
        }
        self.stats.shortened.add(note.shortened);
        self.left_out(&LeftOut::ALL.map(|reason| (reason, note.left_out(reason))))
    }

    /// Counts what is left out. Logs each reason once, and mentions losses in the answer, too.
    fn left_out(&self, all: &[(LeftOut, u64)]) -> Sent {
        let mut sent = Sent::default();
        for (reason, count) in all.iter().filter(|(_, count)| *count > 0) {
            let is_first = self.stats.left_out(*reason) == 0;
            self.stats.leave_out(*reason, *count);
            if !reason.is_loss() {
                if is_first {
                    let (exporter, reason) = (&self.id, reason.words());
                    tracing::info!(exporter, reason, count, "items are not sent as events");
                }
                continue;
            }
            if is_first {
                let (exporter, reason) = (&self.id, reason.words());
                tracing::warn!(exporter, reason, count, "items are left out");
            }
            sent.rejected += count;
            let words = format!("{count} events were left out, {}", reason.words());
            sent.message =
                Some(sent.message.map_or(words.clone(), |all| format!("{all}; {words}")));
        }
        sent
    }

    /// Writes batches of one stream, in order.
    async fn write(
        self: Arc<Self>,
        batches: Arc<Batches>,
        left: Vec<usize>,
        progress: Arc<Progress>,
    ) -> Result<(), ExportError> {
        let _permit = self.under_way.acquire().await;
        for at in left {
            let batch = &batches.all[at];
            match self.put(batch, now_millis()).await {
                Ok(sent) => progress.finish(part(at), sent),
                Err(error) if error.retry == Retry::Never => {
                    let events = batch.events(0).len() as u64;
                    let sent = self.left_out(&[(LeftOut::Refused, events)]);
                    progress.finish(part(at), Sent { message: Some(error.message), ..sent });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn put(&self, batch: &Batch, now: i64) -> Result<Sent, ExportError> {
        let client = &self.connected().await?.client;
        let target = batch.target();
        let mut events: Vec<(i64, &[u8])> = batch.events(now).collect();
        let count = |is_out: &dyn Fn(i64) -> bool| {
            events.iter().filter(|(millis, _)| is_out(*millis)).count() as u64
        };
        let mut sent = self.left_out(&[
            (LeftOut::TooOld, count(&|millis| millis < now - BEHIND)),
            (LeftOut::TooNew, count(&|millis| millis > now + AHEAD)),
        ]);
        events.retain(|(millis, _)| (now - BEHIND..=now + AHEAD).contains(millis));
        if events.is_empty() {
            return Ok(sent);
        }
        let answer = match self.call(client, target, &events).await {
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                let _one = self.creating.lock().await;
                let new = self.new_groups.of(&target.group);
                new.create(client, &target.group, &target.stream).await?;
                self.stats.created_streams.add(1);
                self.call(client, target, &events).await
            }
            answer => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            // An earlier attempt reached CloudWatch, but its answer did not reach us.
            Err(error) if error.code() == Some("DataAlreadyAcceptedException") => return Ok(sent),
            Err(error) => return Err(explain("logs:PutLogEvents", &error)),
        };
        let refused = self.left_out(&refused(&answer, events.len()));
        sent.rejected += refused.rejected;
        sent.message = refused.message.or(sent.message);
        Ok(sent)
    }

    async fn call(
        &self,
        client: &Client,
        target: &Target,
        events: &[(i64, &[u8])],
    ) -> Result<
        PutLogEventsOutput,
        SdkError<aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsError>,
    > {
        let events = events.iter().filter_map(|(millis, text)| {
            let text = String::from_utf8_lossy(text).into_owned();
            InputLogEvent::builder().timestamp(*millis).message(text).build().ok()
        });
        let call = client
            .put_log_events()
            .log_group_name(&target.group)
            .log_stream_name(&target.stream)
            .set_log_events(Some(events.collect()));
        if !self.is_emf {
            return call.send().await;
        }
        let mark = |request: &mut aws_sdk_cloudwatchlogs::config::http::HttpRequest| {
            request.headers_mut().insert("x-amzn-logs-format", "json/emf");
        };
        call.customize().mutate_request(mark).send().await
    }
}

/// The number of a batch in [`Progress`].
fn part(batch: usize) -> usize {
    NOTE + 1 + batch
}

fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// The events that CloudWatch rejected of `count`: it names the indexes before and after which.
fn refused(answer: &PutLogEventsOutput, count: usize) -> [(LeftOut, u64); 3] {
    let info = answer.rejected_log_events_info();
    let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
    let end = |found: Option<i32>| index(found).unwrap_or(0).min(count);
    let old = end(info.and_then(RejectedLogEventsInfo::too_old_log_event_end_index));
    let expired = end(info.and_then(RejectedLogEventsInfo::expired_log_event_end_index)).max(old);
    let new = info.and_then(RejectedLogEventsInfo::too_new_log_event_start_index);
    let new = count - index(new).unwrap_or(count).clamp(expired, count);
    [
        (LeftOut::TooOld, old as u64),
        (LeftOut::Expired, (expired - old) as u64),
        (LeftOut::TooNew, new as u64),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::batch::Gather, *};

    #[test]
    fn each_item_that_becomes_no_event_is_counted_by_its_reason_and_losses_are_answered() {
        let meter = Meter::default();
        let groups = Arc::default();
        let writer = Writer::new("emf".to_owned(), Access::default(), groups, true, &meter);
        let mut gather = Gather::within(usize::MAX);
        gather.rename(2);
        for reason in LeftOut::ALL {
            gather.leave_out(reason);
        }
        let sent = writer.note(&gather.batches().note);
        assert_eq!(sent.rejected, LeftOut::ALL.len() as u64 - 2);
        let said = sent.message.unwrap();
        for reason in LeftOut::ALL {
            assert_eq!(writer.stats.left_out(reason), 1);
            assert_eq!(said.contains(reason.words()), reason.is_loss(), "{said}");
        }
        assert_eq!(writer.stats.renamed.read(), 2);
    }

    #[test]
    fn indexes_of_refused_events_are_counted() {
        let of = |old, expired, new| {
            let info = RejectedLogEventsInfo::builder()
                .set_too_old_log_event_end_index(old)
                .set_expired_log_event_end_index(expired)
                .set_too_new_log_event_start_index(new)
                .build();
            let answer = PutLogEventsOutput::builder().rejected_log_events_info(info).build();
            refused(&answer, 10).map(|(_, count)| count)
        };
        assert_eq!(of(None, None, None), [0, 0, 0]);
        assert_eq!(of(Some(3), None, Some(8)), [3, 0, 2]);
        assert_eq!(of(Some(3), Some(5), None), [3, 2, 0]);
        // Whatever a server says, no more than there were.
        assert_eq!(of(Some(99), None, Some(-1)), [10, 0, 0]);
        assert_eq!(of(Some(6), None, Some(2)), [6, 0, 4]);
    }
}
