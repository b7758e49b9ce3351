//! The open alerts of an order.

use crate::domain::{
    alert::{Alert, AlertChange, AlertKind, AlertState, Because, Evidence, OpenAlert},
    command::Operator,
    ids::RiderId,
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Desk {
    open: Vec<Alert>,
    /// Alerts raised so far, of all kinds: numbers are never used twice.
    raised: u32,
}

impl Desk {
    /// The open alert of a kind.
    pub(super) fn open(&self, kind: AlertKind) -> Option<&Alert> {
        self.open.iter().find(|alert| alert.kind == kind)
    }

    /// Whether there is an open one of this kind.
    pub(super) fn is_open(&self, kind: AlertKind) -> bool {
        self.open(kind).is_some()
    }

    pub(super) fn all(&self) -> &[Alert] {
        &self.open
    }

    /// As the published state shows them.
    pub(super) fn shown(&self) -> impl Iterator<Item = OpenAlert> {
        self.open.iter().map(Alert::open)
    }

    /// Raises an alert, unless one of its kind is open: then this confirms what is known.
    pub(super) fn raise(
        &mut self,
        kind: AlertKind,
        rider: Option<&RiderId>,
        evidence: Evidence,
        due_at: Option<UnixMillis>,
        at: UnixMillis,
        changes: &mut Vec<AlertChange>,
    ) {
        if self.is_open(kind) {
            return;
        }
        self.raised += 1;
        let alert = Alert {
            n: self.raised,
            kind,
            state: AlertState::Raised,
            change: 1,
            rider: rider.cloned(),
            evidence,
            due_at,
            detected_at: at,
            acknowledged: None,
            cleared: None,
        };
        changes.push(AlertChange { alert: alert.clone(), at, note: None });
        self.open.push(alert);
    }

    /// Clears the open alerts that `which` names.
    pub(super) fn clear(
        &mut self,
        because: Because,
        at: UnixMillis,
        changes: &mut Vec<AlertChange>,
        which: impl Fn(AlertKind) -> bool,
    ) {
        // The common case touches nothing.
        if !self.open.iter().any(|alert| which(alert.kind)) {
            return;
        }
        let (gone, kept) = std::mem::take(&mut self.open).into_iter().partition(|alert| which(alert.kind));
        self.open = kept;
        for mut alert in gone {
            alert.state = AlertState::Cleared;
            alert.change += 1;
            alert.cleared = Some((at, because));
            changes.push(AlertChange { alert, at, note: None });
        }
    }

    /// Whether there is an open alert of this number, and it isn't acknowledged yet.
    pub(in crate::domain::order) fn is_raised(&self, n: u32) -> Option<bool> {
        self.open.iter().find(|alert| alert.n == n).map(|alert| alert.state == AlertState::Raised)
    }

    /// Somebody took note. What nothing can mend any more is cleared with it.
    pub(super) fn acknowledge(&mut self, n: u32, by: &Operator, at: UnixMillis, changes: &mut Vec<AlertChange>) {
        let raised = |alert: &&mut Alert| alert.n == n && alert.state == AlertState::Raised;
        let Some(alert) = self.open.iter_mut().find(raised) else { return };
        alert.state = AlertState::Acknowledged;
        alert.change += 1;
        alert.acknowledged = Some((at, by.clone()));
        changes.push(AlertChange { alert: alert.clone(), at, note: None });
        if alert.kind == AlertKind::WrongPlaceDelivery {
            self.clear(Because::Acknowledged, at, changes, |kind| kind == AlertKind::WrongPlaceDelivery);
        }
    }
}
