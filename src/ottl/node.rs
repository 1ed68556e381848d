//! A compiled statement: a tree of values and tests whose types were checked, and its evaluation.
//!
//! Values borrow from the item and from the tree wherever they can. A test that depends on nothing
//! but the resource and the scope is evaluated once for each of them ([`Test::Held`]).

use std::{borrow::Cow, cell::Cell};

use smallvec::SmallVec;

use super::{
    arithmetic::{calculate, negate},
    compare::{compare, holds},
    fault::{Fault, What},
    functions::{Function, Run, Special},
    item::{Item, Tier},
    language::Access,
    read::{integer, read},
    syntax::{Comparison, Math, Span},
    types::Types,
    value::{Map, Value, find, put_entry},
    wire::{Step, step, step_strictly},
};

/// A path that was found in the tables.
#[derive(Debug, Clone)]
pub struct Place {
    pub tier: Tier,
    pub access: Access,
    pub keys: Vec<Key>,
    pub span: Span,
    /// What it may give and what may be written to it.
    pub reads: Types,
    pub writes: Types,
    /// As written, with its context: `span.attributes["a"]`.
    pub text: String,
    /// Where an attribute of the resource or scope was found last.
    pub found: Found,
}

/// Where an attribute is in its owner, which many items share: it is looked up once for all.
#[derive(Debug, Clone, Default)]
pub struct Found(Cell<(u64, Option<(u32, u32)>)>);

impl Found {
    /// The attribute with a key; `stamp` tells which version of the owner this is.
    fn find<'m>(
        &self,
        stamp: u64,
        message: &'m [u8],
        number: u32,
        key: &[u8],
    ) -> Option<Cow<'m, [u8]>> {
        let (known, place) = self.0.get();
        if known == stamp {
            let (start, end) = place?;
            return message.get(start as usize..end as usize).map(Cow::Borrowed);
        }
        let found = find(message, number, key);
        match &found {
            None => self.0.set((stamp, None)),
            Some(Cow::Borrowed(any)) => {
                if let Some(place) = place_in(message, any) {
                    self.0.set((stamp, Some(place)));
                }
            }
            // It was put together of several parts.
            Some(Cow::Owned(_)) => {}
        }
        found
    }
}

/// Where a part of a message begins and ends; `None` if it is not in the message.
fn place_in(message: &[u8], part: &[u8]) -> Option<(u32, u32)> {
    let start = part.as_ptr().addr().checked_sub(message.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|end| *end <= message.len())?;
    Some((u32::try_from(start).ok()?, u32::try_from(end).ok()?))
}

/// A key of a path, or of what a converter returned.
#[derive(Debug, Clone)]
pub enum Key {
    Text(Vec<u8>),
    Index(i64),
    Dynamic(Node),
}

/// A value.
#[derive(Debug, Clone)]
pub enum Node {
    Constant(Value<'static>),
    Path(Box<Place>),
    Call(Box<Call>),
    /// Keys of what a converter returned.
    Keys(Box<Node>, Vec<Key>, Span),
    /// Keys of a name of a lambda, where what is absent is nil.
    Inside(Box<Node>, Vec<Key>, Span),
    Math(Math, Box<(Node, Node)>, Span),
    Negate(Box<Node>, Span),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// A name of a lambda: how many levels out, and which.
    Local(usize),
    /// The body of a lambda may be a condition.
    Test(Box<Test>),
}

/// A condition.
#[derive(Debug, Clone)]
pub enum Test {
    Constant(bool),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
    Compare(Comparison, Box<(Node, Node)>),
    /// `attributes["key"] == "text"`, the most frequent condition.
    IsText {
        tier: Tier,
        number: u32,
        key: Box<[u8]>,
        text: Box<[u8]>,
        is_wanted: bool,
        /// As written.
        path: Box<str>,
    },
    /// `kind == 2`: an integer of the item and a constant one.
    IsInt(Comparison, Box<Place>, i64),
    /// A converter that returns a boolean.
    Value(Node, Span),
    /// A test of an owner only: of the resource, or of the scope with it. It has its last result,
    /// and the version of the owner that it was made for.
    Held(Box<Test>, Tier, Cell<(u64, bool)>),
}

/// A converter or editor with its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    pub function: &'static Function,
    pub arguments: Vec<Argument>,
    /// What the function made of its constant arguments.
    pub prepared: Special,
    pub span: Span,
}

