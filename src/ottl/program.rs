//! Programs: the statements and conditions of one group, compiled for one context, and how they
//! run under an `error_mode`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    compile::{Compiler, Options},
    explain::why,
    fault::Fault,
    functions,
    item::Item,
    language::{Context, enums},
    node::{Call, Eval, Test},
    parse,
    problem::Problem,
    syntax::{self, Expr, ExprKind, Span},
};
use crate::otlp::Signal;

/// What happens when a statement or condition fails on an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorMode {
    /// The failure is reported, and the next statement runs.
    #[default]
    Ignore,
    /// The next statement runs.
    Silent,
    /// The program ends, and the payload is refused.
    Propagate,
}

impl ErrorMode {
    pub const ALL: [ErrorMode; 3] = [ErrorMode::Ignore, ErrorMode::Silent, ErrorMode::Propagate];

    pub const fn name(self) -> &'static str {
        match self {
            ErrorMode::Ignore => "ignore",
            ErrorMode::Silent => "silent",
            ErrorMode::Propagate => "propagate",
        }
    }

    /// The mode of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        ErrorMode::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }
}

/// Which text of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Condition(usize),
    Statement(usize),
}

/// A problem of one text of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub which: Which,
    pub problem: Problem,
}

/// The texts of a group.
#[derive(Debug, Clone, Copy)]
pub struct Group<'t> {
    pub signal: Signal,
    /// If it is not given, it follows from the paths, which have to name their contexts.
    pub context: Option<Context>,
    /// If there are some, the statements run on an item only if one of them holds.
    pub conditions: &'t [&'t str],
    pub statements: &'t [&'t str],
}

/// A failure while a program runs.
#[derive(Debug)]
pub struct Failure<'p> {
    pub which: Which,
    pub text: &'p str,
    pub fault: &'p Fault,
}

impl Failure<'_> {
    /// What failed and where in the text, for those who show the text themselves.
    pub fn reason(&self) -> String {
        let (_, column) = Problem::new(self.fault.span, "").position(self.text);
        format!("at column {column}: {}", self.fault)
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed {}", self.text, self.reason())
    }
}

