//! Users and their passwords as Apache's `htpasswd` writes them, one `user:hash` a line.
//!
//! ```text
//! header -> user, password -> known already? -> yes: at once
//!                                   |
//!                                   no: one lane per sender and user -> a few threads
//! ```
//!
//! A bcrypt hash takes tens of milliseconds on purpose, so it is computed on threads of their own,
//! half as many as there are cores. What a user has proved once is remembered by a keyed hash until
//! the file changes, and so is, for a minute, what was wrong. Whatever is not known waits in the
//! lane of its sender and user, and lanes take turns: wrong passwords, however many, cannot keep a
//! client waiting that has sent before, and they delay a new one by one password of each other
//! sender.

mod checks;
mod hash;

use std::{collections::HashMap, sync::Arc};

use self::hash::Hash;
pub(super) use checks::Checks;
use checks::Memory;

/// The users of an htpasswd file.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<String, Arc<User>>);

/// One of them.
#[derive(Debug)]
pub(super) struct User {
    hash: Hash,
    memory: Memory,
}

impl Users {
    /// Reads a file. Lines that cannot be used are left out, as in the Collector, and returned by
    /// number, each with the reason. Of several lines with one name the last counts.
    pub(super) fn read(text: &str) -> (Self, Vec<(usize, &'static str)>) {
        let (mut users, mut wrong) = (HashMap::new(), Vec::new());
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = line.split_once(':').ok_or("has no colon");
            match read.and_then(|(name, hash)| Hash::read(hash).map(|hash| (name, hash))) {
                Ok((name, hash)) => {
                    let user = Arc::new(User { hash, memory: Memory::default() });
                    users.insert(name.to_owned(), user);
                }
                Err(why) => wrong.push((i + 1, why)),
            }
        }
        (Users(users), wrong)
    }

    /// Adds the users of another file, which win over those of the same name.
    #[must_use]
    pub(super) fn and(mut self, other: Users) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn named(&self, name: &str) -> Option<&Arc<User>> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_wrong_ones_named() {
        let text = "# a comment\n\nann:one\n  bob:{SHA}\nnobody\nann:two\neve:$apr1$x\n";
        let (users, wrong) = Users::read(text);
        assert!(users.named("ann").is_some_and(|user| user.hash.is_of("two")));
        assert_eq!(wrong.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5, 7]);
        let users = users.and(Users::read("ann:three").0);
        assert!(users.named("ann").is_some_and(|user| user.hash.is_of("three")));
        assert!(Users::read("\n# nobody\n").0.is_empty());
    }
}
