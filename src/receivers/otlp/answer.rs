//! The responses of the receiver, in gRPC and in OTLP/HTTP.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    component::Encoding,
    net::{
        grpc::{self, Code, Status},
        server::Reply,
    },
};

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
