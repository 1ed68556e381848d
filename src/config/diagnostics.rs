//! Problems of a configuration: each with its place, its words and its remedy.

use super::tree::{Node, Place};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// skep does not start.
    Error,
    /// skep starts; `validate --deny-warnings` fails.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Where; none for problems of the whole.
    pub place: Option<Place>,
    /// Path of the node: `processors::batch::timeout`.
    pub path: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do: did-you-mean, valid keys, the new form.
    pub help: Option<String>,
}

/// All problems found so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Records an error at a node.
    pub fn error(&mut self, at: &Node, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, at, message.into())
    }

    /// Records a warning at a node.
    pub fn warning(&mut self, at: &Node, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, at, message.into())
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn push(&mut self, severity: Severity, at: &Node, message: String) -> &mut Problem {
        self.0.push(Problem {
            severity,
            place: Some(at.place.clone()),
            path: at.path.to_string(),
            message,
            help: None,
        });
        self.0.last_mut().expect("a problem was pushed on the line above")
    }
}

impl Problem {
    /// Adds the remedy.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }
}
