//! A user name and a password: sent with the requests of exporters, or asked for by receivers.
//!
//! ```yaml
//! basicauth/client:
//!   client_auth:
//!     username: skep
//!     password: ${env:OTLP_PASSWORD}
//! basicauth/server:
//!   htpasswd:
//!     file: /etc/skep/htpasswd
//!     inline: |
//!       ${env:OTLP_USER}:${env:OTLP_PASSWORD}
//! ```
//!
//! An exporter names the one with `client_auth` by `auth: {authenticator: basicauth/client}`;
//! `username_file` and `password_file` are read again when they change. A receiver's protocol names
//! the one with `htpasswd`, whose users are those of `file` and of `inline`, which wins; the file
//! is read again when it changes. Files must be regular files of at most 4 MiB.
//!
//! Passwords may be hashed as `htpasswd` does it (bcrypt, `$apr1$`, `{SHA}`), or as `{SSHA}`,
//! `$1$`, `$5$` or `$6$`; other text is a password in plain text. Hashes that take long are
//! computed on a few threads of their own, once for each client: a right password is remembered by
//! a keyed hash until the file changes. One sender has one comparison at a time, so that wrong
//! passwords keep no other client waiting; a request that waits for more than three seconds, or
//! behind 31 others of its sender, gets 503 and may come again. An unknown name takes as long as a
//! wrong password. Names and passwords longer than 256 bytes are refused where the hash takes long.
//!
//! Processors get `auth.username`, and the base64 text of both as `auth.raw`, with `from_context`.

use std::{borrow::Cow, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    htpasswd::{Checks, Users},
    secret_header::{SecretHeader, Source},
    watched::Watched,
};
use crate::{
    component::{
        Asked, Authenticator, BuildContext, ClientAuth, Credentials, Denied, Entry, Extension,
        ExtensionConfig, Identity, Passive, Protocol, ServerAuth, ServerAuthenticator, StartError,
        Unusable,
    },
    config::{Node, Problems, Secret, source::check_file, units::REDACTED},
    otlp::Signal,
};

/// Sends a user name and a password, or asks for them.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What exporters send.
    pub client_auth: Option<ClientPair>,
    /// Users whom receivers let in.
    pub htpasswd: Option<Htpasswd>,
}

/// `htpasswd`: users, one `name:hash` a line.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// Users as text; they win over those of the file.
    pub inline: Secret,
    /// File with users.
    pub file: String,
}

/// `client_auth`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientPair {
    /// Name.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// File with the name, instead of `username`.
    pub username_file: String,
    /// File with the password, instead of `password`.
    pub password_file: String,
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> =
    Entry::of::<Config>("basicauth", &[], &Signal::ALL, include_str!("basicauth.rs"));

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        match (&self.client_auth, &self.htpasswd) {
            (None, None) => {
                problems.error(at, "no credential source provided").help(
                    "for exporters add `client_auth: {username: NAME, password: ${env:PASSWORD}}`, \
                     for receivers `htpasswd: {file: /etc/skep/htpasswd}`",
                );
            }
            (Some(_), Some(_)) => {
                problems
                    .error(at, "only one of `htpasswd` or `client_auth` can be specified")
                    .help("define a second extension, `basicauth/client`, with `client_auth`");
            }
            (Some(pair), None) => pair.validate(at, problems),
            (None, Some(htpasswd)) => htpasswd.validate(at, problems),
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

impl ClientPair {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.username.is_empty() && self.username_file.is_empty() {
            problems
                .error(at.at("client_auth"), "no user name is given")
                .help("add `client_auth: {username: NAME, password: ${env:PASSWORD}}`");
        }
        for (key, file) in
            [("username_file", &self.username_file), ("password_file", &self.password_file)]
        {
            if !file.is_empty() {
                check_file(at.at(&format!("client_auth::{key}")), file, problems);
            }
        }
        if self.username.contains(':') {
            problems
                .error(at.at("client_auth::username"), "a user name with a colon cannot be sent")
                .help("what follows the colon would belong to the password");
        }
    }
}

