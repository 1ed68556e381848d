//! Limits file descriptors: each connection needs one, and exporters, files and pages need some
//! too.
//!
//! At the start the process raises its soft limit to the hard one, as Go programs do. Connections
//! may use all descriptors but [`RESERVE`]. At that limit, the port with the most connections
//! closes those that have been idle for longest.

use std::sync::{
    Arc, LazyLock, Mutex, MutexGuard, Weak,
    atomic::{AtomicUsize, Ordering},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::seats::Seats;

use crate::sync;

/// Descriptors that are kept free for other uses: a quarter of the limit, but at most this number.
const RESERVE: usize = 1024;

/// The ports of this process.
pub(super) static PROCESS: LazyLock<Arc<Ports>> = LazyLock::new(|| Ports::new(limit()));

/// Raises the limit of open files to the maximum and returns it.
pub fn raise_descriptors() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If that is not allowed, the lower limit stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    limit()
}

fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Ports that share the descriptors of a process.
#[derive(Debug)]
pub(super) struct Ports {
    descriptors: usize,
    /// Connections of all ports.
    seated: AtomicUsize,
    all: Mutex<Vec<Weak<Seats>>>,
}

impl Ports {
    /// Ports that share `descriptors` descriptors.
    pub(super) fn new(descriptors: usize) -> Arc<Self> {
        Arc::new(Ports { descriptors, seated: AtomicUsize::new(0), all: Mutex::default() })
    }

    /// The limit that they are counted against.
    pub(super) fn descriptors(&self) -> usize {
        self.descriptors
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<Seats>>> {
        sync::lock(&self.all)
    }

    pub(super) fn add(&self, port: &Arc<Seats>) {
        let mut ports = self.all();
        ports.retain(|port| port.strong_count() > 0);
        ports.push(Arc::downgrade(port));
    }

    fn most(&self) -> usize {
        (self.descriptors - (self.descriptors / 4).min(RESERVE)).max(1)
    }

    /// Whether the next connection requires closing another one.
    pub(super) fn are_full(&self) -> bool {
        self.seated.load(Ordering::Relaxed) >= self.most()
    }

    /// Adds a connection, unless there are too many.
    pub(super) fn claim(&self) -> bool {
        let claim = |seated: usize| (seated < self.most()).then_some(seated + 1);
        self.seated.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.seated.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes some connections of the port that has the most.
    pub(super) fn clear_some(&self) {
        let ports: Vec<Arc<Seats>> = self.all().iter().filter_map(Weak::upgrade).collect();
        if let Some(largest) = ports.iter().max_by_key(|port| port.len()) {
            largest.clear_some();
        }
    }
}
