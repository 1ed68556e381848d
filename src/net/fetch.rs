//! Fetches a small document by `GET`, on a connection of its own, through the proxy that the
//! environment names. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, Version, header};

use super::{
    client::{Client, Segments, Target, Tuning},
    proxy::{self, Destination},
    tls::{ClientTls, Connector},
};

/// Longest document in bytes.
const LIMIT: usize = 1 << 20;
/// Longest time, connecting included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a URL with a host and the scheme `http` or `https`.
pub fn parse(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err(format!("`{url}` is not a URL with `https://` or `http://` and a host")),
    }
}

/// Fetches a document. The error is a sentence with the URL and the cause.
pub async fn get(url: &str, tls: &ClientTls) -> Result<Bytes, String> {
    let uri = parse(url)?;
    let call = call(&uri, tls);
    let answer = tokio::time::timeout(TIMEOUT, call).await;
    let body = answer.map_err(|_| format!("no answer within {TIMEOUT:?}")).and_then(|body| body);
    body.map_err(|error| format!("`{url}` cannot be fetched: {error}"))
}

async fn call(uri: &Uri, tls: &ClientTls) -> Result<Bytes, String> {
    let is_https = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let destination = Destination { is_https, host: &host, port };
    let way = proxy::way(destination, ("", ""), tls)?;
    let tls = is_https.then(|| Connector::new(tls.clone(), &[b"http/1.1"])).transpose()?;
    let tuning = Tuning { connect_timeout: TIMEOUT, ..Tuning::default() };
    let target = Target { host, port, way, tls, server_name: None, http2_only: false, tuning };
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
    let mut request = Request::new(Segments::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri.clone();
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().insert(header::HOST, host);
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::ACCEPT, json);
    let client = Client::new(target, 1).keeping(LIMIT + 1);
    let answer = client.call(request).await.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("the answer is {}", answer.status));
    }
    if answer.body.len() > LIMIT {
        return Err(format!("the document is larger than {LIMIT} bytes"));
    }
    Ok(answer.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_with_a_host_are_taken() {
        assert!(parse("https://issuer.example/realms/a").is_ok());
        assert!(parse("http://[::1]:8080").is_ok());
        for wrong in ["", "issuer.example", "ftp://a", "https://", "/a", "https:///a"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
