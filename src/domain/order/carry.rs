//! An order in a rider's hands: assigned, taken off, delivered, cancelled, moved by fixes.

use super::{FixInput, Order, Proof, watch::Cause};
use crate::domain::{
    command::{Operator, OperatorKind, Refusal},
    effect::{CarryChange, Effect, Handover, RowFix, RowKind, TimerKind},
    fix::{Mark, Verdict, clock_offset},
    ids::RiderId,
    rules::{MAX_STOPS, Rules},
    status::{Event, Stage, Status},
    time::UnixMillis,
    track::Inserted,
};

impl Order {
    pub(super) fn assign(
        &mut self,
        rider: &RiderId,
        handover: Option<&Handover>,
        by: &Operator,
        (at, rules): (UnixMillis, &Rules),
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
        self.change(RowKind::Assign, by, (at, rules), Some(rider.as_str()), out, |live| {
            live.status = status;
            live.rider = Some(rider.clone());
            live.position = position;
            live.stops_ahead = Some(stops_ahead);
            live.depart_if_ready(at);
        });
        out.push(Effect::Carry(CarryChange::Start { rider: rider.clone(), from: at, stops_ahead }));
        Ok(())
    }

    pub(super) fn unassign(
        &mut self,
        by: &Operator,
        (at, rules): (UnixMillis, &Rules),
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Unassign)?;
        if self.live.rider.is_none() {
            return Err(Refusal::field("rider", "no rider is assigned"));
        }
        self.change(RowKind::Unassign, by, (at, rules), None, out, |live| {
            live.status = status;
            live.leave_rider();
        });
        self.carried_since = None;
        out.push(Effect::Carry(CarryChange::End { to: at }));
        Ok(())
    }

    /// The cell's own assignment. Whoever ends the shift must have empty hands: an order that the next rider can't take
    /// is left without one.
    pub(super) fn give(
        &mut self,
        rider: &RiderId,
        of: Option<&RiderId>,
        handover: &Handover,
        by: &Operator,
        when: (UnixMillis, &Rules),
        out: &mut Vec<Effect>,
    ) -> bool {
        if self.live.rider.as_ref() != of {
            return false;
        }
        self.assign(rider, Some(handover), by, when, out).or_else(|_| self.unassign(by, when, out)).is_ok()
    }

    /// The trip changed. No command: a version and a history line, no rev.
    pub(super) fn stops(
        &mut self,
        rider: &RiderId,
        stops_ahead: u16,
        when: (UnixMillis, &Rules),
        out: &mut Vec<Effect>,
    ) -> bool {
        let live = &self.live;
        if live.status.is_final() || live.rider.as_ref() != Some(rider) || live.stops_ahead == Some(stops_ahead) {
            return false;
        }
        self.advance(when, Cause::Change, out, |live| live.stops_ahead = Some(stops_ahead));
        out.push(Effect::Row(Box::new(self.row(RowKind::Stops, &Operator::dispatch(), when.0))));
        true
    }

    pub(super) fn deliver(
        &mut self,
        proof: Option<&Proof>,
        (device_at, sent): (Option<UnixMillis>, Option<UnixMillis>),
        by: &Operator,
        at: UnixMillis,
        rules: &Rules,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Deliver)?;
        self.check_carrier(by)?;
        let when = self.happened(device_at, sent, at, rules)?;
        let note = proof.map(ToString::to_string);
        self.change(RowKind::Deliver, by, (at, rules), note.as_deref(), out, |live| {
            live.status = status;
            live.completed_at = Some(when);
            live.hide_rider();
            if let Some(proof) = proof {
                live.circumstances_mut().proof = Some(proof.clone());
            }
        });
        out.push(Effect::Carry(CarryChange::End { to: when }));
        out.push(Effect::Finish);
        Ok(())
    }

    /// There is a rider, and a rider who says something of the order is that one.
    pub(super) fn check_carrier(&self, by: &Operator) -> Result<(), Refusal> {
        let Some(rider) = &self.live.rider else {
            return Err(Refusal::field("rider", "no rider is assigned"));
        };
        if by.kind == OperatorKind::Rider && *by.id != *rider.as_str() {
            let (given, expected) = (by.id.as_ref().to_owned(), rider.as_str().to_owned());
            return Err(Refusal::Mismatch { field: "rider".into(), given, expected });
        }
        Ok(())
    }

    /// When something happened by its sender's clock, as far as that is possible.
    pub(super) fn happened(
        &self,
        device_at: Option<UnixMillis>,
        sent: Option<UnixMillis>,
        at: UnixMillis,
        rules: &Rules,
    ) -> Result<UnixMillis, Refusal> {
        let when = device_at.map_or(at, |t| t.plus(clock_offset(sent, at, 0, rules.clock_tolerance_ms)));
        if when.since(at) > rules.future_ms {
            return Err(Refusal::field("at_ms", "lies in the future"));
        }
        // A phone's clock may be off by less than what is corrected: never before the rider had it, never after now.
        Ok(when.max(self.carried_since.unwrap_or(when)).min(at))
    }

    pub(super) fn cancel(
        &mut self,
        reason: Option<&str>,
        by: &Operator,
        at: UnixMillis,
        rules: &Rules,
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
        self.change(RowKind::Cancel, by, (at, rules), reason, out, |live| {
            live.status = status;
            live.cancelled_at = Some(at);
            live.cancel_reason = reason.map(str::to_owned);
            live.hide_rider();
        });
        self.clear_timer(TimerKind::Unpaid, out);
        if carried {
            self.carried_since = None;
            out.push(Effect::Carry(CarryChange::End { to: at }));
        } else if rules.dispatches() && self.live.stage.is_some_and(Stage::picking_complete) {
            out.push(Effect::Carry(CarryChange::Rest));
        }
        out.push(Effect::Finish);
        Ok(())
    }

    pub(super) fn fix(&mut self, input: &FixInput, at: UnixMillis, rules: &Rules, out: &mut Vec<Effect>) -> bool {
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
        let theirs = !self.live.status.is_final() && self.live.rider.as_ref() == Some(rider);
        // The live position only moves forward in fix time, and only with the rider who has the order now.
        let moves = live.filter(|new| theirs && self.live.position.is_none_or(|old| old.fix_time < new.fix_time));
        if moves.is_some() || (theirs && self.hears(*fix_time)) {
            let seen = FixInput { live: moves, ..input.clone() };
            self.advance((at, rules), Cause::Fix(&seen), out, |live| {
                if let Some(new) = moves {
                    live.position = Some(new);
                    live.stops_ahead = Some(*stops_ahead);
                }
            });
        } else if mark == Mark::Good && self.asks_for_place(*fix_time, rules) {
            self.advance((at, rules), Cause::Change, out, |_| {});
        }
        let mut row = self.row(RowKind::Fix, &Operator::rider(rider), at);
        row.point = Some(fix.point);
        row.fix = Some(RowFix { rider: rider.clone(), fix: *fix, fix_time: *fix_time, sent_time: *sent_time, mark });
        out.push(Effect::Row(Box::new(row)));
        out.extend(revised.into_iter().map(|r| Effect::Revise(Box::new(r))));
        out.extend(counted.then_some(Effect::Verdict(Verdict::Kept(mark))));
        true
    }
}
