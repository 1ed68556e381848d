//! Keeps what came lately for the console, if it may show contents of telemetry.

use std::sync::Arc;

use crate::{
    console::Level,
    engine::memory,
    recent::{Digester, Recent, Settings},
    telemetry::Telemetry,
};

/// The store, and the thread that fills it; the thread ends when this is dropped.
pub(in crate::cli) struct Kept {
    recent: Arc<Recent>,
    _digester: Digester,
}

impl Kept {
    /// The store.
    pub(in crate::cli) fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }
}

/// Connects a store to all that comes in. Data matters more than its picture: if there is no room
/// for the store, skep logs a warning and goes on.
pub(in crate::cli) fn keep(level: Level, telemetry: &Telemetry) -> Option<Kept> {
    if level < Level::Data {
        return None;
    }
    match open(telemetry) {
        Ok(kept) => Some(kept),
        Err(reason) => {
            tracing::warn!(reason, "The console shows no traces, as nothing can be kept for it");
            None
        }
    }
}

fn open(telemetry: &Telemetry) -> Result<Kept, String> {
    let settings = Settings::for_memory(memory::available().bytes);
    let recent = Arc::new(Recent::new(settings).map_err(|error| error.to_string())?);
    let digester = Digester::start(&recent).map_err(|error| error.to_string())?;
    telemetry.tee.connect(Arc::clone(&recent) as _);
    Ok(Kept { recent, _digester: digester })
}
