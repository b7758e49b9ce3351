//! Scenes: what an order says of itself in them, and when.

use crate::{
    domain::{
        Action, Alert, AlertKind, AlertState, Effect, Eta, Fix, OrderId, Rules, Stage, Status, UnixMillis,
        alert::Because,
        cell::{Entry, Input, Solo},
        effect::RouteEnds,
        eta::Path,
        order::{Edit, Facts, FoundRoute, Promise, Route},
        testing::{T0, command, facts, fix, order, point, rider},
    },
    geo::Point,
};
use std::sync::Arc;

mod away;
mod notes;
mod ride;

/// A cell with one order, its timers, and everything that it said.
struct Scene {
    solo: Solo,
    now: UnixMillis,
    seq: u64,
    said: Vec<Alert>,
}

const MINUTE: i64 = 60_000;

impl Scene {
    /// Under the newest rules, nothing done yet.
    fn new() -> Self {
        Self::under(Rules { rules_version: 3, ..Rules::default() })
    }

    fn under(rules: Rules) -> Self {
        let mut scene = Self { solo: Solo::default(), now: UnixMillis(T0), seq: 0, said: Vec::new() };
        scene.send(Input::Rules { rules, needs: 3 });
        scene
    }

    /// On its way with rider 1, who has the goods in hand.
    fn riding(facts: Facts) -> Self {
        let mut scene = Self::new();
        scene.act(Action::Create(Arc::new(facts)));
        scene.act(Action::Pay);
        scene.act(Action::Assign { rider: rider(1) });
        scene.stage(Stage::HandedOver);
        scene
    }

    fn send(&mut self, input: Input) {
        self.seq += 1;
        let outcome = self.solo.apply(&Entry { seq: self.seq, log_time: self.now, input });
        let alert = |(_, effect)| if let Effect::Alert(change) = effect { Some(change.alert) } else { None };
        self.said.extend(outcome.effects.into_iter().filter_map(alert));
    }

    fn act(&mut self, action: Action) {
        let command = command(action, u128::from(self.seq));
        self.send(Input::Command { order: id(), command });
    }

    fn stage(&mut self, stage: Stage) {
        self.send(Input::Stage { warehouse: "w1".parse().unwrap(), order: id(), stage });
    }

    /// Lets time pass; timers fire as they come due.
    fn wait(&mut self, ms: i64) {
        let until = self.now.plus(ms);
        loop {
            let timers = self.solo.orders.get(&id()).and_then(Option::as_ref).map(|o| o.timers.clone());
            let due = timers.unwrap_or_default().into_iter().filter(|t| t.2 <= until).min_by_key(|t| t.2);
            let Some((kind, n, at)) = due else { break };
            self.now = self.now.max(at);
            self.send(Input::Timer { order: id(), kind, n });
        }
        self.now = until;
    }

    fn fix_at(&mut self, point: Point) {
        self.fixes(vec![Fix { point, ..fix(self.now.0, None, 0.0) }]);
    }

    fn fixes(&mut self, fixes: Vec<Fix>) {
        self.send(Input::Fixes { rider: rider(1), sent_time: None, fixes });
    }

    /// Fixes every 15 s along points that lie `step_m` apart.
    fn ride(&mut self, points: impl IntoIterator<Item = (f64, f64)>) {
        for (north_m, east_m) in points {
            self.wait(15_000);
            self.fix_at(point(north_m, east_m));
        }
    }

    fn order(&self) -> &crate::domain::Order {
        self.solo.orders[&id()].as_ref().unwrap()
    }

    fn eta(&self) -> Option<Eta> {
        self.order().live.outlook.as_ref().and_then(|outlook| outlook.eta)
    }

    /// What was said of a kind: the state, and how long after the start in seconds.
    fn told(&self, kind: AlertKind) -> Vec<(AlertState, i64)> {
        let of_kind = self.said.iter().filter(|alert| alert.kind == kind);
        of_kind.map(|alert| (alert.state, changed_at(alert).since(UnixMillis(T0)) / 1_000)).collect()
    }

