//! The plan of a run: what each party will do and when, from the seed alone. It takes for granted that the system answers;
//! whoever carries the plan out waits for the answers, and no decision hangs on how long they took. So one seed is one
//! city, however fast the machine is.

use super::{
    demand::Demand,
    draw::{Draw, stream},
    rider::Rider,
    streets::{Corner, Streets, Way},
    warehouse::Warehouse,
};
use crate::domain::{OrderId, Stage, UnixMillis, ids::IdError};
use rand::Rng;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// Orders that a shop leaves open per rider on shift before it stops taking new ones for a while.
const OPEN_PER_RIDER: usize = 4;
const POSTPONE_MS: i64 = 30_000;
/// A packed order waits so long for others that could go with it, unless so many stand there.
const BUNDLE_MS: i64 = 150_000;
const BUNDLE: usize = 4;
/// Doors are so far from their warehouse.
const DOOR_M: std::ops::Range<f64> = 200.0..2_500.0;
/// At the warehouse and at the door.
const PICK_UP_MS: std::ops::Range<i64> = 30_000..90_000;
const HAND_OVER_MS: std::ops::Range<i64> = 20_000..60_000;
/// One trip in so many was first given to another rider; one order in so many is cancelled by operations on the way.
const REASSIGN_CHANCE: f64 = 0.03;
const CANCEL_ON_THE_WAY_CHANCE: f64 = 0.015;
/// One warehouse report in so many is followed by a wrong one, which must be refused.
const STAGE_BACK_CHANCE: f64 = 0.01;
/// The system's default for unpaid orders.
const UNPAID_MS: i64 = 30 * 60_000;

/// What the customer makes of an order, short of accidents on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Receive,
    NeverPay,
    CancelUnpaid,
    CancelPaid,
}

/// What was ordered.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) order: OrderId,
    pub(super) warehouse: usize,
    pub(super) door: Corner,
    pub(super) items: u32,
    pub(super) amount_minor: i64,
    pub(super) route: Way,
    pay_after_ms: i64,
    intent: Intent,
    cancelled: bool,
}

/// What is done. Orders and riders are numbers in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Create { order: u32 },
    Pay { order: u32 },
    Cancel { order: u32, reason: &'static str },
    Stage { order: u32, stage: Stage, must_be_refused: bool },
    Assign { order: u32, rider: usize },
    Trip { rider: usize, stops: Vec<u32> },
    Delivered { rider: usize, order: u32, at: UnixMillis },
    Shift { rider: usize, on: bool, after: Vec<u32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Create(u32),
    Task(u32),
    Packed(u32),
    Ended,
    Look,
    ShiftEnd(usize),
}

/// Size of a city.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) orders: u32,
    pub(super) riders: u32,
    pub(super) warehouses: u32,
    pub(super) pickers: u32,
    pub(super) demand: Demand,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) streets: Streets,
    pub(super) warehouses: Vec<Warehouse>,
    pub(super) riders: Vec<Rider>,
    pub(super) wishes: Vec<Wish>,
    /// In order of time.
    pub(super) deeds: Vec<(UnixMillis, Deed)>,
    /// When everything has come to its end, also what ends by itself.
    pub(super) end: UnixMillis,
    seed: u64,
    demand: Demand,
    begin: UnixMillis,
    open: usize,
    events: BinaryHeap<Reverse<(UnixMillis, u64, Event)>>,
    ties: u64,
}

impl Plan {
    /// Plans a run that begins at `begin`.
    pub(super) fn new(size: Size, streets: Streets, prefix: &str, begin: UnixMillis) -> Result<Self, IdError> {
        let Size { seed, orders, riders, warehouses, pickers, demand } = size;
        let mut random = stream(seed, Draw::City);
        let warehouses = (1..=warehouses)
            .map(|n| {
                let id = format!("{prefix}w{n}").parse()?;
                Ok(Warehouse::new(id, format!("前置仓 {n}"), streets.any(&mut random), pickers))
            })
            .collect::<Result<Vec<_>, IdError>>()?;
        let riders = (1..=riders)
            .map(|n| {
                let (from, to) = demand.shift_ms(n, random.random_range(0.0..1.0));
                // Phones don't report in step.
                let stagger_ms = i64::from(n) * 997 % 15_000;
                Rider::new(seed, n, prefix, &streets, (begin.plus(from + stagger_ms), begin.plus(to)))
            })
            .collect::<Result<Vec<_>, IdError>>()?;
        let (events, wishes, deeds) = (BinaryHeap::new(), Vec::new(), Vec::new());
        let mut plan = Self {
            streets,
            warehouses,
            riders,
            wishes,
            deeds,
            end: begin,
            seed,
            demand,
            begin,
            open: 0,
            events,
            ties: 0,
        };
        for (n, at) in (0..).zip(demand.times(seed, orders, begin)) {
            let wish = plan.wish(seed, n, prefix)?;
            plan.wishes.push(wish);
            plan.at(at, Event::Create(n));
        }
        for rider in 0..plan.riders.len() {
            let (from, to) = plan.riders[rider].shift;
            plan.deeds.push((from, Deed::Shift { rider, on: true, after: Vec::new() }));
            plan.at(from, Event::Look);
            plan.at(to, Event::ShiftEnd(rider));
        }
        plan.play();
        Ok(plan)
    }

