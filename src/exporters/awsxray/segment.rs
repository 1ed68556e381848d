//! A span as a segment document. Fields take their values out of the attributes in a fixed order,
//! so that they are not written again as metadata. The document is written, and trimmed, until it
//! fits.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    attributes::{Attributes, Hidden, Known, is_scalar, text, texts},
    cause::{self, Cause},
    events::{self, Causes},
    http::Http,
    metadata::{Metadata, PREFIX},
    name::{self, CONSUMER, INTERNAL, SERVER},
    nest::{Link, nest},
    resource::Facts,
    secrets,
    settings::Settings,
    sql::Sql,
    trim::{self, DOCUMENT_LIMIT, Trim},
};
use crate::{
    exporters::{ids, json::Json},
    otlp::view::{Span, Text, Value},
};

/// Annotations that X-Ray indexes of a trace (service limits).
const ANNOTATIONS: usize = 50;
/// Most characters of an annotation's value.
const ANNOTATION_LIMIT: usize = 1000;

/// Why a span has no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    TraceId,
    SpanId,
    TooLarge,
}

impl Fault {
    pub(super) const ALL: [Fault; 3] = [Fault::TraceId, Fault::SpanId, Fault::TooLarge];

    pub(super) fn reason(self) -> &'static str {
        match self {
            Fault::TraceId => "the trace id is not 16 bytes, or zero",
            Fault::SpanId => "the span id is not 8 bytes, or zero",
            Fault::TooLarge => {
                "the document is above 64 kB, also without metadata, statements and most frames"
            }
        }
    }
}

/// Which document of a span it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The only one.
    Whole,
    /// The call to another service, of a span that begins the work of its own.
    Dependency,
    /// The work of the service itself around that call.
    Service,
}

/// Documents, one after another in one buffer. With that, attributes read in one walk into memory
/// that is kept, and plain texts not checked as UTF-8, a span takes 4.4 us instead of 5.7
/// (benches/aws.rs, medians of runs in turn on a busy machine).
#[derive(Debug, Default)]
pub(super) struct Documents {
    json: Json,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Most bytes of one.
    limit: usize,
}

/// Bytes for a document besides its text: its entry here, and the entry of its text while it is
/// sent.
const PLACE: usize = 128;

/// Appends the documents of a span: two for a local root that calls another service, otherwise one.
/// If one of them is not possible, none is appended.
pub(super) fn documents<'a>(
    span: &Span<'a>,
    facts: &Facts<'a>,
    settings: &Settings,
    attributes: &mut Attributes<'a>,
    out: &mut Documents,
) -> Result<(), Fault> {
    let before = out.ends.len();
    let segment = Segment::of(span, facts, settings, attributes)?;
    let is_split =
        name::is_local_root(segment.attributes) && !matches!(span.kind, SERVER | INTERNAL);
    let parts: &[Part] = if is_split { &[Part::Dependency, Part::Service] } else { &[Part::Whole] };
    for part in parts {
        if let Err(fault) = out.add(|json, trim| segment.write(json, *part, trim)) {
            out.back_to(before);
            return Err(fault);
        }
    }
    Ok(())
}

impl Documents {
    /// Documents for so many bytes of OTLP: keys and resources make them longer. There is always
    /// room for a span in `most` bytes.
    pub(super) fn with_room(bytes: usize, most: usize) -> Self {
        Documents {
            json: Json::with_capacity(bytes.saturating_mul(2).min(most)),
            ends: Vec::new(),
            limit: DOCUMENT_LIMIT.min((most / 2).saturating_sub(PLACE)),
        }
    }

    /// Bytes of all documents with their entries.
    pub(super) fn held(&self) -> usize {
        self.json.out.len() + self.ends.len() * PLACE
    }

    /// Appends a document that `write` writes, if it fits.
    pub(super) fn add(&mut self, write: impl Fn(&mut Json, Trim)) -> Result<(), Fault> {
        if !trim::fit(&mut self.json, self.limit, write) {
            return Err(Fault::TooLarge);
        }
        self.ends.push(self.json.out.len());
        Ok(())
    }

