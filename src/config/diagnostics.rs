//! Problems of a configuration: each with its place, its words and its remedy.

use std::collections::HashMap;

use super::tree::{Node, Place, Value};

/// How many problems are shown at once.
pub const SHOWN: usize = 100;

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
    /// Its position; `None` for problems of the whole configuration.
    pub place: Option<Place>,
    /// Path of the node: `processors::batch::timeout`.
    pub path: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do: did-you-mean, valid keys, the new form.
    pub help: Option<String>,
    /// Another place that matters, with its words. Boxed, since few problems have one.
    pub related: Option<Box<(Place, String)>>,
    /// A variable or a file does not exist on this machine, but may exist where skep will run.
    /// `validate` shows such errors as warnings.
    pub is_absent: bool,
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

    /// Records each of `keys`, which are the list at `at`, that is there already. Two are the same
    /// if `fold` makes them so: `str::to_owned`, or `str::to_ascii_lowercase`.
    pub fn repeated(
        &mut self,
        severity: Severity,
        at: &Node,
        keys: &[String],
        fold: fn(&str) -> String,
    ) {
        let mut known = HashMap::new();
        for (i, key) in keys.iter().enumerate() {
            if let Some(before) = known.insert(fold(key), key) {
                let remedy = if before == key {
                    "remove one"
                } else {
                    "remove one; case makes no difference"
                };
                let message = format!("`{key}` is there twice");
                self.push(severity, at.at(&i.to_string()), message).help(remedy);
            }
        }
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether there are more problems than are shown. Then it is not worth searching for remedies.
    pub fn are_many(&self) -> bool {
        self.0.len() >= SHOWN
    }

    /// Whether something that the configuration refers to does not exist on this machine.
    pub fn have_absent(&self) -> bool {
        self.0.iter().any(|problem| problem.is_absent)
    }

    /// Whether there is an error that every machine has.
    pub fn have_mistakes(&self) -> bool {
        let is_mistake =
            |problem: &Problem| problem.severity == Severity::Error && !problem.is_absent;
        self.0.iter().any(is_mistake)
    }

    /// Makes warnings of the errors that another machine may not have.
    pub fn excuse_absent(&mut self) {
        for problem in self.0.iter_mut().filter(|problem| problem.is_absent) {
            problem.severity = Severity::Warning;
        }
    }

    /// The problems to show, and the number of others. If not all are shown, errors come first.
    pub fn most_important(&self) -> (Vec<&Problem>, usize) {
        let mut all: Vec<&Problem> = self.0.iter().collect();
        if all.len() > SHOWN {
            all.sort_by_key(|problem| problem.severity != Severity::Error);
            all.truncate(SHOWN);
        }
        (all, self.0.len().saturating_sub(SHOWN))
    }

    fn push(&mut self, severity: Severity, at: &Node, mut message: String) -> &mut Problem {
        if matches!(&at.value, Value::Substituted { text, .. } if text.is_empty()) {
            message.push_str("; the reference here expands to an empty text");
        }
        self.0.push(Problem {
            severity,
            place: Some(at.spot().clone()),
            path: at.path.to_string(),
            message,
            help: None,
            related: None,
            is_absent: false,
        });
        self.0.last_mut().expect("a problem was pushed on the line above")
    }
}

impl Problem {
    /// An error at a place, such as that of a key.
    pub fn at(place: &Place, path: &str, message: impl Into<String>) -> Self {
        Problem {
            place: Some(place.clone()),
            path: path.to_owned(),
            ..Problem::of_the_whole(message)
        }
    }

    /// An error of the whole configuration, without a place.
    pub fn of_the_whole(message: impl Into<String>) -> Self {
        Problem {
            severity: Severity::Error,
            place: None,
            path: String::new(),
            message: message.into(),
            help: None,
            related: None,
            is_absent: false,
        }
    }

    /// Adds another place that matters.
    pub fn relate(&mut self, place: &Place, words: impl Into<String>) -> &mut Self {
        self.related = Some(Box::new((place.clone(), words.into())));
        self
    }

    /// Adds the remedy.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }
}

/// Longest name that is compared with others for a suggestion, in bytes.
const LONGEST_NAME: usize = 200;

/// The candidate that `wrong` was most likely meant to be: few edits away for its length.
pub fn closest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of this length is not a misspelling.
    if wrong.len() > LONGEST_NAME {
        return None;
    }
    let limit = 1 + wrong.len() / 4;
    candidates
        .into_iter()
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) from one text to another, any case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_within_a_few_edits() {
        let names = ["timeout", "send_batch_size", "send_batch_max_size"];
        assert_eq!(closest("timout", names), Some("timeout"));
        assert_eq!(closest("send_batchsize", names), Some("send_batch_size"));
        assert_eq!(closest("TIMEOUT", names), Some("timeout"));
        assert_eq!(closest("endpoint", names), None);
    }
}
