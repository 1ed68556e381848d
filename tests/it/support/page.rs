//! A browser that does one step after the other; `tests/clients/console/driver.mjs` has the steps.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::sdk;

/// A browser, closed with the test.
pub(crate) struct Browser {
    child: Child,
    steps: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let mut command = Command::new("node");
        command.current_dir(sdk::browser()).arg(sdk::sources().join("console/driver.mjs"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (steps, answers) = (child.stdin.take(), child.stdout.take().unwrap());
        Browser { child, steps, answers: BufReader::new(answers) }
    }

    /// Does a step and returns what came of it.
    pub(crate) fn step(&mut self, step: &Value) -> Value {
        let steps = self.steps.as_mut().unwrap();
        writeln!(steps, "{step}").unwrap();
        steps.flush().unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        assert!(answer.get("value").is_some(), "{step}: {answer}");
        answer["value"].clone()
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.step(&json!(["open", url]));
    }

    /// Waits until the page shows a text.
    pub(crate) fn see(&mut self, text: &str) {
        self.step(&json!(["see", text]));
    }

    /// Waits until it does not.
    pub(crate) fn miss(&mut self, text: &str) {
        self.step(&json!(["miss", text]));
    }

    pub(crate) fn click(&mut self, text: &str) {
        self.step(&json!(["click", text]));
    }

    pub(crate) fn key(&mut self, key: &str) {
        self.step(&json!(["key", key]));
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        self.step(&json!(["evaluate", expression]))
    }

    pub(crate) fn url(&mut self) -> String {
        self.step(&json!(["url"])).as_str().unwrap_or_default().to_owned()
    }

    /// Nothing is wrong for those who see or move less, and the page has broken no rule of its own.
    pub(crate) fn is_sound(&mut self) {
        let found = self.step(&json!(["axe"]));
        assert_eq!(found, json!([]), "axe at {}", self.url());
        self.has_no_complaints();
    }

    pub(crate) fn has_no_complaints(&mut self) {
        let complaints = self.step(&json!(["complaints"]));
        assert_eq!(complaints, json!([]), "at {}", self.url());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes the browser at the end of its input.
        drop(self.steps.take());
        let _ = self.child.wait();
    }
}
