//! The forms of a route: a condition, the older statement, and the condition on a request; and how
//! each becomes a test.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use super::{Action, Route};
use crate::{
    component::{BuildContext, Kind, StartError},
    config::{Node, Problems, diagnostics::closest},
    otlp::{Signal, payload},
    ottl::{Context, ErrorMode, Group, Program},
    statements::{Runner, Source, Text},
};

/// A route of one signal.
pub(super) struct Rule {
    pub(super) test: Test,
    pub(super) action: Action,
    /// See [`Output::emit_to`](crate::component::Output::emit_to).
    pub(super) outlets: Vec<usize>,
}

impl Rule {
    /// Adds what failed to the metrics.
    pub(super) fn flush(&mut self) {
        if let Test::Program(runner) = &mut self.test {
            runner.flush();
        }
    }
}

/// Which data takes a route.
pub(super) enum Test {
    Program(Runner),
    Request(RequestTest),
}

/// `request["name"] == "value"`: whether a header has a value. It does not hold for requests
/// without that header, be it `==` or `!=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestTest {
    name: String,
    value: String,
    is_negated: bool,
}

impl RequestTest {
    fn parse(text: &str) -> Option<Self> {
        static FORM: LazyLock<Regex> = LazyLock::new(|| {
            let form = r#"^\s*request\s*\[\s*"([^"\\]+)"\s*\]\s*(==|!=)\s*"([^"\\]*)"\s*$"#;
            Regex::new(form).expect("the pattern is valid")
        });
        let found = FORM.captures(text)?;
        let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
        Some(RequestTest {
            name: part(1).to_owned(),
            value: part(3).to_owned(),
            is_negated: part(2) == "!=",
        })
    }

    pub(super) fn holds(&self, context: &payload::Context) -> bool {
        let mut values = context.values(&self.name);
        values.any(|value| (value == self.value) != self.is_negated)
    }
}

/// What is wrong with a route beside its text.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) place: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// A route as it is written.
pub(super) enum Form<'c> {
    Texts(Texts<'c>),
    Request(RequestTest),
}

/// The condition of a route, and the editor of a statement. Both are as long as the text in the
/// file, so that mistakes are shown at their place.
pub(super) struct Texts<'c> {
    place: String,
    context: Option<Context>,
    condition: Cow<'c, str>,
    editor: Option<String>,
}

/// Editors that a statement may have beside `route`.
const EDITORS: [&str; 2] = ["delete_key", "delete_matching_keys"];

/// The form of a route, which is at a position of the table.
pub(super) fn form(route: &Route, at: usize) -> Result<Form<'_>, Wrong> {
    let place = |key: &str| format!("table::{at}::{key}");
    let wrong = |place, message: &str, help: &str| {
        Err(Wrong { place, message: message.to_owned(), help: help.to_owned() })
    };
    let (key, text) = match (&route.condition, &route.statement) {
        (Some(text), None) => ("condition", text),
        (None, Some(text)) => ("statement", text),
        (Some(_), Some(_)) => {
            let message = "both condition and statement provided";
            return wrong(place("statement"), message, "write both as one `condition`");
        }
        (None, None) => {
            let (place, message) = (format!("table::{at}"), "the route has no condition");
            return wrong(
                place,
                message,
                "add `condition`; what no route takes goes to `default_pipelines`",
            );
        }
    };
    let name = route.context.as_deref();
    if name.is_some_and(|name| name.eq_ignore_ascii_case("request")) {
        return request(text, key, place(key));
    }
    let context = match name {
        None => None,
        Some(name) => Some(named(name).ok_or_else(|| unknown(name, place("context")))?),
    };
    let place = place(key);
    if key == "condition" {
        let condition = Cow::Borrowed(&**text);
        return Ok(Form::Texts(Texts { place, context, condition, editor: None }));
    }
    match taken_apart(text) {
        Ok((condition, editor)) => {
            Ok(Form::Texts(Texts { place, context, condition: Cow::Owned(condition), editor }))
        }
        Err(name) => {
            let message = format!("a route cannot use `{name}`");
            let help = "`route()`, `delete_key` and `delete_matching_keys` are there; edit in a \
                        processor of the pipelines";
            wrong(place, &message, help)
        }
    }
}

/// The condition on a request, in the key of a route.
fn request(text: &str, key: &str, place: String) -> Result<Form<'static>, Wrong> {
    let wrong = |message: &str, help: &str| Wrong {
        place,
        message: message.to_owned(),
        help: help.to_owned(),
    };
    if key == "statement" {
        let help = "write `condition: request[\"name\"] == \"value\"`";
        return Err(wrong("the context `request` needs a `condition`", help));
    }
    RequestTest::parse(text).map(Form::Request).ok_or_else(|| {
        wrong(
            "the condition must be `request[\"name\"] == \"value\"`, or with `!=`",
            "for more, remove `context` and use `otelcol.client.metadata[\"name\"][0]`",
        )
    })
}

/// What is wrong with a context of this name.
fn unknown(name: &str, place: String) -> Wrong {
    let help = match closest(name, CONTEXTS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("valid: {}", CONTEXTS.join(", ")),
    };
    Wrong { place, message: format!("`{name}` is not a context"), help }
}

