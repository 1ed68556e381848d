//! The file with the link of a console, by which `skep console` finds it. Only its owner can read
//! it, and it goes with the process.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A link is shorter.
const LONGEST: u64 = 4096;
/// Files that are looked at.
const MOST: usize = 64;

/// A written link; removed when it is dropped.
#[derive(Debug)]
pub struct LinkFile {
    path: PathBuf,
    link: String,
}

impl LinkFile {
    /// Writes the link of the console at a port into a folder, which is created if need be.
    pub fn write(folder: &Path, port: u16, link: &str) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(format!("console-{port}"));
        let new = folder.join(format!("console-{port}.{}", std::process::id()));
        // A new file each time: the mode of one that is there already would stay.
        let _ = fs::remove_file(&new);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(link.as_bytes())?;
        fs::rename(&new, &path)?;
        Ok(LinkFile { path, link: link.to_owned() })
    }
}

impl Drop for LinkFile {
    fn drop(&mut self) {
        // The next process at this port may have written its own.
        if fs::read_to_string(&self.path).is_ok_and(|link| link == self.link) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where the links of this user are: `$XDG_RUNTIME_DIR/skep`, `$XDG_STATE_HOME/skep` or
/// `~/.local/state/skep`; `None` if the user has no folder.
pub fn folder() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || of("HOME").map(|home| home.join(".local/state"));
    Some(of("XDG_RUNTIME_DIR").or_else(|| of("XDG_STATE_HOME")).or_else(home)?.join("skep"))
}

/// The links in a folder by port. Some of them may be of processes that were killed.
pub fn found(folder: &Path) -> Vec<(u16, String)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let link = |path: PathBuf| {
        let port = path.file_name()?.to_str()?.strip_prefix("console-")?.parse().ok()?;
        let is_small =
            fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= LONGEST);
        let link = is_small.then(|| fs::read_to_string(&path).ok())??;
        Some((port, link.trim().to_owned()))
    };
    let mut links: Vec<(u16, String)> =
        entries.flatten().take(MOST).filter_map(|entry| link(entry.path())).collect();
    links.sort();
    links
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_link_is_its_owners_and_goes_with_the_process() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/skep");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = LinkFile::write(&folder, 8686, "http://127.0.0.1:8686/#t=a").unwrap();
        assert_eq!((mode(&file.path), mode(&folder)), (0o600, 0o700));
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o644)).unwrap();
        let next = LinkFile::write(&folder, 8686, "http://127.0.0.1:8686/#t=b").unwrap();
        assert_eq!(mode(&next.path), 0o600);
        drop(file);
        fs::write(folder.join("other"), "x").unwrap();
        fs::write(folder.join("console-x"), "x").unwrap();
        assert_eq!(found(&folder), [(8686, "http://127.0.0.1:8686/#t=b".to_owned())]);
        drop(next);
        assert!(found(&folder).is_empty() && found(&home.path().join("none")).is_empty());
    }
}
