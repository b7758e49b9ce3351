//! Trips along their own ways, which must raise nothing, and along others', which must, soon.

use super::{
    Verdict,
    recorded::{Pair, Recorded, Seen, thinned},
    scene::played,
};
use crate::{
    cli::outside::say,
    domain::{AlertKind, UnixMillis},
    geo::{Point, distance_to_line_m},
};

/// A fix farther from the whole plan is off it, whoever looks.
const OFF_M: f64 = 150.0;
/// Of trips along their own ways, so many per cent may raise an alert.
const MAX_FALSE_PCT: f64 = 1.0;
const MAX_MEDIAN_S: f64 = 30.0;
const MAX_P90_S: f64 = 60.0;

/// When an alert came in a trip, and by how much.
struct Alarm {
    at: UnixMillis,
    measure_m: f64,
}

fn alarms(trip: &[Seen], plan: &[Point]) -> anyhow::Result<Vec<Alarm>> {
    let scene = played(trip, plan)?;
    let raised = scene.raised(AlertKind::OffRoute);
    Ok(raised.into_iter().map(|(a, _)| Alarm { at: a.detected_at, measure_m: a.evidence.measure }).collect())
}

/// Distance of a place to the plan as a whole, without any thought of where on it the rider can be.
fn off_m(plan: &[Point], seen: &Seen) -> f64 {
    distance_to_line_m(seen.point, plan).unwrap_or(0.0)
}

fn into_s(trip: &[Seen], at: UnixMillis) -> i64 {
    trip.first().map_or(0, |first| at.since(first.at) / 1_000)
}

/// How many of the trips along their own ways raise `off_route`.
fn own(recorded: &Recorded, every_s: i64, told: bool) -> anyhow::Result<usize> {
    let mut count = 0;
    for (id, trip) in &recorded.trips {
        let (trip, plan) = (thinned(trip, every_s * 1_000), &recorded.routes[id]);
        let alarms = alarms(&trip, plan)?;
        count += usize::from(!alarms.is_empty());
        for Alarm { at, measure_m } in alarms.iter().filter(|_| told) {
            let fixes = trip.iter().filter(|seen| seen.at <= *at);
            let here_m = fixes.map(|seen| off_m(plan, seen)).next_back().unwrap_or(0.0);
            say(format_args!(
                "  trip {id}: raised after {} s at {measure_m:.0} m by progress, {here_m:.0} m from the whole route",
                into_s(&trip, *at)
            ));
        }
    }
    Ok(count)
}

/// What the pairs showed.
#[derive(Default)]
struct Pairs {
    off: usize,
    raised: usize,
    /// From the first fix beyond [`OFF_M`] to the alert, in seconds; raised before counts as 0.
    delays_s: Vec<f64>,
    before: usize,
    on: usize,
    on_raised: usize,
    /// Where this evaluation finds the first fix beyond, as labelled.
    agree: usize,
}

impl Pairs {
    fn look(&mut self, pair: &Pair, trip: &[Seen], plan: &[Point], told: bool) -> anyhow::Result<()> {
        let alarms = alarms(trip, plan)?;
        let first = trip.iter().position(|seen| off_m(plan, seen) > OFF_M);
        self.agree += usize::from(first == pair.first);
        let Pair { trip: id, plan: planned, .. } = pair;
        if !pair.off_route {
            self.on += 1;
            self.on_raised += usize::from(!alarms.is_empty());
            for Alarm { at, measure_m } in alarms.iter().filter(|_| told) {
                let until = trip.iter().filter(|seen| seen.at <= *at);
                let here_m = until.map(|seen| off_m(plan, seen)).next_back().unwrap_or(0.0);
                say(format_args!(
                    "  trip {id} on route {planned}, labelled on-route with at most {:.0} m: raised after {} s at {measure_m:.0} m \
                     by progress, {here_m:.0} m from the whole route",
                    pair.farthest_m,
                    into_s(trip, *at)
                ));
            }
            return Ok(());
        }
        self.off += 1;
        let (Some(alarm), Some(first)) = (alarms.first(), first) else {
            if told {
                let raised = if alarms.is_empty() { "NOT RAISED" } else { "raised, but never beyond 150 m" };
                say(format_args!("  trip {id} on route {planned}: {raised}"));
            }
            self.raised += usize::from(!alarms.is_empty());
            return Ok(());
        };
        self.raised += 1;
        let delay_ms = alarm.at.since(trip[first].at);
        self.before += usize::from(delay_ms < 0);
        let delay_s = f64::from(i32::try_from(delay_ms.max(0)).unwrap_or(i32::MAX)) / 1e3;
        if told && delay_s > MAX_P90_S {
            say(format_args!("  trip {id} on route {planned}: {delay_s:.0} s after the first fix beyond {OFF_M} m"));
        }
        self.delays_s.push(delay_s);
        Ok(())
    }

