//! Where an exporter sends to: endpoints and headers as the Collector writes them.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::connection::Headers;
use crate::net::proxy::UnixAddress;

/// An endpoint taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Whether its scheme says TLS; `None` if it has no scheme.
    pub(super) tls: Option<bool>,
    /// Host name or address, without brackets.
    pub(super) host: String,
    /// Port.
    pub(super) port: u16,
    /// From the first slash, maybe empty.
    pub(super) path: String,
    /// A socket of this machine, which then counts instead of host and port.
    pub(super) unix: Option<UnixAddress>,
}

impl Endpoint {
    /// Reads what gRPC has names for: besides what [`Endpoint::parse`] reads `unix:path`,
    /// `unix:///path` and `unix-abstract:name`.
    pub(super) fn parse_grpc(text: &str) -> Result<Self, String> {
        let unix = if let Some(name) = text.strip_prefix("unix-abstract:") {
            Some(UnixAddress::Abstract(name.to_owned())).filter(|_| !name.is_empty())
        } else if let Some(path) = text.strip_prefix("unix:") {
            unix_address(path)
        } else {
            return Endpoint::parse(text, None);
        };
        let unix = unix.ok_or_else(|| {
            format!("`{text}` has no socket: write `unix:path` or `unix:///path`")
        })?;
        let (host, path) = ("localhost".to_owned(), String::new());
        Ok(Endpoint { tls: None, host, port: 0, path, unix: Some(unix) })
    }

    /// Reads `host:port`, `http://host`, `https://host:port/path`, `dns:///host:port`.
    pub(super) fn parse(text: &str, default_port: Option<u16>) -> Result<Self, String> {
        if text.starts_with("unix:") || text.starts_with("unix-abstract:") {
            return Err("only `otlp_grpc` sends to a unix socket".to_owned());
        }
        // Checked first, so that no other message shows the password.
        if text.split_once("://").map_or(text, |(_, rest)| rest).split('/').any(|p| p.contains('@'))
        {
            return Err("do not put user and password into the endpoint; write \
                        `headers: {authorization: Basic ${env:CREDENTIALS}}`"
                .to_owned());
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest.trim_start_matches('/')),
            None => (None, text),
        };
        let (tls, scheme_port) = match scheme {
            None | Some("dns" | "passthrough") => (None, default_port),
            Some("http") => (Some(false), default_port.or(Some(80))),
            Some("https") => (Some(true), default_port.or(Some(443))),
            Some(other) => return Err(format!("scheme `{other}` is not supported")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
                (host, Some(port))
            }
            _ => (authority, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(format!("`{text}` has no host"));
        }
        let port = port.or(scheme_port).ok_or_else(|| format!("`{text}` has no port"))?;
        Ok(Endpoint { tls, host: host.to_owned(), port, path: path.to_owned(), unix: None })
    }

    /// The value of `Host`: without the port that the scheme has anyway, as signatures expect it.
    pub(super) fn host_header(&self) -> String {
        let authority = self.authority();
        let port = match self.tls {
            Some(true) => ":443",
            Some(false) => ":80",
            None => return authority,
        };
        authority.strip_suffix(port).map(str::to_owned).unwrap_or(authority)
    }

