//! Turns a segment document into OTLP: one resource, one scope, and a span for the (sub)segment and
//! for each of the subsegments in it.
//!
//! Members without an attribute of their own are kept as `aws.xray.document.<path>`, and so are
//! members whose attribute could also come from another one: no data of an SDK is lost. The name of
//! the scope tells the exporter `awsxray` that the spans were segments, so that it writes the same
//! documents again.

use super::{
    document::{Notes, Refused, Translated, as_text, trace_id, unframe},
    resource, span,
};
use crate::{
    otlp::wire::put_bytes,
    receivers::{
        attributes::Attributes,
        json::{Json, Members, find},
    },
};

/// Name of the scope; the exporter knows it.
const SCOPE: &[u8] = b"aws.xray";

/// Fields that every span needs. A segment that lacks one is refused, a subsegment is left out.
pub(super) struct Core<'m> {
    pub(super) name: &'m str,
    pub(super) id: [u8; 8],
    pub(super) start: u64,
}

impl<'m> Core<'m> {
    fn read(members: &'m Members<'_>, notes: &Notes) -> Result<Self, Refused> {
        let name = notes.text(members, "name").filter(|name| !name.is_empty());
        Ok(Core {
            name: name.ok_or(Refused::Missing("name"))?,
            id: notes.span_id(members, "id").ok_or(Refused::Missing("id"))?,
            start: notes.time(members, "start_time").ok_or(Refused::Missing("start_time"))?,
        })
    }
}

/// Appends the document of a datagram to an `ExportTraceServiceRequest`.
pub fn datagram(datagram: &[u8], out: &mut Vec<u8>) -> Result<Translated, Refused> {
    document(unframe(datagram)?, out)
}

/// Appends a segment, or a subsegment that was sent alone, to an `ExportTraceServiceRequest`.
/// Nothing is appended if it is refused.
pub fn document(bytes: &[u8], out: &mut Vec<u8>) -> Result<Translated, Refused> {
    let notes = Notes::default();
    let text = as_text(bytes, &notes);
    let root = notes.object(&text)?;
    let core = Core::read(&root, &notes)?;
    let trace_id = notes.text(&root, "trace_id").and_then(trace_id);
    let trace_id = trace_id.ok_or(Refused::Missing("trace_id"))?;
    let parent = notes.span_id(&root, "parent_id");

    let mut entry = Vec::with_capacity(bytes.len() * 2);
    let mut attributes = Vec::new();
    resource::write(&root, core.name, &notes, &mut Attributes::new(&mut attributes, 1));
    put_bytes(&mut entry, 1, &attributes);

    let (mut scope, mut name) = (Vec::new(), Vec::new());
    put_bytes(&mut name, 1, SCOPE);
    put_bytes(&mut scope, 1, &name);
    let mut spans = Spans { trace_id, notes: &notes, scope, count: 0, skipped: 0 };
    spans.add(&root, &core, parent, span::Place::Root);
    spans.children(&root, core.id);
    let Spans { scope, count, skipped, .. } = spans;
    put_bytes(&mut entry, 2, &scope);
    put_bytes(out, 1, &entry);
    Ok(Translated { spans: count, repairs: notes.repairs(), skipped })
}

/// The `ScopeSpans` that is being written.
struct Spans<'n> {
    trace_id: [u8; 16],
    notes: &'n Notes,
    scope: Vec<u8>,
    count: u64,
    skipped: u64,
}

impl Spans<'_> {
    /// Adds the subsegments of `members`, and their subsegments. Those of a subsegment that is left
    /// out move up. The reader of JSON limits the depth.
    fn children(&mut self, members: &Members<'_>, parent: [u8; 8]) {
        for child in self.notes.list(members, "subsegments") {
            let Json::Map(child) = child else {
                self.skipped += 1;
                continue;
            };
            if let Ok(core) = Core::read(child, self.notes) {
                self.add(child, &core, Some(parent), span::Place::Nested);
                self.children(child, core.id);
            } else {
                self.skipped += 1;
                self.children(child, parent);
            }
        }
    }

    fn add(
        &mut self,
        members: &Members<'_>,
        core: &Core<'_>,
        parent: Option<[u8; 8]>,
        place: span::Place,
    ) {
        let mut bytes = Vec::with_capacity(512);
        put_bytes(&mut bytes, 1, &self.trace_id);
        put_bytes(&mut bytes, 2, &core.id);
        if let Some(parent) = parent {
            put_bytes(&mut bytes, 4, &parent);
        }
        span::write(members, core, place, self.notes, &mut bytes);
        put_bytes(&mut self.scope, 2, &bytes);
        self.count += 1;
    }
}

/// Keeps the members that are not `known`, each under `aws.xray.document.<path><name>`.
pub(super) fn keep_others(
    members: &Members<'_>,
    known: &[&str],
    path: &str,
    attributes: &mut Attributes<'_, '_>,
) {
    for (name, value) in members {
        if !known.contains(&&**name) && !value.is_nothing() {
            attributes.kept(&format!("aws.xray.document.{path}{name}"), value);
        }
    }
}

/// Keeps one member, if it is there.
pub(super) fn keep(
    members: &Members<'_>,
    name: &str,
    path: &str,
    attributes: &mut Attributes<'_, '_>,
) {
    attributes.kept(&format!("aws.xray.document.{path}{name}"), find(members, name));
}
