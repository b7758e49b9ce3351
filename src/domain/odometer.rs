//! The distance travelled. Summed from fix to fix, the jitter of a phone on a table is kilometres an hour; so it is summed
//! from anchor to anchor, farther apart than jitter is wide. While the rider stands, an anchor is left by two fixes that
//! agree or by one clearly away; on the move every fix counts at once, and is taken back if the next one denies it.
//!
//! At a fix every 15 s a straight line from one to the next cuts the street's corners, by 4–5 % of the way in a town. Streets
//! run straight and turn at corners, so where a leg's neighbours bend away from it to the same side, the way goes along
//! them to where they meet.

use super::{
    rules::Rules,
    still::{CLEARLY_AWAY, Centre, agree},
    time::UnixMillis,
};
use crate::geo::{Plane, Point, apart_m};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Neighbours that turn farther than this in all, in radians, meet at no corner.
const MOST_TURN: f64 = 2.0;

/// The machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Odometer {
    way: Way,
    anchor: Option<Anchor>,
    /// The last fix, if it lay away from a standing rider's anchor and was not believed alone.
    doubt: Option<Point>,
    /// What there was before the last move, until a second fix confirms it.
    before: Option<(Way, Anchor)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    centre: Centre,
    since: UnixMillis,
    motion: Motion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Motion {
    /// The first fix of all, with none near it yet: it may be an outlier itself.
    Unsure,
    Standing,
    Moving,
}

impl Odometer {
    /// Takes a good fix, newer than all before; `accuracy_m` is 0 where unknown. The anchor's radius is that of a dwell.
    pub fn take(&mut self, point: Point, accuracy_m: f64, at: UnixMillis, rules: &Rules) {
        let radius_m = rules.dwell_radius_m + accuracy_m;
        let here = Anchor { centre: Centre::at(point), since: at, motion: Motion::Moving };
        let Some(anchor) = self.anchor.as_mut() else {
            self.anchor = Some(Anchor { motion: Motion::Unsure, ..here });
            return;
        };
        let away_m = apart_m(anchor.centre.point, point);
        if away_m <= radius_m {
            if anchor.motion == Motion::Unsure || at.since(anchor.since) >= rules.dwell_ms {
                anchor.motion = Motion::Standing;
            }
            // On the move the anchor stays: what it would move by were lost.
            if anchor.motion == Motion::Standing && away_m <= rules.dwell_radius_m {
                anchor.centre.add(point);
            }
            (self.doubt, self.before) = (None, None);
            return;
        }
        let (left, from, way) = (*anchor, anchor.centre.point, self.way);
        if let Some((way, before)) = self.before.take().filter(|(_, b)| apart_m(b.centre.point, point) <= radius_m) {
            (self.way, self.anchor) = (way, Some(before));
            return;
        }
        match left.motion {
            Motion::Moving => self.before = Some((self.way, left)),
            Motion::Unsure | Motion::Standing => {
                let over = self.doubt.take().filter(|doubted| agree(from, *doubted, point));
                if over.is_none() && away_m <= CLEARLY_AWAY * radius_m {
                    self.doubt = Some(point);
                    return;
                }
                // From a stand one sets out in any direction, and may be back with the next fix as if one had never gone.
                self.way.last = None;
                self.before = (left.motion == Motion::Standing).then_some((way, left));
                if let Some(over) = over {
                    if left.motion == Motion::Unsure && apart_m(over, point) <= radius_m {
                        // Two that stand together, where none was ever near the first: it was that one which was wrong.
                        self.anchor = Some(Anchor { motion: Motion::Standing, ..here });
                        return;
                    }
                    self.way.go(from, over);
                    self.way.go(over, point);
                    self.anchor = Some(here);
                    return;
                }
            }
        }
        self.way.go(from, point);
        self.anchor = Some(here);
    }

    /// Metres travelled. The last of them, up to the dwell radius, count when the rider goes on.
    pub fn travelled_m(&self) -> f64 {
        self.way.travelled_m
    }
}

/// Legs added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Way {
    travelled_m: f64,
    /// The last leg, counted as straight until the next one shows whether it cut a corner.
    last: Option<Leg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Leg {
    length_m: f64,
    /// Clockwise from north, in radians.
    heading: f64,
    /// From the leg before to this one.
    turn: f64,
}

impl Way {
    fn go(&mut self, from: Point, to: Point) {
        let offset = Plane::at(from).offset(to);
        let (length_m, heading) = (apart_m(from, to), libm::atan2(offset.east_m, offset.north_m));
        let turn = self.last.map_or(0.0, |last| half_turn(heading - last.heading));
        if let Some(last) = self.last {
            self.travelled_m += last.length_m * (corner(last.turn, turn) - 1.0);
        }
        self.travelled_m += length_m;
        self.last = Some(Leg { length_m, heading, turn });
    }
}

/// An angle between two headings, brought to −π…π.
fn half_turn(angle: f64) -> f64 {
    if angle > PI {
        angle - 2.0 * PI
    } else if angle < -PI {
        angle + 2.0 * PI
    } else {
        angle
    }
}

