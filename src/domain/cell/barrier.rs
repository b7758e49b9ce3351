//! What may not be routed yet. Orders decide for themselves, and their word comes later than the next entries; whatever
//! could depend on a word that is out waits for it, so that results don't depend on where batches are cut.

use super::{Cell, Input, core::next_carrier, rider::Rider};
use crate::domain::{
    ids::{OrderId, RiderId},
    time::UnixMillis,
};
use std::collections::HashSet;

/// What is out: inputs that may change the map of riders and orders.
#[derive(Clone, Debug, Default)]
pub(super) struct Awaited {
    pub orders: HashSet<OrderId>,
    pub riders: HashSet<RiderId>,
    /// An order may say that it looks for a rider.
    pub words: bool,
    /// After the words of the entry at this place of the log, of this time, orders look for riders: nothing passes it.
    pub alone: Option<(u64, UnixMillis)>,
}

impl Awaited {
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.riders.is_empty() && !self.words
    }

    /// All words are in. Gives the entry after which orders look for riders, if there is one.
    pub(super) fn clear(&mut self) -> Option<(u64, UnixMillis)> {
        self.orders.clear();
        self.riders.clear();
        self.words = false;
        self.alone.take()
    }
}

impl Cell {
    /// Whether the entry depends on a word that is out.
    pub(super) fn must_wait(&self, input: &Input) -> bool {
        if self.awaited.is_empty() {
            return false;
        }
        if self.awaited.alone.is_some() {
            return true;
        }
        let rider_is_out = |rider: &RiderId| self.awaited.riders.contains(rider);
        match input {
            Input::Command { order, command } => {
                let carrier = || self.carriers.get(order).is_some_and(rider_is_out);
                let moves = |next: Option<&RiderId>| {
                    self.awaited.orders.contains(order) || carrier() || next.is_some_and(rider_is_out)
                };
                self.is_held(order) || next_carrier(&command.action).is_some_and(moves)
            }
            Input::Stage { order, .. } | Input::Timer { order, .. } | Input::Route { order, .. } => self.is_held(order),
            Input::Fixes { rider, .. } => {
                let had = self.riders.get(rider).into_iter().flat_map(Rider::known_orders);
                rider_is_out(rider) || had.into_iter().any(|order| self.is_held(order))
            }
            Input::Shift { rider, handover_to, .. } => {
                rider_is_out(rider) || handover_to.as_ref().is_some_and(rider_is_out)
            }
            Input::Trip { rider, .. } => rider_is_out(rider),
            // What is out is taken by the rules under which it was asked.
            Input::Rules { .. } => true,
            Input::Clock { .. } | Input::Malformed { .. } => false,
        }
    }

    /// Whether a word that is out may change the stops ahead of this order: then its inputs come after that change.
    fn is_held(&self, order: &OrderId) -> bool {
        let is_out = |rider| self.awaited.riders.contains(rider);
        self.version() >= 2 && (self.awaited.orders.contains(order) || self.carriers.get(order).is_some_and(is_out))
    }
}
