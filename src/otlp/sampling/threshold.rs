//! Thresholds and randomness: an item is kept if its 56 random bits are not below the threshold.

use std::fmt;

/// Hexadecimal digits of 56 bits.
const DIGITS: u32 = 14;
/// One more than the largest 56-bit number.
const END: u64 = 1 << 56;
/// 2^-56: less cannot be told apart from nothing.
const LEAST_PROBABILITY: f64 = f64::EPSILON / 16.0;

/// A rejection threshold: what is below it is dropped. By default nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Threshold(u64);

/// 56 random bits of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Randomness(u64);

impl Threshold {
    /// Keeps everything.
    pub(crate) const ALWAYS: Threshold = Threshold(0);
    /// Keeps nothing; it has no text.
    pub(crate) const NEVER: Threshold = Threshold(END);

    /// The threshold of a probability, with so many hexadecimal digits that count: leading `0` and
    /// `f` do not, since near 0 and 1 they would take all of the precision.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a probability times 2^56 is a number of 56 bits"
    )]
    pub(crate) fn of(probability: f64, precision: u32) -> Self {
        if probability < LEAST_PROBABILITY {
            return Threshold::NEVER;
        }
        if probability >= 1.0 {
            return Threshold::ALWAYS;
        }
        let leading = |share: f64| (-exponent(share) / 4).max(0).unsigned_abs();
        let more = leading(probability).max(leading(1.0 - probability));
        let digits = (precision + more).min(DIGITS);
        let exact = END - (probability * END as f64).round() as u64;
        let shift = 4 * (DIGITS - digits);
        let half = (1u64 << shift) >> 1;
        Threshold((exact + half) >> shift << shift)
    }

    /// Above all but so many of the 16 384 buckets of the first 14 bits, which are kept.
    pub(crate) fn of_buckets(kept: u32) -> Self {
        Threshold(0x4000_u64.saturating_sub(kept.into()) << 42)
    }

    /// From 1 to 14 lower-case hexadecimal digits; those at the end that are missing are zeros.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let digits = u32::try_from(text.len()).ok().filter(|len| (1..=DIGITS).contains(len))?;
        hex(text).map(|bits| Threshold(bits << (4 * (DIGITS - digits))))
    }

    /// The threshold of a probability with all digits. The probability is taken as at least 2^-56,
    /// since an item that was kept had a chance.
    pub(crate) fn exact(probability: f64) -> Self {
        Threshold::of(probability.max(LEAST_PROBABILITY), DIGITS)
    }

    /// The threshold that keeps so many of 2^56.
    pub(crate) const fn keeping(units: u64) -> Self {
        Threshold(END.saturating_sub(units))
    }

    /// From a number of 56 bits; a larger one keeps nothing.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Threshold(if bits > END { END } else { bits })
    }

    /// As a number of 56 bits, or 2^56.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The lowest threshold that rejects these bits; of the largest, one that rejects all.
    pub(crate) const fn above(randomness: Randomness) -> Self {
        Threshold(randomness.0 + 1)
    }

    /// Whether an item with such bits is kept.
    pub(crate) const fn keeps(self, randomness: Randomness) -> bool {
        randomness.0 >= self.0
    }

    /// The share of items that it keeps.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no exactness")]
    pub(crate) fn probability(self) -> f64 {
        (END - self.0) as f64 / END as f64
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = format!("{:014x}", self.0);
        let text = all.trim_end_matches('0');
        f.write_str(if text.is_empty() { "0" } else { text })
    }
}

impl Randomness {
    /// The least of all: kept by [`Threshold::ALWAYS`] only.
    pub(crate) const LEAST: Randomness = Randomness(0);

    /// The low 56 of these bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Randomness(bits & (END - 1))
    }

    /// The last seven bytes of a trace id; `None` if there is no id, or one of zeros.
    pub(crate) fn of_trace(id: &[u8]) -> Option<Self> {
        if id.len() != 16 || id.iter().all(|byte| *byte == 0) {
            return None;
        }
        Some(Randomness(id[9..].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))))
    }

    /// The randomness of any bytes and a seed, as the Collector's sampler has always hashed them:
    /// FNV-1a of 32 bits, whose low 14 choose a bucket. These become the first bits, upside down,
    /// so that low buckets are kept; the rest fills up what is left.
    pub(crate) fn of_hash(bytes: &[u8], seed: u32) -> Self {
        let all = seed.to_le_bytes().into_iter().chain(bytes.iter().copied());
        let hash = all
            .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let bucket = u64::from(hash & 0x3FFF);
        let rest = u64::from(hash >> 18);
        Randomness((0x3FFF - bucket) << 42 | (rest ^ rest << 10) << 14 | bucket)
    }

    /// Bits that a threshold keeps, as evenly spread as `random` is.
    pub(crate) fn kept_by(threshold: Threshold, random: u64) -> Self {
        let room = END - threshold.0.min(END - 1);
        let above = (u128::from(random) * u128::from(room)) >> 64;
        Randomness(END - room + u64::try_from(above).unwrap_or(0))
    }

    /// From 14 lower-case hexadecimal digits.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        (text.len() == DIGITS as usize).then(|| hex(text)).flatten().map(Randomness)
    }
}

