//! Users and their passwords as Apache's `htpasswd` writes them, one `user:hash` a line.
//!
//! ```text
//! header -> user, password -> known already? -> yes: at once
//!                                   |
//!                                   no: one lane per sender -> a few threads
//! ```
//!
//! A bcrypt hash takes tens of milliseconds on purpose, so it is computed on threads of their own,
//! half as many as there are cores. What a user has proved once is remembered by a keyed hash until
//! the file changes, and so is, for a minute, what was wrong. Whatever is not known waits in the
//! lane of its sender, and lanes take turns: wrong passwords, however many, cannot keep a client
//! waiting that has sent before, and they delay a new one by one password of each other sender.
//!
//! A name that is no user's takes the same way, with the first slow hash of the file in the place
//! of its own. Otherwise the time of an answer would tell the names: 0.4 ms instead of 63 ms.

mod checks;
mod hash;

use std::{collections::HashMap, sync::Arc};

use self::hash::Hash;
pub(super) use checks::Checks;
use checks::{Right, Wrong};

/// Lines that cannot be used which are named.
const MOST_NAMED: usize = 5;

/// The users of an htpasswd file.
#[derive(Debug, Default)]
pub(super) struct Users {
    by_name: HashMap<String, Arc<User>>,
    /// What passwords of unknown names are compared with; `None` if no hash is slow.
    stand_in: Option<Arc<User>>,
    /// Passwords that were wrong lately, of all names.
    wrong: Arc<Wrong>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct User {
    hash: Hash,
    right: Right,
}

/// Lines that cannot be used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) count: usize,
    /// The first of them by number, each with the reason.
    pub(super) first: Vec<(usize, &'static str)>,
}

impl Unusable {
    fn note(&mut self, line: usize, why: &'static str) {
        self.count += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push((line, why));
        }
    }

    /// The first ones in words: `line 3 has no colon, line 7 has no password, ...`.
    pub(super) fn in_words(&self) -> String {
        let first = self.first.iter().map(|(line, why)| format!("line {line} {why}"));
        let rest = (self.count > self.first.len()).then(|| "...".to_owned());
        first.chain(rest).collect::<Vec<_>>().join(", ")
    }
}

impl Users {
    /// Reads a file. Lines that cannot be used are left out, as in the Collector. Of several lines
    /// with one name the last counts.
    pub(super) fn read(text: &str) -> (Self, Unusable) {
        let (mut users, mut unusable) = (Users::default(), Unusable::default());
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = line.split_once(':').ok_or("has no colon");
            match read.and_then(|(name, hash)| Hash::read(hash).map(|hash| (name, hash))) {
                Ok((name, hash)) => users.add(name, hash),
                Err(why) => unusable.note(i + 1, why),
            }
        }
        (users, unusable)
    }

    fn add(&mut self, name: &str, hash: Hash) {
        let user = Arc::new(User { hash, right: Right::default() });
        if self.stand_in.is_none() && user.hash.is_slow() {
            self.stand_in = Some(Arc::clone(&user));
        }
        self.by_name.insert(name.to_owned(), user);
    }

    /// Adds the users of another file, which win over those of the same name.
    #[must_use]
    pub(super) fn and(mut self, other: Users) -> Self {
        self.by_name.extend(other.by_name);
        self.stand_in = self.stand_in.or(other.stand_in);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn named(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_wrong_ones_named() {
        let text = "# a comment\n\nann:one\n  bob:{SHA}\nnobody\nann:two\neve:$apr1$x\n";
        let (users, unusable) = Users::read(text);
        assert!(users.named("ann").is_some_and(|user| user.hash.is_of("two")));
        let lines: Vec<usize> = unusable.first.iter().map(|(line, _)| *line).collect();
        assert_eq!((unusable.count, &lines[..]), (3, &[4, 5, 7][..]));
        let users = users.and(Users::read("ann:three").0);
        assert!(users.named("ann").is_some_and(|user| user.hash.is_of("three")));
        assert!(Users::read("\n# nobody\n").0.is_empty());
    }

    #[test]
    fn of_many_unusable_lines_the_first_are_named() {
        let (users, unusable) = Users::read(&"nobody\n".repeat(1000));
        assert!(users.is_empty());
        assert_eq!((unusable.count, unusable.first.len()), (1000, MOST_NAMED));
        let words = unusable.in_words();
        assert!(words.starts_with("line 1 has no colon, line 2 has no colon, "), "{words}");
        assert!(words.ends_with("line 5 has no colon, ..."), "{words}");
    }
}
