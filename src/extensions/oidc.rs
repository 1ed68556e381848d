//! Lets clients send that have a token of an `OpenID` Connect issuer.
//!
//! ```yaml
//! oidc:
//!   providers:
//!     - issuer_url: https://issuer.example.com/realms/telemetry
//!       audience: otlp
//!       username_claim: email
//!       groups_claim: groups
//! ```
//!
//! A receiver's protocol names it with `auth: {authenticator: oidc}`. Clients send a JSON Web Token
//! in the header `attribute`: `Authorization: Bearer TOKEN`. The issuer of the token must be
//! `issuer_url`, exactly as written, and `audience` one of its audiences. Its signature must be one
//! of RSA (`RS256` to `RS512`, `PS256` to `PS512`), ECDSA (`ES256`, `ES384`) or `EdDSA`, by a key
//! of the issuer, and one of the kinds that the issuer names. Unsigned tokens and those with a
//! shared secret are refused. `exp` is required, `nbf` is honoured; the clocks may differ by a
//! minute. With several `providers` the issuer that the token names decides which one checks it.
//!
//! The keys are fetched from the issuer (`/.well-known/openid-configuration`) at the start, once an
//! hour, and when a token names a key that is not among them, but not more than once in ten
//! seconds. Until it is known that the issuer has no such key, the token is answered with 503,
//! after which clients send again, and not with 401, after which they drop their data.
//! `issuer_ca_path` is for issuers with a certificate of their own authority. With
//! `public_keys_file` nothing is fetched: the file is a JSON Web Key Set, a regular file of at most
//! 4 MiB, and is read again when it changes.
//!
//! Processors get with `from_context` the user as `auth.subject` (`username_claim`, by default
//! `sub`), the groups as `auth.membership` (several are joined by `;`), the token as `auth.raw`,
//! and every claim that is text as `auth.<claim>`.
//!
//! Differs from the Collector: while an issuer cannot be reached, requests get 503 and may come
//! again, and the process starts; `ES512` is not supported; keys are fetched again after an hour,
//! so that withdrawn ones end.

mod keys;
#[cfg(test)]
mod tests;
mod token;

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::{
    keys::{Keys, Remote},
    token::Rules,
};
use crate::{
    component::{
        Asked, BoxFuture, BuildContext, Credentials, Denied, Entry, Extension, ExtensionConfig,
        Identity, Passive, ServerAuth, ServerAuthenticator, StartError, Unusable,
    },
    config::{Node, Problems, source::check_file},
    net::{fetch, tls::ClientTls},
    otlp::Signal,
};

/// Checks tokens of `OpenID` Connect issuers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Header that holds the token, after a word such as `Bearer`.
    pub attribute: String,
    /// The issuers.
    pub providers: Vec<Provider>,
    /// Older form of `providers[].issuer_url`.
    pub issuer_url: String,
    /// Older form of `providers[].audience`.
    pub audience: String,
    /// Older form of `providers[].ignore_audience`.
    pub ignore_audience: bool,
    /// Older form of `providers[].issuer_ca_path`.
    pub issuer_ca_path: String,
    /// Older form of `providers[].username_claim`.
    pub username_claim: String,
    /// Older form of `providers[].groups_claim`.
    pub groups_claim: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            attribute: "authorization".to_owned(),
            providers: Vec::new(),
            issuer_url: String::new(),
            audience: String::new(),
            ignore_audience: false,
            issuer_ca_path: String::new(),
            username_claim: String::new(),
            groups_claim: String::new(),
        }
    }
}

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// URL of the issuer as its tokens name it. Required.
    pub issuer_url: String,
    /// Whom tokens must be for. Required unless `ignore_audience: true`.
    pub audience: String,
    /// Take tokens for anybody.
    pub ignore_audience: bool,
    /// Take tokens that name another issuer; with one provider only.
    pub ignore_issuer: bool,
    /// PEM file of the authority of the issuer's certificate, instead of the system's.
    pub issuer_ca_path: String,
    /// Claim with the name of the user; empty: `sub`. A token without it is refused.
    pub username_claim: String,
    /// Claim with the groups of the user; empty: none. A token without it is refused.
    pub groups_claim: String,
    /// File with the issuer's keys (JSON Web Key Set), which are then not fetched.
    pub public_keys_file: String,
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> =
    Entry::of::<Config>("oidc", &[], &Signal::ALL, include_str!("oidc.rs"));

