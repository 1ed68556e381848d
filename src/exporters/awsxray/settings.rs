//! What of the configuration matters to documents.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::super::cloudwatch::name::Template;

/// See [`super::Config`].
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) indexed: HashSet<Vec<u8>, RandomState>,
    pub(super) index_all_attributes: bool,
    pub(super) log_groups: Vec<Template>,
    pub(super) resource_arn: Option<String>,
}

impl Settings {
    pub(super) fn is_indexed(&self, key: &[u8]) -> bool {
        !self.indexed.is_empty() && self.indexed.contains(key)
    }
}
