//! `set_semconv_span_name`: a name of low cardinality from the attributes of a span, as the
//! semantic conventions 1.37 want it.

use super::{
    super::{
        fault::Fault,
        index::Indexed,
        item::{Item, Tier},
        language::Context,
        node::{Argument, Call, Eval},
        types::Types,
        value::{Value, find},
        wire::{Step, bytes, number, put_attribute, replace},
        write::stored,
    },
    Function, Special, Takes, editor, optional, parameter,
};
use crate::otlp::wire::put_bytes;

/// Versions of the conventions that give the same names.
const VERSIONS: [&str; 4] = ["1.37.0", "1.38.0", "1.39.0", "1.40.0"];

pub(crate) const FUNCTIONS: &[Function] = &[editor(
    "set_semconv_span_name",
    &[
        parameter("semconv_version", Takes::Literal(Types::TEXT)),
        optional("original_span_name_attribute", Takes::Literal(Types::TEXT)),
    ],
    set_name,
    "Names a span by its attributes of HTTP, RPC, messaging or databases.",
)
.with(check)
.only_in(&[Context::Span])];

fn check(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    if let Some(Argument::Value(node, _)) = arguments.first()
        && let Some(Value::Text(version)) = node.constant()
        && !VERSIONS.iter().any(|known| known.as_bytes() == &**version)
    {
        let version = String::from_utf8_lossy(version);
        let known = VERSIONS.join("`, `");
        return Err((0, format!("version `{version}` is not supported; valid: `{known}`")));
    }
    Ok(Special::None)
}

/// The attributes of a span as texts.
struct Attributes<'s>(&'s [u8]);

impl Attributes<'_> {
    /// The first of some attributes that is a text with content.
    fn text(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| match Value::read_cow(find(self.0, 9, key.as_bytes())?) {
            Value::Text(text) if !text.is_empty() => {
                Some(String::from_utf8_lossy(&text).into_owned())
            }
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        })
    }

    fn is_true(&self, key: &str) -> bool {
        let found = find(self.0, 9, key.as_bytes());
        found.is_some_and(|any| matches!(Value::read(&any), Value::Bool(true)))
    }

    fn server(&self) -> Option<String> {
        let address = self.text(&["server.address", "net.peer.name"])?;
        Some(match self.text(&["server.port", "net.peer.port"]) {
            Some(port) => format!("{address}:{port}"),
            None => address,
        })
    }
}

fn joined(first: String, second: Option<String>) -> String {
    match second {
        Some(second) => format!("{first} {second}"),
        None => first,
    }
}

/// The name that the attributes make; `None`: the name stays.
fn name(span: &[u8]) -> Option<String> {
    let attributes = Attributes(span);
    let kind = number(span, 6);
    if let Some(method) = attributes.text(&["http.request.method", "http.method"]) {
        let method = if method == "_OTHER" { "HTTP".to_owned() } else { method };
        return match kind {
            2 => Some(joined(method, attributes.text(&["http.route"]))),
            3 => Some(joined(method, attributes.text(&["url.template"]))),
            _ => None,
        };
    }
    if let Some(system) = attributes.text(&["rpc.system", "rpc.system.name"]) {
        let (service, method) =
            (attributes.text(&["rpc.service"]), attributes.text(&["rpc.method"]));
        return Some(match (service, method) {
            (Some(service), Some(method)) => format!("{service}/{method}"),
            (None, Some(method)) => method,
            (Some(service), None) => format!("{service}/*"),
            (None, None) => system,
        });
    }
    if let Some(system) = attributes.text(&["messaging.system"]) {
        let operation = attributes.text(&["messaging.operation.name", "messaging.operation.type"]);
        let is_passing = attributes.is_true("messaging.destination.temporary")
            || attributes.is_true("messaging.destination.anonymous");
        let named = || attributes.text(&["messaging.destination.name"]).filter(|_| !is_passing);
        let destination = attributes
            .text(&["messaging.destination.template"])
            .or_else(named)
            .or_else(|| attributes.server());
        return Some(match operation {
            Some(operation) => joined(operation, destination),
            None => system,
        });
    }
    if let Some(system) = attributes.text(&["db.system.name", "db.system"]) {
        if let Some(summary) = attributes.text(&["db.query.summary"]) {
            return Some(summary);
        }
        let target = attributes
            .text(&["db.collection.name", "db.stored_procedure.name", "db.namespace", "db.name"])
            .or_else(|| attributes.server());
        return Some(match attributes.text(&["db.operation.name", "db.operation"]) {
            Some(operation) => joined(operation, target),
            None => target.unwrap_or(system),
        });
    }
    None
}

fn set_name(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let key = if call.has(1) { Some(call.text(eval, 1)?.into_owned()) } else { None };
    let span = item.bytes(Tier::Item);
    let old = bytes(span, 5).to_vec();
    let Some(new) = name(span).filter(|new| new.as_bytes() != old) else { return Ok(()) };
    item.edit(Tier::Item, |span, out| {
        replace(span, &[5], out, |out| put_bytes(out, 5, new.as_bytes()));
        Ok(())
    })?;
    if let Some(key) = key {
        let any = stored(&Value::Text(old.into()))?;
        item.edit(Tier::Item, |span, out| {
            put_attribute(Indexed::plain(span), 9, &[Step::Key(key.into())], &any, out)
        })?;
    }
    Ok(())
}
