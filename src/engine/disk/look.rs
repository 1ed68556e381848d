//! What can be seen of a storage without opening it, for commands that only look.

use std::{fs, io, path::Path};

use rustix::fs::Access;

use super::storages::explain;
use crate::component::Storage;

/// Why a storage could not be used, with the remedy, as far as can be seen without a write.
pub fn obstacle(settings: &Storage) -> Option<String> {
    let directory = &*settings.directory;
    let metadata = fs::metadata(directory);
    let access = Access::WRITE_OK | Access::EXEC_OK;
    let looked = match metadata {
        Ok(metadata) if !metadata.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        Ok(_) => rustix::fs::access(directory, access).map_err(io::Error::from),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(error) if !settings.creates_directory => Err(error),
        Err(_) => rustix::fs::access(existing(directory), access).map_err(io::Error::from),
    };
    looked.err().map(|error| explain(&error, directory))
}

/// The part of a path that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("."))
}

/// Whether what is written to a directory is gone with the container that skep runs in: it is in
/// the container's own file system, or in memory. `mounts` is the text of `/proc/self/mountinfo`.
pub fn is_lost_with_container(directory: &Path, mounts: &str) -> bool {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let at = existing(&absolute);
    let at = at.canonicalize().unwrap_or_else(|_| at.to_owned());
    let mount = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let kind = kind.split(' ').next()?.to_owned();
        at.starts_with(&point).then_some((point, kind))
    };
    // Of two at the same place, the later one hides the other.
    let nearest = mounts.lines().filter_map(mount).max_by_key(|(point, _)| point.len());
    nearest.is_some_and(|(point, kind)| point == "/" || kind == "tmpfs" || kind == "ramfs")
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::*;
    use crate::engine::disk::storages::DirectoryLock;

    #[test]
    fn what_is_not_in_a_volume_is_lost_with_the_container() {
        let mounts = "\
22 1 0:20 / / rw - overlay overlay rw
30 22 0:40 / /dev/shm rw - tmpfs shm rw
31 22 254:1 /volumes/x /var/lib rw,relatime master:1 - ext4 /dev/vda1 rw
32 22 254:1 /y /mnt/a\\040b rw - ext4 /dev/vda1 rw
";
        for (directory, is_lost) in
            [("/", true), ("/etc", true), ("/dev/shm", true), ("/var/lib", false)]
        {
            assert_eq!(is_lost_with_container(Path::new(directory), mounts), is_lost);
        }
        // What does not exist yet is where it would be made.
        assert!(!is_lost_with_container(Path::new("/var/lib/no-such-directory/x"), mounts));
        assert!(!is_lost_with_container(Path::new("/"), ""), "it cannot be told");
    }

    #[test]
    fn a_look_tells_whether_a_storage_could_be_opened_and_whether_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let storage = |directory: PathBuf, creates_directory| Storage {
            directory,
            creates_directory,
            mode: 0o700,
            timeout: Duration::ZERO,
            limit: 1 << 20,
            segment_size: 1 << 18,
            overflow: crate::storage::Overflow::Block,
            fsync: false,
        };
        let absent = dir.path().join("a/b");
        assert_eq!(obstacle(&storage(dir.path().to_owned(), false)), None);
        assert_eq!(obstacle(&storage(absent.clone(), true)), None);
        let told = obstacle(&storage(absent.clone(), false)).unwrap();
        assert!(told.contains("does not exist; create it"), "{told}");
        fs::write(dir.path().join("file"), "").unwrap();
        let told = obstacle(&storage(dir.path().join("file"), true)).unwrap();
        assert!(told.contains("is a file"), "{told}");
        assert!(!absent.exists() && !DirectoryLock::is_held(dir.path()));
        let lock = DirectoryLock::new(dir.path(), Duration::ZERO).unwrap();
        assert!(DirectoryLock::is_held(dir.path()));
        drop(lock);
        assert!(!DirectoryLock::is_held(dir.path()) && !DirectoryLock::is_held(&absent));
    }
}
