//! The monthly budgets of a file: what their ledgers on disk say, and what endangers them.
//!
//! It reads the ledgers as a process that starts now would, and writes nothing. A running skep
//! books units ahead, so its own answer (`skep budget`) is the exact one.

use std::{fmt::Write as _, fs, path::Path};

use jiff::Timestamp;

use super::{Warning, shown};
use crate::{
    admin::budgets::message_of,
    budget::{Change, MonthlyBudget, OnDisk, OpenError, PRESETS, Report, Unit},
    cli::{
        budget::{FORGETFUL, row, summary},
        machine,
    },
    component::{BudgetUse, ComponentId, ExporterConfig, Storage},
    document::Document,
    engine::disk::{
        look,
        storages::{DirectoryLock, ledger_folder},
    },
    telemetry::words::grouped,
};

/// What is known of all budgets, and what is wrong with them.
pub(super) fn report(document: &Document, now: Timestamp) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = Some(mounts).filter(|_| machine::in_container());
    let used = super::exporters(document);
    let mut ids: Vec<&ComponentId> = Vec::new();
    for (id, _) in &used {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let exporters: Vec<(&ComponentId, &dyn ExporterConfig)> =
        ids.into_iter().filter_map(|id| Some((id, &*document.exporters.get(id)?.config))).collect();
    let mut text = String::new();
    let mut storages: Vec<String> = Vec::new();
    for (id, config) in &exporters {
        let Some(budget) = config.budget() else { continue };
        let name = budget.storage.clone();
        let storage = name.as_ref().and_then(|name| Some((name, document.storages.get(name)?)));
        text.push_str(&story(id, budget, storage.map(|(_, storage)| storage), now));
        let Some((name, storage)) = storage else { continue };
        if !storages.contains(name) {
            storages.push(name.clone());
            for warning in doubts(name, storage, mounts.as_deref()) {
                text.push_str(&warning.text());
            }
        }
    }
    if !text.is_empty() {
        for warning in without_budget(&exporters, storages.first().map(|name| &**name)) {
            text.push_str(&warning.text());
        }
    }
    text
}

/// One budget.
fn story(id: &ComponentId, budget: BudgetUse, storage: Option<&Storage>, now: Timestamp) -> String {
    let Some(storage) = storage else {
        // Without a ledger it opens nothing.
        let fresh = MonthlyBudget::open(budget.settings, None, now);
        return fresh.map_or_else(
            |error| unreadable(id, &error),
            |fresh| told(id, fresh.report(0, now), FORGETFUL, now),
        );
    };
    let folder = ledger_folder(storage, id);
    let found = match OnDisk::read(budget.settings, &folder, now) {
        Ok(found) => found,
        Err(error) => return unreadable(id, &error),
    };
    let folder = folder.display();
    let is_running = DirectoryLock::is_held(&storage.directory);
    let ledger = match found.written {
        Some(written) if is_running => format!(
            "{folder}, written at {written}; a running skep counts on, and `skep budget` asks it"
        ),
        Some(written) => format!("{folder}, written at {written}"),
        None if found.damage.is_some() => format!("{folder}, which is damaged"),
        None => format!("{folder}, which is made when skep starts"),
    };
    let mut text = told(id, found.report, &ledger, now);
    if let Some(warning) = found.damage.and_then(|change| damage(id, &change)) {
        text.push_str(&warning.text());
    }
    text
}

fn told(id: &ComponentId, report: Report, ledger: &str, now: Timestamp) -> String {
    let plan = plan(&report, now);
    let mut text = summary(&message_of(id.to_string(), report), now);
    if let Some(plan) = plan {
        text.push_str(&row("plan", &plan));
    }
    text.push_str(&row("ledger", ledger));
    let mut indented = String::new();
    for (at, line) in text.lines().enumerate() {
        let mark = if at == 0 { "cap   " } else { "    " };
        let _ = writeln!(indented, "{mark}{line}");
    }
    indented
}

/// Whether more is used than by an even use. Metrics are not used little by little.
fn plan(report: &Report, now: Timestamp) -> Option<String> {
    if report.unit == Unit::Metrics {
        return None;
    }
    let planned = report.planned(now);
    let difference = grouped(report.used.abs_diff(planned));
    let side = if report.used > planned { "more" } else { "fewer" };
    Some(format!("{difference} {} {side} than with an even use of the month", report.unit.name()))
}

fn unreadable(id: &ComponentId, error: &OpenError) -> String {
    let remedy = "run `skep doctor` as the user that skep runs as";
    Warning::new(format!("{id}: {error}"), remedy.to_owned()).text()
}

fn damage(id: &ComponentId, change: &Change) -> Option<Warning> {
    let (message, remedy) = match change {
        Change::OneDamaged => (
            "one of the two files of its ledger is damaged; the other one is used".to_owned(),
            "nothing is to be done: the next write replaces it",
        ),
        Change::Damaged(units) => (
            format!("its ledger is damaged; {} units are assumed to be used", grouped(*units)),
            "to begin at zero, remove both files while skep is stopped",
        ),
        _ => return None,
    };
    Some(Warning::new(format!("{id}: {message}"), remedy.to_owned()))
}

/// What endangers the ledgers in a storage. `mounts` is known in a container.
fn doubts(name: &str, storage: &Storage, mounts: Option<&str>) -> Vec<Warning> {
    let directory = &*storage.directory;
    let mut doubts = Vec::new();
    if let Some(obstacle) = look::obstacle(storage) {
        let (message, remedy) = obstacle.split_once("; ").unwrap_or((&obstacle, ""));
        doubts.push(Warning::new(format!("{name}: {message}"), remedy.to_owned()));
    }
    if mounts.is_some_and(|mounts| look::is_lost_with_container(directory, mounts)) {
        let path = shown_path(directory);
        doubts.push(Warning::new(
            format!("{name}: `{path}` is gone with the container, and what is used with it"),
            format!("mount a volume at `{path}`, such as `-v skep:{path}`"),
        ));
    }
    doubts
}

fn shown_path(path: &Path) -> String {
    shown(&path.display().to_string())
}

/// Exporters for vendors with a free plan that have no budget, although others do.
fn without_budget(
    exporters: &[(&ComponentId, &dyn ExporterConfig)],
    storage: Option<&str>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (id, config) in exporters {
        let is_for_it =
            |preset: &&crate::budget::Preset| preset.exporters.contains(&&*id.kind_name);
        let Some(preset) = PRESETS.iter().find(is_for_it) else { continue };
        if config.budget().is_some() {
            continue;
        }
        let storage = storage.map(|name| format!(", storage: {name}")).unwrap_or_default();
        warnings.push(Warning::new(
            format!("{id}: it has no budget, although others of this file have one"),
            format!("add `budget: {{preset: {}{storage}}}`", preset.name),
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
