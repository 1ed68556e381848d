//! The authenticators of exporters and receivers: `auth: {authenticator: id}` names an extension.

use std::{collections::HashMap, sync::Arc};

use super::{
    Document, components::Bodies, extension_of::Role, in_file_order, references::Scope,
    unknown::Unknown,
};
use crate::{
    component::{AuthUse, ClientAuth, Kind, ServerAuth},
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
    get: |extension| extension.client_auth(),
};

const SERVER_AUTHENTICATOR: Role<Arc<dyn ServerAuth>> = Role {
    name: "server authenticator",
    types: extensions::SERVER_AUTHENTICATORS,
    unnamed: (
        "`auth` names no authenticator",
        "write `auth: {authenticator: id}` with the id of an extension",
    ),
    get: |extension| extension.server_auth(),
};

/// Looks up the authenticators of exporters and receivers.
pub(super) fn load(
    root: &Node,
    document: &mut Document,
    unknown: &Unknown,
    problems: &mut Problems,
) {
    let before = problems.0.len();
    let bodies = Bodies::new(root, problems);
    let mut auths = Vec::new();
    for exporter in document.exporters.values() {
        let Some(wanted) = exporter.config.auth() else { continue };
        let Some(at) = bodies.get(Kind::Exporter, &exporter.id) else { continue };
        if bodies.is_broken(at.at("auth")) {
            continue;
        }
        let at = at.at("auth::authenticator");
        if let Some(auth) = resolve(&wanted, at, Scope { document, unknown }, problems) {
            auths.push((exporter.id.clone(), auth));
        }
    }
    let mut server_auths = HashMap::new();
    for receiver in document.receivers.values() {
        for (key, wanted) in receiver.config.auths() {
            let Some(body) = bodies.get(Kind::Receiver, &receiver.id) else { continue };
            if bodies.is_broken(body.at(key)) {
                continue;
            }
            let place = body.at(&format!("{key}::authenticator"));
            let scope = Scope { document, unknown };
            if let Some(auth) = resolve_server(&wanted, place, scope, problems) {
                server_auths.insert(wanted, auth);
            }
        }
    }
    document.auths.extend(auths);
    document.server_auths = Arc::new(server_auths);
    in_file_order(problems, before);
}

fn resolve_server(
    wanted: &str,
    at: &Node,
    scope: Scope<'_>,
    problems: &mut Problems,
) -> Option<Arc<dyn ServerAuth>> {
    let (auth, extension) = SERVER_AUTHENTICATOR.find(wanted, at, scope, problems)?;
    if let Err(unusable) = auth.check() {
        problems
            .error(at, unusable.message)
            .help(unusable.help)
            .relate(&extension.place, "configured here");
        return None;
    }
    Some(auth)
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
