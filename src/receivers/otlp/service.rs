//! Answers OTLP requests: gRPC and HTTP, told apart by their content type, on any port.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use smallvec::SmallVec;

use super::settings::{Config, Cors, HttpSettings};
use crate::{
    component::{Arrival, Compression, Encoding, Ingress, Rejection},
    net::{
        grpc::{self, Code, Prefix, Status},
        server::{Reply, Service},
    },
    otlp::{
        Signal,
        payload::{Context, Permit, Wait},
    },
};

/// Longest time for a whole body: a slow sender holds a permit.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Steps in which a body of unknown length is paid for.
const STEP: usize = 64 * 1024;

/// What gRPC clients may send.
const GRPC_CODECS: [Compression; 4] =
    [Compression::Identity, Compression::Gzip, Compression::Snappy, Compression::Zstd];

/// The service of one receiver.
pub(super) struct OtlpService {
    ingress: Ingress,
    paths: [String; 3],
    signals: Vec<Signal>,
    max_message: usize,
    max_body: usize,
    wait: Wait,
    include_metadata: bool,
    cors: Option<Cors>,
}

type Pieces = SmallVec<[Bytes; 4]>;

impl OtlpService {
    pub(super) fn new(config: &Config, signals: &[Signal], ingress: Ingress) -> Self {
        let defaults = HttpSettings::default();
        let http = config.protocols.http.on().unwrap_or(&defaults);
        let path = |path: &String| {
            if path.starts_with('/') { path.clone() } else { format!("/{path}") }
        };
        OtlpService {
            ingress,
            paths: [
                path(&http.traces_url_path),
                path(&http.metrics_url_path),
                path(&http.logs_url_path),
            ],
            signals: signals.to_vec(),
            max_message: config.max_message(),
            max_body: config.max_body(),
            wait: if config.wait_for_export { Wait::Delivery } else { Wait::Acceptance },
            include_metadata: http.include_metadata
                || config.protocols.grpc.on().is_some_and(|grpc| grpc.include_metadata),
            cors: http.cors.clone(),
        }
    }

    // ---- gRPC ----------------------------------------------------------------------------

    async fn grpc(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<(), Status> {
        let path = request.uri().path();
        let signal = grpc::signal_of(path).filter(|signal| self.signals.contains(signal));
        let Some(signal) = signal else {
            return Err(Status::new(Code::Unimplemented, format!("unknown method {path}")));
        };
        let encoding = request.headers().get(grpc::ENCODING).map(HeaderValue::as_bytes);
        let name = encoding.map_or(Ok("identity"), std::str::from_utf8).unwrap_or("?");
        let known = Compression::from_name(name).filter(|known| GRPC_CODECS.contains(known));
        let Some(compression) = known else {
            let message = format!("grpc-encoding `{name}` is not supported");
            return Err(Status::new(Code::Unimplemented, message));
        };
        let context = self.context(signal, &request, peer);
        let read = self.message(request.into_body(), compression);
        let (body, compression, permit) = match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok(read) => read?,
            Err(_) => return Err(Status::new(Code::DeadlineExceeded, "the body came too slowly")),
        };
        let arrival = Arrival {
            signal,
            encoding: Encoding::Protobuf,
            compression,
            body,
            permit,
            max_inflated: self.max_message,
            context,
            wait: self.wait,
            transport: "grpc",
        };
        self.ingress.door.submit(arrival).await.map_err(|rejection| status(&rejection))
    }

