//! Puts a node together, in the order in which data flows: NATS → feed → cell → store → publish → bridge → client. The
//! only place that names everybody; it decides nothing.

pub mod backup;
mod counted;
mod owner;
mod places;
mod rebuild;
pub mod replay;
mod tracker;

pub use rebuild::{RebuildOptions, rebuild};
pub use tracker::database_path;

use crate::{
    auth::{self, Tokens},
    bridge::{self, Bridge, gate::Gate},
    config::Config,
    metrics::Metrics,
    nats::{
        self,
        server::{Launch, NatsServer},
    },
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracker::Tracker;

/// How long a start waits for NATS before it says that it can't reach it.
const NATS_PATIENCE: Duration = Duration::from_secs(30);

/// How long a stop waits for what is under way, once clients have been told to go.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A node can't start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Bind(#[from] bridge::BindError),
    #[error("configuration: map.folder: {0} is no folder")]
    Maps(std::path::PathBuf),
    #[error(transparent)]
    Auth(#[from] auth::AuthError),
    #[error("listening on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Server(#[from] nats::server::ServerError),
    #[error(transparent)]
    Nats(#[from] nats::NatsError),
    #[error(transparent)]
    Streams(#[from] nats::streams::StreamsError),
    #[error(transparent)]
    Epoch(#[from] nats::epoch::EpochError),
    #[error("{path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("database {path}: {source}")]
    Open { path: std::path::PathBuf, source: crate::store::OpenError },
    #[error(transparent)]
    Store(#[from] crate::ports::StoreError),
    #[error("stored state: {0}")]
    State(#[from] crate::wire::blob::BlobError),
    #[error("starting the cell: {0}")]
    Cell(#[from] ractor::SpawnErr),
    #[error("asking for routes: {0}")]
    Http(reqwest::Error),
    #[error("the log: {0}")]
    Feed(#[from] crate::feed::FeedError),
    #[error("{0} exists already; a rebuild needs a fresh place")]
    NotFresh(std::path::PathBuf),
}

/// A running node.
#[derive(Debug)]
pub struct App {
    http: Option<SocketAddr>,
    nats_url: String,
    nats_server: Option<NatsServer>,
    tracker: Option<Tracker>,
    bridge: Option<Bridge>,
    /// Checks clients' tokens; `None` where they need none, and where there are no clients.
    tokens: Option<Tokens>,
    config: Config,
    /// Ends the bridge.
    bridge_stop: CancellationToken,
    bridge_tasks: TaskTracker,
    server_tasks: TaskTracker,
    metrics: Metrics,
}

impl App {
    /// Starts everything that the configuration names. Nothing is left running if something fails.
    pub async fn start(config: Config) -> Result<Self, AppError> {
        check(&config)?;
        let metrics = Metrics::default();
        let (bridge_stop, bridge_tasks) = (CancellationToken::new(), TaskTracker::new());
        let tokens = match &config.auth {
            Some(auth) if config.bridge => {
                let (options, time) = (auth::Options::default(), auth::Time::machine());
                let (tasks, stop) = (bridge_tasks.clone(), bridge_stop.clone());
                Some(Tokens::start(auth, options, time, metrics.clone(), tasks, stop)?)
            }
            Some(_) | None => None,
        };
        let server_tasks = TaskTracker::new();
        let nats_server = start_nats(&config, &server_tasks).await?;
        let nats_url = match (&nats_server, &config.nats.url) {
            (Some(server), _) => server.url(),
            (None, url) => url.clone().unwrap_or_default(),
        };
        // Tracker and bridge each have a connection, as they would on nodes of their own.
        let tracker = match config.tracker {
            true => Some(Tracker::start(&config, &nats_url, &metrics).await?),
            false => None,
        };
        let mut app = Self {
            http: None,
            nats_url,
            nats_server,
            tracker,
            bridge: None,
            tokens,
            config: config.clone(),
            bridge_stop,
            bridge_tasks,
            server_tasks,
            metrics,
        };
        if config.bridge {
            app.start_bridge(&config).await?;
        }
        Ok(app)
    }

    /// Where clients connect, if this node is a bridge.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The NATS in use.
    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// Last committed place in the log of the cell that this node owns, if it owns one.
    pub fn cursor(&self) -> Option<u64> {
        self.tracker.as_ref().map(Tracker::cursor)
    }

    /// The process's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes over those settings that may change while the node runs; others must be the ones that it was started with.
    pub async fn reload(&mut self, mut config: Config) {
        if let Some(tracker) = &mut self.tracker {
            let limit = self.config.nats.log_max_mib;
            if !tracker.reload(&config, config.nats.log_max_mib != limit).await {
                // So that the next time tries it again.
                config.nats.log_max_mib = limit;
            }
        }
        if let Some(bridge) = &self.bridge {
            bridge.set_heartbeat(config.client_heartbeat);
        }
        if let (Some(tokens), Some(auth)) = (&self.tokens, &config.auth)
            && let Err(error) = tokens.reload(auth)
        {
            tracing::error!(%error, "the keys stay as they were");
        }
        self.config = config;
    }

    /// Stops at once, with what clients there are cut off. See [`Self::leave`].
    pub async fn stop(self) {
        let hurry = CancellationToken::new();
        hurry.cancel();
        Box::pin(self.leave(hurry)).await;
    }

    /// Ends in good order. First clients are told to go, in their turn, and served until then by an owner that goes on as ever:
    /// that takes as long as the settings say, or until there is a `hurry`. Then in the direction of the data, so that what
    /// was taken in still gets out: no more input, then what is in flight to disk and to the updates, then whoever still
    /// listens, then NATS.
    pub async fn leave(self, hurry: CancellationToken) {
        if let Some(bridge) = &self.bridge {
            bridge.drain(&hurry).await;
        }
        let stop = async {
            if let Some(tracker) = self.tracker {
                tracker.stop().await;
            }
            self.bridge_stop.cancel();
            self.bridge_tasks.close();
            self.bridge_tasks.wait().await;
            if let Some(server) = self.nats_server {
                server.stop().await;
            }
            self.server_tasks.close();
            self.server_tasks.wait().await;
        };
        if tokio::time::timeout(STOP_PATIENCE, stop).await.is_err() {
            tracing::warn!("the shutdown took too long; what was not committed is in the log");
        }
    }

    async fn start_bridge(&mut self, config: &Config) -> Result<(), AppError> {
        let client = connect(&self.nats_url, "trunkline-bridge").await?;
        let js = nats::client::jetstream(&client);
        let mut options = bridge::Options {
            heartbeat: config.client_heartbeat,
            origins: config.origins.clone(),
            admissions_per_s: config.admissions_per_s,
            drain: config.drain,
            ..bridge::Options::default()
        };
        options.hub.owner_heartbeat = config.owner_heartbeat;
        options.boards.owner_heartbeat = config.owner_heartbeat;
        options.sockjs.client_url.clone_from(&config.sockjs_client_url);
        options.sockjs.test_services = config.sockjs_test_services;
        options.screens.sign_in_url.clone_from(&config.sign_in_url);
        options.screens.map.clone_from(&config.map);
        if let Some(auth) = &config.auth {
            options.expiry_grace = auth.expiry_grace;
        }
        let gate = match &self.tokens {
            Some(tokens) => Gate::closed(Arc::new(tokens.clone()), Arc::new(tokens.signer())),
            None => Gate::insecure(),
        };
        let (tasks, stop) = (self.bridge_tasks.clone(), self.bridge_stop.clone());
        let bridge = Bridge::new((options, gate), client, js, config.cell.clone(), self.metrics.clone(), tasks, stop);
        if let Some(tracker) = &self.tracker {
            tracker.report_to(bridge.health(), &self.bridge_tasks, self.bridge_stop.clone());
        }
        let listen = |source| AppError::Listen { addr: config.http, source };
        let listener = tokio::net::TcpListener::bind(config.http).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        self.http = Some(addr);
        match (self.tokens.is_some(), addr.ip().to_canonical().is_loopback()) {
            (false, _) => {
                tracing::warn!("serving without tokens: whoever reaches this address sees and does everything")
            }
            (true, false) => {
                tracing::warn!("tokens cross the network in the clear: put a proxy that speaks TLS in front")
            }
            (true, true) => {}
        }
        let serving = bridge.clone();
        self.bridge_tasks.spawn(async move { serving.serve(listener).await });
        self.bridge = Some(bridge);
        tracing::info!(
            rest = %format!("http://{addr}/v1/orders"),
            websocket = %format!("ws://{addr}/v1/ws"),
            metrics = %format!("http://{addr}/metrics"),
            nats = %self.nats_url,
            "serving clients"
        );
        Ok(())
    }
}

/// What can be said of a configuration before anything is started: whether clients may be served as it says, whether the
/// keys are good, and whether the base map's folder is there.
pub fn check(config: &Config) -> Result<(), AppError> {
    if config.bridge {
        bridge::check_bind(config.http, config.auth.is_some(), config.insecure)?;
        if let Some(folder) = config.map.folder.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(AppError::Maps(folder.clone()));
        }
    }
    config.auth.iter().try_for_each(auth::check)?;
    Ok(())
}

/// Our own nats-server, unless the configuration names one.
async fn start_nats(config: &Config, tasks: &TaskTracker) -> Result<Option<NatsServer>, AppError> {
    if config.nats.url.is_some() {
        return Ok(None);
    }
    let default = Path::new("nats.conf");
    let launch = Launch {
        binary: config.nats.server.clone(),
        config: config.nats.config.clone().or_else(|| default.is_file().then(|| default.to_owned())),
        dir: config.data.join("nats"),
        port: config.nats.port,
        monitor_port: None,
    };
    let server = NatsServer::start(launch, tasks).await?;
    tracing::info!(
        url = %server.url(),
        version = server.version(),
        store = %config.data.join("nats").display(),
        "no NATS address given: started and supervising a nats-server of our own"
    );
    Ok(Some(server))
}

/// Connects, and waits until the server answers.
async fn connect(url: &str, name: &str) -> Result<async_nats::Client, AppError> {
    let options = nats::Options::new(url, name);
    let client = nats::connect(&options).await?;
    nats::ready(&client, &options, NATS_PATIENCE).await?;
    Ok(client)
}
