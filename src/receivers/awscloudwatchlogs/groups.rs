//! The log groups and streams that clients have made, for the calls that ask for them.
//!
//! Nothing has to be made before it is written to, so that no event is lost for a missing name.
//! What is remembered takes at most [`MOST_BYTES`]: beyond that the streams that were used least
//! recently are forgotten, and groups once they have no stream left. To forget one costs nothing
//! but what a client asked for it (retention, class, tags); the next write makes it again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use crate::{net::rate_limit::RateLimit, sync};

/// Most bytes of all groups and streams. A stream with a name of 80 characters takes 240.
const MOST_BYTES: usize = 4 << 20;

/// What a group takes beside its name and tags, and a stream beside its name.
const GROUP: usize = 400;
const STREAM: usize = 160;

/// Most tags of a group.
const MOST_TAGS: usize = 50;

/// What a client asked for its group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Days that events are kept; `None` means for ever.
    pub(super) retention_days: Option<i32>,
    /// `STANDARD`, `INFREQUENT_ACCESS` or another class.
    pub(super) class: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
}

/// A group. Times are in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) created: i64,
    pub(super) stored_bytes: u64,
    pub(super) wishes: Wishes,
    pub(super) streams: BTreeMap<String, Stream>,
    used: u64,
}

/// A stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) created: i64,
    /// Times of its events and of the last call that wrote some; `None` before the first.
    pub(super) written: Option<Written>,
    pub(super) stored_bytes: u64,
    used: u64,
}

/// When a stream was written to, and the times of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) first_event: i64,
    pub(super) last_event: i64,
    pub(super) ingested: i64,
}

/// There is one of that name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exists;

/// All groups of one receiver.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Mutex<All>,
    told: RateLimit,
}

/// See [`Groups`].
#[derive(Debug, Default)]
pub(super) struct All {
    pub(super) groups: BTreeMap<String, Group>,
    bytes: usize,
    /// Counts every use, so that the order of uses is known.
    uses: u64,
}

impl Groups {
    pub(super) fn lock(&self) -> MutexGuard<'_, All> {
        sync::lock(&self.all)
    }

    /// Makes a group, or says that there is one.
    pub(super) fn create(&self, name: &str, wishes: Wishes, now: i64) -> Result<(), Exists> {
        let mut all = self.lock();
        if all.groups.contains_key(name) {
            return Err(Exists);
        }
        all.group(name, now).wishes = wishes;
        all.bytes += all.groups[name].wishes.size();
        self.trim(&mut all, MOST_BYTES);
        Ok(())
    }

    /// Makes a stream, and its group if there is none, or says that there is one.
    pub(super) fn create_stream(&self, group: &str, stream: &str, now: i64) -> Result<(), Exists> {
        let mut all = self.lock();
        if all.groups.get(group).is_some_and(|group| group.streams.contains_key(stream)) {
            return Err(Exists);
        }
        all.stream(group, stream, now);
        self.trim(&mut all, MOST_BYTES);
        Ok(())
    }

    /// Changes what is asked for a group, which is made if there is none.
    pub(super) fn wish<T>(
        &self,
        group: &str,
        now: i64,
        change: impl FnOnce(&mut Wishes) -> T,
    ) -> T {
        let mut all = self.lock();
        let wishes = &mut all.group(group, now).wishes;
        let before = wishes.size();
        let changed = change(wishes);
        let after = wishes.size();
        all.bytes = all.bytes + after - before;
        self.trim(&mut all, MOST_BYTES);
        changed
    }

    /// What clients asked for a group.
    pub(super) fn wishes(&self, group: &str) -> Wishes {
        self.lock().groups.get(group).map(|group| group.wishes.clone()).unwrap_or_default()
    }

    /// Notes what was written to a stream, which is made if there is none.
    pub(super) fn wrote(&self, group: &str, stream: &str, bytes: u64, written: Written) {
        let mut all = self.lock();
        let found = all.stream(group, stream, written.ingested);
        found.stored_bytes += bytes;
        found.written = Some(found.written.map_or(written, |before| Written {
            first_event: before.first_event.min(written.first_event),
            last_event: before.last_event.max(written.last_event),
            ingested: written.ingested,
        }));
        if let Some(group) = all.groups.get_mut(group) {
            group.stored_bytes += bytes;
        }
        self.trim(&mut all, MOST_BYTES);
    }

    /// Forgets an eighth of what there is if it takes more than `most` bytes.
    fn trim(&self, all: &mut All, most: usize) {
        if all.bytes <= most {
            return;
        }
        all.forget(most - most / 8);
        if self.told.is_due() {
            tracing::info!(
                "too many log groups and streams to remember; those that were used least recently are \
                 forgotten, and are made again when they are written to"
            );
        }
    }
}

impl Wishes {
    /// Adds tags, unless they would be too many.
    pub(super) fn tag(&mut self, tags: BTreeMap<String, String>) -> bool {
        let new = tags.keys().filter(|key| !self.tags.contains_key(*key)).count();
        if self.tags.len() + new > MOST_TAGS {
            return false;
        }
        self.tags.extend(tags);
        true
    }

    /// Bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| 64 + key.len() + value.len());
        tags.sum::<usize>() + self.class.as_ref().map_or(0, String::len)
    }
}

