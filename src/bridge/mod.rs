//! What clients see of Trunkline: REST, `/v1/ws`, and the hub behind both.
//!
//! The bridge knows NATS subjects and [`source::SnapshotSource`], never an actor: it runs beside the owner of a cell or
//! on a node of its own, and a fault of the owner reaches it as silence. Whatever leaves a node for the outside passes
//! a port ([`source`], [`publish`], [`bucket`]), so that everything here is tested without a broker.
//!
//! ```text
//! HTTP ─▶ rest ─▶ answers ─▶ log (JetStream) … outcome ─▶ answers ─▶ HTTP
//! update.… ─▶ hub shard: watch (merged state) ─▶ channel (one per view and datum) ─▶ outboxes ─▶ ws
//! update.… ─▶ board's desk: rider, cell's mirror, alerts ─▶ sheet (one per datum and box) ─▶ outboxes ─▶ ws
//! ```

pub mod answers;
pub mod boards;
pub mod bucket;
pub mod datum;
pub mod gate;
pub mod health;
pub mod hub;
pub mod outbox;
pub mod params;
pub mod personal;
pub mod publish;
pub mod reject;
mod replay;
mod rest;
mod serve;
pub mod session;
pub mod shares;
pub mod source;
mod ws;

pub use serve::{BindError, check_bind};

use crate::{bridge::source::SourceError, domain::CellId, metrics::Metrics, wire::subject};
use async_nats::jetstream;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Settings of the bridge, each with the reason for its default.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sockets at once. One costs tens of kilobytes at worst, so the default fits a small machine with room to spare.
    pub connections_max: usize,
    /// A client that sends no whole request head within this time is cut off (slow-header attacks).
    pub header_timeout: Duration,
    /// The same for a request's body; a phone on a poor network gets 1,000 fixes (150 kB) across in this time.
    pub body_timeout: Duration,
    /// A batch of 1,000 fixes or a route of 10,000 points fits several times.
    pub body_max_bytes: usize,
    /// How long a command waits for its outcome. An election of the log's leader may take most of it.
    pub answer_timeout: Duration,
    /// Commands that wait at once; beyond it, 503. At 5,000/s and 50 ms each, 250 wait.
    pub answers_max: usize,
    /// What is asked of the cell's owner is answered from memory or an index.
    pub query_timeout: Duration,
    /// Heartbeat to clients. Proxies cut idle connections at 60 s; the product promises 10.
    pub heartbeat: Duration,
    /// Topics of one connection: an operations screen follows hundreds of orders, nobody thousands.
    pub topics_max: usize,
    /// Replays of one connection: a screen shows one, or a few beside each other. Each holds some 500 kB.
    pub replays_max: usize,
    /// Subscribes and unsubscribes of one connection in the long run (all its topics twice over at once): each may cost a
    /// read. Who scrolls a list sends a few a second.
    pub subscribes_per_s: u32,
    /// A client's frame: the longest legal one is under 200 bytes.
    pub frame_max_bytes: usize,
    /// Bad frames until the connection is closed: more than a client's mistake, less than an attack.
    pub bad_frames_max: u32,
    /// Frames and bytes that wait for one connection. A snapshot with a route of 10,000 points is some 400 kB.
    pub outbox_max_frames: usize,
    pub outbox_max_bytes: usize,
    /// A client on a poor network gets its first frame across in this time.
    pub authenticate_within: Duration,
    /// How long a connection outlives its token: a page that was asleep fetches a newer one in this time.
    pub expiry_grace: Duration,
    /// A close frame that isn't taken within this time isn't taken at all.
    pub close_timeout: Duration,
    pub hub: hub::HubOptions,
    pub boards: boards::BoardOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            body_max_bytes: 1 << 20,
            answer_timeout: Duration::from_secs(10),
            answers_max: 4_096,
            query_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            topics_max: 1_000,
            replays_max: 4,
            subscribes_per_s: 50,
            frame_max_bytes: 16 << 10,
            bad_frames_max: 10,
            outbox_max_frames: 4_096,
            outbox_max_bytes: 4 << 20,
            authenticate_within: Duration::from_secs(10),
            expiry_grace: Duration::from_secs(30),
            close_timeout: Duration::from_secs(1),
            hub: hub::HubOptions::default(),
            boards: boards::BoardOptions::default(),
        }
    }
}

/// Everything outside that the bridge talks to.
#[derive(Clone, Debug)]
pub struct Ports {
    pub source: Arc<dyn source::SnapshotSource>,
    pub updates: Arc<dyn source::Updates>,
    pub boards: Arc<dyn boards::source::BoardSource>,
    pub log: Arc<dyn publish::LogWriter>,
    pub directory: Arc<dyn bucket::Bucket>,
    pub personal: Arc<dyn bucket::Bucket>,
    pub shares: Arc<dyn bucket::Bucket>,
}

