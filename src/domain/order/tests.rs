//! One order, input by input: every command in every status, and what a refusal may and may not do.

use super::{MAX_KEYS, Order, OrderInput, apply};
use crate::domain::{
    Accepted, Action, Answer, Command, Effect, Operator, OperatorKind, Refusal, Rules, Stage, Status, UnixMillis,
    effect::{CarryChange, TimerKind},
    order::{Edit, Missing},
    status::{Event, transition},
    testing::{T0, command, facts, order, rider},
};
use std::sync::Arc;

mod routes;
mod turns;

/// An order under test, with a fresh key for each command.
#[derive(Clone, Debug, Default)]
struct Bench {
    slot: Option<Order>,
    keys: u128,
}

impl Bench {
    fn apply(&mut self, input: &OrderInput, at: i64) -> (bool, Vec<Effect>) {
        let mut out = Vec::new();
        let changed = apply(&mut self.slot, &order(1), input, UnixMillis(at), &Rules::default(), &mut out);
        (changed, out)
    }

    fn send(&mut self, command: Command) -> (Answer, Vec<Effect>) {
        let (_, out) = self.apply(&OrderInput::Command { command, handover: None }, T0);
        (answer(&out), out)
    }

    fn command(&mut self, action: Action) -> Answer {
        self.keys += 1;
        self.send(command(action, self.keys)).0
    }

    fn stage(&mut self, stage: Stage) -> Answer {
        answer(&self.apply(&OrderInput::Stage { warehouse: "w1".parse().unwrap(), stage }, T0).1)
    }

    fn order(&self) -> &Order {
        self.slot.as_ref().unwrap()
    }

    fn status(&self) -> Status {
        self.order().live.status
    }

    /// An order in `status`, with or without a rider. `None` where there is no such thing.
    fn in_status(status: Status, with_rider: bool) -> Option<Self> {
        let mut bench = Self::default();
        let steps: &[Action] = match status {
            Status::PendingPayment if with_rider => return None,
            Status::PendingPayment => &[],
            Status::Paid => &[Action::Pay],
            Status::Delivering | Status::Completed => &[Action::Pay, assign(1)],
            Status::Cancelled => &[Action::Pay],
        };
        for action in [&[Action::Create(facts())], steps].concat() {
            assert!(matches!(bench.command(action), Answer::Accepted(_)));
        }
        match status {
            Status::PendingPayment => {}
            Status::Paid if with_rider => drop(bench.command(assign(1))),
            Status::Paid => {}
            Status::Delivering => {
                bench.stage(Stage::Packed);
                if !with_rider {
                    bench.command(Action::Unassign);
                }
            }
            Status::Completed => {
                bench.stage(Stage::Packed);
                bench.command(deliver());
            }
            Status::Cancelled => {
                if with_rider {
                    bench.command(assign(1));
                }
                bench.command(cancel(Some("test")));
            }
        }
        assert_eq!(bench.status(), status);
        Some(bench)
    }
}

fn answer(effects: &[Effect]) -> Answer {
    let mut answers = effects.iter().filter_map(|e| if let Effect::Answer(a) = e { Some(a.clone()) } else { None });
    let first = answers.next().unwrap();
    assert!(answers.next().is_none(), "answered twice");
    first
}

fn assign(n: u32) -> Action {
    Action::Assign { rider: rider(n) }
}

fn deliver() -> Action {
    Action::Deliver { at: None, sent: None, proof: None }
}

fn cancel(reason: Option<&str>) -> Action {
    Action::Cancel { reason: reason.map(str::to_owned) }
}

fn fail() -> Action {
    Action::Fail { reason: "nobody there".into(), at: None, sent: None }
}

fn give_back() -> Action {
    Action::Return { reason: "refused".into(), at: None, sent: None }
}

fn missing(count: u32) -> Action {
    Action::Missing(Arc::new(Missing { count, ..Missing::default() }))
}

fn edit() -> Action {
    Action::Edit(Edit { personal: true, ..Edit::default() })
}

fn by(kind: OperatorKind, id: &str, action: Action, key: u128) -> Command {
    Command { by: Operator { kind, id: id.into() }, ..command(action, key) }
}

/// The order without its memory of commands: what a refusal may not touch.
fn without_answers(order: &Order) -> Order {
    Order { answers: Vec::new(), ..order.clone() }
}

/// A refused command remembers its outcome and does nothing else.
fn refused(bench: &mut Bench, command: Command) -> Refusal {
    let before = bench.order().clone();
    let (answer, effects) = bench.send(command.clone());
    let Answer::Refused(refusal) = answer.clone() else { panic!("{command:?} was accepted: {answer:?}") };
    assert_eq!(effects, [Effect::Answer(answer.clone())], "{command:?}");
    assert_eq!(without_answers(bench.order()), without_answers(&before), "{command:?}");
    assert_eq!(bench.order().answers.last(), Some(&(command.key, answer)));
    refusal
}

