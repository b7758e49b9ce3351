use super::*;
use crate::geo::distance_to_line_m;
use proptest::prelude::*;

const START: Point = Point { lat_e7: 312_000_000, lon_e7: 1_214_000_000 };

/// So many metres east and north of the start.
fn place((east, north): (f64, f64)) -> Point {
    let lat = START.lat() + north / 111_195.08;
    Point::from_degrees(lat, START.lon() + east / (111_195.08 * START.lat().to_radians().cos())).unwrap()
}

fn route(corners: &[(f64, f64)]) -> Vec<Point> {
    corners.iter().copied().map(place).collect()
}

/// Where fixes lie, one each `step_s` seconds.
fn ride(route: &[Point], fixes: impl IntoIterator<Item = (f64, f64)>, step_s: i64) -> Vec<Placed> {
    let mut progress = Progress::default();
    let take = |(i, to): (i64, (f64, f64))| {
        progress.take(route, place(to), 0.0, UnixMillis(i * step_s * 1_000), &Rules::default())
    };
    (0..).zip(fixes).map(take).collect()
}

fn alongs(placed: &[Placed]) -> Vec<f64> {
    placed.iter().map(|p| p.along_m.round()).collect()
}

fn offsets(placed: &[Placed]) -> Vec<f64> {
    placed.iter().map(|p| p.offset_m.round()).collect()
}

#[test]
fn follows_a_ride_and_measures_to_the_segment() {
    let route = route(&[(0.0, 0.0), (0.0, 1_000.0), (1_000.0, 1_000.0)]);
    let placed = ride(&route, [(10.0, 0.0), (5.0, 300.0), (-8.0, 600.0), (200.0, 1_003.0), (1_000.0, 1_000.0)], 30);
    assert_eq!(alongs(&placed), [0.0, 300.0, 600.0, 1_200.0, 2_000.0]);
    assert_eq!(offsets(&placed), [10.0, 5.0, 8.0, 3.0, 0.0]);
    assert!(placed.iter().all(|p| (p.along_m + p.remaining_m - 2_000.0).abs() < 0.5), "{placed:?}");
}

#[test]
fn jitter_back_holds_and_more_needs_three() {
    let route = route(&[(0.0, 0.0), (0.0, 3_000.0)]);
    let placed = ride(&route, [1_000.0, 960.0, 990.0, 951.0, 1_010.0].map(|n| (0.0, n)), 15);
    assert_eq!(alongs(&placed), [1_000.0, 1_000.0, 1_000.0, 1_000.0, 1_010.0]);
    // Riding back: never beside the route, and believed from the third on, then one by one.
    let placed = ride(&route, [1_000.0, 850.0, 700.0, 550.0, 400.0, 250.0, 300.0].map(|n| (0.0, n)), 15);
    assert_eq!(alongs(&placed), [1_000.0, 1_000.0, 1_000.0, 550.0, 400.0, 250.0, 300.0]);
    assert!(placed.iter().all(|p| p.offset_m < 1.0), "{placed:?}");
    // Two are not three.
    let placed = ride(&route, [1_000.0, 800.0, 800.0, 1_020.0, 800.0, 800.0, 1_030.0].map(|n| (0.0, n)), 15);
    assert_eq!(alongs(&placed), [1_000.0, 1_000.0, 1_000.0, 1_020.0, 1_020.0, 1_020.0, 1_030.0]);
    // Slowly back, a metre a second: held for 50 m.
    let placed = ride(&route, (0..60).map(|i| (0.0, 1_000.0 - f64::from(i))), 1);
    assert_eq!((placed[50].along_m.round(), placed[59].along_m.round()), (1_000.0, 948.0));
}

#[test]
fn out_and_back_is_ridden_once() {
    // The same street both ways, and the fixes err to the far side.
    let route = route(&[(0.0, 0.0), (0.0, 1_000.0), (12.0, 1_000.0), (12.0, 0.0)]);
    let there = (0..10).map(|i| (14.0, f64::from(i) * 100.0));
    let back = (0..=10).map(|i| (-2.0, 1_000.0 - f64::from(i) * 100.0));
    let placed = ride(&route, there.chain(back), 15);
    for (i, p) in placed.iter().enumerate().take(10) {
        assert!((p.along_m - i as f64 * 100.0).abs() <= 50.0, "{i}: {p:?}");
    }
    for (i, p) in placed.iter().enumerate().skip(12) {
        assert!((p.along_m - i as f64 * 100.0 - 12.0).abs() <= 50.0, "{i}: {p:?}");
    }
}

#[test]
fn a_crossing_is_passed_on_the_first_leg_first() {
    // A figure of eight through the origin; each lobe is 1,600 m, ridden at 100 m a fix.
    let corners = [(-400.0, 0.0), (0.0, 0.0), (400.0, 0.0), (400.0, 400.0), (0.0, 400.0), (0.0, 0.0), (0.0, -400.0)];
    let line = route(&corners);
    let leg = |from: (f64, f64), to: (f64, f64)| {
        (0..4).map(move |i| {
            (from.0 + (to.0 - from.0) * f64::from(i) / 4.0, from.1 + (to.1 - from.1) * f64::from(i) / 4.0)
        })
    };
    let fixes = corners.windows(2).flat_map(|ab| leg(ab[0], ab[1]));
    for (i, p) in ride(&line, fixes, 15).iter().enumerate() {
        assert!((p.along_m - i as f64 * 100.0).abs() < 1.0 && p.offset_m < 1.0, "{i}: {p:?}");
    }
}