/// A compiled group.
#[derive(Debug, Clone)]
pub struct Program {
    context: Context,
    conditions: Vec<Condition>,
    statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
struct Condition {
    text: Box<str>,
    test: Test,
}

#[derive(Debug, Clone)]
struct Statement {
    text: Box<str>,
    call: Call,
    condition: Option<Test>,
}

/// A text that was parsed.
enum Parsed {
    Condition(Expr),
    Statement(syntax::Statement),
}

/// Whether a list of conditions holds, and what to do about failures.
pub type Report<'r> = &'r mut dyn FnMut(&Failure<'_>);

impl Program {
    /// Compiles a group. All problems of all texts are returned together; a program comes with its
    /// warnings.
    pub fn compile(group: &Group<'_>) -> Result<(Program, Vec<Located>), Vec<Located>> {
        let mut problems = Vec::new();
        let conditions = group.conditions.iter().enumerate().map(|(i, text)| {
            (Which::Condition(i), *text, parse::condition(text).map(Parsed::Condition))
        });
        let statements = group.statements.iter().enumerate().map(|(i, text)| {
            (Which::Statement(i), *text, parse::statement(text).map(Parsed::Statement))
        });
        let mut parsed = Vec::new();
        for (which, text, result) in conditions.chain(statements) {
            match result {
                Ok(tree) => parsed.push((which, text, tree)),
                Err(problem) => problems.push(Located { which, problem }),
            }
        }
        let (context, needs_context) = match group.context {
            Some(context) => (context, false),
            None => match infer(group.signal, &parsed) {
                Ok(context) => (context, true),
                // A text that could not be read may have said it.
                Err(_) if !problems.is_empty() => return Err(problems),
                Err(located) => return Err(vec![*located]),
            },
        };
        let options = Options { context, needs_context };
        let mut program = Program { context, conditions: Vec::new(), statements: Vec::new() };
        for (which, text, tree) in parsed {
            let mut compiler = Compiler::new(options);
            match tree {
                Parsed::Condition(expr) => {
                    if let Some(test) = compiler.condition(&expr) {
                        if matches!(test, Test::Constant(_)) {
                            let message = "the condition is the same for all items";
                            compiler.problems.push(Problem::warning(expr.span, message));
                        }
                        program.conditions.push(Condition { text: text.into(), test });
                    }
                }
                Parsed::Statement(tree) => {
                    if let Some(compiled) = compiler.statement(&tree) {
                        let (call, condition) = (compiled.call, compiled.condition);
                        program.statements.push(Statement { text: text.into(), call, condition });
                    }
                }
            }
            problems
                .extend(compiler.problems.into_iter().map(|problem| Located { which, problem }));
        }
        if problems.iter().any(|located| !located.problem.is_warning) {
            problems.sort_by_key(|located| located.which);
            return Err(problems);
        }
        Ok((program, problems))
    }

    /// Compiles conditions only.
    pub fn conditions(
        signal: Signal,
        context: Option<Context>,
        conditions: &[&str],
    ) -> Result<(Program, Vec<Located>), Vec<Located>> {
        Program::compile(&Group { signal, context, conditions, statements: &[] })
    }

    /// What it runs on.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Whether no condition holds for any item.
    pub fn never_matches(&self) -> bool {
        self.conditions.iter().all(|c| matches!(c.test, Test::Constant(false)))
    }

    /// Whether it changes anything.
    pub fn has_statements(&self) -> bool {
        !self.statements.is_empty()
    }

    /// The text of a statement or condition.
    pub fn text(&self, which: Which) -> &str {
        match which {
            Which::Condition(at) => self.conditions.get(at).map_or("", |found| &found.text),
            Which::Statement(at) => self.statements.get(at).map_or("", |found| &found.text),
        }
    }

    /// Whether one of its conditions holds for an item; `false` if it has none.
    ///
    /// A condition that fails does not hold. With [`ErrorMode::Propagate`] its fault is returned.
    pub fn matches(
        &self,
        item: &Item<'_>,
        mode: ErrorMode,
        report: Report<'_>,
    ) -> Result<bool, Fault> {
        for (at, condition) in self.conditions.iter().enumerate() {
            match condition.test.eval(Eval::new(item)) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(fault) => {
                    failed(Which::Condition(at), &condition.text, fault, mode, report)?;
                }
            }
        }
        Ok(false)
    }

    /// Runs its statements on an item if one of its conditions holds or there is none.
    pub fn run(
        &self,
        item: &mut Item<'_>,
        mode: ErrorMode,
        report: Report<'_>,
    ) -> Result<(), Fault> {
        if !self.conditions.is_empty() && !self.matches(item, mode, report)? {
            return Ok(());
        }
        for (at, statement) in self.statements.iter().enumerate() {
            if let Err(fault) = statement.run(item) {
                failed(Which::Statement(at), &statement.text, fault, mode, report)?;
            }
        }
        Ok(())
    }

    /// What the texts were compiled to, one line each.
    pub fn explain(&self) -> Vec<String> {
        let conditions = self.conditions.iter().map(|condition| condition.test.to_string());
        let statements = self.statements.iter().map(|statement| match &statement.condition {
            Some(condition) => format!("{} where {condition}", statement.call),
            None => statement.call.to_string(),
        });
        conditions.chain(statements).collect()
    }

    /// How its conditions, and those of its statements, come to their results on an item.
    pub fn why(&self, item: &Item<'_>) -> Vec<String> {
        let own = self.conditions.iter().map(|condition| &condition.test);
        let wheres = self.statements.iter().filter_map(|statement| statement.condition.as_ref());
        let mut lines = Vec::new();
        own.chain(wheres).for_each(|test| why(test, Eval::new(item), 0, &mut lines));
        lines
    }
}

impl Statement {
    fn run(&self, item: &mut Item<'_>) -> Result<(), Fault> {
        if let Some(condition) = &self.condition
            && !condition.eval(Eval::new(item))?
        {
            return Ok(());
        }
        self.call.edit(item)
    }
}

fn failed(
    which: Which,
    text: &str,
    fault: Fault,
    mode: ErrorMode,
    report: Report<'_>,
) -> Result<(), Fault> {
    match mode {
        ErrorMode::Silent => Ok(()),
        ErrorMode::Ignore => {
            report(&Failure { which, text, fault: &fault });
            Ok(())
        }
        ErrorMode::Propagate => {
            report(&Failure { which, text, fault: &fault });
            Err(fault)
        }
    }
}

/// What a group names: contexts, functions and enums.
#[derive(Default)]
struct Named {
    /// With the places of the paths.
    contexts: Vec<(Context, Span)>,
    functions: Vec<String>,
    enums: Vec<String>,
}

/// The context of a group, from what its texts name.
fn infer(signal: Signal, parsed: &[(Which, &str, Parsed)]) -> Result<Context, Box<Located>> {
    let mut named = Named::default();
    for (_, _, tree) in parsed {
        named.tree(tree);
    }
    let of_signal = Context::of_signal(signal);
    let valid: Vec<&str> = of_signal.iter().map(|context| context.name()).collect();
    // Paths of other signals' contexts are mistakes, which are shown at their places.
    let all: Vec<Context> = named.contexts.iter().map(|(context, _)| *context).collect();
    let known: Vec<Context> = all.iter().copied().filter(|one| of_signal.contains(one)).collect();
    let mut candidates = Context::candidates(if known.is_empty() { &all } else { &known });
    if candidates.is_empty() {
        // Only functions may say what the statements run on.
        candidates = of_signal.iter().rev().copied().filter(|c| named.is_bound_to(*c)).collect();
    }
    if candidates.is_empty() {
        let (which, text) = parsed.first().map_or((Which::Statement(0), ""), |one| (one.0, one.1));
        let message = "no path says what this runs on";
        let problem = Problem::new(Span::new(0, text.len()), message).help(format!(
            "name the context in a path, such as `{}.attributes`, or set `context` to one of {}",
            valid.last().unwrap_or(&"log"),
            valid.join(", ")
        ));
        return Err(Box::new(Located { which, problem }));
    }
    let fitting = candidates.iter().find(|context| named.fits(**context));
    let context = *fitting.unwrap_or(&candidates[0]);
    if !of_signal.contains(&context) {
        let (which, span) = place_of(context, parsed);
        let message = format!("{} have no context `{}`", signal.name(), context.name());
        let problem = Problem::new(span, message).help(format!("valid: {}", valid.join(", ")));
        return Err(Box::new(Located { which, problem }));
    }
    Ok(context)
}

/// The first path that names a context.
fn place_of(context: Context, parsed: &[(Which, &str, Parsed)]) -> (Which, Span) {
    let found = parsed.iter().find_map(|(which, _, tree)| {
        let mut named = Named::default();
        named.tree(tree);
        let (_, span) = named.contexts.into_iter().find(|(one, _)| *one == context)?;
        Some((*which, span))
    });
    found.unwrap_or((Which::Statement(0), Span::default()))
}

impl Named {
    fn tree(&mut self, tree: &Parsed) {
        match tree {
            Parsed::Condition(expr) => self.expr(expr),
            Parsed::Statement(statement) => {
                self.call(&statement.editor);
                statement.condition.iter().for_each(|condition| self.expr(condition));
            }
        }
    }

