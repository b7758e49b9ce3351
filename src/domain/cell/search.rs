//! Dispatch: packed orders that look for a rider get the nearest one who is on shift and has room.
//!
//! Looked for is after an entry that packs an order, after one that may leave a rider with room, and, while orders wait,
//! at the first entry of each tick of the cell clock. Nothing is routed past such an entry before its words are in, and
//! so the figures that the search sees are those of its place in the log, wherever batches are cut. A deployment that
//! doesn't ask for it pays nothing.

use super::{Cell, Input, core::next_carrier, rider::Rider};
use crate::{
    domain::{
        command::Operator,
        ids::{OrderId, RiderId},
        order::OrderInput,
        spatial::Spatial,
        time::UnixMillis,
    },
    geo::Point,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// The cell clock's tick, for what is tried again and again.
const TICK_MS: i64 = 1_000;

/// So many orders are tried at a time, the oldest first; where there are more, the next time goes on behind them.
const MAX_TRIES: usize = 256;

/// An order, and where its rider would fetch it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seeker {
    order: OrderId,
    from: Point,
}

/// Who looks for a rider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Search {
    /// Oldest first.
    seekers: VecDeque<Seeker>,
    /// Where the next round begins, if there are too many for one.
    next: u32,
    looked_at: UnixMillis,
}

impl Search {
    pub(super) fn add(&mut self, order: &OrderId, from: Point) {
        if self.seekers.iter().all(|seeker| seeker.order != *order) {
            self.seekers.push_back(Seeker { order: order.clone(), from });
        }
    }

    pub(super) fn remove(&mut self, order: &OrderId) {
        self.seekers.retain(|seeker| seeker.order != *order);
    }

    /// From now on somebody else gives orders to riders.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }
}

impl Cell {
    /// Whether orders look for riders after this entry.
    pub(super) fn searches_after(&self, input: &Input, at: UnixMillis) -> bool {
        if !self.head.rules.dispatches() {
            return false;
        }
        let Search { seekers, looked_at, .. } = &self.head.search;
        let is_tick = at.since(*looked_at) >= TICK_MS;
        match input {
            Input::Stage { stage, .. } if stage.picking_complete() => true,
            Input::Stage { .. }
            | Input::Timer { .. }
            | Input::Fixes { .. }
            | Input::Trip { .. }
            | Input::Route { .. }
            | Input::Clock { .. }
            | Input::Rules { .. }
            | Input::Malformed { .. } => !seekers.is_empty() && is_tick,
            Input::Command { command, .. } => {
                !seekers.is_empty() && (is_tick || next_carrier(&command.action).is_some())
            }
            Input::Shift { .. } => !seekers.is_empty(),
        }
    }

    /// Gives orders to riders. Nothing is awaited before; the orders and riders that it brings together are, afterwards.
    pub(super) fn search(&mut self, at: UnixMillis) -> Vec<(OrderId, OrderInput)> {
        let mut search = std::mem::take(&mut self.head.search);
        search.looked_at = at;
        let rules = self.head.rules;
        let mut given: BTreeMap<RiderId, u16> = BTreeMap::new();
        let mut inputs = Vec::new();
        let waiting = search.seekers.len();
        let mut next = if waiting > MAX_TRIES { search.next as usize } else { 0 };
        for _ in 0..waiting.min(MAX_TRIES) {
            if next >= search.seekers.len() {
                next = 0;
            }
            let Some(Seeker { order, from }) = search.seekers.get(next) else { break };
            let has_room = |id: &RiderId| {
                let more = usize::from(given.get(id).copied().unwrap_or(0));
                self.riders
                    .get(id)
                    .is_some_and(|rider| rider.stops().len() + more < rules.max_orders_per_rider as usize)
            };
            let found = self.free.nearest(*from, 1, rules.max_distance_m, has_room);
            let Some(rider) = found.into_iter().next().map(|near| near.id) else {
                next += 1;
                continue;
            };
            let more = given.entry(rider.clone()).or_default();
            let mut handover = self.handover(&rider, order);
            handover.stops_ahead = handover.stops_ahead.saturating_add(*more);
            *more += 1;
            self.await_word(order, vec![rider.clone()], at);
            let input = OrderInput::Give { rider, of: None, handover, by: Operator::dispatch() };
            inputs.extend(search.seekers.remove(next).map(|seeker| (seeker.order, input)));
        }
        search.next = u32::try_from(next).unwrap_or(0);
        self.head.search = search;
        inputs
    }

    /// Looks again at whether the rider can be given orders: after a change of shift, hands or place.
    pub(super) fn look_at_rider(&mut self, id: &RiderId) {
        if !self.head.rules.dispatches() {
            return;
        }
        let max = self.head.rules.max_orders_per_rider as usize;
        let has_room = |rider: &&Rider| rider.on_shift && rider.stops().len() < max;
        match self.riders.get(id).filter(has_room).and_then(Rider::position) {
            Some(position) => self.free.put(id, position.point),
            None => self.free.remove(id),
        }
    }

    /// Looks at all riders: after the rules changed, or the cell was restored.
    pub(super) fn look_at_riders(&mut self) {
        self.free = Spatial::default();
        let ids: Vec<_> = self.riders.keys().cloned().collect();
        ids.iter().for_each(|id| self.look_at_rider(id));
    }
}
