//! Riders who stand: those of the recorded trips, and made ones with the jitter and the outliers that a phone on a table has.

use super::{
    Verdict,
    recorded::{Recorded, Seen, thinned},
    scene::{Scene, played},
};
use crate::{
    app::replay::story::time,
    cli::outside::say,
    domain::{AlertKind, Rules, UnixMillis},
    geo::{Point, distance_m},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::PI;

const T0: i64 = 1_700_000_000_000;
const HOUR_S: i64 = 3_600;
const MINUTE_S: i64 = 60;
const JITTER_M: std::ops::Range<f64> = 5.0..15.0;
const OUTLIER_M: f64 = 60.0;
/// A straight way to the north, with a corner each hundred metres.
const WAY_M: f64 = 3_000.0;
const SPEED_MPS: f64 = 8.0;
/// On the move, distance is counted from anchor to anchor, so that its last metres are counted when the rider stands already.
const SETTLED_MS: i64 = 120_000;
/// Hours stood at each place and pace, each with luck of its own.
const SEEDS: u64 = 10;

/// A stall as anybody finds it who has the whole trip: from one fix on, all are within the displacement for as long as it
/// takes, away from the route's ends.
fn plain_stalls(trip: &[Seen], route: &[Point], rules: &Rules) -> Vec<(UnixMillis, UnixMillis)> {
    let mut stalls = Vec::new();
    let mut begin = 0;
    while let Some(first) = trip.get(begin) {
        let stays = |seen: &&Seen| distance_m(first.point, seen.point) < rules.stalled.within_m;
        let last = trip[begin..].iter().take_while(stays).count() - 1;
        let until = trip[begin + last].at;
        let fenced = [route.first(), route.last()].into_iter().flatten();
        let away = fenced.into_iter().all(|end| distance_m(*end, first.point) > rules.arrive_m);
        if until.since(first.at) >= rules.stalled.after_ms && away {
            stalls.push((first.at, until));
            begin += last;
        }
        begin += 1;
    }
    stalls
}

/// Every `stalled` of the recorded trips, against the stalls that are there.
pub(super) fn recorded(recorded: &Recorded, every_s: i64, verdict: &mut Verdict) -> anyhow::Result<()> {
    say(format_args!(
        "stalls of the recorded trips, own way as plan, a fix every {every_s} s (UTC, longitude and latitude)"
    ));
    let (rules, mut trips, mut count, mut plain, mut met) = (Rules::default(), 0, 0, 0, 0);
    for (id, trip) in &recorded.trips {
        let (trip, route) = (thinned(trip, every_s * 1_000), &recorded.routes[id]);
        let scene = played(&trip, route)?;
        let stalls = scene.raised(AlertKind::Stalled);
        let there = plain_stalls(&trip, route, &rules);
        let is_of = |at: UnixMillis, (from, to): &(UnixMillis, UnixMillis)| (*from..=*to).contains(&at);
        plain += there.len();
        met += there.iter().filter(|s| stalls.iter().filter(|a| is_of(a.0.detected_at, s)).count() == 1).count();
        (count, trips) = (count + stalls.len(), trips + usize::from(!stalls.is_empty()));
        for (alert, cleared) in stalls {
            let since = alert.evidence.since;
            let ended = cleared.or(trip.last().map(|last| last.at)).unwrap_or(since);
            let place = alert.evidence.fixes.first().map_or((0.0, 0.0), |p| (p.point.lon(), p.point.lat()));
            let own = there.iter().any(|stall| is_of(alert.detected_at, stall));
            say(format_args!(
                "  trip {id:>3}: {} to {}, {:>4} s, raised {}, at {:.5} {:.5}{}",
                time(since),
                time(ended),
                ended.since(since) / 1_000,
                time(alert.detected_at),
                place.0,
                place.1,
                if own { "" } else { " (by the middle of its fixes, not by the first)" }
            ));
        }
    }
    verdict.must(
        plain > 0 && met == plain,
        format_args!(
            "{met} of {plain} stalls by the plain rule raised once each; {count} stalled in {trips} of {} trips",
            recorded.trips.len()
        ),
    );
    Ok(())
}

/// Where a rider stands.
struct Spot {
    name: &'static str,
    /// From the route's start, and beside it, in metres.
    along_m: f64,
    beside_m: f64,
    fenced: Fenced,
}

impl Spot {
    /// What is ridden to come there.
    fn way_m(&self) -> f64 {
        self.along_m + self.beside_m
    }
}

/// How the place lies to the destination's fence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fenced {
    Outside,
    Edge,
    Inside,
}

