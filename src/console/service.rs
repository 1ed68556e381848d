//! Answers the requests of the listener: the page, its files, and the calls of the API.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{self, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::{
    Level, Settings, Sources,
    access::{Refusal, Rules, is_reading},
    api::{self, Call, Reader, parsed, route},
    assets::{File, Files},
    events::{Hub, Topic, VIEWERS},
    recent::{self, Questions},
    tap,
};
use crate::{
    component::Stop,
    net::server::{Connection, Reply, Service},
    telemetry::Telemetry,
};

/// Largest body of a POST: a configuration.
const LARGEST_BODY: usize = 1 << 20;
/// Longest time in which it arrives.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Checks of configurations and the like at a time, since they take a whole core.
const WORKERS: usize = 2;

/// What the page may do: load its own files and ask its own server, and nothing else. It makes no
/// HTML of text, which `trusted-types` turns from a rule into a fact.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const NEVER_KEPT: HeaderValue = HeaderValue::from_static("no-store");
const ASKED_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The service of the listener.
pub(super) struct Pages {
    rules: Rules,
    telemetry: Arc<Telemetry>,
    reader: Reader,
    questions: Questions,
    hub: Arc<Hub>,
    level: Level,
    has_actions: bool,
    work: tokio::sync::Semaphore,
    stop: Stop,
}

impl Pages {
    pub(super) fn new(
        rules: Rules,
        sources: Sources,
        settings: &Settings,
        hub: Arc<Hub>,
        stop: Stop,
    ) -> Self {
        Pages {
            rules,
            questions: Questions::new(sources.recent.clone()),
            telemetry: Arc::clone(&sources.telemetry),
            reader: Reader::new(sources, settings),
            hub,
            level: settings.level,
            has_actions: settings.has_actions,
            work: tokio::sync::Semaphore::new(WORKERS),
            stop,
        }
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Reply>, Refusal> {
        self.rules.check_host(request.uri(), request.headers())?;
        let method = request.method();
        if !is_reading(method) && *method != Method::POST {
            let error = format!("{method} is not answered here");
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error, "use GET or POST"));
        }
        let path = request.uri().path().to_owned();
        if let Some(path) = path.strip_prefix(api::ROOT) {
            return self.call(path, request).await;
        }
        if !is_reading(method) {
            let error = "only the API takes POST";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error, "see docs/console.md"));
        }
        let files = Files::embedded();
        if let Some(path) = path.strip_prefix("/a/") {
            let missing = || {
                let error = "there is no such file in this version of skep";
                Refusal::new(StatusCode::NOT_FOUND, error, "load the page again")
            };
            let file = files.find(path).ok_or_else(missing)?;
            return Ok(sent(file, request.headers(), KEPT));
        }
        // The path is the page's own affair. Where it looks like a file, there is none.
        if path.rsplit('/').next().is_some_and(|last| last.contains('.')) {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such file", "open `/`"));
        }
        Ok(page(files, request.headers()))
    }

    async fn call(
        &self,
        path: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Refusal> {
        let (head, body) = request.into_parts();
        Rules::check_site(&head.headers)?;
        if head.method == Method::POST {
            Rules::check_post(&head.headers)?;
        }
        if path == "login" {
            return self.login(&head.method, body).await;
        }
        self.rules.check_who(&head.headers)?;
        let call = route(&head.method, path, self.level, self.has_actions)?;
        let data = match call {
            Call::About => self.reader.about(),
            Call::Health => self.reader.health(),
            Call::Topology => self.reader.topology(),
            Call::Budget => self.reader.budget().await,
            Call::Backends => self.reader.backends(),
            Call::Problems => Reader::problems(),
            Call::Senders => self.reader.senders(),
            Call::WhereStopped => {
                self.reader.where_stopped(head.uri.query().unwrap_or_default())?
            }
            Call::Taps => tap::points(&self.telemetry),
            Call::Tap => return self.tap(head.uri.query().unwrap_or_default()),
            Call::Config => {
                let _turn = self.turn()?;
                self.reader.config().await?
            }
            Call::Validate => {
                let _turn = self.turn()?;
                self.reader.validate(&taken(body).await?).await?
            }
            Call::Reload => self.reader.reload().await?,
            Call::Events => return self.events(head.uri.query().unwrap_or_default()).await,
            Call::Traces => self.questions.traces(head.uri.query().unwrap_or_default()).await?,
            Call::Trace => self.questions.trace(path).await?,
            Call::Span => self.questions.span(path).await?,
            Call::Query => self.questions.query(&taken(body).await?).await?,
            Call::Boards => Questions::boards(),
            Call::Export => {
                let data = self.questions.export(path).await?;
                return Ok(of_file(data, &recent::file_name(path)));
            }
        };
        Ok(of_json(StatusCode::OK, data))
    }

    /// One of the few that may work at a time.
    fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        self.work.try_acquire().map_err(|_| {
            let error = "the console is busy with other requests of this kind";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a moment")
        })
    }

    async fn login(&self, method: &Method, body: Incoming) -> Result<Response<Reply>, Refusal> {
        if *method != Method::POST {
            let error = "a login is a POST";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error, "see docs/console.md"));
        }
        let body = taken(body).await?;
        let Login { token } = parsed(&body)?;
        self.rules.check_token(&token)?;
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let cookie = HeaderValue::from_str(&self.rules.cookie()).map_err(|error| {
            let error = format!("the cookie cannot be sent: {error}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error, "this is a defect of skep")
        })?;
        response.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(response)
    }

    async fn events(&self, query: &str) -> Result<Response<Reply>, Refusal> {
        let mut pairs = query.split('&');
        let list = pairs.find_map(|pair| pair.strip_prefix("topics=")).unwrap_or_default();
        let list = list.replace("%2C", ",");
        let topics = Topic::listed(&list).map_err(|error| {
            let help = "name some: `?topics=about,health,topology,problems,senders`";
            Refusal::new(StatusCode::BAD_REQUEST, error, help)
        })?;
        let reply = self.hub.watch(&topics, self.stop.clone()).await.ok_or_else(|| {
            let error = format!("{VIEWERS} pages are watching already");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error, "close one of them")
        })?;
        Ok(of_events(reply))
    }

    fn tap(&self, query: &str) -> Result<Response<Reply>, Refusal> {
        let open = tap::open(&self.telemetry, self.level, query)?;
        Ok(of_events(tap::stream(open, self.stop.clone())))
    }
}

