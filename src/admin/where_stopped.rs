//! `WhereStopped`: the ladders of the process as messages.

use std::time::SystemTime;

use tonic::Status;

use super::{
    ladder::{self, Basis, facts::Facts},
    proto::{self, RungState, WhereStoppedRequest, WhereStoppedResponse},
};
use crate::{
    otlp::Signal,
    telemetry::{
        Telemetry,
        words::{millis, unix_millis},
    },
};

/// The answer to `WhereStopped`.
pub(crate) fn found(
    telemetry: &Telemetry,
    request: &WhereStoppedRequest,
    now: SystemTime,
) -> Result<WhereStoppedResponse, Status> {
    let wanted: Vec<Signal> = Signal::ALL
        .into_iter()
        .filter(|signal| request.signal.is_empty() || signal.name() == request.signal)
        .collect();
    if wanted.is_empty() {
        let message =
            format!("`{}` is not a signal; there are traces, metrics and logs", request.signal);
        return Err(Status::invalid_argument(message));
    }
    let facts = Facts::read(telemetry, now);
    let service = Some(&*request.service).filter(|service| !service.is_empty());
    let ladders = ladder::ladders(&facts, &wanted, service);
    Ok(WhereStoppedResponse {
        read_at_unix_ms: unix_millis(now),
        stopped: ladder::is_stopped(&facts, &ladders),
        ladders: ladders.into_iter().map(message_of).collect(),
    })
}

fn message_of(ladder: ladder::Ladder) -> proto::Ladder {
    let (Basis::Recent(span) | Basis::Start(span)) = ladder.basis;
    proto::Ladder {
        signal: ladder.signal.name().to_owned(),
        state: state(ladder.state).into(),
        finding: ladder.finding,
        span_ms: millis(span),
        recent: matches!(ladder.basis, Basis::Recent(_)),
        rungs: ladder.rungs.into_iter().map(rung).collect(),
    }
}

fn rung(rung: ladder::Rung) -> proto::Rung {
    proto::Rung {
        place: rung.place(),
        step: rung.step.name().to_owned(),
        id: rung.id,
        pipeline: rung.pipeline,
        state: state(rung.state).into(),
        sentence: rung.sentence,
        came: rung.came,
        stopped: rung.stopped,
        reason: rung.why.reason,
        remedy: rung.why.remedy,
        since_unix_ms: rung.since.map(unix_millis),
    }
}

const fn state(state: ladder::State) -> RungState {
    match state {
        ladder::State::Ok => RungState::Ok,
        ladder::State::Nothing => RungState::Nothing,
        ladder::State::Partial => RungState::Partial,
        ladder::State::Stop => RungState::Stop,
    }
}
