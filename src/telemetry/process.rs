//! The process itself: its start, its identity, and what it uses of the machine. Usage is read from
//! `/proc`; where that is missing a reading is absent, never zero.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant, SystemTime},
};

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, 100 on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Start and identity of the process.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Wall clock at start.
    pub started: SystemTime,
    /// Monotonic clock at start.
    clock: Instant,
    /// Random id of this start, in the form of a UUID of version 4.
    pub instance: String,
}

impl Default for Identity {
    fn default() -> Self {
        Identity { started: SystemTime::now(), clock: Instant::now(), instance: random_uuid() }
    }
}

impl Identity {
    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.clock.elapsed()
    }
}

/// Version of skep.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// User and system time in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
}

/// Reads the usage now.
pub fn usage() -> Usage {
    Usage {
        cpu_seconds: fs::read_to_string("/proc/self/stat").ok().and_then(|s| cpu_seconds(&s)),
        resident_bytes: fs::read_to_string("/proc/self/status").ok().and_then(|s| resident(&s)),
    }
}

/// Fields 14 and 15; counted after the name, which may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn random_uuid() -> String {
    let mut bytes = [0; 16];
    fastrand::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_hostile_name() {
        let stat = "7 (a) b (c) R 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 * 1024 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn instances_are_uuids() {
        let id = Identity::default().instance;
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert_ne!(id, Identity::default().instance);
    }
}
