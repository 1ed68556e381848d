//! CORS: answers the preflight requests of browsers, which ask whether a page may send.
//!
//! The receivers `otlp` and `rollbar` share this file.

mod origins;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Node, Problems},
    net::server::Reply,
    receivers::stray::Stray,
};

/// `cors`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Origins such as `https://app.example.com`; `*` stands for any characters, and `:*` at the
    /// end for any port.
    pub allowed_origins: Vec<String>,
    /// Request headers that a page may set, besides those that are always allowed.
    pub allowed_headers: Vec<String>,
    /// Response headers that a page may read, besides `Retry-After`.
    pub exposed_headers: Vec<String>,
    /// Seconds for which a browser may remember that a page may send. With 0 it asks before nearly
    /// every request.
    pub max_age: u32,
}

/// The longest time that Chromium remembers (Fetch standard, section 3.3.5, leaves it to browsers).
const MAX_AGE: u32 = 7200;

impl Default for Cors {
    fn default() -> Self {
        Cors {
            allowed_origins: Vec::new(),
            allowed_headers: Vec::new(),
            exposed_headers: Vec::new(),
            max_age: MAX_AGE,
        }
    }
}

/// The header that tells an SDK when to come back. It reads it only where it is exposed.
const ALWAYS_EXPOSED: &str = "retry-after";

/// A public page asks with it whether it may send to a private address, such as localhost
/// (<https://wicg.github.io/private-network-access/>).
const REQUEST_PRIVATE: &str = "access-control-request-private-network";
const ALLOW_PRIVATE: &str = "access-control-allow-private-network";

/// Headers that pages may always send.
const ALWAYS_ALLOWED: &str = "content-type, content-encoding, x-requested-with";

/// Whether this is a preflight request.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

impl Cors {
    /// Reports origins that no page can have. `at` is the node of these settings.
    pub(super) fn validate(&self, at: &Node, problems: &mut Problems) {
        let place = |index: usize| at.at(&format!("allowed_origins::{index}"));
        origins::validate(&self.allowed_origins, place, problems);
    }

