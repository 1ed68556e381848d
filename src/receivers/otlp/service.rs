//! Serves OTLP requests over gRPC and HTTP on any port. The content type tells them apart.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{
    answer::{failure, grpc_response, plain, success, unauthenticated},
    guard::{Asker, Guard},
    public::{self, Visit},
    settings::{Config, HttpSettings, Utf8Check},
};
use crate::{
    component::{
        Admission, Arrival, Caller, Compression, Encoding, Identity, Inlet, Rejection, Vetting,
    },
    config::{Interval, Secret},
    net::{
        grpc::{self, Code, Status},
        server::{self, Connection, Reply, Service},
    },
    otlp::{
        Signal,
        check::Utf8,
        payload::{Context, Permit, Wait},
    },
    receivers::{
        astray::{self, Astray},
        body::{self, Payer},
        cors::{Cors, is_preflight},
        refusal::Refusal,
        status::status,
        stray::Stray,
    },
    telemetry::ReceiverStats,
};

/// Longest time for a whole body: a slow sender holds a permit.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Encodings that gRPC clients may use.
const GRPC_CODECS: [Compression; 4] =
    [Compression::Identity, Compression::Gzip, Compression::Snappy, Compression::Zstd];

/// The service of one receiver.
pub(super) struct OtlpService {
    inlet: Arc<dyn Inlet>,
    paths: [String; 3],
    signals: Vec<Signal>,
    max_message: usize,
    max_body: usize,
    wait: Wait,
    utf8: Utf8,
    /// For gRPC and for HTTP. A protocol without a section of its own follows the other.
    include_metadata: [bool; 2],
    cors: Option<Cors>,
    remove_public_marks: bool,
    response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Content encodings that HTTP requests may have; `None` means all.
    codecs: Option<Vec<Compression>>,
    /// Longest time for the body of an HTTP request.
    body_timeout: Duration,
    stats: Stats,
    astray: Astray,
}

/// Counters of gRPC and of HTTP, by signal.
pub(super) type Stats = [[Arc<ReceiverStats>; 3]; 2];

/// Where the log says that pages can be allowed.
const CORS: &str = "protocols: http: cors";

const GRPC: usize = 0;
const HTTP: usize = 1;

impl OtlpService {
    pub(super) fn new(
        config: &Config,
        signals: &[Signal],
        stats: Stats,
        astray: Astray,
        inlet: Arc<dyn Inlet>,
    ) -> Self {
        let defaults = HttpSettings::default();
        let http = config.protocols.http.on().unwrap_or(&defaults);
        let path = |path: &String| {
            if path.starts_with('/') { path.clone() } else { format!("/{path}") }
        };
        OtlpService {
            inlet,
            paths: [
                path(&http.traces_url_path),
                path(&http.metrics_url_path),
                path(&http.logs_url_path),
            ],
            signals: signals.to_vec(),
            max_message: config.max_message(),
            max_body: config.max_body(),
            wait: if config.wait_for_export { Wait::Delivery } else { Wait::Acceptance },
            utf8: match config.utf8 {
                Utf8Check::Strict => Utf8::Strict,
                Utf8Check::Unchecked => Utf8::Off,
            },
            include_metadata: {
                let grpc = config.protocols.grpc.on().map(|grpc| grpc.include_metadata);
                let http = config.protocols.http.on().map(|http| http.include_metadata);
                [grpc.or(http) == Some(true), http.or(grpc) == Some(true)]
            },
            cors: http.cors.clone().map(|mut cors| {
                let token = http.public.on().and_then(|public| public.token.as_ref());
                cors.allowed_headers.extend(token.map(|token| token.header.clone()));
                cors
            }),
            remove_public_marks: config.remove_public_marks,
            response_headers: http.response_headers.iter().filter_map(parse_header).collect(),
            codecs: http.compression_algorithms.as_ref().map(|names| {
                names.iter().filter_map(|name| Compression::from_name(name)).collect()
            }),
            body_timeout: match http.read_timeout {
                Some(Interval(timeout)) if !timeout.is_zero() => timeout,
                _ => BODY_TIMEOUT,
            },
            stats,
            astray,
        }
    }

