//! `http` of a segment, from the old and the new semantic conventions.

use std::{borrow::Cow, net::IpAddr};

use super::{
    attributes::{Attributes, Known},
    json::Json,
};

/// What is known of a request.
#[derive(Debug, Default)]
pub(super) struct Http<'a> {
    method: Option<&'a [u8]>,
    url: Option<Cow<'a, [u8]>>,
    user_agent: Option<&'a [u8]>,
    client_ip: Option<&'a [u8]>,
    is_forwarded: bool,
    pub(super) status: Option<i64>,
    content_length: i64,
}

impl<'a> Http<'a> {
    /// Takes the attributes of HTTP. None: it is no request.
    pub(super) fn take(attributes: &mut Attributes<'a>, is_server: bool) -> Option<Self> {
        use Known as K;
        let mut http = Http { content_length: content_length(attributes), ..Http::default() };
        let mut is_http =
            [K::HttpTarget, K::HttpServerName, K::NetHostPort, K::UrlPath, K::UrlQuery]
                .into_iter()
                .any(|known| attributes.get(known).is_some());
        http.method = attributes.take_first(&[K::HttpMethod, K::HttpRequestMethod]);
        http.user_agent = attributes.take_first(&[K::HttpUserAgent, K::UserAgentOriginal]);
        let old = attributes.take_int(K::HttpStatusCode);
        let new = attributes.take_int(K::HttpResponseStatusCode);
        http.status = old.or(new);
        let said_ip = attributes.take_text(K::HttpClientIp);
        let whole_url = attributes.take_first(&[K::HttpUrl, K::UrlFull]);
        let scheme = attributes.take_first(&[K::HttpScheme, K::UrlScheme]);
        let host = attributes.text(K::HttpHost);
        is_http |= http.method.is_some()
            || http.user_agent.is_some()
            || http.status.is_some()
            || said_ip.is_some()
            || whole_url.is_some()
            || scheme.is_some()
            || host.is_some();
        let peer = Peer::take(attributes);
        let client = attributes.text(K::ClientAddress).filter(|address| is_ip(address));
        if client.is_some() {
            attributes.take(K::ClientAddress);
        }
        http.client_ip = said_ip.or(client).or(peer.ip);
        http.is_forwarded = http.client_ip.is_some() && peer.ip.is_none();
        let parts = Parts::take(attributes, scheme, is_server);
        http.url = whole_url.map(Cow::Borrowed).or_else(|| parts.url(&peer).map(Cow::Owned));
        is_http.then_some(http)
    }

    pub(super) fn write(&self, json: &mut Json) {
        json.begin_at("http");
        json.begin_at("request");
        let texts = [
            ("method", self.method),
            ("url", self.url.as_deref()),
            ("user_agent", self.user_agent),
        ];
        for (key, text) in texts.into_iter().chain([("client_ip", self.client_ip)]) {
            if let Some(text) = text {
                json.text_at(key, text);
            }
        }
        if self.is_forwarded {
            json.truth_at("x_forwarded_for", true);
        }
        json.end();
        json.begin_at("response");
        if let Some(status) = self.status {
            json.int_at("status", status);
        }
        json.int_at("content_length", self.content_length);
        json.end();
        json.end();
    }
}

/// As the Collector has it, or as an SDK of X-Ray said it.
fn content_length(attributes: &mut Attributes<'_>) -> i64 {
    if let Some(said) = attributes.take_int(Known::ContentLength) {
        return said;
    }
    let is_received = attributes.text(Known::MessageType) == Some(b"RECEIVED");
    let size = attributes.get(Known::PayloadSize).and_then(super::attributes::int);
    size.filter(|_| is_received).unwrap_or(0)
}

fn is_ip(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

/// The other end of the connection.
struct Peer<'a> {
    ip: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    port: Option<i64>,
}

impl<'a> Peer<'a> {
    fn take(attributes: &mut Attributes<'a>) -> Self {
        use Known as K;
        let new = attributes.text(K::NetworkPeerAddress).filter(|address| is_ip(address));
        if new.is_some() {
            attributes.take(K::NetworkPeerAddress);
        }
        let ip = attributes.take_text(K::NetPeerIp).or(new);
        let name = attributes.take_text(K::NetPeerName);
        let old = attributes.take_int(K::NetPeerPort);
        let new = attributes.take_int(K::NetworkPeerPort);
        Peer { ip, name, port: old.or(new) }
    }
}

/// What a URL is put together from.
struct Parts<'a> {
    scheme: &'a [u8],
    /// With its port, if it has one.
    host: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    port: Option<i64>,
    target: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    query: Option<&'a [u8]>,
    is_server: bool,
}

impl<'a> Parts<'a> {
    fn take(attributes: &mut Attributes<'a>, scheme: Option<&'a [u8]>, is_server: bool) -> Self {
        use Known as K;
        let host = attributes.take_text(K::HttpHost);
        let server = attributes.take_first(&[
            K::HttpServerName,
            K::NetHostName,
            K::HostName,
            K::ServerAddress,
        ]);
        let old = attributes.take_int(K::NetHostPort);
        let new = attributes.take_int(K::ServerPort);
        let target = attributes.take_text(K::HttpTarget);
        let path = attributes.take_text(K::UrlPath);
        let query = attributes.take_text(K::UrlQuery);
        let (scheme, port) = (scheme.unwrap_or(b"http"), old.or(new));
        Parts { scheme, host, server, port, target, path, query, is_server }
    }

    /// None: nobody says where it went.
    fn url(&self, peer: &Peer<'_>) -> Option<Vec<u8>> {
        let (name, port) = if self.is_server {
            (self.server, self.port)
        } else {
            (peer.name.or(self.server).or(peer.ip), peer.port.or(self.port))
        };
        let name = self.host.or(name)?;
        let mut url = Vec::with_capacity(128);
        url.extend_from_slice(self.scheme);
        url.extend_from_slice(b"://");
        let is_ipv6 = name.contains(&b':') && is_ip(name);
        if is_ipv6 {
            url.push(b'[');
        }
        url.extend_from_slice(name);
        if is_ipv6 {
            url.push(b']');
        }
        let is_usual = matches!((self.scheme, port), (b"http", Some(80)) | (b"https", Some(443)));
        if let (None, Some(port), false) = (self.host, port, is_usual) {
            url.push(b':');
            url.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
        if let Some(target) = self.target {
            if !target.starts_with(b"/") {
                url.push(b'/');
            }
            url.extend_from_slice(target);
            return Some(url);
        }
        let path = self.path.unwrap_or(b"/");
        if !path.starts_with(b"/") {
            url.push(b'/');
        }
        url.extend_from_slice(path);
        if let Some(query) = self.query {
            if !query.starts_with(b"?") {
                url.push(b'?');
            }
            url.extend_from_slice(query);
        }
        Some(url)
    }
}
