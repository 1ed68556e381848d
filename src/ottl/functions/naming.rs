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
        let address = self.text(&["server.address"])?;
        Some(match self.text(&["server.port"]) {
            Some(port) => format!("{address}:{port}"),
            None => address,
        })
    }

    fn of_http(&self, subject: &str) -> Option<String> {
        let method = self.text(&["http.request.method", "http.method"])?;
        let method = if method == "_OTHER" { "HTTP".to_owned() } else { method };
        Some(joined(method, self.text(&[subject])))
    }

    fn of_rpc(&self) -> Option<String> {
        let system = self.text(&["rpc.system.name", "rpc.system"])?;
        let service = self.text(&["rpc.service", "rpc.grpc.service"]);
        let method = self.text(&["rpc.method", "rpc.grpc.method"]);
        Some(match (service, method) {
            (Some(service), Some(method)) => format!("{service}/{method}"),
            (None, Some(method)) => method,
            (Some(service), None) => format!("{service}/*"),
            (None, None) => system,
        })
    }

    fn of_messaging(&self) -> Option<String> {
        let system = self.text(&["messaging.system"])?;
        let destination = if self.is_true("messaging.destination.temporary") {
            Some("(temporary)".to_owned())
        } else if self.is_true("messaging.destination.anonymous") {
            Some("(anonymous)".to_owned())
        } else {
            let keys = [
                "messaging.destination.template",
                "messaging.destination.name",
                "messaging.destination",
            ];
            self.text(&keys).or_else(|| self.server())
        };
        Some(match self.text(&["messaging.operation.name", "messaging.operation"]) {
            Some(operation) => joined(operation, destination),
            None => destination.unwrap_or(system),
        })
    }

    fn of_database(&self) -> Option<String> {
        let system = self.text(&["db.system.name", "db.system"])?;
        if let Some(summary) = self.text(&["db.query.summary"]) {
            return Some(summary);
        }
        let namespace = self.text(&["db.namespace", "db.name"]);
        let name = self.text(&["db.collection.name", "db.stored_procedure.name"]);
        let target = match (namespace, name) {
            (Some(namespace), Some(name)) => Some(format!("{namespace}.{name}")),
            (namespace, name) => name.or(namespace).or_else(|| self.server()),
        };
        Some(match self.text(&["db.operation.name", "db.operation"]) {
            Some(operation) => joined(operation, target),
            None => target.unwrap_or(system),
        })
    }
}

fn joined(first: String, second: Option<String>) -> String {
    match second {
        Some(second) => format!("{first} {second}"),
        None => first,
    }
}

/// The name that the attributes make; `None`: the name stays. The order is the Collector's.
fn name(span: &[u8]) -> Option<String> {
    let attributes = Attributes(span);
    match number(span, 6) {
        2 => attributes
            .of_http("http.route")
            .or_else(|| attributes.of_rpc())
            .or_else(|| attributes.of_messaging()),
        3 => attributes
            .of_http("url.template")
            .or_else(|| attributes.of_rpc())
            .or_else(|| attributes.of_database())
            .or_else(|| attributes.of_messaging()),
        4 | 5 => attributes.of_messaging(),
        _ => None,
    }
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
