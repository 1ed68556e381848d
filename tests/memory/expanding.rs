//! Requests that are built to expand, for the tests that count what is allocated.

use skep::otlp::{Signal, wire::put_bytes};

/// Messages of one number after each other.
pub(crate) fn repeated(number: u32, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        put_bytes(&mut out, number, &message);
    }
    out
}

pub(crate) fn field(number: u32, content: &[u8]) -> Vec<u8> {
    repeated(number, [content.to_vec()])
}

pub(crate) fn text_attribute(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
}

/// One item: fields of its attributes, and an id for its trace.
pub(crate) fn item(signal: Signal, id: u64, attributes: &[Vec<u8>]) -> Vec<u8> {
    let list = |number| repeated(number, attributes.iter().cloned());
    let trace = |number| field(number, &u128::from(id).to_be_bytes());
    match signal {
        Signal::Traces if id > 0 => [trace(1), list(9)].concat(),
        Signal::Logs if id > 0 => [trace(9), list(6)].concat(),
        Signal::Traces => list(9),
        Signal::Logs => list(6),
        Signal::Metrics => field(5, &field(1, &list(7))),
    }
}

pub(crate) fn request(
    resource: &[u8],
    scope: &[u8],
    items: impl IntoIterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let scope = [field(1, scope), repeated(2, items)].concat();
    field(1, &[field(1, resource), field(2, &scope)].concat())
}

/// Requests that are built to expand, with a part of the items that the longest have.
pub(crate) fn requests(signal: Signal, part: usize) -> Vec<(&'static str, Vec<u8>)> {
    let large = field(1, &text_attribute("large", &"x".repeat(500_000)));
    let empty = |count| std::iter::repeat_n(item(signal, 0, &[]), count / part);
    let traces = |count: u64| (1..count).map(move |id| item(signal, id, &[]));
    let value = "x".repeat(1 << 20);
    let many: Vec<_> = (0..50_000).map(|_| text_attribute("", "")).collect();
    let keys: Vec<_> = (0..50).map(|i| text_attribute(&format!("{i:0>9999}"), "v")).collect();
    let deep = (0..30).fold(field(1, value.as_bytes()), |value, _| {
        field(6, &field(1, &[field(1, b"k"), field(2, &value)].concat()))
    });
    let deep = [field(1, b"url"), field(2, &deep)].concat();
    let scopes = repeated(2, std::iter::repeat_n(field(2, &item(signal, 0, &[])), 30_000 / part));
    let parts =
        repeated(1, std::iter::repeat_n(field(1, &text_attribute("k", "v")), 20_000 / part));
    vec![
        ("a hundred thousand empty items", request(&[], &[], empty(100_000))),
        ("tiny traces", request(&[], &[], traces(30_000))),
        ("a large resource and tiny items", request(&large, &[], traces(20_000))),
        ("a large scope and tiny items", request(&[], &large, empty(20_000))),
        (
            "many resources",
            repeated(1, (0..30_000 / part).map(|_| request(&[], &[], empty(1))[2..].to_vec())),
        ),
        ("many empty resources", repeated(1, std::iter::repeat_n(Vec::new(), 100_000 / part))),
        ("many scopes", field(1, &scopes)),
        ("a resource in many parts", field(1, &[parts, scopes.clone()].concat())),
        ("a large value", request(&[], &[], [item(signal, 1, &[text_attribute("url", &value)])])),
        ("a deep value", request(&[], &[], [item(signal, 1, &[deep])])),
        ("many attributes", request(&[], &[], [item(signal, 1, &many)])),
        ("long keys", request(&[], &[], std::iter::repeat_n(item(signal, 1, &keys), 10))),
    ]
}

/// The settings of the examples in the header of a component, and others of it: name and settings.
pub(crate) fn settings(name: &str, source: &str, others: &[(&str, &str)]) -> Vec<String> {
    let header = source.lines().take_while(|line| line.starts_with("//!"));
    let text: Vec<&str> = header.map(|line| line.strip_prefix("//! ").unwrap_or("")).collect();
    let text = text.join("\n");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let own = others.iter().filter(|(of, _)| *of == name);
    let own = own.map(|(_, settings)| format!("{name}: {settings}"));
    blocks.map(str::to_owned).chain(own).collect()
}
