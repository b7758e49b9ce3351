//! Arrival at a place and leaving it: a round fence about a warehouse or a destination. GPS errs by tens of metres at
//! doors and between houses, and who waits at a fence's edge must not come and go with it. So leaving has a larger radius
//! than arriving, a fix that could lie on either side changes nothing, and nothing but a clear fix is believed alone.

use super::{rules::Rules, time::UnixMillis};
use crate::geo::{Point, apart_m};
use serde::{Deserialize, Serialize};

/// Nearer than this part of the arrival's radius, a single fix is an arrival.
const CLEARLY_IN: f64 = 0.5;
/// Farther than so many leaving radii, a single fix is a departure.
const CLEARLY_OUT: f64 = 2.0;

/// The machine; it starts outside. It belongs to one place: another place begins another stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// The fix time of arrival, while inside.
    since: Option<UnixMillis>,
    /// The fix time of the first fix that lay on the other side, and was not believed alone.
    doubt: Option<UnixMillis>,
}

/// What a fix changed. Both happened at the first of the fixes that show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StayChange {
    Arrived { at: UnixMillis },
    Left { at: UnixMillis },
}

impl Stay {
    pub fn inside(&self) -> bool {
        self.since.is_some()
    }

    /// When the rider arrived, while inside.
    pub fn since(&self) -> Option<UnixMillis> {
        self.since
    }

    /// How long the rider has been inside; 0 outside.
    pub fn dwell_ms(&self, at: UnixMillis) -> i64 {
        self.since.map_or(0, |since| at.since(since).max(0))
    }

    /// Takes a good fix, newer than all before; `accuracy_m` is 0 where unknown.
    pub fn take(
        &mut self,
        centre: Point,
        point: Point,
        accuracy_m: f64,
        at: UnixMillis,
        rules: &Rules,
    ) -> Option<StayChange> {
        let away_m = apart_m(centre, point);
        // In or out at all, where the one contradicts the state; and clearly so.
        let (other_side, clearly) = if self.inside() {
            (
                away_m > rules.leave_m && away_m - accuracy_m > rules.arrive_m,
                away_m - accuracy_m > CLEARLY_OUT * rules.leave_m,
            )
        } else {
            (
                away_m <= rules.arrive_m && away_m + accuracy_m <= rules.leave_m,
                away_m + accuracy_m <= CLEARLY_IN * rules.arrive_m,
            )
        };
        if !other_side {
            // Sure of the same side, or unsure: only the former ends a doubt.
            let same_side =
                if self.inside() { away_m + accuracy_m <= rules.leave_m } else { away_m - accuracy_m > rules.arrive_m };
            if same_side {
                self.doubt = None;
            }
            return None;
        }
        let Some(first) = self.doubt.take().or(clearly.then_some(at)) else {
            self.doubt = Some(at);
            return None;
        };
        if self.since.take().is_some() {
            return Some(StayChange::Left { at: first });
        }
        self.since = Some(first);
        Some(StayChange::Arrived { at: first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CENTRE: Point = Point { lat_e7: 312_000_000, lon_e7: 1_214_000_000 };

    /// A point so far north of the centre.
    fn north(m: f64) -> Point {
        Point::from_degrees(CENTRE.lat() + m / 111_195.08, CENTRE.lon()).unwrap()
    }

    /// The changes that fixes make: metres north, accuracy, seconds.
    fn changes(fixes: impl IntoIterator<Item = (f64, f64, i64)>) -> Vec<(char, i64)> {
        let mut stay = Stay::default();
        let mut take = |(m, accuracy_m, t_s): (f64, f64, i64)| {
            stay.take(CENTRE, north(m), accuracy_m, UnixMillis(t_s * 1_000), &Rules::default())
        };
        let said = fixes.into_iter().filter_map(&mut take);
        let short = |change| match change {
            StayChange::Arrived { at } => ('+', at.0 / 1_000),
            StayChange::Left { at } => ('-', at.0 / 1_000),
        };
        said.map(short).collect()
    }

    #[test]
    fn two_fixes_or_a_clear_one_arrive_and_leave() {
        // Both date back to the first of the fixes that show it.
        let there_and_back = [(500.0, 0.0, 0), (55.0, 0.0, 15), (40.0, 0.0, 30), (130.0, 0.0, 45), (150.0, 0.0, 60)];
        assert_eq!(changes(there_and_back), [('+', 15), ('-', 45)]);
        assert_eq!(changes([(500.0, 0.0, 0), (20.0, 0.0, 15), (400.0, 0.0, 30)]), [('+', 15), ('-', 30)]);
        // Passing by is no arrival; between the radii nothing happens.
        assert_eq!(changes([(200.0, 0.0, 0), (50.0, 0.0, 15), (200.0, 0.0, 30), (50.0, 0.0, 45)]), []);
        assert_eq!(changes([(10.0, 0.0, 0), (100.0, 0.0, 15), (119.0, 0.0, 30), (119.0, 0.0, 45)]), [('+', 0)]);
    }

    #[test]
    fn an_unsure_fix_changes_nothing_either_way() {
        assert_eq!(changes((0..50).map(|i| (50.0, 90.0, i * 15))), []);
        let inside = [(0.0, 5.0, 0), (0.0, 5.0, 15)];
        assert_eq!(changes(inside.into_iter().chain((2..50).map(|i| (130.0, 90.0, i * 15)))), [('+', 0)]);
        // Nor does it end a doubt, which the next sure one confirms.
        assert_eq!(changes([(50.0, 10.0, 0), (90.0, 60.0, 15), (50.0, 10.0, 30)]), [('+', 0)]);
    }

    #[test]
    fn the_radius_for_leaving_is_the_larger_one() {
        let rules = Rules { arrive_m: 60.0, leave_m: 60.0, ..Rules::default() };
        assert_eq!(rules.check().unwrap_err().0, "leave_m");
        assert_eq!(Rules { arrive_m: 0.0, ..rules }.check().unwrap_err().0, "arrive_m");
        assert_eq!(Rules::default().check(), Ok(()));
    }

    #[test]
    fn dwell_counts_from_the_arrival() {
        let mut stay = Stay::default();
        assert_eq!((stay.inside(), stay.dwell_ms(UnixMillis(9))), (false, 0));
        stay.take(CENTRE, north(10.0), 0.0, UnixMillis(1_000), &Rules::default());
        assert_eq!(
            (stay.inside(), stay.since(), stay.dwell_ms(UnixMillis(61_000))),
            (true, Some(UnixMillis(1_000)), 60_000)
        );
    }

    proptest! {
        /// Wherever a rider stands, jitter of 15 m and an outlier of 60 m a minute make at most one arrival, and no coming and going.
        #[test]
        fn who_stands_arrives_at_most_once(
            stand_m in 0.0..300.0f64, jitter in prop::collection::vec(-15.0..15.0f64, 240), outlier in prop::collection::vec(prop::bool::ANY, 60),
        ) {
            let fixes = jitter.iter().enumerate().map(|(i, j)| {
                let off = if i % 4 == 3 { if outlier[i / 4] { 60.0 } else { -60.0 } } else { *j };
                ((stand_m + off).abs(), 0.0, i64::try_from(i).unwrap() * 15)
            });
            let changes = changes(fixes);
            prop_assert!(changes.iter().filter(|c| c.0 == '+').count() <= 1, "{stand_m}: {changes:?}");
        }
    }
}
