//! TLS on rustls with ring: clients here, servers in `tls/server.rs`.
//!
//! Differs from the Collector: by default files are checked for changes once a minute
//! (`tls/reload.rs`); the Collector reads them once.

mod reload;
pub(super) mod remedy;
mod server;
mod trust;
mod x509;

use std::{
    borrow::Cow,
    fs, io,
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use schemars::JsonSchema;
use serde::{Deserialize, de::IgnoredAny};

use tokio_rustls::TlsConnector;

use self::{
    reload::Reloading,
    trust::{Named, ServerTrust},
};
use crate::{
    config::{Fixed, Ignored, Node, Problems, Secret, given, source::check_file},
    sync,
};

pub use reload::{Renewal, look_again};
pub use server::{Acceptor, ServerTls};

/// `tls` of an exporter.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Speak plaintext. Has no meaning for an `https://` endpoint.
    pub insecure: bool,
    /// Speak TLS, but accept any certificate.
    pub insecure_skip_verify: bool,
    /// PEM file of the authorities, or of the servers' certificates themselves, to trust instead of
    /// the system's.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub ca_file: Option<String>,
    /// Trust the system's authorities besides `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// PEM file of the client's certificate, for mutual TLS.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub cert_file: Option<String>,
    /// PEM file of its key.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub key_file: Option<String>,
    /// Name that the server's certificate must have, if it is not the endpoint's host.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub server_name_override: Option<String>,
    /// The authorities as text, instead of `ca_file`.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub ca_pem: Option<String>,
    /// The client's certificate as text, instead of `cert_file`.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    pub cert_pem: Option<String>,
    /// Its key as text, instead of `key_file`.
    pub key_pem: Option<Secret>,
    /// Lowest version: `1.2` or `1.3`.
    pub min_version: Option<String>,
    /// Highest version: `1.2` or `1.3`.
    pub max_version: Option<String>,
    /// How often the files are checked; 0: only at a start and a reload.
    pub reload_interval: Renewal,
    /// Has no effect: the suites of the TLS library are used.
    pub cipher_suites: Ignored<Vec<String>>,
    /// Has no effect: the groups of the TLS library are used.
    pub curve_preferences: Ignored<Vec<String>>,
    /// Has no effect: the TLS library has no insecure suites.
    pub include_insecure_cipher_suites: Fixed<false>,
    /// Keys in a TPM are not supported.
    #[schemars(with = "serde_json::Value")]
    pub tpm: Option<IgnoredAny>,
}

impl ClientTls {
    /// Checks everything but the content of files. `at` is the section.
    pub fn validate(&self, at: &Node, problems: &mut Problems) {
        for (file, pem, has_both) in [
            ("ca_file", "ca_pem", self.ca_file.is_some() && self.ca_pem.is_some()),
            ("cert_file", "cert_pem", self.cert_file.is_some() && self.cert_pem.is_some()),
            ("key_file", "key_pem", self.key_file.is_some() && self.key_pem.is_some()),
        ] {
            if has_both {
                problems.error(at.at(pem), format!("`{file}` and `{pem}` exclude each other"));
            }
        }
        for (key, file) in [
            ("ca_file", &self.ca_file),
            ("cert_file", &self.cert_file),
            ("key_file", &self.key_file),
        ] {
            if let Some(file) = file {
                check_file(at.at(key), file, problems);
            }
        }
        let has_certificate = self.cert_file.is_some() || self.cert_pem.is_some();
        let has_key = self.key_file.is_some() || self.key_pem.is_some();
        if has_certificate != has_key {
            problems
                .error(at, "a client certificate and its key go together")
                .help("set both `cert_file` and `key_file`, or neither");
        }
        for (key, version) in
            [("min_version", &self.min_version), ("max_version", &self.max_version)]
        {
            validate_version(key, version.as_deref(), at, problems);
        }
        validate_order(self.min_version.as_deref(), self.max_version.as_deref(), at, problems);
        if self.tpm.is_some() {
            problems
                .error(at.at("tpm"), "keys in a TPM are not supported")
                .help("put the key into a file and name it in `key_file`");
        }
    }