    fn asker<'a>(
        &'a self,
        signal: Signal,
        client: &Client<'a>,
        stats: &'a ReceiverStats,
    ) -> Asker<'a> {
        Asker { inlet: &self.inlet, signal, connection: client.connection, stats }
    }

    // ---- gRPC ----------------------------------------------------------------------------

    async fn grpc(&self, request: Request<Incoming>, client: &Client<'_>) -> Result<(), Status> {
        let path = request.uri().path();
        let known = grpc::signal_of(path);
        let Some(signal) = known.filter(|signal| self.signals.contains(signal)) else {
            let (kind, text) = match known {
                Some(signal) => (Stray::UnusedSignal, astray::unused(signal)),
                None => astray::wrong_method(path),
            };
            self.astray.note(kind, &client.caller("grpc", request.headers()), &text);
            return Err(Status::new(Code::Unimplemented, text));
        };
        let caller = client.caller("grpc", request.headers());
        let mut refused = Refusal::new(&self.stats[GRPC][signal.index()], caller);
        let limit = grpc_timeout(request.headers());
        let message = self.grpc_message(signal, request, client, &mut refused);
        let result = match limit {
            None => message.await,
            Some(limit) => tokio::time::timeout(limit, message).await.unwrap_or_else(|_| {
                Err(Status::new(Code::DeadlineExceeded, "the caller's grpc-timeout is over"))
            }),
        };
        result.inspect_err(|status| refused.because(status))
    }

    async fn grpc_message(
        &self,
        signal: Signal,
        request: Request<Incoming>,
        client: &Client<'_>,
        refused: &mut Refusal<'_>,
    ) -> Result<(), Status> {
        let stats = &self.stats[GRPC][signal.index()];
        let identity = client.admit(&request, self.asker(signal, client, stats)).await?;
        let encoding = request.headers().get(grpc::ENCODING).map(HeaderValue::as_bytes);
        let name = encoding.map_or(Ok("identity"), std::str::from_utf8).unwrap_or("?");
        let known = Compression::from_name(name).filter(|known| GRPC_CODECS.contains(known));
        let Some(compression) = known else {
            let message = format!("grpc-encoding `{name}` is not supported");
            return Err(Status::new(Code::Unimplemented, message));
        };
        let admission = Arc::clone(&self.inlet).admission(signal);
        let admission = admission.map_err(|rejection| status(&rejection))?;
        let context = self.context(&*admission, &request, (client, identity), GRPC);
        let payer = Payer {
            admission: &*admission,
            connection: client.connection,
            timeout: BODY_TIMEOUT,
            // A sender ignores a response after its timeout, so it gets one before.
            patience: grpc_timeout(request.headers()).map(|patience| patience.mul_f64(0.75)),
            stats,
        };
        let (prefix, body, permit) = body::message(request.into_body(), self.max_message, payer)
            .await
            .inspect_err(|status| {
                self.astray.note_status(status, client.connection.peer);
            })?;
        let compression = match (prefix.is_compressed, compression) {
            (false, _) => Compression::Identity,
            (true, Compression::Identity) => {
                let message = "the message is compressed, but there is no grpc-encoding";
                return Err(Status::new(Code::Internal, message));
            }
            (true, compression) => compression,
        };
        let arrival = Arrival {
            signal,
            encoding: Encoding::Protobuf,
            compression,
            body,
            permit,
            max_inflated: self.max_message,
            utf8: self.utf8,
            context,
            wait: self.wait,
            stats: Arc::clone(stats),
            vetting: self.vetting(None),
            caller: refused.submit(),
        };
        let reply = admission.submit(arrival).await;
        reply.map_err(|rejection| self.rejected(&rejection, client.connection))
    }

    /// What is done with a request once it is unpacked.
    fn vetting(&self, visit: Option<Visit>) -> Option<Box<dyn Vetting>> {
        match visit {
            Some(visit) => Some(Box::new(visit)),
            None if self.remove_public_marks => Some(Box::new(public::RemoveMarks)),
            None => None,
        }
    }

    /// The status of a rejected request. It is logged if the sender is at fault.
    fn rejected(&self, rejection: &Rejection, connection: &Connection) -> Status {
        let status = status(rejection);
        if matches!(rejection, Rejection::Malformed(_) | Rejection::TooLarge { .. }) {
            self.astray.note_status(&status, connection.peer);
        }
        status
    }

    // ---- HTTP ----------------------------------------------------------------------------

    async fn http(&self, request: Request<&mut Incoming>, client: &Client<'_>) -> Response<Reply> {
        let path = request.uri().path();
        let signal = Signal::ALL
            .into_iter()
            .find(|signal| self.paths[signal.index()] == path)
            .filter(|signal| self.signals.contains(signal));
        let Some(signal) = signal else {
            let (kind, text) = match client.public {
                Some(_) if path == self.paths[Signal::Metrics.index()] => {
                    (Stray::UnusedSignal, public::NO_METRICS.to_owned())
                }
                _ => astray::wrong_path(path, request.headers(), &self.paths),
            };
            // GET comes from health checks of load balancers and from browsers, not from senders.
            if request.method() == Method::POST {
                self.astray.note(kind, &client.caller("http", request.headers()), &text);
            }
            return plain(StatusCode::NOT_FOUND, text);
        };
        let stats = &self.stats[HTTP][signal.index()];
        let mut refused = Refusal::new(stats, client.caller("http", request.headers()));
        let encoding = match self.encoding(&request, client) {
            Ok(encoding) => encoding,
            Err((code, text)) => {
                refused.because(&Status::new(Code::InvalidArgument, text));
                return unfit(code, text);
            }
        };
        let identity = match client.admit(&request, self.asker(signal, client, stats)).await {
            Ok(identity) => identity,
            Err(denied) => {
                refused.because(&denied);
                return unauthenticated(&denied, encoding, client.challenge());
            }
        };
        let visit = client
            .public
            .map(|guard| guard.admit(request.headers(), client.connection, self.max_body));
        let visit = match visit.transpose() {
            Ok(visit) => visit,
            Err(denied) => {
                refused.because(&denied);
                return failure(&denied, encoding);
            }
        };
        let source = Source { client, identity, visit };
        match self.submit((signal, encoding), request, source, &mut refused).await {
            Ok(()) => success(encoding),
            Err(failed) => {
                refused.because(&failed);
                failure(&failed, encoding)
            }
        }
    }

    /// How the body of a request is encoded; or the answer to what is no such request.
    fn encoding<B>(
        &self,
        request: &Request<B>,
        client: &Client<'_>,
    ) -> Result<Encoding, (StatusCode, &'static str)> {
        if request.method() != Method::POST {
            let text = "405 method not allowed, supported: [POST]";
            return Err((StatusCode::METHOD_NOT_ALLOWED, text));
        }
        encoding(request.headers()).ok_or_else(|| {
            let text = "415 unsupported media type, supported: \
                        [application/json, application/x-protobuf]; \
                        with curl add -H 'content-type: application/json'";
            self.astray.count(Stray::MediaType, client.connection.peer, text);
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
        })
    }

    async fn submit(
        &self,
        (signal, encoding): (Signal, Encoding),
        request: Request<&mut Incoming>,
        source: Source<'_>,
        refused: &mut Refusal<'_>,
    ) -> Result<(), Status> {
        let name = request.headers().get(header::CONTENT_ENCODING);
        let name = name.map_or("", |value| value.to_str().unwrap_or("?"));
        let known = Compression::from_name(name);
        let is_taken = |codec: &Compression| self.codecs.as_ref().is_none_or(|c| c.contains(codec));
        let Some(compression) = known.filter(is_taken) else {
            let message = format!("content-encoding `{name}` is not supported");
            return Err(Status::new(Code::InvalidArgument, message));
        };
        let admission = Arc::clone(&self.inlet).admission(signal);
        let admission = admission.map_err(|rejection| status(&rejection))?;
        let Source { client, identity, visit } = source;
        let (connection, stats) = (client.connection, &self.stats[HTTP][signal.index()]);
        let context = self.context(&*admission, &request, (client, identity), HTTP);
        let payer = Payer {
            admission: &*admission,
            connection,
            timeout: self.body_timeout,
            patience: None,
            stats,
        };
        let read = body::whole(request.into_body(), self.max_body, payer).await;
        let (body, permit) = read.inspect_err(|status| {
            self.astray.note_status(status, connection.peer);
        })?;
        if let (Encoding::Json, Compression::Identity) = (encoding, compression)
            && let Some(other) = astray::other_signal(&body, signal)
        {
            let text = format!(
                "the body has data of {other} and was sent to {}, where it has no meaning; send it to {}",
                self.paths[signal.index()],
                self.paths[other.index()]
            );
            self.astray.count(Stray::OtherSignal, connection.peer, &text);
        }
        let arrival = Arrival {
            signal,
            encoding,
            compression,
            body,
            permit,
            max_inflated: self.max_body,
            utf8: self.utf8,
            context,
            wait: self.wait,
            stats: Arc::clone(stats),
            vetting: self.vetting(visit),
            caller: refused.submit(),
        };
        let reply = admission.submit(arrival).await;
        reply.map_err(|rejection| self.rejected(&rejection, connection))
    }

    /// Logs that a page may not send, which a browser shows only in its own console.
    fn note_refused_page<B>(
        &self,
        origin: &HeaderValue,
        request: &Request<B>,
        client: &Client<'_>,
    ) {
        let refused = match &self.cors {
            Some(cors) => cors.refused(origin, request, CORS),
            None => Cors::default().refused(origin, request, CORS),
        };
        if let Some((kind, text)) = refused {
            self.astray.note(kind, &client.caller("http", request.headers()), &text);
        }
    }

    fn context<B>(
        &self,
        admission: &dyn Admission,
        request: &Request<B>,
        (client, auth): (&Client<'_>, Identity),
        protocol: usize,
    ) -> Option<Arc<Context>> {
        if !admission.wants_context() {
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
        Some(Arc::new(Context { metadata, auth, peer: client.connection.peer, arrived }))
    }
}

/// The service as one port offers it.
pub(super) struct PortService {
    pub(super) service: Arc<OtlpService>,
    /// Decides which clients may send; `None` means that all may.
    pub(super) guard: Option<Arc<Guard>>,
    /// Guards the port if anybody can be its client.
    pub(super) public: Option<Arc<public::Guard>>,
}

/// The client that sends a request.
struct Client<'a> {
    connection: &'a Arc<Connection>,
    guard: Option<&'a Guard>,
    public: Option<&'a Arc<public::Guard>>,
}

