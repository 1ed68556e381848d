//! What hostile requests make of memory. The allocator of this binary counts for a whole process,
//! so each test runs in one of its own ([`alone`]).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budget;
mod expanding;
mod exporters;
mod processors;
mod recent;

use std::{env, process::Command, thread};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Whether a pair of a request and a component is looked at: every one if `SKEP_TEST_FULL` is set,
/// as `.ci/run` does it, else one in four, with every request and every component among them.
fn is_due(request: usize, component: usize) -> bool {
    let is_full = env::var_os("SKEP_TEST_FULL").is_some_and(|value| !value.is_empty());
    is_full || (request + component).is_multiple_of(4)
}

/// Runs a test in a process of its own: this binary again, which runs nothing else.
fn alone(test: impl FnOnce()) {
    const ALONE: &str = "SKEP_TEST_ALONE";
    let thread = thread::current();
    // With one thread for all tests there is no name, and nothing runs beside this.
    let name = thread.name().filter(|name| *name != "main");
    let (Some(name), None) = (name, env::var_os(ALONE)) else { return test() };
    let mut command = Command::new(env::current_exe().unwrap());
    let done = command.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(done.status.success() && said[0].contains("1 passed"), "{}", said.concat());
}
