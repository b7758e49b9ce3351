//! An owner of orders, a log and an update channel in memory, to put under the bridge.

pub use crate::rig::{Beside, Rig};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, future::ready, sync::Arc};
use tokio::sync::mpsc;
use trunkline::{
    bridge::{
        boards::{
            alerts::AlertMessage,
            source::{AlertStream, BoardSource},
        },
        publish::{LogError, LogWriter, Message},
        source::{Found, SnapshotSource, SourceError, UpdateStream, Updates},
    },
    domain::{OrderId, RiderId, UnixMillis},
    wire::{
        FieldError,
        alert::{AlertBody, AlertPage, AlertQuery, AlertsQuery, parse_alert_id},
        answer::{Acceptance, Outcome},
        board::{CellPage, CellQuery, CellWord, RiderWord},
        figures::Figures,
        merge,
        query::*,
        update::Update,
    },
};

/// An order as its owner has it, with its history.
#[derive(Clone, Debug)]
pub struct Owned {
    pub epoch: u64,
    pub since_epoch: Option<u64>,
    pub version: u64,
    pub state: Value,
    /// States by version from the first, and the patch that led to each.
    pub history: Vec<(u64, Value, Value)>,
}

impl Owned {
    pub fn new(state: Value) -> Self {
        Self { epoch: 1, since_epoch: None, version: 1, history: vec![(1, state.clone(), state.clone())], state }
    }

    /// One version further; gives what the owner publishes.
    pub fn step(&mut self, next: Value) -> Update {
        let patch = merge::diff(&self.state, &next).unwrap_or_else(|| json!({}));
        let from = self.version;
        self.version += 1;
        self.state = next.clone();
        self.history.push((self.version, next, patch.clone()));
        let (at_ms, log_time_ms) = (UnixMillis(1_000 + self.version as i64), UnixMillis(1_000));
        Update::Delta { epoch: self.epoch, from, to: self.version, at_ms, log_time_ms, patch }
    }

    pub fn heartbeat(&self) -> Update {
        Update::Heartbeat { epoch: self.epoch, version: self.version }
    }
}

/// Lines in a page of a history where the question doesn't say.
pub const PAGE: usize = 100;

#[derive(Debug, Default)]
struct World {
    orders: BTreeMap<OrderId, Owned>,
    listeners: BTreeMap<OrderId, Vec<mpsc::UnboundedSender<Bytes>>>,
    boards: Boards,
    published: Vec<Message>,
    answers: Option<mpsc::UnboundedSender<(String, Bytes)>>,
    mode: Mode,
    reads: usize,
    /// Questions for histories.
    histories: usize,
    /// Questions for lists and places, as JSON.
    asked: Vec<Value>,
    /// Histories, by order.
    rows: BTreeMap<OrderId, Vec<TrackRow>>,
    down: bool,
}

/// What the owner tells boards.
#[derive(Debug, Default)]
struct Boards {
    riders: BTreeMap<RiderId, RiderWord>,
    cell: Option<CellPage>,
    alerts: Vec<AlertMessage>,
    rider_listeners: Vec<(RiderId, mpsc::UnboundedSender<Bytes>)>,
    cell_listeners: Vec<mpsc::UnboundedSender<Bytes>>,
    alert_listeners: Vec<mpsc::UnboundedSender<Result<AlertMessage, SourceError>>>,
    reads: usize,
}

/// How the fake log behaves.
#[derive(Clone, Debug, Default)]
pub enum Mode {
    /// Accepts everything.
    #[default]
    Accept,
    Answer(Outcome),
    /// Stores and never answers.
    Silent,
    Full,
}

