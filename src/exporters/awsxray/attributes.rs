//! The attributes of a span. Attributes for which segments have fields are found by their numbers,
//! and an attribute that a field has taken is not written again as metadata.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::secrets;
use crate::otlp::view::{KeyValue, Span, Text, Value};

/// An attribute for which segments have a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    HttpMethod,
    HttpRequestMethod,
    HttpUserAgent,
    UserAgentOriginal,
    HttpStatusCode,
    HttpResponseStatusCode,
    HttpStatusText,
    HttpClientIp,
    ClientAddress,
    NetPeerIp,
    NetworkPeerAddress,
    NetworkPeerPort,
    HttpUrl,
    UrlFull,
    HttpScheme,
    UrlScheme,
    HttpHost,
    HttpServerName,
    NetHostName,
    HostName,
    ServerAddress,
    NetHostPort,
    ServerPort,
    NetPeerName,
    NetPeerPort,
    HttpTarget,
    UrlPath,
    UrlQuery,
    MessageType,
    PayloadSize,
    AwsOperation,
    RpcMethod,
    RpcSystem,
    RpcService,
    AwsAccountId,
    AwsRegion,
    CloudRegion,
    AwsRequestIdOld,
    AwsRequestId,
    AwsRequestIdNew,
    AwsQueueUrlOld,
    AwsQueueUrl,
    MessagingUrl,
    AwsTableNameOld,
    AwsTableName,
    AwsTableNames,
    AwsService,
    AwsLocalService,
    AwsRemoteService,
    AwsRemoteOperation,
    AwsSpanKind,
    PeerService,
    DbConnectionString,
    DbSystem,
    DbSystemName,
    DbName,
    DbNamespace,
    DbStatement,
    DbQueryText,
    DbUser,
    MessagingDestination,
    EnduserId,
    UserId,
    InProgress,
    Annotations,
    RemoteTarget,
    RemoteNamespace,
    Namespace,
    Traced,
    XForwardedFor,
    Error,
    Fault,
    Throttle,
    Retries,
    ContentLength,
    SqlUrl,
    SqlConnectionString,
}

