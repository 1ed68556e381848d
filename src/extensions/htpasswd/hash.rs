//! The kinds of hashes in an htpasswd file, told apart by how they begin. They are those that the
//! Collector's library takes: bcrypt, MD5 (`$apr1$`, `$1$`), SHA-1 with and without salt, SHA-256
//! and SHA-512 of crypt(3). Anything else is a password in plain text, which is what `inline` is
//! used for with variables of the environment.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};
use subtle::ConstantTimeEq as _;

use crate::config::Secret;

/// Bytes of SHA-1.
const SHA1: usize = 20;
/// Rounds of MD5 in the hashes of Apache and crypt(3).
const ROUNDS: usize = 1000;

/// What a password is compared with.
#[derive(Debug)]
pub(super) enum Hash {
    /// `$2a$`, `$2b$`, `$2x$` or `$2y$`.
    Bcrypt(Secret),
    /// `$apr1$` or `$1$`.
    Md5 { prefix: &'static str, salt: String, hash: Secret },
    /// `{SHA}` and `{SSHA}`: digest and salt.
    Sha1 { digest: Vec<u8>, salt: Vec<u8> },
    /// `$5$` and `$6$`.
    ShaCrypt(Secret),
    /// The password itself.
    Plain(Secret),
}

impl Hash {
    /// Reads what comes after the colon.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("has no password");
        }
        if let Some("2a" | "2b" | "2x" | "2y") = text.get(1..3).filter(|_| text.starts_with('$')) {
            return match text.parse::<bcrypt::HashParts>() {
                Ok(_) => Ok(Hash::Bcrypt(Secret::new(text))),
                Err(_) => Err("has a malformed bcrypt hash"),
            };
        }
        for prefix in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (salt, hash) = rest.split_once('$').ok_or("has a malformed MD5 hash")?;
                let (salt, hash) = (salt.to_owned(), Secret::new(hash));
                return Ok(Hash::Md5 { prefix, salt, hash });
            }
        }
        if let Some(rest) = text.strip_prefix("{SHA}") {
            let digest = STANDARD.decode(rest).map_err(|_| "has a malformed SHA hash")?;
            return match digest.len() {
                SHA1 => Ok(Hash::Sha1 { digest, salt: Vec::new() }),
                _ => Err("has a SHA hash of another length"),
            };
        }
        if let Some(rest) = text.strip_prefix("{SSHA}") {
            let mut digest = STANDARD.decode(rest).map_err(|_| "has a malformed SSHA hash")?;
            if digest.len() < SHA1 {
                return Err("has an SSHA hash that is too short");
            }
            let salt = digest.split_off(SHA1);
            return Ok(Hash::Sha1 { digest, salt });
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            if text.split('$').count() < 4 {
                return Err("has a malformed SHA-crypt hash");
            }
            return Ok(Hash::ShaCrypt(Secret::new(text)));
        }
        Ok(Hash::Plain(Secret::new(text)))
    }

    /// Whether a comparison takes long enough to be made on a thread of its own.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Hash::Bcrypt(_) | Hash::Md5 { .. } | Hash::ShaCrypt(_))
    }

    /// Whether it is the hash of a password. Compares in constant time.
    pub(super) fn is_of(&self, password: &str) -> bool {
        match self {
            Hash::Bcrypt(hash) => bcrypt::verify(password, hash.expose()).unwrap_or(false),
            Hash::Md5 { prefix, salt, hash } => {
                let own = md5_crypt(password.as_bytes(), salt.as_bytes(), prefix.as_bytes());
                own.as_bytes().ct_eq(hash.expose().as_bytes()).into()
            }
            Hash::Sha1 { digest: expected, salt } => {
                let text = [password.as_bytes(), salt].concat();
                digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref().ct_eq(expected).into()
            }
            Hash::ShaCrypt(hash) => {
                ShaCrypt::default().verify_password(password.as_bytes(), hash.expose()).is_ok()
            }
            Hash::Plain(expected) => password.as_bytes().ct_eq(expected.expose().as_bytes()).into(),
        }
    }
}

/// The MD5 hash of crypt(3) and of Apache, which differ in their prefix, without prefix and salt.
fn md5_crypt(password: &[u8], salt: &[u8], prefix: &[u8]) -> String {
    let salt = &salt[..salt.len().min(8)];
    let inner = Md5::digest([password, salt, password].concat());
    let mut text = [password, prefix, salt].concat();
    text.extend(inner.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        text.push(if bits & 1 == 1 { 0 } else { password[0] });
        bits >>= 1;
    }
    let mut digest = Md5::digest(&text);
    for round in 0..ROUNDS {
        text.clear();
        let is_odd = round % 2 == 1;
        text.extend_from_slice(if is_odd { password } else { &digest });
        if round % 3 != 0 {
            text.extend_from_slice(salt);
        }
        if round % 7 != 0 {
            text.extend_from_slice(password);
        }
        text.extend_from_slice(if is_odd { &digest } else { password });
        digest = Md5::digest(&text);
    }
    // Three bytes make four characters of six bits, the lowest first, in an order of their own.
    let groups = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut out = String::with_capacity(22);
    for [high, middle, low] in groups {
        let bits = u32::from_be_bytes([0, digest[high], digest[middle], digest[low]]);
        put_six_bits(&mut out, bits, 4);
    }
    put_six_bits(&mut out, u32::from(digest[11]), 2);
    out
}

fn put_six_bits(out: &mut String, bits: u32, count: u32) {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for i in 0..count {
        let six = usize::try_from(bits >> (6 * i) & 63).unwrap_or(0);
        out.push(char::from(ALPHABET[six]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that `htpasswd`, `openssl passwd` and `slappasswd` write.
    #[test]
    fn hashes_of_every_kind_are_compared() {
        let all = [
            // From the documentation of Apache: the password is `myPassword`.
            ("myPassword", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"),
            ("myPassword", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="),
            ("myPassword", "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"),
            // `openssl passwd -5 -salt saltstring 'Hello world!'`, and with `-6`.
            ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
            (
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJu\
                 esI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            ("plain", "plain"),
        ];
        for (password, text) in all {
            let hash = Hash::read(text).unwrap();
            assert!(hash.is_of(password), "{text}");
            assert!(!hash.is_of(&format!("{password}x")), "{text}");
            assert!(!hash.is_of("x"), "{text}");
        }
    }

    #[test]
    fn the_two_md5_hashes_differ_in_their_prefix() {
        let hash = |prefix: &str| md5_crypt(b"password", b"12345678", prefix.as_bytes());
        // `openssl passwd -1 -salt 12345678 password`, and with `-apr1`.
        assert_eq!(hash("$1$"), "o2n/JiO/h5VviOInWJ4OQ/");
        assert_eq!(hash("$apr1$"), "9pHAGSBYtlmFtid2xxNog0");
    }

    #[test]
    fn salted_sha1_hashes_are_compared() {
        let salted = |password: &str, salt: &[u8]| {
            let text = [password.as_bytes(), salt].concat();
            let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &text);
            format!("{{SSHA}}{}", STANDARD.encode([digest.as_ref(), salt].concat()))
        };
        let hash = Hash::read(&salted("secret", b"1234")).unwrap();
        assert!(hash.is_of("secret") && !hash.is_of("secret1"));
    }

    #[test]
    fn malformed_hashes_are_no_plain_passwords() {
        for text in ["", "$2y$05$short", "$apr1$salt", "{SHA}x", "{SSHA}eA==", "$6$salt"] {
            assert!(Hash::read(text).is_err(), "{text}");
        }
    }
}
