//! Documents to X-Ray: requests of at most 50 documents and 1 MiB, several at the same time.

use std::sync::Arc;

use aws_sdk_xray::Client;
use bytes::Bytes;
use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
    time::Instant,
};

use super::{
    pieces::{LeftOut, Segments},
    segment::Fault,
    stats::SegmentStats,
};
use crate::{
    component::{ExportError, Retry, Sent},
    exporters::aws::{Connected, broken_off, connect, explain},
    net::aws::Access,
    telemetry::logs::BATCHES,
};

/// Most documents of a request (X-Ray API).
const DOCUMENTS: usize = 50;
/// Most bytes of a request.
const REQUEST_LIMIT: usize = 1 << 20;

/// Cuts documents into requests.
pub(super) fn requests(documents: &[Bytes]) -> Vec<&[Bytes]> {
    let mut all = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, document) in documents.iter().enumerate() {
        // As a JSON string a document is longer by its quotes, a tenth as a rule.
        let len = document.len() + document.len() / 8 + 4;
        if at - from == DOCUMENTS || at > from && bytes + len > REQUEST_LIMIT {
            all.push(&documents[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += len;
    }
    if from < documents.len() {
        all.push(&documents[from..]);
    }
    all
}

/// Sends documents.
pub(super) struct Sender {
    id: String,
    stats: SegmentStats,
    access: Access,
    client: OnceCell<Connected<Client>>,
    /// Requests that may be in flight at the same time.
    requests: Semaphore,
}

impl Sender {
    pub(super) fn new(id: String, stats: SegmentStats, access: Access, workers: usize) -> Self {
        let (client, requests) = (OnceCell::new(), Semaphore::new(workers));
        Sender { id, stats, access, client, requests }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn connected(&self) -> Result<&Connected<Client>, ExportError> {
        let open = || connect(&self.access, &self.id, Client::new);
        self.client.get_or_try_init(open).await
    }

    /// Sends an empty document. X-Ray refuses it, but only after it has checked that skep may send.
    pub(super) async fn probe(self: Arc<Self>) -> Result<String, ExportError> {
        let connected = self.connected().await?;
        let call = connected.client.put_trace_segments().trace_segment_documents("{}");
        let answer = call.send().await;
        connected.told(match answer {
            Ok(_) => Ok("X-Ray takes segments"),
            Err(error) => Err(explain("xray:PutTraceSegments", &error)),
        })
    }

    pub(super) async fn send(self: Arc<Self>, segments: Segments) -> Result<Sent, ExportError> {
        let Segments { documents, left_out } = segments;
        let mut sent = Sent { rejected: left_out.count(), ..Sent::default() };
        for (fault, count) in Fault::ALL.iter().zip(left_out.0).filter(|(_, count)| *count > 0) {
            sent.message = Some(format!("{count} spans have no segment: {}", fault.reason()));
        }
        if documents.is_empty() {
            self.count(&left_out, &[]);
            return Ok(sent);
        }
        let client = self.connected().await?.client.clone();
        let mut calls = JoinSet::new();
        for part in requests(&documents) {
            calls.spawn(Arc::clone(&self).put(client.clone(), part.to_vec()));
        }
        let (mut failed, mut codes) = (None, Vec::new());
        while let Some(outcome) = calls.join_next().await {
            match outcome {
                Ok(Ok(one)) => {
                    sent.rejected += one.codes.len() as u64;
                    sent.message = one.message.or(sent.message);
                    codes.extend(one.codes);
                }
                // All documents are sent again; X-Ray keeps one copy of those that it has already.
                Ok(Err(error)) => failed = Some(worse(failed, error)),
                Err(error) => failed = Some(worse(failed, broken_off("X-Ray", &error))),
            }
        }
        if let Some(error) = failed {
            // The next attempt counts what it is answered.
            return Err(error);
        }
        self.count(&left_out, &codes);
        Ok(sent)
    }

    fn count(&self, left_out: &LeftOut, codes: &[String]) {
        for (number, count) in self.stats.untranslated.iter().zip(left_out.0) {
            number.add(count);
        }
        for code in codes {
            self.stats.add_unprocessed(code, 1);
        }
    }

    async fn put(
        self: Arc<Self>,
        client: Client,
        documents: Vec<Bytes>,
    ) -> Result<Answer, ExportError> {
        let _permit = self.requests.acquire().await;
        let texts = documents.iter().map(|one| String::from_utf8_lossy(one).into_owned());
        let call = client.put_trace_segments().set_trace_segment_documents(Some(texts.collect()));
        let began = Instant::now();
        let answer = call.send().await;
        let answer = answer.map_err(|error| explain("xray:PutTraceSegments", &error))?;
        let refused = answer.unprocessed_trace_segments();
        // The wording of the X-Ray daemon: its users search their logs for it.
        tracing::info!(
            target: BATCHES,
            "Successfully sent batch of {} segments ({:.3} seconds)",
            documents.len() - refused.len().min(documents.len()),
            began.elapsed().as_secs_f64()
        );
        let codes = refused.iter().map(|one| one.error_code().unwrap_or("none").to_owned());
        let first = refused.first().map(|one| {
            format!(
                "X-Ray did not take {} of {} segments; {}: {} ({})",
                refused.len(),
                documents.len(),
                one.id().unwrap_or("one without an id"),
                one.message().unwrap_or("no reason"),
                one.error_code().unwrap_or("no code"),
            )
        });
        Ok(Answer { codes: codes.collect(), message: first })
    }
}

/// X-Ray's answer to one request.
#[derive(Debug)]
struct Answer {
    /// An error code for each segment that it did not take.
    codes: Vec<String>,
    /// The reason for the first of them.
    message: Option<String>,
}

/// The one of two errors that allows another attempt.
fn worse(first: Option<ExportError>, second: ExportError) -> ExportError {
    match first {
        Some(first) if matches!(first.retry, Retry::After(_)) => first,
        _ => second,
    }
}