    fn kinds(&self) -> Vec<AlertKind> {
        let mut kinds: Vec<_> = self.said.iter().map(|alert| alert.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

fn changed_at(alert: &Alert) -> UnixMillis {
    match (&alert.acknowledged, alert.cleared) {
        (_, Some((at, _))) => at,
        (Some((at, _)), None) => *at,
        (None, None) => alert.detected_at,
    }
}

fn id() -> OrderId {
    order(0)
}

/// Due north, three kilometres, a corner every hundred metres.
fn straight() -> Facts {
    let points = (0..=30).map(|i| point(f64::from(i) * 100.0, 0.0)).collect();
    let destination = point(3_000.0, 0.0);
    Facts { destination, route: Some(Route { points }), ..(*facts()).clone() }
}

fn promised(ms: i64) -> Option<Promise> {
    Some(Promise { from: UnixMillis(T0), to: UnixMillis(T0 + ms) })
}

fn north(from: i32, to: i32) -> impl Iterator<Item = (f64, f64)> {
    (from..to).map(|i| (f64::from(i) * 100.0, 0.0))
}

#[test]
fn a_ride_as_planned_says_nothing_and_gets_nearer() {
    let mut scene = Scene::riding(straight());
    let mut last = f64::INFINITY;
    for (north_m, east_m) in north(1, 30) {
        scene.ride([(north_m, east_m)]);
        // Told with the estimate: the first of these 100 m in 15 s are as fast as was thought.
        let remaining = scene.order().live.outlook.as_ref().unwrap().remaining_m.map_or(last, f64::from);
        assert!(remaining <= last, "{remaining} after {last}");
        last = remaining;
    }
    scene.ride([(3_000.0, 0.0)]);
    let arrived_at = scene.order().live.outlook.as_ref().unwrap().arrived_at;
    assert!(arrived_at.is_some());
    scene.act(Action::Deliver { at: None, sent: None, proof: None });
    assert_eq!((scene.said.as_slice(), scene.eta()), (&[][..], None));
    assert_eq!(scene.order().live.outlook.as_ref().unwrap().arrived_at, arrived_at);
    assert!(scene.order().timers.is_empty());
}

#[test]
fn off_the_route_is_raised_once_with_its_evidence_and_cleared_when_back() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    // Along a parallel street, 150 m to the east, and back.
    scene.ride((5..12).map(|i| (f64::from(i) * 100.0, 150.0)));
    scene.ride(north(12, 16));
    assert_eq!(
        scene.told(AlertKind::OffRoute),
        [(AlertState::Raised, 7 * 15), (AlertState::Cleared, 13 * 15)],
        "{:?}",
        scene.said
    );
    let raised = &scene.said[0];
    assert_eq!((raised.evidence.threshold, raised.evidence.fixes.len()), (80.0, 2));
    assert!((raised.evidence.measure - 150.0).abs() < 1.0, "{raised:?}");
    assert_eq!(raised.evidence.since, UnixMillis(T0 + 5 * 15_000));
    assert_eq!(scene.said[1].cleared.unwrap().1, Because::Over);
    // A phone that says how unsure it is.
    let mut unsure = Scene::riding(straight());
    for i in 1..12 {
        unsure.wait(15_000);
        let seen = Fix { point: point(f64::from(i) * 100.0, 150.0), ..fix(unsure.now.0, None, 0.0) };
        unsure.fixes(vec![Fix { accuracy_dm: Some(750), ..seen }]);
    }
    assert!(unsure.said.is_empty());
}

#[test]
fn without_a_route_riding_away_from_the_destination_is_off_route() {
    let mut scene = Scene::riding(Facts { route: None, ..straight() });
    scene.ride(north(1, 10));
    scene.ride(north(0, 9).map(|(n, e)| (800.0 - n, e)));
    assert_eq!(scene.kinds(), [AlertKind::OffRoute]);
    let evidence = &scene.said[0].evidence;
    assert_eq!((evidence.threshold, evidence.about.as_deref()), (400.0, Some("destination")));
}

#[test]
fn nobody_is_off_the_route_before_having_the_goods_or_with_stops_ahead() {
    let mut scene = Scene::new();
    scene.act(Action::Create(Arc::new(straight())));
    scene.act(Action::Pay);
    scene.act(Action::Assign { rider: rider(1) });
    scene.stage(Stage::Packed);
    // To the warehouse from afar, a short wait there, and off.
    scene.ride((0..10).map(|i| (0.0, 1_000.0 - f64::from(i) * 100.0)));
    scene.ride([(0.0, 0.0), (2.0, 3.0)]);
    assert!(scene.order().live.outlook.as_ref().unwrap().warehouse_arrived_at.is_some());
    scene.ride(north(2, 8));
    assert!(scene.said.is_empty(), "{:?}", scene.said);
    // The plan of an order says nothing of the way to the one before it.
    scene.send(Input::Command { order: order(7), command: command(Action::Create(facts()), 1 << 90) });
    scene.send(Input::Command { order: order(7), command: command(Action::Pay, 1 << 91) });
    scene.send(Input::Command { order: order(7), command: command(Action::Assign { rider: rider(1) }, 1 << 92) });
    scene.send(Input::Trip { rider: rider(1), stops: vec![order(7), id()] });
    scene.ride((1..9).map(|i| (800.0, f64::from(i) * 90.0)));
    assert!(scene.told(AlertKind::OffRoute).is_empty(), "{:?}", scene.said);
    // From there to the door it is another way than the planned one.
    scene.send(Input::Trip { rider: rider(1), stops: vec![id(), order(7)] });
    scene.ride((1..16).map(|i| (800.0 + f64::from(i) * 100.0, 720.0)));
    assert!(scene.told(AlertKind::OffRoute).is_empty(), "{:?}", scene.said);
    // Once back on the planned one, leaving it counts again.
    scene.ride((1..8).map(|i| (2_300.0, 720.0 - f64::from(i) * 100.0)));
    scene.ride(north(23, 28));
    scene.ride((1..9).map(|i| (2_700.0, f64::from(i) * 90.0)));
    assert_eq!(scene.told(AlertKind::OffRoute).len(), 1, "{:?}", scene.said);
}

/// A rider who stands for an hour with 5–15 m of jitter, and once a minute is seen 60 m away.
fn standing(mut scene: Scene, north_m: f64, east_m: f64) -> Scene {
    let begun = (scene.order().travelled_m(), scene.order().live.position);
    for i in 0..240i32 {
        let (r, angle) = (f64::from(5 + (i * 7) % 11), f64::from(i * 77));
        let r = if i % 4 == 3 { 60.0 } else { r };
        scene.ride([(north_m + r * angle.to_radians().cos(), east_m + r * angle.to_radians().sin())]);
    }
    let now = (scene.order().travelled_m(), scene.order().live.position);
    assert_eq!(now.0, begun.0, "standing collects no distance");
    let (from, to) = (begun.1.unwrap().point, now.1.unwrap().point);
    assert!(crate::geo::distance_m(from, to) < 40.0, "{from:?} to {to:?}");
    scene
}

#[test]
fn standing_for_an_hour_stalls_once_and_is_never_off_the_route() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 10));
    let scene = standing(scene, 900.0, 0.0);
    assert_eq!(scene.kinds(), [AlertKind::Stalled]);
    assert_eq!(scene.told(AlertKind::Stalled).len(), 1, "{:?}", scene.said);
    assert_eq!(scene.order().live.outlook.as_ref().unwrap().arrived_at, None);

    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 30));
    scene.ride([(2_945.0, 0.0), (2_945.0, 0.0)]);
    let arrivals = |scene: &Scene| scene.order().live.outlook.as_ref().unwrap().arrived_at;
    // At the fence's edge, where jitter goes in and out: at most one arrival, and no stall once there.
    let scene = standing(scene, 2_945.0, 0.0);
    assert!(arrivals(&scene).is_some());
    assert!(scene.kinds().is_empty(), "{:?}", scene.said);
}

