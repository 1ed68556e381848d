//! The edits on bytes against the same rules on decoded messages, with requests as SDKs write them
//! and as no sane encoder would.

use std::time::Duration;

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue as Attribute, any_value::Value as Any},
    logs::v1::LogRecord,
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link},
    },
};
use proptest::prelude::*;
use prost::Message as _;

use super::{
    super::clock::{self, Bounds},
    *,
};
use crate::otlp::{
    check::{self, Utf8},
    view,
    wild::{self, OneOfs},
};

const NOW: u64 = 1_800_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn rules(patterns: &[&str], max_value: usize, most: usize) -> Rules {
    let owned: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
    Rules {
        resource_keys: Keys::new(&owned),
        item_keys: Keys::new(&owned),
        services: Vec::new(),
        source: "browser".to_owned(),
        max_attributes: most,
        max_value,
        max_events: most,
        max_links: most,
    }
}

fn clock_of(signal: Signal, body: &[u8]) -> Clock {
    let seconds = Duration::from_secs;
    let bounds = Bounds::new(seconds(5), seconds(600), seconds(3600));
    Clock::new(bounds, NOW, clock::latest(signal, body))
}

fn facts(clock: Clock, user: Option<&'static str>) -> Facts<'static> {
    Facts { clock, address: Some("203.0.113.0"), agent: None, user }
}

fn edited(rules: &Rules, facts: &Facts<'_>, signal: Signal, body: &[u8]) -> (Vec<u8>, Counts) {
    let (edited, counts) = edit(rules, facts, (signal, body), &mut Purse::default()).unwrap();
    (edited.unwrap_or_else(|| body.to_vec()), counts)
}

fn text(key: &str, value: &str) -> Attribute {
    let value = Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) });
    Attribute { key: key.to_owned(), value, ..Attribute::default() }
}

fn int(key: &str, value: i64) -> Attribute {
    let value = Some(AnyValue { value: Some(Any::IntValue(value)) });
    Attribute { key: key.to_owned(), value, ..Attribute::default() }
}

/// The rules, as simple as can be.
struct Model<'r> {
    rules: &'r Rules,
    facts: &'r Facts<'r>,
}

