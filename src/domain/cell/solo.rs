//! A cell and its orders in one thread, without actors: the log in, every effect out. What tests, benchmarks and replays
//! run, and the plainest statement of what a cell does.

use super::{Cell, Entry, Route, Routed, Word};
use crate::domain::{
    command::{Answer, Refusal},
    effect::Effect,
    fix::Verdict,
    ids::OrderId,
    order::{self, Order, OrderInput},
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
        // Nothing is out between entries, so nothing waits.
        let route = self.cell.route(entry, &mut routed);
        debug_assert_eq!(route, Route::Routed);
        let mut outcome = SoloOutcome {
            at: routed.at,
            effects: Vec::new(),
            verdicts: std::mem::take(&mut routed.verdicts),
            answer: routed.answer.take(),
        };
        let mut inputs = std::mem::take(&mut routed.orders);
        while !inputs.is_empty() {
            let words = self.apply_inputs(entry.seq, &inputs, &mut outcome);
            inputs = self.cell.settle(words).into_iter().map(|f| (f.order, f.input)).collect();
        }
        outcome
    }

    fn apply_inputs(&mut self, seq: u64, inputs: &[(OrderId, OrderInput)], outcome: &mut SoloOutcome) -> Vec<Word> {
        let rules = self.cell.head().rules;
        let mut words = Vec::new();
        for (order, input) in inputs {
            let mut effects = Vec::new();
            let slot = self.orders.entry(order.clone()).or_default();
            order::apply(slot, order, input, outcome.at, &rules, &mut effects);
            for effect in effects {
                match &effect {
                    Effect::Carry(change) => words.push(Word { seq, order: order.clone(), change: change.clone() }),
                    Effect::Verdict(verdict) => outcome.verdicts.push(*verdict),
                    Effect::Row(_)
                    | Effect::Revise(_)
                    | Effect::Change(_)
                    | Effect::Answer(_)
                    | Effect::Alert(_)
                    | Effect::Task(_)
                    | Effect::SetTimer { .. }
                    | Effect::ClearTimer { .. }
                    | Effect::Register
                    | Effect::SeekRoute(_)
                    | Effect::Finish => {}
                }
                outcome.effects.push((order.clone(), effect));
            }
        }
        words
    }
}