    fn build(&self, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions(
                self.min_version.as_deref(),
                self.max_version.as_deref(),
            ))
            .map_err(|error| format!("`min_version` is above `max_version`: {error}"))?;
        let trust = if self.insecure_skip_verify {
            ServerTrust::any(&provider())
        } else {
            ServerTrust::new(self.authorities()?, provider())
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(trust));
        let certificate = match (&self.cert_file, &self.cert_pem) {
            (Some(file), _) => Some(certificates(file)?),
            (None, Some(pem)) => Some(certificates_of("cert_pem", pem.as_bytes())?),
            (None, None) => None,
        };
        let key = match (&self.key_file, &self.key_pem) {
            (Some(file), _) => Some(private_key(file)?),
            (None, Some(pem)) => Some(private_key_of("key_pem", pem.expose().as_bytes())?),
            (None, None) => None,
        };
        let mut config = match (certificate, key) {
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(certificate, key)
                .map_err(|error| format!("the client certificate is unusable: {error}"))?,
            (None, None) => builder.with_no_client_auth(),
            _ => return Err("a client certificate and its key go together".to_owned()),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn authorities(&self) -> Result<Authorities, String> {
        let (name, pem) = match (&self.ca_file, &self.ca_pem) {
            (Some(file), _) => (&**file, Cow::Owned(read(file)?)),
            (None, Some(pem)) => ("ca_pem", Cow::Borrowed(pem.as_bytes())),
            (None, None) => return Ok(system_authorities()),
        };
        Authorities::new(name, &pem, self.include_system_ca_certs_pool)
    }
}

/// The certificates that a client trusts. Cheap to clone.
#[derive(Debug, Clone)]
struct Authorities {
    roots: Arc<RootCertStore>,
    named: Arc<Named>,
}

/// Whether the system's authorities are included, and the SHA-256 of the PEM text.
type AuthoritiesKey = (bool, [u8; 32]);

impl Authorities {
    /// The authorities in `pem`, with the system's if `has_system`. The last result is cached,
    /// because exporters usually share a file: 140 certificates take 16 ms in a debug build, and
    /// 150 KB.
    fn new(name: &str, pem: &[u8], has_system: bool) -> Result<Self, String> {
        static LAST: Mutex<Option<(AuthoritiesKey, Authorities)>> = Mutex::new(None);
        let key = (has_system, trust::hash(pem));
        let mut last = sync::lock(&LAST);
        if let Some((_, known)) = last.as_ref().filter(|(of, _)| *of == key) {
            return Ok(known.clone());
        }
        let read = Self::read(name, pem, has_system)?;
        *last = Some((key, read.clone()));
        Ok(read)
    }

    fn read(name: &str, pem: &[u8], has_system: bool) -> Result<Self, String> {
        let (mut roots, mut named) = (RootCertStore::empty(), Named::default());
        if has_system {
            let of_system = system_authorities();
            roots = RootCertStore::clone(&of_system.roots);
            named = Named::clone(&of_system.named);
        }
        for certificate in certificates_of(name, pem)? {
            named.add(&certificate);
            roots.add(certificate).map_err(|error| format!("`{name}` is no authority: {error}"))?;
        }
        Ok(Authorities { roots: Arc::new(roots), named: Arc::new(named) })
    }
}

/// Gives each connection the current settings.
#[derive(Debug)]
pub struct Connector {
    settings: ClientTls,
    protocols: &'static [&'static [u8]],
    config: Reloading<ClientConfig>,
}

impl Connector {
    /// Reads the files; the error says which one is wrong. `protocols` are offered with ALPN.
    pub fn new(
        settings: ClientTls,
        protocols: &'static [&'static [u8]],
    ) -> Result<Arc<Self>, String> {
        let interval = settings.reload_interval.interval();
        let files = [&settings.ca_file, &settings.cert_file, &settings.key_file];
        let config = Reloading::new(interval, files, || settings.build(protocols))?;
        Ok(Arc::new(Connector { settings, protocols, config }))
    }

    /// A connector for one connection.
    pub fn current(&self) -> TlsConnector {
        let config = self.config.at(Instant::now(), || self.settings.build(self.protocols));
        TlsConnector::from(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The authorities of the system, or of `SSL_CERT_FILE`. They are read once.
fn system_authorities() -> Authorities {
    static AUTHORITIES: OnceLock<Authorities> = OnceLock::new();
    let read = || {
        let (mut roots, mut named) = (RootCertStore::empty(), Named::default());
        for certificate in rustls_native_certs::load_native_certs().certs {
            named.add(&certificate);
            // Certificates that cannot be read are ignored; systems have some.
            let _ = roots.add(certificate);
        }
        Authorities { roots: Arc::new(roots), named: Arc::new(named) }
    };
    AUTHORITIES.get_or_init(read).clone()
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates_of(file, &read(file)?)
}

fn certificates_of(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("`{name}` holds no PEM certificate")),
        Err(error) => Err(format!("`{name}` is not PEM: {error}")),
    }
}

fn private_key(file: &str) -> Result<PrivateKeyDer<'static>, String> {
    private_key_of(file, &read(file)?)
}

fn private_key_of(name: &str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| format!("`{name}` holds no PEM private key: {error}"))
}

/// Versions from lowest to highest, as configured.
fn versions(min: Option<&str>, max: Option<&str>) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if min != Some("1.3") {
        versions.push(&TLS12);
    }
    if max != Some("1.2") {
        versions.push(&TLS13);
    }
    versions
}

fn validate_version(key: &str, version: Option<&str>, at: &Node, problems: &mut Problems) {
    match version {
        None | Some("1.2" | "1.3") => {}
        Some("1.0" | "1.1") if key == "min_version" => {
            problems
                .warning(at.at(key), "TLS 1.0 and 1.1 are not spoken; the lowest is 1.2")
                .help("write `min_version: \"1.2\"`");
        }
        Some(other) => {
            problems
                .error(at.at(key), format!("`{other}` is not a version that is spoken"))
                .help("valid: \"1.2\", \"1.3\"");
        }
    }
}

fn validate_order(min: Option<&str>, max: Option<&str>, at: &Node, problems: &mut Problems) {
    if (min, max) == (Some("1.3"), Some("1.2")) {
        problems
            .error(at.at("max_version"), "`max_version` is below `min_version`")
            .help("remove `max_version`: the newest version that both sides speak is used");
    }
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error: io::Error| format!("cannot read `{file}`: {error}"))
}

#[cfg(test)]
mod tests;
