//! The token that opens the console, and the cookie that it becomes.

use std::fmt::{self, Write as _};

use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use subtle::ConstantTimeEq as _;

/// Bytes of a random token.
const BYTES: usize = 16;
/// Least characters of a token that somebody chose.
const SHORTEST: usize = 16;
/// Most characters of such a token.
const LONGEST: usize = 256;

/// What opens the console. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// A new one of 128 random bits; an error if the system has no randomness.
    pub fn random() -> Result<Self, String> {
        let mut bytes = [0; BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| "the system gives no random numbers for a token".to_owned())?;
        Ok(Token(hex(&bytes)))
    }

    /// One that somebody chose: 16 to 256 letters, digits and `-._~`, as they are in a URL.
    pub fn chosen(text: &str) -> Result<Self, String> {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !text.bytes().all(is_legal) {
            return Err("a token has letters, digits and `-._~` only".to_owned());
        }
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            let sizes = format!("{SHORTEST} to {LONGEST}");
            return Err(format!(
                "the token has {} characters; it needs {sizes}: `openssl rand -hex 16` prints one",
                text.len()
            ));
        }
        Ok(Token(text.to_owned()))
    }

    /// The text that is typed or sent.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether somebody knows the token. Takes as long whatever is wrong with the text.
    pub fn is(&self, text: &str) -> bool {
        same(text, &self.0)
    }

    /// The value of the cookie. It does not tell the token, and a start with the same token goes
    /// on with it.
    pub fn session(&self) -> String {
        hex(digest(&SHA256, format!("skep console session {}", self.0).as_bytes()).as_ref())
    }
}

/// Whether two texts are equal, in a time that does not depend on where they differ.
pub(super) fn same(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|text| digest(&SHA256, text.as_bytes()));
    one.as_ref().ct_eq(other.as_ref()).into()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing into a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_new_each_time_and_shown_by_no_debug() {
        let [one, other] = std::array::from_fn(|_| Token::random().unwrap());
        assert_eq!(one.text().len(), 32);
        assert!(one.is(one.text()) && !one.is(other.text()) && !one.is(""));
        assert_ne!(one.session(), other.session());
        assert!(!one.session().contains(one.text()));
        assert!(!format!("{one:?}").contains(one.text()));
    }

    #[test]
    fn chosen_tokens_are_long_and_fit_into_a_url() {
        let long = "a-b.c_d~0123456789";
        assert_eq!(Token::chosen(long).unwrap().session(), Token::chosen(long).unwrap().session());
        for wrong in ["short", "0123456789 abcdef", "0123456789#abcdef", &"x".repeat(257)] {
            assert!(Token::chosen(wrong).is_err(), "{wrong}");
        }
    }
}
