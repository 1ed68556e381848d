//! Who may ask the console what. Each rule answers one threat; `docs/console.md` has the table.
//!
//! - DNS rebinding: a web site can make its own name lead to 127.0.0.1. So `Host` must be a name
//!   of ours with our port.
//! - Other users of the machine, and other pages in the same browser: a token opens the console.
//!   It comes in a POST and becomes a cookie that scripts cannot read and other sites do not send.
//!   Cookies do not know ports, so the port is in its name.
//! - Requests that other pages make in the name of the user: no GET changes anything, a POST needs
//!   a header that a form cannot set, and browsers say from where a request comes. There is no
//!   CORS header, ever.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Mutex,
    time::Duration,
};

use http::{HeaderMap, Method, StatusCode, Uri, header};
use tokio::time::Instant;

use super::{Settings, Token, token::same};
use crate::sync::lock;

/// Wrong tokens that are taken within [`WINDOW`].
const WRONG_TOKENS: u32 = 30;
const WINDOW: Duration = Duration::from_mins(1);

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// What is wrong.
    pub(super) error: String,
    /// The remedy.
    pub(super) help: String,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        error: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Refusal { status, error: error.into(), help: help.into() }
    }
}

/// The rules of one listener.
#[derive(Debug)]
pub(super) struct Rules {
    port: u16,
    is_tls: bool,
    /// Whether the listener can be reached by loopback only.
    is_loopback: bool,
    /// Further names with their ports.
    hosts: Vec<(String, u16)>,
    token: Token,
    session: String,
    cookie: String,
    wrong_tokens: Mutex<Option<(Instant, u32)>>,
}

impl Rules {
    pub(super) fn new(settings: &Settings, address: SocketAddr, is_tls: bool) -> Self {
        let port = address.port();
        Rules {
            port,
            is_tls,
            is_loopback: address.ip().is_loopback(),
            hosts: settings.hosts.iter().map(|host| named(host, port)).collect(),
            token: settings.token.clone(),
            session: settings.token.session(),
            cookie: format!("skep-{port}"),
            wrong_tokens: Mutex::default(),
        }
    }

    /// Whether the request was meant for this listener.
    pub(super) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        // HTTP/2 has the host in the URI.
        let host = match (uri.authority(), headers.get(header::HOST)) {
            (Some(authority), _) => Some(authority.as_str()),
            (None, Some(value)) => value.to_str().ok(),
            (None, None) => None,
        };
        let is_only = headers.get_all(header::HOST).iter().count() <= 1;
        if is_only && host.is_some_and(|host| self.is_own(host)) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!("the console answers to `localhost:{}` and its own address only", self.port),
            "open it under this name, or start skep with `--console-host NAME`",
        ))
    }

    fn is_own(&self, host: &str) -> bool {
        let Some((name, port)) = split(host) else { return false };
        // A browser leaves out the usual port, which a proxy may have.
        let is_named = |(own, at): &(String, u16)| {
            let is_there = port.map_or([80, 443].contains(at), |port| port == *at);
            is_there && own.eq_ignore_ascii_case(name)
        };
        if self.hosts.iter().any(is_named) {
            return true;
        }
        let default = if self.is_tls { 443 } else { 80 };
        if port.unwrap_or(default) != self.port {
            return false;
        }
        match name.parse::<IpAddr>() {
            // The name of a web site is never a number.
            Ok(address) => address.is_loopback() || !self.is_loopback,
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether a request to the API may come from where its browser says that it does. Programs
    /// say nothing.
    pub(super) fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
        match headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "another page has sent this request",
                "only the pages of the console may ask for it",
            )),
        }
    }

    /// What every POST needs: JSON, which no form can send, and a header that no form can set.
    pub(super) fn check_post(headers: &HeaderMap) -> Result<(), Refusal> {
        let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is not JSON",
                "send `Content-Type: application/json`",
            ));
        }
        if headers.get("x-skep").is_none_or(|value| value != "1") {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "the header `X-Skep` is missing",
                "send `X-Skep: 1`",
            ));
        }
        Ok(())
    }

    /// Whether the request has the cookie, or the token as `Authorization: Bearer`.
    pub(super) fn check_who(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|all| all.to_str().ok());
        let mut pairs =
            cookies.flat_map(|all| all.split(';')).filter_map(|one| one.split_once('='));
        let is_known = pairs
            .any(|(name, value)| name.trim() == self.cookie && same(value.trim(), &self.session));
        if is_known {
            return Ok(());
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match bearer.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) => self.check_token(token.trim()),
            None => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "the console asks for its token",
                "open the link that skep has printed at its start, or that `skep console` prints",
            )),
        }
    }

    /// Whether this is the token. A client that tries many has to wait.
    pub(super) fn check_token(&self, text: &str) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut wrong = lock(&self.wrong_tokens);
        let (since, count) =
            wrong.filter(|(since, _)| now.duration_since(*since) < WINDOW).unwrap_or((now, 0));
        if count >= WRONG_TOKENS {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong tokens",
                "wait a minute",
            ));
        }
        if self.token.is(text) {
            return Ok(());
        }
        *wrong = Some((since, count + 1));
        Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this is not the token of this skep",
            "each start has a new token: open the link of the last start, or run `skep console`",
        ))
    }

    /// `Set-Cookie` for a client that has shown the token.
    pub(super) fn cookie(&self) -> String {
        let secure = if self.is_tls { "; Secure" } else { "" };
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict{secure}", self.cookie, self.session)
    }
}

