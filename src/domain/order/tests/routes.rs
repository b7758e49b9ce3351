//! Routes that are found: when an order asks for one, and when it takes one.

use super::{Bench, answer, command, facts, order};
use crate::domain::{
    Action, Answer, Effect, Operator, OrderInput, Rules, Status, UnixMillis,
    effect::{RouteEnds, RowKind},
    order::{Edit, FoundRoute, Route, apply},
    testing::{T0, point},
};
use std::sync::Arc;

/// Applies an input by version 3 of the rules.
fn play(bench: &mut Bench, input: &OrderInput) -> (bool, Vec<Effect>) {
    let rules = Rules { rules_version: 3, ..Rules::default() };
    let mut out = Vec::new();
    let changed = apply(&mut bench.slot, &order(1), input, UnixMillis(T0), &rules, &mut out);
    (changed, out)
}

fn send(bench: &mut Bench, action: Action, key: u128) -> Vec<Effect> {
    play(bench, &OrderInput::Command { command: command(action, key), handover: None }).1
}

fn sought(effects: &[Effect]) -> Option<RouteEnds> {
    effects.iter().find_map(|effect| if let Effect::SeekRoute(ends) = effect { Some(*ends) } else { None })
}

fn ends() -> RouteEnds {
    RouteEnds { from: facts().warehouse.point, to: facts().destination }
}

fn found(ends: RouteEnds) -> OrderInput {
    let route = Route { points: vec![point(1.0, 1.0), point(1_000.0, 200.0), point(2_000.0, 499.0)] };
    OrderInput::Route(Arc::new(FoundRoute { ends, route, source: "osrm".into() }))
}

#[track_caller]
fn refused(bench: &mut Bench, input: &OrderInput) -> String {
    let before = bench.slot.clone();
    let (changed, effects) = play(bench, input);
    assert!(!changed && bench.slot == before && effects.len() == 1, "{effects:?}");
    match answer(&effects) {
        Answer::Refused(refusal) => refusal.field_name().to_owned(),
        Answer::Accepted(accepted) => panic!("{accepted:?}"),
    }
}

#[test]
fn an_order_without_a_route_asks_for_one_and_takes_it_once() {
    let mut bench = Bench::default();
    let create = send(&mut bench, Action::Create(facts()), 1);
    assert_eq!(sought(&create), Some(ends()));
    let rev = bench.order().live.rev;

    let (changed, effects) = play(&mut bench, &found(ends()));
    assert!(changed);
    let changes: Vec<_> =
        effects.iter().filter_map(|e| if let Effect::Change(c) = e { Some((c.from, c.to)) } else { None }).collect();
    assert_eq!((changes, bench.order().version, bench.order().live.rev), (vec![(1, 2)], 2, rev));
    let row = effects.iter().find_map(|e| if let Effect::Row(row) = e { Some(row) } else { None }).unwrap();
    assert_eq!((row.kind, &row.by, row.note.as_deref()), (RowKind::Route, &Operator::router(), Some("osrm")));
    assert_eq!(bench.order().facts.route.as_ref().unwrap().points.len(), 3);

    assert_eq!(refused(&mut bench, &found(ends())), "route", "the same once more");
}

#[test]
fn only_a_route_of_the_orders_own_ends_is_taken_and_only_while_it_is_under_way() {
    let mut bench = Bench::default();
    assert_eq!(refused(&mut bench, &found(ends())), "order", "there is none");
    send(&mut bench, Action::Create(facts()), 1);
    let RouteEnds { from, to } = ends();
    assert_eq!(refused(&mut bench, &found(RouteEnds { from: to, to })), "from");
    let off = |e7| crate::geo::Point { lon_e7: to.lon_e7 + e7, ..to };
    assert_eq!(refused(&mut bench, &found(RouteEnds { from, to: off(11) })), "to");
    let mut near = bench.clone();
    assert!(play(&mut near, &found(RouteEnds { from, to: off(-10) })).0, "1e-6 degree is the same place");

    let mut ended = Bench::in_status(Status::Cancelled, false).unwrap();
    assert_eq!(refused(&mut ended, &found(ends())), "order");
}

#[test]
fn an_edit_that_drops_the_route_asks_again() {
    let mut bench = Bench::default();
    let mut with_route = (*facts()).clone();
    with_route.route = Some(Route { points: vec![point(0.0, 0.0), with_route.destination] });
    assert_eq!(sought(&send(&mut bench, Action::Create(Arc::new(with_route)), 1)), None);
    send(&mut bench, Action::Pay, 2);
    let elsewhere = point(3_000.0, 0.0);
    let edit = |to| Action::Edit(Edit { destination: Some(to), ..Edit::default() });
    assert_eq!(sought(&send(&mut bench, edit(facts().destination), 3)), None, "it stays where it was");
    let sought = sought(&send(&mut bench, edit(elsewhere), 4)).unwrap();
    assert_eq!(sought, RouteEnds { to: elsewhere, ..ends() });
    assert_eq!(refused(&mut bench, &found(ends())), "to", "it was asked for before the edit");
    assert!(play(&mut bench, &found(sought)).0);
}

#[test]
fn before_version_3_nothing_is_asked_for() {
    let mut bench = Bench::default();
    let create = OrderInput::Command { command: command(Action::Create(facts()), 1), handover: None };
    assert_eq!(sought(&bench.apply(&create, T0).1), None);
}
