//! Which attributes a page may send: a list of keys, compiled.

/// Keys that pages are never believed, whatever the list says: marks that skep itself writes, and
/// the weight of a sampled span. The settings refuse lists that name them.
const NEVER: [&[u8]; 2] = [b"skep.", b"client."];
const NEVER_EXACT: [&[u8]; 1] = [b"SampleRate"];

/// The identity of a user, under the names of two conventions. It is kept as a claim.
const USER: [&[u8]; 2] = [b"user.id", b"enduser.id"];

/// Longest key that is let through, in bytes.
pub(super) const LONGEST_KEY: usize = 256;

/// What is done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Remove,
    /// It says who the user is, which a page can only claim.
    Claim,
}

/// A list of keys. Most attributes are looked up here, so patterns are sorted by their first byte.
#[derive(Debug)]
pub(super) struct Keys {
    /// Where the patterns of each first byte begin; those of the last one end at the end.
    begins: [u16; 257],
    patterns: Vec<Pattern>,
    /// Whether the list has `*`.
    has_all: bool,
}

#[derive(Debug)]
struct Pattern {
    text: Box<[u8]>,
    is_prefix: bool,
    /// Its first bytes, and which of the eight they are: most patterns are no longer.
    word: u64,
    mask: u64,
}

impl Pattern {
    fn new(text: &str, is_prefix: bool) -> Self {
        let mut mask = [0; 8];
        mask[..text.len().min(8)].fill(u8::MAX);
        let (word, mask) = (word(text.as_bytes()), u64::from_le_bytes(mask));
        Pattern { text: text.as_bytes().into(), is_prefix, word, mask }
    }

    /// Whether it is a key whose first bytes are `word`.
    #[inline]
    fn is_for(&self, key: &[u8], word: u64) -> bool {
        let len = self.text.len();
        (word ^ self.word) & self.mask == 0
            && (key.len() == len || self.is_prefix && key.len() > len)
            && (len <= 8 || key.starts_with(&self.text))
    }
}

/// The first eight bytes, with zeros at the end of a shorter text.
#[inline]
fn word(text: &[u8]) -> u64 {
    if let Some(bytes) = text.first_chunk() {
        return u64::from_le_bytes(*bytes);
    }
    text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Why a pattern cannot be used: the message and the remedy.
pub(super) fn wrong(pattern: &str) -> Option<(String, &'static str)> {
    let text = pattern.strip_suffix('*').unwrap_or(pattern);
    if text.contains('*') || pattern.is_empty() {
        let message =
            format!("`{pattern}` is not a key, nor the beginning of one with `*` behind it");
        return Some((message, "write for instance `http.request.method` or `http.*`"));
    }
    let is_never = |never: &&[u8]| text.as_bytes().starts_with(never);
    if NEVER.iter().any(is_never) || NEVER_EXACT.contains(&pattern.as_bytes()) {
        let message =
            format!("`{pattern}` cannot be allowed: nobody could tell whether skep wrote it");
        return Some((message, "remove it"));
    }
    None
}

impl Keys {
    /// A list of keys and of beginnings of keys with `*` behind them.
    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a String>) -> Self {
        let mut has_all = false;
        let mut compiled = Vec::new();
        for pattern in patterns {
            let prefix = pattern.strip_suffix('*');
            let text = prefix.unwrap_or(pattern);
            if text.is_empty() {
                has_all |= prefix.is_some();
                continue;
            }
            compiled.push(Pattern::new(text, prefix.is_some()));
        }
        compiled.sort_by(|a, b| a.text.cmp(&b.text));
        compiled.truncate(usize::from(u16::MAX));
        let mut begins = [0; 257];
        for (at, begin) in begins.iter_mut().enumerate() {
            let before = compiled.partition_point(|pattern| usize::from(pattern.text[0]) < at);
            *begin = u16::try_from(before).unwrap_or(u16::MAX);
        }
        Keys { begins, patterns: compiled, has_all }
    }

    /// What is done with an attribute of this key.
    #[inline]
    pub(super) fn fate(&self, key: &[u8]) -> Fate {
        let Some(&first) = key.first() else { return Fate::Remove };
        // Keys with another first byte need no look at the lists of special ones.
        if matches!(first, b'u' | b'e') && USER.contains(&key) {
            return Fate::Claim;
        }
        if key.len() > LONGEST_KEY || matches!(first, b's' | b'c' | b'S') && is_never(key) {
            return Fate::Remove;
        }
        let first = usize::from(first);
        let range = usize::from(self.begins[first])..usize::from(self.begins[first + 1]);
        let near = self.patterns.get(range).unwrap_or_default();
        let word = word(key);
        let is_listed = self.has_all || near.iter().any(|pattern| pattern.is_for(key, word));
        if is_listed { Fate::Keep } else { Fate::Remove }
    }
}

fn is_never(key: &[u8]) -> bool {
    NEVER.iter().any(|never| key.starts_with(never)) || NEVER_EXACT.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(patterns: &[&str]) -> Keys {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        Keys::new(&patterns)
    }

    #[test]
    fn a_pattern_with_a_star_is_the_beginning_of_keys() {
        let keys = keys(&["http.*", "url.full", "component"]);
        for (key, fate) in [
            ("http.method", Fate::Keep),
            ("http.", Fate::Keep),
            ("http", Fate::Remove),
            ("url.full", Fate::Keep),
            ("url.fuller", Fate::Remove),
            ("url.path", Fate::Remove),
            ("component", Fate::Keep),
            ("", Fate::Remove),
            ("\u{ff}", Fate::Remove),
        ] {
            assert_eq!(keys.fate(key.as_bytes()), fate, "{key}");
        }
    }

    #[test]
    fn what_skep_writes_and_who_the_user_is_are_never_taken_from_a_page() {
        let keys = keys(&["*"]);
        for key in ["skep.trust", "client.address", "client.claimed.user.id", "SampleRate"] {
            assert_eq!(keys.fate(key.as_bytes()), Fate::Remove, "{key}");
        }
        for key in ["user.id", "enduser.id"] {
            assert_eq!(keys.fate(key.as_bytes()), Fate::Claim, "{key}");
        }
        assert_eq!(keys.fate(b"anything"), Fate::Keep);
        assert_eq!(keys.fate(&[b'k'; LONGEST_KEY + 1]), Fate::Remove);
    }

    #[test]
    fn patterns_that_cannot_work_are_explained() {
        for pattern in ["", "a*b", "**", "skep.*", "skep.trust", "client.address", "SampleRate"] {
            assert!(wrong(pattern).is_some(), "{pattern}");
        }
        for pattern in ["*", "http.*", "a", "user.*"] {
            assert!(wrong(pattern).is_none(), "{pattern}");
        }
    }
}
