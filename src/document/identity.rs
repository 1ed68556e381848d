//! The identity of a component's configuration: a digest of its text with all defaults filled in
//! and its keys sorted, including secrets. A reload keeps components whose digest is the same. The
//! text itself is not kept, because it contains secrets.

use std::{collections::HashMap, fmt::Write as _};

use super::{
    effective::{Secrets, effective},
    ids,
    schema::Schemas,
};
use crate::{
    component::{ComponentId, Kind},
    config::{Node, Value, write},
};

/// The digests of all components in the file.
pub fn texts(root: &Node) -> HashMap<(Kind, ComponentId), String> {
    let mut root = effective(root, Schemas::shared(), Secrets::Shown);
    sort(&mut root);
    let mut texts = HashMap::new();
    for kind in [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension]
    {
        let Some(Value::Map(members)) = root.get(kind.section()).map(Node::plain) else { continue };
        for member in members {
            if let Ok(id) = ids::component(&member.key) {
                texts.insert((kind, id), digest(&write::yaml(&member.value)));
            }
        }
    }
    texts
}

/// SHA-256 as hexadecimal digits.
fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Maps have no order.
fn sort(node: &mut Node) {
    match &mut node.value {
        Value::Map(members) => {
            members.sort_by(|a, b| a.key.cmp(&b.key));
            for member in members {
                sort(&mut member.value);
            }
        }
        Value::List(nodes) => nodes.iter_mut().for_each(sort),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn text(file: &str) -> String {
        let all = texts(&yaml::parse(0, file).unwrap());
        let mut found = all.into_iter().filter(|((_, id), _)| id.to_string() == "otlp_http/a");
        found.next().unwrap().1
    }

    #[test]
    fn defaults_make_no_difference_and_secrets_do() {
        let with = |more: &str| {
            text(&format!("exporters: {{otlp_http/a: {{endpoint: 'http://a'{more}}}}}"))
        };
        assert_eq!(with(""), with(", timeout: 30s"));
        assert_eq!(with(""), with(", retry_on_failure: {enabled: true}"));
        assert_ne!(with(""), with(", timeout: 3s"));
        assert_ne!(with(", headers: {x-key: one}"), with(", headers: {x-key: two}"));
        let secret = with(", headers: {x-key: one}");
        assert!(secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
