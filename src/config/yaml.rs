//! YAML text to a tree. Scalars are resolved as the Collector's YAML library does (YAML 1.2 core
//! schema, and `0123` as octal); `a::b: 1` means `a: {b: 1}`; `<<` merges a map that was anchored.

mod remedy;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use granit_parser::{Event, Parser, ScalarStyle, Span};

use self::remedy::Remedy;
use super::{
    diagnostics::Problem,
    tree::{Member, Node, Piece, Place, Value},
};

/// Deepest nesting; configuration files have six or so.
const DEPTH_LIMIT: usize = 64;
/// Most nodes of a document, aliases included: anchors that refer to anchors grow exponentially.
const NODE_LIMIT: usize = 200_000;

/// Reads one document. `source` is what places refer to.
pub fn parse(source: usize, text: &str) -> Result<Node, Problem> {
    parse_at(source, text, 0, "")
}

/// Reads one document that begins `base` bytes into its source, under `path`.
pub fn parse_at(source: usize, text: &str, base: usize, path: &str) -> Result<Node, Problem> {
    let ends = text.char_indices().map(|(i, _)| i).chain([text.len()]);
    let starts: Vec<usize> = ends.map(|i| base + i).collect();
    let events = Parser::new_from_str(text);
    let mut reader = Reader { source, text, starts, events, anchors: HashMap::new(), nodes: 0 };
    let mut document = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            _ if document.is_some() => {
                let place = reader.place(span);
                let mut problem =
                    Problem::at(&place, path, "more than one YAML document in the file");
                problem.help("remove the line `---`, or give each document its own `--config`");
                return Err(problem);
            }
            event => document = Some(reader.node(event, span, path, 0)?),
        }
    }
    Ok(document.unwrap_or(Node {
        value: Value::Null,
        place: Place { source, range: base..base },
        key_place: None,
        path: Arc::from(path),
        pieces: None,
    }))
}

struct Reader<'t> {
    source: usize,
    text: &'t str,
    /// Byte offset of each character: the parser counts characters.
    starts: Vec<usize>,
    events: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Problem> {
        loop {
            match self.events.next_event() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(Some(event)),
                Some(Err(error)) => {
                    let start = self.byte(error.marker().index());
                    let base = self.starts[0];
                    let remedy = Remedy::of(&error.info(), self.text, start - base);
                    let range =
                        remedy.range.map_or(start..start, |at| base + at.start..base + at.end);
                    let place = Place { source: self.source, range };
                    let mut problem = Problem::at(&place, "", error.info());
                    problem.help = remedy.help.map(ToOwned::to_owned);
                    return Err(problem);
                }
            }
        }
    }

    fn byte(&self, index: usize) -> usize {
        self.starts.get(index).or(self.starts.last()).copied().unwrap_or(0)
    }

    fn place(&self, span: Span) -> Place {
        let range = self.byte(span.start.index())..self.byte(span.end.index());
        Place { source: self.source, range }
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Node, Problem> {
        let place = self.place(span);
        self.nodes += 1;
        if depth > DEPTH_LIMIT {
            let message = format!("the document is nested deeper than {DEPTH_LIMIT} levels");
            return Err(Problem::at(&place, path, message));
        }
        if self.nodes > NODE_LIMIT {
            let message = format!(
                "the document has more than {NODE_LIMIT} values, those that its anchors repeat \
                 included"
            );
            return Err(Problem::at(&place, path, message));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let value = match style {
                    ScalarStyle::Plain if !is_text => resolve(&text),
                    _ => Value::String(text.into_owned()),
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(path, depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(path, depth)?, anchor),
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).cloned();
                let node = target.ok_or_else(|| Problem::at(&place, path, "unknown anchor"))?;
                self.nodes += weigh(&node.value);
                return Ok(Node { path: path.into(), key_place: None, ..node });
            }
            _ => return Err(Problem::at(&place, path, "unexpected YAML")),
        };
        let pieces = match &value {
            Value::String(text) => self.pieces(text, &place),
            _ => None,
        };
        let node = Node { value, place, key_place: None, path: path.into(), pieces };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Where the lines of a scalar of several lines are in its text; none of them where it has
    /// escapes.
    fn pieces(&self, text: &str, place: &Place) -> Option<Arc<[Piece]>> {
        let base = self.starts[0];
        let raw = self.text.get(place.range.start - base..place.range.end - base)?;
        let is_block = raw.starts_with(['|', '>']);
        if !raw.contains('\n') {
            return None;
        }
        let quote = raw.chars().next().filter(|first| matches!(first, '"' | '\''));
        let (mut pieces, mut at, mut start) = (Vec::new(), 0, place.range.start);
        for (index, line) in raw.split_inclusive('\n').enumerate() {
            let mut content = line.trim_start();
            let mut begins = start + line.len() - content.len();
            start += line.len();
            if let Some(quote) = quote {
                if let Some(rest) = content.strip_prefix(quote).filter(|_| index == 0) {
                    (content, begins) = (rest, begins + 1);
                }
                if start == place.range.end {
                    content = content.strip_suffix(quote).unwrap_or(content);
                }
            }
            let content = content.trim_end();
            if content.is_empty() || is_block && index == 0 {
                continue;
            }
            let rest = text[at..].trim_start();
            if !rest.starts_with(content) {
                return Some(Arc::default());
            }
            at = text.len() - rest.len();
            pieces.push(Piece { at, start: begins, len: content.len() });
            at += content.len();
        }
        let is_whole = text[at..].trim_start().is_empty();
        Some(if is_whole { pieces.into() } else { Arc::default() })
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Value, Problem> {
        let mut nodes = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            let path = format!("{path}::{}", nodes.len());
            nodes.push(self.node(event, span, &path, depth + 1)?);
        }
        Ok(Value::List(nodes))
    }

    fn map(&mut self, path: &str, depth: usize) -> Result<Value, Problem> {
        let (mut members, mut inherited): (Vec<Member>, _) = (Vec::new(), Vec::new());
        let mut index = Index::default();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key_place = self.place(span);
            let Event::Scalar(key, ..) = event else {
                return Err(Problem::at(&key_place, path, "a key must be text"));
            };
            let inner = join(path, &key);
            let Some((event, span)) = self.next()? else { break };
            let mut value = self.node(event, span, &inner, depth + 1)?;
            value.key_place = Some(key_place.clone());
            if key == "<<" {
                inherited.push(value);
                continue;
            }
            insert(&mut members, &mut index, &key, key_place, value, path)?;
        }
        for value in inherited {
            merge_anchor(&mut members, value);
        }
        Ok(Value::Map(members))
    }
}

