//! Which authenticator each exporter gets: `auth: {authenticator: id}` names an extension that is
//! configured, runs, and is of use to this exporter. Nothing depends on the order of the file.

use std::sync::Arc;

use super::{Document, Unknown, body, ids, pipelines::Scope};
use crate::{
    component::{AuthUse, ClientAuth, Kind},
    config::{Node, Problems, diagnostics::closest},
    extensions,
};

/// Looks up what exporters name. `ignored` is what cannot be seen because of other errors.
pub(super) fn load(
    root: &Node,
    document: &mut Document,
    ignored: &Unknown,
    problems: &mut Problems,
) {
    let before = problems.0.len();
    let mut auths = Vec::new();
    for exporter in document.exporters.values() {
        let Some(wanted) = exporter.config.auth() else { continue };
        let Some(at) = body(root, Kind::Exporter, &exporter.id) else { continue };
        if super::is_broken(at.at("auth"), problems) {
            continue;
        }
        let at = at.at("auth::authenticator");
        if let Some(auth) = resolve(&wanted, at, Scope { document, ignored }, problems) {
            auths.push((exporter.id.clone(), auth));
        }
    }
    document.auths.extend(auths);
    super::in_file_order(problems, before);
}

fn resolve(
    wanted: &AuthUse,
    at: &Node,
    scope: Scope<'_>,
    problems: &mut Problems,
) -> Option<Arc<dyn ClientAuth>> {
    let Scope { document, ignored } = scope;
    if wanted.authenticator.is_empty() {
        problems
            .error(at, "`auth` names no authenticator")
            .help("write `auth: {authenticator: id}` with the id of an extension");
        return None;
    }
    let id = match ids::component(&wanted.authenticator) {
        Ok(id) => id,
        Err(message) => {
            problems.error(at, message);
            return None;
        }
    };
    let Some(extension) = document.extensions.get(&id) else {
        if !ignored.may_define(Kind::Extension, &id) {
            let message = format!("references authenticator `{id}` which is not configured");
            problems.error(at, message).help(remedy(scope, &id.kind_name, &id.to_string()));
        }
        return None;
    };
    let Some(auth) = extension.config.client_auth() else {
        let message = format!("extension `{id}` is not an authenticator");
        problems
            .error(at, message)
            .help(format!("authenticators: {}", extensions::AUTHENTICATORS.join(", ")));
        return None;
    };
    if !document.enabled_extensions.contains(&id) {
        let message = format!("authenticator `{id}` is configured, but does not run");
        problems
            .error(at, message)
            .help(format!("list `{id}` under `service: extensions:`"))
            .relate(&extension.place, "configured here");
        return None;
    }
    let mut checks = wanted.urls.iter().map(|url| auth.check(wanted.protocol, url));
    if let Some(Err(unusable)) = checks.find(Result::is_err) {
        problems
            .error(at, unusable.message)
            .help(unusable.help)
            .relate(&extension.place, "configured here");
        return None;
    }
    Some(auth)
}

/// What to do about an id that no extension has.
fn remedy(scope: Scope<'_>, kind_name: &str, id: &str) -> String {
    let running = scope.document.extensions.values();
    let mut names: Vec<String> = running
        .filter(|extension| extension.config.client_auth().is_some())
        .map(|extension| extension.id.to_string())
        .collect();
    names.sort();
    if let Some(near) = closest(id, names.iter().map(|name| &**name)) {
        return format!("did you mean `{near}`? otherwise add `{id}:` under `extensions`");
    }
    if extensions::AUTHENTICATORS.contains(&kind_name) {
        return format!("add `{id}:` under `extensions`, and list it under `service: extensions:`");
    }
    let known = extensions::AUTHENTICATORS.join(", ");
    match closest(kind_name, extensions::AUTHENTICATORS.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? authenticators: {known}"),
        None => format!("authenticators: {known}"),
    }
}
