//! What the fixes of the present rider show of the order's way. Only fixes that moved the marker on come here: good, and
//! newer than all before; but for the signal, of which every newer fix is one.

use super::{Watch, look::rounded};
use crate::{
    domain::{
        alert::{AlertChange, AlertKind, Because, Evidence},
        fix::Position,
        odometer::Odometer,
        order::{Facts, FixInput, Order},
        progress::{Placed, Progress},
        rules::Rules,
        status::Status,
        stay::{Stay, StayChange},
        still::Still,
        time::UnixMillis,
    },
    geo::apart_m,
};
use serde::{Deserialize, Serialize};

/// An interval between fixes beyond this is a gap and says nothing of how often the phone reports.
const INTERVAL_MAX_MS: i64 = 120_000;

/// The rider's way with one order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ride {
    progress: Progress,
    warehouse: Stay,
    destination: Stay,
    warehouse_arrived_at: Option<UnixMillis>,
    arrived_at: Option<UnixMillis>,
    still: Still,
    odometer: Odometer,
    /// Since when the rider has the goods: the ride is judged from there on.
    goods_since: Option<UnixMillis>,
    /// Without a word that the goods were handed over: the rider on the planned route, away from the warehouse.
    joined: Option<Joined>,
    /// Of a ride that had stops ahead: since when it has none.
    next_since: Option<UnixMillis>,
    /// The rider was on the way to somebody else with the goods, and comes from there and not along the planned route.
    detoured: bool,
    deviation: Deviation,
    /// Least distance to the destination on the ride; by it a ride without a route is judged.
    nearest_m: Option<f64>,
    remaining_m: Option<f64>,
    signal: Option<Signal>,
}

/// Fixes in a row on the planned route, each no less far along it than the one before: who comes to the warehouse by the
/// same street rides it backwards, and has nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Joined {
    fixes: u8,
    from_m: f64,
    to_m: f64,
}

/// How long the rider has been off the route, or back on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Deviation {
    /// The first fix beyond the threshold of those that all are.
    beyond: Option<Position>,
    /// While an alert is open: since when the rider is back.
    back_since: Option<UnixMillis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Signal {
    last: UnixMillis,
    /// The lesser of the last two intervals: how often the phone reports.
    interval_ms: i64,
    previous_ms: i64,
}

impl Ride {
    /// The rider has taken the goods over.
    pub(super) fn has_goods(&mut self, at: UnixMillis) {
        if self.goods_since.is_none() {
            self.set_out(at);
        }
    }

    /// The stops before this order's are done.
    pub(super) fn is_next(&mut self, at: UnixMillis) {
        self.next_since = Some(at);
    }

    /// The ride begins. Where on the route the way to the warehouse led by says nothing of it.
    fn set_out(&mut self, at: UnixMillis) {
        self.goods_since = Some(at);
        self.progress = Progress::default();
    }

    /// Takes a fix of a rider of whom nobody said that the goods were handed over: who rides along the route has them. Gives
    /// whether that is so.
    fn join(&mut self, placed: Option<Placed>, rules: &Rules) -> bool {
        let on_route = placed
            .filter(|p| p.offset_m <= rules.off_route.clear_m && p.along_m > rules.leave_m && !self.is_at_warehouse());
        self.joined = on_route.map(|Placed { along_m, .. }| match self.joined {
            Some(Joined { fixes, from_m, to_m }) if along_m >= to_m => {
                Joined { fixes: fixes.saturating_add(1), from_m, to_m: along_m }
            }
            Some(_) | None => Joined { fixes: 1, from_m: along_m, to_m: along_m },
        });
        self.joined.is_some_and(|j| j.fixes >= rules.readmit_fixes && j.to_m - j.from_m >= rules.leave_m)
    }

    pub(super) fn has_goods_since(&self) -> Option<UnixMillis> {
        self.goods_since
    }

    /// Still to ride with the goods, along the route or as the crow flies.
    pub(super) fn remaining_m(&self) -> Option<f64> {
        self.remaining_m
    }

    /// Distance that the rider travelled with the order in hand; standing still collects none.
    pub(super) fn travelled_m(&self) -> f64 {
        self.odometer.travelled_m()
    }

    pub(super) fn is_at_warehouse(&self) -> bool {
        self.warehouse.inside()
    }

    pub(super) fn at_destination_since(&self) -> Option<UnixMillis> {
        self.destination.since().filter(|_| self.destination.inside())
    }

    /// First arrivals at the warehouse and, with the goods, at the destination.
    pub(super) fn arrivals(&self) -> (Option<UnixMillis>, Option<UnixMillis>) {
        (self.warehouse_arrived_at, self.arrived_at)
    }