    /// Each document by itself; all are parts of one buffer.
    pub(super) fn pieces(mut self) -> Vec<Bytes> {
        self.json.out.shrink_to_fit();
        let all = Bytes::from(self.json.out);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| all.slice(from..*to)).collect()
    }

    /// Number of documents.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Nests the documents after the first `before`; there is a link for each of them.
    pub(super) fn nest(&mut self, before: usize, links: &[Link<'_>]) {
        let from = before.checked_sub(1).map_or(0, |last| self.ends[last]);
        let starts = std::iter::once(from).chain(self.ends[before..].iter().copied());
        let places = starts.zip(self.ends[before..].iter().copied());
        let all: Vec<&[u8]> = places.map(|(from, to)| &self.json.out[from..to]).collect();
        let (mut nested, mut ends) = (Vec::with_capacity(self.json.out.len() - from), Vec::new());
        if nest(all, links, &mut nested, &mut ends) {
            self.back_to(before);
            self.json.out.extend_from_slice(&nested);
            self.ends.extend(ends.iter().map(|end| from + end));
        }
    }

    /// Removes all but the first `count`.
    pub(super) fn back_to(&mut self, count: usize) {
        self.ends.truncate(count);
        self.json.restart(self.ends.last().copied().unwrap_or(0));
    }
}

/// `aws` of a segment, as far as it comes from the span.
#[derive(Debug, Default)]
struct Aws<'a> {
    operation: Option<&'a [u8]>,
    account: Option<&'a [u8]>,
    region: Option<&'a [u8]>,
    request: Option<&'a [u8]>,
    queue: Option<&'a [u8]>,
    tables: SmallVec<[&'a [u8]; 4]>,
}

impl<'a> Aws<'a> {
    fn take(attributes: &mut Attributes<'a>) -> Self {
        use Known as K;
        let is_aws = attributes.text(K::RpcSystem) == Some(b"aws-api");
        // The method of another system's call stays where it is.
        let operations: &[Known] =
            if is_aws { &[K::AwsOperation, K::RpcMethod] } else { &[K::AwsOperation] };
        let tables = attributes.get(K::AwsTableNames).map(texts).unwrap_or_default();
        let one = [K::AwsTableNameOld, K::AwsTableName];
        let queue = attributes.text(K::MessagingUrl);
        Aws {
            operation: attributes.take_first(operations),
            account: attributes.take_text(K::AwsAccountId),
            region: attributes.take_first(&[K::AwsRegion, K::CloudRegion]),
            request: attributes.take_first(&[
                K::AwsRequestId,
                K::AwsRequestIdOld,
                K::AwsRequestIdNew,
            ]),
            queue: if queue.is_some() {
                queue
            } else {
                attributes.take_first(&[K::AwsQueueUrlOld, K::AwsQueueUrl])
            },
            tables: if tables.is_empty() {
                attributes.take_first(&one).into_iter().collect()
            } else {
                attributes.take_same(&one, |text| tables.contains(&text));
                tables
            },
        }
    }

    fn write(&self, json: &mut Json, facts: &Facts<'_>, part: Part) {
        json.begin_at("aws");
        if let Some(account) = self.account.or(facts.account) {
            json.text_at("account_id", account);
        }
        // Belongs to the call that the dependency shows.
        if part != Part::Service {
            let members = [
                ("operation", self.operation),
                ("region", self.region),
                ("request_id", self.request),
            ];
            for (key, value) in members {
                if let Some(text) = value {
                    json.text_at(key, text);
                }
            }
            if let Some(queue) = self.queue {
                json.text_at("queue_url", &secrets::url(queue));
            }
            match &self.tables[..] {
                [] => {}
                [only] => json.text_at("table_name", only),
                all => {
                    json.key(b"table_names");
                    json.begin_list();
                    for table in all {
                        json.text(table);
                    }
                    json.end_list();
                }
            }
        }
        if !facts.aws.is_empty() {
            json.raw(&facts.aws);
        }
        json.end();
    }
}

