//! `http` of a segment, from the old and the new semantic conventions.

use std::{borrow::Cow, net::IpAddr};

use super::{
    attributes::{Attributes, Known},
    secrets,
};
use crate::exporters::json::Json;

/// What is known about a request.
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
    /// Takes the attributes of HTTP. Returns `None`, and takes nothing, if it is not a request.
    pub(super) fn take(attributes: &mut Attributes<'a>, is_server: bool) -> Option<Self> {
        use Known as K;
        if !is_request(attributes) {
            return None;
        }
        let method = attributes.take_first(&[K::HttpMethod, K::HttpRequestMethod]);
        let user_agent = attributes.take_first(&[K::HttpUserAgent, K::UserAgentOriginal]);
        let status = attributes.take_first_int(&[K::HttpStatusCode, K::HttpResponseStatusCode]);
        let content_length = content_length(attributes);
        let peer = Peer::of(attributes);
        let said = attributes.text(K::HttpClientIp);
        let client = attributes.text(K::ClientAddress).filter(|address| is_ip(address));
        let client_ip = said.or(client).or(peer.ip);
        if let Some(ip) = client_ip {
            let all = [K::HttpClientIp, K::ClientAddress, K::NetPeerIp, K::NetworkPeerAddress];
            attributes.take_same(&all, |text| text == ip);
        }
        Some(Http {
            method,
            url: url(attributes, &peer, is_server),
            user_agent,
            client_ip,
            is_forwarded: client_ip.is_some() && peer.ip.is_none(),
            status,
            content_length,
        })
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

fn is_request(attributes: &Attributes<'_>) -> bool {
    use Known as K;
    let any = [K::HttpTarget, K::HttpServerName, K::NetHostPort, K::UrlPath, K::UrlQuery];
    let texts = [
        K::HttpMethod,
        K::HttpRequestMethod,
        K::HttpUserAgent,
        K::UserAgentOriginal,
        K::HttpClientIp,
        K::HttpUrl,
        K::UrlFull,
        K::HttpScheme,
        K::UrlScheme,
        K::HttpHost,
    ];
    let ints = [K::HttpStatusCode, K::HttpResponseStatusCode];
    texts.into_iter().any(|known| attributes.text(known).is_some())
        || any.into_iter().any(|known| attributes.get(known).is_some())
        || ints.into_iter().any(|known| attributes.int(known).is_some())
}

/// The URL of the request, as a whole or put together. Attributes that are visible in it are taken;
/// others are not.
fn url<'a>(
    attributes: &mut Attributes<'a>,
    peer: &Peer<'a>,
    is_server: bool,
) -> Option<Cow<'a, [u8]>> {
    use Known as K;
    const TEXTS: [Known; 13] = [
        K::HttpScheme,
        K::UrlScheme,
        K::HttpHost,
        K::HttpServerName,
        K::NetHostName,
        K::HostName,
        K::ServerAddress,
        K::NetPeerName,
        K::NetPeerIp,
        K::NetworkPeerAddress,
        K::HttpTarget,
        K::UrlPath,
        K::UrlQuery,
    ];
    const PORTS: [Known; 4] = [K::NetHostPort, K::ServerPort, K::NetPeerPort, K::NetworkPeerPort];
    let (text, port) = if let Some(whole) = attributes.take_first(&[K::HttpUrl, K::UrlFull]) {
        attributes.take_same(&TEXTS, |text| memchr::memmem::find(whole, text).is_some());
        (Cow::Borrowed(whole), port_of(whole))
    } else {
        let parts = Parts::of(attributes);
        let (url, port) = parts.url(peer, is_server)?;
        let shown = parts.shown(peer, is_server);
        attributes.take_same(&TEXTS, |text| shown.contains(&Some(text)));
        (Cow::Owned(url), port)
    };
    for known in PORTS.into_iter().filter(|_| port.is_some()) {
        if attributes.int(known) == port {
            attributes.take_int(known);
        }
    }
    let hidden = match secrets::url(&text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(hidden) => Some(Cow::Owned(hidden)),
    };
    Some(hidden.unwrap_or(text))
}

