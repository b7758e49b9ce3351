//! One GPS sample of a rider, its clocks and its quality mark.

use super::time::UnixMillis;
use crate::geo::Point;
use serde::{Deserialize, Serialize};

/// Most fixes in one batch.
pub const MAX_BATCH: usize = 1_000;

/// A fix as its publisher sent it, converted to WGS-84 and range-checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    pub point: Point,
    pub id: FixId,
    /// Radius of 68 % confidence, in decimetres.
    pub accuracy_dm: Option<u16>,
    /// In centimetres per second.
    pub speed_cmps: Option<u16>,
    /// Clockwise from north, 0–359.
    pub heading_deg: Option<u16>,
    pub battery_pct: Option<u8>,
}

/// What identifies a fix among those of its rider: the device's own time and its sequence number, uncorrected, so that
/// a batch sent again is recognised whatever the clocks did in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FixId {
    pub device_time: UnixMillis,
    pub seq: Option<u32>,
}

impl Fix {
    /// Where it saw the rider, at its corrected fix time.
    pub fn position(&self, fix_time: UnixMillis) -> Position {
        let Self { point, id: _, accuracy_dm, speed_cmps, heading_deg, battery_pct: _ } = *self;
        Position { point, fix_time, speed_cmps, heading_deg, accuracy_dm }
    }

    /// Which of two differing fixes with one identity is kept, whatever order they came in: the more accurate one
    /// (none stated counts as worst), then the smaller position, then the other fields. A total order, so that a track
    /// depends on the set of fixes and not on their arrival.
    pub fn beats(&self, other: &Self) -> bool {
        self.rank() < other.rank()
    }

    fn rank(&self) -> (u16, Point, Option<u16>, Option<u16>, Option<u8>) {
        let accuracy = self.accuracy_dm.unwrap_or(u16::MAX);
        (accuracy, self.point, self.speed_cmps, self.heading_deg, self.battery_pct)
    }
}

/// What has to be added to a device's times: the error of its clock, which shows as the difference between received
/// and sent time. Within the tolerance nothing is corrected: that is the network's delay, not the clock's fault.
///
/// For the same reason a difference near the one that was in force (`kept_ms`) is no new error of the clock. Were every
/// message corrected by its own difference, its delay would be added to its fix times: neighbours would change places,
/// and a batch sent again would lie a little later than itself.
pub fn clock_offset(sent_time: Option<UnixMillis>, received: UnixMillis, kept_ms: i64, tolerance_ms: i64) -> i64 {
    // Who doesn't say when it was sent is taken at their word.
    let Some(measured_ms) = sent_time.map(|sent| received.since(sent)) else { return 0 };
    let near = |ms: i64| measured_ms.saturating_sub(ms).unsigned_abs() <= tolerance_ms.unsigned_abs();
    if near(0) {
        0
    } else if near(kept_ms) {
        kept_ms
    } else {
        measured_ms
    }
}

/// What the track thinks of a fix. Marked fixes are kept, but neither move the marker nor count in any measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Mark {
    Good = 0,
    /// Its accuracy is worse than the limit.
    Inaccurate = 1,
    /// It implies an impossible speed from the last good fix.
    Jump = 2,
}

impl Mark {
    pub const ALL: [Self; 3] = [Self::Good, Self::Inaccurate, Self::Jump];

    /// The name in JSON and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Inaccurate => "inaccurate",
            Self::Jump => "jump",
        }
    }
}

/// What became of one fix, for the answer to its publisher and for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// In the track (or, without an order, taken as the rider's position) with this mark.
    Kept(Mark),
    /// An identity that the track holds already.
    Duplicate,
    /// The rider carried no order at the fix time and the fix is older than the rider's last: of no use to anybody.
    Stale,
    /// Later than received time plus tolerance, after the clock's correction.
    Future,
    /// Older than the limit for late fixes.
    TooOld,
    /// The order's track holds as many fixes as a track may.
    TrackFull,
}

/// Where a rider is shown: the marker, not the raw fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub point: Point,
    /// Corrected fix time of the newest fix behind it.
    pub fix_time: UnixMillis,
    pub speed_cmps: Option<u16>,
    pub heading_deg: Option<u16>,
    pub accuracy_dm: Option<u16>,
}

impl Position {
    /// In metres; 0 where the phone didn't say.
    pub fn accuracy_m(&self) -> f64 {
        self.accuracy_dm.map_or(0.0, |dm| f64::from(dm) / 10.0)
    }
}
