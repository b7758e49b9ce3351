//! The cell's state and its routing. Orders are told apart from what they share: this file never looks into an order;
//! it learns what an order decided by the order's word, [`CarryChange`].
//!
//! [`CarryChange`]: crate::domain::effect::CarryChange

use super::{Entry, Input, barrier::Awaited, rider::Rider, search::Search};
use crate::domain::{
    command::{Action, Command, Operator, Refusal},
    effect::Handover,
    fix::{Fix, Mark, Verdict, clock_offset},
    ids::{OrderId, RiderId},
    order::{FixInput, OrderInput},
    rules::Rules,
    spatial::Spatial,
    time::{CellClock, UnixMillis},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// The part of the cell's state that belongs to no rider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellHead {
    pub clock: CellClock,
    pub rules: Rules,
    pub(crate) search: Search,
}

/// The cell core. See [`super`].
#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub(super) head: CellHead,
    pub(super) riders: HashMap<RiderId, Rider>,
    /// Who has which order in hand; follows from the riders.
    pub(super) carriers: HashMap<OrderId, RiderId>,
    /// Where riders are shown who can be given orders by dispatch; follows from the riders and the rules.
    pub(super) free: Spatial<RiderId>,
    pub(super) awaited: Awaited,
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
        let mut cell = Self { head, riders, carriers, ..Self::default() };
        cell.look_at_riders();
        cell
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
        if self.must_wait(&entry.input) {
            return Route::Wait;
        }
        let searches = self.searches_after(&entry.input, out.at);
        self.route_input(entry, out);
        if searches && self.awaited.is_empty() {
            out.orders.extend(self.search(out.at));
        } else if searches {
            self.awaited.alone = Some((entry.seq, out.at));
        }
        Route::Routed
    }

    fn route_input(&mut self, entry: &Entry, out: &mut Routed) {
        match &entry.input {
            Input::Command { order, command } => self.route_command(order, command, out),
            Input::Stage { warehouse, order, stage } => {
                // Its word may be that it looks for a rider.
                self.awaited.words |= self.head.rules.dispatches() && stage.picking_complete();
                let input = OrderInput::Stage { warehouse: warehouse.clone(), stage: *stage };
                out.orders.push((order.clone(), input));
            }
            Input::Timer { order, kind, n } => {
                out.orders.push((order.clone(), OrderInput::Timer { kind: *kind, n: *n }));
            }
            Input::Fixes { rider, sent_time, fixes } => {
                let tolerance_ms = self.head.rules.clock_tolerance_ms;
                let kept_ms = self.riders.get(rider).map_or(0, |r| r.clock_offset_ms);
                let offset_ms = clock_offset(*sent_time, out.at, kept_ms, tolerance_ms);
                for fix in fixes {
                    self.route_fix(rider, *sent_time, offset_ms, fix, out);
                }
            }
            Input::Shift { rider, on, handover_to } => {
                out.answer = Some(self.shift(rider, *on, handover_to.as_ref(), out));
            }
            Input::Trip { rider, stops } => out.answer = Some(self.trip(rider, stops, &mut out.orders)),
            Input::Route { order, found } => match self.check_version(3, "a route that was found") {
                Ok(()) => out.orders.push((order.clone(), OrderInput::Route(found.clone()))),
                Err(refusal) => out.answer = Some(Err(refusal)),
            },
            Input::Clock { scale, cell_time } => {
                self.head.clock.set(entry.log_time, *scale, *cell_time);
                out.at = self.head.clock.now();
                out.answer = Some(Ok(()));
            }
            Input::Rules { rules, needs } => out.answer = Some(self.rule(*rules, *needs)),
            Input::Malformed { field, reason } => {
                out.answer = Some(Err(Refusal::field(field.clone(), reason.clone())));
            }
        }
    }

    /// Which behaviour applies.
    pub(super) fn version(&self) -> u32 {
        self.head.rules.rules_version
    }

    /// Refuses what a later version brought. As long as operations haven't switched, a log is played as it always was.
    fn check_version(&self, needs: u32, what: &str) -> Result<(), Refusal> {
        if self.version() >= needs {
            return Ok(());
        }
        let reason = format!("is {}; {what} needs {needs}, which a `control.` message sets", self.version());
        Err(Refusal::field("rules_version", reason))
    }

    fn rule(&mut self, mut rules: Rules, needs: u32) -> Result<(), Refusal> {
        if rules.rules_version == 0 {
            rules.rules_version = self.version();
        }
        if rules.rules_version < needs {
            self.check_version(needs, "one of these rules")?;
            return Err(Refusal::field("rules_version", format!("one of these rules needs {needs}")));
        }
        self.head.rules = rules;
        if !rules.dispatches() {
            self.head.search.give_up();
        }
        self.look_at_riders();
        Ok(())
    }

    /// A command that may change the map is a barrier for its order and the riders concerned.
    fn route_command(&mut self, order: &OrderId, command: &Command, out: &mut Routed) {
        let needs = command.needs.max(command.action.rules_version());
        if let Err(refusal) = self.check_version(needs, command.action.verb().name()) {
            out.answer = Some(Err(refusal));
            return;
        }
        let mut handover = None;
        if let Some(next) = next_carrier(&command.action) {
            handover = next.map(|rider| self.handover(rider, order));
            let concerned: Vec<_> = self.carriers.get(order).into_iter().chain(next).cloned().collect();
            self.await_word(order, concerned, out.at);
        }
        out.orders.push((order.clone(), OrderInput::Command { command: command.clone(), handover }));
    }

    /// What an order that the rider takes over needs to know.
    pub(super) fn handover(&self, rider: &RiderId, order: &OrderId) -> Handover {
        let state = self.riders.get(rider);
        Handover {
            position: state.and_then(Rider::position),
            quality: state.map(Rider::quality).unwrap_or_default(),
            stops_ahead: state.map_or(0, |r| r.stops_ahead(order)),
        }
    }

    /// Nothing that concerns the order or these riders is routed before the order said what became of its input.
    pub(super) fn await_word(&mut self, order: &OrderId, riders: Vec<RiderId>, at: UnixMillis) {
        self.forget(&riders, at);
        self.awaited.orders.insert(order.clone());
        self.awaited.riders.extend(riders);
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
        if live.is_some() {
            self.look_at_rider(id);
        }
        let Some(rider) = self.riders.get(id) else { return };
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
    fn shift(&mut self, id: &RiderId, on: bool, to: Option<&RiderId>, out: &mut Routed) -> Result<(), Refusal> {
        let stops = self.riders.get(id).map_or(&[][..], Rider::stops).to_vec();
        if let Some(to) = to {
            self.check_version(2, "a shift that hands over")?;
            if on || to == id {
                let reason = if on { "is for a shift's end" } else { "is the rider whose shift ends" };
                return Err(Refusal::field("handover_to", reason));
            }
            for (i, order) in (0u16..).zip(&stops) {
                let mut handover = self.handover(to, order);
                handover.stops_ahead = handover.stops_ahead.saturating_add(i);
                let (rider, of, by) = (to.clone(), Some(id.clone()), Operator::rider(id));
                out.orders.push((order.clone(), OrderInput::Give { rider, of, handover, by }));
                self.await_word(order, vec![id.clone(), to.clone()], out.at);
            }
        } else if !on && !stops.is_empty() {
            return Err(Refusal::OrdersInHand { orders: stops });
        }
        self.rider_mut(id).on_shift = on;
        self.look_at_rider(id);
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
    pub(super) fn rider_mut(&mut self, id: &RiderId) -> &mut Rider {
        self.changed.insert(id.clone());
        self.riders.entry(id.clone()).or_default()
    }
}

/// For an action that may change who carries the order: the rider who would carry it then.
pub(super) fn next_carrier(action: &Action) -> Option<Option<&RiderId>> {
    match action {
        Action::Create(_)
        | Action::Pay
        | Action::Fail { .. }
        | Action::Missing(_)
        | Action::Edit(_)
        | Action::Acknowledge { .. } => None,
        Action::Assign { rider } => Some(Some(rider)),
        Action::Unassign | Action::Deliver { .. } | Action::Cancel { .. } | Action::Return { .. } => Some(None),
    }
}
