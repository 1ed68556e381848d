//! The `skep` program.

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

/// Bodies come and go by the megabyte: this allocator keeps the pages, glibc returns them each
/// time and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The allocator's option that says for how many milliseconds it keeps pages that nobody uses.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "30");

/// Starts this process once more with [`PURGE_DELAY`], unless somebody has set it.
///
/// The allocator reads its options from the environment before `main`, and its default is a second:
/// with a budget of 64 MiB, senders that were too fast for tail sampling took 125 MiB of memory,
/// and with 30 ms 87 MiB. A saturated batch costs a tenth more CPU.
fn purge_early() {
    let (name, value) = PURGE_DELAY;
    if env::var_os(name).is_some() {
        return;
    }
    let mut arguments = env::args_os();
    let (Some(own_name), Ok(program)) = (arguments.next(), env::current_exe()) else { return };
    // It returns only where it fails. Then the process goes on, and takes more memory.
    let _ = Command::new(program).arg0(own_name).args(arguments).env(name, value).exec();
}

fn main() -> ExitCode {
    purge_early();
    skep::cli::main()
}
