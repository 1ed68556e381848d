//! What a tap shows: an item, what became of it, and how many were not shown.

use std::time::SystemTime;

use super::{fields::Change, single::Single};

/// On which side of a component a tap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What goes in.
    In,
    /// What comes out.
    Out,
    /// Both, with the difference.
    Both,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It passed; the tap is on one side only.
    Passed,
    /// It came out as it went in.
    Unchanged,
    /// It came out changed.
    Changed,
    /// It did not come out.
    Dropped,
    /// It came out and did not go in.
    Created,
    /// It had not come out when the tap ended.
    Inside,
}

/// What a sampler said of the trace of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The policy that decided; empty if none did.
    pub policy: String,
    /// Whether the trace was kept; in a dry run: would have been.
    pub is_kept: bool,
    /// Whether everything is kept whatever is said.
    pub is_dry_run: bool,
}

/// An item that is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// When it was seen, wall clock time.
    pub at: SystemTime,
    /// What became of it.
    pub fate: Fate,
    /// As it went in.
    pub before: Option<Single>,
    /// As it came out, if that is known and differs.
    pub after: Option<Single>,
    /// What has changed.
    pub changes: Vec<Change>,
    /// Why it was dropped, in a word: `filtered`, or the reason of a refusal.
    pub reason: &'static str,
    /// What a sampler said, if there is one.
    pub verdict: Option<Verdict>,
    /// Items of the payload in which it came; 0 if that is not known.
    pub of_in: u64,
    /// Items of the payload in which it left.
    pub of_out: u64,
    /// Whether the payload in which it came left in several.
    pub is_split: bool,
}

/// What a tap has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that passed.
    pub seen: u64,
    /// Items that were shown.
    pub shown: u64,
    /// Items that nobody could look at: of payloads with too many, or too large.
    pub missed: u64,
    /// Items of which nobody can say what became of them, since the window was full.
    pub forgotten: u64,
    /// One trace in so many is shown.
    pub one_in: u64,
}

/// An item of which nothing is known yet.
pub(super) fn plain(at: SystemTime, fate: Fate) -> Shown {
    Shown {
        at,
        fate,
        before: None,
        after: None,
        changes: Vec::new(),
        reason: "",
        verdict: None,
        of_in: 0,
        of_out: 0,
        is_split: false,
    }
}
