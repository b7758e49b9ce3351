//! How a change of an order is made and recorded: one version, one history line, timers that are set once.

use super::{
    state::{Facts, Live, Order},
    watch::Cause,
};
use crate::domain::{
    alert::{AlertChange, AlertState},
    command::{Accepted, Operator, Refusal},
    effect::{Change, Effect, Row, RowKind, TimerKind},
    rules::Rules,
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
        (at, rules): (UnixMillis, &Rules),
        note: Option<&str>,
        out: &mut Vec<Effect>,
        change: impl FnOnce(&mut Live),
    ) {
        let rider_at = self.live.position.map(|p| p.point);
        self.advance((at, rules), Cause::Change, out, |live| {
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
    pub(super) fn advance(
        &mut self,
        when: (UnixMillis, &Rules),
        cause: Cause<'_>,
        out: &mut Vec<Effect>,
        change: impl FnOnce(&mut Live),
    ) -> bool {
        let facts = self.facts.clone();
        self.advance_to(facts, when, cause, out, change)
    }

    /// The same, with facts that an edit changed. Whatever follows from the change is in the same version.
    pub(super) fn advance_to(
        &mut self,
        facts: Arc<Facts>,
        (at, rules): (UnixMillis, &Rules),
        cause: Cause<'_>,
        out: &mut Vec<Effect>,
        change: impl FnOnce(&mut Live),
    ) -> bool {
        let before = (std::mem::replace(&mut self.facts, facts), self.live.clone());
        change(&mut self.live);
        let mut alerts = self.look((&before.0, &before.1), at, rules, cause, out);
        self.tell_notes(&mut alerts);
        if self.live == before.1 && Arc::ptr_eq(&self.facts, &before.0) {
            return false;
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
        out.extend(alerts.into_iter().map(|change| Effect::Alert(Box::new(change))));
        true
    }

    /// Lets alerts' changes tell what was written to them, and forgets it with alerts that are cleared.
    fn tell_notes(&mut self, changes: &mut [AlertChange]) {
        // The common case: nobody wrote anything.
        if self.notes.is_empty() {
            return;
        }
        for change in changes {
            let noted = self.notes.iter().position(|(n, _)| *n == change.alert.n);
            change.note = noted.map(|i| Arc::clone(&self.notes[i].1));
            if let (Some(i), AlertState::Cleared) = (noted, change.alert.state) {
                self.notes.remove(i);
            }
        }
    }

    /// Completes the history lines of an input: its first tells the arrival time that clients were told with it; behind
    /// them comes a line for each alert.
    pub(super) fn complete_lines(&self, since: usize, out: &mut Vec<Effect>) {
        let mut told = None;
        for i in since..out.len() {
            if let Some(Effect::Change(change)) = out.get(i) {
                let eta = |live: &Live| live.outlook.as_ref().and_then(|outlook| outlook.eta);
                let before = change.before.as_ref().and_then(|(_, live)| eta(live));
                told = eta(&change.after.1).filter(|new| before.as_ref() != Some(new));
            }
            // Of a note that was taken, the command's own line tells.
            let Some(Effect::Alert(change)) = out.get(i) else { continue };
            if change.alert.state == AlertState::Acknowledged {
                continue;
            }
            let mut row = self.row(RowKind::Alert, &Operator::watch(), change.at);
            row.note = Some(change.alert.line());
            row.point = change.alert.evidence.fixes.last().map(|fix| fix.point);
            out.push(Effect::Row(Box::new(row)));
        }
        let first = out.iter_mut().skip(since).find_map(|e| if let Effect::Row(row) = e { Some(row) } else { None });
        if let Some(row) = first {
            row.eta = told;
        }
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
                | RowKind::Alert
                | RowKind::Acknowledge
                | RowKind::Route => None,
            },
            fix: None,
            eta: None,
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
