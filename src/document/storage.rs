//! Which storage each queue and journal gets: `storage: id` names an extension that keeps data, is configured
//! and runs. Nothing depends on the order of the file.

use super::{Document, Unknown, body, ids, pipelines::Scope};
use crate::{
    component::{ComponentId, Kind, Storage},
    config::{Node, Problems, diagnostics::closest},
    extensions,
};

/// Looks up what exporters and receivers name. `ignored` is what cannot be seen because of other errors.
pub(super) fn load(
    root: &Node,
    document: &mut Document,
    ignored: &Unknown,
    problems: &mut Problems,
) {
    let before = problems.0.len();
    let mut asked: Vec<(Kind, &ComponentId, &str, String)> = Vec::new();
    for exporter in document.exporters.values() {
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
    let mut storages = Vec::new();
    for (kind, id, key, name) in asked {
        let Some(at) = body(root, kind, id).map(|body| body.at(key)) else { continue };
        if !super::is_broken(at, problems) {
            storages.extend(resolve(&name, at, Scope { document, ignored }, problems));
        }
    }
    document.storages.extend(storages);
    super::in_file_order(problems, before);
}

fn resolve(
    name: &str,
    at: &Node,
    scope: Scope<'_>,
    problems: &mut Problems,
) -> Option<(String, Storage)> {
    let Scope { document, ignored } = scope;
    if name.is_empty() {
        problems
            .error(at, "no storage is named")
            .help("write `storage:` with the id of an extension such as `file_storage`");
        return None;
    }
    let id = match ids::component(name) {
        Ok(id) => id,
        Err(message) => {
            problems.error(at, message);
            return None;
        }
    };
    let Some(extension) = document.extensions.get(&id) else {
        if !ignored.may_define(Kind::Extension, &id) {
            let message = format!("references storage `{id}` which is not configured");
            problems.error(at, message).help(remedy(document, &id));
        }
        return None;
    };
    let Some(storage) = extension.config.storage() else {
        let message = format!("extension `{id}` is not a storage");
        problems.error(at, message).help(format!("storages: {}", extensions::STORAGES.join(", ")));
        return None;
    };
    if !document.enabled_extensions.contains(&id) {
        let message = format!("storage `{id}` is configured, but does not run");
        problems
            .error(at, message)
            .help(format!("list `{id}` under `service: extensions:`"))
            .relate(&extension.place, "configured here");
        return None;
    }
    Some((name.to_owned(), storage))
}

/// What to do about an id that no extension has.
fn remedy(document: &Document, id: &ComponentId) -> String {
    let storages = document.extensions.values().filter(|e| e.config.storage().is_some());
    let mut names: Vec<String> = storages.map(|extension| extension.id.to_string()).collect();
    names.sort();
    match closest(&id.to_string(), names.iter().map(|name| &**name)) {
        Some(near) => format!("did you mean `{near}`? otherwise add `{id}:` under `extensions`"),
        None if extensions::STORAGES.contains(&&*id.kind_name) => {
            format!("add `{id}:` under `extensions`, and list it under `service: extensions:`")
        }
        None => format!("storages: {}", extensions::STORAGES.join(", ")),
    }
}
