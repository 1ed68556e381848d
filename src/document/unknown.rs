//! What a file names and skep does not know: components of other types, misspelt sections and keys.
//!
//! A name that is wrong is reported once, where it is defined. References to it are not reported
//! again.

use std::collections::HashSet;

use super::{
    SECTIONS,
    elsewhere::{self, Elsewhere},
    ids,
};
use crate::{
    component::{ComponentId, Entry, Kind},
    config::{Place, Problem, Problems, Severity, diagnostics::closest, tree::Member},
    connectors, exporters, extensions, processors, receivers,
};

/// Most names that are listed in one problem.
const MOST_NAMED: usize = 30;

/// Names that may be defined although they are not in the document, and old names.
#[derive(Default)]
pub(super) struct Unknown {
    /// Types with their old and their new name.
    renamed: Vec<(Kind, String, &'static str)>,
    /// Ids that are in the file but not in the document.
    ids: HashSet<(Kind, ComponentId)>,
    /// Sections that cannot be read, or whose name is misspelt.
    pub(super) sections: Vec<&'static str>,
}

impl Unknown {
    /// Whether an id may be defined in a part of the file that could not be read, so that a
    /// reference to it is not another problem.
    pub(super) fn may_define(&self, kind: Kind, id: &ComponentId) -> bool {
        let kinds: &[Kind] = match kind {
            Kind::Receiver | Kind::Exporter => &[kind, Kind::Connector],
            _ => &[kind],
        };
        kinds.iter().any(|kind| {
            self.sections.contains(&kind.section()) || self.ids.contains(&(*kind, id.clone()))
        })
    }

    /// Records that a component could not be decoded. Its problems are reported already.
    pub(super) fn add_broken(&mut self, kind: Kind, id: ComponentId) {
        self.ids.insert((kind, id));
    }

    /// Records the old name of a type, which still works.
    pub(super) fn add_renamed(&mut self, kind: Kind, old: &str, new: &'static str) {
        let renamed = (kind, old.to_owned(), new);
        if !self.renamed.contains(&renamed) {
            self.renamed.push(renamed);
        }
    }

