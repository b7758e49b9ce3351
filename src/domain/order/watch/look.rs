//! The look that an order takes at itself at every change.

use super::{Cause, Outlook, Ride, Watch};
use crate::{
    domain::{
        alert::{AlertChange, AlertKind, Because, Evidence},
        effect::{Effect, TimerKind},
        eta::{ConstantSpeed, Estimate, Estimator, Eta, Known, Path},
        fix::Mark,
        order::{Facts, Live, Order},
        rules::Rules,
        status::{Stage, Status},
        time::UnixMillis,
    },
    geo::{apart_m, distance_m},
};
use std::sync::Arc;

/// Kinds that tell of the rider, and end when another has the order.
fn is_of_rider(kind: AlertKind) -> bool {
    match kind {
        AlertKind::OffRoute | AlertKind::Stalled | AlertKind::SignalLost | AlertKind::LowBattery => true,
        AlertKind::LateRisk | AlertKind::Late | AlertKind::StageOverdue | AlertKind::WrongPlaceDelivery => false,
    }
}

impl Order {
    /// Brings arrival time and alerts up to what the order is now. Called with `live` and `facts` changed and the version
    /// not yet counted; gives what became of alerts.
    pub(in crate::domain::order) fn look(
        &mut self,
        (facts, live): (&Arc<Facts>, &Live),
        at: UnixMillis,
        rules: &Rules,
        cause: Cause<'_>,
        out: &mut Vec<Effect>,
    ) -> Vec<AlertChange> {
        // No allocation unless there is something to say.
        let mut changes = Vec::new();
        if !rules.watches() {
            self.stop_watch(at, &mut changes, out);
            return changes;
        }
        if self.live.status == Status::PendingPayment {
            return changes;
        }
        let is_new = self.watch.is_none();
        let mut watch = self.watch.take().unwrap_or_default();
        if is_new || self.live.stage != live.stage {
            watch.stage_at = at;
            watch.desk.clear(Because::Over, at, &mut changes, |kind| kind == AlertKind::StageOverdue);
        }
        if !Arc::ptr_eq(facts, &self.facts) {
            watch.way_m = None;
            if facts.promise != self.facts.promise {
                watch.promised_anew(&self.facts, at, &mut changes);
            }
            if (facts.destination, &facts.route) != (self.facts.destination, &self.facts.route) {
                watch.ride.replanned(&self.facts, facts.destination != self.facts.destination, live.position, rules);
                watch.desk.clear(Because::Over, at, &mut changes, |kind| kind == AlertKind::OffRoute);
            }
        }
        if self.live.rider != live.rider {
            watch.desk.clear(Because::RiderChanged, at, &mut changes, is_of_rider);
            watch.ride = Ride::default();
            self.forget_arrivals(&watch);
        }
        if self.live.rider.is_some() {
            let handed_over = self.live.stage == Some(Stage::HandedOver);
            // Who takes it from the warehouse has the goods. Who takes it over on the way has yet to come to them, which a route
            // shows; without one nothing does.
            if (handed_over && !watch.goods_out) || (watch.goods_out && self.facts.route.is_none()) {
                watch.ride.has_goods(at);
            }
            if live.stops_ahead.is_some_and(|ahead| ahead > 0) && self.live.stops_ahead == Some(0) {
                watch.ride.is_next(at);
            }
        }
        match cause {
            Cause::Fix(fix) => watch.fix(self, fix, at, rules, &mut changes),
            Cause::Acknowledged(n, by) => watch.desk.acknowledge(n, by, at, &mut changes),
            Cause::Timer(..) | Cause::Change => {}
        }
        watch.goods_out |= watch.ride.has_goods_since().is_some();
        if self.live.status.is_final() {
            self.end_watch(&mut watch, live, at, rules, &mut changes);
            for kind in TimerKind::ALL {
                self.clear_timer(kind, out);
            }
        } else {
            let estimate = watch.estimate(self, at, rules);
            watch.promise(self, &estimate, at, rules, cause, &mut changes, out);
            watch.warehouse(self, at, rules, cause, &mut changes, out);
            watch.signal(self, at, rules, cause, &mut changes, out);
            self.tell(&watch, estimate.eta, live.status, rules, !changes.is_empty());
        }
        self.watch = Some(watch);
        changes
    }

