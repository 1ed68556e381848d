//! Metrics written straight as OTLP bytes. Nothing is built first: a request is one buffer, in
//! which each message is closed when its content is known.

use std::time::{SystemTime, UNIX_EPOCH};

use smallvec::SmallVec;

use crate::otlp::{
    attribute,
    wire::{WireType, bytes_field_len, put_bytes, put_header, put_varint, tag, varint, varint_len},
};

/// The time now, in nanoseconds since 1970.
pub(super) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, tag(number, WireType::Fixed64));
    out.extend(value.to_le_bytes());
}

pub(super) fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    put_fixed64(out, number, value.to_bits());
}

/// Appends a message whose content `write` appends. Its length is put in front afterwards; moving
/// the content is cheaper than writing it twice.
pub(super) fn put_message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, tag(number, WireType::Len));
    let start = out.len();
    write(out);
    let len = out.len() - start;
    let width = varint_len(len as u64);
    out.resize(start + len + width, 0);
    out.copy_within(start..start + len, start + width);
    let mut rest = len;
    for byte in &mut out[start..start + width - 1] {
        *byte = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
    }
    out[start + width - 1] = rest.to_le_bytes()[0];
}

/// Attributes, as `KeyValue` messages each behind its length. The number of their field depends on
/// the point that gets them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
    count: usize,
}

impl Attributes {
    /// Adds an attribute; `any` is an `AnyValue`.
    pub(super) fn push(&mut self, key: &[u8], any: &[u8]) {
        put_varint(&mut self.bytes, attribute::len(key.len(), any.len()) as u64);
        put_bytes(&mut self.bytes, 1, key);
        put_bytes(&mut self.bytes, 2, any);
        self.count += 1;
    }

    /// Adds an attribute that is a text.
    pub(super) fn push_text(&mut self, key: &[u8], text: &[u8]) {
        let any = bytes_field_len(1, text.len());
        put_varint(&mut self.bytes, attribute::len(key.len(), any) as u64);
        put_bytes(&mut self.bytes, 1, key);
        put_header(&mut self.bytes, 2, any);
        put_bytes(&mut self.bytes, 1, text);
        self.count += 1;
    }

    /// Adds an attribute that is a truth.
    pub(super) fn push_bool(&mut self, key: &[u8], value: bool) {
        self.push(key, &[0x10, u8::from(value)]);
    }

    /// Bytes of them on the wire; here they are a few less.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.count
    }

    /// The same in no more room than they need.
    pub(super) fn shrunk(mut self) -> Self {
        self.bytes.shrink_to_fit();
        self
    }

    /// Appends them as the field of this number.
    pub(super) fn put(&self, out: &mut Vec<u8>, number: u32) {
        let mut rest = &*self.bytes;
        while let Ok((len, after)) = varint(rest) {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let Some((one, after)) = after.split_at_checked(len) else { return };
            put_bytes(out, number, one);
            rest = after;
        }
    }
}

/// The time that a point is about, in nanoseconds since 1970; 0: not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Times {
    /// Appends the fields of any kind of point.
    pub(super) fn put(self, out: &mut Vec<u8>) {
        if self.start != 0 {
            put_fixed64(out, 2, self.start);
        }
        put_fixed64(out, 3, self.end);
    }
}

/// A span that is an example of what a point counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) time: u64,
    pub(super) value: f64,
}

impl Exemplar {
    /// Bytes of one on the wire, at most.
    pub(super) const ENCODED: usize = 64;

    /// An example of these ids; `None` unless both are whole.
    pub(super) fn of(trace_id: &[u8], span_id: &[u8], time: u64, value: f64) -> Option<Self> {
        let (trace_id, span_id) = (trace_id.try_into().ok()?, span_id.try_into().ok()?);
        let is_set = trace_id != [0; 16] && span_id != [0; 8];
        is_set.then_some(Exemplar { trace_id, span_id, time, value })
    }

    /// Appends it as the field of this number.
    pub(super) fn put(&self, out: &mut Vec<u8>, number: u32) {
        put_message(out, number, |out| {
            put_fixed64(out, 2, self.time);
            put_double(out, 3, self.value);
            put_bytes(out, 4, &self.span_id);
            put_bytes(out, 5, &self.trace_id);
        });
    }
}

/// The value of a point of a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(u64),
    Double(f64),
}

/// Bytes of a point of a sum on the wire beside its attributes and exemplars, at most.
pub(super) const SUM_POINT: usize = 48;