    /// Another route, perhaps to another destination: where the rider is on it has to be found anew.
    pub(super) fn replanned(&mut self, facts: &Facts, moved: bool, position: Option<Position>, rules: &Rules) {
        self.progress = Progress::default();
        (self.joined, self.deviation, self.nearest_m, self.remaining_m) = (None, Deviation::default(), None, None);
        if moved {
            (self.destination, self.arrived_at) = (Stay::default(), None);
        }
        if let Some(here) = position.filter(|_| self.goods_since.is_some()) {
            self.place(facts, &here, rules);
        }
    }

    /// Finds the rider on the planned route, and takes note of what remains.
    fn place(&mut self, facts: &Facts, here: &Position, rules: &Rules) -> Option<Placed> {
        let Position { point, fix_time, .. } = *here;
        let route = facts.route.as_ref();
        let placed = route.map(|r| self.progress.take(&r.points, point, here.accuracy_m(), fix_time, rules));
        // Who comes from another's door rides as they find best, until they are seen on the planned route.
        if self.detoured && self.join(placed, rules) {
            self.detoured = false;
        }
        let planned = placed.filter(|_| !self.detoured);
        self.remaining_m = Some(match planned {
            Some(placed) => placed.remaining_m + placed.offset_m,
            None => apart_m(point, facts.destination),
        });
        planned
    }

    /// Whether the ride is one along the planned route.
    pub(super) fn is_planned(&self) -> bool {
        !self.detoured
    }

    /// When the rider was last heard of, and how long that may last. A phone that reports seldom isn't lost between two
    /// reports.
    pub(super) fn signal(&self, begun: UnixMillis, rules: &Rules) -> (UnixMillis, i64) {
        let after_ms = rules.signal_lost.after_ms;
        match self.signal {
            Some(Signal { last, interval_ms, .. }) => {
                (last.max(begun), after_ms.max(interval_ms.saturating_mul(5) / 2))
            }
            None => (begun, after_ms),
        }
    }

    /// Whether nothing newer was heard.
    pub(super) fn is_news(&self, fix_time: UnixMillis) -> bool {
        self.signal.is_none_or(|signal| fix_time > signal.last)
    }

    fn heard(&mut self, fix_time: UnixMillis) {
        self.signal = Some(match self.signal {
            None => Signal { last: fix_time, interval_ms: 0, previous_ms: 0 },
            Some(signal) if fix_time > signal.last => {
                let now_ms = fix_time.since(signal.last).min(INTERVAL_MAX_MS);
                // Of the second fix there is no interval before.
                let least_ms = if signal.previous_ms == 0 { now_ms } else { now_ms.min(signal.previous_ms) };
                Signal { last: fix_time, interval_ms: least_ms, previous_ms: now_ms }
            }
            Some(signal) => signal,
        });
    }
}

impl Watch {
    /// Takes a fix of the order's present rider.
    pub(super) fn fix(
        &mut self,
        order: &Order,
        input: &FixInput,
        at: UnixMillis,
        rules: &Rules,
        changes: &mut Vec<AlertChange>,
    ) {
        let FixInput { fix, fix_time, live, .. } = input;
        self.ride.heard((*fix_time).min(at));
        // Marked fixes count in no measure.
        if live.is_none() {
            return;
        }
        let here = fix.position(*fix_time);
        let warehouse = order.facts.warehouse.point;
        if let Some(change) = self.ride.warehouse.take(warehouse, here.point, here.accuracy_m(), *fix_time, rules) {
            self.ride.at_warehouse(change, order);
        }
        // Who is held to be standing has to go half as far again.
        let stand_m = rules.stalled.within_m * if self.desk.is_open(AlertKind::Stalled) { 1.5 } else { 1.0 };
        self.ride.still.take(here.point, here.accuracy_m(), *fix_time, stand_m);
        self.ride.odometer.take(here.point, here.accuracy_m(), *fix_time, rules);
        if order.live.status == Status::Delivering {
            self.deliver(order, &here, at, rules, changes);
            self.stalled(order, &here, at, rules, changes);
        }
        self.battery(order, input, &here, at, rules, changes);
    }

