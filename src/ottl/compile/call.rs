//! Calls: which function, and whether its arguments fit its parameters.

use regex::bytes::Regex;

use super::{
    super::{
        calendar,
        functions::{self, Function, Parameter, Special, Takes, xpath},
        node::{Argument, Call, Lambda, Node},
        pattern::{self, Recent},
        problem::Problem,
        syntax::{self, Expr, ExprKind, Span},
        types::Types,
        value::Value,
    },
    Compiler, Typed, result,
};

/// Converters whose constant arguments must be right, since the Collector checks them at the start.
const CHECKED: [&str; 5] = ["Double", "Bool", "Int", "TraceID", "SpanID"];

impl Compiler {
    pub(super) fn editor(&mut self, call: &syntax::Call, span: Span) -> Option<Call> {
        let function = self.function(call)?;
        let compiled = self.call(function, call, span)?;
        if function.name == "set" {
            self.check_set(&compiled);
        }
        Some(compiled)
    }

    /// A value of the wrong type for its path.
    fn check_set(&mut self, call: &Call) {
        let [Argument::Path(place), Argument::Value(node, span)] = &*call.arguments else { return };
        let types = node_types(node);
        if types.meets(place.writes.or(Types::NIL)) {
            return;
        }
        let message = format!("`{}` takes {}, but this is {types}", place.text, place.writes);
        self.error(Problem::new(*span, message));
    }

    pub(super) fn converter(&mut self, call: &syntax::Call, span: Span) -> Option<Typed> {
        let function = self.function(call)?;
        let keys = self.keys(&call.keys)?;
        let compiled = self.call(function, call, span)?;
        let is_constant = function.is_pure
            && compiled.arguments.iter().all(|argument| match argument {
                Argument::Absent => true,
                Argument::Value(node, _) | Argument::Special(_, node, _) => {
                    node.constant().is_some()
                }
                Argument::Path(_) | Argument::Function(_) | Argument::Lambda(_) => false,
            });
        let mut typed = Typed { node: Node::Call(Box::new(compiled)), types: function.returns };
        if is_constant {
            match result(&typed.node) {
                Ok(value) => typed = Typed { types: value.types(), node: Node::Constant(value) },
                Err(fault) if CHECKED.contains(&function.name) => {
                    self.error(Problem::new(span, fault.to_string()));
                    return None;
                }
                Err(fault) => {
                    let message = format!("this always fails: {fault}");
                    self.error(Problem::warning(span, message));
                }
            }
        }
        if keys.is_empty() {
            return Some(typed);
        }
        if !typed.types.meets(Types::MAP.or(Types::LIST)) {
            let message = format!("`{}` returns {}, which has no keys", call.name, typed.types);
            self.error(Problem::new(span, message));
            return None;
        }
        let node = Node::Keys(Box::new(typed.node), keys, span);
        Some(self.folded(node, Types::ANY, span))
    }

