//! The part of `XPath` that statements on XML use: location paths of names, `*`, `@name`, `text()`,
//! `.` and `//`, with predicates on positions, attributes and children, and unions of them.

use super::super::xml::{Element, Part};

/// Most elements that a path looks at.
const MOST: usize = 200_000;

/// A compiled path.
#[derive(Debug, Clone)]
pub struct XPath {
    paths: Vec<Vec<Step>>,
}

#[derive(Debug, Clone)]
struct Step {
    /// Also on every deeper level.
    is_deep: bool,
    test: NodeTest,
    predicates: Vec<Predicate>,
}

#[derive(Debug, Clone, PartialEq)]
enum NodeTest {
    Name(String),
    AnyElement,
    Attribute(String),
    AnyAttribute,
    Text,
    AnyNode,
    Itself,
}

#[derive(Debug, Clone)]
enum Predicate {
    Position(usize),
    Last,
    /// An operand is there, or equals a text.
    Test(Operand, Option<(bool, String)>),
    Contains(Operand, String),
}

#[derive(Debug, Clone)]
enum Operand {
    Attribute(String),
    Child(String),
    Text,
    Itself,
}

/// What was selected: the positions of children from the root, and an attribute of the last one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selected {
    pub path: Vec<usize>,
    pub attribute: Option<String>,
}

impl XPath {
    pub fn parse(text: &str) -> Result<Self, String> {
        let paths = text.split('|').map(|path| steps(path.trim())).collect::<Result<_, _>>()?;
        Ok(XPath { paths })
    }

    /// The places that it selects, in the order of the document, each once; `None` if it would
    /// look at too many elements.
    pub(crate) fn select(&self, root: &Element) -> Option<Vec<Selected>> {
        let mut found = Vec::new();
        let mut left = MOST;
        for steps in &self.paths {
            let mut places = vec![Selected { path: Vec::new(), attribute: None }];
            for step in steps {
                let mut next = Vec::new();
                for place in &places {
                    next.append(&mut step.apply(root, place, &mut left)?);
                }
                next.sort();
                next.dedup();
                places = next;
            }
            found.extend(places);
        }
        found.sort();
        found.dedup();
        Some(found)
    }
}

/// The element at some positions; `None` if it is a text.
pub(crate) fn element_at<'d>(root: &'d Element, path: &[usize]) -> Option<&'d Element> {
    path.iter().try_fold(root, |element, at| match element.children.get(*at) {
        Some(Part::Element(child)) => Some(child),
        _ => None,
    })
}

/// The same to be changed.
pub(crate) fn element_at_mut<'d>(root: &'d mut Element, path: &[usize]) -> Option<&'d mut Element> {
    path.iter().try_fold(root, |element, at| match element.children.get_mut(*at) {
        Some(Part::Element(child)) => Some(child),
        _ => None,
    })
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let wrong = |words: &str| format!("the XPath `{text}` is invalid: {words}");
    let mut rest = text;
    let mut steps = Vec::new();
    if rest.is_empty() {
        return Err(wrong("it is empty"));
    }
    while !rest.is_empty() {
        let is_deep = rest.starts_with("//");
        rest = rest.trim_start_matches('/');
        let end = step_end(rest).ok_or_else(|| wrong("a `[` has no `]`"))?;
        let (step, after) = rest.split_at(end);
        if step.is_empty() {
            return Err(wrong("a step is empty"));
        }
        let (name, predicates) = step.split_at(step.find('[').unwrap_or(step.len()));
        let node = node_test(name.trim()).ok_or_else(|| wrong("this step is not supported"))?;
        let mut parsed = Vec::new();
        let mut predicates = predicates.trim();
        while let Some(inner) = predicates.strip_prefix('[') {
            let end = closing(inner).ok_or_else(|| wrong("a `[` has no `]`"))?;
            let predicate = predicate(inner[..end].trim())
                .ok_or_else(|| wrong("this predicate is not supported"))?;
            parsed.push(predicate);
            predicates = inner[end + 1..].trim();
        }
        steps.push(Step { is_deep, test: node, predicates: parsed });
        rest = after;
    }
    Ok(steps)
}

/// Where a step ends: at a slash outside of brackets and quotes.
fn step_end(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth -= 1,
            (None, '/') if depth == 0 => return Some(at),
            _ => {}
        }
    }
    (depth == 0 && quote.is_none()).then_some(text.len())
}

/// Where the bracket that is open closes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    !text.is_empty() && text.chars().all(is_letter) && !text.starts_with(|c: char| c.is_numeric())
}

fn node_test(text: &str) -> Option<NodeTest> {
    Some(match text {
        "*" => NodeTest::AnyElement,
        "@*" => NodeTest::AnyAttribute,
        "text()" => NodeTest::Text,
        "node()" => NodeTest::AnyNode,
        "." => NodeTest::Itself,
        _ => match text.strip_prefix('@') {
            Some(name) if is_name(name) => NodeTest::Attribute(name.to_owned()),
            None if is_name(text) => NodeTest::Name(text.to_owned()),
            _ => return None,
        },
    })
}

