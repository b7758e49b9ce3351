//! Who has the goods, who is heard of, and who stands.

use super::*;

/// Packed and assigned, and nobody says that the goods were handed over.
fn approaching() -> Scene {
    let mut scene = Scene::new();
    scene.act(Action::Create(Arc::new(straight())));
    scene.act(Action::Pay);
    scene.act(Action::Assign { rider: rider(1) });
    scene.stage(Stage::Packed);
    scene
}

fn remaining_m(scene: &Scene) -> Option<u32> {
    scene.order().live.outlook.as_ref().unwrap().remaining_m
}

#[test]
fn whoever_comes_to_the_warehouse_along_the_route_has_no_goods_yet() {
    let mut scene = approaching();
    scene.ride(north(2, 26).map(|(n, e)| (2_700.0 - n, e)));
    assert_eq!(remaining_m(&scene), None, "riding the route backwards");
    // Nor does the way there count as progress, once they are handed over.
    scene.ride([(30.0, 0.0), (5.0, 0.0)]);
    scene.stage(Stage::HandedOver);
    scene.ride(north(1, 9));
    assert!(remaining_m(&scene).is_some_and(|m| (2_200..=2_900).contains(&m)), "{:?}", remaining_m(&scene));
    // Who was never seen at the warehouse, and rides along the route, has them.
    let mut scene = approaching();
    scene.ride(north(4, 12));
    assert!(remaining_m(&scene).is_some_and(|m| (1_900..=2_600).contains(&m)), "{:?}", remaining_m(&scene));
}

#[test]
fn what_says_little_of_the_place_is_a_sign_of_life_all_the_same() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    for _ in 0..20 {
        scene.wait(15_000);
        let seen = fix(scene.now.0, None, 500.0);
        scene.fixes(vec![Fix { accuracy_dm: Some(5_000), ..seen }]);
    }
    assert!(scene.said.is_empty(), "{:?}", scene.said);
    scene.wait(MINUTE);
    assert_eq!(scene.kinds(), [AlertKind::SignalLost]);
}

#[test]
fn a_crawl_is_no_stall_and_outliers_in_pairs_end_none() {
    // 30 cm/s: 54 m in three minutes.
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    scene.ride((0..60).map(|i| (400.0 + f64::from(i) * 4.5, 0.0)));
    assert!(scene.told(AlertKind::Stalled).is_empty(), "{:?}", scene.said);
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    scene.ride((0..40).map(|i| (400.0 + if i % 10 > 7 { 60.0 } else { 3.0 }, f64::from(i % 3))));
    assert_eq!(scene.told(AlertKind::Stalled).len(), 1, "{:?}", scene.said);
}

#[test]
fn late_fixes_from_before_the_hand_over_are_not_judged_by_the_route() {
    let far = |at: UnixMillis, n: i64| Fix { point: point(0.0, 700.0), ..fix(at.0 + n * 15_000, None, 0.0) };
    let raised = |since_ms: i64| {
        let mut scene = Scene::riding(straight());
        scene.wait(10_000);
        let first = scene.now.plus(since_ms);
        scene.wait(2 * MINUTE);
        scene.fixes((0..5).map(|n| far(first, n)).collect());
        scene.kinds().contains(&AlertKind::OffRoute)
    };
    assert_eq!([-80_000, 0].map(raised), [false, true]);
}

#[test]
fn late_fixes_of_the_way_to_another_stop_are_not_judged_by_the_route() {
    let mut scene = Scene::riding(straight());
    let of_the_other = |action, key: u128| Input::Command { order: order(7), command: command(action, key << 90) };
    scene.send(of_the_other(Action::Create(facts()), 1));
    scene.send(of_the_other(Action::Pay, 2));
    scene.send(of_the_other(Action::Assign { rider: rider(1) }, 3));
    scene.send(Input::Trip { rider: rider(1), stops: vec![order(7), id()] });
    scene.ride(north(1, 3));
    let start = scene.now;
    scene.wait(2 * MINUTE);
    scene.send(of_the_other(Action::Cancel { reason: Some("shut".into()) }, 4));
    assert_eq!(scene.order().live.stops_ahead, Some(0));
    // Away from the destination, which would raise it.
    let away = |n: i64| Fix { point: point(-300.0 * n as f64, 0.0), ..fix(start.0 + n * 15_000, None, 0.0) };
    scene.fixes((1..7).map(away).collect());
    assert!(scene.told(AlertKind::OffRoute).is_empty(), "{:?}", scene.said);
    scene.wait(15_000);
    scene.fixes((9..14).map(away).collect());
    assert!(!scene.told(AlertKind::OffRoute).is_empty());
}

#[test]
fn a_stall_is_cleared_by_the_third_fix_of_a_ride() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    scene.ride((0..20).map(|_| (400.0, 0.0)));
    let stood = scene.now;
    scene.ride((1..8).map(|i| (400.0 + f64::from(i) * 70.0, 0.0)));
    let cleared = scene.told(AlertKind::Stalled).last().copied();
    assert_eq!(cleared, Some((AlertState::Cleared, stood.since(UnixMillis(T0)) / 1_000 + 45)), "{:?}", scene.said);
}
