//! Converters of the formats of log lines: CEF, LEEF, and the common and extended formats of web
//! servers.

use super::{
    super::{
        entries::Entries,
        fault::{Fault, What},
        node::{Call, Eval},
        types::Types,
        value::Value,
    },
    Function, Takes, converter, optional, value,
};

const TARGET: &[super::Parameter] = &[value("target", Types::TEXT)];

pub(crate) const FUNCTIONS: &[Function] = &[
    converter("ParseCEF", TARGET, Types::MAP, parse_cef, "A map of a line in the format CEF."),
    converter("ParseLEEF", TARGET, Types::MAP, parse_leef, "A map of a line in the format LEEF."),
    converter(
        "ParseCLF",
        &[value("target", Types::TEXT), optional("format", Takes::OneOf(&["clf", "combined"]))],
        Types::MAP,
        parse_clf,
        "A map of a line in the common or combined log format of web servers.",
    ),
    converter(
        "ParseELF",
        TARGET,
        Types::MAP,
        parse_elf,
        "A map of a line in the extended log format, with its `#Fields` line before it.",
    ),
];

fn broken(format: &str) -> Fault {
    What::owned(format!("the text is not in the format {format}")).into()
}

/// The parts of a header between unescaped bars, at most `limit`; the last one is the rest.
fn header(text: &str, limit: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                if let (Some((_, next)), Some(last)) = (chars.next(), parts.last_mut()) {
                    last.push(next);
                }
            }
            '|' if parts.len() + 1 == limit => {
                parts.push(text[at + 1..].to_owned());
                return parts;
            }
            '|' => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|last| last.push(c)),
        }
    }
    parts
}

fn parse_cef<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let start = text.find("CEF:").ok_or_else(|| broken("CEF"))?;
    let parts = header(&text[start + 4..], 8);
    if parts.len() < 7 {
        return Err(broken("CEF"));
    }
    let names = [
        "cef.version",
        "cef.device.vendor",
        "cef.device.product",
        "cef.device.version",
        "cef.device.event_class_id",
        "cef.name",
        "cef.severity",
    ];
    let mut entries = Entries::default();
    for (name, part) in names.iter().zip(&parts) {
        entries.put_text(*name, part.trim());
    }
    if let Some(extensions) = parts.get(7) {
        for (key, value) in spaced_pairs(extensions) {
            entries.put_text(format!("cef.extensions.{key}"), value);
        }
    }
    Ok(entries.into_value())
}

/// `key=value with blanks other=value`: a key is the word before an unescaped `=`.
fn spaced_pairs(text: &str) -> Vec<(String, String)> {
    let bytes = text.as_bytes();
    let mut starts = Vec::new();
    for (at, c) in bytes.iter().enumerate() {
        if *c == b'=' && (at == 0 || bytes[at - 1] != b'\\') {
            let from = text[..at].rfind(' ').map_or(0, |blank| blank + 1);
            if from < at {
                starts.push((from, at));
            }
        }
    }
    let mut pairs = Vec::new();
    for (i, (from, at)) in starts.iter().enumerate() {
        let end = starts.get(i + 1).map_or(text.len(), |(next, _)| *next);
        let value = text[*at + 1..end.max(*at + 1)].trim_end();
        let value = value.replace("\\=", "=").replace("\\n", "\n").replace("\\\\", "\\");
        pairs.push((text[*from..*at].to_owned(), value));
    }
    pairs
}

