//! What earlier attempts on a piece have achieved, when it has to be sent again.

use std::sync::Mutex;

use super::Sent;
use crate::sync::lock;

/// What earlier attempts have achieved, by parts that the exporter numbers. An exporter that makes
/// several calls to send one piece leaves out those that succeeded; it has to make the same parts
/// each time it encodes the same items.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    done: Vec<bool>,
    sent: Sent,
}

impl Progress {
    /// Whether the backend has this part already, or has refused it for good.
    pub fn is_done(&self, part: usize) -> bool {
        let parts = lock(&self.0);
        parts.done.get(part).copied().unwrap_or_default()
    }

    /// Notes what the backend said about a part that need not be sent again.
    pub fn finish(&self, part: usize, sent: Sent) {
        let mut parts = lock(&self.0);
        if parts.done.len() <= part {
            parts.done.resize(part + 1, false);
        }
        parts.done[part] = true;
        parts.sent.rejected += sent.rejected;
        parts.sent.message = parts.sent.message.take().or(sent.message);
    }

    /// Whether the backend has had a part.
    pub fn is_begun(&self) -> bool {
        lock(&self.0).done.contains(&true)
    }

    /// What the backend said about all parts so far.
    pub fn sent(&self) -> Sent {
        lock(&self.0).sent.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_about_all_parts_add_up() {
        let progress = Progress::default();
        let refused = |count, words: &str| Sent {
            rejected: count,
            message: Some(words.to_owned()),
            ..Sent::default()
        };
        progress.finish(2, refused(3, "too old"));
        progress.finish(0, refused(1, "empty"));
        assert_eq!([0, 1, 2, 3].map(|part| progress.is_done(part)), [true, false, true, false]);
        assert_eq!(progress.sent(), refused(4, "too old"));
    }
}
