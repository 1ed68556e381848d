//! Adds, changes or removes attributes of spans, log records and data points.
//!
//! ```yaml
//! attributes:
//!   actions:
//!     - { key: deployment.environment, value: production, action: upsert }
//!     - { key: user.id, from_context: metadata.x-user-id, action: insert }
//!     - { key: http.request.header.authorization, action: delete }
//!     - { key: user.email, action: hash }
//!     - { key: http.url, pattern: "^(?P<url_scheme>[a-z]+)://(?P<url_host>[^/]+)", action: extract }
//!     - { key: http.status_code, converted_type: int, action: convert }
//!   exclude:
//!     match_type: strict
//!     span_names: [GET /health]
//! ```
//!
//! Actions run in order on every item: `insert` adds where the key is absent, `update` changes
//! where it is present, `upsert` does either, `delete` removes, `hash` replaces the value by its
//! SHA-256, `extract` puts what named groups match into attributes of their own, `convert` changes
//! the type. New values are constants (`value`), come from another attribute of the item
//! (`from_attribute`) or from the request (`from_context`); where those have none, `default_value`
//! is taken. `include` and `exclude` select items.
//!
//! `from_context` looks at the export request, which the SDK of the application sends. What a
//! user's request to the application had in its headers, the instrumentation captures as attributes
//! (`OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST=x-user-id`), so it is taken from
//! there:
//!
//! ```yaml
//! attributes/user:
//!   actions:
//!     - { key: user.id, from_attribute: http.request.header.x_user_id, action: upsert }
//!     - { key: http.request.header.x_user_id, action: delete }
//! ```
//!
//! Requests are edited as bytes: an item that no action changes keeps its bytes, and a request in
//! which nothing changes keeps its allocation. Regular expressions are those of the `regex` crate,
//! which reads the syntax of RE2 but takes `\d` and `\w` for Unicode classes.
//!
//! Differs from the Collector:
//!
//! - `include` and `exclude` look at `resources` for metrics too; the Collector ignores it there.
//! - Of several attributes with one key, which OTLP forbids, all are changed and not only the
//!   first.
//! - A captured header (`http.request.header.*` and its like) is a list of texts. Where the list
//!   has one element, `from_attribute` copies that element. `convert` converts the element of any
//!   list of one.
//! - `log_bodies` matches bodies that are text, and no others.
//! - `hash` with a `key` and a `pattern` that both select an attribute hashes it once.
//! - As text, a number that JSON has not (`NaN`, `Infinity`) is a text in its list or map, and
//!   empty bytes are `""`; the Collector makes an empty text of the whole value, and `null` of the
//!   bytes. A double beyond 64 bits becomes the nearest integer.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    editing::{
        action::{self, Action},
        edit::Editor,
        edit_segments,
    },
    select::{Choice, Match},
};
use crate::{
    component::{
        BuildContext, Entry, Needs, Output, Partition, Processor, ProcessorConfig, StartError,
    },
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        splice::{self, EditItems, Splicer},
    },
};

/// Edits attributes of items.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to do, in order; at least one.
    pub actions: Vec<Action>,
    /// Only items that match are edited.
    pub include: Option<Match>,
    /// Items that match stay as they are, even where `include` matches too.
    pub exclude: Option<Match>,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("attributes", &[], &Signal::ALL, include_str!("attributes.rs"));

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        action::validate(&self.actions, at, "actions", problems);
        for (name, section) in [("include", &self.include), ("exclude", &self.exclude)] {
            if let Some(section) = section {
                section.validate(at, name, problems);
            }
        }
    }

    fn needs(&self) -> Needs<'_> {
        action::needs(&self.actions)
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let error = |message| StartError { component: format!("processor `{}`", cx.id), message };
        for (name, section) in [("include", &self.include), ("exclude", &self.exclude)] {
            let foreign = section.as_ref().map(|section| section.foreign(cx.signal));
            if let Some([key, ..]) = foreign.as_deref() {
                return Err(error(format!(
                    "`{name}::{key}` does not apply to {signal}, and the pipeline `{}` carries \
                     {signal}; use another instance of the processor for it",
                    cx.pipeline,
                    signal = cx.signal,
                )));
            }
        }
        let choice = Choice::new(self.include.as_ref(), self.exclude.as_ref(), cx.signal);
        let choice = choice
            .ok_or_else(|| error("a section of `include` or `exclude` is not valid".to_owned()))?;
        Ok(Box::new(Attributes { editor: Editor::new(action::Plan::new(&self.actions)), choice }))
    }
}

struct Attributes {
    editor: Editor,
    choice: Choice,
}

impl Processor for Attributes {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        self.editor.begin(payload.context.as_deref());
        let signal = payload.signal;
        let growth = self.editor.growth().saturating_mul(to_usize(payload.items));
        edit_segments(payload, growth, out, |segment, growth, purse| {
            splice::edit_items(signal, segment, growth, purse, self)
        });
    }
}

fn to_usize(items: u64) -> usize {
    usize::try_from(items).unwrap_or(usize::MAX)
}

impl EditItems for Attributes {
    fn enter_resource(&mut self, resource: &[u8]) -> bool {
        self.choice.enter_resource(resource)
    }

    fn enter_scope(&mut self, scope: &[u8]) -> bool {
        self.choice.enter_scope(scope)
    }

    fn enter_metric(&mut self, metric: &[u8]) -> bool {
        self.choice.enter_metric(metric)
    }

    #[inline]
    fn edit<'a>(&mut self, item: &'a [u8], attributes: u32, out: &mut Splicer<'a>) {
        if self.choice.takes(item, attributes) {
            self.editor.edit(item, attributes, out);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
