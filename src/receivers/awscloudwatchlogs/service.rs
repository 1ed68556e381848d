//! Answers the calls of clients.
//!
//! ```text
//! head: which call, which key? -> room, permit, body -> signature, encodings, JSON, OTLP -> engine
//!  (refused before its body is read)     (tokio)       (a thread of its own for large bodies)
//! ```
//!
//! Calls other than `PutLogEvents` have small bodies. They do not wait for room in the queues, so
//! that an application starts while the backends are down.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use super::{
    answer::{Answer, Fault, Kind},
    body::{self, Paid},
    calls::{self, Call, Place},
    put::{Reader, Ready, now},
    signature::{Signature, Signed},
};
use crate::{
    component::Inlet,
    net::{
        rate_limit::RateLimit,
        server::{self, Connection, Reply, Service},
    },
    otlp::{
        Signal,
        payload::{Permit, Wait},
    },
    receivers::{
        astray::{self, Astray},
        body::{Payer, whole},
        refusal::Refusal,
        status::status,
        stray::Stray,
        translated::Translated,
    },
    telemetry::ReceiverStats,
};

/// Longest time for a whole body: a slow sender holds a permit.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest body of a call other than `PutLogEvents`: 50 tags have 100 KiB at most.
const SMALL: usize = 256 << 10;

/// Bodies up to this size are read at once; one takes less than half a millisecond.
const AT_ONCE: usize = 32 << 10;

/// Region of answers to calls that are not signed.
const REGION: &str = "us-east-1";

/// Answers calls.
pub(super) struct LogsService {
    pub(super) id: String,
    pub(super) reader: Arc<Reader>,
    pub(super) inlet: Arc<dyn Inlet>,
    pub(super) stats: Arc<ReceiverStats>,
    pub(super) astray: Astray,
    pub(super) told_denied: RateLimit,
    pub(super) told_rejected: RateLimit,
}

impl LogsService {
    async fn answer(
        &self,
        head: Parts,
        body: &mut Incoming,
        connection: &Arc<Connection>,
    ) -> Answer {
        let mut caller = astray::caller("http", connection, &head.headers);
        caller.foreign = Some("log events");
        let mut refused = Refusal::new(&self.stats, caller);
        let is_sts = is_form(&head);
        let answered = if is_sts {
            self.identity(head, body).await
        } else {
            self.call(head, body, connection, &mut refused).await
        };
        answered.inspect(|_| drop(refused.submit())).unwrap_or_else(|fault| {
            self.note(&fault, connection);
            refused.is(fault.kind.refused(), &fault.message);
            if is_sts { Answer::xml_fault(&fault) } else { Answer::fault(&fault) }
        })
    }

    async fn call(
        &self,
        head: Parts,
        body: &mut Incoming,
        connection: &Arc<Connection>,
        refused: &mut Refusal<'_>,
    ) -> Result<Answer, Fault> {
        let target = head.headers.get("x-amz-target").map(HeaderValue::to_str);
        let (Some(Ok(target)), &Method::POST) = (target, &head.method) else {
            if head.method != Method::POST {
                refused.is_passing();
            }
            return Err(self.no_call(&head, connection));
        };
        let call = Call::of(target).inspect_err(|fault| {
            self.astray.count(Stray::AwsJson, connection.peer, &fault.message);
        })?;
        let Reader { config, gate, groups } = &*self.reader;
        gate.admit(Signature::read(&head.headers).as_ref())?;
        if call == Call::PutLogEvents {
            return self.put(head, body, connection, refused).await;
        }
        let (bytes, charge) = self.small(body).await?;
        let signature = Signature::read(&head.headers);
        gate.verify(signature.as_ref(), Signed { head: &head, body: &bytes })?;
        let paid = Paid { bytes, permits: charge.into_iter().collect() };
        let body = body::decode(&head.headers, paid, SMALL)?;
        let region = signature.as_ref().and_then(Signature::region).unwrap_or(REGION);
        let place = Place { region, account: &config.account_id, now: now().1 };
        let answer = calls::answer(call, &body.bytes, groups, place)?;
        Ok(answer.map_or_else(Answer::empty, |answer| Answer::json(&answer)))
    }

    /// Why a request is not a call.
    fn no_call(&self, head: &Parts, connection: &Connection) -> Fault {
        let path = head.uri.path();
        if let Some((kind, text)) = astray::misdirected_otlp(path, &head.headers) {
            self.astray.count(kind, connection.peer, &text);
            return Fault::new(Kind::UnknownOperation, text);
        }
        let text = "only calls of CloudWatch Logs are answered here: POST with the header \
                    `X-Amz-Target: Logs_20140328.<Operation>`";
        // Health checks of load balancers and passing browsers GET; they are no senders.
        if head.method == Method::POST {
            self.astray.count(Stray::Path, connection.peer, text);
        }
        Fault::new(Kind::UnknownOperation, text)
    }

