//! Settings made of certificate files, made again when the files change.
//!
//! The files are looked at by whoever needs the settings, at most once an interval, so that an
//! idle process sleeps. New files that are of no use change nothing: the old settings stay.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// Settings of one day.
#[derive(Debug)]
pub(super) struct Reloading<C> {
    /// How often the files are looked at; none: never.
    interval: Option<Duration>,
    files: Vec<String>,
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    config: Arc<C>,
    looked: Instant,
    /// When the files were written last.
    written: Vec<Option<SystemTime>>,
}

impl<C> Reloading<C> {
    /// The first settings, and the files that they were made of.
    pub(super) fn new<'a>(
        interval: Option<Duration>,
        files: impl IntoIterator<Item = &'a Option<String>>,
        make: impl FnOnce() -> Result<Arc<C>, String>,
    ) -> Result<Self, String> {
        let files: Vec<String> = files.into_iter().flatten().cloned().collect();
        let written = written(&files);
        let state = State { config: make()?, looked: Instant::now(), written };
        Ok(Reloading { interval, files, state: Mutex::new(state) })
    }

    /// The settings at a time; `make` makes them again.
    pub(super) fn at(&self, now: Instant, make: impl FnOnce() -> Result<Arc<C>, String>) -> Arc<C> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.interval.is_some_and(|interval| now.duration_since(state.looked) >= interval) {
            state.looked = now;
            let written = written(&self.files);
            if written != state.written {
                let files = self.files.join(", ");
                match make() {
                    Ok(config) => {
                        state.config = config;
                        tracing::info!(files, "The TLS certificate was read again.");
                    }
                    Err(error) => tracing::warn!(
                        error,
                        files,
                        "The new TLS certificate is unusable; the old one stays."
                    ),
                }
                state.written = written;
            }
        }
        Arc::clone(&state.config)
    }
}

fn written(files: &[String]) -> Vec<Option<SystemTime>> {
    files.iter().map(|file| fs::metadata(file).ok()?.modified().ok()).collect()
}
