//! Which fixes of a stream can be believed. One small machine, run over fixes in the order of their fix time: by the
//! cell for the rider's marker, and by each order for its track.

use super::{
    fix::{Fix, Mark},
    rules::Rules,
    time::UnixMillis,
};
use crate::geo::{Point, distance_m};
use serde::{Deserialize, Serialize};

/// What the machine remembers of the stream so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// The last good fix.
    good: Option<(Point, UnixMillis)>,
    /// The last of the fixes that jumped away from it and agree with each other, and how many they are.
    jumped: Option<(Point, UnixMillis, u8)>,
}

impl Quality {
    /// The machine after a fix that it found good, whatever was before.
    pub(super) fn after_good(fix: &Fix, at: UnixMillis) -> Self {
        Self { good: Some((fix.point, at)), jumped: None }
    }

    /// Judges the next fix. `at` is its corrected fix time, not before that of the one judged last.
    ///
    /// A jump implies more than the limit's speed from the last good fix. Fixes that jumped and agree among themselves
    /// are believed from the third on: then it was the good one that was wrong.
    pub fn judge(&mut self, fix: &Fix, at: UnixMillis, rules: &Rules) -> Mark {
        if fix.accuracy_dm.is_some_and(|dm| f64::from(dm) > rules.max_accuracy_m * 10.0) {
            return Mark::Inaccurate;
        }
        let here = (fix.point, at);
        if self.good.is_none_or(|good| reachable(good, here, rules)) {
            *self = Self::after_good(fix, at);
            return Mark::Good;
        }
        let agreeing = match self.jumped {
            Some((point, time, n)) if reachable((point, time), here, rules) => n + 1,
            Some(_) | None => 1,
        };
        if agreeing >= rules.readmit_fixes {
            *self = Self::after_good(fix, at);
            return Mark::Good;
        }
        self.jumped = Some((fix.point, at, agreeing));
        Mark::Jump
    }
}

/// Whether one gets from `a` to `b` without exceeding the limit. Times are in whole seconds on many phones, so that two
/// fixes of the same second may lie up to one second's way apart.
fn reachable(a: (Point, UnixMillis), b: (Point, UnixMillis), rules: &Rules) -> bool {
    let seconds = (b.1.since(a.1).abs() as f64 / 1_000.0).max(1.0);
    distance_m(a.0, b.0) <= rules.max_speed_mps * seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fix::FixId;

    /// A fix `north` metres north of a base, at `t` seconds.
    fn fix(north: f64, t: i64) -> (Fix, UnixMillis) {
        let time = UnixMillis(t * 1_000);
        let point = Point::from_degrees(50.0 + north / 111_195.0, 11.0).unwrap();
        let id = FixId { device_time: time, seq: None };
        (Fix { point, id, accuracy_dm: None, speed_cmps: None, heading_deg: None, battery_pct: None }, time)
    }

    fn marks(fixes: &[(f64, i64)]) -> Vec<Mark> {
        let mut quality = Quality::default();
        fixes.iter().map(|(n, t)| fix(*n, *t)).map(|(f, t)| quality.judge(&f, t, &Rules::default())).collect()
    }

    #[test]
    fn a_single_outlier_is_marked_and_forgotten() {
        use Mark::{Good, Jump};
        assert_eq!(marks(&[(0.0, 0), (5_000.0, 15), (100.0, 30)]), [Good, Jump, Good]);
    }

    #[test]
    fn the_third_agreeing_fix_readmits_a_jump() {
        use Mark::{Good, Jump};
        let there = [(0.0, 0), (9_000.0, 5), (9_010.0, 10), (9_020.0, 15), (9_030.0, 20)];
        assert_eq!(marks(&there), [Good, Jump, Jump, Good, Good]);
        // Jumps that don't agree with each other never are.
        let wild = [(0.0, 0), (9_000.0, 1), (-9_000.0, 2), (9_000.0, 3), (-9_000.0, 4)];
        assert_eq!(marks(&wild), [Good, Jump, Jump, Jump, Jump]);
    }

    #[test]
    fn inaccurate_fixes_are_not_anybodys_neighbour() {
        let mut quality = Quality::default();
        let rules = Rules::default();
        let (mut bad, t) = fix(9_000.0, 0);
        bad.accuracy_dm = Some(1_001);
        assert_eq!(quality.judge(&bad, t, &rules), Mark::Inaccurate);
        let (good, t) = fix(0.0, 1);
        assert_eq!(quality.judge(&good, t, &rules), Mark::Good);
    }

    #[test]
    fn two_fixes_of_one_second_may_differ_by_a_seconds_way() {
        use Mark::{Good, Jump};
        assert_eq!(marks(&[(0.0, 7), (39.0, 7), (100.0, 7)]), [Good, Good, Jump]);
    }
}
