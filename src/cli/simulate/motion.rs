//! Where a rider truly is: one line through time, from which the phone takes its fixes and the truth file its places.

use super::streets::{Spot, Way};
use crate::domain::UnixMillis;

/// A rider's way through the day, as points in time with straight lines between them.
#[derive(Clone, Debug)]
pub(super) struct Motion {
    points: Vec<(UnixMillis, Spot)>,
}

/// A moment of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) spot: Spot,
    pub(super) speed_mps: f64,
    /// Clockwise from north; `None` when standing.
    pub(super) heading_deg: Option<f64>,
}

impl Motion {
    pub(super) fn standing(spot: Spot, since: UnixMillis) -> Self {
        Self { points: vec![(since, spot)] }
    }

    /// Where and when it ends so far.
    pub(super) fn end(&self) -> (UnixMillis, Spot) {
        self.points.last().copied().unwrap_or((UnixMillis(0), Spot { east_m: 0.0, north_m: 0.0 }))
    }

    /// Stands until then.
    pub(super) fn stay(&mut self, until: UnixMillis) {
        let (end, spot) = self.end();
        if until > end {
            self.points.push((until, spot));
        }
    }

    /// Rides along a way at `pace` times its speed, with one pause, as (after so many corners, ms); gives the arrival.
    pub(super) fn ride(&mut self, way: &Way, pace: f64, pause: Option<(usize, i64)>) -> UnixMillis {
        let (begin, _) = self.end();
        let mut paused_ms = 0;
        for (n, (spot, seconds)) in way.legs().iter().enumerate() {
            let at = begin.plus(ms(seconds / pace) + paused_ms);
            self.points.push((at, *spot));
            if let Some((_, pause_ms)) = pause.filter(|(after, _)| *after == n) {
                paused_ms += pause_ms;
                self.points.push((at.plus(pause_ms), *spot));
            }
        }
        self.end().0
    }

    /// Where one is at that time; before and after the line, at its ends.
    pub(super) fn at(&self, time: UnixMillis) -> Moment {
        let after = self.points.partition_point(|point| point.0 <= time);
        let standing = |spot| Moment { spot, speed_mps: 0.0, heading_deg: None };
        let (Some(&b), Some(&a)) = (self.points.get(after), self.points.get(after.wrapping_sub(1))) else {
            return standing(self.points.get(after).map_or(self.end().1, |point| point.1));
        };
        let whole_s = b.0.since(a.0) as f64 / 1_000.0;
        let length_m = a.1.distance_m(b.1);
        if length_m < 0.01 || whole_s <= 0.0 {
            return standing(a.1);
        }
        let heading = libm::atan2(b.1.east_m - a.1.east_m, b.1.north_m - a.1.north_m).to_degrees();
        Moment {
            spot: a.1.towards(b.1, time.since(a.0) as f64 / 1_000.0 / whole_s),
            speed_mps: length_m / whole_s,
            heading_deg: Some(heading.rem_euclid(360.0)),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a ride of seconds to hours")]
fn ms(seconds: f64) -> i64 {
    (seconds * 1_000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::super::streets::Streets;
    use super::*;

    #[test]
    fn rides_pauses_and_stays() {
        let streets = Streets::grid().unwrap();
        let way = streets.way(0, 200);
        let mut motion = Motion::standing(streets.spot(0), UnixMillis(0));
        motion.stay(UnixMillis(10_000));
        let straight = motion.clone().ride(&way, 1.0, None);
        let arrival = motion.ride(&way, 1.0, Some((2, 60_000)));
        assert_eq!(arrival.since(straight), 60_000);
        motion.stay(arrival.plus(30_000));
        assert_eq!(motion.at(UnixMillis(5_000)).spot, streets.spot(0));
        assert_eq!(motion.at(arrival.plus(99_000)).spot, streets.spot(200));
        let riding = motion.at(UnixMillis(11_000));
        assert!(riding.speed_mps > 3.0 && riding.speed_mps < 8.1 && riding.heading_deg.is_some(), "{riding:?}");
        // Nowhere quicker than the fastest street.
        for t in 0..arrival.0 / 1_000 {
            let (a, b) = (motion.at(UnixMillis(t * 1_000)).spot, motion.at(UnixMillis(t * 1_000 + 1_000)).spot);
            assert!(a.distance_m(b) < 8.5);
        }
    }
}
