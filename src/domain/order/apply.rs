//! What each input does to an order. Pure: state, input and time in; effects out. A refused input changes nothing but
//! the memory of its idempotency key.

use super::{
    OrderInput,
    state::{Facts, Live, Order},
    watch::Cause,
};
use crate::domain::{
    command::{Action, Answer, Command, KeyId, Operator, OperatorKind, Refusal},
    effect::{CarryChange, Change, Effect, Handover, RowKind, Task, TimerKind},
    ids::{OrderId, WarehouseId},
    rules::Rules,
    status::{Event, Stage, transition},
    time::UnixMillis,
    track::Track,
};
use std::sync::Arc;

/// Most idempotency outcomes that one order keeps.
pub const MAX_KEYS: usize = 1_024;
/// Of these, so many are kept for riders and operations.
const RESERVED_KEYS: usize = 128;

/// Applies one input at cell time `at`. Gives whether the state changed in any way, so that it has to be stored.
pub fn apply(
    slot: &mut Option<Order>,
    id: &OrderId,
    input: &OrderInput,
    at: UnixMillis,
    rules: &Rules,
    out: &mut Vec<Effect>,
) -> bool {
    let Some(order) = slot else {
        return match input {
            OrderInput::Command { command: Command { action: Action::Create(facts), key, by, .. }, .. } => {
                *slot = Some(create(id, facts, *key, by, at, rules, out));
                true
            }
            OrderInput::Command { .. } | OrderInput::Stage { .. } | OrderInput::Route(_) => {
                out.push(Effect::Answer(Answer::Refused(Refusal::UnknownOrder)));
                false
            }
            OrderInput::Fix(_) | OrderInput::Timer { .. } | OrderInput::Give { .. } | OrderInput::Stops { .. } => false,
        };
    };
    let before = out.len();
    let changed = match input {
        OrderInput::Command { command, handover } => order.command(command, handover.as_ref(), at, rules, out),
        OrderInput::Stage { warehouse, stage } => {
            let done = order.stage(warehouse, *stage, at, rules, out);
            order.answer(done, out)
        }
        OrderInput::Route(found) => {
            let done = order.take_route(found, (at, rules), out).map(|()| true);
            order.answer(done, out)
        }
        OrderInput::Fix(fix) => order.fix(fix, at, rules, out),
        OrderInput::Timer { kind, n } => order.timer(*kind, *n, at, rules, out),
        OrderInput::Give { rider, of, handover, by } => order.give(rider, of.as_ref(), handover, by, (at, rules), out),
        OrderInput::Stops { rider, stops_ahead } => order.stops(rider, *stops_ahead, (at, rules), out),
    };
    order.complete_lines(before, out);
    changed
}

fn create(
    id: &OrderId,
    facts: &Arc<Facts>,
    key: KeyId,
    by: &Operator,
    at: UnixMillis,
    rules: &Rules,
    out: &mut Vec<Effect>,
) -> Order {
    let mut order = Order {
        id: id.clone(),
        version: 1,
        facts: facts.clone(),
        live: Live::new(at),
        updated_at: at,
        carried_since: None,
        answers: Vec::new(),
        timers: Vec::new(),
        timers_set: 0,
        tasks: 0,
        watch: None,
        track: Track::default(),
        notes: Vec::new(),
    };
    out.push(Effect::Register);
    order.set_timer(TimerKind::Unpaid, at.plus(rules.unpaid_ms), out);
    order.seek_route(rules, out);
    out.push(Effect::Row(Box::new(order.row(RowKind::Create, by, at))));
    let after = (order.facts.clone(), order.live.clone());
    out.push(Effect::Change(Box::new(Change { from: 0, to: 1, at, before: None, after })));
    let answer = Answer::Accepted(order.accepted());
    order.answers.push((key, answer.clone()));
    out.push(Effect::Answer(answer));
    order
}

impl Order {
    /// Answers an input that has no key; gives whether it changed anything.
    fn answer(&self, done: Result<bool, Refusal>, out: &mut Vec<Effect>) -> bool {
        let (answer, changed) = match done {
            Ok(changed) => (Answer::Accepted(self.accepted()), changed),
            Err(refusal) => (Answer::Refused(refusal), false),
        };
        out.push(Effect::Answer(answer));
        changed
    }

    fn command(
        &mut self,
        command: &Command,
        handover: Option<&Handover>,
        at: UnixMillis,
        rules: &Rules,
        out: &mut Vec<Effect>,
    ) -> bool {
        if let Some((_, answer)) = self.answers.iter().find(|(key, _)| *key == command.key) {
            out.push(Effect::Answer(answer.clone()));
            return false;
        }
        // A party that goes on and on must not keep the rider and operations from bringing the order to its end.
        let reserved = match command.by.kind {
            OperatorKind::Rider | OperatorKind::Operations => 0,
            OperatorKind::Warehouse | OperatorKind::System => RESERVED_KEYS,
        };
        if self.answers.len() >= MAX_KEYS - reserved {
            let limit = u32::try_from(MAX_KEYS - reserved).unwrap_or(u32::MAX);
            out.push(Effect::Answer(Answer::Refused(Refusal::TooManyCommands { limit })));
            return false;
        }
        let answer = match self.decide(command, handover, at, rules, out) {
            Ok(()) => Answer::Accepted(self.accepted()),
            Err(refusal) => Answer::Refused(refusal),
        };
        self.answers.push((command.key, answer.clone()));
        out.push(Effect::Answer(answer));
        true
    }