    fn wish(&self, seed: u64, n: u32, prefix: &str) -> Result<Wish, IdError> {
        let mut random = stream(seed, Draw::Order(n));
        // The stream's first draw was the order's time.
        let _: f64 = random.random_range(0.0..1.0);
        let warehouse = random.random_range(0..self.warehouses.len());
        let from = self.warehouses[warehouse].corner;
        let door = self.streets.any_within(self.streets.spot(from), DOOR_M.start, DOOR_M.end, &mut random);
        Ok(Wish {
            order: format!("{prefix}o{n}").parse()?,
            warehouse,
            door,
            items: random.random_range(1..=12),
            amount_minor: random.random_range(990..=29_900),
            route: self.streets.way(from, door),
            pay_after_ms: random.random_range(5_000..=20_000),
            intent: match random.random_range(0..200) {
                0..=2 => Intent::NeverPay,
                3..=6 => Intent::CancelUnpaid,
                7..=9 => Intent::CancelPaid,
                _ => Intent::Receive,
            },
            cancelled: false,
        })
    }

    fn at(&mut self, due: UnixMillis, event: Event) {
        self.ties += 1;
        self.events.push(Reverse((due, self.ties, event)));
    }

    fn play(&mut self) {
        let mut unfinished = self.wishes.len();
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            match event {
                Event::Create(order) => self.create(order, now),
                Event::Task(order) => self.task(order, now),
                Event::Packed(order) => {
                    let wish = &self.wishes[order as usize];
                    if !wish.cancelled {
                        self.warehouses[wish.warehouse].shelf.push_back((now, order));
                        self.at(now.plus(BUNDLE_MS), Event::Look);
                        self.dispatch(now);
                    }
                }
                Event::Ended => {
                    self.open -= 1;
                    unfinished -= 1;
                    self.end = self.end.max(now);
                    self.dispatch(now);
                }
                Event::Look => self.dispatch(now),
                Event::ShiftEnd(rider) => self.shift_end(rider, now),
            }
            // Shifts may go on for ever; the run doesn't.
            if unfinished == 0 {
                break;
            }
        }
        for rider in 0..self.riders.len() {
            // Who carries nothing any more goes home when all is done.
            if !self.riders[rider].ended && self.riders[rider].shift.0 < self.end {
                let last = self.riders[rider].free_from.max(self.end);
                self.shift_end(rider, last);
                self.end = self.end.max(last);
            }
        }
        // A shift that would begin later doesn't.
        let ended: Vec<_> = self.riders.iter().map(|rider| rider.ended).collect();
        self.deeds.retain(|(_, deed)| !matches!(deed, Deed::Shift { rider, on: true, .. } if !ended[*rider]));
        self.deeds.sort_by_key(|(due, _)| *due);
    }

    fn create(&mut self, order: u32, now: UnixMillis) {
        let on_shift = self.riders.iter().filter(|rider| rider.on_shift(now)).count().max(1);
        if self.open >= on_shift * OPEN_PER_RIDER {
            return self.at(now.plus(POSTPONE_MS), Event::Create(order));
        }
        self.open += 1;
        self.deeds.push((now, Deed::Create { order }));
        let Wish { intent, pay_after_ms, .. } = self.wishes[order as usize];
        let decided = now.plus(pay_after_ms);
        match intent {
            Intent::NeverPay => return self.at(now.plus(UNPAID_MS + 60_000), Event::Ended),
            Intent::CancelUnpaid => {
                let reason = "changed my mind";
                self.deeds.push((decided, Deed::Cancel { order, reason }));
                return self.at(decided, Event::Ended);
            }
            Intent::Receive | Intent::CancelPaid => {}
        }
        self.deeds.push((decided, Deed::Pay { order }));
        self.at(decided.plus(1_000), Event::Task(order));
    }

    fn task(&mut self, order: u32, now: UnixMillis) {
        let Wish { warehouse, items, intent, .. } = self.wishes[order as usize];
        let mut random = stream(self.seed, Draw::Picking(order));
        let picking = self.warehouses[warehouse].pick(now, items, &mut random);
        let stages = [
            (picking.received, Stage::Received),
            (picking.picking, Stage::Picking),
            (picking.picked, Stage::Picked),
            (picking.packed, Stage::Packed),
        ];
        // The picker finds out when all is packed, and puts it back.
        let given_up = match intent {
            Intent::CancelPaid => Some(picking.picking.plus(picking.picked.since(picking.picking) / 2)),
            Intent::Receive | Intent::NeverPay | Intent::CancelUnpaid => None,
        };
        for (due, stage) in stages {
            if given_up.is_none_or(|given_up| due < given_up) {
                self.deeds.push((due, Deed::Stage { order, stage, must_be_refused: false }));
            }
        }
        if let Some(at) = given_up {
            self.wishes[order as usize].cancelled = true;
            let reason = "ordered the wrong things";
            self.deeds.push((at, Deed::Cancel { order, reason }));
            return self.at(at, Event::Ended);
        }
        if random.random_bool(STAGE_BACK_CHANCE) {
            let again = picking.packed.plus(5_000);
            self.deeds.push((again, Deed::Stage { order, stage: Stage::Picking, must_be_refused: true }));
        }
        self.at(picking.packed, Event::Packed(order));
    }

    /// Gives what stands packed to the nearest free riders, one to four orders each.
    fn dispatch(&mut self, now: UnixMillis) {
        for warehouse in 0..self.warehouses.len() {
            let place = self.streets.spot(self.warehouses[warehouse].corner);
            let goes = |shelf: &VecDeque<(UnixMillis, u32)>| {
                shelf.len() >= BUNDLE || shelf.front().is_some_and(|(since, _)| now.since(*since) >= BUNDLE_MS)
            };
            while goes(&self.warehouses[warehouse].shelf) {
                let distance_m = |rider: &usize| self.streets.spot(self.riders[*rider].corner).distance_m(place);
                let free = (0..self.riders.len()).filter(|rider| self.riders[*rider].is_free(now));
                let Some(rider) = free.min_by(|a, b| distance_m(a).total_cmp(&distance_m(b))) else { return };
                let shelf = &mut self.warehouses[warehouse].shelf;
                let take = self.riders[rider].appetite().min(shelf.len());
                let orders: Vec<u32> = shelf.drain(..take).map(|(_, order)| order).collect();
                self.trip(rider, warehouse, orders, now);
            }
        }
    }

    /// Plans a whole trip: to the warehouse, from door to door, the next one always the nearest.
    fn trip(&mut self, rider: usize, warehouse: usize, orders: Vec<u32>, now: UnixMillis) {
        let mut at = now.plus(1_000);
        if let Some(other) = self.other_rider(rider, now) {
            self.deeds.extend(orders.iter().map(|&order| (at, Deed::Assign { order, rider: other })));
            at = at.plus(self.riders[rider].between(5_000..20_000));
        }
        self.deeds.extend(orders.iter().map(|&order| (at, Deed::Assign { order, rider })));
        let flow = |at: UnixMillis| self.demand.flow(at.since(self.begin));
        let streets = &self.streets;
        let one = &mut self.riders[rider];
        one.motion.stay(at.plus(3_000));
        one.ride(streets, self.warehouses[warehouse].corner, flow(at));
        let loaded = one.stand(PICK_UP_MS);
        let handed_over =
            |&order: &u32| (loaded, Deed::Stage { order, stage: Stage::HandedOver, must_be_refused: false });
        self.deeds.extend(orders.iter().map(handed_over));
        let mut left = orders;
        let mut stops = Vec::with_capacity(left.len());
        let mut corner = one.corner;
        while !left.is_empty() {
            let distance_m =
                |order: u32| streets.spot(self.wishes[order as usize].door).distance_m(streets.spot(corner));
            let nearest = (0..left.len()).min_by(|&a, &b| distance_m(left[a]).total_cmp(&distance_m(left[b])));
            let order = left.remove(nearest.unwrap_or(0));
            corner = self.wishes[order as usize].door;
            stops.push(order);
        }
        self.deeds.push((loaded, Deed::Trip { rider, stops: stops.clone() }));
        let mut ended = Vec::new();
        for (n, &order) in stops.iter().enumerate() {
            if n > 0 && one.happens(CANCEL_ON_THE_WAY_CHANCE) {
                let at = loaded.plus(one.between(20_000..90_000));
                let reason = "the customer can't be reached";
                self.deeds.push((at, Deed::Cancel { order, reason }));
                ended.push(at);
                continue;
            }
            let flow = self.demand.flow(one.motion.end().0.since(self.begin));
            one.ride(streets, self.wishes[order as usize].door, flow);
            let at = one.stand(HAND_OVER_MS);
            // Without network the report comes later, with its own time.
            let due = one.phone.spells.online_from(at);
            self.deeds.push((due, Deed::Delivered { rider, order, at }));
            ended.push(due);
        }
        one.free_from = ended.iter().copied().max().unwrap_or(loaded).max(one.motion.end().0).plus(1_000);
        one.last_trip = stops;
        let free_from = one.free_from;
        for at in ended {
            self.at(at, Event::Ended);
        }
        self.at(free_from, Event::Look);
        if free_from >= self.riders[rider].shift.1 {
            self.at(free_from, Event::ShiftEnd(rider));
        }
    }

    /// Now and then the shop gives a trip to somebody else first.
    fn other_rider(&mut self, rider: usize, now: UnixMillis) -> Option<usize> {
        if !self.riders[rider].happens(REASSIGN_CHANCE) {
            return None;
        }
        let count = self.riders.len();
        (1..count).map(|n| (rider + n) % count).find(|&other| {
            let other = &self.riders[other];
            !other.ended && other.on_shift(now) && other.on_shift(now.plus(5 * 60_000))
        })
    }

    fn shift_end(&mut self, rider: usize, now: UnixMillis) {
        let one = &mut self.riders[rider];
        if one.ended || now < one.free_from || now < one.shift.0 {
            return;
        }
        one.ended = true;
        let at = now.plus(2_000);
        one.shift.1 = at;
        self.end = self.end.max(at);
        let after = std::mem::take(&mut one.last_trip);
        self.deeds.push((at, Deed::Shift { rider, on: false, after }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn plan(seed: u64, demand: Demand) -> Plan {
        let size = Size { seed, orders: 400, riders: 25, warehouses: 3, pickers: 3, demand };
        Plan::new(size, Streets::grid().unwrap(), "t-", UnixMillis(1_000_000)).unwrap()
    }

    #[test]
    fn every_order_ends_once_and_what_happens_to_it_is_in_its_order() {
        for demand in [Demand::Day, Demand::Even { every_ms: 30_000 }] {
            let plan = plan(5, demand);
            let mut events: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
            for (_, deed) in &plan.deeds {
                let (order, name) = match deed {
                    Deed::Create { order } => (order, "create"),
                    Deed::Pay { order } => (order, "pay"),
                    Deed::Cancel { order, .. } => (order, "cancel"),
                    Deed::Stage { must_be_refused: true, .. } | Deed::Trip { .. } | Deed::Shift { .. } => continue,
                    Deed::Stage { order, stage, .. } => (order, stage.name()),
                    Deed::Assign { order, .. } => (order, "assign"),
                    Deed::Delivered { order, .. } => (order, "delivered"),
                };
                events.entry(*order).or_default().push(name);
            }
            assert_eq!(events.len(), 400);
            let mut ways: BTreeMap<String, usize> = BTreeMap::new();
            for events in events.values() {
                *ways.entry(events.join(" ").replace("assign assign", "assign")).or_default() += 1;
            }
            let whole = "create pay received picking picked packed assign handed_over delivered";
            let known = [
                whole,
                "create",
                "create cancel",
                "create pay received picking cancel",
                "create pay received picking picked packed assign handed_over cancel",
            ];
            assert!(ways.keys().all(|way| known.contains(&way.as_str())), "{ways:?}");
            assert!(ways[whole] > 350 && ways.len() > 3, "{ways:?}");
        }
    }

    #[test]
    fn one_seed_is_one_city() {
        let (one, same, other) = (plan(7, Demand::Day), plan(7, Demand::Day), plan(8, Demand::Day));
        assert_eq!(one.deeds, same.deeds);
        assert_eq!(one.end, same.end);
        assert_ne!(one.deeds, other.deeds);
    }

    #[test]
    fn riders_carry_one_trip_at_a_time_within_their_shift() {
        let plan = plan(3, Demand::Even { every_ms: 10_000 });
        let mut sizes = BTreeSet::new();
        let mut on = BTreeSet::new();
        let mut open: BTreeMap<usize, usize> = BTreeMap::new();
        for (due, deed) in &plan.deeds {
            match deed {
                Deed::Shift { rider, on: true, .. } => assert!(on.insert(*rider)),
                Deed::Shift { rider, on: false, .. } => assert!(on.remove(rider)),
                Deed::Trip { rider, stops } => {
                    assert!(on.contains(rider), "at {due:?}");
                    sizes.insert(stops.len());
                    open.insert(*rider, stops.len());
                }
                Deed::Delivered { rider, at, .. } => {
                    assert!(at <= due && open[rider] > 0);
                    *open.entry(*rider).or_default() -= 1;
                }
                Deed::Create { .. }
                | Deed::Pay { .. }
                | Deed::Cancel { .. }
                | Deed::Stage { .. }
                | Deed::Assign { .. } => {}
            }
        }
        assert!(on.is_empty(), "nobody stays on shift for ever");
        assert_eq!(sizes, BTreeSet::from([1, 2, 3, 4]));
    }
}
