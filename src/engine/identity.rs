//! What a part of the engine was made from.
//!
//! A reload keeps a part if it would be made from equal values again: its decoded configuration,
//! and whatever else it depends on, such as its authenticator.

use std::{fmt, sync::Arc};

use crate::component::Same;

/// The values that a part was made from.
#[derive(Clone)]
pub struct Identity(Vec<Arc<dyn Same>>);

impl Identity {
    /// A part made from one value.
    pub fn of(value: impl Same) -> Self {
        Identity(vec![Arc::new(value)])
    }

    /// A part made from its configuration alone.
    pub fn of_config(config: Arc<dyn Same>) -> Self {
        Identity(vec![config])
    }

    /// The same part, made from one more value.
    #[must_use]
    pub fn and(mut self, value: Arc<dyn Same>) -> Self {
        self.0.push(value);
        self
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let (all, others) = (&self.0, &other.0);
        all.len() == others.len() && all.iter().zip(others).all(|(a, b)| a.is_same(&**b))
    }
}

/// Without the values, which may contain secrets.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {} values", self.0.len())
    }
}
