//! TLS of servers: certificates from files or text, client certificates, reload while running.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    version::TLS12,
};
use schemars::JsonSchema;
use serde::{Deserialize, de::IgnoredAny};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    reload::{Reloading, Renewal},
    trust::ClientTrust,
};
use crate::config::{Fixed, Ignored, Node, Problems, Secret, given, source::check_file};

/// `tls` of a receiver.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// PEM file of the server's certificate, followed by those of its authorities.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub cert_file: Option<String>,
    /// The certificates as text, instead of `cert_file`.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub cert_pem: Option<String>,
    /// PEM file of the private key of the server.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub key_file: Option<String>,
    /// The private key as text, instead of `key_file`.
    pub key_pem: Option<Secret>,
    /// PEM file of the authorities of clients, or of the clients' certificates themselves. If it is
    /// set, every client needs a certificate.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub client_ca_file: Option<String>,
    /// Read `client_ca_file` again when it changes.
    pub client_ca_file_reload: bool,
    /// How often certificate and key are checked, and read again if they have changed; 0: only at a
    /// start and a reload.
    pub reload_interval: Renewal,
    /// Lowest version: `1.2` or `1.3`.
    pub min_version: Option<String>,
    /// Highest version: `1.2` or `1.3`.
    pub max_version: Option<String>,
    /// Cipher suites of TLS 1.2 by name; all that the library offers if it is empty.
    pub cipher_suites: Vec<String>,
    /// Key exchange groups, preferred first: `X25519`, `P256`, `P384`.
    pub curve_preferences: Vec<String>,
    /// Has no effect: only clients use it. Instead: name the authorities of clients in
    /// `client_ca_file`.
    pub ca_file: Ignored<String>,
    /// Has no effect: only clients use it. Instead: name the authorities of clients in
    /// `client_ca_file`.
    pub ca_pem: Ignored<String>,
    /// Has no effect: only clients use it. Instead: name the authorities of clients in
    /// `client_ca_file`.
    pub include_system_ca_certs_pool: Fixed<false>,
    /// Has no effect: the TLS library has no insecure suites.
    pub include_insecure_cipher_suites: Fixed<false>,
    /// Keys in a TPM are not supported.
    #[schemars(with = "serde_json::Value")]
    pub tpm: Option<IgnoredAny>,
}

impl ServerTls {
    /// Checks everything but the content of files. `at` is the section.
    pub fn validate(&self, at: &Node, problems: &mut Problems) {
        for (file, pem, has_file, has_pem) in [
            ("cert_file", "cert_pem", self.cert_file.is_some(), self.cert_pem.is_some()),
            ("key_file", "key_pem", self.key_file.is_some(), self.key_pem.is_some()),
        ] {
            if has_file && has_pem {
                problems.error(at.at(pem), format!("`{file}` and `{pem}` exclude each other"));
            } else if !has_file && !has_pem {
                problems
                    .error(at, format!("a TLS server needs `{file}` or `{pem}`"))
                    .help("add `cert_file` and `key_file`, or remove `tls` for plaintext");
            }
        }
        for (key, file) in [
            ("cert_file", &self.cert_file),
            ("key_file", &self.key_file),
            ("client_ca_file", &self.client_ca_file),
        ] {
            if let Some(file) = file {
                check_file(at.at(key), file, problems);
            }
        }
        for (key, version) in
            [("min_version", &self.min_version), ("max_version", &self.max_version)]
        {
            super::validate_version(key, version.as_deref(), at, problems);
        }
        let (min, max) = (self.min_version.as_deref(), self.max_version.as_deref());
        super::validate_order(min, max, at, problems);
        if let Err(message) = self.provider() {
            let key = if message.contains("group") { "curve_preferences" } else { "cipher_suites" };
            problems.error(at.at(key), message);
        }
        if self.tpm.is_some() {
            problems
                .error(at.at("tpm"), "keys in a TPM are not supported")
                .help("put the key into a file and name it in `key_file`");
        }
    }

