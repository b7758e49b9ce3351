//! The simulation itself: what each party decides and when, in cell time. Events come off one queue; what has to be sent is
//! handed out as [`Act`]s, and what became of it comes back. No client, no clock: one seed and the same answers give the
//! same town.

use super::{
    city::{City, Draw, Spot, Way, crossing, stream},
    rider::{Rider, Stop, Turn},
    tasks::Task,
};
use crate::{
    domain::{OrderId, RiderId, Stage, UnixMillis, WarehouseId, ids::IdError},
    wire::fix::FixBody,
};
use rand::Rng;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

/// Orders that a shop leaves open per rider before it stops taking new ones for a while.
const OPEN_PER_RIDER: usize = 4;
const POSTPONE_MS: i64 = 30_000;
/// One in so many customers changes their mind before paying.
const CANCEL_CHANCE: f64 = 0.03;

/// What was ordered.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) order: OrderId,
    pub(super) warehouse: usize,
    pub(super) door: Spot,
    pub(super) items: u32,
    pub(super) amount_minor: i64,
    pub(super) route: Way,
    pay_after_ms: i64,
    cancels: bool,
}

/// Something for the outside to do.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Create { n: u32, wish: Box<Wish>, at: UnixMillis },
    Pay { order: OrderId },
    Cancel { order: OrderId },
    Stage { warehouse: WarehouseId, order: OrderId, stage: Stage },
    Assign { rider: usize, id: RiderId, orders: Vec<OrderId> },
    Trip { id: RiderId, stops: Vec<OrderId> },
    Fixes { id: RiderId, fixes: Vec<FixBody> },
    Delivered { id: RiderId, order: OrderId, at: UnixMillis },
}

/// How an [`Act`] ended, as far as the town goes on from there.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Created { n: u32, at: UnixMillis },
    Packed { order: OrderId },
    Assigned { rider: usize, orders: Vec<OrderId> },
    NotAssigned { rider: usize },
    Fixes { sent: u64 },
    Delivered,
    Cancelled,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Create(u32),
    Pay(u32),
    Stage { warehouse: WarehouseId, order: OrderId, stage: Stage },
    Turn(usize),
    Report(usize),
}

/// Counts for the progress line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) packed: u64,
    pub(super) assigned: u64,
    pub(super) delivered: u64,
    pub(super) cancelled: u64,
    pub(super) fixes: u64,
}

/// Everybody in the town.
#[derive(Debug)]
pub(super) struct Town {
    pub(super) city: City,
    pub(super) riders: Vec<Rider>,
    /// Riders who have been promised orders, but whose assignment isn't confirmed.
    promised: Vec<bool>,
    wishes: Vec<Wish>,
    by_order: BTreeMap<OrderId, u32>,
    /// Packed orders without a rider, per warehouse, oldest first.
    shelves: Vec<VecDeque<OrderId>>,
    events: BinaryHeap<Reverse<(UnixMillis, u64, Event)>>,
    ties: u64,
    pub(super) counts: Counts,
}

/// Size of a town.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) orders: u32,
    pub(super) riders: u32,
    pub(super) warehouses: u32,
    /// Mean distance of two orders in time.
    pub(super) order_every_ms: i64,
}

impl Town {
    /// A town whose first order is placed soon after `now`.
    pub(super) fn new(size: Size, prefix: &str, now: UnixMillis) -> Result<Self, IdError> {
        let Size { seed, orders, riders, warehouses, order_every_ms } = size;
        let city = City::new(seed, warehouses, prefix)?;
        let riders = (1..=riders).map(|n| Rider::new(seed, n, prefix)).collect::<Result<Vec<_>, _>>()?;
        let mut town = Self {
            promised: vec![false; riders.len()],
            shelves: vec![VecDeque::new(); city.warehouses.len()],
            city,
            riders,
            wishes: Vec::new(),
            by_order: BTreeMap::new(),
            events: BinaryHeap::new(),
            ties: 0,
            counts: Counts::default(),
        };
        let mut at = now;
        for n in 0..orders {
            let mut random = stream(seed, Draw::Order(n));
            at = at.plus(random.random_range(0..=order_every_ms.max(0) * 2));
            let warehouse = random.random_range(0..town.city.warehouses.len());
            let door = crossing(&mut random);
            let wish = Wish {
                order: format!("{prefix}o{n}").parse()?,
                warehouse,
                door,
                items: random.random_range(1..=12),
                amount_minor: random.random_range(990..=29_900),
                route: Way::between(town.city.warehouses[warehouse].at, door, random.random_bool(0.5)),
                pay_after_ms: random.random_range(5_000..=20_000),
                cancels: random.random_bool(CANCEL_CHANCE),
            };
            town.by_order.insert(wish.order.clone(), n);
            town.wishes.push(wish);
            town.at(at, Event::Create(n));
        }
        for rider in 0..town.riders.len() {
            // Phones don't report in step.
            town.at(now.plus(i64::try_from(rider).unwrap_or(0) * 997 % 15_000), Event::Report(rider));
        }
        Ok(town)
    }