impl All {
    fn group(&mut self, name: &str, now: i64) -> &mut Group {
        self.uses += 1;
        if !self.groups.contains_key(name) {
            self.bytes += GROUP + name.len();
        }
        let group = self.groups.entry(name.to_owned()).or_insert_with(|| Group {
            created: now,
            stored_bytes: 0,
            wishes: Wishes::default(),
            streams: BTreeMap::new(),
            used: 0,
        });
        group.used = self.uses;
        group
    }

    fn stream(&mut self, group: &str, name: &str, now: i64) -> &mut Stream {
        let found = self.group(group, now);
        let (used, is_new) = (found.used, !found.streams.contains_key(name));
        if is_new {
            self.bytes += STREAM + name.len();
        }
        let streams = &mut self.group(group, now).streams;
        let stream = streams.entry(name.to_owned()).or_insert(Stream {
            created: now,
            written: None,
            stored_bytes: 0,
            used: 0,
        });
        stream.used = used;
        stream
    }

    /// Forgets what was used least recently until the rest takes `most` bytes.
    fn forget(&mut self, most: usize) {
        let streams = self.groups.iter().flat_map(|(group, found)| {
            found
                .streams
                .iter()
                .map(move |(name, stream)| (stream.used, group.clone(), name.clone()))
        });
        let mut streams: Vec<(u64, String, String)> = streams.collect();
        streams.sort_unstable();
        for (_, group, name) in streams {
            if self.bytes <= most {
                return;
            }
            let Some(found) = self.groups.get_mut(&group) else { continue };
            if found.streams.remove(&name).is_some() {
                self.bytes -= STREAM + name.len();
            }
        }
        let groups = self.groups.iter().map(|(name, group)| (group.used, name.clone()));
        let mut groups: Vec<(u64, String)> = groups.collect();
        groups.sort_unstable();
        for (_, name) in groups {
            if self.bytes <= most {
                return;
            }
            if let Some(group) = self.groups.remove(&name) {
                self.bytes -= GROUP + name.len() + group.wishes.size();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(at: i64) -> Written {
        Written { first_event: at, last_event: at, ingested: at }
    }

    #[test]
    fn what_is_made_is_there_and_is_made_once() {
        let groups = Groups::default();
        let wishes = Wishes { retention_days: Some(7), ..Wishes::default() };
        assert_eq!(groups.create("g", wishes.clone(), 1), Ok(()));
        assert_eq!(groups.create("g", Wishes::default(), 2), Err(Exists));
        assert_eq!(groups.wishes("g"), wishes);
        assert_eq!(groups.create_stream("g", "s", 3), Ok(()));
        assert_eq!(groups.create_stream("g", "s", 4), Err(Exists));
        assert_eq!(groups.create_stream("other", "s", 5), Ok(()), "its group is made with it");
        groups.wrote("g", "s", 10, written(9));
        groups.wrote("g", "s", 5, written(6));
        let all = groups.lock();
        let stream = &all.groups["g"].streams["s"];
        let expected = Written { first_event: 6, last_event: 9, ingested: 6 };
        assert_eq!((stream.created, stream.written), (3, Some(expected)));
        assert_eq!((stream.stored_bytes, all.groups["g"].stored_bytes), (15, 15));
    }

    #[test]
    fn a_group_has_at_most_fifty_tags() {
        let mut wishes = Wishes::default();
        let tags = |from: usize, to: usize| (from..to).map(|n| (n.to_string(), String::new()));
        assert!(wishes.tag(tags(0, 50).collect()));
        assert!(!wishes.tag(tags(50, 51).collect()));
        assert!(wishes.tag(tags(0, 50).collect()), "the same again");
    }

    #[test]
    fn what_was_used_least_recently_is_forgotten_first() {
        let groups = Groups::default();
        for number in 0..100 {
            groups.wrote("g", &number.to_string(), 1, written(number));
        }
        groups.wrote("g", "0", 1, written(100));
        groups.create("empty", Wishes::default(), 1).unwrap();
        let mut all = groups.lock();
        let half = all.bytes / 2;
        groups.trim(&mut all, half);
        assert!(all.bytes <= half);
        let streams = &all.groups["g"].streams;
        assert!(streams.contains_key("0") && streams.contains_key("99"));
        assert!(!streams.contains_key("1"));
        assert!(all.groups.contains_key("empty"), "groups are kept as long as streams can go");
        all.forget(0);
        assert_eq!((all.groups.len(), all.bytes), (0, 0));
    }

    proptest! {
        #[test]
        fn the_account_of_bytes_is_right(
            steps in prop::collection::vec((0..4_u8, "[a-c]{1,2}", "[a-z]{1,3}", 200..4000_usize), 0..60)
        ) {
            let groups = Groups::default();
            for (step, group, name, most) in steps {
                match step {
                    0 => drop(groups.create(&group, Wishes::default(), 1)),
                    1 => drop(groups.create_stream(&group, &name, 1)),
                    2 => groups.wrote(&group, &name, 1, written(1)),
                    _ => drop(groups.wish(&group, 1, |wishes| {
                        wishes.tag([(name.clone(), group.clone())].into())
                    })),
                }
                let mut all = groups.lock();
                groups.trim(&mut all, most);
                prop_assert!(all.bytes <= most);
                let groups = all.groups.iter().map(|(name, group)| {
                    let streams = group.streams.keys().map(|name| STREAM + name.len());
                    GROUP + name.len() + group.wishes.size() + streams.sum::<usize>()
                });
                prop_assert_eq!(groups.sum::<usize>(), all.bytes);
            }
        }
    }
}
