//! Converters of XML.

use super::{
    super::{
        arguments::{made, to_str},
        entries::Entries,
        fault::{Fault, What},
        node::{Call, Eval},
        types::Types,
        value::Value,
        xml::{Element, Part, parse, write, write_element},
    },
    Function, Parameter, Special, Takes, converter, optional, parameter, value,
    xpath::{Selected, XPath, element_at, element_at_mut},
};

const TEXT: Types = Types::TEXT;
const TARGET: Parameter = value("target", TEXT);
const XPATH: Parameter = parameter("xpath", Takes::XPath);

pub(crate) const FUNCTIONS: &[Function] = &[
    converter(
        "ParseXML",
        &[TARGET],
        Types::MAP,
        parse_xml,
        "A map of an XML element: `tag`, `attributes`, `content`, `children`.",
    ),
    converter(
        "ParseSimplifiedXML",
        &[TARGET],
        Types::MAP,
        parse_simplified,
        "A map of the elements of XML by their names; elements that are repeated become lists.",
    ),
    converter("GetXML", &[TARGET, XPATH], TEXT, get_xml, "The parts of XML that an XPath selects."),
    converter(
        "RemoveXML",
        &[TARGET, XPATH],
        TEXT,
        remove_xml,
        "XML without the parts that an XPath selects.",
    ),
    converter(
        "InsertXML",
        &[TARGET, XPATH, value("sub_document", TEXT)],
        TEXT,
        insert_xml,
        "XML with other XML at the end of each element that an XPath selects.",
    ),
    converter(
        "ConvertAttributesToElementsXML",
        &[TARGET, optional("xpath", Takes::XPath)],
        TEXT,
        convert_attributes,
        "XML with elements in place of attributes.",
    ),
    converter(
        "ConvertTextToElementsXML",
        &[TARGET, optional("xpath", Takes::XPath), optional("element_name", Takes::Value(TEXT))],
        TEXT,
        convert_text,
        "XML in which a text beside elements is in an element of its own, `value` by default.",
    ),
];

fn document(call: &Call, eval: Eval<'_>) -> Result<Element, Fault> {
    Ok(parse(&call.str(eval, 0)?).map_err(What::owned)?)
}

/// What the `XPath` of a call selects; all elements if there is none.
fn selected(call: &Call, root: &Element) -> Result<Vec<Selected>, Fault> {
    let found = match call.special(1) {
        Special::XPath(xpath) => xpath.select(root),
        _ => XPath::parse("//*").map_err(What::owned)?.select(root),
    };
    Ok(found.ok_or(What::TooLarge)?)
}

/// The text of what was selected.
pub(super) fn text_of(root: &Element, place: &Selected) -> Option<String> {
    if let Some(element) = element_at(root, &place.path) {
        return Some(match &place.attribute {
            Some(name) => element.attribute(name)?.to_owned(),
            None => element.text(),
        });
    }
    let (last, parent) = place.path.split_last()?;
    match element_at(root, parent)?.children.get(*last)? {
        Part::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn written<'e>(root: &Element) -> Value<'e> {
    let mut out = String::new();
    write(&root.children, &mut out);
    made(out)
}

fn parse_xml<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let root = document(call, eval)?;
    let is_blank = |part: &Part| match part {
        Part::Text(text) => text.trim().is_empty(),
        Part::Other(_) => true,
        Part::Element(_) => false,
    };
    let mut parts = root.children.iter().filter(|part| !is_blank(part));
    match (parts.next(), parts.next()) {
        (Some(Part::Element(element)), None) => Ok(described(element)),
        (Some(Part::Element(_)), Some(_)) => Err(What::text("there is text behind the XML").into()),
        _ => Err(What::text("the text is not an XML element").into()),
    }
}

fn described(element: &Element) -> Value<'static> {
    let mut entries = Entries::default();
    entries.put_text("tag", &element.name);
    if !element.attributes.is_empty() {
        let mut attributes = Entries::default();
        for (name, value) in &element.attributes {
            attributes.put_text(name.as_str(), value);
        }
        entries.put("attributes", &attributes.into_value());
    }
    let text = element.own_text();
    if !text.trim().is_empty() {
        entries.put_text("content", text.trim());
    }
    let children: Vec<Value<'_>> = element.elements().map(described).collect();
    if !children.is_empty() {
        entries.put("children", &Value::list(children));
    }
    entries.into_value()
}