/// The index of each key of a map, and the same for inner maps that `a::b` refers to.
#[derive(Default)]
struct Index {
    keys: HashMap<String, usize>,
    inner: HashMap<String, Index>,
}

impl Index {
    fn of(members: &[Member]) -> Self {
        let keys = members.iter().enumerate().map(|(at, member)| (member.key.clone(), at));
        Index { keys: keys.collect(), inner: HashMap::new() }
    }
}

/// Puts a value under `a::b::c`, making the maps on the way.
fn insert(
    members: &mut Vec<Member>,
    index: &mut Index,
    key: &str,
    key_place: Place,
    value: Node,
    path: &str,
) -> Result<(), Problem> {
    let (first, rest) = match key.split_once("::") {
        Some((first, rest)) => (first, Some(rest)),
        None => (key, None),
    };
    let Some(at) = index.keys.get(first).copied() else {
        let value = match rest {
            None => value,
            Some(rest) => {
                let (mut inner, mut inner_index) = (Vec::new(), Index::default());
                let inner_path = join(path, first);
                let place = value.place.clone();
                insert(&mut inner, &mut inner_index, rest, key_place.clone(), value, &inner_path)?;
                index.inner.insert(first.to_owned(), inner_index);
                Node {
                    value: Value::Map(inner),
                    place,
                    key_place: Some(key_place.clone()),
                    path: inner_path.into(),
                    pieces: None,
                }
            }
        };
        index.keys.insert(first.to_owned(), members.len());
        members.push(Member { key: first.to_owned(), key_place, value });
        return Ok(());
    };
    let known = &mut members[at];
    match (&mut known.value.value, rest) {
        (_, None) => {
            let first_place = known.key_place.clone();
            let message = format!("duplicate key `{first}`");
            let mut problem = Problem::at(&key_place, &join(path, first), message);
            problem.help("remove one of the two").relate(&first_place, "here first");
            Err(problem)
        }
        (Value::Map(inner), Some(rest)) => {
            let inner_index =
                index.inner.entry(first.to_owned()).or_insert_with(|| Index::of(inner));
            insert(inner, inner_index, rest, key_place, value, &join(path, first))
        }
        (_, Some(_)) => Err(Problem::at(
            &key_place,
            path,
            format!("`{first}` has a value and cannot have keys"),
        )),
    }
}

