//! The cell's state and its routing. Orders are told apart from what they share: this file never looks into an order;
//! it learns what an order decided by the order's word, [`CarryChange`].

use super::{Entry, Input, rider::Rider};
use crate::domain::{
    command::{Action, Command, Refusal},
    effect::{CarryChange, Handover},
    fix::{Fix, Mark, Verdict, clock_offset},
    ids::{OrderId, RiderId},
    order::{FixInput, OrderInput},
    rules::Rules,
    time::{CellClock, UnixMillis},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The part of the cell's state that belongs to no rider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellHead {
    pub clock: CellClock,
    pub rules: Rules,
}

/// The cell core. See [`super`].
#[derive(Clone, Debug, Default)]
pub struct Cell {
    head: CellHead,
    riders: HashMap<RiderId, Rider>,
    /// Who has which order in hand; follows from the riders.
    carriers: HashMap<OrderId, RiderId>,
    /// Barriers: what an order that may change the map was asked to do, and hasn't answered yet.
    awaited_orders: HashSet<OrderId>,
    awaited_riders: HashSet<RiderId>,
    /// Riders changed since they were last taken for storing.
    changed: BTreeSet<RiderId>,
}

/// Whether an entry was routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Route {
    Routed,
    /// It depends on an order's word that is still out: [`Cell::settle`] first, then route it again. Nothing was changed.
    Wait,
}

/// Where one entry goes. Reused from entry to entry.
#[derive(Clone, Debug, Default)]
pub struct Routed {
    /// Cell time of the entry.
    pub at: UnixMillis,
    pub orders: Vec<(OrderId, OrderInput)>,
    /// Fixes that no order has a say in.
    pub verdicts: Vec<Verdict>,
    /// For inputs that the cell decides itself.
    pub answer: Option<Result<(), Refusal>>,
}

impl Cell {
    /// A cell as it was stored.
    pub fn restore(head: CellHead, riders: impl IntoIterator<Item = (RiderId, Rider)>) -> Self {
        let riders: HashMap<_, _> = riders.into_iter().collect();
        let carriers = riders
            .iter()
            .flat_map(|(id, rider)| rider.stops().iter().map(|order| (order.clone(), id.clone())))
            .collect();
        Self { head, riders, carriers, ..Self::default() }
    }

    pub fn head(&self) -> &CellHead {
        &self.head
    }

    pub fn rider(&self, id: &RiderId) -> Option<&Rider> {
        self.riders.get(id)
    }

