//! The hub: one per node, order → followers.
//!
//! The first local follower of an order makes the node follow its update subject, the last one ends that, with a linger
//! so that reconnects find it warm. A few shard tasks own the orders as plain data; there is neither an actor nor a
//! task per connection here. A shard never waits for a connection: outboxes are bounded, and one that is full is shut.
//!
//! Layers, from the inside: [`watch`] merges what the owner says and knows when it is behind; [`channel`] turns merged
//! states into frames, one encoding per view and datum; [`entry`] says what an order
//! needs next; [`shard`] is the loop with subscriptions and reads around them.

mod channel;
mod entry;
mod shard;
mod watch;

use crate::{
    bridge::{
        outbox::Outbox,
        personal::PersonalData,
        source::{SnapshotSource, Updates},
    },
    domain::OrderId,
    geo::Datum,
    metrics::Metrics,
    wire::{access::Principal, topic::Topic, view::View},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Settings of the hub.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Tasks that own the orders. More than cores gain nothing.
    pub shards: usize,
    /// Follows and unfollows that wait per shard; a connection whose command finds no room waits, and nobody else does.
    pub commands_max: usize,
    /// Orders watched at once, in all; beyond it a subscription is refused.
    pub orders_max: usize,
    /// How often the owner says its versions. It is taken as silent after two and a half of them.
    pub owner_heartbeat: Duration,
    /// How long an order without followers stays warm: a page's reload or a change of network.
    pub linger: Duration,
    /// Encoded deltas kept per order, view and datum: at a fix every 5 s the last minute or so.
    pub ring_max: usize,
    /// Deltas held per order while a snapshot is read.
    pub held_max: usize,
    /// Questions to the owner in flight per shard: after an owner's restart all orders ask at once.
    pub reads_max: usize,
    /// Wait after a read that failed or was behind: first, and doubled up to the last.
    pub retry_first: Duration,
    pub retry_last: Duration,
    /// How long a subscription waits for an owner that doesn't answer before it is refused.
    pub patience: Duration,
    /// How often a followed order is read that is final and that the owner's heartbeats leave out (an hour after its
    /// completion): each followed order is confirmed, and of these hardly any will ever change.
    pub confirm_every: Duration,
    /// How old the personal data of a watched order may be. Every new subscription reads them anyway; this is for an
    /// erasure to reach those who watch, at some hundred reads a second with thousands of orders.
    pub personal_every: Duration,
    /// The resolution of all these times.
    pub tick: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            shards: 4,
            commands_max: 1_024,
            orders_max: 200_000,
            owner_heartbeat: Duration::from_secs(3),
            linger: Duration::from_secs(10),
            ring_max: 16,
            held_max: 64,
            reads_max: 64,
            retry_first: Duration::from_millis(200),
            retry_last: Duration::from_secs(5),
            patience: Duration::from_secs(15),
            confirm_every: Duration::from_secs(30),
            personal_every: Duration::from_secs(30),
            tick: Duration::from_millis(250),
        }
    }
}

/// How an order's changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As patches: [`Topic::Order`].
    Deltas,
    /// As whole bodies: [`Topic::Whole`].
    Whole,
}

impl Shape {
    pub(crate) fn topic(self, order: OrderId) -> Topic {
        match self {
            Self::Deltas => Topic::Order(order),
            Self::Whole => Topic::Whole(order),
        }
    }
}

/// What one channel is made for: a role's view, in a datum, in a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lens {
    pub view: View,
    pub datum: Datum,
    pub shape: Shape,
}

/// Where a client was when it lost its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub epoch: u64,
    pub version: u64,
}

/// A connection's wish for an order in one shape, as the hub counts them: connections have one for each shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowerId(pub(crate) u64);

/// One connection's wish to follow one order.
#[derive(Clone, Debug)]
pub struct Follower {
    pub id: FollowerId,
    pub outbox: Arc<Outbox>,
    /// Whose connection it is: the right to the order is looked at whenever the order changes hands.
    pub who: Arc<Principal>,
    pub lens: Lens,
    pub resume: Option<Resume>,
    /// Tells this wish from an earlier one of the same connection, if it is refused.
    pub generation: u64,
}

/// What shards are told.
#[derive(Debug)]
enum Command {
    /// Follow, or follow anew from the version given.
    Follow { order: OrderId, follower: Follower },
    /// The client doesn't want it any more: say so and stop.
    Unfollow { order: OrderId, shape: Shape, id: FollowerId, outbox: Arc<Outbox> },
    /// The connection is gone.
    Leave { order: OrderId, id: FollowerId },
}

/// The hub has ended; so will the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub has ended")]
pub struct HubEnded;

/// Handle on the shards; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    shards: Arc<[mpsc::Sender<Command>]>,
    next: Arc<AtomicU64>,
}

impl Hub {
    /// Starts the shards on the tracker; they end with the token.
    pub fn start(
        options: HubOptions,
        source: Arc<dyn SnapshotSource>,
        updates: Arc<dyn Updates>,
        personal: Arc<PersonalData>,
        metrics: Metrics,
        (tracker, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let outside = shard::Outside { source, updates, personal, metrics };
        let start = |_| {
            let (sender, commands) = mpsc::channel(options.commands_max);
            let shard = shard::Shard::new(options.clone(), outside.clone());
            tracker.spawn(shard.run(commands, cancel.clone()));
            sender
        };
        Self { shards: (0..options.shards.max(1)).map(start).collect(), next: Arc::new(AtomicU64::new(0)) }
    }

    /// A name for a new connection.
    pub fn register(&self) -> FollowerId {
        FollowerId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Follows an order, from where the client was or anew. `Subscribed` with a snapshot or the missed deltas comes through
    /// the outbox, or an `Error`, with the generation given here among the topics that ended.
    pub async fn follow(&self, order: OrderId, follower: Follower) -> Result<(), HubEnded> {
        self.send(Command::Follow { order, follower }).await
    }

    /// Stops following. `Unsubscribed` comes through the outbox, and nothing about the order after it.
    pub async fn unfollow(
        &self,
        (order, shape): (OrderId, Shape),
        id: FollowerId,
        outbox: &Arc<Outbox>,
    ) -> Result<(), HubEnded> {
        self.send(Command::Unfollow { order, shape, id, outbox: outbox.clone() }).await
    }

    /// The connection is gone.
    pub async fn leave(&self, order: OrderId, id: FollowerId) -> Result<(), HubEnded> {
        self.send(Command::Leave { order, id }).await
    }

    async fn send(&self, command: Command) -> Result<(), HubEnded> {
        let (Command::Follow { order, .. } | Command::Unfollow { order, .. } | Command::Leave { order, .. }) = &command;
        let mut hash = DefaultHasher::new();
        order.hash(&mut hash);
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is below the number of shards")]
        let shard = (hash.finish() % self.shards.len() as u64) as usize;
        self.shards[shard].send(command).await.map_err(|_| HubEnded)
    }
}
