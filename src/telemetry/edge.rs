//! Traffic from one component to the next within a pipeline.

use super::{
    metric::{Counter, Desc},
    registry::Meter,
    tap::{TapPoint, Tapped},
};

const PAYLOADS: Desc =
    Desc::new("skep_edge_payloads", "{payload}", "Payloads handed from one component to the next");
const ITEMS: Desc =
    Desc::new("skep_edge_items", "{item}", "Items handed from one component to the next");
const BYTES: Desc =
    Desc::new("skep_edge_bytes", "By", "Bytes handed from one component to the next");

#[derive(Debug)]
pub struct EdgeStats {
    /// Pipeline id.
    pub pipeline: String,
    /// Kind and id: `receiver otlp`.
    pub from: String,
    /// Kind and id: `processor batch`.
    pub to: String,
    pub payloads: Counter,
    pub items: Counter,
    pub bytes: Counter,
    /// Who looks at what passes. Only edges that a receiver, a connector or an exporter ends are
    /// asked; between processors the processor is.
    pub tap: TapPoint,
}

impl EdgeStats {
    pub(super) fn new(meter: &Meter, pipeline: &str, from: &str, to: &str) -> Self {
        let labels = [("pipeline", pipeline), ("from", from), ("to", to)];
        EdgeStats {
            pipeline: pipeline.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            payloads: meter.counter(&PAYLOADS, &labels),
            items: meter.counter(&ITEMS, &labels),
            bytes: meter.counter(&BYTES, &labels),
            tap: TapPoint::default(),
        }
    }
}

/// What has passed an edge until a moment, or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    pub payloads: u64,
    pub items: u64,
    pub bytes: u64,
}

impl EdgeStats {
    /// What has passed until now.
    pub fn counts(&self) -> EdgeCounts {
        EdgeCounts {
            payloads: self.payloads.read(),
            items: self.items.read(),
            bytes: self.bytes.read(),
        }
    }
}

impl EdgeCounts {
    /// What has passed after `then`.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        EdgeCounts {
            payloads: self.payloads.saturating_sub(then.payloads),
            items: self.items.saturating_sub(then.items),
            bytes: self.bytes.saturating_sub(then.bytes),
        }
    }
}

impl Tapped for EdgeStats {
    fn tap(&self) -> &TapPoint {
        &self.tap
    }
}
