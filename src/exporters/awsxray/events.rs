//! Events of a span that are no exceptions: X-Ray has no field for them, so they are metadata, as a list
//! `otel.events` in the default namespace. The first 16 kB of them are kept; how many there were beyond
//! says `otel.events.left_out`.

use super::{attributes::Attributes, cause, json::Json};
use crate::otlp::view::{Event, Span};

/// Most bytes of the list.
const LIMIT: usize = 16 << 10;

/// Members of metadata, as JSON; nothing where there are no such events. `is_aws`: of a call of an AWS SDK,
/// whose failed attempts are causes.
pub(super) fn of(span: &Span<'_>, attributes: &Attributes<'_>, is_aws: bool) -> Vec<u8> {
    if !attributes.has_events {
        return Vec::new();
    }
    let is_other = |event: &Event<'_>| {
        event.name != "exception" && !(is_aws && cause::failure(event).is_some())
    };
    let mut events = span.events().filter(is_other).peekable();
    let mut json = Json::default();
    if events.peek().is_none() {
        return json.out;
    }
    json.key(b"otel.events");
    json.begin_list();
    let mut left_out = 0;
    for event in events {
        if left_out > 0 || !json.within(LIMIT, |json| write(json, &event)) {
            left_out += 1;
        }
    }
    json.end_list();
    if left_out > 0 {
        json.int_at("otel.events.left_out", left_out);
    }
    json.out
}

fn write(json: &mut Json, event: &Event<'_>) {
    json.begin();
    json.text_at("name", event.name.0);
    json.seconds_at("time", event.time_unix_nano);
    json.object_at("attributes", |json| {
        for attribute in event.attributes() {
            json.key(attribute.key.0);
            json.value(attribute.value.unwrap_or_default());
        }
    });
    json.end();
}
