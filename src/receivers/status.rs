//! The gRPC status of a request that the engine rejects: the message that clients get in every
//! protocol.

use std::time::Duration;

use crate::{
    component::Rejection,
    net::grpc::{Code, Status},
    otlp::payload::Reason,
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
            message: sentence(*reason).to_owned(),
            retry_after: Some(pause.unwrap_or(Duration::from_secs(1))),
        },
        Rejection::Failed(reason) => Status::new(code(*reason), sentence(*reason)),
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
        Reason::TooLarge => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

/// The message for the sender's log.
const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::OverBudget => "no memory was free for this request in time; send it again later",
        Reason::Limited => "data refused due to high memory usage; send it again later",
        Reason::QueueFull => "the sending queue of an exporter is full; send it again later",
        Reason::ShuttingDown => "skep is shutting down; send it again later",
        Reason::RetriesExhausted => "the backend took no data in time; send it again later",
        Reason::StorageFull => "the storage of skep is full; send it again later",
        Reason::StorageFailed => "skep could not write the data to disk; send it again later",
        Reason::Panicked | Reason::Unaccounted => {
            "an internal error ended this request; send it again"
        }
        Reason::BackendRefused => "the backend refused the data for good",
        Reason::Unauthenticated => "the backend does not accept the credentials of skep (401)",
        Reason::Forbidden => "the backend does not allow skep to send this data (403)",
        Reason::NotFound => "the backend has no such endpoint, or does not take this format (404)",
        Reason::Malformed => "the bytes are not what they claim to be",
        Reason::TooLarge => "an item is larger than a limit allows",
        Reason::StatementFailed => "a statement failed on this data (error_mode: propagate)",
        Reason::TooManyMetadataValues => {
            "too many combinations of metadata values (metadata_cardinality_limit of batch)"
        }
    }
}
