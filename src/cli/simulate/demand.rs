//! When a city orders, and how its streets fill: by the hour of the day, or evenly where the run is no day.

use super::draw::{Draw, stream};
use crate::domain::UnixMillis;
use rand::Rng;

const HOUR_MS: f64 = 3_600_000.0;

/// Share of a day's orders that each hour has, from midnight on: lunch and supper, and hardly anything at night.
const ORDERS: [f64; 24] = [
    0.6, 0.4, 0.2, 0.2, 0.2, 0.4, 1.0, 2.5, 3.5, 4.0, 6.5, 11.0, //
    11.5, 6.0, 3.5, 3.5, 5.0, 9.0, 11.0, 8.5, 5.5, 3.5, 1.8, 0.7,
];
/// How fast one gets on in each hour, against free streets.
const FLOW: [f64; 24] = [
    1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.95, 0.8, 0.75, 0.85, 0.9, 0.85, //
    0.85, 0.9, 0.9, 0.9, 0.85, 0.75, 0.75, 0.85, 0.9, 0.95, 1.0, 1.0,
];

/// How orders spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Over the 24 hours from the run's begin on.
    Day,
    /// One after the other, so far apart in the mean.
    Even { every_ms: i64 },
}

impl Demand {
    /// When each of the orders is placed, ascending. Every order draws its own time.
    pub(super) fn times(self, seed: u64, orders: u32, begin: UnixMillis) -> Vec<UnixMillis> {
        let mut at = begin;
        let mut times: Vec<_> = (0..orders)
            .map(|n| {
                let mut random = stream(seed, Draw::Order(n));
                match self {
                    Self::Day => begin.plus(time_of_day_ms(random.random_range(0.0..1.0))),
                    Self::Even { every_ms } => {
                        at = at.plus(random.random_range(0..=every_ms.max(0) * 2));
                        at
                    }
                }
            })
            .collect();
        times.sort_unstable();
        times
    }

    /// How fast one gets on `since_ms` after the begin: 1 on free streets.
    pub(super) fn flow(self, since_ms: i64) -> f64 {
        match self {
            Self::Day => usize::try_from(since_ms / 3_600_000).map_or(1.0, |hour| FLOW[hour % 24]),
            Self::Even { .. } => 1.0,
        }
    }

    /// From when to when each rider works, after the begin. A day has early, middle and late shifts, and a few riders
    /// through the night; the first two riders see to it that it is never without any.
    pub(super) fn shift_ms(self, rider: u32, jitter: f64) -> (i64, i64) {
        let hours = |from: f64, to: f64| (ms(from + jitter), ms(to + jitter));
        match self {
            Self::Even { .. } => (0, i64::MAX / 4),
            Self::Day if rider == 1 => (0, ms(12.0)),
            Self::Day if rider == 2 => (ms(11.5), ms(25.0)),
            Self::Day => match rider % 20 {
                0..=4 => hours(6.0, 15.0),
                5..=13 => hours(10.0, 20.5),
                14..=18 => hours(15.0, 23.5),
                _ => hours(0.0, 8.0),
            },
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "hours of a day")]
fn ms(hours: f64) -> i64 {
    (hours * HOUR_MS) as i64
}

/// The time of day before which `part` of the orders come.
fn time_of_day_ms(part: f64) -> i64 {
    let mut left = part * ORDERS.iter().sum::<f64>();
    for (hour, share) in (0_u32..).zip(ORDERS) {
        if left < share {
            return ms(f64::from(hour) + left / share);
        }
        left -= share;
    }
    ms(24.0) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_rush_hours() {
        let times = Demand::Day.times(1, 5_000, UnixMillis(0));
        let in_hour = |hour: i64| times.iter().filter(|t| t.0 / 3_600_000 == hour).count();
        assert!(times.is_sorted() && times.last().unwrap().0 < 24 * 3_600_000);
        assert!(in_hour(12) > 500 && in_hour(18) > 450 && in_hour(3) < 30, "{} {}", in_hour(12), in_hour(3));
        assert!(Demand::Day.flow(8 * 3_600_000) < Demand::Day.flow(3 * 3_600_000));
    }

    #[test]
    fn even_orders_come_at_their_distance() {
        let times = Demand::Even { every_ms: 30_000 }.times(1, 1_000, UnixMillis(5));
        let mean_ms = (times[999].0 - 5) / 1_000;
        assert!((27_000..33_000).contains(&mean_ms), "{mean_ms}");
        assert_eq!(times, Demand::Even { every_ms: 30_000 }.times(1, 1_000, UnixMillis(5)));
    }

    #[test]
    fn somebody_is_always_on_shift() {
        for minute in 0..24 * 60 {
            let on = |n| {
                let (from, to) = Demand::Day.shift_ms(n, 0.5);
                (from..to).contains(&(minute * 60_000))
            };
            assert!((1..=40).filter(|n| on(*n)).count() >= 1, "minute {minute}");
        }
    }
}
