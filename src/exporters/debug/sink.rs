//! Where the text goes: the log of the process, or streams and files.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use super::{Counts, value::time_of};
use crate::{
    otlp::Signal,
    sync,
    telemetry::{
        logs::{self, PAGES},
        outlet::{self, Outlet},
    },
};

/// Most bytes of a page that is handed over at once; a longer line is a page of its own.
pub(super) const PAGE: usize = 64 << 10;

/// A place to print to.
pub(super) enum Sink {
    /// The log, under the id of the exporter.
    Log {
        /// Component id.
        id: String,
    },
    /// Streams and files.
    Targets(Vec<Target>),
}

/// One of `output_paths`, opened when there is something to print.
pub(super) struct Target {
    name: String,
    outlet: Mutex<Option<Arc<Outlet>>>,
}

impl Sink {
    pub(super) fn log(id: String) -> Self {
        Sink::Log { id }
    }

    pub(super) fn paths(paths: &[String]) -> Self {
        let closed = |name: &String| Target { name: name.clone(), outlet: Mutex::default() };
        Sink::Targets(paths.iter().map(closed).collect())
    }

    #[cfg(test)]
    pub(super) fn writer(writer: impl io::Write + Send + 'static) -> Self {
        let outlet = Mutex::new(Some(Arc::new(Outlet::new("test", writer))));
        Sink::Targets(vec![Target { name: "test".to_owned(), outlet }])
    }

    /// Prints counts, at the beginning of a payload, and text, which waits for room as long as
    /// anything is written; an error comes with the name of its target.
    pub(super) async fn print(
        &self,
        counts: Option<&Counts>,
        text: &str,
        time: SystemTime,
    ) -> Result<(), (String, io::Error)> {
        let targets = match self {
            Sink::Log { id } => {
                if let Some(counts) = counts {
                    log(id, counts);
                }
                for page in pages(text) {
                    // In JSON it grows.
                    logs::room(2 * page.len()).await;
                    let page = page.trim_end_matches('\n');
                    tracing::info!(target: PAGES, component = id, "\n{page}");
                }
                return Ok(());
            }
            Sink::Targets(targets) => targets,
        };
        let head = counts.map(|counts| head(counts, time)).unwrap_or_default();
        for target in targets {
            let outlet = target.outlet().map_err(|error| (target.name.clone(), error))?;
            for page in pages(&head).chain(pages(text)) {
                outlet.room(page.len()).await;
                outlet.push(page.as_bytes());
            }
            if let Some(error) = outlet.take_error() {
                return Err((target.name.clone(), error));
            }
        }
        Ok(())
    }

    /// Waits until all is written, for a bounded time.
    pub(super) async fn flush(&self) {
        let Sink::Targets(targets) = self else { return };
        for target in targets {
            let outlet = sync::lock(&target.outlet).clone();
            let Some(outlet) = outlet else { continue };
            outlet.written().await;
            if let Some(error) = outlet.take_error() {
                tracing::warn!(output = target.name, %error, "debug output is incomplete");
            }
        }
    }
}

impl Target {
    fn outlet(&self) -> io::Result<Arc<Outlet>> {
        let mut outlet = sync::lock(&self.outlet);
        Ok(match &*outlet {
            Some(outlet) => Arc::clone(outlet),
            None => Arc::clone(outlet.insert(open(&self.name)?)),
        })
    }
}

fn open(name: &str) -> io::Result<Arc<Outlet>> {
    Ok(match name {
        "stdout" => outlet::stdout(),
        "stderr" => outlet::stderr(),
        path => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            Arc::new(Outlet::new(path, file))
        }
    })
}

/// Text in parts of whole lines.
fn pages(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let limit = text.floor_char_boundary(PAGE);
        let end = if text.len() <= PAGE { Some(text.len() - 1) } else { text[..limit].rfind('\n') };
        let end = end.or_else(|| text.find('\n')).map_or(text.len(), |at| at + 1);
        let (page, rest) = text.split_at(end);
        text = rest;
        Some(page)
    })
}

/// One event with the counts as fields.
fn log(id: &str, counts: &Counts) {
    let Counts { resources, records, points, .. } = *counts;
    match counts.signal {
        Signal::Traces => tracing::info!(
            target: "debug",
            component = id, "resource spans" = resources, "spans" = records, "Traces"
        ),
        Signal::Metrics => tracing::info!(
            target: "debug",
            component = id,
            "resource metrics" = resources, "metrics" = records, "data points" = points,
            "Metrics"
        ),
        Signal::Logs => tracing::info!(
            target: "debug",
            component = id, "resource logs" = resources, "log records" = records, "Logs"
        ),
    }
}

/// Time, level, message and counts in a line.
fn head(counts: &Counts, time: SystemTime) -> String {
    let Counts { resources, records, points, .. } = counts;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    let mut out = format!("{}\tinfo\t", time_of(nanos));
    let _ = match counts.signal {
        Signal::Traces => {
            writeln!(out, "Traces\t{{\"resource spans\": {resources}, \"spans\": {records}}}")
        }
        Signal::Metrics => writeln!(
            out,
            "Metrics\t{{\"resource metrics\": {resources}, \"metrics\": {records}, \
             \"data points\": {points}}}"
        ),
        Signal::Logs => {
            writeln!(out, "Logs\t{{\"resource logs\": {resources}, \"log records\": {records}}}")
        }
    };
    out
}
