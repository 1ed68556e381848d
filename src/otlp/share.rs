//! Who owns a trace, where several workers share traces out.

use std::sync::OnceLock;

/// A keyed hash of trace ids: nobody outside can make ids that collide.
#[derive(Debug, Clone, Copy)]
pub struct TraceHash([u64; 2]);

impl TraceHash {
    /// The one of this process, so that a trace has the same owner in whatever is built.
    pub fn of_process() -> Self {
        static KEYS: OnceLock<[u64; 2]> = OnceLock::new();
        TraceHash(*KEYS.get_or_init(|| [fastrand::u64(..), fastrand::u64(..)]))
    }

    /// Ids are random as a rule, so two multiplications mix enough (2 ns).
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "halves are what is mixed")]
    pub fn hash(self, id: u128) -> u64 {
        let low = u128::from(id as u64 ^ self.0[0]);
        let high = u128::from((id >> 64) as u64 ^ self.0[1]);
        let product = low.wrapping_mul(high | 1);
        let folded = product as u64 ^ (product >> 64) as u64;
        folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ folded >> 29
    }

    /// The owner of a trace with this hash, of so many.
    #[inline]
    pub fn owner(hash: u64, owners: usize) -> usize {
        // The low half; tables go by the high one.
        let share = (hash & 0xFFFF_FFFF).wrapping_mul(owners as u64) >> 32;
        usize::try_from(share).unwrap_or(0)
    }
}

/// A trace id as a number; what is none, or of another length, is 0.
#[inline]
pub fn id_number(id: &[u8]) -> u128 {
    id.try_into().map_or(0, u128::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_as_many_traces_as_any_other() {
        let hash = TraceHash([3, 5]);
        for owners in 1..5_usize {
            let mut counts = vec![0_usize; owners];
            // Ids that differ in few bits, in the low and in the high half.
            for i in 0..10_000_u128 {
                counts[TraceHash::owner(hash.hash(i), owners)] += 1;
                counts[TraceHash::owner(hash.hash(i << 64 | 7), owners)] += 1;
            }
            assert!(counts.iter().all(|count| count.abs_diff(20_000 / owners) < 800), "{counts:?}");
        }
        assert_eq!(id_number(&[1; 15]), 0);
    }
}
