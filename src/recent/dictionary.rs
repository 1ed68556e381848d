//! A dictionary of byte strings that never allocates after it was made: strings get numbers from 0
//! in the order in which they are first seen; when one has no room, the dictionary is full.
//!
//! Strings have a class, so that an attribute and the body of a log record may have the same bytes.
//! The table is open addressing over 32 bits, 16 of them a tag of the hash, so that a probe looks
//! at other memory only where the string is most likely the one.

use std::hash::BuildHasher as _;

/// What a string is; strings of different classes differ.
pub(super) type Class = u8;

/// Strings with numbers.
#[derive(Debug)]
pub(super) struct Dictionary {
    bytes: Vec<u8>,
    /// Where each string ends.
    ends: Vec<u32>,
    classes: Vec<Class>,
    /// 0, or the tag of a hash and the number of the string plus one.
    table: Box<[u32]>,
    hasher: foldhash::fast::RandomState,
}

/// Most strings: 16 bits, one number less for "none".
pub(super) const MOST_STRINGS: usize = u16::MAX as usize - 1;

impl Dictionary {
    /// Room for so many strings of so many bytes in all.
    pub(super) fn new(strings: usize, bytes: usize) -> Self {
        let strings = strings.min(MOST_STRINGS);
        Dictionary {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(strings),
            classes: Vec::with_capacity(strings),
            table: vec![0; table_len(strings)].into_boxed_slice(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Bytes that [`Dictionary::new`] allocates.
    pub(super) fn size(strings: usize, bytes: usize) -> usize {
        let strings = strings.min(MOST_STRINGS);
        bytes + strings * (size_of::<u32>() + size_of::<Class>()) + 4 * table_len(strings)
    }

    /// Bytes that are allocated, by looking.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.classes.capacity()
            + self.table.len() * size_of::<u32>()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all strings.
    pub(super) fn total(&self) -> usize {
        self.bytes.len()
    }

    /// The number of a string that is in it.
    pub(super) fn find(&self, class: Class, string: &[u8]) -> Option<u16> {
        self.seek(class, string).ok()
    }

    /// The number of a string; else the place in the table where it would be, and its tag.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "parts of a hash, and numbers of 16 bits")]
    fn seek(&self, class: Class, string: &[u8]) -> Result<u16, (usize, u32)> {
        let hash = self.hasher.hash_one(string).wrapping_add(u64::from(class) << 7);
        let tag = (hash >> 48) as u32;
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let found = self.table[at];
            if found == 0 {
                return Err((at, tag));
            }
            if found >> 16 == tag {
                let number = (found & 0xFFFF) as u16 - 1;
                let is_class = self.classes[usize::from(number)] == class;
                if is_class && self.string(number) == string {
                    return Ok(number);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// The number of a string, and whether it is new; none if it is new and has no room.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^16 strings")]
    pub(super) fn intern(&mut self, class: Class, string: &[u8]) -> Option<(u16, bool)> {
        let (at, tag) = match self.seek(class, string) {
            Ok(number) => return Some((number, false)),
            Err(place) => place,
        };
        let has_room = self.ends.len() < self.ends.capacity()
            && string.len() <= self.bytes.capacity() - self.bytes.len();
        if !has_room {
            return None;
        }
        let number = self.ends.len() as u16;
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len() as u32);
        self.classes.push(class);
        self.table[at] = tag << 16 | (u32::from(number) + 1);
        Some((number, true))
    }

    #[inline]
    pub(super) fn string(&self, number: u16) -> &[u8] {
        let at = usize::from(number);
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }

    pub(super) fn class(&self, number: u16) -> Class {
        self.classes[usize::from(number)]
    }

    /// All strings one after another, and where each ends.
    pub(super) fn parts(&self) -> (&[u8], &[u32]) {
        (&self.bytes, &self.ends)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.classes.clear();
        self.table.fill(0);
    }
}

/// At most two thirds full, and never quite.
fn table_len(strings: usize) -> usize {
    (strings + strings / 2 + 1).next_power_of_two()
}

/// Strings with numbers that are not added to any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Strings {
    bytes: Box<[u8]>,
    ends: Box<[u32]>,
}

impl Strings {
    /// A copy that takes [`Strings::size`].
    pub(super) fn of(dictionary: &Dictionary) -> Self {
        let (bytes, ends) = dictionary.parts();
        Strings { bytes: bytes.into(), ends: ends.into() }
    }

    pub(super) fn size(dictionary: &Dictionary) -> usize {
        dictionary.total() + dictionary.len() * size_of::<u32>()
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A string; empty if there is none with this number.
    pub(super) fn get(&self, number: usize) -> &[u8] {
        let Some(end) = self.ends.get(number) else { return &[] };
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..*end as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|number| self.get(number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_strings_have_one_number_until_it_is_full(
            strings in prop::collection::vec((0..3_u8, "[ab]{0,4}"), 0..80),
        ) {
            let mut dictionary = Dictionary::new(20, 50);
            let before = dictionary.allocated();
            let mut model: HashMap<(u8, String), u16> = HashMap::new();
            for (class, string) in strings {
                let known = model.get(&(class, string.clone())).copied();
                match dictionary.intern(class, string.as_bytes()) {
                    Some((number, is_new)) => {
                        prop_assert_eq!(known, (!is_new).then_some(number));
                        prop_assert_eq!(dictionary.string(number), string.as_bytes());
                        prop_assert_eq!(dictionary.class(number), class);
                        model.insert((class, string), number);
                    }
                    None => prop_assert!(
                        known.is_none()
                            && (model.len() == 20 || dictionary.total() + string.len() > 50)
                    ),
                }
            }
            let strings = Strings::of(&dictionary);
            for number in 0..dictionary.len() {
                let number16 = u16::try_from(number).unwrap();
                prop_assert_eq!(strings.get(number), dictionary.string(number16));
            }
            prop_assert_eq!(strings.allocated(), Strings::size(&dictionary));
            prop_assert_eq!(before, dictionary.allocated());
            prop_assert_eq!(before, Dictionary::size(20, 50));
            prop_assert_eq!(strings.get(dictionary.len()), b"");
        }
    }
}
