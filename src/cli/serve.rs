//! `trunkline serve`.

use super::LogFilter;
use crate::{
    app::{self, App},
    config::{Change, Config, Settings},
};
use clap::Args;
use std::{path::PathBuf, pin::pin, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Run a node. Settings come from the defaults, the file, the environment (`TRUNKLINE_HTTP__ADDR=…`) and these flags, each
/// over the one before.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// A TOML file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where to listen for clients.
    #[arg(long)]
    http: Option<String>,
    /// NATS to use. Without it, a nats-server of our own is started and supervised.
    #[arg(long)]
    nats: Option<String>,
    /// Where the database (and our own nats-server's store) is kept.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The cell that this node owns or serves.
    #[arg(long)]
    cell: Option<String>,
    /// `tracker`, `bridge` or both.
    #[arg(long, value_delimiter = ',')]
    roles: Option<Vec<String>>,
    /// A folder with `CELL.pmtiles` and `CELL.geojson`, the base map of the screens.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// Serve clients without tokens: on loopback only, and only where no keys are configured.
    #[arg(long)]
    insecure: bool,
    /// Check the settings, print those in force (secrets masked) and end.
    #[arg(long)]
    check: bool,
}

impl ServeArgs {
    /// The settings as file, environment and flags have them now.
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = Settings::read(self.config.as_deref())?;
        let or = |flag: &Option<String>, file: String| flag.clone().unwrap_or(file);
        settings.http.addr = or(&self.http, settings.http.addr);
        settings.http.insecure |= self.insecure;
        settings.nats.url = self.nats.clone().or(settings.nats.url);
        settings.data = self.data.clone().unwrap_or(settings.data);
        settings.cell = or(&self.cell, settings.cell);
        settings.map.folder = self.maps.clone().or(settings.map.folder);
        settings.roles = self.roles.clone().unwrap_or(settings.roles);
        Ok(settings)
    }
}

/// Runs until it is interrupted, then tells its clients to go; a second interruption ends it at once. Reads the settings again at
/// SIGHUP.
pub(super) async fn run(args: ServeArgs, log: LogFilter) -> anyhow::Result<ExitCode> {
    let settings = args.settings()?;
    let config = checked(&settings)?;
    if args.check {
        print(&settings);
        return Ok(ExitCode::SUCCESS);
    }
    log.follow(&settings.log)?;
    // Before the start: a signal that comes during it would end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut node = Running { app: App::start(config).await?, settings, log };
    let mut interrupted = pin!(super::interrupted());
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            _ = hangup.recv() => node.reload(&args).await,
        }
    }
    tracing::info!("shutting down; a second signal does so at once");
    let hurry = CancellationToken::new();
    let mut leaving = Box::pin(node.app.leave(hurry.clone()));
    tokio::select! {
        () = &mut leaving => return Ok(ExitCode::SUCCESS),
        () = super::interrupted() => hurry.cancel(),
    }
    leaving.await;
    Ok(ExitCode::SUCCESS)
}

/// Settings that a node could be started with.
fn checked(settings: &Settings) -> anyhow::Result<Config> {
    let config = settings.clone().check()?;
    app::check(&config)?;
    Ok(config)
}

struct Running {
    app: App,
    /// In force.
    settings: Settings,
    log: LogFilter,
}

impl Running {
    /// Takes over what a running node can. Settings that don't pass their check change nothing at all.
    async fn reload(&mut self, args: &ServeArgs) {
        let newer = match args.settings().and_then(|newer| checked(&newer).map(|_| newer)) {
            Ok(newer) => newer,
            Err(error) => return tracing::error!(%error, "SIGHUP: nothing is changed"),
        };
        let settings = self.settings.clone().with_live(&newer);
        // Of new keys beside an old `http.insecure`, say, both were good in their own company.
        let config = match checked(&settings) {
            Ok(config) => config,
            Err(error) => return tracing::error!(%error, "SIGHUP: nothing is changed; this needs a restart"),
        };
        for Change { key, live } in self.settings.changes(&newer) {
            match live {
                true => tracing::info!(key, "SIGHUP: taken over"),
                false => tracing::warn!(key, "SIGHUP: needs a restart, keeps its value"),
            }
        }
        self.app.reload(config).await;
        if let Err(error) = self.log.follow(&settings.log) {
            tracing::error!(%error, "SIGHUP: the log's filter stays as it was");
        }
        self.settings = settings;
        tracing::info!("SIGHUP: settings read again");
    }
}

#[allow(clippy::print_stdout, reason = "this is the command's result")]
fn print(settings: &Settings) {
    print!("{}", settings.printed());
}
