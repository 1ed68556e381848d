//! TLS on rustls with ring: clients here, servers in [`server`].

mod server;

use std::{
    fs, io,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use schemars::JsonSchema;
use serde::Deserialize;

pub use server::{Acceptor, ServerTls};

/// `tls` of an exporter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Speak plaintext. Has no meaning for an `https://` endpoint.
    pub insecure: bool,
    /// Speak TLS, but accept any certificate.
    pub insecure_skip_verify: bool,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Trust the system's authorities besides `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// PEM file of the client's certificate, for mutual TLS.
    pub cert_file: Option<String>,
    /// PEM file of its key.
    pub key_file: Option<String>,
    /// Name that the server's certificate must bear, where it is not the endpoint's host.
    pub server_name_override: Option<String>,
}

impl ClientTls {
    /// Reads the files and builds the settings of a connection. `protocols` go into ALPN.
    pub fn build(&self, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if self.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider())))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|error| format!("the client certificate `{cert}` is unusable: {error}"))?,
            (None, None) => builder.with_no_client_auth(),
            _ => return Err("`cert_file` and `key_file` go together".to_owned()),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        let named = self.ca_file.as_deref().filter(|file| !file.is_empty());
        let Some(file) = named else { return Ok(system_roots()) };
        let mut roots = RootCertStore::empty();
        if self.include_system_ca_certs_pool {
            roots.roots.extend(system_roots().roots.iter().cloned());
        }
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| format!("`{file}` is no authority: {error}"))?;
        }
        Ok(Arc::new(roots))
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The authorities of the system, or of `SSL_CERT_FILE`; read once.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    }))
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
    PrivateKeyDer::from_pem_slice(&read(file)?)
        .map_err(|error| format!("`{file}` holds no PEM private key: {error}"))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error: io::Error| format!("cannot read `{file}`: {error}"))
}

/// `insecure_skip_verify`: any certificate will do, signatures are still checked.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