impl Model<'_> {
    fn cut(&self, text: &mut String) {
        text.truncate(text.floor_char_boundary(self.rules.max_value));
    }

    fn attributes(&self, attributes: &mut Vec<Attribute>) {
        attributes.truncate(self.rules.max_attributes);
        attributes.retain_mut(|attribute| {
            let is_claim = matches!(&*attribute.key, "user.id" | "enduser.id");
            if is_claim {
                CLAIMED_USER.clone_into(&mut attribute.key);
            } else if self.rules.item_keys.fate(attribute.key.as_bytes()) != Fate::Keep {
                return false;
            }
            match attribute.value.as_mut().and_then(|value| value.value.as_mut()) {
                Some(Any::StringValue(text)) => self.cut(text),
                Some(Any::BytesValue(bytes)) => bytes.truncate(self.rules.max_value),
                _ if is_claim => return false,
                _ => {}
            }
            true
        });
    }

    fn resource(&self, resource: &mut Option<Resource>) {
        let resource = resource.get_or_insert_default();
        self.attributes(&mut resource.attributes);
        resource.entity_refs.clear();
        resource.attributes.extend([text(SOURCE, "browser"), text(TRUST, CLIENT)]);
        let shift = self.facts.clock.shift_ms;
        resource.attributes.extend((shift != 0).then(|| int(SHIFT, shift)));
        resource.attributes.extend(self.facts.address.map(|address| text(ADDRESS, address)));
    }

    fn scope(&self, scope: &mut Option<InstrumentationScope>) {
        let Some(scope) = scope else { return };
        self.cut(&mut scope.name);
        self.cut(&mut scope.version);
        self.attributes(&mut scope.attributes);
    }

    fn append(&self, attributes: &mut Vec<Attribute>, claimed: (u64, u64), times: Times) {
        attributes.extend(self.facts.user.map(|user| text(USER, user)));
        if let Some(why) = times.implausible {
            attributes.push(text(IMPLAUSIBLE, why.name()));
            attributes.push(text(CLAIMED_START, &claimed.0.to_string()));
            attributes.push(text(CLAIMED_END, &claimed.1.to_string()));
        }
    }

    fn span(&self, span: &mut Span) {
        span.trace_state.clear();
        self.cut(&mut span.name);
        if !matches!(span.kind, 0 | 1 | 3) {
            span.kind = 1;
        }
        self.attributes(&mut span.attributes);
        span.events.truncate(self.rules.max_events);
        for event in &mut span.events {
            if event.time_unix_nano != 0 {
                event.time_unix_nano = self.facts.clock.of_event(event.time_unix_nano);
            }
            self.cut(&mut event.name);
            self.attributes(&mut event.attributes);
        }
        span.links.truncate(self.rules.max_links);
        for link in &mut span.links {
            link.trace_state.clear();
            self.attributes(&mut link.attributes);
        }
        if let Some(status) = &mut span.status {
            self.cut(&mut status.message);
        }
        let claimed = (span.start_time_unix_nano, span.end_time_unix_nano);
        let times = self.facts.clock.of_span(claimed.0, claimed.1);
        (span.start_time_unix_nano, span.end_time_unix_nano) = (times.start, times.end);
        self.append(&mut span.attributes, claimed, times);
    }

    fn record(&self, record: &mut LogRecord) {
        let clock = self.facts.clock;
        if record.observed_time_unix_nano != 0 {
            record.observed_time_unix_nano = clock.of_event(record.observed_time_unix_nano);
        }
        self.cut(&mut record.severity_text);
        self.cut(&mut record.event_name);
        self.attributes(&mut record.attributes);
        if let Some(Any::StringValue(text)) =
            record.body.as_mut().and_then(|body| body.value.as_mut())
        {
            self.cut(text);
        }
        let claimed = (record.time_unix_nano, record.time_unix_nano);
        let times = clock.of_record(claimed.0);
        record.time_unix_nano = times.start;
        self.append(&mut record.attributes, claimed, times);
    }

    fn traces(&self, request: &mut ExportTraceServiceRequest) {
        for entry in &mut request.resource_spans {
            self.resource(&mut entry.resource);
            for scopes in &mut entry.scope_spans {
                self.scope(&mut scopes.scope);
                scopes.spans.iter_mut().for_each(|span| self.span(span));
            }
        }
    }

    fn logs(&self, request: &mut ExportLogsServiceRequest) {
        for entry in &mut request.resource_logs {
            self.resource(&mut entry.resource);
            for scopes in &mut entry.scope_logs {
                self.scope(&mut scopes.scope);
                scopes.log_records.iter_mut().for_each(|record| self.record(record));
            }
        }
    }
}

/// Compares the edit of a request with the model.
fn compare(rules: &Rules, user: Option<&'static str>, signal: Signal, body: &[u8]) {
    let facts = facts(clock_of(signal, body), user);
    let model = Model { rules, facts: &facts };
    let (after, _) = edited(rules, &facts, signal, body);
    check::check(signal, &after, Utf8::Strict).unwrap();
    if signal == Signal::Traces {
        let mut expected = ExportTraceServiceRequest::decode(body).unwrap();
        model.traces(&mut expected);
        let after = ExportTraceServiceRequest::decode(&*after).unwrap();
        // As bytes, because a number that is none is not equal to itself.
        assert!(after.encode_to_vec() == expected.encode_to_vec(), "{after:?}\n{expected:?}");
    } else {
        let mut expected = ExportLogsServiceRequest::decode(body).unwrap();
        model.logs(&mut expected);
        let after = ExportLogsServiceRequest::decode(&*after).unwrap();
        assert!(after.encode_to_vec() == expected.encode_to_vec(), "{after:?}\n{expected:?}");
    }
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let key = prop_oneof![
        Just("user.id".to_owned()),
        Just("skep.trust".to_owned()),
        "(http|url|a|b)(\\.[a-c]{1,3})?",
        "[k]{200,300}",
    ];
    let value = prop_oneof![
        "[a-z]{0,9}".prop_map(Any::StringValue),
        "[a-\u{ff}\u{1f600}]{0,90}".prop_map(Any::StringValue),
        any::<i64>().prop_map(Any::IntValue),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(Any::BytesValue),
    ];
    let attribute = (key, proptest::option::of(value)).prop_map(|(key, value)| Attribute {
        key,
        value: value.map(|value| AnyValue { value: Some(value) }),
        ..Attribute::default()
    });
    proptest::collection::vec(attribute, 0..8)
}

