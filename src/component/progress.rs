//! What of a request is done already when it has to be sent again.

use std::sync::Mutex;

use super::Sent;
use crate::sync::lock;

/// What earlier attempts have achieved, by the pieces of [`super::Request::body`]. An exporter that
/// makes several calls of one request leaves out those that succeeded; it has to make the same
/// pieces each time it encodes the same payload.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    done: Vec<bool>,
    sent: Sent,
}

impl Progress {
    /// Whether the backend has this piece already, or has refused it for good.
    pub fn is_done(&self, piece: usize) -> bool {
        let parts = lock(&self.0);
        parts.done.get(piece).copied().unwrap_or_default()
    }

    /// Notes what the backend said of a piece that need not be sent again.
    pub fn finish(&self, piece: usize, sent: Sent) {
        let mut parts = lock(&self.0);
        if parts.done.len() <= piece {
            parts.done.resize(piece + 1, false);
        }
        parts.done[piece] = true;
        parts.sent.rejected += sent.rejected;
        parts.sent.message = parts.sent.message.take().or(sent.message);
    }

    /// What the backend said of all pieces so far.
    pub fn sent(&self) -> Sent {
        lock(&self.0).sent.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_each_piece_adds_up() {
        let progress = Progress::default();
        let refused = |count, words: &str| Sent {
            rejected: count,
            message: Some(words.to_owned()),
            ..Sent::default()
        };
        progress.finish(2, refused(3, "too old"));
        progress.finish(0, refused(1, "empty"));
        assert_eq!([0, 1, 2, 3].map(|piece| progress.is_done(piece)), [true, false, true, false]);
        assert_eq!(progress.sent(), refused(4, "too old"));
    }
}
