//! Riders' trips: who has which order in hand, and how many stops lie before each. When a trip changes, every order that
//! has another number of stops ahead hears of it at once.

use super::{Cell, rider::Rider};
use crate::domain::{
    command::Refusal,
    effect::CarryChange,
    ids::{OrderId, RiderId},
    order::OrderInput,
};
use std::collections::BTreeMap;

/// An order's word: what it decided, and of which entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    pub seq: u64,
    pub order: OrderId,
    pub change: CarryChange,
}

/// An order's input that follows from the words of others, and the entry that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowUp {
    pub seq: u64,
    pub order: OrderId,
    pub input: OrderInput,
}

/// What orders believe of their stops ahead, by rider.
type Believed = BTreeMap<RiderId, Vec<(OrderId, u16)>>;

impl Cell {
    /// Takes the word of every order that was awaited, in log order. Gives what follows from it, in log order as well:
    /// the next inputs of these orders, before anything that is routed afterwards.
    #[must_use]
    pub fn settle(&mut self, words: impl IntoIterator<Item = Word>) -> Vec<FollowUp> {
        let mut follow_ups = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(seq) = words.peek().map(|word| word.seq) {
            // One entry may move many orders: what lies between is nobody's business.
            let mut believed = Believed::new();
            while let Some(Word { order, change, .. }) = words.next_if(|word| word.seq == seq) {
                self.carry(&order, change, &mut believed);
            }
            let inputs = self.changed_stops(believed);
            follow_ups.extend(inputs.into_iter().map(|(order, input)| FollowUp { seq, order, input }));
        }
        if let Some((seq, at)) = self.awaited.clear() {
            let inputs = self.search(at);
            follow_ups.extend(inputs.into_iter().map(|(order, input)| FollowUp { seq, order, input }));
        }
        follow_ups
    }

    fn carry(&mut self, order: &OrderId, change: CarryChange, believed: &mut Believed) {
        let (before, end) = match &change {
            CarryChange::Start { rider, from, .. } => (self.carriers.insert(order.clone(), rider.clone()), *from),
            CarryChange::End { to } => (self.carriers.remove(order), *to),
            CarryChange::Seek { from } => return self.head.search.add(order, *from),
            CarryChange::Rest => return self.head.search.remove(order),
        };
        self.head.search.remove(order);
        if let Some(before) = before {
            self.believe(&before, believed);
            self.rider_mut(&before).end(order, end);
            self.look_at_rider(&before);
        }
        if let CarryChange::Start { rider, from, stops_ahead } = change {
            self.believe(&rider, believed).push((order.clone(), stops_ahead));
            self.rider_mut(&rider).start(order, from);
            self.look_at_rider(&rider);
        }
    }

    /// Notes once what the rider's orders believe.
    fn believe<'a>(&self, rider: &RiderId, believed: &'a mut Believed) -> &'a mut Vec<(OrderId, u16)> {
        believed.entry(rider.clone()).or_insert_with(|| {
            let stops = self.riders.get(rider).map_or(&[][..], Rider::stops);
            stops.iter().cloned().zip(0u16..).collect()
        })
    }

    /// Inputs for the orders whose stops ahead aren't what they believe. Before rules 2 they learned of it by the next
    /// fix that moved them.
    fn changed_stops(&self, believed: Believed) -> Vec<(OrderId, OrderInput)> {
        if self.version() < 2 {
            return Vec::new();
        }
        let mut inputs = Vec::new();
        for (rider, believed) in believed {
            let stops = self.riders.get(&rider).map_or(&[][..], Rider::stops);
            for (order, stops_ahead) in stops.iter().zip(0u16..) {
                if !believed.iter().any(|(o, ahead)| o == order && *ahead == stops_ahead) {
                    inputs.push((order.clone(), OrderInput::Stops { rider: rider.clone(), stops_ahead }));
                }
            }
        }
        inputs
    }

    /// The rider's orders in the order of their stops.
    pub(super) fn trip(
        &mut self,
        id: &RiderId,
        stops: &[OrderId],
        inputs: &mut Vec<(OrderId, OrderInput)>,
    ) -> Result<(), Refusal> {
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
            let mut believed = Believed::new();
            self.believe(id, &mut believed);
            self.rider_mut(id).reorder(stops);
            inputs.extend(self.changed_stops(believed));
        }
        Ok(())
    }
}
