//! Answers the requests of Rollbar's SDKs: reads the body, asks the token, the rate limit and the
//! memory of seen items in this order, and hands the item to the engine.
//!
//! A tree of an item takes up to 48 times its memory. It is paid for before it is made, by the
//! number of brackets and commas in the body.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq as _;

use super::{
    answer::Answer,
    envelope::{Envelope, Refused},
    item::{self, About},
    limit::{Limits, Rate},
    seen::{Seen, Turn},
    settings::{Config, TOKEN},
};
use crate::{
    component::{Caller, Compression, Inlet},
    config::Secret,
    net::{
        codec,
        grpc::{Code, Status},
        rate_limit::RateLimit,
        server::{self, Connection, Reply, Service},
    },
    otlp::{
        Signal,
        payload::{Permit, Reason, Wait},
    },
    receivers::{
        astray::{self, Astray},
        body::{self, Payer},
        cors::{Cors, is_preflight},
        refusal::Refusal,
        status::status,
        stray::Stray,
        translated::Translated,
    },
    telemetry::ReceiverStats,
};

/// Where the log says that pages can be allowed.
const CORS: &str = "cors";

/// Longest time for a whole body: a slow sender holds a permit.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request waits for room: the SDK for Python gives up after three seconds.
const PATIENCE: Duration = Duration::from_millis(2250);

/// Longest uuid (Rollbar's API).
const UUID: usize = 36;

/// What a request brought.
enum Brought {
    /// An item that was taken before.
    Known(Answer),
    New(Item),
}

/// An item on its way to the engine.
struct Item {
    /// An `ExportLogsServiceRequest`.
    request: Vec<u8>,
    uuid: String,
    rate: Option<Rate>,
    /// `None` for an item without a uuid of its client.
    turn: Option<Turn>,
}

/// The service of one receiver.
pub(super) struct Intake {
    inlet: Arc<dyn Inlet>,
    stats: Arc<ReceiverStats>,
    astray: Astray,
    tokens: Vec<Secret>,
    service_name: String,
    max_body: usize,
    wait: Wait,
    cors: Cors,
    limits: Limits,
    seen: Seen,
    limited: RateLimit,
}

impl Intake {
    pub(super) fn new(
        config: &Config,
        inlet: Arc<dyn Inlet>,
        stats: Arc<ReceiverStats>,
        astray: Astray,
    ) -> Self {
        Intake {
            inlet,
            stats,
            astray,
            tokens: config.access_tokens.clone(),
            service_name: config.service_name.clone(),
            max_body: config.max_body(),
            wait: if config.wait_for_export { Wait::Delivery } else { Wait::Acceptance },
            cors: config.pages(),
            limits: Limits::new(config.max_items_per_minute),
            seen: Seen::default(),
            limited: RateLimit::default(),
        }
    }

    /// Answers a request. The engine counts what it refuses; all other refusals are counted here.
    async fn answer(
        &self,
        request: Request<&mut Incoming>,
        connection: &Arc<Connection>,
    ) -> Answer {
        let mut caller = astray::caller("http", connection, request.headers());
        caller.foreign = Some("item");
        if let Err(answer) = self.check_path(&request, &caller) {
            self.stats.rejected_requests.add(1);
            return answer;
        }
        let mut refused = Refusal::new(&self.stats, caller);
        match self.take(request, connection, &mut refused).await {
            Ok(answer) => {
                refused.submit();
                answer
            }
            Err(answer) => {
                refused.is(answer.at_fault(), answer.said.as_ref().err().map_or("", |text| text));
                answer
            }
        }
    }

    /// `Err`: the engine knows nothing of the request.
    async fn take(
        &self,
        request: Request<&mut Incoming>,
        connection: &Arc<Connection>,
        refused: &mut Refusal<'_>,
    ) -> Result<Answer, Answer> {
        let (parts, body) = request.into_parts();
        if let Some(token) = token_of(&parts.headers) {
            self.check_token(token, connection)?;
        }
        let admission = Arc::clone(&self.inlet).admission(Signal::Logs);
        let admission = admission.map_err(|why| Answer::rejected(&why))?;
        let payer = Payer {
            admission: &*admission,
            connection,
            timeout: BODY_TIMEOUT,
            patience: Some(PATIENCE),
            stats: &self.stats,
        };
        let read = body::whole(body, self.max_body, payer).await;
        let (body, mut paid) = read.map_err(|status| self.unread(&status, connection))?;
        let body = self.inflated(&parts.headers, body, &mut paid)?;
        let item = match self.brought(&parts.headers, &body, &paid, connection).await? {
            Brought::Known(answer) => return Ok(answer),
            Brought::New(item) => item,
        };
        drop(body);
        let permit = paid.try_more((item.request.len() + item.request.len() / 8) as u64);
        let permit = permit.ok_or_else(|| Answer::refused(&no_memory()))?;
        drop(paid);
        let made = Translated {
            signal: Signal::Logs,
            body: item.request.into(),
            permit,
            caller: refused.submit(),
            wait: self.wait,
        };
        let arrival = made.arrival(&*admission, Arc::clone(&self.stats));
        let answer = match admission.submit(arrival).await {
            Ok(()) => {
                if let Some(turn) = item.turn {
                    turn.taken();
                }
                Answer::taken(&item.uuid)
            }
            Err(rejection) => Answer::rejected(&rejection),
        };
        Ok(Answer { rate: item.rate, ..answer })
    }

