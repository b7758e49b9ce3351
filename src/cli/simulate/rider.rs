//! A simulated rider: rides along streets, reports fixes (late and in batches after a tunnel), carries one to three orders.
//! Decides by its own random stream and the cell time it is given, and knows nothing of clients or clocks.

use super::city::{Draw, Spot, Way, crossing, stream};
use crate::{
    domain::{OrderId, RiderId, UnixMillis, ids::IdError},
    wire::fix::FixBody,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Spec: riders report every 15 s; phones are not exact.
const REPORT_MS: i64 = 15_000;
const REPORT_JITTER_MS: i64 = 2_000;
/// Error of a good fix, in metres to each side.
const NOISE_M: f64 = 5.0;
/// Chance of losing the network at a report, and for how many reports.
const OFFLINE_CHANCE: f64 = 0.02;
const OFFLINE_REPORTS: std::ops::RangeInclusive<usize> = 3..=12;
/// An electric bicycle, m/s.
const SPEED_MPS: std::ops::Range<f64> = 5.0..8.0;
/// At the warehouse and at the door.
const PICK_UP_MS: std::ops::Range<i64> = 30_000..90_000;
const HAND_OVER_MS: std::ops::Range<i64> = 20_000..60_000;

/// An order in the rider's bag.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stop {
    pub(super) order: OrderId,
    pub(super) door: Spot,
}

/// What the rider does now.
#[derive(Clone, Debug)]
enum Doing {
    Waiting,
    /// Riding to the warehouse, or to the next door.
    Riding {
        way: Way,
        since: UnixMillis,
        speed_mps: f64,
    },
    /// Standing at the warehouse or at a door.
    Standing,
}

/// What happened when the rider's time came.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Turn {
    /// Loaded at the warehouse; these are the stops, in their order. The next turn is due then.
    PickedUp {
        stops: Vec<OrderId>,
        next: UnixMillis,
    },
    /// Came to a place; what is done there takes until then.
    Arrived {
        next: UnixMillis,
    },
    /// Handed over to the customer; more stops follow at `next`, or none.
    Delivered {
        order: OrderId,
        next: Option<UnixMillis>,
    },
    Nothing,
}

/// One rider.
#[derive(Clone, Debug)]
pub(super) struct Rider {
    pub(super) id: RiderId,
    random: ChaCha8Rng,
    at: Spot,
    doing: Doing,
    stops: Vec<Stop>,
    loaded: bool,
    seq: u32,
    offline_left: usize,
    kept: Vec<FixBody>,
}

impl Rider {
    pub(super) fn new(seed: u64, n: u32, prefix: &str) -> Result<Self, IdError> {
        let mut random = stream(seed, Draw::Rider(n));
        let at = crossing(&mut random);
        let id = format!("{prefix}r{n}").parse()?;
        let (doing, stops, kept) = (Doing::Waiting, Vec::new(), Vec::new());
        Ok(Self { id, random, at, doing, stops, loaded: false, seq: 0, offline_left: 0, kept })
    }

    /// Whether the rider waits for work.
    pub(super) fn is_free(&self) -> bool {
        self.stops.is_empty()
    }

    /// Distance along the streets to a place.
    pub(super) fn distance_m(&self, to: Spot) -> f64 {
        Way::between(self.at, to, false).length_m
    }

    /// How many orders the rider takes this time: one to three.
    pub(super) fn appetite(&mut self) -> usize {
        self.random.random_range(1..=3)
    }

    /// Sets out for a warehouse to fetch orders; gives the time of arrival.
    pub(super) fn fetch(&mut self, warehouse: Spot, stops: Vec<Stop>, now: UnixMillis) -> UnixMillis {
        self.stops = stops;
        self.loaded = false;
        self.ride(warehouse, now)
    }

    fn ride(&mut self, to: Spot, now: UnixMillis) -> UnixMillis {
        let way = Way::between(self.at, to, self.random.random_bool(0.5));
        let speed_mps = self.random.random_range(SPEED_MPS);
        let arrival = now.plus(ms(way.length_m / speed_mps));
        self.doing = Doing::Riding { way, since: now, speed_mps };
        arrival
    }

