//! A small shop for the tests: a seeded run of orders through their lives, cut into commits wherever a test likes.

use super::{Options, Store};
use crate::{
    domain::{
        Alert, AlertKind, AlertState, CellId, Eta, Facts, Fix, FixId, Live, Mark, Operator, OperatorKind, Order,
        OrderId, Position, RiderId, Stage, Status, UnixMillis,
        alert::{AlertChange, Because, Evidence},
        effect::{Revision, Row, RowFix, RowKind, TimerKind},
        order::{Money, Place, Promise},
        track::Track,
    },
    geo::Point,
    metrics::Metrics,
    ports::{Commit, Ended, HistoryItem, OrderColumns, OrderCommit, OutboxItem},
    wire::{
        alert::{AlertBody, alert_body},
        blob, doc, subject,
    },
};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// A store in a directory of its own.
pub(super) fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(&dir.path().join("cell.sqlite"), &CellId::default(), Options::default(), Metrics::default());
    (dir, store.unwrap())
}

struct Kept {
    order: Order,
    fixes: Vec<(RiderId, FixId)>,
    chunks: BTreeMap<u32, bytes::Bytes>,
    touched: bool,
}

pub(super) struct Shop {
    rng: ChaCha8Rng,
    orders: BTreeMap<OrderId, Kept>,
    seq: u64,
    commit: Commit,
    alerts: BTreeMap<(OrderId, u32), Alert>,
    /// Length of each new order's `extra`.
    pub(super) extra_bytes: usize,
    /// Fixes lie all over a town and some hours, and change between good and bad.
    pub(super) roaming: bool,
    /// What the next line tells.
    eta: Option<Eta>,
}

