//! The responses of the receiver, in gRPC and in OTLP/HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    component::{Encoding, Rejection},
    net::{
        grpc::{self, Code, Status},
        server::Reply,
    },
    otlp::payload::Reason,
};

/// The gRPC status of a rejection.
pub(in super::super) fn status(rejection: &Rejection) -> Status {
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
        Reason::BackendRefused | Reason::Malformed => Code::InvalidArgument,
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
        Reason::TooManyMetadataValues => {
            "too many combinations of metadata values (metadata_cardinality_limit of batch)"
        }
    }
}

pub(super) fn grpc_response(result: Result<(), Status>) -> Response<Reply> {
    let mut response = match result {
        Ok(()) => {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert(grpc::STATUS, HeaderValue::from_static("0"));
            Response::new(Reply::with_trailers(Bytes::from_static(&[0; grpc::PREFIX]), trailers))
        }
        Err(status) => {
            let mut response = Response::new(Reply::default());
            *response.headers_mut() = status.to_headers();
            if status.code == Code::Unimplemented {
                let accepted = HeaderValue::from_static("identity, gzip, snappy, zstd");
                response.headers_mut().insert(grpc::ACCEPT_ENCODING, accepted);
            }
            response
        }
    };
    response.headers_mut().insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    response
}

pub(super) fn success(encoding: Encoding) -> Response<Reply> {
    let body: &'static [u8] = match encoding {
        Encoding::Protobuf => &[0x0A, 0x00],
        Encoding::Json => br#"{"partialSuccess":{}}"#,
    };
    respond(StatusCode::OK, media_type(encoding), Bytes::from_static(body))
}

pub(super) fn failure(status: &Status, encoding: Encoding) -> Response<Reply> {
    let body = match encoding {
        Encoding::Protobuf => status.to_bytes(),
        Encoding::Json => {
            let document =
                serde_json::json!({ "code": status.code as u8, "message": status.message });
            document.to_string().into_bytes()
        }
    };
    let code = match status.code {
        // The Collector also answers 400 if a request is too large.
        Code::ResourceExhausted if status.retry_after.is_none() => 400,
        code => code.to_http(),
    };
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(code, media_type(encoding), body.into());
    if let Some(pause) = status.retry_after {
        let seconds = pause.as_millis().div_ceil(1000).max(1);
        response.headers_mut().insert(
            header::RETRY_AFTER,
            HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
        );
    }
    response
}

/// The response to a client that may not send. `challenge` says how it can authenticate.
pub(super) fn unauthenticated(
    status: &Status,
    encoding: Encoding,
    challenge: Option<HeaderValue>,
) -> Response<Reply> {
    let mut response = failure(status, encoding);
    if let (StatusCode::UNAUTHORIZED, Some(challenge)) = (response.status(), challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

const fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    }
}

pub(super) fn plain(code: StatusCode, text: impl Into<Bytes>) -> Response<Reply> {
    respond(code, "text/plain", text.into())
}

fn respond(code: StatusCode, media_type: &'static str, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
