//! A token in a header: sent with the requests of exporters, and asked for by receivers.
//!
//! ```yaml
//! bearertokenauth:
//!   token: ${env:OTLP_TOKEN}
//! ```
//!
//! An exporter or a receiver's protocol names it with `auth: {authenticator: bearertokenauth}`.
//! Receivers take requests with any of the `tokens`; exporters send the first. With `filename` the
//! tokens are in a file, one a line, which must be a regular file of at most 4 MiB. It is read
//! again when it changes, and by an exporter at once when the backend refuses the old token.
//!
//! A client sends `Authorization: Bearer TOKEN`, which SDKs do with
//! `OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN`. `scheme` is the word before the
//! token, compared exactly; with an empty one the header is the token alone. Processors learn
//! nothing of such a client: the token says nothing but that it may send.
//!
//! Differs from the Collector: an empty line of the file is no token, and exporters send the first
//! line only.

use std::{borrow::Cow, sync::Arc, time::Instant};

use http::{HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    secret_header::{SecretHeader, Source},
    watched::Watched,
};
use crate::{
    component::{
        Asked, Authenticator, BuildContext, ClientAuth, Credentials, Denied, Entry, Extension,
        ExtensionConfig, Identity, Passive, ServerAuth, ServerAuthenticator, StartError, Unusable,
    },
    config::{Node, Problems, Secret, source::check_file},
    otlp::Signal,
};

/// Sends a token, or asks for one.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Header that holds the token.
    pub header: String,
    /// Word before the token; empty: none.
    pub scheme: String,
    /// The token.
    pub token: Secret,
    /// File with tokens, one a line, instead of `token` and `tokens`.
    pub filename: String,
    /// Tokens that a receiver takes, instead of `token`; an exporter sends the first.
    pub tokens: Vec<Secret>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            header: "Authorization".to_owned(),
            scheme: "Bearer".to_owned(),
            token: Secret::default(),
            filename: String::new(),
            tokens: Vec::new(),
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> =
    Entry::of::<Config>("bearertokenauth", &[], &Signal::ALL, include_str!("bearertokenauth.rs"));

impl Config {
    /// The tokens in the configuration.
    fn own_tokens(&self) -> &[Secret] {
        if self.tokens.is_empty() { std::slice::from_ref(&self.token) } else { &self.tokens }
    }

    /// What comes before the token.
    fn prefix(&self) -> String {
        if self.scheme.is_empty() { String::new() } else { format!("{} ", self.scheme) }
    }

    fn header_name(&self) -> Result<HeaderName, String> {
        HeaderName::try_from(&self.header)
            .map_err(|_| format!("`{}` is not a header name", self.header))
    }
}

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let has_token = !self.token.expose().is_empty();
        if !has_token && self.tokens.is_empty() && self.filename.is_empty() {
            problems
                .error(at, "no bearer token provided")
                .help("add `token: ${env:OTLP_TOKEN}`, or the name of a file as `filename`");
        }
        for (i, token) in self.tokens.iter().enumerate() {
            if token.expose().trim().is_empty() {
                problems
                    .error(at.at(&format!("tokens::{i}")), "an empty token would let everybody in")
                    .help("remove it, or set the variable that it comes from");
            }
        }
        let unused = [
            ("token", has_token && (!self.tokens.is_empty() || !self.filename.is_empty())),
            ("tokens", !self.tokens.is_empty() && !self.filename.is_empty()),
        ];
        for (key, _) in unused.iter().filter(|(_, is_unused)| *is_unused) {
            let other = if self.filename.is_empty() { "tokens" } else { "filename" };
            problems
                .warning(at.at(key), format!("`{key}` has no effect: `{other}` takes precedence"))
                .help(format!("remove `{key}` or `{other}`"));
        }
        if !self.filename.is_empty() {
            check_file(at.at("filename"), &self.filename, problems);
        }
        if let Err(message) = self.header_name() {
            problems.error(at.at("header"), message);
        }
    }

    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        Some(Arc::new(self.clone()))
    }

    fn server_auth(&self) -> Option<Arc<dyn ServerAuth>> {
        Some(Arc::new(self.clone()))
    }

    fn build(&self, _cx: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        Ok(Box::new(Passive))
    }
}

impl ClientAuth for Config {
    fn open(&self, _exporter: &str, _url: &Uri) -> Result<Arc<dyn Authenticator>, String> {
        let (name, prefix) = (self.header_name()?, self.prefix());
        let first = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
        let make = Box::new(move |secrets: &[Secret]| {
            secrets.iter().fold(prefix.clone(), |value, token| value + &first(token.expose()))
        });
        let token = self.own_tokens().first().cloned().unwrap_or_default();
        let sources = Arc::new([Source::new(&token, &self.filename)]);
        Ok(Arc::new(SecretHeader { name, sources, make }))
    }
}

impl ServerAuth for Config {
    fn check(&self) -> Result<(), Unusable> {
        Ok(())
    }