    /// The rider's next moment has come.
    pub(super) fn turn(&mut self, now: UnixMillis) -> Turn {
        match &self.doing {
            Doing::Waiting => Turn::Nothing,
            Doing::Riding { way, .. } => {
                if let Some(end) = way.at(way.length_m) {
                    self.at = end;
                }
                self.doing = Doing::Standing;
                let stay_ms = if self.loaded { HAND_OVER_MS } else { PICK_UP_MS };
                Turn::Arrived { next: now.plus(self.random.random_range(stay_ms)) }
            }
            Doing::Standing if !self.loaded => {
                self.loaded = true;
                let stops = self.stops.iter().map(|stop| stop.order.clone()).collect();
                match self.stops.first().map(|stop| stop.door) {
                    Some(door) => Turn::PickedUp { stops, next: self.ride(door, now) },
                    None => Turn::Nothing,
                }
            }
            Doing::Standing => {
                if self.stops.is_empty() {
                    return Turn::Nothing;
                }
                let Stop { order, .. } = self.stops.remove(0);
                let next = self.stops.first().map(|stop| stop.door).map(|door| self.ride(door, now));
                if next.is_none() {
                    self.doing = Doing::Waiting;
                }
                Turn::Delivered { order, next }
            }
        }
    }

    /// A report is due: the fixes to send now (none while offline), and when the next is due.
    pub(super) fn report(&mut self, now: UnixMillis) -> (Vec<FixBody>, UnixMillis) {
        let fix = self.fix(now);
        self.kept.extend(fix);
        if self.offline_left > 0 {
            self.offline_left -= 1;
        } else if self.random.random_bool(OFFLINE_CHANCE) {
            self.offline_left = self.random.random_range(OFFLINE_REPORTS);
        }
        let next = now.plus(REPORT_MS + self.random.random_range(-REPORT_JITTER_MS..=REPORT_JITTER_MS));
        let send = if self.offline_left > 0 { Vec::new() } else { std::mem::take(&mut self.kept) };
        (send, next)
    }

    fn fix(&mut self, now: UnixMillis) -> Option<FixBody> {
        let (spot, speed_mps, heading_deg) = match &self.doing {
            Doing::Riding { way, since, speed_mps } => {
                let run_m = now.since(*since).max(0) as f64 / 1_000.0 * speed_mps;
                (way.at(run_m)?, *speed_mps, way.heading_deg(run_m))
            }
            Doing::Waiting | Doing::Standing => (self.at, 0.0, None),
        };
        let mut error_m = || self.random.random_range(-NOISE_M..=NOISE_M);
        let point = spot.point((error_m(), error_m()))?;
        self.seq += 1;
        Some(FixBody {
            lat: point.lat(),
            lon: point.lon(),
            fix_time_ms: now.0,
            seq: Some(self.seq),
            accuracy_m: Some(NOISE_M),
            speed_mps: Some(speed_mps),
            heading_deg,
            battery_pct: None,
        })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a ride of seconds to minutes")]
fn ms(seconds: f64) -> i64 {
    (seconds * 1_000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(order: &str, east_m: f64) -> Stop {
        Stop { order: order.parse().unwrap(), door: Spot { east_m, north_m: 200.0 } }
    }

    #[test]
    fn fetches_and_delivers_in_order() {
        let mut rider = Rider::new(1, 1, "").unwrap();
        assert_eq!(rider.turn(UnixMillis(0)), Turn::Nothing);
        let warehouse = Spot { east_m: 800.0, north_m: 800.0 };
        let mut now = rider.fetch(warehouse, vec![stop("a", 0.0), stop("b", 400.0)], UnixMillis(0));
        assert!(!rider.is_free());
        let mut seen = Vec::new();
        while !rider.is_free() {
            let before = now;
            match rider.turn(now) {
                Turn::Arrived { next } => now = next,
                Turn::PickedUp { stops, next } => {
                    assert_eq!(stops.len(), 2);
                    now = next;
                }
                Turn::Delivered { order, next } => {
                    seen.push(order.to_string());
                    now = next.unwrap_or(now.plus(1));
                }
                Turn::Nothing => panic!("stuck"),
            }
            assert!(now > before);
        }
        assert_eq!(seen, ["a", "b"]);
        assert_eq!(rider.distance_m(Spot { east_m: 400.0, north_m: 200.0 }), 0.0);
    }

    #[test]
    fn every_fix_is_reported_once_also_after_a_tunnel() {
        let mut rider = Rider::new(3, 2, "").unwrap();
        let (mut now, mut seqs, mut batches) = (UnixMillis(0), Vec::new(), 0);
        for _ in 0..500 {
            let (fixes, next) = rider.report(now);
            batches += usize::from(fixes.len() > 1);
            assert!(fixes.iter().all(|fix| fix.fix_time_ms <= now.0));
            seqs.extend(fixes.iter().map(|fix| fix.seq.unwrap()));
            assert!((13_000..=17_000).contains(&next.since(now)));
            now = next;
        }
        assert!(batches > 2, "{batches}");
        assert!(seqs.is_sorted() && seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }
}
