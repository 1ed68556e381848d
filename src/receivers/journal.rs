//! The option `journal` of receivers whose requests can be written down before they are answered.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::component::JournalUse;

/// `journal`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Id of an extension such as `file_storage`.
    pub storage: String,
    /// When a request is answered.
    pub fsync: Fsync,
}

/// `journal.fsync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Once it is written: it survives a crash of the process at once, one of the machine after
    /// half a second.
    #[default]
    Interval,
    /// Once it survives the machine, too. Requests that come at the same time share the wait.
    Always,
}

impl Journal {
    /// What the engine is asked for.
    pub(super) fn wanted(&self) -> JournalUse {
        JournalUse { storage: self.storage.clone(), fsync: self.fsync == Fsync::Always }
    }
}
