//! Makes log records of exceptions.

use std::borrow::Cow;

use super::Plan;
use crate::{
    component::{BuildContext, Output, Processor},
    connectors::{
        attributes::{Found, any_text, contents},
        metrics::{Parts, put_fixed64, put_message, unix_nanos},
        names,
        payloads::{made_of, purse_for, reserve},
        tally::REFUSED,
    },
    otlp::{
        Payload, Signal,
        attribute::{self, key_value},
        digest::{self, Digest},
        filter::{Left, retain_items},
        payload::{Body, Outcome, Reason},
        purse::Purse,
        splice::messages,
        wire::{FieldValue, Fields, WireType, put_bytes, put_varint, tag},
    },
    telemetry::Counter,
};

/// Key and `AnyValue`.
type Attribute<'v> = (&'v [u8], Cow<'v, [u8]>);

/// The name of the events, and of the records.
const NAME: &[u8] = b"exception";

/// `SeverityNumber` of errors, and its text.
const ERROR: (u64, &[u8]) = (17, b"ERROR");

/// The exceptions among the events of a span.
pub(super) fn exceptions(span: &[u8]) -> impl Iterator<Item = &[u8]> {
    contents(span, 11).filter(|event| contents(event, 2).last() == Some(NAME))
}

/// Whether a span has one.
pub(super) fn has_exception(span: &[u8]) -> bool {
    exceptions(span).next().is_some()
}

/// Whether a log record is an exception.
pub(super) fn is_exception(record: &[u8]) -> bool {
    contents(record, 6).any(|attribute| {
        let (key, _) = key_value(attribute);
        matches!(key, b"exception.type" | b"exception.message")
    })
}

/// The connector to log records.
pub(super) struct Records {
    plan: Plan,
    refused: Counter,
}

impl Records {
    pub(super) fn new(plan: Plan, cx: &BuildContext) -> Self {
        let plan = Plan { wanted: plan.wanted.of_any_length(), ..plan };
        Records { plan, refused: cx.metrics("connector").counter(&REFUSED, &[]) }
    }

    /// Appends the records of a request. Returns how many.
    fn records(
        &self,
        payload: &Payload,
        purse: &mut Purse,
        out: &mut Vec<u8>,
    ) -> Result<u64, Reason> {
        let mut count = 0;
        for entry in payload.body.iter().flat_map(|segment| messages(segment, &[1])) {
            let entry = entry.bytes();
            let parts: Parts<'_> = messages(entry, &[1]).map(|field| field.bytes()).collect();
            let resource = self.plan.wanted.among(&parts, 1);
            let mut scopes = Vec::new();
            for scope in digest::spans(entry) {
                count += self.scope(scope.inner, &resource, purse, &mut scopes)?;
            }
            if !scopes.is_empty() {
                owned(out, 1, (entry, &scopes), purse)?;
            }
        }
        Ok(count)
    }

    /// Appends the records of a scope entry, under the same scope.
    fn scope(
        &self,
        scope: &[u8],
        resource: &Found<'_>,
        purse: &mut Purse,
        out: &mut Vec<u8>,
    ) -> Result<u64, Reason> {
        let (mut records, mut count) = (Vec::new(), 0);
        for span in digest::spans(scope).filter(|span| has_exception(span.inner)) {
            for event in exceptions(span.inner) {
                self.record((span.inner, event), resource, purse, &mut records)?;
                count += 1;
            }
        }
        if count > 0 {
            owned(out, 2, (scope, &records), purse)?;
        }
        Ok(count)
    }

    fn record(
        &self,
        (span, event): (&[u8], &[u8]),
        resource: &Found<'_>,
        purse: &mut Purse,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let plan = &self.plan;
        let mut of_span = plan.wanted.none();
        let digest = Digest::read(span, |attribute| plan.wanted.note(attribute, &mut of_span));
        let of_event = plan.wanted.among(&[event], 3);
        purse.pay(span.len())?;
        let own = self.own(&digest, [&of_span[..], &of_event, resource]);
        let size =
            span.len() + own.iter().map(|(key, any)| key.len() + any.len() + 24).sum::<usize>();
        reserve(out, size + 128, purse)?;
        put_message(out, 2, |out| {
            put_fixed64(out, 1, time_of(event));
            put_varint(out, tag(2, WireType::Varint));
            put_varint(out, ERROR.0);
            put_bytes(out, 3, ERROR.1);
            for attribute in contents(span, 9) {
                let (key, _) = key_value(attribute);
                if !own.iter().any(|(known, _)| *known == key) {
                    put_bytes(out, 6, attribute);
                }
            }
            for (key, any) in &own {
                attribute::put(out, 6, key, any);
            }
            for (number, id) in [(9, digest.trace_id), (10, digest.span_id)] {
                if !id.is_empty() {
                    put_bytes(out, number, id);
                }
            }
            put_fixed64(out, 11, unix_nanos());
            put_bytes(out, 12, NAME);
        });
        Ok(())
    }

