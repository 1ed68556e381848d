//! The condition of a tap: which items somebody wants to see, in OTTL.

use crate::{
    otlp::{Signal, purse::Purse},
    ottl::{Context, ErrorMode, Fate, Item, Located, Program, Walk, walk},
};

use super::single::Single;

/// Longest condition, in bytes.
const LONGEST: usize = 4096;

/// A condition that is compiled once and asked for each item.
#[derive(Debug, Clone)]
pub struct Condition {
    program: Program,
}

impl Condition {
    /// Compiles a condition. The paths may leave out the context of the item: `name == "GET /"`.
    /// An error shows the place in the text.
    pub fn compile(signal: Signal, text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a condition can have at most {LONGEST} bytes"));
        }
        let own = match signal {
            Signal::Traces => Context::Span,
            Signal::Metrics => Context::DataPoint,
            Signal::Logs => Context::Log,
        };
        // Paths that name a context say what it runs on, be it an event or a resource.
        let named = Program::conditions(signal, None, &[text]);
        let compiled = match named {
            Ok(compiled) => Ok(compiled),
            Err(first) => Program::conditions(signal, Some(own), &[text])
                .map_err(|second| if names_its_context(signal, text) { first } else { second }),
        };
        compiled.map(|(program, _)| Condition { program }).map_err(|all| shown(text, &all))
    }

    /// Whether it holds for an item, or for something in it, such as an event of a span. One that
    /// fails does not hold.
    pub fn holds(&self, item: &Single) -> bool {
        let context = self.program.context();
        let how = Walk { signal: item.signal, context, request: None, prunes: false };
        let mut holds = false;
        // A condition changes nothing, and one that fails has not held.
        let _ = walk(&how, &item.body, &mut Purse::default(), &mut |item: &mut Item<'_>| {
            holds |= self.program.matches(item, ErrorMode::Silent, &mut |_| {})?;
            Ok(Fate::Keep)
        });
        holds
    }
}

/// Whether a text has a path such as `spanevent.name`.
fn names_its_context(signal: Signal, text: &str) -> bool {
    Context::of_signal(signal).iter().any(|context| {
        let name = format!("{}.", context.name());
        text.match_indices(&name).any(|(at, _)| {
            let is_within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '"');
            !text[..at].ends_with(is_within)
        })
    })
}

fn shown(text: &str, problems: &[Located]) -> String {
    let errors = problems.iter().filter(|located| !located.problem.is_warning);
    let shown: Vec<String> = errors.map(|one| one.problem.shown(text).to_string()).collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::otlp::plain;

    fn single(span: &serde_json::Value) -> Single {
        let request = plain::spans(std::slice::from_ref(span));
        let body = plain::bytes(Signal::Traces, &request);
        Single { signal: Signal::Traces, body, masked: Vec::new() }
    }

    #[test]
    fn a_condition_may_be_about_the_item_and_what_is_around_and_in_it() {
        let span = single(&json!({
            "name": "GET /cart",
            "attributes": {"user.id": "u-17"},
            "events": [{"name": "retry"}],
        }));
        for (text, holds) in [
            (r#"name == "GET /cart""#, true),
            (r#"span.name == "GET /cart" and attributes["user.id"] == "u-17""#, true),
            (r#"span.attributes["user.id"] == "u-18""#, false),
            (r#"spanevent.name == "retry""#, true),
            (r#"spanevent.name == "gone""#, false),
            (r#"resource.attributes["service.name"] == "shop""#, false),
            (r#"attributes["none"] > 1"#, false),
        ] {
            let condition = Condition::compile(Signal::Traces, text).unwrap();
            assert_eq!(condition.holds(&span), holds, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_shown_at_its_place() {
        insta::assert_snapshot!(Condition::compile(Signal::Traces, "nam == 1").unwrap_err(), @r"
        1:1: a span has no field `nam`
          | nam == 1
          | ^^^
          = did you mean `name`?
        ");
        let wrong = r#"span.name == "x" and span.kin == 2"#;
        insta::assert_snapshot!(Condition::compile(Signal::Traces, wrong).unwrap_err(), @r#"
        1:27: a span has no field `kin`
          | span.name == "x" and span.kin == 2
          |                           ^^^
          = did you mean `kind`?
        "#);
        insta::assert_snapshot!(Condition::compile(Signal::Logs, "span.name == 1").unwrap_err(), @r"
        1:1: `span` cannot be used here, since the statement runs on a log record
          | span.name == 1
          | ^^^^
          = valid: `log`, `otelcol`, `resource`, `scope`
        ");
        let long = "a".repeat(LONGEST + 1);
        assert!(Condition::compile(Signal::Logs, &long).unwrap_err().contains("4096"));
    }
}
