//! What comes twice, and what comes late: neither may change what was decided.

use super::{
    Verdict,
    recorded::{Recorded, Seen, thinned},
    scene::{Scene, played},
};
use crate::{cli::outside::say, domain::UnixMillis, geo::Point};
use rand::{Rng, SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;

const SEED: u64 = 7;
/// A fix is late by so much at least: beyond the next one or two …
const LEAST_MS: f64 = 30_000.0;
/// … and at most by just under the day that is allowed.
const MOST_MS: f64 = 24.0 * 3_600_000.0 - 60_000.0;

/// The trip with every fix twice in its message, and every message twice.
fn doubled(trip: &[Seen], plan: &[Point]) -> anyhow::Result<Scene> {
    let mut scene = Scene::riding(plan, trip.first().map_or(UnixMillis(0), |seen| seen.at))?;
    for seen in trip {
        scene.wait_until(seen.at);
        scene.fixes(&[*seen, *seen]);
        scene.fixes(&[*seen, *seen]);
    }
    scene.deliver();
    Ok(scene)
}

/// The trip with some of its fixes late.
struct Late {
    scene: Scene,
    /// Fixes that came after newer ones, and changes of alerts that they caused.
    late: usize,
    decided: usize,
}

/// When each fix comes: a tenth of them late, by half a minute to a day.
fn arrivals(trip: &[Seen], random: &mut ChaCha8Rng) -> Vec<(UnixMillis, Seen)> {
    let mut arrivals: Vec<_> = trip.iter().map(|seen| (seen.at, *seen)).collect();
    for i in index::sample(random, trip.len(), trip.len() / 10) {
        // As likely within minutes as within hours.
        let late_ms = LEAST_MS * libm::pow(MOST_MS / LEAST_MS, random.random_range(0.0..1.0));
        #[allow(clippy::cast_possible_truncation, reason = "at most a day")]
        let late_ms = late_ms as i64;
        arrivals[i].0 = arrivals[i].0.plus(late_ms);
    }
    arrivals.sort_by_key(|(at, seen)| (*at, seen.at));
    arrivals
}

fn late(trip: &[Seen], plan: &[Point], random: &mut ChaCha8Rng) -> anyhow::Result<Late> {
    let scene = Scene::riding(plan, trip.first().map_or(UnixMillis(0), |seen| seen.at))?;
    let mut run = Late { scene, late: 0, decided: 0 };
    let (end, mut newest, mut delivered) = (trip.last().map(|seen| seen.at), None, false);
    for (at, seen) in arrivals(trip, random) {
        if !delivered && end.is_some_and(|end| at > end) {
            run.scene.wait_until(end.unwrap_or(at));
            run.scene.deliver();
            delivered = true;
        }
        run.scene.wait_until(at);
        let changes = run.scene.fixes(&[seen]);
        if newest.is_some_and(|newest| seen.at < newest) {
            run.late += 1;
            run.decided += changes;
        }
        newest = newest.max(Some(seen.at));
    }
    if !delivered {
        run.scene.deliver();
    }
    Ok(run)
}

fn track(scene: &Scene) -> anyhow::Result<Vec<crate::domain::track::TrackFix>> {
    let order = scene.order().ok_or_else(|| anyhow::anyhow!("there is no order"))?;
    Ok(order.track.fixes()?)
}

/// Every trip, along its own way, and every pair.
pub(super) fn run(recorded: &Recorded, every_s: i64, verdict: &mut Verdict) -> anyhow::Result<()> {
    say(format_args!("doubled and late input, a fix every {every_s} s"));
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let own = recorded.trips.keys().map(|id| (id, id));
    let others = recorded.pairs.iter().map(|pair| (&pair.trip, &pair.plan));
    let (mut runs, mut told, mut twice_same, mut tracks_same) = (0, 0, 0, 0);
    let (mut late_fixes, mut decided, mut differ) = (0, 0, 0);
    for (id, planned) in own.chain(others) {
        let (trip, plan) = (thinned(&recorded.trips[id], every_s * 1_000), &recorded.routes[planned]);
        let once = played(&trip, plan)?;
        let twice = doubled(&trip, plan)?;
        let version = |scene: &Scene| scene.order().map(|order| order.version);
        let same = once.said == twice.said && version(&once) == version(&twice) && track(&once)? == track(&twice)?;
        let late = late(&trip, plan, &mut random)?;
        (runs, told, twice_same) = (runs + 1, told + once.said.len(), twice_same + usize::from(same));
        tracks_same += usize::from(track(&once)? == track(&late.scene)?);
        (late_fixes, decided) = (late_fixes + late.late, decided + late.decided);
        differ += usize::from(once.said != late.scene.said);
    }
    verdict.must(
        runs > 0 && twice_same == runs,
        format_args!(
            "every fix and every batch twice: alerts, versions and tracks equal in {twice_same} of {runs} runs ({told} changes of alerts)"
        ),
    );
    verdict.must(
        late_fixes > 0 && tracks_same == runs,
        format_args!(
            "{late_fixes} fixes late by 30 s to 24 h: tracks equal to those in time in {tracks_same} of {runs} runs"
        ),
    );
    verdict.must(decided == 0, format_args!("changes of alerts that a late fix made: {decided}"));
    say(format_args!("  for information: in {differ} of {runs} runs other alerts would have been decided in time"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_late_and_all_arrive() {
        let at = |i: i32| Seen { at: UnixMillis(i64::from(i) * 15_000), point: Point { lat_e7: i, lon_e7: 0 } };
        let trip: Vec<_> = (0..100).map(at).collect();
        let all = arrivals(&trip, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(all.len(), 100);
        let late: Vec<_> = all.iter().map(|(at, seen)| at.since(seen.at)).filter(|ms| *ms > 0).collect();
        assert_eq!(late.len(), 10);
        assert!(late.iter().all(|ms| (30_000..24 * 3_600_000).contains(ms)), "{late:?}");
    }
}