fn merge_anchor(members: &mut Vec<Member>, value: Node) {
    let maps = match value.value {
        Value::List(nodes) => nodes,
        other => vec![Node { value: other, ..value }],
    };
    let mut own: HashSet<String> = members.iter().map(|member| member.key.clone()).collect();
    for map in maps {
        if let Value::Map(inherited) = map.value {
            members.extend(inherited.into_iter().filter(|one| own.insert(one.key.clone())));
        }
    }
}

fn weigh(value: &Value) -> usize {
    match value {
        Value::List(nodes) => nodes.iter().map(|node| 1 + weigh(&node.value)).sum(),
        Value::Map(members) => members.iter().map(|member| 1 + weigh(&member.value.value)).sum(),
        _ => 0,
    }
}

/// A path and one more key.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}::{key}") }
}

/// What a plain scalar means.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String(text.to_owned());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let radix = |prefix: &str, radix| {
        digits.strip_prefix(prefix).and_then(|rest| i128::from_str_radix(rest, radix).ok())
    };
    let is_octal = digits.len() > 1 && digits.starts_with('0');
    let whole = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        .or_else(|| if is_octal { radix("0", 8) } else { None })
        .or_else(|| {
            let is_decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if is_decimal { digits.parse::<i128>().ok() } else { None }
        });
    if let Some(whole) = whole {
        return Value::Int(sign * whole);
    }
    let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
        && digits.bytes().any(|b| b.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if is_number => Value::Float(number),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_the_collector_takes_them_for() {
        assert_eq!(resolve("0123"), Value::Int(83));
        assert_eq!(resolve("0xdeadbeef"), Value::Int(3_735_928_559));
        assert_eq!(resolve("-5"), Value::Int(-5));
        assert_eq!(resolve("1.5"), Value::Float(1.5));
        assert_eq!(resolve("1e3"), Value::Float(1000.0));
        for text in ["yes", "no", "on", "1.2.3", "10s", "-", ".", "127.0.0.1", "1-2"] {
            assert_eq!(resolve(text), Value::String(text.to_owned()));
        }
        assert_eq!(resolve("~"), Value::Null);
    }

    #[test]
    fn places_are_bytes_even_after_other_characters() {
        let text = "a: \"\u{e9}\u{20ac}\"\nkey: value\n";
        let root = parse(3, text).unwrap();
        let node = root.get("key").unwrap();
        assert_eq!(&text[node.place.range.clone()], "value");
        assert_eq!((node.place.source, &*node.path), (3, "key"));
    }

    #[test]
    fn double_colons_make_maps() {
        let root = parse(0, "a::b: 1\na::c: 2\n").unwrap();
        assert_eq!(root.at("a::b").value, Value::Int(1));
        assert_eq!(root.at("a::c").value, Value::Int(2));
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error_at_the_second() {
        let problem = parse(0, "a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(problem.place.unwrap().range, 10..11);
    }

    #[test]
    fn anchors_and_merge_keys_work_and_bombs_do_not() {
        let root = parse(0, "x: &x {p: 1, q: 2}\ny:\n  <<: *x\n  q: 3\n").unwrap();
        assert_eq!(root.at("y::p").value, Value::Int(1));
        assert_eq!(root.at("y::q").value, Value::Int(3));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let before = format!("*a{}", i - 1);
            let level = format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", "));
            bomb.push_str(&level);
        }
        let message = parse(0, &bomb).unwrap_err().message;
        assert!(message.contains("more than 200000 values"), "{message}");
    }

    #[test]
    fn what_is_too_much_is_said() {
        let long = format!("[{}]", "x,".repeat(NODE_LIMIT));
        assert!(parse(0, &long).unwrap_err().message.contains("more than 200000 values"));
        let deep = format!("{}{}", "{a: ".repeat(65), "}".repeat(65));
        assert!(parse(0, &deep).unwrap_err().message.contains("deeper than 64 levels"));
        assert!(parse(0, &deep["{a: ".len()..deep.len() - 1]).is_ok());
    }

    #[test]
    fn an_empty_file_is_null() {
        assert_eq!(parse(0, "# nothing\n").unwrap().value, Value::Null);
    }

    proptest::proptest! {
        #[test]
        fn random_text_never_panics(text in "[ -~\n\t\u{e9}]{0,80}") {
            let _ = parse(0, &text);
        }
    }
}