    /// Whether a fix is a sign of life, be it so bad that nothing else comes of it: the signal isn't lost while such come.
    pub(in crate::domain::order) fn hears(&self, fix_time: UnixMillis) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.ride.is_news(fix_time))
    }

    /// What the order's end leaves: a delivery to the wrong place stands until somebody takes note of it.
    fn end_watch(
        &mut self,
        watch: &mut Watch,
        before: &Live,
        at: UnixMillis,
        rules: &Rules,
        changes: &mut Vec<AlertChange>,
    ) {
        if !before.status.is_final() {
            watch.late_at_end(self, at, changes);
        }
        watch.desk.clear(Because::Ended, at, changes, |kind| kind != AlertKind::WrongPlaceDelivery);
        if self.live.status == Status::Completed && !watch.place_known {
            watch.place_known = self.check_place(watch, at, rules, changes);
        }
        // The machines of a ride that is over decide nothing any more.
        let (warehouse, destination) = watch.ride.arrivals();
        watch.ride = Ride::default();
        let known = self.live.outlook.as_deref();
        let outlook = Outlook {
            eta: None,
            remaining_m: None,
            warehouse_arrived_at: warehouse.or(known.and_then(|o| o.warehouse_arrived_at)),
            arrived_at: destination.or(known.and_then(|o| o.arrived_at)),
            alerts: watch.desk.shown().collect(),
        };
        if known != Some(&outlook) {
            self.live.outlook = Some(Arc::new(outlook));
        }
    }

    /// Whether a late fix may show where the order was delivered: its phone had no network then.
    pub(in crate::domain::order) fn asks_for_place(&self, fix_time: UnixMillis, rules: &Rules) -> bool {
        let when = self.live.completed_at.filter(|_| self.live.status == Status::Completed);
        when.is_some_and(|when| fix_time.since(when).abs() <= rules.wrong_place_delivery.within_ms)
            && self.watch.as_ref().is_some_and(|watch| !watch.place_known)
    }

    /// Where the rider was when the order was delivered, by the good fix nearest to that time. Gives whether there is one.
    fn check_place(&self, watch: &mut Watch, at: UnixMillis, rules: &Rules, changes: &mut Vec<AlertChange>) -> bool {
        let Some(when) = self.live.completed_at else { return true };
        let far = |time: UnixMillis| time.since(when).abs();
        // A track that can't be read was refused when the order was rehydrated.
        let fixes = self.track.fixes().unwrap_or_default();
        let good = fixes.iter().filter(|f| f.mark == Mark::Good);
        let near = good.filter(|f| far(f.fix_time) <= rules.wrong_place_delivery.within_ms);
        let Some(nearest) = near.min_by_key(|f| far(f.fix_time)) else { return false };
        let position = nearest.fix.position(nearest.fix_time);
        let since_s = far(nearest.fix_time) as f64 / 1_000.0;
        let ridden_m = since_s * rules.pace.speed_mps;
        let away_m = distance_m(position.point, self.facts.destination) - position.accuracy_m() - ridden_m;
        if away_m > rules.wrong_place_delivery.raise_m {
            let evidence = Evidence {
                measure: rounded(away_m),
                threshold: rules.wrong_place_delivery.raise_m,
                since: when,
                fixes: vec![position],
                about: Some("destination".into()),
            };
            let rider = self.live.rider.as_ref();
            watch.desk.raise(AlertKind::WrongPlaceDelivery, rider, evidence, None, at, changes);
        }
        true
    }

    /// Rules that watch nothing apply again: what was said is taken back, and nothing is left that nobody would end.
    fn stop_watch(&mut self, at: UnixMillis, changes: &mut Vec<AlertChange>, out: &mut Vec<Effect>) {
        let Some(mut watch) = self.watch.take() else { return };
        watch.desk.clear(Because::Unwatched, at, changes, |_| true);
        self.live.outlook = None;
        for kind in TimerKind::ALL.into_iter().filter(|kind| *kind != TimerKind::Unpaid) {
            self.clear_timer(kind, out);
        }
    }

    /// Another rider's arrivals aren't this one's, unless the goods went with them.
    fn forget_arrivals(&mut self, watch: &Watch) {
        let known = self.live.outlook.as_ref().is_some_and(|outlook| outlook.warehouse_arrived_at.is_some());
        if let Some(outlook) = self.live.outlook.as_mut().filter(|_| known && !watch.goods_out) {
            Arc::make_mut(outlook).warehouse_arrived_at = None;
        }
    }

    /// Puts into the published state what is worth telling.
    fn tell(&mut self, watch: &Watch, estimate: Eta, before: Status, rules: &Rules, alerts: bool) {
        let (warehouse, destination) = watch.ride.arrivals();
        let known = self.live.outlook.as_deref();
        let told = known.and_then(|o| o.eta);
        let new = Some(estimate).filter(|new| {
            told.is_none_or(|old| {
                before != self.live.status || old.path != new.path || new.p50.since(old.p50).abs() >= rules.pace.tell_ms
            })
        });
        let warehouse_arrived_at = warehouse.or(known.and_then(|o| o.warehouse_arrived_at));
        let arrived =
            known.is_some_and(|o| (o.warehouse_arrived_at, o.arrived_at) == (warehouse_arrived_at, destination));
        if new.is_none() && arrived && !alerts {
            return;
        }
        let remaining_m = match new {
            Some(_) => watch.ride.has_goods_since().and(watch.ride.remaining_m()).map(whole_metres),
            None => known.and_then(|o| o.remaining_m),
        };
        self.live.outlook = Some(Arc::new(Outlook {
            eta: new.or(told),
            remaining_m,
            warehouse_arrived_at,
            arrived_at: destination,
            alerts: watch.desk.shown().collect(),
        }));
    }
}

