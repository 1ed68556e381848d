//! Replays the inputs kept from fuzzing (`tests/fuzz/corpus/`) through the fuzz targets.

use std::{fs, path::Path};

// The fuzz programs are a crate of their own and include it by path, too.
#[path = "../fuzz/targets.rs"]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let input = fs::read(&path).expect("a file");
        let replayed = std::panic::catch_unwind(|| target(&input));
        assert!(replayed.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "no inputs in {}", folder.display());
}

#[test]
fn check() {
    replay("check", targets::check);
}

#[test]
fn views() {
    replay("views", targets::views);
}

#[test]
fn split() {
    replay("split", targets::split);
}

#[test]
fn splice() {
    replay("splice", targets::splice);
}

#[test]
fn ottl() {
    replay("ottl", targets::ottl);
}

#[test]
fn json() {
    replay("json", targets::json);
}

#[test]
fn config() {
    replay("config", targets::config);
}

#[test]
fn public_tokens() {
    replay("public_tokens", targets::public_tokens);
}

#[test]
fn public_edits() {
    replay("public_edits", targets::public_edits);
}

#[test]
fn budget_ledger() {
    replay("budget_ledger", targets::budget_ledger);
}

#[test]
fn rollbar_items() {
    replay("rollbar_items", targets::rollbar_items);
}

#[test]
fn rollbar_documents() {
    replay("rollbar_documents", targets::rollbar_documents);
}

#[test]
fn xray_segments() {
    replay("xray_segments", targets::xray_segments);
}

#[test]
fn xray_documents() {
    replay("xray_documents", targets::xray_documents);
}

#[test]
fn tail_sampling() {
    replay("tail_sampling", targets::tail_sampling);
}

#[test]
fn connectors() {
    replay("connectors", targets::connectors);
}

#[test]
fn recent() {
    replay("recent", targets::recent);
    replay("views", targets::recent);
    replay("check", targets::recent);
}

#[test]
fn storage() {
    replay("storage", targets::storage);
}

#[test]
fn logs_calls() {
    replay("logs_calls", targets::logs_calls);
}
