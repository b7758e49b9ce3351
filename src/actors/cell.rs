//! The cell's actor: routes batches, runs waves, keeps the order actors, and hands finished batches on.

use super::{
    batch::{Done, Work},
    handle::InFlight,
    hot::HotRider,
    order::{OrderActor, OrderMessage, PendingImage, Published, Start},
    wave::{Item, Place, Report, Share, ShareEnd, Wave},
};
use crate::{
    clock::Stopwatch,
    domain::{
        CellId, OrderId, RiderId, Rules, UnixMillis,
        cell::{Cell, CellHead, FollowUp, Rider, Route, Routed, Word},
        effect::CarryChange,
    },
    metrics::Metrics,
    ports::{Announcements, Store, StoreError},
    wire::log::{Batch, Received},
};
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Settings of a cell's actors.
#[derive(Clone, Debug)]
pub struct CellOptions {
    pub cell: CellId,
    /// This owner's epoch; stands in every update.
    pub epoch: u64,
    /// An order without input for so long lets its actor go: 7 kB each, and a rehydration is a fraction of a millisecond.
    pub passivate_after: Duration,
    /// Let every actor go after each batch: for proving that it makes no difference.
    pub passivate_each: bool,
    /// Entries, each counted once per fix, that may be between the feed and the commit. Bounds memory; deep enough for
    /// the writer to group commits.
    pub in_flight_entries: u32,
    /// The order core; tests put one in that fails.
    pub apply: super::Apply,
}

impl CellOptions {
    /// The defaults for `cell`.
    pub fn new(cell: CellId, epoch: u64) -> Self {
        Self {
            cell,
            epoch,
            passivate_after: Duration::from_secs(15 * 60),
            passivate_each: false,
            in_flight_entries: 16_384,
            apply: crate::domain::order::apply,
        }
    }
}

/// The cell core as it was stored.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Last applied place in the log.
    pub cursor: u64,
    pub head: CellHead,
    pub riders: Vec<(RiderId, Rider)>,
}

/// What the cell is told.
#[derive(Debug)]
pub(super) enum CellMessage {
    /// The log goes on.
    Batch { batch: Batch, in_flight: InFlight },
    /// Every batch up to this number is durable.
    Committed { number: u64 },
    /// Let go of quiet order actors.
    Sweep,
    /// From now on an order without input for so long lets its actor go.
    PassivateAfter(Duration),
}

/// A batch on its way through the store.
pub(super) struct Committing {
    pub number: u64,
    pub stored: BoxFuture<'static, Result<(), StoreError>>,
    pub announcements: Announcements,
    pub published: Vec<(OrderId, Published)>,
    pub riders: Vec<(RiderId, HotRider)>,
    pub rules: Rules,
    pub cursor: u64,
    pub first_log_time: UnixMillis,
    pub in_flight: InFlight,
}

/// Settings and connections; everything that changes is in [`CellState`].
#[derive(Debug)]
pub(super) struct CellActor {
    pub options: CellOptions,
    pub store: Arc<dyn Store>,
    pub metrics: Metrics,
    pub committing: mpsc::Sender<Committing>,
    /// Why the cell stopped, for the feed and for the health page.
    pub stopped: Arc<watch::Sender<Option<String>>>,
}

/// A running order actor.
#[derive(Debug)]
struct Running {
    actor: ActorRef<OrderMessage>,
    used: Stopwatch,
}

/// The cell's mutable state.
#[derive(Debug)]
pub(super) struct CellState {
    core: Cell,
    rules: Arc<Rules>,
    running: HashMap<OrderId, Running>,
    /// What the store doesn't have yet, by order, with the last batch that changed it.
    pending: HashMap<OrderId, (u64, PendingImage)>,
    /// Orders of each batch that is on its way.
    queued: VecDeque<(u64, Vec<OrderId>)>,
    batches: u64,
    passivate_after: Duration,
}

impl Actor for CellActor {
    type Msg = CellMessage;
    type State = CellState;
    type Arguments = Restored;

