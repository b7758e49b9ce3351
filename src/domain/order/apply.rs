//! What each input does to an order. Pure: state, input and time in; effects out. A refused input changes nothing but
//! the memory of its idempotency key.

use super::state::{Facts, Live, Order};
use crate::domain::{
    command::{Action, Answer, Command, KeyId, Operator, OperatorKind, Refusal},
    effect::{CarryChange, Change, Effect, Handover, RowFix, RowKind, Task, TimerKind},
    fix::{Fix, Position, Verdict, clock_offset},
    ids::{OrderId, RiderId, WarehouseId},
    rules::Rules,
    status::{Event, Stage, Status, transition},
    time::UnixMillis,
    track::{Inserted, Track},
};
use std::sync::Arc;

/// Most orders in one rider's hands. Every fix goes to all of them, so this bounds what a fix can cost.
pub const MAX_STOPS: usize = 50;

/// Most idempotency outcomes that one order keeps.
pub const MAX_KEYS: usize = 1_024;
/// Of these, so many are kept for riders and operations.
const RESERVED_KEYS: usize = 128;

/// What reaches one order.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderInput {
    /// With the taker-over's state where the command assigns a rider.
    Command {
        command: Command,
        handover: Option<Handover>,
    },
    Stage {
        warehouse: WarehouseId,
        stage: Stage,
    },
    Fix(FixInput),
    Timer {
        kind: TimerKind,
        n: u32,
    },
}

/// A fix of the rider who carried the order at its fix time.
#[derive(Clone, Debug, PartialEq)]
pub struct FixInput {
    pub rider: RiderId,
    pub fix: Fix,
    /// Corrected.
    pub fix_time: UnixMillis,
    pub sent_time: Option<UnixMillis>,
    /// Where the rider is shown after it, if it moved the rider on.
    pub live: Option<Position>,
    /// Stops before this order's.
    pub stops_ahead: u16,
    /// Set for one of the orders that the fix goes to: its verdict is the fix's, so that nothing is counted twice.
    pub counted: bool,
}

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
            OrderInput::Command { .. } | OrderInput::Stage { .. } => {
                out.push(Effect::Answer(Answer::Refused(Refusal::UnknownOrder)));
                false
            }
            OrderInput::Fix(_) | OrderInput::Timer { .. } => false,
        };
    };
    match input {
        OrderInput::Command { command, handover } => order.command(command, handover.as_ref(), at, rules, out),
        OrderInput::Stage { warehouse, stage } => match order.stage(warehouse, *stage, at, out) {
            Ok(changed) => {
                out.push(Effect::Answer(Answer::Accepted(order.accepted())));
                changed
            }
            Err(refusal) => {
                out.push(Effect::Answer(Answer::Refused(refusal)));
                false
            }
        },
        OrderInput::Fix(fix) => order.fix(fix, at, rules, out),
        OrderInput::Timer { kind, n } => order.timer(*kind, *n, at, out),
    }
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
    let live = Live {
        status: Status::PendingPayment,
        rev: 1,
        stage: None,
        rider: None,
        position: None,
        stops_ahead: None,
        created_at: at,
        paid_at: None,
        departed_at: None,
        completed_at: None,
        cancelled_at: None,
        cancel_reason: None,
    };
    let mut order = Order {
        id: id.clone(),
        version: 1,
        facts: facts.clone(),
        live,
        updated_at: at,
        carried_since: None,
        answers: Vec::new(),
        timers: Vec::new(),
        timers_set: 0,
        tasks: 0,
        track: Track::default(),
    };
    out.push(Effect::Register);
    order.set_timer(TimerKind::Unpaid, at.plus(rules.unpaid_ms), out);
    out.push(Effect::Row(Box::new(order.row(RowKind::Create, by, at))));
    let after = (order.facts.clone(), order.live.clone());
    out.push(Effect::Change(Box::new(Change { from: 0, to: 1, at, before: None, after })));
    let answer = Answer::Accepted(order.accepted());
    order.answers.push((key, answer.clone()));
    out.push(Effect::Answer(answer));
    order
}