    /// The response to a preflight request.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Reply>> {
        if !is_preflight(request) {
            return None;
        }
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let mut allowed = ALWAYS_ALLOWED.to_owned();
        for name in &self.allowed_headers {
            allowed.push_str(", ");
            allowed.push_str(name);
        }
        if self.allowed_headers.iter().any(|name| name == "*") {
            let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            if let Some(asked) = asked.and_then(|value| value.to_str().ok()) {
                asked.clone_into(&mut allowed);
            }
        }
        if let Ok(value) = HeaderValue::try_from(allowed) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, value);
        }
        if self.max_age > 0 {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age));
        }
        if request.headers().contains_key(REQUEST_PRIVATE) {
            headers.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
        }
        Some(response)
    }

    /// What should be mended, each with its remedy. `section` is where these settings are.
    pub(super) fn doubts(&self, section: &str) -> Vec<(String, String)> {
        const EXAMPLE: &str = "`allowed_origins: [\"https://shop.example\"]`";
        let mut doubts = Vec::new();
        let is_any = |origin: &String| matches!(&**origin, "*" | "http://*" | "https://*");
        if self.allowed_origins.is_empty() {
            let message = format!("`{section}`: `allowed_origins` is empty: no page may send");
            doubts.push((message, format!("name the origins of your pages: {EXAMPLE}")));
        }
        if self.allowed_origins.iter().any(is_any) {
            let message = format!("`{section}`: pages of every origin may send");
            doubts.push((message, format!("name the origins of yours: {EXAMPLE}")));
        }
        if self.max_age == 0 {
            let message = format!("`{section}`: `max_age` is 0: browsers ask before each request");
            doubts.push((message, "remove it: 7200 is the default".to_owned()));
        }
        doubts
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let text = origin.to_str();
        text.is_ok_and(|text| {
            self.allowed_origins.iter().any(|pattern| origins::matches(pattern, text))
        })
    }

    /// Why a page may not send, with the key that would allow it. `section` is where these settings
    /// are.
    pub(super) fn refused<B>(
        &self,
        origin: &HeaderValue,
        request: &Request<B>,
        section: &str,
    ) -> Option<(Stray, String)> {
        if !self.allows(origin) {
            let page = String::from_utf8_lossy(origin.as_bytes());
            let page: String = page.chars().take(200).collect();
            let text = format!(
                "the page {page} may not send here; allow it with `{section}: allowed_origins: \
                 [{page}]`"
            );
            return Some((Stray::CorsOrigin, text));
        }
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().ok()?;
        let allowed = ALWAYS_ALLOWED.split(", ").chain(self.allowed_headers.iter().map(|n| &**n));
        let is_allowed = |name: &str| {
            allowed.clone().any(|known| known == "*" || known.eq_ignore_ascii_case(name))
                // Browsers do not ask for headers that every page may send.
                || [header::ACCEPT, header::ACCEPT_LANGUAGE, header::CONTENT_LANGUAGE]
                    .iter()
                    .any(|known: &HeaderName| known.as_str().eq_ignore_ascii_case(name))
        };
        let name =
            asked.split(',').map(str::trim).find(|name| !name.is_empty() && !is_allowed(name))?;
        let name: String = name.chars().take(100).collect();
        let text = format!(
            "a page may not send the header `{name}`; allow it with `{section}: allowed_headers: \
             [{name}]`"
        );
        Some((Stray::CorsHeader, text))
    }

    /// Tells the browser that the page may read the response, if its origin is allowed.
    pub(super) fn allow_origin(&self, origin: &HeaderValue, response: &mut Response<Reply>) {
        if self.allows(origin) {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            let mut exposed = ALWAYS_EXPOSED.to_owned();
            for name in &self.exposed_headers {
                exposed.push_str(", ");
                exposed.push_str(name);
            }
            if let Ok(exposed) = HeaderValue::try_from(exposed) {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            }
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_names_the_key_that_allows_it() {
        let cors = Cors {
            allowed_origins: vec!["https://shop.example".to_owned()],
            allowed_headers: vec!["X-Honeycomb-Team".to_owned()],
            ..Cors::default()
        };
        let refused = |cors: &Cors, origin: &'static str, asked: &'static str| {
            let request = Request::options("/v1/traces")
                .header(header::ACCESS_CONTROL_REQUEST_HEADERS, asked)
                .body(())
                .unwrap();
            cors.refused(&HeaderValue::from_static(origin), &request, "cors")
        };
        let fine = "content-type,x-honeycomb-team";
        assert_eq!(refused(&cors, "https://shop.example", fine), None);
        let (kind, text) = refused(&cors, "https://evil.example", fine).unwrap();
        assert_eq!(kind, Stray::CorsOrigin);
        assert!(text.contains("allowed_origins: [https://evil.example]"), "{text}");
        let (kind, text) = refused(&cors, "https://shop.example", "content-type, x-b3").unwrap();
        assert_eq!(kind, Stray::CorsHeader);
        assert!(text.contains("allowed_headers: [x-b3]"), "{text}");
        let any = Cors { allowed_headers: vec!["*".to_owned()], ..cors };
        assert_eq!(refused(&any, "https://shop.example", "x-b3"), None);
    }

    #[test]
    fn a_preflight_is_remembered_and_a_page_reads_when_to_come_back() {
        let cors =
            Cors { allowed_origins: vec!["http://localhost:*".to_owned()], ..Cors::default() };
        let ask = || {
            let request = Request::options("/v1/traces")
                .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
                .header(REQUEST_PRIVATE, "true");
            request.body(()).unwrap()
        };
        let mut response = cors.preflight(&ask()).unwrap();
        cors.allow_origin(&HeaderValue::from_static("http://localhost:3000"), &mut response);
        let headers = response.headers();
        assert_eq!(headers[header::ACCESS_CONTROL_MAX_AGE], "7200");
        assert_eq!(headers[header::ACCESS_CONTROL_EXPOSE_HEADERS], "retry-after");
        assert_eq!(headers[ALLOW_PRIVATE], "true");
        let cors = Cors { max_age: 0, ..cors };
        let response = cors.preflight(&ask()).unwrap();
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_MAX_AGE));
    }
}