#[test]
fn every_command_in_every_status() {
    let verbs = [
        (Action::Pay, Event::Pay),
        (cancel(Some("reason")), Event::Cancel),
        (assign(1), Event::Assign),
        (assign(2), Event::Assign),
        (Action::Unassign, Event::Unassign),
        (deliver(), Event::Deliver),
        (fail(), Event::Fail),
        (give_back(), Event::Return),
        (missing(1), Event::Missing),
        (edit(), Event::Edit),
    ];
    for status in Status::ALL {
        for with_rider in [false, true] {
            let Some(start) = Bench::in_status(status, with_rider) else { continue };
            for (action, event) in &verbs {
                let mut bench = start.clone();
                let before = bench.order().clone();
                let case = format!("{} in {status:?}, rider {with_rider}", event.name());
                let needs_rider = matches!(action, Action::Unassign | Action::Deliver { .. } | Action::Fail { .. });
                let has_rider = before.live.rider.is_some();
                let Some(next) = transition(status, *event) else {
                    let refusal = refused(&mut bench, command(action.clone(), 1 << 80));
                    assert_eq!(refusal, Refusal::Transition { status, event: *event }, "{case}");
                    let text = refusal.to_string();
                    assert!(text.contains(event.name()) && text.contains(status.name()), "{case}: {text}");
                    continue;
                };
                if needs_rider && !has_rider {
                    let refusal = refused(&mut bench, command(action.clone(), 1 << 80));
                    assert_eq!(refusal.field_name(), "rider", "{case}");
                    continue;
                }
                let (answer, effects) = bench.send(command(action.clone(), 1 << 80));
                let after = bench.order();
                let changed = u64::from(
                    !(*event == Event::Assign && before.live.rider == Some(rider(1)) && *action == assign(1)),
                );
                let expected =
                    Accepted { version: before.version + changed, rev: before.live.rev + changed, status: next };
                assert_eq!(answer, Answer::Accepted(expected), "{case}");
                assert_eq!((after.version, after.live.rev, after.live.status), (expected.version, expected.rev, next));
                let count = |what: fn(&Effect) -> bool| effects.iter().filter(|e| what(e)).count() as u64;
                assert_eq!(count(|e| matches!(e, Effect::Change(_))), changed, "{case}");
                assert_eq!(count(|e| matches!(e, Effect::Row(_))), changed, "{case}");
                assert_eq!(count(|e| matches!(e, Effect::Finish)), u64::from(next.is_final()), "{case}");
                assert_eq!(count(|e| matches!(e, Effect::Task(_))), u64::from(*event == Event::Pay), "{case}");
            }
        }
    }
}

#[test]
fn what_would_be_allowed_is_named() {
    let mut bench = Bench::in_status(Status::Cancelled, false).unwrap();
    let text = refused(&mut bench, command(Action::Pay, 99)).to_string();
    assert_eq!(text, "`pay` is not possible in status 5 (cancelled); possible: nothing, it is final");
    let mut bench = Bench::in_status(Status::PendingPayment, false).unwrap();
    let text = refused(&mut bench, command(deliver(), 99)).to_string();
    assert_eq!(text, "`deliver` is not possible in status 1 (pending_payment); possible: pay, cancel, edit");
}

#[test]
fn an_order_that_is_not_there_answers_so_and_stays_away() {
    let mut bench = Bench::default();
    for action in
        [Action::Pay, cancel(None), assign(1), Action::Unassign, deliver(), fail(), give_back(), missing(1), edit()]
    {
        assert_eq!(bench.command(action), Answer::Refused(Refusal::UnknownOrder));
    }
    assert_eq!(bench.stage(Stage::Packed), Answer::Refused(Refusal::UnknownOrder));
    let timer = OrderInput::Timer { kind: TimerKind::Unpaid, n: 1 };
    assert_eq!(bench.apply(&timer, T0), (false, vec![]));
    assert!(bench.slot.is_none());
    bench.command(Action::Create(facts()));
    assert_eq!(refused(&mut bench, command(Action::Create(facts()), 1 << 80)), Refusal::OrderExists);
}

