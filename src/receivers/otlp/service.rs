//! Answers OTLP requests: gRPC and HTTP, told apart by their content type, on any port.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use smallvec::SmallVec;

use super::{
    answer::{failure, grpc_response, plain, status, success},
    astray::{self, Astray},
    settings::{Config, Cors, HttpSettings},
};
use crate::{
    component::{Arrival, Compression, Encoding, Ingress, Rejection},
    config::Secret,
    net::{
        grpc::{self, Code, Prefix, Status},
        server::{self, Reply, Service},
    },
    otlp::{
        Signal,
        payload::{Context, Permit, Wait},
    },
    telemetry::ReceiverStats,
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
    /// Of gRPC and of HTTP requests; a protocol that has no section of its own follows the other.
    include_metadata: [bool; 2],
    cors: Option<Cors>,
    response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Content encodings that HTTP requests may have; none: all.
    codecs: Option<Vec<Compression>>,
    /// Longest time for the body of an HTTP request.
    body_timeout: Duration,
    refusals: Refusals,
    astray: Astray,
}

/// Counters of gRPC and of HTTP, by signal.
pub(super) type Refusals = [[Arc<ReceiverStats>; 3]; 2];

const GRPC: usize = 0;
const HTTP: usize = 1;

type Pieces = SmallVec<[Bytes; 4]>;