    /// Reads an item, and asks whether it may be taken.
    async fn brought(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        paid: &Permit,
        connection: &Connection,
    ) -> Result<Brought, Answer> {
        let wrong = |why: Refused| self.refused(why, connection);
        let text = text(headers, body);
        let tree = paid.try_more(cost_of_tree(text.as_bytes()));
        let _tree = tree.ok_or_else(|| Answer::refused(&no_memory()))?;
        let mut envelope = Envelope::parse(&text).map_err(wrong)?;
        let from_header = token_of(headers);
        let token = from_header.or(envelope.token()).unwrap_or_default().to_owned();
        if from_header.is_none() {
            self.check_token(&token, connection)?;
        }
        let rate = self.limits.take(&token);
        if let Some(rate) = rate.filter(|rate| rate.is_over) {
            return Err(self.over_limit(rate));
        }
        let given = envelope.uuid().filter(|uuid| uuid.len() <= UUID).map(str::to_owned);
        let turn = match &given {
            Some(uuid) => {
                let Some(turn) = self.seen.enter(&token, uuid).await else {
                    let answer = Answer { rate, ..Answer::taken(uuid) };
                    return Ok(Brought::Known(answer));
                };
                Some(turn)
            }
            None => None,
        };
        let uuid = given.unwrap_or_else(random_uuid);
        envelope.hide(&token);
        let mut request = Vec::with_capacity(text.len() * 2);
        let peer = connection.peer.map(|peer| peer.ip());
        self.write(&envelope, &uuid, peer, &mut request).map_err(wrong)?;
        request.shrink_to_fit();
        Ok(Brought::New(Item { request, uuid, rate, turn }))
    }

    fn refused(&self, why: Refused, connection: &Connection) -> Answer {
        self.astray.count(Stray::Malformed, connection.peer, &why.to_string());
        let status = match why {
            Refused::NoObject | Refused::NoData => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Answer::error(status, why.to_string())
    }

    fn over_limit(&self, rate: Rate) -> Answer {
        if self.limited.is_due() {
            tracing::warn!(
                receiver = %self.stats.id,
                limit = rate.limit,
                "A client sends more items than `max_items_per_minute` allows"
            );
        }
        Answer::limited(rate)
    }

    /// Refuses what is no item.
    fn check_path<B>(&self, request: &Request<B>, caller: &Caller) -> Result<(), Answer> {
        let path = request.uri().path();
        if !matches!(path, "/api/1/item/" | "/api/1/item") {
            if let Some((kind, text)) = astray::misdirected_otlp(path, request.headers()) {
                self.astray.note(kind, caller, &text);
                return Err(Answer::error(StatusCode::NOT_FOUND, text));
            }
            let text = "only items are taken here: POST /api/1/item/";
            if request.method() == Method::POST {
                self.astray.note(Stray::Path, caller, text);
            }
            return Err(Answer::error(StatusCode::NOT_FOUND, text));
        }
        if request.method() != Method::POST {
            let text = "items are sent by POST";
            self.stats.senders.turned_away(&self.stats.id, caller, text);
            return Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, text));
        }
        Ok(())
    }

    /// Refuses a token that is not among those of the configuration.
    fn check_token(&self, token: &str, connection: &Connection) -> Result<(), Answer> {
        let is_same = |known: &Secret| known.expose().as_bytes().ct_eq(token.as_bytes());
        let is_known = self.tokens.iter().map(is_same).fold(0, |all, one| all | one.unwrap_u8());
        if self.tokens.is_empty() || is_known == 1 {
            return Ok(());
        }
        self.stats.unauthenticated_requests.add(1);
        let text = if token.is_empty() {
            "the access token is missing"
        } else {
            "the access token is not one of `access_tokens`"
        };
        self.astray.count(Stray::Malformed, connection.peer, text);
        Err(Answer::error(StatusCode::UNAUTHORIZED, text))
    }

    /// The answer to a request whose body was not read.
    fn unread(&self, status: &Status, connection: &Connection) -> Answer {
        self.astray.note_status(status, connection.peer);
        let answer = Answer::refused(status);
        match status.code {
            Code::InvalidArgument => Answer { status: StatusCode::PAYLOAD_TOO_LARGE, ..answer },
            _ => answer,
        }
    }

    /// The body without its content encoding; `paid` then pays for that.
    fn inflated(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        paid: &mut Permit,
    ) -> Result<Bytes, Answer> {
        let name = headers.get(header::CONTENT_ENCODING);
        let name = name.map_or("", |value| value.to_str().unwrap_or("?"));
        let Some(compression) = Compression::from_name(name) else {
            let message = format!("content-encoding `{name:.100}` is not supported");
            return Err(Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        };
        if compression == Compression::Identity {
            return Ok(body);
        }
        let mut held = Vec::new();
        let mut pay = |bytes: usize| match paid.try_more(bytes as u64) {
            Some(permit) => {
                held.push(permit);
                true
            }
            None => false,
        };
        let inflated = codec::inflate(compression, &body, self.max_body, &mut pay);
        let inflated =
            inflated.map_err(|error| Answer::error(StatusCode::BAD_REQUEST, error.to_string()))?;
        let whole = paid.try_more(inflated.len() as u64);
        *paid = whole.ok_or_else(|| Answer::refused(&no_memory()))?;
        Ok(inflated)
    }

    fn write(
        &self,
        envelope: &Envelope<'_>,
        uuid: &str,
        peer: Option<IpAddr>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let arrived = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let about = About { peer, arrived, uuid, service_name: &self.service_name };
        item::write(&envelope.data, &about, out)
    }
}

