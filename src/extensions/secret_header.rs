//! What `bearertokenauth` and `basicauth` share: one header with a secret, which may stand in a
//! file.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::watched::{LOOK_EVERY, Version, version};
use crate::{
    component::{Asked, Authenticator, ExportError, Outgoing, Refusal, Retry},
    config::Secret,
    net::{client::Answer, grpc},
};

/// A secret that stands in the configuration, or in a file that may change.
#[derive(Debug)]
pub(super) enum Source {
    Text(Secret),
    File { name: String, state: Mutex<Option<Read>> },
}

/// What a file said.
#[derive(Debug)]
pub(super) struct Read {
    text: Secret,
    looked: Instant,
    /// When it was written last, and how long it was.
    version: Version,
}

impl Source {
    /// The file where one is named, as in the Collector.
    pub(super) fn new(text: &Secret, file: &str) -> Self {
        if file.is_empty() {
            return Source::Text(text.clone());
        }
        Source::File { name: file.to_owned(), state: Mutex::new(None) }
    }

    /// The secret at a time, without the line break at its end.
    pub(super) fn at(&self, now: Instant) -> Result<Secret, String> {
        let (name, state) = match self {
            Source::Text(text) => return Ok(text.clone()),
            Source::File { name, state } => (name, state),
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = &mut *state {
            if now.duration_since(read.looked) < LOOK_EVERY {
                return Ok(read.text.clone());
            }
            read.looked = now;
            if read.version.is_some() && read.version == version(name) {
                return Ok(read.text.clone());
            }
        }
        // Asked before the file is read: a later change is seen the next time.
        let version = version(name);
        match (fs::read_to_string(name), &mut *state) {
            (Ok(text), state) => {
                let text = Secret::new(text.trim_end_matches(['\r', '\n']));
                *state = Some(Read { text: text.clone(), looked: now, version });
                Ok(text)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(file = name, %error, "The secret cannot be read again; the old one stays");
                Ok(old.text.clone())
            }
            (Err(error), None) => Err(format!("`{name}` cannot be read: {error}")),
        }
    }

    /// Reads the file at once; whether it says something else than before.
    fn is_renewed(&self, now: Instant) -> bool {
        let Source::File { state, .. } = self else { return false };
        let mut kept = state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = kept.take() else { return false };
        drop(kept);
        let new = self.at(now);
        let is_other = new.as_ref().is_ok_and(|new| *new != old.text);
        if new.is_err() {
            *state.lock().unwrap_or_else(PoisonError::into_inner) = Some(old);
        }
        is_other
    }
}

/// Makes the value of the header.
pub(super) type Make = dyn Fn(&[Secret]) -> String + Send + Sync;

/// Sets one header of each request.
pub(super) struct SecretHeader {
    pub(super) name: HeaderName,
    pub(super) sources: Arc<[Source]>,
    pub(super) make: Box<Make>,
}

impl SecretHeader {
    fn value(&self, now: Instant) -> Result<HeaderValue, String> {
        let secrets: Result<Vec<Secret>, String> =
            self.sources.iter().map(|source| source.at(now)).collect();
        let mut value = HeaderValue::try_from((self.make)(&secrets?))
            .map_err(|_| "the secret has characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn set(&self, headers: &mut HeaderMap) -> Result<(), ExportError> {
        let again = |message| ExportError { retry: Retry::After(None), message };
        let value = self.value(Instant::now()).map_err(again)?;
        headers.insert(self.name.clone(), value);
        Ok(())
    }

    fn look(&self, answer: &Answer, now: Instant) -> Refusal {
        let is_unknown = answer.status.as_u16() == 401 || {
            let all = [answer.trailers.as_ref(), Some(&answer.headers)];
            let status = all.into_iter().flatten().find_map(grpc::Status::from_headers);
            status.is_some_and(|status| status.code == grpc::Code::Unauthenticated)
        };
        // Every file is read, even when the first has changed.
        let renewed = || self.sources.iter().filter(|source| source.is_renewed(now)).count();
        let is_renewed = is_unknown && renewed() > 0;
        match (is_renewed, is_unknown) {
            (true, _) => {
                Refusal::Again("; the secret has changed, and the new one is refused, too")
            }
            (false, true) => {
                Refusal::Denied("; the secret of the authenticator is wrong or has ended")
            }
            (false, false) => Refusal::Other,
        }
    }
}

impl Authenticator for SecretHeader {
    fn authenticate<'a>(&'a self, request: Outgoing<'a>) -> Asked<'a, Result<(), ExportError>> {
        Box::pin(std::future::ready(self.set(request.headers)))
    }

    fn refused<'a>(&'a self, answer: &'a Answer) -> Asked<'a, Refusal> {
        Box::pin(std::future::ready(self.look(answer, Instant::now())))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::Duration};

    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changes_and_its_loss_changes_nothing() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\n").unwrap();
        let source = Source::new(&Secret::default(), file.path().to_str().unwrap());
        let start = Instant::now();
        let said = |after| source.at(start + after).unwrap().expose().to_owned();
        assert_eq!(said(Duration::ZERO), "one");
        file.write_all(b"two").unwrap();
        assert_eq!(said(LOOK_EVERY / 2), "one", "it is not looked at for every request");
        assert_eq!(said(LOOK_EVERY), "one\ntwo");
        file.close().unwrap();
        assert_eq!(said(LOOK_EVERY * 3), "one\ntwo");
    }

    #[test]
    fn a_refusal_reads_the_file_at_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one").unwrap();
        let source = Source::new(&Secret::default(), file.path().to_str().unwrap());
        let now = Instant::now();
        source.at(now).unwrap();
        assert!(!source.is_renewed(now), "it says the same");
        file.write_all(b"two").unwrap();
        assert!(source.is_renewed(now));
        assert_eq!(source.at(now).unwrap().expose(), "onetwo");
        file.close().unwrap();
        assert!(!source.is_renewed(now));
        assert_eq!(source.at(now).unwrap().expose(), "onetwo");
        let missing = Source::new(&Secret::default(), "/nowhere/token").at(now).unwrap_err();
        assert!(missing.contains("/nowhere/token"), "{missing}");
    }

    #[test]
    fn a_request_is_sent_again_only_with_another_secret() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one").unwrap();
        let source = Source::new(&Secret::default(), file.path().to_str().unwrap());
        let auth = SecretHeader {
            name: HeaderName::from_static("x-key"),
            sources: Arc::new([source, Source::new(&Secret::new("fixed"), "")]),
            make: Box::new(|all| all.iter().map(Secret::expose).collect()),
        };
        let now = Instant::now();
        assert_eq!(auth.value(now).unwrap(), "onefixed");
        let answer = |status| Answer {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            trailers: None,
        };
        assert_eq!(auth.look(&answer(503), now), Refusal::Other);
        assert!(matches!(auth.look(&answer(401), now), Refusal::Denied(_)));
        file.write_all(b"two").unwrap();
        assert!(matches!(auth.look(&answer(401), now), Refusal::Again(_)));
        assert_eq!(auth.value(now).unwrap(), "onetwofixed");
        assert!(matches!(auth.look(&answer(401), now), Refusal::Denied(_)));
        let mut gone = answer(200);
        gone.trailers = Some(grpc::Status::new(grpc::Code::Unauthenticated, "x").to_headers());
        assert!(matches!(auth.look(&gone, now), Refusal::Denied(_)));
    }
}
