//! Conditions in OTTL: each policy with some has a bit, and one that shows failures has another.

use super::policy::OttlCondition;
use crate::{
    component::{BuildContext, Kind, StartError},
    config::{Node, Problems},
    otlp::{Signal, splice::messages},
    ottl::{Context, ErrorMode, Item, Tier},
    statements::{Runner, Source, texts},
};

/// The conditions of a policy as they are written.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// Path of its block in the body: `policies::0::ottl_condition`.
    pub(super) path: String,
    pub(super) condition: OttlCondition,
    pub(super) bit: u128,
    /// The bit of failures; 0 if they only count as an answer of no.
    pub(super) failed: u128,
}

impl Question {
    fn source(&self, key: &str, context: Context) -> Option<Source<'_>> {
        let list = match context {
            Context::SpanEvent => &self.condition.spanevent,
            _ => &self.condition.span,
        };
        let path = format!("{}::{key}", self.path);
        let conditions = texts(&path, list);
        (!conditions.is_empty()).then(|| Source {
            signal: Signal::Traces,
            context: Some(context),
            conditions,
            statements: Vec::new(),
            mode: self.condition.error_mode.unwrap_or(ErrorMode::Ignore),
        })
    }

    fn sources(&self) -> [Option<Source<'_>>; 2] {
        [self.source("span", Context::Span), self.source("spanevent", Context::SpanEvent)]
    }

    /// Records what is wrong with the conditions.
    pub(super) fn check(&self, at: &Node, problems: &mut Problems) {
        for source in self.sources().into_iter().flatten() {
            source.check(at, problems);
        }
    }
}

/// The conditions of one worker, compiled.
#[derive(Debug, Clone, Default)]
pub(super) struct Questions(Vec<Asked>);

#[derive(Debug, Clone)]
struct Asked {
    span: Option<Runner>,
    event: Option<Runner>,
    bit: u128,
    failed: u128,
}

impl Questions {
    pub(super) fn new(all: &[Question], cx: &BuildContext) -> Result<Self, StartError> {
        let asked = |question: &Question| {
            let [span, event] = question
                .sources()
                .map(|source| source.map(|source| source.runner(cx, Kind::Processor)).transpose());
            let Question { bit, failed, .. } = *question;
            Ok(Asked { span: span?, event: event?, bit, failed })
        };
        all.iter().map(asked).collect::<Result<_, _>>().map(Questions)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bits that a span sets. Its resource and scope are entered already.
    pub(super) fn bits<'a>(&mut self, item: &mut Item<'a>, span: &'a [u8]) -> u128 {
        item.enter(Tier::Item, span);
        let mut bits = 0;
        let mut is_inside = false;
        for Asked { span, bit, failed, event } in &mut self.0 {
            is_inside |= event.is_some();
            if let Some(runner) = span {
                bits |= answer(runner, item, (*bit, *failed));
            }
        }
        if is_inside {
            for (at, event) in messages(span, &[11]).enumerate() {
                item.enter_event(at, event.bytes());
                for Asked { event, bit, failed, .. } in &mut self.0 {
                    if let Some(runner) = event.as_mut().filter(|_| bits & *bit == 0) {
                        bits |= answer(runner, item, (*bit, *failed));
                    }
                }
            }
        }
        bits
    }

    /// Adds failures to the metrics.
    pub(super) fn flush(&mut self) {
        let runners = self.0.iter_mut().flat_map(|asked| [&mut asked.span, &mut asked.event]);
        runners.flatten().for_each(Runner::flush);
    }
}

fn answer(runner: &mut Runner, item: &Item<'_>, (bit, failed): (u128, u128)) -> u128 {
    match runner.matches(item) {
        Ok(true) => bit,
        Ok(false) => 0,
        Err(_) => failed,
    }
}

#[cfg(test)]
mod tests;
