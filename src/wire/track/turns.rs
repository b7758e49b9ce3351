//! The fixes of a history, in the order of their times and cut into the riders' turns.

use super::Place;
use crate::{domain::UnixMillis, wire::query::TrackRow};

/// A fix, as short as 20,000 of them have to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DrawnFix {
    pub(super) place: Place,
    pub(super) time: UnixMillis,
    seq: Option<u32>,
    rider: u16,
    pub(super) good: bool,
    pub(super) heading_deg: Option<u16>,
    pub(super) speed_mps: Option<f32>,
    pub(super) accuracy_m: Option<f32>,
}

/// Collects fixes and what cuts them.
#[derive(Debug, Default)]
pub(super) struct Turns {
    fixes: Vec<DrawnFix>,
    riders: Vec<String>,
    /// When a rider took the order over, as applied.
    begun: Vec<UnixMillis>,
}

/// One rider's time with the order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn<'a> {
    pub(super) rider: &'a str,
    /// At least one, by time.
    pub(super) fixes: &'a [DrawnFix],
}

impl Turns {
    /// Notes a fix.
    #[allow(clippy::cast_possible_truncation, reason = "metres and metres per second that came with one decimal")]
    pub(super) fn fix(&mut self, row: &TrackRow, good: bool) {
        let (Some(place), Some(time)) = (Place::of_row(row), row.fix_time_ms) else { return };
        let known = self.riders.iter().position(|rider| *rider == row.operator_id);
        let rider = known.unwrap_or_else(|| {
            self.riders.push(row.operator_id.clone());
            self.riders.len() - 1
        });
        let Ok(rider) = u16::try_from(rider) else { return };
        let (speed_mps, accuracy_m) = (row.speed_mps.map(|v| v as f32), row.accuracy_m.map(|v| v as f32));
        let (seq, heading_deg) = (row.seq, row.heading_deg);
        self.fixes.push(DrawnFix { place, time, seq, rider, good, heading_deg, speed_mps, accuracy_m });
    }

    /// Notes an event: an assignment begins a turn, also of the rider who had the order before.
    pub(super) fn event(&mut self, row: &TrackRow) {
        if row.kind == "assign" {
            self.begun.push(row.at_ms);
        }
    }

    /// The turns, the earliest first.
    pub(super) fn cut<'a>(&'a mut self) -> Vec<Turn<'a>> {
        self.fixes.sort_by_key(|fix| (fix.time, fix.seq, fix.rider));
        let Self { fixes, riders, begun } = &*self;
        let one = |a: &DrawnFix, b: &DrawnFix| {
            // The cell's time is never behind itself.
            let next = begun.partition_point(|begun| *begun <= a.time);
            a.rider == b.rider && begun.get(next).is_none_or(|begun| *begun > b.time)
        };
        let turn = |fixes: &'a [DrawnFix]| Some(Turn { rider: riders.get(usize::from(fixes.first()?.rider))?, fixes });
        fixes.chunk_by(one).filter_map(turn).collect()
    }
}