/// All of them with their keys, in the order of the enum.
pub(super) const KEYS: [(&str, Known); 77] = [
    ("http.method", Known::HttpMethod),
    ("http.request.method", Known::HttpRequestMethod),
    ("http.user_agent", Known::HttpUserAgent),
    ("user_agent.original", Known::UserAgentOriginal),
    ("http.status_code", Known::HttpStatusCode),
    ("http.response.status_code", Known::HttpResponseStatusCode),
    ("http.status_text", Known::HttpStatusText),
    ("http.client_ip", Known::HttpClientIp),
    ("client.address", Known::ClientAddress),
    ("net.peer.ip", Known::NetPeerIp),
    ("network.peer.address", Known::NetworkPeerAddress),
    ("network.peer.port", Known::NetworkPeerPort),
    ("http.url", Known::HttpUrl),
    ("url.full", Known::UrlFull),
    ("http.scheme", Known::HttpScheme),
    ("url.scheme", Known::UrlScheme),
    ("http.host", Known::HttpHost),
    ("http.server_name", Known::HttpServerName),
    ("net.host.name", Known::NetHostName),
    ("host.name", Known::HostName),
    ("server.address", Known::ServerAddress),
    ("net.host.port", Known::NetHostPort),
    ("server.port", Known::ServerPort),
    ("net.peer.name", Known::NetPeerName),
    ("net.peer.port", Known::NetPeerPort),
    ("http.target", Known::HttpTarget),
    ("url.path", Known::UrlPath),
    ("url.query", Known::UrlQuery),
    ("message.type", Known::MessageType),
    ("messaging.message_payload_size_bytes", Known::PayloadSize),
    ("aws.operation", Known::AwsOperation),
    ("rpc.method", Known::RpcMethod),
    ("rpc.system", Known::RpcSystem),
    ("rpc.service", Known::RpcService),
    ("aws.account_id", Known::AwsAccountId),
    ("aws.region", Known::AwsRegion),
    ("cloud.region", Known::CloudRegion),
    ("aws.requestId", Known::AwsRequestIdOld),
    ("aws.request_id", Known::AwsRequestId),
    ("aws.request.id", Known::AwsRequestIdNew),
    ("aws.queue_url", Known::AwsQueueUrlOld),
    ("aws.queue.url", Known::AwsQueueUrl),
    ("messaging.url", Known::MessagingUrl),
    ("aws.table_name", Known::AwsTableNameOld),
    ("aws.table.name", Known::AwsTableName),
    ("aws.dynamodb.table_names", Known::AwsTableNames),
    ("aws.service", Known::AwsService),
    ("aws.local.service", Known::AwsLocalService),
    ("aws.remote.service", Known::AwsRemoteService),
    ("aws.remote.operation", Known::AwsRemoteOperation),
    ("aws.span.kind", Known::AwsSpanKind),
    ("peer.service", Known::PeerService),
    ("db.connection_string", Known::DbConnectionString),
    ("db.system", Known::DbSystem),
    ("db.system.name", Known::DbSystemName),
    ("db.name", Known::DbName),
    ("db.namespace", Known::DbNamespace),
    ("db.statement", Known::DbStatement),
    ("db.query.text", Known::DbQueryText),
    ("db.user", Known::DbUser),
    ("messaging.destination.name", Known::MessagingDestination),
    ("enduser.id", Known::EnduserId),
    ("user.id", Known::UserId),
    ("aws.xray.inprogress", Known::InProgress),
    ("aws.xray.annotations", Known::Annotations),
    ("remoteTarget", Known::RemoteTarget),
    ("K8s.RemoteNamespace", Known::RemoteNamespace),
    ("aws.xray.namespace", Known::Namespace),
    ("aws.xray.traced", Known::Traced),
    ("aws.xray.x_forwarded_for", Known::XForwardedFor),
    ("aws.xray.error", Known::Error),
    ("aws.xray.fault", Known::Fault),
    ("aws.xray.throttle", Known::Throttle),
    ("aws.xray.retries", Known::Retries),
    ("http.response_content_length", Known::ContentLength),
    ("aws.xray.document.sql.url", Known::SqlUrl),
    ("aws.xray.document.sql.connection_string", Known::SqlConnectionString),
];

/// Most attributes of a span or resource that are read: a document has no room for more, and
/// OpenTelemetry's SDKs write at most 128.
pub(super) const MOST: usize = 2048;

/// Most texts of a list in a field.
const TEXTS: usize = 1024;

/// Longest key.
const LONGEST: usize = 40;

/// The numbers of the keys of each length, as masks.
const BY_LENGTH: [u128; LONGEST] = {
    let mut masks = [0; LONGEST];
    let mut at = 0;
    while at < KEYS.len() {
        masks[KEYS[at].0.len()] |= 1 << at;
        at += 1;
    }
    masks
};

/// The same by the last byte of the key. Rarely more than one key is left to compare.
const BY_LAST: [u128; 128] = {
    let mut masks = [0; 128];
    let mut at = 0;
    while at < KEYS.len() {
        let text = KEYS[at].0.as_bytes();
        masks[text[text.len() - 1] as usize] |= 1 << at;
        at += 1;
    }
    masks
};

fn known(key: &[u8]) -> Option<Known> {
    let last = BY_LAST.get(usize::from(*key.last()?))?;
    let mut left = BY_LENGTH.get(key.len())? & last;
    while left != 0 {
        let (text, known) = KEYS[left.trailing_zeros() as usize];
        if text.as_bytes() == key {
            return Some(known);
        }
        left &= left - 1;
    }
    None
}

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) key: Text<'a>,
    pub(super) value: Value<'a>,
    known: Option<Known>,
    /// Whether a field of the segment has taken it.
    pub(super) is_taken: bool,
}