#[test]
fn a_key_gives_its_answer_for_ever_and_no_effect() {
    let mut bench = Bench::default();
    let commands = [
        command(Action::Create(facts()), 1),
        command(deliver(), 2),
        command(Action::Pay, 3),
        command(Action::Pay, 4),
        command(assign(1), 5),
        command(assign(2), 6),
        Command { if_rev: Some(1), ..command(Action::Unassign, 7) },
        command(cancel(Some("enough")), 8),
        command(Action::Pay, 9),
    ];
    let mut answers: Vec<Answer> = Vec::new();
    for (i, latest) in commands.iter().enumerate() {
        answers.push(bench.send(latest.clone()).0);
        let before = bench.order().clone();
        // A month later, by whoever has the key, with whatever `if_rev`.
        for (earlier, answer) in commands[..=i].iter().zip(&answers) {
            let repeated = Command { if_rev: Some(77), ..earlier.clone() };
            let input = OrderInput::Command { command: repeated, handover: None };
            assert_eq!(bench.apply(&input, T0 + 2_592_000_000), (false, vec![Effect::Answer(answer.clone())]));
            assert_eq!(*bench.order(), before);
        }
    }
}

#[test]
fn if_rev_conflicts_name_both() {
    let mut bench = Bench::in_status(Status::Paid, true).unwrap();
    let rev = bench.order().live.rev;
    for given in [0, rev - 1, rev + 1, u64::MAX] {
        let refusal =
            refused(&mut bench, Command { if_rev: Some(given), ..command(assign(2), u128::from(given) << 64) });
        assert_eq!(refusal, Refusal::RevConflict { given, current: rev });
        assert_eq!(refusal.to_string(), format!("if_rev is {given}, the order is at rev {rev}"));
    }
    let (answer, _) = bench.send(Command { if_rev: Some(rev), ..command(assign(2), 9) });
    assert!(matches!(answer, Answer::Accepted(a) if a.rev == rev + 1));
}

#[test]
fn stages_skip_forward_and_never_back() {
    for current in Stage::ALL {
        for given in Stage::ALL {
            let mut bench = Bench::in_status(Status::Paid, false).unwrap();
            bench.stage(current);
            let before = bench.order().clone();
            let answer = bench.stage(given);
            let after = bench.order();
            if given < current {
                assert_eq!(answer, Answer::Refused(Refusal::StageBack { given, current }));
                assert_eq!(*after, before);
            } else {
                let grown = u64::from(given > current);
                assert!(matches!(answer, Answer::Accepted(_)));
                assert_eq!((after.version, after.live.rev), (before.version + grown, before.live.rev + grown));
                assert_eq!(after.live.stage, Some(given));
            }
        }
    }
}

#[test]
fn a_stage_of_another_warehouse_or_of_an_order_that_waits_for_no_stage() {
    let mut bench = Bench::in_status(Status::Paid, false).unwrap();
    let before = bench.order().clone();
    let foreign = OrderInput::Stage { warehouse: "w2".parse().unwrap(), stage: Stage::Packed };
    let (changed, out) = bench.apply(&foreign, T0);
    let expected = Refusal::Mismatch { field: "warehouse".into(), given: "w2".into(), expected: "w1".into() };
    assert_eq!((changed, answer(&out)), (false, Answer::Refused(expected)));
    assert_eq!(*bench.order(), before);
    for status in [Status::PendingPayment, Status::Completed, Status::Cancelled] {
        let mut bench = Bench::in_status(status, false).unwrap();
        let before = bench.order().clone();
        assert_eq!(bench.stage(Stage::Ready), Answer::Refused(Refusal::Transition { status, event: Event::Stage }));
        assert_eq!(*bench.order(), before);
    }
}

#[test]
fn picking_complete_and_a_rider_depart_in_either_order() {
    for complete in [Stage::Packed, Stage::Ready, Stage::HandedOver] {
        let mut rider_first = Bench::in_status(Status::Paid, true).unwrap();
        rider_first.stage(Stage::Picked);
        assert_eq!(rider_first.status(), Status::Paid);
        let version = rider_first.order().version;
        rider_first.stage(complete);
        assert_eq!((rider_first.status(), rider_first.order().version), (Status::Delivering, version + 1));
        assert!(rider_first.order().live.departed_at.is_some());

        let mut rider_last = Bench::in_status(Status::Paid, false).unwrap();
        rider_last.stage(complete);
        assert_eq!(rider_last.status(), Status::Paid);
        rider_last.command(assign(1));
        assert_eq!(rider_last.status(), Status::Delivering);
    }
}

