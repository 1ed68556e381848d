//! The memory of a process while it works.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::Skep;

/// Looks at the resident memory of a process until it is told to stop.
pub(crate) struct Watch {
    pid: u32,
    stop: Arc<AtomicBool>,
    seen: thread::JoinHandle<u64>,
}

fn kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

impl Watch {
    pub(crate) fn start(skep: &Skep) -> Self {
        let (pid, stop) = (skep.0.id(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let seen = thread::spawn(move || {
            let mut most = 0;
            while !stopped.load(Ordering::SeqCst) {
                most = most.max(kib(pid, "RssAnon:"));
                thread::sleep(Duration::from_millis(2));
            }
            most
        });
        Watch { pid, stop, seen }
    }

    /// The highest resident memory in MiB. The code of a build without optimisation is many times
    /// as large as it is in use, and the kernel takes it away and brings it back: there only what
    /// is no file counts.
    pub(crate) fn peak_mib(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let anonymous = self.seen.join().unwrap();
        let peak = if cfg!(debug_assertions) { anonymous } else { kib(self.pid, "VmHWM:") };
        peak / 1024
    }
}
