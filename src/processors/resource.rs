//! Adds, changes or removes attributes of the resource: what is true of everything that a sender
//! sends.
//!
//! ```yaml
//! resource:
//!   attributes:
//!     - { key: deployment.environment, value: production, action: upsert }
//!     - { key: process.command_args, action: delete }
//!     - { key: host.name, from_context: client.address, action: insert }
//! ```
//!
//! Actions are those of the `attributes` processor and run in order. A sender that sends no
//! resource gets one where something is inserted. Payloads are edited as bytes. The differences
//! from the Collector that `attributes` lists hold here too.

use schemars::JsonSchema;
use serde::Deserialize;

use super::editing::{
    action::{self, Action, Plan},
    edit::Editor,
    edit_segments,
};
use crate::{
    component::{
        BuildContext, Entry, Needs, Output, Partition, Processor, ProcessorConfig, StartError,
    },
    config::{Node, Problems},
    otlp::{Payload, Signal, splice, wire::Fields},
};

/// Edits resource attributes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to do, in order; at least one.
    pub attributes: Vec<Action>,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("resource", &[], &Signal::ALL, include_str!("resource.rs"));

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        action::validate(&self.attributes, at, "attributes", problems);
    }

    fn needs(&self) -> Needs<'_> {
        action::needs(&self.attributes)
    }

    fn build(&self, _cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        Ok(Box::new(ResourceEditor { editor: Editor::new(Plan::new(&self.attributes)) }))
    }
}

struct ResourceEditor {
    editor: Editor,
}

impl Processor for ResourceEditor {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        self.editor.begin(payload.context.as_deref());
        let each = self.editor.growth();
        let entries: usize = payload.body.iter().map(|segment| Fields::new(segment).count()).sum();
        edit_segments(payload, each.saturating_mul(entries), out, |segment, growth, purse| {
            splice::edit_resources(segment, growth, purse, |resource, out| {
                self.editor.edit(resource, 1, out);
            })
        });
    }
}

#[cfg(test)]
mod tests;
