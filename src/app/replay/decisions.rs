//! What the cell decided by itself, drawn from the effects of a play: what a comparison of two plays is about. What others
//! asked for is not among it.

use crate::domain::{
    Alert, Effect, Operator, OrderId, Status, UnixMillis,
    effect::{Row, RowKind},
};
use serde::Serialize;

/// Something that the cell decided, and for how long it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub order: OrderId,
    /// An alert's kind; `unpaid` for an order that was cancelled by its timer, `dispatched` for one that the cell gave to
    /// a rider.
    pub kind: &'static str,
    /// Cell time.
    #[serde(rename = "raised_ms")]
    pub raised: UnixMillis,
    /// When an alert was cleared. Others don't end.
    #[serde(rename = "cleared_ms", skip_serializing_if = "Option::is_none")]
    pub cleared: Option<UnixMillis>,
}

/// All that were heard so far, in the order of their raising.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    all: Vec<Decision>,
}

impl Decisions {
    /// Takes an effect on an order.
    pub fn hear(&mut self, order: &OrderId, effect: &Effect) {
        match effect {
            Effect::Row(row) => {
                if let Some(kind) = decided(row) {
                    self.all.push(Decision { order: order.clone(), kind, raised: row.at, cleared: None });
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
        let kind = alert.kind.name();
        match alert.cleared {
            None if alert.change == 1 => {
                self.all.push(Decision { order: order.clone(), kind, raised: alert.detected_at, cleared: None });
            }
            // Who took note of it decided nothing.
            None => {}
            Some((at, _)) => {
                let raised = |d: &&mut Decision| d.order == *order && d.kind == kind && d.cleared.is_none();
                if let Some(decision) = self.all.iter_mut().rev().find(raised) {
                    decision.cleared = Some(at);
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
