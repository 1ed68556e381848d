//! The streams that are in use, and the attributes that their names are made of.

use std::{borrow::Cow, collections::HashSet, sync::Mutex};

use foldhash::fast::RandomState;

use super::batch::Target;
use crate::{
    net::rate_limit::RateLimit,
    otlp::{
        text,
        view::{KeyValue, Resource, Text, Value},
    },
    sync,
};

/// The stream for events that would need too many streams.
const OVERFLOW: &str = "overflow";

/// Most bytes of a value in a name; names are shorter.
const VALUE: usize = 4096;

/// The value of an attribute as text, or its beginning. Of a list it is the first value, since the
/// names of groups and streams are lists (`aws.log.group.names`).
pub(in super::super) fn find<'a>(
    mut attributes: impl Iterator<Item = KeyValue<'a>>,
    key: &str,
) -> Option<Cow<'a, str>> {
    let found = attributes.find(|attribute| attribute.key.0 == key.as_bytes())?;
    let value = match found.value? {
        Value::Array(list) => list.values().next()?,
        value => value,
    };
    match value {
        Value::String(Text(text)) => as_text(Value::String(Text(&text[..text.len().min(VALUE)]))),
        value => as_text(value),
    }
}

/// The attributes of a resource that are needed, the first of each name.
pub(in super::super) fn asked<'a>(
    resource: Option<Resource<'a>>,
    is_asked: impl Fn(&[u8]) -> bool,
) -> Vec<KeyValue<'a>> {
    let mut all: Vec<KeyValue<'a>> = Vec::new();
    for attribute in resource.iter().flat_map(Resource::attributes) {
        let key = attribute.key.0;
        if is_asked(key) && !all.iter().any(|other| other.key.0 == key) {
            all.push(attribute);
        }
    }
    all
}

/// A string, boolean or number as text.
pub(in super::super) fn as_text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::String(Text(text)) => Some(String::from_utf8_lossy(text)),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Int(number) => Some(number.to_string().into()),
        Value::Double(number) => Some(text::double(number).into()),
        _ => None,
    }
}

/// The streams that were written to. Each new stream costs a call of AWS, and the name of an
/// attribute with ever new values would create ever new streams, so their number is limited.
#[derive(Debug)]
pub(in super::super) struct Streams {
    most: usize,
    known: Mutex<HashSet<Target, RandomState>>,
    told: RateLimit,
}

impl Streams {
    pub(in super::super) fn new(most: usize) -> Self {
        Streams { most, known: Mutex::default(), told: RateLimit::default() }
    }

    pub(in super::super) fn admit(&self, target: Target) -> Target {
        let mut known = sync::lock(&self.known);
        if known.contains(&target) {
            return target;
        }
        if known.len() < self.most {
            known.insert(target.clone());
            return target;
        }
        if self.told.is_due() {
            tracing::warn!(
                stream = target.stream,
                max_streams = self.most,
                "too many log streams; events of new ones go to the stream `overflow`. Name streams after \
                 something with fewer values, or raise `max_streams`"
            );
        }
        Target { stream: OVERFLOW.to_owned(), ..target }
    }
}
