//! What a cell says to the world, after the commit and never before.
//!
//! - [`Announcer`]: deltas and answers on core NATS, at once and never again: who misses one sees it by the heartbeat,
//!   or asks again under the same key.
//! - [`outbox`]: what must arrive (tasks, dead letters, directory entries), from the store into streams, each on a
//!   subject of its own with expected sequence 0, so that saying it twice is harmless.
//! - [`timers`]: the wheel; a deadline that comes is a message in the log like any other.
//! - [`heartbeat`]: the owner says every few seconds what version each order has.
//! - [`boards`]: what changed in the cell, and the documents of riders, for those who asked for them lately.
//! - [`queries`]: what bridges ask the owner.

pub mod boards;
pub mod heartbeat;
mod once;
pub mod outbox;
pub mod queries;
pub mod timers;

use crate::{
    clock,
    domain::CellId,
    metrics::{Metrics, Step},
    ports::{Announcements, Publish, RouteFinder},
    wire::{subject, update::OwnDelta},
};
use async_nats::Client;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use serde::Serialize;
use std::sync::Arc;
use timers::WheelHandle;
use tokio::sync::Notify;

/// Announces what became durable. The client's connection task writes what is queued and flushes when the queue is
/// empty, so there is no flush here: under load many updates share a write, without load each goes at once.
#[derive(Clone, Debug)]
pub struct Announcer {
    client: Client,
    cell: CellId,
    wheel: WheelHandle,
    /// Wakes [`outbox::run`].
    outbox: Arc<Notify>,
    /// Where orders without a route go, if anybody finds some.
    routes: Option<Arc<dyn RouteFinder>>,
    metrics: Metrics,
}

impl Announcer {
    pub fn new(client: Client, cell: CellId, wheel: WheelHandle, outbox: Arc<Notify>, metrics: Metrics) -> Self {
        Self { client, cell, wheel, outbox, routes: None, metrics }
    }

    /// The same, with somebody who finds routes for orders that have none.
    #[must_use]
    pub fn with_routes(self, routes: Option<Arc<dyn RouteFinder>>) -> Self {
        Self { routes, ..self }
    }

    async fn say(self, announcements: Announcements) {
        let Announcements { updates, riders, answers, timers, clock, outbox, seeking } = announcements;
        if outbox {
            self.outbox.notify_one();
        }
        if let Some(routes) = self.routes.as_ref().filter(|_| !seeking.is_empty()) {
            routes.seek(seeking);
        }
        // Answers first: somebody waits for them.
        for (reply, outcome) in answers {
            if let Some(payload) = encode(&outcome) {
                self.publish(reply.as_ref().to_owned(), payload).await;
            }
        }
        for (order, update) in updates {
            self.publish(subject::update_order(&self.cell, &order), update.encode()).await;
            self.observe(&update);
        }
        for word in riders {
            if let Some(payload) = encode(&word) {
                self.publish(subject::update_rider(&self.cell, &word.rider), payload).await;
            }
        }
        self.wheel.turn(timers, clock).await;
    }

    /// Waits for room in the client's buffer, also while there is no connection.
    async fn publish(&self, subject: String, payload: Bytes) {
        let subject = async_nats::Subject::from(subject);
        if let Err(error) = self.client.publish(subject.clone(), payload).await {
            tracing::warn!(%error, %subject, "not published");
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for a histogram")]
    fn observe(&self, delta: &OwnDelta) {
        self.metrics.updates_published.inc();
        let age_ms = clock::wall().since(delta.log_time_ms).max(0);
        self.metrics.latency_seconds.get_or_create(&Step { step: "published" }).observe(age_ms as f64 / 1e3);
    }
}

impl Publish for Announcer {
    fn announce(&self, announcements: Announcements) -> BoxFuture<'static, ()> {
        self.clone().say(announcements).boxed()
    }
}

/// JSON, or nothing and a line in the log: our own types have string keys and finite numbers.
fn encode<T: Serialize>(message: &T) -> Option<Bytes> {
    match serde_json::to_vec(message) {
        Ok(json) => Some(json.into()),
        Err(error) => {
            tracing::error!(%error, "a message can't be encoded");
            None
        }
    }
}
