//! What is written into spans that are kept: how many they represent, and why they were kept.

pub(super) use crate::otlp::sampling::Weights;
use crate::otlp::{
    sampling::{Answer, Threshold, Weighing},
    wire::{WireType, put_varint, tag, varint_len},
};

/// Field of attributes in `Span`.
pub(super) const ATTRIBUTES: u32 = 9;

/// What is written into the spans of one trace.
pub(super) struct Mark<'m> {
    /// Attributes of `Span`, fields with their tags.
    pub(super) attributes: &'m [u8],
    /// How their weights are written.
    pub(super) weighing: Weighing,
}

/// Appends a copy of `span` with its marks, as a field of a scope entry. `weigh` gives the
/// probability for spans that say this threshold. False: its `tracestate` cannot be read, and
/// stays.
pub(super) fn write(
    span: &[u8],
    mark: &Mark<'_>,
    weigh: impl FnOnce(Option<Threshold>) -> Answer,
    out: &mut Vec<u8>,
) -> bool {
    // The length is known at the end; mostly it has as many bytes as the old one.
    put_varint(out, tag(2, WireType::Len));
    let gap = out.len();
    let width = varint_len((span.len() + mark.attributes.len()) as u64);
    out.resize(gap + width, 0);
    let is_readable = if mark.weighing.weights.any() {
        mark.weighing.append_span(span, weigh, out)
    } else {
        out.extend_from_slice(span);
        true
    };
    out.extend_from_slice(mark.attributes);
    let len = (out.len() - gap - width) as u64;
    let new_width = varint_len(len);
    if new_width != width {
        out.splice(gap..gap + width, std::iter::repeat_n(0, new_width));
    }
    let mut rest = len;
    for byte in &mut out[gap..gap + new_width] {
        *byte = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
    }
    out[gap + new_width - 1] &= 0x7F;
    is_readable
}
