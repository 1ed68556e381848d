//! Ids that follow from the data: the uuid of an item, and the fingerprint of a message.

use ring::digest::{Context, SHA256};

/// Most bytes of a message that its template is made of.
const MESSAGE: usize = 1024;

/// A uuid that follows from `parts`: the same data always has the same one, so that Rollbar drops
/// what is sent to it again.
pub(super) fn uuid(parts: &[&[u8]]) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(parts)[..16]);
    // Version 8 (RFC 9562): the bits are up to the application.
    id[6] = id[6] & 0x0F | 0x80;
    id[8] = id[8] & 0x3F | 0x80;
    let digits = hex(&id);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

/// The fingerprint of the messages that have one template.
pub(super) fn fingerprint(message: &str) -> String {
    hex(&hash(&[b"message", template(message).as_bytes()])[..20])
}

/// 40 hexadecimal digits for a text that is too long for an id.
pub(super) fn short_id(text: &[u8]) -> String {
    hex(&hash(&[text])[..20])
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut all = Context::new(&SHA256);
    for part in parts {
        all.update(&(part.len() as u64).to_be_bytes());
        all.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(all.finish().as_ref());
    hash
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// A message with `*` for what differs from one time to the next: texts in quotes, and words with
/// a digit or an `@`. Only the first line counts.
fn template(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut rest = &line[..line.floor_char_boundary(MESSAGE)];
    let mut out = String::with_capacity(rest.len());
    while let Some(first) = rest.chars().next() {
        let is_open = !out.ends_with(|last: char| last.is_alphanumeric());
        let quoted = matches!(first, '\'' | '"' | '`').then(|| rest[1..].find(first)).flatten();
        if let Some(end) = quoted.filter(|_| is_open) {
            out.push('*');
            rest = &rest[end + 2..];
            continue;
        }
        let len = rest.find(is_separator).unwrap_or(rest.len());
        if len == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(len);
        let differs = word.contains(|c: char| c.is_ascii_digit() || c == '@');
        out.push_str(if differs { "*" } else { word });
        rest = after;
    }
    out
}

/// Whether a character ends a word. Those of paths, times and numbers do not.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || "()[]{}<>,;=\"'`!?|".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_from_time_to_time_is_left_out_of_a_template() {
        for (message, expected) in [
            ("payment 4711 of ann@a.test failed after 3.5s", "payment * of * failed after *"),
            ("no user 'ann' in table \"users\"", "no user * in table *"),
            ("can't open /var/x/7f3a.txt (errno=2)", "can't open * (errno=*)"),
            ("request 550e8400-e29b-41d4-a716-446655440000: timeout", "request * timeout"),
            ("first line\nsecond 5", "first line"),
            ("", ""),
        ] {
            assert_eq!(template(message), expected);
        }
        assert_eq!(fingerprint("user 1 is gone"), fingerprint("user 22 is gone"));
        assert_ne!(fingerprint("user 1 is gone"), fingerprint("user 1 is back"));
        assert_eq!(fingerprint("x").len(), 40);
    }

    #[test]
    fn uuids_follow_from_all_parts() {
        let uuid_of = |parts: &[&[u8]]| uuid(parts);
        let one = uuid_of(&[b"ab", b"c"]);
        assert_eq!(one, uuid_of(&[b"ab", b"c"]));
        assert_ne!(one, uuid_of(&[b"a", b"bc"]));
        assert_eq!((one.len(), &one[14..15]), (36, "8"));
    }

    proptest! {
        #[test]
        fn any_message_has_a_template(message: String) {
            prop_assert!(template(&message).len() <= message.len().max(1));
        }
    }
}
