//! Decides which certificates are trusted, given a file of authorities: those that its
//! certificates have signed, which webpki checks, and its certificates themselves. webpki accepts
//! no certificate of an authority as that of a server or client, and no leaf as its own authority,
//! but Go, OpenSSL and Python trust every certificate in the file. We do the same: a certificate
//! that is in the file is accepted if its validity, its usage and its name are right.
//!
//! Signatures of the handshake are always checked, also with certificates of X.509 version 1,
//! which webpki cannot read.

use std::{collections::HashSet, sync::Arc};

use ring::digest;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use webpki::RawPublicKeyEntity;

use super::{
    Authorities,
    x509::{Certificate, Usage},
};

/// The certificates of a file, by SHA-256. A system has about 150 of them.
#[derive(Debug, Default, Clone)]
pub(super) struct Named(HashSet<[u8; 32]>);

impl Named {
    pub(super) fn add(&mut self, certificate: &CertificateDer<'_>) {
        self.0.insert(hash(certificate));
    }

    /// `None` if the certificate is not one of them; otherwise whether it is valid now and for this
    /// usage.
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        usage: Usage,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let is_named = self.0.contains(&hash(certificate));
        is_named.then(|| Certificate::parse(certificate)?.check(usage, now))
    }
}

pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// Checks the certificates of servers.
#[derive(Debug)]
pub(super) struct ServerTrust {
    servers: Servers,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Which servers are trusted.
#[derive(Debug)]
enum Servers {
    /// All of them: `insecure_skip_verify`. The signatures of the handshake are still checked.
    Any,
    /// Those of these authorities. `webpki` is `None` if there is no authority at all.
    Of { named: Arc<Named>, webpki: Option<Arc<WebPkiServerVerifier>> },
}

impl ServerTrust {
    /// Trusts every server.
    pub(super) fn any(provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        ServerTrust { servers: Servers::Any, algorithms }
    }

    /// Trusts the servers of these authorities.
    pub(super) fn new(authorities: Authorities, provider: Arc<CryptoProvider>) -> Self {
        let Authorities { roots, named } = authorities;
        let algorithms = provider.signature_verification_algorithms;
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider).build().ok();
        ServerTrust { servers: Servers::Of { named, webpki }, algorithms }
    }
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Servers::Of { named, webpki } = &self.servers else {
            return Ok(ServerCertVerified::assertion());
        };
        if let Some(checked) = named.check(end_entity, Usage::Server, now) {
            checked?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let webpki = webpki.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_tls12(&self.algorithms, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_tls13(&self.algorithms, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks the certificates of clients.
#[derive(Debug)]
pub(super) struct ClientTrust {
    named: Named,
    webpki: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientTrust {
    /// Every client needs a certificate that one of `authorities` signed, or that is among them.
    pub(super) fn new(
        authorities: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let algorithms = provider.signature_verification_algorithms;
        let (mut roots, mut named) = (RootCertStore::empty(), Named::default());
        for certificate in authorities {
            named.add(&certificate);
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let webpki = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(ClientTrust { named, webpki, algorithms })
    }
}

impl ClientCertVerifier for ClientTrust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.named.check(end_entity, Usage::Client, now) {
            Some(checked) => checked.map(|()| ClientCertVerified::assertion()),
            None => self.webpki.verify_client_cert(end_entity, intermediates, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_tls12(&self.algorithms, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_tls13(&self.algorithms, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether webpki, which reads version 3 only, can read the certificate.
fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    ParsedCertificate::try_from(certificate).is_ok()
}

fn check_tls12(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if is_readable(certificate) {
        return verify_tls12_signature(message, certificate, signed, algorithms);
    }
    let bad = || Error::from(CertificateError::BadSignature);
    let key = Certificate::parse(certificate)?.key();
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
    let mapping = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, candidates) = mapping.ok_or_else(bad)?;
    let mut candidates = candidates.iter();
    let is_right =
        candidates.any(|one| key.verify_signature(*one, message, signed.signature()).is_ok());
    is_right.then(HandshakeSignatureValid::assertion).ok_or_else(bad)
}

fn check_tls13(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if is_readable(certificate) {
        return verify_tls13_signature(message, certificate, signed, algorithms);
    }
    let key = Certificate::parse(certificate)?.key();
    verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}
