use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::{
    budget::{Mode, Settings, Share},
    component::{BudgetWeights, Count},
    config::{Problems, yaml},
    document,
    storage::Overflow,
};

fn noon() -> Timestamp {
    "2026-11-16T12:00:00Z".parse().unwrap()
}

fn honeycomb() -> ComponentId {
    ComponentId { kind_name: "honeycomb".to_owned(), name: None }
}

fn budget() -> BudgetUse {
    BudgetUse {
        settings: Settings {
            unit: Unit::Events,
            per_month: 30_000,
            share: Share::WHOLE,
            mode: Mode::Pace,
            zone: TimeZone::UTC,
            reset_day: 1,
        },
        count: Count::Events,
        weights: BudgetWeights::default(),
        storage: Some("file_storage".to_owned()),
        keeps_left_out: false,
        slow: Duration::from_secs(1),
    }
}

fn storage(directory: &Path) -> Storage {
    Storage {
        directory: directory.to_owned(),
        creates_directory: true,
        mode: 0o700,
        timeout: Duration::ZERO,
        limit: 1 << 20,
        segment_size: 1 << 18,
        overflow: Overflow::Block,
        fsync: false,
    }
}

/// With a name in the place of the folder.
fn told_of(directory: &Path) -> String {
    let text = story(&honeycomb(), budget(), Some(&storage(directory)), noon());
    text.replace(&*directory.to_string_lossy(), "DIR")
}

#[test]
fn a_budget_is_told_as_its_ledger_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let storage = storage(dir.path());
    insta::assert_snapshot!(told_of(dir.path()), @r"
    cap   honeycomb: everything passes (mode pace)
          used      0 of 30 000 events (0.0 %)
          forecast  0 at the end of the month
          month     2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z, 14 days left
          plan      15 500 events fewer than with an even use of the month
          ledger    DIR/exporter_honeycomb_budget, which is made when skep starts
    ");
    let folder = ledger_folder(&storage, &honeycomb());
    let open = MonthlyBudget::open(budget().settings, Some(&folder), noon()).unwrap();
    assert!(open.claim(20_000, noon()));
    open.close(noon());
    let lock = DirectoryLock::new(dir.path(), Duration::ZERO).unwrap();
    let text = told_of(dir.path());
    assert!(text.contains("used      20 000 of 30 000 events (66.6 %)"), "{text}");
    assert!(text.contains("plan      4 500 events more than with an even use"), "{text}");
    let running = "DIR/exporter_honeycomb_budget, written at 2026-11-16T12:00:00Z; a running skep";
    assert!(text.contains(running), "{text}");
    drop(lock);
    assert!(!told_of(dir.path()).contains("a running skep"));
    for name in ["ledger-a", "ledger-b"] {
        fs::write(folder.join(name), "?").unwrap();
    }
    let text = told_of(dir.path());
    let damaged = "WARN  honeycomb: its ledger is damaged; 15 500 units are assumed to be used\n      \
                   to begin at zero, remove both files while skep is stopped\n";
    assert!(text.ends_with(damaged), "{text}");
    let forgetful = story(&honeycomb(), budget(), None, noon());
    assert!(forgetful.contains("ledger    in memory only"), "{forgetful}");
}

#[test]
fn what_endangers_a_ledger_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let texts = |storage: &Storage, mounts: Option<&str>| -> Vec<String> {
        doubts("file_storage", storage, mounts).iter().map(Warning::text).collect()
    };
    let fine = storage(dir.path());
    assert_eq!(texts(&fine, None), [""; 0]);
    let absent = Storage { creates_directory: false, ..storage(&dir.path().join("absent")) };
    let told = texts(&absent, None).concat();
    assert!(told.contains("absent` does not exist\n      create it, or set"), "{told}");
    let told = texts(&fine, Some("22 1 0:20 / / rw - overlay overlay rw\n")).concat();
    assert!(told.contains("is gone with the container"), "{told}");
    assert!(told.contains("mount a volume at `"), "{told}");
    let volume = format!("22 1 0:20 / {} rw - ext4 /dev/vda rw\n", dir.path().display());
    assert_eq!(texts(&fine, Some(&volume)), [""; 0]);
}

#[test]
fn an_exporter_without_a_budget_beside_others_is_named() {
    let text = "
receivers: {nop: }
exporters:
  honeycomb: {api_key: x, budget: {preset: honeycomb-free}}
  rollbar: {access_token: x}
  debug:
service: {pipelines: {traces: {receivers: [nop], exporters: [honeycomb, rollbar, debug]}}}
";
    let told = |text: &str| {
        let node = yaml::parse(0, text).unwrap();
        let mut problems = Problems::default();
        let document = document::load(&node, &mut problems);
        assert!(!problems.has_errors(), "{problems:?}");
        report(&document, noon())
    };
    let all = told(text);
    let warning = "WARN  rollbar: it has no budget, although others of this file have one\n      \
                   add `budget: {preset: rollbar-free}`\n";
    assert!(all.ends_with(warning) && all.starts_with("cap   honeycomb: "), "{all}");
    assert_eq!(told(&text.replace(", budget: {preset: honeycomb-free}", "")), "");
}