    fn function(&mut self, call: &syntax::Call) -> Option<&'static Function> {
        let context = self.options.context;
        let is_editor = call.name.starts_with(|c: char| c.is_ascii_lowercase());
        let kind = if is_editor { "editor" } else { "converter" };
        let Some(function) = functions::named(&call.name) else {
            let message = format!("there is no {kind} `{}`", call.name);
            let candidates = functions::all()
                .filter(|function| function.is_editor() == is_editor && function.fits(context))
                .map(|function| function.name);
            let problem = Problem::new(call.name_span, message);
            self.error(match super::super::problem::closest(&call.name, candidates) {
                Some(best) => problem.help(format!("did you mean `{best}`?")),
                None => problem.help("`skep ottl --functions` lists all"),
            });
            return None;
        };
        if !function.fits(context) {
            let names: Vec<&str> = function.contexts.iter().map(|c| c.name()).collect();
            let (wanted, context) = (names.join(" or "), context.name());
            let message = format!(
                "`{}` needs the context {wanted}, but this statement has {context}",
                call.name
            );
            self.error(
                Problem::new(call.name_span, message)
                    .help(format!("put it into a group of its own with `context: {}`", names[0])),
            );
            return None;
        }
        Some(function)
    }

    fn call(
        &mut self,
        function: &'static Function,
        call: &syntax::Call,
        span: Span,
    ) -> Option<Call> {
        let given = self.assigned(function, call, span)?;
        let mut arguments = Vec::new();
        let mut is_whole = true;
        for (parameter, expr) in function.parameters.iter().zip(&given) {
            let argument = match expr {
                None => Some(Argument::Absent),
                Some(expr) => self.argument(parameter, expr),
            };
            is_whole &= argument.is_some();
            arguments.push(argument.unwrap_or(Argument::Absent));
        }
        if !is_whole {
            return None;
        }
        let prepared = match function.prepare.map(|prepare| prepare(&arguments)) {
            None => Special::None,
            Some(Ok(special)) => special,
            Some(Err((at, message))) => {
                let place = given.get(at).copied().flatten().map_or(span, |expr| expr.span);
                self.error(Problem::new(place, message));
                return None;
            }
        };
        Some(Call { function, arguments, prepared, span })
    }

    /// The argument of each parameter.
    fn assigned<'x>(
        &mut self,
        function: &'static Function,
        call: &'x syntax::Call,
        span: Span,
    ) -> Option<Vec<Option<&'x Expr>>> {
        let parameters = function.parameters;
        let mut given: Vec<Option<&Expr>> = vec![None; parameters.len()];
        let mut has_names = false;
        for (i, argument) in call.arguments.iter().enumerate() {
            let at = match &argument.name {
                None if has_names => {
                    let message = "an argument without a name cannot follow one with a name";
                    self.error(Problem::new(argument.value.span, message));
                    return None;
                }
                None => i,
                Some((name, place)) => {
                    has_names = true;
                    let found = parameters.iter().position(|p| is_same_name(p.name, name));
                    let Some(found) = found else {
                        let message = format!("`{}` has no parameter `{name}`", call.name);
                        let names = parameters.iter().map(|parameter| parameter.name);
                        self.error(Problem::new(*place, message).suggest(name, names));
                        return None;
                    };
                    found
                }
            };
            match given.get_mut(at) {
                Some(slot @ None) => *slot = Some(&argument.value),
                Some(Some(_)) => {
                    let message = format!("`{}` is given twice", parameters[at].name);
                    self.error(Problem::new(argument.value.span, message));
                    return None;
                }
                None => {
                    let most = parameters.len();
                    let message = format!("`{}` takes at most {most} arguments", call.name);
                    self.error(
                        Problem::new(argument.value.span, message).help(signature(function)),
                    );
                    return None;
                }
            }
        }
        let missing: Vec<&str> = parameters
            .iter()
            .zip(&given)
            .filter(|(parameter, given)| !parameter.is_optional && given.is_none())
            .map(|(parameter, _)| parameter.name)
            .collect();
        if !missing.is_empty() {
            let message = format!("`{}` lacks `{}`", call.name, missing.join("`, `"));
            self.error(Problem::new(call.name_span.to(span), message).help(signature(function)));
            return None;
        }
        Some(given)
    }

    fn argument(&mut self, parameter: &'static Parameter, expr: &Expr) -> Option<Argument> {
        match parameter.takes {
            Takes::Path(types) => return self.target(parameter.name, types, expr),
            Takes::Function => return self.function_name(expr),
            Takes::Lambda(names) => return self.lambda(parameter.name, names, expr),
            _ => {}
        }
        let given = self.value(expr)?;
        let wanted = match parameter.takes {
            Takes::Value(types) | Takes::Literal(types) => types,
            _ => Types::TEXT,
        };
        if !given.types.meets(wanted) {
            let message =
                format!("`{}` must be {wanted}, but this is {}", parameter.name, given.types);
            self.error(Problem::new(expr.span, message));
            return None;
        }
        let needs_constant =
            matches!(parameter.takes, Takes::Literal(_) | Takes::OneOf(_) | Takes::XPath);
        if needs_constant && given.node.constant().is_none() {
            let message = format!("`{}` must be a constant", parameter.name);
            self.error(Problem::new(expr.span, message));
            return None;
        }
        let special = match special(parameter, &given.node) {
            Ok(special) => special,
            Err(problem) => {
                self.error(Problem { span: expr.span, ..problem });
                return None;
            }
        };
        Some(match special {
            Special::None => Argument::Value(given.node, expr.span),
            special => Argument::Special(special, given.node, expr.span),
        })
    }

    /// A path that an editor changes.
    fn target(&mut self, name: &str, types: Types, expr: &Expr) -> Option<Argument> {
        let ExprKind::Path(path) = &expr.kind else {
            let message = format!("`{name}` must be a path");
            self.error(Problem::new(expr.span, message).help("for instance `attributes[\"key\"]`"));
            return None;
        };
        let place = self.place(path, expr.span)?;
        if place.writes.is_empty() {
            let message = format!("`{}` is read only", place.text);
            self.error(Problem::new(expr.span, message));
            return None;
        }
        if !place.reads.meets(types) {
            let message =
                format!("`{name}` must be {types}, but `{}` is {}", place.text, place.reads);
            self.error(Problem::new(expr.span, message));
            return None;
        }
        Some(Argument::Path(Box::new(place)))
    }

    /// The name of a converter that takes one text.
    fn function_name(&mut self, expr: &Expr) -> Option<Argument> {
        let ExprKind::Enum(name) = &expr.kind else {
            let message = "`function` must be the name of a converter, without parentheses";
            self.error(Problem::new(expr.span, message).help("for instance `SHA256`"));
            return None;
        };
        let takes_text = |function: &&'static Function| {
            let required = function.parameters.iter().filter(|p| !p.is_optional).count();
            let first = function.parameters.first().map(|parameter| parameter.takes);
            let fits = matches!(first, Some(Takes::Value(types)) if types.meets(Types::TEXT));
            !function.is_editor() && required == 1 && fits
        };
        if let Some(function) = functions::named(name).filter(takes_text) {
            return Some(Argument::Function(function));
        }
        let message = format!("`{name}` is not a converter of one text");
        let names = functions::all().filter(takes_text).map(|function| function.name);
        let problem = Problem::new(expr.span, message);
        self.error(match super::super::problem::closest(name, names) {
            Some(best) => problem.help(format!("did you mean `{best}`?")),
            None => problem.help("for instance `SHA256`"),
        });
        None
    }

    fn lambda(&mut self, name: &str, names: usize, expr: &Expr) -> Option<Argument> {
        let wrong = |span: Span| {
            let message = format!("`{name}` must be a lambda with {names} names");
            let example = match names {
                0 => "() => ...",
                2 => "(key, value) => ...",
                _ => "(result, key, value) => ...",
            };
            Problem::new(span, message).help(format!("for instance `{example}`"))
        };
        let ExprKind::Lambda(given, body) = &expr.kind else {
            self.error(wrong(expr.span));
            return None;
        };
        if given.len() != names {
            self.error(wrong(expr.span));
            return None;
        }
        let outer = self.locals.len();
        self.locals.extend(given.iter().cloned());
        let is_condition = matches!(
            body.kind,
            ExprKind::Compare(..) | ExprKind::Not(_) | ExprKind::And(_) | ExprKind::Or(_)
        );
        let body = if is_condition {
            self.test(body).map(|test| Node::Test(Box::new(test)))
        } else {
            self.value(body).map(|typed| typed.node)
        };
        self.locals.truncate(outer);
        Some(Argument::Lambda(Box::new(Lambda { outer, body: body? })))
    }
}

