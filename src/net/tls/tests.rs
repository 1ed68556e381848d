//! Handshakes between the TLS settings of exporters and those of receivers.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::ServerName;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A certificate with its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// A self-signed certificate for `localhost` that is an authority, as `openssl req -x509` makes it.
fn of_itself(change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// A certificate for `localhost` of an unknown authority.
fn of_authority() -> Pair {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Pair { certificate, key: key.serialize_pem() }
}

fn server(pair: &Pair) -> ServerTls {
    ServerTls {
        cert_pem: Some(pair.certificate.clone()),
        key_pem: Some(Secret::new(&*pair.key)),
        ..ServerTls::default()
    }
}

fn trusting(pair: &Pair) -> ClientTls {
    ClientTls { ca_pem: Some(pair.certificate.clone()), ..ClientTls::default() }
}

/// Connects to `localhost` and reads one byte, because with TLS 1.3 a client learns only then that
/// it was refused. The error is the one that an exporter shows, with its remedy.
async fn shake_hands(server: ServerTls, client: ClientTls) -> Result<(), String> {
    let (here, there) = tokio::io::duplex(1 << 16);
    let acceptor = Acceptor::new(server).unwrap();
    let connector = Connector::new(client, &[]).unwrap().current();
    let serving = async {
        if let Ok(mut stream) = acceptor.accept(there, || ()).await {
            let _ = stream.write_all(b"x").await;
            let _ = stream.flush().await;
        }
    };
    let asking = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, here).await?;
        stream.read_u8().await.map(drop)
    };
    let both = async { tokio::join!(serving, asking).1 };
    let answer = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    answer.map_err(|error: io::Error| format!("{error}; {:?}", remedy::find(&error)))
}

#[tokio::test]
async fn a_certificate_in_the_ca_file_is_trusted_itself() {
    let (own, leaf) = (of_itself(|_| {}), of_authority());
    let plain = of_itself(|params| params.is_ca = IsCa::NoCa);
    for pair in [&own, &leaf, &plain] {
        assert_eq!(shake_hands(server(pair), trusting(pair)).await, Ok(()));
        let old = ClientTls { max_version: Some("1.2".to_owned()), ..trusting(pair) };
        assert_eq!(shake_hands(server(pair), old).await, Ok(()), "TLS 1.2");
    }
    for (one, other) in [(&own, &leaf), (&leaf, &own), (&own, &plain)] {
        let said = shake_hands(server(one), trusting(other)).await.unwrap_err();
        assert!(said.contains("tls.ca_file"), "{said}");
    }
}

