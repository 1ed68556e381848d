//! What the exporter counts: segments that X-Ray did not take, by its codes, and spans of which no
//! segment could be made.

use std::{collections::BTreeMap, sync::Mutex};

use crate::{
    sync::lock,
    telemetry::{Counter, Desc, Meter},
};

const UNPROCESSED: Desc = Desc::new(
    "otelcol_exporter_awsxray_unprocessed_segments",
    "{segment}",
    "Segments that X-Ray did not take, by its code",
);
const UNTRANSLATED: Desc = Desc::new(
    "otelcol_exporter_awsxray_untranslated_spans",
    "{span}",
    "Spans of which no segment could be made",
);

/// Most codes that are told apart; X-Ray has about five. Further ones are counted as `other`.
const CODES: usize = 16;

/// Counters of one exporter.
#[derive(Debug)]
pub(super) struct SegmentStats {
    meter: Meter,
    /// Spans without a segment: by trace id, by span id, too large.
    pub(super) untranslated: [Counter; 3],
    /// By code.
    unprocessed: Mutex<BTreeMap<String, Counter>>,
}

impl SegmentStats {
    pub(super) fn new(meter: Meter) -> Self {
        let untranslated = ["trace_id", "span_id", "too_large"]
            .map(|reason| meter.counter(&UNTRANSLATED, &[("reason", reason)]));
        SegmentStats { meter, untranslated, unprocessed: Mutex::default() }
    }

    /// Counts segments that X-Ray did not take.
    pub(super) fn add_unprocessed(&self, code: &str, count: u64) {
        let mut all = lock(&self.unprocessed);
        let is_known = all.contains_key(code) || all.len() < CODES;
        let code = if is_known { code } else { "other" };
        let new = || self.meter.counter(&UNPROCESSED, &[("error_code", code)]);
        all.entry(code.to_owned()).or_insert_with(new).add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_without_end_are_one() {
        let stats = SegmentStats::new(Meter::default());
        for number in 0..100 {
            stats.add_unprocessed(&format!("code {number}"), 2);
        }
        stats.add_unprocessed("code 0", 1);
        let all = lock(&stats.unprocessed);
        assert_eq!((all.len(), all["code 0"].read(), all["other"].read()), (CODES + 1, 3, 168));
    }
}
