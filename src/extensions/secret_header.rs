//! What `bearertokenauth` and `basicauth` share: one header with a secret, which may be in a
//! file.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::watched::Watched;
use crate::{
    component::{Asked, Authenticator, ExportError, Outgoing, Refusal, Retry},
    config::Secret,
    net::{client::Answer, grpc},
};

/// A secret of the configuration, or of a file that may change.
#[derive(Debug)]
pub(super) enum Source {
    Text(Secret),
    /// None until it is read.
    File(Watched<Option<Secret>>),
}

impl Source {
    /// The file where one is named, as in the Collector.
    pub(super) fn new(text: &Secret, file: &str) -> Self {
        if file.is_empty() {
            return Source::Text(text.clone());
        }
        // Without the line break at its end.
        let read = |text: &str| Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))));
        Source::File(Watched::unread(file, None, read))
    }

    /// The secret at a time.
    pub(super) async fn at(&self, now: Instant) -> Result<Secret, String> {
        match self {
            Source::Text(text) => Ok(text.clone()),
            Source::File(file) => {
                let secret = (*file.at(now).await).clone();
                secret.ok_or_else(|| file.fault())
            }
        }
    }

    /// Reads the file at once; whether it says something else than before.
    async fn is_renewed(&self) -> bool {
        let Source::File(file) = self else { return false };
        let old = file.value();
        let new = file.renewed().await;
        old.is_some() && new != old
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
    async fn value(&self, now: Instant) -> Result<HeaderValue, String> {
        let mut secrets = Vec::with_capacity(self.sources.len());
        for source in &*self.sources {
            secrets.push(source.at(now).await?);
        }
        let mut value = HeaderValue::try_from((self.make)(&secrets))
            .map_err(|_| "the secret has characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn set(&self, headers: &mut HeaderMap) -> Result<(), ExportError> {
        let again = |message| ExportError { retry: Retry::After(None), message };
        let value = self.value(Instant::now()).await.map_err(again)?;
        headers.insert(self.name.clone(), value);
        Ok(())
    }

    async fn look(&self, answer: &Answer) -> Refusal {
        let is_unknown = answer.status.as_u16() == 401 || {
            let all = [answer.trailers.as_ref(), Some(&answer.headers)];
            let status = all.into_iter().flatten().find_map(grpc::Status::from_headers);
            status.is_some_and(|status| status.code == grpc::Code::Unauthenticated)
        };
        let mut is_renewed = false;
        if is_unknown {
            // Every file is read, even when the first has changed.
            for source in &*self.sources {
                is_renewed |= source.is_renewed().await;
            }
        }
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
        Box::pin(self.set(request.headers))
    }

    fn refused<'a>(&'a self, answer: &'a Answer) -> Asked<'a, Refusal> {
        Box::pin(self.look(answer))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::Duration};

    use super::*;
    use crate::extensions::watched::LOOK_EVERY;

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes_and_its_loss_changes_nothing() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\n").unwrap();
        let source = Source::new(&Secret::default(), file.path().to_str().unwrap());
        let start = Instant::now();
        let said = async |after| source.at(start + after).await.unwrap().expose().to_owned();
        assert_eq!(said(Duration::ZERO).await, "one");
        file.write_all(b"two").unwrap();
        assert_eq!(said(LOOK_EVERY / 2).await, "one", "it is not looked at for every request");
        assert_eq!(said(LOOK_EVERY).await, "one\ntwo");
        file.close().unwrap();
        assert_eq!(said(LOOK_EVERY * 3).await, "one\ntwo");
    }

    #[tokio::test]
    async fn a_refusal_reads_the_file_at_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one").unwrap();
        let source = Source::new(&Secret::default(), file.path().to_str().unwrap());
        let now = Instant::now();
        source.at(now).await.unwrap();
        assert!(!source.is_renewed().await, "it says the same");
        file.write_all(b"two").unwrap();
        assert!(source.is_renewed().await);
        assert_eq!(source.at(now).await.unwrap().expose(), "onetwo");
        file.close().unwrap();
        assert!(!source.is_renewed().await);
        assert_eq!(source.at(now).await.unwrap().expose(), "onetwo");
        let missing = Source::new(&Secret::default(), "/nowhere/token").at(now).await.unwrap_err();
        assert!(missing.contains("/nowhere/token"), "{missing}");
    }

    #[tokio::test]
    async fn a_request_is_sent_again_only_with_another_secret() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one").unwrap();
        let source = Source::new(&Secret::default(), file.path().to_str().unwrap());
        let auth = SecretHeader {
            name: HeaderName::from_static("x-key"),
            sources: Arc::new([source, Source::new(&Secret::new("fixed"), "")]),
            make: Box::new(|all| all.iter().map(Secret::expose).collect()),
        };
        let now = Instant::now();
        assert_eq!(auth.value(now).await.unwrap(), "onefixed");
        let answer = |status| Answer {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            trailers: None,
        };
        assert_eq!(auth.look(&answer(503)).await, Refusal::Other);
        assert!(matches!(auth.look(&answer(401)).await, Refusal::Denied(_)));
        file.write_all(b"two").unwrap();
        assert!(matches!(auth.look(&answer(401)).await, Refusal::Again(_)));
        assert_eq!(auth.value(now).await.unwrap(), "onetwofixed");
        assert!(matches!(auth.look(&answer(401)).await, Refusal::Denied(_)));
        let mut gone = answer(200);
        gone.trailers = Some(grpc::Status::new(grpc::Code::Unauthenticated, "x").to_headers());
        assert!(matches!(auth.look(&gone).await, Refusal::Denied(_)));
    }
}