    /// Riders that changed since the last call, in the order of their ids.
    pub fn take_changed(&mut self) -> Vec<(RiderId, Rider)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|id| Some((id.clone(), self.riders.get(&id)?.clone()))).collect()
    }

    /// Routes one entry. `out` is emptied first.
    pub fn route(&mut self, entry: &Entry, out: &mut Routed) -> Route {
        out.orders.clear();
        out.verdicts.clear();
        out.answer = None;
        out.at = self.head.clock.advance(entry.log_time);
        match &entry.input {
            Input::Command { order, command } => return self.route_command(order, command, out),
            Input::Stage { warehouse, order, stage } => {
                let input = OrderInput::Stage { warehouse: warehouse.clone(), stage: *stage };
                out.orders.push((order.clone(), input));
            }
            Input::Timer { order, kind, n } => {
                out.orders.push((order.clone(), OrderInput::Timer { kind: *kind, n: *n }));
            }
            Input::Fixes { rider, sent_time, fixes } => {
                if self.awaited_riders.contains(rider) {
                    return Route::Wait;
                }
                let tolerance_ms = self.head.rules.clock_tolerance_ms;
                let kept_ms = self.riders.get(rider).map_or(0, |r| r.clock_offset_ms);
                let offset_ms = clock_offset(*sent_time, out.at, kept_ms, tolerance_ms);
                for fix in fixes {
                    self.route_fix(rider, *sent_time, offset_ms, fix, out);
                }
            }
            Input::Shift { rider, on } => {
                if self.awaited_riders.contains(rider) {
                    return Route::Wait;
                }
                out.answer = Some(self.shift(rider, *on));
            }
            Input::Trip { rider, stops } => {
                if self.awaited_riders.contains(rider) {
                    return Route::Wait;
                }
                out.answer = Some(self.trip(rider, stops));
            }
            Input::Clock { scale, cell_time } => {
                self.head.clock.set(entry.log_time, *scale, *cell_time);
                out.at = self.head.clock.now();
                out.answer = Some(Ok(()));
            }
            Input::Rules(rules) => {
                self.head.rules = *rules;
                out.answer = Some(Ok(()));
            }
            Input::Malformed { field, reason } => {
                out.answer = Some(Err(Refusal::field(field.clone(), reason.clone())));
            }
        }
        Route::Routed
    }

    /// Takes the word of every order that was awaited: the changes they made, in log order.
    pub fn settle(&mut self, changes: impl IntoIterator<Item = (OrderId, CarryChange)>) {
        for (order, change) in changes {
            let before = match &change {
                CarryChange::Start { rider, .. } => self.carriers.insert(order.clone(), rider.clone()),
                CarryChange::End { .. } => self.carriers.remove(&order),
            };
            let (CarryChange::Start { from: end, .. } | CarryChange::End { to: end }) = change;
            if let Some(before) = before {
                self.rider_mut(&before).end(&order, end);
            }
            if let CarryChange::Start { rider, from } = change {
                self.rider_mut(&rider).start(&order, from);
            }
        }
        self.awaited_orders.clear();
        self.awaited_riders.clear();
    }

    /// A command that may change the map is a barrier for its order and the riders concerned.
    fn route_command(&mut self, order: &OrderId, command: &Command, out: &mut Routed) -> Route {
        let next = match &command.action {
            Action::Create(_) | Action::Pay => None,
            Action::Assign { rider } => Some(Some(rider)),
            Action::Unassign | Action::Deliver { .. } | Action::Cancel { .. } => Some(None),
        };
        let mut handover = None;
        if let Some(next) = next {
            let now = self.carriers.get(order);
            let awaited = |rider: &RiderId| self.awaited_riders.contains(rider);
            if self.awaited_orders.contains(order) || now.is_some_and(awaited) || next.is_some_and(awaited) {
                return Route::Wait;
            }
            if let Some(rider) = next {
                let state = self.riders.get(rider);
                handover = Some(Handover {
                    position: state.and_then(Rider::position),
                    quality: state.map(Rider::quality).unwrap_or_default(),
                    stops_ahead: state.map_or(0, |r| r.stops_ahead(order)),
                });
            }
            let concerned: Vec<_> = now.into_iter().chain(next).cloned().collect();
            self.forget(&concerned, out.at);
            self.awaited_orders.insert(order.clone());
            self.awaited_riders.extend(concerned);
        }
        out.orders.push((order.clone(), OrderInput::Command { command: command.clone(), handover }));
        Route::Routed
    }

    /// Does once what all orders of the rider share, and routes to those that were in hand at the fix time.
    fn route_fix(&mut self, id: &RiderId, sent_time: Option<UnixMillis>, offset_ms: i64, fix: &Fix, out: &mut Routed) {
        let (at, rules) = (out.at, self.head.rules);
        let fix_time = fix.id.device_time.plus(offset_ms);
        if fix_time.since(at) > rules.future_ms {
            return out.verdicts.push(Verdict::Future);
        }
        if at.since(fix_time) > rules.late_ms {
            return out.verdicts.push(Verdict::TooOld);
        }
        let rider = self.rider_mut(id);
        rider.clock_offset_ms = offset_ms;
        rider.forget(at.plus(-rules.late_ms));
        let taken = rider.take(fix, fix_time, &rules);
        let live = taken.and_then(|(_, position)| position);
        let orders_before = out.orders.len();
        for order in rider.carried_at(fix_time) {
            let input = FixInput {
                rider: id.clone(),
                fix: *fix,
                fix_time,
                sent_time,
                live,
                stops_ahead: rider.stops_ahead(order),
                counted: out.orders.len() == orders_before,
            };
            out.orders.push((order.clone(), OrderInput::Fix(input)));
        }
        if out.orders.len() == orders_before {
            let mark: Option<Mark> = taken.map(|(mark, _)| mark);
            out.verdicts.push(mark.map_or(Verdict::Stale, Verdict::Kept));
        }
    }

    /// A refusal leaves no trace, not even of a rider who wasn't known.
    fn shift(&mut self, id: &RiderId, on: bool) -> Result<(), Refusal> {
        let stops = self.riders.get(id).map_or(&[][..], Rider::stops);
        if !on && !stops.is_empty() {
            return Err(Refusal::OrdersInHand { orders: stops.to_vec() });
        }
        self.rider_mut(id).on_shift = on;
        Ok(())
    }

    fn trip(&mut self, id: &RiderId, stops: &[OrderId]) -> Result<(), Refusal> {
        let in_hand = self.riders.get(id).map_or(&[][..], Rider::stops);
        for (i, stop) in stops.iter().enumerate() {
            if !in_hand.contains(stop) {
                return Err(Refusal::field(format!("stops[{i}]"), format!("rider doesn't carry `{stop}`")));
            }
            if stops[..i].contains(stop) {
                return Err(Refusal::field(format!("stops[{i}]"), format!("`{stop}` is named twice")));
            }
        }
        if !stops.is_empty() {
            self.rider_mut(id).reorder(stops);
        }
        Ok(())
    }

    /// Forgets what no fix of these riders can fall into any more: one who sends no fixes has a past, too.
    fn forget(&mut self, ids: &[RiderId], at: UnixMillis) {
        let before = at.plus(-self.head.rules.late_ms);
        for id in ids {
            if self.riders.get_mut(id).is_some_and(|rider| rider.forget(before)) {
                self.changed.insert(id.clone());
            }
        }
    }

    /// The rider, known from now on, and to be stored.
    fn rider_mut(&mut self, id: &RiderId) -> &mut Rider {
        self.changed.insert(id.clone());
        self.riders.entry(id.clone()).or_default()
    }
}