    /// `host:port` for the request's authority.
    pub(super) fn authority(&self) -> String {
        if self.unix.is_some() {
            return self.host.clone();
        }
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A URL with a path after its own, before its query.
pub(super) fn with_path(url: &str, path: &str) -> String {
    let (base, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    format!("{}{path}{query}", base.trim_end_matches('/'))
}

/// The address after `unix:`. A first `@` means a name without a file, as in Go.
fn unix_address(path: &str) -> Option<UnixAddress> {
    let path = match path.strip_prefix("//") {
        // `unix://host/path` names another machine.
        Some(absolute) if !absolute.starts_with('/') => return None,
        Some(absolute) => absolute,
        None => path,
    };
    match path.strip_prefix('@') {
        Some("") => None,
        Some(name) => Some(UnixAddress::Abstract(name.to_owned())),
        None => Some(UnixAddress::Path(path.into())).filter(|_| !path.is_empty()),
    }
}

/// The headers of every request. Values are marked sensitive, so no log shows them.
pub(super) fn headers(configured: &Headers) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(configured.0.len() + 4);
    for (name, value) in &configured.0 {
        let parsed = HeaderName::try_from(name.as_str())
            .map_err(|_| format!("`{name}` is not a header name"))?;
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| {
            format!("the value of header `{name}` has characters that no header may have")
        })?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

/// `User-Agent` of every request; skep's own where none is configured.
pub(super) fn user_agent(configured: &str) -> Result<HeaderValue, String> {
    if configured.is_empty() {
        return Ok(HeaderValue::from_static(concat!("skep/", env!("CARGO_PKG_VERSION"))));
    }
    HeaderValue::try_from(configured).map_err(|_| format!("`{configured}` is not a `user_agent`"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Secret;

    fn endpoint(tls: Option<bool>, host: &str, port: u16, path: &str) -> Endpoint {
        Endpoint { tls, host: host.to_owned(), port, path: path.to_owned(), unix: None }
    }

    #[test]
    fn endpoints_are_read_in_every_form() {
        let parse = |text| Endpoint::parse(text, None);
        assert_eq!(parse("localhost:4317"), Ok(endpoint(None, "localhost", 4317, "")));
        assert_eq!(parse("dns:///a.b:1"), Ok(endpoint(None, "a.b", 1, "")));
        assert_eq!(parse("http://a"), Ok(endpoint(Some(false), "a", 80, "")));
        assert_eq!(parse("https://a/otlp"), Ok(endpoint(Some(true), "a", 443, "/otlp")));
        assert_eq!(parse("[::1]:4317"), Ok(endpoint(None, "::1", 4317, "")));
        assert_eq!(parse("https://[::1]/x"), Ok(endpoint(Some(true), "::1", 443, "/x")));
        let text = parse("https://ann:pa55@host/x").unwrap_err();
        assert!(!text.contains("pa55") && text.contains("authorization"), "{text}");
        assert!(parse("localhost").unwrap_err().contains("no port"));
        assert!(parse("ftp://a:1").is_err());
        assert!(parse(":4317").unwrap_err().contains("no host"));
        assert!(parse("a:b").unwrap_err().contains("not a port"));
    }

    #[test]
    fn sockets_have_the_names_that_grpc_gives_them() {
        let unix = |text| Endpoint::parse_grpc(text).map(|endpoint| endpoint.unix);
        let path = |path: &str| Ok(Some(UnixAddress::Path(path.into())));
        let name = |name: &str| Ok(Some(UnixAddress::Abstract(name.to_owned())));
        assert_eq!(unix("unix:a/b.sock"), path("a/b.sock"));
        assert_eq!(unix("unix:/a/b.sock"), path("/a/b.sock"));
        assert_eq!(unix("unix:///a/b.sock"), path("/a/b.sock"));
        assert_eq!(unix("unix:@a"), name("a"));
        assert_eq!(unix("unix-abstract:a"), name("a"));
        assert_eq!(unix("a:1"), Ok(None));
        for wrong in ["unix:", "unix://", "unix://a/b", "unix:@", "unix-abstract:"] {
            assert!(unix(wrong).unwrap_err().contains("no socket"), "{wrong}");
        }
        assert!(Endpoint::parse("unix:///a", None).unwrap_err().contains("otlp_grpc"));
    }

    #[test]
    fn the_port_of_the_scheme_is_not_told() {
        let host = |text| Endpoint::parse(text, None).unwrap().host_header();
        assert_eq!(host("https://a/x"), "a");
        assert_eq!(host("https://[::1]:443"), "[::1]");
        assert_eq!(host("https://a:4318"), "a:4318");
        assert_eq!(host("http://a:443"), "a:443");
        assert_eq!(host("http://a"), "a");
    }

    #[test]
    fn header_errors_do_not_show_the_value() {
        let pairs = [("x-key".to_owned(), Secret::new("se\ncret"))];
        let configured = Headers(BTreeMap::from(pairs));
        let text = headers(&configured).unwrap_err();
        assert!(!text.contains("cret"), "{text}");
    }
}
