//! Events of a span, as far as they are not in a cause. X-Ray has no field for them, so they are
//! metadata: a list `otel.events` in the default namespace. Events that are not exceptions are
//! there as a whole; of exceptions, only attributes that are not in their causes, such as a stack
//! trace that was not understood. The first 16 kB are kept; `otel.events.left_out` is the number of
//! events beyond that.

use crate::{
    exporters::json::Json,
    otlp::view::{Event, KeyValue, Span},
};

/// Most bytes of the list.
const LIMIT: usize = 16 << 10;

/// Which events of a span became causes, by their numbers.
pub(super) trait Causes {
    /// Whether the event is a cause.
    fn has(&self, event: usize) -> bool;
    /// Whether the cause contains all of this attribute of the event.
    fn has_attribute(&self, event: usize, attribute: &KeyValue<'_>) -> bool;
}

/// Members of metadata, as JSON; empty if there are none.
pub(super) fn of(span: &Span<'_>, has_events: bool, causes: Option<&dyn Causes>) -> Vec<u8> {
    if !has_events {
        return Vec::new();
    }
    let mut json = Json::default().at_most(2 * LIMIT);
    let (mut is_open, mut left_out) = (false, 0);
    for (number, event) in span.events().enumerate() {
        let causes = causes.filter(|causes| causes.has(number));
        let is_left =
            |one: &KeyValue<'_>| causes.is_none_or(|causes| !causes.has_attribute(number, one));
        if causes.is_some() && !event.attributes().any(|one| is_left(&one)) {
            continue;
        }
        if !is_open {
            json.key(b"otel.events");
            json.begin_list();
            is_open = true;
        }
        if left_out > 0 || !json.within(LIMIT, |json| write(json, &event, is_left)) {
            left_out += 1;
        }
    }
    if is_open {
        json.end_list();
    }
    if left_out > 0 {
        json.int_at("otel.events.left_out", left_out);
    }
    json.out
}

fn write(json: &mut Json, event: &Event<'_>, is_left: impl Fn(&KeyValue<'_>) -> bool) {
    json.begin();
    json.text_at("name", event.name.0);
    json.seconds_at("time", event.time_unix_nano);
    json.object_at("attributes", |json| {
        for attribute in event.attributes().filter(is_left) {
            if json.is_over() {
                break;
            }
            json.key(attribute.key.0);
            json.value(attribute.value.unwrap_or_default());
        }
    });
    json.end();
}
