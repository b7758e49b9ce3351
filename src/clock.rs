//! The machine's clocks: the only place that reads them.

use crate::domain::UnixMillis;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time. For latency figures and for firing timers, never for a decision.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Measures a duration.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
