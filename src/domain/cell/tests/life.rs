//! Scenes of version 2 of the rules: trips that orders hear of at once, shifts that hand over, dispatch.

use super::stage::Stage;
use crate::domain::{
    Action, Answer, Dispatch, Effect, Operator, Refusal, Rules, Status,
    cell::{Input, SoloOutcome},
    effect::RowKind,
    order::Edit,
    testing::{order, rider},
};

fn ahead<const N: usize>(play: &Stage) -> [Option<u16>; N] {
    std::array::from_fn(|n| play.order(u32::try_from(n).unwrap()).live.stops_ahead)
}

/// Versions that an entry made, by order.
fn versions(outcome: &SoloOutcome) -> Vec<(String, u64)> {
    let version = |(id, effect): &(_, Effect)| {
        if let Effect::Change(change) = effect { Some((format!("{id}"), change.to)) } else { None }
    };
    outcome.effects.iter().filter_map(version).collect()
}

fn deliver() -> Action {
    Action::Deliver { at: None, sent: None, proof: None }
}

fn with_orders(orders: u32) -> Stage {
    let mut play = Stage::later(Dispatch::Manual);
    play.give_orders(&rider(1), orders);
    play
}

fn trip(stops: &[u32]) -> Input {
    Input::Trip { rider: rider(1), stops: stops.iter().map(|n| order(*n)).collect() }
}

#[test]
fn a_trip_is_known_at_once() {
    let mut play = with_orders(3);
    let before = [0, 1, 2].map(|n| play.order(n).version);
    let outcome = play.say(trip(&[2, 0]));
    assert_eq!(ahead(&play), [Some(1), Some(2), Some(0)]);
    let said = versions(&outcome);
    let expected = [(2, before[2]), (0, before[0]), (1, before[1])].map(|(n, v)| (format!("o{n}"), v + 1));
    assert_eq!(said, expected, "each one version, in the order of the stops");
    let rows = outcome.effects.iter().filter(|(_, e)| matches!(e, Effect::Row(row) if row.kind == RowKind::Stops));
    assert_eq!(rows.count(), 3);
    assert_eq!(versions(&play.say(trip(&[2, 0]))), [], "nothing changed");
}

#[test]
fn who_is_behind_moves_up_when_an_order_leaves_the_trip() {
    for action in [
        deliver(),
        Action::Cancel { reason: Some("lost".into()) },
        Action::Return { reason: "refused".into(), at: None, sent: None },
        Action::Unassign,
        Action::Assign { rider: rider(2) },
    ] {
        let mut play = with_orders(3);
        play.command(1, action.clone());
        assert_eq!((play.order(0).live.stops_ahead, play.order(2).live.stops_ahead), (Some(0), Some(1)), "{action:?}");
    }
    let mut play = with_orders(3);
    play.assign(0, 2);
    play.assign(1, 2);
    assert_eq!(ahead(&play), [Some(0), Some(1), Some(0)]);
}

#[test]
fn a_log_that_does_not_ask_is_played_as_ever() {
    let mut play = Stage::with_orders_on(rider(1), 3);
    play.command(0, deliver());
    assert_eq!(play.order(1).live.stops_ahead, Some(1), "until the next fix");
    let before = play.order(1).clone();
    let edit = Action::Edit(Edit { personal: true, ..Edit::default() });
    for action in [Action::Fail { reason: "x".into(), at: None, sent: None }, edit] {
        let command = crate::domain::testing::command(action, 77);
        let Some(Err(refusal)) = play.say(Input::Command { order: order(1), command }).answer else { panic!("taken") };
        assert_eq!(refusal.field_name(), "rules_version");
    }
    assert_eq!(*play.order(1), before, "not even the key is remembered");
    assert!(matches!(play.shift(1, false, Some(2)), Some(Err(r)) if r.field_name() == "rules_version"));
    let rules = Rules { rules_version: 0, dispatch: Dispatch::Nearest, ..Rules::default() };
    let answer = play.say(Input::Rules { rules, needs: 2 }).answer;
    assert!(matches!(answer, Some(Err(r)) if r.field_name() == "rules_version"));
    assert_eq!(play.solo.cell.head().rules, Rules::default());
}

#[test]
fn rules_that_name_no_version_keep_it() {
    let mut play = Stage::later(Dispatch::Nearest);
    let rules = Rules { rules_version: 0, unpaid_ms: 5, ..Rules::default() };
    play.say(Input::Rules { rules, needs: 1 });
    let now = play.solo.cell.head().rules;
    assert_eq!((now.rules_version, now.unpaid_ms, now.dispatch), (2, 5, Dispatch::Manual));
}