impl Attribute<'_> {
    /// Its value without passwords and keys, if it is an address that contains some.
    fn without_secrets(&self) -> Option<Vec<u8>> {
        use Known as K;
        let Value::String(Text(text)) = self.value else { return None };
        let hidden = match self.known? {
            K::HttpUrl
            | K::UrlFull
            | K::HttpTarget
            | K::UrlQuery
            | K::AwsQueueUrlOld
            | K::AwsQueueUrl
            | K::MessagingUrl => secrets::url(text),
            K::DbConnectionString
            | K::SqlUrl
            | K::SqlConnectionString
            | K::HttpHost
            | K::NetPeerName
            | K::ServerAddress => secrets::connection(text),
            _ => return None,
        };
        match hidden {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        }
    }
}

/// Attributes with secrets: their keys, and the values to write instead.
#[derive(Debug)]
pub(super) struct Hidden<'a>(SmallVec<[(&'a [u8], Vec<u8>); 1]>);

impl<'a> Hidden<'a> {
    /// The value of an attribute as it is written.
    pub(super) fn value<'v>(&'v self, attribute: &Attribute<'a>) -> Value<'v>
    where
        'a: 'v,
    {
        let text = self.0.iter().find(|(key, _)| *key == attribute.key.0);
        text.map_or(attribute.value, |(_, text)| Value::String(Text(text)))
    }
}

/// All of a span.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    pub(super) all: Vec<Attribute<'a>>,
    /// Index in `all`, plus one, by [`Known`].
    places: [u16; KEYS.len()],
    /// Number of attributes that were not read.
    pub(super) left_out: i64,
    /// Whether the span has events.
    pub(super) has_events: bool,
    /// Whether it has links.
    pub(super) has_links: bool,
}

impl Default for Attributes<'_> {
    fn default() -> Self {
        let places = [0; KEYS.len()];
        Attributes { all: Vec::new(), places, left_out: 0, has_events: false, has_links: false }
    }
}

impl<'a> Attributes<'a> {
    /// Reads the attributes of another span into the same memory, which is too large to be moved.
    pub(super) fn fill(&mut self, span: &Span<'a>) {
        self.all.clear();
        self.places.fill(0);
        self.left_out = 0;
        let (all, places, left_out) = (&mut self.all, &mut self.places, &mut self.left_out);
        (self.has_events, self.has_links) =
            span.each_attribute(|KeyValue { key, value, .. }| {
                if all.len() == MOST {
                    *left_out += 1;
                    return;
                }
                let (value, known) = (value.unwrap_or_default(), known(key.0));
                all.push(Attribute { key, value, known, is_taken: false });
                if let Some(known) = known {
                    places[known as usize] = u16::try_from(all.len()).unwrap_or(0);
                }
            });
    }

