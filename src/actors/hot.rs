//! The committed state of the orders that are active or were completed within the last hour, and of all riders: what
//! queries and heartbeats are served from, without asking an actor and without a disk.

use super::{boards, interest::Interest, order::Published};
use crate::{
    domain::{
        Facts, Live, OrderId, Position, RiderId, Rules, UnixMillis, cell::Rider, effect::RouteEnds, spatial::Spatial,
    },
    geo::Point,
    ports::Routeless,
    wire::{area::Region, board::RiderWord, doc, query::OrderCursor},
};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

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

/// Active ones are found by where they go and by where they are.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) known: HashMap<OrderId, HotOrder>,
    destinations: Spatial<OrderId>,
    positions: Spatial<OrderId>,
}

impl Orders {
    fn put(&mut self, id: OrderId, order: HotOrder) {
        let before = self.known.get(&id);
        if order.live.status.is_final() {
            self.destinations.remove(&id);
            self.positions.remove(&id);
        } else {
            if before.is_none_or(|before| !Arc::ptr_eq(&before.facts, &order.facts)) {
                self.destinations.put(&id, order.facts.destination);
            }
            match &order.live.position {
                Some(position) => self.positions.put(&id, position.point),
                None if before.is_some_and(|before| before.live.position.is_some()) => self.positions.remove(&id),
                None => {}
            }
        }
        self.known.insert(id, order);
    }
}

#[derive(Debug, Default)]
pub(super) struct Riders {
    pub(super) known: HashMap<RiderId, HotRider>,
    places: Spatial<RiderId>,
    /// Place in the log and cell time of the last commit that is in here.
    pub(super) cursor: u64,
    pub(super) at: UnixMillis,
}

/// See the module. Written after each commit, read by many.
#[derive(Debug, Default)]
pub struct Hot {
    pub(super) orders: RwLock<Orders>,
    pub(super) riders: RwLock<Riders>,
    /// By the rules that are in force.
    max_orders_per_rider: AtomicU32,
    finds_routes: AtomicBool,
    /// Taken while one of the others is held, or by itself.
    pub(super) interest: Mutex<Interest>,
}

impl Hot {
    /// A final order stays so long, in cell time.
    pub const KEEP_FINAL_MS: i64 = 60 * 60 * 1_000;

    /// The order, if it is hot.
    pub fn get(&self, id: &OrderId) -> Option<HotOrder> {
        self.orders.read().known.get(id).cloned()
    }

    /// Every hot order's version.
    pub fn versions(&self) -> Vec<(OrderId, u64)> {
        self.orders.read().known.iter().map(|(id, order)| (id.clone(), order.version)).collect()
    }

    /// Puts in an order as it was stored; an order that is newer already stays.
    pub fn seed(&self, id: OrderId, order: HotOrder) {
        let mut orders = self.orders.write();
        if orders.known.get(&id).is_none_or(|known| known.version < order.version) {
            self.interest.lock().order_changed(&id);
            orders.put(id, order);
        }
    }

    pub(super) fn committed(&self, published: Vec<(OrderId, Published)>) {
        let mut orders = self.orders.write();
        for (id, Published { version, at, facts, live }) in published {
            self.interest.lock().order_changed(&id);
            orders.put(id, HotOrder { version, at, facts, live });
        }
    }

    /// Takes riders as of a place in the log; gives what there is to say to those who asked for one of them.
    pub(super) fn riders_committed(
        &self,
        (epoch, to, now): (u64, u64, UnixMillis),
        riders: impl IntoIterator<Item = (RiderId, HotRider)>,
    ) -> Vec<RiderWord> {
        let Riders { known, places, cursor, at } = &mut *self.riders.write();
        (*cursor, *at) = (to, now);
        let mut interest = self.interest.lock();
        let mut words = Vec::new();
        for (id, rider) in riders {
            if let Some(asked) = interest.rider_changed(&id, to, now) {
                words.push(boards::word(epoch, &id, &rider, asked));
            }
            if let Some(position) = rider.position {
                places.put(&id, position.point);
            }
            known.insert(id, rider);
        }
        words
    }

