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

pub(crate) mod action;
pub(crate) mod edit;
pub mod select;
pub mod value;

use schemars::JsonSchema;
use serde::Deserialize;

use self::{edit::Editor, select::Selector};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        payload::{Permit, Reason},
        purse::Purse,
        splice::{self, EditItems, Splicer},
    },
};

pub use self::{
    action::{Action, Type, Verb},
    select::Match,
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

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry {
    name: "attributes",
    aliases: &[],
    signals: &Signal::ALL,
    source: include_str!("attributes.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ProcessorConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

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

    fn needs_context(&self) -> bool {
        action::Plan::needs_context(&self.actions)
    }

    fn reads_metadata(&self) -> bool {
        action::Plan::reads_metadata(&self.actions)
    }

    fn reads_auth(&self) -> bool {
        action::Plan::reads_auth(&self.actions)
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
        let selector = |section: &Option<Match>| match section {
            Some(section) => Selector::new(section, cx.signal).map(Some).ok_or_else(|| {
                error("a section of `include` or `exclude` is not valid".to_owned())
            }),
            None => Ok(None),
        };
        Ok(Box::new(Attributes {
            editor: Editor::new(action::Plan::new(&self.actions)),
            include: selector(&self.include)?,
            exclude: selector(&self.exclude)?,
            excluded: Excluded::default(),
        }))
    }
}

struct Attributes {
    editor: Editor,
    include: Option<Selector>,
    exclude: Option<Selector>,
    excluded: Excluded,
}

/// What around the current item matches `exclude`.
#[derive(Debug, Default)]
struct Excluded {
    resource: bool,
    scope: bool,
    metric: bool,
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

/// Largest copy that is made even if the budget has no room for it. Each worker makes one at a
/// time.
const ALWAYS: usize = 1 << 20;

/// The purse for an edited copy of a payload. The copy replaces the original, so it may be up to
/// twice as large, within a limit, even if the budget is exhausted: a small edit should not fail
/// for lack of room. Larger growth must find free bytes. Otherwise a sender could turn a megabyte
/// of empty items into any amount of memory.
pub(crate) fn purse_for(payload: &Payload) -> Purse {
    let credit = payload.len().saturating_mul(9) / 4 + (8 << 10);
    let is_shared = payload.permits.iter().any(Permit::is_shared);
    let credit = if is_shared || credit > ALWAYS { 0 } else { credit };
    Purse::new(payload.permits.first(), credit)
}

/// Edits each segment of a payload. The payload may grow by `growth` bytes; `edit` gets a segment,
/// its share of the growth, and the purse that pays for it.
pub(crate) fn edit_segments(
    mut payload: Payload,
    growth: usize,
    out: &mut Output,
    mut edit: impl FnMut(&[u8], usize, &mut Purse) -> Result<Option<Vec<u8>>, Reason>,
) {
    let total = payload.len();
    let mut purse = purse_for(&payload);
    let mut body = payload.body.clone();
    let mut changed = 0;
    for segment in &mut body {
        let share = growth.saturating_mul(segment.len()) / total.max(1);
        let new = match edit(segment, share, &mut purse) {
            Ok(new) => new,
            Err(reason) => return out.refuse(payload, reason),
        };
        if let Some(mut new) = new {
            if new.capacity() > new.len() + new.len() / 4 + 4096 {
                new.shrink_to_fit();
            }
            *segment = new.into();
            changed += 1;
        }
    }
    if changed > 0 {
        let is_whole = changed == body.len();
        payload.exchange_body(body, purse.into_permits(), is_whole);
    }
    out.emit(payload);
}

fn to_usize(items: u64) -> usize {
    usize::try_from(items).unwrap_or(usize::MAX)
}

impl EditItems for Attributes {
    fn enter_resource(&mut self, resource: &[u8]) -> bool {
        self.excluded.resource = self.exclude.as_ref().is_some_and(|s| s.takes_resource(resource));
        self.include.as_ref().is_none_or(|selector| selector.takes_resource(resource))
    }

    fn enter_scope(&mut self, scope: &[u8]) -> bool {
        self.excluded.scope = self.exclude.as_ref().is_some_and(|s| s.takes_scope(scope));
        self.excluded.metric = true;
        self.include.as_ref().is_none_or(|selector| selector.takes_scope(scope))
    }

    fn enter_metric(&mut self, metric: &[u8]) -> bool {
        self.excluded.metric = self.exclude.as_ref().is_some_and(|s| s.takes_metric(metric));
        self.include.as_ref().is_none_or(|selector| selector.takes_metric(metric))
    }

    #[inline]
    fn edit<'a>(&mut self, item: &'a [u8], attributes: u32, out: &mut Splicer<'a>) {
        let takes = |selector: &Selector| selector.takes_item(item, attributes);
        let Excluded { resource, scope, metric } = self.excluded;
        let is_excluded = resource && scope && metric && self.exclude.as_ref().is_some_and(takes);
        if !is_excluded && self.include.as_ref().is_none_or(takes) {
            self.editor.edit(item, attributes, out);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
