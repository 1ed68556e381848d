//! What a text was compiled to, in the notation of the language with every context named and
//! everything calculated that is constant.

use std::fmt;

use super::{
    node::{Argument, Call, Eval, Key, Node, Test},
    text::write_json,
    value::Value,
};

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("nil"),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
                write!(f, "{value:.1}")
            }
            Value::Bytes(bytes) => {
                write!(f, "0x{}", String::from_utf8_lossy(&super::text::hex(bytes)))
            }
            Value::TraceId(id) => {
                write!(f, "TraceID(0x{})", String::from_utf8_lossy(&super::text::hex(id)))
            }
            Value::SpanId(id) => {
                write!(f, "SpanID(0x{})", String::from_utf8_lossy(&super::text::hex(id)))
            }
            Value::Duration(nanos) => write!(f, "Duration(\"{nanos}ns\")"),
            Value::Collection(found) => f.write_str(found.name),
            other => {
                let mut json = Vec::new();
                write_json(other, &mut json);
                f.write_str(&String::from_utf8_lossy(&json))
            }
        }
    }
}

fn listed<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    parts: impl IntoIterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    for (i, part) in parts.into_iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        part.fmt(f)?;
    }
    Ok(())
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Text(text) => write!(f, "[{:?}]", String::from_utf8_lossy(text)),
            Key::Index(index) => write!(f, "[{index}]"),
            Key::Dynamic(node) => write!(f, "[{node}]"),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Constant(value) => value.fmt(f),
            Node::Path(place) => f.write_str(&place.text),
            Node::Call(call) => call.fmt(f),
            Node::Keys(inner, keys, _) | Node::Inside(inner, keys, _) => {
                inner.fmt(f)?;
                listed(f, keys, "")
            }
            Node::Math(math, sides, _) => {
                write!(f, "({} {} {})", sides.0, math.sign(), sides.1)
            }
            Node::Negate(inner, _) => write!(f, "-{inner}"),
            Node::List(nodes) => {
                f.write_str("[")?;
                listed(f, nodes, ", ")?;
                f.write_str("]")
            }
            Node::Map(members) => {
                f.write_str("{")?;
                listed(f, members.iter().map(|(key, node)| format!("{key:?}: {node}")), ", ")?;
                f.write_str("}")
            }
            Node::Local(at) => write!(f, "${at}"),
            Node::Test(test) => test.fmt(f),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Constant(value) => value.fmt(f),
            Test::Not(inner) => write!(f, "not {inner}"),
            Test::All(tests) => {
                f.write_str("(")?;
                listed(f, tests, " and ")?;
                f.write_str(")")
            }
            Test::Any(tests) => {
                f.write_str("(")?;
                listed(f, tests, " or ")?;
                f.write_str(")")
            }
            Test::Compare(comparison, sides) => {
                write!(f, "{} {} {}", sides.0, comparison.sign(), sides.1)
            }
            Test::IsText { path, text, is_wanted, .. } => {
                let sign = if *is_wanted { "==" } else { "!=" };
                write!(f, "{path} {sign} {:?}", String::from_utf8_lossy(text))
            }
            Test::IsInt(comparison, place, value) => {
                write!(f, "{} {} {value}", place.text, comparison.sign())
            }
            Test::Value(node, _) => node.fmt(f),
            Test::Held(inner, ..) => write!(f, "once({inner})"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name)?;
        let mut is_first = true;
        let mut skipped = false;
        for (parameter, argument) in self.function.parameters.iter().zip(&self.arguments) {
            if matches!(argument, Argument::Absent) {
                skipped = true;
                continue;
            }
            if !is_first {
                f.write_str(", ")?;
            }
            is_first = false;
            if skipped {
                write!(f, "{} = ", parameter.name)?;
            }
            argument.fmt(f)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Absent => Ok(()),
            Argument::Value(node, _) | Argument::Special(_, node, _) => node.fmt(f),
            Argument::Path(place) => f.write_str(&place.text),
            Argument::Function(function) => f.write_str(function.name),
            Argument::Lambda(lambda) => write!(f, "=> {}", lambda.body),
        }
    }
}

/// How a condition came to its result on an item, a line for each part that was evaluated.
pub(super) fn why(test: &Test, eval: Eval<'_>, depth: usize, out: &mut Vec<String>) {
    let result = match test.eval(eval) {
        Ok(value) => value.to_string(),
        Err(fault) => format!("failed: {fault}"),
    };
    let indent = "  ".repeat(depth);
    let shown = |node: &Node| match (node, node.eval(eval)) {
        (Node::Constant(_), _) | (_, Err(_)) => None,
        (node, Ok(value)) => Some(format!("{node} is {value}")),
    };
    let values: Vec<String> = match test {
        Test::Compare(_, sides) => {
            [shown(&sides.0), shown(&sides.1)].into_iter().flatten().collect()
        }
        Test::IsText { tier, number, key, path, .. } => {
            let found = super::value::find(eval.item.bytes(*tier), *number, key);
            vec![format!("{path} is {}", found.map_or(Value::Nil, Value::read_cow))]
        }
        Test::IsInt(_, place, _) => match place.read(eval) {
            Ok(value) => vec![format!("{} is {value}", place.text)],
            Err(_) => Vec::new(),
        },
        Test::Value(Node::Call(call), _) => {
            let arguments = call.arguments.iter().filter_map(|argument| match argument {
                Argument::Value(node, _) | Argument::Special(_, node, _) => shown(node),
                _ => None,
            });
            arguments.collect()
        }
        _ => Vec::new(),
    };
    let detail =
        if values.is_empty() { String::new() } else { format!("  ({})", values.join(", ")) };
    out.push(format!("{indent}{result}: {test}{detail}"));
    match test {
        Test::Not(inner) | Test::Held(inner, ..) => why(inner, eval, depth + 1, out),
        Test::All(tests) | Test::Any(tests) => {
            let decides = matches!(test, Test::Any(_));
            for part in tests {
                why(part, eval, depth + 1, out);
                // What follows is not evaluated.
                if !matches!(part.eval(eval), Ok(value) if value != decides) {
                    break;
                }
            }
        }
        _ => {}
    }
}
