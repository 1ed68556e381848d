//! What a client posts: an object with the item in `data`, and maybe the access token beside it.
//!
//! The token must not be shown anywhere. It is taken out here, and where the item repeats it (in a
//! line of source, in the settings of the SDK), [`Envelope::hide`] covers it.

use std::borrow::Cow;

use memchr::memmem;

use crate::receivers::json::{self, Json, Members, find};

/// Tokens that are shorter are no tokens of Rollbar, and may be parts of other words.
const SHORTEST: usize = 8;

/// What an item has in place of the token.
const HIDDEN: &str = "[access token]";

/// Why an item is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The body is no JSON object.
    #[error("the body is not a JSON object")]
    NoObject,
    /// There is no object under `data`.
    #[error("the payload has no object `data`")]
    NoData,
    /// There is no object under `data.body`.
    #[error("`data` has no object `body`")]
    NoBody,
    /// The body is of no kind, or of several.
    #[error("`data.body` needs exactly one of `trace`, `trace_chain`, `message`, `crash_report`")]
    Kind,
    /// The member of the body has another type than it should.
    #[error("`data.body.{0}` is not what the API says")]
    Shape(&'static str),
    /// An exception without a class.
    #[error("`exception.class` is missing")]
    NoClass,
}

/// A payload.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    token: Option<Cow<'a, str>>,
    pub(super) data: Members<'a>,
}

impl<'a> Envelope<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Refused> {
        let (Json::Map(members), _) = json::parse(text) else { return Err(Refused::NoObject) };
        let (mut token, mut data) = (None, None);
        for (name, value) in members {
            match (&*name, value) {
                ("access_token", Json::Text(text)) => token = Some(text),
                ("data", Json::Map(members)) => data = Some(members),
                _ => {}
            }
        }
        Ok(Envelope { token, data: data.ok_or(Refused::NoData)? })
    }

    /// The token beside the item; the header of a request comes before it.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }

    /// The id that the client gave the item.
    pub(super) fn uuid(&self) -> Option<&str> {
        match find(&self.data, "uuid") {
            Json::Text(uuid) if !uuid.is_empty() => Some(uuid),
            _ => None,
        }
    }

    /// Covers every place where the item repeats the token.
    pub(super) fn hide(&mut self, token: &str) {
        if token.len() < SHORTEST {
            return;
        }
        let token = memmem::Finder::new(token);
        for (_, value) in &mut self.data {
            cover(value, &token);
        }
    }
}

fn cover(value: &mut Json<'_>, token: &memmem::Finder<'_>) {
    match value {
        Json::Text(text) if token.find(text.as_bytes()).is_some() => {
            let needle = String::from_utf8_lossy(token.needle());
            *text = Cow::Owned(text.replace(&*needle, HIDDEN));
        }
        Json::List(values) => values.iter_mut().for_each(|value| cover(value, token)),
        Json::Map(members) => members.iter_mut().for_each(|(_, value)| cover(value, token)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_out_and_covered_wherever_the_item_repeats_it() {
        let text = r#"{"access_token":"0123456789abcdef","data":{"uuid":"u","body":{"a":["init('0123456789abcdef')"]},
            "custom":{"b":{"c":"0123456789abcdef"}}}}"#;
        let mut envelope = Envelope::parse(text).unwrap();
        assert_eq!((envelope.token(), envelope.uuid()), (Some("0123456789abcdef"), Some("u")));
        let token = envelope.token().unwrap().to_owned();
        envelope.hide(&token);
        let mut written = Vec::new();
        Json::Map(envelope.data).write(&mut written);
        let written = String::from_utf8(written).unwrap();
        assert!(!written.contains("abcdef"), "{written}");
        assert_eq!(written.matches(HIDDEN).count(), 2);
    }

    #[test]
    fn a_short_token_covers_nothing() {
        let mut envelope = Envelope::parse(r#"{"data":{"context":"banana"}}"#).unwrap();
        envelope.hide("a");
        assert_eq!(*find(&envelope.data, "context"), Json::Text("banana".into()));
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        for (text, why) in [
            ("", Refused::NoObject),
            ("[]", Refused::NoObject),
            ("{}", Refused::NoData),
            (r#"{"data":[]}"#, Refused::NoData),
        ] {
            assert_eq!(Envelope::parse(text).unwrap_err(), why, "{text}");
        }
    }
}
