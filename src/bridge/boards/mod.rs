//! Boards: the topics beside a single order. A rider's trip, a warehouse's orders, the whole cell, the alerts.
//!
//! A board is a document that is fed by what the owner says, and its followers. It begins with its first local follower
//! and ends a while after the last. Three kinds of desk keep them, each a task with plain data:
//!
//! - one per rider that is followed: [`rider`], fed by the rider's own words and, through the hub, by the orders in hand;
//! - one for the cell: [`mirror`] holds all riders and active orders while somebody follows the cell or a warehouse, and
//!   [`draw`] shows the parts;
//! - one for [`alerts`].
//!
//! From the inside: [`sheet`] is one cut of a board with its versions and frames; [`stand`] the followers of a board;
//! [`desk`] the loop around it all. No desk waits for a connection: a follower whose outbox doesn't empty gets one merged
//! delta when it does.

mod alert_desk;
pub mod alerts;
mod cell_desk;
mod desk;
mod draw;
mod mirror;
mod rider;
mod rider_desk;
mod sheet;
pub mod source;
mod stand;

use crate::{
    bridge::{
        frame::Frame,
        hub::{FollowerId, Hub, HubEnded, Resume},
        outbox::Outbox,
    },
    domain::RiderId,
    geo::{Bounds, Datum},
    metrics::Metrics,
    wire::{client::ServerFrame, problem::Problem, topic::Topic},
};
use parking_lot::Mutex;
use source::BoardSource;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Settings of the boards, each with the reason for its default.
#[derive(Clone, Copy, Debug)]
pub struct BoardOptions {
    /// Riders with followers at once; beyond it a subscription is refused. One costs a task and some kilobytes.
    pub riders_max: usize,
    /// Follows and unfollows that wait per desk.
    pub commands_max: usize,
    /// How often the owner says its versions. It is taken as silent after two and a half of them.
    pub owner_heartbeat: Duration,
    /// How long a board without followers stays warm.
    pub linger: Duration,
    /// The cell's followers get at most one delta in this time.
    pub cell_every: Duration,
    /// Encoded deltas kept per sheet, for those who come back.
    pub ring_max: usize,
    /// Frames that may wait in a follower's outbox before newer changes are merged: more than a burst, less than a
    /// screen that is behind wants to see.
    pub queue_max: usize,
    /// A snapshot that is larger isn't sent, and its follower is asked to choose a smaller box; it would not fit into the
    /// outbox.
    pub snapshot_max_bytes: usize,
    /// Wait after a question that failed: first, and doubled up to the last.
    pub retry_first: Duration,
    pub retry_last: Duration,
    /// How long a subscription waits for an owner that doesn't answer before it is refused.
    pub patience: Duration,
    /// The resolution of all these times.
    pub tick: Duration,
}

impl Default for BoardOptions {
    fn default() -> Self {
        Self {
            riders_max: 20_000,
            commands_max: 256,
            owner_heartbeat: Duration::from_secs(3),
            linger: Duration::from_secs(10),
            cell_every: Duration::from_secs(1),
            ring_max: 16,
            queue_max: 16,
            snapshot_max_bytes: 3 << 20,
            retry_first: Duration::from_millis(200),
            retry_last: Duration::from_secs(5),
            patience: Duration::from_secs(15),
            tick: Duration::from_millis(250),
        }
    }
}

impl BoardOptions {
    fn sheet(&self) -> sheet::Bounds {
        sheet::Bounds { ring_max: self.ring_max, queue_max: self.queue_max }
    }

    /// After which the owner counts as silent.
    fn silence(&self) -> Duration {
        self.owner_heartbeat * 5 / 2
    }
}

/// What of a board a follower gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cut {
    pub(crate) datum: Datum,
    /// In that datum. Of the cell only.
    pub(crate) bounds: Option<Bounds>,
}

/// One connection's wish to follow one board.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub(crate) id: FollowerId,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) cut: Cut,
    pub(crate) resume: Option<Resume>,
    /// Tells this wish from an earlier one of the same connection, if it is refused.
    pub(crate) generation: u64,
}

/// A topic, as frames and metrics name it.
#[derive(Clone, Debug)]
struct Label {
    of: Topic,
    text: String,
    metrics: Metrics,
}

impl Label {
    fn new(of: Topic, metrics: Metrics) -> Self {
        Self { text: of.to_string(), of, metrics }
    }
}

/// What desks are told.
#[derive(Debug)]
enum Command {
    Follow(Topic, Follower),
    Unfollow(Topic, FollowerId, Arc<Outbox>),
    Leave(Topic, FollowerId),
}

