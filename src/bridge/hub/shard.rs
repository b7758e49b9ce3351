//! A shard's loop: commands of connections, updates of owners, answers to questions, and time.
//!
//! Priorities: cancellation, commands, answers, time, updates. Nothing in it waits for a connection or for an owner.
//! Commands and updates have so many places in each turn, so that connections that flood one don't starve the other.

use super::{
    Command, HubOptions,
    entry::{Entry, Question},
    watch::{AskBase, Watch},
};
use crate::{
    bridge::{
        personal::PersonalData,
        source::{SnapshotSource, SourceError, UpdateStream, Updates},
    },
    domain::OrderId,
    metrics::Metrics,
    wire::{
        problem::Problem,
        query::{Deltas, DeltasQuery, OrderQuery, Snapshot},
        update::Update,
    },
};
use bytes::Bytes;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered, SelectAll, abortable},
};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug)]
pub(super) struct Outside {
    pub(super) source: Arc<dyn SnapshotSource>,
    pub(super) updates: Arc<dyn Updates>,
    pub(super) personal: Arc<PersonalData>,
    pub(super) metrics: Metrics,
}

/// A question's answer. `life` tells one watch of an order from the next.
enum Done {
    Followed(OrderId, u64, Result<UpdateStream, SourceError>),
    Read(OrderId, u64, Result<Option<(Snapshot, Option<Value>)>, SourceError>),
    Personal(OrderId, u64, Result<Option<Value>, SourceError>),
    Base(OrderId, u64, AskBase, Option<Deltas>),
}

/// Commands and updates in one turn of the loop. A page that opens sends a handful of commands; an update costs about
/// as much as a command and there are far more of them.
const TURN: Turn = Turn { commands: 32, updates: 128 };

/// Questions to histories may make it so many times as many that are in flight: after a restart, clients of all orders come back
/// within seconds, and one whose question finds no place begins anew.
const HISTORIES: usize = 8;

/// Places left in this turn.
#[derive(Clone, Copy)]
struct Turn {
    commands: u32,
    updates: u32,
}

pub(super) struct Shard {
    options: HubOptions,
    outside: Outside,
    now: Duration,
    lives: u64,
    orders: HashMap<OrderId, Entry>,
    queue: VecDeque<(OrderId, u64)>,
    asked: FuturesUnordered<BoxFuture<'static, Done>>,
    /// `None` in the end of a subscription.
    updates: SelectAll<BoxStream<'static, (OrderId, u64, Option<Bytes>)>>,
}

