//! What a page in a browser needs to know of a port, and whether the skep that runs there would let
//! it send: one preflight request, as a browser makes it. Over TLS any certificate is taken: its
//! name is that of the host which pages use, and here the port is asked at this machine.

use std::{io, time::Duration};

use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Warning, shown};
use crate::{
    admin::advice::local,
    cli::budget::row,
    component::BrowserPort,
    net::tls::{ClientTls, Connector},
};

/// Longest time for the answer of a port of this machine.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read.
const LONGEST: u64 = 8192;

/// What a page needs to know.
pub(super) fn told(id: &str, port: &BrowserPort) -> String {
    let mut text = String::new();
    let mut add = |name: &str, words: &str| text.push_str(&indented(name, words));
    let origins = match &*port.origins {
        [] => "none may send".to_owned(),
        origins => origins.join(", "),
    };
    add("pages", &origins);
    let scheme = if port.is_tls { "https" } else { "http" };
    let here = format!("{scheme}://{}{}", local(&port.endpoint), port.path);
    let url = if port.takes_strangers() {
        let elsewhere = format!("https://YOUR-HOST{}", port.path);
        add("url", &format!("{elsewhere}, on this machine {here}"));
        elsewhere
    } else {
        add("url", &here);
        here
    };
    add("code", &port.code.replace("{url}", &url));
    for (message, remedy) in doubts(port) {
        text.push_str(&Warning::new(format!("{id}: {message}"), remedy).text());
    }
    text
}

/// Asks what has the port, perhaps skep, whether a page may send. Empty if that cannot be asked.
pub(super) async fn asked(id: &str, port: &BrowserPort) -> String {
    let Some(origin) = port.origins.first().map(|pattern| example(pattern)) else {
        return String::new();
    };
    let head = match preflight(port, &origin).await {
        Ok(head) => head,
        Err(error) => return indented("preflight", &format!("no answer: {error}")),
    };
    let Some(message) = refusal(&head, &origin, &headers(port)) else {
        let unchecked = if port.is_tls { "; its certificate was not checked" } else { "" };
        return indented("preflight", &format!("a page of {origin} may send{unchecked}"));
    };
    let message = format!("{id}: what runs there refuses pages of {origin}: {message}");
    let remedy = "reload or restart skep, if it has an older configuration";
    Warning::new(message, remedy.to_owned()).text()
}

fn indented(name: &str, words: &str) -> String {
    format!("    {}", row(name, &shown(words)))
}

fn doubts(port: &BrowserPort) -> Vec<(String, String)> {
    let mut doubts = port.doubts.clone();
    let is_open = port.is_for_pages || port.takes_strangers();
    if is_open && !port.is_tls && !port.is_loopback() {
        doubts.push((
            format!("it speaks plain http at `{}`, beyond this machine", port.endpoint),
            "set `tls`, or let only a proxy that speaks TLS reach it".to_owned(),
        ));
    }
    doubts
}

/// An origin that a pattern allows.
fn example(pattern: &str) -> String {
    match pattern.strip_suffix(":*") {
        _ if pattern == "*" => "https://www.example".to_owned(),
        Some(host) => format!("{}:3000", host.replace('*', "www")),
        None => pattern.replace('*', "www"),
    }
}

/// Headers that a page asks for.
fn headers(port: &BrowserPort) -> Vec<&str> {
    std::iter::once("content-type").chain(port.header.as_deref()).collect()
}