#[test]
fn begins_in_the_middle_and_where_it_begins_twice_at_the_start() {
    let line = route(&[(0.0, 0.0), (0.0, 3_000.0)]);
    assert_eq!(alongs(&ride(&line, [(3.0, 1_700.0)], 15)), [1_700.0]);
    let round = route(&[(0.0, 0.0), (0.0, 900.0), (900.0, 900.0), (900.0, 0.0), (5.0, 0.0)]);
    assert_eq!(alongs(&ride(&round, [(4.0, 0.0)], 15)), [0.0]);
}

#[test]
fn a_jump_beyond_what_time_allows_needs_three() {
    // A hairpin of 4 km each way whose arms are 80 m apart: an outlier on the other arm moves nothing.
    let line = route(&[(0.0, 0.0), (0.0, 4_000.0), (80.0, 4_000.0), (80.0, 0.0)]);
    let placed = ride(&line, [(0.0, 500.0), (0.0, 600.0), (80.0, 700.0), (0.0, 800.0)], 15);
    assert_eq!(alongs(&placed), [500.0, 600.0, 600.0, 800.0]);
    assert_eq!(offsets(&placed), [0.0, 0.0, 80.0, 0.0]);
    let placed = ride(&line, [(0.0, 500.0), (80.0, 600.0), (80.0, 500.0), (80.0, 400.0), (80.0, 300.0)], 15);
    assert_eq!(alongs(&placed), [500.0, 500.0, 500.0, 7_680.0, 7_780.0]);
    assert_eq!(offsets(&placed), [0.0, 80.0, 0.0, 0.0, 0.0], "two that agree are on the route");
}

#[test]
fn beside_the_route_progress_waits_for_agreement_and_coming_back_needs_none() {
    let line = route(&[(0.0, 0.0), (0.0, 3_000.0)]);
    // A parallel street 150 m away, from the second fix to the last but one.
    let beside = (1..8).map(|i| (150.0, f64::from(i) * 150.0));
    let placed = ride(&line, [(0.0, 0.0)].into_iter().chain(beside).chain([(0.0, 1_200.0)]), 15);
    assert_eq!(alongs(&placed), [0.0, 0.0, 0.0, 450.0, 600.0, 750.0, 900.0, 1_050.0, 1_200.0]);
    assert_eq!(offsets(&placed)[1..8], [150.0; 7]);
    // A single fix far away moves nothing, though the route's end is nearest to it.
    let placed = ride(&line, [(0.0, 0.0), (0.0, 2_000.0), (300.0, 2_300.0), (0.0, 2_060.0)], 60);
    assert_eq!(alongs(&placed), [0.0, 2_000.0, 2_000.0, 2_060.0]);
}

#[test]
fn a_rider_on_the_way_to_the_route_is_on_it_when_there() {
    let line = route(&[(0.0, 0.0), (0.0, 3_000.0)]);
    // Comes along 300 m beside the route from its middle to its start.
    let coming = (0..15).map(|i| (300.0, 1_500.0 - f64::from(i) * 100.0));
    let riding = (0..5).map(|i| (0.0, f64::from(i) * 100.0));
    let placed = ride(&line, coming.chain(riding), 15);
    assert!((placed[0].offset_m - 300.0).abs() < 1.0);
    let on = &placed[15..];
    assert!(on.iter().all(|p| p.offset_m < 1.0), "{on:?}");
    assert_eq!(alongs(on)[2..], [200.0, 300.0, 400.0]);
}

#[test]
fn strange_routes_are_no_trouble() {
    let twice =
        route(&[(0.0, 0.0), (0.0, 0.0), (0.0, 500.0), (0.0, 500.0), (0.0, 500.0), (0.0, 1_000.0), (0.0, 1_000.0)]);
    let placed = ride(&twice, (0..11).map(|i| (0.0, f64::from(i) * 100.0)), 15);
    assert_eq!(alongs(&placed), (0..11).map(|i| f64::from(i) * 100.0).collect::<Vec<_>>());
    let nowhere = route(&[(0.0, 0.0), (0.0, 0.0)]);
    assert_eq!(ride(&nowhere, [(0.0, 100.0), (0.0, 0.0)], 15)[1], Placed::default());
    assert_eq!(ride(&[], [(0.0, 100.0)], 15), [Placed::default()]);
    assert_eq!(offsets(&ride(&route(&[(0.0, 0.0)]), [(0.0, 100.0)], 15)), [100.0]);
    // Across the antimeridian.
    let fiji = [179.99, -179.99].map(|lon| Point::from_degrees(-17.0, lon).unwrap());
    let at = UnixMillis(0);
    let placed =
        Progress::default().take(&fiji, Point::from_degrees(-17.0, -179.995).unwrap(), 0.0, at, &Rules::default());
    assert!((placed.along_m - 1_595.0).abs() < 2.0 && placed.offset_m < 1.0, "{placed:?}");
}

