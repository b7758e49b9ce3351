//! Commands for what happens in life beside the straight way: failed attempts, returns, missing items, edits.

use super::{Edit, Facts, Missing, Order, watch::Cause};
use crate::domain::{
    command::{KeyId, Operator, OperatorKind, Refusal},
    effect::{CarryChange, Effect, RowKind},
    rules::Rules,
    status::{Event, Stage},
    time::UnixMillis,
};
use std::sync::Arc;

impl Order {
    /// The order stays with its rider.
    pub(super) fn fail(
        &mut self,
        reason: &str,
        (device_at, sent): (Option<UnixMillis>, Option<UnixMillis>),
        by: &Operator,
        at: UnixMillis,
        rules: &Rules,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Fail)?;
        match by.kind {
            OperatorKind::Rider | OperatorKind::Operations | OperatorKind::System => self.check_carrier(by)?,
            OperatorKind::Warehouse => return Err(only("riders, operations and the order system", "say so")),
        }
        check_reason(reason)?;
        let when = self.happened(device_at, sent, at, rules)?;
        self.change(RowKind::Fail, by, (at, rules), Some(reason), out, |live| {
            live.status = status;
            let circumstances = live.circumstances_mut();
            circumstances.attempts = circumstances.attempts.saturating_add(1);
            circumstances.attempt_reason = Some(reason.to_owned());
            circumstances.attempted_at = Some(when);
        });
        Ok(())
    }

    /// The goods go back and the order ends, marked as returned.
    pub(super) fn give_back(
        &mut self,
        reason: &str,
        (device_at, sent): (Option<UnixMillis>, Option<UnixMillis>),
        by: &Operator,
        at: UnixMillis,
        rules: &Rules,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Return)?;
        match by.kind {
            OperatorKind::Rider => self.check_carrier(by)?,
            OperatorKind::Operations => {}
            OperatorKind::Warehouse | OperatorKind::System => {
                return Err(only("riders and operations", "return goods"));
            }
        }
        check_reason(reason)?;
        let when = self.happened(device_at, sent, at, rules)?;
        let carried = self.live.rider.is_some();
        self.change(RowKind::Return, by, (at, rules), Some(reason), out, |live| {
            live.status = status;
            live.cancelled_at = Some(when);
            live.cancel_reason = Some(reason.to_owned());
            live.circumstances_mut().returned = true;
            live.hide_rider();
        });
        if carried {
            out.push(Effect::Carry(CarryChange::End { to: when }));
        }
        out.push(Effect::Finish);
        Ok(())
    }

    /// The last report counts: it says all that is missing.
    pub(super) fn missing(
        &mut self,
        missing: &Missing,
        by: &Operator,
        when: (UnixMillis, &Rules),
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Missing)?;
        match by.kind {
            OperatorKind::Rider => self.check_carrier(by)?,
            OperatorKind::Warehouse if *by.id != *self.facts.warehouse.id.as_str() => {
                let (given, expected) = (by.id.as_ref().to_owned(), self.facts.warehouse.id.as_str().to_owned());
                return Err(Refusal::Mismatch { field: "warehouse".into(), given, expected });
            }
            OperatorKind::Warehouse | OperatorKind::Operations | OperatorKind::System => {}
        }
        if missing.count > self.facts.items {
            let field = if missing.items.is_empty() { "count" } else { "items" };
            return Err(Refusal::field(field, format!("{} of {} items", missing.count, self.facts.items)));
        }
        self.change(RowKind::Missing, by, when, Some(&missing.to_string()), out, |live| {
            live.status = status;
            live.circumstances_mut().missing = Some(missing.clone());
        });
        Ok(())
    }

    /// Before the goods are handed over; afterwards the rider is on the way to where the order said.
    pub(super) fn edit(
        &mut self,
        edit: &Edit,
        key: KeyId,
        by: &Operator,
        (at, rules): (UnixMillis, &Rules),
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let status = self.next_status(Event::Edit)?;
        match by.kind {
            OperatorKind::Operations | OperatorKind::System => {}
            OperatorKind::Rider | OperatorKind::Warehouse => {
                return Err(only("operations and the order system", "edit an order"));
            }
        }
        if self.live.stage == Some(Stage::HandedOver) {
            return Err(Refusal::field("stage", "the order has been handed over, and can't be edited any more"));
        }
        let Edit { promise, destination, personal } = *edit;
        let moved = destination.filter(|to| *to != self.facts.destination);
        let promise = promise.filter(|promise| Some(*promise) != self.facts.promise);
        let mut facts = self.facts.clone();
        if moved.is_some() || promise.is_some() {
            let Facts { promise: kept_promise, destination: kept, route, .. } = &*self.facts;
            facts = Arc::new(Facts {
                promise: promise.or(*kept_promise),
                destination: moved.unwrap_or(*kept),
                route: route.clone().filter(|_| moved.is_none()),
                ..(*self.facts).clone()
            });
        }
        self.advance_to(facts, (at, rules), Cause::Change, out, |live| {
            live.rev += 1;
            live.status = status;
            let circumstances = live.circumstances_mut();
            circumstances.edited_at = Some(at);
            if personal {
                circumstances.personal = Some(key);
            }
        });
        let mut row = self.row(RowKind::Edit, by, at);
        row.note = Some(edit.to_string());
        out.push(Effect::Row(Box::new(row)));
        if moved.is_some() {
            self.seek_route(rules, out);
        }
        Ok(())
    }
}

impl Order {
    /// Operations take note of an alert. The same again changes nothing; what is cleared needs no note any more. Another note
    /// to what is acknowledged is refused: whoever wrote it must know that nobody will read it.
    pub(super) fn acknowledge(
        &mut self,
        alert: u32,
        note: Option<&Arc<str>>,
        by: &Operator,
        (at, rules): (UnixMillis, &Rules),
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        match by.kind {
            OperatorKind::Operations => {}
            OperatorKind::Rider | OperatorKind::Warehouse | OperatorKind::System => {
                return Err(only("operations", "acknowledge alerts"));
            }
        }
        match self.watch.as_ref().and_then(|watch| watch.desk.is_raised(alert)) {
            None => Err(Refusal::field("alert", format!("{alert} is no open alert of this order"))),
            // Notes come with rules version 4: what older logs hold is decided as ever.
            Some(false) if note.is_some_and(|note| !self.has_note(alert, note)) => {
                Err(Refusal::field("alert", format!("{alert} is acknowledged already; the note isn't kept")))
            }
            Some(false) => Ok(()),
            Some(true) => {
                self.notes.extend(note.map(|note| (alert, Arc::clone(note))));
                self.advance((at, rules), Cause::Acknowledged(alert, by), out, |live| live.rev += 1);
                let mut row = self.row(RowKind::Acknowledge, by, at);
                row.note = Some(note.map_or_else(|| alert.to_string(), |note| format!("{alert}: {note}")));
                out.push(Effect::Row(Box::new(row)));
                Ok(())
            }
        }
    }

    fn has_note(&self, alert: u32, note: &Arc<str>) -> bool {
        self.notes.iter().any(|(n, kept)| *n == alert && kept == note)
    }
}

fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() { Err(Refusal::field("reason", "is needed")) } else { Ok(()) }
}

fn only(who: &str, what: &str) -> Refusal {
    Refusal::field("publisher", format!("only {who} may {what}"))
}
