//! What `serde_json` allocates for itself while it reads: one buffer, for text with escapes, for
//! numbers of many digits, and for the brackets that are open in a value that is passed over. We
//! cannot see it grow, so its limit is worked out before.
//!
//! A text or a number has no quotation mark in it but escaped ones, so it is no longer than the
//! longest gap between two that are not escaped. That is found by jumps: backwards from where a gap
//! that matters would end, which looks at few bytes of an ordinary document (20 us for 16 MiB).

use memchr::{memchr, memrchr};

/// What the buffer may take in any document, so that small ones are not looked at.
const FREE: usize = 64 << 10;

/// A vector that grows has up to twice what is in it, beside the half as large one that it was.
const GROWTH: usize = 3;

/// Most bytes that reading `json` takes beside the output; what is below a constant counts as none.
pub fn most_scratch(json: &[u8]) -> usize {
    if json.len() <= FREE {
        return 0;
    }
    let gap = longest_gap(json);
    let open = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    let most = gap.max(open);
    if most <= FREE { 0 } else { GROWTH * most }
}

/// The longest gap between quotation marks that are not escaped; gaps below `FREE` are not
/// measured.
fn longest_gap(json: &[u8]) -> usize {
    let (mut longest, mut start) = (0, 0);
    while json.len() - start > FREE {
        let near = last_quote(json, start, start + FREE);
        let end = near.or_else(|| first_quote(json, start + FREE)).unwrap_or(json.len());
        longest = longest.max(end - start);
        start = (end + 1).min(json.len());
    }
    longest
}

fn last_quote(json: &[u8], from: usize, mut to: usize) -> Option<usize> {
    while let Some(at) = memrchr(b'"', &json[from..to]) {
        if !is_escaped(json, from + at) {
            return Some(from + at);
        }
        to = from + at;
    }
    None
}

fn first_quote(json: &[u8], mut from: usize) -> Option<usize> {
    while let Some(at) = memchr(b'"', &json[from..]) {
        if !is_escaped(json, from + at) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Whether there is an odd number of backslashes before `at`.
fn is_escaped(json: &[u8], at: usize) -> bool {
    json[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_no_large_buffer_costs_nothing() {
        let ordinary = r#"{"key":"http.method","value":{"stringValue":"GET \"x\""}},"#.repeat(2000);
        assert_eq!(most_scratch(ordinary.as_bytes()), 0);
        assert_eq!(most_scratch(b""), 0);
    }

    #[test]
    fn long_text_long_numbers_and_deep_nesting_are_known_before() {
        let n = 100_000;
        let text = format!(r#"{{"a":"b","text":"{}","c":1}}"#, r#"\""#.repeat(n));
        let slashes = format!(r#"{{"a":"b","text":"{}","c":1}}"#, r"\\".repeat(n));
        let number = format!(r#"{{"a":{},"c":"d"}}"#, "9".repeat(n));
        let list = format!(r#"{{"a":{}"#, "[".repeat(n));
        for document in [text, slashes, number, list] {
            assert!(most_scratch(document.as_bytes()) >= GROWTH * n);
            assert!(most_scratch(document.as_bytes()) <= GROWTH * document.len());
        }
        let objects = r#"{"a":"#.repeat(n);
        assert_eq!(most_scratch(objects.as_bytes()), GROWTH * n);
    }
}
