//! Owners, phones and goods that were elsewhere meanwhile, and rules that change.

use super::*;

#[test]
fn a_promise_that_passed_while_the_owner_was_away_was_late_whatever_comes_first() {
    let mut scene = Scene::riding(Facts { promise: promised(25 * MINUTE), ..straight() });
    scene.ride(north(1, 3));
    // No timer fires: what was sent meanwhile is read first.
    scene.now = UnixMillis(T0 + 40 * MINUTE);
    scene.fix_at(point(300.0, 0.0));
    assert_eq!(scene.told(AlertKind::Late), [(AlertState::Raised, 2_400)]);
    assert!(scene.told(AlertKind::LateRisk).is_empty(), "what has come isn't to be feared");
    let delivered = |at: Option<i64>| {
        let mut scene = Scene::riding(Facts { promise: promised(25 * MINUTE), ..straight() });
        scene.now = UnixMillis(T0 + 40 * MINUTE);
        scene.act(Action::Deliver { at: at.map(|ms| UnixMillis(T0 + ms)), sent: None, proof: None });
        scene.said.into_iter().filter(|a| a.kind == AlertKind::Late).collect::<Vec<_>>()
    };
    let late = delivered(None);
    assert_eq!(late.iter().map(|a| a.state).collect::<Vec<_>>(), [AlertState::Raised, AlertState::Cleared]);
    assert_eq!((late[0].due_at, late[0].evidence.measure), (Some(UnixMillis(T0 + 25 * MINUTE)), 900_000.0));
    // Heard of late, but in time.
    assert_eq!(delivered(Some(20 * MINUTE)), []);
}

#[test]
fn a_phone_that_was_offline_at_the_door_still_shows_where_that_was() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    scene.wait(10 * MINUTE);
    scene.act(Action::Deliver { at: None, sent: None, proof: None });
    assert!(scene.told(AlertKind::WrongPlaceDelivery).is_empty());
    let (version, when) = (scene.order().version, scene.now);
    scene.wait(MINUTE);
    let seen = |back_s: i64| Fix { point: point(1_000.0, 0.0), ..fix(when.0 - back_s * 1_000, None, 0.0) };
    scene.fixes(vec![seen(300), seen(15), seen(5)]);
    assert_eq!(scene.told(AlertKind::WrongPlaceDelivery).len(), 1, "{:?}", scene.said);
    assert_eq!(scene.order().version, version + 1);
}

#[test]
fn who_takes_it_over_on_the_way_has_the_goods() {
    let mut scene = Scene::riding(Facts { route: None, ..straight() });
    scene.ride(north(1, 10));
    scene.act(Action::Assign { rider: rider(2) });
    let riding = scene.eta().unwrap();
    assert_eq!((riding.legs.picking_ms, riding.legs.handover_ms), (0, 0), "the goods have left the warehouse");
    for i in 10..31 {
        scene.wait(15_000);
        let seen = Fix { point: point(f64::from(i) * 100.0, 0.0), ..fix(scene.now.0, None, 0.0) };
        scene.send(Input::Fixes { rider: rider(2), sent_time: None, fixes: vec![seen] });
    }
    assert!(scene.order().live.outlook.as_ref().unwrap().arrived_at.is_some());
    assert!(scene.said.is_empty(), "{:?}", scene.said);
    // At a standstill before anybody has the goods, arrivals are their rider's own.
    let mut scene = Scene::new();
    scene.act(Action::Create(facts()));
    scene.act(Action::Pay);
    scene.act(Action::Assign { rider: rider(1) });
    scene.ride([(0.0, 0.0), (0.0, 1.0)]);
    let arrived = |scene: &Scene| scene.order().live.outlook.as_ref().unwrap().warehouse_arrived_at;
    assert!(arrived(&scene).is_some());
    scene.act(Action::Assign { rider: rider(2) });
    assert_eq!(arrived(&scene), None);
}

#[test]
fn a_route_that_is_found_on_the_way_goes_on_from_where_the_rider_is() {
    let mut scene = Scene::riding(Facts { route: None, promise: promised(25 * MINUTE), ..straight() });
    scene.ride(north(1, 28));
    let before = scene.eta().unwrap();
    let Facts { warehouse, destination, route, .. } = straight();
    let ends = RouteEnds { from: warehouse.point, to: destination };
    let found = FoundRoute { ends, route: route.unwrap(), source: "osrm".into() };
    scene.send(Input::Route { order: id(), found: Arc::new(found) });
    let after = scene.eta().unwrap();
    assert_eq!((before.path, after.path), (Path::StraightLine, Path::Route));
    assert!((after.legs.ride_ms - 60_000).abs() < 1_000, "300 m to go: {after:?}");
    assert!(scene.said.is_empty(), "{:?}", scene.said);
}

#[test]
fn waiting_before_the_order_is_on_its_way_is_no_stall() {
    let mut scene = Scene::new();
    scene.act(Action::Create(Arc::new(straight())));
    scene.act(Action::Pay);
    scene.act(Action::Assign { rider: rider(1) });
    scene.ride((0..20).map(|_| (0.0, 300.0)));
    scene.stage(Stage::Packed);
    scene.ride((0..10).map(|_| (0.0, 300.0)));
    assert!(scene.told(AlertKind::Stalled).is_empty(), "{:?}", scene.said);
    scene.ride((0..4).map(|_| (0.0, 300.0)));
    assert_eq!(scene.told(AlertKind::Stalled).len(), 1);
}

#[test]
fn under_older_rules_again_nothing_is_left_that_nobody_would_end() {
    let mut scene = Scene::riding(straight());
    scene.wait(2 * MINUTE);
    assert_eq!(scene.order().alerts().len(), 1);
    scene.send(Input::Rules { rules: Rules { rules_version: 2, ..Rules::default() }, needs: 2 });
    scene.fix_at(point(100.0, 0.0));
    assert_eq!(scene.said.last().unwrap().cleared.unwrap().1, Because::Unwatched);
    assert_eq!((scene.order().alerts(), scene.order().timers.len()), (&[][..], 0));
    assert!(scene.order().live.outlook.is_none());
}
