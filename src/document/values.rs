//! Warnings about single values: keys without effect, durations without a unit, which are
//! nanoseconds as in the Collector, and the text that `print-config` shows instead of a secret.
//!
//! The schemas say which key is which, so that a component cannot forget to warn.

use serde_json::Value as Json;

use super::{ids, schema::Schemas};
use crate::{
    component::Kind,
    config::{
        Node, Problems, Value, ignored::FIXED_MARK, source::OR_DEFAULT, tree::Member,
        units::REDACTED,
    },
};

/// A duration in nanoseconds below this is most likely a mistake.
const SHORT: i128 = 1_000_000;

/// Warns of such values in a document.
pub(super) fn check(root: &Node, problems: &mut Problems) {
    let schemas = Schemas::shared();
    for kind in Kind::ALL {
        let section = root.get(kind.section()).map(Node::plain);
        let Some(Value::Map(members)) = section else { continue };
        for Member { key, value, .. } in members {
            let Ok(id) = ids::component(key) else { continue };
            if let Some(schema) = schemas.component(kind, &id.kind_name) {
                Check { schemas, problems }.value(value, schema);
            }
        }
    }
    if let Some(telemetry) = root.get("service").and_then(|service| service.get("telemetry")) {
        Check { schemas, problems }.value(telemetry, schemas.telemetry());
    }
}

struct Check<'a> {
    schemas: &'a Schemas,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn value(&mut self, node: &Node, schema: &Json) {
        if Schemas::is_ignored(schema) {
            return self.ignored(node, schema);
        }
        match node.plain() {
            Value::Map(members) => {
                for member in members {
                    if let Some(inner) = self.schemas.inner(schema, &member.key) {
                        self.value(&member.value, inner);
                    }
                }
            }
            Value::List(nodes) => {
                if let Some(inner) = self.schemas.inner(schema, "") {
                    for node in nodes {
                        self.value(node, inner);
                    }
                }
            }
            Value::Unknown(_) if self.schemas.is_secret(schema) => self.without_default(node),
            Value::Int(number) if (1..SHORT).contains(number) && self.is_duration(schema) => {
                self.problems
                    .warning(node, format!("`{number}` without a unit is {number} nanoseconds"))
                    .help(format!(
                        "write `{number}s` for seconds, or `{number}ns` if that is meant"
                    ));
            }
            Value::String(text) if text == REDACTED && self.schemas.is_secret(schema) => {
                self.problems
                    .warning(node, "this is not the secret, but what `print-config` shows instead")
                    .help("write `${env:NAME}`, or print with `--mode unredacted`");
            }
            _ => {}
        }
    }

    /// Does not propose to write a secret into the file, as the default of a variable.
    fn without_default(&mut self, node: &Node) {
        let place = Some(node.spot());
        let own = self.problems.0.iter_mut().filter(|problem| problem.place.as_ref() == place);
        for help in own.filter_map(|problem| problem.help.as_mut()) {
            if let Some(at) = help.find(OR_DEFAULT) {
                help.truncate(at);
            }
        }
    }

    /// Warns of a key without effect.
    fn ignored(&mut self, node: &Node, schema: &Json) {
        let Some((why, remedy)) = Schemas::reason(schema, node.plain()) else { return };
        let key = node.path.rsplit("::").next().unwrap_or_default();
        // Of a key with one good value, the other value has no effect.
        let key = match node.plain() {
            Value::Bool(value) if schema[FIXED_MARK].is_boolean() => format!("{key}: {value}"),
            _ => key.to_owned(),
        };
        self.problems.warning(node, format!("`{key}` has no effect: {why}")).help(remedy);
    }

    fn is_duration(&self, schema: &Json) -> bool {
        self.schemas.alternatives(schema).iter().any(|one| one["pattern"].is_string())
    }
}
