//! The cell from outside: where the feed delivers, and where committed batches come out.

use super::{
    cell::{CellActor, CellMessage, CellOptions, Committing, Restored, stop},
    hot::{Hot, HotRider},
};
use crate::{
    clock,
    domain::{CellClock, UnixMillis},
    metrics::{Metrics, Step},
    ports::{LogMark, Publish, Sink, Stopped, Store, StoreError},
    wire::log::{Batch, Received},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use ractor::{Actor, ActorRef};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;

/// Batches that may wait for the store, well under what the store takes; entries are bounded apart.
const COMMITTING: usize = 16;

/// How many batches pass between two looks for orders that are final long enough.
const FORGET_EVERY: u64 = 256;

/// Room taken by a batch until it is announced.
pub(super) type InFlight = OwnedSemaphorePermit;

/// A running cell. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CellHandle {
    actor: ActorRef<CellMessage>,
    room: Arc<Semaphore>,
    capacity: u32,
    store: Arc<dyn Store>,
    hot: Arc<Hot>,
    stopped: Arc<watch::Sender<Option<String>>>,
    metrics: Metrics,
    cursor: Arc<AtomicU64>,
    clock: Arc<Mutex<CellClock>>,
}

impl CellHandle {
    /// Starts the cell's actor from its stored state. Order actors follow when they are needed.
    pub async fn start(
        options: CellOptions,
        restored: Restored,
        store: Arc<dyn Store>,
        publish: Arc<dyn Publish>,
        metrics: Metrics,
        tasks: &TaskTracker,
    ) -> Result<Self, ractor::SpawnErr> {
        let capacity = options.in_flight_entries.max(1);
        let (committing, committed) = mpsc::channel(COMMITTING);
        let stopped = Arc::new(watch::channel(None).0);
        let hot = Arc::new(Hot::default());
        let begin = (options.epoch, restored.cursor, restored.head.clock.now());
        hot.riders_committed(begin, restored.riders.iter().map(|(id, rider)| (id.clone(), HotRider::from(rider))));
        hot.rules_committed(&restored.head.rules);
        let cursor = Arc::new(AtomicU64::new(restored.cursor));
        let cell_clock = Arc::new(Mutex::new(restored.head.clock));
        metrics.cell_serving.set(1);
        let epoch = options.epoch;
        let actor =
            CellActor { options, store: store.clone(), metrics: metrics.clone(), committing, stopped: stopped.clone() };
        let (actor, _) = CellActor::spawn(None, actor, restored).await?;
        let committer = Committer {
            actor: actor.clone(),
            publish,
            epoch,
            metrics: metrics.clone(),
            hot: hot.clone(),
            stopped: stopped.clone(),
            cursor: cursor.clone(),
            clock: cell_clock.clone(),
        };
        tasks.spawn(committer.run(committed));
        let room = Arc::new(Semaphore::new(capacity as usize));
        Ok(Self { actor, room, capacity, store, hot, stopped, metrics, cursor, clock: cell_clock })
    }

    /// Committed state of active and recent orders.
    pub fn hot(&self) -> &Arc<Hot> {
        &self.hot
    }

    /// Last committed place in the log.
    pub fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Acquire)
    }

    /// The cell clock as of the last committed batch.
    pub fn clock(&self) -> CellClock {
        *self.clock.lock()
    }

    /// Why the cell stopped, once it did.
    pub fn stopped(&self) -> watch::Receiver<Option<String>> {
        self.stopped.subscribe()
    }

    /// Stops the cell for a reason from outside: its log is not the one it should be. Nothing more is applied.
    pub fn refuse(&self, reason: &str) {
        stop(&self.stopped, &self.metrics, reason);
    }

    /// Changes after how long an order without input lets its actor go.
    pub fn passivate_after(&self, after: std::time::Duration) {
        // A cell that has stopped keeps no actors.
        let _ = self.actor.cast(CellMessage::PassivateAfter(after));
    }

    /// Waits until everything delivered is durable and announced, then ends the actors.
    pub async fn finish(&self) {
        // A stopped cell gives its room back too.
        let _all = self.room.acquire_many(self.capacity).await;
        self.actor.stop(None);
    }
}

/// What a batch takes of the room: an entry counts once for each of its fixes.
fn weight(batch: &Batch) -> u32 {
    u32::try_from(batch.entries.iter().map(Received::weight).sum::<usize>()).unwrap_or(u32::MAX)
}

impl Sink for CellHandle {
    fn deliver(&self, batch: Batch) -> BoxFuture<'static, Result<(), Stopped>> {
        let Self { actor, room, capacity, stopped, .. } = self.clone();
        Box::pin(async move {
            let reason = || stopped.borrow().clone().unwrap_or_else(|| "it was shut down".into());
            let needs = weight(&batch).clamp(1, capacity);
            let in_flight = room.acquire_many_owned(needs).await.map_err(|_| Stopped(reason()))?;
            if let Some(reason) = stopped.borrow().clone() {
                return Err(Stopped(reason));
            }
            actor.cast(CellMessage::Batch { batch, in_flight }).map_err(|_| Stopped(reason()))
        })
    }

    fn mark(&self) -> BoxFuture<'static, Result<Option<LogMark>, StoreError>> {
        self.store.mark()
    }
}

/// Takes batches from the store in order and announces them. A task of its own, so that the next batch is applied while
/// this one is written.
struct Committer {
    actor: ActorRef<CellMessage>,
    publish: Arc<dyn Publish>,
    epoch: u64,
    metrics: Metrics,
    hot: Arc<Hot>,
    stopped: Arc<watch::Sender<Option<String>>>,
    cursor: Arc<AtomicU64>,
    clock: Arc<Mutex<CellClock>>,
}

impl Committer {
    async fn run(self, mut committing: mpsc::Receiver<Committing>) {
        while let Some(batch) = committing.recv().await {
            let Committing {
                number,
                stored,
                mut announcements,
                published,
                riders,
                rules,
                cursor,
                first_log_time,
                in_flight,
            } = batch;
            if let Err(error) = stored.await {
                stop(&self.stopped, &self.metrics, &error.to_string());
            }
            // After a failed commit nothing may be announced any more, not even what was stored behind it.
            if self.stopped.borrow().is_some() {
                drop(in_flight);
                continue;
            }
            self.observe("committed", first_log_time);
            self.cursor.store(cursor, Ordering::Release);
            let now = announcements.clock.now();
            *self.clock.lock() = announcements.clock;
            self.hot.committed(published);
            announcements.riders = self.hot.riders_committed((self.epoch, cursor, now), riders);
            self.hot.rules_committed(&rules);
            self.publish.announce(announcements).await;
            if number % FORGET_EVERY == 0 {
                self.hot.forget_final(now);
            }
            // The cell may have been shut down already; then nobody needs to know.
            let _ = self.actor.cast(CellMessage::Committed { number });
            drop(in_flight);
        }
    }

    /// Latency of a step by the wall clock against the log's: both are the same machine's, or kept in step by NTP.
    fn observe(&self, step: &'static str, log_time: UnixMillis) {
        let ms = clock::wall().since(log_time).max(0);
        self.metrics.latency_seconds.get_or_create(&Step { step }).observe(ms as f64 / 1_000.0);
    }
}
