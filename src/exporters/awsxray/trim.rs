//! What is left out of a document that is too large, in this order: metadata values above 1 kB, stack
//! frames but the innermost ten of each exception, the text of SQL statements, all metadata.

/// Most bytes of a document (X-Ray API, `PutTraceSegments`).
pub(super) const DOCUMENT_LIMIT: usize = 64 << 10;

/// Metadata values above this go first.
pub(super) const LARGE_VALUE: usize = 1024;

/// How much is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trim {
    Nothing,
    LargeValues,
    Stacks,
    Sql,
    Metadata,
}

impl Trim {
    pub(super) const ALL: [Trim; 5] =
        [Trim::Nothing, Trim::LargeValues, Trim::Stacks, Trim::Sql, Trim::Metadata];

    pub(super) fn cuts_values(self) -> bool {
        self >= Trim::LargeValues
    }

    pub(super) fn cuts_stacks(self) -> bool {
        self >= Trim::Stacks
    }

    pub(super) fn cuts_sql(self) -> bool {
        self >= Trim::Sql
    }

    pub(super) fn cuts_metadata(self) -> bool {
        self >= Trim::Metadata
    }
}
