//! The `skep` program: arguments to configuration to a running engine to an exit code.

fn main() {}