/// What the documents of a span are written from.
struct Segment<'s, 'a> {
    span: &'s Span<'a>,
    facts: &'s Facts<'a>,
    settings: &'s Settings,
    id: [u8; 16],
    trace: [u8; 35],
    parent: Option<[u8; 16]>,
    name: Cow<'a, str>,
    namespace: Option<&'static str>,
    is_in_progress: bool,
    /// A segment of its own, not a part of another.
    is_own: bool,
    http: Option<Http<'a>>,
    cause: Option<Cause<'a>>,
    /// Members of metadata.
    events: Vec<u8>,
    aws: Option<Aws<'a>>,
    sql: Option<Sql<'a>>,
    user: Option<&'a [u8]>,
    /// Keys that the span itself wants indexed.
    indexed: SmallVec<[&'a [u8]; 4]>,
    attributes: &'s Attributes<'a>,
    hidden: Hidden<'a>,
    /// The name of the span, without secrets.
    span_name: Cow<'a, [u8]>,
}

impl<'s, 'a> Segment<'s, 'a> {
    fn of(
        span: &'s Span<'a>,
        facts: &'s Facts<'a>,
        settings: &'s Settings,
        attributes: &'s mut Attributes<'a>,
    ) -> Result<Self, Fault> {
        let trace = ids::trace(span.trace_id).ok_or(Fault::TraceId)?;
        let id = ids::span(span.span_id).ok_or(Fault::SpanId)?;
        attributes.fill(span);
        // Before anything is taken.
        let name = name::of(span, attributes, facts.service);
        let namespace = name::namespace(span, attributes);
        let cause = Cause::of(span, attributes, &facts.language);
        let is_in_progress = attributes.take_truth(Known::InProgress) == Some(true);
        let http = Http::take(attributes, span.kind == SERVER);
        // Where nothing of AWS is written its attributes are metadata.
        let aws = facts.is_aws.then(|| Aws::take(attributes));
        let sql = Sql::take(attributes);
        let user = attributes.take_first(&[Known::EnduserId, Known::UserId]);
        let indexed = attributes.take_names(Known::Annotations);
        let parent = ids::span(span.parent_span_id);
        let is_own = parent.is_none()
            || matches!(span.kind, SERVER | CONSUMER)
            || name::is_local_root(attributes);
        Ok(Segment {
            span,
            facts,
            settings,
            id,
            trace,
            parent,
            name,
            namespace,
            is_in_progress,
            is_own,
            http,
            events: events::of(
                span,
                attributes.has_events,
                cause.as_ref().map(|cause| cause as &dyn Causes),
            ),
            cause,
            aws,
            sql,
            user,
            indexed,
            hidden: attributes.hidden(),
            attributes,
            span_name: secrets::url(span.name.0),
        })
    }

    fn write(&self, json: &mut Json, part: Part, trim: Trim) {
        json.begin();
        self.write_head(json, part);
        if let Some(http) = self.http.as_ref().filter(|_| part != Part::Service) {
            http.write(json);
        }
        self.write_flags(json, trim);
        if let Some(aws) = &self.aws {
            aws.write(json, self.facts, part);
        }
        if let Some(sql) = self.sql.as_ref().filter(|_| part != Part::Service) {
            sql.write(json, &self.span_name, trim);
        }
        if let Some(user) = self.user {
            json.text_at("user", user);
        }
        if let Some(origin) = self.facts.origin {
            json.text_at("origin", origin.as_bytes());
        }
        if let Some(version) = &self.facts.version {
            json.begin_at("service");
            json.text_at("version", version);
            json.end();
        }
        if let Some(arn) = &self.settings.resource_arn
            && part != Part::Dependency
            && self.is_own
        {
            json.text_at("resource_arn", arn.as_bytes());
        }
        self.write_attributes(json, part, trim);
        let has_links = match part {
            Part::Whole => true,
            Part::Dependency => self.span.kind != CONSUMER,
            Part::Service => self.span.kind == CONSUMER,
        };
        if has_links && self.attributes.has_links {
            write_links(json, self.span, Json::value);
        }
        json.end();
    }

