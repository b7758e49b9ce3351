//! What happens beside the straight way: who may say so, what it needs, and what it leaves.

use super::{Bench, by, command, deliver, edit, fail, give_back, missing, refused};
use crate::domain::{
    Action, Answer, Effect, Operator, OperatorKind, Refusal, Stage, Status, UnixMillis,
    effect::{CarryChange, Handover, RowKind},
    order::{Circumstances, Edit, Missing, MissingItem, OrderInput, Promise, Proof, Route},
    testing::{T0, point, rider},
};
use std::sync::Arc;

fn delivering() -> Bench {
    Bench::in_status(Status::Delivering, true).unwrap()
}

fn circumstances(bench: &Bench) -> Circumstances {
    bench.order().live.circumstances.as_deref().cloned().unwrap_or_default()
}

fn note(effects: &[Effect], kind: RowKind) -> Option<String> {
    effects
        .iter()
        .find_map(|e| if let Effect::Row(row) = e { (row.kind == kind).then(|| row.note.clone())? } else { None })
}

#[test]
fn each_is_for_those_whom_it_concerns() {
    use OperatorKind::{Operations, Rider, System, Warehouse};
    for (action, may) in [
        (fail(), &[Rider, Operations, System][..]),
        (give_back(), &[Rider, Operations]),
        (missing(1), &[Rider, Warehouse, Operations, System]),
        (edit(), &[Operations, System]),
    ] {
        for kind in OperatorKind::ALL {
            let (mine, foreign) = match kind {
                Rider => ("r1", Some("rider")),
                Warehouse => ("w1", Some("warehouse")),
                Operations | System => ("x", None),
            };
            let mut bench = delivering();
            let command = |id| by(kind, id, action.clone(), 1 << 80);
            if !may.contains(&kind) {
                assert_eq!(refused(&mut bench, command(mine)).field_name(), "publisher", "{action:?} by {kind:?}");
                continue;
            }
            if let Some(field) = foreign {
                let refusal = refused(&mut bench.clone(), command("other"));
                assert_eq!(refusal.field_name(), field, "{action:?}");
                assert!(matches!(refusal, Refusal::Mismatch { .. }));
            }
            assert!(matches!(bench.send(command(mine)).0, Answer::Accepted(_)), "{action:?} by {kind:?}");
        }
    }
}

#[test]
fn a_failed_attempt_is_counted_and_the_order_stays_with_its_rider() {
    let mut bench = delivering();
    for attempt in 1..=2 {
        let at = Some(UnixMillis(T0 - 5));
        let action = Action::Fail { reason: format!("door {attempt}"), at, sent: None };
        let (_, effects) = bench.send(command(action, attempt << 80));
        assert_eq!(note(&effects, RowKind::Fail), Some(format!("door {attempt}")));
        assert!(!effects.iter().any(|e| matches!(e, Effect::Carry(_) | Effect::Finish)));
    }
    let live = &bench.order().live;
    assert_eq!((live.status, live.rider.clone()), (Status::Delivering, Some(rider(1))));
    let Circumstances { attempts, attempt_reason, attempted_at, .. } = circumstances(&bench);
    // Not before the rider had it.
    assert_eq!((attempts, attempt_reason.as_deref(), attempted_at), (2, Some("door 2"), Some(UnixMillis(T0))));
    let blank = Action::Fail { reason: " ".into(), at: None, sent: None };
    assert_eq!(refused(&mut bench, command(blank, 9 << 80)).field_name(), "reason");
}

#[test]
fn what_goes_back_ends_as_cancelled_and_returned() {
    let mut bench = delivering();
    let future = Action::Return { reason: "x".into(), at: Some(UnixMillis(T0 + 60_001)), sent: None };
    assert_eq!(refused(&mut bench, command(future, 1 << 80)).field_name(), "at_ms");
    let (_, effects) = bench.send(command(give_back(), 2 << 80));
    assert!(
        effects.contains(&Effect::Carry(CarryChange::End { to: UnixMillis(T0) })) && effects.contains(&Effect::Finish)
    );
    let live = &bench.order().live;
    assert_eq!((live.status, live.cancel_reason.as_deref()), (Status::Cancelled, Some("refused")));
    assert_eq!((live.position, live.stops_ahead, live.cancelled_at), (None, None, Some(UnixMillis(T0))));
    assert!(circumstances(&bench).returned);
    // Operations may take back what no rider has any more.
    let mut bench = Bench::in_status(Status::Delivering, false).unwrap();
    let (_, effects) = bench.send(command(give_back(), 2 << 80));
    assert!(!effects.iter().any(|e| matches!(e, Effect::Carry(_))));
    assert_eq!(bench.status(), Status::Cancelled);
}

