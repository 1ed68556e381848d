//! A folder that a log can read but not change: to look at the files of another process.

use std::{io, sync::Arc};

use super::disk::{Disk, File, Folder};

/// Reads a folder and writes nothing.
#[derive(Debug)]
pub struct ReadOnly(pub Folder);

fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnly {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn File>> {
        refuse()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.open(name)
    }

    fn rewrite(&self, _: &str) -> io::Result<Arc<dyn File>> {
        refuse()
    }

    /// Does nothing and returns success, because opening a log renames damaged files and goes on
    /// without them.
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    /// The same.
    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        refuse()
    }

    fn check(&self) -> io::Result<()> {
        self.0.check()
    }
}