impl Service for Pages {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        _connection: Arc<Connection>,
    ) -> Response<Reply> {
        let is_head = *request.method() == Method::HEAD;
        let mut response = self.answer(request).await.unwrap_or_else(|refusal| refused(&refusal));
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.entry(CACHE_CONTROL).or_insert(NEVER_KEPT);
        if is_head {
            *response.body_mut() = Reply::default();
        }
        response
    }
}

/// Body of `login`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// The body of a POST.
async fn taken(body: Incoming) -> Result<Bytes, Refusal> {
    let reading = Limited::new(body, LARGEST_BODY).collect();
    match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let error = format!("the body is larger than {} MiB", LARGEST_BODY >> 20);
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less"))
        }
        Ok(Err(error)) => {
            let error = format!("the body could not be read: {error}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, error, "send it again"))
        }
        Err(_) => {
            let error = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error, "send it again"))
        }
    }
}

/// Why a request was refused, as JSON.
#[derive(Serialize)]
struct Words<'a> {
    error: &'a str,
    help: &'a str,
}

fn refused(refusal: &Refusal) -> Response<Reply> {
    let words = Words { error: &refusal.error, help: &refusal.help };
    let mut response = of_json(refusal.status, api::json(&words));
    let headers = response.headers_mut();
    match refusal.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        _ => {}
    }
    response
}

fn of_events(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn of_json(status: StatusCode, data: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::new(data));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// JSON that a browser saves under a name.
fn of_file(data: Bytes, name: &str) -> Response<Reply> {
    let mut response = of_json(StatusCode::OK, data);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// The page, or that it is the one that the browser has.
fn page(files: &Files, asked: &HeaderMap) -> Response<Reply> {
    let tag = files.tag();
    let is_known = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(&tag));
    let mut response = sent(files.index(), asked, ASKED_AGAIN);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Reply::default();
        response.headers_mut().remove(header::CONTENT_ENCODING);
    }
    response
}

/// A file, compressed if the browser takes that.
fn sent(file: &File, asked: &HeaderMap, kept: HeaderValue) -> Response<Reply> {
    let accepted = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes_gzip = accepted.is_some_and(|all| {
        let mut all = all.split(',').map(|one| one.trim().to_ascii_lowercase());
        all.any(|one| one == "gzip" || (one.starts_with("gzip;") && !one.ends_with("q=0")))
    });
    let body = if takes_gzip { file.gzip.clone() } else { file.plain.clone() };
    let mut response = Response::new(Reply::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(CACHE_CONTROL, kept);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if takes_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
