//! Names of files, made from an attribute of the resource.

use crate::otlp::view::{Message, Resource, Value};

/// Replaces the `*` if the resource lacks the attribute or its value cannot be a file name. It is a
/// file of its own, so that nothing is lost.
const UNNAMED: &str = "_";

/// Most bytes of a name.
const LONGEST: usize = 200;

/// The value of an attribute of the resource, if it can be a file name.
pub(super) fn name(resource: Option<Message<'_>>, attribute: &str) -> String {
    let resource = resource.map(Resource::from);
    let mut attributes = resource.iter().flat_map(Resource::attributes);
    let value = attributes.find(|one| one.key == *attribute).and_then(|one| one.value);
    match value {
        Some(Value::String(text)) if text.0.len() <= LONGEST && is_confined(&text.to_str()) => {
            text.to_str().into_owned()
        }
        _ => UNNAMED.to_owned(),
    }
}

/// Whether a value cannot lead out of the directory of the path: a sender chooses it.
fn is_confined(text: &str) -> bool {
    text.len() <= LONGEST
        && !text.contains(['\0', '\\'])
        && text.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_leads_elsewhere_is_not_used() {
        assert!(is_confined("shop") && is_confined("team/shop") && is_confined("a..b"));
        for text in ["", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a\\b", "a\0"] {
            assert!(!is_confined(text), "{text}");
        }
    }
}
