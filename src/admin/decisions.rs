//! Why traces were kept or not: `Explain` and `WatchDecisions` over the rings of the tail samplers.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::mpsc;
use tonic::Status;

use super::{
    proto::{Decision, ExplainResponse, PolicyVote, WatchDecisionsRequest, WatchDecisionsResponse},
    service::Control,
};
use crate::telemetry::{Telemetry, decisions};

/// Decisions of one message of a stream.
const MESSAGE: usize = 500;

/// Decisions on a trace.
pub(super) fn explain(telemetry: &Telemetry, trace_id: &str) -> Result<ExplainResponse, Status> {
    let Some(id) = parse_trace_id(trace_id) else {
        let message = format!("`{trace_id}` is not a trace id, which has 32 hexadecimal digits");
        return Err(Status::invalid_argument(message));
    };
    let rings = some_rings(telemetry)?;
    let found = rings.iter().flat_map(|ring| {
        ring.find(id).into_iter().map(|decision| message_of(ring, &decision)).collect::<Vec<_>>()
    });
    let decisions: Vec<Decision> = found.collect();
    if decisions.is_empty() {
        let size: usize = rings.iter().map(|ring| ring.size()).sum();
        let message = format!(
            "no decision is recorded for this trace: it has not arrived, it is still waiting, or more than {size} \
             others were decided since (`explain` of tail_sampling says how many are remembered)"
        );
        return Err(Status::not_found(message));
    }
    Ok(ExplainResponse { decisions })
}

/// The decisions that are remembered, of one processor at least.
pub(super) fn some_rings(telemetry: &Telemetry) -> Result<Vec<Arc<decisions::Decisions>>, Status> {
    let rings = telemetry.decisions();
    if rings.is_empty() {
        let message = "no tail_sampling processor runs, or its `explain` is 0";
        return Err(Status::not_found(message));
    }
    Ok(rings)
}

/// 16 bytes of a trace id in any of the forms in which it is shown.
fn parse_trace_id(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let digits: String =
        text.strip_prefix("1-").unwrap_or(text).chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 && digits.len() != 16 {
        return None;
    }
    // `from_str_radix` would take a sign.
    let is_hex = digits.chars().all(|c| c.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

/// Sends what there is, and then what comes, until the reader is gone or the process stops.
pub(super) async fn feed(
    mut control: Control,
    request: WatchDecisionsRequest,
    sender: mpsc::Sender<Result<WatchDecisionsResponse, Status>>,
) {
    let rings = control.telemetry.decisions();
    let last = u64::from(request.last);
    let mut seen: Vec<u64> = rings.iter().map(|ring| ring.before_last(last)).collect();
    loop {
        let waits: Vec<_> = rings.iter().map(|ring| Box::pin(ring.changed())).collect();
        let mut changed = std::pin::pin!(any_of(waits));
        // Made known before the rings are read, so that nothing falls between the two.
        std::future::poll_fn(|cx| {
            let _ = changed.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
        let mut is_new = true;
        while std::mem::take(&mut is_new) {
            for (ring, seen) in rings.iter().zip(&mut seen) {
                let news = ring.after(*seen, MESSAGE);
                let Some(newest) = news.decisions.last() else { continue };
                *seen = newest.number;
                is_new = true;
                let decisions = news.decisions.iter().map(|one| message_of(ring, one)).collect();
                let message = WatchDecisionsResponse { decisions, missed: news.missed };
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        }
        if !request.follow || rings.is_empty() {
            return;
        }
        tokio::select! {
            () = changed => {}
            () = control.stop.raised() => return,
        }
    }
}

/// Ends when the first of several ends.
async fn any_of(mut all: Vec<std::pin::Pin<Box<impl Future<Output = ()>>>>) {
    std::future::poll_fn(|cx| {
        let is_ready = all.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

fn message_of(ring: &Arc<decisions::Decisions>, one: &decisions::Decision) -> Decision {
    let since = one.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = |policy: usize| ring.policies.get(policy).cloned().unwrap_or_default();
    let votes = one
        .votes
        .iter()
        .enumerate()
        .map(|(policy, vote)| PolicyVote { policy: name(policy), vote: vote.name().to_owned() });
    Decision {
        processor: ring.id.clone(),
        pipeline: ring.pipeline.clone(),
        trace_id: format!("{:032x}", u128::from_be_bytes(one.trace_id)),
        at_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        kept: one.is_kept,
        dry_run: ring.is_dry_run,
        reason: one.trigger.name().to_owned(),
        policy: one.policy.map(name).unwrap_or_default(),
        votes: votes.collect(),
        rate: one.rate,
        root: one.root.to_text(),
        service: one.service.to_string(),
        spans: one.spans,
        bytes: one.bytes,
        duration_us: u64::try_from(one.duration.as_micros()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_are_taken_in_every_form() {
        let id = Some(0x5f84_c7a1_e7d1_852d_b888_0000_0000_0001_u128.to_be_bytes());
        assert_eq!(parse_trace_id("5f84c7a1e7d1852db888000000000001"), id);
        assert_eq!(parse_trace_id(" 1-5F84C7A1-e7d1852db888000000000001\n"), id);
        assert_eq!(parse_trace_id("00000000000000a1"), Some(0xA1_u128.to_be_bytes()));
        for wrong in ["", "5f84", "+f84c7a1e7d1852d", "zf84c7a1e7d1852db888000000000001"] {
            assert_eq!(parse_trace_id(wrong), None, "{wrong}");
        }
    }
}