    async fn pre_start(
        &self,
        myself: ActorRef<CellMessage>,
        restored: Restored,
    ) -> Result<CellState, ActorProcessingErr> {
        let rules = Arc::new(restored.head.rules);
        let core = Cell::restore(restored.head, restored.riders);
        // Ends with the actor.
        let _sweep = myself
            .send_interval(self.options.passivate_after.clamp(Duration::from_secs(1), Duration::from_secs(30)), || {
                CellMessage::Sweep
            });
        Ok(CellState {
            core,
            rules,
            running: HashMap::new(),
            pending: HashMap::new(),
            queued: VecDeque::new(),
            batches: 0,
            passivate_after: self.options.passivate_after,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CellMessage>,
        message: CellMessage,
        state: &mut CellState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CellMessage::Batch { batch, in_flight } => {
                if self.stopped.borrow().is_some() {
                    return Ok(());
                }
                if let Err(reason) = self.batch(&myself, batch, in_flight, state).await {
                    self.stop(&reason);
                }
            }
            CellMessage::Committed { number } => state.committed(number),
            CellMessage::Sweep => {
                let after = state.passivate_after;
                self.let_go(state, |running| running.used.elapsed() >= after);
            }
            CellMessage::PassivateAfter(after) => state.passivate_after = after,
        }
        Ok(())
    }

    /// An order actor's end is known from its share; nothing of it may end the cell.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<CellMessage>,
        event: SupervisionEvent,
        _state: &mut CellState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                tracing::warn!(actor = %actor.get_id(), %error, "order actor failed")
            }
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl CellActor {
    /// Nothing after this point of the log may be applied: what can't be stored must not be published.
    pub(super) fn stop(&self, reason: &str) {
        stop(&self.stopped, &self.metrics, reason);
    }

    async fn batch(
        &self,
        myself: &ActorRef<CellMessage>,
        batch: Batch,
        in_flight: InFlight,
        state: &mut CellState,
    ) -> Result<(), String> {
        let watch = Stopwatch::start();
        state.batches += 1;
        let mut work = Work::new(batch);
        let mut shares = Shares::default();
        let mut routed = Routed::default();
        self.metrics.log_entries.inc_by(work.entries.len() as u64);
        let entries = work.entries.clone();
        for (entry, Received { entry: received, .. }) in (0u32..).zip(entries.iter()) {
            while state.core.route(received, &mut routed) == Route::Wait {
                self.wave(myself, &mut shares, &mut work, state).await?;
            }
            if *state.rules != state.core.head().rules {
                state.rules = Arc::new(state.core.head().rules);
            }
            work.decided(entry, &mut routed, &state.rules);
            for (order, input) in routed.orders.drain(..) {
                shares.add(order, work.item(entry, input));
            }
        }
        // The last words may have follow-ups, and these words of their own.
        while !shares.is_empty() {
            self.wave(myself, &mut shares, &mut work, state).await?;
        }
        let Done { commit, announcements, published, riders, touched, first_log_time } =
            work.finish(&mut state.core, &self.options.cell, &self.metrics).map_err(|e| e.to_string())?;
        self.metrics.apply_seconds.observe(watch.elapsed().as_secs_f64());
        state.queued.push_back((state.batches, touched));
        let cursor = commit.cursor;
        let committing = Committing {
            number: state.batches,
            stored: self.store.commit(commit),
            announcements,
            published,
            riders,
            rules: state.core.head().rules,
            cursor,
            first_log_time,
            in_flight,
        };
        self.committing.send(committing).await.map_err(|_| "the committer has ended".to_owned())?;
        if self.options.passivate_each {
            self.let_go(state, |_| true);
        }
        self.metrics.order_actors.set(i64::try_from(state.running.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Sends the shares out, waits for all of them, and takes the orders' word on who carries what. What follows from it
    /// opens the next wave's shares.
    async fn wave(
        &self,
        myself: &ActorRef<CellMessage>,
        shares: &mut Shares,
        work: &mut Work,
        state: &mut CellState,
    ) -> Result<(), String> {
        let mut carries: Vec<(Place, OrderId, CarryChange)> = Vec::new();
        let mut out: Vec<OutShare> = shares.take();
        while !out.is_empty() {
            let wave = Wave::new(out.len());
            for (number, share) in out.iter().enumerate() {
                let report = Report::new(wave.clone(), number);
                let message = OrderMessage::Apply(Share {
                    items: share.items.clone(),
                    set_aside: share.set_aside.clone(),
                    report,
                });
                // An actor that is gone drops the message, and the report says so.
                let _ = self.actor(myself, &share.order, state)?.cast(message);
            }
            let mut again = Vec::new();
            for (number, end) in wave.ended().await {
                let Some(share) = out.get(number) else { continue };
                match end {
                    ShareEnd::Applied(outcome) => {
                        let finished = outcome.finished;
                        let (changes, pending) = work.applied(&self.options.cell, &share.order, *outcome);
                        carries.extend(changes.into_iter().map(|(place, change)| (place, share.order.clone(), change)));
                        if let Some(image) = pending {
                            state.remember(&share.order, image);
                        }
                        if finished {
                            self.passivate(&share.order, state);
                        }
                    }
                    ShareEnd::Failed { index } => {
                        state.running.remove(&share.order);
                        self.metrics.order_actor_restarts.inc();
                        again.push(share.failed_at(index, work)?);
                    }
                    ShareEnd::Unreadable(reason) => {
                        return Err(format!("order {}: its state can't be read: {reason}", share.order));
                    }
                }
            }
            out = again;
        }
        carries.sort_by_key(|(place, ..)| *place);
        let words =
            carries.into_iter().map(|(place, order, change)| Word { seq: work.seq(place.entry), order, change });
        for FollowUp { seq, order, input } in state.core.settle(words) {
            shares.add(order, work.item(work.entry_at(seq), input));
        }
        Ok(())
    }

    /// The order's actor, started if it isn't running.
    fn actor(
        &self,
        myself: &ActorRef<CellMessage>,
        order: &OrderId,
        state: &mut CellState,
    ) -> Result<ActorRef<OrderMessage>, String> {
        if let Some(running) = state.running.get_mut(order) {
            running.used = Stopwatch::start();
            return Ok(running.actor.clone());
        }
        let actor = OrderActor { store: self.store.clone(), apply: self.options.apply, epoch: self.options.epoch };
        let start = Start { id: order.clone(), pending: state.pending.get(order).map(|(_, image)| image.clone()) };
        let (actor, _) =
            ractor::ActorRuntime::<OrderActor>::spawn_linked_instant(None, actor, start, myself.get_cell())
                .map_err(|e| e.to_string())?;
        state.running.insert(order.clone(), Running { actor: actor.clone(), used: Stopwatch::start() });
        Ok(actor)
    }

    fn let_go(&self, state: &mut CellState, quiet: impl Fn(&Running) -> bool) {
        let orders: Vec<_> = state.running.iter().filter(|(_, r)| quiet(r)).map(|(id, _)| id.clone()).collect();
        for order in orders {
            self.passivate(&order, state);
        }
    }

    /// Between waves an actor has nothing in its mailbox, so that nothing is lost when it stops.
    fn passivate(&self, order: &OrderId, state: &mut CellState) {
        if let Some(running) = state.running.remove(order) {
            running.actor.stop(None);
            self.metrics.passivations.inc();
        }
    }
}

/// Notes why the cell stopped; the first reason stays.
pub(super) fn stop(stopped: &watch::Sender<Option<String>>, metrics: &Metrics, reason: &str) {
    metrics.cell_serving.set(0);
    stopped.send_if_modified(|slot| {
        let first = slot.is_none();
        if first {
            tracing::error!(reason, "the cell has stopped");
            *slot = Some(reason.to_owned());
        }
        first
    });
}

impl CellState {
    /// Keeps what the store doesn't have yet, over what was kept before.
    fn remember(&mut self, order: &OrderId, image: PendingImage) {
        let batch = self.batches;
        let (last, kept) = self.pending.entry(order.clone()).or_default();
        *last = batch;
        kept.head = image.head;
        kept.chunks.extend(image.chunks);
    }

    fn committed(&mut self, number: u64) {
        while self.queued.front().is_some_and(|(n, _)| *n <= number) {
            let Some((_, orders)) = self.queued.pop_front() else { break };
            for order in orders {
                if self.pending.get(&order).is_some_and(|(last, _)| *last <= number) {
                    self.pending.remove(&order);
                }
            }
        }
    }
}

/// The shares of the wave to come, in the order in which orders first appeared.
#[derive(Debug, Default)]
struct Shares {
    index: HashMap<OrderId, usize>,
    shares: Vec<(OrderId, Vec<Item>)>,
}

impl Shares {
    fn add(&mut self, order: OrderId, item: Item) {
        let at = *self.index.entry(order.clone()).or_insert_with(|| {
            self.shares.push((order, Vec::new()));
            self.shares.len() - 1
        });
        self.shares[at].1.push(item);
    }

    fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    fn take(&mut self) -> Vec<OutShare> {
        self.index.clear();
        let share = |(order, items)| OutShare {
            order,
            items: Arc::new(items),
            set_aside: Arc::default(),
            failed: None,
            unstarted: 0,
        };
        std::mem::take(&mut self.shares).into_iter().map(share).collect()
    }
}

/// A share that is out, and its history of failures.
#[derive(Debug)]
struct OutShare {
    order: OrderId,
    items: Arc<Vec<Item>>,
    set_aside: Arc<Vec<usize>>,
    /// The item that failed last time.
    failed: Option<usize>,
    /// How often the actor failed before it began with the first item.
    unstarted: u32,
}

/// An actor that doesn't come up so often isn't the inputs' fault.
const MAX_UNSTARTED: u32 = 3;

impl OutShare {
    /// The share to send again; an item that failed twice in a row is set aside. `Err` if no item is to blame.
    fn failed_at(&self, index: Option<usize>, work: &mut Work) -> Result<Self, String> {
        let Self { order, items, set_aside, failed, unstarted } = self;
        let again = |set_aside, failed, unstarted| Self {
            order: order.clone(),
            items: items.clone(),
            set_aside,
            failed,
            unstarted,
        };
        let mut set_aside = set_aside.clone();
        let Some(index) = index else {
            let unstarted = unstarted + 1;
            return if unstarted < MAX_UNSTARTED {
                Ok(again(set_aside, *failed, unstarted))
            } else {
                Err(format!("order {order}: its actor doesn't start"))
            };
        };
        let mut last = Some(index);
        if *failed == Some(index) {
            if let Some(item) = items.get(index) {
                tracing::error!(%order, seq = item.seq, "an input made its order's actor fail twice and is set aside");
                work.set_aside(item.place.entry);
            }
            Arc::make_mut(&mut set_aside).push(index);
            last = None;
        }
        Ok(again(set_aside, last, 0))
    }
}
