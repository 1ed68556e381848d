//! A disk for tests: it forgets what was not synced, tears writes at a crash, and fails when told
//! to.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    sync::{Arc, Mutex},
};

use super::disk::{Disk, File};

use crate::sync;

/// What goes wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Half of the bytes are written, without an error.
    ShortWrite,
    /// Half of the bytes are written, then there is no space.
    NoSpace,
    /// A write fails with an error of the device.
    WriteError,
    /// A sync fails, and what was to be synced stays where it was.
    SyncError,
    /// A sync reports success but has not been done.
    LostSync,
    /// A read fails.
    ReadError,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// Bytes that survive a crash.
    durable: Vec<u8>,
    is_directory: bool,
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, Arc<Mutex<Content>>>,
    /// Names that survive a crash.
    names: BTreeMap<String, Arc<Mutex<Content>>>,
    random: Option<fastrand::Rng>,
    /// Share of the operations that go wrong, in percent, and how.
    faults: Vec<(u8, Fault)>,
    /// Whether the folder was removed.
    is_gone: bool,
    /// Bytes that were read so far.
    read: usize,
    /// Writes so far.
    writes: usize,
}

/// A folder in memory.
#[derive(Clone, Default)]
pub(super) struct SimulatedDisk(Arc<Mutex<Inner>>);

struct SimulatedFile {
    disk: SimulatedDisk,
    content: Arc<Mutex<Content>>,
    /// Where the next write goes.
    at: Mutex<usize>,
}

impl SimulatedFile {
    fn open(disk: &SimulatedDisk, content: &Arc<Mutex<Content>>) -> Arc<dyn File> {
        let (disk, content) = (disk.clone(), Arc::clone(content));
        Arc::new(SimulatedFile { disk, content, at: Mutex::new(0) })
    }
}

impl Content {
    fn write(&mut self, at: &mut usize, bytes: &[u8]) {
        let end = *at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[*at..end].copy_from_slice(bytes);
        *at = end;
    }
}

