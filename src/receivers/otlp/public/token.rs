//! Tokens that say which user a page belongs to: JSON Web Tokens (RFC 7519) that the application
//! signs with a secret that it shares with skep (HS256, RFC 7518 section 3.2).
//!
//! Nothing of a token is parsed before its signature is right, so what strangers send gets no
//! further than base64 and the signature.
//!
//! Why not the crate `jsonwebtoken`, as `oidc` has it: its cryptography is set once for a process,
//! and there it refuses shared secrets, so that a public key can never be taken for one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token, in bytes.
const LONGEST: usize = 4096;

/// Longest id of a user, in bytes.
const LONGEST_ID: usize = 256;

/// Seconds by which the clock of the application and that of skep may differ.
const LEEWAY: f64 = 60.0;

/// What is wrong with a token. Says nothing of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// There is none, and it is required.
    #[error("the token is missing")]
    Missing,
    /// Not three parts of base64, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// No secret of the configuration made the signature.
    #[error("the token is not signed with one of the secrets by HS256")]
    Signature,
    /// It has no time at which it expires.
    #[error("the token has no time at which it expires (`exp`)")]
    NoExpiry,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not begun (`nbf`).
    #[error("the token is not valid yet")]
    TooEarly,
    /// The claim that names the user is missing, empty, no text, or too long.
    #[error("the token names no user")]
    NoUser,
}

/// The secrets of a configuration, and the claim that names the user.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<hmac::Key>,
    claim: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<Value>,
}

impl Verifier {
    /// A verifier for tokens that were signed with any of the secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, claim: &str) -> Self {
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Verifier { keys: secrets.into_iter().map(key).collect(), claim: claim.to_owned() }
    }

    /// The user of a token; `now` is in seconds since 1970.
    pub fn user(&self, token: &str, now: u64) -> Result<String, Wrong> {
        if token.len() > LONGEST {
            return Err(Wrong::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Wrong::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Wrong::Malformed)?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Wrong::Malformed);
        let signature = decoded(signature)?;
        let is_signed = |key: &hmac::Key| hmac::verify(key, signed.as_bytes(), &signature).is_ok();
        if !self.keys.iter().any(is_signed) {
            return Err(Wrong::Signature);
        }
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| Wrong::Malformed)?;
        // A token whose `crit` lists anything has to be refused (RFC 7515, section 4.1.11).
        if header.alg != "HS256" || header.crit.is_some() {
            return Err(Wrong::Signature);
        }
        let claims: Map<String, Value> =
            serde_json::from_slice(&decoded(claims)?).map_err(|_| Wrong::Malformed)?;
        self.user_of(&claims, now)
    }

    fn user_of(&self, claims: &Map<String, Value>, now: u64) -> Result<String, Wrong> {
        #[expect(clippy::cast_precision_loss, reason = "exact for millions of years")]
        let now = now as f64;
        let time = |name: &str| claims.get(name).map(|time| time.as_f64().ok_or(Wrong::Malformed));
        let expires = time("exp").ok_or(Wrong::NoExpiry)??;
        if now > expires + LEEWAY {
            return Err(Wrong::Expired);
        }
        if let Some(begins) = time("nbf")
            && now + LEEWAY < begins?
        {
            return Err(Wrong::TooEarly);
        }
        let user = claims.get(&self.claim).and_then(Value::as_str).ok_or(Wrong::NoUser)?;
        if user.is_empty() || user.len() > LONGEST_ID {
            return Err(Wrong::NoUser);
        }
        Ok(user.to_owned())
    }
}

/// A token as an application makes it, for tests and benches.
pub fn sign(header: &str, claims: &str, secret: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";
    const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
    const NOW: u64 = 1_800_000_000;

    fn user(header: &str, claims: &str, secret: &str) -> Result<String, Wrong> {
        Verifier::new(["an older secret", SECRET], "sub").user(&sign(header, claims, secret), NOW)
    }

    #[test]
    fn the_user_of_a_signed_token_is_known() {
        let claims = r#"{"sub":"user-42","exp":1800000600}"#;
        assert_eq!(user(HS256, claims, SECRET).unwrap(), "user-42");
        assert_eq!(user(HS256, claims, "an older secret").unwrap(), "user-42");
    }

    /// The example of RFC 7515, appendix A.1: made by others.
    #[test]
    fn a_token_of_the_specification_is_read() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let secret = URL_SAFE_NO_PAD.decode(key).unwrap();
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
             eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
             dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let keys = vec![hmac::Key::new(hmac::HMAC_SHA256, &secret)];
        let verifier = Verifier { keys, claim: "iss".to_owned() };
        assert_eq!(verifier.user(token, 1_300_819_000).unwrap(), "joe");
        assert_eq!(verifier.user(token, 1_300_819_441), Err(Wrong::Expired));
    }

    #[test]
    fn what_is_wrong_with_a_token_is_named() {
        let fine = r#"{"sub":"a","exp":1800000000}"#;
        for (header, claims, secret, why) in [
            (HS256, fine, "another secret", Wrong::Signature),
            (r#"{"alg":"none"}"#, fine, SECRET, Wrong::Signature),
            (r#"{"alg":"HS512"}"#, fine, SECRET, Wrong::Signature),
            (r#"{"alg":"HS256","crit":["b64"]}"#, fine, SECRET, Wrong::Signature),
            ("{}", fine, SECRET, Wrong::Malformed),
            (HS256, "[]", SECRET, Wrong::Malformed),
            (HS256, r#"{"sub":"a"}"#, SECRET, Wrong::NoExpiry),
            (HS256, r#"{"sub":"a","exp":"soon"}"#, SECRET, Wrong::Malformed),
            (HS256, r#"{"sub":"a","exp":1799999939}"#, SECRET, Wrong::Expired),
            (HS256, r#"{"sub":"a","exp":1800009999,"nbf":1800000061}"#, SECRET, Wrong::TooEarly),
            (HS256, r#"{"sub":"","exp":1800000000}"#, SECRET, Wrong::NoUser),
            (HS256, r#"{"sub":7,"exp":1800000000}"#, SECRET, Wrong::NoUser),
            (HS256, r#"{"exp":1800000000}"#, SECRET, Wrong::NoUser),
        ] {
            assert_eq!(user(header, claims, secret), Err(why), "{header} {claims}");
        }
        let long = format!(r#"{{"sub":"{}","exp":1800000000}}"#, "x".repeat(257));
        assert_eq!(user(HS256, &long, SECRET), Err(Wrong::NoUser));
        let verifier = Verifier::new([SECRET], "sub");
        for token in ["", ".", "..", "a.b", "a.b.c=", &".".repeat(LONGEST + 1)] {
            assert_ne!(verifier.user(token, NOW).map(|_| ()), Ok(()), "{token}");
        }
    }

    proptest! {
        #[test]
        fn a_token_that_was_changed_is_refused(at in 0_usize..1000, to: u8) {
            let mut token = sign(HS256, r#"{"sub":"a","exp":1800000600}"#, SECRET).into_bytes();
            let at = at % token.len();
            prop_assume!(token[at] != to);
            token[at] = to;
            let Ok(token) = String::from_utf8(token) else { return Ok(()) };
            prop_assert!(Verifier::new([SECRET], "sub").user(&token, NOW).is_err());
        }

        #[test]
        fn signed_nonsense_is_refused(header in ".{0,40}", claims in ".{0,80}") {
            prop_assert!(user(&header, &claims, SECRET).is_err());
        }
    }
}