fn parse_leef<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let start = text.find("LEEF:").ok_or_else(|| broken("LEEF"))?;
    let text = &text[start + 5..];
    let is_second = text.starts_with("2.0|");
    let parts = header(text, if is_second { 7 } else { 6 });
    if parts.len() < 5 {
        return Err(broken("LEEF"));
    }
    let names = [
        "leef.version",
        "leef.vendor",
        "leef.product.name",
        "leef.product.version",
        "leef.event.id",
    ];
    let mut entries = Entries::default();
    for (name, part) in names.iter().zip(&parts) {
        entries.put_text(*name, part.trim());
    }
    let (delimiter, attributes) = match (is_second, &parts[5..]) {
        (true, [delimiter, rest]) => (leef_delimiter(delimiter), rest.as_str()),
        (_, [rest]) => ('\t', rest.as_str()),
        _ => ('\t', ""),
    };
    for pair in attributes.split(delimiter).filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| broken("LEEF"))?;
        entries.put_text(format!("leef.attributes.{}", key.trim()), value.trim());
    }
    Ok(entries.into_value())
}

/// A character, or its code in hexadecimal digits: `^`, `x09`.
fn leef_delimiter(text: &str) -> char {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix('x'));
    let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    code.and_then(char::from_u32).or_else(|| text.chars().next()).unwrap_or('\t')
}

/// The fields of a web server's line: words, `[...]` and `"..."`.
fn web_fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let close = match rest.as_bytes()[0] {
            b'[' => Some(']'),
            b'"' => Some('"'),
            _ => None,
        };
        let (field, len) = if let Some(close) = close {
            let inner = &rest[1..];
            let mut is_escaped = false;
            let end = inner.char_indices().find(|(_, c)| {
                let found = *c == close && !is_escaped;
                is_escaped = *c == '\\' && !is_escaped;
                found
            })?;
            (&inner[..end.0], end.0 + 2)
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            (&rest[..end], end)
        };
        fields.push(field.replace("\\\"", "\""));
        rest = rest[len..].trim_start();
    }
    Some(fields)
}

fn parse_clf<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let is_combined = call.has(1) && *call.text(eval, 1)? == *b"combined";
    let name = if is_combined { "combined" } else { "CLF" };
    let fields = web_fields(&text).ok_or_else(|| broken(name))?;
    if fields.len() != if is_combined { 9 } else { 7 } {
        return Err(broken(name));
    }
    let mut entries = Entries::default();
    let mut put = |key: &str, value: &str| {
        if value != "-" && !value.is_empty() {
            entries.put_text(format!("clf.{key}"), value);
        }
    };
    put("remote_host", &fields[0]);
    put("rfc931", &fields[1]);
    put("auth_user", &fields[2]);
    put("timestamp", &fields[3]);
    put("request", &fields[4]);
    let mut words = fields[4].splitn(3, ' ');
    put("method", words.next().unwrap_or(""));
    put("request_uri", words.next().unwrap_or(""));
    put("protocol", words.next().unwrap_or(""));
    if is_combined {
        put("referer", &fields[7]);
        put("user_agent", &fields[8]);
    }
    for (key, value) in [("clf.status", &fields[5]), ("clf.bytes", &fields[6])] {
        if value != "-" {
            let number = value.parse().map_err(|_| broken(name))?;
            entries.put(key, &Value::Int(number));
        }
    }
    Ok(entries.into_value())
}

fn parse_elf<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let mut names: Vec<&str> = Vec::new();
    let mut entries = Entries::default();
    let mut has_line = false;
    for line in text.lines() {
        if let Some(fields) = line.strip_prefix("#Fields:") {
            names = fields.split_whitespace().collect();
        } else if let Some(directive) = line.strip_prefix('#') {
            let (key, value) = directive.split_once(':').ok_or_else(|| broken("ELF"))?;
            entries.put_text(format!("elf.{}", key.trim().to_lowercase()), value.trim());
        } else if !line.trim().is_empty() && !has_line {
            let fields = web_fields(line).ok_or_else(|| broken("ELF"))?;
            if names.is_empty() || fields.len() != names.len() {
                return Err(broken("ELF"));
            }
            for (name, field) in names.iter().zip(&fields) {
                if field != "-" {
                    entries.put_text(format!("elf.{name}"), field);
                }
            }
            has_line = true;
        }
    }
    if has_line { Ok(entries.into_value()) } else { Err(broken("ELF")) }
}
