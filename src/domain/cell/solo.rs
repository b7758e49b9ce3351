//! A cell and its orders in one thread, without actors: the log in, every effect out. What tests, benchmarks and replays
//! run, and the plainest statement of what a cell does.

use super::{Cell, Entry, Route, Routed};
use crate::domain::{
    command::{Answer, Refusal},
    effect::Effect,
    fix::Verdict,
    ids::OrderId,
    order::{self, Order},
    time::UnixMillis,
};
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Solo {
    pub cell: Cell,
    pub orders: BTreeMap<OrderId, Option<Order>>,
}

/// What one entry did.
#[derive(Clone, Debug, Default)]
pub struct SoloOutcome {
    pub at: UnixMillis,
    pub effects: Vec<(OrderId, Effect)>,
    /// Of the cell and of orders, in order.
    pub verdicts: Vec<Verdict>,
    /// For entries that the cell decides.
    pub answer: Option<Result<(), Refusal>>,
}

impl SoloOutcome {
    /// The answer of an order, if one was given.
    pub fn order_answer(&self) -> Option<&Answer> {
        self.effects.iter().find_map(|(_, effect)| if let Effect::Answer(a) = effect { Some(a) } else { None })
    }
}

impl Solo {
    /// Applies one entry, every barrier settled at once.
    pub fn apply(&mut self, entry: &Entry) -> SoloOutcome {
        let mut routed = Routed::default();
        // Nothing is awaited between entries, so nothing waits.
        if self.cell.route(entry, &mut routed) == Route::Wait {
            self.cell.settle([]);
            let _ = self.cell.route(entry, &mut routed);
        }
        let mut outcome = SoloOutcome {
            at: routed.at,
            effects: Vec::new(),
            verdicts: std::mem::take(&mut routed.verdicts),
            answer: routed.answer.take(),
        };
        let rules = self.cell.head().rules;
        let mut changes = Vec::new();
        for (id, input) in &routed.orders {
            let mut effects = Vec::new();
            let slot = self.orders.entry(id.clone()).or_default();
            order::apply(slot, id, input, routed.at, &rules, &mut effects);
            for effect in effects {
                match &effect {
                    Effect::Carry(change) => changes.push((id.clone(), change.clone())),
                    Effect::Verdict(verdict) => outcome.verdicts.push(*verdict),
                    Effect::Row(_)
                    | Effect::Revise(_)
                    | Effect::Change(_)
                    | Effect::Answer(_)
                    | Effect::Task(_)
                    | Effect::SetTimer { .. }
                    | Effect::ClearTimer { .. }
                    | Effect::Register
                    | Effect::Finish => {}
                }
                outcome.effects.push((id.clone(), effect));
            }
        }
        self.cell.settle(changes);
        outcome
    }
}
