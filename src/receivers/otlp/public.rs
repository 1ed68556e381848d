//! A public port: one that takes data of anybody, as pages in browsers need it.
//!
//! What a page says cannot be trusted. It can be bounded, marked and corrected, and that happens at
//! three places: before a request is read (`Guard::admit`: rates, token, memory), when a worker
//! has unpacked it ([`Visit`]: number of items, edits), and by the marks that everything downstream
//! can see. `docs/browser.md` has the threat model, and the test of each of its lines.

mod clock;
mod counts;
mod edit;
mod keys;
mod limits;
mod quick;
pub mod settings;
pub mod token;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    component::{Rejection, Vetting},
    net::{
        grpc::{Code, Status},
        rate_limit::RateLimit,
        server::Connection,
    },
    otlp::{
        Payload,
        purse::Purse,
        splice,
        view::{KeyValue, Message},
        wire::Fields,
    },
    telemetry::Meter,
};
use clock::{Bounds, Clock};
use counts::{Counted, Counters, Why};
use edit::{Facts, Refused, Rules};
use keys::Keys;
use limits::{Limits, Over, Rates};
use settings::{AddressPrivacy, Public};
use token::{Verifier, Wrong};

/// The answer to metrics.
pub(super) const NO_METRICS: &str =
    "a public port takes traces and logs only; send metrics to a port without `public`";

/// Bodies of a public port may have this part of the byte budget, so that the other ports always
/// find some.
const SHARE: u64 = 8;

/// What a page may be told to wait at least.
const PAUSE: Duration = Duration::from_secs(1);

/// The guard of one public port.
#[derive(Debug)]
pub struct Guard {
    /// Id of the receiver, for the log.
    receiver: String,
    rules: Rules,
    bounds: Bounds,
    limits: Limits,
    max_items: u64,
    /// Bytes that bodies may have at a time, and those that they have.
    share: u64,
    held: AtomicU64,
    address_header: Option<HeaderName>,
    privacy: AddressPrivacy,
    token: Option<TokenRule>,
    counters: Counters,
    /// One for each reason: it is logged once a minute.
    logged: [RateLimit; Why::ALL.len()],
}

#[derive(Debug)]
struct TokenRule {
    header: HeaderName,
    verifier: Verifier,
    required: bool,
}

impl Guard {
    /// The guard of a port with these settings, which have been validated.
    pub fn new(settings: &Public, receiver: &str, budget: u64, meter: &Meter) -> Self {
        let clock = &settings.clock;
        let token = settings.token.as_ref().and_then(|token| {
            let secrets = token.secrets.iter().map(crate::config::Secret::expose);
            Some(TokenRule {
                header: HeaderName::try_from(token.header.as_str()).ok()?,
                verifier: Verifier::new(secrets, &token.claim),
                required: token.required,
            })
        });
        let address_header = settings.client_address_header.as_deref();
        Guard {
            receiver: receiver.to_owned(),
            rules: Rules {
                resource_keys: Keys::new(&settings.allowed_resource_attributes),
                item_keys: Keys::new(&settings.allowed_attributes),
                services: settings.service_names.clone(),
                source: settings.source.clone(),
                max_attributes: settings.max_attributes,
                max_value: settings.max_value_bytes,
                max_events: settings.max_events,
                max_links: settings.max_links,
            },
            bounds: Bounds::new(clock.max_ahead.0, clock.max_behind.0, clock.max_age.0),
            limits: Limits::new(Rates {
                requests_per_client: settings.requests_per_second_per_client.into(),
                items_per_client: settings.items_per_second_per_client.into(),
                requests: settings.requests_per_second.into(),
            }),
            max_items: settings.max_items,
            share: budget / SHARE,
            held: AtomicU64::new(0),
            address_header: address_header.and_then(|name| HeaderName::try_from(name).ok()),
            privacy: settings.client_address,
            token,
            counters: Counters::new(receiver, meter),
            logged: Default::default(),
        }
    }

    /// Decides on a request by its headers. A body is at most `max_body` bytes long.
    pub(super) fn admit(
        self: &Arc<Self>,
        headers: &HeaderMap,
        connection: &Connection,
        max_body: usize,
    ) -> Result<Visit, Status> {
        let client = self.client(headers, connection);
        self.limits.take_request(client).map_err(|(over, wait)| match over {
            Over::OfClient => {
                let text = "this client sends more requests than it may";
                let key = "requests_per_second_per_client";
                self.come_back(Why::ClientRate, (text, key), wait)
            }
            Over::OfAll => {
                let text = "more requests come than this port takes";
                self.come_back(Why::TotalRate, (text, "requests_per_second"), wait)
            }
        })?;
        let user = self.user(headers).map_err(|wrong| {
            self.note(Why::Token, 0, &wrong.to_string(), "token");
            Status::new(Code::Unauthenticated, wrong.to_string())
        })?;
        let held = self.hold(headers, max_body)?;
        let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
        Ok(Visit {
            client,
            address: client.and_then(|client| shown(client, self.privacy)),
            agent: agent.map(|agent| String::from_utf8_lossy(agent).into_owned()),
            user,
            arrived: SystemTime::now(),
            _held: held,
            guard: Arc::clone(self),
        })
    }

