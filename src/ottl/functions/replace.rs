//! Editors that replace text.

use std::{borrow::Cow, ops::Range};

use super::{
    super::{
        arguments::made,
        entries::Entries,
        fault::{Fault, What},
        item::Item,
        node::{Argument, Call, Eval},
        rescan::Reading,
        syntax::Span,
        types::Types,
        value::{Map, Value, elements, key_value, put_entry},
    },
    Compiled, Function, Parameter, Special, Takes,
    edit::{Fate, each_entry, push},
    editor, optional, parameter, regex, value,
};

/// Largest text that a replacement makes, in bytes.
pub(super) const LARGEST: usize = 16 << 20;

const TEXT: Types = Types::TEXT;
const MAP: Parameter = parameter("target", Takes::Path(Types::MAP));
const FUNCTION: Parameter = optional("function", Takes::Function);
const FORMAT: Parameter = optional("replacement_format", Takes::Value(TEXT));

pub(crate) const FUNCTIONS: &[Function] = &[
    editor(
        "replace_pattern",
        &[
            parameter("target", Takes::Path(Types::ALL)),
            parameter("regex", Takes::Regex),
            value("replacement", TEXT),
            FUNCTION,
            FORMAT,
        ],
        replace_pattern,
        "Replaces what a regular expression matches in a text. `$1` is a group of the match.",
    ),
    editor(
        "replace_match",
        &[
            parameter("target", Takes::Path(Types::ALL)),
            parameter("pattern", Takes::Glob),
            value("replacement", TEXT),
            FUNCTION,
            FORMAT,
        ],
        replace_match,
        "Replaces a whole text that a glob matches.",
    ),
    editor(
        "replace_all_matches",
        &[MAP, parameter("pattern", Takes::Glob), value("replacement", TEXT), FUNCTION, FORMAT],
        replace_all_matches,
        "Replaces the texts in a map that a glob matches.",
    ),
    editor(
        "replace_all_patterns",
        &[
            MAP,
            parameter("mode", Takes::OneOf(&["key", "value"])),
            parameter("regex", Takes::Regex),
            value("replacement", TEXT),
            FUNCTION,
            FORMAT,
        ],
        replace_all_patterns,
        "Replaces what a regular expression matches in the keys or in the texts of a map.",
    ),
    editor(
        "sanitize_utf8",
        &[
            parameter("target", Takes::Path(Types::ANY)),
            optional("replacement", Takes::Value(TEXT)),
        ],
        sanitize_utf8,
        "Replaces what is not UTF-8 in texts, also inside of maps and lists.",
    ),
];

const READS_ON: &str = "the regular expression reads far behind each match again and again";

/// An expression that matches the empty text does so between characters, as in Go.
fn is_inside_character(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80)
}

/// What comes in place of a match.
struct Replacement<'c> {
    text: Vec<u8>,
    function: Option<&'static Function>,
    /// Around what the function returned.
    format: Option<Vec<u8>>,
    call: &'c Call,
}

impl<'c> Replacement<'c> {
    /// Reads the arguments from position `at` on.
    fn new(call: &'c Call, eval: Eval<'_>, at: usize) -> Result<Self, Fault> {
        let format =
            if call.has(at + 2) { Some(call.text(eval, at + 2)?.into_owned()) } else { None };
        let text = call.text(eval, at)?.into_owned();
        Ok(Replacement { text, function: call.function(at + 1), format, call })
    }

    /// The text of one match.
    fn finish<'t>(&self, text: Cow<'t, [u8]>) -> Result<Cow<'t, [u8]>, Fault> {
        let Some(function) = self.function else { return Ok(text) };
        let result = apply(function, text.into_owned(), self.call.span)?;
        let Some(format) = &self.format else { return Ok(result.into()) };
        let at = format.windows(2).position(|pair| pair == b"%s");
        let is_one = format.windows(2).filter(|pair| *pair == b"%s").count() == 1;
        match at {
            Some(at) if is_one => Ok([&format[..at], &result, &format[at + 2..]].concat().into()),
            _ => Err(What::text("replacement_format must have exactly one `%s`").into()),
        }
    }

    /// A text with all matches replaced; `None` if there is no match.
    fn all(&self, regex: &Compiled<'_>, text: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let mut pass = Pass::new(regex, text);
        // Without groups, a match is its place. That takes half the time.
        if self.text.contains(&b'$') {
            for captures in regex.captures_iter(text) {
                let Some(whole) = captures.get(0) else { continue };
                pass.replace(whole.range(), || {
                    let mut new = Vec::new();
                    captures.expand(&self.text, &mut new);
                    self.finish(new.into())
                })?;
            }
        } else {
            for found in regex.find_iter(text) {
                pass.replace(found.range(), || self.finish(Cow::Borrowed(&*self.text)))?;
            }
        }
        Ok(pass.finish())
    }

    /// What replaces a whole text.
    fn whole(&self) -> Result<Vec<u8>, Fault> {
        self.finish(Cow::Borrowed(&*self.text)).map(Cow::into_owned)
    }
}

/// A pass through a text, whose matches are replaced.
struct Pass<'t> {
    text: &'t [u8],
    reading: Reading<'t>,
    out: Vec<u8>,
    /// Up to where the text was copied.
    at: usize,
    is_changed: bool,
}

