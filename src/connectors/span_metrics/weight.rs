//! How many spans a sampled one stands for: one over the probability that it was kept, which its
//! `tracestate` has as the member `ot`, in the form of a threshold (`th:`, up to 14 hexadecimal
//! digits of the share that was dropped).

/// One more than the largest threshold.
const END: u64 = 1 << 56;

/// The share of spans that are kept, in 2^-56; `None` if there is no threshold.
fn kept(trace_state: &[u8]) -> Option<u64> {
    let member = trace_state
        .split(|byte| *byte == b',')
        .find_map(|member| member.trim_ascii().strip_prefix(b"ot="))?;
    let digits = member.split(|byte| *byte == b';').find_map(|field| field.strip_prefix(b"th:"))?;
    let digits = std::str::from_utf8(digits).ok().filter(|text| (1..=14).contains(&text.len()))?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let dropped = u64::from_str_radix(digits, 16).ok()? << (4 * (14 - digits.len()));
    Some(END - dropped)
}

/// How many spans one counts for, and whether that was computed. A fraction is rounded up as often
/// as it says, so that sums are right.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number from 1 to 2^56"
)]
pub(super) fn weight(trace_state: &[u8]) -> (u64, bool) {
    if trace_state.is_empty() {
        return (1, false);
    }
    let Some(kept) = kept(trace_state) else { return (1, false) };
    let exact = END as f64 / kept as f64;
    let whole = exact.floor();
    let more = fastrand::f64() < exact - whole;
    (whole as u64 + u64::from(more), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_for_those_that_were_dropped() {
        assert_eq!(weight(b""), (1, false));
        assert_eq!(weight(b"vendor=x"), (1, false));
        assert_eq!(weight(b"ot=rv:1234"), (1, false));
        assert_eq!(weight(b"ot=th:0"), (1, true));
        assert_eq!(weight(b"ot=th:8"), (2, true));
        assert_eq!(weight(b"a=b, ot=rv:00000000000000;th:c"), (4, true));
        assert_eq!(weight(b"ot=th:ffffffffffffff"), (1 << 56, true));
        for wrong in [&b"ot=th:"[..], b"ot=th:123456789abcdef", b"ot=th:x", b"ot=th:-1"] {
            assert_eq!(weight(wrong), (1, false));
        }
    }

    #[test]
    fn fractions_are_right_in_the_mean() {
        // Two thirds are kept: a span counts for one and a half.
        let sum: u64 = (0..10_000).map(|_| weight(b"ot=th:55555555555555").0).sum();
        assert!((14_700..15_300).contains(&sum), "{sum}");
    }
}