/// The port that a URL has, or the one of its scheme.
fn port_of(url: &[u8]) -> Option<i64> {
    let at = memchr::memmem::find(url, b"://")?;
    let authority = url[at + 3..].split(|byte| b"/?#".contains(byte)).next()?;
    let said = authority.rsplit(|byte| *byte == b':').next()?;
    let said = std::str::from_utf8(said).ok().and_then(|text| text.parse().ok());
    said.or(match &url[..at] {
        b"http" => Some(80),
        b"https" => Some(443),
        _ => None,
    })
}

/// The client's address, as in the Collector, or as an SDK of X-Ray reported it.
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
    /// The port that belongs to the name or the address.
    port: Option<i64>,
    /// The port that belongs to the address alone: it may be that of a proxy.
    network_port: Option<i64>,
}

impl<'a> Peer<'a> {
    fn of(attributes: &Attributes<'a>) -> Self {
        use Known as K;
        let new = attributes.text(K::NetworkPeerAddress).filter(|address| is_ip(address));
        Peer {
            ip: attributes.text(K::NetPeerIp).or(new),
            name: attributes.text(K::NetPeerName),
            port: attributes.int(K::NetPeerPort),
            network_port: attributes.int(K::NetworkPeerPort),
        }
    }
}

/// The parts of a URL.
struct Parts<'a> {
    scheme: Option<&'a [u8]>,
    /// With its port, if it has one.
    host: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    port: Option<i64>,
    target: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    query: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn of(attributes: &Attributes<'a>) -> Self {
        use Known as K;
        let first = |all: &[Known]| all.iter().find_map(|known| attributes.text(*known));
        Parts {
            scheme: first(&[K::HttpScheme, K::UrlScheme]),
            host: attributes.text(K::HttpHost),
            server: first(&[K::HttpServerName, K::NetHostName, K::HostName, K::ServerAddress]),
            port: attributes.int(K::NetHostPort).or(attributes.int(K::ServerPort)),
            target: attributes.text(K::HttpTarget),
            path: attributes.text(K::UrlPath),
            query: attributes.text(K::UrlQuery),
        }
    }

    /// The host that the request was sent to.
    fn name(&self, peer: &Peer<'a>, is_server: bool) -> Option<&'a [u8]> {
        if is_server {
            self.host.or(self.server)
        } else {
            self.host.or(peer.name).or(self.server).or(peer.ip)
        }
    }

    /// The port that belongs to that host.
    fn port(&self, peer: &Peer<'a>, is_server: bool) -> Option<i64> {
        if is_server {
            self.port
        } else if peer.name.is_some() {
            peer.port.or(self.port)
        } else if self.server.is_some() {
            self.port.or(peer.port)
        } else {
            peer.port.or(peer.network_port).or(self.port)
        }
    }

    /// The attributes that are visible in the URL.
    fn shown(&self, peer: &Peer<'a>, is_server: bool) -> [Option<&'a [u8]>; 4] {
        let name = self.name(peer, is_server);
        match self.target {
            Some(_) => [self.scheme, name, self.target, None],
            None => [self.scheme, name, self.path, self.query],
        }
    }

    /// The host with its port; `None` if it is not known.
    fn url(&self, peer: &Peer<'a>, is_server: bool) -> Option<(Vec<u8>, Option<i64>)> {
        let name = self.name(peer, is_server)?;
        let port = self.port(peer, is_server);
        let scheme = self.scheme.unwrap_or(b"http");
        let mut url = Vec::with_capacity(128);
        url.extend_from_slice(scheme);
        url.extend_from_slice(b"://");
        let is_ipv6 = name.contains(&b':') && is_ip(name);
        if is_ipv6 {
            url.push(b'[');
        }
        url.extend_from_slice(name);
        if is_ipv6 {
            url.push(b']');
        }
        if self.host.is_some() {
            self.write_target(&mut url);
            let port = port_of(&url);
            return Some((url, port));
        }
        let is_usual = matches!((scheme, port), (b"http", Some(80)) | (b"https", Some(443)));
        if let (Some(port), false) = (port, is_usual) {
            url.push(b':');
            url.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
        self.write_target(&mut url);
        Some((url, port))
    }

    fn write_target(&self, url: &mut Vec<u8>) {
        let path = self.target.or(self.path).unwrap_or(b"/");
        if !path.starts_with(b"/") {
            url.push(b'/');
        }
        url.extend_from_slice(path);
        if let Some(query) = self.query.filter(|_| self.target.is_none()) {
            if !query.starts_with(b"?") {
                url.push(b'?');
            }
            url.extend_from_slice(query);
        }
    }
}
