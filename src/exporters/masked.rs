//! Masks the secrets of a request in the backend's answer: some backends repeat the key that they
//! refuse.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Uri, header};

use crate::config::{
    shown::{escaped, url_secrets},
    units::REDACTED,
};

/// Shortest secret that is masked: shorter ones occur in ordinary words.
const SHORTEST: usize = 6;
/// Words in front of a secret.
const SCHEMES: [&str; 5] = ["basic", "bearer", "token", "apikey", "api-key"];

/// The values of the sensitive headers of a request, and its URL.
#[derive(Debug)]
pub(super) struct Secrets {
    headers: Vec<HeaderValue>,
    uri: Option<Uri>,
}

impl Secrets {
    /// No secrets.
    pub(super) const NONE: Secrets = Secrets { headers: Vec::new(), uri: None };

    /// The secrets of a URL and of headers as they are sent; not `Host` and `User-Agent`.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let all = headers.iter().filter(|(name, value)| {
            value.is_sensitive() && **name != header::HOST && **name != header::USER_AGENT
        });
        let headers = all.map(|(_, value)| value.clone()).collect();
        Secrets { headers, uri: Some(uri.clone()) }
    }

    /// All texts to mask, the longest first: values, their parts after the name of a scheme,
    /// passwords in them, and keys in the URL.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for value in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
            if let Some((scheme, rest)) = value.split_once(' ') {
                let rest = rest.trim();
                if scheme.eq_ignore_ascii_case("basic")
                    && let Ok(pair) = STANDARD.decode(rest)
                {
                    let pair = String::from_utf8_lossy(&pair);
                    words.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
                }
                if SCHEMES.contains(&&*scheme.to_ascii_lowercase()) {
                    words.push(rest.to_owned());
                }
            }
            words.push(value);
        }
        if let Some(uri) = &self.uri {
            let uri = uri.to_string();
            words.extend(url_secrets(&uri).into_iter().map(|place| uri[place].to_owned()));
        }
        words.retain(|word| word.len() >= SHORTEST);
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words
    }

    /// A backend's text without secrets and without terminal escapes.
    pub(super) fn cover(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for word in self.words() {
            if text.contains(&word) {
                text = text.replace(&word, REDACTED);
            }
        }
        escaped(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(headers: &[(&'static str, &'static str)]) -> Secrets {
        let headers = headers.iter().map(|(name, value)| {
            let mut value = HeaderValue::from_static(value);
            value.set_sensitive(true);
            (http::HeaderName::from_static(name), value)
        });
        Secrets::of(&Uri::from_static("https://h/v1?key=KEYOFURL&n=1"), &headers.collect())
    }

    #[test]
    fn values_their_parts_and_passwords_are_covered() {
        let key = secrets(&[("x-key", "SECRETKEY123"), ("x-team", "short")]);
        assert_eq!(key.cover("no SECRETKEY123, short"), "no [REDACTED], short");
        assert_eq!(key.cover("no POST /v1?key=KEYOFURL&n=1"), "no POST /v1?key=[REDACTED]&n=1");
        let token = secrets(&[("authorization", "Bearer abcdefgh")]);
        assert_eq!(token.cover("`Bearer abcdefgh` abcdefgh"), "`[REDACTED]` [REDACTED]");
        // ann:open sesame
        let basic = secrets(&[("authorization", "Basic YW5uOm9wZW4gc2VzYW1l")]);
        assert_eq!(
            basic.cover("YW5uOm9wZW4gc2VzYW1l is ann with `open sesame`"),
            "[REDACTED] is ann with `[REDACTED]`"
        );
    }

    #[test]
    fn a_secret_within_another_leaves_nothing_of_the_longer_one() {
        let both = secrets(&[("x-a", "abcdef"), ("x-b", "abcdefghi")]);
        assert_eq!(both.cover("abcdefghi abcdef"), "[REDACTED] [REDACTED]");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let host = secrets(&[("host", "backend.example.com"), ("user-agent", "something")]);
        assert_eq!(host.cover("backend.example.com something"), "backend.example.com something");
        let mut plain = HeaderMap::new();
        plain.insert("x-key", HeaderValue::from_static("not-marked"));
        let plain = Secrets::of(&Uri::from_static("https://h/v1"), &plain);
        assert_eq!(plain.cover("not-marked \u{1b}[31m\n"), "not-marked \\x1b[31m\\n");
    }
}