    fn fits(&self, context: Context) -> bool {
        let has_functions = self
            .functions
            .iter()
            .all(|name| functions::named(name).is_none_or(|function| function.fits(context)));
        let has_enums = self.enums.iter().all(|name| {
            [context]
                .into_iter()
                .chain(context.above().iter().copied())
                .flat_map(enums)
                .any(|(known, _)| known == name)
                || functions::named(name).is_some()
        });
        has_functions && has_enums
    }

    /// Whether a function or enum works in this context and not everywhere.
    fn is_bound_to(&self, context: Context) -> bool {
        let by_function = self
            .functions
            .iter()
            .any(|name| functions::named(name).is_some_and(|f| f.contexts.contains(&context)));
        by_function && self.fits(context)
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Enum(name) => self.enums.push(name.clone()),
            ExprKind::List(values) | ExprKind::And(values) | ExprKind::Or(values) => {
                for value in values {
                    self.expr(value);
                }
            }
            ExprKind::Map(members) => members.iter().for_each(|(_, value)| self.expr(value)),
            ExprKind::Path(path) => {
                if let (Some(context), true) =
                    (Context::named(&path.segments[0].name), path.segments.len() > 1)
                {
                    self.contexts.push((context, expr.span));
                }
                let keys = path.segments.iter().flat_map(|segment| &segment.keys);
                keys.for_each(|key| self.expr(key));
            }
            ExprKind::Call(call) => self.call(call),
            ExprKind::Negate(inner) | ExprKind::Not(inner) | ExprKind::Lambda(_, inner) => {
                self.expr(inner);
            }
            ExprKind::Math(_, left, right) | ExprKind::Compare(_, left, right) => {
                self.expr(left);
                self.expr(right);
            }
            _ => {}
        }
    }

    fn call(&mut self, call: &syntax::Call) {
        self.functions.push(call.name.clone());
        call.arguments.iter().for_each(|argument| self.expr(&argument.value));
        call.keys.iter().for_each(|key| self.expr(key));
    }
}
