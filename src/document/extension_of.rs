//! Extensions that components name: an authenticator, a storage. The id must be that of an
//! extension that is configured, runs, and is what is wanted. Nothing depends on the order of the
//! file.

use super::{Component, ids, pipelines::Scope};
use crate::{
    component::{ComponentId, ExtensionConfig, Kind},
    config::{Node, Problems, diagnostics::closest},
};

/// What an extension is wanted as.
pub(super) struct Role<T> {
    /// `storage`.
    pub(super) name: &'static str,
    /// Types that are this.
    pub(super) types: &'static [&'static str],
    /// Says that the id is empty, and what to write.
    pub(super) unnamed: (&'static str, &'static str),
    /// What an extension is as this; none where it is something else.
    pub(super) of: fn(&dyn ExtensionConfig) -> Option<T>,
}

/// An extension as what is wanted of it.
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
        let Scope { document, ignored } = scope;
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
            if !ignored.may_define(Kind::Extension, &id) {
                let help = (!problems.are_many()).then(|| self.remedy(scope, &id));
                let message = format!("references {name} `{id}` which is not configured");
                problems.error(at, message).help = help;
            }
            return None;
        };
        let Some(found) = (self.of)(&*extension.config) else {
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

    /// What to do about an id that no extension has.
    fn remedy(&self, scope: Scope<'_>, id: &ComponentId) -> String {
        let extensions = scope.document.extensions.values();
        let mut names: Vec<String> = extensions
            .filter(|extension| (self.of)(&*extension.config).is_some())
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