    fn open(&self) -> Result<Arc<dyn ServerAuthenticator>, String> {
        let tokens = if self.filename.is_empty() {
            let own = self.own_tokens().iter();
            Tokens::Fixed(own.map(|token| Secret::new(token.expose())).collect())
        } else {
            let read = |text: &str| match lines(text) {
                tokens if tokens.is_empty() => Err("has no token".to_owned()),
                tokens => Ok(tokens),
            };
            Tokens::File(Watched::open(&self.filename, read)?)
        };
        let name = self.header_name()?;
        let missing = format!("the header `{name}` with a token is missing");
        let remedy = format!(
            "let clients send `{name}: {}TOKEN` with a token of the extension, as with \
             OTEL_EXPORTER_OTLP_HEADERS",
            self.prefix()
        );
        Ok(Arc::new(Bearers { name, prefix: self.prefix(), tokens, missing, remedy }))
    }
}

fn lines(text: &str) -> Vec<Secret> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new).collect()
}

enum Tokens {
    Fixed(Vec<Secret>),
    File(Watched<Vec<Secret>>),
}

/// Accepts requests with one of the tokens.
struct Bearers {
    name: HeaderName,
    prefix: String,
    tokens: Tokens,
    missing: String,
    remedy: String,
}

impl Bearers {
    async fn decide(&self, credentials: Credentials<'_>, now: Instant) -> Result<Identity, Denied> {
        let denied = |why: String| Err(Denied::Unauthenticated(why.into()));
        let Some(value) = credentials.value(self.name.as_str()) else {
            return denied(self.missing.clone());
        };
        let Some(token) = value.strip_prefix(self.prefix.as_bytes()) else {
            let expected = format!("{}TOKEN", self.prefix);
            return denied(format!("the header `{}` is not `{expected}`", self.name));
        };
        let is_known = match &self.tokens {
            Tokens::Fixed(tokens) => is_one_of(token, tokens),
            Tokens::File(file) => is_one_of(token, &file.at(now).await),
        };
        if is_known { Ok(Identity::new()) } else { denied("the token is not known".to_owned()) }
    }
}

/// Compares with each token, in a time that tells nothing of them but their length.
fn is_one_of(token: &[u8], tokens: &[Secret]) -> bool {
    let compared = tokens.iter().map(|known| token.ct_eq(known.expose().as_bytes()));
    compared.fold(Choice::from(0), |any, one| any | one).into()
}

impl ServerAuthenticator for Bearers {
    fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static("Bearer")
    }

    fn remedy(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.remedy)
    }

    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> Asked<'a, Result<Identity, Denied>> {
        Box::pin(self.decide(credentials, Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http::HeaderMap;

    use super::*;
    use crate::extensions::watched::LOOK_EVERY;

    async fn is_let_in(
        authenticator: &Bearers,
        header: &'static str,
        value: &str,
        now: Instant,
    ) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header, HeaderValue::try_from(value).unwrap());
        let credentials = Credentials { headers: &headers, parameters: &[], peer: None };
        authenticator.decide(credentials, now).await.is_ok()
    }

    fn open(config: &Config) -> Bearers {
        let tokens = match &*config.filename {
            "" => Tokens::Fixed(config.own_tokens().to_vec()),
            file => Tokens::File(Watched::open(file, |text| Ok(lines(text))).unwrap()),
        };
        let (name, prefix) = (config.header_name().unwrap(), config.prefix());
        Bearers { name, prefix, tokens, missing: String::new(), remedy: String::new() }
    }

    #[tokio::test]
    async fn any_of_the_tokens_is_taken_and_nothing_like_it() {
        let tokens = vec![Secret::new("one"), Secret::new("two")];
        let bearers = open(&Config { tokens, token: Secret::new("zero"), ..Config::default() });
        let now = Instant::now();
        for (value, expected) in [
            ("Bearer one", true),
            ("Bearer two", true),
            ("Bearer zero", false),
            ("bearer one", false),
            ("Bearer one ", false),
            ("Bearer on", false),
            ("Bearer ", false),
            ("one", false),
            ("", false),
        ] {
            assert_eq!(is_let_in(&bearers, "authorization", value, now).await, expected, "{value}");
        }
        let config = Config {
            header: "X-Key".to_owned(),
            scheme: String::new(),
            token: Secret::new("one"),
            ..Config::default()
        };
        let bearers = open(&config);
        assert!(is_let_in(&bearers, "x-key", "one", now).await);
        assert!(!is_let_in(&bearers, "authorization", "one", now).await);
        assert!(!is_let_in(&bearers, "x-key", "Bearer one", now).await);
    }

    #[tokio::test]
    async fn tokens_of_a_file_change_with_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\n\n  two  \r\n").unwrap();
        let filename = file.path().to_str().unwrap().to_owned();
        let bearers = open(&Config { filename, ..Config::default() });
        let start = Instant::now() + LOOK_EVERY;
        let is_known = async |token: &str, now| {
            is_let_in(&bearers, "authorization", &format!("Bearer {token}"), now).await
        };
        assert!(is_known("one", start).await && is_known("two", start).await);
        assert!(!is_known("", start).await && !is_known("three", start).await);
        file.write_all(b"three\n").unwrap();
        assert!(is_known("three", start + LOOK_EVERY).await);
    }

    #[test]
    fn a_file_without_tokens_lets_nobody_in() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b" \n\n").unwrap();
        let filename = file.path().to_str().unwrap().to_owned();
        let config = Config { filename, ..Config::default() };
        let error = ServerAuth::open(&config).map(drop).unwrap_err();
        assert!(error.contains("has no token"), "{error}");
    }
}