    /// The active orders whose destination or position lies in a region, that `suits` lets through: newest first, at most
    /// `limit` of those after `after`.
    pub fn orders_within(
        &self,
        region: &Region,
        after: Option<&OrderCursor>,
        limit: usize,
        suits: impl Fn(&OrderId, &HotOrder) -> bool,
    ) -> Vec<(OrderId, HotOrder)> {
        let mut found: Vec<OrderCursor> = {
            let orders = self.orders.read();
            let bounds = region.bounds();
            let places = orders.destinations.within(&bounds).into_iter().chain(orders.positions.within(&bounds));
            let inside = places.filter(|(_, point)| region.contains(*point));
            inside
                .filter_map(|(order, _)| {
                    let known = orders.known.get(&order).filter(|known| suits(&order, known))?;
                    Some(OrderCursor { created_at: known.live.created_at, order })
                })
                .filter(|cursor| after.is_none_or(|after| cursor < after))
                .collect()
        };
        // What takes longest is done while others write.
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found.truncate(limit);
        let orders = self.orders.read();
        found
            .into_iter()
            .filter_map(|cursor| Some((cursor.order.clone(), orders.known.get(&cursor.order)?.clone())))
            .collect()
    }

    /// How many orders a rider may have in hand at once.
    pub fn max_orders_per_rider(&self) -> usize {
        usize::try_from(self.max_orders_per_rider.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn rules_committed(&self, rules: &Rules) {
        self.max_orders_per_rider.store(rules.max_orders_per_rider, Ordering::Relaxed);
        self.finds_routes.store(rules.finds_routes(), Ordering::Relaxed);
    }

    /// How many riders are on shift.
    pub fn on_shift(&self) -> u64 {
        self.riders.read().known.values().filter(|rider| rider.on_shift).count() as u64
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

    /// The riders in a region, by id: at most `limit` of those after `after`.
    pub fn riders_within(
        &self,
        region: &Region,
        after: Option<&RiderId>,
        limit: usize,
        suits: impl Fn(&HotRider) -> bool,
    ) -> Vec<(RiderId, HotRider)> {
        let riders = self.riders.read();
        let found = riders.places.within(&region.bounds()).into_iter();
        let found = found.filter(|(_, point)| region.contains(*point)).map(|(id, _)| id);
        let rest = found.skip_while(|id| after.is_some_and(|after| id <= after));
        let seen = rest.filter_map(|id| riders.known.get(&id).cloned().map(|rider| (id, rider)));
        seen.filter(|(_, rider)| suits(rider)).take(limit).collect()
    }

    /// Lets go of orders that have been final for an hour.
    pub(super) fn forget_final(&self, now: UnixMillis) {
        self.orders.write().known.retain(|_, order| !order.is_stale(now));
    }
}

impl Routeless for Hot {
    fn routeless(&self, after: Option<&OrderId>, limit: usize) -> Vec<(OrderId, RouteEnds)> {
        if !self.finds_routes.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let orders = self.orders.read();
        let seeks = |order: &HotOrder| order.facts.route.is_none() && !order.live.status.is_final();
        let next = orders.known.iter().filter(|(id, order)| after.is_none_or(|after| *id > after) && seeks(order));
        let mut found: Vec<(&OrderId, &HotOrder)> = next.collect();
        if found.len() > limit {
            found.select_nth_unstable_by_key(limit, |(id, _)| *id);
            found.truncate(limit);
        }
        found.sort_unstable_by_key(|(id, _)| *id);
        let ends = |order: &HotOrder| RouteEnds { from: order.facts.warehouse.point, to: order.facts.destination };
        found.into_iter().map(|(id, order)| (id.clone(), ends(order))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Status, order::Route, testing};

    #[test]
    fn orders_without_a_route_come_page_by_page() {
        let hot = Hot::default();
        let version = |rules_version| Rules { rules_version, ..Rules::default() };
        for n in [4, 1, 3, 2, 5, 6] {
            let mut facts = (*testing::facts()).clone();
            let mut live = Live::new(UnixMillis(0));
            if n == 3 {
                facts.route = Some(Route { points: vec![facts.warehouse.point, facts.destination] });
            }
            if n == 5 {
                live.status = Status::Completed;
            }
            hot.seed(testing::order(n), HotOrder { version: 1, at: UnixMillis(0), facts: Arc::new(facts), live });
        }
        let page = |after: Option<u32>, limit| {
            let page = hot.routeless(after.map(testing::order).as_ref(), limit);
            page.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        hot.rules_committed(&version(3));
        let orders = |all: &[u32]| all.iter().map(|n| testing::order(*n)).collect::<Vec<_>>();
        assert_eq!(page(None, 2), orders(&[1, 2]));
        assert_eq!(page(Some(2), 2), orders(&[4, 6]));
        assert_eq!(page(Some(6), 2), orders(&[]));
        let facts = testing::facts();
        let ends = RouteEnds { from: facts.warehouse.point, to: facts.destination };
        assert_eq!(hot.routeless(None, 1), [(testing::order(1), ends)]);
        hot.rules_committed(&version(2));
        assert_eq!(page(None, 2), [], "older rules take none");
    }
}