/// Where a request comes from.
struct Source<'a> {
    client: &'a Client<'a>,
    identity: Identity,
    /// At a public port.
    visit: Option<Visit>,
}

impl Client<'_> {
    /// Returns the identity of the client, or why it may not send.
    async fn admit<B>(&self, request: &Request<B>, asker: Asker<'_>) -> Result<Identity, Status> {
        let (headers, uri) = (request.headers(), request.uri());
        match self.guard {
            Some(guard) => guard.admit(headers, uri, asker).await,
            None => Ok(Identity::new()),
        }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        self.guard.map(Guard::challenge)
    }

    /// What the table of senders is told of it.
    fn caller(&self, transport: &'static str, headers: &HeaderMap) -> Caller {
        let is_stranger = self.public.is_some();
        Caller { is_stranger, ..astray::caller(transport, self.connection, headers) }
    }
}

impl Service for PortService {
    fn charge(&self, bytes: usize) -> Option<Permit> {
        self.service.inlet.charge(bytes)
    }

    fn note_unserved(&self, peer: Option<SocketAddr>, words: &str) {
        self.service.astray.note_unserved(peer.filter(|_| self.public.is_none()), words);
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Reply> {
        let (guard, public) = (self.guard.as_deref(), self.public.as_ref());
        let client = Client { connection: &connection, guard, public };
        self.service.serve(request, &client).await
    }
}

impl OtlpService {
    async fn serve(&self, request: Request<Incoming>, client: &Client<'_>) -> Response<Reply> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(is_grpc) {
            if let Some(guard) = client.public {
                return grpc_response(Err(guard.refuse_grpc()));
            }
            return grpc_response(self.grpc(request, client).await);
        }
        let origin = request.headers().get(header::ORIGIN).cloned();
        if let Some(origin) = &origin
            && is_preflight(&request)
        {
            self.note_refused_page(origin, &request, client);
        }
        let preflight = self.cors.as_ref().and_then(|cors| cors.preflight(&request));
        let mut response = if let Some(response) = preflight {
            response
        } else {
            let is_sent_anyway = server::is_sent_anyway(&request);
            let (parts, mut body) = request.into_parts();
            let response = self.http(Request::from_parts(parts, &mut body), client).await;
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

fn parse_header((name, value): (&String, &Secret)) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name.as_str()).ok()?;
    Some((name, HeaderValue::try_from(value.expose()).ok()?))
}

/// The answer to a request that is none of OTLP.
fn unfit(code: StatusCode, text: &'static str) -> Response<Reply> {
    let mut response = plain(code, text);
    if code == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// What the media type of a body says; `None` if it is neither protobuf nor JSON.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let media_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

/// `application/grpc`, which means protobuf, and `application/grpc+proto`; others, such as
/// `application/grpc-web`, are not supported.
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

#[cfg(test)]
mod tests;