/// Appends a point of a sum.
pub(super) fn put_sum_point(
    out: &mut Vec<u8>,
    times: Times,
    value: Number,
    attributes: &Attributes,
    exemplars: &[Exemplar],
) {
    put_message(out, 1, |out| {
        times.put(out);
        match value {
            Number::Int(count) => put_fixed64(out, 6, count),
            Number::Double(sum) => put_double(out, 4, sum),
        }
        for exemplar in exemplars {
            exemplar.put(out, 5);
        }
        attributes.put(out, 7);
    });
}

/// Over which time the points of a metric count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporality {
    Delta = 1,
    Cumulative = 2,
}

/// What a metric is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    pub(super) unit: &'a str,
}

impl<'a> Head<'a> {
    pub(super) const fn named(name: &'a str) -> Self {
        Head { name, description: "", unit: "" }
    }

    /// Bytes of a metric on the wire beside its points, at most.
    pub(super) fn encoded_size(&self) -> usize {
        self.name.len() + self.description.len() + self.unit.len() + 64
    }
}

/// Appends a metric to a scope entry. Its data is in field `kind`: 7 is a monotonic sum, 9 and 10
/// are histograms. `points` appends the points.
pub(super) fn put_metric(
    out: &mut Vec<u8>,
    head: Head<'_>,
    kind: u32,
    temporality: Temporality,
    points: impl FnOnce(&mut Vec<u8>),
) {
    put_message(out, 2, |out| {
        let Head { name, description, unit } = head;
        for (number, text) in [(1, name), (2, description), (3, unit)] {
            if !text.is_empty() {
                put_bytes(out, number, text.as_bytes());
            }
        }
        put_message(out, kind, |out| {
            points(out);
            put_varint(out, tag(2, WireType::Varint));
            put_varint(out, temporality as u64);
            if kind == 7 {
                put_varint(out, tag(3, WireType::Varint));
                put_varint(out, 1);
            }
        });
    });
}

/// Appends a resource entry with one scope of this name. `resource` has the `Resource` messages
/// that make up the resource, `metrics` appends the metrics.
pub(super) fn put_resource(
    out: &mut Vec<u8>,
    resource: &[&[u8]],
    scope: &str,
    metrics: impl FnOnce(&mut Vec<u8>),
) {
    put_message(out, 1, |out| {
        for part in resource {
            put_bytes(out, 1, part);
        }
        put_message(out, 2, |out| {
            put_message(out, 1, |out| put_bytes(out, 1, scope.as_bytes()));
            metrics(out);
        });
    });
}

/// The parts of a singular message in a field; nearly always it is one.
pub(super) type Parts<'a> = SmallVec<[&'a [u8]; 1]>;

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point::Value};
    use prost::Message as _;

    use super::*;

    #[test]
    fn lengths_of_any_width_are_put_in_front() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let mut out = vec![7];
            put_message(&mut out, 3, |out| out.resize(out.len() + len, 5));
            let mut expected = vec![7];
            put_bytes(&mut expected, 3, &vec![5; len]);
            assert_eq!(out, expected, "{len}");
        }
    }

    #[test]
    fn a_point_is_what_prost_reads() {
        let mut attributes = Attributes::default();
        attributes.push_text(b"a", b"x");
        attributes.push_bool(b"b", true);
        attributes.push(b"c", &[0x18, 5]);
        let exemplar = Exemplar::of(&[1; 16], &[2; 8], 9, 1.5).unwrap();
        let mut out = Vec::new();
        let times = Times { start: 3, end: 4 };
        put_sum_point(&mut out, times, Number::Int(7), &attributes, &[exemplar]);
        let (header, point) = out.split_at(2);
        assert_eq!((header[0], usize::from(header[1])), (0x0A, point.len()));
        assert!(out.len() <= SUM_POINT + attributes.len() + 3 + Exemplar::ENCODED);
        let point = NumberDataPoint::decode(point).unwrap();
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (3, 4));
        assert_eq!(point.value, Some(Value::AsInt(7)));
        let keys: Vec<_> = point.attributes.iter().map(|one| &*one.key).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!(point.exemplars[0].trace_id, [1; 16]);
        assert_eq!(point.exemplars[0].time_unix_nano, 9);
    }

    #[test]
    fn an_example_has_whole_ids() {
        assert_eq!(Exemplar::of(&[], &[2; 8], 9, 1.5), None);
        assert_eq!(Exemplar::of(&[0; 16], &[2; 8], 9, 1.5), None);
        assert_eq!(Exemplar::of(&[1; 16], &[2; 7], 9, 1.5), None);
    }
}
