//! A log file that does not grow without end: at 50 MB it is renamed to `NAME.1`, which replaces an
//! older one, and a new file is begun.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
};

/// Bytes of a file before the next is begun.
const LIMIT: u64 = 50 << 20;

/// A file that is written at its end.
#[derive(Debug)]
pub(super) struct Rotating {
    path: String,
    file: File,
    len: u64,
    /// `None`: it may grow.
    limit: Option<u64>,
}

impl Rotating {
    /// Opens or creates it.
    pub(super) fn open(path: &str, rotates: bool) -> io::Result<Self> {
        let file = append(path)?;
        let len = file.metadata()?.len();
        let limit = rotates.then_some(LIMIT);
        Ok(Rotating { path: path.to_owned(), file, len, limit })
    }

    /// If the old file cannot be renamed, it goes on growing: a log is better than none.
    fn rotate(&mut self) {
        self.len = 0;
        if fs::rename(&self.path, format!("{}.1", self.path)).is_ok()
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
        }
    }
}

fn append(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_full = self.limit.is_some_and(|limit| self.len + bytes.len() as u64 > limit);
        if is_full && self.len > 0 {
            self.rotate();
        }
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_away_and_one_old_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skep.log");
        let path = path.to_str().unwrap();
        let read = |name: &str| fs::read_to_string(format!("{path}{name}")).unwrap();
        let mut log = Rotating { limit: Some(10), ..Rotating::open(path, true).unwrap() };
        for line in ["one 56789\n", "two\n", "three\n", "four\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!((read("").as_str(), read(".1").as_str()), ("four\n", "two\nthree\n"));
        let mut log = Rotating::open(path, false).unwrap();
        log.write_all(b"more\n").unwrap();
        assert_eq!(read(""), "four\nmore\n");
        assert!(Rotating::open("/no/such/folder/x", true).is_err());
    }
}
