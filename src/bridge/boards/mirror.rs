//! The cell as its owner says it: all riders and active orders, from pages and the words after them.
//!
//! Sans-IO. The rules: subscribe first, then read pages; words are held meanwhile. Rows are whole and a page's are at
//! least as new as its version, so with all pages and every word after the first page's version this is the cell. A word
//! applies only where its `from` is the version here; a gap, a newer epoch or a heartbeat ahead ask for pages again, and
//! what is shown meanwhile stays. A lower epoch is not believed.

use crate::{
    domain::{OrderId, RiderId, UnixMillis, WarehouseId},
    wire::board::{After, CellPage, CellQuery, CellWord, Changed, OrderRow, RiderRow},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Words held while pages are read. At two a second and in the largest cell it is enough for a minute.
const HELD_MAX: usize = 1_024;

#[derive(Debug)]
struct Held {
    to: u64,
    at: UnixMillis,
    riders: Changed<RiderId, RiderRow>,
    orders: Changed<OrderId, OrderRow>,
}

/// Pages that are being read.
#[derive(Debug)]
struct Reading {
    epoch: u64,
    /// Of the first page.
    version: u64,
    at: UnixMillis,
    riders: BTreeMap<RiderId, RiderRow>,
    orders: BTreeMap<OrderId, OrderRow>,
    next: After,
}

/// What changed since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) riders: BTreeSet<RiderId>,
    pub(super) orders: BTreeSet<OrderId>,
    pub(super) warehouses: BTreeSet<WarehouseId>,
}

impl Touched {
    pub(super) fn is_empty(&self) -> bool {
        self.riders.is_empty() && self.orders.is_empty()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    epoch: u64,
    version: u64,
    pub(super) at: UnixMillis,
    loaded: bool,
    /// The furthest (epoch, version) that an owner has named.
    goal: (u64, u64),
    riders: BTreeMap<RiderId, RiderRow>,
    orders: BTreeMap<OrderId, OrderRow>,
    by_warehouse: BTreeMap<WarehouseId, BTreeSet<OrderId>>,
    /// Words that came too early, by (epoch, from).
    held: BTreeMap<(u64, u64), Held>,
    reading: Option<Reading>,
    heard: Option<Duration>,
    touched: Touched,
}

impl Mirror {
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether the owner has named something that isn't here, or nothing is.
    pub(super) fn is_behind(&self) -> bool {
        !self.loaded || (self.epoch, self.version) < self.goal
    }

    /// When the present owner was last heard.
    pub(super) fn heard(&self) -> Option<Duration> {
        self.heard
    }

    /// What to ask when it is behind.
    pub(super) fn question(&self) -> CellQuery {
        CellQuery { after: self.reading.as_ref().map_or(After::Riders(None), |reading| reading.next.clone()) }
    }

    /// The next question begins with the first page: the owner or the way to it was lost.
    pub(super) fn start_over(&mut self) {
        self.reading = None;
    }

    pub(super) fn riders(&self) -> &BTreeMap<RiderId, RiderRow> {
        &self.riders
    }

    pub(super) fn orders(&self) -> &BTreeMap<OrderId, OrderRow> {
        &self.orders
    }

    pub(super) fn orders_of(&self, warehouse: &WarehouseId) -> impl Iterator<Item = (&OrderId, &OrderRow)> {
        let ids = self.by_warehouse.get(warehouse).into_iter().flatten();
        ids.filter_map(|id| self.orders.get_key_value(id))
    }

    pub(super) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Takes the owner's word; whether pages should be asked for at once.
    pub(super) fn on_word(&mut self, word: CellWord, now: Duration) -> bool {
        let (CellWord::Delta { epoch, to: version, .. } | CellWord::Heartbeat { epoch, version }) = word;
        if epoch < self.epoch.max(self.goal.0) {
            return false;
        }
        self.heard = Some(now);
        self.goal = self.goal.max((epoch, version));
        if let CellWord::Delta { epoch, from, to, at_ms, riders, orders } = word {
            // While pages are read, what lies behind here may lie after the first of them.
            if self.reading.is_some() || (epoch, to) > (self.epoch, self.version) || !self.loaded {
                self.held.insert((epoch, from), Held { to, at: at_ms, riders, orders });
            }
            if self.held.len() > HELD_MAX {
                self.held.pop_first();
            }
            if self.reading.is_none() && self.loaded {
                self.drain_held();
            }
            return self.is_behind();
        }
        // A heartbeat may be heard before the word that it counts; the next tick asks, if that hasn't come by then.
        false
    }