/// An argument.
#[derive(Debug, Clone)]
pub enum Argument {
    Absent,
    Value(Node, Span),
    /// A path that an editor changes.
    Path(Box<Place>),
    /// The name of a converter.
    Function(&'static Function),
    Lambda(Box<Lambda>),
    /// A constant that was compiled, such as a regular expression.
    Special(Special, Node, Span),
}

/// `(key, value) => body`; the names are known by their positions.
#[derive(Debug, Clone)]
pub struct Lambda {
    /// Names of lambdas around this one.
    pub outer: usize,
    pub body: Node,
}

/// What a value is evaluated on.
#[derive(Debug, Clone, Copy)]
pub struct Eval<'e> {
    pub item: &'e Item<'e>,
    /// Names of lambdas, from the outermost on.
    pub locals: &'e [Value<'e>],
}

impl<'e> Eval<'e> {
    pub fn new(item: &'e Item<'e>) -> Self {
        Eval { item, locals: &[] }
    }
}

impl Node {
    pub fn eval<'e>(&'e self, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
        match self {
            Node::Constant(value) => Ok(borrowed(value)),
            Node::Path(place) => place.read(eval),
            Node::Call(call) => call.convert(eval),
            Node::Keys(inner, keys, span) => {
                let mut value = inner.eval(eval)?;
                for key in keys {
                    value = step_strictly(value, &key.step(eval)?).map_err(|w| w.at(*span))?;
                }
                Ok(value)
            }
            Node::Inside(inner, keys, span) => {
                let mut value = inner.eval(eval)?;
                for key in keys {
                    value = step(value, &key.step(eval)?).map_err(|w| w.at(*span))?;
                }
                Ok(value)
            }
            Node::Math(math, sides, span) => {
                let (left, right) = (sides.0.eval(eval)?, sides.1.eval(eval)?);
                calculate(*math, &left, &right).map_err(|what| what.at(*span))
            }
            Node::Negate(inner, span) => negate(&inner.eval(eval)?).map_err(|what| what.at(*span)),
            Node::List(nodes) => {
                let values: Result<Vec<Value<'_>>, Fault> =
                    nodes.iter().map(|node| node.eval(eval)).collect();
                Ok(Value::list(values?))
            }
            Node::Map(members) => {
                let mut list = Vec::new();
                for (key, node) in members {
                    put_entry(&mut list, 1, key.as_bytes(), &node.eval(eval)?);
                }
                Ok(Value::Map(Map::made(list)))
            }
            Node::Local(at) => Ok(eval.locals.get(*at).cloned().unwrap_or(Value::Nil)),
            Node::Test(test) => test.eval(eval).map(Value::Bool),
        }
    }

    /// The value if it is the same for all items.
    pub fn constant(&self) -> Option<&Value<'static>> {
        match self {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }
}

/// A constant without a copy.
fn borrowed<'e>(value: &'e Value<'static>) -> Value<'e> {
    match value {
        Value::Text(text) => Value::Text(Cow::Borrowed(text)),
        Value::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        Value::List(list) => Value::List(Cow::Borrowed(list)),
        Value::Map(map) => Value::Map(Map { bytes: Cow::Borrowed(&map.bytes), number: map.number }),
        other => other.clone(),
    }
}

impl Key {
    fn step<'e>(&'e self, eval: Eval<'e>) -> Result<Step<'e>, Fault> {
        match self {
            Key::Text(text) => Ok(Step::Key(Cow::Borrowed(text))),
            Key::Index(index) => Ok(Step::Index(*index)),
            Key::Dynamic(node) => match node.eval(eval)? {
                Value::Text(text) => Ok(Step::Key(text)),
                Value::Int(index) => Ok(Step::Index(index)),
                other => {
                    let wanted = Types::TEXT.or(Types::INT);
                    let what = What::Type { subject: "the key", wanted, found: other.types() };
                    Err(what.at(Span::default()))
                }
            },
        }
    }
}

impl Place {
    /// Whether it has keys, none of which depends on the item.
    pub fn has_fixed_keys(&self) -> bool {
        !self.keys.is_empty() && !self.keys.iter().any(|key| matches!(key, Key::Dynamic(_)))
    }

