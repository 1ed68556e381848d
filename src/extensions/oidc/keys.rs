//! The keys of an issuer: from a file, or fetched and kept.
//!
//! One fetch runs at a time, as a task of its own: a client that goes away does not end it. The
//! requests that need its result wait for three seconds at most, and so do no more than 256 of
//! them; the others are told to come again.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::super::watched::Watched;
use crate::net::{fetch, rate_limit::RateLimit, tls::ClientTls};
use crate::sync::lock;

/// How long keys are used before they are fetched again.
const FRESH: Duration = Duration::from_hours(1);
/// Shortest time between fetches for tokens with unknown keys: anybody can send such tokens.
const UNKNOWN_EVERY: Duration = Duration::from_secs(10);
/// Shortest time between an attempt that failed and the next.
const FAILED_EVERY: Duration = Duration::from_secs(1);
/// Longest wait of a request for a fetch.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most requests that wait for a fetch.
const MOST_WAITING: usize = 256;

/// The keys of an issuer at one time.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Algorithms that the issuer says it signs with; `None` means those of its keys.
    algorithms: Option<Vec<Algorithm>>,
    /// Whether keys are taken whatever id a token names: those of a file.
    ignores_ids: bool,
}

/// One key.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl Key {
    /// Reads a key; `None` if it is for something else, or of a kind that is not supported.
    fn read(value: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(value).ok()?;
        if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
            return None;
        }
        let of_kind: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            // A secret that both sides have does not belong among public keys.
            _ => return None,
        };
        let own = jwk.common.key_algorithm.and_then(|name| name.to_string().parse().ok());
        let algorithms = match own {
            Some(own) if of_kind.contains(&own) => vec![own],
            Some(_) => return None,
            None => of_kind.to_vec(),
        };
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Key { id: jwk.common.key_id, algorithms, decoding })
    }
}

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517). Keys that cannot be used are left out.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let set: Value =
            serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
        let Some(Value::Array(all)) = set.get("keys") else {
            return Err("is not a key set: it has no list `keys`".to_owned());
        };
        let keys: Vec<Key> = all.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("has no key of RSA, of the curves P-256 or P-384, or of Ed25519 that \
                        signatures are checked with"
                .to_owned());
        }
        Ok(KeySet { keys, ..KeySet::default() })
    }

    /// Keys that may have signed a token with this header.
    pub(super) fn candidates(&self, header: &Header) -> impl Iterator<Item = &DecodingKey> {
        let is_named = |key: &Key| match &header.kid {
            Some(id) if !self.ignores_ids => key.id.as_ref() == Some(id),
            _ => true,
        };
        let is_used = self.algorithms.as_ref().is_none_or(|all| all.contains(&header.alg));
        let keys = self.keys.iter().filter(move |_| is_used);
        let keys = keys.filter(move |key| is_named(key) && key.algorithms.contains(&header.alg));
        keys.map(|key| &key.decoding)
    }

    /// Whether a key may have signed a token with this header.
    pub(super) fn may_have(&self, header: &Header) -> bool {
        self.candidates(header).next().is_some()
    }

    /// Whether there is a key with the id that a header names.
    pub(super) fn has_named(&self, header: &Header) -> bool {
        header.kid.is_some() && self.keys.iter().any(|key| key.id == header.kid)
    }
}

/// Where keys come from.
pub(super) enum Keys {
    File(Watched<KeySet>),
    Remote(Arc<Remote>),
}

impl Keys {
    /// Keys of a file, which must be there.
    pub(super) fn of_file(file: &str) -> Result<Self, String> {
        let read = |text: &str| {
            KeySet::read(text.as_bytes()).map(|keys| KeySet { ignores_ids: true, ..keys })
        };
        Watched::open(file, read).map(Keys::File)
    }

    /// The keys now.
    pub(super) async fn current(&self) -> Result<Arc<KeySet>, Unknown> {
        match self {
            Keys::File(file) => Ok(file.at(std::time::Instant::now()).await),
            Keys::Remote(remote) => remote.current().await,
        }
    }

    /// The keys after `old`, which lack the key of some token.
    pub(super) async fn renewed(&self, old: Arc<KeySet>) -> Result<Arc<KeySet>, Unknown> {
        match self {
            Keys::File(_) => Ok(old),
            Keys::Remote(remote) => remote.renewed(&old).await,
        }
    }
}

/// The keys of the issuer are not known, or not those of now. The log says why.
#[derive(Debug)]
pub(super) struct Unknown;

/// Keys that are fetched.
pub(super) struct Remote {
    issuer: String,
    ignores_issuer: bool,
    tls: ClientTls,
    state: Mutex<State>,
    /// Whether they are being fetched.
    fetching: watch::Sender<bool>,
    /// For requests that wait for it.
    places: Semaphore,
    told: RateLimit,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When the keys were fetched.
    fetched: Option<Instant>,
    /// When fetching failed last, since the last success.
    failed: Option<Instant>,
    /// When keys were fetched last because a token had an unknown one.
    unknown: Option<Instant>,
}

impl State {
    /// Keys that are not too old.
    fn fresh(&self) -> Option<Arc<KeySet>> {
        let is_fresh = self.fetched.is_some_and(|since| since.elapsed() < FRESH);
        self.keys.clone().filter(|_| is_fresh)
    }

    /// Keys other than `old`.
    fn other(&self, old: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        self.keys.clone().filter(|keys| !Arc::ptr_eq(keys, old))
    }

