//! One trip of a rider, planned whole: to the warehouse, from door to door, and what goes wrong on the way. Somebody isn't
//! at home and gets a second visit, or the goods go back; operations cancel an order; a rider drops out and a substitute
//! takes what is left.

use super::{
    deed::Deed,
    plan::{Event, Plan},
};
use crate::domain::{Stage, UnixMillis};
use std::collections::{HashMap, VecDeque};

/// At the warehouse and at the door.
const PICK_UP_MS: std::ops::Range<i64> = 30_000..90_000;
const HAND_OVER_MS: std::ops::Range<i64> = 20_000..60_000;
/// One trip in so many was first given to another rider; one order in so many is cancelled by operations on the way.
const REASSIGN_CHANCE: f64 = 0.03;
const CANCEL_ON_THE_WAY_CHANCE: f64 = 0.015;
/// One visit in so many is in vain; after a first one, so many get a second at the trip's end.
const IN_VAIN_CHANCE: f64 = 0.04;
const SECOND_VISIT_CHANCE: f64 = 0.6;
/// One trip in so many is handed over after its first stop; whoever dropped out is back after a while.
const DROP_OUT_CHANCE: f64 = 0.03;
const DROPPED_OUT_MS: i64 = 40 * 60_000;
/// A substitute must have so much of the shift left.
const SUBSTITUTE_FOR_MS: i64 = 90 * 60_000;
/// From the word that somebody dropped out to the goods being in the substitute's hands.
const MEET_MS: i64 = 60_000;

/// A trip under way.
struct Trip {
    /// Who has the goods now.
    rider: usize,
    /// Orders and the visits that were in vain.
    left: VecDeque<(u32, u32)>,
    /// Orders that operations cancel on the way, and when.
    cancelled: HashMap<u32, UnixMillis>,
    /// Orders that go back to the warehouse.
    going_back: Vec<u32>,
    /// When each order came to its end.
    ended: Vec<UnixMillis>,
}

impl Trip {
    /// What is in hand at that time, in the order of the stops.
    fn in_hand(&self, at: UnixMillis) -> Vec<u32> {
        let left = self.left.iter().map(|(order, _)| *order).chain(self.going_back.iter().copied());
        left.filter(|order| self.cancelled.get(order).is_none_or(|cancelled| *cancelled > at)).collect()
    }
}

impl Plan {
    /// Plans a whole trip: to the warehouse, from door to door, the next one always the nearest.
    pub(super) fn trip(&mut self, rider: usize, warehouse: usize, orders: Vec<u32>, now: UnixMillis) {
        let mut at = now.plus(1_000);
        if let Some(other) = self.other_rider(rider, now) {
            self.deeds.extend(orders.iter().map(|&order| (at, Deed::Assign { order, rider: other })));
            at = at.plus(self.riders[rider].between(5_000..20_000));
        }
        self.deeds.extend(orders.iter().map(|&order| (at, Deed::Assign { order, rider })));
        let flow = self.flow(at);
        let one = &mut self.riders[rider];
        one.motion.stay(at.plus(3_000));
        one.ride(&self.streets, self.warehouses[warehouse].corner, flow);
        let loaded = one.stand(PICK_UP_MS);
        let handed_over =
            |&order: &u32| (loaded, Deed::Stage { order, stage: Stage::HandedOver, must_be_refused: false });
        self.deeds.extend(orders.iter().map(handed_over));
        let stops = self.one_after_the_other(rider, orders);
        self.deeds.push((loaded, Deed::Trip { rider, stops: stops.clone() }));
        let substitute = (stops.len() > 1 && self.riders[rider].happens(DROP_OUT_CHANCE))
            .then(|| self.substitute(rider, now))
            .flatten();
        let mut trip = Trip {
            rider,
            cancelled: self.cancelled_on_the_way(rider, &stops, loaded),
            left: stops.iter().map(|order| (*order, 0)).collect(),
            going_back: Vec::new(),
            ended: Vec::new(),
        };
        self.riders[rider].last_trip = stops;
        let mut out_from = None;
        while let Some((order, in_vain)) = trip.left.pop_front() {
            if let Some(at) = trip.cancelled.get(&order) {
                trip.ended.push(*at);
                continue;
            }
            let reported = self.visit(&mut trip, order, in_vain);
            if let Some(to) = substitute.filter(|to| *to != trip.rider)
                && !trip.in_hand(reported.plus(2_000)).is_empty()
            {
                out_from = Some(self.drop_out(&mut trip, to, reported));
            }
        }
        self.bring_back(&mut trip, warehouse);
        for at in &trip.ended {
            self.at(*at, Event::Ended);
        }
        self.is_free_after(&trip, trip.rider, None);
        if let Some(since) = out_from {
            self.is_free_after(&trip, rider, Some(since));
        } else if let Some(idle) = substitute.filter(|idle| *idle != trip.rider) {
            // Nobody dropped out after all.
            self.is_free_after(&trip, idle, None);
        }
    }

    fn flow(&self, at: UnixMillis) -> f64 {
        self.demand.flow(at.since(self.begin))
    }

