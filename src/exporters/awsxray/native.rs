//! Writes segments that came from an X-Ray SDK through the receiver `awsxray` as they were: what
//! the receiver turned into an attribute goes back to its field, and nothing is added that the
//! document did not have (`error: false`, `content_length`, names of SDKs). The receiver names the
//! scope of such spans [`SCOPE`].
//!
//! A subsegment is nested in its parent again if both are still together ([`nest`](super::nest)),
//! with `trace_id`, `parent_id` and `type`, as SDKs write it. Attributes that were added on the way
//! (by a processor, or to the resource of segments) are metadata as for any other span, and the
//! limits of documents apply.
//!
//! Not restored are: `null`, empty objects and lists outside of metadata; times to less than a
//! microsecond, digits of numbers beyond 64 bits, the end of segments in progress; characters that
//! are not allowed in names; annotations that are lists or objects (they are their JSON text) or
//! have the name of an attribute of the receiver (`http.method`: then the field is left out);
//! unknown fields of links; exceptions without an id get one. Fields of a wrong type are mended or
//! left out by the receiver, which counts them.

mod exceptions;
mod machine;

use std::borrow::Cow;

use smallvec::SmallVec;

use self::exceptions::Exceptions;
pub(super) use self::machine::Machine;
use super::{
    attributes::{Attributes, Hidden, Known, is_scalar, texts},
    events,
    metadata::{Metadata, PREFIX, is_json},
    name, secrets,
    segment::{Documents, Fault, annotation_key, write_links},
    settings::Settings,
    trim::Trim,
};
use crate::{
    exporters::{ids, json::Json},
    otlp::view::{Span, Text, Value},
};

/// The scope of spans that were segments; the receiver sets it.
pub(super) const SCOPE: &str = "aws.xray";

/// Prefix of fields that are kept by their paths.
const KEPT: &[u8] = b"aws.xray.document.";

/// The objects of a span in which fields are kept, the inner ones first.
const OBJECTS: [&str; 7] =
    ["http.request.", "http.response.", "http.", "aws.", "sql.", "cause.", ""];

/// Fields that are written elsewhere, or not at all.
const OWN: [&str; 14] = [
    "name",
    "id",
    "trace_id",
    "parent_id",
    "start_time",
    "end_time",
    "in_progress",
    "http",
    "aws",
    "sql",
    "cause",
    "annotations",
    "metadata",
    "links",
];

/// Fields that a segment has from its resource.
const OF_MACHINE: [&str; 3] = ["origin", "service", "resource_arn"];

/// A field that is kept: its object, its name, its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    object: &'static str,
    name: &'a [u8],
    value: Value<'a>,
}

impl<'a> Kept<'a> {
    /// The path after `prefix`, relative to the first of `objects` that it begins with.
    fn of(key: &'a [u8], value: Value<'a>, objects: &[&'static str]) -> Option<Self> {
        let path = key.strip_prefix(KEPT)?;
        objects.iter().find_map(|object| {
            let name = path.strip_prefix(object.as_bytes())?;
            Some(Kept { object, name, value })
        })
    }
}

/// Writes the fields of one object, kept ones and others.
struct Fields<'j, 'k> {
    json: &'j mut Json,
    kept: &'k [Kept<'k>],
    object: &'static str,
}

