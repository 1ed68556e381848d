//! Batches into their streams: streams side by side, the batches of each in order, each batch once.
//!
//! A batch that was taken is noted in the [`Progress`] of its request, so that throttling of another does not
//! send it again. What CloudWatch refuses of a batch is counted; a batch that it refuses whole costs
//! nothing but that batch.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_sdk_cloudwatchlogs::{
    Client, error::SdkError, operation::put_log_events::PutLogEventsOutput, types::InputLogEvent,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use bytes::Bytes;
use tokio::{
    sync::{Mutex, OnceCell, Semaphore},
    task::JoinSet,
};

use super::{
    super::aws::{Connected, connect, explain},
    batch::{Batch, left_out, names},
    group::NewGroup,
};
use crate::{
    component::{ExportError, Progress, Request, Retry, Sent},
    net::aws::Access,
};

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
    new_group: NewGroup,
    /// Whether CloudWatch is told that events may be metrics.
    is_emf: bool,
    client: OnceCell<Connected<Client>>,
    /// One group or stream is created at a time: AWS allows 5 to 50 a second.
    creating: Mutex<()>,
    under_way: Semaphore,
}

impl Writer {
    pub(in super::super) fn new(
        id: String,
        access: Access,
        new_group: NewGroup,
        is_emf: bool,
    ) -> Self {
        Writer {
            id,
            access,
            new_group,
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

    /// Asks for a log group, any one: nothing is written.
    pub(in super::super) async fn probe(&self) -> Result<String, ExportError> {
        let connected = self.connected().await?;
        let answer = connected.client.describe_log_groups().limit(1).send().await;
        connected.told(match answer {
            Ok(_) => Ok("CloudWatch Logs answers; nothing was written"),
            Err(error) if error.code() == Some("AccessDeniedException") => {
                Ok("CloudWatch Logs knows the credentials, but does not let them look \
                    (`logs:DescribeLogGroups`); that they may write (`logs:PutLogEvents`, \
                    `logs:CreateLogStream`, `logs:CreateLogGroup`) is not known")
            }
            Err(error) => Err(explain("logs:DescribeLogGroups", &error)),
        })
    }

    /// Sends all pieces that earlier attempts have not.
    pub(in super::super) async fn send(
        self: Arc<Self>,
        request: Request,
    ) -> Result<Sent, ExportError> {
        let progress = request.progress;
        let mut streams: Vec<Vec<(usize, Bytes)>> = Vec::new();
        for (place, piece) in
            request.body.iter().enumerate().filter(|(at, _)| !progress.is_done(*at))
        {
            if place == 0 {
                progress.finish(0, rejected(left_out(piece), "they have nothing that can be sent"));
                continue;
            }
            // Batches of one stream stand side by side.
            match streams.last_mut() {
                Some(stream) if names(&stream[0].1) == names(piece) => {
                    stream.push((place, piece.clone()));
                }
                _ => streams.push(vec![(place, piece.clone())]),
            }
        }
        let mut writing = JoinSet::new();
        for stream in streams {
            writing.spawn(Arc::clone(&self).write(stream, Arc::clone(&progress)));
        }
        let mut failed: Option<ExportError> = None;
        while let Some(outcome) = writing.join_next().await {
            let error = match outcome {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(_) => ExportError {
                    retry: Retry::After(None),
                    message: "a request to CloudWatch Logs was broken off".to_owned(),
                },
            };
            // What can be sent again decides.
            if failed.as_ref().is_none_or(|first| !matches!(first.retry, Retry::After(_))) {
                failed = Some(error);
            }
        }
        failed.map_or_else(|| Ok(progress.sent()), Err)
    }

    /// The batches of one stream, in order.
    async fn write(
        self: Arc<Self>,
        batches: Vec<(usize, Bytes)>,
        progress: Arc<Progress>,
    ) -> Result<(), ExportError> {
        let _permit = self.under_way.acquire().await;
        for (place, piece) in batches {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            let Some(batch) = Batch::read(&piece, now) else { continue };
            let events = batch.events.len() as u64;
            match self.put(batch, now).await {
                Ok(sent) => progress.finish(place, sent),
                Err(error) if error.retry == Retry::Never => {
                    let message = Some(error.message);
                    progress.finish(place, Sent { rejected: events, message });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn put(&self, mut batch: Batch<'_>, now: i64) -> Result<Sent, ExportError> {
        let client = &self.connected().await?.client;
        let all = batch.events.len();
        batch.events.retain(|(millis, _)| (now - BEHIND..=now + AHEAD).contains(millis));
        let count = batch.events.len();
        let out_of_time = (all - count) as u64;
        let mut sent = rejected(out_of_time, "older than 14 days or more than 2 hours ahead");
        if count == 0 {
            return Ok(sent);
        }
        let answer = match self.call(client, &batch).await {
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                let _one = self.creating.lock().await;
                self.new_group.create(client, batch.group, batch.stream).await?;
                self.call(client, &batch).await
            }
            answer => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            // An attempt before this one came through, and its answer did not.
            Err(error) if error.code() == Some("DataAlreadyAcceptedException") => return Ok(sent),
            Err(error) => return Err(explain("logs:PutLogEvents", &error)),
        };
        let refused = refused(&answer, count);
        sent.rejected += refused.rejected;
        sent.message = refused.message.or(sent.message);
        Ok(sent)
    }

    async fn call(
        &self,
        client: &Client,
        batch: &Batch<'_>,
    ) -> Result<
        PutLogEventsOutput,
        SdkError<aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsError>,
    > {
        let events = batch.events.iter().filter_map(|(millis, text)| {
            let text = String::from_utf8_lossy(text).into_owned();
            InputLogEvent::builder().timestamp(*millis).message(text).build().ok()
        });
        let call = client
            .put_log_events()
            .log_group_name(batch.group)
            .log_stream_name(batch.stream)
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

fn rejected(count: u64, reason: &str) -> Sent {
    let message = (count > 0).then(|| format!("{count} events were left out: {reason}"));
    Sent { rejected: count, message }
}

/// What CloudWatch says that it left out of `count` events: those before an index, and from one on.
fn refused(answer: &PutLogEventsOutput, count: usize) -> Sent {
    let Some(info) = answer.rejected_log_events_info() else { return Sent::default() };
    let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
    let old = index(info.too_old_log_event_end_index()).unwrap_or(0);
    let expired = index(info.expired_log_event_end_index()).unwrap_or(0);
    let before = old.max(expired).min(count);
    let from = index(info.too_new_log_event_start_index()).unwrap_or(count).clamp(before, count);
    let reasons = [
        (before, if expired > old { "older than the group keeps them" } else { "too old" }),
        (count - from, "too far ahead of CloudWatch's clock"),
    ];
    let words: Vec<String> = reasons
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{count} {reason}"))
        .collect();
    let message = (!words.is_empty())
        .then(|| format!("CloudWatch did not take events: {}", words.join(", ")));
    Sent { rejected: (before + count - from) as u64, message }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;

    use super::*;

    #[test]
    fn indexes_of_refused_events_are_counted() {
        let of = |old, expired, new| {
            let info = RejectedLogEventsInfo::builder()
                .set_too_old_log_event_end_index(old)
                .set_expired_log_event_end_index(expired)
                .set_too_new_log_event_start_index(new)
                .build();
            let answer = PutLogEventsOutput::builder().rejected_log_events_info(info).build();
            refused(&answer, 10).rejected
        };
        assert_eq!(of(None, None, None), 0);
        assert_eq!(of(Some(3), None, Some(8)), 5);
        assert_eq!(of(Some(3), Some(5), None), 5);
        // Whatever a server says, no more than there were.
        assert_eq!(of(Some(99), None, Some(-1)), 10);
        assert_eq!(of(Some(6), None, Some(2)), 10);
    }
}
