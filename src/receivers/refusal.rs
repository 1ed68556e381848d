//! A request that is refused before the engine knows of it is counted once, with its sender and the
//! reason in words, whichever way it ends: with an answer, or because its client goes away.

use std::borrow::Cow;

use super::status::refused;
use crate::{
    component::Caller,
    net::grpc::Status,
    telemetry::{ReceiverStats, Refused},
};

/// Said of a request whose client goes away before it is submitted.
const GONE: &str = "the client closed the connection before its request was complete";

/// Counts a request as refused when it is dropped, unless it was submitted.
pub(super) struct Refusal<'a> {
    stats: &'a ReceiverStats,
    caller: Caller,
    /// `None` once the request is submitted.
    reason: Option<(Refused, Cow<'static, str>)>,
}

impl<'a> Refusal<'a> {
    /// Of a request that has just begun.
    pub(super) fn new(stats: &'a ReceiverStats, caller: Caller) -> Self {
        Refusal { stats, caller, reason: Some((Refused::Wrong, Cow::Borrowed(GONE))) }
    }

    /// The status that it is refused with. Has no effect if it was submitted.
    pub(super) fn because(&mut self, status: &Status) {
        self.is(refused(status), &status.message);
    }

    /// Why it is refused. Has no effect if it was submitted.
    pub(super) fn is(&mut self, why: Refused, words: &str) {
        if let Some(reason) = &mut self.reason {
            *reason = (why, Cow::Owned(words.to_owned()));
        }
    }

    /// It is from a health check of a load balancer or from a passing browser: it is counted, but
    /// is no sender's.
    pub(super) fn is_passing(&mut self) {
        if self.reason.take().is_some() {
            self.stats.rejected_requests.add(1);
        }
    }

    /// From now on the engine counts, or the request is no data.
    pub(super) fn submit(&mut self) -> Caller {
        self.reason = None;
        std::mem::take(&mut self.caller)
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        if let Some((why, words)) = &self.reason {
            self.stats.turn_away(&self.caller, *why, words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net::grpc::Code, otlp::Signal, telemetry::Telemetry};

    #[test]
    fn a_request_is_refused_for_one_reason_unless_it_is_submitted() {
        let telemetry = Telemetry::default();
        let stats = telemetry.receiver("otlp", Signal::Logs, "http");
        drop(Refusal::new(&stats, Caller::default()));
        assert_eq!(stats.reason(Refused::Wrong), GONE);
        let mut wrong = Refusal::new(&stats, Caller::default());
        wrong.because(&Status::new(Code::InvalidArgument, "no JSON"));
        drop(wrong);
        let mut denied = Refusal::new(&stats, Caller::default());
        denied.because(&Status::new(Code::Unauthenticated, "no token"));
        drop(denied);
        let mut taken = Refusal::new(&stats, Caller::default());
        taken.submit();
        taken.because(&Status::new(Code::Internal, "counted by the engine"));
        drop(taken);
        Refusal::new(&stats, Caller::default()).is_passing();
        assert_eq!(stats.counts().refusals, [2, 1, 0, 0]);
        assert_eq!(stats.reason(Refused::Wrong), "no JSON");
        assert_eq!(stats.rejected_requests.read(), 4);
    }
}