fn parse_simplified<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let root = document(call, eval)?;
    if root.elements().next().is_none() {
        return Err(What::text("the text has no XML element").into());
    }
    Ok(simplified(&root))
}

/// The text of an element without elements, else a map of them.
fn simplified(element: &Element) -> Value<'static> {
    let mut names: Vec<&str> = Vec::new();
    let mut groups: std::collections::HashMap<&str, Vec<Value<'static>>> =
        std::collections::HashMap::new();
    for child in element.elements() {
        let group = groups.entry(&child.name).or_default();
        if group.is_empty() {
            names.push(&child.name);
        }
        group.push(simplified(child));
    }
    if names.is_empty() {
        return made(element.own_text());
    }
    let mut entries = Entries::default();
    for name in names {
        let mut group = groups.remove(name).unwrap_or_default();
        let value = if group.len() == 1 { group.remove(0) } else { Value::list(group) };
        entries.put(name, &value);
    }
    entries.into_value()
}

fn get_xml<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let root = document(call, eval)?;
    let mut out = String::new();
    for place in selected(call, &root)? {
        match element_at(&root, &place.path) {
            Some(element) if place.attribute.is_none() => write_element(element, &mut out),
            _ => out.push_str(&text_of(&root, &place).unwrap_or_default()),
        }
        if out.len() > super::replace::LARGEST {
            return Err(What::TooLarge.into());
        }
    }
    Ok(made(out))
}

fn remove_xml<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let mut root = document(call, eval)?;
    let places = selected(call, &root)?;
    // From the end on, so that positions stay right.
    for place in places.iter().rev() {
        match (&place.attribute, place.path.split_last()) {
            (Some(name), _) => {
                if let Some(element) = element_at_mut(&mut root, &place.path) {
                    element.attributes.retain(|(known, _)| known != name);
                }
            }
            (None, Some((last, parent))) => {
                if let Some(element) = element_at_mut(&mut root, parent)
                    && *last < element.children.len()
                {
                    element.children.remove(*last);
                }
            }
            (None, None) => {}
        }
    }
    Ok(written(&root))
}

fn insert_xml<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let mut root = document(call, eval)?;
    let text = call.str(eval, 2)?;
    let added = parse(&text).map_err(What::owned)?;
    let places = selected(call, &root)?;
    if places.len().saturating_mul(text.len()) > super::replace::LARGEST {
        return Err(What::TooLarge.into());
    }
    for place in places.iter().rev() {
        let element = element_at_mut(&mut root, &place.path).filter(|_| place.attribute.is_none());
        let Some(element) = element else {
            return Err(What::text("the XPath selects something else than an element").into());
        };
        element.children.extend(added.children.iter().cloned());
    }
    Ok(written(&root))
}

fn convert_attributes<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let mut root = document(call, eval)?;
    let places = selected(call, &root)?;
    for place in places {
        let Some(element) = element_at_mut(&mut root, &place.path) else { continue };
        let is_chosen = |name: &str| place.attribute.as_deref().is_none_or(|chosen| chosen == name);
        let (chosen, others) = std::mem::take(&mut element.attributes)
            .into_iter()
            .partition(|(name, _)| is_chosen(name));
        element.attributes = others;
        let chosen: Vec<(String, String)> = chosen;
        for (name, value) in chosen {
            let children = vec![Part::Text(value)];
            element.children.push(Part::Element(Element { children, ..Element::new(name) }));
        }
    }
    Ok(written(&root))
}

fn convert_text<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let mut root = document(call, eval)?;
    let name = to_str(call.text_or(eval, 2, "value")?).into_owned();
    let places = selected(call, &root)?;
    for place in places {
        let Some(element) = element_at_mut(&mut root, &place.path) else { continue };
        if element.elements().next().is_none() {
            continue;
        }
        for part in &mut element.children {
            if let Part::Text(text) = part
                && !text.trim().is_empty()
            {
                let children = vec![Part::Text(text.trim().to_owned())];
                *part = Part::Element(Element { children, ..Element::new(name.as_str()) });
            }
        }
    }
    Ok(written(&root))
}