fn operand(text: &str) -> Option<Operand> {
    Some(match text {
        "text()" => Operand::Text,
        "." => Operand::Itself,
        _ => match text.strip_prefix('@') {
            Some(name) if is_name(name) => Operand::Attribute(name.to_owned()),
            None if is_name(text) => Operand::Child(text.to_owned()),
            _ => return None,
        },
    })
}

fn literal(text: &str) -> Option<String> {
    let text = text.trim();
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
        .or_else(|| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')));
    match inner {
        Some(inner) => Some(inner.to_owned()),
        None => text.parse::<f64>().ok().map(|_| text.to_owned()),
    }
}

fn predicate(text: &str) -> Option<Predicate> {
    if text == "last()" {
        return Some(Predicate::Last);
    }
    if let Ok(position) = text.parse() {
        return Some(Predicate::Position(position));
    }
    if let Some(inner) = text.strip_prefix("contains(").and_then(|text| text.strip_suffix(')')) {
        let (what, part) = inner.split_once(',')?;
        return Some(Predicate::Contains(operand(what.trim())?, literal(part)?));
    }
    if let Some((left, right)) = text.split_once("!=") {
        return Some(Predicate::Test(operand(left.trim())?, Some((false, literal(right)?))));
    }
    if let Some((left, right)) = text.split_once('=') {
        return Some(Predicate::Test(operand(left.trim())?, Some((true, literal(right)?))));
    }
    Some(Predicate::Test(operand(text)?, None))
}

impl Step {
    fn apply(&self, root: &Element, place: &Selected, left: &mut usize) -> Option<Vec<Selected>> {
        if place.attribute.is_some() {
            return Some(Vec::new());
        }
        let mut starts = vec![place.path.clone()];
        let mut at = 0;
        while self.is_deep && at < starts.len() {
            let path = starts[at].clone();
            if let Some(element) = element_at(root, &path) {
                for (i, part) in element.children.iter().enumerate() {
                    if matches!(part, Part::Element(_)) {
                        *left = left.checked_sub(1)?;
                        starts.push([&path[..], &[i]].concat());
                    }
                }
            }
            at += 1;
        }
        let mut found = Vec::new();
        for path in starts {
            let Some(element) = element_at(root, &path) else { continue };
            *left = left.checked_sub(1 + element.children.len())?;
            let mut own = self.children(element, &path);
            for predicate in &self.predicates {
                own = predicate.filter(root, own);
            }
            found.append(&mut own);
        }
        Some(found)
    }

    fn children(&self, element: &Element, path: &[usize]) -> Vec<Selected> {
        let attribute =
            |name: &str| Selected { path: path.to_vec(), attribute: Some(name.to_owned()) };
        match &self.test {
            NodeTest::Itself => vec![Selected { path: path.to_vec(), attribute: None }],
            NodeTest::Attribute(name) => {
                element.attribute(name).map(|_| attribute(name)).into_iter().collect()
            }
            NodeTest::AnyAttribute => {
                element.attributes.iter().map(|(name, _)| attribute(name)).collect()
            }
            test => {
                let fits = |part: &Part| match (test, part) {
                    (NodeTest::AnyNode, _)
                    | (NodeTest::AnyElement, Part::Element(_))
                    | (NodeTest::Text, Part::Text(_)) => true,
                    (NodeTest::Name(name), Part::Element(child)) => child.name == *name,
                    _ => false,
                };
                let children = element.children.iter().enumerate().filter(|(_, part)| fits(part));
                children
                    .map(|(i, _)| Selected { path: [path, &[i]].concat(), attribute: None })
                    .collect()
            }
        }
    }
}

impl Predicate {
    fn filter(&self, root: &Element, places: Vec<Selected>) -> Vec<Selected> {
        match self {
            Predicate::Position(at) => {
                at.checked_sub(1).and_then(|at| places.into_iter().nth(at)).into_iter().collect()
            }
            Predicate::Last => places.into_iter().last().into_iter().collect(),
            Predicate::Test(operand, wanted) => places
                .into_iter()
                .filter(|place| {
                    let values = operand.values(root, place);
                    match wanted {
                        None => !values.is_empty(),
                        Some((is_equal, text)) => {
                            values.iter().any(|value| (value == text) == *is_equal)
                        }
                    }
                })
                .collect(),
            Predicate::Contains(operand, part) => places
                .into_iter()
                .filter(|place| operand.values(root, place).iter().any(|v| v.contains(&**part)))
                .collect(),
        }
    }
}

impl Operand {
    fn values(&self, root: &Element, place: &Selected) -> Vec<String> {
        let Some(element) = element_at(root, &place.path) else {
            return match self {
                Operand::Itself => super::xml::text_of(root, place).into_iter().collect(),
                _ => Vec::new(),
            };
        };
        match self {
            Operand::Attribute(name) => {
                element.attribute(name).map(str::to_owned).into_iter().collect()
            }
            Operand::Child(name) => {
                element.elements().filter(|child| child.name == *name).map(Element::text).collect()
            }
            Operand::Text => vec![element.own_text()],
            Operand::Itself => super::xml::text_of(root, place).into_iter().collect(),
        }
    }
}
