//! What clients see of Trunkline: REST, and live updates over whatever their network allows, with the hub behind it.
//!
//! The bridge knows NATS subjects and [`source::SnapshotSource`], never an actor: it runs beside the owner of a cell or
//! on a node of its own, and a fault of the owner reaches it as silence. Whatever leaves a node for the outside passes
//! a port ([`source`], [`publish`], [`bucket`]), so that everything here is tested without a broker.
//!
//! ```text
//! HTTP ─▶ rest ─▶ answers ─▶ log (JetStream) … outcome ─▶ answers ─▶ HTTP
//! update.… ─▶ hub shard: watch (merged state) ─▶ channel (one per view, datum and shape) ─▶ outboxes
//! update.… ─▶ board's desk: rider, cell's mirror, alerts ─▶ sheet (one per datum and box) ─▶ outboxes
//! outbox ─▶ conversation: session, protocol (JSON, STOMP, events) ─▶ link (WebSocket, SockJS session, response's body)
//! ```

pub mod admission;
pub mod answers;
pub mod boards;
pub mod bucket;
mod commands;
mod connection;
mod conversation;
mod cors;
pub mod datum;
mod delivered;
pub mod directory;
pub mod drain;
pub mod frame;
pub mod gate;
pub mod health;
pub mod hub;
mod json;
mod link;
pub mod outbox;
pub mod params;
pub mod peers;
pub mod personal;
pub mod publish;
pub mod reject;
mod replay;
mod rest;
pub mod screens;
mod serve;
pub mod session;
pub mod shares;
pub mod sockjs;
pub mod source;
pub mod stomp;
pub mod tickets;
mod ws;

pub use serve::{BindError, check_bind};

