//! `metadata` of a segment: everything that has no field, by namespace. Namespaces that are given
//! as JSON are written as they are.

use smallvec::SmallVec;

use super::trim::{DOCUMENT_LIMIT, Trim};
use crate::{exporters::json::Json, otlp::view::Value};

/// Prefix of attributes that are namespaces of metadata in JSON.
pub(super) const PREFIX: &[u8] = b"aws.xray.metadata.";

/// The contents of `metadata`.
#[derive(Debug, Default)]
pub(super) struct Metadata<'m, 'a> {
    /// Members of the default namespace that are JSON already.
    pub(super) resource: &'m [u8],
    /// Members for events, as JSON.
    pub(super) events: &'m [u8],
    /// Number of attributes that are left out.
    pub(super) left_out: i64,
    /// Members of the default namespace.
    pub(super) others: SmallVec<[(&'m [u8], Value<'a>); 24]>,
    /// Namespaces with their texts.
    pub(super) namespaces: SmallVec<[(&'m [u8], &'m [u8]); 2]>,
}

/// How a namespace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Its members go into the default namespace.
    Merged,
    /// As a namespace of its own.
    Own,
    /// Written as text in the default namespace, since it is not JSON.
    Text,
}

impl Metadata<'_, '_> {
    /// `is_exact`: the document comes from an SDK of X-Ray. There a namespace may be any JSON, and
    /// `Default` differs from `default`.
    pub(super) fn write(&self, json: &mut Json, trim: Trim, is_exact: bool) {
        let most = trim.most_of_value();
        let places: SmallVec<[Place; 2]> =
            self.namespaces.iter().map(|(name, text)| self.place(name, text, is_exact)).collect();
        let namespaces = || self.namespaces.iter().zip(&places);
        json.object_at("metadata", |json| {
            json.object_at("default", |json| {
                if !self.resource.is_empty() {
                    json.raw(self.resource);
                }
                for (key, value) in &self.others {
                    json.member(key, *value, most);
                }
                for ((name, text), place) in namespaces() {
                    match place {
                        Place::Merged => write_members(json, text, most),
                        Place::Text if text.len() <= most => {
                            json.key(&[PREFIX, name].concat());
                            json.text(text);
                        }
                        Place::Text | Place::Own => {}
                    }
                }
                if !self.events.is_empty() {
                    json.raw(self.events);
                }
                if self.left_out > 0 {
                    json.int_at("otel.attributes.left_out", self.left_out);
                }
            });
            for ((name, text), _) in namespaces().filter(|(_, place)| **place == Place::Own) {
                if text.len() <= most {
                    json.key(name);
                    json.raw(text);
                }
            }
        });
    }

    fn place(&self, name: &[u8], text: &[u8], is_exact: bool) -> Place {
        let is_object = text.trim_ascii_start().starts_with(b"{");
        let is_default = name == b"default" || !is_exact && name.eq_ignore_ascii_case(b"default");
        let is_alone = self.resource.is_empty() && self.events.is_empty() && self.others.is_empty();
        if !(is_object || is_exact) || !is_json(text) {
            Place::Text
        } else if !is_default || is_exact && is_alone {
            Place::Own
        } else if is_object {
            Place::Merged
        } else {
            Place::Text
        }
    }
}

/// Writes the members of an object that is given as JSON.
fn write_members(json: &mut Json, text: &[u8], most: usize) {
    if most == usize::MAX {
        let text = text.trim_ascii();
        let members = text.strip_prefix(b"{").and_then(|text| text.strip_suffix(b"}"));
        let members = members.unwrap_or_default().trim_ascii();
        if !members.is_empty() {
            json.raw(members);
        }
        return;
    }
    if text.len() > DOCUMENT_LIMIT {
        return;
    }
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(text).unwrap_or_default();
    for (key, value) in members {
        let value = value.to_string();
        if value.len() <= most {
            json.key(key.as_bytes());
            json.raw(value.as_bytes());
        }
    }
}

/// Whether a text is JSON as a whole.
pub(super) fn is_json(text: &[u8]) -> bool {
    simdutf8::basic::from_utf8(text).is_ok()
        && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}
