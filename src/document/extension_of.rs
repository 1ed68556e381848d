//! Extensions that components name: an authenticator, a storage. The id must be that of an
//! extension that is configured and enabled, and has the wanted role. The order in the file makes
//! no difference.

use super::{Component, ids, references::Scope};
use crate::{
    component::{ComponentId, ExtensionConfig, Kind},
    config::{Node, Problems, diagnostics::closest},
};

/// A role that an extension may have.
pub(super) struct Role<T> {
    /// `storage`.
    pub(super) name: &'static str,
    /// Extension types that have this role.
    pub(super) types: &'static [&'static str],
    /// The message for an empty id, and its remedy.
    pub(super) unnamed: (&'static str, &'static str),
    /// The extension in this role; `None` if it does not have it.
    pub(super) get: fn(&dyn ExtensionConfig) -> Option<T>,
}

/// An extension in the wanted role, and its place in the file.
pub(super) type Found<'a, T> = (T, &'a Component<dyn ExtensionConfig>);

impl<T> Role<T> {
    /// Looks up the extension that is named at `at`.
    pub(super) fn find<'a>(
        &self,
        wanted: &str,
        at: &Node,
        scope: Scope<'a>,
        problems: &mut Problems,
    ) -> Option<Found<'a, T>> {
        let Scope { document, unknown } = scope;
        if wanted.is_empty() {
            problems.error(at, self.unnamed.0).help(self.unnamed.1);
            return None;
        }
        let id = match ids::component(wanted) {
            Ok(id) => id,
            Err(message) => {
                problems.error(at, message);
                return None;
            }
        };
        let name = self.name;
        let Some(extension) = document.extensions.get(&id) else {
            if !unknown.may_define(Kind::Extension, &id) {
                let help = (!problems.are_many()).then(|| self.remedy(scope, &id));
                let message = format!("references {name} `{id}` which is not configured");
                problems.error(at, message).help = help;
            }
            return None;
        };
        let Some(found) = (self.get)(&*extension.config) else {
            let message = format!("extension `{id}` is not {} {name}", self.article());
            problems.error(at, message).help(self.known());
            return None;
        };
        if !document.enabled_extensions.contains(&id) {
            let message = format!("{name} `{id}` is configured, but not enabled");
            problems
                .error(at, message)
                .help(format!("list `{id}` under `service: extensions:`"))
                .relate(&extension.place, "configured here");
            return None;
        }
        Some((found, extension))
    }

    /// What to do about an id that is not defined.
    fn remedy(&self, scope: Scope<'_>, id: &ComponentId) -> String {
        let extensions = scope.document.extensions.values();
        let mut names: Vec<String> = extensions
            .filter(|extension| (self.get)(&*extension.config).is_some())
            .map(|extension| extension.id.to_string())
            .collect();
        names.sort();
        if let Some(near) = closest(&id.to_string(), names.iter().map(|name| &**name)) {
            return format!("did you mean `{near}`? otherwise add `{id}:` under `extensions`");
        }
        if self.types.contains(&&*id.kind_name) {
            return format!(
                "add `{id}:` under `extensions`, and list it under `service: extensions:`"
            );
        }
        match closest(&id.kind_name, self.types.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? {}", self.known()),
            None => self.known(),
        }
    }

    fn known(&self) -> String {
        format!("{}s: {}", self.name, self.types.join(", "))
    }

    fn article(&self) -> &'static str {
        if self.name.starts_with('a') { "an" } else { "a" }
    }
}
