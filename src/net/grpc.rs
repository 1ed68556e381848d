//! gRPC as OTLP uses it: unary calls. Framing, status codes, and the status details that carry a
//! pause. Written on plain bytes, because a generated server copies every frame and allocates a
//! buffer per request; shared by receiver and exporter.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::otlp::{
    Signal,
    wire::{Field, FieldValue, Fields, WireType, put_bytes, put_varint, tag},
};

/// Length of the prefix of a message: one flag, four bytes of length.
pub const PREFIX: usize = 5;

/// `grpc-status`.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// `grpc-status-details-bin`.
pub const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// `grpc-encoding`.
pub const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// `grpc-accept-encoding`.
pub const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// The content type of every gRPC message here.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Bytes that `grpc-message` percent-encodes: all but printable ASCII, and the percent sign.
const MESSAGE_SET: &AsciiSet = &CONTROLS.add(b'%');

/// The status codes of gRPC that OTLP mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the gRPC specification")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Code; 17] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The code of a number; unknown numbers are `Unknown`.
    pub fn from_number(number: u64) -> Self {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        Code::ALL.get(index).copied().unwrap_or(Code::Unknown)
    }

    /// How a gRPC client reads an HTTP status without `grpc-status`: the table of the gRPC
    /// documentation ("HTTP to gRPC Status Code Mapping").
    pub const fn from_http(status: u16) -> Self {
        match status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// The HTTP status with which the OTLP receiver answers.
    pub const fn to_http(self) -> u16 {
        match self {
            Code::Ok => 200,
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => 503,
            Code::ResourceExhausted => 429,
            Code::InvalidArgument => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::Unimplemented => 404,
            _ => 500,
        }
    }

    /// Whether OTLP lets a client send the same data again. `ResourceExhausted` only with a pause.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        )
    }

    /// As in the gRPC documentation: `UNAVAILABLE`.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// A `google.rpc.Status`, with the one detail that OTLP uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What happened.
    pub code: Code,
    /// The message.
    pub message: String,
    /// `RetryInfo.retry_delay`.
    pub retry_after: Option<Duration>,
}

impl Status {
    /// A status without a pause.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Status { code, message: message.into(), retry_after: None }
    }

    /// The message as protobuf: code 1, message 2, details 3 (an `Any` with a `RetryInfo`).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.len() + 80);
        put_varint(&mut out, tag(1, WireType::Varint));
        put_varint(&mut out, u64::from(self.code as u8));
        put_bytes(&mut out, 2, self.message.as_bytes());
        if let Some(pause) = self.retry_after {
            let mut duration = Vec::new();
            put_varint(&mut duration, tag(1, WireType::Varint));
            put_varint(&mut duration, pause.as_secs());
            put_varint(&mut duration, tag(2, WireType::Varint));
            put_varint(&mut duration, u64::from(pause.subsec_nanos()));
            let mut retry_info = Vec::new();
            put_bytes(&mut retry_info, 1, &duration);
            let mut any = Vec::new();
            put_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
            put_bytes(&mut any, 2, &retry_info);
            put_bytes(&mut out, 3, &any);
        }
        out
    }

    /// Reads a `google.rpc.Status` and skips unknown fields.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut status = Status::new(Code::Ok, "");
        for field in Fields::new(bytes).flatten() {
            match (field.number, field.value) {
                (1, FieldValue::Varint(code)) => status.code = Code::from_number(code),
                (2, FieldValue::Len(text)) => {
                    status.message = String::from_utf8_lossy(text).into_owned();
                }
                (3, FieldValue::Len(any)) => {
                    status.retry_after = retry_delay(any).or(status.retry_after);
                }
                _ => {}
            }
        }
        status
    }

    /// Headers of a trailers-only response, or the trailers of another.
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(3);
        headers.insert(STATUS, HeaderValue::from(u16::from(self.code as u8)));
        if !self.message.is_empty() {
            let text = utf8_percent_encode(&self.message, MESSAGE_SET).to_string();
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(MESSAGE, value);
            }
        }
        if self.retry_after.is_some() {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(self.to_bytes());
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(DETAILS, value);
            }
        }
        headers
    }

    /// Reads the status from headers or trailers; `None` without a `grpc-status`.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        use base64::Engine as _;
        let code = headers.get(STATUS)?.to_str().ok()?.parse().unwrap_or(2);
        let text = headers.get(MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
        let message = percent_decode(text).decode_utf8_lossy().into_owned();
        let details = headers.get(DETAILS).map(HeaderValue::as_bytes).unwrap_or_default();
        let details = details.strip_suffix(b"=").unwrap_or(details);
        let details = details.strip_suffix(b"=").unwrap_or(details);
        let retry_after = base64::engine::general_purpose::STANDARD_NO_PAD
            .decode(details)
            .ok()
            .and_then(|bytes| Status::from_bytes(&bytes).retry_after);
        Some(Status { code: Code::from_number(code), message, retry_after })
    }
}