fn time() -> impl Strategy<Value = u64> {
    let near = (0..40_u64).prop_map(|seconds| NOW - seconds * SECOND);
    let off = (0..99_u64).prop_map(|hours| NOW - hours * 3600 * SECOND);
    let ahead = (0..99_u64).prop_map(|seconds| NOW + seconds * SECOND);
    prop_oneof![4 => near, 1 => off, 1 => ahead, 1 => any::<u64>(), 1 => Just(0)]
}

fn span() -> impl Strategy<Value = Span> {
    let event = (time(), "[a-z]{0,40}", attributes()).prop_map(|(time_unix_nano, name, list)| {
        Event { time_unix_nano, name, attributes: list, ..Event::default() }
    });
    let link = (attributes(), "[a-z=]{0,9}").prop_map(|(attributes, trace_state)| Link {
        attributes,
        trace_state,
        span_id: vec![7; 8],
        ..Link::default()
    });
    let events = proptest::collection::vec(event, 0..6);
    let links = proptest::collection::vec(link, 0..6);
    let texts = ("[a-\u{ff}]{0,60}", "(ot=th:8)?", proptest::option::of("[a-z]{0,60}"));
    (attributes(), events, links, texts, (time(), time()), 0..7_i32).prop_map(
        |(attributes, events, links, (name, trace_state, status), (start, end), kind)| Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name,
            kind,
            trace_state,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            events,
            links,
            status: status.map(|message| Status { message, code: 2 }),
            flags: 1,
            ..Span::default()
        },
    )
}

fn request(spans: Vec<Span>, resource: Option<Vec<Attribute>>) -> ExportTraceServiceRequest {
    let resource = resource.map(|attributes| Resource { attributes, ..Resource::default() });
    let scope = Some(InstrumentationScope { name: "web".to_owned(), ..Default::default() });
    let scope_spans = vec![ScopeSpans { spans, scope, ..ScopeSpans::default() }];
    let entry = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }
}