    /// The steps that its keys make.
    pub fn steps<'e>(&'e self, eval: Eval<'e>) -> Result<SmallVec<[Step<'e>; 2]>, Fault> {
        let steps: Result<_, Fault> = self.keys.iter().map(|key| key.step(eval)).collect();
        steps.map_err(|fault| fault.or_at(self.span))
    }

    /// The same if no key depends on the item.
    pub fn fixed_steps(&self) -> Option<SmallVec<[Step<'_>; 2]>> {
        let fixed = self.keys.iter().map(|key| match key {
            Key::Text(text) => Some(Step::Key(Cow::Borrowed(&**text))),
            Key::Index(index) => Some(Step::Index(*index)),
            Key::Dynamic(_) => None,
        });
        fixed.collect()
    }

    /// The field number and the key of the attribute that this is, if it is a whole one.
    pub fn attribute(&self) -> Option<(u32, &[u8])> {
        match (self.access, &*self.keys) {
            (Access::Attributes(number), [Key::Text(key)]) => Some((number, key)),
            _ => None,
        }
    }

    /// The attribute of the resource or scope that this is, if it is one.
    pub fn shared_attribute<'e>(&self, item: &'e Item<'_>) -> Option<Cow<'e, [u8]>> {
        match (self.tier, self.access, &*self.keys) {
            (Tier::Resource | Tier::Scope, Access::Attributes(number), [Key::Text(key)]) => {
                self.found.find(item.stamp(self.tier), item.bytes(self.tier), number, key)
            }
            _ => None,
        }
    }

    pub fn read<'e>(&'e self, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
        if let (Access::Attributes(number), [Key::Text(key)]) = (self.access, &*self.keys) {
            let found = match self.tier {
                Tier::Resource | Tier::Scope => self.shared_attribute(eval.item),
                tier => eval.item.indexed(tier).attribute(number, key).map(|found| found.any),
            };
            return Ok(found.map_or(Value::Nil, Value::read_cow));
        }
        if self.keys.is_empty() {
            return read(eval.item, self.tier, self.access, &[]).map_err(|w| w.at(self.span));
        }
        let steps = self.steps(eval)?;
        read(eval.item, self.tier, self.access, &steps).map_err(|what| what.at(self.span))
    }
}

impl Fault {
    /// The same, at a place if it has none.
    fn or_at(self, span: Span) -> Fault {
        if self.span == Span::default() { Fault { span, ..self } } else { self }
    }
}

impl Test {
    pub fn eval<'e>(&'e self, eval: Eval<'e>) -> Result<bool, Fault> {
        match self {
            Test::Constant(value) => Ok(*value),
            Test::Not(inner) => inner.eval(eval).map(|value| !value),
            Test::All(tests) => {
                for test in tests {
                    if !test.eval(eval)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Test::Any(tests) => {
                for test in tests {
                    if test.eval(eval)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Test::Compare(comparison, sides) => {
                let (left, right) = (sides.0.eval(eval)?, sides.1.eval(eval)?);
                Ok(compare(*comparison, &left, &right))
            }
            Test::IsText { tier, number, key, text, is_wanted, .. } => {
                let from = eval.item.indexed(*tier);
                let is_equal = from.is_text(*number, key, text).unwrap_or_else(|| {
                    from.attribute(*number, key).is_some_and(|found| {
                        matches!(Value::read(&found.any), Value::Text(found) if *found == **text)
                    })
                });
                Ok(is_equal == *is_wanted)
            }
            Test::IsInt(comparison, place, value) => {
                let found = integer(eval.item.indexed(place.tier), place.access);
                Ok(holds(*comparison, found.cmp(value)))
            }
            Test::Value(node, span) => match node.eval(eval)? {
                Value::Bool(value) => Ok(value),
                other => {
                    let (wanted, found) = (Types::BOOL, other.types());
                    Err(What::Type { subject: "the condition", wanted, found }.at(*span))
                }
            },
            Test::Held(inner, owner, held) => {
                let stamp = eval.item.stamp(*owner);
                let (known, value) = held.get();
                if known == stamp {
                    return Ok(value);
                }
                let value = inner.eval(eval)?;
                held.set((stamp, value));
                Ok(value)
            }
        }
    }
}

impl Call {
    /// Runs a converter.
    pub fn convert<'e>(&'e self, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
        match self.function.run {
            Run::Convert(convert) => convert(self, eval).map_err(|fault| fault.or_at(self.span)),
            Run::Edit(_) => Err(What::text("an editor returns no value").at(self.span)),
        }
    }

    /// Runs an editor.
    pub fn edit(&self, item: &mut Item<'_>) -> Result<(), Fault> {
        match self.function.run {
            Run::Edit(edit) => edit(self, item).map_err(|fault| fault.or_at(self.span)),
            Run::Convert(_) => Err(What::text("a converter changes nothing").at(self.span)),
        }
    }
}

/// Faults of functions have no place of their own: they are at the call.
impl From<What> for Fault {
    fn from(what: What) -> Self {
        what.at(Span::default())
    }
}