impl Watch {
    /// When the order arrives, as far as anybody can tell now.
    fn estimate(&mut self, order: &Order, at: UnixMillis, rules: &Rules) -> Estimate {
        let (facts, live) = (&order.facts, &order.live);
        let planned = facts.route.is_some() && self.ride.is_planned();
        let path = if planned { Path::Route } else { Path::StraightLine };
        let riding = self.goods_out;
        // Of a ride that isn't planned, a rider is known and so what remains.
        let whole_m = *self.way_m.get_or_insert_with(|| way_m(facts));
        let approach = |from| apart_m(from, facts.warehouse.point);
        ConstantSpeed::new(rules).estimate(&Known {
            at,
            facts,
            stage: live.stage,
            stage_at: self.stage_at,
            approach_m: match live.position {
                Some(position) if !riding && !self.ride.is_at_warehouse() => Some(approach(position.point)),
                Some(_) | None => None,
            },
            riding,
            ride_m: self.ride.remaining_m().filter(|_| riding).unwrap_or(whole_m),
            path,
            stops_ahead: live.stops_ahead.unwrap_or(0),
            at_door_since: self.ride.at_destination_since().filter(|_| riding),
        })
    }
}

/// From the warehouse to the destination.
fn way_m(facts: &Facts) -> f64 {
    match &facts.route {
        Some(route) => route.points.windows(2).map(|pair| distance_m(pair[0], pair[1])).sum(),
        None => distance_m(facts.warehouse.point, facts.destination),
    }
}

/// Evidence is read by people: a tenth of a metre is enough.
pub(super) fn rounded(metres: f64) -> f64 {
    libm::round(metres * 10.0) / 10.0
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's conversion saturates")]
fn whole_metres(metres: f64) -> u32 {
    libm::round(metres) as u32
}
