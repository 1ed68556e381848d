//! What the replicas of a component have logged.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use crate::sync::lock;

/// What a component has logged already, so that not every replica of it logs the same. Replicas
/// share it through the context that they are built with.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<HashSet<(String, u32)>>>);

impl Told {
    /// Notes something about a place in the body of the component. Returns whether it was new.
    pub fn insert(&self, place: &str, kind: u32) -> bool {
        lock(&self.0).insert((place.to_owned(), kind))
    }

    /// How much was logged.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        lock(&self.0).len()
    }
}
