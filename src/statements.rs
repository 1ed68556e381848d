//! OTTL in the configurations of components: how texts are written in YAML, how they are compiled
//! there with every mistake at its place, and how they run, with failures counted and logged.
//!
//! A component lists its groups of texts as [`Source`]s. `validate` calls [`Source::check`],
//! `build` makes a [`Runner`] of each.

mod failures;
mod settings;

pub use settings::{Blocks, Texts};

use self::failures::Failures;
use crate::{
    component::{BuildContext, Kind, Needs, StartError},
    config::{Node, Problems, diagnostics::closest},
    otlp::Signal,
    ottl::{Context, ErrorMode, Fault, Group, Item, Located, Program, RequestUse, Which, report},
};

/// A text and its place in the body of a component: `trace_statements::0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<'c> {
    pub place: String,
    pub text: &'c str,
}

/// The texts of a list under a path.
pub fn texts<'c>(path: &str, list: &'c Texts) -> Vec<Text<'c>> {
    let place = |at| format!("{path}::{at}");
    list.0.iter().enumerate().map(|(at, text)| Text { place: place(at), text }).collect()
}

/// Complains if the `context` of a group is none of its signal.
pub fn check_context(name: Option<&str>, signal: Signal, group: &Node, problems: &mut Problems) {
    let Some(name) = name else { return };
    let valid = Context::of_signal(signal);
    if Context::named(name).is_none_or(|context| !valid.contains(&context)) {
        let names: Vec<&str> = valid.iter().map(|context| context.name()).collect();
        let message = format!("`{name}` is not a context of {signal}");
        let problem = problems.error(group.at("context"), message);
        match closest(name, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("valid: {}", names.join(", "))),
        };
    }
}

/// Texts that are compiled together.
#[derive(Debug, Clone)]
pub struct Source<'c> {
    pub signal: Signal,
    /// If it is not given, it follows from the paths.
    pub context: Option<Context>,
    pub conditions: Vec<Text<'c>>,
    pub statements: Vec<Text<'c>>,
    pub mode: ErrorMode,
}

impl<'c> Source<'c> {
    fn compile(&self) -> Result<(Program, Vec<Located>), Vec<Located>> {
        let all = |texts: &[Text<'c>]| texts.iter().map(|text| text.text).collect::<Vec<_>>();
        Program::compile(&Group {
            signal: self.signal,
            context: self.context,
            conditions: &all(&self.conditions),
            statements: &all(&self.statements),
        })
    }

    fn text(&self, which: Which) -> Option<&Text<'c>> {
        match which {
            Which::Condition(at) => self.conditions.get(at),
            Which::Statement(at) => self.statements.get(at),
        }
    }

    /// Records what is wrong with the texts, each at its place below `at`. Returns what they run
    /// on if nothing is.
    pub fn check(&self, at: &Node, problems: &mut Problems) -> Option<Context> {
        let (program, found) = match self.compile() {
            Ok((program, warnings)) => (Some(program), warnings),
            Err(found) => (None, found),
        };
        for located in found {
            if let Some(Text { place, text }) = self.text(located.which) {
                report(problems, at.at(place), text, &located.problem);
            }
        }
        program.map(|program| program.context())
    }

    /// Compiles the texts to run them in one replica of a component.
    ///
    /// Each replica compiles them again: clones of a regular expression share scratch space, which
    /// workers would fight for.
    pub fn runner(&self, cx: &BuildContext, kind: Kind) -> Result<Runner, StartError> {
        let (program, _) = self.compile().map_err(|found| StartError {
            component: format!("{} `{}`", kind.name(), cx.id),
            message: found.first().map_or_else(String::new, |located| {
                format!("a statement is not valid: {}", located.problem.message)
            }),
        })?;
        let all = self.conditions.iter().chain(&self.statements);
        let places = all.map(|text| text.place.clone()).collect();
        let failures = Failures::new(cx, kind, places);
        let failures = failures.with_conditions(self.conditions.len());
        Ok(Runner { program, mode: self.mode, failures })
    }
}

/// What the texts of some sources need of the requests that bring items.
pub fn needs(sources: &[Source<'_>]) -> Needs<'static> {
    let texts =
        sources.iter().flat_map(|source| source.conditions.iter().chain(&source.statements));
    let RequestUse { any, metadata, auth } = RequestUse::of(texts.map(|text| text.text));
    Needs { context: any, metadata, auth, ..Needs::default() }
}

/// A compiled group in one replica of a component.
#[derive(Debug, Clone)]
pub struct Runner {
    program: Program,
    mode: ErrorMode,
    failures: Failures,
}

impl Runner {
    /// What it runs on.
    pub fn context(&self) -> Context {
        self.program.context()
    }

    /// Whether one of the conditions holds; see [`Program::matches`].
    #[inline]
    pub fn matches(&mut self, item: &Item<'_>) -> Result<bool, Fault> {
        let Runner { program, mode, failures } = self;
        let result = program.matches(item, *mode, &mut |failure| failures.note(failure));
        if failures.has_news() {
            failures.tell(item, program);
        }
        result
    }

    /// Runs the statements; see [`Program::run`].
    #[inline]
    pub fn run(&mut self, item: &mut Item<'_>) -> Result<(), Fault> {
        let Runner { program, mode, failures } = self;
        let result = program.run(item, *mode, &mut |failure| failures.note(failure));
        if failures.has_news() {
            failures.tell(item, program);
        }
        result
    }

    /// Adds what failed to the metrics; once per payload.
    pub fn flush(&mut self) {
        self.failures.flush();
    }
}

#[cfg(test)]
mod tests;
