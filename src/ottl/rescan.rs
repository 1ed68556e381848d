//! How much of a text a regular expression reads more than once.
//!
//! A search takes linear time, but it may have to read far behind the match that it finds: with
//! `a[^b]*b|a` each `a` is a match only once the rest of the text has no `b`. If all matches are
//! replaced, the next search reads that rest again, so that the time grows with the square of the
//! text. Nothing in the expression tells this cheaply, so it is measured: once searches could have
//! read too much, an automaton of the same expression is led over the text from where each search
//! began until it is decided, and its steps behind the match are counted. What is read again may be
//! [`FACTOR`] times the text; then the replacement fails. So the time stays linear.
//!
//! Why an automaton of its own: `regex` does not tell how far it has read. The automaton costs
//! about as much as a search, and nothing at all for texts with few matches.

use std::cell::{OnceCell, RefCell};

use regex::bytes::Regex;
use regex_automata::{
    Input,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson,
    util::syntax,
};

/// How often a text may be read again, on average.
const FACTOR: usize = 64;

/// Bytes that may be read again in any text.
const FREE: usize = 64 << 10;

/// An automaton that finds the end of a match.
#[derive(Debug, Clone)]
struct Automaton {
    dfa: DFA,
    cache: RefCell<Cache>,
}

impl Automaton {
    fn new(pattern: &str) -> Option<Self> {
        let dfa = DFA::builder()
            .configure(DFA::config().skip_cache_capacity_check(true))
            .syntax(syntax::Config::new().utf8(false))
            .thompson(thompson::Config::new().utf8(false))
            .build(pattern)
            .ok()?;
        let cache = RefCell::new(dfa.create_cache());
        Some(Automaton { dfa, cache })
    }

    /// Where a search that begins at `from` stops to read.
    fn stop(&self, text: &[u8], from: usize) -> usize {
        let cache = &mut *self.cache.borrow_mut();
        let Ok(mut state) = self.dfa.start_state_forward(cache, &Input::new(text).range(from..))
        else {
            return from;
        };
        for (at, byte) in text.iter().enumerate().skip(from) {
            match self.dfa.next_state(cache, state, *byte) {
                Ok(next) if !next.is_dead() && !next.is_quit() => state = next,
                _ => return at,
            }
        }
        text.len()
    }
}

/// The automaton of an expression, made when it is needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rescans(OnceCell<Option<Box<Automaton>>>);

/// What the searches in one text have read more than once.
#[derive(Debug)]
pub(crate) struct Reading<'r> {
    regex: &'r Regex,
    rescans: &'r Rescans,
    text: &'r [u8],
    /// What may still be read again, if every search had read to the end of the text.
    feared: usize,
    /// What may still be read again.
    left: usize,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(regex: &'r Regex, rescans: &'r Rescans, text: &'r [u8]) -> Self {
        let most = FREE + FACTOR * text.len();
        Reading { regex, rescans, text, feared: most, left: most }
    }

    /// Notes a match that ends at `end` and was searched for from `from` on. Returns whether the
    /// search may go on.
    pub(crate) fn goes_on(&mut self, from: usize, end: usize) -> bool {
        if let Some(feared) = self.feared.checked_sub(self.text.len() - end) {
            self.feared = feared;
            return true;
        }
        let make = || Automaton::new(self.regex.as_str()).map(Box::new);
        let Some(automaton) = self.rescans.0.get_or_init(make) else { return true };
        let read = automaton.stop(self.text, from).saturating_sub(end);
        match self.left.checked_sub(read) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes until the searches may not go on; `None` if all matches were found.
    fn refused_at(pattern: &str, text: &str) -> Option<usize> {
        let (regex, rescans) = (Regex::new(pattern).unwrap(), Rescans::default());
        let mut reading = Reading::new(&regex, &rescans, text.as_bytes());
        let mut from = 0;
        for found in regex.find_iter(text.as_bytes()) {
            if !reading.goes_on(from, found.end()) {
                return Some(found.end());
            }
            from = found.end();
        }
        None
    }

    #[test]
    fn reading_on_behind_each_match_is_refused() {
        for pattern in ["a[^b]*b|a", "a(?:[^b]*b)?", "x[^b]*b|a"] {
            let text = "xa".repeat(20_000);
            let at = refused_at(pattern, &text);
            assert!(at.is_some_and(|at| at < 1000), "{pattern}: {at:?}");
            assert_eq!(refused_at(pattern, &text[..1000]), None, "short texts pass");
        }
    }

    #[test]
    fn usual_patterns_pass_whatever_the_text() {
        let text = "user=ann;id=17; GET /a/b?x=1 \u{e9} ".repeat(2000);
        for pattern in [
            "a",
            "[0-9]+",
            "\\w+=\\w+",
            "id=(\\d+);",
            "(?i)GET|POST",
            "\\S+",
            "[^;]*;",
            "$",
            "a*",
            "\u{e9}|\\d{1,3}",
            "(a)(b)?",
            "(?-u:\\b)[a-z]",
        ] {
            assert_eq!(refused_at(pattern, &text), None, "{pattern}");
        }
    }
}