    /// The values to write for attributes with secrets, by their keys.
    pub(super) fn hidden(&self) -> Hidden<'a> {
        let own = |one: &Attribute<'a>| Some((one.key.0, one.without_secrets()?));
        Hidden(self.all.iter().filter_map(own).collect())
    }

    /// The value of an attribute, which is not taken.
    pub(super) fn get(&self, known: Known) -> Option<Value<'a>> {
        let place = usize::from(self.places[known as usize]).checked_sub(1)?;
        self.all.get(place).map(|attribute| attribute.value)
    }

    /// Takes the value of an attribute for a field of the segment.
    pub(super) fn take(&mut self, known: Known) -> Option<Value<'a>> {
        let place = usize::from(self.places[known as usize]).checked_sub(1)?;
        let attribute = self.all.get_mut(place)?;
        attribute.is_taken = true;
        Some(attribute.value)
    }

    /// Gives an attribute back, so that it is metadata.
    pub(super) fn give_back(&mut self, known: Known) {
        if let Some(place) = usize::from(self.places[known as usize]).checked_sub(1) {
            self.all[place].is_taken = false;
        }
    }

    /// Takes several attributes if all of them exist.
    pub(super) fn take_names(&mut self, known: Known) -> SmallVec<[&'a [u8]; 4]> {
        let names = self.get(known).map(texts).unwrap_or_default();
        let is_there = |name: &&[u8]| self.all.iter().any(|one| one.key.0 == *name);
        if names.iter().all(is_there) {
            self.take(known);
        }
        names
    }

    /// Ignores attributes with one of these keys, because they mean something else here.
    pub(super) fn set_aside(&mut self, keys: &[&[u8]]) {
        for key in keys {
            if let Some(known) = known(key) {
                self.places[known as usize] = 0;
            }
        }
    }

    /// Takes a text, which may be empty.
    pub(super) fn take_any_text(&mut self, known: Known) -> Option<&'a [u8]> {
        let Some(Value::String(Text(text))) = self.get(known) else { return None };
        self.take(known);
        Some(text)
    }

    /// Takes a boolean.
    pub(super) fn take_truth(&mut self, known: Known) -> Option<bool> {
        let Some(Value::Bool(truth)) = self.get(known) else { return None };
        self.take(known);
        Some(truth)
    }

    /// A text that is not empty; it is not taken.
    pub(super) fn text(&self, known: Known) -> Option<&'a [u8]> {
        self.get(known).and_then(text)
    }

    /// Takes a text that is not empty. A value of another type is not taken.
    pub(super) fn take_text(&mut self, known: Known) -> Option<&'a [u8]> {
        let found = self.text(known)?;
        self.take(known);
        Some(found)
    }

    /// Takes the first of these that is a text, and all others with the same text.
    pub(super) fn take_first(&mut self, all: &[Known]) -> Option<&'a [u8]> {
        let found = all.iter().find_map(|known| self.text(*known))?;
        self.take_same(all, |text| text == found);
        Some(found)
    }

    /// Takes those of `all` whose text is already in the segment.
    pub(super) fn take_same(&mut self, all: &[Known], is_written: impl Fn(&[u8]) -> bool) {
        for known in all {
            if self.text(*known).is_some_and(&is_written) {
                self.take(*known);
            }
        }
    }

    /// A whole number, or a text of one; it is not taken.
    pub(super) fn int(&self, known: Known) -> Option<i64> {
        self.get(known).and_then(int)
    }

    /// Takes a whole number, or a text of one.
    pub(super) fn take_int(&mut self, known: Known) -> Option<i64> {
        self.take_first_int(&[known])
    }

    /// Takes the first of these that is a whole number, and all others with the same number. A text
    /// that spells it differently is not taken.
    pub(super) fn take_first_int(&mut self, all: &[Known]) -> Option<i64> {
        let found = all.iter().find_map(|known| self.int(*known))?;
        let mut buffer = itoa::Buffer::new();
        let spelled = buffer.format(found).as_bytes();
        for known in all {
            let is_same = match self.get(*known) {
                Some(Value::String(Text(text))) => text == spelled,
                value => value.and_then(int) == Some(found),
            };
            if is_same {
                self.take(*known);
            }
        }
        Some(found)
    }
}

/// Whether the value can be an annotation.
pub(super) fn is_scalar(value: Value<'_>) -> bool {
    matches!(value, Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Double(_))
}

pub(super) fn text(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::String(Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

pub(super) fn int(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::String(text) => text.to_str().trim().parse().ok(),
        #[expect(clippy::cast_possible_truncation, reason = "a port or code is a small number")]
        Value::Double(number) if number.fract() == 0.0 => Some(number as i64),
        _ => None,
    }
}

/// The texts of a list, or one text.
pub(super) fn texts(value: Value<'_>) -> SmallVec<[&[u8]; 4]> {
    match value {
        Value::Array(array) => array.values().filter_map(text).take(TEXTS).collect(),
        value => text(value).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_at_its_number() {
        for (at, (key, known)) in KEYS.iter().enumerate() {
            assert_eq!(
                (*known as usize, super::known(key.as_bytes())),
                (at, Some(*known)),
                "{key}"
            );
        }
        assert_eq!((known(b"other"), known(&[b'x'; 100])), (None, None));
    }
}
