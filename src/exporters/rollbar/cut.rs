//! Makes an item shorter when it is too large for Rollbar. Each step is tried on what the step
//! before left, until the item fits:
//!
//! 1. Texts are cut to 4 KiB.
//! 2. Of the frames of each trace, the 10 outermost and the 10 innermost stay.
//! 3. `custom`, `client`, `notifier` and members that Rollbar does not know are left out, and
//!    texts are cut to 512 bytes.
//! 4. `request`, `person` and `server` are left out, and texts are cut to 64 bytes.
//!
//! It works on the JSON itself, without a tree: a tree of a hostile item would take a hundred times
//! its memory. Nesting costs nothing, since nothing here calls itself.

/// What a text that was cut ends with.
const CUT: &[u8] = b"...";

/// Frames that stay at either end.
const FRAMES: usize = 10;

/// Members of the item that the third step keeps, and those that the last one leaves out.
const KNOWN: [&[u8]; 15] = [
    b"uuid",
    b"environment",
    b"level",
    b"timestamp",
    b"code_version",
    b"platform",
    b"language",
    b"framework",
    b"context",
    b"title",
    b"fingerprint",
    b"body",
    b"request",
    b"person",
    b"server",
];
const ESSENTIAL: usize = 12;

/// Makes an item smaller.
type Step = fn(&[u8]) -> Vec<u8>;

/// The item with at most `most` bytes; `None` if no step is enough. `item` is valid JSON.
pub(super) fn to_fit(item: Vec<u8>, most: usize) -> Option<Vec<u8>> {
    let steps: [Step; 4] = [
        |json| short_texts(json, 4096),
        few_frames,
        |json| short_texts(&only(json, &KNOWN), 512),
        |json| short_texts(&only(json, &KNOWN[..ESSENTIAL]), 64),
    ];
    let mut item = item;
    for step in steps {
        if item.len() <= most {
            return Some(item);
        }
        item = step(&item);
    }
    (item.len() <= most).then_some(item)
}

/// Copies JSON with each text of more than `most` bytes cut. Names of members stay.
fn short_texts(json: &[u8], most: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        if json[at] != b'"' {
            out.push(json[at]);
            at += 1;
            continue;
        }
        let end = end_of_text(json, at);
        let is_name = json[end..].trim_ascii_start().starts_with(b":");
        if is_name || end - at - 2 <= most {
            out.extend_from_slice(&json[at..end]);
        } else {
            let keep = boundary(&json[at + 1..end - 1], most);
            out.extend_from_slice(&json[at..=at + keep]);
            out.extend_from_slice(CUT);
            out.push(b'"');
        }
        at = end;
    }
    out
}

/// Copies JSON without the middle of each list `frames`.
fn few_frames(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        if json[at] != b'"' {
            out.push(json[at]);
            at += 1;
            continue;
        }
        let end = end_of_text(json, at);
        out.extend_from_slice(&json[at..end]);
        let is_frames = &json[at..end] == b"\"frames\"";
        at = end;
        let Some(list) = list_after(json, at).filter(|_| is_frames) else { continue };
        out.extend_from_slice(&json[at..=list]);
        let frames = values(json, list);
        let end = frames.last().map_or(list + 1, |(_, end)| *end);
        let (head, tail) = match frames.len() {
            0..=20 => (&frames[..], &frames[..0]),
            len => (&frames[..FRAMES], &frames[len - FRAMES..]),
        };
        for (number, (start, stop)) in head.iter().chain(tail).enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&json[*start..*stop]);
        }
        at = end;
    }
    out
}

/// Copies an object with the members that are among `names`.
fn only(json: &[u8], names: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    out.push(b'{');
    let mut at = 1;
    while let Some(from) = json[at..].iter().position(|byte| *byte == b'"').map(|len| at + len) {
        let end = end_of_text(json, from);
        let colon = json[end..].iter().position(|byte| *byte == b':').map_or(end, |len| end + len);
        let value_end = end_of_value(json, colon + 1);
        if names.contains(&&json[from + 1..end - 1]) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&json[from..value_end]);
        }
        at = value_end;
    }
    out.push(b'}');
    out
}

/// Where the list begins that follows a name, if it is one.
fn list_after(json: &[u8], at: usize) -> Option<usize> {
    let blank = |from: usize| json[from..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    let colon = at + blank(at);
    if json.get(colon) != Some(&b':') {
        return None;
    }
    let list = colon + 1 + blank(colon + 1);
    (json.get(list) == Some(&b'[')).then_some(list)
}

/// The places of the values of a list that begins at `at`.
fn values(json: &[u8], at: usize) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut at = at + 1;
    loop {
        let is_between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        at += json[at..].iter().take_while(|byte| is_between(byte)).count();
        if matches!(json.get(at), None | Some(b']')) {
            return all;
        }
        let end = end_of_value(json, at);
        all.push((at, end));
        at = end;
    }
}

