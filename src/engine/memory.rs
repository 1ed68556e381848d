//! How much memory there is, and what share of it the byte budget takes by default.

use std::{fs, path::Path};

const MIB: u64 = 1 << 20;

/// Memory that the process may use, and what limits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// Whether a cgroup sets the limit; otherwise it is the memory of the host.
    pub is_cgroup: bool,
}

/// Reads the limit of the process's cgroup (v2, then v1), else the host's memory.
pub fn available() -> Available {
    available_under(Path::new("/"))
}

fn available_under(root: &Path) -> Available {
    let host = host_memory(root).unwrap_or(512 * MIB);
    let limit = cgroup_v2(root).or_else(|| cgroup_v1(root)).filter(|limit| *limit < host);
    match limit {
        Some(bytes) => Available { bytes, is_cgroup: true },
        None => Available { bytes: host, is_cgroup: false },
    }
}

/// The default budget: half of the limit of a cgroup. Without one, a quarter of the host's memory,
/// at most 1 GiB, because other programs run there too. Never under 16 MiB.
pub fn default_budget(available: Available) -> u64 {
    let share = if available.is_cgroup {
        available.bytes / 2
    } else {
        (available.bytes / 4).min(1024 * MIB)
    };
    share.max(16 * MIB)
}

fn host_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// The tightest `memory.max` from the process's group up to the root.
fn cgroup_v2(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = root.join("sys/fs/cgroup");
    let mut folder = mount.join(group.trim_start_matches('/'));
    let mut tightest = None;
    loop {
        let limit = fs::read_to_string(folder.join("memory.max"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        tightest = [tightest, limit].into_iter().flatten().min();
        if folder == mount || !folder.pop() {
            return tightest;
        }
    }
}

fn cgroup_v1(root: &Path) -> Option<u64> {
    let path = root.join("sys/fs/cgroup/memory/memory.limit_in_bytes");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const HOST: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_tightest_group_above_the_process_counts() {
        let dir = tree(&[
            HOST,
            ("proc/self/cgroup", "0::/ecs/task\n"),
            ("sys/fs/cgroup/ecs/memory.max", "268435456\n"),
            ("sys/fs/cgroup/ecs/task/memory.max", "max\n"),
        ]);
        let available = available_under(dir.path());
        assert_eq!(available, Available { bytes: 256 * MIB, is_cgroup: true });
        assert_eq!(default_budget(available), 128 * MIB);
    }

    #[test]
    fn version_one_says_unlimited_by_a_huge_number() {
        let dir =
            tree(&[HOST, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        let available = available_under(dir.path());
        assert_eq!(available, Available { bytes: 8192 * MIB, is_cgroup: false });
        assert_eq!(default_budget(available), 1024 * MIB);
    }

    #[test]
    fn a_tiny_container_still_gets_sixteen_mebibytes() {
        let available = Available { bytes: 20 * MIB, is_cgroup: true };
        assert_eq!(default_budget(available), 16 * MIB);
    }
}
