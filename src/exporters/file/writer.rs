//! The open files of one exporter: opened at the first write, put aside when full, closed when
//! there are too many.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use super::{Config, Rotation};
use crate::{sync, telemetry::calendar::file_stamp};

/// Open files, the one that was used last at the end.
pub(super) struct Files {
    config: Config,
    open: Vec<Open>,
}

/// Paths that this process has opened: they are never emptied again, also not after a reload that
/// has replaced an exporter. There are as many as in configurations.
static BEGUN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn begin(path: &Path) -> bool {
    sync::lock(&BEGUN).insert(path.to_owned())
}

struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Files {
    pub(super) fn new(config: Config) -> Self {
        // The shared handle stays outside: files that hold themselves would never be closed.
        let config = Config { files: super::Shared::default(), ..config };
        Files { config, open: Vec::new() }
    }

    /// Appends one message with its length or line break, as a whole or not at all.
    pub(super) fn write(
        &mut self,
        path: &Path,
        parts: [&[u8]; 2],
        now: SystemTime,
    ) -> io::Result<()> {
        let mut open = self.take(path)?;
        let len = (parts[0].len() + parts[1].len()) as u64;
        if let Some(rotation) = self.config.rotation.on() {
            let limit = rotation.max_megabytes.saturating_mul(1024 * 1024);
            if open.size > 0 && open.size + len > limit {
                open.file.sync_all()?;
                drop(open.file);
                put_aside(path, rotation, now)?;
                open = self.open(path)?;
            }
        }
        let written = write_all(&mut open.file, parts);
        match &written {
            Ok(()) => open.size += len,
            // Half a message would make the rest of the file unreadable.
            Err(_) => open.file.set_len(open.size)?,
        }
        self.open.push(open);
        written
    }

    /// Makes everything durable. Files stay open: another signal may still write.
    pub(super) fn sync(&mut self) {
        for open in &self.open {
            if let Err(error) = open.file.sync_all() {
                tracing::error!(path = %open.path.display(), %error, "file may be incomplete");
            }
        }
    }

    /// The file at a path, taken out of the list.
    fn take(&mut self, path: &Path) -> io::Result<Open> {
        if let Some(position) = self.open.iter().position(|open| open.path == path) {
            return Ok(self.open.remove(position));
        }
        let most =
            if self.config.group_by.enabled { self.config.group_by.max_open_files } else { 1 };
        while self.open.len() >= most {
            self.open.remove(0).file.sync_all()?;
        }
        self.open(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<Open> {
        let config = &self.config;
        if let Some(directory) = path.parent()
            && (config.create_directory || config.group_by.enabled)
        {
            make_directory(directory, config.permissions().unwrap_or(0o755))?;
        }
        // A file of a group may have been closed to make room, so it is never emptied.
        let keeps = config.append || config.rotation.on().is_some() || config.group_by.enabled;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                let text = "its directory does not exist; make it or set `create_directory: true`";
                io::Error::new(error.kind(), text)
            } else {
                error
            }
        })?;
        if !config.group_by.enabled && begin(path) && !keeps {
            file.set_len(0)?;
        }
        let size = file.metadata()?.len();
        Ok(Open { path: path.to_owned(), file, size })
    }
}

/// Usually in one call, so that no other process writes in between.
fn write_all(file: &mut File, parts: [&[u8]; 2]) -> io::Result<()> {
    let written = loop {
        match file.write_vectored(&parts.map(IoSlice::new)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => break written?,
        }
    };
    let (first, rest) = (parts[0].len(), written.saturating_sub(parts[0].len()));
    file.write_all(&parts[0][written.min(first)..])?;
    file.write_all(&parts[1][rest..])
}

#[cfg(unix)]
fn make_directory(directory: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(mode).create(directory)
}

#[cfg(not(unix))]
fn make_directory(directory: &Path, _mode: u32) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// `traces.json` becomes `traces-2020-02-11T20-26-12.000.json`; old backups are deleted.
fn put_aside(path: &Path, rotation: &Rotation, now: SystemTime) -> io::Result<()> {
    let mut since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut backup = backup_name(path, since);
    while backup.exists() {
        since += Duration::from_millis(1);
        backup = backup_name(path, since);
    }
    fs::rename(path, &backup)?;
    let mut backups = backups_of(path)?;
    // After the clock was set back, the oldest are those whose time is still to come.
    backups.sort_by_key(|other| *other <= backup);
    let kept = if rotation.max_backups == 0 { usize::MAX } else { rotation.max_backups };
    let surplus = backups.len().saturating_sub(kept);
    let oldest = since.saturating_sub(Duration::from_secs(86_400 * rotation.max_days));
    let oldest = backup_name(path, oldest);
    for (i, backup) in backups.iter().enumerate() {
        if i < surplus || (rotation.max_days > 0 && *backup < oldest) {
            fs::remove_file(backup)?;
        }
    }
    Ok(())
}

/// Stem and extension with the dot.
fn name_parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
    let extension = text(path.extension()).map(|extension| format!(".{extension}"));
    (text(path.file_stem()).unwrap_or_default(), extension.unwrap_or_default())
}

fn backup_name(path: &Path, since: Duration) -> PathBuf {
    let (stem, extension) = name_parts(path);
    let stamp = file_stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    path.with_file_name(format!("{stem}-{stamp}{extension}"))
}

/// Backups of a file, the oldest first: their names sort as their times do.
fn backups_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (stem, extension) = name_parts(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut backups = Vec::new();
    for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let stamp = name
            .strip_prefix(&stem)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(&extension));
        if stamp.is_some_and(is_stamp) {
            backups.push(path.with_file_name(name));
        }
    }
    backups.sort();
    Ok(backups)
}

/// Whether text has the form of [`file_stamp`], so that no other file is taken for a backup.
fn is_stamp(text: &str) -> bool {
    let form = b"0000-00-00T00-00-00.000";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}
