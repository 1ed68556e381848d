//! The enums of OTLP with the names of their values.

/// An enum: its values count up from 0.
#[derive(Debug)]
pub struct Enum {
    /// What the names of all its values begin with: `SPAN_KIND_`.
    pub prefix: &'static str,
    /// The names without the prefix, by number.
    pub names: &'static [&'static str],
}

impl Enum {
    /// The number of a name, prefix included.
    pub fn number(&self, name: &str) -> Option<i32> {
        let short = name.strip_prefix(self.prefix)?;
        let position = self.names.iter().position(|known| *known == short)?;
        i32::try_from(position).ok()
    }
}

/// `SpanKind`.
pub(super) static SPAN_KIND: Enum = Enum {
    prefix: "SPAN_KIND_",
    names: &["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"],
};

/// `StatusCode`.
pub(super) static STATUS_CODE: Enum =
    Enum { prefix: "STATUS_CODE_", names: &["UNSET", "OK", "ERROR"] };

/// `AggregationTemporality`.
pub(super) static AGGREGATION_TEMPORALITY: Enum =
    Enum { prefix: "AGGREGATION_TEMPORALITY_", names: &["UNSPECIFIED", "DELTA", "CUMULATIVE"] };

/// `SeverityNumber`.
pub(super) static SEVERITY_NUMBER: Enum = Enum {
    prefix: "SEVERITY_NUMBER_",
    names: &[
        "UNSPECIFIED",
        "TRACE",
        "TRACE2",
        "TRACE3",
        "TRACE4",
        "DEBUG",
        "DEBUG2",
        "DEBUG3",
        "DEBUG4",
        "INFO",
        "INFO2",
        "INFO3",
        "INFO4",
        "WARN",
        "WARN2",
        "WARN3",
        "WARN4",
        "ERROR",
        "ERROR2",
        "ERROR3",
        "ERROR4",
        "FATAL",
        "FATAL2",
        "FATAL3",
        "FATAL4",
    ],
};
