//! Where a rider is shown. GPS jitters by tens of metres around a rider who waits at a door; a marker that follows it
//! tells customers of motion that isn't there. So the marker follows good fixes, and holds while the rider dwells.

use super::{
    fix::{Fix, Position},
    rules::Rules,
    time::UnixMillis,
};
use crate::geo::{Point, distance_m};
use serde::{Deserialize, Serialize};

/// Farther than so many dwell radii, a single fix ends a dwell; nearer ones need a second, since one outlier a minute is
/// what a standing phone gives.
const CLEARLY_AWAY: f64 = 4.0;

/// The marker and what it needs to tell dwelling from moving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    shown: Option<Position>,
    /// Where and when the rider last was farther than the dwell radius from the anchor before it.
    anchor: Option<(Point, UnixMillis)>,
    dwelling: bool,
    /// The last fix lay outside the radius while dwelling, and was not believed alone.
    doubted: bool,
}

impl Marker {
    /// Where the rider is shown.
    pub fn position(&self) -> Option<Position> {
        self.shown
    }

    /// Takes a good fix, newer than all before, and gives the new position. While dwelling, only its time moves.
    pub fn follow(&mut self, fix: &Fix, at: UnixMillis, rules: &Rules) -> Position {
        let held = self.hold(fix.point, at, rules).and(self.shown);
        let position = Position {
            point: held.map_or(fix.point, |p| p.point),
            fix_time: at,
            speed_cmps: if held.is_some() { Some(0) } else { fix.speed_cmps },
            heading_deg: if held.is_some() { held.and_then(|p| p.heading_deg) } else { fix.heading_deg },
            accuracy_dm: fix.accuracy_dm,
        };
        self.shown = Some(position);
        position
    }

    /// `Some` if the marker stays where it is.
    fn hold(&mut self, point: Point, at: UnixMillis, rules: &Rules) -> Option<()> {
        let Some((anchor, since)) = self.anchor else {
            self.anchor = Some((point, at));
            return None;
        };
        let away = distance_m(anchor, point);
        if away <= rules.dwell_radius_m {
            self.doubted = false;
            self.dwelling |= at.since(since) >= rules.dwell_ms;
            return self.dwelling.then_some(());
        }
        if self.dwelling && !self.doubted && away < CLEARLY_AWAY * rules.dwell_radius_m {
            self.doubted = true;
            return Some(());
        }
        *self = Self { shown: self.shown, anchor: Some((point, at)), dwelling: false, doubted: false };
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fix::FixId;

    fn fix(north_m: f64, t_s: i64) -> (Fix, UnixMillis) {
        let at = UnixMillis(t_s * 1_000);
        let point = Point::from_degrees(31.0 + north_m / 111_195.0, 121.0).unwrap();
        let id = FixId { device_time: at, seq: None };
        (Fix { point, id, accuracy_dm: None, speed_cmps: None, heading_deg: None, battery_pct: None }, at)
    }

    fn shown(fixes: impl IntoIterator<Item = (f64, i64)>) -> Vec<Point> {
        let mut marker = Marker::default();
        let follow = |(n, t)| {
            let (fix, at) = fix(n, t);
            marker.follow(&fix, at, &Rules::default()).point
        };
        fixes.into_iter().map(follow).collect()
    }

    #[test]
    fn stands_still_through_an_hour_of_jitter_and_outliers() {
        // ±15 m every 15 s, and 60 m once a minute.
        let north = |i: i64| if i % 4 == 3 { 60.0 } else { ((i * 7_919) % 31 - 15) as f64 };
        let points = shown((0..240).map(|i| (north(i), i * 15)));
        assert!(points[3..].iter().all(|p| *p == points[3]), "the marker moved");
    }

    #[test]
    fn follows_a_walk_and_leaves_a_dwell() {
        let walk: Vec<_> = (0..60).map(|i| (f64::from(i) * 1.4, i64::from(i))).collect();
        let points = shown(walk.clone());
        assert_eq!(points[59], fix(walk[59].0, 0).0.point);
        // Stands for a minute, then rides off at 8 m/s: the second fix away is believed.
        let points = shown([(0.0, 0), (3.0, 15), (2.0, 30), (1.0, 45), (100.0, 60), (220.0, 75)]);
        assert_eq!(points[4], points[3]);
        assert_eq!(points[5], fix(220.0, 0).0.point);
    }
}
