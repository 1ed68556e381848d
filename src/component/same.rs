//! Comparing decoded configurations whose types are not known.
//!
//! A reload keeps a component if its configuration is equal to the one that runs. The decoded
//! values are compared, so it makes no difference how a file writes them, and secrets stay in their
//! types.

use std::any::Any;

/// A value that can be compared with a value of any type. Every type that has `PartialEq` is one.
pub trait Same: Any + Send + Sync {
    /// Whether `other` is of the same type and equal.
    fn is_same(&self, other: &dyn Same) -> bool;
}

impl<T: PartialEq + Any + Send + Sync> Same for T {
    fn is_same(&self, other: &dyn Same) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<T>().is_some_and(|other| self == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn equal_values_of_one_type_are_the_same() {
        let one: &dyn Same = &Secret::new("one");
        assert!(one.is_same(&Secret::new("one")));
        assert!(!one.is_same(&Secret::new("two")));
        assert!(!one.is_same(&"one"));
        assert!(!(&1_u32 as &dyn Same).is_same(&1_u64));
    }
}
