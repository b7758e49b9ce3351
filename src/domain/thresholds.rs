//! When an order that watches itself raises an alert and when it clears it: a set of thresholds per kind, part of the
//! cell's [`Rules`]. Raising and clearing lie apart, so that what wavers around one of them is one alert.

use super::rules::Rules;
use serde::{Deserialize, Serialize};

/// Far from the way that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OffRoute {
    /// Distance to the planned route, less the fix's accuracy, that raises …
    pub raise_m: f64,
    /// … when it lasts so long, in fix time.
    pub raise_after_ms: i64,
    /// The distance that clears …
    pub clear_m: f64,
    /// … when it lasts so long.
    pub clear_after_ms: i64,
    /// Without a planned route: the distance to the destination has grown by so much from its least.
    pub away_m: f64,
}

impl Default for OffRoute {
    fn default() -> Self {
        Self { raise_m: 80.0, raise_after_ms: 30_000, clear_m: 40.0, clear_after_ms: 15_000, away_m: 400.0 }
    }
}

/// Not getting on, outside the warehouse's and the destination's fences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stalled {
    /// A displacement under this …
    pub within_m: f64,
    /// … for so long, in fix time, raises; more than half as much again clears.
    pub after_ms: i64,
}

impl Default for Stalled {
    fn default() -> Self {
        Self { within_m: 30.0, after_ms: 180_000 }
    }
}

/// No fix while delivering.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalLost {
    /// For so long; for a phone that reports more seldom, two and a half of its intervals.
    pub after_ms: i64,
}

impl Default for SignalLost {
    fn default() -> Self {
        Self { after_ms: 60_000 }
    }
}

/// The arrival is expected beyond the promise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LateRisk {
    /// p50 so much beyond the promise's end raises …
    pub raise_ms: i64,
    /// … and so much before it clears.
    pub clear_ms: i64,
}

impl Default for LateRisk {
    fn default() -> Self {
        Self { raise_ms: 0, clear_ms: 60_000 }
    }
}

/// The warehouse doesn't go on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageOverdue {
    /// From payment to the first stage.
    pub received_ms: i64,
    /// From `received` to the next.
    pub picking_ms: i64,
    /// From `picking` to the next, and again from `picked` to `packed`.
    pub packed_ms: i64,
}

impl Default for StageOverdue {
    fn default() -> Self {
        Self { received_ms: 300_000, picking_ms: 600_000, packed_ms: 900_000 }
    }
}

/// Delivered far from the address.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrongPlace {
    /// The rider's distance to the destination when it was delivered, less the fix's accuracy and the way that the rider
    /// makes between that fix and the delivery.
    pub raise_m: f64,
    /// A fix farther from that time says nothing.
    pub within_ms: i64,
}

impl Default for WrongPlace {
    fn default() -> Self {
        Self { raise_m: 200.0, within_ms: 60_000 }
    }
}

/// The rider's phone runs out of battery.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LowBattery {
    /// At most so much raises …
    pub raise_pct: u8,
    /// … at least so much clears.
    pub clear_pct: u8,
}

impl Default for LowBattery {
    fn default() -> Self {
        Self { raise_pct: 15, clear_pct: 20 }
    }
}

/// What the constant-speed estimate assumes. Typical of electric bicycles in a city; a cell sets its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// From payment to `packed`, without its items …
    pub picking_ms: i64,
    /// … and for each of them.
    pub item_ms: i64,
    /// Taking the order over at the warehouse.
    pub handover_ms: i64,
    /// Door to door with lights and turns, in metres per second.
    pub speed_mps: f64,
    /// Way by straight distance, where there is no route.
    pub detour: f64,
    /// Each stop before this order's, with the way there.
    pub stop_ms: i64,
    /// From the rider's arrival to the handing over.
    pub door_ms: i64,
    /// What remains may take so much less at p10 …
    pub early_pct: u8,
    /// … and so much more at p90.
    pub late_pct: u8,
    /// Clients hear of a p50 that moved by so much.
    pub tell_ms: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            picking_ms: 360_000,
            item_ms: 15_000,
            handover_ms: 90_000,
            speed_mps: 5.0,
            detour: 1.35,
            stop_ms: 240_000,
            door_ms: 90_000,
            early_pct: 20,
            late_pct: 40,
            tell_ms: 30_000,
        }
    }
}

/// What a threshold is about, for the error that names it.
pub(super) type Wrong = (&'static str, String);

impl Rules {
    /// Times that these thresholds have, with their names.
    pub(super) fn threshold_times_ms(&self) -> [(&'static str, i64); 15] {
        let Self { off_route, stalled, signal_lost, late_risk, stage_overdue, wrong_place_delivery, pace, .. } = self;
        [
            ("off_route.raise_after_ms", off_route.raise_after_ms),
            ("off_route.clear_after_ms", off_route.clear_after_ms),
            ("stalled.after_ms", stalled.after_ms),
            ("signal_lost.after_ms", signal_lost.after_ms),
            ("late_risk.raise_ms", late_risk.raise_ms),
            ("late_risk.clear_ms", late_risk.clear_ms),
            ("stage_overdue.received_ms", stage_overdue.received_ms),
            ("stage_overdue.picking_ms", stage_overdue.picking_ms),
            ("stage_overdue.packed_ms", stage_overdue.packed_ms),
            ("wrong_place_delivery.within_ms", wrong_place_delivery.within_ms),
            ("pace.picking_ms", pace.picking_ms),
            ("pace.item_ms", pace.item_ms),
            ("pace.handover_ms", pace.handover_ms),
            ("pace.stop_ms", pace.stop_ms),
            ("pace.door_ms", pace.door_ms),
        ]
    }

    /// Refuses what can't be meant beyond the ranges of times; gives the field and the reason.
    pub(super) fn check_thresholds(&self) -> Result<(), Wrong> {
        let Self { off_route, stalled, signal_lost, wrong_place_delivery, low_battery, pace, .. } = self;
        for (field, value) in [
            ("off_route.raise_m", off_route.raise_m),
            ("off_route.clear_m", off_route.clear_m),
            ("off_route.away_m", off_route.away_m),
            ("stalled.within_m", stalled.within_m),
            ("wrong_place_delivery.raise_m", wrong_place_delivery.raise_m),
        ] {
            if !(value > 0.0 && value <= 100_000.0) {
                return Err((field, "must be above 0 and at most 100000".into()));
            }
        }
        if off_route.clear_m > off_route.raise_m {
            return Err(("off_route.clear_m", "must be at most raise_m".into()));
        }
        // A timer of less than a second would go round and round in the log.
        if signal_lost.after_ms < 1_000 {
            return Err(("signal_lost.after_ms", "must be at least 1000".into()));
        }
        if low_battery.clear_pct < low_battery.raise_pct || low_battery.clear_pct > 100 {
            return Err(("low_battery.clear_pct", "must be raise_pct to 100".into()));
        }
        if !(pace.speed_mps >= 0.1 && pace.speed_mps <= 100.0) {
            return Err(("pace.speed_mps", "must be 0.1 to 100".into()));
        }
        if !(1.0..=10.0).contains(&pace.detour) {
            return Err(("pace.detour", "must be 1 to 10".into()));
        }
        if pace.early_pct > 100 {
            return Err(("pace.early_pct", "must be at most 100".into()));
        }
        if pace.tell_ms < 1_000 {
            return Err(("pace.tell_ms", "must be at least 1000".into()));
        }
        Ok(())
    }
}
