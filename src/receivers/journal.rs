//! The option `journal` of receivers: requests are written to disk before they are answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Once it is written. It then survives a crash of the process, and half a second later a crash
    /// of the machine.
    #[default]
    Interval,
    /// Once it survives a crash of the machine, too. Requests that arrive together share the wait.
    Always,
}

impl Journal {
    /// The journal that the engine is to keep.
    pub(super) fn wanted(&self) -> JournalUse {
        JournalUse { storage: self.storage.clone(), fsync: self.fsync == Fsync::Always }
    }
}
