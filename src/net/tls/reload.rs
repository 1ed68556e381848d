//! Settings that are made from certificate files, and made again when the files change.
//!
//! The files are checked when the settings are needed, at most once an interval, so that an idle
//! process sleeps, and once after the process was told to check ([`look_again`]). If new files are
//! unusable, the old settings stay.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{config::Interval, sync};

/// How often certificates are checked; 0 means only after a reload of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Renewal(pub Interval);

impl Default for Renewal {
    fn default() -> Self {
        Renewal(Interval(Duration::from_mins(1)))
    }
}

impl Renewal {
    /// `None` means never.
    pub(super) fn interval(self) -> Option<Duration> {
        Some(self.0.0).filter(|interval| !interval.is_zero())
    }
}

/// How often the process was told to check.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// Makes all certificates be checked before their next use, whatever their intervals are.
pub fn look_again() {
    LOOKS.fetch_add(1, Ordering::Relaxed);
}

/// The settings, and the state of their files.
#[derive(Debug)]
pub(super) struct Reloading<C> {
    /// How often the files are checked; `None` means never.
    interval: Option<Duration>,
    files: Vec<String>,
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    config: Arc<C>,
    looked: Instant,
    /// The value of [`LOOKS`] at that time.
    looks: u64,
    /// When the files were written last.
    written: Vec<Option<SystemTime>>,
}

impl<C> Reloading<C> {
    /// The first settings, and the files that they were made from.
    pub(super) fn new<'a>(
        interval: Option<Duration>,
        files: impl IntoIterator<Item = &'a Option<String>>,
        make: impl FnOnce() -> Result<Arc<C>, String>,
    ) -> Result<Self, String> {
        let files: Vec<String> = files.into_iter().flatten().cloned().collect();
        let written = written(&files);
        let looks = LOOKS.load(Ordering::Relaxed);
        let state = State { config: make()?, looked: Instant::now(), looks, written };
        Ok(Reloading { interval, files, state: Mutex::new(state) })
    }

    /// The settings at a time; `make` makes them again.
    pub(super) fn at(&self, now: Instant, make: impl FnOnce() -> Result<Arc<C>, String>) -> Arc<C> {
        let mut state = sync::lock(&self.state);
        let looks = LOOKS.load(Ordering::Relaxed);
        let is_old = self.interval.is_some_and(|limit| now.duration_since(state.looked) >= limit);
        if is_old || state.looks != looks {
            state.looked = now;
            state.looks = looks;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_at_after_the_interval_or_when_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = Some(file.path().display().to_string());
        let touch = |seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.as_file().set_modified(time).unwrap();
        };
        touch(1);
        let at_first = || Ok(Arc::new(1));
        let minute = Renewal::default().interval();
        let by_default = Reloading::new(minute, [&name], at_first).unwrap();
        let never = Reloading::new(Renewal(Interval::default()).interval(), [&name], at_first);
        let never = never.unwrap();
        touch(2);
        let (soon, later) = (Instant::now(), Instant::now() + Duration::from_mins(1));
        let now = |one: &Reloading<i32>, at, new| *one.at(at, || Ok(Arc::new(new)));
        assert_eq!((now(&by_default, soon, 2), now(&by_default, later, 2)), (1, 2));
        assert_eq!(now(&never, later, 2), 1);
        look_again();
        assert_eq!(now(&never, later, 2), 2);
        touch(3);
        look_again();
        assert_eq!(*never.at(later, || Err("of no use".to_owned())), 2);
        assert_eq!(now(&never, later, 3), 2, "nothing has changed since");
    }
}