#[test]
fn missing_items_are_no_more_than_the_order_has_and_the_last_report_counts() {
    let mut bench = Bench::in_status(Status::Paid, false).unwrap();
    assert_eq!(refused(&mut bench, command(missing(4), 1 << 80)).field_name(), "count");
    let report = |count| Missing {
        count,
        items: vec![MissingItem { name: "milk".into(), count }],
        note: Some("sold out".into()),
    };
    let too_many = Action::Missing(Arc::new(report(4)));
    assert_eq!(refused(&mut bench, command(too_many, 2 << 80)).field_name(), "items");
    bench.command(missing(3));
    let (_, effects) = bench.send(command(Action::Missing(Arc::new(report(2))), 3 << 80));
    assert_eq!(note(&effects, RowKind::Missing).as_deref(), Some("2 × milk: sold out"));
    assert_eq!(circumstances(&bench).missing, Some(report(2)));
}

#[test]
fn edits_change_what_they_name_until_the_goods_are_handed_over() {
    let mut bench = Bench::in_status(Status::Paid, false).unwrap();
    let mut facts = (*bench.order().facts).clone();
    facts.route = Some(Route { points: vec![point(0.0, 0.0), facts.destination] });
    bench.slot.as_mut().unwrap().facts = Arc::new(facts.clone());
    let promise = Promise { from: UnixMillis(T0), to: UnixMillis(T0 + 1) };
    let (_, effects) = bench.send(command(Action::Edit(Edit { promise: Some(promise), ..Edit::default() }), 1 << 80));
    assert_eq!(note(&effects, RowKind::Edit).as_deref(), Some("promise"));
    facts.promise = Some(promise);
    assert_eq!(*bench.order().facts, facts);
    assert_eq!(circumstances(&bench).personal, None);

    // The route led to where the order no longer goes.
    let elsewhere = Edit { destination: Some(point(9.0, 9.0)), personal: true, ..Edit::default() };
    let sent = command(Action::Edit(elsewhere), 2 << 80);
    let key = sent.key;
    bench.send(sent);
    (facts.destination, facts.route) = (point(9.0, 9.0), None);
    assert_eq!(*bench.order().facts, facts);
    let Circumstances { edited_at, personal, .. } = circumstances(&bench);
    assert_eq!((edited_at, personal), (Some(UnixMillis(T0)), Some(key)));

    bench.stage(Stage::HandedOver);
    assert_eq!(refused(&mut bench, command(edit(), 3 << 80)).field_name(), "stage");
}

#[test]
fn a_proof_is_kept_in_the_state_and_in_the_history() {
    let mut bench = delivering();
    let proof = Proof { photo: Some("p-1".into()), code: Some("4711".into()), signature: None };
    let Action::Deliver { at, sent, .. } = deliver() else { unreachable!() };
    let (_, effects) = bench.send(command(Action::Deliver { at, sent, proof: Some(Arc::new(proof.clone())) }, 1 << 80));
    assert_eq!(note(&effects, RowKind::Deliver).as_deref(), Some("photo p-1, code 4711"));
    assert_eq!((bench.status(), circumstances(&bench).proof), (Status::Completed, Some(proof)));
}

#[test]
fn the_cell_gives_only_what_is_as_it_believes() {
    let handover = Handover { position: None, quality: Default::default(), stops_ahead: 2 };
    let give = |of| OrderInput::Give { rider: rider(2), of, handover: handover.clone(), by: Operator::dispatch() };
    let mut bench = delivering();
    let before = bench.order().clone();
    for of in [None, Some(rider(2)), Some(rider(3))] {
        assert_eq!(bench.apply(&give(of), T0), (false, vec![]));
    }
    assert_eq!(*bench.order(), before);
    let (changed, effects) = bench.apply(&give(Some(rider(1))), T0);
    let start = CarryChange::Start { rider: rider(2), from: UnixMillis(T0), stops_ahead: 2 };
    assert!(changed && effects.contains(&Effect::Carry(start)));
    assert_eq!((bench.order().version, bench.order().live.rev), (before.version + 1, before.live.rev + 1));
    // Stops ahead: a version and a line, no rev, and only from the rider who has it.
    let stops = |n, stops_ahead| OrderInput::Stops { rider: rider(n), stops_ahead };
    assert_eq!(bench.apply(&stops(1, 0), T0), (false, vec![]));
    assert_eq!(bench.apply(&stops(2, 2), T0), (false, vec![]));
    let (changed, effects) = bench.apply(&stops(2, 0), T0);
    assert!(changed && note(&effects, RowKind::Stops).is_none() && effects.len() == 2);
    assert_eq!((bench.order().version, bench.order().live.rev), (before.version + 2, before.live.rev + 1));
}

#[test]
fn who_can_take_no_more_riders_is_left_without_one_when_the_shift_ends() {
    let mut bench = delivering();
    // An order has had so many riders that there is no room for one more.
    for n in 0..300u128 {
        bench.send(command(super::assign(1 + u32::try_from(n % 2).unwrap()), (n + 1) << 90));
    }
    let of = bench.order().live.rider.clone();
    let handover = Handover { position: None, quality: Default::default(), stops_ahead: 0 };
    let (_, effects) =
        bench.apply(&OrderInput::Give { rider: rider(9), of, handover, by: Operator::rider(&rider(1)) }, T0);
    assert!(effects.contains(&Effect::Carry(CarryChange::End { to: UnixMillis(T0) })));
    assert_eq!(bench.order().live.rider, None);
}
