//! The arrival time: an interval with the legs that add up to it. Who estimates is behind [`Estimator`]: today the
//! constant-speed estimate, which needs no history and says what it is; a learned one takes its place.

use super::{order::Facts, rules::Rules, status::Stage, thresholds::Pace, time::UnixMillis};
use serde::{Deserialize, Serialize};

/// What an estimate rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    ConstantSpeed,
}

impl Basis {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConstantSpeed => "constant_speed",
        }
    }
}

/// Along what the ride's distance is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// The planned route.
    Route,
    /// No route is known: the straight line, times a detour.
    StraightLine,
}

impl Path {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::StraightLine => "straight_line",
        }
    }
}

/// What remains, at p50, in the order in which it happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Legs {
    /// Until the goods are packed and the rider is there, whichever is later.
    pub picking_ms: i64,
    pub handover_ms: i64,
    /// Along the route, behind the stops ahead.
    pub ride_ms: i64,
    pub door_ms: i64,
}

impl Legs {
    /// All that remains.
    pub fn total_ms(&self) -> i64 {
        let Self { picking_ms, handover_ms, ride_ms, door_ms } = self;
        picking_ms.saturating_add(*handover_ms).saturating_add(*ride_ms).saturating_add(*door_ms)
    }
}

/// When the order arrives: `p50` is `at` and the legs' sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eta {
    /// Cell time of the estimate.
    pub at: UnixMillis,
    pub p10: UnixMillis,
    pub p50: UnixMillis,
    pub p90: UnixMillis,
    pub legs: Legs,
    pub basis: Basis,
    pub path: Path,
}

/// What an estimate may be made from; all of it known at `at`, nothing from later.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub at: UnixMillis,
    pub facts: &'a Facts,
    pub stage: Option<Stage>,
    /// When the stage, or else the payment, was reported.
    pub stage_at: UnixMillis,
    /// From the rider to the warehouse as the crow flies, while the goods aren't in hand; none where nobody knows.
    pub approach_m: Option<f64>,
    /// The rider has the goods.
    pub riding: bool,
    /// Still to ride with the goods: along the route, or as the crow flies.
    pub ride_m: f64,
    pub path: Path,
    /// Stops of the rider before this order's.
    pub stops_ahead: u16,
    /// Since when the rider is at the destination.
    pub at_door_since: Option<UnixMillis>,
}

/// An estimate, and how it ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub eta: Eta,
    /// So much remains at p50 however long nothing is heard: without news, the arrival is this long from any later time,
    /// or at the present p50, whichever is later.
    pub floor_ms: i64,
}

/// Makes estimates. Deterministic: what it knows beside its input comes from the log too.
pub trait Estimator {
    fn estimate(&self, known: &Known<'_>) -> Estimate;
}

/// The estimate that needs no history.
#[derive(Clone, Copy, Debug)]
pub struct ConstantSpeed {
    pace: Pace,
}

impl ConstantSpeed {
    /// By a cell's rules.
    pub fn new(rules: &Rules) -> Self {
        Self { pace: rules.pace }
    }

    /// How much of the picking remains when a stage is reported, in percent of the whole.
    fn unpicked_pct(stage: Option<Stage>) -> i64 {
        match stage {
            None => 100,
            Some(Stage::Received) => 90,
            Some(Stage::Picking) => 70,
            Some(Stage::Picked) => 20,
            Some(Stage::Packed | Stage::Ready | Stage::HandedOver) => 0,
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "metres on earth over at least 0.1 m/s")]
    fn ride_ms(&self, way_m: f64) -> i64 {
        libm::round(way_m / self.pace.speed_mps * 1_000.0) as i64
    }
}

impl Estimator for ConstantSpeed {
    fn estimate(&self, known: &Known<'_>) -> Estimate {
        let Self { pace } = self;
        let Known { at, facts, stage, stage_at, approach_m, riding, ride_m, path, stops_ahead, at_door_since } = *known;
        let mut legs = Legs::default();
        // What runs down by itself: picking that isn't reported yet, and the wait at the door.
        let mut waning_ms = 0;
        if !riding {
            let items = i64::from(facts.items).saturating_mul(pace.item_ms);
            let whole_ms = pace.picking_ms.saturating_add(items);
            let unpicked_ms = whole_ms.saturating_mul(Self::unpicked_pct(stage)) / 100;
            let picking_ms = unpicked_ms.saturating_sub(at.since(stage_at)).max(0);
            let approach_ms = approach_m.map_or(0, |m| self.ride_ms(m * pace.detour));
            legs.picking_ms = picking_ms.max(approach_ms);
            legs.handover_ms = pace.handover_ms;
            waning_ms += legs.picking_ms - approach_ms;
        }
        let detour = match path {
            Path::Route => 1.0,
            Path::StraightLine => pace.detour,
        };
        let stops_ms = i64::from(stops_ahead).saturating_mul(pace.stop_ms);
        legs.door_ms = pace.door_ms;
        match at_door_since {
            Some(since) => {
                legs.door_ms = pace.door_ms.saturating_sub(at.since(since)).max(0);
                waning_ms += legs.door_ms;
            }
            None => legs.ride_ms = self.ride_ms(ride_m * detour).saturating_add(stops_ms),
        }
        let total_ms = legs.total_ms();
        let part = |pct: u8| total_ms.saturating_mul(i64::from(pct)) / 100;
        let eta = Eta {
            at,
            p10: at.plus(total_ms - part(pace.early_pct)),
            p50: at.plus(total_ms),
            p90: at.plus(total_ms.saturating_add(part(pace.late_pct))),
            legs,
            basis: Basis::ConstantSpeed,
            path,
        };
        Estimate { eta, floor_ms: total_ms.saturating_sub(waning_ms) }
    }
}
