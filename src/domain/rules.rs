//! The thresholds that decisions depend on. They change only by a `control.` message in the log.

use super::thresholds::{LateRisk, LowBattery, OffRoute, Pace, SignalLost, StageOverdue, Stalled, WrongPlace};
use serde::{Deserialize, Serialize};

/// Most orders in one rider's hands. Every fix goes to all of them, so this bounds what a fix can cost.
pub const MAX_STOPS: usize = 50;

/// The newest behaviour this program knows. A `control.` message that asks for a newer one is refused, so that during
/// an upgrade both versions of the program decide alike until operations switch.
///
/// A log that never asks is played by version 1, whatever the program: it gives what it always gave. Version 2 adds the
/// commands fail, return, missing and edit, proof of delivery, shifts that hand over, stops ahead that change with the
/// trip and not only with the next fix, and dispatch. Version 3 adds what an order watches of itself (progress, arrival
/// time, alerts), and routes that are found for orders without one. Version 4 adds notes to acknowledgements.
pub const RULES_VERSION: u32 = 4;

/// Who gives packed orders to riders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dispatch {
    /// The order system.
    #[default]
    Manual,
    /// The cell itself: the nearest rider who is on shift and has room.
    Nearest,
}

/// Thresholds of a cell. Defaults are the product's promises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Which behaviour applies. 0 in a message, or not named: the one that applies already.
    #[serde(default)]
    pub rules_version: u32,
    /// An order unpaid for so long is cancelled.
    pub unpaid_ms: i64,
    /// A fix later than its received time by more than this is refused, after the clock's correction.
    pub future_ms: i64,
    /// A fix older than this is refused.
    pub late_ms: i64,
    /// Sent and received time may differ by so much before the phone's clock is held to be off: a slow network delays
    /// a message by seconds without its clock being wrong.
    pub clock_tolerance_ms: i64,
    /// Accuracy above this marks a fix, in metres.
    pub max_accuracy_m: f64,
    /// A speed above this between fixes marks a jump, in metres per second.
    pub max_speed_mps: f64,
    /// So many agreeing fixes re-admit a jump.
    pub readmit_fixes: u8,
    /// A rider who stays within this radius (twice 15 m of jitter, and some) …
    pub dwell_radius_m: f64,
    /// … for so long stands still, and the marker with them.
    pub dwell_ms: i64,
    pub dispatch: Dispatch,
    /// Dispatch gives a rider no order beyond so many in hand. 1: only to who has none.
    pub max_orders_per_rider: u32,
    /// Dispatch gives an order to no rider farther from its warehouse.
    pub max_distance_m: f64,
    /// Within this distance of a warehouse or a destination, a rider has arrived there: its round fence …
    pub arrive_m: f64,
    /// … and who had arrived has left beyond this one.
    pub leave_m: f64,
    pub off_route: OffRoute,
    pub stalled: Stalled,
    pub signal_lost: SignalLost,
    pub late_risk: LateRisk,
    pub stage_overdue: StageOverdue,
    pub wrong_place_delivery: WrongPlace,
    pub low_battery: LowBattery,
    pub pace: Pace,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rules_version: 1,
            unpaid_ms: 30 * 60 * 1_000,
            future_ms: 60 * 1_000,
            late_ms: 24 * 60 * 60 * 1_000,
            clock_tolerance_ms: 5_000,
            max_accuracy_m: 100.0,
            max_speed_mps: 40.0,
            readmit_fixes: 3,
            dwell_radius_m: 35.0,
            dwell_ms: 30_000,
            dispatch: Dispatch::Manual,
            max_orders_per_rider: 1,
            max_distance_m: 5_000.0,
            arrive_m: 60.0,
            leave_m: 120.0,
            off_route: OffRoute::default(),
            stalled: Stalled::default(),
            signal_lost: SignalLost::default(),
            late_risk: LateRisk::default(),
            stage_overdue: StageOverdue::default(),
            wrong_place_delivery: WrongPlace::default(),
            low_battery: LowBattery::default(),
            pace: Pace::default(),
        }
    }
}

impl Rules {
    /// Refuses what can't be meant; gives the field and the reason.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.rules_version > RULES_VERSION {
            return Err(("rules_version", format!("must be at most {RULES_VERSION}, which this program knows")));
        }
        for (field, ms) in [
            ("unpaid_ms", self.unpaid_ms),
            ("future_ms", self.future_ms),
            ("late_ms", self.late_ms),
            ("clock_tolerance_ms", self.clock_tolerance_ms),
            ("dwell_ms", self.dwell_ms),
        ]
        .into_iter()
        .chain(self.threshold_times_ms())
        {
            if !(0..=30 * 24 * 3_600_000).contains(&ms) {
                return Err((field, "must be 0 to 30 days in milliseconds".into()));
            }
        }
        for (field, value) in [
            ("max_accuracy_m", self.max_accuracy_m),
            ("max_speed_mps", self.max_speed_mps),
            ("dwell_radius_m", self.dwell_radius_m),
            ("max_distance_m", self.max_distance_m),
            ("arrive_m", self.arrive_m),
            ("leave_m", self.leave_m),
        ] {
            if !(value > 0.0 && value <= 100_000.0) {
                return Err((field, "must be above 0 and at most 100000".into()));
            }
        }
        if self.leave_m <= self.arrive_m {
            return Err(("leave_m", format!("must be above arrive_m, which is {}", self.arrive_m)));
        }
        if self.readmit_fixes == 0 {
            return Err(("readmit_fixes", "must be at least 1".into()));
        }
        if !(1..=MAX_STOPS).contains(&(self.max_orders_per_rider as usize)) {
            return Err(("max_orders_per_rider", format!("must be 1 to {MAX_STOPS}")));
        }
        self.check_thresholds()
    }

    /// Whether orders watch themselves: progress, arrival time, alerts.
    pub fn watches(&self) -> bool {
        self.rules_version >= 3
    }

    /// Whether orders without a planned route ask for one, and take what is found.
    pub fn finds_routes(&self) -> bool {
        self.rules_version >= 3
    }

    /// Whether the cell itself gives packed orders to riders.
    pub fn dispatches(&self) -> bool {
        self.rules_version >= 2 && self.dispatch == Dispatch::Nearest
    }
}