#[test]
fn a_stall_is_cleared_by_going_on() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    scene.ride((0..16).map(|_| (400.0, 0.0)));
    scene.ride(north(5, 9));
    let told = scene.told(AlertKind::Stalled);
    assert_eq!(told.iter().map(|t| t.0).collect::<Vec<_>>(), [AlertState::Raised, AlertState::Cleared]);
    assert!((4 * 15 + 165..=4 * 15 + 195).contains(&told[0].1), "{told:?}");
}

#[test]
fn a_lost_signal_is_noticed_by_the_timer_and_cleared_by_the_next_fix() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    scene.wait(10 * MINUTE);
    assert_eq!(scene.told(AlertKind::SignalLost), [(AlertState::Raised, 4 * 15 + 60)]);
    // Even one that can't be believed is a sign of life.
    let seen = fix(scene.now.0, None, 500.0);
    scene.fixes(vec![Fix { accuracy_dm: Some(5_000), ..seen }]);
    assert_eq!(scene.told(AlertKind::SignalLost).last(), Some(&(AlertState::Cleared, 4 * 15 + 600)));
    // And it may be lost again.
    scene.wait(2 * MINUTE);
    assert_eq!(scene.told(AlertKind::SignalLost).len(), 3);
    // A rider who was never heard of.
    let mut silent = Scene::riding(straight());
    silent.wait(2 * MINUTE);
    assert_eq!(silent.told(AlertKind::SignalLost), [(AlertState::Raised, 60)]);
}

