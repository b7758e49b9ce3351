//! Whether this node should get traffic: a value that the app sets; `/readyz` and every command look at it.

use crate::wire::problem::Problem;
use parking_lot::Mutex;

/// The cell doesn't serve, and why: what it is told now might enter another cell's log, and would hear no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

impl From<NotReady> for Problem {
    fn from(error: NotReady) -> Self {
        Self::new(503, "not_ready", "Not ready").with_detail(error.0)
    }
}

/// Ready unless somebody gave a reason against it.
#[derive(Debug, Default)]
pub struct Health {
    reason: Mutex<Option<String>>,
}

impl Health {
    /// From now on not ready, and why: text for operators.
    pub fn unready(&self, reason: impl Into<String>) {
        *self.reason.lock() = Some(reason.into());
    }

    /// Ready, as far as the one who sets it knows.
    pub fn ready(&self) {
        *self.reason.lock() = None;
    }

    /// Why not ready.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    /// For what writes: the reason as an error.
    pub fn check(&self) -> Result<(), NotReady> {
        self.reason().map_or(Ok(()), |reason| Err(NotReady(reason)))
    }
}
