//! Decides which requests go through which proxy. A proxy in the configuration of a component is
//! used for all its requests. Otherwise `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or lower case)
//! decide, by the rules of Go's `golang.org/x/net/http/httpproxy`, as in the Collector.
//!
//! `NO_PROXY` is `*`, or a list of hosts, domains, addresses and networks (`10.0.0.0/8`).
//! `example.com` includes its subdomains; `.example.com` and `*.example.com` mean only the
//! subdomains. All but networks may have a port. Requests to this machine never go through a proxy.
//! In a CGI program `HTTP_PROXY` is ignored, because a client can set it with a header.
//!
//! Differs from Go: requests to link-local addresses and to the metadata addresses of AWS never go
//! through a proxy, because it would reach its own metadata. A proxy that cannot be used is an
//! error; it is not ignored.

use std::{
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use percent_encoding::percent_decode_str;

use super::tls::{ClientTls, Connector};

/// How to reach a backend.
#[derive(Debug, Clone, Default)]
pub enum Way {
    /// Directly, by its host and port.
    #[default]
    Direct,
    /// By a unix socket.
    Unix(UnixAddress),
    /// Through a proxy.
    Proxy(Arc<Proxy>),
}

/// The name of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnixAddress {
    /// A file.
    Path(PathBuf),
    /// A name in the abstract namespace of Linux.
    Abstract(String),
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnixAddress::Path(path) => write!(f, "unix:{}", path.display()),
            UnixAddress::Abstract(name) => write!(f, "unix-abstract:{name}"),
        }
    }
}

/// A proxy, with credentials and TLS settings.
#[derive(Debug)]
pub struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `Proxy-Authorization`; never shown.
    pub(super) authorization: Option<HeaderValue>,
    /// `None` means plaintext.
    pub(super) tls: Option<Arc<Connector>>,
    /// The setting that names it: `HTTPS_PROXY`, `proxy_url`.
    source: &'static str,
}

/// Shows the URL without credentials, and the setting that names it.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mask = if self.authorization.is_some() { "[REDACTED]@" } else { "" };
        let authority = authority(&self.host, self.port);
        write!(f, "{scheme}://{mask}{authority} ({})", self.source)
    }
}

/// The parsed URL of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    is_https: bool,
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl Url {
    /// Parses `http://user:password@host:port`; the scheme is optional. Errors do not show the
    /// text, because it may contain a password.
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            "socks5" | "socks5h" => return Err("SOCKS proxies are not supported".to_owned()),
            _ => return Err("its scheme is neither `http` nor `https`".to_owned()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (place, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err("it has no host".to_owned());
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| "its port is not a number".to_owned())?,
            None if is_https => 443,
            None => 80,
        };
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let mut pair: Vec<u8> = percent_decode_str(name).collect();
            pair.push(b':');
            pair.extend(percent_decode_str(password));
            let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        let authorization = authorization.transpose().map_err(|error| error.to_string())?;
        Ok(Url { is_https, host: host.to_owned(), port, authorization })
    }
}

/// Checks the URL of a proxy. The error does not show the URL.
pub fn check(url: &str) -> Result<(), String> {
    Url::parse(url).map(drop)
}

/// The target of requests.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'d> {
    /// Whether `HTTPS_PROXY` applies: for TLS, and always for gRPC.
    pub is_https: bool,
    /// Host name or address, without brackets.
    pub host: &'d str,
    /// Port.
    pub port: u16,
}