/// What is compiled of a constant argument.
fn special(parameter: &Parameter, node: &Node) -> Result<Special, Problem> {
    let text = match node.constant() {
        Some(Value::Text(text)) => Some(String::from_utf8_lossy(text)),
        _ => None,
    };
    let wrong = |message: String| Problem::new(Span::default(), message);
    let compiled = |regex: Result<Regex, String>| regex.map(|it| Special::Regex(it.into()));
    match (parameter.takes, text) {
        (Takes::Regex, Some(text)) => compiled(pattern::compile(&text)).map_err(wrong),
        (Takes::Glob, Some(text)) => compiled(pattern::compile_glob(&text)).map_err(wrong),
        (Takes::Regex | Takes::Glob, None) => Ok(Special::Recent(Recent::default())),
        (Takes::TimeFormat, Some(text)) => {
            calendar::check_format(&text).map(|()| Special::None).map_err(wrong)
        }
        (Takes::XPath, Some(text)) => xpath::XPath::parse(&text).map(Special::XPath).map_err(wrong),
        (Takes::OneOf(names), Some(text)) if !names.contains(&&*text) => {
            let message = format!("`{}` cannot be `{text}`", parameter.name);
            Err(wrong(message).suggest(&text, names.iter().copied()))
        }
        _ => Ok(Special::None),
    }
}

/// `pair_delimiter` and `pairDelimiter` are the same.
fn is_same_name(known: &str, name: &str) -> bool {
    let plain = |text: &str| text.replace('_', "").to_lowercase();
    plain(known) == plain(name)
}

/// `Split(target, delimiter)`
pub fn signature(function: &Function) -> String {
    let parameters = function.parameters.iter().map(|parameter| {
        let mark = if parameter.is_optional { "?" } else { "" };
        format!("{}{mark}", parameter.name)
    });
    format!("{}({})", function.name, parameters.collect::<Vec<_>>().join(", "))
}

/// The types that a node may have.
fn node_types(node: &Node) -> Types {
    match node {
        Node::Constant(value) => value.types(),
        Node::Path(place) => place.reads,
        Node::Call(call) => call.function.returns,
        Node::Keys(..) | Node::Inside(..) | Node::Local(_) => Types::ALL,
        Node::Math(math, sides, _) => {
            super::super::arithmetic::result(*math, node_types(&sides.0), node_types(&sides.1))
        }
        Node::Negate(inner, _) => node_types(inner).and(Types::NUMBER),
        Node::List(_) => Types::LIST,
        Node::Map(_) => Types::MAP,
        Node::Test(_) => Types::BOOL,
    }
}