/// Asks whether a page may send. Returns the head of the answer.
async fn preflight(port: &BrowserPort, origin: &str) -> io::Result<String> {
    if HeaderValue::from_str(origin).is_err() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no browser has such an origin"));
    }
    let (authority, path) = (local(&port.endpoint), &port.path);
    let asked = headers(port).join(",");
    let request = format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: {authority}\r\norigin: {origin}\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: {asked}\r\n\
         connection: close\r\n\r\n"
    );
    let asking = async {
        let stream = TcpStream::connect(&*authority).await?;
        if !port.is_tls {
            return exchange(stream, &request).await;
        }
        let host = authority.rsplit_once(':').map_or(&*authority, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let any = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
        let connector = Connector::new(any, &[b"http/1.1"]).map_err(io::Error::other)?;
        exchange(connector.current().connect(name, stream).await?, &request).await
    };
    let answer = timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends a request and reads the answer up to the end of the connection.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let read = stream.take(LONGEST).read_to_end(&mut answer).await;
    // Over TLS a connection may end without a farewell.
    if answer.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Why a browser would not let a page send after this answer.
fn refusal(answer: &str, origin: &str, asked: &[&str]) -> Option<String> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let value = |name: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let code = status.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with("HTTP/1.1 ") || !code.starts_with('2') {
        return Some(format!("it answers `{status:.100}`"));
    }
    if value("access-control-allow-origin") != Some(origin) {
        return Some("the answer does not allow this origin".to_owned());
    }
    let allowed = value("access-control-allow-headers").unwrap_or_default();
    let is_allowed =
        |name: &&&str| allowed.split(',').any(|known| known.trim().eq_ignore_ascii_case(name));
    let absent = asked.iter().find(|name| !is_allowed(name))?;
    Some(format!("the answer does not allow the header `{absent}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        component::{BuildContext, ReceiverConfig as _},
        config::{Problems, decode, yaml},
        otlp::Signal,
        receivers::{otlp, rollbar},
    };

    fn port(http: &str) -> Option<BrowserPort> {
        let node = yaml::parse(0, &format!("protocols: {{http: {http}}}")).unwrap();
        let config = decode::<otlp::Config>(&node, &mut Problems::default()).unwrap();
        config.browser_port(&BuildContext::test("otlp", Signal::Traces))
    }

    fn of(http: &str) -> String {
        told("otlp/x", &port(http).unwrap())
    }

    #[test]
    fn a_page_is_told_where_to_send() {
        assert_eq!(port("{}"), None, "no page may send");
        let page = "{endpoint: '127.0.0.1:4319', cors: {allowed_origins: ['http://localhost:*']}, \
                    public: {}}";
        insta::assert_snapshot!(of(page), @r"
        pages     http://localhost:*
        url       http://localhost:4319/v1/traces
        code      new OTLPTraceExporter({ url: 'http://localhost:4319/v1/traces' })
        ");
        let shop = "{endpoint: '0.0.0.0:4319', cors: {allowed_origins: ['https://shop.example']}, \
                    public: {token: {secrets: [x]}}}";
        insta::assert_snapshot!(of(shop), @r"
              pages     https://shop.example
              url       https://YOUR-HOST/v1/traces, on this machine http://localhost:4319/v1/traces
              code      new OTLPTraceExporter({ url: 'https://YOUR-HOST/v1/traces', headers: async () => ({ 'x-skep-token': await telemetryToken() }) })
        WARN  otlp/x: it speaks plain http at `0.0.0.0:4319`, beyond this machine
              set `tls`, or let only a proxy that speaks TLS reach it
        ");
    }

    #[test]
    fn what_endangers_a_public_port_is_named() {
        for (http, words) in [
            ("{public: {}}", "`allowed_origins` is empty: no page may send"),
            ("{cors: {allowed_origins: ['*']}, public: {}}", "pages of every origin may send"),
            ("{cors: {allowed_origins: ['*']}}", "protocols::http::public"),
            ("{cors: {allowed_origins: ['https://x.example'], max_age: 0}}", "`max_age` is 0"),
            ("{public: {requests_per_second: 0}}", "`public::requests_per_second` is 0"),
            ("{cors: {allowed_origins: ['https://x.example']}, public: {}}", "stays a claim"),
            (
                "{endpoint: '127.0.0.1:4319', cors: {allowed_origins: ['https://x.example']}, public: {}}",
                "set `public::client_address_header`",
            ),
        ] {
            let text = of(http);
            assert!(text.contains("WARN  otlp/x: ") && text.contains(words), "{text}");
        }
        for (endpoint, public) in [
            ("127.0.0.1:4319", "{client_address_header: x-forwarded-for}"),
            // Perhaps nothing is before it.
            ("0.0.0.0:4319", "{}"),
        ] {
            let cors = "cors: {allowed_origins: ['https://x.example']}";
            let text = of(&format!("{{endpoint: '{endpoint}', {cors}, public: {public}}}"));
            assert!(!text.contains("through a proxy"), "{text}");
        }
        let rollbar = |keys: &str| {
            let text = format!("{{endpoint: '127.0.0.1:8090', {keys}}}");
            let node = yaml::parse(0, &text).unwrap();
            let config = decode::<rollbar::Config>(&node, &mut Problems::default()).unwrap();
            config.browser_port(&BuildContext::test("rollbar", Signal::Logs)).unwrap()
        };
        let text = told("rollbar", &rollbar(""));
        assert!(text.contains("endpoint: 'http://localhost:8090/api/1/item/'"), "{text}");
        assert!(!text.contains("WARN"), "{text}");
        let shop =
            rollbar("max_items_per_minute: 0, cors: {allowed_origins: ['https://x.example']}");
        let text = told("rollbar", &shop);
        assert!(text.contains("any access token") && text.contains("`max_items_per_minute`"));
    }

    #[test]
    fn an_answer_that_a_browser_would_not_take_is_explained() {
        let answer = "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: http://a:1\r\n\
                      access-control-allow-headers: content-type, X-Token\r\n\r\n";
        let refused = |answer: &str, asked: &[&str]| refusal(answer, "http://a:1", asked);
        assert_eq!(refused(answer, &["content-type", "x-token"]), None);
        let told = refused(answer, &["x-other"]).unwrap();
        assert!(told.contains("header `x-other`"), "{told}");
        let told = refused(&answer.replace("a:1", "b:1"), &[]).unwrap();
        assert!(told.contains("does not allow this origin"), "{told}");
        let told = refused("HTTP/1.1 404 Not Found\r\n\r\n", &[]).unwrap();
        assert!(told.contains("`HTTP/1.1 404 Not Found`"), "{told}");
        assert!(refused("", &[]).is_some());
        for (pattern, origin) in [
            ("*", "https://www.example"),
            ("http://localhost:*", "http://localhost:3000"),
            ("https://*.shop.example", "https://www.shop.example"),
            ("https://shop.example", "https://shop.example"),
        ] {
            assert_eq!(example(pattern), origin);
        }
    }
}