proptest! {
    #[test]
    fn edits_on_bytes_are_edits_on_messages(
        spans in proptest::collection::vec(span(), 0..6),
        resource in proptest::option::of(attributes()),
        (max_value, most) in (32_usize..80, 1_usize..9),
        user in proptest::option::of(Just("user-42")),
    ) {
        let rules = rules(&["http.*", "a", "b.*", "k*"], max_value, most);
        compare(&rules, user, Signal::Traces, &request(spans, resource).encode_to_vec());
    }

    #[test]
    fn so_they_are_in_odd_but_legal_forms(seed: u64, is_log: bool, most in 1_usize..9) {
        let signal = if is_log { Signal::Logs } else { Signal::Traces };
        let body = wild::request(signal, seed, OneOfs::Kept);
        for patterns in [&["*"][..], &["a*", "e*", "k*"][..], &[][..]] {
            compare(&rules(patterns, 1 << 20, most), Some("user-42"), signal, &body);
        }
    }

    #[test]
    fn what_comes_out_keeps_to_the_limits(seed: u64, is_log: bool) {
        let signal = if is_log { Signal::Logs } else { Signal::Traces };
        let body = wild::request(signal, seed, OneOfs::Kept);
        let rules = rules(&["a*", "e*", "k*"], 8, 2);
        let (after, _) = edited(&rules, &facts(clock_of(signal, &body), None), signal, &body);
        for entry in view::traces(&after).take(if is_log { 0 } else { usize::MAX }) {
            for span in entry.scopes().flat_map(|scope| scope.spans()) {
                // Two of the page, and three of skep.
                prop_assert!(span.attributes().count() <= 5 && span.events().count() <= 2);
                prop_assert!(span.name.0.len() <= 8 && span.trace_state.is_empty());
                for time in [span.start_time_unix_nano, span.end_time_unix_nano] {
                    prop_assert!((NOW - 3600 * SECOND..=NOW + 5 * SECOND).contains(&time));
                }
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        for signal in [Signal::Traces, Signal::Logs] {
            let facts = facts(clock_of(signal, &bytes), Some("u"));
            let _ = edit(&rules(&["a*"], 4, 1), &facts, (signal, &bytes), &mut Purse::default());
        }
    }
}

fn fine(name: &str) -> Span {
    Span {
        name: name.to_owned(),
        start_time_unix_nano: NOW - 2 * SECOND,
        end_time_unix_nano: NOW - SECOND,
        attributes: vec![text("http.method", "GET")],
        ..Span::default()
    }
}

/// A span that is fine is copied, byte for byte, and so is what no rule is about.
#[test]
fn what_is_fine_stays_as_it_is() {
    let mut odd = fine("x").encode_to_vec();
    // The kind, with an overlong varint.
    odd.extend_from_slice(&[6 << 3, 0x83, 0x00]);
    let mut scopes = Vec::new();
    put_bytes(&mut scopes, 2, &odd);
    let mut entry = Vec::new();
    put_bytes(&mut entry, 2, &scopes);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &entry);
    let rules = rules(&["http.*"], 100, 9);
    let (after, counts) =
        edited(&rules, &facts(clock_of(Signal::Traces, &body), None), Signal::Traces, &body);
    assert!(after.windows(scopes.len()).any(|part| part == scopes), "the scopes are copied");
    assert_eq!(counts, Counts::default());
}

#[test]
fn marks_of_a_page_are_replaced_and_its_user_is_a_claim() {
    let resource = [("skep.trust", "server"), ("user.id", "admin"), ("service.name", "shop")];
    let resource = resource.map(|(key, value)| text(key, value)).to_vec();
    let body = request(vec![fine("x")], Some(resource)).encode_to_vec();
    let rules = rules(&["service.name", "user.*", "http.*"], 100, 9);
    let facts = facts(clock_of(Signal::Traces, &body), Some("user-42"));
    let (after, counts) = edited(&rules, &facts, Signal::Traces, &body);
    let after = ExportTraceServiceRequest::decode(&*after).unwrap();
    let resource = after.resource_spans[0].resource.as_ref().unwrap();
    let expected = [
        (CLAIMED_USER, "admin"),
        ("service.name", "shop"),
        (SOURCE, "browser"),
        (TRUST, "client"),
        (ADDRESS, "203.0.113.0"),
    ];
    assert_eq!(resource.attributes, expected.map(|(key, value)| text(key, value)));
    let span = &after.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.attributes, [text("http.method", "GET"), text(USER, "user-42")]);
    assert_eq!((counts.of(Counted::User), counts.of(Counted::Attribute)), (1, 1));
}

#[test]
fn only_listed_services_are_taken() {
    let mut rules = rules(&["*"], 100, 9);
    rules.services = vec!["shop".to_owned()];
    let of = |resource: Option<Vec<Attribute>>| {
        let body = request(vec![fine("x")], resource).encode_to_vec();
        let facts = facts(clock_of(Signal::Traces, &body), None);
        edit(&rules, &facts, (Signal::Traces, &body), &mut Purse::default()).map(|_| ())
    };
    let named = |name: &str| Some(vec![text("service.name", name)]);
    assert_eq!(of(named("shop")), Ok(()));
    assert_eq!(of(named("bank")), Err(Refused::Service("bank".to_owned())));
    assert_eq!(of(None), Err(Refused::Service(String::new())));
    let twice = vec![text("service.name", "shop"), text("service.name", "bank")];
    assert_eq!(of(Some(twice)), Err(Refused::Service("bank".to_owned())));
}

#[test]
fn a_value_that_hides_more_than_it_shows_is_written_anew() {
    // A key that is set twice: the first one is long, and no reader sees it.
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, 1, &[b'x'; 5000]);
    attribute.extend_from_slice(&text("http.method", "GET").encode_to_vec());
    let mut span = fine("x").encode_to_vec();
    put_bytes(&mut span, 9, &attribute);
    let mut scopes = Vec::new();
    put_bytes(&mut scopes, 2, &span);
    let mut entry = Vec::new();
    put_bytes(&mut entry, 2, &scopes);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &entry);
    let rules = rules(&["http.*"], 100, 9);
    let (after, _) =
        edited(&rules, &facts(clock_of(Signal::Traces, &body), None), Signal::Traces, &body);
    assert!(after.len() < 400, "{}", after.len());
    let after = ExportTraceServiceRequest::decode(&*after).unwrap();
    let span = &after.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.attributes, [text("http.method", "GET"), text("http.method", "GET")]);
}
