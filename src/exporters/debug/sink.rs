//! Where the text goes: the log of the process, or streams and files.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use super::{Counts, value::time_of};
use crate::otlp::Signal;

/// A place to print to.
pub(super) enum Sink {
    /// The log, under the id of the exporter.
    Log {
        /// Component id.
        id: String,
    },
    /// Streams and files.
    Targets(Mutex<Vec<Target>>),
}

/// One of `output_paths`, opened when there is something to print.
pub(super) struct Target {
    name: String,
    writer: Option<Box<dyn Write + Send>>,
}

impl Sink {
    pub(super) fn log(id: String) -> Self {
        Sink::Log { id }
    }

    pub(super) fn paths(paths: &[String]) -> Self {
        let closed = |name: &String| Target { name: name.clone(), writer: None };
        Sink::Targets(Mutex::new(paths.iter().map(closed).collect()))
    }

    #[cfg(test)]
    pub(super) fn writer(writer: impl Write + Send + 'static) -> Self {
        let target = Target { name: "test".to_owned(), writer: Some(Box::new(writer)) };
        Sink::Targets(Mutex::new(vec![target]))
    }

    /// Prints counts, at the beginning of a payload, and text; an error comes with the name of its
    /// target.
    pub(super) fn print(
        &self,
        counts: Option<&Counts>,
        text: &str,
        time: SystemTime,
    ) -> Result<(), (String, io::Error)> {
        let targets = match self {
            Sink::Log { id } => {
                log(id, counts, text);
                return Ok(());
            }
            Sink::Targets(targets) => targets,
        };
        let head = counts.map(|counts| head(counts, time)).unwrap_or_default();
        for target in targets.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            target.print(&head, text).map_err(|error| (target.name.clone(), error))?;
        }
        Ok(())
    }

    pub(super) fn flush(&self) {
        let Sink::Targets(targets) = self else { return };
        for target in targets.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if let Some(writer) = &mut target.writer
                && let Err(error) = writer.flush()
            {
                tracing::warn!(target = target.name, %error, "debug output is incomplete");
            }
        }
    }
}

impl Target {
    fn print(&mut self, head: &str, text: &str) -> io::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(open(&self.name)?),
        };
        writer.write_all(head.as_bytes())?;
        writer.write_all(text.as_bytes())?;
        writer.flush()
    }
}

fn open(name: &str) -> io::Result<Box<dyn Write + Send>> {
    Ok(match name {
        "stdout" => Box::new(io::stdout()),
        "stderr" => Box::new(io::stderr()),
        path => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    })
}

/// One event with the counts as fields, and one with the text, which keeps its line breaks.
fn log(id: &str, counts: Option<&Counts>, text: &str) {
    if let Some(counts) = counts {
        log_counts(id, counts);
    }
    if !text.is_empty() {
        tracing::info!(target: "debug", component = id, "\n{}", text.trim_end_matches('\n'));
    }
}

fn log_counts(id: &str, counts: &Counts) {
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