impl Order {
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
        Command { action, if_rev, by, .. }: &Command,
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
                self.change(RowKind::Pay, by, at, None, out, |live| {
                    live.status = status;
                    live.paid_at = Some(at);
                });
                self.clear_timer(TimerKind::Unpaid, out);
                self.tasks += 1;
                let (warehouse, items) = (self.facts.warehouse.id.clone(), self.facts.items);
                out.push(Effect::Task(Task { warehouse, n: self.tasks, items }));
                Ok(())
            }
            Action::Cancel { reason } => self.cancel(reason.as_deref(), by, at, out),
            Action::Assign { rider } => self.assign(rider, handover, by, at, out),
            Action::Unassign => {
                let status = self.next_status(Event::Unassign)?;
                if self.live.rider.is_none() {
                    return Err(Refusal::field("rider", "no rider is assigned"));
                }
                self.change(RowKind::Unassign, by, at, None, out, |live| {
                    live.status = status;
                    live.leave_rider();
                });
                self.carried_since = None;
                out.push(Effect::Carry(CarryChange::End { to: at }));
                Ok(())
            }
            Action::Deliver { at: device_at, sent } => {
                let when = device_at.map_or(at, |t| t.plus(clock_offset(*sent, at, 0, rules.clock_tolerance_ms)));
                self.deliver(when, by, at, rules, out)
            }
        }
    }

    fn cancel(
        &mut self,
        reason: Option<&str>,
        by: &Operator,
        at: UnixMillis,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Cancel)?;
        if self.live.status == Status::Delivering {
            if by.kind != OperatorKind::Operations {
                return Err(Refusal::field("publisher", "only operations may cancel an order that is being delivered"));
            }
            if reason.is_none_or(|r| r.trim().is_empty()) {
                return Err(Refusal::field("reason", "is needed to cancel an order that is being delivered"));
            }
        }
        let carried = self.live.rider.is_some();
        self.change(RowKind::Cancel, by, at, reason, out, |live| {
            live.status = status;
            live.cancelled_at = Some(at);
            live.cancel_reason = reason.map(str::to_owned);
            live.hide_rider();
        });
        self.clear_timer(TimerKind::Unpaid, out);
        if carried {
            self.carried_since = None;
            out.push(Effect::Carry(CarryChange::End { to: at }));
        }
        out.push(Effect::Finish);
        Ok(())
    }

    fn assign(
        &mut self,
        rider: &RiderId,
        handover: Option<&Handover>,
        by: &Operator,
        at: UnixMillis,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Assign)?;
        if self.live.rider.as_ref() == Some(rider) {
            return Ok(());
        }
        let Handover { position, quality, stops_ahead } =
            handover.cloned().unwrap_or(Handover { position: None, quality: Default::default(), stops_ahead: 0 });
        if usize::from(stops_ahead) >= MAX_STOPS {
            return Err(Refusal::field("rider", format!("carries {MAX_STOPS} orders, which is the limit")));
        }
        if !self.track.begin_turn(rider, at, quality) {
            return Err(Refusal::field("rider", "the order has had too many riders"));
        }
        self.carried_since = Some(at);
        self.change(RowKind::Assign, by, at, Some(rider.as_str()), out, |live| {
            live.status = status;
            live.rider = Some(rider.clone());
            live.position = position;
            live.stops_ahead = Some(stops_ahead);
            live.depart_if_ready(at);
        });
        out.push(Effect::Carry(CarryChange::Start { rider: rider.clone(), from: at }));
        Ok(())
    }

    fn deliver(
        &mut self,
        when: UnixMillis,
        by: &Operator,
        at: UnixMillis,
        rules: &Rules,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Deliver)?;
        let Some(rider) = &self.live.rider else {
            return Err(Refusal::field("rider", "no rider is assigned"));
        };
        if by.kind == OperatorKind::Rider && *by.id != *rider.as_str() {
            let (given, expected) = (by.id.as_ref().to_owned(), rider.as_str().to_owned());
            return Err(Refusal::Mismatch { field: "rider".into(), given, expected });
        }
        if when.since(at) > rules.future_ms {
            return Err(Refusal::field("at_ms", "lies in the future"));
        }
        // A phone's clock may be off by less than what is corrected: never before the rider had it, never after now.
        let when = when.max(self.carried_since.unwrap_or(when)).min(at);
        self.change(RowKind::Deliver, by, at, None, out, |live| {
            live.status = status;
            live.completed_at = Some(when);
            live.hide_rider();
        });
        out.push(Effect::Carry(CarryChange::End { to: when }));
        out.push(Effect::Finish);
        Ok(())
    }

    fn stage(
        &mut self,
        warehouse: &WarehouseId,
        stage: Stage,
        at: UnixMillis,
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
        self.change(RowKind::Stage, &Operator::warehouse(warehouse), at, None, out, |live| {
            live.status = status;
            live.stage = Some(stage);
            live.depart_if_ready(at);
        });
        Ok(true)
    }

    fn fix(&mut self, input: &FixInput, at: UnixMillis, rules: &Rules, out: &mut Vec<Effect>) -> bool {
        let FixInput { rider, fix, fix_time, sent_time, live, stops_ahead, counted } = input;
        let (mark, revised) = match self.track.insert(rider, *fix, *fix_time, rules) {
            Inserted::New { mark, revised } => (mark, revised),
            Inserted::Full => {
                out.extend(counted.then_some(Effect::Verdict(Verdict::TrackFull)));
                return false;
            }
            Inserted::Duplicate { revised } => {
                let changed = !revised.is_empty();
                out.extend(counted.then_some(Effect::Verdict(Verdict::Duplicate)));
                out.extend(revised.into_iter().map(|r| Effect::Revise(Box::new(r))));
                return changed;
            }
        };
        // The live position only moves forward in fix time, and only with the rider who has the order now.
        let moves = live.filter(|new| {
            !self.live.status.is_final()
                && self.live.rider.as_ref() == Some(rider)
                && self.live.position.is_none_or(|old| old.fix_time < new.fix_time)
        });
        if let Some(new) = moves {
            self.advance(at, out, |live| {
                live.position = Some(new);
                live.stops_ahead = Some(*stops_ahead);
            });
        }
        let mut row = self.row(RowKind::Fix, &Operator::rider(rider), at);
        row.point = Some(fix.point);
        row.fix = Some(RowFix { rider: rider.clone(), fix: *fix, fix_time: *fix_time, sent_time: *sent_time, mark });
        out.push(Effect::Row(Box::new(row)));
        out.extend(revised.into_iter().map(|r| Effect::Revise(Box::new(r))));
        out.extend(counted.then_some(Effect::Verdict(Verdict::Kept(mark))));
        true
    }

    fn timer(&mut self, kind: TimerKind, n: u32, at: UnixMillis, out: &mut Vec<Effect>) -> bool {
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
                    self.advance(at, out, |live| {
                        live.status = status;
                        live.cancelled_at = Some(at);
                        live.cancel_reason = Some("unpaid".into());
                    });
                    out.push(Effect::Row(Box::new(self.row(RowKind::Timer, &Operator::timer(), at))));
                    out.push(Effect::Finish);
                }
            }
        }
        true
    }
}