    /// Who the client is: `GetCallerIdentity` of STS, which is asked by clients that tag groups.
    async fn identity(&self, head: Parts, body: &mut Incoming) -> Result<Answer, Fault> {
        let Reader { config, gate, .. } = &*self.reader;
        let signature = Signature::read(&head.headers);
        gate.admit(signature.as_ref())?;
        let (body, _charge) = self.small(body).await?;
        gate.verify(signature.as_ref(), Signed { head: &head, body: &body })?;
        let mut pairs = body.split(|byte| *byte == b'&');
        if !pairs.any(|pair| pair == b"Action=GetCallerIdentity") {
            let message = "of STS only `GetCallerIdentity` is answered here";
            return Err(Fault::new(Kind::UnknownOperation, message));
        }
        let key = signature.as_ref().map_or("skep", |signature| signature.key);
        Ok(Answer::identity(&config.account_id, key))
    }

    /// The body of a call other than `PutLogEvents`, which is charged in any case: it is small.
    async fn small(&self, body: &mut Incoming) -> Result<(Bytes, Option<Permit>), Fault> {
        let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let size = announced.unwrap_or(SMALL);
        let too_large =
            || Fault::invalid(format!("the body of this call has more than {SMALL} bytes"));
        if size > SMALL {
            return Err(too_large());
        }
        let charge = self.inlet.charge(size);
        let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, SMALL).collect()).await;
        match read.map_err(|_| Fault::new(Kind::Throttling, "the body came too slowly"))? {
            Ok(body) => Ok((body.to_bytes(), charge)),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => Err(Fault::invalid(format!("the body could not be read: {error}"))),
        }
    }

    async fn put(
        &self,
        head: Parts,
        body: &mut Incoming,
        connection: &Arc<Connection>,
        refused: &mut Refusal<'_>,
    ) -> Result<Answer, Fault> {
        let admission = Arc::clone(&self.inlet).admission(Signal::Logs);
        let admission = admission.map_err(|error| Fault::of_status(&status(&error)))?;
        let payer = Payer {
            admission: &*admission,
            connection,
            timeout: BODY_TIMEOUT,
            patience: None,
            stats: &self.stats,
        };
        let read = whole(body, self.reader.config.max_body(), payer).await;
        let (bytes, permit) = read.map_err(|status| Fault::of_status(&status))?;
        let ready = self.read(head, Paid { bytes, permits: vec![permit] }).await?;
        let caller = refused.submit();
        self.note_rejected(&ready);
        let Ready { data, group, stream, bytes, written, answer, .. } = ready;
        if let Some((body, permit)) = data {
            let waits = self.reader.config.wait_for_export;
            let made = Translated {
                signal: Signal::Logs,
                body,
                permit,
                caller,
                wait: if waits { Wait::Delivery } else { Wait::Acceptance },
            };
            let reply = admission.submit(made.arrival(&*admission, Arc::clone(&self.stats))).await;
            reply.map_err(|error| Fault::of_status(&status(&error)))?;
        }
        if let Some(written) = written {
            self.reader.groups.wrote(&group, &stream, bytes, written);
        }
        Ok(Answer::json(&answer))
    }

    /// Reads a body, where it takes longer on a thread of its own.
    async fn read(&self, head: Parts, body: Paid) -> Result<Ready, Fault> {
        let is_plain = !head.headers.contains_key(header::CONTENT_ENCODING);
        if is_plain && body.bytes.len() <= AT_ONCE {
            return self.reader.read(&head, body);
        }
        let reader = Arc::clone(&self.reader);
        let reading = tokio::task::spawn_blocking(move || reader.read(&head, body));
        reading.await.unwrap_or_else(|_| {
            Err(Fault::new(Kind::Internal, "an internal error ended this call; send it again"))
        })
    }

    /// Counts events that are refused for their time.
    fn note_rejected(&self, ready: &Ready) {
        if ready.rejected == 0 {
            return;
        }
        self.stats.refused.add(ready.rejected as u64);
        if self.told_rejected.is_due() {
            tracing::warn!(
                receiver = self.id,
                group = ready.group,
                stream = ready.stream,
                events = ready.rejected,
                "Log events were refused because they are too old or too far ahead; \
                 `enforce_limits: false` takes them"
            );
        }
    }

    /// Counts and logs what the operator should know of a call that failed.
    fn note(&self, fault: &Fault, connection: &Connection) {
        if fault.kind.is_denied() {
            self.stats.unauthenticated_requests.add(1);
            if self.told_denied.is_due() {
                let client = connection.peer.map(|peer| peer.to_string()).unwrap_or_default();
                tracing::warn!(
                    receiver = self.id,
                    client,
                    "a client was refused: {}",
                    fault.message
                );
            }
        } else if fault.kind.is_malformed() {
            self.astray.count(Stray::Malformed, connection.peer, &fault.message);
        }
    }
}

/// Whether a request is one of STS, whose calls are forms.
fn is_form(head: &Parts) -> bool {
    let media_type = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_form = |text: &[u8]| text.starts_with(b"application/x-www-form-urlencoded");
    media_type.is_some_and(is_form) && !head.headers.contains_key("x-amz-target")
}

impl Service for LogsService {
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
        let is_sent_anyway = server::is_sent_anyway(&request);
        let (head, mut body) = request.into_parts();
        let answer = self.answer(head, &mut body, &connection).await;
        if is_sent_anyway && !answer.is_success() {
            server::discard(body);
        }
        answer.respond()
    }
}
