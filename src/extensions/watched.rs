//! A file that is read again when it changes. It is looked at once a second at most, and only while
//! somebody asks for it.

use std::{
    fmt, fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::net::seldom::Seldom;

/// How often a file is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When a file was written last, and how long it is.
pub(super) type Version = Option<(SystemTime, u64)>;

pub(super) fn version(file: &str) -> Version {
    let about = fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}

type Parse<T> = Box<dyn Fn(&str) -> Result<T, String> + Send + Sync>;

/// What a file says, parsed.
pub(super) struct Watched<T> {
    file: String,
    parse: Parse<T>,
    state: Mutex<State<T>>,
    told: Seldom,
}

struct State<T> {
    value: Arc<T>,
    looked: Instant,
    version: Version,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<T> Watched<T> {
    /// Reads the file for the first time. The error names it.
    pub(super) fn open(
        file: &str,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let parse: Parse<T> = Box::new(parse);
        // Asked before the file is read: a later change is seen the next time.
        let version = version(file);
        let value = Arc::new(read(file, &parse)?);
        let state = Mutex::new(State { value, looked: Instant::now(), version });
        Ok(Watched { file: file.to_owned(), parse, state, told: Seldom::default() })
    }

    /// What the file says now. If it cannot be read any more, what it said before, with a warning.
    pub(super) fn at(&self, now: Instant) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) < LOOK_EVERY {
            return Arc::clone(&state.value);
        }
        state.looked = now;
        let version = version(&self.file);
        if version.is_some() && version == state.version {
            return Arc::clone(&state.value);
        }
        match read(&self.file, &self.parse) {
            Ok(value) => {
                tracing::info!(file = self.file, "the file has changed and was read again");
                (state.value, state.version) = (Arc::new(value), version);
            }
            Err(error) if self.told.is_due() => {
                tracing::warn!(%error, "what the file said before stays in use");
            }
            Err(_) => {}
        }
        Arc::clone(&state.value)
    }
}

fn read<T>(file: &str, parse: &Parse<T>) -> Result<T, String> {
    let text =
        fs::read_to_string(file).map_err(|error| format!("`{file}` cannot be read: {error}"))?;
    parse(&text).map_err(|error| format!("`{file}` {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_file_is_parsed_again_when_it_changes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"1").unwrap();
        let name = file.path().to_str().unwrap().to_owned();
        let number = |text: &str| text.parse::<u32>().map_err(|_| "is no number".to_owned());
        let watched = Watched::open(&name, number).unwrap();
        let start = Instant::now() + LOOK_EVERY;
        assert_eq!(*watched.at(start), 1);
        file.write_all(b"2").unwrap();
        assert_eq!(*watched.at(start), 1, "it is not looked at for every request");
        assert_eq!(*watched.at(start + LOOK_EVERY), 12);
        file.write_all(b"x").unwrap();
        assert_eq!(*watched.at(start + 2 * LOOK_EVERY), 12, "what is wrong changes nothing");
        file.close().unwrap();
        assert_eq!(*watched.at(start + 3 * LOOK_EVERY), 12);
        let error = Watched::open(&name, number).unwrap_err();
        assert!(error.contains(&name), "{error}");
    }
}