const CONTEXTS: [&str; 8] =
    ["resource", "scope", "span", "metric", "datapoint", "log", "request", "otelcol"];

/// The context of a name. All of a request goes one way, so its context is that of resources.
fn named(name: &str) -> Option<Context> {
    let context = Context::named(name)?;
    match context {
        Context::Request => Some(Context::Resource),
        _ => is_routed(context).then_some(context),
    }
}

/// Whether there are parts of this kind that can go different ways.
fn is_routed(context: Context) -> bool {
    !matches!(context, Context::SpanEvent | Context::SpanLink | Context::Exemplar)
}

/// Takes a statement apart: its condition, and its editor unless that is `route`. The error is the
/// name of an editor that cannot be used.
fn taken_apart(text: &str) -> Result<(String, Option<String>), String> {
    let (editor, condition) = match where_in(text) {
        Some(at) => (&text[..at], Some(&text[at + "where".len()..])),
        None => (text, None),
    };
    let name: String =
        editor.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let padded = |before: usize, part: &str| {
        let after = text.len() - before - part.len();
        format!("{}{part}{}", " ".repeat(before), " ".repeat(after))
    };
    let condition = match condition {
        Some(condition) => padded(text.len() - condition.len(), condition),
        None if text.len() >= 4 => padded(0, "true"),
        None => "true".to_owned(),
    };
    match &*name {
        "route" if editor.trim().strip_prefix("route").is_some_and(|rest| rest.trim() == "()") => {
            Ok((condition, None))
        }
        name if EDITORS.contains(&name) => Ok((condition, Some(padded(0, editor)))),
        _ => Err(name),
    }
}

/// Where the word `where` is, outside of texts.
fn where_in(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_word = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let (mut at, mut is_quoted) = (0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if is_quoted => at += 1,
            b'"' => is_quoted = !is_quoted,
            b'w' if !is_quoted && bytes[at..].starts_with(b"where") => {
                let before = at.checked_sub(1).and_then(|before| bytes.get(before));
                if !is_word(before) && !is_word(bytes.get(at + 5)) {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

impl Texts<'_> {
    pub(super) fn source(
        &self,
        signal: Signal,
        context: Option<Context>,
        mode: ErrorMode,
    ) -> Source<'_> {
        let text = |text| Text { place: self.place.clone(), text };
        let conditions = vec![text(&*self.condition)];
        let statements = self.editor.iter().map(|editor| text(editor)).collect();
        Source { signal, context, conditions, statements, mode }
    }

    /// What it runs on; `None` within if that follows from the paths. Paths without a context are
    /// those of resources.
    fn context(&self, signal: Signal) -> Option<Context> {
        if self.context.is_some() {
            return self.context;
        }
        let statements: Vec<&str> = self.editor.as_deref().into_iter().collect();
        let of_resource = Group {
            signal,
            context: Some(Context::Resource),
            conditions: &[&self.condition],
            statements: &statements,
        };
        if Program::compile(&of_resource).is_ok() || !self.names_another(signal) {
            return Some(Context::Resource);
        }
        None
    }

    /// Whether a path names a context below the resource.
    fn names_another(&self, signal: Signal) -> bool {
        let others = Context::of_signal(signal).iter().filter(|it| **it != Context::Resource);
        let mut names = others.map(|context| format!("{}.", context.name()));
        names.any(|name| self.condition.contains(&name))
    }

    /// Records what is wrong with the texts.
    pub(super) fn check(&self, signal: Signal, at: &Node, problems: &mut Problems) {
        let valid = Context::of_signal(signal);
        if let Some(context) = self.context.filter(|context| !valid.contains(context)) {
            let names: Vec<&str> =
                valid.iter().filter(|it| is_routed(**it)).map(|it| it.name()).collect();
            let place = self.place.replace("::condition", "::context");
            let place = place.replace("::statement", "::context");
            problems
                .error(at.at(&place), format!("{signal} have no context `{}`", context.name()))
                .help(format!("valid: {}", names.join(", ")));
            return;
        }
        if self.editor.is_none() && self.condition.trim() == "true" {
            return;
        }
        let source = self.source(signal, self.context(signal), ErrorMode::Ignore);
        if let Some(context) = source.check(at, problems).filter(|it| !is_routed(*it)) {
            problems
                .error(
                    at.at(&self.place),
                    format!("a `{}` cannot be routed by itself", context.name()),
                )
                .help("write a condition on the item that has it");
        }
    }
}

/// The test of a route.
pub(super) fn test(
    route: &Route,
    at: usize,
    mode: ErrorMode,
    cx: &BuildContext,
) -> Result<Test, StartError> {
    match form(route, at) {
        Ok(Form::Request(test)) => Ok(Test::Request(test)),
        Ok(Form::Texts(texts)) => {
            let source = texts.source(cx.signal, texts.context(cx.signal), mode);
            source.runner(cx, Kind::Connector).map(Test::Program)
        }
        Err(wrong) => Err(StartError {
            component: format!("connector `{}`", cx.id),
            message: format!("{}: {}", wrong.place, wrong.message),
        }),
    }
}