#[tokio::test]
async fn validity_name_and_usage_of_a_certificate_in_the_ca_file_are_checked() {
    let expired = of_itself(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = of_itself(|params| params.not_before = date_time_ymd(2999, 1, 1));
    let other = of_itself(|params| {
        params.subject_alt_names =
            CertificateParams::new(vec!["other".to_owned()]).unwrap().subject_alt_names;
    });
    let client = of_itself(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    for (pair, words) in [
        (expired, "has expired"),
        (early, "not valid yet"),
        (other, "server_name_override"),
        (client, "extended key usage"),
    ] {
        let said = shake_hands(server(&pair), trusting(&pair)).await.unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_client_is_accepted_only_with_a_certificate_that_the_server_knows() {
    let pair = of_itself(|_| {});
    let (own, leaf, stranger) = (of_itself(|_| {}), of_authority(), of_itself(|_| {}));
    let known = NamedTempFile::new().unwrap();
    fs::write(known.path(), format!("{}{}", own.certificate, leaf.certificate)).unwrap();
    let server =
        ServerTls { client_ca_file: Some(known.path().display().to_string()), ..server(&pair) };
    let with = |client: &Pair| ClientTls {
        cert_pem: Some(client.certificate.clone()),
        key_pem: Some(Secret::new(&*client.key)),
        ..trusting(&pair)
    };
    assert_eq!(shake_hands(server.clone(), with(&own)).await, Ok(()));
    assert_eq!(shake_hands(server.clone(), with(&leaf)).await, Ok(()));
    let said = shake_hands(server.clone(), with(&stranger)).await.unwrap_err();
    assert!(said.contains("does not trust our certificate"), "{said}");
    let said = shake_hands(server.clone(), trusting(&pair)).await.unwrap_err();
    assert!(said.contains("set `tls.cert_file`"), "{said}");
    // A certificate without its key is of no use.
    let mut thief = with(&own);
    thief.key_pem = Some(Secret::new(&*stranger.key));
    assert!(Connector::new(thief, &[]).is_err());
}

/// A certificate of X.509 version 1, as `openssl x509 -req -signkey` makes it, and its key.
const VERSION_1: (&str, &str) = (
    "-----BEGIN CERTIFICATE-----
MIIBGTCBvwIUOLp+a5+JyEuPQashRGmxr0Qoy2swCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyODE5NDIyNVoYDzIxMjYxMTA0MTk0MjI1WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQbwE7PQHdHFVlY
2q6Vj01ff2gHWGG14N/VQuzvhJRNDwK7n6qgbpE+IqA3858at9QhDSSgd0QHC5k8
/fdo4uxyMAoGCCqGSM49BAMCA0kAMEYCIQC5mt4chEuzRqUtgCRPQNHHizuUQYYK
hz9LNhon61RGBQIhAIBY0N92FYHc1HeDpt8tS83QtcZRgsSaM6ofclxhmg1a
-----END CERTIFICATE-----
",
    "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVfsAjJ9Wplb76MAo
EI52UM9iUao7Ln6ScCvbeP0mfqKhRANCAAQbwE7PQHdHFVlY2q6Vj01ff2gHWGG1
4N/VQuzvhJRNDwK7n6qgbpE+IqA3858at9QhDSSgd0QHC5k8/fdo4uxy
-----END PRIVATE KEY-----
",
);

/// Connects to a server with that certificate and the key `signs`. The server is not made from a
/// configuration, because rustls checks such pairs and reads only version 3.
async fn shake_hands_with_version_1(client: ClientTls, signs: &str) -> Result<(), String> {
    let certificate = CertificateDer::from_pem_slice(VERSION_1.0.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(signs.as_bytes()).unwrap();
    let key = provider().key_provider.load_private_key(key).unwrap();
    let certified = Arc::new(rustls::sign::CertifiedKey::new(vec![certificate], key));
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let (here, there) = tokio::io::duplex(1 << 16);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let connector = Connector::new(client, &[]).unwrap().current();
    let name = ServerName::try_from("localhost").unwrap();
    let (_, answer) = tokio::join!(acceptor.accept(there), connector.connect(name, here));
    answer.map(drop).map_err(|error| format!("{error}; {:?}", remedy::find(&error)))
}

#[tokio::test]
async fn version_1_is_accepted_with_insecure_skip_verify_but_its_signature_is_checked() {
    let any = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
    let stranger = of_itself(|_| {});
    for version in ["1.2", "1.3"] {
        let only = ClientTls { max_version: Some(version.to_owned()), ..any.clone() };
        assert_eq!(shake_hands_with_version_1(only.clone(), VERSION_1.1).await, Ok(()));
        let said = shake_hands_with_version_1(only, &stranger.key).await.unwrap_err();
        assert!(said.contains("BadSignature"), "{version}: {said}");
    }
    let said = shake_hands_with_version_1(trusting(&stranger), VERSION_1.1).await.unwrap_err();
    assert!(said.contains("name this very certificate"), "{said}");
}

#[test]
fn clients_with_the_same_authorities_share_them() {
    let tls = trusting(&of_itself(|_| {}));
    let roots = |tls: &ClientTls| tls.authorities().unwrap().roots;
    // Other tests of this process may replace the cached ones in between.
    assert!((0..100).any(|_| Arc::ptr_eq(&roots(&tls), &roots(&tls))));
    let with_system = ClientTls { include_system_ca_certs_pool: true, ..tls.clone() };
    assert_eq!(roots(&with_system).len(), system_authorities().roots.len() + 1);
    assert_eq!(roots(&tls).len(), 1, "they are cached apart");
}
