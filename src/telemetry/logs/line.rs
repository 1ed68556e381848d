//! Formats log lines and passes them to the outlet. Here, for all events, foreign text (telemetry,
//! responses of backends) is escaped and secrets in URLs are masked.

use std::{
    fmt::{self, Write as _},
    io,
    sync::Arc,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer, time::FormatTime as _,
    },
    registry::LookupSpan,
};

use super::{Clock, PAGES};
use crate::{
    config::shown::{Escaping, escaped_json, without_secrets},
    telemetry::outlet::Outlet,
};

/// Lines for people: time, level, message, fields.
pub(super) struct Console;

impl<S, N> FormatEvent<S, N> for Console
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _cx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if writer.has_ansi_escapes() {
            let color = match level {
                Level::TRACE => 35,
                Level::DEBUG => 34,
                Level::INFO => 32,
                Level::WARN => 33,
                Level::ERROR => 31,
            };
            writer.write_str("\x1b[2m")?;
            Clock.format_time(&mut writer)?;
            write!(writer, "\x1b[0m \x1b[{color}m{level:>5}\x1b[0m")?;
        } else {
            Clock.format_time(&mut writer)?;
            write!(writer, " {level:>5}")?;
        }
        let is_page = event.metadata().target() == PAGES;
        let is_colored = writer.has_ansi_escapes();
        // The text of a page has many lines, so its fields come before it.
        let passes: &[Part] = if is_page { &[Part::Fields, Part::Message] } else { &[Part::All] };
        for part in passes {
            let mut fields =
                Fields { out: &mut writer, part: *part, is_page, is_colored, result: Ok(()) };
            event.record(&mut fields);
            fields.result?;
        }
        writeln!(writer)
    }
}

/// What of an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Fields,
    Message,
}

/// Writes fields as ` name=value`, the message without its name.
struct Fields<'w, 'o> {
    out: &'w mut Writer<'o>,
    part: Part,
    is_page: bool,
    is_colored: bool,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
        let name = field.name();
        if name != "message" && self.is_colored {
            write!(self.out, " \x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
        } else if name != "message" {
            write!(self.out, " {name}=")?;
        } else if self.is_page {
            // It begins with a line break, and its lines are already escaped.
            return write!(self.out, "{value:?}");
        } else {
            self.out.write_char(' ')?;
        }
        write!(Escaping(&mut *self.out), "{value:?}")
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_wanted = match self.part {
            Part::All => true,
            Part::Fields => field.name() != "message",
            Part::Message => field.name() == "message",
        };
        if is_wanted && self.result.is_ok() {
            self.result = self.put(field, value);
        }
    }
}

/// Makes a writer for each event.
pub(super) struct Lines {
    pub(super) outlet: Arc<Outlet>,
    pub(super) is_json: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, is_page: false }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, is_page: meta.target() == PAGES }
    }
}

/// Writes one event, which arrives in one piece.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    is_page: bool,
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        // The `debug` exporter prints URLs in telemetry unchanged.
        let text = if self.is_page { text } else { without_secrets(&text).into_owned().into() };
        let text = if self.lines.is_json { escaped_json(&text) } else { (&*text).into() };
        self.lines.outlet.push(text.as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `events` logs, without their time.
    fn logged(is_json: bool, events: impl FnOnce()) -> Vec<String> {
        let paper = Paper::default();
        let outlet = Arc::new(Outlet::new("paper", paper.clone()));
        let lines = Lines { outlet: Arc::clone(&outlet), is_json };
        let layer = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(false);
        if is_json {
            let layer = layer.json().flatten_event(true).without_time();
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        } else {
            let layer = layer.event_format(Console);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        }
        outlet.flush();
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let start = if is_json { 0 } else { 24 };
        text.lines().map(|line| line.get(start..).unwrap_or(line).to_owned()).collect()
    }

    const EVIL: &str = "\u{1b}[31m\nevil\r\n2026-01-01T00:00:00.000Z  ERROR forged\0\u{202e}\u{9b}";

    #[test]
    fn no_event_is_more_than_a_line() {
        let events = || {
            tracing::warn!(name = EVIL, shown = %EVIL, "said {EVIL}");
        };
        let lines = logged(false, events);
        assert_eq!(lines.len(), 1);
        let escaped =
            "\\x1b[31m\\nevil\\r\\n2026-01-01T00:00:00.000Z  ERROR forged\\x00\\u{202e}\\u{9b}";
        assert!(lines[0].starts_with(&format!("  WARN said {escaped} name=")), "{lines:?}");
        assert!(lines[0].ends_with(&format!(" shown={escaped}")), "{lines:?}");
        let lines = logged(true, events);
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(crate::config::shown::is_dangerous), "{lines:?}");
        let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(event["shown"], EVIL);
    }

    #[test]
    fn urls_have_no_secrets_and_pages_keep_their_lines() {
        let events = || {
            tracing::info!(url = "http://u:p@a/?k=S", "Exporting");
            tracing::info!(target: PAGES, component = "debug", "\nhttp://a/?k=S\nsecond");
        };
        let lines = logged(false, events);
        assert_eq!(lines[0], "  INFO Exporting url=\"http://[REDACTED]@a/?k=[REDACTED]\"");
        assert_eq!(lines[1..], ["  INFO component=\"debug\"", "http://a/?k=S", "second"]);
    }
}
