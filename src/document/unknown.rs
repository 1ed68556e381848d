//! What a file names and skep does not know: components of other types, misspelt sections and keys.
//!
//! A name that is wrong is reported once, where it is defined. References to it are not reported
//! again.

use std::collections::HashSet;

use super::elsewhere::{self, Elsewhere};
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
    /// Components of the Collector that skep does not have.
    missing: Vec<(Kind, ComponentId)>,
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
            if let Elsewhere::Instead(instead) = known {
                problem.help(format!("instead: {instead}"));
            }
            self.missing.push((kind, id.clone()));
        } else if let Some(other) = other_kind(kind, name) {
            let article =
                if other == Kind::Extension || other == Kind::Exporter { "an" } else { "a" };
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

    /// Reports what is said once for the whole file: the number of missing components, and the old
    /// names.
    pub(super) fn report(&self, problems: &mut Problems) {
        if self.missing.len() > 1 {
            let mut names = self.missing.iter().map(|(kind, id)| format!("{} `{id}`", kind.name()));
            let all = list(&mut names, self.missing.len());
            let mut problem = Problem::of_the_whole(format!(
                "{} components of the Collector are not in skep: {all}",
                self.missing.len()
            ));
            problem.help(
                "remove them from their sections and from the pipelines; for what only they can do, \
                 run a Collector beside skep and let it send OTLP to skep",
            );
            problems.0.push(problem);
        }
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

/// Another kind that has a type of this name.
fn other_kind(kind: Kind, name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|other| *other != kind && types(*other).contains(&name))
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