    /// The library's provider with the configured suites and groups.
    fn provider(&self) -> Result<Arc<CryptoProvider>, String> {
        let all = super::provider();
        if self.cipher_suites.is_empty() && self.curve_preferences.is_empty() {
            return Ok(all);
        }
        let mut provider = (*all).clone();
        if !self.cipher_suites.is_empty() {
            // As in Go, the suites of TLS 1.3 cannot be chosen.
            let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
            let of_12 = |suite: &rustls::SupportedCipherSuite| suite.version() == &TLS12;
            for wanted in &self.cipher_suites {
                let is_13 = wanted.starts_with("TLS_AES") || wanted.starts_with("TLS_CHACHA20");
                if !is_13 && !provider.cipher_suites.iter().any(|suite| name(suite) == *wanted) {
                    let valid: Vec<_> =
                        provider.cipher_suites.iter().filter(|s| of_12(s)).map(name).collect();
                    let valid = valid.join(", ");
                    return Err(format!("`{wanted}` is not a cipher suite; valid: {valid}"));
                }
            }
            provider
                .cipher_suites
                .retain(|suite| !of_12(suite) || self.cipher_suites.contains(&name(suite)));
        }
        if !self.curve_preferences.is_empty() {
            let mut groups = Vec::new();
            for wanted in &self.curve_preferences {
                let library = match wanted.as_str() {
                    "P256" => "secp256r1",
                    "P384" => "secp384r1",
                    other => other,
                };
                let found = provider
                    .kx_groups
                    .iter()
                    .find(|group| format!("{:?}", group.name()).eq_ignore_ascii_case(library));
                let unknown = || format!("`{wanted}` is not a group; valid: X25519, P256, P384");
                groups.push(*found.ok_or_else(unknown)?);
            }
            provider.kx_groups = groups;
        }
        Ok(Arc::new(provider))
    }

    fn build(&self) -> Result<Arc<ServerConfig>, String> {
        let provider = self.provider()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&super::versions(
                self.min_version.as_deref(),
                self.max_version.as_deref(),
            ))
            .map_err(|error| format!("`min_version` is above `max_version`: {error}"))?;
        let builder = match self.client_ca_file.as_deref() {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let verifier = ClientTrust::new(super::certificates(file)?, provider)
                    .map_err(|error| format!("`{file}` is no authority: {error}"))?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let (certificates, key) = (self.certificates()?, self.key()?);
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|error| format!("the server's certificate and key do not match: {error}"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        match (&self.cert_file, &self.cert_pem) {
            (Some(file), _) => super::certificates(file),
            (None, pem) => {
                super::certificates_of("cert_pem", pem.as_deref().unwrap_or_default().as_bytes())
            }
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        match (&self.key_file, &self.key_pem) {
            (Some(file), _) => super::private_key(file),
            (None, pem) => {
                let pem = pem.as_ref().map(Secret::expose).unwrap_or_default();
                super::private_key_of("key_pem", pem.as_bytes())
            }
        }
    }

    /// How often the files are checked; `None` means never.
    fn interval(&self) -> Option<Duration> {
        let watch = self.client_ca_file_reload.then_some(Duration::from_secs(1));
        watch.into_iter().chain(self.reload_interval.interval()).min()
    }
}

/// Gives each handshake the current settings.
#[derive(Debug)]
pub struct Acceptor {
    settings: ServerTls,
    config: Reloading<ServerConfig>,
    /// Lets handshakes sign in turn.
    turn: Mutex<()>,
}

impl Acceptor {
    /// Reads the files; the error says which one is wrong.
    pub fn new(settings: ServerTls) -> Result<Self, String> {
        let files = [&settings.cert_file, &settings.key_file, &settings.client_ca_file];
        let config = Reloading::new(settings.interval(), files, || settings.build())?;
        Ok(Acceptor { settings, config, turn: Mutex::default() })
    }

    /// Does one handshake. The value of `works` is held while the client waits for the signature.
    ///
    /// Each hello of a client costs a signature, which takes a millisecond and more with an RSA
    /// key. So handshakes take turns, and between two of them all other tasks run. Before, 600
    /// clients that sent only a hello held up a plaintext port for 12 s.
    pub async fn accept<T, W>(
        &self,
        stream: T,
        works: impl FnOnce() -> W,
    ) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let working = works();
        let turn = self.turn.lock().await;
        let config = self.config.at(Instant::now(), || self.settings.build());
        let handshake = hello.into_stream(config);
        tokio::task::yield_now().await;
        drop((turn, working));
        handshake.await
    }
}
