//! Conditions, and what can be said of them before they run.

use super::{
    super::{
        compare::compare,
        item::Tier,
        language::Access,
        node::{Argument, Call, Key, Node, Test},
        problem::Problem,
        read::is_integer,
        syntax::{Comparison, Expr, ExprKind, Span},
        types::Types,
        value::Value,
    },
    Compiler, Typed,
};

impl Compiler {
    /// Compiles a condition and marks the parts that are evaluated once per resource or scope.
    pub(crate) fn condition(&mut self, expr: &Expr) -> Option<Test> {
        let test = self.test(expr)?;
        let is_shared = !matches!(self.options.context.tier(), Tier::Resource);
        Some(if is_shared { held(test) } else { test })
    }

    pub(super) fn test(&mut self, expr: &Expr) -> Option<Test> {
        match &expr.kind {
            ExprKind::Bool(value) => Some(Test::Constant(*value)),
            ExprKind::Not(inner) => Some(match self.test(inner)? {
                Test::Constant(value) => Test::Constant(!value),
                test => Test::Not(Box::new(test)),
            }),
            ExprKind::And(parts) => self.joined(parts, false),
            ExprKind::Or(parts) => self.joined(parts, true),
            ExprKind::Compare(comparison, left, right) => {
                let (left, right) = (self.value(left), self.value(right));
                Some(self.compared(*comparison, left?, right?, expr.span))
            }
            ExprKind::Call(call) => {
                let typed = self.converter(call, expr.span)?;
                if !typed.types.meets(Types::BOOL) {
                    let message = format!("this is {}, not a condition", typed.types);
                    self.error(
                        Problem::new(expr.span, message)
                            .help("compare it with something, for instance `... != nil`"),
                    );
                    return None;
                }
                Some(match typed.node {
                    Node::Constant(Value::Bool(value)) => Test::Constant(value),
                    node => Test::Value(node, expr.span),
                })
            }
            ExprKind::Path(path) => {
                let typed = self.path_value(path, expr.span)?;
                if matches!(typed.node, Node::Local(_) | Node::Inside(..)) {
                    return Some(Test::Value(typed.node, expr.span));
                }
                let message = "a path is a value, not a condition";
                let help = if typed.types == Types::BOOL.or(Types::NIL) {
                    "write `... == true`"
                } else {
                    "write `... != nil` to ask whether it is there, or `... == true`"
                };
                self.error(Problem::new(expr.span, message).help(help));
                None
            }
            _ => {
                if self.value(expr).is_some() {
                    let message = "this is a value, not a condition";
                    self.error(
                        Problem::new(expr.span, message)
                            .help("compare it with something, for instance `... == 1`"),
                    );
                }
                None
            }
        }
    }

    /// `and` (`decides` is false) or `or` (`decides` is true): one constant that decides is enough.
    fn joined(&mut self, parts: &[Expr], decides: bool) -> Option<Test> {
        let tests: Vec<Option<Test>> = parts.iter().map(|part| self.test(part)).collect();
        let mut tests: Vec<Test> = tests.into_iter().collect::<Option<_>>()?;
        let is = |test: &Test, wanted| matches!(test, Test::Constant(value) if *value == wanted);
        if tests.iter().any(|test| is(test, decides)) {
            return Some(Test::Constant(decides));
        }
        tests.retain(|test| !is(test, !decides));
        Some(match tests.len() {
            0 => Test::Constant(!decides),
            1 => tests.remove(0),
            _ if decides => Test::Any(tests),
            _ => Test::All(tests),
        })
    }

    fn compared(&mut self, comparison: Comparison, left: Typed, right: Typed, span: Span) -> Test {
        if let (Some(a), Some(b)) = (left.node.constant(), right.node.constant()) {
            return Test::Constant(compare(comparison, a, b));
        }
        self.check_types(comparison, left.types, right.types, span);
        is_text(comparison, &left.node, &right.node)
            .or_else(|| is_text(comparison, &right.node, &left.node))
            .or_else(|| is_int(comparison, &left.node, &right.node))
            .unwrap_or_else(|| Test::Compare(comparison, Box::new((left.node, right.node))))
    }

    /// Warns of comparisons whose result does not depend on the item.
    fn check_types(&mut self, comparison: Comparison, left: Types, right: Types, span: Span) {
        let numbers = left.meets(Types::NUMBER) && right.meets(Types::NUMBER);
        let common = left.and(right);
        let has_order = !common.without(UNORDERED).is_empty();
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if numbers || has_order || (is_equality && !common.is_empty()) {
            return;
        }
        let result = if comparison == Comparison::NotEqual { "always" } else { "never" };
        let message = if common.is_empty() {
            format!("this {result} holds: {left} never equals {right}")
        } else {
            format!("this {result} holds: {common} has no order")
        };
        let ids = Types::TRACE_ID.or(Types::SPAN_ID);
        let mut problem = Problem::warning(span, message);
        if (left.or(right)).meets(ids) && (left.or(right)).meets(Types::TEXT) {
            problem = problem.help("compare the field `.string` of the id with a text");
        } else if left == Types::NIL || right == Types::NIL {
            problem = problem.help("an unset number is 0, an unset text \"\"");
        }
        self.error(problem);
    }
}