const SPOTS: [Spot; 4] = [
    Spot { name: "on the route", along_m: 1_500.0, beside_m: 0.0, fenced: Fenced::Outside },
    Spot { name: "50 m beside it", along_m: 1_500.0, beside_m: 50.0, fenced: Fenced::Outside },
    Spot { name: "at the fence's edge", along_m: WAY_M - 60.0, beside_m: 0.0, fenced: Fenced::Edge },
    Spot { name: "in the fence", along_m: WAY_M - 20.0, beside_m: 0.0, fenced: Fenced::Inside },
];

/// When the minute's outlier comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outliers {
    /// At the same second of each minute.
    Regular,
    /// At any second: that of a minute may follow upon that of the one before.
    AnyTime,
}

/// What an hour's standing showed.
#[derive(PartialEq)]
struct Stood {
    /// What was counted, less the way that was ridden, once the last of that way was counted …
    over_m: f64,
    /// … and what came to it since: most at any time, and at the end.
    most_m: f64,
    gained_m: f64,
    off_route: usize,
    stalled: usize,
    /// Of these, told after the rider had arrived.
    stalled_there: usize,
    arrivals: usize,
}

impl Stood {
    /// Nothing happened.
    const NONE: Self = Self {
        over_m: f64::NEG_INFINITY,
        most_m: 0.0,
        gained_m: 0.0,
        off_route: 0,
        stalled: 0,
        stalled_there: 0,
        arrivals: 0,
    };

    /// The worst of both.
    fn or(self, other: Self) -> Self {
        Self {
            over_m: self.over_m.max(other.over_m),
            most_m: self.most_m.max(other.most_m),
            gained_m: self.gained_m.max(other.gained_m),
            off_route: self.off_route.max(other.off_route),
            stalled: self.stalled.max(other.stalled),
            stalled_there: self.stalled_there.max(other.stalled_there),
            arrivals: self.arrivals.max(other.arrivals),
        }
    }

    fn is_right(&self, fenced: Fenced) -> bool {
        let stalled = match fenced {
            Fenced::Outside => self.stalled == 1 && self.arrivals == 0,
            // Who isn't believed to have arrived within three minutes stalls until then.
            Fenced::Edge => self.stalled <= 1 && self.stalled_there == 0 && self.arrivals <= 1,
            Fenced::Inside => self.stalled == 0 && self.arrivals == 1,
        };
        stalled && self.gained_m == 0.0 && self.off_route == 0
    }
}

fn place(north_m: f64, east_m: f64) -> anyhow::Result<Point> {
    Ok(Point::from_degrees(31.0 + north_m / 111_195.0, 121.0 + east_m / 95_300.0)?)
}

/// Along the route and then beside it, at the end of which the rider stands.
fn set_down(spot: &Spot, every_s: i64) -> anyhow::Result<(Scene, UnixMillis)> {
    let route = (0..=30).map(|i| place(f64::from(i) * WAY_M / 30.0, 0.0)).collect::<Result<Vec<_>, _>>()?;
    let (mut at, mut ridden_m) = (UnixMillis(T0), 0.0);
    let mut scene = Scene::riding(&route, at)?;
    #[allow(clippy::cast_precision_loss, reason = "seconds")]
    let step_m = SPEED_MPS * every_s as f64;
    loop {
        let along_m = spot.along_m.min(ridden_m);
        scene.ride(Seen { at, point: place(along_m, (ridden_m - along_m).min(spot.beside_m))? });
        if ridden_m >= spot.way_m() {
            return Ok((scene, at));
        }
        (at, ridden_m) = (at.plus(every_s * 1_000), ridden_m + step_m);
    }
}

