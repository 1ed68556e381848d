//! Traces as OTLP/JSON, to be kept in a file or handed on, and such files read back: what the
//! exporter `file` writes, too, with one request per line.

use bytes::Bytes;

use super::{chunk::Kind, item, traces::rows_of, whole::Recent};
use crate::{
    otlp::{
        Signal,
        check::{self, Utf8},
        json::{self, DEPTH_LIMIT},
    },
    sync,
};

/// Most bytes of protobuf that an export may have; as JSON it is two or three times as large.
const BYTES: usize = 16 << 20;

/// Why traces are not exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// None of them is held.
    #[error("none of these traces is held any more")]
    Gone,
    /// They are too large.
    #[error("the selection has more than {} MiB; choose fewer traces", BYTES >> 20)]
    TooLarge,
}

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct LoadError {
    /// The line, from 1; a document of several lines begins at line 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl Recent {
    /// The spans of some traces that are held, as one OTLP/JSON document without line breaks: the
    /// request that would send them. `now`: nanoseconds since 1970.
    pub fn export(&self, traces: &[[u8; 16]], now: u64) -> Result<Vec<u8>, ExportError> {
        let (chunks, _) = self.snapshot(Kind::Spans, now);
        let mut request = Vec::new();
        for chunk in chunks.iter().rev() {
            let mut rows: Vec<usize> =
                traces.iter().flat_map(|trace| rows_of(chunk, trace)).collect();
            rows.sort_unstable();
            rows.dedup();
            // In parts, so that no more than what is allowed is put together.
            for rows in rows.chunks(256) {
                item::put_requests(chunk, rows, &mut request);
                if request.len() > BYTES {
                    return Err(ExportError::TooLarge);
                }
            }
        }
        if request.is_empty() {
            return Err(ExportError::Gone);
        }
        let mut out = Vec::new();
        json::write(Signal::Traces, &[Bytes::from(request)], &mut out);
        Ok(out)
    }

    /// Takes in a file: one OTLP/JSON document, or one per line. Returns how many items were read.
    /// What does not fit evicts what came before it. `now`: nanoseconds since 1970.
    pub fn load(&self, text: &[u8], now: u64) -> Result<u64, LoadError> {
        // A document of several lines is not one per line.
        if let Ok(count) = self.load_document(text, now) {
            return Ok(count);
        }
        let mut items = 0;
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let read = self.load_document(line, now);
            items += read.map_err(|message| LoadError { line: at + 1, message })?;
        }
        Ok(items)
    }

    fn load_document(&self, text: &[u8], now: u64) -> Result<u64, String> {
        let signal = signal(text)?;
        let request =
            json::to_protobuf(signal, text, DEPTH_LIMIT).map_err(|error| error.to_string())?;
        let checked = check::check(signal, &request, Utf8::Strict);
        let items = checked.map_err(|error| error.to_string())?.items;
        sync::lock(&self.store).take(signal, &request, 0, now);
        Ok(items)
    }
}

/// The signal of a document, by its first key.
fn signal(text: &[u8]) -> Result<Signal, String> {
    let text = text.trim_ascii_start();
    let start = String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned();
    let key = start.strip_prefix('{').map(str::trim_start).and_then(|rest| {
        let (_, rest) = rest.split_once('"')?;
        rest.split_once('"').map(|(key, _)| key)
    });
    match key {
        Some("resourceSpans" | "resource_spans") => Ok(Signal::Traces),
        Some("resourceLogs" | "resource_logs") => Ok(Signal::Logs),
        Some("resourceMetrics" | "resource_metrics") => Ok(Signal::Metrics),
        _ => Err("this is no OTLP/JSON: it has to begin with `resourceSpans`, `resourceLogs` or \
                  `resourceMetrics`"
            .to_owned()),
    }
}
