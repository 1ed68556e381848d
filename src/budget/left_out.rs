//! What a budget has left out in a period: how many units, why, and whose.

use std::collections::BTreeMap;

use super::who::cut;

/// Services that are told apart. Those that come later are only in the sums.
pub(super) const MOST_SERVICES: usize = 64;

/// Why the budget leaves something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// So that the rest lasts to the end of the month.
    Paced,
    /// The ceiling is reached.
    Ceiling,
}

impl Why {
    /// All reasons.
    pub const ALL: [Why; 2] = [Why::Paced, Why::Ceiling];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Why::Paced => "paced",
            Why::Ceiling => "ceiling",
        }
    }
}

/// Units that were left out in a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// By reason.
    pub units: [u64; Why::ALL.len()],
    /// By `service.name`.
    pub services: BTreeMap<Box<str>, u64>,
}

impl LeftOut {
    /// Those for a reason.
    pub const fn of(&self, why: Why) -> u64 {
        self.units[why as usize]
    }

    pub(super) fn add(&mut self, why: Why, service: &str, units: u64) {
        let sum = &mut self.units[why as usize];
        *sum = sum.saturating_add(units);
        let service = cut(service);
        if let Some(sum) = self.services.get_mut(service) {
            *sum = sum.saturating_add(units);
        } else if self.services.len() < MOST_SERVICES {
            self.services.insert(service.into(), units);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_beyond_the_table_are_in_the_sum() {
        let mut left_out = LeftOut::default();
        for number in 0..MOST_SERVICES + 3 {
            left_out.add(Why::Paced, &format!("service {number:03}"), 2);
        }
        left_out.add(Why::Ceiling, "service 001", u64::MAX);
        assert_eq!(left_out.of(Why::Paced), 2 * (MOST_SERVICES as u64 + 3));
        assert_eq!(left_out.of(Why::Ceiling), u64::MAX);
        assert_eq!((left_out.services.len(), left_out.services["service 001"]), (64, u64::MAX));
    }
}
