//! Which authenticator each exporter gets: `auth: {authenticator: id}` names an extension that is of use to
//! this exporter.

use std::sync::Arc;

use super::{Bodies, Document, Unknown, extension_of::Role, pipelines::Scope};
use crate::{
    component::{AuthUse, ClientAuth, Kind},
    config::{Node, Problems},
    extensions,
};

const AUTHENTICATOR: Role<Arc<dyn ClientAuth>> = Role {
    name: "authenticator",
    types: extensions::AUTHENTICATORS,
    unnamed: (
        "`auth` names no authenticator",
        "write `auth: {authenticator: id}` with the id of an extension",
    ),
    of: |extension| extension.client_auth(),
};

/// Looks up what exporters name. `ignored` is what cannot be seen because of other errors.
pub(super) fn load(
    root: &Node,
    document: &mut Document,
    ignored: &Unknown,
    problems: &mut Problems,
) {
    let before = problems.0.len();
    let bodies = Bodies::of(root, problems);
    let mut auths = Vec::new();
    for exporter in document.exporters.values() {
        let Some(wanted) = exporter.config.auth() else { continue };
        let Some(at) = bodies.get(Kind::Exporter, &exporter.id) else { continue };
        if bodies.is_broken(at.at("auth")) {
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
    let (auth, extension) = AUTHENTICATOR.find(&wanted.authenticator, at, scope, problems)?;
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