    /// The refusal of a request over gRPC, which browsers do not speak.
    pub(super) fn refuse_grpc(&self) -> Status {
        let text = "a public port takes OTLP over HTTP only";
        self.note(Why::Grpc, 0, text, "");
        Status::new(Code::Unimplemented, text)
    }

    fn client(&self, headers: &HeaderMap, connection: &Connection) -> Option<IpAddr> {
        if let Some(name) = &self.address_header {
            let mut lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            let last = lines.next_back().and_then(|line| line.rsplit(',').next());
            if let Some(address) = last.and_then(|text| text.trim().parse().ok()) {
                return Some(address);
            }
        }
        connection.peer.map(|peer| peer.ip())
    }

    fn user(&self, headers: &HeaderMap) -> Result<Option<String>, Wrong> {
        let Some(rule) = &self.token else { return Ok(None) };
        let Some(token) = headers.get(&rule.header) else {
            return if rule.required { Err(Wrong::Missing) } else { Ok(None) };
        };
        let token = token.to_str().map_err(|_| Wrong::Malformed)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        rule.verifier.user(token.trim(), now.as_secs()).map(Some)
    }

    /// Reserves the bytes of a body in the share of the port.
    fn hold(self: &Arc<Self>, headers: &HeaderMap, max_body: usize) -> Result<Held, Status> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(max_body as u64);
        let bytes = length.min(max_body as u64);
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { guard: Arc::clone(self), bytes };
        // One request alone is never too large for the share; its body has a limit of its own.
        if before > 0 && before + bytes > self.share {
            drop(held);
            let text = "the bodies of this port have used up their share of the memory";
            self.note(Why::Memory, 0, text, "");
            let status = Status::new(Code::Unavailable, text);
            return Err(Status { retry_after: Some(PAUSE), ..status });
        }
        Ok(held)
    }

    fn come_back(&self, why: Why, (text, key): (&str, &str), wait: Duration) -> Status {
        self.note(why, 0, text, key);
        let status = Status::new(Code::ResourceExhausted, format!("{text}; send it again later"));
        Status { retry_after: Some(wait.max(PAUSE)), ..status }
    }

    /// Counts a refusal, and logs one a minute with the key that it is about.
    fn note(&self, why: Why, items: u64, text: &str, key: &str) {
        self.counters.refuse(why, items);
        if self.logged[why as usize].is_due() {
            let (receiver, reason) = (&*self.receiver, why.name());
            let key = if key.is_empty() { String::new() } else { format!("::{key}") };
            tracing::warn!(
                receiver,
                reason,
                "A request was refused: {text:.300}; see `protocols::http::public{key}`"
            );
        }
    }
}

/// Bytes of a share, given back when they are dropped.
#[derive(Debug)]
struct Held {
    guard: Arc<Guard>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.guard.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request that was let in, with what skep knows of it.
#[derive(Debug)]
pub struct Visit {
    guard: Arc<Guard>,
    client: Option<IpAddr>,
    /// As it is written into `client.address`.
    address: Option<String>,
    agent: Option<String>,
    /// Named by a token.
    user: Option<String>,
    arrived: SystemTime,
    _held: Held,
}

impl Visit {
    /// A request of a page with these facts, for benches and tests.
    pub fn of_page(guard: &Arc<Guard>, user: Option<&str>, arrived: SystemTime) -> Self {
        Visit {
            guard: Arc::clone(guard),
            client: None,
            address: Some("203.0.113.0".to_owned()),
            agent: Some(
                "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0 Safari/537.36".to_owned(),
            ),
            user: user.map(str::to_owned),
            arrived,
            _held: Held { guard: Arc::clone(guard), bytes: 0 },
        }
    }

    fn refuse(&self, why: Why, items: u64, (text, key): (&str, &str)) -> Rejection {
        self.guard.note(why, items, text, key);
        Rejection::NotAllowed(text.to_owned())
    }