/// Decides how to reach a destination. `configured` is the URL of a proxy and its configuration
/// key; if the URL is empty, the environment decides. The certificate of an `https://` proxy is
/// checked with the settings `tls`, and the system's authorities are trusted too.
pub fn way(
    destination: Destination<'_>,
    configured: (&'static str, &str),
    tls: &ClientTls,
) -> Result<Way, String> {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    let (key, text) = configured;
    let (source, url) = if text.is_empty() {
        let environment = ENVIRONMENT.get_or_init(|| {
            Environment::read(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        });
        let Some((source, url)) = environment.choose(destination) else { return Ok(Way::Direct) };
        (source, url.clone())
    } else if is_link_local(destination.host) {
        return Ok(Way::Direct);
    } else {
        (key, Url::parse(text))
    };
    let wrong = |error| format!("the proxy of `{source}` cannot be used: {error}");
    let url = url.map_err(wrong)?;
    let settings = ClientTls {
        include_system_ca_certs_pool: true,
        cert_file: None,
        cert_pem: None,
        key_file: None,
        key_pem: None,
        ..tls.clone()
    };
    let tls = url.is_https.then(|| Connector::new(settings, &[b"http/1.1"]));
    let tls = tls.transpose().map_err(wrong)?;
    let Url { host, port, authorization, .. } = url;
    Ok(Way::Proxy(Arc::new(Proxy { host, port, authorization, tls, source })))
}

/// ` through the proxy X (HTTPS_PROXY)` for messages, or nothing.
pub fn in_words(way: Result<Way, String>) -> String {
    match way {
        Ok(Way::Proxy(proxy)) => format!(" through the proxy {proxy}"),
        _ => String::new(),
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The proxies of the environment.
#[derive(Debug)]
struct Environment {
    http: Option<(&'static str, Result<Url, String>)>,
    https: Option<(&'static str, Result<Url, String>)>,
    exceptions: Vec<Exception>,
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    All,
    Network {
        address: IpAddr,
        bits: u8,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    /// `suffix` begins with a dot.
    Domain {
        suffix: String,
        port: Option<u16>,
        has_itself: bool,
    },
}

impl Environment {
    fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let url = |names: [&'static str; 2]| {
            let found = names.into_iter().find_map(|name| Some((name, get(name)?)));
            found.map(|(name, text)| (name, Url::parse(&text)))
        };
        let is_cgi = get("REQUEST_METHOD").is_some();
        let http = if is_cgi { None } else { url(["HTTP_PROXY", "http_proxy"]) };
        let list = get("NO_PROXY").or_else(|| get("no_proxy")).unwrap_or_default();
        let exceptions = list.split(',').filter_map(Exception::parse).collect();
        Environment { http, https: url(["HTTPS_PROXY", "https_proxy"]), exceptions }
    }

    /// `None` means no proxy.
    fn choose(&self, to: Destination<'_>) -> Option<(&'static str, &Result<Url, String>)> {
        let (source, url) = if to.is_https { self.https.as_ref()? } else { self.http.as_ref()? };
        let host = to.host.trim().to_ascii_lowercase();
        let address: Option<IpAddr> =
            host.parse().ok().map(|address: IpAddr| address.to_canonical());
        let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let is_excepted =
            self.exceptions.iter().any(|exception| exception.covers(&host, address, to.port));
        let is_direct = is_here || is_link_local(&host) || is_excepted;
        (!is_direct).then_some((*source, url))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Exception::All);
        }
        if let Some((address, bits)) = entry.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>())
        {
            let width = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= width).then_some(Exception::Network { address, bits });
        }
        // An IPv6 address contains colons; with a port it is in brackets.
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if host.starts_with('[') == host.contains(':') => (host, Some(port)),
            _ => (&*entry, None),
        };
        let port = match port {
            None | Some("") => None,
            // This is not a valid port, so the entry matches nothing.
            Some(port) => Some(port.parse().ok()?),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Exception::Address { address: address.to_canonical(), port });
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        match host {
            "" => None,
            host if host.starts_with('.') => {
                Some(Exception::Domain { suffix: host.to_owned(), port, has_itself: false })
            }
            host => Some(Exception::Domain { suffix: format!(".{host}"), port, has_itself: true }),
        }
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let is_port = |own: &Option<u16>| own.is_none_or(|own| own == port);
        match self {
            Exception::All => true,
            Exception::Network { address: network, bits } => {
                address.is_some_and(|address| is_within(address, *network, *bits))
            }
            Exception::Address { address: own, port } => address == Some(*own) && is_port(port),
            Exception::Domain { suffix, port, has_itself } => {
                let is_match = host.ends_with(suffix) || (*has_itself && *host == suffix[1..]);
                is_match && is_port(port)
            }
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Whether an address is local to each machine: link-local, or a metadata service.
fn is_link_local(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        // AWS has its metadata services in `fd00:ec2::/32`.
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local() || address.segments()[..2] == [0xFD00, 0xEC2]
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
