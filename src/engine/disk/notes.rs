//! What a record on disk keeps of the request that brought its data.

use std::sync::Arc;

use prost::Message as _;
use tokio::time::Instant;

use crate::{
    otlp::payload::Context,
    storage::proto::{Header, Note},
};

/// The attribute of an authenticator that holds the credentials.
const RAW: &str = "raw";

pub(in crate::engine) fn note_of(context: &Context) -> Note {
    let header =
        |(name, value): &(String, String)| Header { name: name.clone(), value: value.clone() };
    // Credentials are not written to a disk.
    let told = context.auth.iter().filter(|(name, _)| name != RAW);
    let auth = told.flat_map(|(name, values)| {
        values.iter().map(|value| Header { name: name.clone(), value: value.clone() })
    });
    Note {
        metadata: context.metadata.iter().map(header).collect(),
        auth: auth.collect(),
        peer: context.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        ..Note::default()
    }
}

/// The context of the request that brought the data; `None` if the note has none or cannot be read.
pub(in crate::engine) fn context_of(note: &[u8]) -> Option<Arc<Context>> {
    let note = Note::decode(note).ok()?;
    if note.metadata.is_empty() && note.auth.is_empty() && note.peer.is_empty() {
        return None;
    }
    let mut auth: Vec<(String, Vec<String>)> = Vec::new();
    for Header { name, value } in note.auth {
        match auth.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => auth.push((name, vec![value])),
        }
    }
    Some(Arc::new(Context {
        auth,
        metadata: note.metadata.into_iter().map(|header| (header.name, header.value)).collect(),
        peer: note.peer.parse().ok(),
        arrived: Instant::now().into_std(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authenticator_knows_is_written_down_without_the_credentials() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let context = Context {
            metadata: Vec::new(),
            auth: vec![
                ("subject".to_owned(), texts(&["ann"])),
                ("membership".to_owned(), texts(&["a", "b"])),
                ("raw".to_owned(), texts(&["secret"])),
            ],
            peer: None,
            arrived: std::time::Instant::now(),
        };
        let note = note_of(&context).encode_to_vec();
        assert!(!note.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(context_of(&note).unwrap().auth, context.auth[..2]);
    }
}
