//! A disk in memory, for the target `storage`.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    sync::{Arc, Mutex, PoisonError},
};

use skep::storage::{Disk, File};

/// A folder in memory.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<HashMap<String, Content>>>);

#[derive(Clone, Default)]
struct Content(Arc<Mutex<Vec<u8>>>);

/// A file and where the next write goes.
struct Open(Content, Mutex<usize>);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        lock(&self.0).insert(name.to_owned(), Content(Arc::new(Mutex::new(bytes.to_vec()))));
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).keys().cloned().collect())
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.put(name, &[]);
        self.open(name)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let content = lock(&self.0).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open(content, Mutex::new(0))))
    }
    fn rewrite(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open(name)
    }
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.0);
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.0).remove(name).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for Open {
    fn append(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let (mut content, mut at) = (lock(&self.0.0), lock(&self.1));
        let from = *at;
        for slice in bytes {
            let end = *at + slice.len();
            let len = content.len().max(end);
            content.resize(len, 0);
            content[*at..end].copy_from_slice(slice);
            *at = end;
        }
        Ok(*at - from)
    }
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.0.0);
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let there = content.get(from..).unwrap_or_default();
        let len = there.len().min(bytes.len());
        bytes[..len].copy_from_slice(&there[..len]);
        Ok(len)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn cut(&self, len: u64) -> io::Result<()> {
        lock(&self.0.0).truncate(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.0.0).len() as u64)
    }
    fn has_name(&self) -> io::Result<bool> {
        Ok(true)
    }
}
