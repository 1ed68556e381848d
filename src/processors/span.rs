//! Changes the name or the status of spans: makes a name of attributes, and attributes of parts of
//! a name.
//!
//! ```yaml
//! span:
//!   name:
//!     to_attributes:
//!       rules:
//!         - ^/api/v1/document/(?P<documentId>[^/]+)/update$
//! ```
//!
//! The span `/api/v1/document/321083/update` becomes `/api/v1/document/{documentId}/update` with
//! the attribute `documentId: "321083"`. Each rule works on the name that the rules before it have
//! left; `break_after_match` stops at the first that matches, `keep_original_name` leaves the name
//! alone.
//!
//! ```yaml
//! span/name:
//!   include:
//!     match_type: strict
//!     services: [orders]
//!   name:
//!     from_attributes: [db.system, db.operation]
//!     separator: ":"
//!   status:
//!     code: Error
//!     description: the order was refused
//! ```
//!
//! `from_attributes` joins the values of attributes; a span that lacks one of them keeps its name.
//! It comes before `to_attributes`. `status` sets the status of all spans that are chosen; for more
//! refined conditions there is [`transform`](processor-transform.md).
//!
//! Regular expressions are those of Go and match anywhere unless anchored. Spans that do not change
//! keep their bytes.
//!
//! Differs from the Collector:
//!
//! - A group of a rule that takes no part in a match makes no attribute.

mod edit;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::edit::Editor;
use super::{
    editing::edit_segments,
    select::{Choice, Match},
};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        splice::{self, EditItems, Splicer},
    },
    ottl::regex,
};

/// Names spans, and sets their status.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Only spans that match are changed.
    pub include: Option<Match>,
    /// Spans that match stay as they are, even where `include` matches too.
    pub exclude: Option<Match>,
    /// The name.
    pub name: Name,
    /// The status.
    pub status: Option<Status>,
}

/// `name`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Name {
    /// Keys of attributes whose values make the name, in order.
    pub from_attributes: Vec<String>,
    /// Between the values.
    pub separator: String,
    /// Attributes from parts of the name.
    pub to_attributes: Option<ToAttributes>,
}

/// `to_attributes`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToAttributes {
    /// Regular expressions with named groups. Each group becomes an attribute, and its text in the
    /// name becomes its name in braces.
    pub rules: Vec<String>,
    /// Stop at the first rule that matches.
    pub break_after_match: bool,
    /// Leave the name as it is.
    pub keep_original_name: bool,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Status {
    /// What the spans get.
    pub code: Option<Code>,
    /// Why; of errors only.
    pub description: String,
}

/// The code of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Code {
    /// No status.
    Unset = 0,
    /// Success.
    Ok = 1,
    /// Failure.
    Error = 2,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("span", &[], &[Signal::Traces], include_str!("span.rs"));

impl Config {
    fn validate_name(&self, at: &Node, problems: &mut Problems) {
        let Some(to_attributes) = &self.name.to_attributes else { return };
        let path = "name::to_attributes";
        if to_attributes.rules.is_empty() {
            problems
                .error(at.at(path), "there is no rule")
                .help("add `rules: ['^/orders/(?P<orderId>[^/]+)$']`, for instance");
        }
        for (i, rule) in to_attributes.rules.iter().enumerate() {
            let node = at.at(&format!("{path}::rules::{i}"));
            match regex(rule) {
                Err(words) => {
                    problems.error(node, words);
                }
                Ok(regex) if regex.capture_names().flatten().next().is_none() => {
                    problems
                        .error(node, "the rule has no named group")
                        .help("name the part that becomes an attribute: `(?P<orderId>[^/]+)`");
                }
                Ok(_) => {}
            }
        }
    }
}

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        for (name, section) in [("include", &self.include), ("exclude", &self.exclude)] {
            let Some(section) = section else { continue };
            section.validate(at, name, problems);
            for key in section.foreign(Signal::Traces) {
                let node = at.at(&format!("{name}::{key}"));
                problems.error(node, format!("spans have no `{key}`")).help("remove it");
            }
        }
        self.validate_name(at, problems);
        let renames = !self.name.from_attributes.is_empty() || self.name.to_attributes.is_some();
        if !renames && self.status.is_none() {
            problems
                .error(at, "the processor changes nothing")
                .help("add `name` with `from_attributes` or `to_attributes`, or `status`");
        }
        if let Some(status) = &self.status {
            if status.code.is_none() {
                problems
                    .error(at.at("status"), "the key `code` is missing")
                    .help("add `code: Ok`; valid: Unset, Ok, Error");
            } else if status.code != Some(Code::Error) && !status.description.is_empty() {
                problems
                    .error(at.at("status::description"), "only errors have a description")
                    .help("remove it, or set `code: Error`");
            }
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let error = |message| StartError { component: format!("processor `{}`", cx.id), message };
        let choice = Choice::new(self.include.as_ref(), self.exclude.as_ref(), cx.signal);
        let choice = choice
            .ok_or_else(|| error("a section of `include` or `exclude` is not valid".to_owned()))?;
        Ok(Box::new(Spans { editor: Editor::new(self).map_err(error)?, choice }))
    }
}

struct Spans {
    editor: Editor,
    choice: Choice,
}

impl Processor for Spans {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        let signal = payload.signal;
        edit_segments(payload, 0, out, |segment, growth, purse| {
            splice::edit_items(signal, segment, growth, purse, self)
        });
    }
}

impl EditItems for Spans {
    fn enter_resource(&mut self, resource: &[u8]) -> bool {
        self.choice.enter_resource(resource)
    }

    fn enter_scope(&mut self, scope: &[u8]) -> bool {
        self.choice.enter_scope(scope)
    }

    fn edit<'a>(&mut self, item: &'a [u8], attributes: u32, out: &mut Splicer<'a>) {
        if self.choice.takes(item, attributes) {
            self.editor.edit(item, out);
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
