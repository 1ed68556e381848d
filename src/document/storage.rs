//! The storages of queues, journals and budgets: `storage: id` names an extension that keeps data.

use super::{
    Document, components::Bodies, extension_of::Role, in_file_order, references::Scope,
    unknown::Unknown,
};
use crate::{
    component::{ComponentId, Kind, Storage},
    config::{Node, Problems},
    extensions,
};

const STORAGE: Role<Storage> = Role {
    name: "storage",
    types: extensions::STORAGES,
    unnamed: (
        "no storage is named",
        "write `storage:` with the id of an extension such as `file_storage`",
    ),
    get: |extension| extension.storage(),
};

/// Looks up the storages of exporters and receivers.
pub(super) fn load(
    root: &Node,
    document: &mut Document,
    unknown: &Unknown,
    problems: &mut Problems,
) {
    let before = problems.0.len();
    let mut asked: Vec<(Kind, &ComponentId, &str, String)> = Vec::new();
    for exporter in document.exporters.values() {
        let ledger = exporter.config.budget().and_then(|budget| budget.storage);
        let ledger = ledger.map(|name| (Kind::Exporter, &exporter.id, "budget::storage", name));
        asked.extend(ledger);
        let Some(queue) = exporter.config.delivery().queue else { continue };
        let keys = [
            ("sending_queue::storage", queue.storage),
            ("sending_queue::dead_letters", queue.dead_letters),
        ];
        for (key, name) in keys {
            asked.extend(name.map(|name| (Kind::Exporter, &exporter.id, key, name)));
        }
    }
    for receiver in document.receivers.values() {
        let Some(journal) = receiver.config.journal() else { continue };
        asked.push((Kind::Receiver, &receiver.id, "journal::storage", journal.storage));
    }
    let bodies = Bodies::new(root, problems);
    let mut storages = Vec::new();
    for (kind, id, key, name) in asked {
        let Some(at) = bodies.get(kind, id).map(|body| body.at(key)) else { continue };
        if !bodies.is_broken(at) {
            let found = STORAGE.find(&name, at, Scope { document, unknown }, problems);
            storages.extend(found.map(|(storage, _)| (name, storage)));
        }
    }
    document.storages.extend(storages);
    in_file_order(problems, before);
}