impl Shop {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            orders: BTreeMap::new(),
            seq: 0,
            commit: Commit::default(),
            alerts: BTreeMap::new(),
            extra_bytes: 0,
            roaming: false,
            eta: None,
        }
    }

    pub(super) fn ids(&self) -> Vec<OrderId> {
        self.orders.keys().cloned().collect()
    }

    /// The published state that an order should have.
    pub(super) fn state(&self, id: &OrderId) -> Value {
        let order = &self.orders[id].order;
        doc::order(id, &order.facts, &order.live)
    }

    /// Every alert as it should be, those detected last first.
    pub(super) fn alerts(&self) -> Vec<AlertBody> {
        let last = |((order, _), alert): (&(OrderId, u32), &Alert)| {
            let at = alert.cleared.map(|c| c.0).or(alert.acknowledged.as_ref().map(|a| a.0));
            let change = AlertChange { alert: alert.clone(), at: at.unwrap_or(alert.detected_at), note: None };
            alert_body(&CellId::default(), order, &change)
        };
        let mut all: Vec<_> = self.alerts.iter().map(last).collect();
        all.sort_by_key(|body| std::cmp::Reverse((body.detected_at_ms, body.alert.clone())));
        all
    }

    /// `steps` random steps, and their commit.
    pub(super) fn batch(&mut self, steps: usize) -> Commit {
        for _ in 0..steps {
            self.step();
        }
        self.commit()
    }

    /// What has happened since the last commit.
    pub(super) fn commit(&mut self) -> Commit {
        let mut commit = std::mem::take(&mut self.commit);
        commit.cursor = self.seq;
        commit.cursor_digest = [u8::try_from(self.seq % 251).unwrap(); 32];
        commit.cell_time = UnixMillis(self.now());
        commit.cell_head = self.seq.to_le_bytes().to_vec().into();
        for (id, kept) in self.orders.iter_mut().filter(|(_, kept)| kept.touched) {
            kept.touched = false;
            commit.orders.push(OrderCommit {
                order: id.clone(),
                columns: columns(&kept.order),
                head: blob::encode(&kept.order).unwrap().into(),
                chunks: std::mem::take(&mut kept.chunks).into_iter().collect(),
                timers: Some(kept.order.timers.clone()),
            });
        }
        commit
    }

    fn now(&self) -> i64 {
        // Several steps in a millisecond, so that keys tie.
        1_700_000_000_000 + i64::try_from(self.seq / 5).unwrap()
    }

    fn step(&mut self) {
        let ids = self.ids();
        let id = ids.choose(&mut self.rng).cloned();
        match (self.rng.random_range(0..8), id) {
            (0, _) | (_, None) => drop(self.create(&format!("o{}", self.seq))),
            (1, Some(id)) => self.pay(&id),
            (2, Some(id)) => self.stage(&id),
            (3, Some(id)) => self.revise(&id),
            (_, Some(id)) => self.fix(&id),
        }
    }

    pub(super) fn create(&mut self, name: &str) -> OrderId {
        let id: OrderId = name.parse().unwrap();
        let warehouse = self.rng.random_range(0..3);
        let at = UnixMillis(self.now());
        let facts = Facts {
            user: format!("u{}", self.seq % 2).parse().unwrap(),
            cell: CellId::default(),
            warehouse: Place {
                id: format!("w{warehouse}").parse().unwrap(),
                name: format!("仓 {warehouse}"),
                point: Point { lat_e7: 1, lon_e7: 2 },
            },
            destination: Point { lat_e7: 3, lon_e7: 4 },
            total: Money { minor: self.rng.random_range(0..10_000), currency: "CNY".into() },
            items: 1,
            promise: None,
            route: None,
            extra: (self.extra_bytes > 0).then(|| format!(r#"{{"x":"{}"}}"#, "y".repeat(self.extra_bytes))),
        };
        let order = Order {
            id: id.clone(),
            version: 0,
            facts: Arc::new(facts),
            live: Live::new(at),
            updated_at: at,
            carried_since: None,
            answers: Vec::new(),
            timers: vec![(TimerKind::Unpaid, 1, at.plus(1_800_000))],
            timers_set: 1,
            tasks: 0,
            watch: None,
            track: Track::default(),
            notes: Vec::new(),
        };
        self.orders.insert(id.clone(), Kept { order, fixes: Vec::new(), chunks: BTreeMap::new(), touched: true });
        self.change(&id, RowKind::Create, None, |_| {});
        id
    }

    pub(super) fn pay(&mut self, id: &OrderId) {
        self.orders.get_mut(id).unwrap().order.timers.clear();
        self.change(id, RowKind::Pay, None, |order| {
            order.live.status = Status::Paid;
            order.live.rev += 1;
        });
        let n = u32::try_from(self.seq).unwrap();
        let subject = subject::task(&CellId::default(), &"w".parse().unwrap(), id, n);
        let headers = vec![("Nats-Expected-Last-Subject-Sequence".into(), "0".into())];
        self.commit.outbox.push(OutboxItem { subject, headers, payload: "{}".into(), log_time: None });
    }

    /// Cell time of what happens next.
    pub(super) fn now_at(&self) -> UnixMillis {
        UnixMillis(self.now())
    }

    /// A good time for an order to end.
    pub(super) fn end_of(&self, id: &OrderId) -> UnixMillis {
        self.orders[id].order.updated_at.plus(1_800_000)
    }

    pub(super) fn promise(&mut self, id: &OrderId, to: Option<UnixMillis>) {
        self.change(id, RowKind::Edit, None, |order| {
            let promise = to.map(|to| Promise { from: to.plus(-1), to });
            order.facts = Arc::new(Facts { promise, ..(*order.facts).clone() });
        });
    }

    /// An arrival time is told, or nothing, before the order leaves or on its way.
    pub(super) fn tell(&mut self, id: &OrderId, eta: Option<Eta>, delivering: bool) {
        self.eta = eta;
        self.change(id, RowKind::Stage, None, |order| {
            order.live.status = if delivering { Status::Delivering } else { Status::Paid };
        });
    }

    pub(super) fn complete(&mut self, id: &OrderId, at: UnixMillis) {
        self.change(id, RowKind::Deliver, None, |order| {
            (order.live.status, order.live.completed_at) = (Status::Completed, Some(at));
        });
    }

    fn stage(&mut self, id: &OrderId) {
        self.change(id, RowKind::Stage, None, |order| {
            order.live.stage = Some(Stage::Packed);
            order.live.rev += 1;
        });
    }

    /// A new fix, which moves the marker.
    pub(super) fn fix(&mut self, id: &OrderId) {
        let n = i32::try_from(self.seq).unwrap();
        let rider: RiderId = format!("r{}", self.rng.random_range(0..3)).parse().unwrap();
        let (mut device_time, mut point) = (UnixMillis(self.now() - 500), Point { lat_e7: n, lon_e7: -n });
        if self.roaming {
            device_time = device_time.plus(self.rng.random_range(-7_200_000..0));
            point = somewhere(&mut self.rng);
        }
        let fix = Fix {
            point,
            id: FixId { device_time, seq: Some(u32::try_from(self.seq).unwrap()) },
            accuracy_dm: Some(55),
            speed_cmps: Some(123),
            heading_deg: None,
            battery_pct: Some(50),
        };
        let row = RowFix { rider: rider.clone(), fix, fix_time: device_time, sent_time: None, mark: Mark::Good };
        let kept = self.orders.get_mut(id).unwrap();
        kept.fixes.push((rider.clone(), fix.id));
        if kept.fixes.len().is_multiple_of(5) {
            let n = u32::try_from(kept.fixes.len() / 5 - 1).unwrap();
            kept.chunks.insert(n, format!("chunk {n} of {id} at {}", self.seq).into());
        }
        self.change(id, RowKind::Fix, Some(row), |order| {
            order.live.rider = Some(rider);
            let position =
                Position { point, fix_time: device_time, speed_cmps: None, heading_deg: None, accuracy_dm: None };
            order.live.position = Some(position);
        });
    }

    /// Another mark for a fix of the past, or another fix in its place.
    pub(super) fn revise(&mut self, id: &OrderId) {
        let kept = self.orders.get_mut(id).unwrap();
        self.seq += 1;
        let Some((rider, fix_id)) = kept.fixes.choose(&mut self.rng).cloned() else { return };
        let fix = self.rng.random_bool(0.5).then(|| {
            let point = if self.roaming { somewhere(&mut self.rng) } else { Point { lat_e7: 77, lon_e7: 88 } };
            let fix = Fix {
                point,
                id: fix_id,
                accuracy_dm: Some(10),
                speed_cmps: None,
                heading_deg: Some(9),
                battery_pct: None,
            };
            (fix, fix_id.device_time.plus(1))
        });
        let mark = if self.roaming && self.rng.random_bool(0.5) { Mark::Good } else { Mark::Jump };
        let revision = Box::new(Revision { rider, id: fix_id, mark, fix });
        kept.touched = true;
        self.commit.history.push(HistoryItem::Revise { order: id.clone(), revision });
    }

    fn change(&mut self, id: &OrderId, kind: RowKind, fix: Option<RowFix>, act: impl FnOnce(&mut Order)) {
        self.seq += 1;
        let at = UnixMillis(self.now());
        let kept = self.orders.get_mut(id).unwrap();
        let (facts, before) = (Arc::clone(&kept.order.facts), kept.order.live.clone());
        act(&mut kept.order);
        kept.touched = true;
        let order = &mut kept.order;
        let before = (order.version > 0).then_some((&*facts, &before));
        let patch = doc::diff(id, before, (&order.facts, &order.live));
        order.version += 1;
        order.updated_at = at;
        let row = Row {
            kind,
            version: order.version,
            rev: order.live.rev,
            status: order.live.status,
            stage: order.live.stage,
            by: Operator { kind: fix.as_ref().map_or(OperatorKind::System, |_| OperatorKind::Rider), id: "x".into() },
            at,
            point: None,
            fix,
            eta: self.eta.take(),
            note: None,
        };
        let state = format!("state at {}", self.seq).into();
        self.commit.riders.push((format!("r{}", self.seq % 3).parse().unwrap(), state));
        self.commit.history.push(HistoryItem::Append {
            seq: self.seq,
            order: id.clone(),
            row: Box::new(row),
            patch: Some(patch.to_string().into()),
        });
        self.watch(id, at);
    }

    /// An alert is raised now and then, and the first that isn't cleared goes on.
    fn watch(&mut self, id: &OrderId, at: UnixMillis) {
        let place = usize::try_from(self.seq).unwrap();
        if self.seq.is_multiple_of(4) {
            let n = u32::try_from(self.alerts.range((id.clone(), 0)..=(id.clone(), u32::MAX)).count()).unwrap() + 1;
            let kind = AlertKind::ALL[place / 4 % AlertKind::ALL.len()];
            let measure = 0.1 + f64::from(n);
            let evidence = Evidence { measure, threshold: 0.1, since: at, fixes: Vec::new(), about: None };
            let rider = self.orders[id].order.live.rider.clone();
            let alert = Alert {
                n,
                kind,
                state: AlertState::Raised,
                change: 1,
                rider,
                evidence,
                due_at: (kind == AlertKind::Late).then(|| at.plus(-5)),
                detected_at: at,
                acknowledged: None,
                cleared: None,
            };
            self.alerts.insert((id.clone(), n), alert);
            self.say((id.clone(), n), at);
        }
        let open = self.alerts.iter_mut().find(|(_, alert)| alert.state != AlertState::Cleared);
        if let Some((key, alert)) = open.filter(|_| self.seq.is_multiple_of(5)) {
            alert.change += 1;
            if alert.state == AlertState::Raised {
                alert.state = AlertState::Acknowledged;
                alert.acknowledged = Some((at, Operator { kind: OperatorKind::Operations, id: "alice".into() }));
            } else {
                alert.state = AlertState::Cleared;
                alert.cleared = Some((at, Because::Over));
            }
            let key = key.clone();
            self.say(key, at);
        }
    }

    fn say(&mut self, key: (OrderId, u32), at: UnixMillis) {
        let alert = self.alerts[&key].clone();
        self.commit.alerts.push(alert_body(&CellId::default(), &key.0, &AlertChange { alert, at, note: None }));
    }
}

fn somewhere(rng: &mut ChaCha8Rng) -> Point {
    Point { lat_e7: rng.random_range(-150_000..150_000), lon_e7: rng.random_range(-150_000..150_000) }
}

fn columns(order: &Order) -> OrderColumns {
    let Order { version, facts, live, updated_at, .. } = order;
    OrderColumns {
        user_id: facts.user.to_string(),
        warehouse_id: facts.warehouse.id.to_string(),
        warehouse_name: facts.warehouse.name.clone(),
        rider_id: live.rider.as_ref().map(ToString::to_string),
        status: live.status.code(),
        stage: live.stage.map(Stage::name),
        version: *version,
        rev: live.rev,
        total_minor: facts.total.minor,
        currency: facts.total.currency.clone(),
        create_time: live.created_at,
        update_time: *updated_at,
        complete_time: live.completed_at,
        ended: live.completed_at.map(|at| Ended { at, promise_to: facts.promise.map(|promise| promise.to) }),
    }
}
