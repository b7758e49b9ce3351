//! The plan of a run: what each party will do and when, from the seed alone. It takes for granted that the system answers;
//! whoever carries the plan out waits for the answers, and no decision hangs on how long they took. So one seed is one
//! city, however fast the machine is.

use super::{
    deed::Deed,
    demand::Demand,
    draw::{Draw, stream},
    rider::Rider,
    streets::Streets,
    warehouse::Warehouse,
    wish::{Intent, Wish},
};
use crate::domain::{Stage, UnixMillis, ids::IdError};
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
/// One warehouse report in so many is followed by a wrong one, which must be refused.
const STAGE_BACK_CHANCE: f64 = 0.01;
/// The system's default for unpaid orders.
pub(super) const UNPAID_MS: i64 = 30 * 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
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
    pub(super) demand: Demand,
    pub(super) begin: UnixMillis,
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
            let wish = Wish::draw(seed, n, prefix, &plan.streets, &plan.warehouses)?;
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

    pub(super) fn at(&mut self, due: UnixMillis, event: Event) {
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
        let Wish { intent, pay_after_ms, edit, .. } = self.wishes[order as usize];
        let decided = now.plus(pay_after_ms);
        if edit.is_some_and(|edit| edit.unpaid) {
            self.edit(order, now.plus(pay_after_ms / 2));
        }
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

    /// From now on, the order goes where the customer wants it after all.
    fn edit(&mut self, order: u32, at: UnixMillis) {
        let wish = &mut self.wishes[order as usize];
        wish.door = wish.edit.and_then(|edit| edit.door).unwrap_or(wish.door);
        self.deeds.push((at, Deed::Edit { order }));
    }

    fn task(&mut self, order: u32, now: UnixMillis) {
        let Wish { warehouse, items, intent, edit, missing, .. } = self.wishes[order as usize];
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
        if edit.is_some_and(|edit| !edit.unpaid) {
            self.edit(order, picking.picking.plus(1_000));
        }
        if missing.is_some() {
            self.deeds.push((picking.picked.plus(5_000), Deed::Missing { order }));
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

    /// What happens to each order, in its order: an assignment each time somebody takes it over.
    fn ways(plan: &Plan) -> BTreeMap<u32, Vec<&'static str>> {
        let mut events: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
        for (_, deed) in &plan.deeds {
            let name = match deed {
                Deed::Create { .. } => "create",
                Deed::Pay { .. } => "pay",
                Deed::Cancel { .. } => "cancel",
                Deed::Edit { .. } => "edit",
                Deed::Missing { .. } => "missing",
                Deed::Stage { must_be_refused: true, .. } | Deed::Trip { .. } | Deed::Shift { .. } => continue,
                Deed::Stage { stage, .. } => stage.name(),
                Deed::Assign { .. } => "assign",
                Deed::Delivered { .. } => "delivered",
                Deed::Failed { .. } => "failed",
                Deed::Returned { .. } => "returned",
                Deed::HandOver { orders, .. } => {
                    orders.iter().for_each(|order| events.entry(*order).or_default().push("assign"));
                    continue;
                }
            };
            events.entry(deed.order().unwrap()).or_default().push(name);
        }
        events
    }

    #[test]
    fn every_order_ends_once_and_what_happens_to_it_is_in_its_order() {
        for demand in [Demand::Day, Demand::Even { every_ms: 30_000 }] {
            let events = ways(&plan(5, demand));
            assert_eq!(events.len(), 400);
            let mut ways: BTreeMap<String, usize> = BTreeMap::new();
            for events in events.values() {
                // Beside the straight way.
                let straight = events.iter().filter(|e| !["edit", "missing", "failed"].contains(e)).copied();
                let mut straight: Vec<_> = straight.collect();
                straight.dedup_by(|a, b| a == b && *a == "assign");
                // Taken over on the way.
                let on_the_way = straight.iter().rposition(|e| *e == "assign");
                if let Some(at) = on_the_way.filter(|at| *at > 0 && straight[at - 1] == "handed_over") {
                    straight.remove(at);
                }
                *ways.entry(straight.join(" ")).or_default() += 1;
                let place = |what: &str| events.iter().position(|e| *e == what);
                assert!(place("edit").is_none_or(|at| Some(at) < place("handed_over")), "{events:?}");
                assert!(place("missing").is_none_or(|at| Some(at) > place("picked")), "{events:?}");
                let failed = events.iter().filter(|e| **e == "failed").count();
                assert!(failed <= 2 && (failed == 0 || Some(place("failed")) > Some(place("handed_over"))));
                assert!(place("returned").is_none() || failed > 0, "{events:?}");
            }
            let whole = "create pay received picking picked packed assign handed_over delivered";
            let known = [
                whole,
                "create",
                "create cancel",
                "create pay received picking cancel",
                "create pay received picking picked packed assign handed_over cancel",
                "create pay received picking picked packed assign handed_over returned",
            ];
            assert!(ways.keys().all(|way| known.contains(&way.as_str())), "{ways:?}");
            assert!(ways[whole] > 340 && ways.len() > 3, "{ways:?}");
        }
    }

    #[test]
    fn what_happens_in_life_happens() {
        let events: Vec<_> = (1..=4).flat_map(|seed| ways(&plan(seed, Demand::Day)).into_values()).collect();
        let count = |of: &dyn Fn(&Vec<&str>) -> bool| events.iter().filter(|e| of(e)).count();
        for what in ["edit", "missing", "failed", "returned"] {
            assert!(count(&|e| e.contains(&what)) >= 4, "{what}");
        }
        assert!(count(&|e| e.contains(&"failed") && e.contains(&"delivered")) > 10);
        assert!(count(&|e| e.windows(2).any(|w| w == ["handed_over", "assign"])) > 4);
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
        let mut open: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (due, deed) in &plan.deeds {
            match deed {
                Deed::Shift { rider, on: true, .. } => assert!(on.insert(*rider)),
                Deed::Shift { rider, on: false, .. } => {
                    assert!(on.remove(rider) && open.get(rider).is_none_or(Vec::is_empty))
                }
                Deed::Assign { order, rider } => {
                    for orders in open.values_mut() {
                        orders.retain(|o| o != order);
                    }
                    open.entry(*rider).or_default().push(*order);
                }
                Deed::Trip { rider, stops } => {
                    assert!(on.contains(rider), "at {due:?}");
                    sizes.insert(stops.len());
                    assert!(stops.iter().all(|order| open[rider].contains(order)), "at {due:?}");
                }
                Deed::Failed { rider, at, order } => assert!(at <= due && open[rider].contains(order)),
                Deed::Delivered { rider, at, order } | Deed::Returned { rider, at, order } => {
                    assert!(at <= due && on.contains(rider) && open[rider].contains(order), "{order} at {due:?}");
                    open.entry(*rider).or_default().retain(|o| o != order);
                }
                Deed::Cancel { order, .. } => open.values_mut().for_each(|orders| orders.retain(|o| o != order)),
                Deed::HandOver { rider, to, orders } => {
                    assert!(on.remove(rider) && on.contains(to));
                    let mut in_hand = open.insert(*rider, Vec::new()).unwrap();
                    in_hand.sort_unstable();
                    let mut named = orders.clone();
                    named.sort_unstable();
                    assert_eq!(in_hand, named, "all that is in hand is handed over");
                    assert!(open.entry(*to).or_default().is_empty());
                    open.insert(*to, orders.clone());
                }
                Deed::Create { .. }
                | Deed::Pay { .. }
                | Deed::Edit { .. }
                | Deed::Missing { .. }
                | Deed::Stage { .. } => {}
            }
        }
        assert!(on.is_empty(), "nobody stays on shift for ever");
        assert_eq!(sizes, BTreeSet::from([1, 2, 3, 4]));
    }
}
