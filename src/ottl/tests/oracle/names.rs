//! Names of spans by the semantic conventions.

use opentelemetry_proto::tonic::trace::v1::Span;

use super::{
    edit::put,
    place::{ItemOf, Levels},
    value::{No, Res, Val},
};

pub(super) fn conventional(old: Option<&str>, levels: &mut Levels<'_>) -> Res<()> {
    let ItemOf::Span(span) = &mut levels.item else { return Err(No::Unsure) };
    let Some(new) = name(span).filter(|new| *new != span.name) else { return Ok(()) };
    let before = std::mem::replace(&mut span.name, new);
    let Some(key) = old else { return Ok(()) };
    let value = Some(Val::Text(before).stored()?);
    put(&mut span.attributes, key, value);
    Ok(())
}

/// The first of some attributes that is there with content.
fn text(span: &Span, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| {
        let found = span.attributes.iter().find(|entry| entry.key == *key)?;
        match Val::of(found.value.as_ref()) {
            Val::Text(text) if !text.is_empty() => Some(text),
            Val::Int(number) => Some(number.to_string()),
            _ => None,
        }
    })
}

fn flag(span: &Span, key: &str) -> bool {
    let found = span.attributes.iter().find(|entry| entry.key == key);
    found.is_some_and(|entry| matches!(Val::of(entry.value.as_ref()), Val::Bool(true)))
}

fn words(parts: &[Option<String>]) -> Option<String> {
    let parts: Vec<&str> = parts.iter().flatten().map(|part| &**part).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// 2 is a server, 3 a client, 4 a producer, 5 a consumer.
fn name(span: &Span) -> Option<String> {
    match span.kind {
        2 => http(span, "http.route").or_else(|| rpc(span)).or_else(|| messaging(span)),
        3 => http(span, "url.template")
            .or_else(|| rpc(span))
            .or_else(|| database(span))
            .or_else(|| messaging(span)),
        4 | 5 => messaging(span),
        _ => None,
    }
}

fn http(span: &Span, subject: &str) -> Option<String> {
    let method = text(span, &["http.request.method", "http.method"])?;
    let method = if method == "_OTHER" { "HTTP".to_owned() } else { method };
    words(&[Some(method), text(span, &[subject])])
}

fn rpc(span: &Span) -> Option<String> {
    let system = text(span, &["rpc.system.name", "rpc.system"])?;
    let method = text(span, &["rpc.method", "rpc.grpc.method"]);
    let service = text(span, &["rpc.service", "rpc.grpc.service"]);
    Some(match (service, method) {
        (Some(service), Some(method)) => format!("{service}/{method}"),
        (Some(service), None) => format!("{service}/*"),
        (None, Some(method)) => method,
        (None, None) => system,
    })
}

fn server(span: &Span) -> Option<String> {
    let address = text(span, &["server.address"])?;
    let port = text(span, &["server.port"]).map(|port| format!(":{port}"));
    Some(address + &port.unwrap_or_default())
}

fn database(span: &Span) -> Option<String> {
    let system = text(span, &["db.system.name", "db.system"])?;
    if let Some(summary) = text(span, &["db.query.summary"]) {
        return Some(summary);
    }
    let namespace = text(span, &["db.namespace", "db.name"]);
    let target = match text(span, &["db.collection.name", "db.stored_procedure.name"]) {
        Some(target) => Some(namespace.map_or(String::new(), |space| space + ".") + &target),
        None => namespace.or_else(|| server(span)),
    };
    words(&[text(span, &["db.operation.name", "db.operation"]), target]).or(Some(system))
}

fn messaging(span: &Span) -> Option<String> {
    let system = text(span, &["messaging.system"])?;
    let destination = if flag(span, "messaging.destination.temporary") {
        Some("(temporary)".to_owned())
    } else if flag(span, "messaging.destination.anonymous") {
        Some("(anonymous)".to_owned())
    } else {
        let keys = [
            "messaging.destination.template",
            "messaging.destination.name",
            "messaging.destination",
        ];
        text(span, &keys).or_else(|| server(span))
    };
    let operation = text(span, &["messaging.operation.name", "messaging.operation"]);
    words(&[operation, destination]).or(Some(system))
}
