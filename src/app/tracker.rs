//! The tracker's half of a node: the cell's log, its owner, and everything that the owner says.

use super::{AppError, connect, counted::Counted, owner::CellOwner};
use crate::{
    actors::{CellHandle, CellOptions, Hot, HotOrder, Restored},
    bridge::health::Health,
    clock::Stopwatch,
    config::Config,
    domain::{CellClock, CellId, Order, OrderId, cell::Rider},
    feed,
    metrics::{KindLabel, Metrics},
    nats,
    ports::{self, RunningTimer, StoreError},
    publish, router,
    store::{self, Store},
    wire::{blob, control, subject::LogSubject},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A running tracker.
#[derive(Debug)]
pub(super) struct Tracker {
    cell: CellHandle,
    store: Store,
    /// Ends the input.
    feed_stop: CancellationToken,
    feed_tasks: TaskTracker,
    /// Ends what is said beside the announcements.
    publish_stop: CancellationToken,
    publish_tasks: TaskTracker,
    /// Why the cell isn't served, if so.
    refusal: watch::Receiver<Option<String>>,
    beat: Beat,
    js: async_nats::jetstream::Context,
    id: CellId,
}

/// The owner's heartbeat, which can be begun anew at another pace.
#[derive(Debug)]
struct Beat {
    client: async_nats::Client,
    owner: Arc<CellOwner>,
    every: Duration,
    /// What the bridges were started with: they take an owner that is slower for silent.
    slowest: Duration,
    stop: CancellationToken,
}

impl Tracker {
    /// Takes the cell: its epoch, its stored state, and its log from the cursor on.
    pub(super) async fn start(config: &Config, nats_url: &str, metrics: &Metrics) -> Result<Self, AppError> {
        let id = config.cell.clone();
        let client = connect(nats_url, "trunkline-tracker").await?;
        let js = nats::client::jetstream(&client);
        let log = nats::streams::ensure(&js, &id, &limits(config)).await?;
        let store = open(&database(&config.data, &id)?, &id, metrics).await?;
        let mark = ports::Store::mark(&store).await?;
        if mark.is_none() {
            store.adopt(log.created_ns).await?;
        }
        if log.last_seq == 0 && mark.is_none_or(|mark| mark.cursor == 0) {
            // What came with later versions is in force from the start; a log that began without keeps playing as it did.
            let subject = LogSubject::Control { cell: id.clone(), what: control::RULES.to_owned() };
            nats::streams::begin(&js, &id, subject.to_string(), control::first_rules()).await?;
        }
        let epoch = nats::epoch::take(&js, &id).await?;
        let since_epoch = store.carry_on(epoch, machine_run()).await?;
        let restored = restore(&store).await?;
        let clock = restored.head.clock;

        let (feed_stop, publish_stop) = (CancellationToken::new(), CancellationToken::new());
        let (feed_tasks, publish_tasks) = (TaskTracker::new(), TaskTracker::new());
        let mut timers: BTreeMap<OrderId, Vec<RunningTimer>> = BTreeMap::new();
        for (order, kind, n, due) in store.timers().await? {
            timers.entry(order).or_default().push((kind, n, due));
        }
        let (wheel, turning) = publish::timers::wheel(timers, clock);
        for (kind, open) in store.open_alerts().await? {
            metrics.alerts_open.get_or_create(&KindLabel { kind: kind.name() }).set(open);
        }
        let nudge = Arc::new(Notify::new());
        let routing = config.routing.as_ref();
        let routing = routing
            .map(|r| router::router(r, router::Options::default(), metrics.clone()))
            .transpose()
            .map_err(AppError::Http)?;
        let (finder, router) = routing.unzip();
        let routes = finder.clone().map(|finder| Arc::new(finder) as Arc<dyn ports::RouteFinder>);
        let announcer = publish::Announcer::new(client.clone(), id.clone(), wheel, Arc::clone(&nudge), metrics.clone())
            .with_routes(routes);

        let mut options = CellOptions::new(id.clone(), epoch);
        options.passivate_after = config.passivate_after;
        let dyn_store: Arc<Store> = Arc::new(store.clone());
        let cell = CellHandle::start(
            options,
            restored,
            dyn_store.clone(),
            Arc::new(announcer),
            metrics.clone(),
            &publish_tasks,
        )
        .await?;
        let owner = Arc::new(CellOwner {
            id: id.clone(),
            cell: cell.clone(),
            store: store.clone(),
            epoch,
            since_epoch,
            since: Stopwatch::start(),
            counted: Counted::default(),
            metrics: metrics.clone(),
        });

        let stop = || publish_stop.clone();
        let warming = warm(store.clone(), Arc::clone(cell.hot()), clock);
        publish_tasks.spawn(async move {
            warming.await;
            // Also for those whose route was asked for when the node ended.
            if let Some(finder) = finder {
                finder.look();
            }
        });
        if let Some(router) = router {
            let orders: Arc<dyn ports::Routeless> = Arc::clone(cell.hot()) as _;
            let asking = router.run(client.clone(), js.clone(), id.clone(), orders, stop());
            publish_tasks.spawn(logged("router", asking));
        }
        let drain = publish::outbox::run(
            js.clone(),
            id.clone(),
            dyn_store,
            nudge,
            metrics.clone(),
            publish::outbox::Options::default(),
            stop(),
        );
        publish_tasks.spawn(logged("outbox", drain));
        publish_tasks.spawn(publish::timers::run(js.clone(), id.clone(), turning, metrics.clone(), stop()));
        let every = config.owner_heartbeat;
        let (beating, slowest) = (publish_stop.child_token(), every);
        let beat = Beat { client: client.clone(), owner: owner.clone(), every, slowest, stop: beating };
        beat.run(&id, &publish_tasks);
        let answering = publish::queries::run(
            client,
            id.clone(),
            owner,
            publish::queries::Options::default(),
            publish_tasks.clone(),
            stop(),
        );
        publish_tasks.spawn(logged("queries", answering));

        let refusal = read_log(js.clone(), id.clone(), &cell, metrics, &feed_tasks, feed_stop.clone());
        Ok(Self { cell, store, feed_stop, feed_tasks, publish_stop, publish_tasks, refusal, beat, js, id })
    }

    /// Takes over what may change while it runs, and says in the log what it can't; whether the limits are as wished.
    pub(super) async fn reload(&mut self, config: &Config, limits_changed: bool) -> bool {
        self.cell.passivate_after(config.passivate_after);
        let every = config.owner_heartbeat;
        if every > self.beat.slowest {
            let (key, slowest_s) = ("tracker.heartbeat_s", self.beat.slowest.as_secs());
            tracing::warn!(key, slowest_s, "bridges take a slower owner for silent: needs a restart, keeps its value");
        } else if every != self.beat.every {
            self.beat.stop.cancel();
            self.beat.stop = self.publish_stop.child_token();
            self.beat.every = every;
            self.beat.run(&self.id, &self.publish_tasks);
        }
        if limits_changed && let Err(error) = nats::streams::ensure(&self.js, &self.id, &limits(config)).await {
            tracing::error!(%error, "the log's limit stays as it was");
            return false;
        }
        true
    }

    /// Last committed place in the log.
    pub(super) fn cursor(&self) -> u64 {
        self.cell.cursor()
    }

    /// Lets `health` say what keeps the cell from being served.
    pub(super) fn report_to(&self, health: Arc<Health>, tasks: &TaskTracker, stop: CancellationToken) {
        let (mut refusal, mut stopped) = (self.refusal.clone(), self.cell.stopped());
        tasks.spawn(async move {
            loop {
                let reason = refusal.borrow_and_update().clone().or_else(|| stopped.borrow_and_update().clone());
                if let Some(reason) = reason {
                    health.unready(reason);
                    return;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = refusal.changed() => if changed.is_err() { return },
                    changed = stopped.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    /// No more input, then what is in flight to disk, then what is still to be said.
    pub(super) async fn stop(self) {
        self.feed_stop.cancel();
        self.feed_tasks.close();
        self.feed_tasks.wait().await;
        self.cell.finish().await;
        self.publish_stop.cancel();
        self.publish_tasks.close();
        self.publish_tasks.wait().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "closing the store");
        }
    }
}

impl Beat {
    fn run(&self, id: &CellId, tasks: &TaskTracker) {
        let Self { client, owner, every, stop, .. } = self;
        let options = publish::heartbeat::Options { every: *every, ..Default::default() };
        tasks.spawn(publish::heartbeat::run(client.clone(), id.clone(), owner.clone(), options, stop.clone()));
        let options = publish::boards::Options { heartbeat: *every, ..Default::default() };
        tasks.spawn(publish::boards::run(client.clone(), id.clone(), owner.clone(), options, stop.clone()));
    }
}

/// What must be the same for an owner to carry on where the one before it ended, `None` where that can't be known. The machine's
/// run: a power cut may take the last of the log and more of the database, unnoticed, and versions that were published
/// come again with another meaning. And the program: another release may publish the same state in another form.
fn machine_run() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {}", boot.trim(), env!("CARGO_PKG_VERSION")))
}

/// What the cell's streams may take.
fn limits(config: &Config) -> nats::streams::Options {
    let mut limits = nats::streams::Options::default();
    if let Some(mib) = config.nats.log_max_mib {
        limits.log_max_bytes = mib << 20;
    }
    limits
}

/// Starts reading the log. The receiver says why the reading ended, when it ended by itself.
fn read_log(
    js: async_nats::jetstream::Context,
    id: CellId,
    cell: &CellHandle,
    metrics: &Metrics,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> watch::Receiver<Option<String>> {
    let (refuse, refusal) = watch::channel(None);
    let (sink, metrics) = (cell.clone(), metrics.clone());
    tasks.spawn(async move {
        let reading = feed::run(js, id, Arc::new(sink.clone()), metrics, feed::Options::default(), stop.clone());
        if let Err(error) = reading.await {
            tracing::error!(%error, "the cell is not served");
            // Whoever asks for this state must not take it for the present.
            sink.refuse(&error.to_string());
            refuse.send_replace(Some(error.to_string()));
        }
        // The channel stays open for those who wait for a reason.
        stop.cancelled().await;
    });
    refusal
}

/// Says in the log how a task ended that should not have.
async fn logged<E: std::fmt::Display>(name: &'static str, run: impl Future<Output = Result<(), E>>) {
    if let Err(error) = run.await {
        tracing::error!(%error, name, "ended");
    }
}

/// Where the cell's database is, or would be.
pub fn database_path(data: &Path, id: &CellId) -> PathBuf {
    data.join("cells").join(format!("{id}.sqlite"))
}

/// The cell's database file; its folder is made.
pub(super) fn database(data: &Path, id: &CellId) -> Result<PathBuf, AppError> {
    let path = database_path(data, id);
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.map_err(|source| AppError::File { path: path.clone(), source })?;
    Ok(path)
}

/// Opens the cell's store, off the async threads.
pub(super) async fn open(path: &Path, id: &CellId, metrics: &Metrics) -> Result<Store, AppError> {
    let (file, id, metrics) = (path.to_owned(), id.clone(), metrics.clone());
    let opened = tokio::task::spawn_blocking(move || Store::open(&file, &id, store::Options::default(), metrics)).await;
    let opened = opened.map_err(|error| StoreError(error.to_string()))?;
    opened.map_err(|source| AppError::Open { path: path.to_owned(), source })
}

/// The cell core as it was stored.
async fn restore(store: &Store) -> Result<Restored, AppError> {
    let image = store.cell().await?;
    let head = if image.head.is_empty() { Default::default() } else { blob::decode(&image.head)? };
    let mut riders = Vec::new();
    for (id, rider) in store.riders().await? {
        riders.push((id, blob::decode::<Rider>(&rider)?));
    }
    Ok(Restored { cursor: image.cursor, head, riders })
}

/// Fills the hot orders from the store, while the feed already runs: what is newer there stays.
async fn warm(store: Store, hot: Arc<Hot>, clock: CellClock) {
    let ended_since = clock.now().plus(-Hot::KEEP_FINAL_MS);
    let orders = match store.current(ended_since).await {
        Ok(orders) => orders,
        Err(error) => return tracing::error!(%error, "active orders could not be read; they are served from the disk"),
    };
    for (id, head) in orders {
        match blob::decode::<Order>(&head) {
            Ok(order) => {
                let Order { version, updated_at, facts, live, .. } = order;
                hot.seed(id, HotOrder { version, at: updated_at, facts, live });
            }
            Err(error) => tracing::error!(%error, %id, "an order's state can't be read"),
        }
    }
}