#[derive(Clone, Debug, Default)]
pub struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub fn put(&self, id: &str, owned: Owned) {
        self.0.lock().orders.insert(id.parse().unwrap(), owned);
    }

    pub fn owned(&self, id: &str) -> Owned {
        self.0.lock().orders[&id.parse().unwrap()].clone()
    }

    /// An order's history as its owner keeps it, whatever its state is.
    pub fn put_history(&self, id: &str, rows: Vec<TrackRow>) {
        self.0.lock().rows.insert(id.parse().unwrap(), rows);
    }

    pub fn with<T>(&self, id: &str, change: impl FnOnce(&mut Owned) -> T) -> T {
        change(self.0.lock().orders.get_mut(&id.parse().unwrap()).unwrap())
    }

    /// Says an update to whoever follows.
    pub fn say(&self, id: &str, update: &Update) {
        let payload = Bytes::from(serde_json::to_vec(update).unwrap());
        if let Some(listeners) = self.0.lock().listeners.get_mut(&id.parse().unwrap()) {
            listeners.retain(|listener| listener.send(payload.clone()).is_ok());
        }
    }

    pub fn listeners(&self, id: &str) -> usize {
        self.0.lock().listeners.get(&id.parse().unwrap()).map_or(0, |l| l.iter().filter(|l| !l.is_closed()).count())
    }

    /// The rider as they are now, said to whoever follows if `said`.
    pub fn put_rider(&self, word: RiderWord, said: bool) {
        let boards = &mut self.0.lock().boards;
        let payload = Bytes::from(serde_json::to_vec(&word).unwrap());
        for (id, listener) in boards.rider_listeners.iter().filter(|_| said) {
            if *id == word.rider {
                let _ = listener.send(payload.clone());
            }
        }
        boards.riders.insert(word.rider.clone(), word);
    }

    /// The cell as it is now.
    pub fn put_cell(&self, page: CellPage) {
        self.0.lock().boards.cell = Some(page);
    }

    pub fn say_cell(&self, word: &CellWord) {
        let payload = Bytes::from(serde_json::to_vec(word).unwrap());
        self.0.lock().boards.cell_listeners.retain(|listener| listener.send(payload.clone()).is_ok());
    }

    /// The next message of the stream of alerts, heard by whoever follows if `said`.
    pub fn alert(&self, body: Value, said: bool) {
        let boards = &mut self.0.lock().boards;
        let message = AlertMessage { seq: boards.alerts.len() as u64 + 1, at: UnixMillis(1_000), body };
        boards.alerts.push(message.clone());
        boards.alert_listeners.retain(|listener| !said || listener.send(Ok(message.clone())).is_ok());
    }

    /// Questions about boards so far, and who listens for riders and the cell.
    pub fn boards(&self) -> (usize, usize) {
        let boards = &self.0.lock().boards;
        let riders = boards.rider_listeners.iter().filter(|(_, l)| !l.is_closed()).count();
        (boards.reads, riders + boards.cell_listeners.iter().filter(|l| !l.is_closed()).count())
    }

    /// Whether questions go unanswered.
    pub fn set_down(&self, down: bool) {
        self.0.lock().down = down;
    }

    pub fn reads(&self) -> usize {
        self.0.lock().reads
    }

    pub fn histories(&self) -> usize {
        self.0.lock().histories
    }

    /// Takes the questions for lists and places.
    pub fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().asked)
    }

    pub fn set_mode(&self, mode: Mode) {
        self.0.lock().mode = mode;
    }

    pub fn published(&self) -> Vec<Message> {
        self.0.lock().published.clone()
    }
}

pub(crate) fn now<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(ready(value))
}

fn rider_at(lat: f64, lon: f64) -> RiderState {
    let position = json!({"lat": lat, "lon": lon, "fix_time_ms": 1});
    RiderState { rider: "r1".parse().unwrap(), on_shift: true, position: Some(position), stops: Vec::new() }
}

/// An alert that rests on a fix where the fake's rider is.
fn late(id: &str) -> AlertBody {
    let (order, _) = parse_alert_id(id).unwrap();
    let fix = json!({"lat": 31.1774276, "lon": 121.5272106, "fix_time_ms": 1});
    serde_json::from_value(json!({
        "alert": id, "order": order, "cell": "default", "kind": "late", "severity": "critical", "state": "raised",
        "change": 1, "at_ms": 7, "since_ms": 5, "detected_at_ms": 7, "due_at_ms": 5,
        "evidence": {"measure": 2.0, "threshold": 0.0, "unit": "ms", "fixes": [fix]},
    }))
    .unwrap()
}

/// As the contract with the screens shows it.
fn figures() -> Figures {
    serde_json::from_value(json!({
        "cell": "default", "at_ms": 5, "orders": {"1": 3, "2": 5, "3": 8, "4": 120, "5": 4},
        "late": {"open": 1, "completed": 118, "completed_late": 9},
        "eta": {"orders": 110, "mae_ms": 182_000, "bias_ms": -20_000, "within": 0.83},
        "backlog": 0, "riders": {"on_shift": 18},
    }))
    .unwrap()
}

