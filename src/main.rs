//! The `skep` program.

use std::process::ExitCode;

/// Bodies come and go by the megabyte: this allocator keeps the pages, glibc returns them each
/// time and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    skep::cli::main()
}