    /// Reads one message: its prefix, then a permit for its length, then the rest.
    async fn message(
        &self,
        mut body: Incoming,
        compression: Compression,
    ) -> Result<(Pieces, Compression, Permit), Status> {
        let mut pieces = Pieces::new();
        let mut have = 0;
        while have < grpc::PREFIX {
            let Some(data) = next(&mut body).await? else {
                return Err(Status::new(Code::Internal, "the body ends within its prefix"));
            };
            have += data.len();
            pieces.push(data);
        }
        let prefix = take_prefix(&mut pieces)
            .ok_or_else(|| Status::new(Code::Internal, "the message has an invalid flag"))?;
        if prefix.len > self.max_message {
            let message = format!(
                "message of {} bytes is larger than the limit of {} (max_recv_msg_size_mib)",
                prefix.len, self.max_message
            );
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        let compression = match (prefix.is_compressed, compression) {
            (false, _) => Compression::Identity,
            (true, Compression::Identity) => {
                let message = "the message is compressed, but there is no grpc-encoding";
                return Err(Status::new(Code::Internal, message));
            }
            (true, compression) => compression,
        };
        let permit = self.permit(prefix.len).await.map_err(|rejection| status(&rejection))?;
        have -= grpc::PREFIX;
        while have < prefix.len {
            let Some(data) = next(&mut body).await? else {
                return Err(Status::new(Code::Internal, "the body ends within its message"));
            };
            have += data.len();
            gather(&mut pieces, data);
        }
        if have > prefix.len {
            return Err(Status::new(Code::Internal, "more than one message in a unary call"));
        }
        Ok((pieces, compression, permit))
    }

    async fn permit(&self, bytes: usize) -> Result<Permit, Rejection> {
        match self.ingress.door.try_permit(bytes) {
            Some(permit) => Ok(permit),
            None => self.ingress.door.permit(bytes).await,
        }
    }

    // ---- HTTP ----------------------------------------------------------------------------

    async fn http(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Reply> {
        let path = request.uri().path();
        let signal = Signal::ALL
            .into_iter()
            .find(|signal| self.paths[signal.index()] == path)
            .filter(|signal| self.signals.contains(signal));
        let Some(signal) = signal else {
            let text = format!(
                "no pipeline takes OTLP at {path}; the paths are {}",
                self.paths.join(", ")
            );
            return plain(StatusCode::NOT_FOUND, text);
        };
        if request.method() != Method::POST {
            let text = "405 method not allowed, supported: [POST]";
            return plain(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let media_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let encoding = match media_type.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Encoding::Protobuf,
            "application/json" => Encoding::Json,
            _ => {
                let text = "415 unsupported media type, supported: \
                            [application/json, application/x-protobuf]";
                return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
            }
        };
        match self.submit(signal, encoding, request, peer).await {
            Ok(()) => success(encoding),
            Err(status) => failure(&status, encoding),
        }
    }

    async fn submit(
        &self,
        signal: Signal,
        encoding: Encoding,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<(), Status> {
        let name = request.headers().get(header::CONTENT_ENCODING);
        let name = name.map_or("", |value| value.to_str().unwrap_or("?"));
        let Some(compression) = Compression::from_name(name) else {
            let message = format!("content-encoding `{name}` is not supported");
            return Err(Status::new(Code::InvalidArgument, message));
        };
        let context = self.context(signal, &request, peer);
        let read = self.body(request.into_body());
        let (body, permit) = match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok(read) => read?,
            Err(_) => {
                return Err(Status {
                    retry_after: Some(Duration::from_secs(1)),
                    ..Status::new(Code::Unavailable, "the body came too slowly")
                });
            }
        };
        let arrival = Arrival {
            signal,
            encoding,
            compression,
            body,
            permit,
            max_inflated: self.max_body,
            context,
            wait: self.wait,
            transport: "http",
        };
        self.ingress.door.submit(arrival).await.map_err(|rejection| status(&rejection))
    }

    /// Reads a whole body. With a content length it is paid for at once; without one in steps,
    /// which may only try, since bytes are held already.
    async fn body(&self, mut body: Incoming) -> Result<(Pieces, Permit), Status> {
        let too_large = || {
            let message = format!(
                "the body is larger than the limit of {} bytes (max_request_body_size)",
                self.max_body
            );
            Status::new(Code::InvalidArgument, message)
        };
        let announced = body.size_hint().exact().map(usize::try_from);
        let announced = announced.transpose().map_err(|_| too_large())?;
        if announced.is_some_and(|len| len > self.max_body) {
            return Err(too_large());
        }
        let first = announced.unwrap_or(STEP);
        let permit = self.permit(first).await.map_err(|rejection| status(&rejection))?;
        let (mut paid, mut have, mut more) = (first, 0, Vec::new());
        let mut pieces = Pieces::new();
        while let Some(data) = next(&mut body).await? {
            have += data.len();
            if have > self.max_body {
                return Err(too_large());
            }
            while have > paid {
                let step = permit.try_more(STEP as u64).ok_or_else(|| Status {
                    retry_after: Some(Duration::from_secs(1)),
                    ..Status::new(Code::Unavailable, "no memory is left to read the body")
                })?;
                more.push(step);
                paid += STEP;
            }
            gather(&mut pieces, data);
        }
        let permit = Permit::joined(permit, more);
        Ok((pieces, permit))
    }

    fn context<B>(
        &self,
        signal: Signal,
        request: &Request<B>,
        peer: SocketAddr,
    ) -> Option<Arc<Context>> {
        if !self.ingress.door.wants_context(signal) {
            return None;
        }
        let mut metadata = Vec::new();
        if self.include_metadata {
            for (name, value) in request.headers() {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                metadata.push((name.as_str().to_owned(), text));
            }
            if let Some(host) = request.uri().host() {
                metadata.push(("host".to_owned(), host.to_owned()));
            }
        }
        let arrived = tokio::time::Instant::now().into_std();
        Some(Arc::new(Context { metadata, peer: Some(peer), arrived }))
    }

    /// The answer to a browser that asks whether it may send.
    fn preflight(&self, request: &Request<Incoming>) -> Option<Response<Reply>> {
        let cors = self.cors.as_ref()?;
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let mut allowed = "content-type, content-encoding, x-requested-with".to_owned();
        for name in &cors.allowed_headers {
            allowed.push_str(", ");
            allowed.push_str(name);
        }
        if cors.allowed_headers.iter().any(|name| name == "*") {
            let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            if let Some(asked) = asked.and_then(|value| value.to_str().ok()) {
                asked.clone_into(&mut allowed);
            }
        }
        if let Ok(value) = HeaderValue::try_from(allowed) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, value);
        }
        if cors.max_age > 0 {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age));
        }
        Some(response)
    }

    /// Tells the browser that the page may read the answer, where its origin is allowed.
    fn allow_origin(&self, origin: Option<&HeaderValue>, response: &mut Response<Reply>) {
        let (Some(cors), Some(origin)) = (&self.cors, origin) else { return };
        let Ok(text) = origin.to_str() else { return };
        if cors.allowed_origins.iter().any(|pattern| matches(pattern, text)) {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}

impl Service for OtlpService {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Reply> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            return grpc_response(self.grpc(request, peer).await);
        }
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = match self.preflight(&request) {
            Some(response) => response,
            None => self.http(request, peer).await,
        };
        self.allow_origin(origin.as_ref(), &mut response);
        response
    }
}

