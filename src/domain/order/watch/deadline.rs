//! What only time shows: the promise, a warehouse that doesn't go on, a rider who isn't heard of.

use super::{Cause, Watch};
use crate::domain::{
    alert::{AlertChange, AlertKind, Because, Evidence},
    effect::{Effect, TimerKind},
    eta::Estimate,
    order::{Facts, Order},
    rules::Rules,
    status::{Stage, Status},
    time::UnixMillis,
};

/// Timers that were early aren't set again closer than this: what they watch doesn't need the second.
const AGAIN_MS: i64 = 30_000;

impl Watch {
    /// Another promise: what was said of the former is void.
    pub(super) fn promised_anew(&mut self, facts: &Facts, at: UnixMillis, changes: &mut Vec<AlertChange>) {
        let passed = facts.promise.is_some_and(|promise| promise.to <= at);
        self.desk.clear(Because::PromiseChanged, at, changes, |kind| match kind {
            AlertKind::LateRisk => true,
            AlertKind::Late => !passed,
            AlertKind::OffRoute
            | AlertKind::Stalled
            | AlertKind::StageOverdue
            | AlertKind::SignalLost
            | AlertKind::WrongPlaceDelivery
            | AlertKind::LowBattery => false,
        });
    }

    /// `late` by its timer, `late_risk` by every estimate and by a timer for when nothing is heard.
    #[allow(clippy::too_many_arguments, reason = "an order's whole surroundings")]
    pub(super) fn promise(
        &mut self,
        order: &mut Order,
        estimate: &Estimate,
        at: UnixMillis,
        rules: &Rules,
        cause: Cause<'_>,
        changes: &mut Vec<AlertChange>,
        out: &mut Vec<Effect>,
    ) {
        let Some(promise) = order.facts.promise else {
            order.clear_timer(TimerKind::Late, out);
            order.clear_timer(TimerKind::LateRisk, out);
            return;
        };
        let rider = order.live.rider.clone();
        // After a pause of the owner other inputs may come before the timer.
        if at > promise.to || matches!(cause, Cause::Timer(TimerKind::Late, _)) {
            let evidence = beyond_promise(at.since(promise.to), 0, promise.to);
            self.desk.raise(AlertKind::Late, rider.as_ref(), evidence, Some(promise.to), at, changes);
            order.clear_timer(TimerKind::Late, out);
        }
        if self.desk.is_open(AlertKind::Late) {
            self.desk.clear(Because::Superseded, at, changes, |kind| kind == AlertKind::LateRisk);
            order.clear_timer(TimerKind::LateRisk, out);
            return;
        }
        order.ensure_timer(TimerKind::Late, promise.to, out);
        let late_ms = estimate.eta.p50.since(promise.to);
        if self.desk.is_open(AlertKind::LateRisk) {
            if late_ms <= -rules.late_risk.clear_ms {
                self.desk.clear(Because::Over, at, changes, |kind| kind == AlertKind::LateRisk);
            }
        } else if late_ms > rules.late_risk.raise_ms {
            let evidence = beyond_promise(late_ms, rules.late_risk.raise_ms, at);
            let due = match cause {
                Cause::Timer(TimerKind::LateRisk, due) => Some(due),
                Cause::Timer(..) | Cause::Fix(_) | Cause::Acknowledged(..) | Cause::Change => None,
            };
            self.desk.raise(AlertKind::LateRisk, rider.as_ref(), evidence, due, at, changes);
        }
        if self.desk.is_open(AlertKind::LateRisk) {
            order.clear_timer(TimerKind::LateRisk, out);
        } else {
            // A millisecond later it is beyond.
            let beyond = promise.to.plus(rules.late_risk.raise_ms).plus(1).plus(-estimate.floor_ms);
            order.ensure_timer_by(TimerKind::LateRisk, beyond.max(at.plus(AGAIN_MS)), out);
        }
    }

    /// The order ended, and its promise had passed before, which nobody had noticed yet.
    pub(super) fn late_at_end(&mut self, order: &Order, at: UnixMillis, changes: &mut Vec<AlertChange>) {
        let Some(promise) = order.facts.promise.filter(|_| order.live.paid_at.is_some()) else { return };
        let ended = order.live.completed_at.unwrap_or(at);
        if ended > promise.to {
            let evidence = beyond_promise(ended.since(promise.to), 0, promise.to);
            self.desk.raise(AlertKind::Late, order.live.rider.as_ref(), evidence, Some(promise.to), at, changes);
        }
    }