#[test]
fn a_phone_that_reports_once_a_minute_is_not_lost() {
    let mut scene = Scene::riding(straight());
    for i in 1..7 {
        scene.wait(if i % 2 == 0 { 58_000 } else { 63_000 });
        scene.fix_at(point(f64::from(i) * 300.0, 0.0));
    }
    // But for the first interval, when nobody knew.
    assert!(scene.told(AlertKind::SignalLost).iter().all(|(_, at)| *at <= 63 + 58 + 63), "{:?}", scene.said);
}

#[test]
fn the_promise_passes_at_its_time_and_the_risk_before() {
    let mut scene = Scene::riding(Facts { promise: promised(25 * MINUTE), ..straight() });
    scene.ride(north(1, 3));
    // Nothing is heard: from when on it can't be made any more is known in advance.
    scene.wait(30 * MINUTE);
    let risk = scene.told(AlertKind::LateRisk);
    // 2.8 km at 5 m/s and a minute and a half at the door: 650 s before the promise at the latest.
    assert_eq!(risk[0].0, AlertState::Raised);
    assert!((850..=880).contains(&risk[0].1), "{risk:?}");
    assert_eq!(risk[1..], [(AlertState::Cleared, 1_500)]);
    assert_eq!(scene.told(AlertKind::Late), [(AlertState::Raised, 1_500)]);
    let late = scene.said.iter().find(|alert| alert.kind == AlertKind::Late).unwrap();
    assert_eq!(late.due_at, Some(UnixMillis(T0 + 25 * MINUTE)));
    scene.act(Action::Deliver { at: None, sent: None, proof: None });
    assert_eq!(scene.said.iter().rfind(|a| a.kind == AlertKind::Late).unwrap().cleared.unwrap().1, Because::Ended);
}

#[test]
fn an_owner_that_was_away_notices_late_and_says_both_times() {
    let mut scene = Scene::riding(Facts { promise: promised(15 * MINUTE), ..straight() });
    // Nobody fires timers for an hour.
    scene.now = scene.now.plus(60 * MINUTE);
    scene.wait(0);
    assert_eq!(scene.told(AlertKind::Late), [(AlertState::Raised, 3_600)]);
    let late = scene.said.iter().find(|alert| alert.kind == AlertKind::Late).unwrap();
    assert_eq!((late.due_at, late.detected_at), (Some(UnixMillis(T0 + 15 * MINUTE)), UnixMillis(T0 + 60 * MINUTE)));
    scene.wait(60 * MINUTE);
    assert_eq!(scene.told(AlertKind::Late).len(), 1);
}

