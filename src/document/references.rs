//! References to components by id: how a list of them is read, and what is said about an id that is
//! not defined.

use std::collections::HashMap;

use super::{
    Component, Document, Pipeline, ids,
    unknown::{Unknown, types},
};
use crate::{
    component::{ComponentId, Kind},
    config::{Node, Problems, Value, diagnostics::closest},
};

/// The definitions that references are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) document: &'a Document,
    /// Ids that may be defined although they are not in the document.
    pub(super) unknown: &'a Unknown,
}

impl Scope<'_> {
    /// What to do about an id that is not defined.
    pub(super) fn remedy(self, kind: Kind, id: &ComponentId) -> String {
        fn ids<C: ?Sized>(components: &HashMap<ComponentId, Component<C>>) -> Vec<&ComponentId> {
            components.keys().collect()
        }
        let document = self.document;
        let all = [
            (Kind::Receiver, ids(&document.receivers)),
            (Kind::Processor, ids(&document.processors)),
            (Kind::Exporter, ids(&document.exporters)),
            (Kind::Connector, ids(&document.connectors)),
            (Kind::Extension, ids(&document.extensions)),
        ];
        let own = all.iter().filter(|(other, _)| *other == kind);
        let mut names: Vec<String> =
            own.flat_map(|(_, ids)| ids.iter().map(ToString::to_string)).collect();
        names.sort();
        let section = kind.section();
        if let Some(near) = closest(&id.to_string(), names.iter().map(|name| &**name)) {
            return format!("did you mean `{near}`? otherwise add `{id}:` under `{section}`");
        }
        let types = types(kind);
        if !types.contains(&&*id.kind_name)
            && let Some(near) = closest(&id.kind_name, types.iter().copied())
        {
            return format!("did you mean `{near}`? it also has to be defined under `{section}`");
        }
        match all.iter().find(|(_, ids)| ids.contains(&id)) {
            Some((Kind::Extension, _)) => {
                format!("`{id}` is an extension: list it under `service: extensions:`")
            }
            Some((other, _)) => {
                format!("`{id}` is defined under `{}`, which is not the same", other.section())
            }
            None => format!("add `{id}:` under `{section}`"),
        }
    }
}

/// A component that a pipeline lists.
pub(super) struct Reference<'a> {
    pub(super) at: &'a Node,
    pub(super) kind: Kind,
    pub(super) id: &'a ComponentId,
    /// Whether it works with the pipeline's signal; `None` if the id is not defined.
    pub(super) supported: Option<bool>,
}

impl Reference<'_> {
    pub(super) fn check(&self, pipeline: &Pipeline, scope: Scope<'_>, problems: &mut Problems) {
        let Reference { at, kind, id, supported } = *self;
        match supported {
            Some(true) => {}
            Some(false) => {
                let message =
                    format!("{} `{id}` does not support {}", kind.name(), pipeline.signal);
                problems.error(at, message).help(format!("remove it from `{}`", pipeline.id));
            }
            None if scope.unknown.may_define(kind, id) => {}
            None => {
                let message = format!("references {} `{id}` which is not configured", kind.name());
                let help = (!problems.are_many()).then(|| scope.remedy(kind, id));
                problems.error(at, message).help = help;
            }
        }
    }
}

/// The ids of a list, each with its node.
pub(super) fn list(parent: &Node, key: &str, problems: &mut Problems) -> Vec<(ComponentId, Node)> {
    let Some(list) = parent.get(key) else { return Vec::new() };
    let nodes = match list.plain() {
        Value::List(nodes) => nodes.clone(),
        Value::Null | Value::Unknown(_) => return Vec::new(),
        Value::String(text) => text
            .split(',')
            .map(|part| Node { value: Value::String(part.trim().to_owned()), ..list.clone() })
            .collect(),
        _ => {
            problems
                .error(list, format!("`{key}` must be a list of ids"))
                .help(format!("write `{key}: [first, second]`"));
            return Vec::new();
        }
    };
    let mut ids = Vec::with_capacity(nodes.len());
    for node in nodes {
        if matches!(node.value, Value::Unknown(_)) {
            continue;
        }
        let (Value::String(text) | Value::Substituted { text, .. }) = &node.value else {
            problems.error(&node, "an id must be text, such as `otlp` or `otlp/second`");
            continue;
        };
        match ids::component(text) {
            Ok(id) => ids.push((id, node)),
            Err(message) => {
                problems.error(&node, message);
            }
        }
    }
    ids
}