    /// Reports a component of a type that skep does not have. `valid` are the types of its kind.
    pub(super) fn add_foreign(
        &mut self,
        kind: Kind,
        id: ComponentId,
        member: &Member,
        valid: &[&'static str],
        problems: &mut Problems,
    ) {
        let name = &*id.kind_name;
        let message = format!("unknown {} type `{name}`", kind.name());
        let mut problem = Problem::at(&member.key_place, &member.value.path, message);
        let known = elsewhere::find(kind, name);
        if known != Elsewhere::Nowhere {
            problem.message = format!("the {} `{id}` of the Collector is not in skep", kind.name());
            problem.help(match known {
                Elsewhere::Instead(instead) => format!("instead: {instead}"),
                _ => elsewhere::remedy(kind).to_owned(),
            });
        } else if SECTIONS.contains(&name) && id.name.is_none() {
            problem.help(format!("`{name}` is a section: begin it in the first column"));
            self.sections.extend(SECTIONS.into_iter().find(|section| *section == name));
        } else if let Some(other) = other_kind(kind, name) {
            let article = article(other);
            let (other, section) = (other.name(), other.section());
            problem.help(format!("`{name}` is {article} {other}: define it under `{section}`"));
        } else if !problems.are_many()
            && let Some(near) = closest(name, valid.iter().copied())
        {
            problem.help(format!("did you mean `{near}`?"));
            // References most likely have the right name.
            let meant = ComponentId { kind_name: near.to_owned(), name: id.name.clone() };
            self.ids.insert((kind, meant));
        } else {
            problem.help(format!("{}: {}", kind.section(), valid.join(", ")));
        }
        problems.0.push(problem);
        self.ids.insert((kind, id));
    }

    /// Adds to an unknown key among the settings of the component `id` that it is a component, if
    /// its name is that of one. A reference to it is not reported.
    pub(super) fn note_too_deep(
        &mut self,
        kind: Kind,
        id: &ComponentId,
        member: &Member,
        problem: &mut Problem,
    ) {
        let message = problem.message.strip_prefix("unknown key `");
        let Some(key) = message.and_then(|rest| rest.strip_suffix('`')) else { return };
        let Ok(inner) = ids::component(key) else { return };
        if is_type(kind, &inner.kind_name) && member.value.get(key).is_some() {
            let article = article(kind);
            let kind_name = kind.name();
            problem.help(format!(
                "`{key}` is {article} {kind_name}: begin it in the same column as `{id}`"
            ));
            self.ids.insert((kind, inner));
        }
    }

    /// The remedy for a top-level key that is not a section: it may be a component that begins too
    /// far to the left. `section` is the one above it.
    pub(super) fn too_shallow(&mut self, key: &str, section: Option<&str>) -> Option<String> {
        let inner = ids::component(key).ok()?;
        let has_type = |kind: &Kind| is_type(*kind, &inner.kind_name);
        let above = Kind::ALL.into_iter().filter(|kind| section == Some(kind.section()));
        let kind = above.chain(Kind::ALL).find(has_type)?;
        let help = format!(
            "`{key}` is {} {}: indent it, under `{}`",
            article(kind),
            kind.name(),
            kind.section()
        );
        self.ids.insert((kind, inner));
        Some(help)
    }

    /// Reports what is said once for the whole file: the old names.
    pub(super) fn report(&self, problems: &mut Problems) {
        if !self.renamed.is_empty() {
            let mut names = self
                .renamed
                .iter()
                .map(|(kind, old, new)| format!("{} `{old}` is now `{new}`", kind.name()));
            let all = list(&mut names, self.renamed.len());
            let mut problem = Problem::of_the_whole(format!("old names, which still work: {all}"));
            problem.severity = Severity::Warning;
            problems.0.push(problem);
        }
    }
}

/// The first names, and how many more there are.
fn list(names: &mut dyn Iterator<Item = String>, count: usize) -> String {
    let mut all: Vec<String> = names.take(MOST_NAMED).collect();
    if count > MOST_NAMED {
        all.push(format!("{} more", count - MOST_NAMED));
    }
    all.join(", ")
}

/// Reports a key that is not one of `valid`.
pub(super) fn unknown_key(
    place: &Place,
    path: &str,
    key: &str,
    valid: &[&str],
    problems: &mut Problems,
) {
    let mut problem = Problem::at(place, path, format!("unknown key `{key}`"));
    let list = valid.join(", ");
    let near = (!problems.are_many()).then(|| closest(key, valid.iter().copied())).flatten();
    problem.help(match near {
        Some(near) => format!("did you mean `{near}`? valid: {list}"),
        None => format!("valid: {list}"),
    });
    problems.0.push(problem);
}

const fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Exporter | Kind::Extension => "an",
        Kind::Receiver | Kind::Processor | Kind::Connector => "a",
    }
}

/// Another kind that has a type of this name.
fn other_kind(kind: Kind, name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|other| *other != kind && types(*other).contains(&name))
}

/// Whether a kind has a type of this name, old names included.
fn is_type(kind: Kind, name: &str) -> bool {
    fn has<C: ?Sized>(registry: &'static [Entry<C>], name: &str) -> bool {
        registry.iter().any(|entry| entry.name == name || entry.aliases.contains(&name))
    }
    match kind {
        Kind::Receiver => has(receivers::ALL, name),
        Kind::Processor => has(processors::ALL, name),
        Kind::Exporter => has(exporters::ALL, name),
        Kind::Connector => has(connectors::ALL, name),
        Kind::Extension => has(extensions::ALL, name),
    }
}

/// The names of all types of a kind.
pub(super) fn types(kind: Kind) -> Vec<&'static str> {
    fn names<C: ?Sized>(registry: &'static [Entry<C>]) -> Vec<&'static str> {
        registry.iter().map(|entry| entry.name).collect()
    }
    match kind {
        Kind::Receiver => names(receivers::ALL),
        Kind::Processor => names(processors::ALL),
        Kind::Exporter => names(exporters::ALL),
        Kind::Connector => names(connectors::ALL),
        Kind::Extension => names(extensions::ALL),
    }
}
