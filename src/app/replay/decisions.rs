//! What the cell decided by itself, drawn from the effects of a play: what a comparison of two plays is about. What others
//! asked for is not among it.

use crate::domain::{
    Alert, Effect, Operator, OrderId, Status, UnixMillis,
    alert::Because,
    effect::{Row, RowKind},
};
use serde::Serialize;
use std::collections::HashMap;

/// Something that the cell decided, and for how long it held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    pub order: OrderId,
    /// An alert's kind; `unpaid` for an order that was cancelled by its timer, `dispatched` for one that the cell gave to
    /// a rider.
    pub kind: &'static str,
    /// Cell time.
    #[serde(rename = "raised_ms")]
    pub raised: UnixMillis,
    /// When an alert was cleared. Others don't end, and who cleared one by taking note of it decided nothing.
    #[serde(rename = "cleared_ms", skip_serializing_if = "Option::is_none")]
    pub cleared: Option<UnixMillis>,
    /// What an alert was raised on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Measured>,
}

/// What was measured, and the setting that it went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    pub measure: f64,
    pub threshold: f64,
    pub unit: &'static str,
}

impl Decision {
    /// Whether it held from the same time to the same time; it may have been measured otherwise.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.raised, self.cleared) == (other.raised, other.cleared)
    }
}

/// All that were heard so far, in the order of their raising.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    all: Vec<Decision>,
    /// Places of open alerts, by order and number.
    open: HashMap<(OrderId, u32), usize>,
}

impl Decisions {
    /// Takes an effect on an order.
    pub fn hear(&mut self, order: &OrderId, effect: &Effect) {
        match effect {
            Effect::Row(row) => {
                if let Some(kind) = decided(row) {
                    let (order, raised) = (order.clone(), row.at);
                    self.all.push(Decision { order, kind, raised, cleared: None, evidence: None });
                }
            }
            Effect::Alert(change) => self.alert(order, &change.alert),
            Effect::Revise(_)
            | Effect::Change(_)
            | Effect::Answer(_)
            | Effect::Verdict(_)
            | Effect::Task(_)
            | Effect::SeekRoute(_)
            | Effect::SetTimer { .. }
            | Effect::ClearTimer { .. }
            | Effect::Carry(_)
            | Effect::Register
            | Effect::Finish => {}
        }
    }

    fn alert(&mut self, order: &OrderId, alert: &Alert) {
        let Alert { n, kind, change, evidence, detected_at, cleared, .. } = alert;
        let place = (order.clone(), *n);
        match cleared {
            None if *change == 1 => {
                let (measure, threshold) = (evidence.measure, evidence.threshold);
                self.open.insert(place, self.all.len());
                self.all.push(Decision {
                    order: order.clone(),
                    kind: kind.name(),
                    raised: *detected_at,
                    cleared: None,
                    evidence: Some(Measured { measure, threshold, unit: kind.unit() }),
                });
            }
            // Who took note of it decided nothing.
            None => {}
            Some((at, because)) => {
                let decision = self.open.remove(&place).and_then(|place| self.all.get_mut(place));
                if let Some(decision) = decision.filter(|_| *because != Because::Acknowledged) {
                    decision.cleared = Some(*at);
                }
            }
        }
    }

    pub fn into_all(self) -> Vec<Decision> {
        self.all
    }
}

fn decided(row: &Row) -> Option<&'static str> {
    match row.kind {
        RowKind::Timer => (row.status == Status::Cancelled).then_some("unpaid"),
        RowKind::Assign => (row.by == Operator::dispatch()).then_some("dispatched"),
        RowKind::Create
        | RowKind::Pay
        | RowKind::Cancel
        | RowKind::Unassign
        | RowKind::Deliver
        | RowKind::Stage
        | RowKind::Fix
        | RowKind::Fail
        | RowKind::Return
        | RowKind::Missing
        | RowKind::Edit
        | RowKind::Stops
        | RowKind::Alert
        | RowKind::Acknowledge
        | RowKind::Route => None,
    }
}