impl SnapshotSource for Fake {
    fn order(&self, ask: OrderQuery) -> BoxFuture<'static, Found<Snapshot>> {
        let world = self.0.clone();
        Box::pin(async move {
            // What is said while the question travels must not be lost.
            tokio::task::yield_now().await;
            let mut world = world.lock();
            world.reads += 1;
            if world.down {
                return Err(SourceError::Unreachable("nobody".into()));
            }
            let last = world.rows.get(&ask.order).and_then(|rows| rows.last()).map(|row| row.at_ms);
            Ok(world.orders.get(&ask.order).map(|o| Snapshot {
                epoch: o.epoch,
                since_epoch: o.since_epoch,
                version: o.version,
                at_ms: last.unwrap_or(UnixMillis(1_000 + o.version as i64)),
                state: o.state.clone(),
            }))
        })
    }

    fn deltas(&self, ask: DeltasQuery) -> BoxFuture<'static, Found<Deltas>> {
        let world = self.0.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut world = world.lock();
            world.histories += 1;
            let Some(owned) = world.orders.get(&ask.order) else { return Ok(None) };
            let base = owned.history.iter().find(|(version, ..)| *version == ask.since);
            let Some((_, base, _)) = base.cloned() else { return Ok(None) };
            let later = owned.history.iter().filter(|(version, ..)| *version > ask.since);
            let delta = |(to, _, patch): &(u64, Value, Value)| StoredDelta {
                from: to - 1,
                to: *to,
                at_ms: UnixMillis(0),
                patch: patch.clone(),
            };
            Ok(Some(Deltas { epoch: owned.epoch, base, deltas: later.map(delta).collect() }))
        })
    }

    fn orders(&self, ask: ListQuery) -> BoxFuture<'static, Found<OrderPage>> {
        let mut world = self.0.lock();
        world.asked.push(serde_json::to_value(&ask).unwrap());
        let asked_for = |o: &&Owned| ask.status.is_empty() || ask.status.iter().any(|s| o.state["status"] == s.code());
        let all = world.orders.values().filter(asked_for);
        let orders = all
            .map(|o| Snapshot {
                epoch: o.epoch,
                since_epoch: None,
                version: o.version,
                at_ms: UnixMillis(0),
                state: o.state.clone(),
            })
            .collect();
        now(Ok(Some(OrderPage { orders, next: None })))
    }

    fn track(&self, ask: TrackQuery) -> BoxFuture<'static, Found<TrackPage>> {
        let mut world = self.0.lock();
        world.asked.push(serde_json::to_value(&ask).unwrap());
        if world.down {
            return now(Err(SourceError::Unreachable("nobody".into())));
        }
        let rows = world.rows.get(&ask.order).cloned().unwrap_or_default();
        let wanted = |row: &TrackRow| match ask.lines {
            Lines::All => true,
            Lines::Events => row.kind != "fix",
            Lines::Changes => row.patch.is_some(),
        };
        let mut rows: Vec<_> = rows.into_iter().filter(|r| r.id > ask.after.unwrap_or(0) && wanted(r)).collect();
        let limit = ask.limit.map_or(PAGE, |limit| limit as usize);
        let more = rows.len() > limit;
        rows.truncate(limit);
        if ask.lines != Lines::Changes {
            rows.iter_mut().for_each(|row| row.patch = None);
        }
        let next = rows.last().filter(|_| more).map(|row| row.id);
        now(Ok(world.orders.contains_key(&ask.order).then_some(TrackPage { rows, next })))
    }

    fn passed(&self, ask: PassedQuery) -> BoxFuture<'static, Found<PassedPage>> {
        self.0.lock().asked.push(serde_json::to_value(&ask).unwrap());
        if ask.to_ms < ask.from_ms {
            return now(Err(SourceError::Question(FieldError::new("within", "is too large"))));
        }
        let order: OrderId = "o1".parse().unwrap();
        let passed = Passed { order: order.clone(), first_ms: ask.from_ms, last_ms: ask.to_ms, fixes: 2 };
        now(Ok(Some(PassedPage { orders: vec![passed], next: Some(order) })))
    }

    fn alerts(&self, ask: AlertsQuery) -> BoxFuture<'static, Found<AlertPage>> {
        self.0.lock().asked.push(serde_json::to_value(&ask).unwrap());
        now(Ok(Some(AlertPage { alerts: vec![late("o1.1")], next: Some("5.o1.1".into()) })))
    }

    /// Of every order there is the first.
    fn alert(&self, ask: AlertQuery) -> BoxFuture<'static, Found<AlertBody>> {
        now(Ok(ask.alert.ends_with(".1").then(|| late(&ask.alert))))
    }

    fn rider(&self, _: RiderQuery) -> BoxFuture<'static, Found<RiderState>> {
        now(Err(SourceError::Unavailable("the log begins after the cursor".into())))
    }

    fn nearest(&self, ask: NearestQuery) -> BoxFuture<'static, Found<NearRiders>> {
        self.0.lock().asked.push(serde_json::to_value(&ask).unwrap());
        let near = NearRider { state: rider_at(ask.lat, ask.lon), distance_m: 0.0 };
        now(Ok(Some(NearRiders { riders: vec![near] })))
    }

    fn riders(&self, ask: RidersQuery) -> BoxFuture<'static, Found<RiderPage>> {
        self.0.lock().asked.push(serde_json::to_value(&ask).unwrap());
        let rider = rider_at(31.2, 121.5);
        now(Ok(Some(RiderPage { next: Some(rider.rider.clone()), riders: vec![rider] })))
    }

    fn cell(&self) -> BoxFuture<'static, Found<CellState>> {
        now(Ok(Some(CellState { epoch: 1, cursor: 7, cell_time_ms: UnixMillis(5), clock_scale: 1 })))
    }

    fn figures(&self) -> BoxFuture<'static, Found<Figures>> {
        now(Ok(Some(figures())))
    }
}