impl SimulatedDisk {
    pub(super) fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::default();
        sync::lock(&disk.0).random = Some(fastrand::Rng::with_seed(seed));
        disk
    }

    /// Bytes that were read so far.
    pub(super) fn read(&self) -> usize {
        sync::lock(&self.0).read
    }

    /// Writes so far.
    pub(super) fn writes(&self) -> usize {
        sync::lock(&self.0).writes
    }

    /// From now on these percentages of the operations fail.
    pub(super) fn fail(&self, faults: &[(u8, Fault)]) {
        sync::lock(&self.0).faults = faults.to_vec();
    }

    fn meets(&self, faults: &[Fault]) -> Option<Fault> {
        let mut inner = sync::lock(&self.0);
        let likely: Vec<(u8, Fault)> =
            inner.faults.iter().filter(|(_, fault)| faults.contains(fault)).copied().collect();
        let random = inner.random.as_mut()?;
        likely.into_iter().find(|(percent, _)| random.u8(..100) < *percent).map(|(_, fault)| fault)
    }

    /// The machine crashes: of unsynced bytes, any prefix and any pages may survive.
    pub(super) fn crash(&self) {
        let mut inner = sync::lock(&self.0);
        let mut random = inner.random.take().unwrap_or_default();
        // An unsynced name may survive, too. A file has one name, the old or the new one.
        let mut after: BTreeMap<String, Arc<Mutex<Content>>> = BTreeMap::new();
        for (name, content) in &inner.files {
            let old = inner.names.iter().find(|(_, old)| Arc::ptr_eq(old, content));
            let kept = match old {
                Some((old, _)) if old == name || random.bool() => Some(old),
                Some(_) => Some(name),
                None => random.bool().then_some(name),
            };
            if let Some(kept) = kept {
                after.entry(kept.clone()).or_insert_with(|| Arc::clone(content));
            }
        }
        for (name, content) in &inner.names {
            let is_gone = !inner.files.values().any(|file| Arc::ptr_eq(file, content));
            if is_gone && random.bool() {
                after.entry(name.clone()).or_insert_with(|| Arc::clone(content));
            }
        }
        for content in after.values() {
            let mut content = sync::lock(content);
            let Content { bytes, durable, .. } = &mut *content;
            let upto = random.usize(durable.len().min(bytes.len())..=bytes.len());
            let mut survived = Vec::with_capacity(upto);
            // What was written survives in pieces, as pages were written back; of the others the
            // old ones.
            while survived.len() < upto {
                let (from, page) = (survived.len(), random.usize(1..=4096));
                let to = (from + page).min(upto);
                let source = if random.u8(..4) == 0 { &*durable } else { &*bytes };
                survived
                    .extend_from_slice(source.get(from..to.min(source.len())).unwrap_or_default());
                survived.resize(to, 0);
            }
            *bytes = survived;
            durable.clone_from(bytes);
        }
        inner.files.clone_from(&after);
        inner.names = after;
        inner.random = Some(random);
    }

    /// The process is restarted: everything that was written is still there.
    pub(super) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = sync::lock(&self.0).files.keys().cloned().collect();
        names.sort();
        names
    }

    /// Changes the bytes of a file.
    pub(super) fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let content = Arc::clone(&sync::lock(&self.0).files[name]);
        change(&mut sync::lock(&content).bytes);
    }

    /// Puts an empty directory in the place of a file.
    pub(super) fn put_directory(&self, name: &str) {
        let directory = Content { is_directory: true, ..Content::default() };
        sync::lock(&self.0).files.insert(name.to_owned(), Arc::new(Mutex::new(directory)));
    }

    /// Removes the folder with its files; open files stay open.
    pub(super) fn remove_all(&self) {
        let mut inner = sync::lock(&self.0);
        inner.files.clear();
        inner.is_gone = true;
    }

    /// An independent copy.
    pub(super) fn copy(&self) -> Self {
        let inner = sync::lock(&self.0);
        let copied = |files: &BTreeMap<String, Arc<Mutex<Content>>>| {
            let copy = |content: &Arc<Mutex<Content>>| {
                let content = sync::lock(content);
                Arc::new(Mutex::new(Content {
                    bytes: content.bytes.clone(),
                    durable: content.durable.clone(),
                    is_directory: content.is_directory,
                }))
            };
            files.iter().map(|(name, content)| (name.clone(), copy(content))).collect()
        };
        let files: BTreeMap<String, Arc<Mutex<Content>>> = copied(&inner.files);
        let names = files.clone();
        let (random, faults) = (inner.random.clone(), inner.faults.clone());
        let inner = Inner { files, names, random, faults, ..Inner::default() };
        SimulatedDisk(Arc::new(Mutex::new(inner)))
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut inner = sync::lock(&self.0);
        if inner.is_gone {
            return Err(io::ErrorKind::NotFound.into());
        }
        if inner.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::new(Mutex::new(Content::default()));
        inner.files.insert(name.to_owned(), Arc::clone(&content));
        Ok(SimulatedFile::open(self, &content))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let inner = sync::lock(&self.0);
        let content = inner.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        if sync::lock(content).is_directory {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(SimulatedFile::open(self, content))
    }

    fn rewrite(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open(name)
    }

    fn check(&self) -> io::Result<()> {
        if sync::lock(&self.0).is_gone { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = sync::lock(&self.0);
        if inner.files.get(to).is_some_and(|content| sync::lock(content).is_directory) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let content = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = sync::lock(&self.0);
        if inner.files.get(name).is_some_and(|content| sync::lock(content).is_directory) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        inner.files.remove(name).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        match self.meets(&[Fault::SyncError, Fault::LostSync]) {
            Some(Fault::LostSync) => return Ok(()),
            Some(_) => return Err(io::Error::other("sync of the folder")),
            None => {}
        }
        let mut inner = sync::lock(&self.0);
        inner.names = inner.files.clone();
        Ok(())
    }
}

impl File for SimulatedFile {
    fn append(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = bytes.iter().flat_map(|slice| slice.iter().copied()).collect();
        sync::lock(&self.disk.0).writes += 1;
        let fault = self.disk.meets(&[Fault::ShortWrite, Fault::NoSpace, Fault::WriteError]);
        let written = if fault.is_some() { all.len() / 2 } else { all.len() };
        let (mut content, mut at) = (sync::lock(&self.content), sync::lock(&self.at));
        match fault {
            Some(Fault::WriteError) => return Err(io::Error::other("write")),
            Some(Fault::NoSpace) => {
                content.write(&mut at, &all[..written]);
                return Err(io::ErrorKind::StorageFull.into());
            }
            _ => {}
        }
        let written = written.max(1).min(all.len());
        content.write(&mut at, &all[..written]);
        Ok(written)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.disk.meets(&[Fault::ReadError]).is_some() {
            return Err(io::Error::other("read"));
        }
        let content = sync::lock(&self.content);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let there = content.bytes.get(offset..).unwrap_or_default();
        let len = there.len().min(bytes.len());
        bytes[..len].copy_from_slice(&there[..len]);
        sync::lock(&self.disk.0).read += len;
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        match self.disk.meets(&[Fault::SyncError, Fault::LostSync]) {
            Some(Fault::LostSync) => return Ok(()),
            Some(_) => return Err(io::Error::other("sync")),
            None => {}
        }
        let mut content = sync::lock(&self.content);
        let Content { bytes, durable, .. } = &mut *content;
        durable.clone_from(bytes);
        Ok(())
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        if self.disk.meets(&[Fault::WriteError]).is_some() {
            return Err(io::Error::other("cut"));
        }
        sync::lock(&self.content).bytes.truncate(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(sync::lock(&self.content).bytes.len() as u64)
    }

    fn has_name(&self) -> io::Result<bool> {
        let inner = sync::lock(&self.disk.0);
        Ok(inner.files.values().any(|content| Arc::ptr_eq(content, &self.content)))
    }
}
