//! What attributes say, sorted by the places that they have in an item.

use crate::otlp::view::{KeyValue, Resource, Text, Value};

/// Most attributes without a place of their own that are looked at, and most members of an item
/// that came by the receiver. Senders choose how many there are, and an empty one of two bytes
/// would take sixty here.
const OTHERS: usize = 512;
const KEPT: usize = 4096;

/// What a resource says about all of its items.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) environment: Option<&'a [u8]>,
    pub(super) version: Option<&'a [u8]>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) service: Option<&'a [u8]>,
    pub(super) language: Option<&'a [u8]>,
    /// All other attributes.
    pub(super) rest: Vec<KeyValue<'a>>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(resource: Option<Resource<'a>>) -> Self {
        let mut own = Facts::default();
        let Some(resource) = resource else { return own };
        for attribute in resource.attributes() {
            let Some(text) = text(&attribute) else {
                if own.rest.len() < OTHERS {
                    own.rest.push(attribute);
                }
                continue;
            };
            match attribute.key.0 {
                b"deployment.environment.name" => own.environment = Some(text),
                b"deployment.environment" => own.environment = own.environment.or(Some(text)),
                b"service.version" => own.version = Some(text),
                b"host.name" => own.host = Some(text),
                b"service.name" => own.service = Some(text),
                b"telemetry.sdk.language" => own.language = Some(text),
                _ if own.rest.len() < OTHERS => own.rest.push(attribute),
                _ => {}
            }
        }
        own
    }

    /// `telemetry.sdk.language`, if it is text.
    pub(super) fn language(&self) -> &'a str {
        std::str::from_utf8(self.language.unwrap_or_default()).unwrap_or_default()
    }
}

/// A member of an item that the receiver `rollbar` has kept: `rollbar.<part>.<name>`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    /// Empty for members of the item itself that are texts, such as `rollbar.title`.
    pub(super) part: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) value: Value<'a>,
}

/// Attributes that have a place of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Type,
    Message,
    Stack,
    UserId,
    UserName,
    UserEmail,
    Url,
    Method,
    Query,
    Client,
    Agent,
    Scheme,
    Host,
    Path,
    Route,
}

impl Known {
    const COUNT: usize = Known::Route as usize + 1;

    /// Names of today come first, and those of older conventions beside them.
    fn of(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"exception.type" => Known::Type,
            b"exception.message" => Known::Message,
            b"exception.stacktrace" => Known::Stack,
            b"user.id" | b"enduser.id" => Known::UserId,
            b"user.name" => Known::UserName,
            b"user.email" => Known::UserEmail,
            b"url.full" | b"http.url" => Known::Url,
            b"http.request.method" | b"http.method" => Known::Method,
            b"url.query" => Known::Query,
            b"client.address" | b"http.client_ip" => Known::Client,
            b"user_agent.original" | b"http.user_agent" => Known::Agent,
            b"url.scheme" | b"http.scheme" => Known::Scheme,
            b"server.address" | b"http.host" => Known::Host,
            b"url.path" | b"http.target" => Known::Path,
            b"http.route" => Known::Route,
            _ => return None,
        })
    }
}

/// Attributes of a record, or of an event and then its span. Where two have one place, the first
/// one counts.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    known: [Option<&'a [u8]>; Known::COUNT],
    /// Headers of the request, without their prefix.
    pub(super) headers: Vec<(&'a [u8], Value<'a>)>,
    pub(super) kept: Vec<Kept<'a>>,
    pub(super) rest: Vec<KeyValue<'a>>,
}

impl<'a> Parts<'a> {
    pub(super) fn add(&mut self, attribute: KeyValue<'a>) {
        let key = attribute.key.0;
        if let (Some(known), Some(text)) = (Known::of(key), text(&attribute)) {
            let place = &mut self.known[known as usize];
            if place.is_none() {
                *place = Some(text);
            }
        } else if let Some(name) = key.strip_prefix(b"rollbar.") {
            if self.kept.len() == KEPT {
                return;
            }
            let dot = memchr::memchr(b'.', name);
            let (part, name) =
                dot.map_or((&name[..0], name), |dot| (&name[..dot], &name[dot + 1..]));
            self.kept.push(Kept { part, name, value: attribute.value.unwrap_or_default() });
        } else if let Some(name) = key.strip_prefix(b"http.request.header.") {
            if self.headers.len() < OTHERS {
                self.headers.push((name, attribute.value.unwrap_or_default()));
            }
        } else if self.rest.len() < OTHERS && self.rest.iter().all(|other| other.key.0 != key) {
            self.rest.push(attribute);
        }
    }

    /// Gives an exception that has neither a class nor a message the class that Rollbar asks for.
    pub(super) fn name_exception(&mut self) {
        self.known[Known::Type as usize] = Some(b"Error");
    }

    pub(super) fn text(&self, known: Known) -> Option<&'a [u8]> {
        self.known[known as usize]
    }

    /// A member that was kept.
    pub(super) fn kept(&self, part: &str, name: &str) -> Option<Value<'a>> {
        let (part, name) = (part.as_bytes(), name.as_bytes());
        let found = self.kept.iter().find(|kept| kept.part == part && kept.name == name);
        found.map(|kept| kept.value)
    }

    /// A member that was kept and is a text.
    pub(super) fn kept_text(&self, part: &str, name: &str) -> Option<&'a [u8]> {
        match self.kept(part, name)? {
            Value::String(Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The URL of the request: as it is said, or put together.
    pub(super) fn url(&self) -> Option<Vec<u8>> {
        if let Some(url) = self.text(Known::Url) {
            return Some(url.to_vec());
        }
        let path = self.text(Known::Path)?;
        let mut url = Vec::with_capacity(64);
        if let Some(host) = self.text(Known::Host) {
            url.extend_from_slice(self.text(Known::Scheme).unwrap_or(b"http"));
            url.extend_from_slice(b"://");
            url.extend_from_slice(host);
        }
        url.extend_from_slice(path);
        if let Some(query) = self.text(Known::Query).filter(|query| !query.is_empty())
            && !path.contains(&b'?')
        {
            url.push(b'?');
            url.extend_from_slice(query);
        }
        Some(url)
    }
}

/// An attribute that is a text.
fn text<'a>(attribute: &KeyValue<'a>) -> Option<&'a [u8]> {
    match attribute.value {
        Some(Value::String(Text(text))) => Some(text),
        _ => None,
    }
}
