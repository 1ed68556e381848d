//! The `skep` program.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

/// Bodies are allocated and freed by the megabyte. This allocator keeps their pages; glibc returns
/// them to the system each time and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use skep::cli::EMPTY_VARIABLES;

/// The allocator's option for how many milliseconds it keeps unused pages.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "30");

/// Starts this process once more if its environment has to change.
///
/// The allocator reads its options from the environment before `main`, and its default for
/// [`PURGE_DELAY`] is a second: with a budget of 64 MiB, senders that were too fast for tail
/// sampling took 125 MiB of memory, and with 30 ms 87 MiB. A saturated batch costs a tenth more
/// CPU.
///
/// Empty variables of AWS are unset: compose makes `${AWS_ENDPOINT_URL:-}` empty, and the AWS SDK
/// panics on an empty URL. A reference in the configuration still finds them empty.
fn correct_environment() {
    let (name, value) = PURGE_DELAY;
    let is_empty_aws = |(name, value): &(OsString, OsString)| {
        value.is_empty() && name.as_encoded_bytes().starts_with(b"AWS_")
    };
    let empty: Vec<OsString> = env::vars_os().filter(is_empty_aws).map(|(name, _)| name).collect();
    if env::var_os(name).is_some() && empty.is_empty() {
        return;
    }
    let mut arguments = env::args_os();
    let (Some(own_name), Ok(program)) = (arguments.next(), env::current_exe()) else { return };
    if program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ld-")) {
        // The dynamic loader was started with the program as its argument.
        return;
    }
    let mut again = Command::new(program);
    if env::var_os(name).is_none() {
        again.env(name, value);
    }
    for name in &empty {
        again.env_remove(name);
    }
    if !empty.is_empty() {
        again.env(EMPTY_VARIABLES, empty.join(OsStr::new(",")));
    }
    // This returns only if it fails. Then the process goes on and uses more memory.
    let _ = again.arg0(own_name).args(arguments).exec();
}

fn main() -> ExitCode {
    correct_environment();
    skep::cli::main()
}
