//! Logs what backends say about requests that they accepted in part or with a note. Both are
//! warnings: a note may be the only sign that the endpoint is not the backend. Each kind of
//! rejection is logged once a minute.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::{component::Sent, net::rate_limit::RateLimit, sync};

/// The same kind is logged once in this time; the counters count all of them.
const PAUSE: Duration = Duration::from_mins(1);
/// Kinds that are logged in that time.
const KINDS: usize = 16;
/// Characters of a message that distinguish kinds.
const PREFIX: usize = 200;

/// What was logged recently.
#[derive(Debug, Default)]
pub(super) struct Partial {
    notes: RateLimit,
    unread: RateLimit,
    /// Kinds of rejections: the backend's message without digits.
    told: Mutex<Vec<(String, Instant)>>,
}

impl Partial {
    /// Logs the message of a backend that accepted a request and rejected some of its items.
    pub(super) fn tell(&self, exporter: &str, rejected: u64, sent: &Sent) {
        let reason = sent.message.as_deref().unwrap_or_default();
        if rejected > 0 {
            if self.is_new(reason) {
                tracing::warn!(
                    exporter,
                    rejected_items = rejected,
                    reason,
                    "Partial success response"
                );
            }
        } else if sent.is_unread {
            if self.unread.is_due() {
                tracing::warn!(
                    exporter,
                    reason,
                    "The backend accepted a request, but its answer cannot be read"
                );
            }
        } else if !reason.is_empty() && self.notes.is_due() {
            tracing::warn!(exporter, note = reason, "The backend accepted everything, with a note");
        }
    }

    fn is_new(&self, reason: &str) -> bool {
        let kind: String = reason.chars().filter(|c| !c.is_ascii_digit()).take(PREFIX).collect();
        let mut told = sync::lock(&self.told);
        told.retain(|(_, since)| since.elapsed() < PAUSE);
        let is_new = told.len() < KINDS && told.iter().all(|(other, _)| *other != kind);
        if is_new {
            told.push((kind, Instant::now()));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_rejection_is_told_once_a_minute() {
        let partial = Partial::default();
        assert!(partial.is_new("span 17 is too old"));
        assert!(!partial.is_new("span 18 is too old"));
        assert!(partial.is_new("the dataset is full"), "another kind has its own turn");
        tokio::time::advance(PAUSE).await;
        assert!(partial.is_new("span 19 is too old"));
    }

    /// The log as lines of JSON, as the process writes them.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_hides_no_rejection_and_no_line_has_a_member_twice() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let partial = Partial::default();
        let answers = [
            (0, "ack 17"),
            (4, "too old"),
            (0, "ack 18"),
            (0, "no JSON"),
            (0, "again no JSON"),
            (1, "no trace id"),
        ];
        for (rejected, said) in answers {
            let is_unread = said.contains("no JSON");
            let sent = Sent { rejected, message: Some(said.to_owned()), is_unread };
            partial.tell("home", rejected, &sent);
        }
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (line, text) in lines.iter().zip(text.lines()) {
            for name in line.as_object().unwrap().keys() {
                assert_eq!(text.matches(&format!("\"{name}\":")).count(), 1, "{name}: {text}");
            }
        }
        let told: Vec<_> = lines
            .iter()
            .map(|line| ["level", "message", "reason", "note"].map(|key| line[key].as_str()))
            .collect();
        let (note, rejection) =
            ("The backend accepted everything, with a note", "Partial success response");
        let unread = "The backend accepted a request, but its answer cannot be read";
        assert_eq!(
            told,
            [
                [Some("WARN"), Some(note), None, Some("ack 17")],
                [Some("WARN"), Some(rejection), Some("too old"), None],
                [Some("WARN"), Some(unread), Some("no JSON"), None],
                [Some("WARN"), Some(rejection), Some("no trace id"), None],
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_never_says_the_same_fills_neither_log_nor_memory() {
        let partial = Partial::default();
        let told = (0..1000).filter(|n| partial.is_new(&"x".repeat(*n))).count();
        assert_eq!((told, partial.told.lock().unwrap().len()), (KINDS, KINDS));
    }
}
