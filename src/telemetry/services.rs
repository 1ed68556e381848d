//! Which services have sent data, so that the first data of each is one line in the log.

use std::{
    hash::{BuildHasher as _, Hasher as _},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use foldhash::fast::FixedState;

/// Slots of the table, a power of two.
const SLOTS: usize = 256;
/// Most services that are announced: a longer list does not help in the log.
const MOST: u32 = 50;
/// Slots that are looked at for one service.
const TRIES: usize = 16;

/// The services that a receiver has seen with one signal and protocol. Asking costs one hash and,
/// for a known service, one load: no lock, as workers ask for each request.
///
/// After 50 services no further one is new, so the table has room.
#[derive(Debug)]
pub struct Services {
    slots: [AtomicU64; SLOTS],
    count: AtomicU32,
}

impl Default for Services {
    fn default() -> Self {
        Services { slots: [const { AtomicU64::new(0) }; SLOTS], count: AtomicU32::new(0) }
    }
}

impl Services {
    /// Whether this is the first call with this name.
    pub fn is_new(&self, name: &[u8]) -> bool {
        if self.count.load(Ordering::Relaxed) >= MOST {
            return false;
        }
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(name);
        // Zero marks a free slot.
        let hash = hasher.finish() | 1;
        let start = usize::try_from(hash >> 32).unwrap_or_default();
        for i in 0..TRIES {
            let slot = &self.slots[(start + i) % SLOTS];
            let known = match slot.load(Ordering::Relaxed) {
                0 => slot.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed),
                known => Err(known),
            };
            match known {
                Ok(_) => {
                    self.count.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Err(known) if known == hash => return false,
                Err(_) => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_new_once_and_many_services_end() {
        let services = Services::default();
        assert!(services.is_new(b"shop"));
        assert!(!services.is_new(b"shop"));
        assert!(services.is_new(b"") && !services.is_new(b""));
        let new = (0..100_000).filter(|i: &u32| services.is_new(&i.to_be_bytes())).count();
        assert_eq!(new, MOST as usize - 2);
        assert!(!services.is_new(b"shop"));
    }
}
