//! Ids of components and pipelines, with the Collector's rules and texts.

use crate::{component::ComponentId, config::diagnostics::closest, otlp::Signal};

/// Longest name after the slash, in bytes.
const NAME_LIMIT: usize = 1024;

/// Reads `type` or `type/name`.
pub(super) fn component(text: &str) -> Result<ComponentId, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("id must not be empty".to_owned());
    }
    let (kind, name) = match text.split_once('/') {
        Some((kind, name)) => (kind.trim(), Some(name.trim())),
        None => (text, None),
    };
    if kind.is_empty() {
        return Err(format!("in `{text}` id: the part before / should not be empty"));
    }
    let is_type = kind.starts_with(|c: char| c.is_ascii_alphabetic())
        && kind.len() <= 63
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_type {
        let hint = match kind.replace('-', "_") {
            snake
                if snake != kind
                    && snake.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') =>
            {
                format!("; did you mean `{snake}`?")
            }
            _ => "; a type is letters, digits and `_`, first a letter".to_owned(),
        };
        return Err(format!("invalid character(s) in type `{kind}`{hint}"));
    }
    if let Some(name) = name {
        if name.is_empty() {
            return Err(format!("in `{text}` id: the part after / should not be empty"));
        }
        let is_name = name.len() <= NAME_LIMIT
            && name
                .chars()
                .all(|c| !c.is_whitespace() && !c.is_control() && !"$+<=>^`|~".contains(c));
        if !is_name {
            return Err(format!("invalid character(s) in name `{name}`"));
        }
    }
    Ok(ComponentId { kind_name: kind.to_owned(), name: name.map(ToOwned::to_owned) })
}

/// Reads `signal` or `signal/name` and returns the signal.
pub(super) fn pipeline(text: &str) -> Result<Signal, String> {
    let id = component(text)?;
    if id.kind_name == "profiles" {
        return Err("profiles are not supported".to_owned());
    }
    Signal::ALL.into_iter().find(|signal| signal.name() == id.kind_name).ok_or_else(|| {
        let names = Signal::ALL.map(Signal::name);
        let near = match closest(&id.kind_name, names) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => ";".to_owned(),
        };
        format!("unknown signal `{}`{near} pipelines are of traces, metrics or logs", id.kind_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_collector() {
        let id = component(" otlp / a/b.c-d ").unwrap();
        assert_eq!((&*id.kind_name, id.name.as_deref()), ("otlp", Some("a/b.c-d")));
        assert_eq!(component("").unwrap_err(), "id must not be empty");
        for wrong in ["/x", "otlp/", "ot-lp", "1otlp", "otlp/a b", "otlp/a|b"] {
            assert!(component(wrong).is_err(), "{wrong}");
        }
        assert_eq!(pipeline("traces/x"), Ok(Signal::Traces));
        assert!(pipeline("trace").is_err());
    }
}
