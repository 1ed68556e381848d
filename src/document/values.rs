//! Values that are taken and most likely not meant: a duration without a unit, which is
//! nanoseconds as in the Collector, and what `print-config` puts in the place of a secret.

use serde_json::Value as Json;

use super::{ids, schema::Schemas};
use crate::{
    component::Kind,
    config::{Node, Problems, Value, tree::Member, units::REDACTED},
};

const KINDS: [Kind; 5] =
    [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension];

/// A shorter time is hardly meant.
const SHORT: i128 = 1_000_000;

/// Warns of such values in the components of a document.
pub(super) fn check(root: &Node, problems: &mut Problems) {
    let schemas = Schemas::shared();
    for kind in KINDS {
        let section = root.get(kind.section()).map(Node::plain);
        let Some(Value::Map(members)) = section else { continue };
        for Member { key, value, .. } in members {
            let Ok(id) = ids::component(key) else { continue };
            if let Some(schema) = schemas.component(kind, &id.kind_name) {
                Check { schemas, problems }.value(value, schema);
            }
        }
    }
}

struct Check<'a> {
    schemas: &'a Schemas,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn value(&mut self, node: &Node, schema: &Json) {
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

    fn is_duration(&self, schema: &Json) -> bool {
        self.schemas.alternatives(schema).iter().any(|one| one["pattern"].is_string())
    }
}
