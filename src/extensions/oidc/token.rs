//! Checks a JSON Web Token: what it claims by the rules of a provider, its signature by ring.
//!
//! `jsonwebtoken` brings no cryptography of its own here. It calls back into [`Checked`], so that
//! the process has one implementation of RSA and of the curves, the one that TLS uses, too.

use std::{borrow::Cow, sync::Once};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Header, Validation,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Verifier},
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Provider, keys::KeySet};

/// Seconds by which the clocks of the issuer and of this machine may differ.
const LEEWAY: u64 = 60;

/// What is wrong with a token, for the client and the log; says nothing of its contents.
#[derive(Debug)]
pub(super) struct Wrong(pub(super) Cow<'static, str>);

/// What a token must claim.
#[derive(Debug)]
pub(super) struct Rules(Validation);

impl Rules {
    pub(super) fn of(provider: &Provider) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if provider.ignore_audience {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&[&provider.audience]);
            required.push("aud");
        }
        if !provider.ignore_issuer {
            validation.set_issuer(&[&provider.issuer_url]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        Rules(validation)
    }
}

/// Reads the header of a token, and refuses what no public key can have signed.
pub(super) fn header(raw: &str) -> Result<Header, Wrong> {
    let unsupported = "the token is malformed, or its signature is of a kind that is not taken";
    let header = jsonwebtoken::decode_header(raw).map_err(|_| Wrong(unsupported.into()))?;
    if header.alg.family() == AlgorithmFamily::Hmac {
        return Err(Wrong("the token is signed with a shared secret".into()));
    }
    // A token whose `crit` lists anything unknown has to be refused (RFC 7515, 4.1.11).
    if header.crit.is_some() {
        return Err(Wrong("the token has extensions that are not known".into()));
    }
    Ok(header)
}

/// The claims of a token whose signature, issuer, audience and time are right.
pub(super) fn verify(
    raw: &str,
    header: &Header,
    keys: &KeySet,
    rules: &Rules,
) -> Result<Map<String, Value>, Wrong> {
    install();
    let validation = Validation { algorithms: vec![header.alg], ..rules.0.clone() };
    let mut wrong = Wrong("the token is not signed by a key of the issuer".into());
    for key in keys.candidates(header) {
        match jsonwebtoken::decode::<Map<String, Value>>(raw, key, &validation) {
            // RFC 7519 has one issuer, but a list with the right one would pass, too.
            Ok(token) if token.claims.get("iss").is_some_and(|issuer| !issuer.is_string()) => {
                return Err(Wrong("the token has no usable claim `iss`".into()));
            }
            Ok(token) => return Ok(token.claims),
            Err(error) => {
                let is_of_another_key = matches!(error.kind(), ErrorKind::InvalidSignature);
                wrong = Wrong(in_words(&error));
                if !is_of_another_key {
                    break;
                }
            }
        }
    }
    Err(wrong)
}

/// The issuer that a token names, which anybody can write.
pub(super) fn unverified_issuer(raw: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Named>(raw).ok().map(|named| named.iss)
}

fn in_words(error: &Error) -> Cow<'static, str> {
    match error.kind() {
        ErrorKind::ExpiredSignature => "the token has expired".into(),
        ErrorKind::ImmatureSignature => "the token is not valid yet".into(),
        ErrorKind::InvalidAudience => "the token is for another audience".into(),
        ErrorKind::InvalidIssuer => "the token is of another issuer".into(),
        ErrorKind::MissingRequiredClaim(claim) => {
            format!("the token has no usable claim `{claim:.20}`").into()
        }
        ErrorKind::InvalidSignature => "the token is not signed by a key of the issuer".into(),
        _ => "the token is malformed".into(),
    }
}

/// Makes ring the cryptography of `jsonwebtoken`, once for the process.
fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        verifier_factory: |algorithm, key| {
            if algorithm.family() != key.family() || key.family() == AlgorithmFamily::Hmac {
                return Err(ErrorKind::InvalidAlgorithm.into());
            }
            Ok(Box::new(Checked { algorithm: *algorithm, key: key.clone() }))
        },
        // Used for making key sets only.
        key_utils: KeyUtils::new_unimplemented(),
    };
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error would say that there is one already, and nobody else installs one.
        let _ = PROVIDER.install_default();
    });
}

/// Checks signatures of one key by ring.
struct Checked {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Checked {
    fn verify(&self, message: &[u8], of: &Vec<u8>) -> Result<(), signature::Error> {
        let is_valid = match (self.algorithm, self.key.kind()) {
            (Algorithm::RS256, key) => rsa(&RSA_PKCS1_2048_8192_SHA256, key, message, of),
            (Algorithm::RS384, key) => rsa(&RSA_PKCS1_2048_8192_SHA384, key, message, of),
            (Algorithm::RS512, key) => rsa(&RSA_PKCS1_2048_8192_SHA512, key, message, of),
            (Algorithm::PS256, key) => rsa(&RSA_PSS_2048_8192_SHA256, key, message, of),
            (Algorithm::PS384, key) => rsa(&RSA_PSS_2048_8192_SHA384, key, message, of),
            (Algorithm::PS512, key) => rsa(&RSA_PSS_2048_8192_SHA512, key, message, of),
            (Algorithm::ES256, key) => curve(&ECDSA_P256_SHA256_FIXED, key, message, of),
            (Algorithm::ES384, key) => curve(&ECDSA_P384_SHA384_FIXED, key, message, of),
            (Algorithm::EdDSA, key) => curve(&ED25519, key, message, of),
            _ => false,
        };
        if is_valid { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl JwtVerifier for Checked {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn rsa(by: &'static RsaParameters, key: &DecodingKeyKind, message: &[u8], of: &[u8]) -> bool {
    match key {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(by, message, of).is_ok()
        }
        DecodingKeyKind::SecretOrDer(_) => false,
    }
}

fn curve(
    by: &'static dyn VerificationAlgorithm,
    key: &DecodingKeyKind,
    message: &[u8],
    of: &[u8],
) -> bool {
    match key {
        DecodingKeyKind::SecretOrDer(key) => {
            UnparsedPublicKey::new(by, key).verify(message, of).is_ok()
        }
        DecodingKeyKind::RsaModulusExponent { .. } => false,
    }
}