    /// The attributes of a record beside those of its span. `values` are those of the span, of the
    /// event and of the resource.
    fn own<'v>(&'v self, digest: &Digest<'_>, values: [&'v Found<'v>; 3]) -> Vec<Attribute<'v>> {
        let plan = &self.plan;
        let [_, of_event, of_resource] = values;
        let value = |at: usize| values.into_iter().find_map(|found| found.get(at)?.as_deref());
        let mut own: Vec<Attribute<'_>> = vec![
            (b"span.name", any_text(digest.name).into()),
            (b"span.kind", any_text(names::kind(digest.kind).as_bytes()).into()),
            (b"status.code", any_text(names::status(digest.status_code).as_bytes()).into()),
        ];
        if let Some(Some(service)) = of_resource.get(plan.service) {
            own.push((b"service.name", (&**service).into()));
        }
        for dimension in &plan.dimensions {
            if let Some(any) = value(dimension.at).or(dimension.default.as_deref()) {
                own.push((&dimension.key, any.into()));
            }
        }
        for (key, at) in plan.exception {
            let is_known = own.iter().any(|(known, _)| *known == key.as_bytes());
            if let Some(any) = of_event.get(at).and_then(Option::as_deref).filter(|_| !is_known) {
                own.push((key.as_bytes(), any.into()));
            }
        }
        own
    }

    /// Leaves the exceptions among log records.
    fn retain(&self, mut payload: Payload, out: &mut Output) {
        let mut purse = purse_for(&payload);
        let (mut body, mut items, mut copies) = (Body::new(), 0, 0);
        for segment in &payload.body {
            match retain_items(segment, &mut purse, is_exception) {
                Ok(Left::All(all)) => {
                    items += all;
                    body.push(segment.clone());
                }
                Ok(Left::Some { body: new, items: some }) => {
                    (items, copies) = (items + some, copies + 1);
                    body.push(new.into());
                }
                Ok(Left::Nothing) => {}
                Err(reason) => {
                    self.refused.add(payload.items);
                    return out.refuse(payload, reason);
                }
            }
        }
        if items == 0 {
            return payload.finish(Outcome::Filtered);
        }
        let is_whole = copies == body.len();
        payload.exchange_body(body, purse.into_permits(), is_whole);
        payload.items = items;
        out.emit(payload);
    }
}

impl Processor for Records {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if payload.signal == Signal::Logs {
            return self.retain(payload, out);
        }
        let (mut purse, mut body) = (purse_for(&payload), Vec::new());
        match self.records(&payload, &mut purse, &mut body) {
            Err(reason) => {
                self.refused.add(payload.items);
                out.refuse(payload, reason);
            }
            Ok(records) => {
                if records > 0 {
                    out.emit(made_of(&payload, Signal::Logs, body, records, purse));
                }
                payload.finish(Outcome::Delivered);
            }
        }
    }
}

/// Appends an entry like another one, a resource or scope entry, with other contents: the owner is
/// the same, and so is its schema.
fn owned(
    out: &mut Vec<u8>,
    number: u32,
    (entry, contents): (&[u8], &[u8]),
    purse: &mut Purse,
) -> Result<(), Reason> {
    let is_owner = |number: u32| matches!(number, 1 | 3);
    let fields = || Fields::new(entry).map_while(Result::ok).filter(|it| is_owner(it.number));
    let size = fields().map(|field| field.whole.len()).sum::<usize>() + contents.len();
    reserve(out, size + 32, purse)?;
    put_message(out, number, |out| {
        fields().for_each(|field| out.extend_from_slice(field.whole));
        out.extend_from_slice(contents);
    });
    Ok(())
}

/// When an event or a log record was.
pub(super) fn time_of(message: &[u8]) -> u64 {
    let fields = Fields::new(message).map_while(Result::ok).filter(|field| field.number == 1);
    let times = fields.filter_map(|field| match field.value {
        FieldValue::Fixed64(time) => Some(time),
        _ => None,
    });
    times.last().unwrap_or(0)
}