impl Updates for Fake {
    fn follow(&self, order: &OrderId) -> BoxFuture<'static, Result<UpdateStream, SourceError>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().listeners.entry(order.clone()).or_default().push(sender);
        now(Ok(stream(receiver)))
    }
}

impl BoardSource for Fake {
    fn rider(&self, ask: RiderQuery) -> BoxFuture<'static, Found<RiderWord>> {
        let mut world = self.0.lock();
        world.boards.reads += 1;
        let down = world.down.then(|| Err(SourceError::Unreachable("nobody".into())));
        now(down.unwrap_or_else(|| Ok(world.boards.riders.get(&ask.rider).cloned())))
    }

    fn cell(&self, _: CellQuery) -> BoxFuture<'static, Found<CellPage>> {
        let mut world = self.0.lock();
        world.boards.reads += 1;
        let down = world.down.then(|| Err(SourceError::Unreachable("nobody".into())));
        now(down.unwrap_or_else(|| Ok(world.boards.cell.clone())))
    }

    fn follow_rider(&self, rider: &RiderId) -> BoxFuture<'static, Result<UpdateStream, SourceError>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().boards.rider_listeners.push((rider.clone(), sender));
        now(Ok(stream(receiver)))
    }

    fn follow_cell(&self) -> BoxFuture<'static, Result<UpdateStream, SourceError>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().boards.cell_listeners.push(sender);
        now(Ok(stream(receiver)))
    }

    fn alerts(&self) -> BoxFuture<'static, Result<AlertStream, SourceError>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let boards = &mut self.0.lock().boards;
        boards.alerts.iter().for_each(|message| sender.send(Ok(message.clone())).unwrap());
        boards.alert_listeners.push(sender);
        now(Ok(stream(receiver)))
    }

    fn alerts_last(&self) -> BoxFuture<'static, Result<u64, SourceError>> {
        now(Ok(self.0.lock().boards.alerts.len() as u64))
    }
}

fn stream<T: Send + 'static>(receiver: mpsc::UnboundedReceiver<T>) -> BoxStream<'static, T> {
    futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|item| (item, r)) }).boxed()
}

impl LogWriter for Fake {
    fn publish(&self, message: Message) -> BoxFuture<'static, Result<(), LogError>> {
        let mut world = self.0.lock();
        let token = message.reply.rsplit('.').next().unwrap().to_owned();
        let outcome = match world.mode.clone() {
            Mode::Full => return now(Err(LogError::Full)),
            Mode::Silent => None,
            Mode::Accept => Some(Outcome::Accepted(Acceptance { version: 1, rev: 1, status: None })),
            Mode::Answer(outcome) => Some(outcome),
        };
        world.published.push(message);
        if let (Some(outcome), Some(answers)) = (outcome, &world.answers) {
            answers.send((token, serde_json::to_vec(&outcome).unwrap().into())).unwrap();
        }
        now(Ok(()))
    }

    fn inbox(&self) -> BoxFuture<'static, Result<(String, BoxStream<'static, (String, Bytes)>), LogError>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().answers = Some(sender);
        now(Ok(("_INBOX.test".into(), stream(receiver))))
    }

    fn is_connected(&self) -> bool {
        true
    }
}