    fn name_of(&self, part: Part) -> Cow<'_, str> {
        let own = || self.attributes.text(Known::AwsLocalService).or(self.facts.service);
        let name = match part {
            Part::Whole => None,
            Part::Dependency => name::remote_service(self.attributes),
            Part::Service => own(),
        };
        name.map_or(Cow::Borrowed(&*self.name), name::clean)
    }

    fn write_head(&self, json: &mut Json, part: Part) {
        let service = (part != Part::Whole).then(|| ids::derived(self.span.span_id, ids::SERVICE));
        let name = self.name_of(part);
        let (id, parent, is_segment, namespace) = match part {
            Part::Whole => (
                self.id,
                self.parent,
                self.is_own,
                self.namespace.filter(|_| !name::is_local_root(self.attributes)),
            ),
            Part::Dependency => (self.id, service, false, self.namespace.or(Some("remote"))),
            Part::Service => (service.unwrap_or(self.id), self.parent, true, None),
        };
        json.text_at("name", name.as_bytes());
        json.text_at("id", &id);
        json.text_at("trace_id", &self.trace);
        json.seconds_at("start_time", self.span.start_time_unix_nano);
        if self.is_in_progress {
            json.truth_at("in_progress", true);
        } else {
            // A clock that was set back in between would be refused.
            let end = self.span.end_time_unix_nano.max(self.span.start_time_unix_nano);
            json.seconds_at("end_time", end);
        }
        if let Some(parent) = parent {
            json.text_at("parent_id", &parent);
        }
        if !is_segment {
            json.text_at("type", b"subsegment");
        }
        if let Some(namespace) = namespace {
            json.text_at("namespace", namespace.as_bytes());
        }
    }

    fn write_flags(&self, json: &mut Json, trim: Trim) {
        let status = self.http.as_ref().and_then(|http| http.status);
        let is_error = self.span.status.is_some_and(|status| status.code == 2);
        let (error, fault, throttle) = cause::flags(status, is_error);
        json.truth_at("error", error);
        json.truth_at("fault", fault);
        json.truth_at("throttle", throttle);
        if let Some(cause) = &self.cause {
            cause.write(json, self.span.span_id, trim);
        }
    }

    // ---- annotations and metadata ------------------------------------------------------------

    fn is_indexed(&self, key: &[u8]) -> bool {
        self.indexed.contains(&key) || self.settings.is_indexed(key)
    }

