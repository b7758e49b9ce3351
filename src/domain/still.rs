//! Standing still: an anchor that moves only when the rider does. An anchor is left by two fixes that agree, or by one
//! that is clearly away, because an outlier a minute is what a standing phone gives. Its first fixes centre it: one alone
//! may lie at the jitter's edge.

use super::time::UnixMillis;
use crate::geo::{Point, apart_m};
use serde::{Deserialize, Serialize};

/// Farther than so many radii, a single fix is believed.
pub(super) const CLEARLY_AWAY: f64 = 4.0;
/// So many fixes centre an anchor; more would let it creep along with the rider.
const CENTRED_BY: u8 = 8;

/// A place that the first fixes about it centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Centre {
    pub(super) point: Point,
    fixes: u8,
}

impl Centre {
    pub(super) fn at(point: Point) -> Self {
        Self { point, fixes: 1 }
    }

    /// One more fix about it.
    pub(super) fn add(&mut self, point: Point) {
        if self.fixes < CENTRED_BY {
            self.fixes += 1;
            self.point = self.point.toward(point, i32::from(self.fixes));
        }
    }
}

/// Where the rider stands, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Still {
    anchor: Option<(Centre, UnixMillis)>,
    /// The last fix, if it lay beyond the radius and was not believed alone.
    doubt: Option<(Point, UnixMillis)>,
    /// What was left with the last fix. Who is back there with the next one never went: outliers come in pairs, too.
    left: Option<(Centre, UnixMillis)>,
}

impl Still {
    /// Takes a good fix, newer than all before; `accuracy_m` is 0 where unknown. Within `radius_m` of the anchor the rider
    /// stands; a caller that wants hysteresis gives a larger radius while it holds the rider to be standing.
    pub fn take(&mut self, point: Point, accuracy_m: f64, at: UnixMillis, radius_m: f64) {
        let beyond_m = radius_m + accuracy_m;
        if let Some((former, since)) = self.left.take()
            && apart_m(former.point, point) <= beyond_m
        {
            *self = Self { anchor: Some((former, since)), doubt: None, left: None };
        }
        let Some((centre, _)) = self.anchor.as_mut() else {
            self.anchor = Some((Centre::at(point), at));
            return;
        };
        let anchor = centre.point;
        let away_m = apart_m(anchor, point);
        if away_m <= beyond_m {
            if away_m <= radius_m {
                centre.add(point);
            }
            self.doubt = None;
            return;
        }
        if away_m > CLEARLY_AWAY * beyond_m {
            *self = Self { anchor: Some((Centre::at(point), at)), ..Self::default() };
            return;
        }
        let Some((doubted, then)) = self.doubt.filter(|(doubted, _)| agree(anchor, *doubted, point)) else {
            self.doubt = Some((point, at));
            return;
        };
        // The rider went to where the first of the two was. Whether the second is still there is seen from the next.
        let doubt = (apart_m(doubted, point) > radius_m).then_some((point, at));
        *self = Self { anchor: Some((Centre::at(doubted), then)), doubt, left: self.anchor };
    }

    /// How long the rider has stood at the former place, should the next fix prove that they never left it; 0 if it can't.
    pub fn former_ms(&self, at: UnixMillis) -> i64 {
        self.left.map_or(0, |(_, since)| at.since(since).max(0))
    }

    /// How long the rider stands at `at`, in milliseconds; 0 before the first fix.
    pub fn still_ms(&self, at: UnixMillis) -> i64 {
        self.anchor.map_or(0, |(_, since)| at.since(since).max(0))
    }

    /// Where the rider stands, and since when (fix time).
    pub fn anchor(&self) -> Option<(Point, UnixMillis)> {
        self.anchor.map(|(centre, since)| (centre.point, since))
    }

    /// Metres from where the rider stands to `point`: the displacement.
    pub fn away_m(&self, point: Point) -> f64 {
        self.anchor.map_or(0.0, |(centre, _)| apart_m(centre.point, point))
    }
}

/// Whether two fixes away from an anchor say the same: they lie on one side of it, not each on its own.
pub(super) fn agree(anchor: Point, a: Point, b: Point) -> bool {
    apart_m(a, b) < apart_m(anchor, a).max(apart_m(anchor, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(t_s: i64) -> UnixMillis {
        UnixMillis(t_s * 1_000)
    }

    fn north(m: f64) -> Point {
        Point::from_degrees(31.0 + m / 111_195.08, 121.0).unwrap()
    }

    /// How long it stands at the last of the fixes (metres north, seconds), in seconds.
    fn still_s(fixes: &[(f64, i64)]) -> i64 {
        let mut still = Still::default();
        for (m, t_s) in fixes {
            still.take(north(*m), 0.0, at(*t_s), 30.0);
        }
        still.still_ms(at(fixes.last().unwrap().1)) / 1_000
    }

    #[test]
    fn stands_through_jitter_and_single_outliers() {
        let fixes: Vec<_> =
            (0..240).map(|i| (if i % 4 == 3 { 60.0 } else { ((i * 7_919) % 31 - 15) as f64 }, i * 15)).collect();
        assert_eq!(still_s(&fixes), 239 * 15);
        // Outliers on both sides don't agree with each other.
        assert_eq!(still_s(&[(0.0, 0), (60.0, 15), (-60.0, 30), (60.0, 45), (0.0, 60)]), 60);
    }

    #[test]
    fn who_is_back_at_once_never_went() {
        assert_eq!(still_s(&[(0.0, 0), (0.0, 15), (60.0, 30), (58.0, 45), (2.0, 60)]), 60);
        assert_eq!(still_s(&[(0.0, 0), (60.0, 15), (58.0, 30), (61.0, 45), (2.0, 60)]), 45, "three are no outliers");
    }

    #[test]
    fn is_left_by_two_that_agree_or_by_one_clearly_away() {
        assert_eq!(still_s(&[(0.0, 0), (0.0, 15), (40.0, 30), (50.0, 45)]), 15, "since the first of the two");
        assert_eq!(still_s(&[(0.0, 0), (0.0, 15), (130.0, 30)]), 0);
        // A walk at 1 m/s, and a crawl of 20 m in 180 s.
        assert!(still_s(&(0..600).map(|t| (t as f64, t)).collect::<Vec<_>>()) <= 31);
        assert!(still_s(&(0..18).map(|i| (i as f64 * 1.7, i * 15)).collect::<Vec<_>>()) > 180);
    }

    #[test]
    fn what_is_inaccurate_must_be_farther_away() {
        let mut still = Still::default();
        for (m, accuracy_m, t_s) in [(0.0, 0.0, 0), (50.0, 30.0, 15), (55.0, 30.0, 30)] {
            still.take(north(m), accuracy_m, at(t_s), 30.0);
        }
        assert_eq!(still.anchor(), Some((north(0.0), at(0))));
        assert!((still.away_m(north(55.0)) - 55.0).abs() < 0.1);
        assert_eq!(Still::default().away_m(north(5.0)), 0.0);
    }
}
