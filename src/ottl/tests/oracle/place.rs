//! Paths on decoded messages.

use opentelemetry_proto::tonic::{
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any,
    },
    logs::v1::LogRecord,
    metrics::v1::{
        Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
        SummaryDataPoint,
    },
    resource::v1::Resource,
    trace::v1::{
        Span,
        span::{Event, Link},
    },
};

use super::{
    slot::{
        Slot, event_slot, exemplar_slot, exponential_slot, histogram_slot, link_slot, log_slot,
        metric_slot, number_slot, span_slot, summary_slot,
    },
    value::{No, Res, Val},
};
use crate::{otlp::payload, ottl::Context};

/// An item with everything above it.
pub(super) struct Levels<'a> {
    pub resource: &'a mut Resource,
    pub resource_schema: &'a mut String,
    pub scope: &'a mut InstrumentationScope,
    pub scope_schema: &'a mut String,
    pub item: ItemOf<'a>,
    pub child: Child<'a>,
    pub exemplar: Option<&'a mut Exemplar>,
    pub cache: Vec<KeyValue>,
    /// Metrics that editors have made for the scope.
    pub appended: &'a mut Vec<Metric>,
    /// What brought the request.
    pub request: &'a payload::Context,
}

pub(super) enum ItemOf<'a> {
    None,
    Span(&'a mut Span),
    Log(&'a mut LogRecord),
    Metric(&'a mut Metric),
}

pub(super) enum Child<'a> {
    None,
    Event(&'a mut Event, i64),
    Link(&'a mut Link),
    Number(&'a mut NumberDataPoint),
    Histogram(&'a mut HistogramDataPoint),
    Exponential(&'a mut ExponentialHistogramDataPoint),
    Summary(&'a mut SummaryDataPoint),
}

/// A key of a path.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Text(String),
    Index(i64),
}

impl Levels<'_> {
    fn slot(&mut self, context: Context, field: &str) -> Slot<'_> {
        if field == "cache" {
            return Slot::Map(&mut self.cache);
        }
        match context {
            Context::Resource => match field {
                "attributes" => Slot::Map(&mut self.resource.attributes),
                "schema_url" => Slot::Text(self.resource_schema),
                _ => Slot::Count(&mut self.resource.dropped_attributes_count),
            },
            Context::Scope => match field {
                "attributes" => Slot::Map(&mut self.scope.attributes),
                "name" => Slot::Text(&mut self.scope.name),
                "version" => Slot::Text(&mut self.scope.version),
                "schema_url" => Slot::Text(self.scope_schema),
                _ => Slot::Count(&mut self.scope.dropped_attributes_count),
            },
            Context::Exemplar => match &mut self.exemplar {
                None => unreachable!("there is an exemplar"),
                Some(exemplar) => exemplar_slot(exemplar, field),
            },
            Context::DataPoint | Context::SpanEvent | Context::SpanLink => match &mut self.child {
                Child::None => unreachable!("there is a child"),
                Child::Event(event, index) => event_slot(event, *index, field),
                Child::Link(link) => link_slot(link, field),
                Child::Number(point) => number_slot(point, field),
                Child::Histogram(point) => histogram_slot(point, field),
                Child::Exponential(point) => exponential_slot(point, field),
                Child::Summary(point) => summary_slot(point, field),
            },
            _ => match &mut self.item {
                ItemOf::None => unreachable!("there is an item"),
                ItemOf::Span(span) => span_slot(span, field),
                ItemOf::Log(log) => log_slot(log, field),
                ItemOf::Metric(metric) => metric_slot(metric, field),
            },
        }
    }

    pub(super) fn get(&mut self, context: Context, field: &str, keys: &[Key]) -> Res<Val> {
        if context == Context::Request {
            return of_request(self.request, field, keys);
        }
        let slot = self.slot(context, field);
        let is_body = matches!(slot, Slot::Any(_));
        let whole = slot.read()?;
        if is_body && !keys.is_empty() && !matches!(whole, Val::Map(_) | Val::List(_)) {
            return Err(No::Fails);
        }
        keys.iter().try_fold(whole, step)
    }

    pub(super) fn set(
        &mut self,
        context: Context,
        field: &str,
        keys: &[Key],
        value: &Val,
    ) -> Res<()> {
        let slot = self.slot(context, field);
        if keys.is_empty() {
            return slot.write(value);
        }
        let new = value.stored()?;
        match slot {
            Slot::Map(map) => {
                let mut copy = map.clone();
                put_in_map(&mut copy, keys, new)?;
                Val::Map(copy.clone()).stored()?;
                *map = copy;
            }
            Slot::Any(any) => {
                let mut copy = any.clone();
                if !matches!(Val::of(copy.as_ref()), Val::Map(_) | Val::List(_)) {
                    return Err(No::Fails);
                }
                put_inside(&mut copy, keys, new)?;
                Val::of(copy.as_ref()).stored()?;
                *any = copy;
            }
            _ => return Err(No::Unsure),
        }
        Ok(())
    }
}

fn of_request(request: &payload::Context, field: &str, keys: &[Key]) -> Res<Val> {
    if field == "client.addr" {
        return Ok(Val::Text(request.peer.map_or(String::new(), |peer| peer.ip().to_string())));
    }
    let Some((Key::Text(key), deeper)) = keys.split_first() else { return Err(No::Unsure) };
    let list = |values: Vec<String>| {
        let values: Res<Vec<AnyValue>> =
            values.iter().map(|text| Val::text(text).stored()).collect();
        Ok(Val::List(values?))
    };
    let found = if field == "client.auth.attributes" {
        match request.auth.iter().find(|(name, _)| name == key) {
            None => Val::Nil,
            Some((_, values)) if values.len() == 1 => Val::text(&values[0]),
            Some((_, values)) => list(values.clone())?,
        }
    } else {
        // Names of headers are the same in any case.
        let of_key = request.metadata.iter().filter(|(name, _)| *name == key.to_lowercase());
        let values: Vec<String> = of_key.map(|(_, value)| value.clone()).collect();
        if values.is_empty() { Val::Nil } else { list(values)? }
    };
    deeper.iter().try_fold(found, step)
}

fn step(value: Val, key: &Key) -> Res<Val> {
    match (value, key) {
        (Val::Nil, _) => Ok(Val::Nil),
        (Val::Map(map), Key::Text(key)) => {
            let found = map.iter().find(|entry| entry.key == *key);
            Ok(Val::of(found.and_then(|entry| entry.value.as_ref())))
        }
        (Val::List(list), Key::Index(index)) => {
            let at = usize::try_from(*index).map_err(|_| No::Fails)?;
            list.get(at).map(|any| Val::of(Some(any))).ok_or(No::Fails)
        }
        _ => Err(No::Fails),
    }
}

fn put_in_map(map: &mut Vec<KeyValue>, keys: &[Key], new: AnyValue) -> Res<()> {
    let Some((Key::Text(key), deeper)) = keys.split_first() else { return Err(No::Fails) };
    let at = map.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
        map.push(KeyValue { key: key.clone(), ..KeyValue::default() });
        map.len() - 1
    });
    put_inside(&mut map[at].value, deeper, new)
}

fn put_inside(old: &mut Option<AnyValue>, keys: &[Key], new: AnyValue) -> Res<()> {
    let Some((first, deeper)) = keys.split_first() else {
        *old = Some(new);
        return Ok(());
    };
    let value = match (Val::of(old.as_ref()), first) {
        (Val::Nil, Key::Text(_)) => {
            let mut values = Vec::new();
            put_in_map(&mut values, keys, new)?;
            Any::KvlistValue(KeyValueList { values })
        }
        (Val::Map(mut values), Key::Text(_)) => {
            put_in_map(&mut values, keys, new)?;
            Any::KvlistValue(KeyValueList { values })
        }
        (Val::Nil, Key::Index(index)) => {
            let at = usize::try_from(*index).map_err(|_| No::Fails)?;
            let mut values = vec![AnyValue::default(); at];
            let mut last = None;
            put_inside(&mut last, deeper, new)?;
            values.push(last.unwrap_or_default());
            Any::ArrayValue(ArrayValue { values })
        }
        (Val::List(mut values), Key::Index(index)) => {
            let at = usize::try_from(*index).map_err(|_| No::Fails)?;
            let place = values.get_mut(at).ok_or(No::Fails)?;
            let mut inner = Some(std::mem::take(place));
            put_inside(&mut inner, deeper, new)?;
            *place = inner.unwrap_or_default();
            Any::ArrayValue(ArrayValue { values })
        }
        _ => return Err(No::Fails),
    };
    *old = Some(AnyValue { value: Some(value) });
    Ok(())
}