    /// What the span says beside its attributes, and the document nowhere else.
    fn unsaid(&self, part: Part) -> Annotations<'_> {
        let mut unsaid = SmallVec::new();
        if part == Part::Service {
            return unsaid;
        }
        let mut say =
            |key: &'static str, text| unsaid.push((key.as_bytes(), Value::String(Text(text))));
        if self.sql.is_none() && self.name_of(part).as_bytes() != &*self.span_name {
            say("otel.span.name", &self.span_name);
        }
        if !self.span.trace_state.0.is_empty() {
            say("otel.trace_state", self.span.trace_state.0);
        }
        if let Some(status) = self.span.status
            && !status.text.0.is_empty()
            && !self.cause.as_ref().is_some_and(|cause| cause.says(&status.text.to_str()))
        {
            say("otel.status_description", status.text.0);
        }
        unsaid
    }

    fn write_attributes(&self, json: &mut Json, part: Part, trim: Trim) {
        let with_resource = match part {
            Part::Whole => self.is_own,
            Part::Dependency => false,
            Part::Service => true,
        };
        let all = self.settings.index_all_attributes;
        let mut listed: Annotations<'_> = SmallVec::new();
        let mut annotations: Annotations<'_> = SmallVec::new();
        let mut metadata = Metadata::default();
        if with_resource {
            annotations
                .extend(self.facts.shared.annotations.iter().map(|(key, value)| (&**key, *value)));
            metadata.resource = &self.facts.shared.metadata[usize::from(trim.cuts_values())];
        }
        for attribute in &self.attributes.all {
            let (key, value) = (attribute.key.0, self.hidden.value(attribute));
            if let (Some(namespace), Some(json)) = (key.strip_prefix(PREFIX), text(value)) {
                metadata.namespaces.push((namespace, json));
            } else if self.is_indexed(key) && is_scalar(value) {
                listed.push((key, value));
            } else if all && (!attribute.is_taken || key == USER) && is_scalar(value) {
                annotations.push((key, value));
            } else if !attribute.is_taken && part != Part::Service {
                metadata.others.push((key, value));
            }
        }
        metadata.left_out = self.attributes.left_out;
        // Those that are listed come first where there are too many, the last one of a name first.
        listed.reverse();
        listed.append(&mut annotations);
        metadata.others.extend(listed.drain(listed.len().min(ANNOTATIONS)..));
        metadata.others.extend(write_annotations(json, &listed));
        metadata.others.extend(self.unsaid(part));
        if !trim.cuts_metadata() {
            if !trim.cuts_events() && part != Part::Service {
                metadata.events = &self.events;
            }
            metadata.write(json, trim, false);
        }
    }
}

/// An annotation too where all attributes are, although it is the `user` of the segment: the
/// Collector has it there only.
const USER: &[u8] = b"user.id";

/// Writes the links that have ids; `value` writes the value of an attribute.
pub(super) fn write_links(json: &mut Json, span: &Span<'_>, value: fn(&mut Json, Value<'_>)) {
    let mut links = span
        .links()
        .filter_map(|link| Some((ids::trace(link.trace_id)?, ids::span(link.span_id)?, link)))
        .peekable();
    if links.peek().is_none() {
        return;
    }
    json.key(b"links");
    json.begin_list();
    for (trace, id, link) in links {
        if json.is_over() {
            break;
        }
        json.begin();
        json.text_at("trace_id", &trace);
        json.text_at("id", &id);
        json.object_at("attributes", |json| {
            for attribute in link.attributes() {
                json.key(attribute.key.0);
                value(json, attribute.value.unwrap_or_default());
            }
            if !link.trace_state.0.is_empty() {
                json.text_at("otel.trace_state", link.trace_state.0);
            }
        });
        json.end();
    }
    json.end_list();
}

/// A key that X-Ray accepts for an annotation.
pub(super) fn annotation_key(key: &[u8]) -> SmallVec<[u8; 64]> {
    let is_taken = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
    key.iter().map(|byte| if is_taken(byte) { *byte } else { b'_' }).collect()
}

/// Attributes by their keys.
type Annotations<'m> = SmallVec<[(&'m [u8], Value<'m>); 8]>;

/// Writes them. Returns those that were not written completely.
fn write_annotations<'m>(json: &mut Json, annotations: &Annotations<'m>) -> Annotations<'m> {
    let mut left = SmallVec::new();
    if annotations.is_empty() {
        return left;
    }
    json.begin_at("annotations");
    let mut written: SmallVec<[SmallVec<[u8; 64]>; 4]> = SmallVec::new();
    for (own, value) in annotations {
        let key = annotation_key(own);
        // Two keys may have become the same; the first one counts.
        if written.contains(&key) {
            left.push((*own, *value));
            continue;
        }
        json.key(&key);
        match value {
            Value::String(text) if text.0.len() > ANNOTATION_LIMIT => {
                let short: String = text.to_str().chars().take(ANNOTATION_LIMIT).collect();
                json.text(short.as_bytes());
                left.push((*own, *value));
            }
            value => json.value(*value),
        }
        written.push(key);
    }
    json.end();
    left
}