/// Whether a method reads only.
pub(super) fn is_reading(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// `name` or `name:port` with a port.
pub(super) fn with_port(host: &str, port: u16) -> String {
    match split(host) {
        Some((_, Some(_))) => host.to_owned(),
        _ => format!("{host}:{port}"),
    }
}

/// Name and port of a name that somebody has given.
fn named(host: &str, port: u16) -> (String, u16) {
    match split(host) {
        Some((name, own)) => (name.to_owned(), own.unwrap_or(port)),
        None => (host.to_owned(), port),
    }
}

/// Name and port of a host; `None` if it has neither form.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            (name, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))?)
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        "" => Some((name, None)),
        port if is_number => Some((name, Some(port.parse().ok()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    fn rules(address: &str, hosts: &[&str]) -> Rules {
        let settings = Settings {
            endpoint: address.to_owned(),
            level: Level::Operation,
            has_actions: false,
            token: Token::chosen("0123456789abcdef").unwrap(),
            is_token_new: false,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            tls: None,
        };
        Rules::new(&settings, address.parse().unwrap(), false)
    }

    #[test]
    fn only_our_names_with_our_port_are_answered() {
        let local = rules("127.0.0.1:8686", &["box.example", "skep.example:443"]);
        for own in [
            "localhost:8686",
            "LOCALHOST:8686",
            "127.0.0.1:8686",
            "127.9.9.9:8686",
            "[::1]:8686",
            "box.example:8686",
            "skep.example:443",
            "Skep.example",
        ] {
            assert!(local.is_own(own), "{own}");
        }
        for foreign in [
            "localhost",
            "localhost:8687",
            "localhost:08686x",
            "127.0.0.1",
            "10.0.0.7:8686",
            "evil.example:8686",
            "localhost.evil.example:8686",
            "127.0.0.1.example:8686",
            "skep.example:8686",
            "box.example",
            "[::1]8686",
            "[::2]:8686",
            "",
        ] {
            assert!(!local.is_own(foreign), "{foreign}");
        }
        let open = rules("0.0.0.0:8686", &[]);
        assert!(open.is_own("10.0.0.7:8686") && open.is_own("localhost:8686"));
        assert!(!open.is_own("evil.example:8686") && !open.is_own("10.0.0.7:80"));
        let usual = rules("127.0.0.1:80", &[]);
        assert!(usual.is_own("localhost") && !usual.is_own("localhost:8686"));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_tries_many_tokens_waits() {
        let rules = rules("127.0.0.1:8686", &[]);
        for _ in 0..WRONG_TOKENS {
            let refusal = rules.check_token("wrong").unwrap_err();
            assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
        }
        let refusal = rules.check_token("0123456789abcdef").unwrap_err();
        assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS);
        tokio::time::advance(WINDOW).await;
        assert_eq!(rules.check_token("0123456789abcdef"), Ok(()));
    }

    #[test]
    fn ports_are_added_where_there_is_none() {
        assert_eq!(with_port("a.example", 1), "a.example:1");
        assert_eq!(with_port("a.example:2", 1), "a.example:2");
        assert_eq!(with_port("[::1]", 1), "[::1]:1");
    }
}
