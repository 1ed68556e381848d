//! Trims a document that is too large. It leaves out, in this order: events, metadata values above
//! 1 kB, all stack frames but the innermost ten of each exception, the text of SQL statements, all
//! metadata.

use crate::exporters::json::Json;

/// Most bytes of a document (X-Ray API, `PutTraceSegments`).
pub(super) const DOCUMENT_LIMIT: usize = 64 << 10;

/// Metadata values above this size are left out first.
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

/// Writes a document at the end of `json`, and trims more of it until it is no longer than `limit`.
/// Returns whether that was possible; if not, nothing is written. Meanwhile it is never much more
/// than twice as long.
pub(super) fn fit(json: &mut Json, limit: usize, write: impl Fn(&mut Json, Trim)) -> bool {
    let from = json.out.len();
    // A large value that is removed later begins within the limit, and is cut beyond it.
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