/// Where the value ends that begins at `at`, maybe after blanks.
fn end_of_value(json: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = at + json[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    while at < json.len() {
        match json[at] {
            b'"' => {
                at = end_of_text(json, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

/// Where the text ends that begins at `at`, with its quotes.
fn end_of_text(json: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', json.get(end..).unwrap_or_default()) {
        end += found;
        if json[end] == b'"' {
            return end + 1;
        }
        end += 2;
    }
    json.len()
}

/// The last place up to `most` that is not inside of a character or its escape.
fn boundary(text: &[u8], most: usize) -> usize {
    let mut end = 0;
    loop {
        let len = match &text[end..] {
            // The halves of a surrogate pair belong together.
            [b'\\', b'u', b'd' | b'D', b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B', ..] => 12,
            [b'\\', b'u', ..] => 6,
            [0xF0..=0xFF, ..] => 4,
            [0xE0..=0xEF, ..] => 3,
            [b'\\' | 0xC0..=0xDF, ..] => 2,
            [] => return end,
            _ => 1,
        };
        if end + len > most {
            return end;
        }
        end += len;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn cut(value: &Value, most: usize) -> Option<Value> {
        let item = to_fit(serde_json::to_vec(value).unwrap(), most)?;
        assert!(item.len() <= most);
        Some(serde_json::from_slice(&item).unwrap())
    }

    fn item(frames: usize, text: usize) -> Value {
        let frame = |line| json!({"filename": "a.py", "lineno": line, "locals": {"x": "]}\","}});
        let frames: Vec<Value> = (0..frames).map(frame).collect();
        json!({
            "body": {"trace": {"frames": frames, "exception": {"class": "E", "message": "m".repeat(text)}}},
            "custom": {"a": "b".repeat(text)}, "level": "error", "person": {"id": "ann"}, "unknown": 1,
        })
    }

    #[test]
    fn what_fits_stays() {
        let item = item(30, 100);
        assert_eq!(cut(&item, 1 << 20).unwrap(), item);
    }

    #[test]
    fn items_are_cut_in_the_documented_order() {
        let texts = cut(&item(30, 10_000), 12_000).unwrap();
        assert_eq!(texts["body"]["trace"]["frames"].as_array().unwrap().len(), 30);
        assert_eq!(texts["custom"]["a"].as_str().unwrap().len(), 4096 + CUT.len());

        let frames = cut(&item(3000, 10), 12_000).unwrap();
        let lines: Vec<i64> = frames["body"]["trace"]["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(|frame| frame["lineno"].as_i64().unwrap())
            .collect();
        assert_eq!(lines, (0..10).chain(2990..3000).collect::<Vec<_>>());
        assert_eq!(frames["custom"]["a"], "bbbbbbbbbb");

        let known = cut(&item(5, 3000), 2000).unwrap();
        assert_eq!((&known["custom"], &known["unknown"]), (&Value::Null, &Value::Null));
        assert_eq!(known["person"]["id"], "ann");

        let least = cut(&item(5, 3000), 700).unwrap();
        assert_eq!((&least["person"], &least["level"]), (&Value::Null, &json!("error")));
        assert_eq!(cut(&item(5, 3000), 50), None);
    }

    #[test]
    fn deep_nesting_is_no_problem() {
        let deep = format!(
            "{{\"custom\":{}{},\"level\":\"error\"}}",
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        assert_eq!(to_fit(deep.into_bytes(), 100).unwrap(), b"{\"level\":\"error\"}");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|number| json!(number)),
            "\\PC{0,90}".prop_map(|text| json!(text)),
            "[\\\\\"\u{1}-\u{20}\u{1F600}]{0,90}".prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("frames|body|[a\"\\\\]{1,3}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_cut_is_still_json(values in prop::collection::vec(value(), 0..30), most in 0_usize..200) {
            let item = json!({"body": {"frames": values}, "custom": values});
            let bytes = serde_json::to_vec(&item).unwrap();
            for made in [short_texts(&bytes, most), few_frames(&bytes), only(&bytes, &KNOWN)] {
                prop_assert!(serde_json::from_slice::<Value>(&made).is_ok(), "{}", String::from_utf8_lossy(&made));
            }
        }
    }
}
