//! The compiler: from a syntax tree to checked nodes.
//!
//! Types are checked here as far as they are known: a literal of the wrong type is an error, a
//! comparison that can never hold is a warning. What is constant is calculated once. Conditions on
//! nothing but the resource and the scope are marked, so that they are evaluated once for each.

mod call;
mod condition;
mod path;

pub use call::signature;

use super::{
    arithmetic,
    fault::Fault,
    item::Item,
    language::{Context, enums},
    node::{Call, Eval, Node, Test},
    problem::Problem,
    syntax::{Expr, ExprKind, Span, Statement},
    types::Types,
    value::Value,
};

/// How statements are compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// What they run on.
    pub context: Context,
    /// Whether each path must name its context. If not, one without is of `context`.
    pub needs_context: bool,
}

/// A value with the types that it may have.
pub(super) struct Typed {
    pub node: Node,
    pub types: Types,
}

/// Compiles one expression or statement.
pub(super) struct Compiler {
    options: Options,
    /// Names of lambdas, from the outermost on.
    locals: Vec<Option<String>>,
    pub problems: Vec<Problem>,
}

/// What a statement compiles to.
pub(super) struct CompiledStatement {
    pub call: Call,
    pub condition: Option<Test>,
}

impl Compiler {
    pub(crate) fn new(options: Options) -> Self {
        Compiler { options, locals: Vec::new(), problems: Vec::new() }
    }

    fn error(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(crate) fn statement(&mut self, statement: &Statement) -> Option<CompiledStatement> {
        let call = self.editor(&statement.editor, statement.span);
        let condition = statement.condition.as_ref().map(|condition| {
            let test = self.condition(condition);
            if matches!(test, Some(Test::Constant(false))) {
                let message = "the condition never holds, so the statement does nothing";
                self.error(Problem::warning(condition.span, message));
            }
            test
        });
        match condition {
            Some(None) => None,
            Some(Some(Test::Constant(true))) | None => {
                Some(CompiledStatement { call: call?, condition: None })
            }
            Some(condition) => Some(CompiledStatement { call: call?, condition }),
        }
    }

    /// Compiles a value.
    pub(crate) fn value(&mut self, expr: &Expr) -> Option<Typed> {
        let constant = |value: Value<'static>| {
            let types = value.types();
            Some(Typed { node: Node::Constant(value), types })
        };
        match &expr.kind {
            ExprKind::Nil => constant(Value::Nil),
            ExprKind::Bool(value) => constant(Value::Bool(*value)),
            ExprKind::Int(value) => constant(Value::Int(*value)),
            ExprKind::Double(value) => constant(Value::Double(*value)),
            ExprKind::Text(text) => constant(Value::Text(text.clone().into_bytes().into())),
            ExprKind::Bytes(bytes) => constant(Value::Bytes(bytes.clone().into())),
            ExprKind::Enum(name) => self.enumerated(name, expr.span),
            ExprKind::List(values) => self.list(values),
            ExprKind::Map(members) => self.map(members),
            ExprKind::Path(path) => self.path_value(path, expr.span),
            ExprKind::Call(call) => self.converter(call, expr.span),
            ExprKind::Negate(inner) => {
                let inner = self.value(inner)?;
                if !inner.types.meets(Types::NUMBER) {
                    let message = format!("`-` needs a number, but this is {}", inner.types);
                    self.error(Problem::new(expr.span, message));
                    return None;
                }
                let node = Node::Negate(Box::new(inner.node), expr.span);
                Some(self.folded(node, inner.types.and(Types::NUMBER), expr.span))
            }
            ExprKind::Math(math, left, right) => {
                let (left, right) = (self.value(left), self.value(right));
                let (left, right) = (left?, right?);
                let types = arithmetic::result(*math, left.types, right.types);
                if types.is_empty() {
                    let sign = math.sign();
                    let (left, right) = (left.types, right.types);
                    let message = format!("`{sign}` cannot be used with {left} and {right}");
                    self.error(Problem::new(expr.span, message));
                    return None;
                }
                let node = Node::Math(*math, Box::new((left.node, right.node)), expr.span);
                Some(self.folded(node, types, expr.span))
            }
            ExprKind::Compare(..) | ExprKind::Not(_) | ExprKind::And(_) | ExprKind::Or(_) => {
                let message = "a condition cannot be used as a value";
                self.error(
                    Problem::new(expr.span, message).help("use it behind `where`, or in a lambda"),
                );
                None
            }
            ExprKind::Lambda(..) => {
                let message = "a lambda can only be the argument of a function that takes one";
                self.error(Problem::new(expr.span, message));
                None
            }
        }
    }