    /// Everything is checked before anything is changed.
    fn decide(
        &mut self,
        Command { action, if_rev, by, key, needs: _ }: &Command,
        handover: Option<&Handover>,
        at: UnixMillis,
        rules: &Rules,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if let Some(given) = if_rev.filter(|rev| *rev != self.live.rev) {
            return Err(Refusal::RevConflict { given, current: self.live.rev });
        }
        match action {
            Action::Create(_) => Err(Refusal::OrderExists),
            Action::Pay => {
                let status = self.next_status(Event::Pay)?;
                self.change(RowKind::Pay, by, (at, rules), None, out, |live| {
                    live.status = status;
                    live.paid_at = Some(at);
                });
                self.clear_timer(TimerKind::Unpaid, out);
                self.tasks += 1;
                let (warehouse, items) = (self.facts.warehouse.id.clone(), self.facts.items);
                out.push(Effect::Task(Task { warehouse, n: self.tasks, items }));
                Ok(())
            }
            Action::Cancel { reason } => self.cancel(reason.as_deref(), by, at, rules, out),
            Action::Assign { rider } => self.assign(rider, handover, by, (at, rules), out),
            Action::Unassign => self.unassign(by, (at, rules), out),
            Action::Deliver { at: device_at, sent, proof } => {
                self.deliver(proof.as_deref(), (*device_at, *sent), by, at, rules, out)
            }
            Action::Fail { reason, at: device_at, sent } => self.fail(reason, (*device_at, *sent), by, at, rules, out),
            Action::Return { reason, at: device_at, sent } => {
                self.give_back(reason, (*device_at, *sent), by, at, rules, out)
            }
            Action::Missing(missing) => self.missing(missing, by, (at, rules), out),
            Action::Edit(edit) => self.edit(edit, *key, by, (at, rules), out),
            Action::Acknowledge { alert, note } => self.acknowledge(*alert, note.as_ref(), by, (at, rules), out),
        }
    }

    fn stage(
        &mut self,
        warehouse: &WarehouseId,
        stage: Stage,
        at: UnixMillis,
        rules: &Rules,
        out: &mut Vec<Effect>,
    ) -> Result<bool, Refusal> {
        if *warehouse != self.facts.warehouse.id {
            let expected = self.facts.warehouse.id.as_str().to_owned();
            return Err(Refusal::Mismatch {
                field: "warehouse".into(),
                given: warehouse.as_str().to_owned(),
                expected,
            });
        }
        if self.live.stage == Some(stage) {
            return Ok(false);
        }
        let status = self.next_status(Event::Stage)?;
        if let Some(current) = self.live.stage.filter(|current| *current > stage) {
            return Err(Refusal::StageBack { given: stage, current });
        }
        let was_complete = self.live.stage.is_some_and(Stage::picking_complete);
        self.change(RowKind::Stage, &Operator::warehouse(warehouse), (at, rules), None, out, |live| {
            live.status = status;
            live.stage = Some(stage);
            live.depart_if_ready(at);
        });
        if rules.dispatches() && stage.picking_complete() && !was_complete && self.live.rider.is_none() {
            out.push(Effect::Carry(CarryChange::Seek { from: self.facts.warehouse.point }));
        }
        Ok(true)
    }

    fn timer(&mut self, kind: TimerKind, n: u32, at: UnixMillis, rules: &Rules, out: &mut Vec<Effect>) -> bool {
        let Some(due) = self.timers.iter().find(|t| t.0 == kind && t.1 == n).map(|t| t.2) else {
            return false;
        };
        if at < due {
            // Fired by a clock that ran ahead of the log's: its subject is used up, so it is set again under a new one.
            self.set_timer(kind, due, out);
            return true;
        }
        self.clear_timer(kind, out);
        match kind {
            TimerKind::Unpaid => {
                if let Some(status) = transition(self.live.status, Event::Expire) {
                    self.advance((at, rules), Cause::Timer(kind, due), out, |live| {
                        live.status = status;
                        live.cancelled_at = Some(at);
                        live.cancel_reason = Some("unpaid".into());
                    });
                    out.push(Effect::Row(Box::new(self.row(RowKind::Timer, &Operator::timer(), at))));
                    out.push(Effect::Finish);
                }
            }
            TimerKind::Late | TimerKind::LateRisk | TimerKind::StageOverdue | TimerKind::SignalLost => {
                // Most only look whether it is so far, and are set again.
                if self.advance((at, rules), Cause::Timer(kind, due), out, |_| {}) {
                    out.push(Effect::Row(Box::new(self.row(RowKind::Timer, &Operator::timer(), at))));
                }
            }
        }
        true
    }
}