impl Config {
    /// The issuer in the older form.
    fn older(&self) -> Option<Provider> {
        let provider = Provider {
            issuer_url: self.issuer_url.clone(),
            audience: self.audience.clone(),
            ignore_audience: self.ignore_audience,
            issuer_ca_path: self.issuer_ca_path.clone(),
            username_claim: self.username_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            ..Provider::default()
        };
        (provider != Provider::default()).then_some(provider)
    }

    /// All issuers.
    fn all(&self) -> Vec<Provider> {
        self.older().into_iter().chain(self.providers.iter().cloned()).collect()
    }
}

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let older = self.older();
        if let Some(provider) = &older {
            problems
                .warning(at, "an issuer is now an entry of `providers`")
                .help("write `providers: [{issuer_url: ..., audience: ...}]`; both forms work");
            provider.validate(at, problems);
        }
        if older.is_none() && self.providers.is_empty() {
            problems.error(at, "no provider is given").help(
                "add `providers: [{issuer_url: https://issuer.example.com, audience: otlp}]`",
            );
        }
        let mut issuers: HashSet<&str> = older.iter().map(|one| &*one.issuer_url).collect();
        let is_alone = self.all().len() == 1;
        for (i, provider) in self.providers.iter().enumerate() {
            let at = at.at(&format!("providers::{i}"));
            provider.validate(at, problems);
            if !issuers.insert(&provider.issuer_url) {
                problems.error(
                    at.at("issuer_url"),
                    format!("duplicate issuer URL found: {}", provider.issuer_url),
                );
            }
            if provider.ignore_issuer && !is_alone {
                problems
                    .error(at.at("ignore_issuer"), "`ignore_issuer` needs a single provider")
                    .help("with several, the issuer of a token says who checks it");
            }
        }
        if HeaderName::try_from(&self.attribute).is_err() {
            let message = format!("`{}` is not a header name", self.attribute);
            problems.error(at.at("attribute"), message);
        }
    }

    fn server_auth(&self) -> Option<Arc<dyn ServerAuth>> {
        Some(Arc::new(self.clone()))
    }

    fn build(&self, _cx: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        Ok(Box::new(Passive))
    }
}

impl Provider {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.issuer_url.is_empty() {
            problems
                .error(at, "no IssuerURL provided for the OIDC configuration")
                .help("add `issuer_url: https://...`, as the tokens of the issuer have it");
        } else if let Err(message) = fetch::parse(&self.issuer_url) {
            problems.error(at.at("issuer_url"), message);
        }
        for (key, file) in
            [("issuer_ca_path", &self.issuer_ca_path), ("public_keys_file", &self.public_keys_file)]
        {
            if !file.is_empty() {
                check_file(at.at(key), file, problems);
            }
        }
        if self.audience.is_empty() && !self.ignore_audience {
            problems.error(at, "no Audience provided for the OIDC configuration").help(
                "add `audience`, for whom the tokens are, or `ignore_audience: true` to take \
                 tokens that the issuer gave out for other services",
            );
        }
    }

    fn open(&self) -> Result<Issuer, String> {
        let keys = if self.public_keys_file.is_empty() {
            let ca_file = Some(self.issuer_ca_path.clone()).filter(|file| !file.is_empty());
            let tls = ClientTls { ca_file, ..ClientTls::default() };
            Keys::Remote(Arc::new(Remote::new(&self.issuer_url, self.ignore_issuer, tls)?))
        } else {
            Keys::of_file(&self.public_keys_file)?
        };
        Ok(Issuer { settings: self.clone(), rules: Rules::of(self), keys })
    }
}

impl ServerAuth for Config {
    fn check(&self) -> Result<(), Unusable> {
        Ok(())
    }

    fn open(&self) -> Result<Arc<dyn ServerAuthenticator>, String> {
        let issuers: Result<Vec<_>, _> = self.all().iter().map(Provider::open).collect();
        let remedy = format!(
            "let clients send a token of the issuer in the header `{}`, as `Bearer TOKEN`",
            self.attribute
        );
        Ok(Arc::new(Issuers { attribute: self.attribute.clone(), all: issuers?, remedy }))
    }
}

