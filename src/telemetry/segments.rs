//! What exporters of X-Ray could not bring there: segments that X-Ray did not take, by its codes,
//! and spans of which no segment could be made.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Number, Telemetry};

/// Most codes that are told apart; X-Ray has about five. What comes beyond is `other`.
const CODES: usize = 16;

/// Counters of one exporter.
#[derive(Debug, Default)]
pub struct SegmentStats {
    /// Component id.
    pub id: String,
    /// Spans without a segment: by trace id, by span id, too large.
    pub untranslated: [Number; 3],
    unprocessed: Mutex<BTreeMap<String, u64>>,
}

impl SegmentStats {
    /// What the places of `untranslated` mean.
    pub const REASONS: [&'static str; 3] = ["trace_id", "span_id", "too_large"];

    /// Counters of the exporter `id`.
    pub fn new(id: &str) -> Self {
        SegmentStats { id: id.to_owned(), ..SegmentStats::default() }
    }

    /// Counts segments that X-Ray did not take.
    pub fn add_unprocessed(&self, code: &str, count: u64) {
        let mut all = self.unprocessed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = all.contains_key(code) || all.len() < CODES;
        *all.entry(if is_known { code } else { "other" }.to_owned()).or_default() += count;
    }

    /// Segments that X-Ray did not take, by code.
    pub fn unprocessed(&self) -> BTreeMap<String, u64> {
        self.unprocessed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Telemetry {
    /// Shows the counters of an exporter of segments until nobody adds to them any more; of two of
    /// the same id the newer ones.
    pub fn add_segments(&self, stats: Arc<SegmentStats>) {
        let mut all = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(stats);
    }

    /// All exporters of segments.
    pub fn segments(&self) -> Vec<Arc<SegmentStats>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_without_end_are_one() {
        let stats = SegmentStats::new("awsxray");
        for number in 0..100 {
            stats.add_unprocessed(&format!("code {number}"), 2);
        }
        stats.add_unprocessed("code 0", 1);
        let all = stats.unprocessed();
        assert_eq!((all.len(), all["code 0"], all["other"]), (CODES + 1, 3, 168));
    }
}
