//! The same telemetry through skep and through a Go Collector, compared field by field by the
//! script in `tests/differential/`. The Collector is the binary that `OTELCOL` names; without it
//! skep is compared with itself only, which shows that the script works.

use std::{ffi::OsStr, process::Command};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/run.py");

/// Compares skep with `otelcol`: all areas, so many requests of each. The report of the script.
fn compare(otelcol: &OsStr, seed: u32, scale: &str) -> String {
    let output = Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(SCRIPT)
        .arg("--otelcol")
        .arg(otelcol)
        .args(["--skep", env!("CARGO_BIN_EXE_skep"), "--scale", scale])
        .args(["--seed", &seed.to_string()])
        .output()
        .expect("the script needs Python 3.9 or later as `python3`");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "there are differences:\n{report}\n{errors}");
    assert!(report.contains(" requests, "), "nothing was compared:\n{report}\n{errors}");
    report
}

#[test]
fn skep_does_what_the_collector_does() {
    let Some(otelcol) = std::env::var_os("OTELCOL").filter(|path| !path.is_empty()) else {
        println!(
            "SKIPPED: OTELCOL does not name a Collector; tests/differential/README.md says how to build one"
        );
        return;
    };
    for seed in 1..=3 {
        println!("{}", compare(&otelcol, seed, "1"));
    }
}

#[test]
#[ignore = "needs Python"]
fn skep_does_what_skep_does() {
    let report = compare(OsStr::new(env!("CARGO_BIN_EXE_skep")), 1, "0.1");
    assert!(report.contains(" 0 kinds of differences"), "{report}");
}