use crate::{
    bridge::{drain::Schedule, reject::Rejection, source::SourceError},
    clock::Stopwatch,
    config::Origins,
    domain::CellId,
    metrics::{CloseReason, Metrics},
    wire::{problem::Problem, subject},
};
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
    /// Bytes that wait for one connection. A snapshot with a route of 10,000 points is some 400 kB.
    pub outbox_max_bytes: usize,
    /// A client on a poor network gets its first frame across in this time.
    pub authenticate_within: Duration,
    /// How long a connection outlives its token: a page that was asleep fetches a newer one in this time.
    pub expiry_grace: Duration,
    /// Other sites whose pages may use the API, and with a cookie.
    pub origins: Origins,
    /// Sessions that begin in a second in the long run, and how much of that at once. A session's beginning costs some 0.2 ms.
    pub admissions_per_s: u32,
    pub admissions_burst: Duration,
    /// Over how long a time clients are told to go when the node ends.
    pub drain: Duration,
    /// A close frame that isn't taken within this time isn't taken at all.
    pub close_timeout: Duration,
    pub hub: hub::HubOptions,
    pub boards: boards::BoardOptions,
    pub sockjs: sockjs::Options,
    pub screens: screens::Options,
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
            outbox_max_bytes: 4 << 20,
            authenticate_within: Duration::from_secs(10),
            expiry_grace: Duration::from_secs(30),
            origins: Origins::default(),
            admissions_per_s: 1_000,
            admissions_burst: Duration::from_secs(2),
            drain: Duration::from_secs(10),
            close_timeout: Duration::from_secs(1),
            hub: hub::HubOptions::default(),
            boards: boards::BoardOptions::default(),
            sockjs: sockjs::Options::default(),
            screens: screens::Options::default(),
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
    pub directory: directory::Directory,
    pub personal: Arc<dyn bucket::Bucket>,
    /// Orders by the ends of telephone numbers.
    pub phones: Arc<dyn bucket::Bucket>,
    pub shares: Arc<dyn bucket::Bucket>,
    /// Sessions that other nodes hold.
    pub sessions: Arc<dyn sockjs::peers::Peers>,
    pub tickets: Arc<dyn bucket::Bucket>,
    /// Other nodes that serve clients.
    pub peers: Arc<dyn peers::Peers>,
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
    pub(crate) tickets: tickets::Tickets,
    pub(crate) admission: parking_lot::Mutex<admission::Admission>,
    /// The time of the admission.
    pub(crate) since: Stopwatch,
    pub(crate) drain: Arc<drain::Drain>,
    /// Of lists, riders and boards, and of orders that are made here. Orders may be of any cell.
    pub(crate) cell: CellId,
    pub(crate) ports: Ports,
    pub(crate) personal: Arc<personal::PersonalData>,
    pub(crate) commands: answers::PendingCommands,
    pub(crate) hub: hub::Hub,
    pub(crate) boards: boards::Boards,
    pub(crate) sockjs: sockjs::Sockjs,
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
        let bucket = Arc::new(bucket::NatsBucket::new(js.clone(), subject::DIRECTORY_BUCKET));
        let directory = directory::Directory::new(bucket, cell.clone());
        let nats = source::NatsSource::new(client.clone(), (cell.clone(), directory.clone()), options.query_timeout);
        let nats = Arc::new(nats);
        let boards = boards::source::NatsBoards::new(nats.as_ref().clone(), js.clone(), cell.clone());
        let sessions = sockjs::peers::NatsPeers::new(client.clone(), options.query_timeout, tracker.clone());
        let ports = Ports {
            source: nats.clone(),
            updates: nats,
            boards: Arc::new(boards),
            peers: Arc::new(peers::NatsPeers::start(client.clone(), &tracker, cancel.clone())),
            log: Arc::new(publish::NatsLogWriter::new(client, js.clone())),
            directory,
            personal: Arc::new(bucket::NatsBucket::new(js.clone(), subject::PERSONAL_BUCKET)),
            phones: Arc::new(bucket::NatsBucket::new(js.clone(), subject::PHONES_BUCKET)),
            shares: Arc::new(bucket::NatsBucket::new(js.clone(), subject::SHARES_BUCKET)),
            sessions: Arc::new(sessions),
            tickets: Arc::new(bucket::NatsBucket::new(js, subject::TICKETS_BUCKET)),
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
        let personal = personal::PersonalData::new(ports.personal.clone()).with_phones(ports.phones.clone());
        let personal = Arc::new(personal);
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
        let sockjs = sockjs::Sockjs::new(&options.sockjs, talks(), ports.sessions.clone(), (&tracker, &cancel));
        let tickets = tickets::Tickets::new(ports.tickets.clone());
        let admission = admission::Admission::new(options.admissions_per_s, options.admissions_burst);
        let inner = Inner {
            options,
            heartbeat,
            gate,
            shares,
            tickets,
            admission: parking_lot::Mutex::new(admission),
            since: Stopwatch::start(),
            drain: Arc::default(),
            cell,
            ports,
            personal,
            commands,
            hub,
            boards,
            sockjs,
            health,
            metrics,
            tracker,
            cancel,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What `/readyz` says: that the node serves its cell and isn't leaving.
    pub fn is_ready(&self) -> bool {
        self.inner.ready().is_ok()
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

    /// Leaves in good order: no session begins any more, and each that is open is told to go, in its turn. Ends when all are gone,
    /// when their time is over, or in a `hurry`; until then they are served as ever, so what serves them has to stay.
    pub async fn drain(&self, hurry: &CancellationToken) {
        let Inner { drain, ports, options, .. } = &*self.inner;
        drain.leave();
        let clients = drain.open();
        if clients == 0 || hurry.is_cancelled() {
            return;
        }
        let others = hurry.run_until_cancelled(ports.peers.others()).await.unwrap_or_default();
        let schedule = Schedule::new(options.drain, clients, others, (rand::random(), rand::random()));
        tracing::info!(clients, others, window = ?schedule.window(), "telling clients to go");
        drain.begin(schedule);
        let time = schedule.window() + options.close_timeout * 2;
        let gone = tokio::time::timeout(time, drain.empty());
        if let Some(Err(_)) = hurry.run_until_cancelled(gone).await {
            tracing::warn!(clients = drain.open(), "clients that don't go are cut off");
        }
    }

    /// Serves connections until the cancellation, then lets requests under way finish (the tracker waits for them).
    pub async fn serve(&self, listener: tokio::net::TcpListener) {
        serve::serve(self.inner.clone(), self.router(), listener).await;
    }
}

/// What is talked over SockJS, by base URL.
fn talks() -> Vec<sockjs::Mount> {
    vec![sockjs::Mount::new("/ws", Arc::new(sockjs::Speaks(stomp::Stomp::of)))]
}

impl Inner {
    /// Whether the node should get traffic, or why not.
    pub(crate) fn ready(&self) -> Result<(), health::NotReady> {
        if !self.commands.is_connected() {
            return Err(health::NotReady("NATS is not connected".into()));
        }
        if self.drain.is_leaving() {
            return Err(health::NotReady("this node is leaving".into()));
        }
        self.health.check()
    }

    /// Whether a session may begin now: each transport asks at its entry, before it does anything else for a client. Whose
    /// session it is decides [`Self::identify`].
    pub(crate) fn admit_session(&self) -> Result<(), Rejection> {
        let refused = |reason, wait| {
            self.metrics.sessions_refused.get_or_create(&CloseReason { reason }).inc();
            wait
        };
        if self.drain.is_leaving() {
            let wait = refused("draining", self.drain.turned_away(rand::random()));
            return Err(Problem::new(503, "draining", "This node is leaving").with_retry_after(wait).into());
        }
        let asked = self.admission.lock().ask(self.since.elapsed(), rand::random());
        asked.map_err(|wait| {
            let wait = refused("rate", wait);
            Problem::new(503, "busy", "Too many sessions begin at once").with_retry_after(wait).into()
        })
    }
}

/// A part of the system that doesn't answer, as a problem.
impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Question(error) => error.into(),
            SourceError::Unreachable(_) | SourceError::Unavailable(_) | SourceError::Garbled(_) => {
                Self::new(503, "unavailable", "The cell doesn't answer").with_detail(error.to_string())
            }
        }
    }
}