impl Htpasswd {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.file.is_empty() && self.inline.expose().is_empty() {
            problems
                .error(at.at("htpasswd"), "no credential source provided")
                .help("add `file`, or users as text in `inline`");
        }
        if !self.file.is_empty() {
            check_file(at.at("htpasswd::file"), &self.file, problems);
        }
        if self.inline.expose().trim() == REDACTED {
            // What `print-config` shows. The document warns of it.
            return;
        }
        let (users, unusable) = Users::read(self.inline.expose());
        for (line, why) in &unusable.first {
            problems
                .warning(
                    at.at("htpasswd::inline"),
                    format!("line {line} of `inline` {why} and is left out"),
                )
                .help("write `name:hash`, as `htpasswd -nB NAME` prints it");
        }
        let more = unusable.count - unusable.first.len();
        if more > 0 {
            let message = format!("{more} more lines of `inline` cannot be used");
            problems.warning(at.at("htpasswd::inline"), message);
        }
        if self.file.is_empty() && !self.inline.expose().is_empty() && users.is_empty() {
            problems.error(at.at("htpasswd::inline"), "`inline` has no user");
        }
    }
}

impl ClientAuth for Config {
    fn check(&self, _protocol: Protocol, _url: &str) -> Result<(), Unusable> {
        match self.client_auth {
            Some(_) => Ok(()),
            None => Err(Unusable {
                message: "this extension has no `client_auth`, which exporters need".to_owned(),
                help: "define another `basicauth/client` with `client_auth`".to_owned(),
            }),
        }
    }

    fn open(&self, _exporter: &str, _url: &Uri) -> Result<Arc<dyn Authenticator>, String> {
        let pair = self.client_auth.clone().unwrap_or_default();
        let sources = Arc::new([
            Source::new(&Secret::new(&pair.username), &pair.username_file),
            Source::new(&pair.password, &pair.password_file),
        ]);
        let make = Box::new(|secrets: &[Secret]| {
            let parts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
            format!("Basic {}", STANDARD.encode(parts.join(":")))
        });
        Ok(Arc::new(SecretHeader { name: header::AUTHORIZATION, sources, make }))
    }
}

impl ServerAuth for Config {
    fn check(&self) -> Result<(), Unusable> {
        match self.htpasswd {
            Some(_) => Ok(()),
            None => Err(Unusable {
                message: "this extension has no `htpasswd`, which receivers need".to_owned(),
                help: "define another `basicauth/server` with `htpasswd`".to_owned(),
            }),
        }
    }

    fn open(&self) -> Result<Arc<dyn ServerAuthenticator>, String> {
        let Htpasswd { inline, file } = self.htpasswd.clone().unwrap_or_default();
        let users = if file.is_empty() {
            Origin::Text(Users::read(inline.expose()).0)
        } else {
            let name = file.clone();
            Origin::File(Watched::open(&file, move |text| {
                let (users, unusable) = Users::read(text);
                if unusable.count > 0 {
                    tracing::warn!(
                        file = name,
                        lines = unusable.count,
                        "lines that cannot be used are left out: {}",
                        unusable.in_words()
                    );
                }
                let users = users.and(Users::read(inline.expose()).0);
                if users.is_empty() { Err("has no user".to_owned()) } else { Ok(users) }
            })?)
        };
        Ok(Arc::new(Guests { users, checks: Checks::new()? }))
    }
}

/// Where users come from.
enum Origin {
    Text(Users),
    File(Watched<Users>),
}

/// Accepts requests with the password of a user.
struct Guests {
    users: Origin,
    checks: Checks,
}

/// What a client sent.
struct Pair<'a> {
    username: String,
    password: String,
    raw: &'a str,
}

/// Reads `Basic` and the base64 text of both (RFC 7617).
fn pair(value: &[u8]) -> Result<Pair<'_>, &'static str> {
    let malformed = "the header `authorization` is malformed";
    let text = std::str::from_utf8(value).map_err(|_| malformed)?;
    let scheme = text.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("basic "));
    let (Some(_), Some(raw)) = (scheme, text.get(6..)) else {
        return Err("the header `authorization` is not `Basic BASE64`");
    };
    let decoded = STANDARD.decode(raw).map_err(|_| malformed)?;
    let decoded = String::from_utf8(decoded).map_err(|_| malformed)?;
    let (username, password) = decoded.split_once(':').ok_or(malformed)?;
    Ok(Pair { username: username.to_owned(), password: password.to_owned(), raw })
}

