//! Which authenticator each exporter and receiver gets: `auth: {authenticator: id}` names an
//! extension that is of use to it.

use std::sync::Arc;

use super::{Bodies, Document, Unknown, at, extension_of::Role, pipelines::Scope};
use crate::{
    component::{AuthUse, ClientAuth, ComponentId, Kind, ServerAuth},
    config::{Node, Problems, Severity},
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

const SERVER_AUTHENTICATOR: Role<Arc<dyn ServerAuth>> = Role {
    name: "server authenticator",
    types: extensions::SERVER_AUTHENTICATORS,
    unnamed: (
        "`auth` names no authenticator",
        "write `auth: {authenticator: id}` with the id of an extension",
    ),
    of: |extension| extension.server_auth(),
};

/// Looks up what exporters and receivers name. `ignored` is what cannot be seen because of other
/// errors.
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
    let mut server_auths = Vec::new();
    for receiver in document.receivers.values() {
        for (key, wanted) in receiver.config.auths() {
            let Some(body) = bodies.get(Kind::Receiver, &receiver.id) else { continue };
            if bodies.is_broken(body.at(key)) {
                continue;
            }
            let place = body.at(&format!("{key}::authenticator"));
            let scope = Scope { document, ignored };
            if let Some(auth) = resolve_server(&wanted, place, scope, problems) {
                server_auths.push((wanted, auth));
            }
        }
    }
    document.auths.extend(auths);
    document.server_auths.extend(server_auths);
    super::in_file_order(problems, before);
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

/// Warns of processors that look at what an authenticator knows of clients, where none can tell.
pub(super) fn readers(document: &Document, problems: &mut Problems) {
    for pipeline in &document.pipelines {
        let asks = |id: &ComponentId| match document.receivers.get(id) {
            Some(receiver) => !receiver.config.auths().is_empty(),
            // What comes through a connector is seen in the pipelines before it.
            None => true,
        };
        if pipeline.receivers.iter().any(asks) {
            continue;
        }
        for id in &pipeline.processors {
            let Some(processor) = document.processors.get(id) else { continue };
            if processor.config.needs().auth {
                let mut problem = at(&processor.place, &format!("processors::{id}"));
                problem.severity = Severity::Warning;
                problem.message = format!(
                    "processor `{id}` looks at attributes of the authenticator, but in the \
                     pipeline `{}` no receiver has one",
                    pipeline.id
                );
                problem.help = Some("add `auth` to a protocol of the receiver".to_owned());
                problems.0.push(problem);
            }
        }
    }
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
