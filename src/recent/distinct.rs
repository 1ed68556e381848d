//! How many different values there are: exact up to 4096 of them, from there on `HyperLogLog` with
//! 4096 registers, which errs by 1.6 per cent (standard deviation).

use std::collections::HashSet;

/// Values that are counted exactly.
const EXACT: usize = 4096;
/// Bits of a hash that choose a register.
const BITS: u32 = 12;
/// What an entry of the set takes, about.
pub(super) const ENTRY: usize = 18;

/// Counts different hashes.
#[derive(Debug, Clone)]
pub(super) enum Distinct {
    Exact(HashSet<u64, foldhash::fast::FixedState>),
    Estimated(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact(HashSet::default())
    }
}

impl Distinct {
    /// Adds a value by its hash. Returns how many bytes that took.
    pub(super) fn add(&mut self, hash: u64) -> usize {
        match self {
            Distinct::Exact(set) => {
                if !set.insert(hash) {
                    return 0;
                }
                if set.len() <= EXACT {
                    return ENTRY;
                }
                let mut registers = vec![0; 1 << BITS].into_boxed_slice();
                for hash in &*set {
                    note(&mut registers, *hash);
                }
                *self = Distinct::Estimated(registers);
                1 << BITS
            }
            Distinct::Estimated(registers) => {
                note(registers, hash);
                0
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn count(&self) -> f64 {
        let registers = match self {
            Distinct::Exact(set) => return set.len() as f64,
            Distinct::Estimated(registers) => registers,
        };
        let count = registers.len() as f64;
        let sum: f64 = registers.iter().map(|rank| 0.5_f64.powi(i32::from(*rank))).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        let empty: u32 = registers.iter().map(|rank| u32::from(*rank == 0)).sum();
        // Few values are counted better by the registers that none of them has chosen.
        if estimate <= 2.5 * count && empty > 0 {
            return (count * (count / f64::from(empty)).ln()).round();
        }
        estimate.round()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "twelve bits, and a rank below 64")]
fn note(registers: &mut [u8], hash: u64) {
    let at = (hash >> (64 - BITS)) as usize;
    let rank = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() as u8 + 1;
    registers[at] = registers[at].max(rank);
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn few_are_exact_and_many_are_close() {
        let hasher = foldhash::quality::FixedState::with_seed(1);
        let mut distinct = Distinct::default();
        let mut bytes = 0;
        for number in 0..200_000_u64 {
            for _ in 0..2 {
                bytes += distinct.add(hasher.hash_one(number));
            }
            if number % 1000 != 0 {
                continue;
            }
            let exact = (number + 1) as f64;
            let error = (distinct.count() - exact).abs() / exact;
            assert!(error < if number < 4096 { 1e-9 } else { 0.06 }, "{number}");
        }
        assert!(bytes < 100_000, "{bytes}");
    }
}
