//! The file system operations that a log needs. Tests replace them with a simulated disk, which
//! tears writes, loses unsynced data, and fails.

use std::{
    fs, io,
    io::{IoSlice, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// One folder.
pub trait Disk: Send + Sync {
    /// Names of the files in it, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file that is not there yet.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading. It is an error if the name belongs to a directory.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file to overwrite it from the beginning.
    fn rewrite(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Renames a file or a directory. A file that had the new name is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names of files durable after files were created, renamed or removed.
    fn sync(&self) -> io::Result<()>;
    /// Fails if the folder was removed, or if another one has its path.
    fn check(&self) -> io::Result<()>;
    /// How an operator finds a file in it.
    fn path_of(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// One file. Only its log writes to it.
pub trait File: Send + Sync {
    /// Writes after the end of the last write. Returns how many bytes were written, maybe not all.
    fn append(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Reads at a position. Returns how many bytes were read, 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes written bytes durable.
    fn sync(&self) -> io::Result<()>;
    /// Truncates the file to a length.
    fn cut(&self, len: u64) -> io::Result<()>;
    /// Bytes in it.
    fn size(&self) -> io::Result<u64>;
    /// Whether the file still has a name. Without one it vanishes with the process.
    fn has_name(&self) -> io::Result<bool>;
}

/// Writes all of `bytes` after the end of the last write.
pub(super) fn append_all(file: &dyn File, bytes: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut left = bytes;
    // With empty slices first, the write would return 0, which means an error below.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.append(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `bytes` from a position. Returns how many there were.
pub(super) fn read_full(file: &dyn File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Kept open, so that no other folder can get its inode number.
    opened: fs::File,
}

impl Folder {
    /// Opens a folder, and creates it if it does not exist.
    pub fn open(path: &Path, mode: u32) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        Ok(Folder { path: path.to_owned(), opened: fs::File::open(path)? })
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.create_new(true).write(true).read(true);
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::File::open(self.path.join(name))?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(file))
    }

    fn rewrite(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::OpenOptions::new().write(true).read(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.opened.sync_all()
    }

    fn check(&self) -> io::Result<()> {
        let opened = self.opened.metadata()?;
        let is_same = |now: fs::Metadata| (now.dev(), now.ino()) == (opened.dev(), opened.ino());
        if fs::metadata(&self.path).is_ok_and(is_same) {
            return Ok(());
        }
        let message = format!(
            "`{}` was removed, or another directory has its place; put it back, or restart skep",
            self.path.display()
        );
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }

    fn path_of(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl File for fs::File {
    fn append(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut file = self;
        file.write_vectored(bytes)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn has_name(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }
}