    fn at(&mut self, due: UnixMillis, event: Event) {
        self.ties += 1;
        self.events.push(Reverse((due, self.ties, event)));
    }

    /// When the next thing happens.
    pub(super) fn next_due(&self) -> Option<UnixMillis> {
        self.events.peek().map(|Reverse((due, _, _))| *due)
    }

    /// All orders are placed, and each is delivered or cancelled.
    pub(super) fn is_done(&self) -> bool {
        self.counts.delivered + self.counts.cancelled >= self.wishes.len() as u64
    }

    /// What is due at `now`, one event at a time; `None` if nothing is.
    pub(super) fn step(&mut self, now: UnixMillis) -> Option<Vec<Act>> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((due, _, event)) = self.events.pop()?;
        Some(match event {
            Event::Create(n) => self.create(n, due),
            Event::Pay(n) => {
                let Wish { order, cancels, .. } = &self.wishes[n as usize];
                let order = order.clone();
                vec![if *cancels { Act::Cancel { order } } else { Act::Pay { order } }]
            }
            Event::Stage { warehouse, order, stage } => vec![Act::Stage { warehouse, order, stage }],
            Event::Turn(rider) => self.turn(rider, due),
            Event::Report(rider) => {
                let (fixes, next) = self.riders[rider].report(due);
                self.at(next, Event::Report(rider));
                let id = self.riders[rider].id.clone();
                if fixes.is_empty() { Vec::new() } else { vec![Act::Fixes { id, fixes }] }
            }
        })
    }

    fn create(&mut self, n: u32, due: UnixMillis) -> Vec<Act> {
        let open = self.counts.created - self.counts.delivered - self.counts.cancelled;
        if open >= (self.riders.len() * OPEN_PER_RIDER) as u64 {
            self.at(due.plus(POSTPONE_MS), Event::Create(n));
            return Vec::new();
        }
        self.counts.created += 1;
        vec![Act::Create { n, wish: Box::new(self.wishes[n as usize].clone()), at: due }]
    }

    fn turn(&mut self, rider: usize, due: UnixMillis) -> Vec<Act> {
        let id = self.riders[rider].id.clone();
        match self.riders[rider].turn(due) {
            Turn::Nothing => Vec::new(),
            Turn::Arrived { next } => {
                self.at(next, Event::Turn(rider));
                Vec::new()
            }
            Turn::PickedUp { stops, next } => {
                self.at(next, Event::Turn(rider));
                let handed_over = stops.iter().filter_map(|order| {
                    let warehouse = self.wish(order)?.warehouse;
                    let warehouse = self.city.warehouses[warehouse].id.clone();
                    Some(Act::Stage { warehouse, order: order.clone(), stage: Stage::HandedOver })
                });
                let mut acts: Vec<_> = handed_over.collect();
                acts.push(Act::Trip { id, stops });
                acts
            }
            Turn::Delivered { order, next } => {
                if let Some(next) = next {
                    self.at(next, Event::Turn(rider));
                }
                let mut acts = vec![Act::Delivered { id, order, at: due }];
                acts.extend(self.dispatch());
                acts
            }
        }
    }

    fn wish(&self, order: &OrderId) -> Option<&Wish> {
        self.by_order.get(order).map(|&n| &self.wishes[n as usize])
    }

    /// A warehouse got a picking task: it will report its stages, the quicker the fewer items.
    pub(super) fn task(&mut self, task: &Task, now: UnixMillis) {
        let Some(items) = self.wish(&task.order).map(|wish| i64::from(wish.items)) else { return };
        let picked_ms = 12_000 + items * 10_000;
        let stages = [
            (Stage::Received, 2_000),
            (Stage::Picking, 12_000),
            (Stage::Picked, picked_ms),
            (Stage::Packed, picked_ms + 30_000),
        ];
        for (stage, after_ms) in stages {
            let (warehouse, order) = (task.warehouse.clone(), task.order.clone());
            self.at(now.plus(after_ms), Event::Stage { warehouse, order, stage });
        }
    }

    /// An act ended; what follows from it.
    pub(super) fn done(&mut self, done: Done, now: UnixMillis) -> Vec<Act> {
        match done {
            Done::Created { n, at } => {
                let pay_at = at.plus(self.wishes[n as usize].pay_after_ms);
                self.at(pay_at, Event::Pay(n));
            }
            Done::Packed { order } => {
                self.counts.packed += 1;
                if let Some(warehouse) = self.wish(&order).map(|wish| wish.warehouse) {
                    self.shelves[warehouse].push_back(order);
                }
                return self.dispatch();
            }
            Done::Assigned { rider, orders } => {
                self.promised[rider] = false;
                self.counts.assigned += orders.len() as u64;
                let wishes: Vec<_> = orders.iter().filter_map(|order| self.wish(order)).collect();
                let Some(warehouse) = wishes.first().map(|wish| self.city.warehouses[wish.warehouse].at) else {
                    return Vec::new();
                };
                let stops = wishes.iter().map(|wish| Stop { order: wish.order.clone(), door: wish.door }).collect();
                let arrival = self.riders[rider].fetch(warehouse, stops, now);
                self.at(arrival, Event::Turn(rider));
            }
            Done::NotAssigned { rider } => self.promised[rider] = false,
            Done::Fixes { sent } => self.counts.fixes += sent,
            Done::Delivered => self.counts.delivered += 1,
            Done::Cancelled => self.counts.cancelled += 1,
            Done::Nothing => {}
        }
        Vec::new()
    }

    /// Gives what stands packed to the nearest free riders, one to three orders each.
    fn dispatch(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        for (warehouse, shelf) in self.shelves.iter_mut().enumerate() {
            while !shelf.is_empty() {
                let place = self.city.warehouses[warehouse].at;
                let free = (0..self.riders.len()).filter(|&r| self.riders[r].is_free() && !self.promised[r]);
                let nearest =
                    free.min_by(|&a, &b| self.riders[a].distance_m(place).total_cmp(&self.riders[b].distance_m(place)));
                let Some(rider) = nearest else { break };
                self.promised[rider] = true;
                let take = self.riders[rider].appetite().min(shelf.len());
                let orders = shelf.drain(..take).collect();
                acts.push(Act::Assign { rider, id: self.riders[rider].id.clone(), orders });
            }
        }
        acts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a whole town against a system that accepts everything at once.
    fn play(seed: u64) -> (Counts, Vec<String>) {
        let size = Size { seed, orders: 30, riders: 4, warehouses: 2, order_every_ms: 20_000 };
        let mut town = Town::new(size, "t-", UnixMillis(0)).unwrap();
        let mut log = Vec::new();
        while !town.is_done() {
            let now = town.next_due().unwrap();
            assert!(now < UnixMillis(10 * 3_600_000), "the town is stuck: {:?}", town.counts);
            let mut acts = town.step(now).unwrap();
            while let Some(act) = acts.pop() {
                log.push(format!("{now:?} {act:?}"));
                let done = match act {
                    Act::Create { n, at, .. } => Done::Created { n, at },
                    Act::Pay { order } => {
                        let warehouse = town.city.warehouses[town.wish(&order).unwrap().warehouse].id.clone();
                        town.task(&Task { warehouse, order }, now);
                        Done::Nothing
                    }
                    Act::Cancel { .. } => Done::Cancelled,
                    Act::Stage { order, stage: Stage::Packed, .. } => Done::Packed { order },
                    Act::Stage { .. } | Act::Trip { .. } => Done::Nothing,
                    Act::Assign { rider, orders, .. } => {
                        assert!((1..=3).contains(&orders.len()));
                        Done::Assigned { rider, orders }
                    }
                    Act::Fixes { fixes, .. } => Done::Fixes { sent: fixes.len() as u64 },
                    Act::Delivered { .. } => Done::Delivered,
                };
                acts.extend(town.done(done, now));
            }
        }
        (town.counts, log)
    }

    #[test]
    fn every_order_ends_and_one_seed_is_one_town() {
        let (counts, log) = play(5);
        assert_eq!((counts.created, counts.delivered + counts.cancelled), (30, 30));
        assert_eq!(counts.assigned, counts.delivered);
        assert!(counts.fixes > 100);
        assert_eq!(play(5), (counts, log));
        assert_ne!(play(6).1.len(), play(5).1.len());
    }
}