/// One per node.
#[derive(Clone, Debug)]
pub struct Bridge {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    /// Of connections that are opened from now on: begins with the option.
    pub(crate) heartbeat: parking_lot::RwLock<Duration>,
    pub(crate) gate: gate::Gate,
    pub(crate) shares: shares::Shares,
    pub(crate) cell: CellId,
    pub(crate) ports: Ports,
    pub(crate) personal: Arc<personal::PersonalData>,
    pub(crate) commands: answers::PendingCommands,
    pub(crate) hub: hub::Hub,
    pub(crate) boards: boards::Boards,
    pub(crate) health: Arc<health::Health>,
    pub(crate) metrics: Metrics,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

impl Bridge {
    /// Over NATS. Tasks run on `tracker` until `cancel`.
    pub fn new(
        (options, gate): (Options, gate::Gate),
        client: async_nats::Client,
        js: jetstream::Context,
        cell: CellId,
        metrics: Metrics,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let nats = Arc::new(source::NatsSource::new(client.clone(), cell.clone(), options.query_timeout));
        let boards = boards::source::NatsBoards::new(nats.as_ref().clone(), js.clone(), cell.clone());
        let ports = Ports {
            source: nats.clone(),
            updates: nats,
            boards: Arc::new(boards),
            log: Arc::new(publish::NatsLogWriter::new(client, js.clone())),
            directory: Arc::new(bucket::NatsBucket::new(js.clone(), subject::DIRECTORY_BUCKET)),
            personal: Arc::new(bucket::NatsBucket::new(js.clone(), subject::PERSONAL_BUCKET)),
            shares: Arc::new(bucket::NatsBucket::new(js, subject::SHARES_BUCKET)),
        };
        Self::with_ports(options, gate, ports, cell, metrics, tracker, cancel)
    }

    /// Over anything: what tests use.
    pub fn with_ports(
        options: Options,
        gate: gate::Gate,
        ports: Ports,
        cell: CellId,
        metrics: Metrics,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let personal = Arc::new(personal::PersonalData::new(ports.personal.clone()));
        let hub = hub::Hub::start(
            options.hub.clone(),
            ports.source.clone(),
            ports.updates.clone(),
            personal.clone(),
            metrics.clone(),
            (&tracker, &cancel),
        );
        let boards = boards::Boards::new(
            options.boards,
            ports.boards.clone(),
            hub.clone(),
            metrics.clone(),
            (&tracker, &cancel),
        );
        let health = Arc::new(health::Health::default());
        let bounds = (options.answers_max, options.answer_timeout);
        let commands =
            answers::PendingCommands::start(ports.log.clone(), health.clone(), bounds, &tracker, cancel.clone());
        let heartbeat = parking_lot::RwLock::new(options.heartbeat);
        let shares = shares::Shares::start(ports.shares.clone(), &tracker, cancel.clone());
        let inner = Inner {
            options,
            heartbeat,
            gate,
            shares,
            cell,
            ports,
            personal,
            commands,
            hub,
            boards,
            health,
            metrics,
            tracker,
            cancel,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What `/readyz` says and commands obey; the app sets it while its own cell can't serve.
    pub fn health(&self) -> Arc<health::Health> {
        self.inner.health.clone()
    }

    /// Connections that are open keep the heartbeat that they were told of; later ones have this one.
    pub fn set_heartbeat(&self, heartbeat: Duration) {
        *self.inner.heartbeat.write() = heartbeat;
    }

    /// The hub behind every transport.
    pub fn hub(&self) -> &hub::Hub {
        &self.inner.hub
    }

    /// The boards behind every transport.
    pub fn boards(&self) -> &boards::Boards {
        &self.inner.boards
    }

    /// All routes.
    pub fn router(&self) -> axum::Router {
        rest::router(self.inner.clone())
    }

    /// Serves connections until the cancellation, then lets requests under way finish (the tracker waits for them).
    pub async fn serve(&self, listener: tokio::net::TcpListener) {
        serve::serve(self.inner.clone(), self.router(), listener).await;
    }
}

/// A part of the system that doesn't answer, as a problem.
impl From<SourceError> for crate::wire::problem::Problem {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Question(error) => error.into(),
            SourceError::Unreachable(_) | SourceError::Unavailable(_) | SourceError::Garbled(_) => {
                Self::new(503, "unavailable", "The cell doesn't answer").with_detail(error.to_string())
            }
        }
    }
}