    /// Takes a page; whether there is more to ask.
    pub(super) fn on_page(&mut self, page: CellPage, asked: &CellQuery, now: Duration) -> bool {
        let CellPage { epoch, version, at_ms, riders, orders, next } = page;
        if epoch < self.epoch.max(self.goal.0) {
            self.reading = None;
            return false;
        }
        self.heard = Some(now);
        self.goal = self.goal.max((epoch, version));
        if asked.after == After::All {
            return self.is_behind();
        }
        if asked.after == After::Riders(None) {
            let (riders, orders) = Default::default();
            self.reading = Some(Reading { epoch, version, at: at_ms, riders, orders, next: After::Riders(None) });
        }
        let Some(reading) = self.reading.as_mut().filter(|reading| reading.epoch == epoch) else {
            // Another owner than the one of the pages before.
            self.reading = None;
            return true;
        };
        reading.riders.extend(riders);
        reading.orders.extend(orders);
        match next {
            Some(next) => {
                reading.next = next;
                true
            }
            None => {
                if let Some(reading) = self.reading.take() {
                    self.take_pages(reading);
                }
                self.drain_held();
                self.is_behind()
            }
        }
    }

    fn take_pages(&mut self, Reading { epoch, version, at, riders, orders, .. }: Reading) {
        (self.epoch, self.version, self.at, self.loaded) = (epoch, version, at, true);
        let gone: Vec<_> = self.riders.keys().filter(|id| !riders.contains_key(*id)).cloned().collect();
        gone.into_iter()
            .map(|id| (id, None))
            .chain(riders.into_iter().map(|(id, row)| (id, Some(row))))
            .for_each(|(id, row)| self.put_rider(id, row));
        let gone: Vec<_> = self.orders.keys().filter(|id| !orders.contains_key(*id)).cloned().collect();
        gone.into_iter()
            .map(|id| (id, None))
            .chain(orders.into_iter().map(|(id, row)| (id, Some(row))))
            .for_each(|(id, row)| self.put_order(id, row));
    }

    /// Applies held words that fit now.
    fn drain_held(&mut self) {
        while let Some(held) = self.held.remove(&(self.epoch, self.version)) {
            (self.version, self.at) = (held.to, held.at);
            held.riders.into_iter().for_each(|(id, row)| self.put_rider(id, row));
            held.orders.into_iter().for_each(|(id, row)| self.put_order(id, row));
        }
        let here = (self.epoch, self.version);
        self.held.retain(|(epoch, _), held| (*epoch, held.to) > here);
    }

    fn put_rider(&mut self, id: RiderId, row: Option<RiderRow>) {
        let Self { riders, orders, touched, .. } = self;
        if riders.get(&id) == row.as_ref() {
            return;
        }
        // Warehouses see how far away the riders of their orders are.
        let carried = riders.get(&id).into_iter().chain(&row).flat_map(|row| &row.orders);
        touched.warehouses.extend(carried.filter_map(|order| Some(orders.get(order)?.warehouse.id.clone())));
        touched.riders.insert(id.clone());
        match row {
            Some(row) => drop(riders.insert(id, row)),
            None => drop(riders.remove(&id)),
        }
    }

    fn put_order(&mut self, id: OrderId, row: Option<OrderRow>) {
        let Self { orders, by_warehouse, touched, .. } = self;
        if orders.get(&id) == row.as_ref() {
            return;
        }
        touched.orders.insert(id.clone());
        if let Some(old) = orders.remove(&id) {
            let warehouse = old.warehouse.id;
            if let Some(ids) = by_warehouse.get_mut(&warehouse) {
                ids.remove(&id);
                if ids.is_empty() {
                    by_warehouse.remove(&warehouse);
                }
            }
            touched.warehouses.insert(warehouse);
        }
        if let Some(row) = row {
            touched.warehouses.insert(row.warehouse.id.clone());
            by_warehouse.entry(row.warehouse.id.clone()).or_default().insert(id.clone());
            orders.insert(id, row);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        domain::{Status, testing},
        wire::board::{Degrees, PositionRow, RiderOf, WarehouseRow},
    };
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1);