#[test]
fn another_promise_voids_what_was_said_of_the_former() {
    let mut scene = Scene::new();
    scene.act(Action::Create(Arc::new(Facts { promise: promised(5 * MINUTE), ..straight() })));
    scene.act(Action::Pay);
    assert_eq!(scene.told(AlertKind::LateRisk), [(AlertState::Raised, 0)]);
    scene.wait(6 * MINUTE);
    assert_eq!(scene.told(AlertKind::Late), [(AlertState::Raised, 300)]);
    let promise = Some(Promise { from: scene.now, to: scene.now.plus(60 * MINUTE) });
    scene.act(Action::Edit(Edit { promise, ..Edit::default() }));
    assert_eq!(scene.told(AlertKind::Late).last(), Some(&(AlertState::Cleared, 360)));
    scene.wait(61 * MINUTE);
    assert_eq!(scene.told(AlertKind::Late).last(), Some(&(AlertState::Raised, 360 + 3_600)));
}

#[test]
fn a_warehouse_that_does_not_go_on_is_overdue_once_per_stage() {
    let mut scene = Scene::new();
    scene.act(Action::Create(facts()));
    scene.wait(MINUTE);
    scene.act(Action::Pay);
    scene.wait(20 * MINUTE);
    assert_eq!(scene.told(AlertKind::StageOverdue), [(AlertState::Raised, 60 + 300)]);
    scene.stage(Stage::Received);
    scene.stage(Stage::Received);
    scene.wait(9 * MINUTE);
    scene.stage(Stage::Picking);
    scene.wait(15 * MINUTE);
    scene.stage(Stage::Packed);
    scene.wait(60 * MINUTE);
    let told = scene.told(AlertKind::StageOverdue);
    let expected = [
        (AlertState::Raised, 360),
        (AlertState::Cleared, 21 * 60),
        (AlertState::Raised, 45 * 60),
        (AlertState::Cleared, 45 * 60),
    ];
    assert_eq!(told, expected);
    assert_eq!(scene.said[2].evidence.about.as_deref(), Some("since picking"));
    assert_eq!(scene.order().timers, [], "nothing is due any more");
}

#[test]
fn delivered_elsewhere_stands_until_somebody_takes_note() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 10));
    scene.act(Action::Deliver { at: None, sent: None, proof: None });
    assert_eq!(scene.told(AlertKind::WrongPlaceDelivery), [(AlertState::Raised, 135)]);
    assert!((scene.said[0].evidence.measure - 2_100.0).abs() < 10.0, "{:?}", scene.said);
    assert_eq!(scene.order().live.status, Status::Completed);
    let version = scene.order().version;
    scene.act(Action::Acknowledge { alert: 1, note: None });
    let states: Vec<_> = scene.said.iter().map(|alert| (alert.change, alert.state)).collect();
    assert_eq!(states, [(1, AlertState::Raised), (2, AlertState::Acknowledged), (3, AlertState::Cleared)]);
    assert_eq!(scene.order().version, version + 1);
    scene.act(Action::Acknowledge { alert: 1, note: None });
    assert_eq!((scene.order().version, scene.said.len()), (version + 1, 3), "there is nothing to take note of");
}

#[test]
fn low_battery_has_a_gap_between_raising_and_clearing() {
    let mut scene = Scene::riding(straight());
    for (i, pct) in (1..).zip([40, 16, 15, 17, 12, 19, 20, 16]) {
        scene.wait(15_000);
        let seen = fix(scene.now.0, None, f64::from(i) * 100.0);
        scene.fixes(vec![Fix { battery_pct: Some(pct), ..seen }]);
    }
    assert_eq!(scene.told(AlertKind::LowBattery), [(AlertState::Raised, 45), (AlertState::Cleared, 105)]);
}