/// The next data of a body; trailers are passed over.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Status> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if data.is_empty() {
                        continue;
                    }
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                let message = format!("the body could not be read: {error}");
                return Err(Status::new(Code::InvalidArgument, message));
            }
        }
    }
}

/// Adds a piece to a body. Small ones are copied together, in blocks: a body of four million
/// pieces of one byte would otherwise take thirty times what was paid for it.
fn gather(pieces: &mut Pieces, data: Bytes) {
    const SMALL: usize = 1024;
    const BLOCK: usize = 16 * 1024;
    if data.len() < SMALL
        && let Some(last) = pieces.last_mut()
        && last.len() < BLOCK
    {
        let mut joined = match std::mem::take(last).try_into_mut() {
            Ok(own) => own,
            Err(shared) => {
                let mut own = BytesMut::with_capacity(BLOCK);
                own.extend_from_slice(&shared);
                own
            }
        };
        joined.extend_from_slice(&data);
        *last = joined.freeze();
        return;
    }
    pieces.push(data);
}

/// Takes the five bytes of the prefix off the front.
fn take_prefix(pieces: &mut Pieces) -> Option<Prefix> {
    let mut bytes = [0; grpc::PREFIX];
    let mut filled = 0;
    while filled < grpc::PREFIX {
        let first = pieces.first_mut()?;
        let len = first.len().min(grpc::PREFIX - filled);
        first.copy_to_slice(&mut bytes[filled..filled + len]);
        filled += len;
        if first.is_empty() {
            pieces.remove(0);
        }
    }
    Prefix::read(bytes)
}