    /// The body with all edits; `None` if nothing was changed.
    fn edited(&self, payload: &Payload, purse: &mut Purse) -> Result<Option<Bytes>, Rejection> {
        let (guard, signal) = (&*self.guard, payload.signal);
        // A payload that was just unpacked is one segment.
        let Some(body) = payload.body.first() else { return Ok(None) };
        let since = self.arrived.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let arrived = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let clock = Clock::new(guard.bounds, arrived, clock::latest(signal, body));
        let facts = Facts {
            clock,
            address: self.address.as_deref(),
            agent: self.agent.as_deref(),
            user: self.user.as_deref(),
        };
        match edit::edit(&guard.rules, &facts, (signal, body), purse) {
            Ok((edited, mut counts)) => {
                if clock.shift_ms != 0 {
                    counts.add(Counted::Clock);
                }
                guard.counters.change(&counts);
                Ok(edited.map(Bytes::from))
            }
            Err(Refused::Unpaid(reason)) => Err(Rejection::Unavailable(reason, Some(PAUSE))),
            Err(Refused::Service(name)) => {
                let text = format!("the service `{name}` may not be named here");
                Err(self.refuse(Why::Service, payload.items, (&text, "service_names")))
            }
        }
    }
}

impl Vetting for Visit {
    fn vet(&self, payload: &mut Payload) -> Result<(), Rejection> {
        let (guard, items) = (&*self.guard, payload.items);
        // Each resource gets marks, so empty ones would make much of little.
        let resources: usize = payload.body.iter().map(|part| Fields::new(part).count()).sum();
        for (count, what) in [(items, "items"), (resources as u64, "resources")] {
            if count > guard.max_items {
                let text = format!("the request has {count} {what}; {} are taken", guard.max_items);
                return Err(self.refuse(Why::TooManyItems, items, (&text, "max_items")));
            }
        }
        if let Err(wait) = guard.limits.take_items(self.client, items) {
            let text = "this client sends more items than it may";
            guard.note(Why::ItemRate, items, text, "items_per_second_per_client");
            return Err(Rejection::TooMany { text, pause: wait.max(PAUSE) });
        }
        let mut purse = Purse::for_copy_of(payload);
        if let Some(body) = self.edited(payload, &mut purse)? {
            payload.exchange_body(smallvec::smallvec![body], purse.into_permits(), true);
        }
        Ok(())
    }
}

/// Removes the marks that only a public port writes.
#[derive(Debug)]
pub(super) struct RemoveMarks;

impl Vetting for RemoveMarks {
    fn vet(&self, payload: &mut Payload) -> Result<(), Rejection> {
        let Some(body) = payload.body.first().cloned() else { return Ok(()) };
        let mut purse = Purse::for_copy_of(payload);
        let edited = splice::edit_resources(&body, 0, &mut purse, |resource, out| {
            for field in splice::messages(resource, &[1]) {
                let key = KeyValue::from(Message::new(field.bytes())).key;
                if key.0.starts_with(b"skep.") {
                    out.replace(field.whole, 0, |_| {});
                }
            }
        });
        let edited = edited.map_err(|reason| Rejection::Unavailable(reason, Some(PAUSE)))?;
        if let Some(new) = edited {
            payload.exchange_body(smallvec::smallvec![new.into()], purse.into_permits(), true);
        }
        Ok(())
    }
}

/// What is kept of an address.
fn shown(address: IpAddr, privacy: AddressPrivacy) -> Option<String> {
    let address = address.to_canonical();
    let address = match (privacy, address) {
        (AddressPrivacy::None, _) => return None,
        (AddressPrivacy::Full, address) => address,
        (AddressPrivacy::Network, IpAddr::V4(v4)) => {
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() >> 8 << 8))
        }
        (AddressPrivacy::Network, IpAddr::V6(v6)) => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80))
        }
    };
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{component::BuildContext, otlp::Signal};

    fn guard(settings: &Public, budget: u64) -> Arc<Guard> {
        let meter = BuildContext::test("otlp", Signal::Traces).meter();
        Arc::new(Guard::new(settings, "otlp", budget, &meter))
    }

    #[test]
    fn empty_resources_do_not_make_much_of_little() {
        let guard = guard(&Public::default(), 1 << 30);
        let visit = Visit::of_page(&guard, None, SystemTime::now());
        let vet = |resources: usize| {
            let mut payload =
                Payload::unpaid(Signal::Traces, [0x0A, 0].repeat(resources).into(), 1);
            let answer = visit.vet(&mut payload);
            answer.map(|()| payload.len())
        };
        assert!(vet(512).unwrap() < 512 * 400);
        assert!(matches!(vet(513), Err(Rejection::NotAllowed(_))));
    }

    #[test]
    fn bodies_use_a_share_of_the_budget() {
        let guard = guard(&Public::default(), 8000);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(600));
        let first = guard.hold(&headers, 5000).unwrap();
        let refused = guard.hold(&headers, 5000).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::Unavailable, Some(PAUSE)));
        headers.remove(header::CONTENT_LENGTH);
        assert!(guard.hold(&headers, 5000).is_err(), "it may be as long as it likes");
        drop(first);
        assert!(guard.hold(&headers, 5000).is_ok(), "alone it may be larger than the share");
    }

    #[test]
    fn an_address_is_cut_to_its_network() {
        let show = |text: &str, privacy| shown(text.parse().unwrap(), privacy);
        let network = AddressPrivacy::Network;
        assert_eq!(show("203.0.113.77", network).as_deref(), Some("203.0.113.0"));
        assert_eq!(show("::ffff:203.0.113.77", network).as_deref(), Some("203.0.113.0"));
        assert_eq!(show("2001:db8:1:2::3", network).as_deref(), Some("2001:db8:1::"));
        assert_eq!(show("203.0.113.77", AddressPrivacy::Full).as_deref(), Some("203.0.113.77"));
        assert_eq!(show("203.0.113.77", AddressPrivacy::None), None);
    }
}