fn stand(spot: &Spot, every_s: i64, outliers: Outliers, seed: u64) -> anyhow::Result<Stood> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut scene, begun) = set_down(spot, every_s)?;
    let (mut at, mut settled_m, mut most_m) = (begun, scene.travelled_m(), 0.0f64);
    // When an arrival was noticed, and as of when it is told.
    let (mut noticed, mut arrived_at, mut arrivals) = (None, None, 0);
    // At paces with less than four fixes a minute, every fourth is an outlier.
    let per_minute = (MINUTE_S / every_s).max(4);
    let mut outlier = random.random_range(0..per_minute);
    for step in 0..HOUR_S / every_s {
        if step % per_minute == 0 && outliers == Outliers::AnyTime {
            outlier = random.random_range(0..per_minute);
        }
        let (angle, jitter_m) = (random.random_range(0.0..2.0 * PI), random.random_range(JITTER_M));
        let is_outlier = step % per_minute == outlier;
        let radius_m = if is_outlier { OUTLIER_M } else { jitter_m };
        let (north_m, east_m) = (radius_m * libm::cos(angle), radius_m * libm::sin(angle));
        at = at.plus(every_s * 1_000);
        scene.ride(Seen { at, point: place(spot.along_m + north_m, spot.beside_m + east_m)? });
        if at.since(begun) > SETTLED_MS {
            most_m = most_m.max(scene.travelled_m() - settled_m);
        } else if !is_outlier {
            settled_m = scene.travelled_m();
        }
        if scene.arrived_at() != arrived_at {
            (noticed, arrived_at, arrivals) = (noticed.or(Some(at)), scene.arrived_at(), arrivals + 1);
        }
    }
    let stalled = scene.raised(AlertKind::Stalled);
    Ok(Stood {
        over_m: (settled_m - spot.way_m()).round() + 0.0,
        most_m,
        gained_m: scene.travelled_m() - settled_m,
        off_route: scene.raised(AlertKind::OffRoute).len(),
        stalled: stalled.len(),
        stalled_there: stalled.iter().filter(|(a, _)| noticed.is_some_and(|there| a.detected_at >= there)).count(),
        arrivals,
    })
}

/// An hour at each place and pace.
pub(super) fn made(verdict: &mut Verdict) -> anyhow::Result<()> {
    say(format_args!(
        "an hour's standing with {} to {} m of jitter and a fix {OUTLIER_M} m away each minute (each fourth fix, where fewer come); \
         the worst of {SEEDS} seeds",
        JITTER_M.start, JITTER_M.end
    ));
    for outliers in [Outliers::Regular, Outliers::AnyTime] {
        if outliers == Outliers::AnyTime {
            say("  for information: the outlier at any time of its minute, so that two may follow upon each other");
        }
        for spot in &SPOTS {
            for every_s in [1, 5, 15, 60] {
                let (mut worst, mut right) = (Stood::NONE, 0);
                for seed in 0..SEEDS {
                    let stood = stand(spot, every_s, outliers, seed)?;
                    right += u64::from(stood.is_right(spot.fenced));
                    worst = worst.or(stood);
                }
                let Stood { over_m, most_m, gained_m, off_route, stalled, stalled_there, arrivals } = worst;
                let told = format!(
                    "{:<19} every {every_s:>2} s: {gained_m:.0} m gained (at most {most_m:.0} in between; {over_m:+.0} on the way there), \
                     {off_route} off_route, {stalled} stalled ({stalled_there} once there), {arrivals} arrivals; {right} of {SEEDS} hours \
                     as they must be",
                    spot.name
                );
                match outliers {
                    Outliers::Regular => verdict.must(right == SEEDS, told),
                    Outliers::AnyTime => say(format_args!("    {told}")),
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rider_who_stands_is_judged_by_the_place() {
        let still = Stood { stalled: 1, ..Stood::NONE };
        assert!(still.is_right(Fenced::Outside) && still.is_right(Fenced::Edge) && !still.is_right(Fenced::Inside));
        let moved = Stood { gained_m: 0.1, stalled: 1, ..Stood::NONE };
        assert!(!moved.is_right(Fenced::Outside));
        assert!(!Stood::NONE.is_right(Fenced::Outside), "a stall that isn't noticed");
        assert!(Stood { arrivals: 1, ..Stood::NONE }.is_right(Fenced::Inside));
    }

    #[test]
    fn a_stall_is_found_in_a_trip() {
        let seen = |(s, north_m): (i64, f64)| Seen { at: UnixMillis(s * 1_000), point: place(north_m, 0.0).unwrap() };
        let trip: Vec<_> =
            [(0, 500.0), (60, 900.0), (120, 925.0), (240, 880.0), (300, 1_500.0), (600, 1_510.0)].map(seen).into();
        let route = [place(0.0, 0.0).unwrap(), place(1_550.0, 0.0).unwrap()];
        let found = plain_stalls(&trip, &route, &Rules::default());
        assert_eq!(found, [(UnixMillis(60_000), UnixMillis(240_000))], "the last lies in the fence");
    }

    #[test]
    fn an_hour_is_the_same_for_the_same_seed() {
        let hour = |seed| stand(&SPOTS[0], 15, Outliers::Regular, seed).unwrap();
        assert!(hour(1) == hour(1));
        assert_eq!((hour(1).stalled, hour(1).off_route), (1, 0));
    }
}