    /// A rider at so many thousandths of a degree east of the origin.
    pub(crate) fn rider(east: i32, orders: &[u32]) -> RiderRow {
        let at = Degrees { lat: 31.0, lon: f64::from(east) / 1e3 };
        let position =
            PositionRow { at, fix_time_ms: UnixMillis(1_000), speed_mps: None, heading_deg: None, accuracy_m: None };
        RiderRow {
            on_shift: true,
            position: Some(position),
            orders: orders.iter().map(|n| testing::order(*n)).collect(),
        }
    }

    /// An order of a warehouse at the origin.
    pub(crate) fn order(warehouse: &str, status: Status, east: i32, rider: Option<u32>) -> OrderRow {
        let origin = Degrees { lat: 31.0, lon: 0.0 };
        OrderRow {
            status,
            stage: None,
            warehouse: WarehouseRow { id: warehouse.parse().unwrap(), at: origin },
            destination: Degrees { lon: f64::from(east) / 1e3, ..origin },
            rider: rider.map(|n| RiderOf { id: testing::rider(n) }),
            stops_ahead: None,
            items: 1,
            promise: None,
            created_at_ms: UnixMillis(1),
            paid_at_ms: None,
            eta_p50_ms: None,
            alerts: Vec::new(),
        }
    }

    /// The owner: rows, and a version per word.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Owner {
        pub(crate) epoch: u64,
        pub(crate) version: u64,
        pub(crate) riders: BTreeMap<RiderId, RiderRow>,
        pub(crate) orders: BTreeMap<OrderId, OrderRow>,
    }

    impl Owner {
        pub(crate) fn word(
            &mut self,
            riders: &[(u32, Option<RiderRow>)],
            orders: &[(u32, Option<OrderRow>)],
        ) -> CellWord {
            let riders: Changed<_, _> = riders.iter().map(|(n, row)| (testing::rider(*n), row.clone())).collect();
            let orders: Changed<_, _> = orders.iter().map(|(n, row)| (testing::order(*n), row.clone())).collect();
            for (id, row) in riders.clone() {
                self.riders.remove(&id);
                self.riders.extend(row.map(|row| (id, row)));
            }
            for (id, row) in orders.clone() {
                self.orders.remove(&id);
                self.orders.extend(row.map(|row| (id, row)));
            }
            let from = self.version;
            self.version += 1;
            CellWord::Delta { epoch: self.epoch, from, to: self.version, at_ms: UnixMillis(1), riders, orders }
        }

        pub(crate) fn heartbeat(&self) -> CellWord {
            CellWord::Heartbeat { epoch: self.epoch, version: self.version }
        }

