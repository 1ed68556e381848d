//! A folder that stays as it is, whatever a log would do to it: for looking at the files of another process.

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

    /// Does nothing, and says that it is done: opening a log sets aside what holds no record, and
    /// goes on without it.
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
