//! What is left out of a document that is too large, in this order: events, metadata values above 1
//! kB, stack frames but the innermost ten of each exception, the text of SQL statements, all
//! metadata.

use super::json::Json;

/// Most bytes of a document (X-Ray API, `PutTraceSegments`).
pub(super) const DOCUMENT_LIMIT: usize = 64 << 10;

/// Metadata values above this go first.
pub(super) const LARGE_VALUE: usize = 1024;

/// How much is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trim {
    Nothing,
    Events,
    LargeValues,
    Stacks,
    Sql,
    Metadata,
}

impl Trim {
    const ALL: [Trim; 6] =
        [Trim::Nothing, Trim::Events, Trim::LargeValues, Trim::Stacks, Trim::Sql, Trim::Metadata];

    pub(super) fn cuts_events(self) -> bool {
        self >= Trim::Events
    }

    pub(super) fn cuts_values(self) -> bool {
        self >= Trim::LargeValues
    }

    /// Most bytes of a value of metadata.
    pub(super) fn most_of_value(self) -> usize {
        if self.cuts_values() { LARGE_VALUE } else { usize::MAX }
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

/// Writes a document at the end of `json`, as often as it takes to be no longer than `limit`;
/// whether it is. Where not, nothing is written. On the way it is never much more than twice as
/// long.
pub(super) fn fit(json: &mut Json, limit: usize, write: impl Fn(&mut Json, Trim)) -> bool {
    let from = json.out.len();
    // A value that is taken away where it is large begins within the limit, and is cut beyond it.
    json.bound(from + 2 * limit);
    for trim in Trim::ALL {
        json.restart(from);
        write(json, trim);
        if json.out.len() - from <= limit {
            return true;
        }
    }
    json.restart(from);
    false
}