impl<'j, 'k> Fields<'j, 'k> {
    fn new(json: &'j mut Json, kept: &'k [Kept<'k>], object: &'static str) -> Self {
        Fields { json, kept, object }
    }

    fn has(&self, name: &str) -> bool {
        self.kept.iter().any(|one| one.object == self.object && one.name == name.as_bytes())
    }

    fn text(&mut self, name: &str, text: Option<&[u8]>) {
        if let Some(text) = text.filter(|_| !self.has(name)) {
            self.json.text_at(name, text);
        }
    }

    fn int(&mut self, name: &str, number: Option<i64>) {
        if let Some(number) = number.filter(|_| !self.has(name)) {
            self.json.int_at(name, number);
        }
    }

    fn truth(&mut self, name: &str, truth: Option<bool>) {
        if let Some(truth) = truth.filter(|_| !self.has(name)) {
            self.json.truth_at(name, truth);
        }
    }

    /// Its kept fields.
    fn rest(self) {
        for one in self.kept.iter().filter(|one| one.object == self.object) {
            self.json.key(one.name);
            match one.value {
                Value::String(Text(text)) if self.object == "sql." && may_hold_secret(one.name) => {
                    let text = secrets::connection(text);
                    write_kept(self.json, Value::String(Text(&text)));
                }
                value => write_kept(self.json, value),
            }
        }
    }
}

/// Whether a member of `sql` that has no attribute of its own may hold a connection string.
/// Versions and the kind of preparation cannot.
fn may_hold_secret(name: &[u8]) -> bool {
    !matches!(name, b"database_version" | b"driver_version" | b"preparation")
}

/// A value as it was in the document. Lists, objects and texts that look like them are JSON in a
/// text.
pub(super) fn write_kept(json: &mut Json, value: Value<'_>) {
    match value {
        Value::String(Text(text))
            if text.starts_with(b"[") || text.starts_with(b"{") || text.starts_with(b"\"") =>
        {
            if is_json(text) {
                json.raw(text);
            } else {
                json.text(text);
            }
        }
        value => json.value(value),
    }
}

/// Appends the document of a span. Returns whether it is a subsegment.
pub(super) fn document<'a>(
    span: &Span<'a>,
    machine: &Machine<'a>,
    settings: &Settings,
    out: &mut Documents,
) -> Result<bool, Fault> {
    let segment = Segment::of(span, machine, settings)?;
    out.add(|json, trim| segment.write(json, trim))?;
    Ok(segment.is_subsegment)
}