    fn has_failed_lately(&self) -> bool {
        self.failed.is_some_and(|since| since.elapsed() < FAILED_EVERY)
    }
}

/// Ends with a fetch, however it ends.
struct Fetching(Arc<Remote>);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.fetching.send_replace(false);
    }
}

/// What an issuer says of itself (`OpenID` Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
}

impl Remote {
    /// Nothing is fetched yet. Fails where the file of the authority cannot be read.
    pub(super) fn new(issuer: &str, ignores_issuer: bool, tls: ClientTls) -> Result<Self, String> {
        crate::net::tls::Connector::new(tls.clone(), &[b"http/1.1"])?;
        Ok(Remote {
            issuer: issuer.to_owned(),
            ignores_issuer,
            tls,
            state: Mutex::default(),
            fetching: watch::Sender::new(false),
            places: Semaphore::new(MOST_WAITING),
            told: RateLimit::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    async fn current(self: &Arc<Self>) -> Result<Arc<KeySet>, Unknown> {
        if let Some(keys) = self.state().fresh() {
            return Ok(keys);
        }
        let has_begun = self.begin(|state| state.fresh().is_none() && !state.has_failed_lately());
        // With old keys no request waits for a fetch by another one.
        if has_begun || self.state().keys.is_none() {
            self.fetched().await?;
        }
        self.state().keys.clone().ok_or(Unknown)
    }

    /// Keys other than `old`, or `old` where they have just been fetched and are the same. An error
    /// where that is not to be found out now: the key of the token may be a new one.
    async fn renewed(self: &Arc<Self>, old: &Arc<KeySet>) -> Result<Arc<KeySet>, Unknown> {
        if let Some(keys) = self.state().other(old) {
            return Ok(keys);
        }
        let has_begun = self.begin(|state| {
            let is_late = state.unknown.is_none_or(|since| since.elapsed() >= UNKNOWN_EVERY);
            let may = match state.failed {
                Some(_) => !state.has_failed_lately(),
                None => is_late && state.other(old).is_none(),
            };
            if may {
                state.unknown = Some(Instant::now());
            }
            may
        });
        if has_begun || *self.fetching.borrow() {
            self.fetched().await?;
        }
        self.state().other(old).ok_or(Unknown)
    }

    /// Begins to fetch where nobody does and `may` says so; whether it has begun.
    fn begin(self: &Arc<Self>, may: impl FnOnce(&mut State) -> bool) -> bool {
        let begins = self.fetching.send_if_modified(|is_fetching| {
            let begins = !*is_fetching && may(&mut self.state());
            *is_fetching |= begins;
            begins
        });
        if begins {
            let fetching = Fetching(Arc::clone(self));
            // It ends with the time limits of its two requests.
            tokio::spawn(async move { fetching.0.fetch().await });
        }
        begins
    }

    /// Waits for the end of a fetch, if one runs.
    async fn fetched(&self) -> Result<(), Unknown> {
        let _place = self.places.try_acquire().map_err(|_| Unknown)?;
        let mut fetching = self.fetching.subscribe();
        let ended = tokio::time::timeout(PATIENCE, fetching.wait_for(|is_fetching| !is_fetching));
        ended.await.map_err(|_| Unknown)?.map(drop).map_err(|_| Unknown)
    }

    /// Fetches the keys. If that fails the old ones stay.
    async fn fetch(&self) {
        let fetched = self.ask().await;
        let mut state = self.state();
        match fetched {
            Ok(keys) => {
                tracing::info!(
                    issuer = self.issuer,
                    keys = keys.keys.len(),
                    "fetched the keys of an issuer"
                );
                *state = State {
                    keys: Some(Arc::new(keys)),
                    fetched: Some(Instant::now()),
                    failed: None,
                    unknown: state.unknown,
                };
            }
            Err(error) => {
                state.failed = Some(Instant::now());
                if self.told.is_due() {
                    let effect = match state.keys {
                        Some(_) => "the keys from before stay in use",
                        None => "requests with its tokens are answered with 503 until it can be",
                    };
                    tracing::warn!(
                        issuer = self.issuer,
                        "the keys of the issuer cannot be fetched: {error:.600}; {effect}"
                    );
                }
            }
        }
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let base = self.issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let text = fetch::get(&url, &self.tls).await?;
        let about: Discovery = serde_json::from_slice(&text)
            .map_err(|error| format!("`{url}` does not describe an issuer: {error}"))?;
        if about.issuer != self.issuer && !self.ignores_issuer {
            return Err(format!(
                "the issuer calls itself `{:.200}`; write that as `issuer_url`",
                about.issuer
            ));
        }
        if self.issuer.starts_with("https:") && !about.jwks_uri.starts_with("https:") {
            return Err(format!("its keys are at `{:.200}`, without TLS", about.jwks_uri));
        }
        let text = fetch::get(&about.jwks_uri, &self.tls).await?;
        let keys =
            KeySet::read(&text).map_err(|error| format!("`{:.200}` {error}", about.jwks_uri))?;
        let named = about.id_token_signing_alg_values_supported.iter();
        let named: Vec<Algorithm> = named
            .filter_map(|name| name.parse().ok())
            .filter(|algorithm: &Algorithm| algorithm.family() != AlgorithmFamily::Hmac)
            .collect();
        let algorithms = Some(named).filter(|named| !named.is_empty());
        Ok(KeySet { algorithms, ..keys })
    }
}