#[test]
fn another_rider_begins_anew() {
    let mut scene = Scene::riding(straight());
    scene.ride(north(1, 5));
    scene.ride((5..12).map(|i| (f64::from(i) * 100.0, 150.0)));
    assert_eq!(scene.kinds(), [AlertKind::OffRoute]);
    scene.act(Action::Acknowledge { alert: 1, note: None });
    scene.act(Action::Assign { rider: rider(2) });
    let states: Vec<_> = scene.said.iter().map(|alert| alert.state).collect();
    assert_eq!(states, [AlertState::Raised, AlertState::Acknowledged, AlertState::Cleared]);
    assert_eq!(scene.said[2].cleared.unwrap().1, Because::RiderChanged);
}

#[test]
fn an_estimate_exists_from_payment_on_and_adds_up() {
    let mut scene = Scene::new();
    scene.act(Action::Create(Arc::new(straight())));
    assert_eq!(scene.eta(), None);
    scene.act(Action::Pay);
    let paid = scene.eta().unwrap();
    // 6 min and 3 items for picking, the handover, 3 km at 5 m/s, the door.
    assert_eq!(paid.legs.total_ms(), 360_000 + 45_000 + 90_000 + 600_000 + 90_000);
    assert_eq!(paid.p50, scene.now.plus(paid.legs.total_ms()));
    scene.wait(MINUTE);
    let version = scene.order().version;
    // By 19.5 s later than thought, which is less than clients are told of.
    assert_eq!((scene.eta().unwrap(), scene.order().version), (paid, version));
    scene.wait(3 * MINUTE);
    scene.stage(Stage::Picking);
    let picking = scene.eta().unwrap();
    assert_eq!((picking.legs.picking_ms, picking.at), (405_000 * 7 / 10, scene.now));
    scene.act(Action::Assign { rider: rider(1) });
    assert_eq!(scene.eta().unwrap(), picking);
    scene.stage(Stage::Packed);
    assert_eq!((scene.eta().unwrap().legs.picking_ms, scene.eta().unwrap().at), (0, scene.now));
}

#[test]
fn what_comes_twice_or_late_decides_nothing() {
    let play = |twice: bool, late: bool| {
        let mut scene = Scene::riding(straight());
        for i in 1..30 {
            scene.wait(15_000);
            let off_m = if (8..16).contains(&i) { 150.0 } else { 0.0 };
            let seen = Fix { point: point(f64::from(i) * 100.0, off_m), ..fix(scene.now.0, None, 0.0) };
            if late && (8..16).contains(&i) {
                continue;
            }
            scene.fixes(vec![seen]);
            if twice {
                scene.fixes(vec![seen]);
            }
        }
        if late {
            let told = scene.said.len();
            let off = |i: i64| Fix {
                point: point(f64::from(u8::try_from(i).unwrap()) * 100.0, 150.0),
                ..fix(T0 + i * 15_000, None, 0.0)
            };
            scene.fixes((8..16).map(off).collect());
            assert_eq!(scene.said.len(), told, "late fixes decide nothing");
            assert_eq!(scene.order().track.len(), 29);
        }
        scene
    };
    let (once, twice, late) = (play(false, false), play(true, false), play(false, true));
    assert_eq!(once.kinds(), [AlertKind::OffRoute]);
    assert_eq!(once.said, twice.said);
    assert_eq!(once.order().track.fixes(), late.order().track.fixes());
    assert_eq!(late.kinds(), [AlertKind::SignalLost]);
}

#[test]
fn nothing_is_watched_before_version_3() {
    let mut scene = Scene::under(Rules { rules_version: 2, ..Rules::default() });
    scene.act(Action::Create(Arc::new(Facts { promise: promised(MINUTE), ..straight() })));
    scene.act(Action::Pay);
    scene.wait(60 * MINUTE);
    assert!(scene.said.is_empty() && scene.order().watch.is_none() && scene.order().live.outlook.is_none());
}