/// A span with everything that its document is written from.
struct Segment<'s, 'a> {
    span: &'s Span<'a>,
    machine: &'s Machine<'a>,
    settings: &'s Settings,
    id: [u8; 16],
    trace: [u8; 35],
    parent: Option<[u8; 16]>,
    is_subsegment: bool,
    annotations: SmallVec<[&'a [u8]; 8]>,
    kept: SmallVec<[Kept<'a>; 8]>,
    exceptions: Exceptions<'a>,
    events: Vec<u8>,
    fields: Taken<'a>,
    hidden: Hidden<'a>,
    attributes: Attributes<'a>,
}

/// The attributes that the receiver has names for.
#[derive(Debug, Default)]
struct Taken<'a> {
    in_progress: Option<bool>,
    namespace: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    flags: [Option<bool>; 3],
    traced: Option<bool>,
    is_forwarded: Option<bool>,
    /// `method`, `url`, `user_agent`, `client_ip`.
    request: [Option<&'a [u8]>; 4],
    status: Option<i64>,
    content_length: Option<Value<'a>>,
    /// `operation`, `region`, `request_id`, `queue_url`, `table_name`, `account_id`.
    aws: [Option<&'a [u8]>; 6],
    tables: SmallVec<[&'a [u8]; 4]>,
    retries: Option<i64>,
    /// `database_type`, `user`, `sanitized_query`.
    sql: [Option<&'a [u8]>; 3],
    connection: Option<&'a [u8]>,
    database: Option<&'a [u8]>,
}

impl<'a> Taken<'a> {
    fn of(name: &[u8], attributes: &mut Attributes<'a>) -> Self {
        use Known as K;
        let namespace = attributes.take_any_text(K::Namespace);
        // The receiver repeats the name.
        if namespace == Some(b"aws") {
            attributes.take_same(&[K::AwsService], |text| text == name);
        }
        let content_length = attributes.take(K::ContentLength);
        let mut text = |known| attributes.take_any_text(known);
        let request = [K::HttpMethod, K::HttpUrl, K::HttpUserAgent, K::HttpClientIp].map(&mut text);
        let aws = [
            K::AwsOperation,
            K::AwsRegion,
            K::AwsRequestId,
            K::AwsQueueUrlOld,
            K::AwsTableNameOld,
            K::AwsAccountId,
        ]
        .map(&mut text);
        let sql = [K::DbSystem, K::DbUser, K::DbStatement].map(&mut text);
        let [user, connection, database] =
            [K::EnduserId, K::DbConnectionString, K::DbName].map(&mut text);
        Taken {
            in_progress: attributes.take_truth(K::InProgress),
            namespace,
            user,
            flags: [K::Error, K::Fault, K::Throttle].map(|known| attributes.take_truth(known)),
            traced: attributes.take_truth(K::Traced),
            is_forwarded: attributes.take_truth(K::XForwardedFor),
            request,
            status: attributes.take_int(K::HttpStatusCode),
            content_length,
            aws,
            tables: attributes.take(K::AwsTableNames).map(texts).unwrap_or_default(),
            retries: attributes.take_int(K::Retries),
            sql,
            connection,
            database,
        }
    }
}

/// Gives back the attributes of a database that are neither in a kept field of `sql` nor in its
/// `url`.
fn give_back_unsaid(kept: &[Kept<'_>], fields: &Taken<'_>, attributes: &mut Attributes<'_>) {
    let of_sql = |name: &[u8]| kept.iter().find(|one| one.object == "sql." && one.name == name);
    let (url, connection) = (of_sql(b"url"), of_sql(b"connection_string"));
    let is_kept = url.is_some() || connection.is_some();
    let is_said = |text: &[u8]| {
        [url, connection].into_iter().flatten().any(|one| match one.value {
            Value::String(Text(said)) => memchr::memmem::find(said, text).is_some(),
            _ => false,
        })
    };
    let of_url = fields.connection.filter(|_| !is_kept);
    for (known, text) in
        [(Known::DbConnectionString, fields.connection), (Known::DbName, fields.database)]
    {
        if of_url.is_none() && text.is_some_and(|text| !is_said(text)) {
            attributes.give_back(known);
        }
    }
}

impl<'s, 'a> Segment<'s, 'a> {
    fn of(
        span: &'s Span<'a>,
        machine: &'s Machine<'a>,
        settings: &'s Settings,
    ) -> Result<Self, Fault> {
        let trace = ids::trace(span.trace_id).ok_or(Fault::TraceId)?;
        let id = ids::span(span.span_id).ok_or(Fault::SpanId)?;
        let parent = ids::span(span.parent_span_id);
        let mut attributes = Attributes::default();
        attributes.fill(span);
        let names = attributes.take_names(Known::Annotations);
        let mut annotations: SmallVec<[&[u8]; 8]> = names.into_iter().collect();
        annotations.sort_unstable();
        attributes.set_aside(&annotations);
        let mut kept = SmallVec::new();
        let mut is_subsegment = parent.is_some() && span.kind != name::SERVER;
        for attribute in &mut attributes.all {
            let key = attribute.key.0;
            if !key.starts_with(KEPT) || annotations.binary_search(&key).is_ok() {
                continue;
            }
            let Some(one) = Kept::of(key, attribute.value, &OBJECTS) else { continue };
            if key == b"aws.xray.document.type" {
                is_subsegment |= parent.is_some();
            } else if one.object.is_empty() && OWN.iter().any(|own| own.as_bytes() == one.name) {
                continue;
            } else {
                kept.push(one);
            }
            attribute.is_taken = true;
        }
        if !is_subsegment {
            let of_machine = |one: &Kept<'_>| {
                one.object.is_empty() && OF_MACHINE.iter().any(|own| own.as_bytes() == one.name)
            };
            kept.retain(|one| !of_machine(one));
        }
        let fields = Taken::of(span.name.0, &mut attributes);
        give_back_unsaid(&kept, &fields, &mut attributes);
        let exceptions = Exceptions::of(span, &attributes);
        Ok(Segment {
            span,
            machine,
            settings,
            id,
            trace,
            parent,
            is_subsegment,
            annotations,
            kept,
            events: events::of(span, attributes.has_events, Some(&exceptions)),
            exceptions,
            fields,
            hidden: attributes.hidden(),
            attributes,
        })
    }

    fn write(&self, json: &mut Json, trim: Trim) {
        json.begin();
        self.write_head(json);
        self.write_http(json);
        self.write_aws(json);
        json.object_at("sql", |json| self.write_sql(json, trim));
        self.exceptions.write(json, self.span, &self.kept, trim);
        if !self.is_subsegment {
            self.machine.write(json);
        }
        Fields::new(json, &self.kept, "").rest();
        self.write_attributes(json, trim);
        if self.attributes.has_links {
            write_links(json, self.span, write_kept);
        }
        json.end();
    }

    fn write_head(&self, json: &mut Json) {
        let said = self.machine.service.filter(|_| !self.is_subsegment);
        let name = secrets::url(said.unwrap_or(self.span.name.0));
        let name = name::clean(&name);
        json.text_at("name", name.as_bytes());
        json.text_at("id", &self.id);
        json.text_at("trace_id", &self.trace);
        json.seconds_at("start_time", self.span.start_time_unix_nano);
        if let Some(truth) = self.fields.in_progress {
            json.truth_at("in_progress", truth);
        }
        if self.fields.in_progress != Some(true) {
            let end = self.span.end_time_unix_nano.max(self.span.start_time_unix_nano);
            json.seconds_at("end_time", end);
        }
        if let Some(parent) = self.parent {
            json.text_at("parent_id", &parent);
        }
        if self.is_subsegment {
            json.text_at("type", b"subsegment");
        }
        let mut fields = Fields::new(json, &self.kept, "");
        fields.text("namespace", self.fields.namespace);
        fields.text("user", self.fields.user);
        for (name, flag) in ["error", "fault", "throttle"].into_iter().zip(self.fields.flags) {
            fields.truth(name, flag);
        }
    }

    fn write_http(&self, json: &mut Json) {
        let (own, kept) = (&self.fields, &self.kept);
        json.object_at("http", |json| {
            json.object_at("request", |json| {
                let mut fields = Fields::new(json, kept, "http.request.");
                let names = ["method", "url", "user_agent", "client_ip"];
                for (name, text) in names.into_iter().zip(own.request) {
                    let text = text.map(|text| match name {
                        "url" => secrets::url(text),
                        _ => Cow::Borrowed(text),
                    });
                    fields.text(name, text.as_deref());
                }
                fields.truth("x_forwarded_for", own.is_forwarded);
                let is_elsewhere =
                    kept.iter().any(|one| one.object.is_empty() && one.name == b"traced");
                fields.truth("traced", own.traced.filter(|_| !is_elsewhere));
                fields.rest();
            });
            json.object_at("response", |json| {
                let mut fields = Fields::new(json, kept, "http.response.");
                fields.int("status", own.status);
                if let Some(length) = own.content_length {
                    fields.json.key(b"content_length");
                    fields.json.value(length);
                }
                fields.rest();
            });
            Fields::new(json, kept, "http.").rest();
        });
    }

    fn write_aws(&self, json: &mut Json) {
        let own = &self.fields;
        json.object_at("aws", |json| {
            let mut fields = Fields::new(json, &self.kept, "aws.");
            let names =
                ["operation", "region", "request_id", "queue_url", "table_name", "account_id"];
            for (name, text) in names.into_iter().zip(own.aws) {
                let text = text.map(|text| match name {
                    "queue_url" => secrets::url(text),
                    _ => Cow::Borrowed(text),
                });
                fields.text(name, text.as_deref());
            }
            fields.int("retries", own.retries);
            if !own.tables.is_empty() {
                fields.json.key(b"table_names");
                fields.json.begin_list();
                for table in &own.tables {
                    fields.json.text(table);
                }
                fields.json.end_list();
            }
            fields.rest();
            if !self.is_subsegment {
                self.machine.write_aws(json, own.aws[5].is_none());
            }
        });
    }

    fn write_sql(&self, json: &mut Json, trim: Trim) {
        let mut fields = Fields::new(json, &self.kept, "sql.");
        let has_connection = fields.has("connection_string");
        let [kind, user, statement] = self.fields.sql;
        let url = self.fields.connection.filter(|_| !has_connection).map(|server| {
            let name = self.fields.database.map(|name| [b"/", name].concat());
            secrets::connection(&[server, &name.unwrap_or_default()].concat()).into_owned()
        });
        fields.text("url", url.as_deref());
        fields.text("database_type", kind);
        fields.text("user", user);
        fields.text("sanitized_query", statement.filter(|_| !trim.cuts_sql()));
        fields.rest();
    }

    /// Attributes that were added later and have no field.
    fn unsaid(&self) -> SmallVec<[(&[u8], Value<'_>); 3]> {
        let said = self.machine.service.filter(|_| !self.is_subsegment);
        let is_renamed = said.is_some_and(|said| said != self.span.name.0);
        let status = self.span.status.map(|status| status.text);
        let all = [
            ("otel.span.name", Some(self.span.name).filter(|_| is_renamed)),
            ("otel.trace_state", Some(self.span.trace_state)),
            ("otel.status_description", status.filter(|_| !self.exceptions.are_named(&self.kept))),
        ];
        let mut unsaid = SmallVec::new();
        for (key, text) in all {
            if let Some(text) = text.filter(|text| !text.0.is_empty()) {
                unsaid.push((key.as_bytes(), Value::String(text)));
            }
        }
        unsaid
    }

    fn write_attributes(&self, json: &mut Json, trim: Trim) {
        let mut own: SmallVec<[(&[u8], Value<'_>); 16]> = SmallVec::new();
        let mut indexed: SmallVec<[(&[u8], Value<'_>); 4]> = SmallVec::new();
        let mut metadata = Metadata::default();
        let all = self.settings.index_all_attributes;
        for attribute in &self.attributes.all {
            let (key, value) = (attribute.key.0, self.hidden.value(attribute));
            let namespace = || match value {
                Value::String(Text(text)) => Some((key.strip_prefix(PREFIX)?, text)),
                _ => None,
            };
            if self.annotations.binary_search(&key).is_ok() && is_scalar(value) {
                own.push((key, value));
            } else if let Some((namespace, text)) = namespace() {
                metadata.namespaces.push((namespace, text));
            } else if (all && !attribute.is_taken || self.settings.is_indexed(key))
                && is_scalar(value)
            {
                indexed.push((key, value));
            } else if !attribute.is_taken {
                metadata.others.push((key, value));
            }
        }
        metadata.left_out = self.attributes.left_out;
        if !self.is_subsegment {
            indexed.extend(
                self.machine.shared.annotations.iter().map(|(key, value)| (&**key, *value)),
            );
            metadata.resource = &self.machine.shared.metadata[usize::from(trim.cuts_values())];
        }
        json.object_at("annotations", |json| {
            for (key, value) in &own {
                json.key(key);
                json.value(*value);
            }
            for (own_key, value) in &indexed {
                let key = annotation_key(own_key);
                if own.iter().any(|(own, _)| *own == &*key) {
                    metadata.others.push((*own_key, *value));
                } else {
                    json.key(&key);
                    json.value(*value);
                }
            }
        });
        metadata.others.extend(self.unsaid());
        if !trim.cuts_metadata() {
            if !trim.cuts_events() {
                metadata.events = &self.events;
            }
            metadata.write(json, trim, true);
        }
    }
}