/// One issuer with its keys.
struct Issuer {
    settings: Provider,
    rules: Rules,
    keys: Keys,
}

/// Accepts requests with a token of one of the issuers.
struct Issuers {
    attribute: String,
    all: Vec<Issuer>,
    remedy: String,
}

fn denied(why: impl Into<Cow<'static, str>>) -> Denied {
    Denied::Unauthenticated(why.into())
}

impl Issuers {
    async fn decide(&self, credentials: Credentials<'_>) -> Result<Identity, Denied> {
        let value = credentials.value(&self.attribute);
        let value = value.ok_or_else(|| {
            denied(format!("the header `{}` with a token is missing", self.attribute))
        })?;
        let text = std::str::from_utf8(value).unwrap_or_default();
        let raw = match text.split(' ').collect::<Vec<_>>()[..] {
            [_, raw] if !raw.is_empty() => raw,
            _ => {
                let why = format!("the header `{}` is not `Bearer TOKEN`", self.attribute);
                return Err(denied(why));
            }
        };
        let issuer = self.issuer_of(raw)?;
        let claims = issuer.claims(raw).await?;
        issuer.identity(raw, claims)
    }

    /// The issuer that a token names; whether it is of that one is not known yet.
    fn issuer_of(&self, raw: &str) -> Result<&Issuer, Denied> {
        if let [issuer] = &self.all[..] {
            return Ok(issuer);
        }
        let named = token::unverified_issuer(raw).ok_or(denied("the token is malformed"))?;
        let mut issuers = self.all.iter();
        let found = issuers.find(|issuer| issuer.settings.issuer_url == named);
        found.ok_or(denied("the token is of an issuer that is not configured"))
    }
}

impl Issuer {
    /// The claims of a token that is valid.
    async fn claims(&self, raw: &str) -> Result<Map<String, Value>, Denied> {
        let wrong = |unusable: token::Wrong| denied(unusable.0);
        let unavailable = |keys::Unknown| {
            let why = "the keys of the issuer are not known yet; send the request again later";
            Denied::Unavailable(why.into())
        };
        let header = token::header(raw).map_err(wrong)?;
        let mut keys = self.keys.current().await.map_err(unavailable)?;
        if !keys.may_have(&header) {
            match self.keys.renewed(Arc::clone(&keys)).await {
                Ok(renewed) => keys = renewed,
                // The key is known, and has not made this kind of signature.
                Err(_) if keys.has_named(&header) => {}
                Err(unknown) => return Err(unavailable(unknown)),
            }
        }
        token::verify(raw, &header, &keys, &self.rules).map_err(wrong)
    }

    fn identity(&self, raw: &str, claims: Map<String, Value>) -> Result<Identity, Denied> {
        let Provider { username_claim, groups_claim, .. } = &self.settings;
        let name = if username_claim.is_empty() { "sub" } else { username_claim };
        let subject = match (claims.get(name), username_claim.is_empty()) {
            (Some(Value::String(subject)), _) => subject.clone(),
            (_, true) => String::new(),
            (Some(_), false) => return Err(denied("the claim with the user's name is no text")),
            (None, false) => return Err(denied("the claim with the user's name is missing")),
        };
        let membership = match claims.get(groups_claim) {
            _ if groups_claim.is_empty() => Vec::new(),
            None => return Err(denied("the claim with the groups is missing")),
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(groups)) => groups.iter().map(plain).collect(),
            Some(_) => Vec::new(),
        };
        let mut identity = vec![
            ("subject".to_owned(), vec![subject]),
            ("membership".to_owned(), membership),
            ("raw".to_owned(), vec![raw.to_owned()]),
        ];
        for (claim, value) in claims {
            if let Value::String(text) = value {
                identity.push((claim, vec![text]));
            }
        }
        Ok(identity)
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl ServerAuthenticator for Issuers {
    fn prepare(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(async move {
            for issuer in &self.all {
                // What fails is in the log, and is tried again with the first request.
                let _ = issuer.keys.current().await;
            }
        })
    }

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
        Box::pin(self.decide(credentials))
    }
}