#[test]
fn only_operations_with_a_reason_cancel_what_is_under_way() {
    for kind in OperatorKind::ALL {
        for reason in [None, Some(" "), Some("accident")] {
            let mut bench = Bench::in_status(Status::Delivering, true).unwrap();
            let command = by(kind, "x", cancel(reason), 1 << 80);
            let expected = match (kind, reason) {
                (OperatorKind::Operations, Some("accident")) => {
                    let (_, effects) = bench.send(command);
                    assert_eq!(bench.status(), Status::Cancelled);
                    assert!(effects.contains(&Effect::Carry(CarryChange::End { to: UnixMillis(T0) })));
                    continue;
                }
                (OperatorKind::Operations, Some(_) | None) => "reason",
                (OperatorKind::Rider | OperatorKind::Warehouse | OperatorKind::System, Some(_) | None) => "publisher",
            };
            assert_eq!(refused(&mut bench, command).field_name(), expected);
        }
    }
    for status in [Status::PendingPayment, Status::Paid] {
        let mut bench = Bench::in_status(status, false).unwrap();
        bench.send(by(OperatorKind::System, "shop", cancel(None), 1 << 80));
        assert_eq!(bench.status(), Status::Cancelled);
    }
}

#[test]
fn only_its_rider_delivers_and_not_in_the_future() {
    let mut bench = Bench::in_status(Status::Delivering, true).unwrap();
    let refusal = refused(&mut bench, by(OperatorKind::Rider, "r2", deliver(), 1 << 80));
    assert_eq!(refusal, Refusal::Mismatch { field: "rider".into(), given: "r2".into(), expected: "r1".into() });
    let late = Action::Deliver { at: Some(UnixMillis(T0 + 60_001)), sent: None, proof: None };
    assert_eq!(refused(&mut bench, by(OperatorKind::Rider, "r1", late, 2 << 80)).field_name(), "at_ms");
    // Before the rider had it: as soon as they had it.
    let early = Action::Deliver { at: Some(UnixMillis(0)), sent: None, proof: None };
    bench.send(by(OperatorKind::Rider, "r1", early, 3 << 80));
    assert_eq!(bench.order().live.completed_at, Some(UnixMillis(T0)));
}

#[test]
fn unpaid_orders_expire_by_their_own_timer_only() {
    let mut bench = Bench::in_status(Status::PendingPayment, false).unwrap();
    let timer = |n| OrderInput::Timer { kind: TimerKind::Unpaid, n };
    let due = T0 + Rules::default().unpaid_ms;
    let before = bench.order().clone();
    assert_eq!(bench.apply(&timer(2), due), (false, vec![]), "nobody set it");
    assert_eq!(*bench.order(), before);
    // Early: nothing but a new number, since the old one's subject is used up.
    let (changed, out) = bench.apply(&timer(1), due - 1);
    let again = Effect::SetTimer { kind: TimerKind::Unpaid, n: 2, due: UnixMillis(due) };
    assert_eq!((changed, out), (true, vec![again]));
    assert_eq!((bench.order().version, bench.status()), (1, Status::PendingPayment));
    assert_eq!(bench.apply(&timer(1), due), (false, vec![]), "out of date");
    let (_, out) = bench.apply(&timer(2), due);
    assert!(out.contains(&Effect::Finish) && out.contains(&Effect::ClearTimer { kind: TimerKind::Unpaid }));
    let live = &bench.order().live;
    assert_eq!((live.status, live.rev, bench.order().version), (Status::Cancelled, 1, 2));
    assert_eq!(live.cancel_reason.as_deref(), Some("unpaid"));
    assert_eq!(bench.apply(&timer(2), due), (false, vec![]), "twice");

    let mut paid = Bench::in_status(Status::Paid, false).unwrap();
    let before = paid.order().clone();
    assert_eq!(paid.apply(&timer(1), due), (false, vec![]));
    assert_eq!(*paid.order(), before);
}

#[test]
fn the_memory_of_commands_is_bounded() {
    let mut bench = Bench::in_status(Status::Paid, true).unwrap();
    // The shop's system runs wild; operations can still act, until they do the same.
    let shop = |key| by(OperatorKind::System, "shop", Action::Pay, key);
    for key in 1_000..3_000 {
        bench.send(shop(key));
    }
    assert_eq!(bench.send(shop(1)).0, bench.order().answers[0].1, "known keys still answer");
    assert_eq!(bench.send(shop(3_000)).0, Answer::Refused(Refusal::TooManyCommands { limit: 896 }));
    assert!(matches!(bench.command(assign(2)), Answer::Accepted(_)));
    while bench.order().answers.len() < MAX_KEYS {
        bench.command(Action::Pay);
    }
    let before = bench.order().clone();
    let refusal = Refusal::TooManyCommands { limit: 1_024 };
    assert_eq!(bench.command(cancel(None)), Answer::Refused(refusal));
    assert_eq!(*bench.order(), before);
    assert!(
        matches!(bench.send(command(Action::Create(facts()), 1)).0, Answer::Accepted(_)),
        "known keys still answer"
    );
}