/// The delay of a `RetryInfo` in an `Any`.
fn retry_delay(any: &[u8]) -> Option<Duration> {
    let url = last_field(any, 1)?;
    if !url.bytes().ends_with(b"google.rpc.RetryInfo") {
        return None;
    }
    let delay = last_field(last_field(any, 2)?.bytes(), 1)?.bytes();
    let seconds = last_field(delay, 1).map_or(0, |field| field.number_value()).min(86_400);
    let nanos = last_field(delay, 2).map_or(0, |field| field.number_value());
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.min(999_999_999)))
}

fn last_field(message: &[u8], number: u32) -> Option<Field<'_>> {
    Fields::new(message).flatten().filter(|field| field.number == number).last()
}

/// The prefix of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Whether the message is compressed with the `grpc-encoding` of the call.
    pub is_compressed: bool,
    /// Bytes of the message.
    pub len: usize,
}

impl Prefix {
    /// Reads the first five bytes.
    pub fn read(bytes: [u8; PREFIX]) -> Option<Self> {
        let [flag @ 0..=1, length @ ..] = bytes else { return None };
        let len = usize::try_from(u32::from_be_bytes(length)).ok()?;
        Some(Prefix { is_compressed: flag == 1, len })
    }

    /// The five bytes. A message above 4 GiB has no prefix.
    pub fn write(self) -> Option<Bytes> {
        let len = u32::try_from(self.len).ok()?.to_be_bytes();
        let bytes = [u8::from(self.is_compressed), len[0], len[1], len[2], len[3]];
        Some(Bytes::copy_from_slice(&bytes))
    }
}

/// Path of a signal's `Export` method.
pub const fn method(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// The signal of a method's path.
pub fn signal_of(path: &str) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| method(*signal) == path)
}

/// Reads the partial success of an `Export*ServiceResponse`: the number of rejected items and the
/// message; `None` if it cannot be read.
pub fn partial_success(response: &[u8]) -> Option<(u64, Option<String>)> {
    let (mut rejected, mut message) = (0, None);
    for part in Fields::new(response) {
        let part = part.ok()?;
        if part.number != 1 {
            continue;
        }
        for field in Fields::new(part.bytes()) {
            let field = field.ok()?;
            match (field.number, field.value) {
                // A negative count has no meaning; it is read as a huge one.
                (1, FieldValue::Varint(count)) => {
                    rejected = if count >> 63 == 0 { count } else { 0 }
                }
                (2, FieldValue::Len(text)) if !text.is_empty() => {
                    message = Some(String::from_utf8_lossy(text).into_owned());
                }
                _ => {}
            }
        }
    }
    Some((rejected, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_with_a_pause_survives_headers() {
        let status = Status {
            code: Code::Unavailable,
            message: "come back, 100 % later \u{e9}\n".to_owned(),
            retry_after: Some(Duration::from_millis(1500)),
        };
        assert_eq!(Status::from_headers(&status.to_headers()), Some(status));
    }

    #[test]
    fn headers_without_a_status_are_none() {
        assert_eq!(Status::from_headers(&HeaderMap::new()), None);
    }

    #[test]
    fn a_prefix_with_another_flag_is_refused() {
        assert_eq!(Prefix::read([2, 0, 0, 0, 0]), None);
        let prefix = Prefix { is_compressed: true, len: 0x0102_0304 };
        assert_eq!(prefix.write().unwrap()[..], [1, 1, 2, 3, 4]);
        assert_eq!(Prefix::read([1, 1, 2, 3, 4]), Some(prefix));
    }

    #[test]
    fn partial_success_is_read() {
        use opentelemetry_proto::tonic::collector::trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceResponse,
        };
        use prost::Message as _;
        let response = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too old".to_owned(),
            }),
        };
        assert_eq!(
            partial_success(&response.encode_to_vec()),
            Some((3, Some("too old".to_owned())))
        );
        assert_eq!(partial_success(&[]), Some((0, None)));
        assert_eq!(partial_success(&[0x0A, 0x00]), Some((0, None)));
        assert_eq!(partial_success(&[0x0A, 0x05]), None);
        assert_eq!(partial_success(&[0x0A, 0x01, 0xFF]), None);
    }

    #[test]
    fn codes_map_to_http_as_the_collector_maps_them() {
        let mapped: Vec<u16> = Code::ALL.iter().map(|code| code.to_http()).collect();
        let expected =
            [200, 503, 500, 400, 503, 500, 500, 403, 429, 500, 503, 503, 404, 500, 503, 503, 401];
        assert_eq!(mapped, expected);
    }

    proptest::proptest! {
        #[test]
        fn random_status_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Status::from_bytes(&bytes);
            let _ = partial_success(&bytes);
        }
    }
}