    /// By nearest rank, in seconds.
    fn delay_s(&self, per_cent: usize) -> f64 {
        let mut sorted = self.delays_s.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * per_cent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied().unwrap_or(f64::NAN)
    }
}

fn pairs(recorded: &Recorded, every_s: i64, told: bool) -> anyhow::Result<Pairs> {
    let mut pairs = Pairs::default();
    for pair in &recorded.pairs {
        let trip = thinned(&recorded.trips[&pair.trip], every_s * 1_000);
        pairs.look(pair, &trip, &recorded.routes[&pair.plan], told)?;
    }
    Ok(pairs)
}

#[allow(clippy::cast_precision_loss, reason = "some hundred trips")]
fn per_cent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// At the pace that is judged, and at others for information.
pub(super) fn run(recorded: &Recorded, every_s: i64, verdict: &mut Verdict) -> anyhow::Result<()> {
    say(format_args!("own way as plan, a fix every {every_s} s"));
    let (trips, false_alarms) = (recorded.trips.len(), own(recorded, every_s, true)?);
    let false_pct = per_cent(false_alarms, trips);
    verdict.must(
        trips > 0 && false_pct <= MAX_FALSE_PCT,
        format_args!("{false_alarms} of {trips} trips raise off_route: {false_pct:.1} %, at most {MAX_FALSE_PCT} %"),
    );
    say(format_args!("another's way as plan, a fix every {every_s} s"));
    let found = pairs(recorded, every_s, true)?;
    verdict.must(
        found.off > 0 && found.raised == found.off,
        format_args!("{} of {} pairs off the route raised", found.raised, found.off),
    );
    let (median_s, p90_s, max_s) = (found.delay_s(50), found.delay_s(90), found.delay_s(100));
    verdict.must(
        median_s < MAX_MEDIAN_S && p90_s < MAX_P90_S,
        format_args!(
            "from the first fix beyond {OFF_M} m to the alert: median {median_s:.0} s (under {MAX_MEDIAN_S}), p90 {p90_s:.0} s \
             (under {MAX_P90_S}), most {max_s:.0} s; {} of {} before it, which count as 0",
            found.before,
            found.delays_s.len()
        ),
    );
    say(format_args!("  {} of {} pairs on the route fire, named above", found.on_raised, found.on));
    if every_s == 15 {
        let all = found.off + found.on;
        say(format_args!("  {} of {all} pairs have their first fix beyond where it is labelled", found.agree));
    }
    for every_s in [5, 30, 60].into_iter().filter(|other| *other != every_s) {
        let (false_alarms, found) = (own(recorded, every_s, false)?, pairs(recorded, every_s, false)?);
        let (median_s, p90_s, max_s) = (found.delay_s(50), found.delay_s(90), found.delay_s(100));
        say(format_args!(
            "  for information, every {every_s} s: {false_alarms} of {trips} false; {} of {} pairs, median {median_s:.0} s, p90 \
             {p90_s:.0} s, most {max_s:.0} s, {} before; {} of {} on the route fire",
            found.raised, found.off, found.before, found.on_raised, found.on
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_ranked() {
        let pairs = Pairs { delays_s: vec![30.0, 0.0, 15.0, 75.0], ..Pairs::default() };
        assert_eq!((pairs.delay_s(50), pairs.delay_s(90), pairs.delay_s(100)), (15.0, 75.0, 75.0));
        assert!(Pairs::default().delay_s(50).is_nan(), "nothing is below a limit");
    }
}
