//! `budget` of an exporter, as the engine needs it.

use std::time::Duration;

use crate::budget::Settings;

/// How much an exporter may send in a month, how that is counted, and what becomes of the rest.
#[derive(Debug, Clone)]
pub struct BudgetUse {
    /// Limit, mode and period.
    pub settings: Settings,
    /// How the units of a payload are found.
    pub count: Count,
    /// Where the weights of sampled items are written.
    pub weights: BudgetWeights,
    /// Id of the storage extension that keeps what is used; `None`: a restart forgets it.
    pub storage: Option<String>,
    /// Whether what is left out is kept with the dead letters of the queue.
    pub keeps_left_out: bool,
    /// A trace with a span that takes at least so long is slow.
    pub slow: Duration,
}

/// How the units of a payload are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Spans, their events and links, and log records, one each. Data points are not counted.
    Events,
    /// Spans, log records and data points, one each.
    Items,
    /// Distinct traces.
    Traces,
    /// Bytes that are known only when the data is encoded, see
    /// [`Exporter::units`](super::Exporter::units); before that they are estimated.
    Bytes,
    /// Exceptions and, known only when the data is encoded, other errors.
    Occurrences,
    /// The exporter claims them itself while it encodes, see
    /// [`BuildContext::monthly`](super::BuildContext::monthly).
    ByExporter,
}

/// Where the weights of sampled items are written, as the backend can read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetWeights {
    /// The attribute `SampleRate`.
    pub sample_rate: bool,
    /// `ot=th:` in `tracestate`; of log records the attribute `sampling.threshold`.
    pub tracestate: bool,
}