#[test]
fn a_shift_ends_with_empty_hands_in_one_command() {
    let mut play = with_orders(3);
    play.create_paid(7);
    play.assign(7, 2);
    play.shift(1, true, None);
    assert!(matches!(play.shift(1, false, None), Some(Err(Refusal::OrdersInHand { .. }))));
    for (on, to) in [(true, Some(2)), (false, Some(1))] {
        assert!(matches!(play.shift(1, on, to), Some(Err(r)) if r.field_name() == "handover_to"));
    }
    let before = [0, 1, 2].map(|n| play.order(n).version);
    assert_eq!(play.shift(1, false, Some(2)), Some(Ok(())));
    let [from, to] = [1, 2].map(|n| play.solo.cell.rider(&rider(n)).unwrap());
    assert!(!from.on_shift && from.stops().is_empty());
    assert_eq!(to.stops(), [7, 0, 1, 2].map(order));
    assert_eq!(ahead(&play), [Some(1), Some(2), Some(3)]);
    assert_eq!([0, 1, 2].map(|n| play.order(n).version), before.map(|v| v + 1), "one version each");
    assert!((0..3).all(|n| play.order(n).live.rider == Some(rider(2))));
}

/// Riders on shift at so many metres north of the warehouse.
fn city(riders: &[(u32, f64)]) -> Stage {
    let mut play = Stage::later(Dispatch::Nearest);
    for (n, north_m) in riders {
        play.shift(*n, true, None);
        play.fix(*n, 0, *north_m);
    }
    play
}

#[test]
fn the_nearest_free_rider_gets_what_is_packed() {
    let mut play = city(&[(1, 900.0), (2, 300.0), (3, 100.0), (4, 50.0)]);
    play.shift(4, false, None);
    for n in 0..2 {
        play.create_paid(n);
    }
    play.assign(0, 3);
    let outcome = play.pack(1);
    let rows = outcome.effects.iter().filter_map(|(_, e)| if let Effect::Row(row) = e { Some(row) } else { None });
    let given = rows.filter(|row| row.kind == RowKind::Assign).map(|row| (row.by.clone(), row.note.clone())).next();
    assert_eq!(given, Some((Operator::dispatch(), Some("r2".into()))), "r3 has an order, r4 has gone home");
    assert_eq!((play.order(1).live.status, play.order(1).live.rev), (Status::Delivering, 4));
    assert_eq!(play.solo.cell.rider(&rider(2)).unwrap().stops(), [order(1)]);
    // Repeated, or packed with a rider: nobody is looked for.
    assert_eq!(versions(&play.pack(1)), []);
    play.pack(0);
    assert_eq!(play.order(0).live.rider, Some(rider(3)));
}

#[test]
fn who_found_nobody_is_tried_again() {
    let mut play = city(&[(1, 9_000.0)]);
    for n in 0..3 {
        play.create_paid(n);
        play.pack(n);
        assert_eq!(play.order(n).live.rider, None, "too far");
    }
    // Somebody starts work, comes near, becomes free: the next in the queue is theirs.
    play.fix(2, 0, 200.0);
    play.shift(2, true, None);
    assert_eq!(play.order(0).live.rider, Some(rider(2)));
    assert_eq!(play.order(1).live.rider, None);
    play.wait(600_000);
    play.fix(1, 0, 4_000.0);
    assert_eq!(play.order(1).live.rider, Some(rider(1)));
    let outcome = {
        play.command(0, deliver());
        play.order(2).live.rider.clone()
    };
    assert_eq!(outcome, Some(rider(2)));
}

#[test]
fn nobody_looks_for_a_rider_any_more() {
    let mut play = city(&[]);
    for n in 0..4 {
        play.create_paid(n);
        play.pack(n);
    }
    play.command(0, Action::Cancel { reason: None });
    play.assign(1, 9);
    assert!(matches!(play.command(1, Action::Unassign), Answer::Accepted(_)), "operations took it in hand");
    for n in 1..5 {
        play.fix(n, 0, 100.0);
        play.shift(n, true, None);
    }
    let riders = [0, 1, 2, 3].map(|n| play.order(n).live.rider.clone());
    assert_eq!(riders, [None, None, Some(rider(1)), Some(rider(2))]);
    // By hand again: what waits then, waits for the order system.
    for n in 3..5 {
        play.shift(n, false, None);
    }
    play.create_paid(5);
    play.pack(5);
    play.say(Input::Rules { rules: Rules { rules_version: 2, ..Rules::default() }, needs: 1 });
    play.shift(3, true, None);
    play.wait(5_000);
    play.fix(3, 0, 101.0);
    assert_eq!(play.order(5).live.rider, None);
}

#[test]
fn a_rider_gets_no_more_than_there_is_room_for() {
    let mut play = city(&[]);
    for n in 0..60 {
        play.create_paid(n);
        play.pack(n);
    }
    let rules = Rules { rules_version: 2, dispatch: Dispatch::Nearest, max_orders_per_rider: 50, ..Rules::default() };
    play.say(Input::Rules { rules, needs: 2 });
    play.fix(1, 0, 10.0);
    play.shift(1, true, None);
    let trip = |play: &Stage| play.solo.cell.rider(&rider(1)).unwrap().stops().to_vec();
    assert_eq!(trip(&play).len(), 50);
    for (order, n) in trip(&play).iter().zip(0u16..) {
        assert_eq!(play.solo.orders[order].as_ref().unwrap().live.stops_ahead, Some(n));
    }
    play.wait(2_000);
    play.fix(1, 0, 12.0);
    assert_eq!(trip(&play).len(), 50);
    play.command(0, deliver());
    assert_eq!(trip(&play).len(), 50, "and the next one");
}
