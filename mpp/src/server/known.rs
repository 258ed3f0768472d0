//! What a request needs of its configuration, without counting one more owner of it.

use std::ops::Deref;
use std::sync::Arc;

/// Lent by the configuration; or shared, where start-up did not know of it.
pub(crate) enum Known<'m, T> {
    Lent(&'m T),
    Shared(Arc<T>),
}

impl<T> Deref for Known<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Lent(known) => known,
            Self::Shared(known) => known,
        }
    }
}