        /// Pages of one row.
        pub(crate) fn page(&self, ask: &CellQuery) -> CellPage {
            let (mut riders, mut orders): (BTreeMap<_, _>, BTreeMap<_, _>) = Default::default();
            let next = match &ask.after {
                After::Riders(after) => {
                    let next = self.riders.iter().find(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
                    riders.extend(next.map(|(id, row)| (id.clone(), row.clone())));
                    Some(next.map_or(After::Orders(None), |(id, _)| After::Riders(Some(id.clone()))))
                }
                After::Orders(after) => {
                    let next = self.orders.iter().find(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
                    orders.extend(next.map(|(id, row)| (id.clone(), row.clone())));
                    next.map(|(id, _)| After::Orders(Some(id.clone())))
                }
                After::All => None,
            };
            CellPage { epoch: self.epoch, version: self.version, at_ms: UnixMillis(1), riders, orders, next }
        }
    }

    pub(crate) fn read(mirror: &mut Mirror, owner: &Owner) {
        for _ in 0..1_000 {
            let ask = mirror.question();
            if !mirror.on_page(owner.page(&ask), &ask, NOW) {
                return;
            }
        }
        panic!("reads without end");
    }

    fn owner() -> Owner {
        let mut owner = Owner { epoch: 1, ..Owner::default() };
        owner.word(&[(1, Some(rider(1, &[1])))], &[(1, Some(order("w", Status::Paid, 5, Some(1))))]);
        owner
    }

    #[test]
    fn a_gap_and_a_heartbeat_ahead_ask_for_pages_and_a_deposed_owner_does_not() {
        let (mut mirror, mut owner) = (Mirror::default(), owner());
        assert!(mirror.is_behind());
        read(&mut mirror, &owner);
        assert!(mirror.is_loaded() && !mirror.is_behind());
        let (lost, next) =
            (owner.word(&[(1, Some(rider(2, &[1])))], &[]), owner.word(&[(2, Some(rider(3, &[])))], &[]));
        assert!(mirror.on_word(next, NOW), "a gap");
        assert!(mirror.on_word(lost, NOW).eq(&false), "it came late, and closes it");
        assert_eq!(mirror.riders(), &owner.riders);
        owner.word(&[], &[(1, None)]);
        assert!(!mirror.on_word(owner.heartbeat(), NOW) && mirror.is_behind());
        read(&mut mirror, &owner);
        assert_eq!((mirror.orders().len(), mirror.is_behind()), (0, false));
        let mut new = Owner { epoch: 2, version: 0, ..owner.clone() };
        let word = new.word(&[(3, Some(rider(9, &[])))], &[]);
        assert!(mirror.on_word(word, NOW), "another owner");
        read(&mut mirror, &new);
        assert!(!mirror.on_word(owner.word(&[(1, None)], &[]), NOW));
        assert_eq!((mirror.riders(), mirror.is_behind()), (&new.riders, false));
    }

    #[test]
    fn a_riders_move_touches_the_warehouses_of_the_orders_in_hand() {
        let (mut mirror, mut owner) = (Mirror::default(), owner());
        read(&mut mirror, &owner);
        mirror.take_touched();
        mirror.on_word(owner.word(&[(1, Some(rider(4, &[1])))], &[]), NOW);
        let touched = mirror.take_touched();
        assert_eq!((touched.riders.len(), touched.orders.len(), touched.warehouses.len()), (1, 0, 1));
        mirror.on_word(owner.word(&[], &[(1, Some(order("v", Status::Paid, 5, Some(1))))]), NOW);
        assert_eq!(mirror.take_touched().warehouses.len(), 2);
        assert_eq!(mirror.orders_of(&"w".parse().unwrap()).count(), 0);
        assert_eq!(mirror.orders_of(&"v".parse().unwrap()).count(), 1);
    }

    proptest! {
        /// Whatever is lost, late or changed between two pages: after one more heartbeat it is the owner's cell.
        #[test]
        fn it_ends_as_the_owner_is(
            steps in prop::collection::vec((0..5u32, 0..4i32, 0..6u8, any::<bool>()), 0..60),
        ) {
            let (mut mirror, mut owner) = (Mirror::default(), owner());
            let mut late = Vec::new();
            for (n, east, what, some) in steps {
                match what {
                    0..=2 => {
                        let row = some.then(|| rider(east, &[n]));
                        let order = (!some || east > 0).then(|| order("w", Status::Paid, east, None));
                        let word = owner.word(&[(n, row)], &[(n, order)]);
                        match what {
                            0 => {
                                mirror.on_word(word, NOW);
                            }
                            1 => late.push(word),
                            _ => {}
                        }
                    }
                    3 => {
                        for word in late.drain(..).rev() {
                            mirror.on_word(word, NOW);
                        }
                    }
                    4 => {
                        let ask = mirror.question();
                        mirror.on_page(owner.page(&ask), &ask, NOW);
                    }
                    _ => {
                        if some { (owner.epoch, owner.version) = (owner.epoch + 1, 0); } else { mirror.start_over(); }
                    }
                }
            }
            mirror.on_word(owner.heartbeat(), NOW);
            if mirror.is_behind() || mirror.reading.is_some() {
                read(&mut mirror, &owner);
            }
            prop_assert!(!mirror.is_behind());
            prop_assert_eq!(&mirror.riders, &owner.riders);
            prop_assert_eq!(&mirror.orders, &owner.orders);
            let indexed: usize = mirror.by_warehouse.values().map(BTreeSet::len).sum();
            prop_assert_eq!(indexed, mirror.orders.len());
        }
    }
}