/// How much longer the way round the corner is than the leg that cuts it: two sides of the triangle that the leg makes with
/// its neighbours' directions. 1 where they don't turn to the same side.
fn corner(before: f64, after: f64) -> f64 {
    let (a, b) = (before.abs(), after.abs());
    if before * after <= 0.0 || a + b >= MOST_TURN {
        return 1.0;
    }
    (libm::sin(a) + libm::sin(b)) / libm::sin(a + b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Point = Point { lat_e7: 312_000_000, lon_e7: 1_214_000_000 };

    fn place((east, north): (f64, f64)) -> Point {
        let lat = START.lat() + north / 111_195.08;
        Point::from_degrees(lat, START.lon() + east / (111_195.08 * START.lat().to_radians().cos())).unwrap()
    }

    fn travelled(places: impl IntoIterator<Item = (f64, f64)>, step_s: i64) -> f64 {
        let mut odometer = Odometer::default();
        for (i, to) in (0..).zip(places) {
            odometer.take(place(to), 0.0, UnixMillis(i * step_s * 1_000), &Rules::default());
        }
        odometer.travelled_m()
    }

    /// A ride through square blocks of 200 m, right and left by turns, at so many metres a fix.
    fn staircase(fixes: u32, step_m: f64) -> impl Iterator<Item = (f64, f64)> {
        (0..fixes).map(move |i| {
            let way = f64::from(i) * step_m;
            let (block, rest) = ((way / 200.0).floor(), way % 200.0);
            let (half, odd) = ((block / 2.0).floor() * 200.0, block % 2.0);
            if odd > 0.0 { (half + rest, half + 200.0) } else { (half, half + rest) }
        })
    }

    #[test]
    fn a_ride_through_streets_counts_whatever_the_pace_of_fixes() {
        for (fixes, step_m, step_s) in [(1_250, 8.0, 1), (250, 40.0, 5), (80, 120.0, 15)] {
            let off = travelled(staircase(fixes + 1, step_m), step_s) / (f64::from(fixes) * step_m) - 1.0;
            assert!(off.abs() < 0.03, "{step_m} m a fix: {off}");
        }
        // A straight way to the centimetre, but for what is short of the next anchor.
        let way = travelled((0..100).map(|i| (0.0, f64::from(i) * 50.0)), 5);
        assert!((way - 99.0 * 50.0).abs() < 1.0, "{way}");
    }

    #[test]
    fn a_corner_is_gone_round_and_a_bend_to_both_sides_is_not() {
        let square = corner(PI / 4.0, PI / 4.0);
        assert!((square - 2.0f64.sqrt()).abs() < 1e-12);
        assert_eq!((corner(0.5, -0.5), corner(0.0, 0.5), corner(1.5, 1.5)), (1.0, 1.0, 1.0));
    }

    #[test]
    fn an_outlier_on_the_move_is_taken_back() {
        let straight = (0..20).map(|i| (0.0, f64::from(i) * 40.0));
        let stops = (0..2).map(|_| (0.0, 760.0));
        let ride: Vec<_> = straight.chain(stops).chain([(60.0, 760.0), (0.0, 761.0), (0.0, 762.0)]).collect();
        assert!((travelled(ride, 5) - 760.0).abs() < 0.5);
    }

    #[test]
    fn two_outliers_in_a_row_are_taken_back() {
        let stand = [(0.0, 0.0), (3.0, 0.0), (0.0, 2.0), (1.0, 1.0)];
        let outliers = [(60.0, 0.0), (55.0, 20.0)];
        assert_eq!(travelled(stand.into_iter().chain(outliers).chain(stand), 15), 0.0);
        assert!(travelled(stand.into_iter().chain(outliers).chain([(110.0, 0.0)]), 15) > 90.0);
    }

    #[test]
    fn a_first_fix_that_was_wrong_counts_nothing() {
        assert_eq!(travelled([(60.0, 0.0), (0.0, 0.0), (1.0, 2.0), (3.0, 1.0)], 15), 0.0);
        assert!(travelled([(0.0, 0.0), (60.0, 0.0), (120.0, 0.0), (180.0, 0.0)], 15) > 150.0);
    }

    /// A number in 0..1 from a seed and an index.
    fn random(seed: u64, i: u64) -> f64 {
        let mixed = (seed ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }

    proptest! {
        /// Standing with 5 to 15 m of jitter and a fix 60 m away once a minute, at any pace, collects nothing from the
        /// first fix on, be it the outlier itself.
        #[test]
        fn standing_collects_nothing(
            seed: u64, step_s in prop::sample::select(vec![1i64, 5, 15]), first in 0i64..60,
        ) {
            let mut odometer = Odometer::default();
            for i in 0..3_600 / step_s {
                let n = i.unsigned_abs() * 2;
                let outlier = (i * step_s + 60 - first) % 60 < step_s;
                let radius = if outlier { 60.0 } else { 5.0 + 10.0 * random(seed, n) };
                let angle = 2.0 * PI * random(seed, n + 1);
                let to = place((radius * angle.cos(), radius * angle.sin()));
                odometer.take(to, 0.0, UnixMillis(i * step_s * 1_000), &Rules::default());
                prop_assert_eq!(odometer.travelled_m(), 0.0, "at fix {}", i);
            }
        }
    }
}