impl Service for Intake {
    fn charge(&self, bytes: usize) -> Option<Permit> {
        self.inlet.charge(bytes)
    }

    fn note_unserved(&self, peer: Option<SocketAddr>, words: &str) {
        self.astray.note_unserved(peer, words);
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Reply> {
        let origin = request.headers().get(header::ORIGIN).cloned();
        if let Some(origin) = &origin
            && is_preflight(&request)
            && let Some((kind, text)) = self.cors.refused(origin, &request, CORS)
        {
            let caller = astray::caller("http", &connection, request.headers());
            self.astray.note(kind, &caller, &text);
        }
        let mut response = if let Some(response) = self.cors.preflight(&request) {
            response
        } else {
            let is_sent_anyway = server::is_sent_anyway(&request);
            let (parts, mut body) = request.into_parts();
            let answer = self.answer(Request::from_parts(parts, &mut body), &connection).await;
            if is_sent_anyway && !answer.status.is_success() {
                server::discard(body);
            }
            answer.respond()
        };
        if let Some(origin) = origin {
            self.cors.allow_origin(&origin, &mut response);
        }
        response
    }
}

fn token_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(TOKEN)?.to_str().ok()
}

/// The JSON of a body, which may be in the field `payload` of a form.
fn text<'b>(headers: &HeaderMap, body: &'b [u8]) -> Cow<'b, str> {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    let text = String::from_utf8_lossy(body);
    let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !media_type.starts_with(FORM) || body.trim_ascii_start().starts_with(b"{") {
        return text;
    }
    let field = text.split('&').find_map(|pair| pair.strip_prefix("payload="));
    let field = field.unwrap_or_default().replace('+', " ");
    Cow::Owned(percent_decode_str(&field).decode_utf8_lossy().into_owned())
}

/// Bytes that the tree of a document takes, with those that its vectors leave behind as they grow,
/// and the texts that are written from it.
fn cost_of_tree(text: &[u8]) -> u64 {
    const VALUE: usize = 160;
    const VECTOR: usize = 352;
    let count = |byte: u8| memchr::memchr_iter(byte, text).count();
    let (values, vectors) = (count(b','), count(b'[') + count(b'{'));
    (8 * text.len() + VALUE * values + VECTOR * vectors) as u64
}

fn no_memory() -> Status {
    status(&crate::component::Rejection::Unavailable(Reason::OverBudget, None))
}

/// A uuid of version 4, for an item without one.
fn random_uuid() -> String {
    let bits = fastrand::u128(..) & !(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{bits:032x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_have_the_item_in_a_field() {
        let mut headers = HeaderMap::new();
        assert_eq!(text(&headers, b"{}"), "{}");
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, form);
        assert_eq!(text(&headers, b"a=1&payload=%7B%22a%22:+1%7D"), "{\"a\": 1}");
        assert_eq!(text(&headers, b"{\"a\":1}"), "{\"a\":1}");
    }

    #[test]
    fn uuids_have_their_version() {
        let uuid = random_uuid();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
    }

    #[test]
    fn a_tree_costs_more_than_its_text() {
        assert!(cost_of_tree(b"{\"a\":[1,2,3]}") > 1000);
    }
}
