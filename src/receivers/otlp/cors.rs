//! What browsers ask before a page may send, and what they are told.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::settings::Cors;
use crate::net::server::Reply;

impl Cors {
    /// The answer to a browser that asks whether it may send.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Reply>> {
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let mut allowed = "content-type, content-encoding, x-requested-with".to_owned();
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
        Some(response)
    }

    /// Tells the browser that the page may read the answer, where its origin is allowed.
    pub(super) fn allow_origin(&self, origin: &HeaderValue, response: &mut Response<Reply>) {
        let Ok(text) = origin.to_str() else { return };
        if self.allowed_origins.iter().any(|pattern| matches(pattern, text)) {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            if let Ok(exposed) = HeaderValue::try_from(self.exposed_headers.join(", "))
                && !exposed.is_empty()
            {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            }
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any characters. Case-insensitive.
fn matches(pattern: &str, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_with_wildcards() {
        assert!(matches("*", "https://a.example"));
        assert!(matches("https://*.example.com", "https://App.example.com"));
        assert!(!matches("https://*.example.com", "https://example.org"));
        assert!(matches("http://localhost:*", "http://localhost:3000"));
        assert!(!matches("http://localhost", "http://localhost:3000"));
    }
}