/// Types that are equal or not, but neither less nor greater.
const UNORDERED: Types =
    Types::MAP.or(Types::LIST).or(Types::TRACE_ID).or(Types::SPAN_ID).or(Types::COLLECTION);

/// `attributes["key"] == "text"` as one step.
fn is_text(comparison: Comparison, path: &Node, text: &Node) -> Option<Test> {
    let is_wanted = match comparison {
        Comparison::Equal => true,
        Comparison::NotEqual => false,
        _ => return None,
    };
    let (Node::Path(place), Node::Constant(Value::Text(text))) = (path, text) else { return None };
    let (Access::Attributes(number), [Key::Text(key)]) = (place.access, &*place.keys) else {
        return None;
    };
    let (key, text) = (key.as_slice().into(), (&**text).into());
    let path = place.text.as_str().into();
    Some(Test::IsText { tier: place.tier, number, key, text, is_wanted, path })
}

/// `kind == 2` as one step.
fn is_int(comparison: Comparison, path: &Node, value: &Node) -> Option<Test> {
    let (Node::Path(place), Node::Constant(Value::Int(value))) = (path, value) else { return None };
    let is_plain = place.keys.is_empty() && is_integer(place.access);
    is_plain.then(|| Test::IsInt(comparison, place.clone(), *value))
}

/// Wraps the largest parts that depend on nothing but the resource and the request, then those that
/// also depend on the scope.
fn held(test: Test) -> Test {
    held_by(held_by(test, Tier::Resource), Tier::Scope)
}

/// Wraps the largest parts that are the same for everything in an owner: a resource or a scope.
fn held_by(test: Test, owner: Tier) -> Test {
    if matches!(test, Test::Constant(_) | Test::Held(..)) {
        return test;
    }
    if is_shared_test(&test, owner) {
        return Test::Held(Box::new(test), owner, std::cell::Cell::new((0, false)));
    }
    match test {
        Test::Not(inner) => Test::Not(Box::new(held_by(*inner, owner))),
        Test::All(tests) => Test::All(held_all(tests, owner)),
        Test::Any(tests) => Test::Any(held_all(tests, owner)),
        other => other,
    }
}

fn held_all(tests: Vec<Test>, owner: Tier) -> Vec<Test> {
    tests.into_iter().map(|test| held_by(test, owner)).collect()
}

fn is_shared_tier(tier: Tier, owner: Tier) -> bool {
    match tier {
        Tier::Resource | Tier::ResourceSchema | Tier::Request => true,
        Tier::Scope | Tier::ScopeSchema => owner == Tier::Scope,
        _ => false,
    }
}

fn is_shared_test(test: &Test, owner: Tier) -> bool {
    match test {
        Test::Constant(_) => true,
        Test::Not(inner) | Test::Held(inner, ..) => is_shared_test(inner, owner),
        Test::All(tests) | Test::Any(tests) => tests.iter().all(|test| is_shared_test(test, owner)),
        Test::Compare(_, sides) => is_shared(&sides.0, owner) && is_shared(&sides.1, owner),
        Test::IsText { tier, .. } => is_shared_tier(*tier, owner),
        Test::IsInt(_, place, _) => is_shared_tier(place.tier, owner),
        Test::Value(node, _) => is_shared(node, owner),
    }
}

fn are_shared(keys: &[Key], owner: Tier) -> bool {
    keys.iter().all(|key| match key {
        Key::Text(_) | Key::Index(_) => true,
        Key::Dynamic(node) => is_shared(node, owner),
    })
}

fn is_shared(node: &Node, owner: Tier) -> bool {
    match node {
        Node::Constant(_) => true,
        Node::Path(place) => is_shared_tier(place.tier, owner) && are_shared(&place.keys, owner),
        Node::Call(call) => is_shared_call(call, owner),
        Node::Keys(inner, keys, _) | Node::Inside(inner, keys, _) => {
            is_shared(inner, owner) && are_shared(keys, owner)
        }
        Node::Math(_, sides, _) => is_shared(&sides.0, owner) && is_shared(&sides.1, owner),
        Node::Negate(inner, _) => is_shared(inner, owner),
        Node::List(nodes) => nodes.iter().all(|node| is_shared(node, owner)),
        Node::Map(members) => members.iter().all(|(_, node)| is_shared(node, owner)),
        Node::Local(_) => false,
        Node::Test(test) => is_shared_test(test, owner),
    }
}

fn is_shared_call(call: &Call, owner: Tier) -> bool {
    call.function.is_pure
        && call.arguments.iter().all(|argument| match argument {
            Argument::Absent | Argument::Function(_) => true,
            Argument::Value(node, _) | Argument::Special(_, node, _) => is_shared(node, owner),
            Argument::Path(_) | Argument::Lambda(_) => false,
        })
}