#[test]
fn a_shorter_route_than_the_one_begun_starts_anew() {
    let long = route(&[(0.0, 0.0), (0.0, 500.0), (0.0, 1_000.0), (0.0, 1_500.0)]);
    let mut progress = Progress::default();
    progress.take(&long, place((0.0, 1_400.0)), 0.0, UnixMillis(0), &Rules::default());
    let placed = progress.take(&long[..2], place((0.0, 200.0)), 0.0, UnixMillis(15_000), &Rules::default());
    assert_eq!((placed.along_m.round(), placed.remaining_m.round()), (200.0, 300.0));
}

fn corners() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((-1_500.0..1_500.0f64, -1_500.0..1_500.0f64), 2..12)
}

proptest! {
    /// Whatever comes: progress is on the route, never back by more than a fix's hold without three fixes, and nobody is
    /// nearer to a part of the route than to the whole.
    #[test]
    fn holds_its_laws(
        corners in corners(),
        fixes in prop::collection::vec(((-2_000.0..2_000.0f64, -2_000.0..2_000.0f64), 0i64..40), 1..60),
    ) {
        let line = route(&corners);
        let total_m = length_m(&line);
        let (mut progress, mut at, mut along_m, mut turns) = (Progress::default(), 0, 0.0, 0);
        for (to, step_s) in fixes {
            at += step_s * 1_000;
            let placed = progress.take(&line, place(to), 0.0, UnixMillis(at), &Rules::default());
            prop_assert!((0.0..=total_m + 0.01).contains(&placed.along_m) && (0.0..=total_m).contains(&placed.remaining_m));
            prop_assert!(placed.offset_m >= distance_to_line_m(place(to), &line).unwrap() - 0.01);
            turns += 1;
            if placed.along_m < along_m {
                prop_assert!(turns >= 3, "{placed:?} after {along_m}");
            }
            if progress.doubt.is_none() { turns = 0; }
            along_m = placed.along_m;
            // What the state remembers of the way is the way.
            let spot = progress.spot;
            let start_m = length_m(&line[..=spot.segment as usize]);
            prop_assert!((spot.start_m - start_m).abs() < 1e-6 && spot.along_m >= spot.start_m - 1e-6);
        }
    }

    /// A ride along any route, however it crosses itself, is never found beside it by more than the fixes err.
    #[test]
    fn a_ride_along_it_is_not_beside_it(
        corners in corners(), step_m in 5.0..200.0f64,
        errors in prop::collection::vec((-10.0..10.0f64, -10.0..10.0f64), 100),
    ) {
        let line = route(&corners);
        let total_m = length_m(&line);
        let on_way = |way_m: f64| {
            let mut rest = way_m.min(total_m);
            for ab in corners.windows(2) {
                let (e, n) = (ab[1].0 - ab[0].0, ab[1].1 - ab[0].1);
                let length = (e * e + n * n).sqrt();
                if rest <= length {
                    return (ab[0].0 + e * rest / length, ab[0].1 + n * rest / length);
                }
                rest -= length;
            }
            *corners.last().unwrap()
        };
        let fixes = errors.iter().enumerate().map(|(i, (e, n))| {
            let (east, north) = on_way(i as f64 * step_m);
            (east + e, north + n)
        });
        // Where a crossing was taken for the wrong leg, one fix finds out and the next is on the right one.
        for both in ride(&line, fixes, 15).windows(2) {
            prop_assert!(both.iter().any(|placed| placed.offset_m < 40.0), "{both:?}");
        }
    }

    /// A first fix far from the route is as far as from its nearest part, by a route of many short segments or of few.
    #[test]
    fn far_away_the_whole_route_counts(
        corners in prop::collection::vec((-15_000.0..15_000.0f64, -15_000.0..15_000.0f64), 2..12),
        parts in 1..30u32, to in (-20_000.0..20_000.0f64, -20_000.0..20_000.0f64),
    ) {
        let between = |ab: &[(f64, f64)]| {
            let (a, b) = (ab[0], ab[1]);
            let at = move |i| (a.0 + (b.0 - a.0) * f64::from(i) / f64::from(parts), a.1 + (b.1 - a.1) * f64::from(i) / f64::from(parts));
            (0..=parts).map(at).collect::<Vec<_>>()
        };
        let line = route(&corners.windows(2).flat_map(between).collect::<Vec<_>>());
        let placed = Progress::default().take(&line, place(to), 0.0, UnixMillis(0), &Rules::default());
        let whole_m = distance_to_line_m(place(to), &line).unwrap();
        // Of places near the route, the one that is expected counts.
        prop_assume!(whole_m > NEAR_M);
        prop_assert!((placed.offset_m - whole_m).abs() < 1e-6, "{} of {whole_m}", placed.offset_m);
    }
}
