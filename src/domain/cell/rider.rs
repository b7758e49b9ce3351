//! A rider as the cell knows them: where they are, and what they carried when.

use crate::domain::{
    fix::{Fix, Mark, Position},
    ids::OrderId,
    marker::Marker,
    quality::Quality,
    rules::Rules,
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

/// One order in a rider's hands, as an interval of event time; both ends belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    pub order: OrderId,
    pub from: UnixMillis,
    pub to: Option<UnixMillis>,
}

impl Carry {
    fn covers(&self, time: UnixMillis) -> bool {
        self.from <= time && self.to.is_none_or(|to| time <= to)
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rider {
    pub on_shift: bool,
    /// By how much the phone's clock is off, as last measured; 0 for one that is right. See [`clock_offset`].
    ///
    /// [`clock_offset`]: crate::domain::fix::clock_offset
    pub clock_offset_ms: i64,
    /// Corrected fix time of the newest fix; older ones are late.
    newest: Option<UnixMillis>,
    quality: Quality,
    marker: Marker,
    /// Present and past, as long as late fixes may fall into them.
    carries: Vec<Carry>,
    /// Orders in hand, in the order of their stops.
    stops: Vec<OrderId>,
}

impl Rider {
    /// Where the rider is shown.
    pub fn position(&self) -> Option<Position> {
        self.marker.position()
    }

    /// Orders in hand, in the order of their stops.
    pub fn stops(&self) -> &[OrderId] {
        &self.stops
    }

    /// The stream's state, for a track that begins here.
    pub(super) fn quality(&self) -> Quality {
        self.quality
    }

    /// Stops before `order`'s; for one that isn't in hand, all of them.
    pub(super) fn stops_ahead(&self, order: &OrderId) -> u16 {
        let ahead = self.stops.iter().position(|o| o == order).unwrap_or(self.stops.len());
        u16::try_from(ahead).unwrap_or(u16::MAX)
    }

    /// Takes a fix. A newer one than all before gets its mark and, if good, the new place of the marker.
    pub(super) fn take(&mut self, fix: &Fix, fix_time: UnixMillis, rules: &Rules) -> Option<(Mark, Option<Position>)> {
        if self.newest.is_some_and(|newest| fix_time <= newest) {
            return None;
        }
        self.newest = Some(fix_time);
        let mark = self.quality.judge(fix, fix_time, rules);
        let position = match mark {
            Mark::Good => Some(self.marker.follow(fix, fix_time, rules)),
            Mark::Inaccurate | Mark::Jump => None,
        };
        Some((mark, position))
    }

    /// The orders in hand at `time`.
    pub(super) fn carried_at(&self, time: UnixMillis) -> impl Iterator<Item = &OrderId> {
        self.carries.iter().filter(move |c| c.covers(time)).map(|c| &c.order)
    }

    /// Orders that fixes of this rider may still fall to.
    pub(super) fn known_orders(&self) -> impl Iterator<Item = &OrderId> {
        self.carries.iter().map(|c| &c.order)
    }

    /// Takes an order into hand, behind the others.
    pub(super) fn start(&mut self, order: &OrderId, from: UnixMillis) {
        self.carries.push(Carry { order: order.clone(), from, to: None });
        self.stops.push(order.clone());
    }

    /// Lets go of an order.
    pub(super) fn end(&mut self, order: &OrderId, to: UnixMillis) {
        for carry in self.carries.iter_mut().filter(|c| c.order == *order && c.to.is_none()) {
            carry.to = Some(to.max(carry.from));
        }
        self.stops.retain(|o| o != order);
    }

    /// Puts the stops into the given order; orders in hand that it doesn't name follow behind.
    pub(super) fn reorder(&mut self, stops: &[OrderId]) {
        let rest: Vec<_> = self.stops.iter().filter(|o| !stops.contains(o)).cloned().collect();
        self.stops = stops.iter().cloned().chain(rest).collect();
    }

    /// The rider without what will be forgotten at the next occasion.
    #[cfg(test)]
    pub(crate) fn without_past(&self, before: UnixMillis) -> Self {
        let mut rider = self.clone();
        rider.forget(before);
        rider
    }

    /// Forgets what no fix can fall into any more; gives whether there was something.
    pub(super) fn forget(&mut self, before: UnixMillis) -> bool {
        let known = self.carries.len();
        self.carries.retain(|c| c.to.is_none_or(|to| to >= before));
        self.carries.len() != known
    }
}
