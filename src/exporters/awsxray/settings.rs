//! What of the configuration matters to documents.

use std::collections::HashSet;

use foldhash::fast::RandomState;

/// See [`super::Config`].
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) indexed: HashSet<Vec<u8>, RandomState>,
    pub(super) index_all_attributes: bool,
    pub(super) log_groups: Vec<String>,
    pub(super) resource_arn: Option<String>,
}

impl Settings {
    pub(super) fn is_indexed(&self, key: &[u8]) -> bool {
        !self.indexed.is_empty() && self.indexed.contains(key)
    }
}
