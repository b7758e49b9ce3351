//! Time as the core knows it: an argument, never a clock.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch. Which clock it was read from stands in the field's name: fix time and sent time
/// are the device's, log time is the NATS server's, everything the core decides by is cell time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Milliseconds from `earlier` to `self`; negative when `earlier` is later. Saturates.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `self` moved by `ms`. Saturates.
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The cell clock: the log's time made monotone, times a scale, from an anchor that a `control.` message sets.
///
/// In production the scale is 1 and cell time is log time. A simulation or an import that runs faster than life sets
/// both. The clock never runs backwards, whatever it is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellClock {
    anchor_log: UnixMillis,
    anchor_cell: UnixMillis,
    /// Cell milliseconds per log millisecond.
    scale: u32,
    now: UnixMillis,
}

/// Fastest cell clock that may be set.
pub const MAX_CLOCK_SCALE: u32 = 100_000;

impl Default for CellClock {
    fn default() -> Self {
        Self { anchor_log: UnixMillis(0), anchor_cell: UnixMillis(0), scale: 1, now: UnixMillis(0) }
    }
}

impl CellClock {
    /// The cell time of the last log entry.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Cell milliseconds per log millisecond.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// Moves on to an entry with `log_time` and gives its cell time.
    pub fn advance(&mut self, log_time: UnixMillis) -> UnixMillis {
        self.now = self.now.max(self.at_log(log_time));
        self.now
    }

    /// What the clock will show at `log_time`, if nothing sets it before.
    pub fn at_log(&self, log_time: UnixMillis) -> UnixMillis {
        let run = log_time.since(self.anchor_log).max(0).saturating_mul(i64::from(self.scale));
        self.anchor_cell.plus(run).max(self.now)
    }

    /// The log time at which the clock will show `cell_time`: when an owner has to fire a timer.
    pub fn log_time_of(&self, cell_time: UnixMillis) -> UnixMillis {
        let run = cell_time.since(self.anchor_cell).max(0);
        let scale = i64::from(self.scale);
        self.anchor_log.plus(run.saturating_add(scale - 1) / scale)
    }

    /// Sets the scale from `log_time` on, and the time too if `cell_time` is given and lies ahead.
    /// The caller has checked that `scale` is within `1..=MAX_CLOCK_SCALE`.
    pub fn set(&mut self, log_time: UnixMillis, scale: u32, cell_time: Option<UnixMillis>) {
        let now = self.advance(log_time);
        self.anchor_log = log_time;
        self.anchor_cell = cell_time.map_or(now, |t| t.max(now));
        self.scale = scale;
        self.now = self.anchor_cell;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_with_the_log_by_default_and_never_back() {
        let mut clock = CellClock::default();
        assert_eq!(clock.advance(UnixMillis(1_000)), UnixMillis(1_000));
        assert_eq!(clock.advance(UnixMillis(900)), UnixMillis(1_000));
        assert_eq!(clock.log_time_of(UnixMillis(5_000)), UnixMillis(5_000));
    }

    #[test]
    fn scale_counts_from_where_it_was_set() {
        let mut clock = CellClock::default();
        clock.advance(UnixMillis(1_000));
        clock.set(UnixMillis(1_000), 60, Some(UnixMillis(10_000)));
        assert_eq!(clock.advance(UnixMillis(1_100)), UnixMillis(16_000));
        assert_eq!(clock.log_time_of(UnixMillis(16_000)), UnixMillis(1_100));
        // Back to life's pace: goes on from where it is, even if told to go back.
        clock.set(UnixMillis(1_100), 1, Some(UnixMillis(5)));
        assert_eq!(clock.advance(UnixMillis(1_101)), UnixMillis(16_001));
    }
}
