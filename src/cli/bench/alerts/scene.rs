//! One order with its rider in a cell of its own: the whole core, entry by entry, with timers that fire as they come due.

use super::recorded::Seen;
use crate::{
    domain::{
        Action, Alert, AlertKind, AlertState, Command, Effect, Fix, FixId, KeyId, Operator, OperatorKind, Order,
        OrderId, RiderId, Rules, Stage, UnixMillis,
        cell::{Entry, Input, Solo},
        order::{Facts, Money, Place, Route},
        rules::RULES_VERSION,
    },
    geo::Point,
};
use std::sync::Arc;

/// See the module.
pub(super) struct Scene {
    solo: Solo,
    order: OrderId,
    rider: RiderId,
    now: UnixMillis,
    seq: u64,
    keys: u8,
    /// Every change of an alert, as it was told.
    pub said: Vec<Alert>,
}

impl Scene {
    /// On its way along `route`, under the newest rules and their defaults: the rider has taken the goods over, and sends the
    /// first fix at `from`.
    pub(super) fn riding(route: &[Point], from: UnixMillis) -> anyhow::Result<Self> {
        let (order, rider) = ("o1".parse::<OrderId>()?, "r1".parse::<RiderId>()?);
        let (now, solo) = (from.plus(-1_000), Solo::default());
        let mut scene = Self { solo, order, rider, now, seq: 0, keys: 0, said: Vec::new() };
        let rules = Rules { rules_version: RULES_VERSION, ..Rules::default() };
        scene.send(Input::Rules { rules, needs: RULES_VERSION });
        let [start, .., end] = route else { anyhow::bail!("a route has at least two points") };
        let facts = Facts {
            user: "u1".parse()?,
            cell: "default".parse()?,
            warehouse: Place { id: "w1".parse()?, name: "W".into(), point: *start },
            destination: *end,
            total: Money { minor: 4_200, currency: "EUR".into() },
            items: 3,
            promise: None,
            route: Some(Route { points: route.to_vec() }),
            extra: None,
        };
        scene.act(Action::Create(Arc::new(facts)));
        scene.act(Action::Pay);
        scene.act(Action::Assign { rider: scene.rider.clone() });
        let (warehouse, order) = ("w1".parse()?, scene.order.clone());
        scene.send(Input::Stage { warehouse, order, stage: Stage::HandedOver });
        Ok(scene)
    }

    /// Applies an input now; gives how many changes of alerts it told.
    pub(super) fn send(&mut self, input: Input) -> usize {
        self.seq += 1;
        let outcome = self.solo.apply(&Entry { seq: self.seq, log_time: self.now, input });
        let alert = |(_, effect)| if let Effect::Alert(change) = effect { Some(change.alert) } else { None };
        let before = self.said.len();
        self.said.extend(outcome.effects.into_iter().filter_map(alert));
        self.said.len() - before
    }

    fn act(&mut self, action: Action) {
        self.keys += 1;
        let by = Operator { kind: OperatorKind::Operations, id: "evaluation".into() };
        let command = Command { action, key: KeyId([self.keys; 16]), if_rev: None, by, needs: 1 };
        self.send(Input::Command { order: self.order.clone(), command });
    }

    /// Lets time pass up to `until`; timers fire as they come due.
    pub(super) fn wait_until(&mut self, until: UnixMillis) {
        while let Some((kind, n, due)) = self.order().and_then(|o| o.timers.iter().min_by_key(|t| t.2)).copied()
            && due <= until
        {
            self.now = self.now.max(due);
            self.send(Input::Timer { order: self.order.clone(), kind, n });
        }
        self.now = self.now.max(until);
    }

    /// A fix that comes when it is made.
    pub(super) fn ride(&mut self, seen: Seen) {
        self.wait_until(seen.at);
        self.fixes(&[seen]);
    }

    /// A batch that comes now. Gives how many changes of alerts it told.
    pub(super) fn fixes(&mut self, batch: &[Seen]) -> usize {
        let fixes = batch.iter().map(fix).collect();
        self.send(Input::Fixes { rider: self.rider.clone(), sent_time: None, fixes })
    }

    /// The trip ends with a delivery.
    pub(super) fn deliver(&mut self) {
        self.act(Action::Deliver { at: None, sent: None, proof: None });
    }

    /// There is one from [`Scene::riding`] on.
    pub(super) fn order(&self) -> Option<&Order> {
        self.solo.orders.get(&self.order).and_then(Option::as_ref)
    }

    pub(super) fn travelled_m(&self) -> f64 {
        self.order().map_or(0.0, Order::travelled_m)
    }

    /// When the rider arrived at the destination, if so.
    pub(super) fn arrived_at(&self) -> Option<UnixMillis> {
        self.order().and_then(|o| o.live.outlook.as_ref()).and_then(|outlook| outlook.arrived_at)
    }

    /// Alerts of a kind as they were raised, each with when it was cleared.
    pub(super) fn raised(&self, kind: AlertKind) -> Vec<(&Alert, Option<UnixMillis>)> {
        let raised = self.said.iter().filter(|a| a.kind == kind && a.state == AlertState::Raised);
        let cleared = |n| self.said.iter().find(|a| a.n == n && a.cleared.is_some());
        raised.map(|a| (a, cleared(a.n).and_then(|a| a.cleared).map(|(at, _)| at))).collect()
    }
}

/// What a phone sends that says no more than where and when.
fn fix(seen: &Seen) -> Fix {
    let id = FixId { device_time: seen.at, seq: None };
    Fix { point: seen.point, id, accuracy_dm: None, speed_cmps: None, heading_deg: None, battery_pct: None }
}

/// A whole trip along a plan, delivered at its last fix.
pub(super) fn played(trip: &[Seen], plan: &[Point]) -> anyhow::Result<Scene> {
    let mut scene = Scene::riding(plan, trip.first().map_or(UnixMillis(0), |seen| seen.at))?;
    for seen in trip {
        scene.ride(*seen);
    }
    scene.deliver();
    Ok(scene)
}
