//! A small city: a grid of streets, warehouses and doors on its crossings, and ways along the streets. All from a seed.

use crate::{domain::WarehouseId, geo::Point};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Blocks on each side, and a block's length in metres.
const BLOCKS: i32 = 20;
const BLOCK_M: f64 = 200.0;
/// The south-west corner: Shanghai, north of People's Square.
const CORNER: (f64, f64) = (31.23, 121.47);
/// Metres of one degree of latitude on the mean sphere.
const METRES_PER_DEGREE: f64 = 111_195.08;

/// A place in metres east and north of the corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spot {
    pub(super) east_m: f64,
    pub(super) north_m: f64,
}

impl Spot {
    fn distance_m(self, other: Self) -> f64 {
        // Streets run along the axes, so one of the two is zero on every leg.
        (self.east_m - other.east_m).abs() + (self.north_m - other.north_m).abs()
    }

    /// WGS-84, with an error of `(east_m, north_m)`.
    pub(super) fn point(self, error_m: (f64, f64)) -> Option<Point> {
        let lat = CORNER.0 + (self.north_m + error_m.1) / METRES_PER_DEGREE;
        let lon = CORNER.1 + (self.east_m + error_m.0) / (METRES_PER_DEGREE * CORNER.0.to_radians().cos());
        Point::from_degrees(lat, lon).ok()
    }
}

/// A front warehouse.
#[derive(Clone, Debug)]
pub(super) struct Warehouse {
    pub(super) id: WarehouseId,
    pub(super) name: String,
    pub(super) at: Spot,
}

/// The grid and what stands on it.
#[derive(Clone, Debug)]
pub(super) struct City {
    pub(super) warehouses: Vec<Warehouse>,
}

impl City {
    /// The same city for the same seed.
    pub(super) fn new(seed: u64, warehouses: u32, prefix: &str) -> Result<Self, crate::domain::ids::IdError> {
        let mut random = stream(seed, Draw::City);
        let warehouses = (1..=warehouses).map(|n| {
            let at = crossing(&mut random);
            Ok(Warehouse { id: format!("{prefix}w{n}").parse()?, name: format!("前置仓 {n}"), at })
        });
        Ok(Self { warehouses: warehouses.collect::<Result<_, _>>()? })
    }
}

/// Any crossing.
pub(super) fn crossing(random: &mut ChaCha8Rng) -> Spot {
    let mut at = || f64::from(random.random_range(0..=BLOCKS)) * BLOCK_M;
    Spot { east_m: at(), north_m: at() }
}

/// Everything that is drawn has a stream of its own, so that what one party does changes no other's luck.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    City,
    Order(u32),
    Rider(u32),
}

/// The random stream of one thing.
pub(super) fn stream(seed: u64, draw: Draw) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(match draw {
        Draw::City => 0,
        Draw::Order(n) => (1 << 32) + u64::from(n),
        Draw::Rider(n) => (2 << 32) + u64::from(n),
    });
    random
}

/// A way along the streets from one spot to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Way {
    corners: Vec<Spot>,
    pub(super) length_m: f64,
}

impl Way {
    /// East or west first, then north or south; or the other way round.
    pub(super) fn between(from: Spot, to: Spot, north_first: bool) -> Self {
        let corner = if north_first {
            Spot { east_m: from.east_m, north_m: to.north_m }
        } else {
            Spot { east_m: to.east_m, north_m: from.north_m }
        };
        let mut corners = vec![from, corner, to];
        corners.dedup();
        let length_m = corners.windows(2).map(|leg| leg[0].distance_m(leg[1])).sum();
        Self { corners, length_m }
    }

    /// Where one is after `run_m` metres; stays at the end.
    pub(super) fn at(&self, run_m: f64) -> Option<Spot> {
        let mut left_m = run_m.max(0.0);
        for leg in self.corners.windows(2) {
            let leg_m = leg[0].distance_m(leg[1]);
            if left_m <= leg_m {
                let part = if leg_m > 0.0 { left_m / leg_m } else { 0.0 };
                return Some(Spot {
                    east_m: leg[0].east_m + (leg[1].east_m - leg[0].east_m) * part,
                    north_m: leg[0].north_m + (leg[1].north_m - leg[0].north_m) * part,
                });
            }
            left_m -= leg_m;
        }
        self.corners.last().copied()
    }

    /// As GeoJSON has it, `[lon, lat]`; empty for a way of no length.
    pub(super) fn line(&self) -> Vec<(f64, f64)> {
        let points = self.corners.iter().filter_map(|corner| corner.point((0.0, 0.0)));
        let line: Vec<_> = points.map(|point| (point.lon(), point.lat())).collect();
        if line.len() < 2 { Vec::new() } else { line }
    }

    /// The compass direction at `run_m`, degrees clockwise from north.
    pub(super) fn heading_deg(&self, run_m: f64) -> Option<f64> {
        let (a, b) = (self.at(run_m)?, self.at(run_m + 1.0)?);
        let degrees = (b.east_m - a.east_m).atan2(b.north_m - a.north_m).to_degrees().rem_euclid(360.0);
        (a != b).then_some(degrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::distance_m;

    #[test]
    fn one_seed_one_city() {
        let spots = |seed| City::new(seed, 5, "").unwrap().warehouses.iter().map(|w| w.at).collect::<Vec<_>>();
        assert_eq!(spots(1), spots(1));
        assert_ne!(spots(1), spots(2));
        assert_ne!(crossing(&mut stream(1, Draw::Order(1))), crossing(&mut stream(1, Draw::Rider(1))));
    }

    #[test]
    fn ways_keep_to_the_streets_and_to_metres() {
        let (a, b) = (Spot { east_m: 0.0, north_m: 400.0 }, Spot { east_m: 600.0, north_m: 0.0 });
        let way = Way::between(a, b, false);
        assert_eq!(way.length_m, 1_000.0);
        assert_eq!(way.at(300.0).unwrap(), Spot { east_m: 300.0, north_m: 400.0 });
        assert_eq!(way.at(700.0).unwrap(), Spot { east_m: 600.0, north_m: 300.0 });
        assert_eq!(way.at(5_000.0).unwrap(), b);
        assert_eq!((way.heading_deg(10.0), way.heading_deg(700.0)), (Some(90.0), Some(180.0)));
        assert_eq!(way.heading_deg(1_000.0), None);
        let real_m = distance_m(a.point((0.0, 0.0)).unwrap(), way.at(600.0).unwrap().point((0.0, 0.0)).unwrap());
        assert!((real_m - 600.0).abs() < 1.0, "{real_m}");
        assert!(Way::between(a, a, true).line().is_empty());
    }
}