    /// The way to the door.
    fn deliver(
        &mut self,
        order: &Order,
        here: &Position,
        at: UnixMillis,
        rules: &Rules,
        changes: &mut Vec<AlertChange>,
    ) {
        let ride = &mut self.ride;
        let (point, accuracy_m, time) = (here.point, here.accuracy_m(), here.fix_time);
        // What was seen before, and comes late, tells of the way to the goods.
        if ride.goods_since.is_some_and(|since| time < since) {
            return;
        }
        let placed = ride.place(&order.facts, here, rules);
        let destination = order.facts.destination;
        ride.destination.take(destination, point, accuracy_m, time, rules);
        if ride.goods_since.is_none() {
            if !ride.join(placed, rules) {
                return;
            }
            ride.goods_since = Some(time);
        }
        let to_door_m = apart_m(point, destination);
        if let Some(since) = ride.destination.since() {
            ride.arrived_at.get_or_insert(since);
        }
        // With stops ahead the rider is on the way to somebody else, and no plan of this order says how; nor of what was seen of
        // that way and comes when it is done.
        let has_stops = order.live.stops_ahead.is_some_and(|ahead| ahead > 0);
        if has_stops || ride.next_since.is_some_and(|next| time < next) {
            (ride.deviation, ride.nearest_m, ride.detoured, ride.joined) = (Deviation::default(), None, true, None);
            return self.desk.clear(Because::Over, at, changes, |kind| kind == AlertKind::OffRoute);
        }
        let (measure_m, raise_m, clear_m, about) = match placed {
            Some(placed) => (placed.offset_m, rules.off_route.raise_m, rules.off_route.clear_m, "route"),
            None => {
                let nearest_m = ride.nearest_m.map_or(to_door_m, |least| least.min(to_door_m));
                ride.nearest_m = Some(nearest_m);
                (to_door_m - nearest_m, rules.off_route.away_m, rules.off_route.away_m / 2.0, "destination")
            }
        };
        let arrived = ride.destination.inside();
        if self.desk.is_open(AlertKind::OffRoute) {
            let back = arrived || measure_m < clear_m;
            ride.deviation.back_since = if back { ride.deviation.back_since.or(Some(time)) } else { None };
            let lasts_ms = ride.deviation.back_since.map(|since| time.since(since));
            if lasts_ms.is_some_and(|ms| arrived || ms >= rules.off_route.clear_after_ms) {
                ride.deviation = Deviation::default();
                self.desk.clear(Because::Over, at, changes, |kind| kind == AlertKind::OffRoute);
            }
            return;
        }
        let beyond_m = measure_m - accuracy_m;
        if arrived || beyond_m <= raise_m {
            ride.deviation = Deviation::default();
            return;
        }
        let first = *ride.deviation.beyond.get_or_insert(*here);
        if time.since(first.fix_time) >= rules.off_route.raise_after_ms {
            let evidence = Evidence {
                measure: rounded(beyond_m),
                threshold: raise_m,
                since: first.fix_time,
                fixes: vec![first, *here],
                about: Some(about.into()),
            };
            self.desk.raise(AlertKind::OffRoute, order.live.rider.as_ref(), evidence, None, at, changes);
        }
    }

    fn stalled(
        &mut self,
        order: &Order,
        here: &Position,
        at: UnixMillis,
        rules: &Rules,
        changes: &mut Vec<AlertChange>,
    ) {
        let ride = &self.ride;
        let in_fence = ride.warehouse.inside() || ride.destination.inside();
        if self.desk.is_open(AlertKind::Stalled) {
            let (stands_ms, former_ms) = (ride.still.still_ms(here.fix_time), ride.still.former_ms(here.fix_time));
            if in_fence || stands_ms.max(former_ms) < rules.stalled.after_ms {
                self.desk.clear(Because::Over, at, changes, |kind| kind == AlertKind::Stalled);
            }
            return;
        }
        let Some((_, stood)) = ride.still.anchor() else { return };
        // Waiting before the order was on its way is no stall.
        let since = order.live.departed_at.map_or(stood, |departed| stood.max(departed));
        let away_m = ride.still.away_m(here.point);
        // A fix beyond the displacement may be the first of going on, or an outlier: the next one tells.
        let stands = away_m <= rules.stalled.within_m + here.accuracy_m();
        if stands && !in_fence && here.fix_time.since(since) >= rules.stalled.after_ms {
            let evidence = Evidence {
                measure: rounded(away_m),
                threshold: rules.stalled.within_m,
                since,
                fixes: vec![*here],
                about: None,
            };
            self.desk.raise(AlertKind::Stalled, order.live.rider.as_ref(), evidence, None, at, changes);
        }
    }

    fn battery(
        &mut self,
        order: &Order,
        input: &FixInput,
        here: &Position,
        at: UnixMillis,
        rules: &Rules,
        changes: &mut Vec<AlertChange>,
    ) {
        let Some(pct) = input.fix.battery_pct else { return };
        if pct >= rules.low_battery.clear_pct {
            self.desk.clear(Because::Over, at, changes, |kind| kind == AlertKind::LowBattery);
        } else if pct <= rules.low_battery.raise_pct {
            let evidence = Evidence {
                measure: f64::from(pct),
                threshold: f64::from(rules.low_battery.raise_pct),
                since: here.fix_time,
                fixes: vec![*here],
                about: None,
            };
            self.desk.raise(AlertKind::LowBattery, order.live.rider.as_ref(), evidence, None, at, changes);
        }
    }
}

impl Ride {
    fn at_warehouse(&mut self, change: StayChange, order: &Order) {
        match change {
            StayChange::Arrived { at } => {
                self.warehouse_arrived_at.get_or_insert(at);
            }
            // Whoever leaves with an order that is packed has it.
            StayChange::Left { at } => {
                if order.live.status == Status::Delivering && self.goods_since.is_none() {
                    self.set_out(at);
                }
            }
        }
    }
}
