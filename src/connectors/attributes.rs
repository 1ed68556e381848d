//! Attributes that connectors look up: several at once in one walk, values unread.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::otlp::{
    attribute::{key_value, usual},
    digest::scalar,
    record::Record,
    schema, text,
    view::Value,
    wire::{FieldValue, Fields, put_bytes},
};

/// Longest value of an attribute of a metric, in bytes, and longest name of a span. A value above
/// it is as if it were absent, a name is cut: keys of series are copied, and nobody reads such
/// ones.
pub(super) const LONGEST: usize = 4096;

/// Keys that are looked up together.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    keys: Vec<Box<[u8]>>,
    /// Longest value in bytes; of a longer one it is as if it were absent.
    longest: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { keys: Vec::new(), longest: LONGEST }
    }
}

/// The `AnyValue` of each key, if there is one; of several of one key the first counts, as
/// everywhere in the Collector.
pub(super) type Values<'a> = SmallVec<[Option<Cow<'a, [u8]>>; 8]>;

/// The same where they are read.
pub(super) type Found<'a> = [Option<Cow<'a, [u8]>>];

impl Wanted {
    /// The same for values of any length.
    pub(super) fn of_any_length(self) -> Self {
        Wanted { longest: usize::MAX, ..self }
    }

    /// Adds a key, unless it is there, and returns its position.
    pub(super) fn add(&mut self, key: &str) -> usize {
        let known = self.keys.iter().position(|known| **known == *key.as_bytes());
        known.unwrap_or_else(|| {
            self.keys.push(key.as_bytes().into());
            self.keys.len() - 1
        })
    }

    /// A place for each value.
    pub(super) fn none<'a>(&self) -> Values<'a> {
        SmallVec::from_elem(None, self.keys.len())
    }

    /// Keeps the value of an attribute, a `KeyValue` message, if it is wanted.
    #[inline]
    pub(super) fn note<'a>(&self, attribute: &'a [u8], values: &mut Values<'a>) {
        let Some((key, any)) = usual(attribute) else {
            return self.note_unusual(attribute, values);
        };
        for (wanted, value) in self.keys.iter().zip(values) {
            if **wanted == *key {
                if value.is_none() && any.len() <= self.longest {
                    *value = Some(Cow::Borrowed(any));
                }
                return;
            }
        }
    }

    #[cold]
    fn note_unusual<'a>(&self, attribute: &'a [u8], values: &mut Values<'a>) {
        let (key, any) = key_value(attribute);
        let at = self.keys.iter().position(|wanted| **wanted == *key);
        if let Some(value) = at.and_then(|at| values.get_mut(at))
            && value.is_none()
            && any.len() <= self.longest
        {
            *value = Some(any);
        }
    }

    /// The values among the attributes in the fields `number` of a message, which may be in several
    /// parts.
    pub(super) fn among<'a>(&self, parts: &[&'a [u8]], number: u32) -> Values<'a> {
        let mut values = self.none();
        for attribute in parts.iter().flat_map(|part| contents(part, number)) {
            self.note(attribute, &mut values);
        }
        values
    }
}

/// The contents of the message fields of a number.
pub(super) fn contents(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(message).map_while(Result::ok);
    fields.filter_map(move |field| match field.value {
        FieldValue::Len(content) if field.number == number => Some(content),
        _ => None,
    })
}

/// A text, cut to the longest name.
pub(super) fn cut(text: &[u8]) -> &[u8] {
    let Some(mut end) = (text.len() > LONGEST).then_some(LONGEST) else { return text };
    // Not within a character.
    while end > 0 && text[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

/// An `AnyValue` of a text.
pub(super) fn any_text(text: &[u8]) -> Vec<u8> {
    let mut any = Vec::with_capacity(text.len() + 6);
    put_bytes(&mut any, 1, text);
    any
}

/// A value as the text that it is in the Collector.
pub(super) fn plain_text(any: &[u8]) -> Cow<'_, [u8]> {
    if let Some(Value::String(text)) = scalar(any) {
        Cow::Borrowed(text.0)
    } else {
        let record = Record::read(&schema::ANY_VALUE, any);
        Cow::Owned(text::plain(Some(&record)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_each_key_is_found_in_any_form() {
        let mut wanted = Wanted::default();
        assert_eq!(
            (wanted.add("a"), wanted.add("b"), wanted.add("a"), wanted.add("c")),
            (0, 1, 0, 2)
        );
        let mut message = Vec::new();
        // `a` in the usual form, twice; `b` with its value first, in two parts.
        put_bytes(&mut message, 9, &[&[0x0A, 1, b'a', 0x12, 3][..], &any_text(b"x")].concat());
        put_bytes(&mut message, 9, &[&[0x0A, 1, b'a', 0x12, 3][..], &any_text(b"y")].concat());
        put_bytes(&mut message, 9, &[0x12, 2, 0x18, 5, 0x12, 2, 0x18, 6, 0x0A, 1, b'b']);
        let values = wanted.among(&[&message], 9);
        let texts: Vec<_> = values
            .iter()
            .map(|value| value.as_deref().map(|any| plain_text(any).into_owned()))
            .collect();
        assert_eq!(texts, [Some(b"x".to_vec()), Some(b"6".to_vec()), None]);
    }

    #[test]
    fn long_values_are_left_out_and_long_names_are_cut() {
        let mut wanted = Wanted::default();
        wanted.add("a");
        for (len, is_there) in [(LONGEST - 3, true), (LONGEST - 2, false)] {
            let any = any_text(&vec![b'x'; len]);
            let mut attribute = vec![0x0A, 1, b'a'];
            put_bytes(&mut attribute, 2, &any);
            let mut message = Vec::new();
            put_bytes(&mut message, 9, &attribute);
            assert_eq!(wanted.among(&[&message], 9)[0].is_some(), is_there, "{len}");
            let all = wanted.clone().of_any_length();
            assert!(all.among(&[&message], 9)[0].is_some());
        }
        let name = "\u{e9}".repeat(LONGEST);
        assert_eq!(cut(name.as_bytes()).len(), LONGEST);
        let name = format!("x{name}");
        assert_eq!(cut(name.as_bytes()).len(), LONGEST - 1);
        assert_eq!(cut(b"short"), b"short");
    }

    #[test]
    fn values_are_written_as_the_collector_does() {
        for (any, text) in [
            (&[0x10, 1][..], "true"),
            (&[0x18, 0xAC, 2], "300"),
            (&[0x21, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F], "1.5"),
            (&[], ""),
            (&[0x3A, 1, b'A'], "QQ=="),
        ] {
            assert_eq!(plain_text(any), text.as_bytes());
        }
    }
}
