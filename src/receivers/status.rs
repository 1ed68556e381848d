//! The gRPC status of a request that the engine rejects: the message that clients get in every
//! protocol, and who can change that.

use std::time::Duration;

use crate::{
    component::Rejection,
    net::grpc::{Code, Status},
    otlp::payload::Reason,
    telemetry::Refused,
};

/// The gRPC status of a rejection.
pub(super) fn status(rejection: &Rejection) -> Status {
    match rejection {
        Rejection::Malformed(message) => Status::new(Code::InvalidArgument, message.clone()),
        Rejection::TooLarge { limit } => Status::new(
            Code::ResourceExhausted,
            format!("the message is larger than the limit of {limit} bytes"),
        ),
        Rejection::Unavailable(reason, pause) => Status {
            code: Code::Unavailable,
            message: reason.sentence().to_owned(),
            retry_after: Some(pause.unwrap_or(Duration::from_secs(1))),
        },
        Rejection::TooMany { text, pause } => Status {
            retry_after: Some(*pause),
            ..Status::new(Code::ResourceExhausted, format!("{text}; send it again later"))
        },
        Rejection::NotAllowed(message) => Status::new(Code::PermissionDenied, message.clone()),
        Rejection::Failed(reason) => Status::new(code(*reason), reason.sentence()),
    }
}

/// The gRPC code of a permanent refusal. A sender that waits for the backend gets the backend's.
const fn code(reason: Reason) -> Code {
    match reason {
        Reason::BackendRefused | Reason::Malformed | Reason::StatementFailed => {
            Code::InvalidArgument
        }
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::Forbidden => Code::PermissionDenied,
        Reason::NotFound => Code::Unimplemented,
        Reason::TooLarge | Reason::BudgetSpent => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

/// Who can change that a request is refused with this status.
pub(super) fn refused(status: &Status) -> Refused {
    match status.code {
        Code::Unauthenticated | Code::PermissionDenied => Refused::Denied,
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => Refused::NoRoom,
        Code::ResourceExhausted if status.retry_after.is_some() => Refused::NoRoom,
        _ => Refused::Wrong,
    }
}