impl Shard {
    pub(super) fn new(options: HubOptions, outside: Outside) -> Self {
        Self {
            options,
            outside,
            now: Duration::ZERO,
            lives: 0,
            orders: HashMap::new(),
            queue: VecDeque::new(),
            asked: FuturesUnordered::new(),
            updates: SelectAll::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(self.options.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The interval's own time is the shard's clock; nothing here needs a finer one.
        let start = ticks.tick().await;
        let mut turn = TURN;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                command = commands.recv(), if turn.commands > 0 => match command {
                    Some(command) => {
                        turn.commands -= 1;
                        self.on_command(command);
                    }
                    None => break,
                },
                Some(done) = self.asked.next(), if !self.asked.is_empty() => self.on_done(done),
                at = ticks.tick() => {
                    self.now = at - start;
                    self.on_tick();
                }
                Some((order, life, payload)) = self.updates.next(), if turn.updates > 0 && !self.updates.is_empty() => {
                    turn.updates -= 1;
                    self.on_update(&order, life, payload);
                }
                // Whoever has used up its places waits for the others, and for nothing else.
                () = std::future::ready(()), if turn.commands == 0 || turn.updates == 0 => turn = TURN,
            }
            self.ask_queued();
        }
        #[allow(clippy::cast_possible_wrap, reason = "bounded by orders_max")]
        self.outside.metrics.watched_orders.dec_by(self.orders.len() as i64);
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Follow { order, follower } => {
                let full = !self.orders.contains_key(&order)
                    && self.orders.len() >= self.options.orders_max / self.options.shards.max(1);
                let entry = match self.orders.get_mut(&order) {
                    Some(entry) => entry,
                    None => {
                        self.lives += 1;
                        self.outside.metrics.watched_orders.inc();
                        let watch = Watch::new(order.clone(), &self.options, self.outside.metrics.clone());
                        let entry = Entry::new(watch, self.lives, self.now, &self.options);
                        self.orders.entry(order.clone()).or_insert(entry)
                    }
                };
                if !entry.watch.has_waiting() {
                    // Patience is counted from the first who waits.
                    entry.since = self.now;
                }
                entry.watch.follow(follower);
                if full {
                    entry.watch.refuse(&Problem::new(
                        503,
                        "too_many_orders",
                        "This node watches all the orders it can",
                    ));
                    self.forget(&order);
                    return;
                }
                self.want(&order);
            }
            Command::Unfollow { order, shape, id, outbox } => match self.orders.get_mut(&order) {
                Some(entry) => entry.watch.unfollow(id, shape, &outbox),
                None => Watch::new(order, &self.options, self.outside.metrics.clone()).unfollow(id, shape, &outbox),
            },
            Command::Leave { order, id } => {
                if let Some(entry) = self.orders.get_mut(&order) {
                    entry.watch.remove(id);
                }
            }
        }
    }

    fn on_update(&mut self, order: &OrderId, life: u64, payload: Option<Bytes>) {
        let Some(entry) = self.orders.get_mut(order).filter(|e| e.life == life) else { return };
        let Some(payload) = payload else {
            entry.updates = None;
            return self.want(order);
        };
        match serde_json::from_slice::<Update>(&payload) {
            Ok(update) => {
                // A heartbeat may overtake the delta that it counts: the next tick asks, if that hasn't come by then.
                let at_once = matches!(update, Update::Delta { .. });
                entry.watch.on_update(update, self.now);
                if at_once {
                    self.want(order);
                }
            }
            Err(error) => tracing::warn!(%order, %error, "an update that can't be read"),
        }
    }

    fn on_done(&mut self, done: Done) {
        let (order, life) = match &done {
            Done::Followed(order, life, _)
            | Done::Read(order, life, _)
            | Done::Personal(order, life, _)
            | Done::Base(order, life, ..) => (order.clone(), *life),
        };
        let Some(entry) = self.orders.get_mut(&order).filter(|e| e.life == life) else { return };
        let mut asks = Vec::new();
        match done {
            Done::Base(_, _, ask, history) => entry.watch.on_base(ask, history),
            Done::Followed(_, _, Ok(stream)) => {
                entry.busy = false;
                let tag = order.clone();
                let (stream, handle) = abortable(stream);
                entry.updates = Some(handle);
                let ended = futures::stream::once(std::future::ready(None));
                self.updates
                    .push(stream.map(Some).chain(ended).map(move |payload| (tag.clone(), life, payload)).boxed());
            }
            Done::Read(_, _, Ok(Some((snapshot, personal)))) => {
                entry.busy = false;
                entry.confirm_at = self.now + self.options.confirm_every;
                asks = entry.watch.on_snapshot(snapshot, personal, self.now);
                if entry.watch.is_behind() {
                    entry.wait(self.now, &self.options);
                } else {
                    entry.backoff = self.options.retry_first;
                }
            }
            Done::Read(_, _, Ok(None)) if !entry.watch.is_loaded() => {
                let unknown = Problem::new(404, "unknown_order", "There is no such order").with_field("topic");
                entry.watch.refuse(&unknown);
                return self.forget(&order);
            }
            // An order that is here doesn't vanish: its new owner hasn't come so far in the log yet.
            Done::Read(_, _, Ok(None)) => {
                entry.busy = false;
                entry.wait(self.now, &self.options);
            }
            Done::Personal(_, _, Ok(personal)) => {
                entry.busy = false;
                asks = entry.watch.on_personal(personal, self.now);
            }
            Done::Personal(_, _, Err(error)) => {
                entry.busy = false;
                entry.personal_retry_at = self.now + self.options.retry_first * 5;
                entry.lose_patience(self.now, &self.options, error);
            }
            Done::Followed(_, _, Err(error)) | Done::Read(_, _, Err(error)) => {
                entry.busy = false;
                entry.wait(self.now, &self.options);
                entry.lose_patience(self.now, &self.options, error);
            }
        }
        for ask in asks {
            self.ask_base(&order, life, ask);
        }
        self.want(&order);
    }

    fn on_tick(&mut self) {
        let (now, linger) = (self.now, self.options.linger);
        let mut due = Vec::new();
        let mut idle = Vec::new();
        for (order, entry) in &mut self.orders {
            entry.watch.tick(now);
            entry.watch.sweep();
            entry.watch.drop_idle_channels(now, linger);
            if !entry.watch.is_idle() {
                entry.idle_since = None;
            } else if now.saturating_sub(*entry.idle_since.get_or_insert(now)) >= linger {
                idle.push(order.clone());
            }
            if !entry.busy && entry.question(now, &self.options).is_some() {
                due.push(order.clone());
            }
        }
        idle.iter().for_each(|order| self.forget(order));
        due.iter().for_each(|order| self.want(order));
    }

    fn forget(&mut self, order: &OrderId) {
        if let Some(entry) = self.orders.remove(order) {
            self.outside.metrics.watched_orders.dec();
            if let Some(updates) = entry.updates {
                updates.abort();
            }
        }
    }

    /// Queues the next question of an order, if it needs one and it is time.
    fn want(&mut self, order: &OrderId) {
        let Some(entry) = self.orders.get_mut(order) else { return };
        if !entry.busy && entry.question(self.now, &self.options).is_some() {
            entry.busy = true;
            self.queue.push_back((order.clone(), entry.life));
        }
    }

    fn ask_queued(&mut self) {
        while self.asked.len() < self.options.reads_max {
            let Some((order, life)) = self.queue.pop_front() else { break };
            let Some(entry) = self.orders.get_mut(&order).filter(|e| e.life == life) else { continue };
            let personal = self.outside.personal.clone();
            self.asked.push(match entry.question(self.now, &self.options) {
                None => {
                    entry.busy = false;
                    continue;
                }
                Some(Question::Updates) => {
                    let follow = self.outside.updates.follow(&order);
                    Box::pin(async move { Done::Followed(order, life, follow.await) })
                }
                Some(Question::Personal) => {
                    let state = entry.watch.ask_edit();
                    Box::pin(async move {
                        let personal = personal.of(&order, &state).await;
                        Done::Personal(order, life, personal)
                    })
                }
                Some(question @ (Question::Read | Question::Confirm)) => {
                    let metrics = &self.outside.metrics;
                    if matches!(question, Question::Confirm) {
                        metrics.hub_confirmations.inc();
                    } else if entry.watch.is_loaded() {
                        metrics.hub_resyncs.inc();
                    }
                    let read = self.outside.source.order(OrderQuery { order: order.clone() });
                    Box::pin(async move {
                        let read = async {
                            let Some(snapshot) = read.await? else { return Ok(None) };
                            let personal = personal.of(&order, &snapshot.state).await?;
                            Ok(Some((snapshot, personal)))
                        };
                        let read = read.await;
                        Done::Read(order, life, read)
                    })
                }
            });
        }
    }

    /// Asks the owner's history for a follower. When too much is in flight, a snapshot does as well.
    fn ask_base(&mut self, order: &OrderId, life: u64, ask: AskBase) {
        if self.asked.len() >= self.options.reads_max * HISTORIES {
            if let Some(entry) = self.orders.get_mut(order) {
                entry.watch.on_base(ask, None);
            }
            return;
        }
        let deltas = self.outside.source.deltas(DeltasQuery { order: order.clone(), since: ask.since });
        let order = order.clone();
        self.asked.push(Box::pin(async move { Done::Base(order, life, ask, deltas.await.ok().flatten()) }));
    }
}