    /// `stage_overdue`, until picking is complete.
    pub(super) fn warehouse(
        &mut self,
        order: &mut Order,
        at: UnixMillis,
        rules: &Rules,
        cause: Cause<'_>,
        changes: &mut Vec<AlertChange>,
        out: &mut Vec<Effect>,
    ) {
        let stage = order.live.stage;
        if stage.is_some_and(Stage::picking_complete) {
            return order.clear_timer(TimerKind::StageOverdue, out);
        }
        let limit_ms = match stage {
            None => rules.stage_overdue.received_ms,
            Some(Stage::Received) => rules.stage_overdue.picking_ms,
            Some(Stage::Picking | Stage::Picked | Stage::Packed | Stage::Ready | Stage::HandedOver) => {
                rules.stage_overdue.packed_ms
            }
        };
        let due = self.stage_at.plus(limit_ms);
        if let Cause::Timer(TimerKind::StageOverdue, was_due) = cause
            && at >= due
        {
            let evidence = Evidence {
                measure: ms(at.since(self.stage_at)),
                threshold: ms(limit_ms),
                since: self.stage_at,
                fixes: Vec::new(),
                about: Some(format!("since {}", stage.map_or("pay", Stage::name))),
            };
            self.desk.raise(AlertKind::StageOverdue, None, evidence, Some(was_due), at, changes);
        }
        if !self.desk.is_open(AlertKind::StageOverdue) {
            order.ensure_timer(TimerKind::StageOverdue, due, out);
        }
    }

    /// `signal_lost`, while a rider has the order on its way.
    pub(super) fn signal(
        &mut self,
        order: &mut Order,
        at: UnixMillis,
        rules: &Rules,
        cause: Cause<'_>,
        changes: &mut Vec<AlertChange>,
        out: &mut Vec<Effect>,
    ) {
        let live = &order.live;
        let (Status::Delivering, Some(rider)) = (live.status, live.rider.clone()) else {
            return order.clear_timer(TimerKind::SignalLost, out);
        };
        // Who was never heard of has been lost since the order is theirs and on its way.
        let begun = live.departed_at.max(order.carried_since).unwrap_or(at);
        let (last, limit_ms) = self.ride.signal(begun, rules);
        let due = last.plus(limit_ms);
        if let Cause::Timer(TimerKind::SignalLost, was_due) = cause
            && at >= due
        {
            let evidence = Evidence {
                measure: ms(at.since(last)),
                threshold: ms(limit_ms),
                since: last,
                fixes: live.position.into_iter().collect(),
                about: None,
            };
            // The timer is lazy: it was due when the last fix was too old.
            let due = was_due.max(due);
            self.desk.raise(AlertKind::SignalLost, Some(&rider), evidence, Some(due), at, changes);
        }
        if self.desk.is_open(AlertKind::SignalLost) {
            if at < due {
                self.desk.clear(Because::Over, at, changes, |kind| kind == AlertKind::SignalLost);
            } else {
                return order.clear_timer(TimerKind::SignalLost, out);
            }
        }
        order.ensure_timer_by(TimerKind::SignalLost, due, out);
    }
}

impl Order {
    /// Sets the timer to fire at `due`, unless it is set so.
    fn ensure_timer(&mut self, kind: TimerKind, due: UnixMillis, out: &mut Vec<Effect>) {
        if self.timer_due(kind) != Some(due) {
            self.set_timer(kind, due, out);
        }
    }

    /// Sets the timer to fire at `due`, unless it fires earlier and will ask again then.
    fn ensure_timer_by(&mut self, kind: TimerKind, due: UnixMillis, out: &mut Vec<Effect>) {
        if self.timer_due(kind).is_none_or(|set| set > due) {
            self.set_timer(kind, due, out);
        }
    }

    fn timer_due(&self, kind: TimerKind) -> Option<UnixMillis> {
        self.timers.iter().find(|timer| timer.0 == kind).map(|timer| timer.2)
    }
}

/// So much later than promised.
fn beyond_promise(measure_ms: i64, threshold_ms: i64, since: UnixMillis) -> Evidence {
    let (measure, threshold) = (ms(measure_ms), ms(threshold_ms));
    Evidence { measure, threshold, since, fixes: Vec::new(), about: Some("promise".into()) }
}

#[allow(clippy::cast_precision_loss, reason = "days in milliseconds are far below 2^53")]
fn ms(ms: i64) -> f64 {
    ms as f64
}