    /// Doors in the order in which they are visited.
    fn one_after_the_other(&self, rider: usize, mut left: Vec<u32>) -> Vec<u32> {
        let mut stops = Vec::with_capacity(left.len());
        let mut corner = self.riders[rider].corner;
        while !left.is_empty() {
            let distance_m =
                |order: u32| self.streets.spot(self.wishes[order as usize].door).distance_m(self.streets.spot(corner));
            let nearest = (0..left.len()).min_by(|&a, &b| distance_m(left[a]).total_cmp(&distance_m(left[b])));
            let order = left.remove(nearest.unwrap_or(0));
            corner = self.wishes[order as usize].door;
            stops.push(order);
        }
        stops
    }

    fn cancelled_on_the_way(&mut self, rider: usize, stops: &[u32], loaded: UnixMillis) -> HashMap<u32, UnixMillis> {
        let mut cancelled = HashMap::new();
        for &order in stops.iter().skip(1) {
            let one = &mut self.riders[rider];
            if one.happens(CANCEL_ON_THE_WAY_CHANCE) {
                let at = loaded.plus(one.between(20_000..90_000));
                let reason = "the customer can't be reached";
                self.deeds.push((at, Deed::Cancel { order, reason }));
                cancelled.insert(order, at);
            }
        }
        cancelled
    }

    /// Rides to the door and hands over, or not; gives when that is reported.
    fn visit(&mut self, trip: &mut Trip, order: u32, in_vain: u32) -> UnixMillis {
        let rider = trip.rider;
        let flow = self.flow(self.riders[rider].motion.end().0);
        let one = &mut self.riders[rider];
        one.ride(&self.streets, self.wishes[order as usize].door, flow);
        let at = one.stand(HAND_OVER_MS);
        // Without network the report comes later, with its own time.
        let due = one.phone.spells.online_from(at);
        if !one.happens(IN_VAIN_CHANCE) {
            self.deeds.push((due, Deed::Delivered { rider, order, at }));
            trip.ended.push(due);
            return due;
        }
        self.deeds.push((due, Deed::Failed { rider, order, at }));
        if in_vain == 0 && one.happens(SECOND_VISIT_CHANCE) {
            trip.left.push_back((order, in_vain + 1));
            let stops = trip.in_hand(due);
            if stops.len() > 1 {
                self.deeds.push((due, Deed::Trip { rider, stops }));
            }
        } else {
            trip.going_back.push(order);
        }
        due
    }

    /// The rider can't go on; `to` takes over what is in hand.
    fn drop_out(&mut self, trip: &mut Trip, to: usize, reported: UnixMillis) -> UnixMillis {
        let rider = trip.rider;
        let at = self.riders[rider].phone.spells.online_from(reported.plus(2_000));
        let orders = trip.in_hand(at);
        if orders.is_empty() {
            return at;
        }
        self.deeds.push((at, Deed::HandOver { rider, to, orders: orders.clone() }));
        let meet = self.riders[rider].corner;
        let flow = self.flow(at);
        let substitute = &mut self.riders[to];
        substitute.motion.stay(at.plus(MEET_MS));
        substitute.ride(&self.streets, meet, flow);
        substitute.last_trip = orders;
        trip.rider = to;
        at
    }

    /// What nobody took goes back to the warehouse.
    fn bring_back(&mut self, trip: &mut Trip, warehouse: usize) {
        if trip.going_back.is_empty() {
            return;
        }
        let rider = trip.rider;
        let flow = self.flow(self.riders[rider].motion.end().0);
        let one = &mut self.riders[rider];
        one.ride(&self.streets, self.warehouses[warehouse].corner, flow);
        let at = one.stand(HAND_OVER_MS);
        let due = one.phone.spells.online_from(at);
        for order in std::mem::take(&mut trip.going_back) {
            self.deeds.push((due, Deed::Returned { rider, order, at }));
            trip.ended.push(due);
        }
    }

    /// When somebody of the trip can be sent out again; who dropped out begins anew, unless the shift is over by then.
    fn is_free_after(&mut self, trip: &Trip, rider: usize, out_since: Option<UnixMillis>) {
        let last = trip.ended.iter().copied().max().unwrap_or(self.begin);
        let one = &mut self.riders[rider];
        if let Some(since) = out_since {
            let back = since.plus(DROPPED_OUT_MS);
            if back >= one.shift.1 {
                one.ended = true;
                one.shift.1 = since;
                self.end = self.end.max(since);
                return;
            }
            one.free_from = back.plus(1_000);
            self.deeds.push((back, Deed::Shift { rider, on: true, after: Vec::new() }));
        } else {
            one.free_from = last.max(one.motion.end().0).plus(1_000);
        }
        let (free_from, shift_end) = (one.free_from, one.shift.1);
        self.at(free_from, Event::Look);
        if free_from >= shift_end {
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

    /// Somebody who is free, and stays so until they are called.
    fn substitute(&self, rider: usize, now: UnixMillis) -> Option<usize> {
        (0..self.riders.len()).find(|&other| {
            let one = &self.riders[other];
            other != rider && one.is_free(now) && one.on_shift(now.plus(SUBSTITUTE_FOR_MS))
        })
    }
}