impl<'t> Pass<'t> {
    fn new(regex: &'t Compiled<'_>, text: &'t [u8]) -> Self {
        let reading = Reading::new(regex, regex.rescans(), text);
        Pass { text, reading, out: Vec::new(), at: 0, is_changed: false }
    }

    fn replace<'n>(
        &mut self,
        found: Range<usize>,
        new: impl FnOnce() -> Result<Cow<'n, [u8]>, Fault>,
    ) -> Result<(), Fault> {
        if !self.reading.goes_on(self.at, found.end) {
            return Err(What::text(READS_ON).into());
        }
        if found.is_empty() && is_inside_character(self.text, found.start) {
            return Ok(());
        }
        self.out.extend_from_slice(&self.text[self.at..found.start]);
        self.out.extend_from_slice(&new()?);
        self.at = found.end;
        self.is_changed = true;
        if self.out.len() > LARGEST { Err(What::TooLarge.into()) } else { Ok(()) }
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        self.out.extend_from_slice(&self.text[self.at..]);
        self.is_changed.then_some(self.out)
    }
}

/// Calls a converter with one text.
fn apply(function: &'static Function, text: Vec<u8>, span: Span) -> Result<Vec<u8>, Fault> {
    let argument = super::super::node::Node::Constant(made(text));
    let arguments = vec![Argument::Value(argument, span)];
    let call = Call { function, arguments, prepared: Special::None, span };
    let item = Item::new(None);
    let result = call.convert(Eval::new(&item))?;
    Ok(super::super::text::like(result).unwrap_or_default().into_owned())
}

fn replace_pattern(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let Value::Text(text) = call.value(eval, 0)? else { return Ok(()) };
    let regex = regex(call, eval, 1)?;
    let replaced = Replacement::new(call, eval, 2)?.all(&regex, &text)?;
    match replaced {
        Some(text) => call.set(item, &made(text)),
        None => Ok(()),
    }
}

fn replace_match(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let Value::Text(text) = call.value(eval, 0)? else { return Ok(()) };
    if !regex(call, eval, 1)?.is_match(&text) {
        return Ok(());
    }
    let new = made(Replacement::new(call, eval, 2)?.whole()?);
    call.set(item, &new)
}

fn replace_all_matches(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let glob = regex(call, eval, 1)?;
    let new = Replacement::new(call, eval, 2)?.whole()?;
    each_entry(call, item, |_, any| match Value::read(any) {
        Value::Text(text) if glob.is_match(&text) => Fate::Replace(made(new.clone())),
        _ => Fate::Keep,
    })
}

fn replace_all_patterns(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let regex = regex(call, eval, 2)?;
    let replacement = Replacement::new(call, eval, 3)?;
    if *call.text(eval, 1)? == *b"key" {
        return replace_keys(call, item, &regex, &replacement);
    }
    let mut failed = None;
    each_entry(call, item, |_, any| {
        let Value::Text(text) = Value::read(any) else { return Fate::Keep };
        match replacement.all(&regex, &text) {
            Ok(Some(new)) => Fate::Replace(made(new)),
            Ok(None) => Fate::Keep,
            Err(fault) => {
                failed.get_or_insert(fault);
                Fate::Keep
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// Renames keys; of two that get one name the later value wins.
fn replace_keys(
    call: &Call,
    item: &mut Item<'_>,
    regex: &Compiled<'_>,
    replacement: &Replacement<'_>,
) -> Result<(), Fault> {
    let map = call.map(Eval::new(item), 0)?;
    if !map.entries().any(|(key, _)| regex.is_match(key)) {
        return Ok(());
    }
    let mut entries = Entries::default();
    for (key, any) in map.entries() {
        let key = replacement.all(regex, key)?.unwrap_or_else(|| key.to_vec());
        entries.put_bytes(key, any);
    }
    call.set(item, &entries.into_value())
}

fn sanitize_utf8(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let replacement = call.text_or(eval, 1, "\u{fffd}")?;
    let old = call.value(eval, 0)?;
    let new = sanitized(&old, &replacement)?;
    call.set(item, &new)
}

fn sanitized_text(text: &[u8], replacement: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in text.utf8_chunks() {
        out.extend(chunk.valid().bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(replacement);
        }
    }
    out
}

fn sanitized(value: &Value<'_>, replacement: &[u8]) -> Result<Value<'static>, Fault> {
    Ok(match value {
        Value::Text(text) => made(sanitized_text(text, replacement)),
        Value::List(list) => {
            let mut new = Vec::new();
            for any in elements(list) {
                push(&mut new, &sanitized(&Value::read(any), replacement)?)?;
            }
            Value::List(Cow::Owned(new))
        }
        Value::Map(map) => {
            let mut new = Vec::new();
            for field in super::super::wire::fields(&map.bytes) {
                let Some(entry) = super::super::value::content(&field, map.number) else {
                    continue;
                };
                let (key, any) = key_value(entry);
                let value = sanitized(&Value::read(&any), replacement)?;
                put_entry(&mut new, 1, &sanitized_text(key, replacement), &value);
            }
            Value::Map(Map::made(new))
        }
        other => other.clone().into_owned(),
    })
}
