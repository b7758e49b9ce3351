//! The committed state of the orders that are active or were completed within the last hour, and of all riders: what
//! queries and heartbeats are served from, without asking an actor and without a disk.

use super::order::Published;
use crate::{
    domain::{Facts, Live, OrderId, Position, RiderId, UnixMillis, cell::Rider, spatial::Spatial},
    geo::{Bounds, Point},
    wire::doc,
};
use parking_lot::RwLock;
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// The committed published state of one order.
#[derive(Clone, Debug)]
pub struct HotOrder {
    pub version: u64,
    /// Cell time of that version.
    pub at: UnixMillis,
    pub facts: Arc<Facts>,
    pub live: Live,
}

impl HotOrder {
    /// The whole state as JSON.
    pub fn document(&self, id: &OrderId) -> Value {
        doc::order(id, &self.facts, &self.live)
    }

    fn is_stale(&self, now: UnixMillis) -> bool {
        self.live.status.is_final() && now.since(self.at) > Hot::KEEP_FINAL_MS
    }
}

/// The committed state of one rider, as far as anybody asks.
#[derive(Clone, Debug, PartialEq)]
pub struct HotRider {
    pub on_shift: bool,
    pub position: Option<Position>,
    /// Orders in hand, in the order of their stops.
    pub stops: Arc<[OrderId]>,
}

impl From<&Rider> for HotRider {
    fn from(rider: &Rider) -> Self {
        Self { on_shift: rider.on_shift, position: rider.position(), stops: rider.stops().into() }
    }
}

#[derive(Debug, Default)]
struct Riders {
    known: HashMap<RiderId, HotRider>,
    places: Spatial<RiderId>,
}

/// See the module. Written after each commit, read by many.
#[derive(Debug, Default)]
pub struct Hot {
    orders: RwLock<HashMap<OrderId, HotOrder>>,
    riders: RwLock<Riders>,
}

impl Hot {
    /// A final order stays so long, in cell time.
    pub const KEEP_FINAL_MS: i64 = 60 * 60 * 1_000;

    /// The order, if it is hot.
    pub fn get(&self, id: &OrderId) -> Option<HotOrder> {
        self.orders.read().get(id).cloned()
    }

    /// Every hot order's version.
    pub fn versions(&self) -> Vec<(OrderId, u64)> {
        self.orders.read().iter().map(|(id, order)| (id.clone(), order.version)).collect()
    }

    /// Puts in an order as it was stored; an order that is newer already stays.
    pub fn seed(&self, id: OrderId, order: HotOrder) {
        let mut orders = self.orders.write();
        if orders.get(&id).is_none_or(|known| known.version < order.version) {
            orders.insert(id, order);
        }
    }

    pub(super) fn committed(&self, published: Vec<(OrderId, Published)>) {
        let mut orders = self.orders.write();
        for (id, Published { version, at, facts, live }) in published {
            orders.insert(id, HotOrder { version, at, facts, live });
        }
    }

    pub(super) fn riders_committed(&self, riders: impl IntoIterator<Item = (RiderId, HotRider)>) {
        let Riders { known, places } = &mut *self.riders.write();
        for (id, rider) in riders {
            if let Some(position) = rider.position {
                places.put(&id, position.point);
            }
            known.insert(id, rider);
        }
    }

    /// The `k` riders nearest to a point, of those within `max_m` that `suits` lets through; with the distance, metres.
    pub fn nearest_riders(
        &self,
        point: Point,
        k: usize,
        max_m: f64,
        suits: impl Fn(&HotRider) -> bool,
    ) -> Vec<(RiderId, HotRider, f64)> {
        let riders = self.riders.read();
        let found = riders.places.nearest(point, k, max_m, |id| riders.known.get(id).is_some_and(&suits));
        found
            .into_iter()
            .filter_map(|n| Some((riders.known.get(&n.id)?.clone(), n)))
            .map(|(r, n)| (n.id, r, n.distance_m))
            .collect()
    }

    /// The riders in a box, by id: at most `limit` of those after `after`.
    pub fn riders_within(
        &self,
        bounds: &Bounds,
        after: Option<&RiderId>,
        limit: usize,
        suits: impl Fn(&HotRider) -> bool,
    ) -> Vec<(RiderId, HotRider)> {
        let riders = self.riders.read();
        let found = riders.places.within(bounds).into_iter().map(|(id, _)| id);
        let rest = found.skip_while(|id| after.is_some_and(|after| id <= after));
        let seen = rest.filter_map(|id| riders.known.get(&id).cloned().map(|rider| (id, rider)));
        seen.filter(|(_, rider)| suits(rider)).take(limit).collect()
    }

    /// Lets go of orders that have been final for an hour.
    pub(super) fn forget_final(&self, now: UnixMillis) {
        self.orders.write().retain(|_, order| !order.is_stale(now));
    }
}