    fn enumerated(&mut self, name: &str, span: Span) -> Option<Typed> {
        let context = self.options.context;
        let contexts = || [context].into_iter().chain(context.above().iter().copied());
        let known = contexts().flat_map(enums).find(|(known, _)| *known == name);
        if let Some((_, value)) = known {
            return Some(Typed { node: Node::Constant(Value::Int(value)), types: Types::INT });
        }
        let message = format!("there is no `{name}` in the context {}", context.name());
        let mut problem = Problem::new(span, message);
        if super::functions::named(name).is_some() {
            problem =
                problem.help(format!("a converter is called with parentheses: `{name}(...)`"));
        } else if let Some((other, _)) = Context::ALL
            .into_iter()
            .flat_map(|other| enums(other).map(move |(known, _)| (other, known)))
            .find(|(_, known)| *known == name)
        {
            problem = problem.help(format!("it is known in the context {}", other.name()));
        } else {
            problem = problem.suggest(name, contexts().flat_map(enums).map(|(known, _)| known));
        }
        self.error(problem);
        None
    }

    fn list(&mut self, values: &[Expr]) -> Option<Typed> {
        let nodes: Vec<Option<Typed>> = values.iter().map(|value| self.value(value)).collect();
        let nodes: Option<Vec<Node>> = nodes.into_iter().map(|typed| Some(typed?.node)).collect();
        let nodes = nodes?;
        let constants: Option<Vec<Value<'static>>> =
            nodes.iter().map(|node| node.constant().cloned()).collect();
        let node = match constants {
            Some(values) => Node::Constant(Value::list(values)),
            None => Node::List(nodes),
        };
        Some(Typed { node, types: Types::LIST })
    }

    fn map(&mut self, members: &[(String, Expr)]) -> Option<Typed> {
        let nodes: Vec<Option<(String, Node)>> = members
            .iter()
            .map(|(key, value)| Some((key.clone(), self.value(value)?.node)))
            .collect();
        let nodes: Option<Vec<(String, Node)>> = nodes.into_iter().collect();
        let nodes = nodes?;
        let is_constant = nodes.iter().all(|(_, node)| node.constant().is_some());
        let node = Node::Map(nodes);
        let node = if is_constant { evaluated(&node).unwrap_or(node) } else { node };
        Some(Typed { node, types: Types::MAP })
    }

    /// Calculates a node now if it is constant.
    fn folded(&mut self, node: Node, types: Types, span: Span) -> Typed {
        let is_constant = match &node {
            Node::Math(_, sides, _) => sides.0.constant().is_some() && sides.1.constant().is_some(),
            Node::Negate(inner, _) | Node::Keys(inner, ..) => inner.constant().is_some(),
            _ => false,
        };
        if !is_constant {
            return Typed { node, types };
        }
        match result(&node) {
            Ok(value) => Typed { types: value.types(), node: Node::Constant(value) },
            Err(fault) => {
                self.error(Problem::warning(span, format!("this always fails: {fault}")));
                Typed { node, types }
            }
        }
    }
}

/// The value of a node that needs no item.
fn result(node: &Node) -> Result<Value<'static>, Fault> {
    let item = Item::new(None);
    node.eval(Eval::new(&item)).map(Value::into_owned)
}

/// The same as a node; `None` if it fails.
fn evaluated(node: &Node) -> Option<Node> {
    result(node).ok().map(Node::Constant)
}