impl OtlpService {
    pub(super) fn new(
        config: &Config,
        signals: &[Signal],
        refusals: Refusals,
        ingress: Ingress,
    ) -> Self {
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
            include_metadata: {
                let grpc = config.protocols.grpc.on().map(|grpc| grpc.include_metadata);
                let of_http = config.protocols.http.on().map(|http| http.include_metadata);
                [grpc.or(of_http) == Some(true), of_http.or(grpc) == Some(true)]
            },
            cors: http.cors.clone(),
            response_headers: http.response_headers.iter().filter_map(header_of).collect(),
            codecs: http.compression_algorithms.as_ref().map(|names| {
                names.iter().filter_map(|name| Compression::from_name(name)).collect()
            }),
            body_timeout: match http.read_timeout.0 {
                Duration::ZERO => BODY_TIMEOUT,
                timeout => timeout,
            },
            refusals,
            astray: Astray::default(),
        }
    }

    // ---- gRPC ----------------------------------------------------------------------------

    async fn grpc(
        &self,
        request: Request<Incoming>,
        peer: Option<SocketAddr>,
    ) -> Result<(), Status> {
        let path = request.uri().path();
        let known = grpc::signal_of(path);
        let Some(signal) = known.filter(|signal| self.signals.contains(signal)) else {
            let text = known.map_or_else(|| format!("unknown method {path}"), astray::unused);
            self.astray.tell(peer, &text);
            return Err(Status::new(Code::Unimplemented, text));
        };
        let Some(limit) = grpc_timeout(request.headers()) else {
            return self.grpc_message(signal, request, peer).await;
        };
        match tokio::time::timeout(limit, self.grpc_message(signal, request, peer)).await {
            Ok(result) => result,
            Err(_) => Err(Status::new(Code::DeadlineExceeded, "the caller's grpc-timeout is over")),
        }
    }

    async fn grpc_message(
        &self,
        signal: Signal,
        request: Request<Incoming>,
        peer: Option<SocketAddr>,
    ) -> Result<(), Status> {
        let refused = Refusal::new(&self.refusals[GRPC][signal.index()]);
        let encoding = request.headers().get(grpc::ENCODING).map(HeaderValue::as_bytes);
        let name = encoding.map_or(Ok("identity"), std::str::from_utf8).unwrap_or("?");
        let known = Compression::from_name(name).filter(|known| GRPC_CODECS.contains(known));
        let Some(compression) = known else {
            let message = format!("grpc-encoding `{name}` is not supported");
            return Err(Status::new(Code::Unimplemented, message));
        };
        let context = self.context(signal, &request, peer, GRPC);
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
        refused.not();
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

    async fn http(
        &self,
        request: Request<&mut Incoming>,
        peer: Option<SocketAddr>,
    ) -> Response<Reply> {
        let path = request.uri().path();
        let signal = Signal::ALL
            .into_iter()
            .find(|signal| self.paths[signal.index()] == path)
            .filter(|signal| self.signals.contains(signal));
        let Some(signal) = signal else {
            let text = astray::wrong_path(path, &self.paths);
            // Health checks of load balancers and passing browsers GET; they are no senders.
            if request.method() == Method::POST {
                self.astray.tell(peer, &text);
            }
            return plain(StatusCode::NOT_FOUND, text);
        };
        if request.method() != Method::POST {
            let text = "405 method not allowed, supported: [POST]";
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
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
                self.astray.tell(peer, text);
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
        request: Request<&mut Incoming>,
        peer: Option<SocketAddr>,
    ) -> Result<(), Status> {
        let refused = Refusal::new(&self.refusals[HTTP][signal.index()]);
        let name = request.headers().get(header::CONTENT_ENCODING);
        let name = name.map_or("", |value| value.to_str().unwrap_or("?"));
        let known = Compression::from_name(name);
        let is_taken = |codec: &Compression| self.codecs.as_ref().is_none_or(|c| c.contains(codec));
        let Some(compression) = known.filter(is_taken) else {
            let message = format!("content-encoding `{name}` is not supported");
            return Err(Status::new(Code::InvalidArgument, message));
        };
        let context = self.context(signal, &request, peer, HTTP);
        let read = self.body(request.into_body());
        let (body, permit) = match tokio::time::timeout(self.body_timeout, read).await {
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
        refused.not();
        self.ingress.door.submit(arrival).await.map_err(|rejection| status(&rejection))
    }

    /// Reads a whole body. With a content length it is paid for at once; without one in steps,
    /// which may only try, since bytes are held already.
    async fn body(&self, body: &mut Incoming) -> Result<(Pieces, Permit), Status> {
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
        while let Some(data) = next(body).await? {
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
        peer: Option<SocketAddr>,
        protocol: usize,
    ) -> Option<Arc<Context>> {
        if !self.ingress.door.wants_context(signal) {
            return None;
        }
        let mut metadata = Vec::new();
        if self.include_metadata[protocol] {
            for (name, value) in request.headers() {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                metadata.push((name.as_str().to_owned(), text));
            }
            if let Some(host) = request.uri().host() {
                metadata.push(("host".to_owned(), host.to_owned()));
            }
        }
        let arrived = tokio::time::Instant::now().into_std();
        Some(Arc::new(Context { metadata, peer, arrived }))
    }
}

impl Service for OtlpService {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Option<SocketAddr>,
    ) -> Response<Reply> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(is_grpc) {
            return grpc_response(self.grpc(request, peer).await);
        }
        let origin = request.headers().get(header::ORIGIN).cloned();
        let preflight = self.cors.as_ref().and_then(|cors| cors.preflight(&request));
        let mut response = if let Some(response) = preflight {
            response
        } else {
            let is_sent_anyway = server::is_sent_anyway(&request);
            let (parts, mut body) = request.into_parts();
            let response = self.http(Request::from_parts(parts, &mut body), peer).await;
            if is_sent_anyway && !response.status().is_success() {
                server::discard(body);
            }
            response
        };
        if let (Some(cors), Some(origin)) = (&self.cors, origin) {
            cors.allow_origin(&origin, &mut response);
        }
        for (name, value) in &self.response_headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

/// Counts a request as rejected unless it is said not to be: also one whose client goes away.
struct Refusal<'a> {
    stats: &'a ReceiverStats,
    is_rejected: bool,
}

impl<'a> Refusal<'a> {
    fn new(stats: &'a ReceiverStats) -> Self {
        Refusal { stats, is_rejected: true }
    }

    /// The engine answers for it, and counts.
    fn not(mut self) {
        self.is_rejected = false;
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        if self.is_rejected {
            self.stats.rejected_requests.add(1);
        }
    }
}

fn header_of((name, value): (&String, &Secret)) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name.as_str()).ok()?;
    Some((name, HeaderValue::try_from(value.expose()).ok()?))
}

/// `application/grpc`, which means protobuf, and `application/grpc+proto`; others, such as
/// `application/grpc-web`, are not spoken.
fn is_grpc(content_type: &HeaderValue) -> bool {
    let media_type = content_type.as_bytes().split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    media_type == b"application/grpc" || media_type == b"application/grpc+proto"
}

/// The caller's deadline: up to eight digits and a unit (gRPC over HTTP/2, `Timeout`).
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
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

#[cfg(test)]
mod tests;