impl Guests {
    async fn decide(&self, credentials: Credentials<'_>) -> Result<Identity, Denied> {
        let denied = |why: &'static str| Denied::Unauthenticated(Cow::Borrowed(why));
        let value = credentials.value("authorization");
        let value = value.ok_or(denied("the header `authorization` is missing"))?;
        let Pair { username, password, raw } = pair(value).map_err(denied)?;
        let peer = credentials.peer;
        let is_right = match &self.users {
            Origin::Text(users) => self.checks.is_right(users, &username, &password, peer).await?,
            Origin::File(file) => {
                let users = file.at(Instant::now()).await;
                self.checks.is_right(&users, &username, &password, peer).await?
            }
        };
        if !is_right {
            return Err(denied("the user name or the password is wrong"));
        }
        let raw = vec![raw.to_owned()];
        Ok(vec![("username".to_owned(), vec![username]), ("raw".to_owned(), raw)])
    }
}

impl ServerAuthenticator for Guests {
    fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static("Basic realm=\"otlp\", charset=\"UTF-8\"")
    }

    fn remedy(&self) -> Cow<'_, str> {
        Cow::Borrowed(
            "let clients send the name and password of a user, as with \
             OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20BASE64",
        )
    }

    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> Asked<'a, Result<Identity, Denied>> {
        Box::pin(self.decide(credentials))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn server(inline: &str) -> Arc<dyn ServerAuthenticator> {
        let htpasswd = Some(Htpasswd { inline: Secret::new(inline), file: String::new() });
        ServerAuth::open(&Config { htpasswd, ..Config::default() }).unwrap()
    }

    async fn ask(server: &dyn ServerAuthenticator, value: &str) -> Result<Identity, Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(value).unwrap());
        let credentials = Credentials { headers: &headers, parameters: &[], peer: None };
        server.authenticate(credentials).await
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[tokio::test]
    async fn users_are_let_in_and_known_by_name() {
        let hash = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";
        let server = server(&format!("ann:pass:word\nbob:{hash}\n"));
        let identity = ask(&*server, &basic("ann:pass:word")).await.unwrap();
        let expected = [("username", "ann"), ("raw", &STANDARD.encode("ann:pass:word"))];
        let expected = expected.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        assert_eq!(identity, expected);
        assert!(ask(&*server, &basic("bob:myPassword").replace("Basic", "bAsIc")).await.is_ok());
        let values = [
            basic("ann:pass"),
            basic("bob:wrong"),
            basic("eve:pass:word"),
            basic("ann"),
            basic(""),
            "Basic".to_owned(),
            "Basic !".to_owned(),
            basic("ann:pass:word").replace("Basic", "Bearer"),
        ];
        for value in values {
            let denied = ask(&*server, &value).await.unwrap_err();
            assert!(matches!(denied, Denied::Unauthenticated(_)), "{value}: {denied:?}");
        }
    }

    #[test]
    fn what_print_config_shows_is_no_mistake() {
        let problems = |inline: &str| {
            let text = format!("htpasswd: {{inline: '{inline}'}}");
            let node = crate::config::yaml::parse(0, &text).unwrap();
            let mut problems = Problems::default();
            let config = crate::config::decode::<Config>(&node, &mut problems).unwrap();
            config.validate(&node, &mut problems);
            problems.0.len()
        };
        assert_eq!(problems(REDACTED), 0);
        assert_eq!(problems("ann:one"), 0);
        assert_eq!(problems("[REDACTE]"), 2);
    }

    #[test]
    fn the_users_of_inline_win_over_those_of_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ann:one\nbob:one\n").unwrap();
        let htpasswd = Some(Htpasswd {
            inline: Secret::new("ann:two"),
            file: file.path().to_str().unwrap().to_owned(),
        });
        let server = ServerAuth::open(&Config { htpasswd, ..Config::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let is_in = |pair: &str| runtime.block_on(ask(&*server, &basic(pair))).is_ok();
        assert!(is_in("ann:two") && is_in("bob:one"));
        assert!(!is_in("ann:one") && !is_in("bob:two"));
    }
}
