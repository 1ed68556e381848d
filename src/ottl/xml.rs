//! XML as a tree that can be edited and written again.

use quick_xml::{Reader, events::Event};

/// Deepest nesting of elements.
const DEPTH: usize = 64;

/// Most attributes of an element. Each is compared with those before it, so without a limit a
/// megabyte of them takes seconds.
const ATTRIBUTES: usize = 1000;

/// A part of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Element(Element),
    Text(String),
    /// A comment, declaration or instruction, as it is written.
    Other(String),
}

/// An element.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Part>,
}

impl Element {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Element { name: name.into(), ..Element::default() }
    }

    /// Its elements in order.
    pub(crate) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|part| match part {
            Part::Element(element) => Some(element),
            _ => None,
        })
    }

    /// Its own text, without that of the elements in it.
    pub(crate) fn own_text(&self) -> String {
        let texts = self.children.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// All text in it.
    pub(crate) fn text(&self) -> String {
        let texts = self.children.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Element(element) => element.text(),
            Part::Other(_) => String::new(),
        });
        texts.collect()
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// Reads a document or a fragment: an element without a name whose children are its parts.
pub(crate) fn parse(text: &str) -> Result<Element, String> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|error| format!("invalid XML: {error}"))?;
        let top = open.len() - 1;
        match event {
            Event::Start(start) => {
                if open.len() > DEPTH {
                    return Err(format!("the XML is nested more than {DEPTH} deep"));
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                let element = element(&start)?;
                open[top].children.push(Part::Element(element));
            }
            Event::End(_) => {
                let Some(element) = open.pop().filter(|_| !open.is_empty()) else {
                    return Err("invalid XML: an end without a start".to_owned());
                };
                let top = open.len() - 1;
                open[top].children.push(Part::Element(element));
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|error| format!("invalid XML: {error}"))?;
                add_text(&mut open[top], &text);
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|error| format!("invalid XML: {error}"))?;
                add_text(&mut open[top], &text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| format!("invalid XML: {error}"))?;
                let resolved = resolve(&name)
                    .ok_or_else(|| format!("invalid XML: unknown reference `&{name};`"))?;
                add_text(&mut open[top], &resolved);
            }
            Event::Comment(text) => add_other(&mut open[top], "<!--", &text, "-->"),
            Event::Decl(text) => add_other(&mut open[top], "<?", &text, "?>"),
            Event::PI(text) => add_other(&mut open[top], "<?", &text, "?>"),
            Event::DocType(text) => add_other(&mut open[top], "<!DOCTYPE ", &text, ">"),
            Event::Eof => break,
        }
    }
    match open.len() {
        1 => Ok(open.remove(0)),
        _ => Err("invalid XML: an element has no end".to_owned()),
    }
}

fn add_other(element: &mut Element, start: &str, text: &[u8], end: &str) {
    let whole = format!("{start}{}{end}", String::from_utf8_lossy(text));
    element.children.push(Part::Other(whole));
}

fn add_text(element: &mut Element, text: &str) {
    match element.children.last_mut() {
        Some(Part::Text(before)) => before.push_str(text),
        _ => element.children.push(Part::Text(text.to_owned())),
    }
}

/// The text of a reference: `lt`, `#65`, `#x41`.
fn resolve(name: &str) -> Option<String> {
    if let Some(code) = name.strip_prefix('#') {
        let code = match code.strip_prefix('x') {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => code.parse().ok()?,
        };
        return char::from_u32(code).map(String::from);
    }
    Some(
        match name {
            "lt" => "<",
            "gt" => ">",
            "amp" => "&",
            "quot" => "\"",
            "apos" => "'",
            _ => return None,
        }
        .to_owned(),
    )
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Result<Element, String> {
    let mut element = Element::new(String::from_utf8_lossy(start.name().as_ref()));
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("invalid XML: {error}"))?;
        if element.attributes.len() == ATTRIBUTES {
            return Err(format!("an element has more than {ATTRIBUTES} attributes"));
        }
        let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        let value = String::from_utf8_lossy(&attribute.value);
        let value =
            quick_xml::escape::unescape(&value).map_err(|error| format!("invalid XML: {error}"))?;
        element.attributes.push((name, value.into_owned()));
    }
    Ok(element)
}

/// Appends some parts as XML.
pub(crate) fn write(parts: &[Part], out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(&quick_xml::escape::partial_escape(text.as_str())),
            Part::Other(text) => out.push_str(text),
            Part::Element(element) => write_element(element, out),
        }
    }
}

/// Appends an element as XML.
pub(crate) fn write_element(element: &Element, out: &mut String) {
    out.push('<');
    out.push_str(&element.name);
    for (name, value) in &element.attributes {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        out.push_str(&quick_xml::escape::escape(value.as_str()));
        out.push('"');
    }
    out.push('>');
    write(&element.children, out);
    out.push_str("</");
    out.push_str(&element.name);
    out.push('>');
}
