//! How a change of an order is made and recorded: one version, one history line, timers that are set once.

use super::state::{Facts, Live, Order};
use crate::domain::{
    command::{Accepted, Operator, Refusal},
    effect::{Change, Effect, Row, RowKind, TimerKind},
    status::{Event, Status, transition},
    time::UnixMillis,
};
use std::sync::Arc;

impl Order {
    pub(super) fn next_status(&self, event: Event) -> Result<Status, Refusal> {
        let status = self.live.status;
        transition(status, event).ok_or(Refusal::Transition { status, event })
    }

    /// A command's or a stage's change: a rev, a version, a history line.
    pub(super) fn change(
        &mut self,
        kind: RowKind,
        by: &Operator,
        at: UnixMillis,
        note: Option<&str>,
        out: &mut Vec<Effect>,
        change: impl FnOnce(&mut Live),
    ) {
        let rider_at = self.live.position.map(|p| p.point);
        self.advance(at, out, |live| {
            live.rev += 1;
            change(live);
        });
        let mut row = self.row(kind, by, at);
        row.note = note.map(str::to_owned);
        // Where the rider was, not where the order should have gone.
        if kind == RowKind::Deliver {
            row.point = rider_at;
        }
        out.push(Effect::Row(Box::new(row)));
    }

    /// One version further, if the published state changes at all.
    pub(super) fn advance(&mut self, at: UnixMillis, out: &mut Vec<Effect>, change: impl FnOnce(&mut Live)) {
        let facts = self.facts.clone();
        self.advance_to(facts, at, out, change);
    }

    /// The same, with facts that an edit changed.
    pub(super) fn advance_to(
        &mut self,
        facts: Arc<Facts>,
        at: UnixMillis,
        out: &mut Vec<Effect>,
        change: impl FnOnce(&mut Live),
    ) {
        let before = (std::mem::replace(&mut self.facts, facts), self.live.clone());
        change(&mut self.live);
        if self.live == before.1 && Arc::ptr_eq(&self.facts, &before.0) {
            return;
        }
        let from = self.version;
        self.version += 1;
        self.updated_at = at;
        out.push(Effect::Change(Box::new(Change {
            from,
            to: self.version,
            at,
            before: Some(before),
            after: (self.facts.clone(), self.live.clone()),
        })));
    }

    pub(super) fn row(&self, kind: RowKind, by: &Operator, at: UnixMillis) -> Row {
        Row {
            kind,
            version: self.version,
            rev: self.live.rev,
            status: self.live.status,
            stage: self.live.stage,
            by: by.clone(),
            at,
            point: match kind {
                RowKind::Stage => Some(self.facts.warehouse.point),
                RowKind::Deliver
                | RowKind::Create
                | RowKind::Pay
                | RowKind::Cancel
                | RowKind::Assign
                | RowKind::Unassign
                | RowKind::Fix
                | RowKind::Timer
                | RowKind::Fail
                | RowKind::Return
                | RowKind::Missing
                | RowKind::Edit
                | RowKind::Stops
                | RowKind::Route => None,
            },
            fix: None,
            note: None,
        }
    }

    pub(super) fn accepted(&self) -> Accepted {
        Accepted { version: self.version, rev: self.live.rev, status: self.live.status }
    }

    pub(super) fn set_timer(&mut self, kind: TimerKind, due: UnixMillis, out: &mut Vec<Effect>) {
        self.timers.retain(|t| t.0 != kind);
        self.timers_set += 1;
        self.timers.push((kind, self.timers_set, due));
        out.push(Effect::SetTimer { kind, n: self.timers_set, due });
    }

    pub(super) fn clear_timer(&mut self, kind: TimerKind, out: &mut Vec<Effect>) {
        let before = self.timers.len();
        self.timers.retain(|t| t.0 != kind);
        if self.timers.len() != before {
            out.push(Effect::ClearTimer { kind });
        }
    }
}
