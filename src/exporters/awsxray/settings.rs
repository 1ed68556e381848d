//! The settings that matter to documents.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::super::cloudwatch::name::Template;

/// See [`super::Config`].
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) indexed: HashSet<Vec<u8>, RandomState>,
    /// A bit for each length of a key, modulo 64.
    pub(super) indexed_lengths: u64,
    pub(super) index_all_attributes: bool,
    pub(super) log_groups: Vec<Template>,
    pub(super) resource_arn: Option<String>,
}

impl Settings {
    /// Keys whose attributes become annotations.
    pub(super) fn index<'k>(&mut self, keys: impl IntoIterator<Item = &'k str>) {
        for key in keys {
            self.indexed_lengths |= 1 << (key.len() % 64);
            self.indexed.insert(key.as_bytes().to_vec());
        }
    }

    pub(super) fn is_indexed(&self, key: &[u8]) -> bool {
        // A look at a mask says no of most keys; hashing each was 2.6 % of a span (perf,
        // benches/aws.rs).
        self.indexed_lengths >> (key.len() % 64) & 1 == 1 && self.indexed.contains(key)
    }
}
