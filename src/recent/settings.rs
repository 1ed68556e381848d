//! How large the store is, and what every answer says of itself.

use std::time::Duration;

use serde::Serialize;

/// How large the store is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Most bytes, all of them. At least [`Settings::LEAST`].
    pub bytes: usize,
    /// How long items are kept, if there is room.
    pub age: Duration,
    /// Most of a CPU that digesting takes on average, as a fraction.
    pub cpu: f64,
}

impl Settings {
    /// The fewest bytes with which there is room for anything: 8 MiB.
    pub const LEAST: usize = 8 << 20;

    /// The usual ones for a process that may have so many bytes of memory: a quarter of the usual
    /// size if that is less than 512 MiB.
    pub fn for_memory(bytes: u64) -> Self {
        let usual = Settings::default();
        if bytes < 512 << 20 { Settings { bytes: usual.bytes / 4, ..usual } } else { usual }
    }
}

/// 64 MiB, 15 minutes, three per cent of a CPU.
impl Default for Settings {
    fn default() -> Self {
        Settings { bytes: 64 << 20, age: Duration::from_mins(15), cpu: 0.03 }
    }
}

/// Settings under which there is no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of recent data needs at least {least} bytes, and {0} were given", least = Settings::LEAST)]
pub struct TooSmall(usize);

impl TooSmall {
    pub(super) fn of(bytes: usize) -> Self {
        TooSmall(bytes)
    }
}

/// How far an answer can be trusted; part of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Honesty {
    /// When the oldest item that is held came, nanoseconds since 1970 as text; none if nothing is.
    #[serde(serialize_with = "as_text")]
    pub held_from: Option<u64>,
    /// Items that were looked at.
    pub scanned: u64,
    /// At present one trace of so many is kept.
    pub one_in: u32,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Whether time or memory ran out before all was looked at.
    pub is_partial: bool,
}

/// Numbers above 2^53 are text, since a browser would round them.
#[expect(clippy::ref_option, reason = "serde gives a reference")]
pub(super) fn as_text<S: serde::Serializer>(value: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    value.map(|value| value.to_string()).serialize(to)
}