/// What a rejection is in gRPC's terms.
fn status(rejection: &Rejection) -> Status {
    match rejection {
        Rejection::Malformed(message) => Status::new(Code::InvalidArgument, message.clone()),
        Rejection::TooLarge { limit } => Status::new(
            Code::ResourceExhausted,
            format!("the message inflates to more than the limit of {limit} bytes"),
        ),
        Rejection::Unavailable(reason, pause) => Status {
            code: Code::Unavailable,
            message: reason.name().replace('_', " "),
            retry_after: Some(pause.unwrap_or(Duration::from_secs(1))),
        },
        Rejection::Failed(reason) => Status::new(Code::Internal, reason.name().replace('_', " ")),
    }
}

fn grpc_response(result: Result<(), Status>) -> Response<Reply> {
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

fn success(encoding: Encoding) -> Response<Reply> {
    let body: &'static [u8] = match encoding {
        Encoding::Protobuf => &[0x0A, 0x00],
        Encoding::Json => br#"{"partialSuccess":{}}"#,
    };
    respond(StatusCode::OK, media_type(encoding), Bytes::from_static(body))
}

fn failure(status: &Status, encoding: Encoding) -> Response<Reply> {
    let body = match encoding {
        Encoding::Protobuf => status.to_bytes(),
        Encoding::Json => {
            let document =
                serde_json::json!({ "code": status.code as u8, "message": status.message });
            document.to_string().into_bytes()
        }
    };
    let code = match status.code {
        // The Collector answers 400 for what is too large, too.
        Code::ResourceExhausted if status.retry_after.is_none() => 400,
        code => code.to_http(),
    };
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(code, media_type(encoding), body.into());
    if let Some(pause) = status.retry_after {
        let seconds = pause.as_secs().max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

const fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    }
}

fn plain(code: StatusCode, text: impl Into<Bytes>) -> Response<Reply> {
    respond(code, "text/plain", text.into())
}

fn respond(code: StatusCode, media_type: &'static str, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Whether `text` is `pattern`, in which `*` stands for any characters. Case-insensitive.
fn matches(pattern: &str, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_with_wildcards() {
        assert!(matches("*", "https://a.example"));
        assert!(matches("https://*.example.com", "https://App.example.com"));
        assert!(!matches("https://*.example.com", "https://example.org"));
        assert!(matches("http://localhost:*", "http://localhost:3000"));
        assert!(!matches("http://localhost", "http://localhost:3000"));
    }

    #[test]
    fn many_tiny_pieces_become_few() {
        let mut pieces = Pieces::new();
        let whole: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
        for byte in &whole {
            gather(&mut pieces, Bytes::copy_from_slice(&[*byte]));
        }
        assert!(pieces.len() < 10, "{} pieces", pieces.len());
        assert_eq!(pieces.concat(), whole);
    }

    #[test]
    fn a_prefix_may_be_spread_over_pieces() {
        let mut pieces: Pieces = [&[0u8, 0][..], &[0], &[0, 2, 7], &[8]]
            .into_iter()
            .map(Bytes::copy_from_slice)
            .collect();
        let prefix = take_prefix(&mut pieces).unwrap();
        assert_eq!(prefix, Prefix { is_compressed: false, len: 2 });
        assert_eq!(pieces.concat(), [7, 8]);
    }

    #[test]
    fn an_unavailable_engine_asks_for_a_pause() {
        let rejection = Rejection::Unavailable(crate::otlp::payload::Reason::QueueFull, None);
        let response = failure(&status(&rejection), Encoding::Protobuf);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let response = grpc_response(Err(status(&rejection)));
        let status = Status::from_headers(response.headers()).unwrap();
        assert_eq!(
            (status.code, status.retry_after),
            (Code::Unavailable, Some(Duration::from_secs(1)))
        );
    }
}
