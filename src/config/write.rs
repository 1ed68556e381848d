//! A tree back to text, as YAML that reads as the same tree and as JSON, both in the order of the
//! tree.
//!
//! Text that would be taken for something else is quoted, and `$` is doubled where it would start
//! a reference, so that what was written can be read as a configuration again.

use super::{
    shown::escaped_json,
    tree::{Node, Value},
    yaml::resolve,
};

/// YAML in block style, ending with a line feed.
pub fn yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(members) if !members.is_empty() => block(&mut out, node, 0),
        Value::List(nodes) if !nodes.is_empty() => block(&mut out, node, 0),
        _ => {
            out.push_str(&flow(node));
            out.push('\n');
        }
    }
    out
}

/// JSON with two blanks per level, ending with a line feed.
pub fn json(node: &Node) -> String {
    let mut out = String::new();
    json_value(&mut out, node, 0);
    out.push('\n');
    out
}

/// The lines of a list or map that is not empty.
fn block(out: &mut String, node: &Node, depth: usize) {
    let indent = "  ".repeat(depth);
    match node.plain() {
        Value::Map(members) => {
            for member in members {
                out.push_str(&indent);
                out.push_str(&scalar(&member.key));
                out.push(':');
                nested(out, &member.value, depth + 1);
            }
        }
        Value::List(nodes) => {
            for node in nodes {
                out.push_str(&indent);
                out.push('-');
                nested(out, node, depth + 1);
            }
        }
        _ => {}
    }
}

/// What follows `key:` or `-`.
fn nested(out: &mut String, node: &Node, depth: usize) {
    let is_block = match node.plain() {
        Value::Map(members) => !members.is_empty(),
        Value::List(nodes) => !nodes.is_empty(),
        _ => false,
    };
    if is_block {
        out.push('\n');
        block(out, node, depth);
    } else {
        out.push(' ');
        out.push_str(&flow(node));
        out.push('\n');
    }
}

/// A scalar, or an empty list or map.
fn flow(node: &Node) -> String {
    match node.plain() {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_nan() => ".nan".to_owned(),
        Value::Float(value) if value.is_infinite() => {
            if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned()
        }
        Value::Float(value) => format!("{value:?}"),
        Value::String(text) => scalar(&escaped(text)),
        Value::List(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
        // As it was written: it may be replaced where it is read.
        Value::Unknown(text) => scalar(text),
        Value::Null | Value::Substituted { .. } => "null".to_owned(),
    }
}

/// `$` doubled where the text would be replaced or shortened when it is read.
fn escaped(text: &str) -> String {
    if text.contains("${") || text.contains("$$") {
        text.replace('$', "$$")
    } else {
        text.to_owned()
    }
}

/// Text, quoted unless it reads as itself.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:+$@= ".contains(&byte))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && matches!(resolve(text), Value::String(_));
    if is_plain { text.to_owned() } else { quoted(text) }
}

/// A JSON string, which YAML reads as well.
fn quoted(text: &str) -> String {
    escaped_json(&serde_json::Value::from(text).to_string()).into_owned()
}

fn json_value(out: &mut String, node: &Node, depth: usize) {
    let (indent, end) = ("  ".repeat(depth + 1), "  ".repeat(depth));
    match node.plain() {
        Value::Map(members) if !members.is_empty() => {
            for (i, member) in members.iter().enumerate() {
                out.push_str(if i == 0 { "{\n" } else { ",\n" });
                out.push_str(&indent);
                out.push_str(&quoted(&member.key));
                out.push_str(": ");
                json_value(out, &member.value, depth + 1);
            }
            out.push('\n');
            out.push_str(&end);
            out.push('}');
        }
        Value::List(nodes) if !nodes.is_empty() => {
            for (i, node) in nodes.iter().enumerate() {
                out.push_str(if i == 0 { "[\n" } else { ",\n" });
                out.push_str(&indent);
                json_value(out, node, depth + 1);
            }
            out.push('\n');
            out.push_str(&end);
            out.push(']');
        }
        Value::String(text) => out.push_str(&quoted(&escaped(text))),
        Value::Unknown(text) => out.push_str(&quoted(text)),
        // JSON has no such numbers; YAML reads the names.
        Value::Float(value) if !value.is_finite() => out.push_str(&quoted(&flow(node))),
        _ => out.push_str(&flow(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn rewritten(text: &str) -> String {
        yaml(&yaml::parse(0, text).unwrap())
    }

    #[test]
    fn yaml_is_in_block_style_and_quoted_where_it_must_be() {
        let text = "a: {b: [1, x, {c: true, d: []}], e: {}}\nf: '1'\ng: 'x: y'\nh:\n\"5\": 1.0\n";
        let expected = "a:\n  b:\n    - 1\n    - x\n    -\n      c: true\n      d: []\n  e: {}\n\
                        f: \"1\"\ng: \"x: y\"\nh: null\n\"5\": 1.0\n";
        assert_eq!(rewritten(text), expected);
    }

    #[test]
    fn dollars_survive_reading() {
        assert_eq!(
            rewritten("a: 'x$y'\nb: '${NAME}'\nc: '$$'\n"),
            "a: x$y\nb: \"$${NAME}\"\nc: \"$$$$\"\n"
        );
    }

    #[test]
    fn json_keeps_the_order() {
        let node = yaml::parse(0, "b: 1\na: [x, {}]\nc: .inf\n").unwrap();
        assert_eq!(
            json(&node),
            "{\n  \"b\": 1,\n  \"a\": [\n    \"x\",\n    {}\n  ],\n  \"c\": \".inf\"\n}\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn text_reads_as_itself(text in "[ -~\n\t\u{e9}]{0,20}") {
            let line = format!("{}: {}\n", scalar(&text), scalar(&text));
            let node = yaml::parse(0, &line).unwrap();
            let Value::Map(members) = &node.value else { panic!("{line}") };
            if !text.contains("::") && text != "<<" {
                assert_eq!(members[0].key, text);
                assert_eq!(members[0].value.value, Value::String(text));
            }
        }
    }
}