/// Which desk keeps a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Desk {
    Rider(RiderId),
    Cell,
    Alerts,
}

#[derive(Debug)]
struct Inner {
    options: BoardOptions,
    source: Arc<dyn BoardSource>,
    hub: Hub,
    metrics: Metrics,
    tracker: TaskTracker,
    cancel: CancellationToken,
    desks: Mutex<HashMap<Desk, mpsc::Sender<Command>>>,
}

/// Handle on the desks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Boards(Arc<Inner>);

impl Boards {
    /// Desks run on the tracker when somebody follows, and end with the token.
    pub fn new(
        options: BoardOptions,
        source: Arc<dyn BoardSource>,
        hub: Hub,
        metrics: Metrics,
        (tracker, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let (tracker, cancel, desks) = (tracker.clone(), cancel.clone(), Mutex::default());
        Self(Arc::new(Inner { options, source, hub, metrics, tracker, cancel, desks }))
    }

    /// Follows a topic that isn't an order, from where the client was or anew. `Subscribed` with a snapshot or the missed
    /// deltas comes through the outbox, or an `Error`, with the follower's generation among the topics that ended.
    pub(crate) async fn follow(&self, topic: Topic, follower: Follower) -> Result<(), HubEnded> {
        self.send(Command::Follow(topic, follower)).await
    }

    /// Stops following. `Unsubscribed` comes through the outbox, and nothing about the topic after it.
    pub(crate) async fn unfollow(&self, topic: Topic, id: FollowerId, outbox: &Arc<Outbox>) -> Result<(), HubEnded> {
        self.send(Command::Unfollow(topic, id, outbox.clone())).await
    }

    /// The connection is gone.
    pub(crate) async fn leave(&self, topic: Topic, id: FollowerId) -> Result<(), HubEnded> {
        self.send(Command::Leave(topic, id)).await
    }

    /// Boards that run now, by desk.
    pub fn desks(&self) -> usize {
        self.0.desks.lock().len()
    }

    async fn send(&self, mut command: Command) -> Result<(), HubEnded> {
        let desk = match &command {
            Command::Follow(topic, _) | Command::Unfollow(topic, ..) | Command::Leave(topic, _) => match topic {
                Topic::Rider(id) => Desk::Rider(id.clone()),
                Topic::Warehouse(_) | Topic::Cell => Desk::Cell,
                Topic::Alerts => Desk::Alerts,
                // The hub's.
                Topic::Order(_) | Topic::Whole(_) => return Ok(()),
            },
        };
        loop {
            let Some(sender) = self.desk(&desk) else {
                if let Command::Follow(topic, follower) = command {
                    let problem = Problem::new(503, "too_many_riders", "This node follows all the riders it can");
                    let frame = ServerFrame::Error { topic: Some(topic.to_string()), problem };
                    let _ = follower.outbox.refuse(&topic, follower.generation, Frame::new(&frame, None));
                }
                return Ok(());
            };
            match sender.send(command).await {
                Ok(()) => return Ok(()),
                Err(_) if self.0.cancel.is_cancelled() => return Err(HubEnded),
                // The desk was just given up; there is another, or will be.
                Err(mpsc::error::SendError(again)) => command = again,
            }
        }
    }

    /// The desk, begun if it isn't there. `None` if there may not be another.
    fn desk(&self, desk: &Desk) -> Option<mpsc::Sender<Command>> {
        let mut desks = self.0.desks.lock();
        if let Some(sender) = desks.get(desk) {
            return Some(sender.clone());
        }
        if matches!(desk, Desk::Rider(_)) && desks.len() >= self.0.options.riders_max {
            return None;
        }
        let (sender, commands) = mpsc::channel(self.0.options.commands_max);
        desks.insert(desk.clone(), sender.clone());
        let inner = self.0.clone();
        match desk {
            Desk::Rider(id) => {
                let work = rider_desk::RiderDesk::new(id.clone(), inner.clone());
                self.0.tracker.spawn(desk::keep(work, desk.clone(), inner, commands));
            }
            Desk::Cell => {
                let work = cell_desk::CellDesk::new(inner.clone());
                self.0.tracker.spawn(desk::keep(work, desk.clone(), inner, commands));
            }
            Desk::Alerts => {
                let work = alert_desk::AlertDesk::new(inner.clone());
                self.0.tracker.spawn(desk::keep(work, desk.clone(), inner, commands));
            }
        }
        Some(sender)
    }
}