impl fmt::Display for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014x}", self.0)
    }
}

fn hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |bits, digit| match digit {
        b'0'..=b'9' => Some(bits << 4 | u64::from(digit - b'0')),
        b'a'..=b'f' => Some(bits << 4 | u64::from(digit - b'a' + 10)),
        _ => None,
    })
}

/// The exponent of a positive number below 1 that is written as 0.1... times a power of two.
fn exponent(number: f64) -> i32 {
    let biased = (number.to_bits() >> 52) & 0x7FF;
    i32::try_from(biased).unwrap_or_default() - 1022
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Encodings of the specification's examples, all digits.
    #[test]
    fn probabilities_have_the_thresholds_of_the_specification() {
        for (probability, text) in [
            (1.0, "0"),
            (0.75, "4"),
            (0.5, "8"),
            (0.25, "c"),
            (0.125, "e"),
            (0.1, "e6666666666666"),
            (0.05, "f3333333333333"),
            (0.02, "fae147ae147ae1"),
            (0.01, "fd70a3d70a3d71"),
            (0.001, "ffbe76c8b43958"),
            (1.0 / 3.0, "aaaaaaaaaaaaac"),
        ] {
            let threshold = Threshold::of(probability, DIGITS);
            assert_eq!(threshold.to_string(), text, "{probability}");
            assert_eq!(Threshold::parse(text.as_bytes()), Some(threshold));
        }
        assert_eq!(Threshold::of(0.0, 4), Threshold::NEVER);
        assert_eq!(Threshold::of(2.0, 4), Threshold::ALWAYS);
    }

    #[test]
    fn leading_digits_that_say_nothing_cost_no_precision() {
        assert_eq!(Threshold::of(0.1, 4).to_string(), "e666");
        assert_eq!(Threshold::of(0.01, 4).to_string(), "fd70a");
        assert_eq!(Threshold::of(0.99, 4).to_string(), "028f6");
        assert_eq!(Threshold::of(1.0 / 3.0, 1).to_string(), "b");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "g", "A", "123456789012345", "-1"] {
            assert_eq!(Threshold::parse(text.as_bytes()), None, "{text}");
        }
        for text in ["", "d29d6a7215ced", "d29d6a7215ced00", "D29d6a7215ced0"] {
            assert_eq!(Randomness::parse(text.as_bytes()), None, "{text}");
        }
        let bits = Randomness::parse(b"d29d6a7215ced0").unwrap();
        assert_eq!(bits.to_string(), "d29d6a7215ced0");
    }

    #[test]
    fn the_end_of_a_trace_id_is_random() {
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
        assert_eq!(Randomness::of_trace(&id).unwrap().to_string(), "ce929d0e0e4736");
        assert_eq!(Randomness::of_trace(&[0; 16]), None);
        assert_eq!(Randomness::of_trace(&[]), None);
    }

    /// The hash alone: published vectors of FNV-1a, the seed being the first four bytes.
    #[test]
    fn the_hash_is_fnv_1a() {
        let bucket_of = |hash: u32| u64::from(hash & 0x3FFF);
        for (text, hash) in [("foobar", 0xBF9C_F968), ("chongo was here!\n", 0xD499_30D5_u32)] {
            let (seed, rest) = text.as_bytes().split_at(4);
            let seed = u32::from_le_bytes(seed.try_into().unwrap());
            let Randomness(bits) = Randomness::of_hash(rest, seed);
            assert_eq!((bits >> 42, bits & 0x3FFF), (0x3FFF - bucket_of(hash), bucket_of(hash)));
            // As the sampler has decided from the beginning: buckets below the rate are kept.
            for kept in [1, 100, 8192, 16_384] {
                let keeps = Threshold::of_buckets(kept).keeps(Randomness(bits));
                assert_eq!(keeps, bucket_of(hash) < u64::from(kept), "{text} {kept}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_threshold_reads_its_own_text(probability in 0.0..1.0f64, precision in 1..=14u32) {
            let threshold = Threshold::of(probability, precision);
            if threshold != Threshold::NEVER {
                let text = threshold.to_string();
                prop_assert_eq!(Threshold::parse(text.as_bytes()), Some(threshold));
                let error = (threshold.probability() - probability).abs() / probability;
                prop_assert!(precision < 4 || error < 1e-3, "{} {}", text, error);
            }
        }
    }
}
